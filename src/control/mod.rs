//! The only writer of the mode: one loop that is driven by events. Its select is the only place where control waits: saves,
//! drains, calls to UCS and files are pieces of work that it polls beside commands, probes, cancels and a stop.
//! `policy::mode` decides which record may follow another, `policy::flip` what follows from an event.
//!
//! Reading order: this loop, `changes` (from a change to its result), `flip` (the effects of the step function), `reactions`
//! and `timed` (automatic changes), `local` (the local close), `reload`, `start`, and below these the stores and the calls to
//! UCS.

mod changes;
mod drain;
mod expiry;
pub(crate) mod fleet;
mod fleet_steps;
mod flip;
mod in_force;
mod local;
mod local_close;
mod local_writes;
mod next_record;
mod options;
mod protocol;
mod reactions;
mod reload;
mod requests;
mod route_reader;
mod slot;
mod start;
mod stats;
pub mod store;
mod timed;
pub(crate) mod ucs;
mod work;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, info};

use crate::control::drain::AbandonedSoFar;
use crate::control::expiry::ExpiryTrouble;
use crate::control::fleet::membership::News;
use crate::control::in_force::InForce;
use crate::control::local_close::LocalClose;
use crate::control::local_writes::LocalWrites;
use crate::control::protocol::Protocol;
use crate::control::requests::Request;
use crate::control::route_reader::{Reload, ReloadEnd};
use crate::control::slot::{Slot, at};
use crate::control::store::{Fact, LocalState, RecordStore, Saved, StoreError};
use crate::control::ucs::client::UpstreamClient;
use crate::control::ucs::schema::{Look, ProbeContext, ProbeResult, SchemaProbe};
use crate::control::ucs::server_mode::{ModeObservation, UpstreamMode};
use crate::control::work::{FlipFacts, WorkEnd};
use crate::control_handle::{Command, CommandReceiver};
use crate::gate::{Gate, Published};
use crate::policy::flip::{self as machine, Step, Ticket};
use crate::policy::mode::{BypassLog, Change, Mode, ModeRecord, ModeSet};
use crate::telemetry::ControlStats;

pub(crate) use fleet::membership::FleetSettings;
pub(crate) use fleet::sight::FleetLink;
pub(crate) use options::{InitialMode, UpstreamModeUse};
pub(crate) use route_reader::{LoadedRoutes, RouteLoader};
pub(crate) use start::{StartError, start};

/// The wait before the first retry of a save; it doubles up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(30);

/// In a fleet, any member whose clock is so far past the end of a mode ends it.
const FLEET_MARGIN: Duration = Duration::from_secs(5);

/// The settings of control. The operator decides each; there are no defaults here.
pub(crate) struct ControlSettings {
    pub store: RecordPlace,
    /// Keeps the state of this gateway alone.
    pub local: LocalState,
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

/// Where the record is kept.
pub(crate) enum RecordPlace {
    /// In files, for this gateway alone.
    Alone(RecordStore),
    Fleet(FleetSettings),
}

/// Control, started and ready to [`run`](Control::run).
pub(crate) struct Control {
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    local_writes: LocalWrites,
    local: LocalClose,
    bypasses: BypassLog,
    in_force: InForce,
    /// The mode and the flip under way, as the step function sees them.
    protocol: Protocol,
    /// The flip under way, as far as the step function need not know it.
    flip: FlipFacts,
    /// The save under way, and its record.
    save: Slot<Result<Saved<ModeRecord>, StoreError>>,
    saving: Option<ModeRecord>,
    /// The record of the last save, until it is published.
    just_saved: Option<Saved<ModeRecord>>,
    /// The work of the flip's step.
    work: Slot<WorkEnd>,
    requests: HashMap<Ticket, Request>,
    next_ticket: Ticket,
    /// The revision whose flip was counted last.
    counted: u64,
    /// Requests that are made again once nothing is under way.
    waiting: VecDeque<Ticket>,
    reload: Reload,
    /// A look at the schema before UCS is followed.
    follow_look: Slot<(Option<Look>, ProbeContext)>,
    schema: SchemaProbe,
    upstream: UpstreamMode,
    alarms: Alarms,
    retry: Option<Retry>,
    drain_timeout: Duration,
    orphan_grace: Duration,
    started: Instant,
    orphans_until: Option<Instant>,
    /// The abandoned requests when each mode was last left: its next drain names those since then.
    abandoned_before: HashMap<Mode, AbandonedSoFar>,
    expiry_not_before: Instant,
    expiry_trouble: ExpiryTrouble,
    scheduled_not_before: Instant,
    stats: Arc<ControlStats>,
}

/// Conditions that need an operator, by the event that clears them.
#[derive(Debug, Default)]
struct Alarms {
    /// Found at start; cleared when an operator or client requests a mode, even the one in force.
    start: Option<String>,
    /// The record in force is not saved; cleared by a successful save.
    save: Option<String>,
    /// The journal was lost under the running gateway; cleared by the next change of an operator or client.
    journal: Option<String>,
    /// UCS is not in the gateway's mode or does not report one; cleared when it reports the gateway's mode.
    upstream: Option<String>,
    /// UCS refused production and the gateway followed it; cleared in the same way.
    followed: Option<String>,
    /// The mode expired but is still in force; cleared when it ends or its expiry is removed.
    expiry: Option<String>,
    /// The local close is not saved; cleared once it is, or has ended.
    local: Option<String>,
    /// A scheduled flip was missed or failed; cleared in the same way.
    scheduled: Option<String>,
}

/// The next attempt to save the record in force.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// When control stops. Both may come at once.
pub(crate) struct StopSignals {
    /// The gateway begins to stop: a flip is taken back, and no further change is taken.
    begins: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// No request is in flight any more: control ends as soon as nothing is under way.
    ends: Pin<Box<dyn Future<Output = ()> + Send>>,
    has_begun: bool,
    has_ended: bool,
}

/// An event of the loop.
enum Event {
    StopBegins,
    StopEnds,
    SaveEnded(Box<Result<Saved<ModeRecord>, StoreError>>),
    WorkEnded(WorkEnd),
    FollowLooked(Option<Look>, ProbeContext),
    Command(Command),
    Expired,
    ScheduledDue,
    RetrySave,
    Reload(ReloadEnd),
    SchemaProbed(ProbeResult),
    SchemaHinted,
    Upstream(ModeObservation),
    LocalWritten(Fact, Result<(), StoreError>),
    Fleet(News),
}

impl StopSignals {
    pub(crate) fn new(
        begins: impl Future<Output = ()> + Send + 'static,
        ends: impl Future<Output = ()> + Send + 'static,
    ) -> StopSignals {
        StopSignals { begins: Box::pin(begins), ends: Box::pin(ends), has_begun: false, has_ended: false }
    }

    async fn next(&mut self) -> Event {
        tokio::select! {
            biased;
            () = &mut self.begins, if !self.has_begun => {
                self.has_begun = true;
                Event::StopBegins
            }
            () = &mut self.ends, if !self.has_ended => {
                self.has_ended = true;
                Event::StopEnds
            }
            () = std::future::pending() => Event::StopEnds,
        }
    }
}

impl Control {
    pub(crate) fn stats(&self) -> Arc<ControlStats> {
        Arc::clone(&self.stats)
    }

    /// Runs until the gateway has stopped. It ends after the workers: it writes the clean-shutdown marker only if no request
    /// is in flight and none was abandoned recently.
    pub(crate) async fn run(mut self, mut stop: StopSignals) {
        if self.protocol.step_under_way() == Some(Step::Grace) {
            self.resolve_unsettled();
        }
        self.join();
        while !(stop.has_ended && self.protocol.is_done() && self.local_writes.is_idle()) {
            self.remember_upstream();
            let event = self.next_event(&mut stop).await;
            self.handle(event);
        }
        self.stop().await;
    }

    /// The one place where control waits.
    async fn next_event(&mut self, stop: &mut StopSignals) -> Event {
        let (base, context) = self.probe_context();
        // UCS is compared with a record.
        let sees_upstream = self.protocol.step_under_way() != Some(Step::Upstream) && self.in_force.is_known();
        let record = self.in_force.record();
        let is_free = self.is_free();
        let margin = self.expiry_margin();
        let expires = record.expires.filter(|_| is_free).and_then(|expires| expires.checked_add(margin).ok());
        let scheduled = record.scheduled.as_ref().map(|scheduled| scheduled.at).filter(|_| is_free);
        let (revision, not_before) = (record.revision, self.expiry_not_before);
        let retry_at = self.retry.map(|retry| retry.at).filter(|_| is_free);
        tokio::select! {
            biased;
            event = stop.next() => event,
            saved = self.save.end() => Event::SaveEnded(Box::new(saved)),
            command = receive(&mut self.inbox.commands) => Event::Command(command),
            news = self.protocol.next(!self.requests.is_empty()) => Event::Fleet(news),
            end = self.work.end() => Event::WorkEnded(end),
            end = self.reload.end() => Event::Reload(end),
            (look, context) = self.follow_look.end() => Event::FollowLooked(look, context),
            () = expiry_due(expires, not_before) => Event::Expired,
            () = expiry_due(scheduled, self.scheduled_not_before) => Event::ScheduledDue,
            () = at(retry_at) => Event::RetrySave,
            () = self.inbox.schema_hint.noticed() => Event::SchemaHinted,
            // The flip reads UCS's status itself while it sets UCS, which says nothing reliable meanwhile.
            seen = self.schema.next(&base, context), if sees_upstream => Event::SchemaProbed(seen),
            seen = self.upstream.next(&base, revision), if sees_upstream => Event::Upstream(seen),
            (fact, written) = self.local_writes.end() => Event::LocalWritten(fact, written),
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::StopBegins => self.feed(machine::Event::Stop),
            Event::StopEnds => {
                self.feed(machine::Event::Stop);
                self.on_requests_ended();
            }
            Event::Fleet(news) => self.on_news(news),
            Event::SaveEnded(saved) => self.on_save_ended(*saved),
            Event::WorkEnded(end) => self.on_work_ended(end),
            Event::Command(Command::SetMode(change, reply)) => self.submit(Change::Set(change), reply.into()),
            Event::Command(Command::SetLocal(change, reply)) => self.set_local(change, reply),
            Event::Command(Command::Ping(reply)) => drop(reply.send(())),
            Event::Command(Command::NoteBypass(bypass)) => self.note_bypass(&bypass),
            Event::Command(Command::Reload(when, reply)) => self.request_reload(when, reply),
            Event::FollowLooked(look, context) => self.on_follow_looked(look, context),
            Event::Expired => self.expire(),
            Event::ScheduledDue => self.run_scheduled(),
            Event::RetrySave => self.feed(machine::Event::RetryDue),
            Event::Reload(end) => self.on_reload_ended(end),
            Event::SchemaProbed(seen) => self.on_schema_probed(seen),
            Event::SchemaHinted => self.on_schema_hint(),
            Event::Upstream(observation) => self.on_mode_observation(observation),
            Event::LocalWritten(fact, written) => self.on_local_written(fact, written),
        }
        self.advance_reload();
    }

    /// Whether nothing keeps an automatic change from being requested.
    fn is_free(&self) -> bool {
        let is_asked = self.protocol.is_fleet() && !self.requests.is_empty();
        self.protocol.is_idle() && !self.protocol.is_stopping() && !is_asked
    }

    /// How long after its time a mode ends: the clocks of a fleet differ.
    fn expiry_margin(&self) -> Duration {
        if self.protocol.is_fleet() { FLEET_MARGIN } else { Duration::ZERO }
    }

    /// The fleet of which this gateway is a member; `None` for a gateway alone.
    pub(crate) fn fleet(&self) -> Option<FleetLink> {
        let Protocol::Fleet(fleet) = &self.protocol else { return None };
        Some(fleet.link())
    }

    fn in_flight(&self) -> u64 {
        ModeSet::ALL.into_iter().map(|set| self.gate.in_flight(set)).sum()
    }

    fn record(&self) -> &Arc<ModeRecord> {
        self.in_force.record()
    }

    /// The base path in force, and the context that must stay the same for a schema probe to count.
    fn probe_context(&self) -> (String, ProbeContext) {
        let table = self.gate.table();
        let context = ProbeContext { revision: self.record().revision, generation: table.generation() };
        (table.table().base_path.to_string(), context)
    }

    /// Publishes the record in force with everything beside it.
    fn publish(&self) {
        self.in_force.show(self.published());
    }

    fn published(&self) -> Published {
        let Alarms { start, save, journal, upstream, followed, expiry, local, scheduled } = &self.alarms;
        let (of_record, of_probe) = (&self.alarm_of_record(), &self.schema.complaint());
        let of_fleet = &self.alarm_of_fleet();
        let alarms =
            [start, save, journal, of_record, of_fleet, upstream, followed, expiry, of_probe, local, scheduled];
        let alarms: Vec<&str> = alarms.into_iter().flatten().map(String::as_str).collect();
        let alarm = (!alarms.is_empty()).then(|| alarms.join("; "));
        let (schema, upstream, local) = (self.schema.knowledge(), self.upstream_mode(), self.local.log.in_force());
        self.in_force.with(Published { schema, upstream, local, alarm, ..Published::default() })
    }

    /// Writes the clean-shutdown marker, unless requests may still be running in UCS or the next start has to resolve
    /// something.
    async fn stop(self) {
        let in_flight = self.in_flight();
        if in_flight > 0 || self.may_have_left_requests() {
            info!(in_flight, "requests may still be running in UCS after shutdown");
        } else if self.protocol.is_at_rest()
            && let Err(error) = self.local_writes.mark_clean_shutdown().await
        {
            error!(%error, "cannot write the clean-shutdown marker");
        }
    }

    /// Whether something that was given up on may be running in UCS, or was named by no record yet: the next process cannot
    /// name it, but it can say that there was something.
    fn may_have_left_requests(&self) -> bool {
        let lately = |mode| self.gate.last_abandoned(mode).is_some_and(|ago| ago < self.orphan_grace);
        let orphans = self.orphans_until.is_some_and(|until| Instant::now() < until);
        orphans || Mode::ALL.into_iter().any(|mode| lately(mode) || !self.given_up(mode).is_empty())
    }
}

/// The next command; pending forever once every control handle is dropped.
async fn receive(commands: &mut mpsc::Receiver<Command>) -> Command {
    match commands.recv().await {
        Some(command) => command,
        None => std::future::pending().await,
    }
}

async fn expiry_due(expires: Option<Timestamp>, not_before: Instant) {
    tokio::time::sleep_until(not_before).await;
    expiry::due(expires).await;
}

#[cfg(test)]
mod tests;
