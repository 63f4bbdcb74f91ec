//! read: opens a sheet of the workbook in the reader's process and holds its header against the entity.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;

use super::claim::Job;
use super::{Halt, Pipeline};
use crate::domain::entity::{AttributeKind, Entity};
use crate::domain::row::StagedColumn;
use crate::domain::settings::LoadSettings;
use crate::domain::table::column_identifier;
use crate::domain::value::StageType;
use crate::io::durable;
use crate::io::dynamics::{PlanFault, TargetFault};
use crate::io::returned::{ID_HEADER, WRONG_HEADER};
use crate::io::spool::entry::open_dropped;
use crate::io::workbook::{ColumnKinds, ReadFault, ReadLimits, ReadRequest, ReadWhat, Reading, SheetHeader};

/// What the sender of a returned workbook reads that cannot be recognised as one any more.
const LOST_MARK: &str = "these are rows of a returned workbook, but its hidden sheet is gone, so they would be loaded a \
     second time; correct the workbook in the folder `returned` itself and save it as .xlsx or .ods with all its sheets \
     (a .csv keeps only one)";

/// A part could not be staged: by a fault of the workbook or its settings, or for now.
pub(super) enum Unstaged {
    /// The sender's sentence.
    Senders(String),
    /// The types that reading began with are not those of all cells; these are. Whoever reads begins anew with them.
    Retyped(ColumnKinds),
    /// Something else must change first.
    Halted(Halt),
}

impl Unstaged {
    /// The sentence for the sender.
    ///
    /// # Errors
    /// When it is not the sender who must act.
    pub(super) fn reason(self) -> Result<String, Halt> {
        match self {
            Unstaged::Senders(reason) => Ok(reason),
            // Read once more with these very types, so it is not the same any more.
            Unstaged::Retyped(_) => {
                Ok("the workbook changed while it was read; drop it once more".to_owned())
            }
            Unstaged::Halted(halt) => Err(halt),
        }
    }
}

impl<E: Into<Halt>> From<E> for Unstaged {
    fn from(error: E) -> Self {
        Unstaged::Halted(error.into())
    }
}

/// A sheet that is open for reading and fits its entity.
pub(super) struct OpenSheet {
    pub reading: Reading,
    pub header: SheetHeader,
    pub entity: Arc<Entity>,
}

impl Pipeline {
    /// Reads a sheet to its end for the types of its cells; `None` where its first rows show them all.
    pub(super) async fn kinds_of(
        &self,
        file: &std::fs::File,
        name: &str,
        load: &LoadSettings,
    ) -> Result<Option<ColumnKinds>, Unstaged> {
        let again = durable::doing(file.try_clone(), "open again", Path::new(name))?;
        let mut sheet = self.open_sheet_of(again, name, load, None).await?;
        loop {
            match self.next_batch(&mut sheet.reading).await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Unstaged::Retyped(kinds)) => return Ok(Some(kinds)),
                Err(unstaged) => return Err(unstaged),
            }
        }
    }

    /// Opens the sheet and holds its header against the entity.
    pub(super) async fn open_sheet(
        &self,
        job: &Job,
        load: &LoadSettings,
        kinds: Option<ColumnKinds>,
    ) -> Result<OpenSheet, Unstaged> {
        let (file, _) = open_dropped(&job.dir.workbook(&job.record))?;
        self.open_sheet_of(file, &job.record.workbook, load, kinds).await
    }

    /// As [`Self::open_sheet`], of a file that is no job's.
    pub(super) async fn open_sheet_of(
        &self,
        file: std::fs::File,
        name: &str,
        load: &LoadSettings,
        kinds: Option<ColumnKinds>,
    ) -> Result<OpenSheet, Unstaged> {
        let entity = match self.dynamics.entity(&load.target_entity).await {
            Err(fault @ TargetFault::UnknownEntity { .. }) => {
                // A file that is no workbook at all has no entity to be asked about.
                let (_, header) = self.start_reading(file, name, load, BTreeMap::new(), None).await?;
                return Err(Unstaged::Senders(match has_lost_its_mark(&header) {
                    true => LOST_MARK.to_owned(),
                    false => format!(
                        "{fault}; set `target_entity` in a sidecar `{name}.json`, or rename the workbook"
                    ),
                }));
            }
            entity => entity?,
        };
        let existing = if load.overwrite { None } else { self.lake.staged_columns(&load.table_name).await? };
        let hints = hints(&entity, load, existing.as_deref().unwrap_or_default());
        let (reading, header) = self.start_reading(file, name, load, hints, kinds).await?;
        if has_lost_its_mark(&header) {
            return Err(Unstaged::Senders(LOST_MARK.to_owned()));
        }
        match self.dynamics.prepare(&entity, &header.columns, load).await {
            Ok(_) => Ok(OpenSheet { reading, header, entity }),
            Err(PlanFault::Target(fault)) => Err(fault.into()),
            Err(fault @ PlanFault::Problems { .. }) => {
                Err(Unstaged::Senders(format!("sheet `{}`: {fault}", header.sheet)))
            }
        }
    }

    async fn start_reading(
        &self,
        file: std::fs::File,
        name: &str,
        load: &LoadSettings,
        hints: BTreeMap<String, StageType>,
        kinds: Option<ColumnKinds>,
    ) -> Result<(Reading, SheetHeader), Unstaged> {
        let request = ReadRequest {
            file_name: name.to_owned(),
            what: ReadWhat::Sheet { sheet: load.sheet.clone(), header_row: load.header_row },
            timezone: load.timezone.clone(),
            hints,
            kinds,
            scratch: self.spool.work(),
            limits: self.read_limits(),
        };
        match Reading::start(&self.reader, file, &request).await {
            Err(fault) if fault.is_senders() => Err(told(&fault)),
            started => Ok(started.map_err(Halt::Reader)?),
        }
    }

    /// The next rows of a sheet.
    pub(super) async fn next_batch(&self, reading: &mut Reading) -> Result<Option<RecordBatch>, Unstaged> {
        if self.stop.is_cancelled() {
            return Err(Halt::Stopping.into());
        }
        match reading.next().await {
            Err(ReadFault::Retyped { kinds }) => Err(Unstaged::Retyped(kinds)),
            Err(fault) if fault.is_senders() => Err(told(&fault)),
            batch => Ok(batch.map_err(Halt::Reader)?),
        }
    }

    /// The configured limits as the reader knows them.
    pub(super) fn read_limits(&self) -> ReadLimits {
        let limits = &self.settings.limits;
        ReadLimits {
            file_bytes_max: limits.file_bytes_max,
            uncompressed_bytes_max: limits.uncompressed_bytes_max,
            ratio_max: limits.ratio_max.into(),
            rows_max: limits.rows_max.into(),
            columns_max: limits.columns_max.into(),
            cell_chars_max: limits.cell_chars_max.into(),
            wall_ms_max: limits.reader_wall_ms_max,
            memory_bytes_max: limits.reader_memory_bytes_max,
        }
    }
}

/// A fault as its sender reads it; the last words of a reader that died are the operator's.
fn told(fault: &ReadFault) -> Unstaged {
    if let ReadFault::Crashed { detail, said } = fault {
        tracing::warn!(detail, said, "the reader of a workbook died");
    }
    Unstaged::Senders(fault.to_string())
}

/// Whether the sheet has the columns of a returned one, and nothing in its workbook says that it is one.
fn has_lost_its_mark(header: &SheetHeader) -> bool {
    let has = |wanted: &str| header.columns.iter().any(|column| column.header.trim() == wanted);
    has(ID_HEADER) && has(WRONG_HEADER)
}

/// Column types that are known before the first cell is read: the staged table's, else the target's.
///
/// Choices and truth values get none: people write them as labels, numbers or words, and all cells together decide.
fn hints(entity: &Entity, load: &LoadSettings, existing: &[StagedColumn]) -> BTreeMap<String, StageType> {
    let folded = |name: &str| column_identifier(name).to_lowercase();
    let mut hints = BTreeMap::new();
    for attribute in &entity.attributes {
        let kind = match attribute.kind {
            AttributeKind::Text { .. } | AttributeKind::Lookup { .. } | AttributeKind::Guid => {
                StageType::Text
            }
            AttributeKind::Integer { .. } => StageType::Integer,
            AttributeKind::Decimal { .. } | AttributeKind::Double { .. } => StageType::Number,
            AttributeKind::Date => StageType::Date,
            AttributeKind::DateTime => StageType::Timestamp,
            AttributeKind::Boolean { .. }
            | AttributeKind::Choice { .. }
            | AttributeKind::MultiChoice { .. }
            | AttributeKind::Enumeration { .. }
            | AttributeKind::Unsupported { .. } => continue,
        };
        let headers = load.columns.iter().filter(|(_, to)| to.eq_ignore_ascii_case(&attribute.logical_name));
        let names = headers.map(|(header, _)| header.as_str());
        for name in names.chain([attribute.logical_name.as_str()]).chain(attribute.display_name.as_deref()) {
            hints.entry(folded(name)).or_insert(kind);
        }
    }
    for column in existing {
        hints.insert(column.name.to_lowercase(), column.kind);
    }
    hints
}
