//! `config.json` as it is written. These types are the one list of its keys: the JSON Schema, the check of every file and
//! the defaults come from them.

use schemars::JsonSchema;
use serde::Deserialize;

use super::limits::Limits;

/// Settings of the daemon. Relative paths start at the folder of this file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "DDU configuration")]
pub(super) struct RawSettings {
    /// Where this file's JSON Schema lies; for editors, DDU does not look at it.
    #[serde(rename = "$schema")]
    #[allow(dead_code)]
    pub schema: Option<String>,
    /// The folder to watch.
    #[schemars(required, length(min = 1))]
    pub dropbox: Option<String>,
    /// Where the Delta tables live: a folder, or an `s3://` or `abfss://` URL.
    #[schemars(required, length(min = 1))]
    pub lakehouse: Option<String>,
    /// The database (a folder of the lakehouse) of the staged tables, the log, the state and the receipts.
    #[serde(default = "migration")]
    #[schemars(length(min = 1, max = 60), extend("pattern" = "^[a-z0-9_]+$"))]
    pub database: String,
    /// The database of the refused rows.
    #[serde(default = "quarantine")]
    #[schemars(length(min = 1, max = 60), extend("pattern" = "^[a-z0-9_]+$"))]
    pub quarantine_database: String,
    /// Where streaming sources keep how far they came; by default `checkpoints` beside the dropbox.
    #[schemars(length(min = 1))]
    pub checkpoints: Option<String>,
    /// Where the rows go.
    #[serde(default)]
    pub target: RawTarget,
    /// Whether refused rows come back as workbooks in `returned/` by themselves.
    #[serde(default = "yes")]
    pub download_quarantine: bool,
    /// How many of a job's rows are read back from the target once they are written: a `sample` of 200, `all`, or none
    /// (`off`).
    #[serde(default)]
    pub validate: RawValidate,
    /// Rows in one request.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1, max = 1_000))]
    pub batch_size: u32,
    /// Requests to the target at once, at most; without it the server's own hint is followed.
    #[schemars(range(min = 1, max = 52))]
    pub workers: Option<u16>,
    /// Workbooks in work at once; rows of one entity keep their order of arrival.
    #[serde(default = "jobs_at_once")]
    #[schemars(range(min = 1, max = 64))]
    pub jobs_at_once: u16,
    /// How long a file must stand still before it is taken, in milliseconds.
    #[serde(default = "settle_ms")]
    #[schemars(range(min = 10, max = 3_600_000))]
    pub settle_ms: u64,
    /// How long a workbook without a sidecar waits for one, in milliseconds.
    #[serde(default = "sidecar_wait_ms")]
    #[schemars(range(min = 0, max = 3_600_000))]
    pub sidecar_wait_ms: u64,
    /// How often the dropbox is looked at when nothing announces a change, in milliseconds.
    #[serde(default = "poll_ms")]
    #[schemars(range(min = 50, max = 3_600_000))]
    pub poll_ms: u64,
    /// How long requests under way may take to end once the daemon is told to stop, in milliseconds.
    #[serde(default = "drain_ms")]
    #[schemars(range(min = 0, max = 3_600_000))]
    pub drain_ms: u64,
    /// Address and port of the page and the metrics; `null` turns them off.
    #[serde(default = "listen")]
    #[schemars(length(min = 1))]
    pub listen: Option<String>,
    /// A file with the token that whoever asks the page must bring, and that others cannot read. Without a token the page
    /// listens on this machine only.
    #[schemars(length(min = 1))]
    pub listen_token_file: Option<String>,
    /// The name of a systemd credential (`LoadCredential=`) that holds that token.
    #[schemars(length(min = 1))]
    pub listen_token_credential: Option<String>,
    /// How large a workbook may be.
    #[serde(default)]
    pub limits: Limits,
}

/// Where the rows go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    inline,
    extend("if" = {"properties": {"kind": {"const": "sandbox"}}}),
    extend("else" = {"required": ["url", "tenant_id"]})
)]
pub(super) struct RawTarget {
    /// `sandbox` is the embedded rehearsal server, `dataverse` and `finops` (Finance & Operations) the services.
    #[schemars(required)]
    pub kind: Option<RawKind>,
    /// Sandbox: the product that it stands for, by default `dataverse`.
    pub dialect: Option<RawDialect>,
    /// Sandbox: the folder of its store; by default `sandbox` beside the dropbox.
    #[schemars(length(min = 1))]
    pub store: Option<String>,
    /// Sandbox: address and port it listens on; by default any free port of 127.0.0.1.
    #[schemars(length(min = 1))]
    pub listen: Option<String>,
    /// Services: the environment's address, `https://contoso.crm.dynamics.com`.
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// Services: who issues the tokens; by default `https://login.microsoftonline.com`.
    #[schemars(length(min = 1))]
    pub authority: Option<String>,
    /// Services: the directory (tenant), a GUID or a domain.
    #[schemars(length(min = 1))]
    pub tenant_id: Option<String>,
    /// Services: the application (client) id, a GUID; or `principals`.
    #[schemars(length(min = 1))]
    pub client_id: Option<String>,
    /// Services, one of five: a file that holds the client secret and that others cannot read.
    #[schemars(length(min = 1))]
    pub client_secret_file: Option<String>,
    /// Services, one of five: the name of a systemd credential (`LoadCredential=`) that holds the client secret.
    #[schemars(length(min = 1))]
    pub client_secret_credential: Option<String>,
    /// Services, one of five: the name of an environment variable that holds the client secret.
    #[schemars(length(min = 1))]
    pub client_secret_env: Option<String>,
    /// Services, one of five: a file with the client certificate and its private key (PEM) that others cannot read.
    #[schemars(length(min = 1))]
    pub client_certificate_file: Option<String>,
    /// Services, one of five: the name of a systemd credential that holds the certificate and its key (PEM).
    #[schemars(length(min = 1))]
    pub client_certificate_credential: Option<String>,
    /// Dataverse: whether upserts may go by bulk action (`UpsertMultiple`). It is quicker, but does not tell which records
    /// were created, so that `ddu undo` cannot remove them.
    pub bulk_upserts: Option<bool>,
    /// Services: several application users that are used side by side, instead of `client_id` and its secret.
    #[schemars(length(min = 1))]
    pub principals: Option<Vec<RawPrincipal>>,
}

/// One of several application users.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct RawPrincipal {
    /// The application (client) id, a GUID.
    #[schemars(length(min = 1), required)]
    pub client_id: Option<String>,
    /// One of five: a file that holds the client secret and that others cannot read.
    #[schemars(length(min = 1))]
    pub client_secret_file: Option<String>,
    /// One of five: the name of a systemd credential (`LoadCredential=`) that holds the client secret.
    #[schemars(length(min = 1))]
    pub client_secret_credential: Option<String>,
    /// One of five: the name of an environment variable that holds the client secret.
    #[schemars(length(min = 1))]
    pub client_secret_env: Option<String>,
    /// One of five: a file with the client certificate and its private key (PEM) that others cannot read.
    #[schemars(length(min = 1))]
    pub client_certificate_file: Option<String>,
    /// One of five: the name of a systemd credential that holds the certificate and its key (PEM).
    #[schemars(length(min = 1))]
    pub client_certificate_credential: Option<String>,
    /// Requests at once under this user, at most.
    #[schemars(range(min = 1, max = 52))]
    pub workers: Option<u16>,
}

/// How many rows are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum RawValidate {
    #[default]
    Sample,
    All,
    Off,
}

/// The products that a rehearsal server can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum RawDialect {
    Dataverse,
    Finops,
}

/// The kinds of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(super) enum RawKind {
    #[default]
    Sandbox,
    Dataverse,
    Finops,
}

fn migration() -> String {
    "migration".to_owned()
}

fn quarantine() -> String {
    "quarantine".to_owned()
}

fn yes() -> bool {
    true
}

fn batch_size() -> u32 {
    1_000
}

fn jobs_at_once() -> u16 {
    4
}

fn settle_ms() -> u64 {
    2_000
}

fn sidecar_wait_ms() -> u64 {
    5_000
}

fn poll_ms() -> u64 {
    5_000
}

fn drain_ms() -> u64 {
    30_000
}

fn listen() -> Option<String> {
    Some("127.0.0.1:8787".to_owned())
}
