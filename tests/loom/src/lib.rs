//! Model-checks the gateway's in-flight counter with loom: the file that the gateway runs, under every interleaving and every
//! stale read that the memory model allows. Beside it, mutants (see `build.rs`) show that each ordering in it is needed
//! and that the models can fail. It checks no clock, no record and no network.
//!
//! "UCS" is an unprotected cell here. An admitted request writes it, and so does a flip that relies on a drain; loom fails on
//! any two accesses that are not ordered. So a passing model shows that a request which the drain did not see was not
//! admitted, and that all effects of a request which it saw end are visible.
#![cfg(test)]
// The parts of the in-flight counter that only the gateway uses.
#![allow(dead_code)]

#[path = "../../../src/gate/in_flight_counter.rs"]
mod in_flight_counter;

mod models;

/// A mutant of the in-flight counter, and the tests that must fail on it.
macro_rules! mutant {
    ($name:ident, $($test:ident => $model:ident),+) => {
        mod $name {
            mod in_flight_counter {
                include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
            }
            crate::models::subject!(in_flight_counter::InFlightCounter, in_flight_counter::AdmissionState);
            $(
                #[test]
                #[should_panic(expected = "Causality violation")]
                fn $test() {
                    crate::models::$model::<in_flight_counter::InFlightCounter>();
                }
            )+
        }
    };
}

models::subject!(in_flight_counter::InFlightCounter, in_flight_counter::AdmissionState);

mutant!(enter_without_fence, is_caught => flip_sees_every_request_of_the_old_state);
mutant!(publish_without_fence, is_caught => flip_sees_every_request_of_the_old_state);
mutant!(leave_without_release, is_caught => drain_sees_what_requests_did);
mutant!(count_without_acquire, is_caught => drain_sees_what_requests_did);
mutant!(state_without_acquire, is_caught => production_and_maintenance_never_overlap);
mutant!(publish_without_release, is_caught => production_and_maintenance_never_overlap);

mod true_counter {
    use crate::in_flight_counter::InFlightCounter;
    use crate::models;

    #[test]
    fn flip_sees_every_request_of_the_old_state() {
        models::flip_sees_every_request_of_the_old_state::<InFlightCounter>();
    }

    #[test]
    fn flip_sees_the_requests_of_two_shards() {
        models::flip_sees_the_requests_of_two_shards::<InFlightCounter>();
    }

    #[test]
    fn flip_sees_overlapping_requests_of_one_shard() {
        models::flip_sees_overlapping_requests_of_one_shard::<InFlightCounter>();
    }

    #[test]
    fn drain_sees_what_requests_did() {
        models::drain_sees_what_requests_did::<InFlightCounter>();
    }

    #[test]
    fn a_local_close_outlasts_a_flip_and_lets_nothing_in() {
        models::a_local_close_outlasts_a_flip_and_lets_nothing_in::<InFlightCounter>();
    }

    #[test]
    fn production_and_maintenance_never_overlap() {
        models::production_and_maintenance_never_overlap::<InFlightCounter>();
    }

    #[test]
    fn reload_leaves_nothing_of_the_old_table_counted() {
        models::reload_leaves_nothing_of_the_old_table_counted::<InFlightCounter>();
    }
}
