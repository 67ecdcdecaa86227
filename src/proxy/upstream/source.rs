//! The client of a request, as far as the queue for UCS distinguishes clients. Data only.

use std::net::IpAddr;

/// The origin of a request: its client's address, if it has one, and the number of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) address: Option<IpAddr>,
    pub(crate) connection: u64,
}
