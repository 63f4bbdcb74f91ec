//! read: opens a sheet of the workbook in the reader's process and holds its header against the entity.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Seek;
use std::path::Path;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;

use super::claim::Job;
use super::early::EarlyRead;
use super::{Halt, Pipeline};
use crate::config::workbook_stem;
use crate::domain::entity::{AttributeKind, Entity};
use crate::domain::row::StagedColumn;
use crate::domain::settings::LoadSettings;
use crate::domain::table::column_identifier;
use crate::domain::value::StageType;
use crate::io::durable;
use crate::io::dynamics::{PlanFault, TargetFault};
use crate::io::returned::{ID_HEADER, WRONG_HEADER};
use crate::io::spool::entry::open_dropped;
use crate::io::workbook::{
    self, ColumnKinds, ReadFault, ReadLimits, ReadRequest, ReadWhat, Reading, SheetHeader,
};

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
        file: &File,
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
        let existing = self.columns_beside(load).await?;
        let early = self.early.take(&job.record.job);
        self.open_sheet_beside(file, &job.record.workbook, load, kinds, &existing, early).await
    }

    /// As [`Self::open_sheet`], of a file that is no job's.
    pub(super) async fn open_sheet_of(
        &self,
        file: File,
        name: &str,
        load: &LoadSettings,
        kinds: Option<ColumnKinds>,
    ) -> Result<OpenSheet, Unstaged> {
        let existing = self.columns_beside(load).await?;
        self.open_sheet_beside(file, name, load, kinds, &existing, None).await
    }

    /// The columns that the load's rows will stand beside.
    async fn columns_beside(&self, load: &LoadSettings) -> Result<Vec<StagedColumn>, Halt> {
        if load.overwrite {
            return Ok(Vec::new());
        }
        Ok(self.lake.staged_columns(&load.table_name).await?.unwrap_or_default())
    }

    /// As [`Self::open_sheet_of`], for a table that has, or is about to have, these columns; `early` is what was read of the
    /// workbook before, where it was.
    pub(super) async fn open_sheet_beside(
        &self,
        file: std::fs::File,
        name: &str,
        load: &LoadSettings,
        kinds: Option<ColumnKinds>,
        existing: &[StagedColumn],
        early: Option<EarlyRead>,
    ) -> Result<OpenSheet, Unstaged> {
        let (file, name) = match &load.package_file {
            None => (file, name),
            Some(inner) => (self.unpacked(file, name, inner).await?, inner.as_str()),
        };
        let entity = match self.dynamics.entity(&load.target_entity).await {
            Err(fault @ TargetFault::UnknownEntity { .. }) => {
                // A file that is no workbook at all has no entity to be asked about.
                let request = self.read_request(name, load, BTreeMap::new(), None);
                let (_, header) = self.start_reading(file, &request).await?;
                return Err(Unstaged::Senders(match has_lost_its_mark(&header) {
                    true => LOST_MARK.to_owned(),
                    false if load.package_file.is_some() => format!(
                        "`{name}`: {fault}; unzip the package and drop `{name}` with its `target_entity` in a sidecar \
                         `{name}.json`, or name the entities to load, each with its `target_entity`, under `sheets` in \
                         a sidecar of the package"
                    ),
                    false => format!(
                        "{fault}; set `target_entity` in a sidecar `{name}.json`, or rename the workbook"
                    ),
                }));
            }
            entity => entity?,
        };
        let hints = hints(&entity, load, existing);
        let request = self.read_request(name, load, hints, kinds);
        let (reading, mut header) = match early.filter(|early| early.answers(&request)) {
            Some(early) => early.reading(),
            None => self.start_reading(file, &request).await?,
        };
        if let Some(inner) = &load.package_file {
            // Sheets of a package are all called as its tool likes; its files are what the sender knows.
            header.sheet = workbook_stem(inner).to_owned();
        }
        if has_lost_its_mark(&header) {
            return Err(Unstaged::Senders(LOST_MARK.to_owned()));
        }
        let of_its_columns = without_absent(load, &header);
        match self.dynamics.prepare(&entity, &header.columns, &of_its_columns).await {
            Ok(plan) => {
                header.notes.extend(plan.notes().iter().cloned());
                Ok(OpenSheet { reading, header, entity })
            }
            Err(PlanFault::Target(fault)) => Err(fault.into()),
            Err(fault @ PlanFault::Problems { .. }) => {
                // What was decided about the sheet may be what is wrong: another table was meant, another row.
                let decided: Vec<String> = header.notes.iter().map(|note| format!("\n({note})")).collect();
                Err(Unstaged::Senders(format!("sheet `{}`: {fault}{}", header.sheet, decided.concat())))
            }
        }
    }

    /// A workbook of a data package, in a file without a name.
    async fn unpacked(&self, package: File, name: &str, inner: &str) -> Result<File, Unstaged> {
        let work = self.spool.work();
        // Whoever only checks a file may not be allowed to write where the daemon does.
        let scratch = tempfile::tempfile_in(&work).or_else(|_| tempfile::tempfile());
        let mut into = tokio::fs::File::from_std(durable::doing(scratch, "make a file in", &work)?);
        let what = ReadWhat::Unpack { file: inner.to_owned() };
        let request = ReadRequest::plain(name, what, work.clone(), self.read_limits());
        match workbook::unpack(&self.reader, package, &request, &mut into).await {
            Err(fault) if fault.is_senders() => {
                return Err(match told(&fault) {
                    Unstaged::Senders(reason) => Unstaged::Senders(format!("`{inner}`: {reason}")),
                    other => other,
                });
            }
            unpacked => unpacked.map_err(Halt::Reader)?,
        }
        let mut file = into.into_std().await;
        durable::doing(file.rewind(), "go to the start of a file in", &work)?;
        Ok(file)
    }

    /// What the reader of a load's sheet is asked.
    pub(super) fn read_request(
        &self,
        name: &str,
        load: &LoadSettings,
        hints: BTreeMap<String, StageType>,
        kinds: Option<ColumnKinds>,
    ) -> ReadRequest {
        let what = ReadWhat::Sheet { sheet: load.sheet.clone(), header_row: load.header_row };
        ReadRequest {
            timezone: load.timezone.clone(),
            hints,
            kinds,
            ..ReadRequest::plain(name, what, self.spool.work(), self.read_limits())
        }
    }

    async fn start_reading(
        &self,
        file: File,
        request: &ReadRequest,
    ) -> Result<(Reading, SheetHeader), Unstaged> {
        match Reading::start(&self.reader, file, request).await {
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

/// The settings without what they say of columns that a person took out of a returned workbook: their cells keep the
/// values that were staged before.
fn without_absent<'a>(load: &'a LoadSettings, header: &SheetHeader) -> Cow<'a, LoadSettings> {
    if !header.returned {
        return Cow::Borrowed(load);
    }
    let there: HashSet<String> = header
        .columns
        .iter()
        .flat_map(|column| [&column.header, &column.name])
        .map(|name| name.trim().to_lowercase())
        .collect();
    let mut load = load.clone();
    load.columns.retain(|named, _| there.contains(&named.trim().to_lowercase()));
    load.lookups.retain(|named, _| there.contains(&named.trim().to_lowercase()));
    Cow::Owned(load)
}

/// Whether the sheet has the columns of a returned one, and nothing in its workbook says that it is one.
fn has_lost_its_mark(header: &SheetHeader) -> bool {
    let has = |wanted: &str| header.columns.iter().any(|column| column.header.trim() == wanted);
    has(ID_HEADER) && has(WRONG_HEADER)
}

/// Column types that are known before the first cell is read: the staged table's, else the target's.
///
/// Choices and truth values get none: people write them as labels, numbers or words, and all cells together decide. So
/// they do where the target does not tell days from instants.
pub(super) fn hints(
    entity: &Entity,
    load: &LoadSettings,
    existing: &[StagedColumn],
) -> BTreeMap<String, StageType> {
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
            | AttributeKind::DayOrInstant
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
