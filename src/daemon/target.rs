//! The target that the settings name; for `sandbox` the rehearsal server, embedded, on a port of its own.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::assembly::Access;
use crate::config::{ServiceTarget, Settings, Target};
use crate::io::dynamics::{ConnectSettings, Credential, Dialect, Dynamics, PrincipalSettings, WireLimits};
use crate::sandbox::{Sandbox, SandboxDialect, SandboxOptions};

/// The file in the sandbox's folder that holds its rows.
pub const SANDBOX_FILE: &str = "sandbox.sqlite";

/// A connected target; the embedded server lives as long as this value.
pub struct OpenTarget {
    /// The client.
    pub dynamics: Dynamics,
    /// What people call it: `sandbox`, or the environment's address.
    pub name: String,
    server: Option<(CancellationToken, JoinHandle<()>)>,
}

impl OpenTarget {
    /// Connects to the target that the settings name.
    ///
    /// # Errors
    /// When not one secret or certificate can be read, the sandbox's store cannot be opened, or the address is not usable.
    pub async fn open(settings: &Settings, now: fn() -> Timestamp, access: Access) -> anyhow::Result<Self> {
        match &settings.target {
            Target::Sandbox(sandbox) => {
                let mut options = SandboxOptions::at(sandbox.store.join(SANDBOX_FILE));
                let mut kind = Dialect::Dataverse;
                if sandbox.finops {
                    options.dialect = SandboxDialect::finops();
                    kind = Dialect::Finops;
                }
                let server = match access {
                    Access::Work => Sandbox::open(options),
                    Access::Look => Sandbox::copy(options),
                };
                let server = server.context("the sandbox cannot be opened")?;
                let listen = sandbox.listen.filter(|_| access == Access::Work);
                let listen = listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
                let listener = TcpListener::bind(listen).await.with_context(|| {
                    format!("the sandbox cannot listen on `{listen}`; set another `listen` in `target`")
                })?;
                let url: url::Url = format!("http://{}", listener.local_addr()?).parse()?;
                let stop = CancellationToken::new();
                let stopped = stop.clone();
                let serving = async move {
                    if let Err(error) = server.serve(listener, stopped.cancelled_owned()).await {
                        tracing::error!(%error, "the sandbox stopped");
                    }
                };
                #[expect(
                    clippy::disallowed_methods,
                    reason = "awaited by close(); jobs notice a dead server themselves"
                )]
                let handle = tokio::spawn(serving);
                let connect = ConnectSettings {
                    kind,
                    url: url.clone(),
                    authority: url,
                    tenant_id: "sandbox".to_owned(),
                    principals: vec![PrincipalSettings {
                        client_id: "ddu".to_owned(),
                        credential: Credential::Known("rehearsal".into()),
                        workers: None,
                    }],
                    bulk_upserts: false,
                    now,
                    name: Some("sandbox".to_owned()),
                    limits: WireLimits::of(kind),
                };
                let dynamics = Dynamics::connect(connect)?;
                Ok(OpenTarget { dynamics, name: "sandbox".to_owned(), server: Some((stop, handle)) })
            }
            Target::Dataverse(service) | Target::Finops(service) => {
                let kind = match settings.target {
                    Target::Finops(_) => Dialect::Finops,
                    _ => Dialect::Dataverse,
                };
                let connect = ConnectSettings {
                    kind,
                    url: service.url.clone(),
                    authority: service.authority.clone(),
                    tenant_id: service.tenant_id.clone(),
                    principals: principals(service)?,
                    bulk_upserts: service.bulk_upserts,
                    now,
                    name: None,
                    limits: WireLimits::of(kind),
                };
                let dynamics = Dynamics::connect(connect)?;
                Ok(OpenTarget { dynamics, name: service.url.to_string(), server: None })
            }
        }
    }

    /// Ends the embedded server after its last answer.
    pub async fn close(self) {
        if let Some((stop, serving)) = self.server {
            stop.cancel();
            if let Err(error) = serving.await {
                tracing::error!(%error, "the sandbox did not end well");
            }
        }
    }
}

/// The application users of a service. Their secrets are read for every token; here only whether they can be.
fn principals(service: &ServiceTarget) -> anyhow::Result<Vec<PrincipalSettings>> {
    let mut readable = 0;
    let mut fault = None;
    for principal in &service.principals {
        match principal.credential.look() {
            Ok(()) => readable += 1,
            Err(error) => {
                if service.principals.len() > 1 {
                    tracing::warn!(principal = %principal.client_id, %error, "an application user cannot be used");
                }
                fault = fault.or(Some(error));
            }
        }
    }
    match fault {
        Some(error) if readable == 0 => Err(error.into()),
        _ => Ok(service
            .principals
            .iter()
            .map(|principal| PrincipalSettings {
                client_id: principal.client_id.clone(),
                credential: principal.credential.clone().into(),
                workers: principal.workers,
            })
            .collect()),
    }
}
