//! The lifecycle of a job: one pure function holds every legal transition (event × state → state).

use serde::{Deserialize, Serialize};

use super::effect::Effects;
use super::job::JobId;
use super::refusal::{RefusedRow, Severity};
use super::row::StagedColumn;

/// What happened to a job. One line of its journal each; each is fsynced before anything follows from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The workbook stands in the job's own folder.
    Claimed,
    /// The rows of a part are in the staged table, in one Delta commit.
    Staged(Staged),
    /// Preflight looks at the part from its first row; what an earlier, unfinished look found is void.
    PreflightBegun,
    /// Preflight holds back rows of a batch; batches without such rows are not mentioned.
    BatchHeld {
        /// The batch, from 0.
        batch: u32,
        /// The rows held back.
        refused: Vec<RefusedRow>,
    },
    /// Preflight has looked at every row of the part.
    Preflighted {
        /// Batches of the part.
        batches: u32,
        /// Rows held back in all of them.
        refused: u64,
        /// The batches are cut in an order of their own, parents first, which a file in the job's folder holds.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ordered: bool,
        /// Entities whose absent records rows are written without, for now: they wait for this part in turn.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        without: Vec<String>,
    },
    /// The target was asked how many records the part's entity has, before the first batch left.
    Counted {
        /// How many; `None` where it did not say.
        records: Option<u64>,
    },
    /// A batch is about to leave: from here until it is heard, its outcome is in doubt.
    BatchSent {
        /// The batch, from 0.
        batch: u32,
        /// 1 for the first try.
        attempt: u32,
    },
    /// A batch's outcome is known; every row not refused here or by preflight was written.
    BatchHeard(BatchHeard),
    /// Every batch of the part was heard.
    Migrated {
        /// Rows written.
        written: u64,
        /// Rows refused, preflight's among them.
        refused: u64,
    },
    /// Quarantine, receipts, log and state of the part are committed.
    Recorded,
    /// Jobs that try again rows which waited for records that this one wrote; they are made next.
    RetriesPlanned {
        /// The jobs.
        retries: Vec<JobId>,
        /// Rows of this job itself among those that they try again.
        own_rows: u64,
    },
    /// What the sender gets back is in its place.
    GivenBack {
        /// The file's name in `returned/`, where rows were refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// The workbook as a whole is put aside; none of its rows was staged.
    SetAside {
        /// What is wrong with it.
        kind: SetAsideKind,
        /// The sentence for the sender, with what to do.
        reason: String,
    },
}

/// What staging a part came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The sheet that was read.
    pub sheet: String,
    /// The version of the staged table that holds the rows.
    pub version: u64,
    /// The columns that came with the rows: named as in the table, with the headers of this workbook.
    pub columns: Vec<StagedColumn>,
    /// Rows that this part will migrate.
    pub rows: u64,
    /// Rows among them that take the place of quarantined ones.
    pub healed: u64,
    /// Rows among them that take the place of rows already written.
    pub rewritten: u64,
    /// Records of the replaced version without a successor (`overwrite`).
    pub left_behind: u64,
    /// What the reader decided, in sentences for the status: "header found in row 4".
    pub notes: Vec<String>,
}

/// The outcome of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeard {
    /// The batch, from 0.
    pub batch: u32,
    /// The attempt that was heard, from 1.
    pub attempt: u32,
    /// Rows that the target has now.
    pub written: u32,
    /// What became of the written rows' records; `None` in journals of versions that did not ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Effects>,
    /// Rows that the target refused.
    pub refused: Vec<RefusedRow>,
    /// Rows whose record got a key that the target made: place in the batch from 0, and the key as receipts have it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<(u32, String)>,
    /// From the first byte sent to the last heard, in milliseconds, all attempts.
    pub took_ms: u64,
    /// When it was heard.
    pub heard_at: jiff::Timestamp,
    /// The target's words, where something was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The operator's sentence about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// How bad it was.
    pub severity: Severity,
}

/// Why a whole workbook is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SetAsideKind {
    /// It could not be read, or its settings cannot be kept; it goes back untouched with a text that says why.
    Returned,
    /// The same bytes were loaded before; it goes to the archive.
    Duplicate,
    /// A dry run: everything was checked, nothing was staged; what would be refused lies in `returned/` already.
    Rehearsed,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// job.json exists; the workbook may or may not have followed.
    Claiming,
    /// The next part is to be read and staged.
    Claimed {
        /// The part, from 0.
        part: u16,
    },
    /// The part's rows are staged; preflight is next.
    Staged {
        /// The part, from 0.
        part: u16,
    },
    /// The part may be written; migrate is next.
    Preflighted {
        /// The part, from 0.
        part: u16,
    },
    /// The part's batches were all heard; recording is next.
    Migrated {
        /// The part, from 0.
        part: u16,
    },
    /// Every part is recorded; giving back is next.
    Recorded,
    /// Rows that waited for this job's are to become jobs of their own; then giving back is next.
    Retrying,
    /// The workbook is put aside; giving it back or archiving it is next.
    SetAside(SetAsideKind),
    /// Only the archive is left.
    GivenBack,
}

impl State {
    /// The word for it in status, log and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Claiming => "claiming",
            State::Claimed { .. } => "claimed",
            State::Staged { .. } => "staged",
            State::Preflighted { .. } => "migrating",
            State::Migrated { .. } => "migrated",
            State::Recorded | State::Retrying => "recorded",
            State::SetAside(_) => "set aside",
            State::GivenBack => "given back",
        }
    }
}

/// An event that cannot follow the state it met: the journal was tampered with, or the program is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {state:?} cannot see the event {event}")]
pub struct IllegalTransition {
    /// The state that was met.
    pub state: State,
    /// The event's name.
    pub event: &'static str,
}

/// The state after `event`, for a job of `parts` parts.
///
/// # Errors
/// When the event cannot follow the state.
pub fn advance(state: State, event: &Event, parts: u16) -> Result<State, IllegalTransition> {
    match (state, event) {
        (State::Claiming, Event::Claimed) => Ok(State::Claimed { part: 0 }),
        (State::Claimed { part }, Event::Staged(_)) => Ok(State::Staged { part }),
        (State::Claimed { part: 0 }, Event::SetAside { kind, .. }) => Ok(State::SetAside(*kind)),
        (State::Staged { part }, Event::PreflightBegun | Event::BatchHeld { .. }) => {
            Ok(State::Staged { part })
        }
        (State::Staged { part }, Event::Preflighted { .. }) => Ok(State::Preflighted { part }),
        (
            State::Preflighted { part },
            Event::Counted { .. } | Event::BatchSent { .. } | Event::BatchHeard(_),
        ) => Ok(State::Preflighted { part }),
        (State::Preflighted { part }, Event::Migrated { .. }) => Ok(State::Migrated { part }),
        (State::Migrated { part }, Event::Recorded) if part + 1 < parts => {
            Ok(State::Claimed { part: part + 1 })
        }
        (State::Migrated { .. }, Event::Recorded) => Ok(State::Recorded),
        (State::Recorded, Event::RetriesPlanned { .. }) => Ok(State::Retrying),
        (State::Recorded | State::Retrying | State::SetAside(_), Event::GivenBack { .. }) => {
            Ok(State::GivenBack)
        }
        (state, event) => Err(IllegalTransition { state, event: event.name() }),
    }
}

impl Event {
    /// The event's name, as its journal line has it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Claimed => "claimed",
            Event::Staged(_) => "staged",
            Event::PreflightBegun => "preflight_begun",
            Event::BatchHeld { .. } => "batch_held",
            Event::Preflighted { .. } => "preflighted",
            Event::Counted { .. } => "counted",
            Event::BatchSent { .. } => "batch_sent",
            Event::BatchHeard(_) => "batch_heard",
            Event::Migrated { .. } => "migrated",
            Event::Recorded => "recorded",
            Event::RetriesPlanned { .. } => "retries_planned",
            Event::GivenBack { .. } => "given_back",
            Event::SetAside { .. } => "set_aside",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_parts_go_round_twice_and_no_event_is_heard_out_of_turn() {
        let staged = Event::Staged(Staged {
            sheet: "Sheet1".into(),
            version: 1,
            columns: vec![],
            rows: 0,
            healed: 0,
            rewritten: 0,
            left_behind: 0,
            notes: vec![],
        });
        let preflighted = Event::Preflighted { batches: 0, refused: 0, ordered: false, without: vec![] };
        let migrated = Event::Migrated { written: 0, refused: 0 };
        let mut state = State::Claiming;
        let round = [staged.clone(), preflighted, migrated, Event::Recorded];
        let events = std::iter::once(Event::Claimed).chain(round.clone()).chain(round);
        for event in events {
            state = advance(state, &event, 2).unwrap();
        }
        assert_eq!(state, State::Recorded);
        assert_eq!(advance(state, &Event::GivenBack { file: None }, 2), Ok(State::GivenBack));
        let retrying = advance(state, &Event::RetriesPlanned { retries: vec![], own_rows: 0 }, 2).unwrap();
        assert_eq!(advance(retrying, &Event::GivenBack { file: None }, 2), Ok(State::GivenBack));
        assert!(advance(state, &staged, 2).is_err());
        let late = Event::SetAside { kind: SetAsideKind::Returned, reason: String::new() };
        assert!(advance(State::Staged { part: 0 }, &late, 2).is_err());
    }
}
