//! Size limits of a message's head and trailers.

/// The most entries of a head's `Connection` lists, empty ones included. Each name of a list costs many times its bytes.
pub(super) const LIST_ENTRIES: usize = 100;

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// The longest request target, in bytes; a longer one is 414.
    pub target_bytes: usize,
    /// The longest head with its final empty line, in bytes; a longer one is 431.
    pub head_bytes: usize,
    /// The most lines of a head, and of trailers; more are 431.
    pub header_count: usize,
}
