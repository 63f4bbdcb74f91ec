//! Rows as they are staged, and the columns they have.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::value::{StageType, Value};

/// The identity of a staged row: a UUIDv5, see [`super::identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowId(pub Uuid);

impl std::fmt::Display for RowId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl std::str::FromStr for RowId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(RowId(Uuid::try_parse(text.trim())?))
    }
}

/// A column of a staged table that came from the sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedColumn {
    /// The Delta column.
    pub name: String,
    /// The header as the sender wrote it.
    pub header: String,
    /// The column's type.
    pub kind: StageType,
}

/// A staged row: where it stood and what stood there.
#[derive(Debug, Clone, PartialEq)]
pub struct StagedRow {
    /// Its identity.
    pub id: RowId,
    /// The job that gave it its present values.
    pub job: String,
    /// The sheet it came from.
    pub sheet: String,
    /// The Excel row number it had there, from 1.
    pub number: u32,
    /// One value per column of the table, in the table's order; a rescued original where the column could not hold it.
    pub values: Vec<Value>,
}
