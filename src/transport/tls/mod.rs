//! TLS: the encrypted stream, and the configurations of both sides, which are made from files. It maps no certificate to a
//! principal.

mod client;
mod error;
mod files;
mod material;
mod peer;
mod server;
mod stream;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub(crate) use client::{ClientFiles, TlsClient, client_config};
pub(crate) use error::TlsError;
pub(crate) use material::Material;
pub(crate) use peer::ClientCertificate;
pub(crate) use server::{ClientAuth, HandshakeError, Protocols, ServerFiles, TlsServer};
pub(crate) use stream::TlsStream;

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}
