//! The requests of a worker that wait for a connection to UCS. Beyond the limit, the client with the most of them loses its
//! newest: so the requests of a crowd refuse none of another client. It connects nothing.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

use super::exchange::{Exchange, GaveUp};
use super::source::Source;

/// The requests that wait.
#[derive(Debug)]
pub(crate) struct Queue {
    limit: usize,
    requests: RefCell<HashMap<u64, Weak<Exchange>>>,
    clients: RefCell<Clients>,
    next: Cell<u64>,
}

impl Queue {
    /// No more than so many wait.
    pub(crate) fn limited_to(limit: usize) -> Rc<Queue> {
        Rc::new(Queue { limit, requests: RefCell::default(), clients: RefCell::default(), next: Cell::default() })
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.borrow().len()
    }

    /// A request waits from now on. `None` if the queue is full, and no other client has more requests in it.
    pub(crate) fn enter(self: &Rc<Self>, exchange: &Rc<Exchange>) -> Option<Place> {
        let number = self.next.replace(self.next.get() + 1);
        self.requests.borrow_mut().insert(number, Rc::downgrade(exchange));
        self.clients.borrow_mut().add(exchange.source(), number);
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
        let newest = self.clients.borrow().newest_of_the_busiest()?;
        Some((newest, self.requests.borrow().get(&newest)?.upgrade()?))
    }

    fn remove(&self, number: u64, source: Source) {
        if self.requests.borrow_mut().remove(&number).is_some() {
            self.clients.borrow_mut().remove(source, number);
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

/// The numbers of the waiting requests by address, and for each address by connection. The address counts first, as a client
/// may open many connections.
#[derive(Debug, Default)]
struct Clients {
    addresses: Ranking<Option<IpAddr>>,
    connections: HashMap<Option<IpAddr>, Ranking<u64>>,
}

impl Clients {
    fn add(&mut self, source: Source, number: u64) {
        self.addresses.change(source.address, |numbers| numbers.insert(number));
        let connections = self.connections.entry(source.address).or_default();
        connections.change(source.connection, |numbers| numbers.insert(number));
    }

    fn remove(&mut self, source: Source, number: u64) {
        self.addresses.change(source.address, |numbers| numbers.remove(&number));
        let Some(connections) = self.connections.get_mut(&source.address) else { return };
        connections.change(source.connection, |numbers| numbers.remove(&number));
        if connections.order.is_empty() {
            self.connections.remove(&source.address);
        }
    }

    fn newest_of_the_busiest(&self) -> Option<u64> {
        let (_, address) = self.addresses.order.last_key_value()?;
        let (&(_, newest), _) = self.connections.get(address)?.order.last_key_value()?;
        Some(newest)
    }
}

/// Groups of waiting requests. In a flood a full queue looks for the largest at every request.
#[derive(Debug)]
struct Ranking<Key> {
    groups: HashMap<Key, BTreeSet<u64>>,
    /// The groups by their size, those of the same size by their newest request.
    order: BTreeMap<(usize, u64), Key>,
}

impl<Key> Default for Ranking<Key> {
    fn default() -> Self {
        Ranking { groups: HashMap::new(), order: BTreeMap::new() }
    }
}

impl<Key: Copy + Eq + Hash> Ranking<Key> {
    fn change(&mut self, key: Key, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let rank = |numbers: &BTreeSet<u64>| numbers.last().map(|newest| (numbers.len(), *newest));
        let Ranking { groups, order } = self;
        let numbers = groups.entry(key).or_default();
        rank(numbers).and_then(|rank| order.remove(&rank));
        change(numbers);
        match rank(numbers) {
            Some(rank) => drop(order.insert(rank, key)),
            None => drop(groups.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(address: u8, connection: u64) -> Source {
        Source { address: Some([127, 0, 0, address].into()), connection }
    }

    fn with_requests(sources: &[(u8, u64)]) -> Clients {
        let mut clients = Clients::default();
        for (number, (address, connection)) in (0..).zip(sources) {
            clients.add(source(*address, *connection), number);
        }
        clients
    }

    #[test]
    fn the_busiest_connection_of_the_busiest_address_loses_its_newest() {
        let mut clients = with_requests(&[(2, 3), (1, 1), (1, 1), (2, 3), (1, 1), (2, 2), (2, 4)]);
        assert_eq!(clients.newest_of_the_busiest(), Some(3), "of connection 3");
        clients.remove(source(2, 3), 0);
        clients.remove(source(2, 4), 6);
        assert_eq!(clients.newest_of_the_busiest(), Some(4), "of address 1");
    }

    #[test]
    fn of_equally_busy_clients_the_last_to_come_loses_its_newest() {
        assert_eq!(with_requests(&[(1, 1), (2, 2), (3, 3)]).newest_of_the_busiest(), Some(2));
        assert_eq!(with_requests(&[(1, 1), (1, 2), (1, 2), (1, 1)]).newest_of_the_busiest(), Some(3));
        assert_eq!(Clients::default().newest_of_the_busiest(), None);
    }

    /// The same, by a look at every request.
    fn searched(waiting: &[(u8, u64, u64)]) -> Option<u64> {
        let of = |is_one: &dyn Fn(&(u8, u64, u64)) -> bool| {
            let numbers = waiting.iter().filter(|request| is_one(request)).map(|request| request.2);
            (numbers.clone().count(), numbers.max())
        };
        let by_address = |(address, ..): (u8, u64, u64)| of(&|other| other.0 == address);
        let busiest = waiting.iter().max_by_key(|request| by_address(**request))?.0;
        let own = waiting.iter().filter(|request| request.0 == busiest);
        own.map(|(_, connection, _)| of(&|other| (other.0, other.1) == (busiest, *connection))).max()?.1
    }

    proptest! {
        #[test]
        fn the_ranking_finds_what_a_search_finds(steps in prop::collection::vec((0..3_u8, 0..3_u64, any::<u16>()), 0..60)) {
            let (mut clients, mut waiting) = (Clients::default(), Vec::new());
            for (number, (address, connection, leaves)) in (0..).zip(steps) {
                clients.add(source(address, connection), number);
                waiting.push((address, connection, number));
                if leaves % 3 == 0 {
                    let (address, connection, number) = waiting.remove(usize::from(leaves) % waiting.len());
                    clients.remove(source(address, connection), number);
                }
                prop_assert_eq!(clients.newest_of_the_busiest(), searched(&waiting));
            }
            for (address, connection, number) in waiting {
                clients.remove(source(address, connection), number);
            }
            prop_assert!(clients.connections.is_empty() && clients.addresses.groups.is_empty());
        }
    }
}
