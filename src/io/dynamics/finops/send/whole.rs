//! All rows or none: one change set, sent until it is written or refused as a whole. Source: dynamics.md §6.4.

use super::super::OPERATIONS_MAX;
use super::super::answers::difference;
use super::super::ask::Seen;
use super::{Act, NO_BATCH, Rest, Sending, TURNS_MAX, unknown};
use crate::domain::effect::Effect;
use crate::domain::refusal::{Refusal, Severity};
use crate::io::dynamics::encode::Deed;
use crate::io::dynamics::fault::SendFault;
use crate::io::dynamics::multipart::{self, Part};
use crate::io::dynamics::operation::{BatchShape, Outcome};
use crate::io::dynamics::verdict::{Class, Verdict, judge};
use crate::io::dynamics::wire::Answer;

/// What is to follow an answer to the whole.
enum Then {
    /// Nothing: it is settled.
    Done,
    /// Send it again at once.
    Again,
    /// Send it again after a pause.
    Pause(Rest),
}

impl Sending<'_> {
    /// Sends all operations in one change set.
    pub(super) async fn whole(&mut self) -> Result<(), SendFault> {
        let max = self.dynamics.inner.wire.limits().batch_bytes_max;
        let found = self.operations.len();
        if found > OPERATIONS_MAX {
            return Err(SendFault::TooLarge { found, max: OPERATIONS_MAX, unit: "rows" });
        }
        let found = (0..found).map(|place| self.size(place)).sum();
        if found > max {
            return Err(SendFault::TooLarge { found, max, unit: "bytes" });
        }
        self.choose().await?;
        loop {
            let open: Vec<usize> =
                (0..self.operations.len()).filter(|place| self.outcomes[*place].is_none()).collect();
            if open.is_empty() {
                return Ok(());
            }
            if open.iter().any(|place| self.ways[*place].doubt) && self.resolve(&open).await? {
                return Ok(());
            }
            let then = match self.post(&open, BatchShape::ChangeSet).await {
                Err(stumble) => Then::Pause(self.stumbled(&open, stumble)?),
                Ok(answer) => match multipart::answers(&answer.content_type, &answer.body) {
                    Some(parts) => self.heard_set(&open, &parts)?,
                    None => self.heard_set_as_one(&open, &answer)?,
                },
            };
            match then {
                Then::Done => return Ok(()),
                Then::Again => {}
                Then::Pause(rest) => self.pause(rest).await?,
            }
        }
    }

    /// Decides by what is there whether each upsert inserts or updates: one wrong guess would cost the whole set a turn.
    async fn choose(&mut self) -> Result<(), SendFault> {
        let upserts: Vec<usize> =
            (0..self.operations.len()).filter(|place| self.courses[*place].deed == Deed::Upsert).collect();
        for (place, seen) in self.seen(&upserts).await? {
            self.ways[place].act = if seen == Seen::Absent { Act::Create } else { Act::Change };
        }
        Ok(())
    }

    /// Finds out whether a set that may have been carried out was; returns whether that settles it. All or none were
    /// written, so one insert that is not there says that none was.
    async fn resolve(&mut self, open: &[usize]) -> Result<bool, SendFault> {
        let inserts: Vec<usize> =
            open.iter().copied().filter(|place| self.courses[*place].deed == Deed::Create).collect();
        for place in open {
            // A delete keeps its doubt: what it does not find, it may have deleted itself.
            self.ways[*place].doubt &= self.ways[*place].act == Act::Delete;
        }
        if inserts.is_empty() {
            self.choose().await?;
            return Ok(false);
        }
        let seen = self.seen(&inserts).await?;
        if seen.iter().any(|(_, seen)| *seen == Seen::Absent) {
            self.choose().await?;
            return Ok(false);
        }
        let differs = seen.iter().find_map(|(place, seen)| match seen {
            Seen::There(record) => {
                let sent = self.operations[*place].body.as_deref().unwrap_or_default();
                let key = &self.operations[*place].target_key;
                difference(sent, record).map(|told| format!("the record {key} has another value: {told}"))
            }
            Seen::Absent | Seen::Hidden => None,
        });
        let nothing_seen = seen.iter().all(|(_, seen)| *seen == Seen::Hidden);
        let why = differs.or_else(|| nothing_seen.then(|| self.hidden(inserts[0]).to_owned()));
        for place in open {
            match &why {
                None => self.took(*place, Effect::Unknown),
                Some(why) => {
                    let refusal = unknown(why);
                    self.note(refusal.error.clone(), refusal.cause.clone(), Severity::Rows);
                    self.settle(*place, Outcome::Refused(refusal));
                }
            }
        }
        Ok(true)
    }

    /// The set as a whole was answered: it was not carried out.
    fn heard_set_as_one(&mut self, open: &[usize], answer: &Answer) -> Result<Then, SendFault> {
        if answer.status < 400 {
            self.doubt(open);
            let reason = format!("answer {} is no batch answer", answer.status);
            return Ok(Then::Pause(Rest::for_reason(reason)));
        }
        let verdict = judge(answer.status, &answer.body);
        match verdict.class {
            Class::Access => Err(SendFault::Access { error: verdict.error, cause: verdict.cause }),
            Class::Transient(setback) if !self.used_up(open[0], setback) => {
                Ok(Then::Pause(Rest::for_reason(verdict.error)))
            }
            Class::TooLarge => {
                let max = self.dynamics.inner.wire.limits().batch_bytes_max;
                Err(SendFault::TooLarge { found: open.len(), max, unit: "rows" })
            }
            Class::Mapping if !NO_BATCH.contains(&answer.status) => {
                Err(SendFault::Mapping { error: verdict.error, cause: verdict.cause })
            }
            _ => {
                self.refuse_all(open, None, &verdict);
                Ok(Then::Done)
            }
        }
    }

    /// One part that says "no" speaks for all; successes must be as many as there are operations.
    fn heard_set(&mut self, open: &[usize], parts: &[Part]) -> Result<Then, SendFault> {
        let Some(failed) = parts.iter().find(|part| part.status >= 400) else {
            if parts.len() != open.len() {
                self.doubt(open);
                let reason = format!("{} answers for {} operations", parts.len(), open.len());
                return Ok(Then::Pause(Rest::for_reason(reason)));
            }
            for (place, part) in self.matched(open, parts) {
                self.written(place, part.map_or(&[], |part| part.body.as_bytes()));
            }
            return Ok(Then::Done);
        };
        let by_id = failed.content_id.as_ref().and_then(|id| id.trim().parse::<usize>().ok()?.checked_sub(1));
        let only = (open.len() == 1).then_some(0);
        let culprit = by_id.or(only).and_then(|number| open.get(number).copied());
        let verdict = judge(failed.status, failed.body.as_bytes());
        if let Class::Transient(setback) = verdict.class
            && !self.used_up(culprit.unwrap_or(open[0]), setback)
        {
            return Ok(Then::Pause(Rest::for_reason(verdict.error)));
        }
        if let Some(place) = culprit {
            if self.ways[place].act == Act::Delete
                && self.ways[place].doubted
                && self.is_absent(place, &verdict)
            {
                // Gone, perhaps by an earlier request of ours; the others follow without it.
                self.took(place, Effect::Updated);
                return Ok(Then::Again);
            }
            if self.turn(place, &verdict) {
                return Ok(Then::Again);
            }
        }
        // An upsert that raced with somebody, and nobody says which one it was.
        let raced =
            verdict.class == Class::Conflict || super::super::infolog::tells_of_absence(&verdict.message);
        if culprit.is_none() && raced && self.ways[open[0]].turns < TURNS_MAX {
            self.ways[open[0]].turns += 1;
            let upserts = open.iter().any(|place| self.courses[*place].deed == Deed::Upsert);
            let doubted = open.iter().any(|place| self.ways[*place].doubted);
            if upserts || doubted {
                self.doubt(open);
                return Ok(Then::Again);
            }
        }
        match verdict.class {
            Class::Access => Err(SendFault::Access { error: verdict.error, cause: verdict.cause }),
            Class::Mapping if culprit.is_none() => {
                Err(SendFault::Mapping { error: verdict.error, cause: verdict.cause })
            }
            _ => {
                self.refuse_all(open, culprit, &verdict);
                Ok(Then::Done)
            }
        }
    }

    /// Refuses the set for the sake of one row.
    fn refuse_all(&mut self, open: &[usize], culprit: Option<usize>, verdict: &Verdict) {
        self.culprit = culprit;
        for place in open.iter().copied() {
            if culprit == Some(place) {
                self.answer_no(place, verdict);
                continue;
            }
            let cause = match culprit {
                Some(_) => {
                    "nothing was written, because another row was refused and the workbook is to be written as a whole"
                        .to_owned()
                }
                None => format!(
                    "nothing was written, because a row was refused and the workbook is to be written as a whole: {}",
                    verdict.plain
                ),
            };
            let refusal = Refusal {
                column: None,
                error: format!("rolled back with its change set: {}", verdict.error),
                cause,
                advice: "mend the row that was refused, then drop all rows again".to_owned(),
                missing: None,
            };
            self.note(verdict.error.clone(), verdict.cause.clone(), Severity::Rows);
            self.settle(place, Outcome::Refused(refusal));
        }
    }
}
