//! A dropbox, a lakehouse and a rehearsal server in a folder of their own, and the real program to move between them.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use ddu::io::delta::Lakehouse;
use ddu::sandbox::{Sandbox, SandboxDialect, SandboxOptions};
use rust_xlsxwriter::Workbook;
use serde_json::{Value, json};

/// The environment variable in which every started program finds a client secret.
pub const SECRET_VARIABLE: &str = "DDU_TEST_SECRET";

/// A folder with everything that one test needs. Removed with the value.
pub struct World {
    dir: tempfile::TempDir,
}

/// What the program said.
pub struct Said {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl World {
    /// A world whose target is the embedded sandbox.
    pub fn new() -> Self {
        Self::with(json!({}))
    }

    /// As [`World::new`], with settings added to or put in the place of its own.
    pub fn with(settings: Value) -> Self {
        let world = World { dir: tempfile::tempdir().unwrap() };
        world.configure(settings);
        std::fs::create_dir_all(world.dropbox()).unwrap();
        world
    }

    /// Writes the configuration anew.
    pub fn configure(&self, settings: Value) {
        let mut config = json!({
            "dropbox": "dropbox", "lakehouse": "lakehouse", "target": {"kind": "sandbox"}, "listen": null,
            "settle_ms": 100, "sidecar_wait_ms": 100, "poll_ms": 200,
        });
        for (key, value) in settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        std::fs::write(self.config(), config.to_string()).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("config.json")
    }

    pub fn dropbox(&self) -> PathBuf {
        self.path().join("dropbox")
    }

    /// Puts a file into the dropbox as most programs do: written beside it, then renamed in.
    pub fn drop_bytes(&self, name: &str, bytes: &[u8]) {
        let beside = self.path().join("on-its-way");
        std::fs::write(&beside, bytes).unwrap();
        std::fs::rename(&beside, self.dropbox().join(name)).unwrap();
    }

    /// Puts a file into the dropbox where its folder cannot be reached by a rename: another file system.
    pub fn drop_bytes_in_place(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.dropbox().join(name), bytes).unwrap();
    }

    /// Drops a workbook of one sheet; the first row is its header.
    pub fn drop_rows(&self, name: &str, rows: &[Vec<Cell>]) {
        self.drop_bytes(name, &workbook(&[("Sheet1", rows)]));
    }

    /// Drops a JSON document.
    pub fn drop_json(&self, name: &str, settings: Value) {
        self.drop_bytes(name, settings.to_string().as_bytes());
    }

    /// The program with these arguments, ready to start.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ddu"));
        command.args(arguments).arg("--config").arg(self.config()).current_dir(self.path());
        command.env(SECRET_VARIABLE, "rehearsal");
        command.stdin(Stdio::null()).env_remove("DDU_LOG").env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command
    }

    /// Runs the program to its end.
    pub fn ddu(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().unwrap())
    }

    /// `ddu run --once`, which must end with this code.
    pub fn run_once(&self, code: i32) -> Said {
        let said = self.ddu(&["run", "--once"]);
        assert_eq!(said.code, code, "{}\n{}", said.out, said.err);
        self.assert_conserved();
        said
    }

    /// Starts the daemon; it is killed with the value if it still runs then.
    pub fn daemon(&self) -> Daemon {
        self.start(self.command(&["run"]))
    }

    /// Starts a daemon by a command of [`World::command`].
    pub fn start(&self, mut command: Command) -> Daemon {
        let log = self.path().join("daemon.log");
        command.stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Daemon { child: command.spawn().unwrap(), log }
    }

    /// `ddu status --json`.
    pub fn status(&self) -> Value {
        let said = self.ddu(&["status", "--json"]);
        assert_eq!(said.code, 0, "{}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    /// The row of `ddu status` about a table; null where there is none.
    pub fn table(&self, name: &str) -> Value {
        let status = self.status();
        let tables = status["tables"].as_array().unwrap();
        tables.iter().find(|table| table["table_name"] == name).cloned().unwrap_or(Value::Null)
    }

    /// The four numbers of a table: records, written, quarantined, pending.
    pub fn counts(&self, name: &str) -> [u64; 4] {
        let table = self.table(name);
        ["records", "written", "quarantined", "pending"].map(|key| table[key].as_u64().unwrap_or(u64::MAX))
    }

    /// The conservation law, from the books and from the tables themselves.
    pub fn assert_conserved(&self) {
        let status = self.status();
        let states = block_on(self.lake().states()).unwrap();
        for table in status["tables"].as_array().unwrap() {
            let [records, written, quarantined, pending] =
                ["records", "written", "quarantined", "pending"].map(|key| table[key].as_u64().unwrap());
            assert_eq!(records, written + quarantined + pending, "{table}");
            let name =
                ddu::domain::table::TableName::try_from(table["table_name"].as_str().unwrap().to_owned())
                    .unwrap();
            let lake = self.lake();
            let (staged, held) = block_on(async {
                (lake.staged_count(&name).await.unwrap(), lake.quarantine_count(&name).await.unwrap())
            });
            assert_eq!(staged, records, "rows of the staged table {name}");
            if status["jobs"].as_array().unwrap().is_empty() {
                let said = &states.iter().find(|state| state.table_name == name.as_str()).unwrap().validation;
                let open = said.as_ref().is_none_or(|said| said.contains("(not checked)"));
                assert!(table["validated"] == true || open, "{table}: {said:?}");
                assert_eq!(
                    (held, 0),
                    (quarantined, pending),
                    "rows of the quarantine of {name}, and pending ones"
                );
            }
        }
    }

    /// The tables, read through the library.
    pub fn lake(&self) -> Lakehouse {
        let root = self.path().join("lakehouse");
        let config: Value = serde_json::from_slice(&std::fs::read(self.config()).unwrap()).unwrap();
        let database = |key: &str, usual| config[key].as_str().unwrap_or(usual).to_owned();
        let (ours, refused) =
            (database("database", "migration"), database("quarantine_database", "quarantine"));
        block_on(Lakehouse::open(root.to_str().unwrap(), &ours, &refused)).unwrap()
    }

    /// All receipts, in the order in which they were written.
    pub fn receipts(&self) -> Vec<ddu::io::delta::Receipt> {
        let lake = self.lake();
        block_on(async {
            let mut reader = lake.receipts(ddu::io::delta::ReceiptsOf::All).await.unwrap();
            let mut all = Vec::new();
            while let Some(receipts) = reader.next().await.unwrap() {
                all.extend(receipts);
            }
            all
        })
    }

    /// The journals of the jobs in progress, event by event.
    pub fn journal(&self) -> Vec<Value> {
        let mut events = Vec::new();
        for job in files_in(&self.dropbox().join(".work")) {
            let text = std::fs::read_to_string(job.join("journal.jsonl")).unwrap_or_default();
            // The last line may be half written.
            events.extend(text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
        events
    }

    /// Lines of a command that prints one JSON object a line.
    pub fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let said = self.ddu(arguments);
        said.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }

    /// The refused rows of a table, `ddu quarantine show --json`.
    pub fn quarantine(&self, table: &str) -> Vec<Value> {
        self.json_lines(&["quarantine", "show", table, "--json"])
    }

    /// All records of an entity that the sandbox holds, asked over HTTP.
    pub fn target(&self, entity_set: &str) -> Vec<Value> {
        let store = self.path().join("sandbox/sandbox.sqlite");
        target_rows(&store, entity_set)
    }

    /// As [`World::target`], of a sandbox that stands for Finance & Operations: the records of all companies.
    pub fn finops_target(&self, entity_set: &str) -> Vec<Value> {
        let mut options = SandboxOptions::at(self.path().join("sandbox/sandbox.sqlite"));
        options.dialect = SandboxDialect::finops();
        records(options, &format!("data/{entity_set}?cross-company=true"))
    }

    /// The lines of the migration log about a table, `ddu log --json`.
    pub fn log_of(&self, table: &str) -> Vec<Value> {
        self.json_lines(&["log", "--table", table, "--json"])
    }

    /// What `ddu status --json` of a running daemon says that a dropped file waits for; empty where it is not listed.
    pub fn waiting_for(&self, file: &str) -> String {
        let status = self.status();
        let found = status["dropbox"].as_array().unwrap().iter().find(|entry| entry["file"] == file);
        found.map_or(String::new(), |entry| {
            format!("{}: {}", entry["state"].as_str().unwrap(), entry["waiting_for"].as_str().unwrap_or(""))
        })
    }

    /// The columns of a Delta table with their types, as its own log has them.
    pub fn delta_columns(&self, database: &str, table: &str) -> Vec<(String, String)> {
        let metadata = self.delta_actions(database, table);
        let metadata = metadata.iter().rev().find_map(|action| action.get("metaData")).unwrap();
        let schema: Value = serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
        let column = |field: &Value| {
            (field["name"].as_str().unwrap().to_owned(), field["type"].as_str().unwrap().to_owned())
        };
        schema["fields"].as_array().unwrap().iter().map(column).collect()
    }

    /// Every action in a Delta table's log, oldest first, each with the `version` that it came in.
    pub fn delta_actions(&self, database: &str, table: &str) -> Vec<Value> {
        let log = self.path().join("lakehouse").join(database).join(table).join("_delta_log");
        let mut actions = Vec::new();
        for path in files_in(&log) {
            if path.extension().is_some_and(|extension| extension == "json") {
                let version: u64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
                for line in std::fs::read_to_string(&path).unwrap().lines() {
                    let mut action: Value = serde_json::from_str(line).unwrap();
                    action["version"] = json!(version);
                    actions.push(action);
                }
            }
        }
        actions
    }

    /// Workbooks in `returned/`, by name.
    pub fn returned(&self) -> Vec<PathBuf> {
        let mut found = files_in(&self.dropbox().join("returned"));
        found.retain(|path| path.extension().is_some_and(|extension| extension == "xlsx"));
        found
    }

    /// The text in `status/` about a dropped file.
    pub fn status_text(&self, file: &str) -> String {
        std::fs::read_to_string(self.dropbox().join("status").join(format!("{file}.txt"))).unwrap_or_default()
    }

    /// Every file in the archive, by its path below it.
    pub fn archived(&self) -> Vec<String> {
        let archive = self.dropbox().join("archive");
        let mut found = Vec::new();
        let mut folders = vec![archive.clone()];
        while let Some(folder) = folders.pop() {
            for path in files_in(&folder) {
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&archive).unwrap().to_string_lossy().into_owned());
                }
            }
        }
        found.sort();
        found
    }

    /// The workbooks that people dropped, in the archive.
    pub fn archived_workbooks(&self) -> Vec<String> {
        let mut found = self.archived();
        found.retain(|path| path.ends_with(".xlsx") && !path.contains("/signoff."));
        found
    }

    /// Waits until something holds; the whole suite fails rather than to wait for ever.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = std::time::Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed().as_secs() < 60, "waited for {what}; status {}", self.status());
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
    }
}

/// All records of an entity in a sandbox's store, asked over HTTP from a server of our own.
pub fn target_rows(store: &Path, entity_set: &str) -> Vec<Value> {
    records(SandboxOptions::at(store), &format!("api/data/v9.2/{entity_set}"))
}

fn records(options: SandboxOptions, path: &str) -> Vec<Value> {
    block_on(async {
        let sandbox = Sandbox::open(options).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(sandbox.serve(listener, async move { drop(stopped.await) }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "test"),
            ("client_secret", "x"),
            ("scope", &format!("{root}/.default")),
        ];
        let token: Value = client
            .post(format!("{root}/t/oauth2/v2.0/token"))
            .form(&form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let token = token["access_token"].as_str().unwrap().to_owned();
        let mut next = Some(format!("{root}/{path}"));
        let mut rows = Vec::new();
        while let Some(url) = next.take() {
            let page: Value = client.get(url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
            rows.extend(page["value"].as_array().unwrap_or_else(|| panic!("{page}")).iter().cloned());
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
        }
        drop(client);
        stop.send(()).unwrap();
        serving.await.unwrap().unwrap();
        rows
    })
}

/// A running daemon.
pub struct Daemon {
    pub child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Sends a signal by its name, `TERM`.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end and returns its exit code; -1 where a signal ended it.
    pub fn end(&mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        let mut text = String::new();
        std::fs::File::open(&self.log).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Said {
    /// What a program that has ended said.
    pub fn of(output: Output) -> Self {
        Said {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A cell of a test's workbook.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Text(String),
    Number(f64),
    Truth(bool),
    /// A day, `(2026, 11, 22)`.
    Day(u16, u8, u8),
    Blank,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        if text.is_empty() { Cell::Blank } else { Cell::Text(text.to_owned()) }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Cell::Number(number)
    }
}

impl From<i32> for Cell {
    fn from(number: i32) -> Self {
        Cell::Number(f64::from(number))
    }
}

impl From<bool> for Cell {
    fn from(truth: bool) -> Self {
        Cell::Truth(truth)
    }
}

/// A row of cells: `row!["Contoso", 12, true]`.
#[macro_export]
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$($crate::world::Cell::from($cell)),*] };
}

/// The bytes of a workbook with these sheets.
pub fn workbook(sheets: &[(&str, &[Vec<Cell>])]) -> Vec<u8> {
    let mut book = Workbook::new();
    let date = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
    for (name, rows) in sheets {
        let sheet = book.add_worksheet();
        sheet.set_name(*name).unwrap();
        for (row, cells) in (0..).zip(*rows) {
            for (column, cell) in (0..).zip(cells) {
                match cell {
                    Cell::Text(text) => drop(sheet.write_string(row, column, text).unwrap()),
                    Cell::Number(number) => drop(sheet.write_number(row, column, *number).unwrap()),
                    Cell::Truth(truth) => drop(sheet.write_boolean(row, column, *truth).unwrap()),
                    Cell::Day(year, month, day) => {
                        let day = rust_xlsxwriter::ExcelDateTime::from_ymd(*year, *month, *day).unwrap();
                        sheet.write_datetime_with_format(row, column, &day, &date).unwrap();
                    }
                    Cell::Blank => {}
                }
            }
        }
    }
    book.save_to_buffer().unwrap()
}

/// Accounts with numbers and names counted from `from`: a header and `count` good rows.
pub fn accounts(from: u32, count: u32) -> Vec<Vec<Cell>> {
    let mut rows = vec![row!["Account Name", "Account Number", "Annual Revenue"]];
    rows.extend(
        (from..from + count).map(|n| row![format!("Account {n}"), format!("{n:06}"), f64::from(n) * 10.5]),
    );
    rows
}

/// The values of one attribute, sorted, each counted.
pub fn tally(rows: &[Value], attribute: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for row in rows {
        let value = match &row[attribute] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        *counts.entry(value).or_default() += 1;
    }
    counts
}

/// Runs async code of the library from a test.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = listing.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}
