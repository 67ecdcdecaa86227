//! A write to a node that stands still ends without an outcome, and may be applied once the node goes on: after a read through
//! another node has shown it as not done. The way out is in the store's words: repeat the same write, and look for its own line
//! of the journal when something else is there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Barrier;
use ucs_gateway::control::store::etcd::{Commit, EtcdStore, SharedError, journal_key};

use super::{read, token_of};
use crate::support::etcd::{Cluster, Version, store};

/// Fleets that write at once.
const FLEETS: usize = 10;

#[derive(Debug, Default)]
struct Seen {
    unknown: usize,
    shown_as_not_done: usize,
    done: usize,
    lost: usize,
}

/// Writes until it knows; true if it is done.
async fn told(store: &EtcdStore, commit: &Commit, seen: &mut Seen) -> bool {
    let key = commit.put[1].0.clone();
    loop {
        match store.commit(commit.clone()).await {
            Ok(_) => return true,
            Err(SharedError::Conflict) => {
                if let Ok(contents) = store.read(vec![key.clone()]).await {
                    return contents.values.get(&key).is_some_and(|line| line.bytes == commit.put[1].1);
                }
            }
            Err(_) => seen.unknown += 1,
        }
    }
}

/// The next record of a fleet, by one of its writers.
fn next(token: i64, revision: u64, writer: &str) -> Commit {
    let value = format!("{writer} {revision}").into_bytes();
    Commit {
        compare: vec![("mode".to_owned(), token), (journal_key(revision), 0)],
        put: vec![("mode".to_owned(), value.clone()), (journal_key(revision), value)],
        delete: Vec::new(),
    }
}

async fn of_one_fleet(cluster: &Cluster, pauses: &Barrier, number: usize, rounds: usize) -> Seen {
    let mut seen = Seen::default();
    for round in 0..rounds {
        let (asked, elsewhere) = (round % 3, (round + 1) % 3);
        let name = format!("fleet{number}");
        let endpoints = [asked, elsewhere, (round + 2) % 3].map(|n| cluster.nodes[n].client.to_string());
        let victim = store(&format!("etcd://{}/{name}", endpoints.join(",")));
        let rival = store(&format!("etcd://{},{}/{name}", endpoints[1], endpoints[2]));
        let token = token_of(&read(&victim).await, "mode");
        read(&rival).await;
        let revision = u64::try_from(round).unwrap() + 1;
        let (own, others) = (next(token, revision, "victim"), next(token, revision, "rival"));
        // All are connected: the node is paused now.
        pauses.wait().await;
        pauses.wait().await;
        let first = victim.commit(own.clone()).await;
        assert!(!matches!(first, Ok(_) | Err(SharedError::NotDone(_))), "a paused node: {first:?}");
        seen.unknown += 1;
        if let Ok(contents) = rival.read(vec![journal_key(revision)]).await {
            seen.shown_as_not_done += usize::from(!contents.values.contains_key(&journal_key(revision)));
        }
        // Every other one writes against a rival, and with the late write behind both.
        let (mut of_rival, mut of_victim) = (Seen::default(), Seen::default());
        let (rival_told, victim_told) = if (round + number).is_multiple_of(2) {
            tokio::join!(told(&rival, &others, &mut of_rival), told(&victim, &own, &mut of_victim))
        } else {
            (false, told(&victim, &own, &mut of_victim).await)
        };
        seen.unknown += of_rival.unknown + of_victim.unknown;
        // The node goes on, and with it what it had received.
        pauses.wait().await;
        pauses.wait().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let contents = rival.read(vec![journal_key(revision)]).await.unwrap();
        let line = String::from_utf8(contents.values[&journal_key(revision)].bytes.clone()).unwrap();
        assert_eq!(victim_told, line.starts_with("victim"), "told wrong: {line}");
        assert_eq!(rival_told, line.starts_with("rival"), "told wrong: {line}");
        seen.done += usize::from(victim_told);
        seen.lost += usize::from(!victim_told);
    }
    seen
}

#[tokio::test]
async fn no_writer_is_told_wrong_of_a_write_that_is_applied_late() {
    let Some(version) = Version::available().into_iter().next_back() else { return };
    let rounds = if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 25 } else { 5 };
    let cluster = Cluster::start(version, 3, &[]);
    let cluster = Arc::new(cluster);
    let pauses = Arc::new(Barrier::new(FLEETS + 1));
    let fleets: Vec<_> = (0..FLEETS)
        .map(|number| {
            let (cluster, pauses) = (Arc::clone(&cluster), Arc::clone(&pauses));
            tokio::spawn(async move { of_one_fleet(&cluster, &pauses, number, rounds).await })
        })
        .collect();
    for round in 0..rounds {
        pauses.wait().await;
        cluster.nodes[round % 3].signal("STOP");
        pauses.wait().await;
        pauses.wait().await;
        cluster.nodes[round % 3].signal("CONT");
        pauses.wait().await;
    }
    let mut seen = Seen::default();
    for fleet in fleets {
        let one = fleet.await.unwrap();
        seen.unknown += one.unknown;
        seen.shown_as_not_done += one.shown_as_not_done;
        seen.done += one.done;
        seen.lost += one.lost;
    }
    eprintln!("{} writes to a paused node: {seen:?}", FLEETS * rounds);
    assert!(seen.done > 0 && seen.unknown >= FLEETS * rounds);
}
