//! order: rows that point at rows of the same load, parents first: which batch each goes in, and what is set in a second pass.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::claim::Job;
use super::preflight::KeysSeen;
use super::{Halt, OPERATOR_WAIT, Pipeline};
use crate::domain::levels::{Edge, Levels};
use crate::domain::lifecycle::Staged;
use crate::io::durable::{self, DiskError, doing};
use crate::io::dynamics::{RowPlan, Siblings};

/// The batches of a part in an order of their own; a file in the job's folder, since every look must cut the same.
///
/// It holds four bytes a row in memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Places of the rows as they were staged, in the order in which they go; those that are held back come first.
    rows: Vec<u32>,
    /// The batches, one after the other.
    cuts: Vec<Cut>,
    /// Lookups that close a circle.
    later: Vec<Edge>,
    /// Rows that others point at and that the target did not have, in rising order.
    parents: Vec<u32>,
}

/// One batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cut {
    /// The first of the rows that is not in it.
    end: u32,
    /// It goes when all batches of lower levels were heard.
    level: u32,
}

impl Order {
    /// The order of rows of these levels: those that are held back as they were, each in a batch of such rows, then level
    /// after level. With `in_one` all are one batch.
    pub fn new(held: &[u32], is_held: &[bool], levels: &Levels, batch_rows: u32, in_one: bool) -> Self {
        let mut rows: Vec<u32> = (0..is_held.len() as u32).filter(|row| !is_held[*row as usize]).collect();
        rows.sort_by_key(|row| levels.of[*row as usize]);
        let later = levels.later.clone();
        let mut order = Order { rows: Vec::new(), cuts: Vec::new(), later, parents: Vec::new() };
        if in_one {
            order.rows = (0..is_held.len() as u32).collect();
            order.rows.sort_by_key(|row| levels.of[*row as usize]);
            order.cut(0);
            return order;
        }
        for batch in held.chunks(batch_rows.max(1) as usize) {
            order.rows.extend(batch);
            order.cut(0);
        }
        for level in rows.chunk_by(|one, other| levels.of[*one as usize] == levels.of[*other as usize]) {
            for batch in level.chunks(batch_rows.max(1) as usize) {
                order.rows.extend(batch);
                order.cut(levels.of[batch[0] as usize]);
            }
        }
        order
    }

    fn cut(&mut self, level: u32) {
        if self.cuts.last().map_or(0, |cut| cut.end) < self.rows.len() as u32 {
            self.cuts.push(Cut { end: self.rows.len() as u32, level });
        }
    }

    /// How many batches there are.
    pub fn batches(&self) -> u32 {
        self.cuts.len() as u32
    }

    /// The places of a batch's rows, in their order; none behind the last batch.
    pub fn batch(&self, number: u32) -> &[u32] {
        let number = number as usize;
        let Some(cut) = self.cuts.get(number) else { return &[] };
        let start = number.checked_sub(1).map_or(0, |before| self.cuts[before].end);
        &self.rows[start as usize..cut.end as usize]
    }

    /// The level of a batch; 0 behind the last.
    pub fn level(&self, number: u32) -> u32 {
        self.cuts.get(number as usize).map_or(0, |cut| cut.level)
    }

    /// The same, with the rows that others point at.
    pub fn with_parents(mut self, edges: &[Edge]) -> Self {
        self.parents = edges.iter().map(|edge| edge.parent).collect();
        self.parents.extend(self.later.iter().map(|edge| edge.parent));
        self.parents.sort_unstable();
        self.parents.dedup();
        self
    }

    /// The rows that others point at and that the target did not have.
    pub fn parents(&self) -> &[u32] {
        &self.parents
    }

    /// The lookups that are set in a second pass, as places of row and parent.
    pub fn later(&self) -> impl Iterator<Item = (u32, u32)> {
        self.later.iter().map(|edge| (edge.child, edge.parent))
    }
}

fn file_of(job: &Job, part: u16) -> PathBuf {
    job.dir.scratch(&format!("order-{part}.json"))
}

impl Pipeline {
    /// Keeps the order of a part's batches.
    pub(super) fn keep_order(&self, job: &Job, part: u16, order: &Order) -> Result<(), DiskError> {
        let text = serde_json::to_vec(order).expect("an order is plain data");
        durable::replace(&file_of(job, part), &text)
    }

    /// The order of a part's batches, where preflight gave them one.
    pub(super) fn order_of(&self, job: &Job, part: u16) -> Result<Option<Arc<Order>>, Halt> {
        if !job.journal.part(part).ordered {
            return Ok(None);
        }
        let path = file_of(job, part);
        let text = doing(std::fs::read(&path), "read", &path)?;
        let order = serde_json::from_slice(&text).map_err(|error| Halt::Wait {
            waiting_for: format!("the operator: {} does not read: {error}; restore it", path.display()),
            retry: OPERATOR_WAIT,
        })?;
        Ok(Some(Arc::new(order)))
    }

    /// The rows of a part by the values that others of it may name them by; `None` where none can.
    pub(super) async fn siblings(
        &self,
        job: &Job,
        part: u16,
        staged: &Staged,
        plan: &RowPlan,
    ) -> Result<Option<Siblings>, Halt> {
        if !plan.may_have_siblings() {
            return Ok(None);
        }
        let load = &job.record.loads[usize::from(part)];
        let mut siblings = Siblings::default();
        let mut keys = KeysSeen::new(plan.entity(), plan, load, &staged.columns);
        let mut batches = self.batches_as_staged(job, part, staged).await?;
        while let Some(batch) = batches.next().await? {
            if self.stop.is_cancelled() {
                return Err(Halt::Stopping);
            }
            for (place, row) in batch.places.iter().zip(&batch.rows) {
                // A row whose key another one has is refused, and nobody means it.
                if keys.note(row, true).is_empty() {
                    siblings.note(&self.dynamics, plan, *place, row);
                }
            }
        }
        Ok(Some(siblings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::levels::levels;

    #[test]
    fn a_batch_holds_rows_of_one_level_and_those_held_back_come_first() {
        // 0 → 3 → 1; 2, 4 and 5 stand alone, and 4 is held back.
        let edges = vec![Edge { child: 0, parent: 3 }, Edge { child: 3, parent: 1 }];
        let is_held = [false, false, false, false, true, false];
        let order = Order::new(&[4], &is_held, &levels(6, edges), 2, false);
        let batches: Vec<(&[u32], u32)> =
            (0..order.batches()).map(|number| (order.batch(number), order.level(number))).collect();
        assert_eq!(batches, [(&[4][..], 0), (&[1, 2][..], 0), (&[5][..], 0), (&[3][..], 1), (&[0][..], 2)]);
        assert_eq!(order.batch(5), &[] as &[u32]);
    }
}
