//! Formulas in the formats that calamine reads: one that holds an error is never taken for a blank cell or a text.

use super::*;

/// A record of a binary workbook: type, length, data.
fn record(kind: u16, data: &[&[u8]]) -> Vec<u8> {
    let data = data.concat();
    let kind = match kind {
        0..0x80 => vec![kind as u8],
        _ => vec![kind as u8 & 0x7F | 0x80, (kind >> 7) as u8],
    };
    [kind, vec![data.len() as u8], data].concat()
}

fn wide(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().collect();
    (units.len() as u32)
        .to_le_bytes()
        .into_iter()
        .chain(units.into_iter().flat_map(u16::to_le_bytes))
        .collect()
}

/// A cell's column and an empty style.
fn at(column: u32) -> Vec<u8> {
    [column.to_le_bytes(), [0; 4]].concat()
}

/// An xlsb workbook of one sheet with these records between its rows' beginning and end.
fn xlsb(cells: &[Vec<u8>]) -> Vec<u8> {
    let book = [
        record(0x9C, &[&[0; 4], &1_u32.to_le_bytes(), &wide("r1"), &wide("Sheet1")]),
        record(0x90, &[]),
        record(0x9D, &[]),
    ];
    let sheet = [record(0x94, &[&[0; 16]]), record(0x91, &[]), cells.concat(), record(0x92, &[])].concat();
    let types = "<Types><Override PartName=\"/xl/workbook.bin\" ContentType=\"application/vnd.ms-excel.sheet.binary.macroEnabled.main\"/></Types>";
    let rels = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.bin\"/></Relationships>";
    let parts: [(&str, Vec<u8>); 4] = [
        ("[Content_Types].xml", types.into()),
        ("xl/workbook.bin", book.concat()),
        ("xl/_rels/workbook.bin.rels", rels.into()),
        ("xl/worksheets/sheet1.bin", sheet),
    ];
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn row(number: u32) -> Vec<u8> {
    record(0x00, &[&number.to_le_bytes(), &[0; 21]])
}

fn text(column: u32, text: &str) -> Vec<u8> {
    record(0x06, &[&at(column), &wide(text)])
}

/// A formula whose result is an error: calamine leaves such cells out.
fn error_formula(column: u32, rgce: &[u8]) -> Vec<u8> {
    let length = (rgce.len() as u32).to_le_bytes();
    record(0x0B, &[&at(column), &[0x2A, 0, 0], &length, rgce, &[0; 4]])
}

#[test]
fn a_formula_of_xlsb_that_holds_an_error_is_reported_where_it_stands() {
    let (na, unknown) = ([0x1C, 0x2A], [0x7F]);
    let number =
        [&at(1)[..], &1.5_f64.to_le_bytes(), &[0, 0], &3_u32.to_le_bytes(), &[0x1E, 1, 0], &[0; 4]].concat();
    let cells = |formula: &[u8]| {
        [
            row(0),
            text(0, "A"),
            text(1, "B"),
            row(1),
            error_formula(0, &na),
            record(0x09, &[&number]),
            row(2),
            error_formula(1, formula),
            row(3),
            text(0, "x"),
        ]
    };
    let read_all = read(&xlsb(&cells(&na)), &request("a.xlsb")).unwrap();
    assert_eq!(read_all.values("_ddu_row"), ["2", "3", "4"]);
    assert_eq!(read_all.values("A"), ["∅", "∅", "x"]);
    assert_eq!(read_all.values("B"), ["1.5", "∅", "∅"]);
    assert_eq!(read_all.summary.faults, 2);
    assert_eq!(read_all.rescued()[1]["B"]["kind"], "unreadable");
    assert!(!read_all.notes().iter().any(|note| note.contains("formulas")), "{:?}", read_all.notes());
    // Where a formula cannot be taken apart, the sender hears that errors may be missed.
    let some = read(&xlsb(&cells(&unknown)), &request("a.xlsb")).unwrap();
    assert!(some.notes().iter().any(|note| note.contains("save it as xlsx")), "{:?}", some.notes());
}

#[test]
fn an_error_that_ods_shows_as_text_is_an_error_where_a_formula_shows_it() {
    let cell = |attributes: &str, shown: &str| {
        format!(
            "<table:table-cell office:value-type=\"string\" {attributes}><text:p>{shown}</text:p></table:table-cell>"
        )
    };
    let formula = "table:formula=\"of:=1/0\" calcext:value-type=\"error\" office:string-value=\"\"";
    let rows = [
        [cell("", "A"), cell("", "B")],
        [cell(formula, "#DIV/0!"), cell("", "#DIV/0!")],
        [cell(formula, "Err:502"), cell("table:formula=\"of:=&quot;x&quot;\"", "x")],
    ];
    let rows: String =
        rows.map(|cells| format!("<table:table-row>{}</table:table-row>", cells.concat())).concat();
    let content = format!(
        "<office:document-content xmlns:office=\"o\" xmlns:table=\"t\" xmlns:text=\"x\" xmlns:calcext=\"c\"><office:body>\
         <office:spreadsheet><table:table table:name=\"S\">{rows}</table:table></office:spreadsheet></office:body></office:document-content>"
    );
    let book = zip_of(&BTreeMap::from([
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_str()),
        ("META-INF/manifest.xml", "<manifest:manifest xmlns:manifest=\"m\"/>"),
    ]));
    let read = read(&book, &request("a.ods")).unwrap();
    assert_eq!(read.values("A"), ["∅", "∅"]);
    assert_eq!(read.values("B"), ["#DIV/0!", "x"]);
    assert_eq!(read.summary.faults, 2);
    assert_eq!(read.rescued()[1]["A"]["value"]["found"], "Err:502");
}
