//! The rows: one SQLite file, one thread that writes and reads it, requests in a queue.
//!
//! Everything that touches SQLite runs on the store's own thread, so no async thread ever waits for a disk and
//! statements stay prepared for the life of the server. A second process may open the same file: what the server
//! remembers (row versions, its signing key) stands in the file and is read inside each transaction.
#![expect(clippy::disallowed_methods, reason = "the server has a clock of its own, as the real one has")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Statement};
use serde_json::{Map, Value as Json};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::error::ApiError;
use super::finops::Finops;
use super::literal::stored_instant;
use super::schema::{Column, Kind, Schema, Table};
use super::service::Service;
use super::strike::Faults;
use super::{SandboxError, StoreStopped};

/// Requests that may wait for the store; more wait before they are read.
const QUEUE_MAX: usize = 256;
/// Statements that stay prepared.
const STATEMENTS_MAX: usize = 1_024;
/// How long a statement waits for another process that writes to the same file.
const BUSY_WAIT: Duration = Duration::from_secs(30);
/// Marks a SQLite file as ours: `DDUS`.
const APPLICATION_ID: i32 = 0x4444_5553;

/// What the thread is asked to do.
enum Job {
    Work(Box<dyn FnOnce(&mut Session<'_>) + Send>),
    Stop,
}

/// The file, opened and made ready, before its thread runs.
pub(super) struct OpenStore {
    connection: Connection,
    service: Service,
    /// The key under which tokens are signed; the same after a restart.
    pub(super) signing_key: [u8; 32],
}

/// The way to the store's thread.
#[derive(Clone)]
pub(super) struct Store {
    jobs: mpsc::Sender<Job>,
}

/// One thread's view of the store.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    schema: &'c Schema,
    statements: HashMap<String, Statement<'c>>,
    version: i64,
    /// The time of the running transaction, as it is stored.
    now: String,
    faults: Arc<Faults>,
    /// Operations since they were last asked for.
    operations: u64,
}

impl OpenStore {
    /// Opens or makes the file and adds the tables and columns that it lacks.
    ///
    /// # Errors
    /// When the file cannot be opened or is not a sandbox's.
    pub(super) fn open(path: &Path, service: Service) -> Result<Self, SandboxError> {
        let store = |source| SandboxError::Store { path: path.to_owned(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)
                .map_err(|source| SandboxError::Folder { path: parent.to_owned(), source })?;
        }
        let connection = Connection::open(path).map_err(store)?;
        connection.busy_timeout(BUSY_WAIT).map_err(store)?;
        let found: i32 =
            connection.query_row("PRAGMA application_id", [], |row| row.get(0)).map_err(store)?;
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(store)?;
        if found != APPLICATION_ID && (found != 0 || tables > 0) {
            return Err(SandboxError::ForeignStore { path: path.to_owned() });
        }
        // WAL with FULL: a commit is on the disk before it is answered (promise 3), and readers do not wait.
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; \
                 PRAGMA wal_autocheckpoint=8000; PRAGMA journal_size_limit=67108864; \
                 PRAGMA application_id={APPLICATION_ID};"
            ))
            .map_err(store)?;
        let signing_key = prepare(&connection, &service).map_err(store)?;
        Ok(OpenStore { connection, service, signing_key })
    }

    /// A store in memory with the rows of the file as they are now; the file is not touched, and may be missing.
    ///
    /// # Errors
    /// When the file cannot be read or is not a sandbox's.
    pub(super) fn copy(path: &Path, service: Service) -> Result<Self, SandboxError> {
        let store = |source| SandboxError::Store { path: path.to_owned(), source };
        let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI;
        let connection = Connection::open_in_memory_with_flags(flags).map_err(store)?;
        prepare(&connection, &service).map_err(store)?;
        let file = std::path::absolute(path).ok().and_then(|path| url::Url::from_file_path(path).ok());
        if let Some(mut file) = file.filter(|_| path.exists()) {
            // Without its log the file is whole and nobody has it open; SQLite would make a log just to look otherwise.
            let mut log = path.as_os_str().to_owned();
            log.push("-wal");
            file.set_query(Some(if Path::new(&log).exists() { "mode=ro" } else { "mode=ro&immutable=1" }));
            connection.execute("ATTACH ?1 AS file", [file.as_str()]).map_err(store)?;
            let found: i32 =
                connection.query_row("PRAGMA file.application_id", [], |row| row.get(0)).map_err(store)?;
            if found != APPLICATION_ID {
                return Err(SandboxError::ForeignStore { path: path.to_owned() });
            }
            copy_rows(&connection).map_err(store)?;
            connection.execute_batch("DETACH file").map_err(store)?;
        }
        let signing_key = signing_key(&connection).map_err(store)?;
        Ok(OpenStore { connection, service, signing_key })
    }

    /// Starts the thread. It ends at [`Store::stop`] or when every [`Store`] is gone; the receiver resolves when it has ended for any reason.
    pub(super) fn start(
        self,
        faults: Arc<Faults>,
    ) -> std::io::Result<(Store, JoinHandle<()>, oneshot::Receiver<()>)> {
        let (jobs, mut queue) = mpsc::channel::<Job>(QUEUE_MAX);
        let (alive, gone) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("sandbox-store".to_owned()).spawn(move || {
            let _alive = alive;
            let OpenStore { connection, service, .. } = self;
            let mut session = Session {
                connection: &connection,
                schema: service.schema(),
                statements: HashMap::new(),
                version: 0,
                now: String::new(),
                faults,
                operations: 0,
            };
            while let Some(Job::Work(work)) = queue.blocking_recv() {
                work(&mut session);
            }
        })?;
        Ok((Store { jobs }, thread, gone))
    }
}

impl Store {
    /// Does `work` on the store's thread, after everything that was asked before.
    ///
    /// # Errors
    /// When the thread has ended; the server is about to end too.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Session<'_>) -> T + Send + 'static,
    ) -> Result<T, StoreStopped> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |session: &mut Session<'_>| {
            // The asker may have gone away; what was done stays done.
            drop(answer.send(work(session)));
        });
        self.jobs.send(Job::Work(work)).await.map_err(|_| StoreStopped)?;
        answered.await.map_err(|_| StoreStopped)
    }

    /// Ends the thread after everything that was asked before.
    pub(super) async fn stop(&self) {
        if self.jobs.send(Job::Stop).await.is_err() {
            tracing::debug!("the store's thread had ended before it was told to");
        }
    }
}

impl<'c> Session<'c> {
    /// The tables of Dataverse; none where the server speaks another dialect.
    pub(super) fn schema(&self) -> &'c Schema {
        self.schema
    }

    /// The file itself, for what is done outside of transactions.
    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    /// The time of the running transaction, as it is stored.
    pub(super) fn now(&self) -> &str {
        &self.now
    }

    /// The GUID of the user whom the server takes its callers for.
    pub(super) fn user(&self) -> String {
        own_id("user").to_string()
    }

    /// Counts operations: single requests, those of a batch, and the targets of a bulk action.
    pub(super) fn count_operations(&mut self, operations: usize) {
        self.operations = self.operations.saturating_add(operations as u64);
    }

    /// The operations since this was last asked.
    pub(super) fn take_operations(&mut self) -> u64 {
        std::mem::take(&mut self.operations)
    }

    /// Refuses a write of one record where a fault says so; a delete has an empty body.
    ///
    /// # Errors
    /// What the fault says.
    pub(super) fn operation(&self, entity: &str, body: &Map<String, Json>) -> Result<(), ApiError> {
        self.faults.strike_operation(entity, body)
    }

    /// The next row version.
    pub(super) fn next_version(&mut self) -> i64 {
        self.version += 1;
        self.version
    }

    /// The prepared statement for this text.
    pub(super) fn statement(&mut self, sql: &str) -> rusqlite::Result<&mut Statement<'c>> {
        if !self.statements.contains_key(sql) {
            if self.statements.len() >= STATEMENTS_MAX {
                self.statements.clear();
            }
            self.statements.insert(sql.to_owned(), self.connection.prepare(sql)?);
        }
        Ok(self.statements.get_mut(sql).expect("it was inserted above"))
    }

    /// Does `work` in one transaction and commits it durably, whatever `work` returns.
    ///
    /// # Errors
    /// When SQLite could not begin or commit; then nothing was changed.
    pub(super) fn write<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> rusqlite::Result<T> {
        self.now = stored_instant(Timestamp::now());
        self.run("BEGIN IMMEDIATE")?;
        let outcome = self.load_version().and_then(|()| {
            let result = work(self);
            let version = self.version;
            self.statement("UPDATE _sandbox SET value = ?1 WHERE name = 'version'")?.execute([version])?;
            self.run("COMMIT")?;
            Ok(result)
        });
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// Does `work` over one unchanging view of the rows.
    ///
    /// # Errors
    /// When SQLite could not begin.
    pub(super) fn read<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> rusqlite::Result<T> {
        self.run("BEGIN")?;
        let result = work(self);
        self.roll_back();
        Ok(result)
    }

    /// Does `work` inside the running transaction and takes it back when it fails.
    ///
    /// # Errors
    /// What `work` returned, or what SQLite said.
    pub(super) fn all_or_none<T, E: From<rusqlite::Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run("SAVEPOINT change_set")?;
        let outcome = work(self);
        if outcome.is_err() {
            self.run("ROLLBACK TO change_set")?;
        }
        self.run("RELEASE change_set")?;
        outcome
    }

    fn run(&mut self, sql: &str) -> rusqlite::Result<()> {
        self.statement(sql)?.execute([]).map(drop)
    }

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::error!(%error, "the sandbox's store could not take back a transaction");
        }
    }

    fn load_version(&mut self) -> rusqlite::Result<()> {
        self.version = self
            .statement("SELECT value FROM _sandbox WHERE name = 'version'")?
            .query_row([], |row| row.get(0))?;
        Ok(())
    }
}

/// A GUID of this server's own, the same in all of them: its user, its organization.
pub(super) fn own_id(what: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("ddu.sandbox {what}").as_bytes())
}

/// Makes what the file lacks and returns its signing key.
fn prepare(connection: &Connection, service: &Service) -> rusqlite::Result<[u8; 32]> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let prepared = prepare_inside(connection, service);
    connection.execute_batch(if prepared.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    prepared
}

fn prepare_inside(connection: &Connection, service: &Service) -> rusqlite::Result<[u8; 32]> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS _sandbox (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
         INSERT OR IGNORE INTO _sandbox VALUES ('version', 1000000), ('signing_key', randomblob(32));",
    )?;
    match service {
        Service::Dataverse(schema) => {
            for table in schema.tables() {
                prepare_table(connection, table)?;
            }
            prepare_user(connection, schema)?;
        }
        Service::Finops(_) => Finops::prepare(connection)?,
    }
    signing_key(connection)
}

fn signing_key(connection: &Connection) -> rusqlite::Result<[u8; 32]> {
    connection.query_row("SELECT value FROM _sandbox WHERE name = 'signing_key'", [], |row| row.get(0))
}

/// Copies the rows of the attached `file`, table by table; computed columns compute themselves again.
fn copy_rows(connection: &Connection) -> rusqlite::Result<()> {
    let texts = |sql: &str, of: &[&str]| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(of), |row| row.get(0))?;
        rows.collect()
    };
    // Tables that come into being with their first row: those that the file has.
    for made in texts(
        "SELECT sql FROM file.sqlite_schema WHERE name LIKE 'fo\\_%' ESCAPE '\\' AND sql IS NOT NULL \
         AND name NOT IN (SELECT name FROM main.sqlite_schema) ORDER BY type DESC",
        &[],
    )? {
        connection.execute_batch(&made)?;
    }
    let tables = texts(
        "SELECT name FROM file.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' INTERSECT \
         SELECT name FROM main.sqlite_schema WHERE type = 'table'",
        &[],
    )?;
    connection.execute_batch("BEGIN")?;
    for table in tables {
        let columns = texts(
            "SELECT '\"' || name || '\"' FROM pragma_table_xinfo(?1, 'file') WHERE hidden = 0 INTERSECT \
             SELECT '\"' || name || '\"' FROM pragma_table_xinfo(?1, 'main') WHERE hidden = 0",
            &[&table],
        )?;
        let columns = columns.join(", ");
        connection.execute_batch(&format!(
            "INSERT OR REPLACE INTO main.\"{table}\" ({columns}) SELECT {columns} FROM file.\"{table}\";"
        ))?;
    }
    connection.execute_batch("COMMIT")
}

/// The user whom the server takes its callers for must be there to be pointed at.
fn prepare_user(connection: &Connection, schema: &Schema) -> rusqlite::Result<()> {
    let Some(table) = schema.logical("systemuser") else { return Ok(()) };
    let name = if table.column("firstname").is_some_and(|column| column.slot.is_some()) {
        "firstname"
    } else {
        &table.primary_name
    };
    let sql = format!(
        "INSERT OR IGNORE INTO systemuser (\"{}\", \"{name}\", versionnumber) VALUES (?1, 'ddu', 1)",
        table.primary_id
    );
    connection.execute(&sql, [own_id("user").to_string()]).map(drop)
}

/// Makes the table with its columns and indexes, or adds those that it lacks.
fn prepare_table(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    let name = &table.logical_name;
    let mut columns: Vec<(String, String)> = Vec::new();
    for column in &table.columns {
        columns.push((column.name.clone(), sql_type(column)));
        if column.targets().len() > 1 {
            columns.push((column.type_slot_name(), "TEXT".to_owned()));
        }
    }
    // What the server counts though the table does not show it.
    for slot in &table.slots {
        if !columns.iter().any(|(column, _)| column == slot) {
            columns.push((slot.clone(), "INTEGER".to_owned()));
        }
    }
    let mut statement = connection.prepare("SELECT name FROM pragma_table_xinfo(?1)")?;
    let known =
        statement.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<HashSet<String>>>()?;
    let mut ddl = String::new();
    if known.is_empty() {
        // All at once: a column that is added later makes SQLite read the whole schema again.
        let columns: Vec<String> =
            columns.iter().map(|(name, kind)| format!(", \"{name}\" {kind}")).collect();
        ddl.push_str(&format!("CREATE TABLE \"{name}\" (_row INTEGER PRIMARY KEY{});", columns.concat()));
    } else {
        for (column, kind) in columns.iter().filter(|(column, _)| !known.contains(column)) {
            ddl.push_str(&format!("ALTER TABLE \"{name}\" ADD COLUMN \"{column}\" {kind};"));
        }
    }
    for column in table.columns.iter().filter(|column| !column.targets().is_empty()) {
        // A record that goes takes the references to it along, so finding them must be quick.
        let column = &column.name;
        ddl.push_str(&format!(
            "CREATE INDEX IF NOT EXISTS \"{name}_{column}\" ON \"{name}\" (\"{column}\") WHERE \"{column}\" IS NOT NULL;"
        ));
    }
    ddl.push_str(&format!(
        "CREATE UNIQUE INDEX IF NOT EXISTS \"{name}_id\" ON \"{name}\" (\"{}\"); \
         CREATE INDEX IF NOT EXISTS \"{name}_primary_name\" ON \"{name}\" (\"{}\");",
        table.primary_id, table.primary_name
    ));
    for key in &table.keys {
        let columns: Vec<String> = key.columns.iter().map(|column| format!("\"{column}\"")).collect();
        ddl.push_str(&format!(
            "CREATE UNIQUE INDEX IF NOT EXISTS \"{name}_{}\" ON \"{name}\" ({});",
            key.name,
            columns.join(", ")
        ));
    }
    connection.execute_batch(&ddl)
}

/// The SQL type. Texts compare without case, as Dataverse's do (here for ASCII letters only).
fn sql_type(column: &Column) -> String {
    let base = match column.kind {
        Kind::Text { .. } | Kind::Memo { .. } => "TEXT COLLATE NOCASE",
        Kind::Id
        | Kind::Guid
        | Kind::Other { .. }
        | Kind::Binary
        | Kind::Lookup { .. }
        | Kind::MultiChoice { .. }
        | Kind::Date
        | Kind::DateTime => "TEXT",
        Kind::Double { .. } | Kind::Decimal { .. } | Kind::Money { .. } => "REAL",
        Kind::Integer { .. }
        | Kind::BigInt
        | Kind::Boolean { .. }
        | Kind::Choice { .. }
        | Kind::State { .. }
        | Kind::Status { .. } => "INTEGER",
    };
    match &column.computed {
        Some(expression) => format!("{base} GENERATED ALWAYS AS ({expression}) VIRTUAL"),
        None => base.to_owned(),
    }
}
