//! Many small workbooks of one table: staged together, each with a journal, an archive and an end of its own.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::service::Service;
use crate::world::{World, accounts, block_on, tally, workbook};

/// Rows of every workbook here.
const ROWS: u32 = 5;

/// The name of a workbook, by its number from 0.
fn name(number: u32) -> String {
    format!("part{number:03}.xlsx")
}

/// Drops so many workbooks with the settings of all of them in one sidecar; `change` may put another content in the
/// place of one.
fn drop_parts(world: &World, count: u32, change: impl Fn(u32) -> Option<Vec<u8>>) {
    for number in 0..count {
        let usual = || workbook(&[("Sheet1", &accounts(1 + number * ROWS, ROWS))]);
        world.drop_bytes(&name(number), &change(number).unwrap_or_else(usual));
    }
    let settings = json!({"target_entity": "account", "table_name": "accounts"});
    let all: BTreeMap<String, &Value> = (0..count).map(|number| (name(number), &settings)).collect();
    world.drop_json("settings.json", json!(all));
}

/// A world in which so many workbooks are claimed and none is read: the target lets nobody in until it is restarted.
fn claimed(count: u32, change: impl Fn(u32) -> Option<Vec<u8>>) -> (World, Service) {
    let world = World::new();
    let refused =
        json!([{"on": {"kind": "token", "every": 1}, "answer": {"status": 401, "code": "invalid_client"}}]);
    let mut service = Service::start(&world, refused);
    world.configure(json!({"target": service.target()}));
    drop_parts(&world, count, change);
    let said = world.ddu(&["ingest"]);
    assert!(said.err.contains("are waiting for something"), "{}", said.err);
    assert_eq!(world.status()["jobs"].as_array().unwrap().len(), count as usize);
    service.restart(&world, json!([]));
    (world, service)
}

/// What each commit to the staged table says about the jobs that it holds.
fn commits(world: &World) -> Vec<Value> {
    let actions = world.delta_actions("migration", "accounts");
    actions.iter().filter_map(|action| action["commitInfo"].get("ddu")).cloned().collect()
}

/// The journals of all jobs, in progress and archived: the workbook's name → the events.
fn journals(world: &World) -> BTreeMap<String, Vec<Value>> {
    let archive = world.dropbox().join("archive");
    let archived = world.archived().into_iter().filter(|path| path.ends_with("job.json"));
    let mut jobs: Vec<_> = archived.map(|path| archive.join(path)).collect();
    for entry in fs::read_dir(world.dropbox().join(".work")).unwrap() {
        jobs.push(entry.unwrap().path().join("job.json"));
    }
    let mut all = BTreeMap::new();
    for path in jobs.iter().filter(|path| path.exists()) {
        let record: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let lines = fs::read_to_string(path.with_file_name("journal.jsonl")).unwrap();
        let events = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let twice = all.insert(record["workbook"].as_str().unwrap().to_owned(), events);
        assert!(twice.is_none(), "two jobs of one workbook");
    }
    all
}

/// The one event of a kind in a journal.
fn the<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<&Value> = events.iter().filter(|event| event["event"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind} in {events:?}");
    found[0]
}

/// The staged rows in their order: the account's number of each.
fn staged(world: &World) -> Vec<String> {
    let table = String::from("accounts").try_into().unwrap();
    let lake = world.lake();
    block_on(async {
        let version = lake.staged_version(&table).await.unwrap().unwrap();
        let mut reader = lake.rows(&table, version, None).await.unwrap();
        let at = reader.columns().iter().position(|column| column.header == "Account Number").unwrap();
        let mut numbers = Vec::new();
        while let Some(rows) = reader.next().await.unwrap() {
            numbers.extend(rows.iter().map(|row| row.values[at].to_text()));
        }
        numbers
    })
}

fn numbers(rows: std::ops::Range<u32>) -> Vec<String> {
    rows.map(|number| format!("{number:06}")).collect()
}

/// Whether everything has ended well: each row at the target once, each workbook in the archive with its own journal.
fn assert_all_done(world: &World, count: u32) {
    let rows = u64::from(count * ROWS);
    assert_eq!(world.counts("accounts"), [rows, rows, 0, 0]);
    let wanted = numbers(1..1 + count * ROWS);
    assert_eq!(staged(world), wanted, "in the order of the claims");
    let at_target = tally(&world.target("accounts"), "accountnumber");
    assert_eq!(at_target, wanted.into_iter().map(|number| (number, 1)).collect());
    let journals = journals(world);
    assert_eq!(journals.len(), count as usize);
    for (workbook, events) in &journals {
        assert_eq!(the(events, "staged")["rows"], ROWS, "{workbook}");
        the(events, "recorded");
        the(events, "given_back");
    }
    let archived = world.archived();
    for number in 0..count {
        assert_eq!(archived.iter().filter(|path| path.ends_with(&name(number))).count(), 1);
    }
    assert_eq!(archived.iter().filter(|path| path.ends_with("settings.json")).count(), 1);
    assert_eq!(world.status()["jobs"], json!([]));
}

#[test]
fn jobs_that_are_ready_are_staged_in_one_commit_and_each_keeps_its_own_journal_and_place() {
    let (world, _service) = claimed(12, |_| None);
    let said = world.ddu(&["ingest"]);
    assert_eq!(said.code, 0, "{}", said.err);
    let commits = commits(&world);
    assert_eq!(commits.len(), 1, "{commits:?}");
    let jobs = commits[0]["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 12);
    assert!(jobs.is_sorted_by_key(|job| job["version"].as_u64().unwrap()));
    assert!(jobs.iter().all(|job| job["rows"] == ROWS), "{jobs:?}");
    for (workbook, events) in journals(&world) {
        let staged = the(&events, "staged");
        assert_eq!((&staged["version"], &staged["rows"]), (&json!(1), &json!(ROWS)), "{workbook}");
    }
    assert_eq!(world.counts("accounts"), [60, 0, 0, 60]);
    world.assert_conserved();
    let said = world.ddu(&["migrate"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_all_done(&world, 12);
}

#[test]
fn a_broken_workbook_among_them_goes_back_alone() {
    // One that is no workbook, one whose column nobody knows, and one that was dropped under two names.
    let change = |number| match number {
        3 => Some(b"PK\x03\x04 and then nothing of a zip".to_vec()),
        5 => Some(workbook(&[("Sheet1", &[row!["Account Name", "Nobody Knows"], row!["A", "B"]])])),
        8 => Some(workbook(&[("Sheet1", &accounts(1 + 7 * ROWS, ROWS))])),
        _ => None,
    };
    let (world, _service) = claimed(10, change);
    let said = world.run_once(3);
    let staged_rows = staged(&world);
    let wanted = (0..10).filter(|number| ![3, 5, 8].contains(number));
    let wanted: Vec<String> =
        wanted.flat_map(|number| numbers(1 + number * ROWS..1 + (number + 1) * ROWS)).collect();
    assert_eq!(staged_rows, wanted, "{}", said.err);
    assert_eq!(world.counts("accounts"), [35, 35, 0, 0]);
    assert!(world.status_text(&name(3)).contains("not loaded"), "{}", world.status_text(&name(3)));
    assert!(world.status_text(&name(5)).contains("Nobody Knows"), "{}", world.status_text(&name(5)));
    assert!(world.status_text(&name(8)).contains("duplicate"), "{}", world.status_text(&name(8)));
    assert_eq!(world.returned().len(), 2);
    // The twin is only known for one when the first of the two is in the table; the others share a commit.
    let together: Vec<usize> =
        commits(&world).iter().map(|commit| commit["jobs"].as_array().map_or(1, Vec::len)).collect();
    assert_eq!(together, [6, 1]);
    for (number, kind) in [(3, "returned"), (5, "returned"), (8, "duplicate")] {
        assert_eq!(the(&journals(&world)[&name(number)], "set_aside")["kind"], kind);
    }
}

#[test]
fn the_table_evolves_within_a_commit_as_it_does_from_one_to_the_next() {
    // The second workbook has a column more, the third has texts where the second made a column of numbers.
    let with = |cell: fn(u32) -> crate::world::Cell, number: u32| {
        let mut rows = vec![row!["Account Name", "Account Number", "Category"]];
        let first = 1 + number * ROWS;
        rows.extend(
            (first..first + ROWS)
                .map(|n| vec![format!("Account {n}").into(), format!("{n:06}").into(), cell(n)]),
        );
        workbook(&[("Sheet1", &rows)])
    };
    let change = |number| match number {
        1 => Some(with(|_| 1.into(), 1)),
        2 => Some(with(|_| "Standard".into(), 2)),
        _ => None,
    };
    let (together, _service) = claimed(4, change);
    together.run_once(0);
    assert_eq!(commits(&together).len(), 1);
    assert_all_done(&together, 4);

    let alone = World::new();
    let service = Service::start(&alone, json!([]));
    alone.configure(json!({"target": service.target()}));
    for number in 0..4 {
        let bytes =
            change(number).unwrap_or_else(|| workbook(&[("Sheet1", &accounts(1 + number * ROWS, ROWS))]));
        alone.drop_bytes(&name(number), &bytes);
        let settings = json!({"target_entity": "account", "table_name": "accounts"});
        alone.drop_json(&format!("{}.json", name(number)), settings);
        alone.run_once(0);
    }
    assert_eq!(commits(&alone).len(), 4);
    assert_eq!(together.delta_columns("migration", "accounts"), alone.delta_columns("migration", "accounts"));
    let category = |world: &World| {
        let rows = world.target("accounts");
        let of = |row: &Value| (row["accountnumber"].to_string(), row["accountcategorycode"].to_string());
        rows.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(category(&together), category(&alone));
}

#[test]
fn a_death_between_a_shared_commit_and_the_journals_leaves_no_row_out_and_none_twice() {
    // The journals are cut back to what they were when the commit was made; of some jobs alone, then of all, then with
    // the state forgotten as well.
    let (world, _service) = claimed(9, |_| None);
    assert_eq!(world.ddu(&["ingest"]).code, 0);
    for (kept, forgets_state) in [(4, false), (0, false), (0, true)] {
        let mut folders: Vec<_> = (fs::read_dir(world.dropbox().join(".work")).unwrap())
            .map(|entry| entry.unwrap().path().join("journal.jsonl"))
            .filter(|path| path.exists())
            .collect();
        folders.sort();
        for path in &folders[kept..] {
            let lines = fs::read_to_string(path).unwrap();
            fs::write(path, lines.lines().next().unwrap().to_owned() + "\n").unwrap();
        }
        if forgets_state {
            fs::remove_dir_all(world.path().join("lakehouse/migration/migration_state")).unwrap();
            fs::remove_dir_all(world.dropbox().join(".work/loaded")).unwrap();
        }
        assert_eq!(world.ddu(&["ingest"]).code, 0);
        assert_eq!(commits(&world).len(), 1, "nothing was staged again");
        for (workbook, events) in journals(&world) {
            let staged = the(&events, "staged");
            assert_eq!((&staged["version"], &staged["rows"]), (&json!(1), &json!(ROWS)), "{workbook}");
        }
        assert_eq!(world.counts("accounts"), [45, 0, 0, 45]);
    }
    world.run_once(0);
    assert_all_done(&world, 9);
}

#[test]
fn a_daemon_that_is_killed_again_and_again_among_small_workbooks_brings_every_row_once() {
    // The pause before each kill grows, so that kills fall into claims, into shared commits and behind them.
    let world = World::new();
    let mut service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    drop_parts(&world, 40, |_| None);
    let mut deaths = 0;
    for pause_ms in (100..).step_by(150) {
        let mut daemon = world.start(world.command(&["run", "--once"]));
        std::thread::sleep(Duration::from_millis(pause_ms));
        if let Some(ended) = daemon.child.try_wait().unwrap() {
            assert_eq!(ended.code(), Some(0), "{}", daemon.log());
            break;
        }
        daemon.signal("KILL");
        daemon.end();
        deaths += 1;
        assert!(deaths < 100, "it never ends");
    }
    assert!(deaths > 1, "it was killed");
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_all_done(&world, 40);
}
