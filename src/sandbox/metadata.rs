//! The service document and `$metadata`. Source: dynamics.md §5.1.

use serde_json::{Value as Json, json};

use super::ask::{Answer, Ask};
use super::schema::{Column, Kind, Schema, Table};

/// The list of entity sets.
pub(super) fn service_document(schema: &Schema, ask: &Ask) -> Answer {
    let sets: Vec<Json> = schema
        .tables()
        .iter()
        .map(|table| json!({ "name": table.set_name, "kind": "EntitySet", "url": table.set_name }))
        .collect();
    let body = json!({ "@odata.context": format!("{}$metadata", ask.root()), "value": sets });
    Answer::json(200, body.to_string().into_bytes())
}

/// The CSDL document: names and types, no lengths, no options, as Dataverse serves it. One that was read is served as it is.
pub(super) fn document(schema: &Schema) -> Answer {
    if let Some(document) = &schema.document {
        return Answer {
            content_type: Some("application/xml"),
            body: document.to_vec(),
            ..Answer::empty(200)
        };
    }
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><edmx:Edmx Version=\"4.0\" \
         xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\"><edmx:Reference \
         Uri=\"http://vocabularies.odata.org/OData.Community.Keys.V1.xml\"><edmx:Include \
         Namespace=\"OData.Community.Keys.V1\" Alias=\"Keys\" /></edmx:Reference><edmx:DataServices><Schema \
         Namespace=\"Microsoft.Dynamics.CRM\" Alias=\"mscrm\" \
         xmlns=\"http://docs.oasis-open.org/odata/ns/edm\"><EntityType Name=\"crmbaseentity\" Abstract=\"true\" />",
    );
    for table in schema.tables() {
        entity_type(&mut xml, schema, table);
    }
    xml.push_str(
        "<ComplexType Name=\"WhoAmIResponse\"><Property Name=\"BusinessUnitId\" Type=\"Edm.Guid\" /><Property \
         Name=\"UserId\" Type=\"Edm.Guid\" /><Property Name=\"OrganizationId\" Type=\"Edm.Guid\" \
         /></ComplexType><Function Name=\"WhoAmI\"><ReturnType Type=\"mscrm.WhoAmIResponse\" Nullable=\"false\" \
         /></Function><EntityContainer Name=\"System\"><FunctionImport Name=\"WhoAmI\" \
         Function=\"Microsoft.Dynamics.CRM.WhoAmI\" />",
    );
    for table in schema.tables() {
        entity_set(&mut xml, schema, table);
    }
    xml.push_str("</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>");
    Answer { content_type: Some("application/xml"), body: xml.into_bytes(), ..Answer::empty(200) }
}

fn entity_type(xml: &mut String, schema: &Schema, table: &Table) {
    xml.push_str(&format!(
        "<EntityType Name=\"{}\" BaseType=\"mscrm.crmbaseentity\"><Key><PropertyRef Name=\"{}\" /></Key>",
        table.logical_name, table.primary_id
    ));
    for column in &table.columns {
        property(xml, column);
    }
    for column in &table.columns {
        for target in column.targets() {
            let Some(pointed_at) = schema.logical(&target.table) else { continue };
            xml.push_str(&format!(
                "<NavigationProperty Name=\"{}\" Type=\"mscrm.{}\" Nullable=\"false\" \
                 Partner=\"{}\"><ReferentialConstraint Property=\"{}\" ReferencedProperty=\"{}\" \
                 /></NavigationProperty>",
                target.navigation, target.table, target.relationship, column.property, pointed_at.primary_id
            ));
        }
    }
    for (from, _, target) in schema.referencing(table) {
        xml.push_str(&format!(
            "<NavigationProperty Name=\"{}\" Type=\"Collection(mscrm.{})\" Partner=\"{}\" />",
            target.relationship, from.logical_name, target.navigation
        ));
    }
    alternate_keys(xml, table);
    xml.push_str("</EntityType>");
}

fn property(xml: &mut String, column: &Column) {
    let facet = match column.kind {
        Kind::Text { .. } | Kind::Memo { .. } | Kind::MultiChoice { .. } => " Unicode=\"false\"",
        Kind::Decimal { .. } | Kind::Money { .. } => " Scale=\"Variable\"",
        _ => "",
    };
    xml.push_str(&format!(
        "<Property Name=\"{}\" Type=\"{}\"{facet} />",
        column.property,
        column.kind.edm_type()
    ));
}

fn alternate_keys(xml: &mut String, table: &Table) {
    if table.keys.is_empty() {
        return;
    }
    xml.push_str("<Annotation Term=\"OData.Community.Keys.V1.AlternateKeys\"><Collection>");
    for key in &table.keys {
        xml.push_str(
            "<Record Type=\"OData.Community.Keys.V1.AlternateKey\"><PropertyValue Property=\"Key\"><Collection>",
        );
        for column in &key.columns {
            xml.push_str(&format!(
                "<Record Type=\"OData.Community.Keys.V1.PropertyRef\"><PropertyValue Property=\"Alias\" \
                 String=\"{column}\" /><PropertyValue Property=\"Name\" PropertyPath=\"{column}\" /></Record>"
            ));
        }
        xml.push_str("</Collection></PropertyValue></Record>");
    }
    xml.push_str("</Collection></Annotation>");
}

fn entity_set(xml: &mut String, schema: &Schema, table: &Table) {
    xml.push_str(&format!(
        "<EntitySet Name=\"{}\" EntityType=\"Microsoft.Dynamics.CRM.{}\">",
        table.set_name, table.logical_name
    ));
    for target in table.columns.iter().flat_map(Column::targets) {
        if let Some(pointed_at) = schema.logical(&target.table) {
            xml.push_str(&format!(
                "<NavigationPropertyBinding Path=\"{}\" Target=\"{}\" />",
                target.navigation, pointed_at.set_name
            ));
        }
    }
    for (from, _, target) in schema.referencing(table) {
        xml.push_str(&format!(
            "<NavigationPropertyBinding Path=\"{}\" Target=\"{}\" />",
            target.relationship, from.set_name
        ));
    }
    xml.push_str("</EntitySet>");
}
