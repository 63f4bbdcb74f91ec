//! An open workbook of any format: its sheets, and the rows of one.

use std::fs::File;
use std::ops::{ControlFlow, RangeInclusive};

use super::delimited::Delimited;
use super::fault::ReadFault;
use super::foreign::Foreign;
use super::package;
use super::request::{ReadLimits, SheetInfo, WorkbookFormat};
use super::row::Row;
use super::sniff::Sniffed;
use super::tables::Tables;
use super::xlsx::Book;

/// Bytes of text that one row may hold; it bounds a record batch, which never holds less than a row.
pub(super) const ROW_TEXT_BYTES_MAX: usize = 32 << 20;

/// What a source tells of a sheet beside its rows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SheetFacts {
    /// Cells that were given more than once; the last one counts.
    pub repeated_cells: u64,
    /// Merged areas.
    pub merged: u64,
    /// Column indices that people do not see; ranges of one file may overlap.
    pub hidden_columns: Vec<RangeInclusive<u32>>,
    /// What the sender may want to know, one sentence each.
    pub notes: Vec<String>,
}

/// An open workbook.
pub(super) enum Source {
    /// xlsx and xlsm: our own reader.
    Own(Box<Book>),
    /// xlsb, xls and ods: calamine.
    Foreign(Box<Foreign>),
    /// csv and tsv.
    Text(Box<Delimited>),
}

impl Source {
    /// Opens a workbook whose format is known. Texts that memory is not to hold go into `scratch`, if there is one.
    ///
    /// # Errors
    /// When it is damaged, protected or beyond a limit.
    pub fn open(
        file: File,
        scratch: Option<File>,
        file_name: &str,
        sniffed: &Sniffed,
        limits: &ReadLimits,
    ) -> Result<Self, ReadFault> {
        if let Some(shape) = sniffed.text {
            let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
            return Ok(Source::Text(Box::new(Delimited::new(file, stem.to_owned(), shape, limits))));
        }
        Ok(match sniffed.format {
            WorkbookFormat::Xlsx | WorkbookFormat::Xlsm => {
                Source::Own(Box::new(Book::open(file, scratch, limits)?))
            }
            WorkbookFormat::Package => return Err(package::not_as_a_whole(&file)),
            other => Source::Foreign(Box::new(Foreign::open(file, other, limits)?)),
        })
    }

    /// The worksheets, in the order of their tabs; a text file has one, named like the file.
    pub fn sheets(&self) -> Vec<SheetInfo> {
        match self {
            Source::Own(book) => book.sheets().cloned().collect(),
            Source::Foreign(book) => book.sheets(),
            Source::Text(text) => vec![text.sheet()],
        }
    }

    /// The Excel tables of a sheet. Only xlsx and xlsm tell them.
    ///
    /// # Errors
    /// When the container cannot be read.
    pub fn tables(&mut self, sheet: usize) -> Result<Tables, ReadFault> {
        match self {
            Source::Own(book) => book.tables(sheet),
            Source::Foreign(_) | Source::Text(_) => Ok(Tables::default()),
        }
    }

    /// Visits the rows of a sheet in the order of the file, until it ends or the visitor has enough. Rows without
    /// cells are not visited.
    ///
    /// # Errors
    /// When the sheet is damaged or beyond a limit, or whatever the visitor returns.
    pub fn each_row(
        &mut self,
        sheet: usize,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<SheetFacts, ReadFault> {
        match self {
            Source::Own(book) => book.each_row(sheet, visit),
            Source::Foreign(book) => book.each_row(sheet, visit),
            Source::Text(text) => text.each_row(visit),
        }
    }
}
