//! Every documented operation through real sockets: which class it has, which modes admit it, and what a client gets in
//! each mode. The rows are those of `tests/cases/operations.tsv`; what is expected of them is the rule, written here once
//! more and independently of the shipped tables.

use std::path::PathBuf;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::{Gateway, Reply, TempDir, Ucs, admin, request};

/// The method for rows whose page names none; their routes take any.
const UNNAMED_METHOD: &str = "POST";

/// One row of the table.
#[derive(Clone, Debug)]
struct Row {
    generation: String,
    operation: String,
    method: String,
    template: String,
    class: String,
}

impl Row {
    /// A path that the template takes, below `base`; `case` in the query tells this request from all others.
    fn path(&self) -> String {
        let fill = |segment: &str| if segment.starts_with('{') { "x-1".to_owned() } else { segment.to_owned() };
        self.template.split('/').map(fill).collect::<Vec<_>>().join("/")
    }

    /// The classes of the gateway's tables: interactions belong to whom they are listed by.
    fn expected_class(&self) -> &str {
        match self.class.as_str() {
            "interaction" if self.template.starts_with("/customers/") => "profile",
            "interaction" => "service",
            "other" if self.template.starts_with("/ucs/v1/Metrics/") => "server",
            "other" => "service",
            class => class,
        }
    }

    /// The rule: schema reads are open in both modes, schema writes in maintenance only.
    fn admitted_in(&self, mode: &str) -> bool {
        match (self.expected_class(), mode) {
            ("server", _) => true,
            ("schema", _) if self.method == "GET" => true,
            ("schema", mode) => mode == "maintenance",
            (_, mode) => mode == "production",
        }
    }
}

/// The rows of some generations, each method and path once.
fn rows(generations: &[&str]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for line in include_str!("../cases/operations.tsv").lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [generation, _, operation, method, template, class, ..] = columns[..] else { panic!("columns of {line}") };
        let method = if method.contains(' ') { UNNAMED_METHOD } else { method };
        let known = rows.iter().any(|row| row.method == method && row.template == template);
        if generations.contains(&generation) && !known {
            let [generation, operation, method, template, class] =
                [generation, operation, method, template, class].map(str::to_owned);
            rows.push(Row { generation, operation, method, template, class });
        }
    }
    rows
}

/// A gateway before a stand-in, both below the same base path.
struct Setting {
    ucs: Ucs,
    gateway: Gateway,
    base: String,
    _dir: TempDir,
}

impl Setting {
    /// The table of this file with another base path.
    fn start(table: &str, base: &str) -> Setting {
        let text = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(table)).unwrap();
        let own = text.lines().find(|line| line.starts_with("base_path:")).expect("a table has a base path");
        let dir = TempDir::new();
        let routes = dir.file("routes.yaml", &text.replacen(own, &format!("base_path: \"{base}\""), 1));
        let ucs = Ucs::start(StandInOptions { base_path: base.to_owned(), ..StandInOptions::new() });
        let gateway = Gateway::start(ucs.address, &["--routes", routes.to_str().unwrap()]);
        Setting { ucs, gateway, base: base.to_owned(), _dir: dir }
    }

    fn set_mode(&self, mode: &str) {
        let flipped = admin::set_mode(&self.gateway, &json!({"mode": mode}));
        assert_eq!(flipped.status, 200, "{}", flipped.text());
    }

    fn explain(&self, method: &str, path: &str) -> Value {
        let line = format!("GET /explain?method={method}&path={path}");
        let reply = admin::call(&self.gateway, &line, None);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// Sends it in the mode that is in force and checks what a client gets and what UCS sees.
    fn try_in(&self, mode: &str, row: &Row, case: &str) {
        let path = format!("{}{}", self.base, row.path());
        let target = format!("{path}?case={case}");
        let admitted = row.admitted_in(mode);
        let reply = request(self.gateway.data, &format!("{} {target}", row.method), &[], b"");
        let seen = self.ucs.asked(&row.method, &target);
        let at = format!("{} {} in {mode} ({}): {reply:?}", row.method, path, row.operation);
        if row.template == "/server/mode" {
            // The gateway answers by itself, and first of all wants to know who asks.
            assert_eq!((reply.status, reply.refusal(), seen.len()), (401, Some("unauthorized"), 0), "{at}");
        } else if admitted {
            assert_eq!((reply.refusal(), seen.len()), (None, 1), "{at}");
            assert_ne!(reply.status, 503, "{at}");
            assert_eq!(seen[0].status, Some(reply.status), "{at}");
        } else {
            assert_eq!(seen.len(), 0, "{at}");
            self.check_refusal(&reply, mode, row, &path);
        }
        if row.method == "GET" && row.template != "/server/status" {
            let head = request(self.gateway.data, &format!("HEAD {target}"), &[], b"");
            assert_eq!((head.status, head.refusal()), (reply.status, reply.refusal()), "HEAD as {at}");
        }
    }

    fn check_refusal(&self, reply: &Reply, mode: &str, row: &Row, path: &str) {
        assert_eq!((reply.status, reply.header("ucs-gateway")), (503, Some("refused; reason=mode")), "{reply:?}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let body = reply.json();
        let operation = body["operation"].as_str().unwrap_or_default();
        assert!(row.operation.starts_with(operation) && !operation.is_empty(), "{operation:?} for {row:?}");
        let detail =
            format!("{operation} ({} {path}) is unavailable while the system is in \"{mode}\" mode", row.method);
        let expected = json!({
            "title": "Not available", "status": 503, "detail": detail, "mode": mode, "reason": "mode",
            "operation": operation, "class": row.expected_class(), "revision": body["revision"],
        });
        let mut told = body.clone();
        told.as_object_mut().unwrap().remove("cause");
        assert_eq!(told, expected);
    }

    /// That `GET /explain` says of a row what the rule says.
    fn check_explanation(&self, row: &Row) {
        let explained = self.explain(&row.method, &format!("{}{}", self.base, row.path()));
        assert_eq!(explained["route"]["class"], row.expected_class(), "{row:?} {explained}");
        for mode in ["production", "maintenance"] {
            let expected = match (row.template.as_str(), row.admitted_in(mode)) {
                ("/server/mode" | "/server/status", _) => "answered",
                (_, true) => "forwarded",
                (_, false) => "refused",
            };
            assert_eq!(explained[mode]["verdict"], expected, "{row:?} in {mode}: {explained}");
            let listed = explained["route"]["modes"].as_array().unwrap().contains(&json!(mode));
            assert_eq!(listed, row.admitted_in(mode), "{row:?}: {explained}");
        }
    }
}

/// All rows in both modes.
fn walk(setting: &Setting, rows: &[Row]) {
    for row in rows {
        setting.check_explanation(row);
    }
    for mode in ["production", "maintenance"] {
        setting.set_mode(mode);
        for (number, row) in rows.iter().enumerate() {
            setting.try_in(mode, row, &format!("{mode}-{number}"));
        }
    }
}

fn walk_the_shipped_table_below(base: &str) {
    let rows = rows(&["8.0/8.1 UCS", "8.5 UCS-CS"]);
    assert_eq!(rows.len(), 74, "8.5 adds no path to those of 8.0 and 8.1");
    walk(&Setting::start("routes.yaml", base), &rows);
}

#[test]
fn every_operation_of_8_x_in_each_mode() {
    walk_the_shipped_table_below("");
}

#[test]
fn every_operation_of_8_x_below_the_recommended_base_path() {
    walk_the_shipped_table_below("/genesys/1/cs");
}

#[test]
fn every_operation_of_8_x_below_a_short_base_path() {
    walk_the_shipped_table_below("/cv");
}

#[test]
fn outside_of_the_base_path_nothing_is_reached() {
    let setting = Setting::start("routes.yaml", "/cv");
    for path in ["/profiles/1", "/cvprofiles/1", "/CV/profiles/1", "/cv", "/", "/genesys/1/cs/profiles/1"] {
        let reply = request(setting.gateway.data, &format!("GET {path}"), &[], b"");
        assert_eq!((reply.status, reply.refusal()), (404, Some("unmatched")), "{path}: {reply:?}");
        assert_eq!(setting.ucs.asked("GET", path).len(), 0);
    }
}

#[test]
fn the_8_5_split_takes_what_stays_in_ucs_and_nothing_of_gms() {
    let setting = Setting::start("deploy/routes/8.5-split.yaml", "/genesys/1/cs");
    walk(&setting, &rows(&["8.5 UCS-CS"]));
    setting.set_mode("production");
    for row in rows(&["8.5 GMS-CS"]) {
        // Reads of business attributes are documented on both sides.
        if row.class == "schema" {
            continue;
        }
        let path = row.path();
        let reply = request(setting.gateway.data, &format!("{} {path}", row.method), &[], b"");
        assert_eq!((reply.status, reply.refusal()), (404, Some("unmatched")), "{row:?} {reply:?}");
        assert_eq!(setting.ucs.asked(&row.method, &path).len(), 0, "{row:?}");
    }
}

#[test]
fn the_shipped_split_has_the_recommended_base_path() {
    let table = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/routes/8.5-split.yaml");
    let ucs = Ucs::start(StandInOptions { base_path: "/genesys/1/cs".to_owned(), ..StandInOptions::new() });
    let gateway = Gateway::start(ucs.address, &["--routes", table]);
    let reply = request(gateway.data, "GET /genesys/1/cs/metadata/identification-keys", &[], b"");
    assert_eq!((reply.status, reply.refusal()), (200, None), "{reply:?}");
}

#[test]
fn every_operation_of_9_1_in_each_mode() {
    walk(&Setting::start("deploy/routes/9.1.yaml", ""), &rows(&["UCS 9.1 REST"]));
}

#[test]
fn every_generation_of_the_table_is_walked() {
    let all = include_str!("../cases/operations.tsv").lines().count() - 1;
    let walked = ["8.0/8.1 UCS", "8.5 UCS-CS", "8.5 GMS-CS", "UCS 9.1 REST"];
    let lines = include_str!("../cases/operations.tsv").lines().skip(1);
    let covered = lines.filter(|line| walked.iter().any(|generation| line.starts_with(generation))).count();
    assert_eq!(covered, all);
    assert!(rows(&walked).iter().all(|row| walked.contains(&row.generation.as_str())));
}
