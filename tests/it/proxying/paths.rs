//! Paths and tables: the bytes that UCS gets are the bytes that were classified, and what could be read in two ways does
//! not get there.

use crate::support::{Connection, Gateway, Scripted, TempDir, http};

/// A table below a base path, as UCS's option `cview/base_url` makes it.
fn table(base_path: &str) -> String {
    format!(
        "version: 1\nbase_path: \"{base_path}\"\nclasses:\n  profile: [production]\n  server: [maintenance, production]\n\
         routes:\n  - {{operation: Set Server Mode, method: POST, path: /server/mode, class: server, answer: set_mode}}\n  \
         - {{operation: Query Customer Profile, method: GET, path: \"/profiles/{{customer_id}}\", class: profile}}\n"
    )
}

/// Sends each target on one connection; status and reason of each answer.
fn ask(gateway: &Gateway, targets: &[&str]) -> Vec<(u16, Option<String>)> {
    let mut client = Connection::open(gateway.data);
    let mut ask_one = |target: &&str| {
        client.send(http::compose(gateway.data, &format!("GET {target}"), &[], b""));
        let reply = client.read_reply();
        (reply.status, reply.refusal().map(str::to_owned))
    };
    targets.iter().map(&mut ask_one).collect()
}

/// The targets that UCS was asked for.
fn targets(upstream: &Scripted) -> Vec<String> {
    let text = upstream.received_text();
    text.lines().filter_map(|line| Some(line.strip_suffix(" HTTP/1.1")?.split_once(' ')?.1.to_owned())).collect()
}

#[test]
fn the_path_that_goes_on_is_the_one_that_was_classified() {
    let cases = [
        ("/profiles/abc", "/profiles/abc"),
        ("/profiles/%61%62%63", "/profiles/abc"),
        ("/%70rofiles/1", "/profiles/1"),
        ("/profiles/%c3%a9", "/profiles/%C3%A9"),
        ("/profiles/a%20b", "/profiles/a%20b"),
        ("/profiles/a+b@c:d,e!", "/profiles/a+b@c:d,e!"),
        ("/profiles/%7euser", "/profiles/~user"),
        ("/profiles/1?a=%2f..%2f&b=;c", "/profiles/1?a=%2f..%2f&b=;c"),
        ("/profiles/%31?", "/profiles/1?"),
        ("/profiles?EmailAddress=a%40b", "/profiles?EmailAddress=a%40b"),
        ("http://ucs/profiles/%31?x", "/profiles/1?x"),
    ];
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    let sent = cases.map(|(sent, _)| sent);
    for (answer, target) in ask(&gateway, &sent).into_iter().zip(sent) {
        assert_eq!(answer, (200, None), "{target}");
    }
    assert_eq!(targets(&upstream), cases.map(|(_, got)| got));
}

#[test]
fn paths_that_servers_read_in_two_ways_are_refused() {
    let cases = [
        ("/profiles/..%2fx", "encoded_slash"),
        ("/profiles/a%2Fb", "encoded_slash"),
        ("/profiles/..%5cx", "encoded_backslash"),
        ("/profiles/../x", "dot_segment"),
        ("/metadata/%2e%2e/profiles", "dot_segment"),
        ("/metadata/.%2E/profiles", "dot_segment"),
        ("/profiles/./1", "dot_segment"),
        ("/metadata/..;/profiles", "semicolon"),
        ("/profiles;a=b/1", "semicolon"),
        ("/profiles/1%3Bx", "semicolon"),
        ("//profiles/1", "empty_segment"),
        ("/profiles//1", "empty_segment"),
        ("/profiles/%00", "control_character"),
        ("/profiles/%0d%0aX:1", "control_character"),
        ("/profiles/%zz", "invalid_escape"),
        ("/profiles/%", "invalid_escape"),
        ("/profiles/%252fx", "nested_escape"),
        ("/profiles/%252e%252e", "nested_escape"),
        ("/profiles/%c0%af", "invalid_utf8"),
        ("/profiles/%ff", "invalid_utf8"),
        ("http://ucs/profiles/../x", "dot_segment"),
    ];
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &[]);
    for (answer, (target, reason)) in ask(&gateway, &cases.map(|(target, _)| target)).into_iter().zip(cases) {
        assert_eq!(answer, (400, Some(reason.to_owned())), "{target}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_base_path_is_part_of_every_route_and_goes_on_with_it() {
    for base_path in ["/genesys/1/cs", "/cv", ""] {
        let dir = TempDir::new();
        let file = dir.file("routes.yaml", &table(base_path));
        let upstream = Scripted::ok();
        let gateway = Gateway::bare(upstream.address, &["--routes", file.to_str().unwrap()]);
        let inside = format!("{base_path}/profiles/1");
        let escaped = format!("{base_path}/profiles/%31");
        let (unmatched, found) = ((404, Some("unmatched".to_owned())), (200, None));
        assert_eq!(ask(&gateway, &[&inside, &escaped]), [found.clone(), found], "{base_path}");
        assert_eq!(targets(&upstream), [inside.as_str(), inside.as_str()], "{base_path}");
        let outside = ["/other/profiles/1", "/profiles/1/x", "/cvx/profiles/1", "/genesys/1/csx/profiles/1", "/"];
        for (answer, target) in ask(&gateway, &outside).into_iter().zip(outside) {
            assert_eq!(answer, unmatched, "{target} below {base_path:?}");
        }
        if !base_path.is_empty() {
            assert_eq!(ask(&gateway, &["/profiles/1"]), [unmatched], "the base path cannot be left out");
        }
    }
}

#[test]
fn what_no_route_takes_is_forwarded_as_a_class_when_the_table_says_so() {
    let dir = TempDir::new();
    let text = table("").replace("routes:\n", "unmatched: {class: profile}\nroutes:\n");
    let file = dir.file("routes.yaml", &text);
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &["--routes", file.to_str().unwrap()]);
    assert_eq!(ask(&gateway, &["/anything/%61?x"]), [(200, None)]);
    assert_eq!(targets(&upstream), ["/anything/a?x"]);
}
