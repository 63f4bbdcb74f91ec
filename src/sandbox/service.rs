//! Which product the server stands for: everything in which the two dialects differ at the door.

use std::sync::Arc;

use super::api;
use super::ask::{self, Answer, Ask, Prefer};
use super::batch::{BatchRules, Blamed, ContentIds};
use super::error::ApiError;
use super::finops::Finops;
use super::schema::Schema;
use super::store::Session;
use super::{SandboxDialect, SandboxError, SandboxOptions, entities, imported, known};

/// The product that answers.
#[derive(Clone)]
pub(super) enum Service {
    /// The Dataverse Web API with these tables.
    Dataverse(Arc<Schema>),
    /// The OData service of Finance & Operations.
    Finops(Arc<Finops>),
}

impl Service {
    /// The product that the options name, with the entities that it serves.
    ///
    /// # Errors
    /// When the metadata document that the options name cannot be used.
    pub(super) fn of(options: &SandboxOptions) -> Result<Self, SandboxError> {
        match (&options.dialect, &options.metadata) {
            (SandboxDialect::Dataverse, None) => Ok(Service::Dataverse(Arc::new(entities::built_in()))),
            (SandboxDialect::Dataverse, Some(path)) => {
                imported::read(path).map(|schema| Service::Dataverse(Arc::new(schema)))
            }
            (SandboxDialect::Finops(finops), metadata) => {
                Finops::open(finops, metadata.as_deref()).map(|finops| Service::Finops(Arc::new(finops)))
            }
        }
    }

    /// The tables of Dataverse; none where another product answers.
    pub(super) fn schema(&self) -> &Schema {
        match self {
            Service::Dataverse(schema) => schema,
            Service::Finops(finops) => &finops.no_tables,
        }
    }

    /// What stands below the API's root; `None` when the path is another one.
    pub(super) fn below_root<'p>(&self, path: &'p str) -> Option<&'p str> {
        match self {
            Service::Dataverse(_) => ask::below_root(path),
            Service::Finops(_) => Finops::below_root(path),
        }
    }

    /// Whether a client with a token of ours may come in.
    ///
    /// # Errors
    /// 401 for a client that no user of the application stands for.
    pub(super) fn let_in(&self, caller: String) -> Result<String, ApiError> {
        match self {
            Service::Dataverse(_) => Ok(caller),
            Service::Finops(finops) => finops.let_in(caller),
        }
    }

    /// 429 where the server is too busy for one more request.
    pub(super) fn overloaded(&self) -> Option<Answer> {
        match self {
            Service::Dataverse(_) => None,
            Service::Finops(finops) => finops.overloaded(),
        }
    }

    /// What can be answered without waiting for the store; `None` for everything about rows.
    pub(super) fn described(&self, ask: &Ask) -> Option<Answer> {
        match self {
            Service::Dataverse(schema) => api::described(schema, ask),
            Service::Finops(finops) => finops.described(ask),
        }
    }

    /// Makes what the store lacks for these entity sets, before the transaction that needs it begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn make_ready<'n>(
        &self,
        session: &Session<'_>,
        sets: impl Iterator<Item = &'n str>,
    ) -> rusqlite::Result<()> {
        match self {
            Service::Dataverse(_) => Ok(()),
            Service::Finops(finops) => finops.make_ready(session, sets),
        }
    }

    /// Answers one request inside the session's transaction.
    pub(super) fn respond(&self, session: &mut Session<'_>, ask: &Ask) -> Answer {
        match self {
            Service::Dataverse(_) => api::respond(session, ask),
            Service::Finops(finops) => finops.respond(session, ask),
        }
    }

    /// The answer that carries a refusal which both products know.
    pub(super) fn refusal(&self, error: &ApiError, prefer: Prefer) -> Answer {
        match self {
            Service::Dataverse(_) => Answer::refusal(error, prefer),
            Service::Finops(finops) => finops.plain_refusal(error),
        }
    }

    /// The answer of a fault; where it has no code or message, the documented ones that go with its status.
    pub(super) fn disturbed(
        &self,
        status: u16,
        code: Option<&str>,
        message: Option<&str>,
        entity: Option<&str>,
    ) -> Answer {
        match self {
            Service::Dataverse(_) => {
                let usual = code.and_then(known::by_code).unwrap_or(known::by_status(status));
                let (code, message) = (code.unwrap_or(usual.code), message.unwrap_or(usual.text));
                let body = serde_json::json!({ "error": { "code": code, "message": message } });
                Answer::json(status, body.to_string().into_bytes())
            }
            Service::Finops(finops) => finops.disturbed(status, code, message, entity),
        }
    }

    /// The rules of batches.
    pub(super) fn batch_rules(&self) -> BatchRules {
        match self {
            // Source: dynamics.md §3.1 to §3.3.
            Service::Dataverse(_) => BatchRules {
                operations_max: 1_000,
                content_ids: ContentIds::UniqueInBatch,
                continue_on_error: false,
                failure_shows: false,
                blamed: Blamed::Culprit,
            },
            Service::Finops(finops) => finops.batch_rules(),
        }
    }
}
