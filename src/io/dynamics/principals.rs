//! The application users that requests are made as: each with its own token, limits and pilot, side by side; one whose
//! access is refused is set aside while the others go on.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::WireLimits;
use super::gate::{OnWaiting, Waiting};
use super::pilot::{Counts, Pilot};
use super::token::TokenSource;
use super::verdict::Setback;

/// How long a user whose access was refused is left alone while others go on; then it is tried again, as the operator may
/// have mended it.
const ASIDE_FOR: Duration = Duration::from_secs(300);

/// One application user.
pub(super) struct Principal {
    pub(super) client_id: String,
    pub(super) token: TokenSource,
    /// Requests at once at most, where the operator says so.
    pub(super) workers: Option<u16>,
}

/// All application users of one target.
pub(super) struct Principals {
    each: Vec<Principal>,
    // In the order of `each`.
    seats: Mutex<Vec<Seat>>,
    freed: Notify,
}

/// What is known of one user now.
struct Seat {
    pilot: Pilot,
    aside: Option<Aside>,
}

struct Aside {
    until: Instant,
    why: String,
}

/// How one application user fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrincipalReport {
    /// Its application (client) id.
    pub client_id: String,
    /// Requests at once at most, now.
    pub parallelism: u16,
    /// Requests under way.
    pub flying: u16,
    /// What happened so far.
    pub counts: Counts,
    /// What it waits for.
    pub waiting: Option<Waiting>,
    /// Why its access was refused, while it is set aside.
    pub refused: Option<String>,
}

/// Leave to send one request as one user.
pub(super) struct Permit<'a> {
    owner: &'a Principals,
    index: usize,
    epoch: u64,
}

/// Why there is no permit.
pub(super) enum NoEntry {
    /// All gates are closed for longer than is waited.
    Closed(Waiting),
    /// Every user was refused.
    Refused,
}

/// What [`Principals::look`] found.
enum Look {
    Go(usize, u64),
    /// Everybody is full, or waits: look again when something changes, or at this time.
    Wait {
        until: Option<Instant>,
        told: Option<Waiting>,
    },
    Refused,
}

impl Principals {
    pub(super) fn new(each: Vec<Principal>, limits: &WireLimits) -> Self {
        let seat = |one: &Principal| Seat { pilot: Pilot::new(one.workers, limits), aside: None };
        let seats = Mutex::new(each.iter().map(seat).collect());
        Principals { each, seats, freed: Notify::new() }
    }

    /// Leave to send a request, as the user with the most room; waits until there is one. `refused` are those whose
    /// access was refused to this very request.
    ///
    /// # Errors
    /// When all gates stay closed for longer than `wait_max`, or nobody is left.
    pub(super) async fn admit(
        &self,
        refused: &[usize],
        wait_max: Duration,
        waiting: OnWaiting<'_>,
    ) -> Result<Permit<'_>, NoEntry> {
        let mut told_until = None;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before the look, so that nothing that is freed after it is missed.
            freed.as_mut().enable();
            match self.look(refused, Instant::now()) {
                Look::Go(index, epoch) => return Ok(Permit { owner: self, index, epoch }),
                Look::Refused => return Err(NoEntry::Refused),
                Look::Wait { until, told } => {
                    if let Some(told) = told {
                        if told.pause > wait_max {
                            return Err(NoEntry::Closed(told));
                        }
                        if told_until != until {
                            told_until = until;
                            waiting(told);
                        }
                    }
                    match until {
                        None => freed.await,
                        Some(until) => tokio::select! {
                            () = tokio::time::sleep_until(until) => {}
                            () = freed => {}
                        },
                    }
                }
            }
        }
    }

    fn look(&self, refused: &[usize], now: Instant) -> Look {
        let mut seats = self.seats();
        let left: Vec<usize> = (0..seats.len()).filter(|index| !refused.contains(index)).collect();
        let aside = |index: &usize| seats[*index].aside.as_ref().is_some_and(|aside| aside.until > now);
        // Those set aside are asked only where nobody else is left: access may have been mended meanwhile.
        let good: Vec<usize> = left.iter().copied().filter(|index| !aside(index)).collect();
        let pool = if good.is_empty() { left } else { good };
        let Some(most) = pool.iter().copied().max_by_key(|index| seats[*index].pilot.room(now)) else {
            return Look::Refused;
        };
        if seats[most].pilot.room(now) > 0 {
            return Look::Go(most, seats[most].pilot.leave(now));
        }
        let shut: Vec<_> = pool.iter().filter_map(|index| seats[*index].pilot.shut(now)).collect();
        let first = shut.iter().min_by_key(|closed| closed.until);
        let opened = pool.iter().filter(|index| seats[**index].pilot.shut(now).is_none());
        let widens = opened.filter_map(|index| seats[*index].pilot.widens(now));
        Look::Wait {
            until: first.map(|closed| closed.until).into_iter().chain(widens).min(),
            told: first.filter(|_| shut.len() == pool.len()).map(|closed| closed.waiting(now)),
        }
    }

    /// Sets a user aside whose access was refused. Whether others are left that were not.
    pub(super) fn set_aside(&self, index: usize, why: &str) -> bool {
        let now = Instant::now();
        let mut seats = self.seats();
        let several = seats.len() > 1;
        let aside = Aside { until: now + ASIDE_FOR, why: why.to_owned() };
        if seats[index].aside.replace(aside).is_none() && several {
            let principal = &self.each[index].client_id;
            tracing::warn!(%principal, why, "an application user is refused and set aside; the others go on");
        }
        drop(seats);
        self.freed.notify_waiters();
        self.seats().iter().any(|seat| seat.aside.as_ref().is_none_or(|aside| aside.until <= now))
    }

    /// Requests that should be ready to leave at once, all users together.
    pub(super) fn demand(&self) -> u16 {
        let seats = self.seats();
        let of = |seats: &[Seat], all: bool| {
            let counted = seats.iter().filter(|seat| all || seat.aside.is_none());
            counted.map(|seat| seat.pilot.demand()).fold(0, u16::saturating_add)
        };
        match of(&seats, false) {
            0 => of(&seats, true),
            demand => demand,
        }
    }

    /// How each user fares, in the order of the settings.
    pub(super) fn report(&self) -> Vec<PrincipalReport> {
        let now = Instant::now();
        let seats = self.seats();
        let of = |(principal, seat): (&Principal, &Seat)| PrincipalReport {
            client_id: principal.client_id.clone(),
            parallelism: seat.pilot.parallelism(),
            flying: seat.pilot.flying(),
            counts: seat.pilot.counts(),
            waiting: seat.pilot.shut(now).map(|closed| closed.waiting(now)),
            refused: seat.aside.as_ref().map(|aside| aside.why.clone()),
        };
        self.each.iter().zip(seats.iter()).map(of).collect()
    }

    /// Each user, in the order of the settings.
    pub(super) fn each(&self) -> &[Principal] {
        &self.each
    }

    /// Leave for one user, whatever its pilot says: for questions about that user.
    pub(super) fn permit_for(&self, index: usize) -> Permit<'_> {
        let epoch = self.seats()[index].pilot.leave(Instant::now());
        Permit { owner: self, index, epoch }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, index: usize, change: impl FnOnce(&mut Seat)) {
        change(&mut self.seats()[index]);
        self.freed.notify_waiters();
    }
}

impl Permit<'_> {
    /// Which user it is for.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    pub(super) fn token(&self) -> &TokenSource {
        &self.owner.each[self.index].token
    }

    /// The server recommends so many requests at once.
    pub(super) fn hinted(&self, hint: u16) {
        self.owner.changed(self.index, |seat| seat.pilot.hinted(hint));
    }

    /// The request was answered; its user is let in.
    pub(super) fn answered(&self, rows: usize) {
        self.owner.changed(self.index, |seat| {
            if seat.aside.take().is_some() {
                let principal = &self.owner.each[self.index].client_id;
                tracing::info!(%principal, "an application user is let in again");
            }
            seat.pilot.answered(Instant::now(), self.epoch, rows);
        });
    }

    /// The server would not take the request now.
    pub(super) fn throttled(&self, setback: Setback, waits: (Option<Duration>, Option<Duration>)) {
        self.owner.changed(self.index, |seat| {
            seat.pilot.throttled(Instant::now(), self.epoch, setback, waits);
            let principal = &self.owner.each[self.index].client_id;
            let parallelism = seat.pilot.parallelism();
            tracing::debug!(%principal, limit = setback.in_words(), wait = ?waits.0, parallelism, "throttled");
        });
    }

    /// There is no token to send the request with.
    pub(super) fn hold(&self, wait: Option<Duration>, reason: &str) {
        self.owner.changed(self.index, |seat| seat.pilot.hold(Instant::now(), wait, reason.to_owned()));
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.owner.changed(self.index, |seat| seat.pilot.back());
    }
}
