//! The schema of an exported `$metadata` document: every set a table, with what the document does not say left open.
//!
//! The document knows no lengths, ranges, options or labels (dynamics.md §5.1). What is not known refuses nothing: texts
//! take any length that Dataverse has, numbers any of their type, states and status reasons any number.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use super::SandboxError;
use super::csdl::{self, Document, EntityType, Fault, Navigation, Property};
use super::schema::{AlternateKey, Column, Flavour, Kind, Naming, Required, Schema, Table, Target};

/// Largest document in bytes; real ones have 4 to 20 MB.
const DOCUMENT_BYTES_MAX: u64 = 134_217_728;
/// Types that a type may inherit from in turn.
const ANCESTORS_MAX: usize = 16;
/// Longest text that Dataverse keeps in one column, in UTF-16 units.
const TEXT_MAX: u32 = 1_048_576;
/// Bounds of a decimal or floating point column.
const NUMBER_MAX: f64 = 100_000_000_000.0;
/// Bounds of a money column. Source: `MaxValue` of Dataverse's money columns.
const MONEY_MAX: f64 = 922_337_203_685_477.0;
/// The first number that is given to a table that has none of its own here.
const TYPE_CODES_FROM: i32 = 10_000;

/// Columns that the service fills, whatever a request says.
const READ_ONLY: [&str; 13] = [
    "createdon",
    "modifiedon",
    "versionnumber",
    "createdby",
    "createdonbehalfby",
    "modifiedby",
    "modifiedonbehalfby",
    "owningbusinessunit",
    "owninguser",
    "owningteam",
    "exchangerate",
    "traversedpath",
    "organizationid",
];

/// Reads the document at `path`.
///
/// # Errors
/// When it cannot be read or is no usable document; line and column are told.
pub(super) fn read(path: &Path) -> Result<Schema, SandboxError> {
    let unusable = |reason: String| SandboxError::Metadata { path: path.to_owned(), reason };
    let length = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?.len();
    if length > DOCUMENT_BYTES_MAX {
        return Err(unusable(format!("it has {length} bytes; at most {DOCUMENT_BYTES_MAX} are read")));
    }
    let xml = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    schema(xml).map_err(|(line, column, what)| unusable(format!("line {line}, column {column}: {what}")))
}

/// The schema in a document, or where it is wrong: line and column from 1, and what.
fn schema(xml: Vec<u8>) -> Result<Schema, (usize, usize, String)> {
    let place = |Fault { at, what }: Fault| {
        let before = &xml[..at.min(xml.len())];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        (before.iter().filter(|byte| **byte == b'\n').count() + 1, before.len() - line_start + 1, what)
    };
    let document = csdl::read(&xml).map_err(place)?;
    let types = Types { document: &document };
    let mut tables: Vec<Table> = Vec::new();
    let mut seen = HashSet::new();
    for (set_name, type_name) in &document.sets {
        // The sets of definitions are served by themselves; of two sets with one type the first is the table's.
        if !types.is_record(type_name) || !seen.insert(type_name) {
            continue;
        }
        let type_code = TYPE_CODES_FROM + i32::try_from(tables.len()).unwrap_or_default();
        if let Some(table) = types.table(set_name, type_name, type_code) {
            tables.push(table);
        }
    }
    if tables.is_empty() {
        let what = "it has no entity set whose records have a key".to_owned();
        return Err(place(Fault { at: xml.len(), what }));
    }
    let mut schema = Schema::new(tables);
    schema.document = Some(Bytes::from(xml));
    Ok(schema)
}

struct Types<'d> {
    document: &'d Document,
}

impl<'d> Types<'d> {
    /// The type and what it inherits from, itself first.
    fn lineage(&self, name: &str) -> Vec<(&'d str, &'d EntityType)> {
        let mut lineage = Vec::new();
        let mut next = self.document.types.get_key_value(name);
        while let Some((name, found)) = next.filter(|_| lineage.len() < ANCESTORS_MAX) {
            lineage.push((name.as_str(), found));
            next = found.base.as_ref().and_then(|base| self.document.types.get_key_value(base));
        }
        lineage
    }

    /// Whether the type is one of records, not of definitions.
    fn is_record(&self, name: &str) -> bool {
        let lineage = self.lineage(name);
        lineage.iter().any(|(name, _)| *name == "crmbaseentity")
            && lineage.iter().any(|(_, found)| !found.key.is_empty())
    }

    /// The types that a reference to `name` may point at: itself, or the concrete ones below an abstract one.
    fn concrete(&self, name: &str) -> Vec<&'d str> {
        match self.document.types.get_key_value(name) {
            Some((name, found)) if !found.is_abstract => vec![name],
            Some(_) if name != "crmbaseentity" => {
                let mut below: Vec<&str> = self
                    .document
                    .types
                    .iter()
                    .filter(|(_, found)| found.base.as_deref() == Some(name) && !found.is_abstract)
                    .map(|(name, _)| name.as_str())
                    .collect();
                below.sort_unstable();
                below
            }
            _ => Vec::new(),
        }
    }

    fn table(&self, set_name: &str, type_name: &str, type_code: i32) -> Option<Table> {
        let lineage = self.lineage(type_name);
        let properties = members(&lineage, |of| &of.properties, |property| &property.name);
        let navigations = members(&lineage, |of| &of.navigations, |navigation| &navigation.name);
        let key = lineage.iter().find_map(|(_, of)| of.key.first())?;
        // Users and teams inherit the key of a principal, and are called by their own.
        let own = format!("{type_name}id");
        let has_own =
            properties.iter().any(|property| property.name == own && property.edm_type == "Edm.Guid");
        let inherited = lineage.iter().skip(1).any(|(name, _)| *name == "principal");
        let primary_id = if has_own && inherited { &own } else { key };
        let names: HashSet<&str> = properties.iter().map(|property| property.name.as_str()).collect();
        let mut columns = Vec::new();
        for property in &properties {
            let mut column = self.column(property, &names, primary_id, &navigations);
            if property.name == *key && key != primary_id {
                column.computed = Some(format!("\"{primary_id}\""));
                column.creatable = false;
                column.updatable = false;
            }
            columns.push(column);
        }
        if !columns.iter().any(|column| matches!(column.kind, Kind::Id)) {
            return None;
        }
        let alternate_keys = lineage.iter().flat_map(|(_, of)| &of.alternate_keys);
        let keys = alternate_keys.enumerate().filter_map(|(index, key)| {
            let names: Option<Vec<String>> = key
                .iter()
                .map(|name| columns.iter().find(|column| column.property == *name))
                .map(|column| column.map(|column| column.name.clone()))
                .collect();
            let name = format!("{type_name}_key{}", index + 1);
            Some(AlternateKey { label: key.join(", "), name, columns: names? })
        });
        let naming = Naming {
            logical_name: type_name.to_owned(),
            schema_name: type_name.to_owned(),
            set_name: set_name.to_owned(),
            label: type_name.to_owned(),
            label_plural: set_name.to_owned(),
            type_code,
            primary_name: primary_name(type_name, &columns, primary_id),
            bulk: true,
        };
        let keys = keys.collect();
        Some(Table::new(naming, columns, keys))
    }

    fn column(
        &self,
        property: &Property,
        names: &HashSet<&str>,
        primary_id: &str,
        navigations: &[&Navigation],
    ) -> Column {
        let inner = property.name.strip_prefix('_').and_then(|rest| rest.strip_suffix("_value"));
        let name = inner.unwrap_or(&property.name);
        let is_id = property.name == primary_id;
        let kind = if is_id { Kind::Id } else { self.kind(property, name, names, navigations) };
        let read_only = property.read_only
            || READ_ONLY.contains(&name)
            || is_base(name, names)
            || matches!(kind, Kind::Other { .. });
        Column {
            name: name.to_owned(),
            property: property.name.clone(),
            schema_name: name.to_owned(),
            label: name.to_owned(),
            required: if is_id { Required::System } else { Required::No },
            creatable: is_id || (!read_only && name != "statecode"),
            updatable: !is_id && !read_only && name != "overriddencreatedon",
            computed: None,
            slot: None,
            kind,
        }
    }

    fn kind(
        &self,
        property: &Property,
        name: &str,
        names: &HashSet<&str>,
        navigations: &[&Navigation],
    ) -> Kind {
        match property.edm_type.as_str() {
            "Edm.String" => Kind::Text { length_max: TEXT_MAX, format: "Text".to_owned() },
            "Edm.Int32" if name == "statecode" => Kind::State { options: Vec::new() },
            "Edm.Int32" if name == "statuscode" => Kind::Status { options: Vec::new() },
            "Edm.Int32" | "Edm.Int16" => Kind::Integer { min: i32::MIN, max: i32::MAX },
            "Edm.Int64" => Kind::BigInt,
            "Edm.Decimal" if is_base(name, names) || names.contains(format!("{name}_base").as_str()) => {
                Kind::Money { min: -MONEY_MAX, max: MONEY_MAX, precision: 4 }
            }
            "Edm.Decimal" => Kind::Decimal { min: -NUMBER_MAX, max: NUMBER_MAX, precision: 10 },
            "Edm.Double" => Kind::Double { min: -NUMBER_MAX, max: NUMBER_MAX, precision: 5 },
            "Edm.Boolean" => Kind::Boolean { yes: "Yes".to_owned(), no: "No".to_owned(), default: false },
            "Edm.Date" => Kind::Date,
            "Edm.DateTimeOffset" => Kind::DateTime,
            "Edm.Binary" => Kind::Binary,
            "Edm.Guid" => self.reference(property, name, navigations),
            other => Kind::Other { edm_type: other.to_owned() },
        }
    }

    /// A lookup where navigation properties stand over the property, else a plain GUID.
    fn reference(&self, property: &Property, name: &str, navigations: &[&Navigation]) -> Kind {
        let is_value = property.name != name;
        let mut targets = Vec::new();
        for navigation in navigations.iter().filter(|navigation| !navigation.is_collection) {
            let over = match &navigation.property {
                Some(constrained) => *constrained == property.name,
                // Some have no constraint in the document; they are called after the lookup that they belong to.
                None => {
                    let lower = navigation.name.to_lowercase();
                    let rest = lower.strip_prefix(name);
                    rest.is_some_and(|rest| rest.starts_with('_') || (is_value && rest.is_empty()))
                }
            };
            if !over {
                continue;
            }
            for table in self.concrete(&navigation.target) {
                let relationship = navigation.partner.clone();
                targets.push(Target {
                    table: table.to_owned(),
                    navigation: navigation.name.clone(),
                    relationship: relationship.unwrap_or_else(|| format!("{table}_{}", navigation.name)),
                });
            }
        }
        if targets.is_empty() && !is_value {
            return Kind::Guid;
        }
        let pointed_at: Vec<&str> = targets.iter().map(|target| target.table.as_str()).collect();
        let flavour = match pointed_at.as_slice() {
            _ if name == "ownerid" => Flavour::Owner,
            ["account", "contact"] | ["contact", "account"] => Flavour::Customer,
            _ => Flavour::Plain,
        };
        Kind::Lookup { targets, flavour }
    }
}

/// What the types of a lineage have; of two with one name the nearest.
fn members<'d, M>(
    lineage: &[(&'d str, &'d EntityType)],
    of: impl Fn(&'d EntityType) -> &'d Vec<M>,
    name: impl Fn(&M) -> &String,
) -> Vec<&'d M> {
    let mut seen = HashSet::new();
    let all = lineage.iter().flat_map(|(_, found)| of(found));
    // Columns of SQLite have no case: of two that differ in it alone the first is taken.
    all.filter(|member| seen.insert(name(member).to_lowercase())).collect()
}

/// Whether the column is an amount in the base currency, which the service computes.
fn is_base(name: &str, names: &HashSet<&str>) -> bool {
    name.strip_suffix("_base").is_some_and(|amount| names.contains(amount))
}

/// The column that most likely names a record to people; the document does not say.
fn primary_name(type_name: &str, columns: &[Column], primary_id: &str) -> String {
    let is_text = |name: &str| {
        columns.iter().any(|column| column.name == name && matches!(column.kind, Kind::Text { .. }))
    };
    let prefix = type_name.split_once('_').map_or("", |(prefix, _)| prefix);
    [format!("{prefix}_name"), "name".into(), "fullname".into(), "subject".into(), "title".into()]
        .into_iter()
        .find(|name| is_text(name))
        .unwrap_or_else(|| primary_id.to_owned())
}
