//! What an answer settles, and what it leaves to be sent again.

use percent_encoding::percent_decode_str;
use serde_json::Value as Json;
use uuid::Uuid;

use super::{Next, Sending};
use crate::domain::conform::{excerpt, guid_in};
use crate::domain::effect::{Effect, Written};
use crate::domain::refusal::{Refusal, Severity};
use crate::io::dynamics::bulk::Action;
use crate::io::dynamics::fault::SendFault;
use crate::io::dynamics::multipart::Part;
use crate::io::dynamics::operation::{
    BatchShape, Condition, Knowing, Method, Operation, Outcome, shared_value,
};
use crate::io::dynamics::verdict::{Class, Setback, Verdict, judge};
use crate::io::dynamics::wire::Answer;

impl Sending<'_> {
    /// The batch as a whole was answered, not its operations (dynamics.md §3.3 d).
    pub(super) fn heard_as_one(&mut self, group: Vec<usize>, answer: &Answer) -> Result<Next, SendFault> {
        self.doubt(&group);
        if answer.status < 400 {
            let reason =
                format!("answer {} is no batch answer: `{}`", answer.status, excerpt(&answer.content_type));
            return Ok(Next::Pause { groups: self.halves(group), reason, wait: None, held: false });
        }
        let verdict = judge(answer.status, &answer.body);
        match verdict.class {
            Class::Access => Err(SendFault::Access { error: verdict.error, cause: verdict.cause }),
            Class::Mapping => Err(SendFault::Mapping { error: verdict.error, cause: verdict.cause }),
            Class::Transient(setback) => {
                // What may be one row's doing is cut down to that row; everybody's trouble only waits.
                let groups = match (setback, group.as_slice()) {
                    (_, [only]) if self.used_up(*only, setback) => {
                        let refusal = verdict.refusal(self.operations[*only].column_in(&verdict.message));
                        self.refuse(*only, &verdict, refusal);
                        Vec::new()
                    }
                    (
                        Setback::TimeLimit | Setback::DatabaseTimeout | Setback::PlugIn | Setback::Unexpected,
                        _,
                    ) => self.halves(group),
                    _ => vec![group],
                };
                Ok(Next::Pause { groups, reason: verdict.error, wait: setback.pause_min(), held: false })
            }
            Class::TooLarge if self.shape == BatchShape::ChangeSet => {
                let max = self.wire.limits().batch_bytes_max;
                Err(SendFault::TooLarge { found: group.len(), max, unit: "rows" })
            }
            Class::TooLarge | Class::Conflict | Class::Missing | Class::Data => match group.as_slice() {
                [only] => {
                    let refusal = verdict.refusal(self.operations[*only].column_in(&verdict.message));
                    self.refuse(*only, &verdict, refusal);
                    Ok(Next::Go { groups: Vec::new() })
                }
                _ if self.shape == BatchShape::ChangeSet => {
                    self.refuse_all(&group, None, &verdict);
                    Ok(Next::Go { groups: Vec::new() })
                }
                _ => Ok(Next::Go { groups: self.halves(group) }),
            },
        }
    }

    /// Whether this setback was the row's last try.
    pub(super) fn used_up(&mut self, index: usize, setback: Setback) -> bool {
        self.tries[index] += 1;
        setback.tries_max().is_some_and(|max| self.tries[index] >= max)
    }

    /// Each operation was answered for itself, at least as far as the answer goes.
    pub(super) fn heard_each(
        &mut self,
        group: Vec<usize>,
        answer: &Answer,
        parts: &[Part],
    ) -> Result<Next, SendFault> {
        // An outer "no" is the first failure mirrored: the service stopped there, and whether what it had done before
        // is among the parts is not certain (dynamics.md §3.3 a). Then only what names its record is believed.
        let stopped = answer.status >= 400 && parts.len() != group.len();
        let mut again = Vec::new();
        let mut reason = None;
        let mut limit = None;
        let mut wait = None;
        let mut hopeless: Option<Verdict> = None;
        let mut other = parts.len() > group.len();
        let mut heard = 0;
        for (index, part) in group.iter().copied().zip(parts) {
            let operation = &self.operations[index];
            let told = told_id(part, operation);
            if other || (part.status < 400 && !fits(part, told, operation, stopped)) {
                other = true;
                break;
            }
            if part.status >= 400 && stopped && heard == 0 && group.len() > 1 {
                break;
            }
            heard += 1;
            if part.status < 400 {
                self.settle_written(index, part.status, told);
                hopeless = None;
                continue;
            }
            let verdict = judge(part.status, part.body.as_bytes());
            let setback = match verdict.class {
                // What was asked of one version is not asked of another one.
                _ if part.status == 412 && matches!(operation.condition, Condition::Version(_)) => None,
                Class::Transient(setback) => Some(setback),
                // The token ended while the batch ran.
                _ if part.status == 401 => Some(Setback::Busy),
                _ => None,
            };
            if let Some(setback) = setback
                && !self.used_up(index, setback)
            {
                limit = limit.or(setback.is_limit().then_some(setback));
                wait = wait.or(setback.pause_min());
                reason.get_or_insert(verdict.error);
                again.push(index);
                continue;
            }
            let of_all = matches!(verdict.class, Class::Mapping | Class::Access);
            if of_all && heard == 1 && !is_absent(operation, &verdict) {
                hopeless = Some(verdict.clone());
            } else if hopeless.as_ref().is_some_and(|first| first.class != verdict.class) {
                hopeless = None;
            }
            self.answer_no(index, &verdict);
        }
        // When not one row got through, and each for a reason that is no row's, the table or the access is at fault.
        if let Some(verdict) = hopeless.filter(|_| heard == group.len() && again.is_empty()) {
            if self.passed_on(answer, &verdict) {
                // None of it was done, and another application user may be let in.
                for index in &group {
                    self.outcomes[*index] = None;
                }
                return Ok(Next::Go { groups: vec![group] });
            }
            let (error, cause) = (verdict.error, verdict.cause);
            return Err(match verdict.class {
                Class::Access => SendFault::Access { error, cause },
                _ => SendFault::Mapping { error, cause },
            });
        }
        let unheard = group[heard..].to_vec();
        self.doubt(&again);
        self.doubt(&unheard);
        if let Some(limit) = limit {
            self.wire.throttled(answer.principal, limit);
        }
        if unheard.is_empty() && again.is_empty() {
            return Ok(Next::Go { groups: Vec::new() });
        }
        if stopped && !other && heard > 0 && again.is_empty() {
            // Nothing is wrong but the manner of the answer; on it goes behind the row that stopped it.
            return Ok(Next::Go { groups: vec![unheard] });
        }
        let rest = if stopped { self.halves(unheard) } else { vec![unheard] };
        let reason = reason.unwrap_or_else(|| match other {
            true => "answers that do not belong to their operations".to_owned(),
            false => format!("{heard} answers for {} operations", group.len()),
        });
        let groups = std::iter::once(again).chain(rest).collect();
        Ok(Next::Pause { groups, reason, wait, held: limit.is_some() })
    }

    /// Whether the answer's application user was refused, is set aside now, and another one is left to try.
    pub(super) fn passed_on(&self, answer: &Answer, verdict: &Verdict) -> bool {
        let why = || format!("{}: {}", verdict.error, verdict.cause);
        verdict.is_of_the_user() && self.wire.set_aside(answer.principal, &why())
    }

    /// Settles an operation that the target has carried out; `told` is the record's id in its answer.
    fn settle_written(&mut self, index: usize, status: u16, told: Option<Uuid>) {
        let operation = &self.operations[index];
        let effect = match operation.knowing {
            Knowing::Fresh => Effect::Created,
            Knowing::There => Effect::Updated,
            Knowing::Asked(_) if status == 201 => Effect::Created,
            // A record that is found by a repetition may be the first try's own.
            Knowing::Asked(_) if status == 200 && !self.doubts[index] => Effect::Updated,
            Knowing::Asked(_) | Knowing::Untold => Effect::Unknown,
        };
        let written = Written { effect, record: told.filter(|_| own_id(operation).is_none()) };
        self.settle(index, Outcome::Written(written));
    }

    /// Settles an operation that a bulk action has carried out with all others.
    pub(super) fn settle_together(&mut self, index: usize, action: Action) {
        let effect = match (&self.operations[index].knowing, action) {
            (Knowing::Fresh, _) | (Knowing::Asked(_) | Knowing::Untold, Action::Create) => Effect::Created,
            (Knowing::There, _) | (_, Action::Update) => Effect::Updated,
            // It tells nothing of its records (dynamics.md §2.5).
            (Knowing::Asked(_) | Knowing::Untold, Action::Upsert) => Effect::Unknown,
        };
        self.settle(index, Outcome::Written(Written { effect, record: None }));
    }

    /// A "no" to one operation that no further try will change.
    fn answer_no(&mut self, index: usize, verdict: &Verdict) {
        let operation = &self.operations[index];
        let absent = is_absent(operation, verdict);
        if absent && operation.method == Method::Delete && self.doubts[index] {
            // An earlier request did delete it; its answer was lost.
            self.settle_written(index, verdict.status, None);
            return;
        }
        if absent {
            let doing = match operation.method {
                Method::Delete => "delete",
                Method::Post | Method::Patch => "update",
            };
            let refusal = Refusal {
                column: None,
                error: verdict.error.clone(),
                cause: format!("there is no record {} to {doing}", excerpt(&operation.target_key)),
                advice: operation.if_absent.to_owned(),
                missing: None,
            };
            self.note(verdict.error.clone(), format!("the record to {doing} is not there"), Severity::Rows);
            self.settle(index, Outcome::Refused(refusal));
            return;
        }
        let mut refusal = verdict.refusal(operation.column_in(&verdict.message));
        if let (Class::Conflict, Some(names)) = (verdict.class, shared_value(&verdict.message)) {
            refusal.cause = format!("another record has the same {names} already");
        }
        self.refuse(index, verdict, refusal);
    }

    /// All or none (dynamics.md §3.3 c): the one part of a failed set names the operation by its Content-ID.
    pub(super) fn heard_change_set(
        &mut self,
        group: Vec<usize>,
        answer: &Answer,
        parts: &[Part],
    ) -> Result<Next, SendFault> {
        let Some((place, failed)) = parts.iter().enumerate().find(|(_, part)| part.status >= 400) else {
            if parts.len() == group.len() {
                for (index, part) in group.into_iter().zip(parts) {
                    self.settle_written(index, part.status, told_id(part, &self.operations[index]));
                }
                return Ok(Next::Go { groups: Vec::new() });
            }
            self.doubt(&group);
            let reason = format!("{} answers for {} operations", parts.len(), group.len());
            return Ok(Next::Pause { groups: vec![group], reason, wait: None, held: false });
        };
        let verdict = judge(failed.status, failed.body.as_bytes());
        let by_id = failed.content_id.as_ref().and_then(|id| id.parse::<usize>().ok()?.checked_sub(1));
        let by_place = (parts.len() == group.len()).then_some(place);
        let culprit = by_id.or(by_place).and_then(|place| group.get(place).copied());
        match (verdict.class, culprit) {
            (Class::Transient(setback), culprit) => {
                if self.used_up(culprit.unwrap_or(group[0]), setback) {
                    self.refuse_all(&group, culprit, &verdict);
                    return Ok(Next::Go { groups: Vec::new() });
                }
                if setback.is_limit() {
                    self.wire.throttled(answer.principal, setback);
                }
                let held = setback.is_limit();
                let wait = setback.pause_min();
                Ok(Next::Pause { groups: vec![group], reason: verdict.error, wait, held })
            }
            (Class::Access, _) if self.passed_on(answer, &verdict) => Ok(Next::Go { groups: vec![group] }),
            (Class::Access, _) => Err(SendFault::Access { error: verdict.error, cause: verdict.cause }),
            (Class::Mapping, None) => Err(SendFault::Mapping { error: verdict.error, cause: verdict.cause }),
            (_, Some(index))
                if self.operations[index].method == Method::Delete
                    && self.doubts[index]
                    && is_absent(&self.operations[index], &verdict) =>
            {
                // Gone, perhaps by an earlier request of ours; the others follow without it.
                self.settle_written(index, verdict.status, None);
                let rest = group.into_iter().filter(|other| *other != index).collect();
                Ok(Next::Go { groups: vec![rest] })
            }
            (_, culprit) => {
                self.refuse_all(&group, culprit, &verdict);
                Ok(Next::Go { groups: Vec::new() })
            }
        }
    }

    /// Refuses a whole change set for the sake of one row.
    pub(super) fn refuse_all(&mut self, group: &[usize], culprit: Option<usize>, verdict: &Verdict) {
        self.culprit = culprit;
        for index in group.iter().copied() {
            if culprit == Some(index) {
                self.answer_no(index, verdict);
                continue;
            }
            let refusal = Refusal {
                column: None,
                error: format!("rolled back with its change set: {}", verdict.error),
                cause: match culprit {
                    Some(_) => {
                        "nothing was written, because another row was refused and the workbook is to be \
                                written as a whole"
                            .to_owned()
                    }
                    None => format!(
                        "nothing was written, because a row was refused and the workbook is to be written as a \
                         whole: {}",
                        verdict.plain
                    ),
                },
                advice: "mend the row that was refused, then drop all rows again".to_owned(),
                missing: None,
            };
            self.refuse(index, verdict, refusal);
        }
    }
}

/// Whether the record that the operation changes or deletes is not there. A 404 without a code is that, too: its message may
/// be in any language.
fn is_absent(operation: &Operation, verdict: &Verdict) -> bool {
    let needs_record = operation.method == Method::Delete || operation.condition == Condition::Exists;
    needs_record && verdict.status == 404 && (verdict.class == Class::Missing || verdict.code.is_none())
}

/// Whether a success can be the answer to this operation: where both name a GUID, it must be the same one. `surely` asks
/// for more than the lack of a contradiction.
fn fits(part: &Part, told: Option<Uuid>, operation: &Operation, surely: bool) -> bool {
    let told = told.map(|id| id.hyphenated().to_string());
    let named = part.entity_id.as_deref().and_then(predicate).or(told);
    let asked = predicate(&operation.path);
    match (named, asked) {
        (Some(named), Some(asked)) => match (record_id(&named), record_id(&asked)) {
            (Some(named), Some(asked)) => named == asked,
            _ => !surely || named.eq_ignore_ascii_case(&asked),
        },
        _ => !surely,
    }
}

/// The record's id in the answer to an operation that asked for it.
fn told_id(part: &Part, operation: &Operation) -> Option<Uuid> {
    let Knowing::Asked(column) = &operation.knowing else { return None };
    let body: Json = serde_json::from_str(&part.body).ok()?;
    guid_in(body.get(column.as_ref())?.as_str()?)
}

/// The id by which an operation names its record, if it does.
pub(super) fn own_id(operation: &Operation) -> Option<Uuid> {
    predicate(&operation.path).as_deref().and_then(record_id)
}

/// What stands between the parentheses of a record's address, decoded.
fn predicate(address: &str) -> Option<String> {
    let (_, tail) = address.split_once('(')?;
    let (predicate, _) = tail.rsplit_once(')')?;
    Some(percent_decode_str(predicate).decode_utf8_lossy().into_owned())
}

/// The GUID that a predicate is: `8f4c…`, or `accountid=8f4c…`.
fn record_id(predicate: &str) -> Option<Uuid> {
    if predicate.contains('\'') || predicate.contains(',') || predicate.starts_with('_') {
        return None;
    }
    guid_in(predicate.rsplit('=').next().unwrap_or(predicate))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use super::*;

    #[test]
    fn an_answer_that_names_another_record_is_not_believed() {
        let id = "8f4c3f92-312b-ee11-bdf4-000d3a993550";
        let part =
            |entity_id: Option<&str>| Part { entity_id: entity_id.map(str::to_owned), ..Part::default() };
        let by_id = Operation::patch(&format!("accounts({id})"));
        let own = format!("https://o/api/data/v9.2/accounts({})", id.to_uppercase());
        let foreign = "https://o/api/data/v9.2/accounts(00000000-0000-0000-0000-000000000001)";
        assert!(fits(&part(Some(&own)), None, &by_id, true));
        assert!(!fits(&part(Some(foreign)), None, &by_id, false));
        assert!(fits(&part(None), None, &by_id, false));
        assert!(!fits(&part(None), None, &by_id, true));
        // An upsert by alternate key may be answered with the key or with the id.
        let by_key = Operation::patch("accounts(accountnumber='A%2017')");
        assert!(fits(&part(Some("https://o/x/accounts(accountnumber='A 17')")), None, &by_key, true));
        assert!(fits(&part(Some(foreign)), None, &by_key, false));
        assert!(!fits(&part(Some(foreign)), None, &by_key, true));
        // A representation has no address, but the record's id.
        assert!(fits(&part(None), guid_in(id), &by_id, true));
        assert!(!fits(&part(None), guid_in("00000000-0000-0000-0000-000000000001"), &by_id, false));
    }
}
