//! How large a workbook may be, and how long and how much memory its reading may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::cell::{SHEET_COLUMNS_MAX, SHEET_ROWS_MAX};

/// What a workbook may cost. One that goes beyond is set aside with the number; the others go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest file, in bytes (512 MiB: a full sheet of 12 columns has 173 MB).
    #[schemars(range(min = 1_024, max = 68_719_476_736_i64))]
    pub file_bytes_max: u64,
    /// Largest size of everything in the file once inflated, in bytes (4 GiB).
    #[schemars(range(min = 1_024, max = 1_099_511_627_776_i64))]
    pub uncompressed_bytes_max: u64,
    /// How many times larger a part of the file may grow when inflated; deflate itself ends at 1032.
    #[schemars(range(min = 2, max = 1_032))]
    pub ratio_max: u32,
    /// Rows of one sheet, its header included (what an Excel sheet has).
    #[schemars(range(min = 2, max = 100_000_000))]
    pub rows_max: u32,
    /// Columns of one sheet.
    #[schemars(range(min = 1, max = 16_384))]
    pub columns_max: u32,
    /// Characters in one cell; Dataverse holds at most 1 048 576, Excel itself 32 767.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub cell_chars_max: u32,
    /// How long the reading of one workbook may take, in milliseconds.
    #[schemars(range(min = 1_000, max = 86_400_000))]
    pub reader_wall_ms_max: u64,
    /// Address space of the process that reads a workbook, in bytes (2 GiB).
    #[schemars(range(min = 134_217_728, max = 1_099_511_627_776_i64))]
    pub reader_memory_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes_max: 512 << 20,
            uncompressed_bytes_max: 4 << 30,
            ratio_max: 200,
            rows_max: SHEET_ROWS_MAX,
            columns_max: SHEET_COLUMNS_MAX / 16,
            cell_chars_max: 1_048_576,
            reader_wall_ms_max: 600_000,
            reader_memory_bytes_max: 2 << 30,
        }
    }
}
