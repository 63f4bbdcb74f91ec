//! The reader of workbooks in its real child process, called as the daemon calls it.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use ddu::io::workbook::{
    ReadFault, ReadLimits, ReadRequest, ReadSummary, ReadWhat, Reading, SheetHeader, WorkbookProbe,
};
use deltalake::arrow::array::{Array, RecordBatch};
use deltalake::arrow::util::display::array_value_to_string;

/// The program, which is its own child.
pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ddu"))
}

/// A sheet as it came out of the child.
pub struct Sheet {
    pub header: SheetHeader,
    pub batches: Vec<RecordBatch>,
    pub summary: ReadSummary,
}

/// A request for the first sheet, that a test changes as it needs.
pub fn request(file_name: &str) -> ReadRequest {
    let what = ReadWhat::Sheet { sheet: None, header_row: None };
    ReadRequest::plain(file_name, what, std::env::temp_dir(), ReadLimits::default())
}

/// These bytes as an open file without a name.
pub fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Reads a sheet to its end; once more where its later cells are of other types than the first ones.
pub async fn read(bytes: &[u8], request: &ReadRequest) -> Result<Sheet, ReadFault> {
    match read_once(bytes, request).await {
        Err(ReadFault::Retyped { kinds }) => {
            read_once(bytes, &ReadRequest { kinds: Some(kinds), ..request.clone() }).await
        }
        read => read,
    }
}

async fn read_once(bytes: &[u8], request: &ReadRequest) -> Result<Sheet, ReadFault> {
    let (mut reading, header) = Reading::start(program(), file_of(bytes), request).await?;
    let mut batches = Vec::new();
    while let Some(batch) = reading.next().await? {
        batches.push(batch);
    }
    Ok(Sheet { header, batches, summary: reading.summary().unwrap().clone() })
}

/// Says what a workbook is.
pub async fn probe(bytes: &[u8], request: &ReadRequest) -> Result<WorkbookProbe, ReadFault> {
    ddu::io::workbook::probe(program(), file_of(bytes), request).await
}

impl Sheet {
    /// A column's values as Arrow shows them; `∅` for null.
    pub fn values(&self, column: &str) -> Vec<String> {
        let of_batch = |batch: &RecordBatch| {
            let array = batch.column_by_name(column).unwrap_or_else(|| panic!("no column {column}")).clone();
            let show = move |row| match array.is_null(row) {
                true => "∅".to_owned(),
                false => array_value_to_string(&array, row).unwrap(),
            };
            (0..batch.num_rows()).map(show).collect::<Vec<_>>()
        };
        self.batches.iter().flat_map(of_batch).collect()
    }

    /// What the sender is told, in order.
    pub fn notes(&self) -> Vec<&str> {
        self.header.notes.iter().chain(&self.summary.notes).map(String::as_str).collect()
    }
}
