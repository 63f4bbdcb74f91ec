//! Rich and plain strings: `<si>` of the shared strings and `<is>` of inline ones.

use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::xml;
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::strings::Strings;

/// Bytes of XML events; used again for every string, so that nothing is allocated for one.
#[derive(Default)]
pub(super) struct Scratch {
    /// Of the elements within a string.
    pub events: Vec<u8>,
    /// Of the text within one element.
    pub texts: Vec<u8>,
}

/// Characters that a string may have, with the limit's own name for the fault.
pub(in crate::io::workbook) fn check_length(text: &str, chars_max: u64) -> Result<(), ReadFault> {
    // Bytes are an upper bound of characters, so that counting is for long texts only.
    if text.len() as u64 <= chars_max {
        return Ok(());
    }
    match text.chars().count() as u64 {
        chars if chars > chars_max => {
            Err(ReadFault::too_large("characters in one cell", chars, chars_max, "cell_chars_max"))
        }
        _ => Ok(()),
    }
}

/// Reads the whole shared strings part.
///
/// Its `count` and `uniqueCount` are not looked at: they are claims, and reserving by them aborts the process.
pub(super) fn read_strings<R: BufRead>(
    part: &str,
    reader: &mut Reader<R>,
    chars_max: u64,
) -> Result<Strings, ReadFault> {
    let mut strings = Strings::default();
    let mut buffer = Vec::new();
    let mut scratch = Scratch::default();
    let mut text = String::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(part, e))? {
            Event::Start(element) if element.local_name().as_ref() == "si" => {
                text.clear();
                read_string(part, reader, "si", chars_max, &mut scratch, &mut text)?;
                strings.push(&text)?;
            }
            Event::Eof => return Ok(strings),
            _ => {}
        }
    }
}

/// Appends the string inside the element `within` that has just been opened: its runs joined, its phonetic runs
/// left out, its `_x000D_` escapes decoded.
pub(super) fn read_string<R: BufRead>(
    part: &str,
    reader: &mut Reader<R>,
    within: &str,
    chars_max: u64,
    scratch: &mut Scratch,
    text: &mut String,
) -> Result<(), ReadFault> {
    let mut phonetic = false;
    loop {
        scratch.events.clear();
        match reader.read_event_into(&mut scratch.events).map_err(|e| xml::broken(part, e))? {
            Event::Start(element) => match element.local_name().as_ref() {
                "rPh" => phonetic = true,
                "t" if !phonetic => {
                    let keeps_blanks = xml::attribute(&element, "space").is_some_and(|v| v == "preserve");
                    let start = text.len();
                    read_text(part, reader, "t", chars_max, &mut scratch.texts, text)?;
                    if !keeps_blanks {
                        trim_from(start, text);
                    }
                    decode_from(start, text);
                }
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "rPh" => phonetic = false,
                name if name == within => return Ok(()),
                _ => {}
            },
            Event::Eof => return Err(cut_off(part)),
            _ => {}
        }
    }
}

/// Appends the characters up to the end of the element `within` that has just been opened.
pub(super) fn read_text<R: BufRead>(
    part: &str,
    reader: &mut Reader<R>,
    within: &str,
    chars_max: u64,
    buffer: &mut Vec<u8>,
    text: &mut String,
) -> Result<(), ReadFault> {
    loop {
        buffer.clear();
        match reader.read_event_into(buffer).map_err(|e| xml::broken(part, e))? {
            Event::Text(piece) => text.push_str(&piece.xml10_content()),
            Event::CData(piece) => text.push_str(&piece.xml10_content()),
            Event::GeneralRef(entity) => xml::push_entity(&entity, text)?,
            Event::End(element) if element.local_name().as_ref() == within => return Ok(()),
            Event::Eof => return Err(cut_off(part)),
            _ => {}
        }
        check_length(text, chars_max)?;
    }
}

/// The fault of a part that ends in the middle.
pub(super) fn cut_off(part: &str) -> ReadFault {
    ReadFault::Truncated { detail: format!("`{part}` ends in the middle") }
}

/// Without `xml:space="preserve"` Excel drops the blanks around a run; so do we.
fn trim_from(start: usize, text: &mut String) {
    let blanks = [' ', '\t', '\r', '\n'];
    text.truncate(start + text[start..].trim_end_matches(blanks).len());
    let lead = text[start..].len() - text[start..].trim_start_matches(blanks).len();
    text.drain(start..start + lead);
}

/// Decodes `_x000D_`: a UTF-16 code unit that XML cannot hold, or a guard of a literal `_x`.
///
/// What does not come to a character (half a surrogate pair) stays as it stands: nothing is lost.
pub(super) fn decode_from(start: usize, text: &mut String) {
    if !text[start..].contains("_x") {
        return;
    }
    let encoded = text.split_off(start);
    let mut rest = encoded.as_str();
    while let Some(at) = rest.find("_x") {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let decoded = match code_unit(rest) {
            Some(high @ 0xD800..=0xDBFF) => {
                let low = rest.get(7..).and_then(code_unit);
                let pair = char::decode_utf16([Some(high), low].into_iter().flatten()).next();
                pair.and_then(Result::ok).map(|c| (c, 14))
            }
            Some(unit) => char::from_u32(u32::from(unit)).map(|c| (c, 7)),
            None => None,
        };
        let (c, length) = decoded.unwrap_or(('_', 1));
        text.push(c);
        rest = &rest[length..];
    }
    text.push_str(rest);
}

/// The code unit of a text that starts with `_xHHHH_`.
fn code_unit(text: &str) -> Option<u16> {
    let hex = text.strip_prefix("_x")?.get(..4)?;
    let closed = text.as_bytes().get(6) == Some(&b'_');
    (closed && hex.bytes().all(|b| b.is_ascii_hexdigit())).then(|| u16::from_str_radix(hex, 16).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn strings(xml: &str) -> Result<Vec<String>, ReadFault> {
        let strings = read_strings("sst", &mut xml::reader(xml.as_bytes()), 100)?;
        Ok((0..strings.len()).map(|i| strings.get(i as u32).to_owned()).collect())
    }

    #[test]
    fn runs_are_joined_phonetics_left_out_and_blanks_kept_where_the_file_says_so() {
        let xml = "<sst uniqueCount='100000000000'><si><t> a </t></si><si><t xml:space=\"preserve\"> b\n</t></si>\
            <si><r><t>c</t></r><r><rPr/><t xml:space='preserve'> d</t></r><rPh><t>X</t></rPh></si><si/>\
            <si><t>&lt;&#x41;&amp;<![CDATA[<b>]]></t></si></sst>";
        assert_eq!(strings(xml).unwrap(), ["a", " b\n", "c d", "", "<A&<b>"]);
    }

    #[test]
    fn escapes_are_decoded_and_whatever_only_looks_like_one_is_kept() {
        for (given, wanted) in [
            ("a_x000D_b", "a\rb"),
            ("_x005F_x000D_", "_x000D_"),
            ("_xD83D__xDE00_!", "😀!"),
            ("_xD83D_ _x1_ _x", "_xD83D_ _x1_ _x"),
            ("é_x00e4_", "éä"),
        ] {
            let mut text = String::from("before ");
            text.push_str(given);
            decode_from(7, &mut text);
            assert_eq!(&text[7..], wanted);
        }
    }

    #[test]
    fn own_entities_endless_texts_and_cut_parts_are_refused() {
        assert!(matches!(strings("<sst><si><t>&lol9;</t></si></sst>"), Err(ReadFault::Damaged { .. })));
        let long = format!("<sst><si><t>{}</t></si></sst>", "é".repeat(101));
        assert!(matches!(strings(&long), Err(ReadFault::TooLarge { found: 101, limit: 100, .. })));
        assert!(matches!(strings("<sst><si><t>abc"), Err(ReadFault::Truncated { .. })));
    }
}
