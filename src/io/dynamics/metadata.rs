//! Dataverse's EntityDefinitions as entities of ours. Source: dynamics.md §5.2.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::domain::entity::{Attribute, AttributeKind, ChoiceOption, Entity, EntityKey, LookupTarget};

/// The list of all entities.
pub(super) const HEADS_PATH: &str = "EntityDefinitions?$select=LogicalName,EntitySetName,DisplayName,DisplayCollectionName,PrimaryIdAttribute,PrimaryNameAttribute";
/// What every column tells about itself.
pub(super) const ATTRIBUTE_SELECT: &str =
    "LogicalName,DisplayName,AttributeType,AttributeTypeName,RequiredLevel,IsValidForCreate,IsValidForUpdate";
/// What a lookup's navigation properties are found by.
pub(super) const RELATIONSHIP_SELECT: &str =
    "ReferencingAttribute,ReferencedEntity,ReferencingEntityNavigationPropertyName";

/// An entity's names.
#[derive(Debug, Clone)]
pub(super) struct EntityHead {
    pub(super) set_name: String,
    pub(super) logical_name: String,
    /// Singular and plural.
    pub(super) display_names: Vec<String>,
    primary_id: Option<String>,
    primary_name: Option<String>,
}

/// The types whose bounds are only told after a cast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cast {
    String,
    Memo,
    Integer,
    Decimal,
    Double,
    Money,
    DateTime,
    Lookup,
    Boolean,
    Picklist,
    State,
    Status,
    MultiSelectPicklist,
}

impl Cast {
    pub(super) const ALL: [Cast; 13] = [
        Cast::String,
        Cast::Memo,
        Cast::Integer,
        Cast::Decimal,
        Cast::Double,
        Cast::Money,
        Cast::DateTime,
        Cast::Lookup,
        Cast::Boolean,
        Cast::Picklist,
        Cast::State,
        Cast::Status,
        Cast::MultiSelectPicklist,
    ];

    /// The cast of a column, by its `AttributeType`; multi-selects are `Virtual` there and known by their type name.
    fn of(column: &Json) -> Option<Self> {
        match (text(column, "AttributeType").as_deref(), inner(column, "AttributeTypeName").as_deref()) {
            (_, Some("MultiSelectPicklistType")) => Some(Cast::MultiSelectPicklist),
            (Some("String"), _) => Some(Cast::String),
            (Some("Memo"), _) => Some(Cast::Memo),
            (Some("Integer"), _) => Some(Cast::Integer),
            (Some("Decimal"), _) => Some(Cast::Decimal),
            (Some("Double"), _) => Some(Cast::Double),
            (Some("Money"), _) => Some(Cast::Money),
            (Some("DateTime"), _) => Some(Cast::DateTime),
            (Some("Lookup" | "Customer" | "Owner"), _) => Some(Cast::Lookup),
            (Some("Boolean"), _) => Some(Cast::Boolean),
            (Some("Picklist"), _) => Some(Cast::Picklist),
            (Some("State"), _) => Some(Cast::State),
            (Some("Status"), _) => Some(Cast::Status),
            _ => None,
        }
    }

    pub(super) fn is_for(self, column: &Json) -> bool {
        Cast::of(column) == Some(self)
    }

    /// The path of the cast below `Attributes/`, with what it tells.
    pub(super) fn path(self) -> String {
        let query = match self {
            Cast::String | Cast::Memo => "$select=LogicalName,MaxLength",
            Cast::Integer => "$select=LogicalName,MinValue,MaxValue",
            Cast::Decimal | Cast::Double | Cast::Money => "$select=LogicalName,MinValue,MaxValue,Precision",
            Cast::DateTime => "$select=LogicalName,DateTimeBehavior,Format",
            Cast::Lookup => "$select=LogicalName,Targets",
            Cast::Boolean | Cast::Picklist | Cast::State | Cast::Status | Cast::MultiSelectPicklist => {
                "$select=LogicalName&$expand=OptionSet,GlobalOptionSet"
            }
        };
        format!("Microsoft.Dynamics.CRM.{self:?}AttributeMetadata?{query}")
    }
}

/// The names in one element of the list of entities; `None` for one that has no set, and so cannot be written.
pub(super) fn head(json: &Json) -> Option<EntityHead> {
    Some(EntityHead {
        set_name: text(json, "EntitySetName").filter(|name| !name.is_empty())?,
        logical_name: text(json, "LogicalName")?,
        display_names: [label(json.get("DisplayName")), label(json.get("DisplayCollectionName"))]
            .into_iter()
            .flatten()
            .collect(),
        primary_id: text(json, "PrimaryIdAttribute"),
        primary_name: text(json, "PrimaryNameAttribute"),
    })
}

/// Puts together what the several answers told about one entity.
pub(super) fn entity(
    head: &EntityHead,
    columns: &[Json],
    details: &[Json],
    keys: &[Json],
    relationships: &[Json],
    heads: &[EntityHead],
) -> Entity {
    let details: HashMap<String, &Json> =
        details.iter().filter_map(|json| Some((text(json, "LogicalName")?, json))).collect();
    let nothing = Json::Null;
    let attributes = columns
        .iter()
        .filter_map(|column| {
            let logical_name = text(column, "LogicalName")?;
            let detail = details.get(&logical_name).copied().unwrap_or(&nothing);
            Some(Attribute {
                display_name: label(column.get("DisplayName")),
                kind: kind(column, detail, &logical_name, relationships, heads),
                required: inner(column, "RequiredLevel").as_deref() == Some("ApplicationRequired"),
                creatable: flag(column, "IsValidForCreate"),
                updatable: flag(column, "IsValidForUpdate"),
                logical_name,
            })
        })
        .collect();
    Entity {
        set_name: head.set_name.clone(),
        logical_name: head.logical_name.clone(),
        display_name: head.display_names.first().cloned(),
        primary_id: head.primary_id.clone(),
        primary_name: head.primary_name.clone(),
        attributes,
        keys: keys.iter().filter_map(key).collect(),
    }
}

fn kind(
    column: &Json,
    detail: &Json,
    name: &str,
    relationships: &[Json],
    heads: &[EntityHead],
) -> AttributeKind {
    let attribute_type = text(column, "AttributeType").unwrap_or_default();
    let number = |key: &str| detail.get(key).and_then(Json::as_f64);
    let digits =
        || detail.get("Precision").and_then(Json::as_u64).and_then(|digits| u32::try_from(digits).ok());
    let whole = |key: &str, default: i64| detail.get(key).and_then(Json::as_i64).unwrap_or(default);
    match Cast::of(column) {
        Some(Cast::String | Cast::Memo) => AttributeKind::Text {
            length_max: detail
                .get("MaxLength")
                .and_then(Json::as_u64)
                .and_then(|max| u32::try_from(max).ok()),
        },
        Some(Cast::Integer) => AttributeKind::Integer {
            min: whole("MinValue", i64::from(i32::MIN)),
            max: whole("MaxValue", i64::from(i32::MAX)),
        },
        Some(Cast::Decimal | Cast::Money) => {
            AttributeKind::Decimal { min: number("MinValue"), max: number("MaxValue"), precision: digits() }
        }
        Some(Cast::Double) => {
            AttributeKind::Double { min: number("MinValue"), max: number("MaxValue"), precision: digits() }
        }
        Some(Cast::DateTime) => match inner(detail, "DateTimeBehavior").as_deref() {
            Some("DateOnly") => AttributeKind::Date,
            _ => AttributeKind::DateTime,
        },
        Some(Cast::Boolean) => {
            let set = option_set(detail);
            let named = |key: &str| set.and_then(|set| label(set.get(key)?.get("Label")));
            AttributeKind::Boolean {
                yes: named("TrueOption").unwrap_or_else(|| "Yes".to_owned()),
                no: named("FalseOption").unwrap_or_else(|| "No".to_owned()),
            }
        }
        Some(Cast::Picklist | Cast::State | Cast::Status) => {
            AttributeKind::Choice { options: options(detail) }
        }
        Some(Cast::MultiSelectPicklist) => AttributeKind::MultiChoice { options: options(detail) },
        Some(Cast::Lookup) => {
            let targets = targets(detail, name, relationships, heads);
            if targets.is_empty() {
                AttributeKind::Unsupported { name: format!("{attribute_type} without a known target") }
            } else {
                AttributeKind::Lookup { targets }
            }
        }
        None => match attribute_type.as_str() {
            "BigInt" => AttributeKind::Integer { min: i64::MIN, max: i64::MAX },
            "Uniqueidentifier" => AttributeKind::Guid,
            _ => AttributeKind::Unsupported {
                name: inner(column, "AttributeTypeName").unwrap_or(attribute_type),
            },
        },
    }
}

/// The entities a lookup points at, each with the property that is bound. A relationship to an abstract entity (`owner`)
/// is the way to all targets that have none of their own.
fn targets(detail: &Json, name: &str, relationships: &[Json], heads: &[EntityHead]) -> Vec<LookupTarget> {
    let of_column: Vec<(String, String)> = relationships
        .iter()
        .filter(|json| text(json, "ReferencingAttribute").as_deref() == Some(name))
        .filter_map(|json| {
            Some((text(json, "ReferencedEntity")?, text(json, "ReferencingEntityNavigationPropertyName")?))
        })
        .collect();
    let told: Vec<String> = detail
        .get("Targets")
        .and_then(Json::as_array)
        .map(|targets| targets.iter().filter_map(|target| target.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    let told =
        if told.is_empty() { of_column.iter().map(|(entity, _)| entity.clone()).collect() } else { told };
    told.into_iter()
        .filter_map(|logical_name| {
            let own = of_column.iter().find(|(entity, _)| *entity == logical_name);
            let shared = of_column.iter().find(|(entity, _)| entity == "owner");
            let navigation = match (own, shared) {
                (Some((_, navigation)), _) | (None, Some((_, navigation))) => navigation.clone(),
                (None, None) => return None,
            };
            let head = heads.iter().find(|head| head.logical_name == logical_name)?;
            Some(LookupTarget { set_name: head.set_name.clone(), logical_name, navigation })
        })
        .collect()
}

fn key(json: &Json) -> Option<EntityKey> {
    let attributes = json.get("KeyAttributes")?.as_array()?;
    Some(EntityKey {
        name: text(json, "LogicalName").or_else(|| text(json, "SchemaName"))?,
        attributes: attributes.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        active: text(json, "EntityKeyIndexStatus").as_deref() == Some("Active"),
    })
}

fn option_set(detail: &Json) -> Option<&Json> {
    ["OptionSet", "GlobalOptionSet"].iter().find_map(|key| detail.get(key).filter(|set| !set.is_null()))
}

fn options(detail: &Json) -> Vec<ChoiceOption> {
    let listed = option_set(detail).and_then(|set| set.get("Options")).and_then(Json::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|option| {
            let value = option.get("Value")?.as_i64()?;
            Some(ChoiceOption {
                value,
                label: label(option.get("Label")).unwrap_or_else(|| value.to_string()),
            })
        })
        .collect()
}

/// The label in the caller's language, else the first there is.
fn label(json: Option<&Json>) -> Option<String> {
    let json = json?;
    let own = json.get("UserLocalizedLabel").and_then(|label| text(label, "Label"));
    own.or_else(|| {
        let labels = json.get("LocalizedLabels")?.as_array()?;
        labels.iter().find_map(|label| text(label, "Label"))
    })
    .filter(|label| !label.trim().is_empty())
}

fn text(json: &Json, key: &str) -> Option<String> {
    json.get(key).and_then(Json::as_str).map(str::to_owned)
}

/// `{"Value": …}`, as managed properties come, or the value itself.
fn inner(json: &Json, key: &str) -> Option<String> {
    let value = json.get(key)?;
    value.as_str().or_else(|| value.get("Value")?.as_str()).map(str::to_owned)
}

/// A truth that is true unless told otherwise.
fn flag(json: &Json, key: &str) -> bool {
    json.get(key).and_then(Json::as_bool).unwrap_or(true)
}
