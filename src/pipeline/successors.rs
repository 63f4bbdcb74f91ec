//! `overwrite` keeps identities: a row of the new version is the successor of the row of the old one with its key, else its content.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::settings::LoadSettings;
use crate::io::delta::{LakeError, Lakehouse};

/// The rows of the version that is being replaced, by what they are recognised by. Holds 32 bytes and a slot a row.
pub(super) struct Predecessors {
    key: Vec<String>,
    rows: HashMap<[u8; 16], Vec<RowId>>,
}

impl Predecessors {
    /// Reads the version that is about to be replaced.
    pub async fn read(lake: &Lakehouse, load: &LoadSettings, version: u64) -> Result<Self, LakeError> {
        let mut before = Predecessors { key: load.key.clone(), rows: HashMap::new() };
        let mut reader = lake.rows(&load.table_name, version, None).await?;
        let columns = reader.columns().to_vec();
        while let Some(rows) = reader.next().await? {
            for row in rows {
                before.rows.entry(before.mark(&columns, &row)).or_default().push(row.id);
            }
        }
        for ids in before.rows.values_mut() {
            // Taken from the end: the first of several equal rows goes to the first successor.
            ids.reverse();
        }
        Ok(before)
    }

    /// The identity that a row of the new version inherits; each is given once, so true duplicates stay apart.
    pub fn take(&mut self, columns: &[StagedColumn], row: &StagedRow) -> Option<RowId> {
        let mark = self.mark(columns, row);
        let ids = self.rows.get_mut(&mark)?;
        let id = ids.pop();
        if ids.is_empty() {
            self.rows.remove(&mark);
        }
        id
    }

    fn mark(&self, columns: &[StagedColumn], row: &StagedRow) -> [u8; 16] {
        let counts =
            |column: &StagedColumn| self.key.is_empty() || self.key.iter().any(|key| is_named(column, key));
        content_mark(columns, row, counts)
    }

    /// Rows without a successor that the target may have: those that were not held in quarantine.
    pub fn left_behind(&self, quarantined: &HashSet<RowId>) -> u64 {
        self.rows.values().flatten().filter(|id| !quarantined.contains(id)).count() as u64
    }
}

/// What a row is recognised by, whatever the order and the types of its columns; blank cells do not count.
pub(super) fn content_mark(
    columns: &[StagedColumn],
    row: &StagedRow,
    counts: impl Fn(&StagedColumn) -> bool,
) -> [u8; 16] {
    let mut cells: Vec<(String, String)> = columns
        .iter()
        .zip(&row.values)
        .filter(|(column, value)| !value.is_blank() && counts(column))
        .map(|(column, value)| (column.name.to_lowercase(), value.to_text()))
        .collect();
    cells.sort_unstable();
    let mut hasher = Sha256::new();
    for text in cells.iter().flat_map(|(name, text)| [name, text]) {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let hash = hasher.finalize();
    hash[..16].try_into().expect("a SHA-256 has 32 bytes")
}

fn is_named(column: &StagedColumn, name: &str) -> bool {
    let wanted = name.trim().to_lowercase();
    column.header.trim().to_lowercase() == wanted || column.name.to_lowercase() == wanted
}
