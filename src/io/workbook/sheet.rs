//! Reads one sheet: finds its table, types its columns from all their cells, and sends its rows in batches.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::columns::Zone;
use super::fault::ReadFault;
use super::frames;
use super::layout;
use super::mark::{MARK_CHUNKS_MAX, MARK_SHEET, MarkError, ReturnedBook, ReturnedPart};
use super::request::{ReadRequest, ReadSummary, SheetHeader, SheetInfo};
use super::rows::{self, Rows};
use super::seen::see;
use super::source::Source;
use super::table::Table;
use super::template;
use crate::domain::near::did_you_mean;

/// Sheet names that a sentence lists.
const LISTED_SHEETS_MAX: usize = 20;
/// Batches that wait to be written, beside the one that is: rows are read while the parent encodes those before.
const BATCHES_AHEAD: usize = 1;

/// The mark of a workbook that DDU gave back: none, a good one, or one that was changed.
pub(super) fn marked(source: &mut Source) -> Result<Option<Result<ReturnedBook, MarkError>>, ReadFault> {
    if matches!(source, Source::Text(_)) {
        return Ok(None);
    }
    let Some(sheet) = source.sheets().iter().position(|sheet| sheet.name == MARK_SHEET) else {
        return Ok(None);
    };
    let mut chunks: Vec<(u32, String)> = Vec::new();
    source.each_row(sheet, &mut |row| {
        if let Some(cell) = row.cells.first().filter(|cell| cell.column == 0) {
            chunks.push((row.number, see(&row, cell).shown().into_owned()));
        }
        Ok(if chunks.len() < MARK_CHUNKS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    chunks.sort();
    let chunks: Vec<String> = chunks.into_iter().map(|(_, chunk)| chunk).collect();
    Ok(Some(ReturnedBook::from_chunks(&chunks)))
}

/// Reads a sheet and writes its header and its rows as frames; what it came to (without the peak memory) is returned.
///
/// Rows go out while the sheet is read, typed by what its first rows hold. The types are those of all rows all the same:
/// where a later row shows that they are not, the rest is only looked at, and the fault brings the right ones along.
///
/// # Errors
/// When the sheet cannot be read; what was written before is then void.
pub(super) fn read_sheet(
    source: &mut Source,
    request: &ReadRequest,
    sheet: Option<&str>,
    header_row: Option<u32>,
    mut notes: Vec<String>,
    out: &mut (impl Write + Send),
) -> Result<ReadSummary, ReadFault> {
    let zone = Zone::new(&request.timezone)?;
    let returned = match marked(source)? {
        Some(Ok(book)) => Some(book),
        Some(Err(error)) => {
            notes.push(format!("{error}; the workbook is read like any other"));
            None
        }
        None => None,
    };
    let sheets = source.sheets();
    let chosen = choose(&sheets, sheet, returned.as_ref(), &mut notes)?;
    let name = sheets[chosen].name.clone();
    let part = returned.as_ref().and_then(|book| part_of(book, &name));
    let mut layout = layout::find(source, chosen, &name, header_row, part)?;
    notes.append(&mut layout.notes);
    if part.is_none()
        && let Some(described) = template::described(source)?
    {
        notes.extend(described.notes(&layout));
    }
    let table = Table::plan(source, chosen, &layout, request)?;
    let returned = part.is_some();
    let header = SheetHeader { sheet: name, returned, columns: table.columns.clone(), notes };
    send_json(out, frames::HEADER, &header)?;
    let schema = rows::schema(&table);
    let (read, written) = std::thread::scope(|scope| {
        let (batches, queue) = sync_channel(BATCHES_AHEAD);
        let writing = scope.spawn(|| rows::write(&schema, queue, out));
        let mut rows = Rows::new(table, &layout, zone, &request.limits, Arc::clone(&schema), batches);
        let read = source
            .each_row(chosen, &mut |row| rows.take(&row).map(|()| ControlFlow::Continue(())))
            .and_then(|facts| rows.finish(&facts));
        (read, writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    // Where the parent went away, reading fails for that reason too.
    written.and(read)
}

/// Writes a frame of JSON.
pub(super) fn send_json<T: serde::Serialize>(
    out: &mut impl Write,
    tag: u8,
    value: &T,
) -> Result<(), ReadFault> {
    let json = serde_json::to_vec(value).expect("what the child says holds only texts, numbers and lists");
    frames::write(out, tag, &json).map_err(pipe)
}

/// The parent went away: nobody will read this fault.
pub(super) fn pipe(error: std::io::Error) -> ReadFault {
    ReadFault::Protocol { detail: format!("its output cannot be written: {error}") }
}

fn choose(
    sheets: &[SheetInfo],
    wanted: Option<&str>,
    returned: Option<&ReturnedBook>,
    notes: &mut Vec<String>,
) -> Result<usize, ReadFault> {
    let is_mark = |sheet: &SheetInfo| returned.is_some() && sheet.name == MARK_SHEET;
    let mut visible = sheets.iter().enumerate().filter(|(_, sheet)| sheet.visible && !is_mark(sheet));
    let Some(wanted) = wanted else {
        let first = visible.next().map(|(index, _)| index);
        return first.ok_or_else(|| ReadFault::NoSheet {
            found: match sheets.iter().filter(|sheet| !is_mark(sheet)).count() {
                0 => "it has none at all".to_owned(),
                count => {
                    format!("it has {count} hidden ones: unhide the one to read, or name it in the sidecar")
                }
            },
        });
    };
    let same = |sheet: &SheetInfo| sheet.name.trim().to_lowercase() == wanted.trim().to_lowercase();
    if let Some(found) = sheets.iter().position(same) {
        return Ok(found);
    }
    let visible: Vec<usize> = visible.map(|(index, _)| index).collect();
    if let ([only], Some([_])) = (visible.as_slice(), returned.map(|book| book.parts.as_slice())) {
        notes.push(format!("sheet `{wanted}` is now called `{}`", sheets[*only].name));
        return Ok(*only);
    }
    let names = || sheets.iter().filter(|sheet| !is_mark(sheet)).map(|sheet| sheet.name.as_str());
    let mut found: Vec<String> = names().take(LISTED_SHEETS_MAX).map(|name| format!("`{name}`")).collect();
    if names().count() > LISTED_SHEETS_MAX {
        found.push("more".to_owned());
    }
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Err(ReadFault::SheetNotFound { sheet: wanted.to_owned(), found, hint: did_you_mean(wanted, names()) })
}

/// What a returned workbook says of one of its sheets; of its only one under any name.
fn part_of<'a>(book: &'a ReturnedBook, sheet: &str) -> Option<&'a ReturnedPart> {
    let same = |part: &&ReturnedPart| part.sheet.to_lowercase() == sheet.to_lowercase();
    book.parts.iter().find(same).or(match book.parts.as_slice() {
        [only] => Some(only),
        _ => None,
    })
}
