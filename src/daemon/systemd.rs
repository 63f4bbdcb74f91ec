//! What systemd is told, and the watchdog that hears from us only while the run loop makes progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Characters of a status line; `systemctl status` shows one line.
const STATUS_CHARS_MAX: usize = 200;

/// The service manager that started us. Outside systemd everything here does nothing.
#[derive(Debug, Clone, Copy)]
pub struct ServiceManager {
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// What the environment says: the notify socket and `WatchdogSec=` of the unit.
    pub fn from_env() -> Self {
        ServiceManager { watchdog: sd_notify::watchdog_enabled().filter(|every| !every.is_zero()) }
    }

    /// The start, or a reload, is complete.
    pub fn ready(&self, status: &str) {
        notify(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
    }

    /// The line that `systemctl status` shows.
    pub fn status(&self, status: &str) {
        notify(&[NotifyState::Status(&one_line(status))]);
    }

    /// The configuration is being read again; [`ready`](Self::ready) ends it, whatever came of it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    /// The daemon drains and will exit.
    pub fn stopping(&self, status: &str) {
        notify(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
    }

    /// How long the watchdog waits for a sign of life; `None` where the unit has none.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells the watchdog twice in its interval that we live, as often as `alive` says so. Never returns; run it in a
    /// `select!` or a task that is aborted at the end.
    ///
    /// While `alive` denies it systemd hears nothing, and kills and restarts the daemon when the interval is over.
    pub async fn keep_watchdog_calm(&self, alive: impl Fn() -> bool) {
        let Some(every) = self.watchdog else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(every / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_alive = true;
        loop {
            ticks.tick().await;
            let is_alive = alive();
            if is_alive {
                notify(&[NotifyState::Watchdog]);
            } else if was_alive {
                tracing::error!(
                    watchdog_ms = every.as_millis() as u64,
                    "run loop makes no progress; the watchdog is not fed"
                );
            }
            was_alive = is_alive;
        }
    }
}

/// The run loop's pulse: it beats once a turn, and whoever asks learns how long ago that was.
#[derive(Debug)]
pub struct Pulse {
    since: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    /// A pulse whose first beat is now.
    pub fn new() -> Self {
        Pulse { since: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    /// One turn of the loop is done.
    pub fn beat(&self) {
        self.last_ms.store(self.elapsed_ms(), Ordering::Relaxed);
    }

    /// Time since the last beat.
    pub fn silent_for(&self) -> Duration {
        Duration::from_millis(self.elapsed_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse::new()
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told what we do");
    }
}

/// The text without line ends, which would begin another assignment in the notify protocol.
fn one_line(status: &str) -> String {
    status.chars().take(STATUS_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    /// Set for the process that [`systemd_hears_what_the_daemon_does`] starts.
    const CHILD: &str = "DDU_TEST_NOTIFY_CHILD";

    #[test]
    fn a_status_cannot_smuggle_in_another_message() {
        assert_eq!(one_line("migrating\nREADY=1"), "migrating READY=1");
        assert_eq!(one_line(&"ü".repeat(1000)).chars().count(), STATUS_CHARS_MAX);
    }

    #[test]
    fn systemd_hears_what_the_daemon_does() {
        // The environment of a running process must not be changed, so this test starts itself again with a notify socket.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon::systemd::tests::the_process_that_systemd_started"])
            .env(CHILD, "1")
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "20000")
            .env_remove("WATCHDOG_PID")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let next = || {
            let mut buffer = [0; 1024];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        assert_eq!(next(), "READY=1\nSTATUS=looking at the dropbox\n");
        let reload = next();
        let stamp = reload.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(stamp.parse::<u64>().is_ok_and(|usec| usec > 0), "{reload}");
        // Three signs of life while the loop beats, none after it stopped, though many intervals pass.
        assert_eq!([next(), next(), next()], ["WATCHDOG=1\n"; 3]);
        assert_eq!(next(), "STOPPING=1\nSTATUS=draining\n");
        assert!(child.wait().unwrap().success());
    }

    #[tokio::test]
    async fn the_process_that_systemd_started() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let manager = ServiceManager::from_env();
        assert_eq!(manager.watchdog(), Some(Duration::from_millis(20)));
        manager.ready("looking at the dropbox");
        manager.reloading();
        let asked = AtomicU64::new(0);
        let asked_enough = tokio::sync::Notify::new();
        let alive = || {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            if before == 6 {
                asked_enough.notify_one();
            }
            before < 3
        };
        tokio::select! {
            () = manager.keep_watchdog_calm(alive) => panic!("it never returns"),
            () = asked_enough.notified() => {}
        }
        manager.stopping("draining");
    }

    #[test]
    fn a_loop_that_stands_still_is_found_out() {
        let pulse = Pulse { since: Instant::now() - Duration::from_secs(60), last_ms: AtomicU64::new(0) };
        assert!(pulse.silent_for() >= Duration::from_secs(60));
        pulse.beat();
        assert!(pulse.silent_for() < Duration::from_secs(30));
    }
}
