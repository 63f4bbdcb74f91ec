//! The built-in tables: accounts, contacts, products, users and teams with the names, bounds and options that Dataverse gives them.

mod account;
mod contact;
mod product;
mod team;
mod user;

use super::schema::{
    AlternateKey, ChoiceItem, Column, Flavour, Kind, Naming, Required, Schema, StateItem, StatusItem, Target,
};

/// Most that a money column takes unless it says otherwise. Source: `MaxValue` of Dataverse's money columns.
const MONEY_MAX: f64 = 100_000_000_000.0;

/// The schema that a server has when it is given no other.
pub(super) fn built_in() -> Schema {
    Schema::new(vec![account::table(), contact::table(), product::table(), user::table(), team::table()])
}

/// What names a table whose people call it by `label` and `label_plural`; its set has the plural's name in lower case.
fn naming(
    schema_name: &str,
    label: (&str, &str),
    set_name: &str,
    type_code: i32,
    primary_name: &str,
) -> Naming {
    Naming {
        logical_name: schema_name.to_lowercase(),
        schema_name: schema_name.to_owned(),
        set_name: set_name.to_owned(),
        label: label.0.to_owned(),
        label_plural: label.1.to_owned(),
        type_code,
        primary_name: primary_name.to_owned(),
        bulk: true,
    }
}

/// A column that is optional and can be written.
fn column(schema_name: &str, label: &str, kind: Kind) -> Column {
    let name = schema_name.to_lowercase();
    let property = match kind {
        Kind::Lookup { .. } => format!("_{name}_value"),
        _ => name.clone(),
    };
    Column {
        name,
        property,
        schema_name: schema_name.to_owned(),
        label: label.to_owned(),
        kind,
        required: Required::No,
        creatable: true,
        updatable: true,
        computed: None,
        slot: None,
    }
}

impl Column {
    fn business_required(self) -> Self {
        Column { required: Required::Application, ..self }
    }

    fn read_only(self) -> Self {
        Column { creatable: false, updatable: false, ..self }
    }

    fn create_only(self) -> Self {
        Column { updatable: false, ..self }
    }

    fn update_only(self) -> Self {
        Column { creatable: false, ..self }
    }

    fn computed(self, expression: &str) -> Self {
        Column { computed: Some(expression.to_owned()), ..self.read_only() }
    }
}

fn text(schema_name: &str, label: &str, length_max: u32) -> Column {
    column(schema_name, label, Kind::Text { length_max, format: "Text".to_owned() })
}

fn formatted(schema_name: &str, label: &str, length_max: u32, format: &str) -> Column {
    column(schema_name, label, Kind::Text { length_max, format: format.to_owned() })
}

fn memo(schema_name: &str, label: &str, length_max: u32) -> Column {
    column(schema_name, label, Kind::Memo { length_max })
}

fn integer(schema_name: &str, label: &str, min: i32, max: i32) -> Column {
    column(schema_name, label, Kind::Integer { min, max })
}

fn money(schema_name: &str, label: &str) -> Column {
    column(schema_name, label, Kind::Money { min: 0.0, max: MONEY_MAX, precision: 2 })
}

fn boolean(schema_name: &str, label: &str, yes: &str, no: &str) -> Column {
    let (yes, no) = (yes.to_owned(), no.to_owned());
    column(schema_name, label, Kind::Boolean { yes, no, default: false })
}

fn choice(schema_name: &str, label: &str, options: &[(i32, &str)]) -> Column {
    column(schema_name, label, Kind::Choice { options: items(options), default: None })
}

fn items(options: &[(i32, &str)]) -> Vec<ChoiceItem> {
    options.iter().map(|&(value, label)| ChoiceItem { value, label: label.to_owned() }).collect()
}

fn date(schema_name: &str, label: &str) -> Column {
    column(schema_name, label, Kind::Date)
}

fn lookup(schema_name: &str, label: &str, target: Target) -> Column {
    column(schema_name, label, Kind::Lookup { targets: vec![target], flavour: Flavour::Plain })
}

/// One table that a lookup can point at.
fn target(table: &str, navigation: &str, relationship: &str) -> Target {
    Target {
        table: table.to_owned(),
        navigation: navigation.to_owned(),
        relationship: relationship.to_owned(),
    }
}

/// The user or team that a record belongs to; `plural` is the word in its relationships, `accounts`.
fn owner(plural: &str) -> Column {
    let user = target("systemuser", "ownerid", &format!("user_{plural}"));
    let team = target("team", "ownerid", &format!("team_{plural}"));
    let kind = Kind::Lookup { targets: vec![user, team], flavour: Flavour::Owner };
    column("OwnerId", "Owner", kind)
}

/// The columns that every table has: key, times, version, load id, state.
fn system_columns(
    id: &str,
    label: &str,
    states: &[(i32, &str, i32)],
    statuses: &[(i32, &str, i32)],
) -> Vec<Column> {
    let states = states
        .iter()
        .map(|&(value, label, default_status)| StateItem { value, label: label.to_owned(), default_status })
        .collect();
    let statuses = statuses
        .iter()
        .map(|&(value, label, state)| StatusItem { value, label: label.to_owned(), state })
        .collect();
    vec![
        Column { required: Required::System, ..column(id, label, Kind::Id) }.create_only(),
        Column {
            required: Required::System,
            ..column("StateCode", "Status", Kind::State { options: states })
        }
        .update_only(),
        column("StatusCode", "Status Reason", Kind::Status { options: statuses }),
        column("CreatedOn", "Created On", Kind::DateTime).read_only(),
        column("ModifiedOn", "Modified On", Kind::DateTime).read_only(),
        column("OverriddenCreatedOn", "Record Created On", Kind::DateTime).create_only(),
        integer("ImportSequenceNumber", "Import Sequence Number", i32::MIN, i32::MAX).create_only(),
        column("VersionNumber", "Version Number", Kind::BigInt).read_only(),
    ]
}

fn key(name: &str, label: &str, column: &str) -> AlternateKey {
    AlternateKey { name: name.to_owned(), label: label.to_owned(), columns: vec![column.to_owned()] }
}
