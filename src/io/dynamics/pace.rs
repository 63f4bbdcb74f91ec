//! How the rows of a table go: how many in a request, and whether by bulk action or by `$batch`; measured at the first
//! requests of a load, and looked at again from time to time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::bulk::Action;
use super::verdict::Setback;

/// Rows in the first requests. Microsoft starts with 10 and grows (dynamics.md §4.2); a bulk action takes 100 of any table
/// (§2.5).
const ROWS_FIRST: usize = 100;
/// Rows in a request at least, however slow they are: below that the way to the service is what takes the time.
const ROWS_MIN: usize = 10;
/// Rows in a request at most. Source: dynamics.md §2.5, §3.1.
const ROWS_MAX: usize = 1_000;
/// A request that takes less may hold more rows. Larger ones save little then, and stay far below every time limit.
const GROW_BELOW: Duration = Duration::from_secs(4);
/// A request that takes longer should hold fewer rows: plug-ins end after 120 s (dynamics.md §4.4).
const SHRINK_ABOVE: Duration = Duration::from_secs(30);
/// Requests after a setback before they grow again.
const REST: u32 = 20;
/// Requests of each way before one is chosen.
const TRIAL: u32 = 3;
/// Requests of the chosen way before the other one is looked at again.
const LOOK_AGAIN: u32 = 150;
/// How much of a new measurement counts.
const WEIGHT: f64 = 0.3;
/// The other way must be faster by so much to be changed to.
const BETTER: f64 = 1.15;

/// How rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// One operation a row, each for itself.
    Batch,
    /// One action for all.
    Bulk,
}

/// A table, and what is done to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    /// The entity set.
    pub(super) set_name: String,
    /// The bulk action that would do it, where there is one.
    pub(super) action: Option<Action>,
}

/// How the rows of one table go at present.
#[derive(Debug, Clone, PartialEq)]
pub struct PaceReport {
    /// The entity set.
    pub set_name: String,
    /// What is done: the bulk action's name, or `other`.
    pub doing: &'static str,
    /// Rows in a request at most, now.
    pub rows: usize,
    /// How they go; `None` while both ways are tried.
    pub way: Option<Way>,
    /// Rows a second of one request by `$batch`, and by bulk action; 0 where it was not tried.
    pub rates: (f64, f64),
}

/// What was learned about all lanes.
#[derive(Debug, Default)]
pub(super) struct Pace {
    lanes: Mutex<HashMap<Lane, State>>,
}

#[derive(Debug)]
struct State {
    rows: usize,
    rest: u32,
    batch: Speed,
    bulk: Speed,
    way: Option<Way>,
    since_look: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Speed {
    rate: f64,
    sent: u32,
    heard: u32,
}

impl Speed {
    fn heard(&mut self, rate: f64) {
        self.rate = if self.heard == 0 { rate } else { self.rate + WEIGHT * (rate - self.rate) };
        self.heard += 1;
    }
}

impl Default for State {
    fn default() -> Self {
        State {
            rows: ROWS_FIRST,
            rest: 0,
            batch: Speed::default(),
            bulk: Speed::default(),
            way: None,
            since_look: 0,
        }
    }
}

impl Pace {
    /// How many rows the next request should hold at most.
    pub(super) fn rows(&self, lane: &Lane) -> usize {
        self.with(lane, |state| state.rows)
    }

    /// How the next request should go, where both ways are open.
    pub(super) fn way(&self, lane: &Lane) -> Way {
        self.with(lane, |state| {
            let way = match state.way {
                None if state.bulk.sent <= state.batch.sent => Way::Bulk,
                None => Way::Batch,
                Some(way) => {
                    state.since_look += 1;
                    if state.since_look > LOOK_AGAIN {
                        state.since_look = 0;
                        other(way)
                    } else {
                        way
                    }
                }
            };
            state.speed(way).sent += 1;
            way
        })
    }

    /// A request of so many rows was carried out.
    pub(super) fn heard(&self, lane: &Lane, way: Way, rows: usize, took: Duration) {
        self.with(lane, |state| {
            // Small ones are not what the lane can do.
            if rows * 2 >= state.rows {
                state.speed(way).heard(rows as f64 / took.as_secs_f64().max(1e-4));
                state.choose(lane);
            }
            let tried = lane.action.is_none() || state.way.is_some();
            if took > SHRINK_ABOVE {
                state.shrink();
            } else if state.rest > 0 {
                state.rest -= 1;
            } else if took < GROW_BELOW && rows >= state.rows && tried {
                state.rows = (state.rows * 2).min(ROWS_MAX);
            }
        });
    }

    /// A limit or a time-out was met: fewer requests help against the first of the limits, smaller ones against the rest.
    pub(super) fn setback(&self, lane: &Lane, setback: Setback) {
        self.with(lane, |state| match setback {
            Setback::RequestLimit => state.rows = (state.rows * 2).min(ROWS_MAX),
            // Several that left together meet the same limit: until one was carried out again, it counts once.
            Setback::TimeLimit if state.rest == REST => {}
            Setback::TimeLimit | Setback::DatabaseTimeout | Setback::PlugIn => state.shrink(),
            Setback::ConcurrencyLimit
            | Setback::Busy
            | Setback::Deadlock
            | Setback::Unexpected
            | Setback::Contended
            | Setback::Closed => {}
        });
    }

    /// The bulk action does not work here, whatever the service says of it.
    pub(super) fn no_bulk(&self, lane: &Lane) {
        self.with(lane, |state| {
            state.bulk = Speed::default();
            state.way = Some(Way::Batch);
            state.since_look = 0;
        });
    }

    /// How much faster bulk actions are, as far as both are known.
    pub(super) fn gain(&self, lane: &Lane) -> Option<f64> {
        self.with(lane, |state| {
            (state.batch.heard > 0 && state.bulk.heard > 0).then(|| state.bulk.rate / state.batch.rate)
        })
    }

    /// Every lane, by table.
    pub(super) fn report(&self) -> Vec<PaceReport> {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let report = |(lane, state): (&Lane, &State)| PaceReport {
            set_name: lane.set_name.clone(),
            doing: lane.action.map_or("other", Action::name),
            rows: state.rows,
            way: lane.action.map_or(Some(Way::Batch), |_| state.way),
            rates: (state.batch.rate, state.bulk.rate),
        };
        let mut reports: Vec<PaceReport> = lanes.iter().map(report).collect();
        reports.sort_by(|a, b| (&a.set_name, a.doing).cmp(&(&b.set_name, b.doing)));
        reports
    }

    fn with<T>(&self, lane: &Lane, ask: impl FnOnce(&mut State) -> T) -> T {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        match lanes.get_mut(lane) {
            Some(state) => ask(state),
            None => ask(lanes.entry(lane.clone()).or_default()),
        }
    }
}

impl State {
    fn speed(&mut self, way: Way) -> &mut Speed {
        match way {
            Way::Batch => &mut self.batch,
            Way::Bulk => &mut self.bulk,
        }
    }

    fn shrink(&mut self) {
        self.rows = (self.rows / 2).max(ROWS_MIN);
        self.rest = REST;
    }

    /// Chooses the faster way once both were tried; says so, and says when it changes.
    fn choose(&mut self, lane: &Lane) {
        let Some(action) = lane.action else { return };
        let faster = if self.bulk.rate > self.batch.rate { Way::Bulk } else { Way::Batch };
        let change = match self.way {
            None => self.batch.heard >= TRIAL && self.bulk.heard >= TRIAL,
            Some(way) => {
                let (own, of_other) = (self.speed(way).rate, self.speed(other(way)).rate);
                of_other > own * BETTER
            }
        };
        if !change {
            return;
        }
        self.way = Some(faster);
        let (batch, bulk) = (self.batch.rate.round(), self.bulk.rate.round());
        let way = match faster {
            Way::Bulk => action.name(),
            Way::Batch => "$batch",
        };
        tracing::info!(
            entity = %lane.set_name,
            way,
            batch_rows_a_second = batch,
            bulk_rows_a_second = bulk,
            rows_a_request = self.rows,
            "how rows go was measured"
        );
    }
}

fn other(way: Way) -> Way {
    match way {
        Way::Batch => Way::Bulk,
        Way::Bulk => Way::Batch,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane { set_name: "accounts".to_owned(), action: Some(Action::Create) }
    }

    /// Sends requests that take so long a row, by each way; how many went each way.
    fn send(pace: &Pace, requests: u32, batch_us: u64, bulk_us: u64) -> (u32, u32) {
        let mut went = (0, 0);
        for _ in 0..requests {
            let rows = pace.rows(&lane());
            let way = pace.way(&lane());
            let (count, us) = match way {
                Way::Batch => (&mut went.0, batch_us),
                Way::Bulk => (&mut went.1, bulk_us),
            };
            *count += 1;
            pace.heard(&lane(), way, rows, Duration::from_micros(us * rows as u64));
        }
        went
    }

    #[test]
    fn both_ways_are_tried_and_the_faster_one_is_kept_and_looked_at_again() {
        for (batch_us, bulk_us, wanted) in [(900, 300, Way::Bulk), (300, 900, Way::Batch)] {
            let pace = Pace::default();
            assert_eq!(send(&pace, 2 * TRIAL, batch_us, bulk_us), (TRIAL, TRIAL));
            let report = pace.report().remove(0);
            assert_eq!((report.way, report.doing), (Some(wanted), "CreateMultiple"));
            let (batch, bulk) = send(&pace, LOOK_AGAIN, batch_us, bulk_us);
            assert_eq!(batch.min(bulk), 0, "the faster one alone");
            let (batch, bulk) = send(&pace, 2, batch_us, bulk_us);
            assert_eq!(batch.min(bulk), 1, "one look at the other");
            // What was slow becomes much faster: a few looks later it is chosen.
            send(&pace, 6 * LOOK_AGAIN, bulk_us, batch_us);
            assert_eq!(pace.report()[0].way, Some(other(wanted)));
        }
    }

    #[test]
    fn requests_grow_while_they_are_quick_and_shrink_when_the_service_says_so() {
        let pace = Pace::default();
        assert_eq!(pace.rows(&lane()), ROWS_FIRST);
        send(&pace, 20, 100, 100);
        assert_eq!(pace.rows(&lane()), ROWS_MAX);
        pace.setback(&lane(), Setback::TimeLimit);
        pace.setback(&lane(), Setback::TimeLimit);
        assert_eq!(pace.rows(&lane()), 500, "two that left together count once");
        send(&pace, REST, 100, 100);
        assert_eq!(pace.rows(&lane()), 500, "they rest before they grow");
        send(&pace, 1, 100, 100);
        assert_eq!(pace.rows(&lane()), 1_000);
        for _ in 0..20 {
            pace.setback(&lane(), Setback::DatabaseTimeout);
        }
        assert_eq!(pace.rows(&lane()), ROWS_MIN);
        pace.setback(&lane(), Setback::RequestLimit);
        assert_eq!(pace.rows(&lane()), 2 * ROWS_MIN, "fewer, larger requests");
        pace.setback(&lane(), Setback::ConcurrencyLimit);
        assert_eq!(pace.rows(&lane()), 2 * ROWS_MIN);
        // Slow rows: the request stays below what a plug-in may take.
        let slow = Lane { set_name: "slow".to_owned(), action: None };
        for _ in 0..10 {
            let rows = pace.rows(&slow);
            pace.heard(&slow, Way::Batch, rows, Duration::from_millis(500 * rows as u64));
        }
        assert!(pace.rows(&slow) <= 50, "{}", pace.rows(&slow));
    }
}
