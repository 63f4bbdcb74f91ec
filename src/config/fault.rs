//! What is wrong with a configuration or a sidecar, where, and what to write instead.

use serde::Serialize;
use serde::ser::SerializeMap;

use super::json::{Json, Node, Position, SyntaxError, shortened};

/// One fault of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file as the person knows it: a path as given, or the name of a dropped file.
    pub file: String,
    /// Where in it; `None` where the fault is of the whole file.
    pub at: Option<Position>,
    /// The value at fault.
    pub path: JsonPath,
    /// What is wrong.
    pub problem: Problem,
}

/// The kinds of faults. Who wrote the file must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read, or is not one that could be a configuration.
    #[error("{reason}")]
    File {
        /// Why, with the way out.
        reason: String,
    },
    /// The text is not JSON.
    #[error("expected {expected}, found {found}{}", tail(advice))]
    Syntax {
        /// What JSON has in this place.
        expected: String,
        /// What stands there.
        found: String,
        /// The way out, or nothing.
        advice: String,
    },
    /// No such setting.
    #[error("unknown key {name}{advice}")]
    UnknownKey {
        /// The key, as a sentence names it.
        name: String,
        /// The tail of the sentence: the key that was probably meant.
        advice: String,
    },
    /// One key stands twice.
    #[error("{name} is set twice; it stands first on line {first_line}")]
    DuplicateKey {
        /// The key.
        name: String,
        /// Where it stood before.
        first_line: u32,
    },
    /// A setting that must be there is not.
    #[error("{name} is missing; expected {expected}")]
    Missing {
        /// The key.
        name: String,
        /// What it should hold.
        expected: String,
    },
    /// A value of the wrong type, out of range or malformed.
    #[error("{name}: expected {expected}, found {found}{}", tail(advice))]
    Wrong {
        /// The key.
        name: String,
        /// What it should hold.
        expected: String,
        /// What it holds; never shown where it might be a secret.
        found: String,
        /// The way out, or nothing.
        advice: String,
    },
    /// Settings that are right one by one and wrong together, or wrong for this target.
    #[error("{sentence}")]
    Contradiction {
        /// The whole sentence, with the way out.
        sentence: String,
    },
}

/// Every fault on a line of its own.
pub(super) fn lines(faults: &[Fault]) -> String {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

fn tail(advice: &str) -> String {
    if advice.is_empty() { String::new() } else { format!("; {advice}") }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.at {
            Some(at) => write!(f, "{}: line {}, column {}: {}", self.file, at.line, at.column, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// `{"file","line","column","path","expected","found","message"}`; what is not known is left out.
impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("file", &self.file)?;
        if let Some(at) = self.at {
            map.serialize_entry("line", &at.line)?;
            map.serialize_entry("column", &at.column)?;
        }
        map.serialize_entry("path", &self.path.to_string())?;
        if let Some(expected) = self.problem.expected() {
            map.serialize_entry("expected", expected)?;
        }
        if let Some(found) = self.problem.found() {
            map.serialize_entry("found", found)?;
        }
        map.serialize_entry("message", &self.problem.to_string())?;
        map.end()
    }
}

impl Problem {
    /// What should have been there, where that can be said apart from the sentence.
    pub fn expected(&self) -> Option<&str> {
        match self {
            Problem::Syntax { expected, .. }
            | Problem::Missing { expected, .. }
            | Problem::Wrong { expected, .. } => Some(expected),
            Problem::File { .. }
            | Problem::UnknownKey { .. }
            | Problem::DuplicateKey { .. }
            | Problem::Contradiction { .. } => None,
        }
    }

    /// What was there instead.
    pub fn found(&self) -> Option<&str> {
        match self {
            Problem::Syntax { found, .. } | Problem::Wrong { found, .. } => Some(found),
            Problem::File { .. }
            | Problem::UnknownKey { .. }
            | Problem::DuplicateKey { .. }
            | Problem::Missing { .. }
            | Problem::Contradiction { .. } => None,
        }
    }
}

/// The way from the top of a file to a value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl JsonPath {
    /// The value under these keys.
    pub(super) fn of(keys: &[&str]) -> Self {
        JsonPath(keys.iter().map(|key| Step::Key((*key).to_owned())).collect())
    }

    /// The value under this key of this one.
    pub(super) fn key(&self, key: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        JsonPath(steps)
    }

    /// The item at this index of this one.
    pub(super) fn index(&self, index: usize) -> Self {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        JsonPath(steps)
    }

    /// The value as a sentence names it: "`key`, item 2, in `sheets` → `Customers`".
    pub(super) fn in_words(&self) -> String {
        let Some(last) = self.0.iter().rposition(|step| matches!(step, Step::Key(_))) else {
            return "the file".to_owned();
        };
        let mut words = String::new();
        let mut parents: Vec<String> = Vec::new();
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if place < last => parents.push(format!("`{}`", shortened(key))),
                Step::Key(key) => words = format!("`{}`", shortened(key)),
                Step::Index(index) if place > last => words.push_str(&format!(", item {},", index + 1)),
                Step::Index(_) => {}
            }
        }
        if parents.is_empty() {
            return words.trim_end_matches(',').to_owned();
        }
        format!("{words} in {}", parents.join(" → "))
    }

    /// Whether the value may be a secret that was put in the wrong place.
    pub(super) fn is_delicate(&self) -> bool {
        self.0.iter().any(|step| match step {
            Step::Key(key) => {
                ["secret", "certificate", "password", "token"].iter().any(|word| key.contains(word))
            }
            Step::Index(_) => false,
        })
    }
}

/// As JSONPath: `$.target.url`, `$["customers.xlsx"].key[1]`.
impl std::fmt::Display for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Key(key) if key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
                    write!(f, ".{key}")?;
                }
                Step::Key(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str()))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A file that was read as JSON: what gives faults their place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    pub file: String,
    pub root: Node,
}

impl Document {
    /// Reads bytes that must hold one JSON object; the faults are one fault, as nothing behind it can be judged.
    pub fn read(file: &str, bytes: &[u8], bytes_max: usize) -> Result<Self, Vec<Fault>> {
        if bytes.len() > bytes_max {
            let reason = format!("has {} bytes, more than the {bytes_max} allowed", bytes.len());
            return Err(vec![Fault::of_file(file, reason)]);
        }
        let syntax = |error: SyntaxError| {
            let SyntaxError { at, expected, found, advice } = error;
            let problem = Problem::Syntax { expected, found, advice: advice.to_owned() };
            vec![Fault { file: file.to_owned(), at: Some(at), path: JsonPath::default(), problem }]
        };
        let text = super::json::decode(bytes).map_err(syntax)?;
        let root = super::json::parse_object(text).map_err(syntax)?;
        Ok(Document { file: file.to_owned(), root })
    }

    /// A fault of the value at `path`, or of the nearest value above it that exists.
    pub fn fault(&self, path: &JsonPath, problem: Problem) -> Fault {
        Fault { file: self.file.clone(), at: Some(self.position(path)), path: path.clone(), problem }
    }

    /// A value that is not what it should be.
    pub fn wrong(&self, path: &JsonPath, expected: &str, found: &str, advice: &str) -> Fault {
        let problem = Problem::Wrong {
            name: path.in_words(),
            expected: expected.to_owned(),
            found: found.to_owned(),
            advice: advice.to_owned(),
        };
        self.fault(path, problem)
    }

    /// A setting that is not there.
    pub fn missing(&self, path: &JsonPath, expected: &str) -> Fault {
        let problem = Problem::Missing { name: path.in_words(), expected: expected.to_owned() };
        self.fault(path, problem)
    }

    /// Settings that do not go together.
    pub fn contradiction(&self, path: &JsonPath, sentence: String) -> Fault {
        self.fault(path, Problem::Contradiction { sentence })
    }

    /// Whether there is a value at `path`.
    pub fn holds(&self, path: &JsonPath) -> bool {
        path.0.iter().try_fold(&self.root, below).is_some()
    }

    fn position(&self, path: &JsonPath) -> Position {
        let mut node = &self.root;
        for step in &path.0 {
            match below(node, step) {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }
}

fn below<'n>(node: &'n Node, step: &Step) -> Option<&'n Node> {
    match (step, &node.json) {
        (Step::Key(key), Json::Object(members)) => {
            members.iter().find(|member| member.key == *key).map(|member| &member.node)
        }
        (Step::Index(index), Json::List(items)) => items.get(*index),
        (Step::Key(_) | Step::Index(_), _) => None,
    }
}

impl Fault {
    /// A fault of a whole file.
    pub(super) fn of_file(file: &str, reason: String) -> Self {
        let problem = Problem::File { reason };
        Fault { file: file.to_owned(), at: None, path: JsonPath::default(), problem }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_well_in_a_sentence_and_stays_exact_for_machines() {
        let path = JsonPath::of(&["sheets", "New Customers", "key"]).index(1);
        assert_eq!(path.in_words(), "`key`, item 2, in `sheets` → `New Customers`");
        assert_eq!(path.to_string(), r#"$.sheets["New Customers"].key[1]"#);
        assert_eq!(JsonPath::of(&["key"]).index(0).in_words(), "`key`, item 1");
        assert_eq!(JsonPath::default().in_words(), "the file");
    }

    #[test]
    fn a_fault_of_something_that_is_not_there_stands_where_it_should_be() {
        let document = Document::read("config.json", b"{\n \"target\": {}}", 99).unwrap();
        let fault = document.missing(&JsonPath::of(&["target", "url"]), "the address");
        assert_eq!(
            fault.to_string(),
            "config.json: line 2, column 12: `url` in `target` is missing; expected the address"
        );
    }

    #[test]
    fn a_file_that_is_too_large_is_not_even_looked_at() {
        let faults = Document::read("x.json", &[b'['; 11], 10).unwrap_err();
        assert_eq!(lines(&faults), "x.json: has 11 bytes, more than the 10 allowed");
    }
}
