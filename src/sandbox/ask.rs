//! One request and its answer, whether it came alone or inside a batch.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::Method;
use bytes::Bytes;
use percent_encoding::percent_decode_str;

use super::error::ApiError;

/// Longest URL of a single request in bytes. Source: dynamics.md §3.1.
pub(super) const URL_BYTES_MAX: usize = 32_768;
/// Longest URL of a request inside a batch in bytes. Source: dynamics.md §3.1.
pub(super) const BATCHED_URL_BYTES_MAX: usize = 65_536;

/// A request to the Web API.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    /// The path below `/api/data/v9.x/`, still percent-encoded.
    pub(super) path: String,
    pub(super) query: Query,
    pub(super) if_match: Option<Condition>,
    pub(super) if_none_match: Option<Condition>,
    pub(super) prefer: Prefer,
    pub(super) body: Bytes,
    /// The address of the environment, `http://127.0.0.1:8080`.
    pub(super) org: Arc<str>,
    /// The client id that the request's token was given to.
    pub(super) caller: Arc<str>,
    /// How many expansions this one is nested in.
    pub(super) depth: usize,
    /// Records made earlier in the same change set, by Content-ID: `accounts(…)`.
    pub(super) references: Arc<HashMap<String, String>>,
}

/// `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// `*`
    Any,
    /// `W/"n"`
    Version(i64),
    /// An ETag of another form. Only Finance & Operations has such.
    Other(String),
}

/// What `Prefer` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Prefer {
    pub(super) representation: bool,
    pub(super) annotations: bool,
    pub(super) continue_on_error: bool,
    pub(super) page_rows_max: Option<u32>,
}

/// The options of a query string, decoded.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    options: Vec<(String, String)>,
}

/// An answer before the headers that every answer carries.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Vec<u8>,
    /// The record that was written, `accounts(<guid>)`: what its Content-ID stands for in a change set.
    pub(super) record: Option<String>,
    /// Whether only half of the body is sent.
    pub(super) torn: bool,
    /// Whether a refusal keeps its words, whatever the server's voice.
    pub(super) verbatim: bool,
}

/// The type of JSON answers.
pub(super) const JSON: &str = "application/json; odata.metadata=minimal";

impl Ask {
    /// The request with this target and these headers.
    ///
    /// `target` is what stands below the API's root: path and query. `header` finds a header by its lower-case name.
    pub(super) fn new<'h>(
        method: Method,
        target: &str,
        header: impl Fn(&str) -> Option<&'h str>,
        body: Bytes,
        org: Arc<str>,
    ) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ask {
            method,
            path: path.to_owned(),
            query: Query::parse(query),
            if_match: header("if-match").and_then(Condition::parse),
            if_none_match: header("if-none-match").and_then(Condition::parse),
            prefer: header("prefer").map(Prefer::parse).unwrap_or_default(),
            body,
            org,
            caller: Arc::default(),
            depth: 0,
            references: Arc::default(),
        }
    }

    /// The same request without conditions and without the wish to see what was stored.
    pub(super) fn unconditional(&self) -> Self {
        let prefer = Prefer { representation: false, ..self.prefer };
        Ask { if_match: None, if_none_match: None, prefer, ..self.clone() }
    }

    /// The address under which the API's resources stand.
    pub(super) fn root(&self) -> String {
        format!("{}/api/data/v9.2/", self.org)
    }
}

/// What stands below the API's root, for `/api/data/v9.2/accounts`; `None` when the path is another one.
pub(super) fn below_root(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("/api/data/v9.")?;
    let (version, rest) = rest.split_once('/').unwrap_or((rest, ""));
    (version.len() == 1 && version.as_bytes()[0].is_ascii_digit()).then_some(rest)
}

impl Condition {
    /// Clients send `If-None-Match: null` on every request, which means nothing (dynamics.md §2.1).
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" | "null" => None,
            "*" => Some(Condition::Any),
            etag => {
                let version = etag
                    .strip_prefix("W/\"")
                    .and_then(|rest| rest.strip_suffix('"'))
                    .and_then(|version| version.parse().ok());
                Some(version.map_or_else(|| Condition::Other(etag.to_owned()), Condition::Version))
            }
        }
    }
}

impl Prefer {
    pub(super) fn parse(text: &str) -> Self {
        let mut prefer = Prefer::default();
        for preference in text.split(',').map(str::trim) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "return" => prefer.representation = value == "representation",
                "odata.include-annotations" => prefer.annotations = value != "-*",
                "odata.continue-on-error" | "continue-on-error" => {
                    prefer.continue_on_error = value != "false"
                }
                "odata.maxpagesize" | "maxpagesize" => {
                    prefer.page_rows_max = value.parse().ok().filter(|&rows| rows > 0)
                }
                _ => {}
            }
        }
        prefer
    }
}

impl Query {
    /// The options of `a=b&c=d`; `+` is a blank, as ASP.NET reads it.
    pub(super) fn parse(text: &str) -> Self {
        let options = text
            .split('&')
            .filter(|option| !option.is_empty())
            .map(|option| {
                let (name, value) = option.split_once('=').unwrap_or((option, ""));
                (decode_form(name), decode_form(value))
            })
            .collect();
        Query { options }
    }

    /// Other options with the same values behind `@name`.
    pub(super) fn nested(&self, mut options: Vec<(String, String)>) -> Self {
        options.extend(self.options.iter().filter(|(name, _)| name.starts_with('@')).cloned());
        Query { options }
    }

    /// The option with this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(option, _)| option == name).map(|(_, value)| value.as_str())
    }

    /// The values behind `@name` in filters.
    pub(super) fn aliases(&self) -> HashMap<String, String> {
        let alias = |(name, value): &(String, String)| {
            name.strip_prefix('@').map(|name| (name.to_owned(), value.clone()))
        };
        self.options.iter().filter_map(alias).collect()
    }

    /// Refuses options with `$` that are not in `known`, as the service does, rather than answering another question.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        for (name, _) in self.options.iter().filter(|(name, _)| name.starts_with('$')) {
            if !known.contains(&name.as_str()) {
                return Err(match name.as_str() {
                    "$expand" | "$apply" | "$search" | "$filter" | "$orderby" | "$top" | "$count"
                    | "$select" | "$skiptoken" => ApiError::not_played(&format!("{name} here")),
                    _ => ApiError::query_syntax(format!("The query parameter {name} is not supported.")),
                });
            }
        }
        Ok(())
    }
}

fn decode_form(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

impl Answer {
    /// An answer without a body.
    pub(super) fn empty(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            content_type: None,
            body: Vec::new(),
            record: None,
            torn: false,
            verbatim: false,
        }
    }

    /// An answer with a JSON body.
    pub(super) fn json(status: u16, body: Vec<u8>) -> Self {
        Answer { content_type: Some(JSON), body, ..Answer::empty(status) }
    }

    /// The answer that carries a refusal.
    pub(super) fn refusal(error: &ApiError, prefer: Prefer) -> Self {
        Answer::json(error.status, error.to_json(prefer.annotations))
    }

    /// The answer with one more header.
    pub(super) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Whether it tells of success.
    pub(super) fn succeeded(&self) -> bool {
        self.status < 400
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_nine_paths_belong_to_the_api() {
        assert_eq!(below_root("/api/data/v9.2/accounts"), Some("accounts"));
        assert_eq!(below_root("/api/data/v9.0/"), Some(""));
        for path in ["/api/data/v8.2/accounts", "/api/data/v9.22/x", "/api/v9.2/accounts", "/"] {
            assert_eq!(below_root(path), None, "{path}");
        }
    }

    #[test]
    fn preferences_are_read_one_by_one() {
        let prefer =
            Prefer::parse("odata.maxpagesize=50,return=representation, odata.include-annotations=\"*\"");
        let wanted = Prefer {
            representation: true,
            annotations: true,
            continue_on_error: false,
            page_rows_max: Some(50),
        };
        assert_eq!(prefer, wanted);
        assert!(Prefer::parse("odata.continue-on-error").continue_on_error);
    }

    #[test]
    fn a_condition_of_null_is_no_condition() {
        assert_eq!(Condition::parse("null"), None);
        assert_eq!(Condition::parse("*"), Some(Condition::Any));
        assert_eq!(Condition::parse("W/\"12\""), Some(Condition::Version(12)));
        assert_eq!(Condition::parse("\"12\""), Some(Condition::Other("\"12\"".to_owned())));
    }
}
