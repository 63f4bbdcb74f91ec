//! Opens what read-only commands look into: the dropbox and the tables, beside a running daemon or without one.

use anyhow::Context;

use crate::config::Settings;
use crate::io::delta::Lakehouse;
use crate::io::spool::Spool;

/// The tables and the dropbox of a configuration.
pub struct Books {
    /// The dropbox.
    pub spool: Spool,
    /// The tables.
    pub lake: Lakehouse,
}

impl Books {
    /// Opens them; nothing is made, and what does not exist yet is empty.
    ///
    /// # Errors
    /// When the lakehouse cannot be read.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let lake = Lakehouse::look(&settings.lakehouse, &settings.database, &settings.quarantine_database)
            .context("the lakehouse cannot be opened")?;
        Ok(Books { spool: Spool::at(&settings.dropbox), lake })
    }
}
