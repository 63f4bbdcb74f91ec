//! Which cells are the table, and what becomes of each of them.

use rust_xlsxwriter::{Format, Formula, Workbook};
use serde_json::json;

use super::*;

fn text(t: &str) -> serde_json::Value {
    json!({"kind": "text", "value": t})
}

#[test]
fn every_kind_of_cell_arrives_with_the_type_of_its_whole_column() {
    // The odd ones stand in the last row, behind more rows than any reader samples.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let date = Format::new().set_num_format("dd.mm.yyyy");
    let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm");
    let zeros = Format::new().set_num_format("00000");
    let hours = Format::new().set_num_format("[h]:mm");
    let clock = Format::new().set_num_format("hh:mm:ss");
    let headers =
        ["Text", "Whole", "Mixed", "Flag", "Day", "Moment", "Postcode", "Hours", "Clock", "Nothing"];
    for (column, header) in (0..).zip(headers) {
        sheet.write_string(0, column, header).unwrap();
    }
    for row in 1..=9_000 {
        sheet.write_string(row, 0, " =1+1 ").unwrap();
        sheet.write_number(row, 1, f64::from(row)).unwrap();
        sheet.write_number(row, 2, f64::from(row)).unwrap();
        sheet.write_boolean(row, 3, row % 2 == 0).unwrap();
        sheet.write_number_with_format(row, 4, 45_000.0, &date).unwrap();
        sheet.write_number_with_format(row, 5, 45_000.0, &moment).unwrap();
        sheet.write_number_with_format(row, 6, 12_345.0, &zeros).unwrap();
        sheet.write_number_with_format(row, 7, 1.5, &hours).unwrap();
        sheet.write_number_with_format(row, 8, 0.572_916_666_666_666_6, &clock).unwrap();
    }
    sheet.write_number(9_000, 2, 0.5).unwrap();
    sheet.write_number_with_format(9_000, 5, 45_000.25, &moment).unwrap();
    sheet.write_number_with_format(9_000, 6, 123.0, &zeros).unwrap();
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();

    use StageType::{Boolean, Date, Integer, Number, Text, Timestamp};
    let kinds = [Text, Integer, Number, Boolean, Date, Timestamp, Text, Text, Text, Text];
    assert_eq!(read.kinds(), headers.into_iter().zip(kinds).collect::<Vec<_>>());
    assert_eq!(read.summary.rows, 9_000);
    assert_eq!(
        read.batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(),
        [2_048, 2_048, 2_048, 2_048, 808]
    );
    let last = |name: &str| read.values(name).pop().unwrap();
    assert_eq!(last("_ddu_row"), "9001");
    assert_eq!(last("Text"), " =1+1 ");
    assert_eq!(last("Whole"), "9000");
    assert_eq!(last("Mixed"), "0.5");
    assert_eq!(last("Flag"), "true");
    assert_eq!(last("Day"), "2023-03-15");
    assert_eq!(last("Moment"), "2023-03-15T06:00:00Z");
    assert_eq!(last("Postcode"), "00123");
    assert_eq!(last("Hours"), "PT36H");
    assert_eq!(last("Clock"), "13:45:00");
    assert_eq!(last("Nothing"), "∅");
    assert!(read.rescued().iter().all(serde_json::Value::is_null));
}

#[test]
fn a_cell_that_cannot_be_carried_is_rescued_with_the_reason_and_costs_no_neighbour() {
    let data = header_row(&["A", "B", "C", "D"])
        + "<row r='2'><c t='e'><v>#SPILL!</v></c><c><f>A1</f></c><c><v>1234567890123456</v></c><c><v>1E400</v></c></row>\
           <row r='3'><c t='e'><v>#N/A</v></c><c t='str'><f>A1</f><v>ok</v></c><c><v>7</v></c><c t='b'><v>maybe</v></c></row>";
    let read = read(&xlsx_of(&format!("<sheetData>{data}</sheetData>")), &request("a.xlsx")).unwrap();
    assert_eq!(read.summary.faults, 6);
    assert_eq!(read.values("B"), ["∅", "ok"]);
    assert_eq!(read.values("C"), ["∅", "7"]);
    let rescued = read.rescued();
    let found = |row: usize, column: &str| {
        rescued[row][column]["value"]["found"].as_str().unwrap_or("nothing").to_owned()
    };
    assert_eq!([found(0, "A"), found(1, "A")], ["#SPILL!", "#N/A"]);
    assert_eq!([found(0, "B"), found(0, "C"), found(0, "D")], ["a formula", "1234567890123456", "inf"]);
    assert_eq!([found(1, "B"), found(1, "D")], ["nothing", "maybe"]);
    assert!(rescued[0]["B"]["value"]["why"].as_str().unwrap().contains("let it calculate"));
}

#[test]
fn hints_rule_and_what_does_not_fit_them_keeps_its_original() {
    // A cell beside the table makes a column of its own, whatever is known of the others.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in
        [["Account No.", "When", "Amount"], ["007", "2023-02-10", "1500.5"], ["x", "10.02.2023", "1,5"]]
            .into_iter()
            .enumerate()
    {
        for (column, cell) in (0..).zip(cells) {
            sheet.write_string(row as u32, column, cell).unwrap();
        }
    }
    sheet.write_number(2, 0, 7).unwrap();
    sheet.write_string(2, 4, "beside").unwrap();
    let hints =
        hints(&[("account_no", StageType::Text), ("when", StageType::Date), ("amount", StageType::Number)]);
    let read = read(&book.save_to_buffer().unwrap(), &ReadRequest { hints, ..request("a.xlsx") }).unwrap();
    assert_eq!(read.values("Account_No"), ["007", "7"]);
    assert_eq!(read.values("When"), ["2023-02-10", "∅"]);
    assert_eq!(read.values("Amount"), ["1500.5", "∅"]);
    assert_eq!(read.header.columns[0].header, "Account No.");
    assert_eq!(read.values("column_E"), ["∅", "beside"]);
    let wanted = json!({"When": text("10.02.2023"), "Amount": text("1,5")});
    assert_eq!(read.rescued(), [serde_json::Value::Null, wanted]);
    assert_eq!(read.summary.faults, 0);
}

#[test]
fn a_column_has_the_type_of_all_its_cells_however_late_they_come() {
    // Each column shows another type, or shows itself at all, only behind the rows that a first look takes types from.
    let row = |number: usize, cells: &str| format!("<row r='{number}'>{cells}</row>");
    let mut data = header_row(&["A", "B", "C", "D", "E"]);
    for number in 2..9_000 {
        data += &row(number, "<c><v>1</v></c><c><v>2</v></c><c/><c t='b'><v>1</v></c><c><v>45000</v></c>");
    }
    data += &row(
        9_000,
        "<c><v>1.5</v></c><c t='d'><v>2023-03-15</v></c><c><v>7</v></c><c t='e'><v>#N/A</v></c><c/><c><v>9</v></c>",
    );
    let read = read(&xlsx_of(&format!("<sheetData>{data}</sheetData>")), &request("a.xlsx")).unwrap();
    let kinds = [
        ("A", StageType::Number),
        ("B", StageType::Text),
        ("C", StageType::Integer),
        ("D", StageType::Boolean),
        ("E", StageType::Integer),
        ("column_F", StageType::Integer),
    ];
    assert_eq!(read.kinds(), kinds);
    assert_eq!(read.summary.rows, 8_999);
    let last = |name| read.values(name).last().unwrap().clone();
    assert_eq!(["A", "B", "C", "D", "column_F"].map(last), ["1.5", "2023-03-15", "7", "∅", "9"]);
    assert_eq!(read.values("B")[0], "2");
}

#[test]
fn the_table_is_found_below_titles_and_every_decision_is_told() {
    let mut book = Workbook::new();
    book.add_worksheet().set_name("Notes").unwrap().set_hidden(true);
    let sheet = book.add_worksheet().set_name("Customers").unwrap().set_active(true);
    sheet.write_string(0, 0, "Customers of 2026").unwrap();
    sheet.write_string(1, 0, "as of").unwrap();
    sheet.write_number(1, 1, 45_000.0).unwrap();
    for (column, header) in (0..).zip(["Name", "City", "", "City", "Note "]) {
        sheet.write_string(3, column, header).unwrap();
    }
    for row in [4, 7] {
        sheet.write_string(row, 0, "Anna").unwrap();
        sheet.write_string(row, 2, "x").unwrap();
    }
    sheet.set_row_hidden(7).unwrap();
    sheet.write_string(9, 0, "  ").unwrap();
    sheet.write_blank(0, 9, &Format::new().set_bold()).unwrap();
    sheet.merge_range(4, 3, 4, 4, "both", &Format::new()).unwrap();
    let book = book.save_to_buffer().unwrap();
    let read = read(&book, &request("a.xlsx")).unwrap();
    assert_eq!(read.header.sheet, "Customers");
    let names: Vec<_> = read.kinds().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Name", "City", "column_C", "City_2", "Note"]);
    assert_eq!(read.values("_ddu_row"), ["5", "8"]);
    assert_eq!(read.values("City_2"), ["both", "∅"]);
    assert_eq!(
        read.notes(),
        [
            "header found in row 4; 2 rows above it were left out",
            "2 blank rows skipped",
            "1 hidden row was read as well",
            "1 merged area: its value counts for its first cell only",
        ]
    );
    let probe = probe(&book, "a.xlsx").unwrap();
    let sheets: Vec<_> = probe.sheets.iter().map(|sheet| (sheet.name.as_str(), sheet.visible)).collect();
    assert_eq!(sheets, [("Notes", false), ("Customers", true)]);
}

#[test]
fn a_sheet_that_is_not_there_is_named_beside_those_that_are() {
    let mut book = Workbook::new();
    book.add_worksheet().set_name("Customers").unwrap().write_string(0, 0, "Name").unwrap();
    book.add_worksheet().set_name("Orders").unwrap();
    let book = book.save_to_buffer().unwrap();
    let ask = |sheet: &str, header_row| {
        let what = ReadWhat::Sheet { sheet: Some(sheet.to_owned()), header_row };
        read(&book, &ReadRequest { what, ..request("a.xlsx") }).map(|read| read.kinds().len())
    };
    assert!(matches!(ask("CUSTOMERS ", None), Ok(1)));
    let fault = ask("Custmers", None).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the workbook has no sheet `Custmers`; it has `Customers`, `Orders`; did you mean `Customers`?"
    );
    assert!(matches!(ask("orders", None), Err(ReadFault::NoHeader { .. })));
    assert!(matches!(ask("customers", Some(3)), Err(ReadFault::NoHeader { .. })));
}

#[test]
fn dates_of_the_1904_system_are_the_same_days() {
    let workbook = "<workbook><workbookPr date1904=\"1\"/><sheets><sheet name=\"S\" r:id=\"r1\"/></sheets><extLst><x15:workbookPr/></extLst></workbook>";
    let styles = "<styleSheet><cellXfs><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>";
    let data = header_row(&["Day", "Iso"])
        + "<row r='2'><c s='1'><v>43538</v></c><c t='d'><v>2023-03-15</v></c></row>\
           <row r='3'><c s='1'><v>0</v></c><c t='d'><v>2023-03-15T00:00:00</v></c></row>";
    let parts = [("xl/workbook.xml", workbook), ("xl/styles.xml", styles)];
    let read =
        read(&xlsx_with(&format!("<sheetData>{data}</sheetData>"), &parts), &request("a.xlsx")).unwrap();
    assert_eq!(read.values("Day"), ["2023-03-15", "1904-01-01"]);
    assert_eq!(read.values("Iso"), ["2023-03-15T00:00:00Z", "2023-03-15T00:00:00Z"]);
}

#[test]
fn date_times_without_an_offset_are_placed_by_the_time_zone() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "At").unwrap();
    let moment = Format::new().set_num_format("yyyy-mm-dd hh:mm");
    for (row, days) in [(1, 45_000.5), (2, 46_110.0 + 2.5 / 24.0)] {
        sheet.write_number_with_format(row, 0, days, &moment).unwrap();
    }
    let timezone = "Europe/Berlin".to_owned();
    let read = read(&book.save_to_buffer().unwrap(), &ReadRequest { timezone, ..request("a.xlsx") }).unwrap();
    assert_eq!(read.values("At"), ["2023-03-15T11:00:00Z", "2026-03-29T01:30:00Z"]);
    assert!(
        read.summary.notes[0].contains("that the clock of Europe/Berlin skips"),
        "{:?}",
        read.summary.notes
    );
}

#[test]
fn a_formula_with_a_result_is_its_result() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "Sum").unwrap();
    sheet.write_formula(1, 0, Formula::new("=1+1").set_result("2")).unwrap();
    sheet.write_formula(2, 0, Formula::new("=1/0").set_result("#DIV/0!")).unwrap();
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();
    assert_eq!(read.values("Sum"), ["2", "∅"]);
    assert_eq!(read.rescued()[1]["Sum"]["value"]["found"], "#DIV/0!");
}
