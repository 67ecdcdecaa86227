//! The last read of a member, for the rest of the gateway. It decides nothing.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::keys::Rehearsal;
use crate::control::store::etcd::EtcdStore;

/// The part of a member's last read that is not the mode in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetSight {
    /// By the member that asks.
    pub rehearsals: BTreeMap<String, Rehearsal>,
    /// Whether the store responded to it.
    pub in_touch: bool,
}

/// The access of the rest of the gateway to the fleet.
#[derive(Clone, Debug)]
pub(crate) struct FleetLink {
    /// The name of this member.
    pub node: String,
    pub store: EtcdStore,
    pub sight: watch::Receiver<FleetSight>,
    /// The fingerprint of the route table in force.
    pub routes: watch::Receiver<String>,
}
