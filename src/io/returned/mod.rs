//! Writes the workbook that gives refused rows back to their sender, and nothing else: no clock, no chance, no rename.
//!
//! One sheet for each part of the job, header in row 1:
//!
//! ```text
//! Row | What is wrong | What to do | _ddu_row_id (hidden) | the sender's columns, in their order, with their headers …
//! ```
//!
//! The hidden ids stand between our columns and the sender's, so that whoever marks the whole table and sorts it takes
//! them along; a hidden column at either end would stay behind. The very hidden sheet `_ddu` describes the workbook to
//! the reader ([`crate::io::workbook::ReturnedBook`]), so it can be renamed and dropped without a sidecar.
//!
//! What a cell cannot hold is shown as text and never changed in silence:
//!
//! | value | in the cell |
//! |---|---|
//! | text | text, also `007`, `=1+1`, `+49`, `@x` |
//! | text of more than 32,767 characters | [`KEPT_TEXT`] and its beginning; [`keeps_staged_value`] tells the reader to keep the staged text |
//! | number of more than 15 digits | text |
//! | day before 1900-03-01 | text, `1752-05-03`: Excel knows no earlier ones, and programs disagree about the two months after |
//! | instant | date-time in the load's `timezone`; as text with its offset (`…Z`) where that zone has the hour twice or where it is finer than a millisecond |
//! | unreadable cell | what was found, as text; ` ?` behind it where it is no error value, so that nobody takes it for one |
//!
//! A cell that only stands for its value and is left as it is means that value: [`stands_for`] tells.

mod cells;
mod help;
mod looks;
mod writer;

pub use cells::{
    CELL_UNITS_MAX, KEPT_TEXT, keeps_staged_value, may_stand_for_another, stands_for, stands_for_lost,
};
pub use writer::ReturnedWriter;

use rust_xlsxwriter::XlsxError;

use crate::domain::cell::SHEET_COLUMNS_MAX;
use crate::domain::refusal::Refusal;
use crate::domain::row::RowId;
use crate::domain::settings::LoadSettings;
use crate::domain::value::{StageType, Value};

/// The header over the reasons, unless the sender has one like it.
pub const WRONG_HEADER: &str = "What is wrong";
/// The header of the hidden row ids, unless the sender has one like it.
pub const ID_HEADER: &str = "_ddu_row_id";
/// Columns that stand in front of the sender's.
pub const OWN_COLUMNS: u16 = 4;
/// Columns of a sender that fit beside ours.
pub const RETURNED_COLUMNS_MAX: usize = SHEET_COLUMNS_MAX as usize - OWN_COLUMNS as usize;
/// Cells of one sheet that carry their reason as a note; later ones are coloured and have it in `What is wrong` only.
///
/// Notes are held in memory until the workbook is complete, and Excel opens sheets with many thousands of them slowly.
pub const NOTES_MAX: usize = 2_000;
/// Reasons of one row that are written out; a last line counts the others.
pub const REASONS_MAX: usize = 20;
/// Characters of one sentence, one note or one header's help before it is cut with `…`.
pub const SENTENCE_CHARS_MAX: usize = 1_000;

/// A column of the sender as it is given back.
#[derive(Debug, Clone, PartialEq)]
pub struct ReturnedColumn {
    /// The staged column, the one that a [`Refusal`] names.
    pub name: String,
    /// The header as the sender wrote it; where it is blank, `name` stands in its place.
    pub header: String,
    /// The staged type: decides how cells look in which the sender types.
    pub kind: StageType,
    /// The labels that the target allows, in its order; empty where it does not say.
    pub choices: Vec<String>,
    /// The longest text that the target takes, in characters.
    pub length_max: Option<u32>,
}

/// A sheet of a returned workbook: one part of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct ReturnedSheet {
    /// The name wanted for the sheet; made fit for Excel and for its neighbours.
    pub title: String,
    /// The sender's columns, in their order.
    pub columns: Vec<ReturnedColumn>,
    /// The settings that the rows were loaded with; they travel in the mark.
    pub settings: LoadSettings,
}

/// A row that was refused.
#[derive(Debug, Clone, PartialEq)]
pub struct ReturnedRow {
    /// Its identity, so that the mended row replaces it.
    pub id: RowId,
    /// The Excel row number it had in the sender's workbook.
    pub number: u32,
    /// One value per column of its sheet, as the sender wrote it.
    pub values: Vec<Value>,
    /// Why it was refused, most important first.
    pub refusals: Vec<Refusal>,
}

/// Why a returned workbook could not be written. After `Write` and `BrokeOff` the writer refuses everything; begin anew.
#[derive(Debug, thiserror::Error)]
pub enum ReturnError {
    /// The table is wider than a sheet beside our columns. The operator must act.
    #[error(
        "sheet `{sheet}` has {found} columns, a returned workbook holds {RETURNED_COLUMNS_MAX} beside its own; read its rows with `ddu quarantine show`"
    )]
    TooManyColumns {
        /// The sheet's title.
        sheet: String,
        /// The sender's columns.
        found: usize,
    },
    /// The time zone of the load is not known to this program.
    #[error(
        "the rows of sheet `{sheet}` were loaded with the time zone `{timezone}`, which this program does not know"
    )]
    Timezone {
        /// The sheet's title.
        sheet: String,
        /// The zone of the settings.
        timezone: String,
        /// What the time zone database says.
        #[source]
        source: jiff::Error,
    },
    /// A row does not have the columns of its sheet. A defect of the caller.
    #[error("row {number} has {found} values for the {expected} columns of its sheet")]
    ValueCount {
        /// The row's number.
        number: u32,
        /// Its values.
        found: usize,
        /// The sheet's columns.
        expected: usize,
    },
    /// A row came before any sheet, or the workbook was finished without one. A defect of the caller.
    #[error("a returned workbook needs a sheet before its rows")]
    NoSheet,
    /// The workbook could not be written: the disk, the folder for temporary files, or a limit of Excel.
    #[error("the returned workbook of `{workbook}` could not be written: {source}")]
    Write {
        /// The sender's workbook.
        workbook: String,
        /// What the writing library says.
        #[source]
        source: XlsxError,
    },
    /// The temporary file broke off under the writing library, which panics then: the disk is full.
    #[error("the returned workbook of `{workbook}` broke off: {found}; is the disk full?")]
    BrokeOff {
        /// The sender's workbook.
        workbook: String,
        /// The panic's message.
        found: String,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
