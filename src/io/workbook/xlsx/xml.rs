//! Attributes and texts of XML parts, without an allocation for each.

use std::borrow::Cow;
use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::BytesStart;

use super::scan::of_part;
use crate::io::workbook::fault::ReadFault;

/// A reader with the settings that all parts share: `<c/>` is an opening and a closing tag.
pub(in crate::io::workbook) fn reader<R: BufRead>(part: R) -> Reader<R> {
    let mut reader = Reader::from_reader(part);
    let config = reader.config_mut();
    config.check_end_names = false;
    config.check_comments = false;
    config.expand_empty_elements = true;
    config.trim_text(false);
    reader
}

/// The attributes of an element: local names and raw values. What is not well-formed ends the list.
pub(super) fn attributes<'a>(element: &'a BytesStart<'_>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let mut rest = element.attributes_raw();
    std::iter::from_fn(move || {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        rest = after;
        let name = name.trim();
        Some((name.rsplit_once(':').map_or(name, |(_, local)| local), value))
    })
}

/// One attribute by its local name, with entities resolved.
pub(super) fn attribute<'a>(element: &'a BytesStart<'_>, name: &str) -> Option<Cow<'a, str>> {
    let (_, raw) = attributes(element).find(|(local, _)| *local == name)?;
    Some(unescape(raw).unwrap_or(Cow::Borrowed(raw)))
}

/// Whether an attribute is set to an XML truth.
pub(super) fn is_true(value: Option<Cow<'_, str>>) -> bool {
    matches!(value.as_deref(), Some("1" | "true" | "on"))
}

/// An XML error in a part, as the sender reads it. The end of the bytes and the disk's faults keep their kind.
pub(in crate::io::workbook) fn broken(part: &str, error: quick_xml::Error) -> ReadFault {
    match error {
        quick_xml::Error::Io(error) => of_part(part, std::io::Error::new(error.kind(), error.to_string())),
        other => ReadFault::damaged(format!("`{part}` is no well-formed XML ({other})")),
    }
}
