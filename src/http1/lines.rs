//! Finds line ends and splits field lines into names and values (RFC 9112, 5). The meaning of fields is checked elsewhere.

use memchr::memchr;

use super::error::RequestError;
use super::fast_path;
use super::fields::Places;
use super::limits::HeadLimits;
use super::syntax::{has_control, is_control, is_token};

/// Finds the lines of a section. Every result depends on offsets in the section, never on the boundaries of reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    /// The start of the incomplete line.
    pub(super) start: usize,
    /// The end of the part already searched for LF.
    searched: usize,
    /// The number of complete lines.
    pub(super) number: usize,
}

pub(super) enum TooLong {
    Line,
    Section,
}

impl Lines {
    /// The next complete line without its CR LF, if there is one; the limits hold for incomplete lines too. `line_limit`
    /// excludes CR LF, `section_limit` includes it.
    pub(super) fn next<'b>(
        &mut self,
        bytes: &'b [u8],
        line_limit: usize,
        section_limit: usize,
    ) -> Result<Option<Result<&'b [u8], RequestError>>, TooLong> {
        let rest = &bytes[self.searched..];
        // The empty line at the end of most heads needs no search.
        let offset = if rest.starts_with(b"\r\n") { Some(1) } else { memchr(b'\n', rest) };
        let found = offset.map(|offset| self.searched + offset);
        let end = found.map_or(bytes.len(), |lf| lf + 1);
        let line_end = self.start.saturating_add(line_limit).saturating_add(2);
        if end > line_end.min(section_limit) {
            return Err(if line_end <= section_limit { TooLong::Line } else { TooLong::Section });
        }
        self.searched = end;
        let Some(lf) = found else { return Ok(None) };
        let line = &bytes[self.start..lf];
        self.start = end;
        self.number += 1;
        Ok(Some(line.strip_suffix(b"\r").ok_or(RequestError::BareLf)))
    }

    /// Takes the plain field lines that have arrived, within the limits. A line that was searched before is left to
    /// [`Lines::next`], so that one that arrives byte by byte is not parsed from its start each time.
    pub(super) fn take_plain_fields(&mut self, bytes: &[u8], limits: &HeadLimits, places: &mut Places) {
        if self.searched == self.start {
            let known = places.lines().len();
            let within = bytes.len().min(limits.head_bytes);
            let most = limits.header_count.saturating_sub(known);
            self.start = fast_path::fields(&bytes[..within], self.start, most, places);
            self.searched = self.start;
            self.number += places.lines().len() - known;
        }
    }
}

/// Splits a field line into name and value, without the white space around the value, and checks both.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), RequestError> {
    let name_end = line.iter().position(|&byte| !is_token(byte)).unwrap_or(line.len());
    if name_end == 0 || line.get(name_end) != Some(&b':') {
        return Err(no_name(line, name_end));
    }
    let value = &line[name_end + 1..];
    if has_control(value) {
        return Err(control_error(value));
    }
    Ok((&line[..name_end], value.trim_ascii()))
}

/// Why a line has no valid name; `token_end` is the end of its leading token.
#[cold]
fn no_name(line: &[u8], token_end: usize) -> RequestError {
    let after = &line[token_end..];
    match after.first() {
        Some(b' ' | b'\t') if token_end == 0 => RequestError::ObsFold,
        Some(b' ' | b'\t') if after.trim_ascii_start().starts_with(b":") => RequestError::SpaceBeforeColon,
        _ if has_control(line) => control_error(line),
        _ if memchr(b':', line).is_none() => RequestError::MissingColon,
        _ => RequestError::HeaderName,
    }
}

#[cold]
fn control_error(bytes: &[u8]) -> RequestError {
    match bytes.iter().find(|&&byte| is_control(byte)) {
        Some(b'\r') => RequestError::BareCr,
        _ => RequestError::ControlCharacter,
    }
}
