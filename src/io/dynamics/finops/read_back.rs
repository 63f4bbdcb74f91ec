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
use crate::io::dynamics::plan::{PlannedColumn, RowPlan};
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
    let key = plan.entity.keys.first().map(|key| key.attributes.as_slice()).unwrap_or_default();
    let differs = |column: &PlannedColumn| {
        let name = column.attribute.logical_name.as_str();
        let in_key = key.iter().any(|member| member == name);
        let (sent, found) = (sent.get(name)?, record.get(name)?);
        let defaulted = wanted.filled && is_empty(sent);
        (!defaulted && !held(&column.attribute.kind, in_key, sent, found))
            .then(|| Difference::of(&column.header, sent, found))
    };
    plan.columns.iter().filter_map(differs).collect()
}

/// Whether the target holds what was sent. Keys, companies among them, are kept in another case; other texts are not.
fn held(kind: &AttributeKind, in_key: bool, sent: &Json, found: &Json) -> bool {
    let text = |value: &Json| value.as_str().map(|text| text.replace("\r\n", "\n").trim_end().to_owned());
    match kind {
        AttributeKind::Text { .. } if !in_key => {
            text(sent).unwrap_or_default() == text(found).unwrap_or_default()
        }
        _ => same(sent, found),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_services_own_spellings_are_no_differences_and_other_values_are() {
        let text = AttributeKind::Text { length_max: None };
        let day = AttributeKind::DayOrInstant;
        let number = AttributeKind::Decimal { min: None, max: None, precision: Some(6) };
        let member = AttributeKind::Enumeration { name: "NoYes".to_owned(), members: Vec::new() };
        for (kind, in_key, sent, found) in [
            (&text, true, json!("USMF"), json!("usmf")),
            (&text, false, json!("a\r\nb "), json!("a\nb")),
            (&text, false, json!(""), json!(null)),
            (&day, false, json!("2026-11-24T12:00:00Z"), json!("2026-11-24T00:00:00Z")),
            (&day, false, json!("1900-01-01T12:00:00Z"), json!("1900-01-01T00:00:00Z")),
            (&number, false, json!(1_234.570_000), json!(1_234.57)),
            (&member, false, json!("Yes"), json!("Yes")),
        ] {
            assert!(held(kind, in_key, &sent, &found), "{kind:?}: {sent} and {found}");
        }
        for (kind, in_key, sent, found) in [
            (&text, false, json!("Retail"), json!("RETAIL")),
            (&text, false, json!("0017"), json!("17")),
            (&text, false, json!("a"), json!("")),
            (&day, false, json!("2026-11-24T12:00:00Z"), json!("2026-11-25T12:00:00Z")),
            (&day, false, json!("1900-01-01T12:00:00Z"), json!("2026-11-25T12:00:00Z")),
            (&number, false, json!(10.5), json!(10.51)),
            (&member, false, json!("Yes"), json!("No")),
        ] {
            assert!(!held(kind, in_key, &sent, &found), "{kind:?}: {sent} and {found}");
        }
    }
}
