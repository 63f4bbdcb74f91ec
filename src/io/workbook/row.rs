//! One row as a source delivers it: its cells with their raw values, the texts beside them.

use super::strings::Strings;

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Span {
    /// In the row's own text, from byte to byte.
    Row(u32, u32),
    /// In the workbook's shared strings, by index.
    Shared(u32),
}

/// What stands in a cell, before it is a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Raw {
    /// Text, possibly of length zero.
    Text(Span),
    /// A number; `zeros` is the width of a format like `00000`, 0 for every other format.
    Number { value: f64, zeros: u8 },
    /// A truth value.
    Boolean(bool),
    /// A number shown as a date or a time of day.
    Serial { days: f64, shape: DateShape },
    /// A number of days shown as a duration.
    Days(f64),
    /// A date, date-time or time in ISO 8601.
    Iso(Span),
    /// A duration in ISO 8601.
    IsoDuration(Span),
    /// An error value such as `#N/A`.
    Error(Span),
    /// A formula whose result nobody stored.
    Uncomputed,
    /// Something that no reader of the format understands: the text found.
    Illegible(Span),
}

/// What a date format shows, and in which date system its numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateShape {
    /// Whether it shows day, month or year; a format of hours only is a time of day.
    pub shows_day: bool,
    /// Whether day 0 is 1904-01-01.
    pub from_1904: bool,
}

/// One cell with something in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    /// Column index, from 0.
    pub column: u32,
    /// What stands there.
    pub raw: Raw,
}

/// A row under construction; used again for every row, so that nothing is allocated for one.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    /// Row number, from 1.
    pub number: u32,
    /// Whether people do not see the row.
    pub hidden: bool,
    cells: Vec<Cell>,
    text: String,
}

impl RowBuffer {
    /// Begins a row.
    pub fn begin(&mut self, number: u32, hidden: bool) {
        self.number = number;
        self.hidden = hidden;
        self.cells.clear();
        self.text.clear();
    }

    /// Adds a cell.
    pub fn push(&mut self, column: u32, raw: Raw) {
        self.cells.push(Cell { column, raw });
    }

    /// Keeps a text of this row.
    pub fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        Span::Row(start, self.text.len() as u32)
    }

    /// Keeps a text of this row that its owner appends.
    pub fn keep_with<E>(&mut self, append: impl FnOnce(&mut String) -> Result<(), E>) -> Result<Span, E> {
        let start = self.text.len() as u32;
        append(&mut self.text)?;
        Ok(Span::Row(start, self.text.len() as u32))
    }

    /// Bytes of the texts kept so far.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether no cell was added.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The finished row: cells from left to right. Where a cell was given twice the later one counts, and
    /// `repeated` grows.
    pub fn row<'a>(&'a mut self, strings: &'a Strings, repeated: &mut u64) -> Row<'a> {
        if !self.cells.is_sorted_by(|a, b| a.column < b.column) {
            let before = self.cells.len();
            // Stable, so that the later one of two stays the later one; `dedup_by` keeps the first, hence the reversal.
            self.cells.sort_by_key(|cell| cell.column);
            self.cells.reverse();
            self.cells.dedup_by_key(|cell| cell.column);
            self.cells.reverse();
            *repeated += (before - self.cells.len()) as u64;
        }
        Row { number: self.number, hidden: self.hidden, cells: &self.cells, text: &self.text, strings }
    }
}

/// A finished row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    /// Row number, from 1.
    pub number: u32,
    /// Whether people do not see the row.
    pub hidden: bool,
    /// Its cells, from left to right, each column at most once.
    pub cells: &'a [Cell],
    text: &'a str,
    strings: &'a Strings,
}

impl<'a> Row<'a> {
    /// The text behind a span.
    pub fn text(&self, span: Span) -> &'a str {
        match span {
            Span::Row(start, end) => &self.text[start as usize..end as usize],
            Span::Shared(index) => self.strings.get(index),
        }
    }

    /// Whether nothing can be seen in any cell.
    pub fn is_blank(&self) -> bool {
        self.cells.iter().all(|cell| match cell.raw {
            Raw::Text(span) => self.text(span).chars().all(char::is_whitespace),
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_from_left_to_right_and_of_two_in_one_place_the_later_counts() {
        let strings = Strings::default();
        let mut repeated = 0;
        let mut buffer = RowBuffer::default();
        buffer.begin(7, false);
        for (column, value) in [(2, 1.0), (0, 2.0), (2, 3.0)] {
            buffer.push(column, Raw::Number { value, zeros: 0 });
        }
        let row = buffer.row(&strings, &mut repeated);
        let number = |value| Raw::Number { value, zeros: 0 };
        assert_eq!(row.cells, [Cell { column: 0, raw: number(2.0) }, Cell { column: 2, raw: number(3.0) }]);
        assert_eq!(repeated, 1);
    }
}
