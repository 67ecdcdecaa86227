//! The reasons why the gateway gives up an exchange. Data only.

/// The reason why the gateway gave up an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GaveUp {
    /// UCS did not begin to respond in time.
    FirstByte,
    /// UCS stalled in the middle of its response.
    UpstreamBody,
    /// The client stalled in the middle of its request.
    ClientBody,
    /// The client stopped reading the response.
    ClientReading,
    /// The client sends or reads a body too slowly, without stalling.
    ClientPace,
    /// A flip's drain waited for the client for too long.
    DrainClient,
    /// A flip cut it at its deadline.
    Cut,
    /// Other requests needed its place in the queue, or the memory in which its body waited.
    Overload,
}
