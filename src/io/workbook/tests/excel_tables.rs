//! Excel tables on a sheet, hidden columns, and headers that are hard to tell: what is read, and what is said of the rest.

use rust_xlsxwriter::{Format, Table, TableColumn, TableFunction, Workbook};

use super::corpus::corpus;
use super::*;

/// A sheet with notes above, beside and below a table of three columns and three rows that ends in this row.
fn noted(table: &Table, last_row: u32) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "Customers of 2026").unwrap();
    sheet.write_string(1, 1, "prepared by Anna").unwrap();
    for (row, cells) in (4..).zip([["1", "Anna", "Bonn"], ["2", "Bert", ""], ["3", "Carl", "Kiel"]]) {
        for (column, cell) in (1..).zip(cells).filter(|(_, cell)| !cell.is_empty()) {
            sheet.write_string(row, column, cell).unwrap();
        }
    }
    sheet.add_table(3, 1, last_row - 1, 3, table).unwrap();
    sheet.write_string(4, 5, "ask her").unwrap();
    sheet.write_number(5, 7, 7).unwrap();
    sheet.write_string(20, 1, "checked").unwrap();
    sheet.write_string(22, 1, "twice").unwrap();
    book.save_to_buffer().unwrap()
}

fn columns(names: [&str; 3]) -> Vec<TableColumn> {
    names.iter().map(|name| TableColumn::new().set_header(*name)).collect()
}

fn of_row(header_row: u32) -> ReadRequest {
    let what = ReadWhat::Sheet { sheet: None, header_row: Some(header_row) };
    ReadRequest { what, ..request("a.xlsx") }
}

#[test]
fn rule_excel_table() {
    let mut total = columns(["No", "Name", "City"]);
    total[1] = TableColumn::new().set_header("Name").set_total_function(TableFunction::Count);
    total[0] = TableColumn::new().set_header("No").set_total_label("Total");
    let table = Table::new().set_name("Customers").set_columns(&total).set_total_row(true);
    let read = read(&noted(&table, 8), &request("a.xlsx")).unwrap();
    assert_eq!(read.values("_ddu_row"), ["5", "6", "7"]);
    assert_eq!(read.kinds().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["No", "Name", "City"]);
    assert_eq!(read.values("City"), ["Bonn", "∅", "Kiel"]);
    assert!(read.rescued().iter().all(serde_json::Value::is_null));
    assert_eq!(
        read.notes(),
        [
            "Excel table `Customers` in B4:D8 was read; header found in row 4",
            "2 rows above the table were left out",
            "row 8 holds the table's totals and is no data",
            "2 rows below the table were left out, the first is row 21",
            "2 cells beside the table were left out, in columns F to H",
        ]
    );
}

#[test]
fn what_goes_on_directly_beside_and_below_an_excel_table_is_read_up_to_the_next_one() {
    // As a program leaves it that appends to the sheet and not to the table: A1:B3, and column C and rows 4 to 6 added.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let columns = ["No", "Name"].map(|name| TableColumn::new().set_header(name));
    let table = |name: &str| Table::new().set_name(name).set_columns(&columns);
    sheet.add_table(0, 0, 2, 1, &table("Customers")).unwrap();
    sheet.write_string(0, 2, "City").unwrap();
    for row in 1..=5 {
        sheet.write_number(row, 0, f64::from(row)).unwrap();
        sheet.write_string(row, 1, format!("name {row}")).unwrap();
        sheet.write_string(row, 2, format!("city {row}")).unwrap();
    }
    sheet.write_string(1, 3, "a note, for it has no header").unwrap();
    sheet.write_string(8, 0, "a line below a blank one").unwrap();
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();
    assert_eq!(read.values("No"), ["1", "2", "3", "4", "5"]);
    assert_eq!(read.values("City"), ["city 1", "city 2", "city 3", "city 4", "city 5"]);
    assert_eq!(
        read.notes(),
        [
            "1 column goes on directly beside the table and was read as well",
            "Excel table `Customers` in A1:B3 was read; header found in row 1",
            "3 rows go on directly below the table and were read as well",
            "1 row below the table was left out: row 9",
            "1 cell beside the table was left out, in column D",
        ]
    );
}

#[test]
fn an_excel_table_does_not_go_on_into_another_one() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    // Beside it from the same row on, and below it without a blank row.
    for (name, row, column, rows) in [("Data", 0, 0, 3), ("Beside", 0, 2, 2), ("Below", 4, 0, 2)] {
        for row in row + 1..=row + rows {
            sheet.write_string(row, column, name).unwrap();
        }
        let columns =
            ["A".to_owned(), format!("of {name}")].map(|header| TableColumn::new().set_header(header));
        let table = Table::new().set_name(name).set_columns(&columns);
        sheet.add_table(row, column, row + rows, column + 1, &table).unwrap();
    }
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();
    assert_eq!(read.kinds().len(), 2);
    assert_eq!(read.values("A"), ["Data"; 3]);
}

#[test]
fn an_excel_table_without_a_header_row_has_its_columns_called_as_excel_calls_them() {
    let table = Table::new()
        .set_name("Customers")
        .set_header_row(false)
        .set_columns(&columns(["No", "Name", "City"]));
    let book = noted(&table, 7);
    let read = read(&book, &request("a.xlsx")).unwrap();
    // Without its header the table begins in row 4, where the sheet has a blank row.
    assert_eq!(read.values("_ddu_row"), ["5", "6", "7"]);
    let headers: Vec<_> = read.header.columns.iter().map(|column| column.header.as_str()).collect();
    assert_eq!(headers, ["No", "Name", "City"]);
    assert_eq!(
        read.notes()[..3],
        [
            "Excel table `Customers` in B4:D7 was read; it has no header row, so its columns are called as Excel calls them",
            "2 rows above the table were left out",
            "1 blank row skipped",
        ]
    );
}

#[test]
fn the_header_row_of_the_sidecar_goes_before_an_excel_table() {
    let table = Table::new().set_name("Customers").set_columns(&columns(["No", "Name", "City"]));
    let book = noted(&table, 7);
    // The row of its header chooses the table; any other row is read as if there were none.
    assert_eq!(read(&book, &of_row(4)).unwrap().values("_ddu_row"), ["5", "6", "7"]);
    let by_row = read(&book, &of_row(5)).unwrap();
    assert_eq!(by_row.values("_ddu_row"), ["6", "7", "21", "23"]);
    assert_eq!(by_row.notes()[0], "header found in row 5; 3 rows above it were left out");
}

#[test]
fn rule_several_excel_tables() {
    let several = |header_of: fn(&'static str) -> &'static str| {
        let mut book = Workbook::new();
        let sheet = book.add_worksheet();
        for (column, name, rows) in [(0, "Lists", 2), (3, "Data", 5), (6, "More", 5)] {
            for row in 1..=rows {
                sheet.write_number(row, column, f64::from(row)).unwrap();
                sheet.write_string(row, column + 1, name).unwrap();
            }
            let columns = ["No", header_of(name)].map(|header| TableColumn::new().set_header(header));
            let table = Table::new().set_name(name).set_columns(&columns);
            sheet.add_table(0, column, rows, column + 1, &table).unwrap();
        }
        book.save_to_buffer().unwrap()
    };
    let chosen = read(&several(|name| name), &request("a.xlsx")).unwrap();
    assert_eq!(chosen.values("Data"), ["Data"; 5]);
    assert_eq!(
        chosen.notes(),
        [
            "Excel table `Data` in D1:E6 was read; header found in row 1",
            "2 other Excel tables of the sheet were left out: `Lists` in A1:B3, `More` in G1:H6; `header_row` in the \
             sidecar chooses another",
            "14 cells beside the table were left out, in columns A to H",
        ]
    );
    // Rows of one kind that stand in several tables: whichever was read, the others would be missing.
    let alike = several(|_| "Of");
    let fault = read(&alike, &request("a.xlsx")).err().unwrap();
    assert_eq!(
        fault.to_string(),
        "sheet `Sheet1` has several Excel tables with the same columns: `Data` in D1:E6, `Lists` in A1:B3, `More` in \
         G1:H6; bring their rows together in one table, or name the header's row of the one that is meant with \
         `header_row` in a sidecar"
    );
    assert_eq!(read(&alike, &of_row(1)).unwrap().values("Of"), ["Data"; 5]);
}

#[test]
fn an_excel_table_that_does_not_fit_its_sheet_never_panics_and_never_hides_a_cell() {
    let data = header_row(&["Name", "City"]) + "<row r='2'><c t='inlineStr'><is><t>Anna</t></is></c></row>";
    let sheet = format!("<sheetData>{data}</sheetData>");
    let rels = "<Relationships><Relationship Id='r1' Type='http://x/table' Target='../tables/table1.xml'/></Relationships>";
    let of = |table: &str| {
        let parts = [("xl/worksheets/_rels/sheet1.xml.rels", rels), ("xl/tables/table1.xml", table)];
        read(&xlsx_with(&sheet, &parts), &request("a.xlsx")).unwrap()
    };
    // Where the table ends before it begins, is none, or is missing, the sheet is read without it.
    for table in [
        "<table displayName='T' ref='B9:A1'/>",
        "<table displayName='T' ref='A1' totalsRowCount='9'/>",
        "<table",
        "<x/>",
    ] {
        let read = of(table);
        assert_eq!(read.values("Name"), ["Anna"], "{table}");
        assert!(read.notes()[0].contains("not used"), "{:?}", read.notes());
    }
    let missing =
        read(&xlsx_with(&sheet, &[("xl/worksheets/_rels/sheet1.xml.rels", rels)]), &request("a.xlsx"))
            .unwrap();
    assert_eq!(missing.notes(), ["an Excel table was not used: its part `xl/tables/table1.xml` is damaged"]);
    // Where it stands beside or beyond the cells, what it leaves out is counted, and its own names stand in.
    let names = "<tableColumns><tableColumn name='X'/><tableColumn name='Y'/></tableColumns>";
    let beyond = of(&format!("<table displayName='T' ref='A5:B1048576'>{names}</table>"));
    assert_eq!(beyond.kinds().iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["X", "Y"]);
    assert_eq!((beyond.summary.rows, beyond.notes()[1]), (0, "2 rows above the table were left out"));
    let beside = of(&format!("<table displayName='T' ref='XFC1:XFD2'>{names}</table>"));
    assert_eq!(
        (beside.summary.rows, beside.notes()[1]),
        (0, "1 cell beside the table was left out, in column A")
    );
}

/// The header row and the headers that are found in a sheet of these rows; a number is written as one.
fn found_in(rows: &[&[&str]]) -> (String, Vec<String>) {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in (0..).zip(rows) {
        for (column, cell) in (0..).zip(*cells).filter(|(_, cell)| !cell.is_empty()) {
            match cell.parse::<f64>() {
                Ok(number) => sheet.write_number(row, column, number).unwrap(),
                Err(_) => sheet.write_string(row, column, *cell).unwrap(),
            };
        }
    }
    sheet.write_blank(90, 30, &Format::new().set_bold()).unwrap();
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();
    let note = read.notes().into_iter().find(|note| note.starts_with("header")).unwrap_or("row 1").to_owned();
    (note, read.header.columns.into_iter().map(|column| column.header).collect())
}

#[test]
fn a_header_is_found_whatever_it_is_made_of() {
    // Years above texts; a title line with a date; texts all the way down; a single column.
    let years =
        found_in(&[&["Plan"], &["Account", "2024", "2025"], &["A", "n/a", "n/a"], &["B", "n/a", "x"]]);
    assert_eq!(years.1, ["Account", "2024", "2025"]);
    assert_eq!(years.0, "header found in row 2; 1 row above it was left out");
    let dated =
        found_in(&[&["as of", "45000"], &[], &["Name", "City", "Country", "Note"], &["A", "B", "C", "D"]]);
    assert_eq!(dated.1, ["Name", "City", "Country", "Note"]);
    let texts = found_in(&[&["Name", "City"], &["Anna", "Bonn"], &["Bert", "Kiel"]]);
    assert_eq!((texts.0.as_str(), texts.1), ("row 1", vec!["Name".to_owned(), "City".to_owned()]));
    let single = found_in(&[&["Name"], &["Anna"], &[], &["Bert"]]);
    assert_eq!(single, ("row 1".to_owned(), vec!["Name".to_owned()]));
}

#[test]
fn rule_header_of_two_lines() {
    // The upper line only groups: it is narrower by half.
    let grouped = found_in(&[
        &["Customer", "", "", "Address", "", "", ""],
        &["No", "Name", "Group", "Street", "City", "Zip", "Country"],
        &["1", "A", "B", "C", "D", "E", "F"],
    ]);
    assert_eq!(grouped.1, ["No", "Name", "Group", "Street", "City", "Zip", "Country"]);
}

#[test]
fn rule_blank_and_repeated_headers() {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (column, (header, cell)) in
        (0..).zip([("City", "A"), ("", "x"), ("city", "B"), ("", ""), ("City", "C")])
    {
        sheet.write_string(0, column, header).unwrap();
        sheet.write_string(1, column, cell).unwrap();
    }
    let read = read(&book.save_to_buffer().unwrap(), &request("a.xlsx")).unwrap();
    let names: Vec<_> = read.kinds().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["City", "column_B", "city_2", "City_3"]);
    let cells = names.iter().map(|name| read.values(name).concat()).collect::<Vec<_>>();
    assert_eq!(cells, ["A", "x", "B", "C"]);
}

#[test]
fn excel_tables_of_real_workbooks_are_read_as_they_stand() {
    let Some(corpus) = corpus() else { return };
    for (file, wanted, first, rows) in [
        (
            "MB-800-Busines__Vendor_Import.xlsx",
            "Excel table `Table5` in A3:I11 was read; header found in row 3",
            "No.",
            8,
        ),
        (
            "fastexcel__sheet-with-tables.xlsx",
            "Excel table `users` in A6:D9 was read; header found in row 6",
            "User Id",
            3,
        ),
        (
            "XlsxWriter__table15.xlsx",
            "Excel table `Table1` in C2:F6 was read; header found in row 2",
            "Column1",
            4,
        ),
        (
            "Dynamics-365-F__Pacing_Worksheet.xlsx",
            "Excel table `Table1` in A5:I36 was read; header found in row 5",
            "Scenario",
            31,
        ),
    ] {
        let read = read_file(File::open(corpus.join("files").join(file)).unwrap(), &request(file)).unwrap();
        let seen = (read.notes()[0], read.header.columns[0].header.as_str(), read.summary.rows);
        assert_eq!(seen, (wanted, first, rows), "{file}: {:?}", read.notes());
    }
}

#[test]
fn headers_of_real_workbooks_are_found_below_their_titles() {
    let Some(corpus) = corpus() else { return };
    for (file, sheet, note, first) in [
        (
            "Dynamics-365-F__TCOCalculator.xlsx",
            "Step 1 - BYOD usage",
            "header found in row 5; 2 rows",
            "Description",
        ),
        ("Dynamics-365-F__Test_Case_Template.xlsx", "Sheet1", "header found in row 9; 3 rows", "Step #"),
        ("Dynamics-365-F__Test_Timeline_Template.xlsx", "Sheet1", "header found in row 3; 2 rows", "Step"),
        (
            "Dynamics-365-F__D365_Synapse_link___Fabric_link_migration_template.xlsx",
            "Activities",
            "header found in row 3",
            "Stage",
        ),
        ("fastexcel__fixture-changing-header-location.xlsx", "Sheet3", "header found in row 12", "Month"),
    ] {
        let what = ReadWhat::Sheet { sheet: Some(sheet.to_owned()), header_row: None };
        let file = File::open(corpus.join("files").join(file)).unwrap();
        let read = read_file(file, &ReadRequest { what, ..request("a.xlsx") }).unwrap();
        assert!(read.notes()[0].starts_with(note), "{:?}", read.notes());
        assert_eq!(read.header.columns[0].header, first);
    }
}
