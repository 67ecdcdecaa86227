//! The table in force: shown with its counts, reloaded by call and by SIGHUP, and explained as it really acts.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Gateway, TempDir, Ucs, admin, eventually, request};

const SHIPPED: &str = include_str!("../../../routes.yaml");

/// What the shipped table says of profiles, and what it can be made to say.
const PROFILE: &str = "profile: [production]";
const PROFILE_OPEN: &str = "profile: [production, maintenance]";

/// A table with three faults, in the lines 2, 7 and 8.
const FAULTY: &str = "version: 1
unmatched: perhaps
routes:
  - operation: Set Server Mode
    method: POST
    path: /server/mode
    class: servers
    colour: red
    answer: set_mode
";

/// A gateway whose table is a file of its own.
fn with_table(ucs: &Ucs, extra: &[&str]) -> (Gateway, TempDir, PathBuf) {
    let dir = TempDir::new();
    let file = dir.file("routes.yaml", SHIPPED);
    let gateway = Gateway::bare(ucs.address, &[&["--routes", file.to_str().unwrap()], extra].concat());
    (gateway, dir, file)
}

fn routes(gateway: &Gateway) -> Value {
    let reply = admin::call(gateway, "GET /routes", None);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

fn reload(gateway: &Gateway) -> crate::support::Reply {
    admin::call(gateway, "POST /routes/reload", None)
}

fn reloads(gateway: &Gateway, outcome: &str) -> f64 {
    admin::metric(gateway, &format!("ucs_gateway_reload_total{{outcome=\"{outcome}\"}}"))
}

/// How a profile is answered in maintenance: 503 by the shipped table.
fn profile_status(gateway: &Gateway) -> u16 {
    request(gateway.data, "GET /profiles?LastName=Nobody", &[], b"").status
}

#[test]
fn the_table_is_shown_as_the_file_has_it() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let shown = routes(&gateway);
    assert_eq!(
        (&shown["generation"], &shown["base_path"], &shown["unmatched"]),
        (&json!(1), &json!(""), &json!("not_found"))
    );
    let lines: Vec<_> = SHIPPED.lines().collect();
    let listed = shown["routes"].as_array().unwrap();
    assert_eq!(listed.len(), lines.iter().filter(|line| line.starts_with("  - operation: ")).count());
    for route in listed {
        let operation = route["operation"].as_str().unwrap();
        let line = lines[route["line"].as_u64().unwrap() as usize - 1];
        assert!(line.contains(operation), "{operation} is not in {line:?}");
    }
    let modes = |class: &str| {
        let classes = shown["classes"].as_array().unwrap();
        classes.iter().find(|shown| shown["class"] == class).unwrap()["modes"].clone()
    };
    assert_eq!((modes("schema"), modes("profile")), (json!(["maintenance"]), json!(["production"])));
}

#[test]
fn the_counts_are_those_of_the_requests() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for _ in 0..3 {
        assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
    }
    assert_eq!(request(gateway.data, "POST /metadata/identification-keys", &[], b"{}").status, 503);
    let counts = |method: &str| {
        let shown = routes(&gateway);
        let mut listed = shown["routes"].as_array().unwrap().iter();
        let route =
            listed.find(|route| route["pattern"] == "/metadata/identification-keys" && route["method"] == method);
        let count = |name: &str| route.unwrap()[name].as_u64().unwrap();
        (count("in_flight"), count("admitted"), count("refused"))
    };
    eventually("all have ended", || counts("GET") == (0, 3, 0));
    assert_eq!(counts("POST"), (0, 0, 1));
}

#[test]
fn a_reload_takes_the_new_table_and_says_whether_it_is_new() {
    let ucs = Ucs::usual();
    let (gateway, dir, _) = with_table(&ucs, &[]);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    assert_eq!(profile_status(&gateway), 503);
    let count = routes(&gateway)["routes"].as_array().unwrap().len();
    let same = reload(&gateway);
    assert_eq!(same.json(), json!({"generation": 1, "routes": count, "changed": false, "still_running": 0}));

    dir.file("routes.yaml", &SHIPPED.replace(PROFILE, PROFILE_OPEN));
    let new = reload(&gateway);
    assert_eq!(new.status, 200, "{}", new.text());
    assert_eq!(new.json(), json!({"generation": 2, "routes": count, "changed": true, "still_running": 0}));
    assert_ne!(profile_status(&gateway), 503);
    assert_eq!(routes(&gateway)["generation"], 2);
    assert_eq!(reloads(&gateway, "error"), 0.0);
}

#[test]
fn a_faulty_table_is_told_whole_and_the_last_good_one_stays() {
    let ucs = Ucs::usual();
    let (gateway, dir, file) = with_table(&ucs, &[]);
    let before = routes(&gateway);
    dir.file("routes.yaml", FAULTY);
    let refused = reload(&gateway);
    assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("route_faults")), "{}", refused.text());
    let answer = refused.json();
    let detail = answer["detail"].as_str().unwrap();
    for (line, word) in [(2, "perhaps"), (7, "servers"), (8, "colour")] {
        let place = format!("{}:{line}: ", file.display());
        let told = detail.lines().find(|told| told.contains(&place));
        assert!(told.is_some_and(|told| told.contains(word)), "line {line} and {word:?} are not in {detail}");
    }
    assert_eq!(routes(&gateway), before);
    assert_ne!(profile_status(&gateway), 503);
    assert_eq!(reloads(&gateway, "error"), 1.0);

    std::fs::remove_file(&file).unwrap();
    let gone = reload(&gateway);
    assert_eq!(gone.status, 422, "{}", gone.text());
    assert!(gone.text().contains("cannot read") && gone.text().contains("routes.yaml"), "{}", gone.text());
    assert_ne!(profile_status(&gateway), 503);

    dir.file("routes.yaml", &SHIPPED.replace(PROFILE, PROFILE_OPEN));
    assert_eq!(reload(&gateway).json()["generation"], 2, "a refused table leaves no trace");
}

#[test]
fn sighup_reloads_and_logs_the_faults() {
    let ucs = Ucs::usual();
    let (gateway, dir, file) = with_table(&ucs, &[]);
    dir.file("routes.yaml", &SHIPPED.replace(PROFILE, PROFILE_OPEN));
    gateway.signal("HUP");
    eventually("the new table is in force", || routes(&gateway)["generation"] == 2);
    dir.file("routes.yaml", FAULTY);
    gateway.signal("HUP");
    eventually("the failure is counted", || reloads(&gateway, "error") == 1.0);
    for line in [2, 7, 8] {
        let place = format!("{}:{line}: ", file.display());
        eventually("each fault is logged", || gateway.log().contains(&place));
    }
    assert_eq!(routes(&gateway)["generation"], 2);
    assert_ne!(profile_status(&gateway), 503);
}

#[test]
fn an_explanation_says_what_really_happens() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for mode in ["production", "maintenance"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
        for (method, path) in [
            ("GET", "/profiles/7"),
            ("HEAD", "/profiles/7"),
            ("OPTIONS", "/profiles"),
            ("POST", "/profiles"),
            ("GET", "/metadata/identification-keys"),
            ("POST", "/metadata/identification-keys"),
            ("GET", "/metadata/profiles/extensions/Bill"),
            ("GET", "/interactions/1/plain_text"),
            ("GET", "/interactions/a%62c"),
            ("GET", "/server/status"),
            ("GET", "/nobody/classified/this"),
            ("DELETE", "/server/status"),
            ("GET", "/profiles/%2e%2e/metadata"),
            ("GET", "/profiles;x=1/7"),
            ("GET", "/profiles/%zz"),
        ] {
            let escaped = path.replace('%', "%25").replace(';', "%3B");
            let explained = admin::call(&gateway, &format!("GET /explain?method={method}&path={escaped}"), None);
            assert_eq!(explained.status, 200, "{}", explained.text());
            let explained = explained.json();
            assert_eq!(explained["path"], path);
            let outcome = &explained[mode];
            let reply = request(gateway.data, &format!("{method} {path}"), &[], b"");
            let what = format!("{method} {path} in {mode}: {outcome} and {reply:?}");
            match outcome["verdict"].as_str().unwrap() {
                "refused" => {
                    assert_eq!(json!(reply.status), outcome["status"], "{what}");
                    assert_eq!(json!(reply.refusal()), outcome["reason"], "{what}");
                }
                "forwarded" => assert_eq!(reply.refusal(), None, "{what}"),
                "answered" => assert_eq!((reply.refusal(), reply.status), (None, 200), "{what}"),
                other => panic!("no verdict: {other}"),
            }
        }
    }
}

#[test]
fn an_explanation_names_the_losers() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let explained = admin::call(&gateway, "GET /explain?path=/interactions/1/plain_text", None).json();
    assert_eq!(explained["method"], "GET", "GET when left out");
    let taken = explained["route"]["line"].as_u64().unwrap();
    for shadowed in explained["shadowed"].as_array().unwrap() {
        assert!(shadowed["line"].as_u64().unwrap() > taken, "{explained}");
    }
    let dir = TempDir::new();
    let table =
        format!("{SHIPPED}\n  - operation: Anything at all\n    method: ANY\n    regex: /.*\n    class: service\n");
    let file = dir.file("routes.yaml", &table);
    let gateway = Gateway::bare(ucs.address, &["--routes", file.to_str().unwrap()]);
    let explained = admin::call(&gateway, "GET /explain?path=/profiles/7", None).json();
    assert_eq!(explained["route"]["operation"], "Query Customer Profile");
    let shadowed = explained["shadowed"].as_array().unwrap();
    assert!(shadowed.iter().any(|route| route["operation"] == "Anything at all"), "{explained}");
}

#[test]
fn an_explanation_costs_the_same_with_hundreds_of_regexes() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let route =
        |n: usize| format!("  - {{operation: R{n}, method: GET, regex: '/r{n}/[a-z]+/[0-9]+(/x)?', class: profile}}\n");
    let routes: String = (0..300).map(route).collect();
    let set_mode = "{operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode}";
    let file = dir.file("routes.yaml", &format!("version: 1\nroutes:\n  - {set_mode}\n{routes}"));
    let large = Gateway::bare(ucs.address, &["--routes", file.to_str().unwrap()]);
    let small = Gateway::bare(ucs.address, &[]);
    let cost = |gateway: &Gateway, path: &str| {
        let begun = Instant::now();
        assert_eq!(admin::call(gateway, &format!("GET /explain?path={path}"), None).status, 200);
        begun.elapsed()
    };
    // The quickest of many calls, and of more where that is needed: other work of the machine only adds.
    let (mut with_many, mut with_few) = (Duration::MAX, Duration::MAX);
    let mut compare = || {
        with_many = with_many.min(cost(&large, "/r0/abc/12/x"));
        with_few = with_few.min(cost(&small, "/interactions/1/plain_text"));
        with_many < with_few * 5
    };
    for _ in 0..50 {
        compare();
    }
    eventually("300 regexes cost about as much as the shipped table", compare);
}
