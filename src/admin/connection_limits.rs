//! Who has a connection to the admin port, and who must leave when there are too many. Whoever comes gets a place: of
//! those that have shown no credential the oldest goes for it. Those that have shown one have places of their own, and
//! when these are full the principal with the most gives one up, so that nobody can keep anybody else out. Event streams
//! are counted apart. A connection whose change is under way never has to leave. It moves no bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Connections that have shown no credential.
const UNPROVEN: usize = 256;

/// Connections that have shown one, of all principals.
const PROVEN: usize = 256;

/// Changes that one principal may have under way; the first of them decides, the others mostly hear that it is busy.
const CHANGES_EACH: usize = 16;

/// Event streams, in all and of one principal.
const STREAMS: usize = 128;
const STREAMS_EACH: usize = 32;

/// With more connections than these a principal's calls, after the first of each connection, come at most once a
/// [`PACE`]: so one with hundreds takes no more of the thread than one with a few.
const FEW: usize = 16;
const PACE: Duration = Duration::from_millis(2);

/// All connections, by their number: the oldest first.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Tenant>,
    /// Whether it was logged that somebody had to leave: a flood is worth one line.
    is_told: bool,
}

#[derive(Debug)]
struct Tenant {
    standing: Standing,
    work: Work,
    /// Whether a call of it was answered already.
    is_served: bool,
    must_leave: Arc<Notify>,
}

/// What is known of whoever is connected: nothing, or the principal's name.
#[derive(Debug)]
enum Standing {
    Unproven,
    Proven(Arc<str>),
    Streaming(Arc<str>),
}

impl Standing {
    fn name(&self) -> Option<&str> {
        match self {
            Standing::Unproven => None,
            Standing::Proven(name) | Standing::Streaming(name) => Some(name),
        }
    }
}

/// What is being done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Nothing,
    Call,
    /// Its credential is being looked at, which for a password takes a while.
    Check,
    Change,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    /// All connections with a credential wait for changes, or this one has just lost its place.
    #[error("the admin API has as many connections as it takes ({PROVEN})")]
    Connections,
    #[error("this principal has {CHANGES_EACH} changes under way; wait until they have ended")]
    Changes,
    #[error("this principal follows {STREAMS_EACH} event streams; close one, or poll GET /mode")]
    StreamsOfPrincipal,
    #[error("{STREAMS} event streams are open, and that is all; poll GET /mode")]
    Streams,
}

impl Places {
    /// A place for a connection that has just come.
    pub(super) fn take(self: &Arc<Self>) -> Place {
        let must_leave = Arc::new(Notify::new());
        let mut table = self.lock();
        table.make_room_for_a_stranger();
        let number = table.next;
        table.next += 1;
        let tenant = Tenant {
            standing: Standing::Unproven,
            work: Work::Nothing,
            is_served: false,
            must_leave: Arc::clone(&must_leave),
        };
        table.open.insert(number, tenant);
        drop(table);
        Place { places: Arc::clone(self), number, must_leave }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room_for_a_stranger(&mut self) {
        let unproven = || self.open.iter().filter(|(_, tenant)| matches!(tenant.standing, Standing::Unproven));
        let count = unproven().count();
        if count < UNPROVEN {
            self.is_told &= count > UNPROVEN / 2;
            return;
        }
        // One whose password is being verified goes last; the limit of attempts keeps those few.
        let oldest = unproven().min_by_key(|(number, tenant)| (tenant.work == Work::Check, **number));
        let oldest = oldest.map(|(number, _)| *number);
        self.evict(oldest);
    }

    fn make_room_for(&mut self, principal: &str) -> Result<(), Full> {
        let proven = || {
            self.open.iter().filter_map(|(number, tenant)| match &tenant.standing {
                Standing::Proven(name) => Some((*number, &**name, tenant.work)),
                Standing::Unproven | Standing::Streaming(_) => None,
            })
        };
        if proven().count() < PROVEN {
            return Ok(());
        }
        let mut each = HashMap::from([(principal, 1usize)]);
        proven().for_each(|(_, name, _)| *each.entry(name).or_default() += 1);
        let leaving = proven().filter(|(_, _, work)| *work != Work::Change);
        let leaving = leaving.max_by_key(|(number, name, work)| {
            let has = each.get(name).copied().unwrap_or_default();
            (has, *name == principal, *work == Work::Nothing, std::cmp::Reverse(*number))
        });
        let number = leaving.map(|(number, _, _)| number).ok_or(Full::Connections)?;
        self.evict(Some(number));
        Ok(())
    }

    fn evict(&mut self, number: Option<u64>) {
        let Some(tenant) = number.and_then(|number| self.open.remove(&number)) else { return };
        tenant.must_leave.notify_one();
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!("the admin port has as many connections as it takes: the oldest leave for those that come");
        }
    }
}

/// The place of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    must_leave: Arc<Notify>,
}

impl Place {
    /// Waits until the place goes to somebody else. One may wait.
    pub(super) async fn is_lost(&self) {
        self.must_leave.notified().await;
    }

    /// Whether no credential was shown yet.
    pub(super) fn is_unproven(&self) -> bool {
        self.with(|tenant| matches!(tenant.standing, Standing::Unproven)).unwrap_or(false)
    }

    /// Marks that a call is being answered, until the result is dropped.
    pub(super) fn begin(&self) -> AtWork<'_> {
        self.with(|tenant| {
            tenant.work = Work::Call;
            tenant.is_served = true;
        });
        AtWork(self)
    }

    /// Marks that the credential is being looked at.
    pub(super) fn begin_check(&self) {
        self.with(|tenant| tenant.work = Work::Check);
    }

    /// The call goes on.
    pub(super) fn end_check(&self) {
        self.with(|tenant| tenant.work = Work::Call);
    }

    /// How long the next answer waits, so that others get theirs: nothing before the first one, and nothing for those who
    /// have few connections. Strangers count as one principal.
    pub(super) fn pause(&self) -> Duration {
        let table = self.places.lock();
        let Some(own) = table.open.get(&self.number).filter(|tenant| tenant.is_served) else { return Duration::ZERO };
        let is_own = |tenant: &&Tenant| tenant.standing.name() == own.standing.name();
        match table.open.values().filter(is_own).count() {
            0..=FEW => Duration::ZERO,
            many => PACE * u32::try_from(many).unwrap_or(u32::MAX),
        }
    }

    /// Notes whose credential was shown and accepted.
    pub(super) fn prove(&self, principal: &Arc<str>) -> Result<(), Full> {
        let mut table = self.places.lock();
        match table.open.get_mut(&self.number).map(|tenant| &mut tenant.standing) {
            None => return Err(Full::Connections),
            Some(Standing::Proven(name) | Standing::Streaming(name)) => {
                *name = Arc::clone(principal);
                return Ok(());
            }
            Some(Standing::Unproven) => {}
        }
        table.make_room_for(principal)?;
        if let Some(tenant) = table.open.get_mut(&self.number) {
            tenant.standing = Standing::Proven(Arc::clone(principal));
        }
        Ok(())
    }

    /// Marks that the call is a change, which must not be dropped.
    pub(super) fn begin_change(&self) -> Result<(), Full> {
        let mut table = self.places.lock();
        let Some(Tenant { standing: Standing::Proven(own), .. }) = table.open.get(&self.number) else {
            return Err(Full::Connections);
        };
        let is_own = |tenant: &&Tenant| matches!(&tenant.standing, Standing::Proven(name) if name == own);
        let changes = table.open.values().filter(is_own).filter(|tenant| tenant.work == Work::Change).count();
        if changes >= CHANGES_EACH {
            return Err(Full::Changes);
        }
        if let Some(tenant) = table.open.get_mut(&self.number) {
            tenant.work = Work::Change;
        }
        Ok(())
    }

    /// Moves over to the event streams.
    pub(super) fn begin_stream(self: &Arc<Self>) -> Result<StreamPlace, Full> {
        let mut table = self.places.lock();
        let Some(Tenant { standing: Standing::Proven(own), .. }) = table.open.get(&self.number) else {
            return Err(Full::Connections);
        };
        let streams = || {
            table.open.values().filter_map(|tenant| match &tenant.standing {
                Standing::Streaming(name) => Some(name),
                Standing::Unproven | Standing::Proven(_) => None,
            })
        };
        if streams().filter(|name| *name == own).count() >= STREAMS_EACH {
            return Err(Full::StreamsOfPrincipal);
        }
        if streams().count() >= STREAMS {
            return Err(Full::Streams);
        }
        let own = Arc::clone(own);
        if let Some(tenant) = table.open.get_mut(&self.number) {
            tenant.standing = Standing::Streaming(own);
        }
        Ok(StreamPlace(Arc::clone(self)))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Tenant) -> T) -> Option<T> {
        self.places.lock().open.get_mut(&self.number).map(look)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().open.remove(&self.number);
    }
}

/// While it is there, a call is being answered.
#[derive(Debug)]
pub(super) struct AtWork<'a>(&'a Place);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.with(|tenant| tenant.work = Work::Nothing);
    }
}

/// While it is there, the connection is an event stream.
#[derive(Debug)]
pub(super) struct StreamPlace(Arc<Place>);

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.0.with(|tenant| {
            if let Standing::Streaming(name) = &tenant.standing {
                tenant.standing = Standing::Proven(Arc::clone(name));
            }
        });
    }
}
