//! Holds a sender's value against an attribute: the value the target will take, or what is wrong with it.
//!
//! Independent of any protocol: how a conformed value is spelled on the wire is the client's. The rules:
//!
//! | attribute | takes |
//! |---|---|
//! | text | any value as a person would type it; length in UTF-16 code units, as Dataverse counts |
//! | numbers | numbers, and texts such as `1500`, `1,500.00`, `1.500,00`, `1 500`, `12,5`; where a separator could mean two things, nothing |
//! | decimal | at most as many digits after the point as the column keeps: money is never rounded silently |
//! | floating point | any number in range; what the column does not keep, the target rounds, as floating point does |
//! | truth values | the column's two labels, yes/no, true/false, 1/0 |
//! | choices | a label (without regard to case), else the number |
//! | named members | a name (without regard to case), else the number; yes/no also as true/false |
//! | dates | dates, midnights, and texts written year-month-day; nothing before 1753 |
//! | days or instants | a day and a midnight are a day, everything else is an instant; 1900 to 2154 |
//! | lookups | any text or number; finding the record is the client's |

mod choice;
mod moment;
mod number;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use uuid::Uuid;

use super::entity::{Attribute, AttributeKind};
use super::refusal::Refusal;
use super::value::Value;

/// Longest excerpt of a value in a sentence, in characters.
const EXCERPT_CHARS_MAX: usize = 40;

/// A value as its attribute takes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Conformed {
    /// Nothing; whether that leaves or clears the attribute is the load's setting.
    Blank,
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number in plain decimal notation with the sender's digits, for example `-1500.25`; a valid JSON number.
    Decimal(String),
    /// A truth value.
    Boolean(bool),
    /// The number of one option.
    Option(i64),
    /// The numbers of several options, each once, in the sender's order.
    Options(Vec<i64>),
    /// The name of a member, spelled as the target spells it.
    Member(String),
    /// A day.
    Date(Date),
    /// An instant.
    Instant(Timestamp),
    /// A GUID.
    Guid(Uuid),
    /// What names the record that a lookup points at; never empty.
    Reference(String),
}

impl Conformed {
    /// The value in one spelling, whatever the sender's was: keys made of it agree between `7`, `7.0` and ` 7`.
    pub fn canonical(&self) -> Value {
        match self {
            Conformed::Blank => Value::Blank,
            Conformed::Text(text)
            | Conformed::Decimal(text)
            | Conformed::Member(text)
            | Conformed::Reference(text) => Value::Text(text.clone()),
            Conformed::Integer(number) | Conformed::Option(number) => Value::Integer(*number),
            Conformed::Boolean(truth) => Value::Boolean(*truth),
            Conformed::Options(numbers) => {
                Value::Text(numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
            }
            Conformed::Date(date) => Value::Date(*date),
            Conformed::Instant(at) => Value::Timestamp(*at),
            Conformed::Guid(id) => Value::Text(id.hyphenated().to_string()),
        }
    }
}

/// Why a value cannot be what its attribute takes. The sender must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Misfit {
    /// For the operator: the attribute and the rule that was broken.
    pub error: String,
    /// For the sender: what is wrong, with the value found and the bound.
    pub cause: String,
    /// For the sender: what to do.
    pub advice: String,
}

impl Misfit {
    /// The refusal of the cell in this staged column.
    pub fn refusal(self, column: &str) -> Refusal {
        Refusal {
            column: Some(column.to_owned()),
            error: self.error,
            cause: self.cause,
            advice: self.advice,
            missing: None,
        }
    }
}

/// The value that `attribute` takes for what stands in the cell; `zone` is that of dates and times without an offset.
///
/// A cell of nothing but blanks is blank, except in a text attribute, where blanks are text.
///
/// # Errors
/// What is wrong with the value, in words for the sender.
pub fn conform(attribute: &Attribute, value: &Value, zone: &TimeZone) -> Result<Conformed, Misfit> {
    let cell = Cell { attribute, value, zone };
    match value {
        Value::Blank => return Ok(Conformed::Blank),
        Value::Text(text) if text.is_empty() => return Ok(Conformed::Blank),
        Value::Text(text)
            if !matches!(attribute.kind, AttributeKind::Text { .. }) && text.trim().is_empty() =>
        {
            return Ok(Conformed::Blank);
        }
        Value::Unreadable { found, why } => {
            return Err(Misfit {
                error: format!("`{}`: unreadable cell `{found}`", attribute.logical_name),
                cause: format!("`{}` cannot be taken over: {why}", excerpt(found)),
                advice: format!("put a plain value for {} into the cell", cell.name()),
            });
        }
        _ => {}
    }
    match &attribute.kind {
        AttributeKind::Text { length_max } => cell.text(*length_max),
        AttributeKind::Integer { min, max } => cell.integer(*min, *max),
        AttributeKind::Decimal { min, max, precision } => cell.decimal(*min, *max, *precision),
        AttributeKind::Double { min, max, .. } => cell.double(*min, *max),
        AttributeKind::Boolean { yes, no } => cell.boolean(yes, no),
        AttributeKind::Choice { options } => cell.option(options),
        AttributeKind::MultiChoice { options } => cell.options(options),
        AttributeKind::Enumeration { members, .. } => cell.member(members),
        AttributeKind::Date => cell.date(),
        AttributeKind::DateTime => cell.instant(),
        AttributeKind::DayOrInstant => cell.day_or_instant(),
        AttributeKind::Guid => cell.guid(),
        AttributeKind::Lookup { .. } => Ok(Conformed::Reference(value.to_text().trim().to_owned())),
        AttributeKind::Unsupported { name } => Err(Misfit {
            error: format!("`{}`: type {name} cannot be loaded", attribute.logical_name),
            cause: format!("{} is of a kind ({name}) that a workbook cannot fill", cell.name()),
            advice: "take this column out of the workbook".to_owned(),
        }),
    }
}

/// One cell on its way into one attribute.
struct Cell<'a> {
    attribute: &'a Attribute,
    value: &'a Value,
    zone: &'a TimeZone,
}

impl Cell<'_> {
    /// What people call the attribute.
    fn name(&self) -> &str {
        self.attribute.label()
    }

    /// The value as it stands in a sentence.
    fn shown(&self) -> String {
        excerpt(&self.value.to_text())
    }

    fn misfit(&self, rule: &str, cause: String, advice: String) -> Misfit {
        Misfit { error: format!("`{}`: {rule}", self.attribute.logical_name), cause, advice }
    }

    /// Lengths are UTF-16 code units because Dataverse stores and counts `nvarchar`; outside the basic plane (emoji,
    /// rare Han) one sign counts as two.
    fn text(&self, length_max: Option<u32>) -> Result<Conformed, Misfit> {
        let text = self.value.to_text();
        let length = text.encode_utf16().count();
        match length_max {
            Some(max) if length > max as usize => {
                let twice = if length > text.chars().count() { " (an emoji counts as two)" } else { "" };
                Err(self.misfit(
                    &format!("text too long, {length} of at most {max}"),
                    format!(
                        "`{}` has {length} characters{twice}; {} takes at most {max}",
                        self.shown(),
                        self.name()
                    ),
                    format!("shorten it to {max} characters or fewer"),
                ))
            }
            _ => Ok(Conformed::Text(text)),
        }
    }

    fn guid(&self) -> Result<Conformed, Misfit> {
        match guid_in(&self.value.to_text()) {
            Some(id) => Ok(Conformed::Guid(id)),
            None => Err(self.misfit(
                "not a GUID",
                format!("`{}` is not an id; {} takes ids", self.shown(), self.name()),
                "write it as 32 hexadecimal digits, for example 00000000-0000-0000-0000-000000000001"
                    .to_owned(),
            )),
        }
    }
}

/// The GUID that a text is, with or without braces and hyphens.
pub fn guid_in(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let bare = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
    // `urn:uuid:` and the braces that the parser also knows are not how people write ids here.
    if matches!(bare.len(), 32 | 36) { Uuid::try_parse(bare).ok() } else { None }
}

/// The value as it stands in a sentence: its beginning where it is long, on one line.
pub fn excerpt(text: &str) -> String {
    let mut shown: String =
        text.chars().take(EXCERPT_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(EXCERPT_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
