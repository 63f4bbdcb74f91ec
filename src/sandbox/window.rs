//! A sliding window: what was used in its length, and how long until there is room again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pieces that a window is kept in; what is in a piece leaves with it.
const PIECES: u32 = 1_000;

/// What one caller used in the last while. It is bounded, however much was used.
pub(super) struct Window {
    length: Duration,
    piece: Duration,
    pieces: VecDeque<Piece>,
    requests: u64,
    execution: Duration,
}

struct Piece {
    began: Instant,
    requests: u64,
    execution: Duration,
}

impl Window {
    /// An empty window of this length.
    pub(super) fn new(length: Duration) -> Self {
        let piece = (length / PIECES).max(Duration::from_micros(1));
        Window { length, piece, pieces: VecDeque::new(), requests: 0, execution: Duration::ZERO }
    }

    /// Forgets what is older than the window.
    pub(super) fn slide(&mut self, now: Instant) {
        while let Some(oldest) = self.pieces.front().filter(|piece| self.leaves(piece) <= now) {
            self.requests -= oldest.requests;
            self.execution = self.execution.saturating_sub(oldest.execution);
            self.pieces.pop_front();
        }
    }

    /// Adds what was used now.
    pub(super) fn add(&mut self, now: Instant, requests: u64, execution: Duration) {
        self.requests += requests;
        self.execution += execution;
        match self.pieces.back_mut() {
            Some(last) if now < last.began + self.piece => {
                last.requests += requests;
                last.execution += execution;
            }
            _ => self.pieces.push_back(Piece { began: now, requests, execution }),
        }
    }

    /// Requests and execution time in the window.
    pub(super) fn used(&self) -> (u64, Duration) {
        (self.requests, self.execution)
    }

    /// How long until one more request stays within `limit`; `None` when it does so now.
    pub(super) fn wait_for_requests(&self, limit: u64, now: Instant) -> Option<Duration> {
        let mut left = self.requests;
        self.wait_until(now, left < limit, |piece| {
            left -= piece.requests;
            left < limit
        })
    }

    /// How long until the execution time is below `limit`; `None` when it is so now.
    pub(super) fn wait_for_execution(&self, limit: Duration, now: Instant) -> Option<Duration> {
        let mut left = self.execution;
        self.wait_until(now, left < limit, |piece| {
            left = left.saturating_sub(piece.execution);
            left < limit
        })
    }

    /// When the oldest pieces are gone that must go.
    fn wait_until(
        &self,
        now: Instant,
        room: bool,
        mut enough_without: impl FnMut(&Piece) -> bool,
    ) -> Option<Duration> {
        if room {
            return None;
        }
        let last = self.pieces.iter().find(|piece| enough_without(piece))?;
        Some(self.leaves(last).saturating_duration_since(now))
    }

    fn leaves(&self, piece: &Piece) -> Instant {
        piece.began + self.piece + self.length
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_stretch_of_the_windows_length_ever_holds_more_than_the_limit() {
        // Requests as fast as the window lets them in, for ten windows.
        let length = Duration::from_secs(10);
        let mut window = Window::new(length);
        let start = Instant::now();
        let mut now = start;
        let mut admitted = Vec::new();
        while now < start + length * 10 {
            window.slide(now);
            match window.wait_for_requests(50, now) {
                None => {
                    window.add(now, 1, Duration::ZERO);
                    admitted.push(now);
                    now += Duration::from_millis(7);
                }
                Some(wait) => now += wait,
            }
        }
        for (index, first) in admitted.iter().enumerate() {
            let within = admitted[index..].iter().filter(|at| **at < *first + length).count();
            assert!(within <= 50, "{within}");
        }
        // What is kept in pieces loses little: at least 98 % of what ten windows admit.
        assert!(admitted.len() >= 490, "{}", admitted.len());
    }

    #[test]
    fn execution_time_leaves_with_its_piece() {
        let mut window = Window::new(Duration::from_secs(10));
        let now = Instant::now();
        let limit = Duration::from_secs(4);
        window.add(now, 1, Duration::from_secs(3));
        assert_eq!(window.wait_for_execution(limit, now), None);
        window.add(now + Duration::from_secs(1), 1, Duration::from_secs(3));
        let wait = window.wait_for_execution(limit, now + Duration::from_secs(1)).unwrap();
        assert!(wait >= Duration::from_secs(9) && wait < Duration::from_millis(9_100), "{wait:?}");
        window.slide(now + Duration::from_secs(1) + wait);
        assert_eq!(window.used(), (1, Duration::from_secs(3)));
    }
}
