//! ucs-gateway: the only way into one UCS, open to just what its Server Mode allows.
//!
//! Two lines run through the crate. They meet in [`gate`] and nowhere else:
//!
//! ```text
//! request  accept → canonical path → classify → gate.enter → forward → stream back → permit dropped
//! change   ask → mode::apply → store.save → gate.publish → drain → store.save (settled) → answer
//! ```
//!
//! The modules, in reading order. What a request is and whether a mode admits it: [`policy`]. Admission and in-flight
//! counts: [`gate`]. How either line asks for a change: [`desk`]. Who may: [`access`]. Where UCS is: [`upstream`]. The
//! only writer of the mode: [`control`]. How bytes move: [`proxy`]. What operators see and do: [`admin`],
//! [`telemetry`], [`cli`]. A stand-in UCS for the demo and the tests: [`demo`].

pub mod policy;

pub mod gate;

pub mod desk;

pub mod access;

pub mod upstream;

pub mod control;

pub mod proxy;

pub mod telemetry;

pub mod admin;

pub mod config;

pub mod gateway;

pub mod cli;

pub mod demo;
