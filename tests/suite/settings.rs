//! What each setting of a sidecar means, seen from the target, the tables and the folders.

use serde_json::{Value, json};

use crate::world::{Cell, World, accounts, block_on, tally, workbook};

/// A header and one account for each name and city; without an account number nothing but its own id names a row.
fn by_city(cities: &[(&str, &str)]) -> Vec<Vec<Cell>> {
    let mut rows = vec![row!["Account Name", "Address 1: City"]];
    rows.extend(cities.iter().map(|(name, city)| row![*name, *city]));
    rows
}

/// The one record with this value.
fn record(world: &World, entity_set: &str, attribute: &str, value: &str) -> Value {
    let mut found = world.target(entity_set);
    found.retain(|record| record[attribute] == value);
    assert_eq!(found.len(), 1, "records of {entity_set} with {attribute} {value}");
    found.remove(0)
}

/// The text beside a workbook that went back untouched.
fn why_returned(world: &World) -> String {
    let back = world.returned();
    assert_eq!(back.len(), 1, "{back:?}");
    let mut text = back[0].clone().into_os_string();
    text.push(".txt");
    std::fs::read_to_string(text).unwrap()
}

// overwrite

#[test]
fn an_overwrite_replaces_the_table_in_one_commit_and_unchanged_rows_land_on_their_records() {
    let world = World::new();
    let mut rows = accounts(1, 5);
    rows[2][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [5, 4, 1, 0]);
    let ids = tally(&world.target("accounts"), "accountid");
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 6));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [6, 6, 0, 0]);
    assert_eq!(world.quarantine("accounts"), Vec::<Value>::new(), "its quarantine restarts");
    let after = tally(&world.target("accounts"), "accountid");
    assert_eq!(after.len(), 6);
    assert!(ids.keys().all(|id| after.contains_key(id)), "the rows that were there kept their records");
    let actions = world.delta_actions("migration", "accounts");
    let last = actions.iter().map(|action| action["version"].as_u64().unwrap()).max().unwrap();
    let last: Vec<&Value> = actions.iter().filter(|action| action["version"] == last).collect();
    assert!(last.iter().any(|action| action.get("add").is_some()));
    assert!(last.iter().any(|action| action.get("remove").is_some()));
    let log = world.log_of("accounts");
    assert_eq!(log.len(), 2, "one line of each version: {log:?}");
    assert_eq!(log[0]["rows_quarantined"], 1);
}

#[test]
fn true_duplicates_stay_two_records_through_an_overwrite() {
    let world = World::new();
    let rows = by_city(&[("Twin", "Bonn"), ("Twin", "Bonn"), ("Single", "Ulm")]);
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(0);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    assert_eq!(tally(&world.target("accounts"), "name"), [("Twin".into(), 2), ("Single".into(), 1)].into());
}

#[test]
fn a_changed_row_without_a_key_leaves_its_record_behind_and_the_status_says_how_many() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Ulm"), ("C", "Kiel")]));
    world.run_once(0);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Jena")]));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    assert_eq!(world.target("accounts").len(), 4, "B moved beside itself, and C has no successor");
    let status = world.table("accounts")["status"].as_str().unwrap().to_owned();
    assert!(status.contains("2 records of the replaced version"), "{status}");
    let told = world.status_text("accounts.xlsx");
    assert!(told.contains("2 records of the replaced version have no successor"), "{told}");
}

#[test]
fn with_a_key_a_changed_row_updates_its_own_record() {
    let world = World::new();
    let settings = json!({"overwrite": true, "key": "Account Name"});
    world.drop_json("accounts.xlsx.json", settings.clone());
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Ulm")]));
    world.run_once(0);
    let before = record(&world, "accounts", "name", "B");
    world.drop_json("accounts.xlsx.json", settings);
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Jena")]));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    assert_eq!(world.target("accounts").len(), 2);
    let after = record(&world, "accounts", "name", "B");
    assert_eq!(after["accountid"], before["accountid"]);
    assert_eq!(after["address1_city"], "Jena");
}

#[test]
fn an_overwrite_that_brings_or_drops_the_key_still_lands_on_the_records_that_are_there() {
    // The records were named by their rows, then by a key, then by their rows again; they are the same ones.
    let world = World::new();
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Ulm")]));
    world.run_once(0);
    let ids = tally(&world.target("accounts"), "accountid");
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true, "key": "Account Name"}));
    world.drop_rows("accounts.xlsx", &by_city(&[("A", "Bonn"), ("B", "Jena")]));
    world.run_once(0);
    assert_eq!(tally(&world.target("accounts"), "accountid"), ids);
    assert_eq!(record(&world, "accounts", "name", "B")["address1_city"], "Jena");
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &by_city(&[("B", "Jena"), ("A", "Bonn")]));
    world.run_once(0);
    assert_eq!(tally(&world.target("accounts"), "accountid"), ids);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true, "key": "Account Name"}));
    world.drop_rows("accounts.xlsx", &by_city(&[("C", "Kiel")]));
    world.run_once(0);
    let made_by_key = record(&world, "accounts", "name", "C")["accountid"].clone();
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &by_city(&[("C", "Kiel"), ("D", "Hof")]));
    world.run_once(0);
    assert_eq!(record(&world, "accounts", "name", "C")["accountid"], made_by_key);
}

// append, duplicates

#[test]
fn without_overwrite_another_workbook_is_appended_and_only_its_rows_are_sent() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.run_once(0);
    world.drop_json("more.xlsx.json", json!({"table_name": "accounts"}));
    world.drop_rows("more.xlsx", &accounts(4, 2));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [5, 5, 0, 0]);
    assert_eq!(world.target("accounts").len(), 5);
    let sizes: Vec<Value> = world.log_of("accounts").iter().map(|line| line["batch_size"].clone()).collect();
    assert_eq!(sizes, [3, 2]);
}

#[test]
fn the_same_bytes_are_set_aside_as_a_duplicate_also_under_another_name_and_load_again_after_an_overwrite() {
    let world = World::new();
    let first = workbook(&[("Sheet1", &accounts(1, 3))]);
    world.drop_bytes("accounts.xlsx", &first);
    world.run_once(0);
    world.drop_bytes("accounts.xlsx", &first);
    world.run_once(0);
    let told = world.status_text("accounts.xlsx");
    assert!(told.contains("duplicate: the same bytes were loaded before, as accounts.xlsx"), "{told}");
    world.drop_json("accounts (1).xlsx.json", json!({"table_name": "accounts"}));
    world.drop_bytes("accounts (1).xlsx", &first);
    world.run_once(0);
    assert!(world.status_text("accounts (1).xlsx").contains("duplicate"));
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    assert_eq!(world.log_of("accounts").len(), 1);
    assert!(world.returned().is_empty(), "a duplicate needs no mending");
    let archived = |world: &World| world.archived_workbooks().len();
    assert_eq!(archived(&world), 3);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    world.drop_json("accounts.xlsx.json", json!({"key": "Account Number"}));
    world.drop_bytes("accounts.xlsx", &first);
    world.run_once(3);
    assert_eq!(world.counts("accounts")[0], 5, "the table forgot what it held before: they are appended");
}

// atomic

#[test]
fn atomic_one_bad_row_and_none_is_written_each_with_its_own_sentence() {
    let world = World::new();
    let mut rows = accounts(1, 5);
    rows[3][0] = "x".repeat(161).into();
    world.drop_json("accounts.xlsx.json", json!({"atomic": true}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [5, 0, 5, 0]);
    assert!(world.target("accounts").is_empty());
    for refused in world.quarantine("accounts") {
        let cause = refused["_ddu_cause"].as_str().unwrap();
        if refused["_ddu_row"] == 4 {
            assert!(cause.contains("160"), "{cause}");
        } else {
            assert!(cause.contains("nothing is wrong with this row") && cause.contains("row 4"), "{cause}");
        }
    }
    assert_eq!(world.returned().len(), 1);
}

#[test]
fn atomic_one_row_that_the_target_refuses_and_none_is_written() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(3, 1));
    world.run_once(0);
    world.drop_json("more.xlsx.json", json!({"table_name": "accounts", "atomic": true}));
    world.drop_rows("more.xlsx", &accounts(1, 5));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [6, 1, 5, 0]);
    assert_eq!(world.target("accounts").len(), 1);
    let refused = world.quarantine("accounts");
    let cause = |number: u64| {
        let row = refused.iter().find(|row| row["_ddu_row"] == number).unwrap();
        row["_ddu_cause"].as_str().unwrap().to_lowercase()
    };
    assert!(cause(4).contains("another record has the same account number"), "{}", cause(4));
    assert!(cause(2).contains("nothing is wrong with this row"), "{}", cause(2));
    assert!(cause(2).contains("row 4"), "the row to mend is named: {}", cause(2));
}

#[test]
fn atomic_is_one_change_set_whatever_the_batch_size() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"atomic": true, "batch_size": 7}));
    world.drop_rows("accounts.xlsx", &accounts(1, 30));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [30, 30, 0, 0]);
    let log = world.log_of("accounts");
    assert_eq!((log.len(), &log[0]["batch_size"]), (1, &json!(30)));
}

#[test]
fn atomic_beyond_one_change_set_is_refused_before_anything_is_staged_with_the_number() {
    // Products have no bulk actions, which would take more.
    let world = World::new();
    let mut rows = vec![row!["Name", "Product ID"]];
    rows.extend((0..1_001).map(|n| row![format!("Product {n}"), format!("P{n:04}")]));
    let bytes = workbook(&[("Sheet1", &rows)]);
    world.drop_json("products.xlsx.json", json!({"atomic": true}));
    world.drop_bytes("products.xlsx", &bytes);
    world.run_once(3);
    let why = why_returned(&world);
    assert!(why.contains("`atomic`") && why.contains("1000 rows"), "{why}");
    assert_eq!(std::fs::read(&world.returned()[0]).unwrap(), bytes);
    assert_eq!(world.table("products"), Value::Null);
    assert!(world.target("products").is_empty());
}

#[test]
fn atomic_beyond_one_change_set_is_one_bulk_action_where_the_table_has_it_and_all_or_nothing() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"atomic": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 1_200));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [1_200, 1_200, 0, 0]);
    assert_eq!(world.target("accounts").len(), 1_200);
    let mut rows = accounts(2_001, 1_200);
    // What the target alone can see: another record has this number already.
    rows[700][1] = "000007".into();
    world.drop_json("more.xlsx.json", json!({"atomic": true, "target_entity": "accounts"}));
    world.drop_rows("more.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("more"), [1_200, 0, 1_200, 0]);
    assert_eq!(world.target("accounts").len(), 1_200);
}

// legal_entity, target_entity

#[test]
fn a_legal_entity_holds_a_workbook_for_dataverse_with_a_sentence_until_it_is_taken_out() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"legal_entity": "usmf"}));
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(3);
    let told = world.status_text("accounts.xlsx");
    assert!(
        told.contains("held") && told.contains("`legal_entity` is a setting of Finance & Operations"),
        "{told}"
    );
    assert!(told.contains("accounts.xlsx.json: line 1, column"), "{told}");
    assert!(world.dropbox().join("accounts.xlsx").exists());
    assert!(world.target("accounts").is_empty());
    world.drop_json("accounts.xlsx.json", json!({"legal_entity": ""}));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
}

#[test]
fn an_entity_that_is_not_there_sends_the_workbook_back_untouched_with_the_nearest_name() {
    let world = World::new();
    let bytes = workbook(&[("Sheet1", &accounts(1, 2))]);
    world.drop_bytes("acounts.xlsx", &bytes);
    world.run_once(3);
    let why = why_returned(&world);
    assert!(why.contains("no entity `acounts`; did you mean `accounts`?"), "{why}");
    assert!(why.contains("`target_entity`") && why.contains("acounts.xlsx.json"), "{why}");
    assert_eq!(std::fs::read(&world.returned()[0]).unwrap(), bytes);
    assert_eq!(world.status()["tables"], json!([]));
}

#[test]
fn the_entity_is_inferred_from_the_files_name_by_set_logical_or_display_name() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 1));
    world.drop_rows("Account.xlsx", &accounts(2, 1));
    world.drop_rows("CONTACT.xlsx", &[row!["Last Name"], row!["Doe"]]);
    world.drop_rows("Products.xlsx", &[row!["Name"], row!["Nut"]]);
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 2);
    let entities: Vec<(String, String)> = world.status()["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| {
            let text = |key: &str| table[key].as_str().unwrap().to_owned();
            (text("table_name"), text("target_entity"))
        })
        .collect();
    for (table, entity) in
        [("accounts", "accounts"), ("account", "accounts"), ("contact", "contacts"), ("products", "products")]
    {
        assert!(entities.contains(&(table.to_owned(), entity.to_owned())), "{table}: {entities:?}");
    }
}

// mode, key

#[test]
fn a_mode_without_a_key_is_held_and_one_that_the_entity_does_not_have_goes_back() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"mode": "upsert"}));
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(3);
    assert!(
        world.status_text("accounts.xlsx").contains("`mode` is `upsert`, which needs to know the records")
    );
    world.drop_json("accounts.xlsx.json", json!({"mode": "upsert", "key": "Account Name"}));
    world.run_once(3);
    let why = why_returned(&world);
    assert!(why.contains("accountnumber"), "the keys that there are: {why}");
    assert!(world.target("accounts").is_empty());
}

#[test]
fn upsert_creates_what_is_new_and_updates_what_is_there_by_the_alternate_key() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    let before = record(&world, "accounts", "accountnumber", "000002");
    world.drop_json(
        "changes.xlsx.json",
        json!({
            "target_entity": "accounts", "mode": "upsert", "key": ["Account Number"],
        }),
    );
    world.drop_rows(
        "changes.xlsx",
        &[row!["Account Number", "Account Name"], row!["000002", "Renamed"], row!["000003", "New"]],
    );
    world.run_once(0);
    assert_eq!(world.counts("changes"), [2, 2, 0, 0]);
    assert_eq!(world.target("accounts").len(), 3);
    let after = record(&world, "accounts", "accountnumber", "000002");
    assert_eq!((&after["accountid"], &after["name"]), (&before["accountid"], &json!("Renamed")));
    assert_eq!(after["revenue"], before["revenue"], "a column that is not in the sheet stays");
}

#[test]
fn update_changes_what_is_there_and_refuses_what_is_not() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 1));
    world.run_once(0);
    let settings = json!({"target_entity": "accounts", "mode": "update", "key": "Account Number"});
    world.drop_json("changes.xlsx.json", settings);
    let rows = [row!["Account Number", "Account Name"], row!["000001", "Renamed"], row!["000009", "Nobody"]];
    world.drop_rows("changes.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("changes"), [2, 1, 1, 0]);
    assert_eq!(tally(&world.target("accounts"), "name"), [("Renamed".into(), 1)].into());
    assert_eq!(world.quarantine("changes")[0]["_ddu_row"], 3);
}

#[test]
fn delete_removes_what_is_there_and_refuses_what_is_not() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.run_once(0);
    let settings = json!({"target_entity": "accounts", "mode": "delete", "key": "Account Number"});
    world.drop_json("gone.xlsx.json", settings);
    let rows = [row!["Account Number", "Why"], row!["000002", "closed"], row!["000009", "never was"]];
    world.drop_rows("gone.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("gone"), [2, 1, 1, 0]);
    let left = tally(&world.target("accounts"), "accountnumber");
    assert_eq!(left, [("000001".into(), 1), ("000003".into(), 1)].into());
    assert_eq!(world.quarantine("gone")[0]["_ddu_row"], 3);
}

#[test]
fn insert_refuses_a_key_that_stands_twice_in_the_workbook_or_is_there_already() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 1));
    world.run_once(0);
    world.drop_json("more.xlsx.json", json!({"table_name": "accounts"}));
    let rows = [
        row!["Account Name", "Account Number"],
        row!["There already", "000001"],
        row!["First", "000002"],
        row!["Second", "000002"],
        row!["Good", "000003"],
    ];
    world.drop_rows("more.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [5, 3, 2, 0]);
    let names = tally(&world.target("accounts"), "name");
    assert!(names.contains_key("First") && names.contains_key("Good") && names.contains_key("Account 1"));
    let numbers: Vec<Value> =
        world.quarantine("accounts").iter().map(|row| row["_ddu_row"].clone()).collect();
    assert_eq!(numbers, [2, 4]);
}

// blank, timezone, columns, lookups

#[test]
fn a_blank_cell_leaves_the_value_unless_it_is_to_clear_it() {
    for (blank, city) in [(None, json!("Bonn")), (Some("leave"), json!("Bonn")), (Some("clear"), Value::Null)]
    {
        let world = World::new();
        world.drop_rows(
            "accounts.xlsx",
            &[row!["Account Name", "Account Number", "Address 1: City"], row!["A", "1", "Bonn"]],
        );
        world.run_once(0);
        let mut settings = json!({"target_entity": "accounts", "mode": "upsert", "key": "Account Number"});
        if let Some(blank) = blank {
            settings["blank"] = json!(blank);
        }
        world.drop_json("changes.xlsx.json", settings);
        world.drop_rows(
            "changes.xlsx",
            &[row!["Account Name", "Account Number", "Address 1: City"], row!["B", "1", ""]],
        );
        world.run_once(0);
        let account = &world.target("accounts")[0];
        assert_eq!((&account["name"], &account["address1_city"]), (&json!("B"), &city), "{blank:?}");
    }
}

#[test]
fn times_without_a_zone_are_of_the_time_zone_that_the_settings_name() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"timezone": "Europe/Berlin"}));
    let header = row!["Account Name", "Last On Hold Time", "Customer Since"];
    let of = |name: &str, time: &str, month| vec![name.into(), time.into(), Cell::Day(2026, month, 1)];
    world.drop_rows(
        "accounts.xlsx",
        &[header, of("Summer", "2026-07-01 12:00:00", 7), of("Winter", "2026-01-01 12:00:00", 1)],
    );
    world.run_once(0);
    let (summer, winter) =
        (record(&world, "accounts", "name", "Summer"), record(&world, "accounts", "name", "Winter"));
    assert_eq!(summer["lastonholdtime"], "2026-07-01T10:00:00Z");
    assert_eq!(winter["lastonholdtime"], "2026-01-01T11:00:00Z");
    assert_eq!(summer["ddu_customersince"], "2026-07-01", "a day is a day in every zone");
    assert_eq!(winter["ddu_customersince"], "2026-01-01");
}

#[test]
fn columns_and_lookups_say_what_headers_mean_and_how_values_point() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    world.drop_json(
        "people.xlsx.json",
        json!({
            "target_entity": "contact",
            "columns": {"Nachname": "lastname", "Firma": "parentcustomerid", "Intern": ""},
            "lookups": {"Firma": "accounts.accountnumber"},
        }),
    );
    world.drop_rows(
        "people.xlsx",
        &[
            row!["Nachname", "Firma", "Intern"],
            row!["Doe", "000002", "a note of ours"],
            row!["Roe", "000009", ""],
        ],
    );
    world.run_once(3);
    assert_eq!(world.counts("people"), [2, 1, 1, 0]);
    let account = record(&world, "accounts", "accountnumber", "000002");
    let contact = record(&world, "contacts", "lastname", "Doe");
    assert_eq!(contact["_parentcustomerid_value"], account["accountid"]);
    let refused = &world.quarantine("people")[0];
    assert!(refused["_ddu_cause"].as_str().unwrap().contains("000009"), "{refused}");
    assert_eq!(refused["_ddu_column"], "Firma");
}

#[test]
fn settings_that_name_a_column_that_is_not_there_send_the_workbook_back_with_the_nearest_header() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"columns": {"Nmae": "name"}}));
    world.drop_rows("accounts.xlsx", &[row!["Name"], row!["A"]]);
    world.run_once(3);
    let why = why_returned(&world);
    assert!(
        why.contains("`columns` names the column `Nmae`") && why.contains("did you mean `Name`"),
        "{why}"
    );
}

// sheets, header_row, dry_run, batch_size, workers

#[test]
fn several_sheets_of_one_workbook_go_into_several_tables_and_entities() {
    let world = World::new();
    let people = [row!["Last Name"], row!["Doe"], row!["Roe"]];
    let notes = [row!["nothing that anybody should load"]];
    let bytes = workbook(&[("Notes", &notes), ("Firms", &accounts(1, 3)), ("People", &people)]);
    world.drop_json("all.xlsx.json", json!({
        "sheets": {"Firms": {"target_entity": "accounts", "batch_size": 2}, "People": {"target_entity": "contacts"}},
    }));
    world.drop_bytes("all.xlsx", &bytes);
    world.run_once(0);
    assert_eq!(world.counts("firms"), [3, 3, 0, 0]);
    assert_eq!(world.counts("people"), [2, 2, 0, 0]);
    assert_eq!((world.target("accounts").len(), world.target("contacts").len()), (3, 2));
    let parts: Vec<Value> = world.log_of("people").iter().map(|line| line["partition_id"].clone()).collect();
    assert_eq!(parts, [1], "the second sheet is the second partition");
    assert_eq!(world.log_of("firms").len(), 2);
}

#[test]
fn a_fault_in_a_later_sheet_is_known_before_the_first_one_is_staged() {
    let world = World::new();
    let bytes = workbook(&[("Firms", &accounts(1, 3)), ("People", &[row!["Last Nmae"], row!["Doe"]])]);
    world.drop_json(
        "all.xlsx.json",
        json!({
            "sheets": {"Firms": {"target_entity": "accounts"}, "People": {"target_entity": "contacts"}},
        }),
    );
    world.drop_bytes("all.xlsx", &bytes);
    world.run_once(3);
    let why = why_returned(&world);
    assert!(why.contains("sheet `People`") && why.contains("Last Nmae"), "{why}");
    assert_eq!(world.status()["tables"], json!([]));
    assert!(world.target("accounts").is_empty());
}

#[test]
fn a_named_sheet_and_header_row_are_taken_as_named() {
    let world = World::new();
    let rows =
        [row!["Account Name", "Export of 2026"], row!["City", "Country"], row!["Account Name"], row!["A"]];
    let bytes = workbook(&[("Cover", &[row!["hello"]]), ("Data", &rows)]);
    world.drop_json("accounts.xlsx.json", json!({"sheet": "data", "header_row": 3}));
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(0);
    assert_eq!(tally(&world.target("accounts"), "name"), [("A".into(), 1)].into());
    world.drop_json("accounts.xlsx.json", json!({"sheet": "Dta"}));
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    let why = why_returned(&world);
    assert!(why.contains("Dta") && why.contains("Data"), "{why}");
}

#[test]
fn a_dry_run_writes_nowhere_and_gives_back_what_would_be_refused() {
    let world = World::new();
    let mut rows = accounts(1, 4);
    rows[2][0] = "x".repeat(161).into();
    world.drop_json("accounts.xlsx.json", json!({"dry_run": true}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(0);
    let told = world.status_text("accounts.xlsx");
    assert!(told.contains("dry run, nothing was written: 3 of 4 rows"), "{told}");
    assert_eq!(world.status()["tables"], json!([]));
    assert!(world.target("accounts").is_empty());
    assert_eq!(world.returned().len(), 1);
    assert!(world.archived().iter().any(|path| path.ends_with("/accounts.xlsx")));
    // The rehearsal is no load: the same bytes can be loaded for real.
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [4, 3, 1, 0]);
}

#[test]
fn rows_go_in_batches_of_the_size_and_at_the_width_that_is_set() {
    let world = World::with(json!({"batch_size": 4, "workers": 3}));
    world.drop_rows("accounts.xlsx", &accounts(1, 10));
    world.drop_json("products.xlsx.json", json!({"batch_size": 2, "workers": 1}));
    world.drop_rows("products.xlsx", &[row!["Name"], row!["A"], row!["B"], row!["C"]]);
    world.run_once(0);
    let batches = |table: &str| {
        let mut log = world.log_of(table);
        log.sort_by_key(|line| line["batch_id"].as_u64());
        log.iter().map(|line| line["batch_size"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(batches("accounts"), [4, 4, 2]);
    assert_eq!(batches("products"), [2, 1]);
    let lake = world.lake();
    let states = block_on(lake.states()).unwrap();
    let workers = |table: &str| states.iter().find(|state| state.table_name == table).unwrap().workers;
    assert_eq!((workers("accounts"), workers("products")), (3, 1));
}

// the tables

#[test]
fn the_books_begin_with_the_guides_columns_under_its_names_and_types() {
    let world = World::new();
    let mut rows = accounts(1, 2);
    rows[1][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    let columns = |database: &str, table: &str| -> String {
        let columns = world.delta_columns(database, table);
        columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        columns("migration", "migration_log"),
        "table_name string, partition_id integer, batch_id integer, batch_size integer, write_time float, \
         time timestamp, error string, severity integer, cause string, quarantine_table string, job string, \
         target_entity string, legal_entity string, rows_written long, rows_quarantined long, attempt integer"
    );
    assert_eq!(
        columns("migration", "migration_state"),
        "id integer, table_name string, records long, validated boolean, workers integer, target_entity string, \
         written long, quarantined long, pending long, status string, updated timestamp, validation string"
    );
    assert_eq!(
        columns("migration", "migration_receipts"),
        "table_name string, row_id string, target_key string, job string, batch_id integer, time timestamp, created boolean, \
         record_id string"
    );
    let staged = "_ddu_row_id string, _ddu_job string, _ddu_sheet string, _ddu_row long, _ddu_rescued string, \
                  Account_Name string, Account_Number string, Annual_Revenue double";
    assert_eq!(columns("migration", "accounts"), staged);
    assert_eq!(
        columns("quarantine", "accounts"),
        format!(
            "{staged}, _ddu_error string, _ddu_cause string, _ddu_column string, _ddu_attempt integer, \
             _ddu_time timestamp, _ddu_refusals string, _ddu_missing string"
        )
    );
    let log = &world.log_of("accounts")[0];
    assert_eq!(log["quarantine_table"], "quarantine.accounts");
    assert_eq!(log["target_entity"], "accounts");
    assert_eq!((&log["rows_written"], &log["rows_quarantined"]), (&json!(1), &json!(1)));
}
