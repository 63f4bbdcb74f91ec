//! Conformance: documented exchanges, played to a server and held against its answers.
//!
//! The exchanges stand in `conformance/*.http`, one reading of the documentation beside the client's and the sandbox's. They
//! are played to the sandbox, and to a real environment where one is named:
//!
//! ```sh
//! DDU_CONFORMANCE_DATAVERSE=https://org.crm.dynamics.com DDU_CONFORMANCE_TENANT=… DDU_CONFORMANCE_CLIENT=… \
//!     DDU_CONFORMANCE_SECRET_FILE=… cargo test --test suite conformance -- --nocapture
//! ```
//!
//! (`DDU_CONFORMANCE_FINOPS` for Finance & Operations.) They create records whose names begin with `ddu-conformance` and
//! delete them at their end.
//!
//! | line | what |
//! |---|---|
//! | `### title` | begins an exchange |
//! | `PATCH accounts({{uuid1}})` | method and path below the API's root; then headers, a blank line, the body |
//! | `=> 204` | the status, or several that are right: `400|404`; then headers that must be there (`*` stands for anything; a name after `!` must not be there), a blank line, and what the body must hold |
//! | `{ … }` in an answer | these members at least, texts with `*`; an array has these elements in this order |
//! | `~ text` in an answer | these texts, in this order |
//! | `let name = header ETag`, `let name = body value.0.accountid` | keeps a part of the answer as `{{name}}` |
//!
//! `{{mark}}` is a text of this run alone, `{{short}}` one of eight letters, `{{uuid1}}` to `{{uuid9}}` are GUIDs of this run,
//! `{{company}}` is a legal entity (`DDU_CONFORMANCE_COMPANY`, else `ussi`), `{{host}}` and `{{api}}` are the server's origin
//! and the path of its API.

use std::collections::HashMap;
use std::fmt::Write as _;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::Service;
use crate::world::{World, block_on};

/// Who is asked.
struct Server {
    client: Client,
    host: String,
    api: &'static str,
    token: String,
}

/// An exchange and what its answer must be.
#[derive(Debug, Default)]
struct Exchange {
    title: String,
    request: String,
    headers: Vec<(String, String)>,
    body: Vec<String>,
    statuses: Vec<u16>,
    wanted_headers: Vec<(String, String)>,
    wanted_json: String,
    wanted_texts: Vec<String>,
    kept: Vec<(String, String)>,
}

fn exchanges(script: &str) -> Vec<Exchange> {
    let mut found = Vec::new();
    for section in script.split("\n### ").skip(1) {
        let (title, rest) = section.split_once('\n').unwrap();
        let (asked, answered) = rest.split_once("\n=> ").unwrap_or_else(|| panic!("no answer: {title}"));
        let mut exchange = Exchange { title: title.trim().to_owned(), ..Exchange::default() };
        let mut asked = asked.lines();
        exchange.request = asked.next().unwrap().trim().to_owned();
        for line in asked.by_ref().take_while(|line| !line.trim().is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("{title}: header `{line}`"));
            exchange.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        exchange.body = asked.map(str::to_owned).collect();
        let mut answered = answered.lines();
        let statuses = answered.next().unwrap().trim();
        exchange.statuses = statuses.split('|').map(|status| status.parse().unwrap()).collect();
        for line in answered {
            match line.trim() {
                "" => {}
                text if text.starts_with('#') => {}
                text if text.starts_with("~ ") => exchange.wanted_texts.push(text[2..].to_owned()),
                text if text.starts_with("let ") => {
                    let (name, from) = text[4..].split_once(" = ").unwrap();
                    exchange.kept.push((name.to_owned(), from.to_owned()));
                }
                text if !exchange.wanted_json.is_empty() || text.starts_with(['{', '[']) => {
                    exchange.wanted_json.push_str(text);
                }
                text => {
                    let (name, value) = text.split_once(':').unwrap_or((text, ""));
                    exchange.wanted_headers.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
        found.push(exchange);
    }
    found
}

/// Whether a text is as a pattern says, `*` standing for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let mut rest = text;
    let mut pieces = pattern.split('*').peekable();
    let Some(first) = pieces.next() else { return text.is_empty() };
    let Some(after) = rest.strip_prefix(first) else { return false };
    rest = after;
    let mut last_matched = pieces.peek().is_none();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        last_matched = false;
    }
    last_matched && rest.is_empty()
}

/// What an answer's JSON lacks of what it must hold.
fn lacks(wanted: &Value, found: &Value, at: &str, complaints: &mut String) {
    match (wanted, found) {
        (Value::Object(members), Value::Object(there)) => {
            for (name, value) in members {
                match there.get(name) {
                    Some(found) => lacks(value, found, &format!("{at}.{name}"), complaints),
                    None => writeln!(complaints, "  no {at}.{name}").unwrap(),
                }
            }
        }
        (Value::Array(elements), Value::Array(there)) => {
            if elements.len() != there.len() {
                writeln!(complaints, "  {at} has {} elements, not {}", there.len(), elements.len()).unwrap();
            }
            for (index, (wanted, found)) in elements.iter().zip(there).enumerate() {
                lacks(wanted, found, &format!("{at}.{index}"), complaints);
            }
        }
        (Value::String(pattern), Value::String(text)) if fits(pattern, text) => {}
        (wanted, found) if wanted == found => {}
        (Value::Number(one), Value::Number(other)) if one.as_f64() == other.as_f64() => {}
        _ => writeln!(complaints, "  {at} is {found}, not {wanted}").unwrap(),
    }
}

impl Server {
    async fn sign_in(host: &str, authority: &str, tenant: &str, client_id: &str, secret: &str) -> String {
        let client = client(host);
        let scope = format!("{host}/.default");
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("scope", &scope),
        ];
        let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
        let answer: Value = client.post(url).form(&form).send().await.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("no token: {answer}")).to_owned()
    }

    /// Plays one exchange; what is wrong with the answer, in lines.
    async fn play(&self, exchange: &Exchange, names: &mut HashMap<String, String>) -> String {
        let filled = |text: &str| {
            let mut text = text.to_owned();
            for (name, value) in names.iter() {
                text = text.replace(&format!("{{{{{name}}}}}"), value);
            }
            text
        };
        let request = filled(&exchange.request);
        let (method, path) = request.split_once(' ').unwrap_or((&request, ""));
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("{}{}{path}", self.host, self.api),
        };
        let mut call = self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), url);
        call = call.bearer_auth(&self.token).header("OData-Version", "4.0").header("OData-MaxVersion", "4.0");
        let own = |name: &str| exchange.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
        if !own("Accept") {
            call = call.header("Accept", "application/json");
        }
        let multipart = exchange.body.first().is_some_and(|line| line.starts_with("--"));
        if !exchange.body.is_empty() && !multipart && !own("Content-Type") {
            call = call.header("Content-Type", "application/json; charset=utf-8");
        }
        for (name, value) in &exchange.headers {
            call = call.header(name, filled(value));
        }
        if !exchange.body.is_empty() {
            let line_end = if multipart { "\r\n" } else { "\n" };
            call = call.body(filled(&exchange.body.join(line_end)) + line_end);
        }
        let answer = call.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        let json: Value = serde_json::from_str(&text).unwrap_or_default();
        let mut complaints = String::new();
        if !exchange.statuses.contains(&status) {
            writeln!(complaints, "  status {status}, not {:?}", exchange.statuses).unwrap();
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        for (name, pattern) in &exchange.wanted_headers {
            match (name.strip_prefix('!'), header(name.trim_start_matches('!'))) {
                (Some(name), Some(value)) => writeln!(complaints, "  header {name}: {value}").unwrap(),
                (None, None) => writeln!(complaints, "  no header {name}").unwrap(),
                (None, Some(value)) if !fits(&filled(pattern), value) => {
                    writeln!(complaints, "  header {name}: {value}, not {}", filled(pattern)).unwrap();
                }
                _ => {}
            }
        }
        if !exchange.wanted_json.is_empty() {
            let wanted = serde_json::from_str(&filled(&exchange.wanted_json));
            let wanted: Value = wanted.unwrap_or_else(|error| panic!("{}: {error}", exchange.title));
            lacks(&wanted, &json, "body", &mut complaints);
        }
        let mut rest = text.as_str();
        for wanted in &exchange.wanted_texts {
            let wanted = filled(wanted);
            match rest.find(&wanted) {
                Some(at) => rest = &rest[at + wanted.len()..],
                None => writeln!(complaints, "  `{wanted}` is not there, or not in its place").unwrap(),
            }
        }
        for (name, from) in &exchange.kept {
            let value = match from.split_once(' ') {
                Some(("header", name)) => header(name).map(str::to_owned),
                Some(("body", path)) => {
                    let pointer = format!("/{}", path.replace('.', "/").replace("@odata/", "@odata."));
                    json.pointer(&pointer)
                        .map(|value| value.as_str().map_or(value.to_string(), str::to_owned))
                }
                _ => panic!("{}: `{from}`", exchange.title),
            };
            match value {
                Some(value) => drop(names.insert(name.clone(), value)),
                None => writeln!(complaints, "  nothing to keep as {name}: {from}").unwrap(),
            }
        }
        if complaints.is_empty() {
            return complaints;
        }
        let shown: String = text.chars().take(2_000).collect();
        format!("### {}\n{request}\n=> {status}\n{shown}\n{complaints}", exchange.title)
    }

    async fn play_all(&self, script: &str) {
        let short = Uuid::new_v4().simple().to_string()[..8].to_owned();
        let company = std::env::var("DDU_CONFORMANCE_COMPANY").unwrap_or_else(|_| "ussi".to_owned());
        let mut names = HashMap::from([
            ("mark".to_owned(), format!("ddu-conformance-{short}")),
            ("short".to_owned(), short),
            ("company".to_owned(), company),
            ("host".to_owned(), self.host.clone()),
            ("api".to_owned(), self.api.to_owned()),
        ]);
        names.extend((1..=9).map(|number| (format!("uuid{number}"), Uuid::new_v4().to_string())));
        let exchanges = exchanges(script);
        assert!(!exchanges.is_empty());
        let mut wrong = Vec::new();
        for exchange in &exchanges {
            let complaints = self.play(exchange, &mut names).await;
            if !complaints.is_empty() {
                wrong.push(complaints);
            }
        }
        println!("{} exchanges with {}, {} not as documented", exchanges.len(), self.host, wrong.len());
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// No cookie store, as the client of the daemon has none; nothing of this machine goes through a proxy.
fn client(host: &str) -> Client {
    let builder = Client::builder();
    let local = host.starts_with("http://");
    if local { builder.no_proxy() } else { builder }.build().unwrap()
}

/// The environment that this variable names, if any, and who we are there.
async fn named_server(variable: &str, api: &'static str) -> Option<Server> {
    let host = std::env::var(variable).ok()?.trim_end_matches('/').to_owned();
    let own = |name: &str| {
        let variable = format!("DDU_CONFORMANCE_{name}");
        std::env::var(&variable).unwrap_or_else(|_| panic!("{variable} is not set"))
    };
    let secret = std::fs::read_to_string(own("SECRET_FILE")).unwrap();
    let authority = std::env::var("DDU_CONFORMANCE_AUTHORITY");
    let authority = authority.unwrap_or_else(|_| "https://login.microsoftonline.com".to_owned());
    let token = Server::sign_in(&host, &authority, &own("TENANT"), &own("CLIENT"), secret.trim()).await;
    Some(Server { client: client(&host), host, api, token })
}

async fn sandbox(service: &Service, api: &'static str) -> Server {
    let host = service.url().to_owned();
    let token = Server::sign_in(&host, &host, "sandbox", "66666666-7777-8888-9999-000000000000", "any").await;
    Server { client: client(&host), host, api, token }
}

#[test]
fn dataverse_answers_as_documented() {
    let world = World::new();
    let service = Service::start(&world, json!([]));
    let script = include_str!("conformance/dataverse.http");
    play_to(&service, "/api/data/v9.2/", script, "DDU_CONFORMANCE_DATAVERSE");
}

#[test]
fn finance_and_operations_answer_as_documented() {
    let world = World::new();
    let service = Service::finops(&world, json!([]));
    let script = include_str!("conformance/finops.http");
    play_to(&service, "/data/", script, "DDU_CONFORMANCE_FINOPS");
}

/// Plays a script to the sandbox, and to the environment that the variable names.
fn play_to(service: &Service, api: &'static str, script: &str, variable: &str) {
    block_on(async {
        sandbox(service, api).await.play_all(script).await;
        if let Some(server) = named_server(variable, api).await {
            server.play_all(script).await;
        }
    });
}

#[test]
fn patterns_and_bodies_are_held_against_answers_strictly() {
    assert!(fits("a*c*", "abbc") && fits("*", "") && fits("abc", "abc"));
    assert!(!fits("a*c", "abcd") && !fits("ab", "abc") && !fits("*x*", "abc"));
    let complaints = |wanted: Value, found: Value| {
        let mut complaints = String::new();
        lacks(&wanted, &found, "body", &mut complaints);
        complaints
    };
    assert_eq!(complaints(json!({"a": [{"b": "x*"}]}), json!({"a": [{"b": "xyz", "c": 1}], "d": 2})), "");
    assert_eq!(complaints(json!({"a": 5}), json!({"a": 5.0})), "");
    assert_eq!(complaints(json!({"a": 5}), json!({"b": 5})), "  no body.a\n");
    assert_eq!(complaints(json!([1]), json!([1, 2])), "  body has 2 elements, not 1\n");
    assert_eq!(complaints(json!({"a": null}), json!({"a": ""})), "  body.a is \"\", not null\n");
}
