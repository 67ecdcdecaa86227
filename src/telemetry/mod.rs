//! Logs and metrics. Recording a metric is a plain store into the recording worker's own memory, and a log line is a copy
//! into a queue. It uses no other part of the gateway.

mod control;
mod exposition;
mod gate;
mod heartbeat;
mod lines;
mod metrics;
mod process;
mod request_counts;
pub(crate) mod trace_context;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use control::ControlStats;
pub use gate::GateSample;
pub(crate) use gate::{FleetSample, RecordSample};
pub(crate) use heartbeat::Heartbeat;
pub(crate) use lines::{STDERR, STDOUT};
pub use metrics::Metrics;
pub(crate) use metrics::{Handshake, Outcome, UpstreamFault, WorkerMetrics};
pub(crate) use request_counts::RequestCounts;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Human-readable, in colour on a terminal.
    Human,
}

impl LogFormat {
    /// Every value with its name and meaning.
    pub(crate) const NAMES: &[(LogFormat, &str, &str)] =
        &[(LogFormat::Json, "json", "For machines: one JSON object a line"), (LogFormat::Human, "human", "For people")];
}

/// The reason why logging could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// The level or filter is invalid.
    #[error("log level \"{level}\": {source}; write error, warn, info, debug or trace")]
    Level { level: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging has already started: {0}")]
    Started(#[from] TryInitError),
}

/// Starts logging to standard error through [`STDERR`], whose thread the caller starts. `level` is a level, or a filter such
/// as `info,ucs_gateway::proxy=debug`.
pub(crate) fn init_logs(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter =
        EnvFilter::builder().parse(level).map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    // Internal errors would bypass the queue, through a macro that panics if printing fails.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Queued).log_internal_errors(false);
    match format {
        LogFormat::Json => {
            let json = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            json.finish().try_init()?;
        }
        LogFormat::Human => {
            let colours = io::IsTerminal::is_terminal(&io::stderr());
            lines.with_ansi(colours).with_target(false).finish().try_init()?;
        }
    }
    log_panics();
    Ok(())
}

/// Logs panics: the standard library's own report would block on the reader of standard error.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let detail = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(thread, place, detail, backtrace, "a panic");
    }));
}

/// A writer into the queue.
struct Queued;

impl Write for Queued {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        STDERR.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
