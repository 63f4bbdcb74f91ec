//! Workbooks that Dynamics makes, as they come and with no sidecar; and the untyped ones that people really fill in.

use std::io::{Cursor, Write};

use rust_xlsxwriter::{Format, Workbook};
use serde_json::{Value, json};

use crate::editing::Book;
use crate::world::{Cell, World, accounts, tally, workbook};

const GONE: &str = "7f000000-0000-4000-8000-000000000001";

/// Logical names and labels of an export of accounts: as Dataverse orders them, with columns that a view brings along.
const COLUMNS: [(&str, &str); 11] = [
    ("accountid", "(Do Not Modify) Account"),
    ("checksumLogicalName", "(Do Not Modify) Row Checksum"),
    ("modifiedon", "(Do Not Modify) Modified On"),
    ("name", "Account Name"),
    ("accountnumber", "Account Number"),
    ("revenue", "Annual Revenue"),
    ("creditonhold", "Credit Hold"),
    ("statecode", "Status"),
    ("createdon", "Created On"),
    ("overriddencreatedon", "Record Created On"),
    ("accountprimarycontactidcontactcontactid.emailaddress1", "Email (Primary Contact)"),
];

/// Percent-encoding as .NET does it: everything but letters, digits and `-_.~`.
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A workbook as Dataverse exports it: three hidden columns, and a very hidden sheet that describes it.
fn exported(table: &str, rows: &[Vec<Cell>]) -> Vec<u8> {
    let header: Vec<Cell> = COLUMNS.iter().map(|(_, label)| Cell::from(*label)).collect();
    let mut book = Workbook::new();
    let moment = Format::new().set_num_format("m/d/yyyy h:mm");
    let sheet = book.add_worksheet().set_name("Active Accounts").unwrap();
    for (row, cells) in (0..).zip(std::iter::once(&header).chain(rows)) {
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Text(text) => drop(sheet.write_string(row, column, text).unwrap()),
                Cell::Number(number) if [2, 8, 9].contains(&column) => {
                    sheet.write_number_with_format(row, column, *number, &moment).unwrap();
                }
                Cell::Number(number) => drop(sheet.write_number(row, column, *number).unwrap()),
                Cell::Blank => {}
                other => panic!("an export has no {other:?}"),
            }
        }
    }
    for column in 0..3 {
        sheet.set_column_hidden(column).unwrap();
    }
    let hidden = book.add_worksheet().set_name("hiddenSheet").unwrap();
    let pairs: Vec<String> =
        COLUMNS.iter().map(|(name, label)| format!("{name}={}", escaped(label))).collect();
    let description = format!("{table}:z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H==:{}", pairs.join("&"));
    hidden.write_string(0, 0, description).unwrap();
    for (column, label) in (0..).zip(["No", "Yes"]) {
        hidden.write_string(1, column, label).unwrap();
    }
    hidden.set_very_hidden(true);
    book.save_to_buffer().unwrap()
}

/// The record with this value, and nothing where there is none.
fn record<'a>(rows: &'a [Value], attribute: &str, value: &str) -> &'a Value {
    rows.iter().find(|row| row[attribute] == value).unwrap_or(&Value::Null)
}

/// A world with two accounts, and the id of the first.
fn two_accounts() -> (World, String) {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    let id = record(&world.target("accounts"), "accountnumber", "000001")["accountid"]
        .as_str()
        .unwrap()
        .to_owned();
    (world, id)
}

#[test]
fn rule_workbooks_that_dataverse_exports() {
    // Rows with the id of a record, without one, and with one that is gone; what comes back heals.
    let (world, id) = two_accounts();
    let rows = [
        row![
            id.as_str(),
            "c1==",
            46_000.5,
            "Renamed",
            "000001",
            99.5,
            "Yes",
            "Active",
            45_000.25,
            "",
            "a@b.example"
        ],
        row!["", "", "", "Fresh", "000009", 1, "No", "", "", 43_000.0, ""],
        row![GONE, "c2==", 46_000.5, "Vanished", "000010", 2, "No", "Active", 45_000.25, "", ""],
        row!["", "", "", "Too soon", "000011", 3, "No", "Inactive", "", "", ""],
        row![id.to_uppercase(), "c1==", 46_000.5, "Twice", "000001", 4, "No", "", "", "", ""],
    ];
    world.drop_bytes("Active Accounts 11-24-2026.xlsx", &exported("account", &rows));
    world.run_once(3);
    let table = "active_accounts_11_24_2026";
    assert_eq!(world.counts(table), [5, 2, 3, 0]);
    let target = world.target("accounts");
    assert_eq!(target.len(), 3, "nothing was created under an id that is gone");
    let renamed = record(&target, "accountid", &id);
    assert_eq!(
        (&renamed["name"], &renamed["revenue"], &renamed["creditonhold"]),
        (&json!("Renamed"), &json!(99.5), &json!(true))
    );
    let fresh = record(&target, "name", "Fresh");
    assert_eq!((&fresh["accountnumber"], &fresh["statecode"]), (&json!("000009"), &json!(0)));
    let refused = world.quarantine(table);
    let causes: Vec<_> = refused
        .iter()
        .map(|row| (row["_ddu_row"].as_u64().unwrap(), row["_ddu_cause"].as_str().unwrap()))
        .collect();
    assert_eq!(causes[0], (4, format!("there is no record {GONE} to update").as_str()));
    assert_eq!(causes[1], (5, "Status cannot be set when a record is created"));
    assert!(causes[2].0 == 6 && causes[2].1.ends_with("stands in row 2 already"), "{causes:?}");
    let told = world.status_text("Active Accounts 11-24-2026.xlsx");
    for wanted in [
        "rows written to account (table active_accounts_11_24_2026), 3 refused",
        "the workbook was made by Dynamics for the table `account`",
        "not sent, as they are no columns of `account`: `(Do Not Modify) Row Checksum`, `(Do Not Modify) Modified On`, \
         `Email (Primary Contact)`",
        "`Created On` is not sent: Created On cannot be set from a workbook",
        "rows with an id do not send `Record Created On`: Dynamics takes that for new records only",
        "3 hidden columns were read as well",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
    // The returned workbook heals like any other: without its id the vanished record is made anew.
    let mut book = Book::open(&world.returned()[0]);
    let sheet = book.first();
    sheet.set(1, "(Do Not Modify) Account", "");
    sheet.set(1, "Status", "");
    sheet.set(2, "Status", "");
    sheet.rows.truncate(3);
    // Columns that are taken out keep their staged values, the one without a place in the target as well.
    for header in ["(Do Not Modify) Row Checksum", "Annual Revenue"] {
        sheet.remove_column(header);
    }
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts(table), [5, 4, 1, 0]);
    let target = world.target("accounts");
    assert_eq!(target.len(), 5);
    assert_eq!(record(&target, "name", "Vanished")["accountnumber"], "000010");
    assert_eq!(record(&target, "name", "Vanished")["revenue"], 2.0);
    assert_ne!(record(&target, "name", "Vanished")["accountid"], GONE);
    assert_eq!(record(&target, "name", "Too soon")["accountnumber"], "000011");
}

#[test]
fn a_sidecar_goes_before_what_a_template_says() {
    // With a mode and a key of its own, rows are known by their number; the ids are passed over where it says so.
    let (world, _) = two_accounts();
    let rows = [
        row!["", "", "", "By number", "000002", 5, "No", "", "", "", ""],
        row![GONE, "", "", "New", "000003", 6, "No", "", "", "", ""],
    ];
    world.drop_json(
        "upsert.xlsx.json",
        json!({"mode": "upsert", "key": "Account Number",
            "columns": {"(Do Not Modify) Account": "", "Status": "", "Created On": ""}}),
    );
    world.drop_bytes("upsert.xlsx", &exported("account", &rows));
    world.run_once(0);
    let target = world.target("accounts");
    assert_eq!(target.len(), 3);
    assert_eq!(record(&target, "accountnumber", "000002")["name"], "By number");
    assert_ne!(record(&target, "name", "New")["accountid"], GONE);
}

#[test]
fn a_table_built_over_the_hidden_sheet_of_another_one_is_loaded_like_any_other_workbook() {
    // The hidden sheet speaks of something else, as it does in a real file; the header alone counts.
    let world = World::new();
    let rows: Vec<Vec<Cell>> = vec![row!["A", "1"], row!["B", "2"]];
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    for (row, cells) in (0..).zip(std::iter::once(&row!["Account Name", "City"]).chain(&rows)) {
        for (column, cell) in (0..).zip(cells) {
            let Cell::Text(text) = cell else { panic!("{cell:?}") };
            sheet.write_string(row, column, text).unwrap();
        }
    }
    let hidden = book.add_worksheet().set_name("hiddenSheet").unwrap();
    hidden.write_string(0, 0, "contact:h==:contactid=Contact&fullname=Full%20Name").unwrap();
    hidden.set_very_hidden(true);
    world.drop_json("accounts.xlsx.json", json!({"columns": {"City": "address1_city"}}));
    world.drop_bytes("accounts.xlsx", &book.save_to_buffer().unwrap());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    let told = world.status_text("accounts.xlsx");
    assert!(
        told.contains("describes the table `contact`, which has no column `Account Name`, `City`; it is not"),
        "{told}"
    );
}

#[test]
fn dates_amounts_and_yes_and_no_as_texts_arrive_as_what_they_mean() {
    let world = World::new();
    let rows = [
        row![
            "Account Name",
            "Customer Since",
            "Annual Revenue",
            "Number of Employees",
            "Credit Hold",
            "Do not allow Emails",
            "Last On Hold Time"
        ],
        row!["A", "2023-02-10", "1500", "12", "Yes", "Do Not Allow", "2023-02-10 14:30"],
        row!["B", "2023-02-10T00:00:00", "1,500.00", "1 200", "no", "Allow", "2023-02-10"],
        row!["C", "", "1.500,25", " 7 ", "TRUE", "No", ""],
        row!["D", "10/02/2023", "1500", "12", "Yes", "", ""],
        row!["E", "2023-02-10", "1,500", "12", "maybe", "", ""],
    ];
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [5, 3, 2, 0]);
    let target = world.target("accounts");
    let seen = |name: &str| {
        let record = record(&target, "name", name);
        ["ddu_customersince", "revenue", "numberofemployees", "creditonhold", "donotemail"]
            .map(|a| record[a].clone())
    };
    assert_eq!(seen("A"), [json!("2023-02-10"), json!(1500.0), json!(12), json!(true), json!(true)]);
    assert_eq!(seen("B"), [json!("2023-02-10"), json!(1500.0), json!(1200), json!(false), json!(false)]);
    assert_eq!(seen("C"), [json!(null), json!(1500.25), json!(7), json!(true), json!(false)]);
    let refused = world.quarantine("accounts");
    assert!(
        refused[0]["_ddu_cause"].as_str().unwrap().contains("can be read as 2023-02-10 or as 2023-10-02"),
        "{refused:?}"
    );
    assert!(refused[1]["_ddu_cause"].as_str().unwrap().contains("1,500"), "{refused:?}");
}

/// A data package: a manifest in UTF-16 as Finance & Operations writes it, a header, and workbooks.
pub fn package(entities: &[(&str, &str)], files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entities: String = (1..)
        .zip(entities)
        .map(|(turn, (name, file))| {
            format!(
                "<DataManagementPackageEntityData><EntityName>{name}</EntityName><ExecutionUnit>1</ExecutionUnit>\
                 <InputFilePath>{file}</InputFilePath><LevelInExecutionUnit>{turn}</LevelInExecutionUnit>\
                 <SourceFormat>EXCEL</SourceFormat></DataManagementPackageEntityData>"
            )
        })
        .collect();
    let manifest = format!(
        "<DataManagementPackageManifest xmlns=\"http://schemas.microsoft.com/dynamics/2015/01/DataManagement\">\
         <PackageEntityList>{entities}</PackageEntityList></DataManagementPackageManifest>"
    );
    let utf_16 = |text: &str| -> Vec<u8> {
        [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
    };
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let own = [
        ("Manifest.xml", utf_16(&manifest)),
        ("PackageHeader.xml", utf_16("<DataManagementPackageHeader/>")),
    ];
    for (name, bytes) in files.iter().chain(&own) {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn rule_data_packages_of_finance_operations() {
    let world = World::new();
    let accounts = workbook(&[(
        "Accounts",
        &[row!["NAME", "ACCOUNTNUMBER"], row!["A", "1"], row!["x".repeat(161), "2"]],
    )]);
    let contacts = workbook(&[("Contacts", &[row!["LASTNAME", "PARENTCUSTOMERID"], row!["Anna", "A"]])]);
    let bytes = package(
        &[("Accounts", "My accounts.xlsx"), ("Contacts", "Contacts.xlsx")],
        &[("Contacts.xlsx", contacts), ("My accounts.xlsx", accounts)],
    );
    // Named as a workbook by mistake: its content counts.
    world.drop_json(
        "first load.xlsx.json",
        json!({"sheets": {"accounts": {}, "Contacts.xlsx": {"table_name": "people",
            "lookups": {"PARENTCUSTOMERID": "account.name"}}}}),
    );
    world.drop_bytes("first load.xlsx", &bytes);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [2, 1, 1, 0]);
    assert_eq!(world.counts("people"), [1, 1, 0, 0]);
    let account = world.target("accounts")[0]["accountid"].clone();
    assert_eq!(world.target("contacts")[0]["_parentcustomerid_value"], account);
    assert!(world.archived().iter().any(|path| path.ends_with("/first load.xlsx")));
    // What was refused comes back as a workbook of its own, sheets called as the files of the package.
    let mut book = Book::open(&world.returned()[0]);
    assert_eq!(book.first().name, "My accounts");
    book.first().set(1, "NAME", "B");
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    // Without a sidecar every entity is loaded into a table of its name; `ddu check` sees it so, too.
    let products = workbook(&[("S", &[row!["PRODUCTNUMBER", "NAME"], row!["P1", "Pump"]])]);
    let bytes = package(&[("Products", "p.xlsx")], &[("p.xlsx", products)]);
    let beside = world.path().join("second.zip");
    std::fs::write(&beside, &bytes).unwrap();
    let checked = world.ddu(&["check", beside.to_str().unwrap()]);
    assert_eq!(
        (checked.code, checked.out.lines().last()),
        (0, Some("second.zip: sheet `p` → Products: 1 of 1 rows can be written")),
        "{}",
        checked.out
    );
    world.drop_bytes("second.zip", &bytes);
    world.run_once(0);
    assert_eq!(world.counts("products"), [1, 1, 0, 0]);
    assert_eq!(tally(&world.target("products"), "name").len(), 1);
}

#[test]
fn a_data_package_that_does_not_fit_comes_back_whole_and_says_what_it_holds_and_what_to_do() {
    let world = World::new();
    let good = workbook(&[("Accounts", &[row!["NAME"], row!["A"]])]);
    let types = workbook(&[(
        "Fixed_asset_major_type",
        &[row!["MAJORTYPEID", "DESCRIPTION"], row!["COMP", "Computer"]],
    )]);
    let bytes = package(
        &[("Accounts", "Accounts.xlsx"), ("Fixed asset major type", "Fixed asset major type.xlsx")],
        &[("Accounts.xlsx", good), ("Fixed asset major type.xlsx", types)],
    );
    world.drop_bytes("package.zip", &bytes);
    world.run_once(3);
    assert_eq!(world.target("accounts").len(), 0, "never half of a package");
    let told = world.status_text("package.zip");
    for wanted in [
        "`Fixed asset major type.xlsx`: `sandbox` has no entity `Fixed asset major type`",
        "unzip the package and drop `Fixed asset major type.xlsx` with its `target_entity`",
        "the data package holds `Accounts.xlsx` for Accounts, `Fixed asset major type.xlsx` for Fixed asset major type",
        "your file lies untouched in returned/package.",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
    // A sidecar that cannot be meant for it brings it back as well.
    for (settings, wanted) in [
        (
            json!({"sheets": {"Vendors": {"target_entity": "accounts"}}}),
            "nothing called `Vendors` in it; it holds `Accounts.xlsx`",
        ),
        (
            json!({"target_entity": "accounts"}),
            "name them with `sheets` in the sidecar: `Accounts`, `Fixed asset major type`",
        ),
    ] {
        world.drop_json("other.zip.json", settings);
        world.drop_bytes("other.zip", &bytes);
        world.run_once(3);
        let told = world.status_text("other.zip");
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(world.target("accounts").len(), 0);
}
