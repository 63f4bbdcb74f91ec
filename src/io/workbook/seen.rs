//! What a cell means: raw numbers, formats and literals as values, with every doubt named.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};

use super::row::{Cell, DateShape, Raw, Row};

/// Whole numbers from here on have more digits than Excel keeps. Source: Excel specifications, 15 digits.
const WHOLE_NUMBER_END: f64 = 1e15;
/// Serial number of 1970-01-01 in the 1900 system, for days after its leap-year bug.
const EPOCH_1900: i64 = 25_569;
/// Serial number of 1970-01-01 in the 1904 system.
const EPOCH_1904: i64 = 24_107;
/// The first serial number after 9999-12-31 in the 1900 system.
const SERIAL_END: f64 = 2_958_466.0;
const MS_PER_DAY: i64 = 86_400_000;

const ERROR_VALUE: &str = "the cell holds an error value; correct its formula or type the value";
const UNCOMPUTED: &str =
    "the formula has no stored result; open the workbook in Excel, let it calculate, and save it";
const TOO_MANY_DIGITS: &str =
    "Excel keeps 15 digits of a number, so the last ones may be lost; enter it as text (with a leading ')";
const NOT_FINITE: &str = "this is no finite number";
const ILLEGIBLE: &str = "the cell's value does not fit the kind of value that the cell says it holds";
const NO_SUCH_DAY: &str = "the number is shown as a date, but no day has this number";

/// What a cell means. Civil times are microseconds since 1970-01-01T00:00:00 on the sheet's own clock.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen<'a> {
    /// Nothing.
    Blank,
    /// Text; times of day and durations too.
    Text(Cow<'a, str>),
    /// A whole number below 10^15; `zeros` as in [`Raw::Number`].
    Integer { value: i64, zeros: u8 },
    /// Any other finite number.
    Number(f64),
    /// A truth value.
    Boolean(bool),
    /// A day, as days since 1970-01-01.
    Day(i32),
    /// A day with a time on the sheet's own clock.
    Civil(i64),
    /// A moment with its offset.
    Instant(Timestamp),
    /// A cell that cannot be carried.
    Unreadable { found: Cow<'a, str>, why: &'static str },
}

impl Seen<'_> {
    /// The value as a text that says the same, `None` where there is no value to say.
    ///
    /// A number with leading zeros has them; a date-time is on the sheet's own clock, without an offset.
    pub fn as_text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Seen::Blank | Seen::Unreadable { .. } => return None,
            Seen::Text(text) => Cow::Borrowed(text.as_ref()),
            Seen::Integer { value, zeros } => {
                format!("{value:0width$}", width = width(*value, *zeros)).into()
            }
            Seen::Number(number) => number.to_string().into(),
            Seen::Boolean(true) => "TRUE".into(),
            Seen::Boolean(false) => "FALSE".into(),
            Seen::Day(day) => civil(i64::from(*day) * MS_PER_DAY * 1_000)?.date().to_string().into(),
            Seen::Civil(micros) => civil(*micros)?.to_string().into(),
            Seen::Instant(at) => at.to_string().into(),
        })
    }

    /// The cell as people see it, for headers and messages.
    pub fn shown(&self) -> Cow<'_, str> {
        match self {
            Seen::Unreadable { found, .. } => Cow::Borrowed(found.as_ref()),
            other => other.as_text().unwrap_or_default(),
        }
    }

    /// Whether it is a number that shows leading zeros, which only a text can keep.
    pub fn shows_zeros(&self) -> bool {
        matches!(self, Seen::Integer { value, zeros } if value.abs().to_string().len() < usize::from(*zeros))
    }
}

/// Width of a number's text; the sign stands in front of the zeros.
fn width(value: i64, zeros: u8) -> usize {
    usize::from(zeros) + usize::from(value < 0 && zeros > 0)
}

/// A civil time from microseconds since 1970-01-01T00:00:00 on the same clock; `None` outside the years that dates have.
pub(super) fn civil(micros: i64) -> Option<DateTime> {
    let at = Timestamp::from_microsecond(micros).ok()?;
    Some(jiff::tz::TimeZone::UTC.to_datetime(at))
}

/// Reads a cell.
pub(super) fn see<'a>(row: &Row<'a>, cell: &Cell) -> Seen<'a> {
    let unreadable = |found, why| Seen::Unreadable { found, why };
    match cell.raw {
        Raw::Text(span) => match row.text(span) {
            "" => Seen::Blank,
            text => Seen::Text(text.into()),
        },
        Raw::Number { value, zeros } => number(value, zeros),
        Raw::Boolean(value) => Seen::Boolean(value),
        Raw::Serial { days, shape } => serial(days, shape),
        Raw::Days(days) => duration(days),
        Raw::Iso(span) => {
            let text = row.text(span);
            iso(text).unwrap_or_else(|| unreadable(text.into(), ILLEGIBLE))
        }
        Raw::IsoDuration(span) => Seen::Text(clock_of_iso_duration(row.text(span))),
        Raw::Error(span) => unreadable(row.text(span).into(), ERROR_VALUE),
        Raw::Uncomputed => unreadable("a formula".into(), UNCOMPUTED),
        Raw::Illegible(span) => unreadable(row.text(span).into(), ILLEGIBLE),
    }
}

fn number<'a>(value: f64, zeros: u8) -> Seen<'a> {
    if !value.is_finite() {
        return Seen::Unreadable { found: value.to_string().into(), why: NOT_FINITE };
    }
    if value.fract() != 0.0 {
        return Seen::Number(value);
    }
    if value.abs() >= WHOLE_NUMBER_END {
        return Seen::Unreadable { found: value.to_string().into(), why: TOO_MANY_DIGITS };
    }
    Seen::Integer { value: value as i64, zeros }
}

/// A serial number as a day, a moment or a time of day.
///
/// The 1900 system counts a 29 February 1900 that never was: 60 is no day, the days before it are one less far
/// from the rest. Numbers below 1 are times of day, as `crates.md` §C2 has it from the readers we compare with.
fn serial<'a>(days: f64, shape: DateShape) -> Seen<'a> {
    let no_such_day = || Seen::Unreadable { found: days.to_string().into(), why: NO_SUCH_DAY };
    let end = if shape.from_1904 { SERIAL_END - (EPOCH_1900 - EPOCH_1904) as f64 } else { SERIAL_END };
    // Excel shows milliseconds at most; what is finer is the noise of its floating-point days.
    let ms = (days * MS_PER_DAY as f64).round();
    if !(0.0..end * MS_PER_DAY as f64).contains(&ms) {
        return no_such_day();
    }
    let (day, ms_of_day) = (ms as i64 / MS_PER_DAY, ms as i64 % MS_PER_DAY);
    let epoch = match (shape.from_1904, day) {
        (true, 0) if !shape.shows_day => return Seen::Text(clock(ms_of_day).into()),
        (true, _) => EPOCH_1904,
        (false, 0) if ms_of_day == 0 && shape.shows_day => return no_such_day(),
        (false, 0) => return Seen::Text(clock(ms_of_day).into()),
        (false, 1..60) => EPOCH_1900 - 1,
        (false, 60) => return no_such_day(),
        (false, _) => EPOCH_1900,
    };
    let day = day - epoch;
    if ms_of_day == 0 && shape.shows_day {
        return i32::try_from(day).map_or_else(|_| no_such_day(), Seen::Day);
    }
    Seen::Civil((day * MS_PER_DAY + ms_of_day) * 1_000)
}

/// A time of day: `13:45:00`, with milliseconds only where there are some.
fn clock(ms_of_day: i64) -> String {
    let (seconds, ms) = (ms_of_day / 1_000, ms_of_day % 1_000);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if ms == 0 { text } else { format!("{text}.{ms:03}") }
}

/// A duration in ISO 8601, hours uncapped: `PT36H15M`.
fn duration<'a>(days: f64) -> Seen<'a> {
    if !days.is_finite() || days.abs() >= SERIAL_END {
        return Seen::Unreadable { found: days.to_string().into(), why: NOT_FINITE };
    }
    let ms = (days * MS_PER_DAY as f64).round() as i64;
    let sign = if ms < 0 { "-" } else { "" };
    let (seconds, ms) = (ms.abs() / 1_000, ms.abs() % 1_000);
    let mut text = format!("{sign}PT");
    for (count, unit) in [(seconds / 3_600, 'H'), (seconds / 60 % 60, 'M')] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    match (seconds % 60, ms) {
        (0, 0) if text.ends_with('T') => text.push_str("0S"),
        (0, 0) => {}
        (seconds, 0) => text.push_str(&format!("{seconds}S")),
        (seconds, ms) => text.push_str(&format!("{seconds}.{ms:03}S")),
    }
    Seen::Text(text.into())
}

/// OpenDocument has one kind of value for times of day and durations: below a day it is read as a time of day.
fn clock_of_iso_duration(text: &str) -> Cow<'_, str> {
    let ms = text.parse::<jiff::SignedDuration>().map(|span| span.as_millis());
    match ms {
        Ok(ms @ 0..86_400_000) => clock(ms as i64).into(),
        _ => text.into(),
    }
}

/// A date, a date-time with or without an offset, or a time of day, in ISO 8601.
pub(super) fn iso<'a>(text: &'a str) -> Option<Seen<'a>> {
    let text = text.trim();
    if let Some(date) = iso_date(text) {
        return Some(Seen::Day(date));
    }
    if let Some(moment) = iso_moment(text) {
        return Some(moment);
    }
    let time: Time = text.parse().ok()?;
    let since_midnight = time.duration_since(Time::midnight());
    Some(Seen::Text(clock(since_midnight.as_millis() as i64).into()))
}

/// `2026-11-22` and nothing else, as days since 1970-01-01.
pub(super) fn iso_date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10 && bytes[4] == b'-' && bytes[7] == b'-';
    let digits = || bytes.iter().enumerate().all(|(i, b)| matches!(i, 4 | 7) || b.is_ascii_digit());
    if !shape || !digits() {
        return None;
    }
    let date: Date = text.parse().ok()?;
    let since = date.duration_since(jiff::civil::date(1970, 1, 1));
    i32::try_from(since.as_secs() / 86_400).ok()
}

/// `2026-11-22T14:03:20`, with a blank for the `T`, a fraction, an offset or `Z` if need be.
pub(super) fn iso_moment<'a>(text: &str) -> Option<Seen<'a>> {
    let (date, rest) = text.split_at_checked(10)?;
    iso_date(date)?;
    if !rest.starts_with(['T', 't', ' ']) || rest.len() < 6 {
        return None;
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Seen::Instant(at));
    }
    let at: DateTime = text.parse().ok()?;
    let since = at.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
    i64::try_from(since.as_micros()).ok().map(Seen::Civil)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: DateShape = DateShape { shows_day: true, from_1904: false };
    const DATE_1904: DateShape = DateShape { shows_day: true, from_1904: true };
    const CLOCK: DateShape = DateShape { shows_day: false, from_1904: false };

    fn day(text: &str) -> Seen<'static> {
        Seen::Day(iso_date(text).unwrap_or_else(|| panic!("{text}")))
    }

    fn text(text: &'static str) -> Seen<'static> {
        Seen::Text(text.into())
    }

    #[test]
    fn both_date_systems_give_the_day_that_excel_shows_and_none_where_there_is_none() {
        assert_eq!(serial(1.0, DATE), day("1900-01-01"));
        assert_eq!(serial(59.0, DATE), day("1900-02-28"));
        assert_eq!(serial(61.0, DATE), day("1900-03-01"));
        assert_eq!(serial(45_000.0, DATE), day("2023-03-15"));
        assert_eq!(serial(2_958_465.0, DATE), day("9999-12-31"));
        assert_eq!(serial(0.0, DATE_1904), day("1904-01-01"));
        assert_eq!(serial(43_538.0, DATE_1904), day("2023-03-15"));
        for none in [0.0, 60.0, -1.0, 2_958_466.0, f64::NAN, f64::NEG_INFINITY] {
            assert!(matches!(serial(none, DATE), Seen::Unreadable { .. }), "{none}");
        }
    }

    #[test]
    fn times_and_durations_become_texts_and_date_times_keep_their_milliseconds() {
        assert_eq!(serial(0.5, CLOCK), text("12:00:00"));
        assert_eq!(serial(0.0, CLOCK), text("00:00:00"));
        assert_eq!(duration(1.5), text("PT36H"));
        assert_eq!(duration(0.0), text("PT0S"));
        assert_eq!(duration(-0.010_421_296_296), text("-PT15M0.400S"));
        let at = iso_moment("2023-03-15T13:45:00.125").unwrap_or(Seen::Blank);
        assert_eq!(serial(45_000.0 + (13.75 * 3600.0 + 0.125) / 86_400.0, DATE), at);
        assert_eq!(clock_of_iso_duration("PT13H45M00S"), "13:45:00");
        assert_eq!(clock_of_iso_duration("PT36H00M00S"), "PT36H00M00S");
    }

    #[test]
    fn numbers_beyond_what_excel_keeps_are_reported_and_not_rounded() {
        assert_eq!(number(999_999_999_999_999.0, 0), Seen::Integer { value: 999_999_999_999_999, zeros: 0 });
        assert_eq!(number(0.1 + 0.2, 0), Seen::Number(0.1 + 0.2));
        for bad in [1e15, -1_234_567_890_123_456.0, f64::INFINITY, f64::NAN] {
            assert!(matches!(number(bad, 0), Seen::Unreadable { .. }), "{bad}");
        }
    }

    #[test]
    fn only_iso_texts_are_dates() {
        assert_eq!(iso("2023-03-15"), Some(day("2023-03-15")));
        assert!(matches!(iso("2023-03-15T10:00:00Z"), Some(Seen::Instant(_))));
        assert!(matches!(iso("2023-03-15 10:00"), Some(Seen::Civil(_))));
        assert_eq!(iso("10:10:10"), Some(text("10:10:10")));
        for no in ["15.03.2023", "2023-02-30", "20230315", "2023-03-15T", "2023-03-15TT", "x"] {
            assert_eq!(iso(no), None, "{no}");
        }
    }
}
