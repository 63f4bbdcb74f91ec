//! Formats that calamine reads: xlsb cell by cell, xls and ods as whole tables.
//!
//! The whole tables cannot be bounded while they are read; the size of the file and the child's address space bound
//! them. What calamine does not tell is not told here: number formats with leading zeros, hidden rows. Formulas are
//! looked at beside the values, since a formula without a value is an error or was never computed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;

use calamine::{
    CellErrorType, Data, DataRef, ExcelDateTime, Ods, OdsError, Range, Reader, Sheet, SheetType,
    SheetVisible, Xls, XlsError, Xlsb, XlsbError,
};

use quick_xml::events::Event;
use zip::ZipArchive;

use super::fault::ReadFault;
use super::request::{ReadLimits, SheetInfo, WorkbookFormat};
use super::row::{DateShape, Raw, Row, RowBuffer};
use super::source::{ROW_TEXT_BYTES_MAX, SheetFacts};
use super::strings::Strings;
use super::xlsx::{broken_zip, check_length};
use crate::domain::cell::{SHEET_COLUMNS_MAX, SHEET_ROWS_MAX};

/// The part of an OpenDocument that holds its tables.
const CONTENT: &str = "content.xml";
/// Bytes of an OpenDocument's list of parts that are looked at for a password.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// An open workbook of a format that calamine reads.
pub(super) struct Foreign {
    book: Opened,
    chars_max: u64,
    from_1904: bool,
}

enum Opened {
    Xlsb(Xlsb<BufReader<File>>),
    /// The sheet read last is kept: it is read twice, and every reading copies it.
    Whole {
        book: Whole,
        last: Option<WholeSheet>,
    },
}

#[allow(clippy::large_enum_variant)] // One of them exists at a time.
enum Whole {
    Xls(Xls<BufReader<File>>),
    Ods(Ods<BufReader<File>>),
}

/// Row and column, both from 0.
type Place = (u32, u32);

/// What the sender of an xlsb workbook should know whose formulas do not all read.
const UNSEEN_ERRORS: &str = "not all formulas of this xlsb workbook can be read, so a formula that holds an error value \
    may be taken for a blank cell; save it as xlsx to be sure";
/// How LibreOffice shows the errors of its formulas. Source: its help, "Error Codes in LibreOffice Calc".
const SHOWN_ERRORS: [&str; 8] = ["#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!", "Err:"];

type Visit<'v> = &'v mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>;

impl Foreign {
    /// Opens a workbook; xls and ods are read whole.
    ///
    /// # Errors
    /// When it is damaged or protected.
    pub fn open(file: File, format: WorkbookFormat, limits: &ReadLimits) -> Result<Self, ReadFault> {
        let file = BufReader::new(file);
        let (book, from_1904) = match format {
            WorkbookFormat::Xlsb => {
                let book = Xlsb::new(file).map_err(xlsb_fault)?;
                let from_1904 = book.has_1904_epoch();
                (Opened::Xlsb(book), from_1904)
            }
            WorkbookFormat::Xls => {
                let book = Xls::new(file).map_err(xls_fault)?;
                let from_1904 = book.has_1904_epoch();
                (Opened::Whole { book: Whole::Xls(book), last: None }, from_1904)
            }
            _ => {
                check_content(file.get_ref())?;
                let book = Ods::new(file).map_err(ods_fault)?;
                (Opened::Whole { book: Whole::Ods(book), last: None }, false)
            }
        };
        Ok(Foreign { book, chars_max: limits.cell_chars_max, from_1904 })
    }

    /// The worksheets, in the order of their tabs.
    pub fn sheets(&self) -> Vec<SheetInfo> {
        let sheets = self.metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
        let info = |sheet: &Sheet| SheetInfo {
            name: sheet.name.clone(),
            visible: sheet.visible == SheetVisible::Visible,
        };
        sheets.map(info).collect()
    }

    fn metadata(&self) -> &[Sheet] {
        match &self.book {
            Opened::Xlsb(book) => book.sheets_metadata(),
            Opened::Whole { book: Whole::Xls(book), .. } => book.sheets_metadata(),
            Opened::Whole { book: Whole::Ods(book), .. } => book.sheets_metadata(),
        }
    }

    /// Visits the rows of a sheet, see [`super::source::Source::each_row`].
    ///
    /// # Errors
    /// As there.
    pub fn each_row(&mut self, sheet: usize, visit: Visit<'_>) -> Result<SheetFacts, ReadFault> {
        let name = self.sheets()[sheet].name.clone();
        let mut rows = Rows {
            row: RowBuffer::default(),
            facts: SheetFacts::default(),
            chars_max: self.chars_max,
            from_1904: self.from_1904,
            formulas: Vec::new().into_iter().peekable(),
        };
        match &mut self.book {
            Opened::Xlsb(book) => {
                let (formulas, all) = xlsb_formulas(book, &name)?;
                rows.formulas = formulas.into_iter().peekable();
                rows.facts.notes.extend((!all).then(|| UNSEEN_ERRORS.to_owned()));
                let mut cells = book.worksheet_cells_reader(&name).map_err(xlsb_fault)?;
                while let Some(cell) = cells.next_cell().map_err(xlsb_fault)? {
                    if rows.take(cell.get_position(), cell.get_value().into(), visit)?.is_break() {
                        return Ok(rows.facts);
                    }
                }
            }
            Opened::Whole { book, last } => {
                if last.as_ref().is_none_or(|read| read.sheet != sheet) {
                    *last = Some(WholeSheet::read(book, sheet, &name)?);
                }
                let read = last.as_ref().expect("filled just above");
                rows.formulas = read.formulas.clone().into_iter().peekable();
                let (top, left) = read.values.start().unwrap_or_default();
                for (row, column, value) in read.values.used_cells() {
                    let place = (top + row as u32, left + column as u32);
                    if rows.take(place, value.into(), visit)?.is_break() {
                        return Ok(rows.facts);
                    }
                }
            }
        }
        rows.finish(visit)
    }
}

/// A sheet of a format that is read whole.
struct WholeSheet {
    sheet: usize,
    values: Range<Data>,
    /// Places of its formulas, in the order of rows and columns.
    formulas: Vec<Place>,
}

impl WholeSheet {
    fn read(book: &mut Whole, sheet: usize, name: &str) -> Result<Self, ReadFault> {
        let (values, formulas) = match book {
            Whole::Xls(book) => (
                book.worksheet_range(name).map_err(xls_fault)?,
                book.worksheet_formula(name).map_err(xls_fault)?,
            ),
            Whole::Ods(book) => (
                book.worksheet_range(name).map_err(ods_fault)?,
                book.worksheet_formula(name).map_err(ods_fault)?,
            ),
        };
        let (top, left) = formulas.start().unwrap_or_default();
        let places = formulas.used_cells().filter(|(_, _, formula)| !formula.is_empty());
        let formulas = places.map(|(row, column, _)| (top + row as u32, left + column as u32)).collect();
        Ok(WholeSheet { sheet, values, formulas })
    }
}

/// Places of the formulas of a sheet, in the order of the file, and whether all could be found.
fn xlsb_formulas(book: &mut Xlsb<BufReader<File>>, sheet: &str) -> Result<(Vec<Place>, bool), ReadFault> {
    let mut cells = book.worksheet_cells_reader(sheet).map_err(xlsb_fault)?;
    let mut formulas = Vec::new();
    loop {
        match cells.next_formula() {
            Ok(Some(formula)) => formulas.push(formula.get_position()),
            Ok(None) => return Ok((formulas, true)),
            Err(XlsbError::Io(error)) => return Err(error.into()),
            // A formula that calamine cannot take apart; where the next one stands is not known then.
            Err(_) => return Ok((formulas, false)),
        }
    }
}

/// Reads the content of an OpenDocument once, for its elements to be closed in their order down to the last one.
///
/// calamine 0.38 looks for the end of a table for ever where there is none (fuzz.rs, seed 12, case 3490).
fn check_content(file: &File) -> Result<(), ReadFault> {
    let mut zip = ZipArchive::new(BufReader::new(file.try_clone()?)).map_err(broken_zip)?;
    let mut manifest = Vec::new();
    if let Ok(part) = zip.by_name("META-INF/manifest.xml") {
        part.take(MANIFEST_BYTES_MAX).read_to_end(&mut manifest)?;
    }
    if String::from_utf8_lossy(&manifest).contains("encryption-data") {
        return Err(ReadFault::Protected);
    }
    // Where it is missing calamine says so.
    let Ok(part) = zip.by_name(CONTENT) else { return Ok(()) };
    let mut reader = quick_xml::Reader::from_reader(BufReader::new(part));
    let (mut buffer, mut open) = (Vec::new(), 0_u64);
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(_)) => open += 1,
            Ok(Event::End(_)) => open = open.saturating_sub(1),
            Ok(Event::Eof) if open == 0 => return Ok(()),
            Ok(Event::Eof) => {
                return Err(ReadFault::Truncated { detail: format!("`{CONTENT}` ends in the middle") });
            }
            Ok(_) => {}
            Err(error) => {
                return Err(ReadFault::damaged(format!("`{CONTENT}` is no well-formed XML ({error})")));
            }
        }
    }
}

/// Gathers cells into rows.
struct Rows {
    row: RowBuffer,
    facts: SheetFacts,
    chars_max: u64,
    from_1904: bool,
    /// Places of formulas that are still to come.
    formulas: std::iter::Peekable<std::vec::IntoIter<Place>>,
}

/// A value of calamine's, of either of its types.
enum Found<'a> {
    Empty,
    Text(&'a str),
    Number(f64),
    Boolean(bool),
    Serial(ExcelDateTime),
    Iso(&'a str),
    IsoDuration(&'a str),
    Error(&'a CellErrorType),
    /// An error of a formula, as a text.
    ShownError(&'a str),
    /// A formula without a result that calamine gives.
    Lost,
}

impl<'a> From<&'a Data> for Found<'a> {
    fn from(value: &'a Data) -> Self {
        match value {
            Data::Empty => Found::Empty,
            Data::String(text) => Found::Text(text),
            Data::Int(number) => Found::Number(*number as f64),
            Data::Float(number) => Found::Number(*number),
            Data::Bool(value) => Found::Boolean(*value),
            Data::DateTime(at) => Found::Serial(*at),
            Data::DateTimeIso(text) => Found::Iso(text),
            Data::DurationIso(text) => Found::IsoDuration(text),
            Data::Error(error) => Found::Error(error),
            // Added by features of calamine that are off here.
            #[allow(unreachable_patterns)]
            _ => Found::Empty,
        }
    }
}

impl<'a> From<&'a DataRef<'_>> for Found<'a> {
    fn from(value: &'a DataRef<'_>) -> Self {
        match value {
            DataRef::Empty => Found::Empty,
            DataRef::String(text) => Found::Text(text),
            DataRef::SharedString(text) => Found::Text(text),
            DataRef::Int(number) => Found::Number(*number as f64),
            DataRef::Float(number) => Found::Number(*number),
            DataRef::Bool(value) => Found::Boolean(*value),
            DataRef::DateTime(at) => Found::Serial(*at),
            DataRef::DateTimeIso(text) => Found::Iso(text),
            DataRef::DurationIso(text) => Found::IsoDuration(text),
            DataRef::Error(error) => Found::Error(error),
        }
    }
}

impl Rows {
    /// Takes a cell. Formulas before it that no value came of are cells as well: they hold what calamine leaves out,
    /// such as the errors of xlsb.
    fn take(
        &mut self,
        place: Place,
        found: Found<'_>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, ReadFault> {
        while let Some(formula) = self.formulas.next_if(|formula| *formula < place) {
            if self.add(formula, Found::Lost, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let computed = self.formulas.next_if_eq(&place).is_some();
        let found = match found {
            Found::Text(text) if computed && SHOWN_ERRORS.iter().any(|error| text.starts_with(error)) => {
                Found::ShownError(text)
            }
            found => found,
        };
        self.add(place, found, visit)
    }

    fn add(
        &mut self,
        (row, column): Place,
        found: Found<'_>,
        visit: Visit<'_>,
    ) -> Result<ControlFlow<()>, ReadFault> {
        if row >= SHEET_ROWS_MAX || column >= SHEET_COLUMNS_MAX {
            return Err(ReadFault::damaged(format!(
                "a cell says it stands in row {}, column {}, which is no place on a sheet",
                u64::from(row) + 1,
                u64::from(column) + 1
            )));
        }
        let number = row + 1;
        if number != self.row.number {
            if self.flush(visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            self.row.begin(number, false);
        }
        if let Found::Text(text) | Found::Iso(text) = found {
            check_length(text, self.chars_max)?;
        }
        let raw = match found {
            Found::Empty => return Ok(ControlFlow::Continue(())),
            Found::Text(text) => Raw::Text(self.row.keep(text)),
            Found::Number(value) => Raw::Number { value, zeros: 0 },
            Found::Boolean(value) => Raw::Boolean(value),
            Found::Serial(at) if at.is_duration() => Raw::Days(at.as_f64()),
            // calamine tells dates from numbers, but not dates from times of day; below 1 it is a time.
            Found::Serial(at) => Raw::Serial {
                days: at.as_f64(),
                shape: DateShape { shows_day: at.as_f64() >= 1.0, from_1904: self.from_1904 },
            },
            Found::Iso(text) => Raw::Iso(self.row.keep(text)),
            Found::IsoDuration(text) => Raw::IsoDuration(self.row.keep(text)),
            Found::Error(error) => Raw::Error(self.row.keep(&error.to_string())),
            Found::ShownError(text) => Raw::Error(self.row.keep(text)),
            Found::Lost => Raw::Uncomputed,
        };
        self.row.push(column, raw);
        if self.row.text_bytes() > ROW_TEXT_BYTES_MAX {
            return Err(ReadFault::BeyondBounds {
                detail: format!("row {number} holds more than {ROW_TEXT_BYTES_MAX} bytes of text"),
            });
        }
        Ok(ControlFlow::Continue(()))
    }

    fn flush(&mut self, visit: Visit<'_>) -> Result<ControlFlow<()>, ReadFault> {
        if self.row.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        visit(self.row.row(&Strings::default(), &mut self.facts.repeated_cells))
    }

    fn finish(mut self, visit: Visit<'_>) -> Result<SheetFacts, ReadFault> {
        while let Some(formula) = self.formulas.next() {
            if self.add(formula, Found::Lost, visit)?.is_break() {
                return Ok(self.facts);
            }
        }
        // Whether the visitor has enough does not matter after the last row.
        self.flush(visit).map(|_| self.facts)
    }
}

fn xlsb_fault(error: XlsbError) -> ReadFault {
    match error {
        XlsbError::Password => ReadFault::Protected,
        XlsbError::Io(error) => error.into(),
        XlsbError::Zip(error) => broken_zip(error),
        XlsbError::CellError(code) => ReadFault::damaged(format!(
            "a cell holds an error value (number {code}) that cannot be read from xlsb; save the workbook as xlsx"
        )),
        other => ReadFault::damaged(other.to_string()),
    }
}

fn xls_fault(error: XlsError) -> ReadFault {
    match error {
        XlsError::Password => ReadFault::Protected,
        XlsError::Io(error) => error.into(),
        other => ReadFault::damaged(other.to_string()),
    }
}

fn ods_fault(error: OdsError) -> ReadFault {
    match error {
        OdsError::Password => ReadFault::Protected,
        OdsError::Io(error) => error.into(),
        OdsError::Zip(error) => broken_zip(error),
        OdsError::CellLimitExceeded { requested, max } => ReadFault::BeyondBounds {
            detail: format!("it spans {requested} cells, an ods workbook may span {max}; save it as xlsx"),
        },
        other => ReadFault::damaged(other.to_string()),
    }
}
