//! What people write → settings that cannot be wrong: the configuration, the sidecars, and where the secret is kept.
//!
//! Every fault of a file is told at once, with line, column, what was expected and what was found. Nothing here knows a
//! default that the JSON Schema ([`schema`], [`sidecar_schema`]) does not tell.

mod json;

mod fault;

mod shape;

mod audit;

mod names;

mod place;

mod limits;

mod secret;

mod raw;

mod raw_sidecar;

mod target;

mod settings;

mod surroundings;

mod sidecar;

mod values;

mod loads;

pub use fault::{Fault, JsonPath, Problem};
pub use json::Position;
pub use limits::Limits;
pub use loads::default_loads;
pub use names::{SidecarScope, WORKBOOK_EXTENSIONS, fold_name, is_workbook, sidecar_scope, workbook_stem};
pub use secret::{SECRET_BYTES_MAX, SecretError, SecretSource};
pub use settings::{SETTINGS_BYTES_MAX, SETTINGS_FILES, Settings, SettingsFaults, Validate};
pub use sidecar::{SIDECAR_BYTES_MAX, Sidecar, SidecarFaults, SidecarFile, parse_sidecar};
pub use surroundings::Surroundings;
pub use target::{AUTHORITY_DEFAULT, Credential, Principal, SandboxTarget, ServiceTarget, Target};

/// The JSON Schema of `config.json`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::RawSettings).to_value()
}

/// The JSON Schema of the sidecar of one workbook.
pub fn sidecar_schema() -> serde_json::Value {
    schemars::schema_for!(raw_sidecar::RawSidecar).to_value()
}
