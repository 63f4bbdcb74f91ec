//! Proof: what was created is known, what was written is read back and signed off, and what a job made can be taken back.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Duration;

use calamine::{Data, Reader, Xlsx};
use ddu::io::delta::Receipt;
use serde_json::{Value, json};

use crate::editing::Book;
use crate::service::Service;
use crate::world::{World, accounts, tally, workbook};

/// Drops accounts counted from `from` with these settings, and takes them through.
fn load(world: &World, name: &str, rows: (u32, u32), settings: serde_json::Value) {
    world.drop_bytes(name, &workbook(&[("Sheet1", &accounts(rows.0, rows.1))]));
    let mut all = json!({"target_entity": "account", "table_name": "accounts"});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    world.drop_json(&format!("{name}.json"), all);
    world.run_once(0);
}

fn created(receipts: &[Receipt]) -> Vec<Option<bool>> {
    receipts.iter().map(|receipt| receipt.created).collect()
}

#[test]
fn receipts_tell_what_a_job_created_and_which_record_it_is() {
    let world = World::new();
    load(&world, "first.xlsx", (1, 3), json!({}));
    let upsert = json!({"mode": "upsert", "key": ["Account Number"]});
    load(&world, "second.xlsx", (2, 4), upsert);
    let receipts = world.receipts();
    assert_eq!(created(&receipts[..3]), [Some(true); 3]);
    assert_eq!(created(&receipts[3..]), [Some(false), Some(false), Some(true), Some(true)]);
    // Rows that name their records by a key have the records' own ids in the receipts.
    let ids = tally(&world.target("accounts"), "accountid");
    assert_eq!(ids.len(), 5);
    for receipt in &receipts {
        assert!(ids.contains_key(receipt.record_id.as_ref().unwrap()), "{receipt:?}");
    }
    assert_eq!(receipts[1].record_id, receipts[3].record_id);
}

#[test]
fn an_overwrite_changes_its_own_records_and_the_first_job_stays_their_creator() {
    let world = World::new();
    let keyed = json!({"key": ["Account Number"]});
    load(&world, "accounts.xlsx", (1, 4), keyed);
    let anew = json!({"key": ["Account Number"], "overwrite": true});
    load(&world, "accounts.xlsx", (3, 4), anew);
    let receipts = world.receipts();
    assert_eq!(created(&receipts[..4]), [Some(true); 4]);
    assert_eq!(created(&receipts[4..]), [Some(false), Some(false), Some(true), Some(true)]);
}

#[test]
fn what_was_created_is_told_after_a_death_as_far_as_anybody_can_know() {
    // The answer to the only batch is cut after the commit, and the daemon is killed in the pause before it asks again.
    let world = World::new();
    let cut = json!([
        {"on": {"kind": "batch", "request": 1}, "answer": {"cut": "after"}},
        {"on": {"kind": "batch"}, "answer": {"status": 503}},
    ]);
    let mut service = Service::start(&world, cut);
    world.configure(json!({"target": service.target()}));
    world.drop_bytes("accounts.xlsx", &workbook(&[("Sheet1", &accounts(1, 5))]));
    world.drop_json(
        "accounts.xlsx.json",
        json!({"target_entity": "account", "mode": "upsert", "key": ["Account Number"]}),
    );
    let mut daemon = world.daemon();
    world.wait_for("the batch in doubt", || {
        let waiting = world.status()["jobs"][0]["waiting_for"].to_string();
        waiting.contains("Dynamics until").then_some(())
    });
    daemon.signal("KILL");
    daemon.end();
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 5);
    assert_eq!(created(&world.receipts()), [None; 5]);
}

// ---- validate ----------------------------------------------------------------------------------------------------------

/// Changes the sandbox's store behind the back of everybody, as somebody with the right to do so would in Dynamics.
fn meddle(world: &World, sql: &str) {
    let store = rusqlite::Connection::open(world.path().join("sandbox/sandbox.sqlite")).unwrap();
    assert!(store.execute(sql, []).unwrap() > 0, "{sql}");
}

/// The sign-offs in the archive.
fn signoffs(world: &World) -> Vec<PathBuf> {
    let archive = world.dropbox().join("archive");
    let found = world.archived().into_iter().filter(|path| path.contains("/signoff."));
    found.map(|path| archive.join(path)).collect()
}

/// The cells of a sheet of a workbook, as texts.
fn cells(bytes: Vec<u8>, sheet: &str) -> Vec<Vec<String>> {
    let mut book: Xlsx<_> = Xlsx::new(Cursor::new(bytes)).unwrap();
    let range = book.worksheet_range(sheet).unwrap();
    let text = |cell: &Data| cell.to_string();
    range.rows().map(|row| row.iter().map(text).collect()).collect()
}

/// What stands beside a name on the first sheet of a sign-off.
fn fact(rows: &[Vec<String>], name: &str) -> String {
    let row = rows.iter().find(|row| row[0] == name).unwrap_or_else(|| panic!("no {name} in {rows:?}"));
    row[1].clone()
}

pub fn validation(world: &World) -> Value {
    let lake = world.lake();
    let states = crate::world::block_on(lake.states()).unwrap();
    serde_json::to_value(&states[0]).unwrap()
}

#[test]
fn a_table_that_is_done_is_read_back_and_signed_off_by_itself() {
    let world = World::new();
    let mut rows = accounts(1, 6);
    rows[3][0] = "x".repeat(161).into();
    world.drop_bytes("accounts.xlsx", &workbook(&[("Sheet1", &rows)]));
    world.drop_json("accounts.xlsx.json", json!({"target_entity": "account"}));
    world.run_once(3);
    assert_eq!(world.table("accounts")["validated"], true);
    let said = validation(&world)["validation"].as_str().unwrap().to_owned();
    for wanted in [
        "6 rows = 5 written + 1 in quarantine + 0 pending",
        "0 before, 5 after: +5, where +5 were expected",
        "5 of 5 receipts read back, 5 as written",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
    let [signoff] = &signoffs(&world)[..] else { panic!("{:?}", world.archived()) };
    let sheet = cells(std::fs::read(signoff).unwrap(), "Sign-off");
    assert_eq!(sheet[0][0], "accounts: validated");
    for (name, wanted) in [
        ("Workbook", "accounts.xlsx"),
        ("Rows", "6"),
        ("Rows written", "5"),
        ("Rows refused", "1"),
        ("Records created", "5"),
        ("Records updated", "0"),
        ("Receipts read back", "5"),
        ("values", "right"),
    ] {
        assert_eq!(fact(&sheet, name), wanted, "{name}");
    }
    assert_eq!(fact(&sheet, "SHA-256").len(), 64);
    assert!(signoff.to_str().unwrap().contains(&fact(&sheet, "Job")));
    assert_eq!(cells(std::fs::read(signoff).unwrap(), "Differences").len(), 1, "the header alone");
    let said = world.ddu(&["validate"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

#[test]
fn a_record_that_is_not_as_it_was_written_is_found_and_told_from_one_that_somebody_changed() {
    let world = World::new();
    load(&world, "accounts.xlsx", (1, 9), json!({}));
    meddle(
        &world,
        "UPDATE account SET name = 'Mine', modifiedon = '2031-01-01T00:00:00Z' WHERE accountnumber = '000002'",
    );
    let said = world.ddu(&["validate", "accounts", "--json"]);
    assert_eq!(said.code, 0, "a change by somebody else is no fault: {}{}", said.out, said.err);
    let proof: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(proof["departures"][0]["kind"], "changed_since");
    assert_eq!((&proof["departures"][0]["row"], &proof["validated"]), (&json!(3), &json!(true)));

    meddle(&world, "UPDATE account SET revenue = 11 WHERE accountnumber = '000001'");
    meddle(&world, "DELETE FROM account WHERE accountnumber = '000004'");
    let out = world.path().join("signed");
    let said = world.ddu(&["validate", "accounts", "--all", "-o", out.to_str().unwrap()]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(said.out.contains("accounts → accounts: not validated"), "{}", said.out);
    assert_eq!(world.table("accounts")["validated"], false);
    let rows = cells(std::fs::read(out.join("signoff.accounts.xlsx")).unwrap(), "Differences");
    let found: Vec<Vec<&str>> =
        rows[1..].iter().map(|row| [0, 2, 3, 4, 5].map(|at| row[at].as_str()).to_vec()).collect();
    assert!(found.contains(&vec!["2", "not as written", "Annual Revenue", "10.5", "11.0"]), "{found:?}");
    assert!(found.contains(&vec!["3", "changed since", "Account Name", "Account 2", "Mine"]), "{found:?}");
    assert!(found.contains(&vec!["5", "not there", "", "", "no record"]), "{found:?}");
    let said = world.ddu(&["validate", "acounts"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("did you mean `accounts`?"), "{}", said.err);
}

#[test]
fn a_target_that_shows_nothing_leaves_the_checks_open_and_holds_nobody_up() {
    // The second batch is the one that reads back.
    let world = World::new();
    let closed =
        json!([{"on": {"kind": "batch", "request": 2}, "answer": {"status": 403, "code": "0x80040220"}}]);
    let service = Service::start(&world, closed);
    world.configure(json!({"target": service.target()}));
    load(&world, "accounts.xlsx", (1, 3), json!({}));
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    assert_eq!(world.table("accounts")["validated"], false);
    let said = validation(&world)["validation"].to_string();
    assert!(said.contains("(not checked)"), "{said}");
    // Beside a running daemon the checks are made again, and noted.
    let _daemon = world.daemon();
    let said = world.ddu(&["validate"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(world.table("accounts")["validated"], true);
}

#[test]
fn a_daemon_killed_while_it_reads_back_reads_back_again_and_writes_nothing_twice() {
    let world = World::new();
    let slow = json!([{"on": {"kind": "batch", "request": 2}, "answer": {"delay_ms": 60_000}}]);
    let mut service = Service::start(&world, slow);
    world.configure(json!({"target": service.target()}));
    world.drop_bytes("accounts.xlsx", &workbook(&[("Sheet1", &accounts(1, 5))]));
    world.drop_json("accounts.xlsx.json", json!({"target_entity": "account"}));
    let mut daemon = world.daemon();
    world.wait_for("the log of the batch", || (!world.log_of("accounts").is_empty()).then_some(()));
    assert_eq!(validation(&world)["validation"], Value::Null);
    daemon.signal("KILL");
    daemon.end();
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_eq!((world.log_of("accounts").len(), world.receipts().len()), (1, 5));
    assert_eq!(world.target("accounts").len(), 5);
    assert_eq!((world.table("accounts")["validated"].clone(), signoffs(&world).len()), (json!(true), 1));
}

#[test]
fn with_validate_off_nothing_is_counted_read_back_or_signed() {
    let world = World::with(json!({"validate": "off"}));
    load(&world, "accounts.xlsx", (1, 3), json!({}));
    assert_eq!(world.table("accounts")["validated"], false);
    assert!(signoffs(&world).is_empty());
}

// ---- undo --------------------------------------------------------------------------------------------------------------

/// The jobs in the archive, oldest first.
fn jobs(world: &World) -> Vec<String> {
    let records = world.archived().into_iter().filter(|path| path.ends_with("/job.json"));
    // Ids of one second do not sort by time; the numbers of the claims do.
    let numbered = records.map(|path| {
        let text = std::fs::read(world.dropbox().join("archive").join(&path)).unwrap();
        let record: Value = serde_json::from_slice(&text).unwrap();
        (record["seq"].as_u64().unwrap(), record["job"].as_str().unwrap().to_owned())
    });
    let mut jobs: Vec<(u64, String)> = numbered.collect();
    jobs.sort();
    jobs.into_iter().map(|(_, job)| job).collect()
}

#[test]
fn an_undo_shows_what_it_would_do_asks_first_and_leaves_no_trace_in_the_numbers() {
    let world = World::new();
    let mut rows = accounts(1, 250);
    rows[3][0] = "x".repeat(161).into();
    let bytes = workbook(&[("Sheet1", &rows)]);
    let drop_it = || {
        world.drop_bytes("accounts.xlsx", &bytes);
        world.drop_json("accounts.xlsx.json", json!({"target_entity": "account"}));
        world.run_once(3);
    };
    drop_it();
    load(&world, "others.xlsx", (1001, 5), json!({"table_name": "others"}));
    let job = &jobs(&world)[0];
    let said = world.ddu(&["undo", job]);
    assert_eq!(said.code, 2, "{}{}", said.out, said.err);
    assert!(said.err.contains("say --yes to delete 249 records"), "{}", said.err);
    assert_eq!(world.target("accounts").len(), 254);

    let said = world.ddu(&["undo", job, "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(world.target("accounts").len(), 5, "those of the other job");
    assert_eq!(world.counts("accounts"), [0, 0, 0, 0]);
    world.assert_conserved();
    assert_eq!(world.receipts().len(), 5);
    let log = world.log_of("accounts");
    let written: i64 = log.iter().map(|row| row["rows_written"].as_i64().unwrap()).sum();
    assert_eq!(written, 0, "{log:?}");
    assert!(log.last().unwrap()["cause"].as_str().unwrap().contains(&format!("job {job} undone")));
    assert!(world.archived().iter().any(|path| path.ends_with("/undo.json")));
    // Once more there is nothing to do, and the same bytes can be dropped again.
    let said = world.ddu(&["undo", job, "--yes"]);
    assert_eq!((said.code, said.err.contains("nothing to undo")), (0, true), "{}{}", said.out, said.err);
    drop_it();
    assert_eq!(world.counts("accounts"), [250, 249, 1, 0]);
    assert_eq!(world.target("accounts").len(), 254);
}

#[test]
fn what_was_changed_since_stays_and_is_listed_with_the_reason() {
    let world = World::new();
    let bytes = workbook(&[("Sheet1", &accounts(1, 6))]);
    let drop_it = || {
        world.drop_bytes("accounts.xlsx", &bytes);
        world.drop_json("accounts.xlsx.json", json!({"target_entity": "account"}));
        world.run_once(0);
    };
    drop_it();
    meddle(&world, "UPDATE account SET modifiedon = '2031-01-01T00:00:00Z' WHERE accountnumber = '000001'");
    meddle(&world, "UPDATE account SET name = 'Mine' WHERE accountnumber = '000002'");
    meddle(&world, "DELETE FROM account WHERE accountnumber = '000003'");
    let job = &jobs(&world)[0];
    let said = world.ddu(&["undo", job, "--yes", "--json"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let table: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(table["deleted"], 4, "the one that was gone is not there either");
    let reasons: Vec<&str> =
        table["left"].as_array().unwrap().iter().map(|left| left["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons.iter().any(|reason| reason.contains("changed in Dynamics at 2031-01-01")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("was `Account 2` and is `Mine`")), "{reasons:?}");
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
    world.assert_conserved();
    // While records of it are there, the same bytes would write them a second time.
    drop_it();
    assert_eq!(world.target("accounts").len(), 2, "it was set aside as a duplicate");
}

#[test]
fn records_that_a_job_only_updated_are_not_touched_and_a_later_job_is_undone_first() {
    let world = World::new();
    let keyed = json!({"mode": "upsert", "key": ["Account Number"]});
    load(&world, "first.xlsx", (1, 4), keyed.clone());
    load(&world, "second.xlsx", (3, 4), keyed);
    let jobs = jobs(&world);
    let said = world.ddu(&["undo", &jobs[0], "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert!(
        said.out.contains(&format!("job {} wrote it later; undo that job first", jobs[1])),
        "{}",
        said.out
    );
    assert_eq!(world.target("accounts").len(), 4);
    let said = world.ddu(&["undo", &jobs[1], "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(tally(&world.target("accounts"), "accountnumber").len(), 2, "3 and 4 were only updated");
    let said = world.ddu(&["undo", &jobs[0], "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert!(world.target("accounts").is_empty());
    world.assert_conserved();
}

#[test]
fn records_that_an_overwrite_left_behind_are_removed_by_undoing_the_job_that_made_them() {
    let world = World::new();
    load(&world, "accounts.xlsx", (1, 4), json!({"key": ["Account Number"]}));
    load(&world, "accounts.xlsx", (3, 4), json!({"key": ["Account Number"], "overwrite": true}));
    assert_eq!(world.target("accounts").len(), 6);
    let said = world.ddu(&["undo", &jobs(&world)[0], "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    let left = tally(&world.target("accounts"), "accountnumber");
    assert_eq!(left.len(), 4);
    assert!(!left.contains_key("000001") && !left.contains_key("000002"));
    assert_eq!(world.counts("accounts"), [4, 4, 0, 0]);
    world.assert_conserved();
}

#[test]
fn an_undo_refuses_beside_a_daemon_and_names_it_and_a_lost_answer_deletes_nothing_else() {
    let world = World::new();
    let mut service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    load(&world, "accounts.xlsx", (1, 30), json!({}));
    let job = jobs(&world).remove(0);
    let mut daemon = world.daemon();
    world.wait_for("the daemon", || world.dropbox().join(".work/board.json").exists().then_some(()));
    let said = world.wait_for("the lock", || {
        let said = world.ddu(&["undo", &job, "--yes"]);
        said.err.contains("in use").then_some(said)
    });
    assert_eq!(said.code, 1);
    assert!(said.err.contains(&format!("process {}", daemon.child.id())), "{}", said.err);
    daemon.signal("TERM");
    daemon.end();
    // The first batches read; then one deletes, and its answer is lost.
    service.restart(&world, json!([{"on": {"kind": "batch", "request": 3}, "answer": {"cut": "after"}}]));
    let said = world.ddu(&["undo", &job, "--yes"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    assert_eq!(world.counts("accounts"), [0, 0, 0, 0]);
    assert!(world.target("accounts").is_empty());
    world.assert_conserved();
}

#[test]
fn an_undo_that_is_killed_again_and_again_goes_on_where_it_stood() {
    // Every other time the daemon finds it at its start and goes on with it.
    let world = World::new();
    let mut service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    load(&world, "accounts.xlsx", (1, 500), json!({}));
    load(&world, "others.xlsx", (1001, 5), json!({}));
    let job = jobs(&world).remove(0);
    service.restart(&world, json!([{"on": {"kind": "batch"}, "answer": {"delay_ms": 40}}]));
    let mut deaths = 0;
    for pause_ms in (300..).step_by(110) {
        let begun = world.dropbox().join(format!(".work/undo-{job}")).exists();
        let arguments: &[&str] =
            if begun && deaths % 2 == 1 { &["run", "--once"] } else { &["undo", &job, "--yes"] };
        let mut undo = world.start(world.command(arguments));
        std::thread::sleep(Duration::from_millis(pause_ms));
        if let Some(ended) = undo.child.try_wait().unwrap() {
            assert_eq!(ended.code(), Some(0), "{}", undo.log());
            break;
        }
        undo.signal("KILL");
        undo.end();
        deaths += 1;
        assert!(deaths < 60, "it never ends");
    }
    assert!(deaths > 1, "it was killed");
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 5);
    assert_eq!(world.counts("accounts"), [5, 5, 0, 0]);
    assert_eq!(world.receipts().len(), 5);
    let log = world.log_of("accounts");
    let undone: Vec<&Value> = log.iter().filter(|row| row["rows_written"] == -500).collect();
    assert_eq!(undone.len(), 1, "{log:?}");
    world.assert_conserved();
    assert_eq!(world.ddu(&["validate", "--all"]).code, 0);
}

#[test]
fn lookups_choices_and_several_sheets_are_read_back_and_undone_together() {
    let world = World::new();
    let firms = vec![
        row!["Account Name", "Account Number", "Category", "Credit Hold"],
        row!["Quell", "A1", "Standard", "Yes"],
        row!["Mole", "A2", "Preferred Customer", "No"],
    ];
    let people = vec![row!["Last Name", "Company Name"], row!["Behrens", "A1"], row!["Ito", "A2"]];
    world.drop_bytes("both.xlsx", &workbook(&[("Firms", &firms), ("People", &people)]));
    let lookup = json!({"Company Name": {"entity": "accounts", "column": "accountnumber"}});
    let people = json!({"target_entity": "contacts", "lookups": lookup});
    world.drop_json(
        "both.xlsx.json",
        json!({"sheets": {"Firms": {"target_entity": "accounts"}, "People": people}}),
    );
    world.run_once(0);
    assert_eq!(signoffs(&world).len(), 2);
    // The other firm, the other category: both are found, in the words of the sheet.
    let other = "(SELECT accountid FROM account WHERE accountnumber = 'A2')";
    meddle(&world, &format!("UPDATE contact SET parentcustomerid = {other} WHERE lastname = 'Behrens'"));
    meddle(&world, "UPDATE account SET accountcategorycode = 1, creditonhold = 0 WHERE accountnumber = 'A1'");
    let proofs = world.json_lines(&["validate", "--json"]);
    let columns: Vec<&str> = proofs
        .iter()
        .flat_map(|proof| proof["departures"].as_array().unwrap())
        .map(|departure| departure["column"].as_str().unwrap())
        .collect();
    assert_eq!(columns, ["Category", "Credit Hold", "Company Name"]);
    let said = world.ddu(&["undo", &jobs(&world)[0], "--yes"]);
    assert_eq!(said.code, 3, "{}{}", said.out, said.err);
    assert_eq!((world.target("accounts").len(), world.target("contacts").len()), (1, 1), "{}", said.out);
    world.assert_conserved();
}

#[test]
fn rows_that_were_mended_belong_to_the_job_that_wrote_them() {
    let world = World::new();
    let mut rows = accounts(1, 4);
    rows[2][0] = "x".repeat(161).into();
    world.drop_bytes("accounts.xlsx", &workbook(&[("Sheet1", &rows)]));
    world.drop_json("accounts.xlsx.json", json!({"target_entity": "account"}));
    world.run_once(3);
    let mut book = Book::open(&world.returned()[0]);
    book.first().set(1, "Account Name", "Mended");
    world.drop_bytes("mended.xlsx", &book.save());
    world.run_once(0);
    let jobs = jobs(&world);
    assert_eq!(world.ddu(&["undo", &jobs[0], "--yes"]).code, 0);
    assert_eq!(tally(&world.target("accounts"), "name"), [("Mended".to_owned(), 1)].into());
    assert_eq!(world.counts("accounts"), [1, 1, 0, 0]);
    assert_eq!(world.ddu(&["undo", &jobs[1], "--yes"]).code, 0);
    assert_eq!(world.counts("accounts"), [0, 0, 0, 0]);
    world.assert_conserved();
}

#[test]
fn an_undo_that_was_cut_short_is_shown_until_the_daemon_has_brought_it_to_its_end() {
    let world = World::new();
    let mut service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    load(&world, "accounts.xlsx", (1, 5), json!({}));
    let job = jobs(&world).remove(0);
    // The preview reads, the undo reads again, the third batch deletes.
    service.restart(&world, json!([{"on": {"kind": "batch", "request": 3}, "answer": {"delay_ms": 60_000}}]));
    let mut undo = world.start(world.command(&["undo", &job, "--yes"]));
    let journal = world.dropbox().join(format!(".work/undo-{job}/journal.jsonl"));
    world.wait_for("the deletions to leave", || {
        std::fs::read_to_string(&journal).is_ok_and(|text| text.contains("batch_sent")).then_some(())
    });
    undo.signal("KILL");
    undo.end();
    service.restart(&world, json!([]));
    let shown = &world.status()["jobs"][0];
    assert_eq!((&shown["job"], &shown["state"]), (&json!(job), &json!("undoing")));
    assert!(shown["waiting_for"].as_str().unwrap().contains("ddu undo"), "{shown}");
    world.run_once(0);
    assert_eq!((world.counts("accounts"), world.target("accounts").len()), ([0, 0, 0, 0], 0));
    assert_eq!(world.status()["jobs"], json!([]));
    let log = world.log_of("accounts");
    let undo = log.last().unwrap()["job"].as_str().unwrap();
    let said = world.ddu(&["show", undo]);
    assert!(said.out.contains(&format!("of job {job}")), "{}{}", said.out, said.err);
}
