//! The limits of connections to the admin port. A new connection always gets a slot; if need be, an anonymous connection is
//! evicted for it: the oldest of the address with the most, so that a flood evicts its own. Authenticated connections have
//! slots of their own; when these are full, the principal with the most connections loses one, so that no client can lock
//! out another. Event streams are counted separately. A connection with a mode change in progress is never evicted. It moves
//! no bytes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::transport::Peer;

/// Maximum number of connections without an accepted credential.
const MAX_ANONYMOUS: usize = 256;

/// Maximum number of these whose password is being verified. They are evicted last, or a crowd that connects without a pause
/// would evict each before the end of its verification.
const MAX_CHECKS: usize = 64;

/// Maximum number of connections with one, over all principals.
const MAX_AUTHENTICATED: usize = 256;

/// Maximum number of changes in progress per principal. The first one decides; the others are mostly rejected.
const MAX_CHANGES: usize = 16;

/// Maximum number of event streams, in total and per principal.
const MAX_STREAMS: usize = 128;
const MAX_STREAMS_PER_PRINCIPAL: usize = 32;

/// A principal with more connections than these is throttled: each call but the first of a connection is delayed by
/// [`DELAY_EACH`] per connection, so a principal with hundreds takes no more of the thread than one with a few.
const UNTHROTTLED: usize = 16;
const DELAY_EACH: Duration = Duration::from_millis(2);

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimits(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Connection>,
    /// Their numbers by identity, the oldest first: a crowd is counted once for each of its connections, so counting is cheap.
    numbers: BTreeMap<Identity, BTreeSet<u64>>,
    /// Those without a credential that one is being verified for.
    checked: BTreeSet<u64>,
    /// Whether an eviction was logged: a flood is worth one line.
    is_logged: bool,
}

#[derive(Debug)]
struct Connection {
    identity: Identity,
    work: Work,
    /// Whether a call of it was handled before.
    was_served: bool,
    evicted: Arc<Notify>,
}

/// The principal of a connection, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    Anonymous(Origin),
    Authenticated(Arc<str>),
    Streaming(Arc<str>),
}

impl Identity {
    fn name(&self) -> Option<&str> {
        match self {
            Identity::Anonymous(_) => None,
            Identity::Authenticated(name) | Identity::Streaming(name) => Some(name),
        }
    }

    fn is_anonymous(&self) -> bool {
        matches!(self, Identity::Anonymous(_))
    }

    fn is_authenticated(&self) -> bool {
        matches!(self, Identity::Authenticated(_))
    }

    fn is_streaming(&self) -> bool {
        matches!(self, Identity::Streaming(_))
    }
}

/// Where an anonymous connection comes from: its address, of IPv6 the /64, which one client has as a whole. None over a
/// unix socket.
type Origin = Option<IpAddr>;

fn origin(peer: &Peer) -> Origin {
    let Peer::Tcp(address) = peer else { return None };
    Some(match address.ip().to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    })
}

/// The work in progress for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Idle,
    Call,
    Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitReached {
    /// Every authenticated connection waits for a change, or this one has just been evicted.
    #[error("the admin API has reached its connection limit ({MAX_AUTHENTICATED})")]
    Connections,
    #[error("this principal has {MAX_CHANGES} changes in progress; wait until they have ended")]
    Changes,
    #[error("this principal has {MAX_STREAMS_PER_PRINCIPAL} event streams open; close one, or poll GET /mode")]
    StreamsOfPrincipal,
    #[error("the admin API has reached its limit of {MAX_STREAMS} event streams; poll GET /mode")]
    Streams,
}

impl ConnectionLimits {
    /// A slot for a new connection.
    pub(super) fn take(self: &Arc<Self>, peer: &Peer) -> ConnectionSlot {
        let evicted = Arc::new(Notify::new());
        let number = self.lock().add(origin(peer), Arc::clone(&evicted));
        ConnectionSlot { limits: Arc::clone(self), number, evicted }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn add(&mut self, origin: Origin, evicted: Arc<Notify>) -> u64 {
        self.make_room_for_anonymous(origin);
        let number = self.next;
        self.next += 1;
        let identity = Identity::Anonymous(origin);
        self.numbers.entry(identity.clone()).or_default().insert(number);
        self.open.insert(number, Connection { identity, work: Work::Idle, was_served: false, evicted });
        number
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.open.remove(&number)?;
        self.checked.remove(&number);
        self.forget(&connection.identity, number);
        Some(connection)
    }

    fn forget(&mut self, identity: &Identity, number: u64) {
        if let Some(numbers) = self.numbers.get_mut(identity) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.numbers.remove(identity);
            }
        }
    }

    fn identify(&mut self, number: u64, identity: Identity) {
        let Some(connection) = self.open.get_mut(&number).filter(|connection| connection.identity != identity) else {
            return;
        };
        let former = std::mem::replace(&mut connection.identity, identity.clone());
        self.forget(&former, number);
        self.numbers.entry(identity).or_default().insert(number);
    }

    /// The number of connections with such an identity.
    fn count(&self, is_counted: impl Fn(&Identity) -> bool) -> usize {
        self.numbers.iter().filter(|(identity, _)| is_counted(identity)).map(|(_, numbers)| numbers.len()).sum()
    }

    /// The oldest connection in such work.
    fn oldest(&self, numbers: &BTreeSet<u64>, is_wanted: impl Fn(Work) -> bool) -> Option<u64> {
        let is_wanted = |number: &u64| self.open.get(number).is_some_and(|connection| is_wanted(connection.work));
        numbers.iter().copied().find(is_wanted)
    }

    fn make_room_for_anonymous(&mut self, origin: Origin) {
        let count = self.count(Identity::is_anonymous);
        if count < MAX_ANONYMOUS {
            self.is_logged &= count > MAX_ANONYMOUS / 2;
            return;
        }
        let checked = self.checked.first().copied().filter(|_| self.checked.len() > MAX_CHECKS);
        self.evict(checked.or_else(|| self.oldest_of_most(origin)));
    }

    /// The oldest unchecked connection of the origin with the most, where a new one of `origin` counts too.
    fn oldest_of_most(&self, origin: Origin) -> Option<u64> {
        let anonymous = self.numbers.iter().filter(|(identity, _)| identity.is_anonymous());
        let oldest = anonymous.filter_map(|(identity, numbers)| {
            let has = numbers.len() + usize::from(*identity == Identity::Anonymous(origin));
            let number = numbers.iter().copied().find(|number| !self.checked.contains(number))?;
            Some((has, Reverse(number)))
        });
        oldest.max().map(|(_, Reverse(number))| number)
    }

    fn make_room_for(&mut self, principal: &str) -> Result<(), LimitReached> {
        if self.count(Identity::is_authenticated) < MAX_AUTHENTICATED {
            return Ok(());
        }
        let authenticated = self.numbers.iter().filter(|(identity, _)| identity.is_authenticated());
        let leaving = authenticated.filter_map(|(identity, numbers)| {
            let is_own = identity.name() == Some(principal);
            let idle = self.oldest(numbers, |work| work == Work::Idle);
            let number = idle.or_else(|| self.oldest(numbers, |work| work != Work::Change))?;
            Some((numbers.len() + usize::from(is_own), is_own, idle.is_some(), Reverse(number)))
        });
        let number = leaving.max().map(|(.., Reverse(number))| number).ok_or(LimitReached::Connections)?;
        self.evict(Some(number));
        Ok(())
    }

    fn evict(&mut self, number: Option<u64>) {
        let Some(connection) = number.and_then(|number| self.remove(number)) else { return };
        connection.evicted.notify_one();
        if !std::mem::replace(&mut self.is_logged, true) {
            tracing::warn!("admin connection limit reached; closing the oldest connections");
        }
    }
}

/// The slot of one connection, freed when dropped.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    limits: Arc<ConnectionLimits>,
    number: u64,
    evicted: Arc<Notify>,
}

impl ConnectionSlot {
    /// Waits for the eviction. A single task may wait.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Whether no credential has been accepted yet.
    pub(super) fn is_anonymous(&self) -> bool {
        self.with(|connection| connection.identity.is_anonymous()).unwrap_or(false)
    }

    /// Marks a call in progress, until the guard is dropped.
    pub(super) fn begin(&self) -> CallGuard<'_> {
        self.with(|connection| {
            connection.work = Work::Call;
            connection.was_served = true;
        });
        CallGuard(self)
    }

    /// Marks that a credential is being verified, which takes a while for a password.
    pub(super) fn begin_check(&self) {
        let mut table = self.limits.lock();
        if table.open.get(&self.number).is_some_and(|connection| connection.identity.is_anonymous()) {
            table.checked.insert(self.number);
        }
    }

    /// Marks that it has been verified.
    pub(super) fn end_check(&self) {
        self.limits.lock().checked.remove(&self.number);
    }

    /// The delay of the next call, so that other principals get their turn: zero for the first call, and zero for a
    /// principal with few connections. Anonymous connections count as one principal.
    pub(super) fn delay(&self) -> Duration {
        let table = self.limits.lock();
        let Some(own) = table.open.get(&self.number).filter(|connection| connection.was_served) else {
            return Duration::ZERO;
        };
        match table.count(|identity| identity.name() == own.identity.name()) {
            0..=UNTHROTTLED => Duration::ZERO,
            many => DELAY_EACH * u32::try_from(many).unwrap_or(u32::MAX),
        }
    }

    /// Records the principal whose credential was accepted.
    pub(super) fn authenticate(&self, principal: &Arc<str>) -> Result<(), LimitReached> {
        let mut table = self.limits.lock();
        let identity = table.open.get(&self.number).map(|connection| &connection.identity);
        let authenticated = match identity.ok_or(LimitReached::Connections)? {
            Identity::Streaming(_) => Identity::Streaming(Arc::clone(principal)),
            Identity::Anonymous(_) | Identity::Authenticated(_) => Identity::Authenticated(Arc::clone(principal)),
        };
        if identity.is_some_and(Identity::is_anonymous) {
            table.make_room_for(principal)?;
        }
        table.identify(self.number, authenticated);
        Ok(())
    }

    /// Marks that the call is a change, which protects the connection from eviction. To be called with the whole body at
    /// hand: a half-sent change must not take the place of a whole one.
    pub(super) fn begin_change(&self) -> Result<(), LimitReached> {
        let mut table = self.limits.lock();
        let identity = table.open.get(&self.number).map(|connection| &connection.identity);
        let own = identity.filter(|identity| identity.is_authenticated()).ok_or(LimitReached::Connections)?;
        let numbers = table.numbers.get(own).into_iter().flatten();
        let changes =
            numbers.filter(|number| table.open.get(number).is_some_and(|one| one.work == Work::Change)).count();
        if changes >= MAX_CHANGES {
            return Err(LimitReached::Changes);
        }
        if let Some(connection) = table.open.get_mut(&self.number) {
            connection.work = Work::Change;
        }
        Ok(())
    }

    /// Turns the connection into an event stream.
    pub(super) fn begin_stream(self: &Arc<Self>) -> Result<StreamSlot, LimitReached> {
        let mut table = self.limits.lock();
        let Some(Connection { identity: Identity::Authenticated(own), .. }) = table.open.get(&self.number) else {
            return Err(LimitReached::Connections);
        };
        let stream = Identity::Streaming(Arc::clone(own));
        if table.count(|identity| *identity == stream) >= MAX_STREAMS_PER_PRINCIPAL {
            return Err(LimitReached::StreamsOfPrincipal);
        }
        if table.count(Identity::is_streaming) >= MAX_STREAMS {
            return Err(LimitReached::Streams);
        }
        table.identify(self.number, stream);
        Ok(StreamSlot(Arc::clone(self)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        self.limits.lock().open.get_mut(&self.number).map(look)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limits.lock().remove(self.number);
    }
}

#[derive(Debug)]
pub(super) struct CallGuard<'a>(&'a ConnectionSlot);

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.0.with(|connection| connection.work = Work::Idle);
    }
}

/// The slot of an event stream; the connection is an ordinary one again when it is dropped.
#[derive(Debug)]
pub(super) struct StreamSlot(Arc<ConnectionSlot>);

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut table = self.0.limits.lock();
        let identity = table.open.get(&self.0.number).map(|connection| &connection.identity);
        if let Some(Identity::Streaming(name)) = identity {
            let authenticated = Identity::Authenticated(Arc::clone(name));
            table.identify(self.0.number, authenticated);
        }
    }
}
