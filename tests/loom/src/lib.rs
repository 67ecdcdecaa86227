//! Model-checks the gateway's turnstile with loom: the very file that the gateway runs, under every interleaving and every
//! stale read that the memory model allows. Beside it, mutants (see `build.rs`) show that each ordering in it is needed
//! and that the models can fail. It checks no clock, no record and no network.
//!
//! "UCS" is an unprotected cell here. A request that was admitted writes it, and so does whoever relies on a drain; loom
//! fails on any two accesses that are not ordered. So a model that passes says: what the drain did not see, did not
//! happen, and what it saw end, it sees whole.
#![cfg(test)]
// The parts of the turnstile that only the gateway uses.
#![allow(dead_code)]

#[path = "../../../src/gate/turnstile.rs"]
mod turnstile;

mod models;

/// A mutant of the turnstile, and the tests that must fail on it.
macro_rules! mutant {
    ($name:ident, $($test:ident => $model:ident),+) => {
        mod $name {
            mod turnstile {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
            }
            crate::models::subject!(turnstile::Turnstile, turnstile::Word);
            $(
                #[test]
                #[should_panic(expected = "Causality violation")]
                fn $test() {
                    crate::models::$model::<turnstile::Turnstile>();
                }
            )+
        }
    };
}

models::subject!(turnstile::Turnstile, turnstile::Word);

mutant!(enter_without_fence, is_caught => flip_sees_every_request_of_the_old_word);
mutant!(publish_without_fence, is_caught => flip_sees_every_request_of_the_old_word);
mutant!(leave_without_release, is_caught => drain_sees_what_requests_did);
mutant!(count_without_acquire, is_caught => drain_sees_what_requests_did);
mutant!(word_without_acquire, is_caught => production_and_maintenance_never_overlap);
mutant!(publish_without_release, is_caught => production_and_maintenance_never_overlap);

mod true_turnstile {
    use crate::models;
    use crate::turnstile::Turnstile;

    #[test]
    fn flip_sees_every_request_of_the_old_word() {
        models::flip_sees_every_request_of_the_old_word::<Turnstile>();
    }

    #[test]
    fn flip_sees_the_requests_of_two_lanes() {
        models::flip_sees_the_requests_of_two_lanes::<Turnstile>();
    }

    #[test]
    fn flip_sees_overlapping_requests_of_one_lane() {
        models::flip_sees_overlapping_requests_of_one_lane::<Turnstile>();
    }

    #[test]
    fn drain_sees_what_requests_did() {
        models::drain_sees_what_requests_did::<Turnstile>();
    }

    #[test]
    fn production_and_maintenance_never_overlap() {
        models::production_and_maintenance_never_overlap::<Turnstile>();
    }

    #[test]
    fn reload_leaves_nothing_of_the_old_table_counted() {
        models::reload_leaves_nothing_of_the_old_table_counted::<Turnstile>();
    }
}
