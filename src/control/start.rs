//! Start-up: publishes the stored record. An unfinished flip is published as it is and resolved by the loop, with the steps of
//! any other flip, so that the workers can meanwhile serve requests that both modes admit.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::control::expiry::ExpiryTrouble;
use crate::control::fleet::membership::{FleetSettings, Membership, new_id};
use crate::control::fleet::memory;
use crate::control::in_force::InForce;
use crate::control::local_close::LocalClose;
use crate::control::local_writes::LocalWrites;
use crate::control::protocol::{Alone, Protocol};
use crate::control::route_reader::Reload;
use crate::control::slot::Slot;
use crate::control::store::{Fact, LoadedLocal, LoadedRecord, RecordStore, Saved, StoreError, Token};
use crate::control::ucs::link::{Reading, UpstreamLink};
use crate::control::ucs::schema::{SchemaProbe, StatusLink};
use crate::control::ucs::server_mode::{FIRST_START, UpstreamMemory, UpstreamMode};
use crate::control::work::FlipFacts;
use crate::control::{Alarms, Control, ControlSettings, InitialMode, RecordPlace, UpstreamModeUse};
use crate::control_handle::CommandReceiver;
use crate::gate::Gate;
use crate::policy::fleet::Memory;
use crate::policy::flip::{Brief, State};
use crate::policy::mode::{self, Actor, BypassLog, Change, Mode, ModeChange, ModeRecord, Phase, STATE_SET_ASIDE};
use crate::telemetry::ControlStats;

/// An upper bound for the revisions after the stored one that a killed gateway may have reported without saving them: no
/// revision may name two records.
const UNSAVED_REVISIONS: u64 = 8;

/// The reason why control cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("cannot read the mode: {0}")]
    Load(#[source] StoreError),
    /// The first record cannot be saved: a gateway that cannot save its mode does not start.
    #[error("cannot save the first mode record: {0}")]
    FirstSave(#[source] StoreError),
    /// The memory of a member of a fleet cannot be read or saved: its name in the fleet belongs to its directory.
    #[error("cannot keep the memory of the fleet, fleet.json: {0}")]
    FleetMemory(String),
}

/// Loads the record and publishes it; a member of a fleet publishes nothing before it has joined.
pub(crate) async fn start(
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    mut settings: ControlSettings,
) -> Result<Control, StartError> {
    let mut local = settings.local.load().await.map_err(StartError::Load)?;
    local.alarms.iter().for_each(|alarm| error!("{alarm}"));
    let mut memory = remembered(&local);
    let (begun, alarms) = match &mut settings.store {
        RecordPlace::Alone(store) => {
            let store = store.clone();
            let loaded = store.load().await.map_err(StartError::Load)?;
            local.clean |= loaded.first_start;
            (found(&gate, &settings, store, (&loaded, &local), &mut memory).await?, loaded.alarms)
        }
        RecordPlace::Fleet(fleet) => {
            local.clean |= !local.is_used;
            let fleet = fleet.clone();
            (joining(&gate, &settings, fleet, &local).await?, Vec::new())
        }
    };
    let control = assemble(gate, inbox, settings, (&local, alarms), (begun, memory));
    control.publish();
    Ok(control)
}

/// By which protocol control goes on, and from which record.
struct Begun {
    protocol: Protocol,
    in_force: InForce,
    switching: Option<ModeRecord>,
}

/// The start of a gateway alone.
async fn found(
    gate: &Arc<Gate>,
    settings: &ControlSettings,
    store: RecordStore,
    (loaded, local): (&LoadedRecord, &LoadedLocal),
    memory: &mut UpstreamMemory,
) -> Result<Begun, StartError> {
    loaded.notes.iter().for_each(|note| info!("{note}"));
    loaded.alarms.iter().for_each(|alarm| error!("{alarm}"));
    let (record, used) = match &loaded.record {
        Some(record) => confirmed(&store, loaded, local, record.clone()).await,
        None => first_saved(gate, settings, &store, (loaded, local), memory).await?,
    };
    let (token, content) = (record.token(), record.content().clone());
    let switching = content.phase == Phase::Switching;
    // The work of an unfinished flip begins with the loop.
    let brief = Brief { revision: content.revision, mode: content.mode, switching };
    let (state, _) = State::found(brief, content.mode_after_start(), used);
    Ok(Begun {
        protocol: Protocol::Alone(Alone { state, store, token }),
        in_force: InForce::new(Arc::clone(gate), record),
        switching: switching.then_some(content),
    })
}

/// The start of a member of a fleet: the loop joins. Its directory is known before the store hears of it.
async fn joining(
    gate: &Arc<Gate>,
    settings: &ControlSettings,
    fleet: FleetSettings,
    local: &LoadedLocal,
) -> Result<Begun, StartError> {
    let memory = match &local.fleet {
        Some(text) => memory::read(text).map_err(StartError::FleetMemory)?,
        None => {
            let memory = Memory { directory: new_id(), ..Memory::default() };
            let kept = settings.local.remember(Fact::Fleet(memory::text_of(&memory))).await;
            kept.map_err(|error| StartError::FleetMemory(error.to_string()))?;
            memory
        }
    };
    info!(node = fleet.node, clean = local.clean, "joining the fleet");
    let nothing = ModeRecord::first(Mode::Maintenance, 0, "joining", Timestamp::now());
    Ok(Begun {
        protocol: Protocol::Fleet(Box::new(Membership::new(
            fleet,
            settings.routes_fingerprint.clone().unwrap_or_default(),
            memory,
            local.clean,
        ))),
        in_force: InForce::unknown(Arc::clone(gate), nothing),
        switching: None,
    })
}

/// The record found, and the highest revision that may have been reported. If the journal does not match the record, it is
/// saved again, so that the next start finds no mismatch.
async fn confirmed(
    store: &RecordStore,
    loaded: &LoadedRecord,
    local: &LoadedLocal,
    found: Saved<ModeRecord>,
) -> (Saved<ModeRecord>, u64) {
    let unsaved = if local.clean { 0 } else { UNSAVED_REVISIONS };
    let used = loaded.highest_revision.max(found.content().revision).saturating_add(unsaved);
    if found.content().phase == Phase::Switching || loaded.alarms.is_empty() {
        return (found, used);
    }
    let again = ModeRecord { revision: used.saturating_add(1), ..found.content().clone() };
    match store.clone().save(found.token(), again).await {
        Ok(saved) => (saved, used),
        Err(error) => {
            warn!(%error, "cannot save the mode record again");
            (found, used.saturating_add(1))
        }
    }
}

/// The first record of a directory.
async fn first_saved(
    gate: &Gate,
    settings: &ControlSettings,
    store: &RecordStore,
    (loaded, local): (&LoadedRecord, &LoadedLocal),
    memory: &mut UpstreamMemory,
) -> Result<(Saved<ModeRecord>, u64), StartError> {
    let record = match (loaded.first_start, local.clean) {
        (true, _) => first_record(gate, settings, loaded, memory).await,
        (false, true) => closed_record(loaded.highest_revision + 1),
        (false, false) => closing_record(loaded.highest_revision + UNSAVED_REVISIONS + 1, settings.orphan_grace),
    };
    // Before the first record, as a crash must not lose the fact that its mode is a guess.
    if settings.upstream_mode == UpstreamModeUse::Auto
        && let Ok(json) = serde_json::to_string(&*memory)
        && let Err(error) = settings.local.remember(Fact::UpstreamSeen(json)).await
    {
        warn!(%error, "cannot save the memory of UCS's mode");
    }
    let used = record.revision;
    let saved = store.clone().save(Token::NOTHING, record).await.map_err(StartError::FirstSave)?;
    Ok((saved, used))
}

/// The remembered state of UCS; the default if it cannot be read: UCS is then set and not followed.
fn remembered(loaded: &LoadedLocal) -> UpstreamMemory {
    let read = |text: &String| serde_json::from_str(text).ok();
    let mut memory: UpstreamMemory = loaded.upstream_seen.as_ref().and_then(read).unwrap_or_default();
    // Without `started` an incarnation cannot be recognized.
    memory.agreed = memory.agreed.filter(|agreed| agreed.started.is_some());
    memory.closed_itself = memory.closed_itself.filter(|closed| closed.started.is_some());
    memory
}

/// The record in place of one that had to be set aside: maintenance, whatever it was.
fn closed_record(revision: u64) -> ModeRecord {
    ModeRecord::first(Mode::Maintenance, revision, STATE_SET_ASIDE, Timestamp::now())
}

/// The same after a crash: what the killed gateway left at UCS may belong to production, and has its grace first. So this is
/// a flip that every start brings to its end.
fn closing_record(revision: u64, orphan_grace: Duration) -> ModeRecord {
    let unknown = ModeRecord::first(Mode::Production, revision, STATE_SET_ASIDE, Timestamp::now());
    let closing = ModeChange {
        cause: unknown.cause.clone(),
        drain_timeout: Some(orphan_grace),
        ..ModeChange::to(Mode::Maintenance, Actor::gateway())
    };
    mode::apply(&unknown, &Change::Set(closing), unknown.since).expect("a settled record can be left")
}

/// The first record of a directory: the initial mode.
async fn first_record(
    gate: &Gate,
    settings: &ControlSettings,
    loaded: &LoadedRecord,
    memory: &mut UpstreamMemory,
) -> ModeRecord {
    let mode = match (settings.initial_mode, settings.upstream_mode) {
        (InitialMode::Fixed(mode), _) => mode,
        (InitialMode::Auto, UpstreamModeUse::Off) => Mode::Production,
        (InitialMode::Auto, UpstreamModeUse::Auto) => {
            match link_of(settings).read(&gate.table().table().base_path).await {
                Reading::Mode(status) => {
                    *memory =
                        UpstreamMemory { has_mode: true, agreed: Some(status.clone()), ..UpstreamMemory::default() };
                    status.mode
                }
                reading => {
                    warn!(
                        reading = reading.words(),
                        "UCS reports no mode at first start; assuming production until it does"
                    );
                    memory.provisional = true;
                    Mode::Production
                }
            }
        }
    };
    ModeRecord::first(mode, loaded.highest_revision + 1, FIRST_START, Timestamp::now())
}

fn link_of(settings: &ControlSettings) -> UpstreamLink {
    UpstreamLink { client: settings.upstream.clone(), set_mode_timeout: settings.set_mode_timeout }
}

fn assemble(
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    settings: ControlSettings,
    (local, alarms): (&LoadedLocal, Vec<String>),
    (begun, memory): (Begun, UpstreamMemory),
) -> Control {
    let link = link_of(&settings);
    let now = Instant::now();
    let enabled = settings.upstream_mode == UpstreamModeUse::Auto;
    let (path, interval) = (settings.schema_probe_path, settings.schema_probe_interval);
    let status = StatusLink { link: enabled.then(|| link.clone()), poll_interval: settings.upstream_poll_interval };
    let alarms = [&alarms[..], &local.alarms[..]].concat();
    let start = (!alarms.is_empty()).then(|| alarms.join("; "));
    let Begun { protocol, in_force, switching } = begun;
    Control {
        local_writes: LocalWrites::new(settings.local),
        local: LocalClose::new(local.local.clone()),
        bypasses: BypassLog::read(local.bypasses.as_deref().unwrap_or_default()),
        in_force,
        protocol,
        flip: FlipFacts { switching, ..FlipFacts::default() },
        save: Slot::empty(),
        saving: None,
        just_saved: None,
        work: Slot::empty(),
        requests: HashMap::new(),
        next_ticket: 0,
        counted: 0,
        waiting: VecDeque::new(),
        reload: Reload::new(settings.load_routes, settings.routes_fingerprint),
        follow_look: Slot::empty(),
        schema: SchemaProbe::new(settings.upstream, status, path, interval, local.schema_path_answered.clone()),
        upstream: UpstreamMode::new(link, enabled, settings.upstream_poll_interval, memory, remembered(local)),
        alarms: Alarms { start, ..Alarms::default() },
        retry: None,
        drain_timeout: settings.drain_timeout,
        orphan_grace: settings.orphan_grace,
        started: now,
        orphans_until: (!local.clean).then(|| now + settings.orphan_grace),
        abandoned_before: HashMap::new(),
        expiry_not_before: now,
        expiry_trouble: ExpiryTrouble::default(),
        scheduled_not_before: now,
        stats: Arc::new(ControlStats::default()),
        gate,
        inbox,
    }
}
