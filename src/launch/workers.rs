//! The threads of the data workers: their start, and a notice as soon as one of them ends. The work itself is in
//! `proxy::worker`.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::error::LaunchError;
use crate::access::Access;
use crate::config::Settings;
use crate::control::FleetLink;
use crate::control_handle::ControlHandle;
use crate::faults::{self, Part};
use crate::gate::{Gate, WorkerGate};
use crate::proxy::access_log::AccessLog;
use crate::proxy::class_limits::ClassLimits;
use crate::proxy::recorder::RequestRecorder;
use crate::proxy::worker::{self, ProxySettings, Shared, SocketOrigin, Stop, Worker};
use crate::reloads::Reloads;
use crate::telemetry::{LogFormat, Metrics, STDOUT};
use crate::transport::{Handover, ListeningSocket, TlsServer};

/// The parts that the workers and the admin port share.
pub(super) struct SharedParts {
    pub(super) gate: Arc<Gate>,
    pub(super) control_handle: ControlHandle,
    /// Of a member of a fleet.
    pub(super) fleet: Option<FleetLink>,
    pub(super) access: Arc<Access>,
    /// TLS of the admin port.
    pub(super) admin_tls: Option<Arc<TlsServer>>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) metrics: Arc<Metrics>,
    /// True once the gateway is shutting down.
    pub(super) stopping: watch::Receiver<bool>,
    /// The same for the workers, in stages.
    pub(super) stop: watch::Receiver<Stop>,
}

pub(super) struct Workers {
    ends: mpsc::UnboundedReceiver<WorkerEnd>,
    running: usize,
}

/// How a worker ended.
pub(super) struct WorkerEnd {
    /// Its thread's name.
    pub(super) name: String,
    /// `Ok` after a stop.
    pub(super) result: Result<(), String>,
}

impl Workers {
    pub(super) fn start(
        settings: &Settings,
        parts: &SharedParts,
        (listener, origin): (ListeningSocket, SocketOrigin),
    ) -> Result<Workers, LaunchError> {
        let workers = parts.gate.workers();
        if settings.access_log.is_some() {
            STDOUT.start(&std::io::stdout())?;
        }
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Shared {
            control_handle: parts.control_handle.clone(),
            access: Arc::clone(&parts.access),
            metrics: Arc::clone(&parts.metrics),
            class_limits: Arc::new(ClassLimits::new(&settings.class_limits)),
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            handovers: senders.into(),
            stop: parts.stop.clone(),
            origin,
        };
        let (sender, ends) = mpsc::unbounded_channel();
        for (index, handover) in receivers.into_iter().enumerate() {
            let name = format!("worker-{index}");
            let end = EndReporter { name: name.clone(), sender: sender.clone(), is_reported: false };
            let thread = WorkerThread {
                index,
                gate: Arc::clone(&parts.gate),
                settings: settings.proxy.clone(),
                access_log: settings.access_log,
                listener: listener.try_clone()?,
                handover,
                shared: shared.clone(),
            };
            std::thread::Builder::new().name(name).spawn(move || thread.run(end))?;
        }
        Ok(Workers { ends, running: workers })
    }

    /// Waits until a worker has ended; `None` when none is left.
    pub(super) async fn next_end(&mut self) -> Option<WorkerEnd> {
        if self.running == 0 {
            return None;
        }
        let end = self.ends.recv().await;
        self.running -= 1;
        end
    }
}

#[cfg(test)]
impl Workers {
    /// A worker in name only, which the test ends.
    pub(super) fn of_one() -> (Workers, mpsc::UnboundedSender<WorkerEnd>) {
        let (sender, ends) = mpsc::unbounded_channel();
        (Workers { ends, running: 1 }, sender)
    }
}

/// Reports the end of a worker, even when it unwinds.
struct EndReporter {
    name: String,
    sender: mpsc::UnboundedSender<WorkerEnd>,
    is_reported: bool,
}

impl EndReporter {
    fn report(&mut self, result: Result<(), String>) {
        self.is_reported = true;
        // Without a receiver, the process is ending anyway.
        let _ = self.sender.send(WorkerEnd { name: self.name.clone(), result });
    }
}

impl Drop for EndReporter {
    fn drop(&mut self) {
        if !self.is_reported {
            self.report(Err("it panicked".to_owned()));
        }
    }
}

/// Everything that the thread of a worker owns.
struct WorkerThread {
    index: usize,
    gate: Arc<Gate>,
    settings: ProxySettings,
    access_log: Option<LogFormat>,
    listener: ListeningSocket,
    handover: mpsc::UnboundedReceiver<Handover>,
    shared: Shared,
}

impl WorkerThread {
    fn run(self, end: EndReporter) {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        // Declared after the runtime, so that unwinding reports the end before it drops the runtime, which may block on name
        // resolution.
        let mut end = end;
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return end.report(Err(format!("it has no runtime: {error}"))),
        };
        // The worker gate stays on this thread: its counts have one writer.
        let gate: WorkerGate = self.gate.worker_gate(self.index);
        let result = runtime.block_on(async move {
            let (index, shared) = (self.index, self.shared);
            let access_log = self.access_log.map(AccessLog::new);
            let recorder = RequestRecorder { access_log, ..RequestRecorder::of(&shared.metrics, index) };
            let worker = Worker::new(index, gate, &self.settings, &shared, recorder);
            let work = worker::run(worker, self.listener, self.handover, Rc::new(self.settings), shared);
            faults::with(Part::Worker(index), Ok(()), work).await
        });
        // The remaining requests are dropped before the end is reported.
        runtime.shutdown_background();
        end.report(result.map_err(|error| error.to_string()));
    }
}
