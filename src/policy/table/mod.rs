//! The route table: compiled once, read by every request, never changed. The first listed match wins. It reads no YAML.

pub(crate) mod matcher;
pub(crate) mod segments;

use std::sync::Arc;

use crate::policy::mode::ModeSet;
use crate::policy::path::CanonicalPath;
use crate::policy::table::matcher::{Matcher, RegexAutomaton, whole_path_pattern};
use crate::policy::table::segments::{Segment, SegmentAutomaton, parse_template};

/// The place of a route in its table, in the order of the file.
pub type RouteIndex = u32;

/// The name of a class, e.g. `schema`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// As written in `classes`.
    pub name: Arc<str>,
    /// The modes that admit its routes unless a route says otherwise.
    pub modes: ModeSet,
}

/// Which methods a route takes. A GET route also takes HEAD; OPTIONS takes the first listed route of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMethod {
    /// Every method.
    Any,
    /// This one, upper case.
    Only(Arc<str>),
}

/// What a route's path must look like. Relative to the table's `base_path`; the whole path must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `/profiles/{customer_id}`: a name in braces stands for one segment that is not empty.
    Template(Arc<str>),
    /// A regular expression over the whole path, anchored by construction.
    Regex(Arc<str>),
}

/// Answers that the gateway gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Set Server Mode.
    SetMode,
    /// Query Server Status: UCS's own document with the authoritative mode.
    Status,
}

/// One operation of UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in UCS's documentation.
    pub operation: Arc<str>,
    /// UCS document id, e.g. `CV.WS.PROF.1`.
    pub id: Option<Arc<str>>,
    /// The methods it takes.
    pub method: RouteMethod,
    /// The paths it takes.
    pub pattern: Pattern,
    /// Index into [`RouteTable::classes`].
    pub class: usize,
    /// The modes that admit it.
    pub modes: ModeSet,
    /// Set when the gateway answers by itself.
    pub answer: Option<Answer>,
    /// Whether UCS answers 404 to it when no profile schema is defined.
    pub needs_profile_schema: bool,
    /// Line in the file where the route begins, from 1.
    pub line: usize,
}

impl Route {
    /// Whether it creates in a collection that needs the profile schema, as Create Customer Profile does: a 404 to it
    /// cannot be about a customer that does not exist.
    pub fn is_create_with_schema(&self) -> bool {
        let creates = matches!(&self.method, RouteMethod::Only(method) if &**method == "POST");
        let fixed = matches!(&self.pattern, Pattern::Template(template) if !template.contains('{'));
        self.needs_profile_schema && creates && fixed
    }

    /// What the gateway answers by itself to `method`. OPTIONS only asks about a path, so UCS answers it: it must neither
    /// change the mode nor get a document.
    pub fn answer_to(&self, method: &str) -> Option<Answer> {
        self.answer.filter(|_| method != "OPTIONS")
    }
}

/// What happens to a request that no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Answered with 404.
    NotFound,
    /// Forwarded, and gated as this class (index into [`RouteTable::classes`]).
    Class(usize),
}

/// A body that replaces a problem document, for clients that expect UCS's own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerTemplate {
    /// Sent as `Content-Type`.
    pub content_type: Arc<str>,
    /// Text with `{operation} {method} {path} {mode} {status} {detail} {reason} {revision} {class}`, each filled in as a JSON string's inside.
    pub body: Arc<str>,
}

/// Everything that one file says, before it is compiled. The fields are those of [`RouteTable`].
#[derive(Clone, Debug)]
pub struct RouteTableParts {
    /// See [`RouteTable::base_path`]; escapes and a trailing slash are normalised.
    pub base_path: Arc<str>,
    /// See [`RouteTable::classes`].
    pub classes: Vec<Class>,
    /// See [`RouteTable::routes`].
    pub routes: Vec<Route>,
    /// See [`RouteTable::unmatched`].
    pub unmatched: Unmatched,
    /// See [`RouteTable::answers`].
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
}

/// Why a table was not compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TableFault {
    /// The route that is at fault, when it is one.
    pub route: Option<RouteIndex>,
    /// A sentence: what is wrong, and what to write instead.
    pub message: String,
}

/// Everything that one file says, checked and compiled.
#[derive(Debug)]
pub struct RouteTable {
    /// Prefix of every path, without a trailing slash; empty for none.
    pub base_path: Arc<str>,
    /// Classes in the order of the file.
    pub classes: Vec<Class>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// What happens to the rest.
    pub unmatched: Unmatched,
    /// Bodies by reason (`mode`, `no_profile_schema`, `unmatched`, …), in place of problem documents.
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
    matcher: Matcher,
}

impl RouteTable {
    /// Compiles the patterns. Reports every pattern that is wrong, or that all together are too large.
    pub fn compile(parts: RouteTableParts) -> Result<RouteTable, Vec<TableFault>> {
        let mut faults = Vec::new();
        let base_path = note(&mut faults, None, canonical_base_path(&parts.base_path)).unwrap_or_default();
        check_classes(&parts, &mut faults);
        let patterns = Patterns::read(&parts.routes, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let segments = note(&mut faults, None, patterns.segments());
        let regexes = note(&mut faults, None, patterns.regexes());
        let (Some(segments), Some(regexes)) = (segments, regexes) else { return Err(faults) };
        let methods: Vec<&RouteMethod> = parts.routes.iter().map(|route| &route.method).collect();
        let matcher = Matcher::new(&segments, regexes, &methods);
        let RouteTableParts { classes, routes, unmatched, answers, .. } = parts;
        Ok(RouteTable { base_path, classes, routes, unmatched, answers, matcher })
    }

    /// The first listed route that takes `method` on `path`; `None` when no route does. One pass over the path, no
    /// backtracking, independent of the number of routes for all practical purposes.
    ///
    /// One trailing slash is tolerated. A path that is not under [`RouteTable::base_path`] matches nothing.
    #[inline]
    pub fn classify(&self, method: &str, path: &CanonicalPath<'_>) -> Option<RouteIndex> {
        self.matcher.find(method, self.below_base(path)?)
    }

    /// Every route that takes `method` on `path`, in the order of the file; [`RouteTable::classify`] is the first.
    pub fn matches(&self, method: &str, path: &CanonicalPath<'_>) -> Vec<RouteIndex> {
        self.below_base(path).map(|rest| self.matcher.find_all(method, rest)).unwrap_or_default()
    }

    #[inline]
    fn below_base<'p>(&self, path: &'p CanonicalPath<'_>) -> Option<&'p [u8]> {
        let rest = path.as_str().as_bytes().strip_prefix(self.base_path.as_bytes())?;
        matches!(rest.first(), None | Some(b'/')).then_some(rest)
    }
}

/// The patterns of all routes, read but not compiled.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    pub templates: Vec<(RouteIndex, Vec<Segment>)>,
    pub regex_routes: Vec<RouteIndex>,
    /// Whole-path patterns, in the order of `regex_routes`.
    pub regexes: Vec<String>,
}

impl Patterns {
    /// Reads the pattern of every route; those that are wrong go to `faults`.
    pub fn read(routes: &[Route], faults: &mut Vec<TableFault>) -> Patterns {
        let mut patterns = Patterns::default();
        for (index, route) in (0..).zip(routes) {
            match &route.pattern {
                Pattern::Template(template) => {
                    if let Some(segments) = note(faults, Some(index), parse_template(template)) {
                        patterns.templates.push((index, segments));
                    }
                }
                Pattern::Regex(regex) => {
                    if let Some(pattern) = note(faults, Some(index), whole_path_pattern(regex)) {
                        patterns.regex_routes.push(index);
                        patterns.regexes.push(pattern);
                    }
                }
            }
        }
        patterns
    }

    fn segments(&self) -> Result<SegmentAutomaton, String> {
        SegmentAutomaton::build(&self.templates).map_err(|_| {
            "the templates overlap in too many ways to be compiled; write literal segments where parameters of several \
             routes cross each other"
                .to_owned()
        })
    }

    fn regexes(&self) -> Result<Option<RegexAutomaton>, String> {
        if self.regexes.is_empty() {
            return Ok(None);
        }
        RegexAutomaton::build(self.regex_routes.clone(), &self.regexes).map(Some)
    }
}

fn note<T>(faults: &mut Vec<TableFault>, route: Option<RouteIndex>, result: Result<T, String>) -> Option<T> {
    result.map_err(|message| faults.push(TableFault { route, message })).ok()
}

fn canonical_base_path(base_path: &str) -> Result<Arc<str>, String> {
    if base_path.is_empty() {
        return Ok(Arc::default());
    }
    let canonical = CanonicalPath::parse(base_path.as_bytes())
        .map_err(|refusal| format!("base_path {base_path:?} cannot be used: {refusal}"))?;
    Ok(canonical.as_str().trim_end_matches('/').into())
}

fn check_classes(parts: &RouteTableParts, faults: &mut Vec<TableFault>) {
    let count = parts.classes.len();
    let mut check = |route, class| {
        if class >= count {
            faults
                .push(TableFault { route, message: format!("class number {class} does not exist; there are {count}") });
        }
    };
    for (index, route) in (0..).zip(&parts.routes) {
        check(Some(index), route.class);
    }
    if let Unmatched::Class(class) = parts.unmatched {
        check(None, class);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route((method, pattern): (&str, &str)) -> Route {
        let pattern = match pattern.strip_prefix("re:") {
            Some(regex) => Pattern::Regex(regex.into()),
            None => Pattern::Template(pattern.into()),
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

    pub(crate) fn compile(base_path: &str, routes: &[(&str, &str)]) -> Result<RouteTable, Vec<TableFault>> {
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
        let table = compile("/genesys/1/cs/", &[("GET", "/a"), ("GET", "/"), ("GET", "re:/b/?")]).unwrap();
        assert_eq!(&*table.base_path, "/genesys/1/cs");
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
        let regexes = [("GET", "re:^/a|/b$"), ("GET", "re:/c/[^#]+"), ("GET", "re:(?x) /d # why"), ("GET", r"re:/e\$")];
        let table = compile("", &regexes).unwrap();
        let expectations = [("/a", Some(0)), ("/b/", Some(0)), ("/c/x", Some(1)), ("/d", Some(2)), ("/e$", Some(3))];
        for (path, expected) in expectations {
            assert_eq!(found(&table, "GET", path), expected, "{path}");
        }
        assert_eq!(found(&table, "GET", "/ax"), None);
        assert_eq!(found(&table, "GET", "/x/b"), None);
    }

    #[test]
    fn every_fault_is_reported_with_its_route() {
        let routes = [("GET", "re:/(a"), ("GET", "/ok"), ("GET", "/a{b}"), ("GET", "re:/a(^b)"), ("GET", r"re:/\p{L}")];
        let faults = compile("x", &routes).unwrap_err();
        let places: Vec<_> = faults.iter().map(|fault| fault.route).collect();
        assert_eq!(places, [None, Some(0), Some(2), Some(3), Some(4)]);
        assert!(faults[0].message.contains("base_path \"x\""), "{}", faults[0]);
        let too_large = compile("", &[("GET", "re:.*a.{24}")]).unwrap_err();
        assert!(too_large[0].message.contains("MiB"), "{}", too_large[0]);
    }

    /// The rule of matching as it is written in the documentation, one route after the other.
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
        let takes =
            |own: &str| own == "*" || own == method || method == "OPTIONS" || (own == "GET" && method == "HEAD");
        let matching = (0..).zip(routes).filter(|(_, (own, pattern))| takes(own) && matches_path(pattern));
        matching.map(|(route, _)| route).collect()
    }

    fn segment() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["a", "b", "ab", "eightlen", "eightlen-and-more", "sixteen-bytes-ok", "%20", "a.b"])
    }

    fn pattern() -> impl Strategy<Value = String> {
        let part = prop_oneof![3 => segment().prop_map(|s| format!("/{s}")), 2 => Just("/{x}".to_owned())];
        let template = prop::collection::vec(part, 0..5).prop_map(|parts| match parts.is_empty() {
            true => "/".to_owned(),
            false => parts.concat(),
        });
        let piece = prop_oneof![
            3 => segment().prop_map(|s| format!("/{}", s.replace('.', "\\."))),
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
}
