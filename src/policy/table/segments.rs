//! Templates as a deterministic automaton over path segments. It contains literals and parameters only: no methods, no
//! regexes; `matcher` packs it for speed.

use std::collections::{BTreeSet, HashMap};

use super::issue::Issue;
use super::route::RouteIndex;
use super::template::Segment;

/// The maximum number of literal transitions of all states together, at about 24 bytes each.
const MAX_TRANSITIONS: usize = 1 << 20;

/// The automaton. State 0 is the start.
#[derive(Debug)]
pub(crate) struct SegmentAutomaton {
    /// The text of each literal, by its id.
    pub(crate) literals: Vec<Box<str>>,
    pub(crate) states: Vec<SegmentState>,
}

#[derive(Debug, Default)]
pub(crate) struct SegmentState {
    /// Literal id to state, sorted by id.
    pub(crate) by_literal: Vec<(u32, u32)>,
    /// The target of any other segment; `None` when no template matches it.
    pub(crate) otherwise: Option<u32>,
    /// The routes whose template ends here, ascending.
    pub(crate) routes: Vec<RouteIndex>,
}

impl SegmentAutomaton {
    /// Determinises the trie of `templates`: a state is the set of trie nodes that the segments so far can reach, so
    /// matching never backtracks.
    pub(crate) fn build(templates: &[(RouteIndex, Vec<Segment>)]) -> Result<SegmentAutomaton, Issue> {
        let mut trie = Trie::default();
        for (route, segments) in templates {
            trie.insert(*route, segments);
        }
        let mut states = vec![SegmentState::default()];
        let mut sets = vec![vec![0_u32]];
        let mut ids = HashMap::from([(vec![0_u32], 0_u32)]);
        let mut transitions = 0;
        let mut current = 0;
        while current < sets.len() {
            let nodes = sets[current].clone();
            let mut state_of = |set: Vec<u32>| -> u32 {
                *ids.entry(set).or_insert_with_key(|set| {
                    sets.push(set.clone());
                    states.push(SegmentState::default());
                    (states.len() - 1) as u32
                })
            };
            let state = trie.expand(&nodes, &mut state_of);
            transitions += state.by_literal.len() + 1;
            if transitions > MAX_TRANSITIONS {
                return Err(Issue::new(
                    "",
                    "the templates overlap in too many ways to be compiled",
                    "write literal segments where parameters of several routes cross each other",
                ));
            }
            states[current] = state;
            current += 1;
        }
        Ok(SegmentAutomaton { literals: trie.literals, states })
    }

    #[cfg(test)]
    fn walk(&self, segments: &[&str]) -> Option<&SegmentState> {
        segments.iter().try_fold(&self.states[0], |state, segment| {
            let literal = self.literals.iter().position(|text| &**text == *segment).map(|id| id as u32);
            let by_literal = state.by_literal.iter().find(|(id, _)| Some(*id) == literal).map(|(_, target)| *target);
            Some(&self.states[by_literal.or(state.otherwise)? as usize])
        })
    }
}

#[derive(Debug)]
struct Trie {
    literals: Vec<Box<str>>,
    literal_ids: HashMap<Box<str>, u32>,
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    by_literal: HashMap<u32, u32>,
    parameter: Option<u32>,
    routes: Vec<RouteIndex>,
}

impl Default for Trie {
    fn default() -> Trie {
        Trie { literals: Vec::new(), literal_ids: HashMap::new(), nodes: vec![Node::default()] }
    }
}

impl Trie {
    fn insert(&mut self, route: RouteIndex, segments: &[Segment]) {
        let mut node = 0;
        for segment in segments {
            let next = self.nodes.len() as u32;
            let entry = match segment {
                Segment::Parameter => *self.nodes[node].parameter.get_or_insert(next),
                Segment::Literal(text) => {
                    let literal = self.literal_id(text);
                    *self.nodes[node].by_literal.entry(literal).or_insert(next)
                }
            };
            if entry == next {
                self.nodes.push(Node::default());
            }
            node = entry as usize;
        }
        self.nodes[node].routes.push(route);
    }

    fn literal_id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.literal_ids.get(text) {
            return *id;
        }
        let id = self.literals.len() as u32;
        self.literals.push(text.into());
        self.literal_ids.insert(text.into(), id);
        id
    }

    /// The state that stands for `nodes`; `state_of` gives the state of a sorted set of nodes.
    fn expand(&self, nodes: &[u32], state_of: &mut impl FnMut(Vec<u32>) -> u32) -> SegmentState {
        let nodes: Vec<&Node> = nodes.iter().map(|node| &self.nodes[*node as usize]).collect();
        let literals: BTreeSet<u32> = nodes.iter().flat_map(|node| node.by_literal.keys().copied()).collect();
        let parameters: Vec<u32> = nodes.iter().filter_map(|node| node.parameter).collect();
        let by_literal = literals
            .into_iter()
            .map(|literal| {
                let mut targets = parameters.clone();
                targets.extend(nodes.iter().filter_map(|node| node.by_literal.get(&literal)));
                targets.sort_unstable();
                (literal, state_of(targets))
            })
            .collect();
        let mut otherwise = parameters;
        otherwise.sort_unstable();
        let otherwise = (!otherwise.is_empty()).then(|| state_of(otherwise));
        let mut routes: Vec<RouteIndex> = nodes.iter().flat_map(|node| node.routes.iter().copied()).collect();
        routes.sort_unstable();
        SegmentState { by_literal, otherwise, routes }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::template::parse_template;
    use super::*;

    fn routes_at(templates: &[&str], segments: &[&str]) -> Vec<RouteIndex> {
        let parsed: Vec<_> = (0..).zip(templates.iter().map(|template| parse_template(template).unwrap())).collect();
        let automaton = SegmentAutomaton::build(&parsed).unwrap();
        automaton.walk(segments).map(|state| state.routes.clone()).unwrap_or_default()
    }

    #[test]
    fn a_state_knows_every_template_that_ends_in_it() {
        let templates = ["/{a}/b", "/a/{b}", "/a/b", "/", "/a/b/c"];
        assert_eq!(routes_at(&templates, &["a", "b"]), [0, 1, 2]);
        assert_eq!(routes_at(&templates, &["x", "b"]), [0]);
        assert_eq!(routes_at(&templates, &["a", "x"]), [1]);
        assert_eq!(routes_at(&templates, &[]), [3]);
        assert!(routes_at(&templates, &["a"]).is_empty());
        assert!(routes_at(&templates, &["x", "x"]).is_empty());
    }

    #[test]
    fn a_table_that_multiplies_is_rejected() {
        // Every subset of the 20 positions is a state of its own.
        let templates: Vec<_> = (0..20)
            .map(|position| {
                let segments: Vec<_> =
                    (0..20).map(|at| if at == position { "/x".to_owned() } else { format!("/{{p{at}}}") }).collect();
                (position, parse_template(&segments.concat()).unwrap())
            })
            .collect();
        assert!(SegmentAutomaton::build(&templates).is_err());
    }
}
