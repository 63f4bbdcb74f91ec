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
}

/// A refused row within its batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    /// The row's place in its batch, from 0.
    pub index: u32,
    /// Every reason that is known, most important first; never empty.
    pub refusals: Vec<Refusal>,
}
