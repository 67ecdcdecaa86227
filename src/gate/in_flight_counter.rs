//! The admission state and the in-flight counts, with one padded shard per worker. A request counts itself before it reads
//! the state; a flip writes the state before it reads the counts. No routes, records or time are involved, so that the model
//! checker can run all of it (`tests/loom`).

#[cfg(gate_model)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(gate_model))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The number of sets with counts of their own: production only, maintenance only, both.
pub(crate) const SETS: usize = 3;

/// Low bits of the state: one for each set that is admitted now.
const ADMITTED_MASK: u64 = 0b111;

/// The state that decides on admission, packed into one atomic: the admitted sets, the generation of the table, and a few
/// bits whose meaning is the publisher's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AdmissionState(u64);

impl AdmissionState {
    /// No set is admitted.
    pub(crate) const CLOSED: AdmissionState = AdmissionState(0);

    /// `admitted` by set index, `note` (29 bits) for the publisher, and the table's generation.
    pub(crate) fn new(admitted: [bool; SETS], note: u32, generation: u32) -> AdmissionState {
        let mut bits = u64::from(generation) << 32 | u64::from(note & 0x1fff_ffff) << SETS;
        for (index, open) in admitted.into_iter().enumerate() {
            bits |= u64::from(open) << index;
        }
        AdmissionState(bits)
    }

    /// Whether the set with this index is admitted.
    pub(crate) fn admits(self, set: usize) -> bool {
        self.0 & ADMITTED_MASK & (1 << set) != 0
    }

    /// The publisher's bits.
    pub(crate) fn note(self) -> u32 {
        (self.0 as u32) >> SETS
    }

    /// The generation of the table in force.
    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One worker's counts. Only that worker writes them, so counting needs no locked instruction; the padding keeps two workers
/// off one cache line, and off the pair that the prefetcher loads.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    in_flight: [AtomicU64; SETS],
}

/// The admission state and the shards.
#[derive(Debug)]
pub(crate) struct InFlightCounter {
    state: PaddedState,
    shards: Box<[Shard]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct PaddedState(AtomicU64);

impl InFlightCounter {
    /// A closed counter with one shard per worker.
    pub(crate) fn new(workers: usize) -> InFlightCounter {
        let shard = |_| Shard { in_flight: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)] };
        InFlightCounter {
            state: PaddedState(AtomicU64::new(AdmissionState::CLOSED.0)),
            shards: (0..workers).map(shard).collect(),
        }
    }

    /// Counts a request on a shard and returns the state that decides on it. If the state does not admit it, the caller must
    /// [`leave`](Self::leave) immediately. For the shard's own worker only.
    ///
    /// The order matters: count, fence, read the state. The flip does the counterpart: write the state, fence, read the
    /// counts. So the flip sees the count, or the request sees the new state, or both.
    #[inline]
    pub(crate) fn enter(&self, worker: usize, set: usize) -> AdmissionState {
        let count = &self.shards[worker].in_flight[set];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        AdmissionState(self.state.0.load(Ordering::Acquire))
    }

    /// Ends the count of a request. For the shard's own worker only. Release: a reader of the zero also sees everything that
    /// the request did before.
    #[inline]
    pub(crate) fn leave(&self, worker: usize, set: usize) {
        let count = &self.shards[worker].in_flight[set];
        count.store(count.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// Writes the state: the old one admits no further requests. Counts read afterwards include every request that the old
    /// state admitted. For one writer only.
    pub(crate) fn publish(&self, state: AdmissionState) {
        self.state.0.store(state.0, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn state(&self) -> AdmissionState {
        AdmissionState(self.state.0.load(Ordering::Acquire))
    }

    /// Requests of a set in flight, over all shards.
    pub(crate) fn in_flight(&self, set: usize) -> u64 {
        self.shards.iter().map(|shard| shard.in_flight[set].load(Ordering::Acquire)).sum()
    }
}
