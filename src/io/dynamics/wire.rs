//! One request and its answer: headers, token, gate, timeouts and sizes; reads are tried again here.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use secrecy::ExposeSecret;
use serde_json::Value as Json;
use url::{Host, Url};

use super::fault::TargetFault;
use super::gate::{Gate, OnWaiting, Waiting, unheard};
use super::patience::{Patience, http_date, retry_after};
use super::token::{Bearer, TokenSource};
use super::verdict::{Class, judge};
use super::{ConnectSettings, WORKERS_DEFAULT, WireLimits};

/// Where the Web API begins below the service root. Source: dynamics.md §2.
const API_PATH: &str = "/api/data/v9.2/";
/// Pages of one list that are followed; a page has up to 5,000 records (dynamics.md §4.4).
const PAGES_MAX: usize = 2_000;
/// Records on a page. Source: dynamics.md §4.4.
const PAGE_RECORDS: usize = 5_000;

/// The connection to one target under one identity.
pub(super) struct Wire {
    http: reqwest::Client,
    root: Url,
    token: TokenSource,
    gate: Gate,
    limits: WireLimits,
    hint: AtomicU16,
}

/// What is asked.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Relative to the API's root, already encoded.
    pub(super) path: &'a str,
    pub(super) prefer: Option<&'a str>,
    /// Content type and bytes.
    pub(super) body: Option<(&'a str, Bytes)>,
}

/// What was answered, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    /// The server's clock when it answered, to the second.
    pub(super) date: Option<Timestamp>,
}

/// Why there is no answer to look at.
#[derive(Debug)]
pub(super) enum Stumble {
    /// The request may or may not have been carried out; try again.
    Later {
        reason: String,
        /// What the server asked for.
        wait: Option<Duration>,
        /// Whether the request may have been carried out nevertheless.
        in_doubt: bool,
    },
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
        Stumble::Later { reason: format!("{whom} {what}: {root}"), wait: None, in_doubt: !error.is_connect() }
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
        let root = Url::parse(&format!("{base}{API_PATH}")).map_err(|error| refuse(&error.to_string()))?;
        let authority = settings.authority.as_str().trim_end_matches('/');
        let endpoint = Url::parse(&format!("{authority}/{}/oauth2/v2.0/token", settings.tenant_id))
            .map_err(|error| refuse(&format!("authority `{authority}`: {error}")))?;
        let scope = format!("{}/.default", settings.url.origin().ascii_serialization());
        let token =
            TokenSource::new(http.clone(), endpoint, settings.client_id, settings.client_secret, scope);
        Ok(Wire {
            http,
            root,
            token,
            gate: Gate::default(),
            limits: settings.limits,
            hint: AtomicU16::new(WORKERS_DEFAULT),
        })
    }

    pub(super) fn limits(&self) -> &WireLimits {
        &self.limits
    }

    pub(super) fn workers_hint(&self) -> u16 {
        self.hint.load(Ordering::Relaxed)
    }

    /// The path of the API's root, `/api/data/v9.2/`: how operations inside a batch begin.
    pub(super) fn root_path(&self) -> &str {
        self.root.path()
    }

    /// One request, once; a token that the target does not take is renewed once. Statuses that say "not now" are stumbles.
    pub(super) async fn once(
        &self,
        request: &Request<'_>,
        waiting: OnWaiting<'_>,
    ) -> Result<Answer, Stumble> {
        self.gate.pass(self.limits.wait_max, waiting).await.map_err(
            |Waiting { pause, reason, .. }| Stumble::Later { reason, wait: Some(pause), in_doubt: false },
        )?;
        let bearer = self.token.bearer(None).await?;
        let (answer, wait) = match self.exchange(request, &bearer).await? {
            (answer, _) if answer.status == StatusCode::UNAUTHORIZED.as_u16() && !answer.is_multipart() => {
                let bearer = self.token.bearer(Some(bearer.number)).await?;
                self.exchange(request, &bearer).await?
            }
            heard => heard,
        };
        match answer.status {
            // The status of an operation within, mirrored; the parts say more.
            _ if answer.is_multipart() => Ok(answer),
            401 => {
                let verdict = judge(answer.status, &answer.body);
                Err(Stumble::Access { error: verdict.error, cause: verdict.cause })
            }
            429 => {
                let verdict = judge(answer.status, &answer.body);
                self.gate.close(wait.unwrap_or(self.limits.backoff_min), &verdict.cause);
                Err(Stumble::Later { reason: verdict.cause, wait, in_doubt: false })
            }
            408 | 502 | 503 | 504 => {
                let verdict = judge(answer.status, &answer.body);
                Err(Stumble::Later { reason: verdict.error, wait, in_doubt: true })
            }
            _ => Ok(answer),
        }
    }

    async fn exchange(
        &self,
        request: &Request<'_>,
        bearer: &Bearer,
    ) -> Result<(Answer, Option<Duration>), Stumble> {
        const WHOM: &str = "Dynamics";
        let url = format!("{}{}", self.root, request.path);
        let mut call = self
            .http
            .request(request.method.clone(), url)
            .bearer_auth(bearer.token.expose_secret())
            .header("Accept", "application/json")
            .header("OData-MaxVersion", "4.0")
            .header("OData-Version", "4.0")
            .header("If-None-Match", "null");
        if let Some(prefer) = request.prefer {
            call = call.header("Prefer", prefer);
        }
        if let Some((content_type, body)) = &request.body {
            call = call.header("Content-Type", *content_type).body(body.clone());
        }
        let mut response = call.send().await.map_err(|error| Stumble::network(WHOM, &error))?;
        self.note_hint(response.headers());
        let wait = retry_after(response.headers());
        let content_type = text_of(response.headers().get("content-type"));
        let date = http_date(&text_of(response.headers().get("date")));
        let status = response.status().as_u16();
        let body = body_of(&mut response, self.limits.response_bytes_max, WHOM).await?;
        Ok((Answer { status, content_type, body, date }, wait))
    }

    fn note_hint(&self, headers: &HeaderMap) {
        if let Ok(hint) = text_of(headers.get("x-ms-dop-hint")).trim().parse::<u16>()
            && hint > 0
        {
            self.hint.store(hint, Ordering::Relaxed);
        }
    }

    /// Reads `path`, trying again as patience allows; an answer that says "no" is the caller's.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, TargetFault> {
        let prefer = format!("odata.maxpagesize={PAGE_RECORDS}");
        self.patiently(&Request { method: Method::GET, path, prefer: Some(&prefer), body: None }, path).await
    }

    /// Makes a request that changes nothing, trying again as patience allows; `path` names it in faults.
    pub(super) async fn patiently(&self, request: &Request<'_>, path: &str) -> Result<Answer, TargetFault> {
        let doing = || doing(path);
        let mut patience = Patience::new(&self.limits);
        let mut attempts = 0;
        loop {
            attempts += 1;
            let (reason, wait) = match self.once(request, &unheard).await {
                Ok(answer) if answer.status < 400 => return Ok(answer),
                Ok(answer) => {
                    let verdict = judge(answer.status, &answer.body);
                    match verdict.class {
                        Class::Transient(_) => (verdict.error, None),
                        Class::Access => {
                            return Err(TargetFault::Access { error: verdict.error, cause: verdict.cause });
                        }
                        _ => return Ok(answer),
                    }
                }
                Err(Stumble::Later { reason, wait, .. }) => (reason, wait),
                Err(Stumble::Access { error, cause }) => return Err(TargetFault::Access { error, cause }),
                Err(Stumble::TooLarge { limit }) => {
                    let found = format!("more than {limit} bytes");
                    return Err(TargetFault::Misunderstood { doing: doing(), found });
                }
            };
            match patience.next(wait) {
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
