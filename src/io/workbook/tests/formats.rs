//! The other formats, and text in all its encodings.

use super::*;

fn csv(text: &str, encoding: &str) -> Vec<u8> {
    let units = |swap: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(swap).collect::<Vec<u8>>();
    match encoding {
        "utf-8" => text.as_bytes().to_vec(),
        "utf-8 with a mark" => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        "utf-16le with a mark" => [vec![0xFF, 0xFE], units(u16::to_le_bytes)].concat(),
        "utf-16be with a mark" => [vec![0xFE, 0xFF], units(u16::to_be_bytes)].concat(),
        "utf-16le" => units(u16::to_le_bytes),
        "windows-1252" => encoding_rs::WINDOWS_1252.encode(text).0.into_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_text_reads_the_same_in_every_encoding_and_with_every_delimiter() {
    let encodings = [
        "utf-8",
        "utf-8 with a mark",
        "utf-16le with a mark",
        "utf-16be with a mark",
        "utf-16le",
        "windows-1252",
    ];
    for encoding in encodings {
        for delimiter in [",", ";", "\t"] {
            let lines = ["Größe;Preis €;Notiz", "007;1.50;\"zwei\nZeilen\"", "", "x;NA;\"a;b,c\td\""];
            let text = lines.join("\r\n").replace(';', delimiter).replace(&format!("a{delimiter}b"), "a;b");
            let read = read(&csv(&text, encoding), &request("Preise.csv")).unwrap();
            let told = format!("{encoding} {delimiter:?}");
            assert_eq!(read.header.sheet, "Preise");
            assert_eq!(read.values("_ddu_row"), ["2", "4"], "{told}");
            assert_eq!(read.values("Größe"), ["007", "x"], "{told}");
            assert_eq!(read.values("Preis"), ["1.50", "NA"], "{told}");
            assert_eq!(read.values("Notiz"), ["zwei\nZeilen", "a;b,c\td"], "{told}");
            assert!(read.kinds().iter().all(|(_, kind)| *kind == StageType::Text), "{told}");
            assert!(read.notes().contains(&"1 blank row skipped"), "{told} {:?}", read.notes());
        }
    }
}

#[test]
fn a_text_may_name_its_delimiter_and_may_be_one_column() {
    let named = read(b"sep=|\nA|B\n1|2\n", &request("a.csv")).unwrap();
    assert_eq!(named.values("B"), ["2"]);
    assert_eq!(named.values("_ddu_row"), ["2"]);
    let single = read(b"Name\nAnna\nBert\n", &request("a.txt")).unwrap();
    assert_eq!(single.values("Name"), ["Anna", "Bert"]);
    let broken = [b"\xFF\xFE".as_slice(), &csv("A,B\n", "utf-16le"), b"\x00\xD8\x0A\x00"].concat();
    assert!(matches!(read(&broken, &request("a.csv")), Err(ReadFault::Damaged { .. })));
}

#[test]
fn types_that_are_asked_for_are_made_of_texts_that_spell_them() {
    let mut request = request("a.csv");
    request.hints =
        hints(&[("n", StageType::Integer), ("d", StageType::Timestamp), ("b", StageType::Boolean)]);
    let read = read(b"n,d,b\n7,2023-02-10T12:00:00,TRUE\n07,2023-02-10,yes\n", &request).unwrap();
    assert_eq!(read.values("n"), ["7", "∅"]);
    assert_eq!(read.values("d"), ["2023-02-10T12:00:00Z", "∅"]);
    assert_eq!(read.values("b"), ["true", "∅"]);
    assert_eq!(read.rescued()[1]["n"]["value"], "07");
    assert_eq!(read.rescued()[1]["b"]["value"], "yes");
}

#[test]
fn a_wrong_extension_is_read_and_mentioned() {
    let mut book = rust_xlsxwriter::Workbook::new();
    book.add_worksheet().write_string(0, 0, "A").unwrap();
    let probe = probe(&book.save_to_buffer().unwrap(), "a.XLS").unwrap();
    assert_eq!(probe.format, super::super::WorkbookFormat::Xlsx);
    assert_eq!(probe.notes, ["the file is named .xls but is xlsx; it was read as xlsx"]);
}

#[test]
fn an_open_document_sheet_reads_like_any_other() {
    let content = "<office:document-content><office:body><office:spreadsheet><table:table table:name=\"T\">\
        <table:table-row><table:table-cell office:value-type=\"string\"><text:p>Name</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"string\"><text:p>When</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"string\"><text:p>Clock</text:p></table:table-cell></table:table-row>\
        <table:table-row><table:table-cell office:value-type=\"string\"><text:p>Anna</text:p></table:table-cell>\
        <table:table-cell office:value-type=\"date\" office:date-value=\"2023-03-15\"/>\
        <table:table-cell office:value-type=\"time\" office:time-value=\"PT13H45M00S\"/></table:table-row>\
        </table:table></office:spreadsheet></office:body></office:document-content>";
    let manifest =
        "<manifest:manifest><manifest:file-entry manifest:full-path=\"content.xml\"/></manifest:manifest>";
    let parts = BTreeMap::from([
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content),
        ("META-INF/manifest.xml", manifest),
    ]);
    let read = read(&zip_of(&parts), &request("a.ods")).unwrap();
    assert_eq!(read.values("Name"), ["Anna"]);
    assert_eq!(read.values("When"), ["2023-03-15"]);
    assert_eq!(read.values("Clock"), ["13:45:00"]);
}
