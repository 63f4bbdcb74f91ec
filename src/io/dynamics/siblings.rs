//! Rows of a load that other rows of it point at, found by the values that name them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Dynamics;
use super::encode::Deed;
use super::lookup::folded;
use super::plan::{LookupPlan, LookupWay, Naming, PlannedColumn, RowPlan};
use crate::domain::conform::{Conformed, conform, excerpt};
use crate::domain::refusal::Refusal;
use crate::domain::row::StagedRow;
use crate::domain::value::Value;

/// The rows of one load by the values that others name them by; some eighty bytes a row and such value.
#[derive(Debug, Default)]
pub struct Siblings {
    known: HashMap<[u8; 16], Known>,
    /// Places of row and parent whose lookup is set in a second pass.
    later: HashSet<(u32, u32)>,
    /// Places of rows that others mean.
    parents: HashSet<u32>,
    /// Places of rows that were refused.
    refused: Mutex<HashSet<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    place: u32,
    number: u32,
    record: Option<Uuid>,
    several: bool,
}

/// A row of the load that a value names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sibling {
    /// Its place in the load, from 0.
    pub(super) place: u32,
    /// Its Excel row number.
    pub(super) number: u32,
    /// The id of its record, where we choose it.
    pub(super) record: Option<Uuid>,
    /// Whether another row has the value too.
    pub(super) several: bool,
    /// Whether it was refused.
    pub(super) refused: bool,
    /// Whether preflight found that it is meant, since the target had no such record.
    pub(super) meant: bool,
}

impl Siblings {
    /// Notes the row at this place by every value that another row may name it by.
    pub fn note(&mut self, dynamics: &Dynamics, plan: &RowPlan, place: u32, row: &StagedRow) {
        let draft = plan.draft(row);
        if !matches!(draft.deed, Deed::Create | Deed::Upsert) {
            return;
        }
        let chosen = match &plan.naming {
            Naming::Row | Naming::Given(_) | Naming::Derived(_) => true,
            Naming::PrimaryId(at) => draft.cells[*at] != Conformed::Blank,
            Naming::Alternate(_) | Naming::Entity(_) => false,
        };
        let record = chosen
            .then(|| plan.predicate(dynamics.target_id(), row, &draft.cells).1)
            .and_then(|id| Uuid::try_parse(&id).ok());
        for (at, name) in plan.names_siblings() {
            let Some(value) = folded(&draft.cells[at]) else { continue };
            match self.known.entry(mark(name, &value)) {
                Entry::Occupied(mut known) => known.get_mut().several |= known.get().place != place,
                Entry::Vacant(free) => {
                    free.insert(Known { place, number: row.number, record, several: false });
                }
            }
        }
    }

    /// Says what preflight has found: which lookups are set in a second pass (places of row and parent), and which rows
    /// are the ones that others mean, rather than records that the target has.
    pub fn set_order(&mut self, later: impl IntoIterator<Item = (u32, u32)>, parents: &[u32]) {
        self.later = later.into_iter().collect();
        self.parents = parents.iter().copied().collect();
    }

    /// Notes that the row at this place is not written.
    pub fn refuse(&self, place: u32) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
    }

    fn find(&self, column: &str, value: &str) -> Option<Sibling> {
        let Known { place, number, record, several } = *self.known.get(&mark(column, value))?;
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).contains(&place);
        let meant = self.parents.contains(&place);
        Some(Sibling { place, number, record, several, refused, meant })
    }
}

/// The first half of a SHA-256 of column and value: 100,000 rows share one with a chance of 10⁻²⁹.
fn mark(column: &str, value: &str) -> [u8; 16] {
    let digest = Sha256::digest(format!("{column}\u{1f}{value}"));
    digest[..16].try_into().expect("a SHA-256 has 32 bytes")
}

impl RowPlan {
    /// Whether rows may point at rows of the same load.
    pub fn may_have_siblings(&self) -> bool {
        self.names_siblings().next().is_some()
    }

    /// Lets rows point at others of the same load.
    pub fn with_siblings(&mut self, siblings: Arc<Siblings>) {
        self.siblings = Some(siblings);
    }

    /// Places and names of the columns by whose values the load's own records are looked up.
    fn names_siblings(&self) -> impl Iterator<Item = (usize, &str)> {
        let lookups = self.columns.iter().flat_map(PlannedColumn::lookups);
        let own = lookups.filter(|lookup| lookup.target.set_name == self.entity.set_name);
        let searched = own.flat_map(searched).collect::<HashSet<_>>();
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, column)| (at, column.attribute.logical_name.as_str()))
            .filter(move |(_, name)| searched.contains(name))
    }

    /// The row of the load that the value of a lookup to its own entity names.
    pub(super) fn sibling(&self, lookup: &LookupPlan, value: &str) -> Option<Sibling> {
        let siblings = self.siblings.as_ref()?;
        if lookup.target.set_name != self.entity.set_name {
            return None;
        }
        let (attribute, conformed) = match (&lookup.way, lookup.id_in(value)) {
            (_, Some(id)) => (lookup.id.as_ref()?, Conformed::Guid(id)),
            (LookupWay::Column { attribute, .. }, None) => {
                (attribute, conform(attribute, &Value::Text(value.to_owned()), &self.zone).ok()?)
            }
            (LookupWay::Id, None) => return None,
        };
        siblings.find(&attribute.logical_name, &folded(&conformed)?)
    }

    /// Why the lookup of the row at this place is left out of its first pass, where it is.
    pub(super) fn second_pass(
        &self,
        column: &PlannedColumn,
        value: &str,
        place: Option<u32>,
    ) -> Option<Refusal> {
        let siblings = self.siblings.as_ref().filter(|siblings| !siblings.later.is_empty())?;
        let sibling = column.lookups().find_map(|lookup| self.sibling(lookup, value))?;
        if !siblings.later.contains(&(place?, sibling.place)) {
            return None;
        }
        let mut missing = column.missing(value)?;
        missing.partly = true;
        let number = sibling.number;
        Some(Refusal {
            column: Some(column.name.clone()),
            error: format!("`{}`: circular, set in a second pass", column.attribute.logical_name),
            cause: format!(
                "the row is written, but not yet that it points at row {number} (`{}`): the rows point at each other",
                excerpt(value)
            ),
            advice: format!("it is set by itself once row {number} is written"),
            missing: Some(missing),
        })
    }

    /// Whether rows can be named by others before they are written: their ids are ours.
    pub fn chooses_ids(&self) -> bool {
        !matches!(self.naming, Naming::Alternate(_))
    }

    /// Whether every lookup to the load's own entity can be set in a second pass.
    pub fn can_be_circular(&self) -> bool {
        let own = |column: &&PlannedColumn| {
            column.lookups().any(|lookup| lookup.target.set_name == self.entity.set_name)
        };
        self.columns.iter().filter(own).all(|column| self.can_be_left_out(column))
    }
}

/// The names of the columns by which a lookup's values name records.
fn searched(lookup: &LookupPlan) -> Vec<&str> {
    let by_column = match &lookup.way {
        LookupWay::Column { attribute, .. } => Some(attribute.logical_name.as_str()),
        LookupWay::Id => None,
    };
    by_column.into_iter().chain(lookup.id.as_ref().map(|id| id.logical_name.as_str())).collect()
}
