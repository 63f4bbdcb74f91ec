//! The daemon as it runs: what it takes and what it leaves, signals and deaths.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::service::Service;
use crate::world::{Cell, Daemon, World, accounts, tally, workbook};

/// A daemon that has looked at its dropbox.
pub fn running(world: &World) -> Daemon {
    let daemon = world.daemon();
    watching(world, &daemon);
    daemon
}

fn watching(world: &World, daemon: &Daemon) {
    world.wait_for("the daemon", || daemon.log().contains("watching the dropbox").then_some(()));
}

/// Waits until a table's numbers are these: records, written, quarantined, pending.
pub fn until(world: &World, table: &str, counts: [u64; 4]) {
    world.wait_for(&format!("{table} to be {counts:?}"), || (world.counts(table) == counts).then_some(()));
    until_idle(world);
    world.assert_conserved();
}

pub fn until_idle(world: &World) {
    world.wait_for("the last job to be archived", || {
        world.status()["jobs"].as_array().unwrap().is_empty().then_some(())
    });
}

pub fn until_status(world: &World, file: &str, text: &str) {
    world.wait_for(&format!("status of {file}: {text}"), || {
        world.status_text(file).contains(text).then_some(())
    });
}

/// The account numbers that the target has, each with how often.
fn numbers(world: &World) -> BTreeMap<String, usize> {
    tally(&world.target("accounts"), "accountnumber").into_iter().collect()
}

/// Whether the target has the accounts `1..=last`, each once.
fn assert_each_once(world: &World, last: u32) {
    let found = numbers(world);
    let wanted: BTreeMap<String, usize> = (1..=last).map(|n| (format!("{n:06}"), 1)).collect();
    assert_eq!(found.len(), wanted.len());
    assert!(found == wanted, "not every account once");
}

pub fn accounts_file(from: u32, count: u32) -> Vec<u8> {
    workbook(&[("Sheet1", &accounts(from, count))])
}

// What lies in the dropbox and may not be taken yet.

#[test]
fn a_copy_that_pauses_is_taken_when_it_is_whole_and_not_before() {
    // Copies in three pieces; each pause is longer than the quiet period, so only the missing end holds it.
    let world = World::with(json!({"settle_ms": 500}));
    let _daemon = running(&world);
    let bytes = accounts_file(1, 40);
    let mut file = File::create(world.dropbox().join("accounts.xlsx")).unwrap();
    for piece in bytes.chunks(bytes.len() / 3 + 1).take(2) {
        file.write_all(piece).unwrap();
        file.flush().unwrap();
        until_status(&world, "accounts.xlsx", "changed a moment ago");
        until_status(&world, "accounts.xlsx", "has not arrived whole");
    }
    file.write_all(&bytes[2 * (bytes.len() / 3 + 1)..]).unwrap();
    drop(file);
    until(&world, "accounts", [40, 40, 0, 0]);
}

#[test]
fn half_a_file_goes_back_untouched_after_its_time() {
    let world = World::new();
    let _daemon = running(&world);
    let bytes = accounts_file(1, 40);
    world.drop_bytes("accounts.xlsx", &bytes[..bytes.len() / 2]);
    until_status(&world, "accounts.xlsx", "has not arrived whole");
    let back = world.wait_for("half a file to come back", || world.returned().pop());
    assert_eq!(fs::read(&back).unwrap(), &bytes[..bytes.len() / 2]);
    until_status(&world, "accounts.xlsx", "not loaded:");
    assert_eq!(world.counts("accounts"), [u64::MAX; 4]);
}

#[test]
fn a_workbook_that_is_open_in_excel_or_libreoffice_waits_and_says_for_whom() {
    let world = World::new();
    let _daemon = running(&world);
    let mut owner = vec![4u8];
    owner.extend_from_slice(b"Anna");
    owner.resize(165, b' ');
    let locks = [
        ("accounts.xlsx", "~$accounts.xlsx", owner, "Anna"),
        (
            "contacts.xlsx",
            ".~lock.contacts.xlsx#",
            b",berta,host,22.11.2026 14:03,file:///x;".to_vec(),
            "berta",
        ),
    ];
    for (name, lock, bytes, _) in &locks {
        fs::write(world.dropbox().join(lock), bytes).unwrap();
        let rows = [row!["Account Name", "Last Name"], row!["A", "B"]]
            .map(|cells: Vec<Cell>| vec![cells[usize::from(*name == "contacts.xlsx")].clone()]);
        world.drop_rows(name, &rows);
    }
    for (name, _, _, user) in &locks {
        until_status(&world, name, &format!("held: waiting for {user} to close it"));
        assert!(world.dropbox().join(name).exists());
    }
    assert_eq!(world.status()["dropbox"].as_array().unwrap().len(), 2);
    for (name, lock, ..) in &locks {
        fs::remove_file(world.dropbox().join(lock)).unwrap();
        until(&world, name.trim_end_matches(".xlsx"), [1, 1, 0, 0]);
    }
}

#[test]
fn a_file_that_is_overwritten_while_it_waits_is_loaded_once_with_what_it_says_last() {
    // Both ways of overwriting: in place, and by a rename over it, as Excel saves.
    let world = World::new();
    fs::write(world.dropbox().join("~$accounts.xlsx"), [0; 165]).unwrap();
    let _daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 5));
    until_status(&world, "accounts.xlsx", "held");
    fs::write(world.dropbox().join("accounts.xlsx"), accounts_file(100, 6)).unwrap();
    world.drop_bytes("accounts.xlsx", &accounts_file(200, 7));
    fs::remove_file(world.dropbox().join("~$accounts.xlsx")).unwrap();
    until(&world, "accounts", [7, 7, 0, 0]);
    assert!(numbers(&world).contains_key("000206"));
}

#[test]
fn what_is_no_workbook_is_named_and_left_alone() {
    let world = World::new();
    let _daemon = running(&world);
    world.drop_bytes("notes.docx", b"x");
    world.drop_bytes("accounts.xlsx.part", b"x");
    world.drop_bytes("Thumbs.db", b"x");
    fs::create_dir(world.dropbox().join("folder.xlsx")).unwrap();
    let ignored = world.wait_for("two ignored names", || {
        let status = world.status();
        let listed = status["dropbox"].as_array().unwrap().clone();
        (listed.len() == 2).then_some(listed)
    });
    assert_eq!([&ignored[0]["file"], &ignored[1]["file"]], ["folder.xlsx", "notes.docx"]);
    assert!(ignored.iter().all(|file| file["state"] == "ignored"), "{ignored:?}");
    assert!(!world.dropbox().join("status/notes.docx.txt").exists());
}

// What is taken.

#[test]
fn files_are_taken_however_they_come() {
    // Written in place, renamed in, and linked in: the kernel tells of each in another way. `poll_ms` is far away.
    let world = World::with(json!({"poll_ms": 3_600_000}));
    let _daemon = running(&world);
    fs::write(world.dropbox().join("accounts.xlsx"), accounts_file(1, 3)).unwrap();
    until(&world, "accounts", [3, 3, 0, 0]);
    world.drop_bytes("accounts.xlsx", &accounts_file(4, 3));
    until(&world, "accounts", [6, 6, 0, 0]);
    let (beside, bytes) = (world.path().join("original.xlsx"), accounts_file(7, 3));
    fs::write(&beside, &bytes).unwrap();
    fs::hard_link(&beside, world.dropbox().join("accounts.xlsx")).unwrap();
    until(&world, "accounts", [9, 9, 0, 0]);
    assert_each_once(&world, 9);
    assert!(fs::read(&beside).unwrap() == bytes, "the sender's own link");
}

#[test]
fn one_bad_file_among_several_tables_stops_nobody() {
    let world = World::new();
    let _daemon = running(&world);
    world.drop_bytes("broken.xlsx", b"this is no workbook");
    world.drop_json("faulty.xlsx.json", json!({"batch_size": "many"}));
    world.drop_bytes("faulty.xlsx", &accounts_file(1, 2));
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Berg"], row!["Tal"]]);
    world.drop_rows("products.xlsx", &[row!["Name", "Product ID"], row!["Bolt", "B-1"]]);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 4));
    for (table, rows) in [("accounts", 4), ("contacts", 2), ("products", 1)] {
        until(&world, table, [rows, rows, 0, 0]);
    }
    until_status(&world, "broken.xlsx", "not loaded:");
    until_status(&world, "faulty.xlsx", "batch_size");
    assert!(world.dropbox().join("faulty.xlsx").exists());
}

#[test]
fn the_status_beside_the_dropbox_follows_a_file_to_its_end() {
    let world = World::with(json!({"settle_ms": 400}));
    let _daemon = running(&world);
    let mut rows = accounts(1, 30);
    rows[7][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    until_status(&world, "accounts.xlsx", "settling: waiting for it to stand still");
    until_status(
        &world,
        "accounts.xlsx",
        "done: 29 of 30 rows written to accounts (table accounts), 1 refused",
    );
    until_idle(&world);
    let text = world.status_text("accounts.xlsx");
    let returned = world.returned()[0].file_name().unwrap().to_string_lossy().into_owned();
    assert!(text.contains(&format!("open returned/{returned}, correct the red cells")), "{text}");
    // Nothing clears it away afterwards: a workbook is gone from the dropbox, its text stays.
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Berg"]]);
    until(&world, "contacts", [1, 1, 0, 0]);
    assert_eq!(world.status_text("accounts.xlsx"), text);
}

#[test]
fn sixty_workbooks_at_once_all_arrive_and_those_of_one_entity_in_the_order_of_their_arrival() {
    let world = World::new();
    let _daemon = running(&world);
    // Names run against the order of arrival: a listing alone would take them the other way round.
    for n in 0..30u32 {
        let name = format!("accounts-{:02}.xlsx", 99 - n);
        world.drop_json(
            &format!("{name}.json"),
            json!({"target_entity": "accounts", "table_name": "accounts"}),
        );
        world.drop_bytes(&name, &accounts_file(1 + n * 3, 3));
        let name = format!("people_{n}.xlsx");
        world
            .drop_json(&format!("{name}.json"), json!({"target_entity": "contacts", "table_name": "people"}));
        world.drop_rows(&name, &[row!["Last Name"], row![format!("Berg {n}")]]);
        if n % 5 == 4 {
            // The daemon sees what arrives together as one look does; it must have seen these before those that follow.
            let seen = format!("{name}.txt");
            world.wait_for("a look", || world.dropbox().join("status").join(&seen).exists().then_some(()));
        }
    }
    for rows in [15, 30, 45, 60, 75, 90] {
        world.wait_for(&format!("{rows} accounts"), || (world.counts("accounts")[1] >= rows).then_some(()));
    }
    until(&world, "people", [30, 30, 0, 0]);
    until(&world, "accounts", [90, 90, 0, 0]);
    assert_each_once(&world, 90);
    assert_eq!(world.target("contacts").len(), 30);
    let archived = world.archived_workbooks();
    assert_eq!(archived.len(), 60, "{archived:?}");
    // Within one table the order of arrival is the order of the rows; groups of five were seen together, by name.
    let log = world.json_lines(&["log", "--table", "accounts", "--json"]);
    assert_eq!(log.len(), 30);
    let times: Vec<&str> = log.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let group_of = |path: &String| {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
        (99 - name["accounts-".len()..].trim_end_matches(".xlsx").parse::<u32>().unwrap()) / 5
    };
    let folder = |job: &Value| {
        let job = format!("/{}/accounts-", job["job"].as_str().unwrap());
        archived.iter().find(|path| path.contains(&job) && path.ends_with(".xlsx")).unwrap()
    };
    let groups: Vec<u32> = log.iter().map(|line| group_of(folder(line))).collect();
    assert!(groups.is_sorted(), "{groups:?}");
}

#[test]
fn a_dropbox_that_is_removed_and_made_again_is_worked_on_again() {
    let world = World::new();
    let daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    until(&world, "accounts", [3, 3, 0, 0]);
    fs::rename(world.dropbox(), world.path().join("away")).unwrap();
    world.wait_for("the daemon to miss it", || daemon.log().contains("the dropbox is gone").then_some(()));
    fs::create_dir(world.dropbox()).unwrap();
    world.wait_for("it to be ours", || world.dropbox().join(".work/lock").exists().then_some(()));
    world.drop_bytes("accounts.xlsx", &accounts_file(4, 3));
    until(&world, "accounts", [6, 6, 0, 0]);
    assert!(daemon.log().matches("cannot be read").count() <= 1, "{}", daemon.log());
    // It is locked as before.
    let second = world.ddu(&["run"]);
    assert!(second.code == 1 && second.err.contains("in use by another ddu"), "{}", second.err);
    // And when the old one comes back, what was left there is found.
    fs::write(world.path().join("away/accounts.xlsx"), accounts_file(7, 3)).unwrap();
    fs::rename(world.dropbox(), world.path().join("other")).unwrap();
    fs::rename(world.path().join("away"), world.dropbox()).unwrap();
    until(&world, "accounts", [9, 9, 0, 0]);
    assert_each_once(&world, 9);
}

#[test]
fn a_job_whose_folder_does_not_read_stays_for_the_operator_and_stops_nobody() {
    let world = World::new();
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    world.ddu(&["ingest"]);
    let work = world.dropbox().join(".work");
    let job = world.status()["jobs"][0]["job"].as_str().unwrap().to_owned();
    let record = work.join(&job).join("job.json");
    let text = fs::read(&record).unwrap();
    fs::write(&record, b"{").unwrap();
    let daemon = running(&world);
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Berg"]]);
    world.wait_for("the other table", || (world.counts("contacts") == [1, 1, 0, 0]).then_some(()));
    assert!(daemon.log().contains(&job) && daemon.log().contains("job.json"), "{}", daemon.log());
    assert!(work.join(&job).join("accounts.xlsx").exists());
    daemon.signal("TERM");
    let mut daemon = daemon;
    assert_eq!(daemon.end(), 0);
    assert_eq!(world.ddu(&["run", "--once"]).code, 1, "a job is left that cannot go on");
    fs::write(&record, text).unwrap();
    world.run_once(0);
    assert_each_once(&world, 3);
}

// Signals.

/// A target whose every batch takes so long, in milliseconds.
fn slow(world: &World, delay_ms: u64) -> Service {
    Service::start(world, json!([{"on": {"kind": "batch", "every": 1}, "answer": {"delay_ms": delay_ms}}]))
}

/// A world with a slow target and a workbook of 400 rows in 20 batches on its way there, some of them written.
fn under_way(delay_ms: u64, settings: Value) -> (World, Service, Daemon) {
    let world = World::new();
    let service = slow(&world, delay_ms);
    let mut all = json!({"target": service.target(), "batch_size": 20, "workers": 2});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    world.configure(all);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 400));
    let daemon = running(&world);
    world.wait_for("some rows to be written", || {
        let [_, written, _, pending] = world.counts("accounts");
        (written > 0 && written < 400 && pending > 0).then_some(())
    });
    (world, service, daemon)
}

#[test]
fn sigterm_ends_what_is_under_way_and_the_next_start_finishes_the_rest() {
    let (world, _service, mut daemon) = under_way(200, json!({}));
    daemon.signal("TERM");
    assert_eq!(daemon.end(), 0, "{}", daemon.log());
    let [records, written, _, pending] = world.counts("accounts");
    assert!(written < 400 && records == written + pending, "{:?}", world.counts("accounts"));
    let job = world.status()["jobs"][0]["job"].as_str().unwrap().to_owned();
    let shown: Value = serde_json::from_str(&world.ddu(&["show", &job, "--json"]).out).unwrap();
    assert_eq!(shown["parts"][0]["in_doubt"], json!([]), "what was sent was heard");
    assert!(numbers(&world).len() as u64 == written);
    world.run_once(0);
    assert_each_once(&world, 400);
    // No batch went twice.
    let log = world.json_lines(&["log", "--json"]);
    assert!(log.len() == 20 && log.iter().all(|line| line["attempt"] == 1), "{log:?}");
}

#[test]
fn a_second_sigterm_stops_at_once() {
    // The answers take a minute; the first signal would wait for them.
    let world = World::new();
    let service = slow(&world, 60_000);
    world.configure(json!({"target": service.target(), "drain_ms": 50_000}));
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 10));
    let mut daemon = running(&world);
    world
        .wait_for("the batch to leave", || (world.status()["jobs"][0]["state"] == "migrating").then_some(()));
    daemon.signal("TERM");
    world.wait_for("the drain", || daemon.log().contains("draining").then_some(()));
    let begun = Instant::now();
    daemon.signal("INT");
    assert_eq!(daemon.end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    drop(service);
    let service = Service::start(&world, json!([]));
    world.configure(json!({"target": service.target()}));
    // Another address is another environment: row identities were made for the first. The rows are not lost, they wait.
    assert_eq!(world.counts("accounts"), [10, 0, 0, 10]);
}

#[test]
fn a_stopped_run_once_is_not_taken_for_a_finished_one() {
    let world = World::new();
    let service = slow(&world, 300);
    world.configure(json!({"target": service.target(), "batch_size": 20, "workers": 1}));
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 200));
    let mut run = world.start(world.command(&["run", "--once"]));
    world.wait_for("some rows to be written", || {
        (1..200).contains(&world.counts("accounts")[1]).then_some(())
    });
    run.signal("INT");
    assert_eq!(run.end(), 1, "{}", run.log());
    assert!(run.log().contains("1 workbook is not done yet; the next run goes on"), "{}", run.log());
    world.run_once(0);
    assert_each_once(&world, 200);
}

#[test]
fn a_drain_does_not_sit_out_the_pauses_of_the_target() {
    let world = World::new();
    let service = Service::start(
        &world,
        json!([{"on": {"kind": "batch", "every": 1}, "answer": {"status": 429, "retry_after": "300"}}]),
    );
    world.configure(json!({"target": service.target()}));
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 10));
    let mut daemon = running(&world);
    let waiting = world.wait_for("the pause to be shown", || {
        let status = world.status();
        status["jobs"][0]["waiting_for"].as_str().filter(|text| text.contains("until")).map(str::to_owned)
    });
    assert!(waiting.starts_with("Dynamics until "), "{waiting}");
    let begun = Instant::now();
    daemon.signal("TERM");
    assert_eq!(daemon.end(), 0);
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    assert!(!daemon.log().contains("not drained"), "{}", daemon.log());
}

#[test]
fn sighup_takes_a_good_configuration_and_keeps_the_old_one_over_a_bad_one() {
    let world = World::with(json!({"settle_ms": 600_000}));
    let daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    until_status(&world, "accounts.xlsx", "settling");
    let good = fs::read(world.config()).unwrap();
    for (bad, complaint) in [
        (r#"{"dropbox": "dropbox", "#.to_owned(), "config.json: line 1"),
        (String::from_utf8(good.clone()).unwrap().replace("600000", "\"soon\""), "settle_ms"),
        (
            String::from_utf8(good)
                .unwrap()
                .replace("\"lakehouse\":\"lakehouse\"", "\"lakehouse\":\"other\""),
            "lakehouse",
        ),
    ] {
        fs::write(world.config(), &bad).unwrap();
        daemon.signal("HUP");
        world.wait_for(complaint, || {
            let log = daemon.log();
            log.lines()
                .any(|line| line.contains("ERROR") && line.contains("the old") && line.contains(complaint))
                .then_some(())
        });
    }
    assert!(world.dropbox().join("accounts.xlsx").exists());
    world.configure(json!({}));
    daemon.signal("HUP");
    until(&world, "accounts", [3, 3, 0, 0]);
    assert!(daemon.log().contains("configuration read again"));
}

#[test]
fn sigusr1_lets_what_rests_try_again_at_once() {
    // The token endpoint refuses us, which rests a job for half a minute, until a secret is there that it takes. The first
    // refusal is heard by who reads the workbook early, and changes nothing.
    let world = World::new();
    let service = Service::start(
        &world,
        json!([{"on": {"kind": "token", "times": 2}, "answer": {"status": 401, "code": "invalid_client"}}]),
    );
    world.configure(json!({"target": service.target(), "poll_ms": 3_600_000}));
    let daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    world.wait_for("the job to rest", || daemon.log().contains("job rests").then_some(()));
    let begun = Instant::now();
    daemon.signal("USR1");
    until(&world, "accounts", [3, 3, 0, 0]);
    assert!(begun.elapsed() < Duration::from_secs(25), "it took {:?}", begun.elapsed());
}

// Deaths.

#[test]
fn a_daemon_that_was_killed_goes_on_where_it_stopped_and_every_row_is_there_once() {
    let (world, _service, mut daemon) = under_way(100, json!({}));
    for round in 0..4 {
        daemon.signal("KILL");
        assert_eq!(daemon.end(), -1);
        let before = world.counts("accounts")[1];
        daemon = running(&world);
        if round < 3 {
            world.wait_for("more rows", || (world.counts("accounts")[1] > before).then_some(()));
        }
    }
    until(&world, "accounts", [400, 400, 0, 0]);
    assert_each_once(&world, 400);
    assert_eq!(world.json_lines(&["log", "--json"]).len(), 20);
    let archived = world.archived();
    assert_eq!(archived.iter().filter(|path| path.ends_with("accounts.xlsx")).count(), 1, "{archived:?}");
}

#[test]
fn a_second_daemon_on_the_same_dropbox_is_refused_and_named_the_first() {
    let world = World::new();
    let daemon = running(&world);
    for arguments in [&["run"][..], &["run", "--once"], &["ingest"], &["migrate"], &["init"]] {
        let second = world.ddu(arguments);
        assert_eq!(second.code, 1, "{arguments:?}: {}", second.err);
        let holder = format!("process {}", daemon.child.id());
        assert!(
            second.err.contains("in use by another ddu") && second.err.contains(&holder),
            "{}",
            second.err
        );
    }
}

#[test]
fn a_second_daemon_on_the_same_lakehouse_is_refused_and_named_the_first_until_that_is_gone() {
    let (world, other) = (World::new(), World::new());
    let lakehouse = world.path().join("lakehouse");
    other.configure(json!({"lakehouse": lakehouse}));
    let mut daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    until(&world, "accounts", [3, 3, 0, 0]);
    let holder = format!("process {} on ", daemon.child.id());
    for arguments in [&["run"][..], &["run", "--once"], &["ingest"], &["migrate"], &["init"]] {
        let second = other.ddu(arguments);
        assert_eq!(second.code, 1, "{arguments:?}: {}", second.err);
        let told = format!("the lakehouse `{}` is in use by another ddu ({holder}", lakehouse.display());
        assert!(second.err.contains(&told) && second.err.contains(" since 20"), "{}", second.err);
    }
    // Whoever only reads is let in, from either side.
    for arguments in [&["status"][..], &["log"], &["quarantine", "list"], &["doctor"]] {
        let said = other.ddu(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
        assert!(arguments[0] != "doctor" || said.out.contains(&holder), "{}", said.out);
    }
    assert_eq!(other.counts("accounts"), [3, 3, 0, 0]);
    daemon.signal("KILL");
    daemon.end();
    other.drop_bytes("accounts.xlsx", &accounts_file(4, 3));
    let said = other.ddu(&["run", "--once"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(other.counts("accounts"), [6, 6, 0, 0]);
}

#[test]
fn questions_are_answered_beside_a_running_daemon() {
    let (world, _service, daemon) = under_way(150, json!({}));
    let job = world.status()["jobs"][0]["job"].as_str().unwrap().to_owned();
    for arguments in [
        &["status"][..],
        &["log"],
        &["log", "--json"],
        &["show", &job],
        &["quarantine", "list"],
        &["quarantine", "show", "accounts"],
        &["config", "check"],
        &["doctor"],
    ] {
        let said = world.ddu(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {}{}", said.out, said.err);
    }
    let doctor = world.ddu(&["doctor"]);
    let dropbox = doctor.out.lines().find(|line| line.contains("works on this dropbox")).unwrap_or_default();
    assert!(dropbox.contains(&format!("process {} on ", daemon.child.id())), "{}", doctor.out);
    until(&world, "accounts", [400, 400, 0, 0]);
    assert_each_once(&world, 400);
}
