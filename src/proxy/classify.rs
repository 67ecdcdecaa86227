//! The decision about a request, before a byte of it goes to UCS: one reading of its path, a route, and the gate. It forwards
//! nothing and makes no response.

use std::rc::Rc;

use super::refusal::Refusal;
use crate::gate::{self, Permit, TableRef, WorkerGate};
use crate::http1::RequestHead;
use crate::policy::path::CanonicalPath;
use crate::policy::table::{Route, RouteIndex, Unmatched};

/// A request that was classified.
#[derive(Debug)]
pub struct RouteMatch {
    /// The table that classified it.
    pub table: Rc<TableRef>,
    /// The route that takes it; `None`: unmatched, forwarded as a class.
    pub index: Option<RouteIndex>,
    /// Its canonical path, when that is not what was sent.
    pub rewritten: Option<String>,
    /// Counts it in flight, when it was admitted.
    pub permit: Option<Permit>,
}

impl RouteMatch {
    /// The route that takes it.
    pub fn route(&self) -> Option<&Route> {
        self.index.map(|index| &self.table.table().routes[index as usize])
    }

    /// The index of its class in the table; `None` when it has none.
    pub fn class(&self) -> Option<usize> {
        match (self.route(), self.table.table().unmatched) {
            (Some(route), _) => Some(route.class),
            (None, Unmatched::Class(class)) => Some(class),
            (None, Unmatched::NotFound) => None,
        }
    }

    /// Refused, although a route took it.
    pub fn refused(self, refusal: Refusal) -> Refused {
        Refused { refusal, matched: Some(self) }
    }

    /// Without its permit: it is not counted in flight any more.
    pub fn without_permit(mut self) -> RouteMatch {
        self.permit = None;
        self
    }
}

/// A request that is refused, with the route that took it, if it came to that.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The route.
    pub matched: Option<RouteMatch>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused { refusal, matched: None }
    }
}

/// Everything that is decided before a byte goes to UCS. An admitted request has its permit.
pub fn decide(gate: &WorkerGate, head: &RequestHead) -> Result<RouteMatch, Refused> {
    let path = CanonicalPath::parse(head.path()).map_err(Refusal::Path)?;
    loop {
        let table = gate.table();
        let index = table.table().classify(head.method.as_str(), &path);
        if index.is_none() && table.table().unmatched == Unmatched::NotFound {
            return Err(Refusal::Unmatched.into());
        }
        let refusal = match gate.enter(&table, index) {
            Ok(permit) => return Ok(RouteMatch { table, index, rewritten: path.rewritten(), permit: Some(permit) }),
            Err(gate::Refused::OldTable) => continue,
            Err(gate::Refused::Mode(published)) => Refusal::Mode(published),
            Err(gate::Refused::NoSchema(published)) => Refusal::NoSchema(published),
        };
        return Err(Refused { refusal, matched: Some(RouteMatch { table, index, rewritten: None, permit: None }) });
    }
}
