//! Stops and restarts as clients and the service manager see them. What a stop does to a flip is in `cli::serve` and in
//! `flip_events` too.

/// Restarts under load with clients of HTTP/2.
mod http2;
/// Restarts under load on a socket that outlives the process.
mod load;
/// How clients learn of a stop.
mod stop;

/// Sockets that the service manager passes on, and what it is told.
mod manager;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::support::{Gateway, PATIENCE, eventually};

/// The flags of a gateway that sends nothing of its own to UCS.
const ALONE: [&str; 6] = ["--schema-probe", "off", "--upstream-mode", "off", "--initial-mode", "production"];

type Started = Result<Gateway, (ExitStatus, Vec<String>)>;

/// Starts a gateway with a socket of the test as a service manager does. `variables` are those that describe the socket.
fn start_on(socket: impl Into<OwnedFd>, variables: &str, dir: &Path, upstream: std::net::SocketAddr) -> Started {
    let prelude = format!("exec 3<&0 </dev/null; export LISTEN_PID=$$ {variables}");
    let flags = [&ALONE[..], &["--stop-linger", "2s", "--workers", "2"]].concat();
    Gateway::start_with_input(Stdio::from(socket.into()), &prelude, dir, upstream, &flags)
}

/// Another handle of the socket, to give away.
fn handle(listener: &TcpListener) -> TcpListener {
    listener.try_clone().unwrap()
}

/// How many clients of a load there are.
const CLIENTS: u64 = 12;

/// Responses to all of them between two restarts.
const BETWEEN: u64 = 10 * CLIENTS;

/// Restarts the gateway so many times, each time after clients were served.
fn restart_under_load(restarts: u32, gateway: &mut Gateway, start: impl Fn() -> Started, answered: &AtomicU64) {
    let serves_clients = || {
        let before = answered.load(Ordering::Relaxed);
        eventually("clients are served", || answered.load(Ordering::Relaxed) >= before + BETWEEN);
    };
    for restart in 0..restarts {
        serves_clients();
        gateway.signal("TERM");
        let status = gateway.exited(PATIENCE);
        assert_eq!(status.code(), Some(0), "restart {restart}: {}", gateway.log());
        *gateway = start().expect("it starts again");
    }
    serves_clients();
}

/// Ends the clients of a load, also when the thread that drives them panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
