//! The history of a gateway: its journal, its local closes and the uses of a bypass as one list. It reads files and changes nothing.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::store::file::RecordFile;
use crate::control::store::journal;
use crate::control::store::local::LocalDir;
use crate::policy::mode::{BypassEntry, LocalEntry};

/// The newest `limit` entries, newest first. Each list keeps its own order, whatever the clock did.
pub(super) fn read(dir: &Path, limit: usize) -> Result<Vec<Value>, String> {
    let path = RecordFile::journal_path(dir);
    let records = journal::read(&path, limit).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let local = LocalDir::read_local(dir);
    let records = records.iter().filter_map(|entry| Some((entry.time, serde_json::to_value(entry).ok()?)));
    let bypasses = LocalDir::read_bypasses(dir);
    let closes = local.newest_first().map(|entry| (entry.time, close(entry)));
    let bypasses = bypasses.newest_first().map(|entry| (entry.time, bypassed(entry)));
    let merged = merged(records, merged(closes, bypasses));
    Ok(merged.map(|(_, entry)| entry).take(limit).collect())
}

/// Two lists as one, newest first.
fn merged<T>(
    one: impl Iterator<Item = (Timestamp, T)>,
    other: impl Iterator<Item = (Timestamp, T)>,
) -> impl Iterator<Item = (Timestamp, T)> {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    std::iter::from_fn(move || {
        let time = |entry: Option<&(Timestamp, T)>| entry.map(|(time, _)| *time);
        if time(other.peek()) > time(one.peek()) { other.next() } else { one.next() }
    })
}

fn bypassed(entry: &BypassEntry) -> Value {
    let BypassEntry { time, principal, operation, mode, revision, unknown: _ } = entry;
    let bypass = json!({"principal": principal, "operation": operation, "mode": mode, "revision": revision});
    json!({"kind": "bypassed", "time": time, "bypass": bypass})
}

fn close(entry: &LocalEntry) -> Value {
    let kind = if entry.closed { "closed" } else { "opened" };
    json!({
        "kind": kind,
        "time": entry.time,
        "local": {"cause": entry.cause, "reason": entry.reason, "actor": entry.actor},
    })
}
