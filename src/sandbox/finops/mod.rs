//! The OData service of Finance & Operations: which part of it answers which address.
//!
//! `model` is what it serves, from `built_in` or from an exported document (`import`); `csdl` and `labels` describe it, `rows` and
//! `query` write and read, `address` and `values` spell keys and values, `refusal` says no in its words. What
//! environments differ in, or what no source tells, is in `switches`. Source: dynamics.md §6.

mod address;
mod built_in;
mod csdl;
mod import;
mod labels;
mod model;
mod query;
mod refusal;
mod rows;
mod switches;
mod tables;
mod values;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use axum::http::Method;
use percent_encoding::percent_decode_str;
use rusqlite::Connection;

use super::SandboxError;
use super::address::{Segment, segments};
use super::ask::{Answer, Ask};
use super::batch::{BatchRules, Blamed, ContentIds};
use super::error::ApiError;
use super::schema::Schema;
use super::store::Session;
use model::{Entity, Model};
use refusal::{Incident, Refusal};
use switches::BATCH_OPERATIONS_MAX;

pub(super) use switches::checked;
pub use switches::{FailedBatches, FinopsOptions, Load, Overlong, Unwritable};

/// The service with what it serves.
pub(super) struct Finops {
    /// Dataverse's tables, of which there are none here.
    pub(super) no_tables: Schema,
    model: Model,
    options: FinopsOptions,
    requests: AtomicU64,
    /// The entity sets whose tables are there.
    made: Mutex<HashSet<String>>,
}

impl Finops {
    /// The service with the built-in entities, or with those of an exported `$metadata` document.
    ///
    /// # Errors
    /// When the document cannot be read or served.
    pub(super) fn open(options: &FinopsOptions, metadata: Option<&Path>) -> Result<Self, SandboxError> {
        let model = match metadata {
            None => built_in::model(),
            Some(path) => import::read(path)
                .map_err(|reason| SandboxError::Metadata { path: path.to_owned(), reason })?,
        };
        let options = options.clone();
        let (requests, made) = (AtomicU64::new(0), Mutex::default());
        Ok(Finops { no_tables: Schema::new(Vec::new()), model, options, requests, made })
    }

    /// What stands below `/data/`, or the whole path of the metadata service; `None` when the path is another one.
    pub(super) fn below_root(path: &str) -> Option<&str> {
        let Some(rest) = path.strip_prefix("/data") else { return labels::below_root(path) };
        if rest.is_empty() || rest.starts_with('?') { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// The address under which the resources stand.
    fn root(ask: &Ask) -> String {
        format!("{}/data/", ask.org)
    }

    /// Whether the request looks beyond its client's company.
    fn across(&self, ask: &Ask) -> bool {
        if self.options.reads_across && ask.method == Method::GET {
            return true;
        }
        ask.query.get("cross-company").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Makes what the store lacks before any entity is addressed.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
        tables::prepare(connection)
    }

    /// Makes the tables of these entity sets and of what they are related to, outside of any transaction.
    ///
    /// # Errors
    /// What SQLite says.
    pub(super) fn make_ready<'n>(
        &self,
        session: &Session<'_>,
        sets: impl Iterator<Item = &'n str>,
    ) -> rusqlite::Result<()> {
        let decoded = sets.map(|set| percent_decode_str(set).decode_utf8_lossy());
        for entity in decoded.filter_map(|set| self.model.set(&set)) {
            let related = entity.relations.iter().filter_map(|relation| self.model.set(relation.set));
            let dependent = self.model.referencing(entity).map(|(dependent, _)| dependent);
            for entity in std::iter::once(entity).chain(related).chain(dependent) {
                // Only the store's thread comes here, so nobody waits for the lock.
                let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                if !made.contains(&entity.set) {
                    tables::make(session.connection(), entity)?;
                    made.insert(entity.set.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether a user of the application stands for this client id.
    ///
    /// # Errors
    /// 401 where none does (dynamics.md §1.4; the body is not known).
    pub(super) fn let_in(&self, caller: String) -> Result<String, ApiError> {
        let mapped = self.options.mapped_clients.as_ref();
        if mapped.is_none_or(|mapped| mapped.contains(&caller)) {
            return Ok(caller);
        }
        Err(ApiError::new(401, "", "The application is not mapped to a user."))
    }

    /// 429 where the environment is too busy. Source: dynamics.md §6.5.
    pub(super) fn overloaded(&self) -> Option<Answer> {
        let load = self.options.load?;
        if !load.turns_away(self.requests.fetch_add(1, Ordering::Relaxed)) {
            return None;
        }
        let answer = too_busy(load.retry_after_s).answer(self.options.failure_status);
        Some(match load.retry_after_s {
            Some(seconds) => answer.with("Retry-After", seconds.to_string()),
            None => answer,
        })
    }

    /// The rules of batches. Source: dynamics.md §6.4.
    pub(super) fn batch_rules(&self) -> BatchRules {
        let FailedBatches { go_on, failure_shows, first_is_blamed } = self.options.failed_batches;
        BatchRules {
            operations_max: BATCH_OPERATIONS_MAX,
            content_ids: ContentIds::UniqueInSet,
            continue_on_error: go_on,
            failure_shows,
            blamed: if first_is_blamed { Blamed::First } else { Blamed::Culprit },
        }
    }

    /// A refusal of the rooms that both dialects share, in this dialect's envelope.
    pub(super) fn plain_refusal(&self, error: &ApiError) -> Answer {
        Refusal::from(error.clone()).answer(self.options.failure_status)
    }

    /// The answer of a fault: its own words, those of the incident that its code names, or what goes with its status.
    pub(super) fn disturbed(
        &self,
        status: u16,
        code: Option<&str>,
        message: Option<&str>,
        entity: Option<&str>,
    ) -> Answer {
        let entity = entity.and_then(|set| self.model.set(set)).or_else(|| self.model.entities.first());
        let refusal = match (message, code.and_then(Incident::named), entity) {
            (Some(message), _, _) => Refusal::worded(message).at(status),
            (None, Some(incident), Some(entity)) => Refusal::incident(entity, incident).at(status),
            _ if status == 429 => too_busy(None),
            _ => Refusal::plain(status, "An error has occurred."),
        };
        let code = code.filter(|code| Incident::named(code).is_none()).unwrap_or_default();
        refusal.coded(code).answer(self.options.failure_status)
    }

    /// What can be answered without the store: the service document, `$metadata` and the metadata service.
    pub(super) fn described(&self, ask: &Ask) -> Option<Answer> {
        let told = match ask.path.as_str() {
            "" => Ok(csdl::service_document(&self.model, ask)),
            "$metadata" => Ok(csdl::document(&self.model, self.options.facets)),
            _ => labels::answer(&self.model, ask)?,
        };
        let reading = if ask.method == Method::GET {
            told
        } else {
            Err(Refusal::method_not_allowed(ask.method.as_str()))
        };
        Some(reading.unwrap_or_else(|refusal| refusal.answer(self.options.failure_status)))
    }

    /// Answers one request inside the session's transaction.
    pub(super) fn respond(&self, session: &mut Session<'_>, ask: &Ask) -> Answer {
        if let Some(answer) = self.described(ask) {
            return answer;
        }
        session.count_operations(1);
        match self.dispatch(session, ask) {
            Ok(answer) => answer,
            Err(refusal) => refusal.answer(self.options.failure_status),
        }
    }

    fn dispatch(&self, session: &mut Session<'_>, ask: &Ask) -> Result<Answer, Refusal> {
        let not_found = || Refusal::not_found(&format!("{}{}", Finops::root(ask), ask.path));
        let segments = segments(&ask.path)?;
        let (first, rest) = segments.split_first().ok_or_else(not_found)?;
        let entity = self.model.set(&first.name).ok_or_else(not_found)?;
        if entity.read_only && ask.method != Method::GET {
            return Err(Refusal::malformed(format!("The entity '{}' is read-only.", entity.name)));
        }
        match (&first.key, rest, &ask.method) {
            (None, [], &Method::GET) => self.many(session, entity, ask),
            (None, [], &Method::POST) => self.create(session, entity, ask),
            (None, [Segment { name, key: None }], &Method::GET) if name == "$count" => {
                self.count(session, entity, ask)
            }
            (Some(key), [], method) => self.single(session, entity, key, method, ask),
            (_, [segment, ..], _) if segment.name.starts_with(model::NAMESPACE) => {
                Err(ApiError::not_played(&format!("the action {}", segment.name)).into())
            }
            (None, [], method) => Err(Refusal::method_not_allowed(method.as_str())),
            (_, [_, ..], _) => Err(not_found()),
        }
    }

    fn single(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        key: &str,
        method: &Method,
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        let key = address::key(&self.model, entity, key)?;
        match *method {
            Method::GET => self.one(session, entity, &key, ask),
            Method::PATCH | Method::PUT => self.update(session, entity, &key, ask),
            Method::DELETE => self.delete(session, entity, &key, ask),
            _ => Err(Refusal::method_not_allowed(method.as_str())),
        }
    }
}

/// 429 in the documented words, with the seconds that its header names.
fn too_busy(retry_after_s: Option<u32>) -> Refusal {
    /// What clients wait where nothing is said. Source: dynamics.md §6.5.
    const SECONDS: u32 = 30;
    let seconds = retry_after_s.unwrap_or(SECONDS);
    Refusal::plain(
        429,
        format!(
            "This request could not be processed at this time due to system experiencing high resource utilization. Retry \
             the request after {seconds} seconds"
        ),
    )
}
