//! One cell's value, as its sender wrote it, and the column types that staged tables know.

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// A cell's value. Times of day and durations travel as text (`13:45:00`, `PT36H`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Value {
    /// Nothing in the cell.
    Blank,
    /// Text exactly as typed.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Any other finite number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// A day without a time.
    Date(Date),
    /// An instant; date-times without an offset were placed by the sidecar's `timezone`.
    Timestamp(Timestamp),
    /// A cell that cannot be carried: an error value, a formula nobody computed, a number beyond fifteen digits.
    Unreadable {
        /// What stands in the cell, for example `#N/A`.
        found: String,
        /// Why it cannot be carried, as the sender reads it.
        why: String,
    },
}

impl Value {
    /// Whether the cell holds nothing.
    pub fn is_blank(&self) -> bool {
        matches!(self, Value::Blank)
    }

    /// The value as a person would type it; blank is the empty string.
    pub fn to_text(&self) -> String {
        match self {
            Value::Blank => String::new(),
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Boolean(true) => "TRUE".to_owned(),
            Value::Boolean(false) => "FALSE".to_owned(),
            Value::Date(date) => date.to_string(),
            Value::Timestamp(at) => at.to_string(),
            Value::Unreadable { found, .. } => found.clone(),
        }
    }

    /// The narrowest column type that holds this value, `None` for blank and unreadable cells.
    pub fn stage_type(&self) -> Option<StageType> {
        match self {
            Value::Blank | Value::Unreadable { .. } => None,
            Value::Text(_) => Some(StageType::Text),
            Value::Integer(_) => Some(StageType::Integer),
            Value::Number(_) => Some(StageType::Number),
            Value::Boolean(_) => Some(StageType::Boolean),
            Value::Date(_) => Some(StageType::Date),
            Value::Timestamp(_) => Some(StageType::Timestamp),
        }
    }
}

/// The type of a staged column. Each has one Arrow and one Delta type, readable by every reader of protocol 1/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageType {
    /// Delta `string`.
    Text,
    /// Delta `long`.
    Integer,
    /// Delta `double`.
    Number,
    /// Delta `boolean`.
    Boolean,
    /// Delta `date`.
    Date,
    /// Delta `timestamp`, UTC, microseconds.
    Timestamp,
}

impl StageType {
    /// The type that holds values of both without loss; text where nothing narrower does.
    pub fn widened(self, other: StageType) -> StageType {
        match (self, other) {
            (a, b) if a == b => a,
            (StageType::Integer, StageType::Number) | (StageType::Number, StageType::Integer) => {
                StageType::Number
            }
            _ => StageType::Text,
        }
    }
}
