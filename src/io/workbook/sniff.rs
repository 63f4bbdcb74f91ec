//! What a file is, told by its content, and the guards that come before any parser.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use zip::ZipArchive;

use super::delimited::{Pieces, TextShape, likely_delimiter};
use super::fault::ReadFault;
use super::package::MANIFEST;
use super::request::{ReadLimits, WorkbookFormat};
use super::xlsx::broken_zip;

/// Bytes at the start of a file that tell what it is.
const HEAD_BYTES: usize = 64 << 10;
/// Parts that a container may have; a workbook of a thousand sheets with drawings stays far below.
const ENTRIES_MAX: usize = 20_000;
/// Unpacked bytes below which the ratio does not matter: small sheets of equal cells pack a hundredfold and more.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Bytes of a container's own list of types that are read.
const TYPES_BYTES_MAX: u64 = 1 << 20;

/// What a file is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sniffed {
    /// Its format.
    pub format: WorkbookFormat,
    /// How its text is to be read, for csv and tsv.
    pub text: Option<TextShape>,
    /// What the sender may want to know, one sentence each.
    pub notes: Vec<String>,
}

/// Tells what a file is and keeps it within the limits that can be checked before it is parsed.
///
/// # Errors
/// When it is empty, no workbook, cut off, protected, or too large.
pub(super) fn sniff(file: &mut File, file_name: &str, limits: &ReadLimits) -> Result<Sniffed, ReadFault> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(ReadFault::Empty);
    }
    if length > limits.file_bytes_max {
        return Err(ReadFault::too_large(
            "bytes in the file",
            length,
            limits.file_bytes_max,
            "file_bytes_max",
        ));
    }
    let mut head = Vec::new();
    file.rewind()?;
    (&*file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    let mut sniffed = match head.as_slice() {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => whole(zip_format(file, length, limits)?),
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1, ..] => whole(compound_format(file)?),
        _ => text_format(file, &head)?,
    };
    if let Some(note) = extension_note(file_name, sniffed.format) {
        sniffed.notes.insert(0, note);
    }
    file.rewind()?;
    Ok(sniffed)
}

fn whole(format: WorkbookFormat) -> Sniffed {
    Sniffed { format, text: None, notes: Vec::new() }
}

fn not_a_workbook(found: &str) -> ReadFault {
    ReadFault::NotAWorkbook { found: found.to_owned() }
}

/// A note where the extension says something else than the content.
fn extension_note(file_name: &str, format: WorkbookFormat) -> Option<String> {
    let extension = file_name.rsplit_once('.')?.1.to_lowercase();
    let is_text = |extension: &str| matches!(extension, "csv" | "tsv" | "txt");
    let known =
        matches!(extension.as_str(), "xlsx" | "xlsm" | "xlsb" | "xls" | "ods" | "zip") || is_text(&extension);
    let meant = format.extension();
    let same = extension == meant || (is_text(&extension) && is_text(meant));
    (known && !same).then(|| format!("the file is named .{extension} but is {meant}; it was read as {meant}"))
}

/// What a zip container holds, after its declared sizes were held against the limits.
fn zip_format(file: &File, length: u64, limits: &ReadLimits) -> Result<WorkbookFormat, ReadFault> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|error| match error {
        zip::result::ZipError::InvalidArchive(detail) => {
            ReadFault::Truncated { detail: format!("its container has no end: {detail}") }
        }
        other => broken_zip(other),
    })?;
    if zip.len() > ENTRIES_MAX {
        return Err(ReadFault::BeyondBounds {
            detail: format!("it has more than {ENTRIES_MAX} parts; split it"),
        });
    }
    let mut unpacked = 0_u64;
    let mut names = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_data(index).map_err(broken_zip)?;
        unpacked = unpacked.saturating_add(entry.size());
        if entry.encrypted() {
            return Err(ReadFault::Protected);
        }
        names.push(entry.name().map_err(broken_zip)?.replace('\\', "/").to_lowercase());
    }
    if unpacked > limits.uncompressed_bytes_max {
        let limit = limits.uncompressed_bytes_max;
        return Err(ReadFault::too_large("unpacked bytes", unpacked, limit, "uncompressed_bytes_max"));
    }
    let ratio = unpacked / length;
    if unpacked > RATIO_FREE_BYTES && ratio > limits.ratio_max {
        return Err(ReadFault::too_large("times its packed size", ratio, limits.ratio_max, "ratio_max"));
    }
    let mut part = |name: &str| -> Option<String> {
        let index = names.iter().position(|n| n.trim_start_matches('/') == name)?;
        let mut bytes = Vec::new();
        zip.by_index(index).ok()?.take(TYPES_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    if let Some(mime) = part("mimetype") {
        return match mime.trim() {
            mime if mime.starts_with("application/vnd.oasis.opendocument.spreadsheet") => {
                Ok(WorkbookFormat::Ods)
            }
            _ => Err(not_a_workbook("another OpenDocument file")),
        };
    }
    let types = part("[content_types].xml").unwrap_or_default();
    let has = |name: &str| names.iter().any(|n| n.trim_start_matches('/') == name);
    if types.contains("spreadsheetml") || types.contains("vnd.ms-excel") || has("xl/workbook.xml") {
        if types.contains("sheet.binary.macroEnabled") || has("xl/workbook.bin") {
            return Ok(WorkbookFormat::Xlsb);
        }
        let macros =
            ["ms-excel.sheet.macroEnabled", "ms-excel.template.macroEnabled", "ms-excel.addin.macroEnabled"];
        let is_macro = macros.iter().any(|kind| types.contains(kind));
        return Ok(if is_macro { WorkbookFormat::Xlsm } else { WorkbookFormat::Xlsx });
    }
    if has(MANIFEST) && has("packageheader.xml") {
        return Ok(WorkbookFormat::Package);
    }
    Err(not_a_workbook(if types.contains("wordprocessingml") {
        "a Word document"
    } else if types.contains("presentationml") {
        "a PowerPoint presentation"
    } else if names.iter().any(|name| name.ends_with(".iwa")) {
        "an Apple Numbers document (export it as xlsx)"
    } else {
        "a zip archive (drop the workbooks in it one by one)"
    }))
}

/// What an OLE compound file holds, by the names in its directory: entries of 128 bytes, names in UTF-16.
fn compound_format(file: &mut File) -> Result<WorkbookFormat, ReadFault> {
    let utf16 =
        |name: &str| -> Vec<u8> { name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect() };
    let protected = utf16("EncryptedPackage");
    let books = [utf16("Workbook"), utf16("Book")];
    let (mut is_protected, mut is_book) = (false, false);
    let mut reader = BufReader::with_capacity(HEAD_BYTES, &*file);
    reader.rewind()?;
    let mut entry = [0; 128];
    loop {
        match reader.read_exact(&mut entry) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        is_protected |= entry.starts_with(&protected);
        is_book |= books.iter().any(|name| entry.starts_with(name));
    }
    match (is_protected, is_book) {
        (true, _) => Err(ReadFault::Protected),
        (false, true) => Ok(WorkbookFormat::Xls),
        (false, false) => Err(not_a_workbook("another Office document, or one that is cut off")),
    }
}

/// How to read a text, if it is one.
fn text_format(file: &mut File, head: &[u8]) -> Result<Sniffed, ReadFault> {
    if let Some(found) = stranger(head) {
        return Err(not_a_workbook(found));
    }
    let (encoding, sure) = match head {
        [0xEF, 0xBB, 0xBF, ..] => (UTF_8, true),
        [0xFF, 0xFE, ..] => (UTF_16LE, true),
        [0xFE, 0xFF, ..] => (UTF_16BE, true),
        _ => match nul_halves(head) {
            (0, 0) => (UTF_8, false),
            (even, odd) if odd * 3 > head.len() && even * 10 < odd => (UTF_16LE, true),
            (even, odd) if even * 3 > head.len() && odd * 10 < even => (UTF_16BE, true),
            _ => return Err(not_a_workbook("binary data")),
        },
    };
    let encoding = if sure || is_utf_8(file)? { encoding } else { WINDOWS_1252 };
    file.rewind()?;
    let mut sample = String::new();
    if !Pieces::new(&*file, encoding).next_into(&mut sample)? || sample.trim().is_empty() {
        return Err(ReadFault::NotAWorkbook { found: "a text file of blanks only".to_owned() });
    }
    let odd = sample.chars().filter(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n' | '\u{c}')).count();
    if odd * 50 > sample.chars().count() {
        return Err(not_a_workbook("binary data"));
    }
    let named = sample.lines().next().and_then(|line| line.strip_prefix("sep=")).map(str::as_bytes);
    let (delimiter, names_delimiter) = match named {
        Some([delimiter]) if delimiter.is_ascii() => (*delimiter, true),
        _ => (likely_delimiter(&sample), false),
    };
    let shown = match delimiter {
        b'\t' => "tabs".to_owned(),
        other => format!("`{}`", char::from(other)),
    };
    let format = if delimiter == b'\t' { WorkbookFormat::Tsv } else { WorkbookFormat::Csv };
    let notes = vec![format!("text in {} with {shown} between the cells", encoding.name())];
    Ok(Sniffed { format, text: Some(TextShape { encoding, delimiter, names_delimiter }), notes })
}

/// Formats that people drop by mistake, by their first bytes.
fn stranger(head: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 12] = [
        (b"%PDF", "a PDF document"),
        (b"{\\rtf", "a text document (RTF)"),
        (b"\x89PNG", "a picture"),
        (b"\xFF\xD8\xFF", "a picture"),
        (b"GIF8", "a picture"),
        (b"7z\xBC\xAF", "an archive"),
        (b"Rar!", "an archive"),
        (b"\x1F\x8B", "an archive"),
        (b"PAR1", "a Parquet file"),
        (b"\x09\x00\x04\x00", "an Excel workbook from before 1997 (open it in Excel and save it as xlsx)"),
        (b"\x09\x02\x06\x00", "an Excel workbook from before 1997 (open it in Excel and save it as xlsx)"),
        (b"\x09\x04\x06\x00", "an Excel workbook from before 1997 (open it in Excel and save it as xlsx)"),
    ];
    if let Some((_, found)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(found);
    }
    if head.starts_with(b"\x09\x08") && head.contains(&0) {
        return Some("an Excel workbook without its container (open it in Excel and save it as xlsx)");
    }
    let text: String = String::from_utf8_lossy(&head[..head.len().min(2_000)]).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("<?xml") && text.contains("urn:schemas-microsoft-com:office:spreadsheet") {
        return Some("an XML spreadsheet of Excel 2003 (open it in Excel and save it as xlsx)");
    }
    if ["<html", "<!doctype", "<table", "<?xml", "<"].iter().any(|start| text.starts_with(start)) {
        return Some("a web page or XML file (open it in Excel and save it as xlsx)");
    }
    let json = |open: char| {
        text.strip_prefix(open).map(|rest| rest.trim_start().starts_with(['"', '{', '}', '[', ']']))
    };
    (json('{') == Some(true) || json('[') == Some(true)).then_some("a JSON file")
}

/// Zero bytes at even and at odd places.
fn nul_halves(head: &[u8]) -> (usize, usize) {
    let nul_at = |parity| head.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    (nul_at(0), nul_at(1))
}

/// Whether the whole file is UTF-8.
fn is_utf_8(file: &mut File) -> Result<bool, ReadFault> {
    file.rewind()?;
    let mut bytes = vec![0; HEAD_BYTES];
    let mut kept = 0;
    loop {
        let count = file.read(&mut bytes[kept..])?;
        let whole = kept + count;
        match std::str::from_utf8(&bytes[..whole]) {
            Ok(_) => kept = 0,
            // The last character of a piece may be cut: at most three bytes of it are here.
            Err(error) if error.error_len().is_none() && count > 0 => {
                bytes.copy_within(error.valid_up_to()..whole, 0);
                kept = whole - error.valid_up_to();
            }
            Err(_) => return Ok(false),
        }
        if count == 0 {
            return Ok(true);
        }
    }
}
