//! Strict query strings: known names only, each at most once. It interprets no value.

use hyper::StatusCode;

use super::response::Problem;

/// The values of `names`, in this order; an unknown or repeated name is a problem.
pub(super) fn read<const N: usize>(query: Option<&str>, names: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let Some(place) = names.iter().position(|known| *known == name) else {
            let known = if N == 0 {
                "this call takes none".to_owned()
            } else {
                format!("the parameters are {}", names.join(", "))
            };
            return Err(bad(format!("unknown query parameter {name:?}; {known}")));
        };
        if values[place].is_some() {
            return Err(bad(format!("query parameter {name:?} occurs twice")));
        }
        values[place] = Some(decode(value)?);
    }
    Ok(values)
}

/// A problem with a query parameter.
pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail)
}

/// Percent-decodes one name or value; `+` is a space.
fn decode(text: &str) -> Result<String, Problem> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, after) = match (first, tail) {
            (b'%', [high, low, after @ ..]) => (hex(*high, *low).ok_or_else(|| bad_escape(text))?, after),
            (b'%', _) => return Err(bad_escape(text)),
            (b'+', after) => (b' ', after),
            (byte, after) => (*byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| bad_escape(text))
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn bad_escape(text: &str) -> Problem {
    bad(format!("{text:?} is not percent-encoded UTF-8; write a literal % as %25"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn decodes_once_and_rejects_malformed_queries() {
        let [method, path] = read(Some("path=%2Fa%252Fb&method=GET"), ["method", "path"]).unwrap();
        assert_eq!((method.as_deref(), path.as_deref()), (Some("GET"), Some("/a%2Fb")));
        assert_eq!(read(None, ["limit"]).unwrap(), [None]);
        for query in ["limt=1", "limit=1&limit=2", "limit=%", "limit=%f", "limit=%zz", "limit=%ff"] {
            assert!(read(Some(query), ["limit"]).is_err(), "{query}");
        }
    }
}
