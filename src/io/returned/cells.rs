//! What stands in a cell for a value: its type in the workbook and how it looks.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use rust_xlsxwriter::Format;

use crate::domain::value::{StageType, Value};

/// How the cell begins whose text is longer than a cell can hold. The staged text counts as long as the cell begins so.
pub const KEPT_TEXT: &str = "[DDU keeps the whole text";
/// UTF-16 code units that a cell holds. Source: Excel specifications and limits.
pub const CELL_UNITS_MAX: usize = 32_767;
/// Characters of an over-long text that are shown behind [`KEPT_TEXT`].
const KEPT_CHARS_SHOWN: usize = 1_000;
/// The first day whose number means the same day to every program; Excel counts a 29 February 1900 that never was.
const FIRST_DAY: Date = date(1900, 3, 1);
/// The day whose number is 0, counted back from [`FIRST_DAY`].
const DAY_ZERO: Date = date(1899, 12, 30);
/// Greatest whole number of fifteen digits: Excel keeps no more.
const WHOLE_MAX: i64 = 999_999_999_999_999;
/// Least whole number that the general format shows with an exponent.
const WHOLE_WIDE: i64 = 100_000_000_000;
const MILLISECONDS_A_DAY: f64 = 86_400_000.0;

/// How a cell ends that stands for one nobody could read, where what was found there could be taken for a value.
const UNREAD: &str = " ?";
/// Error values as programs write them; a person who types one gets an error value and no text.
const ERROR_VALUES: [&str; 16] = [
    "#NULL!",
    "#DIV/0!",
    "#VALUE!",
    "#REF!",
    "#NAME?",
    "#NUM!",
    "#N/A",
    "#GETTING_DATA",
    "#SPILL!",
    "#CONNECT!",
    "#BLOCKED!",
    "#UNKNOWN!",
    "#FIELD!",
    "#CALC!",
    "#BUSY!",
    "#EXTERNAL!",
];

/// Whether a cell of a returned workbook stands for a staged text that was too long for it and was left as it is.
pub fn keeps_staged_value(text: &str) -> bool {
    text.starts_with(KEPT_TEXT)
}

/// Whether a text in a returned workbook may be what this program wrote in place of a value that it could not show.
pub fn may_stand_for_another(text: &str) -> bool {
    keeps_staged_value(text) || text.ends_with(UNREAD) || ERROR_VALUES.contains(&text)
}

/// Whether a text in a returned workbook is what was written there for this value, because it could not be shown.
pub fn stands_for(text: &str, value: &Value) -> bool {
    let too_long = |text: &str| text.encode_utf16().count() > CELL_UNITS_MAX;
    match value {
        Value::Text(original) => keeps_staged_value(text) && too_long(original),
        Value::Unreadable { found, .. } => {
            let shown = unread(found);
            text == shown || (keeps_staged_value(text) && too_long(&shown))
        }
        _ => false,
    }
}

/// What a text is that stands for another value which is not known any more; `None` where it is a text like any other.
pub fn stands_for_lost(text: &str) -> Option<Value> {
    let why = if keeps_staged_value(text) {
        "it stands for a longer text that is no longer in the table; put the text itself into the cell"
    } else if ERROR_VALUES.contains(&text) {
        "it is the name of an error and not a value"
    } else {
        return None;
    };
    Some(Value::Unreadable { found: text.to_owned(), why: why.to_owned() })
}

/// What stands in place of a cell that could not be read: never what somebody would type for the value.
fn unread(found: &str) -> Cow<'_, str> {
    if ERROR_VALUES.contains(&found) { found.into() } else { format!("{found}{UNREAD}").into() }
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content<'a> {
    Blank,
    Text(Cow<'a, str>),
    Number(f64),
    Boolean(bool),
}

/// How a cell shows what it holds, and what becomes of what a person types there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberLook {
    General,
    Whole,
    Text,
    Day,
    Instant,
    FineInstant,
}

impl NumberLook {
    pub(super) const ALL: [NumberLook; 6] = [
        NumberLook::General,
        NumberLook::Whole,
        NumberLook::Text,
        NumberLook::Day,
        NumberLook::Instant,
        NumberLook::FineInstant,
    ];

    /// The format with this look; the built-in text format (`@`) keeps what is typed as text.
    pub(super) fn on(self, format: Format) -> Format {
        match self {
            NumberLook::General => format,
            NumberLook::Whole => format.set_num_format_index(1),
            NumberLook::Text => format.set_num_format_index(49),
            NumberLook::Day => format.set_num_format("yyyy-mm-dd"),
            NumberLook::Instant => format.set_num_format("yyyy-mm-dd hh:mm:ss"),
            NumberLook::FineInstant => format.set_num_format("yyyy-mm-dd hh:mm:ss.000"),
        }
    }

    /// The look of a column as far as nobody has typed in it.
    pub(super) fn of_column(kind: StageType) -> Self {
        match kind {
            StageType::Text => NumberLook::Text,
            StageType::Integer | StageType::Number | StageType::Boolean => NumberLook::General,
            StageType::Date => NumberLook::Day,
            StageType::Timestamp => NumberLook::Instant,
        }
    }
}

/// A cell ready to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell<'a> {
    pub(super) content: Content<'a>,
    pub(super) look: NumberLook,
    /// Marked as text for good: it would turn into a formula when a person opens and leaves the cell.
    pub(super) quoted: bool,
    /// Characters that it shows, for the column's width.
    pub(super) width: usize,
}

impl<'a> Cell<'a> {
    /// The cell for a value in a column of this type; instants are shown in `zone`.
    pub(super) fn of(value: &'a Value, kind: StageType, zone: &TimeZone) -> Self {
        let column = NumberLook::of_column(kind);
        match value {
            Value::Blank => Cell { content: Content::Blank, look: column, quoted: false, width: 0 },
            Value::Text(text) => Cell::text(text, column),
            Value::Unreadable { found, .. } => Cell::text(unread(found), column),
            Value::Boolean(truth) => {
                Cell { content: Content::Boolean(*truth), look: column, quoted: false, width: 5 }
            }
            Value::Integer(whole) => Cell::whole(*whole, column),
            Value::Number(number) if number.is_finite() => {
                let width = number.to_string().len().min(15);
                let look = if kind == StageType::Text { column } else { NumberLook::General };
                Cell { content: Content::Number(*number), look, quoted: false, width }
            }
            Value::Number(number) => Cell::text(number.to_string(), column),
            Value::Date(day) if *day < FIRST_DAY => Cell::text(day.to_string(), column),
            Value::Date(day) => {
                let content = Content::Number(day_number(*day));
                Cell { content, look: NumberLook::Day, quoted: false, width: 10 }
            }
            Value::Timestamp(at) => Cell::instant(*at, zone, column),
        }
    }

    /// A text in a column; in one that is no text column the column's look stays, so that a date typed there becomes one.
    fn text(text: impl Into<Cow<'a, str>>, column: NumberLook) -> Self {
        let text = text.into();
        let units = text.encode_utf16().count();
        let text = if units > CELL_UNITS_MAX { Cow::Owned(kept(&text, units)) } else { text };
        let quoted = column != NumberLook::Text && text.starts_with(['=', '+', '-', '@', '\'']);
        let width = units;
        let content = if text.is_empty() { Content::Blank } else { Content::Text(text) };
        Cell { content, look: column, quoted, width }
    }

    fn whole(whole: i64, column: NumberLook) -> Self {
        if whole.unsigned_abs() > WHOLE_MAX.unsigned_abs() {
            // As a number it would lose its last digits, and so would what is typed over it.
            return Cell::text(whole.to_string(), NumberLook::Text);
        }
        let look = match column {
            NumberLook::Text => NumberLook::Text,
            _ if whole.abs() >= WHOLE_WIDE => NumberLook::Whole,
            _ => NumberLook::General,
        };
        // Fifteen digits are exact in an f64.
        Cell { content: Content::Number(whole as f64), look, quoted: false, width: whole.to_string().len() }
    }

    fn instant(at: Timestamp, zone: &TimeZone, column: NumberLook) -> Self {
        let shown = at.to_zoned(zone.clone()).datetime();
        let read_back = shown.to_zoned(zone.clone()).map(|zoned| zoned.timestamp());
        let fine = at.subsec_nanosecond() % 1_000_000 != 0;
        if fine || shown.date() < FIRST_DAY || read_back.ok() != Some(at) {
            return Cell::text(at.to_string(), column);
        }
        let since_midnight = shown.time().duration_since(jiff::civil::Time::midnight());
        let milliseconds = since_midnight.as_millis() as f64;
        let content = Content::Number(day_number(shown.date()) + milliseconds / MILLISECONDS_A_DAY);
        let whole = at.subsec_nanosecond() == 0;
        let look = if whole { NumberLook::Instant } else { NumberLook::FineInstant };
        Cell { content, look, quoted: false, width: 19 }
    }
}

/// Days since [`DAY_ZERO`]: how a workbook counts days.
fn day_number(day: Date) -> f64 {
    (day.duration_since(DAY_ZERO).as_hours() / 24) as f64
}

/// What stands in a cell in place of a text that is too long for it.
fn kept(text: &str, units: usize) -> String {
    let shown: String = text.chars().take(KEPT_CHARS_SHOWN).collect();
    format!(
        "{KEPT_TEXT} of {units} characters; a cell holds {CELL_UNITS_MAX}. Leave this cell as it is to keep the text, \
         or type another in its place.] {shown}…"
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    #[test]
    fn what_stands_for_another_value_is_told_from_what_people_type() {
        let unreadable = |found: &str| Value::Unreadable { found: found.into(), why: "w".into() };
        for (found, shown) in
            [("#N/A", "#N/A"), ("1234567890123450", "1234567890123450 ?"), ("a formula", "a formula ?")]
        {
            let value = unreadable(found);
            let cell = Cell::of(&value, StageType::Text, &TimeZone::UTC);
            assert_eq!(cell.content, Content::Text(shown.into()));
            assert!(may_stand_for_another(shown) && stands_for(shown, &value));
            assert!(!stands_for("1234567890123456", &value));
        }
        // Whoever confirms the number by taking the question mark away has typed it.
        assert!(!stands_for("1234567890123450", &unreadable("1234567890123450")));
        assert!(!stands_for("x ?", &Value::Text("x ?".into())) && stands_for_lost("x ?").is_none());
        let long = Value::Text("ä".repeat(CELL_UNITS_MAX + 1));
        let Content::Text(shown) = Cell::of(&long, StageType::Text, &TimeZone::UTC).content else { panic!() };
        assert!(stands_for(&shown, &long) && !stands_for(&shown, &Value::Text("short".into())));
        assert!(stands_for_lost(&shown).is_some() && stands_for_lost("#REF!").is_some());
    }

    #[test]
    fn what_a_number_cell_would_change_is_written_as_text() {
        // Sixteen digits, days before Excel's calendar, the hour that Berlin has twice, and microseconds.
        let berlin = zone("Europe/Berlin");
        let text = |value: &Value, kind| match Cell::of(value, kind, &berlin).content {
            Content::Text(text) => text.into_owned(),
            other => panic!("{value:?} became {other:?}"),
        };
        assert_eq!(text(&Value::Integer(1_000_000_000_000_000), StageType::Integer), "1000000000000000");
        assert_eq!(text(&Value::Date(date(1752, 5, 3)), StageType::Date), "1752-05-03");
        assert_eq!(text(&Value::Date(date(1900, 2, 28)), StageType::Date), "1900-02-28");
        for instant in ["2025-10-26T01:30:00Z", "2026-01-01T10:00:00.000001Z", "1899-01-01T00:00:00Z"] {
            let value = Value::Timestamp(instant.parse().unwrap());
            assert_eq!(text(&value, StageType::Timestamp), instant);
        }
    }

    #[test]
    fn days_and_instants_are_the_numbers_that_excel_counts() {
        // 2026-11-22 is day 46348; Berlin stands an hour before UTC in winter.
        let berlin = zone("Europe/Berlin");
        let number = |value: &Value| match Cell::of(value, StageType::Date, &berlin).content {
            Content::Number(number) => number,
            other => panic!("{value:?} became {other:?}"),
        };
        assert_eq!(number(&Value::Date(date(1900, 3, 1))), 61.0);
        assert_eq!(number(&Value::Date(date(2026, 11, 22))), 46_348.0);
        assert_eq!(number(&Value::Date(date(9999, 12, 31))), 2_958_465.0);
        assert_eq!(number(&Value::Timestamp("2026-11-22T11:00:00Z".parse().unwrap())), 46_348.5);
    }

    #[test]
    fn a_text_in_a_date_column_keeps_the_look_of_dates() {
        // What the sender types over `last spring` must become a date, and a text like a formula must not become one.
        let utc = TimeZone::UTC;
        let value = Value::Text("last spring".into());
        let cell = Cell::of(&value, StageType::Date, &utc);
        assert_eq!((cell.look, cell.quoted), (NumberLook::Day, false));
        let value = Value::Text("=NOW()".into());
        let cell = Cell::of(&value, StageType::Date, &utc);
        assert_eq!((cell.look, cell.quoted), (NumberLook::Day, true));
        assert_eq!(Cell::of(&value, StageType::Text, &utc).look, NumberLook::Text);
    }

    #[test]
    fn a_text_too_long_for_a_cell_says_that_it_is_kept() {
        let long = Value::Text("é😀".repeat(12_000));
        let cell = Cell::of(&long, StageType::Text, &TimeZone::UTC);
        let Content::Text(text) = cell.content else { panic!("no text") };
        assert!(keeps_staged_value(&text) && text.contains("36000 characters"), "{text}");
        assert!(text.encode_utf16().count() <= CELL_UNITS_MAX);
        let longest = Value::Text("x".repeat(CELL_UNITS_MAX));
        assert!(
            matches!(Cell::of(&longest, StageType::Text, &TimeZone::UTC).content, Content::Text(t) if t.len() == CELL_UNITS_MAX)
        );
    }
}
