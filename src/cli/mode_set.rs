//! `mode set`: sends a change, shows its drain, and on Ctrl-C asks whether to keep or to revert it. It decides nothing about
//! modes: a revert is one more request.

use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

use super::admin_client::{AdminClient, CallError};
use super::drain_screen::DrainScreen;
use super::mode_text::{describe_drain, word};
use super::output::note;
use super::times::Reader;

/// The timeout of the calls that take a change back.
const PATIENCE: Duration = Duration::from_secs(30);

/// The wait before the events are read again after their stream broke.
const RECONNECT: Duration = Duration::from_millis(500);

/// A request to revert that is under way, with the reason if it fails.
type Reverting<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

/// How the command ended.
pub(super) enum SetEnd {
    /// The gateway responded.
    Ended(Value),
    /// The operator left; the change continues.
    Left,
}

/// Changes the mode. The drain is shown on standard error: as a bar on a terminal, else as lines.
pub(super) async fn set(client: &AdminClient, body: &Value, patience: Duration) -> Result<SetEnd, CallError> {
    let flip = client.call(Method::PUT, "/mode", Some(body), patience);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| CallError::Broken(error.to_string()))?;
    let (sender, mut drains) = mpsc::unbounded_channel();
    let progress = follow(client, sender);
    tokio::pin!(flip, progress);
    let mut display = Display::new(body);
    let mut ticks = every_second();
    let mut reverting: Option<Reverting> = None;
    loop {
        let decision = tokio::select! {
            biased;
            ended = &mut flip => {
                display.clear();
                return ended.map(SetEnd::Ended);
            }
            reverted = optional(reverting.as_mut()), if reverting.is_some() => {
                reverting = None;
                let _ = reverted.inspect_err(|why| display.say(&format!("it was not reverted: {why}")));
                continue;
            }
            decision = display.decision(&mut interrupt) => decision,
            Some(event) = drains.recv() => {
                display.drain(event);
                continue;
            }
            () = &mut progress => continue,
            _ = ticks.tick() => {
                display.draw();
                continue;
            }
        };
        if decision == Decision::Leave {
            display.clear();
            return Ok(SetEnd::Left);
        }
        display.say("reverting …");
        reverting = Some(Box::pin(revert(client, word(&body["mode"]))));
    }
}

fn every_second() -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Takes the change back, unless it has ended meanwhile. Before its flip begins, while the gateway asks UCS about the schema,
/// the record is still that of the old mode.
async fn revert(client: &AdminClient, target: &str) -> Result<(), String> {
    let record = client.call(Method::GET, "/mode", None, PATIENCE).await.map_err(|error| error.to_string())?;
    let old_mode = match record["from"].as_str() {
        _ if record["mode"] != target => word(&record["mode"]),
        Some(from) => from,
        None => return Err("the change has ended already".to_owned()),
    };
    let body = json!({"mode": old_mode, "if_revision": record["revision"], "reason": "reverted with Ctrl-C"});
    client.call(Method::PUT, "/mode", Some(&body), PATIENCE).await.map(drop).map_err(|error| error.to_string())
}

async fn optional<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Passes the drain events of the flip on, and never ends. Progress is optional: without the permission or the stream, the
/// change continues.
async fn follow(client: &AdminClient, drains: mpsc::UnboundedSender<Value>) {
    loop {
        match client.events().await {
            Ok(mut events) => {
                while let Ok(Some((name, event))) = events.next().await {
                    if name == "drain" {
                        drop(drains.send(event));
                    }
                }
            }
            Err(CallError::Refused(_)) => std::future::pending().await,
            Err(_) => {}
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// The operator's decision after Ctrl-C, unless it is to keep the change going.
#[derive(PartialEq, Eq)]
enum Decision {
    Revert,
    Leave,
}

/// Where the drain is shown, and whether the question is open.
struct Display {
    /// None without a terminal: lines.
    screen: Option<DrainScreen>,
    drain: Option<Value>,
    old_mode: &'static str,
    /// The lines that the operator types, while the question is open or has been.
    typed: Option<mpsc::UnboundedReceiver<String>>,
    is_asking: bool,
}

impl Display {
    fn new(body: &Value) -> Display {
        let old_mode = if body["mode"] == "production" { "maintenance" } else { "production" };
        Display { screen: DrainScreen::of_terminal(), drain: None, old_mode, typed: None, is_asking: false }
    }

    fn drain(&mut self, event: Value) {
        if self.screen.is_none() {
            drop(writeln!(io::stderr(), "{}", describe_drain(&event, &Reader::here())));
        }
        self.drain = Some(event);
        self.draw();
    }

    /// The question stays as it is: a redrawn line would hide the operator's typing.
    fn draw(&mut self) {
        if let (Some(screen), Some(drain), false) = (&mut self.screen, &self.drain, self.is_asking) {
            screen.draw(drain, &Reader::here());
        }
    }

    fn say(&mut self, text: &str) {
        self.clear();
        note(text);
        self.draw();
    }

    fn clear(&mut self) {
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
    }

    /// The first Ctrl-C asks, on a terminal; the second one, and any without a terminal, leaves.
    async fn decision(&mut self, interrupt: &mut Signal) -> Decision {
        loop {
            let typed = optional(self.typed.as_mut().map(|typed| Box::pin(typed.recv())));
            let line = tokio::select! {
                _ = interrupt.recv() => None,
                line = typed, if self.is_asking => Some(line.unwrap_or_default()),
            };
            let Some(screen) = &mut self.screen else { return Decision::Leave };
            let Some(line) = line else {
                if self.is_asking {
                    return Decision::Leave;
                }
                self.is_asking = true;
                self.typed.get_or_insert_with(typed_lines);
                screen.ask(&format!(
                    "Keep the change going, or revert to {}? [k]eep, [r]evert, Ctrl-C to leave it going: ",
                    self.old_mode
                ));
                continue;
            };
            screen.line_was_typed();
            match line.trim().to_lowercase().as_str() {
                "k" | "keep" => {
                    self.is_asking = false;
                    self.say("the change continues");
                }
                "r" | "revert" => {
                    self.is_asking = false;
                    return Decision::Revert;
                }
                _ => screen.ask("k for keep, r for revert, Ctrl-C to leave: "),
            }
        }
    }
}

/// The lines of standard input, read by a thread that the end of the process ends.
fn typed_lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
