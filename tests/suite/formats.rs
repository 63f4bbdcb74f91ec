//! Every format by its content, and every file that is no workbook by its name for it, through the reader's child.

use std::collections::BTreeSet;

use ddu::io::workbook::{ReadFault, WorkbookFormat};
use rust_xlsxwriter::Workbook;

use crate::fuzz::corpus;
use crate::package;
use crate::reader::{self, Sheet, request};
use crate::world::block_on;

fn read(name: &str, bytes: &[u8]) -> Result<Sheet, ReadFault> {
    block_on(reader::read(bytes, &request(name)))
}

fn xlsx() -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in (0..).zip([["Name", "Größe"], ["00123", "=1+1"], ["zwei\nZeilen", "x"]]) {
        for (column, cell) in (0..).zip(cells) {
            sheet.write_string(row, column, cell).unwrap();
        }
    }
    book.save_to_buffer().unwrap()
}

/// A text in one of the encodings that people save tables in.
fn encoded(text: &str, encoding: &str) -> Vec<u8> {
    let units = |swap: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(swap).collect::<Vec<u8>>();
    match encoding {
        "UTF-8" => text.as_bytes().to_vec(),
        "UTF-8 with a mark" => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        "UTF-16LE with a mark" => [vec![0xFF, 0xFE], units(u16::to_le_bytes)].concat(),
        "UTF-16BE with a mark" => [vec![0xFE, 0xFF], units(u16::to_be_bytes)].concat(),
        "UTF-16LE" => units(u16::to_le_bytes),
        "UTF-16BE" => units(u16::to_be_bytes),
        "Windows-1252" => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
        other => panic!("{other}"),
    }
}

const ENCODINGS: [&str; 7] = [
    "UTF-8",
    "UTF-8 with a mark",
    "UTF-16LE with a mark",
    "UTF-16BE with a mark",
    "UTF-16LE",
    "UTF-16BE",
    "Windows-1252",
];

#[test]
fn a_text_table_reads_the_same_in_every_encoding_with_every_separator_and_line_end() {
    // A header in umlauts, leading zeros, the other separators within cells, quoted quotation marks and line breaks,
    // a blank line that counts, and no line end at the end.
    for encoding in ENCODINGS {
        for separator in [",", ";", "\t"] {
            for line_end in ["\r\n", "\n"] {
                let lines = [
                    ["Name", "Größe", "Notiz"].join(separator),
                    ["007", "1.5", "\"zwei\nZeilen\""].join(separator),
                    String::new(),
                    ["\"a,b;c\td\"", "NA", "\"sagte \"\"ja\"\"\""].join(separator),
                ];
                let bytes = encoded(&lines.join(line_end), encoding);
                let told = format!("{encoding}, {separator:?}, {line_end:?}");
                let sheet = read("Liste.csv", &bytes).unwrap_or_else(|fault| panic!("{told}: {fault}"));
                assert_eq!(sheet.header.sheet, "Liste", "{told}");
                assert_eq!(sheet.values("Name"), ["007", "a,b;c\td"], "{told}");
                assert_eq!(sheet.values("Größe"), ["1.5", "NA"], "{told}");
                assert_eq!(sheet.values("Notiz"), ["zwei\nZeilen", "sagte \"ja\""], "{told}");
                let wanted = if separator == "\t" { WorkbookFormat::Tsv } else { WorkbookFormat::Csv };
                let probe = block_on(reader::probe(&bytes, &request("Liste.csv"))).unwrap();
                assert_eq!(probe.format, wanted, "{told}");
            }
        }
    }
}

#[test]
fn a_wrong_extension_is_read_by_content_and_mentioned() {
    let csv = b"Name;B\n1;2\n";
    for (name, bytes, note) in [
        ("a.xls", xlsx(), Some("the file is named .xls but is xlsx; it was read as xlsx")),
        ("a.csv", xlsx(), Some("the file is named .csv but is xlsx; it was read as xlsx")),
        ("a.ods", xlsx(), Some("the file is named .ods but is xlsx; it was read as xlsx")),
        ("a.xlsx", csv.to_vec(), Some("the file is named .xlsx but is csv; it was read as csv")),
        ("a.xls", b"Name\tB\n1\t2\n".to_vec(), Some("the file is named .xls but is tsv; it was read as tsv")),
        ("a.XLSX", xlsx(), None),
        ("a.txt", csv.to_vec(), None),
    ] {
        let sheet = read(name, &bytes).unwrap();
        assert!(sheet.header.columns[0].name == "Name", "{name}");
        let named: Vec<&str> = sheet.notes().into_iter().filter(|note| note.contains("is named")).collect();
        assert_eq!(named, note.as_slice(), "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_called_what_it_is_and_no_two_are_called_the_same() {
    let book = xlsx();
    let cut = &book[..book.len() / 2];
    // The directory of an OLE container with the stream that Office puts an encrypted workbook into.
    let mut locked = vec![0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
    locked.resize(1_024, 0);
    locked.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    locked.resize(1_536, 0);
    let word = package::packed(&[("[Content_Types].xml", "…wordprocessingml.document.main+xml…")]);
    let cases: [(&str, &[u8], &str); 8] = [
        ("empty.xlsx", b"", "the file is empty (0 bytes)"),
        ("blank.csv", b" \r\n\r\n", "not a workbook but a text file of blanks only"),
        ("letter.xlsx", b"%PDF-1.7 ...", "not a workbook but a PDF document"),
        (
            "page.xls",
            b"<html><table><tr><td>1</td></tr></table>",
            "not a workbook but a web page or XML file",
        ),
        ("word.xlsx", &word, "not a workbook but a Word document"),
        ("noise.xlsx", &[0, 159, 146, 150, 0, 1, 2, 3, 0, 0, 7], "not a workbook but binary data"),
        ("cut.xlsx", cut, "the file is cut off"),
        ("locked.xlsx", &locked, "the workbook is protected by a password"),
    ];
    let mut told = BTreeSet::new();
    for (name, bytes, sentence) in cases {
        let fault = read(name, bytes).err().unwrap_or_else(|| panic!("{name} was read"));
        assert!(fault.is_senders() && fault.to_string().contains(sentence), "{name}: {fault}");
        told.insert(fault.to_string());
    }
    assert_eq!(told.len(), cases.len());
}

#[test]
fn real_files_of_every_format_with_the_same_table_read_the_same() {
    let Some(corpus) = corpus() else { return };
    let read = |name: &str| {
        let bytes = std::fs::read(corpus.join("files").join(name)).unwrap();
        let sheet = read(name, &bytes).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        let columns: Vec<_> = sheet.header.columns.iter().map(|column| sheet.values(&column.name)).collect();
        (sheet.values("_ddu_row"), columns)
    };
    let families: [&[&str]; 5] = [
        &[
            "calamine__any_sheets.xlsx",
            "calamine__any_sheets.xls",
            "calamine__any_sheets.xlsb",
            "python-calamin__any_sheets.ods",
        ],
        &["calamine__date.xlsx", "calamine__date.xls", "calamine__date.xlsb"],
        &["calamine__date_1904.xlsx", "calamine__date_1904.xls", "calamine__date_1904.xlsb"],
        &["readxl__geometry.xlsx", "readxl__geometry_2.xls"],
        &["readxl__vietnamese-utf8.xlsx", "readxl__vietnamese-utf8.xls"],
    ];
    for family in families {
        let wanted = read(family[0]);
        assert!(!wanted.0.is_empty(), "{} has no row", family[0]);
        for name in &family[1..] {
            assert_eq!(read(name), wanted, "{name} and {}", family[0]);
        }
    }
    let locked = [
        "calamine__pass_protected.ods",
        "calamine__pass_protected.xlsb",
        "calamine__pass_protected.xlsx",
        "python-calamin__password.xls",
        "python-calamin__password.xlsx",
    ];
    for name in locked {
        let bytes = std::fs::read(corpus.join("files").join(name)).unwrap();
        let fault = block_on(reader::read(&bytes, &request(name))).err().unwrap();
        assert!(matches!(fault, ReadFault::Protected), "{name}: {fault}");
    }
}
