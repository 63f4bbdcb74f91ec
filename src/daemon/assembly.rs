//! Puts the pipeline together from the settings: dropbox, lakehouse, target.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::target::OpenTarget;
use crate::config::Settings;
use crate::io::delta::Lakehouse;
use crate::io::spool::Spool;
use crate::pipeline::Pipeline;
use crate::pipeline::board::Board;

/// A pipeline with the target that it writes to.
pub struct Assembly {
    /// The pipeline; nothing moves in it yet.
    pub pipeline: Pipeline,
    /// The target, for as long as the pipeline is used.
    pub target: OpenTarget,
}

impl Assembly {
    /// Ends the target's embedded server, if it has one.
    pub async fn close(self) {
        self.target.close().await;
    }
}

/// What everything is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// To stage, write and record.
    Work,
    /// To look: nothing is made or changed anywhere, and the embedded sandbox is a copy in memory.
    Look,
}

/// Opens everything that the settings name. The dropbox is not touched.
///
/// # Errors
/// When the lakehouse or the target's settings are unusable.
pub async fn assemble(
    settings: Settings,
    reader: PathBuf,
    now: fn() -> Timestamp,
    access: Access,
) -> anyhow::Result<Assembly> {
    let (root, database, quarantine) =
        (&settings.lakehouse, &settings.database, &settings.quarantine_database);
    let lake = match access {
        Access::Work => Lakehouse::open(root, database, quarantine).await,
        Access::Look => Lakehouse::look(root, database, quarantine),
    };
    let lake = lake.context("the lakehouse cannot be opened")?;
    let target = OpenTarget::open(&settings, now, access).await?;
    let spool = Spool::at(&settings.dropbox);
    let pipeline = Pipeline {
        settings: Arc::new(settings),
        board: Arc::new(Board::new(&spool)),
        spool,
        lake,
        dynamics: target.dynamics.clone(),
        reader,
        now,
        stop: CancellationToken::new(),
        observe: Arc::new(|_| ()),
        early: Arc::default(),
        traffic: Arc::default(),
    };
    Ok(Assembly { pipeline, target })
}
