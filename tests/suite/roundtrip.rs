//! Round trips as a property: random tables of all kinds of cell through workbook, reader and Delta, and through a
//! returned workbook, come back as they were.
//!
//! What is expected is said here anew (`expected`), from the README's rules and not from the reader's code.
//! `DDU_ROUND_TRIPS` says how many tables, `DDU_SEED` which; a table that fails is made smaller before it is shown.

use std::collections::{BTreeMap, BTreeSet};

use ddu::domain::identity;
use ddu::domain::job::{JobId, JobSeq, TxnVersion};
use ddu::domain::refusal::Refusal;
use ddu::domain::row::StagedRow;
use ddu::domain::settings::LoadSettings;
use ddu::domain::table::TableName;
use ddu::domain::value::{StageType, Value};
use ddu::io::delta::{Begin, JobTxn, Lakehouse, StageKind, staged_schema};
use ddu::io::returned::{ReturnedColumn, ReturnedRow, ReturnedSheet, ReturnedWriter, stands_for};
use ddu::io::workbook::ReadRequest;
use deltalake::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use deltalake::arrow::datatypes::Int64Type;
use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use rust_xlsxwriter::{Format, Formula, Workbook, Worksheet};

use crate::chance::{Chance, asked, seed, tell};
use crate::reader::{self, Sheet, request};
use crate::world::block_on;

/// Tables in `cargo test`.
const TABLES_USUAL: u64 = 40;
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"];
const DAY_FORMATS: [&str; 5] = ["yyyy-mm-dd", "dd.mm.yyyy", "[$-407]d. mmmm yyyy", "m/d/yy", "mmm-yy"];
const MOMENT_FORMATS: [&str; 4] =
    ["yyyy-mm-dd hh:mm:ss", "dd.mm.yyyy hh:mm", "m/d/yy h:mm AM/PM", "[$-409]yyyy\\-mm\\-dd\\Thh:mm:ss.000"];
const CLOCK_FORMATS: [&str; 3] = ["hh:mm", "h:mm:ss AM/PM", "hh:mm:ss.000"];
const HOURS_FORMATS: [&str; 3] = ["[h]:mm", "[hh]:mm:ss", "[mm]:ss"];
const NUMBER_FORMATS: [&str; 9] = [
    "0.00",
    "0%",
    "#,##0.00\\ \"€\"",
    "[Red]-0.0",
    "# ?/?",
    "0.00E+00",
    "\"day\" 0.0",
    "General",
    "#,##0_);(#,##0)",
];
const ERRORS: [&str; 7] = ["#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"];
const TEXTS: [&str; 43] = [
    "00123",
    "007",
    "=1+1",
    "=",
    "+49 89 1",
    "-",
    "@name",
    "'quoted",
    "NA",
    "null",
    "NaN",
    "TRUE",
    "1,5",
    "1e5",
    "a b",
    " a",
    "a ",
    "\ta",
    "two\nlines",
    "two\r\nlines",
    "a\rb",
    "\r",
    "\nfirst",
    "last\n",
    "Ünïcödé",
    "日本語",
    "😀",
    "e\u{301}",
    "\u{a0}",
    "\u{200b}x",
    "<b>&amp;</b>",
    "]]>",
    "\"q\",;",
    "_x000D_",
    "_x005F_x000D_",
    "_x00e4_",
    "_xD83D_",
    "_x",
    "2026-11-22",
    "12:30",
    "#N/A",
    "a\u{1}b",
    "rtl \u{202e}x",
]; // fmt: skip

/// A cell as a person, or a program, puts it into a workbook.
#[derive(Debug, Clone, PartialEq)]
enum Put {
    Blank,
    Text(String),
    /// Runs of one text, every other one bold.
    Rich(Vec<String>),
    /// The result of a formula, as it is stored.
    Computed(&'static str),
    Whole(i64),
    /// A whole number with a format that shows so many digits at least.
    Zeros(i64, usize),
    Number(f64, &'static str),
    Truth(bool),
    Day(Date, &'static str),
    Moment(DateTime, &'static str),
    /// Milliseconds since midnight.
    Clock(i64, &'static str),
    /// Milliseconds.
    Hours(i64, &'static str),
    Error(&'static str),
    /// A whole number with more digits than Excel keeps.
    Long(f64),
}

/// Which cells a column has for the most part.
const TEMPERS: [&str; 11] = [
    "text",
    "whole",
    "zeros",
    "number",
    "whole and number",
    "truth",
    "day",
    "moment",
    "day and moment",
    "clock",
    "all",
];

#[derive(Debug, Clone)]
struct Table {
    zone: &'static str,
    /// Row by row, below the header.
    rows: Vec<Vec<Put>>,
}

fn text(chance: &mut Chance) -> String {
    let mut text = chance.pick(&TEXTS).to_owned();
    if chance.one_in(4) {
        text.push_str(chance.pick(&TEXTS));
    }
    if chance.one_in(60) {
        // Seven characters are written for a carriage return, and a cell takes 32,767 of them.
        text = text.repeat(1 + 4_000 / text.len());
    }
    text
}

/// A run of a rich text. The library that writes them escapes neither `_x00e4_` there nor control characters, as Excel does.
fn run(chance: &mut Chance) -> String {
    text(chance).replace("_x", "_y").replace('\u{1}', "!")
}

fn number(chance: &mut Chance) -> f64 {
    let digits = chance.between(1, 999_999_999_999) as f64;
    let number =
        digits / 10_f64.powi(chance.between(1, 12) as i32) * if chance.one_in(2) { 1.0 } else { -1.0 };
    let tiny = chance.one_in(30);
    if tiny { number * 1e-200 } else { number }
}

/// A day; those of the first two months count otherwise in Excel, and midnight is left to [`Put::Moment`]'s neighbours.
fn day(chance: &mut Chance) -> Date {
    let from = if chance.one_in(10) { date(1900, 1, 1) } else { date(1960, 1, 1) };
    let span = if chance.one_in(20) { 2_900_000 } else { 30_000 };
    let day = from.checked_add(chance.between(0, span).days()).unwrap();
    day.min(date(9999, 12, 31))
}

/// Milliseconds of a day, most often whole minutes, never midnight.
fn clock(chance: &mut Chance) -> i64 {
    match chance.below(3) {
        0 => chance.between(1, 86_399_999),
        1 => chance.between(1, 86_399) * 1_000,
        _ => chance.between(1, 1_439) * 60_000,
    }
}

fn put(temper: &str, chance: &mut Chance) -> Put {
    match temper {
        "text" if chance.one_in(6) => Put::Rich((0..3).map(|_| run(chance)).collect()),
        "text" if chance.one_in(8) => Put::Computed(chance.pick(&["abc", " b ", "Größe", "1,5"])),
        "text" => Put::Text(text(chance)),
        "whole" => Put::Whole(match chance.below(4) {
            0 => chance.between(-9, 9),
            1 => chance.between(-999_999_999_999_999, 999_999_999_999_999),
            _ => chance.between(0, 99_999),
        }),
        "zeros" => Put::Zeros(chance.between(-9_999, 99_999), 2 + chance.below(6)),
        "number" => Put::Number(number(chance), chance.pick(&NUMBER_FORMATS)),
        "whole and number" => put(chance.pick(&["whole", "number"]), chance),
        "truth" => Put::Truth(chance.one_in(2)),
        "day" => Put::Day(day(chance), chance.pick(&DAY_FORMATS)),
        "moment" => {
            let at = day(chance).at(0, 0, 0, 0) + SignedDuration::from_millis(clock(chance));
            Put::Moment(at, chance.pick(&MOMENT_FORMATS))
        }
        "day and moment" => put(chance.pick(&["day", "moment"]), chance),
        "clock" if chance.one_in(2) => Put::Clock(clock(chance), chance.pick(&CLOCK_FORMATS)),
        "clock" => Put::Hours(chance.between(-400, 40_000) * 1_000, chance.pick(&HOURS_FORMATS)),
        _ => put(chance.pick(&TEMPERS[..10]), chance),
    }
}

fn table(chance: &mut Chance) -> Table {
    let width = 1 + chance.below(7);
    let tempers: Vec<&str> = (0..width).map(|_| chance.pick(&TEMPERS)).collect();
    let height = if chance.one_in(10) { 200 } else { 1 + chance.below(30) };
    let odd = 5 + chance.below(40);
    let mut rows = Vec::new();
    for _ in 0..height {
        let mut row = Vec::new();
        for temper in &tempers {
            row.push(match chance.below(odd) {
                0 => Put::Blank,
                1 => Put::Error(chance.pick(&ERRORS)),
                2 => Put::Text("  ".to_owned()),
                3 => Put::Long(1e15 * chance.between(1, 9_000) as f64),
                _ => put(temper, chance),
            });
        }
        rows.push(row);
    }
    Table { zone: chance.pick(&ZONES), rows }
}

// The workbook.

/// The number of a day in Excel's first date system, which counts a 29 February 1900 that never was.
fn serial(day: Date) -> f64 {
    let zero = if day < date(1900, 3, 1) { date(1899, 12, 31) } else { date(1899, 12, 30) };
    day.duration_since(zero).as_hours() as f64 / 24.0
}

fn write(sheet: &mut Worksheet, row: u32, column: u16, cell: &Put) {
    let shown = |code: &str| Format::new().set_num_format(code);
    let of_day = |ms: i64| ms as f64 / 86_400_000.0;
    let bold = Format::new().set_bold();
    let plain = Format::new();
    match cell {
        Put::Blank => sheet.write_blank(row, column, &bold),
        Put::Text(text) => sheet.write_string(row, column, text),
        Put::Rich(runs) => {
            let format = |at: usize| if at.is_multiple_of(2) { &bold } else { &plain };
            let runs: Vec<_> = runs.iter().enumerate().map(|(at, run)| (format(at), run.as_str())).collect();
            sheet.write_rich_string(row, column, &runs)
        }
        Put::Computed(result) => {
            sheet.write_formula(row, column, Formula::new("=A1&\"\"").set_result(*result))
        }
        Put::Whole(value) => sheet.write_number(row, column, *value as f64),
        Put::Zeros(value, width) => {
            sheet.write_number_with_format(row, column, *value as f64, &shown(&"0".repeat(*width)))
        }
        Put::Number(value, code) => sheet.write_number_with_format(row, column, *value, &shown(code)),
        Put::Truth(value) => sheet.write_boolean(row, column, *value),
        Put::Day(day, code) => sheet.write_number_with_format(row, column, serial(*day), &shown(code)),
        Put::Moment(at, code) => {
            let ms = at.time().duration_since(jiff::civil::Time::midnight()).as_millis() as i64;
            sheet.write_number_with_format(row, column, serial(at.date()) + of_day(ms), &shown(code))
        }
        Put::Clock(ms, code) | Put::Hours(ms, code) => {
            sheet.write_number_with_format(row, column, of_day(*ms), &shown(code))
        }
        Put::Error(literal) => sheet.write_formula(row, column, Formula::new("=1/0").set_result(*literal)),
        Put::Long(value) => sheet.write_number(row, column, *value),
    }
    .unwrap();
}

fn header(column: usize) -> String {
    format!("Col {}", column + 1)
}

fn workbook(table: &Table) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for column in 0..table.rows[0].len() {
        sheet.write_string(0, column as u16, header(column)).unwrap();
    }
    for (row, cells) in (1..).zip(&table.rows) {
        for (column, cell) in (0..).zip(cells) {
            write(sheet, row, column, cell);
        }
    }
    book.save_to_buffer().unwrap()
}

// What is expected of it.

/// What kind of value a cell has, as far as its column's type depends on it.
fn kind(cell: &Put) -> Option<StageType> {
    match cell {
        Put::Text(text) if text.chars().all(char::is_whitespace) => None,
        Put::Blank | Put::Error(_) | Put::Long(_) => None,
        Put::Text(_) | Put::Rich(_) | Put::Computed(_) | Put::Clock(..) | Put::Hours(..) => {
            Some(StageType::Text)
        }
        Put::Zeros(value, width) if digits(*value) < *width => Some(StageType::Text),
        Put::Whole(_) | Put::Zeros(..) => Some(StageType::Integer),
        Put::Number(value, _) if value.fract() == 0.0 => Some(StageType::Integer),
        Put::Number(..) => Some(StageType::Number),
        Put::Truth(_) => Some(StageType::Boolean),
        Put::Day(..) => Some(StageType::Date),
        Put::Moment(..) => Some(StageType::Timestamp),
    }
}

fn digits(value: i64) -> usize {
    value.unsigned_abs().to_string().len()
}

/// The narrowest type that holds every cell of a column.
fn column_type(table: &Table, column: usize) -> StageType {
    use StageType::{Date, Integer, Number, Text, Timestamp};
    let kinds: BTreeSet<String> =
        table.rows.iter().filter_map(|row| kind(&row[column])).map(|kind| format!("{kind:?}")).collect();
    let only = |names: &[&str]| !kinds.is_empty() && kinds.iter().all(|kind| names.contains(&kind.as_str()));
    match () {
        () if only(&["Integer"]) => Integer,
        () if only(&["Integer", "Number"]) => Number,
        () if only(&["Boolean"]) => StageType::Boolean,
        () if only(&["Date"]) => Date,
        () if only(&["Date", "Timestamp"]) => Timestamp,
        () => Text,
    }
}

/// The value that must be in the table for a cell of a column of this type.
fn expected(cell: &Put, kind: StageType, zone: &TimeZone) -> Value {
    let unreadable = |found: String| Value::Unreadable { found, why: String::new() };
    let instant = |at: DateTime| zone.to_ambiguous_timestamp(at).compatible().unwrap();
    let value = match cell {
        Put::Blank => Value::Blank,
        Put::Text(text) => Value::Text(text.clone()),
        Put::Rich(runs) => Value::Text(runs.concat()),
        Put::Computed(text) => Value::Text((*text).to_owned()),
        Put::Whole(value) => Value::Integer(*value),
        Put::Zeros(value, width) if kind == StageType::Text => {
            let sign = if *value < 0 { "-" } else { "" };
            Value::Text(format!("{sign}{:0>width$}", value.unsigned_abs().to_string()))
        }
        Put::Zeros(value, _) => Value::Integer(*value),
        Put::Number(value, _) if value.fract() == 0.0 => Value::Integer(*value as i64),
        Put::Number(value, _) => Value::Number(*value),
        Put::Truth(value) => Value::Boolean(*value),
        Put::Day(day, _) if kind == StageType::Timestamp => Value::Timestamp(instant(day.at(0, 0, 0, 0))),
        Put::Day(day, _) => Value::Date(*day),
        Put::Moment(at, _) if kind == StageType::Text => Value::Text(at.to_string()),
        Put::Moment(at, _) => Value::Timestamp(instant(*at)),
        Put::Clock(ms, _) => {
            let (seconds, ms) = (ms / 1_000, ms % 1_000);
            let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}") };
            Value::Text(format!(
                "{:02}:{:02}:{:02}{fraction}",
                seconds / 3_600,
                seconds / 60 % 60,
                seconds % 60
            ))
        }
        Put::Hours(ms, _) => {
            let seconds = ms.abs() / 1_000;
            let units = [(seconds / 3_600, 'H'), (seconds / 60 % 60, 'M'), (seconds % 60, 'S')];
            let told: String = units
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, unit)| format!("{count}{unit}"))
                .collect();
            let told = if told.is_empty() { "0S" } else { &told };
            Value::Text(format!("{}PT{told}", if *ms < 0 { "-" } else { "" }))
        }
        Put::Error(literal) => unreadable((*literal).to_owned()),
        Put::Long(value) => unreadable(value.to_string()),
    };
    match (kind, value) {
        (StageType::Number, Value::Integer(whole)) => Value::Number(whole as f64),
        (
            StageType::Text,
            value @ (Value::Integer(_) | Value::Number(_) | Value::Boolean(_) | Value::Date(_)),
        ) => Value::Text(value.to_text()),
        (_, value) => value,
    }
}

/// Whether nothing can be seen in a row: it is skipped.
fn is_blank(row: &[Put]) -> bool {
    row.iter().all(|cell| match cell {
        Put::Text(text) => text.chars().all(char::is_whitespace),
        Put::Rich(runs) => runs.concat().chars().all(char::is_whitespace),
        cell => *cell == Put::Blank,
    })
}

fn same(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Unreadable { found: a, .. }, Value::Unreadable { found: b, why }) => {
            a == b && !why.is_empty()
        }
        (wanted, found) => wanted == found,
    }
}

// The two ways.

fn job() -> JobId {
    JobId::new("2026-11-22T14:03:20Z".parse().unwrap(), &[7; 32])
}

/// The reader's batches as staged ones, as the pipeline makes them: identities in front, the cells as they are.
fn staged(sheet: &Sheet, batch: &RecordBatch) -> RecordBatch {
    let rows = batch.num_rows();
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    let numbers = column("_ddu_row");
    let numbers = numbers.as_primitive::<Int64Type>();
    let id = |row| {
        let number = u32::try_from(numbers.value(row)).unwrap();
        identity::row_id("sandbox", "account", &job(), &sheet.header.sheet, number).to_string()
    };
    let texts = |text: &dyn Fn(usize) -> String| -> ArrayRef {
        std::sync::Arc::new(StringArray::from_iter_values((0..rows).map(text)))
    };
    let mut arrays = vec![
        texts(&id),
        texts(&|_| job().to_string()),
        texts(&|_| sheet.header.sheet.clone()),
        column("_ddu_row"),
        column("_ddu_rescued"),
    ];
    arrays.extend(sheet.header.columns.iter().map(|staged| column(&staged.name)));
    RecordBatch::try_new(staged_schema(&sheet.header.columns), arrays).unwrap()
}

/// Puts a sheet into a lakehouse of its own and takes the rows out of it by another handle.
async fn through_delta(sheet: &Sheet) -> Vec<StagedRow> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().to_str().unwrap();
    let name = TableName::from_stem("roundtrip").unwrap();
    let txn = JobTxn { job: job(), version: TxnVersion::of(JobSeq(1), 0) };
    let lake = Lakehouse::open(root, "migration", "quarantine").await.unwrap();
    let begun = lake.stage(&name, sheet.header.columns.clone(), StageKind::Append, &txn).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("a fresh table has the transaction") };
    for batch in &sheet.batches {
        writer.write(&staged(sheet, batch)).await.unwrap();
    }
    let version = writer.commit().await.unwrap().version;
    let lake = Lakehouse::open(root, "migration", "quarantine").await.unwrap();
    let mut reader = lake.rows(&name, version, None).await.unwrap();
    assert_eq!(reader.columns(), sheet.header.columns);
    let mut rows = Vec::new();
    while let Some(more) = reader.next().await.unwrap() {
        rows.extend(more);
    }
    rows
}

/// The rows as a returned workbook.
fn given_back(sheet: &Sheet, zone: &str, rows: &[StagedRow]) -> Vec<u8> {
    let column = |column: &ddu::domain::row::StagedColumn| ReturnedColumn {
        name: column.name.clone(),
        header: column.header.clone(),
        kind: column.kind,
        choices: Vec::new(),
        length_max: None,
    };
    let settings = LoadSettings {
        timezone: zone.to_owned(),
        ..LoadSettings::plain(TableName::from_stem("roundtrip").unwrap(), "account")
    };
    let columns = sheet.header.columns.iter().map(column).collect();
    let made_at = "2026-11-22T14:03:20Z".parse().unwrap();
    let mut writer = ReturnedWriter::new(&job(), "roundtrip.xlsx", made_at, &std::env::temp_dir()).unwrap();
    writer.sheet(&ReturnedSheet { title: "Roundtrip".to_owned(), columns, settings }).unwrap();
    for row in rows {
        let refusal = Refusal {
            column: Some(sheet.header.columns[0].name.clone()),
            error: "0x80040265".to_owned(),
            cause: "it is a test".to_owned(),
            advice: "leave it".to_owned(),
            missing: None,
        };
        let (id, number, values) = (row.id, row.number, row.values.clone());
        writer.row(&ReturnedRow { id, number, values, refusals: vec![refusal] }).unwrap();
    }
    let mut bytes = Vec::new();
    assert_eq!(writer.finish(&mut bytes).unwrap(), rows.len() as u64);
    bytes
}

/// Whether the cell of a returned workbook means the staged value: it is that value, or what stands for it.
fn means(staged: &Value, read: &Value) -> bool {
    let shown = matches!(read, Value::Text(text) if stands_for(text, staged));
    shown || same(staged, read)
}

/// Takes a table through both ways; what came back otherwise.
async fn wrong(table: &Table) -> Vec<String> {
    let zone = TimeZone::get(table.zone).unwrap();
    let ask = ReadRequest { timezone: table.zone.to_owned(), ..request("roundtrip.xlsx") };
    let sheet = match reader::read(&workbook(table), &ask).await {
        Ok(sheet) => sheet,
        Err(fault) => return vec![format!("it was refused: {fault}")],
    };
    let width = table.rows[0].len();
    let kinds: Vec<StageType> = (0..width).map(|column| column_type(table, column)).collect();
    let found: Vec<StageType> = sheet.header.columns.iter().map(|column| column.kind).collect();
    if kinds != found {
        return vec![format!("the columns are {found:?}, not {kinds:?}")];
    }
    let rows = through_delta(&sheet).await;
    let wanted: Vec<(u32, &Vec<Put>)> = (2..).zip(&table.rows).filter(|(_, row)| !is_blank(row)).collect();
    let numbers: Vec<u32> = wanted.iter().map(|(number, _)| *number).collect();
    if rows.iter().map(|row| row.number).collect::<Vec<_>>() != numbers {
        return vec![format!("the rows are not {numbers:?}")];
    }
    let mut wrong = Vec::new();
    for (row, (number, cells)) in rows.iter().zip(&wanted) {
        for (column, cell) in cells.iter().enumerate() {
            let (wanted, found) = (expected(cell, kinds[column], &zone), &row.values[column]);
            if !same(&wanted, found) {
                wrong.push(format!(
                    "row {number}, column {}: {cell:?} became {found:?}, not {wanted:?}",
                    column + 1
                ));
            }
        }
    }
    // Back to the sender and in again, with the types of the staged table, as a mended workbook is read.
    let hints: BTreeMap<_, _> =
        sheet.header.columns.iter().map(|column| (column.name.to_lowercase(), column.kind)).collect();
    let bytes = given_back(&sheet, table.zone, &rows);
    let again = match reader::read(&bytes, &ReadRequest { hints, ..ask }).await {
        Ok(again) => again,
        Err(fault) => return vec![format!("the returned workbook was refused: {fault}")],
    };
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    if again.values("_ddu_row_id") != ids || again.header.columns != sheet.header.columns {
        return vec![format!("the returned workbook has other rows or columns: {:?}", again.header.columns)];
    }
    let back = through_delta(&again).await;
    for (row, back) in rows.iter().zip(&back) {
        for (column, (staged, read)) in row.values.iter().zip(&back.values).enumerate() {
            if !means(staged, read) {
                let place = format!("row {}, column {}", row.number, column + 1);
                wrong.push(format!("{place}: {staged:?} was given back and read as {read:?}"));
            }
        }
    }
    wrong
}

/// The smallest table that can be had by taking rows and columns out and still comes back otherwise.
fn smallest(mut table: Table) -> Table {
    let fails = |table: &Table| !block_on(wrong(table)).is_empty();
    let mut size = table.rows.len();
    while size > 0 {
        let mut from = 0;
        while from < table.rows.len() && table.rows.len() > 1 {
            let mut less = table.clone();
            less.rows.drain(from..(from + size).min(table.rows.len()));
            if !less.rows.is_empty() && fails(&less) { table = less } else { from += size }
        }
        size /= 2;
    }
    for column in (0..table.rows[0].len()).rev() {
        let mut less = table.clone();
        less.rows.iter_mut().for_each(|row| drop(row.remove(column)));
        if !less.rows[0].is_empty() && fails(&less) {
            table = less;
        }
    }
    table
}

#[test]
fn every_kind_of_cell_comes_through_workbook_delta_and_returned_workbook_as_it_was() {
    let (seed, tables) = (seed(), asked("DDU_ROUND_TRIPS", TABLES_USUAL));
    let mut cells = 0;
    for case in 0..tables {
        let table = table(&mut Chance::of_case(seed, case));
        cells += table.rows.len() * table.rows[0].len();
        if !block_on(wrong(&table)).is_empty() {
            let table = smallest(table);
            let wrong = block_on(wrong(&table));
            panic!("seed {seed}, table {case}: {wrong:#?}\n{table:#?}");
        }
    }
    tell(&format!(
        "round trips: seed {seed}, {tables} tables, {cells} cells, each through Delta and a returned workbook"
    ));
    assert!(cells as u64 > tables * 10);
}
