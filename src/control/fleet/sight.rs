//! The fleet as a member last read it, for the admin port and for metrics. It decides nothing.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use super::keys::FleetContents;
use crate::control::store::etcd::EtcdStore;

/// The fleet as this member last read it.
#[derive(Clone, Debug)]
pub(crate) struct FleetSight {
    pub contents: FleetContents,
    pub read_at: Timestamp,
    /// Whether the store responded to the last read.
    pub in_touch: bool,
}

/// How the rest of the gateway looks at the fleet.
#[derive(Clone, Debug)]
pub(crate) struct FleetLink {
    /// The name of this member.
    pub node: String,
    pub store: EtcdStore,
    /// `None` before the first read.
    pub sight: watch::Receiver<Option<Arc<FleetSight>>>,
    /// The fingerprint of the route table in force.
    pub routes: watch::Receiver<String>,
}
