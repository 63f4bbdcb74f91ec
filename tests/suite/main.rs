//! The suite: the program from outside, with real folders, real tables and real HTTP.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the sender and the operator: it writes files and reads the clock as they do"
)]

#[macro_use]
mod world;

mod chance;
mod package;
mod reader;

mod commands;
mod conformance;
mod daemon;
mod docs;
mod editing;
mod evolution;
mod finops;
mod folders;
mod formats;
mod fuzz;
mod hostile;
mod journey;
mod matrix;
mod order;
mod proof;
mod reruns;
mod returned;
mod roundtrip;
mod rules;
mod service;
mod settings;
mod sidecars;
mod small;
mod templates;
mod tidy;
mod told;
mod transport;
mod walls;
