//! A small F&O for the tests of this room: real HTTP, three entities, two companies, and a script of what goes wrong.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use percent_encoding::percent_decode_str;
use serde_json::{Value as Json, json};

use crate::io::dynamics::{ConnectSettings, Dialect, Dynamics};

/// What goes wrong with one writing request; anything not in the script goes well.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    /// Nothing is done; this is the answer.
    Answer { status: u16, body: &'static str },
    /// Everything is done, and the connection breaks within the answer.
    CutAfterCommit,
    /// Nothing is done, and the connection breaks within the answer.
    CutBefore,
    /// Only so many operations are done and answered.
    Only(usize),
    /// Everything is done, and the answers do not tell whose they are.
    Nameless,
    /// Everything is done, and the answers come in another order.
    Reversed,
    /// The operation whose path or body holds the text is refused with this infolog.
    Row { holding: &'static str, status: u16, message: &'static str },
    /// Before the request, somebody else puts this record there.
    Meanwhile { address: &'static str, body: Json },
    /// All is done; then somebody changes a value of the record; then the connection breaks.
    ChangedAfter { address: &'static str, body: Json },
}

#[derive(Default)]
pub(super) struct World {
    /// Address → record: `CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')`.
    pub(super) records: BTreeMap<String, Json>,
    pub(super) faults: VecDeque<Fault>,
    /// Writing requests, each with its operations: `POST CustomerGroups?cross-company=true {…}`.
    pub(super) requests: Vec<Vec<String>>,
    pub(super) queries: Vec<String>,
    pub(super) bodies: Vec<String>,
    /// Reads without `cross-company` show every company.
    pub(super) unfiltered: bool,
    numbers: u32,
    pub(super) metadata_reads: u32,
}

#[derive(Clone)]
pub(super) struct Fake {
    pub(super) world: Arc<Mutex<World>>,
    address: String,
}

const METADATA: &str = r#"<?xml version="1.0" encoding="utf-8"?><edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.DataEntities" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EnumType Name="NoYes"><Member Name="No" Value="0"/><Member Name="Yes" Value="1"/></EnumType>
<EntityType Name="CustomerGroup"><Key><PropertyRef Name="dataAreaId"/><PropertyRef Name="CustomerGroupId"/></Key>
<Property Name="dataAreaId" Type="Edm.String" Nullable="false"/><Property Name="CustomerGroupId" Type="Edm.String" MaxLength="10"/>
<Property Name="Description" Type="Edm.String" MaxLength="60"><Annotation Term="Microsoft.Dynamics.OData.Core.V1.IsRequired" Bool="true"/></Property>
<Property Name="PaymentTermId" Type="Edm.String"/><Property Name="CreditLimit" Type="Edm.Decimal" Scale="2"/>
<Property Name="Since" Type="Edm.DateTimeOffset"/><Property Name="IsSalesTaxIncludedInPrice" Type="Microsoft.Dynamics.DataEntities.NoYes"/>
<Property Name="Origin" Type="Edm.String"><Annotation Term="Microsoft.Dynamics.OData.Core.V1.AllowEdit" Bool="false"/></Property>
</EntityType>
<EntityType Name="Unit"><Key><PropertyRef Name="UnitSymbol"/></Key><Property Name="UnitSymbol" Type="Edm.String"/><Property Name="Name" Type="Edm.String"/></EntityType>
<EntityType Name="PurchaseOrder"><Key><PropertyRef Name="dataAreaId"/><PropertyRef Name="Number"/></Key>
<Property Name="dataAreaId" Type="Edm.String"/><Property Name="Number" Type="Edm.String"><Annotation Term="Microsoft.Dynamics.OData.Core.V1.AllowEditOnCreate" Bool="false"/></Property><Property Name="Vendor" Type="Edm.String"/></EntityType>
<EntityContainer Name="Resources"><EntitySet Name="CustomerGroups" EntityType="Microsoft.Dynamics.DataEntities.CustomerGroup"/>
<EntitySet Name="UnitsOfMeasure" EntityType="Microsoft.Dynamics.DataEntities.Unit"/><EntitySet Name="PurchaseOrders" EntityType="Microsoft.Dynamics.DataEntities.PurchaseOrder"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"#;

const DEFAULT: &str = "usmf";

fn key_of(set: &str) -> &'static [&'static str] {
    match set {
        "CustomerGroups" => &["dataAreaId", "CustomerGroupId"],
        "UnitsOfMeasure" => &["UnitSymbol"],
        "PurchaseOrders" => &["dataAreaId", "Number"],
        other => panic!("no entity `{other}`"),
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

    pub(super) fn client(&self) -> Dynamics {
        let settings = crate::io::dynamics::fake::settings_of(&self.address);
        Dynamics::connect(ConnectSettings { kind: Dialect::Finops, ..settings }).unwrap()
    }

    pub(super) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world.lock().unwrap().faults.extend(faults);
    }

    pub(super) fn put(&self, address: &str, body: Json) {
        self.world.lock().unwrap().records.insert(address.to_owned(), body);
    }

    /// The value of a member of a record; null where there is no such record.
    pub(super) fn value(&self, address: &str, member: &str) -> Json {
        self.world.lock().unwrap().records.get(address).map_or(Json::Null, |record| record[member].clone())
    }

    pub(super) fn count(&self) -> usize {
        self.world.lock().unwrap().records.len()
    }

    /// The writing requests so far; forgets them.
    pub(super) fn requests(&self) -> Vec<Vec<String>> {
        std::mem::take(&mut self.world.lock().unwrap().requests)
    }

    pub(super) fn queries(&self) -> Vec<String> {
        std::mem::take(&mut self.world.lock().unwrap().queries)
    }
}

async fn answer(State(fake): State<Fake>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    let mut world = fake.world.lock().unwrap();
    if parts.uri.path().ends_with("/oauth2/v2.0/token") {
        let token = json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "1"});
        return reply(200, "application/json", token.to_string());
    }
    assert_eq!(parts.headers["authorization"], "Bearer 1");
    assert!(!parts.headers.contains_key("if-none-match"), "a header of Dataverse");
    let path = parts.uri.path().strip_prefix("/data/").unwrap();
    let path = percent_decode_str(path).decode_utf8().unwrap().into_owned();
    let query = percent_decode_str(parts.uri.query().unwrap_or_default()).decode_utf8().unwrap().into_owned();
    match (parts.method.as_str(), path.as_str()) {
        ("GET", "$metadata") => {
            world.metadata_reads += 1;
            assert_eq!(parts.headers["accept"], "application/xml");
            reply(200, "application/xml", METADATA.to_owned())
        }
        ("GET", "") => {
            let sets = ["CustomerGroups", "UnitsOfMeasure", "PurchaseOrders"];
            let sets = sets.map(|name| json!({"name": name, "kind": "EntitySet", "url": name}));
            reply(200, "application/json", json!({"value": sets}).to_string())
        }
        ("GET", _) => {
            world.queries.push(format!("{path}?{query}"));
            let found = read(&world, &path, &query);
            reply(200, "application/json", json!({"value": found}).to_string())
        }
        ("POST", "$batch") => batch(&mut world, &body),
        (verb, _) => {
            let asked = (verb.to_owned(), format!("{path}?{query}"), String::new(), body);
            world.requests.push(vec![told(&asked)]);
            let fault = world.faults.pop_front();
            if let Some(Fault::Answer { status, body }) = &fault {
                return reply(*status, "application/json", (*body).to_owned());
            }
            if matches!(fault, Some(Fault::CutBefore)) {
                return cut("{\"half\":");
            }
            meanwhile(&mut world, fault.as_ref());
            let (status, body) = carry_out(&mut world, &asked, fault.as_ref());
            match fault {
                Some(Fault::CutAfterCommit) => cut("{\"half\":"),
                _ => reply(status, "application/json", body),
            }
        }
    }
}

fn reply(status: u16, content_type: &str, body: String) -> Response<Body> {
    Response::builder().status(status).header("content-type", content_type).body(Body::from(body)).unwrap()
}

fn cut(half: &str) -> Response<Body> {
    let half: Result<_, std::io::Error> = Ok(bytes::Bytes::from(half.to_owned()));
    let chunks = [half, Err(std::io::Error::other("cut"))];
    Body::from_stream(futures::stream::iter(chunks)).into_response()
}

/// Verb, path with query, Content-ID, body.
type Asked = (String, String, String, String);

fn told((verb, path, _, body): &Asked) -> String {
    format!("{verb} {} {body}", path.trim_end_matches('?')).trim().to_owned()
}

fn meanwhile(world: &mut World, fault: Option<&Fault>) {
    if let Some(Fault::Meanwhile { address, body }) = fault {
        world.records.insert((*address).to_owned(), body.clone());
    }
}

fn refusal(status: u16, message: &str) -> (u16, String) {
    let inner = json!({"message": message, "type": "AxODataWriteException", "stacktrace": "   at X"});
    let error = json!({"error": {"code": "", "message": "An error has occurred.", "innererror": inner}});
    (status, error.to_string())
}

/// Carries out one operation: status and body.
fn carry_out(world: &mut World, (verb, path, _, body): &Asked, fault: Option<&Fault>) -> (u16, String) {
    if let Some(Fault::Row { holding, status, message }) = fault
        && (body.contains(holding) || path.contains(holding))
    {
        return refusal(*status, message);
    }
    let (resource, query) = path.split_once('?').unwrap();
    let everywhere = query.contains("cross-company=true");
    if verb == "POST" {
        let mut record: Json = serde_json::from_str(body).unwrap();
        let key = key_of(resource);
        if key[0] == "dataAreaId" && record.get("dataAreaId").is_none() {
            record["dataAreaId"] = DEFAULT.into();
        }
        if resource == "PurchaseOrders" {
            world.numbers += 1;
            record["Number"] = format!("PO-{}", world.numbers).into();
        }
        let predicate: Vec<String> =
            key.iter().map(|name| format!("{name}='{}'", record[name].as_str().unwrap())).collect();
        let address = format!("{resource}({})", predicate.join(","));
        if world.records.contains_key(&address) {
            return refusal(
                400,
                "Write failed for table row of type 'CustCustomerGroupEntity'. Infolog: Error: Cannot create a record in Customer groups (CustGroup). Customer group: 10. The record already exists.",
            );
        }
        world.records.insert(address, record.clone());
        return (201, record.to_string());
    }
    let reachable = everywhere || !resource.contains("dataAreaId") || resource.contains("dataAreaId='usmf'");
    let Some(record) = world.records.get_mut(resource).filter(|_| reachable) else {
        return refusal(400, "No resources were found when selecting for update.");
    };
    if verb == "DELETE" {
        world.records.remove(resource);
        return (204, String::new());
    }
    let new: Json = serde_json::from_str(body).unwrap();
    for (key, value) in new.as_object().unwrap() {
        assert!(!resource.contains(&format!("{key}=")), "a key column in the body of a PATCH");
        record[key] = value.clone();
    }
    (204, String::new())
}

fn batch(world: &mut World, body: &str) -> Response<Body> {
    let fault = world.faults.pop_front();
    let asked = operations(body);
    world.requests.push(asked.iter().map(told).collect());
    world.bodies.push(body.to_owned());
    match &fault {
        Some(Fault::Answer { status, body }) => {
            return reply(*status, "application/json", (*body).to_owned());
        }
        Some(Fault::CutBefore) => return cut("--batchresponse_1\r\n"),
        _ => meanwhile(world, fault.as_ref()),
    }
    let one_set = asked.len() > 1 && body.matches("multipart/mixed; boundary=").count() == 1;
    let before = world.records.clone();
    let mut parts = Vec::new();
    for (number, one) in asked.iter().enumerate() {
        if matches!(fault, Some(Fault::Only(most)) if number >= most) {
            break;
        }
        let (status, body) = carry_out(world, one, fault.as_ref());
        let part = part(&one.2, status, &body, matches!(fault, Some(Fault::Nameless)));
        if status >= 400 && one_set {
            world.records = before;
            parts = vec![part];
            break;
        }
        parts.push(part);
    }
    if matches!(fault, Some(Fault::Reversed)) {
        parts.reverse();
    }
    if let Some(Fault::ChangedAfter { address, body }) = &fault {
        world.records.insert((*address).to_owned(), body.clone());
    }
    let mut text = String::new();
    for (number, part) in parts.iter().enumerate() {
        let set = format!("changesetresponse_{number}");
        text.push_str(&format!(
            "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary={set}\r\n\r\n--{set}\r\n{part}--{set}--\r\n"
        ));
    }
    text.push_str("--batchresponse_1--\r\n");
    match fault {
        Some(Fault::CutAfterCommit | Fault::ChangedAfter { .. }) => cut(&text[..text.len() / 2]),
        _ => reply(200, "multipart/mixed; boundary=batchresponse_1", text),
    }
}

fn part(id: &str, status: u16, body: &str, nameless: bool) -> String {
    let id = if nameless { String::new() } else { format!("Content-ID: {id}\r\n") };
    format!(
        "Content-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n{id}\r\nHTTP/1.1 {status} Whatever\r\n\
         OData-Version: 4.0\r\n\r\n{body}\r\n"
    )
}

fn operations(body: &str) -> Vec<Asked> {
    let mut found = Vec::new();
    for chunk in body.split("\r\nContent-Type: application/http\r\n").skip(1) {
        let (_, rest) = chunk.split_once("\r\n\r\n").unwrap();
        let (head, rest) = rest.split_once("\r\n\r\n").unwrap();
        let mut request = head.lines().next().unwrap().split(' ');
        let (verb, path) = (request.next().unwrap(), request.next().unwrap());
        let path = percent_decode_str(path.strip_prefix("/data/").unwrap()).decode_utf8().unwrap();
        let path = if path.contains('?') { path.into_owned() } else { format!("{path}?") };
        let id = head.lines().find_map(|line| line.strip_prefix("Content-ID: ")).unwrap();
        let body = rest.split("\r\n--").next().unwrap().trim();
        found.push((verb.to_owned(), path, id.to_owned(), body.to_owned()));
    }
    found
}

fn read(world: &World, path: &str, query: &str) -> Vec<Json> {
    let everywhere = query.contains("cross-company=true") || world.unfiltered;
    let filter = query.split('&').find_map(|part| part.strip_prefix("$filter="));
    let term = |record: &Json, term: &str| {
        let not = term.contains(" ne ");
        let (name, literal) = term.split_once(if not { " ne " } else { " eq " }).unwrap();
        let same = record[name].as_str().unwrap().eq_ignore_ascii_case(literal.trim_matches('\''));
        same != not
    };
    let wanted = |record: &Json| {
        let Some(filter) = filter else { return true };
        filter.split(" or ").any(|one| {
            one.trim_start_matches('(').trim_end_matches(')').split(" and ").all(|one| term(record, one))
        })
    };
    let of_company = |record: &Json| everywhere || record.get("dataAreaId").is_none_or(|of| of == DEFAULT);
    let records = world.records.iter().filter(|(address, _)| address.starts_with(&format!("{path}(")));
    let mut found: Vec<Json> = records
        .map(|(_, record)| record.clone())
        .filter(|record| of_company(record) && wanted(record))
        .collect();
    if query.contains("$top=1") {
        found.truncate(1);
    }
    found
}
