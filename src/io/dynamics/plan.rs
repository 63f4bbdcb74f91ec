//! What each staged column becomes in the target, and how a row names its record; every fault of a sheet's settings at once.

mod drawing;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use jiff::tz::TimeZone;
use uuid::Uuid;

use self::drawing::{Drawing, find, names};
use super::bulk::Table;
use super::fault::{PlanFault, TargetFault};
use super::finops::EntityNaming;
use super::lookup::LookupCache;
use super::siblings::Siblings;
use super::{Dialect, Dynamics};
use crate::domain::entity::{Attribute, AttributeKind, Entity, LookupTarget};
use crate::domain::row::{RowId, StagedColumn};
use crate::domain::settings::{BlankRule, LoadSettings, LookupRule, Mode};
use crate::domain::table::column_identifier;

/// How the rows of one staged table become operations on one entity.
#[derive(Debug)]
pub struct RowPlan {
    pub(super) entity: Arc<Entity>,
    /// The entity as bulk actions name it.
    pub(super) table: Arc<Table>,
    pub(super) mode: Mode,
    pub(super) blank: BlankRule,
    pub(super) zone: TimeZone,
    pub(super) columns: Vec<PlannedColumn>,
    pub(super) naming: Naming,
    /// Names that the target may use in messages → staged columns.
    pub(super) names: Arc<Vec<(String, String)>>,
    /// Columns of the staged table, planned or not.
    pub(super) width: usize,
    pub(super) cache: Mutex<LookupCache>,
    /// Records of rows that were written before under another name than this plan gives them.
    pub(super) records: HashMap<RowId, Uuid>,
    /// Whether rows may have been sent by earlier jobs under their own ids.
    pub(super) rows_known: bool,
    /// Rows of the load that others of it point at.
    pub(super) siblings: Option<Arc<Siblings>>,
    /// Entities whose absent records rows may be written without, for now.
    pub(super) without: BTreeSet<String>,
    notes: Vec<String>,
}

/// The staged columns that hold the key of an F&O entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityKeyColumns<'a> {
    /// All of them, by name.
    pub columns: Vec<&'a str>,
    /// The one that holds the company, where the sheet has it.
    pub company: Option<&'a str>,
    /// What its blank cells stand for; empty where only the target knows.
    pub usual: &'a str,
}

/// A staged column and the attribute it fills.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedColumn {
    /// Its place among the staged columns, from 0.
    pub index: usize,
    /// The staged column.
    pub name: String,
    /// Its header as the sender wrote it.
    pub header: String,
    /// The attribute.
    pub attribute: Attribute,
    /// What its values are for.
    pub role: Role,
    pub(super) lookup: Option<LookupPlan>,
    /// Where else the record may be that a value names: in other entities, or by other columns.
    pub(super) others: Vec<LookupPlan>,
}

/// What a column's values are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// They are written.
    Value,
    /// They name the record and are written too: the record's id is made of them.
    KeyAndValue,
    /// They name the record, in the address alone; in the body they could contradict it (dynamics.md §2.3).
    Key,
}

/// How a lookup's values name the records they point at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LookupPlan {
    pub(super) target: LookupTarget,
    /// What people call one such record.
    pub(super) called: String,
    /// Whether the column that the values stand in is a key by itself: no two records share one.
    pub(super) unique: bool,
    /// The column of the records' ids, where the target describes it.
    pub(super) id: Option<Attribute>,
    pub(super) way: LookupWay,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum LookupWay {
    /// By GUID alone.
    Id,
    /// By the values of a column; a GUID is taken as the record itself where the column was our choice.
    Column { attribute: Attribute, primary_id: String, ids_too: bool },
}

/// How a row names its record; numbers are places in [`RowPlan::columns`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Naming {
    /// By the row's own id.
    Row,
    /// By an id made of these columns' values.
    Derived(Vec<usize>),
    /// By the id in this column.
    PrimaryId(usize),
    /// By the id in this column where it holds one, else by the row's own id.
    Given(usize),
    /// By an alternate key over these columns.
    Alternate(Vec<usize>),
    /// By the entity's own key, company included (F&O).
    Entity(EntityNaming),
}

impl RowPlan {
    /// The entity that is loaded.
    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    /// Which staged columns hold an entity's own key, that of the company among them, and the company that its blank cells
    /// stand for. `None` where records are named otherwise, or the target makes a part of the key.
    pub fn entity_key(&self) -> Option<EntityKeyColumns<'_>> {
        let Naming::Entity(naming) = &self.naming else { return None };
        let name = |at: usize| self.columns[at].name.as_str();
        let (company, usual) = naming.companies();
        let columns = naming.columns()?.into_iter().chain(company).map(name).collect();
        Some(EntityKeyColumns { columns, company: company.map(name), usual })
    }

    /// The planned columns in the order of the staged ones; a staged column that is not sent is not among them.
    pub fn columns(&self) -> &[PlannedColumn] {
        &self.columns
    }

    /// Says that rows may have been sent by earlier jobs under the ids that they have: then only the target can tell which
    /// records were there already.
    pub fn expect_known_rows(&mut self) {
        self.rows_known = true;
    }

    /// Lets rows that were written before keep their records, whatever this plan would call them: an `overwrite` may
    /// bring a key, or drop it, and is to find the records all the same.
    ///
    /// `written` are the rows' receipts: row, and [`super::Operation::target_key`]. Where rows name their records by
    /// a key of the target's own, these decide and nothing is kept.
    pub fn keep_records<'a>(&mut self, written: impl IntoIterator<Item = (RowId, &'a str)>) {
        if let Naming::Entity(naming) = &mut self.naming {
            // The key of the row decides; that it was ours says that it is no conflict.
            written.into_iter().for_each(|(row, target_key)| naming.keep(row, target_key));
            return;
        }
        if !matches!(self.naming, Naming::Row | Naming::Derived(_) | Naming::Given(_)) {
            return;
        }
        for (row, target_key) in written {
            match Uuid::try_parse(target_key) {
                Ok(record) if self.naming != Naming::Row || record != row.0 => {
                    self.records.insert(row, record);
                }
                _ => {
                    self.records.remove(&row);
                }
            }
        }
    }

    /// The entities that the rows point at, by their names in the URL.
    pub fn points_at(&self) -> BTreeSet<&str> {
        self.columns
            .iter()
            .flat_map(PlannedColumn::lookups)
            .map(|lookup| lookup.target.set_name.as_str())
            .collect()
    }

    /// Lets rows go without records of these entities that are not there yet; such a row is not complete, and says so.
    pub fn go_without(&mut self, entities: BTreeSet<String>) {
        self.without = entities;
    }

    /// The entities that rows go without, which the plan forgets.
    pub fn take_without(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.without)
    }

    /// The rows of the load that others point at.
    pub fn siblings(&self) -> Option<&Arc<Siblings>> {
        self.siblings.as_ref()
    }

    /// What the operator and the sender should know although nothing is wrong, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl Dynamics {
    /// Plans the load of a staged table with these columns into the entity.
    ///
    /// A column belongs to the attribute that `settings.columns` names for its header (an empty name leaves the column
    /// out), else to the one whose logical or display name its header is.
    ///
    /// # Errors
    /// `Problems` with everything the sender must mend; `Target` where the target could not be asked.
    pub async fn prepare(
        &self,
        entity: &Arc<Entity>,
        columns: &[StagedColumn],
        settings: &LoadSettings,
    ) -> Result<RowPlan, PlanFault> {
        let dialect = self.dialect();
        let (problems, notes) = (Vec::new(), Vec::new());
        let mut drawing = Drawing { dialect, entity, staged: columns, settings, problems, notes };
        drawing.check_settings();
        let mut planned = drawing.columns();
        let naming = match dialect {
            Dialect::Dataverse => drawing.naming(&mut planned),
            Dialect::Finops => {
                let company = self.usual_company(entity, settings).await?;
                drawing.entity_naming(&mut planned, company)
            }
        };
        for column in &mut planned {
            let mut lookups = self.lookup_plans(&mut drawing, column).await?.into_iter();
            column.lookup = lookups.next();
            column.others = lookups.collect();
        }
        drawing.check_writable(&planned);
        drawing.note_required(&planned);
        let zone = drawing.zone();
        let Drawing { problems, notes, .. } = drawing;
        match (naming, zone) {
            (Some(naming), Some(zone)) if problems.is_empty() => Ok(RowPlan {
                entity: entity.clone(),
                mode: settings.mode,
                blank: settings.blank,
                zone,
                names: Arc::new(names(&planned)),
                columns: planned,
                naming,
                width: columns.len(),
                cache: Mutex::default(),
                records: HashMap::new(),
                rows_known: false,
                table: Arc::new(Table {
                    set_name: entity.set_name.clone(),
                    logical_name: entity.logical_name.clone(),
                }),
                siblings: None,
                without: BTreeSet::new(),
                notes,
            }),
            _ => Err(PlanFault::Problems { problems }),
        }
    }

    /// How a column's values are looked up: in each entity that it can point at, unless `lookups` says in which, and by
    /// each column by which people name its records, unless `lookups` says by which.
    async fn lookup_plans(
        &self,
        drawing: &mut Drawing<'_>,
        column: &PlannedColumn,
    ) -> Result<Vec<LookupPlan>, TargetFault> {
        let rule = drawing.lookup_rule(column);
        let AttributeKind::Lookup { targets } = &column.attribute.kind else {
            if rule.is_some() {
                drawing.problem(
                    Some(&column.header),
                    format!(
                        "`lookups` names `{}`, but {} is no lookup",
                        column.header,
                        column.attribute.label()
                    ),
                    "take it out of `lookups`".to_owned(),
                );
            }
            return Ok(Vec::new());
        };
        let mut plans = Vec::new();
        let targets = drawing.lookup_targets(column, targets, rule);
        let one = targets.len() == 1;
        for target in &targets {
            let entity = match self.entity(&target.logical_name).await {
                Err(TargetFault::UnknownEntity { .. }) if !one => continue,
                entity => entity?,
            };
            match ways(&entity, rule) {
                Ok(ways) => plans.extend(ways.into_iter().map(|way| LookupPlan::new(target, &entity, way))),
                Err((cause, advice)) if one => {
                    let cause = format!("`lookups` of `{}`: {cause}", column.header);
                    drawing.problem(Some(&column.header), cause, advice);
                }
                // Another entity has the column.
                Err(_) => {}
            }
        }
        if plans.is_empty() && !one && !targets.is_empty() {
            drawing.name_the_target(column, &targets);
        }
        Ok(plans)
    }
}

/// Columns by which people name users beside their names. Source: dynamics.md §2.6, owner.
const USERS_NAMED_BY: [&str; 2] = ["internalemailaddress", "domainname"];

/// The ways in which values name records of an entity.
///
/// # Errors
/// Cause and advice: the entity has no such column.
fn ways(entity: &Entity, rule: Option<&LookupRule>) -> Result<Vec<LookupWay>, (String, String)> {
    let Some(primary_id) = &entity.primary_id else { return Ok(vec![LookupWay::Id]) };
    let by = |attribute: &Attribute, ids_too: bool| LookupWay::Column {
        attribute: attribute.clone(),
        primary_id: primary_id.clone(),
        ids_too,
    };
    if let Some(rule) = rule {
        let attribute = find(entity, &rule.column, &column_identifier(&rule.column))?;
        return Ok(match attribute.logical_name == *primary_id {
            true => vec![LookupWay::Id],
            false => vec![by(attribute, false)],
        });
    }
    let Some(name) = entity.primary_name.as_deref().and_then(|name| entity.attribute(name)) else {
        return Ok(vec![LookupWay::Id]);
    };
    let mut ways = vec![by(name, true)];
    if entity.logical_name == "systemuser" {
        let named_by = |name: &&str| entity.attributes.iter().find(|a| a.logical_name == *name);
        ways.extend(USERS_NAMED_BY.iter().filter_map(named_by).map(|attribute| by(attribute, false)));
    }
    Ok(ways)
}

impl LookupPlan {
    fn new(target: &LookupTarget, entity: &Entity, way: LookupWay) -> Self {
        let called =
            entity.display_name.clone().unwrap_or_else(|| target.logical_name.clone()).to_lowercase();
        let id = entity.primary_id.as_deref().and_then(|id| entity.attribute(id)).cloned();
        let unique = match &way {
            LookupWay::Column { attribute, .. } => {
                entity.key_over(std::slice::from_ref(&attribute.logical_name)).is_some()
            }
            LookupWay::Id => true,
        };
        LookupPlan { target: target.clone(), called, unique, id, way }
    }
}

impl PlannedColumn {
    /// Every way to look its values up, the first one first.
    pub(super) fn lookups(&self) -> impl Iterator<Item = &LookupPlan> {
        self.lookup.iter().chain(&self.others)
    }
}
