//! How one sheet is to be loaded: the sidecar's settings, checked and frozen with the claim.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::table::TableName;

/// Rows in one request where nothing else is said: what one `$batch` of Dataverse takes. Source: dynamics.md §3.1.
pub const BATCH_ROWS: u32 = 1_000;
/// The zone of date-times without an offset where nothing else is said.
pub const TIMEZONE_DEFAULT: &str = "UTC";

/// The settings of one load: one sheet of one workbook into one table and one entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadSettings {
    /// The staged table; from the sidecar, else from the file's stem.
    pub table_name: TableName,
    /// The entity as the sidecar names it (set, logical or display name), else the table's name.
    pub target_entity: String,
    /// Which sheet; `None` is the first visible one.
    pub sheet: Option<String>,
    /// Row number of the header, from 1; `None` lets the reader find it.
    pub header_row: Option<u32>,
    /// Replace the staged table and send every row again.
    pub overwrite: bool,
    /// One transaction for the whole load, or a refusal beforehand.
    pub atomic: bool,
    /// F&O company; `None` is the default company or a shared entity.
    pub legal_entity: Option<String>,
    /// What to do with each row.
    pub mode: Mode,
    /// Headers of the columns that name a record, in order; empty where there is no key.
    pub key: Vec<String>,
    /// Header → attribute, where they differ; an empty text leaves the column out.
    pub columns: IndexMap<String, String>,
    /// Header → how its values name the record they point at.
    pub lookups: IndexMap<String, LookupRule>,
    /// What a blank cell means.
    pub blank: BlankRule,
    /// IANA zone of date-times without an offset.
    pub timezone: String,
    /// Rows in one request, 1 to 1000.
    pub batch_size: u32,
    /// Requests at once at most; `None` follows the server's hint.
    pub workers: Option<u16>,
    /// Place among waiting tables, lower first; `None` is the order of arrival.
    pub order: Option<i64>,
    /// Check everything, write nothing.
    pub dry_run: bool,
    /// Which workbook of a data package holds the rows; `None` where the dropped file is the workbook itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_file: Option<String>,
    /// What nobody has said, so that a workbook which describes itself may. The claim settles it: it is never frozen.
    #[serde(skip)]
    pub left_open: LeftOpen,
}

/// Settings that a workbook may bring itself, where neither sidecar nor returned workbook has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOpen {
    /// The entity.
    pub target_entity: bool,
    /// The staged table.
    pub table_name: bool,
    /// What to do with each row, and by which key.
    pub mode: bool,
}

impl LeftOpen {
    /// Nothing was said.
    pub const ALL: LeftOpen = LeftOpen { target_entity: true, table_name: true, mode: true };
}

impl LoadSettings {
    /// A load about which nothing more was said: append and insert, the first visible sheet, [`BATCH_ROWS`] rows a
    /// request, [`TIMEZONE_DEFAULT`].
    pub fn plain(table_name: TableName, target_entity: impl Into<String>) -> Self {
        LoadSettings {
            table_name,
            target_entity: target_entity.into(),
            sheet: None,
            header_row: None,
            overwrite: false,
            atomic: false,
            legal_entity: None,
            mode: Mode::default(),
            key: Vec::new(),
            columns: IndexMap::new(),
            lookups: IndexMap::new(),
            blank: BlankRule::default(),
            timezone: TIMEZONE_DEFAULT.to_owned(),
            batch_size: BATCH_ROWS,
            workers: None,
            order: None,
            dry_run: false,
            package_file: None,
            left_open: LeftOpen::default(),
        }
    }
}

/// What to do with each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Create a record.
    #[default]
    Insert,
    /// Create it, or update the one with the same key.
    Upsert,
    /// Update the record with the same key; its absence is a fault.
    Update,
    /// Delete the record with the same key; its absence is a fault.
    Delete,
    /// Update the record whose id stands in the row, its absence is a fault; create one where no id stands.
    Edit,
}

impl Mode {
    /// Whether `key` must name the columns that name a record.
    pub fn needs_key(self) -> bool {
        match self {
            Mode::Insert | Mode::Edit => false,
            Mode::Upsert | Mode::Update | Mode::Delete => true,
        }
    }

    /// The word as it stands in a sidecar.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Insert => "insert",
            Mode::Upsert => "upsert",
            Mode::Update => "update",
            Mode::Delete => "delete",
            Mode::Edit => "edit",
        }
    }
}

/// What a blank cell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BlankRule {
    /// The attribute is not mentioned.
    #[default]
    Leave,
    /// The attribute is set to null.
    Clear,
}

/// How the values of a lookup column name the record they point at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LookupRule {
    /// The entity pointed at; needed where the lookup has several targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The column of that entity that holds the values, `accountnumber`; its values must be unique there.
    pub column: String,
}
