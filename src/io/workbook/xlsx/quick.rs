//! Cells in the form that nearly all cells have, taken as a whole: `<c r="B7" s="1" t="s"><v>12</v></c>`.
//!
//! Whatever has another form, be it as good XML or not, is left to the scanner, so nothing is read here that it would
//! read otherwise.

use memchr::memchr;

use super::text::{Plain, plain_string};

/// Decimal digits that an `f64` holds exactly, whatever they are.
const EXACT_DIGITS: usize = 15;

/// A cell in its common form.
pub(super) struct Quick<'a> {
    /// Where it says that it stands.
    pub reference: Option<&'a [u8]>,
    /// Index of its format.
    pub style: usize,
    /// What stands in it.
    pub value: Value<'a>,
    /// Bytes of the whole cell.
    pub length: usize,
}

/// What stands in a cell.
pub(super) enum Value<'a> {
    Nothing,
    Number(f64),
    /// A shared string, by its index.
    Shared(u32),
    Boolean(bool),
    /// A string of its own, without references.
    Inline(Plain<'a>),
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Number,
    Shared,
    Boolean,
    Inline,
}

/// The cell that these bytes begin with; `None` where it has another form, or does not end within them.
#[inline]
pub(super) fn cell(bytes: &[u8]) -> Option<Quick<'_>> {
    let mut rest = bytes.strip_prefix(b"<c ")?;
    let (mut reference, mut style, mut kind) = (None, 0, Kind::Number);
    loop {
        let [name, b'=', b'"', after @ ..] = rest else { return None };
        let end = after.iter().position(|byte| *byte == b'"')?;
        let value = &after[..end];
        match name {
            b'r' => reference = Some(value),
            b's' => style = usize::try_from(whole(value)?).ok()?,
            b't' => {
                kind = match value {
                    b"s" => Kind::Shared,
                    b"n" => Kind::Number,
                    b"b" => Kind::Boolean,
                    b"inlineStr" => Kind::Inline,
                    _ => return None,
                }
            }
            _ => return None,
        }
        rest = &after[end + 1..];
        match rest {
            [b' ', b'/', b'>', after @ ..] | [b'/', b'>', after @ ..] => {
                let length = bytes.len() - after.len();
                return Some(Quick { reference, style, value: Value::Nothing, length });
            }
            [b' ', after @ ..] => rest = after,
            [b'>', after @ ..] => {
                rest = after;
                break;
            }
            _ => return None,
        }
    }
    if kind == Kind::Inline {
        let plain = plain_string(rest, b"<is>", b"</is>")?;
        let after = rest[plain.length..].strip_prefix(b"</c>")?;
        return Some(Quick {
            reference,
            style,
            length: bytes.len() - after.len(),
            value: Value::Inline(plain),
        });
    }
    let inside = rest.strip_prefix(b"<v>")?;
    let end = memchr(b'<', inside)?;
    let after = inside[end..].strip_prefix(b"</v></c>")?;
    let value = &inside[..end];
    let value = match kind {
        Kind::Number => Value::Number(number(value)?),
        Kind::Shared => Value::Shared(u32::try_from(whole(value)?).ok()?),
        Kind::Boolean => match value {
            b"1" => Value::Boolean(true),
            b"0" => Value::Boolean(false),
            _ => return None,
        },
        Kind::Inline => return None,
    };
    Some(Quick { reference, style, value, length: bytes.len() - after.len() })
}

/// A number as Excel writes it.
#[inline]
fn number(text: &[u8]) -> Option<f64> {
    if text.len() <= EXACT_DIGITS
        && let Some(whole) = whole(text)
    {
        return Some(whole as f64);
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Decimal digits and nothing else, of a number below 10^18.
#[inline]
pub(super) fn whole(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_the_common_form_is_taken_and_taken_whole() {
        for (xml, wanted) in [
            ("<c r=\"B7\" s=\"3\"><v>12.5</v></c>", "B7 3 12.5"),
            ("<c r=\"B7\" t=\"s\"><v>12</v></c>", "B7 0 text 12"),
            ("<c t=\"b\" r=\"A1\"><v>1</v></c>", "A1 0 true"),
            ("<c r=\"A1\" s=\"2\"/>", "A1 2 nothing"),
            ("<c r=\"A1\" />", "A1 0 nothing"),
            ("<c s=\"1\"><v>-3E-2</v></c>", " 1 -0.03"),
            ("<c r=\"A1\" t=\"inlineStr\"><is><t> a </t></is></c>", "A1 0 `a`"),
            ("<c r=\"A1\" t=\"inlineStr\"><is><t xml:space=\"preserve\"> a </t></is></c>", "A1 0 ` a `"),
        ] {
            let more = format!("{xml}<c r=\"Z9\"/>");
            let quick = cell(more.as_bytes()).unwrap();
            assert_eq!(quick.length, xml.len(), "{xml}");
            let value = match quick.value {
                Value::Nothing => "nothing".to_owned(),
                Value::Number(value) => value.to_string(),
                Value::Shared(index) => format!("text {index}"),
                Value::Boolean(value) => value.to_string(),
                Value::Inline(plain) => format!("`{}`", plain.text().unwrap()),
            };
            let reference = std::str::from_utf8(quick.reference.unwrap_or_default()).unwrap();
            assert_eq!(format!("{reference} {} {value}", quick.style), wanted, "{xml}");
            for cut in 0..xml.len() {
                assert!(cell(&xml.as_bytes()[..cut]).is_none(), "{cut} of {xml}");
            }
        }
        for other in [
            "<c><v>1</v></c>",
            "<c  r=\"A1\"><v>1</v></c>",
            "<c r='A1'><v>1</v></c>",
            "<c r=\"A1\" cm=\"1\"><v>1</v></c>",
            "<c r=\"A1\" t=\"e\"><v>#N/A</v></c>",
            "<c r=\"A1\" t=\"str\"><v>a</v></c>",
            "<c r=\"A1\"><f>A2</f><v>1</v></c>",
            "<c r=\"A1\"><v>1 </v></c>",
            "<c r=\"A1\"><v/></c>",
            "<c r=\"A1\"><v>1</v> </c>",
            "<c r=\"A1\" t=\"s\"><v>-1</v></c>",
            "<c r=\"A1\" t=\"inlineStr\"><is><t>&amp;</t></is></c>",
            "<c r=\"A1\" t=\"inlineStr\"><is><t>a\r\n</t></is></c>",
            "<c r=\"A1\" t=\"inlineStr\"><is><r><t>a</t></r></is></c>",
            "<cols/>",
        ] {
            assert!(cell(other.as_bytes()).is_none(), "{other}");
        }
    }

    #[test]
    fn numbers_of_up_to_fifteen_digits_are_what_parsing_makes_of_them() {
        for text in
            ["0", "7", "007", "123456789012345", "999999999999999", "1234567890123456", "0.1", "1E300"]
        {
            assert_eq!(number(text.as_bytes()), text.parse().ok(), "{text}");
        }
        assert_eq!(number(b"x"), None);
    }
}
