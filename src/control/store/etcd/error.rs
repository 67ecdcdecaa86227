//! Errors of calls to etcd, and whether a write that failed may still be applied.
//!
//! A write whose outcome is unknown may be applied later, after a read has shown it as not done. So the errors that prove that
//! it never will be are listed, and everything else is unknown.

use std::error::Error as _;
use std::path::PathBuf;

use tonic::{Code, ConnectError, Status};

/// The users of etcd have changed since the token was made.
const STALE_TOKEN: &str = "auth: revision in header is old";

/// An error of the store in etcd.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// No endpoint took a connection: nothing was sent.
    #[error("cannot connect to etcd: {0}")]
    Connect(String),
    /// A file of the settings cannot be used. Nothing was sent.
    #[error("{}: {fault}", .path.display())]
    File { path: PathBuf, fault: String },
    /// The certificates of the settings cannot be used. Nothing was sent.
    #[error("{0}")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// `etcds://` without an authority. Nothing was sent.
    #[error("etcds:// needs the certificates of the authority that etcd's own descends from: --store-ca FILE")]
    NoCa,
    /// etcd refused the call before it did anything.
    #[error("etcd at {endpoint} refuses: {message} (code {code})")]
    Refused { endpoint: String, code: i32, message: String },
    /// etcd reported a failure, or the connection broke.
    #[error("etcd at {endpoint} failed: {message} (code {code})")]
    Failed {
        endpoint: String,
        code: i32,
        /// etcd's words, or those of the connection.
        message: String,
    },
    #[error("etcd at {0} did not respond in time")]
    TimedOut(String),
    /// A response that does not come from etcd.
    #[error("etcd at {endpoint} sent a response that makes no sense: {fault}")]
    Malformed { endpoint: String, fault: &'static str },
    #[error("another etcd cluster responds at {endpoint}: {found:x}, not {expected:x}")]
    OtherCluster { endpoint: String, expected: u64, found: u64 },
    #[error("the store's thread has ended")]
    Ended,
}

impl EtcdError {
    /// Sorts gRPC's status. Only etcd's own words prove something: the client makes the same codes of broken connections.
    pub(super) fn of_status(endpoint: &str, status: &Status) -> EtcdError {
        let (endpoint, code, message) = (endpoint.to_owned(), i32::from(status.code()), words_of(status));
        let is_of_etcd = status.source().is_none() && message.starts_with("etcdserver: ");
        match status.code() {
            // etcd's own words for a stale token, which it forgets to number.
            Code::Unknown if message == STALE_TOKEN => EtcdError::Refused { endpoint, code, message },
            _ if is_connect_error(status) => EtcdError::Connect(format!("{endpoint}: {message}")),
            Code::InvalidArgument
            | Code::NotFound
            | Code::PermissionDenied
            | Code::OutOfRange
            | Code::Unauthenticated
                if is_of_etcd =>
            {
                EtcdError::Refused { endpoint, code, message }
            }
            _ => EtcdError::Failed { endpoint, code, message },
        }
    }

    /// Whether a write that ended so was certainly not done and will never be.
    pub fn is_known_not_done(&self) -> bool {
        matches!(
            self,
            EtcdError::Connect(_)
                | EtcdError::File { .. }
                | EtcdError::Certificate(_)
                | EtcdError::NoCa
                | EtcdError::Refused { .. }
        )
    }

    /// Whether another endpoint may do better.
    pub(super) fn is_of_endpoint(&self) -> bool {
        match self {
            EtcdError::Connect(_)
            | EtcdError::Failed { .. }
            | EtcdError::TimedOut(_)
            | EtcdError::Malformed { .. }
            | EtcdError::OtherCluster { .. } => true,
            EtcdError::File { .. }
            | EtcdError::Certificate(_)
            | EtcdError::NoCa
            | EtcdError::Refused { .. }
            | EtcdError::Ended => false,
        }
    }

    /// Whether a new login may help: the token is unknown (it ended, or etcd restarted) or older than the last change of users.
    pub(super) fn wants_login(&self) -> bool {
        match self {
            EtcdError::Refused { code, message, .. } => {
                *code == i32::from(Code::Unauthenticated)
                    || message == STALE_TOKEN
                    || (*code == i32::from(Code::InvalidArgument)
                        && (message.contains("revision of auth store is old")
                            || message.contains("user name is empty")))
            }
            _ => false,
        }
    }
}

/// The whole chain of an error in one line: an operator can act on the innermost.
pub(super) fn chain_of(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let inner = error.to_string();
        if !words.contains(&inner) {
            words = format!("{words}: {inner}");
        }
        source = error.source();
    }
    words
}

fn words_of(status: &Status) -> String {
    let source = status.source().map(chain_of).unwrap_or_default();
    match (status.message(), source.as_str()) {
        (message, "") => message.to_owned(),
        ("", source) => source.to_owned(),
        (message, source) if source.contains(message) => source.to_owned(),
        (message, source) => format!("{message}: {source}"),
    }
}

/// Whether tonic's connection had ended and could not be made again: the call was not sent.
fn is_connect_error(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(code: i32, message: &str) -> EtcdError {
        EtcdError::of_status("h:1", &Status::new(Code::from(code), message))
    }

    #[test]
    fn only_the_listed_codes_in_etcds_own_words_prove_that_a_write_was_not_done() {
        let proving: Vec<i32> =
            (1..=16).filter(|code| sorted(*code, "etcdserver: words").is_known_not_done()).collect();
        assert_eq!(proving, [3, 5, 7, 11, 16]);
        // Made up by the client of a connection that broke: the call may have been sent.
        assert!((1..=16).all(|code| !sorted(code, "broken pipe").is_known_not_done()));
        assert!(!EtcdError::TimedOut("h:1".to_owned()).is_known_not_done());
        assert!(EtcdError::Connect("h:1: refused".to_owned()).is_known_not_done());
    }

    #[test]
    fn a_new_login_follows_only_what_a_new_token_can_mend() {
        for (code, message, wanted) in [
            (16, "etcdserver: invalid auth token", true),
            (3, "etcdserver: revision of auth store is old", true),
            (3, "etcdserver: user name is empty", true),
            (2, STALE_TOKEN, true),
            (3, "etcdserver: authentication failed, invalid user ID or password", false),
            (7, "etcdserver: permission denied", false),
            (14, "etcdserver: no leader", false),
        ] {
            assert_eq!(sorted(code, message).wants_login(), wanted, "{message}");
        }
    }

    #[test]
    fn a_connection_that_could_not_be_made_again_sent_nothing() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let status = Status::from_error(Box::new(ConnectError(Box::new(refused))));
        assert!(matches!(EtcdError::of_status("h:1", &status), EtcdError::Connect(_)), "{status}");
        // A socket that may not send is no word of etcd.
        let denied = Status::from(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(denied.code(), Code::PermissionDenied);
        assert!(!EtcdError::of_status("h:1", &denied).is_known_not_done());
    }
}
