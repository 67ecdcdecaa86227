//! A running member: the protocol's state, the operation on the store that is under way, the last read, and the clock. It
//! performs no effect on the gateway; `control::fleet_steps` does.

use std::time::Duration;

use tokio::sync::watch;

use super::keys::{Marked, random_id};
use super::ops::{self, Identity, NextWrite, ReadFault, Sight};
use super::roster_hints::RosterHints;
use super::sight::{FleetLink, FleetSight};
use super::timers::{Tick, Timers, boottime};
use crate::control::slot::Slot;
use crate::control::store::etcd::EtcdStore;
use crate::policy::fleet::{Entry, Id, Member, Memory, Op, OpEnd, Record, Tried, View, Word};
use crate::policy::mode::{ModeRecord, OperationCount};

/// The settings of a member.
#[derive(Clone, Debug)]
pub(crate) struct FleetSettings {
    pub store: EtcdStore,
    /// The name of this member.
    pub node: String,
    /// After how long without the store single modes close; `None`: they stay as they are.
    pub fence_after: Option<Duration>,
}

/// An event of a member.
pub(crate) enum News {
    OpEnded(Box<Ended>),
    Tick(Tick),
}

pub(crate) struct Ended {
    op: Op,
    end: Result<OpEnd, ReadFault>,
    sight: Option<Sight>,
    /// When it was sent, by the clock of the fence.
    sent: Duration,
}

pub(crate) struct Membership {
    pub member: Member,
    pub timers: Timers,
    store: EtcdStore,
    node: String,
    op: Slot<Ended>,
    /// The last read, with the writes that were confirmed since.
    sight: Option<Sight>,
    /// The last record that was made, for its repetition.
    made: Option<(Record, NextWrite)>,
    /// Why the last read failed.
    fault: Option<String>,
    mode_hints: watch::Receiver<u64>,
    /// While this member may end a flip.
    roster_hints: Option<RosterHints>,
    shown: watch::Sender<FleetSight>,
    /// The fingerprint of the route table in force.
    routes: watch::Sender<String>,
    /// It has stopped trying to leave.
    pub has_given_up: bool,
}

impl Membership {
    pub(crate) fn new(settings: FleetSettings, routes: String, memory: Memory, is_clean: bool) -> Membership {
        let FleetSettings { store, node, fence_after } = settings;
        Membership {
            member: Member::new(memory, is_clean, new_id()),
            timers: Timers::new(fence_after),
            mode_hints: store.hints_of_mode(),
            roster_hints: None,
            store,
            node,
            op: Slot::empty(),
            sight: None,
            made: None,
            fault: None,
            shown: watch::Sender::default(),
            routes: watch::Sender::new(routes),
            has_given_up: false,
        }
    }

    pub(crate) fn link(&self) -> FleetLink {
        let (sight, routes) = (self.shown.subscribe(), self.routes.subscribe());
        FleetLink { node: self.node.clone(), store: self.store.clone(), sight, routes }
    }

    /// Another route table is in force.
    pub(crate) fn set_routes(&self, fingerprint: String) {
        self.routes.send_replace(fingerprint);
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The next event. Cancel safe.
    pub(crate) async fn next(&mut self, awaited: bool) -> News {
        tokio::select! {
            biased;
            ended = self.op.end() => News::OpEnded(Box::new(ended)),
            tick = self.timers.next(awaited) => News::Tick(tick),
            _ = self.mode_hints.changed() => News::Tick(Tick::Resync),
            () = due(&mut self.roster_hints) => News::Tick(Tick::Resync),
        }
    }

    /// From now on every change of the roster matters.
    pub(crate) fn watch_roster(&mut self) {
        self.roster_hints.get_or_insert_with(|| RosterHints::new(self.store.hints_of_roster()));
    }

    pub(crate) fn is_settled(&mut self) {
        self.timers.is_settled();
        self.roster_hints = None;
    }

    /// The record that the protocol means, as far as it was read.
    pub(crate) fn known(&self, record: &Record) -> Option<&ModeRecord> {
        let mode = self.sight.as_ref()?.contents.mode.as_ref()?;
        ops::record_of(&mode.value).is(record).then_some(&mode.value)
    }

    pub(crate) fn sight(&self) -> Option<&Sight> {
        self.sight.as_ref()
    }

    /// The record that `tried` follows.
    pub(crate) fn before(&self, tried: &Tried) -> Option<&ModeRecord> {
        let mode = self.sight.as_ref()?.contents.mode.as_ref()?;
        (mode.token == tried.token).then_some(&mode.value)
    }

    /// Why the store does not respond, or not as the store of this fleet.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(crate) fn read(&mut self, journal: Option<u64>, roster: bool) {
        let (store, node) = (self.store.clone(), self.node.clone());
        let op = Op::Read { journal, roster };
        if let Some(hints) = self.roster_hints.as_mut().filter(|_| roster) {
            hints.read_begins();
        }
        self.begin(op, async move {
            match ops::read(&store, &node, journal, roster).await {
                Ok(sight) => (Ok(OpEnd::Read(sight.view.clone())), Some(sight)),
                Err(fault) => (Err(fault), None),
            }
        });
    }

    /// Writes a record that was made before, or `next`.
    pub(crate) fn save(&mut self, op: Op, tried: &Tried, own: i64, next: Option<ModeRecord>) {
        if let Some(next) = next {
            let write = self.sight.as_ref().and_then(|sight| ops::following(sight, next).ok());
            self.made = write.map(|write| (tried.record, write));
        }
        let made = self.made.as_ref().filter(|(record, _)| record.is(&tried.record));
        let Some((_, write)) = made.cloned() else {
            // Nothing was sent.
            return self.begin(op, async { (Ok(OpEnd::NotDone), None) });
        };
        let (store, node) = (self.store.clone(), self.node.clone());
        self.begin(op, async move { (Ok(ops::save(&store, &node, &write, own).await), None) });
    }

    pub(crate) fn put_entry(&mut self, op: Op, entry: (Entry, i64), left: Vec<OperationCount>) {
        let table = self.routes.borrow().clone();
        let identity = Identity { node: self.node.clone(), version: env!("CARGO_PKG_VERSION").to_owned(), table };
        let store = self.store.clone();
        self.begin(op, async move { (Ok(ops::put_entry(&store, &identity, entry, left).await), None) });
    }

    pub(crate) fn delete_entry(&mut self, op: Op, token: i64) {
        let (store, node) = (self.store.clone(), self.node.clone());
        self.begin(op, async move {
            let end = ops::delete_entry(&store, &node, token).await;
            if matches!(end, OpEnd::Done(_)) {
                store.end_alive().await;
            }
            (Ok(end), None)
        });
    }

    fn begin(
        &mut self,
        op: Op,
        work: impl Future<Output = (Result<OpEnd, ReadFault>, Option<Sight>)> + Send + 'static,
    ) {
        self.timers.begins();
        let sent = boottime();
        self.op.begin(async move {
            let (end, sight) = work.await;
            Ended { op, end, sight, sent }
        });
    }

    /// The end of an operation as the protocol sees it, and for a read when it was sent.
    pub(crate) fn end_of(&mut self, ended: Ended) -> (OpEnd, Option<Duration>) {
        let Ended { op, end, sight, sent } = ended;
        let end = match end {
            Ok(OpEnd::Read(_)) if self.timers.is_too_old(sent) => OpEnd::NotDone,
            Ok(end) => end,
            Err(fault) => self.end_of_fault(fault),
        };
        match &end {
            OpEnd::NotDone | OpEnd::Unknown => {
                self.timers.failed();
                self.shown.send_if_modified(|shown| std::mem::take(&mut shown.in_touch));
            }
            OpEnd::Read(_) | OpEnd::Done(_) | OpEnd::Conflict => self.timers.responded(),
        }
        if let (Some(sight), OpEnd::Read(_)) = (sight, &end) {
            self.fault = None;
            let shown = FleetSight { rehearsals: sight.contents.rehearsals.clone(), in_touch: true };
            self.shown.send_if_modified(|before| std::mem::replace(before, shown.clone()) != shown);
            if let Some(hints) = &mut self.roster_hints {
                hints.read(&sight.view);
            }
            self.sight = Some(sight);
        }
        if let (Op::Save { .. }, OpEnd::Done(token), Some((_, write)), Some(sight)) =
            (op, &end, &self.made, &mut self.sight)
        {
            sight.contents.mode = Some(Marked { value: write.record.clone(), token: *token });
            sight.contents.forgotten.clear();
        }
        let sent = matches!(end, OpEnd::Read(_)).then_some(sent);
        (end, sent)
    }

    /// Another store shows nothing of this fleet: the result is the last read, in a store that is not at home.
    fn end_of_fault(&mut self, fault: ReadFault) -> OpEnd {
        self.fault = Some(fault.to_string());
        if matches!(fault, ReadFault::OtherCluster(_)) {
            self.look_elsewhere();
        }
        match (fault, &self.sight) {
            (ReadFault::OtherCluster(_) | ReadFault::NoFleet, Some(sight)) => {
                OpEnd::Read(View { is_home: false, ..sight.view.clone() })
            }
            _ => OpEnd::NotDone,
        }
    }

    /// After the protocol has judged a read.
    pub(crate) fn judged(&mut self, sent: Duration) {
        if self.member.is_in() {
            self.timers.seen(sent);
        } else if self.sight.as_ref().is_some_and(|sight| !sight.view.is_home) {
            self.look_elsewhere();
        }
    }

    /// The next read may go to another cluster.
    fn look_elsewhere(&self) {
        let store = self.store.clone();
        tokio::spawn(async move { store.begin_anew().await });
    }

    pub(crate) fn is_narrowed_by_upstream(&self) -> bool {
        matches!(self.member.narrowed(), Some(Word::Behind | Word::NoSchema))
    }
}

/// A random number that is never used again.
pub(crate) fn new_id() -> Id {
    random_id().expect("the system has random numbers")
}

async fn due(hints: &mut Option<RosterHints>) {
    match hints {
        Some(hints) => hints.due().await,
        None => std::future::pending().await,
    }
}
