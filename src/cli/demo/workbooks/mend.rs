//! Mends a returned workbook of the demo as a person would in Excel: the wrong cells, and nothing else.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use calamine::{Data, DataType, Range, Reader, SheetVisible, Xlsx, XlsxError as ReadError, open_workbook};
use rust_xlsxwriter::{Worksheet, XlsxError};

use super::{Entry, EntryLooks, FAULTS, clean_drops, new_book};
use crate::io::workbook::{MARK_SHEET, MarkError, ReturnedBook, ReturnedPart};

/// A returned workbook after its repair.
#[derive(Debug, Clone, PartialEq)]
pub struct Mended {
    /// The repaired workbook, ready to be dropped.
    pub bytes: Vec<u8>,
    /// What was changed; empty where nothing was found that the demo knows how to mend.
    pub cells: Vec<MendedCell>,
}

/// One repaired cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MendedCell {
    /// The row's number in the workbook that was dropped first.
    pub row: u32,
    /// The header of its column.
    pub header: &'static str,
    /// What stood there.
    pub from: String,
    /// What stands there now.
    pub to: String,
}

/// Why a workbook could not be mended.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// It could not be read.
    #[error("{workbook} could not be read: {source}")]
    Read {
        /// The workbook.
        workbook: String,
        /// What the reading library says.
        #[source]
        source: ReadError,
    },
    /// It has no mark, so it is none that was given back.
    #[error("{workbook} is not a returned workbook; one lies in the folder `returned`")]
    NotReturned {
        /// The workbook.
        workbook: String,
        /// What is wrong with its mark.
        #[source]
        source: MarkError,
    },
    /// The repaired copy could not be made.
    #[error("the mended copy of {workbook} could not be made: {source}")]
    Write {
        /// The workbook.
        workbook: String,
        /// What the writing library says.
        #[source]
        source: XlsxError,
    },
}

/// The returned workbook of a demo's drop with its faults mended: same sheets, same hidden ids, same mark.
///
/// A cell that no longer holds the demo's fault is left alone, so what a person has mended already stays.
///
/// # Errors
/// When the file cannot be read, or is no returned workbook.
pub fn fixed(returned_xlsx: &Path) -> Result<Mended, MendError> {
    let workbook = returned_xlsx.display().to_string();
    let unread = |source| MendError::Read { workbook: workbook.clone(), source };
    let mut source: Xlsx<BufReader<File>> = open_workbook(returned_xlsx).map_err(unread)?;
    let mut sheets = Vec::new();
    for sheet in source.sheets_metadata().to_vec() {
        let range = source.worksheet_range(&sheet.name).map_err(unread)?;
        sheets.push(Copied { name: sheet.name, hidden: sheet.visible != SheetVisible::Visible, range });
    }
    let chunks: Vec<String> = sheets
        .iter()
        .filter(|sheet| sheet.name == MARK_SHEET)
        .flat_map(|sheet| sheet.cells().map(|(.., text)| text.to_string()))
        .collect();
    let mark = ReturnedBook::from_chunks(&chunks)
        .map_err(|source| MendError::NotReturned { workbook: workbook.clone(), source })?;
    let mut cells = Vec::new();
    copy(&sheets, &mark, &mut cells)
        .map(|bytes| Mended { bytes, cells })
        .map_err(|source| MendError::Write { workbook, source })
}

/// A sheet as it was read.
struct Copied {
    name: String,
    hidden: bool,
    range: Range<Data>,
}

/// The same sheets with the faults of the demo mended; says in `mended` which.
fn copy(sheets: &[Copied], mark: &ReturnedBook, mended: &mut Vec<MendedCell>) -> Result<Vec<u8>, XlsxError> {
    let looks = EntryLooks::new();
    let mut book = new_book()?;
    for copied in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(&copied.name)?.set_very_hidden(copied.hidden);
        let mut repairs = Vec::new();
        for part in mark.parts.iter().filter(|part| part.sheet == copied.name) {
            repairs.extend(copied.repairs(part, &mark.workbook));
            if let Some(id) = copied.column(part, &part.id_header) {
                sheet.set_column_hidden(id)?;
            }
        }
        for (row, column, value) in copied.cells() {
            match repairs.iter().find(|repair| repair.at == (row, column)) {
                Some(repair) => looks.write(sheet, row, column, repair.entry)?,
                None => write(sheet, row, column, value, &looks)?,
            }
        }
        mended.extend(repairs.into_iter().map(|repair| repair.cell));
    }
    book.save_to_buffer()
}

/// A cell to mend: where it stands in the returned workbook, and what belongs there.
struct Repair {
    at: (u32, u16),
    entry: Entry,
    cell: MendedCell,
}

impl Copied {
    /// The cells that hold something, row by row.
    fn cells(&self) -> impl Iterator<Item = (u32, u16, &Data)> {
        let (first_row, first_column) = self.range.start().unwrap_or_default();
        self.range.used_cells().filter_map(move |(row, column, value)| {
            let row = first_row + u32::try_from(row).ok()?;
            let column = first_column + u32::try_from(column).ok()?;
            Some((row, u16::try_from(column).ok()?, value))
        })
    }

    /// The column with this header.
    fn column(&self, part: &ReturnedPart, header: &str) -> Option<u16> {
        let mut headers = self.cells().filter(|(row, ..)| row + 1 == part.header_row);
        headers.find(|(.., value)| value.get_string() == Some(header)).map(|(_, column, _)| column)
    }

    /// The cells of this sheet that still hold a fault of the demo.
    fn repairs(&self, part: &ReturnedPart, workbook: &str) -> Vec<Repair> {
        let Some(number) = part.own_headers.first().and_then(|header| self.column(part, header)) else {
            return Vec::new();
        };
        let mut clean = clean_drops();
        let mut repairs = Vec::new();
        for fault in FAULTS.iter().filter(|fault| fault.workbook == workbook) {
            let entry = clean.iter_mut().find_map(|drop| drop.entry_at(fault)).copied();
            let Some((column, entry)) = self.column(part, fault.header).zip(entry) else { continue };
            let wanted = f64::from(fault.row);
            let rows = self.cells().filter(|(_, at, value)| *at == number && value.as_f64() == Some(wanted));
            for (row, ..) in rows {
                let found = self.range.get_value((row, u32::from(column))).map(ToString::to_string);
                if let Some(from) = found.filter(|found| *found == fault.wrong.to_string()) {
                    let to = entry.to_string();
                    let cell = MendedCell { row: fault.row, header: fault.header, from, to };
                    repairs.push(Repair { at: (row, column), entry, cell });
                }
            }
        }
        repairs
    }
}

/// A cell as it was.
fn write(
    sheet: &mut Worksheet,
    row: u32,
    column: u16,
    value: &Data,
    looks: &EntryLooks,
) -> Result<(), XlsxError> {
    match value {
        Data::Empty => sheet,
        Data::Int(number) => sheet.write_number(row, column, *number as f64)?,
        Data::Float(number) => sheet.write_number(row, column, *number)?,
        Data::Bool(truth) => sheet.write_boolean(row, column, *truth)?,
        Data::DateTime(at) => {
            let look = if at.as_f64().fract() == 0.0 { &looks.day } else { &looks.moment };
            sheet.write_number_with_format(row, column, at.as_f64(), look)?
        }
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => {
            sheet.write_string_with_format(row, column, text, &looks.text)?
        }
        Data::Error(error) => sheet.write_string_with_format(row, column, error.to_string(), &looks.text)?,
    };
    Ok(())
}
