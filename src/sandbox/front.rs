//! The front door: tokens, faults, limits and the headers that every answer carries.
#![expect(clippy::disallowed_methods, reason = "the server has a clock of its own, as the real one has")]

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::ask::{Answer, Ask, Prefer, URL_BYTES_MAX};
use super::batch::{Batch, BatchAnswer};
use super::error::ApiError;
use super::faults::{Cut, Disturbance, FaultAnswer, Faults, RequestKind};
use super::line::Line;
use super::service::Service;
use super::store::Store;
use super::token::Tokens;

/// Largest form at the token endpoint in bytes.
const FORM_BYTES_MAX: usize = 65_536;
/// Requests whose bodies are in memory at once; more wait in their sockets.
const REQUESTS_MAX: usize = 64;
/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(120);
/// The window of the service protection limits. Source: dynamics.md §4.1.
const WINDOW: Duration = Duration::from_secs(300);
/// Requests that the window admits. Source: dynamics.md §4.1.
const WINDOW_REQUESTS: u64 = 6_000;
/// Execution time that the window admits. Source: dynamics.md §4.1.
const WINDOW_WORK: Duration = Duration::from_secs(1_200);

/// What every request needs.
pub(super) struct Front {
    pub(super) service: Service,
    pub(super) store: Store,
    pub(super) tokens: Tokens,
    pub(super) faults: Faults,
    pub(super) meter: Meter,
    pub(super) dop_hint: u16,
    pub(super) body_bytes_max: usize,
    admitted: Semaphore,
}

impl Front {
    /// The door to this store.
    pub(super) fn new(
        service: Service,
        store: Store,
        tokens: Tokens,
        faults: Faults,
        dop_hint: u16,
        body_bytes_max: usize,
    ) -> Self {
        let (meter, admitted) = (Meter::new(), Semaphore::new(REQUESTS_MAX));
        Front { service, store, tokens, faults, meter, dop_hint, body_bytes_max, admitted }
    }
}

/// Answers any request.
pub(super) async fn answer(
    State(front): State<Arc<Front>>,
    ConnectInfo(line): ConnectInfo<Line>,
    request: Request,
) -> Response {
    let began = Instant::now();
    let Ok(_admitted) = front.admitted.acquire().await else {
        return respond(&front, Answer::empty(503));
    };
    let path = request.uri().path();
    let answer = if path.ends_with("/oauth2/v2.0/token") || path.ends_with("/oauth2/token") {
        token(&front, &line, request).await
    } else if front.service.below_root(path).is_some() {
        api_request(&front, &line, request).await
    } else {
        front.service.refusal(&ApiError::unknown_segment(path), Prefer::default())
    };
    front.meter.worked(began.elapsed());
    respond(&front, answer)
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
        Ok(form) => {
            let answer = front.tokens.grant(&form, Timestamp::now());
            cut_after(&fault, line);
            answer
        }
        Err(error) => Answer::empty(error.status),
    }
}

async fn api_request(front: &Arc<Front>, line: &Line, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let prefer = text(&parts.headers, "prefer").map(Prefer::parse).unwrap_or_default();
    let refused = |error: &ApiError| front.service.refusal(error, prefer);
    let admitted = front.tokens.admit(text(&parts.headers, "authorization"), Timestamp::now());
    let caller: Arc<str> = match admitted.and_then(|caller| front.service.let_in(caller)) {
        Ok(caller) => Arc::from(caller),
        Err(error) => {
            let challenge =
                "Bearer authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"";
            return refused(&error).with("WWW-Authenticate", challenge.to_owned());
        }
    };
    front.meter.counted();
    if let Some(answer) = front.service.overloaded() {
        return answer;
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
    let host = text(&parts.headers, "host").unwrap_or("localhost");
    let org: Arc<str> = Arc::from(format!("http://{host}"));
    if target == "$batch" || target.starts_with("$batch?") {
        if parts.method != Method::POST {
            return refused(&ApiError::method_not_allowed(parts.method.as_str(), "$batch"));
        }
        return batch(front, line, &parts.headers, body, prefer, (org, caller)).await;
    }
    let ask = Ask::new(parts.method, target, |name| text(&parts.headers, name), body, org);
    let ask = Ask { caller, ..ask };
    single(front, line, ask).await
}

async fn batch(
    front: &Front,
    line: &Line,
    headers: &HeaderMap,
    body: Bytes,
    prefer: Prefer,
    (org, caller): (Arc<str>, Arc<str>),
) -> Answer {
    let content_type = text(headers, "content-type").unwrap_or_default().to_owned();
    // Reading a large batch takes milliseconds: not on an async thread.
    let service = front.service.clone();
    let read = tokio::task::spawn_blocking(move || {
        Batch::parse(&content_type, &body, prefer, &org, &caller, &service)
    });
    let read = read.await;
    let batch = match read {
        Ok(Ok(batch)) => batch,
        Ok(Err(error)) => return front.service.refusal(&error, prefer),
        Err(error) => {
            tracing::error!(%error, "the reader of batches failed");
            let error = ApiError::new(500, "0x80040216", "An unexpected error occurred.");
            return front.service.refusal(&error, prefer);
        }
    };
    let fault = front.faults.strike(RequestKind::Batch, batch.entities());
    let addressed = batch.entities().next().map(str::to_owned);
    if let Some(answer) = disturb(front, &fault, addressed.as_deref(), line).await {
        return answer;
    }
    let service = front.service.clone();
    let ran = front.store.run(move |session| session.write(|session| batch.run(session, &service))).await;
    cut_after(&fault, line);
    match ran {
        Ok(Ok(BatchAnswer { status, content_type, body })) => {
            Answer { body, ..Answer::empty(status) }.with("Content-Type", content_type)
        }
        Ok(Err(error)) => front.service.refusal(&ApiError::sql(&error), prefer),
        Err(_) => Answer::empty(503),
    }
}

async fn single(front: &Front, line: &Line, ask: Ask) -> Answer {
    let prefer = ask.prefer;
    let reads = ask.method == Method::GET;
    let kind = if reads { RequestKind::Read } else { RequestKind::Write };
    let entity = ask.path.split(['(', '/']).next().unwrap_or_default();
    let fault = front.faults.strike(kind, std::iter::once(entity));
    if let Some(answer) = disturb(front, &fault, Some(entity), line).await {
        return answer;
    }
    if let Some(answer) = front.service.described(&ask) {
        cut_after(&fault, line);
        return answer;
    }
    let service = front.service.clone();
    let ran = front
        .store
        .run(move |session| {
            if reads {
                session.read(|session| service.respond(session, &ask))
            } else {
                session.write(|session| service.respond(session, &ask))
            }
        })
        .await;
    cut_after(&fault, line);
    match ran {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => front.service.refusal(&ApiError::sql(&error), prefer),
        Err(_) => Answer::empty(503),
    }
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
        Disturbance::Nothing | Disturbance::Cut(Cut::After) => None,
        Disturbance::Cut(Cut::Before) => {
            line.cut();
            Some(Answer::empty(503))
        }
        Disturbance::Status { status, code, message, retry_after, html } => {
            let answer = if *html {
                let body = format!("<html><body><h1>{status} Service Unavailable</h1></body></html>");
                Answer { content_type: Some("text/html"), body: body.into_bytes(), ..Answer::empty(*status) }
            } else {
                front.service.disturbed(*status, code.as_deref(), message.as_deref(), entity)
            };
            Some(match retry_after {
                Some(wait) => answer.with("Retry-After", wait.clone()),
                None => answer,
            })
        }
    }
}

fn cut_after(fault: &FaultAnswer, line: &Line) {
    if fault.then == Disturbance::Cut(Cut::After) {
        line.cut();
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The answer with the headers of dynamics.md §2.1.
fn respond(front: &Front, answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let request_id = Uuid::new_v4();
    let (requests_left, work_left) = front.meter.left();
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
    put("req_id", request_id.to_string());
    put("x-ms-service-request-id", format!("{},{request_id}", Uuid::new_v4()));
    if let Service::Dataverse(_) = front.service {
        put("x-ms-dop-hint", front.dop_hint.to_string());
        put("x-ms-ratelimit-burst-remaining-xrm-requests", requests_left.to_string());
        put("x-ms-ratelimit-time-remaining-xrm-requests", grouped_seconds(work_left));
    }
    put(
        header::SET_COOKIE.as_str(),
        "ARRAffinity=344ca267e0a34c6ba2b1f8a3c7d6b1e2; path=/; secure; HttpOnly".to_owned(),
    );
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

/// What the requests of the running window used up. It is told, not enforced.
pub(super) struct Meter {
    used: Mutex<Used>,
}

struct Used {
    since: Instant,
    requests: u64,
    work: Duration,
}

impl Meter {
    fn new() -> Self {
        Meter { used: Mutex::new(Used { since: Instant::now(), requests: 0, work: Duration::ZERO }) }
    }

    fn counted(&self) {
        self.add(1, Duration::ZERO);
    }

    fn worked(&self, work: Duration) {
        self.add(0, work);
    }

    fn add(&self, requests: u64, work: Duration) {
        let mut used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if used.since.elapsed() >= WINDOW {
            *used = Used { since: Instant::now(), requests: 0, work: Duration::ZERO };
        }
        used.requests += requests;
        used.work += work;
    }

    /// Requests and execution time that the window still admits.
    fn left(&self) -> (u64, Duration) {
        let used = self.used.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (WINDOW_REQUESTS.saturating_sub(used.requests), WINDOW_WORK.saturating_sub(used.work))
    }
}
