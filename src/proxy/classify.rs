//! Classifies and admits a request before a byte of it goes to UCS: canonical path, route, gate. It forwards nothing and makes
//! no response.

use std::rc::Rc;

use super::refusal::Refusal;
use crate::gate::{self, Permit, TableRef, WorkerGate};
use crate::http1::RequestHead;
use crate::policy::path::CanonicalPath;
use crate::policy::table::{Route, RouteIndex, Unmatched};

/// A request that was classified.
#[derive(Debug)]
pub(crate) struct RouteMatch {
    pub(crate) table: Rc<TableRef>,
    /// The route that it matches; `None` if it is unmatched and forwarded as a class.
    pub(crate) index: Option<RouteIndex>,
    /// Its canonical path, if that differs from the path that was sent.
    pub(crate) rewritten: Option<Vec<u8>>,
    /// Counts it in flight, if it was admitted.
    pub(crate) permit: Option<Permit>,
}

impl RouteMatch {
    pub(crate) fn route(&self) -> Option<&Route> {
        self.index.map(|index| &self.table.table().routes[index as usize])
    }

    /// The index of its class in the table; `None` if it has none.
    pub(crate) fn class(&self) -> Option<usize> {
        match (self.route(), self.table.table().unmatched) {
            (Some(route), _) => Some(route.class),
            (None, Unmatched::Class(class)) => Some(class),
            (None, Unmatched::NotFound) => None,
        }
    }

    /// A refusal of this request, which matched a route.
    pub(crate) fn refused(self, refusal: Refusal) -> Refused {
        Refused { refusal, matched: Some(self) }
    }

    /// Drops the permit: the request no longer counts as in flight.
    pub(crate) fn without_permit(mut self) -> RouteMatch {
        self.permit = None;
        self
    }
}

/// A refused request, with its route if it matched one.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) refusal: Refusal,
    /// The match, if there was one.
    pub(crate) matched: Option<RouteMatch>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { refusal, matched: None }
    }
}

/// The needs of a request for its admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// The mode admits its route.
    ByMode,
    /// A mode is in force, whichever it is.
    PastMode,
}

/// Classifies a request and passes it through the gate. An admitted request has a permit.
#[expect(clippy::result_large_err, reason = "a box would cost every refusal an allocation")]
pub(crate) fn decide(gate: &WorkerGate, head: &RequestHead, passage: Passage) -> Result<RouteMatch, Refused> {
    let path = CanonicalPath::parse(head.path()).map_err(Refusal::Path)?;
    loop {
        let table = gate.table();
        let index = table.table().classify(head.method.as_str(), &path);
        if index.is_none() && table.table().unmatched == Unmatched::NotFound {
            return Err(Refusal::NoRoute(table.table().no_route(head.method.as_str(), &path)).into());
        }
        let entered = match passage {
            Passage::ByMode => gate.enter(&table, index),
            Passage::PastMode => gate.enter_past_mode(&table, index),
        };
        let refusal = match entered {
            Ok(permit) => return Ok(RouteMatch { table, index, rewritten: path.rewritten(), permit: Some(permit) }),
            Err(gate::Refused::OldTable) => continue,
            Err(gate::Refused::Mode(published)) => Refusal::Mode(published),
            Err(gate::Refused::NoSchema(published)) => Refusal::NoSchema(published),
        };
        return Err(Refused { refusal, matched: Some(RouteMatch { table, index, rewritten: None, permit: None }) });
    }
}
