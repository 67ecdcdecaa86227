//! The limits of connections to the admin port. A new connection always gets a slot; if need be, an anonymous connection is
//! evicted for it: the oldest of the address with the most, so that a flood evicts its own. Authenticated connections have
//! slots of their own; when these are full, the principal with the most connections loses one, so that no client can lock
//! out another. Event streams are counted separately. A connection with a mode change in progress is never evicted. It moves
//! no bytes.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::transport::Peer;

/// Maximum number of connections without an accepted credential.
const MAX_ANONYMOUS: usize = 256;

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

/// All connections by number, the oldest first.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimits(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Connection>,
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
#[derive(Debug)]
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
    /// Its credential is being verified, which takes a while for a password.
    Check,
    Change,
}

/// The limit that was reached.
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
        let origin = origin(peer);
        let mut table = self.lock();
        table.make_room_for_anonymous(origin);
        let number = table.next;
        table.next += 1;
        let connection = Connection {
            identity: Identity::Anonymous(origin),
            work: Work::Idle,
            was_served: false,
            evicted: Arc::clone(&evicted),
        };
        table.open.insert(number, connection);
        drop(table);
        ConnectionSlot { limits: Arc::clone(self), number, evicted }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room_for_anonymous(&mut self, origin: Origin) {
        let anonymous = || {
            self.open.iter().filter_map(|(number, connection)| match connection.identity {
                Identity::Anonymous(origin) => Some((*number, origin, connection.work)),
                Identity::Authenticated(_) | Identity::Streaming(_) => None,
            })
        };
        let count = anonymous().count();
        if count < MAX_ANONYMOUS {
            self.is_logged &= count > MAX_ANONYMOUS / 2;
            return;
        }
        let mut each = HashMap::from([(origin, 1usize)]);
        anonymous().for_each(|(_, origin, _)| *each.entry(origin).or_default() += 1);
        // A connection whose password is being verified is evicted last; the attempt limiter keeps those few.
        let leaving = anonymous().max_by_key(|(number, origin, work)| {
            let has = each.get(origin).copied().unwrap_or_default();
            (*work != Work::Check, has, std::cmp::Reverse(*number))
        });
        let leaving = leaving.map(|(number, ..)| number);
        self.evict(leaving);
    }

    fn make_room_for(&mut self, principal: &str) -> Result<(), LimitReached> {
        let authenticated = || {
            self.open.iter().filter_map(|(number, connection)| match &connection.identity {
                Identity::Authenticated(name) => Some((*number, &**name, connection.work)),
                Identity::Anonymous(_) | Identity::Streaming(_) => None,
            })
        };
        if authenticated().count() < MAX_AUTHENTICATED {
            return Ok(());
        }
        let mut each = HashMap::from([(principal, 1usize)]);
        authenticated().for_each(|(_, name, _)| *each.entry(name).or_default() += 1);
        let leaving = authenticated().filter(|(_, _, work)| *work != Work::Change);
        let leaving = leaving.max_by_key(|(number, name, work)| {
            let has = each.get(name).copied().unwrap_or_default();
            (has, *name == principal, *work == Work::Idle, std::cmp::Reverse(*number))
        });
        let number = leaving.map(|(number, _, _)| number).ok_or(LimitReached::Connections)?;
        self.evict(Some(number));
        Ok(())
    }

    fn evict(&mut self, number: Option<u64>) {
        let Some(connection) = number.and_then(|number| self.open.remove(&number)) else { return };
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
        self.with(|connection| matches!(connection.identity, Identity::Anonymous(_))).unwrap_or(false)
    }

    /// Marks a call in progress, until the guard is dropped.
    pub(super) fn begin(&self) -> CallGuard<'_> {
        self.with(|connection| {
            connection.work = Work::Call;
            connection.was_served = true;
        });
        CallGuard(self)
    }

    /// Marks that the credential is being verified.
    pub(super) fn begin_check(&self) {
        self.with(|connection| connection.work = Work::Check);
    }

    /// Marks that the credential has been verified.
    pub(super) fn end_check(&self) {
        self.with(|connection| connection.work = Work::Call);
    }

    /// The delay of the next call, so that other principals get their turn: zero for the first call, and zero for a
    /// principal with few connections. Anonymous connections count as one principal.
    pub(super) fn delay(&self) -> Duration {
        let table = self.limits.lock();
        let Some(own) = table.open.get(&self.number).filter(|connection| connection.was_served) else {
            return Duration::ZERO;
        };
        let is_own = |connection: &&Connection| connection.identity.name() == own.identity.name();
        match table.open.values().filter(is_own).count() {
            0..=UNTHROTTLED => Duration::ZERO,
            many => DELAY_EACH * u32::try_from(many).unwrap_or(u32::MAX),
        }
    }

    /// Records the principal whose credential was accepted.
    pub(super) fn authenticate(&self, principal: &Arc<str>) -> Result<(), LimitReached> {
        let mut table = self.limits.lock();
        match table.open.get_mut(&self.number).map(|connection| &mut connection.identity) {
            None => return Err(LimitReached::Connections),
            Some(Identity::Authenticated(name) | Identity::Streaming(name)) => {
                *name = Arc::clone(principal);
                return Ok(());
            }
            Some(Identity::Anonymous(_)) => {}
        }
        table.make_room_for(principal)?;
        if let Some(connection) = table.open.get_mut(&self.number) {
            connection.identity = Identity::Authenticated(Arc::clone(principal));
        }
        Ok(())
    }

    /// Marks that the call is a change, which protects the connection from eviction. To be called with the whole body at
    /// hand: a half-sent change must not take the place of a whole one.
    pub(super) fn begin_change(&self) -> Result<(), LimitReached> {
        let mut table = self.limits.lock();
        let Some(Connection { identity: Identity::Authenticated(own), .. }) = table.open.get(&self.number) else {
            return Err(LimitReached::Connections);
        };
        let is_own =
            |connection: &&Connection| matches!(&connection.identity, Identity::Authenticated(name) if name == own);
        let changes = table.open.values().filter(is_own).filter(|connection| connection.work == Work::Change).count();
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
        let streams = || {
            table.open.values().filter_map(|connection| match &connection.identity {
                Identity::Streaming(name) => Some(name),
                Identity::Anonymous(_) | Identity::Authenticated(_) => None,
            })
        };
        if streams().filter(|name| *name == own).count() >= MAX_STREAMS_PER_PRINCIPAL {
            return Err(LimitReached::StreamsOfPrincipal);
        }
        if streams().count() >= MAX_STREAMS {
            return Err(LimitReached::Streams);
        }
        let own = Arc::clone(own);
        if let Some(connection) = table.open.get_mut(&self.number) {
            connection.identity = Identity::Streaming(own);
        }
        Ok(StreamSlot(Arc::clone(self)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Connection) -> T) -> Option<T> {
        self.limits.lock().open.get_mut(&self.number).map(look)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.limits.lock().open.remove(&self.number);
    }
}

/// A call in progress.
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
        self.0.with(|connection| {
            if let Identity::Streaming(name) = &connection.identity {
                connection.identity = Identity::Authenticated(Arc::clone(name));
            }
        });
    }
}
