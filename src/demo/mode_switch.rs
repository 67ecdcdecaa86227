//! The stand-in's own Server Mode: the requests that it admits, and the switch between modes (CV.WS.MODE). It follows
//! the "Server Mode" page: 503 outside the mode, 503 to everything while switching, and a switch waits for the running
//! requests that the new mode forbids.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::policy::mode::{Mode, ModeSet};

/// Documented default wait of a switch to production for schema requests. The other direction has no documented limit,
/// and none here.
const WAIT_FOR_SCHEMA_REQUESTS: Duration = Duration::from_secs(60);

/// The subject of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Schemas: `/metadata/…`.
    Schema,
    /// Profiles, services, states, tasks and interactions.
    Data,
    /// The server itself: its mode and status. Never waited for.
    Server,
}

/// The reason why a request is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// The mode forbids it.
    InMode(Mode),
    /// A switch is under way.
    Switching,
}

/// The mode and the requests that run under it.
#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    switching: bool,
    /// Number of running requests, by scope.
    running: [usize; 3],
    started: Timestamp,
}

/// Admits requests by mode, and switches the mode. A watch channel serves as lock and as signal that something changed.
pub(super) struct ModeSwitch {
    state: Arc<watch::Sender<State>>,
}

impl ModeSwitch {
    pub(super) fn new(mode: Mode) -> ModeSwitch {
        let state = State { mode, switching: false, running: [0; 3], started: Timestamp::now() };
        ModeSwitch { state: Arc::new(watch::Sender::new(state)) }
    }

    pub(super) fn mode(&self) -> Mode {
        self.state.borrow().mode
    }

    pub(super) fn is_switching(&self) -> bool {
        self.state.borrow().switching
    }

    pub(super) fn started(&self) -> Timestamp {
        self.state.borrow().started
    }

    /// Admits a request that is open in `modes`; `None` admits in every mode and during a switch. The request counts as
    /// running until the result is dropped.
    pub(super) fn admit(&self, scope: Scope, modes: Option<ModeSet>) -> Result<RunningRequest, Unavailable> {
        let mut outcome = Ok(());
        self.state.send_if_modified(|state| {
            if let Some(modes) = modes {
                if state.switching {
                    outcome = Err(Unavailable::Switching);
                } else if !modes.admits(state.mode) {
                    outcome = Err(Unavailable::InMode(state.mode));
                }
            }
            if outcome.is_ok() {
                state.running[scope as usize] += 1;
            }
            outcome.is_ok()
        });
        outcome.map(|()| RunningRequest { state: Arc::clone(&self.state), scope })
    }

    /// Set Server Mode: refuses all requests, waits for the running ones and for `released`, and opens in `target`. A
    /// target that is already in force refuses nothing meanwhile (undocumented).
    pub(super) async fn switch(&self, target: Mode, released: impl Future<Output = ()>) -> Result<(), Unavailable> {
        let mut begun = Ok(());
        self.state.send_if_modified(|state| {
            if state.switching {
                begun = Err(Unavailable::Switching);
            }
            let begins = begun.is_ok() && state.mode != target;
            state.switching |= begins;
            begins
        });
        begun?;
        let mut states = self.state.subscribe();
        let forbidden = if target == Mode::Production { Scope::Schema } else { Scope::Data };
        let quiet = states.wait_for(|state| state.running[forbidden as usize] == 0);
        match target {
            // The case that the minute passes is undocumented; the stand-in switches then.
            Mode::Production => drop(tokio::time::timeout(WAIT_FOR_SCHEMA_REQUESTS, quiet).await),
            Mode::Maintenance => drop(quiet.await),
        }
        released.await;
        self.set(target);
        Ok(())
    }

    /// UCS changes its mode by itself: at once, waiting for nothing.
    pub(super) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.switching = false;
        });
    }

    /// Back to `mode`, with a later `started`; at least a millisecond later, which is the resolution of the status.
    pub(super) fn restart(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.switching = false;
            state.started = Timestamp::now().max(state.started + SignedDuration::from_millis(1));
        });
    }
}

/// The current time in the documented format, `yyyy-MM-ddTHH:mm:ss.SSSZ`.
pub(super) fn now() -> String {
    formatted(Timestamp::now())
}

/// A time in the documented format.
pub(super) fn formatted(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

pub(super) struct RunningRequest {
    state: Arc<watch::Sender<State>>,
    scope: Scope,
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.state.send_modify(|state| state.running[self.scope as usize] -= 1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_switch_refuses_everything_and_waits_for_the_requests_that_the_new_mode_forbids() {
        let mode_switch = ModeSwitch::new(Mode::Production);
        let write = mode_switch.admit(Scope::Data, Some(ModeSet::Production)).unwrap();
        let read = mode_switch.admit(Scope::Schema, Some(ModeSet::Both)).unwrap();
        let switch = mode_switch.switch(Mode::Maintenance, std::future::ready(()));
        tokio::pin!(switch);
        tokio::select! {
            biased;
            _ = &mut switch => panic!("the switch did not wait"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(mode_switch.admit(Scope::Server, Some(ModeSet::Both)).err(), Some(Unavailable::Switching));
        assert_eq!(mode_switch.switch(Mode::Production, std::future::ready(())).await, Err(Unavailable::Switching));
        drop(write);
        switch.await.unwrap();
        drop(read);
        assert_eq!(
            mode_switch.admit(Scope::Data, Some(ModeSet::Production)).err(),
            Some(Unavailable::InMode(Mode::Maintenance))
        );
    }

    #[test]
    fn a_restart_moves_started_even_within_a_millisecond() {
        let mode_switch = ModeSwitch::new(Mode::Maintenance);
        let before = mode_switch.started();
        mode_switch.set(Mode::Production);
        mode_switch.restart(Mode::Maintenance);
        assert!(mode_switch.started() >= before + SignedDuration::from_millis(1));
        assert_eq!(mode_switch.mode(), Mode::Maintenance);
    }
}
