//! Listening sockets that a service manager made and passes on (socket activation, sd_listen_fds(3)). They outlive the process,
//! so that connections wait for the next one in place of being refused.

use std::env;
use std::io;
use std::process;

use listenfd::ListenFd;
use socket2::SockRef;

use super::listen::ListeningSocket;

/// The inherited sockets; none without socket activation.
#[derive(Debug, Default)]
pub(crate) struct InheritedSockets {
    /// For the data port.
    pub(crate) data: Option<ListeningSocket>,
    /// For the admin port.
    pub(crate) admin: Option<ListeningSocket>,
}

/// Why the inherited sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InheritError {
    #[error("LISTEN_FDS={0:?} is not a number of sockets")]
    Count(String),
    #[error("{sockets} sockets are inherited (LISTEN_FDS), and LISTEN_FDNAMES={names:?} names {}", names.split(':').count())]
    Names { sockets: usize, names: String },
    #[error(
        "the inherited socket {0:?} has no use; set FileDescriptorName=data or FileDescriptorName=admin in its unit"
    )]
    Unknown(String),
    #[error("two inherited sockets are for the {0} port; pass one, e.g. with one ListenStream= in its unit")]
    Twice(&'static str),
    #[error("the inherited socket for the {port} port cannot be used: {source}")]
    Socket { port: &'static str, source: io::Error },
}

/// The port that a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Port {
    Data,
    Admin,
}

impl InheritedSockets {
    /// Takes the sockets of this process. To be called first of all: the numbers of the descriptors are given, and any file that
    /// is opened before could have one of them.
    pub(crate) fn take() -> Result<InheritedSockets, InheritError> {
        let count = env::var("LISTEN_FDS").unwrap_or_default();
        // The library ignores a count that is none, and the gateway would listen elsewhere.
        if !count.is_empty() && is_for_this_process() && count.parse::<u8>().is_err() {
            return Err(InheritError::Count(count));
        }
        let names = env::var("LISTEN_FDNAMES").ok();
        let mut passed = ListenFd::from_env();
        let mut sockets = InheritedSockets::default();
        for (index, port) in ports(names.as_deref(), passed.len())?.into_iter().enumerate() {
            let socket = take_one(&mut passed, index);
            let socket = socket.map_err(|source| InheritError::Socket { port: port.name(), source })?;
            let place = match port {
                Port::Data => &mut sockets.data,
                Port::Admin => &mut sockets.admin,
            };
            if place.replace(socket).is_some() {
                return Err(InheritError::Twice(port.name()));
            }
        }
        Ok(sockets)
    }
}

impl Port {
    fn name(self) -> &'static str {
        match self {
            Port::Data => "data",
            Port::Admin => "admin",
        }
    }
}

/// Another process may have inherited the environment, and not the sockets.
fn is_for_this_process() -> bool {
    match env::var("LISTEN_PID").as_deref() {
        Ok("") | Err(_) => true,
        Ok(pid) => pid.parse() == Ok(process::id()),
    }
}

/// The port of each of `count` sockets, by its name. One without a name is for the data port.
fn ports(names: Option<&str>, count: usize) -> Result<Vec<Port>, InheritError> {
    let unnamed = || vec![""; count];
    let names: Vec<&str> = match names.filter(|names| !names.is_empty() && count > 0) {
        Some(names) => names.split(':').collect(),
        None => unnamed(),
    };
    if names.len() != count {
        return Err(InheritError::Names { sockets: count, names: names.join(":") });
    }
    let port = |name: &str| match name {
        "data" | "" | "unknown" => Ok(Port::Data),
        "admin" => Ok(Port::Admin),
        other => Err(InheritError::Unknown(other.to_owned())),
    };
    names.into_iter().map(port).collect()
}

fn take_one(passed: &mut ListenFd, index: usize) -> io::Result<ListeningSocket> {
    let taken = match passed.take_unix_listener(index) {
        Ok(Some(listener)) => Some(ListeningSocket::Unix(listener)),
        _ => passed.take_tcp_listener(index)?.map(ListeningSocket::Tcp),
    };
    let socket = taken.ok_or_else(|| io::Error::other("it was taken before"))?;
    let (listens, nonblocking) = match &socket {
        ListeningSocket::Tcp(listener) => (SockRef::from(listener).is_listener()?, listener.set_nonblocking(true)),
        ListeningSocket::Unix(listener) => (SockRef::from(listener).is_listener()?, listener.set_nonblocking(true)),
    };
    nonblocking?;
    if listens { Ok(socket) } else { Err(io::Error::other("it does not listen")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(names: Option<&str>, count: usize) -> String {
        ports(names, count).unwrap_err().to_string()
    }

    #[test]
    fn a_socket_is_for_the_port_that_it_is_named_after() {
        use Port::{Admin, Data};
        assert_eq!(ports(None, 0).unwrap(), []);
        assert_eq!(ports(Some("data:admin"), 0).unwrap(), [], "these names are of another process");
        assert_eq!(ports(None, 1).unwrap(), [Data]);
        assert_eq!(ports(Some(""), 1).unwrap(), [Data]);
        assert_eq!(ports(Some("unknown"), 1).unwrap(), [Data]);
        assert_eq!(ports(Some("admin"), 1).unwrap(), [Admin]);
        assert_eq!(ports(Some("admin:data"), 2).unwrap(), [Admin, Data]);
        assert_eq!(ports(Some("admin:"), 2).unwrap(), [Admin, Data]);
    }

    #[test]
    fn a_name_that_says_nothing_is_an_error_and_no_guess() {
        assert!(told(Some("ucs-gateway.socket"), 1).contains("FileDescriptorName=data"));
        assert!(told(Some("data"), 2).contains("names 1"));
        assert!(told(Some("data:admin:data"), 2).contains("names 3"));
    }
}
