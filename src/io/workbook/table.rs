//! The columns that are read off a sheet: where they stand, what they are called, and which type holds all their cells.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::columns::Profile;
use super::fault::ReadFault;
use super::layout::{ColumnNames, Layout};
use super::request::ReadRequest;
use super::seen::see;
use super::source::Source;
use crate::domain::row::StagedColumn;
use crate::domain::table::column_identifier;

/// Rows that a first look takes types from. Of sheets that have no more, it sees all cells.
const SAMPLE_ROWS: usize = 2_000;

/// The columns that are read, from left to right.
pub(super) struct Table {
    /// As they are staged.
    pub columns: Vec<StagedColumn>,
    /// Column index on the sheet of each.
    pub places: Vec<u32>,
    /// Whether the type of each was given, whatever its cells are.
    pub given: Vec<bool>,
    /// What is known of the sheet's columns before they are read.
    pub profiles: HashMap<u32, Profile>,
}

impl Table {
    /// Names and types the columns: those with a header, and those without that hold something.
    ///
    /// # Errors
    /// When the sheet is damaged, or has more columns than a table may.
    pub fn plan(
        source: &mut Source,
        sheet: usize,
        layout: &Layout,
        request: &ReadRequest,
    ) -> Result<Self, ReadFault> {
        let profiles = match &request.kinds {
            Some(kinds) => kinds.iter().map(|(place, kind)| (*place, Profile::of(*kind))).collect(),
            None => sample(source, sheet, layout)?,
        };
        let hint = |header: &str, name: &str| {
            let hints = &request.hints;
            hints
                .get(&name.to_lowercase())
                .or_else(|| hints.get(&column_identifier(header).to_lowercase()))
                .copied()
        };
        let mut headers: HashMap<u32, &str> =
            layout.headers.iter().map(|(c, text)| (*c, text.as_str())).collect();
        let mut places: Vec<u32> = profiles.keys().chain(headers.keys()).copied().collect();
        places.sort_unstable();
        places.dedup();
        let (count, limit) = (places.len() as u64, request.limits.columns_max);
        if count > limit {
            return Err(ReadFault::too_large("columns", count, limit, "columns_max"));
        }
        let (mut columns, mut given, mut names) = (Vec::new(), Vec::new(), ColumnNames::new());
        for place in &places {
            let header = headers.remove(place).unwrap_or_default().to_owned();
            let name = names.name(*place, &header);
            let hint = hint(&header, &name);
            given.push(hint.is_some());
            let kind = hint.unwrap_or_else(|| profiles.get(place).copied().unwrap_or_default().kind());
            columns.push(StagedColumn { name, header, kind });
        }
        Ok(Table { columns, places, given, profiles })
    }
}

/// What the first rows below the header hold.
fn sample(source: &mut Source, sheet: usize, layout: &Layout) -> Result<HashMap<u32, Profile>, ReadFault> {
    let mut profiles: HashMap<u32, Profile> = HashMap::new();
    let mut rows = 0;
    source.each_row(sheet, &mut |row| {
        if row.number > layout.header_row && layout.holds_row(row.number) {
            for cell in row.cells.iter().filter(|cell| layout.holds_column(cell.column)) {
                profiles.entry(cell.column).or_default().add(&see(&row, cell));
            }
            rows += 1;
        }
        Ok(if rows < SAMPLE_ROWS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    let own = |column: &u32| layout.own_columns.contains(column) || layout.id_column == Some(*column);
    profiles.retain(|column, profile| profile.is_used() && !own(column));
    Ok(profiles)
}
