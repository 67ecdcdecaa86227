//! The flags that name a shared store and prove who asks, for `serve` and for the commands of a fleet.

use std::path::PathBuf;

use clap::Args;

use crate::control::store::etcd::{EtcdAddress, EtcdSettings};

/// How to reach a shared store.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoreAccess {
    /// Certificates (PEM) of the authority that etcds:// must show.
    #[arg(long, env = "UCS_GATEWAY_STORE_CA", value_name = "FILE")]
    pub(crate) store_ca: Option<PathBuf>,

    /// Client certificate (PEM) for etcd. Its common name is the user, if etcd takes users from certificates.
    #[arg(long, env = "UCS_GATEWAY_STORE_CERT", value_name = "FILE", requires = "store_key")]
    pub(crate) store_cert: Option<PathBuf>,

    /// Key (PEM) of the client certificate.
    #[arg(long, env = "UCS_GATEWAY_STORE_KEY", value_name = "FILE", requires = "store_cert")]
    pub(crate) store_key: Option<PathBuf>,

    /// File that contains USER:PASSWORD for etcd.
    #[arg(long, env = "UCS_GATEWAY_STORE_CREDENTIALS", value_name = "FILE")]
    pub(crate) store_credentials: Option<PathBuf>,
}

impl StoreAccess {
    /// The settings for the store at this address.
    pub(crate) fn at(self, address: EtcdAddress) -> EtcdSettings {
        let certificate = self.store_cert.zip(self.store_key);
        EtcdSettings { address, ca: self.store_ca, certificate, credentials: self.store_credentials }
    }
}
