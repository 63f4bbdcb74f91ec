//! `CreateMultiple`, `UpdateMultiple` and `UpsertMultiple`: many records of one table, all or none. Source: dynamics.md §2.5.

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::address::{self, Key};
use super::ask::{Answer, Ask};
use super::draft::body;
use super::error::ApiError;
use super::rows::{self, Presence};
use super::schema::Table;
use super::store::Session;

/// The namespace in front of actions and types.
const NAMESPACE: &str = "Microsoft.Dynamics.CRM.";

/// What an action does with its targets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    Create,
    Update,
    Upsert,
}

/// The messages that a table may support, for `sdkmessagefilters`.
pub(super) fn messages(table: &Table) -> Vec<&'static str> {
    let mut messages = vec!["Create", "Retrieve", "RetrieveMultiple", "Update", "Upsert", "Delete"];
    if table.bulk {
        messages.extend(["CreateMultiple", "UpdateMultiple", "UpsertMultiple"]);
    }
    messages
}

/// `POST accounts/Microsoft.Dynamics.CRM.CreateMultiple` and its like.
///
/// # Errors
/// One OData error for the whole action; it does not tell which target it was, and nothing was stored.
pub(super) fn act(
    session: &mut Session<'_>,
    table: &Table,
    action: &str,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let name = action.strip_prefix(NAMESPACE).unwrap_or(action);
    let message = match name {
        "CreateMultiple" => Message::Create,
        "UpdateMultiple" => Message::Update,
        "UpsertMultiple" => Message::Upsert,
        "DeleteMultiple" => {
            return Err(ApiError::new(501, "0x80040219", "DeleteMultiple has not yet been implemented."));
        }
        _ => return Err(ApiError::unknown_segment(action)),
    };
    if ask.method != Method::POST {
        return Err(ApiError::method_not_allowed(ask.method.as_str(), &ask.path));
    }
    if !table.bulk {
        return Err(unsupported(table, name));
    }
    let targets = targets(table, body(table, ask)?)?;
    // Conditions and representations belong to single records; the action knows neither.
    let plain = Ask { body: Bytes::new(), ..ask.unconditional() };
    let ids = session.all_or_none(|session| {
        targets
            .into_iter()
            .map(|target| one(session, table, &plain, message, target))
            .collect::<Result<Vec<String>, ApiError>>()
    })?;
    // The action itself was counted as one operation already.
    session.count_operations(ids.len().saturating_sub(1));
    if message != Message::Create {
        return Ok(Answer::empty(204));
    }
    let context = format!("{}$metadata#{NAMESPACE}CreateMultipleResponse", ask.root());
    let body = json!({ "@odata.context": context, "Ids": ids });
    Ok(Answer::json(200, body.to_string().into_bytes()))
}

/// The objects in `Targets`, each of this table.
fn targets(table: &Table, mut body: Map<String, Json>) -> Result<Vec<Map<String, Json>>, ApiError> {
    let malformed =
        |what: &str| ApiError::payload(&table.set_name, &format!("Microsoft.OData.ODataException: {what}"));
    let Some(Json::Array(targets)) = body.remove("Targets") else {
        return Err(malformed("The parameter 'Targets' must be a collection of entities."));
    };
    if let Some(other) = body.keys().find(|name| !name.starts_with('@')) {
        return Err(malformed(&format!(
            "The parameter '{other}' in the request payload is not a valid parameter for the operation."
        )));
    }
    if targets.is_empty() {
        return Err(ApiError::new(400, "0x80040203", "The Targets parameter must hold at least one entity."));
    }
    let mut read = Vec::with_capacity(targets.len());
    for target in targets {
        let Json::Object(target) = target else {
            return Err(malformed("An item of 'Targets' is no object; an entity was expected."));
        };
        let Some(type_name) = target.get("@odata.type").and_then(Json::as_str) else {
            return Err(malformed(
                "A type name was not found for a resource in 'Targets'; its expected type \
                 'Microsoft.Dynamics.CRM.crmbaseentity' is abstract, so '@odata.type' must be specified.",
            ));
        };
        let logical_name = type_name.trim_start_matches('#').strip_prefix(NAMESPACE);
        if logical_name != Some(&table.logical_name) {
            return Err(malformed(&format!(
                "The type '{type_name}' of an item of 'Targets' is not '{NAMESPACE}{}'; all targets are of the table in \
                 the URL.",
                table.logical_name
            )));
        }
        read.push(target);
    }
    Ok(read)
}

/// Writes one target and returns its GUID.
fn one(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    message: Message,
    target: Map<String, Json>,
) -> Result<String, ApiError> {
    let key = match key_of(session, table, &target)? {
        Some(key) => key,
        None if message == Message::Update => {
            let what = format!("Entity Id must be specified for Update of {}.", table.logical_name);
            return Err(ApiError::new(400, "0x80040203", what));
        }
        None => return rows::make(session, table, ask, &target, None, 0),
    };
    match message {
        Message::Create => rows::make(session, table, ask, &target, Some(&key), 0),
        Message::Update => match rows::id_of(session, table, &key)? {
            Some(_) => rows::put(session, table, &key, ask, &target, Presence::Required).map(|(_, id)| id),
            None => Err(missing(table, &key)),
        },
        Message::Upsert => {
            // Stricter than a single PATCH: a key column may not stand in the body too (§2.5).
            if let Key::Alternate { key: index, .. } = &key
                && let Some(column) =
                    table.keys[*index].columns.iter().find(|name| target.contains_key(*name))
            {
                return Err(ApiError::payload(
                    &table.set_name,
                    &format!(
                        "Microsoft.Crm.CrmException: The key column '{column}' stands in '@odata.id' and in the \
                         target's own properties."
                    ),
                ));
            }
            rows::put(session, table, &key, ask, &target, Presence::Either).map(|(_, id)| id)
        }
    }
}

/// What names a target: `@odata.id`, else its primary key.
fn key_of(
    session: &mut Session<'_>,
    table: &Table,
    target: &Map<String, Json>,
) -> Result<Option<Key>, ApiError> {
    if let Some(value) = target.get("@odata.id") {
        let text = value.as_str().ok_or_else(|| ApiError::literal(table, value, "Edm.String"))?;
        let (found, key) = address::reference(session.schema(), &table.set_name, text)?;
        if found.index != table.index {
            return Err(ApiError::payload(
                &table.set_name,
                &format!("Microsoft.OData.ODataException: '{text}' is no record of '{}'.", table.set_name),
            ));
        }
        return Ok(Some(key));
    }
    let Some(value) = target.get(&table.primary_id) else { return Ok(None) };
    let id = value.as_str().and_then(|text| text.parse().ok());
    id.map(|id| Some(Key::Id(id))).ok_or_else(|| ApiError::literal(table, value, "Edm.Guid"))
}

/// 404 in the plural, as `UpdateMultiple` words it.
fn missing(table: &Table, key: &Key) -> ApiError {
    match key {
        Key::Id(id) => {
            ApiError::new(404, "0x80040217", format!("{} With Ids = {id} Do Not Exist", table.schema_name))
        }
        Key::Alternate { .. } => rows::absent(table, key),
    }
}

/// 400: the table has no such message. Its words are those of the platform's message processor.
fn unsupported(table: &Table, message: &str) -> ApiError {
    ApiError::new(
        400,
        "0x80040800",
        format!(
            "The '{message}' method does not support entities of type '{}'. MessageProcessorCache returned \
             MessageProcessor.Empty.",
            table.logical_name
        ),
    )
}
