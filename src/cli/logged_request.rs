//! A line of an access log to the method and path of its request. It knows the forms, not the files.

use serde_json::Value;

/// The names of both in the lines of JSON logs.
const METHOD_NAMES: [&str; 5] = ["method", "request_method", "http_method", "verb", "cs-method"];
const PATH_NAMES: [&str; 8] =
    ["path", "uri", "request_uri", "url", "target", "uri_path", "cs-uri-stem", "request_path"];

/// The methods that a line may name without quotes.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];

/// A segment of this length is an id.
const LONGEST_NAME: usize = 32;

/// Method and path of the request of a line: JSON, `"GET /path HTTP/1.1"` as of nginx, Apache, HAProxy and Jetty, or
/// `GET /path` between blanks as of this gateway and of IIS.
pub(super) fn request_of(line: &str) -> Option<(String, String)> {
    if line.starts_with('{') {
        return serde_json::from_str(line).ok().and_then(|line| of_json(&line));
    }
    let quoted = line.split('"').skip(1).step_by(2).find_map(of_request_line);
    quoted.or_else(|| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let pair = words.windows(2).find(|pair| METHODS.contains(&pair[0]) && pair[1].starts_with('/'));
        pair.and_then(|pair| request(pair[0], pair[1]))
    })
}

fn of_json(line: &Value) -> Option<(String, String)> {
    let text = |names: &[&str]| names.iter().find_map(|name| line.get(*name)?.as_str().map(str::to_owned));
    match (text(&METHOD_NAMES), text(&PATH_NAMES)) {
        (Some(method), Some(path)) => request(&method, &path),
        (_, _) => of_request_line(line.get("request")?.as_str()?),
    }
}

/// `GET /path HTTP/1.1`.
fn of_request_line(text: &str) -> Option<(String, String)> {
    let mut words = text.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    version.starts_with("HTTP/").then(|| request(method, target)).flatten()
}

/// The path of a target, without its query.
fn request(method: &str, target: &str) -> Option<(String, String)> {
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    (is_method && method != "-" && path.starts_with('/')).then(|| (method.to_owned(), path.to_owned()))
}

/// The path with `{…}` in place of what looks like an id.
pub(super) fn shape_of(path: &str) -> String {
    let is_id = |segment: &str| {
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        segment.len() > LONGEST_NAME || digits > 0 && (digits == segment.len() || segment.len() >= 4)
    };
    path.split('/').map(|segment| if is_id(segment) { "{…}" } else { segment }).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_found_in_the_lines_of_usual_logs() {
        for line in [
            r#"10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] "GET /profiles/17?x=1 HTTP/1.1" 200 512"#,
            r#"10.0.0.1 - - [29/Nov/2026:10:00:00 +0000] "GET http://ucs:8080/profiles/17 HTTP/1.1" 200 5 "http://a/b" "curl""#,
            r#"<134>haproxy[1]: 10.0.0.1:5 [x] ucs ucs/one 0/0/0/1/1 200 5 - - ---- 1/1/0/0/0 0/0 "GET /profiles/17 HTTP/1.1""#,
            r#"{"time":"x","method":"GET","path":"/profiles/17","status":200}"#,
            r#"{"request":"GET /profiles/17 HTTP/2.0","status":200}"#,
            "2026-11-29T10:00:00.000Z 10.0.0.1 GET /profiles/17 200 forwarded \"Query Customer Profile\" 5B 1.2ms rev=1",
            "2026-11-29 10:00:00 10.0.0.2 GET /profiles/17 x=1 80 - 10.0.0.1 curl 200",
            "GET /profiles/17",
        ] {
            assert_eq!(request_of(line), Some(("GET".to_owned(), "/profiles/17".to_owned())), "{line}");
        }
        for line in
            ["", "{", "{\"method\":\"GET\"}", "#Fields: date time", "10.0.0.1 - - [x] \"-\" 400 0", "GET profiles"]
        {
            assert_eq!(request_of(line), None, "{line}");
        }
    }

    #[test]
    fn ids_make_no_difference() {
        for (path, shape) in [
            ("/profiles/17", "/profiles/{…}"),
            ("/profiles/00027a52JCGY000M/notes/", "/profiles/{…}/notes/"),
            ("/ucs/v1/Metrics", "/ucs/v1/Metrics"),
            ("/", "/"),
        ] {
            assert_eq!(shape_of(path), shape);
        }
    }
}
