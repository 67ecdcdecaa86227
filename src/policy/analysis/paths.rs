//! The regexes of all tables and the shape of canonical paths, followed side by side byte by byte, and the search for
//! example segments in them. The automata are those that serve traffic: nothing is compiled for the search, so it takes
//! every table that compiles. Templates are not its concern.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Bound;

use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;

use crate::policy::table::{RegexAutomaton, RouteIndex, RouteTable};

/// The maximum number of positions that are visited within one segment, and in all.
const MAX_IN_SEGMENT: usize = 1 << 19;
const MAX_POSITIONS: usize = 1 << 22;

/// The shape and the nested escapes.
const FIXED: usize = 2;
/// The most tables that are searched at once.
const MAX_TABLES: usize = 2;

/// A place in a path, by the state of each automaton: the shape, the nested escapes, and each table's regexes.
pub(super) type Position = [u32; FIXED + MAX_TABLES];

/// Example segments, each with the position behind it.
type Segments = Vec<(String, Position)>;

/// The automaton matches no continuation.
const DEAD: u32 = u32::MAX;
/// Marks an offset in the base path, in place of a state.
const IN_BASE: u32 = 1 << 31;

/// All automata of a search.
pub(super) struct Paths<'t> {
    shape: RegexAutomaton,
    nested: RegexAutomaton,
    tables: Vec<(&'t [u8], Option<&'t RegexAutomaton>)>,
    /// One byte of each class that the automata tell apart, readable ones preferred.
    representatives: Vec<u8>,
    /// The results of [`Paths::segments_but`].
    known: HashMap<(Position, BTreeSet<Box<str>>), Segments>,
    visited: usize,
}

struct Prefix {
    position: Position,
    /// The prefix without its last byte, by index.
    shorter: usize,
    byte: u8,
    /// The text, while it begins a literal.
    literal: Option<String>,
}

/// Bytes of canonical segments, in the order in which examples prefer them.
const SEGMENT_BYTES: &[u8] = b"xabcdefghijklmnopqrstuvwyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.~!$&'()*+,=:@%";

/// The paths that [`CanonicalPath`](crate::policy::path::CanonicalPath) accepts, but for nested escapes.
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

impl<'t> Paths<'t> {
    /// `None` when there are more tables than [`MAX_TABLES`].
    pub(super) fn new(tables: &[&'t RouteTable]) -> Option<Paths<'t>> {
        if tables.len() > MAX_TABLES {
            return None;
        }
        let build = |pattern: &str| RegexAutomaton::build(Vec::new(), &[pattern.to_owned()]).ok();
        let (shape, nested) = (build(&canonical_shape())?, build(NESTED_ESCAPE)?);
        let tables = tables.iter().map(|table| (table.base_path.as_bytes(), table.regexes())).collect();
        let mut paths = Paths { shape, nested, tables, representatives: Vec::new(), known: HashMap::new(), visited: 0 };
        let mut seen = HashSet::new();
        paths.representatives =
            SEGMENT_BYTES.iter().copied().filter(|byte| seen.insert(paths.classes(*byte))).collect();
        Some(paths)
    }

    /// Before the first slash.
    pub(super) fn start(&self) -> Position {
        [IN_BASE; FIXED + MAX_TABLES]
    }

    pub(super) fn after(&self, position: Position, bytes: &[u8]) -> Position {
        bytes.iter().fold(position, |position, byte| self.step(position, *byte))
    }

    /// The regex routes of each table that match a path which ends here, ascending; `None` when the path is not canonical.
    pub(super) fn matching(&self, position: Position) -> Option<Vec<(usize, RouteIndex)>> {
        let matches = |automaton, at: u32| end_of(b"", Some(automaton), at).is_some();
        if !matches(&self.shape, position[0]) || matches(&self.nested, position[1]) {
            return None;
        }
        let mut routes = Vec::new();
        for (table, (base_path, automaton)) in self.tables.iter().enumerate() {
            let Some((automaton, end)) = end_of(base_path, *automaton, position[FIXED + table]) else { continue };
            let patterns = (0..automaton.dfa.match_len(end)).map(|at| automaton.dfa.match_pattern(end, at));
            routes.extend(patterns.map(|pattern| (table, automaton.routes[pattern.as_usize()])));
        }
        routes.sort_unstable();
        Some(routes)
    }

    /// Segments that equal none of `literals`, each with the position that it leads to from `boundary`: one for each
    /// distinguishable position. `None` when too many positions were visited.
    pub(super) fn other_segments(&mut self, boundary: Position, literals: &BTreeSet<Box<str>>) -> Option<Segments> {
        let all = self.known_segments(boundary, &BTreeSet::new())?;
        match all.iter().any(|(segment, _)| literals.contains(segment.as_str())) {
            true => self.known_segments(boundary, literals),
            false => Some(all),
        }
    }

    fn known_segments(&mut self, boundary: Position, literals: &BTreeSet<Box<str>>) -> Option<Segments> {
        let key = (boundary, literals.clone());
        if let Some(found) = self.known.get(&key) {
            return Some(found.clone());
        }
        let found = self.segments_but(boundary, literals)?;
        self.known.insert(key, found.clone());
        Some(found)
    }

    /// Breadth first over bytes, so that examples are short. Beside the position it remembers whether the segment so far
    /// begins a literal, because that literal must not become complete.
    fn segments_but(&mut self, boundary: Position, literals: &BTreeSet<Box<str>>) -> Option<Segments> {
        let begins_literal = |text: &String| {
            let next = literals.range::<str, _>((Bound::Included(text.as_str()), Bound::Unbounded)).next();
            next.is_some_and(|next| next.starts_with(text.as_str()))
        };
        let mut found = Vec::new();
        let mut ends = HashSet::new();
        let mut seen: HashSet<(Position, Option<String>)> = HashSet::new();
        let literal = Some(String::new()).filter(begins_literal);
        let mut prefixes = vec![Prefix { position: boundary, shorter: 0, byte: 0, literal }];
        let mut current = 0;
        while current < prefixes.len() {
            let (before, literal) = (prefixes[current].position, prefixes[current].literal.clone());
            // Bytes of one class lead to one position, but only some of them follow a literal.
            let bytes = if literal.is_some() { SEGMENT_BYTES } else { &self.representatives };
            for &byte in bytes {
                let position = self.step(before, byte);
                let longer = literal.as_ref().map(|text| format!("{text}{}", char::from(byte)));
                let literal = longer.filter(begins_literal);
                if position[0] == DEAD || !seen.insert((position, literal.clone())) {
                    continue;
                }
                let is_literal = literal.as_ref().is_some_and(|text| literals.contains(text.as_str()));
                prefixes.push(Prefix { position, shorter: current, byte, literal });
                if !is_literal
                    && let Some(matching) = self.matching(position)
                    && ends.insert((matching, self.step(position, b'/')))
                {
                    found.push((text_of(&prefixes), position));
                }
            }
            current += 1;
            if prefixes.len() > MAX_IN_SEGMENT || self.visited + prefixes.len() > MAX_POSITIONS {
                return None;
            }
        }
        self.visited += prefixes.len();
        Some(found)
    }

    fn step(&self, position: Position, byte: u8) -> Position {
        let mut next = [DEAD; FIXED + MAX_TABLES];
        next[0] = step(b"", Some(&self.shape), position[0], byte);
        next[1] = step(b"", Some(&self.nested), position[1], byte);
        for (table, (base_path, automaton)) in self.tables.iter().enumerate() {
            next[FIXED + table] = step(base_path, *automaton, position[FIXED + table], byte);
        }
        next
    }

    /// Equal for two bytes that no automaton and no base path tells apart.
    fn classes(&self, byte: u8) -> Vec<u8> {
        let class = |automaton: &RegexAutomaton| automaton.dfa.byte_classes().get(byte);
        let mut classes = vec![class(&self.shape), class(&self.nested)];
        for (base_path, automaton) in &self.tables {
            classes.push(automaton.map_or(0, class));
            classes.push(if base_path.contains(&byte) { byte } else { 0 });
        }
        classes
    }
}

fn step(base_path: &[u8], automaton: Option<&RegexAutomaton>, at: u32, byte: u8) -> u32 {
    let (Some(RegexAutomaton { dfa, start, .. }), false) = (automaton, at == DEAD) else { return DEAD };
    let state = match (at & IN_BASE != 0).then(|| base_path.get((at & !IN_BASE) as usize)) {
        Some(Some(expected)) => return if *expected == byte { at + 1 } else { DEAD },
        Some(None) if byte != b'/' => return DEAD,
        Some(None) => *start,
        None => StateID::new_unchecked(at as usize),
    };
    let next = dfa.next_state(state, byte);
    if dfa.is_dead_state(next) { DEAD } else { next.as_u32() }
}

/// The automaton and its final state, when it matches a path that ends here.
fn end_of<'a>(
    base_path: &[u8],
    automaton: Option<&'a RegexAutomaton>,
    at: u32,
) -> Option<(&'a RegexAutomaton, StateID)> {
    let automaton = automaton.filter(|_| at != DEAD)?;
    let state = match at & IN_BASE != 0 {
        true if (at & !IN_BASE) as usize == base_path.len() => automaton.start,
        true => return None,
        false => StateID::new_unchecked(at as usize),
    };
    let end = automaton.dfa.next_eoi_state(state);
    automaton.dfa.is_match_state(end).then_some((automaton, end))
}

/// The text of the last prefix.
fn text_of(prefixes: &[Prefix]) -> String {
    let mut bytes = Vec::new();
    let mut at = prefixes.len() - 1;
    while at > 0 {
        bytes.push(char::from(prefixes[at].byte));
        at = prefixes[at].shorter;
    }
    bytes.into_iter().rev().collect()
}
