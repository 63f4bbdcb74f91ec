//! Reads records back: what the target holds now of what was written, and what a record is deleted by.

mod compare;

use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Method as Verb;
use serde_json::Value as Json;
use uuid::Uuid;

use super::fault::TargetFault;
use super::finops::Wanted;
use super::multipart;
use super::operation::{Condition, Knowing, Method, Operation};
use super::plan::RowPlan;
use super::verdict::{Class, judge};
use super::wire::Request;
use super::{Dialect, Dynamics, finops};
use crate::domain::conform::guid_in;
use crate::domain::row::RowId;

/// Records that one request reads. Few enough that an answer stays far below the size limit, whatever their columns hold.
pub const READS_MAX: usize = 100;
/// Tries of one batch of reads of which single ones say "not now".
const TRIES_MAX: u32 = 5;
/// When a record was changed last, in every Dataverse table that keeps it.
const MODIFIED: &str = "modifiedon";

/// What names a record for good, as far as the product has that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Record {
    /// Dataverse: its own id.
    Id(Uuid),
    /// Finance & Operations: its whole key, as receipts have it.
    Key(String),
}

impl Record {
    /// The same for every spelling of the name: F&O's keys do not tell cases apart.
    pub fn folded(&self) -> Self {
        match self {
            Record::Id(id) => Record::Id(*id),
            Record::Key(key) => Record::Key(key.to_lowercase()),
        }
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Record::Id(id) => id.hyphenated().fmt(f),
            Record::Key(key) => f.write_str(key),
        }
    }
}

/// A record that is looked for, and what was written to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sought(Way);

#[derive(Debug, Clone, PartialEq)]
enum Way {
    Address {
        path: String,
        /// The body that was sent; `None` where only its presence matters.
        sent: Option<String>,
    },
    Key(Box<Wanted>),
}

/// What the target holds.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadBack {
    /// The records in the order in which they were sought; `None` for one that is not there.
    pub found: Vec<Option<Found>>,
    /// The target's clock at the last answer, to the second.
    pub clock: Option<Timestamp>,
}

/// A record as the target holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its version, for a change that must not meet another one.
    pub etag: Option<String>,
    /// When it was changed last, by the target's clock, where the entity keeps that.
    pub modified: Option<Timestamp>,
    /// Values that are not what was sent, in the order of the columns.
    pub differences: Vec<Difference>,
}

/// A value that is not what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The column as its sender wrote it.
    pub header: String,
    /// What was sent.
    pub sent: String,
    /// What the target holds.
    pub found: String,
}

impl Sought {
    /// The record of a row, and what the row says of it: by the record's own name where that is known, since a key may
    /// have gone to another record. `None` where the record cannot be named.
    pub fn of(plan: &RowPlan, operation: &Operation, record: Option<&Record>) -> Option<Self> {
        let path = match record {
            Some(Record::Id(id)) => address(plan, *id),
            Some(Record::Key(key)) => return by_key(Wanted::of(plan, operation, Some(key))),
            None if operation.course.is_some() => return by_key(Wanted::of(plan, operation, None)),
            None => operation.path.clone(),
        };
        Some(Sought(Way::Address { path, sent: operation.body.clone() }))
    }

    /// A record of whose values nothing is known. `None` where its key is not whole.
    pub fn record(plan: &RowPlan, record: &Record) -> Option<Self> {
        match record {
            Record::Id(id) => Some(Sought(Way::Address { path: address(plan, *id), sent: None })),
            Record::Key(key) => by_key(Wanted::record(plan, key)),
        }
    }
}

fn by_key(wanted: Option<Wanted>) -> Option<Sought> {
    Some(Sought(Way::Key(Box::new(wanted?))))
}

fn address(plan: &RowPlan, id: Uuid) -> String {
    format!("{}({})", plan.entity.set_name, id.hyphenated())
}

impl RowPlan {
    /// The deletion of a record, if it still is the version that was read. `None` where its key is not whole.
    pub fn deletion(&self, row: RowId, record: &Record, etag: Option<&str>) -> Option<Operation> {
        let condition = etag.map_or(Condition::Any, |etag| Condition::Version(Arc::from(etag)));
        let id = match record {
            Record::Id(id) => *id,
            Record::Key(key) => return finops::deletion(self, row, key, condition),
        };
        Some(Operation {
            row,
            method: Method::Delete,
            path: address(self, id),
            condition,
            knowing: Knowing::There,
            body: None,
            bulk: None,
            target_key: id.hyphenated().to_string(),
            if_absent: "",
            columns: Arc::clone(&self.names),
            course: None,
        })
    }
}

impl Dynamics {
    /// What names the record of a receipt for good; `None` where the receipt does not tell.
    pub fn record_of(&self, record_id: Option<&str>, target_key: &str) -> Option<Record> {
        match self.dialect() {
            Dialect::Dataverse => guid_in(record_id.unwrap_or(target_key)).map(Record::Id),
            Dialect::Finops => Some(Record::Key(target_key.to_owned())),
        }
    }

    /// Reads records, many in one request, and holds their values against what was sent.
    ///
    /// # Errors
    /// When the target does not answer, or refuses to show a record for another reason than that it is not there.
    pub async fn read_back(&self, plan: &RowPlan, sought: &[Sought]) -> Result<ReadBack, TargetFault> {
        let (mut addressed, mut keyed) = (Vec::new(), Vec::new());
        for Sought(way) in sought {
            match way {
                Way::Address { path, sent } => addressed.push((path.as_str(), sent.as_deref())),
                Way::Key(wanted) => keyed.push(&**wanted),
            }
        }
        match self.dialect() {
            Dialect::Dataverse => self.read_addressed(plan, &addressed).await,
            Dialect::Finops => self.finops_read_back(plan, &keyed).await,
        }
    }

    async fn read_addressed(
        &self,
        plan: &RowPlan,
        sought: &[(&str, Option<&str>)],
    ) -> Result<ReadBack, TargetFault> {
        let select = compare::selected(plan, MODIFIED);
        let mut all = ReadBack { found: Vec::with_capacity(sought.len()), clock: None };
        for sought in sought.chunks(READS_MAX) {
            let paths: Vec<String> = sought.iter().map(|(path, _)| format!("{path}{select}")).collect();
            let (records, clock) = self.read_records(&paths).await?;
            all.clock = clock.or(all.clock);
            all.found.extend(records.iter().zip(sought).map(|(record, (_, sent))| {
                let record = record.as_ref()?;
                let text = |name: &str| record.get(name).and_then(Json::as_str);
                Some(Found {
                    etag: text("@odata.etag").map(str::to_owned),
                    modified: text(MODIFIED).and_then(|at| at.parse().ok()),
                    differences: sent.map_or_else(Vec::new, |sent| compare::differences(plan, sent, record)),
                })
            }));
        }
        Ok(all)
    }

    /// One request's records, and the clock of its answer.
    async fn read_records(
        &self,
        paths: &[String],
    ) -> Result<(Vec<Option<Json>>, Option<Timestamp>), TargetFault> {
        let wire = &self.inner.wire;
        let mut tries = 0;
        loop {
            tries += 1;
            let batch = multipart::reads(paths.iter().map(String::as_str), wire.root_path());
            let request = Request {
                method: Verb::POST,
                path: "$batch",
                prefer: Some("odata.continue-on-error"),
                if_match: None,
                body: Some((&batch.content_type, batch.body.into())),
                rows: 0,
            };
            let answer = wire.patiently(&request, "records").await?;
            let parts = multipart::answers(&answer.content_type, &answer.body).unwrap_or_default();
            if parts.len() == paths.len() {
                let read = parts.iter().map(|part| one(part.status, &part.body)).collect();
                match read {
                    Ok(records) => return Ok((records, answer.date)),
                    Err(No::Later) if tries < TRIES_MAX => {
                        tokio::time::sleep(wire.limits().backoff_min * tries).await;
                        continue;
                    }
                    Err(No::Later) => {
                        let (doing, reason) = ("GET records".to_owned(), "busy again and again".to_owned());
                        let retry_in = wire.limits().backoff_max;
                        return Err(TargetFault::Unavailable { doing, reason, attempts: tries, retry_in });
                    }
                    Err(No::Never(fault)) => return Err(fault),
                }
            }
            let found = match parts.len() {
                0 => judge(answer.status, &answer.body).error,
                parts => format!("{parts} answers to {} reads", paths.len()),
            };
            return Err(TargetFault::Misunderstood { doing: "GET records".to_owned(), found });
        }
    }
}

/// Why a read has no answer yet.
enum No {
    Later,
    Never(TargetFault),
}

/// One read's answer: the record, or that it is not there.
fn one(status: u16, body: &str) -> Result<Option<Json>, No> {
    let doing = || "GET records".to_owned();
    if status < 400 {
        let record = serde_json::from_str(body).map_err(|error| {
            No::Never(TargetFault::Misunderstood { doing: doing(), found: format!("no JSON: {error}") })
        });
        return record.map(Some);
    }
    let verdict = judge(status, body.as_bytes());
    match verdict.class {
        Class::Transient(_) => Err(No::Later),
        _ if status == 401 => Err(No::Later),
        _ if status == 404 => Ok(None),
        Class::Access => Err(No::Never(TargetFault::Access { error: verdict.error, cause: verdict.cause })),
        _ => Err(No::Never(TargetFault::Misunderstood { doing: doing(), found: verdict.error })),
    }
}
