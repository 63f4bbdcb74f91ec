//! Which part of the server answers which address.

use axum::http::Method;
use serde_json::json;

use super::address::{self, Segment};
use super::ask::{Answer, Ask};
use super::error::ApiError;
use super::schema::{Schema, Table};
use super::store::{Session, own_id};
use super::{association, bulk, definitions, metadata, query, related, rows};

/// What can be answered from the schema alone, without waiting for the store; `None` for everything about rows.
pub(super) fn described(schema: &Schema, ask: &Ask) -> Option<Answer> {
    let segments = address::segments(&ask.path).ok()?;
    let described = match segments.as_slice() {
        [] => reading(ask).map(|()| metadata::service_document(schema, ask)),
        [only] if only.name == "$metadata" => reading(ask).map(|()| metadata::document(schema)),
        [only] if only.name == "WhoAmI" => reading(ask).map(|()| who_am_i(ask)),
        [only] if only.name == "RetrieveVersion" => reading(ask).map(|()| version(ask)),
        [only] if only.name == "sdkmessagefilters" => {
            reading(ask).and_then(|()| definitions::message_filters(schema, ask))
        }
        [first, rest @ ..] if first.name == "EntityDefinitions" => {
            reading(ask).and_then(|()| definitions::answer(schema, first, rest, ask))
        }
        _ => return None,
    };
    Some(described.unwrap_or_else(|error| Answer::refusal(&error, ask.prefer)))
}

/// Answers one request inside the session's transaction.
pub(super) fn respond(session: &mut Session<'_>, ask: &Ask) -> Answer {
    if let Some(answer) = described(session.schema(), ask) {
        return answer;
    }
    session.count_operations(1);
    match dispatch(session, ask) {
        Ok(answer) => answer,
        Err(error) => Answer::refusal(&error, ask.prefer),
    }
}

fn dispatch(session: &mut Session<'_>, ask: &Ask) -> Result<Answer, ApiError> {
    let segments = address::segments(&ask.path)?;
    let schema = session.schema();
    let Some((first, rest)) = segments.split_first() else {
        return Err(ApiError::unknown_segment(&ask.path));
    };
    let table = schema.set(&first.name).ok_or_else(|| ApiError::unknown_segment(&first.name))?;
    match &first.key {
        None => collection(session, table, rest, ask),
        Some(key) => record(session, table, key, rest, ask),
    }
}

fn collection(
    session: &mut Session<'_>,
    table: &Table,
    rest: &[Segment],
    ask: &Ask,
) -> Result<Answer, ApiError> {
    match (rest, &ask.method) {
        ([], &Method::GET) => query::many(session, table, ask, None),
        ([], &Method::POST) => rows::create(session, table, ask),
        ([count], &Method::GET) if count.name == "$count" => query::count(session, table, ask, None),
        ([], method) => Err(ApiError::method_not_allowed(method.as_str(), &ask.path)),
        ([action], _) if action.name.starts_with("Microsoft.Dynamics.CRM.") => {
            bulk::act(session, table, &action.name, ask)
        }
        ([segment, ..], _) => Err(ApiError::unknown_segment(&segment.name)),
    }
}

fn record(
    session: &mut Session<'_>,
    table: &Table,
    key: &str,
    rest: &[Segment],
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let key = address::key(table, key)?;
    match (rest, &ask.method) {
        ([], &Method::GET) => {
            let id = rows::id_of(session, table, &key)?.ok_or_else(|| rows::absent(table, &key))?;
            query::one(session, table, &id, ask)
        }
        ([], &Method::PATCH) => rows::upsert(session, table, &key, ask),
        ([], &Method::DELETE) => rows::delete(session, table, &key, ask),
        ([navigation, reference], _) if reference.name == "$ref" => {
            association::answer(session, table, &key, navigation, ask)
        }
        ([], method) => Err(ApiError::method_not_allowed(method.as_str(), &ask.path)),
        (rest, _) => related::answer(session, table, &key, rest, ask),
    }
}

fn reading(ask: &Ask) -> Result<(), ApiError> {
    if ask.method == Method::GET {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed(ask.method.as_str(), &ask.path))
    }
}

/// The version of the service that the server stands for.
fn version(ask: &Ask) -> Answer {
    let body = json!({
        "@odata.context": format!("{}$metadata#Microsoft.Dynamics.CRM.RetrieveVersionResponse", ask.root()),
        "Version": "9.2.24054.00192",
    });
    Answer::json(200, body.to_string().into_bytes())
}

fn who_am_i(ask: &Ask) -> Answer {
    let body = json!({
        "@odata.context": format!("{}$metadata#Microsoft.Dynamics.CRM.WhoAmIResponse", ask.root()),
        "BusinessUnitId": own_id("business unit"),
        "UserId": own_id("user"),
        "OrganizationId": own_id("organization"),
    });
    Answer::json(200, body.to_string().into_bytes())
}
