//! An acknowledged reload is in force: on every worker, for the very first request, whatever kind of path it has.

use std::path::Path;

use serde_json::json;

use crate::support::http::compose;
use crate::support::{Connection, Gateway, Reply, Scripted, TempDir, admin};

const SHIPPED: &str = include_str!("../../../routes.yaml");

const ADDED: &str = "\n  - operation: Added\n    method: GET\n    path: /added\n    class: server\n";

/// Several to each of the workers, as a new connection goes to the worker that has the fewest.
const WORKERS: &str = "4";
const CLIENTS: usize = 12;

/// A gateway with a table of its own, and clients that have been served by every worker.
struct Rig {
    _ucs: Scripted,
    dir: TempDir,
    gateway: Gateway,
    clients: Vec<Connection>,
}

impl Rig {
    fn new() -> Rig {
        let (ucs, dir) = (Scripted::ok(), TempDir::new());
        let file = dir.file("routes.yaml", SHIPPED);
        let gateway = Gateway::bare(ucs.address, &["--workers", WORKERS, "--routes", path(&file)]);
        let mut rig = Rig { _ucs: ucs, dir, gateway, clients: Vec::new() };
        rig.connect();
        rig
    }

    /// Some answers end their connection; tables are the workers', and outlive it.
    fn connect(&mut self) {
        self.clients = (0..CLIENTS).map(|_| Connection::open(self.gateway.data)).collect();
    }

    /// Puts a table in force.
    #[track_caller]
    fn reload(&self, table: &str) {
        self.dir.file("routes.yaml", table);
        let reply = admin::call(&self.gateway, "POST /routes/reload", None);
        assert_eq!((reply.status, &reply.json()["changed"]), (200, &json!(true)), "{}", reply.text());
    }

    /// The next request of every client, one after the other.
    #[track_caller]
    fn all_get(&mut self, line: &str, verdict: impl Fn(&Reply) -> bool, what: &str) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.send(compose(self.gateway.data, line, &[], b""));
            let reply = client.read_reply();
            assert!(verdict(&reply), "{what}: client {number} asks {line} and gets {reply:?}");
        }
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}

fn passes(reply: &Reply) -> bool {
    reply.status == 200 && reply.refusal().is_none()
}

fn unmatched(reply: &Reply) -> bool {
    (reply.status, reply.refusal()) == (404, Some("unmatched"))
}

/// The shipped table with one thing replaced.
fn with(from: &str, to: &str) -> String {
    assert!(SHIPPED.contains(from), "{from} is in the shipped table");
    SHIPPED.replacen(from, to, 1)
}

#[test]
fn a_route_that_only_the_new_table_has_is_there_at_once() {
    let mut rig = Rig::new();
    for _ in 0..5 {
        rig.all_get("GET /added", unmatched, "by the old table");
        rig.reload(&format!("{SHIPPED}{ADDED}"));
        rig.all_get("GET /added", passes, "the route was added");
        rig.reload(SHIPPED);
        rig.all_get("GET /added", unmatched, "the route was taken away");
    }
}

#[test]
fn another_base_path_counts_at_once() {
    let mut rig = Rig::new();
    rig.all_get("GET /profiles/1", passes, "without a base path");
    for base in ["/one", "/two", "/three"] {
        rig.reload(&with("base_path: \"\"", &format!("base_path: \"{base}\"")));
        rig.all_get(&format!("GET {base}/profiles/1"), passes, "below the new base path");
        rig.all_get("GET /profiles/1", unmatched, "beside the new base path");
    }
}

#[test]
fn what_unmatched_requests_get_changes_at_once() {
    let mut rig = Rig::new();
    rig.all_get("GET /nowhere", unmatched, "by the shipped table");
    for words in ["one", "two"] {
        let answers = format!("answers: {{unmatched: {{content_type: text/plain, body: {words}}}}}\nroutes:");
        rig.reload(&with("\nroutes:", &format!("\n{answers}")));
        rig.all_get("GET /nowhere", |reply| unmatched(reply) && reply.text() == words, "by the new template");
    }
    rig.reload(&with("unmatched: not_found", "unmatched: {class: service}"));
    rig.all_get("GET /nowhere", passes, "unmatched requests are forwarded");
    rig.reload(SHIPPED);
    rig.all_get("GET /nowhere", unmatched, "unmatched requests are not forwarded");
}

#[test]
fn another_path_of_set_server_mode_counts_at_once() {
    let mut rig = Rig::new();
    let asks = |reply: &Reply| (reply.status, reply.refusal()) == (401, Some("unauthorized"));
    rig.all_get("POST /server/mode", asks, "by the shipped table");
    for name in ["first", "second"] {
        rig.connect();
        rig.reload(&SHIPPED.replace("/server/mode", &format!("/server/{name}")));
        rig.all_get(&format!("POST /server/{name}"), asks, "the gateway answers by its new name");
        rig.connect();
        rig.all_get("POST /server/mode", unmatched, "the old name is nobody's");
    }
}
