//! `$ref`: tells what a record refers to, and sets and clears references from either end. Source: dynamics.md §2.6, §3.1.

use axum::http::Method;
use serde_json::{Map, Value as Json, json};

use super::address::{self, Key, Segment};
use super::ask::{Answer, Ask};
use super::draft::{Draft, body, unknown_reference};
use super::error::ApiError;
use super::rows::{self, absent, existing, id_of, update};
use super::schema::{Column, Table, Target};
use super::store::Session;

/// `GET`, `PUT`, `POST` or `DELETE accounts(…)/primarycontactid/$ref` and the same behind a collection.
///
/// # Errors
/// 404 without the records or the property, 405 for a method that does not go with the property.
pub(super) fn answer(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    navigation: &Segment,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let name = &navigation.name;
    if let Some((column, targets)) = table.navigation(name) {
        return one(session, table, key, (column, &targets), ask);
    }
    let schema = session.schema();
    let (from, column, target) =
        schema.referencing_by(table, name).ok_or_else(|| ApiError::unknown_segment(name))?;
    let id = id_of(session, table, key)?.ok_or_else(|| absent(table, key))?;
    match ask.method {
        Method::GET => {
            let ids = pointing(session, from, (column, target), &id)?;
            let address =
                |id: String| json!({ "@odata.id": format!("{}{}({id})", ask.root(), from.set_name) });
            let value: Vec<Json> = ids.into_iter().map(address).collect();
            let body = json!({ "@odata.context": format!("{}$metadata#Collection($ref)", ask.root()), "value": value });
            Ok(Answer::json(200, body.to_string().into_bytes()))
        }
        Method::POST => {
            let child = named(session, from, table, ask)?;
            let mut draft = Draft::empty(from);
            draft.point(column, target, id);
            let child = existing(session, from, &child, &ask.unconditional())?;
            session.operation(&table.set_name, &Map::new())?;
            update(session, from, draft, child)?;
            Ok(Answer::empty(204))
        }
        Method::DELETE => {
            let child = match (&navigation.key, ask.query.get("$id")) {
                (Some(text), _) => address::key(from, text)?,
                (None, Some(text)) => of_table(session, from, table, text)?,
                (None, None) => return Err(ApiError::method_not_allowed("DELETE", &ask.path)),
            };
            let child_id = id_of(session, from, &child)?.ok_or_else(|| absent(from, &child))?;
            if !pointing(session, from, (column, target), &id)?.contains(&child_id) {
                return Err(ApiError::does_not_exist(from, &child_id));
            }
            let mut draft = Draft::empty(from);
            draft.set(column, rusqlite::types::Value::Null);
            let child = existing(session, from, &child, &ask.unconditional())?;
            session.operation(&table.set_name, &Map::new())?;
            update(session, from, draft, child)?;
            Ok(Answer::empty(204))
        }
        _ => Err(ApiError::method_not_allowed(ask.method.as_str(), &ask.path)),
    }
}

/// The reference that a record itself holds.
fn one(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    (column, targets): (&Column, &[&Target]),
    ask: &Ask,
) -> Result<Answer, ApiError> {
    match ask.method {
        Method::GET => {
            let id = id_of(session, table, key)?.ok_or_else(|| absent(table, key))?;
            let Some((to, id)) = pointed_at(session, table, (column, targets), &id)? else {
                return Ok(Answer::empty(204));
            };
            let address = format!("{}{}({id})", ask.root(), to.set_name);
            let body =
                json!({ "@odata.context": format!("{}$metadata#$ref", ask.root()), "@odata.id": address });
            Ok(Answer::json(200, body.to_string().into_bytes()))
        }
        Method::PUT | Method::DELETE => {
            let found = existing(session, table, key, ask)?;
            let value = if ask.method == Method::DELETE { Json::Null } else { odata_id(table, ask)? };
            let mut draft = Draft::empty(table);
            draft.bind(session, table, ask, (column, targets), &value)?;
            session.operation(&table.set_name, &Map::new())?;
            update(session, table, draft, found)?;
            Ok(Answer::empty(204))
        }
        _ => Err(ApiError::method_not_allowed(ask.method.as_str(), &ask.path)),
    }
}

/// The table and the GUID that a lookup of this record points at through one of `targets`.
///
/// # Errors
/// Only what the store says.
pub(super) fn pointed_at<'s>(
    session: &mut Session<'s>,
    table: &Table,
    (column, targets): (&Column, &[&Target]),
    id: &str,
) -> Result<Option<(&'s Table, String)>, ApiError> {
    let type_slot =
        if column.targets().len() > 1 { column.type_slot_name() } else { table.primary_id.clone() };
    let sql = format!(
        "SELECT \"{}\", \"{type_slot}\" FROM \"{}\" WHERE \"{}\" = ?1",
        column.name, table.logical_name, table.primary_id
    );
    let (found, name): (Option<String>, Option<String>) =
        session.statement(&sql)?.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let schema = session.schema();
    let target = targets
        .iter()
        .find(|target| column.targets().len() == 1 || Some(target.table.as_str()) == name.as_deref());
    Ok(found.zip(target.and_then(|target| schema.logical(&target.table))).map(|(id, table)| (table, id)))
}

/// The records of `from` whose lookup points at this record.
fn pointing(
    session: &mut Session<'_>,
    from: &Table,
    (column, target): (&Column, &Target),
    id: &str,
) -> Result<Vec<String>, ApiError> {
    let mut sql = format!(
        "SELECT \"{}\" FROM \"{}\" WHERE \"{}\" = ?1",
        from.primary_id, from.logical_name, column.name
    );
    if column.targets().len() > 1 {
        sql.push_str(&format!(" AND \"{}\" = '{}'", column.type_slot_name(), target.table));
    }
    let statement = session.statement(&sql)?;
    let ids = statement.query_map([id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>();
    Ok(ids?)
}

/// `@odata.id` of the body.
fn odata_id(table: &Table, ask: &Ask) -> Result<Json, ApiError> {
    body(table, ask)?.remove("@odata.id").ok_or_else(|| {
        ApiError::payload(&table.set_name, "Microsoft.OData.ODataException: '@odata.id' is missing.")
    })
}

/// The record of `from` that the body names.
fn named(session: &mut Session<'_>, from: &Table, table: &Table, ask: &Ask) -> Result<Key, ApiError> {
    let value = odata_id(table, ask)?;
    let text = value.as_str().ok_or_else(|| ApiError::literal(table, &value, "Edm.String"))?;
    let text = match text.strip_prefix('$') {
        Some(content_id) => ask.references.get(content_id).ok_or_else(|| unknown_reference(content_id))?,
        None => text,
    };
    of_table(session, from, table, text)
}

/// The record of `from` that `text` names.
fn of_table(session: &mut Session<'_>, from: &Table, table: &Table, text: &str) -> Result<Key, ApiError> {
    let (found, key) = address::reference(session.schema(), &table.set_name, text)?;
    if found.index != from.index {
        return Err(ApiError::payload(
            &table.set_name,
            &format!(
                "Microsoft.OData.ODataException: The resource '{text}' is not one of '{}'.",
                from.set_name
            ),
        ));
    }
    rows::id_of(session, found, &key)?.map(|_| ()).ok_or_else(|| absent(found, &key))?;
    Ok(key)
}
