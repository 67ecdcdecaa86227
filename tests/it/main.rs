//! The gateway through its front door: every test starts the real binary on free ports, talks to it through sockets, and
//! looks only at what a client, an operator or UCS can see. One binary, so that it links once.
//!
//! Reading order: `support` has the vocabulary (a gateway, a client, three kinds of upstream); each module below it is
//! one subject.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "a vocabulary may hold a word that no test says at the moment")]
mod support;

/// That the vocabulary itself works: the shortest test of each kind of upstream.
mod vocabulary;

/// The admin API as operators, machines and strangers meet it.
mod admin;
/// Load balancers in front of the gateway.
mod balancers;
/// The commands as people type them.
mod cli;

/// The arrows between the source modules.
mod architecture;
/// A flip waits for UCS, never for a client.
mod drain_clients;
/// The store of a fleet against real etcd.
mod etcd;
/// A fleet as operators and clients meet it.
mod fleet;
/// A fleet of real processes among faults.
mod fleet_chaos;
/// The flip as operators and clients live through it: what it waits for, how it ends early, what its report says.
mod flips;
/// HTTP/2 with clients.
mod http2;
/// Every documented operation in every mode.
mod operations;
/// How bytes move: messages, connections, bodies, heads, and what happens when either side misbehaves.
mod proxying;

/// That no forbidden operation overlaps a settled period, under load, by UCS's own record.
mod stress;

/// The stand-in UCS itself, which most of the tests put behind the gateway.
mod stand_in;

/// Kills at random moments, state files that are damaged, and a disk that takes no more.
mod crash;

/// The record in files over versions, and what it says of its drain.
mod records;

/// The recipes of docs/operations.md.
mod runbook;

/// That every row of the failure tables of docs/operations.md is played by a test.
mod failures;

/// Other things in the place of the files that the gateway reads, and files that arrive late.
mod files;

/// The journal and the lock while other processes take hold of them.
mod journal;

/// Cancels, stops and requests at every step of a flip.
mod flip_events;

/// What is promised when UCS, clients and disks misbehave in the middle of a flip or of a start.
mod surroundings;

/// What the machine does to the gateway: disks that fail, clocks that jump, descriptors that run out, pauses.
mod machine;

/// Refusals by mode, Set Server Mode and the status on the data port.
mod modes;

/// Who may not set the mode although the credential is right: pages of other sites.
mod cross_site;

/// A UCS without a profile schema.
mod no_schema;

/// UCS behind a unix socket.
mod unix_sockets;

/// Stops and restarts as clients and the service manager see them.
mod restart;

/// Single requests past the mode.
mod bypass;

/// One gateway that is closed alone.
mod local_close;

/// Flips at a time to come.
mod scheduled;

/// Files that are watched.
mod file_watch;

/// The program that is told of changes.
mod on_change;

/// What an operator tells clients, and when they come again.
mod told;

/// Every fault of UCS about its mode, at every moment: a table.
mod faults_of_ucs;

/// UCS's own mode, followed and set.
mod upstream_mode;

/// Encrypted connections.
mod tls;

/// The programs of the page for developers of clients.
mod clients;

/// The pages for people against the code.
mod docs;
