//! The history of a gateway: the journal, its local closes and the uses of a bypass as one list. The journal is that of its state
//! directory, or that of its fleet. It changes nothing.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::control::store::etcd::EtcdStore;
use crate::control::store::file::RecordFile;
use crate::control::store::journal::{self, JournalEntry};
use crate::control::store::local::LocalDir;
use crate::policy::mode::{BypassEntry, LocalEntry};

/// The newest `limit` entries, newest first. Each list keeps its own order, whatever the clock did.
pub(super) fn read(dir: &Path, limit: usize) -> Result<Vec<Value>, String> {
    let path = RecordFile::journal_path(dir);
    let records = journal::read(&path, limit).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(with_own(dir, records, limit))
}

/// The same of a member, whose journal is in the store of its fleet. It blocks.
pub(super) fn read_of_fleet(dir: &Path, store: &EtcdStore, limit: usize) -> Result<Vec<Value>, String> {
    let lines = Handle::current().block_on(store.history(limit)).map_err(|error| error.to_string())?;
    let entry = |line: &Vec<u8>| serde_json::from_slice(line).map_err(|error| format!("the journal: {error}"));
    let records = lines.iter().map(entry).collect::<Result<Vec<JournalEntry>, String>>()?;
    Ok(with_own(dir, records, limit))
}

fn with_own(dir: &Path, records: Vec<JournalEntry>, limit: usize) -> Vec<Value> {
    let local = LocalDir::read_local(dir);
    let records = records.iter().filter_map(|entry| Some((entry.time, serde_json::to_value(entry).ok()?)));
    let bypasses = LocalDir::read_bypasses(dir);
    let closes = local.newest_first().map(|entry| (entry.time, close(entry)));
    let bypasses = bypasses.newest_first().map(|entry| (entry.time, bypassed(entry)));
    let merged = merged(records, merged(closes, bypasses));
    merged.map(|(_, entry)| entry).take(limit).collect()
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
