//! One exchange with UCS, from admission to its end: it holds the permit, knows the current deadline, and can be given up. A
//! sweep over all exchanges of the worker enforces deadlines and cuts, so that no request needs a timer of its own. It moves
//! no bytes.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::gate::Permit;
use crate::policy::mode::Mode;
use crate::proxy::class_limits::ClassPermit;
pub(crate) use crate::proxy::upstream::client_task::ClientTask;
use crate::proxy::upstream::drain_watch::{ClientWait, FlipSeen, FlipUnderWay};
pub(crate) use crate::proxy::upstream::gave_up::GaveUp;
use crate::proxy::upstream::pace::Pace;
use crate::proxy::upstream::source::Source;

/// The interval of the sweep: the precision of every timeout of an exchange.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// From here on an exchange is reported with its age.
const LONG: Duration = Duration::from_secs(1);

/// The longest time between two sweeps that counts as waiting for a client: after a pause of the machine, bytes may be pending.
const LONGEST_LAPSE: Duration = Duration::from_secs(1);

/// The time in which the worker stood still between two sweeps, beyond [`LONGEST_LAPSE`]. It counts against no deadline: bytes may
/// have arrived meanwhile.
pub(crate) fn gap_between(before: Instant, now: Instant) -> Duration {
    let lapse = now.saturating_duration_since(before);
    if lapse > LONGEST_LAPSE { lapse } else { Duration::ZERO }
}

/// How long an exchange may wait for a client that reads nothing while other requests wait for its connection to UCS. It is less
/// when more requests wait than there are exchanges.
const READER_UNDER_PRESSURE: Duration = Duration::from_secs(1);

/// The permits of an admitted request, and its origin.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Counts it in flight.
    pub(crate) permit: Permit,
    /// Counts it in flight in its class, if that has a limit.
    pub(crate) class_permit: Option<ClassPermit>,
    pub(crate) source: Source,
}

/// The time limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExchangeTimeouts {
    /// From the last byte of the request to the first byte of the response.
    pub(crate) first_byte: Duration,
    /// Between two pieces of a body, in either direction.
    pub(crate) idle_body: Duration,
    /// The least average rate of a client in bytes per second, once the exchange has waited for it for `idle_body` in total;
    /// 0 for no limit.
    pub(crate) min_rate: u64,
    /// The total time that a flip's drain may wait for a client.
    pub(crate) drain_client: Duration,
}

/// The state of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadState {
    /// More is to come.
    Running,
    /// All of it was passed on.
    Done,
    /// The client sent bad framing, or disconnected.
    Broken,
    /// It is longer than the limit.
    TooLarge,
}

/// The event that the exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// A connection to UCS; the connect timeout applies.
    Connection,
    /// UCS, to receive the request or to respond.
    Response,
    /// The next piece of the request body.
    ClientBody,
    /// The next piece of the response body.
    UpstreamBody,
    /// The client, to read the response.
    ClientReading,
}

impl Waiting {
    fn is_for_client(self) -> bool {
        matches!(self, Waiting::ClientBody | Waiting::ClientReading)
    }
}

#[derive(Debug)]
pub(crate) struct Exchanges {
    slots: RefCell<Slots>,
    /// The worker's coarse clock: the time of the last sweep.
    now: Cell<Instant>,
    flip_seen: FlipSeen,
    timeouts: ExchangeTimeouts,
}

#[derive(Debug, Default)]
struct Slots {
    exchanges: Vec<Option<Weak<Exchange>>>,
    free: Vec<usize>,
}

/// One exchange. Dropping it before [`finish`](Self::finish) abandons what was sent.
#[derive(Debug)]
pub(crate) struct Exchange {
    permit: RefCell<Option<Permit>>,
    /// The permit of its class, if that has a limit; kept as long as the gate's permit.
    class_permit: RefCell<Option<ClassPermit>>,
    /// Whether a byte may have reached UCS: from then on, an early end abandons the request.
    sent: Cell<bool>,
    waiting: Cell<Waiting>,
    began: Instant,
    progress: Cell<Instant>,
    pace: Cell<Pace>,
    /// Whether it waits for the next piece of the request body, besides `waiting`.
    awaits_body: Cell<bool>,
    /// The time that it has waited for its client during a flip.
    client_wait: ClientWait,
    gave_up: Cell<Option<GaveUp>>,
    upload: Cell<UploadState>,
    /// Whether the response has begun: then it can only be truncated, by closing the client's connection.
    responded: Cell<bool>,
    /// The task that moves its bytes, to be woken when the exchange is given up.
    mover: RefCell<Option<Waker>>,
    client: Option<ClientTask>,
    source: Source,
    all: Rc<Exchanges>,
    slot: usize,
}

impl Exchanges {
    /// No exchanges yet.
    pub(crate) fn new(timeouts: ExchangeTimeouts) -> Rc<Exchanges> {
        Rc::new(Exchanges {
            slots: RefCell::default(),
            now: Cell::new(Instant::now()),
            flip_seen: FlipSeen::none(),
            timeouts,
        })
    }

    /// Begins an exchange. `client` is the task of the client's connection: it is aborted if the exchange is given up after its
    /// response has begun.
    pub(crate) fn begin(self: &Rc<Self>, admission: Admission, client: Option<ClientTask>) -> Rc<Exchange> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or(slots.exchanges.len());
        let exchange = Rc::new(Exchange {
            permit: RefCell::new(Some(admission.permit)),
            class_permit: RefCell::new(admission.class_permit),
            sent: Cell::new(false),
            waiting: Cell::new(Waiting::Connection),
            began: self.now.get(),
            progress: Cell::new(self.now.get()),
            pace: Cell::default(),
            awaits_body: Cell::new(false),
            client_wait: ClientWait::default(),
            gave_up: Cell::new(None),
            upload: Cell::new(UploadState::Done),
            responded: Cell::new(false),
            mover: RefCell::new(None),
            client,
            source: admission.source,
            all: Rc::clone(self),
            slot,
        });
        let known = Some(Rc::downgrade(&exchange));
        match slots.exchanges.get_mut(slot) {
            Some(free) => *free = known,
            None => slots.exchanges.push(known),
        }
        exchange
    }

    /// The longest silence within a body.
    pub(crate) fn idle_body(&self) -> Duration {
        self.timeouts.idle_body
    }

    /// Whether none is under way.
    pub(crate) fn is_empty(&self) -> bool {
        let slots = self.slots.borrow();
        slots.exchanges.len() == slots.free.len()
    }

    /// Gives up the exchanges that are past their deadline, those whose client has blocked a flip for too long, during a cut
    /// those that it concerns, and, while `queued` requests wait for a connection, as many whose client reads nothing.
    pub(crate) fn sweep(&self, cut: Option<Mode>, flip: Option<FlipUnderWay>, queued: usize) {
        let before = self.now.replace(Instant::now());
        let gap = gap_between(before, self.now.get());
        let flip = flip.filter(|flip| self.flip_seen.is_draining(flip, self.now.get()));
        let lapse = self.now.get().saturating_duration_since(before).min(LONGEST_LAPSE);
        let late: Vec<(Rc<Exchange>, GaveUp)> = {
            let slots = self.slots.borrow();
            let running = slots.exchanges.iter().flatten().filter_map(Weak::upgrade);
            let others = (slots.exchanges.len() - slots.free.len()).saturating_sub(queued);
            let patience = READER_UNDER_PRESSURE / (1 + queued / others.max(1)) as u32;
            let mut wanted = queued;
            let mut due = |exchange: &Exchange| {
                exchange.progress.set(exchange.progress.get() + gap);
                let blocks = flip.is_some_and(|flip| self.blocks(exchange, flip, lapse));
                let why = self.due(exchange, cut).or(blocks.then_some(GaveUp::DrainClient));
                let yields = why.is_none() && wanted > 0 && self.is_unread(exchange, patience);
                wanted -= usize::from(yields);
                why.or(yields.then_some(GaveUp::ClientReading))
            };
            running.filter_map(|exchange| due(&exchange).map(|why| (exchange, why))).collect()
        };
        // After the borrow: an abort may drop tasks that hold exchanges.
        for (exchange, why) in late {
            exchange.give_up(why);
        }
    }

    /// The operations that run for longer than [`LONG`], each with the time since when.
    pub(crate) fn long_running(&self) -> Vec<(Arc<str>, Instant)> {
        let slots = self.slots.borrow();
        let running = slots.exchanges.iter().flatten().filter_map(Weak::upgrade);
        let long = running.filter(|exchange| self.now.get().saturating_duration_since(exchange.began) > LONG);
        long.filter_map(|exchange| Some((exchange.permit.borrow().as_ref()?.operation(), exchange.began))).collect()
    }

    fn due(&self, exchange: &Exchange, cut: Option<Mode>) -> Option<GaveUp> {
        // Once more, in case the owner of the connection was not woken.
        if let Some(why) = exchange.gave_up.get() {
            return Some(why);
        }
        if cut.is_some_and(|mode| exchange.is_cut_by(mode)) {
            return Some(GaveUp::Cut);
        }
        let (limit, why) = match exchange.waiting.get() {
            Waiting::Connection => return None,
            Waiting::Response => (self.timeouts.first_byte, GaveUp::FirstByte),
            Waiting::ClientBody => (self.timeouts.idle_body, GaveUp::ClientBody),
            Waiting::UpstreamBody => (self.timeouts.idle_body, GaveUp::UpstreamBody),
            Waiting::ClientReading => (self.timeouts.idle_body, GaveUp::ClientReading),
        };
        let waited = self.waited(exchange);
        if waited.min(self.unread(exchange)) > limit {
            return Some(why);
        }
        self.is_too_slow(exchange, waited).then_some(GaveUp::ClientPace)
    }

    /// Whether a flip has waited for the exchange's client for too long in total.
    fn blocks(&self, exchange: &Exchange, flip: FlipUnderWay, lapse: Duration) -> bool {
        if !exchange.is_cut_by(flip.leaving) {
            return false;
        }
        let waits = exchange.waiting.get().is_for_client() || exchange.awaits_body.get();
        exchange.client_wait.count(&flip, lapse, waits) > flip.client_limit(self.timeouts.drain_client)
    }

    /// Whether its client has read nothing of a response for so long.
    fn is_unread(&self, exchange: &Exchange, patience: Duration) -> bool {
        exchange.waiting.get() == Waiting::ClientReading && self.waited(exchange) > patience
    }

    /// The time since the client was last seen to read, if the exchange waits for that.
    fn unread(&self, exchange: &Exchange) -> Duration {
        let read = exchange.client.as_ref().and_then(ClientTask::last_read);
        let read = read.filter(|_| exchange.waiting.get() == Waiting::ClientReading);
        read.map_or(Duration::MAX, |read| self.now.get().saturating_duration_since(read))
    }

    /// The time since the last progress.
    fn waited(&self, exchange: &Exchange) -> Duration {
        self.now.get().saturating_duration_since(exchange.progress.get())
    }

    fn is_too_slow(&self, exchange: &Exchange, waited: Duration) -> bool {
        if !exchange.waiting.get().is_for_client() {
            return false;
        }
        let pace = exchange.pace.get().plus_wait(waited);
        pace.waited > self.timeouts.idle_body && pace.is_below(self.timeouts.min_rate)
    }
}

impl Exchange {
    /// The request is about to be sent: from now on, bytes may have reached UCS.
    pub(crate) fn sent(&self) {
        self.sent.set(true);
        self.wait(Waiting::Response);
    }

    /// No byte of the request was processed: it may be sent on another connection.
    pub(crate) fn was_not_sent(&self) {
        self.sent.set(false);
        self.wait(Waiting::Connection);
    }

    /// Registers the task that waits for bytes of this exchange, to be woken when it is given up.
    pub(crate) fn wake_when_given_up(&self, context: &Context<'_>) {
        let mut mover = self.mover.borrow_mut();
        match &mut *mover {
            Some(waker) => waker.clone_from(context.waker()),
            None => *mover = Some(context.waker().clone()),
        }
    }

    /// The head of the response has arrived; the exchange waits for the next piece of its body.
    pub(crate) fn response_began(&self) {
        self.responded.set(true);
        self.wait(Waiting::UpstreamBody);
        // A fast upload must not compensate for slow reading.
        self.pace.set(Pace::default());
    }

    /// The exchange waits for the next piece of the request body.
    pub(crate) fn wait_for_client_body(&self) {
        self.awaits_body.set(true);
        if self.waiting.get() != Waiting::ClientBody {
            self.wait(Waiting::ClientBody);
        }
    }

    /// A piece of the request body arrived, or its end: now the exchange waits for UCS.
    pub(crate) fn client_body_arrived(&self) {
        self.awaits_body.set(false);
        // If UCS has begun to respond before it has the whole request, its response must make progress like any other.
        self.wait(if self.responded.get() { Waiting::UpstreamBody } else { Waiting::Response });
    }

    /// The request body is not read any further, whether complete or not.
    pub(crate) fn awaits_no_body(&self) {
        self.awaits_body.set(false);
    }

    /// The exchange waits for the next piece of the response body.
    pub(crate) fn wait_for_upstream_body(&self) {
        if self.waiting.get() != Waiting::UpstreamBody {
            self.wait(Waiting::UpstreamBody);
        }
    }

    /// The client is to read the response before it gets more: a piece was handed to its connection, or that takes no more.
    pub(crate) fn wait_for_client_reading(&self) {
        self.wait(Waiting::ClientReading);
    }

    pub(crate) fn is_waiting_for_client_reading(&self) -> bool {
        self.waiting.get() == Waiting::ClientReading
    }

    /// Counts bytes of a body that came from the client, or were handed to it.
    pub(crate) fn client_moved(&self, bytes: usize) {
        self.pace.set(self.pace.get().plus_bytes(bytes));
    }

    /// The reason why the gateway gave up, if it did.
    pub(crate) fn gave_up(&self) -> Option<GaveUp> {
        self.gave_up.get()
    }

    /// The origin of the request.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// For how long its client had read nothing, if it was given up for that.
    pub(crate) fn unread_for(&self) -> Option<Duration> {
        let is_unread = self.gave_up.get() == Some(GaveUp::ClientReading);
        is_unread.then(|| self.all.waited(self))
    }

    /// The state of the request body; `Done` if there is none.
    pub(crate) fn upload(&self) -> UploadState {
        self.upload.get()
    }

    /// Sets the state of the request body.
    pub(crate) fn set_upload(&self, state: UploadState) {
        self.upload.set(state);
    }

    /// Completes the exchange: the response was received in full, so the permit is dropped. After any other end, UCS may still be
    /// working on the request.
    pub(crate) fn finish(&self) {
        // Given up at the same moment: it counts as abandoned.
        if self.gave_up.get().is_none() {
            self.sent.set(false);
        }
        self.release();
    }

    fn is_cut_by(&self, mode: Mode) -> bool {
        self.permit.borrow().as_ref().is_some_and(|permit| permit.is_cut_by(mode))
    }

    /// Wakes the owner of the connection to UCS, which resets it and drops the permit: a drain must not end before that. If the
    /// exchange is given up a second time, the permit is released here.
    pub(crate) fn give_up(&self, why: GaveUp) {
        if self.gave_up.replace(Some(why)).is_some() {
            return self.release();
        }
        if let Some(mover) = self.mover.borrow_mut().take() {
            mover.wake();
        }
        // Whatever the exchange waits for: if the client does not read, the task of its connection, which owns the one to UCS,
        // is not polled, and may still be sending a request body.
        if self.responded.get() {
            self.client.iter().for_each(ClientTask::abort);
        }
    }

    /// Releases the permits; the request counts as abandoned if UCS may still be working on it.
    fn release(&self) {
        let Some(permit) = self.permit.take() else { return };
        if self.sent.get() {
            permit.abandon()
        } else {
            drop(permit)
        }
        drop(self.class_permit.take());
    }

    fn wait(&self, waiting: Waiting) {
        if self.waiting.get().is_for_client() {
            self.pace.set(self.pace.get().plus_wait(self.all.waited(self)));
        }
        self.waiting.set(waiting);
        self.progress.set(self.all.now.get());
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.release();
        let mut slots = self.all.slots.borrow_mut();
        slots.exchanges[self.slot] = None;
        slots.free.push(self.slot);
    }
}
