//! The known field names: each name is recognised once, when its line is parsed. What a name means is decided
//! elsewhere.

use super::syntax::{before_colon, lower_case, plain_name};

/// The bytes of the longest known name, in words.
const WORDS: usize = 3;

/// The length of the longest name that has a key, in bytes.
const LONGEST: usize = 8 * WORDS - 1;

/// A name of up to 23 bytes in lower case, eight bytes in each word, the first ones lowest; the last byte of all is its length, as
/// zeros could be a part of a name that was sent.
type Key = [u64; WORDS];

/// Each slot holds at most one name: see [`slot`].
const SLOTS: usize = 256;

/// With this factor no two names share a slot. It was found by trying; another list of names needs another one.
const FACTOR: u64 = 0xab90_9e6d_2019_1b85;

macro_rules! known_names {
    ($($name:ident = $text:literal,)*) => {
        /// The name of a field, without regard to case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum KnownName {
            $($name,)*
            /// Any other name of letters, digits and dashes.
            Other,
            /// A name with other characters.
            Unusual,
        }

        const NAMES: &[(KnownName, &str)] = &[$((KnownName::$name, $text),)*];
    };
}

known_names! {
    Host = "host",
    Expect = "expect",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Connection = "connection",
    Te = "te",
    Trailer = "trailer",
    Date = "date",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    Upgrade = "upgrade",
    Http2Settings = "http2-settings",
    Via = "via",
    MaxForwards = "max-forwards",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    XRequestId = "x-request-id",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    Forwarded = "forwarded",
    XRealIp = "x-real-ip",
    TrueClientIp = "true-client-ip",
    XClientIp = "x-client-ip",
    XClusterClientIp = "x-cluster-client-ip",
    CfConnectingIp = "cf-connecting-ip",
    FastlyClientIp = "fastly-client-ip",
    XHttpMethodOverride = "x-http-method-override",
    XHttpMethod = "x-http-method",
    XMethodOverride = "x-method-override",
    XMethod = "x-method",
    XOriginalUrl = "x-original-url",
    XOriginalUri = "x-original-uri",
    XOriginalMethod = "x-original-method",
    XOriginalHost = "x-original-host",
    XRewriteUrl = "x-rewrite-url",
    XRewriteUri = "x-rewrite-uri",
    XForwardedPrefix = "x-forwarded-prefix",
    XForwardedPath = "x-forwarded-path",
    XForwardedUri = "x-forwarded-uri",
    XForwardedMethod = "x-forwarded-method",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalMethod = "x-envoy-original-method",
    XScriptName = "x-script-name",
    XServletPath = "x-servlet-path",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    CacheControl = "cache-control",
    ContentType = "content-type",
    Cookie = "cookie",
    Etag = "etag",
    LastModified = "last-modified",
    Server = "server",
    UserAgent = "user-agent",
    Vary = "vary",
}

const KEYS: [Key; NAMES.len()] = keys();
const TABLE: [KnownName; SLOTS] = table();

const fn keys() -> [Key; NAMES.len()] {
    let mut keys = [[0; WORDS]; NAMES.len()];
    let mut number = 0;
    while number < NAMES.len() {
        let text = NAMES[number].1.as_bytes();
        let mut place = 0;
        while place < text.len() {
            keys[number][place / 8] |= (text[place] as u64) << (place % 8 * 8);
            place += 1;
        }
        keys[number][WORDS - 1] |= length_part(text.len());
        number += 1;
    }
    keys
}

const fn table() -> [KnownName; SLOTS] {
    let mut table = [KnownName::Other; SLOTS];
    let mut number = 0;
    while number < NAMES.len() {
        let slot = slot(&KEYS[number]);
        assert!(matches!(table[slot], KnownName::Other), "two names share a slot");
        table[slot] = NAMES[number].0;
        number += 1;
    }
    table
}

/// The part of a key that is the length.
const fn length_part(length: usize) -> u64 {
    (length as u64) << 56
}

/// The place of a name in the table.
const fn slot(key: &Key) -> usize {
    let mixed = key[0] ^ key[1].rotate_left(9) ^ key[2].rotate_left(18);
    (mixed.wrapping_mul(FACTOR) >> (u64::BITS - SLOTS.ilog2())) as usize
}

/// The known name with this key, if there is one.
#[inline]
fn find(key: &Key) -> Option<KnownName> {
    let candidate = TABLE[slot(key)];
    (KEYS.get(candidate as usize) == Some(key)).then_some(candidate)
}

impl KnownName {
    /// Recognises a name, in any case.
    pub(crate) fn of(name: &[u8]) -> KnownName {
        let mut padded = [0; 8 * WORDS];
        if let Some(start) = padded[..LONGEST].get_mut(..name.len()) {
            start.copy_from_slice(name);
            let mut key = Key::default();
            key.iter_mut()
                .zip(padded.as_chunks().0)
                .for_each(|(word, bytes)| *word = lower_case(u64::from_le_bytes(*bytes)));
            key[WORDS - 1] |= length_part(name.len());
            if let Some(known) = find(&key) {
                return known;
            }
        }
        let is_plain = name.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if is_plain { KnownName::Other } else { KnownName::Unusual }
    }

    /// Whether only one name is meant.
    pub(super) fn is_one(self) -> bool {
        !matches!(self, KnownName::Other | KnownName::Unusual)
    }
}

/// The length of the name with which `line` begins, up to its colon, and the name; `None` if it has other characters than
/// letters, digits and dashes, is longer than 64 bytes, or is too close to the end of the bytes.
#[inline]
pub(super) fn name_of(line: &[u8]) -> Option<(usize, KnownName)> {
    let mut key = Key::default();
    for (place, (part, bytes)) in key.iter_mut().zip(line.as_chunks().0).enumerate() {
        let word = u64::from_le_bytes(*bytes);
        let Some((length, mask)) = before_colon(word) else {
            *part = lower_case(word);
            continue;
        };
        *part = lower_case(word) & mask;
        let length = 8 * place + length;
        key[WORDS - 1] |= length_part(length);
        // A known name needs no look at its characters.
        let known = find(&key).map(|known| (length, known));
        return known.or_else(|| other_name(line).map(|length| (length, KnownName::Other)));
    }
    // The colon is behind the longest known name, or fewer bytes are there than that has: then the name may be a known one.
    let length = other_name(line).filter(|length| *length > LONGEST)?;
    Some((length, KnownName::Other))
}

/// The length of an unknown name.
#[inline(never)]
fn other_name(line: &[u8]) -> Option<usize> {
    let mut length = 0;
    for word in line.as_chunks().0.iter().take(8) {
        let plain = plain_name(u64::from_le_bytes(*word));
        length += plain;
        if plain < 8 {
            break;
        }
    }
    (length > 0 && line.get(length) == Some(&b':')).then_some(length)
}

/// The names that were seen, a bit for each.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NameSet(u64);

impl NameSet {
    #[inline]
    pub(super) fn note(&mut self, name: KnownName) {
        self.0 |= 1 << name as u8;
    }

    #[inline]
    pub(super) fn has(self, name: KnownName) -> bool {
        self.0 >> name as u8 & 1 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a line, and of the same bytes alone.
    fn both(name: &[u8]) -> (Option<(usize, KnownName)>, KnownName) {
        (name_of(&[name, b": value\r\n\r\n"].concat()), KnownName::of(name))
    }

    #[test]
    fn every_name_is_known_in_any_case_and_none_like_it() {
        assert!(NAMES.len() + 2 <= 64, "a bit for each");
        for &(known, text) in NAMES {
            for spelling in [text.to_owned(), text.to_ascii_uppercase()] {
                assert_eq!(both(spelling.as_bytes()), (Some((text.len(), known)), known), "{spelling}");
            }
            for byte in (0..=255).filter(|byte| *byte != b':') {
                let other = [text.as_bytes(), &[byte]].concat();
                let (name, alone) = both(&other);
                assert!(!alone.is_one(), "{}", other.escape_ascii());
                assert_eq!(name.is_some(), alone == KnownName::Other, "{}", other.escape_ascii());
            }
            for place in 0..text.len() {
                for byte in (0..=255).filter(|byte: &u8| !byte.eq_ignore_ascii_case(&text.as_bytes()[place])) {
                    let mut other = text.as_bytes().to_vec();
                    other[place] = byte;
                    let is_plain = byte.is_ascii_alphanumeric() || byte == b'-';
                    let (name, alone) = both(&other);
                    assert_eq!(alone == KnownName::Unusual, !is_plain && !alone.is_one(), "{}", other.escape_ascii());
                    // A colon ends a name earlier.
                    if byte != b':' {
                        let expected = is_plain.then_some((text.len(), alone));
                        assert_eq!(name, expected, "{}", other.escape_ascii());
                        assert!(
                            !alone.is_one()
                                || NAMES.iter().any(|(_, text)| other.eq_ignore_ascii_case(text.as_bytes()))
                        );
                    }
                }
            }
        }
    }

    /// The end of the bytes may be the end of what was received so far.
    #[test]
    fn a_name_close_to_the_end_is_recognised_or_left_to_the_caller() {
        for &(known, text) in NAMES {
            let line = [text.as_bytes(), b": value of which more and more was received\r\n"].concat();
            for end in 0..=line.len() {
                let name = name_of(&line[..end]);
                assert!(name.is_none_or(|name| name == (text.len(), known)), "{text} of {end}");
            }
            assert!(name_of(&line).is_some());
        }
    }

    #[test]
    fn a_name_has_one_to_64_plain_characters() {
        for length in [0, 1, 7, 8, 9, 23, 24, 25, 63, 64, 65, 80] {
            let expected = (1..=64).contains(&length).then_some((length, KnownName::Other));
            assert_eq!(both(&vec![b'q'; length]), (expected, KnownName::Other), "{length}");
        }
    }
}
