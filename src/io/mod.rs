//! One foreign system per room: durable files, spool, journal, watcher, workbooks in and out, Delta, Dynamics.

pub mod delta;
pub mod dynamics;
pub mod returned;
pub mod workbook;
