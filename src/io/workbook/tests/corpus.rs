//! Real workbooks that nobody here made: each is read, or refused with a reason; none makes the reader panic.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::super::seen::{Seen, civil, see};
use super::super::sniff::sniff;
use super::super::source::Source;
use super::*;
use crate::domain::cell::cell_name;

/// Where DDU reads otherwise than the table has it, and why.
const OTHERWISE: [(&str, &str); 8] = [
    ("readxl__dates-leap-year-1900-xls.xls ", "29 February 1900 never was: DDU reports it, others move it"),
    ("readxl__dates-leap-year-1900-xlsx.xlsx ", "29 February 1900 never was: DDU reports it, others move it"),
    (
        "test_files__ErrorTypes.xlsx RawErrors ",
        "a text that looks like an error value; the table goes by its look",
    ),
    ("test_files__apachepoi_LookupFunctionsTestCaseData.xls.xlsb ", "a text that looks like an error value"),
    ("test_files__xlsx-stream-d-date-cell.xlsx Sheet1 B5", "a cell of kind date; others leave it a text"),
    (
        "calamine__biff5-rich-text-string.xls Sheet1 H3",
        "calamine 0.38 knows its code page, the table's reader did not",
    ),
    ("calamine__OOM_alloc3.xls: ", "refused as damaged"),
    ("calamine__issue252.xlsx: ", "refused as damaged: a part is longer than its container says"),
];

/// The corpus beside the project, if it is there.
fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    // Straight to the terminal: the harness swallows what a passing test prints.
    writeln!(std::io::stderr(), "SKIPPED: {} is missing", folder.display()).unwrap();
    None
}

/// The outcome of one file, in a word or a sentence.
fn outcome(path: &Path) -> (String, String) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let read = catch_unwind(AssertUnwindSafe(|| read_file(File::open(path).unwrap(), &request(&name))));
    match read {
        Ok(Ok(read)) => {
            ("read".to_owned(), format!("{} rows, {} faults", read.summary.rows, read.summary.faults))
        }
        Ok(Err(fault)) => {
            assert!(fault.is_senders(), "{name}: {fault}");
            let json = serde_json::to_value(&fault).unwrap();
            (json["fault"].as_str().unwrap().to_owned(), fault.to_string())
        }
        // calamine panics on a few broken files; the child turns that into a fault.
        Err(_) => ("panic".to_owned(), "a parser gave up".to_owned()),
    }
}

#[test]
fn every_file_of_the_corpus_is_read_or_refused_with_a_reason() {
    let Some(corpus) = corpus() else { return };
    let mut outcomes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut files: Vec<_> =
        std::fs::read_dir(corpus.join("files")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for path in files {
        let (kind, detail) = outcome(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        outcomes.entry(kind).or_default().push(format!("{name}: {detail}"));
    }
    assert!(!outcomes.contains_key("panic"), "{:?}", outcomes["panic"]);
    for (kind, files) in &outcomes {
        eprintln!("== {kind}: {}", files.len());
        for file in files.iter().filter(|_| kind != "read") {
            eprintln!("   {file}");
        }
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
    let (kind, wanted) = expected.split_once(':').unwrap();
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

#[test]
fn cells_that_two_other_readers_agree_on_are_read_as_they_read_them() {
    let Some(corpus) = corpus() else { return };
    let expected = std::fs::read_to_string(corpus.join("expected.tsv")).unwrap();
    // file → sheet → cell → (whether two readers agreed, what they or the one saw)
    type Cells<'a> = HashMap<&'a str, (bool, String)>;
    let mut wanted: BTreeMap<&str, HashMap<String, Cells<'_>>> = BTreeMap::new();
    for line in expected.lines().skip(1) {
        let [file, sheet, cell, agreed, openpyxl, calamine] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        if cell.is_empty() || agreed == "n" {
            continue;
        }
        let value = if openpyxl.is_empty() { calamine } else { openpyxl };
        let (sheet, value) = (serde_json::from_str(sheet).unwrap(), serde_json::from_str(value).unwrap());
        wanted.entry(file).or_default().entry(sheet).or_default().insert(cell, (agreed == "y", value));
    }
    let (mut right, mut wrong) = ([0, 0], [Vec::new(), Vec::new()]);
    for (name, mut sheets) in wanted {
        let mut file = File::open(corpus.join("files").join(name)).unwrap();
        let limits = ReadLimits::default();
        let opened =
            sniff(&mut file, name, &limits).and_then(|s| Source::open(file, None, name, &s, &limits));
        let mut source = match opened {
            Ok(source) => source,
            Err(fault) => {
                wrong[0].push(format!("{name}: {fault}"));
                continue;
            }
        };
        for (index, sheet) in source.sheets().iter().enumerate() {
            let Some(mut cells) = sheets.remove(&sheet.name) else { continue };
            let read = source.each_row(index, &mut |row| {
                for cell in row.cells {
                    let place = cell_name(cell.column, row.number);
                    let Some((sure, wanted)) = cells.remove(place.as_str()) else { continue };
                    let found = notation(&see(&row, cell));
                    match agrees(&wanted, &found) {
                        true => right[usize::from(sure)] += 1,
                        false => wrong[usize::from(sure)]
                            .push(format!("{name} {} {place}: {wanted:?}, not {found:?}", sheet.name)),
                    }
                }
                Ok(ControlFlow::Continue(()))
            });
            if let Err(fault) = read {
                wrong[0].push(format!("{name} {}: {fault}", sheet.name));
            }
            for (place, (sure, wanted)) in cells.into_iter().filter(|(_, (_, wanted))| wanted != "s:") {
                wrong[usize::from(sure)]
                    .push(format!("{name} {} {place}: {wanted:?}, not blank", sheet.name));
            }
        }
        for sheet in sheets.keys() {
            wrong[0].push(format!("{name}: no sheet {sheet}"));
        }
    }
    eprintln!("cells as two readers see them: {}; otherwise: {}", right[1], wrong[1].len());
    eprintln!("cells as the one reader sees them: {}; otherwise: {}", right[0], wrong[0].len());
    let strange: Vec<_> = wrong
        .concat()
        .into_iter()
        .filter(|line| !OTHERWISE.iter().any(|(start, _)| line.starts_with(start)))
        .map(|line| line.chars().take(300).collect::<String>())
        .collect();
    assert!(strange.is_empty(), "{strange:#?}");
}
