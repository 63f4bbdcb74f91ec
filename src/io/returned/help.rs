//! What helps the sender to mend a row: the sentences, the notes, the drop-down lists and the hints of input.

use rust_xlsxwriter::{
    DataValidation, DataValidationErrorStyle, DataValidationRule, Formula, Note, XlsxError,
};

use super::cells::CELL_UNITS_MAX;
use super::{REASONS_MAX, ReturnedColumn, SENTENCE_CHARS_MAX};
use crate::domain::cell::column_letters;
use crate::domain::refusal::Refusal;
use crate::domain::value::StageType;

/// The very hidden sheet with the lists that are too long for a cell's own drop-down list.
pub(super) const LISTS_SHEET: &str = "_ddu_lists";
/// UTF-16 code units of a drop-down list within a validation, commas included. Source: Excel specifications.
const LIST_UNITS_MAX: usize = 255;
/// UTF-16 code units of a hint. Source: Excel specifications.
const HINT_UNITS_MAX: usize = 255;
/// UTF-16 code units of a hint's title. Source: Excel specifications.
const HINT_TITLE_UNITS_MAX: usize = 32;
/// Pixels of a note: wide enough for a sentence of seven words, as tall as its text needs.
const NOTE_WIDTH: u32 = 320;
const NOTE_LINE_CHARS: usize = 50;
const NOTE_LINE_HEIGHT: u32 = 17;
const NOTE_LINES_MAX: u32 = 24;

/// What is wrong with a row, and what to do about it: a line for each reason, numbered alike where there are several.
pub(super) fn sentences(refusals: &[Refusal]) -> (String, String) {
    let wrong: Vec<String> = refusals.iter().map(|refusal| one_line(&refusal.cause)).collect();
    let advice: Vec<String> = refusals.iter().map(|refusal| one_line(&refusal.advice)).collect();
    (lines(&wrong), lines(&advice))
}

fn lines(sentences: &[String]) -> String {
    if let [first, rest @ ..] = sentences
        && rest.iter().all(|sentence| sentence == first)
    {
        return first.clone();
    }
    let mut lines: Vec<String> = sentences
        .iter()
        .take(REASONS_MAX)
        .enumerate()
        .map(|(index, sentence)| format!("{}. {sentence}", index + 1))
        .collect();
    if sentences.len() > REASONS_MAX {
        lines.push(format!("… and {} more", sentences.len() - REASONS_MAX));
    }
    lines.join("\n")
}

/// A sentence without line breaks or other control characters, cut where it grows too long.
fn one_line(sentence: &str) -> String {
    let words: Vec<&str> = sentence
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    shortened(&spoken(&words.join(" ")), SENTENCE_CHARS_MAX)
}

/// The sentence as an office worker writes it: a capital at its beginning, quotation marks around values.
fn spoken(sentence: &str) -> String {
    // An odd one belongs to a value; guessing which would tear it apart.
    let paired = sentence.matches('`').count().is_multiple_of(2);
    let mut open = false;
    let quoted = sentence.chars().map(|c| match c {
        '`' if paired => {
            open = !open;
            if open { '“' } else { '”' }
        }
        other => other,
    });
    let mut sentence: String = quoted.collect();
    if let Some(first) = sentence.chars().next().filter(|c| c.is_lowercase()) {
        let capital: String = first.to_uppercase().collect();
        sentence.replace_range(..first.len_utf8(), &capital);
    }
    sentence
}

fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// As much of a text as fits into so many UTF-16 code units.
fn within_units(text: &str, units_max: usize) -> String {
    if text.encode_utf16().count() <= units_max {
        return text.to_owned();
    }
    let mut units = 1;
    let fits = |c: &char| {
        units += c.len_utf16();
        units <= units_max
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Lines that a wrapped text takes in a cell of so many characters.
pub(super) fn lines_shown(text: &str, width: u16) -> u16 {
    let width = usize::from(width);
    let mut lines = 0_u16;
    for line in text.lines() {
        let mut used = 0;
        lines = lines.saturating_add(1);
        for word in line.split(' ') {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > width {
                lines = lines.saturating_add(1);
                used = 0;
            }
            let broken = u16::try_from(length.saturating_sub(1) / width).unwrap_or(u16::MAX);
            lines = lines.saturating_add(broken);
            used += length.saturating_sub(usize::from(broken) * width) + usize::from(used > 0);
        }
    }
    lines
}

/// The note on a cell: every reason that names its column.
pub(super) fn cell_note<'a>(refusals: impl Iterator<Item = &'a Refusal>) -> Note {
    let reasons: Vec<String> = refusals
        .take(REASONS_MAX)
        .map(|refusal| {
            format!("{}\n{}", one_line(&refusal.cause), one_line(&refusal.advice)).trim().to_owned()
        })
        .collect();
    note(&shortened(&reasons.join("\n\n"), SENTENCE_CHARS_MAX))
}

/// The note on the header of the sentences: the way on.
pub(super) fn way_on_note() -> Note {
    note(
        "How to send these rows again:\n\
         1. Correct the red cells.\n\
         2. Save this workbook under any name; keep its sheets and its columns.\n\
         3. Drop it into the folder again.\n\
         A row that you delete here is not written and stays in quarantine.",
    )
}

/// The note on the header of the row numbers.
pub(super) fn number_note(workbook: &str) -> Note {
    note(&format!("The row's number in {}", shortened(workbook, SENTENCE_CHARS_MAX)))
}

fn note(text: &str) -> Note {
    let lines: usize = text.lines().map(|line| line.chars().count().div_ceil(NOTE_LINE_CHARS).max(1)).sum();
    let lines = u32::try_from(lines).unwrap_or(NOTE_LINES_MAX).min(NOTE_LINES_MAX);
    Note::new(text)
        .set_author("DDU")
        .add_author_prefix(false)
        .set_font_size(9)
        .set_width(NOTE_WIDTH)
        .set_height((lines + 1) * NOTE_LINE_HEIGHT)
}

/// The lists that a validation refers to, one column of [`LISTS_SHEET`] each.
#[derive(Debug, Default)]
pub(super) struct Lists {
    columns: Vec<Vec<String>>,
}

impl Lists {
    /// The lists, column by column.
    pub(super) fn columns(&self) -> &[Vec<String>] {
        &self.columns
    }

    /// The formula that refers to a list; a list that is there already is not written again.
    fn reference(&mut self, choices: &[String]) -> Formula {
        let index = self.columns.iter().position(|column| column == choices).unwrap_or_else(|| {
            self.columns.push(choices.to_vec());
            self.columns.len() - 1
        });
        let letters = column_letters(u32::try_from(index).expect("a workbook has fewer than 2^32 columns"));
        Formula::new(format!("='{LISTS_SHEET}'!${letters}$1:${letters}${}", choices.len()))
    }
}

/// What Excel offers and checks while a person types in a column; `None` where nothing is known about it.
///
/// It warns and does not forbid: the target knows better, and it takes numbers of choices too.
pub(super) fn validation(
    column: &ReturnedColumn,
    header: &str,
    lists: &mut Lists,
) -> Result<Option<DataValidation>, XlsxError> {
    let choices: Vec<String> = column
        .choices
        .iter()
        .filter(|choice| !choice.trim().is_empty())
        .map(|choice| within_units(choice, CELL_UNITS_MAX))
        .collect();
    let (rule, hint, fault) = if !choices.is_empty() {
        let rule = if fits_inline(&choices) {
            DataValidation::new().allow_list_strings(&choices)?
        } else {
            DataValidation::new().allow_list_formula(lists.reference(&choices))
        };
        let hint = format!("One of: {}", choices.join(", "));
        (rule, hint, "This is not one of the values that Dynamics knows for this column.".to_owned())
    } else if let (StageType::Text, Some(longest)) = (column.kind, column.length_max)
        && (longest as usize) < CELL_UNITS_MAX
    {
        let rule = DataValidation::new().allow_text_length(DataValidationRule::LessThanOrEqualTo(longest));
        let hint = format!("At most {longest} characters.");
        (rule, hint, format!("Dynamics takes at most {longest} characters in this column."))
    } else {
        let hint = match column.kind {
            StageType::Date => "A date, for example 2026-11-22.",
            StageType::Timestamp => "A date and a time, for example 2026-11-22 14:03:00.",
            StageType::Integer => "A whole number.",
            StageType::Number => "A number.",
            StageType::Boolean | StageType::Text => return Ok(None),
        };
        (DataValidation::new().allow_any_value(), hint.to_owned(), String::new())
    };
    let rule = rule
        .set_input_title(within_units(header, HINT_TITLE_UNITS_MAX))?
        .set_input_message(within_units(&hint, HINT_UNITS_MAX))?
        .set_error_title(within_units(header, HINT_TITLE_UNITS_MAX))?
        .set_error_message(within_units(&fault, HINT_UNITS_MAX))?
        .set_error_style(DataValidationErrorStyle::Warning);
    Ok(Some(rule))
}

/// Whether a list can stand in the validation itself: commas part its entries, and blanks around them are lost.
fn fits_inline(choices: &[String]) -> bool {
    let plain = |choice: &String| {
        !choice.contains([',', ';', '"', '\n']) && choice.trim() == choice && !choice.starts_with('=')
    };
    let units: usize = choices.iter().map(|choice| choice.encode_utf16().count() + 1).sum();
    choices.iter().all(plain) && units <= LIST_UNITS_MAX
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(cause: &str, advice: &str) -> Refusal {
        Refusal {
            column: None,
            error: String::new(),
            cause: cause.into(),
            advice: advice.into(),
            missing: None,
        }
    }

    #[test]
    fn several_reasons_are_numbered_alike_and_one_is_not() {
        assert_eq!(sentences(&[refusal("too long", "cut it")]), ("Too long".into(), "Cut it".into()));
        let (wrong, advice) = sentences(&[refusal("too\r\nlong", "mend it"), refusal("unknown", "mend it")]);
        assert_eq!((wrong.as_str(), advice.as_str()), ("1. Too long\n2. Unknown", "Mend it"));
        assert_eq!(sentences(&[]), (String::new(), String::new()));
        let many: Vec<Refusal> =
            (0..REASONS_MAX + 3).map(|n| refusal(&"x".repeat(5_000), &n.to_string())).collect();
        let (wrong, advice) = sentences(&many);
        assert!(advice.ends_with("20. 19\n… and 3 more"), "{advice}");
        assert!(wrong.encode_utf16().count() <= CELL_UNITS_MAX);
    }

    #[test]
    fn sentences_read_as_an_office_worker_writes_them() {
        assert_eq!(
            spoken("`Spaceflight` is not one of the choices"),
            "“Spaceflight” is not one of the choices"
        );
        assert_eq!(spoken("no account has the number `a` or `b`"), "No account has the number “a” or “b”");
        assert_eq!(spoken("`a`b` is too long"), "`a`b` is too long");
        assert_eq!(spoken("ßtraße"), "SStraße");
        assert_eq!(spoken(""), "");
    }

    #[test]
    fn a_list_with_commas_or_too_long_moves_to_the_hidden_sheet() {
        let column = |choices: &[&str]| ReturnedColumn {
            name: "industry".into(),
            header: "Industry".into(),
            kind: StageType::Text,
            choices: choices.iter().map(|choice| choice.to_string()).collect(),
            length_max: None,
        };
        let mut lists = Lists::default();
        for choices in
            [&["Accounting", "Retail"][..], &["Legal, Tax", "Retail"], &["x"; 200], &["Legal, Tax", "Retail"]]
        {
            assert!(validation(&column(choices), "Industry", &mut lists).unwrap().is_some());
        }
        assert_eq!(lists.columns().len(), 2);
        assert_eq!(lists.columns()[0], ["Legal, Tax", "Retail"]);
    }

    #[test]
    fn a_row_is_as_high_as_its_wrapped_sentences() {
        assert_eq!(lines_shown("", 10), 0);
        assert_eq!(lines_shown("short", 10), 1);
        assert_eq!(lines_shown("1. one two three\n2. four", 10), 3);
        assert_eq!(lines_shown(&"x".repeat(25), 10), 3);
    }

    #[test]
    fn a_hint_is_cut_to_what_excel_takes() {
        assert_eq!(within_units("äöü", 3), "äöü");
        assert_eq!(within_units("😀😀😀", 5), "😀😀…");
        assert_eq!(within_units(&"x".repeat(300), 255).encode_utf16().count(), 255);
    }
}
