//! Columns of a batch: their types from all their cells, and their values without loss.

use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use deltalake::arrow::datatypes::{DataType, TimeUnit};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::fault::ReadFault;
use super::seen::{Seen, civil, iso_date, iso_moment};
use crate::domain::value::{StageType, Value};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The kinds of value that a column was seen to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Profile {
    kinds: u8,
}

impl Profile {
    const TEXT: u8 = 1;
    const INTEGER: u8 = 2;
    const NUMBER: u8 = 4;
    const BOOLEAN: u8 = 8;
    const DATE: u8 = 16;
    const TIMESTAMP: u8 = 32;
    /// Something that has no type: an unreadable cell, blanks among letters.
    const UNTYPED: u8 = 64;

    /// Of a column that a value of this type was seen in.
    pub fn of(kind: StageType) -> Self {
        let kinds = match kind {
            StageType::Text => Self::TEXT,
            StageType::Integer => Self::INTEGER,
            StageType::Number => Self::NUMBER,
            StageType::Boolean => Self::BOOLEAN,
            StageType::Date => Self::DATE,
            StageType::Timestamp => Self::TIMESTAMP,
        };
        Profile { kinds }
    }

    /// Takes a cell into account, and tells whether the column had held none of its kind before. A text of blanks does
    /// not make a text of a column of numbers.
    pub fn add(&mut self, seen: &Seen<'_>) -> bool {
        let kind = match seen {
            Seen::Blank => return false,
            Seen::Unreadable { .. } => Self::UNTYPED,
            Seen::Text(_) if self.kinds & Self::TEXT != 0 => return false,
            Seen::Text(text) if text.chars().all(char::is_whitespace) => Self::UNTYPED,
            Seen::Text(_) => Self::TEXT,
            Seen::Integer { zeros: 1.., .. } if seen.shows_zeros() => Self::TEXT,
            Seen::Integer { .. } => Self::INTEGER,
            Seen::Number(_) => Self::NUMBER,
            Seen::Boolean(_) => Self::BOOLEAN,
            Seen::Day(_) => Self::DATE,
            Seen::Civil(_) | Seen::Instant(_) => Self::TIMESTAMP,
        };
        let is_new = self.kinds & kind == 0;
        self.kinds |= kind;
        is_new
    }

    /// Whether any cell holds anything, unreadable cells and blanks among letters included.
    pub fn is_used(self) -> bool {
        self.kinds != 0
    }

    /// The narrowest type that holds them all; text where there is nothing.
    ///
    /// A sheet has no other mark of a day than a date-time at midnight, so among date-times a day is one of them.
    pub fn kind(self) -> StageType {
        const INTEGER_AND_NUMBER: u8 = Profile::INTEGER | Profile::NUMBER;
        const DATE_AND_TIMESTAMP: u8 = Profile::DATE | Profile::TIMESTAMP;
        match self.kinds & !Self::UNTYPED {
            Self::INTEGER => StageType::Integer,
            Self::NUMBER | INTEGER_AND_NUMBER => StageType::Number,
            Self::BOOLEAN => StageType::Boolean,
            Self::DATE => StageType::Date,
            Self::TIMESTAMP | DATE_AND_TIMESTAMP => StageType::Timestamp,
            _ => StageType::Text,
        }
    }
}

/// The zone of the sheet's own clock.
pub(super) struct Zone {
    zone: TimeZone,
    name: String,
    skipped: u64,
    repeated: u64,
}

impl Zone {
    /// A zone by its IANA name.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn new(name: &str) -> Result<Self, ReadFault> {
        let unknown = |_| ReadFault::UnknownTimezone { timezone: name.to_owned() };
        let zone = if name == "UTC" { TimeZone::UTC } else { TimeZone::get(name).map_err(unknown)? };
        Ok(Zone { zone, name: name.to_owned(), skipped: 0, repeated: 0 })
    }

    /// The instant of a civil time in microseconds, `None` outside the years that instants have.
    ///
    /// In the hour that a clock skips it is the time an hour later, in the one that it repeats the first of the two;
    /// both are counted.
    fn instant(&mut self, micros: i64) -> Option<Timestamp> {
        if self.zone == TimeZone::UTC {
            return Timestamp::from_microsecond(micros).ok();
        }
        let ambiguous = self.zone.to_ambiguous_timestamp(civil(micros)?);
        match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {}
            AmbiguousOffset::Gap { .. } => self.skipped += 1,
            AmbiguousOffset::Fold { .. } => self.repeated += 1,
        }
        ambiguous.compatible().ok()
    }

    /// What the sender should know of the clock's changes.
    pub fn notes(&self) -> Vec<String> {
        let name = &self.name;
        let note = |count, what: &str| {
            (count > 0)
                .then(|| format!("{count} date-times fall into an hour that the clock of {name} {what}"))
        };
        [
            note(self.skipped, "skips; they were read an hour later"),
            note(self.repeated, "repeats; they were read as the first of the two"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The values of one column of a batch.
pub(super) enum ColumnBuilder {
    /// Delta `string`.
    Text(StringBuilder),
    /// Delta `long`.
    Integer(Int64Builder),
    /// Delta `double`.
    Number(Float64Builder),
    /// Delta `boolean`.
    Boolean(BooleanBuilder),
    /// Delta `date`.
    Date(Date32Builder),
    /// Delta `timestamp`.
    Timestamp(TimestampMicrosecondBuilder),
}

/// The Arrow type of a staged column.
pub(super) fn arrow_type(kind: StageType) -> DataType {
    match kind {
        StageType::Text => DataType::Utf8,
        StageType::Integer => DataType::Int64,
        StageType::Number => DataType::Float64,
        StageType::Boolean => DataType::Boolean,
        StageType::Date => DataType::Date32,
        StageType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    }
}

impl ColumnBuilder {
    /// An empty column.
    pub fn new(kind: StageType) -> Self {
        match kind {
            StageType::Text => ColumnBuilder::Text(StringBuilder::new()),
            StageType::Integer => ColumnBuilder::Integer(Int64Builder::new()),
            StageType::Number => ColumnBuilder::Number(Float64Builder::new()),
            StageType::Boolean => ColumnBuilder::Boolean(BooleanBuilder::new()),
            StageType::Date => ColumnBuilder::Date(Date32Builder::new()),
            StageType::Timestamp => {
                ColumnBuilder::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC"))
            }
        }
    }

    /// Adds a value if the column can hold it exactly; else a null, and the original comes back to be rescued.
    ///
    /// A text is the value that it spells only where it is spelled as that value is: `7` is a whole number, `007`
    /// and `7.50` are texts that would come back changed.
    pub fn put(&mut self, seen: &Seen<'_>, zone: &mut Zone) -> Option<Value> {
        if *seen == Seen::Blank {
            self.put_null();
            return None;
        }
        let held = match self {
            ColumnBuilder::Text(column) => seen.as_text().map(|text| column.append_value(text)),
            ColumnBuilder::Integer(column) => match seen {
                Seen::Integer { value, .. } => Some(*value),
                Seen::Text(text) => text.parse().ok().filter(|value: &i64| value.to_string() == *text),
                _ => None,
            }
            .map(|value| column.append_value(value)),
            ColumnBuilder::Number(column) => match seen {
                Seen::Integer { value, .. } => Some(*value as f64),
                Seen::Number(value) => Some(*value),
                Seen::Text(text) => {
                    text.parse().ok().filter(|value: &f64| value.is_finite() && value.to_string() == *text)
                }
                _ => None,
            }
            .map(|value| column.append_value(value)),
            ColumnBuilder::Boolean(column) => match seen {
                Seen::Boolean(value) => Some(*value),
                Seen::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
                Seen::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
                _ => None,
            }
            .map(|value| column.append_value(value)),
            ColumnBuilder::Date(column) => match seen {
                Seen::Day(day) => Some(*day),
                Seen::Text(text) => iso_date(text),
                _ => None,
            }
            .map(|day| column.append_value(day)),
            ColumnBuilder::Timestamp(column) => {
                instant(seen, zone).map(|at| column.append_value(at.as_microsecond()))
            }
        };
        if held.is_some() {
            return None;
        }
        self.put_null();
        Some(original(seen, zone))
    }

    /// Adds a null.
    pub fn put_null(&mut self) {
        match self {
            ColumnBuilder::Text(column) => column.append_null(),
            ColumnBuilder::Integer(column) => column.append_null(),
            ColumnBuilder::Number(column) => column.append_null(),
            ColumnBuilder::Boolean(column) => column.append_null(),
            ColumnBuilder::Date(column) => column.append_null(),
            ColumnBuilder::Timestamp(column) => column.append_null(),
        }
    }

    /// The column as an array; the builder is empty afterwards.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Text(column) => Arc::new(column.finish()),
            ColumnBuilder::Integer(column) => Arc::new(column.finish()),
            ColumnBuilder::Number(column) => Arc::new(column.finish()),
            ColumnBuilder::Boolean(column) => Arc::new(column.finish()),
            ColumnBuilder::Date(column) => Arc::new(column.finish()),
            ColumnBuilder::Timestamp(column) => Arc::new(column.finish()),
        }
    }
}

/// The instant that a cell names, if it names one.
fn instant(seen: &Seen<'_>, zone: &mut Zone) -> Option<Timestamp> {
    match seen {
        Seen::Day(day) => zone.instant(i64::from(*day) * MICROS_PER_DAY),
        Seen::Civil(micros) => zone.instant(*micros),
        Seen::Instant(at) => Some(*at),
        Seen::Text(text) => match iso_moment(text)? {
            Seen::Civil(micros) => zone.instant(micros),
            Seen::Instant(at) => Some(at),
            _ => None,
        },
        _ => None,
    }
}

/// A cell as the value that migration uses instead of the column's.
pub(super) fn original(seen: &Seen<'_>, zone: &mut Zone) -> Value {
    let text = || seen.shown().into_owned();
    match seen {
        Seen::Blank => Value::Blank,
        Seen::Text(_) => Value::Text(text()),
        Seen::Integer { .. } if seen.shows_zeros() => Value::Text(text()),
        Seen::Integer { value, .. } => Value::Integer(*value),
        Seen::Number(value) => Value::Number(*value),
        Seen::Boolean(value) => Value::Boolean(*value),
        Seen::Day(day) => civil(i64::from(*day) * MICROS_PER_DAY)
            .map_or_else(|| Value::Text(text()), |at| Value::Date(at.date())),
        Seen::Civil(micros) => zone.instant(*micros).map_or_else(|| Value::Text(text()), Value::Timestamp),
        Seen::Instant(at) => Value::Timestamp(*at),
        Seen::Unreadable { found, why } => {
            Value::Unreadable { found: found.to_string(), why: (*why).to_owned() }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(text: &str) -> Seen<'_> {
        Seen::Text(text.into())
    }

    fn whole(value: i64) -> Seen<'static> {
        Seen::Integer { value, zeros: 0 }
    }

    fn kind_of(cells: &[Seen<'_>]) -> StageType {
        let mut profile = Profile::default();
        for cell in cells {
            profile.add(cell);
        }
        profile.kind()
    }

    #[test]
    fn a_column_takes_the_narrowest_type_that_holds_every_cell() {
        let error = Seen::Unreadable { found: "#N/A".into(), why: "" };
        assert_eq!(kind_of(&[]), StageType::Text);
        assert_eq!(kind_of(&[Seen::Blank, error.clone()]), StageType::Text);
        assert_eq!(kind_of(&[whole(1), error, text("  ")]), StageType::Integer);
        assert_eq!(kind_of(&[whole(1), Seen::Number(0.5)]), StageType::Number);
        assert_eq!(kind_of(&[whole(1), text("x")]), StageType::Text);
        assert_eq!(kind_of(&[Seen::Day(1), Seen::Day(2)]), StageType::Date);
        assert_eq!(kind_of(&[Seen::Day(1), Seen::Civil(2)]), StageType::Timestamp);
        assert_eq!(kind_of(&[Seen::Day(1), Seen::Civil(2), whole(1)]), StageType::Text);
        assert_eq!(kind_of(&[Seen::Boolean(true), whole(1)]), StageType::Text);
        assert_eq!(kind_of(&[whole(12345), Seen::Integer { value: 123, zeros: 5 }]), StageType::Text);
        assert_eq!(kind_of(&[Seen::Integer { value: 12345, zeros: 5 }]), StageType::Integer);
    }

    #[test]
    fn a_value_goes_in_exactly_or_comes_back_whole() {
        let mut zone = Zone::new("UTC").unwrap();
        let mut rescued = |kind, seen: Seen<'_>| ColumnBuilder::new(kind).put(&seen, &mut zone);
        for (kind, held) in [
            (StageType::Text, whole(5)),
            (StageType::Text, Seen::Day(0)),
            (StageType::Integer, text("-7")),
            (StageType::Number, whole(5)),
            (StageType::Number, text("1.5")),
            (StageType::Boolean, text("True")),
            (StageType::Date, text("2023-02-10")),
            (StageType::Timestamp, text("2023-02-10T10:00:00+01:00")),
            (StageType::Timestamp, Seen::Day(0)),
        ] {
            assert_eq!(rescued(kind, held.clone()), None, "{kind:?} {held:?}");
        }
        for (kind, lost) in [
            (StageType::Integer, text("007")),
            (StageType::Integer, Seen::Number(0.5)),
            (StageType::Number, text("1,5")),
            (StageType::Number, text("1.10")),
            (StageType::Number, text("0.10000000000000000001")),
            (StageType::Number, text("inf")),
            (StageType::Boolean, whole(1)),
            (StageType::Date, text("10.02.2023")),
            (StageType::Date, Seen::Civil(1)),
            (StageType::Timestamp, whole(45_000)),
            (StageType::Text, Seen::Unreadable { found: "#N/A".into(), why: "w" }),
        ] {
            assert!(rescued(kind, lost.clone()).is_some(), "{kind:?} {lost:?}");
        }
    }

    #[test]
    fn zeros_that_a_format_shows_are_kept_in_texts() {
        for (value, zeros, shown) in
            [(123, 5, "00123"), (123_456, 5, "123456"), (-12, 3, "-012"), (7, 0, "7")]
        {
            assert_eq!(Seen::Integer { value, zeros }.as_text().unwrap(), shown);
        }
    }

    #[test]
    fn hours_that_the_clock_skips_or_repeats_are_counted() {
        let mut zone = Zone::new("Europe/Berlin").unwrap();
        for (local, wanted) in [
            ("2026-03-29T02:30:00", "2026-03-29T01:30:00Z"),
            ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
            ("2026-07-01T12:00:00", "2026-07-01T10:00:00Z"),
        ] {
            let at = instant(&text(local), &mut zone).unwrap();
            assert_eq!(at.to_string(), wanted);
        }
        let notes = zone.notes();
        assert_eq!(notes.len(), 2);
        assert!(notes.iter().all(|note| note.starts_with("1 date-times")), "{notes:?}");
        assert!(matches!(Zone::new("Mars/Base"), Err(ReadFault::UnknownTimezone { .. })));
    }
}
