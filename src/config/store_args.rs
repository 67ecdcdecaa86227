//! The flags of a shared store: how to reach it, for `serve` and for the commands of a fleet, and the behaviour of a member
//! without it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::named::named;
use crate::control::store::etcd::{EtcdAddress, EtcdSettings, check_name};
use crate::policy::duration::parse as parse_duration;

/// The shortest time without the store: several reads have failed by then.
const SHORTEST_FENCE: Duration = Duration::from_secs(3);

/// A member of a fleet.
#[derive(Args, Clone, Debug)]
pub(crate) struct MemberArgs {
    /// Name of this gateway in its fleet; it stays the same over restarts. Default: the name of the host.
    #[arg(long, value_name = "NAME", value_parser = parse_node)]
    pub(crate) node: Option<String>,

    /// Behaviour of a member while the store of its fleet does not respond.
    #[arg(long, value_name = "HOW", default_value = "hold", value_parser = named(OnStoreLoss::NAMES))]
    pub(crate) on_store_loss: OnStoreLoss,

    /// Time after its last read at which a member closes, with --on-store-loss fence.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_fence)]
    pub(crate) fence_after: Duration,
}

/// The behaviour of a member whose store does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnStoreLoss {
    Hold,
    Fence,
}

impl OnStoreLoss {
    const NAMES: &[(OnStoreLoss, &str, &str)] = &[
        (OnStoreLoss::Hold, "hold", "The mode in force stays; no flip settles without this member"),
        (OnStoreLoss::Fence, "fence", "Operations that only one mode admits are refused after --fence-after"),
    ];
}

fn parse_node(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

fn parse_fence(text: &str) -> Result<Duration, String> {
    let after = parse_duration(text).map_err(|error| error.to_string())?;
    if after >= SHORTEST_FENCE { Ok(after) } else { Err("at least 3s".to_owned()) }
}

/// How to reach a shared store.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreAccess {
    /// CAs (PEM) of etcd's certificate, for etcds://.
    #[arg(long, value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,

    /// Client certificate (PEM) for etcd. Its common name is the user, if etcd takes users from certificates.
    #[arg(long, value_name = "FILE", requires = "store_key")]
    pub(crate) store_cert: Option<PathBuf>,

    /// Key (PEM) of the client certificate.
    #[arg(long, value_name = "FILE", requires = "store_cert")]
    pub(crate) store_key: Option<PathBuf>,

    /// File that contains USER:PASSWORD for etcd.
    #[arg(long, value_name = "FILE")]
    pub(crate) store_credentials: Option<PathBuf>,
}

impl StoreAccess {
    pub(crate) fn at(self, address: EtcdAddress) -> EtcdSettings {
        let certificate = self.store_cert.zip(self.store_key);
        EtcdSettings { address, ca: self.store_ca, certificate, credentials: self.store_credentials }
    }
}
