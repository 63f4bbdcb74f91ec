//! The shape of what Finance & Operations serves: data entities, their columns and keys, enumerations, related tables.

use std::collections::HashMap;

/// The namespace of all types. Source: dynamics.md §6.1.
pub(super) const NAMESPACE: &str = "Microsoft.Dynamics.DataEntities";
/// The column that names the legal entity of a row.
pub(super) const COMPANY: &str = "dataAreaId";

/// All entities and enumerations of one server.
pub(super) struct Model {
    pub(super) entities: Vec<Entity>,
    pub(super) enums: Vec<EnumType>,
    by_set: HashMap<String, usize>,
}

/// One data entity.
pub(super) struct Entity {
    /// The name in the URL, `CustomersV3`: the public collection name.
    pub(super) set: String,
    /// The type's name, `CustomerV3`: the public entity name.
    pub(super) name: String,
    /// The name in the application, `CustCustomerV3Entity`: error texts use it.
    pub(super) class: String,
    /// What people call its rows, `Customers`.
    pub(super) label: String,
    /// The table behind it, `CustTable`.
    pub(super) table: String,
    /// Whether it takes no writes at all.
    pub(super) read_only: bool,
    /// The columns in the order in which they are listed; those of the key stand first.
    pub(super) columns: Vec<Column>,
    /// The places of the key's columns.
    pub(super) key: Vec<usize>,
    /// The related tables in which values must be found.
    pub(super) relations: Vec<Relation>,
    by_name: HashMap<String, usize>,
}

/// One column.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// What people call it; error texts use it.
    pub(super) label: String,
    pub(super) kind: Kind,
    /// Whether a row without it is refused.
    pub(super) required: bool,
    /// Whether an update takes a value.
    pub(super) editable: bool,
    /// Whether a create takes a value.
    pub(super) creatable: bool,
    /// What fills it where a create leaves it empty.
    pub(super) filled: Filled,
}

/// The type of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text; the length in UTF-16 units where it is known.
    Text(Option<u32>),
    Int32,
    Int64,
    /// `numeric(32,6)`, as the application keeps reals.
    Real,
    /// A day, served as noon UTC.
    Date,
    /// An instant in whole seconds.
    DateTime,
    Guid,
    /// Base64 of any bytes.
    Binary,
    /// A member of the enumeration at this place of the model.
    Enum(usize),
}

/// What fills a column that a create leaves empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filled {
    /// Nothing: the type's empty value.
    Empty,
    /// This value, spelled as in JSON without quotes.
    With(&'static str),
    /// The next number of the company's number sequence, behind this prefix.
    Numbered(&'static str),
    /// One more than the greatest of the rows that share the other key columns.
    Counted,
    /// The value of this column of the related row that the relation at this place found.
    Related { relation: usize, column: &'static str },
    /// The time of the create.
    Created,
    /// The time of the last write.
    Modified,
}

/// A related table: the column's value, where there is one, must stand in a key column of another entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    /// The place of the column.
    pub(super) column: usize,
    /// The entity set whose rows are looked at.
    pub(super) set: &'static str,
    /// The key column there.
    pub(super) other: &'static str,
}

/// An enumeration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EnumType {
    pub(super) name: String,
    /// Names and numbers of its members; the first is the empty value.
    pub(super) members: Vec<(String, i64)>,
}

impl Model {
    /// The model of these entities. Sets are found by their exact names: case counts (dynamics.md §6.1).
    pub(super) fn new(entities: Vec<Entity>, enums: Vec<EnumType>) -> Self {
        let by_set = entities.iter().enumerate().map(|(index, entity)| (entity.set.clone(), index)).collect();
        Model { entities, enums, by_set }
    }

    /// The entity with this name in the URL.
    pub(super) fn set(&self, set: &str) -> Option<&Entity> {
        self.by_set.get(set).map(|&index| &self.entities[index])
    }

    /// Every relation that looks into `entity`: the entity that has it, and the relation.
    pub(super) fn referencing<'m>(
        &'m self,
        entity: &'m Entity,
    ) -> impl Iterator<Item = (&'m Entity, &'m Relation)> {
        self.entities.iter().flat_map(move |other| {
            let relations = other.relations.iter().filter(|relation| relation.set == entity.set);
            relations.map(move |relation| (other, relation))
        })
    }

    /// The name of a column's type.
    pub(super) fn type_name(&self, kind: &Kind) -> String {
        match kind {
            Kind::Text(_) => "Edm.String".to_owned(),
            Kind::Int32 => "Edm.Int32".to_owned(),
            Kind::Int64 => "Edm.Int64".to_owned(),
            Kind::Real => "Edm.Decimal".to_owned(),
            Kind::Date | Kind::DateTime => "Edm.DateTimeOffset".to_owned(),
            Kind::Guid => "Edm.Guid".to_owned(),
            Kind::Binary => "Edm.Binary".to_owned(),
            Kind::Enum(index) => format!("{NAMESPACE}.{}", self.enums[*index].name),
        }
    }
}

impl Entity {
    /// The entity with these columns; `key` are the names of its key columns.
    ///
    /// Returns `None` when a key column is missing.
    pub(super) fn new(names: Names, columns: Vec<Column>, key: &[String]) -> Option<Self> {
        let by_name: HashMap<String, usize> =
            columns.iter().enumerate().map(|(index, column)| (column.name.clone(), index)).collect();
        let key = key.iter().map(|name| by_name.get(name).copied()).collect::<Option<Vec<usize>>>()?;
        let Names { set, name, class, label, table } = names;
        let relations = Vec::new();
        Some(Entity { set, name, class, label, table, read_only: false, columns, key, relations, by_name })
    }

    /// The column with this name; case counts.
    pub(super) fn column(&self, name: &str) -> Option<(usize, &Column)> {
        self.by_name.get(name).map(|&index| (index, &self.columns[index]))
    }

    /// The place of `dataAreaId`; `None` for entities that all companies share.
    pub(super) fn company(&self) -> Option<usize> {
        self.by_name.get(COMPANY).copied()
    }

    /// The key's columns in their order.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = (usize, &Column)> {
        self.key.iter().map(|&index| (index, &self.columns[index]))
    }

    /// The SQLite table that holds its rows.
    pub(super) fn rows(&self) -> String {
        format!("\"fo_{}\"", self.set)
    }
}

/// What an entity is called, by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) set: String,
    pub(super) name: String,
    pub(super) class: String,
    pub(super) label: String,
    pub(super) table: String,
}

impl EnumType {
    /// The number of the member with this name; case does not count, as .NET's parser is asked to ignore it.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
    }

    /// The name of the member with this number.
    pub(super) fn member(&self, number: i64) -> Option<&str> {
        self.members.iter().find(|(_, known)| *known == number).map(|(name, _)| name.as_str())
    }
}
