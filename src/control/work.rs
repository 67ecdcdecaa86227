//! The work of a flip's steps: its reports, and the state that control keeps of it.

use tokio::time::Instant;

use crate::control::drain::AbandonedSoFar;
use crate::control::ucs::link::{Reading, SetModeOutcome};
use crate::control::ucs::schema::{Look, ProbeContext};
use crate::control_handle::FlipReport;
use crate::policy::mode::ModeRecord;

/// The flip under way, or the last one, beside its state.
#[derive(Default)]
pub(super) struct FlipFacts {
    /// Its switching record, once that is durable.
    pub switching: Option<ModeRecord>,
    pub report: FlipReport,
    pub drain_began: Option<Instant>,
    /// The abandoned requests at the end of the drain.
    pub abandoned: AbandonedSoFar,
    pub upstream_until: Option<Instant>,
    /// Why UCS is not in the target mode.
    pub upstream_words: String,
    /// Why the last save failed.
    pub save_error: String,
}

/// The end of the work of a step.
pub(super) enum WorkEnd {
    Looked(Option<Look>, ProbeContext),
    Drained {
        complete: bool,
    },
    /// UCS's status, before Set Server Mode.
    UpstreamRead(Reading),
    UpstreamSet(SetModeOutcome),
    /// The gateway does not use UCS's mode.
    NoUpstreamMode,
    GraceOver,
}
