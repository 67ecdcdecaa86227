//! An address, for a listener (an IP address) and for its clients (a host name). It resolves no name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address<T = SocketAddr> {
    Tcp(T),
    Unix(PathBuf),
}

impl<T: FromStr<Err: fmt::Display>> FromStr for Address<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Address<T>, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("unix: needs a path, as in unix:/run/ucs-gateway/admin.sock".to_owned()),
            Some(path) => Ok(Address::Unix(path.into())),
            None => text
                .parse()
                .map(Address::Tcp)
                .map_err(|error| format!("{error}; write HOST:PORT or unix:PATH, e.g. 127.0.0.1:8081")),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Address<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl HostPort {
    /// As written, which is also the value of `Host`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the host is this machine, so that a token sent in clear text does not leave it.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or(self.0.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HostPort, &'static str> {
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !text.contains('/') && port.parse::<u16>().is_ok() => {
                Ok(HostPort(text.to_owned()))
            }
            _ => Err("invalid host or port"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_wrong_ones_rejected() {
        for text in ["127.0.0.1:8081", "[::1]:1", "gw.example:80", "unix:/run/x.sock"] {
            assert_eq!(text.parse::<Address<HostPort>>().unwrap().to_string(), text);
        }
        for text in ["", "localhost", ":80", "unix:", "http://localhost:1", "host:99999"] {
            assert!(text.parse::<Address<HostPort>>().is_err(), "{text}");
        }
        assert!("localhost:1".parse::<Address>().is_err(), "a listener takes no name");
    }

    #[test]
    fn only_loopback_stays_on_this_machine() {
        for (address, is_loopback) in
            [("localhost:1", true), ("[::1]:1", true), ("127.0.0.1:1", true), ("10.0.0.1:1", false)]
        {
            assert_eq!(address.parse::<HostPort>().unwrap().is_loopback(), is_loopback, "{address}");
        }
    }
}
