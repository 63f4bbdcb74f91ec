//! Whether a record is the one that we sent: value by value, with what the service makes of values understood.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::naming::{KeyPart, RecordKey};
use crate::domain::conform::excerpt;

/// Difference of two numbers, relative to the larger one, below which they are one: decimals come back as floating point.
const NUMBERS_APART_MAX: f64 = 1e-9;
/// Difference of two numbers that rounding to six digits after the point makes. Source: dynamics.md §6.3, `Scale="6"`.
const ROUNDING_MAX: f64 = 5e-7;

/// What tells the record apart from what was sent, in words; `None` where they agree. What the record does not tell is
/// taken for the same.
pub(super) fn difference(sent: &str, record: &Json) -> Option<String> {
    let sent: Json = serde_json::from_str(sent).unwrap_or_default();
    let differs = |(name, value): (&String, &Json)| {
        let found = record.get(name)?;
        (!same(value, found)).then(|| {
            format!("{name} is `{}` instead of `{}`", excerpt(&plain(found)), excerpt(&plain(value)))
        })
    };
    sent.as_object()?.iter().find_map(differs)
}

/// Whether the record has this key, as far as the key is known.
pub(super) fn has_key(key: &RecordKey, record: &Json) -> bool {
    let agrees = |part: &KeyPart| match (&part.literal, record.get(&part.name)) {
        (Some(literal), Some(found)) => same(&Json::from(bare(literal)), found),
        (None, _) => true,
        (Some(_), None) => false,
    };
    key.parts.iter().all(agrees)
}

/// A literal of a URL without its quotes and its type.
fn bare(literal: &str) -> String {
    match (literal.find('\''), literal.strip_suffix('\'')) {
        (Some(start), Some(head)) if head.len() > start => head[start + 1..].replace("''", "'"),
        _ => literal.to_owned(),
    }
}

/// Whether two values are one, whatever the service makes of their spelling.
pub(super) fn same(sent: &Json, found: &Json) -> bool {
    if sent == found || (is_empty(sent) && is_empty(found)) {
        return true;
    }
    let (one, other) = (plain(sent), plain(found));
    if let (Ok(one), Ok(other)) = (one.parse::<f64>(), other.parse::<f64>())
        && (sent.is_number() || found.is_number())
    {
        let apart = (one - other).abs();
        return apart <= NUMBERS_APART_MAX * one.abs().max(other.abs()) || apart <= ROUNDING_MAX;
    }
    if let (Ok(one), Ok(other)) = (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        // A day travels at noon and may come back at another hour of that day; fractions of seconds are not kept.
        let at_noon = one.as_second().rem_euclid(86_400) == 43_200;
        let days = one.as_second().div_euclid(86_400) == other.as_second().div_euclid(86_400);
        return one.as_second() == other.as_second() || (at_noon && days);
    }
    // Keys are kept in capitals, and blanks at the end of a text are not kept at all.
    one.trim_end().to_lowercase() == other.trim_end().to_lowercase()
}

/// Null, an empty text, and the day that stands for no day. Source: dynamics.md §6.2.
pub(super) fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::String(text) => text.trim().is_empty() || text.starts_with("1900-01-01"),
        _ => false,
    }
}

fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_ours_where_only_the_services_spelling_is_another() {
        let sent = r#"{"CustomerGroupId":"abc","Description":"Retail ","Limit":1500.250000,"Since":"2026-11-24T12:00:00Z","Until":"1900-01-01T12:00:00Z","Note":"","IsOn":"Yes"}"#;
        let record = json!({"@odata.etag": "W/\"x\"", "CustomerGroupId": "ABC", "Description": "Retail",
            "Limit": 1500.25, "Since": "2026-11-24T00:00:00Z", "Until": "1900-01-01T00:00:00Z", "Note": null,
            "IsOn": "Yes", "Defaulted": "by the service"});
        assert_eq!(difference(sent, &record), None);
    }

    #[test]
    fn another_value_is_told_with_both() {
        let sent = r#"{"Description":"Retail","Limit":10,"Since":"2026-11-24T13:30:00Z","IsOn":"Yes"}"#;
        for (name, found, told) in [
            ("Description", json!("Whole"), "Description is `Whole` instead of `Retail`"),
            ("Limit", json!(10.01), "Limit is `10.01` instead of `10`"),
            (
                "Since",
                json!("2026-11-24T12:00:00Z"),
                "Since is `2026-11-24T12:00:00Z` instead of `2026-11-24T13:30:00Z`",
            ),
            ("IsOn", json!("No"), "IsOn is `No` instead of `Yes`"),
            ("Description", json!(""), "Description is `` instead of `Retail`"),
        ] {
            let mut record: Json = serde_json::from_str(sent).unwrap();
            record[name] = found;
            assert_eq!(difference(sent, &record).as_deref(), Some(told));
        }
    }

    #[test]
    fn a_key_is_recognised_whatever_its_type() {
        let part = |name: &str, literal: &str| KeyPart {
            name: name.to_owned(),
            literal: Some(literal.to_owned()),
            shown: String::new(),
        };
        let key = RecordKey {
            parts: vec![
                part("dataAreaId", "'USMF'"),
                part("Name", "'O''Brien'"),
                part("IsOn", "Microsoft.Dynamics.DataEntities.NoYes'Yes'"),
                part("From", "2019-10-04T12:00:00Z"),
                part("Line", "7"),
            ],
            missing: None,
        };
        let mut record = json!({"dataAreaId": "usmf", "Name": "O'Brien", "IsOn": "Yes",
            "From": "2019-10-04T12:00:00Z", "Line": 7});
        assert!(has_key(&key, &record));
        record["Line"] = json!(8);
        assert!(!has_key(&key, &record));
    }
}
