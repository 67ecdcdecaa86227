//! The compiled table against its documented rules, applied naively.

use proptest::prelude::*;

use super::*;
use crate::policy::mode::ModeSet;

fn route((method, pattern): (&str, &str)) -> Route {
    let pattern = match pattern.strip_prefix("re:") {
        Some(regex) => Pattern::Regex(regex.into()),
        None => {
            // Each parameter needs a name of its own.
            let named = |(at, segment): (usize, &str)| segment.replace('}', &format!("{at}}}"));
            Pattern::Template(pattern.split('/').enumerate().map(named).collect::<Vec<_>>().join("/").into())
        }
    };
    let method = if method == "*" { RouteMethod::Any } else { RouteMethod::Only(method.into()) };
    Route {
        operation: "op".into(),
        id: None,
        method,
        pattern,
        class: 0,
        modes: ModeSet::Both,
        answer: None,
        needs_profile_schema: false,
        line: 1,
    }
}

pub(crate) fn compile(base_path: &str, routes: &[(&str, &str)]) -> Result<RouteTable, Vec<CompileError>> {
    RouteTable::compile(RouteTableParts {
        base_path: base_path.into(),
        classes: vec![Class { name: "all".into(), modes: ModeSet::Both }],
        routes: routes.iter().copied().map(route).collect(),
        unmatched: Unmatched::NotFound,
        answers: Vec::new(),
    })
}

fn found(table: &RouteTable, method: &str, path: &str) -> Option<RouteIndex> {
    table.classify(method, &CanonicalPath::parse(path.as_bytes()).unwrap())
}

#[test]
fn the_first_listed_route_wins_whatever_its_kind() {
    let table = compile("", &[("GET", "/a/b"), ("*", "re:/a/[^/]+"), ("GET", "/{x}/{y}"), ("POST", "/")]).unwrap();
    assert_eq!(found(&table, "GET", "/a/b"), Some(0));
    assert_eq!(found(&table, "GET", "/a/b/"), Some(0));
    assert_eq!(found(&table, "BREW", "/a/b"), Some(1));
    assert_eq!(found(&table, "GET", "/a/c/"), Some(1));
    assert_eq!(found(&table, "GET", "/b/c"), Some(2));
    assert_eq!(found(&table, "POST", "/b/c"), None);
    assert_eq!(found(&table, "POST", "/"), Some(3));
    assert_eq!(found(&table, "GET", "/a/b/c"), None);
}

#[test]
fn head_and_options_follow_their_path() {
    let table = compile("", &[("PUT", "/a"), ("GET", "/a"), ("HEAD", "/b"), ("SEARCH", "/a")]).unwrap();
    for (method, path, expected) in [
        ("HEAD", "/a", Some(1)),
        ("OPTIONS", "/a", Some(0)),
        ("GET", "/b", None),
        ("OPTIONS", "/b", Some(2)),
        ("SEARCH", "/a", Some(3)),
        ("get", "/a", None),
    ] {
        assert_eq!(found(&table, method, path), expected, "{method} {path}");
    }
}

#[test]
fn the_base_path_ends_at_a_segment_border() {
    let table = compile("/genesys/1/cs", &[("GET", "/a"), ("GET", "/"), ("GET", "re:/b/?")]).unwrap();
    for (path, expected) in [
        ("/genesys/1/cs/a", Some(0)),
        ("/genesys/1/cs", Some(1)),
        ("/genesys/1/cs/", Some(1)),
        ("/genesys/1/cs/b/", Some(2)),
        ("/genesys/1/csa", None),
        ("/a", None),
    ] {
        assert_eq!(found(&table, "GET", path), expected, "{path}");
    }
}

#[test]
fn a_regex_must_match_the_whole_path() {
    let regexes = [("GET", "re:/a|/b"), ("GET", "re:/c/[^#]+"), ("GET", "re:(?x) /d # why"), ("GET", r"re:/e\$")];
    let table = compile("", &regexes).unwrap();
    let expectations = [("/a", Some(0)), ("/b/", Some(0)), ("/c/x", Some(1)), ("/d", Some(2)), ("/e$", Some(3))];
    for (path, expected) in expectations {
        assert_eq!(found(&table, "GET", path), expected, "{path}");
    }
    assert_eq!(found(&table, "GET", "/ax"), None);
    assert_eq!(found(&table, "GET", "/x/b"), None);
}

#[test]
fn every_error_is_reported_with_its_route() {
    let routes = [("GET", "re:/(a"), ("GET", "/ok"), ("GET", "/a{b}"), ("GET", "re:/a(^b)"), ("GET", r"re:/\p{L}")];
    let errors = compile("x", &routes).unwrap_err();
    let found: Vec<_> = errors.iter().map(|error| error.route).collect();
    assert_eq!(found, [None, Some(0), Some(2), Some(3), Some(4)]);
    assert!(errors[0].to_string().starts_with("base_path \"x\" does not"), "{}", errors[0]);
    let too_large = compile("", &[("GET", "re:.*a.{24}")]).unwrap_err();
    assert!(too_large[0].to_string().contains("MiB"), "{}", too_large[0]);
}

/// The documented rules of matching, applied to one route after the other.
fn naive(base_path: &str, routes: &[(&str, &str)], method: &str, path: &str) -> Vec<RouteIndex> {
    let below_base = path.strip_prefix(base_path).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some(rest) = below_base else { return Vec::new() };
    let matches_path = |pattern: &str| match pattern.strip_prefix("re:") {
        Some(regex) => regex::Regex::new(&format!("^(?:{regex})/?$")).unwrap().is_match(rest),
        None => {
            let split = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(String::from).collect();
            let (wanted, given): (Vec<String>, Vec<String>) = (split(pattern), split(rest));
            let segment = |(want, give): (&String, &String)| want.starts_with('{') || want == give;
            wanted.len() == given.len() && wanted.iter().zip(&given).all(segment)
        }
    };
    let takes = |own: &str| own == "*" || own == method || method == "OPTIONS" || (own == "GET" && method == "HEAD");
    let matching = (0..).zip(routes).filter(|(_, (own, pattern))| takes(own) && matches_path(pattern));
    matching.map(|(route, _)| route).collect()
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "eightlen", "eightlen-and-more", "sixteen-bytes-ok", "+", "a.b"])
}

fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => segment().prop_map(|s| format!("/{s}")), 2 => Just("/{x}".to_owned())];
    let template = prop::collection::vec(part, 0..5).prop_map(|parts| match parts.is_empty() {
        true => "/".to_owned(),
        false => parts.concat(),
    });
    let piece = prop_oneof![
        3 => segment().prop_map(|s| format!("/{}", regex::escape(s))),
        2 => Just("/[^/]+".to_owned()),
        1 => Just("/(a|eightlen)".to_owned()),
        1 => Just("(/[a-b]+)*".to_owned()),
        1 => Just("/".to_owned()),
        1 => Just(".*".to_owned()),
    ];
    let regex = prop::collection::vec(piece, 0..4).prop_map(|parts| format!("re:{}", parts.concat()));
    prop_oneof![4 => template, 1 => regex]
}

fn table() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let method = prop::sample::select(vec!["*", "GET", "POST", "PUT", "HEAD", "OPTIONS", "SEARCH"]);
    prop::collection::vec((method, pattern()), 0..14)
}

fn request_path() -> impl Strategy<Value = String> {
    let part = prop_oneof![4 => segment().prop_map(str::to_owned), 1 => "[a-z0-9]{1,20}"];
    (prop::collection::vec(part, 0..5), any::<bool>()).prop_map(|(parts, slash)| {
        let path: String = parts.iter().map(|part| format!("/{part}")).collect();
        if slash || path.is_empty() { path + "/" } else { path }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn classify_equals_a_naive_search(
        base_path in prop::sample::select(vec!["", "/a", "/a/eightlen"]),
        routes in table(),
        requests in prop::collection::vec(
            (prop::sample::select(vec!["GET", "HEAD", "POST", "OPTIONS", "SEARCH", "BREW"]), request_path(), any::<bool>()),
            20,
        ),
    ) {
        let routes: Vec<_> = routes.iter().map(|(method, pattern)| (*method, pattern.as_str())).collect();
        let table = compile(base_path, &routes).unwrap();
        for (method, path, under_base) in requests {
            let path = if under_base { format!("{base_path}{path}") } else { path };
            let expected = naive(base_path, &routes, method, &path);
            prop_assert_eq!(found(&table, method, &path), expected.first().copied(), "{} {} in {:?}", method, path, routes);
            let all = table.matches(method, &CanonicalPath::parse(path.as_bytes()).unwrap());
            prop_assert_eq!(all, expected, "{} {} in {:?}", method, path, routes);
        }
    }
}
