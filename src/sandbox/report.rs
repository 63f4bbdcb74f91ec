//! What the server has counted, as JSON for benches: requests, operations, refusals, and the share of the limits in use.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::protection::{Limit, Servers};

/// Where the report is read (`GET`) and begun again (`DELETE`); no path of the API.
pub(super) const PATH: &str = "/sandbox/report";
/// Windows of each server that are remembered; later ones count in the sums alone.
const WINDOWS_MAX: usize = 1_024;

/// What all servers have counted since the start or since the report was begun again.
pub(super) struct Tally {
    window: Duration,
    counted: Mutex<Counted>,
}

struct Counted {
    since: Option<Instant>,
    servers: Vec<Counts>,
}

#[derive(Clone, Default)]
struct Counts {
    sum: Used,
    concurrent_max: u32,
    windows: Vec<Used>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    requests: u64,
    operations: u64,
    execution: Duration,
    refused_requests: u64,
    refused_execution: u64,
    refused_concurrency: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub(super) fn new(servers: usize, window: Duration) -> Self {
        let servers = vec![Counts::default(); servers];
        Tally { window, counted: Mutex::new(Counted { since: None, servers }) }
    }

    /// Counts a request that was let in while so many were being answered.
    pub(super) fn admitted(&self, server: usize, concurrent: u32, now: Instant) {
        self.count(server, now, |used| used.requests += 1);
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let most = &mut counted.servers[server].concurrent_max;
        *most = (*most).max(concurrent);
    }

    /// Counts what a request did.
    pub(super) fn worked(&self, server: usize, operations: u64, execution: Duration, now: Instant) {
        self.count(server, now, |used| {
            used.operations += operations;
            used.execution += execution;
        });
    }

    /// Counts a request that was not let in.
    pub(super) fn refused(&self, server: usize, limit: Limit, now: Instant) {
        self.count(server, now, |used| match limit {
            Limit::Requests => used.refused_requests += 1,
            Limit::Execution => used.refused_execution += 1,
            Limit::Concurrency => used.refused_concurrency += 1,
        });
    }

    /// Forgets everything; the next request begins the first window.
    pub(super) fn restart(&self) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since = None;
        counted.servers.iter_mut().for_each(|server| *server = Counts::default());
    }

    fn count(&self, server: usize, now: Instant, add: impl Fn(&mut Used)) {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let since = *counted.since.get_or_insert(now);
        let number = now.saturating_duration_since(since).as_nanos() / self.window.as_nanos().max(1);
        let counts = &mut counted.servers[server];
        add(&mut counts.sum);
        if let Some(number) = usize::try_from(number).ok().filter(|number| *number < WINDOWS_MAX) {
            if counts.windows.len() <= number {
                counts.windows.resize(number + 1, Used::default());
            }
            add(&mut counts.windows[number]);
        }
    }
}

/// The report. `share` is what was used of the nearest limit, from 0 to 1, for a single caller: of a window, and at the
/// top the mean of all windows between the first and the last, which are the whole ones.
pub(super) fn report(servers: &Servers, struck: u64, now: Instant) -> Json {
    let limits = &servers.limits;
    let share = |used: &Used| {
        let requests = used.requests as f64 / limits.requests as f64;
        requests.max(used.execution.as_secs_f64() / limits.execution_s)
    };
    let counted = servers.tally.counted.lock().unwrap_or_else(PoisonError::into_inner);
    let windows = counted.servers.iter().map(|server| server.windows.len()).max().unwrap_or_default();
    let mut whole = Vec::new();
    let mut sum = Used::default();
    let mut each = Vec::new();
    for (index, server) in counted.servers.iter().enumerate() {
        add(&mut sum, &server.sum);
        let mut told = Vec::new();
        for (number, used) in server.windows.iter().enumerate() {
            if number > 0 && number + 1 < windows {
                whole.push(share(used));
            }
            let mut window = figures(used);
            window["window"] = json!(number);
            window["share"] = json!(share(used));
            told.push(window);
        }
        // A server that was quiet to the end has fewer windows; it used nothing of the others.
        let quiet = windows.saturating_sub(1).saturating_sub(server.windows.len().max(1));
        whole.extend(std::iter::repeat_n(0.0, quiet));
        let mut figures = figures(&server.sum);
        figures["server"] = json!(index);
        figures["concurrent_max"] = json!(server.concurrent_max);
        figures["windows"] = Json::Array(told);
        each.push(figures);
    }
    let mut report = figures(&sum);
    report["seconds"] =
        json!(counted.since.map_or(0.0, |since| now.saturating_duration_since(since).as_secs_f64()));
    report["share"] =
        if whole.is_empty() { Json::Null } else { json!(whole.iter().sum::<f64>() / whole.len() as f64) };
    report["struck"] = json!(struck);
    report["limits"] = json!(limits);
    report["servers"] = Json::Array(each);
    report
}

fn figures(used: &Used) -> Json {
    json!({
        "requests": used.requests,
        "operations": used.operations,
        "execution_ms": used.execution.as_secs_f64() * 1000.0,
        "refused": {
            "requests": used.refused_requests,
            "execution": used.refused_execution,
            "concurrency": used.refused_concurrency,
        },
    })
}

fn add(sum: &mut Used, used: &Used) {
    sum.requests += used.requests;
    sum.operations += used.operations;
    sum.execution += used.execution;
    sum.refused_requests += used.refused_requests;
    sum.refused_execution += used.refused_execution;
    sum.refused_concurrency += used.refused_concurrency;
}
