//! `check` and `diff` where the search is hard: what they find, and that they never call a table good without a proof.

use crate::support::TempDir;
use crate::support::tool::{Run, run};

/// A table with these lines and routes, each a flow map without its braces.
fn table(head: &str, routes: &[String]) -> String {
    let set_mode = "operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode";
    let mut text = format!("version: 1\n{head}routes:\n  - {{{set_mode}}}\n");
    for route in routes {
        text += &format!("  - {{{route}}}\n");
    }
    text
}

fn heavy(regex: &str, more: &str) -> String {
    format!("operation: Heavy, method: GET, regex: '{regex}', class: profile{more}")
}

fn diff(old: &str, new: &str) -> Run {
    let dir = TempDir::new();
    let (old, new) = (dir.file("old.yaml", old), dir.file("new.yaml", new));
    run(&["diff", old.to_str().unwrap(), new.to_str().unwrap()])
}

#[test]
fn a_dead_route_is_found_beside_a_regex_with_many_states() {
    let dir = TempDir::new();
    let routes = [
        heavy("/x/[ab]*a[ab]{15}", ""),
        "operation: All, method: GET, path: '/a/{id}', class: profile".to_owned(),
        "operation: Dead, method: GET, path: /a/b, class: profile".to_owned(),
    ];
    let file = dir.file("dead.yaml", &table("", &routes));
    let checked = run(&["check", file.to_str().unwrap()]);
    assert_eq!((checked.code, checked.stdout.as_str()), (Some(2), ""), "{checked:?}");
    assert!(checked.stderr.contains("error: GET /a/b can never match: \"All\" (line 5)"), "{}", checked.stderr);
    assert!(checked.stderr.contains("dead.yaml:6:42\n"), "{}", checked.stderr);
}

#[test]
fn every_field_of_a_route_is_compared_also_beside_a_regex_with_many_states() {
    let regex = "/x/[abc]*a[abc]{10}";
    let old = table("", &[heavy(regex, "")]);
    assert_eq!(diff(&old, &old).code, Some(0));
    for (more, says) in [
        (", modes: [maintenance]", "open in maintenance"),
        (", needs_profile_schema: true", "needs_profile_schema"),
        (", answer: status", "answer: status"),
        (", id: CV.1", "id CV.1"),
    ] {
        let told = diff(&old, &table("", &[heavy(regex, more)]));
        assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "{more}: {told:?}");
        let mut lines = told.stdout.lines();
        assert_eq!(lines.next(), Some("GET /x/aaaaaaaaaaa"), "{more}");
        assert!(lines.next().is_some_and(|old| old.starts_with("  - Heavy (class profile, open in production")));
        assert!(lines.next().is_some_and(|new| new.starts_with("  + Heavy (") && new.contains(says)), "{told:?}");
    }
    let renamed = diff(&old, &old.replace("Heavy", "Other"));
    assert_eq!((renamed.code, renamed.stdout.contains("+ Other (")), (Some(1), true), "{renamed:?}");
    let template = "operation: New, method: POST, path: /y, class: profile, needs_profile_schema: true".to_owned();
    let regex = template.replace("path: /y", "regex: /y");
    let told = diff(&table("", &[template]), &table("", &[regex]));
    assert_eq!(told.code, Some(1), "only a template shows that a 404 is about the schema: {told:?}");
    assert!(told.stdout.contains("a 404 of UCS does not count"), "{told:?}");
}

#[test]
fn every_setting_of_the_table_is_compared() {
    let old = table("", &[]);
    for (head, says) in [
        ("base_path: /cs\n", "base_path\n  - \"\"\n  + \"/cs\"\n"),
        ("unmatched: {class: service}\n", "unmatched\n  - not_found\n  + class service\n"),
        ("classes: {profile: [maintenance]}\n", "class profile\n  - open in production\n  + open in maintenance\n"),
        ("classes: {own: [production]}\n", "class own\n  - not defined\n  + open in production\n"),
        (
            "answers: {mode: {content_type: text/plain, body: closed}}\n",
            "answers: mode\n  - a problem document\n  + text/plain \"closed\"\n",
        ),
    ] {
        let told = diff(&old, &table(head, &[]));
        assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""), "{head}: {told:?}");
        assert!(told.stdout.contains(says), "{head}: {says:?} is not in {}", told.stdout);
    }
}

#[test]
fn a_diff_that_is_cut_short_proves_nothing_and_says_so() {
    let (a, b) = (table("", &[heavy("/x/[abc]*a[abc]{10}", "")]), table("", &[heavy("/x/[abc]*b[abc]{10}", "")]));
    let told = diff(&a, &b);
    assert_eq!(told.code, Some(1), "{told:?}");
    assert!(told.stderr.contains("not proven: ") && told.stderr.contains("write path templates"), "{told:?}");
    assert!(!told.stdout.contains("no difference"), "{told:?}");
}

#[test]
fn a_check_that_is_cut_short_proves_nothing_and_says_so() {
    let path = |at: usize| (0..16).map(move |n| if n == at { "/x".to_owned() } else { format!("/{{p{n}}}") });
    let route = |at: usize| {
        let path: String = path(at).collect();
        format!("operation: Wide {at}, method: GET, path: '{path}', class: profile")
    };
    let dir = TempDir::new();
    let file = dir.file("wide.yaml", &table("", &(0..16).map(route).collect::<Vec<_>>()));
    let checked = run(&["check", file.to_str().unwrap()]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("not proven: ") && !checked.stdout.contains("no faults"), "{checked:?}");
}
