//! The front door: tokens, faults, limits and the headers that every answer carries.
#![expect(clippy::disallowed_methods, reason = "the server has a clock of its own, as the real one has")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::ask::{Answer, Ask, Prefer, URL_BYTES_MAX};
use super::batch::{Batch, BatchAnswer};
use super::error::ApiError;
use super::faults::{Cut, Disturbance, FaultAnswer, RequestKind};
use super::line::Line;
use super::protection::{Servers, TooMuch, http_date};
use super::report;
use super::service::Service;
use super::store::Store;
use super::strike::Faults;
use super::token::Tokens;
use super::voice::Voice;

/// How long a torn answer waits before it breaks off.
const TEAR_AFTER: Duration = Duration::from_millis(20);
/// What a 401 asks for.
const CHALLENGE: &str =
    "Bearer authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"";
/// Largest form at the token endpoint in bytes.
const FORM_BYTES_MAX: usize = 65_536;
/// Requests whose bodies are in memory at once; more wait in their sockets.
const REQUESTS_MAX: usize = 64;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(120);
/// What every request needs.
pub(super) struct Front {
    pub(super) service: Service,
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) faults: Arc<Faults>,
    pub(super) servers: Servers,
    pub(super) dop_hint: u16,
    pub(super) body_bytes_max: usize,
    pub(super) voice: Voice,
    pub(super) admitted: Semaphore,
}

/// How many requests may be in memory at once: at least those that the limits let in, so that it is they who refuse.
pub(super) fn admitted_at_once(servers: &Servers) -> Semaphore {
    Semaphore::new(REQUESTS_MAX + servers.concurrent_max() * 2)
}

/// Who asks, and which web server answers.
struct Visit {
    server: usize,
    caller: Arc<str>,
}

/// Answers any request.
pub(super) async fn answer(
    State(front): State<Arc<Front>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let Ok(_admitted) = front.admitted.acquire().await else {
        return respond(&front, Answer::empty(503), None);
    };
    let path = request.uri().path();
    if path == report::PATH {
        return respond(&front, counted(&front, request.method()), None);
    }
    if path.ends_with("/oauth2/v2.0/token") || path.ends_with("/oauth2/token") {
        let answer = token(&front, &line, request).await;
        return respond(&front, answer, None);
    }
    if front.service.below_root(path).is_none() {
        let answer = front.service.refusal(&ApiError::unknown_segment(path), Prefer::default());
        return respond(&front, answer, None);
    }
    let server = front.servers.pick(text(request.headers(), "cookie"));
    let mut visit = Visit { server, caller: Arc::from("") };
    let answer = api_request(&front, &line, &mut visit, request).await;
    respond(&front, answer, Some(&visit))
}

/// `GET` and `DELETE /sandbox/report`
fn counted(front: &Front, method: &Method) -> Answer {
    match *method {
        Method::GET => {
            let report = report::report(&front.servers, front.faults.struck(), Instant::now());
            Answer::json(200, report.to_string().into_bytes())
        }
        Method::DELETE => {
            front.servers.tally.restart();
            Answer::empty(204)
        }
        _ => Answer::empty(405),
    }
}

async fn token(front: &Front, line: &Line, request: Request) -> Answer {
    if request.method() != Method::POST {
        return Answer::empty(405);
    }
    let fault = front.faults.strike(RequestKind::Token, std::iter::empty());
    if let Some(answer) = disturb(front, &fault, None, line).await {
        return answer;
    }
    match arrived(request.into_body(), FORM_BYTES_MAX).await {
        Ok(form) => cut_after(&fault, line, front.tokens.grant(&form, Timestamp::now())),
        Err(error) => Answer::empty(error.status),
    }
}

async fn api_request(front: &Front, line: &Line, visit: &mut Visit, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let prefer = text(&parts.headers, "prefer").map(Prefer::parse).unwrap_or_default();
    let refused = |error: &ApiError| front.service.refusal(error, prefer);
    let admitted = front.tokens.admit(text(&parts.headers, "authorization"), Timestamp::now());
    match admitted.and_then(|caller| front.service.let_in(caller)) {
        Ok(caller) => visit.caller = Arc::from(caller),
        Err(error) => return refused(&error).with("WWW-Authenticate", CHALLENGE.to_owned()),
    }
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > URL_BYTES_MAX {
        return refused(&ApiError::new(414, "0x80060888", "The request URL is too long."));
    }
    let target = front.service.below_root(target).unwrap_or_default();
    let body = match arrived(body, front.body_bytes_max).await {
        Ok(body) => body,
        Err(error) => return refused(&error),
    };
    if let Some(answer) = front.service.overloaded() {
        return answer;
    }
    let mut seat = match front.servers.enter(visit.server, &visit.caller, Instant::now()).await {
        Ok(seat) => seat,
        Err(TooMuch { limit, wait }) => {
            let (code, message) = front.servers.words(limit);
            let answer = refused(&ApiError::new(429, code, message));
            return match front.servers.retry_after(wait, Timestamp::now()) {
                Some(text) => answer.with("Retry-After", text),
                None => answer,
            };
        }
    };
    seat.begin(Instant::now());
    let Worked { answer, operations } = work(front, line, &parts, target, body, &visit.caller).await;
    seat.work(operations).await;
    let latency = seat.latency();
    drop(seat);
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    answer
}

/// An answer, and how many operations it took.
struct Worked {
    answer: Answer,
    operations: u64,
}

impl From<Answer> for Worked {
    /// What was refused before it was carried out counts as one operation.
    fn from(answer: Answer) -> Self {
        Worked { answer, operations: 1 }
    }
}

/// Carries out a request that was let in.
async fn work(
    front: &Front,
    line: &Line,
    parts: &Parts,
    target: &str,
    body: Bytes,
    caller: &Arc<str>,
) -> Worked {
    let prefer = text(&parts.headers, "prefer").map(Prefer::parse).unwrap_or_default();
    let refused = |error: &ApiError| Worked::from(front.service.refusal(error, prefer));
    let host = text(&parts.headers, "host").unwrap_or("localhost");
    let org: Arc<str> = Arc::from(format!("http://{host}"));
    if target == "$batch" || target.starts_with("$batch?") {
        if parts.method != Method::POST {
            return refused(&ApiError::method_not_allowed(parts.method.as_str(), "$batch"));
        }
        return batch(front, line, &parts.headers, body, (org, Arc::clone(caller))).await;
    }
    let ask = Ask::new(parts.method.clone(), target, |name| text(&parts.headers, name), body, org);
    let ask = Ask { caller: Arc::clone(caller), ..ask };
    single(front, line, ask).await
}

async fn batch(
    front: &Front,
    line: &Line,
    headers: &HeaderMap,
    body: Bytes,
    (org, caller): (Arc<str>, Arc<str>),
) -> Worked {
    let prefer = text(headers, "prefer").map(Prefer::parse).unwrap_or_default();
    let content_type = text(headers, "content-type").unwrap_or_default().to_owned();
    // Reading a large batch takes milliseconds: not on an async thread.
    let service = front.service.clone();
    let read = tokio::task::spawn_blocking(move || {
        Batch::parse(&content_type, &body, prefer, &org, &caller, &service)
    });
    let read = read.await;
    let batch = match read {
        Ok(Ok(batch)) => batch,
        Ok(Err(error)) => return front.service.refusal(&error, prefer).into(),
        Err(error) => {
            tracing::error!(%error, "the reader of batches failed");
            let error = ApiError::new(500, "0x80040216", "An unexpected error occurred.");
            return front.service.refusal(&error, prefer).into();
        }
    };
    let fault = front.faults.strike(RequestKind::Batch, batch.entities());
    let addressed = batch.entities().next().map(str::to_owned);
    if let Some(answer) = disturb(front, &fault, addressed.as_deref(), line).await {
        return answer.into();
    }
    let (voice, service) = (front.voice, front.service.clone());
    let ran = front.store.run(move |session| {
        let ready = service.make_ready(session, batch.entities());
        let answer = ready.and_then(|()| session.write(|session| batch.run(session, &service, voice)));
        (answer, session.take_operations())
    });
    let (answer, operations) = match ran.await {
        Ok((Ok(BatchAnswer { status, content_type, body }), operations)) => {
            (Answer { body, ..Answer::empty(status) }.with("Content-Type", content_type), operations)
        }
        Ok((Err(error), operations)) => (front.service.refusal(&ApiError::sql(&error), prefer), operations),
        Err(_) => (Answer::empty(503), 0),
    };
    Worked { answer: cut_after(&fault, line, answer), operations }
}

async fn single(front: &Front, line: &Line, ask: Ask) -> Worked {
    let prefer = ask.prefer;
    let reads = ask.method == Method::GET;
    let kind = if reads { RequestKind::Read } else { RequestKind::Write };
    let entity = ask.path.split(['(', '/']).next().unwrap_or_default();
    let fault = front.faults.strike(kind, std::iter::once(entity));
    if let Some(answer) = disturb(front, &fault, Some(entity), line).await {
        return answer.into();
    }
    if let Some(answer) = front.service.described(&ask) {
        return cut_after(&fault, line, answer).into();
    }
    let service = front.service.clone();
    let ran = front.store.run(move |session| {
        let set = ask.path.split(['(', '/']).next().unwrap_or_default();
        let ready = service.make_ready(session, std::iter::once(set));
        let answer = ready.and_then(|()| {
            if reads {
                session.read(|session| service.respond(session, &ask))
            } else {
                session.write(|session| service.respond(session, &ask))
            }
        });
        (answer, session.take_operations())
    });
    let (answer, operations) = match ran.await {
        Ok((Ok(answer), operations)) => (answer, operations),
        Ok((Err(error), operations)) => (front.service.refusal(&ApiError::sql(&error), prefer), operations),
        Err(_) => (Answer::empty(503), 0),
    };
    Worked { answer: cut_after(&fault, line, answer), operations }
}

/// The whole body, bounded in size and time.
async fn arrived(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    match tokio::time::timeout(BODY_WAIT, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request's body could not be taken");
            Err(ApiError::too_large())
        }
        Err(_) => Err(ApiError::new(408, "0x80040216", "The request's body did not arrive in time.")),
    }
}

/// Delays, cuts or refuses as the rule says; `None` lets the request go on. `entity` is the first set it addresses.
async fn disturb(front: &Front, fault: &FaultAnswer, entity: Option<&str>, line: &Line) -> Option<Answer> {
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    match &fault.then {
        Disturbance::Nothing | Disturbance::Cut(Cut::After | Cut::During) => None,
        Disturbance::Cut(Cut::Before) => {
            line.cut();
            Some(Answer::empty(503))
        }
        Disturbance::Status { status, code, message, retry_after, html } => {
            let answer = if *html {
                let body = format!("<html><body><h1>{status} Service Unavailable</h1></body></html>");
                Answer { content_type: Some("text/html"), body: body.into_bytes(), ..Answer::empty(*status) }
            } else {
                // What the script words itself stays as it words it.
                let worded = code.is_some() || message.is_some();
                let answer = front.service.disturbed(*status, code.as_deref(), message.as_deref(), entity);
                Answer { verbatim: worded, ..answer }
            };
            let answer =
                if *status == 401 { answer.with("WWW-Authenticate", CHALLENGE.to_owned()) } else { answer };
            Some(match retry_after {
                Some(wait) => answer.with("Retry-After", wait_text(wait)),
                None => answer,
            })
        }
    }
}

/// `date+5` is the HTTP date five seconds from now; anything else stands as it is.
fn wait_text(wait: &str) -> String {
    match wait.strip_prefix("date+").and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => http_date(Timestamp::now(), seconds),
        None => wait.to_owned(),
    }
}

/// Cuts the line before the answer, or in the middle of it.
fn cut_after(fault: &FaultAnswer, line: &Line, answer: Answer) -> Answer {
    match fault.then {
        Disturbance::Cut(Cut::During) if !answer.body.is_empty() => Answer { torn: true, ..answer },
        Disturbance::Cut(Cut::After | Cut::During) => {
            line.cut();
            answer
        }
        _ => answer,
    }
}

/// Half of the body, and then no more: what a client sees when the line breaks in the middle of an answer.
fn torn(mut body: Vec<u8>) -> Body {
    body.truncate(body.len() / 2);
    let half = futures::stream::once(async { Ok(Bytes::from(body)) });
    let broken = futures::stream::once(async {
        // The half must be on its way before the line breaks.
        tokio::time::sleep(TEAR_AFTER).await;
        Err(io::Error::new(io::ErrorKind::ConnectionReset, "the answer was torn on purpose"))
    });
    Body::from_stream(half.chain(broken))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The answer with the headers of dynamics.md §2.1.
fn respond(front: &Front, mut answer: Answer, visit: Option<&Visit>) -> Response {
    let length = answer.body.len();
    let body = match (answer.torn, answer.succeeded() || answer.verbatim) {
        (true, _) => torn(std::mem::take(&mut answer.body)),
        (false, true) => Body::from(std::mem::take(&mut answer.body)),
        (false, false) => Body::from(front.voice.speak(answer.status, std::mem::take(&mut answer.body))),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let request_id = Uuid::new_v4();
    let mut put = |name: &str, value: String| match (
        HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(&value),
    ) {
        (Ok(name), Ok(value)) => {
            response.headers_mut().insert(name, value);
        }
        _ => tracing::warn!(name, "an answer's header has characters that no header can have"),
    };
    put("cache-control", "no-cache".to_owned());
    put("odata-version", "4.0".to_owned());
    if let Service::Dataverse(_) = front.service {
        put("req_id", request_id.to_string());
        put("x-ms-service-request-id", format!("{},{request_id}", Uuid::new_v4()));
    }
    if let Some(Visit { server, caller }) = visit {
        // Finance & Operations tells no limits: it has none for single users (dynamics.md §6.5).
        if let Service::Dataverse(_) = front.service {
            let (requests_left, work_left) = front.servers.left(*server, caller);
            put("x-ms-dop-hint", front.dop_hint.to_string());
            put("x-ms-ratelimit-burst-remaining-xrm-requests", requests_left.to_string());
            put("x-ms-ratelimit-time-remaining-xrm-requests", grouped_seconds(work_left));
        }
        let affinity = front.servers.affinity(*server);
        put(header::SET_COOKIE.as_str(), format!("ARRAffinity={affinity}; path=/; secure; HttpOnly"));
    }
    if answer.torn {
        put(header::CONTENT_LENGTH.as_str(), length.to_string());
    }
    if let Some(content_type) = answer.content_type {
        put(header::CONTENT_TYPE.as_str(), content_type.to_owned());
    }
    for (name, value) in answer.headers {
        put(name, value);
    }
    response
}

/// `1,200.00`, as the service writes it.
fn grouped_seconds(left: Duration) -> String {
    let seconds = left.as_secs();
    let hundredths = left.subsec_millis() / 10;
    match seconds {
        0..1000 => format!("{seconds}.{hundredths:02}"),
        _ => format!("{},{:03}.{hundredths:02}", seconds / 1000, seconds % 1000),
    }
}
