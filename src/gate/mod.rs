//! Admission and in-flight counts: the only state that requests and control share. Requests enter through a [`WorkerGate`]
//! and hold a [`Permit`]; control publishes records and tables and reads counts. It does no I/O and keeps no history; the
//! fast path takes no lock and writes only to its own worker's cache lines.

mod in_flight_counter;
mod operation_counts;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use in_flight_counter::{AdmissionState, InFlightCounter};
pub(crate) use operation_counts::{LiveTable, OperationCounts};

use jiff::Timestamp;

use crate::policy::fleet::Closed;
use crate::policy::mode::{Local, Mode, ModeRecord, ModeSet, Phase, SchemaKnowledge};
use crate::policy::table::{RouteIndex, RouteTable};
use crate::policy::upstream_mode::UpstreamMode;

/// The state published by control, consistent at one instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The record in force; `None` before the first one: no request is admitted then.
    pub(crate) record: Option<Arc<ModeRecord>>,
    /// The knowledge of the profile schema.
    pub(crate) schema: SchemaKnowledge,
    /// UCS's own mode, and how it compares with the record.
    pub(crate) upstream: UpstreamMode,
    /// Closes both single modes at this gateway alone, whatever the record says.
    pub(crate) local: Option<Local>,
    /// Why this member of a fleet is closed in the same way, beside its record.
    pub(crate) closed: Option<Closed>,
    /// A condition that needs an operator (a record that cannot be saved, a file set aside), as a sentence.
    pub(crate) alarm: Option<String>,
}

impl Default for Published {
    /// Before the first record.
    fn default() -> Published {
        let upstream = UpstreamMode::unread(Timestamp::now());
        Published { record: None, schema: SchemaKnowledge::Unknown, upstream, local: None, closed: None, alarm: None }
    }
}

impl Published {
    /// A record, and nothing else that is known.
    pub fn of(record: impl Into<Arc<ModeRecord>>) -> Published {
        Published { record: Some(record.into()), ..Published::default() }
    }

    /// Whether both single modes are closed at this gateway alone.
    pub(crate) fn is_closed_here(&self) -> bool {
        self.local.is_some() || self.closed.is_some()
    }
}

/// The gate, shared by all workers and control.
#[derive(Debug)]
pub struct Gate {
    counter: InFlightCounter,
    table: ArcSwap<LiveTable>,
    retired: Mutex<Retired>,
    published: ArcSwap<Published>,
    watchers: watch::Sender<Arc<Published>>,
    cuts: watch::Sender<Option<Mode>>,
    abandoned: AbandonedTimes,
    taken: Box<[AtomicBool]>,
    /// Of each worker, the operations that run for long, with the time since when; replaced at each sweep, off the fast path.
    long_running: Box<[Mutex<LongRunning>]>,
    workers: usize,
}

/// Operations, each with the time since when a request of it runs.
type LongRunning = Vec<(Arc<str>, Instant)>;

/// The remains of replaced tables.
#[derive(Debug, Default)]
struct Retired {
    /// Tables with requests in flight: a flip waits for these too.
    live: Vec<Arc<LiveTable>>,
    /// The abandoned counts of the others, with the table's generation.
    abandoned: Vec<(u32, OperationCounts)>,
}

/// When a request of a set was last abandoned, in milliseconds since `origin` plus one; 0 for never.
#[derive(Debug)]
struct AbandonedTimes {
    origin: Instant,
    last: [AtomicU64; in_flight_counter::SETS],
}

/// The reason why a request was not admitted.
#[derive(Clone, Debug)]
pub enum Refused {
    /// The mode, or a flip under way, does not admit it.
    Mode(Arc<Published>),
    /// It needs a profile schema, and UCS has none.
    NoSchema(Arc<Published>),
    /// The table that classified it is no longer in force: classify again.
    OldTable,
}

impl Gate {
    /// A closed gate with the first table.
    pub fn new(workers: usize, table: RouteTable) -> Arc<Gate> {
        let closed = Arc::new(Published::default());
        let gate = Gate {
            counter: InFlightCounter::new(workers),
            table: ArcSwap::from_pointee(LiveTable::new(table, 1, workers)),
            retired: Mutex::default(),
            published: ArcSwap::new(Arc::clone(&closed)),
            watchers: watch::Sender::new(closed),
            cuts: watch::Sender::new(None),
            abandoned: AbandonedTimes { origin: Instant::now(), last: Default::default() },
            taken: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            long_running: (0..workers).map(|_| Mutex::default()).collect(),
            workers,
        };
        gate.counter.publish(AdmissionState::new([false; 3], 0, 1));
        Arc::new(gate)
    }

    /// The gate of one worker. Each can be taken once: a second writer on a shard would corrupt its counts.
    ///
    /// # Panics
    /// When it is taken already or there is no such worker.
    pub fn worker_gate(self: &Arc<Self>, worker: usize) -> WorkerGate {
        let taken = self.taken[worker].swap(true, Ordering::AcqRel);
        assert!(!taken, "the gate of worker {worker} is taken already");
        let table = RefCell::new(Rc::new(TableRef { live: self.table.load_full(), worker }));
        WorkerGate(Rc::new(WorkerGateInner { gate: Arc::clone(self), index: worker, table }))
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.load_full()
    }

    /// Subscribes to the published state; a slow subscriber sees only the newest.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.watchers.subscribe()
    }

    pub(crate) fn table(&self) -> Arc<LiveTable> {
        self.table.load_full()
    }

    /// Puts a state in force. For control only.
    pub fn publish(&self, published: Published) {
        let published = Arc::new(published);
        // The record before the admission state: a request refused by the latter sees a record at least as new.
        self.published.store(Arc::clone(&published));
        let generation = self.counter.state().generation();
        self.counter.publish(state_of(&published, generation));
        self.watchers.send_replace(published);
    }

    /// Puts a table in force and returns it. Requests of the old table continue, and flips wait for all of them. For control
    /// only, and never during a flip.
    pub(crate) fn replace_table(&self, table: RouteTable) -> Arc<LiveTable> {
        let generation = self.counter.state().generation().wrapping_add(1);
        let live = Arc::new(LiveTable::new(table, generation, self.workers));
        // Held over the swap, so that readers never find the old table in both places or in neither.
        let mut retired = self.lock_retired();
        let old = self.table.swap(Arc::clone(&live));
        self.counter.publish(state_of(&self.published.load(), generation));
        retired.live.push(old);
        // The new table may put recently abandoned requests in another set: they get their grace period in every set.
        let newest = self.abandoned.last.iter().map(|last| last.load(Ordering::Acquire)).max().unwrap_or(0);
        for last in &self.abandoned.last {
            last.fetch_max(newest, Ordering::AcqRel);
        }
        live
    }

    /// Requests of a set in flight, over all workers.
    pub fn in_flight(&self, set: ModeSet) -> u64 {
        self.counter.in_flight(set.index())
    }

    /// Requests in flight that replaced tables admitted.
    pub(crate) fn in_flight_of_old_tables(&self) -> u64 {
        let Retired { live, abandoned } = &mut *self.lock_retired();
        live.retain(|table| {
            let is_live = table.in_flight() > 0;
            if !is_live {
                abandoned.extend(table.numbered_counts().filter(|(_, counts)| counts.abandoned > 0));
            }
            is_live
        });
        live.iter().map(|table| table.in_flight()).sum()
    }

    /// The counts by operation with the generation of their table: all of the table in force, and those of replaced tables
    /// with requests in flight or abandoned.
    pub(crate) fn counts_of_all_tables(&self) -> Vec<(u32, OperationCounts)> {
        let retired = self.lock_retired();
        let mut counts: Vec<_> = self.table.load().numbered_counts().collect();
        let live = retired.live.iter().flat_map(|table| table.numbered_counts());
        counts.extend(live.filter(|(_, counts)| counts.in_flight > 0 || counts.abandoned > 0));
        counts.extend(retired.abandoned.iter().cloned());
        counts
    }

    /// The requests that must end before none that needs `leaving` is in flight. Meaningful only after the record that closed
    /// `leaving` was published. Includes all requests of replaced tables, as the table in force may classify them
    /// differently.
    pub(crate) fn forbidden_in_flight(&self, leaving: Mode) -> u64 {
        self.in_flight(ModeSet::only(leaving)) + self.in_flight_of_old_tables()
    }

    /// Requests in flight by operation, without zeroes: those that only `mode` admits, or all.
    pub(crate) fn running(&self, mode: Option<Mode>) -> Vec<OperationCounts> {
        let mut running = self.table.load().operation_counts();
        let set = mode.map(ModeSet::only);
        running.retain(|counts| set.is_none_or(|set| counts.modes == set));
        for table in &self.lock_retired().live {
            running.extend(table.operation_counts());
        }
        running.retain(|counts| counts.in_flight > 0);
        running
    }

    /// Since when the oldest request of each operation runs, as far as it runs for long (see
    /// [`WorkerGate::note_long_running`]).
    pub(crate) fn oldest_running(&self) -> HashMap<Arc<str>, Instant> {
        let mut oldest = HashMap::new();
        for running in &self.long_running {
            for (operation, since) in &*running.lock().unwrap_or_else(PoisonError::into_inner) {
                let earliest = oldest.entry(Arc::clone(operation)).or_insert(*since);
                *earliest = (*earliest).min(*since);
            }
        }
        oldest
    }

    /// The time since an exchange that only `mode` admits was last abandoned; `None` for never.
    pub(crate) fn last_abandoned(&self, mode: Mode) -> Option<Duration> {
        let newest = self.abandoned.last[ModeSet::only(mode).index()].load(Ordering::Acquire);
        (newest > 0).then(|| self.abandoned.origin.elapsed().saturating_sub(Duration::from_millis(newest - 1)))
    }

    /// Tells every worker to abort the requests that only `mode` admits. For control only, during a flip.
    pub(crate) fn cut(&self, mode: Mode) {
        self.cuts.send_replace(Some(mode));
    }

    pub(crate) fn end_cut(&self) {
        self.cuts.send_replace(None);
    }

    /// Subscribes to cuts: `Some(mode)` while exchanges that only `mode` admits are to be aborted.
    pub(crate) fn watch_cuts(&self) -> watch::Receiver<Option<Mode>> {
        self.cuts.subscribe()
    }

    fn lock_retired(&self) -> std::sync::MutexGuard<'_, Retired> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bit of the note for a missing profile schema: routes that need one get 404.
const NOTE_NO_SCHEMA: u32 = 1;

fn state_of(published: &Published, generation: u32) -> AdmissionState {
    let Some(record) = &published.record else { return AdmissionState::new([false; 3], 0, generation) };
    let open = |set: ModeSet| match record.phase {
        Phase::Settled if !published.is_closed_here() => set.admits(record.mode),
        Phase::Settled | Phase::Switching => set == ModeSet::Both,
    };
    let no_schema = record.mode == Mode::Production && published.schema == SchemaKnowledge::Undefined && !record.force;
    let note = if no_schema { NOTE_NO_SCHEMA } else { 0 };
    AdmissionState::new(ModeSet::ALL.map(open), note, generation)
}

/// One worker's access to the gate. Not `Send`: its counts have one writer.
#[derive(Clone, Debug)]
pub struct WorkerGate(Rc<WorkerGateInner>);

#[derive(Debug)]
struct WorkerGateInner {
    gate: Arc<Gate>,
    index: usize,
    table: RefCell<Rc<TableRef>>,
}

/// A worker's reference to a table, counted without atomics.
#[derive(Debug)]
pub struct TableRef {
    live: Arc<LiveTable>,
    worker: usize,
}

impl TableRef {
    pub(crate) fn table(&self) -> &RouteTable {
        self.live.table()
    }

    pub(crate) fn generation(&self) -> u32 {
        self.live.generation()
    }
}

impl WorkerGate {
    /// The table in force, for the classification of a request. One atomic load unless it was replaced since the last call;
    /// [`Refused::OldTable`] reports a replacement after this call.
    pub fn table(&self) -> Rc<TableRef> {
        let in_force = self.0.gate.counter.state().generation();
        let current = self.0.table.borrow();
        if current.generation() == in_force {
            return Rc::clone(&current);
        }
        drop(current);
        self.renew_table()
    }

    /// Requests admission for a request that `table` classified as `route` (`None`: unmatched, forwarded as a class), and
    /// counts it if it is admitted.
    pub fn enter(&self, table: &Rc<TableRef>, route: Option<RouteIndex>) -> Result<Permit, Refused> {
        self.enter_if(table, route, AdmissionState::admits)
    }

    /// The same for a request that may pass either mode, but no flip and no close.
    pub(crate) fn enter_past_mode(&self, table: &Rc<TableRef>, route: Option<RouteIndex>) -> Result<Permit, Refused> {
        let is_settled = |state: AdmissionState| {
            [Mode::Production, Mode::Maintenance].map(ModeSet::only).iter().any(|set| state.admits(set.index()))
        };
        self.enter_if(table, route, |state, _| is_settled(state))
    }

    #[inline]
    fn enter_if(
        &self,
        table: &Rc<TableRef>,
        route: Option<RouteIndex>,
        admits: impl Fn(AdmissionState, usize) -> bool,
    ) -> Result<Permit, Refused> {
        let worker = &*self.0;
        let slot = table.live.slot(route);
        let (set, needs_schema) = table.live.admission(slot);
        loop {
            table.live.count_in(worker.index, slot);
            let state = worker.gate.counter.enter(worker.index, set.index());
            let schema_refuses = needs_schema && state.note() & NOTE_NO_SCHEMA != 0;
            if admits(state, set.index()) && state.generation() == table.live.generation() && !schema_refuses {
                table.live.count_admitted(worker.index, slot);
                return Ok(Permit { worker: Rc::clone(&self.0), table: Rc::clone(table), slot, set });
            }
            worker.gate.counter.leave(worker.index, set.index());
            table.live.count_out(worker.index, slot);
            if state.generation() != table.live.generation() {
                return Err(Refused::OldTable);
            }
            let published = worker.gate.published.load_full();
            // A publication between the two reads: the record may not match the admission state. Try again.
            if state_of(&published, state.generation()) != state {
                std::hint::spin_loop();
                continue;
            }
            table.live.count_refused(worker.index, slot);
            let refused = if admits(state, set.index()) { Refused::NoSchema } else { Refused::Mode };
            return Err(refused(published));
        }
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.0.gate.published()
    }

    pub(crate) fn watch_cuts(&self) -> watch::Receiver<Option<Mode>> {
        self.0.gate.watch_cuts()
    }

    /// Reports the requests of this worker that run for long, for people who look; it is no part of a drain.
    pub(crate) fn note_long_running(&self, running: LongRunning) {
        *self.0.gate.long_running[self.0.index].lock().unwrap_or_else(PoisonError::into_inner) = running;
    }

    #[cold]
    fn renew_table(&self) -> Rc<TableRef> {
        // A table is stored before the state that names it, so this is the state's table or a newer one.
        let current = Rc::new(TableRef { live: self.0.gate.table.load_full(), worker: self.0.index });
        self.0.table.replace(Rc::clone(&current));
        current
    }
}

/// Proof of admission, held until the exchange with UCS is over. Dropping it ends the count of the request.
#[derive(Debug)]
pub struct Permit {
    worker: Rc<WorkerGateInner>,
    table: Rc<TableRef>,
    slot: usize,
    set: ModeSet,
}

impl Permit {
    /// Whether a cut of `mode` aborts this request. A cut aborts all requests of replaced tables, as the drain waits for all
    /// of them.
    pub(crate) fn is_cut_by(&self, mode: Mode) -> bool {
        self.set == ModeSet::only(mode) || self.is_of_old_table()
    }

    pub(crate) fn operation(&self) -> Arc<str> {
        self.table.live.operation(self.slot)
    }

    /// Ends the count of the request as abandoned: the gateway gave up on it, and UCS may still be working on it.
    pub(crate) fn abandon(self) {
        self.table.live.count_abandoned(self.table.worker, self.slot);
        // Before the count goes down, so that a drain that reads zero also reads this time.
        let times = &self.worker.gate.abandoned;
        let now = u64::try_from(times.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        times.last[self.set.index()].fetch_max(now, Ordering::AcqRel);
        // The counterpart is in `replace_table`: either it sees this time, or the table is seen as replaced here.
        fence(Ordering::SeqCst);
        // The table in force may put requests of a replaced table in another set: they get their grace period in every set.
        if self.is_of_old_table() {
            for last in &times.last {
                last.fetch_max(now, Ordering::AcqRel);
            }
        }
    }

    fn is_of_old_table(&self) -> bool {
        self.table.live.generation() != self.worker.gate.counter.state().generation()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.table.live.count_out(self.worker.index, self.slot);
        self.worker.gate.counter.leave(self.worker.index, self.set.index());
    }
}
