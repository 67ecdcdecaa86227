//! An address, for a listener (an IP address) and for its clients (a host name), and the peer of a connection. It resolves no
//! name.

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

/// The other end of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A unix socket, with the user id of the peer if the kernel reports one.
    Unix(Option<u32>),
}

impl Peer {
    /// Its address; none over a unix socket.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix(_) => None,
        }
    }
}

/// As logs name it.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => address.fmt(f),
            Peer::Unix(_) => f.write_str("unix"),
        }
    }
}

/// Parses an address to listen on: `IP:PORT`, `localhost:PORT`, `:PORT` for every address, or `unix:PATH`. No name is looked
/// up.
pub(crate) fn parse_listen(text: &str) -> Result<Address, String> {
    if text.starts_with("unix:") {
        return text.parse();
    }
    let spelled = match text.rsplit_once(':') {
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => format!("127.0.0.1:{port}"),
        _ => text.to_owned(),
    };
    let wrong = |error| format!("{error}; write IP:PORT, localhost:PORT, :PORT or unix:PATH, e.g. 127.0.0.1:8080");
    spelled.parse().map(Address::Tcp).map_err(wrong)
}

/// Parses a host as `Host` may name it: a name or an IP address, in lower case, without port, brackets and trailing dot.
pub(crate) fn parse_host(text: &str) -> Result<String, String> {
    let host = match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => address.to_canonical().to_string(),
        (_, Ok(address)) => address.ip().to_canonical().to_string(),
        _ => {
            let host = text.rsplit_once(':').map_or(text, |(host, port)| if is_port(port) { host } else { text });
            host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
        }
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if host.is_empty() || (host.parse::<IpAddr>().is_err() && !is_name(&host)) {
        return Err("write a host name or an IP address, such as gw.example".to_owned());
    }
    Ok(host)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl HostPort {
    /// As written, which is also the value of `Host`.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The host, an IPv6 address without its brackets.
    pub(crate) fn host(&self) -> &str {
        host_of(&self.0)
    }

    /// Whether the host is this machine, so that a token sent in clear text does not leave it.
    pub(crate) fn is_loopback(&self) -> bool {
        let host = self.host();
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// The host of `HOST:PORT`, an IPv6 address without its brackets.
pub(crate) fn host_of(endpoint: &str) -> &str {
    let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
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
    fn an_address_to_listen_on_is_written_as_people_do() {
        for (written, address) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(parse_listen(written).unwrap().to_string(), address, "{written}");
        }
        for text in ["", "here", "gw.example:80", ":", "localhost", ":99999", "unix:"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
        assert_eq!(parse_listen("unix:/run/a.sock").unwrap().to_string(), "unix:/run/a.sock");
    }

    #[test]
    fn a_host_is_what_a_client_names() {
        for (written, host) in [
            ("gw.example", "gw.example"),
            ("GW.example.:8081", "gw.example"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1:8081", "10.0.0.1"),
            ("[2001:DB8::1]:8081", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
        ] {
            assert_eq!(parse_host(written).as_deref(), Ok(host), "{written}");
        }
        for text in ["", ":8081", "http://gw.example", "a@gw.example", "gw.example:port", "a b"] {
            assert!(parse_host(text).is_err(), "{text}");
        }
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
