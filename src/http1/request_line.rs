//! Parses the request line: method, target in the forms of RFC 9112, version; and the authority of a target or of `Host`. It
//! does not interpret paths: escapes and dot segments pass unchanged.

use memchr::memchr;

use super::error::RequestError;
use super::fields::Span;
use super::limits::HeadLimits;
use super::request_head::Target;
use super::syntax::{CLASSES, HOST, PATH, QUERY, is_token};

/// The longest method; the registered ones have at most 17 characters.
const METHOD_BYTES: usize = 32;

/// The most bytes of a request line beside its target: method, two spaces, version.
pub(super) const LINE_BESIDE_TARGET: usize = METHOD_BYTES + 2 + "HTTP/1.1".len();

/// The parts of a request line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestLine {
    pub(crate) method: Span,
    pub(crate) target: Target,
    pub(crate) is_http10: bool,
}

/// Parses a request line, a subslice of `head`.
pub(super) fn request_line(line: &[u8], head: &[u8], limits: &HeadLimits) -> Result<RequestLine, RequestError> {
    if line == b"PRI * HTTP/2.0" {
        return Err(RequestError::Http2Preface);
    }
    let method_end = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
    let Some((b' ', rest)) = line[method_end..].split_first() else {
        return Err(if line[method_end..].starts_with(b"\r") { RequestError::BareCr } else { RequestError::Method });
    };
    if method_end == 0 || method_end > METHOD_BYTES {
        return Err(RequestError::Method);
    }
    let (target, is_http10) = if let Some(target) = rest.strip_suffix(b" HTTP/1.1") {
        (target, false)
    } else if let Some(target) = rest.strip_suffix(b" HTTP/1.0") {
        (target, true)
    } else {
        return Err(if memchr(b'\r', rest).is_some() { RequestError::BareCr } else { RequestError::Version });
    };
    if target.len() > limits.target_bytes {
        return Err(RequestError::TargetTooLong);
    }
    let parts = match &line[..method_end] {
        b"CONNECT" => return Err(RequestError::Connect),
        b"OPTIONS" if target == b"*" => TargetParts { path: target, ..TargetParts::default() },
        _ if target == b"*" => return Err(RequestError::Asterisk),
        _ => target_parts(target)?,
    };
    Ok(RequestLine { method: Span::of(&line[..method_end], head), target: parts.within(head), is_http10 })
}

/// The error of a line that is too long before it has ended: mostly its target, but it may have none.
pub(super) fn line_too_long(line: &[u8]) -> RequestError {
    let has_method = line.iter().take(METHOD_BYTES + 1).any(|&byte| byte == b' ');
    if has_method { RequestError::TargetTooLong } else { RequestError::Method }
}

/// The parts of a request target.
#[derive(Clone, Copy, Default)]
struct TargetParts<'t> {
    authority: &'t [u8],
    path: &'t [u8],
    query: &'t [u8],
}

impl TargetParts<'_> {
    fn within(self, head: &[u8]) -> Target {
        let [authority, path, query] = [self.authority, self.path, self.query].map(|part| Span::of(part, head));
        Target { authority, path, query }
    }
}

/// Splits a target in origin form, or in absolute form with http or https (RFC 9112, 3.2).
fn target_parts(target: &[u8]) -> Result<TargetParts<'_>, RequestError> {
    if target.first() == Some(&b'/') {
        return path_and_query(target);
    }
    let rest =
        after_scheme(target, b"http://").or_else(|| after_scheme(target, b"https://")).ok_or(RequestError::Target)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    if !is_authority(authority) {
        return Err(RequestError::Target);
    }
    Ok(TargetParts { authority, ..path_and_query(rest)? })
}

fn after_scheme<'t>(target: &'t [u8], scheme: &[u8]) -> Option<&'t [u8]> {
    let (head, rest) = target.split_at_checked(scheme.len())?;
    head.eq_ignore_ascii_case(scheme).then_some(rest)
}

fn path_and_query(target: &[u8]) -> Result<TargetParts<'_>, RequestError> {
    let path_end = memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_end);
    match first_not(PATH, path).or_else(|| first_not(QUERY, query)) {
        None => Ok(TargetParts { path, query, ..TargetParts::default() }),
        Some(b'#') => Err(RequestError::Fragment),
        Some(b'\r') => Err(RequestError::BareCr),
        Some(_) => Err(RequestError::Target),
    }
}

/// The first byte outside of the class.
fn first_not(class: u8, bytes: &[u8]) -> Option<u8> {
    let all = bytes.iter().fold(class, |all, &byte| all & CLASSES[usize::from(byte)]);
    if all != 0 { None } else { bytes.iter().copied().find(|&byte| CLASSES[usize::from(byte)] & class == 0) }
}

/// Whether this is `host [":" port]`. Narrower than RFC 3986: no user information, no escapes, no sub-delimiters, because
/// servers interpret these in different ways and real host names have none.
pub(super) fn is_authority(authority: &[u8]) -> bool {
    let (host_is_good, rest) = if let Some(literal) = authority.strip_prefix(b"[") {
        let Some(end) = memchr(b']', literal) else { return false };
        let address =
            std::str::from_utf8(&literal[..end]).ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
        (address.is_some(), &literal[end + 1..])
    } else {
        let end = authority.iter().position(|&byte| CLASSES[usize::from(byte)] & HOST == 0).unwrap_or(authority.len());
        (end > 0, &authority[end..])
    };
    host_is_good && is_port(rest)
}

/// Whether `rest` is empty, or a colon and a port number of at most 65,535.
fn is_port(rest: &[u8]) -> bool {
    match rest.split_first() {
        None => true,
        Some((b':', digits)) => {
            let append = |port: u32, digit: &u8| digit.is_ascii_digit().then(|| port * 10 + u32::from(digit - b'0'));
            (1..=5).contains(&digits.len()) && digits.iter().try_fold(0, append).is_some_and(|port| port <= 65_535)
        }
        Some(_) => false,
    }
}
