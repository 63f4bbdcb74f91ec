//! Bulk actions (CreateMultiple, UpdateMultiple, UpsertMultiple): many records of one table in one request, all or none.
//! Source: dynamics.md §2.5.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value as Json;
use uuid::Uuid;

use super::operation::Operation;
use crate::domain::conform::guid_in;

/// Rows that one transaction holds where a bulk action takes it. No count is documented for standard tables, but plug-ins
/// end after two minutes (dynamics.md §2.5) and all rows are in memory; this many fit both.
pub const BULK_OPERATIONS_MAX: usize = 10_000;

/// What a query cannot hold as it stands; `@`, `'` and `=` belong to it.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'+').add(b'&');

/// The actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    /// The records are new.
    Create,
    /// The records are there.
    Update,
    /// Either.
    Upsert,
}

impl Action {
    pub(super) const ALL: [Action; 3] = [Action::Create, Action::Update, Action::Upsert];

    /// The message's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Action::Create => "CreateMultiple",
            Action::Update => "UpdateMultiple",
            Action::Upsert => "UpsertMultiple",
        }
    }
}

/// A table as bulk actions name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// In the address.
    pub(super) set_name: String,
    /// In the type of every target.
    pub(super) logical_name: String,
}

/// Which actions a table supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Support {
    pub(super) create: bool,
    pub(super) update: bool,
    pub(super) upsert: bool,
}

impl Support {
    pub(super) fn has(self, action: Action) -> bool {
        match action {
            Action::Create => self.create,
            Action::Update => self.update,
            Action::Upsert => self.upsert,
        }
    }

    pub(super) fn learn(&mut self, action: Action, supported: bool) {
        match action {
            Action::Create => self.create = supported,
            Action::Update => self.update = supported,
            Action::Upsert => self.upsert = supported,
        }
    }
}

/// Where a table tells whether it supports the action: a list that is empty where it does not.
pub(super) fn probe_path(table: &Table, action: Action) -> String {
    let filter = "sdkmessageid/name eq @message and primaryobjecttypecode eq @table";
    let value = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    format!(
        "sdkmessagefilters?$select=sdkmessagefilterid&$filter={}&@message='{}'&@table='{}'",
        value(filter),
        action.name(),
        value(&table.logical_name.replace('\'', "''")),
    )
}

/// The path of the action below the API's root.
pub(super) fn path(table: &Table, action: Action) -> String {
    format!("{}/Microsoft.Dynamics.CRM.{}", table.set_name, action.name())
}

/// The body: every target with its type, its name and its values, in the order of the operations.
///
/// # Panics
/// When an operation has no place in a bulk action; the caller has seen to that.
pub(super) fn body(table: &Table, operations: &[&Operation]) -> String {
    let length: usize = operations.iter().map(|operation| bytes_of(operation, table)).sum();
    let mut out = String::with_capacity(length + 32);
    out.push_str("{\"Targets\":[");
    for (place, operation) in operations.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        let bulk = operation.bulk.as_ref().expect("only operations with a place in a bulk action get here");
        out.push_str("{\"@odata.type\":\"Microsoft.Dynamics.CRM.");
        out.push_str(&table.logical_name);
        out.push_str("\",");
        out.push_str(&bulk.naming);
        let values = operation.body.as_deref().and_then(|body| body.strip_prefix('{')).unwrap_or("}");
        if values != "}" {
            out.push(',');
        }
        out.push_str(values);
    }
    out.push_str("]}");
    out
}

/// Bytes of an operation as a target, at most.
fn bytes_of(operation: &Operation, table: &Table) -> usize {
    let naming = operation.bulk.as_ref().map_or(0, |bulk| bulk.naming.len());
    48 + table.logical_name.len() + naming + operation.body.as_ref().map_or(0, String::len)
}

/// The ids in the answer of CreateMultiple; `None` where it tells none.
pub(super) fn created(body: &[u8]) -> Option<HashSet<Uuid>> {
    let answer: Json = serde_json::from_slice(body).ok()?;
    Some(answer.get("Ids")?.as_array()?.iter().filter_map(|id| guid_in(id.as_str()?)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::io::dynamics::operation::Bulk;

    #[test]
    fn a_target_has_its_type_its_name_and_its_values() {
        let table = Table { set_name: "accounts".to_owned(), logical_name: "account".to_owned() };
        let operation = |naming: &str, body: &str| Operation {
            bulk: Some(Bulk {
                action: Action::Upsert,
                naming: naming.to_owned(),
                table: Arc::new(table.clone()),
            }),
            body: Some(body.to_owned()),
            ..Operation::patch("accounts(1)")
        };
        let first = operation(r#""accountid":"8f4c3f92-312b-ee11-bdf4-000d3a993550""#, r#"{"name":"A"}"#);
        let second = operation(r#""@odata.id":"accounts(accountnumber='A-17')""#, "{}");
        assert_eq!(
            body(&table, &[&first, &second]),
            r#"{"Targets":[{"@odata.type":"Microsoft.Dynamics.CRM.account","accountid":"8f4c3f92-312b-ee11-bdf4-000d3a993550","name":"A"},{"@odata.type":"Microsoft.Dynamics.CRM.account","@odata.id":"accounts(accountnumber='A-17')"}]}"#
        );
        assert_eq!(path(&table, Action::Create), "accounts/Microsoft.Dynamics.CRM.CreateMultiple");
        assert_eq!(
            probe_path(&table, Action::Create),
            "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name%20eq%20@message%20and%20primaryobjecttypecode%20eq%20@table&@message='CreateMultiple'&@table='account'"
        );
    }

    #[test]
    fn ids_are_read_as_ids_and_anything_else_is_none() {
        let recorded = br#"{"@odata.context":"https://o/api/data/v9.2/$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse","Ids":["8F4C3F92-312b-ee11-bdf4-000d3a993550","904c3f92-312b-ee11-bdf4-000d3a993550"]}"#;
        let ids = created(recorded).unwrap();
        assert!(ids.len() == 2 && ids.contains(&guid_in("8f4c3f92-312b-ee11-bdf4-000d3a993550").unwrap()));
        assert_eq!(created(b""), None);
        assert_eq!(created(b"{}"), None);
    }
}
