//! TLS: the encrypted stream, and what its two sides are configured with. It reads no file after a start unless it is asked
//! to, and decides about no principal.

mod stream;

pub(crate) use stream::TlsStream;
