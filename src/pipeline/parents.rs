//! parents: jobs whose rows point at the rows of other open jobs let those go first, unless they would wait for each other.

use std::collections::BTreeSet;

use super::claim::Job;
use super::traffic::Open;
use super::{Halt, Pipeline};
use crate::io::dynamics::{RowPlan, TargetFault};

impl Pipeline {
    /// Lets jobs go first that load what a staged part points at. `order` in the sidecar says more than lookups do.
    ///
    /// # Errors
    /// `Behind` while there are such jobs; what kept the target from telling its metadata.
    pub(super) async fn parents_first(&self, job: &Job, part: u16) -> Result<(), Halt> {
        let load = &job.record.loads[usize::from(part)];
        let id = &job.record.job;
        let beside = self.traffic.beside(id, false);
        if beside.is_empty() || load.order.is_some() || self.traffic.insists(id) {
            return Ok(());
        }
        let (entity, plan) = self.plan(load, &job.staged(part).columns).await?;
        let mut points_at = owned(plan.points_at());
        points_at.remove(&entity.set_name);
        let mut before = Vec::new();
        for open in beside {
            before.extend(self.loads_any(&open, &points_at).await?.map(|parent| (open, parent)));
        }
        let Some((first, parent)) = before.first() else { return Ok(()) };
        let more = match before.len() {
            1 => String::new(),
            2 => " and 1 other workbook".to_owned(),
            more => format!(" and {} other workbooks", more - 1),
        };
        let waiting_for = format!("{}{more}: {parent} are loaded before {}", first.workbook, entity.set_name);
        Err(Halt::Behind { jobs: before.into_iter().map(|(open, _)| open.job).collect(), waiting_for })
    }

    /// Entities whose absent records the rows of a part may be written without, for now: they are still to be loaded, and
    /// those who load them wait for this part in turn.
    pub(super) async fn goes_without(&self, job: &Job, plan: &RowPlan) -> Result<BTreeSet<String>, Halt> {
        let own = plan.entity().set_name.clone();
        let mut points_at = owned(plan.points_at());
        points_at.remove(&own);
        let mut without = BTreeSet::new();
        if points_at.is_empty() {
            return Ok(without);
        }
        if self.traffic.insists(&job.record.job) {
            for open in self.traffic.beside(&job.record.job, true) {
                without.extend(self.loads_any(&open, &points_at).await?);
            }
        }
        // Rows in quarantine that wait for this entity cannot land before it.
        for state in self.lake.states().await? {
            if !points_at.contains(&state.target_entity) || without.contains(&state.target_entity) {
                continue;
            }
            let Ok(table) = state.table_name.clone().try_into() else { continue };
            if self.lake.quarantine_waits(&table).await?.contains(&own) {
                without.insert(state.target_entity);
            }
        }
        Ok(without)
    }

    /// The first of these entities that a job makes records in.
    async fn loads_any(&self, open: &Open, entities: &BTreeSet<String>) -> Result<Option<String>, Halt> {
        for name in &open.entities {
            match self.dynamics.entity(name).await {
                Ok(entity) if entities.contains(&entity.set_name) => {
                    return Ok(Some(entity.set_name.clone()));
                }
                // It is told so itself.
                Ok(_) | Err(TargetFault::UnknownEntity { .. }) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(None)
    }
}

fn owned(names: BTreeSet<&str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}
