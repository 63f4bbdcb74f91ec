//! The rules of the README's "What a workbook may look like" that need a target, one test a row and named after it.
//!
//! The reader's own rules are tested beside it, in `src/io/workbook/tests/rules.rs`; `docs.rs` holds all names against
//! the table.

use serde_json::{Value, json};

use crate::package::{by_hand, part, text_row, with_part};
use crate::world::{Cell, World, workbook};

/// An attribute of every record, by the account's name.
fn written(world: &World, attribute: &str) -> Vec<(String, Value)> {
    let records = world.target("accounts");
    let of = |record: &Value| (record["name"].as_str().unwrap().to_owned(), record[attribute].clone());
    let mut found: Vec<_> = records.iter().map(of).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// The accounts that came back, with what is wrong with them.
fn refused(world: &World) -> Vec<(String, String)> {
    let of = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (text("Account_Name"), text("_ddu_cause"))
    };
    let mut found: Vec<_> = world.quarantine("accounts").iter().map(of).collect();
    found.sort();
    found
}

/// Accounts `a`, `b`, … with these cells in one column.
fn accounts_with(header: &str, cells: &[Cell]) -> Vec<Vec<Cell>> {
    let names = (b'a'..).map(|letter| Cell::from(char::from(letter).to_string()));
    let rows = names.zip(cells).map(|(name, cell)| vec![name, cell.clone()]);
    std::iter::once(vec!["Account Name".into(), header.into()]).chain(rows).collect()
}

fn texts(texts: &[&str]) -> Vec<Cell> {
    texts.iter().map(|text| Cell::from(*text)).collect()
}

fn by_letter(values: Value) -> Vec<(String, Value)> {
    values.as_object().unwrap().iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[test]
fn rule_dates() {
    // A cell with a date format, the same day in a workbook that counts from 1904, and texts.
    let world = World::new();
    let cells = [
        vec![Cell::Day(2023, 3, 15)],
        texts(&["2023-03-15", "15.03.2023", "3/15/2023", "2023-02-30", "1752-12-31"]),
    ]
    .concat();
    world.drop_rows("accounts.xlsx", &accounts_with("Customer Since", &cells));
    let dated = workbook(&[("Sheet1", &accounts_with("Customer Since", &[Cell::Day(2019, 3, 14)]))]);
    let list = part(&dated, "xl/workbook.xml");
    let from_1904 = list.replace("<workbookPr", "<workbookPr date1904=\"1\"");
    assert_ne!(list, from_1904);
    world.drop_json("mac.xlsx.json", json!({"table_name": "macs", "target_entity": "account"}));
    world.drop_bytes("mac.xlsx", &with_part(&dated, "xl/workbook.xml", from_1904.as_bytes()));
    world.run_once(3);
    let days = written(&world, "ddu_customersince");
    // The same number is a day four years and a day later there.
    let wanted = [("a", "2023-03-15"), ("a", "2023-03-15"), ("b", "2023-03-15")];
    assert_eq!(days, wanted.map(|(name, day)| (name.to_owned(), json!(day))));
    let refused = refused(&world);
    assert_eq!(refused.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c", "d", "e", "f"]);
    assert!(refused[0].1.contains("`15.03.2023`") && refused[3].1.contains("1753"), "{refused:?}");
}

#[test]
fn rule_numbers_written_as_text() {
    let world = World::new();
    let cells = texts(&["1500", "1,500.00", "1.500,00", "1 500", "1,500", "1.500", "12 apples"]);
    world.drop_rows("accounts.xlsx", &accounts_with("Annual Revenue", &cells));
    world.run_once(3);
    assert_eq!(
        written(&world, "revenue"),
        by_letter(json!({"a": 1500.0, "b": 1500.0, "c": 1500.0, "d": 1500.0}))
    );
    let refused = refused(&world);
    assert_eq!(refused.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["e", "f", "g"]);
    assert!(refused[0].1.contains("`1,500`") && refused[1].1.contains("`1.500`"), "{refused:?}");
}

#[test]
fn rule_decimals_money() {
    // Annual Revenue keeps two digits.
    let world = World::new();
    let cells = [Cell::from(10.55), Cell::from(10.5), Cell::from(10.555), Cell::from("0.001")];
    world.drop_rows("accounts.xlsx", &accounts_with("Annual Revenue", &cells));
    world.run_once(3);
    assert_eq!(written(&world, "revenue"), by_letter(json!({"a": 10.55, "b": 10.5})));
    let refused = refused(&world);
    assert_eq!(refused.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert!(refused[0].1.contains("10.555"), "{refused:?}");
}

#[test]
fn rule_choices_yes_no() {
    let world = World::new();
    let cells = texts(&["Wholesale", "WHOLESALE", "33", "Whole sale"]);
    let mut rows = accounts_with("Industry", &cells);
    rows[3][1] = 33.into();
    for (row, held) in
        rows.iter_mut().zip([Cell::from("Credit Hold"), "Yes".into(), "no".into(), true.into(), false.into()])
    {
        row.push(held);
    }
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(written(&world, "industrycode"), by_letter(json!({"a": 33, "b": 33, "c": 33})));
    assert_eq!(written(&world, "creditonhold"), by_letter(json!({"a": true, "b": false, "c": true})));
    let refused = refused(&world);
    assert!(refused.len() == 1 && refused[0].1.contains("`Whole sale`"), "{refused:?}");
}

#[test]
fn rule_lookups() {
    // By GUID and by name with nothing said; then by the column that `lookups` names, where two records with one value
    // are one too many.
    let world = World::new();
    let parents = [
        row!["Account Name", "Account Number", "Address 1: City"],
        row!["p", "1", "Ulm"],
        row!["q", "2", "Bonn"],
        row!["r", "3", "Bonn"],
    ];
    world.drop_rows("accounts.xlsx", &parents);
    world.run_once(0);
    let id_of = |name: &str| {
        let records = world.target("accounts");
        let found = records.iter().find(|record| record["name"] == name).unwrap();
        found["accountid"].as_str().unwrap().to_owned()
    };
    let (p, q) = (id_of("p"), id_of("q"));
    let drop = |name: &str, lookups: Value, cells: &[Cell]| {
        let settings = json!({"table_name": name, "target_entity": "account", "lookups": lookups});
        world.drop_json(&format!("{name}.xlsx.json"), settings);
        world.drop_rows(&format!("{name}.xlsx"), &accounts_with("Parent Account", cells));
        world.run_once(3);
        let causes: Vec<String> = world
            .quarantine(name)
            .iter()
            .map(|row| format!("{}: {}", row["Account_Name"], row["_ddu_cause"].as_str().unwrap()))
            .collect();
        assert_eq!(causes.len(), 1, "{causes:?}");
        causes[0].clone()
    };
    let children = |parent: &str| {
        let records = world.target("accounts");
        records.iter().filter(|record| record["_parentaccountid_value"] == parent).count()
    };
    let told = drop("plain", json!({}), &texts(&[&p, "q", "nobody"]));
    assert!(told.starts_with("\"c\"") && told.contains("`nobody`"), "{told}");
    assert_eq!((children(&p), children(&q)), (1, 1));
    let told = drop("numbers", json!({"Parent Account": "account.accountnumber"}), &texts(&["1", "2", "9"]));
    assert!(told.starts_with("\"c\"") && told.contains("`9`"), "{told}");
    assert_eq!((children(&p), children(&q)), (2, 2));
    let told = drop("cities", json!({"Parent Account": "account.address1_city"}), &texts(&["Ulm", "Bonn"]));
    assert!(told.starts_with("\"b\"") && told.contains("`Bonn`"), "{told}");
    assert_eq!((children(&p), children(&q)), (3, 2));
}

#[test]
fn rule_a_password_a_cut_off_file_a_place_beyond_the_grid_a_row_given_twice() {
    let world = World::new();
    let good = workbook(&[("Sheet1", &accounts_with("Industry", &[Cell::from(1)]))]);
    let mut locked = vec![0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
    locked.resize(1_024, 0);
    locked.extend("EncryptedPackage".encode_utf16().flat_map(u16::to_le_bytes));
    locked.resize(1_536, 0);
    let header = text_row(1, &["Account Name", "Industry"]);
    let beyond = format!("<sheetData>{header}<row r=\"2\"><c r=\"XFE2\"><v>1</v></c></row></sheetData>");
    let row = |number: u32| format!("<row r=\"{number}\"><c t=\"str\"><v>x</v></c></row>");
    let twice = format!("<sheetData>{header}{}{}{}</sheetData>", row(2), row(3), row(2));
    let cases = [
        ("locked.xlsx", locked, "protected by a password"),
        ("cut.xlsx", good[..good.len() / 2].to_vec(), "the file is cut off"),
        ("beyond.xlsx", by_hand(&beyond, &[]), "no place on a sheet"),
        ("twice.xlsx", by_hand(&twice, &[]), "row 2 stands there twice"),
    ];
    for (name, bytes, _) in &cases {
        world.drop_json(&format!("{name}.json"), json!({"target_entity": "account"}));
        world.drop_bytes(name, bytes);
    }
    world.run_once(3);
    assert!(world.target("accounts").is_empty());
    let back = world.returned();
    assert_eq!(back.len(), cases.len(), "{back:?}");
    for (name, bytes, sentence) in &cases {
        let stem = name.trim_end_matches(".xlsx");
        let found =
            |path: &&std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(stem);
        let path = back.iter().find(found).unwrap();
        assert_eq!(&std::fs::read(path).unwrap(), bytes, "{name} is no longer what it was");
        let told = std::fs::read_to_string(path.with_extension("xlsx.txt")).unwrap();
        assert!(told.contains(sentence), "{name}: {told}");
    }
}
