//! The protocol, model-checked on the code's own functions: every interleaving, within stated bounds, of flips, kills and
//! restarts, writes that land late or never, joiners, leaves, forgetting, fences, two claimants of a name, and a store that
//! is restored. Each rule has a mutant that the model must catch.

mod moves;
mod mutants;
mod part;
mod rules;
mod store;
mod world;

use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use mutants::Mutant;
use world::{Bounds, World};

/// From so many states that were not looked at yet, the newest comes first: the memory is bounded, and the way to a fault no
/// longer the shortest.
const WIDEST: usize = 2_000_000;

/// Every reachable state within the bounds; an error names the broken rule and the way to it.
fn explore(bounds: Bounds, mutant: Mutant) -> Result<usize, String> {
    let mut seen = HashSet::new();
    let mut queue = VecDeque::new();
    let first = World::new(bounds, mutant);
    seen.insert(Fingerprint::of(&first));
    queue.push_back(first);
    while let Some(world) = if queue.len() < WIDEST { queue.pop_front() } else { queue.pop_back() } {
        let told = |broken: String| format!("{broken}\n{world:#?}");
        let progress = world.progress();
        if progress.is_empty() {
            world.is_converged().map_err(told)?;
        }
        for next in progress.into_iter().chain(world.faults()) {
            let next = next.map_err(told)?;
            if seen.insert(Fingerprint::of(&next)) {
                queue.push_back(next);
            }
        }
    }
    Ok(seen.len())
}

/// 128 bits in place of each state: states are many, and each has lists. Fast; two states with one fingerprint are less
/// likely than a fault of this machine.
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn of(content: &impl Hash) -> (u64, u64) {
        let mut hasher = Fingerprint(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
        content.hash(&mut hasher);
        (hasher.0, hasher.1)
    }
}

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        let Fingerprint(one, other) = *self;
        self.0 = (one ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.1 = (other.rotate_left(23) ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (other >> 31);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn write_u128(&mut self, word: u128) {
        self.write_u64(word as u64);
    }
}

const MEMBERS: Bounds = Bounds {
    processes: 2,
    nodes: 2,
    joiners: 0,
    flips: 1,
    kills: 0,
    unknown: 0,
    drain_timeouts: 0,
    overdue: 0,
    refusals: 0,
    leaves: 0,
    forgets: 0,
    false_forgets: 0,
    fences: 0,
    restores: 0,
    same_identity: false,
    joined: true,
};

/// What the environment may do in one history.
const HISTORIES: &[(&str, Bounds)] = &[
    ("three members, a kill, an unknown write", Bounds { processes: 3, nodes: 3, kills: 1, unknown: 1, ..MEMBERS }),
    ("joining", Bounds { joined: false, ..MEMBERS }),
    ("two flips", Bounds { flips: 2, ..MEMBERS }),
    ("a kill and an unknown write", Bounds { kills: 1, unknown: 1, ..MEMBERS }),
    ("three members", Bounds { processes: 3, nodes: 3, ..MEMBERS }),
    ("a joiner", Bounds { joiners: 1, flips: 2, ..MEMBERS }),
    ("a joiner and an unknown write", Bounds { joiners: 1, unknown: 1, ..MEMBERS }),
    ("a drain that times out", Bounds { drain_timeouts: 1, flips: 2, ..MEMBERS }),
    ("a limit that passes", Bounds { overdue: 1, kills: 1, ..MEMBERS }),
    ("a UCS that refuses", Bounds { flips: 2, refusals: 2, ..MEMBERS }),
    ("a leave", Bounds { leaves: 1, unknown: 1, ..MEMBERS }),
    ("forgetting", Bounds { kills: 1, forgets: 1, ..MEMBERS }),
    ("forgetting with a false word", Bounds { false_forgets: 1, ..MEMBERS }),
    ("two flips and a false word", Bounds { false_forgets: 1, flips: 2, ..MEMBERS }),
    ("forgetting twice with a false word", Bounds { false_forgets: 2, ..MEMBERS }),
    ("a fence", Bounds { fences: 1, false_forgets: 1, ..MEMBERS }),
    ("two claimants", Bounds { nodes: 1, joined: false, kills: 1, forgets: 1, ..MEMBERS }),
    ("another store", Bounds { restores: 1, ..MEMBERS }),
    ("an older store", Bounds { restores: 1, flips: 2, same_identity: true, ..MEMBERS }),
];

/// The same with other pairs in one history: only in the long runs.
const LONG_HISTORIES: &[(&str, Bounds)] = &[
    ("two flips, a kill, an unknown write", Bounds { flips: 2, kills: 1, unknown: 1, ..MEMBERS }),
    ("three members, a kill", Bounds { processes: 3, nodes: 3, kills: 1, ..MEMBERS }),
    ("three members, an unknown write", Bounds { processes: 3, nodes: 3, unknown: 1, ..MEMBERS }),
];

/// Calls `check` for each item, on two threads: there are many, and of unlike size.
fn for_each<T: Sync>(items: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(item);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn holds((name, bounds): &(&str, Bounds)) {
    let states = explore(*bounds, Mutant::None).unwrap_or_else(|broken| panic!("{name}: {broken}"));
    assert!(states > 1_000, "{name}: only {states} states: the model is broken");
    println!("{states} states: {name}");
}

#[test]
fn every_interleaving_keeps_the_promise_of_a_fleet() {
    for_each(HISTORIES, holds);
}

#[test]
fn long_histories_keep_it_too() {
    if std::env::var_os("UCS_GATEWAY_FULL").is_some() {
        for_each(LONG_HISTORIES, holds);
    }
}

#[test]
fn the_model_catches_a_mutant_of_every_rule() {
    for_each(Mutant::ALL, |(mutant, history, why)| {
        let (_, bounds) = HISTORIES.iter().find(|(name, _)| name == history).expect("a mutant names its history");
        let caught = explore(*bounds, *mutant).err();
        let broken = caught.unwrap_or_else(|| panic!("{mutant:?} breaks nothing that the model sees"));
        assert!(broken.starts_with(why), "{mutant:?}: {broken}");
    });
}
