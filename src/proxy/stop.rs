//! How far the gateway is with its end, as its workers see it. `launch` sets it.

use std::time::Duration;

use tokio::time::Instant;

/// The stages of a stop. They only move on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// None was requested.
    #[default]
    None,
    /// Connections are still accepted; each ends with its next response.
    Lingering {
        /// When the requests in flight are cut.
        cut_at: Instant,
    },
    /// No connection is accepted; an idle one is closed once it has been idle for `--stop-linger`.
    Draining {
        /// When the requests in flight are cut.
        cut_at: Instant,
    },
}

impl Stop {
    /// The last stage, in which requests in flight have this time.
    pub fn draining_for(time: Duration) -> Stop {
        Stop::Draining { cut_at: Instant::now() + time }
    }

    /// Whether one was requested.
    pub(crate) fn has_begun(self) -> bool {
        self != Stop::None
    }

    /// The last stage, whatever this one is.
    pub(super) fn drained(self) -> Stop {
        match self {
            Stop::None => Stop::draining_for(Duration::ZERO),
            Stop::Lingering { cut_at } | Stop::Draining { cut_at } => Stop::Draining { cut_at },
        }
    }
}
