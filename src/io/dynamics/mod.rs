//! Dynamics 365 over HTTP: what an entity takes, what a row becomes, and what became of it.
//!
//! ```text
//! connect → entity (metadata) → prepare (columns → attributes) → encode (rows → operations) → send ($batch) → outcomes
//! ```
//!
//! Every operation names its record by a key of ours, so sending it again is harmless: [`Dynamics::send`] tries again by
//! itself whatever is worth it, and what it could not finish the caller sends again later, whole.

mod encode;
mod entities;
mod fault;
mod gate;
mod lookup;
mod metadata;
mod multipart;
mod operation;
mod patience;
mod plan;
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

use secrecy::SecretString;
use url::Url;

pub use encode::{Encoded, Pass, Placed};
pub use fault::{PlanFault, PlanProblem, SendFault, TargetFault};
pub use gate::Waiting;
pub use lookup::Ids;
pub use operation::{BatchShape, Condition, History, Method, Operation, Outcome, SendReport, Trouble};
pub use plan::{PlannedColumn, Role, RowPlan};
pub use send::{BATCH_OPERATIONS_MAX, CHANGE_SET_OPERATIONS_MAX};
pub use siblings::Siblings;
pub use verdict::{Class, Setback, Verdict, judge};

use entities::Catalogue;
use wire::Wire;

/// Requests at once before the server gave its hint. Source: dynamics.md §9.16, about four fully busy requests a server
/// stay below its execution-time limit.
pub const WORKERS_DEFAULT: u16 = 4;

/// Which product stands behind the URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Dataverse Web API v9.2.
    Dataverse,
    /// Finance & Operations OData.
    Finops,
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
    /// The app registration's id.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretString,
    /// The target's name in row identities, where the URL is not lasting (the embedded sandbox); else host and path.
    pub name: Option<String>,
    /// Bounds of waits and sizes.
    pub limits: WireLimits,
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
    target_id: String,
    wire: Wire,
    catalogue: Catalogue,
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
    /// `NotYet` for Finance & Operations, `Settings` where the secret would travel in clear or the URL is no base.
    pub fn connect(settings: ConnectSettings) -> Result<Self, TargetFault> {
        if settings.kind == Dialect::Finops {
            return Err(TargetFault::NotYet { url: settings.url.to_string() });
        }
        let target_id = match &settings.name {
            Some(name) => name.to_lowercase(),
            None => target_name(&settings.url),
        };
        let wire = Wire::new(settings)?;
        Ok(Dynamics { inner: Arc::new(Inner { target_id, wire, catalogue: Catalogue::default() }) })
    }

    /// The target's lasting name, part of every row's identity: the name given, else host, port and path in lower case.
    pub fn target_id(&self) -> &str {
        &self.inner.target_id
    }

    /// Asks the target who we are: credentials, access and the hint for [`Self::workers_hint`] in one request.
    ///
    /// # Errors
    /// `Access` when the operator must act, `Unavailable` when the target did not answer.
    pub async fn who_am_i(&self) -> Result<String, TargetFault> {
        let answer = self.inner.wire.get_json("WhoAmI").await?;
        Ok(answer.get("UserId").and_then(|id| id.as_str()).unwrap_or_default().to_owned())
    }

    /// Requests at once that the server recommends (`x-ms-dop-hint`, last seen); [`WORKERS_DEFAULT`] before the first.
    pub fn workers_hint(&self) -> u16 {
        self.inner.wire.workers_hint()
    }
}

/// Host, port and path in lower case, without a closing slash.
fn target_name(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{host}{port}{}", url.path().trim_end_matches('/')).to_lowercase()
}
