//! What etcd, the network and operators do to a client that goes on: links that stand still, nodes that are killed, history
//! that is compacted, leases and tokens that end, and another cluster under the same address.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use ucs_gateway::control::store::etcd::{Commit, EtcdSettings, EtcdStore};

use super::contract::enable_users;
use super::{overwrite, put, read, texts, token_of};
use crate::support::etcd::{Cluster, Version, store};
use crate::support::relay::Relay;
use crate::support::{PATIENCE, TempDir};

/// Reads at each hint until the key has this value, as a member follows its fleet. How long that took.
async fn follow(store: &EtcdStore, hints: &mut watch::Receiver<u64>, key: &str, value: &str) -> Duration {
    let started = Instant::now();
    let following = async {
        loop {
            if store
                .read(Vec::new())
                .await
                .is_ok_and(|contents| texts(&contents).get(key).is_some_and(|is| is == value))
            {
                return;
            }
            hints.changed().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, following)
        .await
        .unwrap_or_else(|_| panic!("{key} is not {value:?} within {PATIENCE:?}"));
    started.elapsed()
}

/// Waits until the watch is established and no hint is left over.
async fn quiet(hints: &mut watch::Receiver<u64>) {
    while *hints.borrow_and_update() < 2 {
        hints.changed().await.unwrap();
    }
    while tokio::time::timeout(Duration::from_millis(300), hints.changed()).await.is_ok() {
        hints.borrow_and_update();
    }
}

#[test]
fn a_link_that_stands_still_is_found_by_itself() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let relay = Relay::to(cluster.nodes[0].client);
        let behind = store(&format!("etcd://{},{}/fleet", relay.address, cluster.nodes[0].client));
        let mut hints = behind.hints();
        quiet(&mut hints).await;
        relay.stall();
        overwrite(&cluster.store("fleet"), "mode", "written meanwhile").await;
        // No call is made: the hint is the only thing that can lead to a read.
        let found = Instant::now();
        hints.changed().await.unwrap();
        eprintln!("{version:?}: a stalled link was found after {:?}", found.elapsed());
        follow(&behind, &mut hints, "mode", "written meanwhile").await;
    });
}

#[test]
fn an_idle_connection_stays() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let relay = Relay::to(cluster.nodes[0].client);
        let behind = store(&format!("etcd://{}/fleet", relay.address));
        let mut hints = behind.hints();
        quiet(&mut hints).await;
        // Several pings of the connection, and the regular hint of a watch on which nothing happens.
        hints.changed().await.unwrap();
        assert_eq!(relay.accepted(), 1, "etcd closes connections that ping too often");
    });
}

#[test]
fn a_compaction_below_a_watch_that_lags_behind_loses_nothing() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let (relay, direct) = (Relay::to(cluster.nodes[0].client), cluster.store("fleet"));
        let behind = store(&format!("etcd://{}/fleet", relay.address));
        let mut hints = behind.hints();
        quiet(&mut hints).await;
        relay.stall();
        // More events than etcd and the system's buffers keep for a watch.
        for round in 0..40 {
            let big = |n: usize| (format!("member/{n}"), vec![b'0' + u8::try_from(round % 10).unwrap(); 4096]);
            direct.commit(Commit { put: (0..100).map(big).collect(), ..Commit::default() }).await.unwrap();
        }
        overwrite(&direct, "mode", "the last").await;
        let revision = read(&direct).await.revision.to_string();
        cluster.nodes[0].must_ctl(&["compaction", &revision]);
        relay.resume();
        let took = follow(&behind, &mut hints, "mode", "the last").await;
        eprintln!("{version:?}: converged {took:?} after the link was back");
        overwrite(&direct, "mode", "after it").await;
        follow(&behind, &mut hints, "mode", "after it").await;
    });
}

#[test]
fn without_a_quorum_nothing_is_read_and_nothing_is_told_as_done_and_then_all_goes_on() {
    Version::each(async |version| {
        let mut cluster = Cluster::start(version, 3, &[]);
        let client = cluster.store("fleet");
        let mut hints = client.hints();
        overwrite(&client, "mode", "before").await;
        follow(&client, &mut hints, "mode", "before").await;
        cluster.nodes[0].kill();
        cluster.nodes[1].kill();
        // What was agreed on before may still be read.
        let token = client.read(Vec::new()).await.map_or(0, |contents| token_of(&contents, "mode"));
        let written = client.commit(put("mode", token, "without a quorum")).await;
        assert!(written.is_err(), "{written:?}");
        let read_alone = client.read(Vec::new()).await;
        assert!(read_alone.is_err(), "{read_alone:?}");
        cluster.nodes[0].start();
        cluster.nodes[1].start();
        cluster.wait_until_ready();
        overwrite(&client, "mode", "after").await;
        follow(&client, &mut hints, "mode", "after").await;
    });
}

#[test]
fn writes_go_on_after_the_leader_was_killed() {
    Version::each(async |version| {
        let mut cluster = Cluster::start(version, 3, &[]);
        let (client, other) = (cluster.store("fleet"), cluster.store("fleet"));
        let mut hints = other.hints();
        overwrite(&client, "mode", "before").await;
        follow(&other, &mut hints, "mode", "before").await;
        let leader = cluster.leader();
        cluster.nodes[leader].kill();
        let killed = Instant::now();
        let mut token = 0;
        while killed.elapsed() < PATIENCE {
            if let Ok(contents) = client.read(Vec::new()).await {
                token = token_of(&contents, "mode");
                if client.commit(put("mode", token, "after")).await.is_ok() {
                    break;
                }
            }
        }
        eprintln!("{version:?}: the first write came {:?} after the leader was killed", killed.elapsed());
        assert!(token > 0);
        follow(&other, &mut hints, "mode", "after").await;
    });
}

#[test]
fn a_lease_that_is_gone_is_taken_anew() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let client = cluster.store("fleet");
        client.set_alive("a", b"one".to_vec());
        let value = async |wanted: Option<&str>| {
            let started = Instant::now();
            while texts(&read(&client).await).get("alive/a").map(String::as_str) != wanted {
                assert!(started.elapsed() < PATIENCE, "alive/a is not {wanted:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        value(Some("one")).await;
        client.set_alive("a", b"two".to_vec());
        value(Some("two")).await;
        let leases = cluster.nodes[0].must_ctl(&["lease", "list"]);
        for lease in leases.lines().skip(1) {
            cluster.nodes[0].must_ctl(&["lease", "revoke", lease]);
        }
        value(None).await;
        value(Some("two")).await;
        client.end_alive().await;
        value(None).await;
    });
}

#[test]
fn another_cluster_under_the_same_address_is_told_and_never_written_to() {
    Version::each(async |version| {
        let (cluster, stranger) = (Cluster::begin(version, 1, &[]), Cluster::begin(version, 1, &[]));
        cluster.wait_until_ready();
        stranger.wait_until_ready();
        let relay = Relay::to(cluster.nodes[0].client);
        let client = store(&format!("etcd://{}/fleet", relay.address));
        overwrite(&client, "mode", "ours").await;
        relay.lead_to(stranger.nodes[0].client);
        relay.cut();
        relay.resume();
        let started = Instant::now();
        loop {
            let written = client.commit(put("member/a", 0, "ours")).await;
            assert!(written.is_err(), "{written:?}");
            if written.unwrap_err().to_string().contains("another etcd cluster") {
                break;
            }
            assert!(started.elapsed() < PATIENCE);
        }
        let error = client.read(Vec::new()).await.unwrap_err();
        assert!(error.to_string().contains("another etcd cluster"), "{error}");
        assert!(read(&stranger.store("fleet")).await.values.is_empty());
        relay.lead_to(cluster.nodes[0].client);
        relay.cut();
        relay.resume();
        assert_eq!(texts(&read(&client).await)["mode"], "ours");
    });
}

#[test]
fn a_restart_of_etcd_ends_all_tokens_and_costs_a_login() {
    Version::each(async |version| {
        let mut cluster = Cluster::start(version, 1, &[]);
        enable_users(|arguments| cluster.nodes[0].must_ctl(arguments));
        let dir = TempDir::new();
        let credentials = Some(dir.secret("credentials", "gateway:correct"));
        let settings = EtcdSettings { credentials, ..EtcdSettings::at(cluster.url("fleet").parse().unwrap()) };
        let (client, other) = (EtcdStore::open(settings.clone()).unwrap(), EtcdStore::open(settings).unwrap());
        let mut hints = other.hints();
        overwrite(&client, "mode", "before").await;
        follow(&other, &mut hints, "mode", "before").await;
        cluster.nodes[0].kill();
        cluster.nodes[0].start();
        cluster.wait_until_ready();
        overwrite(&client, "mode", "after").await;
        follow(&other, &mut hints, "mode", "after").await;
        quiet(&mut hints).await;
        overwrite(&client, "mode", "later").await;
        follow(&other, &mut hints, "mode", "later").await;
    });
}
