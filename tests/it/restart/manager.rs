//! The service manager: sockets that it passes on (socket activation), and what the gateway tells it.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::sync::{Mutex, mpsc};

use super::{ALONE, Started, handle, start_on};
use crate::support::kernel::{self, FROM_CLIENT, settled};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, TempDir, Ucs, admin, eventually, request};

/// Of a body that nobody reads.
const LONG: u64 = 64 << 20;

fn refused(started: Started) -> String {
    let (status, log) = started.err().expect("it does not start");
    let log = log.join("\n");
    assert_eq!(status.code(), Some(2), "a restart would not help: {log}");
    log
}

#[test]
fn an_inherited_socket_wins_over_the_address_and_stays_when_the_gateway_ends() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    for variables in ["LISTEN_FDS=1 LISTEN_FDNAMES=data", "LISTEN_FDS=1"] {
        let gateway = start_on(handle(&socket), variables, dir.path(), ucs.address).expect("it starts");
        assert_eq!(gateway.data, socket.local_addr().unwrap());
        assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
        assert!(gateway.log().contains("--listen has no effect"), "{}", gateway.log());
        assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
        Connection::open(socket.local_addr().unwrap());
        let _queued = socket.accept().unwrap();
    }
}

#[test]
fn the_system_holds_as_little_for_a_client_that_waited_for_the_gateway_as_for_any_other() {
    let (over, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Scripted::start(move |conn| {
        conn.leaves_unread();
        let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
    });
    let (socket, dir) = (TcpListener::bind("127.0.0.1:0").unwrap(), TempDir::new());
    // The connection has the buffer of its listener, as with `ReceiveBuffer=` of systemd.
    socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 20).unwrap();
    let mut client = Connection::open(socket.local_addr().unwrap());
    let gateway = start_on(handle(&socket), "LISTEN_FDS=1", dir.path(), upstream.address).expect("it starts");
    client.send(format!("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: {LONG}\r\n\r\n"));
    let sending = std::thread::spawn(move || client.write_pattern(LONG, PATIENCE, |_| {}));
    let unread = settled(|| kernel::accepted_by(gateway.data), |socket| socket.unread);
    assert!(unread <= FROM_CLIENT, "{unread} bytes of the client");
    drop((gateway, over, socket));
    sending.join().unwrap();
}

#[test]
fn the_admin_port_may_be_inherited_and_is_checked_as_if_it_were_named() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let variables = "LISTEN_FDS=1 LISTEN_FDNAMES=admin";
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = start_on(handle(&socket), variables, dir.path(), ucs.address).expect("it starts");
    assert_eq!(gateway.admin, socket.local_addr().unwrap());
    assert_eq!(admin::mode(&gateway)["mode"], "production");
    drop(gateway);
    let open = TcpListener::bind("0.0.0.0:0").unwrap();
    assert!(refused(start_on(open, variables, dir.path(), ucs.address)).contains("--access"));
    let path = dir.path().join("admin.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let gateway = start_on(socket, variables, dir.path(), ucs.address).expect("it starts");
    let read = std::process::Command::new(env!("CARGO_BIN_EXE_ucs-gateway"))
        .args(["mode", "get", "--admin", &format!("unix:{}", path.display()), "--state-dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&read.stdout).contains("production"), "{read:?}");
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
    assert!(path.exists(), "the socket is not the gateway's");
}

#[test]
fn what_cannot_be_used_is_an_error_that_says_what_to_write() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
    let start = |variables: &str| refused(start_on(tcp(), variables, dir.path(), ucs.address));
    assert!(start("LISTEN_FDS=1 LISTEN_FDNAMES=ucs.socket").contains("FileDescriptorName=data"));
    assert!(start("LISTEN_FDS=1 LISTEN_FDNAMES=data:admin").contains("LISTEN_FDNAMES"));
    assert!(start("LISTEN_FDS=two").contains("LISTEN_FDS"));
    assert!(start("LISTEN_FDS=2").contains("data port"), "two without a name, one of which is none");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(refused(start_on(datagrams, "LISTEN_FDS=1", dir.path(), ucs.address)).contains("data port"));
    let listener = tcp();
    let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(refused(start_on(connected, "LISTEN_FDS=1", dir.path(), ucs.address)).contains("does not listen"));
    let of_another = start_on(tcp(), "LISTEN_FDS=1 LISTEN_PID=1", dir.path(), ucs.address);
    assert!(of_another.is_ok(), "the variables of another process do not count");
}

#[test]
fn an_inherited_socket_does_not_pass_on_to_the_program_of_on_change() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let said = dir.path().join("descriptors");
    let program =
        dir.file("list.sh", &format!("#!/bin/sh\ncat; ls -l /proc/$$/fd >{0}.new; mv {0}.new {0}\n", said.display()));
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let prelude =
        format!("exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 UCS_GATEWAY_ON_CHANGE={}", program.display());
    let input = std::process::Stdio::from(std::os::fd::OwnedFd::from(socket));
    let gateway =
        Gateway::start_with_input(input, &prelude, &dir.path().join("state"), ucs.address, &ALONE).expect("it starts");
    assert_eq!(admin::set_mode(&gateway, &serde_json::json!({"mode": "maintenance"})).status, 200);
    eventually("the program has run", || said.exists());
    let descriptors = std::fs::read_to_string(said).unwrap();
    assert!(descriptors.contains("/dev/null") && !descriptors.contains("socket:"), "{descriptors}");
}

/// The notices that arrive at a service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn start(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).expect("a notice comes");
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    }
}

#[test]
fn the_service_manager_is_told_of_the_start_of_reloads_and_of_the_stop() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let path = dir.path().join("notify");
    let manager = Manager::start(&path);
    let prelude = format!("export NOTIFY_SOCKET={}", path.display());
    let flags = [&ALONE[..], &["--stop-linger", "10m", "--stop-timeout", "10m"]].concat();
    let gateway = Gateway::start_after(&prelude, &dir.path().join("state"), ucs.address, &flags);
    let mut gateway = gateway.expect("it starts");
    assert_eq!(manager.next(), "READY=1");
    gateway.signal("HUP");
    let reloading = manager.next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{reloading}");
    assert_eq!(manager.next(), "READY=1");
    gateway.signal("TERM");
    assert_eq!(manager.next(), "STOPPING=1");
    for _ in 0..2 {
        assert_eq!(manager.next(), "EXTEND_TIMEOUT_USEC=20000000");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.exited(PATIENCE).code(), Some(0));
}

#[test]
fn a_service_manager_that_reads_nothing_holds_nothing() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let path = dir.path().join("notify");
    let manager = Manager::start(&path);
    manager.0.set_nonblocking(true).unwrap();
    // A queue that is full: what the gateway sends would wait.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", &path).is_ok() {}
    let prelude = format!("export NOTIFY_SOCKET={} WATCHDOG_USEC=20000", path.display());
    let gateway = Gateway::start_after(&prelude, &dir.path().join("state"), ucs.address, &ALONE).expect("it starts");
    for _ in 0..50 {
        assert_eq!(admin::call(&gateway, "GET /livez", None).status, 200);
    }
    gateway.signal("HUP");
    eventually("the reload is over", || gateway.log().contains("route table reloaded"));
    assert_eq!(admin::set_mode(&gateway, &serde_json::json!({"mode": "maintenance"})).status, 200);
    assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
}
