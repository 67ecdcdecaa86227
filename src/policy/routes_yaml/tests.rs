//! The shipped tables against the list of documented operations, and bad tables against their messages.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;
use crate::policy::path::CanonicalPath;
use crate::policy::strict_yaml::SIZE_LIMIT;
use crate::policy::table::RouteMethod;

const SHIPPED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml"));
const SPLIT: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/routes/8.5-split.yaml"));
const UCS_9_1: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/routes/9.1.yaml"));
const OPERATIONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/operations.tsv"));

/// The smallest table: Set Server Mode alone.
const SMALLEST: &str =
    "version: 1\nroutes:\n- {operation: M, method: POST, path: /m, class: server, answer: set_mode}\n";

struct Documented<'t> {
    generation: &'t str,
    method: &'t str,
    path: &'t str,
    class: &'t str,
}

fn documented() -> Vec<Documented<'static>> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('\t').collect();
        Documented { generation: cells[0], method: cells[3], path: cells[4], class: cells[5] }
    };
    OPERATIONS.lines().skip(1).map(row).collect()
}

fn shipped(text: &str) -> RouteTable {
    let joined =
        |diagnostics: Vec<Diagnostic>| diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n");
    parse(text, "shipped").map_err(joined).unwrap()
}

/// The route that takes a request for the documented operation, its parameters filled in.
fn route_of<'t>(table: &'t RouteTable, method: &str, template: &str) -> &'t Route {
    let segments = template.split('/').map(|segment| if segment.starts_with('{') { "17" } else { segment });
    let path = format!("{}{}", table.base_path, segments.collect::<Vec<_>>().join("/"));
    let path = CanonicalPath::parse(path.as_bytes()).unwrap();
    let found = table.classify(method, &path).unwrap_or_else(|| panic!("no route takes {method} {template}"));
    let route = &table.routes[found as usize];
    let Pattern::Template(pattern) = &route.pattern else { panic!("{method} {template} is a regex") };
    assert_eq!(without_names(pattern), without_names(template), "another route takes {method} {template}");
    route
}

/// Class and modes by the rule, for a class as the list of operations names it.
fn expected(row: &Documented<'_>) -> (&'static str, ModeSet) {
    match row.class {
        "server" => ("server", ModeSet::Both),
        "schema" if row.method == "GET" => ("schema", ModeSet::Both),
        "schema" => ("schema", ModeSet::Maintenance),
        "interaction" if row.path.starts_with("/customers/") => ("profile", ModeSet::Production),
        "profile" => ("profile", ModeSet::Production),
        "interaction" | "service" => ("service", ModeSet::Production),
        "other" if row.path.contains("/Metrics/") => ("server", ModeSet::Both),
        "other" => ("service", ModeSet::Production),
        class => panic!("unknown class {class} in operations.tsv"),
    }
}

fn assert_covers(table: &RouteTable, generations: &[&str], rows: usize) {
    let wanted: Vec<Documented> =
        documented().into_iter().filter(|row| generations.contains(&row.generation)).collect();
    assert_eq!(wanted.len(), rows, "rows of {generations:?} in operations.tsv");
    for row in wanted {
        let any = row.method.contains(' ');
        let route = route_of(table, if any { "PUT" } else { row.method }, row.path);
        let is = (&*table.classes[route.class].name, route.modes);
        assert_eq!(is, expected(&row), "{} {}", row.method, row.path);
        assert!(!any || route.method == RouteMethod::Any, "{} takes one method only", row.path);
    }
}

#[test]
fn the_shipped_table_covers_every_documented_operation_of_8_0_8_1_and_8_5() {
    assert_covers(&shipped(SHIPPED), &["8.0/8.1 UCS", "8.5 UCS-CS"], 102);
}

#[test]
fn the_split_covers_every_documented_operation_of_ucs_8_5() {
    let table = shipped(SPLIT);
    assert_eq!(&*table.base_path, "/genesys/1/cs");
    assert_covers(&table, &["8.5 UCS-CS"], 28);
}

#[test]
fn the_9_1_table_covers_every_documented_operation_of_9_1() {
    assert_covers(&shipped(UCS_9_1), &["UCS 9.1 REST"], 79);
}

#[test]
fn the_three_operations_that_need_a_profile_schema_say_so() {
    for text in [SHIPPED, SPLIT] {
        let table = shipped(text);
        let needing = table.routes.iter().filter(|route| route.needs_profile_schema);
        let names: BTreeSet<&str> = needing.map(|route| &*route.operation).collect();
        assert_eq!(names, BTreeSet::from(["Bulk Profile Import", "Create Customer Profile", "Query Customer Profile"]));
    }
}

#[test]
fn the_gateway_answers_set_server_mode_and_query_server_status() {
    let table = shipped(SHIPPED);
    assert_eq!(route_of(&table, "POST", "/server/mode").answer, Some(RouteAnswer::SetMode));
    assert_eq!(route_of(&table, "GET", "/server/status").answer, Some(RouteAnswer::Status));
}

#[test]
fn absent_keys_have_their_defaults() {
    let table = parse(SMALLEST, "t").unwrap();
    assert_eq!((&*table.base_path, table.unmatched, table.answers.len()), ("", Unmatched::NotFound, 0));
    let classes: Vec<(&str, ModeSet)> = table.classes.iter().map(|class| (&*class.name, class.modes)).collect();
    let (production, maintenance) = (ModeSet::Production, ModeSet::Maintenance);
    let four = [("schema", maintenance), ("profile", production), ("service", production), ("server", ModeSet::Both)];
    assert_eq!(classes, four);
    assert_eq!(table.routes[0].line, 3);
}

#[test]
fn own_classes_stand_beside_the_four_and_may_change_them() {
    let text = format!("{SMALLEST}classes:\n  batch: [maintenance]\n  profile: [production, maintenance]\n");
    let table = parse(&text, "t").unwrap();
    let names: Vec<&str> = table.classes.iter().map(|class| &*class.name).collect();
    assert_eq!(names, ["batch", "profile", "schema", "service", "server"]);
    assert_eq!(table.classes[1].modes, ModeSet::Both);
}

#[test]
fn answers_keep_their_text_and_unmatched_names_its_class() {
    let text = format!(
        "{SMALLEST}unmatched: {{class: service}}\nanswers:\n  mode:\n    content_type: application/json\n    \
         body: '{{\"error\": {{\"code\": {{status}}, \"text\": \"{{detail}}\"}}}}'\n"
    );
    let table = parse(&text, "t").unwrap();
    assert_eq!(table.unmatched, Unmatched::Class(2));
    let (reason, template) = &table.answers[0];
    assert_eq!((&**reason, &*template.content_type), ("mode", "application/json"));
    assert_eq!(&*template.body, r#"{"error": {"code": {status}, "text": "{detail}"}}"#);
}

#[test]
fn a_control_character_in_an_answer_is_reported() {
    let answer =
        |body: &str| format!("{SMALLEST}answers:\n  mode:\n    content_type: text/plain\n    body: \"{body}\"\n");
    assert!(parse(&answer("a\\tb\\r\\n"), "t").is_ok());
    for control in ["\\x7f", "\\0", "\\x1b"] {
        let diagnostics = parse(&answer(&format!("a{control}b")), "t").unwrap_err();
        assert!(diagnostics[0].issue.message.contains("control character"), "{control}: {}", diagnostics[0]);
    }
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_change_nothing() {
    assert!(parse(&SMALLEST.replace('\n', "\r\n"), "t").is_ok());
    assert!(parse(&format!("\u{feff}{SMALLEST}"), "t").is_ok());
}

#[test]
fn a_file_that_is_too_long_or_too_deep_is_refused_before_it_costs_anything() {
    let long = parse(&"#".repeat(SIZE_LIMIT + 1), "t").unwrap_err();
    assert!(long[0].issue.message.contains("more than 4194304"), "{}", long[0]);
    let deep = parse(&"[".repeat(40), "t").unwrap_err();
    assert!(deep[0].issue.message.contains("nested deeper"), "{}", deep[0]);
    assert_eq!(parse(&"[".repeat(SIZE_LIMIT), "t").unwrap_err().len(), 1);
    assert_eq!(parse(&"- ".repeat(SIZE_LIMIT / 2), "t").unwrap_err().len(), 1);
}

#[test]
fn a_diagnostic_carries_its_line_and_the_offending_text() {
    let diagnostics = parse(&SMALLEST.replace("class: server", "class: servr"), "t").unwrap_err();
    assert_eq!(diagnostics.len(), 1);
    assert_eq!((diagnostics[0].line, diagnostics[0].column, &*diagnostics[0].issue.offending), (3, 49, "servr"));
}

/// Every `NAME.yaml` in tests/cases/routes is a bad table and `NAME.txt` its messages. `UPDATE_CASES=1` writes them anew.
#[test]
fn bad_tables_are_refused_with_exactly_these_messages() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/routes");
    let mut checked = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let diagnostics = parse(&text, name).err().unwrap_or_else(|| panic!("{name} is valid"));
        let said: String = diagnostics.iter().map(|fault| format!("{fault}\n")).collect();
        let expected_file = path.with_extension("txt");
        if std::env::var_os("UPDATE_CASES").is_some() {
            std::fs::write(&expected_file, &said).unwrap();
        }
        assert_eq!(said, std::fs::read_to_string(&expected_file).unwrap_or_default(), "{name}");
        checked += 1;
    }
    assert!(checked >= 10, "only {checked} cases in {}", folder.display());
}
