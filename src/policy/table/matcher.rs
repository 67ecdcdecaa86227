//! The compiled form of a table: one pass over the path finds the first listed route. It refers to routes by index only.
//!
//! Templates are a deterministic automaton over segments, packed into one hash table; regexes are one deterministic
//! automaton over bytes, built ahead of time. Each finds its first match in the order of the list; the lower index wins.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::{primitives::StateID, start};
use regex_automata::{Anchored, MatchKind};

use super::issue::Issue;
use super::methods::{Methods, takes};
use super::route::{RouteIndex, RouteMethod};
use super::segments::{SegmentAutomaton, SegmentState};
use super::template::syntax_config;

/// Limits of the regex automaton in bytes: of the result, and of building it.
const MAX_DFA_BYTES: usize = 32 << 20;
const MAX_DETERMINIZE_BYTES: usize = 64 << 20;

/// No route, and no state.
const NONE: u32 = u32::MAX;

/// Finds the routes that match a request.
#[derive(Debug)]
pub(crate) struct Matcher {
    methods: Methods,
    templates: Templates,
    /// Absent when no route is a regex.
    regexes: Option<Regexes>,
    /// The method of each route.
    own: Vec<Option<usize>>,
}

impl Matcher {
    /// Packs the compiled automata. `routes` are the methods of all routes, in their order.
    pub(crate) fn new(
        automaton: &SegmentAutomaton,
        regexes: Option<RegexAutomaton>,
        routes: &[&RouteMethod],
    ) -> Matcher {
        let methods = Methods::of(routes.iter().copied());
        let own: Vec<Option<usize>> = routes.iter().map(|method| methods.column_of(method)).collect();
        let templates = Templates::pack(automaton, &own, methods.count());
        let regexes = regexes.map(|automaton| Regexes::new(automaton, &own));
        Matcher { methods, templates, regexes, own }
    }

    /// The first listed route for `method` on `path`: empty, or beginning with `/`, canonical, without the base path.
    #[inline]
    pub(crate) fn find(&self, method: &str, path: &[u8]) -> Option<RouteIndex> {
        let column = self.methods.column(method);
        let mut found = self.templates.find(column, path);
        if let Some(regexes) = &self.regexes
            && regexes.first < found
        {
            found = found.min(regexes.find(column, path));
        }
        (found != NONE).then_some(found)
    }

    /// Every route that takes `method` on `path`, ascending. It allocates, so requests in flight do not use it.
    pub(crate) fn find_all(&self, method: &str, path: &[u8]) -> Vec<RouteIndex> {
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

    pub(super) fn methods(&self) -> &Methods {
        &self.methods
    }

    pub(super) fn regexes(&self) -> Option<&RegexAutomaton> {
        self.regexes.as_ref().map(|regexes| &regexes.automaton)
    }
}

/// The segment automaton, packed: literal transitions of all states in one open-addressing table.
#[derive(Debug)]
struct Templates {
    states: Vec<State>,
    /// A power of two, at most half full.
    slots: Vec<Slot>,
    /// The right shift that turns a hash into a slot.
    shift: u32,
    /// The texts of all literals, joined.
    text: Box<[u8]>,
    /// For each final state one route (or [`NONE`]) per method.
    winners: Vec<RouteIndex>,
    columns: usize,
    /// For each final state all routes that end there, ascending.
    ending: Vec<Vec<RouteIndex>>,
}

#[derive(Clone, Debug)]
struct State {
    /// The target of a segment that equals no literal, or [`NONE`].
    otherwise: u32,
    /// Row of `winners`, or [`NONE`].
    row: u32,
    has_literals: bool,
}

#[derive(Clone, Debug)]
struct Slot {
    /// The source of the transition, or [`NONE`] when the slot is empty.
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
        let hash = hash(&self.text[text_start as usize..][..text_length as usize]);
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
        // `at` is the index of a slash; the last one may be trailing.
        while at + 1 < path.len() {
            let rest = &path[at + 1..];
            // Segments are short: a plain loop finds their end sooner than a call of memchr.
            let segment = &rest[..rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len())];
            let literal = if state.has_literals { self.step(id, segment) } else { NONE };
            id = if literal == NONE { state.otherwise } else { literal };
            state = self.states.get(id as usize)?;
            at += 1 + segment.len();
        }
        (state.row != NONE).then_some(state.row as usize)
    }

    #[inline]
    fn step(&self, id: u32, segment: &[u8]) -> u32 {
        let hash = hash(segment);
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

/// Start and length of each literal in the joined text.
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

/// The hash of a segment, eight bytes at a time.
///
/// It needs no secret: the table contains only the operator's literals, and a lookup never inserts, so collisions are of
/// no use to a client.
#[inline]
fn hash(segment: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let product = (hash.rotate_left(29) ^ word).wrapping_mul(MULTIPLIER);
        product ^ product >> 32
    };
    // The last word may overlap the one before it.
    let last = match segment.last_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => segment.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    let words = segment.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
    mix(words.fold(segment.len() as u64, mix), last)
}

/// One anchored automaton of several patterns, each of which must match the whole path.
#[derive(Debug)]
pub(crate) struct RegexAutomaton {
    pub(crate) dfa: dense::DFA<Vec<u32>>,
    pub(crate) start: StateID,
    pub(crate) routes: Vec<RouteIndex>,
}

impl RegexAutomaton {
    /// Builds the automaton of `patterns`, as `parse_regex` gives them.
    pub(crate) fn build(routes: Vec<RouteIndex>, patterns: &[String]) -> Result<RegexAutomaton, Issue> {
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
            .map_err(|error| build_issue(&error))?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| Issue::new("", format!("the regexes have no start state: {error}"), ""))?;
        Ok(RegexAutomaton { dfa, start, routes })
    }
}

fn build_issue(error: &dense::BuildError) -> Issue {
    if !error.is_size_limit_exceeded() {
        return Issue::new("", format!("the regexes cannot be compiled: {error}"), "");
    }
    let mebibytes = MAX_DFA_BYTES >> 20;
    Issue::new(
        "",
        format!("the regexes together need an automaton of more than {mebibytes} MiB"),
        "write plain segments as path templates, and bounded repetitions such as {1,500} as + or *",
    )
}

#[derive(Debug)]
struct Regexes {
    automaton: RegexAutomaton,
    /// The method of each pattern.
    own: Vec<Option<usize>>,
    /// The lowest route that is a regex: when an earlier template matches, the regexes are not searched.
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
