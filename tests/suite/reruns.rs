//! "Handling Re-Runs" of the migration guide, point by point, and what else may interrupt a migration.

use serde_json::{Value, json};

use crate::service::Service;
use crate::world::{World, accounts, tally, workbook};

/// A world that writes to a service of its own, which follows these rules; five rows a batch.
fn served(faults: Value) -> (World, Service) {
    let world = World::new();
    let service = Service::start(&world, faults);
    world.configure(json!({"target": service.target(), "batch_size": 5}));
    (world, service)
}

/// Asserts that the target has every account from 1 to `count` once.
fn assert_each_once(world: &World, count: usize) {
    let names = tally(&world.target("accounts"), "name");
    let wanted = (1..=count).map(|n| (format!("Account {n}"), 1)).collect();
    assert_eq!(names, wanted);
}

/// Asserts that the log of a table has each batch of a job once and accounts for every row; returns the lines by batch.
fn assert_log_complete(world: &World, table: &str, batches: usize, rows: u64) -> Vec<Value> {
    let mut log = world.log_of(table);
    log.sort_by_key(|line| line["batch_id"].as_u64());
    let ids: Vec<u64> = log.iter().map(|line| line["batch_id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (0..batches as u64).collect::<Vec<_>>());
    let written: u64 = log.iter().map(|line| line["rows_written"].as_u64().unwrap()).sum();
    let refused: u64 = log.iter().map(|line| line["rows_quarantined"].as_u64().unwrap()).sum();
    assert_eq!(written + refused, rows);
    log
}

// a death partway

#[test]
fn a_migration_that_is_killed_partway_goes_on_where_it_stopped() {
    // The fourth batch hangs at the target; the kill comes while it is in doubt.
    let (world, mut service) = served(json!([{"on": {"request": 4}, "answer": {"delay_ms": 600_000}}]));
    world.drop_json("accounts.xlsx.json", json!({"workers": 1}));
    world.drop_rows("accounts.xlsx", &accounts(1, 40));
    let mut daemon = world.daemon();
    world.wait_for("three batches to be heard and the fourth to be sent", || {
        let count = |event: &str| world.journal().iter().filter(|line| line["event"] == event).count();
        (count("batch_heard") == 3 && count("batch_sent") == 4).then_some(())
    });
    assert_eq!(world.counts("accounts"), [40, 15, 0, 25], "the numbers add up while it is under way");
    daemon.signal("KILL");
    daemon.end();
    assert_eq!(world.counts("accounts"), [40, 15, 0, 25], "and when it is dead");
    // The intent is written down before the bytes leave: whether they had left, nobody knows, and both must do.
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [40, 40, 0, 0]);
    assert_each_once(&world, 40);
    let log = assert_log_complete(&world, "accounts", 8, 40);
    let attempts: Vec<&Value> = log.iter().map(|line| &line["attempt"]).collect();
    assert_eq!(attempts, [1, 1, 1, 2, 1, 1, 1, 1], "only the batch in doubt was sent again");
}

#[test]
fn a_migration_that_is_killed_again_and_again_writes_each_row_once() {
    let (world, _service) = served(json!([{"on": {}, "answer": {"delay_ms": 50}}]));
    world.drop_json("accounts.xlsx.json", json!({"batch_size": 2}));
    let mut rows = accounts(1, 41);
    rows[41][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
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
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [41, 40, 1, 0]);
    assert_each_once(&world, 40);
    assert_log_complete(&world, "accounts", 21, 41);
    assert_eq!(world.returned().len(), 1);
}

#[test]
fn a_batch_whose_answer_was_lost_after_the_commit_is_written_once() {
    let (world, _service) = served(json!([{"on": {"request": 2}, "answer": {"cut": "after"}}]));
    world.drop_rows("accounts.xlsx", &accounts(1, 15));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [15, 15, 0, 0]);
    assert_each_once(&world, 15);
    let log = assert_log_complete(&world, "accounts", 3, 15);
    assert!(log.iter().any(|line| line["severity"] == 2), "the log says that it was tried again: {log:?}");
}

#[test]
fn what_was_deleted_before_the_answer_was_lost_is_not_missed() {
    let (world, _service) = served(json!([{"on": {"request": 4}, "answer": {"cut": "after"}}]));
    world.drop_rows("accounts.xlsx", &accounts(1, 15));
    world.run_once(0);
    let settings = json!({"target_entity": "accounts", "mode": "delete", "key": "Account Number"});
    world.drop_json("gone.xlsx.json", settings);
    world.drop_rows("gone.xlsx", &accounts(1, 10));
    world.run_once(0);
    assert_eq!(world.counts("gone"), [10, 10, 0, 0]);
    assert_eq!(world.target("accounts").len(), 5);
}

#[test]
fn an_atomic_load_whose_answer_was_lost_is_written_once() {
    let (world, _service) = served(json!([{"on": {"request": 1}, "answer": {"cut": "after"}}]));
    world.drop_json("accounts.xlsx.json", json!({"atomic": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 12));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [12, 12, 0, 0]);
    assert_each_once(&world, 12);
    assert_log_complete(&world, "accounts", 1, 12);
}

#[test]
fn an_atomic_load_too_large_for_the_target_comes_back_as_a_whole() {
    let (world, _service) = served(json!([{"on": {}, "answer": {"status": 413, "html": true}}]));
    world.drop_json("accounts.xlsx.json", json!({"atomic": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 0, 3, 0]);
    let cause = world.quarantine("accounts")[0]["_ddu_cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("more than one transaction can take"), "{cause}");
}

// new files, finished tables, overwrite

#[test]
fn new_files_join_a_migration_that_died_and_finished_tables_do_not_restart() {
    let hang = json!([{"on": {"entity": "contacts", "request": 1}, "answer": {"delay_ms": 600_000}}]);
    let (world, mut service) = served(hang);
    world.drop_rows("accounts.xlsx", &accounts(1, 5));
    world.run_once(0);
    let before = world.target("accounts");
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Doe"]]);
    let mut daemon = world.daemon();
    world.wait_for("the batch to be sent", || {
        world.journal().iter().any(|line| line["event"] == "batch_sent").then_some(())
    });
    daemon.signal("KILL");
    daemon.end();
    service.restart(&world, json!([]));
    world.drop_rows("products.xlsx", &[row!["Name"], row!["Nut"]]);
    world.run_once(0);
    assert_eq!(world.counts("contacts"), [1, 1, 0, 0]);
    assert_eq!(world.counts("products"), [1, 1, 0, 0]);
    assert_eq!(world.target("accounts"), before, "not one of its records was touched");
    assert_eq!(world.log_of("accounts").len(), 1);
}

#[test]
fn an_overwrite_restarts_its_own_table_and_the_log_is_kept() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.drop_rows("products.xlsx", &[row!["Name"], row!["Nut"]]);
    world.run_once(0);
    let products = world.target("products");
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 4));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    let sizes: Vec<Value> = world.log_of("accounts").iter().map(|line| line["batch_size"].clone()).collect();
    assert_eq!(sizes, [3, 4], "the lines of the first version stay");
    assert_eq!(world.log_of("products").len(), 1);
    assert_eq!(world.target("products"), products);
}

// ingest, then migrate

#[test]
fn what_was_ingested_is_pending_until_its_table_is_migrated() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.drop_rows("products.xlsx", &[row!["Name"], row!["Nut"]]);
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.assert_conserved();
    assert_eq!(world.counts("accounts"), [3, 0, 0, 3]);
    assert_eq!(world.counts("products"), [1, 0, 0, 1]);
    assert!(world.target("accounts").is_empty());
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Doe"]]);
    assert_eq!(world.ddu(&["migrate", "--table", "accounts"]).code, 0);
    world.assert_conserved();
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    assert_eq!(world.counts("products"), [1, 0, 0, 1]);
    assert!(world.target("products").is_empty());
    assert_eq!(world.ddu(&["migrate"]).code, 0);
    world.assert_conserved();
    assert_eq!(world.counts("products"), [1, 1, 0, 0]);
    assert!(world.dropbox().join("contacts.xlsx").exists(), "migrate takes nothing from the dropbox");
    world.run_once(0);
    assert_eq!(world.target("contacts").len(), 1);
}

#[test]
fn a_version_that_was_replaced_before_it_was_migrated_is_never_sent() {
    let world = World::new();
    let mut wrong = accounts(1, 3);
    wrong[2][0] = "Not what was meant".into();
    world.drop_rows("accounts.xlsx", &wrong);
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 5));
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.assert_conserved();
    assert_eq!(world.ddu(&["migrate"]).code, 0);
    world.assert_conserved();
    assert_eq!(world.counts("accounts"), [5, 5, 0, 0]);
    assert_each_once(&world, 5);
    assert_eq!(world.log_of("accounts").len(), 1);
    assert_eq!(world.table("accounts")["status"], "done", "nothing of it is left behind in the target");
    assert_eq!(world.status()["jobs"], json!([]));
}

#[test]
fn a_version_that_was_replaced_in_the_middle_of_its_migration_ends_there() {
    // Two batches are written and the third is in doubt when the daemon dies; the new version is ingested before the
    // next migration.
    let (world, mut service) = served(json!([{"on": {"request": 3}, "answer": {"delay_ms": 600_000}}]));
    world.drop_json("accounts.xlsx.json", json!({"workers": 1}));
    let mut first = accounts(1, 30);
    first[2][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &first);
    let mut daemon = world.daemon();
    world.wait_for("the third batch to be sent", || {
        let sent = world.journal().iter().filter(|line| line["event"] == "batch_sent").count();
        (sent == 3).then_some(())
    });
    daemon.signal("KILL");
    daemon.end();
    service.restart(&world, json!([]));
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &accounts(1, 12));
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.assert_conserved();
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [12, 12, 0, 0]);
    assert_eq!(world.quarantine("accounts"), Vec::<Value>::new());
    let names = tally(&world.target("accounts"), "name");
    assert!(names.values().all(|count| *count == 1), "{names:?}");
    assert_eq!(names.len(), 15, "rows 13 to 15 were written before the new version came without them");
    assert_eq!(world.log_of("accounts").len(), 3 + 3, "three batches of each version");
    assert!(world.returned().is_empty(), "the refused row belongs to a version that is gone");
}

// a clean slate

#[test]
fn a_new_database_is_a_clean_slate_and_the_old_one_stays_as_it_was() {
    let world = World::new();
    let mut rows = accounts(1, 4);
    rows[2][0] = "x".repeat(161).into();
    let bytes = workbook(&[("Sheet1", &rows)]);
    let settings = json!({"key": "Account Number"});
    world.drop_json("accounts.xlsx.json", settings.clone());
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [4, 3, 1, 0]);
    world.configure(json!({"database": "second"}));
    assert_eq!(world.status()["tables"], json!([]));
    world.drop_json("accounts.xlsx.json", settings);
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [4, 3, 1, 0], "the same bytes are new to this database");
    assert_eq!(world.log_of("accounts").len(), 1);
    assert_eq!(world.target("accounts").len(), 3, "its key names the same records");
    let told = world.status_text("accounts.xlsx");
    assert!(told.contains("1 refused rows of an earlier database were cleared"), "{told}");
    world.configure(json!({}));
    assert_eq!(world.log_of("accounts").len(), 1);
    assert_eq!(world.counts("accounts"), [4, 3, 1, 0]);
}

#[test]
fn dropping_the_databases_is_not_done_without_a_yes_and_names_what_it_would_remove() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.run_once(0);
    let said = world.ddu(&["init", "--drop-database", "--reset-checkpoints"]);
    assert_eq!(said.code, 2, "{}", said.err);
    assert!(said.err.contains("nothing was removed; say --yes"), "{}", said.err);
    for table in ["accounts", "migration_log", "migration_state", "migration_receipts"] {
        assert!(said.err.contains(table), "{table}: {}", said.err);
    }
    world.assert_conserved();
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    assert_eq!(world.log_of("accounts").len(), 1);
}

#[test]
fn dropping_the_databases_waits_for_jobs_in_progress() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    let said = world.ddu(&["init", "--drop-database", "--yes"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("1 jobs are in progress"), "{}", said.err);
    assert_eq!(world.counts("accounts"), [3, 0, 0, 3]);
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
}

#[test]
fn after_init_with_a_yes_everything_begins_anew_and_nothing_else_was_touched() {
    let world = World::new();
    let mut rows = accounts(1, 3);
    rows[2][0] = "x".repeat(161).into();
    let bytes = workbook(&[("Sheet1", &rows)]);
    let settings = json!({"key": "Account Number"});
    world.drop_json("accounts.xlsx.json", settings.clone());
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    let checkpoint = world.path().join("checkpoints/orders/offsets");
    std::fs::create_dir_all(checkpoint.parent().unwrap()).unwrap();
    std::fs::write(&checkpoint, "17").unwrap();
    let foreign = world.path().join("lakehouse/sales/orders/_delta_log/00000000000000000000.json");
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "{}").unwrap();
    let (archived, returned) = (world.archived(), world.returned());
    let said = world.ddu(&["init", "--drop-database", "--reset-checkpoints", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("orders"), "the checkpoint is named: {}", said.err);
    assert!(!checkpoint.exists() && world.path().join("checkpoints").is_dir());
    assert!(foreign.exists(), "a database that is not ours");
    assert_eq!((world.archived(), world.returned()), (archived, returned));
    assert_eq!(world.target("accounts").len(), 2, "the target is not the lakehouse");
    assert_eq!(world.status()["tables"], json!([]));
    assert!(world.log_of("accounts").is_empty());
    world.drop_json("accounts.xlsx.json", settings);
    world.drop_bytes("accounts.xlsx", &bytes);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 2, 1, 0], "the same bytes are no duplicate any more");
    assert_eq!(world.target("accounts").len(), 2);
}

#[test]
fn a_job_that_is_not_wanted_keeps_its_place_before_later_ones_of_its_tables() {
    // Ingests U, then T and U from one workbook, and migrates T only: the second job must not overtake the first in U.
    let world = World::new();
    world.drop_json("first.xlsx.json", json!({"table_name": "u", "target_entity": "contacts"}));
    world.drop_rows("first.xlsx", &[row!["Last Name"], row!["Berg"]]);
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.drop_json(
        "both.xlsx.json",
        json!({"sheets": {"T": {"table_name": "t", "target_entity": "accounts"},
                          "U": {"table_name": "u", "target_entity": "contacts"}}}),
    );
    let (t, u) = (accounts(1, 2), [row!["Last Name"], row!["Tal"]]);
    world.drop_bytes("both.xlsx", &workbook(&[("T", &t), ("U", &u)]));
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    world.ddu(&["migrate", "--table", "t"]);
    let said = world.ddu(&["migrate"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!((world.counts("t"), world.counts("u")), ([2, 2, 0, 0], [2, 2, 0, 0]));
    assert_eq!(world.target("contacts").len(), 2);
    world.assert_conserved();
}

#[test]
fn settings_in_a_file_called_job_json_are_taken_like_any_others() {
    let world = World::new();
    world.drop_json("job.json", json!({"people.xlsx": {"target_entity": "contacts"}}));
    world.drop_rows("people.xlsx", &[row!["Last Name"], row!["Berg"]]);
    world.run_once(0);
    assert_eq!(world.counts("people"), [1, 1, 0, 0]);
    assert!(
        world.archived().iter().any(|path| path.ends_with("/sidecar-job.json")),
        "{:?}",
        world.archived()
    );
}

#[test]
fn one_more_sheet_in_the_settings_does_not_load_the_others_a_second_time() {
    let world = World::new();
    let (a, b) = (accounts(1, 2), [row!["Last Name"], row!["Berg"]]);
    let book = workbook(&[("A", &a), ("B", &b)]);
    let sheet = |table: &str, entity: &str| json!({"table_name": table, "target_entity": entity});
    world.drop_json("book.xlsx.json", json!({"sheets": {"A": sheet("a", "accounts")}}));
    world.drop_bytes("book.xlsx", &book);
    world.run_once(0);
    world.drop_json(
        "book.xlsx.json",
        json!({"sheets": {"A": sheet("a", "accounts"), "B": sheet("b", "contacts")}}),
    );
    world.drop_bytes("book.xlsx", &book);
    world.run_once(3);
    assert_eq!(world.counts("a"), [2, 2, 0, 0]);
    assert!(world.status_text("book.xlsx").contains("loaded before"), "{}", world.status_text("book.xlsx"));
}
