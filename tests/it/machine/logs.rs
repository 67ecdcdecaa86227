//! Streams for the logs that take nothing: closed, full, or not read. Nothing else may notice, from the start to the stop.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{ALONE, ready};
use crate::support::tool::{self, listeners};
use crate::support::{Gateway, PATIENCE, TempDir, Ucs, admin, eventually, request};

/// `O_NONBLOCK` on every Linux that Rust's std runs on here.
const NONBLOCK: i32 = 0o4000;

/// A pipe that takes not one byte more until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    // Opened again, so that only this way into the pipe does not block.
    let again = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut filler = File::options().write(true).custom_flags(NONBLOCK).open(again).unwrap();
    for piece in [4096, 1] {
        let full = loop {
            if let Err(error) = filler.write(&b".".repeat(piece)) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    (reader, writer)
}

/// A pipe whose reader has gone.
fn closed_pipe() -> PipeWriter {
    std::io::pipe().unwrap().1
}

fn full_disk() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

/// A gateway with an access log, these outputs, and room for few clients.
fn start(dir: &TempDir, ucs: &Ucs, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Gateway {
    let flags = [&ALONE[..], &["--access-log", "--max-connections", "8", "--log-level", "debug"]].concat();
    Gateway::start_into(dir.path(), ucs.address, &flags, stdout.into(), stderr.into())
}

/// All that a log line was ever deadly for: a change on either port, a connection too many, requests; then the stop.
#[track_caller]
fn works_and_stops(gateway: Gateway) {
    let credential = format!("Bearer {}", gateway.token());
    for mode in ["maintenance", "production", "maintenance"] {
        let settled = admin::set_mode(&gateway, &json!({"mode": mode}));
        assert_eq!(settled.status, 200, "{}", settled.text());
    }
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
    let set = request(gateway.data, "POST /server/mode", &headers, br#"{"mode":"production"}"#);
    assert_eq!(set.status, 200, "{}", set.text());
    let mut held = Vec::new();
    let turned_away = || admin::metric(&gateway, "ucs_gateway_client_connections_refused_total");
    // All of them are held: one that was accepted must not make room for the next.
    eventually("connections are turned away", || {
        held.push(TcpStream::connect(gateway.data).unwrap());
        turned_away() > 2.0
    });
    drop(held);
    eventually("there is room again", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == 0.0);
    for _ in 0..20 {
        assert_eq!(request(gateway.data, "GET /profiles/absent", &[], b"").status, 404);
    }
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["phase"]), (&json!("production"), &json!("settled")), "{seen}");
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
}

fn dropped(gateway: &Gateway, stream: &str) -> f64 {
    admin::metric(gateway, &format!("ucs_gateway_log_lines_dropped_total{{stream=\"{stream}\"}}"))
}

#[test]
fn closed_log_streams_stop_nothing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = start(&dir, &ucs, closed_pipe(), closed_pipe());
    eventually("the lost lines are counted", || dropped(&gateway, "stderr") > 0.0);
    works_and_stops(gateway);
}

/// As it was found: the reader of the log ends some time after the start.
#[test]
fn a_log_reader_that_ends_stops_nothing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let (reader, stderr) = std::io::pipe().unwrap();
    let gateway = start(&dir, &ucs, Stdio::null(), stderr);
    drop(reader);
    works_and_stops(gateway);
}

#[test]
fn a_full_disk_under_the_logs_stops_nothing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let gateway = start(&dir, &ucs, full_disk(), full_disk());
    assert_eq!(request(gateway.data, "GET /profiles/absent", &[], b"").status, 404);
    eventually("the lost lines are counted", || dropped(&gateway, "stderr") > 0.0 && dropped(&gateway, "stdout") > 0.0);
    works_and_stops(gateway);
}

#[test]
fn log_files_at_the_limit_of_their_size_stop_nothing() {
    let (ucs, dir, logs) = (Ucs::usual(), TempDir::new(), TempDir::new());
    let full = |name| {
        let file = File::options().append(true).open(logs.file(name, "")).unwrap();
        file.set_len(1 << 20).unwrap();
        file
    };
    let gateway = start(&dir, &ucs, full("out"), full("err"));
    gateway.limit_files(Some(1 << 20));
    assert_eq!(request(gateway.data, "GET /profiles/absent", &[], b"").status, 404);
    eventually("the lost lines are counted", || dropped(&gateway, "stderr") > 0.0 && dropped(&gateway, "stdout") > 0.0);
    works_and_stops(gateway);
}

#[test]
fn log_readers_that_do_not_read_stop_nothing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let ((_unread_access, stdout), (_unread, stderr)) = (full_pipe(), full_pipe());
    works_and_stops(start(&dir, &ucs, stdout, stderr));
}

/// With a pipe that was set not to block, by whoever shares it, a write fails instead of waiting.
#[test]
fn a_log_stream_that_refuses_to_block_loses_nothing_that_fits() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let (reader, writer) = full_pipe();
    let again = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let stderr = File::options().write(true).custom_flags(NONBLOCK).open(again).unwrap();
    drop(writer);
    let gateway = start(&dir, &ucs, Stdio::null(), stderr);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    let read = Read::from(reader);
    let said = |message: &str| read.events().iter().any(|event| event["message"] == message);
    eventually("what waited is written", || said("ready"));
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
    eventually("the last word is written", || said("stopped"));
}

/// What a log's reader has read.
struct Read(Arc<Mutex<Vec<u8>>>);

impl From<PipeReader> for Read {
    fn from(mut reader: PipeReader) -> Read {
        let kept = Arc::<Mutex<Vec<u8>>>::default();
        let read = Read(Arc::clone(&kept));
        std::thread::spawn(move || {
            let mut buffer = [0; 64 * 1024];
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                kept.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        read
    }
}

impl Read {
    /// The lines that have ended, behind the filling of the pipe. Each must be whole.
    #[track_caller]
    fn events(&self) -> Vec<Value> {
        let bytes = self.0.lock().unwrap();
        let text = str::from_utf8(&bytes).unwrap_or_default().trim_start_matches('.');
        let ended = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = ended.lines();
        lines.map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Those with this message about this stream.
    fn about(&self, stream: &str, message: &str) -> Vec<Value> {
        let is_so = |event: &Value| event["message"] == message && event["stream"] == stream;
        self.events().into_iter().filter(is_so).collect()
    }

    /// How many lines of this stream were told to be missing.
    fn told_missing(&self, stream: &str) -> f64 {
        self.about(stream, "log lines were dropped").iter().map(|event| event["lines"].as_f64().unwrap()).sum()
    }
}

/// A table whose faults fill a log quickly.
fn faulty_table(dir: &TempDir) -> PathBuf {
    let fault = "  - {operation: nonsense, method: GET, path: nonsense, class: nonsense}\n";
    dir.file("faulty.yaml", &format!("version: 1\nroutes:\n{}", fault.repeat(2000)))
}

#[test]
fn who_reads_the_log_again_is_told_how_many_lines_are_missing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let table = dir.file("routes.yaml", &std::fs::read_to_string("routes.yaml").unwrap());
    let (reader, stderr) = full_pipe();
    let flags = [&ALONE[..], &["--routes", table.to_str().unwrap()]].concat();
    let gateway = Gateway::start_into(&dir.path().join("state"), ucs.address, &flags, Stdio::null(), stderr.into());
    std::fs::copy(faulty_table(&dir), &table).unwrap();
    eventually("lines are dropped", || {
        gateway.signal("HUP");
        dropped(&gateway, "stderr") > 3.0
    });
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200, "and nothing else");
    let read = Read::from(reader);
    eventually("all that is missing is told", || {
        // A reload that comes last may be dropped after the first word.
        read.told_missing("stderr") > 3.0 && read.told_missing("stderr") == dropped(&gateway, "stderr")
    });
    assert!(read.events().iter().any(|event| event["message"] == "ready"), "the oldest are kept");
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
}

#[test]
fn who_reads_the_access_log_again_is_told_how_many_lines_are_missing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let ((reader, stdout), (log, stderr)) = (full_pipe(), std::io::pipe().unwrap());
    let (gateway, log) = (start(&dir, &ucs, stdout, stderr), Read::from(log));
    let target = format!("GET /absent/{}", "x".repeat(8000));
    // To be told from the admin port, the data port was asked once.
    let mut served = 1;
    while dropped(&gateway, "stdout") == 0.0 {
        assert_eq!(request(gateway.data, &target, &[], b"").status, 404);
        served += 1;
    }
    eventually("it is said at once", || log.about("stdout", "log lines are dropped").len() == 1);
    assert_eq!(log.told_missing("stdout"), 0.0);
    let read = Read::from(reader);
    eventually("each line is written or told to be missing", || {
        read.events().len() as f64 + log.told_missing("stdout") == f64::from(served)
    });
    assert_eq!(log.told_missing("stdout"), dropped(&gateway, "stdout"));
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
}

/// A process of which nothing is read. It is killed when dropped.
struct Unheard(Child);

impl Unheard {
    /// Its exit code, when it has ended.
    #[track_caller]
    fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_last_word_that_nobody_reads_keeps_no_process() {
    let (_unread, stderr) = full_pipe();
    let mut command = tool::command(&["serve", "--upstream", "http://127.0.0.1:1", "--log-level", "a=b=c"]);
    let mut command = Unheard(command.stdout(Stdio::null()).stderr(stderr).spawn().unwrap());
    assert_eq!(command.ended(), Some(2));
}

#[test]
fn a_demo_that_nobody_reads_runs_and_stops() {
    let ((_unread, stdout), (_unread_log, stderr)) = (full_pipe(), full_pipe());
    let ports = ["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut demo = Unheard(tool::command(&ports).stdout(stdout).stderr(stderr).spawn().unwrap());
    let pid = demo.0.id();
    let is_live = |address| request(address, "GET /livez", &[], b"").status == 200;
    eventually("it listens", || listeners(pid).len() == 3);
    eventually("its admin plane answers", || listeners(pid).into_iter().any(is_live));
    let sent = std::process::Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(demo.ended(), Some(0));
}
