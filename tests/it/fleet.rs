//! A fleet as operators and clients meet it: real gateways, each before a stand-in UCS, with one record in a real etcd.

/// What `GET /fleet`, `fleet list`, the metrics and the page show.
mod view;

/// The gateways, their UCS, their links to the store, and what can be done to them.
#[allow(dead_code, reason = "a vocabulary")]
pub mod rig;
