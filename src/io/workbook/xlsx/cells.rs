//! The cells of a worksheet part, row by row.

use std::io::BufRead;
use std::ops::ControlFlow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::styles::Shape;
use super::text::{Scratch, check_length, cut_off, decode_from, read_string, read_text};
use super::xml;
use crate::domain::cell::{SHEET_COLUMNS_MAX, SHEET_ROWS_MAX};
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::row::{DateShape, Raw, Row, RowBuffer, Span};
use crate::io::workbook::source::{ROW_TEXT_BYTES_MAX, SheetFacts};
use crate::io::workbook::strings::Strings;

/// What a sheet's cells refer to.
pub(super) struct Context<'a> {
    /// The part's name, for faults.
    pub part: &'a str,
    /// The workbook's shared strings.
    pub strings: &'a Strings,
    /// The cell formats.
    pub shapes: &'a [Shape],
    /// Whether dates count from 1904.
    pub from_1904: bool,
    /// Longest text in characters.
    pub chars_max: u64,
}

/// Visits the rows of a sheet in the order of the file.
pub(super) fn each_row<R: BufRead>(
    reader: &mut Reader<R>,
    context: &Context<'_>,
    visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
) -> Result<SheetFacts, ReadFault> {
    let mut facts = SheetFacts::default();
    let mut row = RowBuffer::default();
    let mut cell = CellBuffer::default();
    let mut buffer = Vec::new();
    let mut hidden = false;
    // Where the next row and the next cell are when they do not say so themselves.
    let (mut next_row, mut next_column) = (1, 0);
    let mut complete = false;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(context.part, e))? {
            Event::Start(element) => match element.local_name().as_ref() {
                "row" => {
                    hidden = false;
                    for (name, value) in xml::attributes(&element) {
                        match name {
                            "r" => next_row = row_number(value).ok_or_else(|| off_grid(value))?,
                            "hidden" => hidden = matches!(value, "1" | "true"),
                            _ => {}
                        }
                    }
                    next_column = 0;
                }
                "c" => {
                    let place = cell.open(&element)?;
                    let (number, column) = place.unwrap_or((next_row, next_column));
                    if number > SHEET_ROWS_MAX || column >= SHEET_COLUMNS_MAX {
                        return Err(off_grid(&format!("row {number}, column {}", column + 1)));
                    }
                    if number != row.number {
                        if !row.is_empty()
                            && visit(row.row(context.strings, &mut facts.repeated_cells))?.is_break()
                        {
                            return Ok(facts);
                        }
                        row.begin(number, hidden);
                    }
                    (next_row, next_column) = (number, column + 1);
                    if let Some(raw) = cell.read(reader, context, &mut row)? {
                        row.push(column, raw);
                    }
                    if row.text_bytes() > ROW_TEXT_BYTES_MAX {
                        return Err(ReadFault::BeyondBounds {
                            detail: format!(
                                "row {number} holds more than {ROW_TEXT_BYTES_MAX} bytes of text"
                            ),
                        });
                    }
                }
                "mergeCell" => facts.merged += 1,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "row" => next_row += 1,
                "sheetData" => {
                    complete = true;
                    if !row.is_empty() {
                        let enough = visit(row.row(context.strings, &mut facts.repeated_cells))?.is_break();
                        row.begin(0, false);
                        if enough {
                            return Ok(facts);
                        }
                    }
                }
                _ => {}
            },
            Event::Eof if complete => return Ok(facts),
            Event::Eof => return Err(cut_off(context.part)),
            _ => {}
        }
    }
}

/// The attributes and the texts of the cell that is being read; used again for every cell.
#[derive(Default)]
struct CellBuffer {
    kind: Kind,
    style: usize,
    value: String,
    inline: String,
    events: Vec<u8>,
    scratch: Scratch,
}

/// What a cell says of its value (`t`).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    /// Nothing: a number, by the standard.
    #[default]
    Unsaid,
    Number,
    Shared,
    Computed,
    Inline,
    Boolean,
    Error,
    Iso,
    Unknown,
}

impl CellBuffer {
    /// Takes the attributes of a cell; its place where it names one.
    fn open(&mut self, element: &BytesStart<'_>) -> Result<Option<(u32, u32)>, ReadFault> {
        (self.kind, self.style) = (Kind::Unsaid, 0);
        let mut place = None;
        for (name, value) in xml::attributes(element) {
            match name {
                "r" => place = Some(cell_place(value).ok_or_else(|| off_grid(value))?),
                "s" => self.style = value.parse().unwrap_or(0),
                "t" => {
                    self.kind = match value {
                        "n" => Kind::Number,
                        "s" => Kind::Shared,
                        "str" => Kind::Computed,
                        "inlineStr" => Kind::Inline,
                        "b" => Kind::Boolean,
                        "e" => Kind::Error,
                        "d" => Kind::Iso,
                        _ => Kind::Unknown,
                    }
                }
                _ => {}
            }
        }
        Ok(place)
    }

    /// Reads up to the end of the cell; `None` where nothing stands in it.
    fn read<R: BufRead>(
        &mut self,
        reader: &mut Reader<R>,
        context: &Context<'_>,
        row: &mut RowBuffer,
    ) -> Result<Option<Raw>, ReadFault> {
        let (part, chars_max) = (context.part, context.chars_max);
        let (mut has_formula, mut has_inline) = (false, false);
        self.value.clear();
        self.inline.clear();
        loop {
            self.events.clear();
            match reader.read_event_into(&mut self.events).map_err(|e| xml::broken(part, e))? {
                Event::Start(element) => match element.local_name().as_ref() {
                    "v" => {
                        read_text(part, reader, "v", chars_max, &mut self.scratch.texts, &mut self.value)?;
                    }
                    "f" => has_formula = true,
                    "is" => {
                        has_inline = true;
                        read_string(part, reader, "is", chars_max, &mut self.scratch, &mut self.inline)?;
                    }
                    _ => {}
                },
                Event::End(element) if element.local_name().as_ref() == "c" => break,
                Event::Eof => return Err(cut_off(part)),
                _ => {}
            }
        }
        if has_inline {
            check_length(&self.inline, chars_max)?;
            return Ok(Some(Raw::Text(row.keep(&self.inline))));
        }
        if self.value.is_empty() {
            // A formula whose text came out empty is stored as an empty text; nothing at all means nobody computed it.
            let uncomputed = has_formula && self.kind != Kind::Computed;
            return Ok(uncomputed.then_some(Raw::Uncomputed));
        }
        Ok(Some(self.raw(context, row)))
    }

    fn raw(&mut self, context: &Context<'_>, row: &mut RowBuffer) -> Raw {
        let value = self.value.as_str();
        match self.kind {
            Kind::Unsaid | Kind::Number => match value.trim().parse::<f64>() {
                Ok(number) => self.numeric(number, context),
                Err(_) if self.kind == Kind::Unsaid => Raw::Text(row.keep(value)),
                Err(_) => Raw::Illegible(row.keep(value)),
            },
            Kind::Shared => match value.trim().parse::<u32>() {
                Ok(index) if (index as usize) < context.strings.len() => Raw::Text(Span::Shared(index)),
                _ => Raw::Illegible(row.keep(&format!("text number {value} of the workbook"))),
            },
            Kind::Computed | Kind::Inline => {
                decode_from(0, &mut self.value);
                Raw::Text(row.keep(&self.value))
            }
            Kind::Boolean => match value.trim() {
                "1" | "true" | "TRUE" => Raw::Boolean(true),
                "0" | "false" | "FALSE" => Raw::Boolean(false),
                _ => Raw::Illegible(row.keep(value)),
            },
            Kind::Error => Raw::Error(row.keep(value)),
            Kind::Iso => Raw::Iso(row.keep(value)),
            Kind::Unknown => Raw::Illegible(row.keep(value)),
        }
    }

    fn numeric(&self, value: f64, context: &Context<'_>) -> Raw {
        match context.shapes.get(self.style).copied().unwrap_or(Shape::Number) {
            Shape::Number => Raw::Number { value, zeros: 0 },
            Shape::Zeros(zeros) => Raw::Number { value, zeros },
            Shape::Date(shows_day) => {
                Raw::Serial { days: value, shape: DateShape { shows_day, from_1904: context.from_1904 } }
            }
            Shape::Duration => Raw::Days(value),
        }
    }
}

/// Row number and column index of a reference such as `B7`; `None` where the grid has no such place.
fn cell_place(reference: &str) -> Option<(u32, u32)> {
    let digits = reference.find(|c: char| c.is_ascii_digit())?;
    let (letters, digits) = reference.split_at(digits);
    if letters.is_empty() || letters.len() > 3 {
        return None;
    }
    let mut column = 0;
    for letter in letters.bytes() {
        if !letter.is_ascii_alphabetic() {
            return None;
        }
        column = column * 26 + u32::from(letter.to_ascii_uppercase() - b'A') + 1;
    }
    (column <= SHEET_COLUMNS_MAX).then_some((row_number(digits)?, column - 1))
}

fn row_number(digits: &str) -> Option<u32> {
    let number = digits.parse().ok()?;
    (1..=SHEET_ROWS_MAX).contains(&number).then_some(number)
}

fn off_grid(reference: &str) -> ReadFault {
    let reference: String = reference.chars().take(40).collect();
    ReadFault::damaged(format!("a cell says it stands at `{reference}`, which is no place on a sheet"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    type Seen = Vec<(u32, Vec<(u32, String)>)>;

    fn read(data: &str) -> Result<(Seen, SheetFacts), ReadFault> {
        let mut strings = Strings::default();
        strings.push("shared").unwrap();
        let shapes = [Shape::Number, Shape::Zeros(5), Shape::Date(true)];
        let context =
            Context { part: "s", strings: &strings, shapes: &shapes, from_1904: false, chars_max: 100 };
        let xml = format!("<worksheet>{data}</worksheet>");
        let mut rows = Vec::new();
        let facts = each_row(&mut xml::reader(xml.as_bytes()), &context, &mut |row| {
            let show = |raw| match raw {
                Raw::Text(span) => row.text(span).to_owned(),
                Raw::Error(span) => format!("error {}", row.text(span)),
                Raw::Illegible(span) => format!("illegible {}", row.text(span)),
                Raw::Number { value, zeros } => format!("{value}/{zeros}"),
                other => format!("{other:?}"),
            };
            rows.push((row.number, row.cells.iter().map(|cell| (cell.column, show(cell.raw))).collect()));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((rows, facts))
    }

    fn cells(data: &str) -> Vec<(u32, String)> {
        let (rows, _) = read(&format!("<sheetData><row r='1'>{data}</row></sheetData>")).unwrap();
        rows.into_iter().flat_map(|(_, cells)| cells).collect()
    }

    #[test]
    fn every_kind_of_cell_says_what_it_holds_and_keeps_its_place() {
        let data = "<c r='A1' t='s'><v>0</v></c><c r='B1' t='e'><v>#SPILL!</v></c><c r='C1' s='1'><v>123</v></c>\
            <c r='D1'><f>SUM(A2)</f></c><c r='E1'><f>1</f><v/></c><c r='F1' t='str'><f>\"\"</f><v></v></c>\
            <c r='G1' t='inlineStr'><is><t>a_x0041_</t></is></c><c r='H1' t='s'><v>9</v></c><c r='I1' t='n'><v>x</v></c>\
            <c r='J1'><v> 5 x</v></c><c r='K1' s='1'/><c r='L1' t='zz'><v>1</v></c><c><v>7</v></c>";
        let seen = cells(data);
        let wanted = [
            (0, "shared"),
            (1, "error #SPILL!"),
            (2, "123/5"),
            (3, "Uncomputed"),
            (4, "Uncomputed"),
            (6, "aA"),
            (7, "illegible text number 9 of the workbook"),
            (8, "illegible x"),
            (9, " 5 x"),
            (11, "illegible 1"),
            (12, "7/0"),
        ];
        assert_eq!(seen, wanted.map(|(column, text)| (column, text.to_owned())));
    }

    #[test]
    fn references_that_wrap_or_leave_the_grid_are_refused_and_never_moved() {
        for place in ["AAAAAAAAA1", "A99999999999", "XFE1", "A0", "1", "A1048577", "A-1", "", "Ä1"] {
            let data = format!("<sheetData><row r='1'><c r='{place}'><v>1</v></c></row></sheetData>");
            assert!(matches!(read(&data), Err(ReadFault::Damaged { .. })), "{place}");
        }
        assert_eq!(cell_place("XFD1048576"), Some((1_048_576, 16_383)));
        assert_eq!(cell_place("aa10"), Some((10, 26)));
    }

    #[test]
    fn rows_may_stand_in_any_order_and_come_in_pieces() {
        let data = "<sheetData><row r='5'><c r='B5'><v>1</v></c></row><row r='5'><c r='A5'><v>2</v></c></row>\
            <row r='2' hidden='1'><c><v>3</v></c></row><row><c><v>4</v></c></row></sheetData><mergeCells><mergeCell/></mergeCells>";
        let (rows, facts) = read(data).unwrap();
        let cell = |column, text: &str| (column, text.to_owned());
        assert_eq!(
            rows,
            [(5, vec![cell(0, "2/0"), cell(1, "1/0")]), (2, vec![cell(0, "3/0")]), (3, vec![cell(0, "4/0")])]
        );
        assert_eq!(facts.merged, 1);
    }

    #[test]
    fn a_sheet_that_ends_in_the_middle_is_cut_off_and_not_short() {
        let cut = "<sheetData><row r='1'><c r='A1'><v>1</v></c></row><row r='2'><c";
        assert!(matches!(read(cut), Err(ReadFault::Truncated { .. } | ReadFault::Damaged { .. })));
        let mut reader = xml::reader(&b"<worksheet><sheetData><row r='1'>"[..]);
        let strings = Strings::default();
        let context = Context { part: "s", strings: &strings, shapes: &[], from_1904: false, chars_max: 9 };
        let read = each_row(&mut reader, &context, &mut |_| Ok(ControlFlow::Continue(())));
        assert!(matches!(read, Err(ReadFault::Truncated { .. })));
    }
}
