//! What points at something goes behind it: jobs by their lookups, rows by levels, circles in two passes, and again when
//! what was missing has landed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chance::{Chance, seed, tell};
use crate::daemon::{running, until, until_idle, until_status};
use crate::editing::Book;
use crate::service::Service;
use crate::world::{Cell, World, accounts, tally, workbook};

/// People at accounts `from..from + count`, each named by the account's number.
fn contacts(from: u32, count: u32) -> Vec<Vec<Cell>> {
    let mut rows = vec![row!["Last Name", "Email", "Company"]];
    rows.extend(
        (from..from + count)
            .map(|n| row![format!("Person {n}"), format!("p{n}@fabrikam.example"), format!("{n:06}")]),
    );
    rows
}

/// The sidecar of workbooks with people at accounts.
fn at_accounts() -> Value {
    json!({
        "target_entity": "contacts", "table_name": "contacts", "columns": {"Company": "parentcustomerid"},
        "lookups": {"Company": {"entity": "account", "column": "accountnumber"}},
    })
}

fn drop_contacts(world: &World, name: &str, from: u32, count: u32) {
    world.drop_json(&format!("{name}.json"), at_accounts());
    world.drop_rows(name, &contacts(from, count));
}

/// Each person's e-mail → the number of the account that the target has them at.
fn companies(world: &World) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of: BTreeMap<String, String> = (world.target("accounts").iter())
        .map(|account| (text(&account["accountid"]), text(&account["accountnumber"])))
        .collect();
    let company = |contact: &Value| {
        let at = of.get(&text(&contact["_parentcustomerid_value"])).cloned().unwrap_or_default();
        (text(&contact["emailaddress1"]), at)
    };
    let people = world.target("contacts");
    let found: BTreeMap<String, String> = people.iter().map(company).collect();
    assert_eq!(found.len(), people.len(), "somebody twice");
    found
}

/// Whether the target has the people `1..=last` at their accounts, each once.
fn assert_at_their_accounts(world: &World, last: u32) {
    let wanted: BTreeMap<String, String> =
        (1..=last).map(|n| (format!("p{n}@fabrikam.example"), format!("{n:06}"))).collect();
    assert_eq!(companies(world), wanted);
}

// Jobs: parents first, and again when they have landed.

#[test]
fn of_workbooks_dropped_at_once_the_one_that_is_pointed_at_goes_first() {
    let world = World::new();
    // By name and by arrival the contacts come first.
    drop_contacts(&world, "a contacts.xlsx", 1, 50);
    world.drop_json("b accounts.xlsx.json", json!({"target_entity": "accounts", "table_name": "accounts"}));
    world.drop_rows("b accounts.xlsx", &accounts(1, 50));
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [50, 50, 0, 0]);
    assert_at_their_accounts(&world, 50);
    assert!(world.returned().is_empty());
}

#[test]
fn rule_records_that_are_not_there_yet() {
    // The contacts come first and are refused; then their accounts land, some of them first.
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 30);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [30, 0, 30, 0]);
    let refused = world.quarantine("contacts");
    let cause = refused[0]["_ddu_cause"].as_str().unwrap();
    assert!(cause.contains("no account has the account number `000001`"), "{cause}");
    assert!(world.status_text("contacts.xlsx").contains("returned/"));

    // Only 20 of the 30 accounts land: the other rows wait on.
    world.drop_rows("accounts.xlsx", &accounts(1, 20));
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [30, 20, 10, 0]);
    assert_at_their_accounts(&world, 20);
    let text = world.status_text("contacts.xlsx");
    assert!(text.contains("tried again because accounts were loaded"), "{text}");
    assert!(text.contains("20 of 20 rows written"), "{text}");

    world.drop_bytes("more.xlsx", &workbook(&[("Sheet1", &accounts(21, 10))]));
    world.drop_json("more.xlsx.json", json!({"target_entity": "accounts", "table_name": "accounts"}));
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [30, 30, 0, 0]);
    assert_at_their_accounts(&world, 30);
    assert_eq!(world.quarantine("contacts"), Vec::<Value>::new());
}

#[test]
fn a_retried_row_that_is_dropped_again_is_written_once() {
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 5);
    world.run_once(3);
    let returned = world.returned().remove(0);
    world.drop_rows("accounts.xlsx", &accounts(1, 5));
    world.run_once(0);
    assert_at_their_accounts(&world, 5);
    world.drop_bytes("mine.xlsx", &std::fs::read(&returned).unwrap());
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [5, 5, 0, 0]);
    assert_at_their_accounts(&world, 5);
    let text = world.status_text("mine.xlsx");
    assert!(text.contains("had been written before"), "{text}");
}

#[test]
fn a_retry_does_not_put_back_what_its_sender_has_mended_meanwhile() {
    // The workbook comes back mended together with the accounts: the retry that these set off finds nothing to do.
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 2);
    world.run_once(3);
    let mut book = Book::open(&world.returned()[0]);
    book.first().set(1, "Company", "000009");
    world.drop_bytes("a mended.xlsx", &book.save());
    world.drop_json("b.xlsx.json", json!({"target_entity": "accounts", "table_name": "accounts"}));
    world.drop_rows("b.xlsx", &accounts(1, 9));
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [2, 2, 0, 0]);
    let at = companies(&world);
    assert_eq!([&at["p1@fabrikam.example"], &at["p2@fabrikam.example"]], ["000009", "000002"]);
    let retries = world.archived().iter().filter(|path| path.ends_with("contacts.xlsx")).count();
    assert_eq!(retries, 2, "there was a retry");
}

#[test]
fn a_job_whose_parents_are_on_their_way_says_so_and_goes_when_they_have_landed() {
    // The accounts are slow: each batch is answered late.
    let world = World::new();
    let slow = json!([{"on": {"kind": "batch", "every": 1}, "answer": {"delay_ms": 700}}]);
    let service = Service::start(&world, slow);
    world.configure(json!({"target": service.target()}));
    let daemon = running(&world);
    world.drop_json("customers.xlsx.json", json!({"target_entity": "accounts", "batch_size": 10}));
    world.drop_rows("customers.xlsx", &accounts(1, 40));
    until_status(&world, "customers.xlsx", "migrating");
    drop_contacts(&world, "people.xlsx", 1, 40);
    until_status(&world, "people.xlsx", "waiting for customers.xlsx: accounts are loaded before contacts");
    until(&world, "contacts", [40, 40, 0, 0]);
    assert_at_their_accounts(&world, 40);
    assert!(daemon.log().contains("job waits for others"));
}

#[test]
fn order_says_more_than_lookups_do() {
    let world = World::new();
    let mut settings = at_accounts();
    settings["order"] = json!(1);
    world.drop_json("contacts.xlsx.json", settings);
    world.drop_rows("contacts.xlsx", &contacts(1, 5));
    world.drop_json("accounts.xlsx.json", json!({"order": 2}));
    world.drop_rows("accounts.xlsx", &accounts(1, 5));
    let said = world.run_once(3);
    // The contacts went first, came back, and were tried again when the accounts had landed.
    assert!(!world.returned().is_empty(), "{}", said.err);
    assert_eq!(world.counts("contacts"), [5, 5, 0, 0]);
    assert_at_their_accounts(&world, 5);
}

#[test]
fn a_parent_that_cannot_go_on_holds_up_nobody() {
    // The accounts name a column that nobody knows and go back; the contacts do not wait for ever.
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 3);
    world.drop_rows("accounts.xlsx", &[row!["Account Name", "Nobody Knows"], row!["A", "B"]]);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [3, 0, 3, 0]);
    assert_eq!(world.status()["jobs"], json!([]));
}

#[test]
fn a_workbook_with_both_tables_and_one_with_the_children_do_not_wait_for_each_other() {
    // The second holds accounts, which the first points at, and contacts, of which the first goes before.
    let world = World::new();
    drop_contacts(&world, "a.xlsx", 1, 10);
    let both = [("Accounts", &accounts(1, 20)[..]), ("People", &contacts(11, 10)[..])];
    world.drop_bytes("b.xlsx", &workbook(&both));
    let mut people = at_accounts();
    people["order"] = Value::Null;
    world.drop_json(
        "b.xlsx.json",
        json!({"sheets": {"Accounts": {"target_entity": "accounts", "table_name": "accounts"}, "People": people}}),
    );
    world.ddu(&["run", "--once"]);
    world.assert_conserved();
    assert_eq!(world.status()["jobs"], json!([]));
    assert_eq!(world.counts("contacts"), [20, 20, 0, 0]);
    assert_at_their_accounts(&world, 20);
}

#[test]
fn a_record_that_is_named_by_its_id_must_be_there_too() {
    let id = "11111111-2222-4333-8444-555555555555";
    let world = World::new();
    let mut settings = at_accounts();
    settings["lookups"]["Company"]["column"] = json!("accountid");
    world.drop_json("contacts.xlsx.json", settings);
    world.drop_rows(
        "contacts.xlsx",
        &[row!["Last Name", "Email", "Company"], row!["A", "p1@fabrikam.example", id]],
    );
    world.run_once(3);
    let refused = world.quarantine("contacts");
    let cause = refused[0]["_ddu_cause"].as_str().unwrap();
    assert_eq!(cause, format!("no account has the id `{id}`"));
    let text = world.status_text("contacts.xlsx");
    assert!(text.contains("the refused rows only wait for records that are not there"), "{text}");
    world.drop_rows(
        "accounts.xlsx",
        &[row!["accountid", "Account Name", "Account Number"], row![id, "Account 1", "000001"]],
    );
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [1, 1, 0, 0]);
    assert_at_their_accounts(&world, 1);
}

#[test]
fn who_can_be_a_company_or_a_person_is_found_as_either_whichever_comes() {
    // No `lookups`: a contact's company is an account by its name, or a contact by its full name.
    let world = World::new();
    world.drop_json(
        "contacts.xlsx.json",
        json!({"target_entity": "contacts", "columns": {"Company": "parentcustomerid"}}),
    );
    let people = [
        row!["Last Name", "Email", "Company"],
        row!["A", "a@fabrikam.example", "Account 1"],
        row!["B", "b@fabrikam.example", "Chief"],
    ];
    world.drop_rows("contacts.xlsx", &people);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [2, 0, 2, 0]);
    world.drop_json("chiefs.xlsx.json", json!({"target_entity": "contacts", "table_name": "chiefs"}));
    world.drop_rows("chiefs.xlsx", &[row!["Last Name", "Email"], row!["Chief", "c@fabrikam.example"]]);
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [2, 1, 1, 0]);
    world.drop_rows("accounts.xlsx", &accounts(1, 1));
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [2, 2, 0, 0]);
    let pointing =
        world.target("contacts").into_iter().filter(|row| !row["_parentcustomerid_value"].is_null());
    assert_eq!(pointing.count(), 2);
}

// Rows of one load: levels and circles.

/// Accounts `0..count`; `parent` says at which other one each points, `name` by what.
fn hierarchy(count: u32, parent: impl Fn(u32) -> Option<u32>) -> Vec<Vec<Cell>> {
    let row = |n: u32| {
        let parent = parent(n).map_or(String::new(), |parent| format!("{parent:06}"));
        row![format!("Account {n}"), format!("{n:06}"), parent]
    };
    (0..count).map(row).collect()
}

fn drop_hierarchy(world: &World, name: &str, rows: Vec<Vec<Cell>>, settings: Value) {
    let mut sidecar = json!({
        "target_entity": "accounts", "table_name": "accounts", "columns": {"Parent": "parentaccountid"},
        "lookups": {"Parent": {"column": "accountnumber"}},
    });
    for (key, value) in settings.as_object().unwrap() {
        sidecar[key] = value.clone();
    }
    world.drop_json(&format!("{name}.json"), sidecar);
    let header = vec![row!["Account Name", "Account Number", "Parent"]];
    world.drop_rows(name, &[header, rows].concat());
}

/// Each account's number → the number of the account that it points at in the target.
fn parents(world: &World) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = world.target("accounts");
    let of: BTreeMap<String, String> =
        rows.iter().map(|row| (text(&row["accountid"]), text(&row["accountnumber"]))).collect();
    let parent = |row: &Value| {
        let parent = of.get(&text(&row["_parentaccountid_value"])).cloned().unwrap_or_default();
        (text(&row["accountnumber"]), parent)
    };
    let found: BTreeMap<String, String> = rows.iter().map(parent).collect();
    assert_eq!(found.len(), rows.len(), "an account twice");
    found
}

fn wanted(count: u32, parent: impl Fn(u32) -> Option<u32>) -> BTreeMap<String, String> {
    let text = |n: Option<u32>| n.map_or(String::new(), |n| format!("{n:06}"));
    (0..count).map(|n| (text(Some(n)), text(parent(n)))).collect()
}

/// The rows in an order that follows from the seed.
fn shuffled(mut rows: Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    tell(&format!("seed {}", seed()));
    let mut chance = Chance::of_case(seed(), 7);
    for end in (1..rows.len()).rev() {
        rows.swap(end, chance.below(end + 1));
    }
    rows
}

#[test]
fn a_hierarchy_in_any_order_of_rows_is_written_by_levels() {
    // 2,000 accounts, up to eleven levels deep, in an order of chance.
    let world = World::new();
    let parent = |n: u32| (n > 0).then(|| (n - 1) / 2);
    drop_hierarchy(&world, "accounts.xlsx", shuffled(hierarchy(2_000, parent)), json!({"batch_size": 100}));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2_000, 2_000, 0, 0]);
    assert_eq!(parents(&world), wanted(2_000, parent));
    assert!(world.returned().is_empty());
}

#[test]
fn a_chain_is_as_deep_as_it_is() {
    let world = World::new();
    let parent = |n: u32| n.checked_sub(1);
    drop_hierarchy(&world, "accounts.xlsx", shuffled(hierarchy(150, parent)), json!({}));
    world.run_once(0);
    assert_eq!(parents(&world), wanted(150, parent));
}

#[test]
fn a_hierarchy_by_the_targets_own_key_and_by_names_is_written_too() {
    let world = World::new();
    let parent = |n: u32| (n > 0).then_some(n / 3);
    let upsert = json!({"mode": "upsert", "key": ["Account Number"]});
    drop_hierarchy(&world, "accounts.xlsx", shuffled(hierarchy(60, parent)), upsert.clone());
    world.run_once(0);
    assert_eq!(parents(&world), wanted(60, parent));

    // By the names of the accounts, which are what a lookup is searched by where nothing is said.
    let world = World::new();
    let mut rows = hierarchy(60, parent);
    for (n, row) in (0..).zip(&mut rows) {
        row[2] = parent(n).map_or(Cell::Blank, |parent| Cell::Text(format!("Account {parent}")));
    }
    drop_hierarchy(&world, "accounts.xlsx", shuffled(rows), json!({"lookups": {}}));
    world.run_once(0);
    assert_eq!(parents(&world), wanted(60, parent));
}

#[test]
fn rows_below_a_refused_one_come_back_with_its_row_and_go_when_it_is_mended() {
    // Row 3 (account 1) is refused by preflight, its children 4 and 5 and their child 6 with it; account 7 stays.
    let world = World::new();
    let parent = |n: u32| [None, Some(0), Some(0), Some(1), Some(1), Some(3), Some(2)][n as usize];
    let mut rows = hierarchy(7, parent);
    rows[1][0] = Cell::Blank;
    drop_hierarchy(&world, "accounts.xlsx", rows, json!({}));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [7, 3, 4, 0]);
    let causes = tally(&world.quarantine("accounts"), "_ddu_cause");
    assert_eq!(causes["its parent, row 3 (`000001`), was refused"], 2, "{causes:?}");
    assert_eq!(causes["its parent, row 5 (`000003`), was refused"], 1, "{causes:?}");

    // Account 1 comes by itself, with no parent; the rows below it are tried again without anybody.
    let header = row!["Account Name", "Account Number"];
    world.drop_json("one.xlsx.json", json!({"target_entity": "accounts", "table_name": "one"}));
    world.drop_rows("one.xlsx", &[header, row!["Account 1", "000001"]]);
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [7, 6, 1, 0]);
    assert_eq!(parents(&world), wanted(7, |n| parent(n).filter(|_| n != 1)));
}

#[test]
fn rows_below_one_that_the_target_refuses_are_not_sent_and_name_its_row() {
    // By name; the number of account 1 is taken by a record that is called otherwise, which only the target knows.
    let world = World::new();
    let header = row!["Account Name", "Account Number"];
    world.drop_json("old.xlsx.json", json!({"target_entity": "accounts", "table_name": "old"}));
    world.drop_rows("old.xlsx", &[header, row!["Taken", "000001"]]);
    world.run_once(0);
    let parent = |n: u32| n.checked_sub(1);
    let mut rows = hierarchy(4, parent);
    for (n, row) in (0..).zip(&mut rows) {
        row[2] = parent(n).map_or(Cell::Blank, |parent| Cell::Text(format!("Account {parent}")));
    }
    drop_hierarchy(&world, "accounts.xlsx", rows, json!({"lookups": {}}));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [4, 1, 3, 0]);
    let causes = tally(&world.quarantine("accounts"), "_ddu_cause");
    assert_eq!(causes["another record has the same Account Number already"], 1, "{causes:?}");
    assert_eq!(causes["its parent, row 3 (`Account 1`), was refused"], 1, "{causes:?}");
    assert_eq!(causes["its parent, row 4 (`Account 2`), was refused"], 1, "{causes:?}");

    // Mended as it came back: one workbook with the row and all below it, which go by levels again.
    let mut book = Book::open(&world.returned()[0]);
    let at = book.first().texts("Account Number").iter().position(|number| number == "000001").unwrap();
    book.first().set(at + 1, "Account Number", "000009");
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    assert_eq!(world.target("accounts").len(), 5);
}

#[test]
fn a_row_that_is_loaded_already_is_the_parent_and_not_its_double() {
    // Account 1 is there and stands in the workbook again: it is refused, and its child points at the one that is there.
    let world = World::new();
    world.drop_json("old.xlsx.json", json!({"target_entity": "accounts", "table_name": "old"}));
    world.drop_rows("old.xlsx", &[row!["Account Name", "Account Number"], row!["There", "000001"]]);
    world.run_once(0);
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(3, |n| [None, None, Some(1)][n as usize]), json!({}));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 2, 1, 0]);
    assert_eq!(parents(&world), wanted(3, |n| [None, None, Some(1)][n as usize]));
}

#[test]
fn rule_rows_that_point_at_each_other() {
    // 0 points at itself; 1 → 2 → 3 → 1 is a circle on which 4 and 5 hang; 6 and 7 point at each other.
    let world = World::new();
    let parent = |n: u32| {
        [Some(0), Some(2), Some(3), Some(1), Some(1), Some(4), Some(7), Some(6)]
            .get(n as usize)
            .copied()
            .flatten()
    };
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(8, parent), json!({}));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [8, 8, 0, 0]);
    assert_eq!(parents(&world), wanted(8, parent));
    assert!(world.returned().is_empty());
    let text = world.status_text("accounts.xlsx");
    assert!(text.contains("3 of 3 rows written"), "{text}");
}

#[test]
fn an_atomic_load_sets_circles_in_its_one_transaction_and_refuses_what_does_not_fit() {
    let parent = |n: u32| [Some(1), Some(0), Some(0), Some(2), Some(4)][n as usize];
    let world = World::new();
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(5, parent), json!({"atomic": true}));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [5, 5, 0, 0]);
    assert_eq!(parents(&world), wanted(5, parent));

    let world = World::new();
    let own = |n: u32| Some(n);
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(600, own), json!({"atomic": true}));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [600, 0, 600, 0]);
    let cause = world.quarantine("accounts")[0]["_ddu_cause"].to_string();
    assert!(cause.contains("600 further writes"), "{cause}");
    assert!(world.target("accounts").is_empty());
}

#[test]
fn checking_a_file_knows_that_parents_come_in_it() {
    let world = World::new();
    let parent = |n: u32| n.checked_sub(1);
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(10, parent), json!({"dry_run": true}));
    world.run_once(0);
    let text = world.status_text("accounts.xlsx");
    assert!(text.contains("10 of 10 rows"), "{text}");
}

// Two tables that point at each other.

/// Accounts `1..=count` whose primary contacts are the people of the same numbers.
fn drop_led_accounts(world: &World, count: u32) {
    let mut rows = vec![row!["Account Name", "Account Number", "Primary"]];
    rows.extend(
        (1..=count)
            .map(|n| row![format!("Account {n}"), format!("{n:06}"), format!("p{n}@fabrikam.example")]),
    );
    world.drop_json(
        "accounts.xlsx.json",
        json!({
            "target_entity": "accounts", "columns": {"Primary": "primarycontactid"},
            "lookups": {"Primary": {"column": "emailaddress1"}},
        }),
    );
    world.drop_rows("accounts.xlsx", &rows);
}

fn assert_led_by_their_people(world: &World, count: u32) {
    assert_at_their_accounts(world, count);
    let people = tally(&world.target("contacts"), "contactid");
    let led = world.target("accounts");
    assert_eq!(led.len(), count as usize);
    for account in led {
        let lead = account["_primarycontactid_value"].as_str().unwrap_or("nobody");
        assert!(people.contains_key(lead), "{account}");
    }
}

#[test]
fn two_tables_that_point_at_each_other_do_not_wait_for_each_other() {
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 25);
    drop_led_accounts(&world, 25);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [25, 25, 0, 0]);
    assert_eq!(world.counts("accounts"), [25, 25, 0, 0]);
    assert_led_by_their_people(&world, 25);
}

#[test]
fn what_is_left_out_for_now_is_not_emptied_meanwhile() {
    // Account 1 has a lead; it comes again with `blank: clear` and another lead who is not there yet, in a circle.
    let world = World::new();
    drop_contacts(&world, "contacts.xlsx", 1, 1);
    drop_led_accounts(&world, 1);
    world.run_once(3);
    assert_led_by_their_people(&world, 1);
    let lead = |world: &World| world.target("accounts")[0]["_primarycontactid_value"].clone();
    let first = lead(&world);

    // Somebody waits in quarantine for an account that never comes, so accounts may go without people for now.
    drop_contacts(&world, "others.xlsx", 7, 1);
    world.run_once(3);
    world.drop_json(
        "accounts again.xlsx.json",
        json!({
            "target_entity": "accounts", "table_name": "again", "mode": "upsert", "key": "Account Number",
            "blank": "clear", "columns": {"Primary": "primarycontactid"},
            "lookups": {"Primary": {"column": "emailaddress1"}},
        }),
    );
    world.drop_rows(
        "accounts again.xlsx",
        &[
            row!["Account Name", "Account Number", "Primary"],
            row!["Account 1, renamed", "000001", "nobody@fabrikam.example"],
        ],
    );
    world.run_once(3);
    assert_eq!(world.counts("again"), [1, 0, 1, 0]);
    assert_eq!(world.target("accounts")[0]["name"], "Account 1, renamed");
    assert_eq!(lead(&world), first);
    let cause = world.quarantine("again")[0]["_ddu_cause"].to_string();
    assert!(cause.contains("the row is written without it for now"), "{cause}");
}

#[test]
fn two_tables_that_point_at_each_other_may_come_one_after_the_other() {
    let world = World::new();
    drop_led_accounts(&world, 10);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [10, 0, 10, 0]);
    drop_contacts(&world, "contacts.xlsx", 1, 10);
    world.run_once(3);
    assert_eq!(world.counts("contacts"), [10, 10, 0, 0]);
    assert_eq!(world.counts("accounts"), [10, 10, 0, 0]);
    assert_led_by_their_people(&world, 10);
}

// Deaths.

/// Runs the program and kills it later and later, until it ends by itself.
fn killed_again_and_again(world: &World, last_code: i32) {
    let mut deaths = 0;
    for pause_ms in (150..).step_by(130) {
        let mut daemon = world.start(world.command(&["run", "--once"]));
        std::thread::sleep(Duration::from_millis(pause_ms));
        if let Some(ended) = daemon.child.try_wait().unwrap() {
            assert!([0, last_code].contains(&ended.code().unwrap()), "{}", daemon.log());
            break;
        }
        daemon.signal("KILL");
        daemon.end();
        deaths += 1;
        assert!(deaths < 100, "it never ends");
    }
    assert!(deaths > 1, "it was killed");
    world.run_once(0);
}

/// A world whose target is a server of its own, which outlives the deaths of the program.
fn world_with_service() -> (World, Service) {
    let world = World::new();
    let service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    (world, service)
}

#[test]
fn a_death_at_any_moment_leaves_a_hierarchy_as_if_nothing_had_happened() {
    let (world, mut service) = world_with_service();
    // Circles at the top, levels below.
    let parent = |n: u32| Some(if n < 10 { n ^ 1 } else { n / 2 });
    drop_hierarchy(&world, "accounts.xlsx", shuffled(hierarchy(400, parent)), json!({"batch_size": 20}));
    killed_again_and_again(&world, 3);
    service.restart(&world, json!([]));
    assert_eq!(world.counts("accounts"), [400, 400, 0, 0]);
    assert_eq!(parents(&world), wanted(400, parent));
}

#[test]
fn a_death_at_any_moment_forgets_no_retry_and_makes_none_twice() {
    let (world, mut service) = world_with_service();
    drop_contacts(&world, "contacts.xlsx", 1, 40);
    world.run_once(3);
    world.drop_rows("accounts.xlsx", &accounts(1, 40));
    killed_again_and_again(&world, 3);
    service.restart(&world, json!([]));
    assert_eq!(world.counts("contacts"), [40, 40, 0, 0]);
    assert_at_their_accounts(&world, 40);
    let retries = world.archived().iter().filter(|path| path.ends_with("contacts.xlsx")).count();
    assert_eq!(retries, 2, "the workbook and its retry: {:?}", world.archived());
}

#[test]
fn a_death_just_before_the_archive_sets_off_nothing_again() {
    // The job with the circle is put back where it stood when everything but its last rename was done.
    let world = World::new();
    drop_hierarchy(&world, "accounts.xlsx", hierarchy(2, |n| Some(1 - n)), json!({}));
    world.run_once(0);
    let before = world.archived();
    let archive = world.dropbox().join("archive");
    let journals =
        before.iter().filter(|path| path.ends_with("journal.jsonl")).map(|path| archive.join(path));
    let set_off = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).unwrap().contains(r#""event":"retries_planned""#)
    };
    let journal = journals.filter(set_off).collect::<Vec<_>>();
    let folder = journal[0].parent().unwrap();
    std::fs::rename(folder, world.dropbox().join(".work").join(folder.file_name().unwrap())).unwrap();
    world.run_once(0);
    assert_eq!(world.archived(), before);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    assert_eq!(parents(&world), wanted(2, |n| Some(1 - n)));
}

#[test]
fn a_death_at_any_moment_leaves_two_tables_that_point_at_each_other_whole() {
    let (world, mut service) = world_with_service();
    drop_contacts(&world, "contacts.xlsx", 1, 30);
    drop_led_accounts(&world, 30);
    killed_again_and_again(&world, 3);
    service.restart(&world, json!([]));
    assert_eq!(world.counts("contacts"), [30, 30, 0, 0]);
    assert_eq!(world.counts("accounts"), [30, 30, 0, 0]);
    assert_led_by_their_people(&world, 30);
    until_idle(&world);
}
