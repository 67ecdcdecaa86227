//! The history of a gateway: its journal and its local closes as one list. It reads files and changes nothing.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::control::store::file::RecordFile;
use crate::control::store::journal;
use crate::control::store::local::LocalDir;
use crate::policy::mode::LocalEntry;

/// The newest `limit` entries, newest first. Each list keeps its own order, whatever the clock did.
pub(super) fn read(dir: &Path, limit: usize) -> Result<Vec<Value>, String> {
    let path = RecordFile::journal_path(dir);
    let records = journal::read(&path, limit).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let local = LocalDir::read_local(dir);
    let mut records =
        records.iter().filter_map(|entry| Some((entry.time, serde_json::to_value(entry).ok()?))).peekable();
    let mut closes = local.newest_first().map(|entry| (entry.time, close(entry))).peekable();
    let time = |entry: Option<&(Timestamp, Value)>| entry.map(|(time, _)| *time);
    let merged = std::iter::from_fn(|| {
        let next = if time(closes.peek()) > time(records.peek()) { closes.next() } else { records.next() };
        next.map(|(_, entry)| entry)
    });
    Ok(merged.take(limit).collect())
}

fn close(entry: &LocalEntry) -> Value {
    let kind = if entry.closed { "closed" } else { "opened" };
    json!({
        "kind": kind,
        "time": entry.time,
        "local": {"cause": entry.cause, "reason": entry.reason, "actor": entry.actor},
    })
}
