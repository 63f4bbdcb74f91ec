//! Writes returned workbooks and reads them back with a reader of somebody else.

use std::io::{Cursor, Read};

use calamine::{Data, Reader, SheetVisible, Xlsx};
use jiff::civil::date;

use super::*;
use crate::domain::job::JobId;
use crate::domain::settings::Mode;
use crate::domain::table::TableName;
use crate::io::workbook::{MARK_SHEET, ReturnedBook};

fn settings() -> LoadSettings {
    LoadSettings {
        sheet: Some("Customers".into()),
        mode: Mode::Upsert,
        key: vec!["Number".into()],
        timezone: "Europe/Berlin".into(),
        ..LoadSettings::plain(TableName::from_stem("customers").unwrap(), "account")
    }
}

fn column(name: &str, kind: StageType) -> ReturnedColumn {
    let header = name.replace('_', " ");
    ReturnedColumn { name: name.into(), header, kind, choices: vec![], length_max: None }
}

fn sheet(columns: Vec<ReturnedColumn>) -> ReturnedSheet {
    ReturnedSheet { title: "Customers".into(), columns, settings: settings() }
}

fn refusal(column: Option<&str>, cause: &str) -> Refusal {
    let column = column.map(str::to_owned);
    Refusal {
        column,
        error: "0x80040265".into(),
        cause: cause.into(),
        advice: "Mend it.".into(),
        missing: None,
    }
}

fn id(number: u32) -> RowId {
    crate::domain::identity::row_id("sandbox", "account", &job(), "Customers", number)
}

fn row(number: u32, values: Vec<Value>, refusals: Vec<Refusal>) -> ReturnedRow {
    ReturnedRow { id: id(number), number, values, refusals }
}

fn job() -> JobId {
    JobId::try_from("20261122T140320Z-9f3a1c2e".to_owned()).unwrap()
}

fn writer() -> ReturnedWriter {
    let made_at = "2026-11-22T14:03:20Z".parse().unwrap();
    ReturnedWriter::new(&job(), "customers.xlsx", made_at, &std::env::temp_dir()).unwrap()
}

fn written(sheet: &ReturnedSheet, rows: &[ReturnedRow]) -> Vec<u8> {
    let mut writer = writer();
    writer.sheet(sheet).unwrap();
    rows.iter().for_each(|row| writer.row(row).unwrap());
    let mut bytes = Vec::new();
    assert_eq!(writer.finish(&mut bytes).unwrap(), rows.len() as u64);
    bytes
}

fn opened(bytes: &[u8]) -> Xlsx<Cursor<Vec<u8>>> {
    Xlsx::new(Cursor::new(bytes.to_vec())).unwrap()
}

/// The cells of a sheet, row by row.
fn cells(bytes: &[u8], sheet: &str) -> Vec<Vec<Data>> {
    opened(bytes).worksheet_range(sheet).unwrap().rows().map(<[Data]>::to_vec).collect()
}

fn mark(bytes: &[u8]) -> ReturnedBook {
    let chunks: Vec<String> = cells(bytes, MARK_SHEET).iter().map(|row| row[0].to_string()).collect();
    ReturnedBook::from_chunks(&chunks).unwrap()
}

/// The text of one file of the package.
fn part(bytes: &[u8], name: &str) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

fn every_kind() -> (ReturnedSheet, Vec<ReturnedRow>) {
    let mut industry = column("Industry", StageType::Text);
    industry.choices = vec!["Accounting".into(), "Retail".into()];
    let mut country = column("Country", StageType::Text);
    country.choices = vec!["Korea, Republic of".into(), "Österreich".into()];
    let mut name = column("Account_Name", StageType::Text);
    name.length_max = Some(160);
    let columns = vec![
        name,
        column("Number", StageType::Text),
        column("Employees", StageType::Integer),
        column("Revenue", StageType::Number),
        column("Credit_Hold", StageType::Boolean),
        column("Since", StageType::Date),
        column("Seen", StageType::Timestamp),
        industry,
        country,
    ];
    let text = |text: &str| Value::Text(text.into());
    let good = vec![
        text("=1+1"),
        text("0012"),
        Value::Integer(42),
        Value::Number(0.1),
        Value::Boolean(true),
        Value::Date(date(2024, 2, 29)),
        Value::Timestamp("2026-11-22T11:00:00Z".parse().unwrap()),
        text("Mining"),
        Value::Blank,
    ];
    let bad = vec![
        text(" a_x0041_b\r\nc\u{1}<&> "),
        text("+49 89"),
        text("many"),
        Value::Integer(12_345_678_901_234_567),
        Value::Blank,
        text("last spring"),
        Value::Timestamp("2025-10-26T01:30:00Z".parse().unwrap()),
        Value::Unreadable { found: "#N/A".into(), why: "an error".into() },
        text("@home"),
    ];
    let rows = vec![
        row(2, good, vec![refusal(Some("Industry"), "`Mining` is not an industry")]),
        row(
            17,
            bad,
            vec![
                refusal(Some("Employees"), "`many` is not a number"),
                refusal(Some("Since"), "`last spring` is not a date"),
                refusal(None, "another row has this number"),
            ],
        ),
    ];
    (sheet(columns), rows)
}

#[test]
fn what_a_sender_wrote_comes_back_as_it_was() {
    let (sheet, rows) = every_kind();
    let cells = cells(&written(&sheet, &rows), "Customers");
    let text = |text: &str| Data::String(text.into());

    let headers: Vec<String> = cells[0].iter().map(ToString::to_string).collect();
    assert_eq!(headers[..5], ["Row", "What is wrong", "What to do", "_ddu_row_id", "Account Name"]);
    assert_eq!(
        cells[1][..4],
        [Data::Float(2.0), text("“Mining” is not an industry"), text("Mend it."), text(&id(2).to_string()),]
    );
    assert_eq!(cells[1][4..8], [text("=1+1"), text("0012"), Data::Float(42.0), Data::Float(0.1)]);
    assert_eq!(cells[1][8], Data::Bool(true));
    let moment = |cell: &Data| match cell {
        Data::DateTime(at) => at.to_ymd_hms_milli(),
        other => panic!("{other:?} is no date"),
    };
    assert_eq!(moment(&cells[1][9]), (2024, 2, 29, 0, 0, 0, 0));
    assert_eq!(moment(&cells[1][10]), (2026, 11, 22, 12, 0, 0, 0), "noon in Berlin");
    assert_eq!(cells[1][12], Data::Empty);

    assert_eq!(
        cells[2][1],
        text("1. “many” is not a number\n2. “last spring” is not a date\n3. Another row has this number")
    );
    assert_eq!(
        cells[2][4..8],
        [text(" a_x0041_b\r\nc\u{1}<&> "), text("+49 89"), text("many"), text("12345678901234567"),]
    );
    assert_eq!(
        cells[2][9..],
        [text("last spring"), text("2025-10-26T01:30:00Z"), text("#N/A"), text("@home")]
    );
}

#[test]
fn no_text_becomes_a_formula_and_what_is_typed_stays_text() {
    let (sheet, rows) = every_kind();
    let bytes = written(&sheet, &rows);
    let xml = part(&bytes, "xl/worksheets/sheet1.xml");
    assert!(!xml.contains("<f>"), "{xml}");
    // Columns E and F are the sender's first two: their whole columns carry the format `@` (49), also below the rows.
    let styles = part(&bytes, "xl/styles.xml");
    let formats: Vec<&str> = styles.split("<cellXfs").nth(1).unwrap().split("<xf ").skip(1).collect();
    let column = xml.split("<col ").find(|column| column.contains("min=\"6\"")).unwrap();
    let style: usize = column.split("style=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
    assert!(formats[style].contains("numFmtId=\"49\""), "{column} {}", formats[style]);
}

#[test]
fn the_same_rows_make_the_same_bytes() {
    let (sheet, rows) = every_kind();
    let bytes = written(&sheet, &rows);
    assert!(bytes == written(&sheet, &rows));
    assert!(part(&bytes, "docProps/core.xml").contains("2026-11-22T14:03:20Z"), "the only date is the job's");
}

#[test]
fn the_workbook_describes_itself_on_a_sheet_that_nobody_sees() {
    let (sheet, rows) = every_kind();
    let bytes = written(&sheet, &rows);
    let visible: Vec<(String, SheetVisible)> =
        opened(&bytes).sheets_metadata().iter().map(|sheet| (sheet.name.clone(), sheet.visible)).collect();
    assert_eq!(
        visible,
        [
            ("Customers".to_owned(), SheetVisible::Visible),
            ("_ddu_lists".to_owned(), SheetVisible::VeryHidden),
            (MARK_SHEET.to_owned(), SheetVisible::VeryHidden),
        ]
    );
    let mark = mark(&bytes);
    assert_eq!((mark.job.as_str(), mark.workbook.as_str()), (job().as_str(), "customers.xlsx"));
    let own = ["Row", "What is wrong", "What to do", "_ddu_row_id"].map(str::to_owned).to_vec();
    assert_eq!(mark.parts[0].own_headers, own);
    assert_eq!((mark.parts[0].sheet.as_str(), mark.parts[0].header_row), ("Customers", 1));
    assert_eq!(mark.parts[0].settings, settings());
}

#[test]
fn wrong_cells_are_coloured_and_say_why() {
    // Two cells and one row as a whole are at fault in row 17; each cell at fault has a note.
    let (sheet, rows) = every_kind();
    let bytes = written(&sheet, &rows);
    let xml = part(&bytes, "xl/worksheets/sheet1.xml");
    let style = |cell: &str| {
        let tag = xml.split(&format!("r=\"{cell}\"")).nth(1).unwrap().split('>').next().unwrap();
        tag.split("s=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let red = |cell: &str| {
        let styles = part(&bytes, "xl/styles.xml");
        let formats = styles.split("<cellXfs").nth(1).unwrap();
        let format = formats.split("<xf ").nth(style(cell).parse::<usize>().unwrap() + 1).unwrap();
        let fill: usize =
            format.split("fillId=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        let fills = styles.split("<fills").nth(1).unwrap();
        fills.split("<fill>").nth(fill + 1).unwrap().contains("FFFFC7CE")
    };
    for (cell, wrong) in
        [("L2", true), ("B2", false), ("E2", false), ("G3", true), ("J3", true), ("B3", true), ("E3", false)]
    {
        assert_eq!(red(cell), wrong, "{cell}");
    }
    let notes = part(&bytes, "xl/comments1.xml");
    for (cell, text) in [("L2", "is not an industry"), ("G3", "is not a number"), ("J3", "is not a date")] {
        let note =
            notes.split(&format!("ref=\"{cell}\"")).nth(1).unwrap_or_else(|| panic!("{cell} has no note"));
        assert!(note.split("</comment>").next().unwrap().contains(text), "{cell}");
    }
    assert!(notes.contains("Drop it into the folder again"));
}

#[test]
fn the_allowed_values_are_offered_below_the_rows_too() {
    let (sheet, rows) = every_kind();
    let bytes = written(&sheet, &rows);
    let xml = part(&bytes, "xl/worksheets/sheet1.xml");
    let rule = |range: &str| {
        let rules = xml.split("<dataValidation ");
        rules.skip(1).find(|rule| rule.contains(&format!("sqref=\"{range}\""))).unwrap().to_owned()
    };
    let industry = rule("L2:L1048576");
    assert!(industry.contains("type=\"list\"") && industry.contains("Accounting,Retail"), "{industry}");
    assert!(rule("M2:M1048576").contains("'_ddu_lists'!$A$1:$A$2"));
    let name = rule("E2:E1048576");
    assert!(name.contains("textLength") && name.contains("<formula1>160</formula1>"), "{name}");
    assert!(xml.matches("errorStyle=\"warning\"").count() >= 3);
    assert_eq!(cells(&bytes, "_ddu_lists")[0][0], Data::String("Korea, Republic of".into()));
    assert!(xml.contains("<autoFilter ref=\"A1:M3\"") && xml.contains("topLeftCell=\"E2\""), "{xml}");
}

#[test]
fn a_full_sheet_goes_on_in_a_further_one() {
    let mut writer = writer();
    writer.sheet_rows_max = 3;
    writer.sheet(&sheet(vec![column("Name", StageType::Text)])).unwrap();
    for number in 2..7 {
        writer.row(&row(number, vec![Value::Integer(i64::from(number))], vec![])).unwrap();
    }
    let mut bytes = Vec::new();
    assert_eq!(writer.finish(&mut bytes).unwrap(), 5);
    let numbers = |sheet: &str| -> Vec<String> {
        cells(&bytes, sheet).iter().skip(1).map(|row| row[0].to_string()).collect()
    };
    assert_eq!(numbers("Customers"), ["2", "3"]);
    assert_eq!(numbers("Customers (2)"), ["4", "5"]);
    assert_eq!(numbers("Customers (3)"), ["6"]);
    assert_eq!(mark(&bytes).parts.len(), 3);
}

#[test]
fn headers_and_names_of_the_sender_never_collide_with_ours() {
    // A sheet that is called like ours or like its neighbour, a sender's own column `row`, and one without a header.
    let mut writer = writer();
    let mut wanted = sheet(vec![column("row", StageType::Text), column("_ddu_row_id", StageType::Text)]);
    wanted.columns[1].header = " ".into();
    for title in ["_DDU", "a/b:c*[d]?", "A_b_c__d__", "", "History", "'quoted'", &"😀".repeat(40)] {
        wanted.title = title.into();
        writer.sheet(&wanted).unwrap();
    }
    let mut bytes = Vec::new();
    assert_eq!(writer.finish(&mut bytes).unwrap(), 0);
    let mark = mark(&bytes);
    let titles: Vec<&str> = mark.parts.iter().map(|part| part.sheet.as_str()).collect();
    let emoji = "😀".repeat(15);
    assert_eq!(
        titles,
        ["_DDU (2)", "a_b_c__d__", "A_b_c__d__ (2)", "Rows", "Rows (2)", "quoted", emoji.as_str()]
    );
    let own = ["Row (DDU)", "What is wrong", "What to do", "_ddu_row_id (DDU)"].map(str::to_owned).to_vec();
    assert_eq!(mark.parts[0].own_headers, own);
    let header = &cells(&bytes, "Rows")[0];
    assert_eq!(header[4..], [Data::String("row".into()), Data::String("_ddu_row_id".into())]);
}

#[test]
fn rows_that_do_not_fit_are_refused_before_they_are_written() {
    let mut early = writer();
    assert!(matches!(early.row(&row(2, vec![], vec![])), Err(ReturnError::NoSheet)));
    assert!(matches!(writer().finish(Vec::new()), Err(ReturnError::NoSheet)));
    let mut narrow = writer();
    narrow.sheet(&sheet(vec![column("Name", StageType::Text)])).unwrap();
    let found = narrow.row(&row(9, vec![], vec![])).unwrap_err();
    assert_eq!(found.to_string(), "row 9 has 0 values for the 1 columns of its sheet");
    let wide = sheet(vec![column("Name", StageType::Text); RETURNED_COLUMNS_MAX + 1]);
    assert!(matches!(writer().sheet(&wide), Err(ReturnError::TooManyColumns { found: 16_381, .. })));
    let mut nowhere = sheet(vec![]);
    nowhere.settings.timezone = "Europe/Nowhere".into();
    assert!(matches!(writer().sheet(&nowhere), Err(ReturnError::Timezone { .. })));
    let missing = std::env::temp_dir().join("ddu-no-such-folder");
    let made_at = "2026-11-22T14:03:20Z".parse().unwrap();
    assert!(matches!(
        ReturnedWriter::new(&job(), "k.xlsx", made_at, &missing),
        Err(ReturnError::Write { .. })
    ));
}

#[test]
fn notes_have_a_limit_and_the_reasons_do_not() {
    let mut writer = writer();
    writer.sheet(&sheet(vec![column("Name", StageType::Text)])).unwrap();
    let rows = u32::try_from(NOTES_MAX).unwrap() + 10;
    for number in 2..rows + 2 {
        writer.row(&row(number, vec![Value::Blank], vec![refusal(Some("Name"), "it is blank")])).unwrap();
    }
    let mut bytes = Vec::new();
    writer.finish(&mut bytes).unwrap();
    assert_eq!(part(&bytes, "xl/comments1.xml").matches("<comment ").count(), NOTES_MAX + 2);
    let cells = cells(&bytes, "Customers");
    assert!(cells[1..].iter().all(|row| row[1] == Data::String("It is blank".into())));
    assert_eq!(cells.len(), rows as usize + 1);
}

#[test]
fn a_workbook_that_broke_off_is_never_finished() {
    // The folder for temporary files vanishes between two sheets; what was written before would look complete.
    let folder = tempfile::tempdir().unwrap();
    let made_at = "2026-11-22T14:03:20Z".parse().unwrap();
    let mut writer = ReturnedWriter::new(&job(), "customers.xlsx", made_at, folder.path()).unwrap();
    writer.sheet(&sheet(vec![column("Name", StageType::Text)])).unwrap();
    folder.close().unwrap();
    let second = writer.sheet(&sheet(vec![column("Name", StageType::Text)]));
    assert!(matches!(second, Err(ReturnError::Write { .. })));
    let row = writer.row(&row(2, vec![Value::Blank], vec![]));
    assert!(matches!(row, Err(ReturnError::BrokeOff { .. })));
    assert!(matches!(writer.finish(Vec::new()), Err(ReturnError::BrokeOff { .. })));
}
