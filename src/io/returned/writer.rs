//! Writes a returned workbook sheet by sheet and row by row; only the row at hand, the notes and the lists are in memory.

use std::collections::HashMap;
use std::io::Write;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, IgnoreError, Workbook, Worksheet, XlsxError, check_sheet_name,
};

use super::cells::{Cell, Content, NumberLook};
use super::help::{self, LISTS_SHEET, Lists};
use super::looks::{Looks, Mood};
use super::{
    ID_HEADER, NOTES_MAX, OWN_COLUMNS, RETURNED_COLUMNS_MAX, ReturnError, ReturnedColumn, ReturnedRow,
    ReturnedSheet, WRONG_HEADER,
};
use crate::domain::cell::SHEET_ROWS_MAX;
use crate::domain::job::JobId;
use crate::domain::refusal::Refusal;
use crate::domain::value::StageType;
use crate::io::workbook::{MARK_SHEET, MARK_VERSION, ReturnedBook, ReturnedPart};

/// Headers of our columns, in their order; where the sender has one of them, ours gives way.
const OWN_HEADERS: [&str; OWN_COLUMNS as usize] = ["Row", WRONG_HEADER, "What to do", ID_HEADER];
const NUMBER_COLUMN: u16 = 0;
const WRONG_COLUMN: u16 = 1;
const ADVICE_COLUMN: u16 = 2;
const ID_COLUMN: u16 = 3;
/// The header's row number in every sheet.
const HEADER_ROW: u32 = 1;
/// Times that a document can name as its beginning, the years 1900 to 9999, in seconds of the Unix epoch.
const DOCUMENT_SECONDS: RangeInclusive<i64> = -2_208_988_800..=253_402_300_799;
/// UTF-16 code units of a sheet's name. Source: Excel specifications and limits.
const TITLE_UNITS_MAX: usize = 31;
/// Widths in characters: of the sentences, and of the sender's narrowest and widest columns.
const SENTENCE_WIDTH: u16 = 42;
const WIDTH_MIN: usize = 9;
const WIDTH_MAX: usize = 44;
/// Room for the filter's button beside a header, in characters.
const FILTER_WIDTH: usize = 4;
/// Rows of one sheet that are made as high as their sentences: Excel would see to it by itself, LibreOffice does not.
/// The library keeps every height in memory, so later rows are left to the program that opens them.
const SIZED_ROWS_MAX: u32 = 10_000;
/// Points of a line of text, and the most lines of a row. Source: Excel specifications and limits (409 points).
const LINE_HEIGHT: f64 = 15.0;
const LINES_MAX: u16 = 27;

/// Writes one returned workbook.
///
/// A sheet that is full goes on in a further one, `Customers (2)`, with its own header and its own part in the mark.
pub struct ReturnedWriter {
    book: Workbook,
    job: String,
    workbook: String,
    looks: Looks,
    lists: Lists,
    parts: Vec<ReturnedPart>,
    open: Option<OpenSheet>,
    rows: u64,
    pub(super) sheet_rows_max: u32,
    /// Why writing failed once; what follows would leave a hole in the workbook.
    broken: Option<String>,
}

/// The sheet that rows are written to.
struct OpenSheet {
    index: usize,
    described: ReturnedSheet,
    headers: Vec<String>,
    places: HashMap<String, usize>,
    zone: TimeZone,
    /// Rows in it, the header among them: the 0-based index of the next row.
    filled: u32,
    notes: usize,
    widths: Vec<usize>,
}

impl ReturnedWriter {
    /// Begins a workbook for the refused rows of a job.
    ///
    /// `workbook` is the sender's file name, `made_at` the only date in the document (the job's, not the clock's, so
    /// that a second run writes the same bytes), `temp_dir` a folder on a disk for the rows until [`Self::finish`];
    /// the files in it have no name and vanish with the process.
    ///
    /// # Errors
    /// When `temp_dir` cannot be written to.
    pub fn new(
        job: &JobId,
        workbook: &str,
        made_at: Timestamp,
        temp_dir: &Path,
    ) -> Result<Self, ReturnError> {
        let mut book = Workbook::new();
        let seconds = made_at.as_second().clamp(*DOCUMENT_SECONDS.start(), *DOCUMENT_SECONDS.end());
        guarded(workbook, || {
            let properties = DocProperties::new()
                .set_author("DDU")
                .set_title(format!("Refused rows of {workbook}"))
                .set_creation_datetime(&ExcelDateTime::from_timestamp(seconds)?);
            book.set_properties(&properties);
            book.set_tempdir(temp_dir).map(|_| ())
        })?;
        Ok(ReturnedWriter {
            book,
            job: job.to_string(),
            workbook: workbook.to_owned(),
            looks: Looks::new(),
            lists: Lists::default(),
            parts: Vec::new(),
            open: None,
            rows: 0,
            sheet_rows_max: SHEET_ROWS_MAX,
            broken: None,
        })
    }

    /// Begins a sheet; the rows that follow belong to it.
    ///
    /// # Errors
    /// When it has too many columns, its time zone is unknown, or the disk is full.
    pub fn sheet(&mut self, sheet: &ReturnedSheet) -> Result<(), ReturnError> {
        self.unbroken()?;
        let done = self.close_sheet().and_then(|()| self.open_sheet(sheet.clone()));
        self.remembered(done)
    }

    /// Writes a row into the sheet begun last.
    ///
    /// # Errors
    /// When there is no sheet, the values do not fit its columns, or the disk is full.
    pub fn row(&mut self, row: &ReturnedRow) -> Result<(), ReturnError> {
        self.unbroken()?;
        let done = self.put_row(row);
        self.remembered(done)
    }

    fn put_row(&mut self, row: &ReturnedRow) -> Result<(), ReturnError> {
        if let Some(open) = &self.open
            && open.filled >= self.sheet_rows_max
        {
            let described = open.described.clone();
            self.close_sheet()?;
            self.open_sheet(described)?;
        }
        let open = self.open.as_mut().ok_or(ReturnError::NoSheet)?;
        let expected = open.described.columns.len();
        if row.values.len() != expected {
            return Err(ReturnError::ValueCount { number: row.number, found: row.values.len(), expected });
        }
        let (book, looks) = (&mut self.book, &self.looks);
        guarded(&self.workbook, || open.write_row(book.worksheet_from_index(open.index)?, looks, row))?;
        self.rows += 1;
        Ok(())
    }

    /// Completes the workbook into `into` and says how many rows it holds. The caller makes it durable.
    ///
    /// # Errors
    /// When no sheet was begun, or the disk is full.
    pub fn finish<W: Write + Send>(mut self, into: W) -> Result<u64, ReturnError> {
        self.unbroken()?;
        if self.open.is_none() {
            return Err(ReturnError::NoSheet);
        }
        self.close_sheet()?;
        let mark = ReturnedBook {
            ddu: MARK_VERSION,
            job: self.job,
            workbook: self.workbook.clone(),
            parts: self.parts,
        };
        let (book, lists) = (&mut self.book, &self.lists);
        guarded(&self.workbook, || {
            if !lists.columns().is_empty() {
                write_hidden(book, LISTS_SHEET, lists.columns())?;
            }
            write_hidden(book, MARK_SHEET, &[mark.to_chunks()])?;
            book.save_to_writer(into)
        })?;
        Ok(self.rows)
    }

    fn unbroken(&self) -> Result<(), ReturnError> {
        match &self.broken {
            None => Ok(()),
            Some(found) => {
                Err(ReturnError::BrokeOff { workbook: self.workbook.clone(), found: found.clone() })
            }
        }
    }

    fn remembered(&mut self, done: Result<(), ReturnError>) -> Result<(), ReturnError> {
        if let Err(ReturnError::Write { .. } | ReturnError::BrokeOff { .. }) = &done {
            self.broken = done.as_ref().err().map(ToString::to_string);
        }
        done
    }

    fn open_sheet(&mut self, described: ReturnedSheet) -> Result<(), ReturnError> {
        let found = described.columns.len();
        if found > RETURNED_COLUMNS_MAX {
            return Err(ReturnError::TooManyColumns { sheet: described.title, found });
        }
        let zone = TimeZone::get(&described.settings.timezone).map_err(|source| ReturnError::Timezone {
            sheet: described.title.clone(),
            timezone: described.settings.timezone.clone(),
            source,
        })?;
        let headers: Vec<String> = described.columns.iter().map(shown_header).collect();
        let own_headers = OWN_HEADERS.map(|wanted| own_header(wanted, &headers));
        let title = self.fit_title(&described.title);
        let open = OpenSheet {
            index: self.parts.len(),
            places: described
                .columns
                .iter()
                .enumerate()
                .map(|(index, column)| (column.name.clone(), index))
                .collect(),
            widths: headers.iter().map(|header| header.chars().count() + FILTER_WIDTH).collect(),
            headers,
            zone,
            filled: 1,
            notes: 0,
            described,
        };
        let (book, looks, workbook) = (&mut self.book, &self.looks, &self.workbook);
        guarded(workbook, || {
            let sheet = book.add_worksheet_with_constant_memory()?;
            sheet.set_name(&title)?;
            open.write_header(sheet, looks, &own_headers, workbook)
        })?;
        self.parts.push(ReturnedPart {
            sheet: title,
            header_row: HEADER_ROW,
            id_header: own_headers[usize::from(ID_COLUMN)].clone(),
            own_headers: own_headers.to_vec(),
            settings: open.described.settings.clone(),
        });
        self.open = Some(open);
        Ok(())
    }

    /// Gives the open sheet what can only be said once its last row is known.
    fn close_sheet(&mut self) -> Result<(), ReturnError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (book, looks, lists) = (&mut self.book, &self.looks, &mut self.lists);
        guarded(&self.workbook, || open.complete(book.worksheet_from_index(open.index)?, looks, lists))
    }

    /// A name that Excel takes and that no other sheet of this workbook has, as near to the wanted one as may be.
    fn fit_title(&self, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(
                |c| if c.is_control() || ['*', '?', ':', '[', ']', '\\', '/'].contains(&c) { '_' } else { c },
            )
            .collect();
        let plain = plain.trim().trim_matches('\'').trim();
        // Excel keeps `History` for itself, in any case.
        let plain = if plain.is_empty() || plain.eq_ignore_ascii_case("history") { "Rows" } else { plain };
        let taken = |title: &str| {
            let title = title.to_lowercase();
            let ours = [MARK_SHEET, LISTS_SHEET].contains(&title.as_str());
            ours || self.parts.iter().any(|part| part.sheet.to_lowercase() == title)
        };
        let mut number = 1_usize;
        loop {
            let suffix = if number == 1 { String::new() } else { format!(" ({number})") };
            let room = TITLE_UNITS_MAX - suffix.len();
            let mut units = 0;
            let fits = |c: &char| {
                units += c.len_utf16();
                units <= room
            };
            let base: String = plain.chars().take_while(fits).collect();
            let title = format!("{}{suffix}", base.trim_end_matches([' ', '\'']));
            if !taken(&title) && check_sheet_name(&title).is_ok() {
                return title;
            }
            number += 1;
        }
    }
}

impl OpenSheet {
    fn write_header(
        &self,
        sheet: &mut Worksheet,
        looks: &Looks,
        own_headers: &[String],
        workbook: &str,
    ) -> Result<(), XlsxError> {
        for (column, header) in (0..).zip(own_headers) {
            sheet.write_string_with_format(0, column, header, &looks.own_header)?;
        }
        for (column, header) in (OWN_COLUMNS..).zip(&self.headers) {
            sheet.write_string_with_format(0, column, header, &looks.sender_header)?;
        }
        sheet.insert_note(0, NUMBER_COLUMN, &help::number_note(workbook))?;
        sheet.insert_note(0, WRONG_COLUMN, &help::way_on_note())?;
        Ok(())
    }

    fn write_row(
        &mut self,
        sheet: &mut Worksheet,
        looks: &Looks,
        row: &ReturnedRow,
    ) -> Result<(), XlsxError> {
        let at = self.filled;
        let blamed =
            |refusal: &&Refusal| refusal.column.as_ref().and_then(|column| self.places.get(column)).copied();
        let mut wrong = vec![false; row.values.len()];
        row.refusals.iter().filter_map(|refusal| blamed(&refusal)).for_each(|place| wrong[place] = true);

        let (sentence, advice) = help::sentences(&row.refusals);
        let whole_row = row.refusals.iter().any(|refusal| blamed(&refusal).is_none());
        let sentence_look = if whole_row { &looks.own_sentence_wrong } else { &looks.own_sentence };
        let lines =
            help::lines_shown(&sentence, SENTENCE_WIDTH).max(help::lines_shown(&advice, SENTENCE_WIDTH));
        if lines > 1 && at <= SIZED_ROWS_MAX {
            sheet.set_row_height(at, f64::from(lines.min(LINES_MAX)) * LINE_HEIGHT)?;
        }
        sheet.write_number_with_format(at, NUMBER_COLUMN, row.number, &looks.own_number)?;
        sheet.write_string_with_format(at, WRONG_COLUMN, sentence, sentence_look)?;
        sheet.write_string_with_format(at, ADVICE_COLUMN, advice, &looks.own_sentence)?;
        sheet.write_string_with_format(at, ID_COLUMN, row.id.to_string(), &looks.id)?;

        for (index, (value, described)) in row.values.iter().zip(&self.described.columns).enumerate() {
            let column = sender_column(index);
            let cell = Cell::of(value, described.kind, &self.zone);
            let mood = if wrong[index] { Mood::Wrong } else { Mood::Fine };
            let look = looks.cell(cell.look, mood, cell.quoted);
            match cell.content {
                Content::Blank if mood == Mood::Fine => {}
                Content::Blank => {
                    sheet.write_blank(at, column, look)?;
                }
                Content::Text(text) => {
                    sheet.write_string_with_format(at, column, text, look)?;
                }
                Content::Number(number) => {
                    sheet.write_number_with_format(at, column, number, look)?;
                }
                Content::Boolean(truth) => {
                    sheet.write_boolean_with_format(at, column, truth, look)?;
                }
            }
            self.widths[index] = self.widths[index].max(cell.width + 1);
            if wrong[index] && self.notes < NOTES_MAX {
                let mine = row.refusals.iter().filter(|refusal| blamed(refusal) == Some(index));
                sheet.insert_note(at, column, &help::cell_note(mine))?;
                self.notes += 1;
            }
        }
        self.filled += 1;
        Ok(())
    }

    fn complete(&self, sheet: &mut Worksheet, looks: &Looks, lists: &mut Lists) -> Result<(), XlsxError> {
        let last_row = self.filled - 1;
        let last_column =
            OWN_COLUMNS - 1 + u16::try_from(self.headers.len()).expect("open_sheet() counted the columns");
        sheet.set_column_width(NUMBER_COLUMN, 8)?;
        sheet.set_column_width(WRONG_COLUMN, SENTENCE_WIDTH)?;
        sheet.set_column_width(ADVICE_COLUMN, SENTENCE_WIDTH)?;
        sheet.set_column_format(ID_COLUMN, &looks.id)?;
        sheet.set_column_hidden(ID_COLUMN)?;
        for (index, described) in self.described.columns.iter().enumerate() {
            let column = sender_column(index);
            let look = NumberLook::of_column(described.kind);
            sheet.set_column_format(column, looks.cell(look, Mood::Fine, false))?;
            let width = u32::try_from(self.widths[index].clamp(WIDTH_MIN, WIDTH_MAX)).unwrap_or(0);
            sheet.set_column_width(column, width)?;
            if described.kind == StageType::Text && last_row > 0 {
                sheet.ignore_error_range(1, column, last_row, column, IgnoreError::NumberStoredAsText)?;
            }
            if let Some(rule) = help::validation(described, &self.headers[index], lists)? {
                sheet.add_data_validation(1, column, SHEET_ROWS_MAX - 1, column, &rule)?;
            }
        }
        sheet.autofilter(0, 0, last_row, last_column)?;
        sheet.set_freeze_panes(1, OWN_COLUMNS)?;
        sheet.set_row_height(0, 20)?;
        sheet.set_landscape().set_print_gridlines(true).set_print_fit_to_pages(1, 0).set_repeat_rows(0, 0)?;
        Ok(())
    }
}

/// The 0-based place in the sheet of a column of the sender.
fn sender_column(index: usize) -> u16 {
    OWN_COLUMNS + u16::try_from(index).expect("open_sheet() counted the columns")
}

fn shown_header(column: &ReturnedColumn) -> String {
    if column.header.trim().is_empty() { column.name.clone() } else { column.header.clone() }
}

/// A header of ours that no column of the sender has: `Row`, else `Row (DDU)`, else `Row (DDU 2)` …
fn own_header(wanted: &str, headers: &[String]) -> String {
    let taken = |name: &str| headers.iter().any(|header| header.trim().to_lowercase() == name.to_lowercase());
    let mut name = wanted.to_owned();
    let mut number = 1_usize;
    while taken(&name) {
        let suffix = if number == 1 { "DDU".to_owned() } else { format!("DDU {number}") };
        name = format!("{wanted} ({suffix})");
        number += 1;
    }
    name
}

/// A very hidden sheet of texts, column by column.
fn write_hidden(book: &mut Workbook, name: &str, columns: &[Vec<String>]) -> Result<(), XlsxError> {
    let sheet = book.add_worksheet_with_constant_memory()?;
    sheet.set_name(name)?.set_very_hidden(true);
    let rows = columns.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..rows {
        for (at, column) in (0..).zip(columns) {
            if let Some(text) = column.get(row) {
                let row = u32::try_from(row).map_err(|_| XlsxError::RowColumnLimitError)?;
                sheet.write_string(row, at, text)?;
            }
        }
    }
    Ok(())
}

/// Does a piece of writing. The library's temporary file panics on a full disk; here that becomes an error.
fn guarded<T>(workbook: &str, work: impl FnOnce() -> Result<T, XlsxError>) -> Result<T, ReturnError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|source| ReturnError::Write { workbook: workbook.to_owned(), source }),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let found = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let found = found.unwrap_or_else(|| "it broke off without a word".to_owned());
            Err(ReturnError::BrokeOff { workbook: workbook.to_owned(), found })
        }
    }
}
