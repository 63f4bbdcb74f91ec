//! What can go wrong in the lakehouse, by who must act.

use deltalake::DeltaTableError;
use deltalake::arrow::error::ArrowError;
use deltalake::logstore::object_store;
use deltalake::parquet::errors::ParquetError;

/// Why the lakehouse did not do what was asked. After any of them the table holds either all of a commit or nothing.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The lakehouse's place cannot be used. The operator must act.
    #[error("the lakehouse `{root}` cannot be used: {reason}")]
    Root {
        /// The directory or URL.
        root: String,
        /// What is wrong with it, and what would do.
        reason: String,
    },
    /// Another process works on this lakehouse. The operator must act.
    #[error(
        "the lakehouse `{root}` is in use by another ddu ({holder}); stop it, or give this one a lakehouse of its own"
    )]
    Held {
        /// The directory.
        root: String,
        /// What the other process wrote about itself.
        holder: String,
    },
    /// Storage or the table's log failed. Trying again may help; the source says what happened.
    #[error("table `{table}`: could not {doing}")]
    Table {
        /// The table, `migration.customers`.
        table: String,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Other writers moved the table at every try. Trying again later may help.
    #[error(
        "table `{table}`: other writers changed it {attempts} times while DDU tried to commit; \
         only one DDU should write to a lakehouse"
    )]
    Contended {
        /// The table.
        table: String,
        /// Tries that were made.
        attempts: u32,
    },
    /// A later job of the same table was committed before this one. The operator must act: nothing was written.
    #[error(
        "table `{table}`: transaction {wanted} of `{app}` comes after {found} was already committed, and the log has \
         no trace of {wanted}; the jobs of one table must run in the order of their claims"
    )]
    Overtaken {
        /// The table.
        table: String,
        /// The application id.
        app: String,
        /// The version that was to be committed.
        wanted: i64,
        /// The version that is there.
        found: i64,
    },
    /// A job of another dropbox has this transaction. The operator must act: nothing was written.
    #[error(
        "table `{table}`: transaction {wanted} of job {job} is already taken by job {other}; \
         two dropboxes must not share a lakehouse, and a new dropbox needs a new `database`"
    )]
    Taken {
        /// The table.
        table: String,
        /// The version that was to be committed.
        wanted: i64,
        /// The job that was to commit it.
        job: String,
        /// The job that did.
        other: String,
    },
    /// A column already exists with another type. The caller reads `staged_columns` first and conforms.
    #[error("table `{table}`: column `{column}` holds {has:?}, not {wanted:?}; its type never changes")]
    ColumnType {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type in the table.
        has: crate::domain::value::StageType,
        /// The type of the new rows.
        wanted: crate::domain::value::StageType,
    },
    /// A column's name cannot stand beside the others. Delta compares names without case.
    #[error("table `{table}`: column `{column}` is there twice; Delta does not tell upper from lower case")]
    ColumnTwice {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A row id came twice in one load.
    #[error("table `{table}`: row {id} came twice in one load")]
    RowTwice {
        /// The table.
        table: String,
        /// The row.
        id: crate::domain::row::RowId,
    },
    /// The table is not there.
    #[error("table `{table}` does not exist")]
    Missing {
        /// The table.
        table: String,
    },
    /// A version is gone, because it was asked for later than old files are kept.
    #[error(
        "table `{table}`: version {version} can no longer be read; drop the workbook again with `overwrite`"
    )]
    VersionGone {
        /// The table.
        table: String,
        /// The version.
        version: u64,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Another program gave the table features that DDU does not write. The operator must act.
    #[error(
        "table `{table}`: {reason}; DDU keeps its tables at reader 1 and writer 2, let other programs only read them"
    )]
    Foreign {
        /// The table.
        table: String,
        /// What was found.
        reason: String,
    },
    /// A stored row does not read back. Another program wrote it, or the storage is damaged.
    #[error("table `{table}`: a row cannot be read back: {reason}")]
    Unreadable {
        /// The table.
        table: String,
        /// What is wrong.
        reason: String,
    },
    /// A database directory holds something that is not ours, so it is not removed.
    #[error("`{path}` was not made by DDU, so nothing was removed; move it away, then try again")]
    NotOurs {
        /// What was found.
        path: String,
    },
    /// Scratch space failed.
    #[error("could not {doing} in `{path}`")]
    Spool {
        /// What was being done.
        doing: &'static str,
        /// The directory.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Says for which table and act an error of the crates below happened.
pub(super) trait Doing<T> {
    /// The result with the table and the act in the error.
    fn doing(self, table: &str, doing: &'static str) -> Result<T, LakeError>;
}

macro_rules! doing_for {
    ($($error:ty),*) => {$(
        impl<T> Doing<T> for Result<T, $error> {
            fn doing(self, table: &str, doing: &'static str) -> Result<T, LakeError> {
                self.map_err(|e| LakeError::Table { table: table.to_owned(), doing, source: Box::new(e) })
            }
        }
    )*};
}

doing_for!(
    DeltaTableError,
    ArrowError,
    deltalake::kernel::Error,
    ParquetError,
    object_store::Error,
    serde_json::Error,
    std::io::Error,
    tokio::task::JoinError
);
