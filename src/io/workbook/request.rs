//! What is asked of the reader, what it answers, and the limits it keeps.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mark::ReturnedBook;
use super::package::DataPackage;
use super::template::Template;
use crate::domain::row::StagedColumn;
use crate::domain::settings::TIMEZONE_DEFAULT;
use crate::domain::value::StageType;

/// The format of a workbook, told by its content; a wrong extension is only mentioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkbookFormat {
    /// Office Open XML.
    Xlsx,
    /// Office Open XML with macros, which are ignored.
    Xlsm,
    /// Office Open XML with binary parts.
    Xlsb,
    /// Excel 97 to 2003.
    Xls,
    /// OpenDocument spreadsheet.
    Ods,
    /// Text with `,` or `;` between the cells.
    Csv,
    /// Text with tabs between the cells.
    Tsv,
    /// A data package of Finance & Operations: workbooks and a manifest in a zip.
    Package,
}

impl WorkbookFormat {
    /// The extension that files of this format should have.
    pub fn extension(self) -> &'static str {
        match self {
            WorkbookFormat::Xlsx => "xlsx",
            WorkbookFormat::Xlsm => "xlsm",
            WorkbookFormat::Xlsb => "xlsb",
            WorkbookFormat::Xls => "xls",
            WorkbookFormat::Ods => "ods",
            WorkbookFormat::Csv => "csv",
            WorkbookFormat::Tsv => "tsv",
            WorkbookFormat::Package => "zip",
        }
    }
}

/// What the child is to do with the workbook on its standard input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The name under which the sender dropped it; only its extension is looked at.
    pub file_name: String,
    /// List the sheets, or read one.
    pub what: ReadWhat,
    /// IANA zone of date-times without an offset.
    pub timezone: String,
    /// Types that columns must have: `column_identifier(header)` in lower case → type.
    pub hints: BTreeMap<String, StageType>,
    /// What all cells of the other columns were found to be, where a reading before this one has told.
    pub kinds: Option<ColumnKinds>,
    /// A folder in which a file without a name may be written: what memory is not to hold goes there.
    pub scratch: PathBuf,
    /// Where reading stops.
    pub limits: ReadLimits,
}

impl ReadRequest {
    /// A request about which nothing more is known: date-times in UTC, types from the cells alone.
    pub fn plain(file_name: &str, what: ReadWhat, scratch: PathBuf, limits: ReadLimits) -> Self {
        ReadRequest {
            file_name: file_name.to_owned(),
            what,
            timezone: TIMEZONE_DEFAULT.to_owned(),
            hints: BTreeMap::new(),
            kinds: None,
            scratch,
            limits,
        }
    }
}

/// The columns of a sheet that hold something, by their index, with the narrowest type that holds all their cells.
pub type ColumnKinds = BTreeMap<u32, StageType>;

/// List the sheets, or read one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadWhat {
    /// Say what the workbook is and which sheets it has.
    Probe,
    /// Read nothing: try what the walls are there to prevent, and say what they let through.
    Walls,
    /// As `Probe`, and then as `Sheet`, unless the workbook brings along how it is to be read.
    ProbeAndSheet {
        /// The sheet, compared without case; `None` is the first visible one.
        sheet: Option<String>,
        /// Row number of the header, from 1; `None` lets the reader find it.
        header_row: Option<u32>,
    },
    /// Unpack a file of a data package.
    Unpack {
        /// Its name, without regard to case.
        file: String,
    },
    /// Read one sheet.
    Sheet {
        /// The sheet, compared without case; `None` is the first visible one.
        sheet: Option<String>,
        /// Row number of the header, from 1; `None` lets the reader find it.
        header_row: Option<u32>,
    },
}

/// Where reading stops: a workbook beyond one of these is returned to its sender with the limit's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ReadLimits {
    /// Largest file in bytes.
    pub file_bytes_max: u64,
    /// Largest sum of the declared sizes inside a zip container (xlsx, xlsm, xlsb, ods), in bytes.
    pub uncompressed_bytes_max: u64,
    /// How many times its packed size a zip container may unpack to, once it unpacks to more than 64 MiB.
    pub ratio_max: u64,
    /// Most rows below the header that a sheet may have.
    pub rows_max: u64,
    /// Most columns that a table may have.
    pub columns_max: u64,
    /// Longest text in one cell, in characters.
    pub cell_chars_max: u64,
    /// Longest time that the daemon waits for the reader of one sheet, in milliseconds; its own work does not count.
    pub wall_ms_max: u64,
    /// Most address space that the reading process may use beyond its start, in bytes, however large the file.
    pub memory_bytes_max: u64,
}

impl Default for ReadLimits {
    /// Room for the largest sheet that Excel can save (1,048,576 rows of 12 columns are 173 MB, unpacked 930 MB:
    /// measured with five distinct texts a row), and for the longest text that a Dataverse column takes.
    fn default() -> Self {
        ReadLimits {
            file_bytes_max: 512 << 20,
            uncompressed_bytes_max: 4 << 30,
            ratio_max: 200,
            rows_max: 1_048_576,
            columns_max: 1_024,
            cell_chars_max: 1_048_576,
            wall_ms_max: 600_000,
            memory_bytes_max: 2 << 30,
        }
    }
}

/// One sheet of a workbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetInfo {
    /// Its name on the tab.
    pub name: String,
    /// Whether people see it.
    pub visible: bool,
}

/// What a workbook is, before any row of it is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkbookProbe {
    /// Its format.
    pub format: WorkbookFormat,
    /// Its worksheets in the order of their tabs, hidden ones included, DDU's own mark excluded.
    pub sheets: Vec<SheetInfo>,
    /// What it says of itself, if DDU once gave it back.
    pub returned: Option<ReturnedBook>,
    /// What its hidden sheet says, if Dynamics made it.
    pub template: Option<Template>,
    /// What it holds, if it is a data package; it has no sheets of its own then.
    pub package: Option<DataPackage>,
    /// What the sender may want to know, one sentence each.
    pub notes: Vec<String>,
}

impl WorkbookProbe {
    /// Whether the workbook itself says how it is to be read: one that DDU gave back, or that Dynamics made.
    pub fn brings_settings(&self) -> bool {
        self.returned.is_some() || self.template.is_some() || self.package.is_some()
    }
}

/// The sheet that is being read and its columns, sent before the first row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SheetHeader {
    /// The sheet's name on its tab.
    pub sheet: String,
    /// Whether it is a sheet of a workbook that DDU gave back.
    pub returned: bool,
    /// The columns, in the order of the sheet; their names are unique without regard to case.
    pub columns: Vec<StagedColumn>,
    /// What was decided, one sentence each: "header found in row 4".
    pub notes: Vec<String>,
}

/// What reading came to, sent after the last row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSummary {
    /// Rows that were read; blank ones do not count.
    pub rows: u64,
    /// What was met below the header, one sentence each: "3 blank rows skipped".
    pub notes: Vec<String>,
    /// Cells that could not be carried; each is in its row's `_ddu_rescued`.
    pub faults: u64,
    /// Most memory that the child held, in KiB; 0 where the system does not tell.
    pub peak_rss_kib: u64,
}
