//! The admin plane over real sockets, with a control handle worker that flips at once or as it is told.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::access::Access;
use crate::control_handle::{
    ChangeError, Command, CommandReceiver, ControlHandle, FlipReport, Flipped, ReloadError, Reloaded,
};
use crate::gate::{Gate, Published};
use crate::policy::mode::{
    Actor, ActorKind, Left, Mode, ModeChange, ModeRecord, ModeSet, OnTimeout, OperationCount, Phase, SchemaKnowledge,
};
use crate::policy::table::{Class, Pattern, Route, RouteMethod, RouteTable, RouteTableParts, Unmatched};
use crate::telemetry::Metrics;

pub(crate) type Script = fn(&Gate, &ModeChange) -> Result<Flipped, ChangeError>;

/// A served admin plane; over when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    gate: Arc<Gate>,
    token: String,
    pub(crate) folder: PathBuf,
    stopping: watch::Sender<bool>,
    _shutdown: tokio::sync::oneshot::Sender<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

fn table() -> RouteTable {
    let class = |name: &str, modes| Class { name: Arc::from(name), modes };
    let route = |operation: &str, method: &str, path: &str, class, modes, line| Route {
        operation: operation.into(),
        id: None,
        method: RouteMethod::Only(method.into()),
        pattern: Pattern::Template(path.into()),
        class,
        modes,
        answer: (path == "/server/mode").then_some(crate::policy::table::RouteAnswer::SetMode),
        needs_profile_schema: false,
        line,
    };
    RouteTable::compile(RouteTableParts {
        base_path: "".into(),
        classes: vec![
            class("profile", ModeSet::Production),
            class("schema", ModeSet::Maintenance),
            class("server", ModeSet::Both),
        ],
        routes: vec![
            route("Query Customer Profile", "GET", "/profiles/{id}", 0, ModeSet::Production, 1),
            route("Create Extension", "POST", "/metadata/profiles", 1, ModeSet::Maintenance, 2),
            route("Set Server Mode", "POST", "/server/mode", 2, ModeSet::Both, 3),
        ],
        unmatched: Unmatched::NotFound,
        answers: Vec::new(),
    })
    .unwrap()
}

fn record(revision: u64, mode: Mode, phase: Phase) -> ModeRecord {
    ModeRecord {
        format: 1,
        revision,
        mode,
        phase,
        from: (phase == Phase::Switching).then(|| mode.other()),
        left: Left::default(),
        deadline: None,
        since: "2026-01-02T03:04:05Z".parse().unwrap(),
        actor: Actor { kind: ActorKind::Automatic, name: "first start".to_owned() },
        reason: None,
        message: None,
        cause: None,
        expires: None,
        back_at: None,
        drain: None,
        abandoned: Vec::new(),
        drain_timeout_ms: None,
        on_timeout: None,
        force: false,
        scheduled: None,
        attempt: None,
        journal_head: None,
        unknown: serde_json::Map::new(),
    }
}

fn publish(gate: &Gate, record: ModeRecord) -> Arc<ModeRecord> {
    let record = Arc::new(record);
    let schema = SchemaKnowledge::Defined;
    gate.publish(Published { record: Some(Arc::clone(&record)), schema, ..Published::default() });
    record
}

pub(crate) fn flip_at_once(gate: &Gate, change: &ModeChange) -> Result<Flipped, ChangeError> {
    let mut next = record(8, change.mode, Phase::Settled);
    next.actor = change.actor.clone();
    next.reason = change.reason.clone();
    next.drain_timeout_ms = change.drain_timeout.map(|timeout| timeout.as_millis() as u64);
    next.on_timeout = change.on_timeout;
    next.force = change.force;
    Ok(Flipped { record: publish(gate, next), report: FlipReport { changed: true, ..FlipReport::default() } })
}

async fn work(mut inbox: CommandReceiver, gate: Arc<Gate>, script: Script) {
    while let Some(ask) = inbox.commands.recv().await {
        match ask {
            Command::SetMode(change, answer) => {
                let _ = answer.send(script(&gate, &change));
            }
            Command::SetLocal(_, answer) => {
                let _ = answer.send(Ok(()));
            }
            Command::Reload(_, answer) => {
                let live = gate.replace_table(table());
                let routes = live.table().routes.len();
                let (generation, changed) = (live.generation(), false);
                let _ = answer.send(Ok(Reloaded { generation, routes, changed, still_running: 0 }));
            }
        }
    }
}

pub(crate) async fn start(script: Script) -> Running {
    start_with(Some(script), |_| ()).await.0
}

/// With a script a worker answers the control handle; without one the test holds the inbox.
async fn start_with(
    script: Option<Script>,
    adjust: impl FnOnce(&mut AdminParts),
) -> (Running, Option<CommandReceiver>) {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("ucs-gateway-admin-{}-{number}", std::process::id()));
    let access = Access::from_token_file(&folder).unwrap();
    let token = std::fs::read_to_string(folder.join("admin.token")).unwrap().trim().to_owned();
    let gate = Gate::new(1, table());
    publish(&gate, record(7, Mode::Production, Phase::Settled));
    let (control_handle, inbox) = ControlHandle::new();
    let inbox = match script {
        Some(script) => {
            tokio::spawn(work(inbox, Arc::clone(&gate), script));
            None
        }
        None => Some(inbox),
    };
    let (stopping, told) = watch::channel(false);
    let mut parts = AdminParts {
        gate: Arc::clone(&gate),
        control_handle,
        access: Arc::new(access),
        journal: Arc::new(|limit| (0..3).map(|entry| json!({"revision": 3 - entry})).take(limit).collect()),
        // No worker runs here, so none is there to be alive.
        metrics: Metrics::new(0, Arc::default()),
        metrics_open: false,
        allowed_hosts: vec!["gw.example".to_owned()],
        drain_timeout: Duration::from_secs(60),
        flip_slack: Duration::from_secs(120),
        stopping: told,
    };
    adjust(&mut parts);
    let listener = AdminListener::tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(serve(listener, parts, async move {
        let _ = ended.await;
    }));
    (Running { address, gate, token, folder, stopping, _shutdown: end }, inbox)
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Running {
    /// Sends a head as written (with `\n` for line ends) and reads to the end.
    async fn raw(&self, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = head.trim_end().replace('\n', "\r\n");
        let message = format!("{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        stream.write_all(message.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.replace('\r', ""), body: body.to_owned() }
    }

    async fn get(&self, target: &str) -> Answer {
        let head = format!("GET {target} HTTP/1.1\nHost: localhost\nAuthorization: Bearer {}", self.token);
        self.raw(&head, "").await
    }

    async fn put_mode(&self, body: &Value) -> Answer {
        self.put_text(&body.to_string()).await
    }

    async fn put_text(&self, body: &str) -> Answer {
        let head = format!(
            "PUT /mode HTTP/1.1\nHost: localhost\nAuthorization: Bearer {}\nContent-Type: application/json",
            self.token
        );
        self.raw(&head, body).await
    }
}

#[tokio::test]
async fn the_mode_stands_flat_with_counts_beside_it() {
    let running = start(flip_at_once).await;
    let seat = running.gate.worker_gate(0);
    let permit = seat.enter(&seat.table(), Some(0)).unwrap();
    let answer = running.get("/mode").await;
    let document = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!((&document["mode"], &document["revision"]), (&json!("production"), &json!(7)));
    assert_eq!(document["in_flight"], json!({"production": 1, "maintenance": 0, "both": 0}));
    assert_eq!(document["schema"], json!("defined"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    drop(permit);
}

#[tokio::test]
async fn a_flip_carries_every_option_and_answers_with_record_and_report() {
    let running = start(flip_at_once).await;
    let body = json!({"mode": "MainTenance", "reason": "schema work", "if_revision": 7, "drain_timeout": "1500ms",
        "on_timeout": "cut", "expires_in": "2h", "force": true});
    let answer = running.put_mode(&body).await;
    let document = answer.json();
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(document["mode"], json!("maintenance"));
    assert_eq!(document["actor"], json!({"kind": "operator", "name": "admin"}));
    assert_eq!((&document["drain_timeout_ms"], &document["on_timeout"]), (&json!(1500), &json!("cut")));
    assert_eq!((&document["reason"], &document["force"]), (&json!("schema work"), &json!(true)));
    assert_eq!(document["report"]["changed"], json!(true));
}

#[tokio::test]
async fn bad_bodies_are_named_and_nothing_is_asked() {
    let (running, inbox) = start_with(None, |_| ()).await;
    for (body, named) in [
        ("{}", "mode"),
        ("", "JSON object"),
        ("{\"mode\":", "EOF"),
        ("[\"production\"]", "JSON object"),
        ("{\"mode\":\"off\"}", "off"),
        ("{\"mode\":\"production\",\"forse\":true}", "forse"),
        ("{\"mode\":\"production\",\"drain_timeout\":5}", "invalid type"),
        ("{\"mode\":\"production\",\"drain_timeout\":\"5 s\"}", "is not a duration"),
        ("{\"mode\":\"production\",\"drain_timeout\":\"25h\"}", "at most 24h"),
        ("{\"mode\":\"production\",\"expires_in\":\"0s\"}", "at least 1s"),
        ("{\"mode\":\"production\",\"if_revision\":-1}", "invalid value"),
        ("{\"mode\":\"production\",\"reason\":\"a\\u0007\"}", "control character"),
        ("{\"mode\":\"production\",\"mode\":\"maintenance\"}", "duplicate"),
    ] {
        let answer = running.put_text(body).await;
        let document = answer.json();
        assert_eq!((answer.status, &document["reason"]), (400, &json!("bad_body")), "{body}");
        assert!(document["detail"].as_str().unwrap().contains(named), "{body}: {document}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(inbox.unwrap().commands.len(), 0);
}

#[tokio::test]
async fn each_way_not_to_flip_has_its_status_and_reason() {
    fn fail(gate: &Gate, change: &ModeChange) -> Result<Flipped, ChangeError> {
        let record = gate.published().record.clone().unwrap();
        let running = OperationCount { operation: "Op".to_owned(), class: "profile".to_owned(), count: 2 };
        let report = FlipReport { still_running: vec![running], ..FlipReport::default() };
        Err(match change.reason.as_deref() {
            Some("stale") => ChangeError::Stale(record),
            Some("switching") => ChangeError::Busy(record),
            Some("no_profile_schema") => ChangeError::NoSchema(record),
            Some("cancelled") => ChangeError::Cancelled(record),
            Some("upstream_refused") => ChangeError::Upstream { record, detail: "403".to_owned(), report },
            Some("drain_timeout") => ChangeError::Deadline { record, report },
            Some("not_durable") => ChangeError::NotDurable { record, detail: "disk full".to_owned() },
            _ => ChangeError::ShuttingDown,
        })
    }
    let running = start(fail).await;
    for (reason, status) in [
        ("stale", 409),
        ("switching", 409),
        ("no_profile_schema", 409),
        ("cancelled", 409),
        ("upstream_refused", 502),
        ("drain_timeout", 504),
        ("not_durable", 507),
        ("shutting_down", 503),
    ] {
        let answer = running.put_mode(&json!({"mode": "maintenance", "reason": reason})).await;
        let document = answer.json();
        assert_eq!((answer.status, document["reason"].as_str()), (status, Some(reason)));
        if reason != "shutting_down" {
            assert_eq!(document["record"]["revision"], json!(7), "{reason}");
            assert!(document["report"].is_object(), "{reason}");
        }
        if reason == "drain_timeout" {
            assert_eq!(document["report"]["still_running"][0]["count"], json!(2));
        }
    }
}

#[tokio::test]
async fn a_flip_goes_on_when_its_client_goes_away() {
    let (running, inbox) = start_with(None, |_| ()).await;
    let mut inbox = inbox.unwrap();
    let body = json!({"mode": "maintenance"}).to_string();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head = format!(
        "PUT /mode HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        running.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let Some(Command::SetMode(change, answer)) = inbox.commands.recv().await else { panic!("no ask") };
    assert_eq!(change.on_timeout, None::<OnTimeout>);
    drop(stream);
    // The connection is over for the gateway too once another call on the same thread has been served.
    assert_eq!(running.get("/livez").await.status, 200);
    assert!(!answer.is_closed(), "somebody still waits for the flip");
}

#[tokio::test]
async fn nothing_but_probes_and_page_is_open() {
    let running = start(flip_at_once).await;
    for (call, status) in [
        ("GET /livez", 200),
        ("GET /readyz", 200),
        ("GET /", 200),
        ("GET /mode", 401),
        ("GET /mode/events", 401),
        ("GET /mode/history", 401),
        ("GET /routes", 401),
        ("GET /explain?path=/", 401),
        ("GET /metrics", 401),
        ("GET /openapi.json", 401),
    ] {
        let answer = running.raw(&format!("{call} HTTP/1.1\nHost: localhost"), "").await;
        assert_eq!(answer.status, status, "{call}");
        assert_eq!(answer.head.contains("Bearer realm"), status == 401, "{call}");
    }
    for call in ["PUT /mode", "POST /routes/reload"] {
        let head = format!("{call} HTTP/1.1\nHost: localhost\nContent-Type: application/json");
        assert_eq!(running.raw(&head, "{\"mode\":\"maintenance\"}").await.status, 401, "{call}");
    }
    assert_eq!(running.gate.published().record.as_ref().unwrap().revision, 7);
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let folder = std::env::temp_dir().join(format!("ucs-gateway-admin-perm-{}", std::process::id()));
    let hash = crate::access::token_hash_hex("viewer-token");
    std::fs::write(
        &folder,
        format!("version: 1\nprincipals: [{{name: v, token_sha256: {hash}, permissions: ['mode:read']}}]\n"),
    )
    .unwrap();
    let access = Arc::new(Access::from_yaml_file(&folder).unwrap());
    std::fs::remove_file(&folder).unwrap();
    let (mut running, _) = start_with(Some(flip_at_once), |parts| parts.access = access).await;
    running.token = "viewer-token".to_owned();
    assert_eq!(running.get("/mode").await.status, 200);
    let answer = running.put_mode(&json!({"mode": "maintenance"})).await;
    assert_eq!((answer.status, &answer.json()["permission"]), (403, &json!("mode:set")));
}

#[tokio::test]
async fn failed_attempts_are_slowed_down_with_a_retry_after() {
    let running = start(flip_at_once).await;
    let wrong = "GET /mode HTTP/1.1\nHost: localhost\nAuthorization: Bearer wrong";
    for _ in 0..10 {
        assert_eq!(running.raw(wrong, "").await.status, 401);
    }
    let answer = running.raw("GET /routes HTTP/1.1\nHost: localhost\nAuthorization: Bearer wrong", "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
}

#[tokio::test]
async fn other_names_other_sites_and_other_types_are_refused() {
    let running = start(flip_at_once).await;
    let auth = format!("Authorization: Bearer {}", running.token);
    for (headers, status) in [
        ("Host: gw.example".to_owned(), 200),
        (format!("Host: {}", running.address), 200),
        ("Host: evil.example".to_owned(), 421),
        ("Host: localhost\nHost: localhost".to_owned(), 400),
        ("Host: localhost:1\nOrigin: http://localhost:1".to_owned(), 200),
        ("Host: localhost:1\nOrigin: http://evil.example".to_owned(), 403),
        ("Host: localhost\nOrigin: null".to_owned(), 403),
    ] {
        let answer = running.raw(&format!("GET /mode HTTP/1.1\n{headers}\n{auth}"), "").await;
        assert_eq!(answer.status, status, "{headers}");
    }
    let probe = running.raw("GET /readyz HTTP/1.1\nHost: pod.example", "").await;
    assert_eq!(probe.status, 200, "an orchestrator may use any name");
    let body = "{\"mode\":\"maintenance\"}";
    let form = format!("PUT /mode HTTP/1.1\nHost: localhost\n{auth}\nContent-Type: text/plain");
    assert_eq!(running.raw(&form, body).await.status, 415);
    let large = format!("PUT /mode HTTP/1.1\nHost: localhost\n{auth}\nContent-Type: application/json");
    assert_eq!(running.raw(&large, &" ".repeat(70_000)).await.status, 413);
}

#[tokio::test]
async fn methods_and_paths_that_are_not_there_are_told() {
    let running = start(flip_at_once).await;
    let auth = format!("Authorization: Bearer {}", running.token);
    for (call, status, allow) in [
        ("POST /mode", 405, Some("GET, HEAD, PUT")),
        ("GET /routes/reload", 405, Some("POST")),
        ("DELETE /livez", 405, Some("GET, HEAD")),
        ("GET /nothing", 404, None),
        ("HEAD /mode", 200, None),
    ] {
        let answer = running.raw(&format!("{call} HTTP/1.1\nHost: localhost\n{auth}"), "").await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{call}");
    }
}

#[tokio::test]
async fn readiness_follows_the_record_and_the_shutdown_and_not_the_mode() {
    let running = start(flip_at_once).await;
    for (mode, phase) in
        [(Mode::Maintenance, Phase::Settled), (Mode::Production, Phase::Switching), (Mode::Production, Phase::Settled)]
    {
        publish(&running.gate, record(9, mode, phase));
        assert_eq!(running.get("/readyz").await.status, 200);
    }
    running.stopping.send_replace(true);
    let answer = running.get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!("shutting_down")));
    assert_eq!(running.get("/livez").await.status, 200);
    running.stopping.send_replace(false);
    let alarm = Some("mode.json was torn".to_owned());
    running.gate.publish(Published { alarm, ..Published::default() });
    let answer = running.get("/readyz").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (503, &json!("no_record")));
    assert_eq!(answer.json()["alarm"], json!("mode.json was torn"));
    assert_eq!(running.get("/mode").await.status, 503);
}

#[tokio::test]
async fn a_preview_names_what_a_flip_would_refuse() {
    let running = start(flip_at_once).await;
    let seat = running.gate.worker_gate(0);
    let permits: Vec<_> = (0..2).map(|_| seat.enter(&seat.table(), Some(0)).unwrap()).collect();
    let document = running.get("/mode/preview?mode=maintenance").await.json();
    assert_eq!(document["waits_for"], json!(2));
    assert_eq!(document["would_refuse"][0]["operation"], json!("Query Customer Profile"));
    assert_eq!(document["would_refuse"][0]["in_flight"], json!(2));
    let other = running.get("/mode/preview?mode=PRODUCTION").await.json();
    assert_eq!((&other["waits_for"], &other["would_refuse"]), (&json!(0), &json!([])));
    assert_eq!(running.get("/mode/preview").await.status, 400);
    drop(permits);
}

#[tokio::test]
async fn the_table_its_reload_and_its_explanation() {
    let running = start(flip_at_once).await;
    let shown = running.get("/routes").await.json();
    assert_eq!((&shown["generation"], shown["routes"].as_array().unwrap().len()), (&json!(1), 3));
    assert_eq!(shown["routes"][2]["answer"], json!("set_mode"));
    let explained = running.get("/explain?method=GET&path=%2Fprofiles%2F7").await.json();
    assert_eq!(explained["route"]["operation"], json!("Query Customer Profile"));
    assert_eq!(explained["maintenance"]["status"], json!(503));
    assert_eq!(running.get("/explain?method=GET").await.status, 400);
    assert_eq!(running.get("/explain?path=/&pth=/").await.status, 400);
    let reload = format!(
        "POST /routes/reload HTTP/1.1\nHost: localhost\nContent-Type: application/json\nAuthorization: Bearer {}",
        running.token
    );
    assert_eq!(running.raw(&reload, "{}").await.json()["generation"], json!(2));
    assert_eq!(running.raw(&reload, "{\"file\":\"x\"}").await.status, 400);
}

#[tokio::test]
async fn a_table_with_faults_is_answered_with_all_of_them() {
    let (running, inbox) = start_with(None, |_| ()).await;
    let mut inbox = inbox.unwrap();
    tokio::spawn(async move {
        while let Some(Command::Reload(_, answer)) = inbox.commands.recv().await {
            let _ = answer.send(Err(ReloadError::Faults("routes.yaml:3: x\nroutes.yaml:9: y".to_owned())));
        }
    });
    let reload = format!(
        "POST /routes/reload HTTP/1.1\nHost: localhost\nContent-Type: application/json\nAuthorization: Bearer {}",
        running.token
    );
    let answer = running.raw(&reload, "").await;
    assert_eq!((answer.status, &answer.json()["reason"]), (422, &json!("route_faults")));
    assert!(answer.json()["detail"].as_str().unwrap().contains("routes.yaml:9: y"));
}

#[tokio::test]
async fn history_is_bounded() {
    let running = start(flip_at_once).await;
    assert_eq!(running.get("/mode/history").await.json()["entries"].as_array().unwrap().len(), 3);
    assert_eq!(running.get("/mode/history?limit=1").await.json(), json!({"entries": [{"revision": 3}]}));
    for bad in ["0", "1001", "x", ""] {
        assert_eq!(running.get(&format!("/mode/history?limit={bad}")).await.status, 400, "{bad:?}");
    }
}

#[tokio::test]
async fn metrics_and_page_and_api_document_are_there() {
    let (running, _) = start_with(Some(flip_at_once), |parts| parts.metrics_open = true).await;
    let metrics = running.raw("GET /metrics HTTP/1.1\nHost: localhost", "").await;
    assert!(metrics.body.contains("ucs_gateway_mode{mode=\"production\"} 1"), "{}", metrics.body);
    let page = running.raw("GET / HTTP/1.1\nHost: localhost", "").await;
    assert!(page.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    let script = page.body.split("<script>").nth(1).unwrap().split("</script>").next().unwrap();
    let digest = <sha2::Sha256 as sha2::Digest>::digest(script.as_bytes());
    let hash = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    assert!(page.header("content-security-policy").unwrap().contains(&format!("script-src 'sha256-{hash}'")));
    let document = running.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], json!("3.1.0"));
    for path in ["/mode", "/mode/events", "/mode/history", "/mode/preview", "/routes", "/routes/reload", "/explain"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn events_tell_the_record_the_drain_and_the_refusals() {
    let running = start(flip_at_once).await;
    let seat = running.gate.worker_gate(0);
    let permit = seat.enter(&seat.table(), Some(0)).unwrap();
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let head =
        format!("GET /mode/events HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\r\n", running.token);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "event: record\nid: 7\n").await;
    publish(&running.gate, record(8, Mode::Maintenance, Phase::Switching));
    read_until(&mut stream, &mut seen, "\"waiting_for\":1").await;
    assert!(seen.contains("id: 8\n") && seen.contains("Query Customer Profile"), "{seen}");
    assert!(seat.enter(&seat.table(), Some(0)).is_err());
    read_until(&mut stream, &mut seen, "event: refused\ndata: {\"more\":1,\"total\":1}").await;
    drop(permit);
    read_until(&mut stream, &mut seen, "\"waiting_for\":0").await;
}

async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let reading = async {
        let mut buffer = [0u8; 4096];
        while !seen.contains(wanted) {
            let count = stream.read(&mut buffer).await.unwrap();
            assert!(count > 0, "the stream ended before {wanted:?}: {seen}");
            seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    if tokio::time::timeout(Duration::from_secs(10), reading).await.is_err() {
        panic!("no {wanted:?} in time");
    }
}

#[tokio::test]
async fn a_unix_socket_serves_too_and_replaces_a_dead_one() {
    let path = std::env::temp_dir().join(format!("ucs-gateway-{}.sock", std::process::id()));
    drop(AdminListener::unix(path.clone()).unwrap());
    let listener = AdminListener::unix(path.clone()).unwrap();
    assert!(AdminListener::unix(path.clone()).is_err(), "a living one is left alone");
    drop(listener);
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn answers_have_the_members_that_the_api_document_names() {
    let running = start(flip_at_once).await;
    let document = running.get("/openapi.json").await.json();
    for (target, schema) in [
        ("/mode", "ModeNow"),
        ("/mode/preview?mode=maintenance", "Preview"),
        ("/routes", "Routes"),
        ("/explain?path=/profiles/7", "Explanation"),
        ("/readyz", "Readiness"),
    ] {
        let answer = running.get(target).await.json();
        let schema = &document["components"]["schemas"][schema];
        assert_eq!(names(&answer), required(schema), "{target}");
    }
    let flipped = running.put_mode(&json!({"mode": "maintenance"})).await.json();
    assert_eq!(names(&flipped), required(&document["components"]["schemas"]["ModeFlipped"]));
    assert_eq!(names(&flipped["report"]), required(&document["components"]["schemas"]["FlipReport"]));
}

/// The members that a schema always has, each of which it describes.
fn required(schema: &Value) -> Vec<&str> {
    let mut required: Vec<_> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    required.sort_unstable();
    assert!(required.iter().all(|name| schema["properties"][name].is_object()), "{required:?}");
    required
}

fn names(object: &Value) -> Vec<&str> {
    let mut names: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
