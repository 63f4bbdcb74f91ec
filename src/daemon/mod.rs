//! The program that stays: run loop, queue, signals, systemd, page, metrics.

pub mod assembly;
pub mod intake;
pub mod journald;
pub mod logging;
pub mod metrics;
pub mod page;
pub mod progress;
pub mod queue;
pub mod run;
pub mod run_loop;
pub mod signals;
pub mod status;
pub mod systemd;
pub mod target;
