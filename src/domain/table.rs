//! Names of Delta tables and of their columns: what any reader accepts.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

/// Tables of ours beside the staged ones; no workbook may be staged under these names.
pub const RESERVED_TABLES: [&str; 3] = ["migration_state", "migration_log", "migration_receipts"];
/// Columns of ours in a staged table, in the order in which they stand in front of the sender's.
pub const STAGED_META_COLUMNS: [&str; 5] =
    ["_ddu_row_id", "_ddu_job", "_ddu_sheet", "_ddu_row", "_ddu_rescued"];
/// Columns of ours that a quarantine table adds to the staged ones.
pub const QUARANTINE_META_COLUMNS: [&str; 5] =
    ["_ddu_error", "_ddu_cause", "_ddu_column", "_ddu_attempt", "_ddu_time"];
/// Longest table name in characters; leaves room for a file name of 255 bytes in any script.
pub const TABLE_NAME_CHARS_MAX: usize = 60;

/// The name of a staged table: lower case letters, digits and `_`, not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

/// Why a text cannot be a table's name. The sender must act (rename the file, or set `table_name`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableNameError {
    /// Nothing is left once the characters that no reader accepts are taken out.
    #[error(
        "`{given}` has no letter or digit that a table name could be made of; set `table_name` in the sidecar"
    )]
    Empty {
        /// The text as given.
        given: String,
    },
    /// The name belongs to one of our own tables.
    #[error(
        "`{given}` is the name of a table that DDU keeps for itself; set another `table_name` in the sidecar"
    )]
    Reserved {
        /// The text as given.
        given: String,
    },
    /// The name has characters that a table name cannot have.
    #[error(
        "`{given}` is not a table name: use lower case letters, digits and `_`, at most {TABLE_NAME_CHARS_MAX}"
    )]
    Malformed {
        /// The text as given.
        given: String,
    },
}

impl TableName {
    /// The table's name for a file's stem: `Customers 2026 (1)` is `customers_2026_1`.
    ///
    /// # Errors
    /// When nothing usable is left, or the name is one of ours.
    pub fn from_stem(stem: &str) -> Result<Self, TableNameError> {
        let name: String = identifier(&stem.nfc().collect::<String>().to_lowercase());
        let name: String = name.chars().take(TABLE_NAME_CHARS_MAX).collect();
        let name = name.trim_matches('_');
        if name.is_empty() {
            return Err(TableNameError::Empty { given: stem.to_owned() });
        }
        if RESERVED_TABLES.contains(&name) {
            return Err(TableNameError::Reserved { given: stem.to_owned() });
        }
        Ok(TableName(name.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableName {
    type Error = TableNameError;

    fn try_from(given: String) -> Result<Self, Self::Error> {
        let name = TableName::from_stem(&given)?;
        if name.0 == given { Ok(name) } else { Err(TableNameError::Malformed { given }) }
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The Delta column for a header: letters, digits and `_`, every other run of characters as one `_`.
///
/// Spark refuses ` ,;{}()\n\t=` in Parquet column names, so `Account Name (main)` becomes `Account_Name_main`.
/// A blank header gives the empty string; the caller names such a column by its letter.
pub fn column_identifier(header: &str) -> String {
    identifier(&header.nfc().collect::<String>())
}

fn identifier(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    name.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_becomes_a_name_that_every_reader_accepts() {
        assert_eq!(TableName::from_stem("Customers 2026 (1)").unwrap().as_str(), "customers_2026_1");
        assert_eq!(TableName::from_stem("Kunden-Größe").unwrap().as_str(), "kunden_größe");
        assert!(matches!(TableName::from_stem("--"), Err(TableNameError::Empty { .. })));
        assert!(matches!(TableName::from_stem("Migration Log"), Err(TableNameError::Reserved { .. })));
        assert!(matches!(TableName::try_from("No Good".to_owned()), Err(TableNameError::Malformed { .. })));
    }

    #[test]
    fn a_header_becomes_a_column_that_spark_accepts() {
        assert_eq!(column_identifier("Account Name (main)"), "Account_Name_main");
        assert_eq!(column_identifier(" % "), "");
    }
}
