//! A clean slate: the two databases and nothing else, and only where all of it is ours.
#![allow(
    clippy::disallowed_methods,
    reason = "`ddu init --drop-database` removes tables of ours after asking"
)]

use std::path::PathBuf;
use std::sync::PoisonError;

use deltalake::logstore::object_store::ObjectStore;
use deltalake::logstore::object_store::path::Path;
use futures::{StreamExt, TryStreamExt};

use super::Lakehouse;
use super::error::{Doing, LakeError};
use crate::domain::table::{RESERVED_TABLES, TableName};

impl Lakehouse {
    /// The tables that [`Lakehouse::drop_databases`] would remove, `migration.customers`, in the order of their names.
    ///
    /// # Errors
    /// `NotOurs` or `Foreign` where a database holds anything that DDU did not make.
    pub async fn would_drop(&self) -> Result<Vec<String>, LakeError> {
        let mut tables = Vec::new();
        for database in [&self.inner.database, &self.inner.quarantine_database] {
            self.check_is_ours(database).await?;
            for name in self.directories(database).await? {
                tables.push(format!("{database}.{name}"));
            }
        }
        tables.sort();
        Ok(tables)
    }

    /// Removes both databases with all their tables, and tells which. Nothing else below the root is touched.
    ///
    /// The caller has asked, and no job is open.
    ///
    /// # Errors
    /// `NotOurs` or `Foreign` where a database holds anything that DDU did not make; nothing is removed then.
    pub async fn drop_databases(&self) -> Result<Vec<String>, LakeError> {
        let tables = self.would_drop().await?;
        for database in [&self.inner.database, &self.inner.quarantine_database] {
            match &self.inner.dir {
                Some(dir) => remove_dir(dir.join(database), database).await?,
                None => {
                    let store = &self.inner.store;
                    let found = store.list(Some(&Path::from(database.as_str()))).map_ok(|meta| meta.location);
                    let removed = store.delete_stream(found.boxed()).try_collect::<Vec<_>>().await;
                    removed.doing(database, "remove the database")?;
                }
            }
        }
        self.inner.tables.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(tables)
    }

    /// Every file belongs to a table, and every table was made by us.
    async fn check_is_ours(&self, database: &str) -> Result<(), LakeError> {
        if let Some(dir) = &self.inner.dir {
            let link = tokio::fs::symlink_metadata(dir.join(database)).await;
            if link.is_ok_and(|meta| !meta.is_dir()) {
                return Err(LakeError::NotOurs { path: dir.join(database).display().to_string() });
            }
        }
        let not_ours = |path: &str| LakeError::NotOurs { path: format!("{}/{path}", self.root()) };
        let mut files = self.inner.store.list(Some(&Path::from(database)));
        while let Some(file) = files.next().await {
            let path = file.doing(database, "list the database")?.location;
            let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
            let ours = match parts.as_slice() {
                [_, _, log, _, ..] if log == "_delta_log" => true,
                [_, _, .., file] => file.ends_with(".parquet"),
                _ => false,
            };
            if !ours {
                return Err(not_ours(path.as_ref()));
            }
        }
        for name in self.directories(database).await? {
            let table = match TableName::try_from(name.clone()) {
                Ok(table) if *database == self.inner.quarantine_database => self.quarantine_table(&table)?,
                Ok(table) => self.staged_table(&table)?,
                Err(_) if RESERVED_TABLES.contains(&name.as_str()) => self.book(&name)?,
                Err(_) => return Err(not_ours(&format!("{database}/{name}"))),
            };
            // A table that another program made or changed is an error of its own.
            table.fresh().await?;
        }
        Ok(())
    }
}

async fn remove_dir(dir: PathBuf, database: &str) -> Result<(), LakeError> {
    let removed = tokio::task::spawn_blocking(move || {
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            removed => removed?,
        }
        let parent = dir.parent().unwrap_or(&dir);
        std::fs::File::open(parent)?.sync_all()
    });
    removed.await.doing(database, "remove the database")?.doing(database, "remove the database")
}
