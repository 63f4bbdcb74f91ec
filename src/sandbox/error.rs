//! The refusals of the Web API: status, code and message as Dataverse documents them.

use std::borrow::Cow;

use serde_json::{Map, Value as Json};

use super::schema::{Column, Kind, Table};

/// A refusal as it goes over the wire. Codes and texts: dynamics.md §2.3, §2.4, §2.6, §7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) code: Cow<'static, str>,
    pub(super) message: String,
}

impl ApiError {
    /// A refusal with these words.
    pub(super) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ApiError { status, code: code.into(), message: message.into() }
    }

    /// The OData error object. `annotated` adds what `Prefer: odata.include-annotations="*"` asks for.
    pub(super) fn to_json(&self, annotated: bool) -> Vec<u8> {
        let mut error = Map::new();
        error.insert("code".to_owned(), Json::from(self.code.as_ref()));
        error.insert("message".to_owned(), Json::from(self.message.as_str()));
        if annotated {
            let code = self.code.trim_start_matches("0x").to_lowercase();
            let link = format!(
                "http://go.microsoft.com/fwlink/?LinkID=398563&error=Microsoft.Crm.CrmException%3a{code}&client=platform"
            );
            error.insert("@Microsoft.PowerApps.CDS.HelpLink".to_owned(), Json::from(link));
            error.insert(
                "@Microsoft.PowerApps.CDS.InnerError.Message".to_owned(),
                Json::from(self.message.as_str()),
            );
        }
        let mut body = Map::new();
        body.insert("error".to_owned(), Json::Object(error));
        Json::Object(body).to_string().into_bytes()
    }

    /// 404: no such entity set, function or path.
    pub(super) fn unknown_segment(segment: &str) -> Self {
        Self::new(404, "0x80060888", format!("Resource not found for the segment '{segment}'."))
    }

    /// 400: a property in a query that the table does not have.
    pub(super) fn unknown_query_property(property: &str, table: &Table) -> Self {
        let type_name = &table.logical_name;
        Self::new(
            400,
            "0x80060888",
            format!(
                "Could not find a property named '{property}' on type 'Microsoft.Dynamics.CRM.{type_name}'."
            ),
        )
    }

    /// 400: the query does not parse.
    pub(super) fn query_syntax(what: impl Into<String>) -> Self {
        Self::new(400, "0x80060888", what)
    }

    /// 501: a part of the Web API that the rehearsal server does not play.
    pub(super) fn not_played(what: &str) -> Self {
        Self::new(501, "0x80040219", format!("The rehearsal server does not implement {what}."))
    }

    /// 405: the method does not go with the path.
    pub(super) fn method_not_allowed(method: &str, path: &str) -> Self {
        Self::new(
            405,
            "0x80060888",
            format!("The requested resource does not support http method '{method}': {path}."),
        )
    }

    /// 400: the body or a value in it is not what the type says.
    pub(super) fn payload(set_name: &str, inner: &str) -> Self {
        Self::new(
            400,
            "0x80048d19",
            format!(
                "Error identified in Payload provided by the user for Entity :'{set_name}', For more information on \
                 this error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  ---->  \
                 InnerException : {inner}"
            ),
        )
    }

    /// 400: a property in the body that the table does not have.
    pub(super) fn unknown_property(table: &Table, property: &str) -> Self {
        let type_name = &table.logical_name;
        Self::payload(
            &table.set_name,
            &format!(
                "Microsoft.Crm.CrmException: Invalid property '{property}' was found in entity \
                 'Microsoft.Dynamics.CRM.{type_name}'. ---> Microsoft.OData.ODataException: The property '{property}' \
                 does not exist on type 'Microsoft.Dynamics.CRM.{type_name}'. Make sure to only use property names that \
                 are defined by the type."
            ),
        )
    }

    /// 400: `@odata.bind` on something that is no navigation property; case counts.
    pub(super) fn undeclared_navigation(table: &Table, property: &str) -> Self {
        Self::payload(
            &table.set_name,
            &format!(
                "Microsoft.OData.ODataException: An undeclared property '{property}' which only has property annotations \
                 in the payload but no property value was found in the payload. In OData, only declared navigation \
                 properties and declared named streams can be represented as properties without values."
            ),
        )
    }

    /// 400: a JSON value that does not parse as the column's type.
    pub(super) fn literal(table: &Table, value: &Json, edm_type: &str) -> Self {
        let literal = match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        Self::payload(
            &table.set_name,
            &format!(
                "Microsoft.OData.ODataException: Cannot convert the literal '{literal}' to the expected type \
                 '{edm_type}'."
            ),
        )
    }

    /// 400: a text longer than its column.
    pub(super) fn too_long(table: &Table, column: &Column, length_max: u32) -> Self {
        Self::new(
            400,
            "0x80044331",
            format!(
                "A validation error occurred.  The length of the '{}' attribute of the '{}' entity exceeded the maximum \
                 allowed length of '{length_max}'.",
                column.name, table.logical_name
            ),
        )
    }

    /// 400: a number or option outside what the column allows; the code tells which kind.
    pub(super) fn out_of_range(table: &Table, column: &Column, value: &str) -> Self {
        let code = match &column.kind {
            Kind::Integer { .. } => "0x8004432F",
            Kind::Choice { .. } | Kind::MultiChoice { .. } | Kind::State { .. } | Kind::Status { .. } => {
                "0x8004431A"
            }
            _ => "0x80044330",
        };
        let mut message = format!(
            "A validation error occurred. The value {value} of '{}' on record of type '{}' is outside the valid range.",
            column.name, table.logical_name
        );
        let accepted: Vec<String> = column.kind.options().map(|(value, _)| value.to_string()).collect();
        if !accepted.is_empty() {
            message.push_str(" Accepted Values: ");
            message.push_str(&accepted.join(","));
        }
        Self::new(400, code, message)
    }

    /// 400: a day before SQL Server's first.
    pub(super) fn too_early(value: &str) -> Self {
        Self::new(
            400,
            "0x80040239",
            format!(
                "DateTime is less than minumum value supported by CrmDateTime. Actual value: {value}, Minimum value \
                 supported: 01/01/1753 00:00:00"
            ),
        )
    }

    /// 400: a status reason that does not belong to the state.
    pub(super) fn status_of_other_state(table: &Table, status: i64, state: i64) -> Self {
        Self::new(
            400,
            "0x80048408",
            format!("{status} is not a valid status code for state code {state} on {}.", table.logical_name),
        )
    }

    /// 404: no record with this GUID.
    pub(super) fn does_not_exist(table: &Table, id: &str) -> Self {
        Self::new(404, "0x80040217", format!("{} With Id = {id} Does Not Exist", table.logical_name))
    }

    /// 404: no record with these alternate key values.
    pub(super) fn no_record_by_key(table: &Table) -> Self {
        Self::new(
            404,
            "0x80060891",
            format!("A record with the specified key values does not exist in {} entity", table.logical_name),
        )
    }

    /// 400: the key in the URL is not one of the table's.
    pub(super) fn undefined_key(table: &Table) -> Self {
        let type_name = &table.logical_name;
        Self::new(
            400,
            "0x80060888",
            format!(
                "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.{type_name}'. Ensure that \
                 the names and number of key properties match the declared or alternate key properties for the resource \
                 'Microsoft.Dynamics.CRM.{type_name}'."
            ),
        )
    }

    /// 412: the primary key is taken.
    pub(super) fn duplicate_record() -> Self {
        Self::new(412, "0x80040237", "A record with matching key values already exists.")
    }

    /// 412: an alternate key's values are taken.
    pub(super) fn duplicate_key(label: &str, columns: &str) -> Self {
        Self::new(
            412,
            "0x80060892",
            format!(
                "Entity Key {label} violated. A record with the same value for {columns} already exists. A duplicate \
                 record cannot be created. Select one or more unique values and try again."
            ),
        )
    }

    /// 412: the record changed since its ETag was read.
    pub(super) fn version_mismatch() -> Self {
        Self::new(
            412,
            "0x80060882",
            "The version of the existing record doesn't match the RowVersion property provided.",
        )
    }

    /// 413: the body is larger than the server takes.
    pub(super) fn too_large() -> Self {
        Self::new(413, "0x8004418A", "The request is too large.")
    }

    /// 500: SQLite refused something that is no fault of the request.
    pub(super) fn sql(error: &rusqlite::Error) -> Self {
        tracing::error!(%error, "the sandbox's store refused a statement");
        // Another process held the file for longer than we wait.
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) {
            return Self::new(
                500,
                "0x80044151",
                format!("Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 {error}"),
            );
        }
        Self::new(
            500,
            "0x80044150",
            format!("Sql error: Generic SQL error. CRM ErrorCode: -2147204784 {error}"),
        )
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        ApiError::sql(&error)
    }
}
