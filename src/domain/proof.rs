//! What was checked of a table's rows in the target, and what came of it.

use jiff::Timestamp;
use serde::Serialize;

use super::job::JobId;
use super::row::RowId;
use super::table::TableName;

/// Departures that are kept one by one; more are counted only.
pub const DEPARTURES_MAX: usize = 10_000;

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// All is as it should be.
    Right,
    /// Something to know that is no fault of what was written.
    Noted,
    /// The check could not be made.
    Open,
    /// Something is not as it should be.
    Wrong,
}

impl Finding {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::Right => "right",
            Finding::Noted => "noted",
            Finding::Open => "not checked",
            Finding::Wrong => "wrong",
        }
    }
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, in two or three words.
    pub what: &'static str,
    /// What came of it.
    pub finding: Finding,
    /// The numbers, in a sentence.
    pub said: String,
}

/// How a record departs from what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Departed {
    /// A value is another one, and nobody changed the record since.
    Wrong,
    /// The record is not there.
    Missing,
    /// The record was to be deleted and is there.
    StillThere,
    /// A value is another one, and the record was changed after it was written.
    ChangedSince,
    /// What was sent cannot be told any more, so nothing could be compared.
    Untold,
}

impl Departed {
    /// What it means.
    pub fn as_str(self) -> &'static str {
        match self {
            Departed::Wrong => "not as written",
            Departed::Missing => "not there",
            Departed::StillThere => "still there",
            Departed::ChangedSince => "changed since",
            Departed::Untold => "not compared",
        }
    }

    /// Whether what was written is in doubt because of it.
    pub fn is_wrong(self) -> bool {
        match self {
            Departed::Wrong | Departed::Missing | Departed::StillThere => true,
            Departed::ChangedSince | Departed::Untold => false,
        }
    }
}

/// One record, or one value of one, that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Departure {
    /// How it departs.
    pub kind: Departed,
    /// The sheet that the row came from.
    pub sheet: String,
    /// The row's number there.
    pub row: u32,
    /// The row.
    pub row_id: RowId,
    /// The job that wrote it.
    pub job: String,
    /// The record, as receipts name it.
    pub record: String,
    /// The column; empty where it is about the record as a whole.
    pub column: String,
    /// What was sent.
    pub sent: String,
    /// What was found, or why it could not be compared.
    pub found: String,
}

/// What was checked of a table, or of what one job wrote into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The staged table.
    pub table_name: TableName,
    /// The entity in the target.
    pub target_entity: String,
    /// The job whose rows were looked at; `None` for those of all jobs.
    pub job: Option<JobId>,
    /// When the checks began.
    pub begun: Timestamp,
    /// When they ended.
    pub ended: Timestamp,
    /// The table's rows.
    pub records: u64,
    /// Those that the target has.
    pub written: u64,
    /// Those in quarantine.
    pub quarantined: u64,
    /// Those still to be written.
    pub pending: u64,
    /// Records that the writes created.
    pub created: u64,
    /// Records that they changed or deleted.
    pub updated: u64,
    /// Writes of which nobody can tell whether they created their record.
    pub unknown: u64,
    /// Receipts that were read back.
    pub read_back: u64,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
    /// What is not as it was written, at most [`DEPARTURES_MAX`].
    pub departures: Vec<Departure>,
    /// How many more there are.
    pub more_departures: u64,
}

impl Proof {
    /// Notes a check.
    pub fn check(&mut self, what: &'static str, finding: Finding, said: String) {
        self.checks.push(Check { what, finding, said });
    }

    /// Notes a departure.
    pub fn depart(&mut self, departure: Departure) {
        if self.departures.len() < DEPARTURES_MAX {
            self.departures.push(departure);
        } else {
            self.more_departures += 1;
        }
    }

    /// Whether every check was made and nothing is wrong.
    pub fn holds(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.finding, Finding::Right | Finding::Noted))
    }

    /// What was checked and what came of it, for the state table.
    pub fn sentence(&self) -> String {
        let checks = self.checks.iter().map(|check| match check.finding {
            Finding::Right => format!("{}: {}", check.what, check.said),
            finding => format!("{} ({}): {}", check.what, finding.as_str(), check.said),
        });
        let at = self.ended.strftime("%Y-%m-%d %H:%M:%S UTC");
        format!("{at}; {}", checks.collect::<Vec<_>>().join("; "))
    }
}
