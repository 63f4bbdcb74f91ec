//! Finance & Operations: workbooks into the rehearsal server's other dialect, every mode, companies, and what is lost on
//! the way.

use serde_json::{Value, json};

use crate::editing::Book;
use crate::proof::validation;
use crate::service::Service;
use crate::world::{Cell, Said, World, tally, workbook};

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

// ---- proof and undo ------------------------------------------------------------------------------------------------

/// The address of a customer group.
fn group(company: &str, id: &str) -> String {
    format!("CustomerGroups(dataAreaId='{company}',CustomerGroupId='{id}')")
}

/// Takes rows of this entity through, into the company `usmf`.
fn load(world: &World, name: &str, entity: &str, rows: &[Vec<Cell>], more: Value) {
    drop_groups(world, name, rows, json!({"target_entity": entity}));
    let mut sidecar = json!({"target_entity": entity, "legal_entity": "USMF"});
    for (key, value) in more.as_object().unwrap() {
        sidecar[key] = value.clone();
    }
    world.drop_json(&format!("{name}.xlsx.json"), sidecar);
    world.run_once(0);
}

/// The job that wrote into a table.
fn job_of(world: &World, table: &str) -> String {
    world.receipts().into_iter().find(|receipt| receipt.table_name == table).unwrap().job
}

/// `ddu undo`, which must end with this code.
fn undo(world: &World, job: &str, code: i32) -> Said {
    let said = world.ddu(&["undo", job, "--yes"]);
    assert_eq!(said.code, code, "{}{}", said.out, said.err);
    world.assert_conserved();
    said
}

#[test]
fn values_are_read_back_in_the_services_spelling_and_one_that_somebody_altered_is_found() {
    let (world, service) = served(json!([]));
    load(&world, "names", "JournalNames", &[row!["Name"], row!["GenJrn"]], json!({}));
    load(&world, "heads", "LedgerJournalHeaders", &[row!["Journal name"], row!["GenJrn"]], json!({}));
    let number = service.rows("LedgerJournalHeaders")[0]["JournalBatchNumber"].as_str().unwrap().to_owned();
    let header = row![
        "JournalBatchNumber",
        "LineNumber",
        "TransDate",
        "AccountDisplayValue",
        "AccountType",
        "CurrencyCode",
        "DebitAmount",
        "Text",
        "DueDate"
    ];
    let line = |n: i32| {
        row![
            number.as_str(),
            n,
            Cell::Day(2026, 11, 24),
            "110180",
            "Ledger",
            "USD",
            f64::from(n) * 1234.57,
            format!("Zeile {n} "),
            ""
        ]
    };
    let rows: Vec<Vec<Cell>> = std::iter::once(header).chain((1..=6).map(line)).collect();
    // Blank cells travel as what stands for nothing.
    load(&world, "lines", "LedgerJournalLines", &rows, json!({"blank": "clear"}));
    assert_eq!(world.table("lines")["validated"], true);
    let said = world.json_lines(&["validate", "lines", "--all", "--json"]).remove(0);
    assert_eq!((&said["read_back"], &said["departures"]), (&json!(6), &json!([])));
    assert_eq!((&said["created"], &said["validated"]), (&json!(6), &json!(true)), "{said}");
    let told = said["checks"].to_string();
    assert!(told.contains("0 before, 6 after: +6, where +6 were expected"), "{told}");

    let at = |n: u32| {
        format!("LedgerJournalLines(dataAreaId='usmf',JournalBatchNumber='{number}',LineNumber={n})")
    };
    service.meddle("PATCH", &at(2), json!({"TransDate": "2026-11-25T12:00:00Z"}));
    service.meddle("PATCH", &at(3), json!({"DebitAmount": 3703.72}));
    service.meddle("PATCH", &at(4), json!({"AccountType": "Cust", "DueDate": "2026-12-01T12:00:00Z"}));
    service.meddle("DELETE", &at(5), json!({}));
    let said = world.ddu(&["validate", "lines", "--json"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let proof: Value = serde_json::from_str(&said.out).unwrap();
    let mut found: Vec<[&str; 4]> = proof["departures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|departure| ["kind", "column", "sent", "found"].map(|key| departure[key].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    let wanted = [
        ["missing", "", "", "no record"],
        ["wrong", "AccountType", "Ledger", "Cust"],
        ["wrong", "DebitAmount", "3703.71", "3703.72"],
        ["wrong", "TransDate", "2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z"],
    ];
    let of_new: Vec<_> = found.iter().filter(|departure| departure[1] != "DueDate").collect();
    assert_eq!(of_new, wanted.iter().collect::<Vec<_>>(), "{proof}");
    assert_eq!(world.table("lines")["validated"], false);
}

#[test]
fn a_write_of_which_nobody_knows_whether_it_created_its_record_is_no_fault() {
    let (world, _service) =
        served(json!([{"on": {"kind": "batch", "request": 2}, "answer": {"cut": "after"}}]));
    drop_groups(&world, "groups", &groups(1, 15), json!({"mode": "upsert", "workers": 1}));
    world.run_once(0);
    assert_eq!(world.table("groups")["validated"], true);
    let said = validation(&world)["validation"].as_str().unwrap().to_owned();
    assert!(said.contains("15 of 15 receipts read back, 15 as written"), "{said}");
    // What is not known is left where it is.
    let said = world.ddu(&["undo", &job_of(&world, "groups"), "--yes", "--json"]);
    let table: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((said.code, &table["deleted"]), (3, &json!(10)), "{}{}", said.out, said.err);
    assert_eq!(table["left"][0]["reason"], "nobody can tell whether this job created it");
    assert_eq!((table["left"].as_array().unwrap().len(), described(&world).len()), (5, 5));
    world.assert_conserved();
}

#[test]
fn an_undo_deletes_what_the_job_created_in_every_company_and_nothing_else() {
    let (world, _service) = served(json!([]));
    drop_groups(&world, "before", &[row!["CustomerGroupId", "Description"], row!["30", "kept"]], json!({}));
    world.run_once(0);
    let rows = [
        row!["dataAreaId", "CustomerGroupId", "Description"],
        row!["USMF", "O'1,0=", "A"],
        row!["dat", "10", "B"],
        row!["dat", "30", "C"],
    ];
    drop_groups(&world, "own", &rows, json!({"legal_entity": null}));
    world.run_once(0);
    assert_eq!(world.table("own")["validated"], true);
    let job = &job_of(&world, "own");
    let said = world.ddu(&["undo", job]);
    assert!(said.err.contains("say --yes to delete 3 records"), "{}{}", said.out, said.err);
    undo(&world, job, 0);
    assert_eq!(described(&world), [("usmf/30".to_owned(), "kept".to_owned())]);
    assert_eq!((world.counts("own"), world.counts("before")), ([0, 0, 0, 0], [1, 1, 0, 0]));
    assert_eq!(keys(&world, "own").len(), 0);
    let said = world.ddu(&["undo", job, "--yes"]);
    assert!(said.err.contains("there is nothing to undo"), "{}{}", said.out, said.err);
}

#[test]
fn an_undo_finds_records_by_the_keys_that_the_service_made_and_tells_entities_apart() {
    let (world, service) = served(json!([]));
    load(
        &world,
        "terms",
        "PaymentTerms",
        &[row!["Name", "Description"], row!["GenJrn", "30 days"]],
        json!({}),
    );
    // Another entity whose key reads the same.
    load(&world, "names", "JournalNames", &[row!["Name"], row!["GenJrn"]], json!({}));
    let heads =
        [row!["Journal name", "Description"], row!["GenJrn", "1"], row!["GenJrn", "2"], row!["GenJrn", "3"]];
    load(&world, "heads", "LedgerJournalHeaders", &heads, json!({}));
    assert_eq!(world.table("heads")["validated"], true);
    let [terms, names, heads] = ["terms", "names", "heads"].map(|table| job_of(&world, table));
    let said = undo(&world, &names, 3);
    assert!(said.out.contains("cannot be deleted while dependent"), "{}", said.out);
    undo(&world, &heads, 0);
    assert!(service.rows("LedgerJournalHeaders").is_empty());
    undo(&world, &names, 0);
    assert!(service.rows("JournalNames").is_empty());
    assert_eq!(service.rows("PaymentTerms").len(), 1);
    undo(&world, &terms, 0);
    assert!(service.rows("PaymentTerms").is_empty());
}

#[test]
fn an_undo_leaves_what_was_only_updated_what_was_changed_and_what_the_service_keeps() {
    let (world, service) = served(json!([]));
    drop_groups(&world, "groups", &groups(1, 2), json!({}));
    world.run_once(0);
    drop_groups(&world, "more", &groups(2, 5), json!({"mode": "upsert"}));
    world.run_once(0);
    service.meddle("PATCH", &group("usmf", "G0003"), json!({"Description": "Mine"}));
    let customer = json!({"dataAreaId": "usmf", "CustomerAccount": "C1", "CustomerGroupId": "G0004",
        "SalesCurrencyCode": "USD", "OrganizationName": "Quell"});
    service.meddle("POST", "CustomersV3", customer);
    service.meddle("DELETE", &group("usmf", "G0005"), json!({}));
    let [first, second] = ["groups", "more"].map(|table| job_of(&world, table));
    let said = undo(&world, &first, 3);
    assert!(said.out.contains(&format!("job {second} wrote it later; undo that job first")), "{}", said.out);
    let said = world.ddu(&["undo", &second, "--yes", "--json"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let table: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&table["deleted"], &table["updated"]), (&json!(2), &json!(1)), "{table}");
    let mut left: Vec<(&str, &str)> = table["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| (left["record"].as_str().unwrap(), left["reason"].as_str().unwrap()))
        .collect();
    left.sort_unstable();
    let [changed, kept] = left[..] else { panic!("{left:?}") };
    assert_eq!(changed.0, "dataAreaId='usmf',CustomerGroupId='G0003'");
    assert_eq!(changed.1, "it was changed in Dynamics: Description was `Group 3` and is `Mine`");
    assert_eq!(kept.0, "dataAreaId='usmf',CustomerGroupId='G0004'");
    assert!(kept.1.starts_with("Dynamics did not delete it: 400: "), "{}", kept.1);
    assert!(kept.1.contains("cannot be deleted while dependent Customers exist"), "{}", kept.1);
    let there: Vec<String> = described(&world).into_iter().map(|(key, _)| key).collect();
    assert_eq!(there, ["usmf/G0002", "usmf/G0003", "usmf/G0004"]);
    assert_eq!(world.counts("more"), [3, 3, 0, 0]);
    world.assert_conserved();
}

#[test]
fn an_undo_that_is_killed_with_deletions_on_their_way_goes_on_where_it_stood() {
    // The second batch is carried out and its answer cut, or it hangs before it is carried out; then the kill comes.
    let hung =
        |request: u32| json!({"on": {"kind": "batch", "request": request}, "answer": {"delay_ms": 600_000}});
    let cut = json!([{"on": {"kind": "batch", "request": 2}, "answer": {"cut": "after"}}, hung(3)]);
    for (faults, rest) in [(cut, 30), (json!([hung(2)]), 130)] {
        let (world, mut service) = served(json!([]));
        drop_groups(&world, "groups", &groups(1, 230), json!({"batch_size": 230}));
        world.run_once(0);
        let job = job_of(&world, "groups");
        service.restart(&world, faults);
        let mut dying = world.start(world.command(&["undo", &job, "--yes"]));
        let journal = world.dropbox().join(format!(".work/undo-{job}/journal.jsonl"));
        world.wait_for("the second batch", || {
            let text = std::fs::read_to_string(&journal).unwrap_or_default();
            let there = service.rows("CustomerGroups").len();
            (text.matches("batch_sent").count() == 2 && there == rest).then_some(())
        });
        dying.signal("KILL");
        dying.end();
        service.restart(&world, json!([]));
        // Somebody has made a record with the key of one whose deletion was not heard; it is not ours.
        if rest == 30 {
            let other = json!({"dataAreaId": "usmf", "CustomerGroupId": "G0100", "Description": "Mine"});
            service.meddle("POST", "CustomerGroups", other);
            undo(&world, &job, 3);
            assert_eq!(described(&world), [("usmf/G0100".to_owned(), "Mine".to_owned())]);
        } else {
            world.run_once(0);
            assert!(described(&world).is_empty());
            assert_eq!(world.counts("groups"), [0, 0, 0, 0]);
        }
        let log = world.log_of("groups");
        assert_eq!(log.iter().filter(|line| line["rows_written"].as_i64() < Some(0)).count(), 1, "{log:?}");
    }
}
