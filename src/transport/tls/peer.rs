//! A verified client certificate: the names in it that may stand for a principal.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The names of a certificate that a trusted CA has signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientCertificate {
    /// SHA-256 of the certificate in DER.
    pub(crate) sha256: [u8; 32],
    /// The common name of its subject, if it has exactly one.
    pub(crate) common_name: Option<String>,
    /// Its alternative names, as `dns:`, `email:`, `uri:`.
    pub(crate) alternative_names: Vec<String>,
}

impl ClientCertificate {
    /// Reads a certificate that was verified; one that cannot be read has its fingerprint only.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> ClientCertificate {
        let sha256 = Sha256::digest(certificate).into();
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return ClientCertificate { sha256, ..ClientCertificate::default() };
        };
        let mut common_names = parsed.subject().iter_common_name().map(|name| name.as_str().ok().map(str::to_owned));
        let common_name = match (common_names.next(), common_names.next()) {
            (Some(only), None) => only,
            _ => None,
        };
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|extension| extension.value.general_names.as_slice()).unwrap_or_default();
        let alternative_names = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("dns:{}", name.to_ascii_lowercase())),
            GeneralName::RFC822Name(name) => Some(format!("email:{name}")),
            GeneralName::URI(name) => Some(format!("uri:{name}")),
            _ => None,
        });
        ClientCertificate { sha256, common_name, alternative_names: alternative_names.collect() }
    }
}
