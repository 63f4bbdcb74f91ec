//! Staged rows and the records they were written to, side by side.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::choose::Chosen;
use super::sender::Sender;
use crate::domain::conform::excerpt;
use crate::domain::job::JobId;
use crate::domain::proof::{Departed, Departure};
use crate::domain::row::{RowId, StagedRow};
use crate::domain::settings::Mode;
use crate::domain::table::TableName;
use crate::io::dynamics::{Difference, Found, Sought};
use crate::pipeline::{Halt, Pipeline};

/// Rows that are held back until they are read together.
const ROWS_TOGETHER: usize = 500;
/// How much later than our receipt a change of ours may seem to be: both clocks are told to the second.
pub(in crate::pipeline) const CLOCK_DOUBT: SignedDuration = SignedDuration::from_secs(2);

/// Why a record of F&O cannot be asked for.
pub(in crate::pipeline) const KEY_UNKNOWN: &str = "the whole key of its record is not known";

/// Receipts on their way back to the values that were sent.
pub(super) struct Reading<'a> {
    pipeline: &'a Pipeline,
    table: &'a TableName,
    chosen: BTreeMap<RowId, Chosen>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, table: &'a TableName, chosen: BTreeMap<RowId, Chosen>) -> Self {
        Reading { pipeline, table, chosen }
    }

    /// Reads the records of the chosen rows, those of one job where one is named, and tells of each what departs; `None`
    /// is a record that is as it was written. Rows that are not in the table any more, or that a later job gave other
    /// values which are not written yet, are passed over.
    pub(super) async fn read(
        &mut self,
        job: Option<&JobId>,
        mut tell: impl FnMut(Option<Vec<Departure>>),
    ) -> Result<(), Halt> {
        let lake = &self.pipeline.lake;
        let Some(version) = lake.staged_version(self.table).await? else { return Ok(()) };
        let mut reader = lake.rows(self.table, version, job).await?;
        let columns = reader.columns().to_vec();
        let mut sender: Option<Sender> = None;
        let mut waiting: Vec<StagedRow> = Vec::new();
        while let Some(rows) = reader.next().await? {
            for row in rows {
                if self.chosen.get(&row.id).is_none_or(|chosen| chosen.job != row.job) {
                    continue;
                }
                let same = sender.as_ref().is_some_and(|sender| sender.sent(&row));
                if !same || waiting.len() >= ROWS_TOGETHER {
                    self.compare(sender.as_ref(), std::mem::take(&mut waiting), &mut tell).await?;
                }
                if !same {
                    sender = self.pipeline.sender_of(self.table, &row, &columns).await?;
                }
                match &sender {
                    Some(_) => waiting.push(row),
                    None => {
                        let why = format!("the folder of job {} is gone, and its settings with it", row.job);
                        tell(Some(vec![self.departure(&row, Departed::Untold, why)]));
                    }
                }
            }
        }
        self.compare(sender.as_ref(), waiting, &mut tell).await
    }

    async fn compare(
        &self,
        sender: Option<&Sender>,
        rows: Vec<StagedRow>,
        tell: &mut impl FnMut(Option<Vec<Departure>>),
    ) -> Result<(), Halt> {
        let Some(sender) = sender.filter(|_| !rows.is_empty()) else { return Ok(()) };
        let dynamics = &self.pipeline.dynamics;
        let (mut sought, mut of) = (Vec::new(), Vec::new());
        for (row, encoded) in rows.iter().zip(self.pipeline.sent_as(sender, &rows).await?) {
            match encoded {
                Ok(operation) => {
                    let record = self.chosen[&row.id].record.as_ref();
                    match Sought::of(&sender.plan, &operation, record) {
                        Some(one) => {
                            sought.push(one);
                            of.push(row);
                        }
                        None => {
                            tell(Some(vec![self.departure(row, Departed::Untold, KEY_UNKNOWN.to_owned())]))
                        }
                    }
                }
                Err(why) => tell(Some(vec![self.departure(row, Departed::Untold, why)])),
            }
        }
        let read = dynamics.read_back(&sender.plan, &sought).await?;
        let ahead =
            read.clock.map_or(SignedDuration::ZERO, |clock| clock.duration_since((self.pipeline.now)()));
        for (row, found) in of.into_iter().zip(read.found) {
            let departures = self.departures(sender.mode, row, found, ahead);
            tell((!departures.is_empty()).then_some(departures));
        }
        Ok(())
    }

    fn departures(
        &self,
        mode: Mode,
        row: &StagedRow,
        found: Option<Found>,
        ahead: SignedDuration,
    ) -> Vec<Departure> {
        let found = match (mode, found) {
            (Mode::Delete, None) => return Vec::new(),
            (Mode::Delete, Some(_)) => {
                return vec![self.departure(row, Departed::StillThere, "the record".to_owned())];
            }
            (_, None) => return vec![self.departure(row, Departed::Missing, "no record".to_owned())],
            (_, Some(found)) => found,
        };
        let chosen = &self.chosen[&row.id];
        let later = found.modified.is_some_and(|at| at > chosen.time + ahead + CLOCK_DOUBT);
        let kind = match later || chosen.written_over_by.is_some() {
            true => Departed::ChangedSince,
            false => Departed::Wrong,
        };
        let by = chosen.written_over_by.as_ref().map(|job| format!(" (by job {job})")).unwrap_or_default();
        let departure = |difference: Difference| Departure {
            column: difference.header,
            sent: difference.sent,
            ..self.departure(row, kind, difference.found + &by)
        };
        found.differences.into_iter().map(departure).collect()
    }

    fn departure(&self, row: &StagedRow, kind: Departed, found: String) -> Departure {
        Departure {
            kind,
            sheet: row.sheet.clone(),
            row: row.number,
            row_id: row.id,
            job: row.job.clone(),
            record: self.chosen.get(&row.id).map_or_else(String::new, |chosen| excerpt(&chosen.target_key)),
            column: String::new(),
            sent: String::new(),
            found,
        }
    }
}
