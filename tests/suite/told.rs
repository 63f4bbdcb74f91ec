//! What the daemon tells: systemd by its notify protocol, people by the page, monitoring by the metrics.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::daemon::{accounts_file, running, until, until_idle, until_status};
use crate::world::{World, accounts};

/// The socket that systemd would listen on.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn new(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Manager { socket, heard: Vec::new() }
    }

    /// Waits for a message that begins with this.
    fn until(&mut self, begin: &str) -> String {
        loop {
            let mut buffer = [0; 4096];
            let length = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{begin}: {error}; {:?}", self.heard));
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            self.heard.push(message.clone());
            if message.starts_with(begin) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_hears_of_the_start_the_pulse_the_reload_and_the_end() {
    let world = World::new();
    let mut manager = Manager::new(&world.path().join("notify"));
    let mut command = world.command(&["run"]);
    command.env("NOTIFY_SOCKET", world.path().join("notify")).env("WATCHDOG_USEC", "200000");
    let mut daemon = world.start(command);
    assert_eq!(manager.until("READY=1"), "READY=1\nSTATUS=watching the dropbox\n");
    assert_eq!(
        manager.heard[..manager.heard.len() - 1].iter().filter(|m| !m.starts_with("WATCHDOG=1")).count(),
        0
    );
    manager.until("WATCHDOG=1");
    world.drop_bytes("accounts.xlsx", &accounts_file(1, 3));
    manager.until("STATUS=1 workbooks in work");
    until(&world, "accounts", [3, 3, 0, 0]);
    daemon.signal("HUP");
    manager.until("RELOADING=1\nMONOTONIC_USEC=");
    manager.until("READY=1\nSTATUS=watching the dropbox");
    fs::write(world.config(), "{").unwrap();
    daemon.signal("HUP");
    manager.until("RELOADING=1\nMONOTONIC_USEC=");
    manager.until("READY=1\nSTATUS=the new configuration is not usable");
    manager.until("WATCHDOG=1");
    daemon.signal("TERM");
    manager.until("STOPPING=1");
    assert_eq!(daemon.end(), 0);
}

#[test]
fn the_watchdog_is_fed_while_a_large_workbook_is_taken_and_read() {
    // 40 MB of a workbook's media is hashed twice and unpacked by nobody; the pulse must not miss it.
    let world = World::new();
    let mut manager = Manager::new(&world.path().join("notify"));
    let mut bytes = b"a;b\n".to_vec();
    for n in 0..400_000u32 {
        bytes.extend_from_slice(format!("{n};{}\n", "x".repeat(90)).as_bytes());
    }
    world.drop_json("big.csv.json", json!({"target_entity": "accounts"}));
    world.drop_bytes("big.csv", &bytes);
    let mut command = world.command(&["run"]);
    command.env("NOTIFY_SOCKET", world.path().join("notify")).env("WATCHDOG_USEC", "100000");
    let _daemon = world.start(command);
    manager.until("READY=1");
    // Its columns fit no account, so it comes back; until then every tick of 50 ms is heard.
    let mut longest = Duration::ZERO;
    while world.returned().is_empty()
        && !world.dropbox().join("returned").read_dir().is_ok_and(|mut dir| dir.next().is_some())
    {
        let begun = Instant::now();
        manager.until("WATCHDOG=1");
        longest = longest.max(begun.elapsed());
    }
    assert!(longest < Duration::from_secs(5), "silent for {longest:?}");
}

// The page.

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Status code and body of the answer to a raw request.
fn ask(page: SocketAddr, method: &str, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(page).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(page: SocketAddr, path: &str) -> String {
    let (code, body) = ask(page, "GET", path, &page.to_string());
    assert_eq!(code, 200, "{path}: {body}");
    body
}

/// The samples of a scrape, by name and labels as they stand.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("{line}")))
        })
        .collect()
}

#[test]
fn the_page_the_metrics_and_the_status_command_say_the_same() {
    let page = free_port();
    let world = World::with(json!({"listen": page.to_string(), "batch_size": 10}));
    let mut daemon = running(&world);
    world.drop_bytes("broken.xlsx", b"this is no workbook");
    world.drop_json("held.xlsx.json", json!({"bach_size": 1}));
    world.drop_bytes("held.xlsx", &accounts_file(1, 1));
    let mut rows = accounts(1, 25);
    rows[3][0] = "x".repeat(161).into();
    world.drop_rows("accounts.xlsx", &rows);
    world.wait_for("the table", || (world.counts("accounts") == [25, 24, 1, 0]).then_some(()));
    until_status(&world, "broken.xlsx", "not loaded:");
    until_status(&world, "held.xlsx", "bach_size");
    until_idle(&world);
    let told: Value = serde_json::from_str(&get(page, "/status.json")).unwrap();
    assert_eq!(told, world.status());
    assert_eq!(told["tables"][0]["quarantined"], 1);
    let html = get(page, "/");
    for shown in ["accounts", "held.xlsx", "24 of 25 rows written, 1 to fix"] {
        assert!(html.contains(shown), "{shown} is missing in\n{html}");
    }
    assert_eq!(get(page, "/healthz"), "ok\n");
    let metrics = samples(&get(page, "/metrics"));
    let of = |name: &str| metrics.get(name).copied().unwrap_or_else(|| panic!("no {name} in {metrics:#?}"));
    for (rows, count) in [("staged", 25.0), ("written", 24.0), ("quarantined", 1.0)] {
        assert_eq!(of(&format!("ddu_rows_{rows}_total{{table_name=\"accounts\"}}")), count, "{rows}");
    }
    for (rows, count) in [("records", 25.0), ("written", 24.0), ("quarantined", 1.0), ("pending", 0.0)] {
        assert_eq!(
            of(&format!("ddu_table_rows{{rows=\"{rows}\",table_name=\"accounts\"}}")),
            count,
            "{rows}"
        );
    }
    let batches: f64 = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("ddu_batches_total"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!((batches, of("ddu_batch_seconds_count")), (3.0, 3.0));
    assert_eq!(of("ddu_workbooks_total{outcome=\"loaded\"}"), 1.0);
    assert_eq!(of("ddu_workbooks_total{outcome=\"returned\"}"), 1.0);
    assert_eq!(of("ddu_dropbox_files{state=\"held\"}"), 2.0);
    assert_eq!(of("ddu_unaccounted_tables"), 0.0);
    assert!(of("ddu_disk_free_bytes{place=\"dropbox\"}") > 0.0);
    assert!(of("ddu_disk_free_bytes{place=\"lakehouse\"}") > 0.0);
    assert!(of("ddu_oldest_file_seconds") > 0.0);
    assert!(of("ddu_workbook_bytes_total") > 0.0);
    for path in ["/", "/status.json", "/metrics", "/healthz"] {
        assert_eq!(ask(page, "GET", path, "evil.example:8787").0, 421, "{path}");
        assert_eq!(ask(page, "POST", path, &page.to_string()).0, 405, "{path}");
    }
    daemon.signal("TERM");
    assert_eq!(daemon.end(), 0);
    assert!(TcpStream::connect(page).is_err());
}

#[test]
fn a_taken_port_fails_the_start_with_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = World::with(json!({"listen": taken.local_addr().unwrap().to_string()}));
    let said = world.ddu(&["run"]);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("set `listen` to a free address"), "{}", said.err);
}
