//! Finance & Operations: workbooks into the rehearsal server's other dialect, every mode, companies, and what is lost on
//! the way.

use serde_json::{Value, json};

use crate::editing::Book;
use crate::service::Service;
use crate::world::{Cell, World, tally, workbook};

/// A world whose embedded sandbox stands for Finance & Operations.
fn world() -> World {
    World::with(json!({"target": {"kind": "sandbox", "dialect": "finops"}}))
}

/// Customer groups with numbers from `from`: a header as people write it, and `count` good rows.
fn groups(from: u32, count: u32) -> Vec<Vec<Cell>> {
    let mut rows = vec![row!["Customer group ID", "Description", "Is sales tax included in price"]];
    rows.extend((from..from + count).map(|n| row![format!("G{n:04}"), format!("Group {n}"), n % 2 == 0]));
    rows
}

/// Drops customer groups under this name with a sidecar.
fn drop_groups(world: &World, name: &str, rows: &[Vec<Cell>], more: Value) {
    let mut sidecar = json!({"target_entity": "CustomerGroups", "legal_entity": "usmf"});
    for (key, value) in more.as_object().unwrap() {
        sidecar[key] = value.clone();
    }
    world.drop_json(&format!("{name}.xlsx.json"), sidecar);
    world.drop_rows(&format!("{name}.xlsx"), rows);
}

fn described(world: &World) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut found: Vec<(String, String)> = world
        .finops_target("CustomerGroups")
        .iter()
        .map(|row| {
            let company = text(&row["dataAreaId"]);
            (format!("{company}/{}", text(&row["CustomerGroupId"])), text(&row["Description"]))
        })
        .collect();
    found.sort();
    found
}

fn keys(world: &World, table: &str) -> Vec<String> {
    let mut keys: Vec<String> = world
        .receipts()
        .iter()
        .filter(|receipt| receipt.table_name == table)
        .map(|receipt| receipt.target_key.clone())
        .collect();
    keys.sort();
    keys
}

// ---- the journey ---------------------------------------------------------------------------------------------------

#[test]
fn every_row_is_inserted_into_its_company_and_its_receipt_has_the_whole_key() {
    let world = world();
    drop_groups(&world, "groups", &groups(1, 25), json!({"batch_size": 10}));
    world.run_once(0);
    assert_eq!(world.counts("groups"), [25, 25, 0, 0]);
    let target = world.finops_target("CustomerGroups");
    assert_eq!(tally(&target, "dataAreaId"), [("usmf".to_owned(), 25)].into());
    assert_eq!(
        tally(&target, "IsSalesTaxIncludedInPrice"),
        [("Yes".to_owned(), 12), ("No".to_owned(), 13)].into()
    );
    assert_eq!(keys(&world, "groups")[0], "dataAreaId='usmf',CustomerGroupId='G0001'");
    let log = world.log_of("groups");
    assert_eq!((log.len(), &log[0]["legal_entity"]), (3, &json!("usmf")));
    assert_eq!(log[0]["target_entity"], "CustomerGroups");
}

#[test]
fn upsert_update_and_delete_find_their_records_by_the_entitys_own_key() {
    let world = world();
    drop_groups(&world, "groups", &groups(1, 3), json!({}));
    world.run_once(0);
    // No `key` is needed: the entity has one.
    let mut rows = groups(3, 2);
    rows[1][1] = "changed".into();
    drop_groups(&world, "more", &rows, json!({"mode": "upsert"}));
    world.run_once(0);
    assert_eq!(described(&world).len(), 4);
    assert_eq!(described(&world)[2].1, "changed");
    let rows = [row!["Customer group ID", "Description"], row!["G0001", "one"], row!["G9999", "nobody"]];
    drop_groups(&world, "changes", &rows, json!({"mode": "update"}));
    world.run_once(3);
    assert_eq!(described(&world)[0].1, "one");
    let refused = world.quarantine("changes");
    let cause = refused[0]["_ddu_cause"].as_str().unwrap();
    assert_eq!(cause, "there is no record dataAreaId='usmf',CustomerGroupId='G9999' to update");
    drop_groups(&world, "gone", &groups(1, 2), json!({"mode": "delete"}));
    world.run_once(0);
    assert_eq!(described(&world).len(), 2);
    assert_eq!(world.counts("gone"), [2, 2, 0, 0]);
}

#[test]
fn a_refused_row_comes_back_is_mended_and_takes_its_place() {
    let world = world();
    let mut rows = groups(1, 4);
    rows[0].push("Payment term ID".into());
    for (row, term) in rows[1..].iter_mut().zip(["", "NoSuch", "", ""]) {
        row.push(term.into());
    }
    // One that preflight holds, one that only the service can refuse.
    rows[4][2] = "perhaps".into();
    drop_groups(&world, "groups", &rows, json!({}));
    world.run_once(3);
    assert_eq!(world.counts("groups"), [4, 2, 2, 0]);
    let refused = world.quarantine("groups");
    let of_service = refused.iter().find(|row| row["_ddu_cause"].to_string().contains("NoSuch")).unwrap();
    let cause = of_service["_ddu_cause"].as_str().unwrap();
    assert!(
        cause.starts_with("a record that the row refers to is not there: The value 'NoSuch' in field"),
        "{cause}"
    );
    assert!(!cause.contains("validateField"), "the noise is left out: {cause}");
    assert_eq!(of_service["_ddu_column"], "Payment_term_ID");
    let mut book = Book::open(&world.returned()[0]);
    let sheet = book.first();
    sheet.set(1, "Payment term ID", "");
    sheet.set(2, "Is sales tax included in price", "Yes");
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    assert_eq!(world.counts("groups"), [4, 4, 0, 0]);
    assert_eq!(described(&world).len(), 4);
}

#[test]
fn check_and_dry_run_find_everything_beforehand_and_write_nothing() {
    let world = world();
    let mut rows = groups(1, 4);
    rows[2][0] = "G0001".into();
    rows[3][0] = "".into();
    drop_groups(&world, "groups", &rows, json!({"dry_run": true}));
    world.run_once(0);
    let told = world.status_text("groups.xlsx");
    assert!(told.contains("2 of 4 rows of sheet `Sheet1` could be written"), "{told}");
    assert_eq!(world.returned().len(), 1);
    assert_eq!(world.finops_target("CustomerGroups").len(), 0);
    let file = world.path().join("check.xlsx");
    let wrong = [row!["Customer group ID", "Descripton"], row!["G1", "x"]];
    std::fs::write(&file, workbook(&[("Sheet1", &wrong)])).unwrap();
    std::fs::write(
        world.path().join("check.xlsx.json"),
        json!({"target_entity": "Customer groups"}).to_string(),
    )
    .unwrap();
    let said = world.ddu(&["check", file.to_str().unwrap()]);
    let told = format!("{}{}", said.out, said.err);
    assert!(said.code != 0 && told.contains("did you mean `Description`"), "{told}");
}

#[test]
fn an_overwrite_goes_to_the_records_that_it_wrote_before() {
    let world = world();
    drop_groups(&world, "groups", &groups(1, 5), json!({}));
    world.run_once(0);
    let mut rows = groups(1, 6);
    rows[1][1] = "anew".into();
    drop_groups(&world, "groups", &rows, json!({"overwrite": true}));
    world.run_once(0);
    assert_eq!(world.counts("groups"), [6, 6, 0, 0]);
    assert_eq!((described(&world).len(), described(&world)[0].1.as_str()), (6, "anew"));
}

#[test]
fn a_data_package_loads_its_entities_end_to_end() {
    let world = world();
    let groups =
        workbook(&[("Customer_groups", &[row!["CUSTOMERGROUPID", "DESCRIPTION"], row!["10", "Retail"]])]);
    let terms =
        workbook(&[("Terms", &[row!["NAME", "DESCRIPTION", "NUMBEROFDAYS"], row!["Net30", "Net 30", 30]])]);
    let bytes = crate::templates::package(
        &[("Terms of payment", "Terms.xlsx"), ("Customer groups", "Customer groups.xlsx")],
        &[("Terms.xlsx", terms), ("Customer groups.xlsx", groups)],
    );
    world.drop_json(
        "package.zip.json",
        json!({"legal_entity": "usmf", "sheets": {"Terms of payment": {"target_entity": "PaymentTerms"}, "Customer groups": {}}}),
    );
    world.drop_bytes("package.zip", &bytes);
    world.run_once(0);
    assert_eq!(world.counts("customer_groups"), [1, 1, 0, 0]);
    assert_eq!(described(&world), [("usmf/10".to_owned(), "Retail".to_owned())]);
    assert_eq!(world.finops_target("PaymentTerms")[0]["NumberOfDays"], 30);
}

#[test]
fn doctor_is_let_in_without_a_who_am_i() {
    let world = world();
    world.ddu(&["init"]);
    let said = world.ddu(&["doctor"]);
    assert!(said.out.contains("sandbox answers; we are let in, and it has"), "{}{}", said.out, said.err);
}

// ---- companies -----------------------------------------------------------------------------------------------------

#[test]
fn companies_come_from_the_sidecar_or_the_sheet_and_contradictions_come_back() {
    let world = world();
    let header = row!["dataAreaId", "CustomerGroupId", "Description"];
    let rows = [header.clone(), row!["usmf", "10", "A"], row!["dat", "10", "B"], row!["dat", "10", "again"]];
    world.drop_json("own.xlsx.json", json!({"target_entity": "CustomerGroups"}));
    world.drop_rows("own.xlsx", &rows);
    world.run_once(3);
    let told = |company: &str, text: &str| (format!("{company}/10"), text.to_owned());
    assert_eq!(described(&world), [told("dat", "B"), told("usmf", "A")]);
    let refused = world.quarantine("own");
    assert!(refused[0]["_ddu_cause"].to_string().contains("stands in row 3 already"), "{refused:?}");
    let rows = [header, row!["usmf", "20", "A"], row!["", "30", "B"]];
    drop_groups(&world, "contrary", &rows, json!({"legal_entity": "dat"}));
    world.run_once(3);
    assert_eq!(world.counts("contrary"), [2, 1, 1, 0]);
    let refused = world.quarantine("contrary");
    assert!(refused[0]["_ddu_cause"].to_string().contains("`legal_entity` says `dat`"), "{refused:?}");
    assert!(described(&world).contains(&("dat/30".to_owned(), "B".to_owned())));
}

#[test]
fn shared_entities_have_no_company_and_the_default_one_stands_in_elsewhere() {
    let world = world();
    let rows = [row!["CurrencyCode", "Name"], row!["XTS", "Test"]];
    world.drop_json("money.xlsx.json", json!({"target_entity": "Currencies", "legal_entity": "usmf"}));
    world.drop_rows("money.xlsx", &rows);
    world.run_once(3);
    let told = world.status_text("money.xlsx");
    assert!(told.contains("`Currencies` is shared by all companies"), "{told}");
    world.drop_json("money.xlsx.json", json!({"target_entity": "Currencies", "mode": "upsert"}));
    world.drop_rows("money.xlsx", &rows);
    world.run_once(0);
    assert_eq!(world.finops_target("Currencies").len(), 1);
    assert_eq!(keys(&world, "money"), ["CurrencyCode='XTS'"]);
    // Nobody said which company: the service's default one, which its answers name.
    drop_groups(&world, "groups", &groups(1, 2), json!({"legal_entity": ""}));
    world.run_once(0);
    let company = world.finops_target("CustomerGroups")[0]["dataAreaId"].as_str().unwrap().to_owned();
    assert_eq!(keys(&world, "groups")[0], format!("dataAreaId='{company}',CustomerGroupId='G0001'"));
}

// ---- all or none ---------------------------------------------------------------------------------------------------

#[test]
fn atomic_writes_all_rows_in_one_change_set_or_none() {
    let world = world();
    let mut rows = groups(1, 1_200);
    rows[0].push("Payment term ID".into());
    rows[700].push("NoSuch".into());
    drop_groups(&world, "groups", &rows, json!({"atomic": true}));
    world.run_once(3);
    assert_eq!(world.counts("groups"), [1_200, 0, 1_200, 0]);
    assert_eq!(world.finops_target("CustomerGroups").len(), 0);
    let refused = world.quarantine("groups");
    let of_service: Vec<&Value> =
        refused.iter().filter(|row| row["_ddu_cause"].to_string().contains("NoSuch")).collect();
    assert_eq!(of_service.len(), 1, "the culprit is named once");
    rows[700].pop();
    drop_groups(&world, "groups", &rows, json!({"atomic": true, "overwrite": true}));
    world.run_once(0);
    assert_eq!(world.finops_target("CustomerGroups").len(), 1_200);
    assert_eq!(world.log_of("groups").last().unwrap()["batch_size"], 1_200);
}

#[test]
fn atomic_beyond_five_thousand_rows_is_refused_before_anything_is_staged() {
    let world = world();
    drop_groups(&world, "groups", &groups(1, 5_001), json!({"atomic": true}));
    world.run_once(3);
    let told = world.status_text("groups.xlsx");
    assert!(
        told.contains("more than 5000 rows, which is what one change set of Finance & Operations takes"),
        "{told}"
    );
    assert_eq!(world.counts("groups"), [u64::MAX; 4]);
}

// ---- never twice ---------------------------------------------------------------------------------------------------

/// A world with a server of its own, which these rules disturb.
fn served(faults: Value) -> (World, Service) {
    let world = World::new();
    let service = Service::finops(&world, faults);
    world.configure(json!({"target": service.target(), "batch_size": 5}));
    (world, service)
}

#[test]
fn a_batch_that_was_cut_after_the_commit_is_written_once_in_every_mode() {
    for mode in ["insert", "upsert"] {
        let (world, _service) =
            served(json!([{"on": {"kind": "batch", "request": 2}, "answer": {"cut": "after"}}]));
        drop_groups(&world, "groups", &groups(1, 15), json!({"mode": mode}));
        world.run_once(0);
        assert_eq!(world.counts("groups"), [15, 15, 0, 0], "{mode}");
        assert_eq!(described(&world).len(), 15, "{mode}");
        let log = world.log_of("groups");
        assert!(log.iter().any(|line| line["severity"] == 2), "it was tried again: {log:?}");
        if mode == "insert" {
            continue;
        }
        drop_groups(&world, "gone", &groups(1, 15), json!({"mode": "delete"}));
        world.run_once(0);
        assert_eq!(described(&world).len(), 0);
    }
}

#[test]
fn a_daemon_that_is_killed_between_sent_and_heard_asks_before_it_sends_again() {
    // The second batch is carried out and its answer cut, or it hangs before it is carried out; then the kill comes.
    let cut = json!([
        {"on": {"kind": "batch", "request": 2}, "answer": {"cut": "after"}},
        {"on": {"kind": "read", "entity": "CustomerGroups"}, "answer": {"delay_ms": 600_000}},
    ]);
    let hung = json!([{"on": {"kind": "batch", "request": 2}, "answer": {"delay_ms": 600_000}}]);
    for (faults, carried_out) in [(cut, true), (hung, false)] {
        let (world, mut service) = served(faults);
        drop_groups(&world, "groups", &groups(1, 15), json!({"workers": 1}));
        let mut daemon = world.daemon();
        world.wait_for("a batch in doubt", || {
            let count = |event: &str| world.journal().iter().filter(|line| line["event"] == event).count();
            let paused = world.status()["jobs"][0]["waiting_for"].to_string().contains("Dynamics until");
            (count("batch_heard") == 1 && count("batch_sent") == 2 && paused == carried_out).then_some(())
        });
        daemon.signal("KILL");
        daemon.end();
        service.restart(&world, json!([]));
        world.run_once(0);
        assert_eq!(world.counts("groups"), [15, 15, 0, 0]);
        assert_eq!(described(&world).len(), 15);
        let attempts: Vec<Value> =
            world.log_of("groups").iter().map(|line| line["attempt"].clone()).collect();
        assert_eq!(attempts, [1, 2, 1]);
        // What was carried out was seen, not done again: nobody can tell any more who created it.
        let told = world.receipts().iter().filter(|receipt| receipt.created == Some(true)).count();
        assert_eq!(told, if carried_out { 10 } else { 15 });
    }
}

#[test]
fn a_daemon_that_is_killed_again_and_again_writes_each_row_once() {
    let (world, _service) = served(json!([{"on": {}, "answer": {"delay_ms": 50}}]));
    drop_groups(&world, "groups", &groups(1, 41), json!({"batch_size": 2}));
    for death in 1..=4 {
        let mut daemon = world.daemon();
        world.wait_for("a few more batches", || {
            let heard = world.journal().iter().filter(|line| line["event"] == "batch_heard").count();
            (heard >= death * 3).then_some(())
        });
        daemon.signal("KILL");
        daemon.end();
        world.assert_conserved();
    }
    world.run_once(0);
    assert_eq!(world.counts("groups"), [41, 41, 0, 0]);
    assert_eq!(tally(&world.finops_target("CustomerGroups"), "CustomerGroupId").len(), 41);
}

#[test]
fn rows_whose_key_the_service_makes_are_told_by_it_or_come_back_as_unknown() {
    let (world, _service) =
        served(json!([{"on": {"kind": "batch", "request": 3}, "answer": {"cut": "after"}}]));
    let names = [row!["Name", "Description"], row!["GenJrn", "General"]];
    world.drop_json("names.xlsx.json", json!({"target_entity": "JournalNames", "legal_entity": "usmf"}));
    world.drop_rows("names.xlsx", &names);
    world.run_once(0);
    let mut rows = vec![row!["Journal name", "Description"]];
    rows.extend((1..=15).map(|n| row!["GenJrn", format!("Journal {n}")]));
    let sidecar = json!({"target_entity": "LedgerJournalHeaders", "legal_entity": "usmf", "workers": 1});
    world.drop_json("journals.xlsx.json", sidecar);
    world.drop_rows("journals.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("journals"), [15, 10, 5, 0]);
    let target = world.finops_target("LedgerJournalHeaders");
    assert_eq!(target.len(), 15, "nothing was sent a second time");
    let keys = keys(&world, "journals");
    assert_eq!(keys.len(), 10);
    let made = |row: &Value| {
        format!("dataAreaId='usmf',JournalBatchNumber='{}'", row["JournalBatchNumber"].as_str().unwrap())
    };
    let there: Vec<String> = target.iter().map(made).collect();
    assert!(keys.iter().all(|key| there.contains(key)), "{keys:?}");
    let cause = world.quarantine("journals")[0]["_ddu_cause"].as_str().unwrap().to_owned();
    assert!(cause.starts_with("whether this row was written is not known"), "{cause}");
}
