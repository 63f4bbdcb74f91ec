//! Reads records of F&O back by their whole keys, in whichever company, and holds them against what was sent.

use serde_json::Value as Json;

use super::COMPANY;
use super::answers::{is_empty, same};
use super::ask::Seen;
use super::naming::RecordKey;
use crate::domain::entity::AttributeKind;
use crate::io::dynamics::Dynamics;
use crate::io::dynamics::fault::TargetFault;
use crate::io::dynamics::operation::{Method, Operation};
use crate::io::dynamics::plan::{PlannedColumn, Role, RowPlan};
use crate::io::dynamics::read_back::{Difference, Found, ReadBack};

/// A record that is looked for, and what was written to it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io::dynamics) struct Wanted {
    key: RecordKey,
    /// The body that was sent.
    sent: Option<String>,
    /// Whether the service may have filled in what was sent empty: it does so when it creates a record. Source:
    /// dynamics.md §6.1, `DefaultRow`.
    filled: bool,
}

impl Wanted {
    /// The record of a row, and what the row says of it; by the key in its receipt where there is one, for a part of the
    /// key may be the service's. `None` where the key is not whole.
    pub(in crate::io::dynamics) fn of(
        plan: &RowPlan,
        operation: &Operation,
        key: Option<&str>,
    ) -> Option<Self> {
        let own = || operation.course.as_ref().map(|course| course.key.clone());
        let key = key.and_then(|key| RecordKey::read(&plan.entity, key)).or_else(own)?;
        let (sent, filled) = (operation.body.clone(), operation.method == Method::Post);
        Some(Wanted { key, sent, filled }).filter(|wanted| wanted.key.missing.is_none())
    }

    /// A record of whose values nothing is known.
    pub(in crate::io::dynamics) fn record(plan: &RowPlan, key: &str) -> Option<Self> {
        Some(Wanted { key: RecordKey::read(&plan.entity, key)?, sent: None, filled: false })
    }
}

impl Dynamics {
    /// As [`Dynamics::read_back`]. Entities do not tell in general when a record was changed last.
    pub(in crate::io::dynamics) async fn finops_read_back(
        &self,
        plan: &RowPlan,
        wanted: &[&Wanted],
    ) -> Result<ReadBack, TargetFault> {
        let keys: Vec<(usize, &RecordKey)> = (0..).zip(wanted.iter().map(|wanted| &wanted.key)).collect();
        let has_company = plan.entity.attribute(COMPANY).is_some();
        let mut seen = self.seen(&plan.entity.set_name, has_company, &keys).await?;
        let found = (0..).zip(wanted).map(|(place, wanted)| {
            let Some(Seen::There(record)) = seen.remove(&place) else { return None };
            Some(Found {
                etag: record.get("@odata.etag").and_then(Json::as_str).map(str::to_owned),
                modified: None,
                differences: differences(plan, wanted, &record),
            })
        });
        Ok(ReadBack { found: found.collect(), clock: None })
    }
}

/// What is not as it was sent. What was not in the body is whatever the service made of it.
fn differences(plan: &RowPlan, wanted: &Wanted, record: &Json) -> Vec<Difference> {
    let sent: Json =
        wanted.sent.as_deref().and_then(|sent| serde_json::from_str(sent).ok()).unwrap_or_default();
    let differs = |column: &PlannedColumn| {
        let name = column.attribute.logical_name.as_str();
        let (sent, found) = (sent.get(name)?, record.get(name)?);
        let defaulted = wanted.filled && is_empty(sent);
        (!defaulted && !held(column, sent, found)).then(|| Difference::of(&column.header, sent, found))
    };
    plan.columns.iter().filter_map(differs).collect()
}

/// Whether the target holds what was sent. Keys are kept in another case; other texts are not.
fn held(column: &PlannedColumn, sent: &Json, found: &Json) -> bool {
    let text = |value: &Json| value.as_str().map(|text| text.replace("\r\n", "\n").trim_end().to_owned());
    match &column.attribute.kind {
        AttributeKind::Text { .. } if column.role == Role::Value => {
            text(sent).unwrap_or_default() == text(found).unwrap_or_default()
        }
        _ => same(sent, found),
    }
}
