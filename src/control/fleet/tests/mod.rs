//! Members of a fleet in one process over a real three-node etcd: the protocol's step function and the operations of the
//! store together, among faults of etcd and of members, and how long a flip takes with many of them.

#![allow(clippy::unwrap_used)]

mod nodes;
mod simulated;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nodes::Nodes;
use simulated::{LIMIT, Simulated, Truth};

use crate::control::fleet::founding::Founding;
use crate::control::fleet::operators;
use crate::control::store::etcd::{EtcdSettings, EtcdStore};
use crate::policy::fleet::{End, Memory};
use crate::policy::flip::Outcome;
use crate::policy::mode::Mode;

const PATIENCE: Duration = Duration::from_secs(40);

/// Members, each with a connection of its own up to this number.
const CONNECTIONS: usize = 50;

struct Fleet {
    nodes: Nodes,
    stores: Vec<EtcdStore>,
    members: Vec<Option<Simulated>>,
    truth: Arc<Truth>,
}

fn open(nodes: &Nodes, number: usize) -> EtcdStore {
    EtcdStore::open(EtcdSettings::at(nodes.url(number).parse().unwrap())).unwrap()
}

impl Fleet {
    /// All members joined, in production.
    async fn start(members: usize) -> Option<Fleet> {
        let nodes = Nodes::start(3)?;
        let stores: Vec<EtcdStore> = (0..members.min(CONNECTIONS)).map(|number| open(&nodes, number)).collect();
        let started = Instant::now();
        while let Err(error) = operators::init(&stores[0], Founding::Mode(Mode::Production), 0).await {
            assert!(started.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let truth = Arc::<Truth>::default();
        let mut fleet = Fleet { nodes, stores, members: (0..members).map(|_| None).collect(), truth };
        for number in 0..members {
            let directory = u128::try_from(number).unwrap() + 1;
            fleet.run(number, Arc::new(Mutex::new(Memory { directory, ..Memory::default() })));
        }
        fleet.agree(1).await;
        Some(fleet)
    }

    fn run(&mut self, number: usize, disk: Arc<Mutex<Memory>>) {
        let store = self.stores[number % self.stores.len()].clone();
        let member = Simulated::start(format!("g{number}"), store, disk, Arc::clone(&self.truth));
        // Clients of both modes: each member has four.
        for client in 0..4 {
            let (gate, truth) = (Arc::downgrade(&member.gate), Arc::clone(&self.truth));
            let mode = [Mode::Production, Mode::Maintenance][client % 2];
            tokio::spawn(async move {
                while let Some(gate) = gate.upgrade() {
                    gate.operate(mode, Duration::from_millis(3), &truth).await;
                    drop(gate);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        self.members[number] = Some(member);
    }

    /// Waits until all show one settled record, of this revision or a later one.
    async fn agree(&self, revision: u64) -> u64 {
        let started = Instant::now();
        loop {
            let shown: Vec<_> = self.members.iter().flatten().map(|member| *member.shown.borrow()).collect();
            if let Some(Some(first)) = shown.first()
                && !first.brief.switching
                && first.brief.revision >= revision
                && shown.iter().all(|record| record.is_some_and(|record| record.is(first)))
            {
                return first.brief.revision;
            }
            assert!(started.elapsed() < PATIENCE, "they do not agree: {shown:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn member(&self, number: usize) -> &Simulated {
        self.members[number].as_ref().unwrap()
    }
}

/// The times of so many flips, sorted.
async fn flips(fleet: &Fleet, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for number in 0..count {
        let mode = [Mode::Maintenance, Mode::Production][number % 2];
        let asked = Instant::now();
        let end = fleet.member(number % fleet.members.len()).ask(mode).await;
        assert!(matches!(end, Some((End::Of(Outcome::Settled), _))), "{end:?}");
        times.push(asked.elapsed());
    }
    times.sort();
    times
}

fn tell(name: &str, times: &[Duration]) {
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!("{name}: p50 {:?}, p99 {:?}, max {:?} of {}", at(50), at(99), at(100), times.len());
}

#[tokio::test]
async fn five_members_flip_as_one() {
    let Some(fleet) = Fleet::start(5).await else { return };
    tell("5 members", &flips(&fleet, 20).await);
    let (overlaps, operations, settled) = fleet.truth.overlaps();
    assert_eq!(overlaps, 0, "of {operations} operations, {settled} settled records");
    assert!(operations > 50 && settled > 20, "{operations} operations, {settled} settled records");
}

/// What strikes in one round.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PauseNode,
    KillNode,
    KillAsker,
    KillOther,
    Leave,
    Forget,
}

const FAULTS: [Fault; 6] =
    [Fault::PauseNode, Fault::KillNode, Fault::KillAsker, Fault::KillOther, Fault::Leave, Fault::Forget];

fn below(limit: usize) -> usize {
    usize::try_from(getrandom::u32().unwrap()).unwrap() % limit
}

#[derive(Debug, Default)]
struct Told {
    settled: usize,
    reverted: usize,
    unknown: usize,
    gone: usize,
}

/// Two operators ask at once, and something breaks in the middle.
async fn round(fleet: &mut Fleet, fault: Fault, told: &mut Told) {
    let (asker, other, node) = (below(5), below(4), below(3));
    let other = (asker + 1 + other) % 5;
    let (wanted, also) =
        ([Mode::Maintenance, Mode::Production][below(2)], [Mode::Maintenance, Mode::Production][below(2)]);
    let asked = [fleet.member(asker).begin_ask(wanted), fleet.member(other).begin_ask(also)];
    tokio::time::sleep(Duration::from_millis(u64::try_from(below(30)).unwrap())).await;
    let pause = Duration::from_millis(100 + u64::try_from(below(2_500)).unwrap());
    match fault {
        Fault::PauseNode => {
            fleet.nodes.signal(node, "STOP");
            tokio::time::sleep(pause).await;
            fleet.nodes.signal(node, "CONT");
        }
        Fault::KillNode => {
            fleet.nodes.kill(node);
            tokio::time::sleep(pause).await;
            fleet.nodes.run(node);
        }
        Fault::KillAsker | Fault::KillOther => {
            let victim = if matches!(fault, Fault::KillAsker) { asker } else { (asker + 2) % 5 };
            let disk = fleet.members[victim].take().unwrap().kill();
            tokio::time::sleep(pause / 2).await;
            fleet.run(victim, disk);
        }
        Fault::Leave => {
            let disk = fleet.members[other].take().unwrap().leave().await;
            fleet.run(other, disk);
        }
        Fault::Forget => {
            fleet.members[other].take().unwrap().kill();
            operators::forget(&fleet.stores[asker], &format!("g{other}"), simulated::GRACE).await.unwrap();
            let directory = 1_000 + u128::from(getrandom::u32().unwrap());
            fleet.run(other, Arc::new(Mutex::new(Memory { directory, ..Memory::default() })));
        }
    }
    for asked in asked {
        match tokio::time::timeout(PATIENCE, asked).await.expect("an operator is told within the limits") {
            Ok((
                End::Of(Outcome::Settled | Outcome::InForce | Outcome::Restored)
                | End::Journalled(Outcome::Settled | Outcome::Restored, _),
                _,
            )) => told.settled += 1,
            Ok((End::Of(_) | End::Journalled(..), _)) => told.reverted += 1,
            Ok((End::StoreUnavailable, _)) => told.unknown += 1,
            Err(_) => told.gone += 1,
        }
    }
}

#[tokio::test]
async fn members_agree_and_nothing_overlaps_while_etcd_and_members_fail() {
    let Some(mut fleet) = Fleet::start(5).await else { return };
    let rounds = if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 120 } else { 12 };
    let (mut told, mut slowest) = (Told::default(), Duration::ZERO);
    for number in 0..rounds {
        let fault = FAULTS[number % FAULTS.len()];
        round(&mut fleet, fault, &mut told).await;
        let struck = Instant::now();
        fleet.agree(1).await;
        if struck.elapsed() > slowest {
            slowest = struck.elapsed();
            eprintln!("round {number}: agreed {slowest:?} after {fault:?}");
        }
    }
    let in_force = fleet.member(0).shown.borrow().unwrap().brief.mode;
    let end = fleet.member(1).ask(in_force.other()).await;
    assert!(matches!(end, Some((End::Of(Outcome::Settled), _))), "undisturbed: {end:?}");
    let (overlaps, operations, records) = fleet.truth.overlaps();
    eprintln!("{told:?}; all agreed after at most {slowest:?}; {operations} operations, {records} settled records");
    assert_eq!(overlaps, 0, "of {operations} operations, {records} settled records");
    assert!(LIMIT < PATIENCE && records > rounds / 2);
}

/// Figures for docs/fleet.md: `UCS_GATEWAY_FULL=1 cargo test --release --lib figures -- --nocapture`.
#[tokio::test]
async fn figures_of_many_members() {
    if std::env::var_os("UCS_GATEWAY_FULL").is_none() {
        return;
    }
    for members in [5, 50, 300, 1000] {
        let Some(fleet) = Fleet::start(members).await else { return };
        tell(&format!("{members} members"), &flips(&fleet, 20).await);
        assert_eq!(fleet.truth.overlaps().0, 0);
    }
}
