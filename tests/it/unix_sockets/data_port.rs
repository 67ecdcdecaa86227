//! The data port on a unix socket: its file, its peers, and what UCS and the log learn of them.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;

use crate::support::tls::{Authority, words};
use crate::support::{Gateway, PATIENCE, Scripted, TempDir, Ucs, admin, eventually};

const GET: &str = "GET /metadata/identification-keys HTTP/1.1\r\nHost: gw\r\n";

fn open(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The whole response to a request on a connection of its own; `head` ends with its last field.
fn ask(socket: &Path, head: &str, body: &str) -> String {
    let mut stream = open(socket);
    write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn status(response: &str) -> &str {
    response.get(9..12).unwrap_or("none")
}

/// The address as a flag names it.
fn flag(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

#[test]
fn requests_pass_and_the_socket_is_for_its_user_and_group() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let socket = dir.path().join("data.sock");
    // One that a crash has left.
    drop(UnixListener::bind(&socket).unwrap());
    let gateway = Gateway::start_in(&dir.path().join("state"), ucs.address, &["--listen", &flag(&socket)]);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    assert!(gateway.log().contains(&flag(&socket)), "{}", gateway.log());
    let mut stream = open(&socket);
    for _ in 0..3 {
        write!(stream, "{GET}\r\n").unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        drain(&mut stream);
    }
    let body = format!("{{\"Name\":\"{}\"}}", "x".repeat(299_989));
    let post = "POST /profiles HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n";
    assert_eq!(status(&ask(&socket, post, &body)), "201");
    assert_eq!(
        ucs.record().iter().filter(|call| call.method == "POST").map(|call| call.body_bytes).sum::<u64>(),
        300_000
    );
    // Another gateway takes neither a socket in use nor a file that is none.
    let file = dir.file("file", "kept");
    for taken in [&socket, &file] {
        let other = TempDir::new();
        let started = Gateway::try_start_in(other.path(), ucs.address, &["--listen", &flag(taken)]);
        let (status, log) = started.err().expect("it does not start");
        assert!(status.code() == Some(1) && log.join("\n").contains(&flag(taken)), "{log:?}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
    assert_eq!(status(&ask(&socket, GET, "")), "200");
}

/// Reads what has arrived of a response whose beginning is read: to the end of its body, a JSON document.
fn drain(stream: &mut UnixStream) {
    let mut rest = Vec::new();
    let length = loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        rest.push(byte[0]);
        if rest.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8(rest).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            break length.unwrap().parse().unwrap();
        }
    };
    stream.read_exact(&mut vec![0; length]).unwrap();
}

#[test]
fn a_peer_has_no_address_and_may_be_a_trusted_proxy() {
    let (sender, heads) = mpsc::channel();
    let upstream = Scripted::start(move |conn| {
        while let Some(request) = conn.read_request() {
            let _ = sender.send(request.head.to_lowercase());
            conn.write("HTTP/1.1 204 No Content\r\n\r\n");
        }
    });
    let named = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.9\r\n";
    let unknown = "X-Forwarded-Proto: https\r\n";
    for (trust, fields, forwarded, logged) in [
        (&[][..], "", None, "unix"),
        (&[], named, Some("198.51.100.1, 203.0.113.9"), "unix"),
        (&["--trusted-proxy", "unix"], named, Some("198.51.100.1, 203.0.113.9"), "203.0.113.9"),
        (&["--trusted-proxy", "unix"], unknown, None, "unix"),
        (&["--trusted-proxy", "unix"], "Forwarded: for=203.0.113.9\r\n", Some("203.0.113.9"), "203.0.113.9"),
        (&["--trusted-proxy", "10.0.0.0/8"], named, None, "unix"),
    ] {
        let dir = TempDir::new();
        let socket = dir.path().join("data.sock");
        let listen = flag(&socket);
        let gateway = Gateway::bare(upstream.address, &[&["--access-log", "--listen", &listen], trust].concat());
        assert_eq!(status(&ask(&socket, &format!("GET /profiles/1 HTTP/1.1\r\nHost: gw\r\n{fields}"), "")), "204");
        let head = heads.recv_timeout(PATIENCE).unwrap();
        let lines: Vec<&str> = head.lines().filter_map(|line| line.strip_prefix("x-forwarded-for: ")).collect();
        assert_eq!(lines, forwarded.into_iter().collect::<Vec<_>>(), "{trust:?} {fields}");
        eventually("it is logged", || !gateway.access_lines().is_empty());
        let line = gateway.access_lines().remove(0);
        assert!(line.contains(&format!(r#""peer":"{logged}""#)), "{trust:?} {fields} {line}");
    }
}

#[test]
fn the_user_of_a_peer_is_no_principal_on_the_data_port() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let (socket, operators) = (dir.path().join("data.sock"), dir.path().join("admin.sock"));
    let uid = std::fs::metadata(dir.path()).unwrap().uid();
    let all = "permissions: ['mode:read', 'mode:set', 'mode:bypass']";
    let access = format!("version: 1\nprincipals:\n  - {{name: me, unix_uid: {uid}, {all}}}\n");
    let access = dir.file("access.yaml", &access);
    let listen = ["--listen", &flag(&socket), "--admin-listen", &flag(&operators)];
    let flags = [&listen[..], &["--access", access.to_str().unwrap()]].concat();
    let _gateway = Gateway::start_in(&dir.path().join("state"), ucs.address, &flags);
    assert_eq!(status(&ask(&operators, "GET /mode HTTP/1.1\r\nHost: x\r\n", "")), "200", "on the admin port it is one");
    let set = "POST /server/mode HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n";
    let response = ask(&socket, set, r#"{"mode":"maintenance"}"#);
    assert_eq!(status(&response), "401", "{response}");
    let mode = ask(&operators, "GET /mode HTTP/1.1\r\nHost: x\r\n", "");
    assert!(mode.contains(r#""production""#), "{mode}");
}

#[test]
fn a_peer_that_leaves_is_noticed_and_one_that_only_ends_its_side_is_served() {
    let (sender, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel::<()>();
    let answers = std::sync::Mutex::new(answers);
    let upstream = Scripted::start(move |conn| {
        while conn.read_request().is_some() {
            sender.send(()).unwrap();
            if answers.lock().unwrap().recv().is_err() {
                return;
            }
            conn.try_write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let dir = TempDir::new();
    let socket = dir.path().join("data.sock");
    let gateway = Gateway::bare(upstream.address, &["--listen", &flag(&socket), "--first-byte-timeout", "10m"]);
    let ask = || {
        let mut client = open(&socket);
        write!(client, "GET /profiles/1 HTTP/1.1\r\nHost: gw\r\n\r\n").unwrap();
        asked.recv_timeout(PATIENCE).unwrap();
        client
    };
    let are_open = |count| {
        eventually("the rest is given up", || admin::metric(&gateway, "ucs_gateway_client_connections_open") == count)
    };
    drop(ask());
    are_open(0.0);
    let (mut stays, leaves) = (ask(), ask());
    stays.shutdown(Shutdown::Write).unwrap();
    leaves.shutdown(Shutdown::Write).unwrap();
    drop(leaves);
    // Both were looked at.
    are_open(1.0);
    // Of each request one.
    (0..3).for_each(|_| answer.send(()).unwrap());
    let mut response = String::new();
    stays.read_to_string(&mut response).unwrap();
    assert!(response.ends_with("ok"), "{response}");
}

#[test]
fn the_socket_may_be_inherited_and_takes_no_tls() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let socket = dir.path().join("data.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let prelude = "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=data";
    let start = |extra: &[&str]| {
        let input = Stdio::from(std::os::fd::OwnedFd::from(listener.try_clone().unwrap()));
        let flags = [&["--workers", "2", "--stop-linger", "0s"], extra].concat();
        Gateway::start_with_input(input, prelude, &dir.path().join("state"), ucs.address, &flags)
    };
    for _ in 0..2 {
        let gateway = start(&[]).expect("it starts");
        // So many that both workers serve some.
        let mut clients: Vec<UnixStream> = (0..8).map(|_| open(&socket)).collect();
        for client in &mut clients {
            write!(client, "{GET}\r\n").unwrap();
            let mut head = [0; 12];
            client.read_exact(&mut head).unwrap();
            assert_eq!(&head, b"HTTP/1.1 200");
        }
        drop(clients);
        assert_eq!(gateway.terminate(PATIENCE).code(), Some(0));
        // It waits for the next one.
        open(&socket);
        let _queued = listener.accept().unwrap();
    }
    let own = Authority::new("gateway").issue("server").flags("--tls");
    let (status, log) = start(&words(&own)).err().expect("it does not start");
    assert!(status.code() == Some(2) && log.join("\n").contains("--tls-cert"), "{log:?}");
}
