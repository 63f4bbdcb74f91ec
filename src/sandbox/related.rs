//! What stands behind a record's address: related records, single properties, and writes of them. Source: dynamics.md §2.

use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use super::address::{Key, Segment};
use super::ask::{Answer, Ask};
use super::association::pointed_at;
use super::draft::body;
use super::error::ApiError;
use super::query::{self, Scope};
use super::rows::{self, Presence, absent, id_of};
use super::schema::Table;
use super::store::Session;

/// Answers `accounts(…)/…`; `rest` is what follows the record and is not empty.
///
/// # Errors
/// 404 without the record or the property, 405 for a method that does not go with it.
pub(super) fn answer(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    rest: &[Segment],
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let Some((first, further)) = rest.split_first() else {
        return Err(ApiError::unknown_segment(&ask.path));
    };
    let name = &first.name;
    let id = id_of(session, table, key)?.ok_or_else(|| absent(table, key))?;
    if let Some((column, targets)) = table.navigation(name) {
        only_read(ask)?;
        let Some((to, id)) = pointed_at(session, table, (column, &targets), &id)? else {
            return Ok(Answer::empty(204));
        };
        if further.is_empty() {
            return query::one(session, to, &id, ask);
        }
        let id = id.parse().map_err(|_| ApiError::does_not_exist(to, &id))?;
        return answer(session, to, &Key::Id(id), further, ask);
    }
    if let Some((from, column, target)) = session.schema().referencing_by(table, name) {
        only_read(ask)?;
        let scope = Scope::pointing(column, target, &id);
        return match further {
            [] => query::many(session, from, ask, Some(scope)),
            [count] if count.name == "$count" => query::count(session, from, ask, Some(scope)),
            [segment, ..] => Err(ApiError::unknown_segment(&segment.name)),
        };
    }
    if table.property(name).is_none() {
        return Err(ApiError::unknown_segment(name));
    }
    match (&ask.method, further) {
        (&Method::GET, []) => {
            let value = value(session, table, &id, name, ask)?;
            if value.is_null() {
                return Ok(Answer::empty(204));
            }
            let context = format!("{}$metadata#{}({id})/{name}", ask.root(), table.set_name);
            let body = json!({ "@odata.context": context, "value": value });
            Ok(Answer::json(200, body.to_string().into_bytes()))
        }
        (&Method::GET, [raw]) if raw.name == "$value" => {
            let text = match value(session, table, &id, name, ask)? {
                Json::Null => return Ok(Answer::empty(204)),
                Json::String(text) => text,
                other => other.to_string(),
            };
            Ok(Answer { content_type: Some("text/plain"), body: text.into_bytes(), ..Answer::empty(200) })
        }
        (&Method::PUT, []) => {
            let value = body(table, ask)?.remove("value").ok_or_else(|| {
                ApiError::payload(&table.set_name, "Microsoft.OData.ODataException: 'value' is missing.")
            })?;
            put(session, table, key, name, value, ask)
        }
        (&Method::DELETE, []) => put(session, table, key, name, Json::Null, ask),
        (method, []) => Err(ApiError::method_not_allowed(method.as_str(), &ask.path)),
        (_, [segment, ..]) => Err(ApiError::unknown_segment(&segment.name)),
    }
}

fn only_read(ask: &Ask) -> Result<(), ApiError> {
    if ask.method == Method::GET {
        Ok(())
    } else {
        Err(ApiError::method_not_allowed(ask.method.as_str(), &ask.path))
    }
}

fn value(
    session: &mut Session<'_>,
    table: &Table,
    id: &str,
    name: &str,
    ask: &Ask,
) -> Result<Json, ApiError> {
    let query = ask.query.nested(vec![("$select".to_owned(), name.to_owned())]);
    let ask = Ask { query, ..ask.clone() };
    let mut loaded =
        query::load(session, table, id, &ask)?.ok_or_else(|| ApiError::does_not_exist(table, id))?;
    Ok(loaded.record.remove(name).unwrap_or_default())
}

fn put(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    name: &str,
    value: Json,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let body = Map::from_iter([(name.to_owned(), value)]);
    rows::put(session, table, key, ask, &body, Presence::Required)?;
    Ok(Answer::empty(204))
}
