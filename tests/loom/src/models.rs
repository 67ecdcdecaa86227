//! The models: each a small cast of requests and one flip, generic over the counter so that mutants run the same ones.
//! A model asserts through loom (unordered accesses to [`Ucs`]) and by its own assertions.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

/// Indexes of the sets, as the gateway orders them: production only, maintenance only.
const PRODUCTION: usize = 0;
const MAINTENANCE: usize = 1;

/// The admission of a request: whether its set is admitted, and the generation of the table.
pub struct Admission {
    pub admitted: bool,
    pub generation: u32,
}

/// A counter, true or mutated. Sets by index, states by the sets that they admit.
pub trait Subject: Sync + Send + 'static {
    fn with_shards(shards: usize) -> Self;
    fn request_enters(&self, shard: usize, set: usize) -> Admission;
    fn request_leaves(&self, shard: usize, set: usize);
    fn flip_publishes(&self, admitted: [bool; 3], generation: u32);
    fn count(&self, set: usize) -> u64;
}

/// Makes a counter a [`Subject`].
macro_rules! subject {
    ($counter:path, $state:path) => {
        impl crate::models::Subject for $counter {
            fn with_shards(shards: usize) -> Self {
                Self::new(shards)
            }

            fn request_enters(&self, shard: usize, set: usize) -> crate::models::Admission {
                let state = self.enter(shard, set);
                crate::models::Admission { admitted: state.admits(set), generation: state.generation() }
            }

            fn request_leaves(&self, shard: usize, set: usize) {
                self.leave(shard, set);
            }

            fn flip_publishes(&self, admitted: [bool; 3], generation: u32) {
                self.publish(<$state>::new(admitted, 0, generation));
            }

            fn count(&self, set: usize) -> u64 {
                self.in_flight(set)
            }
        }
    };
}
pub(crate) use subject;

/// The state that the mode protects. Two unordered accesses are the fault that the gateway must never have.
struct Ucs(UnsafeCell<u64>);

impl Ucs {
    fn new() -> Ucs {
        Ucs(UnsafeCell::new(0))
    }

    /// Counts one change in and returns how many there are.
    fn change(&self) -> u64 {
        // SAFETY: loom fails the model on an access that is not ordered after all earlier ones.
        self.0.with_mut(|changes| unsafe {
            *changes += 1;
            *changes
        })
    }
}

const PRODUCTION_OPEN: [bool; 3] = [true, false, true];
const SWITCHING: [bool; 3] = [false, false, true];
const MAINTENANCE_OPEN: [bool; 3] = [false, true, true];

/// A counter that is open for production, before any thread starts.
fn opened<T: Subject>(shards: usize) -> Arc<T> {
    let counter = T::with_shards(shards);
    counter.flip_publishes(PRODUCTION_OPEN, 1);
    Arc::new(counter)
}

/// One request from its first count to its last. Returns whether it was admitted.
fn request<T: Subject>(counter: &T, shard: usize, set: usize, ucs: &Ucs) -> bool {
    let admission = counter.request_enters(shard, set);
    if admission.admitted {
        ucs.change();
    }
    counter.request_leaves(shard, set);
    admission.admitted
}

/// A request enters while a flip publishes: it is seen by the counts, or refused by the new state; never neither.
pub fn flip_sees_every_request_of_the_old_state<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(1);
        let ucs = Arc::new(Ucs::new());
        let client = {
            let (counter, ucs) = (Arc::clone(&counter), Arc::clone(&ucs));
            thread::spawn(move || request(&*counter, 0, PRODUCTION, &ucs))
        };
        counter.flip_publishes(SWITCHING, 1);
        if counter.count(PRODUCTION) == 0 {
            ucs.change();
        }
        client.join().unwrap();
        assert_eq!(counter.count(PRODUCTION), 0, "every request counts itself out");
    });
}

/// Two workers, each with a request of its own: the sum over the shards hides neither.
pub fn flip_sees_the_requests_of_two_shards<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(2);
        let effects = Arc::new([Ucs::new(), Ucs::new()]);
        let clients = [0, 1].map(|shard| {
            let (counter, effects) = (Arc::clone(&counter), Arc::clone(&effects));
            thread::spawn(move || request(&*counter, shard, PRODUCTION, &effects[shard]))
        });
        counter.flip_publishes(SWITCHING, 1);
        if counter.count(PRODUCTION) == 0 {
            effects.iter().for_each(|effect| {
                effect.change();
            });
        }
        clients.into_iter().for_each(|client| {
            client.join().unwrap();
        });
        assert_eq!(counter.count(PRODUCTION), 0, "every request counts itself out");
    });
}

/// A worker has several requests at once on its shard, and the first to come is not the last to go.
pub fn flip_sees_overlapping_requests_of_one_shard<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(1);
        let effects = Arc::new([Ucs::new(), Ucs::new()]);
        let worker = {
            let (counter, effects) = (Arc::clone(&counter), Arc::clone(&effects));
            thread::spawn(move || {
                let first = counter.request_enters(0, PRODUCTION);
                let second = counter.request_enters(0, PRODUCTION);
                if first.admitted {
                    effects[0].change();
                }
                counter.request_leaves(0, PRODUCTION);
                if second.admitted {
                    effects[1].change();
                }
                counter.request_leaves(0, PRODUCTION);
            })
        };
        counter.flip_publishes(SWITCHING, 1);
        if counter.count(PRODUCTION) == 0 {
            effects.iter().for_each(|effect| {
                effect.change();
            });
        }
        worker.join().unwrap();
    });
}

/// The flip waits: once the drain reads zero, all that the admitted requests did is there to be seen.
pub fn drain_sees_what_requests_did<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(1);
        let ucs = Arc::new(Ucs::new());
        let client = {
            let (counter, ucs) = (Arc::clone(&counter), Arc::clone(&ucs));
            thread::spawn(move || u64::from(request(&*counter, 0, PRODUCTION, &ucs)))
        };
        counter.flip_publishes(SWITCHING, 1);
        while counter.count(PRODUCTION) != 0 {
            thread::yield_now();
        }
        let seen = ucs.change();
        let done = client.join().unwrap();
        assert_eq!(seen, done + 1, "the drain saw all changes of the old mode, and none came after it");
    });
}

/// A whole flip with a request of each mode: an operation of production and one of maintenance are never both at UCS.
/// The flip reads the counts once, and reverts if a request is still in flight.
pub fn production_and_maintenance_never_overlap<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(2);
        let ucs = Arc::new(Ucs::new());
        let clients = [PRODUCTION, MAINTENANCE].map(|set| {
            let (counter, ucs) = (Arc::clone(&counter), Arc::clone(&ucs));
            thread::spawn(move || request(&*counter, set, set, &ucs))
        });
        counter.flip_publishes(SWITCHING, 1);
        let drained = counter.count(PRODUCTION) == 0;
        counter.flip_publishes(if drained { MAINTENANCE_OPEN } else { PRODUCTION_OPEN }, 1);
        let [_, by_maintenance] = clients.map(|client| client.join().unwrap());
        assert!(drained || !by_maintenance, "a reverted flip never opened maintenance");
    });
}

/// A local close comes after a flip has begun and stays over its end: it publishes what a flip in progress publishes, so no
/// request of either mode is admitted after it, and once the count reads zero nothing of the old mode is at UCS.
pub fn a_local_close_outlasts_a_flip_and_lets_nothing_in<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(2);
        let ucs = Arc::new(Ucs::new());
        let client = {
            let (counter, ucs) = (Arc::clone(&counter), Arc::clone(&ucs));
            thread::spawn(move || request(&*counter, 0, PRODUCTION, &ucs))
        };
        let late = {
            let counter = Arc::clone(&counter);
            thread::spawn(move || {
                let admitted = counter.request_enters(1, MAINTENANCE).admitted;
                counter.request_leaves(1, MAINTENANCE);
                admitted
            })
        };
        // The close comes while the flip is in progress, so the record that settles opens nothing.
        for _ in 0..2 {
            counter.flip_publishes(SWITCHING, 1);
        }
        if counter.count(PRODUCTION) == 0 {
            ucs.change();
        }
        assert!(!late.join().unwrap(), "the settled mode never opened");
        client.join().unwrap();
    });
}

/// A reload: a request that the old table classified is refused by the generation or counted by the old table, and once
/// that count reads zero it stays zero. `old_table` is the in-flight count that the gateway keeps beside the counter, by
/// table.
pub fn reload_leaves_nothing_of_the_old_table_counted<T: Subject>() {
    loom::model(|| {
        let counter = opened::<T>(1);
        let old_table = Arc::new(AtomicU64::new(0));
        let ucs = Arc::new(Ucs::new());
        let client = {
            let (counter, old_table, ucs) = (Arc::clone(&counter), Arc::clone(&old_table), Arc::clone(&ucs));
            thread::spawn(move || {
                old_table.store(1, Ordering::Relaxed);
                let admission = counter.request_enters(0, PRODUCTION);
                // In the order of the gateway: a permit gives back the table's count first, a refusal the counter's.
                if admission.admitted && admission.generation == 1 {
                    ucs.change();
                    old_table.store(0, Ordering::Release);
                    counter.request_leaves(0, PRODUCTION);
                } else {
                    counter.request_leaves(0, PRODUCTION);
                    old_table.store(0, Ordering::Release);
                }
            })
        };
        counter.flip_publishes(PRODUCTION_OPEN, 2);
        if old_table.load(Ordering::Acquire) == 0 {
            ucs.change();
        }
        client.join().unwrap();
        let left = (counter.count(PRODUCTION), old_table.load(Ordering::Acquire));
        assert_eq!(left, (0, 0), "a request of the old table is never left counted");
    });
}
