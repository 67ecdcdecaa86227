//! Start-up: publishes the stored record. An unfinished flip is published as it is and resolved by the loop, so that the
//! workers can meanwhile serve requests that both modes admit.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::control::clerk::Clerk;
use crate::control::expiry::ExpiryTrouble;
use crate::control::store::{Loaded, StoreError};
use crate::control::ucs::link::{Reading, UpstreamLink};
use crate::control::ucs::schema::{SchemaProbe, StatusLink};
use crate::control::ucs::server_mode::{FIRST_START, UpstreamMemory, UpstreamMode};
use crate::control::{Alarms, Control, ControlSettings, InitialMode, UpstreamModeUse};
use crate::control_handle::CommandReceiver;
use crate::gate::Gate;
use crate::policy::mode::{Mode, ModeRecord, Phase};
use crate::telemetry::ControlStats;

/// An upper bound for the revisions after the start of a flip that may have been reported without being saved.
const REVISIONS_OF_A_FLIP: u64 = 8;

/// The reason why control cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error("cannot read the mode: {0}")]
    Load(#[source] StoreError),
    /// The first record cannot be saved: a gateway that cannot save its mode does not start.
    #[error("cannot save the first mode record: {0}")]
    FirstSave(#[source] StoreError),
}

/// Loads the record and publishes it.
pub(crate) async fn start(
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    settings: ControlSettings,
) -> Result<Control, StartError> {
    let loaded = settings.store.load().await.map_err(StartError::Load)?;
    loaded.notes.iter().for_each(|note| info!("{note}"));
    loaded.alarms.iter().for_each(|alarm| error!("{alarm}"));
    let stored_revision = loaded.record.as_ref().map_or(0, |record| record.revision);
    let mut memory = remembered(&loaded);
    let record = match &loaded.record {
        // Above every revision ever used here, so that revisions grow even if the file is an old copy.
        Some(record) => ModeRecord { revision: loaded.highest_revision.max(record.revision), ..record.clone() },
        None => first_record(&gate, &settings, &loaded, &mut memory).await,
    };
    let mut control = assemble(gate, inbox, settings, &loaded, (record, memory));
    control.stored_revision = stored_revision;
    // If the disk was full, a reverted record may have been reported under one of these revisions before the gateway was
    // killed: no revision may stand for two records.
    if control.record.phase == Phase::Switching {
        control.tried_revision += REVISIONS_OF_A_FLIP;
    }
    control.settle_start(&loaded).await?;
    Ok(control)
}

/// The remembered state of UCS; the default if it cannot be read: UCS is then set and not followed.
fn remembered(loaded: &Loaded) -> UpstreamMemory {
    let read = |text: &String| serde_json::from_str(text).ok();
    let mut memory: UpstreamMemory = loaded.upstream_seen.as_ref().and_then(read).unwrap_or_default();
    // Without `started` an incarnation cannot be recognized.
    memory.agreed = memory.agreed.filter(|agreed| agreed.started.is_some());
    memory.closed_itself = memory.closed_itself.filter(|closed| closed.started.is_some());
    memory
}

/// The first record of a directory: the initial mode, or maintenance if a file had to be set aside.
async fn first_record(
    gate: &Gate,
    settings: &ControlSettings,
    loaded: &Loaded,
    memory: &mut UpstreamMemory,
) -> ModeRecord {
    let revision = loaded.highest_revision + 1;
    if !loaded.first_start {
        return ModeRecord::first(Mode::Maintenance, revision, "state_set_aside", Timestamp::now());
    }
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
    ModeRecord::first(mode, revision, FIRST_START, Timestamp::now())
}

fn link_of(settings: &ControlSettings) -> UpstreamLink {
    UpstreamLink { client: settings.upstream.clone(), set_mode_timeout: settings.set_mode_timeout }
}

fn assemble(
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    settings: ControlSettings,
    loaded: &Loaded,
    (record, memory): (ModeRecord, UpstreamMemory),
) -> Control {
    let link = link_of(&settings);
    let now = Instant::now();
    let enabled = settings.upstream_mode == UpstreamModeUse::Auto;
    let (path, interval) = (settings.schema_probe_path, settings.schema_probe_interval);
    let status = StatusLink { link: enabled.then(|| link.clone()), poll_interval: settings.upstream_poll_interval };
    let start = (!loaded.alarms.is_empty()).then(|| loaded.alarms.join("; "));
    Control {
        schema_hint: Arc::clone(&inbox.schema_hint),
        clerk: Clerk::new(Arc::clone(&gate), inbox),
        gate,
        store: settings.store,
        stored_revision: 0,
        tried_revision: record.revision,
        record: Arc::new(record),
        schema: SchemaProbe::new(settings.upstream, status, path, interval, loaded.schema_path_answered.clone()),
        upstream: UpstreamMode::new(link, enabled, settings.upstream_poll_interval, memory, remembered(loaded)),
        alarms: Alarms { start, ..Alarms::default() },
        retry: None,
        local: loaded.local.clone(),
        drain_timeout: settings.drain_timeout,
        orphan_grace: settings.orphan_grace,
        orphans_until: (!loaded.clean).then(|| now + settings.orphan_grace),
        abandoned_before: HashMap::new(),
        expiry_not_before: now,
        expiry_trouble: ExpiryTrouble::default(),
        load_routes: settings.load_routes,
        routes_fingerprint: settings.routes_fingerprint,
        stats: Arc::new(ControlStats::default()),
    }
}

impl Control {
    /// Saves the first record of a directory, and writes the record again if the journal does not match it.
    async fn settle_start(&mut self, loaded: &Loaded) -> Result<(), StartError> {
        let record = (*self.record).clone();
        // Before the first record, as a crash must not lose the fact that its mode is a guess.
        self.remember_upstream().await;
        if loaded.record.is_none() {
            return self.save_then_publish(record).await.map_err(StartError::FirstSave);
        }
        if record.phase == Phase::Settled && !loaded.alarms.is_empty() {
            // Kept in memory and retried if it cannot be saved.
            let _ = self.save_or_keep(ModeRecord { revision: record.revision + 1, ..record }).await;
        } else {
            self.publish();
        }
        Ok(())
    }
}
