//! Holds a record's values against those that were sent, with the roundings and spellings that are the target's own.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::Difference;
use crate::domain::conform::{excerpt, guid_in};
use crate::domain::entity::AttributeKind;
use crate::io::dynamics::plan::{PlannedColumn, Role, RowPlan};

/// `?$select=…` of the columns that a plan writes, and of the time of the last change.
pub(super) fn selected(plan: &RowPlan, modified: &str) -> String {
    let mut names: Vec<String> = compared(plan).map(held_as).collect();
    names.extend(plan.entity.primary_id.clone());
    if plan.entity.attribute(modified).is_some() {
        names.push(modified.to_owned());
    }
    names.sort();
    names.dedup();
    if names.is_empty() { String::new() } else { format!("?$select={}", names.join(",")) }
}

/// The columns whose values can be read again as they were sent. What only a creation takes is left out: an update passes
/// over it, and `overriddencreatedon` itself then holds another time than was sent.
fn compared(plan: &RowPlan) -> impl Iterator<Item = &PlannedColumn> {
    plan.columns.iter().filter(|column| column.role != Role::Key && column.attribute.updatable)
}

/// The property under which a record holds a column.
fn held_as(column: &PlannedColumn) -> String {
    match column.lookup {
        Some(_) => format!("_{}_value", column.attribute.logical_name),
        None => column.attribute.logical_name.clone(),
    }
}

/// What is not as it was sent. A column that was not in the body was left alone, whatever it holds.
pub(super) fn differences(plan: &RowPlan, sent: &str, record: &Json) -> Vec<Difference> {
    let sent: Json = serde_json::from_str(sent).expect("a body of ours is a JSON object");
    let mut differences = Vec::new();
    for column in compared(plan) {
        let property = match &column.lookup {
            Some(lookup) => format!("{}@odata.bind", lookup.target.navigation),
            None => column.attribute.logical_name.clone(),
        };
        let Some(sent) = sent.get(&property) else { continue };
        let found = record.get(held_as(column)).unwrap_or(&Json::Null);
        if !alike(&column.attribute.kind, sent, found) {
            differences.push(Difference::of(&column.header, sent, found));
        }
    }
    differences
}

impl Difference {
    /// Two values as people read them.
    pub(in crate::io::dynamics) fn of(header: &str, sent: &Json, found: &Json) -> Self {
        Difference { header: header.to_owned(), sent: shown(sent), found: shown(found) }
    }
}

/// Whether the target holds what was sent. Source of its own spellings: dynamics.md §2.2 and §2.6.
fn alike(kind: &AttributeKind, sent: &Json, found: &Json) -> bool {
    if is_nothing(sent) || is_nothing(found) {
        return is_nothing(sent) && is_nothing(found);
    }
    let both = |read: fn(&Json) -> Option<f64>| read(sent).zip(read(found));
    match kind {
        // Closing blanks and the kind of line ends are not kept everywhere.
        AttributeKind::Text { .. } => plain(sent) == plain(found),
        AttributeKind::Integer { .. } | AttributeKind::Choice { .. } => {
            both(number).is_some_and(|(sent, found)| sent == found)
        }
        AttributeKind::Decimal { precision, .. } | AttributeKind::Double { precision, .. } => {
            both(number).is_some_and(|(sent, found)| is_rounded(sent, found, *precision))
        }
        AttributeKind::Boolean { .. } => sent == found,
        AttributeKind::MultiChoice { .. } => options(sent) == options(found),
        AttributeKind::Date => day(sent) == day(found),
        AttributeKind::DateTime | AttributeKind::DayOrInstant => match (instant(sent), instant(found)) {
            (Some(sent), Some(found)) => sent == found,
            _ => day(sent) == day(found),
        },
        AttributeKind::Lookup { .. } | AttributeKind::Guid => {
            let (sent, found) = (pointed(sent), pointed(found));
            sent.is_some() && sent == found
        }
        AttributeKind::Enumeration { .. } | AttributeKind::Unsupported { .. } => sent == found,
    }
}

/// An empty text is stored as nothing.
fn is_nothing(value: &Json) -> bool {
    value.is_null() || value.as_str().is_some_and(str::is_empty)
}

fn plain(value: &Json) -> String {
    shown_whole(value).replace("\r\n", "\n").trim_end().to_owned()
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Whether a number is the one that was sent, rounded to so many digits after the point; without digits, as close as
/// floating point keeps it.
fn is_rounded(sent: f64, found: f64, precision: Option<u32>) -> bool {
    let kept = f64::EPSILON * 4.0 * sent.abs().max(found.abs());
    let rounded = precision.map_or(0.0, |digits| 0.5 * 10_f64.powi(-(digits.min(20) as i32)));
    (sent - found).abs() <= rounded + kept
}

fn options(value: &Json) -> BTreeSet<i64> {
    let text = shown_whole(value);
    text.split(',').filter_map(|number| number.trim().parse().ok()).collect()
}

fn day(value: &Json) -> Option<&str> {
    value.as_str().and_then(|text| text.get(..10))
}

/// An instant; fractions of a second are not kept by every column.
fn instant(value: &Json) -> Option<i64> {
    value.as_str()?.parse::<Timestamp>().ok().map(Timestamp::as_second)
}

/// The record that a bind or a lookup's value points at.
fn pointed(value: &Json) -> Option<uuid::Uuid> {
    let text = value.as_str()?;
    let id = text.split_once('(').map_or(text, |(_, rest)| rest.trim_end_matches(')'));
    guid_in(id)
}

fn shown_whole(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

fn shown(value: &Json) -> String {
    match is_nothing(value) {
        true => "(blank)".to_owned(),
        false => excerpt(&shown_whole(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_targets_own_spellings_are_no_differences_and_other_values_are() {
        let text = AttributeKind::Text { length_max: None };
        let money = AttributeKind::Decimal { min: None, max: None, precision: Some(2) };
        let float = AttributeKind::Double { min: None, max: None, precision: Some(5) };
        let several = AttributeKind::MultiChoice { options: vec![] };
        let one = AttributeKind::Choice { options: vec![] };
        let truth = AttributeKind::Boolean { yes: "Yes".into(), no: "No".into() };
        let lookup = AttributeKind::Lookup { targets: vec![] };
        let id = "8f4c3f92-312b-ee11-bdf4-000d3a993550";
        let bind = json!(format!("/contacts({id})"));
        for (kind, sent, found) in [
            (&text, json!("a\r\nb  "), json!("a\nb")),
            (&text, json!(""), json!(null)),
            (&money, json!(5_000_000), json!(5_000_000.000_0)),
            (&money, json!(92_233_720_368.25), json!(92_233_720_368.250_0)),
            (&float, json!(47.639_583), json!(47.639_58)),
            (&several, json!("9,1"), json!("1,9")),
            (&one, json!(3), json!(3)),
            (&truth, json!(false), json!(false)),
            (&AttributeKind::Date, json!("2021-04-04"), json!("2021-04-04T00:00:00Z")),
            (&AttributeKind::DateTime, json!("2021-04-04T20:00:00.123Z"), json!("2021-04-04T20:00:00Z")),
            (&lookup, bind.clone(), json!(id.to_uppercase())),
            (&lookup, json!(null), json!(null)),
        ] {
            assert!(alike(kind, &sent, &found), "{kind:?}: {sent} and {found}");
        }
        for (kind, sent, found) in [
            (&text, json!("a"), json!("A")),
            (&text, json!("a"), json!(null)),
            (&text, json!("0017"), json!("17")),
            (&money, json!(10.5), json!(10.51)),
            (&float, json!(47.639_583), json!(47.639_7)),
            (&several, json!("1,9"), json!("1")),
            (&one, json!(3), json!(2)),
            (&truth, json!(false), json!(null)),
            (&AttributeKind::Date, json!("2021-04-04"), json!("2021-04-03T22:00:00Z")),
            (&AttributeKind::DateTime, json!("2021-04-04T20:00:00Z"), json!("2021-04-04T18:00:00Z")),
            (&lookup, bind, json!("00000000-0000-0000-0000-000000000001")),
        ] {
            assert!(!alike(kind, &sent, &found), "{kind:?}: {sent} and {found}");
        }
    }
}
