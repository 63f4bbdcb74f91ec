//! Workbooks that are broken, or made to break a reader.

use super::*;

fn fault(bytes: &[u8], name: &str) -> ReadFault {
    match read(bytes, &request(name)) {
        Ok(read) => panic!("{name} was read: {:?}", read.notes()),
        Err(fault) => fault,
    }
}

fn rows(rows: &str) -> Vec<u8> {
    xlsx_of(&format!("<sheetData>{}{rows}</sheetData>", header_row(&["A", "B"])))
}

#[test]
fn what_is_no_workbook_is_called_what_it_is() {
    assert!(matches!(fault(b"", "a.xlsx"), ReadFault::Empty));
    for (bytes, found) in [
        (&b"%PDF-1.7 ..."[..], "a PDF document"),
        (b"<html><table><tr><td>1</td></tr></table>", "a web page"),
        (
            b"<?xml version='1.0'?><Workbook xmlns='urn:schemas-microsoft-com:office:spreadsheet'/>",
            "Excel 2003",
        ),
        (b"{\"target_entity\": \"account\"}", "a JSON file"),
        (b"\x09\x08\x10\x00\x00\x06\x05\x00", "without its container"),
        (b"a\0b\0\0\0\x01\x02c", "binary data"),
        (b" \r\n \n", "blanks only"),
    ] {
        let fault = fault(bytes, "a.xlsx");
        assert!(matches!(&fault, ReadFault::NotAWorkbook { found: f } if f.contains(found)), "{fault}");
        assert!(fault.is_senders());
    }
    let zip = zip_of(&BTreeMap::from([("a.txt", "x")]));
    assert!(fault(&zip, "a.xlsx").to_string().contains("a zip archive"));
    let word = zip_of(&BTreeMap::from([("[Content_Types].xml", "…wordprocessingml.document.main+xml…")]));
    assert!(fault(&word, "a.xlsx").to_string().contains("a Word document"));
}

#[test]
fn a_workbook_that_is_cut_off_says_so() {
    let whole = rows("<row r='2'><c><v>1</v></c></row>");
    for length in [4, 60, whole.len() / 2, whole.len() - 30, whole.len() - 1] {
        let fault = fault(&whole[..length], "a.xlsx");
        assert!(matches!(fault, ReadFault::Truncated { .. }), "{length}: {fault}");
    }
}

#[test]
fn a_workbook_with_a_password_says_so() {
    // The directory of an OLE file with the stream that Office puts an encrypted workbook into.
    let mut file = vec![0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
    file.resize(1_024, 0);
    file.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    file.resize(1_536, 0);
    assert!(matches!(fault(&file, "a.xlsx"), ReadFault::Protected));
}

#[test]
fn limits_are_named_with_the_setting_that_raises_them() {
    let book = rows("<row r='2'><c><v>1</v></c><c><v>2</v></c></row><row r='3'><c><v>3</v></c></row>");
    let with = |change: fn(&mut ReadLimits)| {
        let mut request = request("a.xlsx");
        change(&mut request.limits);
        match read(&book, &request) {
            Err(ReadFault::TooLarge { setting, .. }) => setting,
            other => panic!("{:?}", other.err()),
        }
    };
    assert_eq!(with(|limits| limits.file_bytes_max = 100), "file_bytes_max");
    assert_eq!(with(|limits| limits.uncompressed_bytes_max = 100), "uncompressed_bytes_max");
    assert_eq!(with(|limits| limits.rows_max = 1), "rows_max");
    assert_eq!(with(|limits| limits.columns_max = 1), "columns_max");
    assert_eq!(with(|limits| limits.cell_chars_max = 0), "cell_chars_max");
    let bomb = rows(&" ".repeat(70 << 20));
    assert!(matches!(fault(&bomb, "a.xlsx"), ReadFault::TooLarge { setting, .. } if setting == "ratio_max"));
}

#[test]
fn claims_of_size_cost_nothing() {
    // A dimension of the whole grid, two cells at its corners, and a string table that says it is endless.
    let strings = "<sst count=\"100000000000\" uniqueCount=\"100000000000\"><si><t>far</t></si></sst>";
    let data = "<dimension ref=\"C5:A1\"/><sheetData><row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>A</t></is></c></row>\
        <row r=\"1048576\"><c r=\"A1048576\" t=\"s\"><v>0</v></c></row></sheetData>";
    let read = read(&xlsx_with(data, &[("xl/sharedStrings.xml", strings)]), &request("a.xlsx")).unwrap();
    assert_eq!(read.values("A"), ["far"]);
    assert_eq!(read.values("_ddu_row"), ["1048576"]);
    assert_eq!(read.notes(), ["1048574 blank rows skipped"]);
}

#[test]
fn a_column_in_the_far_corner_is_one_column_more() {
    let book = rows("<row r='2'><c><v>1</v></c><c r='XFD2'><v>2</v></c></row>");
    let read = read(&book, &request("a.xlsx")).unwrap();
    assert_eq!(read.kinds().last().unwrap(), &("column_XFD", StageType::Integer));
}

#[test]
fn rows_out_of_order_keep_their_numbers_and_a_row_given_twice_is_refused() {
    let read =
        read(&rows("<row r='4'><c><v>4</v></c></row><row r='2'><c><v>2</v></c></row>"), &request("a.xlsx"))
            .unwrap();
    assert_eq!(read.values("_ddu_row"), ["4", "2"]);
    assert_eq!(read.values("A"), ["4", "2"]);
    let twice = rows(
        "<row r='2'><c><v>1</v></c></row><row r='3'><c><v>1</v></c></row><row r='2'><c><v>1</v></c></row>",
    );
    assert!(fault(&twice, "a.xlsx").to_string().contains("row 2 stands there twice"));
}

#[test]
fn entities_that_a_workbook_defines_itself_are_refused() {
    let strings = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><sst><si><t>&b;</t></si></sst>";
    let book = xlsx_with(
        "<sheetData><row><c t='s'><v>0</v></c></row></sheetData>",
        &[("xl/sharedStrings.xml", strings)],
    );
    assert!(matches!(fault(&book, "a.xlsx"), ReadFault::Damaged { .. }));
}

#[test]
fn missing_parts_are_named() {
    let rels = "<Relationships><Relationship Id=\"r1\" Type=\"x/worksheet\" Target=\"worksheets/gone.xml\"/></Relationships>";
    let book = xlsx_with("", &[("xl/_rels/workbook.xml.rels", rels)]);
    assert!(fault(&book, "a.xlsx").to_string().contains("`xl/worksheets/gone.xml` is missing"));
    let none = xlsx_with("", &[("xl/workbook.xml", "<workbook/>")]);
    assert!(matches!(fault(&none, "a.xlsx"), ReadFault::NoSheet { .. }));
    let mut zone = request("a.xlsx");
    zone.timezone = "Nowhere".to_owned();
    assert!(matches!(read(&rows(""), &zone), Err(ReadFault::UnknownTimezone { .. })));
}
