//! Reads an exported `$metadata` document into a model, so that the rehearsal serves an environment's own entities.
//!
//! The document tells types, keys, members and who may edit what; lengths only where the build tells facets. It tells
//! neither labels nor related tables nor defaults, so names stand for labels and nothing is looked up. Whether a moment
//! is a day or an instant it does not tell either: a column whose name ends in `Date` is taken for a day.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::{BytesStart, Event};

use super::csdl::VOCABULARY;
use super::model::{Column, Entity, EnumType, Filled, Kind, Model, NAMESPACE, Names};

/// Entity sets in one document. Real ones have some five thousand.
const SETS_MAX: usize = 20_000;
/// Columns of one entity: SQLite's tables have two thousand, and two are ours.
const COLUMNS_MAX: usize = 1_990;

/// The model of the document at `path`.
///
/// # Errors
/// A sentence for the operator: the file cannot be read, is no well-formed XML, is another product's, or has no entity
/// sets.
pub(super) fn read(path: &Path) -> Result<Model, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut reader = Reader::from_reader(BufReader::new(file));
    reader.config_mut().expand_empty_elements = true;
    let mut document = Document::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(element)) => document.opened(&element)?,
            Ok(Event::End(element)) => document.closed(local(element.name().as_ref())),
            Ok(Event::Eof) => break,
            Ok(_) => {}
            Err(error) => return Err(format!("it is no well-formed XML ({error})")),
        }
    }
    document.model()
}

#[derive(Default)]
struct Document {
    namespace: Option<String>,
    enums: Vec<EnumType>,
    types: Vec<EntityType>,
    /// Set and type, in the order of the container.
    sets: Vec<(String, String)>,
    open: Open,
}

/// What the next annotation belongs to.
#[derive(Default, PartialEq, Eq)]
enum Open {
    #[default]
    Other,
    Type,
    Property,
}

struct EntityType {
    name: String,
    read_only: bool,
    key: Vec<String>,
    properties: Vec<Property>,
}

struct Property {
    name: String,
    type_name: String,
    length_max: Option<u32>,
    required: bool,
    editable: bool,
    creatable: bool,
}

impl Document {
    fn opened(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let get = |name: &str| attribute(element, name).map(Cow::into_owned);
        let named = || get("Name").unwrap_or_default();
        match local(element.name().as_ref()) {
            "Schema" if self.namespace.is_none() => self.namespace = get("Namespace"),
            "EnumType" => self.enums.push(EnumType { name: named(), members: Vec::new() }),
            "Member" => {
                if let Some(of) = self.enums.last_mut() {
                    let next = of.members.last().map_or(0, |(_, number)| number + 1);
                    let number = get("Value").and_then(|value| value.parse().ok()).unwrap_or(next);
                    of.members.push((named(), number));
                }
            }
            "EntityType" => {
                self.open = Open::Type;
                let (key, properties) = (Vec::new(), Vec::new());
                self.types.push(EntityType { name: named(), read_only: false, key, properties });
            }
            "ComplexType" | "Action" | "Function" => self.open = Open::Other,
            "PropertyRef" => {
                if let Some(of) = self.types.last_mut() {
                    of.key.push(named());
                }
            }
            "Property" if self.open == Open::Type => {
                self.open = Open::Property;
                let property = Property {
                    name: named(),
                    type_name: get("Type").unwrap_or_default(),
                    length_max: get("MaxLength").and_then(|length| length.parse().ok()),
                    required: false,
                    editable: true,
                    creatable: true,
                };
                if let Some(of) = self.types.last_mut() {
                    of.properties.push(property);
                }
            }
            "Annotation" => {
                self.annotated(&get("Term").unwrap_or_default(), get("Bool").as_deref() == Some("true"))
            }
            "EntitySet" => {
                let type_name = get("EntityType").unwrap_or_default();
                let (_, type_name) = type_name.rsplit_once('.').unwrap_or(("", &type_name));
                self.sets.push((named(), type_name.to_owned()));
                if self.sets.len() > SETS_MAX {
                    return Err(format!("it has more than {SETS_MAX} entity sets"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn annotated(&mut self, term: &str, value: bool) {
        let Some(term) = term.strip_prefix(VOCABULARY).and_then(|term| term.strip_prefix('.')) else {
            return;
        };
        let Some(of) = self.types.last_mut() else { return };
        match (&self.open, term, of.properties.last_mut()) {
            (Open::Type, "IsReadOnly", _) => of.read_only = value,
            (Open::Property, "IsRequired", Some(property)) => property.required = value,
            (Open::Property, "AllowEdit", Some(property)) => property.editable = value,
            (Open::Property, "AllowEditOnCreate", Some(property)) => property.creatable = value,
            _ => {}
        }
    }

    fn closed(&mut self, name: &str) {
        match name {
            "Property" if self.open == Open::Property => self.open = Open::Type,
            "EntityType" => self.open = Open::Other,
            _ => {}
        }
    }

    fn model(self) -> Result<Model, String> {
        match self.namespace.as_deref() {
            Some(NAMESPACE) => {}
            Some(other) => return Err(format!("its namespace is `{other}`, not `{NAMESPACE}`")),
            None => return Err("it has no schema".to_owned()),
        }
        if self.sets.is_empty() {
            return Err("it has no entity sets".to_owned());
        }
        let enums: HashMap<&str, usize> =
            self.enums.iter().enumerate().map(|(index, of)| (of.name.as_str(), index)).collect();
        let types: HashMap<&str, &EntityType> = self.types.iter().map(|of| (of.name.as_str(), of)).collect();
        let mut entities = Vec::new();
        let mut sets = HashSet::new();
        for (set, type_name) in &self.sets {
            if !sets.insert(set.to_lowercase()) {
                tracing::warn!(set, "an entity set is not served: another one differs from it by case alone");
                continue;
            }
            let of = types.get(type_name.as_str()).ok_or_else(|| {
                format!("its entity set `{set}` is of the type `{type_name}`, which it lacks")
            })?;
            entities.push(entity(set, of, &enums)?);
        }
        Ok(Model::new(entities, self.enums))
    }
}

fn entity(set: &str, of: &EntityType, enums: &HashMap<&str, usize>) -> Result<Entity, String> {
    let mut columns: Vec<Column> =
        of.properties.iter().filter_map(|property| column(set, of, property, enums)).collect();
    let mut names = HashSet::new();
    columns.retain(|column| {
        let first = names.insert(column.name.to_lowercase());
        if !first {
            tracing::warn!(
                set,
                column = column.name,
                "a column is not served: another one differs from it by case alone"
            );
        }
        first
    });
    // The key stands first, as everywhere.
    columns.sort_by_key(|column| of.key.iter().position(|name| *name == column.name).unwrap_or(of.key.len()));
    if columns.len() > COLUMNS_MAX {
        return Err(format!("its entity set `{set}` has more than {COLUMNS_MAX} columns"));
    }
    let names = Names {
        set: set.to_owned(),
        name: of.name.clone(),
        class: format!("{}Entity", of.name),
        label: set.to_owned(),
        table: of.name.clone(),
    };
    if of.key.is_empty() {
        return Err(format!("its entity set `{set}` has no key"));
    }
    let entity = Entity::new(names, columns, &of.key);
    let mut entity =
        entity.ok_or_else(|| format!("the key of its entity set `{set}` has a column that is not served"))?;
    entity.read_only = of.read_only;
    Ok(entity)
}

/// The column, or `None` for a type that is no value of one row.
fn column(set: &str, of: &EntityType, property: &Property, enums: &HashMap<&str, usize>) -> Option<Column> {
    let kind = match property.type_name.as_str() {
        "Edm.String" => Kind::Text(property.length_max),
        "Edm.Int32" | "Edm.Int16" | "Edm.Byte" => Kind::Int32,
        "Edm.Int64" => Kind::Int64,
        "Edm.Decimal" | "Edm.Double" | "Edm.Single" => Kind::Real,
        "Edm.DateTimeOffset" if property.name.ends_with("Date") => Kind::Date,
        "Edm.DateTimeOffset" | "Edm.Date" => Kind::DateTime,
        "Edm.Guid" => Kind::Guid,
        "Edm.Binary" => Kind::Binary,
        name => {
            let of = name.strip_prefix(NAMESPACE).and_then(|name| name.strip_prefix('.'));
            let Some(&index) = of.and_then(|name| enums.get(name)) else {
                tracing::warn!(
                    set,
                    column = property.name,
                    r#type = name,
                    "a column is not served: its type is not known"
                );
                return None;
            };
            Kind::Enum(index)
        }
    };
    // What a create cannot set and a row cannot be without is given by the application.
    let filled = match (&kind, property.creatable || !of.key.contains(&property.name)) {
        (_, true) => Filled::Empty,
        (Kind::Int32 | Kind::Int64 | Kind::Real, false) => Filled::Counted,
        (_, false) => Filled::Numbered(""),
    };
    Some(Column {
        name: property.name.clone(),
        label: property.name.clone(),
        kind,
        // An empty company means the client's own, whatever the document says.
        required: property.required && property.name != super::model::COMPANY,
        editable: property.editable && !of.key.contains(&property.name),
        creatable: property.creatable,
        filled,
    })
}

/// A name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// One attribute, with entities resolved. What is not well-formed ends the list.
fn attribute<'a>(element: &'a BytesStart<'_>, name: &str) -> Option<Cow<'a, str>> {
    let mut rest = element.attributes_raw();
    loop {
        let (found, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let quote = after.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (value, after) = after[1..].split_once(quote)?;
        if found.trim() == name {
            return Some(unescape(value).unwrap_or(Cow::Borrowed(value)));
        }
        rest = after;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::built_in;
    use super::super::csdl;
    use super::*;

    fn read_text(text: &[u8]) -> Result<Model, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metadata.xml");
        std::fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, text)).unwrap();
        read(&path)
    }

    #[test]
    fn a_document_that_cannot_be_served_is_refused_with_the_reason() {
        let schema = |inner: &str| format!("<edmx><Schema Namespace=\"{NAMESPACE}\">{inner}</Schema></edmx>");
        for (text, reason) in [
            ("<edmx><Schema".to_owned(), "XML"),
            ("<edmx></edmx>".to_owned(), "no schema"),
            ("<edmx><Schema Namespace=\"Microsoft.Dynamics.CRM\"></Schema></edmx>".to_owned(), "namespace"),
            (schema(""), "no entity sets"),
            (schema("<EntitySet Name=\"As\" EntityType=\"x.A\"/>"), "lacks"),
            (schema("<EntityType Name=\"A\"/><EntitySet Name=\"As\" EntityType=\"x.A\"/>"), "no key"),
            (
                schema(
                    "<EntityType Name=\"A\"><Key><PropertyRef Name=\"Id\"/></Key></EntityType><EntitySet Name=\"As\" \
                     EntityType=\"x.A\"/>",
                ),
                "not served",
            ),
        ] {
            let error = read_text(text.as_bytes()).err().unwrap();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn what_the_server_tells_of_its_entities_can_be_read_and_told_again() {
        let served = csdl::document(&built_in::model(), true).body;
        let model = read_text(&served).unwrap();
        assert_eq!(
            String::from_utf8(csdl::document(&model, true).body).unwrap(),
            String::from_utf8(served).unwrap()
        );
        let headers = model.set("LedgerJournalHeaders").unwrap();
        let (_, number) = headers.column("JournalBatchNumber").unwrap();
        assert_eq!((number.creatable, &number.filled), (false, &Filled::Numbered("")));
        assert_eq!(
            model.set("CustomersV3").unwrap().column("CustomerAccount").unwrap().1.kind,
            Kind::Text(Some(20))
        );
    }
}
