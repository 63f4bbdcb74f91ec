//! Writes of rows in the application's order: set the fields, validate them, fill in defaults, validate the row, write it.
//!
//! Source: dynamics.md §6.1. There is no upsert: an update of a row that is not there is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Value;
use rusqlite::{ErrorCode, OptionalExtension, params_from_iter};
use serde_json::{Map, Value as Json};

use super::super::ask::{Answer, Ask, Condition};
use super::super::store::Session;
use super::model::{COMPANY, Column, Entity, Filled, Kind, Relation};
use super::refusal::Refusal;
use super::switches::{Overlong, Unwritable};
use super::{Finops, address, query, values};

/// The first number that the application gives to a row, less one. Source: dynamics.md §6.2.
const RECID_BASE: i64 = 68_719_476_736;

/// A row as it is stored.
pub(super) struct Row {
    /// Its number in the table.
    pub(super) number: i64,
    /// 1 when it was made, another number after each update.
    pub(super) version: i64,
    /// Its values, in the order of the entity's columns.
    pub(super) values: Vec<Value>,
}

/// What a body asks for: one entry a column, `None` where it does not mention it.
type Draft = Vec<Option<Value>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Create,
    Update,
}

impl Row {
    /// `W/"…"` over the row's version and number. Source: dynamics.md §6.2.
    pub(super) fn etag(&self) -> String {
        let content = format!("'{},{}'", self.version, RECID_BASE + self.number);
        format!("W/\"{}\"", STANDARD.encode(content))
    }
}

impl Finops {
    /// `POST CustomerGroups`
    ///
    /// # Errors
    /// The refusals of dynamics.md §6.6; nothing was stored then.
    pub(super) fn create(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        let body = body(ask)?;
        session.operation(&entity.set, &body).map_err(|error| Refusal::struck(entity, error))?;
        let draft = self.draft(entity, &body, Purpose::Create, None)?;
        let mut row: Vec<Value> =
            entity.columns.iter().map(|column| values::empty(&self.model, &column.kind)).collect();
        for (index, value) in draft.iter().enumerate() {
            if let Some(value) = value {
                row[index] = value.clone();
            }
        }
        if let Some(company) = entity.company() {
            row[company] = Value::Text(self.company_for(entity, &row[company], ask)?);
        }
        self.find_related(session, entity, &row, &draft)?;
        let row = session.all_or_none(|session| {
            self.fill(session, entity, &mut row)?;
            self.whole(entity, &row)?;
            let number = self.insert(session, entity, &row)?;
            Ok::<Row, Refusal>(Row { number, version: 1, values: row })
        })?;
        let body = query::record(&self.model, entity, &row, query::Whole(ask));
        let path = address::of_row(&self.model, entity, &row.values);
        let location = format!("{}{path}", Finops::root(ask));
        let answer = Answer::json(201, Json::Object(body).to_string().into_bytes());
        let answer = Answer { record: Some(path), ..answer };
        Ok(answer.with("Location", location).with("ETag", row.etag()))
    }

    /// `PATCH` and `PUT CustomerGroups(…)`: changes what the body mentions. `PUT` was seen to do the same.
    ///
    /// # Errors
    /// 400 without the row or when it is another company's, 412 for a stale ETag, and as [`Finops::create`].
    pub(super) fn update(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        key: &[Value],
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        let body = body(ask)?;
        session.operation(&entity.set, &body).map_err(|error| Refusal::struck(entity, error))?;
        let existing = self.find(session, entity, key, ask)?;
        let draft = self.draft(entity, &body, Purpose::Update, existing.as_ref())?;
        let existing = existing.ok_or_else(Refusal::nothing_to_update)?;
        same_version(&existing, ask)?;
        let mut row = existing.values.clone();
        for (index, value) in draft.iter().enumerate() {
            if let Some(value) = value {
                row[index] = value.clone();
            }
        }
        self.find_related(session, entity, &row, &draft)?;
        for (index, column) in entity.columns.iter().enumerate() {
            if column.filled == Filled::Modified {
                row[index] = Value::Text(session.now().to_owned());
            }
        }
        self.whole(entity, &row)?;
        let columns: Vec<String> = entity
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| format!("\"{}\" = ?{}", column.name, index + 3))
            .collect();
        let sql =
            format!("UPDATE {} SET _version = ?2, {} WHERE _row = ?1", entity.rows(), columns.join(", "));
        let version = session.next_version();
        let bound = [Value::Integer(existing.number), Value::Integer(version)].into_iter().chain(row);
        session.statement(&sql)?.execute(params_from_iter(bound))?;
        Ok(Answer { record: Some(ask.path.clone()), ..Answer::empty(204) })
    }

    /// `DELETE CustomerGroups(…)`
    ///
    /// # Errors
    /// 400 without the row or when it is another company's or others depend on it, 412 for a stale ETag.
    pub(super) fn delete(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        key: &[Value],
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        session.operation(&entity.set, &Map::new()).map_err(|error| Refusal::struck(entity, error))?;
        let existing = self.find(session, entity, key, ask)?.ok_or_else(Refusal::nothing_to_update)?;
        same_version(&existing, ask)?;
        for (dependent, relation) in self.model.referencing(entity) {
            let Some((other, _)) = entity.column(relation.other) else { continue };
            let value = &existing.values[other];
            let company = entity.company().map(|index| &existing.values[index]);
            // A row that names itself does not hold itself back.
            let itself = (dependent.set == entity.set).then_some(existing.number);
            let column = &dependent.columns[relation.column].name;
            if row_with(session, dependent, column, value, company, itself)?.is_some() {
                return Err(Refusal::dependents(entity, &dependent.label));
            }
        }
        let sql = format!("DELETE FROM {} WHERE _row = ?1", entity.rows());
        session.statement(&sql)?.execute([existing.number])?;
        Ok(Answer::empty(204))
    }

    /// The row with this key, as far as the request may see it.
    pub(super) fn find(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        key: &[Value],
        ask: &Ask,
    ) -> Result<Option<Row>, Refusal> {
        let conditions: Vec<String> = entity
            .key_columns()
            .enumerate()
            .map(|(place, (_, column))| format!("\"{}\" = ?{}", column.name, place + 1))
            .collect();
        let sql = format!(
            "SELECT _row, _version, {} FROM {} WHERE {}",
            query::column_list(entity),
            entity.rows(),
            conditions.join(" AND ")
        );
        let row = session
            .statement(&sql)?
            .query_row(params_from_iter(key), |row| query::stored(entity, row))
            .optional()?;
        Ok(row.filter(|row| match entity.company() {
            Some(company) if !self.across(ask) => {
                let here = self.options.company_of(&ask.caller);
                matches!(&row.values[company], Value::Text(name) if name.eq_ignore_ascii_case(here))
            }
            _ => true,
        }))
    }

    /// The company of a new row: the one that it names, else the client's.
    fn company_for(&self, entity: &Entity, named: &Value, ask: &Ask) -> Result<String, Refusal> {
        match named {
            Value::Text(name) if !name.is_empty() => {
                let company = self.options.company(name);
                company.map(str::to_owned).ok_or_else(|| Refusal::unknown_company(entity, name))
            }
            _ => Ok(self.options.company_of(&ask.caller).to_owned()),
        }
    }

    /// Reads the body. Faults of its form win over faults of its values, as it is parsed before anything is set.
    fn draft(
        &self,
        entity: &Entity,
        body: &Map<String, Json>,
        purpose: Purpose,
        existing: Option<&Row>,
    ) -> Result<Draft, Refusal> {
        let mut draft: Draft = vec![None; entity.columns.len()];
        for (name, value) in body {
            if name.contains('@') {
                continue;
            }
            let (index, column) =
                entity.column(name).ok_or_else(|| Refusal::unknown_property(entity, name))?;
            draft[index] = Some(values::of_json(&self.model, column, value)?);
        }
        for (index, column) in entity.columns.iter().enumerate() {
            let Some(value) = &mut draft[index] else { continue };
            let takes = match purpose {
                Purpose::Create => column.creatable,
                Purpose::Update => column.editable,
            };
            if !takes {
                let same = existing.is_some_and(|row| same_value(&row.values[index], value));
                if self.options.unwritable == Unwritable::Refused && !same {
                    return Err(Refusal::not_editable(entity, column));
                }
                draft[index] = None;
                continue;
            }
            if let (Kind::Text(Some(length_max)), Value::Text(text)) = (&column.kind, value)
                && text.encode_utf16().count() > *length_max as usize
            {
                match self.options.overlong {
                    Overlong::Refused => return Err(Refusal::too_long(entity, column, *length_max)),
                    Overlong::Cut => {
                        let kept: Vec<u16> = text.encode_utf16().take(*length_max as usize).collect();
                        *text = String::from_utf16_lossy(&kept);
                    }
                }
            }
        }
        Ok(draft)
    }

    /// `validateField`: what the draft mentions must be found in its related table.
    fn find_related(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        row: &[Value],
        draft: &Draft,
    ) -> Result<(), Refusal> {
        for relation in &entity.relations {
            let column = &entity.columns[relation.column];
            let value = &row[relation.column];
            if draft[relation.column].is_none() || values::is_empty(&self.model, &column.kind, value) {
                continue;
            }
            let Some(other) = self.model.set(relation.set) else { continue };
            if self.related(session, entity, relation, row)?.is_none() {
                let text = values::served(&self.model, &column.kind, value);
                let text = text.as_str().map_or_else(|| text.to_string(), str::to_owned);
                return Err(Refusal::unrelated(entity, column, &text, &other.label));
            }
        }
        Ok(())
    }

    /// The number of the row that the relation's value names.
    fn related(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        relation: &Relation,
        row: &[Value],
    ) -> Result<Option<i64>, Refusal> {
        let Some(other) = self.model.set(relation.set) else { return Ok(None) };
        let company = entity.company().map(|index| &row[index]);
        row_with(session, other, relation.other, &row[relation.column], company, None)
    }

    /// `defaultRow`: fills what is still empty.
    fn fill(&self, session: &mut Session<'_>, entity: &Entity, row: &mut [Value]) -> Result<(), Refusal> {
        for (index, column) in entity.columns.iter().enumerate() {
            if !values::is_empty(&self.model, &column.kind, &row[index]) {
                continue;
            }
            let filled = match &column.filled {
                Filled::Empty => None,
                Filled::With(text) => {
                    let value = match column.kind {
                        Kind::Int32 | Kind::Int64 | Kind::Real => serde_json::from_str(text).ok(),
                        _ => Some(Json::from(*text)),
                    };
                    value.map(|value| values::of_json(&self.model, column, &value)).transpose()?
                }
                Filled::Numbered(prefix) => Some(next_number(session, entity, row, column, prefix)?),
                Filled::Counted => Some(next_of_key(session, entity, row, index)?),
                Filled::Related { relation, column } => {
                    self.value_of_related(session, entity, *relation, column, row)?
                }
                Filled::Created | Filled::Modified => Some(Value::Text(session.now().to_owned())),
            };
            if let Some(filled) = filled {
                row[index] = filled;
            }
        }
        Ok(())
    }

    /// The value of a column of the related row.
    fn value_of_related(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        relation: usize,
        column: &str,
        row: &[Value],
    ) -> Result<Option<Value>, Refusal> {
        let relation = &entity.relations[relation];
        let Some(other) = self.model.set(relation.set) else { return Ok(None) };
        let Some(number) = self.related(session, entity, relation, row)? else { return Ok(None) };
        let sql = format!("SELECT \"{column}\" FROM {} WHERE _row = ?1", other.rows());
        Ok(session.statement(&sql)?.query_row([number], |row| row.get(0)).optional()?)
    }

    /// `validateWrite`: what is required is there.
    fn whole(&self, entity: &Entity, row: &[Value]) -> Result<(), Refusal> {
        let missing: Vec<&Column> = entity
            .columns
            .iter()
            .zip(row)
            .filter(|(column, value)| {
                column.required
                    && !matches!(column.kind, Kind::Enum(_))
                    && values::is_empty(&self.model, &column.kind, value)
            })
            .map(|(column, _)| column)
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(Refusal::mandatory(entity, &missing)) }
    }

    fn insert(&self, session: &mut Session<'_>, entity: &Entity, row: &[Value]) -> Result<i64, Refusal> {
        let marks: Vec<String> = (1..=row.len()).map(|number| format!("?{number}")).collect();
        let sql = format!(
            "INSERT INTO {} (_version, {}) VALUES (1, {})",
            entity.rows(),
            query::column_list(entity),
            marks.join(", ")
        );
        session.statement(&sql)?.insert(params_from_iter(row)).map_err(|error| match &error {
            rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::ConstraintViolation => {
                self.taken(entity, row)
            }
            _ => error.into(),
        })
    }

    fn taken(&self, entity: &Entity, row: &[Value]) -> Refusal {
        let named: Vec<(usize, &Column)> =
            entity.key_columns().filter(|(_, column)| column.name != COMPANY).collect();
        let label = named.first().map_or("", |(_, column)| column.label.as_str());
        let texts: Vec<String> = named
            .iter()
            .map(|(index, column)| {
                let served = values::served(&self.model, &column.kind, &row[*index]);
                served.as_str().map_or_else(|| served.to_string(), str::to_owned)
            })
            .collect();
        Refusal::already_exists(entity, label, &texts)
    }
}

fn body(ask: &Ask) -> Result<Map<String, Json>, Refusal> {
    serde_json::from_slice(&ask.body).map_err(|error| Refusal::malformed(format!("Invalid JSON. {error}.")))
}

fn same_value(stored: &Value, given: &Value) -> bool {
    match (stored, given) {
        (Value::Text(stored), Value::Text(given)) => stored.eq_ignore_ascii_case(given),
        _ => stored == given,
    }
}

fn same_version(existing: &Row, ask: &Ask) -> Result<(), Refusal> {
    match &ask.if_match {
        None | Some(Condition::Any) => Ok(()),
        Some(Condition::Other(etag)) if *etag == existing.etag() => Ok(()),
        Some(Condition::Other(_) | Condition::Version(_)) => Err(Refusal::stale()),
    }
}

/// The number of a row of `entity` with this value in this column, of this company where the entity has companies, and
/// other than the row `but`.
fn row_with(
    session: &mut Session<'_>,
    entity: &Entity,
    column: &str,
    value: &Value,
    company: Option<&Value>,
    but: Option<i64>,
) -> Result<Option<i64>, Refusal> {
    let company = company.filter(|_| entity.company().is_some());
    let within = company.map_or_else(String::new, |_| format!(" AND \"{COMPANY}\" = ?3"));
    let sql =
        format!("SELECT _row FROM {} WHERE \"{column}\" = ?1 AND _row <> ?2{within} LIMIT 1", entity.rows());
    // No row has the number 0.
    let but = Value::Integer(but.unwrap_or(0));
    let bound = [Some(value), Some(&but), company];
    let found = session
        .statement(&sql)?
        .query_row(params_from_iter(bound.into_iter().flatten()), |row| row.get(0))
        .optional()?;
    Ok(found)
}

/// The next number of the number sequence of this column in the row's company.
fn next_number(
    session: &mut Session<'_>,
    entity: &Entity,
    row: &[Value],
    column: &Column,
    prefix: &str,
) -> Result<Value, Refusal> {
    let company = match entity.company().map(|index| &row[index]) {
        Some(Value::Text(company)) => company.as_str(),
        _ => "",
    };
    let name = format!("{}.{} {company}", entity.set, column.name);
    let last: i64 = session
        .statement(
            "INSERT INTO fo_sequences VALUES (?1, 1) ON CONFLICT (name) DO UPDATE SET last = last + 1 RETURNING last",
        )?
        .query_row([name], |row| row.get(0))?;
    Ok(Value::Text(format!("{prefix}{last:06}")))
}

/// One more than the greatest value of a key column among the rows that share the rest of the key.
fn next_of_key(
    session: &mut Session<'_>,
    entity: &Entity,
    row: &[Value],
    counted: usize,
) -> Result<Value, Refusal> {
    let others: Vec<(usize, &Column)> = entity.key_columns().filter(|(index, _)| *index != counted).collect();
    let conditions: Vec<String> = others
        .iter()
        .enumerate()
        .map(|(place, (_, column))| format!("\"{}\" = ?{}", column.name, place + 1))
        .collect();
    let sql = format!(
        "SELECT coalesce(max(\"{}\"), 0) + 1 FROM {} WHERE {}",
        entity.columns[counted].name,
        entity.rows(),
        conditions.join(" AND ")
    );
    let bound = others.iter().map(|(index, _)| &row[*index]);
    let next: f64 = session.statement(&sql)?.query_row(params_from_iter(bound), |row| row.get(0))?;
    Ok(match entity.columns[counted].kind {
        Kind::Real => Value::Real(next),
        _ => Value::Integer(next as i64),
    })
}
