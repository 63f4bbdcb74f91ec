//! Tables as text (csv, tsv): decoded piece by piece, every cell a text, every row with the number that Excel shows.
//!
//! The splitting is ours rather than the `csv` crate's: that one skips blank lines without counting them, and reads a
//! quotation mark that is never closed as one cell that swallows the rest of the file.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::ops::ControlFlow;

use encoding_rs::{CoderResult, Decoder, Encoding};
use memchr::{memchr, memchr3};

use super::fault::ReadFault;
use super::request::{ReadLimits, SheetInfo};
use super::row::{Raw, Row, RowBuffer};
use super::source::{ROW_TEXT_BYTES_MAX, SheetFacts};
use super::strings::Strings;
use super::xlsx::check_length;
use crate::domain::cell::SHEET_COLUMNS_MAX;

/// Bytes that are decoded at once.
const PIECE_BYTES: usize = 64 << 10;

/// How a text is to be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct TextShape {
    /// Its encoding; a byte order mark of it is skipped.
    pub encoding: &'static Encoding,
    /// What stands between two cells: an ASCII character.
    pub delimiter: u8,
    /// Whether the first line only names the delimiter (`sep=;`), as Excel has it; it is then no row.
    pub names_delimiter: bool,
}

/// An open text file.
pub(super) struct Delimited {
    file: File,
    name: String,
    shape: TextShape,
    chars_max: u64,
}

impl Delimited {
    /// A text file under the name that its only sheet gets.
    pub fn new(file: File, name: String, shape: TextShape, limits: &ReadLimits) -> Self {
        Delimited { file, name, shape, chars_max: limits.cell_chars_max }
    }

    /// Its only sheet, named as Excel names it: like the file, without the extension.
    pub fn sheet(&self) -> SheetInfo {
        SheetInfo { name: self.name.clone(), visible: true }
    }

    /// Visits the rows, see [`super::source::Source::each_row`].
    ///
    /// # Errors
    /// As there.
    pub fn each_row(
        &mut self,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<SheetFacts, ReadFault> {
        self.file.rewind()?;
        let mut pieces = Pieces::new(&self.file, self.shape.encoding);
        let mut splitter = Splitter::new(self.shape, self.chars_max);
        let mut piece = String::new();
        while pieces.next_into(&mut piece).map_err(|error| near(error, splitter.number))? {
            if splitter.split(&piece, visit)?.is_break() {
                return Ok(SheetFacts::default());
            }
        }
        splitter.finish(visit)?;
        Ok(SheetFacts::default())
    }
}

/// A file's bytes as text, piece by piece.
pub(super) struct Pieces<R> {
    source: BufReader<R>,
    decoder: Decoder,
    bytes: Vec<u8>,
    ended: bool,
}

impl<R: Read> Pieces<R> {
    /// Decodes from the start of `source`; a byte order mark is skipped.
    pub fn new(source: R, encoding: &'static Encoding) -> Self {
        let decoder = encoding.new_decoder_with_bom_removal();
        Pieces { source: BufReader::new(source), decoder, bytes: vec![0; PIECE_BYTES], ended: false }
    }

    /// Replaces `piece` by the next one; `false` after the last.
    ///
    /// # Errors
    /// `InvalidData` when the bytes are not what the encoding says; else when the disk fails.
    pub fn next_into(&mut self, piece: &mut String) -> std::io::Result<bool> {
        piece.clear();
        if self.ended {
            return Ok(false);
        }
        let count = self.source.read(&mut self.bytes)?;
        self.ended = count == 0;
        let room = self.decoder.max_utf8_buffer_length(count).unwrap_or(4 * PIECE_BYTES);
        piece.reserve(room);
        let (result, _, replaced) = self.decoder.decode_to_string(&self.bytes[..count], piece, self.ended);
        assert_eq!(result, CoderResult::InputEmpty, "the piece has room for the worst case");
        if replaced {
            let encoding = self.decoder.encoding().name();
            let detail = format!("its text is not valid {encoding}");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, detail));
        }
        Ok(true)
    }
}

/// What is wrong with the bytes of a text, and where.
fn near(error: std::io::Error, row: u32) -> ReadFault {
    match ReadFault::from(error) {
        ReadFault::Damaged { detail } => ReadFault::damaged(format!("{detail} near row {row}")),
        other => other,
    }
}

/// Where the splitter is within a row.
#[derive(Clone, Copy, PartialEq)]
enum At {
    /// Before the first character of a cell.
    Start,
    /// In a cell without quotation marks, or behind the closing one.
    Plain,
    /// In a cell within quotation marks.
    Quoted,
    /// At a quotation mark within such a cell: its end, or the first of two.
    Mark,
    /// Behind a carriage return that ended a row.
    Return,
}

/// Splits text into rows and cells.
struct Splitter {
    shape: TextShape,
    chars_max: u64,
    at: At,
    /// The row that is being read; 0 is the line that names the delimiter.
    number: u32,
    column: u32,
    opened_in: u32,
    cell: String,
    row: RowBuffer,
    strings: Strings,
}

impl Splitter {
    fn new(shape: TextShape, chars_max: u64) -> Self {
        let number = if shape.names_delimiter { 0 } else { 1 };
        let mut row = RowBuffer::default();
        row.begin(number, false);
        let strings = Strings::default();
        let (at, cell) = (At::Start, String::new());
        Splitter { shape, chars_max, at, number, column: 0, opened_in: 0, cell, row, strings }
    }

    fn split(
        &mut self,
        piece: &str,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<ControlFlow<()>, ReadFault> {
        let bytes = piece.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match self.at {
                At::Start if bytes[i] == b'"' => {
                    self.at = At::Quoted;
                    self.opened_in = self.number;
                    i += 1;
                }
                At::Start => self.at = At::Plain,
                At::Return => {
                    i += usize::from(bytes[i] == b'\n');
                    self.at = At::Start;
                }
                At::Quoted => {
                    let end = memchr(b'"', &bytes[i..]).map_or(bytes.len(), |n| i + n);
                    self.extend(&piece[i..end])?;
                    if end < bytes.len() {
                        self.at = At::Mark;
                    }
                    i = end + 1;
                }
                At::Mark if bytes[i] == b'"' => {
                    self.extend("\"")?;
                    self.at = At::Quoted;
                    i += 1;
                }
                At::Mark => self.at = At::Plain,
                At::Plain => {
                    let delimiter = self.shape.delimiter;
                    let end = memchr3(delimiter, b'\r', b'\n', &bytes[i..]).map_or(bytes.len(), |n| i + n);
                    self.extend(&piece[i..end])?;
                    i = end + 1;
                    match bytes.get(end) {
                        None => {}
                        Some(b) if *b == delimiter => {
                            self.end_cell()?;
                            self.at = At::Start;
                        }
                        Some(b) => {
                            self.at = if *b == b'\r' { At::Return } else { At::Start };
                            if self.end_row(visit)?.is_break() {
                                return Ok(ControlFlow::Break(()));
                            }
                        }
                    }
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn finish(
        mut self,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<(), ReadFault> {
        if self.at == At::Quoted {
            let row = self.opened_in;
            return Err(ReadFault::damaged(format!(
                "a quotation mark that opens a cell in row {row} is never closed"
            )));
        }
        // Whether the visitor has enough does not matter after the last row.
        self.end_row(visit).map(|_| ())
    }

    fn extend(&mut self, text: &str) -> Result<(), ReadFault> {
        self.cell.push_str(text);
        check_length(&self.cell, self.chars_max)
    }

    fn end_cell(&mut self) -> Result<(), ReadFault> {
        if !self.cell.is_empty() {
            let text = self.row.keep(&self.cell);
            self.row.push(self.column, Raw::Text(text));
            self.cell.clear();
        }
        self.column += 1;
        if self.column > SHEET_COLUMNS_MAX || self.row.text_bytes() > ROW_TEXT_BYTES_MAX {
            return Err(ReadFault::BeyondBounds {
                detail: format!(
                    "row {} has more than {SHEET_COLUMNS_MAX} cells or {ROW_TEXT_BYTES_MAX} bytes of text",
                    self.number
                ),
            });
        }
        Ok(())
    }

    fn end_row(
        &mut self,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<ControlFlow<()>, ReadFault> {
        self.end_cell()?;
        let mut flow = ControlFlow::Continue(());
        if self.number > 0 && !self.row.is_empty() {
            flow = visit(self.row.row(&self.strings, &mut 0))?;
        }
        self.number = self.number.checked_add(1).ok_or_else(|| ReadFault::BeyondBounds {
            detail: "it has more lines than can be counted".into(),
        })?;
        self.column = 0;
        self.row.begin(self.number, false);
        Ok(flow)
    }
}

/// The delimiter that makes the first lines of a text most alike, `,` where none is found.
pub(super) fn likely_delimiter(sample: &str) -> u8 {
    const LINES: usize = 50;
    let mut best = (0, 0, b',');
    for delimiter in [b',', b';', b'\t'] {
        let shape = TextShape { encoding: encoding_rs::UTF_8, delimiter, names_delimiter: false };
        let mut splitter = Splitter::new(shape, u64::MAX);
        let mut widths = Vec::new();
        // The end of a sample is in the middle of a row, and perhaps of a quoted cell: whatever comes of it is no vote.
        let whole = sample.rfind('\n').map_or(sample, |end| &sample[..=end]);
        let split = splitter.split(whole, &mut |row| {
            widths.push(row.cells.last().map_or(0, |cell| cell.column + 1));
            Ok(if widths.len() == LINES { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        if split.is_err() {
            continue;
        }
        if let Some(at_end) = (widths.is_empty()).then_some(splitter.column).filter(|column| *column > 0) {
            widths.push(at_end + 1);
        }
        for width in widths.iter().copied().filter(|width| *width > 1) {
            let votes = widths.iter().filter(|other| **other == width).count();
            best = best.max((votes, width, delimiter));
        }
    }
    best.2
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Rows = Vec<(u32, Vec<(u32, String)>)>;

    fn split_in(pieces: &[&str], delimiter: u8) -> Result<Rows, ReadFault> {
        let shape = TextShape { encoding: encoding_rs::UTF_8, delimiter, names_delimiter: false };
        let mut splitter = Splitter::new(shape, 100);
        let mut rows = Vec::new();
        let mut visit = |row: Row<'_>| {
            let text = |raw| match raw {
                Raw::Text(span) => row.text(span).to_owned(),
                other => panic!("{other:?}"),
            };
            rows.push((row.number, row.cells.iter().map(|cell| (cell.column, text(cell.raw))).collect()));
            Ok(ControlFlow::Continue(()))
        };
        for piece in pieces {
            let flow = splitter.split(piece, &mut visit)?;
            assert!(flow.is_continue());
        }
        splitter.finish(&mut visit)?;
        Ok(rows)
    }

    fn cell(column: u32, text: &str) -> (u32, String) {
        (column, text.to_owned())
    }

    #[test]
    fn quoted_cells_hold_anything_and_blank_lines_keep_their_numbers() {
        let text = "a,\"b\r\n\"\"c\"\"\",\r\n\r\n,\"\",5\" wide\n\"x\"y\rlast";
        let wanted = vec![
            (1, vec![cell(0, "a"), cell(1, "b\r\n\"c\"")]),
            (3, vec![cell(2, "5\" wide")]),
            (4, vec![cell(0, "xy")]),
            (5, vec![cell(0, "last")]),
        ];
        assert_eq!(split_in(&[text], b',').unwrap(), wanted);
        // The same wherever the text is cut into pieces.
        for cut in 1..text.len() {
            assert_eq!(split_in(&[&text[..cut], &text[cut..]], b',').unwrap(), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn a_quotation_mark_that_is_never_closed_is_refused_and_swallows_nothing() {
        let fault = split_in(&["a;b\nc;\"d\ne;f\n"], b';').unwrap_err();
        assert!(fault.to_string().contains("opens a cell in row 2 is never closed"), "{fault}");
        let long = format!("a,{}", "é".repeat(101));
        assert!(matches!(split_in(&[&long], b','), Err(ReadFault::TooLarge { limit: 100, .. })));
    }

    #[test]
    fn what_the_csv_crate_writes_comes_back() {
        let cells = ["", " ", "a", "\"", "\r\n", ",", "\"\"x", "é\n", "x\"y"];
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut wanted = Vec::new();
        for (n, a) in cells.iter().enumerate() {
            for b in cells {
                let b = format!("{b}{n}");
                writer.write_record([a, b.as_str()]).unwrap();
                wanted.push(vec![(*a).to_owned(), b]);
            }
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let read: Vec<Vec<String>> = split_in(&[&text], b',')
            .unwrap()
            .into_iter()
            .map(|(_, cells)| {
                let at =
                    |column| cells.iter().find(|c| c.0 == column).map(|c| c.1.clone()).unwrap_or_default();
                vec![at(0), at(1)]
            })
            .collect();
        assert_eq!(read, wanted);
    }

    #[test]
    fn the_delimiter_is_the_one_under_which_the_lines_are_alike() {
        assert_eq!(likely_delimiter("a;b\n1,5;2,5\n3,5;4,5\n"), b';');
        assert_eq!(likely_delimiter("a,b\n\"x;y\",2\n"), b',');
        assert_eq!(likely_delimiter("a\tb,c\n1\t2\n"), b'\t');
        assert_eq!(likely_delimiter("one column\n1\n"), b',');
        assert_eq!(likely_delimiter("a;b;c"), b';');
    }
}
