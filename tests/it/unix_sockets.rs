//! UCS behind a unix socket, and the data port on one (`data_port`). The admin port on one is in `admin::access`.

mod data_port;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;

use serde_json::json;

use crate::support::{Connection, Gateway, PATIENCE, TempDir, Ucs, Upload, admin, eventually, request};

/// Leads connections to a unix socket on to a server, until it is dropped; tells the heads that pass.
struct Socket {
    heads: mpsc::Receiver<String>,
    path: std::path::PathBuf,
}

impl Socket {
    fn start(path: &Path, server: SocketAddr) -> Socket {
        let listener = UnixListener::bind(path).unwrap();
        let (sender, heads) = mpsc::channel();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(server) else { return };
                let (mut back, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut back, &mut to_client);
                    let _ = to_client.shutdown(std::net::Shutdown::Both);
                });
                let sender = sender.clone();
                std::thread::spawn(move || carry(client, server, &sender));
            }
        });
        Socket { heads, path: path.to_owned() }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn carry(mut client: UnixStream, mut server: TcpStream, heads: &mpsc::Sender<String>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        let _ = heads.send(String::from_utf8_lossy(&buffer[..length]).into_owned());
        if server.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(std::net::Shutdown::Both);
}

#[test]
fn ucs_is_reached_over_a_unix_socket_by_requests_and_by_the_gateway_itself() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let path = dir.path().join("ucs.sock");
    let socket = Socket::start(&path, ucs.address);
    let upstream = format!("unix:{}", path.display());
    let gateway = Gateway::start_in(&dir.path().join("state"), ucs.address, &["--upstream", &upstream]);
    let first = socket.heads.recv_timeout(PATIENCE).unwrap().to_lowercase();
    assert!(first.contains("\r\nhost: localhost\r\n"), "the gateway's own calls: {first}");
    let mut client = Connection::open(gateway.data);
    for _ in 0..3 {
        client.send("GET /metadata/identification-keys HTTP/1.1\r\nHost: gw.example\r\n\r\n");
        assert_eq!(client.read_reply().status, 200);
    }
    let upload = Upload::begin(&gateway, &ucs);
    assert_eq!(upload.finish().status, 201);
    let passed: Vec<String> = socket.heads.try_iter().map(|head| head.to_lowercase()).collect();
    assert!(passed.iter().any(|head| head.contains("\r\nhost: gw.example\r\n")), "{passed:?}");
    let reply = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 1, "UCS is set over the socket too");
}

#[test]
fn a_socket_that_is_not_there_is_a_ucs_that_cannot_be_reached_and_may_come_back() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let path = dir.path().join("ucs.sock");
    let upstream = format!("unix:{}", path.display());
    let flags = ["--upstream", &upstream, "--initial-mode", "production"];
    let gateway = Gateway::start_in(&dir.path().join("state"), ucs.address, &flags);
    let ask = || request(gateway.data, "GET /metadata/identification-keys", &[], b"").status;
    assert_eq!(ask(), 502);
    let _socket = Socket::start(&path, ucs.address);
    eventually("it is reached", || ask() == 200);
}
