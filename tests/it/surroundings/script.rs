//! A UCS whose every answer a test may change while it runs.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use crate::support::{Conn, Scripted, eventually};

/// How it takes Set Server Mode.
#[derive(Clone, Copy, Debug)]
pub enum Takes {
    /// Does it and says 200.
    Obeys,
    /// Says 200 and does nothing.
    Lies,
    /// Lies, and then hangs at Set Server Mode.
    LiesAndHangs,
    /// Answers this and does nothing.
    Answers(u16),
}

/// What it says at the moment.
#[derive(Debug)]
pub struct Says {
    /// Its mode.
    pub mode: String,
    /// Its incarnation.
    pub started: String,
    /// In place of the status with the mode.
    pub status: Option<(u16, &'static str)>,
    /// To Set Server Mode.
    pub takes: Takes,
    /// Of the profile schema; one that has been used up is dropped for the one below it.
    pub schema: Vec<(u16, &'static str)>,
    /// To whatever is asked, in place of all the rest.
    pub all: Option<(u16, &'static str)>,
    /// No answer to anything below this path, until it is empty again.
    pub hangs_at: Option<&'static str>,
}

/// See the module.
pub struct Ucs {
    pub upstream: Scripted,
    says: Arc<Mutex<Says>>,
    /// Each request: when it came, its method and target, its body.
    asked: Arc<Mutex<Vec<(Instant, String, String)>>>,
}

impl Ucs {
    /// With a schema, a status, and this mode.
    pub fn start(mode: &str) -> Ucs {
        let says = Says {
            mode: mode.to_owned(),
            started: "monday".to_owned(),
            status: None,
            takes: Takes::Obeys,
            schema: vec![(200, "[{\"name\":\"LastName\"}]")],
            all: None,
            hangs_at: None,
        };
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(Vec::new())));
        let (script, kept) = (Arc::clone(&says), Arc::clone(&asked));
        let upstream = Scripted::start(move |conn| {
            while let Some(received) = conn.read_request() {
                let line = received.head.split(' ').take(2).collect::<Vec<_>>().join(" ");
                let body = String::from_utf8_lossy(&received.body).into_owned();
                kept.lock().unwrap().push((Instant::now(), line.clone(), body.clone()));
                if !answer(conn, &script, &line, &body) {
                    return;
                }
            }
        });
        Ucs { upstream, says, asked }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Says) -> T) -> T {
        change(&mut self.says.lock().unwrap())
    }

    pub fn mode(&self) -> String {
        self.with(|says| says.mode.clone())
    }

    /// When this was asked.
    pub fn times(&self, line: &str) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, other, _)| other == line).map(|(time, ..)| *time).collect()
    }

    /// The modes that it was asked for.
    pub fn wishes(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let bodies = asked.iter().filter(|(_, line, _)| line.ends_with("POST /server/mode")).map(|(.., body)| body);
        let mode = |body: &String| serde_json::from_str::<Value>(body).unwrap()["mode"].as_str().unwrap().to_owned();
        bodies.map(mode).collect()
    }

    /// Waits until this has been asked so many times more.
    #[track_caller]
    pub fn asked_again(&self, line: &str, times: usize) {
        let before = self.times(line).len();
        eventually(&format!("{line} is asked again"), || self.times(line).len() >= before + times);
    }

    /// Waits until its mode has been read again, and what follows from it has had its time to follow.
    #[track_caller]
    pub fn polled_again(&self) {
        self.asked_again("GET /server/status", 4);
    }
}

/// False when the connection must end.
fn answer(conn: &mut Conn, script: &Mutex<Says>, line: &str, body: &str) -> bool {
    let hangs = || script.lock().unwrap().hangs_at.is_some_and(|below| line.contains(below));
    while hangs() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let (status, text) = said(&mut script.lock().unwrap(), line, body);
    conn.try_write(format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{text}", text.len()))
}

fn said(says: &mut Says, line: &str, body: &str) -> (u16, String) {
    let owned = |(status, text): (u16, &str)| (status, text.to_owned());
    if let Some(all) = says.all {
        return owned(all);
    }
    match line.split_once(' ').unwrap_or_default() {
        ("GET", path) if path.ends_with("/server/status") => says
            .status
            .map(owned)
            .unwrap_or_else(|| (200, format!("{{\"mode\":\"{}\",\"started\":\"{}\"}}", says.mode, says.started))),
        ("POST", path) if path.ends_with("/server/mode") => match says.takes {
            Takes::Obeys => {
                let wanted: Value = serde_json::from_str(body).unwrap();
                says.mode = wanted["mode"].as_str().unwrap().to_owned();
                (200, String::new())
            }
            Takes::Lies => (200, String::new()),
            Takes::LiesAndHangs => {
                (says.takes, says.hangs_at) = (Takes::Lies, Some("/server/mode"));
                (200, String::new())
            }
            Takes::Answers(status) => (status, String::new()),
        },
        ("GET", "/metadata/profiles") if says.schema.len() > 1 => owned(says.schema.pop().unwrap()),
        ("GET", "/metadata/profiles") => owned(says.schema[0]),
        ("GET", path) if path.ends_with("/metadata/profiles") => (404, String::new()),
        _ => (200, "{}".to_owned()),
    }
}
