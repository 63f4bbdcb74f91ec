//! Where the table stands on its sheet: the header row, and the columns that it names.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::fault::ReadFault;
use super::mark::ReturnedPart;
use super::row::Row;
use super::seen::{Seen, see};
use super::source::Source;
use crate::domain::cell::column_letters;
use crate::domain::table::column_identifier;

/// Rows with something in them that the header is looked for in. People put titles, dates and notes above a table,
/// not pages of text.
const HEADER_WITHIN_ROWS: usize = 50;
/// Longest column name in characters; a header may be a paragraph.
const COLUMN_NAME_CHARS_MAX: usize = 128;

/// Where the header stands and what it says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Row number of the header.
    pub header_row: u32,
    /// Column index and text of every header that is not blank, from left to right.
    pub headers: Vec<(u32, String)>,
    /// Column of the row ids, in a workbook that DDU gave back.
    pub id_column: Option<u32>,
    /// Columns that DDU added to a workbook that it gave back.
    pub own_columns: Vec<u32>,
    /// What was decided, one sentence each.
    pub notes: Vec<String>,
}

/// A row near the top of the sheet.
struct Top {
    number: u32,
    /// Column, text, and whether the cell itself is text.
    cells: Vec<(u32, String, bool)>,
}

/// Finds the header of a sheet.
///
/// In a workbook that DDU gave back it is the row with the id column, wherever people have moved it. Else it is
/// `given`, or the first row with at least two texts that is at least half as wide as the widest of the first
/// fifty rows, so that titles above the table are passed over; failing that the first row of that width (a header
/// may be numbers: years), and in a sheet of one column the first row.
///
/// # Errors
/// When there is no such row.
pub(super) fn find(
    source: &mut Source,
    sheet: usize,
    sheet_name: &str,
    given: Option<u32>,
    part: Option<&ReturnedPart>,
) -> Result<Layout, ReadFault> {
    let tops = tops(source, sheet, given.filter(|_| part.is_none()))?;
    let mut notes = Vec::new();
    if let Some(part) = part {
        let holds_id = |top: &&Top| top.cells.iter().any(|(_, text, _)| same(text, &part.id_header));
        if let Some(top) = tops.iter().find(holds_id) {
            return Ok(returned_layout(top, part));
        }
        notes.push(format!(
            "the hidden column `{}` is gone, so every row is read as a new one",
            part.id_header
        ));
    }
    let no_header = |detail: String| ReadFault::NoHeader { sheet: sheet_name.to_owned(), detail };
    let header = match given.filter(|_| part.is_none()) {
        Some(number) => tops
            .iter()
            .find(|top| top.number == number)
            .ok_or_else(|| no_header(format!("`header_row` is {number}, but that row is blank")))?,
        None => likely_header(&tops).ok_or_else(|| no_header("it has no cells".to_owned()))?,
    };
    let mut layout = Layout {
        header_row: header.number,
        headers: header.cells.iter().map(|(column, text, _)| (*column, text.clone())).collect(),
        id_column: None,
        own_columns: Vec::new(),
        notes,
    };
    if let Some(part) = part {
        layout.own_columns = take_own(&mut layout.headers, part);
    }
    if layout.headers.is_empty() {
        return Err(no_header(format!("row {} names no column", header.number)));
    }
    if header.number > 1 {
        let above = tops.iter().filter(|top| top.number < header.number).count();
        layout.notes.push(match above {
            0 => format!("header found in row {}", header.number),
            1 => format!("header found in row {}; 1 row above it was left out", header.number),
            more => format!("header found in row {}; {more} rows above it were left out", header.number),
        });
    }
    Ok(layout)
}

/// The rows that the header is looked for in; up to a given row, only that one and none behind it.
fn tops(source: &mut Source, sheet: usize, given: Option<u32>) -> Result<Vec<Top>, ReadFault> {
    let mut tops = Vec::new();
    source.each_row(sheet, &mut |row: Row<'_>| {
        if given.is_some_and(|number| row.number != number) {
            // Rows may stand in any order, so one behind the given row does not mean that it is not to come.
            return Ok(ControlFlow::Continue(()));
        }
        let cells: Vec<_> = row
            .cells
            .iter()
            .filter_map(|cell| {
                let seen = see(&row, cell);
                let is_text = matches!(seen, Seen::Text(_));
                let text = seen.shown().trim().to_owned();
                (!text.is_empty()).then_some((cell.column, text, is_text))
            })
            .collect();
        if !cells.is_empty() {
            tops.push(Top { number: row.number, cells });
        }
        let enough = tops.len() == HEADER_WITHIN_ROWS || (given.is_some() && !tops.is_empty());
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(tops)
}

fn likely_header(tops: &[Top]) -> Option<&Top> {
    let width = tops.iter().map(|top| top.cells.len()).max()?;
    if width == 1 {
        return tops.first();
    }
    let wide = |cells: usize| cells >= 2 && cells * 2 >= width;
    let texts = |top: &Top| top.cells.iter().filter(|(_, _, is_text)| *is_text).count();
    let by_texts = tops.iter().find(|top| wide(texts(top)));
    by_texts.or_else(|| tops.iter().find(|top| wide(top.cells.len()))).or_else(|| tops.first())
}

fn returned_layout(top: &Top, part: &ReturnedPart) -> Layout {
    let mut headers: Vec<_> = top.cells.iter().map(|(column, text, _)| (*column, text.clone())).collect();
    let id = headers.iter().position(|(_, text)| same(text, &part.id_header));
    let id_column = id.map(|index| headers.remove(index).0);
    let own_columns = take_own(&mut headers, part);
    let mut notes = Vec::new();
    if top.number != part.header_row {
        notes.push(format!("header found in row {}", top.number));
    }
    Layout { header_row: top.number, headers, id_column, own_columns, notes }
}

/// Takes out the columns that DDU added: they stand in front, so of two with the same header the first is ours.
fn take_own(headers: &mut Vec<(u32, String)>, part: &ReturnedPart) -> Vec<u32> {
    let mut own_columns = Vec::new();
    for own in part.own_headers.iter().filter(|own| !same(own, &part.id_header)) {
        if let Some(index) = headers.iter().position(|(_, text)| same(text, own)) {
            own_columns.push(headers.remove(index).0);
        }
    }
    own_columns
}

fn same(text: &str, header: &str) -> bool {
    text.trim().to_lowercase() == header.trim().to_lowercase()
}

/// Gives every column a name that is unique without regard to case, in the order of the sheet.
///
/// A blank header is named by the column's letters; a header seen before gets a number: `Name_2`.
pub(super) struct ColumnNames {
    taken: HashSet<String>,
    next_of: HashMap<String, u32>,
}

impl ColumnNames {
    /// No names yet.
    pub fn new() -> Self {
        ColumnNames { taken: HashSet::new(), next_of: HashMap::new() }
    }

    /// The next column's name.
    pub fn name(&mut self, column: u32, header: &str) -> String {
        let mut name: String = column_identifier(header).chars().take(COLUMN_NAME_CHARS_MAX).collect();
        if name.is_empty() {
            name = format!("column_{}", column_letters(column));
        }
        let key = name.to_lowercase();
        if self.taken.insert(key.clone()) {
            return name;
        }
        let next = self.next_of.entry(key).or_insert(2);
        loop {
            let numbered = format!("{name}_{next}");
            *next += 1;
            if self.taken.insert(numbered.to_lowercase()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_whatever_the_headers_say() {
        let mut names = ColumnNames::new();
        let named: Vec<String> = ["Name", "name", " ", "NAME", "Name_2", "Größe (cm)", "_ddu_row", "%"]
            .iter()
            .zip(0..)
            .map(|(header, column)| names.name(column, header))
            .collect();
        assert_eq!(
            named,
            ["Name", "name_2", "column_C", "NAME_3", "Name_2_2", "Größe_cm", "ddu_row", "column_H"]
        );
    }
}
