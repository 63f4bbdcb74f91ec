//! Writes the sign-off: a workbook that says what was loaded, what was checked, and what is not as it was written.

use jiff::Timestamp;
use rust_xlsxwriter::{
    Color, DocProperties, ExcelDateTime, Format, FormatAlign, Workbook, Worksheet, XlsxError,
};

use crate::domain::proof::{Departed, Finding, Proof};

/// A fact on the first sheet.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
}

/// The workbook's bytes: facts, checks, and a second sheet of the departures.
///
/// # Errors
/// When a value cannot stand in a workbook.
pub fn sign_off(facts: &[(&str, Fact)], proof: &Proof) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    book.set_properties(&DocProperties::new().set_title("Sign-off").set_creation_datetime(&at(proof.ended)?));
    let looks = Looks::new();
    first_sheet(book.add_worksheet(), facts, proof, &looks)?;
    departures(book.add_worksheet(), proof, &looks)?;
    book.save_to_buffer()
}

struct Looks {
    title: Format,
    head: Format,
    text: Format,
    right: Format,
    noted: Format,
    wrong: Format,
}

impl Looks {
    fn new() -> Self {
        let text = Format::new().set_align(FormatAlign::Top).set_text_wrap();
        let on = |color: u32| text.clone().set_background_color(Color::RGB(color));
        Looks {
            title: Format::new().set_bold().set_font_size(14),
            head: Format::new()
                .set_bold()
                .set_background_color(Color::RGB(0x59_59_59))
                .set_font_color(Color::White),
            right: on(0xC6_EF_CE),
            noted: on(0xFF_EB_9C),
            wrong: on(0xFF_C7_CE),
            text,
        }
    }

    fn of(&self, finding: Finding) -> &Format {
        match finding {
            Finding::Right => &self.right,
            Finding::Noted | Finding::Open => &self.noted,
            Finding::Wrong => &self.wrong,
        }
    }

    fn of_departure(&self, kind: Departed) -> &Format {
        if kind.is_wrong() { &self.wrong } else { &self.noted }
    }
}

fn first_sheet(
    sheet: &mut Worksheet,
    facts: &[(&str, Fact)],
    proof: &Proof,
    looks: &Looks,
) -> Result<(), XlsxError> {
    sheet.set_name("Sign-off")?;
    sheet.set_column_width(0, 24)?.set_column_width(1, 16)?.set_column_width(2, 90)?;
    let verdict = if proof.holds() { "validated" } else { "not validated" };
    sheet.write_string_with_format(0, 0, format!("{}: {verdict}", proof.table_name), &looks.title)?;
    let mut row = 2;
    for (name, fact) in facts {
        sheet.write_string(row, 0, *name)?;
        match fact {
            Fact::Text(text) => sheet.write_string(row, 1, text)?,
            Fact::Number(number) => sheet.write_number(row, 1, *number as f64)?,
        };
        row += 1;
    }
    row += 1;
    for (column, text) in (0..).zip(["Check", "Result", "What was found"]) {
        sheet.write_string_with_format(row, column, text, &looks.head)?;
    }
    for check in &proof.checks {
        row += 1;
        sheet.write_string_with_format(row, 0, check.what, &looks.text)?;
        sheet.write_string_with_format(row, 1, check.finding.as_str(), looks.of(check.finding))?;
        sheet.write_string_with_format(row, 2, &check.said, &looks.text)?;
    }
    Ok(())
}

fn departures(sheet: &mut Worksheet, proof: &Proof, looks: &Looks) -> Result<(), XlsxError> {
    sheet.set_name("Differences")?;
    let heads = ["Row", "Sheet", "What", "Column", "Sent", "Found", "Record", "Job", "Row id"];
    for (column, text) in (0..).zip(heads) {
        sheet.write_string_with_format(0, column, text, &looks.head)?;
    }
    for (column, width) in [(1, 16), (2, 16), (3, 24), (4, 30), (5, 30), (6, 38), (7, 28), (8, 38)] {
        sheet.set_column_width(column, width)?;
    }
    sheet.set_freeze_panes(1, 0)?;
    let mut row = 0;
    for departure in &proof.departures {
        row += 1;
        sheet.write_number(row, 0, departure.row)?;
        let id = departure.row_id.to_string();
        let texts = [
            departure.sheet.as_str(),
            departure.kind.as_str(),
            &departure.column,
            &departure.sent,
            &departure.found,
            &departure.record,
            &departure.job,
            &id,
        ];
        for (column, text) in (1..).zip(texts) {
            match column {
                2 => sheet.write_string_with_format(row, column, text, looks.of_departure(departure.kind))?,
                _ => sheet.write_string(row, column, text)?,
            };
        }
    }
    if proof.more_departures > 0 {
        sheet.write_string(row + 1, 1, format!("and {} more", proof.more_departures))?;
    }
    Ok(())
}

fn at(at: Timestamp) -> Result<ExcelDateTime, XlsxError> {
    ExcelDateTime::from_timestamp(at.as_second())
}
