//! Finds the records that lookup cells point at, many values in one question.

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
    found: HashMap<(usize, String), Uuid>,
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
    /// What each of the values of this column points at.
    pub(super) async fn point(
        &self,
        plan: &RowPlan,
        column: &PlannedColumn,
        values: BTreeSet<String>,
        ids: Ids,
    ) -> Result<HashMap<String, Pointed>, TargetFault> {
        let mut pointed = HashMap::new();
        let Some(lookup) = &column.lookup else { return Ok(pointed) };
        let mut asked = Asked { by_column: Vec::new(), by_id: Vec::new() };
        for value in values {
            match settled(plan, column, lookup, &value, ids) {
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
            match result {
                Pointed::At(id) => remember(plan, column.index, value, *id),
                Pointed::Nowhere | Pointed::AtSeveral(_) | Pointed::Unfit(_) => {}
                Pointed::Sibling(_) | Pointed::Refused(_) => continue,
            }
            if let Some(sibling) = plan.sibling(column, value) {
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
    column: &PlannedColumn,
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
        cache.found.get(&(column.index, value.to_owned())).copied()
    };
    if let Some(found) = cached.or(id.filter(|_| ids == Ids::Believed || lookup.id.is_none())) {
        return Some(Pointed::At(found));
    }
    match (ids, plan.sibling(column, value)) {
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
        })
    }
}

fn remember(plan: &RowPlan, index: usize, value: &str, id: Uuid) {
    let mut cache = plan.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if cache.found.len() >= CACHED_MAX {
        cache.found.clear();
    }
    cache.found.insert((index, value.to_owned()), id);
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

/// Why a value that points nowhere, or everywhere, is refused; `None` for one that points at a record.
pub(super) fn misfit(column: &PlannedColumn, value: &str, pointed: &Pointed) -> Option<Misfit> {
    let lookup = column.lookup.as_ref()?;
    let by = match &lookup.way {
        LookupWay::Column { attribute, .. } if lookup.id_in(value).is_none() => {
            attribute.label().to_lowercase()
        }
        LookupWay::Column { .. } | LookupWay::Id => "id".to_owned(),
    };
    let set_name = &lookup.target.set_name;
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
