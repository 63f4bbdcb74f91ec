//! Rows as operations: every cell held against its attribute, every lookup found, every record named by a key of ours.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::Dynamics;
use super::bulk::Action;
use super::fault::TargetFault;
use super::finops;
use super::lookup::{Ids, Pointed, misfit};
use super::operation::{Bulk, Condition, Knowing, Method, Operation};
use super::plan::{Naming, PlannedColumn, Role, RowPlan};
use super::spelling::{KEY_CHARS_REFUSED, encoded, json, json_object, literal};
use crate::domain::conform::{Conformed, Misfit, conform, excerpt, guid_in};
use crate::domain::entity::AttributeKind;
use crate::domain::identity;
use crate::domain::refusal::Refusal;
use crate::domain::row::StagedRow;
use crate::domain::settings::{BlankRule, Mode};
use crate::domain::value::Value;

/// One row's cells as the target takes them, in the order of the plan's columns; and everything wrong with it.
pub(super) struct Draft {
    pub(super) deed: Deed,
    pub(super) cells: Vec<Conformed>,
    refusals: Vec<Refusal>,
    left_out: Vec<Refusal>,
    parents: Vec<u32>,
    /// Places of columns whose record was not found by the first of their lookups, and the place of the one that found it.
    others: Vec<(usize, usize)>,
    /// Places of columns that are left out, whatever a blank cell means.
    skipped: Vec<usize>,
}

/// A row as the target takes it.
#[derive(Debug)]
pub struct Encoded {
    /// The row's operation, or everything that is wrong with it.
    pub operation: Result<Operation, Vec<Refusal>>,
    /// What the operation does without for now: the row is not complete when it is written.
    pub left_out: Vec<Refusal>,
    /// Places in the load of the rows that must be written before this one.
    pub parents: Vec<u32>,
}

/// Rows with their places in the load.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'a> {
    /// The rows.
    pub rows: &'a [StagedRow],
    /// The place of each in its load, from 0.
    pub places: &'a [u32],
}

/// Whether lookups that are to be set in a second pass are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// They are.
    First,
    /// They are set.
    Second,
}

/// What is done with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Create,
    Upsert,
    Update,
    Delete,
}

impl Dynamics {
    /// The operation of each row, or everything that is wrong with it. Nothing is written; lookups are asked for, once
    /// for all rows.
    ///
    /// # Errors
    /// What kept the target from telling the lookups.
    ///
    /// # Panics
    /// When a row does not have the columns that the plan was made for.
    pub async fn encode(
        &self,
        plan: &RowPlan,
        rows: &[StagedRow],
    ) -> Result<Vec<Result<Operation, Vec<Refusal>>>, TargetFault> {
        let encoded =
            self.encode_placed(plan, Placed { rows, places: &[] }, Pass::First, Ids::Believed).await?;
        Ok(encoded.into_iter().map(|encoded| encoded.operation).collect())
    }

    /// As [`Self::encode`], for rows that may point at each other; `places` may be empty where the plan knows no siblings.
    ///
    /// # Errors
    /// As [`Self::encode`].
    ///
    /// # Panics
    /// As [`Self::encode`].
    pub async fn encode_placed(
        &self,
        plan: &RowPlan,
        placed: Placed<'_>,
        pass: Pass,
        ids: Ids,
    ) -> Result<Vec<Encoded>, TargetFault> {
        let mut drafts: Vec<Draft> = placed.rows.iter().map(|row| plan.draft(row)).collect();
        for (at, column) in plan.columns.iter().enumerate().filter(|(_, column)| column.lookup.is_some()) {
            self.resolve(plan, at, column, placed.places, (pass, ids), &mut drafts).await?;
        }
        let encoded = |(mut draft, row): (Draft, &StagedRow)| Encoded {
            left_out: std::mem::take(&mut draft.left_out),
            parents: std::mem::take(&mut draft.parents),
            operation: plan.operation(self.target_id(), row, draft),
        };
        Ok(drafts.into_iter().zip(placed.rows).map(encoded).collect())
    }

    /// Replaces the references in one column by the ids of their records.
    async fn resolve(
        &self,
        plan: &RowPlan,
        at: usize,
        column: &PlannedColumn,
        places: &[u32],
        (pass, ids): (Pass, Ids),
        drafts: &mut [Draft],
    ) -> Result<(), TargetFault> {
        let values: BTreeSet<String> = drafts
            .iter()
            .filter_map(|draft| match &draft.cells[at] {
                Conformed::Reference(value) => Some(value.clone()),
                _ => None,
            })
            .collect();
        if values.is_empty() {
            return Ok(());
        }
        let pointed = self.point(plan, column, values, ids).await?;
        for (number, draft) in drafts.iter_mut().enumerate() {
            let Conformed::Reference(value) = &draft.cells[at] else { continue };
            let (by, result) = match pointed.get(value) {
                // Its turn has come, so the row that it points at was written; whatever it was named by then is gone.
                None | Some((_, Pointed::Sibling(_))) if ids == Ids::Believed => (0, &Pointed::Nowhere),
                Some((by, result)) => (*by, result),
                None => (0, &Pointed::Nowhere),
            };
            let waits =
                plan.second_pass(column, value, places.get(number).copied()).filter(|_| pass == Pass::First);
            if let Some(refusal) = waits {
                draft.left_out.push(refusal);
                draft.skipped.push(at);
                draft.cells[at] = Conformed::Blank;
                continue;
            }
            if let Some(misfit) = misfit(column, value, (by, result)) {
                let mut refusal = misfit.refusal(&column.name);
                if matches!(result, Pointed::Nowhere | Pointed::Refused(_)) {
                    refusal.missing = column.missing(value);
                }
                let absent = *result == Pointed::Nowhere && plan.goes_without(column);
                match refusal.missing.as_mut().filter(|_| absent) {
                    Some(missing) => {
                        missing.partly = true;
                        refusal.cause.push_str("; the row is written without it for now");
                        draft.left_out.push(refusal);
                        draft.skipped.push(at);
                    }
                    None => draft.refusals.push(refusal),
                }
            }
            if by > 0 {
                draft.others.push((at, by));
            }
            draft.cells[at] = match result {
                Pointed::At(id) => Conformed::Guid(*id),
                Pointed::Sibling(sibling) => {
                    draft.parents.push(sibling.place);
                    Conformed::Guid(sibling.record.unwrap_or_default())
                }
                _ => Conformed::Blank,
            };
        }
        Ok(())
    }
}

impl RowPlan {
    /// What is done with a row: in mode `edit` each row says so itself.
    fn deed(&self, row: &StagedRow) -> Deed {
        match (self.mode, &self.naming) {
            (Mode::Edit, Naming::Given(at)) => match row.values[self.columns[*at].index].to_text().trim() {
                "" => Deed::Create,
                _ => Deed::Update,
            },
            (Mode::Insert | Mode::Edit, _) => Deed::Create,
            (Mode::Upsert, _) => Deed::Upsert,
            (Mode::Update, _) => Deed::Update,
            (Mode::Delete, _) => Deed::Delete,
        }
    }

    /// Whether rows may go without this lookup for now: nothing but its own value depends on it.
    fn goes_without(&self, column: &PlannedColumn) -> bool {
        let mut to = column.lookups().map(|lookup| &lookup.target.set_name);
        to.any(|to| self.without.contains(to)) && self.can_be_left_out(column)
    }

    /// Whether a row can be written without this column.
    pub(super) fn can_be_left_out(&self, column: &PlannedColumn) -> bool {
        column.role == Role::Value && !column.attribute.required && column.attribute.updatable
    }

    pub(super) fn draft(&self, row: &StagedRow) -> Draft {
        assert_eq!(row.values.len(), self.width, "a row has the columns of the table it was staged in");
        let deed = self.deed(row);
        let mut draft = Draft {
            deed,
            cells: Vec::with_capacity(self.columns.len()),
            refusals: Vec::new(),
            left_out: Vec::new(),
            parents: Vec::new(),
            others: Vec::new(),
            skipped: Vec::new(),
        };
        for column in &self.columns {
            let conformed = conform(&column.attribute, &row.values[column.index], &self.zone)
                .and_then(|value| self.present(column, value, deed));
            draft.cells.push(conformed.unwrap_or_else(|misfit| {
                draft.refusals.push(misfit.refusal(&column.name));
                Conformed::Blank
            }));
        }
        draft
    }

    /// Refuses a blank where there must be something, and what an address cannot carry.
    fn present(&self, column: &PlannedColumn, value: Conformed, deed: Deed) -> Result<Conformed, Misfit> {
        let attribute = &column.attribute;
        let named = column.role != Role::Value;
        if value == Conformed::Blank {
            let named = named && !(self.mode == Mode::Edit && deed == Deed::Create);
            let demanded = attribute.required
                && column.role == Role::Value
                && match deed {
                    Deed::Create => true,
                    Deed::Upsert | Deed::Update => self.blank == BlankRule::Clear,
                    Deed::Delete => false,
                };
            return match (named, demanded) {
                (true, _) => Err(Misfit {
                    error: format!("`{}`: blank in a key", attribute.logical_name),
                    cause: format!("{} names the record, but the cell is empty", attribute.label()),
                    advice: "fill it in".to_owned(),
                }),
                (false, true) => Err(Misfit {
                    error: format!("`{}`: required", attribute.logical_name),
                    cause: format!("{} must have a value, but the cell is empty", attribute.label()),
                    advice: "fill it in".to_owned(),
                }),
                (false, false) => Ok(value),
            };
        }
        if self.mode == Mode::Edit && deed == Deed::Create && !named && !attribute.creatable {
            return Err(Misfit {
                error: format!("`{}`: not valid for create", attribute.logical_name),
                cause: format!("{} cannot be set when a record is created", attribute.label()),
                advice: "leave the cell empty; once the record is there, it can be changed".to_owned(),
            });
        }
        if let (Role::Key, Conformed::Text(text), Naming::Alternate(_)) = (column.role, &value, &self.naming)
            && let Some(found) = text.chars().find(|c| KEY_CHARS_REFUSED.contains(c))
        {
            return Err(Misfit {
                error: format!("`{}`: `{found}` in an alternate key", attribute.logical_name),
                cause: format!("`{}` has `{found}`, which Dynamics cannot take in a key", excerpt(text)),
                advice: "load the row by another key, for example by the record's id".to_owned(),
            });
        }
        Ok(value)
    }

    fn operation(&self, target: &str, row: &StagedRow, draft: Draft) -> Result<Operation, Vec<Refusal>> {
        let Draft { deed, cells, mut refusals, others, skipped, .. } = draft;
        if !refusals.is_empty() {
            let place = |refusal: &Refusal| {
                self.columns.iter().position(|c| refusal.column.as_ref() == Some(&c.name))
            };
            refusals.sort_by_key(place);
            return Err(refusals);
        }
        if let Naming::Entity(naming) = &self.naming {
            return finops::operation(self, naming, row, deed, &cells);
        }
        let (predicate, shown) = self.predicate(target, row, &cells);
        let (method, condition) = match deed {
            Deed::Create | Deed::Upsert => (Method::Patch, Condition::Any),
            Deed::Update => (Method::Patch, Condition::Exists),
            Deed::Delete => (Method::Delete, Condition::Any),
        };
        Ok(Operation {
            row: row.id,
            bulk: self.bulk(deed, &predicate),
            method,
            path: format!("{}({predicate})", self.entity.set_name),
            condition,
            knowing: self.knowing(row, &cells, deed),
            body: (method == Method::Patch).then(|| self.body(&cells, (&others, &skipped), deed)),
            target_key: shown,
            if_absent: match self.mode {
                Mode::Delete => "take the row out, or correct its key",
                Mode::Edit => {
                    "it may have been deleted: take the row out, or empty its id to create a new record"
                }
                Mode::Insert | Mode::Upsert | Mode::Update => {
                    "correct its key, or load it with mode `upsert`"
                }
            },
            columns: self.names.clone(),
            course: None,
        })
    }

    /// The record that a row names, as receipts keep it: as [`Operation::target_key`] of the row's operation.
    pub fn target_key(&self, target: &str, row: &StagedRow) -> String {
        let key: &[usize] = match &self.naming {
            Naming::Entity(naming) => {
                return finops::target_key(self, naming, row, &self.draft(row).cells);
            }
            Naming::Row => &[],
            Naming::PrimaryId(at) | Naming::Given(at) => std::slice::from_ref(at),
            Naming::Derived(key) | Naming::Alternate(key) => key,
        };
        let drafted = self.draft(row);
        let plain = key.iter().all(|at| literal(&drafted.cells[*at]).is_some());
        if plain || matches!(self.naming, Naming::Row | Naming::Derived(_) | Naming::Given(_)) {
            return self.predicate(target, row, &drafted.cells).1;
        }
        // A key over a lookup: the value as the sender knows it says more than an id that would have to be asked for.
        let shown = key.iter().map(|at| {
            let column = &self.columns[*at];
            format!("{}={}", column.attribute.logical_name, row.values[column.index].to_text())
        });
        shown.collect::<Vec<_>>().join(",")
    }

    /// The row's place in a bulk action: it names its record by id, or in an upsert by an alternate key. None where the
    /// values name the id as well; what the service makes of that is not known.
    fn bulk(&self, deed: Deed, predicate: &str) -> Option<Bulk> {
        let id = self.entity.primary_id.as_ref()?;
        let action = match deed {
            Deed::Create => Action::Create,
            Deed::Upsert => Action::Upsert,
            Deed::Update => Action::Update,
            Deed::Delete => return None,
        };
        let repeated =
            |column: &PlannedColumn| column.role != Role::Key && column.attribute.logical_name == *id;
        if self.columns.iter().any(repeated) {
            return None;
        }
        let member = |name: &str, value: String| {
            let object = json_object(&[(name.to_owned(), json(&Conformed::Text(value)))]);
            object.trim_start_matches('{').trim_end_matches('}').to_owned()
        };
        let naming = match (guid_in(predicate), action) {
            (Some(own), _) => member(id, own.hyphenated().to_string()),
            (None, Action::Upsert) => member("@odata.id", format!("{}({predicate})", self.entity.set_name)),
            (None, Action::Create | Action::Update) => return None,
        };
        Some(Bulk { action, naming, table: Arc::clone(&self.table) })
    }

    /// How it will be known whether the row's record was there before.
    fn knowing(&self, row: &StagedRow, cells: &[Conformed], deed: Deed) -> Knowing {
        let own_id = match self.naming {
            Naming::Row => true,
            Naming::Given(at) => cells[at] == Conformed::Blank,
            // Ids made of a key, and the sender's own, are the same in every job.
            Naming::Derived(_) | Naming::PrimaryId(_) | Naming::Alternate(_) | Naming::Entity(_) => false,
        };
        match (deed, &self.entity.primary_id) {
            (Deed::Update | Deed::Delete, _) => Knowing::There,
            _ if own_id && !self.rows_known && !self.records.contains_key(&row.id) => Knowing::Fresh,
            (_, Some(id)) => Knowing::Asked(Arc::from(id.as_str())),
            (_, None) => Knowing::Untold,
        }
    }

    /// What stands between the parentheses of the record's address, encoded and as people read it.
    pub(super) fn predicate(&self, target: &str, row: &StagedRow, cells: &[Conformed]) -> (String, String) {
        let id = |id: Uuid| (id.hyphenated().to_string(), id.hyphenated().to_string());
        if let Naming::Given(at) = self.naming
            && let Some(given) = literal(&cells[at])
        {
            return (encoded(&given), given);
        }
        if let Some(record) = self.records.get(&row.id) {
            return id(*record);
        }
        match &self.naming {
            // The entity's own key is its own room's.
            Naming::Row | Naming::Given(_) | Naming::Entity(_) => id(row.id.0),
            Naming::PrimaryId(at) => {
                let shown = literal(&cells[*at]).expect("a key cell is neither blank nor a list");
                (encoded(&shown), shown)
            }
            Naming::Derived(key) => {
                let values: Vec<Value> = key.iter().map(|at| cells[*at].canonical()).collect();
                let values: Vec<&Value> = values.iter().collect();
                id(identity::record_id(target, &self.entity.set_name, &values))
            }
            Naming::Alternate(key) => {
                let members: Vec<String> = key
                    .iter()
                    .map(|at| {
                        let attribute = &self.columns[*at].attribute;
                        let name = match attribute.kind {
                            AttributeKind::Lookup { .. } => format!("_{}_value", attribute.logical_name),
                            _ => attribute.logical_name.clone(),
                        };
                        let literal = literal(&cells[*at]).expect("a key cell is neither blank nor a list");
                        format!("{name}={literal}")
                    })
                    .collect();
                let shown = members.join(",");
                (encoded(&shown), shown)
            }
        }
    }

    fn body(
        &self,
        cells: &[Conformed],
        (others, skipped): (&[(usize, usize)], &[usize]),
        deed: Deed,
    ) -> String {
        let mut members = Vec::new();
        for (at, (column, value)) in self.columns.iter().zip(cells).enumerate() {
            let blank = *value == Conformed::Blank;
            // A note of the plan tells which columns the target takes only when a record is created.
            let unfit = self.mode == Mode::Edit
                && match deed {
                    Deed::Create => !column.attribute.creatable,
                    _ => !column.attribute.updatable,
                };
            let left_out = blank && (self.blank == BlankRule::Leave || skipped.contains(&at));
            if column.role == Role::Key || unfit || left_out {
                continue;
            }
            let by = others.iter().find(|(of, _)| *of == at).map_or(0, |(_, by)| *by);
            members.push(match column.lookups().nth(by) {
                None => (column.attribute.logical_name.clone(), json(value)),
                Some(lookup) => {
                    let bound = match value {
                        Conformed::Guid(id) => Conformed::Text(format!("/{}({id})", lookup.target.set_name)),
                        _ => Conformed::Blank,
                    };
                    (format!("{}@odata.bind", lookup.target.navigation), json(&bound))
                }
            });
        }
        json_object(&members)
    }
}
