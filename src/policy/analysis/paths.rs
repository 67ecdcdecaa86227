//! The regexes of all tables and the shape of canonical paths as one automaton over bytes, and the search for example
//! segments in it. Templates are not its concern.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;

use regex_automata::dfa::Automaton;
use regex_automata::util::primitives::StateID;

use crate::policy::table::{RegexAutomaton, RouteIndex};

/// All regexes of all tables, and the shape of canonical paths, in one automaton.
pub(super) struct Paths {
    pub(crate) automaton: RegexAutomaton,
    /// Table and route of each pattern. The patterns after these are one per table, for the paths below its base path, and
    /// those of shape and of nested escapes.
    pub(crate) owners: Vec<(usize, RouteIndex)>,
    /// The pattern of shape; the next one is that of nested escapes.
    shape: usize,
    /// One byte of each class that the automaton tells apart, readable ones preferred.
    representatives: Vec<u8>,
    /// The results of [`Paths::segments_but`] without exclusions, by boundary.
    known: HashMap<StateID, Vec<(String, StateID)>>,
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

/// `text` as a pattern that matches just its bytes.
pub(super) fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02X}")).collect()
}

impl Paths {
    pub(crate) fn new(regexes: Vec<(usize, RouteIndex, String)>, base_paths: &[&str]) -> Option<Paths> {
        let owners: Vec<_> = regexes.iter().map(|(table, route, _)| (*table, *route)).collect();
        let mut patterns: Vec<String> = regexes.into_iter().map(|(_, _, pattern)| pattern).collect();
        patterns.extend(base_paths.iter().map(|base_path| format!("{}(?:/(?s:.)*)?", escape(base_path))));
        let shape = patterns.len();
        patterns.extend([canonical_shape(), NESTED_ESCAPE.to_owned()]);
        let automaton = RegexAutomaton::build(Vec::new(), &patterns).ok()?;
        let classes = automaton.dfa.byte_classes();
        let mut seen = HashSet::new();
        let representatives = SEGMENT_BYTES.iter().copied().filter(|byte| seen.insert(classes.get(*byte))).collect();
        Some(Paths { automaton, owners, shape, representatives, known: HashMap::new() })
    }

    pub(crate) fn after(&self, state: StateID, bytes: &[u8]) -> StateID {
        bytes.iter().fold(state, |state, byte| self.automaton.dfa.next_state(state, *byte))
    }

    /// The patterns that match a path which ends in `state`; `None` when the path is not canonical.
    pub(crate) fn matching(&self, state: StateID) -> Option<Vec<usize>> {
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

    /// Segments that equal none of `literals`, each with the state that it leads to from `boundary`: one for each
    /// distinguishable state.
    pub(crate) fn other_segments(
        &mut self,
        boundary: StateID,
        literals: &BTreeSet<Box<str>>,
    ) -> Vec<(String, StateID)> {
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

    /// Breadth first over bytes, so that examples are short. Beside the automaton's state it remembers whether the segment
    /// so far begins a literal, because that literal must not become complete.
    fn segments_but(&self, boundary: StateID, literals: &BTreeSet<Box<str>>) -> Vec<(String, StateID)> {
        let begins_literal = |text: &str| {
            literals
                .range::<str, _>((Bound::Included(text), Bound::Unbounded))
                .next()
                .is_some_and(|next| next.starts_with(text))
        };
        let mut found = Vec::new();
        let mut ends = HashSet::new();
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
                    && ends.insert((matching, self.after(next, b"/")))
                {
                    found.push((longer.clone(), next));
                }
                queue.push_back((longer, next, on_literal));
            }
        }
        found
    }
}
