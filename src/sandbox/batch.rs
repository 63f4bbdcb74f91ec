//! `$batch`: multipart in, operations in order, multipart out. Source: dynamics.md §3.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use uuid::Uuid;

use super::ask::{Answer, Ask, BATCHED_URL_BYTES_MAX, Prefer};
use super::draft::unknown_reference;
use super::error::ApiError;
use super::service::Service;
use super::store::Session;
use super::voice::Voice;

/// Headers of one part.
const PART_HEADERS_MAX: usize = 64;

/// In what the batches of the two products differ.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRules {
    /// Operations in one batch.
    pub(super) operations_max: usize,
    /// Which operations of change sets have a Content-ID of their own.
    pub(super) content_ids: ContentIds,
    /// Whether a batch goes on after a failure without being asked to.
    pub(super) continue_on_error: bool,
    /// Whether the first failure's status is also that of a batch that went on after it.
    pub(super) failure_shows: bool,
    /// Which operation the answer of a failed change set names.
    pub(super) blamed: Blamed,
}

/// Where a Content-ID may not stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentIds {
    /// In the whole batch, and every operation of a change set has one.
    UniqueInBatch,
    /// In one change set, and an operation may be without one.
    UniqueInSet,
}

/// Whose Content-ID the one answer of a failed change set bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blamed {
    /// That of the operation that failed.
    Culprit,
    /// That of the change set's first operation, whichever failed.
    First,
}

/// A batch that has been read and not yet run.
pub(super) struct Batch {
    items: Vec<Item>,
    rules: BatchRules,
}

enum Item {
    Single(Box<Operation>),
    ChangeSet(Vec<Operation>),
}

struct Operation {
    content_id: Option<String>,
    ask: Ask,
}

/// What a batch is answered with.
pub(super) struct BatchAnswer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Vec<u8>,
}

impl Batch {
    /// Reads the whole body; nothing runs when any of it is malformed.
    ///
    /// # Errors
    /// 415 for another type than `multipart/mixed`, 400 for a malformed body, too many operations, and the rules of
    /// change sets: no GET, and Content-IDs as the product wants them.
    pub(super) fn parse(
        content_type: &str,
        body: &Bytes,
        prefer: Prefer,
        org: &Arc<str>,
        caller: &Arc<str>,
        service: &Service,
    ) -> Result<Self, ApiError> {
        let boundary = boundary(content_type).ok_or_else(|| {
            ApiError::new(
                415,
                "0x80060888",
                format!(
                    "A supported MIME type could not be found that matches the content type of the request. None of the \
                     supported type(s) 'multipart/mixed' matches the content type '{content_type}'."
                ),
            )
        })?;
        let mut rules = service.batch_rules();
        rules.continue_on_error |= prefer.continue_on_error;
        let mut reader = Reader { org, caller, service, rules, operations: 0, content_ids: HashSet::new() };
        let items = parts(body, &boundary)?
            .into_iter()
            .map(|part| reader.item(part))
            .collect::<Result<Vec<Item>, ApiError>>()?;
        Ok(Batch { items, rules })
    }

    /// The entity sets that its operations address, with repetitions.
    pub(super) fn entities(&self) -> impl Iterator<Item = &str> + Clone {
        self.operations().map(|operation| {
            let path = &operation.ask.path;
            path.find(['(', '/']).map_or(path.as_str(), |end| &path[..end])
        })
    }

    fn operations(&self) -> impl Iterator<Item = &Operation> + Clone {
        self.items.iter().flat_map(|item| match item {
            Item::Single(operation) => std::slice::from_ref(operation.as_ref()),
            Item::ChangeSet(operations) => operations.as_slice(),
        })
    }

    /// Runs the operations in order, inside the session's transaction.
    ///
    /// Without `odata.continue-on-error` the first failure ends the batch and its status becomes the batch's; what
    /// succeeded before it stays. A failed change set takes back all of its own and answers with the one that failed.
    pub(super) fn run(mut self, session: &mut Session<'_>, service: &Service, voice: Voice) -> BatchAnswer {
        let mut out = Multipart::new("batchresponse", voice);
        let mut status = 200;
        for item in &mut self.items {
            let failed = match item {
                Item::Single(operation) => {
                    let answer = service.respond(session, &operation.ask);
                    out.answer(&answer, None);
                    (!answer.succeeded()).then_some(answer.status)
                }
                Item::ChangeSet(operations) => {
                    run_change_set(session, service, operations, self.rules.blamed, &mut out)
                }
            };
            let Some(failed) = failed else { continue };
            if status == 200 && (self.rules.failure_shows || !self.rules.continue_on_error) {
                status = failed;
            }
            if !self.rules.continue_on_error {
                break;
            }
        }
        let content_type = format!("multipart/mixed; boundary={}", out.boundary);
        BatchAnswer { status, content_type, body: out.finish() }
    }
}

/// Why a change set was taken back.
enum SetFailure {
    Refused { content_id: Option<String>, answer: Answer },
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for SetFailure {
    fn from(error: rusqlite::Error) -> Self {
        SetFailure::Sql(error)
    }
}

/// Runs a change set and writes its part; returns the status of the operation that failed.
fn run_change_set(
    session: &mut Session<'_>,
    service: &Service,
    operations: &mut [Operation],
    blamed: Blamed,
    out: &mut Multipart,
) -> Option<u16> {
    let first = operations.first().and_then(|operation| operation.content_id.clone());
    let outcome = session.all_or_none(|session| {
        let mut answers = Vec::new();
        let mut references = HashMap::new();
        for operation in operations.iter_mut() {
            let content_id = operation.content_id.clone();
            let answer = match refer(&mut operation.ask, &references) {
                Ok(()) => service.respond(session, &operation.ask),
                Err(error) => service.refusal(&error, operation.ask.prefer),
            };
            if !answer.succeeded() {
                let content_id = if blamed == Blamed::First { first } else { content_id };
                return Err(SetFailure::Refused { content_id, answer });
            }
            if let (Some(content_id), Some(record)) = (&content_id, &answer.record) {
                references.insert(content_id.clone(), record.clone());
            }
            answers.push((content_id, answer));
        }
        Ok(answers)
    });
    let (answers, failed) = match outcome {
        Ok(answers) => (answers, None),
        Err(SetFailure::Refused { content_id, answer }) => {
            let status = answer.status;
            (vec![(content_id, answer)], Some(status))
        }
        Err(SetFailure::Sql(error)) => {
            let answer = service.refusal(&ApiError::sql(&error), Prefer::default());
            (vec![(None, answer)], Some(500))
        }
    };
    let mut set = Multipart::new("changesetresponse", out.voice);
    for (content_id, answer) in &answers {
        set.answer(answer, content_id.as_deref());
    }
    out.nested(set);
    failed
}

/// Puts the record in the place of `$1`, in the URL and for the binds of the body.
fn refer(ask: &mut Ask, references: &HashMap<String, String>) -> Result<(), ApiError> {
    if !references.is_empty() {
        ask.references = Arc::new(references.clone());
    }
    if let Some(rest) = ask.path.strip_prefix('$') {
        let end = rest.find('/').unwrap_or(rest.len());
        let content_id = &rest[..end];
        let record = references.get(content_id).ok_or_else(|| unknown_reference(content_id))?;
        ask.path = format!("{record}{}", &rest[end..]);
    }
    Ok(())
}

/// One part: its headers and what follows the blank line.
struct Part {
    headers: Vec<(String, String)>,
    content: Bytes,
}

impl Part {
    fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

struct Reader<'o> {
    org: &'o Arc<str>,
    caller: &'o Arc<str>,
    service: &'o Service,
    rules: BatchRules,
    operations: usize,
    content_ids: HashSet<String>,
}

impl Reader<'_> {
    fn item(&mut self, part: Part) -> Result<Item, ApiError> {
        let content_type = part.header("content-type").unwrap_or_default();
        if content_type.starts_with("application/http") {
            return self.operation(part).map(|operation| Item::Single(Box::new(operation)));
        }
        let Some(inner) = boundary(content_type) else {
            return Err(malformed(&format!("The content type '{content_type}' of a part is not supported.")));
        };
        let mut operations = Vec::new();
        if self.rules.content_ids == ContentIds::UniqueInSet {
            self.content_ids.clear();
        }
        for part in parts(&part.content, &inner)? {
            if part.header("content-type").is_some_and(|inner| inner.starts_with("multipart/")) {
                return Err(malformed("A change set cannot hold another change set or batch."));
            }
            let operation = self.operation(part)?;
            if operation.ask.method == Method::GET {
                return Err(malformed("A query operation cannot be in a change set."));
            }
            match &operation.content_id {
                None if self.rules.content_ids == ContentIds::UniqueInSet => {}
                None => return Err(malformed("Content-ID header not present.")),
                Some(content_id) if !self.content_ids.insert(content_id.clone()) => {
                    return Err(malformed(&format!("The Content-ID '{content_id}' is used twice.")));
                }
                Some(_) => {}
            }
            operations.push(operation);
        }
        Ok(Item::ChangeSet(operations))
    }

    fn operation(&mut self, part: Part) -> Result<Operation, ApiError> {
        self.operations += 1;
        if self.operations > self.rules.operations_max {
            let most = self.rules.operations_max;
            let text = format!("The number of operations in the batch exceeds the maximum of {most}.");
            return Err(malformed(&text));
        }
        let line_end = find(&part.content, b"\r\n").unwrap_or(part.content.len());
        let line = std::str::from_utf8(&part.content[..line_end])
            .map_err(|_| malformed("A request line is not UTF-8."))?;
        let mut words = line.split(' ');
        let (Some(method), Some(url), Some("HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(malformed(&format!("The request line '{line}' is not valid.")));
        };
        if url.len() > BATCHED_URL_BYTES_MAX {
            return Err(malformed("A URL in the batch is too long."));
        }
        let method = match method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PATCH" => Method::PATCH,
            "PUT" => Method::PUT,
            "DELETE" => Method::DELETE,
            _ => return Err(malformed(&format!("The method '{method}' is not supported in a batch."))),
        };
        let target = target(url, self.service);
        if target.starts_with("$batch") {
            return Err(malformed("A batch cannot hold another batch."));
        }
        let after_line = part.content.slice((line_end + 2).min(part.content.len())..);
        let (headers, body) = headers(&after_line)?;
        let content_id =
            part.header("content-id").or_else(|| header(&headers, "content-id")).map(str::to_owned);
        let org = Arc::clone(self.org);
        let caller = Arc::clone(self.caller);
        let ask = Ask { caller, ..Ask::new(method, target, |name| header(&headers, name), body, org) };
        Ok(Operation { content_id, ask })
    }
}

/// What stands below the API's root in an absolute, a rooted or a relative URL.
fn target<'u>(url: &'u str, service: &Service) -> &'u str {
    let rooted = match url.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |slash| &rest[slash..]),
        None => url,
    };
    service.below_root(rooted).unwrap_or(rooted)
}

fn malformed(what: &str) -> ApiError {
    ApiError::new(400, "0x80060888", what)
}

/// The boundary of `multipart/mixed; boundary=…`, quoted or bare.
fn boundary(content_type: &str) -> Option<String> {
    let mut parameters = content_type.split(';').map(str::trim);
    if !parameters.next()?.eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let value = parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim_matches('"'))?;
    (!value.is_empty()).then(|| value.to_owned())
}

/// The parts between the delimiters; lines end in CRLF.
fn parts(body: &Bytes, boundary: &str) -> Result<Vec<Part>, ApiError> {
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    let unfinished = || malformed("The multipart body ends before its last boundary.");
    let mut at = if body.starts_with(&delimiter[2..]) {
        delimiter.len() - 2
    } else {
        find(body, delimiter).ok_or_else(unfinished)? + delimiter.len()
    };
    let mut parts = Vec::new();
    loop {
        let rest = body.slice(at..);
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if !rest.starts_with(b"\r\n") {
            return Err(malformed("A boundary is not followed by a line end."));
        }
        let length = find(&rest, delimiter).ok_or_else(unfinished)?;
        let (headers, content) = headers(&rest.slice(2.min(length)..length))?;
        parts.push(Part { headers, content });
        at += length + delimiter.len();
    }
}

/// The header lines up to the blank line, with lower-case names, and what follows it.
fn headers(block: &Bytes) -> Result<(Vec<(String, String)>, Bytes), ApiError> {
    let mut headers = Vec::new();
    let mut at = 0;
    loop {
        let length = find(&block[at..], b"\r\n").unwrap_or(block.len() - at);
        let line =
            std::str::from_utf8(&block[at..at + length]).map_err(|_| malformed("A header is not UTF-8."))?;
        at = (at + length + 2).min(block.len());
        if line.is_empty() {
            return Ok((headers, block.slice(at..)));
        }
        let (name, value) = line.split_once(':').ok_or_else(|| {
            malformed(&format!(
                "The message header '{line}' is invalid. The header value must be of the format '<header name>: <header \
                 value>'."
            ))
        })?;
        if headers.len() == PART_HEADERS_MAX {
            return Err(malformed("A part has too many headers."));
        }
        headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
    }
}

/// Where `needle`, which starts with CR, stands in `hay`.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + hay[from..].iter().position(|&byte| byte == b'\r')?;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// A multipart body while it is written.
struct Multipart {
    boundary: String,
    body: Vec<u8>,
    voice: Voice,
}

impl Multipart {
    fn new(kind: &str, voice: Voice) -> Self {
        Multipart { boundary: format!("{kind}_{}", Uuid::new_v4()), body: Vec::new(), voice }
    }

    fn line(&mut self, line: &str) {
        self.body.extend_from_slice(line.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    fn delimiter(&mut self) {
        self.body.extend_from_slice(b"--");
        self.body.extend_from_slice(self.boundary.as_bytes());
        self.body.extend_from_slice(b"\r\n");
    }

    fn answer(&mut self, answer: &Answer, content_id: Option<&str>) {
        self.delimiter();
        self.line("Content-Type: application/http");
        self.line("Content-Transfer-Encoding: binary");
        if let Some(content_id) = content_id {
            self.line(&format!("Content-ID: {content_id}"));
        }
        self.line("");
        let reason = StatusCode::from_u16(answer.status).ok().and_then(|status| status.canonical_reason());
        self.line(&format!("HTTP/1.1 {} {}", answer.status, reason.unwrap_or_default()));
        if !answer.succeeded() {
            self.line(&format!("REQ_ID: {}", Uuid::new_v4()));
        }
        if let Some(content_type) = answer.content_type {
            self.line(&format!("Content-Type: {content_type}"));
        }
        self.line("OData-Version: 4.0");
        for (name, value) in &answer.headers {
            self.line(&format!("{name}: {value}"));
        }
        self.line("");
        if answer.succeeded() {
            self.body.extend_from_slice(&answer.body);
        } else {
            let spoken = self.voice.speak(answer.status, answer.body.clone());
            self.body.extend_from_slice(&spoken);
        }
        self.line("");
    }

    fn nested(&mut self, inner: Multipart) {
        self.delimiter();
        self.line(&format!("Content-Type: multipart/mixed; boundary={}", inner.boundary));
        self.line("");
        self.body.extend_from_slice(&inner.finish());
    }

    fn finish(mut self) -> Vec<u8> {
        let end = format!("--{}--", self.boundary);
        self.line(&end);
        self.body
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<Batch, ApiError> {
        let body = Bytes::from(body.replace('\n', "\r\n"));
        let service = Service::Dataverse(Arc::new(crate::sandbox::entities::built_in()));
        let (org, caller) = (Arc::from("http://h"), Arc::from("c"));
        let prefer = Prefer::default();
        Batch::parse("multipart/mixed; boundary=\"b 1\"", &body, prefer, &org, &caller, &service)
    }

    const GET: &str = "--b 1\nContent-Type: application/http\n\nGET accounts HTTP/1.1\n\n\n";

    #[test]
    fn urls_may_be_absolute_rooted_or_relative() {
        for url in
            ["accounts", "/api/data/v9.2/accounts", "https://o.crm.dynamics.com/api/data/v9.1/accounts"]
        {
            let batch = parse(&GET.replace("accounts", url).replace("\n\n\n", "\n\n\n--b 1--")).unwrap();
            assert_eq!(batch.entities().collect::<Vec<_>>(), ["accounts"], "{url}");
        }
    }

    #[test]
    fn a_malformed_batch_is_refused_before_anything_runs() {
        let set = |inner: &str| {
            format!(
                "--b 1\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\
                 Content-Type: application/http\n{inner}\n--c--\n--b 1--"
            )
        };
        for body in [
            "",
            "--b 1\n",
            "--b 1\nContent-Type: application/http\n\nGET accounts HTTP/1.1\n",
            "--b 1\nContent-Type: text/plain\n\nhello\n--b 1--",
            "--b 1\nContent-Type: application/http\n\nGET accounts\n\n\n--b 1--",
            "--b 1\nContent-Type: application/http\n\nPOST $batch HTTP/1.1\n\n\n--b 1--",
            &set("Content-ID: 1\n\nGET accounts HTTP/1.1\n\n"),
            &set("\nPOST accounts HTTP/1.1\n\n{}"),
            &set(
                "Content-ID: 1\n\nPOST accounts HTTP/1.1\n\n{}\n--c\nContent-Type: application/http\nContent-ID: 1\n\nPOST accounts HTTP/1.1\n\n{}",
            ),
        ] {
            assert_eq!(parse(body).map(drop).unwrap_err().status, 400, "{body}");
        }
        assert!(parse(&set("Content-ID: 1\n\nPOST accounts HTTP/1.1\n\n{}")).is_ok());
    }

    #[test]
    fn a_thousand_operations_are_taken_and_one_more_is_not() {
        assert!(parse(&format!("{}--b 1--", GET.repeat(1000))).is_ok());
        let error = parse(&format!("{}--b 1--", GET.repeat(1001))).map(drop).unwrap_err();
        assert!(error.message.contains("1000"), "{}", error.message);
    }
}
