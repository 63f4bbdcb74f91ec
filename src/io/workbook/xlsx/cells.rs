//! The cells of a worksheet part, row by row.

use std::io::Read;
use std::ops::{ControlFlow, RangeInclusive};

use super::quick::{self, Quick};
use super::scan::{Scanner, Tag, Token, cut_off, utf8};
use super::styles::Shape;
use super::text::{check_length, decode_from, read_string, read_text};
use crate::domain::cell::{SHEET_COLUMNS_MAX, SHEET_ROWS_MAX};
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::row::{DateShape, Raw, Row, RowBuffer, Span};
use crate::io::workbook::source::{ROW_TEXT_BYTES_MAX, SheetFacts};
use crate::io::workbook::strings::Strings;

/// What a sheet's cells refer to.
pub(super) struct Context<'a> {
    /// The workbook's shared strings.
    pub strings: &'a mut Strings,
    /// The cell formats.
    pub shapes: &'a [Shape],
    /// Whether dates count from 1904.
    pub from_1904: bool,
    /// Longest text in characters.
    pub chars_max: u64,
}

type Visit<'v> = &'v mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>;

/// Visits the rows of a sheet in the order of the file.
pub(super) fn each_row<R: Read>(
    scanner: &mut Scanner<R>,
    context: Context<'_>,
    visit: Visit<'_>,
) -> Result<SheetFacts, ReadFault> {
    let mut cells = Cells {
        context,
        visit,
        facts: SheetFacts::default(),
        row: RowBuffer::default(),
        hidden: false,
        next_row: 1,
        next_column: 0,
    };
    let mut cell = CellBuffer::default();
    let mut complete = false;
    loop {
        if !complete && cells.take_quick(scanner)?.is_break() {
            return Ok(cells.facts);
        }
        match scanner.next()? {
            Token::Open(tag) => match tag.name {
                b"row" => {
                    cells.open_row(tag)?;
                    // A row without cells has no closing tag either.
                    cells.next_row += u32::from(tag.empty);
                }
                b"c" if !complete => {
                    let place = cell.open(tag)?;
                    let empty = tag.empty;
                    if cells.turn_to(place)?.is_break() {
                        return Ok(cells.facts);
                    }
                    if !empty {
                        cell.read(scanner, cells.context.chars_max)?;
                        cells.take(&mut cell)?;
                    }
                }
                b"sheetData" if tag.empty => complete = true,
                b"mergeCell" => cells.facts.merged += 1,
                b"col" if cells.facts.hidden_columns.len() < SHEET_COLUMNS_MAX as usize => {
                    cells.facts.hidden_columns.extend(hidden_columns(tag));
                }
                _ => {}
            },
            Token::Close(b"row") => cells.next_row += 1,
            Token::Close(b"sheetData") => {
                complete = true;
                if cells.end_row()?.is_break() {
                    return Ok(cells.facts);
                }
            }
            Token::End if complete => return Ok(cells.facts),
            Token::End => return Err(cut_off(scanner.part())),
            Token::Close(_) | Token::Text(_) | Token::Cdata(_) => {}
        }
    }
}

/// The row under construction, and where the next cell is when it does not say so itself.
struct Cells<'a, 'v> {
    context: Context<'a>,
    visit: Visit<'v>,
    facts: SheetFacts,
    row: RowBuffer,
    hidden: bool,
    next_row: u32,
    next_column: u32,
}

impl Cells<'_, '_> {
    /// Takes cells for as long as they have their common form.
    fn take_quick<R: Read>(&mut self, scanner: &mut Scanner<R>) -> Result<ControlFlow<()>, ReadFault> {
        loop {
            let Some(quick) = quick::cell(scanner.ahead()?) else { return Ok(ControlFlow::Continue(())) };
            let length = quick.length;
            let place = quick.reference.map(place_of).transpose()?;
            if self.turn_to(place)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(raw) = self.quick_raw(&quick)? {
                self.push(raw)?;
            }
            scanner.skip(length);
        }
    }

    fn quick_raw(&mut self, quick: &Quick<'_>) -> Result<Option<Raw>, ReadFault> {
        Ok(Some(match quick.value {
            quick::Value::Nothing => return Ok(None),
            quick::Value::Number(value) => self.numeric(value, quick.style),
            quick::Value::Shared(index) => self.shared(index)?,
            quick::Value::Boolean(value) => Raw::Boolean(value),
            quick::Value::Inline(ref plain) => {
                let text = plain.text()?;
                check_length(text, self.context.chars_max)?;
                Raw::Text(self.row.keep_with(|kept| {
                    let start = kept.len();
                    kept.push_str(text);
                    decode_from(start, kept);
                    Ok::<_, ReadFault>(())
                })?)
            }
        }))
    }

    fn open_row(&mut self, tag: Tag<'_>) -> Result<(), ReadFault> {
        self.hidden = false;
        for (name, value) in tag.attributes() {
            match name {
                b"r" => self.next_row = row_number(value).ok_or_else(|| off_grid(value))?,
                b"hidden" => self.hidden = matches!(value, b"1" | b"true"),
                _ => {}
            }
        }
        self.next_column = 0;
        Ok(())
    }

    /// Begins the cell at a place, or at the next one; a finished row is visited.
    fn turn_to(&mut self, place: Option<(u32, u32)>) -> Result<ControlFlow<()>, ReadFault> {
        let (number, column) = place.unwrap_or((self.next_row, self.next_column));
        if number > SHEET_ROWS_MAX || column >= SHEET_COLUMNS_MAX {
            return Err(off_grid(format!("row {number}, column {}", column + 1).as_bytes()));
        }
        if number != self.row.number {
            let visited = self.end_row()?;
            self.row.begin(number, self.hidden);
            if visited.is_break() {
                return Ok(visited);
            }
        }
        (self.next_row, self.next_column) = (number, column + 1);
        Ok(ControlFlow::Continue(()))
    }

    /// Visits the row under construction, if it has cells.
    fn end_row(&mut self) -> Result<ControlFlow<()>, ReadFault> {
        if self.row.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let visited = (self.visit)(self.row.row(self.context.strings, &mut self.facts.repeated_cells));
        self.row.begin(0, false);
        visited
    }

    fn take(&mut self, cell: &mut CellBuffer) -> Result<(), ReadFault> {
        if cell.has_inline {
            check_length(&cell.inline, self.context.chars_max)?;
            let text = Raw::Text(self.row.keep(&cell.inline));
            return self.push(text);
        }
        if cell.value.is_empty() {
            // A formula whose text came out empty is stored as an empty text; nothing at all means nobody computed it.
            let uncomputed = cell.has_formula && cell.kind != Kind::Computed;
            return if uncomputed { self.push(Raw::Uncomputed) } else { Ok(()) };
        }
        let raw = self.raw(cell)?;
        self.push(raw)
    }

    /// Adds what stands in the cell that was turned to.
    fn push(&mut self, raw: Raw) -> Result<(), ReadFault> {
        self.row.push(self.next_column - 1, raw);
        if self.row.text_bytes() > ROW_TEXT_BYTES_MAX {
            let number = self.row.number;
            return Err(ReadFault::BeyondBounds {
                detail: format!("row {number} holds more than {ROW_TEXT_BYTES_MAX} bytes of text"),
            });
        }
        Ok(())
    }

    fn raw(&mut self, cell: &mut CellBuffer) -> Result<Raw, ReadFault> {
        let value = cell.value.as_str();
        Ok(match cell.kind {
            Kind::Unsaid | Kind::Number => match value.trim().parse::<f64>() {
                Ok(number) => self.numeric(number, cell.style),
                Err(_) if cell.kind == Kind::Unsaid => Raw::Text(self.row.keep(value)),
                Err(_) => Raw::Illegible(self.row.keep(value)),
            },
            Kind::Shared => match value.trim().parse::<u32>() {
                Ok(index) => self.shared(index)?,
                Err(_) => Raw::Illegible(self.row.keep(&format!("text number {value} of the workbook"))),
            },
            Kind::Computed | Kind::Inline => {
                decode_from(0, &mut cell.value);
                Raw::Text(self.row.keep(&cell.value))
            }
            Kind::Boolean => match value.trim() {
                "1" | "true" | "TRUE" => Raw::Boolean(true),
                "0" | "false" | "FALSE" => Raw::Boolean(false),
                _ => Raw::Illegible(self.row.keep(value)),
            },
            Kind::Error => Raw::Error(self.row.keep(value)),
            Kind::Iso => Raw::Iso(self.row.keep(value)),
            Kind::Unknown => Raw::Illegible(self.row.keep(value)),
        })
    }

    /// A shared string: by its index while memory holds it, else copied into the row.
    fn shared(&mut self, index: u32) -> Result<Raw, ReadFault> {
        let strings = &mut *self.context.strings;
        if strings.is_resident(index) {
            return Ok(Raw::Text(Span::Shared(index)));
        }
        if (index as usize) < strings.len() {
            return Ok(Raw::Text(self.row.keep_with(|text| strings.append_spilled(index, text))?));
        }
        Ok(Raw::Illegible(self.row.keep(&format!("text number {index} of the workbook"))))
    }

    fn numeric(&self, value: f64, style: usize) -> Raw {
        match self.context.shapes.get(style).copied().unwrap_or(Shape::Number) {
            Shape::Number => Raw::Number { value, zeros: 0 },
            Shape::Zeros(zeros) => Raw::Number { value, zeros },
            Shape::Date(shows_day) => {
                Raw::Serial { days: value, shape: DateShape { shows_day, from_1904: self.context.from_1904 } }
            }
            Shape::Duration => Raw::Days(value),
        }
    }
}

/// The attributes and the texts of a cell that has not its common form; used again for every such cell.
#[derive(Default)]
struct CellBuffer {
    kind: Kind,
    style: usize,
    has_formula: bool,
    has_inline: bool,
    value: String,
    inline: String,
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
    fn open(&mut self, tag: Tag<'_>) -> Result<Option<(u32, u32)>, ReadFault> {
        (self.kind, self.style) = (Kind::Unsaid, 0);
        let mut place = None;
        for (name, value) in tag.attributes() {
            match name {
                b"r" => place = Some(place_of(value)?),
                b"s" => self.style = utf8(value)?.parse().unwrap_or(0),
                b"t" => {
                    self.kind = match value {
                        b"n" => Kind::Number,
                        b"s" => Kind::Shared,
                        b"str" => Kind::Computed,
                        b"inlineStr" => Kind::Inline,
                        b"b" => Kind::Boolean,
                        b"e" => Kind::Error,
                        b"d" => Kind::Iso,
                        _ => Kind::Unknown,
                    }
                }
                _ => {}
            }
        }
        Ok(place)
    }

    /// Reads up to the end of the cell.
    fn read<R: Read>(&mut self, scanner: &mut Scanner<R>, chars_max: u64) -> Result<(), ReadFault> {
        (self.has_formula, self.has_inline) = (false, false);
        self.value.clear();
        self.inline.clear();
        loop {
            match scanner.next()? {
                Token::Open(tag) => match (tag.name, tag.empty) {
                    (b"f", _) => self.has_formula = true,
                    (b"v", false) => read_text(scanner, b"v", chars_max, &mut self.value)?,
                    (b"is", empty) => {
                        self.has_inline = true;
                        if !empty {
                            read_string(scanner, b"is", chars_max, &mut self.inline)?;
                        }
                    }
                    _ => {}
                },
                Token::Close(b"c") => return Ok(()),
                Token::End => return Err(cut_off(scanner.part())),
                Token::Close(_) | Token::Text(_) | Token::Cdata(_) => {}
            }
        }
    }
}

/// Row number and column index of a reference.
fn place_of(reference: &[u8]) -> Result<(u32, u32), ReadFault> {
    cell_place(reference).ok_or_else(|| off_grid(reference))
}

/// The column indices that a `<col>` hides, if it does.
fn hidden_columns(tag: Tag<'_>) -> Option<RangeInclusive<u32>> {
    let (mut first, mut last, mut hidden) = (None, None, false);
    for (name, value) in tag.attributes() {
        let index = || std::str::from_utf8(value).ok()?.parse::<u32>().ok()?.checked_sub(1);
        match name {
            b"min" => first = index(),
            b"max" => last = index(),
            b"hidden" => hidden = matches!(value, b"1" | b"true"),
            _ => {}
        }
    }
    let (first, last) = (first?, last?);
    (hidden && first <= last).then(|| first..=last.min(SHEET_COLUMNS_MAX - 1))
}

/// Row number and column index of a reference such as `B7`; `None` where the grid has no such place.
pub(super) fn cell_place(reference: &[u8]) -> Option<(u32, u32)> {
    let letters = reference.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if letters == 0 || letters > 3 {
        return None;
    }
    let (letters, digits) = reference.split_at(letters);
    let column = letters.iter().fold(0, |column, letter| column * 26 + u32::from(letter & 0x1F));
    (column <= SHEET_COLUMNS_MAX).then_some((row_number(digits)?, column - 1))
}

fn row_number(digits: &[u8]) -> Option<u32> {
    let number = quick::whole(digits)?;
    let number = u32::try_from(number).ok()?;
    (1..=SHEET_ROWS_MAX).contains(&number).then_some(number)
}

fn off_grid(reference: &[u8]) -> ReadFault {
    let reference: String = String::from_utf8_lossy(reference).chars().take(40).collect();
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
        let context = Context { strings: &mut strings, shapes: &shapes, from_1904: false, chars_max: 100 };
        let xml = format!("<worksheet>{data}</worksheet>");
        let mut rows = Vec::new();
        let facts = each_row(&mut Scanner::new("s", xml.as_bytes()), context, &mut |row| {
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
        assert_eq!(cell_place(b"XFD1048576"), Some((1_048_576, 16_383)));
        assert_eq!(cell_place(b"aa10"), Some((10, 26)));
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
        let mut scanner = Scanner::new("s", &b"<worksheet><sheetData><row r='1'>"[..]);
        let context =
            Context { strings: &mut Strings::default(), shapes: &[], from_1904: false, chars_max: 9 };
        let read = each_row(&mut scanner, context, &mut |_| Ok(ControlFlow::Continue(())));
        assert!(matches!(read, Err(ReadFault::Truncated { .. })));
    }
}
