//! A member without a gateway: the protocol's own step function, driven over a real store, before a UCS that is a list of
//! operations. What control does with sockets and disks is simulated; what the store does is not.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::control::fleet::keys::{Marked, hex_id};
use crate::control::fleet::ops::{self, Identity, NextWrite, Sight};
use crate::control::fleet::roster_hints::RosterHints;
use crate::control::slot::Slot;
use crate::control::store::etcd::EtcdStore;
use crate::policy::fleet::{Effect, End, Event, Id, Member, Memory, Op, OpEnd, Record, Tried};
use crate::policy::flip::{Applied, Failure, RecordKind, Step, Ticket, UpstreamAnswer, Wish};
use crate::policy::mode::{Actor, Change, DrainOutcome, Mode, ModeChange, ModeRecord, OnTimeout, apply};

/// The whole limit of a flip.
pub(super) const LIMIT: Duration = Duration::from_secs(8);

/// What a killed member left may run for so long.
pub(super) const GRACE: Duration = Duration::from_millis(200);

/// The wait before a failed operation is repeated.
const AGAIN: Duration = Duration::from_millis(100);

/// A member that did not begin a flip may end it after so long, and a random part of this again.
const TURN: Duration = Duration::from_secs(1);

/// What really happened, by one clock.
#[derive(Default)]
pub(super) struct Truth {
    /// When a settled record was first known anywhere.
    settled: Mutex<BTreeMap<u64, (Mode, Instant)>>,
    /// When a switching record of this revision was first made: before it was in the store.
    switching: Mutex<BTreeMap<u64, Instant>>,
    operations: Mutex<Vec<(Mode, Instant, Instant)>>,
}

impl Truth {
    fn knows(&self, record: &Record) {
        let mut settled = self.settled.lock().unwrap();
        let known = settled.entry(record.brief.revision).or_insert((record.brief.mode, Instant::now()));
        assert_eq!(known.0, record.brief.mode, "one revision names two records");
    }

    /// Operations that ran in a settled mode that forbids them, the number of operations, and of settled records.
    pub fn overlaps(&self) -> (usize, usize, usize) {
        let (settled, switching) = (self.settled.lock().unwrap(), self.switching.lock().unwrap());
        let operations = self.operations.lock().unwrap();
        let mut overlaps = 0;
        for (revision, (mode, begins)) in settled.iter() {
            let ends = switching.range(revision + 1..).next().map(|(_, made)| *made);
            let is_overlap = |(own, started, ended): &&(Mode, Instant, Instant)| {
                own != mode && *ended > *begins && ends.is_none_or(|ends| *begins < ends && *started < ends)
            };
            overlaps += operations.iter().filter(is_overlap).count();
        }
        (overlaps, operations.len(), settled.len())
    }
}

/// What the gateway of a member would admit, and what is running.
#[derive(Default)]
pub(super) struct Gate {
    open: Mutex<Option<Mode>>,
    running: Mutex<[u64; 2]>,
    left: tokio::sync::Notify,
}

impl Gate {
    fn running(&self, mode: Mode) -> u64 {
        self.running.lock().unwrap()[usize::from(mode == Mode::Maintenance)]
    }

    /// One operation, if it is admitted: counted first, and then compared with the mode.
    pub async fn operate(&self, mode: Mode, time: Duration, truth: &Truth) {
        let index = usize::from(mode == Mode::Maintenance);
        self.running.lock().unwrap()[index] += 1;
        if *self.open.lock().unwrap() == Some(mode) {
            let started = Instant::now();
            tokio::time::sleep(time).await;
            truth.operations.lock().unwrap().push((mode, started, Instant::now()));
        }
        self.running.lock().unwrap()[index] -= 1;
        self.left.notify_waiters();
    }

    async fn drained(self: Arc<Self>, mode: Mode, not_before: Option<Instant>) {
        if let Some(until) = not_before {
            tokio::time::sleep_until(until.into()).await;
        }
        loop {
            let left = self.left.notified();
            if self.running(mode) == 0 {
                return;
            }
            let _ = tokio::time::timeout(AGAIN, left).await;
        }
    }
}

/// How a request ended, and the record in force then.
type Reply = oneshot::Sender<(End, Option<Record>)>;

enum Command {
    Ask(Mode, Reply),
    Stop,
}

/// The handle of a running member.
pub(super) struct Simulated {
    pub gate: Arc<Gate>,
    pub disk: Arc<Mutex<Memory>>,
    /// The record in force here.
    pub shown: watch::Receiver<Option<Record>>,
    commands: mpsc::UnboundedSender<Command>,
    task: JoinHandle<()>,
}

impl Simulated {
    pub fn start(node: String, store: EtcdStore, disk: Arc<Mutex<Memory>>, truth: Arc<Truth>) -> Simulated {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (sender, shown) = watch::channel(None);
        let gate = Arc::<Gate>::default();
        let driver = Driver {
            identity: Identity { node, version: "simulated".to_owned(), table: "none".to_owned() },
            member: Member::new(*disk.lock().unwrap(), true, id()),
            mode_hints: store.hints_of_mode(),
            roster_hints: None,
            store,
            gate: Arc::clone(&gate),
            disk: Arc::clone(&disk),
            truth,
            shown: sender,
            inbox,
            asked: HashMap::new(),
            next_ticket: 1,
            sight: None,
            made: None,
            op: Slot::empty(),
            work: Slot::empty(),
            grace_until: None,
            turn_at: None,
            overdue_at: None,
            again_at: None,
            has_left: false,
        };
        Simulated { gate, disk, shown, commands, task: tokio::spawn(driver.run()) }
    }

    /// Asks for a mode: how it ended, and the record in force then. Nothing, if it is killed before.
    pub async fn ask(&self, mode: Mode) -> Option<(End, Option<Record>)> {
        self.begin_ask(mode).await.ok()
    }

    pub fn begin_ask(&self, mode: Mode) -> oneshot::Receiver<(End, Option<Record>)> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.commands.send(Command::Ask(mode, sender));
        receiver
    }

    /// As SIGKILL: nothing more is written, and what was admitted goes on at UCS.
    pub fn kill(self) -> Arc<Mutex<Memory>> {
        self.task.abort();
        *self.gate.open.lock().unwrap() = None;
        self.disk
    }

    /// As SIGTERM: it leaves.
    pub async fn leave(self) -> Arc<Mutex<Memory>> {
        let _ = self.commands.send(Command::Stop);
        let _ = self.task.await;
        self.disk
    }
}

struct Driver {
    identity: Identity,
    member: Member,
    store: EtcdStore,
    mode_hints: watch::Receiver<u64>,
    /// While this member may end a flip.
    roster_hints: Option<RosterHints>,
    gate: Arc<Gate>,
    disk: Arc<Mutex<Memory>>,
    truth: Arc<Truth>,
    shown: watch::Sender<Option<Record>>,
    inbox: mpsc::UnboundedReceiver<Command>,
    asked: HashMap<Ticket, (Mode, Reply)>,
    next_ticket: Ticket,
    sight: Option<Sight>,
    /// The last record that was made, for its repetition.
    made: Option<(Record, NextWrite)>,
    /// The operation under way.
    op: Slot<(Op, OpEnd, Option<Sight>)>,
    work: Slot<Event>,
    grace_until: Option<Instant>,
    turn_at: Option<Instant>,
    overdue_at: Option<Instant>,
    again_at: Option<Instant>,
    has_left: bool,
}

impl Driver {
    async fn run(mut self) {
        self.feed(Event::Resync);
        while !self.has_left {
            let event = tokio::select! {
                biased;
                (op, end, sight) = self.op.end() => self.ended(op, end, sight),
                command = self.inbox.recv() => match command {
                    Some(Command::Ask(mode, reply)) => self.asked(mode, reply),
                    Some(Command::Stop) => self.stop().await,
                    None => return,
                },
                event = self.work.end() => event,
                () = at(self.turn_at) => {
                    self.turn_at = None;
                    self.watch_roster();
                    Event::Turn
                }
                () = at(self.overdue_at) => {
                    self.overdue_at = None;
                    Event::Overdue
                }
                () = at(self.again_at) => {
                    self.again_at = None;
                    Event::Resync
                }
                _ = self.mode_hints.changed() => Event::Resync,
                () = due(&mut self.roster_hints) => Event::Resync,
            };
            self.feed(event);
        }
    }

    fn asked(&mut self, mode: Mode, reply: Reply) -> Event {
        self.next_ticket += 1;
        self.asked.insert(self.next_ticket, (mode, reply));
        Event::Asked(self.next_ticket)
    }

    async fn stop(&mut self) -> Event {
        self.feed(Event::Stop);
        Event::Emptied
    }

    fn ended(&mut self, op: Op, end: OpEnd, sight: Option<Sight>) -> Event {
        if matches!(end, OpEnd::NotDone | OpEnd::Unknown) {
            self.again_at = Some(Instant::now() + AGAIN);
        }
        if let Some(sight) = sight {
            self.roster_hints.iter_mut().for_each(|hints| hints.read(&sight.view));
            self.sight = Some(sight);
        }
        if let (Op::Save { .. }, OpEnd::Done(token), Some((_, write)), Some(sight)) =
            (op, &end, &self.made, &mut self.sight)
        {
            sight.contents.mode = Some(Marked { value: write.record.clone(), token: *token });
            sight.contents.forgotten.clear();
        }
        Event::OpEnded(end)
    }

    fn feed(&mut self, event: Event) {
        for effect in self.member.step(event, &mut id) {
            self.apply(effect);
        }
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Show(shown) => {
                let is_switching = shown.record.brief.switching;
                let open = (shown.closed.is_none() && !is_switching).then_some(shown.record.brief.mode);
                *self.gate.open.lock().unwrap() = open;
                if is_switching {
                    let jitter = TURN.mul_f64(f64::from(getrandom::u32().unwrap()) / f64::from(u32::MAX));
                    self.turn_at.get_or_insert(Instant::now() + TURN + jitter);
                    self.overdue_at.get_or_insert(Instant::now() + LIMIT);
                } else {
                    (self.turn_at, self.overdue_at, self.roster_hints) = (None, None, None);
                    self.truth.knows(&shown.record);
                }
                self.shown.send_replace(Some(shown.record));
            }
            Effect::Store(op) => self.operate(op),
            Effect::Consider(ticket) => self.consider(ticket),
            Effect::Begin(step) => self.begin(step),
            Effect::Reply(ticket, end) => {
                if let Some((_, reply)) = self.asked.remove(&ticket) {
                    let _ = reply.send((end, *self.shown.borrow()));
                }
            }
            Effect::Crashed => self.grace_until = Some(Instant::now() + GRACE),
            Effect::Remember(memory) => *self.disk.lock().unwrap() = memory,
            Effect::Left => self.has_left = true,
            Effect::SetUpstreamBack(_) => {}
            Effect::Refused => panic!("{} belongs to another directory", self.identity.node),
        }
    }

    /// The change of a requester, compared with the record that was read.
    fn consider(&mut self, ticket: Ticket) {
        let (Some((mode, _)), Some(sight)) = (self.asked.get(&ticket), &self.sight) else { return };
        let record = sight.view.record.brief;
        let applied = if record.switching || record.mode == *mode { Applied::Same } else { Applied::Flip };
        let wish = Wish {
            ticket,
            mode: *mode,
            requested: true,
            applied,
            on_timeout: OnTimeout::Revert,
            force: false,
            lacks_schema: false,
        };
        self.feed(Event::Requested(wish));
    }

    fn begin(&mut self, step: Step) {
        let (gate, grace) = (Arc::clone(&self.gate), self.grace_until);
        let leaving = (*self.shown.borrow()).map_or(Mode::Production, |record| record.brief.mode.other());
        match step {
            Step::Look => self.work.begin(async { Event::Looked { undefined: false } }),
            Step::Upstream => self.work.begin(async { Event::UpstreamAnswered(UpstreamAnswer::InStep) }),
            Step::Grace => self.work.begin(async move {
                Arc::clone(&gate).drained(Mode::Production, grace).await;
                gate.drained(Mode::Maintenance, grace).await;
                Event::GraceOver
            }),
            _ => self.work.begin(async move {
                gate.drained(leaving, grace).await;
                Event::Drained { complete: true, assumed: false }
            }),
        }
    }

    fn operate(&mut self, op: Op) {
        let (store, identity) = (self.store.clone(), self.identity.clone());
        match op {
            Op::Read { journal, roster } => {
                if let Some(hints) = self.roster_hints.as_mut().filter(|_| roster) {
                    hints.read_begins();
                }
                self.op.begin(async move {
                    match ops::read(&store, &identity.node, journal, roster).await {
                        Ok(sight) => (op, OpEnd::Read(sight.view.clone()), Some(sight)),
                        Err(_) => (op, OpEnd::NotDone, None),
                    }
                });
            }
            Op::Save { tried, own, .. } => match self.write_of(&tried) {
                Some(write) => {
                    self.op.begin(async move { (op, ops::save(&store, &identity.node, &write, own).await, None) })
                }
                None => self.op.begin(async move { (op, OpEnd::Conflict, None) }),
            },
            Op::PutEntry { entry, token } => self
                .op
                .begin(async move { (op, ops::put_entry(&store, &identity, (entry, token), Vec::new()).await, None) }),
            Op::DeleteEntry { token } => {
                self.op.begin(async move { (op, ops::delete_entry(&store, &identity.node, token).await, None) });
            }
        }
    }

    fn watch_roster(&mut self) {
        self.roster_hints.get_or_insert_with(|| RosterHints::new(self.store.hints_of_roster()));
    }

    /// The write of a record: made once, and repeated as it was.
    fn write_of(&mut self, tried: &Tried) -> Option<NextWrite> {
        if let Some((record, write)) = self.made.as_ref().filter(|(record, _)| record.is(&tried.record)) {
            debug_assert_eq!(record, &tried.record);
            return Some(write.clone());
        }
        let sight = self.sight.as_ref()?;
        let before = sight.contents.mode.as_ref().filter(|mode| mode.token == tried.token)?;
        let next = self.next(&before.value, tried)?;
        assert_eq!(ops::record_of(&next).brief, tried.record.brief, "the protocol and the rule of records agree");
        if tried.record.brief.switching {
            let mut switching = self.truth.switching.lock().unwrap();
            switching.entry(tried.record.brief.revision).or_insert_with(Instant::now);
        }
        let write = ops::following(sight, next).ok()?;
        self.made = Some((tried.record, write.clone()));
        if tried.record.brief.switching {
            self.watch_roster();
        }
        Some(write)
    }

    fn next(&self, before: &ModeRecord, tried: &Tried) -> Option<ModeRecord> {
        let revert = |cause: &str| Change::Revert { cause: cause.to_owned(), actor: Actor::gateway() };
        let change = match tried.next.kind {
            RecordKind::Settled(drain) => Change::Settle {
                drain: if drain == DrainOutcome::Complete { DrainOutcome::Complete } else { DrainOutcome::Assumed },
                abandoned: Vec::new(),
            },
            RecordKind::Cancelled(_) => revert("cancelled"),
            RecordKind::Reverted(Failure::MemberMissing) => revert("member_missing"),
            RecordKind::Reverted(_) => revert("drain_timeout"),
            RecordKind::Requested(_) => Change::Set(ModeChange::to(tried.record.brief.mode, Actor::gateway())),
            RecordKind::Same => return None,
        };
        let next = apply(before, &change, Timestamp::now()).ok()?;
        Some(ModeRecord { attempt: Some(hex_id(tried.record.attempt)), ..next })
    }
}

fn id() -> Id {
    let part = || Id::from(getrandom::u64().unwrap());
    part() << 64 | part()
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

async fn due(hints: &mut Option<RosterHints>) {
    match hints {
        Some(hints) => hints.due().await,
        None => std::future::pending().await,
    }
}
