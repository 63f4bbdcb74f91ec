//! Which bytes were loaded into which table: the memory that recognises a workbook dropped twice.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::job_dir::JobRecord;
use super::{Spool, SpoolError};
use crate::domain::settings::LoadSettings;
use crate::domain::table::TableName;
use crate::io::durable::{self, DiskError};

#[derive(Serialize, Deserialize)]
struct Loaded {
    job: String,
    workbook: String,
}

impl Spool {
    /// The earlier job that loaded the same bytes in the same way into the table as it stands, and its workbook's name.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn loaded_before(
        &self,
        record: &JobRecord,
        load: &LoadSettings,
    ) -> Result<Option<(String, String)>, SpoolError> {
        let path = self.mark(record, load);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DiskError { doing: "read", path, source }.into()),
        };
        let loaded: Loaded = serde_json::from_slice(&text)
            .map_err(|error| SpoolError::Broken { path, what: error.to_string() })?;
        let own = loaded.job == record.job.as_str();
        Ok((!own).then_some((loaded.job, loaded.workbook)))
    }

    /// Remembers that the job loads these bytes; an `overwrite` makes the table forget what it held before.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remember_loaded(&self, record: &JobRecord, load: &LoadSettings) -> Result<(), SpoolError> {
        let folder = self.table_marks(&record.database, &load.table_name);
        if load.overwrite {
            durable::remove_dir_all(&folder)?;
        }
        durable::create_dir_all(&folder)?;
        let loaded = Loaded { job: record.job.to_string(), workbook: record.workbook.clone() };
        let text = serde_json::to_vec(&loaded).expect("two texts are plain data");
        Ok(durable::replace(&self.mark(record, load), &text)?)
    }

    /// As [`Self::remember_loaded`], for jobs of one table that append: their memory is on the disk together.
    ///
    /// # Errors
    /// When the disk refuses; some may be remembered then.
    pub fn remember_all_loaded(&self, loads: &[(&JobRecord, &LoadSettings)]) -> Result<(), SpoolError> {
        let Some((first, load)) = loads.first() else { return Ok(()) };
        let folder = self.table_marks(&first.database, &load.table_name);
        durable::create_dir_all(&folder)?;
        let mut files = Vec::with_capacity(loads.len());
        for (record, load) in loads {
            let loaded = Loaded { job: record.job.to_string(), workbook: record.workbook.clone() };
            let text = serde_json::to_vec(&loaded).expect("two texts are plain data");
            files.push((self.mark(record, load), text));
        }
        Ok(durable::replace_all(&folder, files)?)
    }

    /// Forgets that the job loaded these bytes, so that they can be dropped again; what another job loaded since stays.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_loaded(&self, record: &JobRecord, load: &LoadSettings) -> Result<(), SpoolError> {
        let path = self.mark(record, load);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(DiskError { doing: "read", path, source }.into()),
        };
        if serde_json::from_slice::<Loaded>(&text).is_ok_and(|loaded| loaded.job == record.job.as_str()) {
            durable::remove(&path)?;
        }
        Ok(())
    }

    /// Forgets everything about a database that is dropped.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget_database(&self, database: &str) -> Result<(), SpoolError> {
        Ok(durable::remove_dir_all(&self.work().join("loaded").join(database))?)
    }

    fn table_marks(&self, database: &str, table: &TableName) -> PathBuf {
        self.work().join("loaded").join(database).join(table.as_str())
    }

    /// Where it is remembered that these bytes were loaded in this way. The same bytes into another entity, from another
    /// sheet or with another verb are another load.
    pub fn mark(&self, record: &JobRecord, load: &LoadSettings) -> PathBuf {
        let way = serde_json::to_string(&(
            &record.sha256,
            &record.target,
            &load.target_entity,
            &load.legal_entity,
            &load.sheet,
            load.mode,
        ))
        .expect("texts are plain data");
        let hash: String = Sha256::digest(way).iter().map(|byte| format!("{byte:02x}")).collect();
        self.table_marks(&record.database, &load.table_name).join(hash)
    }
}
