//! Where the table stands on its sheet: the header row, and the columns that it names.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use super::fault::ReadFault;
use super::mark::ReturnedPart;
use super::row::Row;
use super::seen::{Seen, see};
use super::source::Source;
use super::tables::{Bounds, ExcelTable, Tables, listed};
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
    /// Where the data end, for an Excel table; else they go on to the last cell of the sheet.
    pub bounds: Option<Bounds>,
    /// What was decided, one sentence each.
    pub notes: Vec<String>,
}

impl Layout {
    /// Whether a row below the header can hold data.
    pub fn holds_row(&self, number: u32) -> bool {
        self.bounds.as_ref().is_none_or(|bounds| number <= bounds.last_row)
    }

    /// Whether a column can hold data.
    pub fn holds_column(&self, column: u32) -> bool {
        self.bounds.as_ref().is_none_or(|bounds| bounds.columns.contains(&column))
    }
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
/// `given`; else that of the sheet's Excel table; else the one that looks like it, see [`likely_header`].
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
    let mut notes = Vec::new();
    if part.is_none() {
        let mut tables = source.tables(sheet)?;
        notes.append(&mut tables.faults);
        if let Some(table) = tables.chosen(given) {
            let alike = tables.alike(table);
            if given.is_none() && !alike.is_empty() {
                let tables = listed(&[&[table], alike.as_slice()].concat());
                return Err(ReadFault::SeveralTables { sheet: sheet_name.to_owned(), tables });
            }
            return of_table(source, sheet, &tables, table, notes);
        }
    }
    let given = given.filter(|_| part.is_none());
    let (tops, above) = tops(source, sheet, given)?;
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
    let header = match given {
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
        bounds: None,
        notes,
    };
    if let Some(part) = part {
        layout.own_columns = take_own(&mut layout.headers, part);
    }
    if layout.headers.is_empty() {
        return Err(no_header(format!("row {} names no column", header.number)));
    }
    if header.number > 1 {
        let above = above + tops.iter().filter(|top| top.number < header.number).count() as u64;
        layout.notes.push(match above {
            0 => format!("header found in row {}", header.number),
            1 => format!("header found in row {}; 1 row above it was left out", header.number),
            more => format!("header found in row {}; {more} rows above it were left out", header.number),
        });
    }
    Ok(layout)
}

/// The layout of an Excel table. Where the sheet has no cell for a header, the table's own name of the column stands in.
fn of_table(
    source: &mut Source,
    sheet: usize,
    tables: &Tables,
    table: &ExcelTable,
    mut notes: Vec<String>,
) -> Result<Layout, ReadFault> {
    let (mut cells, above) = match table.header_rows {
        0 => (Vec::new(), rows_above(source, sheet, table.area.top)?),
        more => {
            let (mut tops, above) = tops(source, sheet, Some(table.header_row()))?;
            // Rows of a header of several lines stand above the last of them.
            let above = above.saturating_sub(u64::from(more - 1));
            (tops.pop().map(|top| top.cells).unwrap_or_default(), above)
        }
    };
    let bounds = tables.bounds(table, |column| cells.iter().any(|(at, _, _)| *at == column));
    match bounds.columns.end() - table.area.right {
        0 => {}
        1 => notes.push("1 column goes on directly beside the table and was read as well".to_owned()),
        more => notes.push(format!("{more} columns go on directly beside the table and were read as well")),
    }
    cells.retain(|(column, _, _)| bounds.columns.contains(column));
    let mut texts: HashMap<u32, String> = cells.into_iter().map(|(column, text, _)| (column, text)).collect();
    let header = |column| {
        let text = texts.remove(&column).or_else(|| table.column_name(column).map(str::to_owned));
        text.map(|text| (column, text))
    };
    let headers = bounds.columns.clone().filter_map(header).collect();
    notes.extend(tables.notes(table, above));
    Ok(Layout {
        header_row: table.header_row(),
        headers,
        id_column: None,
        own_columns: Vec::new(),
        bounds: Some(bounds),
        notes,
    })
}

/// The rows that the header is looked for in. With a given row only that one, and how many with something in them were
/// met above it.
fn tops(source: &mut Source, sheet: usize, given: Option<u32>) -> Result<(Vec<Top>, u64), ReadFault> {
    let mut tops = Vec::new();
    let mut above = 0;
    source.each_row(sheet, &mut |row: Row<'_>| {
        if let Some(number) = given
            && row.number != number
        {
            above += u64::from(row.number < number && !row.is_blank());
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
    Ok((tops, above))
}

/// Rows with something in them that the file has before the first one at or below `row`.
fn rows_above(source: &mut Source, sheet: usize, row: u32) -> Result<u64, ReadFault> {
    let mut above = 0;
    source.each_row(sheet, &mut |found: Row<'_>| {
        if found.number >= row {
            return Ok(ControlFlow::Break(()));
        }
        above += u64::from(!found.is_blank());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(above)
}

/// The row that looks like a header: titles above a table are narrower than it is.
///
/// It is the first row with at least two texts that is at least half as wide as the widest of the first fifty rows.
/// A row above it that is as wide as it or wider, and has three cells or more, goes before: a header may be numbers
/// (years) above data of texts. Where no row has enough texts, the first of that width, and in a sheet of one column
/// the first row.
fn likely_header(tops: &[Top]) -> Option<&Top> {
    let width = tops.iter().map(|top| top.cells.len()).max()?;
    if width == 1 {
        return tops.first();
    }
    let wide = |cells: usize| cells >= 2 && cells * 2 >= width;
    let texts = |top: &Top| top.cells.iter().filter(|(_, _, is_text)| *is_text).count();
    let by_width = tops.iter().find(|top| wide(top.cells.len()));
    let by_texts = tops.iter().find(|top| wide(texts(top)));
    match (by_width, by_texts) {
        (Some(wide), Some(texts)) if wide.cells.len() < 3 || wide.cells.len() < texts.cells.len() => {
            Some(texts)
        }
        (Some(wide), _) => Some(wide),
        (None, _) => tops.first(),
    }
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
    Layout { header_row: top.number, headers, id_column, own_columns, bounds: None, notes }
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
