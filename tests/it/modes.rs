//! What a client meets on the data port: Set Server Mode as documented, the status document, what no route takes,
//! answers in another format, and when to come back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::support::http::compose;
use crate::support::tool::{run, run_with_input};
use crate::support::{Connection, Gateway, Reply, Scripted, TempDir, Ucs, admin, eventually, nobody_listens, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// `POST /server/mode` with these bytes and this `Authorization`.
fn ask_for_mode(gateway: &Gateway, authorization: Option<&str>, body: &[u8]) -> Reply {
    let credential = authorization.map(|value| ("Authorization", value));
    let headers: Vec<_> = credential.into_iter().chain([JSON]).collect();
    request(gateway.data, "POST /server/mode", &headers, body)
}

fn bearer(gateway: &Gateway) -> String {
    format!("Bearer {}", gateway.token())
}

/// Basic, as every HTTP client writes it.
fn basic(user: &str, password: &str) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in format!("{user}:{password}").as_bytes().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= three.len() { letter as char } else { '=' });
        }
    }
    format!("Basic {text}")
}

#[test]
fn set_server_mode_is_answered_as_documented() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let credentials = [bearer(&gateway), basic("admin", &gateway.token())];
    for (turn, written) in ["maintenance", "production", "MAINTENANCE", "Production", "mAiNtEnAnCe"].iter().enumerate()
    {
        let body = format!("{{\"mode\":\"{written}\"}}");
        let reply = ask_for_mode(&gateway, Some(&credentials[turn % 2]), body.as_bytes());
        let mode = written.to_ascii_lowercase();
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("location"), Some("/server/status"), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{reply:?}");
        assert_eq!(reply.text(), format!("{{\"server changed\":\"{mode}\"}}"));
        assert_eq!(ucs.control().mode().as_str(), mode, "UCS has it when the client is told");
        let record = admin::mode(&gateway);
        assert_eq!((&record["mode"], &record["phase"]), (&json!(mode), &json!("settled")));
        assert_eq!(record["actor"]["kind"], "client", "{record}");
    }
}

#[test]
fn the_mode_in_force_is_answered_like_a_change_and_changes_nothing() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let before = admin::mode(&gateway)["revision"].clone();
    let reply = ask_for_mode(&gateway, Some(&bearer(&gateway)), br#"{"mode":"production"}"#);
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"server changed":"production"}"#));
    assert_eq!(admin::mode(&gateway)["revision"], before);
}

#[test]
fn below_a_base_path_the_location_is_there_too() {
    let dir = TempDir::new();
    let table = include_str!("../../routes.yaml").replacen("base_path: \"\"", "base_path: \"/cv\"", 1);
    let routes = dir.file("routes.yaml", &table);
    let ucs = Ucs::start(StandInOptions { base_path: "/cv".to_owned(), ..StandInOptions::new() });
    let gateway = Gateway::start(ucs.address, &["--routes", routes.to_str().unwrap()]);
    let headers = [("Authorization", &*bearer(&gateway)), JSON];
    let reply = request(gateway.data, "POST /cv/server/mode/", &headers, br#"{"mode":"maintenance"}"#);
    assert_eq!((reply.status, reply.header("location")), (200, Some("/cv/server/status")), "{reply:?}");
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    let status = request(gateway.data, "GET /cv/server/status/", &[], b"");
    assert_eq!((status.status, &status.json()["mode"]), (200, &json!("maintenance")), "a trailing slash is tolerated");
}

#[test]
fn anything_else_is_refused_with_what_to_send() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let before = admin::mode(&gateway)["revision"].clone();
    let bodies: &[&[u8]] = &[
        b"",
        b" ",
        b"maintenance",
        b"mode=maintenance",
        b"{",
        b"{}",
        b"null",
        br#""maintenance""#,
        br#"["maintenance"]"#,
        br#"{"mode":""}"#,
        br#"{"mode":"open"}"#,
        br#"{"mode":" maintenance"}"#,
        br#"{"mode":1}"#,
        br#"{"mode":null}"#,
        br#"{"mode":["maintenance"]}"#,
        br#"{"Mode":"maintenance"}"#,
        br#"{"mode":"maintenance","mode":"production"}"#,
        br#"{"mode":"maintenance","force":true}"#,
        br#"{"mode":"maintenance"} {"mode":"production"}"#,
        b"{\"mode\":\"\xff\"}",
    ];
    for body in bodies {
        let reply = ask_for_mode(&gateway, Some(&bearer(&gateway)), body);
        let sent = String::from_utf8_lossy(body);
        assert_eq!((reply.status, reply.refusal()), (400, Some("bad_mode_request")), "{sent}: {reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        let begins =
            "Set Server Mode (POST /server/mode): send {\"mode\":\"production\"} or {\"mode\":\"maintenance\"}: ";
        assert!(detail.len() > begins.len() && detail.starts_with(begins), "{sent}: {detail}");
    }
    assert_eq!(admin::mode(&gateway)["revision"], before);
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 0);
}

#[test]
fn nobody_unknown_sets_the_mode() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let before = admin::mode(&gateway)["revision"].clone();
    let unknown = [
        None,
        Some("Bearer wrong".to_owned()),
        Some("Bearer".to_owned()),
        Some(gateway.token()),
        Some(format!("Digest {}", gateway.token())),
        Some(basic("admin", "wrong")),
        Some(basic("root", &gateway.token())),
        Some("Basic not-base64!".to_owned()),
    ];
    for credential in unknown {
        let reply = ask_for_mode(&gateway, credential.as_deref(), br#"{"mode":"maintenance"}"#);
        assert_eq!((reply.status, reply.refusal()), (401, Some("unauthorized")), "{credential:?} {reply:?}");
        assert!(reply.header("www-authenticate").unwrap().starts_with("Basic "), "{reply:?}");
    }
    assert_eq!(admin::mode(&gateway)["revision"], before);
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 0);
}

#[test]
fn guessing_is_slowed_down_and_the_right_token_is_not() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let guess = |number: usize| {
        let (credential, started) = (format!("Bearer guess-{number}"), Instant::now());
        (ask_for_mode(&gateway, Some(&credential), br#"{"mode":"maintenance"}"#), started.elapsed())
    };
    let replies: Vec<(Reply, Duration)> = (0..40).map(guess).collect();
    let slowed: Vec<_> = replies.iter().filter(|(reply, _)| reply.status == 429).collect();
    assert!(slowed.len() >= 10, "{:?}", replies.iter().map(|(reply, _)| reply.status).collect::<Vec<_>>());
    for (reply, time) in slowed {
        assert!(*time >= Duration::from_millis(250), "a client in a loop is slowed down: {time:?}");
        assert_eq!(reply.refusal(), Some("too_many_attempts"), "{reply:?}");
        let seconds: u32 = reply.header("retry-after").expect("when to come back").parse().unwrap();
        assert!((1..=10).contains(&seconds), "{reply:?}");
    }
    assert!(replies.iter().all(|(reply, _)| matches!(reply.status, 401 | 429)));
    assert_eq!(ask_for_mode(&gateway, Some(&bearer(&gateway)), br#"{"mode":"maintenance"}"#).status, 200);
}

/// The responses of a crowd that guesses must not come faster than the worker can pass them by, between ordinary requests.
#[test]
fn a_crowd_that_guesses_has_its_rejections_one_at_a_time() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--workers", "1"]);
    let guess = || ask_for_mode(&gateway, Some("Bearer wrong"), br#"{"mode":"maintenance"}"#).status;
    eventually("the source is throttled", || guess() == 429);
    let headers = [JSON, ("Authorization", "Bearer wrong")];
    let message = compose(gateway.data, "POST /server/mode", &headers, br#"{"mode":"maintenance"}"#);
    let started = Instant::now();
    let mut crowd: Vec<Connection> = (0..400).map(|_| Connection::open(gateway.data)).collect();
    crowd.iter_mut().for_each(|client| client.send(&message));
    let rejected = crowd.iter_mut().map(Connection::read_reply).filter(|reply| reply.status == 429).count();
    let time = started.elapsed();
    assert!(rejected > 350, "of 400 guesses, as one more is admitted each second, {rejected} were rejected");
    let shortest = Duration::from_millis(250) + Duration::from_millis(2) * u32::try_from(rejected - 1).unwrap();
    assert!(time >= shortest, "{rejected} rejections in {time:?}");
}

/// The token or hash lines that `token` printed, as an entry of access.yaml, and the token.
fn principal(name: &str, permissions: &str) -> (String, String) {
    let made = run(&["token", "new", "--name", name, "--permissions", permissions]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let token = made.stdout.lines().filter_map(|line| line.strip_prefix("# ")).find(|line| !line.contains(' '));
    let entry: String =
        made.stdout.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    (entry, token.expect("it shows the token").to_owned())
}

#[test]
fn only_who_has_the_right_sets_the_mode() {
    let (setter, setter_token) = principal("setter", "mode:set");
    let (reader, reader_token) = principal("reader", "mode:read,routes:reload");
    let password = run_with_input(
        &["token", "password", "--name", "console", "--user", "ucs", "--permissions", "mode:set"],
        "correct horse battery\n",
    );
    assert_eq!(password.code, Some(0), "{password:?}");
    let console: String =
        password.stdout.lines().filter(|line| !line.starts_with('#')).map(|l| format!("{l}\n")).collect();
    let dir = TempDir::new();
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{setter}{reader}{console}"));
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--access", access.to_str().unwrap()]);
    let refused = ask_for_mode(&gateway, Some(&format!("Bearer {reader_token}")), br#"{"mode":"maintenance"}"#);
    assert_eq!((refused.status, refused.refusal()), (403, Some("forbidden")), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("mode:set"), "{}", refused.text());
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 0);
    let wrong = ask_for_mode(&gateway, Some(&basic("ucs", "incorrect horse")), br#"{"mode":"maintenance"}"#);
    assert_eq!(wrong.status, 401, "{wrong:?}");
    for (credential, mode) in
        [(format!("Bearer {setter_token}"), "maintenance"), (basic("ucs", "correct horse battery"), "production")]
    {
        let reply = ask_for_mode(&gateway, Some(&credential), format!("{{\"mode\":\"{mode}\"}}").as_bytes());
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    let reading = [("Authorization", &*format!("Bearer {reader_token}"))];
    let record = request(gateway.admin, "GET /mode", &reading, b"").json();
    assert_eq!(record["actor"], json!({"kind": "client", "name": "console"}));
}

/// A gateway in the middle of a flip to maintenance that waits for one profile request.
fn switching(ucs: &Ucs, gateway: &Gateway) -> (Connection, Connection) {
    ucs.control().set_holding(true);
    let mut running = Connection::open(gateway.data);
    running.send(format!("GET /profiles/1 HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.data));
    eventually("the request is at UCS", || ucs.asked("GET", "/profiles/1").len() == 1);
    let mut flipping = Connection::open(gateway.admin);
    admin::begin(&mut flipping, gateway, "PUT /mode", Some(&json!({"mode": "maintenance", "drain_timeout": "5m"})));
    eventually("the flip began", || admin::mode(gateway)["phase"] == "switching");
    (running, flipping)
}

#[test]
fn while_switching_only_what_both_modes_admit_passes() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let (mut running, mut flipping) = switching(&ucs, &gateway);
    for line in ["GET /profiles/2", "POST /metadata/profiles/extensions", "GET /services/1"] {
        let reply = request(gateway.data, line, &[], b"");
        assert_eq!((reply.status, reply.refusal()), (503, Some("switching")), "{line} {reply:?}");
        let after: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert_eq!(after, 5, "a flip is over soon");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.ends_with("is unavailable while the system is switching to \"maintenance\" mode"), "{detail}");
    }
    let credential = bearer(&gateway);
    let mut joining = Connection::open(gateway.data);
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
    joining.send(compose(gateway.data, "POST /server/mode", &headers, br#"{"mode":"maintenance"}"#));
    let status = request(gateway.data, "GET /server/status", &[], b"");
    assert_eq!((status.status, &status.json()["mode"]), (200, &json!("production")), "the old mode until it is left");
    ucs.control().set_holding(false);
    assert_eq!(running.read_reply().refusal(), None, "what was admitted is answered by UCS");
    assert_eq!((flipping.read_reply().status, joining.read_reply().status), (200, 200));
    assert_eq!(request(gateway.data, "GET /profiles/2", &[], b"").refusal(), Some("mode"));
}

/// Neither is a matter of what the body says.
#[test]
fn a_body_of_set_server_mode_that_is_late_or_too_long_is_told_so() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--idle-body-timeout", "300ms"]);
    let long = format!("{{\"mode\":\"{}\"}}", "x".repeat(65 * 1024));
    let reply = ask_for_mode(&gateway, Some(&bearer(&gateway)), long.as_bytes());
    assert_eq!((reply.status, reply.refusal()), (413, Some("body_too_large")));
    for (sent, answer) in [("", (408, Some("body_timeout"))), ("zz\r\n", (400, Some("chunk_size")))] {
        let credential = bearer(&gateway);
        let headers = [("Authorization", &*credential), ("Transfer-Encoding", "chunked")];
        let mut client = Connection::open(gateway.data);
        client.send([&compose(gateway.data, "POST /server/mode", &headers, b""), sent.as_bytes()].concat());
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.refusal()), answer, "{}", reply.text());
        assert!(client.is_closed());
    }
    assert_eq!(ucs.asked("POST", "/server/mode").len(), 0);
}

/// Also where the gateway reads UCS's response itself.
#[test]
fn a_malformed_body_has_one_reason_wherever_it_is_sent() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    for line in ["POST /profiles", "GET /server/status"] {
        let head = compose(gateway.data, line, &[("Transfer-Encoding", "chunked")], b"");
        let mut client = Connection::open(gateway.data);
        client.send([&head, &b"no size\r\n"[..]].concat());
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.refusal()), (400, Some("chunk_size")), "{line}: {}", reply.text());
    }
}

#[test]
fn the_status_document_has_the_same_length_for_head() {
    let upstream = Scripted::start(|conn| {
        while let Some(received) = conn.read_request() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n");
            if !received.head.starts_with("HEAD ") {
                conn.write(r#"{"started":"a"}"#);
            }
        }
    });
    let gateway = Gateway::bare(upstream.address, &[]);
    let [whole, head] =
        ["GET", "HEAD"].map(|method| request(gateway.data, &format!("{method} /server/status"), &[], b""));
    assert_eq!((whole.status, head.status, head.body.len()), (200, 200, 0));
    assert_eq!(whole.json(), json!({"started": "a", "mode": "production"}));
    assert_eq!(head.header("content-length"), whole.header("content-length"));
}

#[test]
fn a_refusal_of_the_status_by_ucs_comes_as_it_is() {
    let upstream = Scripted::answering(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"ucs\"\r\nContent-Type: text/plain\r\n\
         Connection: close\r\nContent-Length: 5\r\n\r\nlogin",
    );
    let gateway = Gateway::bare(upstream.address, &[]);
    let mut client = Connection::open(gateway.data);
    for _ in 0..2 {
        client.send(compose(gateway.data, "GET /server/status", &[], b""));
        let reply = client.read_reply();
        assert_eq!((reply.status, reply.header("connection")), (401, None), "the connection to UCS is another one");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"ucs\""));
        assert_eq!((reply.header("content-type"), &*reply.text()), (Some("text/plain"), "login"));
    }
}

/// Nothing was sent of an answer that is put together first, so that there can be another one.
#[test]
fn a_status_document_that_stalls_is_an_answer_and_no_broken_connection() {
    let upstream = Scripted::start(|conn| {
        conn.read_request();
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{");
        conn.is_closed();
    });
    let gateway = Gateway::bare(upstream.address, &["--idle-body-timeout", "300ms"]);
    let reply = request(gateway.data, "GET /server/status", &[], b"");
    assert_eq!((reply.status, reply.refusal()), (504, Some("upstream_body_timeout")));
}

#[test]
fn set_server_mode_takes_a_running_flip_back() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let (mut running, mut flipping) = switching(&ucs, &gateway);
    let back = ask_for_mode(&gateway, Some(&bearer(&gateway)), br#"{"mode":"production"}"#);
    assert_eq!((back.status, back.text().as_str()), (200, r#"{"server changed":"production"}"#), "{back:?}");
    let cancelled = flipping.read_reply();
    assert_eq!((cancelled.status, &cancelled.json()["reason"]), (409, &json!("cancelled")));
    ucs.control().set_holding(false);
    assert_eq!(running.read_reply().refusal(), None);
    assert_eq!(request(gateway.data, "GET /profiles/2", &[], b"").refusal(), None, "production as before");
    assert_eq!(ucs.control().mode(), Mode::Production);
}

#[test]
fn the_status_document_is_ucs_s_own_with_the_authoritative_mode() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--upstream-mode", "off"]);
    let own = request(ucs.address, "GET /server/status", &[], b"").json();
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    let reply = request(gateway.data, "GET /server/status?x=1", &[], b"");
    let shown = reply.json();
    assert_eq!((reply.status, &shown["mode"], &own["mode"]), (200, &json!("maintenance"), &json!("production")));
    let members = |document: &Value| document.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&shown), members(&own));
    assert_eq!((&shown["version"], &shown["started"]), (&own["version"], &own["started"]));
    assert_eq!(ucs.asked("GET", "/server/status?x=1").len(), 1);
    let head = request(gateway.data, "HEAD /server/status", &[], b"");
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/json")), "{head:?}");
}

#[test]
fn a_refusal_of_ucs_to_tell_its_status_is_passed_on() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--upstream-mode", "off"]);
    ucs.control().set_failing(Some(500));
    assert_eq!(request(gateway.data, "GET /server/status", &[], b"").status, 500);
    ucs.control().set_failing(None);
    ucs.control().change(|options| options.login = Some(("ada".to_owned(), "secret".to_owned())));
    let refused = request(gateway.data, "GET /server/status", &[], b"");
    assert_eq!((refused.status, refused.header("ucs-gateway")), (401, Some("answered")), "{refused:?}");
    let allowed = request(gateway.data, "GET /server/status", &[("Authorization", &basic("ada", "secret"))], b"");
    assert_eq!((allowed.status, &allowed.json()["mode"]), (200, &json!("production")));
}

#[test]
fn options_is_a_question_about_a_path_and_changes_nothing() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let headers = [("Authorization", &*bearer(&gateway)), JSON];
    for path in ["/server/mode", "/server/status"] {
        let body: &[u8] = if path == "/server/mode" { br#"{"mode":"maintenance"}"# } else { b"" };
        let reply = request(gateway.data, &format!("OPTIONS {path}?o"), &headers, body);
        assert_eq!(reply.header("ucs-gateway"), None, "UCS answers: {reply:?}");
        assert_eq!(ucs.asked("OPTIONS", &format!("{path}?o")).len(), 1, "{path}");
    }
    assert_eq!(admin::mode(&gateway)["mode"], "production");
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    let refused = request(gateway.data, "OPTIONS /profiles/1", &[], b"");
    assert_eq!((refused.status, refused.refusal(), &refused.json()["class"]), (503, Some("mode"), &json!("profile")));
    assert_eq!(request(gateway.data, "OPTIONS /metadata/identification-keys", &[], b"").refusal(), None);
}

#[test]
fn what_no_route_takes_is_not_found_and_never_reaches_ucs() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    for (line, expected) in [
        ("GET /nothing", (404, Some("unmatched"))),
        ("PATCH /profiles/1", (405, Some("method_not_allowed"))),
        ("DELETE /server/mode", (405, Some("method_not_allowed"))),
        ("BREW /profiles/1", (501, Some("method_not_implemented"))),
        ("GET /Profiles/1", (404, Some("unmatched"))),
        ("GET /", (404, Some("unmatched"))),
    ] {
        let reply = request(gateway.data, line, &[], b"");
        let path = line.split(' ').nth(1).unwrap();
        assert_eq!((reply.status, reply.refusal()), expected, "{line} {reply:?}");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(line), "{detail}");
        assert!(!ucs.record().iter().any(|exchange| exchange.path == path && exchange.method != "GET"), "{line}");
    }
    assert_eq!(ucs.asked("GET", "/nothing").len(), 0);
}

/// The shipped table with this line in place of `unmatched: not_found`.
fn table_with(dir: &TempDir, lines: &str) -> String {
    let table = include_str!("../../routes.yaml");
    let own = table.lines().find(|line| line.starts_with("unmatched:")).unwrap();
    dir.file("routes.yaml", &table.replacen(own, lines, 1)).to_str().unwrap().to_owned()
}

#[test]
fn what_no_route_takes_can_be_forwarded_as_a_class() {
    let dir = TempDir::new();
    let routes = table_with(&dir, "unmatched: {class: service}");
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--routes", &routes]);
    let open = request(gateway.data, "GET /nothing?1", &[], b"");
    assert_eq!((open.status, open.refusal(), ucs.asked("GET", "/nothing?1").len()), (404, None, 1), "{open:?}");
    let counted = "ucs_gateway_requests_total{class=\"service\",outcome=\"forwarded_4xx\"}";
    eventually("it is counted as that class", || admin::metric(&gateway, counted) == 1.0);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    let closed = request(gateway.data, "GET /nothing?2", &[], b"");
    assert_eq!((closed.status, closed.refusal(), ucs.asked("GET", "/nothing?2").len()), (503, Some("mode"), 0));
    let detail = closed.json()["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail, "The request (GET /nothing) is unavailable while the system is in \"maintenance\" mode");
}

#[test]
fn answers_can_have_another_format() {
    let dir = TempDir::new();
    let routes = table_with(
        &dir,
        r#"unmatched: not_found
answers:
  mode:
    content_type: application/json
    body: '{"error": {"http_method": "{method}", "code": {status}, "message": "{detail}", "in": "{mode}"}}'
  unmatched:
    content_type: text/plain
    body: 'no {method} {path} here'"#,
    );
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &["--routes", &routes]);
    let refused = request(gateway.data, "POST /metadata/identification-keys", &[], b"{}");
    assert_eq!((refused.status, refused.refusal()), (503, Some("mode")), "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("application/json"));
    let message = "Create Identification Key (POST /metadata/identification-keys) is unavailable while the system is in \
                   \"production\" mode";
    let expected = json!({"error": {"http_method": "POST", "code": 503, "message": message, "in": "production"}});
    assert_eq!(refused.json(), expected);
    assert!(refused.header("retry-after").is_some());
    let missing = request(gateway.data, "GET /a%20b", &[], b"");
    assert_eq!((missing.status, missing.text().as_str()), (404, "no GET /a%20b here"));
    assert_eq!(missing.header("content-type"), Some("text/plain"));
}

/// Every failure of UCS is the reason `upstream` of the table, whatever its own reason is.
#[test]
fn a_failure_of_ucs_can_have_another_format() {
    let dir = TempDir::new();
    let template = "unmatched: not_found\nanswers:\n  upstream: {content_type: text/plain, body: 'UCS: {reason}'}";
    let routes = table_with(&dir, template);
    let gateway = Gateway::bare(nobody_listens(), &["--routes", &routes]);
    let failed = request(gateway.data, "GET /profiles/1", &[], b"");
    assert_eq!((failed.status, failed.text().as_str()), (502, "UCS: upstream_unreachable"));
    assert_eq!(failed.refusal(), Some("upstream_unreachable"));
}

#[test]
fn retry_after_tells_when_the_mode_ends() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    let after = |line: &str| -> u32 {
        let refused = request(gateway.data, line, &[], b"");
        assert_eq!(refused.status, 503, "{refused:?}");
        refused.header("retry-after").unwrap().parse().unwrap()
    };
    assert_eq!(after("DELETE /metadata/profiles/extensions/x"), 30, "nothing better is known");
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1h"})).status, 200);
    assert_eq!(after("GET /profiles/1"), 30, "no client is to hold a thread for an hour");
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "20s"})).status, 200);
    let seconds = after("GET /profiles/1");
    assert!((1..=20).contains(&seconds), "{seconds}");
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).status, 200);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance", "expires_in": "1s"})).status, 200);
    eventually("it ends by itself", || {
        let record = admin::mode(&gateway);
        record["mode"] == "production" && record["phase"] == "settled"
    });
    assert_eq!(admin::mode(&gateway)["actor"]["kind"], "expiry");
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), None);
}

#[test]
fn a_client_that_leaves_does_not_stop_what_it_asked_for() {
    let ucs = Ucs::start(StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() });
    let gateway = Gateway::start(ucs.address, &[]);
    ucs.control().set_holding_switches(true);
    let mut client = Connection::open(gateway.data);
    let (token, body) = (gateway.token(), r#"{"mode":"production"}"#);
    client.send(format!(
        "POST /server/mode HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    eventually("UCS switches", || ucs.control().is_switching());
    drop(client);
    ucs.control().set_holding_switches(false);
    eventually("the flip settles", || {
        let record = admin::mode(&gateway);
        record["mode"] == "production" && record["phase"] == "settled"
    });
    assert_eq!(ucs.control().mode(), Mode::Production);
}
