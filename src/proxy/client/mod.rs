//! One client connection: its input, its state, and the loop that serves its requests.

mod handshake;
mod input;
mod preface;
pub(crate) mod session;
mod state;

pub(crate) use input::BodyFailed;
pub use input::{ClientBody, ClientInput, Next, Scratch};

pub use state::ConnectionState;
pub(crate) use state::DiscardLimits;
