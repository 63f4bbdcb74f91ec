//! The child's body over real workbooks, in process.

#![allow(clippy::unwrap_used)]

mod corpus;
mod excel_tables;
mod foreign;
mod formats;
mod hostile;
mod parent;
mod returned;
mod rules;
mod tables;
mod templates;
mod walls;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write};
use std::sync::Arc;

use arrow_ipc::reader::StreamReader;
use deltalake::arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use deltalake::arrow::util::display::array_value_to_string;

use super::child::answer;
use super::frames;
use super::request::{ReadLimits, ReadRequest, ReadSummary, ReadWhat, SheetHeader, WorkbookProbe};
use super::{ReadFault, mark};
use crate::domain::value::StageType;

/// A sheet as it was read.
pub(super) struct Read {
    pub header: SheetHeader,
    pub batches: Vec<RecordBatch>,
    pub summary: ReadSummary,
}

/// A request for the first sheet, that a test changes as it needs.
pub(super) fn request(file_name: &str) -> ReadRequest {
    let what = ReadWhat::Sheet { sheet: None, header_row: None };
    ReadRequest::plain(file_name, what, std::env::temp_dir(), ReadLimits::default())
}

pub(super) fn hints(hints: &[(&str, StageType)]) -> BTreeMap<String, StageType> {
    hints.iter().map(|(name, kind)| ((*name).to_owned(), *kind)).collect()
}

pub(super) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// The frames that the child writes, as tags and payloads.
pub(super) fn frames_of(file: File, request: &ReadRequest) -> Result<Vec<(u8, Vec<u8>)>, ReadFault> {
    let mut out = Vec::new();
    let scratch = Some(tempfile::tempfile().unwrap());
    answer(file, scratch, request, &mut out)?;
    let mut frames = Vec::new();
    let mut rest = out.as_slice();
    while let [tag, a, b, c, d, after @ ..] = rest {
        let (payload, after) = after.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize);
        frames.push((*tag, payload.to_vec()));
        rest = after;
    }
    Ok(frames)
}

pub(super) fn read_file(file: File, request: &ReadRequest) -> Result<Read, ReadFault> {
    let again = file.try_clone().unwrap();
    let frames = match frames_of(file, request) {
        Err(ReadFault::Retyped { kinds }) => {
            frames_of(again, &ReadRequest { kinds: Some(kinds), ..request.clone() })?
        }
        frames => frames?,
    };
    let of =
        |wanted| frames.iter().filter(move |(tag, _)| *tag == wanted).map(|(_, payload)| payload.as_slice());
    let stream: Vec<u8> = of(frames::ROWS).flatten().copied().collect();
    let batches = StreamReader::try_new(Cursor::new(stream), None).unwrap().map(Result::unwrap).collect();
    Ok(Read {
        header: serde_json::from_slice(of(frames::HEADER).next().unwrap()).unwrap(),
        batches,
        summary: serde_json::from_slice(of(frames::SUMMARY).next().unwrap()).unwrap(),
    })
}

pub(super) fn read(bytes: &[u8], request: &ReadRequest) -> Result<Read, ReadFault> {
    read_file(file_of(bytes), request)
}

pub(super) fn probe(bytes: &[u8], file_name: &str) -> Result<WorkbookProbe, ReadFault> {
    let request = ReadRequest { what: ReadWhat::Probe, ..request(file_name) };
    let frames = frames_of(file_of(bytes), &request)?;
    assert_eq!(frames.len(), 1);
    Ok(serde_json::from_slice(&frames[0].1).unwrap())
}

impl Read {
    /// The whole column, nulls as `None`, everything else as Arrow shows it.
    pub fn column(&self, name: &str) -> Vec<Option<String>> {
        let show =
            |array: &ArrayRef, row| (!array.is_null(row)).then(|| array_value_to_string(array, row).unwrap());
        self.batches
            .iter()
            .flat_map(|batch| {
                let array = Arc::clone(batch.column_by_name(name).unwrap());
                (0..batch.num_rows()).map(move |row| show(&array, row)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// The column's values; `∅` for null.
    pub fn values(&self, name: &str) -> Vec<String> {
        self.column(name).into_iter().map(|value| value.unwrap_or_else(|| "∅".to_owned())).collect()
    }

    /// The values of `_ddu_rescued` as JSON.
    pub fn rescued(&self) -> Vec<serde_json::Value> {
        self.batches
            .iter()
            .flat_map(|batch| {
                let array = batch.column_by_name("_ddu_rescued").unwrap();
                let array = array.as_any().downcast_ref::<StringArray>().unwrap();
                let parse = |json: Option<&str>| {
                    json.map_or(serde_json::Value::Null, |j| serde_json::from_str(j).unwrap())
                };
                array.iter().map(parse).collect::<Vec<_>>()
            })
            .collect()
    }

    pub fn kinds(&self) -> Vec<(&str, StageType)> {
        self.header.columns.iter().map(|column| (column.name.as_str(), column.kind)).collect()
    }

    pub fn notes(&self) -> Vec<&str> {
        self.header.notes.iter().chain(&self.summary.notes).map(String::as_str).collect()
    }
}

/// A workbook made by hand: the parts that every xlsx has, and one sheet with this inside of `<worksheet>`.
pub(super) fn xlsx_of(sheet: &str) -> Vec<u8> {
    xlsx_with(sheet, &[])
}

/// As [`xlsx_of`], with parts added or replaced.
pub(super) fn xlsx_with(sheet: &str, parts: &[(&str, &str)]) -> Vec<u8> {
    let types = "<Types><Override PartName=\"/xl/workbook.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/></Types>";
    let root = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>";
    let workbook = "<workbook><sheets><sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>";
    let rels = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
        <Relationship Id=\"r2\" Type=\"http://x/sharedStrings\" Target=\"sharedStrings.xml\"/>\
        <Relationship Id=\"r3\" Type=\"http://x/styles\" Target=\"styles.xml\"/></Relationships>";
    let sheet = format!("<worksheet>{sheet}</worksheet>");
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        ("[Content_Types].xml", types),
        ("_rels/.rels", root),
        ("xl/workbook.xml", workbook),
        ("xl/_rels/workbook.xml.rels", rels),
        ("xl/worksheets/sheet1.xml", sheet.as_str()),
    ]);
    all.extend(parts.iter().copied());
    zip_of(&all)
}

pub(super) fn zip_of(parts: &BTreeMap<&str, &str>) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in parts {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// One inline cell per text in row 1, from column A.
pub(super) fn header_row(texts: &[&str]) -> String {
    let cells: String = texts.iter().map(|t| format!("<c t=\"inlineStr\"><is><t>{t}</t></is></c>")).collect();
    format!("<row r=\"1\">{cells}</row>")
}
