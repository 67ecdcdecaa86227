//! The only writer of the mode: one loop that handles commands, expiry, the schema probe and UCS's own mode, one event at a
//! time. `policy::mode` decides which record may follow another. Requests of clients are handled in `proxy`.
//!
//! Reading order: this loop, `flip` (the procedure), `reactions` (automatic changes), `start`, and below these the store
//! and the calls to UCS.

mod clerk;
mod drain;
mod expiry;
mod flip;
mod local;
mod options;
mod reactions;
mod reload;
mod start;

mod stats;
pub mod store;
pub(crate) mod ucs;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info};

use crate::control::clerk::Clerk;
use crate::control::drain::AbandonedSoFar;
use crate::control::expiry::ExpiryTrouble;
use crate::control::stats::{add_one, count_change, count_reload};
use crate::control::store::{Store, StoreError};
use crate::control::ucs::client::UpstreamClient;
use crate::control::ucs::schema::{ProbeContext, ProbeResult, SchemaProbe};
use crate::control::ucs::server_mode::{ModeObservation, UpstreamMode};
use crate::control_handle::{ChangeError, Command, FlipReport, Flipped, SchemaHint};
use crate::gate::{Gate, Published};
use crate::policy::mode::{
    self, ActorKind, Change, LocalLog, Mode, ModeRecord, ModeSet, Phase, Refusal, SchemaKnowledge,
};
use crate::telemetry::ControlStats;

pub(crate) use options::{InitialMode, UpstreamModeUse};
pub(crate) use reload::{LoadedRoutes, RouteLoader};
pub use start::StartError;
pub(crate) use start::start;

/// The wait before the first retry of a save; it doubles up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

/// The settings of control. The operator decides each; there are no defaults here.
pub(crate) struct ControlSettings {
    /// Keeps the record.
    pub store: Store,
    /// The mode of the first start.
    pub initial_mode: InitialMode,
    /// The drain timeout of changes that do not set one.
    pub drain_timeout: Duration,
    /// How long UCS may need to finish abandoned and orphaned requests.
    pub orphan_grace: Duration,
    /// The client for the gateway's own calls to UCS.
    pub upstream: UpstreamClient,
    /// Whether the gateway reads and sets UCS's own mode.
    pub upstream_mode: UpstreamModeUse,
    /// The interval between reads of UCS's status.
    pub upstream_poll_interval: Duration,
    /// The timeout of Set Server Mode at UCS, which itself waits up to a minute.
    pub set_mode_timeout: Duration,
    /// The path of the schema probe, relative to the table's base path; `None` turns the probe off.
    pub schema_probe_path: Option<String>,
    /// The interval between probes.
    pub schema_probe_interval: Duration,
    /// Loads the route table for a reload.
    pub load_routes: RouteLoader,
    /// The fingerprint of the gate's first table, if the same loader read it.
    pub routes_fingerprint: Option<String>,
}

/// Control, started and ready to [`run`](Control::run).
pub(crate) struct Control {
    gate: Arc<Gate>,
    clerk: Clerk,
    store: Store,
    /// The record in force.
    record: Arc<ModeRecord>,
    /// The revision in the store; it differs from the record's while a save is retried.
    stored_revision: u64,
    /// The highest revision of any attempted save; a later record is always above it.
    tried_revision: u64,
    schema: SchemaProbe,
    schema_hint: Arc<SchemaHint>,
    upstream: UpstreamMode,
    alarms: Alarms,
    retry: Option<Retry>,
    local: LocalLog,
    drain_timeout: Duration,
    orphan_grace: Duration,
    orphans_until: Option<Instant>,
    /// What had been abandoned when each mode was last left: its next drain names what came since.
    abandoned_before: HashMap<Mode, AbandonedSoFar>,
    expiry_not_before: Instant,
    expiry_trouble: ExpiryTrouble,
    load_routes: RouteLoader,
    routes_fingerprint: Option<String>,
    stats: Arc<ControlStats>,
}

/// Conditions that need an operator, by the event that clears them.
#[derive(Debug, Default)]
struct Alarms {
    /// Found at start; cleared when an operator or client changes the mode.
    start: Option<String>,
    /// The record in force is not saved; cleared by a successful save.
    save: Option<String>,
    /// UCS is not in the gateway's mode or does not report one; cleared when it reports the gateway's mode.
    upstream: Option<String>,
    /// UCS refused production and the gateway followed it; cleared when an operator or client changes the mode.
    followed: Option<String>,
    /// The mode expired but is still in force; cleared when it ends or its expiry is removed.
    expiry: Option<String>,
    /// The local close is not saved; cleared once it is, or has ended.
    local: Option<String>,
    /// A scheduled flip was missed or failed; cleared when an operator or client changes the mode.
    scheduled: Option<String>,
}

/// The next attempt to save the record in force.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// The events of an idle control.
enum Event {
    Stop,
    Command(Command),
    Expired,
    ScheduledDue,
    RetrySave,
    SchemaProbed(ProbeResult),
    SchemaHinted,
    Upstream(ModeObservation),
}

impl Control {
    /// The counters of control.
    pub fn stats(&self) -> Arc<ControlStats> {
        Arc::clone(&self.stats)
    }

    /// Runs until `shutdown` completes. Shut it down after the workers: it writes the clean-shutdown marker only if no
    /// request is in flight and none was abandoned recently.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send + 'static) {
        self.clerk.stop_on(shutdown);
        self.resolve_unsettled().await;
        loop {
            self.remember_upstream().await;
            match self.next_event().await {
                Event::Stop => break,
                Event::Command(Command::SetMode(change, reply)) => {
                    let ended = self.change(&Change::Set(change)).await;
                    // The requester may have disconnected; the change stands.
                    let _ = reply.send(ended);
                }
                Event::Command(Command::SetLocal(change, reply)) => {
                    let _ = reply.send(self.set_local(&change).await);
                }
                Event::Command(Command::Reload(reply)) => {
                    let ended = self.reload().await;
                    count_reload(&self.stats, &ended);
                    let _ = reply.send(ended);
                }
                Event::Expired => self.expire().await,
                Event::ScheduledDue => self.run_scheduled().await,
                Event::RetrySave => self.retry_save().await,
                Event::SchemaProbed(seen) => self.on_schema_probed(seen).await,
                Event::SchemaHinted => self.on_schema_hint(),
                Event::Upstream(observation) => self.on_mode_observation(observation).await,
            }
        }
        self.stop().await;
    }

    async fn next_event(&mut self) -> Event {
        let (base, context) = self.probe_context();
        let revision = self.record.revision;
        let (expires, not_before) = (self.record.expires, self.expiry_not_before);
        let scheduled = self.record.scheduled.as_ref().map(|scheduled| scheduled.at);
        let retry_at = self.retry.map(|retry| retry.at);
        tokio::select! {
            biased;
            next = self.clerk.next() => next.map_or(Event::Stop, Event::Command),
            () = expiry_due(expires, not_before) => Event::Expired,
            () = expiry::due(scheduled) => Event::ScheduledDue,
            () = sleep_until(retry_at) => Event::RetrySave,
            () = self.schema_hint.noticed() => Event::SchemaHinted,
            seen = self.schema.next(&base, context) => Event::SchemaProbed(seen),
            observation = self.upstream.next(&base, revision) => Event::Upstream(observation),
        }
    }

    /// The base path in force, and the context that must stay the same for a schema probe to count.
    fn probe_context(&self) -> (String, ProbeContext) {
        let table = self.gate.table();
        let context = ProbeContext { revision: self.record.revision, generation: table.generation() };
        (table.table().base_path.to_string(), context)
    }

    /// Carries out one change from any source, to its end.
    async fn change(&mut self, change: &Change) -> Result<Flipped, ChangeError> {
        let ended = self.change_uncounted(change).await;
        count_change(&self.stats, &ended);
        let is_requested = matches!(self.record.actor.kind, ActorKind::Operator | ActorKind::Client);
        if ended.is_ok() && is_requested {
            let Alarms { start, followed, scheduled, .. } = &mut self.alarms;
            let cleared = [start.take(), followed.take(), scheduled.take()];
            if cleared.iter().any(Option::is_some) {
                self.publish();
            }
        }
        ended
    }

    async fn change_uncounted(&mut self, change: &Change) -> Result<Flipped, ChangeError> {
        let next = self.next(change).map_err(|refusal| self.refused(refusal))?;
        if next == *self.record {
            // Nothing changes, but a record that is not on the disk is never acknowledged.
            if self.retry.is_some() {
                self.save_then_publish(next).await.map_err(|error| self.not_durable(&error))?;
            }
            return Ok(Flipped { record: Arc::clone(&self.record), report: FlipReport::default() });
        }
        if next.phase == Phase::Settled {
            self.save_then_publish(next).await.map_err(|error| self.not_durable(&error))?;
            return Ok(Flipped { record: Arc::clone(&self.record), report: FlipReport::default() });
        }
        if next.mode == Mode::Production && !next.force && self.probe_now().await == SchemaKnowledge::Undefined {
            return Err(ChangeError::NoSchema(Arc::clone(&self.record)));
        }
        let flipped = self.flip(next).await;
        // Not after a revert: while UCS does not leave production, each probe would start the next flip.
        if flipped.is_ok() {
            self.schema.soon();
        }
        flipped
    }

    /// The next record, with the gateway's default drain timeout and a revision that no save has tried before.
    fn next(&self, change: &Change) -> Result<ModeRecord, Refusal> {
        let mut change = change.clone();
        if let Change::Set(requested) = &mut change {
            requested.drain_timeout.get_or_insert(self.drain_timeout);
        }
        let mut next = mode::apply(&self.record, &change, Timestamp::now())?;
        if next.revision > self.record.revision {
            next.revision = next.revision.max(self.tried_revision + 1);
        }
        if self.record.phase == Phase::Settled && next.phase == Phase::Switching {
            next.attempt = new_attempt();
            // A drain that waits for grace periods only may exceed its timeout; the deadline includes them.
            let grace = self.orphan_grace;
            next.deadline = next.deadline.map(|deadline| deadline.checked_add(grace).unwrap_or(Timestamp::MAX));
        }
        Ok(next)
    }

    /// Saves a record durably and then puts it in force. After an error nothing has changed.
    async fn save_then_publish(&mut self, record: ModeRecord) -> Result<(), StoreError> {
        self.tried_revision = self.tried_revision.max(record.revision);
        match self.clerk.serve(self.store.save(self.stored_revision, &record)).await {
            Ok(saved) => {
                self.stored_revision = saved.revision;
                self.retry = None;
                self.alarms.save = None;
                self.put_in_force(saved);
                Ok(())
            }
            Err(error) => {
                add_one(&self.stats.save_errors);
                error!(%error, revision = record.revision, "cannot save the mode record");
                Err(error)
            }
        }
    }

    /// Puts a record in force even if it cannot be saved: for a mode that must be restored. A failed save is retried, and
    /// the error is returned for the requester.
    async fn save_or_keep(&mut self, record: ModeRecord) -> Result<(), StoreError> {
        let saved = self.save_then_publish(record.clone()).await;
        if let Err(error) = &saved {
            self.alarms.save = Some(format!("the mode in force is not saved: {error}"));
            self.retry = Some(Retry { at: Instant::now() + FIRST_RETRY, wait: FIRST_RETRY });
            self.put_in_force(record);
        }
        saved
    }

    async fn retry_save(&mut self) {
        let Some(Retry { wait, .. }) = self.retry else { return };
        let record = (*self.record).clone();
        match self.save_then_publish(record).await {
            Ok(()) => info!(revision = self.record.revision, "mode record saved after retries"),
            Err(_) => {
                let wait = (wait * 2).min(SLOWEST_RETRY);
                self.retry = Some(Retry { at: Instant::now() + wait, wait });
            }
        }
    }

    fn put_in_force(&mut self, record: ModeRecord) {
        self.record = Arc::new(record);
        // A record with the same end does not hasten the next attempt.
        if self.record.phase == Phase::Settled && !self.expiry_trouble.is_of(self.record.expires) {
            self.expiry_not_before = Instant::now();
            self.expiry_trouble = ExpiryTrouble::default();
            self.alarms.expiry = None;
        }
        self.publish();
    }

    fn publish(&self) {
        let Alarms { start, save, upstream, followed, expiry, local, scheduled } = &self.alarms;
        let alarms = [start, save, upstream, followed, expiry, local, scheduled];
        let alarms: Vec<&str> = alarms.into_iter().flatten().map(String::as_str).collect();
        let alarm = (!alarms.is_empty()).then(|| alarms.join("; "));
        let record = Some(Arc::clone(&self.record));
        let (schema, local) = (self.schema.knowledge(), self.local.in_force());
        self.gate.publish(Published { record, schema, local, alarm });
    }

    fn refused(&self, refusal: Refusal) -> ChangeError {
        let record = Arc::clone(&self.record);
        match refusal {
            Refusal::Stale => ChangeError::Stale(record),
            Refusal::Busy | Refusal::NotSwitching | Refusal::NotDue => ChangeError::Busy(record),
        }
    }

    fn not_durable(&self, error: &StoreError) -> ChangeError {
        ChangeError::NotDurable { record: Arc::clone(&self.record), detail: error.to_string() }
    }

    /// Writes the clean-shutdown marker, unless requests may still be running in UCS.
    async fn stop(self) {
        let in_flight: u64 = ModeSet::ALL.into_iter().map(|set| self.gate.in_flight(set)).sum();
        let modes = [Mode::Production, Mode::Maintenance];
        let lately = |mode| self.gate.last_abandoned(mode).is_some_and(|ago| ago < self.orphan_grace);
        let orphans = self.orphans_until.is_some_and(|until| Instant::now() < until);
        // No record has named these yet: the next process cannot, but it can say that there were some.
        let nothing = AbandonedSoFar::default();
        let before = |mode| self.abandoned_before.get(&mode).unwrap_or(&nothing);
        let unnamed = |mode| !before(mode).since(&self.gate, mode).is_empty();
        let abandoned = modes.into_iter().any(|mode| lately(mode) || unnamed(mode));
        if in_flight > 0 || orphans || abandoned {
            info!(in_flight, "requests may still be running in UCS after shutdown");
        } else if let Err(error) = self.store.mark_clean_shutdown().await {
            error!(%error, "cannot write the clean-shutdown marker");
        }
    }
}

/// A name that no other flip has, on this machine or another.
fn new_attempt() -> Option<String> {
    let halves = [getrandom::u64().ok()?, getrandom::u64().ok()?];
    Some(halves.map(|half| format!("{half:016x}")).concat())
}

async fn expiry_due(expires: Option<Timestamp>, not_before: Instant) {
    tokio::time::sleep_until(not_before).await;
    expiry::due(expires).await;
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
