//! Templates as a deterministic automaton over path segments. It knows literals and parameters only: no methods, no
//! regexes, no packing for speed.

use std::collections::{BTreeSet, HashMap};

use crate::policy::path::CanonicalPath;
use crate::policy::table::RouteIndex;

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// Exactly these bytes, in canonical form.
    Literal(Box<str>),
    /// Any one segment that is not empty.
    Parameter,
}

/// How many literal transitions all states together may have, before a table is refused. About 24 bytes each.
const MAX_TRANSITIONS: usize = 1 << 20;

/// Reads `/profiles/{customer_id}`; a trailing slash means nothing. The error is a sentence.
pub(crate) fn parse_template(template: &str) -> Result<Vec<Segment>, String> {
    let Some(inner) = template.strip_prefix('/') else {
        return Err(format!("the path {template:?} does not begin with \"/\"; write \"/{template}\""));
    };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner.is_empty() {
        return if template == "/" { Ok(Vec::new()) } else { Err(empty_segment(template)) };
    }
    inner.split('/').map(|segment| parse_segment(template, segment)).collect()
}

fn parse_segment(template: &str, segment: &str) -> Result<Segment, String> {
    if segment.is_empty() {
        return Err(empty_segment(template));
    }
    if let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))
        && !name.is_empty()
        && !name.contains(['{', '}'])
    {
        return Ok(Segment::Parameter);
    }
    if segment.contains(['{', '}']) {
        return Err(format!(
            "the segment {segment:?} of {template:?} mixes braces with text; a parameter is a whole segment such as \
             {{id}}, anything finer wants a regex"
        ));
    }
    let rooted = format!("/{segment}");
    let canonical = CanonicalPath::parse(rooted.as_bytes())
        .map_err(|refusal| format!("the segment {segment:?} of {template:?} can never match: {refusal}"))?;
    Ok(Segment::Literal(canonical.as_str()[1..].into()))
}

fn empty_segment(template: &str) -> String {
    format!("the path {template:?} holds an empty segment (\"//\"); write a single \"/\"")
}

/// The automaton. State 0 is where a path begins.
#[derive(Debug)]
pub(crate) struct SegmentAutomaton {
    /// The text of each literal, by its id.
    pub literals: Vec<Box<str>>,
    pub states: Vec<SegmentState>,
}

#[derive(Debug, Default)]
pub(crate) struct SegmentState {
    /// Literal id to state, sorted by id.
    pub by_literal: Vec<(u32, u32)>,
    /// Where any other segment leads; `None` when no template takes it.
    pub otherwise: Option<u32>,
    /// The routes whose template ends here, ascending.
    pub routes: Vec<RouteIndex>,
}

/// More transitions than [`MAX_TRANSITIONS`].
#[derive(Debug)]
pub(crate) struct TooLarge;

impl SegmentAutomaton {
    /// Determinises the trie of `templates`: a state is the set of trie nodes that the segments so far can lead to, so
    /// that matching never goes back.
    pub fn build(templates: &[(RouteIndex, Vec<Segment>)]) -> Result<SegmentAutomaton, TooLarge> {
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
                return Err(TooLarge);
            }
            states[current] = state;
            current += 1;
        }
        Ok(SegmentAutomaton { literals: trie.literals, states })
    }

    /// The id of a literal's text, for all literals.
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

    /// The state that stands for `nodes`; `state_of` names the state of a set of nodes (sorted).
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
    use super::*;

    fn routes_at(templates: &[&str], segments: &[&str]) -> Vec<RouteIndex> {
        let parsed: Vec<_> = (0..).zip(templates.iter().map(|template| parse_template(template).unwrap())).collect();
        let automaton = SegmentAutomaton::build(&parsed).unwrap();
        automaton.walk(segments).map(|state| state.routes.clone()).unwrap_or_default()
    }

    #[test]
    fn a_state_knows_every_template_that_ends_in_it() {
        let templates = ["/{a}/b", "/a/{b}", "/a/b/", "/", "/a/b/c"];
        assert_eq!(routes_at(&templates, &["a", "b"]), [0, 1, 2]);
        assert_eq!(routes_at(&templates, &["x", "b"]), [0]);
        assert_eq!(routes_at(&templates, &["a", "x"]), [1]);
        assert_eq!(routes_at(&templates, &[]), [3]);
        assert!(routes_at(&templates, &["a"]).is_empty());
        assert!(routes_at(&templates, &["x", "x"]).is_empty());
    }

    #[test]
    fn literals_are_made_canonical() {
        let literal = |text: &str| Segment::Literal(text.into());
        assert_eq!(parse_template("/%70rofiles/caf%c3%a9").unwrap(), [literal("profiles"), literal("caf%C3%A9")]);
    }

    #[test]
    fn faults_say_what_to_write() {
        for (template, expected) in [
            ("profiles", "write \"/profiles\""),
            ("//", "empty segment"),
            ("/a//b", "empty segment"),
            ("/a/x{id}", "whole segment"),
            ("/a/{}", "whole segment"),
            ("/a/{b}{c}", "whole segment"),
            ("/a/../b", "dot segment"),
            ("/a;b", "semicolon"),
        ] {
            let fault = parse_template(template).unwrap_err();
            assert!(fault.contains(expected), "{template}: {fault}");
        }
    }

    #[test]
    fn a_table_that_multiplies_is_refused() {
        // Every subset of the 20 positions is a state of its own.
        let templates: Vec<_> = (0..20)
            .map(|position| {
                let segments: Vec<_> = (0..20).map(|at| if at == position { "/x" } else { "/{p}" }).collect();
                (position, parse_template(&segments.concat()).unwrap())
            })
            .collect();
        assert!(SegmentAutomaton::build(&templates).is_err());
    }
}
