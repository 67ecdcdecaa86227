//! A rehearsal of a flip across the members: one asks by a key in the store, and every member replies by another how its drain
//! would go. Each measures how long its requests in flight take, and refuses none. The record and admission stay as they are,
//! and nothing is decided by a rehearsal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::keys::{FleetContents, Rehearsal, Rehearsed, bytes_of, hex_id, rehearsal_key, rehearsed_key};
use super::membership::new_id;
use super::operators;
use super::sight::FleetLink;
use crate::control::drain::Drain;
use crate::control::store::etcd::Commit;
use crate::fleet_view::{RehearsalView, RehearsedMember};
use crate::gate::{Gate, Published};
use crate::policy::fleet::Closed;
use crate::policy::mode::{Mode, ModeChange, OnTimeout, OperationCount, SchemaKnowledge};

/// The interval between looks at the counts.
const POLL: Duration = Duration::from_millis(20);

/// After so long every request that is still in flight is among those that run for long (`Gate::oldest_running`).
const KNOWN: Duration = Duration::from_millis(1_500);

/// How long replies take beyond the drain timeout.
const REPLIES: Duration = Duration::from_secs(3);

/// The wait before the store is read again, without a hint.
const AGAIN: Duration = Duration::from_millis(500);

/// Asks every member, and waits for their replies: for the drain timeout of the change, and no longer than until `gone`.
/// `None` if the store does not respond.
pub(crate) async fn ask(
    link: &FleetLink,
    change: &ModeChange,
    gone: impl Future<Output = ()>,
) -> Option<RehearsalView> {
    let limit = change.drain_timeout.unwrap_or_default();
    let (id, drain_timeout_ms) = (hex_id(new_id()), u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    let asked = Rehearsal { id: id.clone(), mode: change.mode, force: change.force, drain_timeout_ms };
    let key = rehearsal_key(&link.node);
    write(link, Commit { put: vec![(key.clone(), bytes_of(&asked))], ..Commit::default() }).await?;
    let contents = tokio::select! {
        contents = replies(link, &id, Instant::now() + limit + REPLIES) => contents,
        () = gone => None,
    };
    // Those that come later are deleted after the next rehearsal.
    let own = format!("{}/", link.node);
    let there = contents.iter().flat_map(|contents| contents.rehearsed.keys());
    let nodes = there.filter_map(|name| name.strip_prefix(&own));
    let delete = nodes.map(|node| rehearsed_key(&link.node, node)).chain([key]).collect();
    let _ = write(link, Commit { delete, ..Commit::default() }).await;
    Some(view_of(&contents?, &link.node, &id, change))
}

/// Writes a key of a rehearsal; `None` if that may have failed.
async fn write(link: &FleetLink, commit: Commit) -> Option<i64> {
    let written = link.store.commit(commit).await;
    written.inspect_err(|error| debug!(%error, "a part of a rehearsal was not written")).ok()
}

/// The fleet once every member has replied, or at the end. `None` if the store could not be read.
async fn replies(link: &FleetLink, id: &str, end: Instant) -> Option<FleetContents> {
    let (mut hints, mut last) = (link.store.hints(), None);
    loop {
        match operators::read(&link.store).await {
            Ok(contents) => last = Some(contents),
            Err(error) => debug!(%error, "the fleet cannot be read"),
        }
        let is_complete = |contents: &FleetContents| {
            contents.members.keys().all(|node| reply_of(contents, &link.node, node, id).is_some())
        };
        if Instant::now() >= end || last.as_ref().is_some_and(is_complete) {
            return last;
        }
        let _ = timeout(AGAIN, hints.changed()).await;
    }
}

fn reply_of<'c>(contents: &'c FleetContents, asker: &str, node: &str, id: &str) -> Option<&'c Rehearsed> {
    contents.rehearsed.get(&format!("{asker}/{node}")).filter(|reply| reply.id == id)
}

/// The summary of the replies.
fn view_of(contents: &FleetContents, asker: &str, id: &str, change: &ModeChange) -> RehearsalView {
    let reply = |node: &String| (node.clone(), reply_of(contents, asker, node, id));
    let (replied, missing): (Vec<_>, Vec<_>) =
        contents.members.keys().map(reply).partition(|(_, reply)| reply.is_some());
    let member = |(node, reply): (String, Option<&Rehearsed>)| {
        let Rehearsed { cause, drained, drain_ms, waits_for, .. } = reply?.clone();
        Some(RehearsedMember { node, drained, drain_ms, cause, waits_for })
    };
    let members: Vec<_> = replied.into_iter().filter_map(member).collect();
    let drains =
        members.iter().all(|member| member.drained) || change.on_timeout.is_some_and(|end| end != OnTimeout::Revert);
    let serves = change.mode == Mode::Maintenance || members.iter().any(|member| member.cause.is_none());
    RehearsalView {
        would_settle: missing.is_empty() && drains && serves,
        drain_ms: members.iter().map(|member| member.drain_ms).max().unwrap_or(0),
        missing: missing.into_iter().map(|(node, _)| node).collect(),
        members,
    }
}

/// Replies to every rehearsal for as long as the gateway runs.
pub(crate) async fn respond(link: FleetLink, gate: Arc<Gate>, orphan_grace: Duration) {
    let (mut sight, mut seen) = (link.sight.clone(), BTreeMap::new());
    while sight.changed().await.is_ok() {
        let asked = sight.borrow_and_update().rehearsals.clone();
        seen.retain(|asker, _| asked.contains_key(asker));
        for (asker, rehearsal) in asked {
            if seen.insert(asker.clone(), rehearsal.id.clone()).as_ref() != Some(&rehearsal.id) {
                tokio::task::spawn_local(reply(link.clone(), Arc::clone(&gate), orphan_grace, asker, rehearsal));
            }
        }
    }
}

async fn reply(link: FleetLink, gate: Arc<Gate>, orphan_grace: Duration, asker: String, rehearsal: Rehearsal) {
    let limit = Duration::from_millis(rehearsal.drain_timeout_ms);
    let drain = Drain { gate, leaving: rehearsal.mode.other(), orphan_grace, orphans_until: None };
    let rehearsing = async {
        let mut published = drain.gate.watch();
        // One that has not joined acknowledges nothing, and its name may be that of another process.
        let joined = published.wait_for(|published| would_acknowledge(published)).await;
        let cause = joined.ok().and_then(|published| cause_of(&published, &rehearsal));
        let (began, at_first) = (Instant::now(), drain.running());
        let drained = timeout(limit, ended(&drain)).await.is_ok();
        let waits_for = OperationCount::bounded(if drained { at_first } else { drain.running() });
        let drain_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Rehearsed { id: rehearsal.id.clone(), cause: cause.map(str::to_owned), drained, drain_ms, waits_for }
    };
    let Ok(word) = timeout(limit + REPLIES, rehearsing).await else { return };
    let put = vec![(rehearsed_key(&asker, &link.node), bytes_of(&word))];
    let _ = write(&link, Commit { put, ..Commit::default() }).await;
}

fn would_acknowledge(published: &Published) -> bool {
    let is_closed =
        matches!(published.closed, Some(Closed::Joining | Closed::AnotherStore | Closed::Leaving | Closed::Fenced));
    published.record.is_some() && !is_closed
}

/// Why this member would acknowledge production as closed, as far as it is known before UCS is asked.
fn cause_of(published: &Published, rehearsal: &Rehearsal) -> Option<&'static str> {
    if rehearsal.mode == Mode::Maintenance {
        return None;
    }
    if published.local.is_some() {
        return Some("local_close");
    }
    (published.schema == SchemaKnowledge::Undefined && !rehearsal.force).then_some(Closed::NoSchema.as_str())
}

/// Waits until the requests of the leaving mode that are in flight now have ended. Others may come meanwhile.
async fn ended(drain: &Drain) {
    let began = std::time::Instant::now();
    loop {
        let (running, oldest) = (drain.gate.running(Some(drain.leaving)), drain.gate.oldest_running());
        let is_earlier = |operation| oldest.get(operation).is_some_and(|since| *since <= began);
        let is_known = running.is_empty() || began.elapsed() > KNOWN;
        if is_known && !running.iter().any(|counts| is_earlier(&counts.operation)) && drain.graces_are_over() {
            return;
        }
        sleep(POLL).await;
    }
}
