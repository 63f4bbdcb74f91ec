//! F&O's `$metadata`: read as it comes in, kept small, and told as entities of ours. Source: dynamics.md §6.3.
//!
//! The document has tens of megabytes and describes every entity there is. It is parsed while it arrives; what stays is a
//! name and a few bytes for each property, and an [`Entity`] is made of them when somebody asks.

use std::collections::HashMap;
use std::io::{BufRead, Read};

use bytes::{Buf, Bytes};
use quick_xml::XmlVersion;
use quick_xml::events::{BytesStart, Event};
use tokio::sync::mpsc::Receiver;

use super::COMPANY;
use crate::domain::entity::{Attribute, AttributeKind, ChoiceOption, Entity, EntityKey};

/// Properties and members of all types together. Environments have some two hundred thousand; the bound keeps a document
/// that never ends from taking all memory.
const NAMES_MAX: usize = 4_000_000;
/// Types that a type is built upon, one after the other.
const BASES_MAX: usize = 8;

/// What the whole document says.
#[derive(Debug, Default)]
pub(in crate::io::dynamics) struct Model {
    sets: Vec<Set>,
    types: HashMap<Box<str>, Type>,
    enums: HashMap<Box<str>, Vec<ChoiceOption>>,
    /// Names of property types, each once.
    kinds: Vec<Box<str>>,
    names: usize,
}

#[derive(Debug)]
struct Set {
    name: Box<str>,
    of: Box<str>,
}

#[derive(Debug, Default)]
struct Type {
    base: Option<Box<str>>,
    key: Vec<Box<str>>,
    properties: Vec<Property>,
    read_only: bool,
}

/// A property with its annotations; the defaults are those of dynamics.md §6.3.
#[derive(Debug)]
struct Property {
    name: Box<str>,
    /// Its place in [`Model::kinds`].
    kind: u32,
    length_max: Option<u32>,
    scale: Option<u32>,
    required: bool,
    creatable: bool,
    updatable: bool,
}

/// What an annotation belongs to.
enum Within {
    Nothing,
    EntityType(Box<str>, Type),
    EnumType(Box<str>, Vec<ChoiceOption>),
}

impl Model {
    /// Reads the document.
    ///
    /// # Errors
    /// Where it is no XML, ends in the middle, or describes no entity.
    pub(super) fn read(document: impl BufRead) -> Result<Self, String> {
        let mut reader = quick_xml::Reader::from_reader(document);
        reader.config_mut().expand_empty_elements = true;
        let mut model = Model::default();
        let mut kinds: HashMap<Box<str>, u32> = HashMap::new();
        let mut within = Within::Nothing;
        let mut in_property = false;
        let mut open = 0_usize;
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            match reader.read_event_into(&mut buffer).map_err(|error| format!("no XML: {error}"))? {
                Event::Start(element) => {
                    open += 1;
                    match (element.local_name().as_ref(), &mut within) {
                        ("EntityType", Within::Nothing) => {
                            let base = value(&element, "BaseType").map(|base| local(&base).into());
                            within = Within::EntityType(name(&element)?, Type { base, ..Type::default() });
                        }
                        ("EnumType", Within::Nothing) => {
                            within = Within::EnumType(name(&element)?, Vec::new());
                        }
                        ("PropertyRef", Within::EntityType(_, of)) => of.key.push(name(&element)?),
                        ("Property", Within::EntityType(_, of)) => {
                            in_property = true;
                            model.names += 1;
                            let kind = value(&element, "Type").unwrap_or_else(|| "Edm.String".to_owned());
                            let kind = *kinds.entry(kind.into()).or_insert_with_key(|kind| {
                                model.kinds.push(kind.clone());
                                (model.kinds.len() - 1) as u32
                            });
                            of.properties.push(Property {
                                name: name(&element)?,
                                kind,
                                length_max: number(&element, "MaxLength"),
                                scale: number(&element, "Scale"),
                                required: false,
                                creatable: true,
                                updatable: true,
                            });
                        }
                        ("Member", Within::EnumType(_, members)) => {
                            model.names += 1;
                            let next = members.last().map_or(0, |last: &ChoiceOption| last.value + 1);
                            let value = value(&element, "Value").and_then(|text| text.parse().ok());
                            members.push(ChoiceOption {
                                value: value.unwrap_or(next),
                                label: name(&element)?.into(),
                            });
                        }
                        ("Annotation", Within::EntityType(_, of)) => {
                            of.annotate(&element, in_property);
                        }
                        ("EntitySet", Within::Nothing) => {
                            let of = value(&element, "EntityType").unwrap_or_default();
                            model.sets.push(Set { name: name(&element)?, of: local(&of).into() });
                        }
                        _ => {}
                    }
                    if model.names > NAMES_MAX {
                        return Err(format!("more than {NAMES_MAX} properties"));
                    }
                }
                Event::End(element) => {
                    open = open.saturating_sub(1);
                    match element.local_name().as_ref() {
                        "Property" => in_property = false,
                        "EntityType" | "EnumType" => match std::mem::replace(&mut within, Within::Nothing) {
                            Within::EntityType(name, of) => drop(model.types.insert(name, of)),
                            Within::EnumType(name, members) => drop(model.enums.insert(name, members)),
                            Within::Nothing => {}
                        },
                        _ => {}
                    }
                }
                Event::Eof if open > 0 => return Err("the document ends in the middle".to_owned()),
                Event::Eof if model.sets.is_empty() => return Err("it describes no entity".to_owned()),
                Event::Eof => return Ok(model),
                _ => {}
            }
        }
    }

    /// The names of all entity sets.
    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> {
        self.sets.iter().map(|set| &*set.name)
    }

    /// The entity with this set name, type name, or either of them as people write it: `Customer groups` and
    /// `customer_groups` are `CustomerGroups`. Set names go before type names, exact ones before all others; the entity
    /// has the names as the service spells them, whose addresses tell cases apart.
    pub(super) fn entity(&self, wanted: &str) -> Option<Entity> {
        let wanted = wanted.trim();
        let folded = squeezed(wanted);
        let find = |is: &dyn Fn(&Set) -> bool| self.sets.iter().find(|set| is(set));
        let set = find(&|set| &*set.name == wanted)
            .or_else(|| find(&|set| &*set.of == wanted))
            .or_else(|| find(&|set| !folded.is_empty() && squeezed(&set.name) == folded))
            .or_else(|| find(&|set| !folded.is_empty() && squeezed(&set.of) == folded))?;
        let mut line = Vec::new();
        let mut next = Some(&set.of);
        while let Some(of) = next.and_then(|name| self.types.get(name))
            && line.len() < BASES_MAX
        {
            line.push(of);
            next = of.base.as_ref();
        }
        let read_only = line.iter().any(|of| of.read_only);
        let key: Vec<String> =
            line.iter().rev().flat_map(|of| &of.key).map(|name| name.to_string()).collect();
        let attributes = line.iter().rev().flat_map(|of| &of.properties);
        let attributes = attributes.map(|property| {
            let in_key = key.iter().any(|name| **name == *property.name);
            Attribute {
                logical_name: property.name.to_string(),
                display_name: None,
                kind: self.kind(property),
                // The company may be left to the service, which then takes the default one.
                required: property.required && *property.name != *COMPANY,
                creatable: property.creatable && !read_only,
                updatable: property.updatable && !read_only && !in_key,
            }
        });
        Some(Entity {
            set_name: set.name.to_string(),
            logical_name: set.of.to_string(),
            display_name: None,
            primary_id: None,
            primary_name: None,
            attributes: attributes.collect(),
            keys: vec![EntityKey { name: "EntityKey".to_owned(), attributes: key, active: true }],
        })
    }

    fn kind(&self, property: &Property) -> AttributeKind {
        let whole = |min: i64, max: i64| AttributeKind::Integer { min, max };
        let name = &*self.kinds[property.kind as usize];
        match name {
            "Edm.String" => AttributeKind::Text { length_max: property.length_max },
            "Edm.Byte" => whole(0, i64::from(u8::MAX)),
            "Edm.SByte" => whole(i64::from(i8::MIN), i64::from(i8::MAX)),
            "Edm.Int16" => whole(i64::from(i16::MIN), i64::from(i16::MAX)),
            "Edm.Int32" => whole(i64::from(i32::MIN), i64::from(i32::MAX)),
            "Edm.Int64" => whole(i64::MIN, i64::MAX),
            "Edm.Decimal" => AttributeKind::Decimal { min: None, max: None, precision: property.scale },
            "Edm.Double" | "Edm.Single" => AttributeKind::Double { min: None, max: None, precision: None },
            "Edm.Boolean" => AttributeKind::Boolean { yes: "Yes".to_owned(), no: "No".to_owned() },
            "Edm.Guid" => AttributeKind::Guid,
            "Edm.Date" => AttributeKind::Date,
            "Edm.DateTimeOffset" => AttributeKind::DayOrInstant,
            other => match self.enums.get(local(other)).filter(|_| !other.starts_with("Collection(")) {
                Some(members) => {
                    AttributeKind::Enumeration { name: local(other).to_owned(), members: members.clone() }
                }
                None => AttributeKind::Unsupported { name: other.to_owned() },
            },
        }
    }
}

impl Type {
    /// Takes over what an annotation of the type or, within one, of the last property says.
    fn annotate(&mut self, element: &BytesStart<'_>, in_property: bool) {
        let term = value(element, "Term").unwrap_or_default();
        let truth = value(element, "Bool").is_none_or(|text| text.trim() == "true");
        let term = term.rsplit('.').next().unwrap_or_default();
        match (self.properties.last_mut().filter(|_| in_property), term) {
            (Some(property), "IsRequired") => property.required = truth,
            (Some(property), "AllowEdit") => property.updatable = truth,
            (Some(property), "AllowEditOnCreate") => property.creatable = truth,
            (Some(property), "IsReadOnly" | "Computed") if truth => {
                (property.creatable, property.updatable) = (false, false);
            }
            (None, "IsReadOnly") => self.read_only = truth,
            _ => {}
        }
    }
}

/// A name without what people add to or leave out of it: letters and digits alone, in lower case.
pub(in crate::io::dynamics) fn squeezed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The last part of a qualified name.
fn local(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn value(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    attribute.normalized_value(XmlVersion::Implicit1_0).ok().map(|text| text.into_owned())
}

fn number(element: &BytesStart<'_>, name: &str) -> Option<u32> {
    value(element, name)?.trim().parse().ok()
}

fn name(element: &BytesStart<'_>) -> Result<Box<str>, String> {
    let what = element.local_name();
    value(element, "Name").map(Into::into).ok_or_else(|| format!("a `{}` without a name", what.as_ref()))
}

/// The pieces of a document as they arrive, for a parser that blocks until the next one is there.
pub(super) struct Pieces {
    pieces: Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    pub(super) fn of(pieces: Receiver<Bytes>) -> Self {
        Pieces { pieces, current: Bytes::new() }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(into.len());
        into[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece,
                None => break,
            }
        }
        Ok(&self.current)
    }

    fn consume(&mut self, bytes: usize) {
        self.current.advance(bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The shapes of dynamics.md §6.3, with facets as some builds have them.
    const DOCUMENT: &str = r#"<?xml version="1.0"?><edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.DataEntities" xmlns="http://docs.oasis-open.org/odata/ns/edm">
 <EnumType Name="NoYes"><Member Name="No" Value="0"/><Member Name="Yes" Value="1"/></EnumType>
 <EnumType Name="PurchaseOrderHeaderV2"><Member Name="Namesake"/></EnumType>
 <EntityType Name="PurchaseOrderHeaderV2">
  <Key><PropertyRef Name="dataAreaId"/><PropertyRef Name="PurchaseOrderNumber"/></Key>
  <Property Name="dataAreaId" Type="Edm.String" Nullable="false">
    <Annotation Term="Microsoft.Dynamics.OData.Core.V1.IsRequired" Bool="true"/></Property>
  <Property Name="PurchaseOrderNumber" Type="Edm.String" Nullable="false" MaxLength="20"/>
  <Property Name="JournalBatchNumber" Type="Edm.String" Nullable="false">
    <Annotation Term="Microsoft.Dynamics.OData.Core.V1.AllowEdit" Bool="false"/>
    <Annotation Term="Microsoft.Dynamics.OData.Core.V1.AllowEditOnCreate" Bool="false"/></Property>
  <Property Name="CreatedDateTime" Type="Edm.DateTimeOffset"/>
  <Property Name="TotalDiscountPercentage" Type="Edm.Decimal" Precision="32" Scale="6"/>
  <Property Name="IsChangeManagementActive" Type="Microsoft.Dynamics.DataEntities.NoYes"/>
  <Property Name="Lines" Type="Collection(Edm.String)"/>
  <NavigationProperty Name="PurchaseOrderLines" Type="Collection(Microsoft.Dynamics.DataEntities.PurchaseOrderLineV2)"/>
 </EntityType>
 <EntityType Name="Unit"><Key><PropertyRef Name="UnitSymbol"/></Key><Property Name="UnitSymbol" Type="Edm.String"/>
  <Annotation Term="Microsoft.Dynamics.OData.Core.V1.IsReadOnly" Bool="true"/></EntityType>
 <EntityContainer Name="Resources"><EntitySet Name="PurchaseOrderHeadersV2" EntityType="Microsoft.Dynamics.DataEntities.PurchaseOrderHeaderV2"/>
  <EntitySet Name="UnitsOfMeasure" EntityType="Microsoft.Dynamics.DataEntities.Unit"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"#;

    fn model() -> Model {
        Model::read(DOCUMENT.as_bytes()).unwrap()
    }

    #[test]
    fn the_documented_shapes_are_read_with_their_annotations_facets_and_defaults() {
        let entity = model().entity("PurchaseOrderHeadersV2").unwrap();
        assert_eq!(entity.keys[0].attributes, ["dataAreaId", "PurchaseOrderNumber"]);
        let of = |name: &str| entity.attribute(name).unwrap();
        assert_eq!(of("PurchaseOrderNumber").kind, AttributeKind::Text { length_max: Some(20) });
        assert!(!of("PurchaseOrderNumber").updatable, "a key is in the address alone");
        let batch = of("JournalBatchNumber");
        assert_eq!((batch.creatable, batch.updatable, batch.required), (false, false, false));
        assert!(!of("dataAreaId").required, "the default company stands in");
        assert_eq!(of("CreatedDateTime").kind, AttributeKind::DayOrInstant);
        let percentage = AttributeKind::Decimal { min: None, max: None, precision: Some(6) };
        assert_eq!(of("TotalDiscountPercentage").kind, percentage);
        let AttributeKind::Enumeration { name, members } = &of("IsChangeManagementActive").kind else {
            panic!("an enum")
        };
        assert_eq!((name.as_str(), members[1].value, members[1].label.as_str()), ("NoYes", 1, "Yes"));
        assert!(matches!(of("Lines").kind, AttributeKind::Unsupported { .. }));
    }

    #[test]
    fn an_entity_is_known_by_set_type_or_how_people_write_them_and_keeps_the_services_spelling() {
        let model = model();
        for name in [
            "purchaseorderheadersv2",
            "PurchaseOrderHeaderV2",
            "Purchase order headers V2",
            "purchase_order_headers_v2",
        ] {
            assert_eq!(model.entity(name).unwrap().set_name, "PurchaseOrderHeadersV2", "{name}");
        }
        assert!(model.entity("PurchaseOrders").is_none() && model.entity(" ").is_none());
        let unit = model.entity("unit").unwrap();
        assert!(!unit.attributes[0].creatable, "the whole entity is read-only");
    }

    #[test]
    fn a_document_that_is_cut_off_or_of_another_kind_is_told_apart_from_one_without_the_entity() {
        let cut = &DOCUMENT[..DOCUMENT.find(" <EntityContainer").unwrap()];
        assert!(Model::read(cut.as_bytes()).unwrap_err().contains("ends in the middle"));
        assert!(Model::read(&cut.as_bytes()[..cut.len() - 5]).is_err());
        assert!(Model::read(&b"<html><body>sign in</body></html>"[..]).unwrap_err().contains("no entity"));
        assert!(Model::read(&b"<a></b>"[..]).is_err());
    }

    #[test]
    fn pieces_of_any_size_make_the_same_model() {
        for size in [1, 7, 4_096] {
            let (sender, receiver) = tokio::sync::mpsc::channel(DOCUMENT.len());
            for piece in DOCUMENT.as_bytes().chunks(size) {
                sender.try_send(Bytes::from(piece)).unwrap();
            }
            drop(sender);
            let model = Model::read(Pieces::of(receiver)).unwrap();
            assert_eq!(model.entity("unit").unwrap().set_name, "UnitsOfMeasure");
        }
    }
}
