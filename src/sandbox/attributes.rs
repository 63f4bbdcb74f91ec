//! The definition of one column in `EntityDefinitions`: what every type has, and what only its own type has.

use serde_json::{Value as Json, json};

use super::definitions::{Definition, map, metadata_id};
use super::error::ApiError;
use super::schema::{Column, Flavour, Kind, Required, Table};

/// The language of all labels: English (United States).
const LANGUAGE: i32 = 1033;
/// The namespace in front of casts.
const NAMESPACE: &str = "Microsoft.Dynamics.CRM.";
/// Types that a path may cast to, whether a table has columns of them or not.
const CASTS: [&str; 19] = [
    "StringAttributeMetadata",
    "MemoAttributeMetadata",
    "IntegerAttributeMetadata",
    "BigIntAttributeMetadata",
    "DecimalAttributeMetadata",
    "DoubleAttributeMetadata",
    "MoneyAttributeMetadata",
    "BooleanAttributeMetadata",
    "PicklistAttributeMetadata",
    "MultiSelectPicklistAttributeMetadata",
    "StateAttributeMetadata",
    "StatusAttributeMetadata",
    "DateTimeAttributeMetadata",
    "LookupAttributeMetadata",
    "UniqueIdentifierAttributeMetadata",
    "ImageAttributeMetadata",
    "FileAttributeMetadata",
    "EntityNameAttributeMetadata",
    "ManagedPropertyAttributeMetadata",
];

/// The type that a path segment casts to.
///
/// # Errors
/// 400 for a name that is no type of columns, the abstract ones included.
pub(super) fn cast(segment: &str) -> Result<&'static str, ApiError> {
    let name = segment.strip_prefix(NAMESPACE).unwrap_or(segment);
    CASTS.into_iter().find(|known| *known == name).ok_or_else(|| ApiError::unknown_segment(segment))
}

/// The name of the type that describes the column.
pub(super) fn metadata_type(column: &Column) -> &'static str {
    match column.kind {
        Kind::Id | Kind::Guid => "UniqueIdentifierAttributeMetadata",
        Kind::Other { .. } => "ManagedPropertyAttributeMetadata",
        Kind::Binary => "ImageAttributeMetadata",
        Kind::Double { .. } => "DoubleAttributeMetadata",
        Kind::Text { .. } => "StringAttributeMetadata",
        Kind::Memo { .. } => "MemoAttributeMetadata",
        Kind::Integer { .. } => "IntegerAttributeMetadata",
        Kind::BigInt => "BigIntAttributeMetadata",
        Kind::Decimal { .. } => "DecimalAttributeMetadata",
        Kind::Money { .. } => "MoneyAttributeMetadata",
        Kind::Boolean { .. } => "BooleanAttributeMetadata",
        Kind::Choice { .. } => "PicklistAttributeMetadata",
        Kind::MultiChoice { .. } => "MultiSelectPicklistAttributeMetadata",
        Kind::State { .. } => "StateAttributeMetadata",
        Kind::Status { .. } => "StatusAttributeMetadata",
        Kind::Date | Kind::DateTime => "DateTimeAttributeMetadata",
        Kind::Lookup { .. } => "LookupAttributeMetadata",
    }
}

/// `AttributeType` and `AttributeTypeName`; a multi-select calls itself `Virtual` (dynamics.md §2.6).
fn type_names(column: &Column) -> (&'static str, &'static str) {
    match column.kind {
        Kind::Id | Kind::Guid => ("Uniqueidentifier", "UniqueidentifierType"),
        Kind::Other { .. } => ("ManagedProperty", "ManagedPropertyType"),
        Kind::Binary => ("Virtual", "ImageType"),
        Kind::Double { .. } => ("Double", "DoubleType"),
        Kind::Text { .. } => ("String", "StringType"),
        Kind::Memo { .. } => ("Memo", "MemoType"),
        Kind::Integer { .. } => ("Integer", "IntegerType"),
        Kind::BigInt => ("BigInt", "BigIntType"),
        Kind::Decimal { .. } => ("Decimal", "DecimalType"),
        Kind::Money { .. } => ("Money", "MoneyType"),
        Kind::Boolean { .. } => ("Boolean", "BooleanType"),
        Kind::Choice { .. } => ("Picklist", "PicklistType"),
        Kind::MultiChoice { .. } => ("Virtual", "MultiSelectPicklistType"),
        Kind::State { .. } => ("State", "StateType"),
        Kind::Status { .. } => ("Status", "StatusType"),
        Kind::Date | Kind::DateTime => ("DateTime", "DateTimeType"),
        Kind::Lookup { flavour: Flavour::Customer, .. } => ("Customer", "CustomerType"),
        Kind::Lookup { flavour: Flavour::Owner, .. } => ("Owner", "OwnerType"),
        Kind::Lookup { flavour: Flavour::Plain, .. } => ("Lookup", "LookupType"),
    }
}

/// What the uncast list tells about a column.
pub(super) fn definition(table: &Table, column: &Column) -> Definition {
    let (type_code, type_name) = type_names(column);
    let required = match column.required {
        Required::No => "None",
        Required::System => "SystemRequired",
        Required::Application => "ApplicationRequired",
    };
    let properties = map(json!({
        "@odata.type": format!("#{NAMESPACE}{}", metadata_type(column)),
        "MetadataId": metadata_id(&[&table.logical_name, &column.name]),
        "LogicalName": column.name,
        "SchemaName": column.schema_name,
        "EntityLogicalName": table.logical_name,
        "AttributeOf": null,
        "AttributeType": type_code,
        "AttributeTypeName": { "Value": type_name },
        "ColumnNumber": table.columns.iter().position(|known| known.name == column.name),
        "IsCustomAttribute": column.name.starts_with("ddu_"),
        "IsPrimaryId": column.name == table.primary_id,
        "IsPrimaryName": column.name == table.primary_name,
        "IsLogical": false,
        "IsValidForCreate": column.creatable,
        "IsValidForUpdate": column.updatable,
        "IsValidForRead": true,
        "IsValidODataAttribute": true,
        "IsSecured": false,
        "RequiredLevel": managed(required, "canmodifyrequirementlevelsettings"),
        "DisplayName": label(&column.label),
        "Description": label(""),
    }));
    Definition { properties, expandable: Vec::new() }
}

/// What the list behind a cast tells: also the bounds, and the options for `$expand`.
pub(super) fn cast_definition(table: &Table, column: &Column) -> Definition {
    let mut definition = definition(table, column);
    let own = match &column.kind {
        Kind::Id | Kind::Guid | Kind::Other { .. } => json!({}),
        Kind::Binary => json!({ "MaxHeight": 144, "MaxWidth": 144 }),
        Kind::Text { length_max, format } => json!({
            "MaxLength": length_max,
            "DatabaseLength": length_max * 2,
            "Format": format,
            "FormatName": { "Value": format },
            "FormulaDefinition": null,
        }),
        Kind::Memo { length_max } => json!({
            "MaxLength": length_max,
            "Format": "TextArea",
            "FormatName": { "Value": "TextArea" },
        }),
        Kind::Integer { min, max } => json!({ "MinValue": min, "MaxValue": max, "Format": "None" }),
        Kind::BigInt => json!({ "MinValue": i64::MIN, "MaxValue": i64::MAX }),
        Kind::Double { min, max, precision } | Kind::Decimal { min, max, precision } => {
            json!({ "MinValue": min, "MaxValue": max, "Precision": precision })
        }
        Kind::Money { min, max, precision } => json!({
            "MinValue": min,
            "MaxValue": max,
            "Precision": precision,
            "PrecisionSource": 0,
            "IsBaseCurrency": false,
        }),
        Kind::Boolean { default, .. } => json!({ "DefaultValue": default }),
        Kind::Choice { default, .. } => json!({ "DefaultFormValue": default.unwrap_or(-1) }),
        Kind::MultiChoice { .. } | Kind::State { .. } | Kind::Status { .. } => {
            json!({ "DefaultFormValue": -1 })
        }
        Kind::Date => json!({
            "Format": "DateOnly",
            "DateTimeBehavior": { "Value": "DateOnly" },
            "MinSupportedValue": "1753-01-01T00:00:00Z",
            "MaxSupportedValue": "9999-12-30T23:59:59Z",
        }),
        Kind::DateTime => json!({
            "Format": "DateAndTime",
            "DateTimeBehavior": { "Value": "UserLocal" },
            "MinSupportedValue": "1753-01-01T00:00:00Z",
            "MaxSupportedValue": "9999-12-30T23:59:59Z",
        }),
        Kind::Lookup { targets, .. } => {
            let targets: Vec<&str> = targets.iter().map(|target| target.table.as_str()).collect();
            json!({ "Targets": targets })
        }
    };
    definition.properties.extend(map(own));
    if let Some(options) = option_set(table, column) {
        definition.expandable = vec![("OptionSet", options), ("GlobalOptionSet", Json::Null)];
    }
    definition
}

/// The options of a choice, or the two labels of a truth value.
fn option_set(table: &Table, column: &Column) -> Option<Json> {
    let kind = type_names(column).0;
    let option = |value: i32, text: &str| json!({ "Value": value, "Label": label(text), "Color": null });
    let options: Vec<Json> = match &column.kind {
        Kind::Boolean { yes, no, .. } => {
            return Some(json!({
                "MetadataId": metadata_id(&[&table.logical_name, &column.name, "options"]),
                "Name": format!("{}_{}", table.logical_name, column.name),
                "IsGlobal": false,
                "OptionSetType": "Boolean",
                "TrueOption": option(1, yes),
                "FalseOption": option(0, no),
            }));
        }
        Kind::Choice { options, .. } | Kind::MultiChoice { options } => {
            options.iter().map(|item| option(item.value, &item.label)).collect()
        }
        Kind::State { options } => options
            .iter()
            .map(|item| {
                let mut option = map(option(item.value, &item.label));
                option.insert("DefaultStatus".to_owned(), json!(item.default_status));
                option.insert("InvariantName".to_owned(), json!(item.label));
                Json::Object(option)
            })
            .collect(),
        Kind::Status { options } => options
            .iter()
            .map(|item| {
                let mut option = map(option(item.value, &item.label));
                option.insert("State".to_owned(), json!(item.state));
                Json::Object(option)
            })
            .collect(),
        _ => return None,
    };
    Some(json!({
        "MetadataId": metadata_id(&[&table.logical_name, &column.name, "options"]),
        "Name": format!("{}_{}", table.logical_name, column.name),
        "IsGlobal": false,
        "OptionSetType": if kind == "Virtual" { "Picklist" } else { kind },
        "Options": options,
    }))
}

/// A label in the one language that the server speaks.
pub(super) fn label(text: &str) -> Json {
    if text.is_empty() {
        return json!({ "LocalizedLabels": [], "UserLocalizedLabel": null });
    }
    let localized = json!({ "Label": text, "LanguageCode": LANGUAGE, "IsManaged": true });
    json!({ "LocalizedLabels": [localized.clone()], "UserLocalizedLabel": localized })
}

/// A property that an administrator may change.
pub(super) fn managed(value: impl Into<Json>, name: &str) -> Json {
    let value: Json = value.into();
    json!({ "Value": value, "CanBeChanged": true, "ManagedPropertyLogicalName": name })
}
