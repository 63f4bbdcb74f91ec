//! Why a row was not written, in the words of the two people who must act on it.

use serde::{Deserialize, Serialize};

/// How bad a fault is: the `severity` of the migration log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// 0: nothing is wrong.
    Fine,
    /// 1: rows were held back; the sender can mend them in the returned workbook.
    Rows,
    /// 2: the service was busy or broke off, and the batch went through on a later attempt.
    Retried,
    /// 3: the batch was given up after its last attempt.
    Batch,
    /// 4: no row of the table can be written: a column or the entity does not exist there.
    Table,
    /// 5: nothing can be written at all: access, credentials or the environment. The operator must act.
    Access,
}

impl Severity {
    /// The number that stands in the log.
    pub fn number(self) -> i32 {
        match self {
            Severity::Fine => 0,
            Severity::Rows => 1,
            Severity::Retried => 2,
            Severity::Batch => 3,
            Severity::Table => 4,
            Severity::Access => 5,
        }
    }
}

/// Why one row was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The staged column at fault, where one can be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What was found, exactly: the target's code and message, or our own check. For the operator.
    pub error: String,
    /// What is wrong, in plain words, with the value found. For the sender.
    pub cause: String,
    /// What to do about it. For the sender.
    pub advice: String,
    /// The record that it points at and that is not there, where that is all that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
}

/// A record that a lookup points at and that the target does not have: once it has, the row can go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Missing {
    /// The entity's name in the URL: `accounts`.
    pub entity: String,
    /// The logical name of the column that the value names it by.
    pub column: String,
    /// The value as it stands in the row.
    pub value: String,
    /// The row was written all the same, without this lookup: for what is left, the record must be there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partly: bool,
    /// Other records that would do as well, where the lookup can point at several entities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub or: Vec<Missing>,
}

impl Missing {
    /// All records of which one would do.
    pub fn alternatives(&self) -> impl Iterator<Item = &Missing> {
        std::iter::once(self).chain(&self.or)
    }
}

impl RefusedRow {
    /// Whether records are all that the row waits for.
    pub fn waits(&self) -> bool {
        !waits_for(&self.refusals).is_empty()
    }

    /// Whether the target has the row, without a record that it points at.
    pub fn is_partly_written(&self) -> bool {
        let missing = waits_for(&self.refusals);
        !missing.is_empty() && missing.iter().all(|missing| missing.partly)
    }
}

/// The records that a row waits for; none where anything else is wrong with it.
pub fn waits_for(refusals: &[Refusal]) -> Vec<&Missing> {
    let missing: Option<Vec<&Missing>> = refusals.iter().map(|refusal| refusal.missing.as_ref()).collect();
    missing.unwrap_or_default()
}

/// A refused row within its batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// The row's place in its batch, from 0.
    pub index: u32,
    /// Every reason that is known, most important first; never empty.
    pub refusals: Vec<Refusal>,
}
