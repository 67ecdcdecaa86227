//! Performs the effects of a member's step function, and feeds it what happens: as `flip` does for a gateway alone. Nothing
//! here waits, and nothing here decides what follows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::control::Control;
use crate::control::drain::{Drain, unfinished};
use crate::control::fleet::membership::{Ended, News, new_id};
use crate::control::fleet::memory;
use crate::control::fleet::timers::Tick;
use crate::control::protocol::Protocol;
use crate::control::store::Fact;
use crate::control::work::WorkEnd;
use crate::control_handle::FlipReport;
use crate::policy::fleet::{Closed, Effect, End, Entry, Event, Op, Shown, Word};
use crate::policy::flip::{self, Outcome, RecordKind, Ticket};
use crate::policy::mode::{Mode, ModeRecord, Phase};

/// How long a stop waits for the store, beyond the graces.
const LEAVING: Duration = Duration::from_secs(5);

/// A shorter silence of the store is not an alarm.
const ALARMING: Duration = Duration::from_secs(3);

impl Control {
    /// The first operation of a member.
    pub(super) fn join(&mut self) {
        if self.protocol.is_fleet() {
            self.feed_fleet(Event::Narrowed(self.word_of_local_close()));
            self.feed_fleet(Event::Resync);
        }
    }

    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::OpEnded(ended) => self.on_op_ended(*ended),
            News::Tick(Tick::Turn) => {
                self.protocol.fleet().into_iter().for_each(|fleet| fleet.watch_roster());
                self.feed_fleet(Event::Turn);
            }
            News::Tick(Tick::Overdue) => self.feed_fleet(Event::Overdue),
            News::Tick(Tick::Resync) => self.feed_fleet(Event::Resync),
            News::Tick(Tick::StoreLost) => self.feed_fleet(Event::StoreLost),
            News::Tick(Tick::Fence) => {
                warn!("the store has not confirmed this member for too long: single modes close");
                self.feed_fleet(Event::Fence);
            }
            News::Tick(Tick::GiveUp) => {
                warn!(
                    "the store does not respond: this member stays in the roster, and its next start counts as one after a crash"
                );
                self.protocol.fleet().into_iter().for_each(|fleet| fleet.has_given_up = true);
            }
        }
    }

    fn on_op_ended(&mut self, ended: Ended) {
        let Some(fleet) = self.protocol.fleet() else { return };
        let (end, sent) = fleet.end_of(ended);
        if fleet.timers.silence() > Duration::ZERO
            && let Some(fault) = fleet.fault()
        {
            tracing::debug!(fault, "the store does not respond");
        }
        self.feed_fleet(Event::OpEnded(end));
        if let (Some(fleet), Some(sent)) = (self.protocol.fleet(), sent) {
            fleet.judged(sent);
        }
        self.refresh();
    }

    /// Steps the member, and performs the effects.
    pub(super) fn feed_fleet(&mut self, event: Event) {
        let Some(fleet) = self.protocol.fleet() else { return };
        let (before, was_switching) = (fleet.member.step_under_way(), fleet.member.switching().is_some());
        let effects = fleet.member.step(event, &mut new_id);
        let sets_back = effects.iter().any(|effect| matches!(effect, Effect::SetUpstreamBack(_)));
        let (step, is_switching) = (fleet.member.step_under_way(), fleet.member.switching().is_some());
        if before != step {
            self.leave(before);
        }
        for effect in effects {
            self.perform_for_fleet(effect);
        }
        if was_switching && !is_switching {
            // UCS that has to be set back does not wait for the next usual look at it.
            if !sets_back {
                self.upstream.end_flip();
            }
            self.schema.soon();
        }
    }

    /// An event of the work that a member shares with a gateway alone.
    pub(super) fn feed_work(&mut self, event: flip::Event) {
        let event = match event {
            flip::Event::Looked { undefined } => Event::Looked { undefined },
            flip::Event::Drained { complete } => Event::Drained { complete, assumed: self.has_given_up_requests() },
            flip::Event::UpstreamAnswered(answer) => Event::UpstreamAnswered(answer),
            flip::Event::GraceOver => Event::GraceOver,
            flip::Event::Stop => Event::Stop,
            flip::Event::Requested(_) | flip::Event::SaveEnded { .. } | flip::Event::RetryDue => return,
        };
        self.feed_fleet(event);
    }

    /// Every request has ended: the member waits for its graces, and leaves.
    pub(super) fn on_requests_ended(&mut self) {
        let in_flight = self.in_flight();
        let limit = self.orphan_grace + LEAVING;
        let Some(fleet) = self.protocol.fleet() else { return };
        if in_flight > 0 {
            fleet.has_given_up = true;
            return;
        }
        fleet.timers.gives_up_after(limit);
        self.feed_fleet(Event::Emptied);
    }

    fn perform_for_fleet(&mut self, effect: Effect) {
        match effect {
            Effect::Show(shown) => self.show(shown),
            Effect::Store(op) => self.begin_op(op),
            Effect::Consider(ticket) => {
                if let Some(wish) = self.wish(ticket) {
                    self.feed_fleet(Event::Requested(wish));
                }
            }
            Effect::Begin(step) => self.begin(step),
            Effect::SetUpstreamBack(failure) => self.set_upstream_back(failure),
            Effect::Reply(ticket, end) => self.reply_for_fleet(ticket, end),
            Effect::Crashed => {
                warn!("an earlier process of this member has not left: what it left at UCS has its grace");
                let until = if self.in_force.is_known() { Instant::now() } else { self.started } + self.orphan_grace;
                self.orphans_until = Some(self.orphans_until.map_or(until, |other| other.max(until)));
            }
            Effect::Refused => error!("{}", self.words_of_refusal()),
            Effect::Remember(memory) => drop(self.local_writes.write(Fact::Fleet(memory::text_of(&memory)))),
            Effect::Left => info!("left the fleet"),
        }
    }

    /// Puts the record of a read or of a confirmed write in force.
    fn show(&mut self, shown: Shown) {
        let Some(fleet) = self.protocol.fleet() else { return };
        let revision = shown.record.brief.revision;
        let known = self.in_force.is_known() && self.in_force.record().revision == revision;
        match fleet.known(&shown.record).cloned() {
            Some(record) if !known => {
                if record.phase == Phase::Switching {
                    self.flip.switching = Some(record.clone());
                }
                self.in_force.adopt(record);
            }
            _ if known => {}
            _ => {
                error!(revision, "a record that is in force was not read: everything closes");
                self.in_force.forget();
            }
        }
        let record = Arc::clone(self.in_force.record());
        if record.phase == Phase::Switching {
            let limit = record.deadline.map_or(Duration::ZERO, |end| end.duration_since(record.since).unsigned_abs());
            fleet.timers.flips(revision, limit);
        } else {
            fleet.is_settled();
        }
        info!(revision, mode = %record.mode, phase = ?record.phase, closed = shown.closed.map(Closed::as_str), "record shown");
        self.in_force.close(shown.closed);
        self.is_in_force();
    }

    fn begin_op(&mut self, op: Op) {
        let next = match op {
            Op::Save { tried, again: false, .. } => {
                if let (RecordKind::Settled(_), Some(began)) = (tried.next.kind, self.flip.drain_began) {
                    // The drain of the fleet lasts until every member has acknowledged.
                    self.flip.report.drain_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                }
                self.record_of_fleet(&tried)
            }
            _ => None,
        };
        let left = match op {
            Op::PutEntry { entry: Entry { ack: Some(ack), .. }, .. } => unfinished(ack.drain, &self.flip.report),
            _ => Vec::new(),
        };
        let Some(fleet) = self.protocol.fleet() else { return };
        match op {
            Op::Read { journal, roster } => fleet.read(journal, roster),
            Op::Save { tried, own, .. } => {
                if tried.record.brief.switching {
                    fleet.watch_roster();
                }
                fleet.save(op, &tried, own, next);
            }
            Op::PutEntry { entry, token } => fleet.put_entry(op, (entry, token), left),
            Op::DeleteEntry { token } => fleet.delete_entry(op, token),
        }
    }

    fn reply_for_fleet(&mut self, ticket: Ticket, end: End) {
        let ended = match end {
            End::Of(outcome) => self.ended(outcome),
            End::Journalled(outcome, revision) => match self.journalled(revision) {
                // The drain was that of the member that ended the flip.
                Some(record) => self.ended_with(outcome, record, FlipReport::default()),
                None => Err(self.store_unavailable()),
            },
            End::StoreUnavailable => Err(self.store_unavailable()),
        };
        let (ends_a_flip, revision) = match end {
            End::Of(Outcome::Settled | Outcome::Restored | Outcome::Failed(_)) => (true, self.record().revision),
            End::Journalled(_, revision) => (true, revision),
            End::Of(_) | End::StoreUnavailable => (false, 0),
        };
        // One flip counts once, however many requests joined or cancelled it.
        let counts = !ends_a_flip || self.counted != revision;
        if ends_a_flip {
            self.counted = revision;
        }
        self.reply_with(ticket, ended, counts);
    }

    /// The record of an earlier revision, if the last read has shown it.
    fn journalled(&self, revision: u64) -> Option<Arc<ModeRecord>> {
        let Protocol::Fleet(fleet) = &self.protocol else { return None };
        let journal = fleet.sight()?.journal.as_ref();
        journal.filter(|record| record.revision == revision).cloned().map(Arc::new)
    }

    /// Narrows this member, or ends that, without a change of the fleet's record.
    pub(super) fn narrow(&mut self, word: Option<Word>) {
        let Some(fleet) = self.protocol.fleet() else { return };
        if fleet.member.narrowed() != word {
            warn!(?word, "what this member can serve has changed");
            self.feed_fleet(Event::Narrowed(word));
            self.publish();
        }
    }

    /// UCS takes the mode of the fleet: nothing but an operator closes this member.
    pub(super) fn widen(&mut self) {
        let word = self.word_of_local_close();
        if self.protocol.fleet().is_some_and(|fleet| fleet.is_narrowed_by_upstream()) {
            self.narrow(word);
        }
    }

    /// The local close has changed.
    pub(super) fn note_local_close(&mut self) {
        let word = self.word_of_local_close();
        if self.protocol.fleet().is_some_and(|fleet| !fleet.is_narrowed_by_upstream()) {
            self.narrow(word);
        }
    }

    fn word_of_local_close(&self) -> Option<Word> {
        self.local.log.in_force().map(|_| Word::LocalClose)
    }

    /// Whether a drain that is over has waited for abandoned requests.
    fn has_given_up_requests(&self) -> bool {
        self.orphans_until.is_some() || !self.given_up(self.record().mode.other()).is_empty()
    }

    /// The graces of both modes, before a member leaves.
    pub(super) fn begin_grace_of_leaving(&mut self) {
        let drains = Mode::ALL.map(|mode| self.drain_of(mode));
        self.work.begin(async move {
            for drain in drains {
                Drain::over(&drain).await;
            }
            WorkEnd::GraceOver
        });
    }

    /// The alarms of the fleet.
    pub(super) fn alarm_of_fleet(&self) -> Option<String> {
        let Protocol::Fleet(fleet) = &self.protocol else { return None };
        let closed = fleet.member.shown().and_then(|shown| shown.closed);
        let fault = fleet.fault().unwrap_or("no response in time");
        match closed {
            _ if fleet.member.is_refused() => Some(self.words_of_refusal()),
            Some(Closed::AnotherStore) => Some(format!(
                "another_store: the store is another one, or an older copy, of this fleet; nothing of a single mode is \
                 admitted until `ucs-gateway fleet init` ({})",
                fleet.fault().unwrap_or("its record is not the one that this member has seen")
            )),
            Some(Closed::Fenced) => Some(format!("fenced: the store has not confirmed this member ({fault})")),
            _ if fleet.timers.silence() >= ALARMING => Some(format!("store_unavailable: {fault}")),
            _ if fleet.member.shown().is_none() && fleet.fault().is_some() => {
                Some(format!("store_unavailable: {fault}"))
            }
            Some(Closed::Behind) => {
                Some("upstream_behind: UCS does not take production; this member is closed".to_owned())
            }
            Some(Closed::NoSchema) => {
                Some("no_profile_schema: UCS has no profile schema; this member is closed".to_owned())
            }
            _ => None,
        }
    }

    /// Why a change cannot be made here, if that is not for a store that has fallen silent.
    pub(super) fn why_not_in_fleet(&self) -> Option<String> {
        let Protocol::Fleet(fleet) = &self.protocol else { return None };
        let unread = "its store has not been read since it started";
        match fleet.fault() {
            _ if fleet.member.is_refused() => Some(self.words_of_refusal()),
            _ if fleet.member.is_in() => None,
            fault if !self.in_force.is_known() => Some(fault.unwrap_or(unread).to_owned()),
            _ => self.alarm_of_fleet(),
        }
    }

    fn words_of_refusal(&self) -> String {
        let Protocol::Fleet(fleet) = &self.protocol else { return String::new() };
        let node = fleet.node();
        format!(
            "the name {node} belongs to another state directory: start this gateway with a --node of its own, or, if the \
             process that had the name is gone for good, run `ucs-gateway fleet forget {node} --stopped`"
        )
    }
}
