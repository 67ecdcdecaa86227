//! UCS's own mode: reading it, setting it, and the rule for what to do when it is not the gateway's. It never touches
//! the gateway's record; what follows from its advice is done in `duties`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;

use crate::control::upstream_client::{CallError, UpstreamClient};
use crate::policy::mode::{Mode, SchemaKnowledge};

/// How long an unknown outcome of Set Server Mode is looked into. UCS answers 503 while it is still switching.
const OUTCOME_LIMIT: Duration = Duration::from_secs(10);
const OUTCOME_LOOK: Duration = Duration::from_millis(200);

/// What UCS says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its mode.
    pub mode: Mode,
    /// When it started, as it writes it; another value means a restart.
    pub started: Option<String>,
}

/// What to do about UCS's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// It is the gateway's.
    Agreed,
    /// It is not, but once is not enough.
    Wait,
    /// UCS closed itself: follow it to maintenance.
    Follow,
    /// UCS was restarted or opened behind the gateway's back: set it to the gateway's mode.
    SetBack,
}

/// What was seen before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollMemory {
    /// `started` of the last poll whose mode was the gateway's.
    agreed_started: Option<String>,
    /// Polls in a row that found maintenance while the gateway is in production.
    closed_in_a_row: u32,
}

/// The rule. `memory` is what the earlier polls left, and takes this one in.
pub fn advise(memory: &mut PollMemory, seen: &UpstreamStatus, gateway: Mode) -> Advice {
    if seen.mode == gateway {
        *memory = PollMemory { agreed_started: seen.started.clone(), closed_in_a_row: 0 };
        return Advice::Agreed;
    }
    let restarted = memory.agreed_started.is_some() && seen.started.is_some() && memory.agreed_started != seen.started;
    if restarted || gateway == Mode::Maintenance {
        return Advice::SetBack;
    }
    memory.closed_in_a_row += 1;
    if memory.closed_in_a_row >= 2 { Advice::Follow } else { Advice::Wait }
}

/// What arrived from UCS outside of a flip.
#[derive(Debug)]
pub(super) enum News {
    /// A poll: the status, or `None` when UCS reports no mode. With the revision that was in force when it began.
    Polled { revision: u64, status: Result<Option<UpstreamStatus>, CallError> },
    /// An attempt to set UCS back ended.
    SetBack { outcome: Result<(), Failure> },
}

/// Why UCS is not in the wished mode.
#[derive(Debug)]
pub(super) enum Failure {
    /// UCS has no Set Server Mode.
    Lacking(u16),
    /// UCS said no.
    Refused(String),
    /// Nobody knows, and its status does not show the wished mode.
    Unsure(String),
}

/// See the module.
pub(super) struct UpstreamMode {
    link: UpstreamLink,
    enabled: bool,
    poll_interval: Duration,
    due: Instant,
    running: Option<Pin<Box<dyn Future<Output = News> + Send>>>,
    memory: PollMemory,
    /// The last status that was read.
    last: Option<UpstreamStatus>,
    /// UCS answered that it has no Set Server Mode: the gateway's mode alone counts from then on.
    lacking: bool,
    /// Set Server Mode was sent by the flip under way, so UCS may have moved.
    moved: bool,
}

/// How UCS is spoken to. Cheap to clone into a task of its own.
#[derive(Clone, Debug)]
pub(super) struct UpstreamLink {
    pub client: UpstreamClient,
    pub set_mode_timeout: Duration,
}

impl UpstreamMode {
    pub(super) fn new(link: UpstreamLink, enabled: bool, poll_interval: Duration) -> UpstreamMode {
        UpstreamMode {
            link,
            enabled,
            poll_interval,
            due: Instant::now(),
            running: None,
            memory: PollMemory::default(),
            last: None,
            lacking: false,
            moved: false,
        }
    }

    /// The mode that UCS reported last.
    pub(super) fn reported(&self) -> Option<Mode> {
        self.last.as_ref().map(|status| status.mode)
    }

    /// The next thing that UCS tells outside of a flip. May be dropped and called again without losing anything.
    pub(super) async fn next(&mut self, base: &str, revision: u64) -> News {
        if !self.enabled || self.lacking {
            return std::future::pending().await;
        }
        if self.running.is_none() {
            tokio::time::sleep_until(self.due).await;
            let (link, base) = (self.link.clone(), base.to_owned());
            self.running = Some(Box::pin(async move { News::Polled { revision, status: link.status(&base).await } }));
        }
        let running = self.running.as_mut().expect("it was just set");
        let news = running.as_mut().await;
        self.running = None;
        self.due = Instant::now() + self.poll_interval;
        news
    }

    /// Takes a status in and says what to do about it.
    pub(super) fn learn(&mut self, status: UpstreamStatus, gateway: Mode) -> Advice {
        let advice = advise(&mut self.memory, &status, gateway);
        self.last = Some(status);
        advice
    }

    /// Sets UCS to `mode` beside everything else; the outcome is the next news.
    pub(super) fn begin_set_back(&mut self, base: &str, mode: Mode) {
        let (link, base) = (self.link.clone(), base.to_owned());
        self.running = Some(Box::pin(async move { News::SetBack { outcome: link.set(&base, mode).await } }));
    }

    /// UCS refused to be set back: believe it, so that the next polls follow it.
    pub(super) fn believe(&mut self) {
        self.memory.agreed_started = self.last.as_ref().and_then(|status| status.started.clone());
    }

    /// UCS has no Set Server Mode.
    pub(super) fn leave_alone(&mut self) {
        self.lacking = true;
    }

    /// The step of a flip: brings UCS to `target` if it has a mode of its own. An error is why it is not there.
    pub(super) async fn switch(&mut self, base: &str, target: Mode, schema: SchemaKnowledge) -> Result<(), String> {
        self.moved = false;
        if !self.enabled || self.lacking {
            return Ok(());
        }
        self.finish_running().await;
        match self.link.status(base).await {
            Ok(Some(status)) if status.mode == target => {
                self.agreed(status);
                return Ok(());
            }
            Ok(Some(status)) => self.last = Some(status),
            Ok(None) => return Ok(()),
            // A UCS that was never seen to have a mode does not hold the gateway up.
            Err(error) if self.last.is_none() => {
                warn!(%error, "UCS's mode cannot be read, and it never reported one: the flip is not forwarded");
                return Ok(());
            }
            // It has one, so whether it can be set decides, below.
            Err(_) => {}
        }
        self.moved = true;
        match self.link.set(base, target).await {
            Ok(()) => {
                self.forget_polls(target);
                Ok(())
            }
            Err(Failure::Lacking(404)) if target == Mode::Production && schema == SchemaKnowledge::Undefined => {
                Err("status 404: no profile schema is defined".to_owned())
            }
            Err(Failure::Lacking(_)) => {
                self.leave_alone();
                Ok(())
            }
            Err(Failure::Refused(detail) | Failure::Unsure(detail)) => Err(detail),
        }
    }

    /// Sets UCS back to `mode` if the flip under way has touched it.
    pub(super) async fn restore(&mut self, base: &str, mode: Mode) -> Result<(), String> {
        if !std::mem::take(&mut self.moved) || self.lacking {
            return Ok(());
        }
        if let Ok(Some(status)) = self.link.status(base).await
            && status.mode == mode
        {
            self.agreed(status);
            return Ok(());
        }
        match self.link.set(base, mode).await {
            Ok(()) => {
                self.forget_polls(mode);
                Ok(())
            }
            Err(Failure::Lacking(_)) => Ok(()),
            Err(Failure::Refused(detail) | Failure::Unsure(detail)) => Err(detail),
        }
    }

    /// A flip before a crash may have touched UCS.
    pub(super) fn suspect(&mut self) {
        self.moved = self.enabled;
    }

    /// A call that is under way must end first: two Set Server Mode at once have no order.
    async fn finish_running(&mut self) {
        if let Some(running) = self.running.as_mut() {
            running.as_mut().await;
            self.running = None;
        }
    }

    fn agreed(&mut self, status: UpstreamStatus) {
        self.memory = PollMemory { agreed_started: status.started.clone(), closed_in_a_row: 0 };
        self.last = Some(status);
    }

    fn forget_polls(&mut self, mode: Mode) {
        self.memory.closed_in_a_row = 0;
        if let Some(last) = &mut self.last {
            last.mode = mode;
        }
    }
}

impl UpstreamLink {
    /// What UCS says of itself; `None` when it has no such operation or reports no mode. An answer that tells nothing,
    /// like the 503 of a UCS that is just switching, is an error.
    pub(super) async fn status(&self, base: &str) -> Result<Option<UpstreamStatus>, CallError> {
        let reply = self.client.get(&format!("{base}/server/status")).await?;
        match reply.status {
            200 => Ok(status_of(&reply.body)),
            404 | 405 | 501 => Ok(None),
            status => Err(CallError::Status(status)),
        }
    }

    /// Set Server Mode. When its outcome is unknown, the status decides.
    async fn set(&self, base: &str, mode: Mode) -> Result<(), Failure> {
        let body = format!("{{\"mode\":\"{mode}\"}}");
        let answer = self.client.post_json(&format!("{base}/server/mode"), body, self.set_mode_timeout).await;
        let doubt = match answer {
            Ok(reply) => match reply.status {
                200..=299 => return Ok(()),
                status @ (404 | 405 | 501) => return Err(Failure::Lacking(status)),
                status @ 400..=499 => return Err(Failure::Refused(format!("status {status}"))),
                status => format!("status {status}"),
            },
            Err(error @ (CallError::Connect { .. } | CallError::Request(_))) => {
                return Err(Failure::Refused(error.to_string()));
            }
            Err(error) => error.to_string(),
        };
        let limit = Instant::now() + OUTCOME_LIMIT;
        loop {
            match self.status(base).await {
                Ok(Some(status)) if status.mode == mode => return Ok(()),
                Ok(Some(status)) => return Err(Failure::Unsure(format!("{doubt}, and it reports {}", status.mode))),
                Ok(None) | Err(_) if Instant::now() < limit => tokio::time::sleep(OUTCOME_LOOK).await,
                Ok(None) | Err(_) => return Err(Failure::Unsure(format!("{doubt}, and it does not report its mode"))),
            }
        }
    }
}

fn status_of(body: &[u8]) -> Option<UpstreamStatus> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let mode = match document.get("mode")?.as_str()?.to_ascii_lowercase().as_str() {
        "production" => Mode::Production,
        "maintenance" => Mode::Maintenance,
        _ => return None,
    };
    let started = document.get("started").map(|started| started.to_string());
    Some(UpstreamStatus { mode, started })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mode: Mode, started: &str) -> UpstreamStatus {
        UpstreamStatus { mode, started: Some(started.to_owned()) }
    }

    #[test]
    fn two_polls_in_a_row_are_followed_and_one_is_not() {
        let mut memory = PollMemory::default();
        let closed = seen(Mode::Maintenance, "a");
        assert_eq!(advise(&mut memory, &seen(Mode::Production, "a"), Mode::Production), Advice::Agreed);
        assert_eq!(advise(&mut memory, &closed, Mode::Production), Advice::Wait);
        assert_eq!(advise(&mut memory, &seen(Mode::Production, "a"), Mode::Production), Advice::Agreed);
        assert_eq!(advise(&mut memory, &closed, Mode::Production), Advice::Wait);
        assert_eq!(advise(&mut memory, &closed, Mode::Production), Advice::Follow);
    }

    #[test]
    fn a_restarted_ucs_is_set_back_until_it_agrees() {
        let mut memory = PollMemory::default();
        advise(&mut memory, &seen(Mode::Production, "a"), Mode::Production);
        for _ in 0..3 {
            assert_eq!(advise(&mut memory, &seen(Mode::Maintenance, "b"), Mode::Production), Advice::SetBack);
        }
        assert_eq!(advise(&mut memory, &seen(Mode::Production, "b"), Mode::Production), Advice::Agreed);
        assert_eq!(advise(&mut memory, &seen(Mode::Maintenance, "b"), Mode::Production), Advice::Wait);
    }

    #[test]
    fn an_open_ucs_is_set_back_while_the_gateway_is_in_maintenance() {
        let mut memory = PollMemory::default();
        assert_eq!(advise(&mut memory, &seen(Mode::Production, "a"), Mode::Maintenance), Advice::SetBack);
        assert_eq!(advise(&mut memory, &seen(Mode::Maintenance, "a"), Mode::Maintenance), Advice::Agreed);
    }

    #[test]
    fn a_status_is_read_whatever_its_case() {
        let status = status_of(br#"{"mode":"Production","started":"2010-02-24T14:35:28.668Z"}"#);
        assert_eq!(status.map(|status| status.mode), Some(Mode::Production));
        for body in ["", "{}", "{\"mode\":1}", "{\"mode\":\"asleep\"}", "[]"] {
            assert_eq!(status_of(body.as_bytes()), None, "{body}");
        }
    }
}
