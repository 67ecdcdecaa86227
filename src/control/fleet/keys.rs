//! The keys of a fleet in the shared store and the JSON of their values. It decides nothing: `policy::fleet` says which value
//! may follow which.
//!
//! Fields that a reader does not know are kept, so that members of two versions share a fleet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::control::store::etcd::Contents;
use crate::policy::mode::{DrainOutcome, Mode, ModeRecord, OperationCount};

/// The format that this program writes and reads; a value of a later one is refused.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const FLEET: &str = "fleet";
pub(crate) const MODE: &str = "mode";
pub(crate) const MEMBER: &str = "member/";
pub(crate) const FORGOTTEN: &str = "forgotten/";
const ALIVE: &str = "alive/";
pub(crate) const REHEARSAL: &str = "rehearsal/";
const REHEARSED: &str = "rehearsed/";

/// `fleet`: the store that these contents were made for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FleetKey {
    pub format: u32,
    /// In decimal digits: JSON's numbers may be too small for it.
    pub cluster_id: String,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl FleetKey {
    pub(crate) fn of(cluster_id: u64) -> FleetKey {
        FleetKey { format: FORMAT, cluster_id: cluster_id.to_string(), unknown: Map::new() }
    }
}

/// `member/<node>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberEntry {
    pub format: u32,
    /// The state directory to which the name belongs: 32 hex digits.
    pub directory: String,
    /// The joining that wrote the entry: 32 hex digits, never used again.
    pub incarnation: String,
    /// Of the program.
    pub version: String,
    /// The fingerprint of its route table.
    pub table: String,
    #[serde(default)]
    pub ack: Option<MemberAck>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// A member's acknowledgement of a switching record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberAck {
    /// The switching record that it acknowledges, and no other.
    pub revision: u64,
    pub word: AckWord,
    /// Why it is narrowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub drain: DrainOutcome,
    #[serde(default)]
    pub abandoned: Vec<OperationCount>,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// Whether a member will be in the mode once that is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AckWord {
    InMode,
    Narrowed,
}

/// `forgotten/<node>`: an operator has declared this process gone. The next flip names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forgotten {
    pub directory: String,
    pub incarnation: String,
    pub time: Timestamp,
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

/// `rehearsal/<asker>`: asks every member how its drain would go. Nothing depends on the replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rehearsal {
    /// A random number, never used again: 32 hex digits.
    pub id: String,
    /// The target.
    pub mode: Mode,
    /// The flip would be made although a profile schema is lacking.
    pub force: bool,
    pub drain_timeout_ms: u64,
}

/// `rehearsed/<asker>/<node>`: how the drain of a member would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rehearsed {
    /// Of the rehearsal.
    pub id: String,
    /// Why the member would acknowledge the flip as closed.
    pub cause: Option<String>,
    /// Every request that was in flight at the beginning has ended within the drain timeout.
    pub drained: bool,
    pub drain_ms: u64,
    /// The requests in flight that the drain would have waited for, at the beginning if it is over, else at the end.
    pub waits_for: Vec<OperationCount>,
}

/// A value with the store's mark of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked<T> {
    pub value: T,
    pub token: i64,
}

/// The keys of a fleet as one read shows them, or a part of them, without the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FleetContents {
    pub cluster_id: u64,
    pub fleet: Option<Marked<FleetKey>>,
    pub mode: Option<Marked<ModeRecord>>,
    pub members: BTreeMap<String, Marked<MemberEntry>>,
    pub forgotten: BTreeMap<String, Marked<Forgotten>>,
    /// For display alone.
    pub alive: BTreeMap<String, Value>,
    /// By the member that asks.
    pub rehearsals: BTreeMap<String, Rehearsal>,
    /// By `<asker>/<node>`.
    pub rehearsed: BTreeMap<String, Rehearsed>,
}

/// A value that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the store's key {key} cannot be read: {fault}")]
pub(crate) struct KeyFault {
    key: String,
    fault: String,
}

impl FleetContents {
    /// Reads all keys. Keys of no known kind are left alone.
    pub(crate) fn read(contents: &Contents) -> Result<FleetContents, KeyFault> {
        let mut read = FleetContents {
            cluster_id: contents.cluster_id,
            fleet: one(contents, FLEET)?,
            mode: one(contents, MODE)?,
            members: below(contents, MEMBER)?,
            forgotten: below(contents, FORGOTTEN)?,
            alive: BTreeMap::new(),
            rehearsals: readable(contents, REHEARSAL),
            rehearsed: readable(contents, REHEARSED),
        };
        for (key, value) in &contents.values {
            if let Some(node) = key.strip_prefix(ALIVE) {
                read.alive.insert(node.to_owned(), serde_json::from_slice(&value.bytes).unwrap_or_default());
            }
        }
        let formats = read.fleet.iter().map(|fleet| (FLEET, fleet.value.format));
        let members = read.members.iter().map(|(node, member)| (node.as_str(), member.value.format));
        if let Some((key, format)) = formats.chain(members).find(|(_, format)| *format != FORMAT) {
            return Err(KeyFault { key: key.to_owned(), fault: format!("format {format} is of a later version") });
        }
        if read.mode.as_ref().is_some_and(|mode| !mode.value.is_consistent()) {
            let fault = "its fields contradict each other or its format is of a later version".to_owned();
            return Err(KeyFault { key: MODE.to_owned(), fault });
        }
        Ok(read)
    }

    /// Whether the contents were made for the cluster that holds them.
    pub(crate) fn is_home(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| fleet.value.cluster_id == self.cluster_id.to_string())
    }

    /// The highest revision that the contents name.
    pub(crate) fn highest_revision(&self) -> u64 {
        let acks = self.members.values().filter_map(|member| Some(member.value.ack.as_ref()?.revision));
        acks.chain(self.mode.as_ref().map(|mode| mode.value.revision)).max().unwrap_or(0)
    }
}

/// The key of a member's entry.
pub(crate) fn member_key(node: &str) -> String {
    format!("{MEMBER}{node}")
}

/// The key of the word that a member is gone.
pub(crate) fn forgotten_key(node: &str) -> String {
    format!("{FORGOTTEN}{node}")
}

/// The key by which a member asks for a rehearsal.
pub(crate) fn rehearsal_key(asker: &str) -> String {
    format!("{REHEARSAL}{asker}")
}

/// The key of a reply to it.
pub(crate) fn rehearsed_key(asker: &str, node: &str) -> String {
    format!("{REHEARSED}{asker}/{node}")
}

/// A random number that is never used again.
pub(crate) fn random_id() -> Result<u128, getrandom::Error> {
    Ok(u128::from(getrandom::u64()?) << 64 | u128::from(getrandom::u64()?))
}

/// A random number in the form of the entries.
pub(crate) fn hex_id(id: u128) -> String {
    format!("{id:032x}")
}

/// The bytes of a value. These types have no value that JSON lacks.
pub(crate) fn bytes_of(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn one<T: DeserializeOwned>(contents: &Contents, key: &str) -> Result<Option<Marked<T>>, KeyFault> {
    let Some(value) = contents.values.get(key) else { return Ok(None) };
    match serde_json::from_slice(&value.bytes) {
        Ok(read) => Ok(Some(Marked { value: read, token: value.token })),
        Err(error) => Err(KeyFault { key: key.to_owned(), fault: error.to_string() }),
    }
}

fn below<T: DeserializeOwned>(contents: &Contents, prefix: &str) -> Result<BTreeMap<String, Marked<T>>, KeyFault> {
    let mut values = BTreeMap::new();
    for key in contents.values.keys() {
        let Some(node) = key.strip_prefix(prefix) else { continue };
        values.extend(one(contents, key)?.map(|value| (node.to_owned(), value)));
    }
    Ok(values)
}

/// Values that decide nothing: one that cannot be read is left out.
fn readable<T: DeserializeOwned>(contents: &Contents, prefix: &str) -> BTreeMap<String, T> {
    let below = contents.values.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
    below.filter_map(|(name, value)| Some((name.to_owned(), serde_json::from_slice(&value.bytes).ok()?))).collect()
}
