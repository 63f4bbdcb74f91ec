//! One row on its way to the target, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::bulk::{Action, Table};
use super::finops::Course;
use crate::domain::effect::Written;
use crate::domain::refusal::{Refusal, Severity};
use crate::domain::row::RowId;

/// What is done to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Create it; where one with its key is there, it is refused. F&O alone.
    Post,
    /// Create or update it; in F&O update it.
    Patch,
    /// Delete it.
    Delete,
}

/// What must be true beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Any,
    /// The record exists (`If-Match: *`).
    Exists,
    /// The record is as it was when this ETag was read.
    Version(Arc<str>),
}

/// How it is known whether a write created its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Knowing {
    /// The id is the row's own, and no job before this one can have used it: whenever it is there, this row made it.
    Fresh,
    /// The target is asked for the record's id, which stands in this column, and its status tells (dynamics.md §2.3).
    Asked(Arc<str>),
    /// The record must be there beforehand.
    There,
    /// There is no way to know.
    Untold,
}

/// One row as the target takes it. Sending it twice leaves the target as sending it once: by its address, or because the
/// room asks first what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The row.
    pub row: RowId,
    /// What is done.
    pub method: Method,
    /// The record, relative to the API's root and encoded: `accounts(8f4c…)`, `accounts(accountnumber='A-17')`.
    pub path: String,
    /// What must be true beforehand.
    pub condition: Condition,
    /// How it is known whether the record was there before.
    pub knowing: Knowing,
    /// The JSON body; `None` for a delete.
    pub body: Option<String>,
    /// Its place in a bulk action, where it can have one.
    pub(super) bulk: Option<Bulk>,
    /// The record for receipts: its GUID, or its key predicate as people read it (`accountnumber='A-17'`).
    pub target_key: String,
    /// What the sender can do where the record must be there and is not.
    pub(super) if_absent: &'static str,
    /// Names in the target's messages → staged columns, shared by all rows of a plan.
    pub(super) columns: Arc<Vec<(String, String)>>,
    /// What F&O needs beyond the first request.
    pub(super) course: Option<Box<Course>>,
}

/// How an operation goes as one of the targets of a bulk action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bulk {
    /// The action.
    pub(super) action: Action,
    /// The member that names the record: `"accountid":"8f4c…"`, `"@odata.id":"accounts(accountnumber='A-17')"`.
    pub(super) naming: String,
    /// The table, shared by all rows of a plan.
    pub(super) table: Arc<Table>,
}

/// How operations share a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchShape {
    /// Each for itself: one that is refused costs only itself.
    Independent,
    /// All or none, in one transaction.
    ChangeSet,
}

/// Whether the operations may have been carried out already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// They never left.
    New,
    /// They were sent before and their outcome was not heard; what a delete does not find, it may have deleted itself.
    InDoubt,
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target has it.
    Written(Written),
    /// The target refused it.
    Refused(Refusal),
}

/// What became of all operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReport {
    /// One per operation, in their order.
    pub outcomes: Vec<Outcome>,
    /// Requests that were made.
    pub attempts: u32,
    /// From the first byte sent to the last heard, pauses included.
    pub took: Duration,
    /// The operation for whose sake a whole change set was refused, where the target named it.
    pub culprit: Option<usize>,
    /// The gravest thing that happened, for the log; `None` when everything went through at once.
    pub trouble: Option<Trouble>,
    /// Operations whose record got a key that the target made, as receipts have it.
    pub made: Vec<(usize, String)>,
}

/// What happened on the way, for the migration log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The target's words, or the network's.
    pub error: String,
    /// What it means, for the operator.
    pub cause: String,
    /// How bad it was: `Retried` or `Rows`.
    pub severity: Severity,
}

impl Trouble {
    /// Something that passed when it was tried again.
    pub(super) fn passing(reason: &str) -> Self {
        let cause = "the service was busy or broke off; it was tried again".to_owned();
        Trouble { error: reason.to_owned(), cause, severity: Severity::Retried }
    }

    /// Keeps the gravest; of equals the refusals' first, so that the log tells what the sender will read.
    pub(super) fn keep_in(self, gravest: &mut Option<Trouble>) {
        let rank = |trouble: &Trouble| (trouble.severity == Severity::Rows, trouble.severity);
        if gravest.as_ref().is_none_or(|known| rank(known) < rank(&self)) {
            *gravest = Some(self);
        }
    }
}

impl Operation {
    /// The staged column that a message of the target names, if any: `The length of the 'name' attribute`, `A record with
    /// the same value for Account Number already exists`.
    pub(super) fn column_in(&self, message: &str) -> Option<String> {
        let quoted = message.split(['\'', '`', '"']).skip(1).step_by(2);
        let shared = shared_value(message).into_iter();
        quoted.chain(shared).find_map(|name| self.column_of(name))
    }

    fn column_of(&self, name: &str) -> Option<String> {
        let name = name.trim();
        let found = self.columns.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, column)| column.clone())
    }
}

/// What two records would share, in the words of a violated key. Source: dynamics.md §2.4.
pub(super) fn shared_value(message: &str) -> Option<&str> {
    let (_, tail) = message.split_once("the same value for ")?;
    let (names, _) = tail.split_once(" already exists")?;
    Some(names)
}

#[cfg(test)]
impl Operation {
    /// An update of the record at this path, with a body of a hundred bytes.
    pub(super) fn patch(path: &str) -> Self {
        Operation {
            row: RowId(uuid::Uuid::nil()),
            method: Method::Patch,
            path: path.to_owned(),
            condition: Condition::Any,
            knowing: Knowing::Fresh,
            body: Some("x".repeat(100)),
            bulk: None,
            target_key: path.to_owned(),
            if_absent: "",
            columns: Arc::new(Vec::new()),
            course: None,
        }
    }
}
