//! Writes field lines as bytes. Which lines are sent is the callers' decision.

use std::ops::Range;

use super::fields::{FieldLine, Fields};

/// Writes a field line with a number for its value.
#[inline]
pub(crate) fn write_number(bytes: &mut Vec<u8>, name: &[u8], number: u64) {
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    write_decimal(bytes, number);
    bytes.extend_from_slice(b"\r\n");
}

/// Writes a decimal number, faster than `write!` does.
pub(crate) fn write_decimal(bytes: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return bytes.extend_from_slice(&digits[start..]);
        }
    }
}

/// Writes a field line, its name given as text.
pub(crate) fn write_field(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    write_line(bytes, name.as_bytes(), value);
}

/// Received lines that are forwarded, with their names as received. Those that were received one after the other are written at
/// once, by the next call of [`end`](Self::end) or [`pass`](Self::pass).
#[derive(Debug)]
pub(crate) struct PassedLines<'a> {
    head: &'a [u8],
    waiting: Range<usize>,
}

impl<'a> PassedLines<'a> {
    /// None of these fields' lines yet.
    pub(crate) fn of(fields: &'a Fields) -> PassedLines<'a> {
        PassedLines { head: fields.head(), waiting: 0..0 }
    }

    /// Forwards one of the lines.
    #[inline]
    pub(crate) fn pass(&mut self, bytes: &mut Vec<u8>, line: &FieldLine<'a>) {
        match line.plain() {
            Some(place) if place.start == self.waiting.end => self.waiting.end = place.end,
            Some(place) => {
                self.end(bytes);
                self.waiting = place;
            }
            None => {
                self.end(bytes);
                write_line(bytes, line.name(), line.value());
            }
        }
    }

    /// Writes what waits.
    pub(crate) fn end(&mut self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.head[std::mem::take(&mut self.waiting)]);
    }
}

/// Writes a field line; neither name nor value may contain a line end.
#[inline]
pub(crate) fn write_line(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    write_all(bytes, [name, b": ", value, b"\r\n"]);
}

/// Appends all pieces, with one reservation of room. Always inlined: literal pieces are stored then, without a call each.
#[inline(always)]
pub(crate) fn write_all<const N: usize>(bytes: &mut Vec<u8>, pieces: [&[u8]; N]) {
    bytes.reserve(pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
}

/// Writes a comma-separated list with our own entry last, all on one line: a reader that looks at one line only then sees the
/// trustworthy end.
pub(crate) fn write_list<'f>(bytes: &mut Vec<u8>, name: &str, others: impl Iterator<Item = &'f [u8]>, own: &str) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(b": ");
    for other in others.filter(|other| !other.is_empty()) {
        bytes.extend_from_slice(other);
        bytes.extend_from_slice(b", ");
    }
    bytes.extend_from_slice(own.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

/// Writes the received lines, or our own if there are none.
pub(crate) fn write_else<'f>(bytes: &mut Vec<u8>, name: &str, others: impl Iterator<Item = &'f [u8]>, own: &[u8]) {
    let mut others = others.peekable();
    if others.peek().is_none() {
        write_field(bytes, name, own);
    }
    others.for_each(|other| write_field(bytes, name, other));
}
