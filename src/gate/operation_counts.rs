//! A route table with its counts by operation and worker, for reports, previews and metrics. Admission depends on the
//! in-flight counter, not on these; only the in-flight counts of replaced tables take part in a drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::policy::mode::ModeSet;
use crate::policy::table::{RouteIndex, RouteTable, Unmatched};

/// A route table with its generation and its counts.
#[derive(Debug)]
pub(crate) struct LiveTable {
    table: RouteTable,
    generation: u32,
    /// One row per worker, with one cell per route and one for unmatched requests. Each row has one writer.
    rows: Box<[Box<[Cell]>]>,
    /// The set and schema need of each slot, apart from `Route` to keep the fast path on few cache lines.
    admissions: Box<[(ModeSet, bool)]>,
}

#[derive(Debug, Default)]
struct Cell {
    in_flight: AtomicU64,
    admitted: AtomicU64,
    refused: AtomicU64,
    abandoned: AtomicU64,
}

/// The counts of one operation over all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OperationCounts {
    /// The route, `None` for unmatched requests.
    pub(crate) route: Option<RouteIndex>,
    /// The operation's name.
    pub(crate) operation: Arc<str>,
    pub(crate) class: Arc<str>,
    pub(crate) modes: ModeSet,
    pub(crate) in_flight: u64,
    /// Admitted since the table came into force.
    pub(crate) admitted: u64,
    /// Refused since the table came into force.
    pub(crate) refused: u64,
    /// Abandoned by the gateway since then, also after the table was replaced.
    pub(crate) abandoned: u64,
}

impl LiveTable {
    pub(super) fn new(table: RouteTable, generation: u32, workers: usize) -> LiveTable {
        let unmatched = match table.unmatched {
            Unmatched::NotFound => ModeSet::Both,
            Unmatched::Class(class) => table.classes[class].modes,
        };
        let admissions: Box<[(ModeSet, bool)]> = table
            .routes
            .iter()
            .map(|route| (route.modes, route.needs_profile_schema))
            .chain([(unmatched, false)])
            .collect();
        let row = |_| admissions.iter().map(|_| Cell::default()).collect();
        let rows = (0..workers).map(row).collect();
        LiveTable { table, generation, rows, admissions }
    }

    pub(crate) fn table(&self) -> &RouteTable {
        &self.table
    }

    /// The generation: it grows by one with every table that comes into force.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The counts by operation, in the order of the table, unmatched last.
    pub(crate) fn operation_counts(&self) -> Vec<OperationCounts> {
        (0..self.admissions.len()).map(|slot| self.counts_at(slot)).collect()
    }

    /// The counts by operation, each with the generation.
    pub(super) fn numbered_counts(&self) -> impl Iterator<Item = (u32, OperationCounts)> {
        self.operation_counts().into_iter().map(|counts| (self.generation, counts))
    }

    /// Requests in flight that this table admitted.
    pub(crate) fn in_flight(&self) -> u64 {
        self.rows.iter().flat_map(|row| row.iter()).map(|cell| cell.in_flight.load(Ordering::Acquire)).sum()
    }

    pub(super) fn operation(&self, slot: usize) -> Arc<str> {
        let route = self.table.routes.get(slot);
        route.map_or_else(|| Arc::from("unmatched"), |route| Arc::clone(&route.operation))
    }

    fn counts_at(&self, slot: usize) -> OperationCounts {
        let sum =
            |read: fn(&Cell) -> &AtomicU64| self.rows.iter().map(|row| read(&row[slot]).load(Ordering::Acquire)).sum();
        let route = self.table.routes.get(slot);
        let class = match (route, self.table.unmatched) {
            (Some(route), _) => Arc::clone(&self.table.classes[route.class].name),
            (None, Unmatched::Class(class)) => Arc::clone(&self.table.classes[class].name),
            (None, Unmatched::NotFound) => Arc::from("none"),
        };
        OperationCounts {
            route: route.map(|_| slot as RouteIndex),
            operation: self.operation(slot),
            class,
            modes: self.admissions[slot].0,
            in_flight: sum(|cell| &cell.in_flight),
            admitted: sum(|cell| &cell.admitted),
            refused: sum(|cell| &cell.refused),
            abandoned: sum(|cell| &cell.abandoned),
        }
    }

    pub(super) fn slot(&self, route: Option<RouteIndex>) -> usize {
        route.map_or(self.table.routes.len(), |route| route as usize)
    }

    pub(super) fn admission(&self, slot: usize) -> (ModeSet, bool) {
        self.admissions[slot]
    }

    pub(super) fn count_in(&self, worker: usize, slot: usize) {
        let count = &self.rows[worker][slot].in_flight;
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn count_out(&self, worker: usize, slot: usize) {
        let count = &self.rows[worker][slot].in_flight;
        count.store(count.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    pub(super) fn count_admitted(&self, worker: usize, slot: usize) {
        add_one(&self.rows[worker][slot].admitted);
    }

    pub(super) fn count_refused(&self, worker: usize, slot: usize) {
        add_one(&self.rows[worker][slot].refused);
    }

    pub(super) fn count_abandoned(&self, worker: usize, slot: usize) {
        add_one(&self.rows[worker][slot].abandoned);
    }
}

/// Each row has one writer, so a load and a store are enough.
fn add_one(count: &AtomicU64) {
    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}
