//! What the program talks about: values, rows, jobs, entities, verdicts and the lifecycle. Pure: no I/O, no async, no clock.

pub mod cell;
pub mod conform;
pub mod effect;
pub mod entity;
pub mod identity;
pub mod job;
pub mod levels;
pub mod lifecycle;
pub mod near;
pub mod proof;
pub mod refusal;
pub mod row;
pub mod settings;
pub mod table;
pub mod value;
