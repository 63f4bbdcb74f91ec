//! The numbers that a monitoring system scrapes: counters fed by the journal's events, gauges by the status report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::domain::lifecycle::{Event, SetAsideKind};
use crate::domain::refusal::Severity;
use crate::domain::table::TableName;
use crate::io::dynamics::{PaceReport, PrincipalReport};
use crate::pipeline::report::StatusReport;

/// Tables that get a time series of their own; a lakehouse with more is reported as a sum under [`OTHER_TABLES`].
pub const TABLES_MAX: usize = 500;
/// The `table_name` of every table beyond [`TABLES_MAX`]. No table can have this name.
pub const OTHER_TABLES: &str = "(other)";
/// Upper bounds of the batch time's buckets, in seconds. A batch of 1,000 rows takes Dataverse one to some tens of seconds.
const BATCH_SECONDS: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

/// The metrics of one daemon. Cheap to share behind an `Arc`; every method may be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    rows_staged: IntCounterVec,
    rows_written: IntCounterVec,
    rows_quarantined: IntCounterVec,
    batches: IntCounterVec,
    batch_seconds: Histogram,
    retries: IntCounter,
    waits: IntCounterVec,
    wait_seconds: CounterVec,
    workbooks: IntCounterVec,
    workbook_bytes: IntCounter,
    table_rows: IntGaugeVec,
    jobs: IntGaugeVec,
    dropbox_files: IntGaugeVec,
    oldest_job_seconds: Gauge,
    oldest_file_seconds: Gauge,
    disk_free_bytes: IntGaugeVec,
    loop_silent_seconds: Gauge,
    unaccounted_tables: IntGauge,
    transport: Transport,
    tables_seen: Mutex<BTreeSet<TableName>>,
}

/// What the daemon waited for before it could send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitReason {
    /// The target said how long to wait (429 or 503 with `Retry-After`).
    Throttled,
    /// The target failed or was out of reach; the wait is our own back-off.
    Unreachable,
}

/// The numbers of the throttle pilots and of the ways that rows go.
#[derive(Debug)]
struct Transport {
    parallelism: IntGaugeVec,
    flying: IntGaugeVec,
    waiting_seconds: GaugeVec,
    set_aside: IntGaugeVec,
    requests: IntCounterVec,
    throttled: IntCounterVec,
    request_rows: IntGaugeVec,
    request_rows_per_second: GaugeVec,
}

impl Transport {
    fn registered(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let fractions = |name: &str, help: &str, labels: &[&str]| {
            register(registry, GaugeVec::new(Opts::new(name, help), labels)?)
        };
        let one = ["principal"];
        Ok(Transport {
            parallelism: gauges("ddu_principal_parallelism", "Requests at once at most, now.", &one)?,
            flying: gauges("ddu_principal_requests_in_flight", "Requests under way.", &one)?,
            waiting_seconds: fractions(
                "ddu_principal_waiting_seconds",
                "Time until the service takes requests again; 0 while it takes them.",
                &one,
            )?,
            set_aside: gauges("ddu_principal_set_aside", "1 while access is refused.", &one)?,
            requests: counters("ddu_requests_total", "Requests that were answered.", &one)?,
            throttled: counters(
                "ddu_throttled_total",
                "Answers that said: not now, by the limit that was met.",
                &["principal", "limit"],
            )?,
            request_rows: gauges(
                "ddu_request_rows",
                "Rows in a request at most, now.",
                &["entity", "action"],
            )?,
            request_rows_per_second: fractions(
                "ddu_request_rows_per_second",
                "Rows a second of one request, as measured.",
                &["entity", "action", "way"],
            )?,
        })
    }

    fn show(&self, principals: &[PrincipalReport], pace: &[PaceReport]) {
        // The sums are kept by the pilots; here they are only told.
        self.requests.reset();
        self.throttled.reset();
        for principal in principals {
            let one = [principal.client_id.as_str()];
            self.parallelism.with_label_values(&one).set(i64::from(principal.parallelism));
            self.flying.with_label_values(&one).set(i64::from(principal.flying));
            let pause = principal.waiting.as_ref().map_or(Duration::ZERO, |waiting| waiting.pause);
            self.waiting_seconds.with_label_values(&one).set(pause.as_secs_f64());
            self.set_aside.with_label_values(&one).set(i64::from(principal.refused.is_some()));
            let counts = &principal.counts;
            self.requests.with_label_values(&one).inc_by(counts.requests);
            for (limit, count) in [
                ("requests", counts.request_limit),
                ("execution_time", counts.time_limit),
                ("concurrency", counts.concurrency_limit),
                ("busy", counts.busy),
            ] {
                self.throttled.with_label_values(&[one[0], limit]).inc_by(count);
            }
        }
        self.request_rows.reset();
        self.request_rows_per_second.reset();
        for lane in pace.iter().take(TABLES_MAX) {
            let set = lane.set_name.as_str();
            let rows = i64::try_from(lane.rows).unwrap_or(i64::MAX);
            self.request_rows.with_label_values(&[set, lane.doing]).set(rows);
            for (way, rate) in [("batch", lane.rates.0), ("bulk", lane.rates.1)] {
                self.request_rows_per_second.with_label_values(&[set, lane.doing, way]).set(rate);
            }
        }
    }
}

/// A place whose free space decides whether work can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file system of the dropbox.
    Dropbox,
    /// The file system of a local lakehouse.
    Lakehouse,
}

/// Measurements that the status report does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ages {
    /// Since the oldest unfinished job was claimed; zero without one.
    pub oldest_job: Duration,
    /// Since the oldest unclaimed file was first seen; zero without one.
    pub oldest_file: Duration,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        Self::registered()
            .expect("names and labels are constants of this file, and every test registers them")
    }

    fn registered() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str| register(&registry, Gauge::new(name, help)?);
        let metrics = Metrics {
            rows_staged: counters("ddu_rows_staged_total", "Rows staged for migration.", &["table_name"])?,
            rows_written: counters("ddu_rows_written_total", "Rows that the target took.", &["table_name"])?,
            rows_quarantined: counters(
                "ddu_rows_quarantined_total",
                "Rows refused by preflight or the target.",
                &["table_name"],
            )?,
            batches: counters(
                "ddu_batches_total",
                "Batches heard, by severity as in migration_log (0 fine, 1 rows refused, 2 retried, 3 given up, 4 table, 5 access).",
                &["severity"],
            )?,
            batch_seconds: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("ddu_batch_seconds", "Time of a batch, all attempts.")
                        .buckets(BATCH_SECONDS.to_vec()),
                )?,
            )?,
            retries: register(
                &registry,
                IntCounter::new("ddu_retries_total", "Attempts at a batch after its first.")?,
            )?,
            waits: counters("ddu_waits_total", "Waits before a batch could be sent.", &["reason"])?,
            wait_seconds: register(
                &registry,
                CounterVec::new(
                    Opts::new("ddu_wait_seconds_total", "Time waited before a batch could be sent."),
                    &["reason"],
                )?,
            )?,
            workbooks: counters(
                "ddu_workbooks_total",
                "Workbooks finished, by what became of them.",
                &["outcome"],
            )?,
            workbook_bytes: register(
                &registry,
                IntCounter::new("ddu_workbook_bytes_total", "Bytes of the workbooks claimed.")?,
            )?,
            table_rows: gauges(
                "ddu_table_rows",
                "Rows of a table: records = written + quarantined + pending.",
                &["table_name", "rows"],
            )?,
            jobs: gauges("ddu_jobs", "Unfinished jobs, by state.", &["state"])?,
            dropbox_files: gauges(
                "ddu_dropbox_files",
                "Unclaimed files in the dropbox, by state.",
                &["state"],
            )?,
            oldest_job_seconds: gauge("ddu_oldest_job_seconds", "Age of the oldest unfinished job.")?,
            oldest_file_seconds: gauge("ddu_oldest_file_seconds", "Age of the oldest unclaimed file.")?,
            disk_free_bytes: gauges("ddu_disk_free_bytes", "Free bytes where we write.", &["place"])?,
            loop_silent_seconds: gauge("ddu_loop_silent_seconds", "Time since the run loop last turned.")?,
            unaccounted_tables: register(
                &registry,
                IntGauge::new(
                    "ddu_unaccounted_tables",
                    "Tables whose rows do not add up. Anything but 0 is a fault of DDU.",
                )?,
            )?,
            transport: Transport::registered(&registry)?,
            tables_seen: Mutex::default(),
            registry,
        };
        metrics.begin_at_zero()?;
        Ok(metrics)
    }

    /// Series that exist from the start, so that a rate over them sees their first increase.
    fn begin_at_zero(&self) -> Result<(), prometheus::Error> {
        let build = IntGaugeVec::new(Opts::new("ddu_build_info", "Always 1."), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.registry.register(Box::new(build))?;
        for reason in [WaitReason::Throttled, WaitReason::Unreachable] {
            self.waits.with_label_values(&[reason.as_str()]).reset();
            self.wait_seconds.with_label_values(&[reason.as_str()]).reset();
        }
        for severity in [
            Severity::Fine,
            Severity::Rows,
            Severity::Retried,
            Severity::Batch,
            Severity::Table,
            Severity::Access,
        ] {
            self.batches.with_label_values(&[&severity.number().to_string()]).reset();
        }
        for outcome in [LOADED, "returned", "duplicate", "rehearsed"] {
            self.workbooks.with_label_values(&[outcome]).reset();
        }
        Ok(())
    }

    /// Counts what an event of a job says. To be called once for each event as it happens, not for those replayed at start.
    pub fn saw(&self, table: &TableName, event: &Event) {
        match event {
            Event::Staged(staged) => self.count(&self.rows_staged, table, staged.rows),
            Event::BatchHeld { refused, .. } => {
                self.count(&self.rows_quarantined, table, refused.len() as u64)
            }
            Event::BatchHeard(heard) => {
                self.count(&self.rows_written, table, u64::from(heard.written));
                self.count(&self.rows_quarantined, table, heard.refused.len() as u64);
                self.batches.with_label_values(&[&heard.severity.number().to_string()]).inc();
                self.batch_seconds.observe(Duration::from_millis(heard.took_ms).as_secs_f64());
            }
            Event::BatchSent { attempt, .. } if *attempt > 1 => self.retries.inc(),
            Event::SetAside { kind, .. } => self.workbooks.with_label_values(&[outcome(*kind)]).inc(),
            Event::Claimed
            | Event::PreflightBegun
            | Event::Counted { .. }
            | Event::BatchSent { .. }
            | Event::Preflighted { .. }
            | Event::Migrated { .. }
            | Event::Recorded
            | Event::RetriesPlanned { .. }
            | Event::GivenBack { .. } => {}
        }
    }

    /// Counts a workbook of this size that was claimed.
    pub fn claimed(&self, bytes: u64) {
        self.workbook_bytes.inc_by(bytes);
    }

    /// Counts a workbook whose rows were all recorded. Those put aside are counted by their event.
    pub fn loaded(&self) {
        self.workbooks.with_label_values(&[LOADED]).inc();
    }

    /// Counts a wait before a batch could be sent.
    pub fn waited(&self, reason: WaitReason, time: Duration) {
        self.waits.with_label_values(&[reason.as_str()]).inc();
        self.wait_seconds.with_label_values(&[reason.as_str()]).inc_by(time.as_secs_f64());
    }

    /// Free bytes where we write.
    pub fn disk_free(&self, place: Place, bytes: u64) {
        self.disk_free_bytes
            .with_label_values(&[place.as_str()])
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Ages, as the run loop measured them.
    pub fn ages(&self, ages: Ages) {
        self.oldest_job_seconds.set(ages.oldest_job.as_secs_f64());
        self.oldest_file_seconds.set(ages.oldest_file.as_secs_f64());
    }

    /// Time since the run loop last turned.
    pub fn loop_silent(&self, time: Duration) {
        self.loop_silent_seconds.set(time.as_secs_f64());
    }

    /// Sets every gauge that the status report knows, so that page, `ddu status` and metrics agree.
    pub fn show(&self, report: &StatusReport) {
        self.table_rows.reset();
        for table in &report.tables {
            let name = self.label(&table.table_name);
            for (rows, count) in [
                ("records", table.records),
                ("written", table.written),
                ("quarantined", table.quarantined),
                ("pending", table.pending),
            ] {
                self.table_rows
                    .with_label_values(&[name, rows])
                    .add(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        self.unaccounted_tables.set(report.unaccounted().count() as i64);
        set_counts(&self.jobs, report.jobs.iter().map(|job| job.state.as_str()));
        set_counts(&self.dropbox_files, report.dropbox.iter().map(|file| file.state.as_str()));
    }

    /// How each application user fares, and how the rows of each table go.
    pub fn transport(&self, principals: &[PrincipalReport], pace: &[PaceReport]) {
        self.transport.show(principals, pace);
    }

    /// Everything in the Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    fn count(&self, counter: &IntCounterVec, table: &TableName, rows: u64) {
        counter.with_label_values(&[self.label(table)]).inc_by(rows);
    }

    /// The table's name, or [`OTHER_TABLES`] where too many have series already.
    fn label<'a>(&self, table: &'a TableName) -> &'a str {
        let mut seen = self.tables_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(table) {
            return table.as_str();
        }
        if seen.len() >= TABLES_MAX {
            return OTHER_TABLES;
        }
        seen.insert(table.clone());
        table.as_str()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl WaitReason {
    fn as_str(self) -> &'static str {
        match self {
            WaitReason::Throttled => "throttled",
            WaitReason::Unreachable => "unreachable",
        }
    }
}

impl Place {
    fn as_str(self) -> &'static str {
        match self {
            Place::Dropbox => "dropbox",
            Place::Lakehouse => "lakehouse",
        }
    }
}

const LOADED: &str = "loaded";

fn outcome(kind: SetAsideKind) -> &'static str {
    match kind {
        SetAsideKind::Returned => "returned",
        SetAsideKind::Duplicate => "duplicate",
        SetAsideKind::Rehearsed => "rehearsed",
    }
}

fn register<M>(registry: &Registry, metric: M) -> Result<M, prometheus::Error>
where
    M: prometheus::core::Collector + Clone + 'static,
{
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// One series per state that occurs; a state that no longer occurs is gone rather than stale.
fn set_counts<'a>(gauges: &IntGaugeVec, states: impl Iterator<Item = &'a str>) {
    let mut counts = BTreeMap::<&str, i64>::new();
    for state in states {
        *counts.entry(state).or_default() += 1;
    }
    gauges.reset();
    for (state, count) in counts {
        gauges.with_label_values(&[state]).set(count);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::domain::lifecycle::BatchHeard;
    use crate::domain::refusal::RefusedRow;
    use crate::io::dynamics::{Counts, Waiting, Way};
    use crate::pipeline::report::{FileStatus, TableStatus};

    fn name(text: &str) -> TableName {
        text.to_owned().try_into().unwrap()
    }

    fn table(text: &str, pending: u64) -> TableStatus {
        TableStatus {
            table_name: name(text),
            target_entity: "accounts".into(),
            records: 10,
            written: 7,
            quarantined: 2,
            pending,
            validated: false,
            status: String::new(),
        }
    }

    #[track_caller]
    fn assert_has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
    }

    #[test]
    fn what_the_journal_says_is_counted_once() {
        let metrics = Metrics::new();
        let customers = name("customers");
        let refused = |n: u32| (0..n).map(|index| RefusedRow { index, refusals: vec![] }).collect::<Vec<_>>();
        metrics.saw(&customers, &Event::BatchHeld { batch: 0, refused: refused(2) });
        metrics.saw(&customers, &Event::BatchSent { batch: 0, attempt: 1 });
        metrics.saw(&customers, &Event::BatchSent { batch: 0, attempt: 2 });
        metrics.waited(WaitReason::Throttled, Duration::from_millis(1500));
        metrics.saw(
            &customers,
            &Event::BatchHeard(BatchHeard {
                batch: 0,
                attempt: 2,
                written: 97,
                effects: None,
                refused: refused(1),
                made: vec![],
                took_ms: 2_000,
                heard_at: "2026-11-22T14:03:20Z".parse().unwrap(),
                error: None,
                cause: None,
                severity: Severity::Rows,
            }),
        );
        // The totals of the part repeat what its batches said.
        metrics.saw(&customers, &Event::Migrated { written: 97, refused: 3 });
        let text = metrics.render().unwrap();
        assert_has(&text, r#"ddu_rows_written_total{table_name="customers"} 97"#);
        assert_has(&text, r#"ddu_rows_quarantined_total{table_name="customers"} 3"#);
        assert_has(&text, r#"ddu_batches_total{severity="1"} 1"#);
        assert_has(&text, r#"ddu_batches_total{severity="0"} 0"#);
        assert_has(&text, "ddu_retries_total 1");
        assert_has(&text, r#"ddu_wait_seconds_total{reason="throttled"} 1.5"#);
        assert_has(&text, r#"ddu_batch_seconds_bucket{le="2.5"} 1"#);
    }

    #[test]
    fn gauges_follow_the_report_and_forget_what_is_gone() {
        let metrics = Metrics::new();
        let held = FileStatus { file: "a.xlsx".into(), state: "held".into(), waiting_for: None };
        let first = StatusReport {
            tables: vec![table("customers", 1), table("lost", 0)],
            jobs: vec![],
            dropbox: vec![held.clone(), held],
            target: vec![],
        };
        metrics.show(&first);
        let text = metrics.render().unwrap();
        assert_has(&text, r#"ddu_dropbox_files{state="held"} 2"#);
        assert_has(&text, r#"ddu_table_rows{rows="quarantined",table_name="customers"} 2"#);
        assert_has(&text, "ddu_unaccounted_tables 1");
        metrics.show(&StatusReport::default());
        let text = metrics.render().unwrap();
        assert!(!text.contains("ddu_dropbox_files{") && !text.contains("ddu_table_rows{"), "{text}");
        assert_has(&text, "ddu_unaccounted_tables 0");
    }

    #[test]
    fn the_pilots_numbers_are_told_for_each_application_user() {
        let metrics = Metrics::new();
        let counts = Counts { requests: 40, request_limit: 2, ..Counts::default() };
        let waiting = Waiting {
            pause: Duration::from_millis(1_500),
            reason: "request limit".to_owned(),
            asked_for: true,
        };
        let principal = PrincipalReport {
            client_id: "one".to_owned(),
            parallelism: 7,
            flying: 3,
            counts,
            waiting: Some(waiting),
            refused: None,
        };
        let lane = PaceReport {
            set_name: "accounts".to_owned(),
            doing: "CreateMultiple",
            rows: 400,
            way: Some(Way::Bulk),
            rates: (900.0, 2_500.5),
        };
        for _ in 0..2 {
            metrics.transport(std::slice::from_ref(&principal), std::slice::from_ref(&lane));
        }
        let text = metrics.render().unwrap();
        assert_has(&text, r#"ddu_principal_parallelism{principal="one"} 7"#);
        assert_has(&text, r#"ddu_principal_waiting_seconds{principal="one"} 1.5"#);
        assert_has(&text, r#"ddu_requests_total{principal="one"} 40"#);
        assert_has(&text, r#"ddu_throttled_total{limit="requests",principal="one"} 2"#);
        assert_has(&text, r#"ddu_request_rows{action="CreateMultiple",entity="accounts"} 400"#);
        let rate =
            r#"ddu_request_rows_per_second{action="CreateMultiple",entity="accounts",way="bulk"} 2500.5"#;
        assert_has(&text, rate);
    }

    #[test]
    fn ten_thousand_tables_do_not_make_ten_thousand_series() {
        let metrics = Metrics::new();
        let tables = (0..10_000).map(|n| table(&format!("t{n}"), 1)).collect();
        metrics.show(&StatusReport { tables, ..StatusReport::default() });
        let text = metrics.render().unwrap();
        assert_eq!(text.matches("ddu_table_rows{").count(), (TABLES_MAX + 1) * 4);
        assert_has(
            &text,
            &format!(
                r#"ddu_table_rows{{rows="records",table_name="{OTHER_TABLES}"}} {}"#,
                (10_000 - TABLES_MAX) * 10
            ),
        );
    }
}
