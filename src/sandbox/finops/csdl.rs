//! The service document and `$metadata` as Finance & Operations serves them. Source: dynamics.md §6.1, §6.3.

use serde_json::{Value as Json, json};

use super::super::ask::{Answer, Ask};
use super::model::{COMPANY, Column, Entity, Kind, Model, NAMESPACE};
use super::{Finops, labels};

/// The vocabulary of the annotations.
pub(super) const VOCABULARY: &str = "Microsoft.Dynamics.OData.Core.V1";

/// The list of entity sets.
pub(super) fn service_document(model: &Model, ask: &Ask) -> Answer {
    let sets: Vec<Json> = model
        .entities
        .iter()
        .map(|entity| json!({ "name": entity.set, "kind": "EntitySet", "url": entity.set }))
        .collect();
    let body = json!({ "@odata.context": format!("{}$metadata", Finops::root(ask)), "value": sets });
    Answer::json(200, body.to_string().into_bytes())
}

/// The CSDL document. `facets` adds lengths and precisions, which only some builds tell.
pub(super) fn document(model: &Model, facets: bool) -> Answer {
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><edmx:Edmx Version=\"4.0\" \
         xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\"><edmx:DataServices><Schema Namespace=\"{NAMESPACE}\" \
         xmlns=\"http://docs.oasis-open.org/odata/ns/edm\">"
    );
    for of in &model.enums {
        xml.push_str(&format!("<EnumType Name=\"{}\">", of.name));
        for (name, number) in &of.members {
            xml.push_str(&format!("<Member Name=\"{name}\" Value=\"{number}\" />"));
        }
        xml.push_str("</EnumType>");
    }
    for entity in &model.entities {
        entity_type(&mut xml, model, entity, facets);
    }
    xml.push_str("<EntityContainer Name=\"Resources\">");
    for Entity { set, name, .. } in &model.entities {
        xml.push_str(&format!("<EntitySet Name=\"{set}\" EntityType=\"{NAMESPACE}.{name}\" />"));
    }
    xml.push_str("</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>");
    Answer { content_type: Some("application/xml"), body: xml.into_bytes(), ..Answer::empty(200) }
}

fn entity_type(xml: &mut String, model: &Model, entity: &Entity, facets: bool) {
    xml.push_str(&format!("<EntityType Name=\"{}\"><Key>", entity.name));
    for (_, column) in entity.key_columns() {
        xml.push_str(&format!("<PropertyRef Name=\"{}\" />", column.name));
    }
    xml.push_str("</Key>");
    for (index, column) in entity.columns.iter().enumerate() {
        property(xml, model, entity, (column, entity.key.contains(&index)), facets);
    }
    if entity.read_only {
        annotation(xml, "IsReadOnly", true);
    }
    label(xml, &labels::of_entity(entity));
    xml.push_str("</EntityType>");
}

fn property(
    xml: &mut String,
    model: &Model,
    entity: &Entity,
    (column, in_key): (&Column, bool),
    facets: bool,
) {
    let facet = match &column.kind {
        Kind::Text(Some(length)) if facets => format!(" MaxLength=\"{length}\""),
        Kind::Real if facets => " Precision=\"32\" Scale=\"6\"".to_owned(),
        _ => String::new(),
    };
    let number = matches!(column.kind, Kind::Int32 | Kind::Int64 | Kind::Real);
    let nullable = if in_key || number { " Nullable=\"false\"" } else { "" };
    let type_name = model.type_name(&column.kind);
    xml.push_str(&format!("<Property Name=\"{}\" Type=\"{type_name}\"{nullable}{facet}", column.name));
    // The company is required of every payload, although an empty one means the client's own.
    let required = column.required || column.name == COMPANY;
    xml.push('>');
    if required {
        annotation(xml, "IsRequired", true);
    }
    if !column.editable {
        annotation(xml, "AllowEdit", false);
    }
    if !column.creatable {
        annotation(xml, "AllowEditOnCreate", false);
    }
    label(xml, &labels::of_column(entity, column));
    xml.push_str("</Property>");
}

fn label(xml: &mut String, id: &str) {
    xml.push_str(&format!("<Annotation Term=\"{VOCABULARY}.LabelId\" String=\"{id}\" />"));
}

fn annotation(xml: &mut String, term: &str, value: bool) {
    xml.push_str(&format!("<Annotation Term=\"{VOCABULARY}.{term}\" Bool=\"{value}\" />"));
}
