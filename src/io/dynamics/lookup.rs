//! Finds the records that lookup cells point at, many values in one question.

use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use uuid::Uuid;

use super::Dynamics;
use super::fault::TargetFault;
use super::plan::{LookupPlan, LookupWay, PlannedColumn, RowPlan};
use super::spelling::{encoded, literal};
use crate::domain::conform::{Conformed, Misfit, conform, excerpt, guid_in};
use crate::domain::entity::Attribute;
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
    Nowhere,
    AtSeveral(usize),
    Unfit(Misfit),
}

impl Dynamics {
    /// What each of the values of this column points at.
    pub(super) async fn point(
        &self,
        plan: &RowPlan,
        column: &PlannedColumn,
        values: BTreeSet<String>,
    ) -> Result<HashMap<String, Pointed>, TargetFault> {
        let mut pointed = HashMap::new();
        let Some(lookup) = &column.lookup else { return Ok(pointed) };
        let mut asked = Vec::new();
        for value in values {
            match settled(plan, column.index, lookup, &value) {
                Some(result) => {
                    pointed.insert(value, result);
                }
                None => asked.push(value),
            }
        }
        let LookupWay::Column { attribute, primary_id, .. } = &lookup.way else { return Ok(pointed) };
        let query = Query { attribute, primary_id, set_name: &lookup.target.set_name };
        let questions = query.questions(plan, asked, &mut pointed);
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
                if let Pointed::At(id) = result {
                    remember(plan, column.index, &value, id);
                }
                pointed.insert(value, result);
            }
        }
        Ok(pointed)
    }
}

/// What is known without asking: ids, and what was found before.
fn settled(plan: &RowPlan, index: usize, lookup: &LookupPlan, value: &str) -> Option<Pointed> {
    match &lookup.way {
        LookupWay::Id => {
            Some(guid_in(value).map_or_else(|| Pointed::Unfit(not_an_id(lookup, value)), Pointed::At))
        }
        LookupWay::Column { ids_too, .. } => {
            if let Some(id) = guid_in(value).filter(|_| *ids_too) {
                return Some(Pointed::At(id));
            }
            let cache = plan.cache.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            cache.found.get(&(index, value.to_owned())).copied().map(Pointed::At)
        }
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
        plan: &RowPlan,
        values: Vec<String>,
        pointed: &mut HashMap<String, Pointed>,
    ) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        let mut filter = String::new();
        let mut wanted = Vec::new();
        for value in values {
            let conformed = match conform(self.attribute, &Value::Text(value.clone()), &plan.zone) {
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
        LookupWay::Column { attribute, .. } => attribute.label().to_lowercase(),
        LookupWay::Id => "id".to_owned(),
    };
    let set_name = &lookup.target.set_name;
    match pointed {
        Pointed::At(_) => None,
        Pointed::Unfit(misfit) => Some(misfit.clone()),
        Pointed::Nowhere => Some(Misfit {
            error: format!("`{}`: no record in {set_name} by {by}", column.attribute.logical_name),
            cause: format!("no {} has the {by} `{}`", lookup.called, excerpt(value)),
            advice: format!("correct it, or load that {} first and drop this row again", lookup.called),
        }),
        Pointed::AtSeveral(count) => Some(Misfit {
            error: format!("`{}`: {count} records in {set_name} by {by}", column.attribute.logical_name),
            cause: format!("{count} records ({}) have the {by} `{}`", lookup.called, excerpt(value)),
            advice: "write the id of the one that is meant, or make the value unique in Dynamics".to_owned(),
        }),
    }
}
