//! Reads one sheet: finds its table, types its columns from all their cells, and sends its rows in batches.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;

use super::columns::{Profile, Zone};
use super::fault::ReadFault;
use super::frames;
use super::layout::{self, ColumnNames, Layout};
use super::mark::{MARK_CHUNKS_MAX, MARK_SHEET, MarkError, ReturnedBook, ReturnedPart};
use super::request::{ReadLimits, ReadRequest, ReadSummary, SheetHeader, SheetInfo};
use super::rows::Rows;
use super::seen::see;
use super::source::Source;
use crate::domain::near::did_you_mean;
use crate::domain::row::StagedColumn;
use crate::domain::table::column_identifier;

/// Sheet names that a sentence lists.
const LISTED_SHEETS_MAX: usize = 20;

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

/// Reads a sheet and writes its header, its rows and its summary (without the peak memory) as frames.
///
/// # Errors
/// When the sheet cannot be read; what was written before is then void.
pub(super) fn read_sheet(
    source: &mut Source,
    request: &ReadRequest,
    sheet: Option<&str>,
    header_row: Option<u32>,
    mut notes: Vec<String>,
    out: &mut impl Write,
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
    let table = Table::plan(source, chosen, &layout, request)?;
    let header = SheetHeader { sheet: name, columns: table.columns.clone(), notes };
    send_json(out, frames::HEADER, &header)?;
    let mut rows = Rows::new(table, &layout, zone, &request.limits, out)?;
    let facts = source.each_row(chosen, &mut |row| rows.take(&row).map(|()| ControlFlow::Continue(())))?;
    rows.finish(&facts)
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

/// The columns that will be read, and where they stand.
pub(super) struct Table {
    /// The columns, from left to right.
    pub columns: Vec<StagedColumn>,
    /// Column index on the sheet of each.
    pub places: Vec<u32>,
    /// The names given so far.
    pub names: ColumnNames,
}

impl Table {
    /// Names and types the columns: those with a header, and those without that hold something.
    ///
    /// Where the request has a type for every header one look at the sheet is saved; what stands beside the table
    /// is then rescued row by row.
    fn plan(
        source: &mut Source,
        sheet: usize,
        layout: &Layout,
        request: &ReadRequest,
    ) -> Result<Self, ReadFault> {
        let hint = |header: &str, name: &str| {
            let hints = &request.hints;
            hints
                .get(&name.to_lowercase())
                .or_else(|| hints.get(&column_identifier(header).to_lowercase()))
                .copied()
        };
        let all_known = {
            let mut names = ColumnNames::new();
            layout.headers.iter().all(|(column, text)| hint(text, &names.name(*column, text)).is_some())
        };
        let profiles = if all_known { Vec::new() } else { profile(source, sheet, layout, &request.limits)? };
        let mut headers: HashMap<u32, &str> =
            layout.headers.iter().map(|(c, text)| (*c, text.as_str())).collect();
        let last = layout.headers.last().map_or(0, |(column, _)| column + 1).max(profiles.len() as u32);
        let mut table = Table { columns: Vec::new(), places: Vec::new(), names: ColumnNames::new() };
        for column in 0..last {
            let profile = profiles.get(column as usize).copied().unwrap_or_default();
            let header = headers.remove(&column);
            if header.is_none() && !profile.used {
                continue;
            }
            let header = header.unwrap_or_default().to_owned();
            let name = table.names.name(column, &header);
            let kind = hint(&header, &name).unwrap_or_else(|| profile.kind());
            table.columns.push(StagedColumn { name, header, kind });
            table.places.push(column);
        }
        let (count, limit) = (table.columns.len() as u64, request.limits.columns_max);
        if count > limit {
            return Err(ReadFault::too_large("columns", count, limit, "columns_max"));
        }
        Ok(table)
    }
}

/// Looks at every cell below the header.
fn profile(
    source: &mut Source,
    sheet: usize,
    layout: &Layout,
    limits: &ReadLimits,
) -> Result<Vec<Profile>, ReadFault> {
    let mut profiles: Vec<Profile> = Vec::new();
    let mut rows = 0;
    source.each_row(sheet, &mut |row| {
        if row.number <= layout.header_row || row.is_blank() {
            return Ok(ControlFlow::Continue(()));
        }
        rows += 1;
        if rows > limits.rows_max {
            return Err(ReadFault::too_large("rows", rows, limits.rows_max, "rows_max"));
        }
        for cell in row.cells {
            let index = cell.column as usize;
            if profiles.len() <= index {
                profiles.resize(index + 1, Profile::default());
            }
            profiles[index].add(&see(&row, cell));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for column in layout.id_column.iter().chain(&layout.own_columns) {
        if let Some(profile) = profiles.get_mut(*column as usize) {
            *profile = Profile::default();
        }
    }
    Ok(profiles)
}
