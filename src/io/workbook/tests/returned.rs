//! Workbooks that DDU gave back, as people change them.

use rust_xlsxwriter::Workbook;

use super::mark::{MARK_SHEET, ReturnedBook, ReturnedPart};
use super::*;
use crate::domain::settings::LoadSettings;
use crate::domain::table::TableName;

const IDS: [&str; 2] = ["0b6f3c1e-0000-5000-8000-000000000001", "0b6f3c1e-0000-5000-8000-000000000002"];

fn book() -> ReturnedBook {
    let settings = LoadSettings::plain(TableName::from_stem("customers").unwrap(), "account");
    let part = ReturnedPart {
        sheet: "customers".into(),
        header_row: 1,
        id_header: "_ddu_row_id".into(),
        own_headers: ["Row", "What is wrong", "What to do", "_ddu_row_id"].map(String::from).into(),
        settings,
    };
    ReturnedBook { ddu: 1, job: "j".into(), workbook: "k".repeat(40_000), parts: vec![part] }
}

/// A returned workbook with these rows, its header in row `top` + 1, its visible sheet called `name`.
fn returned(name: &str, top: u32, rows: &[[&str; 6]], chunks: &[String]) -> Vec<u8> {
    let mut workbook = Workbook::new();
    let sheet = workbook.add_worksheet().set_name(name).unwrap();
    let headers = ["Row", "What is wrong", "What to do", "Row", "Name", "_ddu_row_id"];
    for (at, cells) in (top..).zip(std::iter::once(&headers).chain(rows)) {
        for (column, cell) in (0..).zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(at, column, *cell).unwrap();
        }
    }
    sheet.set_column_hidden(5).unwrap();
    let mark = workbook.add_worksheet().set_name(MARK_SHEET).unwrap().set_very_hidden(true);
    for (row, chunk) in (0..).zip(chunks) {
        mark.write_string(row, 0, chunk).unwrap();
    }
    workbook.save_to_buffer().unwrap()
}

/// A workbook that DDU gave back, without a row.
pub(super) fn returned_book() -> Vec<u8> {
    returned("customers", 0, &[], &book().to_chunks())
}

#[test]
fn a_returned_workbook_says_what_it_is() {
    let book = book();
    let probe = probe(&returned("customers", 0, &[], &book.to_chunks()), "x.xlsx").unwrap();
    assert_eq!(probe.returned, Some(book));
    assert_eq!(probe.sheets.len(), 1);
}

#[test]
fn rows_keep_their_ids_through_sorting_copying_deleting_and_inserted_rows() {
    let rows = [
        ["7", "too long", "shorten", "b", "Bert", IDS[1]],
        ["11", "emptied", "", "", "", IDS[1]],
        ["5", "", "", "a", "Anna", IDS[0]],
        ["5", "", "", "a", "Anna copied", IDS[0]],
        ["", "", "", "c", "new", ""],
        ["9", "", "", "d", "changed", "no id"],
    ];
    let read = read(&returned("customers", 3, &rows, &book().to_chunks()), &request("x.xlsx")).unwrap();
    assert_eq!(read.kinds(), [("Row", StageType::Text), ("Name", StageType::Text)]);
    assert_eq!(read.values("Row"), ["b", "a", "a", "c", "d"]);
    assert_eq!(read.values("_ddu_row_id"), [IDS[1], IDS[0], "∅", "∅", "∅"]);
    assert_eq!(
        read.notes(),
        [
            "header found in row 4",
            "1 blank row skipped",
            "1 hidden row id was changed; its row is read as a new one",
            "1 row was copied; the copy is read as a new one",
        ]
    );
}

#[test]
fn a_renamed_sheet_is_still_the_one_that_was_given_back() {
    let bytes = returned("Tabelle1", 0, &[["5", "", "", "a", "Anna", IDS[0]]], &book().to_chunks());
    let what = ReadWhat::Sheet { sheet: Some("customers".to_owned()), header_row: None };
    let read = read(&bytes, &ReadRequest { what, ..request("x.xlsx") }).unwrap();
    assert_eq!(read.values("_ddu_row_id"), IDS[..1]);
    assert_eq!(read.notes(), ["sheet `customers` is now called `Tabelle1`"]);
}

#[test]
fn a_mark_that_was_changed_makes_it_an_ordinary_workbook() {
    let rows = [["5", "", "", "a", "Anna", IDS[0]]];
    let bytes = returned("customers", 0, &rows, &["{\"ddu\":1".to_owned()]);
    assert!(probe(&bytes, "x.xlsx").unwrap().returned.is_none());
    let read = read(&bytes, &request("x.xlsx")).unwrap();
    assert_eq!(read.values("_ddu_row_id"), ["∅"]);
    assert_eq!(read.values("ddu_row_id"), IDS[..1]);
    assert!(read.notes()[0].contains("was changed"), "{:?}", read.notes());
}
