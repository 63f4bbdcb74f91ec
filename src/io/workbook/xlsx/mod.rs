//! A streaming reader of Office Open XML workbooks (xlsx, xlsm) over `zip`, `quick-xml` and a scanner of our own.
//!
//! It is ours because the readers there are cannot be asked for a cell's place, its number format, its formula and
//! its value in one pass: calamine 0.38 loses the place of an error value that it does not know, shows `00123` as
//! 123 and a formula without a stored result as a blank, reserves as many strings as the file claims to have, and
//! wraps references beyond the grid (`crates.md` §C3). calamine is the oracle that it is compared with.

mod cells;
mod package;
mod quick;
mod scan;
mod styles;
mod tables;
mod text;
mod unpack;
pub(super) mod xml;

pub(super) use package::{Book, broken_zip};
pub(super) use text::check_length;
