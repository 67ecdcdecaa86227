//! The tables of differences. "accepts" and "waits" are the outcomes of a message that came whole and of one that has not; every
//! other word is the reason of `http1` for a rejection.

use super::Row;

/// `http1` and httparse on heads of requests.
pub const REQUEST_HEADS: &[Row] = &[
    ("asterisk", "accepts", ASTERISK),
    ("bare_lf", "accepts", BARE_LF),
    ("connect", "accepts", CONNECT),
    ("connection_too_long", "accepts", LIST_LIMIT),
    ("empty_lines", "accepts", EMPTY_LINES),
    ("encoding_on_http10", "accepts", NO_FRAMING),
    ("encoding_unsupported", "accepts", CODING),
    ("expectation", "accepts", EXPECTATION),
    ("fragment", "accepts", FRAGMENT),
    ("head_too_large", "accepts", HEAD_LIMIT),
    ("head_too_large", "waits", HEAD_LIMIT),
    ("host_invalid", "accepts", HOST_INVALID),
    ("host_missing", "accepts", HOST_MISSING),
    ("host_repeated", "accepts", HOST_REPEATED),
    ("length_and_encoding", "accepts", BOTH),
    ("length_invalid", "accepts", NO_FRAMING),
    ("length_repeated", "accepts", REPEATED),
    ("method", "accepts", METHOD),
    ("method", "waits", METHOD_LIMIT),
    ("target", "accepts", TARGET),
    ("target_too_long", "accepts", TARGET_LIMIT),
    ("target_too_long", "waits", TARGET_LIMIT),
];

/// `http1` and hyper's server.
pub const REQUEST_FRAMING: &[Row] = &[
    ("asterisk", "accepts", ASTERISK),
    ("bare_lf", "accepts", BARE_LF),
    ("bare_lf", "waits", "RFC 9112, 7.1.2: hyper waits for CR LF behind a trailer that ends in LF"),
    ("chunk_extension", "accepts", EXTENSION),
    (
        "chunk_size",
        "accepts",
        "RFC 9112, 7.1.1: white space is allowed behind a size before \";\" alone; here, only behind it",
    ),
    ("connect", "accepts", CONNECT),
    ("connection_too_long", "accepts", LIST_LIMIT),
    ("empty_lines", "accepts", EMPTY_LINES),
    ("encoding_unsupported", "accepts", CODING),
    ("expectation", "accepts", EXPECTATION),
    ("fragment", "accepts", FRAGMENT),
    ("head_too_large", "accepts", HEAD_LIMIT),
    ("head_too_large", "waits", HEAD_LIMIT),
    ("host_invalid", "accepts", HOST_INVALID),
    ("host_missing", "accepts", HOST_MISSING),
    ("host_repeated", "accepts", HOST_REPEATED),
    ("length_and_encoding", "accepts", BOTH),
    ("length_invalid", "accepts", "RFC 9112, 6.3: 400 also beside Transfer-Encoding, where hyper drops it unread"),
    ("length_invalid", "waits", "RFC 9110, 8.6: 2^63 and more is negative to some readers; hyper waits for the body"),
    ("length_repeated", "accepts", REPEATED),
    ("method", "accepts", METHOD),
    ("method", "waits", METHOD_LIMIT),
    ("target", "accepts", TARGET),
    ("target_too_long", "accepts", TARGET_LIMIT),
    ("target_too_long", "waits", TARGET_LIMIT),
    ("trailer_forbidden", "accepts", TRAILER),
    ("trailers_too_large", "accepts", "RFC 9110, 5.4: trailers have the limits of a head"),
];

/// `http1` and httparse on heads of responses.
pub const RESPONSE_HEADS: &[Row] = &[
    ("encoding", "accepts", NO_FRAMING),
    ("head", "accepts", "RFC 9110, 15: a status is 100 or more; httparse takes any three digits"),
    ("length", "accepts", NO_FRAMING),
];

/// `http1` and hyper's client.
pub const RESPONSE_FRAMING: &[Row] = &[
    ("bare_lf", "accepts", BARE_LF),
    ("chunk_extension", "accepts", EXTENSION),
    ("encoding", "accepts", CODING),
    ("length", "accepts", "RFC 9110, 8.6: a list of equal lengths may be rejected; hyper takes it"),
    ("trailer_forbidden", "accepts", TRAILER),
];

const ASTERISK: &str = "RFC 9112, 3.2.4: the asterisk form is for OPTIONS alone";
const BARE_LF: &str = "RFC 9112, 2.2: LF alone may end a line; readers that do not take it see other lines";
const BOTH: &str = "RFC 9112, 6.3: both framings at once may be rejected, as they smuggle requests";
const CODING: &str = "RFC 9112, 6.1: an unknown coding hides the end of the body; only chunked is taken";
const CONNECT: &str = "RFC 9110, 9.3.6: CONNECT asks for a tunnel, and none is opened";
const EMPTY_LINES: &str = "RFC 9112, 2.2: at least one empty line before a request is ignored; here two at most";
const EXPECTATION: &str = "RFC 9110, 10.1.1: an expectation other than 100-continue may be 417";
const EXTENSION: &str = "RFC 9112, 7.1.1: an extension holds no control character; hyper skips it unread";
const FRAGMENT: &str = "RFC 9112, 3.2: a target has no fragment; a reader that drops it routes another path";
const HEAD_LIMIT: &str = "RFC 9110, 5.4: the limit of a head is smaller here";
const LIST_LIMIT: &str = "RFC 9110, 5.6.1.2: a recipient limits the empty entries of a list; here all of Connection's";
const HOST_INVALID: &str = "RFC 9112, 3.2: an invalid Host is 400; here it is narrower than RFC 3986";
const HOST_MISSING: &str = "RFC 9112, 3.2: HTTP/1.1 without Host is 400";
const HOST_REPEATED: &str = "RFC 9112, 3.2: more than one Host is 400";
const METHOD_LIMIT: &str = "RFC 9110, 9.1: a method of more than 32 characters is refused before its line ends";
const METHOD: &str = "RFC 9110, 9.1: registered methods have at most 17 characters; here 32 are taken";
const NO_FRAMING: &str = "RFC 9112, 6.1 and 6.3: framing that cannot be known is 400; httparse judges none";
const REPEATED: &str = "RFC 9110, 8.6: repeated lengths may be rejected, even equal ones";
const TARGET: &str = "RFC 9112, 3.2: a path, an http(s) URL without user information, or an asterisk";
const TARGET_LIMIT: &str = "RFC 9112, 3: the limit of a target is smaller here";
const TRAILER: &str = "RFC 9110, 6.5.1: no framing or routing in trailers; hyper hands it on";
