//! Dynamics 365 over HTTP: what an entity takes, what a row becomes, and what became of it.
//!
//! ```text
//! connect → entity (metadata) → prepare (columns → attributes) → encode (rows → operations) → send ($batch) → outcomes
//! ```
//!
//! Every operation names its record by a key of ours, so sending it again is harmless: [`Dynamics::send`] tries again by
//! itself whatever is worth it, and what it could not finish the caller sends again later, whole.

mod bulk;
mod credential;
mod encode;
mod entities;
mod fault;
mod finops;
mod gate;
mod lookup;
mod metadata;
mod multipart;
mod operation;
mod pace;
mod patience;
mod pilot;
mod plan;
mod principals;
mod read_back;
mod send;
mod siblings;
mod spelling;
mod token;
mod verdict;
mod wire;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fake;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod journey;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use url::Url;

pub use bulk::BULK_OPERATIONS_MAX;
pub use credential::Credential;
pub use encode::{Encoded, Pass, Placed};
pub use fault::{PlanFault, PlanProblem, SendFault, TargetFault};
pub use gate::Waiting;
pub use lookup::Ids;
pub use operation::{
    BatchShape, Condition, History, Knowing, Method, Operation, Outcome, SendReport, Trouble,
};
pub use pace::{PaceReport, Way};
pub use pilot::Counts;
pub use plan::{EntityKeyColumns, PlannedColumn, Role, RowPlan};
pub use principals::PrincipalReport;
pub use read_back::{Difference, Found, ReadBack, Record, Sought};
pub use send::{BATCH_OPERATIONS_MAX, CHANGE_SET_OPERATIONS_MAX};
pub use siblings::Siblings;
pub use verdict::{Class, Setback, Verdict, judge};

use entities::Catalogue;
use pace::Pace;
use wire::Wire;

/// Requests at once before the server gave its hint. Source: dynamics.md §9.16, about four fully busy requests a server
/// stay below its execution-time limit.
pub const WORKERS_DEFAULT: u16 = 4;

/// Requests at once at most under one application user, whatever the server takes. Source: dynamics.md §4.1, the limit on
/// concurrency.
pub const PARALLELISM_MAX: u16 = 52;

/// Which product stands behind the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Dataverse Web API v9.2.
    Dataverse,
    /// Finance & Operations OData.
    Finops,
}

impl Dialect {
    /// Where the API begins below the service root. Source: dynamics.md §2, §6.1.
    fn api_path(self) -> &'static str {
        match self {
            Dialect::Dataverse => "/api/data/v9.2/",
            Dialect::Finops => "/data/",
        }
    }
}

/// Where the target is and who we are there.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// The product.
    pub kind: Dialect,
    /// The service root, `https://org.crm.dynamics.com`; `http` only on this machine.
    pub url: Url,
    /// Who gives tokens, `https://login.microsoftonline.com`; `http` only on this machine.
    pub authority: Url,
    /// The tenant: a GUID or a domain name.
    pub tenant_id: String,
    /// The application users that requests are made as, side by side; at least one.
    pub principals: Vec<PrincipalSettings>,
    /// Whether upserts may go by bulk action. It is quicker, but does not tell which records were created.
    pub bulk_upserts: bool,
    /// The clock that assertions are dated by.
    pub now: fn() -> Timestamp,
    /// The target's name in row identities, where the URL is not lasting (the embedded sandbox); else host and path.
    pub name: Option<String>,
    /// Bounds of waits and sizes.
    pub limits: WireLimits,
}

/// An application user.
#[derive(Debug, Clone)]
pub struct PrincipalSettings {
    /// The app registration's id.
    pub client_id: String,
    /// What it proves itself with.
    pub credential: Credential,
    /// Requests at once at most; without it as many as the server takes gladly.
    pub workers: Option<u16>,
}

/// Bounds of waits and sizes on the wire.
#[derive(Debug, Clone)]
pub struct WireLimits {
    /// Longest wait for a connection.
    pub connect_timeout: Duration,
    /// Longest silence in an answer.
    pub read_timeout: Duration,
    /// Longest time for one request and its answer.
    pub request_timeout: Duration,
    /// Largest answer in bytes, after decompression.
    pub response_bytes_max: usize,
    /// Largest request body in bytes.
    pub batch_bytes_max: usize,
    /// Tries in a row without a single row settled before a call gives up.
    pub attempts_max: u32,
    /// First pause after a setback for which the server named none; it doubles from there, with jitter.
    pub backoff_min: Duration,
    /// Longest such pause.
    pub backoff_max: Duration,
    /// Longest pause that is sat out within a call, also when the server asks for it; a longer one is the caller's.
    pub wait_max: Duration,
}

impl WireLimits {
    /// The bounds for a product. F&O carries out a batch row by row and answers when it is done, and its first answer after
    /// a restart takes minutes (dynamics.md §6.1): silence is borne longer there.
    pub fn of(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Dataverse => WireLimits::default(),
            Dialect::Finops => WireLimits {
                read_timeout: Duration::from_secs(900),
                request_timeout: Duration::from_secs(1_800),
                ..WireLimits::default()
            },
        }
    }
}

impl Default for WireLimits {
    /// Read and request timeouts outlast the two minutes of a plug-in and the four of Microsoft's own client
    /// (dynamics.md §2.5); no absolute size limit of a request is documented (§4.4), so batches stay far below those known.
    fn default() -> Self {
        WireLimits {
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(150),
            request_timeout: Duration::from_secs(300),
            response_bytes_max: 64 << 20,
            batch_bytes_max: 16 << 20,
            attempts_max: 8,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            wait_max: Duration::from_secs(600),
        }
    }
}

/// A target. Cheap to clone; clones share the token, the limits and what is known of the entities.
#[derive(Clone)]
pub struct Dynamics {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    target_id: String,
    wire: Wire,
    catalogue: Catalogue,
    finops: finops::Learned,
    pace: Pace,
}

impl std::fmt::Debug for Dynamics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dynamics").field("target", &self.inner.target_id).finish_non_exhaustive()
    }
}

impl Dynamics {
    /// A client for the target. Nothing is sent yet: a target that is down does not keep the daemon from starting.
    ///
    /// # Errors
    /// `Settings` where the secret would travel in clear or the URL is no base.
    pub fn connect(settings: ConnectSettings) -> Result<Self, TargetFault> {
        let dialect = settings.kind;
        let target_id = match &settings.name {
            Some(name) => name.to_lowercase(),
            None => target_name(&settings.url),
        };
        let wire = Wire::new(settings)?;
        Ok(Dynamics {
            inner: Arc::new(Inner {
                dialect,
                target_id,
                wire,
                catalogue: Catalogue::default(),
                finops: finops::Learned::default(),
                pace: Pace::default(),
            }),
        })
    }

    /// Which product it is.
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// The target's lasting name, part of every row's identity: the name given, else host, port and path in lower case.
    pub fn target_id(&self) -> &str {
        &self.inner.target_id
    }

    /// Asks the target whether it lets us in, and as whom: credentials, access and the server's hint in one
    /// request. The answer is the end of a sentence.
    ///
    /// # Errors
    /// `Access` when the operator must act, `Unavailable` when the target did not answer.
    pub async fn who_am_i(&self) -> Result<String, TargetFault> {
        Ok(self.greeting(&self.inner.wire.get_json(self.greeting_path()).await?))
    }

    /// A cheap read that needs credentials and access. F&O has no `WhoAmI`: there it is the list of its entities.
    fn greeting_path(&self) -> &'static str {
        match self.inner.dialect {
            Dialect::Dataverse => "WhoAmI",
            Dialect::Finops => "",
        }
    }

    fn greeting(&self, answer: &serde_json::Value) -> String {
        match self.inner.dialect {
            Dialect::Dataverse => {
                let user = answer.get("UserId").and_then(|id| id.as_str()).unwrap_or_default();
                format!("we are user {user} there")
            }
            Dialect::Finops => {
                let sets = answer.get("value").and_then(|sets| sets.as_array()).map_or(0, Vec::len);
                format!("we are let in, and it has {sets} entities")
            }
        }
    }

    /// Asks the target who each of the application users is: its client id, and the end of a sentence as of
    /// [`Self::who_am_i`], or why it is refused. What one is answered says nothing about the others.
    pub async fn who_are_we(&self) -> Vec<(String, Result<String, String>)> {
        let wire = &self.inner.wire;
        let mut heard = Vec::new();
        for (index, client_id) in wire.client_ids().enumerate() {
            let answer = match wire.get_as(index, self.greeting_path()).await {
                Ok(answer) if answer.status < 400 => {
                    Ok(self.greeting(&serde_json::from_slice(&answer.body).unwrap_or_default()))
                }
                Ok(answer) => {
                    let verdict = judge(answer.status, &answer.body);
                    Err(format!("{}: {}", verdict.error, verdict.cause))
                }
                Err(stumble) => Err(stumble.to_string()),
            };
            heard.push((client_id.to_owned(), answer));
        }
        heard
    }

    /// Requests that should be ready to leave at once, all application users together: as many as their pilots let go, and
    /// one more each, so that more can be tried. At first what the server recommends (`x-ms-dop-hint`).
    pub fn demand(&self) -> u16 {
        self.inner.wire.demand()
    }

    /// How the rows of each table go that were sent so far.
    pub fn pace(&self) -> Vec<PaceReport> {
        self.inner.pace.report()
    }

    /// How each application user fares, in the order of the settings.
    pub fn principals(&self) -> Vec<PrincipalReport> {
        self.inner.wire.report()
    }
}

/// Host, port and path in lower case, without a closing slash.
fn target_name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", url.path().trim_end_matches('/')).to_lowercase()
}
