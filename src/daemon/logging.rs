//! Where log lines go: to the journal under systemd, to stderr otherwise; results alone go to stdout.

use std::io::{self, IsTerminal};
use std::path::Path;

use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::journald::{JOURNALD_SOCKET, Journald};

/// Libraries that would talk over the daemon at its own level, and the most that each may say unless a filter names it.
const LIBRARY_LEVELS: &str = "deltalake=warn,deltalake_core=warn,buoyant_kernel=warn,delta_kernel=warn,\
    object_store=warn,hyper=info,hyper_util=info,h2=info,reqwest=info,rustls=info,notify=info,calamine=warn";

/// The variables that may hold a filter; the first one that is set counts.
const FILTER_VARIABLES: [&str; 2] = ["DDU_LOG", "RUST_LOG"];

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people, and for the journal where the process runs under systemd.
    #[default]
    Text,
    /// One JSON object a line on stderr, wherever the process runs (`--json-logs`).
    Json,
}

/// Logging could not be set up. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The environment holds a filter that does not parse.
    #[error("{variable}=`{filter}` is not a log filter; one looks like `info` or `ddu=debug,warn`")]
    Filter {
        /// The variable it stands in.
        variable: &'static str,
        /// The filter as found.
        filter: String,
        /// Where it stops to make sense.
        #[source]
        source: ParseError,
    },
    /// Something else in this process has set up logging before.
    #[error("logging is set up already")]
    Again(#[from] TryInitError),
}

/// Sends all log lines of the process to their place. `level` counts where the environment has no filter.
///
/// # Errors
/// When `DDU_LOG` or `RUST_LOG` does not parse, or logging was set up before.
pub fn init(format: LogFormat, level: LevelFilter) -> Result<(), LoggingError> {
    let found = FILTER_VARIABLES.into_iter().find_map(|variable| {
        let filter = std::env::var(variable).ok()?;
        (!filter.trim().is_empty()).then_some((variable, filter))
    });
    let filter = match found {
        Some((variable, filter)) => {
            parse(&filter).map_err(|source| LoggingError::Filter { variable, filter, source })?
        }
        None => parse(&level.to_string()).expect("a level is a filter"),
    };
    tracing_subscriber::registry().with(filter).with(destination(format)).try_init()?;
    Ok(())
}

/// The libraries' levels and then the filter, whose own words about a library come later and win.
fn parse(filter: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(format!("{LIBRARY_LEVELS},{filter}"))
}

type BoxedLayer = Box<dyn Layer<tracing_subscriber::layer::Layered<EnvFilter, Registry>> + Send + Sync>;

fn destination(format: LogFormat) -> BoxedLayer {
    let stderr = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Json => stderr.json().flatten_event(true).with_span_list(false).with_ansi(false).boxed(),
        LogFormat::Text => match journal() {
            Some(journald) => journald.boxed(),
            None => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                stderr.with_target(false).with_ansi(io::stderr().is_terminal() && !plain).boxed()
            }
        },
    }
}

/// The journal, where systemd has connected stderr to it and it answers.
fn journal() -> Option<Journald> {
    let stream = std::env::var("JOURNAL_STREAM").ok()?;
    let stderr = rustix::fs::fstat(io::stderr()).ok()?;
    is_stream(&stream, stderr.st_dev, stderr.st_ino)
        .then(|| Journald::connect(Path::new(JOURNALD_SOCKET)).ok())?
}

/// Whether `JOURNAL_STREAM`, `device:inode`, names this file; a shell that redirects stderr leaves the variable as it was.
/// Source: systemd.exec(5).
fn is_stream(journal_stream: &str, device: u64, inode: u64) -> bool {
    journal_stream == format!("{device}:{inode}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_redirected_stderr_is_not_taken_for_the_journal() {
        assert!(is_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8:12345", "", "8:"] {
            assert!(!is_stream(other, 8, 1234), "{other}");
        }
    }

    #[test]
    fn libraries_stay_quiet_unless_they_are_asked() {
        let quiet = parse("debug").unwrap().to_string();
        assert!(quiet.contains("deltalake_core=warn") && quiet.contains("debug"), "{quiet}");
        let asked = parse("info,deltalake_core=trace").unwrap().to_string();
        assert!(asked.contains("deltalake_core=trace") && !asked.contains("deltalake_core=warn"), "{asked}");
        assert!(parse("ddu=loud").is_err());
    }
}
