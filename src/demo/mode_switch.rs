//! The stand-in's own Server Mode: which requests it lets in, and the switch between modes (CV.WS.MODE). It follows
//! the "Server Mode" page: 503 outside the mode, 503 to everything while switching, and a switch waits for the
//! running requests of the class that it closes.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::policy::mode::{Mode, ModeSet};

/// Documented default of how long a switch to production waits for schema requests. For the other direction no limit
/// is documented, and none is kept.
const WAIT_FOR_SCHEMA_REQUESTS: Duration = Duration::from_secs(60);

/// What an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Schemas: `/metadata/…`.
    Schema,
    /// Profiles, services, states, tasks and interactions.
    Data,
    /// The server itself: its mode and status. Never waited for.
    Server,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The mode forbids it.
    In(Mode),
    /// A switch is under way.
    Switching,
}

/// The mode and what runs under it.
#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    switching: bool,
    schema_requests: usize,
    data_requests: usize,
    started: Timestamp,
}

impl State {
    fn running(&mut self, class: Class) -> Option<&mut usize> {
        match class {
            Class::Schema => Some(&mut self.schema_requests),
            Class::Data => Some(&mut self.data_requests),
            Class::Server => None,
        }
    }

    /// Requests that must end before `target` can begin.
    fn in_the_way_of(&self, target: Mode) -> usize {
        match target {
            Mode::Production => self.schema_requests,
            Mode::Maintenance => self.data_requests,
        }
    }
}

/// Lets requests in or not. A watch channel serves as lock and as signal that something changed.
pub(super) struct Door {
    state: Arc<watch::Sender<State>>,
}

impl Door {
    pub(super) fn new(mode: Mode) -> Door {
        let state = State { mode, switching: false, schema_requests: 0, data_requests: 0, started: Timestamp::now() };
        Door { state: Arc::new(watch::Sender::new(state)) }
    }

    pub(super) fn mode(&self) -> Mode {
        self.state.borrow().mode
    }

    pub(super) fn started(&self) -> Timestamp {
        self.state.borrow().started
    }

    /// Lets a request in that only `modes` admit; `None` admits in every mode and even without a mode API. The class
    /// counts as running until the permit is dropped.
    pub(super) fn enter(&self, class: Class, modes: Option<ModeSet>) -> Result<Permit, Closed> {
        let mut outcome = Ok(());
        self.state.send_if_modified(|state| {
            if let Some(modes) = modes {
                if state.switching {
                    outcome = Err(Closed::Switching);
                } else if !modes.admits(state.mode) {
                    outcome = Err(Closed::In(state.mode));
                }
            }
            if outcome.is_ok()
                && let Some(running) = state.running(class)
            {
                *running += 1;
            }
            outcome.is_ok()
        });
        outcome.map(|()| Permit { state: Arc::clone(&self.state), class })
    }

    /// Set Server Mode: closes everything, waits, takes `extra` longer, and opens in `target`. A target that is already
    /// in force is reached at once (undocumented).
    pub(super) async fn switch(&self, target: Mode, extra: Duration) -> Result<(), Closed> {
        let mut before = Ok(());
        self.state.send_if_modified(|state| {
            if state.switching {
                before = Err(Closed::Switching);
            }
            let begins = before.is_ok() && state.mode != target;
            state.switching |= begins;
            begins
        });
        before?;
        let mut states = self.state.subscribe();
        let quiet = states.wait_for(|state| state.in_the_way_of(target) == 0);
        match target {
            // What happens when the minute is over is undocumented; the stand-in switches then.
            Mode::Production => drop(tokio::time::timeout(WAIT_FOR_SCHEMA_REQUESTS, quiet).await),
            Mode::Maintenance => drop(quiet.await),
        }
        tokio::time::sleep(extra).await;
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

    /// Back to `mode`, with a later `started`; at least a millisecond later, which is as fine as the status tells it.
    pub(super) fn restart(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            state.switching = false;
            state.started = Timestamp::now().max(state.started + SignedDuration::from_millis(1));
        });
    }
}

/// The present in the documented format, `yyyy-MM-ddTHH:mm:ss.SSSZ`.
pub(super) fn now() -> String {
    written(Timestamp::now())
}

/// A time in the documented format.
pub(super) fn written(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A request that was let in.
pub(super) struct Permit {
    state: Arc<watch::Sender<State>>,
    class: Class,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.state.send_modify(|state| {
            if let Some(running) = state.running(self.class) {
                *running -= 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_switch_closes_everything_and_waits_for_the_class_that_it_closes() {
        let door = Door::new(Mode::Production);
        let write = door.enter(Class::Data, Some(ModeSet::Production)).unwrap();
        let read = door.enter(Class::Schema, Some(ModeSet::Both)).unwrap();
        let switch = door.switch(Mode::Maintenance, Duration::ZERO);
        tokio::pin!(switch);
        tokio::select! {
            biased;
            _ = &mut switch => panic!("it did not wait"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(door.enter(Class::Server, Some(ModeSet::Both)).err(), Some(Closed::Switching));
        assert_eq!(door.switch(Mode::Production, Duration::ZERO).await, Err(Closed::Switching));
        drop(write);
        switch.await.unwrap();
        drop(read);
        assert_eq!(door.enter(Class::Data, Some(ModeSet::Production)).err(), Some(Closed::In(Mode::Maintenance)));
    }

    #[test]
    fn a_restart_moves_started_even_within_a_millisecond() {
        let door = Door::new(Mode::Maintenance);
        let before = door.started();
        door.set(Mode::Production);
        door.restart(Mode::Maintenance);
        assert!(door.started() >= before + SignedDuration::from_millis(1));
        assert_eq!(door.mode(), Mode::Maintenance);
    }
}
