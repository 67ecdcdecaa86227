//! The same bytes to `http1`, to httparse (heads) and to hyper (framing). Each difference is a row of a table here with its
//! reason; a difference without a row fails, and so does a row that never occurs.
//!
//! The bytes are the recorded ones (`tests/cases/wire`, the seeds of a fuzz target and those in `cases`), whole and ended at every
//! byte, and mutations of them, drawn by a fixed seed. Every stream is also read in two pieces, split at every byte, which must
//! change nothing on either side.

#![allow(clippy::unwrap_used)]

mod cases;
mod rows;
mod sides;

use std::collections::BTreeSet;

use cases::{Case, prefixes_and_mutations, recorded_requests, recorded_responses};
use sides::{End, Outcome};

/// A difference: the outcome in `http1`, the other one, and the reason.
type Row = (&'static str, &'static str, &'static str);

#[test]
fn request_heads_are_read_as_httparse_reads_them() {
    let mut table = Table::new(rows::REQUEST_HEADS);
    for bytes in prefixes_and_mutations(&recorded_requests()) {
        table.compare(&bytes, &sides::first_head(&bytes.stream), &sides::httparse_request(&bytes.stream));
    }
    table.finish();
}

#[test]
fn requests_end_where_hyper_ends_them() {
    let mut table = Table::new(rows::REQUEST_FRAMING);
    let recorded = recorded_requests();
    for bytes in prefixes_and_mutations(&recorded) {
        table.compare(&bytes, &sides::requests([&bytes.stream[..]]), &sides::hyper_requests([&bytes.stream[..]]));
    }
    for stream in &recorded {
        no_split_changes(stream, |pieces| sides::requests(pieces));
        no_split_changes(stream, |pieces| sides::hyper_requests(pieces));
    }
    table.finish();
}

#[test]
fn response_heads_are_read_as_httparse_reads_them() {
    let mut table = Table::new(rows::RESPONSE_HEADS);
    for bytes in prefixes_and_mutations(&recorded_responses()) {
        table.compare(&bytes, &sides::response_head(&bytes.stream), &sides::httparse_response(&bytes.stream));
    }
    table.finish();
}

#[test]
fn responses_end_where_hyper_ends_them() {
    let mut table = Table::new(rows::RESPONSE_FRAMING);
    let recorded = recorded_responses();
    for is_head in [false, true] {
        for bytes in prefixes_and_mutations(&recorded) {
            table.compare(
                &bytes,
                &sides::response([&bytes.stream[..]], is_head),
                &sides::hyper_response([&bytes.stream[..]], is_head),
            );
        }
        for stream in &recorded {
            no_split_changes(stream, |pieces| sides::response(pieces, is_head));
            no_split_changes(stream, |pieces| sides::hyper_response(pieces, is_head));
        }
    }
    table.finish();
}

/// One table and the rows that have occurred.
struct Table {
    rows: &'static [Row],
    occurred: BTreeSet<(&'static str, &'static str)>,
    unknown: BTreeSet<String>,
}

impl Table {
    fn new(rows: &'static [Row]) -> Table {
        Table { rows, occurred: BTreeSet::new(), unknown: BTreeSet::new() }
    }

    /// Compares the first message in which the two sides differ: what is behind it is another stream for each.
    fn compare(&mut self, bytes: &Case, ours: &Outcome, theirs: &Outcome) {
        let same = ours.messages.iter().zip(&theirs.messages).take_while(|(one, other)| one == other).count();
        let (one, other) = (ours.at(same), theirs.at(same));
        let is_rejected = |outcome: &Outcome| same >= outcome.messages.len() && matches!(outcome.end, End::Rejected(_));
        match (is_rejected(ours), is_rejected(theirs)) {
            (true, true) => return,
            (false, false) if one == "waits" && other == "waits" => return,
            // One side may reject at once what the other rejects at the end of the line: the whole stream decides.
            (true, false) if other == "waits" && !bytes.is_whole => return,
            (false, true) if one == "waits" && !bytes.is_whole => return,
            _ => {}
        }
        // No row may allow this.
        let differs = if one == "accepts" && other == "accepts" { "accepts another" } else { other };
        if self.rows.iter().any(|(ours, theirs, _)| *ours == one && *theirs == differs) {
            self.occurred.insert((one, differs));
        } else if !self.unknown.iter().any(|told| told.starts_with(&format!("({one:?}, {differs:?}"))) {
            let stream = bytes.stream.escape_ascii();
            self.unknown.insert(format!("({one:?}, {differs:?}) in {stream}\n  {ours:?}\n  {theirs:?}"));
        }
    }

    fn finish(self) {
        let unknown: Vec<_> = self.unknown.into_iter().collect();
        assert!(unknown.is_empty(), "{} differences without a row:\n{}", unknown.len(), unknown.join("\n"));
        let absent: Vec<_> = self.rows.iter().filter(|row| !self.occurred.contains(&(row.0, row.1))).collect();
        assert!(absent.is_empty(), "rows that never occur: {absent:#?}");
    }
}

fn no_split_changes(stream: &[u8], read: impl Fn([&[u8]; 2]) -> Outcome) {
    let whole = read([stream, b""]);
    for middle in 1..stream.len() {
        let (left, right) = stream.split_at(middle);
        assert_eq!(read([left, right]), whole, "{} split at {middle}", stream.escape_ascii());
    }
}
