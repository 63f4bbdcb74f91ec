//! The rules of the README's "What a workbook may look like", one test a row and named after it.
//!
//! `tests/suite/docs.rs` holds the names against the table. Rules about what the target takes are in
//! `tests/suite/rules.rs`, where there is a target.

use rust_xlsxwriter::{Format, Formula, Workbook};

use super::*;

/// The workbook as it was read with nothing said about it.
fn read_plain(book: &mut Workbook) -> Read {
    read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap()
}

/// A sheet with this header and these rows of texts.
fn put(sheet: &mut rust_xlsxwriter::Worksheet, top: u32, rows: &[&[&str]]) {
    for (row, cells) in (top..).zip(rows) {
        for (column, cell) in (0..).zip(*cells).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(row, column, *cell).unwrap();
        }
    }
}

#[test]
fn rule_sheet() {
    // Hidden, very hidden, visible, visible: the third is taken, and any by its name, whatever its case.
    let mut book = Workbook::new();
    for name in ["Lists", "Secret", "Customers", "Orders"] {
        put(book.add_worksheet().set_name(name).unwrap(), 0, &[&["Of", "B"], &[name, "x"]]);
    }
    book.worksheet_from_index(0).unwrap().set_hidden(true);
    book.worksheet_from_index(1).unwrap().set_very_hidden(true);
    book.worksheet_from_index(2).unwrap().set_active(true);
    let bytes = book.save_to_buffer().unwrap();
    let of = |sheet: Option<&str>| {
        let what = ReadWhat::Sheet { sheet: sheet.map(str::to_owned), header_row: None };
        read(&bytes, &ReadRequest { what, ..request("a.xlsx") }).unwrap().values("Of")
    };
    assert_eq!(of(None), ["Customers"]);
    assert_eq!(of(Some("orders")), ["Orders"]);
    assert_eq!(of(Some("Secret")), ["Secret"]);
}

#[test]
fn rule_header() {
    // A title, a date beside a word, a blank row; then the header. By number it is any row.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(
        sheet,
        0,
        &[&["Customers of the north"], &["as of"], &[], &["Name", "City", "Zone"], &["A", "Ulm", "7"]],
    );
    sheet.write_number(1, 1, 45_000).unwrap();
    let bytes = book.save_to_buffer().unwrap();
    let found = read(&bytes, &request("a.xlsx")).unwrap();
    assert_eq!(found.kinds().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["Name", "City", "Zone"]);
    assert_eq!(found.values("_ddu_row"), ["5"]);
    assert!(found.notes()[0].starts_with("header found in row 4"), "{:?}", found.notes());
    let what = ReadWhat::Sheet { sheet: None, header_row: Some(2) };
    let told = read(&bytes, &ReadRequest { what, ..request("a.xlsx") }).unwrap();
    assert_eq!(told.values("as_of"), ["Name", "A"]);
}

#[test]
fn rule_blank_rows_blank_columns_without_header() {
    // Rows of nothing and of blanks are skipped, and the others keep their numbers; a column of formats is none.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Name", "", "City"], &["A", "", "Ulm"], &[], &["  ", "", "\t"], &["B", "", "Bonn"]]);
    for row in 0..9 {
        sheet.write_blank(row, 1, &Format::new().set_bold()).unwrap();
        sheet.write_blank(row, 7, &Format::new().set_bold()).unwrap();
    }
    let read = read_plain(&mut book);
    assert_eq!(read.kinds().len(), 2);
    assert_eq!(read.values("_ddu_row"), ["2", "5"]);
    assert_eq!(read.values("City"), ["Ulm", "Bonn"]);
    assert!(read.notes().contains(&"2 blank rows skipped"), "{:?}", read.notes());
}

#[test]
fn rule_hidden_rows_and_columns() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Name", "City"], &["A", "Ulm"], &["B", "Bonn"]]);
    sheet.set_row_hidden(2).unwrap();
    sheet.set_column_hidden(1).unwrap();
    // Hidden as well, and empty: not worth a word.
    sheet.set_column_hidden(7).unwrap();
    let read = read_plain(&mut book);
    assert_eq!(read.values("Name"), ["A", "B"]);
    assert_eq!(read.values("City"), ["Ulm", "Bonn"]);
    assert!(read.notes().contains(&"1 hidden column was read as well"), "{:?}", read.notes());
    assert!(read.notes().contains(&"1 hidden row was read as well"), "{:?}", read.notes());
}

#[test]
fn rule_merged_cells() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Name", "City", "Zone"], &["A"], &["B"]]);
    sheet.merge_range(1, 1, 2, 2, "both", &Format::new()).unwrap();
    let read = read_plain(&mut book);
    assert_eq!(read.values("City"), ["both", "∅"]);
    assert_eq!(read.values("Zone"), ["∅", "∅"]);
    assert!(read.notes().iter().any(|note| note.starts_with("1 merged area")), "{:?}", read.notes());
}

#[test]
fn rule_n_a_and_other_errors_formulas_without_a_stored_result_whole_numbers_of_more_than_15_digits() {
    // Known errors, one that came after most readers, one that does not exist yet; each with its reason and its row.
    let literals = ["#N/A", "#DIV/0!", "#REF!", "#SPILL!", "#CALC!", "#BUSY!", "#NEW_IN_2031!"];
    let mut rows: Vec<String> =
        literals.iter().map(|literal| format!("<c t='e'><v>{literal}</v></c>")).collect();
    rows.push("<c><f>NOW()</f></c>".to_owned());
    rows.push("<c><v>1234567890123456</v></c>".to_owned());
    let data: String = (2..)
        .zip(&rows)
        .map(|(row, cell)| format!("<row r='{row}'>{cell}<c><v>{row}</v></c></row>"))
        .collect();
    let sheet = format!("<sheetData>{}{data}</sheetData>", header_row(&["A", "B"]));
    let read = read(&xlsx_of(&sheet), &request("a.xlsx")).unwrap();
    let found: Vec<String> = read
        .rescued()
        .iter()
        .map(|row| {
            assert!(row["A"]["value"]["why"].as_str().unwrap().len() > 20, "{row}");
            row["A"]["value"]["found"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(found, [&literals[..], &["a formula", "1234567890123456"]].concat());
    assert_eq!(read.summary.faults, 9);
    assert_eq!(read.values("B"), (2..11).map(|row| row.to_string()).collect::<Vec<_>>());
}

#[test]
fn rule_date_times_without_a_zone() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["At", "B"]]);
    let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm");
    sheet.write_number_with_format(1, 0, 45_000.5, &moment).unwrap();
    let bytes = book.save_to_buffer().unwrap();
    for (timezone, wanted) in [("UTC", "2023-03-15T12:00:00Z"), ("Europe/Berlin", "2023-03-15T11:00:00Z")] {
        let timezone = timezone.to_owned();
        let read = read(&bytes, &ReadRequest { timezone, ..request("a.xlsx") }).unwrap();
        assert_eq!(read.values("At"), [wanted]);
    }
}

#[test]
fn rule_times_and_durations() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Clock", "Hours"]]);
    let shown = |code: &str| Format::new().set_num_format(code);
    for (row, days) in [(1, 0.572_916_666_666_666_6), (2, 0.25)] {
        sheet.write_number_with_format(row, 0, days, &shown("hh:mm")).unwrap();
        sheet.write_number_with_format(row, 1, days * 4.0 + 1.0, &shown("[h]:mm")).unwrap();
    }
    let read = read_plain(&mut book);
    assert_eq!(read.values("Clock"), ["13:45:00", "06:00:00"]);
    assert_eq!(read.values("Hours"), ["PT79H", "PT48H"]);
}

#[test]
fn rule_numbers_in_text_columns() {
    // Where the target has a text column: typed zeros, zeros of a format, and a plain number beside them.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Number", "B"], &["00123", "x"]]);
    sheet.write_number_with_format(2, 0, 123, &Format::new().set_num_format("00000")).unwrap();
    sheet.write_number(3, 0, 123).unwrap();
    let hints = hints(&[("number", StageType::Text)]);
    let bytes = book.save_to_buffer().unwrap();
    let read = read(&bytes, &ReadRequest { hints, ..request("a.xlsx") }).unwrap();
    assert_eq!(read.values("Number"), ["00123", "00123", "123"]);
}

#[test]
fn rule_csv() {
    for (bytes, wanted) in [
        (&b"Name;B\n00\xC3\xA4;1\n"[..], "00ä"),
        (b"\xEF\xBB\xBFName,B\n00\xC3\xA4,1\n", "00ä"),
        (b"\xFF\xFEN\0a\0m\0e\0\t\0B\0\n\x000\x000\0\xE4\0\t\x001\0\n\0", "00ä"),
        (b"Name\tB\n00\xE4\x80\t1\n", "00ä€"),
    ] {
        let read = read(bytes, &request("a.csv")).unwrap();
        assert_eq!(read.values("Name"), [wanted]);
        assert_eq!(read.kinds()[1], ("B", StageType::Text), "every cell is text");
    }
}

#[test]
fn a_formula_is_read_by_its_stored_result_and_never_computed() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    put(sheet, 0, &[&["Sum", "B"]]);
    sheet.write_formula(1, 0, Formula::new("=1+1").set_result("3")).unwrap();
    assert_eq!(read_plain(&mut book).values("Sum"), ["3"]);
}
