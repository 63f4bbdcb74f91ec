//! The metadata service beside `/data/`: which entities there are, and what people call them and their columns.
//!
//! Source: dynamics.md §6.1 for the addresses; members as the service's own documents name them. Labels are told by id, in
//! `$metadata` as well, and their texts one by one: `/metadata/Labels(Id='@DDU:Currencies',Language='en-us')`.

use serde_json::{Value as Json, json};

use super::super::address::{Segment, segments};
use super::super::ask::{Answer, Ask};
use super::model::{Column, Entity, Kind, Model};
use super::refusal::Refusal;

/// Where the service stands, beside `/data/`.
const ROOT: &str = "/metadata/";

/// What stands below the service's root, in any case of its letters, with the root before it.
pub(super) fn below_root(path: &str) -> Option<&str> {
    path.get(..ROOT.len()).filter(|root| root.eq_ignore_ascii_case(ROOT)).map(|_| path)
}

/// The id of an entity's label.
pub(super) fn of_entity(entity: &Entity) -> String {
    format!("@DDU:{}", entity.set)
}

/// The id of a column's label.
pub(super) fn of_column(entity: &Entity, column: &Column) -> String {
    format!("@DDU:{}.{}", entity.set, column.name)
}

/// The answer, or `None` where the path is another service's.
pub(super) fn answer(model: &Model, ask: &Ask) -> Option<Result<Answer, Refusal>> {
    let path = ask.path.get(ROOT.len()..).filter(|_| below_root(&ask.path).is_some())?;
    Some(segments(path).map_err(Refusal::from).and_then(|segments| told(model, ask, &segments)))
}

fn told(model: &Model, ask: &Ask, segments: &[Segment]) -> Result<Answer, Refusal> {
    let not_found = || Refusal::not_found(&format!("{}{}", ask.org, ask.path));
    let [Segment { name, key }] = segments else { return Err(not_found()) };
    let context = format!("{}{ROOT}$metadata#{name}", ask.org);
    let body = match (name.as_str(), key.as_deref()) {
        ("DataEntities", None) => list(&context, model.entities.iter().map(data_entity)),
        ("PublicEntities", None) => {
            list(&context, model.entities.iter().map(|entity| public_entity(model, entity)))
        }
        ("PublicEntities", Some(key)) => {
            let wanted = key.trim_start_matches("Name=").trim_matches('\'');
            let entity = model.entities.iter().find(|entity| entity.name == wanted).ok_or_else(not_found)?;
            single(&context, public_entity(model, entity))
        }
        ("Labels", Some(key)) => {
            let id = value_of(key, "Id").ok_or_else(not_found)?;
            let language = value_of(key, "Language").unwrap_or("en-us");
            let text = text(model, id).ok_or_else(not_found)?;
            single(&context, json!({ "Id": id, "Language": language, "Value": text }))
        }
        _ => return Err(not_found()),
    };
    Ok(Answer::json(200, body.to_string().into_bytes()))
}

fn list(context: &str, items: impl Iterator<Item = Json>) -> Json {
    json!({ "@odata.context": context, "value": items.collect::<Vec<Json>>() })
}

fn single(context: &str, item: Json) -> Json {
    let mut body = json!({ "@odata.context": format!("{context}/$entity") });
    if let (Json::Object(body), Json::Object(item)) = (&mut body, item) {
        body.extend(item);
    }
    body
}

/// The value behind a name in `Id='@SYS1',Language='en-us'`.
fn value_of<'k>(key: &'k str, name: &str) -> Option<&'k str> {
    let pairs = key.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(known, value)| (known.trim(), value.trim().trim_matches('\'')))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The text of a label.
fn text<'m>(model: &'m Model, id: &str) -> Option<&'m str> {
    let name = id.strip_prefix("@DDU:")?;
    match name.split_once('.') {
        None => model.set(name).map(|entity| entity.label.as_str()),
        Some((set, column)) => model.set(set)?.column(column).map(|(_, column)| column.label.as_str()),
    }
}

fn data_entity(entity: &Entity) -> Json {
    json!({
        "Name": entity.class,
        "PublicEntityName": entity.name,
        "PublicCollectionName": entity.set,
        "LabelId": of_entity(entity),
        "DataServiceEnabled": true,
        "DataManagementEnabled": true,
        "EntityCategory": "Master",
        "IsReadOnly": entity.read_only,
    })
}

fn public_entity(model: &Model, entity: &Entity) -> Json {
    let properties: Vec<Json> = entity
        .columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            json!({
                "Name": column.name,
                "TypeName": model.type_name(&column.kind),
                "DataType": data_type(&column.kind),
                "LabelId": of_column(entity, column),
                "IsKey": entity.key.contains(&index),
                "IsMandatory": column.required,
                "ConfigurationEnabled": true,
                "AllowEdit": column.editable,
                "AllowEditOnCreate": column.creatable,
                "IsDimension": false,
            })
        })
        .collect();
    json!({
        "Name": entity.name,
        "EntitySetName": entity.set,
        "LabelId": of_entity(entity),
        "IsReadOnly": entity.read_only,
        "ConfigurationEnabled": true,
        "Properties": properties,
        "NavigationProperties": [],
        "PropertyGroups": [],
        "Actions": [],
    })
}

fn data_type(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) => "String",
        Kind::Int32 => "Integer",
        Kind::Int64 => "Int64",
        Kind::Real => "Real",
        Kind::Date => "Date",
        Kind::DateTime => "UtcDateTime",
        Kind::Guid => "Guid",
        Kind::Binary => "Container",
        Kind::Enum(_) => "Enum",
    }
}
