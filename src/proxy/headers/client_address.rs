//! The address of the client behind proxies that are trusted (`--trusted-proxy`): the chain of `X-Forwarded-For` or `Forwarded`
//! (RFC 7239), walked from its end. Pure; whatever a client writes into its part of the chain, no other address comes out.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::http1::{Fields, KnownName};

#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Vec<TrustedProxy>);

/// A trusted proxy, as the flag names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustedProxy {
    /// A network in CIDR notation, or one address.
    Network {
        address: IpAddr,
        /// The bits that its addresses share.
        prefix: u32,
    },
    /// The peers of a unix socket, which its file lets in.
    Unix,
}

/// Whether the fields of a client's connection say who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trust {
    /// No proxy is configured: the fields are passed on, and nothing rests on them.
    #[default]
    Unknown,
    /// The peer is a trusted proxy.
    Proxy,
    /// Proxies are configured, and the peer is none of them: its fields are dropped.
    Client,
}

impl TrustedProxies {
    /// These proxies.
    pub fn new(proxies: Vec<TrustedProxy>) -> TrustedProxies {
        TrustedProxies(proxies)
    }

    /// How far the fields of a peer count; `None` is the peer of a unix socket.
    pub(crate) fn trust(&self, peer: Option<IpAddr>) -> Trust {
        match (self.0.is_empty(), self.has(peer)) {
            (true, _) => Trust::Unknown,
            (false, true) => Trust::Proxy,
            (false, false) => Trust::Client,
        }
    }

    /// The client of a request that came from `peer`: the last address of the chain that is no trusted proxy. An entry that is
    /// no address ends the chain, and the proxy that has added it is taken for the client.
    pub fn client(&self, peer: Option<IpAddr>, fields: &Fields) -> Option<IpAddr> {
        let peer = peer.map(|peer| peer.to_canonical());
        if !self.has(peer) {
            return peer;
        }
        // A proxy that adds to the one field passes the other one on as clients sent it. `X-Forwarded-For` is the usual one.
        match fields.has(KnownName::XForwardedFor) {
            true => self.walk(peer, entries(fields, KnownName::XForwardedFor).map(address)),
            false => self.walk(peer, entries(fields, KnownName::Forwarded).map(forwarded_for)),
        }
    }

    fn walk(&self, peer: Option<IpAddr>, nodes: impl Iterator<Item = Option<IpAddr>>) -> Option<IpAddr> {
        let mut nearest = peer;
        for node in nodes {
            if node.is_none() {
                break;
            }
            nearest = node;
            if !self.has(node) {
                break;
            }
        }
        nearest
    }

    fn has(&self, peer: Option<IpAddr>) -> bool {
        let peer = peer.map(|peer| peer.to_canonical());
        self.0.iter().any(|proxy| proxy.is(peer))
    }
}

impl TrustedProxy {
    fn is(self, peer: Option<IpAddr>) -> bool {
        let (TrustedProxy::Network { address, prefix }, Some(peer)) = (self, peer) else {
            return self == TrustedProxy::Unix && peer.is_none();
        };
        match (address, peer) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                same_prefix(own.to_bits().into(), other.to_bits().into(), 32, prefix)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => same_prefix(own.to_bits(), other.to_bits(), 128, prefix),
            _ => false,
        }
    }
}

fn same_prefix(one: u128, other: u128, bits: u32, prefix: u32) -> bool {
    (one ^ other).checked_shr(bits - prefix).unwrap_or(0) == 0
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<TrustedProxy, String> {
        if text == "unix" {
            return Ok(TrustedProxy::Unix);
        }
        let wrong = || "write an address, a network, such as 10.1.0.0/16 or 2001:db8::/32, or unix".to_owned();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let written: IpAddr = address.parse().map_err(|_| wrong())?;
        let address = written.to_canonical();
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // Of an IPv4-mapped network.
        let offset = if written.is_ipv6() && address.is_ipv4() { 96 } else { 0 };
        let prefix = match prefix {
            Some(prefix) => {
                prefix.parse::<u32>().ok().and_then(|prefix| prefix.checked_sub(offset)).ok_or_else(wrong)?
            }
            None => bits,
        };
        if prefix > bits {
            return Err(wrong());
        }
        let network = TrustedProxy::Network { address, prefix };
        let host_bits = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        let is_network = bits == prefix || host_bits.trailing_zeros() >= bits - prefix;
        if is_network { Ok(network) } else { Err(format!("{text} has bits beyond its prefix of {prefix}")) }
    }
}

/// The entries of all lines of a field, from the last one on. Empty ones do not count (RFC 9110, 5.6.1). What is quoted is seen
/// from the end: a quote that a client has not closed cannot hide what a proxy has added after it.
fn entries(fields: &Fields, name: KnownName) -> impl Iterator<Item = &[u8]> {
    let lines = fields.values_of(name).rev();
    lines
        .flat_map(|line| {
            let mut is_quoted = false;
            line.rsplit(move |&byte| {
                is_quoted ^= byte == b'"';
                byte == b',' && !is_quoted
            })
        })
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty())
}

/// The address of an element of `Forwarded`: its one `for`.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut nodes = element.split(|&byte| byte == b';').filter_map(|pair| {
        let (name, value) = pair.trim_ascii().split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    });
    let node = nodes.next()?;
    if nodes.next().is_some() { None } else { address(node) }
}

/// The address of a node: an address, perhaps in quotes, in brackets, with a port. Neither `unknown` nor an obfuscated name is
/// one.
fn address(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let text = text.strip_prefix('"').map_or(Some(text), |rest| rest.strip_suffix('"'))?;
    let bare = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'));
    let plain = bare.and_then(|bare| bare.parse::<IpAddr>().ok());
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    plain.or_else(with_port).map(|address| address.to_canonical())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "10.0.0.1";

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"].map(|text| text.parse().unwrap()).to_vec())
    }

    fn client(lines: &[(&str, &str)]) -> String {
        client_of(PEER, lines)
    }

    fn client_of(peer: &str, lines: &[(&str, &str)]) -> String {
        proxies().client(peer.parse().ok(), &Fields::of_lines(lines)).unwrap().to_string()
    }

    fn by_list(list: &str) -> String {
        client(&[("x-forwarded-for", list)])
    }

    fn by_forwarded(list: &str) -> String {
        client(&[("forwarded", list)])
    }

    #[test]
    fn the_walk_passes_trusted_proxies_only() {
        assert_eq!(client(&[]), PEER);
        assert_eq!(by_list("203.0.113.9"), "203.0.113.9");
        assert_eq!(by_list("198.51.100.1, 203.0.113.9, 10.2.3.4, 192.0.2.1"), "203.0.113.9");
        assert_eq!(by_list("198.51.100.1, 192.0.2.2"), "192.0.2.2", "one address, not its network");
        assert_eq!(by_list("10.9.9.9, 10.2.3.4"), "10.9.9.9", "all are proxies: the first of them");
        assert_eq!(client(&[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "10.2.3.4")]), "203.0.113.9");
        assert_eq!(client(&[("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=198.51.100.1")]), "203.0.113.9");
        let lines = [("x-forwarded-for", "198.51.100.1")];
        assert_eq!(client_of("203.0.113.1", &lines), "203.0.113.1");
        assert_eq!(client_of("::ffff:10.0.0.1", &lines), "198.51.100.1");
    }

    #[test]
    fn the_peers_of_a_unix_socket_are_proxies_if_they_are_listed() {
        let of = |proxies: TrustedProxies, list| {
            proxies.client(None, &Fields::of_lines(&[("x-forwarded-for", list)])).map(|client| client.to_string())
        };
        let listed = || TrustedProxies::new(vec![TrustedProxy::Unix, "10.0.0.0/8".parse().unwrap()]);
        assert_eq!(of(listed(), "198.51.100.1, 10.2.3.4").as_deref(), Some("198.51.100.1"));
        assert_eq!(of(listed(), "unknown"), None);
        assert_eq!(of(proxies(), "198.51.100.1"), None);
        assert_eq!([listed().trust(None), proxies().trust(None)], [Trust::Proxy, Trust::Client]);
        assert_eq!("unix".parse(), Ok(TrustedProxy::Unix));
    }

    #[test]
    fn a_node_has_the_spellings_that_proxies_write() {
        for node in ["2001:db9::7", "[2001:db9::7]", "[2001:db9::7]:443", "\"[2001:db9::7]:443\"", "\"2001:db9::7\""] {
            assert_eq!(by_list(node), "2001:db9::7", "{node}");
            assert_eq!(by_forwarded(&format!("proto=https; For={node};by=_x")), "2001:db9::7", "{node}");
        }
        for node in ["203.0.113.9:80", "\"203.0.113.9\"", "::ffff:203.0.113.9", " 203.0.113.9 , ,"] {
            assert_eq!(by_list(node), "203.0.113.9", "{node}");
        }
        assert_eq!(by_forwarded("for=198.51.100.1, for=203.0.113.9;by=10.1.1.1, for=10.3.3.3"), "203.0.113.9");
        assert_eq!(by_forwarded("by=\"a,b;for=1.1.1.1\", for=\"203.0.113.9\""), "203.0.113.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_proxy_that_added_it() {
        for node in
            ["unknown", "_hidden", "\"_hidden:80\"", "gw.example", "203.0.113", "203.0.113.9:", "[::1", "\"", "1"]
        {
            assert_eq!(by_list(&format!("198.51.100.1, {node}, 10.2.2.2")), "10.2.2.2", "{node}");
            assert_eq!(by_forwarded(&format!("for=198.51.100.1, for={node}, for=10.2.2.2")), "10.2.2.2", "{node}");
        }
        for element in ["proto=https", "for=1.1.1.1;for=2.2.2.2", "for", "203.0.113.9"] {
            assert_eq!(by_forwarded(&format!("for=198.51.100.1, {element}, for=10.2.2.2")), "10.2.2.2", "{element}");
        }
    }

    #[test]
    fn a_network_is_written_as_it_is() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.128/25", "192.0.2.200", "192.0.2.127"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("::ffff:10.0.0.0/104", "10.1.1.1", "11.1.1.1"),
            ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ] {
            let proxies = TrustedProxies::new(vec![text.parse().unwrap()]);
            assert_eq!(proxies.trust(inside.parse().ok()), Trust::Proxy, "{text}");
            assert_eq!(proxies.trust(outside.parse().ok()), Trust::Client, "{text}");
        }
        for text in ["", "10.0.0.1/8", "10.0.0.0/33", "2001:db8::/129", "10.0.0.0/-1", "::ffff:10.0.0.0/8", "localhost"]
        {
            assert!(text.parse::<TrustedProxy>().is_err(), "{text}");
        }
        assert_eq!(TrustedProxies::default().trust(PEER.parse().ok()), Trust::Unknown);
    }

    proptest! {
        /// Whatever a client sends, the address that its proxy has seen comes out.
        #[test]
        fn no_client_can_forge_its_address(forged in "[ -~]{0,60}", proxies in 0_usize..4, is_line in any::<bool>()) {
            let seen = "203.0.113.9";
            let tail = |prefix: &str| {
                let own = (0..proxies).map(|number| format!(", {prefix}10.0.{number}.1")).collect::<String>();
                format!("{prefix}{seen}{own}")
            };
            for (name, prefix) in [("x-forwarded-for", ""), ("forwarded", "for=")] {
                let (tail, joined) = (tail(prefix), format!("{forged}, {}", tail(prefix)));
                let lines = if is_line { vec![(name, &*forged), (name, &*tail)] } else { vec![(name, &*joined)] };
                prop_assert_eq!(client(&lines), seen);
            }
        }

        #[test]
        fn nothing_that_is_sent_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for name in ["x-forwarded-for", "forwarded"] {
                proxies().client(PEER.parse().ok(), &Fields::of_lines(&[(name, &bytes)]));
            }
        }
    }
}
