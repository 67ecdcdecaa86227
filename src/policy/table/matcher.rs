//! The compiled form of a table: one pass over the path finds the first listed route. It knows routes by their index only.
//!
//! Templates are a deterministic automaton over segments, packed into one hash table; regexes are one deterministic
//! automaton over bytes, built ahead of time. Whatever each finds first in the order of the list, the lower index wins.

use std::sync::Arc;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{primitives::StateID, start, syntax};
use regex_automata::{Anchored, MatchKind};

use crate::policy::table::segments::{SegmentAutomaton, SegmentState};
use crate::policy::table::{RouteIndex, RouteMethod};

/// Limits of the regex automaton: bytes of the result, and bytes that building it may use.
const MAX_DFA_BYTES: usize = 32 << 20;
const MAX_DETERMINIZE_BYTES: usize = 64 << 20;

/// No route, and no state.
const NONE: u32 = u32::MAX;

/// Every method of one table as a small number.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    /// Methods beyond the well-known ones, in the order of their columns.
    extra: Vec<Arc<str>>,
}

/// The column of a method that no route names.
pub(crate) const OTHER_METHOD: usize = 0;
const GET: usize = 1;
const HEAD: usize = 5;
const OPTIONS: usize = 6;
const FIRST_EXTRA: usize = 8;

impl Methods {
    /// The methods that `routes` name.
    pub fn of<'a>(routes: impl Iterator<Item = &'a RouteMethod>) -> Methods {
        let mut methods = Methods::default();
        for method in routes {
            if let RouteMethod::Only(name) = method
                && methods.column(name) == OTHER_METHOD
            {
                methods.extra.push(name.clone());
            }
        }
        methods
    }

    /// The methods that are not well-known.
    pub fn extra(&self) -> impl Iterator<Item = &str> {
        self.extra.iter().map(|name| &**name)
    }

    fn count(&self) -> usize {
        FIRST_EXTRA + self.extra.len()
    }

    #[inline]
    pub fn column(&self, method: &str) -> usize {
        match method {
            "GET" => GET,
            "POST" => 2,
            "PUT" => 3,
            "DELETE" => 4,
            "HEAD" => HEAD,
            "OPTIONS" => OPTIONS,
            "PATCH" => 7,
            _ => self.extra.iter().position(|name| **name == *method).map_or(OTHER_METHOD, |at| FIRST_EXTRA + at),
        }
    }

    /// The column of a route's own method; `None` takes all.
    pub fn column_of(&self, method: &RouteMethod) -> Option<usize> {
        match method {
            RouteMethod::Any => None,
            RouteMethod::Only(name) => Some(self.column(name)),
        }
    }
}

/// Whether a route of method `own` takes a request of method `asked`.
#[inline]
pub(crate) fn takes(own: Option<usize>, asked: usize) -> bool {
    match own {
        None => true,
        Some(own) => own == asked || asked == OPTIONS || (asked == HEAD && own == GET),
    }
}

/// What classification runs on.
#[derive(Debug)]
pub(crate) struct Matcher {
    methods: Methods,
    templates: Templates,
    /// Absent when no route is a regex, and then costs nothing.
    regexes: Option<Regexes>,
    /// The method of each route.
    own: Vec<Option<usize>>,
}

impl Matcher {
    /// Packs what was compiled. `methods` are those of all routes, by route.
    pub fn new(automaton: &SegmentAutomaton, regexes: Option<RegexAutomaton>, routes: &[&RouteMethod]) -> Matcher {
        let methods = Methods::of(routes.iter().copied());
        let own: Vec<Option<usize>> = routes.iter().map(|method| methods.column_of(method)).collect();
        let templates = Templates::pack(automaton, &own, methods.count());
        let regexes = regexes.map(|automaton| Regexes::new(automaton, &own));
        Matcher { methods, templates, regexes, own }
    }

    /// The first listed route for `method` on `path`: empty, or beginning with `/`, canonical, without the base path.
    #[inline]
    pub fn find(&self, method: &str, path: &[u8]) -> Option<RouteIndex> {
        let column = self.methods.column(method);
        let mut found = self.templates.find(column, path);
        if let Some(regexes) = &self.regexes
            && regexes.first < found
        {
            found = found.min(regexes.find(column, path));
        }
        (found != NONE).then_some(found)
    }

    /// Every route that takes `method` on `path`, ascending. It allocates, so it is not for the request path.
    pub fn find_all(&self, method: &str, path: &[u8]) -> Vec<RouteIndex> {
        let column = self.methods.column(method);
        let mut routes = Vec::new();
        if let Some(row) = self.templates.row(path) {
            let ending = &self.templates.ending[row];
            routes.extend(ending.iter().filter(|route| takes(self.own[**route as usize], column)));
        }
        if let Some(regexes) = &self.regexes {
            routes.extend(regexes.matching(column, path));
        }
        routes.sort_unstable();
        routes
    }
}

/// The segment automaton, packed: literal transitions of all states in one open-addressing table.
#[derive(Debug)]
struct Templates {
    states: Vec<State>,
    /// A power of two, at most half full.
    slots: Vec<Slot>,
    /// How far a hash is shifted to the right to become a slot.
    shift: u32,
    /// The texts of all literals.
    text: Box<[u8]>,
    /// For each final state one route (or [`NONE`]) per method.
    winners: Vec<RouteIndex>,
    columns: usize,
    /// For each final state all routes that end there, ascending.
    ending: Vec<Vec<RouteIndex>>,
}

#[derive(Clone, Debug)]
struct State {
    /// Where a segment leads that no literal takes, or [`NONE`].
    otherwise: u32,
    /// Row of `winners`, or [`NONE`].
    row: u32,
    has_literals: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    /// State that the transition leaves, or [`NONE`] when the slot is empty.
    state: u32,
    tag: u32,
    text_start: u32,
    text_length: u32,
    target: u32,
}

impl Templates {
    fn pack(automaton: &SegmentAutomaton, own: &[Option<usize>], columns: usize) -> Templates {
        let transitions: usize = automaton.states.iter().map(|state| state.by_literal.len()).sum();
        let size = (transitions * 2).next_power_of_two().max(2);
        let empty = Slot { state: NONE, tag: 0, text_start: 0, text_length: 0, target: 0 };
        let mut packed = Templates {
            states: Vec::with_capacity(automaton.states.len()),
            slots: vec![empty; size],
            shift: 64 - size.trailing_zeros(),
            text: automaton.literals.iter().flat_map(|literal| literal.bytes()).collect(),
            winners: Vec::new(),
            columns,
            ending: Vec::new(),
        };
        let places = literal_places(&automaton.literals);
        for (id, state) in automaton.states.iter().enumerate() {
            let row = packed.add_winners(state, own);
            let has_literals = !state.by_literal.is_empty();
            packed.states.push(State { otherwise: state.otherwise.unwrap_or(NONE), row, has_literals });
            for (literal, target) in &state.by_literal {
                let (start, length) = places[*literal as usize];
                packed.insert(id as u32, start, length, *target);
            }
        }
        packed
    }

    fn add_winners(&mut self, state: &SegmentState, own: &[Option<usize>]) -> u32 {
        if state.routes.is_empty() {
            return NONE;
        }
        let row = self.ending.len();
        self.ending.push(state.routes.clone());
        for column in 0..self.columns {
            let winner = state.routes.iter().find(|route| takes(own[**route as usize], column));
            self.winners.push(winner.copied().unwrap_or(NONE));
        }
        row as u32
    }

    fn insert(&mut self, state: u32, text_start: u32, text_length: u32, target: u32) {
        let text = &self.text[text_start as usize..][..text_length as usize];
        let (_, hash) = read_segment(text, 0);
        let mut at = self.slot_of(state, hash);
        while self.slots[at].state != NONE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = Slot { state, tag: hash as u32, text_start, text_length, target };
    }

    #[inline]
    fn slot_of(&self, state: u32, hash: u64) -> usize {
        ((hash ^ u64::from(state)).wrapping_mul(MULTIPLIER) >> self.shift) as usize
    }

    #[inline]
    fn find(&self, column: usize, path: &[u8]) -> RouteIndex {
        self.row(path).map_or(NONE, |row| self.winners[row * self.columns + column])
    }

    /// The row of the state in which `path` ends, when a template ends there.
    #[inline]
    fn row(&self, path: &[u8]) -> Option<usize> {
        let mut id = 0;
        let mut state = &self.states[0];
        let mut at = 0;
        // `at` stands on a slash; the last one may be trailing.
        while at + 1 < path.len() {
            let start = at + 1;
            let (end, hash) = read_segment(path, start);
            let literal = if state.has_literals { self.step(id, &path[start..end], hash) } else { NONE };
            id = if literal == NONE { state.otherwise } else { literal };
            state = self.states.get(id as usize)?;
            at = end;
        }
        (state.row != NONE).then_some(state.row as usize)
    }

    #[inline]
    fn step(&self, id: u32, segment: &[u8], hash: u64) -> u32 {
        let mut at = self.slot_of(id, hash);
        loop {
            let slot = &self.slots[at];
            if slot.state == NONE {
                return NONE;
            }
            if slot.state == id && slot.tag == hash as u32 && slot.text_length as usize == segment.len() {
                let text = &self.text[slot.text_start as usize..][..segment.len()];
                if text == segment {
                    return slot.target;
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

/// Start and length of each literal in the text of all.
fn literal_places(literals: &[Box<str>]) -> Vec<(u32, u32)> {
    let mut start = 0;
    literals
        .iter()
        .map(|literal| {
            let place = (start, literal.len() as u32);
            start += place.1;
            place
        })
        .collect()
}

/// Odd, with well-spread bits (2^64 divided by the golden ratio).
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where the segment that begins at `start` ends (its slash, or the end of `path`), and its hash. Eight bytes at a time.
///
/// The hash keeps no secret: its table holds the operator's own literals, and a client that finds collisions gains nothing,
/// as looking up inserts nothing.
#[inline]
fn read_segment(path: &[u8], start: usize) -> (usize, u64) {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const SLASHES: u64 = LOW * b'/' as u64;
    let mut hash = 0_u64;
    let mut at = start;
    loop {
        let word = read_word(path, at);
        let differs = word ^ SLASHES;
        // The lowest set bit is exact: it marks the first byte that is a slash.
        let slash = differs.wrapping_sub(LOW) & !differs & HIGH;
        let kept = if slash == 0 { 8 } else { (slash.trailing_zeros() / 8) as usize };
        let kept = kept.min(path.len() - at);
        let word = if kept == 8 { word } else { word & ((1 << (kept * 8)) - 1) };
        hash = (hash.rotate_left(29) ^ word).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
        at += kept;
        // A full word may end exactly at its slash: the hash must not depend on what follows the segment.
        if kept < 8 || path.get(at).is_none_or(|byte| *byte == b'/') {
            return (at, hash);
        }
    }
}

/// The eight bytes at `at`, the first one lowest; zeros behind the end.
#[inline]
fn read_word(path: &[u8], at: usize) -> u64 {
    if let Some(bytes) = path[at..].first_chunk::<8>() {
        return u64::from_le_bytes(*bytes);
    }
    let rest = path.len() - at;
    match path.last_chunk::<8>() {
        Some(bytes) if rest > 0 => u64::from_le_bytes(*bytes) >> ((8 - rest) * 8),
        _ => path[at..].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// One anchored automaton of several patterns, each of which must match the whole path.
#[derive(Debug)]
pub(crate) struct RegexAutomaton {
    pub dfa: dense::DFA<Vec<u32>>,
    pub start: StateID,
    /// The route of each pattern.
    pub routes: Vec<RouteIndex>,
}

impl RegexAutomaton {
    /// Builds the automaton of `patterns` as [`whole_path_pattern`] gives them. The error is a sentence.
    pub fn build(routes: Vec<RouteIndex>, patterns: &[String]) -> Result<RegexAutomaton, String> {
        let config = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Anchored)
            .dfa_size_limit(Some(MAX_DFA_BYTES))
            .determinize_size_limit(Some(MAX_DETERMINIZE_BYTES));
        let dfa = dense::Builder::new()
            .configure(config)
            .syntax(syntax_config())
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(MAX_DFA_BYTES)))
            .build_many(patterns)
            .map_err(|error| too_large(&error))?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| format!("the regexes have no start state: {error}"))?;
        Ok(RegexAutomaton { dfa, start, routes })
    }
}

fn too_large(error: &dense::BuildError) -> String {
    if error.is_size_limit_exceeded() {
        format!(
            "the regexes together need an automaton of more than {} MiB; write plain segments as `path` templates, and \
             bounded repetitions such as {{1,500}} as + or *",
            MAX_DFA_BYTES >> 20
        )
    } else {
        format!("the regexes cannot be compiled: {error}")
    }
}

/// Bytes, not characters: a canonical path is ASCII, and Unicode classes would only make the automaton larger.
fn syntax_config() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// The pattern that an operator's regex stands for: whole path, one trailing slash tolerated. `^` at the beginning and
/// `$` at the end are understood, as they say what holds anyway. The error is a sentence.
pub(crate) fn whole_path_pattern(regex: &str) -> Result<String, String> {
    let inner = regex.strip_prefix('^').unwrap_or(regex);
    let inner = match inner.strip_suffix('$') {
        Some(before) if before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0 => before,
        _ => inner,
    };
    let parsed = syntax::parse_with(inner, &syntax_config())
        .map_err(|error| format!("the regex {regex:?} is not valid (ASCII only, no look-around): {error}"))?;
    if parsed.properties().look_set().contains_anchor() {
        return Err(format!(
            "the regex {regex:?} holds an anchor inside; the whole path must match anyway, leave ^ and $ out"
        ));
    }
    let plain = format!("(?:{inner})/?");
    // In verbose mode, (?x), the regex may end in a comment, which a line break ends.
    let in_verbose_mode = || format!("(?:{inner}\n)/?");
    Ok(if syntax::parse_with(&plain, &syntax_config()).is_ok() { plain } else { in_verbose_mode() })
}

#[derive(Debug)]
struct Regexes {
    automaton: RegexAutomaton,
    /// The method of each pattern.
    own: Vec<Option<usize>>,
    /// The lowest route that is a regex: a template listed before it needs no look at the regexes.
    first: RouteIndex,
}

impl Regexes {
    fn new(automaton: RegexAutomaton, own: &[Option<usize>]) -> Regexes {
        let first = automaton.routes.iter().copied().min().unwrap_or(NONE);
        let own = automaton.routes.iter().map(|route| own[*route as usize]).collect();
        Regexes { automaton, own, first }
    }

    #[inline]
    fn find(&self, column: usize, path: &[u8]) -> RouteIndex {
        self.matching(column, path).min().unwrap_or(NONE)
    }

    #[inline]
    fn matching(&self, column: usize, path: &[u8]) -> impl Iterator<Item = RouteIndex> {
        let RegexAutomaton { dfa, routes, .. } = &self.automaton;
        let end = self.end(path);
        let patterns = end
            .into_iter()
            .flat_map(move |end| (0..dfa.match_len(end)).map(move |at| dfa.match_pattern(end, at).as_usize()));
        patterns.filter(move |pattern| takes(self.own[*pattern], column)).map(|pattern| routes[pattern])
    }

    /// The state in which `path` ends, when a pattern matches there.
    #[inline]
    fn end(&self, path: &[u8]) -> Option<StateID> {
        let RegexAutomaton { dfa, start, .. } = &self.automaton;
        let mut state = *start;
        for byte in path {
            state = dfa.next_state(state, *byte);
            if dfa.is_special_state(state) && dfa.is_dead_state(state) {
                return None;
            }
        }
        let end = dfa.next_eoi_state(state);
        dfa.is_match_state(end).then_some(end)
    }
}
