//! The gate before every request of one application user: a 429 holds all its requests back until its time has come.

use std::time::Duration;

use tokio::time::Instant;

/// A call is waiting for the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// For how long, counted from now.
    pub pause: Duration,
    /// For what: `request limit`, `503 Service Unavailable`.
    pub reason: String,
    /// Whether the target named the time; otherwise it is our own back-off.
    pub asked_for: bool,
}

/// Who is told that a call waits.
pub(super) type OnWaiting<'a> = &'a (dyn Fn(Waiting) + Sync);

/// Nobody is told.
pub(super) fn unheard(_: Waiting) {}

/// Open unless the server asked for a pause.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: Option<Closed>,
}

/// Until when, why, and whether the server named the time.
#[derive(Debug, Clone)]
pub(super) struct Closed {
    pub(super) until: Instant,
    reason: String,
    asked_for: bool,
}

impl Closed {
    /// What is told to those who wait.
    pub(super) fn waiting(&self, now: Instant) -> Waiting {
        Waiting {
            pause: self.until.saturating_duration_since(now),
            reason: self.reason.clone(),
            asked_for: self.asked_for,
        }
    }
}

impl Gate {
    /// Closes the gate for the pause, or longer where it already is closed longer.
    pub(super) fn close(&mut self, now: Instant, waiting: Waiting) {
        let until = now + waiting.pause;
        if self.closed.as_ref().is_none_or(|closed| closed.until < until) {
            self.closed = Some(Closed { until, reason: waiting.reason, asked_for: waiting.asked_for });
        }
    }

    /// Why and until when nothing may pass; `None` when it is open.
    pub(super) fn shut(&self, now: Instant) -> Option<&Closed> {
        self.closed.as_ref().filter(|closed| closed.until > now)
    }
}
