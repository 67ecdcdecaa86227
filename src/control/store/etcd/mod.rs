//! The store of a fleet: keys and bytes in etcd, below one name. It knows no protocol: its users decide on the meaning of a
//! key, and on when it may be written.
//!
//! Its connections live on a thread of their own, so that nothing that blocks another part of the gateway makes it miss a
//! response. Every write has one of three outcomes: done, certainly not done, or unknown ([`SharedError`]).

mod address;
mod alive;
mod error;
mod hints;
mod link;
mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime;
use tokio::sync::{oneshot, watch};

pub use address::EtcdSettings;
pub(crate) use address::{EtcdAddress, check_name};
pub(crate) use error::EtcdError;
pub(crate) use link::fraction;

use self::alive::Alive;
use self::hints::Hints;
use self::link::Links;
use self::messages::{
    BY_MOD_REVISION, Compare, DESCENDING, DeleteRequest, KeyValue, Operation, OperationResponse, PutRequest,
    RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse, end_of,
};

const TXN: &str = "/etcdserverpb.KV/Txn";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// The keys of the history begin so; see [`journal_key`].
const JOURNAL: &str = "journal/";
const ALIVE: &str = "alive/";

/// The value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The content.
    pub bytes: Vec<u8>,
    /// etcd's revision of the last change of this key, which a commit compares.
    pub token: i64,
}

/// All keys but the journal, read in one linearizable transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The cluster that responded.
    pub cluster_id: u64,
    /// The cluster's revision.
    pub revision: i64,
    /// By key, without the name of the fleet.
    pub values: BTreeMap<String, Value>,
}

/// One transaction: if every comparison holds, all is written, else nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Keys with their tokens; 0 for an absent one.
    pub compare: Vec<(String, i64)>,
    /// Keys to write.
    pub put: Vec<(String, Vec<u8>)>,
    /// Keys to delete.
    pub delete: Vec<String>,
}

/// Why a call failed, by the consequence for a write.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// A comparison did not hold: nothing was written.
    #[error("the store holds something else by now")]
    Conflict,
    /// Nothing was written, and nothing of it will be.
    #[error(transparent)]
    NotDone(EtcdError),
    /// It may be written, even later.
    #[error(transparent)]
    Unknown(EtcdError),
}

impl From<EtcdError> for SharedError {
    fn from(error: EtcdError) -> SharedError {
        if error.is_known_not_done() { SharedError::NotDone(error) } else { SharedError::Unknown(error) }
    }
}

/// The handle: cheap to clone, usable from every runtime. The last one ends the thread.
#[derive(Clone, Debug)]
pub struct EtcdStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    links: Arc<Links>,
    /// The keys begin so: the name of the fleet and a slash.
    prefix: String,
    runtime: runtime::Handle,
    alive: Alive,
    hints: [Hints; 3],
    /// Dropped, the thread ends.
    _thread: oneshot::Sender<()>,
}

impl EtcdStore {
    /// Starts the thread. It connects at the first call.
    pub fn open(settings: EtcdSettings) -> std::io::Result<EtcdStore> {
        let prefix = format!("{}/", settings.address.name);
        let links = Arc::new(Links::new(settings));
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (thread, stopped) = oneshot::channel::<()>();
        let ended = async {
            let _ = stopped.await;
        };
        std::thread::Builder::new().name("store".to_owned()).spawn(move || {
            runtime.block_on(ended);
            // A file that hangs must not hold up the end of the process.
            runtime.shutdown_background();
        })?;
        let alive = Alive::new(handle.clone(), Arc::clone(&links), format!("{prefix}{ALIVE}"));
        let hints = [hints::everything(&prefix), hints::of_mode(&prefix), hints::of_roster(&prefix)].map(Hints::about);
        let shared = Shared { links, prefix, runtime: handle, alive, hints, _thread: thread };
        Ok(EtcdStore { shared: Arc::new(shared) })
    }

    /// Reads every key but the journal, and the keys of `also`, in one linearizable transaction. It tries every endpoint.
    pub async fn read(&self, also: Vec<String>) -> Result<Contents, SharedError> {
        let prefix = self.shared.prefix.clone();
        let (begin, journal, behind) = (prefix.clone(), format!("{prefix}{JOURNAL}"), format!("{prefix}journal0"));
        let mut ranges = vec![range(&begin, &journal), range(&behind, &end_of(&prefix))];
        ranges.extend(also.iter().map(|key| range(&format!("{prefix}{key}"), "")));
        self.read_ranges(ranges).await
    }

    /// Reads these keys, and all keys below these names, in one linearizable transaction. It tries every endpoint.
    pub async fn read_some(&self, keys: &[String], below: &[&str]) -> Result<Contents, SharedError> {
        let named = |key: &str| format!("{}{key}", self.shared.prefix);
        let keys = keys.iter().map(|key| range(&named(key), ""));
        let below = below.iter().map(|key| range(&named(key), &end_of(&named(key))));
        self.read_ranges(keys.chain(below).collect()).await
    }

    async fn read_ranges(&self, ranges: Vec<RangeRequest>) -> Result<Contents, SharedError> {
        let prefix = self.shared.prefix.clone();
        let success = ranges.into_iter().map(|range| op(Operation::Range(range))).collect();
        let request = TxnRequest { success, ..TxnRequest::default() };
        self.on_thread(move |links| async move {
            let response: TxnResponse = read_call(&links, TXN, request).await?;
            contents(&prefix, response)
        })
        .await
    }

    /// Writes `commit`. The outcome is that of one attempt; the token is that of every key that was put. If the caller goes
    /// away, the attempt goes on.
    pub async fn commit(&self, commit: Commit) -> Result<i64, SharedError> {
        let prefix = &self.shared.prefix;
        let named = |key: &str| format!("{prefix}{key}").into_bytes();
        let compare = commit.compare.iter().map(|(key, token)| equal(named(key), *token)).collect();
        let put = |(key, value): (String, Vec<u8>)| Operation::Put(PutRequest { key: named(&key), value, lease: 0 });
        let delete = |key: String| Operation::Delete(DeleteRequest { key: named(&key) });
        let puts = commit.put.into_iter().map(put);
        let success = puts.chain(commit.delete.into_iter().map(delete)).map(op).collect();
        let request = TxnRequest { compare, success, failure: Vec::new() };
        self.on_thread(move |links| async move {
            let response: TxnResponse = links.call(TXN, request).await?;
            let revision = response.header.map(|header| header.revision).unwrap_or_default();
            if response.succeeded { Ok(revision) } else { Err(SharedError::Conflict) }
        })
        .await
    }

    /// The newest values of the journal, newest first.
    pub async fn history(&self, limit: usize) -> Result<Vec<Vec<u8>>, SharedError> {
        let key = format!("{}{JOURNAL}", self.shared.prefix);
        let request = RangeRequest {
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            sort_order: DESCENDING,
            sort_target: BY_MOD_REVISION,
            ..range(&key, &end_of(&key))
        };
        self.on_thread(move |links| async move {
            let response: RangeResponse = read_call(&links, RANGE, request).await?;
            Ok(response.kvs.into_iter().map(|pair| pair.value).collect())
        })
        .await
    }

    /// So many lines of the journal from a revision on, oldest first.
    pub async fn journal(&self, from: u64, limit: usize) -> Result<Vec<(u64, Vec<u8>)>, SharedError> {
        let prefix = format!("{}{JOURNAL}", self.shared.prefix);
        let (key, limit) =
            (format!("{}{}", self.shared.prefix, journal_key(from)), i64::try_from(limit).unwrap_or(i64::MAX));
        let request = RangeRequest { limit, ..range(&key, &end_of(&prefix)) };
        self.on_thread(move |links| async move {
            let response: RangeResponse = read_call(&links, RANGE, request).await?;
            let numbered = response.kvs.into_iter().filter_map(|pair| {
                let number = std::str::from_utf8(pair.key.strip_prefix(prefix.as_bytes())?).ok()?.parse().ok()?;
                Some((number, pair.value))
            });
            Ok(numbered.collect())
        })
        .await
    }

    /// A number that grows by one for each change of a key beside `alive/` and the journal, and by far more if changes may have
    /// been missed: a hint to read.
    pub fn hints(&self) -> watch::Receiver<u64> {
        let Shared { runtime, links, hints: [everything, ..], .. } = &*self.shared;
        everything.follow(runtime, links)
    }

    /// The same of `mode`, `fleet`, `forgotten/` and `rehearsal/`.
    pub fn hints_of_mode(&self) -> watch::Receiver<u64> {
        let Shared { runtime, links, hints: [_, mode, _], .. } = &*self.shared;
        mode.follow(runtime, links)
    }

    /// The same of `member/`.
    pub fn hints_of_roster(&self) -> watch::Receiver<u64> {
        let Shared { runtime, links, hints: [.., roster], .. } = &*self.shared;
        roster.follow(runtime, links)
    }

    /// After another cluster has responded: the next read takes whichever responds first. For a user that compares what it
    /// reads with what it knows, and writes nothing before.
    pub async fn begin_anew(&self) {
        let links = Arc::clone(&self.shared.links);
        let _ = self.shared.runtime.spawn(async move { links.begin_anew().await }).await;
    }

    /// Keeps `alive/<node>` with this value under a lease, until the process ends or [`Self::end_alive`].
    pub fn set_alive(&self, node: &str, value: Vec<u8>) {
        self.shared.alive.set(node, value);
    }

    /// Gives up the lease, and waits for that: at most for as long as a call takes.
    pub async fn end_alive(&self) {
        self.shared.alive.end().await;
    }

    /// Runs `work` on the store's thread.
    async fn on_thread<T, F>(&self, work: impl FnOnce(Arc<Links>) -> F) -> Result<T, SharedError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SharedError>> + Send + 'static,
    {
        let working = self.shared.runtime.spawn(work(Arc::clone(&self.shared.links)));
        working.await.unwrap_or(Err(SharedError::Unknown(EtcdError::Ended)))
    }
}

/// The key of a revision's line of the journal. Its digits sort as the numbers do.
pub fn journal_key(revision: u64) -> String {
    format!("{JOURNAL}{revision:020}")
}

/// A call that changes nothing: other endpoints may respond to it.
async fn read_call<R>(
    links: &Links,
    path: &'static str,
    request: impl prost::Message + Clone + 'static,
) -> Result<R, EtcdError>
where
    R: prost::Message + Default + messages::Headed + 'static,
{
    let mut others = links.endpoints();
    loop {
        match links.call(path, request.clone()).await {
            Err(error) if error.is_of_endpoint() && !matches!(error, EtcdError::Connect(_)) && others > 0 => {
                others -= 1
            }
            outcome => return outcome,
        }
    }
}

fn contents(prefix: &str, response: TxnResponse) -> Result<Contents, SharedError> {
    let header = response.header.unwrap_or_default();
    let mut values = BTreeMap::new();
    for response in response.responses {
        let Some(OperationResponse::Range(range)) = response.response else { continue };
        for KeyValue { key, mod_revision, value } in range.kvs {
            // A key that is not text is not the gateway's.
            let Ok(key) = String::from_utf8(key) else { continue };
            let Some(key) = key.strip_prefix(prefix) else { continue };
            values.insert(key.to_owned(), Value { bytes: value, token: mod_revision });
        }
    }
    Ok(Contents { cluster_id: header.cluster_id, revision: header.revision, values })
}

fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec(), range_end: end.as_bytes().to_vec(), ..RangeRequest::default() }
}

fn equal(key: Vec<u8>, token: i64) -> Compare {
    Compare { result: 0, target: 2, key, mod_revision: Some(token) }
}

fn op(operation: Operation) -> RequestOp {
    RequestOp { request: Some(operation) }
}
