//! A real HAProxy and a real nginx in front of the gateway, with the checks that the docs tell them to make: a healthy gateway stays
//! in use in both modes, and what it refuses reaches the client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::{Gateway, PATIENCE, Scripted, TempDir, Ucs, admin, eventually, relay::Relay};

/// Admitted in both modes.
const READ: &str = "GET /server/status";
const WRITE: &str = "POST /profiles";

/// A load balancer, which ends when this is dropped. It listens on a unix socket, as it needs no port of its own then.
struct Balancer {
    child: Child,
    socket: PathBuf,
}

impl Balancer {
    fn start(program: &Path, arguments: &[&str], socket: PathBuf) -> Balancer {
        let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let balancer = Balancer { child, socket };
        eventually("the load balancer listens", || UnixStream::connect(&balancer.socket).is_ok());
        balancer
    }

    /// The whole response, as text.
    fn ask(&self, line: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{line} HTTP/1.1\r\nHost: ucs\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// That the gateway is in use in both modes, after `checks` more checks in each.
    #[track_caller]
    fn keeps_in_use(&self, gateway: &Gateway, checks: impl Fn() -> usize) {
        for mode in ["production", "maintenance"] {
            let set = admin::set_mode(gateway, &json!({ "mode": mode }));
            assert_eq!(set.status, 200, "{}", set.text());
            let before = checks();
            for _ in 0..20 {
                let (read, written) = (self.ask(READ), self.ask(WRITE));
                assert!(read.starts_with("HTTP/1.1 200 ") && !read.contains("instead"), "{mode}: {read}");
                let is_refused = written.starts_with("HTTP/1.1 503 ") && written.contains("reason=mode");
                assert_eq!(is_refused, mode == "maintenance", "{mode}: {written}");
                assert!(!written.contains("instead"), "{mode}: {written}");
            }
            eventually("it was checked meanwhile", || checks() >= before + 5);
            assert!(!self.ask(READ).contains("instead"), "{mode}: out of use after its checks");
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the program is; elsewhere than in CI the test is skipped without it.
fn find(name: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].iter().map(|dir| Path::new(dir).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{name} is needed");
        eprintln!("skipped, as it needs {name}");
    }
    found
}

/// Responds where the gateway is thought to be down.
fn instead() -> Scripted {
    Scripted::answering("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ninstead")
}

/// HAProxy with these lines about the check, in front of the gateway and another server that is used when the gateway is down.
fn haproxy(dir: &TempDir, program: &Path, check: &str, gateway: &str, other: &Scripted) -> Balancer {
    let socket = dir.path().join("front.sock");
    let config = format!(
        "defaults\n mode http\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n timeout check 20s\n\
         listen front\n bind unix@{}\n {check}\n server gateway {gateway} inter 50ms fall 1 rise 1\n server other {} backup\n",
        socket.display(),
        other.address
    );
    let file = dir.file("haproxy.cfg", &config);
    Balancer::start(program, &["-db", "-f", file.to_str().unwrap()], socket)
}

#[test]
fn haproxy_keeps_the_gateway_in_use_in_both_modes_by_either_check() {
    let Some(program) = find("haproxy") else { return };
    let (ucs, other) = (Ucs::usual(), instead());
    let gateway = Gateway::bare(ucs.address, &["--data-livez"]);
    for (check, asked) in [("/livez", gateway.data), ("/readyz", gateway.admin)] {
        let (dir, counting) = (TempDir::new(), Relay::to(asked));
        let server = format!("{} check addr 127.0.0.1 port {}", gateway.data, counting.address.port());
        let balancer = haproxy(&dir, &program, &format!("option httpchk GET {check}"), &server, &other);
        balancer.keeps_in_use(&gateway, || counting.accepted());
    }
}

/// That the test above can fail, and what the docs warn of.
#[test]
fn haproxy_takes_the_gateway_for_down_if_it_asks_for_a_page_of_ucs() {
    let Some(program) = find("haproxy") else { return };
    let (ucs, other, dir) = (Ucs::usual(), instead(), TempDir::new());
    let gateway = Gateway::bare(ucs.address, &["--data-livez"]);
    let server = format!("{} check", gateway.data);
    let balancer = haproxy(&dir, &program, "option httpchk HEAD /", &server, &other);
    eventually("it is out of use", || balancer.ask(READ).contains("instead"));
}

#[test]
fn nginx_keeps_the_gateway_in_use_in_both_modes() {
    let Some(program) = find("nginx") else { return };
    let (ucs, other, dir) = (Ucs::usual(), instead(), TempDir::new());
    let gateway = Gateway::bare(ucs.address, &[]);
    let (folder, socket) = (dir.path().display(), dir.path().join("front.sock"));
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name};"))
        .concat();
    let config = format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr crit; events {{}}\n\
         http {{ access_log off; {temporary}\n\
         upstream ucs {{ server {} max_fails=1 fail_timeout=60s; server {} backup; }}\n\
         server {{ listen unix:{}; location / {{ proxy_pass http://ucs; proxy_set_header Host $host; }} }} }}\n",
        gateway.data,
        other.address,
        socket.display()
    );
    let file = dir.file("nginx.conf", &config);
    let balancer = Balancer::start(&program, &["-e", "stderr", "-c", file.to_str().unwrap()], socket);
    // It makes no checks of its own: the requests are what it judges by.
    let asked = std::cell::Cell::new(0);
    balancer.keeps_in_use(&gateway, || asked.replace(asked.get() + 10));
}
