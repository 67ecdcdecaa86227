//! The vocabulary of the tests. It asserts nothing but its own deadlines: a wait that is over panics with what was seen.

pub mod admin;
pub mod crowd;
pub mod events;
pub mod gateway;
pub mod http;
pub mod json_schema;
pub mod kernel;
pub mod pattern;
pub mod scripted;
pub mod temp;
pub mod terminal;
pub mod tool;
pub mod ucs;
pub mod upload;

use std::time::{Duration, Instant};

pub use events::Events;
pub use gateway::Gateway;
pub use http::{Connection, Reply, request};
pub use scripted::{Conn, Scripted};
pub use temp::TempDir;
pub use terminal::Terminal;
pub use ucs::Ucs;
pub use upload::Upload;

/// How long any one wait may take. Never reached by a test that passes, also where the tests get a small share of the processor:
/// beside compilers of higher priority, an exchange took more than ten seconds. Less than the gateway's own limits for UCS and
/// clients are unless a test sets them (a minute), so that a wait sees what ends before them.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `holds`, for effects that send no signal to wait on. Panics with `what` when it never does.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address where connections are refused: the system gave the port a moment ago and gives it to nobody else so soon.
pub fn nobody_listens() -> std::net::SocketAddr {
    std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}
