//! The guard between a client's socket and hyper: it looks at every byte of the framing before hyper does. hyper answers
//! parse errors itself with an empty body, drops `Content-Length` when `Transfer-Encoding` stands beside it, and its URI
//! type forgets `#fragments`; none of that may reach the gateway's decisions. The guard never rewrites a request and
//! never answers: it passes good bytes on unchanged, and a fault becomes one synthetic request that the service answers.
//!
//! [`Scanner`] is the pure part (bytes in, verdict out), [`GuardedIo`] puts it between a socket and hyper, and
//! [`WireState`] is what a connection's guard, its service and the worker's sweeper share.
//!
//! The other side, UCS's answers, is read in `answer` alone: see there why.

mod answer;
mod chunks;
mod fault;
mod guard;
mod head;
mod scan;
mod state;

#[cfg(test)]
mod cases;

pub use answer::{AnswerBody, AnswerFault, AnswerHead, Taken, read_head};
pub use fault::WireFault;
pub use guard::{GuardedIo, Scratch};
pub use scan::{Scan, Scanner, WireLimits};
pub use state::WireState;
