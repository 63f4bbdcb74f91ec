//! README and ARCHITECTURE against the program: what they name exists, and what exists is named.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use ddu::config::{Settings, parse_sidecar, schema, sidecar_schema};
use ddu::domain::table::{QUARANTINE_META_COLUMNS, STAGED_META_COLUMNS};
use ddu::io::delta::{LogRow, Receipt, StateRow};
use jiff::Timestamp;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// The cells of every row of every table, without the blanks around them.
fn table_rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.trim_end().strip_suffix('|'));
    rows.map(|row| row.split(" | ").map(str::trim).collect()).collect()
}

/// The fenced blocks whose info string is exactly this.
fn blocks<'a>(text: &'a str, info: &str) -> Vec<&'a str> {
    let start = format!("\n```{info}\n");
    let found = text.match_indices(&start).map(|(at, _)| &text[at + start.len()..]);
    found.map(|rest| rest.split("\n```").next().unwrap()).collect()
}

/// The words in `ticks` of a text.
fn ticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Every key of a schema with its own schema; keys of an object within one are `outer.inner`.
fn keys(root: &Value, node: &Value, prefix: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in node["properties"].as_object().into_iter().flatten() {
        if key == "$schema" {
            continue;
        }
        let within = object_of(root, value);
        if within["properties"].is_object() {
            found.extend(keys(root, within, &format!("{prefix}{key}.")));
        } else {
            found.push((format!("{prefix}{key}"), value.clone()));
        }
    }
    found
}

/// A schema itself, or the one that it refers to.
fn object_of<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let choices = ["anyOf", "allOf"].iter().filter_map(|key| node[*key].as_array()).flatten();
    let reference = std::iter::once(node).chain(choices).find_map(|node| node["$ref"].as_str());
    match reference.and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) if !pointer.is_empty() => root.pointer(pointer).unwrap(),
        _ => node,
    }
}

/// What the README's table of settings lacks or tells otherwise.
fn undocumented(readme: &str, schema: &Value) -> Vec<String> {
    let rows = table_rows(readme);
    let mut wrong = Vec::new();
    for (key, value) in keys(schema, schema, "") {
        let named = format!("`{key}`");
        // `listen`, `batch_size` and `workers` have a row in both tables; one of them must fit.
        let candidates: Vec<_> = rows.iter().filter(|row| row.len() == 4 && row[0] == named).collect();
        let default = match &value["default"] {
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        let mut told = vec![default];
        if let (Some(least), Some(most)) = (value["minimum"].as_i64(), value["maximum"].as_i64()) {
            told.push(format!("{least} – {most}"));
        }
        if let Some(most) = value["maxLength"].as_i64() {
            told.push(most.to_string());
        }
        let words = object_of(schema, &value)["enum"].as_array().cloned().unwrap_or_default();
        told.extend(words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`")));
        let tells = |row: &&&Vec<&str>| {
            let [default, rest @ ..] = told.as_slice() else { return false };
            row[1].contains(default.as_str()) && rest.iter().all(|text| row[2].contains(text.as_str()))
        };
        if candidates.is_empty() {
            wrong.push(format!("{key} has no row"));
        } else if !candidates.iter().any(|row| tells(&row)) {
            wrong.push(format!("{key} should tell {told:?}, and has {candidates:?}"));
        }
    }
    assert!(!keys(schema, schema, "").is_empty());
    wrong
}

#[test]
fn every_setting_is_explained_with_its_default_and_its_range() {
    let wrong = undocumented(&document("README.md"), &schema());
    assert!(wrong.is_empty(), "README.md, settings:\n{}", wrong.join("\n"));
}

#[test]
fn every_key_of_a_sidecar_is_explained_with_its_default_and_its_range() {
    let wrong = undocumented(&document("README.md"), &sidecar_schema());
    assert!(wrong.is_empty(), "README.md, sidecars:\n{}", wrong.join("\n"));
}

#[test]
fn the_examples_of_the_readme_are_taken_as_they_stand() {
    // Writes each into a folder and loads it as the program would.
    let readme = document("README.md");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let configs = blocks(&readme, "json config");
    assert!(!configs.is_empty());
    let mut settings = None;
    for text in configs {
        fs::write(&path, text).unwrap();
        settings = Some(Settings::load(&path).unwrap());
    }
    let settings = settings.unwrap();
    for (info, name) in [("json sidecar", "customers.xlsx.json"), ("json sidecars", "monday.json")] {
        let found = blocks(&readme, info);
        assert!(!found.is_empty(), "no block `{info}`");
        for text in found {
            for (workbook, sidecar) in &parse_sidecar(name, text.as_bytes()).unwrap().entries {
                sidecar.loads(workbook, &settings).unwrap();
            }
        }
    }
    assert!(blocks(&readme, "json").is_empty(), "say what it is: config, sidecar or sidecars");
}

/// Every command with the words that lead to it, hidden ones left out.
fn commands(command: &Command, path: &str) -> Vec<(String, Command)> {
    let mut found = Vec::new();
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name());
        if sub.has_subcommands() {
            found.extend(commands(sub, &path));
        } else {
            found.push((path, sub.clone()));
        }
    }
    found
}

#[test]
fn every_command_and_every_switch_is_explained() {
    let readme = document("README.md");
    let words = ticked(&readme);
    let cli = ddu::cli::args::Cli::command();
    let mut missing = Vec::new();
    let all = commands(&cli, "ddu");
    assert!(all.len() > 10);
    for (path, command) in all {
        let told: Vec<&&str> = words
            .iter()
            .filter(|word| {
                word.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            })
            .collect();
        if told.is_empty() {
            missing.push(path.clone());
        }
        for switch in command.get_arguments().filter_map(|argument| argument.get_long()) {
            let long = format!("--{switch}");
            if switch != "json" && !told.iter().any(|word| word.contains(&long)) {
                missing.push(format!("{path} {long}"));
            }
        }
    }
    for switch in cli.get_arguments().filter_map(|argument| argument.get_long()) {
        if !words.iter().any(|word| word.starts_with(&format!("--{switch}"))) {
            missing.push(format!("--{switch}"));
        }
    }
    assert!(missing.is_empty(), "README.md does not explain: {}", missing.join(", "));
}

#[test]
fn the_tables_have_the_columns_that_the_readme_tells() {
    let time = Timestamp::UNIX_EPOCH;
    let text = String::new;
    let state = StateRow {
        id: 1,
        table_name: text(),
        records: 0,
        validated: false,
        workers: 1,
        target_entity: text(),
        written: 0,
        quarantined: 0,
        pending: 0,
        status: text(),
        updated: time,
        validation: None,
    };
    let log = LogRow {
        table_name: text(),
        partition_id: 0,
        batch_id: 0,
        batch_size: 0,
        write_time: 0.0,
        time,
        error: None,
        severity: 0,
        cause: None,
        quarantine_table: None,
        job: text(),
        target_entity: text(),
        legal_entity: None,
        rows_written: 0,
        rows_quarantined: 0,
        attempt: 1,
    };
    let receipt = Receipt {
        table_name: text(),
        row_id: ddu::domain::row::RowId(uuid::Uuid::nil()),
        target_key: text(),
        job: text(),
        batch_id: 0,
        time,
        created: None,
        record_id: None,
    };
    let names = |row: Value| row.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let expected = [
        ("`<database>/migration_state`", names(serde_json::to_value(&state).unwrap())),
        ("`<database>/migration_log`", names(serde_json::to_value(&log).unwrap())),
        ("`<database>/migration_receipts`", names(serde_json::to_value(&receipt).unwrap())),
        ("`<database>/<table>`", STAGED_META_COLUMNS.map(str::to_owned).to_vec()),
        (
            "`<quarantine_database>/<table>`",
            [&QUARANTINE_META_COLUMNS[..], &["_ddu_refusals", "_ddu_missing"]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
        ),
    ];
    let readme = document("README.md");
    let rows = table_rows(&readme);
    for (table, columns) in expected {
        let row = rows.iter().find(|row| row[0] == table).unwrap_or_else(|| panic!("no row for {table}"));
        assert_eq!(ticked(row[2]), columns, "{table}");
    }
}

#[test]
fn every_metric_that_is_named_exists() {
    let source = document("src/daemon/metrics.rs");
    for name in ["README.md", "ARCHITECTURE.md"] {
        let text = document(name);
        let named: Vec<&str> = ticked(&text).into_iter().filter(|word| word.starts_with("ddu_")).collect();
        for word in named {
            let metric = word.split(['{', '*']).next().unwrap();
            // Attributes of the example entities begin in the same way.
            let known = source.contains(&format!("\"{metric}")) || metric.starts_with("ddu_customer");
            assert!(known, "{name} names the metric `{word}`");
        }
    }
}

/// The anchor that a heading gets where Markdown is shown.
fn anchor(heading: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| kept(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benches/README.md", "examples/README.md"] {
        let text = document(name);
        let folder = root().join(name).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root().join(name) } else { folder.join(file) };
            let there = match fs::read_to_string(&path) {
                Ok(text) if !heading.is_empty() => text
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_start_matches('#')) == heading),
                _ => path.exists() && heading.is_empty(),
            };
            if !there {
                dead.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere: {}", dead.join(", "));
}

/// Every Rust file below a folder, from the root of the package.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found
}

/// The row of the map for a file: its name and its first sentence.
fn row_of(path: &Path) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//! ")).collect();
    let head = head.join(" ");
    let sentence = head.split_inclusive(". ").next().unwrap_or_default().trim();
    format!("| `{}` | {sentence} |", path.strip_prefix("src").unwrap().display())
}

#[test]
fn the_map_has_every_room_and_no_other() {
    let map = document("ARCHITECTURE.md");
    let rooms = map.split("\n## Rooms\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let named: BTreeSet<String> = table_rows(rooms)
        .iter()
        .filter_map(|row| row[0].strip_prefix('`')?.strip_suffix('`'))
        .map(|room| if room.starts_with("src/") { room.to_owned() } else { format!("src/{room}") })
        .collect();
    let gone: Vec<&String> = named.iter().filter(|room| !root().join(room).exists()).collect();
    assert!(gone.is_empty(), "ARCHITECTURE.md names rooms that are not there: {gone:?}");
    let is_test =
        |path: &Path| path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    let missing: Vec<String> = rust_files("src")
        .into_iter()
        .filter(|path| !is_test(path) && !named.contains(path.to_str().unwrap()))
        .map(|path| row_of(&path))
        .collect();
    assert!(missing.is_empty(), "rows that ARCHITECTURE.md lacks:\n{}", missing.join("\n"));
}

#[test]
fn every_test_and_every_file_that_the_map_names_exists() {
    let map = document("ARCHITECTURE.md");
    let sources: Vec<String> = ["src", "tests"]
        .iter()
        .flat_map(|folder| rust_files(folder))
        .map(|path| fs::read_to_string(root().join(path)).unwrap())
        .collect();
    for word in ticked(&map) {
        // Nothing but a test has so many words in its name.
        if word.matches('_').count() >= 5 && word.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            let defined = format!("fn {word}()");
            assert!(sources.iter().any(|source| source.contains(&defined)), "no test `{word}`");
        }
        let path = word.trim_end_matches('/');
        if path.contains('/') && path.ends_with(".rs") && !path.contains(['<', ' ']) {
            let there =
                [path.to_owned(), format!("src/{path}")].iter().any(|path| root().join(path).exists());
            assert!(there, "no file `{word}`");
        }
    }
}

/// The name of the test of a rule: the words of its row's first cell.
fn test_of_rule(cell: &str) -> String {
    let words = cell.to_lowercase();
    let words: Vec<&str> =
        words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    format!("rule_{}", words.join("_"))
}

#[test]
fn every_rule_about_workbooks_has_a_test_of_its_name_and_every_such_test_its_rule() {
    let readme = document("README.md");
    let section = readme.split("\n## What a workbook may look like\n").nth(1).unwrap();
    let rows = table_rows(section.split("\n## ").next().unwrap());
    let rules: BTreeSet<String> =
        rows.iter().filter(|row| row[0] != "what").map(|row| test_of_rule(row[0])).collect();
    assert!(rules.len() > 10, "the table of rules is not found");
    let mut tests = BTreeSet::new();
    for path in ["src", "tests"].iter().flat_map(|folder| rust_files(folder)) {
        let source = fs::read_to_string(root().join(&path)).unwrap();
        let named = source.split("\nfn rule_").skip(1).map(|rest| rest.split('(').next().unwrap());
        tests.extend(named.map(|name| format!("rule_{name}")));
    }
    let untested: Vec<&String> = rules.difference(&tests).collect();
    assert!(untested.is_empty(), "rules of the README without a test: {untested:#?}");
    let unwritten: Vec<&String> = tests.difference(&rules).collect();
    assert!(unwritten.is_empty(), "tests of rules that the README does not have: {unwritten:#?}");
}

#[test]
fn every_event_of_a_journal_is_explained() {
    let map = document("ARCHITECTURE.md");
    let source = document("src/domain/lifecycle.rs");
    let names: Vec<&str> = source
        .lines()
        .filter(|line| line.trim_start().starts_with("Event::"))
        .filter_map(|line| line.split("=> \"").nth(1)?.strip_suffix("\","))
        .collect();
    assert!(names.len() > 5, "the names of events are not found");
    let rows = table_rows(&map);
    for name in names {
        assert!(
            rows.iter().any(|row| row[0] == format!("`{name}`")),
            "ARCHITECTURE.md has no row for `{name}`"
        );
    }
}
