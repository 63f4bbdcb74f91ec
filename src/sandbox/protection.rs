//! Service protection: several virtual web servers, each with three limits for each caller. Source: dynamics.md §4.1.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::report::Tally;
use super::window::Window;

/// Virtual web servers at most.
const SERVERS_MAX: u16 = 64;
/// Callers that one server tells apart; beyond them the quiet ones are forgotten.
const CALLERS_MAX: usize = 10_000;
/// Requests at once that one caller may be allowed at one server.
const CONCURRENT_MAX: u32 = 10_000;
/// Bounds of the window and of the execution time in it, in seconds.
const SECONDS_MIN: f64 = 0.001;
const SECONDS_MAX: f64 = 1_000_000.0;
/// Longest wait or cost in milliseconds.
const MILLISECONDS_MAX: f64 = 600_000.0;

/// The limits of the service and what its work costs. Off unless it is given.
///
/// `ddu sandbox --protect` turns the documented limits on; a script sets others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protection {
    /// Virtual web servers, from 1 to 64. A trial environment has one.
    #[serde(deserialize_with = "servers")]
    pub servers: u16,
    /// The sliding window in seconds, from 0.001.
    #[serde(deserialize_with = "seconds")]
    pub window_s: f64,
    /// Requests that one caller may have in the window of one server.
    #[serde(deserialize_with = "requests")]
    pub requests: u64,
    /// Execution time in seconds that one caller may use in the window of one server.
    #[serde(deserialize_with = "seconds")]
    pub execution_s: f64,
    /// Requests at once that one caller may have at one server.
    #[serde(deserialize_with = "concurrent")]
    pub concurrent: u32,
    /// How `Retry-After` is written.
    pub retry_after: RetryAfter,
    /// How much longer a caller waits for each request that it sends while it is told to wait, in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub penalty_ms: f64,
    /// Way to the server and back in milliseconds; it is no execution time.
    #[serde(deserialize_with = "milliseconds")]
    pub latency_ms: f64,
    /// Execution time of each request in milliseconds. Where it and `operation_ms` are 0, time is measured.
    #[serde(deserialize_with = "milliseconds")]
    pub request_ms: f64,
    /// Execution time of each operation in milliseconds.
    #[serde(deserialize_with = "milliseconds")]
    pub operation_ms: f64,
    /// Requests that one server executes at once; more wait without executing. 0 executes all at once.
    pub workers: u32,
}

/// How `Retry-After` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfter {
    /// Whole seconds, as the service writes it.
    #[default]
    Seconds,
    /// Seconds with two digits after the point.
    Decimal,
    /// An HTTP date.
    Date,
    /// Not at all.
    Absent,
}

impl Default for Protection {
    /// The documented limits, one server, work that costs what it takes.
    fn default() -> Self {
        Protection {
            servers: 1,
            window_s: 300.0,
            requests: 6_000,
            execution_s: 1_200.0,
            concurrent: 52,
            retry_after: RetryAfter::Seconds,
            penalty_ms: 0.0,
            latency_ms: 0.0,
            request_ms: 0.0,
            operation_ms: 0.0,
            workers: 0,
        }
    }
}

/// A number of at least `least` and at most `most`, or what is wrong with it where it stands.
fn bounded<'de, D, N>(deserializer: D, least: N, most: N) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + PartialOrd + Display,
{
    let number = N::deserialize(deserializer)?;
    if number >= least && number <= most {
        Ok(number)
    } else {
        Err(D::Error::custom(format!("{number} is not from {least} to {most}")))
    }
}

fn servers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    bounded(deserializer, 1, SERVERS_MAX)
}

fn requests<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    bounded(deserializer, 1, u64::MAX)
}

fn concurrent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    bounded(deserializer, 1, CONCURRENT_MAX)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, SECONDS_MIN, SECONDS_MAX)
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, 0.0, MILLISECONDS_MAX)
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Requests,
    Execution,
    Concurrency,
}

/// A request that was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch {
    pub(super) limit: Limit,
    pub(super) wait: Duration,
}

/// The web servers of a running sandbox with what their callers have used.
pub(super) struct Servers {
    pub(super) limits: Protection,
    enforced: bool,
    servers: Vec<Server>,
    next: AtomicUsize,
    pub(super) tally: Tally,
}

struct Server {
    /// What `ARRAffinity` calls it.
    name: String,
    callers: Mutex<HashMap<Arc<str>, Caller>>,
    workers: Option<Arc<Semaphore>>,
}

/// What one caller has used of one server.
struct Caller {
    window: Window,
    concurrent: u32,
    /// Until when it was told to wait, longer for what it sent meanwhile.
    penalty_until: Option<Instant>,
}

/// A request that was let in. It leaves when this is dropped, however the request ends.
pub(super) struct Seat<'s> {
    servers: &'s Servers,
    server: usize,
    caller: Arc<str>,
    _worker: Option<OwnedSemaphorePermit>,
    began: Instant,
}

impl Servers {
    /// Servers with these limits; without limits the documented ones are told and not enforced.
    pub(super) fn new(protection: Option<Protection>) -> Self {
        let enforced = protection.is_some();
        let limits = protection.unwrap_or_default();
        let servers = (0..limits.servers)
            .map(|index| Server {
                name: Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("ddu.sandbox server {index}").as_bytes())
                    .simple()
                    .to_string(),
                callers: Mutex::new(HashMap::new()),
                workers: (limits.workers > 0).then(|| Arc::new(Semaphore::new(limits.workers as usize))),
            })
            .collect();
        let tally = Tally::new(usize::from(limits.servers), Duration::from_secs_f64(limits.window_s));
        Servers { limits, enforced, servers, next: AtomicUsize::new(0), tally }
    }

    /// Requests at once that all limits together let in for one caller.
    pub(super) fn concurrent_max(&self) -> usize {
        if self.enforced { usize::from(self.limits.servers) * self.limits.concurrent as usize } else { 0 }
    }

    /// The server that answers: the one that the cookie names, else the next in turn.
    pub(super) fn pick(&self, cookies: Option<&str>) -> usize {
        let pinned = cookies
            .into_iter()
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().strip_prefix("ARRAffinity="))
            .find_map(|name| self.servers.iter().position(|server| server.name == name));
        pinned.unwrap_or_else(|| self.next.fetch_add(1, Ordering::SeqCst) % self.servers.len())
    }

    /// What `ARRAffinity` calls a server.
    pub(super) fn affinity(&self, server: usize) -> &str {
        &self.servers[server].name
    }

    /// Lets a request in, or tells how long to wait. Waits for a worker where the server has few.
    ///
    /// # Errors
    /// The limit that is used up.
    pub(super) async fn enter(
        &self,
        server: usize,
        caller: &Arc<str>,
        now: Instant,
    ) -> Result<Seat<'_>, TooMuch> {
        if let Err(refused) = self.admit(server, caller, now) {
            self.tally.refused(server, refused.limit, now);
            return Err(refused);
        }
        // The seat is taken before the wait, so that a caller who leaves while it waits is not counted for ever.
        let caller = Arc::clone(caller);
        let mut seat = Seat { servers: self, server, caller, _worker: None, began: now };
        if let Some(workers) = &self.servers[server].workers
            && let Ok(worker) = Arc::clone(workers).acquire_owned().await
        {
            seat._worker = Some(worker);
        }
        Ok(seat)
    }

    fn admit(&self, server: usize, caller: &Arc<str>, now: Instant) -> Result<(), TooMuch> {
        let mut callers = lock(&self.servers[server].callers);
        if callers.len() >= CALLERS_MAX && !callers.contains_key(caller) {
            callers.retain(|_, caller| caller.concurrent > 0);
        }
        let length = Duration::from_secs_f64(self.limits.window_s);
        let known = callers.entry(Arc::clone(caller)).or_insert_with(|| Caller {
            window: Window::new(length),
            concurrent: 0,
            penalty_until: None,
        });
        known.window.slide(now);
        if self.enforced {
            let refused = known.over(&self.limits, now);
            if let Some(TooMuch { limit, wait }) = refused {
                let penalty = Duration::from_secs_f64(self.limits.penalty_ms / 1000.0);
                let mut until = now + wait;
                if !penalty.is_zero() && limit != Limit::Concurrency {
                    until = known.penalty_until.map_or(until, |told| told.max(until) + penalty);
                    known.penalty_until = Some(until);
                }
                return Err(TooMuch { limit, wait: until.saturating_duration_since(now) });
            }
            known.penalty_until = None;
        }
        known.concurrent += 1;
        known.window.add(now, 1, Duration::ZERO);
        let concurrent = callers.values().map(|caller| caller.concurrent).sum();
        self.tally.admitted(server, concurrent, now);
        Ok(())
    }

    /// Requests and execution time that the caller's window still admits at this server.
    pub(super) fn left(&self, server: usize, caller: &str) -> (u64, Duration) {
        let callers = lock(&self.servers[server].callers);
        let (requests, execution) =
            callers.get(caller).map_or((0, Duration::ZERO), |caller| caller.window.used());
        let limit = Duration::from_secs_f64(self.limits.execution_s);
        (self.limits.requests.saturating_sub(requests), limit.saturating_sub(execution))
    }

    /// The code and the text of a refusal. Source: dynamics.md §4.1.
    pub(super) fn words(&self, limit: Limit) -> (&'static str, String) {
        let Protection { window_s, requests, execution_s, concurrent, .. } = &self.limits;
        match limit {
            Limit::Requests => (
                "0x80072322",
                format!(
                    "Number of requests exceeded the limit of {requests} over time window of {window_s} seconds."
                ),
            ),
            Limit::Execution => (
                "0x80072321",
                format!(
                    "Combined execution time of incoming requests exceeded limit of {} milliseconds over time window of \
                     {window_s} seconds. Decrease number of concurrent requests or reduce the duration of requests and \
                     try again later.",
                    grouped((execution_s * 1000.0) as u64)
                ),
            ),
            Limit::Concurrency => {
                ("0x80072326", format!("Number of concurrent requests exceeded the limit of {concurrent}."))
            }
        }
    }

    /// `Retry-After` for this wait; `None` where it is left out.
    pub(super) fn retry_after(&self, wait: Duration, now: Timestamp) -> Option<String> {
        let whole = wait.as_secs_f64().ceil().max(1.0) as u64;
        match self.limits.retry_after {
            RetryAfter::Seconds => Some(whole.to_string()),
            RetryAfter::Decimal => Some(format!("{:.2}", (wait.as_secs_f64() * 100.0).ceil() / 100.0)),
            RetryAfter::Date => Some(http_date(now, whole)),
            RetryAfter::Absent => None,
        }
    }
}

impl Caller {
    /// The limit that a further request would pass.
    fn over(&self, limits: &Protection, now: Instant) -> Option<TooMuch> {
        if self.concurrent >= limits.concurrent {
            // No figure is known; a small part of the window.
            let wait = Duration::from_secs_f64(limits.window_s / 150.0);
            return Some(TooMuch { limit: Limit::Concurrency, wait });
        }
        if let Some(until) = self.penalty_until.filter(|until| *until > now) {
            return Some(TooMuch { limit: Limit::Requests, wait: until.saturating_duration_since(now) });
        }
        if let Some(wait) = self.window.wait_for_requests(limits.requests, now) {
            return Some(TooMuch { limit: Limit::Requests, wait });
        }
        let execution = Duration::from_secs_f64(limits.execution_s);
        let wait = self.window.wait_for_execution(execution, now)?;
        Some(TooMuch { limit: Limit::Execution, wait })
    }
}

impl Seat<'_> {
    /// Takes as long as so many operations cost, and charges it to the caller.
    pub(super) async fn work(&self, operations: u64) {
        let limits = &self.servers.limits;
        let cost_ms = limits.request_ms + limits.operation_ms * operations as f64;
        let cost = Duration::from_secs_f64(cost_ms / 1000.0);
        if !cost.is_zero() {
            tokio::time::sleep_until((self.began + cost).into()).await;
        }
        let now = self.began + self.began.elapsed();
        let charged = if cost.is_zero() { now.saturating_duration_since(self.began) } else { cost };
        let mut callers = lock(&self.servers.servers[self.server].callers);
        if let Some(caller) = callers.get_mut(&self.caller) {
            caller.window.add(now, 0, charged);
        }
        self.servers.tally.worked(self.server, operations, charged, now);
    }

    /// The way there and back, which occupies no server.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_secs_f64(self.servers.limits.latency_ms / 1000.0)
    }

    /// From now on the request executes: it has its worker.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = now;
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut callers = lock(&self.servers.servers[self.server].callers);
        if let Some(caller) = callers.get_mut(&self.caller) {
            caller.concurrent = caller.concurrent.saturating_sub(1);
        }
    }
}

/// `Wed, 21 Oct 2015 07:28:00 GMT`, so many seconds from now.
pub(super) fn http_date(now: Timestamp, seconds: u64) -> String {
    let wait = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let then = now.checked_add(wait).unwrap_or(Timestamp::MAX);
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// `1,200,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn servers(change: impl FnOnce(&mut Protection)) -> Servers {
        let mut limits = Protection {
            window_s: 10.0,
            requests: 3,
            execution_s: 2.0,
            concurrent: 2,
            ..Protection::default()
        };
        change(&mut limits);
        Servers::new(Some(limits))
    }

    fn caller(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn each_caller_at_each_server_has_limits_of_its_own() {
        let servers = servers(|limits| limits.servers = 2);
        let now = Instant::now();
        for _ in 0..3 {
            drop(servers.enter(0, &caller("a"), now).await.unwrap());
        }
        let refused = servers.enter(0, &caller("a"), now).await.err().unwrap();
        assert_eq!(refused.limit, Limit::Requests);
        assert!(servers.enter(0, &caller("b"), now).await.is_ok());
        assert!(servers.enter(1, &caller("a"), now).await.is_ok());
        assert!(servers.enter(0, &caller("a"), now + refused.wait).await.is_ok());
    }

    #[tokio::test]
    async fn concurrency_is_refused_at_once_and_free_again_when_a_request_ends() {
        let servers = servers(|_| {});
        let now = Instant::now();
        let first = servers.enter(0, &caller("a"), now).await.unwrap();
        let _second = servers.enter(0, &caller("a"), now).await.unwrap();
        assert_eq!(servers.enter(0, &caller("a"), now).await.err().unwrap().limit, Limit::Concurrency);
        drop(first);
        assert!(servers.enter(0, &caller("a"), now).await.is_ok());
    }

    #[tokio::test]
    async fn work_costs_what_it_is_said_to_cost_and_takes_as_long() {
        let servers = servers(|limits| {
            limits.request_ms = 20.0;
            limits.operation_ms = 3.0;
            limits.execution_s = 0.05;
        });
        let now = Instant::now();
        servers.enter(0, &caller("a"), now).await.unwrap().work(10).await;
        assert!(now.elapsed() >= Duration::from_millis(50));
        assert_eq!(servers.left(0, "a"), (2, Duration::ZERO));
        let refused = servers.enter(0, &caller("a"), now + Duration::from_secs(4)).await.err().unwrap();
        assert_eq!(refused.limit, Limit::Execution);
    }

    #[tokio::test]
    async fn whoever_does_not_wait_waits_longer() {
        let servers = servers(|limits| limits.penalty_ms = 1_000.0);
        let now = Instant::now();
        for _ in 0..3 {
            drop(servers.enter(0, &caller("a"), now).await.unwrap());
        }
        let first = servers.enter(0, &caller("a"), now).await.err().unwrap().wait;
        let second = servers.enter(0, &caller("a"), now).await.err().unwrap().wait;
        assert_eq!(second, first + Duration::from_secs(1));
        assert!(servers.enter(0, &caller("a"), now + second).await.is_ok());
    }

    #[test]
    fn a_cookie_pins_and_without_one_the_servers_take_turns() {
        let servers = servers(|limits| limits.servers = 3);
        assert_eq!(
            [servers.pick(None), servers.pick(None), servers.pick(None), servers.pick(None)],
            [0, 1, 2, 0]
        );
        let cookie = format!("a=b; ARRAffinity={}", servers.affinity(2));
        assert_eq!(servers.pick(Some(&cookie)), 2);
        assert_eq!(servers.pick(Some("ARRAffinity=nobody")), 1);
    }

    #[test]
    fn refusals_have_the_documented_texts_and_spellings() {
        let servers = Servers::new(Some(Protection::default()));
        let (code, text) = servers.words(Limit::Requests);
        assert_eq!(code, "0x80072322");
        assert_eq!(text, "Number of requests exceeded the limit of 6000 over time window of 300 seconds.");
        let (code, text) = servers.words(Limit::Execution);
        assert_eq!(code, "0x80072321");
        assert!(text.starts_with(
            "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of \
             300 seconds."
        ));
        let (code, text) = servers.words(Limit::Concurrency);
        assert_eq!(
            (code, text.as_str()),
            ("0x80072326", "Number of concurrent requests exceeded the limit of 52.")
        );
        let now: Timestamp = "2015-10-21T07:27:58Z".parse().unwrap();
        let written = |retry_after| {
            let limits = Protection { retry_after, ..Protection::default() };
            Servers::new(Some(limits)).retry_after(Duration::from_millis(1_234), now)
        };
        assert_eq!(written(RetryAfter::Seconds).unwrap(), "2");
        assert_eq!(written(RetryAfter::Decimal).unwrap(), "1.24");
        assert_eq!(written(RetryAfter::Date).unwrap(), "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(written(RetryAfter::Absent), None);
    }
}
