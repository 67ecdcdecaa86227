//! Absolute links in a text of any kind. It follows none.

use std::collections::BTreeSet;

/// The hosts, with their ports, of all `http` and `https` links, also where a JSON writer has escaped the slashes.
pub(super) fn hosts_of_links(body: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(body).replace("\\/", "/");
    let starts = text.match_indices("://").filter(|(at, _)| {
        let scheme = text[..*at].rsplit(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
    });
    let host = |at: usize| {
        let rest = &text[at + "://".len()..];
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "-._:[]@".contains(letter);
        let end = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        rest[..end].rsplit('@').next().unwrap_or_default().to_ascii_lowercase()
    };
    starts.map(|(at, _)| host(at)).filter(|host| !host.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::hosts_of_links;

    #[test]
    fn links_are_found_in_every_notation() {
        for (text, expected) in [
            (r#"{"text":"http://ucs:8080/interactions/1/plain_text"}"#, &["ucs:8080"][..]),
            (r#"{"text":"http:\/\/ucs:8080\/interactions"}"#, &["ucs:8080"]),
            ("<a href='HTTPS://Ucs.Example'>x</a> http://[::1]:80/x", &["[::1]:80", "ucs.example"]),
            ("http://user:secret@ucs/", &["ucs"]),
            (r#"{"path":"/profiles/1","scheme":"ftp://ucs/", "x":"xhttp://ucs", "none": "http://"}"#, &[]),
        ] {
            assert_eq!(hosts_of_links(text.as_bytes()).iter().collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
