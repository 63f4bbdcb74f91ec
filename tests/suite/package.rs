//! Zip containers taken apart and put together again, so that what is inside can be changed.

use std::io::{Cursor, Read, Write};

/// Bytes of one part that are taken out; a bomb is left in its container.
const PART_BYTES_MAX: u64 = 8 << 20;

/// A container's parts in their order.
pub type Parts = Vec<(String, Vec<u8>)>;

/// The parts of a container; `None` where it is none, or holds more than a test should hold.
pub fn opened(bytes: &[u8]) -> Option<Parts> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut parts = Vec::new();
    for index in 0..zip.len() {
        let mut part = zip.by_index(index).ok()?;
        let name = part.name().ok()?.into_owned();
        let mut content = Vec::new();
        part.by_ref().take(PART_BYTES_MAX + 1).read_to_end(&mut content).ok()?;
        if content.len() as u64 > PART_BYTES_MAX {
            return None;
        }
        parts.push((name, content));
    }
    Some(parts)
}

/// A container of these parts.
pub fn packed<N: AsRef<str>, C: AsRef<[u8]>>(parts: &[(N, C)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        zip.start_file(name.as_ref(), zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content.as_ref()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A workbook with a part replaced, or added where it has none of this name.
pub fn with_part(workbook: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut parts = opened(workbook).unwrap();
    match parts.iter_mut().find(|(part, _)| part == name) {
        Some((_, old)) => *old = content.to_vec(),
        None => parts.push((name.to_owned(), content.to_vec())),
    }
    packed(&parts)
}

/// The text of a part.
pub fn part(workbook: &[u8], name: &str) -> String {
    let parts = opened(workbook).unwrap();
    let (_, content) = parts.into_iter().find(|(part, _)| part == name).unwrap();
    String::from_utf8(content).unwrap()
}

/// A workbook made by hand: the parts that every xlsx has, one sheet with this inside of `<worksheet>`, and others
/// added or in the place of those.
pub fn by_hand(sheet: &str, others: &[(&str, &str)]) -> Vec<u8> {
    let sheet = format!("<worksheet>{sheet}</worksheet>");
    let types = "<Types><Override PartName=\"/xl/workbook.xml\" ContentType=\"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml\"/></Types>";
    let root = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>";
    let workbook = "<workbook><sheets><sheet name=\"Sheet1\" sheetId=\"1\" r:id=\"r1\"/></sheets></workbook>";
    let relations = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
        <Relationship Id=\"r2\" Type=\"http://x/sharedStrings\" Target=\"sharedStrings.xml\"/>\
        <Relationship Id=\"r3\" Type=\"http://x/styles\" Target=\"styles.xml\"/></Relationships>";
    let mut parts = vec![
        ("[Content_Types].xml", types),
        ("_rels/.rels", root),
        ("xl/workbook.xml", workbook),
        ("xl/_rels/workbook.xml.rels", relations),
        ("xl/worksheets/sheet1.xml", sheet.as_str()),
    ];
    for (name, content) in others {
        match parts.iter_mut().find(|(part, _)| part == name) {
            Some((_, old)) => *old = content,
            None => parts.push((name, content)),
        }
    }
    packed(&parts)
}

/// A row of text cells, from column A.
pub fn text_row(number: u32, texts: &[&str]) -> String {
    let cells: String =
        texts.iter().map(|text| format!("<c t=\"inlineStr\"><is><t>{text}</t></is></c>")).collect();
    format!("<row r=\"{number}\">{cells}</row>")
}
