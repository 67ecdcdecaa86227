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

use crate::support::Gateway;

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
