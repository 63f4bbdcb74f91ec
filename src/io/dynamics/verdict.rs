//! What an answer that says "no" means, who must act, and whether trying again can help: by code, then by text, then by
//! status.
//!
//! Codes are compared as numbers: the service writes them in hexadecimal of either case, its SDKs as signed decimals, and
//! its messages in the caller's language. Source: dynamics.md §2.8, §7.

mod codes;
mod tokens;

use std::time::Duration;

use serde_json::Value as Json;

pub(in crate::io::dynamics) use self::codes::{CHANGE_KEY, Rule, TAKEN, again, by_text, data, mapping, rule};
use self::codes::{by_code, by_status};
pub(super) use self::tokens::token_refusal;
use super::finops::infolog::Infolog;
use crate::domain::refusal::{Refusal, Severity};

/// Longest message that is carried along, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// What to do about a "no".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Try again.
    Transient(Setback),
    /// Another record is in the way.
    Conflict,
    /// The record to change, or one it refers to, is not there.
    Missing,
    /// The row's values are at fault.
    Data,
    /// The entity, a column or the address is at fault; no row can be written.
    Mapping,
    /// Access, credentials or the environment are at fault; nothing can be written until the operator acts.
    Access,
    /// The request is too large; smaller ones may do.
    TooLarge,
}

/// Why trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// Too many requests in the window.
    RequestLimit,
    /// Too much execution time in the window; smaller batches help.
    TimeLimit,
    /// Too many requests at once.
    ConcurrencyLimit,
    /// The server or its database is busy, or a gateway gave up.
    Busy,
    /// Two writers locked each other out.
    Deadlock,
    /// The database took too long; smaller batches help.
    DatabaseTimeout,
    /// A plug-in took too long or could not start.
    PlugIn,
    /// Something failed that may or may not fail again.
    Unexpected,
    /// Somebody else changed the record at the same moment.
    Contended,
    /// The environment is closed for a while: a solution is being imported.
    Closed,
}

impl Setback {
    /// How often one row is tried before it is refused. The service's own troubles are never held against a row; those
    /// that may be the row's are, after a few tries. Source: dynamics.md §7.1.
    pub fn tries_max(self) -> Option<u32> {
        match self {
            Setback::PlugIn | Setback::Unexpected => Some(3),
            Setback::Contended => Some(8),
            Setback::RequestLimit
            | Setback::TimeLimit
            | Setback::ConcurrencyLimit
            | Setback::Busy
            | Setback::Deadlock
            | Setback::DatabaseTimeout
            | Setback::Closed => None,
        }
    }

    /// How long to wait at least, where it is known to last: an import takes minutes (dynamics.md §7.1, "long wait").
    pub fn pause_min(self) -> Option<Duration> {
        (self == Setback::Closed).then_some(Duration::from_secs(60))
    }

    /// Whether it is one of the limits that the service protects itself with. Source: dynamics.md §4.1.
    pub fn is_limit(self) -> bool {
        matches!(self, Setback::RequestLimit | Setback::TimeLimit | Setback::ConcurrencyLimit)
    }

    /// What is said to those who wait for it.
    pub fn in_words(self) -> &'static str {
        match self {
            Setback::RequestLimit => "request limit",
            Setback::TimeLimit => "execution time limit",
            Setback::ConcurrencyLimit => "concurrency limit",
            Setback::Busy => "the service is busy",
            Setback::Deadlock => "two writers locked each other out",
            Setback::DatabaseTimeout => "the database took too long",
            Setback::PlugIn => "a plug-in took too long",
            Setback::Unexpected => "an unexpected error",
            Setback::Contended => "another writer changed the record",
            Setback::Closed => "a solution is being imported",
        }
    }
}

/// What a "no" means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What to do about it.
    pub class: Class,
    /// The HTTP status.
    pub status: u16,
    /// The service's code, where it gave one.
    pub code: Option<u32>,
    /// The service's message, cut to a readable length.
    pub message: String,
    /// Status, code and message, for the operator.
    pub error: String,
    /// What it means, for the operator.
    pub cause: String,
    /// What it means, for the sender.
    pub plain: String,
    /// What the sender can do.
    pub advice: String,
    /// Fields that F&O names, by their technical names and their labels.
    pub fields: Vec<String>,
}

impl Verdict {
    /// How bad it is when it stands in the end.
    pub fn severity(&self) -> Severity {
        match self.class {
            Class::Transient(_) | Class::TooLarge => Severity::Batch,
            Class::Conflict | Class::Missing | Class::Data => Severity::Rows,
            Class::Mapping => Severity::Table,
            Class::Access => Severity::Access,
        }
    }

    /// Whether the application user is at fault, so that another one may be let in. Source: dynamics.md §1.4, §7.5.
    pub fn is_of_the_user(&self) -> bool {
        self.class == Class::Access && self.code.is_none_or(codes::is_of_the_user)
    }

    /// The refusal of a row for this reason; `column` is the staged column at fault, where one is known.
    pub fn refusal(&self, column: Option<String>) -> Refusal {
        Refusal {
            column,
            error: self.error.clone(),
            cause: self.plain.clone(),
            advice: self.advice.clone(),
            missing: None,
        }
    }
}

/// Judges an answer by its status and body.
pub fn judge(status: u16, body: &[u8]) -> Verdict {
    let said = complaint(body);
    let rule = said.code.and_then(|code| by_code(code, &said.message));
    let told = || match &said.infolog {
        Some(infolog) => infolog.rule(),
        None => by_text(&said.message),
    };
    let rule = rule.or_else(told).unwrap_or_else(|| by_status(status));
    verdict(status, said, rule)
}

fn verdict(status: u16, said: Complaint, rule: Rule) -> Verdict {
    let code = said.code.map(|code| format!(" 0x{code:08X}")).unwrap_or_default();
    let name = if rule.name.is_empty() { String::new() } else { format!(" ({})", rule.name) };
    let told = if said.message.is_empty() { String::new() } else { format!(": {}", said.message) };
    Verdict {
        class: rule.class,
        status,
        code: said.code,
        error: format!("{status}{code}{told}"),
        cause: format!("{}{name}", rule.plain),
        plain: format!("{}{told}", rule.plain),
        advice: rule.advice.to_owned(),
        message: said.message,
        fields: said.infolog.map(|infolog| infolog.fields).unwrap_or_default(),
    }
}

/// What the body of an answer says, whichever of its shapes it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Complaint {
    pub(super) code: Option<u32>,
    pub(super) message: String,
    /// What F&O says in its inner error; the message is made of it.
    infolog: Option<Infolog>,
}

impl Complaint {
    /// The message without what follows its first line (trace ids, times).
    pub(super) fn first_line(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

/// Reads OData errors, token errors, `{"Message": …}`, HTML and plain text. Source: dynamics.md §1.3, §2.8, §6.6.
pub(super) fn complaint(body: &[u8]) -> Complaint {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let Ok(json) = serde_json::from_str::<Json>(text) else {
        return Complaint { message: cut(&plain_text(text)), ..Complaint::default() };
    };
    let words = |value: &Json, key: &str| value.get(key).and_then(Json::as_str).map(str::to_owned);
    match json.get("error") {
        Some(error @ Json::Object(_)) => {
            let code = match error.get("code") {
                Some(Json::String(code)) => code_in(code),
                Some(Json::Number(code)) => code_in(&code.to_string()),
                _ => None,
            };
            let outer = match error.get("message") {
                Some(message @ Json::Object(_)) => words(message, "value"),
                _ => words(error, "message"),
            };
            // F&O keeps the cause in the inner error; its outer message is always the same.
            let inner = error.get("innererror").and_then(|inner| words(inner, "message"));
            let infolog = inner.filter(|_| code.is_none() || outer.is_none());
            let infolog = infolog.map(|message| Infolog::read(&message));
            let message = infolog.as_ref().map(Infolog::sentence).or(outer);
            Complaint { code, message: cut(&message.unwrap_or_default()), infolog }
        }
        Some(Json::String(error)) => {
            let described = words(&json, "error_description").unwrap_or_default();
            Complaint { message: cut(&format!("{error}: {described}")), ..Complaint::default() }
        }
        _ => {
            let message = words(&json, "Message").or_else(|| words(&json, "message"));
            Complaint { message: cut(&message.unwrap_or_else(|| text.to_owned())), ..Complaint::default() }
        }
    }
}

/// A code in hexadecimal of either case or as the signed decimal of the SDKs.
fn code_in(text: &str) -> Option<u32> {
    let text = text.trim();
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => {
            let number: i64 = text.parse().ok()?;
            u32::try_from(number).ok().or_else(|| i32::try_from(number).ok().map(i32::cast_unsigned))
        }
    }
}

/// The words of a gateway's HTML page; other text as it is, on one line.
fn plain_text(text: &str) -> String {
    let mut words = String::new();
    let mut in_tag = false;
    let html = text.starts_with('<');
    for c in text.chars() {
        match c {
            '<' if html => in_tag = true,
            '>' if html => {
                in_tag = false;
                words.push(' ');
            }
            _ if in_tag => {}
            c => words.push(c),
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cut(message: &str) -> String {
    let mut cut: String = message.trim().chars().take(MESSAGE_CHARS_MAX).collect();
    if message.trim().chars().nth(MESSAGE_CHARS_MAX).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod catalogue;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
