//! The access log: one line per request, written to the worker's buffer and from there to the queue of standard output. If the
//! queue is full, lines are dropped and counted there; no request waits for the log.

use std::rc::Rc;

use hyper::Method;

use crate::gate::TableRef;
use crate::http1::{Buffer, Buffers};
use crate::policy::table::RouteIndex;
use crate::telemetry::Outcome;
use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;

use crate::http1::encode::write_decimal;
use crate::telemetry::{LogFormat, STDOUT};

/// A buffer of this size is flushed at once; smaller ones wait for the next flush. In bytes.
const BUFFER: usize = 64 * 1024;

/// A text that is not known.
pub(crate) const UNKNOWN: &str = "-";

/// The entry of one request, completed by [`Completed`].
#[derive(Debug)]
pub(crate) struct AccessLogEntry {
    /// The request's method; `None` if its head could not be read.
    pub(crate) method: Option<Method>,
    /// The client behind a trusted proxy.
    pub(crate) client: Option<IpAddr>,
    /// The path and the ids.
    pub(crate) text: RequestText,
    pub(crate) table: Rc<TableRef>,
    pub(crate) route: Option<RouteIndex>,
    pub(crate) class: Option<usize>,
    /// The status of the response; 0 if the client disconnected before there was one.
    pub(crate) status: u16,
    /// The revision of the mode record that admitted or refused it; `None` if it was refused for another reason.
    pub(crate) revision: Option<u64>,
}

/// The texts of a request: ASCII, concatenated in a reused buffer.
#[derive(Debug)]
pub(crate) struct RequestText {
    all: Buffer,
    path_end: usize,
    id_end: usize,
}

impl RequestText {
    /// Copies the path, the request id, and the trace id with the span id (see `headers::trace_ids`).
    pub(crate) fn of(texts: [&[u8]; 3], buffers: &Rc<Buffers>) -> RequestText {
        let [path, request_id, trace] = texts;
        let mut all = buffers.take(path.len() + request_id.len() + trace.len());
        texts.iter().for_each(|text| all.extend_from_slice(text));
        RequestText { all, path_end: path.len(), id_end: path.len() + request_id.len() }
    }

    /// The path as classified (or as sent, if it was refused), without the query; `-` if it could not be read.
    pub(crate) fn path(&self) -> &[u8] {
        &self.all[..self.path_end]
    }

    /// The request id, as UCS gets it.
    pub(crate) fn request_id(&self) -> &[u8] {
        &self.all[self.path_end..self.id_end]
    }

    /// The trace id and the span id of the client's trace context.
    fn trace(&self) -> Option<(&[u8], &[u8])> {
        let (trace, span) = self.all[self.id_end..].split_at_checked(32)?;
        Some((trace, span.strip_prefix(b"-")?))
    }
}

impl AccessLogEntry {
    fn method(&self) -> &str {
        self.method.as_ref().map_or(UNKNOWN, Method::as_str)
    }

    /// The operation's name.
    pub(crate) fn operation(&self) -> &str {
        self.route.map_or(UNKNOWN, |route| &self.table.table().routes[route as usize].operation)
    }

    pub(crate) fn class(&self) -> &str {
        self.class.map_or("none", |class| &self.table.table().classes[class].name)
    }
}

/// The facts that are known only when the request is complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completed<'a> {
    pub(crate) peer: &'a str,
    pub(crate) outcome: Outcome,
    /// Bytes of the response body.
    pub(crate) bytes: u64,
    /// The time from the request's head to the last byte of the response.
    pub(crate) elapsed: Duration,
}

/// The access log of one worker.
#[derive(Debug)]
pub(crate) struct AccessLog {
    format: LogFormat,
    buffer: RefCell<Vec<u8>>,
    clock: RefCell<Clock>,
}

impl AccessLog {
    /// Creates the log of one worker. `STDOUT` must have been started.
    pub(crate) fn new(format: LogFormat) -> AccessLog {
        let (buffer, clock) = Default::default();
        AccessLog { format, buffer, clock }
    }

    pub(crate) fn write(&self, entry: &AccessLogEntry, completed: Completed<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        let mut clock = self.clock.borrow_mut();
        match self.format {
            LogFormat::Json => {
                buffer.extend_from_slice(b"{\"time\":\"");
                clock.write(&mut buffer);
                buffer.push(b'"');
                write_json(&mut buffer, entry, completed);
            }
            LogFormat::Human => {
                clock.write(&mut buffer);
                write_human(&mut buffer, entry, completed);
            }
        }
        if buffer.len() >= BUFFER {
            hand_over(&mut buffer);
        }
    }

    /// Sends the buffered lines to standard output.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty() {
            hand_over(&mut buffer);
        }
    }
}

fn hand_over(buffer: &mut Vec<u8>) {
    STDOUT.push(buffer);
    buffer.clear();
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The time of day as text, formatted once per second.
#[derive(Debug, Default)]
struct Clock {
    second: i64,
    /// As `2026-11-25T08:00:00`.
    text: String,
}

impl Clock {
    /// Writes the current time with milliseconds, as in RFC 3339.
    fn write(&mut self, buffer: &mut Vec<u8>) {
        let now = Timestamp::now().as_millisecond();
        let second = now.div_euclid(1000);
        if second != self.second || self.text.is_empty() {
            let text = Timestamp::from_second(second).unwrap_or_default().to_string();
            *self = Clock { second, text: text.trim_end_matches('Z').to_owned() };
        }
        buffer.extend_from_slice(self.text.as_bytes());
        buffer.push(b'.');
        write_thousandths(buffer, now.rem_euclid(1000).unsigned_abs());
        buffer.push(b'Z');
    }
}

/// Writes three digits.
fn write_thousandths(buffer: &mut Vec<u8>, number: u64) {
    buffer.extend([100, 10, 1].map(|place| b'0' + (number / place % 10) as u8));
}

/// Written without serde for speed: see *Tried* in benches/README.md.
fn write_json(buffer: &mut Vec<u8>, entry: &AccessLogEntry, completed: Completed<'_>) {
    // Neither an address nor a method, which is a token, contains characters that JSON escapes.
    buffer.extend_from_slice(b",\"peer\":\"");
    write_peer(buffer, entry, completed);
    write_pair(buffer, "\",\"method\":\"", entry.method());
    let (operation, class) = (entry.operation().as_bytes(), entry.class().as_bytes());
    let texts = [("\",\"path\":", entry.text.path()), (",\"operation\":", operation), (",\"class\":", class)];
    for (name, value) in texts {
        buffer.extend_from_slice(name.as_bytes());
        write_text(buffer, value);
    }
    buffer.extend_from_slice(b",\"status\":");
    write_decimal(buffer, entry.status.into());
    write_pair(buffer, ",\"outcome\":\"", completed.outcome.as_str());
    buffer.extend_from_slice(b"\",\"bytes\":");
    write_decimal(buffer, completed.bytes);
    buffer.extend_from_slice(b",\"duration_ms\":");
    write_millis(buffer, completed.elapsed);
    buffer.extend_from_slice(b",\"revision\":");
    match entry.revision {
        Some(revision) => write_decimal(buffer, revision),
        None => buffer.extend_from_slice(b"null"),
    }
    buffer.extend_from_slice(b",\"request_id\":");
    write_text(buffer, entry.text.request_id());
    if let Some((trace, span)) = entry.text.trace() {
        for (name, id) in [(&b",\"trace_id\":\""[..], trace), (b"\",\"span_id\":\"", span), (b"", b"\"")] {
            buffer.extend_from_slice(name);
            buffer.extend_from_slice(id);
        }
    }
    buffer.extend_from_slice(b"}\n");
}

/// The address of the client: its own, or the one that a trusted proxy has named.
fn write_peer(buffer: &mut Vec<u8>, entry: &AccessLogEntry, completed: Completed<'_>) {
    match entry.client {
        // Writing to memory cannot fail.
        Some(client) => drop(write!(buffer, "{client}")),
        None => buffer.extend_from_slice(completed.peer.as_bytes()),
    }
}

fn write_pair(buffer: &mut Vec<u8>, name: &str, value: &str) {
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(value.as_bytes());
}

/// Milliseconds with three decimals.
fn write_millis(buffer: &mut Vec<u8>, elapsed: Duration) {
    let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
    write_decimal(buffer, micros / 1000);
    buffer.push(b'.');
    write_thousandths(buffer, micros % 1000);
}

/// Writes a text as JSON. Most texts need no escape and are copied; serde_json handles the others.
fn write_text(buffer: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        buffer.reserve(text.len() + 2);
        buffer.push(b'"');
        buffer.extend_from_slice(text);
        buffer.push(b'"');
    } else {
        // Writing to memory cannot fail.
        drop(serde_json::to_writer(buffer, &String::from_utf8_lossy(text)));
    }
}

/// Whether the text needs no escape in JSON. Reads eight bytes at a time, the last eight perhaps twice.
fn is_plain(text: &[u8]) -> bool {
    let is_special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    match text.last_chunk() {
        None => !text.iter().any(is_special),
        Some(last) => text.as_chunks().0.iter().chain([last]).all(|word| !has_special(u64::from_le_bytes(*word))),
    }
}

/// Whether one of the eight bytes is a control character, a quote or a backslash.
fn has_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES * 0x80;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    (below_space | zero_in(word ^ (ONES * 0x22)) | zero_in(word ^ (ONES * 0x5c))) & HIGHS != 0
}

fn write_human(buffer: &mut Vec<u8>, entry: &AccessLogEntry, completed: Completed<'_>) {
    // `{:?}` quotes the operation, whose name may contain spaces; paths contain neither spaces nor control characters.
    buffer.push(b' ');
    write_peer(buffer, entry, completed);
    drop(write!(
        buffer,
        " {} {} {} {} {:?} {}B {:.3}ms rev=",
        entry.method(),
        String::from_utf8_lossy(entry.text.path()),
        entry.status,
        completed.outcome.as_str(),
        entry.operation(),
        completed.bytes,
        completed.elapsed.as_secs_f64() * 1000.0,
    ));
    match entry.revision {
        Some(revision) => write_decimal(buffer, revision),
        None => buffer.extend_from_slice(UNKNOWN.as_bytes()),
    }
    if let Some((trace, span)) = entry.text.trace() {
        let texts: [&[u8]; 4] = [b" trace=", trace, b" span=", span];
        texts.iter().for_each(|text| buffer.extend_from_slice(text));
    }
    buffer.push(b'\n');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_clock_however_often_it_is_asked() {
        let mut clock = Clock::default();
        for _ in 0..3 {
            let (before, mut text) = (Timestamp::now().as_millisecond(), Vec::new());
            clock.write(&mut text);
            let written: Timestamp = String::from_utf8(text.clone()).unwrap().parse().unwrap();
            assert!((before..=Timestamp::now().as_millisecond()).contains(&written.as_millisecond()));
            assert_eq!(text.len(), "2026-11-25T08:00:00.000Z".len());
        }
    }

    #[test]
    fn durations_are_milliseconds_with_three_decimals_and_texts_are_json() {
        for (micros, written) in [(0, "0.000"), (7, "0.007"), (1_234_567, "1234.567")] {
            let mut text = Vec::new();
            write_millis(&mut text, Duration::from_micros(micros));
            assert_eq!(text, written.as_bytes());
        }
        for text in ["", "plain", "a \"quoted\" \\ one", "line\nbreak", "\u{e9}", "a quote behind 16 bytes \""] {
            let mut written = Vec::new();
            write_text(&mut written, text.as_bytes());
            assert_eq!(serde_json::from_slice::<String>(&written).unwrap(), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_text_is_written_as_json_writes_it(text in "[ -~]{0,30}[\0-\u{1f}\"\\\\\u{7f}-\u{ff}a]{0,2}[ -~]{0,30}") {
            let mut written = Vec::new();
            write_text(&mut written, text.as_bytes());
            proptest::prop_assert_eq!(String::from_utf8(written).unwrap(), serde_json::to_string(&text).unwrap());
        }
    }
}
