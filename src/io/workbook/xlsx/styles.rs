//! Number formats: which numbers are dates, durations or have leading zeros.

use std::collections::HashMap;
use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::xml;
use crate::io::workbook::fault::ReadFault;

/// How a number format shows a number, as far as it changes what the number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As a number, a percentage, a currency …: by value.
    Number,
    /// With leading zeros up to this width: `00000`.
    Zeros(u8),
    /// As a date, a time of day, or both; `true` where day, month or year are shown.
    Date(bool),
    /// As a duration: `[h]:mm`.
    Duration,
}

/// Cell formats that are read; the rest are numbers. Excel itself writes at most 65,490.
const CELL_FORMATS_MAX: usize = 100_000;

/// Reads the cell formats, by the index that cells name.
pub(super) fn read_styles<R: BufRead>(part: &str, reader: &mut Reader<R>) -> Result<Vec<Shape>, ReadFault> {
    let mut customs: HashMap<u32, Shape> = HashMap::new();
    let mut shapes = Vec::new();
    let mut within_cell_formats = false;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(part, e))? {
            Event::Start(element) => match element.local_name().as_ref() {
                "numFmt" => {
                    let id = xml::attribute(&element, "numFmtId").and_then(|id| id.parse().ok());
                    let code = xml::attribute(&element, "formatCode");
                    if let (Some(id), Some(code)) = (id, code) {
                        customs.insert(id, shape_of_code(&code));
                    }
                }
                "cellXfs" => within_cell_formats = true,
                "xf" if within_cell_formats && shapes.len() < CELL_FORMATS_MAX => {
                    let id = xml::attribute(&element, "numFmtId").and_then(|id| id.parse().ok()).unwrap_or(0);
                    shapes.push(customs.get(&id).copied().unwrap_or_else(|| built_in(id)));
                }
                _ => {}
            },
            Event::End(element) if element.local_name().as_ref() == "cellXfs" => within_cell_formats = false,
            Event::Eof => return Ok(shapes),
            _ => {}
        }
    }
}

/// The formats that have a number and no code. Source: ECMA-376 part 1, 18.8.30; 27-36 and 50-58 are East Asian
/// dates, with times among them.
fn built_in(id: u32) -> Shape {
    match id {
        14..=17 | 22 | 27..=31 | 36 | 50..=54 | 57..=58 => Shape::Date(true),
        18..=21 | 32..=35 | 45 | 47 | 55..=56 => Shape::Date(false),
        46 => Shape::Duration,
        _ => Shape::Number,
    }
}

/// The shape of a format code, by its first section (the one for positive numbers).
fn shape_of_code(code: &str) -> Shape {
    let mut letters = String::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        match c {
            ';' => break,
            '"' => {
                // Quoted text counts as text, so that `0" days"` is not taken for digits alone.
                if chars.by_ref().take_while(|c| *c != '"').count() > 0 {
                    letters.push('\'');
                }
            }
            '\\' => {
                chars.next();
                letters.push('\'');
            }
            '_' | '*' => {
                chars.next();
            }
            '[' => {
                let inside: String = chars.by_ref().take_while(|c| *c != ']').collect();
                let first = inside.chars().next().map(|c| c.to_ascii_lowercase());
                let elapsed = first.filter(|c| matches!(c, 'h' | 'm' | 's'));
                if elapsed.is_some_and(|f| inside.chars().all(|c| c.to_ascii_lowercase() == f)) {
                    return Shape::Duration;
                }
            }
            other => letters.push(other.to_ascii_lowercase()),
        }
    }
    // Each of these words holds letters that mean something else in a date.
    let letters = letters.replace("general", "").replace("am/pm", "h").replace("a/p", "h");
    if letters.len() > 1 && letters.len() <= 32 && letters.bytes().all(|b| b == b'0') {
        return Shape::Zeros(letters.len() as u8);
    }
    let clock = letters.contains(['h', 's']);
    let day = letters.contains(['d', 'y']) || (letters.contains('m') && !clock);
    // A lone `e` is a year in East Asian formats, but the exponent in `0.00E+00`.
    let era = letters.contains('e') && !letters.contains("e+") && !letters.contains("e-");
    match (day || era, clock) {
        (true, _) => Shape::Date(true),
        (false, true) => Shape::Date(false),
        (false, false) => Shape::Number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_code_tells_dates_from_numbers() {
        for (code, shape) in [
            ("General", Shape::Number),
            ("0", Shape::Number),
            ("00000", Shape::Zeros(5)),
            ("000;-000", Shape::Zeros(3)),
            ("[$-407]00000", Shape::Zeros(5)),
            ("0.00", Shape::Number),
            ("0.00E+00", Shape::Number),
            ("#,##0.00\\ [$€-407]", Shape::Number),
            ("0\" days\"", Shape::Number),
            ("00\" h\"", Shape::Number),
            ("\"Datum: \"0", Shape::Number),
            ("_-* #,##0.00\\ _m_d_-", Shape::Number),
            ("[Red]0;[Blue]d", Shape::Number),
            ("@", Shape::Number),
            ("dd.mm.yyyy", Shape::Date(true)),
            ("[$-407]d. mmmm yyyy;@", Shape::Date(true)),
            ("MMM", Shape::Date(true)),
            ("yyyy\"年\"m\"月\"", Shape::Date(true)),
            ("[$-411]ge.m", Shape::Date(true)),
            ("h:mm", Shape::Date(false)),
            ("mm:ss.0", Shape::Date(false)),
            ("h AM/PM", Shape::Date(false)),
            ("yyyy-mm-dd hh:mm:ss", Shape::Date(true)),
            ("[h]:mm", Shape::Duration),
            ("[mm]:ss", Shape::Duration),
        ] {
            assert_eq!(shape_of_code(code), shape, "{code}");
        }
    }

    #[test]
    fn cells_name_their_format_by_its_place_among_the_cell_formats() {
        let xml = "<styleSheet><numFmts><numFmt numFmtId='164' formatCode='dd&quot;.&quot;mm'/></numFmts>\
            <cellStyleXfs><xf numFmtId='14'/></cellStyleXfs>\
            <cellXfs><xf numFmtId='0'/><xf numFmtId='164'/><xf/><xf numFmtId='46'/></cellXfs></styleSheet>";
        let shapes = read_styles("styles", &mut xml::reader(xml.as_bytes()));
        assert!(matches!(
            shapes.as_deref(),
            Ok([Shape::Number, Shape::Date(true), Shape::Number, Shape::Duration])
        ));
    }
}
