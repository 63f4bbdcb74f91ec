//! The rehearsal server: speaks the Dataverse Web API, or Finance & Operations' OData, over real HTTP; rows in SQLite.
//!
//! It is the second reading of the specification (`dynamics.md`) beside the client in `io::dynamics`, and shares no code
//! with it. A request comes in at `front`, which checks its token and disturbs it where a fault says so; `batch` takes
//! apart what comes in bundles; `service` knows which of the two products answers. For Dataverse `api` finds who answers
//! an address; `rows` and `query` do so on the one thread of `store`. For Finance & Operations `finops` does all of that.

mod address;
mod api;
mod ask;
mod association;
mod attributes;
mod batch;
mod bulk;
mod conditions;
mod csdl;
mod definitions;
mod draft;
mod entities;
mod error;
mod expand;
mod faults;
mod filter;
mod finops;
mod front;
mod imported;
mod known;
mod line;
mod literal;
mod metadata;
mod protection;
mod query;
mod related;
mod report;
mod rows;
mod schema;
mod script;
mod service;
mod store;
mod strike;
mod token;
mod values;
mod voice;
mod window;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod rehearsal;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use faults::{
    Cut, DELAY_MS_MAX, Disturbance, Fault, FaultAnswer, FaultTrigger, FaultsError, RequestKind,
};
pub use finops::{FailedBatches, FinopsOptions, Load, Overlong, Unwritable};
pub use protection::{Protection, RetryAfter};
pub use script::Script;
pub use voice::{Codes, Language, Voice};

/// How long requests that are being answered may take once the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What a rehearsal server is started with.
#[derive(Clone)]
pub struct SandboxOptions {
    /// The SQLite file that keeps the rows; made with its folder where it is missing.
    pub store: PathBuf,
    /// The one secret that the token endpoint takes; `None` takes any.
    pub client_secret: Option<String>,
    /// How long a token lives, in seconds.
    pub token_life_s: u64,
    /// The `x-ms-dop-hint` of every answer: requests at once that the server says it likes.
    pub dop_hint: u16,
    /// Largest body of one request in bytes; a larger one is answered with 413.
    pub body_bytes_max: usize,
    /// Which requests to disturb, and how.
    pub faults: Vec<Fault>,
    /// The service protection limits; `None` tells the documented ones and enforces none.
    pub protection: Option<Protection>,
    /// How refusals are worded.
    pub voice: Voice,
    /// The product that it stands for.
    pub dialect: SandboxDialect,
    /// A `$metadata` document, exported from the product, whose entities are served in place of the built-in ones.
    pub metadata: Option<PathBuf>,
}

/// The product that a rehearsal server stands for.
#[derive(Debug, Clone)]
pub enum SandboxDialect {
    /// The Dataverse Web API.
    Dataverse,
    /// The OData service of Finance & Operations, with what environments of it differ in.
    Finops(Box<FinopsOptions>),
}

impl SandboxDialect {
    /// Finance & Operations as it is most often seen.
    pub fn finops() -> Self {
        SandboxDialect::Finops(Box::default())
    }
}

/// Largest body of one request in bytes. Source: dynamics.md §2.5 (116.85 MB with a plug-in; no other figure is known).
pub const BODY_BYTES_MAX: usize = 122_526_105;

impl SandboxOptions {
    /// An undisturbed server over this file: any secret, tokens for an hour, four requests at once.
    pub fn at(store: impl Into<PathBuf>) -> Self {
        SandboxOptions {
            store: store.into(),
            client_secret: None,
            token_life_s: 3_599,
            dop_hint: 4,
            body_bytes_max: BODY_BYTES_MAX,
            faults: Vec::new(),
            protection: None,
            voice: Voice::default(),
            dialect: SandboxDialect::Dataverse,
            metadata: None,
        }
    }

    /// What a script says takes the place of what was there; one that says what Finance & Operations is like speaks it.
    pub fn follow(&mut self, script: Script) {
        self.faults = script.rules;
        self.protection = script.protection.or(self.protection.take());
        self.voice = script.voice;
        if let Some(finops) = script.finops {
            self.dialect = SandboxDialect::Finops(Box::new(finops));
        }
    }
}

/// Everything but the secret.
impl std::fmt::Debug for SandboxOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SandboxOptions")
            .field("store", &self.store)
            .field("client_secret", &self.client_secret.as_ref().map(|_| "…"))
            .field("token_life_s", &self.token_life_s)
            .field("dop_hint", &self.dop_hint)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("faults", &self.faults)
            .field("protection", &self.protection)
            .field("voice", &self.voice)
            .field("dialect", &self.dialect)
            .field("metadata", &self.metadata)
            .finish()
    }
}

/// Why a rehearsal server cannot start or had to stop. The operator must act.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The folder of the store cannot be made.
    #[error("the sandbox's folder `{path}` cannot be made")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite cannot use the store.
    #[error("the sandbox's store `{path}` cannot be used")]
    Store {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file belongs to another program.
    #[error("`{path}` is a SQLite file of another program; name another file for the sandbox's store")]
    ForeignStore {
        /// The file.
        path: PathBuf,
    },
    /// The metadata document cannot be served.
    #[error("the metadata document `{path}` cannot be used: {reason}")]
    Metadata {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The thread that owns the store ended by itself.
    #[error("the sandbox's store stopped while requests were waiting")]
    Stopped {
        /// What is known about it.
        #[source]
        source: StoreStopped,
    },
    /// The server cannot run.
    #[error("the sandbox cannot serve")]
    Serve {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The store's thread is gone.
#[derive(Debug, thiserror::Error)]
#[error("the thread of the store is gone")]
pub struct StoreStopped;

/// A rehearsal server with its store open, not yet serving.
pub struct Sandbox {
    options: SandboxOptions,
    service: service::Service,
    store: store::OpenStore,
}

impl Sandbox {
    /// Opens the store, makes it where it is missing. Rows of earlier runs are there again.
    ///
    /// # Errors
    /// When the file cannot be made or used, or belongs to another program, and when the metadata document cannot be
    /// served.
    pub fn open(options: SandboxOptions) -> Result<Self, SandboxError> {
        let service = service::Service::of(&options)?;
        let store = store::OpenStore::open(&options.store, service.clone())?;
        Ok(Sandbox { options, service, store })
    }

    /// As [`Sandbox::open`], over a copy in memory: what is written to it is gone with it, and no file is touched.
    ///
    /// # Errors
    /// When the file cannot be read, or belongs to another program, and when the metadata document cannot be served.
    pub fn copy(options: SandboxOptions) -> Result<Self, SandboxError> {
        let service = service::Service::of(&options)?;
        let store = store::OpenStore::copy(&options.store, service.clone())?;
        Ok(Sandbox { options, service, store })
    }

    /// Answers requests until `stop`, lets those under way finish (at most ten seconds), and closes the store.
    ///
    /// The address of the environment is what clients call it (`Host`), so any listener will do.
    ///
    /// # Errors
    /// When the server cannot run, or its store failed under it.
    pub async fn serve(
        self,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), SandboxError> {
        let Sandbox { options, service, store } = self;
        let tokens = token::Tokens::new(store.signing_key, options.client_secret, options.token_life_s);
        let faults = Arc::new(strike::Faults::new(options.faults));
        let (store, thread, gone) =
            store.start(Arc::clone(&faults)).map_err(|source| SandboxError::Serve { source })?;
        let closing = store.clone();
        let servers = protection::Servers::new(options.protection);
        let (dop_hint, body_bytes_max, voice) = (options.dop_hint, options.body_bytes_max, options.voice);
        let admitted = front::admitted_at_once(&servers);
        let front = front::Front {
            service,
            store,
            tokens,
            faults,
            servers,
            dop_hint,
            body_bytes_max,
            voice,
            admitted,
        };
        let app = Router::new()
            .fallback(front::answer)
            .with_state(Arc::new(front))
            .into_make_service_with_connect_info::<line::Line>();
        let asked = CancellationToken::new();
        let stopping = asked.clone();
        let asked_to_stop = async move {
            tokio::select! {
                () = stop => {}
                _ = gone => {}
            }
            stopping.cancel();
        };
        let serving = axum::serve(line::Lines::new(listener), app).with_graceful_shutdown(asked_to_stop);
        let served = tokio::select! {
            served = serving => served,
            () = drained(asked) => Ok(()),
        };
        // A connection that outlived the drain still holds a way to the store, so the store is told to end.
        closing.stop().await;
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        served.map_err(|source| SandboxError::Serve { source })?;
        match joined {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(SandboxError::Stopped { source: StoreStopped }),
        }
    }
}

/// Resolves when the server was asked to stop and the time to finish is over.
async fn drained(asked: CancellationToken) {
    asked.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}
