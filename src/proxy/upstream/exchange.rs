//! One exchange with UCS, from admission to its end: who holds the permit, which deadline counts now, and how it is
//! given up. A sweep over all exchanges of the worker enforces deadlines and cuts, so that no request needs a timer of
//! its own. It moves no bytes.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::gate::Permit;
use crate::policy::mode::Mode;
use crate::proxy::class_limits::ClassPermit;
use crate::proxy::upstream::drain_watch::{ClientWait, FlipSeen, FlipUnderWay};

/// How often deadlines are looked at: the precision of every timeout of an exchange.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Between two sweeps no more than this counts as waiting for a client: after a pause of the machine its bytes may be there.
const LONGEST_LAPSE: Duration = Duration::from_secs(1);

/// How long each part of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeTimeouts {
    /// From the last byte of the request to the first byte of the answer.
    pub first_byte: Duration,
    /// Between two pieces of a body, whoever is waited for.
    pub idle_body: Duration,
    /// Bytes a second that a client must keep on average, once it was waited for as long as `idle_body` in sum; 0 for
    /// no such rule.
    pub min_rate: u64,
    /// How long a flip's drain may wait for a client, in sum.
    pub drain_client: Duration,
}

/// Why the gateway gave up on an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GaveUp {
    /// UCS did not begin to answer in time.
    FirstByte,
    /// UCS stopped in the middle of its answer.
    UpstreamBody,
    /// The client stopped in the middle of its request.
    ClientBody,
    /// The client stopped reading the answer.
    ClientReading,
    /// The client sends or reads a body too slowly, without ever stopping.
    ClientPace,
    /// A flip's drain waited for the client for too long.
    DrainClient,
    /// A flip cut it off at its deadline.
    Cut,
}

/// What became of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadState {
    /// More is to come.
    Running,
    /// All of it was handed over.
    Done,
    /// The client's side failed: bad framing, or gone.
    Broken,
    /// It is longer than the limit.
    TooLarge,
}

/// Whom the exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// For a connection to UCS; the connect timeout rules.
    Connection,
    /// For UCS to take the request or to answer.
    Answer,
    /// For the next piece of the request's body.
    ClientBody,
    /// For the next piece of the answer's body.
    UpstreamBody,
    /// For the client to read the answer.
    ClientReading,
}

impl Waiting {
    fn is_for_client(self) -> bool {
        matches!(self, Waiting::ClientBody | Waiting::ClientReading)
    }
}

/// The task that serves a client's connection.
#[derive(Clone, Debug, Default)]
pub struct ClientTask(Rc<OnceCell<AbortHandle>>);

impl ClientTask {
    /// Set once, as soon as the task runs.
    pub fn set(&self, task: AbortHandle) {
        self.0.get_or_init(|| task);
    }

    /// Ends the connection at once.
    pub fn abort(&self) {
        self.0.get().inspect(|task| task.abort());
    }
}

/// All exchanges of one worker.
#[derive(Debug)]
pub struct Exchanges {
    slots: RefCell<Slots>,
    /// The worker's coarse clock: as old as the last sweep, and free to read.
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
pub struct Exchange {
    permit: RefCell<Option<Permit>>,
    /// Its place in its class, when that has a limit: kept as long as the permit.
    place: RefCell<Option<ClassPermit>>,
    /// Whether a byte may have reached UCS: from then on its early end is an abandonment.
    sent: Cell<bool>,
    waiting: Cell<Waiting>,
    progress: Cell<Instant>,
    pace: Cell<Pace>,
    /// Whether the next piece of the request's body is waited for, whatever else is.
    awaits_body: Cell<bool>,
    /// How long it has waited for its client since a flip began.
    client_wait: ClientWait,
    gave_up: Cell<Option<GaveUp>>,
    upload: Cell<UploadState>,
    /// Whether the head of the answer is out: then the rest can only be cut short, by ending the client's connection.
    answered: Cell<bool>,
    /// Who moves its bytes at the moment, and must hear of an end.
    mover: RefCell<Option<Waker>>,
    client: Option<ClientTask>,
    all: Rc<Exchanges>,
    slot: usize,
}

/// What the client's part in a body took so far: the time that it was waited for, and the bytes that came of it.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    waited: Duration,
    moved: u64,
}

impl Exchanges {
    /// None yet.
    pub fn new(timeouts: ExchangeTimeouts) -> Rc<Exchanges> {
        Rc::new(Exchanges {
            slots: RefCell::default(),
            now: Cell::new(Instant::now()),
            flip_seen: FlipSeen::none(),
            timeouts,
        })
    }

    /// Begins one. `client` is the task of the client's connection, which ends when the client stops reading.
    pub fn begin(
        self: &Rc<Self>,
        permit: Permit,
        place: Option<ClassPermit>,
        client: Option<ClientTask>,
    ) -> Rc<Exchange> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.free.pop().unwrap_or(slots.exchanges.len());
        let exchange = Rc::new(Exchange {
            permit: RefCell::new(Some(permit)),
            place: RefCell::new(place),
            sent: Cell::new(false),
            waiting: Cell::new(Waiting::Connection),
            progress: Cell::new(self.now.get()),
            pace: Cell::default(),
            awaits_body: Cell::new(false),
            client_wait: ClientWait::default(),
            gave_up: Cell::new(None),
            upload: Cell::new(UploadState::Done),
            answered: Cell::new(false),
            mover: RefCell::new(None),
            client,
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
    pub fn idle_body(&self) -> Duration {
        self.timeouts.idle_body
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        let slots = self.slots.borrow();
        slots.exchanges.len() == slots.free.len()
    }

    /// Gives up on all whose deadline has passed, on those whose client a flip waits for too long and, while a cut is on, on
    /// all that it means.
    pub fn sweep(&self, cut: Option<Mode>, flip: Option<FlipUnderWay>) {
        let before = self.now.replace(Instant::now());
        let flip = flip.filter(|flip| self.flip_seen.is_draining(flip, self.now.get()));
        let lapse = self.now.get().saturating_duration_since(before).min(LONGEST_LAPSE);
        let late: Vec<(Rc<Exchange>, GaveUp)> = {
            let slots = self.slots.borrow();
            let running = slots.exchanges.iter().flatten().filter_map(Weak::upgrade);
            let due = |exchange: &Exchange| {
                let blocks = flip.is_some_and(|flip| self.blocks(exchange, flip, lapse));
                self.due(exchange, cut).or(blocks.then_some(GaveUp::DrainClient))
            };
            running.filter_map(|exchange| due(&exchange).map(|why| (exchange, why))).collect()
        };
        // Outside the borrow: an abort may drop tasks that hold exchanges of their own.
        for (exchange, why) in late {
            exchange.give_up(why);
        }
    }

    fn due(&self, exchange: &Exchange, cut: Option<Mode>) -> Option<GaveUp> {
        // Once more, if whoever holds its connection did not hear of it.
        if let Some(why) = exchange.gave_up.get() {
            return Some(why);
        }
        if cut.is_some_and(|mode| exchange.is_cut_by(mode)) {
            return Some(GaveUp::Cut);
        }
        let (limit, why) = match exchange.waiting.get() {
            Waiting::Connection => return None,
            Waiting::Answer => (self.timeouts.first_byte, GaveUp::FirstByte),
            Waiting::ClientBody => (self.timeouts.idle_body, GaveUp::ClientBody),
            Waiting::UpstreamBody => (self.timeouts.idle_body, GaveUp::UpstreamBody),
            Waiting::ClientReading => (self.timeouts.idle_body, GaveUp::ClientReading),
        };
        let waited = self.waited(exchange);
        if waited > limit { Some(why) } else { self.is_too_slow(exchange, waited).then_some(GaveUp::ClientPace) }
    }

    /// Whether a flip has waited for the exchange's client for too long, in sum.
    fn blocks(&self, exchange: &Exchange, flip: FlipUnderWay, lapse: Duration) -> bool {
        if !exchange.is_cut_by(flip.leaving) {
            return false;
        }
        let waits = exchange.waiting.get().is_for_client() || exchange.awaits_body.get();
        exchange.client_wait.count(&flip, lapse, waits) > flip.client_limit(self.timeouts.drain_client)
    }

    /// How long what is waited for now has been waited for.
    fn waited(&self, exchange: &Exchange) -> Duration {
        self.now.get().saturating_duration_since(exchange.progress.get())
    }

    fn is_too_slow(&self, exchange: &Exchange, waited: Duration) -> bool {
        if !exchange.waiting.get().is_for_client() {
            return false;
        }
        let Pace { waited: before, moved } = exchange.pace.get();
        let waited = before + waited;
        waited > self.timeouts.idle_body && (moved as f64) < self.timeouts.min_rate as f64 * waited.as_secs_f64()
    }
}

impl Exchange {
    /// A connection was found: from now on UCS may have been reached.
    pub fn sent(&self) {
        self.sent.set(true);
        self.wait(Waiting::Answer);
    }

    /// The connection took nothing of the request: it may be sent on another one.
    pub fn was_not_sent(&self) {
        self.sent.set(false);
        self.wait(Waiting::Connection);
    }

    /// Whoever waits for bytes of this exchange asks to be woken when it is given up.
    pub fn wake_when_given_up(&self, context: &Context<'_>) {
        let mut mover = self.mover.borrow_mut();
        match &mut *mover {
            Some(waker) => waker.clone_from(context.waker()),
            None => *mover = Some(context.waker().clone()),
        }
    }

    /// The head of the answer has come, and the next piece of its body is waited for.
    pub fn answer_began(&self) {
        self.answered.set(true);
        self.wait(Waiting::UpstreamBody);
        // A quick upload is no credit for slow reading.
        self.pace.set(Pace::default());
    }

    /// The next piece of the request's body is waited for.
    pub fn wait_for_client_body(&self) {
        self.awaits_body.set(true);
        if self.waiting.get() != Waiting::ClientBody {
            self.wait(Waiting::ClientBody);
        }
    }

    /// A piece of the request's body came, or its end. UCS is waited for: to take what it was given, or to begin its answer.
    pub fn client_body_came(&self) {
        self.awaits_body.set(false);
        // One that answers before it has all of the request may be silent no longer than any other that has begun.
        self.wait(if self.answered.get() { Waiting::UpstreamBody } else { Waiting::Answer });
    }

    /// Nobody takes more of the request's body, whether it is over or not.
    pub fn awaits_no_body(&self) {
        self.awaits_body.set(false);
    }

    /// The next piece of the answer's body is waited for.
    pub fn wait_for_upstream_body(&self) {
        if self.waiting.get() != Waiting::UpstreamBody {
            self.wait(Waiting::UpstreamBody);
        }
    }

    /// A piece of the answer was handed to the client's connection.
    pub fn wait_for_client_reading(&self) {
        self.wait(Waiting::ClientReading);
    }

    /// So many bytes of a body came from the client, or were handed to it.
    pub fn client_moved(&self, bytes: usize) {
        let pace = self.pace.get();
        self.pace.set(Pace { moved: pace.moved + bytes as u64, ..pace });
    }

    /// Why the gateway gave up, when it did.
    pub fn gave_up(&self) -> Option<GaveUp> {
        self.gave_up.get()
    }

    /// What became of the request's body; `Done` when there is none.
    pub fn upload(&self) -> UploadState {
        self.upload.get()
    }

    /// Something became of the request's body.
    pub fn set_upload(&self, state: UploadState) {
        self.upload.set(state);
    }

    /// UCS has answered in full: the permit is dropped. Any other end is none that the gateway can see.
    pub fn finish(&self) {
        // Given up at the same moment: that was said already.
        if self.gave_up.get().is_none() {
            self.sent.set(false);
        }
        self.release();
    }

    fn is_cut_by(&self, mode: Mode) -> bool {
        self.permit.borrow().as_ref().is_some_and(|permit| permit.is_cut_by(mode))
    }

    /// The permit goes with the connection to UCS, which whoever holds it resets: a drain must not be over before that. One
    /// that is given up a second time is counted out here.
    fn give_up(&self, why: GaveUp) {
        if self.gave_up.replace(Some(why)).is_some() {
            return self.release();
        }
        if let Some(mover) = self.mover.borrow_mut().take() {
            mover.wake();
        }
        // Whatever is waited for: a client that does not read keeps its connection's task, which holds the one to UCS,
        // from being polled, and may still be sending a body that goes up.
        if self.answered.get() {
            self.client.iter().for_each(ClientTask::abort);
        }
    }

    /// Counts it out: as abandoned when UCS may still be at it.
    fn release(&self) {
        let Some(permit) = self.permit.take() else { return };
        if self.sent.get() {
            permit.abandon()
        } else {
            drop(permit)
        }
        drop(self.place.take());
    }

    fn wait(&self, waiting: Waiting) {
        if self.waiting.get().is_for_client() {
            let pace = self.pace.get();
            self.pace.set(Pace { waited: pace.waited + self.all.waited(self), ..pace });
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
