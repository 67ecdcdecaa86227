//! Hints that something in the store may have changed: a watch that is made again whenever it ends. It carries no content, so
//! no gap, no repetition and no wrong order of events can mislead its users: they read.
//!
//! A hint comes after a watch was established, so whatever changed before is read, and whatever changes later is an event.
//! This needs no start revision, and so a compaction costs one new watch and one read. A watch that no user follows any more
//! ends.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime;
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tonic::Streaming;
use tracing::debug;

use super::error::EtcdError;
use super::link::{CALL, Link, Links, fraction};
use super::messages::{WatchCreateRequest, WatchRequest, WatchResponse, end_of};

const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// A hint comes at least so often: events may be lost in unforeseen ways.
const RESYNC: Duration = Duration::from_secs(10);

/// The wait before a watch is made again; it doubles up to [`SLOWEST`], and varies at random.
const FIRST: Duration = Duration::from_millis(50);
const SLOWEST: Duration = Duration::from_secs(1);

/// The step of the number where changes may have been missed: more than there are changes to wait for.
const MANY: u64 = 1 << 32;

/// Everything but `alive/` and `journal/`.
pub(super) fn everything(prefix: &str) -> Vec<WatchCreateRequest> {
    let named = |key: &str| format!("{prefix}{key}");
    vec![
        between(prefix, &named("alive/")),
        between(&named("alive0"), &named("journal/")),
        between(&named("journal0"), &end_of(prefix)),
    ]
}

/// The keys that every member needs. The entries of others are left out: for each of them, etcd would check every watch of
/// every member.
pub(super) fn of_mode(prefix: &str) -> Vec<WatchCreateRequest> {
    let named = |key: &str| format!("{prefix}{key}");
    let below = |key: &str| between(&named(key), &end_of(&named(key)));
    vec![between(&named("mode"), ""), between(&named("fleet"), ""), below("forgotten/"), below("rehearsal/")]
}

/// The keys that a member needs when it may end a flip.
pub(super) fn of_roster(prefix: &str) -> Vec<WatchCreateRequest> {
    let named = format!("{prefix}member/");
    vec![between(&named, &end_of(&named))]
}

fn between(key: &str, end: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.as_bytes().to_vec(), range_end: end.as_bytes().to_vec() }
}

/// Hints about some keys.
#[derive(Debug)]
pub(super) struct Hints {
    watches: Vec<WatchCreateRequest>,
    numbers: Mutex<Option<watch::Sender<u64>>>,
}

impl Hints {
    pub(super) fn about(watches: Vec<WatchCreateRequest>) -> Hints {
        Hints { watches, numbers: Mutex::default() }
    }

    /// Joins the watch, or begins it. It ends with its last receiver, and with the store's thread.
    pub(super) fn follow(&self, runtime: &runtime::Handle, links: &Arc<Links>) -> watch::Receiver<u64> {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*numbers {
            let receiver = running.subscribe();
            // With no other receiver it may just have ended.
            if running.receiver_count() > 1 {
                return receiver;
            }
        }
        let (sender, receiver) = watch::channel(1);
        let (own, links, watches) = (sender.clone(), Arc::clone(links), self.watches.clone());
        runtime.spawn(async move {
            tokio::select! {
                () = own.closed() => {}
                () = keep_watching(links, watches, &own) => {}
            }
        });
        *numbers = Some(sender);
        receiver
    }
}

async fn keep_watching(links: Arc<Links>, watches: Vec<WatchCreateRequest>, hints: &watch::Sender<u64>) {
    let (mut wait, mut refusals) = (FIRST, 0);
    loop {
        let ended = match links.open().await {
            Ok(link) => {
                let ended = watch(&links, &link, &watches, hints, &mut wait).await;
                if !matches!(ended, Ended::Cancelled(_)) || ended.is_refusal() {
                    links.forget(&link, ended.is_refusal()).await;
                }
                ended
            }
            Err(error) => Ended::Failed(error),
        };
        debug!(?ended, "the watch of the store ended");
        hint(hints, MANY);
        // One new login may help; more of them only burden etcd.
        refusals = if ended.is_refusal() { refusals + 1 } else { 0 };
        let pause = if refusals > 1 { RESYNC } else { wait };
        tokio::time::sleep(pause.mul_f64(0.5 + fraction() / 2.0)).await;
        wait = (wait * 2).min(SLOWEST);
    }
}

/// Why a watch ended.
#[derive(Debug)]
enum Ended {
    Failed(EtcdError),
    /// By etcd, with its reason: a compaction, a token that has ended, or a key that the user may not see.
    Cancelled(String),
    Closed,
}

impl Ended {
    /// Whether a new login may help. etcd says it in words only: "Unauthenticated" or "PermissionDenied".
    fn is_refusal(&self) -> bool {
        match self {
            Ended::Failed(error) => error.wants_login(),
            Ended::Cancelled(reason) => {
                ["Unauthenticated", "PermissionDenied", "auth"].iter().any(|word| reason.contains(word))
            }
            Ended::Closed => false,
        }
    }
}

async fn watch(
    links: &Links,
    link: &Link,
    watches: &[WatchCreateRequest],
    hints: &watch::Sender<u64>,
    wait: &mut Duration,
) -> Ended {
    let requests: Vec<WatchRequest> =
        watches.iter().cloned().map(|create| WatchRequest { create: Some(create) }).collect();
    let requests = tokio_stream::iter(requests).chain(tokio_stream::pending());
    let mut responses: Streaming<WatchResponse> = match links.stream(link, WATCH, requests).await {
        Ok(responses) => responses,
        Err(error) => return Ended::Failed(error),
    };
    let mut missing = watches.len();
    loop {
        let response = match next(links, link, &mut responses, missing > 0).await {
            Ok(Some(response)) => response,
            Ok(None) => {
                hint(hints, MANY);
                continue;
            }
            Err(ended) => return ended,
        };
        if response.created {
            missing = missing.saturating_sub(1);
        }
        if missing == 0 && (response.created || !response.events.is_empty()) {
            *wait = FIRST;
            hint(hints, if response.created { MANY } else { response.events.len() as u64 });
        }
    }
}

/// The next response; `None` if it is time to read everything again. A watch that does not begin in time has ended.
async fn next(
    links: &Links,
    link: &Link,
    responses: &mut Streaming<WatchResponse>,
    begins: bool,
) -> Result<Option<WatchResponse>, Ended> {
    let response = match tokio::time::timeout(if begins { CALL } else { RESYNC }, responses.message()).await {
        Ok(Ok(Some(response))) => response,
        Ok(Ok(None)) => return Err(Ended::Closed),
        Ok(Err(status)) => return Err(Ended::Failed(EtcdError::of_status(&link.endpoint, &status))),
        Err(_) if begins => return Err(Ended::Failed(EtcdError::TimedOut(link.endpoint.clone()))),
        Err(_) => return Ok(None),
    };
    links.check(&link.endpoint, &response).map_err(Ended::Failed)?;
    if response.canceled {
        let compacted = response.compact_revision;
        return Err(Ended::Cancelled(format!("{} (compacted: {compacted})", response.cancel_reason)));
    }
    Ok(Some(response))
}

fn hint(hints: &watch::Sender<u64>, changes: u64) {
    hints.send_modify(|number| *number += changes);
}
