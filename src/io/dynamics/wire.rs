//! One request and its answer: headers, user, token, timeouts and sizes; reads are tried again here.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use tokio::sync::mpsc::Sender;
use tokio::time::Instant;
use url::{Host, Url};

use super::fault::TargetFault;
use super::gate::{OnWaiting, Waiting, unheard};
use super::patience::{Patience, http_date, retry_after};
use super::principals::{NoEntry, Permit, Principal, PrincipalReport, Principals};
use super::token::{Bearer, TokenSource};
use super::verdict::{Class, Setback, judge};
use super::{ConnectSettings, Dialect, WireLimits};

/// Pages of one list that are followed; a page has up to 5,000 records (dynamics.md §4.4).
const PAGES_MAX: usize = 2_000;
/// Records on a page. Source: dynamics.md §4.4.
const PAGE_RECORDS: usize = 5_000;

/// What clients of Finance & Operations wait after a 429 that names no time. Source: dynamics.md §6.5.
const FINOPS_PAUSE: Duration = Duration::from_secs(30);

/// The one document that is no JSON.
const METADATA_PATH: &str = "$metadata";
/// Largest document that is passed on piece by piece, in bytes; F&O's metadata has tens of megabytes (dynamics.md §6.3).
const DOCUMENT_BYTES_MAX: usize = 1 << 30;

/// The connection to one target.
pub(super) struct Wire {
    kind: Dialect,
    http: reqwest::Client,
    root: Url,
    principals: Principals,
    limits: WireLimits,
    /// What is waited after a 429 that names no time, where the product's own clients do; else the pause grows.
    pause_unnamed: Option<Duration>,
    /// Whether upserts may go by bulk action, which does not tell what was created.
    bulk_upserts: bool,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Relative to the API's root, already encoded.
    pub(super) path: &'a str,
    pub(super) prefer: Option<&'a str>,
    /// The version that the record must have.
    pub(super) if_match: Option<&'a str>,
    /// Content type and bytes.
    pub(super) body: Option<(&'a str, Bytes)>,
    /// Rows that it writes; none for a read.
    pub(super) rows: usize,
}

/// What was answered, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    /// From the first byte sent to the last heard, waits at the gate left out.
    pub(super) took: Duration,
    /// Which application user it was given to.
    pub(super) principal: usize,
    /// The server's clock when it answered, to the second.
    pub(super) date: Option<Timestamp>,
}

/// Why there is no answer to look at.
#[derive(Debug, Clone)]
pub(super) enum Stumble {
    /// The request may or may not have been carried out; try again.
    Later {
        reason: String,
        /// What the server asked for.
        wait: Option<Duration>,
        /// Whether the request may have been carried out nevertheless.
        in_doubt: bool,
        /// The limit that was met. Its gate is closed, so that the next try needs no pause of its own.
        setback: Option<Setback>,
    },
    /// Nothing was sent: every gate is closed for longer than our patience.
    Closed(Waiting),
    /// The operator must act.
    Access { error: String, cause: String },
    /// The answer is larger than the limit.
    TooLarge { limit: usize },
}

impl Answer {
    /// Whether it answers the operations of a batch one by one.
    fn is_multipart(&self) -> bool {
        self.content_type.trim_start().to_ascii_lowercase().starts_with("multipart/")
    }
}

impl Stumble {
    pub(super) fn network(whom: &str, error: &reqwest::Error) -> Self {
        let mut root: &dyn std::error::Error = error;
        while let Some(source) = root.source() {
            root = source;
        }
        let what = if error.is_connect() {
            "cannot be reached"
        } else if error.is_timeout() {
            "took too long"
        } else {
            "broke off"
        };
        Stumble::Later {
            reason: format!("{whom} {what}: {root}"),
            wait: None,
            in_doubt: !error.is_connect(),
            setback: None,
        }
    }
}

impl std::fmt::Display for Stumble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stumble::Later { reason, .. } | Stumble::Closed(Waiting { reason, .. }) => f.write_str(reason),
            Stumble::Access { error, cause } => write!(f, "{error}: {cause}"),
            Stumble::TooLarge { limit } => write!(f, "an answer of more than {limit} bytes"),
        }
    }
}

/// The body of an answer, as far as the limit allows.
pub(super) async fn body_of(response: &mut Response, limit: usize, whom: &str) -> Result<Bytes, Stumble> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Stumble::network(whom, &error))? {
        if body.len() + chunk.len() > limit {
            return Err(Stumble::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Passes the body of an answer on as it comes, as fast as the other side takes it.
async fn pass_on(response: &mut Response, into: &Sender<Bytes>, whom: &str) -> Result<(), Stumble> {
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await.map_err(|error| Stumble::network(whom, &error))? {
        bytes += chunk.len();
        if bytes > DOCUMENT_BYTES_MAX {
            return Err(Stumble::TooLarge { limit: DOCUMENT_BYTES_MAX });
        }
        // Whoever has gone has found a fault, which he tells.
        if into.send(chunk).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Wire {
    /// # Errors
    /// `Settings` where the secret would travel in clear or a URL is no base.
    pub(super) fn new(settings: ConnectSettings) -> Result<Self, TargetFault> {
        let local = is_local(&settings.url)? & is_local(&settings.authority)?;
        let refuse =
            |reason: &str| TargetFault::Settings { url: settings.url.to_string(), reason: reason.to_owned() };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("ddu/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(settings.limits.connect_timeout)
            .read_timeout(settings.limits.read_timeout)
            .timeout(settings.limits.request_timeout)
            .tcp_nodelay(true);
        if local {
            // Nothing of this machine's own traffic goes through a proxy, and it needs no certificate store.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| refuse(&format!("no HTTP client: {error}")))?;
        let base = settings.url.as_str().trim_end_matches('/');
        let root = Url::parse(&format!("{base}{}", settings.kind.api_path()))
            .map_err(|error| refuse(&error.to_string()))?;
        let authority = settings.authority.as_str().trim_end_matches('/');
        let endpoint = Url::parse(&format!("{authority}/{}/oauth2/v2.0/token", settings.tenant_id))
            .map_err(|error| refuse(&format!("authority `{authority}`: {error}")))?;
        let scope = format!("{}/.default", settings.url.origin().ascii_serialization());
        if settings.principals.is_empty() {
            return Err(refuse("no application user is named"));
        }
        let principals = settings.principals.into_iter().map(|one| {
            let at = (endpoint.clone(), scope.clone());
            let token =
                TokenSource::new(http.clone(), at, one.client_id.clone(), one.credential, settings.now);
            Principal { client_id: one.client_id, token, workers: one.workers }
        });
        Ok(Wire {
            kind: settings.kind,
            principals: Principals::new(principals.collect(), &settings.limits),
            http,
            root,
            limits: settings.limits,
            bulk_upserts: settings.bulk_upserts,
            pause_unnamed: (settings.kind == Dialect::Finops).then_some(FINOPS_PAUSE),
        })
    }

    pub(super) fn limits(&self) -> &WireLimits {
        &self.limits
    }

    /// Whether upserts may go by bulk action.
    pub(super) fn bulk_upserts(&self) -> bool {
        self.bulk_upserts
    }

    /// Requests that should be ready to leave at once.
    pub(super) fn demand(&self) -> u16 {
        self.principals.demand()
    }

    /// How each application user fares.
    pub(super) fn report(&self) -> Vec<PrincipalReport> {
        self.principals.report()
    }

    /// A user's access was refused to what an answer was about. Whether another may be let in.
    pub(super) fn set_aside(&self, principal: usize, why: &str) -> bool {
        self.principals.set_aside(principal, why)
    }

    /// A limit was met by an operation within a request that was answered.
    pub(super) fn throttled(&self, principal: usize, setback: Setback) {
        self.principals.permit_for(principal).throttled(setback, (None, self.pause_unnamed));
    }

    /// The path of the API's root, `/api/data/v9.2/`: how operations inside a batch begin.
    pub(super) fn root_path(&self) -> &str {
        self.root.path()
    }

    /// One request, once, as whoever has the most room; a user whose access is refused is set aside, and the others are
    /// tried. Statuses that say "not now" are stumbles.
    pub(super) async fn once(
        &self,
        request: &Request<'_>,
        waiting: OnWaiting<'_>,
    ) -> Result<Answer, Stumble> {
        self.passed_on(request, waiting, None).await
    }

    /// Reads `$metadata`, once, and passes it on piece by piece; an answer that says "no" has a body like any other.
    pub(super) async fn metadata(&self, into: &Sender<Bytes>) -> Result<Answer, Stumble> {
        let request = Request {
            method: Method::GET,
            path: METADATA_PATH,
            prefer: None,
            if_match: None,
            body: None,
            rows: 0,
        };
        self.passed_on(&request, &unheard, Some(into)).await
    }

    async fn passed_on(
        &self,
        request: &Request<'_>,
        waiting: OnWaiting<'_>,
        into: Option<&Sender<Bytes>>,
    ) -> Result<Answer, Stumble> {
        let mut refused = Vec::new();
        let mut last = None;
        loop {
            let permit = match self.principals.admit(&refused, self.limits.wait_max, waiting).await {
                Ok(permit) => permit,
                Err(NoEntry::Closed(waiting)) => return Err(Stumble::Closed(waiting)),
                Err(NoEntry::Refused) => return Err(last.expect("nobody is left only after a refusal")),
            };
            match self.attempt(&permit, request, into).await {
                Err(Stumble::Access { error, cause }) => {
                    self.principals.set_aside(permit.index(), &format!("{error}: {cause}"));
                    refused.push(permit.index());
                    last = Some(Stumble::Access { error, cause });
                }
                heard => return heard,
            }
        }
    }

    /// Reads `path` as one user and no other.
    ///
    /// # Errors
    /// As [`Self::once`].
    pub(super) async fn get_as(&self, principal: usize, path: &str) -> Result<Answer, Stumble> {
        let request =
            Request { method: Method::GET, path, prefer: None, if_match: None, body: None, rows: 0 };
        self.attempt(&self.principals.permit_for(principal), &request, None).await
    }

    /// Whether the list at `path` has any element; `None` when there is no telling now. What the service does not know, or
    /// does not let us read, it does not have for us; and nobody is set aside for asking.
    pub(super) async fn lists_any(&self, path: &str) -> Option<bool> {
        let request =
            Request { method: Method::GET, path, prefer: None, if_match: None, body: None, rows: 0 };
        let permit = self.principals.admit(&[], self.limits.wait_max, &unheard).await.ok()?;
        match self.attempt(&permit, &request, None).await {
            Ok(answer) if answer.status < 400 => {
                let list: Json = serde_json::from_slice(&answer.body).ok()?;
                Some(list.get("value").and_then(Json::as_array).is_some_and(|found| !found.is_empty()))
            }
            Ok(answer) => {
                let transient = matches!(judge(answer.status, &answer.body).class, Class::Transient(_));
                (!transient).then_some(false)
            }
            Err(Stumble::Access { .. }) => Some(false),
            Err(Stumble::Later { .. } | Stumble::Closed(_) | Stumble::TooLarge { .. }) => None,
        }
    }

    /// The ids of the application users, in the order of the settings.
    pub(super) fn client_ids(&self) -> impl Iterator<Item = &str> {
        self.principals.each().iter().map(|principal| principal.client_id.as_str())
    }

    /// One request, once; a token that the target does not take is renewed once.
    async fn attempt(
        &self,
        permit: &Permit<'_>,
        request: &Request<'_>,
        into: Option<&Sender<Bytes>>,
    ) -> Result<Answer, Stumble> {
        let bearer = self.bearer(permit, None).await?;
        let (answer, wait) = match self.exchange(permit, request, &bearer, into).await? {
            (answer, _) if answer.status == StatusCode::UNAUTHORIZED.as_u16() && !answer.is_multipart() => {
                let bearer = self.bearer(permit, Some(bearer.number)).await?;
                self.exchange(permit, request, &bearer, into).await?
            }
            heard => heard,
        };
        if answer.is_multipart() {
            // The status of an operation within, mirrored; the parts say more.
            permit.answered(request.rows);
            return Ok(answer);
        }
        let verdict = || judge(answer.status, &answer.body);
        match answer.status {
            401 => {
                let verdict = verdict();
                Err(Stumble::Access { error: verdict.error, cause: verdict.cause })
            }
            403 if verdict().is_of_the_user() => {
                let verdict = verdict();
                Err(Stumble::Access { error: verdict.error, cause: verdict.cause })
            }
            429 => {
                let verdict = verdict();
                let setback = match verdict.class {
                    Class::Transient(setback) => setback,
                    _ => Setback::RequestLimit,
                };
                permit.throttled(setback, (wait, self.pause_unnamed));
                Err(Stumble::Later { reason: verdict.cause, wait, in_doubt: false, setback: Some(setback) })
            }
            408 | 502 | 503 | 504 => {
                let verdict = verdict();
                // Where the service names a time, it is everybody's.
                let setback = wait.map(|_| Setback::Busy);
                if let Some(setback) = setback {
                    permit.throttled(setback, (wait, None));
                }
                Err(Stumble::Later { reason: verdict.error, wait, in_doubt: true, setback })
            }
            _ => {
                permit.answered(request.rows);
                Ok(answer)
            }
        }
    }

    /// A token of the permit's user; where there is none for now, its gate is closed, and others go on.
    async fn bearer(&self, permit: &Permit<'_>, refused: Option<u64>) -> Result<Bearer, Stumble> {
        permit.token().bearer(refused).await.map_err(|stumble| match stumble {
            Stumble::Later { reason, wait, in_doubt, .. } => {
                permit.hold(wait, &reason);
                Stumble::Later { reason, wait, in_doubt, setback: Some(Setback::Busy) }
            }
            other => other,
        })
    }

    async fn exchange(
        &self,
        permit: &Permit<'_>,
        request: &Request<'_>,
        bearer: &Bearer,
        into: Option<&Sender<Bytes>>,
    ) -> Result<(Answer, Option<Duration>), Stumble> {
        const WHOM: &str = "Dynamics";
        let accept = if request.path == METADATA_PATH { "application/xml" } else { "application/json" };
        let url = format!("{}{}", self.root, request.path);
        let mut call = self
            .http
            .request(request.method.clone(), url)
            .bearer_auth(bearer.token.expose_secret())
            .header("Accept", accept)
            .header("OData-MaxVersion", "4.0")
            .header("OData-Version", "4.0");
        if self.kind == Dialect::Dataverse {
            call = call.header("If-None-Match", "null");
        }
        if let Some(prefer) = request.prefer {
            call = call.header("Prefer", prefer);
        }
        if let Some(etag) = request.if_match {
            call = call.header("If-Match", etag);
        }
        if let Some((content_type, body)) = &request.body {
            call = call.header("Content-Type", *content_type).body(body.clone());
        }
        let begun = Instant::now();
        let mut response = call.send().await.map_err(|error| Stumble::network(WHOM, &error))?;
        if let Some(hint) = hint(response.headers()) {
            permit.hinted(hint);
        }
        let wait = retry_after(response.headers());
        let content_type = text_of(response.headers().get("content-type"));
        let date = http_date(&text_of(response.headers().get("date")));
        let status = response.status().as_u16();
        let body = match into.filter(|_| status < 400) {
            Some(into) => pass_on(&mut response, into, WHOM).await.map(|()| Bytes::new())?,
            None => body_of(&mut response, self.limits.response_bytes_max, WHOM).await?,
        };
        let (took, principal) = (begun.elapsed(), permit.index());
        Ok((Answer { status, content_type, body, took, principal, date }, wait))
    }

    /// Reads `path`, trying again as patience allows; an answer that says "no" is the caller's.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, TargetFault> {
        let prefer = format!("odata.maxpagesize={PAGE_RECORDS}");
        let request =
            Request { method: Method::GET, path, prefer: Some(&prefer), if_match: None, body: None, rows: 0 };
        self.patiently(&request, path).await
    }

    /// Makes a request that changes nothing, trying again as patience allows; `path` names it in faults.
    pub(super) async fn patiently(&self, request: &Request<'_>, path: &str) -> Result<Answer, TargetFault> {
        let doing = || doing(path);
        let mut patience = Patience::new(&self.limits);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (reason, wait, held) = match self.once(request, &unheard).await {
                Ok(answer) if answer.status < 400 => return Ok(answer),
                Ok(answer) => {
                    let verdict = judge(answer.status, &answer.body);
                    match verdict.class {
                        Class::Transient(_) => (verdict.error, None, false),
                        Class::Access => {
                            return Err(TargetFault::Access { error: verdict.error, cause: verdict.cause });
                        }
                        _ => return Ok(answer),
                    }
                }
                Err(Stumble::Later { reason, wait, setback, .. }) => (reason, wait, setback.is_some()),
                Err(Stumble::Closed(Waiting { pause, reason, .. })) => {
                    let attempts = attempts - 1;
                    return Err(TargetFault::Unavailable {
                        doing: doing(),
                        reason,
                        attempts,
                        retry_in: pause,
                    });
                }
                Err(Stumble::Access { error, cause }) => return Err(TargetFault::Access { error, cause }),
                Err(Stumble::TooLarge { limit }) => {
                    let found = format!("more than {limit} bytes");
                    return Err(TargetFault::Misunderstood { doing: doing(), found });
                }
            };
            match patience.next(wait, held) {
                // The gate holds the next try back as long as it must.
                Ok(_) if held => {}
                Ok(pause) => tokio::time::sleep(pause).await,
                Err(retry_in) => {
                    return Err(TargetFault::Unavailable { doing: doing(), reason, attempts, retry_in });
                }
            }
        }
    }

    /// Reads `path` as JSON.
    ///
    /// # Errors
    /// Also `Misunderstood` where the answer says "no" or is no JSON.
    pub(super) async fn get_json(&self, path: &str) -> Result<Json, TargetFault> {
        let answer = self.get(path).await?;
        if answer.status >= 400 {
            let found = judge(answer.status, &answer.body).error;
            return Err(TargetFault::Misunderstood { doing: doing(path), found });
        }
        serde_json::from_slice(&answer.body).map_err(|error| TargetFault::Misunderstood {
            doing: doing(path),
            found: format!("{}, which is no JSON: {error}", answer.content_type),
        })
    }

    /// Reads the list at `path`, all its pages, and shows each element to `each`.
    pub(super) async fn each_of(&self, path: &str, mut each: impl FnMut(Json)) -> Result<(), TargetFault> {
        let mut path = path.to_owned();
        for _ in 0..PAGES_MAX {
            let mut page = self.get_json(&path).await?;
            match page.get_mut("value").map(Json::take) {
                Some(Json::Array(elements)) => elements.into_iter().for_each(&mut each),
                _ => each(page.take()),
            }
            let Some(next) = page.get("@odata.nextLink").and_then(Json::as_str) else { return Ok(()) };
            path = self.own_path(next).ok_or_else(|| TargetFault::Misunderstood {
                doing: doing(&path),
                found: "a next page outside of the Web API".to_owned(),
            })?;
        }
        Err(TargetFault::Misunderstood { doing: doing(&path), found: format!("more than {PAGES_MAX} pages") })
    }

    /// The part of a link below our root; the link's own host is not asked, so that the token stays where it belongs.
    fn own_path(&self, link: &str) -> Option<String> {
        let link = self.root.join(link).ok()?;
        let below = link.path().strip_prefix(self.root.path())?;
        Some(match link.query() {
            Some(query) => format!("{below}?{query}"),
            None => below.to_owned(),
        })
    }
}

/// Requests at once that the server recommends. Source: dynamics.md §4.1.
fn hint(headers: &HeaderMap) -> Option<u16> {
    text_of(headers.get("x-ms-dop-hint")).trim().parse().ok().filter(|hint| *hint > 0)
}

fn doing(path: &str) -> String {
    format!("GET {}", path.split('?').next().unwrap_or(path))
}

fn text_of(header: Option<&HeaderValue>) -> String {
    header.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Whether the URL is of this machine in clear text.
///
/// # Errors
/// When it is in clear text and not of this machine, or is no base at all.
fn is_local(url: &Url) -> Result<bool, TargetFault> {
    let refuse =
        |reason: &str| Err(TargetFault::Settings { url: url.to_string(), reason: reason.to_owned() });
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return refuse("it has no host; write it like `https://org.crm.dynamics.com`"),
    };
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return refuse("it may have a host, a port and a path, nothing else");
    }
    match (url.scheme(), loopback) {
        ("https", _) => Ok(false),
        ("http", true) => Ok(true),
        ("http", false) => refuse("`http` would send the secret in clear; use `https`"),
        _ => refuse("its scheme must be `https`"),
    }
}
