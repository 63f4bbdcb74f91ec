//! Literals of URLs: the values in keys and filters.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use rusqlite::types::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::schema::{Column, Kind};

/// A value as it stands in a URL.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Boolean(bool),
    Integer(i64),
    Decimal(f64),
    Text(String),
    /// A member of an enumeration, `Microsoft.Dynamics.DataEntities.NoYes'Yes'`.
    Member {
        of: String,
        name: String,
    },
    /// Unquoted text that is no number: a GUID, a date or an instant.
    Bare(String),
}

impl Literal {
    /// The literal that this unquoted word is.
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "null" => Literal::Null,
            "true" => Literal::Boolean(true),
            "false" => Literal::Boolean(false),
            _ => match (word.parse::<i64>(), word.parse::<f64>()) {
                (Ok(number), _) => Literal::Integer(number),
                (_, Ok(number)) if number.is_finite() => Literal::Decimal(number),
                _ => Literal::Bare(word.to_owned()),
            },
        }
    }

    /// The value as the store holds it in this column, for comparison.
    ///
    /// # Errors
    /// When the literal's type cannot be compared with the column's.
    pub(super) fn stored(&self, column: &Column) -> Result<Value, ApiError> {
        let text = || match self {
            Literal::Text(text) | Literal::Bare(text) => Some(text.as_str()),
            _ => None,
        };
        let value = match (&column.kind, self) {
            (_, Literal::Null) => Some(Value::Null),
            (Kind::Text { .. } | Kind::Memo { .. } | Kind::MultiChoice { .. }, Literal::Text(text)) => {
                Some(Value::Text(text.clone()))
            }
            (Kind::Id | Kind::Guid | Kind::Lookup { .. }, _) => {
                text().and_then(|text| text.parse::<Uuid>().ok()).map(|id| Value::Text(id.to_string()))
            }
            (
                Kind::Integer { .. }
                | Kind::BigInt
                | Kind::Choice { .. }
                | Kind::State { .. }
                | Kind::Status { .. },
                Literal::Integer(number),
            ) => Some(Value::Integer(*number)),
            (Kind::Double { .. } | Kind::Decimal { .. } | Kind::Money { .. }, Literal::Integer(number)) => {
                Some(Value::Real(*number as f64))
            }
            (
                Kind::Double { .. } | Kind::Decimal { .. } | Kind::Money { .. } | Kind::Integer { .. },
                Literal::Decimal(number),
            ) => Some(Value::Real(*number)),
            (Kind::Boolean { .. }, Literal::Boolean(truth)) => Some(Value::Integer(i64::from(*truth))),
            (Kind::Date, _) => text()
                .and_then(|text| text.get(..10))
                .and_then(|text| text.parse::<Date>().ok())
                .map(|date| Value::Text(date.to_string())),
            (Kind::DateTime, _) => text().and_then(instant).map(|at| Value::Text(stored_instant(at))),
            _ => None,
        };
        value.ok_or_else(|| {
            ApiError::query_syntax(format!(
                "A binary operator with incompatible types was detected. Found operand types '{}' and '{}' for operator \
                 kind 'Equal'.",
                column.kind.edm_type(),
                self.edm_type()
            ))
        })
    }

    /// What error texts call its type.
    pub(super) fn edm_type(&self) -> &str {
        match self {
            Literal::Null => "Edm.Null",
            Literal::Boolean(_) => "Edm.Boolean",
            Literal::Integer(_) => "Edm.Int32",
            Literal::Decimal(_) => "Edm.Decimal",
            Literal::Text(_) => "Edm.String",
            Literal::Member { of, .. } => of,
            Literal::Bare(_) => "Edm.Untyped",
        }
    }
}

/// The instant that a text names. Without an offset it is UTC, a day alone is its midnight (dynamics.md §2.6).
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let local = text.parse::<DateTime>().ok()?;
    local.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The text under which an instant is stored and served: UTC, whole seconds, sorts as it runs.
pub(super) fn stored_instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Reads a quoted literal that starts at the beginning of `text`: its content and its length in bytes.
pub(super) fn quoted(text: &str) -> Option<(String, usize)> {
    let mut content = String::new();
    let mut rest = text.strip_prefix('\'')?;
    loop {
        let end = rest.find('\'')?;
        content.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                content.push('\'');
                rest = after;
            }
            None => return Some((content, text.len() - rest.len())),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_doubled_quote_is_one_quote() {
        assert_eq!(quoted("'O''Brien' and"), Some(("O'Brien".to_owned(), 10)));
        assert_eq!(quoted("'open"), None);
    }

    #[test]
    fn a_time_without_an_offset_is_utc() {
        for text in ["2021-04-04T20:00:00", "2021-04-04T20:00:00Z", "2021-04-04T22:00:00+02:00"] {
            assert_eq!(stored_instant(instant(text).unwrap()), "2021-04-04T20:00:00Z");
        }
        assert_eq!(stored_instant(instant("2021-04-04").unwrap()), "2021-04-04T00:00:00Z");
        assert_eq!(instant("04.04.2021"), None);
    }
}
