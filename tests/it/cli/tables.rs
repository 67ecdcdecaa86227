//! What is said about tables without a gateway: all faults at once, why a request is treated as it is, and which
//! requests two tables treat differently.

use serde_json::Value;

use crate::support::tool::run;
use crate::support::{Gateway, TempDir, Ucs, admin};

const SHIPPED: [&str; 3] = ["routes.yaml", "deploy/routes/8.5-split.yaml", "deploy/routes/9.1.yaml"];

/// A table with faults in the lines 2, 7, 10 and 13.
const FAULTY: &str = "version: 1
base_path: cv
routes:
  - operation: Set Server Mode
    method: POST
    path: /server/mode
    class: servers
    answer: set_mode
  - operation: Read
    method: get
    path: /a
    class: schema
    colour: red
";

#[test]
fn good_tables_are_good() {
    for file in SHIPPED {
        let checked = run(&["check", file]);
        assert_eq!((checked.code, checked.stderr.as_str()), (Some(0), ""), "{checked:?}");
        let text = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let routes = text.lines().filter(|line| line.trim_start().starts_with("- operation: ")).count();
        assert!(checked.stdout.starts_with(&format!("{file}: {routes} routes, no faults\n")), "{}", checked.stdout);
    }
    assert_eq!(run(&["check"]).stdout, run(&["check", "routes.yaml"]).stdout, "the default");
}

#[test]
fn all_faults_of_a_table_are_told_at_once() {
    let dir = TempDir::new();
    let file = dir.file("bad.yaml", FAULTY);
    let file = file.to_str().unwrap();
    for command in [&["explain", "GET", "/a", "--routes", file][..], &["diff", "routes.yaml", file]] {
        let checked = run(command);
        assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked:?}");
        for (line, words) in
            [(2, ["cv", "write"]), (7, ["servers", "write"]), (10, ["get", "write GET"]), (13, ["colour", "keys"])]
        {
            let place = format!("{file}:{line}: ");
            let told = checked.stderr.lines().find(|told| told.starts_with(&place));
            let told = told.unwrap_or_else(|| panic!("no line {line} in {}", checked.stderr));
            assert!(words.iter().all(|word| told.contains(word)), "{words:?} in {told:?}");
        }
        assert!(checked.stderr.contains("4 faults"), "{}", checked.stderr);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let checked = run(&["check", "nowhere.yaml"]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked:?}");
    assert!(checked.stderr.contains("cannot read nowhere.yaml"), "{}", checked.stderr);
}

#[test]
fn a_second_look_is_asked_for_where_routes_overlap() {
    let dir = TempDir::new();
    let overlapping = "version: 1
routes:
  - {operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode}
  - {operation: Special, method: GET, path: /a/special, class: schema}
  - {operation: Usual, method: GET, path: '/a/{id}', class: profile}
";
    let file = dir.file("overlap.yaml", overlapping);
    let file = file.to_str().unwrap();
    let checked = run(&["check", file]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let note = format!(
        "\nnote: \"Special\" takes some requests of \"Usual\", as it is listed earlier\n --> {file}:5:3\n  |\n4 |   - \
         {{operation: Special, method: GET, path: /a/special, class: schema}}\n"
    );
    assert!(checked.stdout.contains(&note), "{}", checked.stdout);
    assert!(checked.stdout.contains("- takes them as class schema, open in maintenance\n"), "{}", checked.stdout);
    let example = checked.stdout.split_once("for example GET ").expect("an example").1.lines().next().unwrap();
    let explained: Value =
        serde_json::from_str(&run(&["explain", "GET", example, "--routes", file, "--json"]).stdout).unwrap();
    assert_eq!(explained["route"]["operation"], "Special");
    assert_eq!(explained["shadowed"][0]["operation"], "Usual");
}

#[test]
fn an_explanation_tells_every_mode_in_words() {
    let told = run(&["explain", "POST", "/metadata/identification-keys?x=1"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
    let line = |name: &str| told.stdout.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_owned();
    assert!(line("taken by").contains("Create Identification Key (POST /metadata/identification-keys"), "{told:?}");
    assert!(line("production").contains("refused with 503"), "{told:?}");
    assert!(line("maintenance").contains("forwarded"), "{told:?}");
    assert!(line("switching").contains("refused with 503"), "{told:?}");
    let place = line("taken by").rsplit("routes.yaml:").next().unwrap().trim_end_matches(')').parse::<usize>().unwrap();
    assert!(include_str!("../../../routes.yaml").lines().nth(place - 1).unwrap().contains("Create Identification Key"));

    let spelled = run(&["explain", "GET", "/prof%69les/7"]).stdout;
    assert!(spelled.contains("read as      /profiles/7"), "{spelled}");
    let lower = run(&["explain", "get", "/profiles/7"]);
    assert!(lower.stderr.contains("methods are case-sensitive: this is about get, not GET"), "{lower:?}");
    let refused = run(&["explain", "GET", "/profiles/..;/metadata"]).stdout;
    assert!(refused.contains("no route") && refused.contains("refused with 400"), "{refused}");
}

#[test]
fn an_explanation_names_every_shadowed_route() {
    let dir = TempDir::new();
    let table = "version: 1
base_path: /cs
routes:
  - {operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode}
  - {operation: Special, method: GET, path: '/profiles/{id}', class: profile}
  - {operation: Broad, method: ANY, path: '/{kind}/{id}', class: profile}
  - {operation: Verbose, method: GET, regex: '(?x) /[a-z]+ /.+ # why', class: profile}
";
    let file = dir.file("shadowed.yaml", table);
    for path in ["/cs/profiles/7", "/cs/profiles/7/"] {
        let explained = run(&["explain", "GET", path, "--routes", file.to_str().unwrap(), "--json"]);
        let explained: Value = serde_json::from_str(&explained.stdout).unwrap();
        assert_eq!(explained["route"]["operation"], "Special", "{path}");
        let shadowed: Vec<_> = explained["shadowed"].as_array().unwrap().iter().map(|r| &r["operation"]).collect();
        assert_eq!(shadowed, ["Broad", "Verbose"], "{path}");
    }
}

#[test]
fn an_explanation_as_json_is_that_of_the_running_gateway() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    for (method, path) in
        [("GET", "/profiles/7"), ("POST", "/server/mode"), ("PUT", "/nobody/took/this"), ("GET", "/a//b")]
    {
        let told = run(&["explain", method, path, "--json"]);
        let told: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|error| panic!("{error}: {told:?}"));
        let answered = admin::call(&gateway, &format!("GET /explain?method={method}&path={path}"), None).json();
        assert_eq!(told, answered);
    }
}

#[test]
fn a_difference_is_shown_by_a_request_that_shows_it() {
    let dir = TempDir::new();
    let text = include_str!("../../../routes.yaml");
    let changed = text.replace("path: /metadata/identification-keys\n", "path: /metadata/keys\n");
    assert_ne!(changed, text);
    let file = dir.file("new.yaml", &changed);
    let file = file.to_str().unwrap();
    let same = run(&["diff", "routes.yaml", "routes.yaml"]);
    assert_eq!((same.code, same.stdout.lines().count()), (Some(0), 1), "{same:?}");
    assert!(same.stdout.contains("no difference"));

    let told = run(&["diff", "routes.yaml", file]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "{told:?}");
    let requests: Vec<_> = told.stdout.lines().filter(|line| !line.starts_with(' ')).collect();
    for wanted in ["GET /metadata/identification-keys", "POST /metadata/identification-keys", "GET /metadata/keys"] {
        assert!(requests.contains(&wanted), "{wanted} is not in {requests:?}");
    }
    let new_path = "GET /metadata/keys
  - 404, no route
  + Get Identification Keys (class schema, open in production and maintenance)\n";
    assert!(told.stdout.contains(new_path), "{}", told.stdout);
    for request in requests {
        let (method, path) = request.split_once(' ').unwrap();
        let taken = |file: &str| {
            let told = run(&["explain", method, path, "--json", "--routes", file]).stdout;
            serde_json::from_str::<Value>(&told).unwrap()["route"]["pattern"].clone()
        };
        assert_ne!(taken("routes.yaml"), taken(file), "{request}");
    }
}
