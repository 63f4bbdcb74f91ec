//! Which jobs go next: several at once, but rows of one table and of one entity in the order of arrival, and jobs with
//! an `order` only after those with a lower one; small ones of one table together.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::domain::job::{JobId, JobSeq};
use crate::domain::table::TableName;
use crate::io::spool::job_dir::JobRecord;
use crate::pipeline::group::{GROUP_JOBS_MAX, may_share, share_place};
use crate::pipeline::traffic::Traffic;

/// Jobs that may be open at once; further workbooks wait in the dropbox, where the status shows them.
pub const JOBS_OPEN_MAX: usize = 256;

/// The open jobs: those that wait for their turn, and the tables and entities of those that are worked on.
///
/// It holds what their claims decided and no more; how far they came is in their journals.
#[derive(Default)]
pub struct Queue {
    waiting: BTreeMap<JobSeq, Resting>,
    working: HashMap<JobSeq, Working>,
    only: Option<TableName>,
    traffic: Arc<Traffic>,
}

struct Resting {
    record: JobRecord,
    not_before: Option<Instant>,
    /// Jobs that go first: they write what this one's rows point at.
    behind: HashSet<JobId>,
}

/// Jobs that are worked on together, one after the other; of most there is one.
struct Working {
    jobs: Vec<JobId>,
    needs: HashSet<String>,
    order: Option<i64>,
    claimed_at: jiff::Timestamp,
}

impl Queue {
    /// Adds a job, to be worked on not before `not_before`.
    pub fn add(&mut self, record: JobRecord, not_before: Option<Instant>) {
        if self.is_wanted(&record) {
            self.traffic.enter(&record);
        }
        self.waiting.insert(record.seq, Resting { record, not_before, behind: HashSet::new() });
    }

    /// Adds a job that rests until somebody acts: nobody is to wait for that, nor for what waits for it.
    pub fn add_stuck(&mut self, record: JobRecord, not_before: Instant) {
        let job = record.job.clone();
        self.add(record, Some(not_before));
        self.traffic.set_stuck(&job, true);
        for resting in self.waiting.values_mut() {
            resting.behind.clear();
        }
    }

    /// Adds a job that is to go behind these, which are open. It is not to wait, and goes on, where none of them would go
    /// before it: they wait for it in turn, or for somebody.
    pub fn add_behind(&mut self, record: JobRecord, jobs: Vec<JobId>) {
        let behind: HashSet<JobId> = jobs.into_iter().filter(|job| self.holds(job)).collect();
        let (seq, id) = (record.seq, record.job.clone());
        self.add(record, None);
        if behind.is_empty() || behind.iter().any(|job| self.waits_for(job, &id)) {
            tracing::info!(job = %id, "job goes before those that its rows point at: they wait for it, or for somebody");
            self.traffic.insist(&id);
        } else if let Some(resting) = self.waiting.get_mut(&seq) {
            resting.behind = behind;
        }
    }

    /// Whether a job cannot go before another one does, or before somebody acts: by lookups, by `order`, or because of a
    /// table or an entity.
    fn waits_for(&self, job: &JobId, other: &JobId) -> bool {
        let turns = self.in_turn();
        let mut seen: HashSet<&JobId> = HashSet::new();
        let mut next = vec![job];
        while let Some(job) = next.pop() {
            if job == other || self.traffic.is_stuck(job) {
                return true;
            }
            if !seen.insert(job) {
                continue;
            }
            let place = turns.iter().position(|(_, seq)| self.waiting[seq].record.job == *job);
            // What is worked on waits for nobody.
            let Some(place) = place else { continue };
            let resting = &self.waiting[&turns[place].1];
            let (own, order) = (needs(&resting.record), own_order(&resting.record).map(|_| turns[place].0));
            next.extend(&resting.behind);
            for (lower, seq) in &turns[..place] {
                let before = &self.waiting[seq].record;
                let ordered = own_order(before).is_some() && order.is_some_and(|order| *lower < order);
                if ordered || !needs(before).is_disjoint(&own) {
                    next.push(&before.job);
                }
            }
        }
        false
    }

    /// Nobody goes behind this job any more.
    fn let_go(&mut self, job: &JobId) {
        for resting in self.waiting.values_mut() {
            resting.behind.remove(job);
        }
    }

    /// A job has ended.
    pub fn ended(&mut self, job: &JobId) {
        self.traffic.leave(job);
        self.let_go(job);
    }

    /// A queue of which only jobs of this table are taken, where one is named; the others keep their places.
    pub fn of(only: Option<TableName>, traffic: Arc<Traffic>) -> Self {
        Queue { only, traffic, ..Queue::default() }
    }

    /// Takes the next job whose tables and entities no job before it has, while fewer than `at_once` are worked on, and
    /// with it those behind it that may be staged together with it, in the order of their claims. They count as one.
    ///
    /// None is waited for: only jobs that could go right after it go with it.
    pub fn next(&mut self, now: Instant, at_once: usize) -> Option<Vec<JobRecord>> {
        let (seq, order) = self.find(now, at_once)?;
        let behind = self.behind(seq, now);
        let mut records = Vec::with_capacity(1 + behind.len());
        for seq in std::iter::once(seq).chain(behind) {
            let Resting { record, behind, .. } = self.waiting.remove(&seq)?;
            if !behind.is_empty() {
                self.traffic.insist(&record.job);
            }
            records.push(record);
        }
        for record in &records {
            self.traffic.set_stuck(&record.job, false);
        }
        let first = &records[0];
        let working = Working {
            jobs: records.iter().map(|record| record.job.clone()).collect(),
            needs: needs(first),
            order,
            claimed_at: first.claimed_at,
        };
        self.working.insert(seq, working);
        Some(records)
    }

    /// The jobs that may share the staging of this one, as far as no other of the same table or entity stands between.
    fn behind(&self, first: JobSeq, now: Instant) -> Vec<JobSeq> {
        let record = &self.waiting[&first].record;
        if !may_share(record) {
            return Vec::new();
        }
        let place = needs(record);
        let mut behind = Vec::new();
        for (seq, resting) in self.waiting.range(first..).skip(1) {
            if behind.len() + 1 >= GROUP_JOBS_MAX {
                break;
            }
            let next = &resting.record;
            let ready = resting.not_before.is_none_or(|not_before| not_before <= now);
            let ready = ready && resting.behind.is_empty();
            if ready && may_share(next) && share_place(record, next) {
                behind.push(*seq);
            } else if !needs(next).is_disjoint(&place) {
                break;
            }
        }
        behind
    }

    /// Whether a job could be taken now.
    pub fn has_next(&self, now: Instant, at_once: usize) -> bool {
        self.find(now, at_once).is_some()
    }

    /// The next job. Where all wait for each other, which only a later arrival can bring about, lookups do not count.
    fn find(&self, now: Instant, at_once: usize) -> Option<(JobSeq, Option<i64>)> {
        if self.working.len() >= at_once {
            return None;
        }
        let found = self.find_by(now, |behind| behind.is_empty());
        found.or_else(|| self.working.is_empty().then(|| self.find_by(now, |_| true)).flatten())
    }

    fn find_by(
        &self,
        now: Instant,
        may_go: impl Fn(&HashSet<JobId>) -> bool,
    ) -> Option<(JobSeq, Option<i64>)> {
        let mut first_order = self.working.values().filter_map(|working| working.order).min();
        let mut ahead: HashSet<String> =
            self.working.values().flat_map(|working| working.needs.iter().cloned()).collect();
        for (order, seq) in self.in_turn() {
            let Resting { record, not_before, behind } = &self.waiting[&seq];
            let needs = needs(record);
            let ordered = own_order(record).map(|_| order);
            let in_order = ordered.is_none_or(|own| first_order.is_none_or(|first| own <= first));
            let free = in_order && self.is_wanted(record) && needs.is_disjoint(&ahead);
            if free && may_go(behind) && not_before.is_none_or(|not_before| not_before <= now) {
                return Some((seq, ordered));
            }
            // A job that rests, or that this run is not for, keeps its place: later rows of its tables stay behind it.
            ahead.extend(needs);
            first_order = ordered.into_iter().chain(first_order).min();
        }
        None
    }

    fn is_wanted(&self, record: &JobRecord) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|table| record.loads.iter().any(|load| load.table_name == *table))
    }

    /// The waiting jobs in the order in which they are looked at: by `order`, then by claim.
    ///
    /// Jobs of one table go in the order of their claims whatever their `order`, because the table takes transactions
    /// of rising numbers only; so a job goes as early as the earliest of the later ones that it is in the way of.
    fn in_turn(&self) -> Vec<(i64, JobSeq)> {
        let mut first_of: HashMap<&str, i64> = HashMap::new();
        let mut turns: Vec<(i64, JobSeq)> = Vec::with_capacity(self.waiting.len());
        for (seq, resting) in self.waiting.iter().rev() {
            let tables = || resting.record.loads.iter().map(|load| load.table_name.as_str());
            let later = tables().filter_map(|table| first_of.get(table)).min().copied();
            let own = own_order(&resting.record).unwrap_or(0);
            let order = later.map_or(own, |later| later.min(own));
            first_of.extend(tables().map(|table| (table, order)));
            turns.push((order, *seq));
        }
        turns.sort_unstable();
        turns
    }

    /// Gives back what the jobs held that were taken with this one, when they are done or rest.
    pub fn release(&mut self, first: &JobRecord) {
        self.working.remove(&first.seq);
    }

    /// Lets every resting job try again at once.
    pub fn wake_all(&mut self) {
        for resting in self.waiting.values_mut() {
            resting.not_before = None;
            self.traffic.set_stuck(&resting.record.job, false);
        }
    }

    /// The next moment at which a resting job will be free to try again; one whose moment is past waits for another job.
    pub fn next_wake(&self, now: Instant) -> Option<Instant> {
        self.waiting.values().filter_map(|resting| resting.not_before).filter(|at| *at > now).min()
    }

    /// Jobs that are not worked on right now.
    pub fn waiting(&self) -> impl Iterator<Item = &JobRecord> {
        self.waiting.values().map(|resting| &resting.record)
    }

    /// Whether the job is open.
    pub fn holds(&self, job: &JobId) -> bool {
        self.waiting().any(|record| record.job == *job)
            || self.working.values().any(|working| working.jobs.contains(job))
    }

    /// When the oldest open job was claimed.
    pub fn oldest(&self) -> Option<jiff::Timestamp> {
        let working = self.working.values().map(|working| working.claimed_at);
        self.waiting().map(|record| record.claimed_at).chain(working).min()
    }

    /// Jobs open in all.
    pub fn open(&self) -> usize {
        self.waiting.len() + self.working()
    }

    /// Jobs that are worked on right now.
    pub fn working(&self) -> usize {
        self.working.values().map(|working| working.jobs.len()).sum()
    }
}

/// The job's place among waiting ones, where its settings name one.
fn own_order(record: &JobRecord) -> Option<i64> {
    record.loads.iter().filter_map(|load| load.order).min()
}

/// What a job must have to itself: its tables, and its entities by the name that the sender used.
fn needs(record: &JobRecord) -> HashSet<String> {
    let loads = record.loads.iter();
    loads
        .flat_map(|load| {
            [format!("table {}", load.table_name), format!("entity {}", load.target_entity.to_lowercase())]
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Settings, default_loads};
    use std::path::Path;
    use std::time::Duration;

    /// A job of one table, which is its entity too, with this number and `order`.
    fn job(seq: u64, table: &str, order: Option<i64>) -> JobRecord {
        let settings =
            Settings::parse(Path::new("/c.json"), br#"{"dropbox": "d", "lakehouse": "l"}"#).unwrap();
        let mut loads = default_loads(&format!("{table}.xlsx"), &settings).unwrap();
        loads[0].order = order;
        let at = jiff::Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap();
        JobRecord {
            job: JobId::new(at, &[1; 32]),
            seq: JobSeq(seq),
            claimed_at: at,
            workbook: format!("{table}.xlsx"),
            workbook_bytes: None,
            sha256: String::new(),
            bytes: 0,
            target: String::new(),
            database: String::new(),
            loads,
            sidecar: None,
            heals: None,
            heals_workbook: None,
            retry: None,
        }
    }

    fn queue(jobs: &[(u64, &str, Option<i64>)]) -> Queue {
        let mut queue = Queue::default();
        for (seq, table, order) in jobs {
            queue.add(job(*seq, table, *order), None);
        }
        queue
    }

    fn numbers(taken: Option<Vec<JobRecord>>) -> Vec<u64> {
        taken.unwrap_or_default().iter().map(|record| record.seq.0).collect()
    }

    /// The numbers of the jobs in the order in which they go when one is worked on at a time.
    fn one_by_one(mut queue: Queue) -> Vec<u64> {
        let mut turns = Vec::new();
        while let Some(records) = queue.next(Instant::now(), 1) {
            queue.release(&records[0]);
            turns.extend(records.iter().map(|record| record.seq.0));
        }
        turns
    }

    #[test]
    fn a_job_that_rests_keeps_its_tables_place_and_holds_up_nobody_else() {
        let mut queue = queue(&[(2, "a", None), (3, "b", None)]);
        let now = Instant::now();
        queue.add(job(1, "a", None), Some(now + Duration::from_secs(30)));
        assert_eq!(numbers(queue.next(now, 4)), [3]);
        assert!(queue.next(now, 4).is_none(), "the later job of the table went first");
        assert_eq!(numbers(queue.next(now + Duration::from_secs(30), 4)), [1, 2]);
        queue.add(job(4, "a", None), None);
        assert!(queue.next(now + Duration::from_secs(60), 4).is_none(), "two jobs of one table at once");
    }

    #[test]
    fn small_jobs_of_one_table_go_together_and_none_passes_another_of_its_table_or_entity() {
        let now = Instant::now();
        let mut waiting = queue(&[(1, "a", None), (2, "b", None), (3, "a", None), (4, "a", None)]);
        assert_eq!(numbers(waiting.next(now, 4)), [1, 3, 4]);
        assert_eq!((waiting.working(), waiting.open()), (3, 4));
        assert_eq!(numbers(waiting.next(now, 2)), [2], "the three count as one");

        let cut = |change: &dyn Fn(&mut JobRecord)| {
            let mut queue = queue(&[(1, "a", None), (4, "a", None)]);
            let mut second = job(2, "a", None);
            change(&mut second);
            queue.add(second, None);
            numbers(queue.next(now, 4))
        };
        assert_eq!(cut(&|_| ()), [1, 2, 4]);
        assert_eq!(cut(&|job| job.loads[0].overwrite = true), [1]);
        assert_eq!(cut(&|job| job.loads[0].dry_run = true), [1]);
        assert_eq!(cut(&|job| job.heals = Some("a job".to_owned())), [1]);
        assert_eq!(cut(&|job| job.bytes = u64::MAX), [1]);
        assert_eq!(cut(&|job| job.loads.extend(job.loads.clone())), [1]);
        assert_eq!(cut(&|job| job.loads[0].order = Some(1)), [1]);
        assert_eq!(
            cut(&|job| job.loads[0].table_name = String::from("b").try_into().unwrap()),
            [1],
            "its entity"
        );
    }

    #[test]
    fn no_more_jobs_go_together_than_may_and_one_that_rests_ends_them() {
        let now = Instant::now();
        let many: Vec<_> = (1..=GROUP_JOBS_MAX as u64 + 5).map(|seq| (seq, "a", None)).collect();
        let mut waiting = queue(&many);
        let taken = waiting.next(now, 1).unwrap();
        assert_eq!(taken.len(), GROUP_JOBS_MAX);
        waiting.release(&taken[0]);
        assert_eq!(waiting.next(now, 1).unwrap().len(), 5);

        let mut waiting = queue(&[(1, "a", None), (3, "a", None)]);
        waiting.add(job(2, "a", None), Some(now + Duration::from_secs(30)));
        assert_eq!(numbers(waiting.next(now, 4)), [1]);
    }

    #[test]
    fn a_moment_that_is_past_wakes_nobody() {
        // All places are taken, and a resting job's time has come: the loop must not turn on the spot until a place is free.
        let mut queue = queue(&[(1, "a", None)]);
        let now = Instant::now();
        queue.next(now, 1).unwrap();
        queue.add(job(2, "b", None), Some(now));
        assert!(queue.next(now, 1).is_none());
        assert_eq!(queue.next_wake(now), None);
        queue.add(job(3, "c", None), Some(now + Duration::from_secs(1)));
        assert_eq!(queue.next_wake(now), Some(now + Duration::from_secs(1)));
    }

    #[test]
    fn an_order_is_kept_across_tables_and_the_claims_order_within_one() {
        assert_eq!(one_by_one(queue(&[(1, "a", Some(2)), (2, "b", Some(1)), (3, "c", None)])), [3, 2, 1]);
        // Job 3 should go first, and job 1 of its table before it.
        let jobs = [(1, "a", Some(9)), (2, "b", Some(5)), (3, "a", Some(1))];
        assert_eq!(one_by_one(queue(&jobs)), [1, 3, 2]);
    }

    /// Takes the job of this number and has it wait behind others.
    fn goes_behind(queue: &mut Queue, seq: u64, jobs: &[u64]) -> bool {
        let record = queue.waiting.remove(&JobSeq(seq)).unwrap().record;
        let id = record.job.clone();
        let at = |seq: &u64| jiff::Timestamp::from_second(i64::try_from(*seq).unwrap()).unwrap();
        queue.add_behind(record, jobs.iter().map(|seq| JobId::new(at(seq), &[1; 32])).collect());
        let waits = !queue.waiting[&JobSeq(seq)].behind.is_empty();
        assert_ne!(waits, queue.traffic.insists(&id));
        waits
    }

    #[test]
    fn a_job_goes_when_those_that_it_points_at_have_ended() {
        let mut queue = queue(&[(1, "contacts", None), (2, "accounts", None), (3, "contacts", None)]);
        let now = Instant::now();
        assert!(goes_behind(&mut queue, 1, &[2]));
        let parent = queue.next(now, 4).unwrap();
        assert_eq!(parent[0].seq.0, 2);
        assert!(queue.next(now, 4).is_none(), "the third passed the first of its table");
        queue.release(&parent[0]);
        queue.ended(&parent[0].job);
        assert_eq!(numbers(queue.next(now, 4)), [1, 3]);
    }

    #[test]
    fn jobs_that_would_wait_for_each_other_do_not() {
        // By lookups alone, then over a table, then over an `order`.
        let mut pair = queue(&[(1, "a", None), (2, "b", None)]);
        assert!(goes_behind(&mut pair, 1, &[2]));
        assert!(!goes_behind(&mut pair, 2, &[1]));
        let mut table = queue(&[(1, "a", None), (2, "b", None)]);
        let mut both = job(3, "b", None);
        both.loads.push(job(3, "a", None).loads.remove(0));
        table.add(both, None);
        assert!(!goes_behind(&mut table, 1, &[3]), "the third keeps its place behind the first");
        let mut ordered = queue(&[(1, "a", Some(1)), (2, "b", Some(2))]);
        assert!(!goes_behind(&mut ordered, 1, &[2]));
    }

    #[test]
    fn nobody_waits_for_one_that_waits_for_a_person_and_never_do_all_wait() {
        let now = Instant::now();
        let mut waiting = queue(&[(1, "contacts", None), (2, "accounts", None)]);
        assert!(goes_behind(&mut waiting, 1, &[2]));
        let parent = waiting.next(now, 4).unwrap().remove(0);
        waiting.release(&parent);
        waiting.add_stuck(parent, now + Duration::from_secs(30));
        assert_eq!(numbers(waiting.next(now, 4)), [1]);

        // One that is stuck is in the way of the parent.
        let mut behind = queue(&[(1, "contacts", None), (3, "accounts", None)]);
        behind.add_stuck(job(2, "accounts", None), now + Duration::from_secs(30));
        assert!(!goes_behind(&mut behind, 1, &[3]));

        // A later job with an `order` closes the circle.
        let mut all = queue(&[(1, "a", None), (2, "b", Some(5))]);
        assert!(goes_behind(&mut all, 1, &[2]));
        let mut late = job(3, "a", Some(1));
        late.loads[0].target_entity = "c".to_owned();
        all.add(late, None);
        assert_eq!(numbers(all.next(now, 4)), [1]);
    }

    #[test]
    fn a_higher_order_waits_until_the_lower_one_is_done() {
        let mut queue = queue(&[(1, "a", Some(1)), (2, "b", Some(2)), (3, "c", None)]);
        let now = Instant::now();
        let first = queue.next(now, 4).unwrap();
        let second = queue.next(now, 4).unwrap();
        assert_eq!([first[0].seq.0, second[0].seq.0], [3, 1]);
        assert!(queue.next(now, 4).is_none());
        queue.release(&second[0]);
        assert_eq!(numbers(queue.next(now, 4)), [2]);
    }
}
