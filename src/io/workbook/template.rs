//! Workbooks that Dataverse makes ("Export to Excel", import templates): their hidden sheet says of which table and
//! columns they are.
//!
//! Its cell A1 is `table:hash:logicalname=Label&…`, names and labels percent-encoded; the first three columns are the
//! row's id, a checksum (`checksumLogicalName`) and when the row was changed. The rows below hold the labels of
//! choices, which the target tells as well. People build other tables over such a sheet, so it is believed only where
//! it agrees with the visible header (`workbooks.md`, "Real Dynamics workbooks found").

use std::collections::HashMap;
use std::ops::ControlFlow;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::fault::ReadFault;
use super::layout::{self, ColumnNames, Layout};
use super::seen::see;
use super::source::Source;

/// The hidden sheet's name.
const TEMPLATE_SHEET: &str = "hiddenSheet";
/// What the checksum is called among the columns' names; no entity has such a column.
const CHECKSUM_NAME: &str = "checksumLogicalName";
/// Columns that the hidden sheet can name; Excel holds 32,767 characters in a cell.
const COLUMNS_MAX: usize = 4_096;
/// Headers that a sentence lists.
const LISTED_HEADERS_MAX: usize = 5;

/// A workbook that Dataverse made, as its hidden sheet describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// The logical name of its table, `account`.
    pub table: String,
    /// The visible sheets whose header agrees with it.
    pub sheets: Vec<TemplateSheet>,
}

/// A sheet of such a workbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateSheet {
    /// The sheet's name.
    pub sheet: String,
    /// Whether it has the column with the ids of the records.
    pub has_ids: bool,
    /// Header, or column name where a header is repeated → logical name; an empty one is not to be sent.
    pub columns: Vec<(String, String)>,
}

/// What the hidden sheet says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    table: String,
    /// Logical name and label of each column, the row's id first.
    columns: Vec<(String, String)>,
}

/// How a header and the hidden sheet go together.
enum Agreement {
    /// They agree: header or column name → logical name.
    Yes { has_ids: bool, columns: Vec<(String, String)> },
    /// They do not: headers that the hidden sheet does not know.
    No(Vec<String>),
}

/// What a workbook's hidden sheet says, if it has one that Dataverse made.
///
/// # Errors
/// When the sheet is damaged or beyond a limit.
pub(super) fn described(source: &mut Source) -> Result<Option<Described>, ReadFault> {
    let hidden = |sheet: &super::request::SheetInfo| !sheet.visible && sheet.name == TEMPLATE_SHEET;
    let Some(sheet) = source.sheets().iter().position(hidden) else { return Ok(None) };
    let mut described = None;
    source.each_row(sheet, &mut |row| {
        if row.number == 1
            && let Some(cell) = row.cells.first().filter(|cell| cell.column == 0)
        {
            described = Described::read(&see(&row, cell).shown());
        }
        Ok(ControlFlow::Break(()))
    })?;
    Ok(described)
}

/// What a workbook's template comes to, sheet by sheet; `None` where it has none.
///
/// # Errors
/// When a sheet is damaged or beyond a limit.
pub(super) fn template(source: &mut Source) -> Result<Option<Template>, ReadFault> {
    let Some(described) = described(source)? else { return Ok(None) };
    let mut sheets = Vec::new();
    for (index, sheet) in source.sheets().into_iter().enumerate().filter(|(_, sheet)| sheet.visible) {
        let layout = match layout::find(source, index, &sheet.name, None, None) {
            Ok(layout) => layout,
            Err(ReadFault::NoHeader { .. } | ReadFault::SeveralTables { .. }) => continue,
            Err(fault) => return Err(fault),
        };
        if let Agreement::Yes { has_ids, columns } = described.agreement(&layout) {
            sheets.push(TemplateSheet { sheet: sheet.name, has_ids, columns });
        }
    }
    Ok(Some(Template { table: described.table, sheets }))
}

impl Described {
    fn read(text: &str) -> Option<Self> {
        let (table, rest) = text.trim().split_once(':')?;
        let (_, columns) = rest.split_once(':')?;
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let column = |pair: &str| {
            let (name, label) = pair.split_once('=')?;
            Some((decoded(name)?, decoded(label)?))
        };
        let columns: Vec<_> = columns.split('&').take(COLUMNS_MAX).map(column).collect::<Option<_>>()?;
        let named = is_name(table) && columns.iter().all(|(name, _)| is_name(name));
        named.then(|| Described { table: table.to_owned(), columns })
    }

    /// They agree where the sheet has the column of ids, or where all its headers are known. A repeated header means
    /// the column of that label in its turn.
    fn agreement(&self, layout: &Layout) -> Agreement {
        let mut names = ColumnNames::new();
        let mut seen: HashMap<String, usize> = HashMap::new();
        let (mut columns, mut unknown) = (Vec::new(), Vec::new());
        let mut has_ids = false;
        for (column, header) in &layout.headers {
            let name = names.name(*column, header);
            let turn = seen.entry(folded(header)).or_default();
            let mut of_label =
                self.columns.iter().enumerate().filter(|(_, (_, label))| folded(label) == folded(header));
            match of_label.nth(*turn) {
                Some((place, (logical, _))) => {
                    has_ids |= place == 0;
                    let key = if *turn == 0 { header.clone() } else { name };
                    columns.push((key, self.sent_as(place, logical)));
                }
                None => unknown.push(header.clone()),
            }
            *turn += 1;
        }
        let known = columns.iter().any(|(_, logical)| !logical.is_empty());
        match known && (has_ids || unknown.is_empty()) {
            true => Agreement::Yes { has_ids, columns },
            false => Agreement::No(unknown),
        }
    }

    /// The attribute that a column is written to: none for the checksum, the time of the change that stands beside it,
    /// and columns of other tables (`contactid.emailaddress1`).
    fn sent_as(&self, place: usize, logical: &str) -> String {
        let beside_checksum = place == 2 && self.columns[1].0 == CHECKSUM_NAME;
        match logical == CHECKSUM_NAME || beside_checksum || logical.contains('.') {
            true => String::new(),
            false => logical.to_owned(),
        }
    }

    /// What was decided about a sheet, in sentences.
    pub fn notes(&self, layout: &Layout) -> Vec<String> {
        let table = &self.table;
        match self.agreement(layout) {
            Agreement::Yes { columns, .. } => {
                let mut notes = vec![format!("the workbook was made by Dynamics for the table `{table}`")];
                let left_out: Vec<String> = columns
                    .iter()
                    .filter(|(_, logical)| logical.is_empty())
                    .map(|(header, _)| format!("`{header}`"))
                    .collect();
                if !left_out.is_empty() {
                    notes.push(format!(
                        "not sent, as they are no columns of `{table}`: {}",
                        left_out.join(", ")
                    ));
                }
                notes
            }
            Agreement::No(unknown) => {
                let mut listed: Vec<String> =
                    unknown.iter().take(LISTED_HEADERS_MAX).map(|header| format!("`{header}`")).collect();
                if unknown.len() > LISTED_HEADERS_MAX {
                    listed.push("more".to_owned());
                }
                vec![format!(
                    "the hidden sheet `{TEMPLATE_SHEET}` describes the table `{table}`, which has no column {}; it is \
                     not believed, and the workbook is read like any other",
                    listed.join(", ")
                )]
            }
        }
    }
}

fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dataverse_writes_is_taken_for_a_description() {
        let read = Described::read(
            "account:q+/w==:accountid=%28Do%20Not%20Modify%29%20Account&checksumLogicalName=c&modifiedon=m&name=A%26B%3D%C3%A4",
        )
        .unwrap();
        assert_eq!((read.table.as_str(), read.columns.len()), ("account", 4));
        assert_eq!(read.columns[0], ("accountid".to_owned(), "(Do Not Modify) Account".to_owned()));
        assert_eq!(read.columns[3].1, "A&B=ä");
        for other in [
            "",
            "account",
            "account:hash",
            "account:hash:",
            "account:hash:name",
            "a b:c:d=e",
            "a:b:c d=e",
            "a:b:c=%FF",
        ] {
            assert_eq!(Described::read(other), None, "{other}");
        }
    }
}
