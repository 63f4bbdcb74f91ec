//! What an answer of F&O settles, and what it leaves to be sent again.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use super::super::answers::has_key;
use super::super::infolog::{column_of, tells_of_absence};
use super::{Act, Group, NO_BATCH, Next, Rest, Sending, TURNS_MAX, halves};
use crate::domain::conform::excerpt;
use crate::domain::effect::Effect;
use crate::domain::refusal::{Refusal, Severity};
use crate::io::dynamics::encode::Deed;
use crate::io::dynamics::fault::SendFault;
use crate::io::dynamics::multipart::Part;
use crate::io::dynamics::operation::{Condition, Outcome};
use crate::io::dynamics::verdict::{Class, Setback, Verdict, judge};
use crate::io::dynamics::wire::Answer;

/// What the answers of one round left open.
#[derive(Default)]
pub(super) struct Round {
    /// To be sent again after a pause.
    pub(super) again: Vec<usize>,
    /// To be sent at once, another way.
    pub(super) turned: Vec<usize>,
    pub(super) reason: Option<String>,
    heard: usize,
    /// Refused for a reason that is no row's.
    hopeless: Vec<Verdict>,
}

impl Round {
    /// When not one row got through, and each for a reason that is no row's, the table or the access is at fault.
    pub(super) fn check(&self) -> Result<(), SendFault> {
        let Some(first) = self.hopeless.first() else { return Ok(()) };
        if self.hopeless.len() < self.heard || self.hopeless.iter().any(|other| other.class != first.class) {
            return Ok(());
        }
        let (error, cause) = (first.error.clone(), first.cause.clone());
        Err(match first.class {
            Class::Access => SendFault::Access { error, cause },
            _ => SendFault::Mapping { error, cause },
        })
    }

    /// What is still to be sent, these last.
    pub(super) fn rest(self, places: Vec<usize>) -> Vec<usize> {
        self.turned.into_iter().chain(self.again).chain(places).collect()
    }
}

impl Sending<'_> {
    /// A batch as a whole was answered, not its operations: whether some of them were carried out is not known.
    pub(super) fn heard_as_one(&mut self, places: Vec<usize>, answer: &Answer) -> Result<Next, SendFault> {
        self.doubt(&places);
        let singly = |places| vec![Group { places, one_by_one: true }];
        if answer.status < 400 {
            let reason =
                format!("answer {} is no batch answer: `{}`", answer.status, excerpt(&answer.content_type));
            return Ok(Next::later(singly(places), Rest::for_reason(reason)));
        }
        let verdict = judge(answer.status, &answer.body);
        if NO_BATCH.contains(&answer.status) {
            tracing::warn!(error = verdict.error, "the service takes no batches; rows are sent one by one");
            self.dynamics.inner.finops.one_by_one.store(true, Ordering::Relaxed);
            return Ok(Next::at_once(singly(places)));
        }
        Ok(match verdict.class {
            Class::Access => {
                return Err(SendFault::Access { error: verdict.error, cause: verdict.cause });
            }
            Class::TooLarge => Next::at_once(halves(places)),
            Class::Transient(Setback::PlugIn | Setback::Unexpected) => {
                Next::later(singly(places), Rest::for_reason(verdict.error))
            }
            Class::Transient(_) => {
                Next::later(vec![Group { places, one_by_one: false }], Rest::for_reason(verdict.error))
            }
            // One of them may be at fault, or the batch is not understood: answers of their own will tell.
            Class::Conflict | Class::Missing | Class::Data | Class::Mapping => Next::at_once(singly(places)),
        })
    }

    /// Each operation was answered for itself, as far as answers find their operations.
    pub(super) fn heard_parts(&mut self, places: Vec<usize>, parts: &[Part]) -> Result<Next, SendFault> {
        let mut round = Round::default();
        let mut unheard = Vec::new();
        for (place, part) in self.matched(&places, parts) {
            match part {
                Some(part) => self.hear(&mut round, place, part.status, part.body.as_bytes()),
                None => unheard.push(place),
            }
        }
        if round.heard == 0 && !parts.is_empty() {
            tracing::warn!("the answers of a batch do not name their operations; rows are sent one by one");
            self.dynamics.inner.finops.one_by_one.store(true, Ordering::Relaxed);
        }
        if unheard.is_empty() {
            round.check()?;
        }
        self.doubt(&unheard);
        let mut reason = round.reason;
        if !unheard.is_empty() && round.heard == 0 {
            let lost = format!("{} answers for {} operations", parts.len(), places.len());
            reason.get_or_insert(lost);
        }
        let one_by_one = round.heard == 0;
        let groups = vec![
            Group { places: round.turned, one_by_one: false },
            Group { places: unheard, one_by_one },
            Group { places: round.again, one_by_one: false },
        ];
        Ok(Next { groups, rest: reason.map(Rest::for_reason) })
    }

    /// The answer to each operation: by its Content-ID, where nothing in it contradicts, else by the record that it names.
    /// The place of an answer is no proof, but for the only one to the only operation.
    pub(super) fn matched<'p>(&self, places: &[usize], parts: &'p [Part]) -> Vec<(usize, Option<&'p Part>)> {
        let mut by_id: HashMap<usize, Option<&Part>> = HashMap::new();
        let mut nameless = Vec::new();
        for part in parts {
            match part.content_id.as_deref().map(|id| id.trim().parse::<usize>()) {
                // Two answers with one name are no answer.
                Some(Ok(id)) => drop(by_id.entry(id).and_modify(|part| *part = None).or_insert(Some(part))),
                _ => nameless.push(part),
            }
        }
        let only = match (places, parts) {
            ([_], [part]) => Some(part),
            _ => None,
        };
        let of = |(number, place): (usize, &usize)| {
            let named = by_id.get(&number).copied().flatten().or(only);
            let named = named.filter(|part| self.names(*place, part) != Some(false));
            let found = named
                .or_else(|| nameless.iter().copied().find(|part| self.names(*place, part) == Some(true)));
            (*place, found)
        };
        (1..).zip(places).map(of).collect()
    }

    /// Whether a success names the record of this operation; `None` where it names none.
    fn names(&self, place: usize, part: &Part) -> Option<bool> {
        if part.status >= 400 {
            return None;
        }
        let key = &self.courses[place].key;
        if let Ok(record @ Json::Object(_)) = serde_json::from_str::<Json>(&part.body)
            && key.parts.iter().any(|known| record.get(&known.name).is_some())
        {
            return Some(has_key(key, &record));
        }
        let asked = self.operations[place].path.as_str();
        let spelled = |address: &str| {
            let (_, tail) = address.split_once('(')?;
            let (predicate, _) = tail.rsplit_once(')')?;
            let predicate = percent_decode_str(predicate).decode_utf8_lossy().to_lowercase();
            Some(predicate.replace(' ', ""))
        };
        let (named, asked) = (spelled(part.entity_id.as_deref()?)?, spelled(asked)?);
        // Services spell keys in more than one way, so another spelling is no contradiction.
        (named == asked).then_some(true)
    }

    /// Settles an operation by its answer, or says how it goes on.
    pub(super) fn hear(&mut self, round: &mut Round, place: usize, status: u16, body: &[u8]) {
        round.heard += 1;
        if status < 400 {
            self.written(place, body);
            return;
        }
        let verdict = judge(status, body);
        let setback = match verdict.class {
            // What was asked of one version is not asked of another one.
            _ if status == 412 && self.operations[place].condition != Condition::Any => None,
            Class::Transient(setback) => Some(setback),
            // The token ended while the batch ran.
            _ if status == 401 => Some(Setback::Busy),
            _ => None,
        };
        if let Some(setback) = setback
            && !self.used_up(place, setback)
        {
            // It was answered, so nothing of it is left.
            self.ways[place].doubt = false;
            round.reason.get_or_insert(verdict.error);
            round.again.push(place);
            return;
        }
        if self.turn(place, &verdict) {
            round.turned.push(place);
            return;
        }
        if matches!(verdict.class, Class::Mapping | Class::Access) && !self.is_absent(place, &verdict) {
            round.hopeless.push(verdict.clone());
        }
        self.answer_no(place, &verdict);
    }

    /// The record has what the operation wanted; a key that the service made is kept for the receipt.
    pub(super) fn written(&mut self, place: usize, body: &[u8]) {
        let key = &self.courses[place].key;
        if self.ways[place].act == Act::Create && key.missing.is_some() {
            let record: Json = serde_json::from_slice(body).unwrap_or_default();
            self.made.extend(key.told(&record).map(|told| (place, told)));
        }
        let way = &self.ways[place];
        let effect = match way.act {
            Act::Create => Effect::Created,
            // What an earlier request of ours created is changed by its repetition.
            Act::Change if way.doubted => Effect::Unknown,
            Act::Change | Act::Delete => Effect::Updated,
        };
        self.took(place, effect);
    }

    /// Whether this setback was the row's last try.
    pub(super) fn used_up(&mut self, place: usize, setback: Setback) -> bool {
        let way = &mut self.ways[place];
        way.tries += 1;
        setback.tries_max().is_some_and(|max| way.tries >= max)
    }

    /// Whether the record that the operation changes or deletes is not there: a 400 with these words, or a 404.
    pub(super) fn is_absent(&self, place: usize, verdict: &Verdict) -> bool {
        self.ways[place].act != Act::Create && (tells_of_absence(&verdict.message) || verdict.status == 404)
    }

    /// Whether a "no" is answered by another request: an upsert goes from update to insert and back, an insert that may
    /// have been carried out is asked for.
    pub(super) fn turn(&mut self, place: usize, verdict: &Verdict) -> bool {
        let absent = self.is_absent(place, verdict);
        let way = &mut self.ways[place];
        let turned = match (self.courses[place].deed, way.act) {
            (Deed::Upsert, Act::Change) if absent => Some((Act::Create, false)),
            (Deed::Upsert, Act::Create) if verdict.class == Class::Conflict => Some((Act::Change, false)),
            (Deed::Create, Act::Create) if verdict.class == Class::Conflict && way.doubted => {
                Some((Act::Create, true))
            }
            _ => None,
        };
        match turned {
            Some((act, doubt)) if way.turns < TURNS_MAX => {
                way.turns += 1;
                (way.act, way.doubt) = (act, doubt);
                true
            }
            _ => false,
        }
    }

    /// A "no" that no further request will change.
    pub(super) fn answer_no(&mut self, place: usize, verdict: &Verdict) {
        let operation = &self.operations[place];
        if self.is_absent(place, verdict) {
            let way = &self.ways[place];
            if way.act == Act::Delete && way.doubted {
                // An earlier request did delete it; its answer was lost.
                self.took(place, Effect::Updated);
                return;
            }
            let doing = if way.act == Act::Delete { "delete" } else { "update" };
            let refusal = Refusal {
                column: None,
                error: verdict.error.clone(),
                cause: format!("there is no record {} to {doing}", operation.target_key),
                advice: operation.if_absent.to_owned(),
                missing: None,
            };
            self.note(verdict.error.clone(), format!("the record to {doing} is not there"), Severity::Rows);
            self.settle(place, Outcome::Refused(refusal));
            return;
        }
        let column = column_of(operation, &verdict.fields).or_else(|| operation.column_in(&verdict.message));
        let refusal = verdict.refusal(column);
        self.note(verdict.error.clone(), verdict.cause.clone(), Severity::Rows);
        self.settle(place, Outcome::Refused(refusal));
    }
}
