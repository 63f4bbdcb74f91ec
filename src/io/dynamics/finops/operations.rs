//! Rows as operations on F&O: POST, PATCH or DELETE, with the values spelled as its entities take them. Source: dynamics.md
//! §6.1, §6.2.

use jiff::civil::Date;

use super::naming::{EntityNaming, Missing, RecordKey};
use super::{COMPANY, CROSS_COMPANY};
use crate::domain::conform::Conformed;
use crate::domain::entity::AttributeKind;
use crate::domain::refusal::Refusal;
use crate::domain::row::{RowId, StagedRow};
use crate::domain::settings::BlankRule;
use crate::io::dynamics::encode::Deed;
use crate::io::dynamics::operation::{Condition, Knowing, Method, Operation};
use crate::io::dynamics::plan::{Role, RowPlan};
use crate::io::dynamics::spelling::{encoded, json, json_object, json_text, literal};

/// The namespace of the service's types. Source: dynamics.md §6.1.
const NAMESPACE: &str = "Microsoft.Dynamics.DataEntities";
/// The time of day at which days travel, so that no time zone moves them to another day. Source: dynamics.md §6.2.
const NOON: &str = "T12:00:00Z";

/// What an operation is beyond its first request.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::io::dynamics) struct Course {
    /// What the row asks for.
    pub(super) deed: Deed,
    /// The entity set.
    pub(super) set: String,
    /// The record's key, as far as it is known.
    pub(super) key: RecordKey,
    /// Whether the entity belongs to companies.
    pub(super) has_company: bool,
    /// Path and body of the POST that follows where an upsert finds no record.
    pub(super) create: Option<(String, String)>,
}

/// What a body is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BodyOf {
    Create,
    Change,
}

/// The operation of a row whose cells are conformed.
///
/// # Errors
/// Where the row contradicts the sidecar about its company.
pub(in crate::io::dynamics) fn operation(
    plan: &RowPlan,
    naming: &EntityNaming,
    row: &StagedRow,
    deed: Deed,
    cells: &[Conformed],
) -> Result<Operation, Vec<Refusal>> {
    let company = naming.company(plan, cells).map_err(|refusal| vec![*refusal])?;
    let key = naming.key(plan, company, cells);
    let made = naming.made_for(row.id).filter(|_| key.missing.is_some());
    let deed = match deed {
        // A row that was written before goes to its record, and anew where that is gone: sent again, it is no second one.
        Deed::Create if naming.has_written(&key) || made.is_some() => Deed::Upsert,
        deed => deed,
    };
    if deed != Deed::Create && made.is_none() && key.missing == Some(Missing::Company) {
        let (column, _) = naming.companies();
        return Err(vec![Refusal {
            column: column.map(|at| plan.columns[at].name.clone()),
            error: format!("`{COMPANY}`: blank in a key"),
            cause: "the row names no company, and which one is the default is not to be seen".to_owned(),
            advice: format!("fill in {COMPANY}, or name the company with `legal_entity` in the sidecar"),
            missing: None,
        }]);
    }
    let set = &plan.entity.set_name;
    let has_company = !naming.is_shared();
    let query = match company {
        Some(_) => format!("?{CROSS_COMPANY}"),
        None => String::new(),
    };
    let known = made.and_then(|made| RecordKey::read(&plan.entity, made));
    let predicate = known.as_ref().unwrap_or(&key).predicate();
    let address = || format!("{set}({}){query}", encoded(&predicate));
    let create = || (format!("{set}{query}"), body(plan, company, cells, BodyOf::Create));
    let (method, path, sent, create) = match deed {
        Deed::Create => {
            let (path, body) = create();
            (Method::Post, path, Some(body), None)
        }
        Deed::Upsert | Deed::Update => {
            let change = body(plan, company, cells, BodyOf::Change);
            (Method::Patch, address(), Some(change), (deed == Deed::Upsert).then(create))
        }
        Deed::Delete => (Method::Delete, address(), None, None),
    };
    let target_key = made.map_or_else(|| key.shown(), str::to_owned);
    Ok(Operation {
        row: row.id,
        method,
        path,
        condition: Condition::Any,
        knowing: Knowing::Untold,
        bulk: None,
        body: sent,
        target_key,
        if_absent: match deed {
            Deed::Delete => "take the row out, or correct its key or its company",
            Deed::Create | Deed::Upsert | Deed::Update => {
                "correct its key or its company, or load it with mode `upsert`"
            }
        },
        columns: plan.names.clone(),
        course: Some(Box::new(Course { deed, set: set.clone(), key, has_company, create })),
    })
}

/// The record of a row as receipts keep it: as [`Operation::target_key`] of its operation.
pub(in crate::io::dynamics) fn target_key(
    plan: &RowPlan,
    naming: &EntityNaming,
    row: &StagedRow,
    cells: &[Conformed],
) -> String {
    // A row that contradicts its sidecar was refused and has no receipt.
    let company = naming.company(plan, cells).unwrap_or_default();
    let key = naming.key(plan, company, cells);
    match naming.made_for(row.id).filter(|_| key.missing.is_some()) {
        Some(made) => made.to_owned(),
        None => key.shown(),
    }
}

/// The members of a body: what the sheet has and the service takes. The key is in the address of a change.
fn body(plan: &RowPlan, company: Option<&str>, cells: &[Conformed], of: BodyOf) -> String {
    let mut members = Vec::new();
    if let (BodyOf::Create, Some(company)) = (of, company) {
        members.push((COMPANY.to_owned(), json_text(company)));
    }
    for (column, value) in plan.columns.iter().zip(cells) {
        let attribute = &column.attribute;
        let takes = match of {
            BodyOf::Create => attribute.creatable,
            BodyOf::Change => attribute.updatable && column.role == Role::Value,
        };
        let left_out = *value == Conformed::Blank && plan.blank == BlankRule::Leave;
        if takes && !left_out && attribute.logical_name != COMPANY {
            members.push((attribute.logical_name.clone(), spelled(&attribute.kind, value)));
        }
    }
    json_object(&members)
}

/// A value as JSON. There is no null: what is empty is an empty text, zero, the first member, or 1900-01-01.
fn spelled(kind: &AttributeKind, value: &Conformed) -> String {
    match (kind, value) {
        (AttributeKind::DayOrInstant, Conformed::Date(date)) => json_text(&at_noon(*date)),
        (kind, Conformed::Blank) => match kind {
            AttributeKind::Text { .. } => json_text(""),
            AttributeKind::DayOrInstant => json_text(&at_noon(EMPTY_DATE)),
            AttributeKind::Date => json_text(&EMPTY_DATE.to_string()),
            AttributeKind::Integer { .. } | AttributeKind::Decimal { .. } | AttributeKind::Double { .. } => {
                "0".to_owned()
            }
            AttributeKind::Boolean { .. } => "false".to_owned(),
            AttributeKind::Enumeration { members, .. } => {
                let empty = members.iter().find(|member| member.value == 0);
                empty.map_or_else(|| json(value), |member| json_text(&member.label))
            }
            AttributeKind::Guid => json_text(&uuid::Uuid::nil().to_string()),
            AttributeKind::Choice { .. }
            | AttributeKind::MultiChoice { .. }
            | AttributeKind::DateTime
            | AttributeKind::Lookup { .. }
            | AttributeKind::Unsupported { .. } => json(value),
        },
        _ => json(value),
    }
}

/// The day that stands for no day. Source: dynamics.md §6.2.
const EMPTY_DATE: Date = Date::constant(1900, 1, 1);

fn at_noon(date: Date) -> String {
    format!("{date}{NOON}")
}

/// A key's value as a literal in a URL; `None` for a blank one.
pub(super) fn literal_of(kind: &AttributeKind, value: &Conformed) -> Option<String> {
    Some(match (kind, value) {
        (AttributeKind::DayOrInstant, Conformed::Date(date)) => at_noon(*date),
        (AttributeKind::Enumeration { name, .. }, Conformed::Member(_)) => {
            format!("{NAMESPACE}.{name}{}", literal(value)?)
        }
        _ => literal(value)?,
    })
}

/// The same of a value as receipts have it, where days stand without their hour and members without their type.
pub(super) fn literal_again(kind: &AttributeKind, shown: &str) -> String {
    let bare = shown.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(shown);
    match kind {
        AttributeKind::Text { .. } => shown.to_owned(),
        AttributeKind::Enumeration { name, .. } => format!("{NAMESPACE}.{name}'{bare}'"),
        AttributeKind::DayOrInstant => bare.parse().map_or_else(|_| bare.to_owned(), at_noon),
        _ => bare.to_owned(),
    }
}

/// The deletion of a record, if it still is the version that was read; `None` where its key is not whole.
pub(in crate::io::dynamics) fn deletion(
    plan: &RowPlan,
    row: RowId,
    target_key: &str,
    condition: Condition,
) -> Option<Operation> {
    let key = RecordKey::read(&plan.entity, target_key)?;
    let set = plan.entity.set_name.clone();
    let has_company = plan.entity.attribute(COMPANY).is_some();
    let query = if has_company { format!("?{CROSS_COMPANY}") } else { String::new() };
    Some(Operation {
        row,
        method: Method::Delete,
        path: format!("{set}({}){query}", encoded(&key.predicate())),
        condition,
        knowing: Knowing::There,
        body: None,
        bulk: None,
        target_key: target_key.to_owned(),
        if_absent: "",
        columns: plan.names.clone(),
        course: Some(Box::new(Course { deed: Deed::Delete, set, key, has_company, create: None })),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::domain::entity::ChoiceOption;

    #[test]
    fn days_travel_at_noon_and_what_is_empty_has_a_value() {
        let day = Conformed::Date("2026-11-24".parse().unwrap());
        assert_eq!(spelled(&AttributeKind::DayOrInstant, &day), "\"2026-11-24T12:00:00Z\"");
        assert_eq!(spelled(&AttributeKind::Date, &day), "\"2026-11-24\"");
        let instant = Conformed::Instant("2026-11-24T00:00:00Z".parse().unwrap());
        assert_eq!(spelled(&AttributeKind::DayOrInstant, &instant), "\"2026-11-24T00:00:00Z\"");
        let members = vec![
            ChoiceOption { value: 1, label: "Yes".to_owned() },
            ChoiceOption { value: 0, label: "No".to_owned() },
        ];
        let no_yes = AttributeKind::Enumeration { name: "NoYes".to_owned(), members };
        for (kind, empty) in [
            (AttributeKind::Text { length_max: None }, "\"\""),
            (AttributeKind::DayOrInstant, "\"1900-01-01T12:00:00Z\""),
            (AttributeKind::Integer { min: 0, max: 9 }, "0"),
            (no_yes.clone(), "\"No\""),
            (AttributeKind::Guid, "\"00000000-0000-0000-0000-000000000000\""),
        ] {
            assert_eq!(spelled(&kind, &Conformed::Blank), empty);
        }
        let digits = Conformed::Decimal("12345678901234567.250000".to_owned());
        let decimal = AttributeKind::Decimal { min: None, max: None, precision: Some(6) };
        assert_eq!(spelled(&decimal, &digits), "12345678901234567.250000");
        let yes = Conformed::Member("Yes".to_owned());
        assert_eq!(spelled(&no_yes, &yes), "\"Yes\"");
        let literal = literal_of(&no_yes, &yes).unwrap();
        assert_eq!(literal, "Microsoft.Dynamics.DataEntities.NoYes'Yes'");
        assert_eq!(literal_of(&AttributeKind::DayOrInstant, &day).unwrap(), "2026-11-24T12:00:00Z");
    }
}
