//! One foreign system per room: durable files, spool, journal, watcher, workbooks in and out, Delta, Dynamics.

pub mod delta;
pub mod durable;
pub mod dynamics;
pub mod journal;
pub mod lock;
pub mod returned;
pub mod signoff;
pub mod spool;
pub mod watch;
pub mod workbook;
