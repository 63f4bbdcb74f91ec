//! A small Dataverse for the tests of this room: real HTTP, two entities, and a script of what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Response};
use axum::response::IntoResponse;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{ConnectSettings, Credential, Dialect, Dynamics, PrincipalSettings, WireLimits};

/// What goes wrong with one batch; anything not in the script goes well.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Nothing is done; this is the answer.
    Answer { status: u16, headers: Vec<(&'static str, &'static str)>, body: &'static str },
    /// Everything is done, and the connection breaks within the answer.
    CutAfterCommit,
    /// Only so many operations are done and answered.
    Only(usize),
    /// Everything is done, but only so many answers are sent.
    Tell(usize),
    /// The operation whose body holds the text is answered so.
    Row { holding: &'static str, status: u16, body: &'static str },
    /// Stop at the first failure and mirror its status, without telling what came before.
    Stop { telling_before: bool },
    /// Swap the first two answers.
    Swap,
}

#[derive(Default)]
pub(super) struct World {
    /// Path → body of every record.
    pub(super) records: BTreeMap<String, Json>,
    pub(super) faults: VecDeque<Fault>,
    /// Operations in each batch that came.
    pub(super) batches: Vec<Vec<String>>,
    /// Headers of each batch that came.
    pub(super) headers: Vec<HeaderMap>,
    pub(super) tokens: u32,
    pub(super) token_faults: VecDeque<(u16, &'static str)>,
    /// Tokens up to this number are not taken.
    pub(super) stale: u32,
    pub(super) queries: Vec<String>,
    /// Records on a page, where lists come in pages.
    pub(super) page: Option<usize>,
    /// The secret that the token endpoint takes, where it is not `s3cret`.
    pub(super) secret: Option<&'static str>,
    /// Application users that are no users of the environment.
    pub(super) strangers: Vec<&'static str>,
    /// Which application user each write came from.
    pub(super) writers: Vec<String>,
    /// When each write came.
    pub(super) arrivals: Vec<tokio::time::Instant>,
    /// What goes wrong with the next writes of one application user.
    pub(super) faults_of: BTreeMap<&'static str, VecDeque<Fault>>,
    /// Whether the tables support bulk actions.
    pub(super) bulk: bool,
    /// Targets in each bulk action that came, behind its name.
    pub(super) actions: Vec<(String, usize)>,
    /// How long a batch takes for each of its operations; a bulk action takes no time.
    pub(super) operation_takes: Duration,
    /// How long every write takes.
    pub(super) write_takes: Duration,
    /// Writes under way, and the most there were.
    pub(super) flying: (usize, usize),
    /// Ids of CreateMultiple are not ours.
    pub(super) foreign_ids: bool,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) address: String,
}

pub(super) fn limits() -> WireLimits {
    WireLimits {
        attempts_max: 4,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        wait_max: Duration::from_secs(2),
        ..WireLimits::default()
    }
}

/// Settings for a fake at this address.
pub(super) fn settings_of(address: &str) -> ConnectSettings {
    ConnectSettings {
        kind: Dialect::Dataverse,
        url: address.parse().unwrap(),
        authority: address.parse().unwrap(),
        tenant_id: "tenant".to_owned(),
        principals: vec![PrincipalSettings {
            client_id: "client".to_owned(),
            credential: Credential::Known("s3cret".into()),
            workers: None,
        }],
        bulk_upserts: true,
        now: || Timestamp::UNIX_EPOCH,
        name: Some("Fake".to_owned()),
        limits: limits(),
    }
}

impl Fake {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let fake = Fake { world: Arc::default(), address };
        let router = axum::Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    pub(super) fn settings(&self) -> ConnectSettings {
        settings_of(&self.address)
    }

    /// The settings with these application users.
    pub(super) fn settings_for(&self, clients: &[(&str, Credential)]) -> ConnectSettings {
        let principals = clients
            .iter()
            .map(|(client_id, credential)| PrincipalSettings {
                client_id: (*client_id).to_owned(),
                credential: credential.clone(),
                workers: None,
            })
            .collect();
        ConnectSettings { principals, ..self.settings() }
    }

    pub(super) fn client(&self) -> Dynamics {
        Dynamics::connect(self.settings()).unwrap()
    }

    pub(super) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world.lock().unwrap().faults.extend(faults);
    }

    pub(super) fn put(&self, path: &str, body: Json) {
        self.world.lock().unwrap().records.insert(path.to_owned(), body);
    }

    pub(super) fn records(&self) -> BTreeMap<String, Json> {
        self.world.lock().unwrap().records.clone()
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response<Body> {
    let writes = request.method() == "POST" && !request.uri().path().ends_with("/token");
    if writes {
        let mut world = fake.world.lock().unwrap();
        world.flying.0 += 1;
        world.flying.1 = world.flying.1.max(world.flying.0);
    }
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    let operations = body.matches("HTTP/1.1\r\n").count() as u32;
    let answer = heard(&fake, &parts, &body);
    if writes {
        let takes = {
            let world = fake.world.lock().unwrap();
            world.write_takes + world.operation_takes * operations
        };
        tokio::time::sleep(takes).await;
        fake.world.lock().unwrap().flying.0 -= 1;
    }
    answer
}

fn heard(fake: &Fake, parts: &Parts, body: &str) -> Response<Body> {
    let mut world = fake.world.lock().unwrap();
    if parts.uri.path() == "/tenant/oauth2/v2.0/token" {
        if let Some((status, body)) = world.token_faults.pop_front() {
            return reply(status, &[], body);
        }
        assert!(body.contains("grant_type=client_credentials"), "{body}");
        let secret = format!("client_secret={}", world.secret.unwrap_or("s3cret"));
        if !body.contains(&secret) && !body.contains("client_assertion=") {
            let said = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}"#;
            return reply(401, &[], said);
        }
        assert!(body.contains("scope=http%3A%2F%2F127.0.0.1%3A"), "{body}");
        world.tokens += 1;
        let client = body.split("client_id=").nth(1).unwrap().split('&').next().unwrap();
        let token = format!("{}-{client}", world.tokens);
        let token = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": token});
        return reply(200, &[], &token.to_string());
    }
    let bearer = parts.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let (number, client) = bearer.split_once('-').unwrap();
    if number.parse::<u32>().unwrap() <= world.stale {
        return reply(401, &[], r#"{"error":{"code":"0x8004A101","message":"expired"}}"#);
    }
    if world.strangers.contains(&client) {
        let said =
            r#"{"error":{"code":"0x80072560","message":"The user is not a member of the organization."}}"#;
        return reply(403, &[], said);
    }
    assert_eq!(parts.headers["odata-version"], "4.0");
    assert!(!parts.headers.contains_key("cookie"));
    let path = parts.uri.path().strip_prefix("/api/data/v9.2/").unwrap().to_owned();
    if parts.method == "POST" {
        world.writers.push(client.to_owned());
        world.arrivals.push(tokio::time::Instant::now());
        world.headers.push(parts.headers.clone());
        let own = world.faults_of.get_mut(client).and_then(VecDeque::pop_front);
        if let Some(Fault::Answer { status, headers, body }) = own {
            return reply(status, &headers, body);
        }
        return match path.split_once("/Microsoft.Dynamics.CRM.") {
            Some((set, action)) => together(&mut world, set, action, body),
            None => batch(&mut world, &parts.headers, body),
        };
    }
    let query = percent_decode_str(parts.uri.query().unwrap_or_default()).decode_utf8().unwrap().into_owned();
    world.queries.push(format!("{path}?{query}"));
    read(&world, &path, &query)
}

fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let mut response = Response::builder().status(status).header("x-ms-dop-hint", "7");
    response = response.header("set-cookie", "ARRAffinity=1; path=/");
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(Body::from(body.to_owned())).unwrap()
}

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, String::new(), json!({"error": {"code": code, "message": message}}).to_string())
}

/// One operation of a batch: verb, path, whether it must exist, Content-ID, body.
type Asked = (String, String, bool, Option<String>, String);

/// The id that the fake gives to a record that was named by a key; one that was named by its id has that.
pub(super) fn id_of(path: &str) -> Uuid {
    let (_, predicate) = path.split_once('(').unwrap();
    let own = Uuid::try_parse(predicate.trim_end_matches(')'));
    own.unwrap_or_else(|_| Uuid::new_v5(&Uuid::NAMESPACE_URL, path.as_bytes()))
}

fn operations(body: &str) -> Vec<Asked> {
    let mut found = Vec::new();
    for chunk in body.split("\r\nContent-Type: application/http\r\n").skip(1) {
        let (part_head, rest) = chunk.split_once("\r\n\r\n").unwrap();
        let (head, rest) = rest.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let mut request = lines.next().unwrap().split(' ');
        let (verb, path) = (request.next().unwrap(), request.next().unwrap());
        let path = path.strip_prefix("/api/data/v9.2/").unwrap();
        let content_id = part_head.lines().find_map(|line| line.strip_prefix("Content-ID: "));
        let body = rest.split("\r\n--").next().unwrap();
        assert_eq!(head.contains("Prefer: return=representation"), path.contains("?$select="), "{head}");
        found.push((
            verb.to_owned(),
            percent_decode_str(path).decode_utf8().unwrap().into_owned(),
            head.contains("If-Match: *"),
            content_id.map(str::to_owned),
            body.to_owned(),
        ));
    }
    found
}

/// Carries out one operation: status, record, body.
fn carry_out(world: &mut World, asked: &Asked, fault: Option<&Fault>) -> (u16, String, String) {
    let (verb, whole, must_exist, _, body) = asked;
    let (path, select) = match whole.split_once("?$select=") {
        Some((path, column)) => (path, Some(column)),
        None => (whole.as_str(), None),
    };
    let path = &path.to_owned();
    if let Some(Fault::Row { holding, status, body: answer }) = fault
        && (body.contains(holding) || path.contains(holding))
    {
        return (*status, String::new(), (*answer).to_owned());
    }
    let exists = world.records.contains_key(path);
    if !exists && (*must_exist || verb == "DELETE") {
        return error(404, "0x80040217", "account With Id = x Does Not Exist");
    }
    if verb == "DELETE" {
        world.records.remove(path);
        return (204, String::new(), String::new());
    }
    let new: Json = serde_json::from_str(body).unwrap();
    if new["name"].as_str().is_some_and(|name| name.contains("Refused")) {
        return error(
            400,
            "0x80044331",
            "The length of the 'name' attribute of the 'account' entity exceeded",
        );
    }
    let record = world.records.entry(path.clone()).or_insert_with(|| json!({}));
    for (key, value) in new.as_object().unwrap() {
        record[key] = value.clone();
    }
    if let Some(column) = select {
        // A representation has no OData-EntityId.
        let status = if exists { 200 } else { 201 };
        return (status, String::new(), json!({ column: id_of(path) }).to_string());
    }
    (204, format!("http://x/api/data/v9.2/{path}"), String::new())
}

fn batch(world: &mut World, headers: &HeaderMap, body: &str) -> Response<Body> {
    let fault = world.faults.pop_front();
    let asked = operations(body);
    world.batches.push(
        asked.iter().map(|(verb, path, ..)| format!("{verb} {}", path.split('?').next().unwrap())).collect(),
    );
    if let Some(Fault::Answer { status, headers, body }) = &fault {
        return reply(*status, headers, body);
    }
    let change_set = body.contains("--changeset_");
    let before = world.records.clone();
    let mut answers = Vec::new();
    for (number, one) in asked.iter().enumerate() {
        if matches!(fault, Some(Fault::Only(most)) if number >= most) {
            break;
        }
        let answer = carry_out(world, one, fault.as_ref());
        let refused = answer.0 >= 400;
        let part = part(one.3.as_deref(), &answer);
        if refused && change_set {
            world.records = before;
            answers = vec![(answer.0, part)];
            break;
        }
        if refused && let Some(Fault::Stop { telling_before }) = &fault {
            if !telling_before {
                answers.clear();
            }
            answers.push((answer.0, part));
            let (status, text) = (answer.0, whole(&answers, false));
            return reply(status, &[("content-type", "multipart/mixed; boundary=batchresponse_1")], &text);
        }
        answers.push((answer.0, part));
    }
    match fault {
        Some(Fault::Tell(most)) => answers.truncate(most),
        Some(Fault::Swap) => answers.swap(0, 1),
        _ => {}
    }
    if !change_set {
        assert_eq!(headers["prefer"], "odata.continue-on-error");
    }
    let text = whole(&answers, change_set);
    if matches!(fault, Some(Fault::CutAfterCommit)) {
        let half: Result<_, std::io::Error> = Ok(bytes::Bytes::from(text[..text.len() / 2].to_owned()));
        let chunks = [half, Err(std::io::Error::other("cut"))];
        return Body::from_stream(futures::stream::iter(chunks)).into_response();
    }
    reply(200, &[("content-type", "multipart/mixed; boundary=batchresponse_1")], &text)
}

/// A bulk action: all targets or none.
fn together(world: &mut World, set: &str, action: &str, body: &str) -> Response<Body> {
    let asked: Json = serde_json::from_str(body).unwrap();
    let targets = asked["Targets"].as_array().unwrap();
    world.actions.push((action.to_owned(), targets.len()));
    let fault = world.faults.pop_front();
    if let Some(Fault::Answer { status, headers, body }) = &fault {
        return reply(*status, headers, body);
    }
    let before = world.records.clone();
    let mut ids = Vec::new();
    for target in targets {
        let mut target = target.as_object().unwrap().clone();
        assert_eq!(target.remove("@odata.type").unwrap(), "Microsoft.Dynamics.CRM.account");
        let path = match (target.remove("accountid"), target.remove("@odata.id")) {
            (Some(id), None) => format!("{set}({})", id.as_str().unwrap()),
            (None, Some(path)) => {
                percent_decode_str(path.as_str().unwrap()).decode_utf8().unwrap().into_owned()
            }
            named => panic!("{named:?}"),
        };
        let exists = world.records.contains_key(&path);
        let refused = match action {
            "CreateMultiple" if exists => {
                Some(error(412, "0x80040237", "A record with matching key values already exists."))
            }
            "UpdateMultiple" if !exists => {
                Some(error(404, "0x80040217", "Account With Ids = x Do Not Exist"))
            }
            _ => None,
        };
        ids.push(id_of(&path));
        let asked = ("PATCH".to_owned(), path, false, None, Json::Object(target).to_string());
        let answer = refused.unwrap_or_else(|| carry_out(world, &asked, fault.as_ref()));
        if answer.0 >= 400 {
            world.records = before;
            return reply(answer.0, &[("content-type", "application/json")], &answer.2);
        }
    }
    if world.foreign_ids {
        ids.iter_mut().for_each(|id| *id = Uuid::new_v4());
    }
    let text = match action {
        "CreateMultiple" => json!({ "Ids": ids }).to_string(),
        _ => String::new(),
    };
    if matches!(fault, Some(Fault::CutAfterCommit)) {
        let half: Result<_, std::io::Error> = Ok(bytes::Bytes::from("{"));
        let chunks = [half, Err(std::io::Error::other("cut"))];
        return Body::from_stream(futures::stream::iter(chunks)).into_response();
    }
    reply(if text.is_empty() { 204 } else { 200 }, &[], &text)
}

fn part(content_id: Option<&str>, answer: &(u16, String, String)) -> String {
    let (status, record, body) = answer;
    let id = content_id.map(|id| format!("Content-ID: {id}\r\n")).unwrap_or_default();
    let entity = if record.is_empty() { String::new() } else { format!("OData-EntityId: {record}\r\n") };
    format!(
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{id}\r\n\
         HTTP/1.1 {status} Whatever\r\nOData-Version: 4.0\r\n{entity}\r\n{body}\r\n"
    )
}

fn whole(answers: &[(u16, String)], change_set: bool) -> String {
    let mut text = String::new();
    let boundary = if change_set { "changesetresponse_2" } else { "batchresponse_1" };
    if change_set {
        text.push_str(
            "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_2\r\n\r\n",
        );
    }
    for (_, part) in answers {
        text.push_str(&format!("--{boundary}\r\n{part}"));
    }
    if change_set {
        text.push_str("--changesetresponse_2--\r\n");
    }
    text + "--batchresponse_1--\r\n"
}

fn read(world: &World, path: &str, query: &str) -> Response<Body> {
    let set = path.split('/').next().unwrap();
    let list = |values: Vec<Json>| reply(200, &[], &json!({ "value": values }).to_string());
    match path {
        "WhoAmI" => return reply(200, &[], r#"{"UserId":"u1"}"#),
        "EntityDefinitions" => return list(heads()),
        "sdkmessagefilters" => {
            assert!(query.contains("sdkmessageid/name eq @message") && query.contains("@table='account'"));
            return list(if world.bulk { vec![json!({"sdkmessagefilterid": "1"})] } else { Vec::new() });
        }
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("EntityDefinitions(LogicalName='") {
        let (entity, rest) = rest.split_once("')/").unwrap();
        return list(definitions(entity, rest));
    }
    let records = world.records.iter().filter(|(path, _)| path.starts_with(&format!("{set}(")));
    if path.ends_with("/$count") {
        return reply(200, &[], &format!("\u{feff}{}", records.count().min(5_000)));
    }
    let wanted = |record: &Json| {
        let Some((_, filter)) = query.split_once("$filter=") else { return true };
        filter.split(" or ").any(|term| {
            let (column, literal) = term.split('&').next().unwrap().split_once(" eq ").unwrap();
            let text = literal.trim_matches('\'').replace("''", "'");
            record[column].as_str().is_some_and(|held| held.eq_ignore_ascii_case(&text))
        })
    };
    let found: Vec<Json> = records.map(|(_, record)| record.clone()).filter(wanted).collect();
    let Some(page) = world.page else { return list(found) };
    let skipped = query.rsplit_once("$skiptoken=").map_or(0, |(_, token)| token.parse().unwrap());
    let mut answer = json!({ "value": found.iter().skip(skipped).take(page).collect::<Vec<_>>() });
    if skipped + page < found.len() {
        let next =
            format!("http://elsewhere.invalid/api/data/v9.2/{path}?{query}&$skiptoken={}", skipped + page);
        answer["@odata.nextLink"] = next.into();
    }
    reply(200, &[], &answer.to_string())
}

fn label(text: &str) -> Json {
    json!({ "LocalizedLabels": [{ "Label": text, "LanguageCode": 1033 }], "UserLocalizedLabel": { "Label": text } })
}

fn heads() -> Vec<Json> {
    let head = |logical: &str, set: &str, one: &str, many: &str, id: &str, name: &str| {
        json!({ "LogicalName": logical, "EntitySetName": set, "DisplayName": label(one),
                "DisplayCollectionName": label(many), "PrimaryIdAttribute": id, "PrimaryNameAttribute": name })
    };
    vec![
        head("account", "accounts", "Account", "Accounts", "accountid", "name"),
        head("contact", "contacts", "Contact", "Contacts", "contactid", "fullname"),
        head("systemuser", "systemusers", "User", "Users", "systemuserid", "fullname"),
        head("team", "teams", "Team", "Teams", "teamid", "name"),
    ]
}

/// Columns of `account`: logical name, display name, type, required, creatable.
const ACCOUNT: [(&str, &str, &str, &str, bool); 13] = [
    ("accountid", "Account", "Uniqueidentifier", "SystemRequired", true),
    ("name", "Account Name", "String", "ApplicationRequired", true),
    ("accountnumber", "Account Number", "String", "None", true),
    ("revenue", "Annual Revenue", "Money", "None", true),
    ("numberofemployees", "No. of Employees", "Integer", "None", true),
    ("accountcategorycode", "Category", "Picklist", "None", true),
    ("creditonhold", "Credit Hold", "Boolean", "None", true),
    ("new_since", "Since", "DateTime", "None", true),
    ("primarycontactid", "Primary Contact", "Lookup", "None", true),
    ("new_customerid", "Customer", "Customer", "None", true),
    ("ownerid", "Owner", "Owner", "None", true),
    ("createdon", "Created On", "DateTime", "None", false),
    ("entityimage", "Picture", "Virtual", "None", true),
];

fn definitions(entity: &str, rest: &str) -> Vec<Json> {
    let columns: &[(&str, &str, &str)] = match entity {
        "contact" => &[
            ("contactid", "Contact", "Uniqueidentifier"),
            ("fullname", "Full Name", "String"),
            ("employeeid", "Employee", "String"),
        ],
        "systemuser" => &[
            ("systemuserid", "User", "Uniqueidentifier"),
            ("fullname", "Full Name", "String"),
            ("internalemailaddress", "Primary Email", "String"),
            ("domainname", "User Name", "String"),
        ],
        "team" => &[("teamid", "Team", "Uniqueidentifier"), ("name", "Team Name", "String")],
        _ => &[],
    };
    if !columns.is_empty() {
        let column = |(name, display, kind): &(&str, &str, &str)| {
            json!({ "LogicalName": name, "DisplayName": label(display), "AttributeType": kind,
                    "RequiredLevel": { "Value": "None" }, "IsValidForCreate": true, "IsValidForUpdate": true })
        };
        return match rest.split('?').next().unwrap() {
            "Attributes" => columns.iter().map(column).collect(),
            _ => Vec::new(),
        };
    }
    let detail = |name: &str, more: Json| {
        let mut json = more;
        json["LogicalName"] = name.into();
        json
    };
    let option = |value: i64, text: &str| json!({ "Value": value, "Label": label(text) });
    match rest.rsplit('.').next().unwrap() {
        "Attributes" => ACCOUNT
            .iter()
            .map(|(name, display, kind, required, creatable)| {
                json!({ "LogicalName": name, "DisplayName": label(display), "AttributeType": kind,
                        "AttributeTypeName": { "Value": format!("{kind}Type") },
                        "RequiredLevel": { "Value": required, "CanBeChanged": true },
                        "IsValidForCreate": creatable, "IsValidForUpdate": creatable })
            })
            .collect(),
        "StringAttributeMetadata" => vec![
            detail("name", json!({ "MaxLength": 160 })),
            detail("accountnumber", json!({ "MaxLength": 20 })),
        ],
        "MoneyAttributeMetadata" => {
            vec![detail(
                "revenue",
                json!({ "MinValue": 0.0, "MaxValue": 100_000_000_000.0_f64, "Precision": 2 }),
            )]
        }
        "IntegerAttributeMetadata" => {
            vec![detail("numberofemployees", json!({ "MinValue": 0, "MaxValue": 1_000_000_000 }))]
        }
        "PicklistAttributeMetadata" => vec![detail(
            "accountcategorycode",
            json!({ "OptionSet": { "Options": [option(1, "Preferred Customer"), option(2, "Standard")] },
                    "GlobalOptionSet": null }),
        )],
        "BooleanAttributeMetadata" => vec![detail(
            "creditonhold",
            json!({ "OptionSet": { "TrueOption": option(1, "On hold"), "FalseOption": option(0, "Free") } }),
        )],
        "DateTimeAttributeMetadata" => vec![
            detail("new_since", json!({ "DateTimeBehavior": { "Value": "DateOnly" } })),
            detail("createdon", json!({ "DateTimeBehavior": { "Value": "UserLocal" } })),
        ],
        "LookupAttributeMetadata" => vec![
            detail("primarycontactid", json!({ "Targets": ["contact"] })),
            detail("new_customerid", json!({ "Targets": ["account", "contact"] })),
            detail("ownerid", json!({ "Targets": ["systemuser", "team"] })),
        ],
        "Keys" => vec![
            json!({ "LogicalName": "number", "KeyAttributes": ["accountnumber"], "EntityKeyIndexStatus": "Active" }),
            json!({ "LogicalName": "named", "KeyAttributes": ["name"], "EntityKeyIndexStatus": "InProgress" }),
        ],
        "ManyToOneRelationships" => [
            ("primarycontactid", "contact", "primarycontactid"),
            ("new_customerid", "account", "new_CustomerId_account"),
            ("new_customerid", "contact", "new_CustomerId_contact"),
            ("ownerid", "owner", "ownerid"),
        ]
        .iter()
        .map(|(column, entity, navigation)| {
            json!({ "ReferencingAttribute": column, "ReferencedEntity": entity,
                    "ReferencingEntityNavigationPropertyName": navigation })
        })
        .collect(),
        _ => Vec::new(),
    }
}
