//! Size limits of a message's head and trailers.

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
