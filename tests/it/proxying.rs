//! How bytes move through the gateway. Most upstreams here are scripted, so that what UCS would see is seen exactly; the
//! gateway before them sends nothing of its own.

/// UCS answering early, in pieces, as an old server.
mod answers_of_ucs;
/// Clients that half-close, go away, stall, or send too much.
mod clients;
/// Connections on both sides: reuse, pipelining, stale ones, the spread over workers.
mod connections;
/// Pages of other origins.
mod cors;
/// What the system keeps of clients and exchanges that were given up: nothing.
mod given_up;
/// Heads: what is removed, added and kept on the way, in both directions.
mod heads;
/// What the system holds for a connection at most, towards clients and towards UCS.
mod kernel_memory;
/// Each limit that counts, with N, N + 1 and 10 N.
mod limit_sizes;
/// What a client, or a flood of one class, may take at most.
mod limits;
/// Kinds of messages: HEAD, 204, 304, 1xx, `Expect`, trailers, HTTP/1.0.
mod messages;
/// Paths and tables: what is forwarded is what was classified.
mod paths;
/// What a refusal says, and what is logged of it.
mod refusals;
/// Bodies of refused requests: dropped, never read as requests, and no reason to end the connection if they are short.
mod refused_bodies;
/// Refusals to clients that are still sending: they arrive, and nobody sends for ever.
mod refused_uploads;
/// Rules of RFC 9110 that concern a gateway: methods, `Max-Forwards`, interim responses, `Via`, reason phrases.
mod standards;
/// Peers at the minimum rate: they live.
mod steady;
/// Bodies that stream, and the memory that they take.
mod streaming;
/// Proxies in front of the gateway that name the client, and the context of a trace.
mod trusted_proxies;
/// Every fault of UCS at every stage of an exchange.
mod upstream_fault_matrix;
/// UCS late, gone, or talking nonsense.
mod upstream_faults;
/// The wire cases from end to end.
mod wire_cases;

/// Class `profile`, safe.
const GET: &str = "GET /profiles/1";
/// Class `profile`, mutating.
const POST: &str = "POST /profiles";
