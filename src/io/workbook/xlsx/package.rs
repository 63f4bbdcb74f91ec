//! The parts of an xlsx container: which sheets there are and where their cells, strings and styles stand.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::ControlFlow;

use quick_xml::events::Event;
use zip::ZipArchive;

use super::scan::Scanner;
use super::styles::{Shape, read_styles};
use super::text::read_strings;
use super::unpack::unpacked;
use super::{cells, tables, xml};
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::request::{ReadLimits, SheetInfo};
use crate::io::workbook::row::Row;
use crate::io::workbook::source::SheetFacts;
use crate::io::workbook::strings::Strings;
use crate::io::workbook::tables::Tables;

/// Sheets that a workbook may list. Excel is bound by memory only; a thousand is beyond what people make.
const SHEETS_MAX: usize = 1_000;
/// Excel tables of one sheet that are looked at; the largest of 300 real workbooks has 129.
const TABLES_MAX: usize = 1_000;

/// An open xlsx workbook.
pub(in crate::io::workbook) struct Book {
    zip: ZipArchive<BufReader<File>>,
    /// Part names in lower case, slashes straightened → index in the archive: writers differ in both.
    parts: HashMap<String, usize>,
    sheets: Vec<(SheetInfo, String)>,
    strings_part: Option<String>,
    styles_part: Option<String>,
    from_1904: bool,
    chars_max: u64,
    /// Where strings may go that memory is not to hold.
    scratch: Option<File>,
    /// Strings and styles, read with the first sheet.
    loaded: Option<(Strings, Vec<Shape>)>,
}

/// A relationship of one part to another.
struct Relation {
    id: String,
    /// The last word of its type: `worksheet`, `sharedStrings`. The rest differs between strict and transitional.
    kind: String,
    target: String,
}

impl Book {
    /// Opens the container and reads the list of sheets. Strings that memory is not to hold will go into `scratch`.
    ///
    /// # Errors
    /// When the container or the list is damaged.
    pub fn open(file: File, scratch: Option<File>, limits: &ReadLimits) -> Result<Self, ReadFault> {
        let zip = ZipArchive::new(BufReader::new(file)).map_err(broken_zip)?;
        let parts = (0..zip.len())
            .filter_map(|index| Some((part_key(&zip.name_for_index(index)?.ok()?), index)))
            .collect();
        let mut book = Book {
            zip,
            parts,
            sheets: Vec::new(),
            strings_part: None,
            styles_part: None,
            from_1904: false,
            chars_max: limits.cell_chars_max,
            scratch,
            loaded: None,
        };
        let workbook = book
            .relations("")?
            .into_iter()
            .find(|relation| relation.kind == "officeDocument")
            .map_or_else(|| "xl/workbook.xml".to_owned(), |relation| relation.target);
        book.read_workbook(&workbook)?;
        Ok(book)
    }

    /// The worksheets, in the order of their tabs.
    pub fn sheets(&self) -> impl Iterator<Item = &SheetInfo> {
        self.sheets.iter().map(|(info, _)| info)
    }

    /// Visits the rows of a sheet in the order of the file, until it ends or the visitor has enough.
    ///
    /// # Errors
    /// When a part is damaged or beyond a limit, or whatever the visitor returns.
    pub fn each_row(
        &mut self,
        sheet: usize,
        visit: &mut dyn FnMut(Row<'_>) -> Result<ControlFlow<()>, ReadFault>,
    ) -> Result<SheetFacts, ReadFault> {
        if self.loaded.is_none() {
            self.loaded = Some(self.load()?);
        }
        let part = self.sheets[sheet].1.clone();
        let index = part_index(&self.parts, &part)?;
        let (strings, shapes) = self.loaded.as_mut().expect("loaded just above");
        let context =
            cells::Context { strings, shapes, from_1904: self.from_1904, chars_max: self.chars_max };
        unpacked(&mut self.zip, index, |source| {
            cells::each_row(&mut Scanner::new(&part, source), context, visit)
        })
    }

    /// The Excel tables of a sheet. One whose description is damaged is not used, as Excel drops it too; its cells are
    /// read like any other.
    ///
    /// # Errors
    /// When the list of the sheet's parts is damaged.
    pub fn tables(&mut self, sheet: usize) -> Result<Tables, ReadFault> {
        let part = self.sheets[sheet].1.clone();
        let mut found = Tables::default();
        for relation in self.relations(&part)?.into_iter().filter(|relation| relation.kind == "table") {
            if found.tables.len() + found.faults.len() == TABLES_MAX {
                found.faults.push(format!("only {TABLES_MAX} Excel tables of the sheet were looked at"));
                break;
            }
            let part = relation.target;
            let read = open_part(&mut self.zip, &self.parts, &part)
                .and_then(|opened| tables::read_table(&part, &mut xml::reader(BufReader::new(opened))));
            match read {
                Ok(Ok(table)) => found.tables.push(table),
                Ok(Err(why)) => found.faults.push(why),
                Err(fault @ ReadFault::Disk { .. }) => return Err(fault),
                Err(_) => {
                    found.faults.push(format!("an Excel table was not used: its part `{part}` is damaged"));
                }
            }
        }
        Ok(found)
    }

    fn load(&mut self) -> Result<(Strings, Vec<Shape>), ReadFault> {
        let mut strings = Strings::new(self.scratch.take());
        if let Some(part) = &self.strings_part {
            let index = part_index(&self.parts, part)?;
            unpacked(&mut self.zip, index, |source| {
                read_strings(&mut Scanner::new(part, source), self.chars_max, &mut strings)
            })?;
        }
        let shapes = match self.styles_part.clone() {
            Some(part) => {
                let opened = open_part(&mut self.zip, &self.parts, &part)?;
                read_styles(&part, &mut xml::reader(BufReader::new(opened)))?
            }
            None => Vec::new(),
        };
        Ok((strings, shapes))
    }

    fn read_workbook(&mut self, workbook: &str) -> Result<(), ReadFault> {
        let relations = self.relations(workbook)?;
        let of_kind = |kind: &str| {
            relations.iter().find(|relation| relation.kind == kind).map(|relation| relation.target.clone())
        };
        let exists = |part: &String| self.parts.contains_key(&part_key(part));
        self.strings_part = of_kind("sharedStrings").filter(exists);
        self.styles_part = of_kind("styles").filter(exists);
        let mut reader = xml::reader(BufReader::new(open_part(&mut self.zip, &self.parts, workbook)?));
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(workbook, e))? {
                Event::Start(element) => match element.local_name().as_ref() {
                    // An extension of Excel 2013 has an element of the same name, without the date system.
                    "workbookPr" => self.from_1904 |= xml::is_true(xml::attribute(&element, "date1904")),
                    "sheet" => {
                        let id = xml::attribute(&element, "id").unwrap_or_default();
                        let sheet = relations.iter().find(|relation| relation.id == id);
                        let Some(sheet) = sheet.filter(|relation| relation.kind == "worksheet") else {
                            continue;
                        };
                        if self.sheets.len() == SHEETS_MAX {
                            return Err(ReadFault::BeyondBounds {
                                detail: format!("it has more than {SHEETS_MAX} sheets; split it"),
                            });
                        }
                        let name = xml::attribute(&element, "name").unwrap_or_default().into_owned();
                        let state = xml::attribute(&element, "state");
                        let visible = !matches!(state.as_deref(), Some("hidden" | "veryHidden"));
                        self.sheets.push((SheetInfo { name, visible }, sheet.target.clone()));
                    }
                    _ => {}
                },
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    /// The relationships of a part; of the whole package for the part "".
    fn relations(&mut self, part: &str) -> Result<Vec<Relation>, ReadFault> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let rels = format!("{folder}/_rels/{file}.rels");
        if !self.parts.contains_key(&part_key(&rels)) {
            return Ok(Vec::new());
        }
        let mut reader = xml::reader(BufReader::new(open_part(&mut self.zip, &self.parts, &rels)?));
        let mut relations = Vec::new();
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(&rels, e))? {
                Event::Start(element) if element.local_name().as_ref() == "Relationship" => {
                    let value = |name| xml::attribute(&element, name).unwrap_or_default().into_owned();
                    if value("TargetMode") == "External" {
                        continue;
                    }
                    let kind = value("Type").rsplit('/').next().unwrap_or_default().to_owned();
                    relations.push(Relation {
                        id: value("Id"),
                        kind,
                        target: resolved(folder, &value("Target")),
                    });
                }
                Event::Eof => return Ok(relations),
                _ => {}
            }
        }
    }
}

fn open_part<'a>(
    zip: &'a mut ZipArchive<BufReader<File>>,
    parts: &HashMap<String, usize>,
    part: &str,
) -> Result<impl Read + use<'a>, ReadFault> {
    zip.by_index(part_index(parts, part)?).map_err(broken_zip)
}

/// Where a part stands in the container.
fn part_index(parts: &HashMap<String, usize>, part: &str) -> Result<usize, ReadFault> {
    let found = parts.get(&part_key(part)).copied();
    found.ok_or_else(|| ReadFault::damaged(format!("its part `{part}` is missing")))
}

/// A part's name without the ways in which writers differ.
fn part_key(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches('/').to_lowercase()
}

/// A relationship's target as a name from the root of the package.
fn resolved(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    if let Some(absolute) = target.strip_prefix('/') {
        return absolute.to_owned();
    }
    let mut steps: Vec<&str> = folder.split('/').filter(|step| !step.is_empty()).collect();
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps.join("/")
}

/// A container's error, as the sender reads it.
pub(in crate::io::workbook) fn broken_zip(error: zip::result::ZipError) -> ReadFault {
    match error {
        zip::result::ZipError::Io(error) => error.into(),
        other => ReadFault::damaged(format!("its container cannot be read ({other})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_wherever_a_writer_counts_them_from() {
        assert_eq!(resolved("xl", "worksheets/sheet1.xml"), "xl/worksheets/sheet1.xml");
        assert_eq!(resolved("xl", "/xl/worksheets/sheet1.xml"), "xl/worksheets/sheet1.xml");
        assert_eq!(resolved("xl/worksheets", "..\\tables\\table1.xml"), "xl/tables/table1.xml");
        assert_eq!(part_key("/XL\\Workbook.xml"), "xl/workbook.xml");
    }
}
