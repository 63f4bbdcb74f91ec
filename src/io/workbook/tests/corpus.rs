//! Real workbooks that nobody here made: what becomes of each is written down in `corpus.tsv`, and a change of it fails.
//!
//! | column | meaning |
//! |---|---|
//! | file | every file of the corpus, once |
//! | outcome | `read`, or the fault with which it is returned |
//! | detail | the sheet that is read with nothing said, its rows, columns and unreadable cells; or the sentence of the fault |
//! | cells | cells of all sheets that are read as `expected.tsv` has them: as two other readers see them, or one of the two |
//! | otherwise | cells that are not |
//! | why | a sentence, wherever a file is returned or a cell is read otherwise |
//!
//! `DDU_BLESS=1` writes the table anew and keeps the sentences; a new exemption then waits for one.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::super::seen::{Seen, civil, see};
use super::super::sniff::sniff;
use super::super::source::Source;
use super::*;
use crate::domain::cell::cell_name;

/// The table, as it was reviewed last.
const REVIEWED: &str = include_str!("corpus.tsv");
const COLUMNS: &str = "file\toutcome\tdetail\tcells\totherwise\twhy";

/// The corpus beside the project, if it is there.
pub(super) fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    // Straight to the terminal: the harness swallows what a passing test prints.
    writeln!(std::io::stderr(), "SKIPPED: {} is missing", folder.display()).unwrap();
    None
}

/// What a file becomes with nothing said about it: outcome and detail.
fn outcome(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let read = catch_unwind(AssertUnwindSafe(|| read_file(File::open(path).unwrap(), &request(&name))));
    match read {
        Ok(Ok(read)) => {
            let Read { header, summary, .. } = read;
            let (rows, columns, faults) = (summary.rows, header.columns.len(), summary.faults);
            let detail = format!("{}: {rows} rows, {columns} columns, {faults} unreadable", header.sheet);
            ("read".to_owned(), detail)
        }
        Ok(Err(fault)) => {
            assert!(fault.is_senders(), "{name}: {fault}");
            let json = serde_json::to_value(&fault).unwrap();
            (json["fault"].as_str().unwrap().to_owned(), fault.to_string())
        }
        Err(_) => panic!("{name}: a parser panicked"),
    }
}

/// A cell in the notation of `expected.tsv`; times and durations as seconds.
fn notation(seen: &Seen<'_>) -> String {
    match seen {
        Seen::Blank => String::new(),
        Seen::Text(text) => format!("s:{text}"),
        Seen::Integer { value, .. } => format!("n:{value}"),
        Seen::Number(value) => format!("n:{value}"),
        Seen::Boolean(value) => format!("b:{value}").to_lowercase(),
        Seen::Day(day) => format!("d:{}", civil(i64::from(*day) * 86_400_000_000).unwrap()),
        Seen::Civil(micros) => format!("d:{}", civil(*micros).unwrap()),
        Seen::Instant(at) => format!("d:{at}"),
        Seen::Unreadable { found, .. } => format!("e:{found}"),
    }
}

/// Whether a cell was read as expected: numbers by value, dates to the millisecond, durations by their seconds.
fn agrees(expected: &str, found: &str) -> bool {
    let Some((kind, wanted)) = expected.split_once(':') else { return found.is_empty() };
    let (found_kind, found) = found.split_once(':').unwrap_or(("", found));
    let seconds = |text: &str| -> Option<f64> {
        if text.contains("PT") {
            return Some(text.parse::<jiff::SignedDuration>().ok()?.as_secs_f64());
        }
        let time: jiff::civil::Time = text.parse().ok()?;
        Some(time.duration_since(jiff::civil::Time::midnight()).as_secs_f64())
    };
    let near = |a: f64, b: Option<f64>| b.is_some_and(|b| (a - b).abs() < 0.0011);
    match (kind, found_kind) {
        ("n", "n" | "e") => wanted.parse::<f64>().ok() == found.parse().ok(),
        ("d", "d") => {
            let at = |text: &str| text.trim_end_matches('Z').parse::<jiff::civil::DateTime>().unwrap();
            at(wanted).duration_since(at(found)).as_millis().abs() <= 1
        }
        ("dur", "s") => near(wanted.parse().unwrap(), seconds(found)),
        ("t", "s") => near(seconds(wanted).unwrap(), seconds(found)),
        (kind, found_kind) => kind == found_kind && wanted == found,
    }
}

/// What two other readers see in a cell; where they differ, either may be right.
#[derive(Debug)]
enum Wanted {
    Sure(String),
    Either(String, String),
}

impl Wanted {
    fn agrees(&self, found: &str) -> bool {
        match self {
            Wanted::Sure(wanted) => agrees(wanted, found),
            Wanted::Either(one, other) => agrees(one, found) || agrees(other, found),
        }
    }

    fn may_be_blank(&self) -> bool {
        match self {
            Wanted::Sure(wanted) => wanted == "s:",
            Wanted::Either(one, other) => {
                [one, other].iter().any(|wanted| ["", "s:"].contains(&wanted.as_str()))
            }
        }
    }
}

/// Sheet → cell → what is seen there.
type Sheets = HashMap<String, HashMap<String, Wanted>>;

/// `expected.tsv`, by file.
fn expected(corpus: &Path) -> HashMap<String, Sheets> {
    let text = std::fs::read_to_string(corpus.join("expected.tsv")).unwrap();
    let mut files: HashMap<String, Sheets> = HashMap::new();
    for line in text.lines().skip(1) {
        let [file, sheet, cell, agreed, openpyxl, calamine] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if cell.is_empty() {
            continue;
        }
        let value = |json: &str| -> String {
            if json.is_empty() { String::new() } else { serde_json::from_str(json).unwrap() }
        };
        let (one, other) = (value(openpyxl), value(calamine));
        let wanted = match (agreed, one.is_empty()) {
            ("n", _) => Wanted::Either(one, other),
            (_, true) => Wanted::Sure(other),
            (_, false) => Wanted::Sure(one),
        };
        let sheets = files.entry(file.to_owned()).or_default();
        sheets.entry(serde_json::from_str(sheet).unwrap()).or_default().insert(cell.to_owned(), wanted);
    }
    files
}

/// How many cells of a file are read as expected, and which ones are not.
fn cells(path: &Path, mut sheets: Sheets) -> (usize, Vec<String>) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let (mut right, mut wrong) = (0, Vec::new());
    let all: usize = sheets.values().map(HashMap::len).sum();
    let mut file = File::open(path).unwrap();
    let limits = ReadLimits::default();
    let opened = sniff(&mut file, &name, &limits).and_then(|s| Source::open(file, None, &name, &s, &limits));
    let mut source = match opened {
        Ok(source) => source,
        Err(fault) => return (0, vec![fault.to_string(); all]),
    };
    for (index, sheet) in source.sheets().iter().enumerate() {
        let Some(mut cells) = sheets.remove(&sheet.name) else { continue };
        let read = source.each_row(index, &mut |row| {
            for cell in row.cells {
                let place = cell_name(cell.column, row.number);
                let Some(wanted) = cells.remove(place.as_str()) else { continue };
                let found = notation(&see(&row, cell));
                match wanted.agrees(&found) {
                    true => right += 1,
                    false => wrong.push(format!("{} {place}: {wanted:?}, not {found:?}", sheet.name)),
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        if let Err(fault) = &read {
            wrong.extend(cells.keys().map(|place| format!("{} {place}: {fault}", sheet.name)));
            continue;
        }
        for (place, wanted) in &cells {
            match wanted.may_be_blank() {
                true => right += 1,
                false => wrong.push(format!("{} {place}: {wanted:?}, not blank", sheet.name)),
            }
        }
    }
    for (sheet, cells) in &sheets {
        wrong.extend(cells.keys().map(|place| format!("{sheet} {place}: there is no such sheet")));
    }
    (right, wrong)
}

#[test]
fn every_file_of_the_corpus_is_read_or_returned_as_the_table_says() {
    let Some(corpus) = corpus() else { return };
    let mut paths: Vec<_> =
        std::fs::read_dir(corpus.join("files")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut reviewed: BTreeMap<&str, Vec<&str>> = REVIEWED
        .lines()
        .skip(1)
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|row| (row[0], row))
        .collect();
    let mut expected = expected(&corpus);
    let (mut table, mut changed, mut totals) = (format!("{COLUMNS}\n"), Vec::new(), [0; 2]);
    for path in &paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (kind, detail) = outcome(path);
        let (right, wrong) = cells(path, expected.remove(&name).unwrap_or_default());
        totals[0] += right;
        totals[1] += wrong.len();
        let found = [
            name.clone(),
            kind.clone(),
            detail.replace(['\t', '\n', '\r'], " "),
            right.to_string(),
            wrong.len().to_string(),
        ];
        let known = reviewed.remove(name.as_str()).unwrap_or_default();
        let why = known.get(5).copied().unwrap_or_default();
        table.push_str(&format!("{}\t{why}\n", found.join("\t")));
        if known.get(..5).is_none_or(|known| known != found.as_slice()) {
            changed.push(format!("{found:?}, in the table {known:?}; {:#?}", &wrong[..wrong.len().min(5)]));
        } else if why.is_empty() == (kind != "read" || !wrong.is_empty()) {
            changed.push(format!(
                "{name}: a sentence says why where, and only where, it is not read as others read it"
            ));
        }
    }
    changed.extend(reviewed.keys().map(|name| format!("{name} is in the table and not in the corpus")));
    changed.extend(expected.keys().map(|name| format!("{name} is in expected.tsv and not in the corpus")));
    eprintln!("{} files; cells as others see them {}, otherwise {}", paths.len(), totals[0], totals[1]);
    if std::env::var_os("DDU_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/io/workbook/tests/corpus.tsv");
        File::create(file).unwrap().write_all(table.as_bytes()).unwrap();
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}
