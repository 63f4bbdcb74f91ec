//! JSON text → a tree that knows where everything stands, so that every fault can name its line and column.

use serde_json::Number;

/// Objects and lists inside one another at most.
const NESTING_MAX: usize = 32;

/// What is found where a text ends too early.
pub(super) const END_OF_FILE: &str = "the end of the file";
/// What is found where there is no text at all.
pub(super) const EMPTY_FILE: &str = "an empty file";

/// A place in a text; both count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in that line.
    pub column: u32,
}

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub at: Position,
    pub json: Json,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A key with its value. Repeated keys are kept; whoever checks the tree refuses them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    pub key: String,
    pub key_at: Position,
    pub node: Node,
}

/// Where a text stops being JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub at: Position,
    pub expected: String,
    pub found: String,
    /// The way out, or nothing.
    pub advice: &'static str,
}

impl Json {
    /// The members of an object; of anything else none.
    pub fn members(&self) -> &[Member] {
        match self {
            Json::Object(members) => members,
            _ => &[],
        }
    }
}

/// The text in these bytes, without a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, SyntaxError> {
    let start = Position { line: 1, column: 1 };
    let utf8 = |at, found: &str| SyntaxError {
        at,
        expected: "UTF-8 text".to_owned(),
        found: found.to_owned(),
        advice: "save the file as UTF-8",
    };
    let utf16 = bytes.starts_with(&[0xFF, 0xFE])
        || bytes.starts_with(&[0xFE, 0xFF])
        || bytes.iter().take(2).any(|byte| *byte == 0);
    if utf16 {
        return Err(utf8(start, "UTF-16"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let mut parser = Parser { text: good, index: 0, at: start };
        while parser.bump().is_some() {}
        utf8(parser.at, &format!("the byte {:#04X}", bytes[error.valid_up_to()]))
    })
}

/// Reads a text that must be one JSON object.
pub(super) fn parse_object(text: &str) -> Result<Node, SyntaxError> {
    let mut parser = Parser { text, index: 0, at: Position { line: 1, column: 1 } };
    parser.blanks();
    if parser.peek() != Some('{') {
        let advice = "the whole file stands in one pair of braces";
        return Err(parser.stranger("`{` at the beginning", advice));
    }
    let root = parser.value(0)?;
    parser.blanks();
    match parser.peek() {
        None => Ok(root),
        Some(_) => Err(parser.stranger("the end of the file", "the whole file stands in one pair of braces")),
    }
}

struct Parser<'t> {
    text: &'t str,
    index: usize,
    at: Position,
}

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<char> {
        self.text[self.index..].chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.index += c.len_utf8();
        if c == '\n' {
            self.at = Position { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'t str {
        let start = self.index;
        while self.peek().is_some_and(&wanted) {
            self.bump();
        }
        &self.text[start..self.index]
    }

    fn blanks(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
    }

    fn value(&mut self, depth: usize) -> Result<Node, SyntaxError> {
        let at = self.at;
        if depth > NESTING_MAX {
            let expected = format!("at most {NESTING_MAX} levels of braces and brackets");
            return Err(SyntaxError { at, expected, found: "one more".to_owned(), advice: "" });
        }
        let json = match self.peek() {
            Some('{') => Json::Object(self.object(depth)?),
            Some('[') => Json::List(self.list(depth)?),
            Some('"') => Json::Text(self.text()?),
            Some('-' | '0'..='9') => Json::Number(self.number()?),
            Some('t' | 'f' | 'n') => self.word()?,
            _ => return Err(self.stranger("a value", "")),
        };
        Ok(Node { at, json })
    }

    fn object(&mut self, depth: usize) -> Result<Vec<Member>, SyntaxError> {
        let mut members: Vec<Member> = Vec::new();
        let mut comma = None;
        self.bump();
        loop {
            self.blanks();
            match (self.peek(), comma) {
                (Some('}'), None) => break,
                (Some('}'), Some(at)) => return Err(one_too_many(at, '}')),
                (Some('"'), _) => {}
                _ => return Err(self.stranger("a key in double quotes", "")),
            }
            let key_at = self.at;
            let key = self.text()?;
            self.blanks();
            if self.peek() != Some(':') {
                return Err(self.stranger(&format!("`:` after the key `{key}`"), ""));
            }
            self.bump();
            self.blanks();
            let node = self.value(depth + 1)?;
            let behind = self.at;
            self.blanks();
            match self.peek() {
                Some(',') => {
                    comma = Some(self.at);
                    self.bump();
                }
                Some('}') => comma = None,
                Some('"') => {
                    let expected = format!("`,` or `}}` after the value of `{key}`");
                    return Err(SyntaxError { at: behind, ..self.stranger(&expected, "") });
                }
                _ => return Err(self.stranger(&format!("`,` or `}}` after the value of `{key}`"), "")),
            }
            members.push(Member { key, key_at, node });
        }
        self.bump();
        Ok(members)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        let mut comma = None;
        self.bump();
        loop {
            self.blanks();
            match (self.peek(), comma) {
                (Some(']'), None) => break,
                (Some(']'), Some(at)) => return Err(one_too_many(at, ']')),
                _ => items.push(self.value(depth + 1)?),
            }
            self.blanks();
            match self.peek() {
                Some(',') => {
                    comma = Some(self.at);
                    self.bump();
                }
                Some(']') => comma = None,
                _ => return Err(self.stranger("`,` or `]` in the list", "")),
            }
        }
        self.bump();
        Ok(items)
    }

    fn text(&mut self) -> Result<String, SyntaxError> {
        let (start, start_at) = (self.index, self.at);
        let fail = |at, expected: &str, found: String, advice| {
            Err(SyntaxError { at, expected: expected.to_owned(), found, advice })
        };
        self.bump();
        loop {
            let at = self.at;
            match self.bump() {
                Some('"') => break,
                Some('\\') => match self.bump() {
                    Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u') => {}
                    after => {
                        let found = format!("`\\{}`", after.map(String::from).unwrap_or_default());
                        let advice = "a backslash in a text is written twice: `\\\\`";
                        return fail(at, "an escape such as `\\n`", found, advice);
                    }
                },
                None => {
                    return fail(at, "`\"` at the end of the text", END_OF_FILE.to_owned(), "");
                }
                Some('\n' | '\r') => {
                    return fail(at, "`\"` at the end of the text", "the end of the line".to_owned(), "");
                }
                Some(c) if c < ' ' => {
                    return fail(at, "printable characters", named(c), "a tab is written `\\t`");
                }
                Some(_) => {}
            }
        }
        serde_json::from_str(&self.text[start..self.index]).or_else(|_| {
            let expected = "four hexadecimal digits after every `\\u`, of a character that exists";
            fail(start_at, expected, "something else in this text".to_owned(), "")
        })
    }

    fn number(&mut self) -> Result<Number, SyntaxError> {
        let at = self.at;
        let digits = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        serde_json::from_str(digits).map_err(|_| SyntaxError {
            at,
            expected: "a number".to_owned(),
            found: format!("`{}`", shortened(digits)),
            advice: "a text stands in double quotes",
        })
    }

    fn word(&mut self) -> Result<Json, SyntaxError> {
        let rest = &self.text[self.index..];
        let word = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
        let json = match word {
            "true" => Json::Bool(true),
            "false" => Json::Bool(false),
            "null" => Json::Null,
            _ => return Err(self.stranger("a value", "")),
        };
        self.take_while(char::is_alphanumeric);
        Ok(json)
    }

    /// The error for what stands here in place of what was expected; common slips get their own advice.
    fn stranger(&self, expected: &str, advice: &'static str) -> SyntaxError {
        let rest = &self.text[self.index..];
        let word = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        let (found, advice) = match self.peek() {
            None if self.text.trim().is_empty() => (EMPTY_FILE.to_owned(), advice),
            None => (END_OF_FILE.to_owned(), advice),
            Some(c @ ('/' | '#')) => (named(c), "JSON has no comments"),
            Some(c @ ('\'' | '“' | '”' | '„' | '‘' | '’' | '«' | '»')) => {
                (named(c), "JSON knows only the straight double quote `\"`")
            }
            Some(_) if matches!(word, "True" | "False" | "TRUE" | "FALSE" | "None" | "NULL" | "Null") => {
                (format!("`{word}`"), "JSON writes `true`, `false` and `null` in lower case")
            }
            Some(_) if matches!(word.to_lowercase().as_str(), "yes" | "no" | "on" | "off") => {
                (format!("`{word}`"), "JSON writes `true` and `false`")
            }
            Some(_) if !word.is_empty() => {
                (format!("`{}`", shortened(word)), "keys and texts stand in double quotes")
            }
            Some(c) => (named(c), advice),
        };
        SyntaxError { at: self.at, expected: expected.to_owned(), found, advice }
    }
}

fn one_too_many(at: Position, closing: char) -> SyntaxError {
    SyntaxError {
        at,
        expected: format!("no comma before `{closing}`"),
        found: "`,`".to_owned(),
        advice: "take this comma out, or add what should follow it",
    }
}

/// A character as a person can recognise it, also where it cannot be seen.
fn named(c: char) -> String {
    if c.is_control() || c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200F}' | '\u{FEFF}') {
        format!("the character U+{:04X}", u32::from(c))
    } else {
        format!("`{c}`")
    }
}

/// The beginning of a text that may be long, without line breaks.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut shown: String =
        text.chars().take(SHOWN_CHARS_MAX).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(SHOWN_CHARS_MAX).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let e = parse_object(text).unwrap_err();
        format!("{}:{} expected {}, found {}; {}", e.at.line, e.at.column, e.expected, e.found, e.advice)
    }

    #[test]
    fn broken_json_is_refused_at_the_place_where_a_person_would_mend_it() {
        for (text, wanted) in [
            ("", "1:1 expected `{` at the beginning, found an empty file"),
            ("  \"a\": 1", "1:3 expected `{` at the beginning, found `\"`; the whole file stands"),
            ("{\n \"a\": 1\n \"b\": 2}", "2:8 expected `,` or `}` after the value of `a`, found `\"`"),
            ("{\"a\": 1,\n}", "1:8 expected no comma before `}`, found `,`"),
            ("{\"a\": [1, ]}", "1:9 expected no comma before `]`"),
            ("{\"a\": True}", "1:7 expected a value, found `True`; JSON writes `true`"),
            ("{\"a\": yes}", "1:7 expected a value, found `yes`; JSON writes `true` and `false`"),
            ("{“a”: 1}", "1:2 expected a key in double quotes, found `“`; JSON knows only"),
            (
                "{\"a\": 1, // note\n}",
                "1:10 expected a key in double quotes, found `/`; JSON has no comments",
            ),
            ("{a: 1}", "1:2 expected a key in double quotes, found `a`; keys and texts"),
            ("{\"a\" 1}", "1:6 expected `:` after the key `a`, found `1`"),
            ("{\"p\": \"C:\\data\"}", "1:10 expected an escape such as `\\n`, found `\\d`; a backslash"),
            ("{\"p\": \"x\n\"}", "1:9 expected `\"` at the end of the text, found the end of the line"),
            ("{\"p\": 007}", "1:7 expected a number, found `007`"),
            ("{\"p\": 1e999}", "1:7 expected a number"),
            ("{\"p\": \"\\ud800\"}", "1:7 expected four hexadecimal digits"),
            ("{\"p\": 1", "1:8 expected `,` or `}` after the value of `p`, found the end of the file"),
            ("{\"p\":\u{a0}1}", "1:6 expected a value, found the character U+00A0"),
            ("{}}", "1:3 expected the end of the file, found `}`"),
        ] {
            let found = error(text);
            assert!(found.starts_with(wanted), "{text:?}\n  {found}\n  {wanted}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(error(&deep).contains("at most 32 levels"));
    }

    #[test]
    fn texts_in_other_encodings_are_named_as_such() {
        assert_eq!(decode(b"\xEF\xBB\xBF{}"), Ok("{}"));
        assert_eq!(decode(b"{\0}\0").unwrap_err().found, "UTF-16");
        assert_eq!(decode(&[0xFF, 0xFE, b'{', 0]).unwrap_err().found, "UTF-16");
        let latin1 = decode(b"{\n \"\xE9\"").unwrap_err();
        assert_eq!((latin1.at, latin1.found.as_str()), (Position { line: 2, column: 3 }, "the byte 0xE9"));
    }

    #[test]
    fn the_tree_agrees_with_serde_json_on_what_is_json() {
        // Every text that one byte of damage makes out of a good one is accepted by both or refused by both.
        let good = r#"{"é\u00e9": [1, -0.5e3, true, false, null, {}, []], "b": {"c": "x\n\"y\\"}}"#;
        let mut texts = vec![good.to_owned()];
        for (index, _) in good.char_indices() {
            for patch in ["", "\"", "}", "]", ",", ":", "0", "-", "\\", "u", "\n", "é"] {
                let mut text = good[..index].to_owned();
                text.push_str(patch);
                text.extend(good[index..].chars().skip(1));
                texts.push(text);
            }
        }
        for text in texts {
            let oracle = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text);
            assert_eq!(parse_object(&text).is_ok(), oracle.is_ok(), "{text}");
        }
    }

    #[test]
    fn everything_knows_where_it_stands() {
        let root = parse_object("{\n  \"é\": {\"b\": [1,\n 2]}}").unwrap();
        let outer = &root.json.members()[0];
        assert_eq!(outer.key_at, Position { line: 2, column: 3 });
        let inner = &outer.node.json.members()[0];
        assert_eq!(inner.key_at, Position { line: 2, column: 9 });
        let Json::List(items) = &inner.node.json else { panic!("a list") };
        assert_eq!(items[1].at, Position { line: 3, column: 2 });
    }
}
