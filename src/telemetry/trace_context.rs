//! W3C Trace Context: the ids of a request that log lines carry. It passes nothing on and creates no ids.

/// The trace id and the span id of a request's values of `traceparent`, as `TRACE-SPAN`; `None` unless there is exactly one
/// value, and it is valid.
pub(crate) fn ids<'f>(mut parents: impl Iterator<Item = &'f [u8]>) -> Option<&'f [u8]> {
    let parent = parents.next().filter(|parent| is_traceparent(parent))?;
    parents.next().is_none().then_some(&parent[3..52])
}

/// The same as two texts, for events.
pub(crate) fn trace_and_span<'f>(parents: impl Iterator<Item = &'f [u8]>) -> (Option<&'f str>, Option<&'f str>) {
    let text = ids(parents).and_then(|ids| std::str::from_utf8(ids).ok());
    text.and_then(|ids| ids.split_once('-')).unzip()
}

/// W3C Trace Context, 3.2: `version "-" trace-id "-" parent-id "-" flags`, lower-case hexadecimal, ids not all zero,
/// version not ff; version 00 ends there, later versions may continue after another dash.
fn is_traceparent(value: &[u8]) -> bool {
    let Some((fixed, rest)) = value.split_at_checked(55) else { return false };
    let ends_well = if &fixed[..2] == b"00" { rest.is_empty() } else { rest.first().is_none_or(|&byte| byte == b'-') };
    let dashes = [2, 35, 52];
    let shaped = fixed.iter().enumerate().all(|(place, &byte)| {
        if dashes.contains(&place) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
    });
    let is_zero = |id: &[u8]| id.iter().all(|&byte| byte == b'0');
    ends_well && shaped && &fixed[..2] != b"ff" && !is_zero(&fixed[3..35]) && !is_zero(&fixed[36..52])
}
