//! The refusals of Finance & Operations: an envelope that says nothing, and the infolog inside that says it.
//!
//! Source: dynamics.md §6.6. The period behind the whole infolog is the service's own, so a text with a period of its own
//! ends in two, as was observed.

use serde_json::json;

use super::super::ask::{Answer, JSON};
use super::super::error::ApiError;
use super::model::{Column, Entity, NAMESPACE};

/// Where the service's own exceptions come from.
const WRITE_EXCEPTION: &str = "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException";
/// What the OData library throws.
const ODATA_EXCEPTION: &str = "Microsoft.OData.ODataException";
/// The first line of the trace that stands in every error.
const TRACE: &str = "   at Microsoft.Dynamics.Platform.Integration.Services.OData.Update.UpdateProcessor.";

/// A refusal before its status is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    status: Status,
    code: String,
    /// The outer text.
    message: String,
    /// The text that says it, and the exception that carries it.
    inner: Option<(String, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// This one.
    Known(u16),
    /// The one that the environment gives to writes that the application refuses.
    Failure,
}

/// Documented texts that no rule of the built-in entities brings about; a fault names them by their `code`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incident {
    /// Another process changed the row. To be tried again, although it looks like a validation error.
    UpdateConflict,
    /// Two processes waited for each other. To be tried again.
    Deadlock,
    /// A business rule about the item.
    Blocked,
    /// A policy keeps the row from the user.
    PolicyDenied,
}

impl Incident {
    /// The incident with this name in a fault script.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "update_conflict" => Some(Incident::UpdateConflict),
            "deadlock" => Some(Incident::Deadlock),
            "blocked" => Some(Incident::Blocked),
            "policy_denied" => Some(Incident::PolicyDenied),
            _ => None,
        }
    }
}

impl Refusal {
    fn inside(status: Status, text: impl Into<String>, exception: &'static str) -> Self {
        let message = "An error has occurred.".to_owned();
        Refusal { status, code: String::new(), message, inner: Some((text.into(), exception)) }
    }

    /// The refusal with only an outer text.
    pub(super) fn plain(status: u16, message: impl Into<String>) -> Self {
        Refusal { status: Status::Known(status), code: String::new(), message: message.into(), inner: None }
    }

    /// The refusal with another status.
    pub(super) fn at(mut self, status: u16) -> Self {
        self.status = Status::Known(status);
        self
    }

    /// The refusal with a code.
    pub(super) fn coded(mut self, code: &str) -> Self {
        code.clone_into(&mut self.code);
        self
    }

    /// The row was refused with these lines in the infolog.
    fn write(entity: &Entity, lines: &[String]) -> Self {
        let class = &entity.class;
        let text = format!("Write failed for table row of type '{class}'. Infolog: {}.", lines.join("; "));
        Self::inside(Status::Failure, text, WRITE_EXCEPTION)
    }

    /// The whole text of a write's refusal, from a fault script.
    pub(super) fn worded(text: &str) -> Self {
        Self::inside(Status::Failure, text, WRITE_EXCEPTION)
    }

    /// What a fault does to one operation: the incident that its code names, or its own words.
    pub(super) fn struck(entity: &Entity, error: ApiError) -> Self {
        let refusal = match Incident::named(&error.code) {
            Some(incident) => return Self::incident(entity, incident).at(error.status),
            None => Self::worded(&error.message).at(error.status),
        };
        // A code of Dataverse's stands where the script gives none; here codes are empty.
        if error.code.starts_with("0x") { refusal } else { refusal.coded(&error.code) }
    }

    /// A value is not among those of the related table.
    pub(super) fn unrelated(entity: &Entity, column: &Column, value: &str, related: &str) -> Self {
        let lines = [
            format!(
                "Warning: The value '{value}' in field '{}' is not found in the related table '{related}'.",
                column.label
            ),
            format!("Warning: validateField failed on field '{}.{}'", entity.class, column.name),
        ];
        Self::write(entity, &lines)
    }

    /// The key is taken. `values` are those of the key, without the company.
    pub(super) fn already_exists(entity: &Entity, label: &str, values: &[String]) -> Self {
        let line = format!(
            "Info: Cannot create a record in {} ({}). {label}: {}.\nThe record already exists.",
            entity.label,
            entity.table,
            values.join(", ")
        );
        Self::write(entity, &[line])
    }

    /// Required columns are empty.
    pub(super) fn mandatory(entity: &Entity, missing: &[&Column]) -> Self {
        let mut lines: Vec<String> = missing
            .iter()
            .map(|column| format!("Warning: Field '{}' must be filled in.", column.label))
            .collect();
        lines.push(format!("Warning: validateWrite failed on data source '{0} ({0})'", entity.table));
        Self::write(entity, &lines)
    }

    /// A text is longer than its column. The service's words are not known; these are ours.
    pub(super) fn too_long(entity: &Entity, column: &Column, length_max: u32) -> Self {
        let lines = [
            format!(
                "Warning: The length of the value in field '{}' exceeds the maximum of {length_max} characters.",
                column.label
            ),
            format!("Warning: validateField failed on field '{}.{}'", entity.class, column.name),
        ];
        Self::write(entity, &lines)
    }

    /// A value for a column that cannot be written.
    pub(super) fn not_editable(entity: &Entity, column: &Column) -> Self {
        let lines = [
            format!("Warning: Field '{}' does not allow editing.", column.label),
            format!("Warning: validateField failed on field '{}.{}'", entity.class, column.name),
        ];
        Self::write(entity, &lines)
    }

    /// No such legal entity. The service's words are not known; these are ours.
    pub(super) fn unknown_company(entity: &Entity, company: &str) -> Self {
        Self::write(entity, &[format!("Error: The company '{company}' does not exist.")])
    }

    /// Rows of another entity hold on to this one.
    pub(super) fn dependents(entity: &Entity, dependent: &str) -> Self {
        let line = format!("Error: {} cannot be deleted while dependent {dependent} exist.", entity.label);
        Self::write(entity, &[line])
    }

    /// One of the texts that faults bring about.
    pub(super) fn incident(entity: &Entity, incident: Incident) -> Self {
        let (label, table) = (&entity.label, &entity.table);
        let lines = match incident {
            // It was seen without an infolog.
            Incident::UpdateConflict => {
                return Self::worded(&format!(
                    "Write failed for table row of type '{}'. Cannot edit a record in {label} ({table}). An update conflict \
                     occurred due to another user process deleting the record or changing one or more fields in the record.",
                    entity.class
                ));
            }
            Incident::Deadlock => vec![format!(
                "Error: Cannot edit a record in {label} ({table}). Deadlock, where one or more users have simultaneously \
                 locked the whole table or part of it."
            )],
            Incident::Blocked => vec![
                "Warning: Item 'L-10780-02' is blocked for 'Purchase order'.".to_owned(),
                format!("Warning: validateWrite failed on data source '{table} ({table})'"),
            ],
            Incident::PolicyDenied => {
                vec![format!(
                    "Error: Cannot create a record in {label} ({table}). Security policy permission denied."
                )]
            }
        };
        Self::write(entity, &lines)
    }

    /// The row to be changed or deleted is not there, or is another company's.
    pub(super) fn nothing_to_update() -> Self {
        let text = "No resources were found when selecting for update.";
        Self::inside(Status::Known(400), text, "System.InvalidOperationException")
    }

    /// The row changed since its ETag was read.
    pub(super) fn stale() -> Self {
        Self::plain(412, "The ETag value of the request does not match the ETag of the resource.")
    }

    /// 404: no such set, row or path. Its body is not known.
    pub(super) fn not_found(url: &str) -> Self {
        Self::plain(404, format!("No HTTP resource was found that matches the request URI '{url}'."))
    }

    /// 405
    pub(super) fn method_not_allowed(method: &str) -> Self {
        Self::plain(405, format!("The requested resource does not support http method '{method}'."))
    }

    /// A key that lacks columns.
    pub(super) fn incomplete_key(given: usize, names: &[&str]) -> Self {
        let text = format!(
            "Only {given} of {} keys provided for lookup, provide keys for {}",
            names.len(),
            names.join(", ")
        );
        Self::inside(Status::Known(400), text, ODATA_EXCEPTION)
    }

    /// The body, a query or a literal is not what its type says.
    pub(super) fn malformed(text: impl Into<String>) -> Self {
        Self::inside(Status::Known(400), text, ODATA_EXCEPTION)
    }

    /// A property in the body that the entity does not have.
    pub(super) fn unknown_property(entity: &Entity, property: &str) -> Self {
        Self::malformed(format!(
            "The property '{property}' does not exist on type '{NAMESPACE}.{}'. Make sure to only use property names that \
             are defined by the type.",
            entity.name
        ))
    }

    /// A property in a query that the entity does not have.
    pub(super) fn unknown_query_property(entity: &Entity, property: &str) -> Self {
        Self::malformed(format!(
            "Could not find a property named '{property}' on type '{NAMESPACE}.{}'.",
            entity.name
        ))
    }

    /// A value that does not parse as the column's type.
    pub(super) fn literal(literal: &str, type_name: &str) -> Self {
        Self::malformed(format!("Cannot convert the literal '{literal}' to the expected type '{type_name}'."))
    }

    /// The answer, where refused writes have the status `failure`.
    pub(super) fn answer(&self, failure: u16) -> Answer {
        let status = match self.status {
            Status::Known(status) => status,
            Status::Failure => failure,
        };
        let mut body = json!({ "error": { "code": self.code, "message": self.message } });
        if let Some((message, exception)) = &self.inner {
            body["error"]["innererror"] =
                json!({ "message": message, "type": exception, "stacktrace": format!("{TRACE}Save()") });
        }
        Answer { content_type: Some(JSON), body: body.to_string().into_bytes(), ..Answer::empty(status) }
    }
}

/// What the rooms that both dialects share refuse, in this dialect's envelope.
impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        match error.status {
            400 | 500 => Self::inside(Status::Known(error.status), error.message, ODATA_EXCEPTION),
            status => Self::plain(status, error.message),
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        ApiError::sql(&error).into()
    }
}
