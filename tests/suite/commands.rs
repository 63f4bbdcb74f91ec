//! The commands: what they print, what they leave alone, and the code that they end with.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::service::Service;
use crate::world::{Said, World, accounts, workbook};

/// Everything below a folder: what it is, when it changed, and what it holds.
fn tree(root: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let changed = std::fs::metadata(&folder).unwrap().modified().unwrap();
        found.insert(folder.clone(), (changed, Vec::new()));
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let changed = std::fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(path.clone(), (changed, std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn assert_untouched(before: &BTreeMap<PathBuf, (SystemTime, Vec<u8>)>, root: &Path, by: &str) {
    let now = tree(root);
    let changed: Vec<&PathBuf> = before
        .iter()
        .filter(|(path, what)| now.get(*path) != Some(*what))
        .map(|(path, _)| path)
        .chain(now.keys().filter(|path| !before.contains_key(*path)))
        .collect();
    assert!(changed.is_empty(), "{by} touched {changed:?}");
}

/// A world with a table of ten accounts, one of them refused.
fn one_refused() -> World {
    let world = World::new();
    let mut rows = accounts(1, 10);
    rows[4][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    world
}

fn last_job(world: &World) -> String {
    world.json_lines(&["log", "--json"])[0]["job"].as_str().unwrap().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The program without `--config`, in a folder where there is none.
fn unconfigured(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddu"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env_remove("DDU_CONFIG").env_remove("DDU_LOG").env_remove("RUST_LOG");
    command
}

// Wrong usage, wrong configuration.

#[test]
fn wrong_usage_ends_with_two_and_says_what_would_be_right() {
    let world = World::new();
    for (arguments, advice) in [
        (&[][..], "Usage"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["stats"], "status"),
        (&["run", "--onze"], "--once"),
        (&["migrate", "--table", "../x"], "--table"),
        (&["log", "--table", ""], "--table"),
        (&["show", "job-7"], "20261122T140320Z-9f3a1c2e"),
        (&["check"], "<FILE>"),
        (&["quarantine", "export", "accounts"], "--output"),
        (&["completions", "cobol"], "bash"),
        (&["config", "schema", "--of", "page"], "sidecar"),
        (&["sandbox", "--listen", "here"], "--listen"),
        (&["sandbox", "--dialect", "nav"], "finops"),
        (&["sandbox", "--dialect", "finops", "--metadata", "none.xml"], "none.xml"),
        (&["sandbox", "--faults", "none.json"], "none.json"),
    ] {
        let said = Said::of(world.command(arguments).output().unwrap());
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(advice), "{arguments:?}: {}", said.err);
        assert!(said.out.is_empty(), "{arguments:?}: {}", said.out);
    }
    for arguments in [&["--help"][..], &["--version"], &["run", "--help"]] {
        assert_eq!(world.ddu(arguments).code, 0, "{arguments:?}");
    }
}

#[test]
fn without_a_configuration_both_places_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&["run"][..], &["run", "--once"], &["status"], &["log"], &["init"], &["check", "x.xlsx"]]
    {
        let said = Said::of(unconfigured(folder.path(), arguments).output().unwrap());
        assert_eq!(said.code, 2, "{arguments:?}: {}", said.err);
        assert!(
            said.err.contains("config.json") && said.err.contains("/etc/ddu/config.json"),
            "{}",
            said.err
        );
    }
    let said = Said::of(unconfigured(folder.path(), &["config", "check"]).output().unwrap());
    assert!(said.code == 2 && said.out.contains("/etc/ddu/config.json"), "{}{}", said.out, said.err);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_configuration_with_faults_ends_with_two_and_tells_all_of_them() {
    let world = World::with(json!({"bach_size": 10, "poll_ms": "often"}));
    for arguments in
        [&["run"][..], &["run", "--once"], &["status"], &["ingest"], &["migrate"], &["init"], &["log"]]
    {
        let said = world.ddu(arguments);
        assert_eq!(said.code, 2, "{arguments:?}");
        assert!(
            said.err.contains("`batch_size`") && said.err.contains("poll_ms"),
            "{arguments:?}: {}",
            said.err
        );
    }
    for arguments in [&["config", "check"][..], &["doctor"]] {
        let said = world.ddu(arguments);
        assert_eq!(said.code, 2, "{arguments:?}");
        assert!(
            said.out.contains("`batch_size`") && said.out.contains("poll_ms"),
            "{arguments:?}: {}",
            said.out
        );
    }
    let report: Value = serde_json::from_str(&world.ddu(&["config", "check", "--json"]).out).unwrap();
    assert_eq!((&report["good"], report["faults"].as_array().unwrap().len()), (&json!(false), 2));
}

#[test]
fn a_log_filter_that_is_none_is_wrong_usage() {
    let world = World::new();
    let said = Said::of(world.command(&["status"]).env("DDU_LOG", "ddu=loud").output().unwrap());
    assert!(said.code == 2 && said.err.contains("`ddu=loud`"), "{}", said.err);
}

// Looking.

#[test]
fn who_only_looks_makes_nothing() {
    // Neither dropbox nor lakehouse nor sandbox exist, and afterwards they still do not.
    let world = World::new();
    std::fs::remove_dir(world.dropbox()).unwrap();
    let file = world.path().join("accounts.xlsx");
    std::fs::write(&file, workbook(&[("Sheet1", &accounts(1, 3))])).unwrap();
    let before = tree(world.path());
    for (arguments, code, answer) in [
        (&["status"][..], 0, "no table is staged yet"),
        (&["status", "--json"], 0, "{\"tables\":[],\"jobs\":[],\"dropbox\":[]}"),
        (&["log"], 0, "the log is empty"),
        (&["log", "--json"], 0, ""),
        (&["quarantine", "list"], 0, "no row is in quarantine"),
        (&["quarantine", "list", "--json"], 0, ""),
        (&["quarantine", "show", "accounts"], 0, "no row of accounts is in quarantine"),
        (&["config", "check"], 0, "config.json: good"),
        (&["doctor"], 1, "let `ddu init` make it"),
        (&["check", "accounts.xlsx"], 0, "3 of 3 rows can be written"),
    ] {
        let said = world.ddu(arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}{}", said.out, said.err);
        assert!(said.out.contains(answer), "{arguments:?}: {}", said.out);
        assert_untouched(&before, world.path(), &arguments.join(" "));
    }
    let said = world.ddu(&["show", "20261122T140320Z-9f3a1c2e"]);
    assert!(said.code == 1 && said.err.contains("there is no job"), "{}", said.err);
    let said = world.ddu(&["quarantine", "export", "accounts", "-o", "x.xlsx"]);
    assert!(said.code == 1 && said.err.contains("quarantine list"), "{}", said.err);
    assert_untouched(&before, world.path(), "a refused question");
}

#[test]
fn check_says_what_would_be_refused_and_writes_nothing_anywhere() {
    let world = one_refused();
    let outside = tempfile::tempdir().unwrap();
    let write = |name: &str, rows: &[Vec<crate::world::Cell>]| {
        let path = outside.path().join(name);
        std::fs::write(&path, workbook(&[("Sheet1", rows)])).unwrap();
        path.display().to_string()
    };
    let good = write("accounts.xlsx", &accounts(100, 4));
    // Its lookup finds an account that was written before: the check sees the target as it is.
    let person = |company: &str| vec!["Berg".into(), company.into()];
    let header = vec!["Last Name".into(), "Company Name".into()];
    let people = write("contacts.xlsx", &[header, person("Account 2"), person("No such company")]);
    std::fs::write(
        outside.path().join("contacts.xlsx.json"),
        json!({"lookups": {"Company Name": {"entity": "accounts", "column": "name"}}}).to_string(),
    )
    .unwrap();
    let strange = write("strange.xlsx", &accounts(1, 1));
    let broken = outside.path().join("broken.xlsx").display().to_string();
    std::fs::write(&broken, b"no workbook").unwrap();
    let missing = outside.path().join("missing.xlsx").display().to_string();
    let (before, beside) = (tree(world.path()), tree(outside.path()));
    for (files, code, answer) in [
        (&[&good][..], 0, "4 of 4 rows can be written"),
        (&[&people], 3, "row 3, Company Name: "),
        (&[&strange], 1, "target_entity"),
        (&[&broken], 1, "broken.xlsx: "),
        (&[&missing], 1, "missing.xlsx"),
        (&[&people, &broken, &good], 1, "4 of 4 rows can be written"),
    ] {
        for more in [&["check"][..], &["check", "--json"]] {
            let mut arguments = more.to_vec();
            arguments.extend(files.iter().map(|file| file.as_str()));
            let said = world.ddu(&arguments);
            assert_eq!(said.code, code, "{arguments:?}: {}{}", said.out, said.err);
            if more.len() == 1 {
                assert!(said.out.contains(answer), "{arguments:?}: {}{}", said.out, said.err);
            } else {
                let lines: Vec<Value> =
                    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
                assert!(!lines.is_empty() && lines.iter().all(|line| line["file"].is_string()), "{lines:?}");
            }
            assert_untouched(&before, world.path(), &arguments.join(" "));
            assert_untouched(&beside, outside.path(), &arguments.join(" "));
        }
    }
    let lines = world.json_lines(&["check", "--json", &people]);
    assert_eq!(keys(&lines[0]), ["file", "sheet", "row", "column", "cause", "advice", "error"]);
    assert_eq!((&lines[0]["row"], &lines[0]["column"]), (&json!(3), &json!("Company Name")));
    assert_eq!((&lines[1]["rows"], &lines[1]["refused"]), (&json!(2), &json!(1)));
}

#[test]
fn every_report_has_a_form_for_machines_with_the_documented_keys() {
    let world = one_refused();
    let status = world.status();
    assert_eq!(keys(&status), ["tables", "jobs", "dropbox"]);
    let table = [
        "table_name",
        "target_entity",
        "records",
        "written",
        "quarantined",
        "pending",
        "validated",
        "status",
    ];
    assert_eq!(keys(&status["tables"][0]), table);
    let log = world.json_lines(&["log", "--table", "accounts", "--json"]);
    let columns = [
        "table_name",
        "partition_id",
        "batch_id",
        "batch_size",
        "write_time",
        "time",
        "error",
        "severity",
        "cause",
        "quarantine_table",
        "job",
        "target_entity",
        "legal_entity",
        "rows_written",
        "rows_quarantined",
        "attempt",
    ];
    assert_eq!(keys(&log[0]), columns);
    assert_eq!((&log[0]["rows_written"], &log[0]["rows_quarantined"]), (&json!(9), &json!(1)));
    assert!(world.json_lines(&["log", "--table", "contacts", "--json"]).is_empty());
    let row = &world.quarantine("accounts")[0];
    for column in [
        "_ddu_row_id",
        "_ddu_job",
        "_ddu_sheet",
        "_ddu_row",
        "Account_Name",
        "_ddu_error",
        "_ddu_cause",
        "_ddu_column",
        "_ddu_attempt",
        "_ddu_time",
    ] {
        assert!(row.get(column).is_some(), "{column} is missing in {row}");
    }
    let list = world.json_lines(&["quarantine", "list", "--json"]);
    assert_eq!(list, [json!({"table_name": "accounts", "quarantined": 1})]);
    let job = last_job(&world);
    let shown: Value = serde_json::from_str(&world.ddu(&["show", &job, "--json"]).out).unwrap();
    assert_eq!((&shown["place"], &shown["workbook"]), (&json!("archived"), &json!("accounts.xlsx")));
    assert_eq!((&shown["parts"][0]["written"], &shown["parts"][0]["refused"]), (&json!(9), &json!(1)));
    let check: Value = serde_json::from_str(&world.ddu(&["config", "check", "--json"]).out).unwrap();
    assert_eq!((&check["good"], &check["settings"]["settle_ms"]), (&json!(true), &json!("100")));
    let doctor: Value = serde_json::from_str(&world.ddu(&["doctor", "--json"]).out).unwrap();
    assert_eq!(doctor["good"], true, "{doctor}");
}

#[test]
fn the_same_reports_read_as_text() {
    let world = one_refused();
    let status = world.ddu(&["status"]).out;
    assert!(status.starts_with("TABLE") && status.contains("1 row to fix"), "{status}");
    let log = world.ddu(&["log"]).out;
    assert!(log.starts_with("TIME") && log.lines().count() == 2, "{log}");
    let job = last_job(&world);
    let shown = world.ddu(&["show", &job]).out;
    for text in ["(archived, given back)", "9 written, 1 refused, 0 pending", "returned/accounts.", "160"] {
        assert!(shown.contains(text), "{text} is missing in\n{shown}");
    }
    let rows = world.ddu(&["quarantine", "show", "accounts"]).out;
    assert!(rows.contains("WHAT IS WRONG") && rows.contains("160"), "{rows}");
    let doctor = world.ddu(&["doctor"]);
    assert!(doctor.code == 0 && !doctor.out.contains("BAD"), "{}", doctor.out);
}

#[test]
fn the_quarantine_can_be_had_as_a_workbook() {
    let world = one_refused();
    let said = world.ddu(&["quarantine", "export", "accounts", "-o", "fix.xlsx"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("1 row is written to fix.xlsx"), "{}", said.out);
    assert!(std::fs::metadata(world.path().join("fix.xlsx")).unwrap().len() > 1_000);
}

#[test]
fn the_doctor_finds_a_target_that_does_not_answer() {
    let world = World::new();
    let service = Service::start(
        &world,
        json!([{"on": {"kind": "token", "every": 1},
        "answer": {"status": 401, "code": "invalid_client"}}]),
    );
    world.configure(json!({"target": service.target()}));
    let said = world.ddu(&["doctor"]);
    assert_eq!(said.code, 1, "{}", said.out);
    let line = said.out.lines().find(|line| line.starts_with("target")).unwrap();
    assert!(line.contains("BAD") && line.contains("client_id"), "{line}");
}

// Doing.

#[test]
fn ingest_stages_and_migrate_writes_what_is_staged() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 5));
    let said = world.ddu(&["ingest"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("1 workbook is staged"), "{}", said.err);
    assert_eq!(world.counts("accounts"), [5, 0, 0, 5]);
    world.drop_rows("contacts.xlsx", &[vec!["Last Name".into()], vec!["Berg".into()]]);
    assert_eq!(world.ddu(&["migrate", "--table", "contacts"]).code, 0);
    assert_eq!(world.counts("accounts"), [5, 0, 0, 5]);
    let said = world.ddu(&["migrate"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(world.counts("accounts"), [5, 5, 0, 0]);
    assert!(world.dropbox().join("contacts.xlsx").exists(), "migrate takes nothing from the dropbox");
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 5);
}

#[test]
fn a_run_that_leaves_something_says_so_by_its_code() {
    let world = World::new();
    assert_eq!(world.run_once(0).err.trim(), "nothing to do");
    world.drop_json("accounts.xlsx.json", json!({"bach_size": 1}));
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    let said = world.ddu(&["run", "--once"]);
    assert!(said.code == 3 && said.err.contains("2 files are held"), "{}", said.err);
    // Nobody listens where the target should be.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    let service = Service::start(
        &world,
        json!([{"on": {"kind": "token", "every": 1},
        "answer": {"status": 401, "code": "invalid_client"}}]),
    );
    drop(nobody);
    let mut target = service.target();
    target["url"] = json!(url);
    world.configure(json!({"target": target}));
    std::fs::remove_file(world.dropbox().join("accounts.xlsx.json")).unwrap();
    let said = world.ddu(&["run", "--once"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("1 workbook is waiting for something"), "{}", said.err);
    let waiting = world.status()["jobs"][0]["waiting_for"].as_str().unwrap().to_owned();
    assert!(waiting.contains("none works on this dropbox"), "{waiting}");
}

#[test]
fn init_can_be_repeated_and_removes_only_what_it_was_asked_for() {
    let world = World::new();
    std::fs::remove_dir(world.dropbox()).unwrap();
    for _ in 0..2 {
        let said = world.ddu(&["init"]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(said.err.contains("ready: drop workbooks into"), "{}", said.err);
    }
    assert_eq!(world.ddu(&["init", "--drop-database", "--reset-checkpoints"]).code, 0, "nothing to remove");
    let mut rows = accounts(1, 10);
    rows[4][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    std::fs::write(world.path().join("lakehouse/mine.txt"), b"mine").unwrap();
    assert_eq!(world.ddu(&["init"]).code, 0);
    assert_eq!(world.counts("accounts"), [10, 9, 1, 0]);
    let before = tree(&world.path().join("lakehouse/migration"));
    let said = world.ddu(&["init", "--drop-database"]);
    assert_eq!(said.code, 2, "{}", said.err);
    for text in ["this removes for good", "accounts", "--yes"] {
        assert!(said.err.contains(text), "{text} is missing in {}", said.err);
    }
    assert_untouched(&before, &world.path().join("lakehouse/migration"), "init without --yes");
    let said = world.ddu(&["init", "--drop-database", "--yes"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(world.status()["tables"].as_array().unwrap().is_empty());
    assert!(world.path().join("lakehouse/mine.txt").exists());
    assert_eq!((world.target("accounts").len(), world.returned().len()), (9, 1));
    // A clean slate: the same bytes are no duplicate now, and the records are found by what they are.
    world.drop_rows("accounts.xlsx", &accounts(1, 10));
    world.ddu(&["run", "--once"]);
    assert_eq!(world.counts("accounts")[0], 10);
}

#[test]
fn the_demo_heals_every_row_with_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    let ddu = |arguments: &[&str]| Said::of(unconfigured(folder.path(), arguments).output().unwrap());
    let said = ddu(&["demo", "--fix"]);
    assert!(said.code == 1 && said.err.contains("ddu demo`"), "{}", said.err);
    let said = ddu(&["demo"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for text in ["Every row is accounted for", "returned/", "ddu demo --fix", "What was refused, and why"] {
        assert!(said.out.contains(text), "{text} is missing in\n{}", said.out);
    }
    let again = ddu(&["demo"]);
    assert!(again.code == 1 && again.err.contains("ddu demo --fix"), "{}", again.err);
    let said = ddu(&["demo", "--fix"]);
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    let status = ddu(&["--config", "ddu-demo/config.json", "status", "--json"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    let tables = status["tables"].as_array().unwrap();
    assert!(tables.len() >= 3);
    for table in tables {
        assert_eq!((&table["quarantined"], &table["pending"]), (&json!(0), &json!(0)), "{table}");
        assert_eq!(table["records"], table["written"], "{table}");
    }
    let said = ddu(&["demo", "--fix"]);
    assert!(said.code == 0 && said.out.contains("Nothing is left to fix"), "{}", said.out);
}

#[test]
fn the_sandbox_serves_until_it_is_asked_to_stop() {
    let world = World::new();
    let switches = world.path().join("switches.json");
    std::fs::write(&switches, r#"{ "finops": { "failure_status": 500, "default_company": "FRRT" } }"#)
        .unwrap();
    for (arguments, path) in [
        (&[][..], "/api/data/v9.2/accounts"),
        (&["--dialect", "finops"], "/data/CustomersV3"),
        (&["--faults", switches.to_str().unwrap()], "/data/CustomersV3"),
    ] {
        serves_until_it_is_asked_to_stop(&world, arguments, path);
    }
}

fn serves_until_it_is_asked_to_stop(world: &World, arguments: &[&str], path: &str) {
    let mut child = world
        .command(&[&["sandbox", "--listen", "127.0.0.1:0"], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let (root, _) = path.rsplit_once('/').unwrap();
    assert!(line.trim_end().ends_with(&format!("{address}{root}/")), "{line}");
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let taken = world.ddu(&["sandbox", "--listen", &address]);
    assert!(taken.code == 1 && taken.err.contains("--listen"), "{}", taken.err);
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

// What is printed for other programs.

#[test]
fn schemas_and_completions_are_what_their_readers_take() {
    let world = World::new();
    for (of, key) in [("config", "lakehouse"), ("sidecar", "target_entity")] {
        let said = world.ddu(&["config", "schema", "--of", of]);
        let schema: Value = serde_json::from_str(&said.out).unwrap();
        assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{of}");
        assert!(said.code == 0 && said.out.contains(&format!("\"{key}\"")), "{of}");
    }
    for (shell, sign) in [("bash", "complete -F _ddu"), ("zsh", "#compdef ddu"), ("fish", "complete -c ddu")]
    {
        let said = world.ddu(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains(sign) && said.out.contains("quarantine"), "{shell}");
        assert!(!said.out.contains("read-workbook"), "{shell} completes a command that is nobody's");
    }
    let script = world.path().join("ddu.bash");
    std::fs::write(&script, world.ddu(&["completions", "bash"]).out).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&script).status().unwrap().success());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    // As `ddu log | head -0`: the pipe's other end is closed before a byte is written.
    let world = one_refused();
    let job = last_job(&world);
    for arguments in [
        &["log"][..],
        &["log", "--json"],
        &["status"],
        &["status", "--json"],
        &["show", &job],
        &["quarantine", "list"],
        &["quarantine", "show", "accounts"],
        &["config", "check"],
        &["config", "schema"],
        &["completions", "bash"],
        &["doctor"],
        &["demo", "--dir", "piped"],
    ] {
        let mut child =
            world.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let said = child.wait_with_output().unwrap();
        let err = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(0), "{arguments:?}: {err}");
        assert!(!err.contains("panicked") && !err.contains("Broken pipe"), "{arguments:?}: {err}");
    }
}

#[test]
fn no_secret_is_printed_logged_or_put_down() {
    // Looked for everywhere after runs at the most talkative level, good and bad; a part of it is enough to find it.
    let world = World::new();
    let service = Service::start(
        &world,
        json!([{"on": {"kind": "token", "request": 1},
        "answer": {"status": 401, "code": "invalid_client"}}]),
    );
    let planted = "Pl4nted~Q8x/+=";
    let file = world.path().join("secret");
    std::fs::write(&file, planted).unwrap();
    use std::os::unix::fs::PermissionsExt;
    let mut from_file = service.target();
    from_file.as_object_mut().unwrap().remove("client_secret_env");
    from_file["client_secret_file"] = json!("./secret");
    let mut said = String::new();
    for (target, mode) in [(from_file.clone(), 0o644), (from_file, 0o600), (service.target(), 0o600)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        world.configure(json!({"target": target}));
        world.drop_rows("accounts.xlsx", &accounts(1, 3));
        for arguments in [
            &["config", "check"][..],
            &["config", "check", "--json"],
            &["doctor"],
            &["run", "--once"],
            &["status"],
            &["check", "dropbox/accounts.xlsx"],
            &["run", "--once", "--json-logs"],
        ] {
            let mut command = world.command(arguments);
            command.env(crate::world::SECRET_VARIABLE, planted).env("RUST_LOG", "trace");
            let output = command.output().unwrap();
            said += &String::from_utf8_lossy(&output.stdout);
            said += &String::from_utf8_lossy(&output.stderr);
        }
    }
    assert!(said.contains("TRACE"), "nothing was logged at all");
    assert!(said.contains("chmod 640"), "the open file was not found");
    assert_eq!(world.target("accounts").len(), 3, "{}", world.status());
    for sign in ["Pl4nted", "Q8x"] {
        let line = said.lines().find(|line| line.contains(sign));
        assert!(line.is_none(), "`{sign}` stands in {line:?}");
        for (path, (_, bytes)) in tree(world.path()) {
            let found = bytes.windows(sign.len()).any(|window| window == sign.as_bytes());
            assert!(!found || path == file, "`{sign}` stands in {}", path.display());
        }
    }
    let token = said.lines().find(|line| line.to_lowercase().contains("bearer ey"));
    assert!(token.is_none(), "{token:?}");
}
