//! What a table means as a whole: routes that can never match, routes that overlap, and how two tables differ, each with
//! an example path. It explores the compiled automata, so the answers are exact and not sampled.
//!
//! When the regexes are too large for a joint automaton, or a table has more than [`MAX_REGIONS`] distinct regions, the
//! exploration is cut: then nothing is said to be unreachable, and overlaps and differences may be missing.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;

use crate::policy::mode::ModeSet;
use crate::policy::table::matcher::{Methods, OTHER_METHOD, RegexAutomaton, takes};
use crate::policy::table::segments::{SegmentAutomaton, parse_template};
use crate::policy::table::{Answer, Patterns, Route, RouteIndex, RouteTable, Unmatched};

/// How many regions (sets of paths that the same routes take) are explored at most.
pub const MAX_REGIONS: usize = 200_000;

/// A route that can never match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable {
    /// The route.
    pub route: RouteIndex,
    /// The earlier routes that together take everything it takes, ascending. Empty when no path at all fits the route.
    pub shadowed_by: Vec<RouteIndex>,
    /// A path (with base path) that the route would take; `None` when there is none.
    pub example_path: Option<String>,
}

/// Two routes of different class or modes that share a method and a path. Right when the first one is the special case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// The earlier route, which wins.
    pub first: RouteIndex,
    /// The later route.
    pub second: RouteIndex,
    /// A path (with base path) that both take.
    pub example_path: String,
}

/// What a table says to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A route takes it.
    Route {
        /// See [`Route::operation`].
        operation: Arc<str>,
        /// Name of the class.
        class: Arc<str>,
        /// See [`Route::modes`].
        modes: ModeSet,
        /// See [`Route::answer`].
        answer: Option<Answer>,
    },
    /// No route takes it, and it is answered with 404.
    NotFound,
    /// No route takes it, and it is gated as a class.
    UnmatchedAs {
        /// Name of the class.
        class: Arc<str>,
        /// The modes that admit the class.
        modes: ModeSet,
    },
}

/// A request to which two tables say different things. One stands for all requests that fall to the same two routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The method; `OTHER` stands for any that neither table names.
    pub method: String,
    /// The path, with base path.
    pub example_path: String,
    /// What the old table says.
    pub old: Verdict,
    /// What the new table says.
    pub new: Verdict,
}

/// The routes that can never match because earlier ones take everything they take, alone or together.
pub fn unreachable(table: &RouteTable) -> Vec<Unreachable> {
    let owns = Owns::of(table);
    let mut reached = vec![false; table.routes.len()];
    let mut shadows = vec![(BTreeSet::new(), None); table.routes.len()];
    let complete = explore(&[table], &mut |path, routes| {
        for route in &routes[0] {
            // The route's own method decides: whoever takes it from the route takes HEAD and OPTIONS as well.
            let asked = owns.columns[*route as usize].unwrap_or(OTHER_METHOD);
            match owns.winner(&routes[0], asked) {
                Some(winner) if winner != *route => {
                    let (by, example) = &mut shadows[*route as usize];
                    by.insert(winner);
                    example.get_or_insert_with(|| path.to_owned());
                }
                _ => reached[*route as usize] = true,
            }
        }
    });
    if !complete {
        return Vec::new();
    }
    (0..)
        .zip(reached.into_iter().zip(shadows))
        .filter(|(_, (reached, _))| !reached)
        .map(|(route, (_, (by, example_path)))| Unreachable {
            route,
            shadowed_by: by.into_iter().collect(),
            example_path,
        })
        .collect()
}

/// Every pair of an earlier and a later route of different class or modes that share a method and a path.
pub fn overlaps(table: &RouteTable) -> Vec<Overlap> {
    let owns = Owns::of(table);
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    explore(&[table], &mut |path, routes| {
        for (at, first) in routes[0].iter().enumerate() {
            for second in &routes[0][at + 1..] {
                let (a, b) = (&table.routes[*first as usize], &table.routes[*second as usize]);
                let differ = a.class != b.class || a.modes != b.modes;
                if differ && owns.share_a_method(*first, *second) && seen.insert((*first, *second)) {
                    found.push(Overlap { first: *first, second: *second, example_path: path.to_owned() });
                }
            }
        }
    });
    found.sort_by_key(|overlap| (overlap.first, overlap.second));
    found
}

/// Every way in which `new` decides otherwise than `old`: one example for each pair of an old and a new route.
pub fn diff(old: &RouteTable, new: &RouteTable) -> Vec<Difference> {
    let (old_owns, new_owns) = (Owns::of(old), Owns::of(new));
    let mut methods: Vec<&str> = vec!["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    methods.extend(old_owns.methods.extra().chain(new_owns.methods.extra()));
    methods.push("OTHER");
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    explore(&[old, new], &mut |path, routes| {
        for method in &methods {
            let old_winner = old_owns.winner(&routes[0], old_owns.methods.column(method));
            let new_winner = new_owns.winner(&routes[1], new_owns.methods.column(method));
            if !seen.insert((old_winner, new_winner)) {
                continue;
            }
            let (before, after) = (verdict(old, old_winner), verdict(new, new_winner));
            if before != after {
                let (method, example_path) = ((*method).to_owned(), path.to_owned());
                found.push(Difference { method, example_path, old: before, new: after });
            }
        }
    });
    found
}

fn verdict(table: &RouteTable, route: Option<RouteIndex>) -> Verdict {
    match (route.map(|route| &table.routes[route as usize]), table.unmatched) {
        (Some(Route { operation, class, modes, answer, .. }), _) => Verdict::Route {
            operation: operation.clone(),
            class: table.classes[*class].name.clone(),
            modes: *modes,
            answer: *answer,
        },
        (None, Unmatched::NotFound) => Verdict::NotFound,
        (None, Unmatched::Class(class)) => {
            let class = &table.classes[class];
            Verdict::UnmatchedAs { class: class.name.clone(), modes: class.modes }
        }
    }
}

/// The methods of one table's routes.
struct Owns {
    methods: Methods,
    columns: Vec<Option<usize>>,
}

impl Owns {
    fn of(table: &RouteTable) -> Owns {
        let methods = Methods::of(table.routes.iter().map(|route| &route.method));
        let columns = table.routes.iter().map(|route| methods.column_of(&route.method)).collect();
        Owns { methods, columns }
    }

    /// The first of `routes` (ascending) that takes the method.
    fn winner(&self, routes: &[RouteIndex], asked: usize) -> Option<RouteIndex> {
        routes.iter().copied().find(|route| takes(self.columns[*route as usize], asked))
    }

    /// OPTIONS, which every route takes, counts only where a route names it.
    fn share_a_method(&self, first: RouteIndex, second: RouteIndex) -> bool {
        let (first, second) = (self.columns[first as usize], self.columns[second as usize]);
        let both_take = |asked: usize| takes(first, asked) && takes(second, asked);
        match (first, second) {
            (Some(a), Some(b)) => both_take(a) || both_take(b),
            _ => true,
        }
    }
}

/// Calls `visit` with an example path and the routes of each table that take this path (whatever the method), at least
/// once for every combination of such route sets that any canonical path has. False when the exploration was cut.
fn explore(tables: &[&RouteTable], visit: &mut impl FnMut(&str, &[Vec<RouteIndex>])) -> bool {
    let Some(mut explorer) = Explorer::new(tables) else { return false };
    let start = explorer.paths.after(explorer.paths.automaton.start, b"/");
    let roots = vec![Some(0); tables.len()];
    explorer.see("/", &roots, start, visit);
    explorer.enqueue("/".to_owned(), roots, start);
    while let Some((prefix, states, boundary)) = explorer.queue.pop_front() {
        if explorer.regions.len() + explorer.nodes.len() > MAX_REGIONS {
            return false;
        }
        let literals = explorer.literals(&states);
        for literal in &literals {
            let targets = explorer.step(&states, Some(literal));
            let end = explorer.paths.after(boundary, literal.as_bytes());
            explorer.arrive(&prefix, literal, targets, end, visit);
        }
        let targets = explorer.step(&states, None);
        for (segment, end) in explorer.paths.other_segments(boundary, &literals) {
            explorer.arrive(&prefix, &segment, targets.clone(), end, visit);
        }
    }
    true
}

/// State of each table's segment automaton; `None` when no template fits any more.
type States = Vec<Option<u32>>;

struct Explorer {
    tables: Vec<Templates>,
    paths: Paths,
    queue: VecDeque<(String, States, StateID)>,
    /// Places just behind a slash that were reached already.
    nodes: HashSet<(States, StateID)>,
    /// Ends of paths that were seen already: template states and matching regexes.
    regions: HashSet<(States, Vec<usize>)>,
}

struct Templates {
    automaton: SegmentAutomaton,
    literal_ids: HashMap<Box<str>, u32>,
}

impl Explorer {
    fn new(tables: &[&RouteTable]) -> Option<Explorer> {
        let mut templates = Vec::new();
        let mut regexes = Vec::new();
        for (index, table) in tables.iter().enumerate() {
            let base = parse_template(if table.base_path.is_empty() { "/" } else { &table.base_path }).ok()?;
            let mut patterns = Patterns::read(&table.routes, &mut Vec::new());
            for (_, segments) in &mut patterns.templates {
                segments.splice(0..0, base.iter().cloned());
            }
            let automaton = SegmentAutomaton::build(&patterns.templates).ok()?;
            let literal_ids = (0..).zip(&automaton.literals).map(|(id, text)| (text.clone(), id)).collect();
            templates.push(Templates { automaton, literal_ids });
            for (route, pattern) in patterns.regex_routes.iter().zip(&patterns.regexes) {
                regexes.push((index, *route, format!("{}{pattern}", regex::escape(&table.base_path))));
            }
        }
        let paths = Paths::new(regexes, &tables.iter().map(|table| &*table.base_path).collect::<Vec<_>>())?;
        let (queue, nodes, regions) = Default::default();
        Some(Explorer { tables: templates, paths, queue, nodes, regions })
    }

    /// The literals that lead on from `states`, in any table.
    fn literals(&self, states: &States) -> BTreeSet<Box<str>> {
        let mut literals = BTreeSet::new();
        for (table, state) in self.tables.iter().zip(states) {
            let Some(state) = state else { continue };
            for (literal, _) in &table.automaton.states[*state as usize].by_literal {
                literals.insert(table.automaton.literals[*literal as usize].clone());
            }
        }
        literals
    }

    /// Where `literal`, or a segment that is no literal of these states, leads.
    fn step(&self, states: &States, literal: Option<&str>) -> States {
        let lead = |(table, state): (&Templates, &Option<u32>)| {
            let state = &table.automaton.states[(*state)? as usize];
            let id = literal.and_then(|text| table.literal_ids.get(text));
            let place = id.and_then(|id| state.by_literal.binary_search_by_key(id, |(literal, _)| *literal).ok());
            place.map(|place| state.by_literal[place].1).or(state.otherwise)
        };
        self.tables.iter().zip(states).map(lead).collect()
    }

    /// Sees the path that ends after `segment`, the same with a trailing slash, and queues what follows.
    fn arrive(
        &mut self,
        prefix: &str,
        segment: &str,
        states: States,
        end: StateID,
        visit: &mut impl FnMut(&str, &[Vec<RouteIndex>]),
    ) {
        let path = format!("{prefix}{segment}");
        if !self.see(&path, &states, end, visit) {
            return;
        }
        let path = path + "/";
        let boundary = self.paths.after(end, b"/");
        self.see(&path, &states, boundary, visit);
        self.enqueue(path, states, boundary);
    }

    /// False when the path is not canonical.
    fn see(
        &mut self,
        path: &str,
        states: &States,
        end: StateID,
        visit: &mut impl FnMut(&str, &[Vec<RouteIndex>]),
    ) -> bool {
        let Some(matching) = self.paths.matching(end) else { return false };
        if !self.regions.insert((states.clone(), matching.clone())) {
            return true;
        }
        let mut routes: Vec<Vec<RouteIndex>> = vec![Vec::new(); self.tables.len()];
        for ((table, state), routes) in self.tables.iter().zip(states).zip(&mut routes) {
            routes.extend(state.iter().flat_map(|state| &table.automaton.states[*state as usize].routes));
        }
        for pattern in matching {
            let (table, route) = self.paths.owners[pattern];
            routes[table].push(route);
        }
        routes.iter_mut().for_each(|routes| routes.sort_unstable());
        visit(path, &routes);
        true
    }

    fn enqueue(&mut self, prefix: String, states: States, boundary: StateID) {
        if self.nodes.insert((states.clone(), boundary)) {
            self.queue.push_back((prefix, states, boundary));
        }
    }
}

/// All regexes of all tables, and what a canonical path looks like, in one automaton.
struct Paths {
    automaton: RegexAutomaton,
    /// Table and route of each pattern. Behind them stand a pattern per table for the paths under its base path, and
    /// those of shape and of nested escapes.
    owners: Vec<(usize, RouteIndex)>,
    /// The pattern of shape; the next one is that of nested escapes.
    shape: usize,
    /// One byte of each class that the automaton tells apart, readable ones preferred.
    representatives: Vec<u8>,
    /// What [`Paths::segments_but`] finds without exclusions, by boundary.
    known: HashMap<StateID, Vec<(String, StateID)>>,
}

/// Bytes of canonical segments, in the order in which examples prefer them.
const SEGMENT_BYTES: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.~!$&'()*+,=:@%";

/// The paths that [`CanonicalPath`](crate::policy::path::CanonicalPath) gives, but for nested escapes.
fn canonical_shape() -> String {
    let follow = "%[89AB][0-9A-F]";
    let character = [
        "[A-Za-z0-9_~!$&'()*+,=:@-]".to_owned(),
        "%(?:2[0-9ABC]|3[AC-F]|40|5[BDE]|60|7[BCD])".to_owned(),
        "%C2%[AB][0-9A-F]".to_owned(),
        format!("%(?:C[3-9A-F]|D[0-9A-F]){follow}"),
        format!("%E0%[AB][0-9A-F]{follow}"),
        format!("%E[1-9ABCEF](?:{follow}){{2}}"),
        format!("%ED%[89][0-9A-F]{follow}"),
        format!("%F0%[9AB][0-9A-F](?:{follow}){{2}}"),
        format!("%F[1-3](?:{follow}){{3}}"),
        format!("%F4%8[0-9A-F](?:{follow}){{2}}"),
    ]
    .join("|");
    let segment = format!(r"(?:\.{{0,2}}(?:{character})|\.{{3}})(?:\.|{character})*");
    format!("/|(?:/{segment})+/?")
}

const NESTED_ESCAPE: &str = "(?s:.)*%25(?:2[EFef5]|3[Bb]|5[Cc])(?s:.)*";

impl Paths {
    fn new(regexes: Vec<(usize, RouteIndex, String)>, base_paths: &[&str]) -> Option<Paths> {
        let owners: Vec<_> = regexes.iter().map(|(table, route, _)| (*table, *route)).collect();
        let mut patterns: Vec<String> = regexes.into_iter().map(|(_, _, pattern)| pattern).collect();
        patterns.extend(base_paths.iter().map(|base_path| format!("{}(?:/(?s:.)*)?", regex::escape(base_path))));
        let shape = patterns.len();
        patterns.extend([canonical_shape(), NESTED_ESCAPE.to_owned()]);
        let automaton = RegexAutomaton::build(Vec::new(), &patterns).ok()?;
        let classes = automaton.dfa.byte_classes();
        let mut seen = HashSet::new();
        let representatives = SEGMENT_BYTES.iter().copied().filter(|byte| seen.insert(classes.get(*byte))).collect();
        Some(Paths { automaton, owners, shape, representatives, known: HashMap::new() })
    }

    fn after(&self, state: StateID, bytes: &[u8]) -> StateID {
        bytes.iter().fold(state, |state, byte| self.automaton.dfa.next_state(state, *byte))
    }

    /// The patterns that match a path which ends in `state`; `None` when the path is not canonical.
    fn matching(&self, state: StateID) -> Option<Vec<usize>> {
        let dfa = &self.automaton.dfa;
        let end = dfa.next_eoi_state(state);
        if !dfa.is_match_state(end) {
            return None;
        }
        let mut patterns: Vec<usize> =
            (0..dfa.match_len(end)).map(|at| dfa.match_pattern(end, at).as_usize()).collect();
        patterns.sort_unstable();
        if patterns.last() != Some(&self.shape) {
            return None;
        }
        let under_base = |table: usize| patterns.contains(&(self.owners.len() + table));
        let owned = patterns.iter().copied().filter(|pattern| *pattern < self.owners.len());
        Some(owned.filter(|pattern| under_base(self.owners[*pattern].0)).collect())
    }

    /// A segment that is none of `literals`, and where it leads from `boundary`, for each place where such a one leads.
    fn other_segments(&mut self, boundary: StateID, literals: &BTreeSet<Box<str>>) -> Vec<(String, StateID)> {
        if !self.known.contains_key(&boundary) {
            let found = self.segments_but(boundary, &BTreeSet::new());
            self.known.insert(boundary, found);
        }
        let known = &self.known[&boundary];
        if known.iter().any(|(segment, _)| literals.contains(segment.as_str())) {
            return self.segments_but(boundary, literals);
        }
        known.clone()
    }

    /// Breadth first over bytes, so that examples are short. Beside the automaton's state it remembers the literal that
    /// the segment so far begins, if any, as that one must not become complete.
    fn segments_but(&self, boundary: StateID, literals: &BTreeSet<Box<str>>) -> Vec<(String, StateID)> {
        let begins_literal = |text: &str| {
            literals
                .range::<str, _>((std::ops::Bound::Included(text), std::ops::Bound::Unbounded))
                .next()
                .is_some_and(|next| next.starts_with(text))
        };
        let mut found = Vec::new();
        let mut places = HashSet::new();
        let mut seen: HashSet<(StateID, Option<String>)> = HashSet::new();
        let mut queue = VecDeque::from([(String::new(), boundary, begins_literal(""))]);
        while let Some((text, state, on_literal)) = queue.pop_front() {
            // Bytes of one class lead to one state, but only some of them follow a literal.
            let bytes = if on_literal { SEGMENT_BYTES } else { &self.representatives };
            for byte in bytes {
                let next = self.automaton.dfa.next_state(state, *byte);
                let longer = format!("{text}{}", char::from(*byte));
                let on_literal = on_literal && begins_literal(&longer);
                if !seen.insert((next, on_literal.then(|| longer.clone()))) {
                    continue;
                }
                if !literals.contains(longer.as_str())
                    && let Some(matching) = self.matching(next)
                    && places.insert((matching, self.after(next, b"/")))
                {
                    found.push((longer.clone(), next));
                }
                queue.push_back((longer, next, on_literal));
            }
        }
        found
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::path::CanonicalPath;
    use crate::policy::table::tests::compile;

    fn unreachable_in(routes: &[(&str, &str)]) -> Vec<(RouteIndex, Vec<RouteIndex>)> {
        let found = unreachable(&compile("/base", routes).unwrap());
        found.into_iter().map(|unreachable| (unreachable.route, unreachable.shadowed_by)).collect()
    }

    #[test]
    fn a_route_is_unreachable_when_earlier_ones_take_all() {
        assert_eq!(unreachable_in(&[("GET", "/a/{x}"), ("GET", "/a/b"), ("POST", "/a/b")]), [(1, vec![0])]);
        assert_eq!(unreachable_in(&[("*", "/{x}"), ("GET", "/a"), ("GET", "/a/b")]), [(1, vec![0])]);
        assert_eq!(unreachable_in(&[("GET", "/a"), ("*", "/a"), ("HEAD", "/a")]), [(2, vec![0])]);
        assert_eq!(unreachable_in(&[("GET", "/a"), ("GET", "re:/b"), ("GET", "re:/(a|b)")]), [(2, vec![0, 1])]);
        assert_eq!(
            unreachable_in(&[("GET", "re:/[^.x].*"), ("GET", "re:/[.x].*"), ("GET", "/{x}")]),
            [(2, vec![0, 1])]
        );
        assert_eq!(unreachable_in(&[("GET", "re:/[^.].*"), ("GET", "/{x}")]), []);
        assert_eq!(unreachable_in(&[("GET", "re:no-slash"), ("GET", "re:/a//b"), ("GET", r"re:/\.\.")]).len(), 3);
    }

    #[test]
    fn overlaps_come_with_a_path() {
        let mut table =
            compile("/base", &[("GET", "/a/b"), ("GET", "/a/{x}"), ("POST", "/{x}/b"), ("*", "re:/a/b+")]).unwrap();
        assert_eq!(overlaps(&table), []);
        table.routes[1].modes = ModeSet::Production;
        let found: Vec<_> =
            overlaps(&table).into_iter().map(|found| (found.first, found.second, found.example_path)).collect();
        let path = || "/base/a/b".to_owned();
        assert_eq!(found, [(0, 1, path()), (1, 3, path())]);
    }

    #[test]
    fn a_difference_is_told_once_for_each_pair_of_routes() {
        let old = compile("", &[("GET", "/a/{x}"), ("*", "/b")]).unwrap();
        let mut new = compile("", &[("GET", "re:/a/(c|d)"), ("GET", "/a/{x}"), ("*", "/b")]).unwrap();
        assert_eq!(diff(&old, &new), []);
        new.routes[0].modes = ModeSet::Maintenance;
        let found = diff(&old, &new);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].method.as_str(), found[0].example_path.as_str()), ("GET", "/a/c"));
        let moved = compile("/base", &[("GET", "/a/{x}"), ("*", "/b")]).unwrap();
        let paths: Vec<_> = diff(&old, &moved).into_iter().map(|found| found.example_path).collect();
        assert_eq!(paths, ["/b", "/a/x", "/base/b", "/base/a/x"]);
    }

    fn segment() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec!["/a", "/b", "/x", "/{p}"])
    }

    fn pattern() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec!["/a", "/b", "/[^/]+", "/(a|x)", "(/[ab]+)*", "/[^a]", "/"]);
        prop_oneof![
            3 => prop::collection::vec(segment(), 1..4).prop_map(|segments| segments.concat()),
            2 => prop::collection::vec(piece, 1..4).prop_map(|pieces| format!("re:{}", pieces.concat())),
        ]
    }

    fn table() -> impl Strategy<Value = Vec<(&'static str, String)>> {
        prop::collection::vec((prop::sample::select(vec!["*", "GET", "HEAD"]), pattern()), 1..7)
    }

    /// Every path of up to four segments over an alphabet that tells all of the patterns above apart.
    fn all_paths() -> Vec<String> {
        let mut paths = vec![String::new()];
        let mut all = vec!["/".to_owned()];
        for _ in 0..4 {
            let longer = |path: &String| ["a", "b", "x", "ab", "y", "yy"].map(|segment| format!("{path}/{segment}"));
            paths = paths.iter().flat_map(longer).collect();
            all.extend(paths.iter().flat_map(|path| [path.clone(), format!("{path}/")]));
        }
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(120))]

        #[test]
        fn unreachable_is_what_no_path_reaches(routes in table()) {
            let routes: Vec<_> = routes.iter().map(|(method, pattern)| (*method, pattern.as_str())).collect();
            let table = compile("", &routes).unwrap();
            let mut reached = vec![false; routes.len()];
            for path in all_paths() {
                let path = CanonicalPath::parse(path.as_bytes()).unwrap();
                for method in ["GET", "HEAD", "POST"] {
                    if let Some(route) = table.classify(method, &path) {
                        reached[route as usize] = true;
                    }
                }
            }
            let expected: Vec<RouteIndex> = (0..).zip(&reached).filter(|(_, reached)| !**reached).map(|(at, _)| at).collect();
            let found: Vec<RouteIndex> = unreachable(&table).iter().map(|found| found.route).collect();
            prop_assert_eq!(found, expected, "{:?}", routes);
        }

        #[test]
        fn the_shape_is_that_of_canonical_paths(
            pieces in prop::collection::vec(
                prop_oneof!["[a-z.~;#]", Just("/".to_owned()), "%[2-7][0-9A-F]", "%25[235][0-9BCEFbcef]", any::<char>().prop_map(|c| {
                    c.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect()
                }), "%[89A-F][0-9A-F]"],
                0..8,
            ),
        ) {
            let path = format!("/{}", pieces.concat());
            let paths = Paths::new(Vec::new(), &[]).unwrap();
            let shaped = paths.matching(paths.after(paths.automaton.start, path.as_bytes())).is_some();
            let canonical = CanonicalPath::parse(path.as_bytes()).is_ok_and(|parsed| parsed.as_str() == path);
            prop_assert_eq!(shaped, canonical, "{}", path);
        }
    }
}
