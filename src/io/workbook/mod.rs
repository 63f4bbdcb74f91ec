//! Reads dropped workbooks, in a child process that a hostile one cannot take the daemon down with.
//!
//! The child is this program under its hidden subcommand [`CHILD_COMMAND`]: [`serve_child`] is its body. It gets the
//! open workbook as standard input and a [`ReadRequest`] as its argument, limits its own memory and time, gives up
//! every right that it does not need ([`Walls`]), and answers in frames on standard output. [`probe`] and [`Reading`] are the parent's side.
//!
//! A batch has the columns `_ddu_row` (Excel's row number), `_ddu_row_id` (the hidden id in a workbook that DDU gave
//! back), `_ddu_rescued` (JSON, column → value, for every cell that its column cannot hold exactly or that cannot be
//! carried at all) and then the sheet's own, in its order.
//!
//! | what | rule |
//! |---|---|
//! | sheet | the first visible one, unless named; hidden ones are left alone |
//! | Excel table | goes before a header that is looked for; its totals row is no data; what goes on directly beside and below it is read, what else stands around it is left out and counted |
//! | header | the first row with two texts that is at least half as wide as the widest of the first fifty; rows above it are left out |
//! | column type | as hinted, else the narrowest that holds every cell of the column, not only of its first rows |
//! | blank rows | skipped and counted; blank columns without a header are dropped, those with something in them are columns |
//! | hidden rows and columns | read like any other, and counted |
//! | merged areas | the value counts for the first cell, the others are blank |
//! | errors, formulas without a result, whole numbers of more than 15 digits | rescued as unreadable, with the reason |
//! | dates | numbers with a date format, ISO cells; of both date systems; 1900-02-29 is no day |
//! | times, durations | texts: `13:45:00`, `PT36H` |
//! | `00123` by format | text `00123` in a text column, which a column becomes that shows such zeros |
//! | places beyond the grid, a row given twice | the workbook is refused; nothing is ever moved |

mod child;
mod columns;
mod delimited;
mod fault;
mod foreign;
mod frames;
mod layout;
mod mark;
mod package;
mod reading;
mod request;
mod row;
mod rows;
mod seen;
mod sheet;
mod sniff;
mod source;
mod strings;
mod table;
mod tables;
mod template;
mod walls;
mod xlsx;

#[cfg(test)]
mod tests;

pub use child::{
    ADDRESS_BYTES_BASE, ADDRESS_BYTES_PER_FILE_BYTE, CPU_SECONDS_BASE, CPU_SECONDS_MAX,
    CPU_SECONDS_PER_FILE_MIB, serve_child,
};
pub use fault::ReadFault;
pub use mark::{
    MARK_CHUNK_MAX, MARK_CHUNKS_MAX, MARK_SHEET, MARK_VERSION, MarkError, ReturnedBook, ReturnedPart,
};
pub use package::{DataPackage, PackageEntity};
pub use reading::{CHILD_COMMAND, Reading, probe, probe_and_read, try_walls, unpack};
pub use request::{
    ColumnKinds, ReadLimits, ReadRequest, ReadSummary, ReadWhat, SheetHeader, SheetInfo, WorkbookFormat,
    WorkbookProbe,
};
pub use template::{Template, TemplateSheet};
pub use walls::Walls;
