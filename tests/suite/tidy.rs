//! The house rules that no compiler knows: who may know whom, how a file opens, how long it may grow.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, left to right; left never names right.
const LAYERS: [&str; 7] = ["domain", "config", "io", "pipeline", "sandbox", "daemon", "cli"];
/// Lines of a source file. Most have 100 to 400; beyond this one has two purposes.
const FILE_LINES_MAX: usize = 700;
/// Words that stand for work not done.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];

struct SourceFile {
    path: PathBuf,
    text: String,
}

impl SourceFile {
    /// The layer that the file belongs to; `lib.rs` and `main.rs` belong to none.
    fn layer(&self) -> Option<&'static str> {
        let inside = self.path.strip_prefix(root().join("src")).ok()?;
        let first = inside.iter().next()?.to_str()?;
        LAYERS.into_iter().find(|layer| first == *layer || first == format!("{layer}.rs"))
    }

    /// The file's name from the root of the package.
    fn name(&self) -> String {
        self.path.strip_prefix(root()).unwrap().display().to_string()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<SourceFile> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(SourceFile { path, text });
            }
        }
    }
    assert!(!found.is_empty(), "no source under {}", folder.display());
    found
}

fn all_rust_files() -> Vec<SourceFile> {
    ["src", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder))).collect()
}

/// The layers that a text names, in code and in links of its docs, with the line's number.
fn layers_named(text: &str) -> Vec<(usize, &'static str)> {
    let mut named = Vec::new();
    for (at, prefix) in text.match_indices("crate::").chain(text.match_indices("ddu::")) {
        let rest = &text[at + prefix.len()..];
        let line = text[..at].lines().count().max(1);
        for path in rest.strip_prefix('{').map_or_else(|| vec![rest], paths_of_group) {
            let word: String = path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            named.extend(LAYERS.into_iter().filter(|layer| word == *layer).map(|layer| (line, layer)));
        }
    }
    named
}

/// The paths of `use crate::{a::b, c::{d, e}}`, from behind its first brace.
fn paths_of_group(group: &str) -> Vec<&str> {
    let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                paths.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    paths
}

fn may_know(layer: &str, other: &str) -> bool {
    let place = |name| LAYERS.iter().position(|layer| *layer == name).unwrap();
    match (layer, other) {
        // Two readings of one specification check each other only while they share no code.
        ("sandbox", other) => matches!(other, "sandbox" | "domain"),
        (layer, other) => place(other) <= place(layer),
    }
}

#[test]
fn left_never_names_right() {
    let mut wrong = Vec::new();
    for file in rust_files(&root().join("src")) {
        let Some(layer) = file.layer() else { continue };
        for (line, other) in layers_named(&file.text) {
            if !may_know(layer, other) {
                wrong.push(format!("{}:{line}: {layer} names {other}", file.name()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "what is needed lives in the wrong room; move it down or pass it in:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_layer_test_sees_what_it_has_to_see() {
    let text = "use crate::daemon::page;\nfn f() { crate::io::spool::list() }\n//! [x](crate::cli)\n\
                use crate::{\n    domain::{row, io},\n    config,\n};\nfn sandbox() {}";
    let named = layers_named(text);
    assert_eq!(named, [(1, "daemon"), (2, "io"), (3, "cli"), (4, "domain"), (4, "config")]);
    assert!(may_know("pipeline", "io") && may_know("io", "io") && !may_know("io", "pipeline"));
    assert!(may_know("sandbox", "domain") && !may_know("sandbox", "io") && !may_know("pipeline", "sandbox"));
}

#[test]
fn modules_stand_in_the_order_of_their_dependencies() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .filter(|module| LAYERS.contains(module))
        .collect();
    assert_eq!(declared, LAYERS);
}

#[test]
fn every_file_opens_with_a_sentence() {
    let silent: Vec<String> = all_rust_files()
        .iter()
        .filter(|file| {
            let first = file.text.lines().next().unwrap_or_default();
            let sentence = first.strip_prefix("//! ").unwrap_or_default();
            sentence.trim().is_empty()
        })
        .map(SourceFile::name)
        .collect();
    assert!(silent.is_empty(), "no `//!` sentence in the first line of: {}", silent.join(", "));
}

#[test]
fn no_file_outgrows_its_room() {
    let large: Vec<String> = all_rust_files()
        .iter()
        .filter_map(|file| {
            let lines = file.text.lines().count();
            (lines > FILE_LINES_MAX).then(|| format!("{} ({lines})", file.name()))
        })
        .collect();
    assert!(large.is_empty(), "more than {FILE_LINES_MAX} lines: {}", large.join(", "));
}

#[test]
fn nothing_is_left_for_later() {
    let mut left = Vec::new();
    for file in all_rust_files() {
        if file.path.ends_with("suite/tidy.rs") {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            if UNFINISHED.iter().any(|word| line.contains(word)) {
                left.push(format!("{}:{}: {}", file.name(), index + 1, line.trim()));
            }
        }
    }
    assert!(left.is_empty(), "unfinished:\n{}", left.join("\n"));
}

#[test]
fn the_examples_parse() {
    let mut files = vec![root().join("config.example.json")];
    let mut folders = vec![root().join("examples")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "json" => files.push(path),
                _ => {}
            }
        }
    }
    for file in files.iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).unwrap();
        let parsed = serde_json::from_str::<serde_json::Value>(&text);
        assert!(parsed.as_ref().is_ok_and(serde_json::Value::is_object), "{}: {parsed:?}", file.display());
    }
}

#[test]
fn the_map_has_every_layer() {
    let Ok(map) = fs::read_to_string(root().join("ARCHITECTURE.md")) else { return };
    let missing: Vec<&str> = LAYERS.into_iter().filter(|layer| !map.contains(&format!("`{layer}"))).collect();
    assert!(missing.is_empty(), "ARCHITECTURE.md does not mention {}", missing.join(", "));
}
