//! The URL of UCS.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// A checked `http://host[:port][/base]`, or `https://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamUrl {
    pub(crate) is_https: bool,
    /// The value of `Host`: `host:port`, without the port if it was omitted.
    pub(crate) authority: String,
    /// The unix socket to connect to, in place of host and port.
    pub(crate) socket: Option<PathBuf>,
    /// Name or address; an IPv6 address without its brackets.
    pub(crate) host: String,
    /// By default 80, for https 443.
    pub(crate) port: u16,
    /// Prefix of every path, without a trailing slash; empty for none.
    pub(crate) base_path: String,
}

/// Why a text is not a valid upstream URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{url}\" cannot be the upstream: {fault}; write for example http://127.0.0.1:8080 or unix:/run/ucs.sock")]
pub(crate) struct UpstreamUrlError {
    url: String,
    fault: &'static str,
}

impl UpstreamUrlError {
    /// Omits any user name and password: errors are logged.
    fn new(text: &str, fault: &'static str) -> UpstreamUrlError {
        let url = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("…@{host}"));
        UpstreamUrlError { url, fault }
    }
}

impl UpstreamUrl {
    /// Parses a URL, with a base path or without.
    pub(crate) fn parse(text: &str) -> Result<UpstreamUrl, UpstreamUrlError> {
        let wrong = |fault| UpstreamUrlError::new(text, fault);
        if let Some(path) = text.strip_prefix("unix:") {
            let is_absolute = path.starts_with('/') && !path.contains('\0');
            return if is_absolute { Ok(UpstreamUrl::unix(path)) } else { Err(wrong("unix: needs an absolute path")) };
        }
        let uri: hyper::Uri = text.parse().map_err(|_| wrong("it is not a URL"))?;
        let is_https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) => return Err(wrong("only http:// and https:// are supported")),
            None => return Err(wrong("http:// or https:// is missing")),
        };
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it must not contain a query or a fragment"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it must not contain a user name; use --upstream-credentials instead"));
        }
        let host = authority.host();
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(if is_https { 443 } else { 80 }),
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
            None => None,
        };
        let Some(port) = port.filter(|_| !host.is_empty()) else {
            return Err(wrong("its host or port is invalid"));
        };
        Ok(UpstreamUrl {
            is_https,
            authority: authority.as_str().to_owned(),
            socket: None,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            base_path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// A socket has no name that could stand in `Host`, so the name of this machine does.
    fn unix(path: &str) -> UpstreamUrl {
        let host = "localhost".to_owned();
        UpstreamUrl {
            is_https: false,
            authority: host.clone(),
            socket: Some(path.into()),
            host,
            port: 80,
            base_path: String::new(),
        }
    }

    /// The place to connect to, for messages.
    pub(crate) fn place(&self) -> String {
        self.socket.as_ref().map_or_else(|| self.authority.clone(), |_| self.to_string())
    }
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    /// As [`parse`](UpstreamUrl::parse), but rejects a path: the base path belongs to the route table.
    fn from_str(text: &str) -> Result<UpstreamUrl, UpstreamUrlError> {
        let url = UpstreamUrl::parse(text)?;
        if url.base_path.is_empty() {
            return Ok(url);
        }
        Err(UpstreamUrlError::new(text, "it must not contain a path; set base_path in routes.yaml instead"))
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = &self.socket {
            return write!(f, "unix:{}", path.display());
        }
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.base_path)
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
    fn a_unix_socket_is_named_by_its_path() {
        let url = UpstreamUrl::parse("unix:/run/ucs.sock").unwrap();
        assert_eq!((url.socket.as_deref(), &*url.authority), (Some("/run/ucs.sock".as_ref()), "localhost"));
        assert_eq!((url.to_string(), url.place()), ("unix:/run/ucs.sock".into(), "unix:/run/ucs.sock".into()));
        for text in ["unix:", "unix:ucs.sock", "unix://run/../\0"] {
            assert!(UpstreamUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_valid_urls() {
        assert_eq!(parts("http://ucs"), ("ucs".into(), "ucs".into(), 80, "".into()));
        assert_eq!(parts("http://ucs:8080/"), ("ucs:8080".into(), "ucs".into(), 8080, "".into()));
        assert_eq!(parts("http://10.0.0.1:80/cv/"), ("10.0.0.1:80".into(), "10.0.0.1".into(), 80, "/cv".into()));
        assert_eq!(parts("https://ucs"), ("ucs".into(), "ucs".into(), 443, "".into()));
        assert_eq!(parts("http://[::1]:9/a/b"), ("[::1]:9".into(), "::1".into(), 9, "/a/b".into()));
    }

    #[test]
    fn rejects_invalid_urls_with_the_reason() {
        for text in [
            "",
            "ucs:8080",
            "ftp://ucs",
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
