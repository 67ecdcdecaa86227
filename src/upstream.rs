//! Where the UCS behind the gateway is. It opens no connection.

use std::fmt;
use std::str::FromStr;

/// The address of UCS: `http://host[:port]`. One gateway stands before one UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// TCP port; 80 when the URL names none.
    pub port: u16,
    /// `host[:port]` as written: sent as `Host` where a request brings none.
    pub authority: String,
}

/// Why a URL is not that of a UCS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamUrlError {
    /// Another scheme, or none.
    #[error("{0:?} is not an http:// URL; write http://HOST:PORT")]
    Scheme(String),
    /// A path, query, user or fragment.
    #[error(
        "{0:?} holds more than host and port; a common prefix of UCS's paths belongs into base_path of routes.yaml"
    )]
    NotBare(String),
    /// No host, or not a host and port.
    #[error("{0:?} has no valid host and port; write http://HOST:PORT")]
    Authority(String),
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<UpstreamUrl, UpstreamUrlError> {
        let prefix = text.get(..7).filter(|prefix| prefix.eq_ignore_ascii_case("http://"));
        let rest = prefix.and(text.get(7..)).ok_or_else(|| UpstreamUrlError::Scheme(text.to_owned()))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UpstreamUrlError::NotBare(text.to_owned()));
        }
        let invalid = || UpstreamUrlError::Authority(text.to_owned());
        let authority: hyper::http::uri::Authority = rest.parse().map_err(|_| invalid())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let has_port = rest.len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return Err(invalid()),
            Some(port) => port,
            None if has_port => return Err(invalid()),
            None => 80,
        };
        if host.is_empty() {
            return Err(invalid());
        }
        Ok(UpstreamUrl { host: host.to_owned(), port, authority: rest.to_owned() })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_host_and_port() {
        let url: UpstreamUrl = "http://127.0.0.1:8080/".parse().expect("valid");
        assert_eq!((url.host.as_str(), url.port, url.authority.as_str()), ("127.0.0.1", 8080, "127.0.0.1:8080"));
        let url: UpstreamUrl = "http://[::1]:81".parse().expect("valid");
        assert_eq!((url.host.as_str(), url.port), ("::1", 81));
        assert_eq!("http://ucs".parse::<UpstreamUrl>().map(|url| url.port), Ok(80));
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for text in
            ["https://ucs", "ucs:80", "http://", "http://ucs:0", "http://ucs:x", "http://ucs/cv", "http://a@ucs"]
        {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }
}
