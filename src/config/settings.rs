//! The daemon's settings: read from `config.json`, checked as a whole, with every fault told at once.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::audit::Audit;
use super::fault::{Document, Fault, JsonPath};
use super::limits::Limits;
use super::place::{self, Lakehouse};
use super::raw::{RawSettings, RawValidate};
use super::secret::SecretSource;
use super::shape::Shape;
use super::target::{self, Target};

/// Where the configuration is looked for when nobody names it, in this order.
pub const SETTINGS_FILES: [&str; 2] = ["config.json", "/etc/ddu/config.json"];
/// Largest configuration in bytes.
pub const SETTINGS_BYTES_MAX: usize = 1 << 20;

/// Keys that people try, with what to do instead.
const STRANGERS: [(&str, &str); 4] = [
    ("client_secret", SECRET_INLINE),
    ("secret", SECRET_INLINE),
    ("password", SECRET_INLINE),
    ("listen_token", TOKEN_INLINE),
];
const TOKEN_INLINE: &str = "a secret never stands in this file: keep it in a file and name it with `listen_token_file`, or use \
     `listen_token_credential`";
const SECRET_INLINE: &str = "a secret never stands in this file: keep it in a file and name it with `client_secret_file`, \
     or use `client_secret_credential` or `client_secret_env`, and change a secret that stood here";

/// The daemon's settings, checked. Printing them shows no secret, only where it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The file they come from, an absolute path.
    pub source: PathBuf,
    /// The folder to watch, absolute.
    pub dropbox: PathBuf,
    /// Where the Delta tables live: an absolute path, or an `s3://` or `abfss://` URL without a `/` at its end.
    pub lakehouse: String,
    /// The database of the staged tables, the log, the state and the receipts.
    pub database: String,
    /// The database of the refused rows; never the same.
    pub quarantine_database: String,
    /// Where streaming sources keep how far they came, absolute.
    pub checkpoints: PathBuf,
    /// Where the rows go.
    pub target: Target,
    /// Whether refused rows come back as workbooks by themselves.
    pub download_quarantine: bool,
    /// How many of a job's rows are read back once they are written.
    pub validate: Validate,
    /// Rows in one request, 1 to 1000.
    pub batch_size: u32,
    /// Requests at once at most, 1 to 52; `None` follows the server's hint.
    pub workers: Option<u16>,
    /// Workbooks in work at once, 1 to 64.
    pub jobs_at_once: u16,
    /// How long a file must stand still before it is taken.
    pub settle: Duration,
    /// How long a workbook without a sidecar waits for one.
    pub sidecar_wait: Duration,
    /// How often the dropbox is looked at when nothing announces a change.
    pub poll: Duration,
    /// How long requests under way may take to end at a stop.
    pub drain: Duration,
    /// Where the page and the metrics are served; `None` is nowhere.
    pub listen: Option<SocketAddr>,
    /// Where the token is kept that the page asks for; always there when it listens beyond this machine.
    pub listen_token: Option<SecretSource>,
    /// How large a workbook may be.
    pub limits: Limits,
}

/// How many of a job's rows are read back from the target once they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validate {
    /// A fixed number of them.
    Sample,
    /// Every one.
    All,
    /// None.
    Off,
}

/// Everything that is wrong with a configuration, one line each. The operator must act.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", super::fault::lines(faults))]
pub struct SettingsFaults {
    /// The faults, in the order of the file; never empty.
    pub faults: Vec<Fault>,
}

impl Settings {
    /// The configuration to use: the one that was named, else the first of [`SETTINGS_FILES`] that is there.
    ///
    /// # Errors
    /// When none is named and none is there; the fault names both places.
    pub fn find(explicit: Option<&Path>) -> Result<PathBuf, SettingsFaults> {
        if let Some(path) = explicit {
            return Ok(path.to_owned());
        }
        first_of(&SETTINGS_FILES.map(Path::new))
    }

    /// The lakehouse as a folder, where it is one.
    pub fn lakehouse_dir(&self) -> Option<&Path> {
        (!self.lakehouse.contains("://")).then(|| Path::new(&self.lakehouse))
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// Every fault there is, at once, with its line and column.
    pub fn load(path: &Path) -> Result<Settings, SettingsFaults> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(SETTINGS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| one(path, format!("cannot be read: {error}")))?;
        Settings::parse(path, &bytes)
    }

    /// Checks a configuration that was read from `path`.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Settings, SettingsFaults> {
        let source = std::path::absolute(path)
            .map_err(|error| one(path, format!("cannot be made an absolute path: {error}")))?;
        let document = Document::read(&path.display().to_string(), bytes, SETTINGS_BYTES_MAX)
            .map_err(|faults| SettingsFaults { faults })?;
        let mut audit = Audit::of(&document);
        let shape = Shape::of::<RawSettings>(&STRANGERS);
        let value = shape.check(&document, &document.root, &JsonPath::default(), &mut audit.faults);
        let raw = serde_json::from_value(value.unwrap_or_default());
        let settings = match raw {
            Ok(raw) => checked(&mut audit, raw, place::normal(&source)),
            Err(error) => audit.contradiction(&JsonPath::default(), error.to_string()),
        };
        let mut faults = audit.faults;
        faults.sort_by_key(|fault| fault.at);
        match settings {
            Some(settings) if faults.is_empty() => Ok(settings),
            _ => Err(SettingsFaults { faults }),
        }
    }

    /// The settings as a person reads them, in the order of the configuration: key and value; secrets by their place only.
    pub fn effective(&self) -> Vec<(&'static str, String)> {
        let ms = |duration: Duration| duration.as_millis().to_string();
        let mut lines = vec![
            ("dropbox", self.dropbox.display().to_string()),
            ("lakehouse", self.lakehouse.clone()),
            ("database", self.database.clone()),
            ("quarantine_database", self.quarantine_database.clone()),
            ("checkpoints", self.checkpoints.display().to_string()),
            ("target.kind", self.target.kind().to_owned()),
        ];
        match &self.target {
            Target::Sandbox(sandbox) => {
                let listen = sandbox.listen.map_or_else(|| "any free port".to_owned(), |at| at.to_string());
                let dialect = if sandbox.finops { "finops" } else { "dataverse" };
                lines.extend([
                    ("target.dialect", dialect.to_owned()),
                    ("target.store", sandbox.store.display().to_string()),
                    ("target.listen", listen),
                ]);
            }
            Target::Dataverse(service) | Target::Finops(service) => {
                lines.extend([
                    ("target.url", service.url.origin().ascii_serialization()),
                    ("target.authority", service.authority.origin().ascii_serialization()),
                    ("target.tenant_id", service.tenant_id.clone()),
                ]);
                lines.push(("target.bulk_upserts", service.bulk_upserts.to_string()));
                lines.extend(service.principals.iter().map(|one| {
                    let workers =
                        one.workers.map(|most| format!(", at most {most} at once")).unwrap_or_default();
                    ("target.principal", format!("{}, {}{workers}", one.client_id, one.credential))
                }));
            }
        }
        let or_else = |value: Option<String>, absent: &str| value.unwrap_or_else(|| absent.to_owned());
        let token = |here: fn(&SecretSource) -> bool| {
            let given = self.listen_token.as_ref().filter(|source| here(source));
            or_else(given.map(|source| format!("in {source}")), "none")
        };
        let limits = &self.limits;
        lines.extend([
            ("download_quarantine", self.download_quarantine.to_string()),
            ("validate", format!("{:?}", self.validate).to_lowercase()),
            ("batch_size", self.batch_size.to_string()),
            ("workers", or_else(self.workers.map(|workers| workers.to_string()), "the server's hint")),
            ("jobs_at_once", self.jobs_at_once.to_string()),
            ("settle_ms", ms(self.settle)),
            ("sidecar_wait_ms", ms(self.sidecar_wait)),
            ("poll_ms", ms(self.poll)),
            ("drain_ms", ms(self.drain)),
            ("listen", or_else(self.listen.map(|listen| listen.to_string()), "off")),
            ("listen_token_file", token(|source| matches!(source, SecretSource::File(_)))),
            ("listen_token_credential", token(|source| matches!(source, SecretSource::Credential(_)))),
            ("limits.file_bytes_max", limits.file_bytes_max.to_string()),
            ("limits.uncompressed_bytes_max", limits.uncompressed_bytes_max.to_string()),
            ("limits.ratio_max", limits.ratio_max.to_string()),
            ("limits.rows_max", limits.rows_max.to_string()),
            ("limits.columns_max", limits.columns_max.to_string()),
            ("limits.cell_chars_max", limits.cell_chars_max.to_string()),
            ("limits.reader_wall_ms_max", limits.reader_wall_ms_max.to_string()),
            ("limits.reader_memory_bytes_max", limits.reader_memory_bytes_max.to_string()),
        ]);
        lines
    }
}

fn one(path: &Path, reason: String) -> SettingsFaults {
    SettingsFaults { faults: vec![Fault::of_file(&path.display().to_string(), reason)] }
}

fn first_of(candidates: &[&Path]) -> Result<PathBuf, SettingsFaults> {
    // Whatever is there is taken, also if it cannot be read: the next one would be another configuration.
    let there = |path: &&&Path| !matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound);
    if let Some(path) = candidates.iter().find(there) {
        return Ok((*path).to_owned());
    }
    let (first, others) = candidates.split_first().expect("there are places to look");
    let others: Vec<String> = others.iter().map(|path| format!("nor is `{}`", path.display())).collect();
    let reason = format!(
        "is not there, {}; name a configuration with `--config`, or start from `config.example.json`",
        others.join(", ")
    );
    Err(one(first, reason))
}

/// The settings in `raw`, where everything in it is right.
fn checked(audit: &mut Audit<'_>, raw: RawSettings, source: PathBuf) -> Option<Settings> {
    let at = |key: &str| JsonPath::of(&[key]);
    let base = source.parent().unwrap_or(Path::new("/")).to_owned();
    let dropbox = raw.dropbox.and_then(|text| place::path(audit, &at("dropbox"), &text, &base));
    let beside = match dropbox.as_deref().map(Path::parent) {
        Some(None) => audit.wrong(&at("dropbox"), "a folder of its own", "/", ""),
        Some(parent) => parent.map(Path::to_owned),
        None => None,
    };
    let lakehouse = raw.lakehouse.and_then(|text| place::lakehouse(audit, &at("lakehouse"), &text, &base));
    let checkpoints = match raw.checkpoints {
        Some(text) => place::path(audit, &at("checkpoints"), &text, &base),
        None => beside.as_ref().map(|folder| folder.join("checkpoints")),
    };
    let target = target::checked(audit, raw.target, &base, beside.as_deref());
    for (key, name) in [("database", &raw.database), ("quarantine_database", &raw.quarantine_database)] {
        if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            audit.wrong::<()>(&at(key), "lower case letters, digits and `_`", name, "");
        }
    }
    if raw.database == raw.quarantine_database {
        let sentence = format!(
            "`database` and `quarantine_database` are both `{}`; refused rows need a database of their own",
            raw.database
        );
        audit.contradiction::<()>(&at("quarantine_database"), sentence);
    }
    // Nothing given is `Some(None)`, nothing usable is `None`.
    let listen = match raw.listen {
        Some(text) => place::listen(audit, &at("listen"), &text).map(Some),
        None => Some(None),
    };
    let given = [
        ("listen_token_file", raw.listen_token_file),
        ("listen_token_credential", raw.listen_token_credential),
    ];
    let listen_token = page_token(audit, &base, given, listen.flatten());
    let owned = Owned {
        dropbox: dropbox.as_deref(),
        lakehouse: lakehouse.as_ref(),
        checkpoints: checkpoints.as_deref(),
        target: target.as_ref(),
    };
    keep_apart(audit, &source, owned);
    let lakehouse = match lakehouse? {
        Lakehouse::Url(url) => url,
        Lakehouse::Folder(folder) => match folder.into_os_string().into_string() {
            Ok(folder) => folder,
            Err(folder) => audit.wrong(&at("lakehouse"), "a path in UTF-8", &folder.to_string_lossy(), "")?,
        },
    };
    let ms = Duration::from_millis;
    Some(Settings {
        source,
        dropbox: dropbox?,
        lakehouse,
        database: raw.database,
        quarantine_database: raw.quarantine_database,
        checkpoints: checkpoints?,
        target: target?,
        download_quarantine: raw.download_quarantine,
        validate: match raw.validate {
            RawValidate::Sample => Validate::Sample,
            RawValidate::All => Validate::All,
            RawValidate::Off => Validate::Off,
        },
        batch_size: raw.batch_size,
        workers: raw.workers,
        jobs_at_once: raw.jobs_at_once,
        settle: ms(raw.settle_ms),
        sidecar_wait: ms(raw.sidecar_wait_ms),
        poll: ms(raw.poll_ms),
        drain: ms(raw.drain_ms),
        listen: listen?,
        listen_token: listen_token?,
        limits: raw.limits,
    })
}

/// Where the page's token is kept, which it must have where other machines can reach it. Nothing given is `Some(None)`.
fn page_token(
    audit: &mut Audit<'_>,
    base: &Path,
    given: [(&'static str, Option<String>); 2],
    listen: Option<SocketAddr>,
) -> Option<Option<SecretSource>> {
    let mut given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let Some((key, value)) = given.next() else {
        return match listen.filter(|listen| !listen.ip().is_loopback()) {
            None => Some(None),
            Some(listen) => {
                let sentence = format!(
                    "`listen` is `{listen}`, which other machines can reach, and nobody would be asked who they are; give a \
                     token by `listen_token_file` or `listen_token_credential`, or listen on `127.0.0.1:{}`",
                    listen.port()
                );
                audit.contradiction(&JsonPath::of(&["listen"]), sentence)
            }
        };
    };
    if let Some((second, _)) = given.next() {
        let sentence = format!("`{key}` and `{second}` both say where the page's token is; keep one");
        return audit.contradiction(&JsonPath::of(&[second]), sentence);
    }
    target::secret_place(audit, &JsonPath::of(&[key]), base, key, value).map(Some)
}

/// The folders that something of ours owns, where they are known.
struct Owned<'o> {
    dropbox: Option<&'o Path>,
    lakehouse: Option<&'o Lakehouse>,
    checkpoints: Option<&'o Path>,
    target: Option<&'o Target>,
}

/// Every folder has one owner, and what the operator keeps is not dropped.
fn keep_apart(audit: &mut Audit<'_>, source: &Path, owned: Owned<'_>) {
    let mut folders: Vec<(JsonPath, &Path)> = Vec::new();
    if let Some(dropbox) = owned.dropbox {
        folders.push((JsonPath::of(&["dropbox"]), dropbox));
        if place::inside(source, dropbox) {
            let sentence =
                "this file lies in its own dropbox and would be taken for a sidecar; keep it elsewhere";
            audit.contradiction::<()>(&JsonPath::of(&["dropbox"]), sentence.to_owned());
        }
    }
    if let Some(Lakehouse::Folder(folder)) = owned.lakehouse {
        folders.push((JsonPath::of(&["lakehouse"]), folder));
    }
    if let Some(checkpoints) = owned.checkpoints {
        folders.push((JsonPath::of(&["checkpoints"]), checkpoints));
    }
    match owned.target {
        Some(Target::Sandbox(sandbox)) => folders.push((JsonPath::of(&["target", "store"]), &sandbox.store)),
        Some(Target::Dataverse(service) | Target::Finops(service)) => {
            for one in &service.principals {
                let SecretSource::File(path) = one.credential.source() else { continue };
                if owned.dropbox.is_some_and(|dropbox| place::inside(path, dropbox)) {
                    let sentence = format!(
                        "{} of a principal lies in the dropbox, where others read and write; keep it elsewhere",
                        one.credential.source()
                    );
                    audit.contradiction::<()>(&JsonPath::of(&["target"]), sentence);
                }
            }
        }
        None => {}
    }
    place::apart(audit, &folders);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, String> {
        Settings::parse(Path::new("/srv/ddu/config.json"), text.as_bytes())
            .map_err(|faults| faults.to_string().replace("/srv/ddu/config.json: ", ""))
    }

    fn with(members: &str) -> Result<Settings, String> {
        parse(&format!(r#"{{"dropbox": "drop", "lakehouse": "lake", {members}}}"#))
    }

    #[test]
    fn a_page_that_others_can_reach_has_a_token() {
        for listen in ["0.0.0.0:8787", "192.0.2.7:80", "[::]:8787"] {
            let faults = with(&format!(r#""listen": "{listen}""#)).unwrap_err();
            assert!(faults.contains("nobody would be asked who they are"), "{faults}");
            let settings = with(&format!(r#""listen": "{listen}", "listen_token_file": "./token""#)).unwrap();
            assert_eq!(settings.listen_token, Some(SecretSource::File("/srv/ddu/token".into())));
        }
        let settings = with(r#""listen": "[::1]:8787", "listen_token_credential": "page""#).unwrap();
        assert_eq!(settings.listen_token, Some(SecretSource::Credential("page".to_owned())));
        assert_eq!(with(r#""listen": "127.0.0.9:1""#).unwrap().listen_token, None);
        let faults = with(r#""listen_token_file": "./a", "listen_token_credential": "b""#).unwrap_err();
        assert!(faults.contains("keep one"), "{faults}");
        let faults = with(r#""listen_token_file": "Pl4nted~Q8x""#).unwrap_err();
        assert!(faults.contains("the path of a file") && !faults.contains("Q8x"), "{faults}");
        let faults = with(r#""listen_token": "Pl4nted~Q8x""#).unwrap_err();
        assert!(faults.contains("a secret never stands in this file") && !faults.contains("Q8x"), "{faults}");
    }

    #[test]
    fn nothing_is_taken_from_a_configuration_with_faults_and_all_of_them_are_told_in_order() {
        let text = "{\n \"dropbx\": \"./drop\",\n \"lakehouse\": \"ftp://x\",\n \"batch_size\": 5000,\n \"database\": \"A b\",\n \
                    \"target\": {\"kind\": \"dataverse\", \"url\": \"https://x.operations.dynamics.com\"},\n \"listen\": \"8787\",\n \
                    \"limits\": {\"rows\": 3}\n}";
        let faults = parse(text).unwrap_err();
        let found: Vec<&str> = faults.lines().collect();
        assert_eq!(
            found,
            [
                "line 1, column 1: `dropbox` is missing; expected a text",
                "line 2, column 2: unknown key `dropbx`; did you mean `dropbox`?",
                "line 3, column 15: `lakehouse`: expected a folder, or an `s3://` or `abfss://` URL, found the text `ftp://x`",
                "line 4, column 16: `batch_size`: expected a whole number from 1 to 1000, found `5000`",
                "line 5, column 14: `database`: expected lower case letters, digits and `_`, found the text `A b`",
                "line 6, column 12: `tenant_id` in `target` is missing; expected the directory (tenant), a GUID or a domain",
                "line 6, column 12: `client_id` in `target` is missing; expected the application (client) id, a GUID",
                "line 6, column 12: the client secret is missing; expected one of `client_secret_file`, \
                 `client_secret_credential`, `client_secret_env`, `client_certificate_file` or `client_certificate_credential`",
                "line 6, column 41: `x.operations.dynamics.com` is not an environment of `dataverse`; set `kind` to `finops`, \
                 or give another `url`",
                "line 7, column 12: `listen`: expected an address and a port such as `127.0.0.1:8787`, found the text `8787`",
                "line 8, column 13: unknown key `rows` in `limits`; did you mean `rows_max`?",
            ],
            "{faults}"
        );
    }

    #[test]
    fn the_least_configuration_has_every_default_and_paths_start_at_the_file() {
        let settings = parse(r#"{"dropbox": "./drop", "lakehouse": "../lake"}"#).unwrap();
        assert_eq!(settings.dropbox, Path::new("/srv/ddu/drop"));
        assert_eq!(settings.lakehouse, "/srv/lake");
        assert_eq!(settings.checkpoints, Path::new("/srv/ddu/checkpoints"));
        assert_eq!(
            settings.target,
            Target::Sandbox(target::SandboxTarget {
                finops: false,
                store: "/srv/ddu/sandbox".into(),
                listen: None
            })
        );
        assert_eq!(
            (settings.database.as_str(), settings.quarantine_database.as_str()),
            ("migration", "quarantine")
        );
        assert_eq!((settings.batch_size, settings.workers, settings.jobs_at_once), (1_000, None, 4));
        assert_eq!(settings.settle, Duration::from_secs(2));
        assert_eq!(settings.listen, Some("127.0.0.1:8787".parse().unwrap()));
        assert!(settings.download_quarantine);
        assert_eq!(settings.limits, Limits::default());
        assert_eq!(with(r#""listen": null"#).unwrap().listen, None);
        assert_eq!(
            with(r#""limits": {"rows_max": 7}"#).unwrap().limits,
            Limits { rows_max: 7, ..Limits::default() }
        );
    }

    #[test]
    fn folders_in_one_another_are_refused_also_through_links() {
        for (members, wanted) in [
            (
                r#""checkpoints": "drop/../lake/c""#,
                "`checkpoints` (`/srv/ddu/lake/c`) lies inside `lakehouse`",
            ),
            (r#""checkpoints": "drop""#, "`checkpoints` (`/srv/ddu/drop`) is the same folder as `dropbox`"),
            (
                r#""target": {"kind": "sandbox", "store": "drop/x"}"#,
                "`store` in `target` (`/srv/ddu/drop/x`) lies inside",
            ),
        ] {
            let faults = with(members).unwrap_err();
            assert!(faults.contains(wanted), "{faults}");
        }
        let faults = parse(r#"{"dropbox": "lake/drop", "lakehouse": "lake"}"#).unwrap_err();
        assert!(faults.contains("contains `dropbox`"), "{faults}");
        let faults = parse(r#"{"dropbox": ".", "lakehouse": "/lake", "checkpoints": "/c"}"#).unwrap_err();
        assert!(faults.contains("lies in its own dropbox"), "{faults}");
        assert!(parse(r#"{"dropbox": "/", "lakehouse": "/lake"}"#).is_err());

        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
        let text = r#"{"dropbox": "link", "lakehouse": "real/lake"}"#;
        let faults =
            Settings::parse(&dir.path().join("config.json"), text.as_bytes()).unwrap_err().to_string();
        assert!(faults.contains("lies inside `dropbox`"), "{faults}");
        let text = r#"{"dropbox": "drop", "lakehouse": "drop-lake"}"#;
        assert!(
            Settings::parse(&dir.path().join("config.json"), text.as_bytes()).is_ok(),
            "like names are apart"
        );
    }

    #[test]
    fn paths_that_mean_nothing_here_are_refused_with_the_way_out() {
        for (text, wanted) in [
            ("dbfs:/FileStore/tables", "only inside Databricks"),
            (r"C:\\drop", "path of Windows"),
            ("C:/drop", "path of Windows"),
            (r"\\\\server\\share", "path of Windows"),
            ("~/drop", "write the path out"),
            (" drop", "begins or ends with a blank"),
            ("https://x/drop", "expected a path on this machine"),
            ("  ", "a text that is not empty"),
        ] {
            let faults = parse(&format!(r#"{{"dropbox": "{text}", "lakehouse": "lake"}}"#)).unwrap_err();
            assert!(faults.contains(wanted), "{faults}");
        }
        for (text, wanted) in [
            ("s3a://b/x", "did you mean `s3`?"),
            ("s3:///x", "bucket"),
            ("s3://key:sesame@b/x", "belong in the environment"),
            ("abfss://c@a.dfs.core.windows.net/x?sig=sesame", "belong in the environment"),
        ] {
            let faults = parse(&format!(r#"{{"dropbox": "drop", "lakehouse": "{text}"}}"#)).unwrap_err();
            assert!(faults.contains(wanted) && !faults.contains("sesame"), "{faults}");
        }
        for (text, wanted) in [
            ("s3://bucket/lake/", "s3://bucket/lake"),
            ("abfss://c@a.dfs.core.windows.net/x", "abfss://c@a.dfs.core.windows.net/x"),
            ("file:///srv/lake", "/srv/lake"),
        ] {
            let text = format!(r#"{{"dropbox": "drop", "lakehouse": "{text}"}}"#);
            assert_eq!(parse(&text).unwrap().lakehouse, wanted);
        }
    }

    #[test]
    fn databases_of_staged_and_refused_rows_differ() {
        let faults = with(r#""database": "quarantine""#).unwrap_err();
        assert!(faults.contains("are both `quarantine`"), "{faults}");
    }

    #[test]
    fn the_configuration_here_goes_before_the_one_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        let (here, machine) = (dir.path().join("config.json"), dir.path().join("etc.json"));
        let faults = first_of(&[&here, &machine]).unwrap_err().to_string();
        assert!(
            faults.contains(here.to_str().unwrap()) && faults.contains(machine.to_str().unwrap()),
            "{faults}"
        );
        std::fs::write(&machine, "").unwrap();
        assert_eq!(first_of(&[&here, &machine]).unwrap(), machine);
        std::os::unix::fs::symlink("nowhere", &here).unwrap();
        assert_eq!(
            first_of(&[&here, &machine]).unwrap(),
            here,
            "a broken link is a fault, not a reason to go on"
        );
        assert_eq!(Settings::find(Some(Path::new("x"))).unwrap(), Path::new("x"));
        let faults = Settings::load(&here).unwrap_err().to_string();
        assert!(faults.contains("cannot be read: No such file"), "{faults}");
    }

    #[test]
    fn the_example_configuration_is_a_working_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.json");
        let settings = Settings::load(&path).unwrap();
        assert_eq!(settings.target.kind(), "sandbox");
        // It shows the main keys and leaves everything at its default.
        let text = r#"{"dropbox": "./dropbox", "lakehouse": "./lakehouse"}"#;
        assert_eq!(settings, Settings::parse(&path, text.as_bytes()).unwrap());
    }
}
