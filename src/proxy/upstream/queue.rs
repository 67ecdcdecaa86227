//! The requests of a worker that wait for a connection to UCS. Beyond the limit, the client with the most of them loses its
//! newest: so the requests of a crowd refuse none of another client. It connects nothing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use super::exchange::{Exchange, GaveUp};
use super::source::Source;

/// The requests that wait, the oldest first.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: usize,
    requests: RefCell<BTreeMap<u64, Weak<Exchange>>>,
    shares: RefCell<Shares>,
    next: Cell<u64>,
}

impl Queue {
    /// No more than so many wait.
    pub(crate) fn limited_to(limit: usize) -> Rc<Queue> {
        Rc::new(Queue { limit, requests: RefCell::default(), shares: RefCell::default(), next: Cell::default() })
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.borrow().len()
    }

    /// A request waits from now on. `None` if the queue is full, and no other client has more requests in it.
    pub(crate) fn enter(self: &Rc<Self>, exchange: &Rc<Exchange>) -> Option<Place> {
        let number = self.next.replace(self.next.get() + 1);
        self.requests.borrow_mut().insert(number, Rc::downgrade(exchange));
        self.shares.borrow_mut().add(exchange.source());
        let place = Place { queue: Rc::clone(self), number, source: exchange.source() };
        if self.len() > self.limit {
            let (excess, newest) = self.newest_of_the_busiest()?;
            if excess == number {
                return None;
            }
            self.remove(excess, newest.source());
            newest.give_up(GaveUp::Overload);
        }
        Some(place)
    }

    fn newest_of_the_busiest(&self) -> Option<(u64, Rc<Exchange>)> {
        let (requests, shares) = (self.requests.borrow(), self.shares.borrow());
        let most = shares.most();
        let waiting = requests.iter().rev().filter_map(|(number, exchange)| Some((*number, exchange.upgrade()?)));
        waiting.into_iter().find(|(_, exchange)| shares.of(exchange.source()) == most)
    }

    fn remove(&self, number: u64, source: Source) {
        if self.requests.borrow_mut().remove(&number).is_some() {
            self.shares.borrow_mut().subtract(source);
        }
    }
}

/// The place of a request in the queue, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    queue: Rc<Queue>,
    number: u64,
    source: Source,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.remove(self.number, self.source);
    }
}

/// The number of waiting requests by address, and for each address by connection.
#[derive(Debug, Default)]
struct Shares(HashMap<Option<IpAddr>, (usize, HashMap<u64, usize>)>);

/// The requests of an address, and those of one of its connections. The address counts first, as a client may open many
/// connections.
type Share = (usize, usize);

impl Shares {
    fn add(&mut self, source: Source) {
        let (all, connections) = self.0.entry(source.address).or_default();
        *all += 1;
        *connections.entry(source.connection).or_default() += 1;
    }

    fn subtract(&mut self, source: Source) {
        let Some((all, connections)) = self.0.get_mut(&source.address) else { return };
        *all -= 1;
        if *all == 0 {
            self.0.remove(&source.address);
        } else if let Some(own) = connections.get_mut(&source.connection) {
            *own -= 1;
            if *own == 0 {
                connections.remove(&source.connection);
            }
        }
    }

    fn of(&self, source: Source) -> Share {
        self.0.get(&source.address).map_or((0, 0), |(all, connections)| {
            (*all, connections.get(&source.connection).copied().unwrap_or_default())
        })
    }

    /// The largest share.
    fn most(&self) -> Share {
        let shares = self.0.values().map(|(all, connections)| (*all, connections.values().copied().max().unwrap_or(0)));
        shares.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(address: u8, connection: u64) -> Source {
        Source { address: Some([127, 0, 0, address].into()), connection }
    }

    #[test]
    fn the_busiest_connection_of_the_busiest_address_has_the_largest_share() {
        let mut shares = Shares::default();
        assert_eq!(shares.most(), (0, 0));
        for (address, connection) in [(1, 1), (1, 1), (1, 1), (2, 2), (2, 3), (2, 3), (2, 4)] {
            shares.add(source(address, connection));
        }
        assert_eq!(shares.most(), (4, 2));
        assert_eq!(
            (shares.of(source(2, 3)), shares.of(source(2, 4)), shares.of(source(1, 1))),
            ((4, 2), (4, 1), (3, 3))
        );
        shares.subtract(source(2, 3));
        shares.subtract(source(2, 2));
        assert_eq!((shares.most(), shares.of(source(2, 2)), shares.of(source(9, 9))), ((3, 3), (2, 0), (0, 0)));
        for (address, connection) in [(1, 1), (1, 1), (1, 1), (2, 3), (2, 4)] {
            shares.subtract(source(address, connection));
        }
        assert!(shares.0.is_empty());
    }
}
