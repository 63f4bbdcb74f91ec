//! A sidecar as it is written: the one list of its keys.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::settings::{BlankRule, LookupRule, Mode};

/// How one workbook is to be loaded. Every key is optional.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "DDU sidecar of one workbook")]
pub(super) struct RawSidecar {
    /// The entity in Dynamics: its set name, logical name or display name; by default the table's name.
    #[schemars(length(min = 1))]
    pub target_entity: Option<String>,
    /// `true` replaces the staged table and sends every row again; by default rows are appended.
    pub overwrite: Option<bool>,
    /// `true` writes all rows in one transaction, or refuses beforehand; by default a bad row costs only itself.
    pub atomic: Option<bool>,
    /// Finance & Operations only: the company; empty for the default company and for shared entities.
    pub legal_entity: Option<String>,
    /// The staged table; by default from the file's name, under `sheets` from the sheet's name.
    #[schemars(length(min = 1, max = 60))]
    pub table_name: Option<String>,
    /// What to do with each row; by default `insert`.
    pub mode: Option<Mode>,
    /// The column or columns that name a record, by their headers.
    pub key: Option<RawKey>,
    /// The sheet to load; by default the first visible one.
    #[schemars(length(min = 1))]
    pub sheet: Option<String>,
    /// Several sheets to load: sheet → settings of its own, which go before the ones beside `sheets`.
    pub sheets: Option<IndexMap<String, RawSidecar>>,
    /// Header → attribute, where they differ; an empty text leaves the column out.
    pub columns: Option<IndexMap<String, String>>,
    /// Header → how its values name the record they point at: `"entity.column"`, or `{"entity", "column"}`.
    pub lookups: Option<IndexMap<String, RawLookup>>,
    /// What a blank cell means: `leave` (the default) does not mention the attribute, `clear` empties it.
    pub blank: Option<BlankRule>,
    /// IANA name of the zone of date-times without one; by default `UTC`.
    #[schemars(length(min = 1))]
    pub timezone: Option<String>,
    /// Row number of the header; by default it is found.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub header_row: Option<u32>,
    /// Rows in one request; by default the configuration's.
    #[schemars(range(min = 1, max = 1_000))]
    pub batch_size: Option<u32>,
    /// Requests to the target at once, at most; by default the configuration's.
    #[schemars(range(min = 1, max = 52))]
    pub workers: Option<u16>,
    /// Place among waiting tables, lower first; by default the order of arrival.
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub order: Option<i64>,
    /// `true` checks everything and writes nothing.
    pub dry_run: Option<bool>,
}

/// One header or several.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum RawKey {
    /// One.
    One(#[schemars(length(min = 1))] String),
    /// Several.
    Many(#[schemars(length(min = 1))] Vec<String>),
}

/// A lookup rule, short or long.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub(super) enum RawLookup {
    /// `entity.column`.
    Short(#[schemars(length(min = 3))] String),
    /// In full.
    Long(LookupRule),
}
