//! Reads an exported `$metadata` document: its entity types and sets as they stand there. Source: dynamics.md §5.1.

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::attributes::Attributes;
use quick_xml::events::{BytesStart, Event};

/// The namespace of Dataverse's types, and the alias that stands for it.
const NAMESPACE: &str = "Microsoft.Dynamics.CRM.";
const ALIAS: &str = "mscrm.";
/// Elements that may stand inside each other; a real document has eight.
const DEPTH_MAX: usize = 64;

/// What a document says.
#[derive(Default)]
pub(super) struct Document {
    /// Entity types by name.
    pub(super) types: HashMap<String, EntityType>,
    /// Entity sets in their order: the name in the URL and the type.
    pub(super) sets: Vec<(String, String)>,
}

/// One entity type, without what it inherits.
#[derive(Default)]
pub(super) struct EntityType {
    pub(super) base: Option<String>,
    pub(super) is_abstract: bool,
    pub(super) key: Vec<String>,
    pub(super) properties: Vec<Property>,
    pub(super) navigations: Vec<Navigation>,
    /// Alternate keys: the properties of each.
    pub(super) alternate_keys: Vec<Vec<String>>,
}

/// One property.
pub(super) struct Property {
    pub(super) name: String,
    pub(super) edm_type: String,
    /// Whether an annotation says that it cannot be written.
    pub(super) read_only: bool,
}

/// One navigation property.
pub(super) struct Navigation {
    pub(super) name: String,
    /// The type at its end.
    pub(super) target: String,
    pub(super) is_collection: bool,
    pub(super) partner: Option<String>,
    /// The property that holds the reference.
    pub(super) property: Option<String>,
}

/// Why a document cannot be used: where, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Bytes before the place.
    pub(super) at: usize,
    pub(super) what: String,
}

/// Reads the whole document.
///
/// # Errors
/// When it is not XML, is not a Dataverse document, or names a type that it does not have.
pub(super) fn read(xml: &[u8]) -> Result<Document, Fault> {
    let mut reader = Reader::from_reader(xml);
    let mut reading = Reading::default();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let fault = |what: String| Fault { at, what };
        let event =
            reader.read_event().map_err(|error| fault(format!("it is not well-formed XML: {error}")))?;
        match event {
            Event::Start(element) => {
                reading.open(&element, at)?;
                reading.path.push(element.local_name().as_ref().to_owned());
                if reading.path.len() > DEPTH_MAX {
                    return Err(fault("its elements are nested too deeply".to_owned()));
                }
            }
            Event::Empty(element) => {
                reading.open(&element, at)?;
                reading.close(element.local_name().as_ref());
            }
            Event::End(element) => {
                reading.path.pop();
                reading.close(element.local_name().as_ref());
            }
            Event::Text(text) if reading.path.last().is_some_and(|name| name == "EnumMember") => {
                reading.member(text.as_ref());
            }
            Event::Eof => break,
            _ => {}
        }
    }
    reading.done(xml.len())
}

#[derive(Default)]
struct Reading {
    document: Document,
    path: Vec<String>,
    /// The type that is being read.
    current: Option<(String, EntityType)>,
    /// The alternate key that is being read.
    alternate_key: Option<Vec<String>>,
    /// Where each set stands, for the fault that it names no type.
    set_places: Vec<usize>,
    saw_schema: bool,
}

impl Reading {
    fn inside(&self, name: &str) -> bool {
        self.path.iter().any(|element| element == name)
    }

    fn parent(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    fn open(&mut self, element: &BytesStart<'_>, at: usize) -> Result<(), Fault> {
        let fault = |what: String| Fault { at, what };
        let attributes = Named::of(element.attributes(), at)?;
        let local_name = element.local_name();
        let name: &str = local_name.as_ref();
        let required = |attribute: &str| {
            attributes.get(attribute).ok_or_else(|| fault(format!("`{name}` has no `{attribute}`")))
        };
        match name {
            "Schema" => {
                let namespace = required("Namespace")?;
                if namespace == "Microsoft.Dynamics.DataEntities" {
                    return Err(fault(
                        "it is a document of Finance & Operations; start the sandbox with `--dialect finops`"
                            .to_owned(),
                    ));
                }
                self.saw_schema |= namespace == NAMESPACE.trim_end_matches('.');
            }
            "EntityType" => {
                let base = attributes.get("BaseType").map(|base| bare(&base).to_owned());
                let is_abstract = attributes.get("Abstract").as_deref() == Some("true");
                let read = EntityType { base, is_abstract, ..EntityType::default() };
                self.current = Some((required("Name")?, read));
            }
            "PropertyRef" if self.parent() == "Key" => {
                let name = required("Name")?;
                if let Some((_, read)) = &mut self.current {
                    read.key.push(name);
                }
            }
            "Property" if self.parent() == "EntityType" => {
                let (name, edm_type) = (required("Name")?, required("Type")?);
                if let Some((_, read)) = &mut self.current {
                    read.properties.push(Property { name, edm_type, read_only: false });
                }
            }
            "NavigationProperty" if self.parent() == "EntityType" => {
                let (name, target) = (required("Name")?, required("Type")?);
                let inner = target.strip_prefix("Collection(").and_then(|rest| rest.strip_suffix(')'));
                let read = Navigation {
                    name,
                    target: bare(inner.unwrap_or(&target)).to_owned(),
                    is_collection: inner.is_some(),
                    partner: attributes.get("Partner"),
                    property: None,
                };
                if let Some((_, current)) = &mut self.current {
                    current.navigations.push(read);
                }
            }
            "ReferentialConstraint" => {
                let property = required("Property")?;
                let current = self.current.as_mut().and_then(|(_, read)| read.navigations.last_mut());
                if let Some(navigation) = current {
                    navigation.property = Some(property);
                }
            }
            "Annotation" if attributes.get("Term").as_deref() == Some("Org.OData.Core.V1.Computed") => {
                let computed = attributes.get("Bool").as_deref() != Some("false");
                self.annotate(computed);
            }
            "Record"
                if self.inside("EntityType")
                    && attributes.get("Type").is_some_and(|kind| kind.ends_with(".AlternateKey")) =>
            {
                self.alternate_key = Some(Vec::new());
            }
            "PropertyValue" if attributes.get("Property").as_deref() == Some("Name") => {
                if let (Some(key), Some(path)) = (&mut self.alternate_key, attributes.get("PropertyPath")) {
                    key.push(path);
                }
            }
            "EntitySet" => {
                let (name, of) = (required("Name")?, required("EntityType")?);
                self.document.sets.push((name, bare(&of).to_owned()));
                self.set_places.push(at);
            }
            _ => {}
        }
        Ok(())
    }

    /// The property that is open cannot be written.
    fn annotate(&mut self, read_only: bool) {
        if !self.inside("Property") {
            return;
        }
        if let Some(property) = self.current.as_mut().and_then(|(_, read)| read.properties.last_mut()) {
            property.read_only |= read_only;
        }
    }

    /// `Org.OData.Core.V1.PermissionType/Read`
    fn member(&mut self, member: &str) {
        self.annotate(member.trim().ends_with("PermissionType/Read"));
    }

    fn close(&mut self, name: &str) {
        match name {
            "EntityType" => {
                if let Some((name, read)) = self.current.take() {
                    self.document.types.insert(name, read);
                }
            }
            // The record of a key holds records of its properties; it is read when the outer one closes.
            "Record" if !self.inside("Record") => {
                let key = self.alternate_key.take();
                if let (Some((_, current)), Some(key)) = (&mut self.current, key)
                    && !key.is_empty()
                    && !current.alternate_keys.contains(&key)
                {
                    current.alternate_keys.push(key);
                }
            }
            _ => {}
        }
    }

    fn done(self, length: usize) -> Result<Document, Fault> {
        let fault = |at, what: &str| Fault { at, what: what.to_owned() };
        if let Some(open) = self.path.last() {
            let what = format!("it ends inside `{open}`");
            return Err(fault(length, &what));
        }
        if !self.saw_schema {
            return Err(fault(
                length,
                "it has no schema `Microsoft.Dynamics.CRM`, so it is no `$metadata` of Dataverse",
            ));
        }
        for ((set, of), at) in self.document.sets.iter().zip(&self.set_places) {
            if !self.document.types.contains_key(of) {
                return Err(fault(
                    *at,
                    &format!("the entity set `{set}` is of the type `{of}`, which is not there"),
                ));
            }
        }
        for (name, of) in &self.document.types {
            if let Some(base) = of.base.as_ref().filter(|base| !self.document.types.contains_key(*base)) {
                return Err(fault(
                    length,
                    &format!("the type `{name}` is based on `{base}`, which is not there"),
                ));
            }
        }
        Ok(self.document)
    }
}

/// The attributes of one element, unescaped.
struct Named(Vec<(String, String)>);

impl Named {
    fn of(attributes: Attributes<'_>, at: usize) -> Result<Self, Fault> {
        let mut named = Vec::new();
        for attribute in attributes {
            let attribute = attribute
                .map_err(|error| Fault { at, what: format!("an attribute is malformed: {error}") })?;
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .map_err(|error| Fault { at, what: format!("an attribute cannot be read: {error}") })?;
            let name = attribute.key.local_name().as_ref().to_owned();
            named.push((name, value.into_owned()));
        }
        Ok(Named(named))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
}

/// The name of a type without its namespace.
fn bare(name: &str) -> &str {
    name.strip_prefix(NAMESPACE).or_else(|| name.strip_prefix(ALIAS)).unwrap_or(name)
}
