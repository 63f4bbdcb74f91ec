//! Log lines for the systemd journal: a line that reads by itself, and every field to search by (`journalctl DDU_JOB=…`).
//!
//! The layer of `tracing-journald` puts the constant message alone into `MESSAGE`, so that `journalctl -u ddu` would say
//! "batch accepted" without saying which; here the fields stand behind it, as on a terminal.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Where journald takes its native protocol. Source: systemd.io/JOURNAL_NATIVE_PROTOCOL.
pub const JOURNALD_SOCKET: &str = "/run/systemd/journal/socket";
/// Bytes of one field's value; what is longer is cut, so that a line fits into one datagram.
const VALUE_BYTES_MAX: usize = 4_096;
/// Bytes of a field's name. Source: systemd.journal-fields(7).
const NAME_BYTES_MAX: usize = 64;

/// Writes every event as one datagram to journald.
#[derive(Debug)]
pub struct Journald {
    socket: UnixDatagram,
    path: PathBuf,
}

/// The fields of a span or an event, in the order in which they were recorded.
#[derive(Debug, Default, Clone)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, String)>,
}

impl Journald {
    /// A layer that writes to the journald socket at `path`, normally [`JOURNALD_SOCKET`].
    ///
    /// # Errors
    /// When nobody listens there; the caller logs to stderr instead.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        // journald discards an empty datagram; the send fails where there is no journald.
        socket.send_to(&[], path)?;
        Ok(Journald { socket, path: path.to_owned() })
    }

    fn send(&self, metadata: &Metadata<'_>, fields: &Fields) {
        let line = fields.line();
        let mut datagram = Vec::with_capacity(512);
        put(&mut datagram, "MESSAGE", line.as_bytes());
        put(&mut datagram, "PRIORITY", priority(metadata.level()).as_bytes());
        put(&mut datagram, "SYSLOG_IDENTIFIER", b"ddu");
        put(&mut datagram, "DDU_TARGET", metadata.target().as_bytes());
        for (name, value) in &fields.pairs {
            put(&mut datagram, &journal_name(name), value.as_bytes());
        }
        if self.socket.send_to(&datagram, &self.path).is_err() {
            // journald is being restarted, or the line is too long for it: stderr is connected to the journal as well.
            // Where that fails too there is nobody left to tell.
            writeln!(io::stderr(), "<{}>{line}", priority(metadata.level())).ok();
        }
    }
}

impl<S> Layer<S> for Journald
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.pairs {
                    if !fields.pairs.iter().any(|(inner, _)| inner == name) {
                        fields.pairs.push((name, value.clone()));
                    }
                }
            }
        }
        self.send(event.metadata(), &fields);
    }
}

impl Fields {
    /// The message and the fields behind it, as `journalctl` shows them.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.pairs {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(name);
            line.push('=');
            if value.contains([' ', '"', '=']) || value.is_empty() {
                line.push('"');
                line.push_str(&value.replace('"', "\\\""));
                line.push('"');
            } else {
                line.push_str(value);
            }
        }
        line
    }

    fn record(&mut self, field: &Field, value: &str) {
        let value = shown(value);
        if field.name() == "message" {
            self.message = value;
        } else if let Some(pair) = self.pairs.iter_mut().find(|(name, _)| *name == field.name()) {
            pair.1 = value;
        } else {
            self.pairs.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut chain = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            write!(chain, ": {cause}").expect("writing to a String cannot fail");
            source = cause.source();
        }
        self.record(field, &chain);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, &format!("{value:?}"));
    }
}

/// The value on one line and within its limit. `journalctl` shows a message with control characters as "blob data".
fn shown(value: &str) -> String {
    let mut shown = String::with_capacity(value.len().min(VALUE_BYTES_MAX));
    for c in value.chars() {
        if shown.len() >= VALUE_BYTES_MAX {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The journal's name for a field: `rows` is `DDU_ROWS`.
fn journal_name(name: &str) -> String {
    let letters = name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    "DDU_".chars().chain(letters).take(NAME_BYTES_MAX).collect()
}

fn priority(level: &Level) -> &'static str {
    match *level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

fn put(datagram: &mut Vec<u8>, name: &str, value: &[u8]) {
    datagram.extend_from_slice(name.as_bytes());
    datagram.push(b'\n');
    datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    datagram.extend_from_slice(value);
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;
    use tracing_subscriber::layer::SubscriberExt;

    /// Reads what the layer sends the way journald does.
    fn received(socket: &UnixDatagram) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 65_536];
        let length = socket.recv(&mut buffer).unwrap();
        let mut rest = &buffer[..length];
        let mut entry = BTreeMap::new();
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let size = u64::from_le_bytes(rest[end + 1..end + 9].try_into().unwrap()) as usize;
            let value = &rest[end + 9..end + 9 + size];
            entry.insert(name, String::from_utf8(value.to_vec()).unwrap());
            rest = &rest[end + 10 + size..];
        }
        entry
    }

    fn journald() -> (tempfile::TempDir, UnixDatagram, Journald) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        let layer = Journald::connect(&path).unwrap();
        assert_eq!(received(&socket), BTreeMap::new(), "the greeting is empty");
        (folder, socket, layer)
    }

    #[test]
    fn without_journald_there_is_an_error_and_not_silence() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journald::connect(&folder.path().join("nobody")).is_err());
    }

    #[test]
    fn a_line_reads_by_itself_and_can_be_searched_by_job() {
        let (_folder, socket, layer) = journald();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("job", job = "20261122T140320Z-9f3a1c2e");
            let _entered = span.enter();
            tracing::warn!(batch = 3, workbook = "a b.xlsx", "batch accepted");
        });
        let entry = received(&socket);
        assert_eq!(
            entry["MESSAGE"],
            r#"batch accepted batch=3 workbook="a b.xlsx" job=20261122T140320Z-9f3a1c2e"#
        );
        assert_eq!(entry["DDU_JOB"], "20261122T140320Z-9f3a1c2e");
        assert_eq!(entry["PRIORITY"], "4");
        assert_eq!(entry["SYSLOG_IDENTIFIER"], "ddu");
    }

    #[test]
    fn a_file_name_can_neither_forge_a_line_nor_hide_one() {
        let (_folder, socket, layer) = journald();
        let name = format!("x\nPRIORITY=0\u{1b}[2J{}", "y".repeat(100_000));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(workbook = name, "workbook claimed");
        });
        let entry = received(&socket);
        assert!(entry["MESSAGE"].starts_with(r#"workbook claimed workbook="x\nPRIORITY=0\u{1b}[2Jyyy"#));
        assert_eq!(entry["PRIORITY"], "6");
        assert!(entry["DDU_WORKBOOK"].len() < VALUE_BYTES_MAX + 16);
    }

    #[test]
    fn an_error_is_told_with_everything_that_caused_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("table `customers` could not be opened")]
        struct Outer(#[source] io::Error);
        let (_folder, socket, layer) = journald();
        let failure = Outer(io::Error::other("permission denied"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!(error = &failure as &(dyn std::error::Error + 'static), "job failed");
        });
        assert_eq!(
            received(&socket)["DDU_ERROR"],
            "table `customers` could not be opened: permission denied"
        );
    }
}
