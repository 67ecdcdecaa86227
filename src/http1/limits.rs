//! How large the parts of a message's head may be.

/// Limits of a request's head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Longest request target, in bytes; beyond it 414.
    pub target_bytes: usize,
    /// Longest head with its final empty line, in bytes; beyond it 431.
    pub head_bytes: usize,
    /// Most header lines of a head, and of trailers; beyond it 431.
    pub header_count: usize,
}
