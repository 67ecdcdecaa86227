//! The head of a stream's request. It is written as a head of HTTP/1.1 and parsed as one, so that the same targets, hosts,
//! fields and sizes are accepted in both protocols. h2 has checked the syntax of its parts (RFC 9113, 8).

use bytes::BytesMut;
use hyper::Method;
use hyper::header::{COOKIE, HOST};
use hyper::http::request::Parts;

use crate::http1::{HeadLimits, RequestError, RequestHead};

/// Room for the request line and the separators of a usual head, in bytes.
const HEAD_ROOM: usize = 512;

/// The head of a request; an error if HTTP/1.1 has no such head.
pub(super) fn head_of(parts: &Parts, limits: &HeadLimits) -> Result<Box<RequestHead>, RequestError> {
    if parts.method == Method::CONNECT {
        return Err(RequestError::Connect);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(RequestError::Target);
    }
    let bytes = write(parts);
    let mut head = Box::new(RequestHead::default());
    match head.advance(&bytes, limits)? {
        Some((length, _)) if length == bytes.len() => head.complete(bytes)?,
        // A part of the request holds the end of the head.
        Some(_) | None => return Err(RequestError::Target),
    }
    Ok(head)
}

fn write(parts: &Parts) -> BytesMut {
    let mut bytes = BytesMut::with_capacity(HEAD_ROOM);
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let line = [parts.method.as_str(), " ", target, " HTTP/1.1\r\n"];
    line.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
    let mut write = |name: &str, value: &[u8]| {
        [name.as_bytes(), b": ", value, b"\r\n"].iter().for_each(|part| bytes.extend_from_slice(part));
    };
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.iter().for_each(|authority| write(HOST.as_str(), authority.as_bytes()));
    for (name, value) in &parts.headers {
        // RFC 9113, 8.3.1: a `host` besides `:authority` must name the same host. Another one is a second line, which is refused.
        let is_said = |authority: &str| authority.as_bytes().eq_ignore_ascii_case(value.as_bytes());
        if name == COOKIE || (name == HOST && authority.is_some_and(is_said)) {
            continue;
        }
        write(name.as_str(), value.as_bytes());
    }
    // RFC 9113, 8.2.3: HTTP/1.1 has one line of cookies.
    let crumbs: Vec<&[u8]> = parts.headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
    if !crumbs.is_empty() {
        write(COOKIE.as_str(), &crumbs.join(&b"; "[..]));
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hyper::Request;

    const LIMITS: HeadLimits = HeadLimits { target_bytes: 100, head_bytes: 1000, header_count: 10 };

    fn head(uri: &str, fields: &[(&str, &str)]) -> Result<Box<RequestHead>, RequestError> {
        let request = Request::builder().method("GET").uri(uri);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        head_of(&request.body(()).unwrap().into_parts().0, &LIMITS)
    }

    #[test]
    fn the_host_is_that_of_the_authority() {
        let read = head("http://ucs:8080/a?b", &[("accept", "x")]).unwrap();
        assert_eq!((read.host(), read.path(), read.query()), (Some(&b"ucs:8080"[..]), &b"/a"[..], &b"?b"[..]));
        assert_eq!(read.fields.get("accept"), Some(&b"x"[..]));
        assert_eq!(head("http://ucs/a", &[("host", "UCS")]).unwrap().host(), Some(&b"ucs"[..]));
        assert_eq!(head("/a", &[("host", "ucs")]).unwrap().host(), Some(&b"ucs"[..]));
        for (uri, host, error) in [
            ("http://ucs/a", "other", RequestError::HostRepeated),
            ("http://user@ucs/a", "user@ucs", RequestError::HostInvalid),
            ("ftp://ucs/a", "ucs", RequestError::Target),
        ] {
            assert_eq!(head(uri, &[("host", host)]).unwrap_err(), error, "{uri} {host}");
        }
        assert_eq!(head("/a", &[]).unwrap_err(), RequestError::HostMissing);
    }

    #[test]
    fn crumbs_of_cookies_are_joined() {
        let read = head("http://ucs/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
        let cookies: Vec<&[u8]> =
            read.fields.lines().filter(|line| line.name() == b"cookie").map(|line| line.value()).collect();
        assert_eq!(cookies, [b"a=1; b=2"]);
    }

    #[test]
    fn the_limits_are_those_of_http1() {
        let long = "/".repeat(101);
        assert_eq!(head(&format!("http://ucs{long}"), &[]).unwrap_err(), RequestError::TargetTooLong);
        assert_eq!(head("http://ucs/", &[("x", &"y".repeat(1000))]).unwrap_err(), RequestError::HeadTooLarge);
        assert_eq!(head("http://ucs/", &[("x", "y"); 10]).unwrap_err(), RequestError::TooManyHeaders);
        assert!(head("http://ucs/", &[("x", "y"); 9]).is_ok());
    }
}
