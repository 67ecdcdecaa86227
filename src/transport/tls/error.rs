//! Faults of TLS: files that cannot be used, and handshakes that fail, each with a word on what to do.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why files cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file; put the PEM file in its place", path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than 1 MiB", path.display())]
    TooLong { path: PathBuf },
    #[error("{} is not valid PEM: {source}", path.display())]
    Pem { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("{} contains no {what} in PEM", path.display())]
    Missing { path: PathBuf, what: &'static str },
    #[error("the key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Pair { certificate: PathBuf, key: PathBuf },
    #[error("the new certificate has expired")]
    Expired,
    #[error("{} cannot be used: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
    #[error("{0:?} is neither a host name nor an IP address that a certificate can name")]
    Name(String),
}

/// An error of a connection, with the remedy if UCS is the peer.
pub(super) fn session_error(error: Error, is_client: bool) -> io::Error {
    match advice(&error).filter(|_| is_client) {
        Some(advice) => io::Error::new(io::ErrorKind::InvalidData, WithAdvice { error, advice }),
        None => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("TLS failed: {error}: {advice}")]
struct WithAdvice {
    #[source]
    error: Error,
    advice: &'static str,
}

/// The remedy for an error of a server.
fn advice(error: &Error) -> Option<&'static str> {
    use CertificateError as Bad;
    Some(match error {
        Error::InvalidCertificate(fault) => match fault {
            Bad::UnknownIssuer => "the CA that signed the server's certificate is not in the file of trusted CAs",
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "the server's certificate is for another name; call the server by that name, or set the expected one"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "the server's certificate has expired; renew it there, or correct this machine's clock"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => "correct this machine's clock",
            _ => "the server needs another certificate",
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => "the server does not speak TLS; try http://",
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::AccessDenied => {
                "the server does not accept this client's certificate, or demands one; see the client certificate and its key"
            }
            AlertDescription::UnrecognisedName => "the server does not know the name that it is called by",
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion => {
                "the server shares no protocol version or cipher with this client, which speaks TLS 1.2 and 1.3, or it \
                 demands a client certificate"
            }
            _ => return None,
        },
        Error::PeerIncompatible(_) => "the server must speak TLS 1.2 or 1.3 with a current cipher",
        _ => return None,
    })
}
