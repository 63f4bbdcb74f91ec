//! Excel tables (ListObjects): which one of a sheet is read, and which cells belong to it.

use std::ops::RangeInclusive;

use super::row::Row;
use super::seen::{Seen, see};
use crate::domain::cell::{SHEET_COLUMNS_MAX, SHEET_ROWS_MAX, column_letters};

/// Names of tables that a sentence lists.
const LISTED_TABLES_MAX: usize = 10;

/// A rectangle of cells: row numbers from 1, column indices from 0, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    /// Its first row.
    pub top: u32,
    /// Its first column.
    pub left: u32,
    /// Its last row.
    pub bottom: u32,
    /// Its last column.
    pub right: u32,
}

/// An Excel table as its workbook describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExcelTable {
    /// Its name, as formulas have it.
    pub name: String,
    /// The cells that it covers, header and totals row included.
    pub area: Area,
    /// Rows of its header: 1, or 0 where people have switched the header off.
    pub header_rows: u32,
    /// Rows of totals at its end: 0 or 1.
    pub totals_rows: u32,
    /// The names of its columns, from left to right; fewer where the file does not tell.
    pub columns: Vec<String>,
}

impl ExcelTable {
    /// The row above its first row of data; 0 where the data begin in the sheet's first row.
    pub fn header_row(&self) -> u32 {
        self.area.top + self.header_rows - 1
    }

    /// The last row that can hold data.
    pub fn last_row(&self) -> u32 {
        self.area.bottom - self.totals_rows
    }

    /// What its file calls the column at this index of the sheet.
    pub fn column_name(&self, column: u32) -> Option<&str> {
        let at = column.checked_sub(self.area.left)?;
        self.columns.get(at as usize).map(|name| name.trim()).filter(|name| !name.is_empty())
    }

    fn cells(&self) -> u64 {
        let Area { top, left, bottom, right } = self.area;
        u64::from(bottom - top + 1) * u64::from(right - left + 1)
    }

    fn place(&self) -> String {
        let Area { top, left, bottom, right } = self.area;
        format!("{}{top}:{}{bottom}", column_letters(left), column_letters(right))
    }
}

/// The tables of one sheet.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Tables {
    /// Those that can be used.
    pub tables: Vec<ExcelTable>,
    /// Why others cannot, one sentence each.
    pub faults: Vec<String>,
}

impl Tables {
    /// The table to read: the one with the most cells, of equal ones the topmost, then the leftmost.
    ///
    /// A header row that the sender names chooses among the tables whose header stands there; where none does, the
    /// sender knows better than the tables, and there is none to read.
    pub fn chosen(&self, header_row: Option<u32>) -> Option<&ExcelTable> {
        let named = |table: &&ExcelTable| {
            header_row.is_none_or(|row| table.header_rows > 0 && table.header_row() == row)
        };
        let order = |table: &&ExcelTable| {
            (std::cmp::Reverse(table.cells()), table.area.top, table.area.left, table.name.clone())
        };
        self.tables.iter().filter(named).min_by_key(order)
    }

    /// The other tables that have the columns of the chosen one, by their names: it cannot be told which is meant. From
    /// the top of the sheet.
    pub fn alike(&self, chosen: &ExcelTable) -> Vec<&ExcelTable> {
        let names = |table: &ExcelTable| -> Vec<String> {
            table.columns.iter().map(|name| name.trim().to_lowercase()).collect()
        };
        let wanted = names(chosen);
        let others = self.tables.iter().filter(|table| *table != chosen);
        let mut alike: Vec<_> = others.filter(|table| !wanted.is_empty() && names(table) == wanted).collect();
        alike.sort_by_key(|table| (table.area.top, table.area.left));
        alike
    }

    /// The part of the sheet that holds a table's data: its own area, and what goes on directly beside and below it.
    ///
    /// Programs that add to a sheet do not always make its table larger, and what they add is data all the same. A column
    /// goes on where its header does; `has_header` tells that of a column. A row does where nothing is left blank; below
    /// a totals row none does. Another table ends it.
    pub fn bounds(&self, chosen: &ExcelTable, has_header: impl Fn(u32) -> bool) -> Bounds {
        let area = chosen.area;
        let others = || self.tables.iter().filter(|table| *table != chosen).map(|table| table.area);
        let mut right = area.right;
        let is_free = |column: u32| {
            others().all(|other| {
                !(other.left..=other.right).contains(&column)
                    || other.top > area.bottom
                    || other.bottom < area.top
            })
        };
        while chosen.header_rows > 0
            && right + 1 < SHEET_COLUMNS_MAX
            && has_header(right + 1)
            && is_free(right + 1)
        {
            right += 1;
        }
        let below = others()
            .filter(|other| other.top > area.bottom && other.left <= right && other.right >= area.left)
            .map(|other| other.top - 1)
            .min();
        let grows_to =
            if chosen.totals_rows > 0 { chosen.last_row() } else { below.unwrap_or(SHEET_ROWS_MAX) };
        Bounds { last_row: chosen.last_row(), end: area.bottom, grows_to, columns: area.left..=right }
    }

    /// What was decided, in sentences; `above` rows with something in them stand above the table.
    pub fn notes(&self, chosen: &ExcelTable, above: u64) -> Vec<String> {
        let (name, place) = (&chosen.name, chosen.place());
        let header = match chosen.header_rows {
            0 => "it has no header row, so its columns are called as Excel calls them".to_owned(),
            _ => format!("header found in row {}", chosen.header_row()),
        };
        let mut notes = vec![format!("Excel table `{name}` in {place} was read; {header}")];
        match above {
            0 => {}
            1 => notes.push("1 row above the table was left out".to_owned()),
            more => notes.push(format!("{more} rows above the table were left out")),
        }
        if chosen.totals_rows > 0 {
            notes.push(format!("row {} holds the table's totals and is no data", chosen.area.bottom));
        }
        let others: Vec<&ExcelTable> = self.tables.iter().filter(|table| *table != chosen).collect();
        let listed = listed(&others);
        match others.len() {
            0 => {}
            1 => notes.push(format!(
                "1 other Excel table of the sheet was left out: {listed}; `header_row` in the sidecar chooses another"
            )),
            more => notes.push(format!(
                "{more} other Excel tables of the sheet were left out: {listed}; `header_row` in the sidecar chooses \
                 another"
            )),
        }
        notes
    }
}

/// Tables in a sentence: their names and where they stand.
pub(super) fn listed(tables: &[&ExcelTable]) -> String {
    let named = tables.iter().take(LISTED_TABLES_MAX);
    let named: Vec<String> = named.map(|table| format!("`{}` in {}", table.name, table.place())).collect();
    let mut listed = named.join(", ");
    if tables.len() > LISTED_TABLES_MAX {
        listed.push_str(&format!(" and {} more", tables.len() - LISTED_TABLES_MAX));
    }
    listed
}

/// Where the data of a table end; what stands outside is not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The last row of data.
    pub last_row: u32,
    /// The last row of the table; those between are its totals.
    pub end: u32,
    /// The last row up to which it may go on below itself.
    pub grows_to: u32,
    /// Its columns.
    pub columns: RangeInclusive<u32>,
}

/// Counts what stands below and beside a table.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// Rows that go on directly below the table.
    rows_more: u32,
    rows_below: u64,
    first_below: Option<u32>,
    cells_beside: u64,
    columns_beside: Option<(u32, u32)>,
}

impl Outside {
    /// Whether a row below the header may belong to the table; counts the cells of it that do not.
    pub fn passes(&mut self, bounds: &Bounds, row: &Row<'_>) -> bool {
        let goes_on = row.number == bounds.last_row + self.rows_more + 1 && row.number <= bounds.grows_to;
        if goes_on
            && row
                .cells
                .iter()
                .any(|cell| bounds.columns.contains(&cell.column) && !is_blank(&see(row, cell)))
        {
            self.rows_more += 1;
        } else if row.number > bounds.last_row {
            if row.number > bounds.end && !row.is_blank() {
                self.rows_below += 1;
                self.first_below = Some(self.first_below.map_or(row.number, |first| first.min(row.number)));
            }
            return false;
        }
        for cell in row.cells {
            if !bounds.columns.contains(&cell.column) && !is_blank(&see(row, cell)) {
                self.cells_beside += 1;
                let (left, right) = self.columns_beside.unwrap_or((cell.column, cell.column));
                self.columns_beside = Some((left.min(cell.column), right.max(cell.column)));
            }
        }
        true
    }

    /// What was left out, in sentences.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match self.rows_more {
            0 => {}
            1 => notes.push("1 row goes on directly below the table and was read as well".to_owned()),
            more => notes.push(format!("{more} rows go on directly below the table and were read as well")),
        }
        match (self.rows_below, self.first_below) {
            (1, Some(row)) => notes.push(format!("1 row below the table was left out: row {row}")),
            (more, Some(row)) => {
                notes.push(format!("{more} rows below the table were left out, the first is row {row}"));
            }
            _ => {}
        }
        if let Some((left, right)) = self.columns_beside {
            let columns = match left == right {
                true => format!("column {}", column_letters(left)),
                false => format!("columns {} to {}", column_letters(left), column_letters(right)),
            };
            notes.push(match self.cells_beside {
                1 => format!("1 cell beside the table was left out, in {columns}"),
                more => format!("{more} cells beside the table were left out, in {columns}"),
            });
        }
        notes
    }
}

fn is_blank(seen: &Seen<'_>) -> bool {
    match seen {
        Seen::Blank => true,
        Seen::Text(text) => text.chars().all(char::is_whitespace),
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn table(name: &str, (top, left, bottom, right): (u32, u32, u32, u32)) -> ExcelTable {
        let area = Area { top, left, bottom, right };
        ExcelTable { name: name.into(), area, header_rows: 1, totals_rows: 0, columns: Vec::new() }
    }

    #[test]
    fn tables_with_the_same_columns_are_alike_whatever_their_size_and_the_case_of_their_names() {
        let named = |name: &str, top: u32, columns: [&str; 2]| ExcelTable {
            columns: columns.map(str::to_owned).to_vec(),
            ..table(name, (top, 0, top + 3, 1))
        };
        let (one, other) = (named("A", 1, ["Id", "Price"]), named("B", 9, ["id", "PRICE "]));
        let tables =
            Tables { tables: vec![one.clone(), other.clone(), named("C", 20, ["Id", "x"])], faults: vec![] };
        assert_eq!(tables.alike(&one), [&other]);
        assert_eq!(listed(&tables.alike(&one)), "`B` in A9:B12");
    }

    #[test]
    fn the_largest_table_is_chosen_and_of_equal_ones_the_topmost_then_the_leftmost() {
        let tables = |all: &[ExcelTable]| Tables { tables: all.to_vec(), faults: Vec::new() };
        let (small, large) = (table("Lists", (1, 9, 4, 9)), table("Data", (5, 0, 20, 3)));
        let both = tables(&[small.clone(), large.clone()]);
        assert_eq!(both.chosen(None), Some(&large));
        assert_eq!(both.chosen(Some(1)), Some(&small));
        assert_eq!(both.chosen(Some(2)), None);
        let (right, left, below) =
            (table("R", (2, 5, 4, 6)), table("L", (2, 1, 4, 2)), table("B", (7, 0, 9, 1)));
        assert_eq!(tables(&[below, right, left.clone()]).chosen(None), Some(&left));
    }
}
