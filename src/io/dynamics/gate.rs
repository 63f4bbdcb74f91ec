//! The gate before every request: one 429 holds all workers of the identity back.

use std::sync::Mutex;
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
    closed: Mutex<Option<Closed>>,
}

#[derive(Debug, Clone)]
struct Closed {
    until: Instant,
    reason: String,
}

impl Gate {
    /// Closes the gate for `pause`, or longer where it already is closed longer.
    pub(super) fn close(&self, pause: Duration, reason: &str) {
        let until = Instant::now() + pause;
        let mut closed = self.closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if closed.as_ref().is_none_or(|closed| closed.until < until) {
            *closed = Some(Closed { until, reason: reason.to_owned() });
        }
    }

    /// Returns once the gate is open.
    ///
    /// # Errors
    /// The pause still to wait, when it is longer than `wait_max`.
    pub(super) async fn pass(&self, wait_max: Duration, waiting: OnWaiting<'_>) -> Result<(), Waiting> {
        while let Some(closed) = self.shut() {
            let pause = closed.until.saturating_duration_since(Instant::now());
            let wait = Waiting { pause, reason: closed.reason, asked_for: true };
            if pause > wait_max {
                return Err(wait);
            }
            waiting(wait);
            tokio::time::sleep_until(closed.until).await;
        }
        Ok(())
    }

    fn shut(&self) -> Option<Closed> {
        let closed = self.closed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        closed.clone().filter(|closed| closed.until > Instant::now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_gate_holds_until_its_time_and_the_longest_pause_wins() {
        let gate = Gate::default();
        gate.close(Duration::from_millis(60), "request limit");
        gate.close(Duration::from_millis(5), "concurrency");
        let told = Mutex::new(Vec::new());
        let start = Instant::now();
        gate.pass(Duration::from_secs(60), &|waiting| told.lock().unwrap().push(waiting.reason))
            .await
            .unwrap();
        assert!(start.elapsed() >= Duration::from_millis(60));
        assert_eq!(told.lock().unwrap()[0], "request limit");
    }

    #[tokio::test]
    async fn a_pause_beyond_our_patience_is_the_callers() {
        let gate = Gate::default();
        gate.close(Duration::from_secs(3600), "request limit");
        let waiting = gate.pass(Duration::from_secs(60), &unheard).await.unwrap_err();
        assert!(waiting.pause > Duration::from_secs(3590));
    }
}
