//! Sidecars: JSON files beside the workbooks that say how these are to be loaded.
//!
//! A sidecar that is wrong in any part counts as a whole as wrong: its workbooks wait, and defaults never take its place.

use std::sync::Arc;

use indexmap::IndexMap;

use super::fault::{Document, Fault, JsonPath, Problem};
use super::json::{EMPTY_FILE, END_OF_FILE, Member, Node};
use super::names::{SidecarScope, fold_name, is_workbook, sidecar_scope};
use super::raw_sidecar::RawSidecar;
use super::shape::Shape;
use crate::domain::near::nearest;

/// Largest sidecar in bytes; one with settings for a thousand workbooks has a tenth of it.
pub const SIDECAR_BYTES_MAX: usize = 1 << 20;

/// Keys that people try, with what to do instead.
const STRANGERS: [(&str, &str); 4] = [
    ("entity", "the entity in Dynamics is called `target_entity`"),
    ("table", "the staged table is called `table_name`"),
    ("company", "the company is called `legal_entity`"),
    ("keys", "one column or a list of them, it is called `key`"),
];

/// A sidecar that can be followed.
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarFile {
    /// Folded name of a workbook ([`fold_name`]) → its settings, in the order of the file.
    pub entries: IndexMap<String, Sidecar>,
}

/// The settings of one workbook as its sender wrote them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    pub(super) document: Arc<Document>,
    pub(super) path: JsonPath,
    pub(super) raw: RawSidecar,
}

/// Everything that is wrong with a sidecar, one line each. Its sender must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", super::fault::lines(faults))]
pub struct SidecarFaults {
    /// The faults, in the order of the file; never empty.
    pub faults: Vec<Fault>,
    pub(super) concerned: Concerned,
}

/// The workbooks that wait until a sidecar is mended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Concerned {
    /// Those of these folded names.
    Names(Vec<String>),
    /// Those whose folded name occurs anywhere in this folded text: it is not JSON, so nothing better is known.
    Mentioned(String),
}

impl SidecarFile {
    /// The settings of a workbook, whichever way its name is spelt.
    pub fn of(&self, workbook_name: &str) -> Option<&Sidecar> {
        self.entries.get(&fold_name(workbook_name))
    }
}

impl SidecarFaults {
    /// Whether the text ends before it is complete, as one that is still being written does.
    pub fn break_off(&self) -> bool {
        let ends = |fault: &Fault| match &fault.problem {
            Problem::Syntax { found, .. } => [END_OF_FILE, EMPTY_FILE].contains(&found.as_str()),
            _ => false,
        };
        self.faults.iter().any(ends)
    }

    /// Whether a workbook must wait until this sidecar is mended, because it is, or may be, one of those it is about.
    pub fn concerns(&self, workbook_name: &str) -> bool {
        let name = fold_name(workbook_name);
        match &self.concerned {
            Concerned::Names(names) => names.contains(&name),
            // An escape or a damaged character may hide a letter that is not ASCII.
            Concerned::Mentioned(text) => {
                text.contains(&name)
                    || (!name.is_ascii() && text.contains(['\\', char::REPLACEMENT_CHARACTER]))
            }
        }
    }
}

/// Reads the sidecar that was dropped under this name. A byte order mark is passed over.
///
/// # Errors
/// Every fault there is, at once; the workbooks they concern are held.
pub fn parse_sidecar(file_name: &str, bytes: &[u8]) -> Result<SidecarFile, SidecarFaults> {
    let Some(scope) = sidecar_scope(file_name) else {
        let reason = "is not a sidecar; one is called `customers.xlsx.json` or `anything.json`".to_owned();
        let concerned = Concerned::Names(Vec::new());
        return Err(SidecarFaults { faults: vec![Fault::of_file(file_name, reason)], concerned });
    };
    let document = match Document::read(file_name, bytes, SIDECAR_BYTES_MAX) {
        Ok(document) => Arc::new(document),
        Err(faults) => {
            let concerned = match scope {
                SidecarScope::One(name) => Concerned::Names(vec![fold_name(&name)]),
                SidecarScope::Many => Concerned::Mentioned(fold_name(&lossy(bytes))),
            };
            return Err(SidecarFaults { faults, concerned });
        }
    };
    let mut entries =
        Entries { document: &document, shape: Shape::of::<RawSidecar>(&STRANGERS), faults: Vec::new() };
    let (read, names) = match scope {
        SidecarScope::One(name) => (entries.one(&name), vec![fold_name(&name)]),
        SidecarScope::Many => {
            let names = document.root.json.members().iter().map(|member| fold_name(&member.key)).collect();
            (entries.many(), names)
        }
    };
    if entries.faults.is_empty() {
        return Ok(SidecarFile { entries: read });
    }
    let mut faults = entries.faults;
    faults.sort_by_key(|fault| fault.at);
    Err(SidecarFaults { faults, concerned: Concerned::Names(names) })
}

struct Entries<'e> {
    document: &'e Arc<Document>,
    shape: Shape,
    faults: Vec<Fault>,
}

impl Entries<'_> {
    /// `customers.xlsx.json`: the settings themselves, or the guide's form with this workbook as its only key.
    fn one(&mut self, name: &str) -> IndexMap<String, Sidecar> {
        let document = Arc::clone(self.document);
        let members = document.root.json.members();
        let folded = fold_name(name);
        if !members.iter().any(|member| is_workbook(&member.key)) {
            return self.entry(&folded, &document.root, JsonPath::default()).into_iter().collect();
        }
        for member in members.iter().filter(|member| fold_name(&member.key) != folded) {
            let file = &document.file;
            let sentence = format!(
                "{file} is the sidecar of `{name}` alone, and `{}` is not that; give several workbooks their settings in one \
                 file such as `settings.json`",
                super::json::shortened(&member.key)
            );
            self.at_key(member, Problem::Contradiction { sentence });
        }
        self.many_of(members.iter().filter(|member| fold_name(&member.key) == folded))
    }

    /// `anything.json`: workbook names with their settings.
    fn many(&mut self) -> IndexMap<String, Sidecar> {
        let document = Arc::clone(self.document);
        let members = document.root.json.members();
        let settings = self.shape.keys();
        let looks_like_setting = |member: &&Member| {
            !is_workbook(&member.key) && nearest(&member.key, settings.iter().copied()).is_some()
        };
        if let Some(member) = members.iter().find(looks_like_setting) {
            let stem = document.file.rsplit_once('.').map_or("", |(stem, _)| stem);
            let sentence = format!(
                "`{}` is a setting, but this file does not say of which workbook; call it `{stem}.xlsx.json` after its \
                 workbook, or put the settings under the workbook's name: `\"{stem}.xlsx\": {{…}}`",
                super::json::shortened(&member.key)
            );
            self.at_key(member, Problem::Contradiction { sentence });
            return IndexMap::new();
        }
        if members.is_empty() {
            let sentence =
                "the file names no workbook; expected one such as `\"customers.xlsx\": {}`".to_owned();
            self.faults.push(document.contradiction(&JsonPath::default(), sentence));
        }
        for member in members.iter().filter(|member| !is_workbook(&member.key)) {
            let path = JsonPath::of(&[&member.key]);
            let known = super::shape::listed(&super::names::WORKBOOK_EXTENSIONS, "or");
            let advice = format!("; expected the name of a workbook with its extension ({known})");
            self.at_key(member, Problem::UnknownKey { name: path.in_words(), advice });
        }
        self.many_of(members.iter().filter(|member| is_workbook(&member.key)))
    }

    fn many_of<'m>(&mut self, members: impl Iterator<Item = &'m Member>) -> IndexMap<String, Sidecar> {
        let mut seen: IndexMap<String, &Member> = IndexMap::new();
        let mut read = IndexMap::new();
        for member in members {
            let folded = fold_name(&member.key);
            let path = JsonPath::of(&[&member.key]);
            match seen.get(&folded) {
                Some(first) if first.key == member.key => {
                    let first_line = first.key_at.line;
                    self.at_key(member, Problem::DuplicateKey { name: path.in_words(), first_line });
                }
                Some(first) => {
                    let sentence = format!(
                        "{} means the same workbook as `{}` on line {}; keep one of them",
                        path.in_words(),
                        super::json::shortened(&first.key),
                        first.key_at.line
                    );
                    self.at_key(member, Problem::Contradiction { sentence });
                }
                None => {
                    seen.insert(folded.clone(), member);
                    read.extend(self.entry(&folded, &member.node, path));
                }
            }
        }
        read
    }

    fn entry(&mut self, folded: &str, node: &Node, path: JsonPath) -> Option<(String, Sidecar)> {
        let before = self.faults.len();
        let value = self.shape.check(self.document, node, &path, &mut self.faults)?;
        if self.faults.len() > before {
            return None;
        }
        match serde_json::from_value(value) {
            Ok(raw) => Some((folded.to_owned(), Sidecar { document: Arc::clone(self.document), path, raw })),
            Err(error) => {
                self.faults.push(self.document.contradiction(&path, error.to_string()));
                None
            }
        }
    }

    fn at_key(&mut self, member: &Member, problem: Problem) {
        let fault = self.document.fault(&JsonPath::of(&[&member.key]), problem);
        self.faults.push(Fault { at: Some(member.key_at), ..fault });
    }
}

/// As much of a damaged text as can be read.
fn lossy(bytes: &[u8]) -> String {
    let wide = |pair: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes.chunks_exact(2).map(|two| pair([two[0], two[1]])).collect();
        String::from_utf16_lossy(&units)
    };
    match bytes {
        [0xFF, 0xFE, ..] | [_, 0, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] | [0, ..] => wide(u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The example of the migration guide, word for word, with the braces that it lacks.
    const GUIDE: &str = r#"{
    "entity_one.xlsx": {
        "target_entity": "dynamics_entity_one", 
        "atomic": true
    },
    "entity_two.xlsx": {
        "target_entity": "dynamics_entity_two",
        "overwrite": true
    }
}"#;

    fn faults(name: &str, text: &str) -> String {
        parse_sidecar(name, text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_sidecar_with_a_fault_is_refused_with_its_place() {
        for (name, text, wanted) in [
            (
                "accounts.xlsx.json",
                "{\n\n    \"overwrit\": true}",
                "accounts.xlsx.json: line 3, column 5: unknown key `overwrit`; did you mean `overwrite`?",
            ),
            (
                "a.xlsx.json",
                "{\"a.xlsx\": {\"atomic\": \"yes\"}}",
                "a.xlsx.json: line 1, column 23: `atomic` in `a.xlsx`: expected `true` or `false`, found the text `yes`",
            ),
            (
                "a.xlsx.json",
                "{\"a.xlsx\": {}, \"b.xlsx\": {}}",
                "a.xlsx.json: line 1, column 16: a.xlsx.json is the sidecar of `a.xlsx` alone, and `b.xlsx` is not that; \
                 give several workbooks their settings in one file such as `settings.json`",
            ),
            (
                "customers.json",
                "{\"target_entity\": \"accounts\"}",
                "customers.json: line 1, column 2: `target_entity` is a setting, but this file does not say of which \
                 workbook; call it `customers.xlsx.json` after its workbook, or put the settings under the workbook's name: \
                 `\"customers.xlsx\": {…}`",
            ),
            (
                "s.json",
                "{\"customers\": {}}",
                "s.json: line 1, column 2: unknown key `customers`; expected the name of a workbook with its extension \
                 (`xlsx`, `xlsm`, `xlsb`, `xls`, `ods`, `csv`, `tsv` or `zip`)",
            ),
            (
                "s.json",
                "{}",
                "s.json: line 1, column 1: the file names no workbook; expected one such as `\"customers.xlsx\": {}`",
            ),
            (
                "s.json",
                "{\"a.xlsx\": true}",
                "s.json: line 1, column 12: `a.xlsx`: expected an object `{…}`, found `true`",
            ),
            (
                "s.json",
                "{\"a.csv\": {}, \"a.csv\": {}}",
                "s.json: line 1, column 15: `a.csv` is set twice; it stands first on line 1",
            ),
            (
                "s.json",
                "{\"a.csv\": {}, \"A.CSV\": {}}",
                "s.json: line 1, column 15: `A.CSV` means the same workbook as `a.csv` on line 1; keep one of them",
            ),
            (
                "notes.txt",
                "{}",
                "notes.txt: is not a sidecar; one is called `customers.xlsx.json` or `anything.json`",
            ),
        ] {
            assert_eq!(faults(name, text), wanted);
        }
    }

    #[test]
    fn the_guides_example_works_with_its_braces_and_is_placed_without_them() {
        let file = parse_sidecar("settings.json", GUIDE.as_bytes()).unwrap();
        assert_eq!(file.of("entity_one.xlsx").unwrap().raw.atomic, Some(true));
        assert_eq!(file.of("ENTITY_TWO.xlsx").unwrap().raw.overwrite, Some(true));
        assert_eq!(file.entries.len(), 2);
        let printed = GUIDE.trim_start_matches("{\n").replace("    },\n", "").replace("    }\n}", "");
        let wanted = "settings.json: line 1, column 5: expected `{` at the beginning, found `\"`; the whole file stands in one \
                      pair of braces";
        assert_eq!(faults("settings.json", &printed), wanted);
        let wanted =
            "settings.json: line 4, column 23: expected `,` or `}` after the value of `atomic`, found `\"`";
        assert_eq!(faults("settings.json", &format!("{{\n{printed}}}")), wanted);
    }

    #[test]
    fn both_forms_say_the_same_and_a_byte_order_mark_says_nothing() {
        let plain = parse_sidecar("Müller.xlsx.json", b"\xEF\xBB\xBF{\"overwrite\": true}").unwrap();
        let guide =
            parse_sidecar("x.json", "{\"MU\u{308}LLER.XLSX\": {\"overwrite\": true}}".as_bytes()).unwrap();
        let both =
            parse_sidecar("Müller.xlsx.json", "{\"müller.xlsx\": {\"overwrite\": true}}".as_bytes()).unwrap();
        for file in [plain, guide, both] {
            assert_eq!(file.of("müller.xlsx").unwrap().raw.overwrite, Some(true));
        }
    }

    #[test]
    fn a_broken_sidecar_holds_its_workbooks_and_no_others() {
        let held = |name: &str, bytes: &[u8], workbook: &str| {
            parse_sidecar(name, bytes).unwrap_err().concerns(workbook)
        };
        assert!(held("a.xlsx.json", b"{", "A.xlsx"));
        assert!(!held("a.xlsx.json", b"{ \"b.xlsx\"", "b.xlsx"));
        // Not JSON: whatever it mentions, in whatever spelling or encoding.
        assert!(held("s.json", b"{ 'A.xlsx': {", "a.xlsx"));
        assert!(!held("s.json", b"{ 'A.xlsx': {", "b.xlsx"));
        assert!(held("s.json", b"{ \"\\u00e4.xlsx\": {", "ä.xlsx"));
        assert!(held("s.json", b"{ \"\xE4.xlsx\": {}}", "ä.xlsx"));
        let utf16: Vec<u8> = "\u{FEFF}{\"a.xlsx\": {}}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(held("s.json", &utf16, "a.xlsx") && !held("s.json", &utf16, "b.xlsx"));
        // JSON with a fault in one entry: all that it names, since one file is one word.
        let text = br#"{"a.xlsx": {"mode": 1}, "b.xlsx": {}}"#;
        assert!(
            held("s.json", text, "a.xlsx")
                && held("s.json", text, "b.xlsx")
                && !held("s.json", text, "c.xlsx")
        );
        assert!(!held("package.json", br#"{"name": "x"}"#, "x.xlsx"));
    }

    #[test]
    fn a_sidecar_that_is_too_large_is_refused() {
        let bytes = vec![b' '; SIDECAR_BYTES_MAX + 1];
        assert!(
            parse_sidecar("s.json", &bytes)
                .unwrap_err()
                .to_string()
                .contains("more than the 1048576 allowed")
        );
    }
}
