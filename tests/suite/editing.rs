//! A returned workbook in the hands of its sender: read, changed and saved again, its hidden parts untouched.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use calamine::{Data, Reader, SheetVisible, Xlsx, open_workbook};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook};

use crate::world::Cell;

/// The header of the hidden ids.
pub const ID: &str = "_ddu_row_id";
/// The headers of the columns that stand in front of the sender's, the hidden one among them.
pub const OWN: [&str; 4] = ["Row", "What is wrong", "What to do", ID];

/// A workbook as it lies open in a program.
#[derive(Clone)]
pub struct Book {
    pub sheets: Vec<Sheet>,
}

/// One of its sheets; the first row is the header.
#[derive(Clone)]
pub struct Sheet {
    pub name: String,
    pub hidden: bool,
    pub rows: Vec<Vec<Data>>,
}

impl Book {
    pub fn open(path: &Path) -> Self {
        let mut source: Xlsx<_> = open_workbook(path).unwrap();
        let sheets = source.sheets_metadata().to_vec();
        let sheets = sheets.into_iter().map(|sheet| {
            let range = source.worksheet_range(&sheet.name).unwrap();
            let rows = range.rows().map(<[Data]>::to_vec).collect();
            Sheet { hidden: sheet.visible != SheetVisible::Visible, name: sheet.name, rows }
        });
        Book { sheets: sheets.collect() }
    }

    /// The sheet with this name.
    pub fn sheet(&mut self, name: &str) -> &mut Sheet {
        self.sheets.iter_mut().find(|sheet| sheet.name == name).unwrap()
    }

    /// The first sheet.
    pub fn first(&mut self) -> &mut Sheet {
        &mut self.sheets[0]
    }

    /// The bytes that saving it makes.
    pub fn save(&self) -> Vec<u8> {
        let mut book = Workbook::new();
        let day = Format::new().set_num_format("yyyy-mm-dd");
        let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
        let text = Format::new().set_num_format("@");
        for from in &self.sheets {
            let sheet = book.add_worksheet();
            sheet.set_name(&from.name).unwrap().set_very_hidden(from.hidden);
            for (row, cells) in (0..).zip(&from.rows) {
                for (column, cell) in (0..).zip(cells) {
                    match cell {
                        Data::Empty => {}
                        Data::Int(number) => drop(sheet.write_number(row, column, *number as f64).unwrap()),
                        Data::Float(number) => drop(sheet.write_number(row, column, *number).unwrap()),
                        Data::Bool(truth) => drop(sheet.write_boolean(row, column, *truth).unwrap()),
                        Data::DateTime(at) => {
                            let look = if at.as_f64().fract() == 0.0 { &day } else { &moment };
                            sheet.write_number_with_format(row, column, at.as_f64(), look).unwrap();
                        }
                        Data::String(value) => {
                            sheet.write_string_with_format(row, column, value, &text).unwrap();
                        }
                        other => panic!("a returned workbook has no {other:?}"),
                    }
                }
            }
            if let Some(id) = from.rows[0].iter().position(|cell| *cell == Data::String(ID.into())) {
                sheet.set_column_hidden(id as u16).unwrap();
            }
        }
        book.save_to_buffer().unwrap()
    }
}

impl Sheet {
    pub fn headers(&self) -> Vec<String> {
        self.rows[0].iter().map(ToString::to_string).collect()
    }

    /// The column with this header; of several the last, which is the sender's.
    pub fn column(&self, header: &str) -> usize {
        self.headers().iter().rposition(|other| other == header).unwrap_or_else(|| panic!("no `{header}`"))
    }

    /// The first row with this text in the column.
    pub fn find(&self, header: &str, text: &str) -> usize {
        let column = self.column(header);
        let shown: Vec<String> = self.rows.iter().map(|row| row[column].to_string()).collect();
        shown.iter().position(|shown| shown == text).unwrap_or_else(|| panic!("no `{text}` in {shown:?}"))
    }

    /// What stands in a column, from the first row below the header down.
    pub fn texts(&self, header: &str) -> Vec<String> {
        let column = self.column(header);
        self.rows[1..].iter().map(|row| row[column].to_string()).collect()
    }

    pub fn get(&self, row: usize, header: &str) -> &Data {
        &self.rows[row][self.column(header)]
    }

    /// Types into a cell.
    pub fn set(&mut self, row: usize, header: &str, cell: impl Into<Cell>) {
        let column = self.column(header);
        self.rows[row][column] = data(cell.into());
    }

    /// Types a row below the others: the sender's columns only.
    pub fn add(&mut self, cells: &[(&str, Cell)]) {
        let mut row = vec![Data::Empty; self.rows[0].len()];
        for (header, cell) in cells {
            row[self.column(header)] = data(cell.clone());
        }
        self.rows.push(row);
    }

    /// Puts the columns into another order, or some of them away: `headers` are what stays.
    pub fn arrange(&mut self, headers: &[&str]) {
        let places: Vec<usize> = headers.iter().map(|header| self.column(header)).collect();
        for row in &mut self.rows {
            *row = places.iter().map(|place| row[*place].clone()).collect();
        }
    }

    /// Takes a column away.
    pub fn remove_column(&mut self, header: &str) {
        let column = self.column(header);
        for row in &mut self.rows {
            row.remove(column);
        }
    }
}

fn data(cell: Cell) -> Data {
    match cell {
        Cell::Text(text) => Data::String(text),
        Cell::Number(number) => Data::Float(number),
        Cell::Truth(truth) => Data::Bool(truth),
        Cell::Day(year, month, day) => {
            let day = ExcelDateTime::from_ymd(year, month, day).unwrap().to_excel();
            let kind = calamine::ExcelDateTimeType::DateTime;
            Data::DateTime(calamine::ExcelDateTime::new(day, kind, false))
        }
        Cell::Blank => Data::Empty,
    }
}

/// The bytes of a workbook with a text of its sheets and shared strings replaced, everything else as it was.
pub fn patched(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let mut found = 0;
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).unwrap();
        let name = part.name().unwrap().into_owned();
        let mut content = Vec::new();
        part.read_to_end(&mut content).unwrap();
        if name.starts_with("xl/worksheets/sheet") || name == "xl/sharedStrings.xml" {
            let text = String::from_utf8(content).unwrap();
            found += text.matches(from).count();
            content = text.replace(from, to).into_bytes();
        }
        out.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        out.write_all(&content).unwrap();
    }
    assert!(found > 0, "`{from}` stands nowhere");
    out.finish().unwrap().into_inner()
}
