//! Writes of single records: create, upsert, update, delete, and the conditions that go with them.

use rusqlite::types::Value;
use rusqlite::{ErrorCode, OptionalExtension, params_from_iter};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::address::{self, Key};
use super::ask::{Answer, Ask, Condition};
use super::error::ApiError;
use super::query;
use super::schema::{Column, Kind, Table, Target};
use super::store::Session;
use super::values::checked;

/// What a request wants stored: one entry a slot, `None` where it does not mention the column.
struct Draft {
    slots: Vec<Option<Value>>,
}

/// What is needed of a stored record before it is changed.
struct Existing {
    id: String,
    version: i64,
    state: i64,
    status: i64,
}

/// Which columns take a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Create,
    Update,
}

/// `POST accounts`
///
/// # Errors
/// The refusals of dynamics.md §2.4, §2.6 and §7.3; nothing was stored then.
pub(super) fn create(session: &mut Session<'_>, table: &Table, ask: &Ask) -> Result<Answer, ApiError> {
    let body = body(table, ask)?;
    let draft = draft(session, table, ask, &body, Purpose::Create)?;
    let id = insert(session, table, draft, None)?;
    if ask.prefer.representation {
        return represented(session, table, ask, &id, 201);
    }
    Ok(located(table, ask, &id, format!("{}({id})", table.set_name)))
}

/// `PATCH accounts(…)`: updates the record, or creates it, as the conditions allow.
///
/// # Errors
/// 404 for `If-Match` without a record, 412 for `If-None-Match: *` with one or for a stale version, and as [`create`].
pub(super) fn upsert(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let body = body(table, ask)?;
    let existing = find(session, table, key)?;
    let (status, id) = match existing {
        Some(existing) => {
            if ask.if_none_match == Some(Condition::Any) {
                return Err(ApiError::duplicate_record());
            }
            same_version(&existing, ask)?;
            let mut draft = draft(session, table, ask, &body, Purpose::Update)?;
            // An existing record keeps the key it was found by; the body's columns of that key are dropped (§2.3).
            if let Key::Alternate { key, .. } = key {
                for slot in table.key_slots(*key) {
                    draft.slots[slot] = None;
                }
            }
            let id = existing.id.clone();
            update(session, table, draft, existing)?;
            (200, id)
        }
        None => {
            if ask.if_match.is_some() {
                return Err(absent(table, key));
            }
            let mut draft = draft(session, table, ask, &body, Purpose::Create)?;
            let id = match key {
                Key::Id(id) => Some(*id),
                Key::Alternate { key, values } => {
                    for (slot, value) in table.key_slots(*key).zip(values) {
                        draft.slots[slot].get_or_insert_with(|| value.clone());
                    }
                    None
                }
            };
            (201, insert(session, table, draft, id)?)
        }
    };
    if ask.prefer.representation {
        return represented(session, table, ask, &id, status);
    }
    // The answer names the record as the request did, by GUID or by alternate key (§2.3).
    Ok(located(table, ask, &id, ask.path.clone()))
}

/// `DELETE accounts(…)`; references to the record are cleared.
///
/// # Errors
/// 404 without the record, 412 for a stale version.
pub(super) fn delete(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let existing = find(session, table, key)?.ok_or_else(|| absent(table, key))?;
    same_version(&existing, ask)?;
    session.all_or_none(|session| remove(session, table, &existing))?;
    Ok(Answer::empty(204))
}

/// Removes the record and what points at it.
fn remove(session: &mut Session<'_>, table: &Table, existing: &Existing) -> Result<(), ApiError> {
    let schema = session.schema();
    for (from, column, target) in schema.referencing(table) {
        let version = session.next_version();
        let mut sql = format!(
            "UPDATE \"{}\" SET \"{}\" = NULL, versionnumber = ?2 WHERE \"{}\" = ?1",
            from.logical_name, column.name, column.name
        );
        if column.targets().len() > 1 {
            sql.push_str(&format!(" AND \"{}\" = '{}'", column.type_slot_name(), target.table));
        }
        session.statement(&sql)?.execute((&existing.id, version))?;
    }
    let sql = format!("DELETE FROM \"{}\" WHERE \"{}\" = ?1", table.logical_name, table.primary_id);
    session.statement(&sql)?.execute([&existing.id])?;
    Ok(())
}

/// `PUT` or `DELETE accounts(…)/primarycontactid/$ref`: sets or clears one lookup.
///
/// # Errors
/// 404 without the record or what it is to point at.
pub(super) fn refer(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    navigation: &str,
    ask: &Ask,
) -> Result<Answer, ApiError> {
    let (column, target) =
        table.navigation(navigation).ok_or_else(|| ApiError::unknown_segment(navigation))?;
    let existing = find(session, table, key)?.ok_or_else(|| absent(table, key))?;
    let value = if ask.method == axum::http::Method::DELETE {
        Json::Null
    } else {
        body(table, ask)?.remove("@odata.id").ok_or_else(|| {
            ApiError::payload(&table.set_name, "Microsoft.OData.ODataException: '@odata.id' is missing.")
        })?
    };
    let mut draft = Draft { slots: vec![None; table.slots.len()] };
    bind(session, table, ask, (column, target), &value, &mut draft)?;
    update(session, table, draft, existing)?;
    Ok(Answer::empty(204))
}

/// The GUID of the record that `key` names.
pub(super) fn id_of(session: &mut Session<'_>, table: &Table, key: &Key) -> Result<Option<String>, ApiError> {
    Ok(find(session, table, key)?.map(|existing| existing.id))
}

/// 404 for a record that is not there, in the words that go with the kind of key.
pub(super) fn absent(table: &Table, key: &Key) -> ApiError {
    match key {
        Key::Id(id) => ApiError::does_not_exist(table, &id.to_string()),
        Key::Alternate { .. } => ApiError::no_record_by_key(table),
    }
}

fn located(table: &Table, ask: &Ask, id: &str, path: String) -> Answer {
    let address = format!("{}{path}", ask.root());
    let location = format!("{}{}({id})", ask.root(), table.set_name);
    let record = Some(format!("{}({id})", table.set_name));
    let answer = Answer { record, ..Answer::empty(204) };
    answer.with("OData-EntityId", address).with("Location", location)
}

fn represented(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    id: &str,
    status: u16,
) -> Result<Answer, ApiError> {
    let answer = query::one(session, table, id, ask)?;
    let record = Some(format!("{}({id})", table.set_name));
    let answer = Answer { status, record, ..answer };
    Ok(answer.with("Preference-Applied", "return=representation".to_owned()))
}

fn body(table: &Table, ask: &Ask) -> Result<Map<String, Json>, ApiError> {
    if ask.body.is_empty() {
        return Err(ApiError::payload(&table.set_name, "System.ArgumentException: Stream was not readable."));
    }
    serde_json::from_slice(&ask.body).map_err(|error| {
        ApiError::payload(&table.set_name, &format!("Microsoft.OData.ODataException: Invalid JSON. {error}."))
    })
}

/// Reads a body. Faults of its form win over faults of its values, as the service parses before it validates.
fn draft(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    body: &Map<String, Json>,
    purpose: Purpose,
) -> Result<Draft, ApiError> {
    let mut draft = Draft { slots: vec![None; table.slots.len()] };
    let mut first_fault = None;
    let mut binds = Vec::new();
    for (name, value) in body {
        if let Some((property, annotation)) = name.split_once('@') {
            if annotation == "odata.bind" {
                let found = table
                    .navigation(property)
                    .ok_or_else(|| ApiError::undeclared_navigation(table, property))?;
                binds.push((found, value));
            }
            continue;
        }
        if let Some(column) = table.column(name).filter(|column| column.targets().is_empty()) {
            match checked(table, column, value) {
                Ok(value) if takes(column, purpose) => set(column, value, &mut draft),
                Ok(_) => {}
                Err(error) if error.code == "0x80048d19" => return Err(error),
                Err(error) if takes(column, purpose) => {
                    first_fault.get_or_insert(error);
                }
                Err(_) => {}
            }
        } else if table.property(name).is_some() {
            return Err(ApiError::payload(
                &table.set_name,
                "Microsoft.OData.ODataException: CRM do not support direct update of Entity Reference properties, Use \
                 Navigation properties instead.",
            ));
        } else if let Some(found) = table.navigation(name) {
            match value {
                Json::Null => binds.push((found, value)),
                Json::Object(_) | Json::Array(_) => return Err(ApiError::not_played("deep insert")),
                // A plain value in the place of a record is refused.
                _ => drop(checked(table, found.0, value)?),
            }
        } else {
            return Err(ApiError::unknown_property(table, name));
        }
    }
    if let Some(error) = first_fault {
        return Err(error);
    }
    for (found, value) in binds {
        bind(session, table, ask, found, value, &mut draft)?;
    }
    Ok(draft)
}

fn takes(column: &Column, purpose: Purpose) -> bool {
    match purpose {
        Purpose::Create => column.creatable,
        Purpose::Update => column.updatable,
    }
}

fn set(column: &Column, value: Value, draft: &mut Draft) {
    let Some(slot) = column.slot else { return };
    if column.targets().len() > 1 && value == Value::Null {
        draft.slots[slot + 1] = Some(Value::Null);
    }
    draft.slots[slot] = Some(value);
}

/// Points a lookup at the record that `value` names, which must exist.
fn bind(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    (column, target): (&Column, &Target),
    value: &Json,
    draft: &mut Draft,
) -> Result<(), ApiError> {
    let Some(slot) = column.slot else { return Ok(()) };
    if value.is_null() {
        set(column, Value::Null, draft);
        return Ok(());
    }
    let text = value.as_str().ok_or_else(|| ApiError::literal(table, value, "Edm.String"))?;
    let text = match text.strip_prefix('$') {
        Some(content_id) => {
            ask.references.get(content_id).ok_or_else(|| unknown_reference(content_id))?.as_str()
        }
        None => text,
    };
    let schema = session.schema();
    let (pointed_at, key) = address::reference(schema, &table.set_name, text)?;
    if pointed_at.logical_name != target.table {
        return Err(ApiError::payload(
            &table.set_name,
            &format!(
                "Microsoft.OData.ODataException: The resource '{text}' is not of the type \
                 'Microsoft.Dynamics.CRM.{}' that '{}' refers to.",
                target.table, target.navigation
            ),
        ));
    }
    let id = id_of(session, pointed_at, &key)?.ok_or_else(|| absent(pointed_at, &key))?;
    draft.slots[slot] = Some(Value::Text(id));
    if column.targets().len() > 1 {
        draft.slots[slot + 1] = Some(Value::Text(target.table.to_owned()));
    }
    Ok(())
}

/// 400: `$1` before the request with that Content-ID made a record.
pub(super) fn unknown_reference(content_id: &str) -> ApiError {
    ApiError::new(
        400,
        "0x80060888",
        format!("Content-ID Reference: '${content_id}' does not exist in the batch context."),
    )
}

fn find(session: &mut Session<'_>, table: &Table, key: &Key) -> Result<Option<Existing>, ApiError> {
    let (condition, values) = match key {
        Key::Id(id) => (format!("\"{}\" = ?1", table.primary_id), vec![Value::Text(id.to_string())]),
        Key::Alternate { key, values } => {
            let columns = table.keys[*key].columns.iter().enumerate();
            let conditions: Vec<String> =
                columns.map(|(index, column)| format!("\"{column}\" = ?{}", index + 1)).collect();
            (conditions.join(" AND "), values.clone())
        }
    };
    let sql = format!(
        "SELECT \"{}\", versionnumber, statecode, statuscode FROM \"{}\" WHERE {condition}",
        table.primary_id, table.logical_name
    );
    let existing = session
        .statement(&sql)?
        .query_row(params_from_iter(values), |row| {
            Ok(Existing { id: row.get(0)?, version: row.get(1)?, state: row.get(2)?, status: row.get(3)? })
        })
        .optional()?;
    Ok(existing)
}

fn same_version(existing: &Existing, ask: &Ask) -> Result<(), ApiError> {
    match ask.if_match {
        None | Some(Condition::Any) => Ok(()),
        Some(Condition::Version(version)) if version == existing.version => Ok(()),
        Some(Condition::Version(_) | Condition::Other(_)) => Err(ApiError::version_mismatch()),
    }
}

/// Stores a new record and returns its GUID: the one in the URL, else the one in the body, else a new one.
fn insert(
    session: &mut Session<'_>,
    table: &Table,
    mut draft: Draft,
    id: Option<Uuid>,
) -> Result<String, ApiError> {
    let slots = &table.system;
    let id = match (id, draft.slots[slots.id].take()) {
        (Some(id), _) => id.to_string(),
        (None, Some(Value::Text(id))) => id,
        (None, _) => Uuid::new_v4().to_string(),
    };
    draft.slots[slots.id] = Some(Value::Text(id.clone()));
    defaults(table, &mut draft);
    let (state, status) = state_of(table, &draft, 0, None)?;
    draft.slots[table.system.state] = Some(Value::Integer(state));
    draft.slots[table.system.status] = Some(Value::Integer(status));
    let now = Value::Text(session.now().to_owned());
    // A record with `overriddencreatedon` shows that time as its creation, and there the time when it really came.
    let overridden = slots.overridden_created;
    let created = match draft.slots[overridden].take() {
        Some(Value::Text(given)) => {
            draft.slots[overridden] = Some(now.clone());
            Value::Text(given)
        }
        _ => now.clone(),
    };
    draft.slots[table.system.created] = Some(created);
    draft.slots[table.system.modified] = Some(now);
    draft.slots[table.system.version] = Some(Value::Integer(session.next_version()));
    session
        .statement(&table.insert_sql)?
        .execute(params_from_iter(draft.slots))
        .map_err(|error| violation(table, error))?;
    Ok(id)
}

fn defaults(table: &Table, draft: &mut Draft) {
    for column in &table.columns {
        let Some(slot) = column.slot else { continue };
        if draft.slots[slot].is_some() {
            continue;
        }
        draft.slots[slot] = match column.kind {
            Kind::Boolean { default, .. } => Some(Value::Integer(i64::from(default))),
            Kind::Choice { default: Some(default), .. } => Some(Value::Integer(default.into())),
            _ => None,
        };
    }
}

fn update(
    session: &mut Session<'_>,
    table: &Table,
    mut draft: Draft,
    existing: Existing,
) -> Result<(), ApiError> {
    let (state, status) = state_of(table, &draft, existing.state, Some(existing.status))?;
    draft.slots[table.system.state] = Some(Value::Integer(state));
    draft.slots[table.system.status] = Some(Value::Integer(status));
    draft.slots[table.system.modified] = Some(Value::Text(session.now().to_owned()));
    draft.slots[table.system.version] = Some(Value::Integer(session.next_version()));
    let mut sql = format!("UPDATE \"{}\" SET ", table.logical_name);
    let mut values = Vec::new();
    for (slot, value) in draft.slots.into_iter().enumerate() {
        let Some(value) = value else { continue };
        if !values.is_empty() {
            sql.push_str(", ");
        }
        values.push(value);
        sql.push_str(&format!("\"{}\" = ?{}", table.slots[slot], values.len()));
    }
    values.push(Value::Text(existing.id));
    sql.push_str(&format!(" WHERE \"{}\" = ?{}", table.primary_id, values.len()));
    session.statement(&sql)?.execute(params_from_iter(values)).map_err(|error| violation(table, error))?;
    Ok(())
}

/// State and status after the draft: a new state brings its default status, a status must belong to the state.
fn state_of(
    table: &Table,
    draft: &Draft,
    state_before: i64,
    status_before: Option<i64>,
) -> Result<(i64, i64), ApiError> {
    let mentioned = |slot: usize| match draft.slots[slot] {
        Some(Value::Integer(number)) => Some(number),
        _ => None,
    };
    let state = mentioned(table.system.state).unwrap_or(state_before);
    let Some(Kind::State { options: states }) = table.column("statecode").map(|column| &column.kind) else {
        return Ok((state, 1));
    };
    let default = states.iter().find(|option| i64::from(option.value) == state);
    let default = default.map_or(1, |option| i64::from(option.default_status));
    let status = match mentioned(table.system.status) {
        Some(status) => status,
        None if state == state_before => status_before.unwrap_or(default),
        None => default,
    };
    let Some(Kind::Status { options }) = table.column("statuscode").map(|column| &column.kind) else {
        return Ok((state, status));
    };
    if options.iter().any(|option| i64::from(option.value) == status && i64::from(option.state) == state) {
        Ok((state, status))
    } else {
        Err(ApiError::status_of_other_state(table, status, state))
    }
}

/// What SQLite's refusal of a row means: the primary key or an alternate key is taken.
fn violation(table: &Table, error: rusqlite::Error) -> ApiError {
    let rusqlite::Error::SqliteFailure(failure, Some(message)) = &error else { return error.into() };
    if failure.code != ErrorCode::ConstraintViolation {
        return error.into();
    }
    let Some(columns) = message.strip_prefix("UNIQUE constraint failed: ") else { return error.into() };
    let columns: Vec<&str> =
        columns.split(", ").filter_map(|column| column.split_once('.').map(|(_, name)| name)).collect();
    if columns == [table.primary_id.as_str()] {
        return ApiError::duplicate_record();
    }
    match table.keys.iter().find(|key| key.columns == columns) {
        Some(key) => {
            let labels: Vec<&str> = columns
                .iter()
                .filter_map(|name| table.column(name))
                .map(|column| column.label.as_str())
                .collect();
            ApiError::duplicate_key(key.label, &labels.join(", "))
        }
        None => error.into(),
    }
}
