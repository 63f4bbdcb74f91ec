//! Writes of single records: create, upsert, update, delete, and the conditions that go with them.

use rusqlite::types::Value;
use rusqlite::{ErrorCode, OptionalExtension, params_from_iter};
use serde_json::{Map, Value as Json};
use uuid::Uuid;

use super::address::Key;
use super::ask::{Answer, Ask, Condition};
use super::draft::{Draft, Purpose, body};
use super::error::ApiError;
use super::query;
use super::schema::{Kind, Table};
use super::store::Session;

/// Records that may be nested in each other in one create. Keeps the stack bounded.
const DEPTH_MAX: usize = 16;

/// What is needed of a stored record before it is changed.
pub(super) struct Existing {
    pub(super) id: String,
    version: i64,
    state: i64,
    status: i64,
}

/// Whether the record that a write names must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is updated when it is there and created when not.
    Either,
    /// `If-Match`
    Required,
    /// `If-None-Match: *`
    Forbidden,
}

/// `POST accounts`
///
/// # Errors
/// The refusals of dynamics.md §2.4, §2.6 and §7.3; nothing was stored then.
pub(super) fn create(session: &mut Session<'_>, table: &Table, ask: &Ask) -> Result<Answer, ApiError> {
    let body = body(table, ask)?;
    let id = whole(session, &body, |session| make(session, table, ask, &body, None, 0))?;
    if ask.prefer.representation {
        return represented(session, table, ask, &id, 201);
    }
    Ok(located(table, ask, &id, format!("{}({id})", table.set_name)))
}

/// Does `work` and takes it back when it fails half way, which only a body with nested records can.
fn whole<T>(
    session: &mut Session<'_>,
    body: &Map<String, Json>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    if body.values().any(|value| value.is_object() || value.is_array()) {
        session.all_or_none(work)
    } else {
        work(session)
    }
}

/// Stores a new record with what is nested in it and returns its GUID.
///
/// `key` is what the request names it by beside its body; `depth` counts the records that it is nested in.
///
/// # Errors
/// As [`create`]; the caller takes back what was stored.
pub(super) fn make(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    body: &Map<String, Json>,
    key: Option<&Key>,
    depth: usize,
) -> Result<String, ApiError> {
    if depth > DEPTH_MAX {
        return Err(ApiError::query_syntax("The request nests too many records in each other."));
    }
    session.operation(&table.set_name, body)?;
    let mut draft = Draft::read(session, table, ask, body, Purpose::Create, depth)?;
    let id = match key {
        Some(Key::Id(id)) => Some(*id),
        Some(Key::Alternate { key, values }) => {
            for (slot, value) in table.key_slots(*key).zip(values) {
                draft.slots[slot].get_or_insert_with(|| value.clone());
            }
            None
        }
        None => None,
    };
    let children = std::mem::take(&mut draft.children);
    let id = insert(session, table, draft, id)?;
    for (relationship, bodies) in children {
        let (from, column, target) = session
            .schema()
            .referencing_by(table, &relationship)
            .ok_or_else(|| ApiError::unknown_property(table, &relationship))?;
        for child in bodies {
            let Json::Object(child) = child else {
                return Err(ApiError::literal(table, &child, &format!("mscrm.{}", from.logical_name)));
            };
            let child = make(session, from, ask, &child, None, depth + 1)?;
            let mut draft = Draft::empty(from);
            draft.point(column, target, id.clone());
            let existing = find_id(session, from, &child)?;
            update(session, from, draft, existing)?;
        }
    }
    Ok(id)
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
    let presence = match (&ask.if_match, &ask.if_none_match) {
        (Some(_), _) => Presence::Required,
        (None, Some(Condition::Any)) => Presence::Forbidden,
        (None, _) => Presence::Either,
    };
    let (status, id) = whole(session, &body, |session| put(session, table, key, ask, &body, presence))?;
    if ask.prefer.representation {
        return represented(session, table, ask, &id, status);
    }
    // The answer names the record as the request did, by GUID or by alternate key (§2.3).
    Ok(located(table, ask, &id, ask.path.clone()))
}

/// Updates the record under `key`, or creates it, as `presence` allows: 200 or 201 and its GUID.
///
/// # Errors
/// As [`upsert`]; the caller takes back what was stored.
pub(super) fn put(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    ask: &Ask,
    body: &Map<String, Json>,
    presence: Presence,
) -> Result<(u16, String), ApiError> {
    let Some(existing) = find(session, table, key)? else {
        if presence == Presence::Required {
            return Err(absent(table, key));
        }
        return Ok((201, make(session, table, ask, body, Some(key), 0)?));
    };
    if presence == Presence::Forbidden {
        return Err(ApiError::duplicate_record());
    }
    session.operation(&table.set_name, body)?;
    same_version(&existing, ask)?;
    let mut draft = Draft::read(session, table, ask, body, Purpose::Update, 0)?;
    // An existing record keeps the key it was found by; the body's columns of that key are dropped (§2.3).
    if let Key::Alternate { key, .. } = key {
        for slot in table.key_slots(*key) {
            draft.slots[slot] = None;
        }
    }
    let id = existing.id.clone();
    update(session, table, draft, existing)?;
    Ok((200, id))
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
    let existing = existing(session, table, key, ask)?;
    session.operation(&table.set_name, &Map::new())?;
    session.all_or_none(|session| remove(session, table, &existing))?;
    Ok(Answer::empty(204))
}

/// The record under `key`, which must be there and have the version that `If-Match` names.
///
/// # Errors
/// 404 without the record, 412 for another version.
pub(super) fn existing(
    session: &mut Session<'_>,
    table: &Table,
    key: &Key,
    ask: &Ask,
) -> Result<Existing, ApiError> {
    let existing = find(session, table, key)?.ok_or_else(|| absent(table, key))?;
    same_version(&existing, ask)?;
    Ok(existing)
}

/// Removes the record and what points at it.
fn remove(session: &mut Session<'_>, table: &Table, existing: &Existing) -> Result<(), ApiError> {
    let schema = session.schema();
    for (from, column, target) in schema.referencing(table) {
        // A real schema has thousands of lookups at its users, and most of its tables are empty.
        let any = format!("SELECT EXISTS(SELECT 1 FROM \"{}\")", from.logical_name);
        if !session.statement(&any)?.query_row([], |row| row.get(0))? {
            continue;
        }
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

/// 204 with the address of what was written.
pub(super) fn located(table: &Table, ask: &Ask, id: &str, path: String) -> Answer {
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
    let state = table.system.state.map_or("0", |_| "coalesce(statecode, 0)");
    let status = table.system.status.map_or("1", |_| "coalesce(statuscode, 1)");
    let sql = format!(
        "SELECT \"{}\", versionnumber, {state}, {status} FROM \"{}\" WHERE {condition}",
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

/// The record with this GUID, which is there.
fn find_id(session: &mut Session<'_>, table: &Table, id: &str) -> Result<Existing, ApiError> {
    let absent = || ApiError::does_not_exist(table, id);
    let key = Key::Id(id.parse().map_err(|_| absent())?);
    find(session, table, &key)?.ok_or_else(absent)
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
    draft.default(table, &session.user());
    let (state, status) = state_of(table, &draft, 0, None)?;
    let mut fill = |slot: Option<usize>, value: Value| {
        if let Some(slot) = slot {
            draft.slots[slot] = Some(value);
        }
    };
    fill(slots.state, Value::Integer(state));
    fill(slots.status, Value::Integer(status));
    let now = Value::Text(session.now().to_owned());
    fill(slots.modified, now.clone());
    // A record with `overriddencreatedon` shows that time as its creation, and there the time when it really came.
    let overridden = slots.overridden_created;
    let created = match overridden.and_then(|slot| draft.slots[slot].take()) {
        Some(Value::Text(given)) => {
            if let Some(slot) = overridden {
                draft.slots[slot] = Some(now);
            }
            Value::Text(given)
        }
        _ => now,
    };
    if let Some(slot) = slots.created {
        draft.slots[slot] = Some(created);
    }
    draft.slots[slots.version] = Some(Value::Integer(session.next_version()));
    session
        .statement(&table.insert_sql)?
        .execute(params_from_iter(draft.slots))
        .map_err(|error| violation(table, error))?;
    Ok(id)
}

/// Changes a stored record to what the draft mentions.
///
/// # Errors
/// 412 where an alternate key is taken, 400 for a status of another state.
pub(super) fn update(
    session: &mut Session<'_>,
    table: &Table,
    mut draft: Draft,
    existing: Existing,
) -> Result<(), ApiError> {
    let (state, status) = state_of(table, &draft, existing.state, Some(existing.status))?;
    let now = Value::Text(session.now().to_owned());
    let system = &table.system;
    for (slot, value) in [
        (system.state, Value::Integer(state)),
        (system.status, Value::Integer(status)),
        (system.modified, now),
        (Some(system.version), Value::Integer(session.next_version())),
    ] {
        if let Some(slot) = slot {
            draft.slots[slot] = Some(value);
        }
    }
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
    let mentioned = |slot: Option<usize>| match draft.slots[slot?] {
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
    if options.is_empty()
        || options.iter().any(|option| i64::from(option.value) == status && i64::from(option.state) == state)
    {
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
            ApiError::duplicate_key(&key.label, &labels.join(", "))
        }
        None => error.into(),
    }
}
