//! What stands where: the report that `ddu status`, the page and the metrics are made of.

use serde::{Deserialize, Serialize};

use crate::domain::job::JobId;
use crate::domain::table::TableName;

/// Everything an operator asks for: tables, jobs in progress, files in the dropbox. Serialises as `ddu status --json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatusReport {
    /// Every staged table, in the order of migration.
    pub tables: Vec<TableStatus>,
    /// Every job that is not archived yet, in the order of claims.
    pub jobs: Vec<JobStatus>,
    /// Every file in the dropbox that no job has claimed, by name.
    pub dropbox: Vec<FileStatus>,
    /// What the operator should know of the target, in sentences: application users whose access was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<String>,
}

/// One staged table and how far its rows have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    /// The table.
    pub table_name: TableName,
    /// The entity its rows are written to.
    pub target_entity: String,
    /// Rows staged.
    pub records: u64,
    /// Rows that the target has.
    pub written: u64,
    /// Rows that were refused and not mended yet.
    pub quarantined: u64,
    /// Rows that still have to be written.
    pub pending: u64,
    /// Whether every check that `ddu validate` made has succeeded.
    pub validated: bool,
    /// Where the table stands, in words.
    pub status: String,
}

/// One job between its claim and its archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// The workbook's name as it was dropped.
    pub workbook: String,
    /// The table that its present part is loaded into.
    pub table_name: TableName,
    /// The lifecycle's word for where it stands.
    pub state: String,
    /// What it waits for, in a sentence; `None` while it is being worked on.
    pub waiting_for: Option<String>,
}

/// The state of a file that waits for a person.
pub const HELD: &str = "held";

/// One file in the dropbox that was not claimed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// The file's name.
    pub file: String,
    /// A word for where it stands: `settling`, `held` …
    pub state: String,
    /// What it waits for, in a sentence; `None` when its turn is next.
    pub waiting_for: Option<String>,
}

/// The four numbers of a table, or of several together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RowCounts {
    /// Rows staged.
    pub records: u64,
    /// Rows that the target has.
    pub written: u64,
    /// Rows refused and not mended yet.
    pub quarantined: u64,
    /// Rows still to be written.
    pub pending: u64,
}

impl RowCounts {
    /// Whether every row is accounted for: staged = written + quarantined + pending.
    pub fn add_up(self) -> bool {
        let sum = u128::from(self.written) + u128::from(self.quarantined) + u128::from(self.pending);
        u128::from(self.records) == sum
    }
}

impl TableStatus {
    /// The table's four numbers.
    pub fn counts(&self) -> RowCounts {
        RowCounts {
            records: self.records,
            written: self.written,
            quarantined: self.quarantined,
            pending: self.pending,
        }
    }
}

impl StatusReport {
    /// The four numbers of all tables together.
    pub fn totals(&self) -> RowCounts {
        self.tables.iter().fold(RowCounts::default(), |sum, table| RowCounts {
            records: sum.records.saturating_add(table.records),
            written: sum.written.saturating_add(table.written),
            quarantined: sum.quarantined.saturating_add(table.quarantined),
            pending: sum.pending.saturating_add(table.pending),
        })
    }

    /// The tables whose four numbers do not add up; there should never be one.
    pub fn unaccounted(&self) -> impl Iterator<Item = &TableStatus> {
        self.tables.iter().filter(|table| !table.counts().add_up())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_report_serialises_as_status_json_promises() {
        // Reads the documented form and writes it again: the same keys in the same order, and null where nothing is waited for.
        let documented = json!({
            "tables": [{"table_name": "customers", "target_entity": "accounts", "records": 10, "written": 7,
                        "quarantined": 2, "pending": 1, "validated": false, "status": "migrating"}],
            "jobs": [{"job": "20261122T140320Z-9f3a1c2e", "workbook": "customers.xlsx", "table_name": "customers",
                      "state": "migrating", "waiting_for": null}],
            "dropbox": [{"file": "late.xlsx", "state": "held", "waiting_for": "its sidecar `late.xlsx.json` to parse"}]
        });
        let report: StatusReport = serde_json::from_value(documented.clone()).unwrap();
        assert_eq!(serde_json::to_string(&report).unwrap(), documented.to_string());
    }

    #[test]
    fn a_row_that_is_unaccounted_for_is_found() {
        let table = |written| TableStatus {
            table_name: "t".to_owned().try_into().unwrap(),
            target_entity: "accounts".into(),
            records: 10,
            written,
            quarantined: 2,
            pending: 1,
            validated: false,
            status: String::new(),
        };
        let report = StatusReport { tables: vec![table(7), table(6)], ..StatusReport::default() };
        assert_eq!(report.unaccounted().map(|t| t.written).collect::<Vec<_>>(), [6]);
        assert_eq!(report.totals(), RowCounts { records: 20, written: 13, quarantined: 4, pending: 2 });
    }
}
