//! `EntityDefinitions`: what the service tells about its tables, as JSON. Source: dynamics.md §5.2.

use serde_json::{Map, Value as Json, json};
use uuid::Uuid;

use super::address::Segment;
use super::ask::{Answer, Ask, Query};
use super::attributes::{self, label, managed};
use super::bulk;
use super::error::ApiError;
use super::filter::{self, Filter, Operator, Part};
use super::literal::{Literal, quoted};
use super::schema::{AlternateKey, Column, Schema, Table, Target};

/// One definition: its own properties and what `$expand` may add.
pub(super) struct Definition {
    pub(super) properties: Map<String, Json>,
    pub(super) expandable: Vec<(&'static str, Json)>,
}

/// Answers `EntityDefinitions…`; `rest` is what follows the first segment.
///
/// # Errors
/// 404 for an unknown table or path, 400 for an unknown property or cast.
pub(super) fn answer(
    schema: &Schema,
    first: &Segment,
    rest: &[Segment],
    ask: &Ask,
) -> Result<Answer, ApiError> {
    ask.query.only(&["$select", "$filter", "$expand"])?;
    let expand = ask.query.get("$expand").unwrap_or_default();
    let Some(key) = &first.key else {
        if let Some(segment) = rest.first() {
            return Err(ApiError::unknown_segment(&segment.name));
        }
        let all = schema.tables().iter().map(|table| entity(schema, table, expand)).collect();
        return list(ask, "EntityDefinitions", all);
    };
    let table = table_of(schema, key)?;
    let context = format!("EntityDefinitions('{}')", table.logical_name);
    match rest {
        [] => single(ask, "EntityDefinitions/$entity", entity(schema, table, expand)),
        [collection] if collection.key.is_none() => {
            let context = format!("{context}/{}", collection.name);
            list(ask, &context, members(schema, table, &collection.name)?)
        }
        [collection, cast] if collection.name == "Attributes" && collection.key.is_none() => {
            let cast_name = attributes::cast(&cast.name)?;
            let found = table.columns.iter().filter(|column| attributes::metadata_type(column) == cast_name);
            let found = found.map(|column| attributes::cast_definition(table, column)).collect();
            list(ask, &format!("{context}/Attributes/{}", cast.name), found)
        }
        [collection, cast @ ..] if collection.name == "Attributes" && cast.len() < 2 => {
            let name = key_text(collection.key.as_deref().unwrap_or_default(), "LogicalName")?;
            let column = table.column(&name).ok_or_else(|| attribute_not_found(table, &name))?;
            let definition = match cast.first() {
                None => attributes::definition(table, column),
                Some(cast) if attributes::cast(&cast.name)? == attributes::metadata_type(column) => {
                    attributes::cast_definition(table, column)
                }
                Some(_) => return Err(attribute_not_found(table, &name)),
            };
            single(ask, &format!("{context}/Attributes/$entity"), definition)
        }
        [segment, ..] => Err(ApiError::unknown_segment(&segment.name)),
    }
}

/// A stable id for a definition.
pub(super) fn metadata_id(parts: &[&str]) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("ddu.sandbox metadata {}", parts.join(" ")).as_bytes())
}

/// `sdkmessagefilters`: which table takes which message, as clients ask for the bulk messages. Source: dynamics.md §2.5.
///
/// # Errors
/// 400 for an unknown property.
pub(super) fn message_filters(schema: &Schema, ask: &Ask) -> Result<Answer, ApiError> {
    ask.query.only(&["$select", "$filter", "$expand"])?;
    let mut filters = Vec::new();
    for table in schema.tables() {
        for message in bulk::messages(table) {
            let name = json!({ "sdkmessageid": metadata_id(&[message]), "name": message });
            let id = metadata_id(&[&table.logical_name, "message", message]);
            let mut properties = map(json!({
                "sdkmessagefilterid": id,
                "primaryobjecttypecode": table.logical_name,
                "_sdkmessageid_value": metadata_id(&[message]),
            }));
            properties.insert("sdkmessageid".to_owned(), name.clone());
            filters.push(Definition { properties, expandable: vec![("sdkmessageid", name)] });
        }
    }
    list(ask, "sdkmessagefilters", filters)
}

fn table_of<'s>(schema: &'s Schema, key: &str) -> Result<&'s Table, ApiError> {
    let not_found = |what: &str| {
        ApiError::new(404, "0x80041102", format!("Could not find an entity with specified {what}."))
    };
    if let Ok(id) = key.parse::<Uuid>() {
        let table = schema.tables().iter().find(|table| metadata_id(&[&table.logical_name]) == id);
        return table.ok_or_else(|| not_found("MetadataId"));
    }
    let name = key_text(key, "LogicalName")?;
    schema.logical(&name).ok_or_else(|| not_found(&format!("entity name: {name}")))
}

/// The text in `LogicalName='account'`.
fn key_text(key: &str, property: &str) -> Result<String, ApiError> {
    let malformed = || ApiError::query_syntax(format!("The key '{key}' is not valid."));
    let value = key
        .strip_prefix(property)
        .and_then(|rest| rest.trim_start().strip_prefix('='))
        .ok_or_else(malformed)?
        .trim();
    match quoted(value) {
        Some((text, length)) if length == value.len() => Ok(text),
        _ => Err(malformed()),
    }
}

fn attribute_not_found(table: &Table, name: &str) -> ApiError {
    ApiError::new(
        404,
        "0x80041103",
        format!(
            "'{}' entity doesn't contain attribute with Name = '{name}' and NameMapping = 'Logical'.",
            table.logical_name
        ),
    )
}

fn members(schema: &Schema, table: &Table, collection: &str) -> Result<Vec<Definition>, ApiError> {
    Ok(match collection {
        "Attributes" => table.columns.iter().map(|column| attributes::definition(table, column)).collect(),
        "Keys" => table.keys.iter().map(|key| plain(key_definition(table, key))).collect(),
        "ManyToOneRelationships" => table
            .columns
            .iter()
            .flat_map(|column| column.targets().iter().map(move |target| (column, target)))
            .filter_map(|(column, target)| relationship(schema, table, column, target))
            .map(plain)
            .collect(),
        "OneToManyRelationships" => schema
            .referencing(table)
            .filter_map(|(from, column, target)| relationship(schema, from, column, target))
            .map(plain)
            .collect(),
        "ManyToManyRelationships" => Vec::new(),
        other => return Err(ApiError::unknown_segment(other)),
    })
}

fn plain(properties: Map<String, Json>) -> Definition {
    Definition { properties, expandable: Vec::new() }
}

/// The map in `json!({…})`.
pub(super) fn map(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}

fn entity(schema: &Schema, table: &Table, expand: &str) -> Definition {
    let expandable =
        ["Attributes", "Keys", "ManyToOneRelationships", "OneToManyRelationships", "ManyToManyRelationships"]
            .map(|name| {
                // A real schema has thousands of columns: only what is asked for is made.
                let found = if expand.contains(name) { members(schema, table, name) } else { Ok(Vec::new()) };
                let found = found.unwrap_or_default();
                let found = found.into_iter().map(|member| Json::Object(member.properties)).collect();
                (name, Json::Array(found))
            });
    let properties = map(json!({
        "MetadataId": metadata_id(&[&table.logical_name]),
        "LogicalName": table.logical_name,
        "SchemaName": table.schema_name,
        "EntitySetName": table.set_name,
        "LogicalCollectionName": table.set_name,
        "CollectionSchemaName": table.label_plural,
        "PrimaryIdAttribute": table.primary_id,
        "PrimaryNameAttribute": table.primary_name,
        "ObjectTypeCode": table.type_code,
        "OwnershipType": "UserOwned",
        "TableType": "Standard",
        "IsActivity": false,
        "IsActivityParty": false,
        "IsIntersect": false,
        "IsPrivate": false,
        "IsCustomEntity": false,
        "IsLogicalEntity": false,
        "IsOptimisticConcurrencyEnabled": true,
        "IsDuplicateDetectionEnabled": managed(false, "canmodifyduplicatedetectionsettings"),
        "IsCustomizable": managed(true, "iscustomizable"),
        "DisplayName": label(&table.label),
        "DisplayCollectionName": label(&table.label_plural),
        "Description": label(""),
    }));
    Definition { properties, expandable: expandable.into() }
}

fn key_definition(table: &Table, key: &AlternateKey) -> Map<String, Json> {
    map(json!({
        "MetadataId": metadata_id(&[&table.logical_name, &key.name]),
        "LogicalName": key.name,
        "SchemaName": key.name,
        "EntityLogicalName": table.logical_name,
        "KeyAttributes": key.columns,
        "EntityKeyIndexStatus": "Active",
        "IsManaged": false,
        "IsSecondaryKey": false,
        "DisplayName": label(&key.label),
    }))
}

fn relationship(
    schema: &Schema,
    from: &Table,
    column: &Column,
    target: &Target,
) -> Option<Map<String, Json>> {
    let to = schema.logical(&target.table)?;
    Some(map(json!({
        "MetadataId": metadata_id(&[&from.logical_name, &target.relationship]),
        "SchemaName": target.relationship,
        "RelationshipType": "OneToManyRelationship",
        "IsCustomRelationship": false,
        "ReferencingEntity": from.logical_name,
        "ReferencingAttribute": column.name,
        "ReferencingEntityNavigationPropertyName": target.navigation,
        "ReferencedEntity": to.logical_name,
        "ReferencedAttribute": to.primary_id,
        "ReferencedEntityNavigationPropertyName": target.relationship,
        "CascadeConfiguration": { "Delete": "RemoveLink" },
    })))
}

fn list(ask: &Ask, context: &str, definitions: Vec<Definition>) -> Result<Answer, ApiError> {
    let filter = match ask.query.get("$filter") {
        Some(text) => Some(filter::parse(text, &ask.query.aliases())?),
        None => None,
    };
    let mut value = Vec::new();
    for definition in definitions {
        let kept = match &filter {
            Some(filter) => holds(filter, &definition.properties)?,
            None => true,
        };
        if kept {
            value.push(Json::Object(shaped(definition, &ask.query)?));
        }
    }
    let context = format!("{}$metadata#{context}", ask.root());
    let body = json!({ "@odata.context": context, "value": value });
    Ok(Answer::json(200, body.to_string().into_bytes()))
}

fn single(ask: &Ask, context: &str, definition: Definition) -> Result<Answer, ApiError> {
    let mut body = Map::new();
    let context = format!("{}$metadata#{context}", ask.root());
    body.insert("@odata.context".to_owned(), Json::from(context));
    body.extend(shaped(definition, &ask.query)?);
    Ok(Answer::json(200, Json::Object(body).to_string().into_bytes()))
}

/// The properties that `$select` asks for and the members that `$expand` asks for.
fn shaped(definition: Definition, query: &Query) -> Result<Map<String, Json>, ApiError> {
    let Definition { mut properties, expandable } = definition;
    if let Some(select) = query.get("$select") {
        properties = picked(properties, select)?;
    }
    for (name, nested_select) in query.get("$expand").map(expansions).unwrap_or_default() {
        let (_, found) = expandable.iter().find(|(known, _)| *known == name).ok_or_else(|| unknown(&name))?;
        let found = match (found, nested_select) {
            (Json::Array(members), Some(select)) => {
                let members = members.iter().cloned().map(|member| picked(map(member), &select));
                let members = members.map(|member| member.map(Json::Object));
                Json::Array(members.collect::<Result<_, _>>()?)
            }
            (Json::Object(member), Some(select)) => Json::Object(picked(member.clone(), &select)?),
            (found, _) => found.clone(),
        };
        properties.insert(name, found);
    }
    Ok(properties)
}

fn picked(mut properties: Map<String, Json>, select: &str) -> Result<Map<String, Json>, ApiError> {
    let mut kept = Map::new();
    // The type and the id of a definition always come along.
    for name in ["@odata.type", "MetadataId"].into_iter().chain(select.split(',').map(str::trim)) {
        match properties.remove(name) {
            Some(value) => {
                kept.insert(name.to_owned(), value);
            }
            None if name == "@odata.type" || name == "MetadataId" || kept.contains_key(name) => {}
            None => return Err(unknown(name)),
        }
    }
    Ok(kept)
}

fn unknown(property: &str) -> ApiError {
    ApiError::query_syntax(format!(
        "Could not find a property named '{property}' on type 'Microsoft.Dynamics.CRM.MetadataBase'."
    ))
}

/// `Keys,Attributes($select=LogicalName,MaxLength)`: names with their own `$select`.
fn expansions(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    for (index, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
        .into_iter()
        .map(|part| match part.trim().split_once('(') {
            None => (part.trim().to_owned(), None),
            Some((name, options)) => {
                let options = options.trim_end_matches(')');
                let select = options.split(';').find_map(|option| option.trim().strip_prefix("$select="));
                (name.to_owned(), select.map(str::to_owned))
            }
        })
        .collect()
}

/// Whether a definition matches a filter; `RequiredLevel/Value` reaches into a property.
fn holds(filter: &Filter, properties: &Map<String, Json>) -> Result<bool, ApiError> {
    let value_of = |path: &str| {
        let mut steps = path.split('/');
        let first = properties.get(steps.next().unwrap_or_default()).ok_or_else(|| unknown(path))?;
        steps.try_fold(first, |value, step| value.get(step)).ok_or_else(|| unknown(path))
    };
    match filter {
        Filter::And(terms) => {
            for term in terms {
                if !holds(term, properties)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Filter::Or(terms) => {
            for term in terms {
                if holds(term, properties)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Filter::Not(inner) => holds(inner, properties).map(|holds| !holds),
        Filter::Compare { property, operator, literal } => {
            let value = value_of(property)?;
            let equal = match literal {
                Literal::Null => value.is_null(),
                Literal::Boolean(truth) => value.as_bool() == Some(*truth),
                Literal::Integer(number) => value.as_i64() == Some(*number),
                Literal::Decimal(number) => value.as_f64() == Some(*number),
                Literal::Text(text) | Literal::Bare(text) | Literal::Member { name: text, .. } => {
                    value.as_str() == Some(text)
                }
            };
            match operator {
                Operator::Equal => Ok(equal),
                Operator::NotEqual => Ok(!equal),
                _ => Err(ApiError::not_played("ordered comparison of definitions")),
            }
        }
        Filter::Among { .. } => Err(ApiError::not_played("lists in filters of definitions")),
        Filter::Match { part, property, text } => {
            let value = value_of(property)?.as_str().unwrap_or_default();
            Ok(match part {
                Part::Anywhere => value.contains(text),
                Part::Start => value.starts_with(text),
                Part::End => value.ends_with(text),
            })
        }
    }
}
