//! A pull scanner over the XML of worksheets and strings: tags and texts as slices of one buffer, nothing allocated.
//!
//! The two parts of a workbook that grow with its rows are read with it. `quick-xml` reads all others: on a sheet of a
//! million rows its events cost half of the reader's time (`workbooks.md`). What the scanner does not look at is
//! whether tags are nested as they should be; a part that ends in the middle is told by the elements that are missing.

use std::io::Read;

use memchr::{memchr, memmem};

use crate::io::workbook::fault::ReadFault;

/// Bytes that are looked at together; a text that is longer comes in pieces.
const BUFFER_BYTES: usize = 256 << 10;
/// Bytes that [`Scanner::ahead`] shows at least, where the part has so many: more than a cell without a text takes.
const AHEAD_BYTES: usize = 16 << 10;
/// Longest tag in bytes. The longest that Excel writes are the roots with their namespaces, some thousand bytes.
const TAG_BYTES_MAX: usize = 1 << 20;
/// Longest reference to a character or an entity, `&` and `;` included; what is longer is none.
const REFERENCE_BYTES_MAX: usize = 64;

/// What stands next in a part.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    /// `<c …>` or `<c …/>`.
    Open(Tag<'a>),
    /// `</c>`: its name without a prefix.
    Close(&'a [u8]),
    /// Characters between tags, references not resolved; possibly a piece of them.
    Text(&'a [u8]),
    /// Characters of a CDATA section, to be taken as they stand; possibly a piece of them.
    Cdata(&'a [u8]),
    /// The part is over.
    End,
}

/// An opening tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tag<'a> {
    /// Its name without a prefix.
    pub name: &'a [u8],
    /// Whether it is closed at once: `<c/>`.
    pub empty: bool,
    attributes: &'a [u8],
}

impl<'a> Tag<'a> {
    /// The attributes: names without prefixes, raw values. What is not well-formed ends the list.
    pub fn attributes(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.attributes;
        std::iter::from_fn(move || {
            let equals = memchr(b'=', rest)?;
            let (name, after) = (rest[..equals].trim_ascii(), rest[equals + 1..].trim_ascii_start());
            let quote = *after.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
            let end = memchr(quote, &after[1..])? + 1;
            rest = &after[end + 1..];
            Some((local(name), &after[1..end]))
        })
    }
}

/// Reads a part from its beginning to its end.
pub(super) struct Scanner<R> {
    source: R,
    part: String,
    buffer: Vec<u8>,
    /// The next byte to look at.
    at: usize,
    /// Behind the last byte that was read.
    end: usize,
    ended: bool,
    in_cdata: bool,
}

impl<R: Read> Scanner<R> {
    /// A scanner of a part of this name, whose bytes are UTF-8.
    pub fn new(part: &str, source: R) -> Self {
        let buffer = vec![0; BUFFER_BYTES];
        Scanner { source, part: part.to_owned(), buffer, at: 0, end: 0, ended: false, in_cdata: false }
    }

    /// The part's name.
    pub fn part(&self) -> &str {
        &self.part
    }

    /// The bytes that come next: [`AHEAD_BYTES`] or more, fewer only before the end; for callers that know a common
    /// form of what stands there and take it as a whole, with [`Scanner::skip`].
    ///
    /// # Errors
    /// When the part cannot be unpacked.
    pub fn ahead(&mut self) -> Result<&[u8], ReadFault> {
        while self.end - self.at < AHEAD_BYTES && !self.ended {
            self.fill()?;
        }
        Ok(&self.buffer[self.at..self.end])
    }

    /// Passes over bytes that [`Scanner::ahead`] has shown.
    pub fn skip(&mut self, count: usize) {
        self.at += count;
        debug_assert!(self.at <= self.end, "only what was shown can be passed over");
    }

    /// What stands next. Comments, instructions and document types are passed over.
    ///
    /// # Errors
    /// When the part cannot be unpacked, or has a tag that does not end.
    pub fn next(&mut self) -> Result<Token<'_>, ReadFault> {
        loop {
            if self.in_cdata {
                if let Some((start, end)) = self.cdata_piece()? {
                    return Ok(Token::Cdata(&self.buffer[start..end]));
                }
                continue;
            }
            if self.at == self.end {
                if !self.fill()? {
                    return Ok(Token::End);
                }
                continue;
            }
            if self.buffer[self.at] != b'<' {
                let (start, end) = self.text_piece()?;
                return Ok(Token::Text(&self.buffer[start..end]));
            }
            match self.byte_after()? {
                b'!' if self.starts_with(b"<![CDATA[")? => {
                    self.at += b"<![CDATA[".len();
                    self.in_cdata = true;
                }
                b'!' if self.starts_with(b"<!--")? => {
                    self.at += b"<!--".len();
                    self.pass(b"-->")?;
                }
                // A document type may define entities; whoever refers to one is refused, so it does no harm.
                b'!' => self.pass_doctype()?,
                b'?' => self.pass(b"?>")?,
                b'/' => {
                    let end = self.tag_end()?;
                    let start = self.at + 2;
                    self.at = end + 1;
                    return Ok(Token::Close(local(self.buffer[start..end].trim_ascii())));
                }
                _ => {
                    let end = self.tag_end()?;
                    let start = self.at + 1;
                    self.at = end + 1;
                    return Ok(Token::Open(tag(&self.buffer[start..end])));
                }
            }
        }
    }

    /// Reads more behind what is there, making room where there is none; `false` at the end of the part.
    fn fill(&mut self) -> Result<bool, ReadFault> {
        if self.ended {
            return Ok(false);
        }
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
        }
        if self.end == self.buffer.len() {
            if self.buffer.len() >= TAG_BYTES_MAX {
                return Err(self.broken("a tag that does not end"));
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let count =
            self.source.read(&mut self.buffer[self.end..]).map_err(|error| of_part(&self.part, error))?;
        self.end += count;
        self.ended = count == 0;
        Ok(count > 0)
    }

    /// The byte behind the `<` that stands next.
    fn byte_after(&mut self) -> Result<u8, ReadFault> {
        while self.end - self.at < 2 {
            if !self.fill()? {
                return Err(cut_off(&self.part));
            }
        }
        Ok(self.buffer[self.at + 1])
    }

    fn starts_with(&mut self, wanted: &[u8]) -> Result<bool, ReadFault> {
        while self.end - self.at < wanted.len() && self.fill()? {}
        Ok(self.buffer[self.at..self.end].starts_with(wanted))
    }

    /// Where the tag that stands next ends: at a `>` outside of quotation marks.
    fn tag_end(&mut self) -> Result<usize, ReadFault> {
        // Counted from the `<`, which filling moves.
        let (mut looked, mut quote) = (1, None);
        loop {
            for (index, byte) in self.buffer[self.at + looked..self.end].iter().enumerate() {
                match (quote, *byte) {
                    (None, b'>') => return Ok(self.at + looked + index),
                    (None, mark @ (b'"' | b'\'')) => quote = Some(mark),
                    (Some(mark), byte) if byte == mark => quote = None,
                    _ => {}
                }
            }
            looked = self.end - self.at;
            if !self.fill()? {
                return Err(cut_off(&self.part));
            }
        }
    }

    /// Passes over everything up to and with `closing`, which comes somewhere behind the present place.
    fn pass(&mut self, closing: &[u8]) -> Result<(), ReadFault> {
        loop {
            if let Some(found) = memmem::find(&self.buffer[self.at..self.end], closing) {
                self.at += found + closing.len();
                return Ok(());
            }
            // Its first bytes may be here already.
            self.at = self.at.max(self.end.saturating_sub(closing.len() - 1));
            if !self.fill()? {
                return Err(cut_off(&self.part));
            }
        }
    }

    /// Passes over `<!DOCTYPE …>` with the list in brackets that it may have.
    fn pass_doctype(&mut self) -> Result<(), ReadFault> {
        self.at += 2;
        let (mut depth, mut quote) = (0_u32, None);
        loop {
            while self.at < self.end {
                let byte = self.buffer[self.at];
                self.at += 1;
                match (quote, byte) {
                    (Some(mark), byte) if byte == mark => quote = None,
                    (Some(_), _) => {}
                    (None, mark @ (b'"' | b'\'')) => quote = Some(mark),
                    (None, b'<') => depth += 1,
                    (None, b'>') if depth == 0 => return Ok(()),
                    (None, b'>') => depth -= 1,
                    (None, _) => {}
                }
            }
            if !self.fill()? {
                return Err(cut_off(&self.part));
            }
        }
    }

    /// The characters up to the next tag, as many as are in the buffer; never none.
    fn text_piece(&mut self) -> Result<(usize, usize), ReadFault> {
        loop {
            let bytes = &self.buffer[self.at..self.end];
            let whole = memchr(b'<', bytes).or(self.ended.then_some(bytes.len()));
            // A piece is given out only when the buffer is full of it: most texts come whole.
            let cut = (bytes.len() == self.buffer.len()).then(|| whole_characters(bytes));
            if let Some(length) = whole.or(cut.filter(|cut| *cut > 0)) {
                let start = self.at;
                self.at += length;
                return Ok((start, start + length));
            }
            self.fill()?;
        }
    }

    /// The characters up to the end of the CDATA section, as many as are in the buffer; `None` where there are none.
    fn cdata_piece(&mut self) -> Result<Option<(usize, usize)>, ReadFault> {
        const CLOSING: &[u8] = b"]]>";
        loop {
            let (start, bytes) = (self.at, &self.buffer[self.at..self.end]);
            if let Some(found) = memmem::find(bytes, CLOSING) {
                self.at += found + CLOSING.len();
                self.in_cdata = false;
                return Ok((found > 0).then_some((start, start + found)));
            }
            let cut = whole_characters(&bytes[..bytes.len().saturating_sub(CLOSING.len() - 1)]);
            if bytes.len() == self.buffer.len() && cut > 0 {
                self.at += cut;
                return Ok(Some((start, start + cut)));
            }
            if !self.fill()? {
                return Err(cut_off(&self.part));
            }
        }
    }

    fn broken(&self, what: &str) -> ReadFault {
        ReadFault::damaged(format!("`{}` is no well-formed XML (it has {what})", self.part))
    }
}

/// A name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    memchr(b':', name).map_or(name, |colon| &name[colon + 1..])
}

/// The inside of an opening tag, taken apart.
fn tag(inside: &[u8]) -> Tag<'_> {
    let (inside, empty) = inside.strip_suffix(b"/").map_or((inside, false), |inside| (inside, true));
    let end = inside.iter().position(u8::is_ascii_whitespace).unwrap_or(inside.len());
    Tag { name: local(&inside[..end]), empty, attributes: &inside[end..] }
}

/// How many of these bytes can be given out by themselves: no character, reference or line end is cut.
fn whole_characters(bytes: &[u8]) -> usize {
    let mut length = bytes.len();
    while length > 0 && bytes.len() - length < 3 && (0x80..0xC0).contains(&bytes[length - 1]) {
        length -= 1;
    }
    if length > 0 && matches!(bytes[length - 1], b'\r' | 0xC0..) {
        length -= 1;
    }
    let tail = length.saturating_sub(REFERENCE_BYTES_MAX);
    match memchr::memrchr(b'&', &bytes[tail..length]) {
        Some(reference) if memchr(b';', &bytes[tail + reference..length]).is_none() => tail + reference,
        _ => length,
    }
}

/// Appends characters as they stand in the file: references resolved, line ends as XML has them.
///
/// # Errors
/// When they are no UTF-8, or refer to an entity that the file defines itself: such can grow without bound.
pub(super) fn push_text(raw: &[u8], text: &mut String) -> Result<(), ReadFault> {
    let mut rest = utf8(raw)?;
    while let Some(at) = memchr::memchr2(b'&', b'\r', rest.as_bytes()) {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix('\r') {
            text.push('\n');
            rest = after.strip_prefix('\n').unwrap_or(after);
            continue;
        }
        let end = rest.find(';').filter(|end| *end < REFERENCE_BYTES_MAX);
        let name = end.map_or(rest.get(1..).unwrap_or(""), |end| &rest[1..end]);
        let known = end.and_then(|_| character(name));
        let Some(known) = known else {
            let name: String = name.chars().take(40).collect();
            return Err(ReadFault::damaged(format!(
                "it uses the XML entity `{name}`, which no workbook has"
            )));
        };
        text.push(known);
        rest = &rest[name.len() + 2..];
    }
    text.push_str(rest);
    Ok(())
}

/// Appends characters of a CDATA section.
///
/// # Errors
/// When they are no UTF-8.
pub(super) fn push_cdata(raw: &[u8], text: &mut String) -> Result<(), ReadFault> {
    let mut rest = utf8(raw)?;
    while let Some(at) = rest.find('\r') {
        text.push_str(&rest[..at]);
        text.push('\n');
        rest = rest[at + 1..].strip_prefix('\n').unwrap_or(&rest[at + 1..]);
    }
    text.push_str(rest);
    Ok(())
}

/// Bytes as text.
///
/// # Errors
/// When they are none.
pub(super) fn utf8(raw: &[u8]) -> Result<&str, ReadFault> {
    std::str::from_utf8(raw).map_err(|_| ReadFault::damaged("a text in it is not valid UTF-8"))
}

/// The character that `amp`, `#10` or `#xA` stands for.
fn character(name: &str) -> Option<char> {
    match name {
        "amp" => return Some('&'),
        "lt" => return Some('<'),
        "gt" => return Some('>'),
        "quot" => return Some('"'),
        "apos" => return Some('\''),
        _ => {}
    }
    let number = name.strip_prefix('#')?;
    let code = match number.strip_prefix('x') {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => number.parse(),
    };
    code.ok().filter(|code| *code != 0).and_then(char::from_u32)
}

/// The fault of a part that ends in the middle.
pub(super) fn cut_off(part: &str) -> ReadFault {
    ReadFault::Truncated { detail: format!("`{part}` ends in the middle") }
}

/// A fault of the bytes of a part, as the sender reads it. The end of the bytes and the disk's faults keep their kind.
pub(super) fn of_part(part: &str, error: std::io::Error) -> ReadFault {
    match ReadFault::from(error) {
        ReadFault::Damaged { detail } => ReadFault::damaged(format!("`{part}`: {detail}")),
        other => other,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Gives out its bytes a few at a time, so that everything is cut everywhere.
    struct Drip<'a>(&'a [u8], usize);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    /// What stands in a part, neighbouring texts joined.
    fn tokens(xml: &[u8], at_once: usize) -> Result<Vec<String>, ReadFault> {
        let mut scanner = Scanner::new("p", Drip(xml, at_once));
        let mut all: Vec<String> = Vec::new();
        let mut text = None;
        loop {
            let token = scanner.next()?;
            match token {
                Token::Text(raw) => push_text(raw, text.get_or_insert_default())?,
                Token::Cdata(raw) => push_cdata(raw, text.get_or_insert_default())?,
                other => {
                    all.extend(text.take());
                    let name = |name: &[u8]| String::from_utf8(name.to_vec()).unwrap();
                    match other {
                        Token::Open(tag) => {
                            let mut open = name(tag.name);
                            for (key, value) in tag.attributes() {
                                open = format!("{open} {}={}", name(key), name(value));
                            }
                            all.push(format!("<{open}{}>", if tag.empty { "/" } else { "" }));
                        }
                        Token::Close(of) => all.push(format!("</{}>", name(of))),
                        _ => return Ok(all),
                    }
                }
            }
        }
    }

    #[test]
    fn every_token_is_found_wherever_the_bytes_are_cut() {
        let xml = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b \"<>\"> ]><x:a\n y:b = '1>2' c=\"'\"><!-- <no> - -- -->\
            ä&lt;&#x41;&#66;\r\nb<![CDATA[<&amp;]]]><![CDATA[]]>€</x:a ><d/><e f='' />";
        let wanted = ["<a b=1>2 c='>", "ä<AB\nb<&amp;]€", "</a>", "<d/>", "<e f=/>"];
        for at_once in [1, 2, 3, 5, 7, 1_000] {
            assert_eq!(tokens(xml.as_bytes(), at_once).unwrap(), wanted, "{at_once}");
        }
    }

    #[test]
    fn a_text_longer_than_the_buffer_comes_whole_in_pieces() {
        for unit in ["abc", "ä€😀", "&amp;x", "\r\n"] {
            let long = unit.repeat(3 * BUFFER_BYTES / unit.len());
            let plain =
                unit.replace("&amp;", "&").replace("\r\n", "\n").repeat(3 * BUFFER_BYTES / unit.len());
            for before in ["", "x", "xy"] {
                let read = tokens(format!("<a>{before}{long}</a>").as_bytes(), 10_007).unwrap();
                assert!(read[1] == format!("{before}{plain}"), "{before}{unit}");
            }
        }
        let cdata = "€]".repeat(BUFFER_BYTES);
        assert_eq!(tokens(format!("<a><![CDATA[{cdata}]]></a>").as_bytes(), 10_007).unwrap()[1], cdata);
    }

    #[test]
    fn what_does_not_end_is_cut_off_and_what_is_no_text_is_damaged() {
        for cut in ["<", "<a", "<a b='>", "<!-- a", "<![CDATA[a", "<?xml", "</a", "<!DOCTYPE [<>"] {
            assert!(matches!(tokens(cut.as_bytes(), 3), Err(ReadFault::Truncated { .. })), "{cut}");
        }
        let endless = [b"<a ".to_vec(), vec![b'x'; 2 * TAG_BYTES_MAX]].concat();
        assert!(matches!(tokens(&endless, 100_000), Err(ReadFault::Damaged { .. })));
        for bad in [&b"<a>&lol;</a>"[..], b"<a>&#0;</a>", b"<a>&#xD800;</a>", b"<a>& b</a>", b"<a>\xFF</a>"] {
            assert!(matches!(tokens(bad, 3), Err(ReadFault::Damaged { .. })), "{bad:?}");
        }
    }
}
