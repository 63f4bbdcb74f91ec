//! Rows that go together in one bulk action: which may, and what its answer settles. One bad row refuses them all, so that
//! they are cut down to it, or sent each for itself.

use std::collections::HashSet;

use super::heard::own_id;
use super::{Next, Sending};
use crate::io::dynamics::bulk::{Action, created};
use crate::io::dynamics::fault::SendFault;
use crate::io::dynamics::operation::{BatchShape, Knowing};
use crate::io::dynamics::pace::{Lane, Way};
use crate::io::dynamics::verdict::{Class, Setback, Verdict, judge};
use crate::io::dynamics::wire::Answer;

/// Rows below which a bulk action gains nothing over `$batch`, which tells each row's fate at once.
pub(super) const TOGETHER_ROWS_MIN: usize = 17;
/// How often the rows of one first request are halved before what is left goes each for itself: one bad row of 1,000 is
/// found among [`TOGETHER_ROWS_MIN`] in six steps, and where there are many, halving finds little.
const HALVINGS_MAX: u32 = 7;
/// How much faster bulk actions must be for halving to cost less than one `$batch` of all: it sends the rows twice over.
const GAIN_FOR_HALVING: f64 = 2.0;
/// The code of a record that is there already. Source: dynamics.md §2.4.
const DUPLICATE_RECORD: u32 = 0x8004_0237;

impl Sending<'_> {
    /// What is done with these rows, for the measurements: the bulk action that could do it, where all have the same one
    /// and the table supports it.
    pub(super) fn lane(&self, group: &[usize]) -> Option<Lane> {
        let first = &self.operations[*group.first()?];
        let set_name = first.path.split('(').next().unwrap_or_default().to_owned();
        let action = first.bulk.as_ref().map(|bulk| bulk.action).filter(|action| {
            self.support.has(*action)
                && self.tells_enough(*action)
                && group.iter().all(|index| {
                    self.operations[*index].bulk.as_ref().is_some_and(|bulk| bulk.action == *action)
                })
        });
        Some(Lane { set_name, action })
    }

    /// Whether the action's answer is all that is wanted: an upsert's does not tell what it created.
    fn tells_enough(&self, action: Action) -> bool {
        action != Action::Upsert || self.wire.bulk_upserts() || self.shape == BatchShape::ChangeSet
    }

    /// The bulk action by which these rows go now; `None` when they go each for itself.
    pub(super) fn action(&self, group: &[usize], lane: &Lane) -> Option<Action> {
        let action = lane.action?;
        let alone = |index: &usize| self.alone[*index];
        if group.len() < TOGETHER_ROWS_MIN || group.iter().any(alone) || !self.are_distinct(group) {
            return None;
        }
        let action = self.harmless(group, action)?;
        (self.pace.way(lane) == Way::Bulk).then_some(action)
    }

    /// The bulk action for rows that go in one transaction too large for a change set.
    pub(super) fn action_for_all(&self, group: &[usize]) -> Option<Action> {
        let action = self.lane(group)?.action.filter(|_| self.are_distinct(group))?;
        if group.iter().any(|index| self.doubts[*index]) && action == Action::Create {
            return self.support.upsert.then_some(Action::Upsert);
        }
        Some(action)
    }

    /// The action that does no harm when it is repeated. What may have been created already is not created again: that
    /// would refuse all. It is upserted, where that loses no knowledge of what was created.
    fn harmless(&self, group: &[usize], action: Action) -> Option<Action> {
        if action != Action::Create || !group.iter().any(|index| self.doubts[*index]) {
            return Some(action);
        }
        (self.support.upsert && self.are_fresh(group)).then_some(Action::Upsert)
    }

    /// Whether no two rows name the same record; what a bulk action does with those is not known (dynamics.md §2.5).
    fn are_distinct(&self, group: &[usize]) -> bool {
        let mut seen = HashSet::with_capacity(group.len());
        group.iter().all(|index| seen.insert(self.operations[*index].path.as_str()))
    }

    /// The bulk action was answered.
    pub(super) fn heard_together(
        &mut self,
        group: Vec<usize>,
        (lane, action): (&Lane, Action),
        answer: &Answer,
    ) -> Result<Next, SendFault> {
        if answer.status < 400 {
            return Ok(self.carried_out(group, (lane, action), answer));
        }
        let verdict = judge(answer.status, &answer.body);
        let all_or_none = self.shape == BatchShape::ChangeSet;
        match verdict.class {
            Class::Access if self.passed_on(answer, &verdict) => Ok(Next::Go { groups: vec![group] }),
            Class::Access => Err(SendFault::Access { error: verdict.error, cause: verdict.cause }),
            Class::Conflict if action == Action::Create && verdict.code == Some(DUPLICATE_RECORD) => {
                Ok(self.found_there(group, lane, &verdict))
            }
            Class::Mapping if all_or_none => {
                Err(SendFault::Mapping { error: verdict.error, cause: verdict.cause })
            }
            Class::Mapping => {
                // The action itself may be what is unknown here; each for itself, the rows tell.
                tracing::debug!(entity = %lane.set_name, action = action.name(), error = %verdict.error, "no bulk action");
                self.pace.no_bulk(lane);
                self.go_alone(&group);
                Ok(Next::Go { groups: vec![group] })
            }
            Class::Transient(setback) => Ok(self.hindered(group, lane, setback, verdict)),
            Class::TooLarge if all_or_none => {
                let max = self.wire.limits().batch_bytes_max;
                Err(SendFault::TooLarge { found: group.len(), max, unit: "rows" })
            }
            Class::TooLarge => Ok(Next::Go { groups: self.halves(group) }),
            Class::Conflict | Class::Missing | Class::Data if all_or_none => {
                self.refuse_all(&group, None, &verdict);
                Ok(Next::Go { groups: Vec::new() })
            }
            Class::Conflict | Class::Missing | Class::Data => Ok(Next::Go { groups: self.cut(group, lane) }),
        }
    }

    fn carried_out(&mut self, group: Vec<usize>, (lane, action): (&Lane, Action), answer: &Answer) -> Next {
        // All or none: an action that tells no ids carried out all of them.
        let ids =
            if action == Action::Create { Some(created(&answer.body).unwrap_or_default()) } else { None };
        let mut missing = Vec::new();
        let rows = group.len();
        for index in group {
            let own = own_id(&self.operations[index]);
            if ids.as_ref().is_some_and(|ids| own.is_none_or(|own| !ids.contains(&own))) {
                missing.push(index);
            } else {
                self.settle_together(index, action);
            }
        }
        self.pace.heard(lane, Way::Bulk, rows, answer.took);
        if missing.is_empty() {
            return Next::Go { groups: Vec::new() };
        }
        // The answer speaks of other records than ours; each for itself, they are named one by one.
        self.doubt(&missing);
        self.go_alone(&missing);
        let reason = format!("ids of {} rows are missing in the answer to {}", missing.len(), action.name());
        Next::Pause { groups: vec![missing], reason, wait: None, held: false }
    }

    /// One of the records is there already, sent before or by an earlier job, and nothing was created: it is written over, as
    /// a single one would be.
    fn found_there(&mut self, group: Vec<usize>, lane: &Lane, verdict: &Verdict) -> Next {
        let all_or_none = self.shape == BatchShape::ChangeSet;
        let upserted = match all_or_none {
            true => self.support.upsert,
            false => self.support.upsert && self.are_fresh(&group),
        };
        match (upserted, all_or_none) {
            (true, _) => self.doubt(&group),
            (false, true) => {
                self.refuse_all(&group, None, verdict);
                return Next::Go { groups: Vec::new() };
            }
            (false, false) => {
                self.pace.no_bulk(lane);
                self.go_alone(&group);
            }
        }
        Next::Go { groups: vec![group] }
    }

    /// Whether all records can be this job's alone.
    fn are_fresh(&self, group: &[usize]) -> bool {
        group.iter().all(|index| self.operations[*index].knowing == Knowing::Fresh)
    }

    /// It may pass; and where it may be one row's doing, smaller requests find out which.
    fn hindered(&mut self, group: Vec<usize>, lane: &Lane, setback: Setback, verdict: Verdict) -> Next {
        self.doubt(&group);
        self.pace.setback(lane, setback);
        let all_or_none = self.shape == BatchShape::ChangeSet;
        if all_or_none && self.used_up(group[0], setback) {
            self.refuse_all(&group, None, &verdict);
            return Next::Go { groups: Vec::new() };
        }
        let of_all =
            matches!(setback, Setback::Busy | Setback::Deadlock | Setback::Closed) || setback.is_limit();
        let groups = match !of_all && !all_or_none {
            true => {
                if group.len() < 2 * TOGETHER_ROWS_MIN || setback == Setback::Unexpected {
                    self.go_alone(&group);
                }
                self.halves(group)
            }
            false => vec![group],
        };
        Next::Pause { groups, reason: verdict.error, wait: setback.pause_min(), held: false }
    }

    /// The rows in halves, as long as finding the bad ones that way costs less than sending each for itself.
    fn cut(&mut self, group: Vec<usize>, lane: &Lane) -> Vec<Vec<usize>> {
        let family = self.families[group[0]];
        let halved = self.halvings.entry(family).or_default();
        *halved += 1;
        let pays = self.pace.gain(lane).is_some_and(|gain| gain >= GAIN_FOR_HALVING);
        if pays && *halved <= HALVINGS_MAX && group.len() >= 2 * TOGETHER_ROWS_MIN {
            return self.halves(group);
        }
        self.go_alone(&group);
        vec![group]
    }

    /// From now on each of these rows goes for itself.
    fn go_alone(&mut self, group: &[usize]) {
        for index in group {
            self.alone[*index] = true;
        }
    }
}
