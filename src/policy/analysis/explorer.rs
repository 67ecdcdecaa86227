//! The search itself: breadth first over segments, through the template automata of all tables and the regexes at once.
//! It gives each combination of matching routes an example path, and judges none.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::findings::CutShort;
use super::paths::{Paths, Position};
use crate::policy::table::{Patterns, RouteIndex, RouteTable, SegmentAutomaton, parse_base_path};

/// The maximum number of regions (sets of paths that match the same routes) that are explored.
const MAX_REGIONS: usize = 100_000;

/// Calls `visit` with an example path and the routes of each table that take this path (whatever the method), at least
/// once for every combination of such route sets that any canonical path has.
pub(super) fn explore(
    tables: &[&RouteTable],
    visit: &mut impl FnMut(&str, &[Vec<RouteIndex>]),
) -> Result<(), CutShort> {
    let mut explorer = Explorer::new(tables).ok_or(CutShort)?;
    let start = explorer.paths.after(explorer.paths.start(), b"/");
    let roots = vec![Some(0); tables.len()];
    explorer.see("/", &roots, start, visit);
    explorer.enqueue("/".to_owned(), roots, start);
    while let Some((prefix, states, boundary)) = explorer.queue.pop_front() {
        if explorer.regions.len() + explorer.nodes.len() > MAX_REGIONS {
            return Err(CutShort);
        }
        let literals = explorer.literals(&states);
        for literal in &literals {
            let targets = explorer.step(&states, Some(literal));
            let end = explorer.paths.after(boundary, literal.as_bytes());
            explorer.arrive(format!("{prefix}{literal}"), targets, end, visit);
        }
        let targets = explorer.step(&states, None);
        for (segment, end) in explorer.paths.other_segments(boundary, &literals).ok_or(CutShort)? {
            explorer.arrive(format!("{prefix}{segment}"), targets.clone(), end, visit);
        }
    }
    Ok(())
}

/// State of each table's segment automaton; `None` when no template fits any more.
type States = Vec<Option<u32>>;

struct Explorer<'t> {
    tables: Vec<Templates>,
    paths: Paths<'t>,
    queue: VecDeque<(String, States, Position)>,
    /// Positions just behind a slash that were already reached.
    nodes: HashSet<(States, Position)>,
    /// Ends of paths that were already seen: template states and matching regexes.
    regions: HashSet<(States, Vec<(usize, RouteIndex)>)>,
}

struct Templates {
    automaton: SegmentAutomaton,
    literal_ids: HashMap<Box<str>, u32>,
}

impl<'t> Explorer<'t> {
    fn new(tables: &[&'t RouteTable]) -> Option<Explorer<'t>> {
        let mut templates = Vec::new();
        for table in tables {
            let base = parse_base_path(&table.base_path).ok()?;
            let mut patterns = Patterns::read(&table.routes, &mut Vec::new());
            for (_, segments) in &mut patterns.templates {
                segments.splice(0..0, base.iter().cloned());
            }
            let automaton = SegmentAutomaton::build(&patterns.templates).ok()?;
            let literal_ids = (0..).zip(&automaton.literals).map(|(id, text)| (text.clone(), id)).collect();
            templates.push(Templates { automaton, literal_ids });
        }
        let (queue, nodes, regions) = Default::default();
        Some(Explorer { tables: templates, paths: Paths::new(tables)?, queue, nodes, regions })
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

    /// The states after `literal`, or after a segment that equals no literal of these states.
    fn step(&self, states: &States, literal: Option<&str>) -> States {
        let lead = |(table, state): (&Templates, &Option<u32>)| {
            let state = &table.automaton.states[(*state)? as usize];
            let id = literal.and_then(|text| table.literal_ids.get(text));
            let place = id.and_then(|id| state.by_literal.binary_search_by_key(id, |(literal, _)| *literal).ok());
            place.map(|place| state.by_literal[place].1).or(state.otherwise)
        };
        self.tables.iter().zip(states).map(lead).collect()
    }

    /// Visits a path, also with a trailing slash, and queues its continuation.
    fn arrive(
        &mut self,
        path: String,
        states: States,
        end: Position,
        visit: &mut impl FnMut(&str, &[Vec<RouteIndex>]),
    ) {
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
        end: Position,
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
        for (table, route) in matching {
            routes[table].push(route);
        }
        routes.iter_mut().for_each(|routes| routes.sort_unstable());
        visit(path, &routes);
        true
    }

    fn enqueue(&mut self, prefix: String, states: States, boundary: Position) {
        if self.nodes.insert((states.clone(), boundary)) {
            self.queue.push_back((prefix, states, boundary));
        }
    }
}
