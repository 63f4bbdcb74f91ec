//! The journey, one file per arrow, in its order; `advance` alone decides what comes next.

pub mod report;

pub mod board;

pub mod settle;

pub mod brought;

pub mod early;

pub mod claim;

mod successors;

mod mended;

mod read;

pub mod stage;

pub mod group;

pub mod traffic;

mod parents;

mod order;

pub mod preflight;

pub mod migrate;

pub mod record;

pub mod prove;
mod retry;

pub mod give_back;

pub mod archive;

pub mod advance;

pub mod check;

pub mod undo;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::domain::job::JobId;
use crate::domain::lifecycle::Event;
use crate::domain::table::TableName;
use crate::io::delta::{LakeError, Lakehouse};
use crate::io::durable::DiskError;
use crate::io::dynamics::{Dynamics, SendFault, TargetFault, Waiting};
use crate::io::journal::JournalError;
use crate::io::returned::ReturnError;
use crate::io::spool::{Spool, SpoolError};
use crate::io::workbook::ReadFault;
use board::Board;
use early::EarlyReads;
use traffic::Traffic;

/// How long a job rests before it tries again what only an operator can mend: a full disk, a missing right.
pub const OPERATOR_WAIT: Duration = Duration::from_secs(30);

/// Everything that a step of the journey works with.
#[derive(Clone)]
pub struct Pipeline {
    /// The checked settings.
    pub settings: Arc<Settings>,
    /// The dropbox.
    pub spool: Spool,
    /// The Delta tables.
    pub lake: Lakehouse,
    /// The target.
    pub dynamics: Dynamics,
    /// The executable that reads workbooks in a process of its own: this program.
    pub reader: PathBuf,
    /// The wall clock.
    pub now: fn() -> Timestamp,
    /// Set when the daemon drains: steps stop at their next durable fact.
    pub stop: CancellationToken,
    /// What everything is doing, for people.
    pub board: Arc<Board>,
    /// Small workbooks that are read and not staged yet.
    pub early: Arc<EarlyReads>,
    /// The open jobs, as far as others wait for them.
    pub traffic: Arc<Traffic>,
    /// Hears of every event once it is on the disk: the metrics.
    pub observe: Observer,
}

/// Hears of what jobs do.
pub type Observer = Arc<dyn Fn(Seen<'_>) + Send + Sync>;

/// What can be heard of a job.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// An event of the job's present table is on the disk.
    Event(&'a TableName, &'a Event),
    /// A batch waits before it can be sent.
    Waiting(&'a Waiting),
}

/// Why a step did not come to its end. Nothing is lost: the job stays where its journal says, and tries again.
#[derive(Debug, thiserror::Error)]
pub enum Halt {
    /// The daemon drains.
    #[error("stopped on request")]
    Stopping,
    /// Something outside must change first.
    #[error("waiting for {waiting_for}")]
    Wait {
        /// What is waited for, in a sentence's end: "Dynamics: request limit, until 14:03:20".
        waiting_for: String,
        /// When to try again.
        retry: Duration,
    },
    /// Other jobs go first: they write what this one's rows point at.
    #[error("waiting for {waiting_for}")]
    Behind {
        /// Those jobs.
        jobs: Vec<JobId>,
        /// What is waited for, in a sentence's end: "customers.xlsx: accounts are loaded before contacts".
        waiting_for: String,
    },
    /// The disk refused. The operator must act.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The spool has a broken file. The operator must act.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The journal cannot be written or trusted. The operator must act.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The workbook for the sender could not be written. The operator must act.
    #[error(transparent)]
    Return(#[from] ReturnError),
    /// A sign-off could not be made. The operator must act.
    #[error("the sign-off could not be made: {source}")]
    SignOff {
        /// What the writing library says.
        #[source]
        source: rust_xlsxwriter::XlsxError,
    },
    /// A Delta table could not be read or written. The operator must act.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The workbook reader could not be started. The operator must act.
    #[error(transparent)]
    Reader(ReadFault),
    /// The target does not answer, or not to us.
    #[error(transparent)]
    Target(#[from] TargetFault),
    /// A batch could not be delivered for now.
    #[error(transparent)]
    Send(#[from] SendFault),
}

impl Halt {
    /// How long the job rests.
    pub fn retry(&self) -> Duration {
        match self {
            Halt::Stopping | Halt::Behind { .. } => Duration::ZERO,
            Halt::Wait { retry, .. } => *retry,
            Halt::Target(TargetFault::Unavailable { retry_in, .. })
            | Halt::Send(SendFault::Unavailable { retry_in, .. }) => *retry_in,
            _ => OPERATOR_WAIT,
        }
    }

    /// Whether the target alone is waited for, as all jobs do that need it then.
    pub fn passes_by_itself(&self) -> bool {
        matches!(
            self,
            Halt::Stopping
                | Halt::Behind { .. }
                | Halt::Target(TargetFault::Unavailable { .. })
                | Halt::Send(SendFault::Unavailable { .. })
        )
    }

    /// What the status says that the job waits for.
    pub fn waiting_for(&self) -> String {
        match self {
            Halt::Stopping => "the next start of ddu".to_owned(),
            Halt::Wait { waiting_for, .. } | Halt::Behind { waiting_for, .. } => waiting_for.clone(),
            Halt::Target(TargetFault::Unavailable { reason, .. })
            | Halt::Send(SendFault::Unavailable { reason, .. }) => format!("Dynamics to answer: {reason}"),
            other => {
                let mut text = other.to_string();
                let mut source = std::error::Error::source(other);
                while let Some(cause) = source {
                    let cause_text = cause.to_string();
                    if !text.contains(&cause_text) {
                        text = format!("{text}: {cause_text}");
                    }
                    source = cause.source();
                }
                format!("the operator: {text}")
            }
        }
    }
}
