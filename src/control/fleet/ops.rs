//! The operations of a member on the store, and the form of its entry there. It decides nothing: `policy::fleet` chooses the
//! operations and judges their results.

use jiff::Timestamp;
use serde_json::Map;

use super::keys::{
    AckWord, FLEET, FORGOTTEN, FORMAT, FleetContents, MEMBER, MODE, MemberAck, MemberEntry, REHEARSAL, bytes_of,
    forgotten_key, hex_id, member_key,
};
use crate::control::store::etcd::{Commit, EtcdError, EtcdStore, SharedError, journal_key};
use crate::control::store::journal::{self, JournalEntry, JournalKind};
use crate::policy::fleet::{Ack, Entry, Id, OpEnd, Record, View, Word};
use crate::policy::flip::{Brief, Failure};
use crate::policy::mode::{DrainOutcome, ModeRecord, OnTimeout, OperationCount, Phase};

/// The part of this member's entry that the protocol does not decide.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub node: String,
    pub version: String,
    /// The fingerprint of the route table in force.
    pub table: String,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFault {
    /// The next attempt may succeed.
    #[error("{0}")]
    Failed(String),
    #[error("the store holds no fleet of this name: run `ucs-gateway fleet init`")]
    NoFleet,
    /// Another cluster responds.
    #[error("{0}")]
    OtherCluster(String),
}

impl From<SharedError> for ReadFault {
    fn from(error: SharedError) -> ReadFault {
        let words = error.to_string();
        match error {
            SharedError::NotDone(EtcdError::OtherCluster { .. })
            | SharedError::Unknown(EtcdError::OtherCluster { .. }) => ReadFault::OtherCluster(words),
            _ => ReadFault::Failed(words),
        }
    }
}

/// The result of a read: the protocol's view of it, and the whole contents.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    pub view: View,
    pub contents: FleetContents,
    /// The record of the revision that was asked for.
    pub journal: Option<ModeRecord>,
}

/// Reads the record and the own entry, with `roster` every entry, and the journal's record of one revision.
pub(crate) async fn read(
    store: &EtcdStore,
    node: &str,
    revision: Option<u64>,
    roster: bool,
) -> Result<Sight, ReadFault> {
    let also = revision.map(journal_key);
    let mut keys = vec![FLEET.to_owned(), MODE.to_owned()];
    keys.extend(also.clone());
    let raw = if roster {
        store.read_some(&keys, &[MEMBER, FORGOTTEN, REHEARSAL]).await?
    } else {
        keys.push(member_key(node));
        store.read_some(&keys, &[REHEARSAL]).await?
    };
    let contents = FleetContents::read(&raw).map_err(|error| ReadFault::Failed(error.to_string()))?;
    let mode = contents.mode.as_ref().ok_or(ReadFault::NoFleet)?;
    let journal = match also.and_then(|key| raw.values.get(&key)) {
        Some(line) => Some(journal_record(&line.bytes).map_err(ReadFault::Failed)?),
        None => None,
    };
    let is_own = |name: &&String| *name == node;
    let entries = |of_own: bool| contents.members.iter().filter(move |(name, _)| is_own(name) == of_own);
    let view = View {
        is_home: contents.is_home(),
        record: record_of(&mode.value),
        token: mode.token,
        own: entries(true).next().map(|(_, member)| (entry_of(&member.value), member.token)),
        others: roster.then(|| entries(false).map(|(_, member)| entry_of(&member.value)).collect()),
        journal: journal.as_ref().map(record_of),
    };
    Ok(Sight { view, contents, journal })
}

/// A record that is to follow, with its line of the journal: the same bytes in every attempt.
#[derive(Clone, Debug)]
pub(crate) struct NextWrite {
    pub record: ModeRecord,
    commit: Commit,
}

/// The write that makes `next` follow the record of `sight`. A settled record removes the notes that members are gone.
pub(crate) fn following(sight: &Sight, next: ModeRecord) -> Result<NextWrite, serde_json::Error> {
    let Some(before) = &sight.contents.mode else {
        return Err(serde::ser::Error::custom("there is no record to follow"));
    };
    let mut commit = Commit { compare: vec![(MODE.to_owned(), before.token)], ..Commit::default() };
    let is_end =
        before.value.phase == Phase::Switching && next.phase == Phase::Settled && next.mode == before.value.mode;
    let next = if is_end { with_forgotten(&sight.contents, next, &mut commit) } else { next };
    let kind = JournalKind::of_step(&before.value, &next);
    let previous = before.value.journal_head.as_deref();
    let (line, head) = journal::next_line(previous, None, kind, &next, Timestamp::now())?;
    let record = ModeRecord { journal_head: Some(head), ..next };
    commit.compare.push((journal_key(record.revision), 0));
    commit.put = vec![(MODE.to_owned(), bytes_of(&record)), (journal_key(record.revision), line.into_bytes())];
    Ok(NextWrite { record, commit })
}

/// Writes it, if the store still bears the mark of the record before and the own entry bears `own`.
pub(crate) async fn save(store: &EtcdStore, node: &str, write: &NextWrite, own: i64) -> OpEnd {
    let mut commit = write.commit.clone();
    commit.compare.push((member_key(node), own));
    end_of(store.commit(commit).await)
}

/// Writes the own entry if it bears this mark; 0: if there is none.
pub(crate) async fn put_entry(
    store: &EtcdStore,
    identity: &Identity,
    (entry, token): (Entry, i64),
    abandoned: Vec<OperationCount>,
) -> OpEnd {
    let key = member_key(&identity.node);
    let value = MemberEntry {
        format: FORMAT,
        directory: hex_id(entry.directory),
        incarnation: hex_id(entry.incarnation),
        version: identity.version.clone(),
        table: identity.table.clone(),
        ack: entry.ack.map(|ack| written(ack, abandoned)),
        unknown: Map::new(),
    };
    let (compare, put) = (vec![(key.clone(), token)], vec![(key, bytes_of(&value))]);
    end_of(store.commit(Commit { compare, put, delete: Vec::new() }).await)
}

/// Deletes the own entry if it bears this mark.
pub(crate) async fn delete_entry(store: &EtcdStore, node: &str, token: i64) -> OpEnd {
    let key = member_key(node);
    let commit = Commit { compare: vec![(key.clone(), token)], put: Vec::new(), delete: vec![key] };
    end_of(store.commit(commit).await)
}

fn end_of(outcome: Result<i64, SharedError>) -> OpEnd {
    match outcome {
        Ok(token) => OpEnd::Done(token),
        Err(SharedError::Conflict) => OpEnd::Conflict,
        Err(SharedError::NotDone(error)) => {
            tracing::debug!(%error, "the store did nothing");
            OpEnd::NotDone
        }
        Err(SharedError::Unknown(error)) => {
            tracing::debug!(%error, "the outcome of a write is unknown");
            OpEnd::Unknown
        }
    }
}

/// The settled record names the members that an operator declared gone: the requests that they left are assumed to have ended.
fn with_forgotten(contents: &FleetContents, settled: ModeRecord, commit: &mut Commit) -> ModeRecord {
    if contents.forgotten.is_empty() {
        return settled;
    }
    let mut abandoned = settled.abandoned.clone();
    for (node, forgotten) in &contents.forgotten {
        let operation = format!("whatever the forgotten member {node} left");
        abandoned.push(OperationCount::new(operation, "other".to_owned(), 1));
        commit.compare.push((forgotten_key(node), forgotten.token));
        commit.delete.push(forgotten_key(node));
    }
    let drain = settled.drain.max(Some(DrainOutcome::Assumed));
    ModeRecord { drain, abandoned: OperationCount::bounded(abandoned), ..settled }
}

fn journal_record(line: &[u8]) -> Result<ModeRecord, String> {
    let entry: JournalEntry =
        serde_json::from_slice(line).map_err(|error| format!("the journal cannot be read: {error}"))?;
    Ok(entry.record)
}

/// The part of a record on which the protocol depends.
pub(crate) fn record_of(record: &ModeRecord) -> Record {
    let switching = record.phase == Phase::Switching;
    Record {
        brief: Brief { revision: record.revision, mode: record.mode, switching },
        attempt: record.attempt.as_deref().and_then(|attempt| Id::from_str_radix(attempt, 16).ok()).unwrap_or_default(),
        failure: record.cause.as_deref().filter(|_| !switching).and_then(Failure::of_cause),
        on_timeout: record.on_timeout.unwrap_or(OnTimeout::Revert),
        force: record.force,
    }
}

fn entry_of(member: &MemberEntry) -> Entry {
    // An id that no member writes matches none.
    let id = |text: &str| Id::from_str_radix(text, 16).unwrap_or_default();
    Entry {
        directory: id(&member.directory),
        incarnation: id(&member.incarnation),
        ack: member.ack.as_ref().map(|ack| Ack { revision: ack.revision, word: word_of(ack), drain: ack.drain }),
    }
}

/// A narrowed member is not in the mode, whatever cause a later version gives.
fn word_of(ack: &MemberAck) -> Word {
    match (ack.word, ack.cause.as_deref()) {
        (AckWord::InMode, _) => Word::InMode,
        (AckWord::Narrowed, Some("no_profile_schema")) => Word::NoSchema,
        (AckWord::Narrowed, Some("local_close")) => Word::LocalClose,
        (AckWord::Narrowed, _) => Word::Behind,
    }
}

fn written(ack: Ack, abandoned: Vec<OperationCount>) -> MemberAck {
    let (word, cause) = match ack.word {
        Word::InMode => (AckWord::InMode, None),
        Word::Behind => (AckWord::Narrowed, Some("upstream_behind")),
        Word::NoSchema => (AckWord::Narrowed, Some("no_profile_schema")),
        Word::LocalClose => (AckWord::Narrowed, Some("local_close")),
    };
    let cause = cause.map(str::to_owned);
    MemberAck {
        revision: ack.revision,
        word,
        cause,
        drain: ack.drain,
        abandoned: OperationCount::bounded(abandoned),
        unknown: Map::new(),
    }
}
