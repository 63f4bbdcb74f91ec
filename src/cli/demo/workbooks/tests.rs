//! The examples are what the generator makes, and what is mended is what was wrong.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use calamine::{Data, Reader, SheetVisible, Xlsx};

use super::*;
use crate::domain::identity::row_id;
use crate::domain::job::JobId;
use crate::domain::refusal::Refusal;
use crate::domain::settings::LoadSettings;
use crate::domain::table::{TableName, column_identifier};
use crate::domain::value::{StageType, Value};
use crate::io::returned::{ReturnedColumn, ReturnedRow, ReturnedSheet, ReturnedWriter};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

#[test]
fn the_examples_are_what_the_demo_drops() {
    // DDU_BLESS=1 writes the files instead of comparing them.
    for file in demo_files().unwrap() {
        let path = examples().join(file.name);
        if std::env::var_os("DDU_BLESS").is_some() {
            std::fs::File::create(&path).unwrap().write_all(&file.bytes).unwrap();
        }
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(
            found == file.bytes,
            "examples/{} is not what the demo drops; `DDU_BLESS=1 cargo test --lib the_examples_are` writes it anew",
            file.name
        );
    }
}

#[test]
fn every_run_makes_the_same_files() {
    assert_eq!(demo_files().unwrap(), demo_files().unwrap());
}

#[test]
fn every_fault_of_the_demo_is_in_its_workbook_and_there_only() {
    // The clean workbooks differ from the dropped ones in exactly the cells that the list of faults names.
    let files = demo_files().unwrap();
    for drop in clean_drops() {
        let file = files.iter().find(|file| file.name == drop.workbook).unwrap();
        let mut wrong = Vec::new();
        let cells = cells(&file.bytes, drop.sheet);
        for (index, row) in drop.rows.iter().enumerate() {
            for (column, entry) in row.iter().enumerate() {
                let found = &cells[index + 1][column];
                let same = match entry {
                    Entry::Nothing => found == &Data::Empty,
                    Entry::Text(text) => found == &Data::String((*text).into()),
                    Entry::Number(number) => found == &Data::Float(*number),
                    Entry::Day(day) => day_of(found) == Some(day_number(*day)),
                };
                if !same {
                    wrong.push((index as u32 + 2, drop.headers[column]));
                }
            }
        }
        let named: Vec<(u32, &str)> = FAULTS
            .iter()
            .filter(|fault| fault.workbook == drop.workbook)
            .map(|fault| (fault.row, fault.header))
            .collect();
        assert_eq!(wrong, named, "{}", drop.workbook);
    }
    assert_eq!(LONG_NAME.chars().count(), 178);
}

#[test]
fn keys_are_unique_and_every_company_is_an_account() {
    let [accounts, contacts, products] = clean_drops();
    let column = |drop: &Drop, header: &str| -> Vec<String> {
        let at = drop.headers.iter().position(|h| *h == header).unwrap();
        drop.rows.iter().map(|row| row[at].to_string()).collect()
    };
    let unique = |mut values: Vec<String>| {
        values.sort();
        values.windows(2).all(|pair| pair[0] != pair[1])
    };
    let numbers = column(&accounts, "Account Number");
    assert!(column(&contacts, "Company").iter().all(|company| numbers.contains(company)));
    // No contact hangs on an account that is refused at first.
    let refused = |row: &u32| numbers[*row as usize - 2].clone();
    let faulty: Vec<String> =
        FAULTS.iter().filter(|fault| fault.workbook == ACCOUNTS).map(|fault| refused(&fault.row)).collect();
    assert!(column(&contacts, "Company").iter().all(|company| !faulty.contains(company)));
    assert!(unique(numbers));
    assert!(unique(column(&contacts, "Email")));
    assert!(unique(column(&products, "Product ID")));
}

#[test]
fn a_returned_workbook_is_mended_where_it_is_wrong_and_nowhere_else() {
    let returned = tempfile::NamedTempFile::new().unwrap();
    let given = returned_accounts();
    returned.as_file().write_all(&given).unwrap();
    let mended = fixed(returned.path()).unwrap();
    let changed: Vec<(u32, &str, &str)> =
        mended.cells.iter().map(|cell| (cell.row, cell.header, cell.to.as_str())).collect();
    assert_eq!(
        changed,
        [
            (6, "Account Name", "Quellbach Werkzeuge GmbH & Co. KG"),
            (12, "Industry", "Transportation"),
            (19, "Account Number", "001018"),
            (27, "Customer Since", "2024-04-15"),
            (33, "No. of Employees", "260"),
        ]
    );
    let (before, after) = (cells(&given, "Accounts"), cells(&mended.bytes, "Accounts"));
    let differing = |(a, b): (&Vec<Data>, &Vec<Data>)| a.iter().zip(b).filter(|(a, b)| a != b).count();
    assert_eq!(before.iter().zip(&after).map(differing).collect::<Vec<_>>(), [0, 1, 1, 1, 1, 1]);
    assert!(after[4].iter().any(|cell| day_of(cell) == Some(45_397.0)));
    let hidden = Xlsx::new(Cursor::new(mended.bytes.clone())).unwrap();
    let hidden = hidden.sheets_metadata().iter().find(|sheet| sheet.name == "_ddu").unwrap().clone();
    assert_eq!(hidden.visible, SheetVisible::VeryHidden);
    assert_eq!(cells(&given, "_ddu"), cells(&mended.bytes, "_ddu"));

    assert_eq!(fixed(returned.path()).unwrap().bytes, mended.bytes, "the clock must not be in it");

    // A second repair finds nothing left to do.
    let again = tempfile::NamedTempFile::new().unwrap();
    again.as_file().write_all(&mended.bytes).unwrap();
    assert_eq!(fixed(again.path()).unwrap().cells, []);
}

#[test]
fn what_was_never_given_back_is_not_mended() {
    let refused = fixed(&examples().join(ACCOUNTS)).unwrap_err();
    assert!(matches!(refused, MendError::NotReturned { .. }), "{refused}");
    assert!(matches!(fixed(Path::new("no-such.xlsx")), Err(MendError::Read { .. })));
}

fn cells(bytes: &[u8], sheet: &str) -> Vec<Vec<Data>> {
    let mut book = Xlsx::new(Cursor::new(bytes.to_vec())).unwrap();
    book.worksheet_range(sheet).unwrap().rows().map(<[Data]>::to_vec).collect()
}

fn day_of(cell: &Data) -> Option<f64> {
    if let Data::DateTime(at) = cell { Some(at.as_f64()) } else { None }
}

/// The faulty accounts as they would be given back.
fn returned_accounts() -> Vec<u8> {
    let drop = accounts::drop();
    let job = JobId::try_from("20261122T140320Z-9f3a1c2e".to_owned()).unwrap();
    let made_at = "2026-11-22T14:03:20Z".parse().unwrap();
    let mut writer = ReturnedWriter::new(&job, ACCOUNTS, made_at, &std::env::temp_dir()).unwrap();
    let kind = |header: &str| match header {
        "Annual Revenue" => StageType::Number,
        "No. of Employees" => StageType::Integer,
        "Customer Since" => StageType::Date,
        _ => StageType::Text,
    };
    let column = |header: &&str| ReturnedColumn {
        name: column_identifier(header),
        header: (*header).to_owned(),
        kind: kind(header),
        choices: vec![],
        length_max: None,
    };
    let columns = drop.headers.iter().map(column).collect();
    writer.sheet(&ReturnedSheet { title: drop.sheet.into(), columns, settings: settings() }).unwrap();
    for fault in FAULTS.iter().filter(|fault| fault.workbook == ACCOUNTS) {
        let mut faulty = accounts::drop();
        *faulty.entry_at(fault).unwrap() = fault.wrong;
        let value = |entry: &Entry| match entry {
            Entry::Nothing => Value::Blank,
            Entry::Text(text) => Value::Text((*text).into()),
            Entry::Number(number) => Value::Number(*number),
            Entry::Day(day) => Value::Date(*day),
        };
        let values = faulty.rows[fault.row as usize - 2].iter().map(value).collect();
        let refusal = Refusal {
            column: Some(column_identifier(fault.header)),
            error: "refused".into(),
            cause: fault.why.into(),
            advice: "Mend it.".into(),
            missing: None,
        };
        let id = row_id("sandbox", "account", &job, drop.sheet, fault.row);
        writer.row(&ReturnedRow { id, number: fault.row, values, refusals: vec![refusal] }).unwrap();
    }
    let mut bytes = Vec::new();
    writer.finish(&mut bytes).unwrap();
    bytes
}

fn settings() -> LoadSettings {
    LoadSettings::plain(TableName::from_stem("accounts").unwrap(), "account")
}
