//! The flags of TLS for both listeners and for UCS, and their checked form. It opens no file.

use std::path::PathBuf;

use clap::Args;

use crate::transport::{ClientFiles, ServerFiles};

/// The arguments of TLS.
#[derive(Args, Clone, Debug)]
pub(super) struct TlsArgs {
    /// Certificate of the data port in PEM, followed by its intermediate ones; the port then speaks TLS only.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// CAs of client certificates, which the data port then demands.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,

    /// Revocation lists of --tls-client-ca: one of each CA.
    #[arg(long, value_name = "FILE", requires = "tls_client_ca")]
    tls_client_crl: Option<PathBuf>,

    /// Certificate of the admin port in PEM, followed by its intermediate ones; the port then speaks TLS only.
    #[arg(long, value_name = "FILE", requires = "admin_tls_key")]
    admin_tls_cert: Option<PathBuf>,

    /// Private key of --admin-tls-cert.
    #[arg(long, value_name = "FILE", requires = "admin_tls_cert")]
    admin_tls_key: Option<PathBuf>,

    /// CAs of client certificates, which the admin port accepts as the credential of a principal in access.yaml.
    #[arg(long, value_name = "FILE", requires_all = ["admin_tls_cert", "access"])]
    admin_tls_client_ca: Option<PathBuf>,

    /// Revocation lists of --admin-tls-client-ca: one of each CA.
    #[arg(long, value_name = "FILE", requires = "admin_tls_client_ca")]
    admin_tls_client_crl: Option<PathBuf>,

    /// CAs that UCS's certificate must be signed by, for --upstream https://…; no others are trusted.
    #[arg(long, value_name = "FILE")]
    upstream_ca: Option<PathBuf>,

    /// Client certificate for UCS.
    #[arg(long, value_name = "FILE", requires_all = ["upstream_key", "upstream_ca"])]
    upstream_cert: Option<PathBuf>,

    /// Private key of --upstream-cert.
    #[arg(long, value_name = "FILE", requires = "upstream_cert")]
    upstream_key: Option<PathBuf>,

    /// Name in UCS's certificate. Default: the host of --upstream.
    #[arg(long, value_name = "NAME", requires = "upstream_ca")]
    upstream_server_name: Option<String>,
}

impl TlsArgs {
    /// The files of the data port, if it speaks TLS.
    pub(super) fn data(&self) -> Option<ServerFiles> {
        files(&self.tls_cert, &self.tls_key, &self.tls_client_ca, &self.tls_client_crl)
    }

    /// The files of the admin port, if it speaks TLS.
    pub(super) fn admin(&self) -> Option<ServerFiles> {
        let Self { admin_tls_cert, admin_tls_key, admin_tls_client_ca, admin_tls_client_crl, .. } = self;
        files(admin_tls_cert, admin_tls_key, admin_tls_client_ca, admin_tls_client_crl)
    }

    /// The files for UCS, and the name in its certificate if it is not the host's.
    pub(super) fn upstream(&self) -> Option<(ClientFiles, Option<String>)> {
        let identity = self.upstream_cert.clone().zip(self.upstream_key.clone());
        let files = ClientFiles { ca: self.upstream_ca.clone()?, identity };
        Some((files, self.upstream_server_name.clone()))
    }
}

fn files(
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
    client_ca: &Option<PathBuf>,
    client_crl: &Option<PathBuf>,
) -> Option<ServerFiles> {
    let (certificate, key) = certificate.clone().zip(key.clone())?;
    Some(ServerFiles { certificate, key, client_ca: client_ca.clone(), client_crl: client_crl.clone() })
}
