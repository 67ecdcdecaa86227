//! The record that `fleet init` writes: the first one of a fleet, or one above all that its members may have seen, after the
//! store was restored from a backup. Pure: it makes a transaction and sends nothing.

use jiff::Timestamp;

use super::keys::{FLEET, FleetContents, FleetKey, MODE, Marked, bytes_of};
use crate::control::store::etcd::{Commit, journal_key};
use crate::control::store::journal::{self, JournalKind};
use crate::policy::mode::{Mode, ModeRecord, Phase};

/// How far above every known revision the record of a restored store is: its members may have seen more than the backup has.
const LIFT: u64 = 1_000_000;

/// The causes of the records of this command.
const FOUNDED: &str = "fleet_init";
const RESTORED: &str = "fleet_restored";

/// The operator's choice.
#[derive(Clone, Debug)]
pub(crate) enum Founding {
    /// None: only check that the fleet exists.
    Unsaid,
    /// This mode, from nothing.
    Mode(Mode),
    /// The record of one gateway, which goes on in the fleet.
    Record(Box<ModeRecord>),
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FoundingError {
    #[error(
        "the fleet exists already, at revision {0}. After a restore from a backup say --above REVISION, the highest that \
             any member has shown, and --mode"
    )]
    Exists(u64),
    #[error(
        "say --mode production or --mode maintenance, or --from DIR, the state directory of a gateway that is stopped"
    )]
    NoMode,
    #[error(
        "--above lifts the record of a fleet whose store was restored: say with --mode which mode is in force from then on"
    )]
    NoModeAbove,
    #[error(
        "the store was made for another cluster: was it restored from a backup? Say --mode: which mode is in force from now \
             on is for you to decide. Every member stays closed until then"
    )]
    Restored,
    #[error("the record in --from is switching: start that gateway once, so that it ends its flip, and stop it")]
    Switching,
    #[error("the record cannot be written: {0}")]
    Unwritable(#[source] serde_json::Error),
}

/// The transaction that makes the fleet, and its record.
pub(crate) fn found(
    contents: &FleetContents,
    founding: Founding,
    above: u64,
    attempt: String,
    now: Timestamp,
) -> Result<(ModeRecord, Commit), FoundingError> {
    let FleetContents { fleet, mode, .. } = contents;
    let highest = contents.highest_revision().max(above);
    let is_new = fleet.is_none() && mode.is_none();
    let first = |mode, revision, cause| ModeRecord::first(mode, revision, cause, now);
    let record = match founding {
        _ if contents.is_home() && mode.is_some() && above == 0 => return Err(FoundingError::Exists(highest)),
        Founding::Unsaid if is_new => return Err(FoundingError::NoMode),
        Founding::Unsaid if contents.is_home() => return Err(FoundingError::NoModeAbove),
        Founding::Unsaid | Founding::Record(_) if !is_new => return Err(FoundingError::Restored),
        Founding::Unsaid => return Err(FoundingError::NoMode),
        Founding::Record(record) if record.phase == Phase::Switching => return Err(FoundingError::Switching),
        Founding::Record(record) => ModeRecord { revision: record.revision.max(highest) + 1, ..*record },
        Founding::Mode(mode) if is_new => first(mode, highest + 1, FOUNDED),
        Founding::Mode(mode) => first(mode, highest.saturating_add(LIFT), RESTORED),
    };
    let record = ModeRecord { attempt: Some(attempt), ..record };
    let before = mode.as_ref().map(|mode| &mode.value);
    let kind = before.map_or(JournalKind::Started, |before| JournalKind::of_step(before, &record));
    let previous = before.and_then(|before| before.journal_head.as_deref());
    // The journal of the gateway that the record comes from stays where it is: this one names its last line.
    let (line, head) = journal::next_line(previous, record.journal_head.as_deref(), kind, &record, now)
        .map_err(FoundingError::Unwritable)?;
    let record = ModeRecord { journal_head: Some(head), ..record };
    let key = journal_key(record.revision);
    let compare = vec![(FLEET.to_owned(), token(fleet)), (MODE.to_owned(), token(mode)), (key.clone(), 0)];
    let put = vec![
        (FLEET.to_owned(), bytes_of(&FleetKey::of(contents.cluster_id))),
        (MODE.to_owned(), bytes_of(&record)),
        (key, line.into_bytes()),
    ];
    Ok((record, Commit { compare, put, delete: Vec::new() }))
}

fn token<T>(value: &Option<Marked<T>>) -> i64 {
    value.as_ref().map_or(0, |value| value.token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn contents(cluster_id: u64, made_for: Option<u64>, mode: Option<ModeRecord>) -> FleetContents {
        FleetContents {
            cluster_id,
            fleet: made_for.map(|id| Marked { value: FleetKey::of(id), token: 5 }),
            mode: mode.map(|value| Marked { value, token: 6 }),
            ..FleetContents::default()
        }
    }

    fn made(contents: &FleetContents, founding: Founding, above: u64) -> Result<(ModeRecord, Commit), FoundingError> {
        found(contents, founding, above, "a".repeat(32), "2026-11-29T20:00:00Z".parse().unwrap())
    }

    fn record(revision: u64) -> ModeRecord {
        ModeRecord::first(Mode::Maintenance, revision, "test", "2026-11-29T19:00:00Z".parse().unwrap())
    }

    #[test]
    fn an_empty_store_gets_its_first_record_only_by_word_of_an_operator() {
        let empty = contents(1, None, None);
        assert!(matches!(made(&empty, Founding::Unsaid, 0), Err(FoundingError::NoMode)));
        let (first, commit) = made(&empty, Founding::Mode(Mode::Production), 0).unwrap();
        assert_eq!((first.revision, first.mode, first.attempt.is_some()), (1, Mode::Production, true));
        assert!(commit.compare.iter().all(|(_, token)| *token == 0), "{commit:?}");
    }

    #[test]
    fn a_gateways_record_goes_on_with_its_own_history_named() {
        let head = "b".repeat(64);
        let own = ModeRecord { journal_head: Some(head.clone()), ..record(41) };
        let (first, commit) = made(&contents(1, None, None), Founding::Record(Box::new(own)), 0).unwrap();
        assert_eq!((first.revision, first.mode), (42, Mode::Maintenance));
        let line = String::from_utf8(commit.put[2].1.clone()).unwrap();
        assert!(line.contains(&format!("\"continues\":\"{head}\"")), "{line}");
        let switching = ModeRecord { phase: Phase::Switching, ..record(41) };
        let refused = made(&contents(1, None, None), Founding::Record(Box::new(switching)), 0);
        assert!(matches!(refused, Err(FoundingError::Switching)));
    }

    #[test]
    fn a_fleet_that_exists_stays_as_it_is() {
        for founding in [Founding::Unsaid, Founding::Mode(Mode::Production), Founding::Record(Box::new(record(9)))] {
            assert!(matches!(made(&contents(1, Some(1), Some(record(7))), founding, 0), Err(FoundingError::Exists(7))));
        }
    }

    #[test]
    fn a_restored_store_goes_on_above_all_that_its_members_may_have_seen() {
        let (restored, copied) = (contents(2, Some(1), Some(record(7))), contents(1, Some(1), Some(record(7))));
        assert!(matches!(made(&restored, Founding::Unsaid, 0), Err(FoundingError::Restored)));
        assert!(matches!(made(&copied, Founding::Unsaid, 20), Err(FoundingError::NoModeAbove)));
        let (next, commit) = made(&restored, Founding::Mode(Mode::Maintenance), 0).unwrap();
        assert_eq!(next.revision, 7 + LIFT);
        assert_eq!(commit.compare[0], (FLEET.to_owned(), 5));
        assert_eq!(commit.compare[1], (MODE.to_owned(), 6));
        assert_eq!(commit.put[0].1, bytes_of(&FleetKey::of(2)), "it is at home there now");
        // One that nobody can notice by its cluster: the operator says what the members have seen.
        let (next, _) = made(&copied, Founding::Mode(Mode::Maintenance), 20).unwrap();
        assert_eq!(next.revision, 20 + LIFT);
    }
}
