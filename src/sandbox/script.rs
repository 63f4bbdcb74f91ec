//! The file of `ddu sandbox --faults`: rules alone, or rules with the limits, the voice and the switches of the server.
//!
//! ```json
//! {
//!   "rules": [{ "on": { "kind": "operation", "column": "name", "value": "bad" }, "answer": { "code": "0x80040265" } }],
//!   "protection": { "servers": 2, "window_s": 2, "requests": 100 },
//!   "voice": { "codes": "mixed", "empty_codes": true, "language": "german" }
//! }
//! ```
//!
//! With `finops` the server stands for Finance & Operations, in an environment that differs in these switches:
//!
//! ```json
//! { "finops": { "failure_status": 500, "load": { "share": 0.1, "seed": 7, "retry_after_s": 60 } } }
//! ```

use std::path::Path;

use serde::Deserialize;

use super::faults::{Fault, FaultsError};
use super::finops::{self, FinopsOptions};
use super::protection::Protection;
use super::voice::Voice;

/// What a script says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Which requests to disturb, and how.
    pub rules: Vec<Fault>,
    /// The service protection limits; `None` leaves them off.
    pub protection: Option<Protection>,
    /// How refusals are worded.
    pub voice: Voice,
    /// What the environment is like, in the dialect `finops` alone.
    #[serde(deserialize_with = "finops::checked")]
    pub finops: Option<FinopsOptions>,
}

impl Script {
    /// Reads a file: a list of rules, or an object with `rules`, `protection`, `voice` and `finops`.
    ///
    /// # Errors
    /// When it cannot be read or is neither; line and column are told, unknown keys are refused.
    pub fn read(path: &Path) -> Result<Self, FaultsError> {
        let text = std::fs::read(path)
            .map_err(|source| FaultsError::Unreadable { path: path.to_owned(), source })?;
        Script::parse(&text).map_err(|source| FaultsError::Malformed { path: path.to_owned(), source })
    }

    /// The first character tells which of the two it is, so that a fault is told where it stands.
    fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(&b'[') {
            return Ok(Script { rules: serde_json::from_slice(text)?, ..Script::default() });
        }
        serde_json::from_slice(text)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_a_script_is_told_with_its_line() {
        for (text, line) in [
            ("[\n{\"on\":{\"request\":\"x\"},\"answer\":{\"cut\":\"after\"}}]", 2),
            ("{\n\"rules\":[],\n\"protection\":{\"serverz\":2}}", 3),
            ("{\"voice\":\n{\"codes\":\"loud\"}}", 2),
            ("\n\n7", 3),
        ] {
            assert_eq!(Script::parse(text.as_bytes()).unwrap_err().line(), line, "{text}");
        }
    }

    #[test]
    fn limits_that_mean_nothing_are_refused() {
        for text in [
            r#"{"protection":{"servers":0}}"#,
            r#"{"protection":{"servers":65}}"#,
            r#"{"protection":{"window_s":0}}"#,
            r#"{"protection":{"window_s":-1}}"#,
            r#"{"protection":{"requests":0}}"#,
            r#"{"protection":{"operation_ms":-0.5}}"#,
            r#"{"finops":{"page_rows_max":0}}"#,
            r#"{"finops":{"page_rows_max":10001}}"#,
            r#"{"finops":{"failure_status":404}}"#,
            r#"{"finops":{"default_company":"zzzz"}}"#,
            r#"{"finops":{"load":{"share":1.5}}}"#,
            r#"{"finops":{"failed_batches":{"goes_on":true}}}"#,
        ] {
            assert!(Script::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_and_an_object_say_the_same_rules() {
        let rule = r#"{"on":{"request":3},"answer":{"cut":"after"}}"#;
        let list = Script::parse(format!("[{rule}]").as_bytes()).unwrap();
        let object = Script::parse(format!("{{\"rules\":[{rule}]}}").as_bytes()).unwrap();
        assert_eq!(list, object);
        assert_eq!(list.rules.len(), 1);
    }
}
