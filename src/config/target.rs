//! Where the rows go: the rehearsal server, or an environment of Dynamics with what it takes to be let in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use url::Url;

use super::audit::Audit;
use super::fault::JsonPath;
use super::place;
use super::raw::{RawDialect, RawKind, RawPrincipal, RawTarget};
use super::secret::{SecretError, SecretSource};
use super::shape::concealed;

/// Who issues tokens unless told otherwise: the public cloud of Entra ID.
pub const AUTHORITY_DEFAULT: &str = "https://login.microsoftonline.com";

/// Where the rows go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The embedded rehearsal server.
    Sandbox(SandboxTarget),
    /// An environment of Dataverse.
    Dataverse(ServiceTarget),
    /// An environment of Finance & Operations.
    Finops(ServiceTarget),
}

/// The embedded rehearsal server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxTarget {
    /// Whether it stands for Finance & Operations; else it stands for Dataverse.
    pub finops: bool,
    /// The folder of its store.
    pub store: PathBuf,
    /// Where it listens; `None` is any free port of 127.0.0.1.
    pub listen: Option<SocketAddr>,
}

/// An environment of Dynamics and who we are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTarget {
    /// Its address: scheme, host and port; the path is `/`.
    pub url: Url,
    /// Who issues the tokens: scheme, host and port.
    pub authority: Url,
    /// The directory (tenant): a GUID or a domain.
    pub tenant_id: String,
    /// The application users that requests are made as, side by side; at least one, each another.
    pub principals: Vec<Principal>,
    /// Whether upserts may go by bulk action, which does not tell what was created.
    pub bulk_upserts: bool,
}

/// An application user and how it proves who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The application (client) id, a GUID.
    pub client_id: String,
    /// What it proves itself with.
    pub credential: Credential,
    /// Requests at once under this user, at most.
    pub workers: Option<u16>,
}

/// What an application user proves itself with. Names of places only: printing one shows no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A client secret.
    Secret(SecretSource),
    /// A certificate with its private key, in PEM, that signs an assertion.
    Certificate(SecretSource),
}

impl Credential {
    /// Where it is kept.
    pub fn source(&self) -> &SecretSource {
        match self {
            Credential::Secret(source) | Credential::Certificate(source) => source,
        }
    }

    /// Whether it can be read now.
    ///
    /// # Errors
    /// When it cannot.
    pub fn look(&self) -> Result<(), SecretError> {
        match self {
            Credential::Secret(source) => source.read().map(drop),
            Credential::Certificate(source) => source.read_pem().map(drop),
        }
    }
}

impl std::fmt::Display for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Credential::Secret(source) => write!(f, "secret in {source}"),
            Credential::Certificate(source) => write!(f, "certificate in {source}"),
        }
    }
}

impl Target {
    /// The word as it stands in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Sandbox(_) => "sandbox",
            Target::Dataverse(_) => "dataverse",
            Target::Finops(_) => "finops",
        }
    }

    /// Whether rows go to Finance & Operations, or to what stands for it.
    pub fn is_finops(&self) -> bool {
        match self {
            Target::Sandbox(sandbox) => sandbox.finops,
            Target::Dataverse(_) => false,
            Target::Finops(_) => true,
        }
    }

    /// The product's name in a sentence.
    pub fn product(&self) -> &'static str {
        match self {
            Target::Sandbox(_) => "the sandbox",
            Target::Dataverse(_) => "Dataverse",
            Target::Finops(_) => "Finance & Operations",
        }
    }

    /// What tells this environment from every other, for row identities: `sandbox`, or the environment's origin.
    pub fn identity(&self) -> String {
        match self {
            Target::Sandbox(_) => "sandbox".to_owned(),
            Target::Dataverse(service) | Target::Finops(service) => {
                service.url.origin().ascii_serialization()
            }
        }
    }
}

/// The target that is meant, with everything it needs.
pub(super) fn checked(
    audit: &mut Audit<'_>,
    raw: RawTarget,
    base: &Path,
    beside_dropbox: Option<&Path>,
) -> Option<Target> {
    match raw.kind.unwrap_or_default() {
        RawKind::Sandbox => sandbox(audit, raw, base, beside_dropbox).map(Target::Sandbox),
        RawKind::Dataverse => service(audit, raw, base, "dataverse").map(Target::Dataverse),
        RawKind::Finops => service(audit, raw, base, "finops").map(Target::Finops),
    }
}

fn at(key: &str) -> JsonPath {
    JsonPath::of(&["target", key])
}

fn sandbox(
    audit: &mut Audit<'_>,
    raw: RawTarget,
    base: &Path,
    beside: Option<&Path>,
) -> Option<SandboxTarget> {
    for (key, value) in [
        ("url", &raw.url),
        ("authority", &raw.authority),
        ("tenant_id", &raw.tenant_id),
        ("client_id", &raw.client_id),
        ("client_secret_file", &raw.client_secret_file),
        ("client_secret_credential", &raw.client_secret_credential),
        ("client_secret_env", &raw.client_secret_env),
        ("client_certificate_file", &raw.client_certificate_file),
        ("client_certificate_credential", &raw.client_certificate_credential),
        ("principals", &raw.principals.as_ref().map(|_| String::new())),
        ("bulk_upserts", &raw.bulk_upserts.map(|_| String::new())),
    ] {
        if value.is_some() {
            let sentence = format!(
                "`{key}` is a setting of Dynamics environments, and this target is the sandbox; set `kind` to `dataverse` \
                 or `finops`, or take `{key}` out"
            );
            audit.contradiction::<()>(&at(key), sentence);
        }
    }
    let listen = raw.listen.map(|text| place::listen(audit, &at("listen"), &text));
    let store = match raw.store {
        Some(text) => place::path(audit, &at("store"), &text, base),
        None => beside.map(|folder| folder.join("sandbox")),
    };
    let listen = match listen {
        Some(None) => return None,
        Some(address) => address,
        None => None,
    };
    let finops = raw.dialect == Some(RawDialect::Finops);
    Some(SandboxTarget { finops, store: store?, listen })
}

fn service(audit: &mut Audit<'_>, raw: RawTarget, base: &Path, kind: &str) -> Option<ServiceTarget> {
    let dialect = raw.dialect.map(|_| String::new());
    for (key, value) in [("dialect", &dialect), ("store", &raw.store), ("listen", &raw.listen)] {
        if value.is_some() {
            let sentence =
                format!("`{key}` is a setting of the sandbox, and this target is `{kind}`; take `{key}` out");
            audit.contradiction::<()>(&at(key), sentence);
        }
    }
    let url = match &raw.url {
        Some(text) => origin(audit, &at("url"), text),
        None => audit.missing(&at("url"), "the environment's address, `https://contoso.crm.dynamics.com`"),
    };
    if let Some(url) = &url {
        right_product(audit, url, kind);
    }
    let authority = origin(audit, &at("authority"), raw.authority.as_deref().unwrap_or(AUTHORITY_DEFAULT));
    let tenant_id = match raw.tenant_id {
        Some(text) => tenant(audit, text),
        None => audit.missing(&at("tenant_id"), "the directory (tenant), a GUID or a domain"),
    };
    let alone = RawPrincipal {
        client_id: raw.client_id,
        client_secret_file: raw.client_secret_file,
        client_secret_credential: raw.client_secret_credential,
        client_secret_env: raw.client_secret_env,
        client_certificate_file: raw.client_certificate_file,
        client_certificate_credential: raw.client_certificate_credential,
        workers: None,
    };
    let principals = match raw.principals {
        None => principal(audit, base, &JsonPath::of(&["target"]), alone).map(|alone| vec![alone]),
        Some(several) => side_by_side(audit, base, &alone, several),
    };
    Some(ServiceTarget {
        url: url?,
        authority: authority?,
        tenant_id: tenant_id?,
        principals: principals?,
        bulk_upserts: raw.bulk_upserts.unwrap_or(false),
    })
}

/// Several application users: each complete, each another, and none beside them.
fn side_by_side(
    audit: &mut Audit<'_>,
    base: &Path,
    alone: &RawPrincipal,
    several: Vec<RawPrincipal>,
) -> Option<Vec<Principal>> {
    for (key, value) in given(alone).into_iter().chain([("client_id", alone.client_id.clone())]) {
        if value.is_some() {
            let sentence = format!("`{key}` stands beside `principals`; move it into one of them");
            audit.contradiction::<()>(&at(key), sentence);
        }
    }
    let mut principals: Vec<Principal> = Vec::new();
    let mut complete = true;
    for (index, raw) in several.into_iter().enumerate() {
        let place = at("principals").index(index);
        let Some(one) = principal(audit, base, &place, raw) else {
            complete = false;
            continue;
        };
        if principals.iter().any(|other| other.client_id.eq_ignore_ascii_case(&one.client_id)) {
            let sentence = "this `client_id` stands in `principals` twice; limits are counted by user, so name each once";
            audit.contradiction::<()>(&place.key("client_id"), sentence.to_owned());
        }
        principals.push(one);
    }
    complete.then_some(principals)
}

fn given(raw: &RawPrincipal) -> [(&'static str, Option<String>); 5] {
    [
        ("client_secret_file", raw.client_secret_file.clone()),
        ("client_secret_credential", raw.client_secret_credential.clone()),
        ("client_secret_env", raw.client_secret_env.clone()),
        ("client_certificate_file", raw.client_certificate_file.clone()),
        ("client_certificate_credential", raw.client_certificate_credential.clone()),
    ]
}

fn principal(audit: &mut Audit<'_>, base: &Path, at: &JsonPath, raw: RawPrincipal) -> Option<Principal> {
    let given = given(&raw);
    let client_id = match raw.client_id {
        Some(text) if uuid::Uuid::try_parse(&text).is_ok() => Some(text),
        // A secret is easily pasted here: what stands here is not shown.
        Some(text) => audit.wrong_as(&at.key("client_id"), "a GUID", &concealed(&text), ""),
        None => audit.missing(&at.key("client_id"), "the application (client) id, a GUID"),
    };
    let credential = credential(audit, base, at, given);
    Some(Principal { client_id: client_id?, credential: credential?, workers: raw.workers })
}

/// An address without path, query or user: what people copy from the browser has more, and is told so.
fn origin(audit: &mut Audit<'_>, at: &JsonPath, text: &str) -> Option<Url> {
    let expected = "an `https://` address without a path";
    let Ok(url) = Url::parse(text) else {
        let advice = if text.contains("://") { "" } else { "it begins with `https://`" };
        return audit.wrong_as(at, expected, &shown(text), advice);
    };
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        let advice = "rows and tokens go over TLS; plain `http://` is taken only for this machine";
        return audit.wrong_as(at, expected, &shown(text), advice);
    }
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !plain || !url.username().is_empty() || url.password().is_some() {
        let advice = format!("write `{}`", url.origin().ascii_serialization());
        return audit.wrong_as(at, expected, &shown(text), &advice);
    }
    Some(url)
}

fn shown(text: &str) -> String {
    if text.contains(['@', '=', '?']) {
        concealed(text)
    } else {
        format!("the text `{}`", super::json::shortened(text))
    }
}

/// Source: dynamics.md, the addresses of both services.
fn right_product(audit: &mut Audit<'_>, url: &Url, kind: &str) {
    let host = url.host_str().unwrap_or_default();
    let finops = host.contains(".operations.dynamics.") || host.ends_with(".cloudax.dynamics.com");
    let dataverse = host.contains(".crm") && host.contains(".dynamics.");
    let other = match kind {
        "dataverse" if finops => "finops",
        "finops" if dataverse => "dataverse",
        _ => return,
    };
    let sentence =
        format!("`{host}` is not an environment of `{kind}`; set `kind` to `{other}`, or give another `url`");
    audit.contradiction::<()>(&at("url"), sentence);
}

fn tenant(audit: &mut Audit<'_>, text: String) -> Option<String> {
    let expected = "the directory (tenant), a GUID or a domain";
    let domain =
        text.contains('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    if domain || uuid::Uuid::try_parse(&text).is_ok() {
        return Some(text);
    }
    let advice = match text.as_str() {
        "common" | "organizations" | "consumers" => {
            "a service signs in to one directory; Entra ID shows its tenant id"
        }
        _ => "",
    };
    audit.wrong_as(&at("tenant_id"), expected, &concealed(&text), advice)
}

fn credential(
    audit: &mut Audit<'_>,
    base: &Path,
    at: &JsonPath,
    given: [(&str, Option<String>); 5],
) -> Option<Credential> {
    let mut given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let Some((key, value)) = given.next() else {
        let expected = "`client_secret_file`, `client_secret_credential`, `client_secret_env`, \
                        `client_certificate_file` or `client_certificate_credential`";
        let sentence = format!("the client secret is missing; expected one of {expected}");
        return audit.contradiction(at, sentence);
    };
    if let Some((second, _)) = given.next() {
        let sentence = format!("`{key}` and `{second}` both say where the client secret is; keep one");
        return audit.contradiction(&at.key(second), sentence);
    }
    let place = at.key(key);
    let source = match key.rsplit('_').next() {
        Some("file") => {
            // A secret is easily pasted here: nothing of the text is shown unless it looks like a path.
            if !value.contains('/') && !value.starts_with('.') {
                let advice = "a file beside this one is `./name`";
                return audit.wrong_as(&place, "the path of a file", &concealed(&value), advice);
            }
            place::path(audit, &place, &value, base).map(SecretSource::File)?
        }
        Some("credential") => {
            let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
            if !plain || value == "." || value == ".." {
                let expected = "the name of a systemd credential, as in `LoadCredential=name:/path`";
                return audit.wrong_as(&place, expected, &concealed(&value), "");
            }
            SecretSource::Credential(value)
        }
        _ => {
            let first = value.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
            if !first || !value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let expected = "the name of an environment variable, not the secret itself";
                return audit.wrong_as(&place, expected, &concealed(&value), "");
            }
            SecretSource::Environment(value)
        }
    };
    Some(match key.starts_with("client_certificate") {
        true => Credential::Certificate(source),
        false => Credential::Secret(source),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::settings::Settings;
    use super::*;

    const SERVICE: &str = r#""kind": "dataverse", "tenant_id": "contoso.onmicrosoft.com",
        "client_id": "11111111-2222-3333-4444-555555555555""#;

    fn parse(target: &str) -> Result<Target, String> {
        let text = format!(r#"{{"dropbox": "drop", "lakehouse": "lake", "target": {{{target}}}}}"#);
        Settings::parse(Path::new("/srv/config.json"), text.as_bytes())
            .map(|settings| settings.target)
            .map_err(|faults| faults.to_string())
    }

    fn with(members: &str) -> Result<Target, String> {
        parse(&format!("{SERVICE}, {members}"))
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_refused_and_never_shown() {
        let url = r#""url": "https://o.crm.dynamics.com""#;
        for members in [
            format!(r#"{url}, "client_secret": "se~same""#),
            format!(r#"{url}, "client_secrets": "se~same""#),
            format!(r#"{url}, "client_secret_file": "se~same""#),
            format!(r#"{url}, "client_secret_env": "se~same""#),
            format!(r#"{url}, "client_secret_credential": "se~same""#),
            r#""client_secret_env": "S", "url": "https://me:se~same@o.crm.dynamics.com""#.to_owned(),
            r#""client_secret_env": "S", "url": "https://o.crm.dynamics.com?code=se~same""#.to_owned(),
        ] {
            let faults = with(&members).unwrap_err();
            assert!(!faults.contains("same"), "{faults}");
        }
        let faults =
            parse(r#""kind": "finops", "tenant_id": "se~same", "client_id": "se~same""#).unwrap_err();
        assert!(!faults.contains("same"), "{faults}");
        let faults = with(&format!(r#"{url}, "client_secret": "se~same""#)).unwrap_err();
        assert!(
            faults.contains("unknown key `client_secret` in `target`; a secret never stands in this file"),
            "{faults}"
        );
    }

    #[test]
    fn several_application_users_are_each_complete_and_each_another() {
        let parse = |members: &str| {
            parse(&format!(
                r#""kind": "dataverse", "tenant_id": "contoso.com", "url": "https://o.crm.dynamics.com", {members}"#
            ))
        };
        let id = |n: u32| format!("11111111-2222-3333-4444-{n:012}");
        let two = format!(
            r#""principals": [{{"client_id": "{}", "client_secret_env": "S", "workers": 3}},
                {{"client_id": "{}", "client_certificate_file": "./client.pem"}}]"#,
            id(1),
            id(2)
        );
        let Target::Dataverse(service) = parse(&two).unwrap() else { panic!() };
        assert_eq!(service.principals.len(), 2);
        assert_eq!((service.principals[0].workers, service.principals[1].workers), (Some(3), None));
        let certificate = Credential::Certificate(SecretSource::File("/srv/client.pem".into()));
        assert_eq!(service.principals[1].credential, certificate);
        assert_eq!(certificate.to_string(), "certificate in the file `/srv/client.pem`");
        for (members, wanted) in [
            (two.replace(&id(2), &id(1)), "stands in `principals` twice"),
            (format!(r#"{two}, "client_id": "{}""#, id(3)), "`client_id` stands beside `principals`"),
            (format!(r#"{two}, "client_secret_env": "T""#), "`client_secret_env` stands beside `principals`"),
            (
                two.replace("client_secret_env\": \"S\"", "client_secret_env\": \"se~same\""),
                "the name of an environment",
            ),
            (two.replace(r#", "client_secret_env": "S""#, ""), "the client secret is missing"),
            (two.replace("\"workers\": 3", "\"workers\": 0"), "from 1 to 52"),
            (two.replace("./client.pem", "./drop/client.pem"), "lies in the dropbox"),
            (two.replace(&id(2), "se~same"), "a GUID"),
            (r#""principals": []"#.to_owned(), "principals"),
        ] {
            let faults = parse(&members).unwrap_err();
            assert!(faults.contains(wanted) && !faults.contains("same\""), "{faults}");
        }
    }

    #[test]
    fn an_environment_is_complete_or_refused() {
        let target =
            with(r#""url": "https://o.crm4.dynamics.com/", "client_secret_file": "./secret""#).unwrap();
        let Target::Dataverse(service) = &target else { panic!("{target:?}") };
        assert_eq!(
            service.principals[0].credential,
            Credential::Secret(SecretSource::File("/srv/secret".into()))
        );
        assert_eq!(service.authority.as_str(), "https://login.microsoftonline.com/");
        assert_eq!(target.identity(), "https://o.crm4.dynamics.com");

        let url = r#""url": "https://o.crm4.dynamics.com""#;
        for (members, wanted) in [
            (url.to_owned(), "the client secret is missing"),
            (format!(r#"{url}, "client_secret_env": "A", "client_secret_file": "./b""#), "keep one"),
            (
                format!(r#"{url}, "client_secret_env": "A", "store": "x""#),
                "`store` is a setting of the sandbox",
            ),
            (format!(r#"{url}, "client_secret_file": "./drop/secret""#), "lies in the dropbox"),
            (r#""url": "http://o.crm4.dynamics.com""#.to_owned(), "go over TLS"),
            (r#""url": "o.crm4.dynamics.com""#.to_owned(), "begins with `https://`"),
            (
                r#""url": "https://o.crm4.dynamics.com/api/data/v9.2/""#.to_owned(),
                "write `https://o.crm4.dynamics.com`",
            ),
        ] {
            let faults = with(&members).unwrap_err();
            assert!(faults.contains(wanted), "{faults}");
        }
        assert!(
            with(r#""url": "http://127.0.0.1:8080", "client_secret_env": "A""#).is_ok(),
            "a rehearsal on this machine"
        );
        let faults = parse(r#""kind": "sandbox", "client_id": "x""#).unwrap_err();
        assert!(faults.contains("this target is the sandbox"), "{faults}");
        let faults = parse(r#""kind": "dataverze""#).unwrap_err();
        assert!(faults.contains("did you mean `dataverse`?"), "{faults}");
        assert!(parse("").unwrap_err().contains("`kind` in `target` is missing"));
    }
}
