//! Days and instants: typed cells, and texts that can mean one thing only.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::{Cell, Conformed, Misfit};
use crate::domain::value::Value;

/// The first day that Dataverse stores. Source: dynamics.md §2.6.
const FIRST_YEAR: i16 = 1753;
/// The first and the last year that Finance & Operations stores: its empty date is 1900-01-01 (dynamics.md §6.2), its
/// last one 2154-12-31 (Microsoft Learn, X++ `maxDate`).
const FINOPS_YEARS: std::ops::RangeInclusive<i16> = 1900..=2154;

/// What a text says as a day or an instant.
enum Written {
    Day(Date),
    /// Without an offset.
    Local(DateTime),
    /// With an offset: the instant, and the digits as they were written.
    Instant(Timestamp, DateTime),
    /// Digits that are a day in one country and another day elsewhere, as both.
    TwoDays(Date, Date),
    Nothing,
}

fn read(text: &str) -> Written {
    let text = text.trim();
    let bytes = text.as_bytes();
    let dashed = bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-' && text.is_char_boundary(10);
    if !dashed {
        return slashed(text).unwrap_or(Written::Nothing);
    }
    if bytes.len() == 10 {
        return text.parse::<Date>().map_or(Written::Nothing, Written::Day);
    }
    if !matches!(bytes[10], b'T' | b't' | b' ') || text.contains('[') {
        return Written::Nothing;
    }
    let time = &text[11..];
    let offset_at = time.find(['Z', 'z', '+', '-']);
    match offset_at {
        Some(at) => match (text.parse::<Timestamp>(), text[..11 + at].trim_end().parse::<DateTime>()) {
            (Ok(instant), Ok(digits)) => Written::Instant(instant, digits),
            _ => Written::Nothing,
        },
        None => text.parse::<DateTime>().map_or(Written::Nothing, Written::Local),
    }
}

/// `03/04/2024` and its like, which are never taken but explained.
fn slashed(text: &str) -> Option<Written> {
    let parts: Vec<&str> = text.split(['/', '.', '-']).collect();
    let [first, second, year] = parts.as_slice() else { return None };
    let (first, second, year) = (first.parse().ok()?, second.parse().ok()?, year.parse::<i16>().ok()?);
    let day_first = Date::new(year, second, first);
    let month_first = Date::new(year, first, second);
    match (day_first, month_first) {
        (Ok(one), Ok(other)) if one != other && year >= 100 => Some(Written::TwoDays(one, other)),
        _ => None,
    }
}

impl Cell<'_> {
    pub(super) fn date(&self) -> Result<Conformed, Misfit> {
        let (date, time) = match self.value {
            Value::Date(date) => (*date, Time::midnight()),
            Value::Timestamp(at) => {
                let local = at.to_zoned(self.zone.clone());
                (local.date(), local.time())
            }
            Value::Text(text) => match read(text) {
                Written::Day(date) => (date, Time::midnight()),
                Written::Local(digits) | Written::Instant(_, digits) => (digits.date(), digits.time()),
                Written::TwoDays(one, other) => return Err(self.two_days(one, other)),
                Written::Nothing => return Err(self.not_a_date("a date")),
            },
            _ => return Err(self.not_a_date("a date")),
        };
        if time != Time::midnight() {
            return Err(self.misfit(
                "time of day in a date-only column",
                format!("`{}` has a time of day; {} takes a date alone", self.shown(), self.name()),
                format!("write {date}, without the time"),
            ));
        }
        self.late_enough(date)?;
        Ok(Conformed::Date(date))
    }

    /// F&O's metadata calls days and instants by the same name, so the value decides: a day without a time of day is a
    /// day, and so is a midnight, which is how a spreadsheet's dates look once they have a time. Whatever has another
    /// time of day is an instant, and so is a text with an offset: `2024-01-02T00:00:00Z` is how a midnight is meant.
    pub(super) fn day_or_instant(&self) -> Result<Conformed, Misfit> {
        let of_midnight = |local: DateTime| (local.time() == Time::midnight()).then(|| local.date());
        let day = match self.value {
            Value::Date(date) => Some(*date),
            Value::Timestamp(at) => of_midnight(at.to_zoned(self.zone.clone()).datetime()),
            Value::Text(text) => match read(text) {
                Written::Day(date) => Some(date),
                Written::Local(digits) => of_midnight(digits),
                Written::Instant(..) | Written::TwoDays(..) | Written::Nothing => None,
            },
            _ => None,
        };
        let (conformed, year) = match day {
            Some(date) => (Conformed::Date(date), date.year()),
            None => match self.instant()? {
                Conformed::Instant(at) => (Conformed::Instant(at), at.to_zoned(TimeZone::UTC).year()),
                other => return Ok(other),
            },
        };
        if FINOPS_YEARS.contains(&year) {
            return Ok(conformed);
        }
        Err(self.misfit(
            "date outside 1900-01-01 to 2154-12-31",
            format!("`{}` is not among the days that Dynamics knows, 1900-01-01 to 2154-12-31", self.shown()),
            "correct the date, or leave the cell empty".to_owned(),
        ))
    }

    pub(super) fn instant(&self) -> Result<Conformed, Misfit> {
        let at = match self.value {
            Value::Timestamp(at) => *at,
            Value::Date(date) => self.start_of(*date)?,
            Value::Text(text) => match read(text) {
                Written::Day(date) => self.start_of(date)?,
                Written::Instant(at, _) => at,
                Written::Local(digits) => {
                    self.zone.to_ambiguous_timestamp(digits).unambiguous().map_err(|_| {
                        let zone = self.zone.iana_name().unwrap_or("this zone");
                        self.misfit(
                            "local time that is not one instant",
                            format!(
                                "the clocks in {zone} were changed: `{}` was skipped or happened twice",
                                self.shown()
                            ),
                            "add the offset, for example 2024-10-27T02:30:00+02:00".to_owned(),
                        )
                    })?
                }
                Written::TwoDays(one, other) => return Err(self.two_days(one, other)),
                Written::Nothing => return Err(self.not_a_date("a date and time")),
            },
            _ => return Err(self.not_a_date("a date and time")),
        };
        self.late_enough(at.to_zoned(TimeZone::UTC).date())?;
        Ok(Conformed::Instant(at))
    }

    fn start_of(&self, date: Date) -> Result<Timestamp, Misfit> {
        date.to_zoned(self.zone.clone())
            .map(|start| start.timestamp())
            .map_err(|_| self.not_a_date("a date and time"))
    }

    fn late_enough(&self, date: Date) -> Result<(), Misfit> {
        if date.year() >= FIRST_YEAR {
            return Ok(());
        }
        Err(self.misfit(
            "date before 1753-01-01",
            format!("`{}` lies before 1753-01-01, the first day that Dynamics knows", self.shown()),
            "correct the date, or leave the cell empty".to_owned(),
        ))
    }

    fn two_days(&self, one: Date, other: Date) -> Misfit {
        self.misfit(
            "ambiguous date",
            format!("`{}` can be read as {one} or as {other}", self.shown()),
            format!("write it year-month-day, {one} or {other}, or format the cell as a date"),
        )
    }

    fn not_a_date(&self, wanted: &str) -> Misfit {
        let example = if wanted == "a date" { "2023-02-10" } else { "2023-02-10 or 2023-02-10T14:30:00" };
        self.misfit(
            "not a date",
            format!("`{}` is not a date that can be read; {} takes {wanted}", self.shown(), self.name()),
            format!("write it year-month-day, for example {example}, or format the cell as a date"),
        )
    }
}
