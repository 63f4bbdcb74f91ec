//! The throttle pilot of one application user: how many of its requests are under way at once, learned from the server's
//! hint, from its limits, and from what more of them brought.

use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::time::Instant;

use super::gate::{Closed, Gate, Waiting};
use super::patience::pauses;
use super::verdict::Setback;
use super::{PARALLELISM_MAX, WORKERS_DEFAULT, WireLimits};

/// Answers that are heard before a degree of parallelism is judged, at least; twice the degree where that is more.
const WINDOW_ANSWERS_MIN: u32 = 8;
/// A step up is kept when it brings this much more rows a second; one of a quarter could bring 1.25 times as many.
const GAIN_MIN: f64 = 1.05;
/// After the gate opened one more is let in each time this has passed without a refusal: those come at once, while what is
/// taken may run for long. Longer than the way there and back.
const OPENING_STEP: Duration = Duration::from_millis(250);
/// Windows that pass after a step that brought nothing, or after a limit, before the next one is tried.
const REST_WINDOWS: u32 = 20;

/// How many requests may be under way under one application user, and when.
///
/// Pure: the caller passes the time. The limits are the service's, counted by user and web server (dynamics.md §4.1), and
/// each asks for something else (§4.2).
#[derive(Debug)]
pub(super) struct Pilot {
    gate: Gate,
    flying: u16,
    ceiling: u16,
    cap: u16,
    hint: Option<u16>,
    /// Since the gate opened: how many may be under way, until that is all that the ceiling allows.
    opening: Option<Opening>,
    /// Counts the limits met: what left before the last one says nothing about the time after it.
    epoch: u64,
    limits: WireLimits,
    pauses: ExponentialBackoff,
    climb: Climb,
    counts: Counts,
}

/// How many are let in after a pause.
#[derive(Debug, Clone, Copy)]
struct Opening {
    /// As many as were answered since, and one.
    answered: u16,
    /// When the first of them left.
    since: Option<Instant>,
}

impl Opening {
    fn admitted(self, now: Instant) -> u16 {
        let steps = self
            .since
            .map_or(0, |since| now.saturating_duration_since(since).as_nanos() / OPENING_STEP.as_nanos());
        self.answered.max(u16::try_from(steps).unwrap_or(u16::MAX).saturating_add(1))
    }
}

/// What happened so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests that were answered, throttled ones among them.
    pub requests: u64,
    /// Answers 429 by the limit on requests.
    pub request_limit: u64,
    /// Answers 429 by the limit on execution time.
    pub time_limit: u64,
    /// Answers 429 by the limit on concurrency.
    pub concurrency_limit: u64,
    /// Answers 429 and 503 for any other reason, the load of the environment among them.
    pub busy: u64,
}

impl Pilot {
    /// A pilot that has not heard of the server yet; `cap` is the most requests at once, whatever brings more.
    pub(super) fn new(cap: Option<u16>, limits: &WireLimits) -> Self {
        let cap = cap.unwrap_or(PARALLELISM_MAX).clamp(1, PARALLELISM_MAX);
        Pilot {
            gate: Gate::default(),
            flying: 0,
            ceiling: WORKERS_DEFAULT.min(cap),
            cap,
            hint: None,
            opening: None,
            epoch: 0,
            limits: limits.clone(),
            pauses: pauses(limits),
            climb: Climb::default(),
            counts: Counts::default(),
        }
    }

    /// Why nothing may be sent now, whatever is under way; `None` when the gate is open.
    pub(super) fn shut(&self, now: Instant) -> Option<&Closed> {
        self.gate.shut(now)
    }

    /// Requests that may leave now.
    pub(super) fn room(&self, now: Instant) -> u16 {
        match self.gate.shut(now) {
            Some(_) => 0,
            None => self.admitted(now).saturating_sub(self.flying),
        }
    }

    /// When one more may be let in, although nothing is answered till then.
    pub(super) fn widens(&self, now: Instant) -> Option<Instant> {
        let Opening { since: Some(since), .. } = self.opening? else { return None };
        let steps = now.saturating_duration_since(since).as_nanos() / OPENING_STEP.as_nanos();
        Some(since + OPENING_STEP * u32::try_from(steps + 1).ok()?)
    }

    /// Requests that should be ready to leave at once: one more than leave, so that more can be tried.
    pub(super) fn demand(&self) -> u16 {
        (self.ceiling + 1).min(self.cap)
    }

    fn admitted(&self, now: Instant) -> u16 {
        self.opening.map_or(self.ceiling, |opening| opening.admitted(now).min(self.ceiling))
    }

    /// A request leaves; its number of the epoch comes back with its answer.
    pub(super) fn leave(&mut self, now: Instant) -> u64 {
        self.flying += 1;
        if let Some(opening) = &mut self.opening {
            opening.since.get_or_insert(now);
        }
        if self.flying >= self.admitted(now) {
            self.climb.saturated = true;
        }
        self.epoch
    }

    /// A request came back, with or without an answer.
    pub(super) fn back(&mut self) {
        self.flying = self.flying.saturating_sub(1);
    }

    /// The server recommends so many requests at once: where the pilot starts, and what it goes down to.
    pub(super) fn hinted(&mut self, hint: u16) {
        let hint = hint.clamp(1, self.cap);
        match self.hint.replace(hint) {
            None => self.ceiling = hint,
            Some(before) if hint < before => self.ceiling = self.ceiling.min(hint),
            Some(_) => {}
        }
    }

    /// A request with so many rows was answered.
    pub(super) fn answered(&mut self, now: Instant, epoch: u64, rows: usize) {
        self.counts.requests += 1;
        if epoch != self.epoch {
            return;
        }
        self.pauses = pauses(&self.limits);
        if let Some(opening) = self.opening {
            let next = Opening { answered: opening.answered + 1, ..opening };
            self.opening = Some(next).filter(|next| next.admitted(now) < self.ceiling);
            self.climb.interrupt(0);
        } else if rows > 0 {
            self.ceiling = self.climb.heard(now, rows, self.ceiling, self.cap);
        }
    }

    /// The server would not take a request now; `wait` is its own wish, `default` what the product's clients wait without.
    ///
    /// Every limit closes the gate. The one on requests asks for nothing else of the pilot (fewer, larger requests are the
    /// sender's); the one on execution time for fewer at once, where there are more than the hint; the one on concurrency for fewer than there are.
    pub(super) fn throttled(
        &mut self,
        now: Instant,
        epoch: u64,
        setback: Setback,
        (wait, default): (Option<Duration>, Option<Duration>),
    ) {
        self.counts.requests += 1;
        *match setback {
            Setback::RequestLimit => &mut self.counts.request_limit,
            Setback::TimeLimit => &mut self.counts.time_limit,
            Setback::ConcurrencyLimit => &mut self.counts.concurrency_limit,
            _ => &mut self.counts.busy,
        } += 1;
        let first = epoch == self.epoch;
        if first {
            self.epoch += 1;
            self.opening = Some(Opening { answered: 1, since: None });
            self.climb.interrupt(REST_WINDOWS);
            self.ceiling = match setback {
                Setback::RequestLimit => self.ceiling,
                // At the hint the time that is admitted is just used up; fewer would leave some of it.
                Setback::TimeLimit => {
                    let hint = self.hint.unwrap_or(WORKERS_DEFAULT);
                    (self.ceiling * 3 / 4).max(hint.min(self.ceiling))
                }
                Setback::ConcurrencyLimit => (self.ceiling.min(self.flying) * 3 / 4).max(1),
                _ => (self.ceiling * 3 / 4).max(1),
            };
        }
        // Several that left together meet the same limit: only the first says that waiting was in vain once more.
        let mut own = || self.pauses.next().unwrap_or(self.limits.backoff_max);
        let pause = match (wait.or(default), first) {
            (Some(pause), _) => pause,
            (None, true) => own(),
            (None, false) => return,
        };
        let reason = setback.in_words().to_owned();
        self.gate.close(now, Waiting { pause, reason, asked_for: wait.is_some() });
    }

    /// Holds everything back although no request was refused: there is no token to send one with.
    pub(super) fn hold(&mut self, now: Instant, wait: Option<Duration>, reason: String) {
        let pause = wait.or_else(|| self.pauses.next()).unwrap_or(self.limits.backoff_max);
        self.gate.close(now, Waiting { pause, reason, asked_for: wait.is_some() });
    }

    /// Requests at once at most, now.
    pub(super) fn parallelism(&self) -> u16 {
        self.ceiling
    }

    /// Requests under way.
    pub(super) fn flying(&self) -> u16 {
        self.flying
    }

    /// What happened so far.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

/// Goes up a step, hears what it brings, and goes back where it brought nothing.
#[derive(Debug, Default)]
struct Climb {
    since: Option<Instant>,
    rows: u64,
    answers: u32,
    /// Whether as many requests were under way as could be; else more of them could not have brought anything.
    saturated: bool,
    /// The step before, and its rows a second.
    before: Option<(u16, f64)>,
    rest: u32,
}

impl Climb {
    fn interrupt(&mut self, rest: u32) {
        *self = Climb { rest: self.rest.max(rest), ..Climb::default() };
    }

    /// The ceiling after this answer.
    fn heard(&mut self, now: Instant, rows: usize, ceiling: u16, cap: u16) -> u16 {
        let Some(since) = self.since else {
            self.since = Some(now);
            return ceiling;
        };
        self.rows += rows as u64;
        self.answers += 1;
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        if self.answers < WINDOW_ANSWERS_MIN.max(2 * u32::from(ceiling)) || seconds <= 0.0 {
            return ceiling;
        }
        let rate = self.rows as f64 / seconds;
        let (saturated, before, rest) = (self.saturated, self.before, self.rest);
        *self = Climb { since: Some(now), rest: rest.saturating_sub(1), ..Climb::default() };
        match before {
            _ if !saturated => ceiling,
            Some((lower, rate_before)) if rate < rate_before * GAIN_MIN => {
                self.rest = REST_WINDOWS;
                lower
            }
            _ if rest > 0 || ceiling >= cap => ceiling,
            _ => {
                self.before = Some((ceiling, rate));
                (ceiling + (ceiling / 4).max(1)).min(cap)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pilot(cap: u16) -> Pilot {
        Pilot::new(Some(cap), &WireLimits::default())
    }

    /// Lets as many requests leave as may, and answers them after `took`; how many there were.
    fn round(pilot: &mut Pilot, now: &mut Instant, took: Duration) -> u16 {
        let room = pilot.room(*now);
        let epochs: Vec<u64> = (0..room).map(|_| pilot.leave(*now)).collect();
        *now += took;
        for epoch in epochs {
            pilot.back();
            pilot.answered(*now, epoch, 100);
        }
        room
    }

    #[test]
    fn it_starts_at_the_hint_within_the_cap_and_goes_down_with_it() {
        let mut pilot = pilot(10);
        assert_eq!(pilot.parallelism(), WORKERS_DEFAULT);
        pilot.hinted(7);
        assert_eq!((pilot.parallelism(), pilot.demand()), (7, 8));
        pilot.hinted(9);
        assert_eq!(pilot.parallelism(), 7, "only a lower hint counts once it runs");
        pilot.hinted(3);
        assert_eq!(pilot.parallelism(), 3);
        let mut small = self::pilot(2);
        small.hinted(7);
        assert_eq!((small.parallelism(), small.demand()), (2, 2));
    }

    #[test]
    fn it_climbs_while_more_at_once_brings_more_and_goes_back_when_it_does_not() {
        // A server that does eight at once as fast as one, and no more than that.
        let mut pilot = pilot(52);
        pilot.hinted(2);
        let mut now = Instant::now();
        let mut highest = 0;
        for _ in 0..400 {
            let flying = pilot.parallelism();
            highest = highest.max(flying);
            let took = SECOND.mul_f64(f64::from(flying.max(8)) / 8.0);
            round(&mut pilot, &mut now, took);
        }
        assert!((8..=10).contains(&pilot.parallelism()), "{}", pilot.parallelism());
        assert!(highest <= 13, "{highest}");
    }

    #[test]
    fn it_does_not_climb_when_nobody_asks_for_more() {
        let mut pilot = pilot(52);
        pilot.hinted(4);
        let mut now = Instant::now();
        for _ in 0..100 {
            let epoch = pilot.leave(Instant::now());
            now += SECOND;
            pilot.back();
            pilot.answered(now, epoch, 100);
        }
        assert_eq!(pilot.parallelism(), 4);
    }

    #[test]
    fn every_limit_closes_the_gate_and_each_asks_for_something_else() {
        for (setback, parallelism) in [
            (Setback::RequestLimit, 8),
            (Setback::TimeLimit, 8),
            (Setback::ConcurrencyLimit, 4),
            (Setback::Busy, 6),
        ] {
            let mut pilot = pilot(52);
            pilot.hinted(8);
            let mut now = Instant::now();
            let epochs: Vec<u64> = (0..6).map(|_| pilot.leave(now)).collect();
            for epoch in epochs {
                // All six meet the limit; it counts once.
                pilot.throttled(now, epoch, setback, (Some(2 * SECOND), None));
            }
            (0..6).for_each(|_| pilot.back());
            assert_eq!(pilot.parallelism(), parallelism, "{setback:?}");
            let waiting = pilot.shut(now).unwrap().waiting(now);
            assert_eq!((waiting.pause, waiting.asked_for), (2 * SECOND, true));
            assert_eq!(pilot.room(now + SECOND), 0);
            // At the very moment it opens, one is let in; then two, then four, then all.
            now += 2 * SECOND;
            let quick = Duration::from_millis(20);
            let rounds: Vec<u16> = (0..4).map(|_| round(&mut pilot, &mut now, quick)).collect();
            let wanted: Vec<u16> = [1, 2, 4, 8].iter().map(|most: &u16| (*most).min(parallelism)).collect();
            assert_eq!(rounds, wanted, "{setback:?}");
        }
    }

    #[test]
    fn the_limit_on_execution_time_takes_back_what_is_above_the_hint() {
        let mut pilot = pilot(52);
        pilot.hinted(4);
        pilot.ceiling = 12;
        for wanted in [9, 6, 4, 4] {
            let epoch = pilot.leave(Instant::now());
            pilot.throttled(Instant::now(), epoch, Setback::TimeLimit, (Some(SECOND), None));
            pilot.back();
            assert_eq!(pilot.parallelism(), wanted);
        }
    }

    #[test]
    fn without_a_time_the_pauses_grow_until_something_goes_well() {
        let mut pilot = pilot(4);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            let epoch = pilot.leave(Instant::now());
            pilot.throttled(now, epoch, Setback::RequestLimit, (None, None));
            pilot.back();
            let pause = pilot.shut(now).unwrap().waiting(now);
            assert!(!pause.asked_for);
            pauses.push(pause.pause);
            now += pause.pause;
        }
        assert!(pauses[0] >= SECOND && pauses[2] > pauses[0], "{pauses:?}");
        round(&mut pilot, &mut now, SECOND);
        let epoch = pilot.leave(Instant::now());
        pilot.throttled(now, epoch, Setback::Busy, (None, Some(30 * SECOND)));
        assert_eq!(
            pilot.shut(now).unwrap().waiting(now).pause,
            30 * SECOND,
            "what the product's clients wait"
        );
    }

    #[test]
    fn an_answer_to_what_left_before_a_limit_lets_nobody_in_after_it() {
        let mut pilot = pilot(8);
        let now = Instant::now();
        let (before, other) = (pilot.leave(Instant::now()), pilot.leave(Instant::now()));
        pilot.throttled(now, before, Setback::RequestLimit, (Some(SECOND), None));
        pilot.back();
        pilot.answered(now, other, 100);
        pilot.back();
        assert_eq!(pilot.room(now + SECOND), 1);
        assert_eq!(pilot.counts(), Counts { requests: 2, request_limit: 1, ..Counts::default() });
    }

    #[test]
    fn after_a_pause_what_runs_long_does_not_keep_the_others_out_and_a_refusal_does() {
        let mut pilot = pilot(8);
        pilot.hinted(4);
        let mut now = Instant::now();
        let epoch = pilot.leave(now);
        pilot.throttled(now, epoch, Setback::TimeLimit, (Some(SECOND), None));
        pilot.back();
        now += SECOND;
        assert_eq!((pilot.room(now), pilot.widens(now)), (1, None));
        let first = pilot.leave(now);
        for let_in in 1..4 {
            assert_eq!(pilot.room(now), 0);
            now = pilot.widens(now).unwrap();
            assert_eq!(pilot.room(now), 1, "{let_in}");
            pilot.leave(now);
        }
        now = pilot.widens(now).unwrap();
        assert_eq!(pilot.room(now), 0, "as many as the hint");
        pilot.throttled(now, first, Setback::TimeLimit, (Some(SECOND), None));
        (0..4).for_each(|_| pilot.back());
        assert_eq!((pilot.room(now), pilot.room(now + SECOND)), (0, 1));
    }
}
