//! Returned workbooks: refused rows come back, are mended in all the ways people mend, dropped, and heal.

use calamine::Data;
use serde_json::{Value, json};

use crate::editing::{Book, ID, OWN, patched};
use crate::world::{Cell, World, accounts, tally, workbook};

/// A world in which `accounts.xlsx` came with these rows, and what came back.
fn refused(rows: &[Vec<Cell>]) -> (World, Book) {
    let world = World::new();
    world.drop_rows("accounts.xlsx", rows);
    world.run_once(3);
    let book = Book::open(&world.returned()[0]);
    (world, book)
}

/// `count` good accounts, but the names of these rows (as Excel counts) are too long.
fn accounts_with_long_names(count: u32, rows: &[usize]) -> Vec<Vec<Cell>> {
    let mut all = accounts(1, count);
    for number in rows {
        all[number - 1][0] = "x".repeat(161).as_str().into();
    }
    all
}

fn find<'a>(rows: &'a [Value], attribute: &str, value: &str) -> &'a Value {
    rows.iter().find(|row| row[attribute] == value).unwrap_or_else(|| panic!("no {attribute} `{value}`"))
}

#[test]
fn a_mended_row_leaves_quarantine_and_is_written_as_it_was_mended() {
    let (world, mut book) = refused(&accounts_with_long_names(10, &[5]));
    let sheet = book.first();
    assert_eq!(sheet.headers()[..4], OWN);
    assert_eq!(sheet.headers()[4..], ["Account Name", "Account Number", "Annual Revenue"]);
    assert_eq!(sheet.texts("Row"), ["5"]);
    sheet.set(1, "Account Name", "Mended");
    world.drop_bytes("accounts.fixed.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [10, 10, 0, 0]);
    let target = world.target("accounts");
    assert_eq!(target.len(), 10);
    assert_eq!(find(&target, "name", "Mended")["accountnumber"], "000004");
    assert_eq!(find(&target, "name", "Mended")["revenue"], 42.0);
    assert_eq!(world.quarantine("accounts").len(), 0);
    assert_eq!(world.table("accounts")["status"], "done");
    let told = world.status_text("accounts.fixed.xlsx");
    assert!(told.contains("1 of 1 rows written"), "{told}");
}

#[test]
fn cells_that_nobody_touched_are_written_as_they_came() {
    // Everything that programs like to change: leading zeros, formula-like texts, blanks, days, instants, truth values.
    let header = row![
        "Account Name",
        "Account Number",
        "Description",
        "Annual Revenue",
        "Number of Employees",
        "Credit Hold",
        "Customer Since",
        "Industry",
        "Main Phone",
        "Address 1: ZIP/Postal Code",
        "Last On Hold Time",
    ];
    let long = "x".repeat(161);
    let bad = row![
        long.as_str(),
        "007",
        "=SUM(A1:A9)",
        1234.5,
        42,
        true,
        Cell::Day(2024, 2, 29),
        "Consulting",
        "+49 30 1234",
        "01067",
        "2026-07-01T10:00:00",
    ];
    let mut spaced = bad.clone();
    spaced[1] = "008".into();
    spaced[2] = "  two lines\nand a blank ".into();
    spaced[8] = "'quoted".into();
    spaced[10] = "2026-10-25T00:30:00Z".into();
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"timezone": "Europe/Berlin"}));
    world.drop_rows("accounts.xlsx", &[header, bad, spaced]);
    world.run_once(3);
    let mut book = Book::open(&world.returned()[0]);
    assert!(matches!(book.first().get(1, "Last On Hold Time"), Data::DateTime(_)), "a person can sort by it");
    for row in [1, 2] {
        book.first().set(row, "Account Name", format!("Mended {row}"));
    }
    world.drop_bytes("again.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    let target = world.target("accounts");
    let first = find(&target, "name", "Mended 1");
    for (attribute, value) in [
        ("accountnumber", json!("007")),
        ("description", json!("=SUM(A1:A9)")),
        ("revenue", json!(1234.5)),
        ("numberofemployees", json!(42)),
        ("creditonhold", json!(true)),
        ("ddu_customersince", json!("2024-02-29")),
        ("industrycode", json!(7)),
        ("telephone1", json!("+49 30 1234")),
        ("address1_postalcode", json!("01067")),
        ("lastonholdtime", json!("2026-07-01T08:00:00Z")),
    ] {
        assert_eq!(first[attribute], value, "{attribute}");
    }
    let second = find(&target, "name", "Mended 2");
    assert_eq!(second["description"], "  two lines\nand a blank ");
    assert_eq!(second["telephone1"], "'quoted");
    // The hour that the clock of Berlin has twice.
    assert_eq!(second["lastonholdtime"], "2026-10-25T00:30:00Z");
}

#[test]
fn sorted_rearranged_and_renamed_it_heals_all_the_same() {
    let (world, mut book) = refused(&accounts_with_long_names(10, &[3, 5, 7]));
    let sheet = book.first();
    sheet.rows[1..].reverse();
    sheet.arrange(&["Annual Revenue", ID, "Account Name", "Account Number"]);
    for number in ["000002", "000004", "000006"] {
        let row = sheet.find("Account Number", number);
        sheet.set(row, "Account Name", format!("Mended {number}"));
    }
    world.drop_bytes("Kopie von Kunden (2).xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [10, 10, 0, 0]);
    let target = world.target("accounts");
    for number in ["000002", "000004", "000006"] {
        assert_eq!(find(&target, "name", &format!("Mended {number}"))["accountnumber"], number);
    }
    assert_eq!(target.len(), 10);
}

#[test]
fn a_row_that_was_taken_out_stays_in_quarantine() {
    let (world, mut book) = refused(&accounts_with_long_names(10, &[3, 5, 7]));
    book.first().rows.drain(2..);
    book.first().set(1, "Account Name", "Mended");
    world.drop_bytes("some.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [10, 8, 2, 0]);
    let held: Vec<Value> = world.quarantine("accounts").iter().map(|row| row["_ddu_row"].clone()).collect();
    assert_eq!(held, [5, 7]);
    assert_eq!(world.table("accounts")["status"], "2 rows to fix");
}

#[test]
fn added_and_copied_rows_are_new_and_dropped_again_they_are_not_new_again() {
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    let sheet = book.first();
    sheet.set(1, "Account Name", "Mended");
    let mut copy = sheet.rows[1].clone();
    copy[sheet.column("Account Name")] = Data::String("Copied".into());
    copy[sheet.column("Account Number")] = Data::String("C1".into());
    sheet.rows.push(copy);
    sheet.add(&[("Account Name", "Added".into()), ("Account Number", "A1".into())]);
    let mut tampered = sheet.rows[1].clone();
    tampered[sheet.column("Account Name")] = Data::String("Tampered".into());
    tampered[sheet.column("Account Number")] = Data::String("T1".into());
    tampered[sheet.column(ID)] = Data::String("not an id".into());
    sheet.rows.push(tampered);
    world.drop_bytes("more.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [7, 7, 0, 0]);
    let target = world.target("accounts");
    for name in ["Mended", "Copied", "Added", "Tampered"] {
        find(&target, "name", name);
    }
    let told = world.status_text("more.xlsx");
    assert!(told.contains("3 rows are new and were added"), "{told}");

    // The sender goes on in the same file: the rows that he added have no id in it.
    book.first().set(1, "Annual Revenue", 5);
    world.drop_bytes("more.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [7, 7, 0, 0]);
    assert_eq!(world.target("accounts").len(), 7);
    assert_eq!(find(&world.target("accounts"), "name", "Mended")["revenue"], 5.0);
    let told = world.status_text("more.xlsx");
    assert!(told.contains("4 rows had been written before"), "{told}");
}

#[test]
fn the_same_returned_workbook_dropped_twice_is_done_once() {
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    book.first().set(1, "Account Name", "Mended");
    let bytes = book.save();
    world.drop_bytes("a.xlsx", &bytes);
    world.run_once(0);
    world.drop_bytes("b.xlsx", &bytes);
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    let told = world.status_text("b.xlsx");
    assert!(told.contains("duplicate") && told.contains("a.xlsx"), "{told}");
    assert_eq!(world.json_lines(&["log", "--json"]).len(), 2);
}

#[test]
fn what_the_target_did_not_know_yet_is_tried_again_with_the_same_bytes() {
    // A contact of an account that comes later: nothing in the workbook is wrong.
    let world = World::new();
    world.drop_json(
        "contacts.xlsx.json",
        json!({"lookups": {"Company Name": {"entity": "account", "column": "accountnumber"}}}),
    );
    world.drop_rows("contacts.xlsx", &[row!["Last Name", "Company Name"], row!["Berg", "000001"]]);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [1, 0, 1, 0]);
    let bytes = std::fs::read(&world.returned()[0]).unwrap();
    world.drop_bytes("contacts.again.xlsx", &bytes);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [1, 0, 1, 0]);
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    world.drop_bytes("contacts.again.xlsx", &bytes);
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [1, 1, 0, 0]);
    assert_eq!(world.target("contacts").len(), 1);
}

#[test]
fn a_column_of_the_sender_that_was_deleted_keeps_its_values_and_they_are_sent() {
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    let sheet = book.first();
    sheet.set(1, "Account Name", "Mended");
    sheet.remove_column("Account Number");
    for own in ["Row", "What is wrong", "What to do"] {
        sheet.remove_column(own);
    }
    world.drop_bytes("narrow.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    assert_eq!(find(&world.target("accounts"), "name", "Mended")["accountnumber"], "000002");
}

#[test]
fn a_deleted_column_that_the_target_demands_is_no_reason_to_refuse() {
    // The name is fine and must be there; the sender keeps only the column that was wrong.
    let mut rows = accounts(1, 4);
    rows[2][1] = "9".repeat(21).into();
    let (world, mut book) = refused(&rows);
    book.first().set(1, "Account Number", "N2");
    book.first().arrange(&[ID, "Account Number"]);
    world.drop_bytes("one-column.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    assert_eq!(find(&world.target("accounts"), "accountnumber", "N2")["name"], "Account 2");
}

#[test]
fn what_is_still_wrong_comes_back_with_its_new_reason_and_its_first_row_number() {
    let (world, mut book) = refused(&accounts_with_long_names(10, &[5, 8]));
    let sheet = book.first();
    sheet.set(sheet.find("Row", "5"), "Account Name", "");
    sheet.set(sheet.find("Row", "8"), "Account Name", "Mended");
    world.drop_bytes("half.xlsx", &book.save());
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [10, 9, 1, 0]);
    let held = world.quarantine("accounts");
    assert_eq!((held.len(), &held[0]["_ddu_row"], &held[0]["_ddu_sheet"]), (1, &json!(5), &json!("Sheet1")));
    assert!(held[0]["_ddu_cause"].as_str().unwrap().contains("must have a value"), "{}", held[0]);

    // Two files lie in `returned` now; the second is called after the first workbook, as is the sheet in it.
    let back = world.returned();
    assert_eq!(back.len(), 2);
    let name = back[1].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("accounts.2") && name.matches('.').count() == 2, "{name}");
    let mut book = Book::open(&back[1]);
    assert_eq!(book.first().name, "Sheet1");
    assert_eq!(book.first().texts("Row"), ["5"]);
    book.first().set(1, "Account Name", "Mended at last");
    world.drop_bytes(name, &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [10, 10, 0, 0]);
    assert_eq!(find(&world.target("accounts"), "name", "Mended at last")["accountnumber"], "000004");
}

#[test]
fn both_sheets_of_a_workbook_come_back_and_heal() {
    let world = World::new();
    let mut contacts =
        vec![row!["Last Name", "Email"], row!["Berg", "a@example.com"], row!["", "b@example.com"]];
    contacts.push(row!["Tal", "c@example.com"]);
    let accounts = accounts_with_long_names(4, &[3]);
    let sheets = json!({"Firmen": {"target_entity": "account", "table_name": "firms"},
        "Personen": {"target_entity": "contact", "table_name": "people"}});
    world.drop_json("both.xlsx.json", json!({"sheets": sheets}));
    world.drop_bytes("both.xlsx", &workbook(&[("Firmen", &accounts), ("Personen", &contacts)]));
    world.run_once(3);
    assert_eq!((world.counts("firms"), world.counts("people")), ([4, 3, 1, 0], [3, 2, 1, 0]));
    let mut book = Book::open(&world.returned()[0]);
    book.sheet("Personen").set(1, "Last Name", "Mended");
    let mut only_people = book.clone();
    only_people.sheets.retain(|sheet| sheet.name != "Firmen");
    world.drop_bytes("people.xlsx", &only_people.save());
    world.run_once(0);
    assert_eq!((world.counts("firms"), world.counts("people")), ([4, 3, 1, 0], [3, 3, 0, 0]));
    book.sheet("Firmen").set(1, "Account Name", "Mended");
    world.drop_bytes("all.xlsx", &book.save());
    world.run_once(0);
    assert_eq!((world.counts("firms"), world.counts("people")), ([4, 4, 0, 0], [3, 3, 0, 0]));
    assert_eq!((world.target("accounts").len(), world.target("contacts").len()), (4, 3));
}

#[test]
fn rows_of_a_table_that_was_replaced_meanwhile_are_added_and_the_sender_is_told() {
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(100, 3));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    book.first().set(1, "Account Name", "Mended");
    world.drop_bytes("late.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    find(&world.target("accounts"), "name", "Mended");
    let told = world.status_text("late.xlsx");
    assert!(told.contains("1 row is no longer in the table accounts"), "{told}");
}

#[test]
fn all_rows_of_an_atomic_load_come_back_and_go_together_once_the_bad_one_is_mended() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"atomic": true}));
    world.drop_rows("accounts.xlsx", &accounts_with_long_names(6, &[4]));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [6, 0, 6, 0]);
    assert!(world.target("accounts").is_empty());
    let mut book = Book::open(&world.returned()[0]);
    assert_eq!(book.first().texts("Row"), ["2", "3", "4", "5", "6", "7"]);
    let bad = book.first().find("Row", "4");
    book.first().set(bad, "Account Name", "Mended");
    world.drop_bytes("all-or-none.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [6, 6, 0, 0]);
    assert_eq!(tally(&world.target("accounts"), "name")["Mended"], 1);
    let log = world.json_lines(&["log", "--json"]);
    assert_eq!(log.last().unwrap()["rows_written"], 6, "one change set: {log:?}");
}

#[test]
fn without_download_quarantine_the_operator_exports_what_heals() {
    let world = World::with(json!({"download_quarantine": false}));
    world.drop_json("Kunden.xlsx.json", json!({"target_entity": "account"}));
    world.drop_rows("Kunden.xlsx", &accounts_with_long_names(6, &[4, 6]));
    world.run_once(3);
    assert!(world.returned().is_empty());
    let told = world.status_text("Kunden.xlsx");
    assert!(told.contains("ddu quarantine export kunden"), "{told}");
    assert_eq!(
        world.json_lines(&["quarantine", "list", "--json"]),
        [json!({"table_name": "kunden", "quarantined": 2})]
    );
    let rows = world.quarantine("kunden");
    assert_eq!(
        (rows[0]["Account_Number"].as_str(), &rows[0]["_ddu_column"]),
        (Some("000003"), &json!("Account_Name"))
    );
    let file = world.path().join("export.xlsx");
    let said = world.ddu(&["quarantine", "export", "kunden", "-o", file.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("2 rows"), "{}", said.out);
    let mut book = Book::open(&file);
    assert_eq!(book.first().texts("Row"), ["4", "6"]);
    for row in [1, 2] {
        book.first().set(row, "Account Name", format!("Mended {row}"));
    }
    world.drop_bytes("export.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("kunden"), [6, 6, 0, 0]);
    assert_eq!(world.target("accounts").len(), 6);
    let said = world.ddu(&["quarantine", "export", "kunden", "-o", file.to_str().unwrap()]);
    assert_eq!(said.code, 1, "{}", said.out);
    assert!(said.err.contains("no row of kunden is in quarantine"), "{}", said.err);
}

#[test]
fn a_cell_that_was_cleaned_in_the_file_itself_heals_too() {
    // Programs of other people change the XML and keep every byte of the rest.
    let (world, _) = refused(&accounts_with_long_names(4, &[3]));
    let bytes = std::fs::read(&world.returned()[0]).unwrap();
    world.drop_bytes("patched.xlsx", &patched(&bytes, &"x".repeat(161), "Mended"));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    find(&world.target("accounts"), "name", "Mended");
}

#[test]
fn a_text_that_no_cell_holds_is_kept_while_its_cell_is_left_alone() {
    // Only a CSV has such cells. Two rows: one keeps the text, which is too long for the target still; one types another.
    let world = World::new();
    let (name, long) = ("n".repeat(161), "d".repeat(40_000));
    world.drop_bytes(
        "accounts.csv",
        format!("Account Name,Account Number,Description\n{name},1,{long}\n{name},2,{long}\n").as_bytes(),
    );
    world.run_once(3);
    let mut book = Book::open(&world.returned()[0]);
    let sheet = book.first();
    for row in [1, 2] {
        assert!(sheet.get(row, "Description").to_string().starts_with("[DDU keeps"));
        sheet.set(row, "Account Name", format!("Mended {row}"));
    }
    sheet.set(2, "Description", "short");
    world.drop_bytes("kept.xlsx", &book.save());
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [2, 1, 1, 0]);
    assert_eq!(find(&world.target("accounts"), "name", "Mended 2")["description"], "short");
    let held = world.quarantine("accounts");
    assert_eq!(held[0]["Description"], long.as_str());
    assert_eq!(held[0]["Account_Name"], "Mended 1");
    assert!(
        held[0]["_ddu_cause"].as_str().unwrap().contains("40000 characters"),
        "{}",
        held[0]["_ddu_cause"]
    );
}

#[test]
fn an_unreadable_cell_that_is_left_alone_stays_unreadable() {
    // An error, a formula nobody computed and a number with too many digits, all in text columns, where their names
    // could pass for texts.
    let world = World::new();
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    for (column, header) in ["Account Name", "Account Number", "Description"].iter().enumerate() {
        sheet.write_string(0, column as u16, *header).unwrap();
    }
    for row in 1..=3 {
        sheet.write_string(row, 0, format!("Account {row}")).unwrap();
        sheet.write_string(row, 1, format!("N{row}")).unwrap();
    }
    sheet.write_formula(1, 2, rust_xlsxwriter::Formula::new("=NA()").set_result("#N/A")).unwrap();
    sheet.write_number(2, 2, 1_234_567_890_123_450.0).unwrap();
    sheet.write_string(3, 2, "fine").unwrap();
    world.drop_bytes("accounts.xlsx", &book.save_to_buffer().unwrap());
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 1, 2, 0]);
    let first = world.returned().remove(0);
    let mut book = Book::open(&first);
    assert_eq!(book.first().texts("Description"), ["#N/A", "1234567890123450 ?"]);
    book.first().set(1, "Account Name", "Touched elsewhere");
    world.drop_bytes("untouched.xlsx", &book.save());
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 1, 2, 0]);
    let causes: Vec<String> = world
        .quarantine("accounts")
        .iter()
        .map(|row| row["_ddu_cause"].as_str().unwrap().to_owned())
        .collect();
    assert!(causes[0].contains("error value") && causes[1].contains("15 digits"), "{causes:?}");

    // Both may have come back within one second, and then their names do not tell which was first.
    let second = world.returned().into_iter().find(|path| *path != first).unwrap();
    let mut book = Book::open(&second);
    book.first().set(1, "Description", "mended");
    book.first().set(2, "Description", "1234567890123450");
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    let target = world.target("accounts");
    assert_eq!(find(&target, "accountnumber", "N2")["description"], "1234567890123450");
    assert_eq!(find(&target, "accountnumber", "N1")["name"], "Touched elsewhere");

    // The first file once more: its `#N/A` must not take the place of what was mended since.
    let mut old = Book::open(&first);
    old.first().rows.truncate(2);
    world.drop_bytes("old.xlsx", &old.save());
    world.run_once(3);
    assert_eq!(find(&world.target("accounts"), "accountnumber", "N1")["description"], "mended");
}

#[test]
fn a_workbook_that_was_set_aside_comes_back_untouched_with_the_reason_beside_it() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"target_entity": "acount"}));
    let bytes = workbook(&[("Sheet1", &accounts(1, 3))]);
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    let back = world.returned();
    assert_eq!(std::fs::read(&back[0]).unwrap(), bytes);
    let text = std::fs::read_to_string(back[0].with_extension("xlsx.txt")).unwrap();
    assert!(text.contains("accounts.xlsx was not loaded") && text.contains("`acount`"), "{text}");
    assert!(text.contains("accounts.xlsx.json"), "the sidecar has to come along again: {text}");
    assert!(world.status_text("accounts.xlsx").contains("returned/accounts."));
    assert!(world.target("accounts").is_empty());
}

#[test]
fn a_returned_workbook_without_its_hidden_sheet_is_not_loaded_a_second_time() {
    // Saved as CSV, and copied into a new workbook that is called like the first.
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    book.first().set(1, "Account Name", "Mended");
    let line = |row: &Vec<Data>| row.iter().map(|cell| format!("\"{cell}\"")).collect::<Vec<_>>().join(",");
    let csv: String = book.first().rows.iter().map(|row| line(row) + "\n").collect();
    world.drop_bytes("accounts.20261122T140320Z-9f3a1c2e.csv", csv.as_bytes());
    book.sheets.truncate(1);
    world.drop_bytes("accounts.xlsx", &book.save());
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [4, 3, 1, 0]);
    for file in ["accounts.20261122T140320Z-9f3a1c2e.csv", "accounts.xlsx"] {
        let told = world.status_text(file);
        assert!(told.contains("hidden sheet is gone"), "{told}");
    }
}

#[test]
fn a_returned_workbook_can_be_checked_before_it_is_dropped() {
    let (world, mut book) = refused(&accounts_with_long_names(4, &[3]));
    let file = world.path().join("anything.xlsx");
    std::fs::write(&file, book.save()).unwrap();
    let said = world.ddu(&["check", file.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("Account Name"), "{}", said.out);
    book.first().set(1, "Account Name", "Mended");
    std::fs::write(&file, book.save()).unwrap();
    let said = world.ddu(&["check", file.to_str().unwrap()]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(said.out.contains("1 of 1 rows can be written"), "{}", said.out);
}

#[test]
fn what_was_only_rehearsed_is_not_written_by_mending_it() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"dry_run": true}));
    world.drop_rows("accounts.xlsx", &accounts_with_long_names(4, &[3]));
    world.run_once(0);
    let mut book = Book::open(&world.returned()[0]);
    book.first().set(1, "Account Name", "Mended");
    world.drop_bytes("rehearsed.xlsx", &book.save());
    world.run_once(0);
    assert!(world.target("accounts").is_empty() && world.table("accounts").is_null());
    let told = world.status_text("rehearsed.xlsx");
    assert!(told.contains("1 of 1 rows") && told.contains("could be written"), "{told}");
}
