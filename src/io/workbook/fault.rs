//! Why a workbook could not be read, in a sentence for the one who must act.

use serde::{Deserialize, Serialize};

use super::request::ColumnKinds;

/// Why a workbook could not be read. The sender must act, except where a variant says that the operator must.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum ReadFault {
    /// The file has no bytes.
    #[error("the file is empty (0 bytes); save the workbook again and drop it once more")]
    Empty,
    /// The file is something else.
    #[error("the file is not a workbook but {found}; DDU reads xlsx, xlsm, xlsb, xls, ods, csv and tsv")]
    NotAWorkbook {
        /// What it seems to be: "a PDF document".
        found: String,
    },
    /// The data package, or a file of it, cannot be loaded as it was asked for.
    #[error("the data package cannot be loaded: {detail}")]
    Package {
        /// Why, and what it holds.
        detail: String,
    },
    /// The file ends before its container does.
    #[error("the file is cut off ({detail}); copy it again, completely")]
    Truncated {
        /// What is missing.
        detail: String,
    },
    /// The file can only be opened with a password.
    #[error("the workbook is protected by a password; save it without one (File > Info > Protect Workbook)")]
    Protected,
    /// The file is a workbook, but its inside contradicts itself.
    #[error(
        "the workbook is damaged: {detail}; open it in Excel, save it under a new name and drop that one"
    )]
    Damaged {
        /// What is wrong, and where.
        detail: String,
    },
    /// No visible sheet holds cells.
    #[error("the workbook has no visible worksheet; {found}")]
    NoSheet {
        /// What there is instead.
        found: String,
    },
    /// The sheet that was asked for does not exist.
    #[error("the workbook has no sheet `{sheet}`; it has {found}{hint}")]
    SheetNotFound {
        /// The sheet that was asked for.
        sheet: String,
        /// The sheets there are.
        found: String,
        /// "; did you mean …?", or nothing.
        hint: String,
    },
    /// The sheet has no row that could be the header.
    #[error("sheet `{sheet}` has no header: {detail}")]
    NoHeader {
        /// The sheet.
        sheet: String,
        /// Where it was looked for.
        detail: String,
    },
    /// Several Excel tables of the sheet have the same columns.
    #[error(
        "sheet `{sheet}` has several Excel tables with the same columns: {tables}; bring their rows together in one \
         table, or name the header's row of the one that is meant with `header_row` in a sidecar"
    )]
    SeveralTables {
        /// The sheet.
        sheet: String,
        /// Their names and places.
        tables: String,
    },
    /// A limit was reached.
    #[error(
        "the workbook is too large: {what} {found}, the limit is {limit}; split it, or ask the operator to raise `limits.{setting}`"
    )]
    TooLarge {
        /// What was counted.
        what: String,
        /// What was found; where reading stopped, the first count beyond the limit.
        found: u64,
        /// The most that is allowed.
        limit: u64,
        /// The setting under `limits` that raises it.
        setting: String,
    },
    /// A bound that no setting raises.
    #[error("the workbook cannot be read within DDU's bounds: {detail}")]
    BeyondBounds {
        /// Which bound, and what to do.
        detail: String,
    },
    /// The zone of date-times is not known.
    #[error("`{timezone}` is not a time zone; use a name such as `Europe/Berlin`")]
    UnknownTimezone {
        /// The name as given.
        timezone: String,
    },
    /// The reader did not survive the workbook.
    #[error(
        "reading the workbook failed: {detail}; open it in Excel, save it as a new xlsx and drop that one"
    )]
    Crashed {
        /// How the reader ended.
        detail: String,
        /// The last words on its standard error, for the operator's log.
        said: String,
    },
    /// The reader took longer than it may.
    #[error(
        "the workbook took longer than {limit_ms} ms to read; split it, or ask the operator to raise `limits.reader_wall_ms_max`"
    )]
    TookTooLong {
        /// The time allowed.
        limit_ms: u64,
    },
    /// Later rows do not hold what the first ones did. Nobody must act: reading begins anew with what all of them hold.
    #[error("the cells further down are of other types than the first ones")]
    Retyped {
        /// What all cells of the sheet are.
        kinds: ColumnKinds,
    },
    /// The reader could not be started. The operator must act.
    #[error("the workbook reader `{exe}` cannot be started: {detail}")]
    CannotSpawn {
        /// The program.
        exe: String,
        /// What the system says.
        detail: String,
    },
    /// The file could not be read from the disk. The operator must act.
    #[error("the workbook could not be read from the disk: {detail}")]
    Disk {
        /// What the system says.
        detail: String,
    },
    /// The reader answered in a way that no reader of this version does. The operator must act.
    #[error("the workbook reader does not speak like one of this version: {detail}")]
    Protocol {
        /// What was odd.
        detail: String,
    },
}

impl ReadFault {
    /// Whether the sender can put it right; otherwise the operator must.
    pub fn is_senders(&self) -> bool {
        match self {
            ReadFault::Empty
            | ReadFault::NotAWorkbook { .. }
            | ReadFault::Package { .. }
            | ReadFault::Truncated { .. }
            | ReadFault::Protected
            | ReadFault::Damaged { .. }
            | ReadFault::NoSheet { .. }
            | ReadFault::SheetNotFound { .. }
            | ReadFault::NoHeader { .. }
            | ReadFault::SeveralTables { .. }
            | ReadFault::TooLarge { .. }
            | ReadFault::BeyondBounds { .. }
            | ReadFault::UnknownTimezone { .. }
            | ReadFault::Crashed { .. }
            | ReadFault::TookTooLong { .. } => true,
            ReadFault::Retyped { .. }
            | ReadFault::CannotSpawn { .. }
            | ReadFault::Disk { .. }
            | ReadFault::Protocol { .. } => false,
        }
    }

    /// A workbook whose inside contradicts itself.
    pub(super) fn damaged(detail: impl Into<String>) -> Self {
        ReadFault::Damaged { detail: detail.into() }
    }

    /// A count beyond one of the settings.
    pub(super) fn too_large(what: &str, found: u64, limit: u64, setting: &str) -> Self {
        ReadFault::TooLarge { what: what.to_owned(), found, limit, setting: setting.to_owned() }
    }
}

/// Reading from the workbook's own file failed: the disk's fault, or an end that came too early.
impl From<std::io::Error> for ReadFault {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ReadFault::Truncated { detail: error.to_string() },
            // Unsupported is what the container's library says of a part that is packed in a way it does not know.
            std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::Unsupported
            | std::io::ErrorKind::Other => ReadFault::damaged(error.to_string()),
            _ => ReadFault::Disk { detail: error.to_string() },
        }
    }
}
