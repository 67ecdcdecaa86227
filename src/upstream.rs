//! Where UCS is: the URL that both lines speak to. It opens no connection.

use std::fmt;
use std::str::FromStr;

/// A checked `http://host[:port][/base]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// `host:port` as it goes into `Host`; without the port when it is 80 and was not written.
    pub authority: String,
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// 80 unless written.
    pub port: u16,
    /// Prefix of every path, without a trailing slash; empty for none.
    pub base_path: String,
}

/// Why a text is not a usable upstream URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{url}\" cannot be the upstream: {fault}; write for example http://127.0.0.1:8080")]
pub struct UpstreamUrlError {
    url: String,
    fault: &'static str,
}

impl UpstreamUrlError {
    /// Whatever stands where a password could is not told: errors go to logs.
    fn new(text: &str, fault: &'static str) -> UpstreamUrlError {
        let url = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("…@{host}"));
        UpstreamUrlError { url, fault }
    }
}

impl UpstreamUrl {
    /// Reads a URL as operators write it.
    pub fn parse(text: &str) -> Result<UpstreamUrl, UpstreamUrlError> {
        let wrong = |fault| UpstreamUrlError::new(text, fault);
        let uri: hyper::Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(wrong("only http:// is supported")),
            None => return Err(wrong("http:// is missing")),
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it has a query or a fragment"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it holds a user name; credentials have their own file"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(80),
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
            None => None,
        };
        let Some(port) = port.filter(|_| !host.is_empty()) else {
            return Err(wrong("its host or port is not usable"));
        };
        Ok(UpstreamUrl {
            authority: authority.as_str().to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    /// As [`parse`](UpstreamUrl::parse), without a path: a common prefix of UCS's paths is the route table's business.
    fn from_str(text: &str) -> Result<UpstreamUrl, UpstreamUrlError> {
        let url = UpstreamUrl::parse(text)?;
        if url.base_path.is_empty() {
            return Ok(url);
        }
        Err(UpstreamUrlError::new(text, "it has a path, which belongs into base_path of routes.yaml"))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.base_path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String, u16, String) {
        let url = UpstreamUrl::parse(text).unwrap();
        (url.authority, url.host, url.port, url.base_path)
    }

    #[test]
    fn reads_what_operators_write() {
        assert_eq!(parts("http://ucs"), ("ucs".into(), "ucs".into(), 80, "".into()));
        assert_eq!(parts("http://ucs:8080/"), ("ucs:8080".into(), "ucs".into(), 8080, "".into()));
        assert_eq!(parts("http://10.0.0.1:80/cv/"), ("10.0.0.1:80".into(), "10.0.0.1".into(), 80, "/cv".into()));
        assert_eq!(parts("http://[::1]:9/a/b"), ("[::1]:9".into(), "::1".into(), 9, "/a/b".into()));
    }

    #[test]
    fn refuses_the_rest_and_says_why() {
        for text in [
            "",
            "ucs:8080",
            "https://ucs",
            "http://",
            "http://u:p@ucs",
            "http://ucs/?a",
            "http://ucs/#a",
            "http://ucs:0",
            "http://ucs:99999",
            "http://ucs:",
            "http:// ucs",
        ] {
            let error = UpstreamUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains("cannot be the upstream") && !error.contains("u:p"), "{text}: {error}");
        }
    }
}
