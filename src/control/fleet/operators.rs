//! The operators' commands on a fleet: make it, forget a member that is gone, export its record into files. They act on the
//! store and need no member. Each write is repeated until its outcome is known.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::founding::{Founding, FoundingError, found};
use super::keys::{FleetContents, Forgotten, KeyFault, bytes_of, forgotten_key, hex_id, member_key, random_id};
use super::view::Observed;
use crate::control::store::StoreError;
use crate::control::store::etcd::{Commit, EtcdStore, SharedError};
use crate::control::store::file::RecordFile;
use crate::control::store::local::LocalDir;
use crate::fleet_view::FleetView;
use crate::policy::mode::{ModeRecord, Phase};

/// The wait before a call is repeated.
const AGAIN: Duration = Duration::from_millis(300);

/// How often a call is repeated before the operator is told.
const ATTEMPTS: usize = 20;

/// Lines of the journal for each read.
const PAGE: usize = 500;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    #[error(transparent)]
    Store(#[from] SharedError),
    #[error("{0}; whether it was written is not known: run the command again, which is safe")]
    Unknown(#[source] SharedError),
    #[error(transparent)]
    Key(#[from] KeyFault),
    #[error(transparent)]
    Founding(#[from] FoundingError),
    #[error(transparent)]
    File(#[from] StoreError),
    #[error("{} holds no mode record", .0.display())]
    NoRecord(std::path::PathBuf),
    #[error("{}: {alarm}", .dir.display())]
    Alarmed { dir: std::path::PathBuf, alarm: String },
    #[error("the store holds no fleet of this name: run `ucs-gateway fleet init`")]
    NoFleet,
    #[error("the fleet has no member {0:?}; `ucs-gateway fleet list` shows them")]
    NoMember(String),
    #[error("{0:?} has joined anew meanwhile: its process runs. Stop it, then say so again")]
    JoinedAnew(String),
    #[error("a flip is under way: wait for its end")]
    Switching,
    #[error("the record was changed meanwhile; nothing was written. Run the command again")]
    Changed,
    #[error("no random number: {0}")]
    Random(#[source] getrandom::Error),
}

pub(crate) async fn read(store: &EtcdStore) -> Result<FleetContents, OperatorError> {
    Ok(FleetContents::read(&store.read(Vec::new()).await?)?)
}

/// The fleet as operators see it.
pub(crate) async fn view(store: &EtcdStore) -> Result<FleetView, OperatorError> {
    let (contents, now) = (read(store).await?, Timestamp::now());
    let mut observed = Observed::default();
    observed.note(&contents, now);
    Ok(observed.view(&contents, now))
}

/// Makes the fleet, or lifts the record of a restored one. The record that it has now.
pub(crate) async fn init(store: &EtcdStore, founding: Founding, above: u64) -> Result<ModeRecord, OperatorError> {
    let attempt = hex_id(random_id().map_err(OperatorError::Random)?);
    let contents = read(store).await?;
    let (record, commit) = found(&contents, founding, above, attempt, Timestamp::now())?;
    match written(store, &commit).await? {
        true => Ok(record),
        false => Err(OperatorError::Changed),
    }
}

/// The settled record of a gateway that is stopped.
pub(crate) fn record_of(dir: &Path) -> Result<ModeRecord, OperatorError> {
    if !dir.is_dir() {
        return Err(OperatorError::NoRecord(dir.to_owned()));
    }
    let local = LocalDir::open(dir)?;
    let loaded = RecordFile::in_dir(&local).load()?;
    match (loaded.alarms.into_iter().next(), loaded.record) {
        (Some(alarm), _) => Err(OperatorError::Alarmed { dir: dir.to_owned(), alarm }),
        (None, Some(record)) => Ok(record.into_inner()),
        (None, None) => Err(OperatorError::NoRecord(dir.to_owned())),
    }
}

/// Removes the entry of a member that an operator declares stopped, after the grace of the requests that it left at UCS.
pub(crate) async fn forget(store: &EtcdStore, node: &str, grace: Duration) -> Result<(), OperatorError> {
    let seen = read(store).await?.members.remove(node).ok_or_else(|| OperatorError::NoMember(node.to_owned()))?;
    tokio::time::sleep(grace).await;
    loop {
        let Some(there) = read(store).await?.members.remove(node) else { return Ok(()) };
        if there.value.incarnation != seen.value.incarnation {
            return Err(OperatorError::JoinedAnew(node.to_owned()));
        }
        let (directory, incarnation) = (there.value.directory, there.value.incarnation);
        let word = Forgotten { directory, incarnation, time: Timestamp::now(), unknown: Default::default() };
        let commit = Commit {
            compare: vec![(member_key(node), there.token)],
            put: vec![(forgotten_key(node), bytes_of(&word))],
            delete: vec![member_key(node)],
        };
        // Not written: it has acknowledged something meanwhile, or it is gone.
        if written(store, &commit).await? {
            return Ok(());
        }
    }
}

/// Writes the record and its journal into a new state directory, for a gateway that goes on alone.
pub(crate) async fn export(store: &EtcdStore, dir: &Path) -> Result<ModeRecord, OperatorError> {
    let contents = read(store).await?;
    let record = contents.mode.ok_or(OperatorError::NoFleet)?.value;
    if record.phase == Phase::Switching {
        return Err(OperatorError::Switching);
    }
    let (mut lines, mut from) = (Vec::new(), 0);
    loop {
        let page = store.journal(from, PAGE).await?;
        let is_last = page.len() < PAGE;
        for (key, line) in page {
            from = key + 1;
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        if is_last {
            break;
        }
    }
    RecordFile::write_new(dir, &lines, &record)?;
    Ok(record)
}

/// Whether the transaction was applied; `false`: it never will be.
async fn written(store: &EtcdStore, commit: &Commit) -> Result<bool, OperatorError> {
    let mut unknown = None;
    for _ in 0..ATTEMPTS {
        match store.commit(commit.clone()).await {
            Ok(_) => return Ok(true),
            Err(SharedError::Conflict) if unknown.is_none() => return Ok(false),
            Err(SharedError::Conflict) => match is_there(store, commit).await {
                Ok(is_there) => return Ok(is_there),
                Err(error) => unknown = Some(error),
            },
            Err(error @ SharedError::NotDone(_)) if unknown.is_none() => return Err(error.into()),
            Err(error) => unknown = Some(error),
        }
        tokio::time::sleep(AGAIN).await;
    }
    Err(OperatorError::Unknown(unknown.unwrap_or(SharedError::Conflict)))
}

/// Whether an earlier attempt was applied: its last value is there, which no other write puts.
async fn is_there(store: &EtcdStore, commit: &Commit) -> Result<bool, SharedError> {
    let Some((key, value)) = commit.put.last() else { return Ok(false) };
    let contents = store.read(vec![key.clone()]).await?;
    Ok(contents.values.get(key).is_some_and(|there| there.bytes == *value))
}
