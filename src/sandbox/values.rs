//! Holds one JSON value against its column: the value as it is stored, or the documented refusal.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Value;
use serde_json::Value as Json;
use uuid::Uuid;

use super::error::ApiError;
use super::literal::{instant, stored_instant};
use super::schema::{Column, Kind, Table};

/// Options that one multi-select value may hold. Source: dynamics.md §2.6.
const MULTI_CHOICES_MAX: usize = 150;
/// The first day that Dataverse stores. Source: dynamics.md §2.6.
const FIRST_DAY: &str = "1753-01-01";

/// The stored form of `value` in `column`; lookups are bound elsewhere.
///
/// # Errors
/// The refusals of dynamics.md §2.6 and §7.3.
pub(super) fn checked(table: &Table, column: &Column, value: &Json) -> Result<Value, ApiError> {
    let unlike = || ApiError::literal(table, value, column.kind.edm_type());
    if value.is_null() {
        return Ok(Value::Null);
    }
    match &column.kind {
        Kind::Text { length_max, .. } | Kind::Memo { length_max } => {
            let text = value.as_str().ok_or_else(unlike)?;
            if text.len() > *length_max as usize && text.encode_utf16().count() > *length_max as usize {
                return Err(ApiError::too_long(table, column, *length_max));
            }
            // Dataverse keeps no empty texts: they come back as null.
            Ok(if text.is_empty() { Value::Null } else { Value::Text(text.to_owned()) })
        }
        Kind::Integer { min, max } => {
            let number = whole(value).ok_or_else(unlike)?;
            if number < *min || number > *max {
                return Err(ApiError::out_of_range(table, column, &number.to_string()));
            }
            Ok(Value::Integer(number.into()))
        }
        Kind::BigInt => value.as_i64().map(Value::Integer).ok_or_else(unlike),
        Kind::Double { min, max, precision }
        | Kind::Decimal { min, max, precision }
        | Kind::Money { min, max, precision } => {
            let number = value.as_f64().filter(|_| value.is_number()).ok_or_else(unlike)?;
            if number < *min || number > *max {
                return Err(ApiError::out_of_range(table, column, &value.to_string()));
            }
            Ok(Value::Real(rounded(number, *precision)))
        }
        Kind::Boolean { .. } => {
            value.as_bool().map(|truth| Value::Integer(i64::from(truth))).ok_or_else(unlike)
        }
        Kind::Binary => {
            let text = value.as_str().ok_or_else(unlike)?;
            STANDARD.decode(text).map_err(|_| unlike())?;
            Ok(Value::Text(text.to_owned()))
        }
        Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => {
            let number = whole(value).ok_or_else(unlike)?;
            // A schema that was read from `$metadata` does not know the options; then any number is one.
            let known = column.kind.options().next().is_some();
            if known && column.kind.option_label(number.into()).is_none() {
                return Err(ApiError::out_of_range(table, column, &number.to_string()));
            }
            Ok(Value::Integer(number.into()))
        }
        Kind::MultiChoice { .. } => {
            let text = value.as_str().ok_or_else(unlike)?;
            let mut numbers = Vec::new();
            for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
                let number: i32 = part.parse().map_err(|_| unlike())?;
                if column.kind.option_label(number.into()).is_none() {
                    return Err(ApiError::out_of_range(table, column, part));
                }
                numbers.push(number);
            }
            numbers.sort_unstable();
            numbers.dedup();
            if numbers.len() > MULTI_CHOICES_MAX {
                return Err(ApiError::new(
                    400,
                    "0x80040203",
                    format!("'{}' takes at most {MULTI_CHOICES_MAX} options.", column.name),
                ));
            }
            let texts: Vec<String> = numbers.iter().map(i32::to_string).collect();
            Ok(if texts.is_empty() { Value::Null } else { Value::Text(texts.join(",")) })
        }
        Kind::Date => {
            let text = value.as_str().filter(|text| text.len() == 10).ok_or_else(unlike)?;
            let day: jiff::civil::Date = text.parse().map_err(|_| unlike())?;
            not_too_early(day.to_string())
        }
        Kind::DateTime => {
            let at = value.as_str().and_then(instant).ok_or_else(unlike)?;
            not_too_early(stored_instant(at))
        }
        // The service ignores what it does not let be written.
        Kind::Other { .. } => Ok(Value::Null),
        Kind::Id | Kind::Guid => {
            let id: Uuid = value.as_str().and_then(|text| text.parse().ok()).ok_or_else(unlike)?;
            Ok(Value::Text(id.to_string()))
        }
        Kind::Lookup { .. } => Err(ApiError::payload(
            &table.set_name,
            "Microsoft.OData.ODataException: A 'PrimitiveValue' node with non-null value was found when trying to read \
             the value of a navigation property; however, a 'StartArray' node, a 'StartObject' node, or a \
             'PrimitiveValue' node with null value was expected.",
        )),
    }
}

/// An Int32; `5.0` is not one, and neither is `"5"`.
fn whole(value: &Json) -> Option<i32> {
    value.as_i64().and_then(|number| i32::try_from(number).ok())
}

fn not_too_early(stored: String) -> Result<Value, ApiError> {
    if stored.starts_with('-') || stored.as_str() < FIRST_DAY {
        return Err(ApiError::too_early(&stored));
    }
    Ok(Value::Text(stored))
}

/// `number` with so many digits after the point, halves away from zero, counted in decimal as Dataverse counts.
fn rounded(number: f64, precision: u32) -> f64 {
    let text = number.abs().to_string();
    let Some((whole, fraction)) = text.split_once('.') else { return number };
    let digits = precision as usize;
    if fraction.len() <= digits {
        return number;
    }
    let up = fraction.as_bytes()[digits] >= b'5';
    // At most 12 digits before the point and 10 after it: an i128 holds them.
    let Ok(units) = format!("{whole}{}", &fraction[..digits]).parse::<i128>() else { return number };
    let units = units + i128::from(up);
    let text = format!("{units:0>width$}", width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    let magnitude: f64 = format!("{whole}.{fraction}").parse().unwrap_or(number);
    magnitude.copysign(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::entities;
    use super::*;

    fn stored(set: &str, column: &str, value: Json) -> Result<Value, String> {
        let schema = entities::built_in();
        let table = schema.set(set).unwrap();
        checked(table, table.column(column).unwrap(), &value).map_err(|error| error.code.into_owned())
    }

    #[test]
    fn numbers_are_rounded_in_decimal_not_in_binary() {
        for (number, wanted) in [(1.005, 1.01), (1.004_999, 1.0), (-1.005, -1.01), (0.999, 1.0), (7.0, 7.0)] {
            assert_eq!(rounded(number, 2), wanted, "{number}");
        }
        assert_eq!(rounded(2.5, 0), 3.0);
    }

    #[test]
    fn each_fault_of_a_value_has_its_documented_code() {
        let faults = [
            ("accountnumber", json!("123456789012345678901"), "0x80044331"),
            ("accountnumber", json!(5), "0x80048d19"),
            ("numberofemployees", json!(-1), "0x8004432F"),
            ("numberofemployees", json!(3_000_000_000_i64), "0x80048d19"),
            ("numberofemployees", json!(5.5), "0x80048d19"),
            ("numberofemployees", json!("5"), "0x80048d19"),
            ("revenue", json!(-0.01), "0x80044330"),
            ("revenue", json!("1,5"), "0x80048d19"),
            ("creditonhold", json!(1), "0x80048d19"),
            ("creditonhold", json!("Yes"), "0x80048d19"),
            ("industrycode", json!(99), "0x8004431A"),
            ("industrycode", json!("Consulting"), "0x80048d19"),
            ("ddu_channels", json!("1,7"), "0x8004431A"),
            ("ddu_channels", json!("Retail"), "0x80048d19"),
            ("ddu_customersince", json!("2021-04-04T00:00:00Z"), "0x80048d19"),
            ("ddu_customersince", json!("04.04.2021"), "0x80048d19"),
            ("ddu_customersince", json!("1752-12-31"), "0x80040239"),
            ("lastonholdtime", json!("1752-12-31T23:59:59Z"), "0x80040239"),
            ("lastonholdtime", json!("soon"), "0x80048d19"),
            ("accountid", json!("not a guid"), "0x80048d19"),
            ("primarycontactid", json!("7d6dab7e-0000-0000-0000-000000000000"), "0x80048d19"),
        ];
        for (column, value, code) in faults {
            assert_eq!(stored("accounts", column, value.clone()), Err(code.to_owned()), "{column} = {value}");
        }
    }

    #[test]
    fn lengths_are_counted_in_utf_16_units() {
        // 10 emoji are 20 units and fit; an 11th does not.
        assert!(stored("accounts", "accountnumber", json!("😀".repeat(10))).is_ok());
        assert_eq!(stored("accounts", "accountnumber", json!("😀".repeat(11))), Err("0x80044331".to_owned()));
        assert!(stored("accounts", "accountnumber", json!("ä".repeat(20))).is_ok());
    }

    #[test]
    fn values_are_kept_as_dataverse_keeps_them() {
        let kept = [
            ("accountnumber", json!("007"), Value::Text("007".into())),
            ("name", json!(""), Value::Null),
            ("revenue", json!(5), Value::Real(5.0)),
            ("revenue", json!(12.345), Value::Real(12.35)),
            ("ddu_channels", json!("9, 1"), Value::Text("1,9".into())),
            (
                "lastonholdtime",
                json!("2021-04-04T22:00:00+02:00"),
                Value::Text("2021-04-04T20:00:00Z".into()),
            ),
            ("lastonholdtime", json!("2021-04-04T20:00:00"), Value::Text("2021-04-04T20:00:00Z".into())),
            ("creditonhold", json!(true), Value::Integer(1)),
        ];
        for (column, value, wanted) in kept {
            assert_eq!(stored("accounts", column, value.clone()), Ok(wanted), "{column} = {value}");
        }
    }
}
