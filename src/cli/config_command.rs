//! `ddu config check` and `ddu config schema`: what the operator wrote, as the daemon understands it.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use crate::config::{Fault, Settings, schema as settings_schema, sidecar_schema};

/// The exit code of a configuration that can be run.
const GOOD: u8 = 0;
/// The exit code of one that cannot.
const WRONG: u8 = 2;

/// Says everything that is wrong with the configuration, or what every setting is in effect; secrets are never shown.
///
/// The exit code is 0, or 2 for a configuration with faults: those in the file, folders that are none, an unreadable secret.
///
/// # Errors
/// When `out` takes no more.
pub fn check(path: Option<&Path>, json: bool, out: &mut dyn Write) -> io::Result<u8> {
    let loaded = Settings::find(path).and_then(|path| Settings::load(&path));
    let (settings, faults, notes) = match loaded {
        Err(wrong) => (None, wrong.faults, Vec::new()),
        Ok(settings) => {
            let around = settings.look_around();
            (Some(settings), around.faults, around.notes)
        }
    };
    let code = if faults.is_empty() { GOOD } else { WRONG };
    if json {
        let effective = settings.as_ref().map(|settings| {
            let pairs =
                settings.effective().into_iter().map(|(key, value)| (key.to_owned(), Value::from(value)));
            Value::Object(pairs.collect())
        });
        let file = settings.as_ref().map(|settings| settings.source.display().to_string());
        let report = json!({
            "good": faults.is_empty(), "file": file, "faults": faults, "notes": notes, "settings": effective,
        });
        writeln!(out, "{report}")?;
        return Ok(code);
    }
    if let Some(settings) = settings.filter(|_| faults.is_empty()) {
        writeln!(out, "{}: good", settings.source.display())?;
        write_settings(&settings, out)?;
    }
    write_faults(&faults, out)?;
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    Ok(code)
}

fn write_faults(faults: &[Fault], out: &mut dyn Write) -> io::Result<()> {
    for fault in faults {
        writeln!(out, "{fault}")?;
    }
    match faults.len() {
        0 => Ok(()),
        1 => writeln!(out, "1 fault"),
        several => writeln!(out, "{several} faults"),
    }
}

fn write_settings(settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let defaults = defaults_beside(settings);
    let lines = settings.effective();
    let key_chars = lines.iter().map(|(key, _)| key.chars().count()).max().unwrap_or_default();
    for (key, value) in lines {
        let default = if defaults.contains(&(key, value.clone())) { "  (default)" } else { "" };
        writeln!(out, "  {key:key_chars$}  {value}{default}")?;
    }
    Ok(())
}

/// What would be in effect if only the folders that must be named were named.
fn defaults_beside(settings: &Settings) -> Vec<(&'static str, String)> {
    let least = json!({"dropbox": settings.dropbox, "lakehouse": settings.lakehouse}).to_string();
    let mut defaults = Settings::parse(&settings.source, least.as_bytes())
        .map(|least| least.effective())
        .unwrap_or_default();
    defaults.retain(|(key, _)| !matches!(*key, "dropbox" | "lakehouse"));
    defaults
}

/// What a JSON Schema is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum SchemaOf {
    /// `config.json`.
    #[default]
    Config,
    /// The sidecar of one workbook.
    Sidecar,
}

/// Prints a JSON Schema, for editors and for reading.
///
/// # Errors
/// When `out` takes no more.
pub fn schema(of: SchemaOf, out: &mut dyn Write) -> io::Result<u8> {
    let schema = match of {
        SchemaOf::Config => settings_schema(),
        SchemaOf::Sidecar => sidecar_schema(),
    };
    writeln!(out, "{schema:#}")?;
    Ok(GOOD)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn checked(text: &str, json: bool) -> (u8, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let code = check(Some(&path), json, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap().replace(dir.path().to_str().unwrap(), "DIR");
        (code, text)
    }

    #[test]
    fn every_fault_is_printed_and_the_exit_code_says_so() {
        let (code, text) = checked("{\n \"dropbox\": 1,\n \"lakehouse\": \"l\", \"bach_size\": 1}", false);
        assert_eq!(code, 2);
        assert_eq!(
            text,
            "DIR/config.json: line 2, column 13: `dropbox`: expected a text, found `1`\n\
             DIR/config.json: line 3, column 20: unknown key `bach_size`; did you mean `batch_size`?\n2 faults\n"
        );
        let (code, text) = checked("{\"dropbox\": 1, \"lakehouse\": \"l\"}", true);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &report["good"]), (2, &Value::from(false)));
        let wanted = json!({
            "file": "DIR/config.json", "line": 1, "column": 13, "path": "$.dropbox", "expected": "a text", "found": "`1`",
            "message": "`dropbox`: expected a text, found `1`",
        });
        assert_eq!(report["faults"], json!([wanted]));
    }

    #[test]
    fn a_good_configuration_is_shown_in_effect_with_its_defaults_marked() {
        let (code, text) = checked(r#"{"dropbox": "d", "lakehouse": "l", "batch_size": 7}"#, false);
        assert_eq!(code, 0, "{text}");
        assert!(text.starts_with("DIR/config.json: good\n"), "{text}");
        let line =
            |key: &str| text.lines().find(|line| line.trim_start().starts_with(key)).unwrap().to_owned();
        assert!(line("batch_size").ends_with("  7"), "{text}");
        assert!(line("settle_ms").ends_with("2000  (default)"), "{text}");
        assert!(line("dropbox").ends_with("DIR/d"), "{text}");
        assert!(text.contains("note: `dropbox`: `DIR/d` is not there yet\n"), "{text}");
    }

    #[test]
    fn every_key_of_the_schema_is_among_the_effective_settings() {
        // A setting that is added to the file but not to the summary would be invisible to the operator.
        let path = Path::new("/srv/config.json");
        let text = r#"{"dropbox": "d", "lakehouse": "l"}"#;
        let shown = Settings::parse(path, text.as_bytes()).unwrap().effective();
        let schema = settings_schema();
        let mut keys: Vec<String> = schema["properties"].as_object().unwrap().keys().cloned().collect();
        keys.retain(|key| !matches!(key.as_str(), "$schema" | "target" | "limits"));
        let limits = schema["$defs"]["Limits"]["properties"].as_object().unwrap();
        keys.extend(limits.keys().map(|key| format!("limits.{key}")));
        for key in keys {
            assert!(shown.iter().any(|(shown, _)| *shown == key), "{key}");
        }
    }
}
