//! How long to wait before trying again: what the server asks for, else an exponential pause with jitter.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use super::WireLimits;

/// The tries that a call has left.
pub(super) struct Patience<'a> {
    limits: &'a WireLimits,
    pauses: ExponentialBackoff,
    tries: u32,
}

impl<'a> Patience<'a> {
    pub(super) fn new(limits: &'a WireLimits) -> Self {
        Patience { limits, pauses: pauses(limits), tries: 0 }
    }

    /// Something was achieved: the count of fruitless tries begins anew.
    pub(super) fn renew(&mut self) {
        self.tries = 0;
        self.pauses = pauses(self.limits);
    }

    /// The pause before the next try; `asked` is the server's wish. Where a gate is `held` closed it waits there, or
    /// another user goes on, so that a long wish ends nothing.
    ///
    /// # Errors
    /// The pause that the caller should make instead, when the tries are used up or the wish is too long.
    pub(super) fn next(&mut self, asked: Option<Duration>, held: bool) -> Result<Duration, Duration> {
        self.tries += 1;
        let own = self.pauses.next().unwrap_or(self.limits.backoff_max).min(self.limits.backoff_max);
        let pause = asked.unwrap_or(own);
        if self.tries >= self.limits.attempts_max || (pause > self.limits.wait_max && !held) {
            Err(asked.unwrap_or(self.limits.backoff_max).max(self.limits.backoff_min))
        } else {
            Ok(pause)
        }
    }
}

/// Pauses that double from the shortest to the longest, with jitter.
pub(super) fn pauses(limits: &WireLimits) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(limits.backoff_min)
        // The jitter may double it.
        .with_max_delay(limits.backoff_max / 2)
        .with_max_times(usize::MAX)
        .with_jitter()
        .build()
}

/// The pause that `Retry-After` asks for: seconds, decimals of them, or a date, which is read against the server's own
/// clock (its `Date`). `None` where it is absent or makes no sense.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds.max(0.0)).ok();
    }
    let at = http_date(text)?;
    let now = http_date(headers.get(DATE)?.to_str().ok()?)?;
    Some(at.duration_since(now).try_into().unwrap_or(Duration::ZERO))
}

/// An instant as HTTP headers spell it.
pub(super) fn http_date(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text.trim()).ok().map(|at| at.timestamp())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn asked(retry_after_text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, retry_after_text.parse().unwrap());
        headers.insert(DATE, "Wed, 21 Oct 2026 07:28:00 GMT".parse().unwrap());
        retry_after(&headers)
    }

    #[test]
    fn every_spelling_of_retry_after_is_understood_and_nonsense_is_not_obeyed() {
        assert_eq!(asked("12"), Some(Duration::from_secs(12)));
        assert_eq!(asked(" 0.25 "), Some(Duration::from_millis(250)));
        assert_eq!(asked("-3"), Some(Duration::ZERO));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(asked("Wed, 21 Oct 2026 07:27:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("NaN"), Some(Duration::ZERO));
        assert_eq!(asked("1e300"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn patience_grows_its_pauses_and_ends() {
        let limits = WireLimits { attempts_max: 4, ..WireLimits::default() };
        let mut patience = Patience::new(&limits);
        let first = patience.next(None, false).unwrap();
        let second = patience.next(None, false).unwrap();
        assert!(first >= limits.backoff_min && second > first, "{first:?} {second:?}");
        assert_eq!(patience.next(Some(Duration::from_secs(12)), false).unwrap().as_secs(), 12);
        assert_eq!(patience.next(None, false), Err(limits.backoff_max));
        patience.renew();
        assert!(patience.next(None, false).is_ok());
        assert_eq!(patience.next(Some(Duration::from_secs(3601)), false), Err(Duration::from_secs(3601)));
    }
}
