//! The command queue while control is busy: it rejects commands that arrive during a flip, keeps those that arrive during
//! shorter work, and holds the one command that cancels the flip. It changes nothing itself.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::control_handle::{ChangeError, Command, CommandReceiver, Flipped, ReloadError};
use crate::gate::Gate;
use crate::policy::mode::{self, Change, Mode, ModeChange, Phase, Refusal, SchemaKnowledge};

/// Where the result of a requested change goes.
pub(super) type ChangeReply = oneshot::Sender<Result<Flipped, ChangeError>>;

/// See the module.
pub(super) struct Clerk {
    gate: Arc<Gate>,
    inbox: CommandReceiver,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send>>,
    stopped: bool,
    /// A change back to the mode that the running flip leaves; one that comes too late is carried out after the flip.
    cancel: Option<(ModeChange, ChangeReply)>,
    /// Commands that arrived while control was busy without a flip: with a probe, a save or a reload. These are short, so
    /// the commands wait instead of being rejected as busy.
    waiting: VecDeque<Command>,
}

/// The interruptions that end a wait early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The gateway stops.
    Stopped,
    /// The gateway stops, or the flip is cancelled.
    Cancelled,
}

/// The interruption that ended a wait early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// The gateway stops.
    Stopped,
    /// The flip is cancelled.
    Cancelled,
}

impl Clerk {
    pub(super) fn new(gate: Arc<Gate>, inbox: CommandReceiver) -> Clerk {
        Clerk {
            gate,
            inbox,
            shutdown: Box::pin(std::future::pending()),
            stopped: false,
            cancel: None,
            waiting: VecDeque::new(),
        }
    }

    /// From now on `shutdown` stops the gateway.
    pub(super) fn stop_on(&mut self, shutdown: impl Future<Output = ()> + Send + 'static) {
        self.shutdown = Box::pin(shutdown);
    }

    /// The next command for an idle control; `None` to stop.
    pub(super) async fn next(&mut self) -> Option<Command> {
        if self.stopped {
            return None;
        }
        if let Some((change, reply)) = self.cancel.take() {
            return Some(Command::SetMode(change, reply));
        }
        if let Some(command) = self.waiting.pop_front() {
            return Some(command);
        }
        tokio::select! {
            biased;
            () = self.shutdown.as_mut() => { self.stopped = true; None }
            command = receive(&mut self.inbox.commands) => Some(command),
        }
    }

    /// Waits for `work`, handling commands meanwhile.
    pub(super) async fn serve<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        self.handle_waiting();
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                command = receive(&mut self.inbox.commands) => self.handle_meanwhile(command),
            }
        }
    }

    /// Waits for `work`, handling commands meanwhile, and drops it if an interruption comes first.
    pub(super) async fn serve_until<T>(&mut self, until: Until, work: impl Future<Output = T>) -> Result<T, Interrupt> {
        let mut work = pin!(work);
        self.handle_waiting();
        loop {
            self.interrupt(until).map_or(Ok(()), Err)?;
            tokio::select! {
                biased;
                () = self.shutdown.as_mut(), if !self.stopped => self.stopped = true,
                done = &mut work => return Ok(done),
                command = receive(&mut self.inbox.commands) => self.handle_meanwhile(command),
            }
        }
    }

    /// The interruption that has already occurred.
    pub(super) fn interrupt(&self, until: Until) -> Option<Interrupt> {
        match until {
            Until::Stopped | Until::Cancelled if self.stopped => Some(Interrupt::Stopped),
            Until::Cancelled if self.cancel.is_some() => Some(Interrupt::Cancelled),
            Until::Stopped | Until::Cancelled => None,
        }
    }

    /// The change that cancels the running flip.
    pub(super) fn take_cancel(&mut self) -> Option<(ModeChange, ChangeReply)> {
        self.cancel.take()
    }

    /// Handles the commands that arrived before the flip as if they arrived now.
    fn handle_waiting(&mut self) {
        for command in std::mem::take(&mut self.waiting) {
            self.handle_meanwhile(command);
        }
    }

    fn handle_meanwhile(&mut self, command: Command) {
        if !self.is_flipping() {
            return self.waiting.push_back(command);
        }
        match command {
            // Both single modes are closed until the flip ends; then this comes first.
            Command::SetLocal(..) => self.waiting.push_back(command),
            Command::Reload(reply) => drop(reply.send(Err(ReloadError::Busy))),
            Command::SetMode(change, reply) => match self.rejection_of(&change) {
                Some(refusal) => drop(reply.send(Err(refusal))),
                None => self.cancel = Some((change, reply)),
            },
        }
    }

    fn is_flipping(&self) -> bool {
        self.gate.published().record.as_ref().is_some_and(|record| record.phase == Phase::Switching)
    }

    /// The reason to reject a change now; `None` if it cancels the running flip.
    fn rejection_of(&self, change: &ModeChange) -> Option<ChangeError> {
        let published = self.gate.published();
        let record = published.record.clone()?;
        if self.cancel.is_some() {
            return Some(ChangeError::Busy(record));
        }
        let no_schema = published.schema == SchemaKnowledge::Undefined && !change.force;
        match mode::apply(&record, &Change::Set(change.clone()), Timestamp::now()) {
            Ok(_) if change.mode == Mode::Production && no_schema => Some(ChangeError::NoSchema(record)),
            Ok(_) => None,
            Err(Refusal::Stale) => Some(ChangeError::Stale(record)),
            Err(Refusal::Busy | Refusal::NotSwitching | Refusal::NotDue) => Some(ChangeError::Busy(record)),
        }
    }
}

/// The next command; pending forever once every control handle is dropped.
async fn receive(commands: &mut mpsc::Receiver<Command>) -> Command {
    match commands.recv().await {
        Some(command) => command,
        None => std::future::pending().await,
    }
}
