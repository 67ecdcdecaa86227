//! Cross-site requests, as reported by browsers. A browser may attach a stored password to the request of any page, or reach
//! an address that only it can reach, so a page of another site must not change state. Other clients do not report a site and
//! are not affected. It checks header values only.

use hyper::Uri;
use hyper::http::uri::Authority;

/// Whether the page of `origin` was served by `host`. The port counts; a default port may be omitted.
pub(crate) fn is_same_site(origin: &str, host: &str) -> bool {
    let Ok(uri) = origin.parse::<Uri>() else { return false };
    let default_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    let (Some(from), Ok(to)) = (uri.authority(), host.parse::<Authority>()) else { return false };
    from.host().eq_ignore_ascii_case(to.host()) && port(from) == port(&to)
}

/// Whether `Sec-Fetch-Site` names another origin. An unknown value counts as one.
pub(crate) fn is_fetched_from_elsewhere(sec_fetch_site: &str) -> bool {
    !matches!(sec_fetch_site, "same-origin" | "none")
}

/// Whether a page of another site can send a body of this `Content-Type` without a preflight request (the types of forms;
/// Fetch, 2.2.2).
pub(crate) fn is_sent_unasked(content_type: &str) -> bool {
    const FORMS: [&str; 3] = ["application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    FORMS.iter().any(|form| essence.eq_ignore_ascii_case(form))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_its_own_site_only() {
        assert!(is_same_site("http://localhost:8081", "localhost:8081"));
        assert!(is_same_site("https://gw.example", "gw.example"));
        assert!(is_same_site("http://gw.example", "gw.example:80"));
        for (origin, host) in [
            ("null", "localhost:8081"),
            ("http://localhost:8080", "localhost:8081"),
            ("http://evil.example", "localhost"),
            ("file://localhost", "localhost"),
            ("", "localhost"),
        ] {
            assert!(!is_same_site(origin, host), "{origin}");
        }
    }

    #[test]
    fn form_types_are_recognised_in_every_spelling() {
        for form in [
            "text/plain",
            "Text/Plain;charset=UTF-8",
            " multipart/form-data; boundary=x",
            "text/plain;application/json",
        ] {
            assert!(is_sent_unasked(form), "{form}");
        }
        for asked in ["application/json", "application/json; charset=utf-8", "text/json", ""] {
            assert!(!is_sent_unasked(asked), "{asked}");
        }
    }
}
