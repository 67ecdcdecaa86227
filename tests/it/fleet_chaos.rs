//! A fleet of real processes among faults: three etcd nodes, five gateways, each before a stand-in UCS that records the start
//! and end of every operation. While clients of both modes load every gateway and random gateways are asked to flip, faults
//! strike at random: processes are killed, stopped and started again, links are cut, stand still or lose every packet, a node
//! of etcd is slow, history is compacted, members leave, are forgotten and come back with an empty directory. Tokens of etcd
//! end all the time.
//!
//! Afterwards the records are compared: no operation ran in a settled mode that forbids it, anywhere; every response told the
//! truth; no acknowledged flip is missing in the history; and after each fault all members agree again.
//!
//! `UCS_GATEWAY_CHAOS_SEED` repeats a run as far as processes can be repeated; `UCS_GATEWAY_CHAOS_SECONDS` sets its length.

/// What the records must show.
mod checker;

/// Clients of the data ports, and operators who flip.
mod load;

/// Packets that vanish.
mod network;

/// The processes, and what is done to them.
mod rig;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use checker::{Evidence, Findings};
use rig::{Fault, Random, Rig};

use crate::support::etcd::Version;

/// A run that is part of every test run.
const SHORT: Duration = Duration::from_secs(15);

/// How long a run strikes faults.
fn length() -> Duration {
    let seconds = std::env::var("UCS_GATEWAY_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    let full = std::env::var_os("UCS_GATEWAY_FULL").is_some();
    seconds.map_or(if full { Duration::from_secs(15 * 60) } else { SHORT }, Duration::from_secs)
}

fn seed() -> u64 {
    let given = std::env::var("UCS_GATEWAY_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| u64::from(std::process::id()) << 16 | u64::from(Instant::now().elapsed().subsec_nanos()))
}

fn among_faults(test: &str, on_timeout: &'static str, on_store_loss: &'static str) {
    if length() > SHORT && network::enter(&format!("fleet_chaos::{test}")) {
        return;
    }
    let Some(version) = Version::available().into_iter().next_back() else { return };
    let seed = seed();
    eprintln!("seed {seed}");
    let mut random = Random::new(seed);
    let mut rig = Rig::start(version, on_store_loss);
    let evidence = Evidence::new();
    let stop = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let mut struck = Vec::new();
    std::thread::scope(|scope| {
        // A failed assertion must not leave the others running, or the scope would never end.
        let stopping = StopOnDrop(&stop);
        load::begin(scope, &rig, &evidence, &stop, (on_timeout, seed));
        let began = Instant::now();
        while began.elapsed() < length() {
            let fault = Fault::any(&mut random);
            rig.strike(&fault, &mut random);
            let ended = Instant::now();
            rig.agree(&fault);
            slowest = slowest.max(ended.elapsed());
            struck.push(fault);
        }
        drop(stopping);
    });
    rig.flips_both_ways();
    let journal = rig.journal();
    let findings = Findings::of(&evidence, &journal, &rig.records());
    eprintln!("{} faults; all agreed again after at most {slowest:?}; {findings}", struck.len());
    assert!(findings.faults.is_empty(), "seed {seed}: {:#?}", findings.faults);
    assert!(findings.settled > 2 && findings.forbidden_elsewhere > 50, "too little happened: {findings}");
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_forbidden_operation_overlaps_a_settled_mode_of_a_fleet_that_reverts() {
    among_faults("no_forbidden_operation_overlaps_a_settled_mode_of_a_fleet_that_reverts", "revert", "hold");
}

#[test]
fn no_forbidden_operation_overlaps_a_settled_mode_of_a_fleet_that_cuts() {
    among_faults("no_forbidden_operation_overlaps_a_settled_mode_of_a_fleet_that_cuts", "cut", "fence");
}
