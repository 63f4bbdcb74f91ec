//! Disturbances on purpose: which requests to disturb, and how.
//!
//! ```json
//! [
//!   { "on": { "entity": "accounts", "request": 3 }, "answer": { "cut": "after" } },
//!   { "on": { "kind": "batch", "every": 10 }, "answer": { "status": 429, "retry_after": "2" } },
//!   { "on": { "kind": "token", "request": 1 }, "answer": { "status": 503, "html": true, "delay_ms": 50 } },
//!   { "on": { "kind": "operation", "entity": "accounts", "request": 7 }, "answer": { "code": "0x80044150" } },
//!   { "on": { "kind": "operation", "column": "name", "value": "bad" }, "answer": { "code": "0x80040265" } }
//! ]
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::known;

/// Longest delay of one answer in milliseconds.
pub const DELAY_MS_MAX: u64 = 600_000;

/// One rule: disturb these requests in this way. The first rule that fires wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawFault")]
pub struct Fault {
    /// Which requests.
    pub on: FaultTrigger,
    /// What happens to them.
    pub answer: FaultAnswer,
}

/// A rule as a script spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    on: FaultTrigger,
    answer: FaultAnswer,
}

impl TryFrom<RawFault> for Fault {
    type Error = String;

    fn try_from(RawFault { on, answer }: RawFault) -> Result<Self, Self::Error> {
        let single = on.kind == RequestKind::Operation;
        if !single && (on.column.is_some() || on.value.is_some() || on.sticky) {
            return Err("`column`, `value` and `sticky` need `kind` to be `operation`".to_owned());
        }
        if on.value.is_some() && on.column.is_none() {
            return Err("`value` needs a `column`".to_owned());
        }
        if on.probability.is_some_and(|probability| !(0.0..=1.0).contains(&probability)) {
            return Err("`probability` is from 0 to 1".to_owned());
        }
        let plain = matches!(&answer.then, Disturbance::Status { retry_after: None, html: false, .. });
        if single && !(plain && answer.delay.is_zero()) {
            return Err("an operation is answered with `status`, `code` and `message` alone".to_owned());
        }
        Ok(Fault { on, answer })
    }
}

/// Which requests a rule disturbs. Only requests that match `kind`, `entity`, `column` and `value` are counted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaultTrigger {
    /// What kind of request.
    pub kind: RequestKind,
    /// The entity set that is addressed; for a batch, by any of its operations. `None` is every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// Only operations whose body has this property.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Only operations where that property has this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
    /// Only the request, or operation, with this number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// Only each request whose number divides by this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// At most so many times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How likely a match is disturbed, from 0 to 1; the same matches again with the same `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Where the chances begin.
    #[serde(skip_serializing_if = "is_zero")]
    pub seed: u64,
    /// An operation that was refused is refused again when the same row comes again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sticky: bool,
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
    /// The write of one record, whether it comes alone, in a batch, in a change set or in a bulk action.
    Operation,
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
        /// The `Retry-After` header as it stands; `date+5` is the HTTP date five seconds from now.
        retry_after: Option<String>,
        /// A gateway's HTML page in place of the OData error.
        html: bool,
    },
    /// The connection is cut.
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
    /// Everything was carried out and committed, and half of the answer's body was sent.
    During,
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
    /// The file is neither a list of rules nor a script.
    #[error("the fault script `{path}` cannot be used: {source}")]
    Malformed {
        /// The file.
        path: std::path::PathBuf,
        /// Line, column and what is wrong there.
        #[source]
        source: serde_json::Error,
    },
}

impl Fault {
    /// The batch with this number is cut, before or after it was carried out.
    pub fn cut_batch(number: u64, cut: Cut) -> Self {
        let on = FaultTrigger { request: Some(number), ..FaultTrigger::default() };
        Fault { on, answer: FaultAnswer { delay: Duration::ZERO, then: Disturbance::Cut(cut) } }
    }

    /// The batch with this number is refused with this status, and so many seconds to wait where there is a number.
    pub fn refuse_batch(number: u64, status: u16, retry_after: Option<&str>) -> Self {
        let on = FaultTrigger { request: Some(number), ..FaultTrigger::default() };
        let mut answer = FaultAnswer::status(status);
        if let Disturbance::Status { retry_after: wait, .. } = &mut answer.then {
            *wait = retry_after.map(str::to_owned);
        }
        Fault { on, answer }
    }
}

impl FaultAnswer {
    /// A refusal with this status and its usual code and text.
    pub fn status(status: u16) -> Self {
        let (code, message, retry_after) = (None, None, None);
        let then = Disturbance::Status { status, code, message, retry_after, html: false };
        FaultAnswer { delay: Duration::ZERO, then }
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
        // A known code brings its status along.
        let usual = raw.code.as_deref().filter(|_| raw.cut.is_none()).and_then(known::by_code);
        let status = raw.status.or(usual.map(|known| known.status));
        let then = match (status, raw.cut) {
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
                return Err("`code`, `message`, `retry_after` and `html` need a `status`, or a `code` that is known to \
                            have one"
                    .to_owned());
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
            r#"{"on":{},"answer":{"code":"0x80099999"}}"#,
            r#"{"on":{"column":"name"},"answer":{"status":400}}"#,
            r#"{"on":{"kind":"operation","value":1},"answer":{"status":400}}"#,
            r#"{"on":{"kind":"operation"},"answer":{"cut":"after"}}"#,
            r#"{"on":{"kind":"operation"},"answer":{"status":429,"retry_after":"2"}}"#,
            r#"{"on":{"kind":"operation"},"answer":{"status":400,"delay_ms":5}}"#,
            r#"{"on":{"probability":1.5},"answer":{"status":503}}"#,
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
            rule(r#"{"on":{"kind":"operation","column":"name","value":"x","sticky":true},"answer":{"status":400,"code":"0x80040265"}}"#)
                .unwrap(),
            rule(r#"{"on":{"probability":0.25,"seed":3},"answer":{"cut":"during"}}"#).unwrap(),
        ] {
            assert_eq!(rule(&serde_json::to_string(&fault).unwrap()).unwrap(), fault);
        }
    }
}
