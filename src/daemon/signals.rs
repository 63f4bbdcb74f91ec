//! What the operator wishes of a running daemon, told by signals: drain, stop, re-read the configuration, look now.

use std::io::IsTerminal;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use tokio::sync::mpsc;

/// Wishes that may queue while the run loop is busy; more of them would say nothing new.
const WISHES_MAX: usize = 8;

/// One wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// The first SIGTERM or SIGINT: finish what is under way, then exit.
    Stop,
    /// Any further SIGTERM or SIGINT: exit at once. Recovery is the ordinary start, so nothing is lost by it.
    StopNow,
    /// SIGHUP: re-read the configuration. Where the terminal that we were started on has gone, it means `Stop`.
    Reload,
    /// SIGUSR1: look at the dropbox now.
    Look,
}

/// The signals could not be caught. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SignalsError {
    /// The handlers could not be installed.
    #[error("signal handlers could not be installed")]
    Install {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The thread that waits for signals could not be started.
    #[error("the thread that waits for signals could not be started")]
    Thread {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// The stream of wishes. Dropping it ends its thread; the signals are ignored from then on.
#[derive(Debug)]
pub struct Wishes {
    receiver: mpsc::Receiver<Wish>,
    handle: signal_hook::iterator::Handle,
}

impl Wishes {
    /// Catches SIGTERM, SIGINT, SIGHUP and SIGUSR1 from now on.
    ///
    /// # Errors
    /// When the system refuses the handlers or their thread; the daemon should not start without them.
    pub fn listen() -> Result<Self, SignalsError> {
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
            .map_err(|source| SignalsError::Install { source })?;
        let handle = signals.handle();
        let (sender, receiver) = mpsc::channel(WISHES_MAX);
        let on_terminal = std::io::stderr().is_terminal();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut stops = 0;
                for signal in signals.forever() {
                    // Whoever closes the window wants to be rid of us; a daemon of a service manager has no window.
                    let hung_up = signal == SIGHUP && on_terminal && !std::io::stderr().is_terminal();
                    let signal = if hung_up { SIGTERM } else { signal };
                    if sender.blocking_send(wish(signal, &mut stops)).is_err() {
                        break;
                    }
                }
            })
            .map_err(|source| SignalsError::Thread { source })?;
        Ok(Wishes { receiver, handle })
    }

    /// The next wish. May be dropped before it is ready, as in `select!`, without losing one.
    pub async fn next(&mut self) -> Wish {
        match self.receiver.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Wishes {
    fn drop(&mut self) {
        self.receiver.close();
        self.handle.close();
    }
}

fn wish(signal: i32, stops: &mut u32) -> Wish {
    match signal {
        SIGHUP => Wish::Reload,
        SIGUSR1 => Wish::Look,
        _ => {
            *stops = stops.saturating_add(1);
            if *stops == 1 { Wish::Stop } else { Wish::StopNow }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn the_second_signal_to_stop_means_at_once_whichever_of_the_two_it_is() {
        // Raises real signals at the test process, whose handlers stand from `listen` on.
        let mut wishes = Wishes::listen().unwrap();
        for (signal, expected) in [
            (SIGUSR1, Wish::Look),
            (SIGHUP, Wish::Reload),
            (SIGINT, Wish::Stop),
            (SIGHUP, Wish::Reload),
            (SIGTERM, Wish::StopNow),
            (SIGTERM, Wish::StopNow),
        ] {
            signal_hook::low_level::raise(signal).unwrap();
            assert_eq!(wishes.next().await, expected);
        }
    }
}
