//! Certificates, keys and revocation lists from PEM files. It verifies no signature.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::error::TlsError;

/// The longest file, in bytes.
const LONGEST: u64 = 1 << 20;

/// A file and its content at one moment.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Content {
    /// Reads a regular file within the limit. Anything else, such as a pipe, could take for ever.
    pub(super) fn read(path: &Path) -> Result<Content, TlsError> {
        let failed = |source| TlsError::Read { path: path.to_owned(), source };
        if !path.metadata().map_err(failed)?.is_file() {
            return Err(TlsError::NotAFile { path: path.to_owned() });
        }
        // A pipe may have taken its place just now.
        let mut options = File::options();
        let options = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(TlsError::TooLong { path: path.to_owned() });
        }
        Ok(Content { path: path.to_owned(), bytes })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The certificates, the owner's first.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.items("certificate")
    }

    /// The private key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                TlsError::Missing { path: self.path(), what: "private key without a passphrase" }
            }
            source => TlsError::Pem { path: self.path(), source },
        })
    }

    /// The certificates as trusted roots.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.unusable(error))?;
        }
        Ok(roots)
    }

    /// The revocation lists: of each issuer the newest, as an older one could be the one that is looked at.
    pub(super) fn revocation_lists(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let mut newest: Vec<(Vec<u8>, i64, CertificateRevocationListDer<'static>)> = Vec::new();
        for list in self.items::<CertificateRevocationListDer<'static>>("revocation list")? {
            let (_, parsed) = CertificateRevocationList::from_der(&list).map_err(|error| self.unusable(error))?;
            let (issuer, made) = (parsed.issuer().as_raw().to_vec(), parsed.last_update().timestamp());
            match newest.iter_mut().find(|(other, ..)| *other == issuer) {
                Some(known) if known.1 < made => *known = (issuer, made, list),
                Some(_) => {}
                None => newest.push((issuer, made, list)),
            }
        }
        Ok(newest.into_iter().map(|(.., list)| list).collect())
    }

    /// When the first of these certificates ends, in seconds since 1970.
    pub(super) fn end(&self, chain: &[CertificateDer<'_>]) -> Result<i64, TlsError> {
        let mut ends = Vec::new();
        for certificate in chain {
            let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| self.unusable(error))?;
            ends.push(parsed.validity().not_after.timestamp());
        }
        ends.into_iter().min().ok_or(TlsError::Missing { path: self.path(), what: "certificate" })
    }

    /// Why these certificates and this key cannot be used together.
    pub(super) fn no_pair(&self, key: &Content, error: Error) -> TlsError {
        match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Pair { certificate: self.path(), key: key.path() }
            }
            error => self.unusable(error),
        }
    }

    pub(super) fn unusable(&self, why: impl ToString) -> TlsError {
        TlsError::Unusable { path: self.path(), why: why.to_string() }
    }

    fn items<T: PemObject>(&self, what: &'static str) -> Result<Vec<T>, TlsError> {
        let items: Result<Vec<T>, pem::Error> = T::pem_slice_iter(&self.bytes).collect();
        let items = items.map_err(|source| TlsError::Pem { path: self.path(), source })?;
        if items.is_empty() { Err(TlsError::Missing { path: self.path(), what }) } else { Ok(items) }
    }
}
