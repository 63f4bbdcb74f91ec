//! Finance & Operations over OData: what is its own, from `$metadata` to the infolog. Source: dynamics.md §6.
//!
//! A record is named by the entity's own key, whose first member is the company (`dataAreaId`) where an entity belongs to
//! one. There is no upsert and no key of ours: an insert whose answer was lost is asked for by its key before it is sent
//! again, and where the service makes the key a person decides.

mod answers;
mod ask;
mod batch;
pub(super) mod infolog;
mod metadata;
mod naming;
mod operations;
mod read_back;
mod send;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fake;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod journey;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::metadata::{Model, Pieces};
use super::Dynamics;
use super::fault::TargetFault;
use super::patience::Patience;
use super::verdict::{Class, judge};
use super::wire::{Stumble, Wire};
use crate::domain::entity::Entity;
use crate::domain::near::did_you_mean;
use crate::domain::settings::LoadSettings;

pub(super) use self::metadata::squeezed;
pub(super) use self::naming::{EntityNaming, Usual};
pub(super) use self::operations::{Course, deletion, operation, target_key};
pub(super) use self::read_back::Wanted;

/// Operations in one batch, and so in one change set. Source: dynamics.md §6.4.
pub(super) const OPERATIONS_MAX: usize = 5_000;
/// The attribute that holds the company. Source: dynamics.md §6.1.
pub(super) const COMPANY: &str = "dataAreaId";
/// How requests reach records of other companies than the default one. Source: dynamics.md §6.1.
const CROSS_COMPANY: &str = "cross-company=true";
/// How long metadata is believed. It is a matter of deployments, and reading it takes the service minutes after a restart.
const MODEL_AGE_MAX: Duration = Duration::from_secs(3_600);
/// How long an answer about the default company is believed: as long as a workbook is looked at from several sides.
const COMPANY_AGE_MAX: Duration = Duration::from_secs(60);
/// Pieces of the metadata that may wait for the parser.
const PIECES_WAITING_MAX: usize = 16;

/// What was learned about an environment.
#[derive(Default)]
pub(super) struct Learned {
    model: Mutex<Option<(Instant, Arc<Model>)>>,
    /// Held while it is read, so that many workbooks read it once.
    reading: tokio::sync::Mutex<()>,
    company: Mutex<Option<(Instant, DefaultCompany)>>,
    /// Whether batches are not taken here, or not answered so that answers find their operations.
    one_by_one: AtomicBool,
}

/// The company of records that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DefaultCompany {
    Known(String),
    /// It has no record of the entity yet, so nothing tells its name.
    Empty,
    /// Reads without `cross-company` show several companies, so they do not tell which is the default one. Source:
    /// dynamics.md §6.1, where the documents contradict each other.
    Hidden,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Dynamics {
    /// As [`Dynamics::entity`].
    pub(super) async fn finops_entity(&self, name: &str) -> Result<Arc<Entity>, TargetFault> {
        let model = self.model().await?;
        model.entity(name).map(Arc::new).ok_or_else(|| TargetFault::UnknownEntity {
            target: self.target_id().to_owned(),
            name: name.to_owned(),
            hint: did_you_mean(name, model.set_names()),
        })
    }

    async fn model(&self) -> Result<Arc<Model>, TargetFault> {
        let learned = &self.inner.finops;
        let known = || {
            let model = lock(&learned.model);
            model.as_ref().filter(|(at, _)| at.elapsed() < MODEL_AGE_MAX).map(|(_, model)| model.clone())
        };
        if let Some(model) = known() {
            return Ok(model);
        }
        let reading = learned.reading.lock().await;
        if let Some(model) = known() {
            return Ok(model);
        }
        let model = Arc::new(read_model(&self.inner.wire).await?);
        *lock(&learned.model) = Some((Instant::now(), model.clone()));
        drop(reading);
        Ok(model)
    }

    /// The company that the load's rows go to where they do not say so themselves.
    pub(super) async fn usual_company(
        &self,
        entity: &Entity,
        settings: &LoadSettings,
    ) -> Result<naming::Usual, TargetFault> {
        if entity.attribute(COMPANY).is_none() {
            return Ok(naming::Usual::Shared);
        }
        if let Some(company) = settings.legal_entity.as_deref().filter(|company| !company.is_empty()) {
            return Ok(naming::Usual::Named(company.to_owned()));
        }
        let known = lock(&self.inner.finops.company).clone();
        let company = match known.filter(|(at, _)| at.elapsed() < COMPANY_AGE_MAX) {
            Some((_, company)) => company,
            None => self.default_company(&entity.set_name).await?,
        };
        Ok(naming::Usual::Default(match company {
            DefaultCompany::Known(company) => Some(company),
            DefaultCompany::Empty | DefaultCompany::Hidden => None,
        }))
    }

    /// Asks which company is the default one: reads that name none show its records alone. Whether that is so here is
    /// asked as well; a wrong guess would write to another company.
    async fn default_company(&self, set: &str) -> Result<DefaultCompany, TargetFault> {
        let first = self.company_in(&format!("{set}?$select={COMPANY}&$top=1")).await?;
        let company = match first {
            None => DefaultCompany::Empty,
            Some(company) => {
                let literal = super::spelling::encoded(&format!("'{}'", company.replace('\'', "''")));
                let others = format!("{set}?$select={COMPANY}&$filter={COMPANY}%20ne%20{literal}&$top=1");
                match self.company_in(&others).await? {
                    None => DefaultCompany::Known(company),
                    Some(_) => DefaultCompany::Hidden,
                }
            }
        };
        *lock(&self.inner.finops.company) = Some((Instant::now(), company.clone()));
        Ok(company)
    }

    async fn company_in(&self, path: &str) -> Result<Option<String>, TargetFault> {
        let answer = self.inner.wire.get_json(path).await?;
        let first = answer.get("value").and_then(|records| records.get(0));
        Ok(first.and_then(|record| record.get(COMPANY)).and_then(Json::as_str).map(str::to_owned))
    }
}

/// Reads and parses `$metadata`, trying again as patience allows.
async fn read_model(wire: &Wire) -> Result<Model, TargetFault> {
    let doing = || "GET $metadata".to_owned();
    let mut patience = Patience::new(wire.limits());
    let mut attempts = 0;
    loop {
        attempts += 1;
        let (sender, receiver) = mpsc::channel(PIECES_WAITING_MAX);
        let parse = tokio::task::spawn_blocking(move || Model::read(Pieces::of(receiver)));
        let fetched = wire.metadata(&sender).await;
        drop(sender);
        let parsed = parse.await.unwrap_or_else(|join| std::panic::resume_unwind(join.into_panic()));
        let unavailable = |reason: String, attempts: u32, retry_in: Duration| TargetFault::Unavailable {
            doing: doing(),
            reason,
            attempts,
            retry_in,
        };
        let found = match (fetched, parsed) {
            (Ok(answer), _) if answer.status >= 400 => {
                let verdict = judge(answer.status, &answer.body);
                match verdict.class {
                    Class::Transient(_) => Err((verdict.error, None, false)),
                    Class::Access => {
                        return Err(TargetFault::Access { error: verdict.error, cause: verdict.cause });
                    }
                    _ => Ok(verdict.error),
                }
            }
            (Ok(_), Ok(model)) => return Ok(model),
            (Ok(_), Err(found)) => Ok(found),
            (Err(Stumble::Later { reason, wait, setback, .. }), _) => Err((reason, wait, setback.is_some())),
            (Err(Stumble::Closed(waiting)), _) => {
                return Err(unavailable(waiting.reason, attempts - 1, waiting.pause));
            }
            (Err(Stumble::Access { error, cause }), _) => return Err(TargetFault::Access { error, cause }),
            (Err(Stumble::TooLarge { limit }), _) => Ok(format!("more than {limit} bytes")),
        };
        let (reason, wait, held) = match found {
            Ok(found) => return Err(TargetFault::Misunderstood { doing: doing(), found }),
            Err(later) => later,
        };
        match patience.next(wait, held) {
            // The gate holds the next try back as long as it must.
            Ok(_) if held => {}
            Ok(pause) => tokio::time::sleep(pause).await,
            Err(retry_in) => return Err(unavailable(reason, attempts, retry_in)),
        }
    }
}
