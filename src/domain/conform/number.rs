//! Numbers: their many spellings read without guessing, their bounds, and the digits a column keeps.

use super::{Cell, Conformed, Misfit};
use crate::domain::value::Value;

/// Digits of a double that a spreadsheet shows and keeps. Source: Excel specifications and limits.
const SHEET_DIGITS: usize = 15;
/// Largest power of ten in a text such as `1.5E+3`; no column of either product holds more.
const EXPONENT_MAX: i32 = 40;
/// Digits that make a group: the `500` of `1,500`.
const GROUP_DIGITS: usize = 3;

/// A number in decimal notation without superfluous zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digits {
    negative: bool,
    whole: String,
    fraction: String,
}

/// What a text says as a number.
#[derive(Debug, PartialEq, Eq)]
enum Reading {
    /// One number.
    Number(Digits),
    /// A number whose single point could also divide thousands: `1.500`.
    Pointed { number: Digits, thousands: Digits },
    /// Two numbers, and no way to tell which: `1,500`.
    Ambiguous { thousands: Digits, decimal: Digits },
    /// No number.
    Nothing,
}

impl Digits {
    fn new(negative: bool, whole: &str, fraction: &str) -> Self {
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0').to_owned();
        let whole = if whole.is_empty() { "0" } else { whole }.to_owned();
        let negative = negative && !(whole == "0" && fraction.is_empty());
        Digits { negative, whole, fraction }
    }

    /// The number times ten to the power of `exponent`.
    fn shifted(&self, exponent: i32) -> Self {
        let mut digits = format!("{}{}", self.whole, self.fraction);
        let point = i64::try_from(self.whole.len()).unwrap_or(i64::MAX) + i64::from(exponent);
        if point <= 0 {
            let zeros = usize::try_from(-point).unwrap_or(0);
            digits.insert_str(0, &"0".repeat(zeros));
            return Digits::new(self.negative, "0", &digits);
        }
        let point = usize::try_from(point).unwrap_or(0);
        while digits.len() < point {
            digits.push('0');
        }
        let (whole, fraction) = digits.split_at(point);
        Digits::new(self.negative, whole, fraction)
    }

    /// The double as a spreadsheet shows it: at fifteen digits, so that 0.1 + 0.2 is 0.3.
    fn of_double(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        let text = format!("{:.*e}", SHEET_DIGITS - 1, number);
        let (mantissa, exponent) = text.split_once('e')?;
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        Some(Digits::new(sign, whole, fraction).shifted(exponent.parse().ok()?))
    }

    fn as_double(&self) -> f64 {
        self.to_string().parse().unwrap_or(f64::INFINITY)
    }
}

impl std::fmt::Display for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let point = if self.fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{}", self.whole, self.fraction)
    }
}

/// Reads a text as a number. A point is the decimal mark unless the text itself shows otherwise; a comma alone before
/// three digits could be either, and is.
fn read(text: &str) -> Reading {
    let text = text.trim();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, None),
        Some((mantissa, exponent)) => match exponent.parse::<i32>() {
            Ok(power) if power.abs() <= EXPONENT_MAX => (mantissa, Some(power)),
            _ => return Reading::Nothing,
        },
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-').or_else(|| mantissa.strip_prefix('\u{2212}'))
    {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == ',') {
        return Reading::Nothing;
    }
    let reading = read_unsigned(negative, unsigned);
    match (exponent, reading) {
        (None, reading) => reading,
        (Some(power), Reading::Number(number) | Reading::Pointed { number, .. }) => {
            Reading::Number(number.shifted(power))
        }
        (Some(_), _) => Reading::Nothing,
    }
}

fn read_unsigned(negative: bool, text: &str) -> Reading {
    let points = text.matches('.').count();
    let commas = text.matches(',').count();
    let number = |whole: &str, group: &[char], fraction: &str| {
        let grouped = ungrouped(whole, group);
        match grouped {
            Some(whole)
                if fraction.chars().all(|c| c.is_ascii_digit())
                    && !(whole.is_empty() && fraction.is_empty()) =>
            {
                Some(Digits::new(negative, &whole, fraction))
            }
            _ => None,
        }
    };
    let only = |found: Option<Digits>| found.map_or(Reading::Nothing, Reading::Number);
    match (points, commas) {
        (0, 0) => only(number(text, &GAPS, "")),
        (1, 0) | (0, 1) => {
            let mark = if points == 1 { '.' } else { ',' };
            let (whole, fraction) = text.split_once(mark).unwrap_or((text, ""));
            let Some(decimal) = number(whole, &GAPS, fraction) else { return Reading::Nothing };
            let thousands_shape = fraction.len() == GROUP_DIGITS
                && (1..=GROUP_DIGITS).contains(&whole.len())
                && !whole.starts_with('0')
                && whole.chars().all(|c| c.is_ascii_digit());
            if !thousands_shape {
                return Reading::Number(decimal);
            }
            let thousands = Digits::new(negative, &format!("{whole}{fraction}"), "");
            if mark == '.' {
                Reading::Pointed { number: decimal, thousands }
            } else {
                Reading::Ambiguous { thousands, decimal }
            }
        }
        (_, 0) => only(number(text, &['.'], "")),
        (0, _) => only(number(text, &[','], "")),
        _ => {
            let mark = if text.rfind('.') > text.rfind(',') { '.' } else { ',' };
            let group = if mark == '.' { ',' } else { '.' };
            let (whole, fraction) = text.rsplit_once(mark).unwrap_or((text, ""));
            only(number(whole, &[group], fraction))
        }
    }
}

/// Signs that divide thousands and nothing else: blanks (also the unbreakable and narrow ones) and apostrophes.
const GAPS: [char; 5] = [' ', '\u{a0}', '\u{202f}', '\'', '\u{2019}'];

/// The digits without the signs between their groups; `None` where a group is not of three digits.
fn ungrouped(whole: &str, group: &[char]) -> Option<String> {
    let mut groups = whole.split(group);
    let first = groups.next().unwrap_or_default();
    let mut digits = first.to_owned();
    for (index, part) in groups.enumerate() {
        if part.len() != GROUP_DIGITS || (index == 0 && !(1..=GROUP_DIGITS).contains(&first.len())) {
            return None;
        }
        digits.push_str(part);
    }
    digits.chars().all(|c| c.is_ascii_digit()).then_some(digits)
}

impl Cell<'_> {
    pub(super) fn integer(&self, min: i64, max: i64) -> Result<Conformed, Misfit> {
        let digits = self.digits(Some(0))?;
        if !digits.fraction.is_empty() {
            return Err(self.misfit(
                "not a whole number",
                format!("`{}` is not a whole number; {} takes whole numbers", self.shown(), self.name()),
                "round it to a whole number".to_owned(),
            ));
        }
        match digits.to_string().parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(Conformed::Integer(number)),
            _ => Err(self.out_of_range(Some(&min.to_string()), Some(&max.to_string()), &digits)),
        }
    }

    pub(super) fn decimal(
        &self,
        min: Option<f64>,
        max: Option<f64>,
        precision: Option<u32>,
    ) -> Result<Conformed, Misfit> {
        let digits = self.digits(precision)?;
        self.in_range(min, max, &digits)?;
        match precision {
            Some(kept) if digits.fraction.len() > kept as usize => Err(self.misfit(
                &format!("{} digits after the point, {kept} are kept", digits.fraction.len()),
                format!(
                    "`{}` has {} digits after the point; {} keeps {kept}",
                    self.shown(),
                    digits.fraction.len(),
                    self.name()
                ),
                match kept {
                    0 => "round it to a whole number".to_owned(),
                    1 => "round it to 1 digit after the point".to_owned(),
                    _ => format!("round it to {kept} digits after the point"),
                },
            )),
            _ => Ok(Conformed::Decimal(digits.to_string())),
        }
    }

    pub(super) fn double(&self, min: Option<f64>, max: Option<f64>) -> Result<Conformed, Misfit> {
        let digits = self.digits(None)?;
        self.in_range(min, max, &digits)?;
        // A cell that is a double travels as that double, all of its digits.
        match self.value {
            Value::Number(number) => Ok(Conformed::Decimal(number.to_string())),
            _ => Ok(Conformed::Decimal(digits.to_string())),
        }
    }

    /// The cell's number. `kept` is how many digits after the point the attribute keeps, where that is known: below
    /// three, a text like `1.500` is more likely a thousand and a half than a decimal number, and is not guessed at.
    fn digits(&self, kept: Option<u32>) -> Result<Digits, Misfit> {
        let found = match self.value {
            Value::Integer(number) => read(&number.to_string()),
            Value::Number(number) => Digits::of_double(*number).map_or(Reading::Nothing, Reading::Number),
            Value::Text(text) => read(text),
            _ => Reading::Nothing,
        };
        match found {
            Reading::Number(number) => Ok(number),
            Reading::Pointed { number, .. } if kept.is_none_or(|kept| kept as usize >= GROUP_DIGITS) => {
                Ok(number)
            }
            Reading::Pointed { number: decimal, thousands } | Reading::Ambiguous { thousands, decimal } => {
                Err(self.misfit(
                    "ambiguous separator",
                    format!("`{}` can be read as {thousands} or as {decimal}", self.shown()),
                    format!("write {thousands} or {decimal}, or store the cell as a number"),
                ))
            }
            Reading::Nothing => Err(self.misfit(
                "not a number",
                format!("`{}` is not a number; {} takes numbers", self.shown(), self.name()),
                "write it with digits only, for example 1500 or 1500.25".to_owned(),
            )),
        }
    }

    fn in_range(&self, min: Option<f64>, max: Option<f64>, digits: &Digits) -> Result<(), Misfit> {
        let number = digits.as_double();
        if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
            let text = |bound: Option<f64>| bound.map(|bound| bound.to_string());
            return Err(self.out_of_range(text(min).as_deref(), text(max).as_deref(), digits));
        }
        Ok(())
    }

    fn out_of_range(&self, min: Option<&str>, max: Option<&str>, digits: &Digits) -> Misfit {
        let bounds = match (min, max) {
            (Some(min), Some(max)) => format!("from {min} to {max}"),
            (Some(min), None) => format!("from {min} upwards"),
            (None, Some(max)) => format!("up to {max}"),
            (None, None) => "of its size".to_owned(),
        };
        self.misfit(
            &format!("{digits} out of range {bounds}"),
            format!("`{}` is outside what {} takes: {bounds}", self.shown(), self.name()),
            format!("use a number {bounds}"),
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn number(text: &str) -> String {
        match read(text) {
            Reading::Number(number) => number.to_string(),
            Reading::Pointed { number, thousands } => format!("{number} or perhaps {thousands}"),
            Reading::Ambiguous { thousands, decimal } => format!("{thousands} or {decimal}"),
            Reading::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn every_common_spelling_is_read_and_none_is_guessed() {
        for (text, expected) in [
            ("1500", "1500"),
            (" +007 ", "7"),
            ("-0", "0"),
            ("1,500.00", "1500"),
            ("1.500,25", "1500.25"),
            ("1,234,567", "1234567"),
            ("1.234.567", "1234567"),
            ("1 500,5", "1500.5"),
            ("1\u{202f}500.5", "1500.5"),
            ("1'500", "1500"),
            ("0.125", "0.125"),
            ("0,125", "0.125"),
            ("1234,567", "1234.567"),
            (".5", "0.5"),
            ("12,5", "12.5"),
            ("1.5E+3", "1500"),
            ("1e-05", "0.00001"),
            ("-1,5", "-1.5"),
            ("1.500", "1.5 or perhaps 1500"),
            ("1,500", "1500 or 1.5"),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_not_made_one() {
        for text in [
            "", "-", ".", ",", "abc", "12a", "€ 15", "15%", "(15)", "15-", "1,2,3", "1.2.3", "1,50,000",
            "1.500.00", "1,5.00", "1e999", "e5", "--5", "1  500", "٣", "NaN", "inf", "0x10", "1_000",
        ] {
            assert_eq!(number(text), "nothing", "{text}");
        }
    }

    #[test]
    fn a_double_shows_its_fifteen_digits() {
        for (double, expected) in [
            (0.1 + 0.2, "0.3"),
            (1500.0, "1500"),
            (-0.0, "0"),
            (1e21, "1000000000000000000000"),
            (0.000_012_5, "0.0000125"),
            (123_456_789.123_45, "123456789.12345"),
        ] {
            assert_eq!(Digits::of_double(double).unwrap().to_string(), expected);
        }
    }
}
