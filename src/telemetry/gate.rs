//! The state of the gate at the time of a scrape, in plain values. The caller of [`Metrics::render`](super::Metrics::render)
//! fills it in; telemetry itself knows neither the gate nor the mode.

use std::collections::BTreeMap;
use std::sync::Arc;

/// One reading of the gate.
#[derive(Debug, Default)]
pub struct GateSample {
    /// Requests in flight, by the name of the set of modes that admits them.
    pub(crate) in_flight: Vec<(&'static str, u64)>,
    /// Requests in flight, by class.
    pub(crate) class_in_flight: BTreeMap<Arc<str>, u64>,
    /// Abandoned exchanges, by class.
    pub(crate) abandoned: BTreeMap<Arc<str>, u64>,
    /// Every mode, with whether it is in force; during a flip, whether it is the target.
    pub(crate) modes: Vec<(&'static str, bool)>,
    /// A flip is under way.
    pub(crate) is_switching: bool,
    /// UCS has no profile schema.
    pub is_schema_undefined: bool,
    /// Every state of UCS's own mode, with whether it is the present one.
    pub upstream_states: Vec<(&'static str, bool)>,
    /// This gateway alone is closed.
    pub is_local_closed: bool,
    /// An alarm is published.
    pub has_alarm: bool,
    /// Whether the last reading of access.yaml failed.
    pub has_access_fault: bool,
    /// Every file that can be read again, with whether its last reading failed.
    pub(crate) file_faults: Vec<(&'static str, bool)>,
    /// `None` before the first record.
    pub(crate) record: Option<RecordSample>,
    /// `None` for a gateway alone.
    pub(crate) fleet: Option<FleetSample>,
}

/// The numbers of the record in force; times are in seconds since 1970.
#[derive(Debug)]
pub(crate) struct RecordSample {
    pub(crate) revision: u64,
    /// When the mode or the flip began.
    pub(crate) since: u64,
    /// When the mode ends by itself.
    pub expires: Option<u64>,
    /// When the scheduled flip begins.
    pub scheduled: Option<u64>,
    /// How the mode was drained; `None` while switching.
    pub drain: Option<&'static str>,
}

/// The fleet at the last read of its store.
#[derive(Debug)]
pub(crate) struct FleetSample {
    /// The number of members in each state.
    pub(crate) members: Vec<(&'static str, u64)>,
    /// Whether the store responded to the last read.
    pub(crate) is_store_reachable: bool,
    /// When it last did, in seconds since 1970.
    pub(crate) read_at: u64,
    /// Members have had different route tables for too long.
    pub(crate) routes_differ: bool,
    /// The contents of the store were made for it.
    pub(crate) is_home: bool,
}
