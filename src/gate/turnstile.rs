//! The one cell that both lines share: an admission word and in-flight counts, one padded lane a worker. Requests count
//! themselves in first and read the word after; a flip writes the word first and reads the counts after. It knows
//! nothing of routes, records or time, so that the model checker can run all of it (`tests/loom`).

#[cfg(gate_model)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(not(gate_model))]
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How many kinds of admission are counted apart: production only, maintenance only, both.
pub const SETS: usize = 3;

/// Low bits of the word: one for each set that is admitted now.
const ADMITTED_MASK: u64 = 0b111;

/// What requests read after they counted themselves in: which sets are admitted, by which generation of the table, and
/// a few bits that only the publisher gives a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(u64);

impl Word {
    /// Nothing is admitted.
    pub const CLOSED: Word = Word(0);

    /// `admitted` by set index, `note` (29 bits) for the publisher's use, and the table's generation.
    pub fn new(admitted: [bool; SETS], note: u32, generation: u32) -> Word {
        let mut bits = u64::from(generation) << 32 | u64::from(note & 0x1fff_ffff) << SETS;
        for (index, open) in admitted.into_iter().enumerate() {
            bits |= u64::from(open) << index;
        }
        Word(bits)
    }

    /// Whether the set with this index is admitted.
    pub fn admits(self, set: usize) -> bool {
        self.0 & ADMITTED_MASK & (1 << set) != 0
    }

    /// The publisher's bits.
    pub fn note(self) -> u32 {
        (self.0 as u32) >> SETS
    }

    /// The generation of the table that is in force.
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One worker's counts. Only that worker writes them, so that counting needs no locked instruction; the padding keeps
/// two workers off one cache line (and off the pair that the prefetcher takes).
#[derive(Debug)]
#[repr(align(128))]
struct Lane {
    in_flight: [AtomicU64; SETS],
}

/// The word and the lanes.
#[derive(Debug)]
pub struct Turnstile {
    word: PaddedWord,
    lanes: Box<[Lane]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct PaddedWord(AtomicU64);

impl Turnstile {
    /// A closed turnstile with one lane a worker.
    pub fn new(workers: usize) -> Turnstile {
        let lane = |_| Lane { in_flight: [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)] };
        Turnstile { word: PaddedWord(AtomicU64::new(Word::CLOSED.0)), lanes: (0..workers).map(lane).collect() }
    }

    /// Counts one in on a lane and returns the word that decides over it. When the word does not admit it, the caller
    /// must [`leave`](Self::leave) at once. To be called by the lane's own worker only.
    ///
    /// The order is the promise: count, fence, read. The flip's mirror is write, fence, read the counts. So either the
    /// flip sees the count, or the request sees the new word; never neither.
    #[inline]
    pub fn enter(&self, worker: usize, set: usize) -> Word {
        let count = &self.lanes[worker].in_flight[set];
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Word(self.word.0.load(Ordering::Acquire))
    }

    /// Counts one out. To be called by the lane's own worker only. Release: whoever reads the zero also sees all that
    /// the request did before.
    #[inline]
    pub fn leave(&self, worker: usize, set: usize) {
        let count = &self.lanes[worker].in_flight[set];
        count.store(count.load(Ordering::Relaxed) - 1, Ordering::Release);
    }

    /// Writes the word: from now on nobody new is admitted by the old one. Counts read after this are true for all that
    /// the old word had admitted. To be called by one writer only.
    pub fn publish(&self, word: Word) {
        self.word.0.store(word.0, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// The word in force.
    pub fn word(&self) -> Word {
        Word(self.word.0.load(Ordering::Acquire))
    }

    /// How many of a set are in flight, over all lanes.
    pub fn in_flight(&self, set: usize) -> u64 {
        self.lanes.iter().map(|lane| lane.in_flight[set].load(Ordering::Acquire)).sum()
    }
}
