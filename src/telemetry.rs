//! What operators can see without asking: structured logs and metrics. It decides nothing; recording is a plain store
//! into the recording worker's own memory.

mod exposition;
mod metrics;
mod process;

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use metrics::{Metrics, Outcome, UpstreamFault, WorkerMetrics};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people, coloured on a terminal.
    Human,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level or filter is not understood.
    #[error("log level \"{level}\": {source}; write error, warn, info, debug or trace")]
    Level {
        /// As given.
        level: String,
        /// The parser's word.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was started before in this process.
    #[error("logging is started already: {0}")]
    Started(#[from] TryInitError),
}

/// Starts logging to standard error. `level` is a level, or a filter such as `info,ucs_gateway::proxy=debug`.
pub fn init_logs(format: LogFormat, level: &str) -> Result<(), LogError> {
    let filter =
        EnvFilter::builder().parse(level).map_err(|source| LogError::Level { level: level.to_owned(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
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
    Ok(())
}
