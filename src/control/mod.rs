//! The only writer of the mode: one loop that works off asks, expiry, the schema probe and UCS's own mode, one after
//! another. What a record may become is decided in `policy::mode`; requests are none of its business.
//!
//! Reading order: this loop, `flip` (the procedure), `duties` (what is done unasked), `start`, and below these the
//! store, the journal and the calls to UCS.

mod clerk;
mod drain;
mod duties;
mod expiry;
mod flip;
mod options;
mod reload;
mod start;

pub mod journal;
pub mod schema_probe;
pub mod stats;
pub mod store;
pub mod store_file;
pub mod upstream_client;
pub mod upstream_link;
pub mod upstream_mode;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info};

use crate::control::clerk::Clerk;
use crate::control::drain::AbandonedSoFar;
use crate::control::duties::ExpiryTrouble;
use crate::control::schema_probe::{Around, SchemaProbe, Seen};
use crate::control::stats::{ControlStats, add_one};
use crate::control::store::{Store, StoreError};
use crate::control::upstream_client::UpstreamClient;
use crate::control::upstream_mode::{News, UpstreamMode};
use crate::control_handle::{ChangeError, Command, FlipReport, Flipped, SchemaHint};
use crate::gate::{Gate, Published};
use crate::policy::mode::{self, ActorKind, Change, Mode, ModeRecord, ModeSet, Phase, Refusal, SchemaKnowledge};

pub(crate) use options::{InitialMode, UpstreamModeUse};
pub use reload::{LoadedRoutes, RouteLoader};
pub use start::{StartError, start};

/// The cause of the first record of a directory.
const FIRST_START: &str = "first_start";

/// The wait before the first retry of a save; it doubles up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

/// What control needs to know. Every field is a decision of the operator; there are no defaults here.
pub struct ControlSettings {
    /// Where the record is kept.
    pub store: Store,
    /// The mode of the very first start.
    pub(crate) initial_mode: InitialMode,
    /// How long a drain may take when a change does not say.
    pub drain_timeout: Duration,
    /// How long UCS is given to finish what the gateway gave up on or left behind.
    pub orphan_grace: Duration,
    /// How the gateway's own calls reach UCS.
    pub upstream: UpstreamClient,
    /// Whether UCS's own mode is read and set.
    pub(crate) upstream_mode: UpstreamModeUse,
    /// How often UCS's status is read.
    pub upstream_poll_interval: Duration,
    /// How long Set Server Mode may take at UCS, which waits up to a minute itself.
    pub set_mode_timeout: Duration,
    /// The path that tells whether a profile schema is defined, relative to the table's base path; `None`: never
    /// probed.
    pub schema_probe_path: Option<String>,
    /// How often it is probed.
    pub schema_probe_interval: Duration,
    /// Reads the route table again.
    pub load_routes: RouteLoader,
    /// The fingerprint of the table that the gate was made with, if it came from the same loader.
    pub routes_fingerprint: Option<String>,
}

/// The change line, started and ready to [`run`](Control::run).
pub struct Control {
    gate: Arc<Gate>,
    clerk: Clerk,
    store: Store,
    /// The record in force.
    record: Arc<ModeRecord>,
    /// The revision that the store holds; differs from the record's while a save is being retried.
    stored_revision: u64,
    /// The highest revision that a save was tried with: a later record is always above it.
    tried_revision: u64,
    schema: SchemaProbe,
    schema_hint: Arc<SchemaHint>,
    upstream: UpstreamMode,
    alarms: Alarms,
    retry: Option<Retry>,
    drain_timeout: Duration,
    orphan_grace: Duration,
    ghosts_until: Option<Instant>,
    abandoned_before: AbandonedSoFar,
    abandoned_lately: AbandonedSoFar,
    forget_at: Instant,
    expiry_not_before: Instant,
    expiry_trouble: ExpiryTrouble,
    load_routes: RouteLoader,
    routes_fingerprint: Option<String>,
    stats: Arc<ControlStats>,
}

/// What an operator must look at, by what heals it.
#[derive(Debug, Default)]
struct Alarms {
    /// Found at start; until somebody changes the mode.
    start: Option<String>,
    /// The record in force is not saved; until it is.
    save: Option<String>,
    /// UCS is not in the gateway's mode, or does not tell; until it is, and does.
    upstream: Option<String>,
    /// UCS would not be opened and was followed; until somebody changes the mode.
    followed: Option<String>,
    /// The mode should have ended by itself; until it has, or its end is taken away.
    expiry: Option<String>,
}

/// The next attempt to save the record in force.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// All that can happen while control is idle.
enum Event {
    Stop,
    Asked(Command),
    Expired,
    RetrySave,
    SchemaSeen(Seen),
    SchemaDoubted,
    Upstream(News),
    /// Time to forget what was abandoned long ago.
    Forget,
}

impl Control {
    /// What control counts.
    pub fn stats(&self) -> Arc<ControlStats> {
        Arc::clone(&self.stats)
    }

    /// Works until `shutdown` is over. To be shut down after the request line: the mark of an orderly stop is left only
    /// when nothing is in flight and nothing was abandoned lately.
    pub async fn run(mut self, shutdown: impl Future<Output = ()> + Send + 'static) {
        self.clerk.stop_on(shutdown);
        self.resolve_unsettled().await;
        loop {
            self.remember_upstream().await;
            match self.next_event().await {
                Event::Stop => break,
                Event::Asked(Command::SetMode(change, answer)) => {
                    let ended = self.change(&Change::Set(change)).await;
                    // Whoever asked may be gone; the change stands.
                    let _ = answer.send(ended);
                }
                Event::Asked(Command::Reload(answer)) => {
                    let ended = self.reload().await;
                    self.stats.reload(&ended);
                    let _ = answer.send(ended);
                }
                Event::Expired => self.expire().await,
                Event::RetrySave => self.retry_save().await,
                Event::SchemaSeen(seen) => self.on_schema_seen(seen).await,
                Event::SchemaDoubted => self.on_schema_doubted(),
                Event::Upstream(news) => self.on_upstream_news(news).await,
                Event::Forget => self.forget_abandoned(),
            }
        }
        self.stop().await;
    }

    async fn next_event(&mut self) -> Event {
        let (base, around) = self.around();
        let revision = self.record.revision;
        let (expires, not_before) = (self.record.expires, self.expiry_not_before);
        let retry_at = self.retry.map(|retry| retry.at);
        tokio::select! {
            biased;
            next = self.clerk.next() => next.map_or(Event::Stop, Event::Asked),
            () = expiry_due(expires, not_before) => Event::Expired,
            () = sleep_until(retry_at) => Event::RetrySave,
            () = self.schema_hint.noticed() => Event::SchemaDoubted,
            seen = self.schema.next(&base, around) => Event::SchemaSeen(seen),
            news = self.upstream.next(&base, revision) => Event::Upstream(news),
            () = tokio::time::sleep_until(self.forget_at) => Event::Forget,
        }
    }

    /// The base path in force, and what must stay as it is for a look at the schema to count.
    fn around(&self) -> (String, Around) {
        let table = self.gate.table();
        let around = Around { revision: self.record.revision, generation: table.generation() };
        (table.table().base_path.to_string(), around)
    }

    /// Works off one change from any side, to its end.
    async fn change(&mut self, change: &Change) -> Result<Flipped, ChangeError> {
        let ended = self.change_uncounted(change).await;
        self.stats.change(&ended);
        let by_somebody = matches!(self.record.actor.kind, ActorKind::Operator | ActorKind::Client);
        if ended.is_ok() && by_somebody {
            let answered = [self.alarms.start.take(), self.alarms.followed.take()];
            if answered.iter().any(Option::is_some) {
                self.publish();
            }
        }
        ended
    }

    async fn change_uncounted(&mut self, change: &Change) -> Result<Flipped, ChangeError> {
        let next = self.next(change).map_err(|refusal| self.refused(refusal))?;
        if next == *self.record {
            // Nothing changes, but what is not on the disk is acknowledged to nobody.
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
        // Not after one that was taken back: while UCS does not let production be left, each probe would begin the next.
        if flipped.is_ok() {
            self.schema.soon();
        }
        flipped
    }

    /// The record that follows, with the gateway's default drain timeout and a revision that was never tried before.
    fn next(&self, change: &Change) -> Result<ModeRecord, Refusal> {
        let mut change = change.clone();
        if let Change::Set(wish) = &mut change {
            wish.drain_timeout.get_or_insert(self.drain_timeout);
        }
        let mut next = mode::apply(&self.record, &change, Timestamp::now())?;
        if next.revision > self.record.revision {
            next.revision = next.revision.max(self.tried_revision + 1);
        }
        // A drain that waits for nothing but graces is waited for beyond its timeout, and the deadline says so.
        if self.record.phase == Phase::Settled && next.phase == Phase::Switching {
            let grace = self.orphan_grace;
            next.deadline = next.deadline.map(|deadline| deadline.checked_add(grace).unwrap_or(Timestamp::MAX));
        }
        Ok(next)
    }

    /// Saves a record durably and only then puts it in force. After an error nothing has changed.
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
                error!(%error, revision = record.revision, "the record cannot be saved");
                Err(error)
            }
        }
    }

    /// Puts a record in force whether it can be saved or not: for a mode that must be restored. A failed save is
    /// retried, and told to whoever asked for the record.
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
            Ok(()) => info!(revision = self.record.revision, "the record is saved at last"),
            Err(_) => {
                let wait = (wait * 2).min(SLOWEST_RETRY);
                self.retry = Some(Retry { at: Instant::now() + wait, wait });
            }
        }
    }

    fn put_in_force(&mut self, record: ModeRecord) {
        self.record = Arc::new(record);
        self.expiry_not_before = Instant::now();
        if self.record.phase == Phase::Settled && !self.expiry_trouble.is_of(self.record.expires) {
            self.expiry_trouble = ExpiryTrouble::default();
            self.alarms.expiry = None;
        }
        self.publish();
    }

    fn publish(&self) {
        let Alarms { start, save, upstream, followed, expiry } = &self.alarms;
        let alarms = [start, save, upstream, followed, expiry];
        let alarms: Vec<&str> = alarms.into_iter().flatten().map(String::as_str).collect();
        let alarm = (!alarms.is_empty()).then(|| alarms.join("; "));
        let record = Some(Arc::clone(&self.record));
        self.gate.publish(Published { record, schema: self.schema.knowledge(), alarm });
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

    /// Leaves the mark of an orderly stop if nothing is left behind at UCS.
    async fn stop(self) {
        let in_flight: u64 = ModeSet::ALL.into_iter().map(|set| self.gate.in_flight(set)).sum();
        let modes = [Mode::Production, Mode::Maintenance];
        let lately = |mode| self.gate.last_abandoned(mode).is_some_and(|ago| ago < self.orphan_grace);
        let ghosts = self.ghosts_until.is_some_and(|until| Instant::now() < until);
        if in_flight > 0 || ghosts || modes.into_iter().any(lately) {
            info!(in_flight, "stopped with something left behind at UCS");
        } else if let Err(error) = self.store.mark_clean_shutdown().await {
            error!(%error, "the mark of an orderly stop cannot be left");
        }
    }
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
