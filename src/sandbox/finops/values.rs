//! Values on their way in and out: JSON and literals as they are stored, and what is stored as JSON.
//!
//! Nothing is null in the store: an empty text is `''`, an empty day or instant is the first of 1900, and what is empty
//! of an enumeration is its first member. Source: dynamics.md §6.2.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rusqlite::types::Value;
use serde_json::Value as Json;
use uuid::Uuid;

use super::super::literal::{Literal, stored_instant};
use super::model::{Column, EnumType, Kind, Model};
use super::refusal::Refusal;

/// The empty day and, as observed, also what an empty instant is served as.
pub(super) const NO_DATE: &str = "1900-01-01T12:00:00Z";
/// The day that stands for none.
const NO_DAY: Date = jiff::civil::date(1900, 1, 1);
/// Digits behind the point that a real keeps.
const REAL_SCALE: i32 = 6;
/// The largest real that `numeric(32,6)` holds is beyond what JSON's numbers keep; this one is the application's.
const REAL_MAX: f64 = 1e26;

/// The value of a column that nobody filled; of an enumeration it is the first member.
pub(super) fn empty(model: &Model, kind: &Kind) -> Value {
    match kind {
        Kind::Text(_) | Kind::Binary => Value::Text(String::new()),
        Kind::Int32 | Kind::Int64 => Value::Integer(0),
        Kind::Enum(index) => Value::Integer(first(&model.enums[*index])),
        Kind::Real => Value::Real(0.0),
        Kind::Date | Kind::DateTime => Value::Text(NO_DATE.to_owned()),
        Kind::Guid => Value::Text(Uuid::nil().to_string()),
    }
}

fn first(of: &EnumType) -> i64 {
    of.members.first().map_or(0, |(_, number)| *number)
}

/// The JSON value as it is stored; a `null` is the empty value.
///
/// # Errors
/// 400 when it is not of the column's type. How long a text is, is not looked at.
pub(super) fn of_json(model: &Model, column: &Column, value: &Json) -> Result<Value, Refusal> {
    let kind = &column.kind;
    let refused = || {
        let literal = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Refusal::literal(&literal, &model.type_name(kind))
    };
    let stored = match (kind, value) {
        (_, Json::Null) => Some(empty(model, kind)),
        (Kind::Text(_), Json::String(text)) => Some(Value::Text(text.clone())),
        (Kind::Int32, Json::Number(number)) => {
            number.as_i64().filter(|number| i32::try_from(*number).is_ok()).map(Value::Integer)
        }
        (Kind::Int64, Json::Number(number)) => number.as_i64().map(Value::Integer),
        (Kind::Real, Json::Number(number)) => number.as_f64().and_then(real),
        (Kind::Date | Kind::DateTime, Json::String(text)) => return moment(kind, text),
        (Kind::Guid, Json::String(text)) => text.parse::<Uuid>().ok().map(|id| Value::Text(id.to_string())),
        (Kind::Binary, Json::String(text)) => STANDARD.decode(text).ok().map(|_| Value::Text(text.clone())),
        // A member's number as text is taken as well, as .NET's parser does.
        (Kind::Enum(index), Json::String(text)) => {
            let of = &model.enums[*index];
            let by_number = || text.parse().ok().filter(|number| of.member(*number).is_some());
            of.number(text).or_else(by_number).map(Value::Integer)
        }
        _ => None,
    };
    stored.ok_or_else(refused)
}

/// The literal of a key or a filter as it is stored.
///
/// # Errors
/// 400 when it is not of the column's type; an enumeration takes only its qualified literal (dynamics.md §6.2).
pub(super) fn of_literal(model: &Model, column: &Column, literal: &Literal) -> Result<Value, Refusal> {
    let kind = &column.kind;
    let stored = match (kind, literal) {
        (Kind::Text(_), Literal::Text(text)) => Some(Value::Text(text.clone())),
        (Kind::Int32 | Kind::Int64, Literal::Integer(number)) => Some(Value::Integer(*number)),
        (Kind::Real | Kind::Int32 | Kind::Int64, Literal::Decimal(number)) => real(*number),
        (Kind::Real, Literal::Integer(number)) => real(*number as f64),
        (Kind::Date | Kind::DateTime, Literal::Bare(text)) => return moment(kind, text),
        (Kind::Guid, Literal::Bare(text)) => text.parse::<Uuid>().ok().map(|id| Value::Text(id.to_string())),
        (Kind::Enum(index), Literal::Member { of, name }) => {
            let wanted = &model.enums[*index];
            (*of == model.type_name(kind)).then(|| wanted.number(name)).flatten().map(Value::Integer)
        }
        (_, Literal::Null) => Some(empty(model, kind)),
        _ => None,
    };
    stored.ok_or_else(|| {
        Refusal::malformed(format!(
            "A binary operator with incompatible types was detected. Found operand types '{}' and '{}' for operator kind \
             'Equal'.",
            model.type_name(kind),
            literal.edm_type()
        ))
    })
}

/// A real as it is stored: six digits behind the point.
fn real(number: f64) -> Option<Value> {
    let shift = 10_f64.powi(REAL_SCALE);
    // Beyond this a double has no digit behind the point to round.
    let rounded = if number.abs() < 1e9 { (number * shift).round() / shift } else { number };
    (number.abs() < REAL_MAX).then_some(Value::Real(rounded))
}

/// A day is the UTC day of the instant, at its noon; an instant is kept in whole seconds.
fn moment(kind: &Kind, text: &str) -> Result<Value, Refusal> {
    let Ok(at) = text.parse::<Timestamp>() else {
        // The OData library's words: a day, or a time without its zone, is no instant.
        return Err(if text.parse::<jiff::civil::DateTime>().is_ok() {
            Refusal::malformed(format!(
                "The time zone information is missing on the DateTimeOffset value '{text}'. A DateTimeOffset value must \
                 contain the time zone information."
            ))
        } else {
            Refusal::literal(text, "Edm.DateTimeOffset")
        });
    };
    // The first day there is stands for none.
    let day = at.to_zoned(TimeZone::UTC).date();
    if day == NO_DAY {
        return Ok(Value::Text(NO_DATE.to_owned()));
    }
    if day < NO_DAY {
        return Err(Refusal::literal(text, "Edm.DateTimeOffset"));
    }
    let stored = match kind {
        Kind::Date => at.strftime("%Y-%m-%dT12:00:00Z").to_string(),
        _ => stored_instant(at),
    };
    Ok(Value::Text(stored))
}

/// What is stored, as JSON.
pub(super) fn served(model: &Model, kind: &Kind, value: &Value) -> Json {
    match (kind, value) {
        (Kind::Enum(index), Value::Integer(number)) => match model.enums[*index].member(*number) {
            Some(name) => Json::from(name),
            None => Json::from(number.to_string()),
        },
        (_, Value::Integer(number)) => Json::from(*number),
        (_, Value::Real(number)) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Json::from(*number as i64)
        }
        (_, Value::Real(number)) => Json::from(*number),
        (_, Value::Text(text)) => Json::from(text.as_str()),
        (_, Value::Null | Value::Blob(_)) => served(model, kind, &empty(model, kind)),
    }
}

/// Whether the value is the one of a column that nobody filled.
pub(super) fn is_empty(model: &Model, kind: &Kind, value: &Value) -> bool {
    *value == empty(model, kind)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::built_in;
    use super::*;

    #[test]
    fn a_value_of_another_type_is_refused_and_a_null_is_the_empty_value() {
        let model = built_in::model();
        let lines = model.set("LedgerJournalLines").unwrap();
        let stored = |name: &str, value: Json| of_json(&model, lines.column(name).unwrap().1, &value);
        for (name, value) in [
            ("Text", json!(5)),
            ("DebitAmount", json!("5")),
            ("TransDate", json!("2019-10-04")),
            ("TransDate", json!("04.10.2019")),
            ("TransDate", json!("2019-10-04T12:00:00")),
            ("TransDate", json!("1899-12-31T12:00:00Z")),
            ("AccountType", json!("Nonsense")),
            ("AccountType", json!(1)),
            ("DebitAmount", json!(1e30)),
        ] {
            assert!(stored(name, value.clone()).is_err(), "{name} {value}");
        }
        for (name, value, wanted) in [
            ("Text", Json::Null, json!("")),
            ("TransDate", Json::Null, json!(NO_DATE)),
            ("TransDate", json!("2019-10-04T23:30:00+02:00"), json!("2019-10-04T12:00:00Z")),
            ("TransDate", json!("1900-01-01T00:00:00Z"), json!(NO_DATE)),
            ("DebitAmount", json!(12.3456789), json!(12.345_679)),
            ("DebitAmount", json!(12), json!(12)),
            ("AccountType", json!("cust"), json!("Cust")),
            ("AccountType", Json::Null, json!("Ledger")),
        ] {
            let kind = &lines.column(name).unwrap().1.kind;
            assert_eq!(served(&model, kind, &stored(name, value).unwrap()), wanted, "{name}");
        }
    }
}
