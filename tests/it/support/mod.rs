//! The vocabulary of the tests. It asserts nothing but its own deadlines: a wait that is over panics with what was seen.

pub mod admin;
pub mod crowd;
pub mod etcd;
pub mod events;
pub mod everywhere;
pub mod gateway;
pub mod h2;
pub mod hpack;
pub mod http;
pub mod json_schema;
pub mod kernel;
pub mod pattern;
pub mod relay;
pub mod scripted;
pub mod temp;
pub mod terminal;
pub mod tls;
pub mod tool;
pub mod ucs;
pub mod upload;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

pub use events::Events;
pub use gateway::Gateway;
pub use h2::H2;
pub use http::{Connection, Reply, request};
pub use scripted::{Conn, Scripted};
pub use temp::TempDir;
pub use terminal::Terminal;
pub use ucs::{Ucs, timed_exchange};
pub use upload::Upload;

/// How long any one wait may take. Never reached by a test that passes, also where the tests get a small share of the processor:
/// beside compilers of higher priority, an exchange took more than ten seconds. Less than the gateway's own limits for UCS and
/// clients are unless a test sets them (a minute), so that a wait sees what ends before them.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// Waits until `holds`, for effects that send no signal to wait on. Panics with `what` when it never does.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    eventually_in(PATIENCE, what, &mut holds);
}

/// The same for what takes longer than any other wait of the tests.
#[track_caller]
pub fn eventually_in(patience: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An address where connections are refused until a server is started there by name. It is reserved for as long as the tests
/// run: else the next listener of another test could get it, and the calls of a gateway that waits for its UCS.
pub fn nobody_listens() -> SocketAddr {
    static RESERVED: Mutex<Vec<Socket>> = Mutex::new(Vec::new());
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    RESERVED.lock().unwrap().push(socket);
    address
}
