//! Entities by any of their names, as the target's metadata describes them; read when first needed, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value as Json;
use tokio::time::Instant;

use super::bulk::{self, Action, BULK_OPERATIONS_MAX, Support, Table};
use super::fault::TargetFault;
use super::metadata::{self, Cast, EntityHead};
use super::send::CHANGE_SET_OPERATIONS_MAX;
use super::spelling::encoded;
use super::wire::Wire;
use super::{Dialect, Dynamics, finops};
use crate::domain::entity::Entity;
use crate::domain::near::did_you_mean;
use crate::domain::settings::Mode;
use crate::domain::table::TableName;

/// How long metadata is believed; a column added in Dynamics is known after this at the latest.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Metadata requests at once, of the dozen that one entity takes.
const REQUESTS_AT_ONCE: usize = 4;
/// Records that `$count` counts at most. Source: Microsoft Learn, "Count number of rows" of the Web API.
const COUNT_MAX: u64 = 5_000;

/// What was learned about the target's entities.
#[derive(Default)]
pub(super) struct Catalogue {
    heads: Mutex<Option<Aged<Arc<Vec<EntityHead>>>>>,
    entities: Mutex<HashMap<String, Aged<Arc<Entity>>>>,
    bulk: Mutex<HashMap<String, Aged<Support>>>,
}

struct Aged<T> {
    value: T,
    read_at: Instant,
}

impl<T: Clone> Aged<T> {
    fn fresh(&self) -> Option<T> {
        (self.read_at.elapsed() < AGE_MAX).then(|| self.value.clone())
    }
}

impl Dynamics {
    /// The entity with this set name, logical name or display name, in that order; case and outer blanks do not count.
    /// A display name may also be written as a table is called: `business_unit` is the `Business Unit`.
    ///
    /// # Errors
    /// `UnknownEntity` with the nearest name; else what kept the target from answering.
    pub async fn entity(&self, name: &str) -> Result<Arc<Entity>, TargetFault> {
        if self.dialect() == Dialect::Finops {
            return self.finops_entity(name).await;
        }
        let heads = self.heads().await?;
        let head = find(&heads, name).ok_or_else(|| TargetFault::UnknownEntity {
            target: self.target_id().to_owned(),
            name: name.to_owned(),
            hint: did_you_mean(name, heads.iter().map(|head| head.set_name.as_str())),
        })?;
        let catalogue = &self.inner.catalogue;
        let known = lock(&catalogue.entities).get(&head.logical_name).and_then(Aged::fresh);
        if let Some(entity) = known {
            return Ok(entity);
        }
        let entity = Arc::new(read_entity(&self.inner.wire, head, &heads).await?);
        let aged = Aged { value: entity.clone(), read_at: Instant::now() };
        lock(&catalogue.entities).insert(head.logical_name.clone(), aged);
        Ok(entity)
    }

    /// Records that the entity has now.
    ///
    /// # Errors
    /// What kept the target from answering.
    pub async fn count(&self, entity: &Entity) -> Result<u64, TargetFault> {
        let wire = &self.inner.wire;
        let path = match self.dialect() {
            Dialect::Dataverse => format!("{}/$count", entity.set_name),
            // Of all companies.
            Dialect::Finops => format!("{}/$count?cross-company=true", entity.set_name),
        };
        let answer = wire.get(&path).await?;
        let text = String::from_utf8_lossy(&answer.body);
        let counted = text.trim_start_matches('\u{feff}').trim().parse::<u64>().map_err(|_| {
            let found = format!("{}: {}", answer.status, crate::domain::conform::excerpt(&text));
            TargetFault::Misunderstood { doing: format!("GET {path}"), found }
        })?;
        if counted != COUNT_MAX || self.dialect() == Dialect::Finops {
            return Ok(counted);
        }
        // Exactly the most that it tells: the records themselves have to be counted, by pages of ids.
        let mut counted = 0;
        let id = entity.primary_id.as_deref().unwrap_or(&entity.logical_name);
        wire.each_of(&format!("{}?$select={id}", entity.set_name), |_| counted += 1).await?;
        Ok(counted)
    }

    /// Which bulk actions the table supports, as the target tells; none where it does not tell, which costs nothing but
    /// speed.
    pub(super) async fn bulk_support(&self, table: &Table) -> Support {
        let catalogue = &self.inner.catalogue;
        let known = lock(&catalogue.bulk).get(&table.logical_name).and_then(Aged::fresh);
        if let Some(support) = known {
            return support;
        }
        let mut support = Support::default();
        for action in Action::ALL {
            let Some(supported) = self.inner.wire.lists_any(&bulk::probe_path(table, action)).await else {
                // Not told for now: asked again with the next rows.
                return Support::default();
            };
            support.learn(action, supported);
        }
        tracing::debug!(entity = %table.set_name, ?support, "bulk actions");
        let aged = Aged { value: support, read_at: Instant::now() };
        lock(&catalogue.bulk).insert(table.logical_name.clone(), aged);
        support
    }

    /// Rows that one transaction on the entity holds: what a change set takes, or a bulk action where the table supports
    /// those.
    pub async fn transaction_rows_max(&self, entity: &Entity, mode: Mode) -> usize {
        if self.dialect() == Dialect::Finops {
            return finops::OPERATIONS_MAX;
        }
        let table = Table { set_name: entity.set_name.clone(), logical_name: entity.logical_name.clone() };
        let support = match mode {
            Mode::Insert | Mode::Upsert | Mode::Update => self.bulk_support(&table).await,
            Mode::Edit | Mode::Delete => Support::default(),
        };
        let supported = match mode {
            // A repetition after an answer was lost is an upsert.
            Mode::Insert => support.create && support.upsert,
            Mode::Upsert => support.upsert,
            Mode::Update => support.update,
            Mode::Edit | Mode::Delete => false,
        };
        if supported { BULK_OPERATIONS_MAX } else { CHANGE_SET_OPERATIONS_MAX }
    }

    async fn heads(&self) -> Result<Arc<Vec<EntityHead>>, TargetFault> {
        let known = lock(&self.inner.catalogue.heads).as_ref().and_then(Aged::fresh);
        if let Some(heads) = known {
            return Ok(heads);
        }
        let mut heads = Vec::new();
        self.inner.wire.each_of(metadata::HEADS_PATH, |json| heads.extend(metadata::head(&json))).await?;
        let heads = Arc::new(heads);
        *lock(&self.inner.catalogue.heads) = Some(Aged { value: heads.clone(), read_at: Instant::now() });
        Ok(heads)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find<'a>(heads: &'a [EntityHead], name: &str) -> Option<&'a EntityHead> {
    let wanted = name.trim().to_lowercase();
    let is = |given: &str| given.to_lowercase() == wanted;
    heads
        .iter()
        .find(|head| is(&head.set_name))
        .or_else(|| heads.iter().find(|head| is(&head.logical_name)))
        .or_else(|| heads.iter().find(|head| head.display_names.iter().any(|display| is(display))))
        .or_else(|| {
            heads.iter().find(|head| head.display_names.iter().any(|display| is_table(display, &wanted)))
        })
}

/// Whether a file of this display name would be staged in this table.
fn is_table(display: &str, table: &str) -> bool {
    TableName::from_stem(display).is_ok_and(|name| name.as_str() == table)
}

/// Reads the columns, their bounds by type, the keys and the lookups of one entity. Source: dynamics.md §5.2.
async fn read_entity(wire: &Wire, head: &EntityHead, heads: &[EntityHead]) -> Result<Entity, TargetFault> {
    let base = format!("EntityDefinitions(LogicalName='{}')", encoded(&head.logical_name));
    let columns = list(wire, format!("{base}/Attributes?$select={}", metadata::ATTRIBUTE_SELECT)).await?;
    let wanted = Cast::ALL.into_iter().filter(|cast| columns.iter().any(|column| cast.is_for(column)));
    let details: Vec<Vec<Json>> = stream::iter(wanted)
        .map(|cast| list(wire, format!("{base}/Attributes/{}", cast.path())))
        .buffered(REQUESTS_AT_ONCE)
        .try_collect()
        .await?;
    let keys = list(wire, format!("{base}/Keys")).await?;
    let relationships =
        list(wire, format!("{base}/ManyToOneRelationships?$select={}", metadata::RELATIONSHIP_SELECT))
            .await?;
    let details: Vec<Json> = details.into_iter().flatten().collect();
    Ok(metadata::entity(head, &columns, &details, &keys, &relationships, heads))
}

async fn list(wire: &Wire, path: String) -> Result<Vec<Json>, TargetFault> {
    let mut found = Vec::new();
    wire.each_of(&path, |json| found.push(json)).await?;
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_is_called_as_people_call_the_entity_finds_it() {
        // `Business Unit.xlsx` is staged in the table `business_unit`, which is then the entity's name.
        let label = |text: &str| json!({"UserLocalizedLabel": {"Label": text}});
        let head = |set_name: &str, logical_name: &str, one: &str, many: &str| {
            let head = json!({
                "EntitySetName": set_name, "LogicalName": logical_name, "DisplayName": label(one),
                "DisplayCollectionName": label(many), "PrimaryIdAttribute": "id", "PrimaryNameAttribute": "name",
            });
            metadata::head(&head).unwrap()
        };
        let heads = [
            head("accounts", "account", "Business Unit", "Accounts"),
            head("businessunits", "businessunit", "Geschäftseinheit", "Business Units"),
        ];
        let found = |name: &str| find(&heads, name).map(|head| head.set_name.as_str());
        assert_eq!(found("business_unitz"), None);
        assert_eq!(found("business_units"), Some("businessunits"));
        assert_eq!(found("geschäftseinheit"), Some("businessunits"));
        let table = TableName::from_stem("Geschäftseinheit").unwrap();
        assert_eq!(found(table.as_str()), Some("businessunits"), "{table}");
        assert_eq!(found("business_unit"), Some("accounts"), "its own display name is `Business Unit`");
        assert_eq!(found("account"), Some("accounts"));
    }
}
