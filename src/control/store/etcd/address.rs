//! The address of an etcd, with the name under which a fleet keeps its keys: `etcd://HOST:PORT,HOST:PORT/NAME`. It connects to
//! nothing and reads no file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The longest name of a fleet or node.
const LONGEST_NAME: usize = 128;

/// The address of a fleet's store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress {
    pub(super) tls: bool,
    /// `HOST:PORT`, tried by turns.
    pub(super) endpoints: Vec<String>,
    pub(super) name: String,
}

/// The address and the credentials.
#[derive(Clone, Debug)]
pub struct EtcdSettings {
    /// The address.
    pub address: EtcdAddress,
    /// The CAs of etcd's certificate (PEM).
    pub ca: Option<PathBuf>,
    /// The client certificate and its key (PEM). Its common name is a user of etcd, if etcd takes users from certificates.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file with one line, USER:PASSWORD.
    pub credentials: Option<PathBuf>,
}

impl EtcdSettings {
    /// Plain, without user.
    pub fn at(address: EtcdAddress) -> EtcdSettings {
        EtcdSettings { address, ca: None, certificate: None, credentials: None }
    }
}

impl EtcdAddress {
    pub(super) fn uri(&self, endpoint: &str) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{endpoint}")
    }
}

impl FromStr for EtcdAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<EtcdAddress, String> {
        let (tls, rest) = match (text.strip_prefix("etcd://"), text.strip_prefix("etcds://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("write etcd://HOST:PORT,HOST:PORT/NAME, or etcds://… for TLS".to_owned()),
        };
        let (hosts, name) = rest.split_once('/').ok_or(
            "the name of the fleet is missing: write etcd://HOST:PORT/NAME, e.g. etcd://127.0.0.1:2379/contact-centre",
        )?;
        let endpoints: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if let Some(wrong) = endpoints.iter().find(|endpoint| !is_host_port(endpoint)) {
            return Err(format!(
                "{wrong:?} is no HOST:PORT, e.g. 127.0.0.1:2379 (credentials belong in --store-credentials)"
            ));
        }
        check_name(name)?;
        Ok(EtcdAddress { tls, endpoints, name: name.to_owned() })
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        write!(f, "{scheme}://{}/{}", self.endpoints.join(","), self.name)
    }
}

/// Whether a text may name a fleet or a node: it becomes a part of keys.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(is_plain) {
        return Err(format!("{name:?} is no name: letters, digits, \"-\", \"_\" and \".\", at most {LONGEST_NAME}"));
    }
    Ok(())
}

fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, tls, endpoints) in [
            ("etcd://127.0.0.1:2379/fleet", false, vec!["127.0.0.1:2379"]),
            ("etcds://a.example:1,[::1]:2,c:3/contact-centre_1.x", true, vec!["a.example:1", "[::1]:2", "c:3"]),
        ] {
            let address: EtcdAddress = text.parse().unwrap();
            assert_eq!(address.tls, tls);
            assert_eq!(address.endpoints, endpoints);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn addresses_that_could_mean_something_else_are_refused() {
        for text in [
            "file",
            "http://h:1/n",
            "etcd://h:1",
            "etcd://h:1/",
            "etcd:///n",
            "etcd://h/n",
            "etcd://h:0/n",
            "etcd://h:65536/n",
            "etcd://h:1,/n",
            "etcd://user:password@h:1/n",
            "etcd://h:1/a/b",
            "etcd://h:1/n?x=1",
            "etcd://h:1/ä",
            "etcd://[::1:2/n",
            "etcd://::1:2/n",
        ] {
            assert!(text.parse::<EtcdAddress>().is_err(), "{text}");
        }
        assert!(check_name(&"n".repeat(LONGEST_NAME)).is_ok() && check_name(&"n".repeat(LONGEST_NAME + 1)).is_err());
    }
}
