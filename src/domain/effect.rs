//! What a write did to its record: made it, changed it, or nobody can tell; kept compactly for the rows of a batch.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a write did to its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The record was not there before.
    Created,
    /// The record was there before; it was changed or deleted.
    Updated,
    /// The target did not say, or said it to a repetition of what may have been done before.
    Unknown,
}

impl Effect {
    /// Whether the write created its record; `None` where nobody can tell.
    pub fn created(self) -> Option<bool> {
        match self {
            Effect::Created => Some(true),
            Effect::Updated => Some(false),
            Effect::Unknown => None,
        }
    }
}

/// A write that the target took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// What it did.
    pub effect: Effect,
    /// The record's own id, where the row named it by something else and the target told it.
    pub record: Option<Uuid>,
}

/// What became of the records of one batch, by the rows' places in it. Rows that are not mentioned created theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Effects {
    /// Rows that changed a record which was there, first and last of each run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    updated: Vec<(u32, u32)>,
    /// Rows of which that is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<(u32, u32)>,
    /// Ids of records that rows named by an alternate key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    records: Vec<Records>,
}

/// The ids of neighbouring rows' records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Records {
    first: u32,
    ids: Vec<Uuid>,
}

impl Effects {
    /// Notes what became of a row that was written. Rows come in their order.
    pub fn note(&mut self, index: u32, written: Written) {
        match written.effect {
            Effect::Created => {}
            Effect::Updated => lengthen(&mut self.updated, index),
            Effect::Unknown => lengthen(&mut self.unknown, index),
        }
        let Some(id) = written.record else { return };
        match self.records.last_mut() {
            Some(run) if run.first as usize + run.ids.len() == index as usize => run.ids.push(id),
            _ => self.records.push(Records { first: index, ids: vec![id] }),
        }
    }

    /// What became of the record of a row that was written.
    pub fn of(&self, index: u32) -> Written {
        let effect = if holds(&self.updated, index) {
            Effect::Updated
        } else if holds(&self.unknown, index) {
            Effect::Unknown
        } else {
            Effect::Created
        };
        let run = self.records.partition_point(|run| run.first <= index).checked_sub(1);
        let record = run.and_then(|run| {
            let run = &self.records[run];
            run.ids.get((index - run.first) as usize).copied()
        });
        Written { effect, record }
    }
}

fn lengthen(runs: &mut Vec<(u32, u32)>, index: u32) {
    match runs.last_mut() {
        Some((_, last)) if *last + 1 == index => *last = index,
        _ => runs.push((index, index)),
    }
}

fn holds(runs: &[(u32, u32)], index: u32) -> bool {
    let run = runs.partition_point(|(first, _)| *first <= index).checked_sub(1);
    run.is_some_and(|run| runs[run].1 >= index)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_row_finds_what_was_noted_of_it_also_after_a_journal() {
        let effect = |index: u32| match index % 7 {
            0..=3 => Effect::Created,
            4 | 5 => Effect::Updated,
            _ => Effect::Unknown,
        };
        let record = |index: u32| (!index.is_multiple_of(5)).then(|| Uuid::from_u128(u128::from(index)));
        let wanted = |index| Written { effect: effect(index), record: record(index) };
        // Rows that were refused are not noted; a run does not go across them.
        let noted: Vec<u32> = (0..1_000).filter(|index| index % 11 != 0).collect();
        let mut effects = Effects::default();
        for index in &noted {
            effects.note(*index, wanted(*index));
        }
        let text = serde_json::to_string(&effects).unwrap();
        let again: Effects = serde_json::from_str(&text).unwrap();
        for index in noted {
            assert_eq!(again.of(index), wanted(index), "{index}");
        }
    }

    #[test]
    fn a_batch_that_created_every_record_costs_the_journal_nothing() {
        let mut effects = Effects::default();
        for index in 0..1_000 {
            effects.note(index, Written { effect: Effect::Created, record: None });
        }
        assert_eq!(serde_json::to_string(&effects).unwrap(), "{}");
        let mut effects = Effects::default();
        for index in 0..1_000 {
            effects.note(index, Written { effect: Effect::Updated, record: None });
        }
        assert_eq!(serde_json::to_string(&effects).unwrap(), r#"{"updated":[[0,999]]}"#);
    }
}
