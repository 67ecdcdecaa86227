//! A fleet as operators and clients meet it: real gateways, each before a stand-in UCS, with one record in a real etcd.

/// What `GET /fleet`, `fleet list`, the metrics and the page show.
mod view;

/// The demo of a fleet.
mod demo;

/// What gateways and operators do wrong, or what befalls them.
mod failures;

/// Figures for docs/fleet.md.
mod figures;

/// The recipes of docs/fleet.md.
mod recipes;

/// Rehearsals of a flip at every member.
mod rehearsal;

/// The same of the store and of links.
mod store_failures;

/// The gateways, their UCS, their links to the store, and what can be done to them.
#[allow(dead_code, reason = "a vocabulary")]
pub mod rig;
