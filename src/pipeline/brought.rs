//! brought: settings that a workbook brings along: those of a returned one, the table of one that Dynamics made, the
//! entities of a data package.

use std::collections::HashSet;
use std::fs::File;

use super::early::EarlyRead;
use super::settle::Ready;
use super::{Halt, Pipeline};
use crate::domain::job::PARTS_MAX;
use crate::domain::settings::{LeftOpen, LoadSettings, Mode};
use crate::domain::table::TableName;
use crate::io::spool::names::shown;
use crate::io::workbook::{
    self, DataPackage, PackageEntity, ReadRequest, ReadWhat, ReturnedBook, ReturnedPart, SheetInfo, Template,
    WorkbookProbe,
};

/// What a workbook says of itself.
#[derive(Debug, Default)]
pub struct Brought {
    /// It is one that DDU gave back.
    pub returned: Option<ReturnedBook>,
    /// Its sheets, in the order of their tabs.
    sheets: Vec<SheetInfo>,
    template: Option<Template>,
    package: Option<DataPackage>,
}

impl Pipeline {
    /// Asks a workbook what it says of itself. One that does not read says nothing: staging tells why it does not.
    ///
    /// # Errors
    /// When the reader cannot be started.
    pub async fn brought(&self, name: &str, file: File) -> Result<Brought, Halt> {
        let (scratch, limits) = (self.spool.work(), self.read_limits());
        let request = ReadRequest::plain(name, ReadWhat::Probe, scratch, limits);
        match workbook::probe(&self.reader, file, &request).await {
            Ok(probe) => Ok(Brought::of(probe)),
            Err(fault) if fault.is_senders() => Ok(Brought::default()),
            Err(fault) => Err(Halt::Reader(fault)),
        }
    }

    /// As [`Self::brought`], of a workbook that is about to be claimed: where it is small, its sheet is read as well.
    ///
    /// # Errors
    /// When the reader cannot be started.
    pub(super) async fn brought_by(
        &self,
        ready: &Ready,
        file: File,
    ) -> Result<(Brought, Option<EarlyRead>), Halt> {
        let Some(request) = self.early_request(ready).await else {
            return Ok((self.brought(&shown(&ready.name), file).await?, None));
        };
        match workbook::probe_and_read(&self.reader, file, &request).await {
            Ok((probe, None)) => Ok((Brought::of(probe), None)),
            Ok((probe, Some((reading, header)))) => {
                Ok((Brought::of(probe), self.read_early(request, reading, header).await))
            }
            Err(fault) if fault.is_senders() => Ok((Brought::default(), None)),
            Err(fault) => Err(Halt::Reader(fault)),
        }
    }
}

impl Brought {
    fn of(probe: WorkbookProbe) -> Self {
        Brought {
            returned: probe
                .returned
                .map(|book| without_removed_sheets(book, &probe.sheets))
                .filter(|book| book.parts.len() <= usize::from(PARTS_MAX)),
            sheets: probe.sheets,
            template: probe.template,
            package: probe.package,
        }
    }

    /// How the workbook is to be loaded: as it says itself where it is a returned one, else as `said` by a sidecar or
    /// by the defaults, with what these leave open taken from it.
    pub fn loads(&self, said: Vec<LoadSettings>) -> Vec<LoadSettings> {
        let mut loads = match (&self.returned, &self.package) {
            (Some(book), _) => healing_loads(book),
            (None, Some(package)) => package_loads(package, said),
            (None, None) => said,
        };
        for load in &mut loads {
            if let Some(template) = self.template.as_ref().filter(|_| self.returned.is_none()) {
                self.complete(load, template);
            }
            load.left_open = LeftOpen::default();
        }
        loads
    }

    /// Takes table, columns and mode from a template of Dynamics whose header agrees with it.
    fn complete(&self, load: &mut LoadSettings, template: &Template) {
        let wanted = match &load.sheet {
            Some(sheet) => Some(sheet.as_str()),
            None => self.sheets.iter().find(|sheet| sheet.visible).map(|sheet| sheet.name.as_str()),
        };
        let of_sheet = |found: &&workbook::TemplateSheet| {
            wanted.is_some_and(|wanted| folded(&found.sheet) == folded(wanted))
        };
        let Some(sheet) = template.sheets.iter().find(of_sheet) else { return };
        if load.left_open.target_entity {
            load.target_entity = template.table.clone();
        }
        if load.left_open.mode && sheet.has_ids {
            load.mode = Mode::Edit;
        }
        for (header, column) in &sheet.columns {
            if !load.columns.keys().any(|said| folded(said) == folded(header)) {
                load.columns.insert(header.clone(), column.clone());
            }
        }
    }
}

/// One load for each entity of a data package, in the order of its manifest; or for those that the sidecar names.
///
/// What cannot be loaded so stays a load that the reader refuses, with the names of what the package holds.
fn package_loads(package: &DataPackage, said: Vec<LoadSettings>) -> Vec<LoadSettings> {
    if let [all] = said.as_slice()
        && all.sheet.is_none()
    {
        // Neither one entity nor one table can be meant for several.
        let is_for_each = all.left_open.target_entity && all.left_open.table_name;
        let entities = &package.entities;
        if entities.len() > usize::from(PARTS_MAX) || (entities.len() > 1 && !is_for_each) {
            return said;
        }
        let mut taken = HashSet::new();
        return entities.iter().map(|entity| of_entity(entity, all, &mut taken)).collect();
    }
    said.into_iter()
        .map(|load| {
            let wanted = load.sheet.clone().unwrap_or_default();
            let mut load = LoadSettings { sheet: None, ..load };
            match package.entities.iter().find(|entity| entity.is_called(&wanted)) {
                Some(entity) => {
                    load.package_file = Some(entity.file.clone());
                    if load.left_open.target_entity {
                        load.target_entity = entity.entity.clone();
                    }
                }
                None => load.package_file = Some(wanted),
            }
            load
        })
        .collect()
}

/// The load of an entity about which nothing of its own was said; two entities never share a table.
fn of_entity(entity: &PackageEntity, all: &LoadSettings, taken: &mut HashSet<TableName>) -> LoadSettings {
    let mut load = LoadSettings { package_file: Some(entity.file.clone()), ..all.clone() };
    if load.left_open.target_entity {
        load.target_entity = entity.entity.clone();
    }
    if load.left_open.table_name {
        let mut named = TableName::from_stem(&entity.entity).unwrap_or_else(|_| all.table_name.clone());
        for number in 2.. {
            if taken.insert(named.clone()) {
                break;
            }
            named = TableName::from_stem(&format!("{} {number}", entity.entity))
                .or_else(|_| TableName::from_stem(&format!("{} {number}", all.table_name)))
                .unwrap_or(named);
        }
        load.table_name = named;
    }
    load
}

/// The sentence that says what a data package holds, for its sender; `None` for any other workbook.
pub(super) fn held_by_package(loads: &[LoadSettings]) -> Option<String> {
    let file =
        |load: &LoadSettings| Some(format!("`{}` for {}", load.package_file.as_ref()?, load.target_entity));
    let files: Vec<String> = loads.iter().filter_map(file).collect();
    (!files.is_empty()).then(|| format!("the data package holds {}", files.join(", ")))
}

/// A sheet that was taken out of a returned workbook is so many rows taken out: they stay in quarantine.
///
/// Where a sheet is left over it may be the missing one under another name; reading it then says what is wrong.
fn without_removed_sheets(mut book: ReturnedBook, sheets: &[SheetInfo]) -> ReturnedBook {
    let same = |sheet: &SheetInfo, part: &ReturnedPart| folded(&sheet.name) == folded(&part.sheet);
    let left_over = |sheet: &&SheetInfo| sheet.visible && book.parts.iter().all(|part| !same(sheet, part));
    let there = |part: &ReturnedPart| sheets.iter().any(|sheet| same(sheet, part));
    if sheets.iter().find(left_over).is_none() && book.parts.iter().any(there) {
        book.parts.retain(there);
    }
    book
}

/// The loads of a returned workbook: as its rows were loaded before, but never replacing the table. What was only
/// rehearsed is rehearsed again: nobody has asked for it to be written.
fn healing_loads(book: &ReturnedBook) -> Vec<LoadSettings> {
    let load = |part: &ReturnedPart| LoadSettings {
        sheet: Some(part.sheet.clone()),
        header_row: None,
        overwrite: false,
        package_file: None,
        ..part.settings.clone()
    };
    book.parts.iter().map(load).collect()
}

fn folded(name: &str) -> String {
    name.trim().to_lowercase()
}
