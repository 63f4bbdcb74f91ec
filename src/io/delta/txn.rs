//! Transactions: what a commit says of the jobs that it belongs to, and how each of them finds itself in the log.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::domain::job::{JobId, TxnVersion};

/// Transactions whose newest versions are remembered of a table: one for each staged table and step, so few.
const KNOWN_TXNS_MAX: usize = 10_000;

/// The transaction of one part of a job: it stands beside the rows in a commit, so that a replay recognises itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobTxn {
    /// The job. Two dropboxes count their jobs apart, so the version alone does not name one.
    pub job: JobId,
    /// The version; per table it only rises.
    pub version: TxnVersion,
}

/// A transaction: the name of what commits, a version that only rises, and the job that it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Txn {
    pub app: String,
    pub version: i64,
    pub job: String,
}

impl Txn {
    pub(super) fn new(app: String, txn: &JobTxn) -> Self {
        Txn { app, version: txn.version.0, job: txn.job.to_string() }
    }
}

/// What one of several jobs brings to a commit that they share. Its own version stands in the commit's description;
/// the transaction that Delta knows is the last job's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    pub job: String,
    pub version: i64,
    pub rows: u64,
}

/// The newest transactions at one version of a table. Asking the log for one walks through all of it.
#[derive(Default)]
pub(super) struct KnownTxns {
    inner: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    at: u64,
    apps: HashMap<String, Option<i64>>,
}

impl KnownTxns {
    fn inner(&self) -> MutexGuard<'_, Known> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest version of an application at this version of the table; `None` where that is not known.
    pub(super) fn of(&self, at: u64, app: &str) -> Option<Option<i64>> {
        let known = self.inner();
        (known.at == at).then(|| known.apps.get(app).copied()).flatten()
    }

    /// What the log has said.
    pub(super) fn learn(&self, at: u64, app: &str, found: Option<i64>) {
        let mut known = self.inner();
        if known.at != at || known.apps.len() >= KNOWN_TXNS_MAX {
            *known = Known { at, ..Known::default() };
        }
        known.apps.insert(app.to_owned(), found);
    }

    /// After a commit of our own onto `before`: it changed one transaction and no other.
    pub(super) fn carry(&self, before: u64, now: u64, txn: Option<&Txn>) {
        let mut known = self.inner();
        if known.at == before && now == before + 1 {
            known.at = now;
            if let Some(txn) = txn {
                known.apps.insert(txn.app.clone(), Some(txn.version));
            }
        }
    }

    /// Another table stands where this one was.
    pub(super) fn forget(&self) {
        *self.inner() = Known::default();
    }
}

/// What we look for in one version of the log.
pub(super) struct LogEntry {
    lines: Vec<LogLine>,
}

#[derive(Deserialize)]
struct LogLine {
    txn: Option<TxnLine>,
    #[serde(rename = "commitInfo")]
    commit_info: Option<CommitLine>,
}

#[derive(Deserialize)]
struct TxnLine {
    #[serde(rename = "appId")]
    app_id: String,
    version: i64,
}

#[derive(Deserialize)]
struct CommitLine {
    ddu: Option<DduLine>,
}

#[derive(Deserialize)]
pub(super) struct DduLine {
    rows: u64,
    job: Option<String>,
    #[serde(default)]
    jobs: Vec<Share>,
}

impl DduLine {
    /// The job that brought this version, and its rows; `in_log` is the version that the commit itself bears.
    pub(super) fn share(&self, in_log: i64, version: i64) -> Option<(Option<&str>, u64)> {
        if self.jobs.is_empty() {
            return (in_log == version).then_some((self.job.as_deref(), self.rows));
        }
        let share = self.jobs.iter().find(|share| share.version == version)?;
        Some((Some(&share.job), share.rows))
    }
}

impl LogEntry {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let lines = serde_json::Deserializer::from_slice(bytes).into_iter();
        Ok(LogEntry { lines: lines.collect::<Result<_, _>>()? })
    }

    pub(super) fn txn(&self, app: &str) -> Option<i64> {
        let txns = self.lines.iter().filter_map(|line| line.txn.as_ref());
        txns.filter(|txn| txn.app_id == app).map(|txn| txn.version).next()
    }

    pub(super) fn ddu(&self) -> Option<&DduLine> {
        let infos = self.lines.iter().filter_map(|line| line.commit_info.as_ref());
        infos.filter_map(|info| info.ddu.as_ref()).next()
    }
}
