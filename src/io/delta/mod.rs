//! The lakehouse: staged tables, quarantine and our own books, all of them Delta tables that any reader can open.
//!
//! Every change is one commit, compare-and-swap, with the transaction that it belongs to; whoever repeats a commit is
//! told that it is already there. Rows keep their order: paths of data files sort as the rows were written.

mod cloud;
mod demolish;
mod error;
mod heal;
mod log;
mod maintain;
mod parquet;
mod quarantine;
mod receipts;
mod rewrite;
mod rows;
mod schema;
mod spool;
mod stage;
mod state;
mod store;
mod table;
mod txn;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use deltalake::logstore::ObjectStoreRef;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{self, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use url::Url;
use uuid::Uuid;

pub use self::error::LakeError;
pub use self::heal::{HealWriter, Healed};
pub use self::log::{LogReader, LogRow};
pub use self::maintain::Maintained;
pub use self::quarantine::{Leaving, QuarantineReader, QuarantineRow, QuarantineWriter};
pub use self::receipts::{Receipt, ReceiptReader, ReceiptWriter, ReceiptsOf};
pub use self::rows::{staged_batch, staged_rows};
pub use self::schema::{arrow_type, staged_schema};
pub use self::stage::{Begin, RowReader, StageKind, StageWriter};
pub use self::state::StateRow;
pub use self::table::{Committed, REMOVED_FILES_KEPT};
pub use self::txn::JobTxn;
pub use parquet::batch_bytes;

use self::error::Doing;
use self::table::{Table, TableKind};
use crate::domain::table::{RESERVED_TABLES, TableName};
use crate::io::lock::{self, HeldLock, LockFault};

/// The file at a local lakehouse's root that the process holds which works on it. No table, and no reader sees it.
const LOCK_FILE: &str = ".ddu.lock";

/// All Delta tables of one DDU. Clones share their handles.
#[derive(Clone)]
pub struct Lakehouse {
    inner: Arc<Inner>,
}

struct Inner {
    /// As the operator wrote it.
    root_text: String,
    root: Url,
    /// The root as a directory, where it is one.
    dir: Option<PathBuf>,
    store: ObjectStoreRef,
    database: String,
    quarantine_database: String,
    tables: Mutex<HashMap<String, Arc<Table>>>,
}

impl Lakehouse {
    /// Opens the lakehouse at a directory, which is made where it does not exist, or at a URL.
    ///
    /// It tries beforehand what every commit needs: that a file can be created exactly once.
    ///
    /// # Errors
    /// `Root` with what is wrong with the place. The operator must act.
    pub async fn open(root: &str, database: &str, quarantine_database: &str) -> Result<Self, LakeError> {
        if let Some(dir) = dir_of(root) {
            let made = tokio::task::spawn_blocking(move || store::make_dir(&dir));
            let made = made.await.map_err(std::io::Error::other).and_then(|made| made);
            made.map_err(|e| LakeError::Root { root: root.to_owned(), reason: e.to_string() })?;
        }
        let lake = Self::look(root, database, quarantine_database)?;
        probe(&lake.inner.store).await.map_err(|reason| LakeError::Root { root: root.to_owned(), reason })?;
        Ok(lake)
    }

    /// As [`Lakehouse::open`], for who only reads: nothing is made or tried, and one that does not exist is empty.
    ///
    /// # Errors
    /// As [`Lakehouse::open`].
    pub fn look(root: &str, database: &str, quarantine_database: &str) -> Result<Self, LakeError> {
        let unusable = |reason: String| LakeError::Root { root: root.to_owned(), reason };
        for name in [database, quarantine_database] {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(unusable(format!(
                    "`{name}` is not a database name; use letters, digits, `_` and `-`"
                )));
            }
        }
        if database == quarantine_database {
            return Err(unusable(format!(
                "`database` and `quarantine_database` are both `{database}`; they must differ"
            )));
        }
        store::register();
        cloud::register();
        let (url, dir) = match dir_of(root) {
            None => {
                let url = Url::parse(root).map_err(|e| unusable(e.to_string()))?;
                if !cloud::knows(&url) {
                    let scheme = url.scheme();
                    return Err(unusable(format!(
                        "`{scheme}://` is not known; use a directory, `s3://` or `abfss://`"
                    )));
                }
                (url, None)
            }
            Some(dir) => {
                let dir = match dir.canonicalize() {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::path::absolute(&dir),
                    found => found,
                };
                let dir = dir.map_err(|e| unusable(e.to_string()))?;
                let url = Url::from_directory_path(&dir)
                    .map_err(|()| unusable("it is not a path that a URL can name".to_owned()))?;
                (url, Some(dir))
            }
        };
        let store = store::store_at(&url).map_err(|e| unusable(e.to_string()))?;
        let inner = Inner {
            root_text: root.to_owned(),
            root: url,
            dir,
            store,
            database: database.to_owned(),
            quarantine_database: quarantine_database.to_owned(),
            tables: Mutex::new(HashMap::new()),
        };
        Ok(Lakehouse { inner: Arc::new(inner) })
    }

    /// Takes the lakehouse for this process: the right to commit to it and to clear up in it. An object store has nothing
    /// that could be held, so there is `None` in one; what two processes commit there is kept apart by Delta alone.
    ///
    /// # Errors
    /// `Held` when another process has it.
    pub fn lock(&self, now: jiff::Timestamp) -> Result<Option<HeldLock>, LakeError> {
        let Some(file) = self.lock_file() else { return Ok(None) };
        match lock::take(&file, now) {
            Ok(held) => Ok(Some(held)),
            Err(LockFault::Held(holder)) => {
                Err(LakeError::Held { root: self.inner.root_text.clone(), holder })
            }
            Err(fault @ LockFault::Disk(_)) => {
                Err(LakeError::Root { root: self.inner.root_text.clone(), reason: fault.to_string() })
            }
        }
    }

    /// What the process that holds the lakehouse wrote about itself, if one does and it can be known.
    pub fn holder(&self) -> Option<String> {
        lock::holder(&self.lock_file()?)
    }

    /// Whether it lies where nothing can be locked.
    pub fn is_shared_by_nature(&self) -> bool {
        self.inner.dir.is_none()
    }

    fn lock_file(&self) -> Option<PathBuf> {
        Some(self.inner.dir.as_ref()?.join(LOCK_FILE))
    }

    /// The place as the operator wrote it.
    pub fn root(&self) -> &str {
        &self.inner.root_text
    }

    /// The staged tables, in the order of their names.
    ///
    /// # Errors
    /// When the database cannot be listed.
    pub async fn tables(&self) -> Result<Vec<TableName>, LakeError> {
        let names = self.directories(&self.inner.database).await?;
        let names = names.into_iter().filter(|name| !RESERVED_TABLES.contains(&name.as_str()));
        let mut tables = Vec::new();
        for name in names.filter_map(|name| TableName::try_from(name).ok()) {
            if self.staged_table(&name)?.fresh().await?.is_some() {
                tables.push(name);
            }
        }
        tables.sort();
        Ok(tables)
    }

    /// The names of the directories in a database.
    async fn directories(&self, database: &str) -> Result<Vec<String>, LakeError> {
        let listed = self.inner.store.list_with_delimiter(Some(&Path::from(database))).await;
        let listed = match listed {
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            listed => listed.doing(database, "list the database")?,
        };
        let names = listed.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        Ok(names.collect())
    }

    fn staged_table(&self, table: &TableName) -> Result<Arc<Table>, LakeError> {
        self.table(&self.inner.database, table.as_str(), TableKind::Staged)
    }

    /// The table's handle, one for all clones of this lakehouse.
    fn table(&self, database: &str, table: &str, kind: TableKind) -> Result<Arc<Table>, LakeError> {
        let name = format!("{database}.{table}");
        let mut tables = self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&name) {
            return Ok(Arc::clone(table));
        }
        let mut url = self.inner.root.clone();
        url.path_segments_mut()
            .map_err(|()| LakeError::Root {
                root: self.inner.root_text.clone(),
                reason: "it is not a URL with a path".to_owned(),
            })?
            .pop_if_empty()
            .extend([database, table, ""]);
        let table = Arc::new(Table::new(name.clone(), kind, &url)?);
        tables.insert(name, Arc::clone(&table));
        Ok(table)
    }
}

/// The place as a directory, unless it is a URL of something else.
fn dir_of(root: &str) -> Option<PathBuf> {
    match Url::parse(root) {
        Ok(url) if root.contains("://") && url.scheme() != "file" => None,
        _ => Some(PathBuf::from(root.strip_prefix("file://").unwrap_or(root))),
    }
}

/// Creates a file twice: the first must succeed and the second must not, or two commits could take one version.
async fn probe(store: &ObjectStoreRef) -> Result<(), String> {
    let path = Path::from(format!(".ddu-probe-{}", Uuid::new_v4().simple()));
    let create = || {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        store.put_opts(&path, "probe".into(), options)
    };
    let first = create().await;
    let second = create().await;
    let removed = store.delete(&path).await;
    first.map_err(|e| match e {
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => format!(
            "a file cannot be created exactly once: {e}; use storage with hard links or conditional writes"
        ),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            format!("access is refused: {e}; grant ddu the right to read, write and delete there")
        }
        _ => format!(
            "a file cannot be written: {e}; check access and space, and that the storage has hard links or conditional writes"
        ),
    })?;
    match second {
        Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {}
        Err(e) => return Err(e.to_string()),
        Ok(_) => return Err("it lets two writers create the same file, so commits could be lost".to_owned()),
    }
    removed.map_err(|e| e.to_string())
}
