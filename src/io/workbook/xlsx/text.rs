//! Rich and plain strings: `<si>` of the shared strings and `<is>` of inline ones.

use std::io::Read;

use memchr::{memchr, memchr2};

use super::scan::{Scanner, Token, cut_off, push_cdata, push_text, utf8};
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::strings::Strings;

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
pub(super) fn read_strings<R: Read>(
    scanner: &mut Scanner<R>,
    chars_max: u64,
    strings: &mut Strings,
) -> Result<(), ReadFault> {
    let mut text = String::new();
    loop {
        while let Some(plain) = plain_string(scanner.ahead()?, b"<si>", b"</si>") {
            let found = plain.text()?;
            check_length(found, chars_max)?;
            if found.contains("_x") {
                text.clear();
                text.push_str(found);
                decode_from(0, &mut text);
                strings.push(&text)?;
            } else {
                strings.push(found)?;
            }
            let length = plain.length;
            scanner.skip(length);
        }
        match scanner.next()? {
            Token::Open(tag) if tag.name == b"si" => {
                text.clear();
                if !tag.empty {
                    read_string(scanner, b"si", chars_max, &mut text)?;
                }
                strings.push(&text)?;
            }
            Token::End => return Ok(()),
            _ => {}
        }
    }
}

/// A string in the form that nearly all strings have: one text, without references.
pub(super) struct Plain<'a> {
    /// Bytes of the whole form.
    pub length: usize,
    text: &'a [u8],
    keeps_blanks: bool,
}

impl<'a> Plain<'a> {
    /// Its characters, possibly with `_x000D_` escapes.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn text(&self) -> Result<&'a str, ReadFault> {
        let text = utf8(self.text)?;
        Ok(if self.keeps_blanks { text } else { text.trim_matches(BLANKS) })
    }
}

/// Takes a string in its common form, `<si><t>text</t></si>`, between these two tags; `None` where it has another.
pub(super) fn plain_string<'a>(bytes: &'a [u8], open: &[u8], close: &[u8]) -> Option<Plain<'a>> {
    let rest = bytes.strip_prefix(open)?.strip_prefix(b"<t")?;
    let (rest, keeps_blanks) = match rest.strip_prefix(b">") {
        Some(rest) => (rest, false),
        None => (rest.strip_prefix(b" xml:space=\"preserve\">")?, true),
    };
    let end = memchr2(b'<', b'&', rest)?;
    let after = rest[end..].strip_prefix(b"</t>")?.strip_prefix(close)?;
    let text = &rest[..end];
    // XML reads a carriage return as a line feed.
    (memchr(b'\r', text).is_none()).then_some(Plain { text, keeps_blanks, length: bytes.len() - after.len() })
}

/// Appends the string inside the element `within` that has just been opened: its runs joined, its phonetic runs
/// left out, its `_x000D_` escapes decoded.
pub(super) fn read_string<R: Read>(
    scanner: &mut Scanner<R>,
    within: &[u8],
    chars_max: u64,
    text: &mut String,
) -> Result<(), ReadFault> {
    let mut phonetic = false;
    loop {
        match scanner.next()? {
            Token::Open(tag) if tag.empty => {}
            Token::Open(tag) if tag.name == b"rPh" => phonetic = true,
            Token::Open(tag) if tag.name == b"t" && !phonetic => {
                let keeps_blanks =
                    tag.attributes().any(|(name, value)| name == b"space" && value == b"preserve");
                let start = text.len();
                read_text(scanner, b"t", chars_max, text)?;
                if !keeps_blanks {
                    trim_from(start, text);
                }
                decode_from(start, text);
            }
            Token::Close(b"rPh") => phonetic = false,
            Token::Close(name) if name == within => return Ok(()),
            Token::End => return Err(cut_off(scanner.part())),
            _ => {}
        }
    }
}

/// Appends the characters up to the end of the element `within` that has just been opened.
pub(super) fn read_text<R: Read>(
    scanner: &mut Scanner<R>,
    within: &[u8],
    chars_max: u64,
    text: &mut String,
) -> Result<(), ReadFault> {
    loop {
        match scanner.next()? {
            Token::Text(raw) => push_text(raw, text)?,
            Token::Cdata(raw) => push_cdata(raw, text)?,
            Token::Close(name) if name == within => return Ok(()),
            Token::End => return Err(cut_off(scanner.part())),
            Token::Open(_) | Token::Close(_) => {}
        }
        check_length(text, chars_max)?;
    }
}

/// What XML calls white space; without `xml:space="preserve"` Excel drops it around a run, and so do we.
const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

fn trim_from(start: usize, text: &mut String) {
    text.truncate(start + text[start..].trim_end_matches(BLANKS).len());
    let lead = text[start..].len() - text[start..].trim_start_matches(BLANKS).len();
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
        let mut strings = Strings::default();
        read_strings(&mut Scanner::new("sst", xml.as_bytes()), 100, &mut strings)?;
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
