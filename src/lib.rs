//! DDU moves workbooks dropped into a folder into Microsoft Dynamics 365, row by row, exactly once.
//!
//! ```text
//! drop → settle → claim → read → stage → preflight → migrate → log / quarantine → give back → archive
//! ```
//!
//! The modules stand in the order of their dependencies; left never names right (`ARCHITECTURE.md` has the map).
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test plays the sender and the operator"))]

pub mod domain;

pub mod config;

pub mod io;

pub mod pipeline;

pub mod sandbox;

pub mod daemon;

pub mod cli;
