//! The page that the operator keeps open, and its siblings for machines: `/status.json`, `/metrics`, `/healthz`.

mod view;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use minijinja::Environment;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::metrics::Metrics;
use crate::pipeline::report::StatusReport;

/// Requests answered at once; more are asked to come back.
const REQUESTS_MAX: usize = 16;
/// How long a request waits for the status before it says that there is none.
const STATUS_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a request under way may keep the page open when the daemon stops.
pub const FAREWELL_MAX: Duration = Duration::from_millis(500);
/// The page loads its own style sheet and nothing else; no script runs, nobody may frame it.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Asks for the present status; the text of a failure is shown to the operator.
pub type StatusSource = Arc<dyn Fn() -> BoxFuture<'static, Result<StatusReport, String>> + Send + Sync>;

/// What the page says of the daemon itself.
#[derive(Debug, Clone, Serialize)]
pub struct About {
    /// The target in a few words: `sandbox`, or its kind and address.
    pub target: String,
    /// The dropbox as the sender knows it.
    pub dropbox: String,
}

/// Everything that the page is made of.
#[derive(Clone)]
pub struct Page {
    /// Where it listens; requests that name another host are refused.
    pub listen: SocketAddr,
    /// What it says of the daemon.
    pub about: About,
    /// Where the status comes from.
    pub status: StatusSource,
    /// Whether the run loop makes progress.
    pub alive: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The metrics; the status is shown to them before each scrape.
    pub metrics: Arc<Metrics>,
}

/// The page could not be served. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The address is taken, or not ours.
    #[error(
        "the page cannot listen on `{listen}`; set `listen` to a free address, or to null to do without it"
    )]
    Bind {
        /// The address of the configuration.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The server ended by itself.
    #[error("the page on `{listen}` stopped")]
    Serve {
        /// Where it listened.
        listen: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

struct Server {
    page: Page,
    template: Environment<'static>,
    requests: Semaphore,
}

/// Takes the address of the page; separate from [`serve`], so that a taken port fails the start and not the run.
///
/// # Errors
/// When the address is in use or does not belong to this machine.
pub async fn bind(listen: SocketAddr) -> Result<TcpListener, PageError> {
    TcpListener::bind(listen).await.map_err(|source| PageError::Bind { listen, source })
}

/// Serves the page until `stop` is cancelled; requests under way are answered first, but not waited for beyond
/// [`FAREWELL_MAX`].
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, page: Page, stop: CancellationToken) -> Result<(), PageError> {
    let listen = page.listen;
    let server = axum::serve(listener, router(page)).with_graceful_shutdown(stop.clone().cancelled_owned());
    let farewell = async {
        stop.cancelled().await;
        tokio::time::sleep(FAREWELL_MAX).await;
    };
    tokio::select! {
        ended = server => ended.map_err(|source| PageError::Serve { listen, source }),
        () = farewell => Ok(()),
    }
}

/// The routes, each readable with GET and HEAD alone.
pub fn router(page: Page) -> Router {
    let server =
        Arc::new(Server { page, template: view::template(), requests: Semaphore::new(REQUESTS_MAX) });
    Router::new()
        .route("/", get(index))
        .route("/page.css", get(style))
        .route("/status.json", get(status_json))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// Refuses foreign hosts, bounds the requests at once, and sets the headers that keep the page to itself.
async fn guard(State(server): State<Arc<Server>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if !host.is_some_and(|host| is_ours(host, server.page.listen.ip())) {
        let listen = server.page.listen;
        let way_out = if listen.ip().is_unspecified() {
            "open this page by the machine's address in figures, not by its name\n".to_owned()
        } else {
            format!("open this page at http://{listen}\n")
        };
        (StatusCode::MISDIRECTED_REQUEST, way_out).into_response()
    } else if let Ok(_permit) = server.requests.try_acquire() {
        next.run(request).await
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], "too many requests at once\n")
            .into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the `Host` names us. A page elsewhere whose name is re-bound to our address (DNS rebinding) sends its own name;
/// an address in figures cannot be re-bound, so where we listen on every interface any of them will do.
fn is_ours(host: &str, listen: IpAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _port)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address == listen || listen.is_unspecified(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

async fn index(State(server): State<Arc<Server>>) -> Response {
    let status = server.status().await;
    let alive = (server.page.alive)();
    match view::render(&server.template, &server.page.about, alive, &status) {
        Ok(html) => {
            let code = if status.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            (code, Html(html)).into_response()
        }
        Err(error) => {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                "page could not be rendered"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; see the log\n").into_response()
        }
    }
}

async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page.css")).into_response()
}

async fn status_json(State(server): State<Arc<Server>>) -> Response {
    match server.status().await {
        Ok(report) => axum::Json(report).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, axum::Json(serde_json::json!({ "error": reason })))
            .into_response(),
    }
}

async fn metrics(State(server): State<Arc<Server>>) -> Response {
    // Counters are told even when the status is not: a scrape must not fail because the lakehouse does.
    if let Ok(report) = server.status().await {
        server.page.metrics.show(&report);
    }
    match server.page.metrics.render() {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(server): State<Arc<Server>>) -> Response {
    if (server.page.alive)() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the run loop makes no progress\n").into_response()
    }
}

impl Server {
    async fn status(&self) -> Result<StatusReport, String> {
        match tokio::time::timeout(STATUS_WAIT_MAX, (self.page.status)()).await {
            Ok(status) => status,
            Err(_) => Err(format!("no answer within {} seconds", STATUS_WAIT_MAX.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pipeline::report::{FileStatus, TableStatus};
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A page on a real socket, with this status.
    struct Served {
        address: SocketAddr,
        alive: Arc<AtomicBool>,
        stop: CancellationToken,
        task: tokio::task::JoinHandle<Result<(), PageError>>,
    }

    async fn served(status: Result<StatusReport, String>) -> Served {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let alive = Arc::new(AtomicBool::new(true));
        let asked = alive.clone();
        let page = Page {
            listen: address,
            about: About { target: "sandbox".into(), dropbox: "/srv/ddu/dropbox".into() },
            status: Arc::new(move || {
                let status = status.clone();
                Box::pin(async move { status })
            }),
            alive: Arc::new(move || asked.load(Ordering::Relaxed)),
            metrics: Arc::new(Metrics::new()),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(listener, page, stop.clone()));
        Served { address, alive, stop, task }
    }

    impl Served {
        /// Status code, headers and body of the answer to a raw request; `reqwest` would not send a foreign `Host`.
        async fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
            let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
        }

        async fn get(&self, path: &str) -> (u16, String, String) {
            self.ask("GET", path, &self.address.to_string()).await
        }
    }

    fn report() -> StatusReport {
        StatusReport {
            tables: vec![TableStatus {
                table_name: "customers".to_owned().try_into().unwrap(),
                target_entity: "accounts".into(),
                records: 1_048_575,
                written: 1_048_000,
                quarantined: 75,
                pending: 500,
                validated: false,
                status: "migrating".into(),
            }],
            jobs: vec![],
            target: vec![],
            dropbox: vec![FileStatus {
                file: "<script>alert(1)</script>.xlsx".into(),
                state: "held".into(),
                waiting_for: Some("`a\" onload=\"x`".into()),
            }],
        }
    }

    #[test]
    fn only_names_that_cannot_be_rebound_are_ours() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for ours in ["localhost:8787", "LocalHost", "127.0.0.1:8787", "127.0.0.1", "[::1]:8787"] {
            assert!(is_ours(ours, loopback), "{ours}");
        }
        for foreign in
            ["evil.example:8787", "localhost.evil.example", "192.0.2.7:8787", "", ":8787", "[::1.evil]"]
        {
            assert!(!is_ours(foreign, loopback), "{foreign}");
        }
        assert!(is_ours("192.0.2.7:8787", "192.0.2.7".parse().unwrap()));
        assert!(is_ours("192.0.2.7:8787", "0.0.0.0".parse().unwrap()));
        assert!(!is_ours("evil.example", "0.0.0.0".parse().unwrap()));
    }

    #[tokio::test]
    async fn a_foreign_host_and_a_writing_method_are_refused() {
        let served = served(Ok(report())).await;
        for path in ["/", "/status.json", "/metrics", "/healthz"] {
            let (code, _, body) = served.ask("GET", path, "evil.example:8787").await;
            assert_eq!(code, 421, "{path}");
            assert!(!body.contains("customers"));
            let (code, head, _) = served.ask("POST", path, &served.address.to_string()).await;
            assert_eq!(code, 405, "{path}");
            assert!(head.contains("allow: get,head"), "{head}");
        }
    }

    #[tokio::test]
    async fn the_page_shows_the_numbers_and_no_name_becomes_markup() {
        let served = served(Ok(report())).await;
        let (code, head, body) = served.get("/").await;
        assert_eq!(code, 200);
        assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
        assert!(!head.contains("access-control"), "{head}");
        let body = body.replace("&#x2f;", "/");
        for shown in ["1,048,575", "1,048,000", "/srv/ddu/dropbox/returned", "75 rows were refused"] {
            assert!(body.contains(shown), "{shown} is missing in\n{body}");
        }
        assert!(body.contains("&lt;script&gt;") && !body.contains("<script"), "{body}");
        assert!(!body.contains("a\" onload"), "{body}");
        assert!(!body.contains("://"), "nothing is loaded from elsewhere:\n{body}");
    }

    #[tokio::test]
    async fn machines_read_the_same_numbers() {
        let served = served(Ok(report())).await;
        let (_, _, json) = served.get("/status.json").await;
        assert_eq!(serde_json::from_str::<StatusReport>(&json).unwrap(), report());
        let (code, _, text) = served.get("/metrics").await;
        assert_eq!(code, 200);
        assert!(text.contains(r#"ddu_table_rows{rows="written",table_name="customers"} 1048000"#), "{text}");
    }

    #[tokio::test]
    async fn a_status_that_cannot_be_read_is_told_and_not_shown_as_empty() {
        let served = served(Err("table `migration_state` cannot be opened".into())).await;
        let (code, _, body) = served.get("/").await;
        assert_eq!(code, 503);
        assert!(body.contains("migration_state") && !body.contains("Nothing was dropped yet"), "{body}");
        assert_eq!(served.get("/status.json").await.0, 503);
        assert_eq!(served.get("/metrics").await.0, 200, "counters are told nevertheless");
    }

    #[tokio::test]
    async fn a_stuck_daemon_says_so_and_a_stopped_one_answers_no_more() {
        let served = served(Ok(StatusReport::default())).await;
        assert_eq!(served.get("/healthz").await.0, 200);
        served.alive.store(false, Ordering::Relaxed);
        assert_eq!(served.get("/healthz").await.0, 503);
        let (_, _, body) = served.get("/").await;
        assert!(body.contains("makes no progress"), "{body}");
        // A client that never finishes its request does not hold the daemon up.
        let mut stuck = tokio::net::TcpStream::connect(served.address).await.unwrap();
        stuck.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        served.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(20), served.task).await;
        ended.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn ten_thousand_files_make_a_short_page() {
        let file = |n| FileStatus { file: format!("{n}.xlsx"), state: "settling".into(), waiting_for: None };
        let dropbox = (0..10_000).map(file).collect();
        let served = served(Ok(StatusReport { dropbox, ..StatusReport::default() })).await;
        let (_, _, body) = served.get("/").await;
        assert!(body.contains("And 9,800 more"), "{body}");
        assert!(body.len() < 100_000);
    }
}
