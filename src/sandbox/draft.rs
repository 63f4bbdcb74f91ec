//! What the body of a write asks for: values held against their columns, lookups bound, nested records set aside.

use rusqlite::types::Value;
use serde_json::{Map, Value as Json};

use super::address;
use super::ask::Ask;
use super::error::ApiError;
use super::rows::{self, absent, id_of};
use super::schema::{Column, Flavour, Kind, Table, Target};
use super::store::Session;
use super::values::checked;

/// What a request wants stored: one entry a slot, `None` where it does not mention the column.
pub(super) struct Draft {
    pub(super) slots: Vec<Option<Value>>,
    /// Records of the other end of a relationship that are made with this one: the relationship and their bodies.
    pub(super) children: Vec<(String, Vec<Json>)>,
}

/// Which columns take a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A new record; nested records are made with it.
    Create,
    /// A record that is there.
    Update,
}

/// The JSON object in the request's body.
///
/// # Errors
/// 400 when it is missing or no object.
pub(super) fn body(table: &Table, ask: &Ask) -> Result<Map<String, Json>, ApiError> {
    if ask.body.is_empty() {
        return Err(ApiError::payload(&table.set_name, "System.ArgumentException: Stream was not readable."));
    }
    serde_json::from_slice(&ask.body).map_err(|error| {
        ApiError::payload(&table.set_name, &format!("Microsoft.OData.ODataException: Invalid JSON. {error}."))
    })
}

impl Draft {
    /// Mentions nothing.
    pub(super) fn empty(table: &Table) -> Self {
        Draft { slots: vec![None; table.slots.len()], children: Vec::new() }
    }

    /// Reads a body. Faults of its form win over faults of its values, as the service parses before it validates.
    ///
    /// `depth` counts the records that this one is nested in.
    ///
    /// # Errors
    /// The refusals of dynamics.md §2.6 and §7.3; also those of nested records, which are made here.
    pub(super) fn read(
        session: &mut Session<'_>,
        table: &Table,
        ask: &Ask,
        body: &Map<String, Json>,
        purpose: Purpose,
        depth: usize,
    ) -> Result<Self, ApiError> {
        let mut draft = Draft::empty(table);
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
                    Ok(value) if takes(column, purpose) => draft.set(column, value),
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
                    "Microsoft.OData.ODataException: CRM do not support direct update of Entity Reference properties, \
                     Use Navigation properties instead.",
                ));
            } else if let Some(found) = table.navigation(name) {
                match value {
                    Json::Null | Json::Object(_) => binds.push((found, value)),
                    // A plain value in the place of a record is refused.
                    _ => drop(checked(table, found.0, value)?),
                }
            } else if session.schema().referencing_by(table, name).is_some() {
                let Json::Array(children) = value else {
                    return Err(ApiError::literal(table, value, "Collection(mscrm.crmbaseentity)"));
                };
                draft.children.push((name.clone(), children.clone()));
            } else {
                return Err(ApiError::unknown_property(table, name));
            }
        }
        if let Some(error) = first_fault {
            return Err(error);
        }
        if purpose == Purpose::Update && !draft.children.is_empty() {
            return Err(nested_in_update());
        }
        for ((column, targets), value) in binds {
            match value {
                Json::Object(nested) => {
                    if purpose == Purpose::Update {
                        return Err(nested_in_update());
                    }
                    draft.bind_nested(session, ask, (column, &targets), nested, depth)?;
                }
                _ => draft.bind(session, table, ask, (column, &targets), value)?,
            }
        }
        Ok(draft)
    }

    /// Gives a column this value; a lookup that is cleared forgets its table too.
    pub(super) fn set(&mut self, column: &Column, value: Value) {
        let Some(slot) = column.slot else { return };
        if column.targets().len() > 1 && value == Value::Null {
            self.slots[slot + 1] = Some(Value::Null);
        }
        self.slots[slot] = Some(value);
    }

    /// Points a lookup at a record of this table.
    pub(super) fn point(&mut self, column: &Column, target: &Target, id: String) {
        let Some(slot) = column.slot else { return };
        self.slots[slot] = Some(Value::Text(id));
        if column.targets().len() > 1 {
            self.slots[slot + 1] = Some(Value::Text(target.table.clone()));
        }
    }

    /// Points a lookup at the record that `value` names, which must exist.
    ///
    /// # Errors
    /// 400 when it names no record or one of another table, 404 when there is none.
    pub(super) fn bind(
        &mut self,
        session: &mut Session<'_>,
        table: &Table,
        ask: &Ask,
        (column, targets): (&Column, &[&Target]),
        value: &Json,
    ) -> Result<(), ApiError> {
        if value.is_null() {
            self.set(column, Value::Null);
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
        let Some(target) = targets.iter().find(|target| target.table == pointed_at.logical_name) else {
            let wanted = targets.first().map_or("crmbaseentity", |target| target.table.as_str());
            return Err(ApiError::payload(
                &table.set_name,
                &format!(
                    "Microsoft.OData.ODataException: The resource '{text}' is not of the type \
                     'Microsoft.Dynamics.CRM.{wanted}' that '{}' refers to.",
                    targets.first().map_or("", |target| target.navigation.as_str())
                ),
            ));
        };
        let id = id_of(session, pointed_at, &key)?.ok_or_else(|| absent(pointed_at, &key))?;
        self.point(column, target, id);
        Ok(())
    }

    /// Makes the record that stands in the place of a lookup, and points at it.
    fn bind_nested(
        &mut self,
        session: &mut Session<'_>,
        ask: &Ask,
        (column, targets): (&Column, &[&Target]),
        nested: &Map<String, Json>,
        depth: usize,
    ) -> Result<(), ApiError> {
        let schema = session.schema();
        let [target] = targets else {
            return Err(ApiError::not_played("a nested record behind a lookup of several tables"));
        };
        let pointed_at =
            schema.logical(&target.table).ok_or_else(|| ApiError::unknown_segment(&target.table))?;
        let id = rows::make(session, pointed_at, ask, nested, None, depth + 1)?;
        self.point(column, target, id);
        Ok(())
    }

    /// What a create stores where the request says nothing.
    pub(super) fn default(&mut self, table: &Table, owner: &str) {
        for column in &table.columns {
            let Some(slot) = column.slot else { continue };
            if self.slots[slot].is_some() {
                continue;
            }
            self.slots[slot] = match column.kind {
                Kind::Boolean { default, .. } => Some(Value::Integer(i64::from(default))),
                Kind::Choice { default: Some(default), .. } => Some(Value::Integer(default.into())),
                _ => None,
            };
            if let Kind::Lookup { targets, flavour: Flavour::Owner } = &column.kind
                && let Some(target) = targets.iter().find(|target| target.table == "systemuser")
            {
                self.point(column, target, owner.to_owned());
            }
        }
    }
}

/// Whether a write takes a value for the column; otherwise it is ignored (dynamics.md §2.6).
fn takes(column: &Column, purpose: Purpose) -> bool {
    match purpose {
        Purpose::Create => column.creatable,
        Purpose::Update => column.updatable,
    }
}

/// 400: related records can be made with a new record only.
fn nested_in_update() -> ApiError {
    ApiError::new(
        400,
        "0x80060888",
        "Deep update of navigation properties is not allowed. Use @odata.bind to associate an existing record.",
    )
}

/// 400: `$1` before the request with that Content-ID made a record.
pub(super) fn unknown_reference(content_id: &str) -> ApiError {
    ApiError::new(
        400,
        "0x80060888",
        format!("Content-ID Reference: '${content_id}' does not exist in the batch context."),
    )
}
