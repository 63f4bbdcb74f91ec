//! Finds the records that lookup cells point at, many values in one question.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use uuid::Uuid;

use super::Dynamics;
use super::fault::TargetFault;
use super::plan::{LookupPlan, LookupWay, PlannedColumn, RowPlan};
use super::siblings::Sibling;
use super::spelling::{encoded, literal};
use crate::domain::conform::{Conformed, Misfit, conform, excerpt, guid_in};
use crate::domain::entity::Attribute;
use crate::domain::refusal::Missing;
use crate::domain::value::Value;

/// Values in one question. Far below what a query may hold; larger ones are slow to plan.
const VALUES_MAX: usize = 50;
/// Questions at once; few, because the loads of other tables run beside.
const QUESTIONS_AT_ONCE: usize = 4;
/// Longest filter in a URL, in bytes; half of the 32 KB that a GET may have (dynamics.md §4.4).
const FILTER_BYTES_MAX: usize = 16_384;
/// Found records that a plan remembers; beyond it the memory begins anew.
const CACHED_MAX: usize = 100_000;

/// Records that were found. What was not found is asked again: it may have been loaded meanwhile.
#[derive(Debug, Default)]
pub(super) struct LookupCache {
    /// By the column's place, the lookup's among its lookups, and the value.
    found: HashMap<(usize, usize, String), Uuid>,
}

/// What a value points at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pointed {
    At(Uuid),
    /// A row of the same load, whose record is not there yet.
    Sibling(Sibling),
    /// The record of a row of the same load that was refused; that row's number.
    Refused(u32),
    Nowhere,
    AtSeveral(usize),
    Unfit(Misfit),
}

/// What is taken for granted of records that a row names by their ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// They are there; the target says so itself where one is not.
    Believed,
    /// Whether they are there is asked, as for all others.
    Asked,
}

/// Questions about one lookup, and the ones left over for the records that are named by id.
struct Asked {
    by_column: Vec<String>,
    by_id: Vec<String>,
}

impl Dynamics {
    /// What each of the values of this column points at, and by which of its lookups.
    pub(super) async fn point(
        &self,
        plan: &RowPlan,
        column: &PlannedColumn,
        values: BTreeSet<String>,
        ids: Ids,
    ) -> Result<HashMap<String, (usize, Pointed)>, TargetFault> {
        let mut found: HashMap<String, (usize, Pointed)> = HashMap::new();
        for (at, lookup) in column.lookups().enumerate() {
            // An id may be one of any of them.
            let ids = if column.others.is_empty() { ids } else { Ids::Asked };
            let pointed = self.point_by(plan, (column.index, at), lookup, values.clone(), ids).await?;
            for (value, result) in pointed {
                match found.entry(value) {
                    Entry::Vacant(free) => drop(free.insert((at, result))),
                    Entry::Occupied(mut known) => {
                        let (before, one) = known.get();
                        let same = |one: &LookupPlan| one.target.set_name == lookup.target.set_name;
                        let same = column.lookups().nth(*before).is_some_and(same);
                        known.insert(either((*before, one.clone()), (at, result), same));
                    }
                }
            }
        }
        Ok(found)
    }

    async fn point_by(
        &self,
        plan: &RowPlan,
        place: (usize, usize),
        lookup: &LookupPlan,
        values: BTreeSet<String>,
        ids: Ids,
    ) -> Result<HashMap<String, Pointed>, TargetFault> {
        let mut pointed = HashMap::new();
        let mut asked = Asked { by_column: Vec::new(), by_id: Vec::new() };
        for value in values {
            match settled(plan, place, lookup, &value, ids) {
                Some(result) => {
                    pointed.insert(value, result);
                }
                None if lookup.id_in(&value).is_some() => asked.by_id.push(value),
                None => asked.by_column.push(value),
            }
        }
        let set_name = &lookup.target.set_name;
        if let Some(id) = &lookup.id {
            let query = Query { attribute: id, primary_id: &id.logical_name, set_name };
            self.ask(&query, &plan.zone, asked.by_id, &mut pointed).await?;
        }
        if let LookupWay::Column { attribute, primary_id, .. } = &lookup.way {
            let query = Query { attribute, primary_id, set_name };
            self.ask(&query, &plan.zone, asked.by_column, &mut pointed).await?;
        }
        for (value, result) in &mut pointed {
            if let Pointed::At(id) = result {
                remember(plan, place, value, *id);
            }
            if let Some(sibling) = plan.sibling(lookup, value) {
                *result = beside(result, sibling, lookup.unique || lookup.id_in(value).is_some());
            }
        }
        Ok(pointed)
    }

    /// Which of these values name a record of the entity by this column: for rows that wait for them.
    ///
    /// # Errors
    /// What kept the target from answering. A column or an entity that is no longer there has no records.
    pub async fn present(
        &self,
        entity: &str,
        column: &str,
        values: Vec<String>,
    ) -> Result<HashSet<String>, TargetFault> {
        let entity = match self.entity(entity).await {
            Err(TargetFault::UnknownEntity { .. }) => return Ok(HashSet::new()),
            entity => entity?,
        };
        let (Some(attribute), Some(primary_id)) = (entity.attribute(column), &entity.primary_id) else {
            return Ok(HashSet::new());
        };
        let query = Query { attribute, primary_id, set_name: &entity.set_name };
        let mut pointed = HashMap::new();
        self.ask(&query, &TimeZone::UTC, values, &mut pointed).await?;
        let at_one = |(value, result)| matches!(result, Pointed::At(_)).then_some(value);
        Ok(pointed.into_iter().filter_map(at_one).collect())
    }

    async fn ask(
        &self,
        query: &Query<'_>,
        zone: &TimeZone,
        values: Vec<String>,
        pointed: &mut HashMap<String, Pointed>,
    ) -> Result<(), TargetFault> {
        let questions = query.questions(zone, values, pointed);
        let mut answered = stream::iter(questions)
            .map(|question| async {
                let mut records = Vec::new();
                self.inner.wire.each_of(&question.path, |json| records.extend(query.record(&json))).await?;
                Ok::<_, TargetFault>((question, records))
            })
            .buffer_unordered(QUESTIONS_AT_ONCE);
        while let Some((question, records)) = answered.try_next().await? {
            for (value, wanted) in question.wanted {
                let result = choose(&value, &wanted, &records);
                pointed.insert(value, result);
            }
        }
        Ok(())
    }
}

/// What is known without asking: what was found before, ids that are believed, and, once preflight has asked about all,
/// the records of rows of the same load.
fn settled(
    plan: &RowPlan,
    (index, at): (usize, usize),
    lookup: &LookupPlan,
    value: &str,
    ids: Ids,
) -> Option<Pointed> {
    let id = lookup.id_in(value);
    if lookup.way == LookupWay::Id && id.is_none() {
        return Some(Pointed::Unfit(not_an_id(lookup, value)));
    }
    let cached = {
        let cache = plan.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        cache.found.get(&(index, at, value.to_owned())).copied()
    };
    if let Some(found) = cached.or(id.filter(|_| ids == Ids::Believed || lookup.id.is_none())) {
        return Some(Pointed::At(found));
    }
    match (ids, plan.sibling(lookup, value)) {
        (Ids::Believed, Some(Sibling { record: Some(record), refused: false, meant: true, .. })) => {
            Some(Pointed::At(record))
        }
        _ => None,
    }
}

/// What a value points at that a row of the same load has too; `unique` where no two records can have it.
fn beside(found: &Pointed, sibling: Sibling, unique: bool) -> Pointed {
    match found {
        Pointed::At(id) if unique => Pointed::At(*id),
        Pointed::At(id) if sibling.record.is_none_or(|record| record == *id) => Pointed::At(*id),
        Pointed::At(_) => Pointed::AtSeveral(2),
        Pointed::Nowhere if sibling.several => Pointed::AtSeveral(2),
        Pointed::Nowhere if sibling.refused => Pointed::Refused(sibling.number),
        Pointed::Nowhere => Pointed::Sibling(sibling),
        other => other.clone(),
    }
}

impl LookupPlan {
    /// The id that the value is, where the lookup takes ids.
    pub(super) fn id_in(&self, value: &str) -> Option<Uuid> {
        let takes_ids = match &self.way {
            LookupWay::Id => true,
            LookupWay::Column { ids_too, .. } => *ids_too,
        };
        guid_in(value).filter(|_| takes_ids)
    }

    /// The record that a value names and that is not there.
    pub(super) fn missing(&self, value: &str) -> Option<Missing> {
        let column = match (&self.way, self.id_in(value)) {
            (_, Some(_)) => &self.id.as_ref()?.logical_name,
            (LookupWay::Column { attribute, .. }, None) => &attribute.logical_name,
            (LookupWay::Id, None) => return None,
        };
        Some(Missing {
            entity: self.target.set_name.clone(),
            column: column.clone(),
            value: value.to_owned(),
            partly: false,
            or: Vec::new(),
        })
    }
}

impl PlannedColumn {
    /// The record that a value names and that is not there, by any of the column's lookups.
    pub(super) fn missing(&self, value: &str) -> Option<Missing> {
        let mut all = self.lookups().filter_map(|lookup| lookup.missing(value));
        let mut first = all.next()?;
        first.or = all.collect();
        Some(first)
    }
}

fn remember(plan: &RowPlan, (index, at): (usize, usize), value: &str, id: Uuid) {
    let mut cache = plan.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if cache.found.len() >= CACHED_MAX {
        cache.found.clear();
    }
    cache.found.insert((index, at, value.to_owned()), id);
}

/// What a value points at by one lookup or the other, each with its place; `same` where both are of one entity.
fn either(one: (usize, Pointed), other: (usize, Pointed), same: bool) -> (usize, Pointed) {
    let points = |pointed: &Pointed| !matches!(pointed, Pointed::Nowhere | Pointed::Unfit(_));
    match (&one.1, &other.1) {
        (Pointed::At(first), Pointed::At(second)) if same && first == second => one,
        (Pointed::AtSeveral(count), _) | (_, Pointed::AtSeveral(count)) => {
            let count = *count;
            (one.0, Pointed::AtSeveral(count))
        }
        (first, second) if points(first) && points(second) => (one.0, Pointed::AtSeveral(2)),
        (_, second) if points(second) => other,
        (Pointed::Unfit(_), Pointed::Nowhere) => other,
        _ => one,
    }
}

/// How one column of one entity is searched.
struct Query<'a> {
    attribute: &'a Attribute,
    primary_id: &'a str,
    set_name: &'a str,
}

/// One request: its path, and the values it asks for with the form in which they will come back.
struct Question {
    path: String,
    wanted: Vec<(String, Wanted)>,
}

/// A value as records hold it: exactly, and as the database compares it (without case and closing blanks).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    exact: String,
    folded: String,
}

impl Wanted {
    fn new(exact: String) -> Self {
        let folded = exact.trim_end().to_lowercase();
        Wanted { exact, folded }
    }
}

impl Query<'_> {
    fn questions(
        &self,
        zone: &TimeZone,
        values: Vec<String>,
        pointed: &mut HashMap<String, Pointed>,
    ) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        let mut filter = String::new();
        let mut wanted = Vec::new();
        for value in values {
            let conformed = match conform(self.attribute, &Value::Text(value.clone()), zone) {
                Ok(conformed) => conformed,
                Err(misfit) => {
                    pointed.insert(value, Pointed::Unfit(misfit));
                    continue;
                }
            };
            let Some(literal) = literal(&conformed) else {
                pointed.insert(value, Pointed::Nowhere);
                continue;
            };
            let term = encoded(&format!("{} eq {literal}", self.attribute.logical_name));
            if !wanted.is_empty()
                && (wanted.len() >= VALUES_MAX || filter.len() + term.len() > FILTER_BYTES_MAX)
            {
                questions.push(self.question(&filter, std::mem::take(&mut wanted)));
                filter.clear();
            }
            if !filter.is_empty() {
                filter.push_str("%20or%20");
            }
            filter.push_str(&term);
            wanted.push((value, Wanted::new(comparable(&conformed))));
        }
        if !wanted.is_empty() {
            questions.push(self.question(&filter, wanted));
        }
        questions
    }

    fn question(&self, filter: &str, wanted: Vec<(String, Wanted)>) -> Question {
        let Query { attribute, primary_id, set_name } = self;
        let path = format!("{set_name}?$select={primary_id},{}&$filter={filter}", attribute.logical_name);
        Question { path, wanted }
    }

    /// A record's id and the value it has in the searched column.
    fn record(&self, json: &Json) -> Option<(Uuid, Wanted)> {
        let id = Uuid::try_parse(json.get(self.primary_id)?.as_str()?).ok()?;
        let value = match json.get(&self.attribute.logical_name)? {
            Json::String(text) => text.clone(),
            Json::Number(number) => plain_number(&number.to_string()),
            Json::Bool(truth) => truth.to_string(),
            _ => return None,
        };
        Some((id, Wanted::new(value)))
    }
}

/// A value as the database compares it; `None` where it cannot be searched for.
pub(super) fn folded(value: &Conformed) -> Option<String> {
    literal(value).map(|_| Wanted::new(comparable(value)).folded)
}

/// A value as the target would give it back.
fn comparable(value: &Conformed) -> String {
    match value {
        Conformed::Decimal(digits) => plain_number(digits),
        other => other.canonical().to_text(),
    }
}

/// A number without superfluous zeros: `5.00` and `5` are one.
fn plain_number(digits: &str) -> String {
    digits.parse::<f64>().map_or_else(|_| digits.to_owned(), |number| number.to_string())
}

/// The one record with exactly this value, else the one that differs only as the database does not see.
fn choose(value: &str, wanted: &Wanted, records: &[(Uuid, Wanted)]) -> Pointed {
    let ids = |is: &dyn Fn(&Wanted) -> bool| -> BTreeSet<Uuid> {
        records.iter().filter(|(_, held)| is(held)).map(|(id, _)| *id).collect()
    };
    let exact = ids(&|held| held.exact == wanted.exact);
    let alike = if exact.is_empty() { ids(&|held| held.folded == wanted.folded) } else { exact };
    debug_assert!(!value.is_empty(), "a blank cell points at nothing and is never asked for");
    let mut alike = alike.into_iter();
    match (alike.next(), alike.len()) {
        (None, _) => Pointed::Nowhere,
        (Some(id), 0) => Pointed::At(id),
        (Some(_), more) => Pointed::AtSeveral(more + 1),
    }
}

fn not_an_id(lookup: &LookupPlan, value: &str) -> Misfit {
    Misfit {
        error: format!("`{}`: not a GUID", lookup.target.navigation),
        cause: format!("`{}` is not the id of a {}", excerpt(value), lookup.called),
        advice: "write the record's id, or say with `lookups` in the sidecar which column names it"
            .to_owned(),
    }
}

/// As [`misfit`], for a value that may be looked up in several ways.
fn nowhere_or_anywhere(column: &PlannedColumn, value: &str, nowhere: bool) -> Misfit {
    let mut ways: Vec<String> = Vec::new();
    for lookup in column.lookups() {
        let by = match &lookup.way {
            LookupWay::Column { attribute, .. } => attribute.label().to_lowercase(),
            LookupWay::Id => "id".to_owned(),
        };
        ways.push(format!("{} by {by}", lookup.called));
    }
    let (ways, name) = (ways.join(", "), &column.attribute.logical_name);
    let value = excerpt(value);
    match nowhere {
        true => Misfit {
            error: format!("`{name}`: no record ({ways})"),
            cause: format!("nothing is called `{value}` ({ways})"),
            advice: "correct it, or load what is meant: once it is there, this row is tried again by itself"
                .to_owned(),
        },
        false => Misfit {
            error: format!("`{name}`: several records ({ways})"),
            cause: format!("several records are called `{value}` ({ways})"),
            advice: format!(
                "write the id of the one that is meant, or say with `lookups.{}` in the sidecar where it is looked for",
                column.header
            ),
        },
    }
}

/// Why a value that points nowhere, or everywhere, is refused; `None` for one that points at a record.
pub(super) fn misfit(
    column: &PlannedColumn,
    value: &str,
    (at, pointed): (usize, &Pointed),
) -> Option<Misfit> {
    let lookup = column.lookups().nth(at)?;
    let by = match &lookup.way {
        LookupWay::Column { attribute, .. } if lookup.id_in(value).is_none() => {
            attribute.label().to_lowercase()
        }
        LookupWay::Column { .. } | LookupWay::Id => "id".to_owned(),
    };
    let set_name = &lookup.target.set_name;
    if !column.others.is_empty() && matches!(pointed, Pointed::Nowhere | Pointed::AtSeveral(_)) {
        return Some(nowhere_or_anywhere(column, value, *pointed == Pointed::Nowhere));
    }
    match pointed {
        Pointed::At(_) | Pointed::Sibling(_) => None,
        Pointed::Refused(number) => Some(Misfit {
            error: format!("`{}`: row {number} of this load was refused", column.attribute.logical_name),
            cause: format!("its parent, row {number} (`{}`), was refused", excerpt(value)),
            advice: format!("mend row {number}; once it is written, this row is tried again by itself"),
        }),
        Pointed::Unfit(misfit) => Some(misfit.clone()),
        Pointed::Nowhere => Some(Misfit {
            error: format!("`{}`: no record in {set_name} by {by}", column.attribute.logical_name),
            cause: format!("no {} has the {by} `{}`", lookup.called, excerpt(value)),
            advice: format!(
                "correct it, or load that {}: once it is there, this row is tried again by itself",
                lookup.called
            ),
        }),
        Pointed::AtSeveral(count) => Some(Misfit {
            error: format!("`{}`: {count} records in {set_name} by {by}", column.attribute.logical_name),
            cause: format!("{count} records ({}) have the {by} `{}`", lookup.called, excerpt(value)),
            advice: "write the id of the one that is meant, or make the value unique in Dynamics".to_owned(),
        }),
    }
}
