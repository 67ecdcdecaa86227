//! By which protocol the mode changes: that of one gateway with a record of its own, or that of a member of a fleet.

use crate::control::fleet::membership::{Membership, News};
use crate::control::store::{RecordStore, Token};
use crate::policy::flip::{State, Step};

pub(super) enum Protocol {
    Alone(Alone),
    Fleet(Box<Membership>),
}

/// One gateway with a record of its own.
pub(super) struct Alone {
    pub state: State,
    pub store: RecordStore,
    /// The record in the store.
    pub token: Token,
}

impl Protocol {
    /// The step under way here.
    pub(super) fn step_under_way(&self) -> Option<Step> {
        match self {
            Protocol::Alone(alone) => alone.state.step_under_way(),
            Protocol::Fleet(fleet) => fleet.member.step_under_way(),
        }
    }

    /// Whether no change is under way, as far as this gateway knows.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Protocol::Alone(alone) => alone.state.is_idle(),
            Protocol::Fleet(fleet) => !self.is_flipping() && fleet.member.shown().is_some(),
        }
    }

    /// Whether a flip is under way, here or elsewhere in the fleet, or work for one.
    pub(super) fn is_flipping(&self) -> bool {
        let is_of_fleet = matches!(self, Protocol::Fleet(fleet) if fleet.member.switching().is_some());
        is_of_fleet || self.step_under_way().is_some()
    }

    /// Whether this gateway stops.
    pub(super) fn is_stopping(&self) -> bool {
        match self {
            Protocol::Alone(alone) => alone.state.is_stopping(),
            Protocol::Fleet(fleet) => fleet.member.is_stopping(),
        }
    }

    /// Whether control may end once no request is in flight any more.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Protocol::Alone(alone) => alone.state.is_idle(),
            Protocol::Fleet(fleet) => fleet.member.has_left() || fleet.has_given_up,
        }
    }

    /// Whether the next start finds all that was ever reported, and nothing to wait for.
    pub(super) fn is_at_rest(&self) -> bool {
        match self {
            Protocol::Alone(alone) => alone.state.is_settled_durably(),
            Protocol::Fleet(fleet) => fleet.member.has_left(),
        }
    }

    pub(super) fn fleet(&mut self) -> Option<&mut Membership> {
        match self {
            Protocol::Alone(_) => None,
            Protocol::Fleet(fleet) => Some(fleet),
        }
    }

    pub(super) fn is_fleet(&self) -> bool {
        matches!(self, Protocol::Fleet(_))
    }

    /// What happens to the member; nothing, of a gateway alone. Cancel safe.
    pub(super) async fn next(&mut self, awaited: bool) -> News {
        match self {
            Protocol::Alone(_) => std::future::pending().await,
            Protocol::Fleet(fleet) => fleet.next(awaited).await,
        }
    }
}
