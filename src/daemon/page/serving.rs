//! Connections to the page: so many at once, so long, and with heads of so many bytes, whoever is at the other end.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Bytes of a request's head; one beyond is answered with 431.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines of a request.
const HEADERS_MAX: usize = 64;
/// Pause after the system refused a connection, which it does while it has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a peer may take.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Connections at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// How long the head of a request may take to arrive, and a connection without one may stay.
    pub head: Duration,
    /// How long a connection may stay at all: also whoever never reads the answer lets go.
    pub connection: Duration,
}

impl Default for Allowance {
    /// A browser opens six connections, a scraper one.
    fn default() -> Self {
        Allowance { connections_max: 64, head: Duration::from_secs(5), connection: Duration::from_secs(60) }
    }
}

/// Serves until `stop`; requests under way then have `farewell` to be answered.
pub(super) async fn serve_router(
    listener: TcpListener,
    router: Router,
    allowance: Allowance,
    stop: CancellationToken,
    farewell: Duration,
) {
    let room = Arc::new(Semaphore::new(allowance.connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(join) = ended && join.is_panic() {
                    std::panic::resume_unwind(join.into_panic());
                }
            }
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    connections.spawn(async move {
                        talk(stream, router, allowance, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::debug!(error = %error, "a connection to the page was not taken");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // What is not answered by then is cut off with the set.
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(farewell, all).await.is_err() {
        tracing::debug!("connections to the page were cut off");
    }
}

/// Answers what one peer asks, one request after the other. How it ends is the peer's affair.
async fn talk(stream: TcpStream, router: Router, allowance: Allowance, stop: CancellationToken) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(allowance.head);
    server.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let conversation = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match timeout(allowance.connection, conversation).await {
        Ok(Ok::<(), _>(())) => {}
        Ok(Err(error)) => tracing::debug!(error = %error, "a connection to the page ended"),
        Err(_) => tracing::debug!("a connection to the page had its time"),
    }
}
