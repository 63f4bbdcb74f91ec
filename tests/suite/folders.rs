//! Traps of watched folders, sprung on the real daemon; those about copies, deaths and locks of programs are in `daemon.rs`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::daemon::{accounts_file, running, until, until_idle, until_status};
use crate::service::Service;
use crate::walls::on_a_kernel_without;
use crate::world::{World, accounts, tally};

/// An account that runs services and owns nothing. Source: Debian policy 9.2.2, `nobody`.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program of the system, and says whether it did what it was asked to.
fn did(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// What the daemon says that a name waits for, as soon as it says so.
fn until_waiting(world: &World, file: &str, text: &str) {
    world.wait_for(&format!("{file}: {text}"), || world.waiting_for(file).contains(text).then_some(()));
}

// Many at once, and no events.

#[test]
fn twelve_thousand_files_at_once_overrun_the_queue_and_every_workbook_among_them_is_found() {
    // The daemon is stopped while they come, so the kernel's queue runs over for certain; `poll_ms` is far away.
    let world = World::with(json!({"poll_ms": 3_600_000}));
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let events_max: usize = limit.trim().parse().unwrap();
    let daemon = running(&world);
    daemon.signal("STOP");
    let files = 12_000.max(events_max / 2);
    for n in 0..files {
        File::create(world.dropbox().join(format!("~{n}.tmp"))).unwrap();
    }
    for n in 0..8u32 {
        let name = format!("accounts-{n}.csv");
        let text = format!("Account Name,Account Number\nAccount {n},{n:06}\n");
        world.drop_json(
            &format!("{name}.json"),
            json!({"target_entity": "accounts", "table_name": "accounts"}),
        );
        world.drop_bytes(&name, text.as_bytes());
    }
    daemon.signal("CONT");
    until(&world, "accounts", [8, 8, 0, 0]);
    assert_eq!(fs::read_dir(world.dropbox()).unwrap().count(), files + 4, "what is not ours was left alone");
}

#[test]
fn without_events_the_dropbox_is_polled_and_the_operator_is_told() {
    let world = World::new();
    on_a_kernel_without(&[libc::SYS_inotify_init, libc::SYS_inotify_init1], || {
        let doctor = world.ddu(&["doctor"]);
        assert!(doctor.code == 1 && doctor.out.contains("found by polling"), "{}", doctor.out);
        let daemon = world.daemon();
        world.wait_for("the daemon", || daemon.log().contains("looked at every poll_ms").then_some(()));
        world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
        until(&world, "accounts", [3, 3, 0, 0]);
    });
}

#[test]
fn a_file_system_that_is_mounted_over_the_dropbox_is_noticed_and_taken_back_when_it_goes() {
    let world = World::new();
    if !is_root() {
        return;
    }
    let daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    until(&world, "accounts", [3, 3, 0, 0]);
    let at = world.dropbox();
    let at = at.to_str().unwrap();
    if !did("mount", &["-t", "tmpfs", "tmpfs", at]) {
        return;
    }
    let mounted = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.wait_for("the new folder", || world.dropbox().join(".work/lock").exists().then_some(()));
        world.drop_bytes_in_place("accounts.xlsx", &accounts_file(4, 3));
        until(&world, "accounts", [6, 6, 0, 0]);
        assert!(daemon.log().contains("the dropbox is another folder than before"), "{}", daemon.log());
    }));
    assert!(did("umount", &["-l", at]), "the mount stays behind");
    mounted.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    world.drop_bytes("accounts.xlsx", &accounts_file(7, 3));
    until(&world, "accounts", [9, 9, 0, 0]);
}

// Programs that save.

#[test]
fn what_excel_and_libreoffice_do_when_they_save_is_one_workbook_with_what_was_saved_last() {
    let world = World::with(json!({"settle_ms": 300}));
    let _daemon = running(&world);
    let place = |name: &str| world.dropbox().join(name);
    // Excel, first save: the name at once, then the owner file; the second one by way of a name of eight digits.
    fs::write(place("~$accounts.xlsx"), [0; 165]).unwrap();
    fs::write(place("accounts.xlsx"), accounts_file(1, 2)).unwrap();
    until_status(&world, "accounts.xlsx", "close it");
    for from in [100, 200] {
        fs::write(place("4F3A2B1C"), accounts_file(from, 3)).unwrap();
        fs::rename(place("accounts.xlsx"), place("9D8E7F60.tmp")).unwrap();
        fs::rename(place("4F3A2B1C"), place("accounts.xlsx")).unwrap();
        fs::remove_file(place("9D8E7F60.tmp")).unwrap();
    }
    until_waiting(&world, "accounts.xlsx", "close it");
    fs::remove_file(place("~$accounts.xlsx")).unwrap();
    until(&world, "accounts", [3, 3, 0, 0]);
    // LibreOffice: its lock, a temporary name, a rename over the old file.
    fs::write(place(".~lock.accounts.xlsx#"), b",berta,host,24.11.2026 14:03,file:///x;").unwrap();
    world.drop_bytes("accounts.xlsx", &accounts_file(300, 2));
    until_status(&world, "accounts.xlsx", "berta to close it");
    fs::write(place("lu3071gvr5xy.tmp"), accounts_file(400, 4)).unwrap();
    fs::rename(place("lu3071gvr5xy.tmp"), place("accounts.xlsx")).unwrap();
    fs::remove_file(place(".~lock.accounts.xlsx#")).unwrap();
    until(&world, "accounts", [7, 7, 0, 0]);
    let names = tally(&world.target("accounts"), "accountnumber");
    for (number, there) in
        [("000001", false), ("000100", false), ("000200", true), ("000300", false), ("000403", true)]
    {
        assert_eq!(names.contains_key(number), there, "{number}");
    }
}

#[test]
fn a_writer_that_goes_on_after_the_claim_is_told_of() {
    // The target is slow, so the file is still at work when its writer adds to it.
    let world = World::new();
    let service =
        Service::start(&world, json!([{"on": {"kind": "batch", "every": 1}, "answer": {"delay_ms": 300}}]));
    world.configure(json!({"target": service.target(), "batch_size": 2}));
    let daemon = running(&world);
    let beside = world.path().join("beside.csv");
    let rows: String = (1..=10).map(|n| format!("Account {n},{n:06}\n")).collect();
    let mut writer = File::create(&beside).unwrap();
    writer.write_all(format!("Account Name,Account Number\n{rows}").as_bytes()).unwrap();
    fs::rename(&beside, world.dropbox().join("accounts.csv")).unwrap();
    world.wait_for("rows on their way", || (world.counts("accounts")[0] == 10).then_some(()));
    writer.write_all(b"Latecomer,000099\n").unwrap();
    drop(writer);
    until(&world, "accounts", [10, 10, 0, 0]);
    assert!(daemon.log().contains("changed after it was claimed"), "{}", daemon.log());
    assert!(world.archived().iter().any(|path| path.ends_with("/accounts.csv")));
}

#[test]
fn old_and_future_stamps_make_a_file_neither_ready_nor_wait_for_ever() {
    // A text table has no end to be recognised by: only our own clock says whether it stands still.
    let world = World::with(json!({"settle_ms": 1_000}));
    let _daemon = running(&world);
    let years = |years: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(years * 31_557_600);
    let path = world.dropbox().join("accounts.csv");
    let mut file = File::create(&path).unwrap();
    for piece in ["Account Name,Account Number\nA,1\n", "B,2\n", "C,3\n"] {
        file.write_all(piece.as_bytes()).unwrap();
        // As `cp -p` and `rsync -t` leave it.
        file.set_modified(years(31)).unwrap();
        until_waiting(&world, "accounts.csv", "changed a moment ago");
    }
    drop(file);
    until(&world, "accounts", [3, 3, 0, 0]);
    for (name, age) in [("future.csv", 129), ("epoch.csv", 0)] {
        let beside = world.path().join(name);
        fs::write(&beside, format!("Account Name\n{name}\n")).unwrap();
        File::options().write(true).open(&beside).unwrap().set_modified(years(age)).unwrap();
        world.drop_json(&format!("{name}.json"), json!({"target_entity": "accounts"}));
        fs::rename(&beside, world.dropbox().join(name)).unwrap();
        until(&world, name.trim_end_matches(".csv"), [1, 1, 0, 0]);
    }
}

// Names.

#[test]
fn names_that_settings_cannot_tell_apart_are_held_until_one_is_renamed() {
    let world = World::new();
    let _daemon = running(&world);
    let (composed, decomposed) = ("caf\u{e9}.xlsx", "cafe\u{301}.xlsx");
    for (n, (one, other)) in (1..).zip([("accounts.xlsx", "ACCOUNTS.XLSX"), (composed, decomposed)]) {
        world.drop_json(&format!("{one}.json"), json!({"target_entity": "accounts", "table_name": "both"}));
        world.drop_bytes(one, &accounts_file(10 * n, 1));
        world.drop_bytes(other, &accounts_file(10 * n + 1, 1));
        for name in [one, other] {
            until_waiting(&world, name, "differ only in case or accents");
            assert!(world.dropbox().join(name).exists(), "{name}");
        }
    }
    for (n, name) in ["accounts.xlsx", composed].into_iter().enumerate() {
        fs::remove_file(world.dropbox().join(name)).unwrap();
        let rows = n as u64 + 1;
        until(&world, "both", [rows, rows, 0, 0]);
    }
}

#[test]
fn every_name_that_a_file_system_takes_is_taken_and_comes_back_byte_for_byte() {
    let world = World::with(json!({"settle_ms": 100}));
    let long = format!("{}.xlsx", "ü".repeat(125));
    assert_eq!(long.len(), 255);
    let names: [&[u8]; 6] = [
        b"caf\xe9 \xff.xlsx",
        b"two\nlines.xlsx",
        b"bell\x07.xlsx",
        b" blank .xlsx",
        long.as_bytes(),
        "\u{202e}txt.xlsx".as_bytes(),
    ];
    // One settings file names them as people see them.
    let shown = |name: &[u8]| -> String {
        let text = String::from_utf8_lossy(name).into_owned();
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    };
    let settings: serde_json::Map<String, serde_json::Value> = names
        .iter()
        .map(|name| (shown(name), json!({"target_entity": "accounts", "table_name": "named"})))
        .collect();
    world.drop_json("all.json", settings.into());
    for (n, name) in (1..).zip(names) {
        let mut rows = accounts(n * 10, 2);
        rows[1][0] = "x".repeat(161).into();
        let beside = world.path().join("beside");
        fs::write(&beside, crate::world::workbook(&[("S", &rows)])).unwrap();
        fs::rename(&beside, world.dropbox().join(OsStr::from_bytes(name))).unwrap();
    }
    world.run_once(3);
    assert_eq!(world.counts("named"), [12, 6, 6, 0], "{}", world.status());
    let mut kept = Vec::new();
    let mut folders = vec![world.dropbox().join("archive")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => kept.push(entry.file_name().as_bytes().to_vec()),
            }
        }
    }
    for name in names {
        assert!(kept.iter().any(|kept| kept == name), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(world.returned().len(), 6);
    // And as a whole: what cannot be loaded lies untouched in `returned/`.
    for name in names {
        let beside = world.path().join("beside");
        fs::write(&beside, [b"no workbook ", name].concat()).unwrap();
        fs::rename(&beside, world.dropbox().join(OsStr::from_bytes(name))).unwrap();
    }
    world.run_once(3);
    let back: Vec<Vec<u8>> = world.returned().iter().map(|path| fs::read(path).unwrap()).collect();
    for name in names {
        assert!(back.contains(&[b"no workbook ", name].concat()), "{}", String::from_utf8_lossy(name));
    }
}

#[test]
fn folders_links_pipes_sockets_and_devices_are_named_and_left_alone_and_hold_nobody_up() {
    let world = World::new();
    let _daemon = running(&world);
    let place = |name: &str| world.dropbox().join(name);
    fs::create_dir(place("folder.xlsx")).unwrap();
    fs::write(place("folder.xlsx").join("inside.xlsx"), accounts_file(1, 1)).unwrap();
    let outside = world.path().join("outside.xlsx");
    fs::write(&outside, accounts_file(2, 1)).unwrap();
    symlink(&outside, place("link.xlsx")).unwrap();
    symlink("/nowhere", place("dangling.xlsx")).unwrap();
    symlink("loop.xlsx", place("loop.xlsx")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place("socket.xlsx")).unwrap();
    // Of a pipe nobody would ever read the end, whatever it is taken for.
    for name in ["pipe.xlsx", "pipe.xlsx.json", "pipe.json", "~$pipe.xlsx"] {
        assert!(did("mkfifo", &[place(name).to_str().unwrap()]));
    }
    let mut wanted = vec![
        ("folder.xlsx", "a folder"),
        ("link.xlsx", "a link"),
        ("dangling.xlsx", "a link"),
        ("loop.xlsx", "a link"),
        ("socket.xlsx", "not a regular file"),
        ("pipe.xlsx", "not a regular file"),
        ("pipe.json", "not a regular file"),
    ];
    if did("mknod", &[place("device.xlsx").to_str().unwrap(), "c", "1", "5"]) {
        wanted.push(("device.xlsx", "not a regular file"));
    }
    for (name, why) in wanted {
        until_waiting(&world, name, why);
        assert!(world.waiting_for(name).starts_with("ignored"), "{}", world.waiting_for(name));
        assert!(place(name).symlink_metadata().is_ok(), "{name} stays where it is");
    }
    world.drop_bytes("accounts.xlsx", &accounts_file(3, 2));
    until(&world, "accounts", [2, 2, 0, 0]);
    assert_eq!(world.target("accounts").len(), 2);
}

// What may not be read or moved.

/// A daemon without rights of its own, in a dropbox that others write to as well.
fn without_rights(world: &World) -> crate::world::Daemon {
    let mut command = world.command(&["run"]);
    if is_root() {
        assert!(did("chown", &["-R", &NOBODY.to_string(), world.path().to_str().unwrap()]));
        command.uid(NOBODY).gid(NOBODY);
        // The program itself may lie where nobody reaches it.
        let program = world.path().join("ddu");
        fs::copy(env!("CARGO_BIN_EXE_ddu"), &program).unwrap();
        let mut own = Command::new(program);
        own.args(["run", "--config"]).arg(world.config()).current_dir(world.path());
        own.uid(NOBODY).gid(NOBODY).env(crate::world::SECRET_VARIABLE, "rehearsal");
        command = own;
    }
    let daemon = world.start(command);
    world.wait_for("the daemon", || daemon.log().contains("watching the dropbox").then_some(()));
    daemon
}

#[test]
fn a_workbook_that_may_not_be_read_waits_for_its_rights_and_stops_nobody() {
    let world = World::new();
    let _daemon = without_rights(&world);
    let beside = world.path().join("beside");
    fs::write(&beside, accounts_file(1, 2)).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o000)).unwrap();
    fs::rename(&beside, world.dropbox().join("accounts.xlsx")).unwrap();
    until_status(&world, "accounts.xlsx", "held: waiting for permission to read it");
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Berg"]]);
    until(&world, "contacts", [1, 1, 0, 0]);
    fs::set_permissions(world.dropbox().join("accounts.xlsx"), fs::Permissions::from_mode(0o644)).unwrap();
    until(&world, "accounts", [2, 2, 0, 0]);
}

#[test]
fn a_workbook_that_may_not_be_moved_is_never_loaded_twice_and_says_so() {
    if !is_root() {
        return;
    }
    // A sticky folder of somebody else: the file can be read, and only its owner can move it.
    let world = World::new();
    let _daemon = without_rights(&world);
    chown(world.dropbox(), Some(0), None).unwrap();
    fs::set_permissions(world.dropbox(), fs::Permissions::from_mode(0o1777)).unwrap();
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 2));
    let told = world.wait_for("the reason", || {
        let waiting = world.waiting_for("accounts.xlsx");
        waiting.starts_with("held").then_some(waiting)
    });
    assert!(told.contains("not permitted"), "{told}");
    world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Berg"]]);
    chown(world.dropbox().join("contacts.xlsx"), Some(NOBODY), None).unwrap();
    until(&world, "contacts", [1, 1, 0, 0]);
    assert_eq!(world.counts("accounts"), [u64::MAX; 4]);
    assert!(world.dropbox().join("accounts.xlsx").exists());
    let jobs = fs::read_dir(world.dropbox().join(".work")).unwrap().map(Result::unwrap);
    let left: Vec<_> = jobs.filter(|entry| entry.path().join("job.json").exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    chown(world.dropbox().join("accounts.xlsx"), Some(NOBODY), None).unwrap();
    until(&world, "accounts", [2, 2, 0, 0]);
}

#[test]
fn an_archive_on_another_device_keeps_the_job_where_it_is_and_says_why() {
    // Two file systems of any machine with Linux: the one of the test's folder and the one of shared memory.
    let world = World::new();
    let device = |path: &Path| rustix::fs::stat(path).unwrap().st_dev;
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    if device(elsewhere.path()) == device(world.path()) {
        return;
    }
    symlink(elsewhere.path(), world.dropbox().join("archive")).unwrap();
    let daemon = running(&world);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 2));
    world.wait_for("the rows", || (world.counts("accounts") == [2, 2, 0, 0]).then_some(()));
    let told = world.wait_for("the reason", || {
        let status = world.status();
        let waiting = status["jobs"][0]["waiting_for"].as_str()?.to_owned();
        waiting.contains("archive").then_some(waiting)
    });
    assert!(told.to_lowercase().contains("cross-device"), "{told}");
    drop(daemon);
    // The folder's own archive again: the next run brings the job there, and no row a second time.
    fs::remove_file(world.dropbox().join("archive")).unwrap();
    world.run_once(0);
    until_idle(&world);
    assert_eq!(world.target("accounts").len(), 2);
    assert!(world.archived().iter().any(|path| path.ends_with("/accounts.xlsx")));
}
