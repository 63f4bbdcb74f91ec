//! Disturbances on purpose: which requests to disturb, and how.
//!
//! ```json
//! [
//!   { "on": { "entity": "accounts", "request": 3 }, "answer": { "cut": "after" } },
//!   { "on": { "kind": "batch", "every": 10 }, "answer": { "status": 429, "retry_after": "2" } },
//!   { "on": { "kind": "token", "request": 1 }, "answer": { "status": 503, "html": true, "delay_ms": 50 } }
//! ]
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest delay of one answer in milliseconds.
pub const DELAY_MS_MAX: u64 = 600_000;

/// One rule: disturb these requests in this way. The first rule that fires wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests.
    pub on: FaultTrigger,
    /// What happens to them.
    pub answer: FaultAnswer,
}

/// Which requests a rule disturbs. Only requests that match `kind` and `entity` are counted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultTrigger {
    /// What kind of request.
    pub kind: RequestKind,
    /// The entity set that is addressed; for a batch, by any of its operations. `None` is every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Only the request with this number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Only each request whose number divides by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At most so many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// The kinds of requests that rules tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// `POST $batch`.
    #[default]
    Batch,
    /// A write that is not in a batch.
    Write,
    /// A read of rows or metadata that is not in a batch.
    Read,
    /// A request for a token.
    Token,
    /// Any of these.
    Any,
}

/// What happens to a request. The parts can be combined with `delay_ms`; `status` and `cut` exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "RawAnswer", into = "RawAnswer")]
pub struct FaultAnswer {
    /// How long the request waits before anything else happens.
    pub delay: Duration,
    /// What happens then.
    pub then: Disturbance,
}

/// What happens to a disturbed request after its delay.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Disturbance {
    /// It is answered as if there were no rule.
    #[default]
    Nothing,
    /// It is answered with this and not carried out.
    Status {
        /// The HTTP status.
        status: u16,
        /// `error.code`; where it is `None` the code that goes with the status.
        code: Option<String>,
        /// `error.message`; where it is `None` the documented text of the code.
        message: Option<String>,
        /// The `Retry-After` header as it stands.
        retry_after: Option<String>,
        /// A gateway's HTML page in place of the OData error.
        html: bool,
    },
    /// The connection is cut without a byte of an answer.
    Cut(Cut),
}

/// When a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Nothing was carried out.
    Before,
    /// Everything was carried out and committed.
    After,
}

/// A fault script that cannot be used. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum FaultsError {
    /// The file cannot be read.
    #[error("the fault script `{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a list of rules.
    #[error("the fault script `{path}` is not a list of rules: {source}")]
    Malformed {
        /// The file.
        path: std::path::PathBuf,
        /// Line, column and what is wrong there.
        #[source]
        source: serde_json::Error,
    },
}

impl Fault {
    /// The rules in a file.
    ///
    /// # Errors
    /// When it cannot be read or is not a JSON list of rules; unknown keys are refused.
    pub fn read_all(path: &Path) -> Result<Vec<Fault>, FaultsError> {
        let text = std::fs::read(path)
            .map_err(|source| FaultsError::Unreadable { path: path.to_owned(), source })?;
        serde_json::from_slice(&text)
            .map_err(|source| FaultsError::Malformed { path: path.to_owned(), source })
    }

    /// The batch with this number is cut, before or after it was carried out.
    pub fn cut_batch(number: u64, cut: Cut) -> Self {
        let on = FaultTrigger { request: Some(number), ..FaultTrigger::default() };
        Fault { on, answer: FaultAnswer { delay: Duration::ZERO, then: Disturbance::Cut(cut) } }
    }

    /// The batch with this number is refused with this status, and so many seconds to wait where there is a number.
    pub fn refuse_batch(number: u64, status: u16, retry_after: Option<&str>) -> Self {
        let on = FaultTrigger { request: Some(number), ..FaultTrigger::default() };
        let then = Disturbance::Status {
            status,
            code: None,
            message: None,
            retry_after: retry_after.map(str::to_owned),
            html: false,
        };
        Fault { on, answer: FaultAnswer { delay: Duration::ZERO, then } }
    }
}

/// The answer as a script spells it.
#[derive(Default, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAnswer {
    #[serde(skip_serializing_if = "is_zero")]
    delay_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    html: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<Cut>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TryFrom<RawAnswer> for FaultAnswer {
    type Error = String;

    fn try_from(raw: RawAnswer) -> Result<Self, Self::Error> {
        if raw.delay_ms > DELAY_MS_MAX {
            return Err(format!("`delay_ms` is at most {DELAY_MS_MAX}"));
        }
        let worded = raw.code.is_some() || raw.message.is_some() || raw.retry_after.is_some() || raw.html;
        let then = match (raw.status, raw.cut) {
            (Some(_), Some(_)) => return Err("`status` and `cut` exclude each other".to_owned()),
            (Some(status @ 400..=599), None) => Disturbance::Status {
                status,
                code: raw.code,
                message: raw.message,
                retry_after: raw.retry_after,
                html: raw.html,
            },
            (Some(status), None) => {
                return Err(format!("`status` is from 400 to 599, not {status}"));
            }
            (None, _) if worded => {
                return Err("`code`, `message`, `retry_after` and `html` need a `status`".to_owned());
            }
            (None, Some(cut)) => Disturbance::Cut(cut),
            (None, None) if raw.delay_ms == 0 => {
                return Err("an answer has a `status`, a `cut` or a `delay_ms`".to_owned());
            }
            (None, None) => Disturbance::Nothing,
        };
        Ok(FaultAnswer { delay: Duration::from_millis(raw.delay_ms), then })
    }
}

impl From<FaultAnswer> for RawAnswer {
    fn from(answer: FaultAnswer) -> Self {
        let delay_ms = u64::try_from(answer.delay.as_millis()).unwrap_or(DELAY_MS_MAX);
        let raw = RawAnswer { delay_ms, ..RawAnswer::default() };
        match answer.then {
            Disturbance::Nothing => raw,
            Disturbance::Cut(cut) => RawAnswer { cut: Some(cut), ..raw },
            Disturbance::Status { status, code, message, retry_after, html } => {
                RawAnswer { status: Some(status), code, message, retry_after, html, ..raw }
            }
        }
    }
}

/// The rules of a running server with what they counted.
pub(super) struct Faults {
    rules: Vec<(Fault, AtomicU64, AtomicU64)>,
}

impl Faults {
    /// These rules, nothing counted yet.
    pub(super) fn new(rules: Vec<Fault>) -> Self {
        let counted = |rule| (rule, AtomicU64::new(0), AtomicU64::new(0));
        Faults { rules: rules.into_iter().map(counted).collect() }
    }

    /// What happens to this request; counts it for every rule that it matches.
    pub(super) fn strike<'e>(
        &self,
        kind: RequestKind,
        entities: impl Iterator<Item = &'e str> + Clone,
    ) -> FaultAnswer {
        let mut struck = None;
        for (rule, seen, fired) in &self.rules {
            let kind_matches = rule.on.kind == RequestKind::Any || rule.on.kind == kind;
            let entity = rule.on.entity.as_deref();
            if !kind_matches || !entity.is_none_or(|entity| entities.clone().any(|name| name == entity)) {
                continue;
            }
            let number = seen.fetch_add(1, Ordering::SeqCst) + 1;
            let due = rule.on.request.is_none_or(|wanted| wanted == number)
                && rule.on.every.is_none_or(|every| every > 0 && number % every == 0);
            if !due || struck.is_some() {
                continue;
            }
            if rule.on.times.is_none_or(|times| fired.fetch_add(1, Ordering::SeqCst) < times) {
                struck = Some(rule.answer.clone());
            }
        }
        struck.unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rule(json: &str) -> Result<Fault, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn a_script_that_says_nothing_or_two_things_is_refused() {
        for json in [
            r#"{"on":{},"answer":{}}"#,
            r#"{"on":{},"answer":{"status":503,"cut":"after"}}"#,
            r#"{"on":{},"answer":{"status":200}}"#,
            r#"{"on":{},"answer":{"retry_after":"2"}}"#,
            r#"{"on":{},"answer":{"cut":"sometimes"}}"#,
            r#"{"on":{"entitty":"accounts"},"answer":{"cut":"after"}}"#,
        ] {
            assert!(rule(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_rule_survives_writing_and_reading() {
        for fault in [
            Fault::cut_batch(3, Cut::After),
            Fault::refuse_batch(1, 429, Some("2")),
            rule(r#"{"on":{"kind":"any","every":2,"times":1},"answer":{"delay_ms":5}}"#).unwrap(),
        ] {
            assert_eq!(rule(&serde_json::to_string(&fault).unwrap()).unwrap(), fault);
        }
    }

    #[test]
    fn only_matching_requests_are_counted() {
        let faults = Faults::new(vec![
            rule(r#"{"on":{"entity":"accounts","request":2},"answer":{"cut":"before"}}"#).unwrap(),
        ]);
        let strike = |kind, entity: &'static str| faults.strike(kind, [entity].into_iter()).then;
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Batch, "contacts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Write, "accounts"), Disturbance::Nothing);
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Cut(Cut::Before));
        assert_eq!(strike(RequestKind::Batch, "accounts"), Disturbance::Nothing);
    }
}
