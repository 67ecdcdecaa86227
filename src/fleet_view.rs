//! The document of `GET /fleet`: the record, every member with its acknowledgement, and the alarms. Types alone: `control`
//! fills them in, and the admin port and the command line show them.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::policy::mode::{DrainOutcome, ModeRecord, OperationCount};

/// The whole fleet, as one read of the store shows it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FleetView {
    /// The member that was asked; absent from the command line.
    pub(crate) node: Option<String>,
    /// When the store was read.
    pub(crate) read_at: Timestamp,
    /// Whether the store responded to the last read; if not, all of this is of `read_at`.
    pub(crate) store_reachable: bool,
    pub(crate) record: Option<ModeRecord>,
    /// In decimal digits.
    pub(crate) cluster_id: String,
    /// Whether the contents were made for this etcd. If not, no member serves a single mode: see `fleet init`.
    pub(crate) is_home: bool,
    pub(crate) members: Vec<MemberView>,
    pub(crate) forgotten: Vec<ForgottenView>,
    /// Conditions that need an operator, as sentences.
    pub(crate) alarms: Vec<String>,
    /// Whether members have had different route tables for too long.
    pub(crate) routes_differ: bool,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemberView {
    pub(crate) node: String,
    pub(crate) state: MemberState,
    /// Why it is narrowed.
    pub(crate) cause: Option<String>,
    /// The last flip that it acknowledged.
    pub(crate) acknowledged: Option<AcknowledgedView>,
    /// Whether it renews its lease. Nothing is decided by that.
    pub(crate) alive: bool,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) version: String,
    /// The fingerprint of its route table.
    pub(crate) routes: String,
    pub(crate) incarnation: String,
    /// The revision in force there, as it reports itself.
    pub(crate) revision: Option<u64>,
    /// Requests in flight by class, as it reported some seconds ago.
    pub(crate) in_flight: Option<Value>,
    /// The operations that its drain waits for.
    pub(crate) waits_for: Option<Value>,
    /// UCS's own mode there.
    pub(crate) upstream: Option<Value>,
}

/// The last acknowledgement of a member.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AcknowledgedView {
    pub(crate) revision: u64,
    pub(crate) drain: DrainOutcome,
    pub(crate) abandoned: Vec<OperationCount>,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberState {
    /// It has confirmed the record and serves its mode.
    Acknowledged,
    /// It has confirmed the record and serves neither single mode.
    Narrowed,
    /// While switching, it has not confirmed; when settled, it gives no sign of life.
    Missing,
}

impl MemberState {
    pub(crate) const ALL: [MemberState; 3] = [MemberState::Acknowledged, MemberState::Narrowed, MemberState::Missing];

    /// The word in JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            MemberState::Acknowledged => "acknowledged",
            MemberState::Narrowed => "narrowed",
            MemberState::Missing => "missing",
        }
    }
}

/// A member that an operator has declared stopped, until the next flip has named it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ForgottenView {
    pub(crate) node: String,
    pub(crate) time: Timestamp,
}

/// The result of a rehearsal: how a flip of all members would go.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RehearsalView {
    /// Every member would acknowledge it within the drain timeout, and production would have a member in it.
    pub(crate) would_settle: bool,
    /// The longest drain, or wait for one.
    pub(crate) drain_ms: u64,
    /// Members that did not reply.
    pub(crate) missing: Vec<String>,
    /// Those that did.
    pub(crate) members: Vec<RehearsedMember>,
}

/// How the drain of a member would go.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RehearsedMember {
    pub(crate) node: String,
    /// Whether all that was in flight at the beginning has ended in time.
    pub(crate) drained: bool,
    pub(crate) drain_ms: u64,
    /// Why it would acknowledge the flip as closed.
    pub(crate) cause: Option<String>,
    pub(crate) waits_for: Vec<OperationCount>,
}

impl FleetView {
    /// The number of members in a state.
    pub(crate) fn count(&self, state: MemberState) -> usize {
        self.members.iter().filter(|member| member.state == state).count()
    }
}
