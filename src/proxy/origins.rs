//! The origins of `--allow-origin` (RFC 6454; Fetch, 3.2): which pages may read responses, and whether with credentials. It
//! writes no field.

use hyper::Uri;

use crate::http1::RequestHead;

#[derive(Clone, Debug, Default)]
pub(crate) struct AllowedOrigins {
    /// Whether `*` is one of them: pages of any origin, without their credentials.
    any: bool,
    listed: Vec<String>,
}

impl AllowedOrigins {
    /// These origins, which [`parse_origin`] has checked.
    pub(crate) fn new(origins: &[String]) -> AllowedOrigins {
        let listed = origins.iter().filter(|origin| *origin != "*").cloned().collect::<Vec<_>>();
        AllowedOrigins { any: listed.len() < origins.len(), listed }
    }

    /// Whether responses differ by origin.
    pub(crate) fn is_varied(&self) -> bool {
        !self.listed.is_empty()
    }

    /// The access of the page that sent this request; `None` if its origin is not allowed, or the request names none.
    pub(crate) fn access<'h>(&self, head: &'h RequestHead) -> Option<Access<'h>> {
        if !self.any && self.listed.is_empty() {
            return None;
        }
        let mut origins = head.fields.values("origin");
        let origin = origins.next().filter(|_| origins.next().is_none())?;
        if self.listed.iter().any(|listed| listed.as_bytes() == origin) {
            return Some(Access::Listed(origin));
        }
        self.any.then_some(Access::Any)
    }
}

pub(crate) enum Access<'h> {
    /// Its origin is listed: with credentials.
    Listed(&'h [u8]),
    /// Any origin is allowed: without.
    Any,
}

/// Parses an origin as browsers send it, or `*`.
pub(crate) fn parse_origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let is_origin = text.parse::<Uri>().is_ok_and(|uri| {
        let authority = uri.authority().map(|authority| authority.as_str());
        uri.scheme_str().zip(authority).is_some_and(|(scheme, authority)| {
            !authority.contains('@') && format!("{scheme}://{authority}").eq_ignore_ascii_case(text)
        })
    });
    if is_origin {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("write an origin as browsers send it, scheme://host or scheme://host:port, or *".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for origin in ["*", "http://a", "https://A.example:8443", "capacitor://localhost", "http://[::1]:3000"] {
            assert_eq!(parse_origin(origin), Ok(origin.to_ascii_lowercase()));
        }
        for other in ["", "null", "a", "a:80", "http://", "http://a/", "http://a/b", "http://a?b", "http://u@a", "*.a"]
        {
            assert!(parse_origin(other).is_err(), "{other}");
        }
    }
}
