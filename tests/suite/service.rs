//! The rehearsal server as a program of its own: a target that stays up when the daemon is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::world::{World, block_on};

/// A running `ddu sandbox`, killed with the value. Its rows lie where [`World::target`] looks for them.
pub struct Service {
    child: Child,
    _out: BufReader<ChildStdout>,
    url: String,
    dialect: &'static str,
}

impl Service {
    /// Starts it with these rules of disturbance.
    pub fn start(world: &World, faults: Value) -> Self {
        Self::listening(world, "127.0.0.1:0", "dataverse", faults)
    }

    /// Starts it as Finance & Operations.
    pub fn finops(world: &World, faults: Value) -> Self {
        Self::listening(world, "127.0.0.1:0", "finops", faults)
    }

    /// Ends it with every request that it has not answered, and starts it anew at its address with other rules.
    pub fn restart(&mut self, world: &World, faults: Value) {
        self.end();
        let address = self.url.trim_start_matches("http://").to_owned();
        *self = Self::listening(world, &address, self.dialect, faults);
    }

    fn listening(world: &World, address: &str, dialect: &'static str, faults: Value) -> Self {
        let store = world.path().join("sandbox");
        std::fs::create_dir_all(&store).unwrap();
        let script = world.path().join("faults.json");
        std::fs::write(&script, faults.to_string()).unwrap();
        let mut command = world.command(&["sandbox", "--listen", address]);
        command
            .args(["--dialect", dialect])
            .arg("--store")
            .arg(store.join("sandbox.sqlite"))
            .arg("--faults")
            .arg(script);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let from = line.find("http://").unwrap_or_else(|| panic!("no address in `{line}`"));
        let url = line[from..].trim_end();
        let host = url["http://".len()..].find('/').map_or(url.len(), |at| "http://".len() + at);
        Service { child, _out: out, url: url[..host].to_owned(), dialect }
    }

    fn end(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Its origin.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// All records of an entity set, in all companies.
    pub fn rows(&self, entity_set: &str) -> Vec<Value> {
        let api = if self.dialect == "finops" { "data" } else { "api/data/v9.2" };
        let first = format!("{}/{api}/{entity_set}?cross-company=true", self.url);
        let first = if self.dialect == "finops" { first } else { first.replace("?cross-company=true", "") };
        block_on(async {
            let (client, token) = self.client().await;
            let (mut next, mut rows) = (Some(first), Vec::new());
            while let Some(url) = next.take() {
                let page: Value =
                    client.get(url).bearer_auth(&token).send().await.unwrap().json().await.unwrap();
                let found = page["value"].as_array().unwrap_or_else(|| panic!("{page}"));
                rows.extend(found.iter().cloned());
                next = page["@odata.nextLink"].as_str().map(str::to_owned);
            }
            rows
        })
    }

    /// Writes to it as somebody else does, past DDU: a path below the API's root, of whichever company.
    pub fn meddle(&self, verb: &str, path: &str, body: Value) {
        let verb = reqwest::Method::from_bytes(verb.as_bytes()).unwrap();
        block_on(async {
            let (client, token) = self.client().await;
            let url = format!("{}/data/{path}?cross-company=true", self.url);
            let answer = client.request(verb, url).bearer_auth(token).json(&body).send().await.unwrap();
            assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        });
    }

    /// A client, and a token for it.
    async fn client(&self) -> (reqwest::Client, String) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let scope = format!("{}/.default", self.url);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "66666666-7777-8888-9999-000000000000"),
            ("client_secret", "any"),
            ("scope", &scope),
        ];
        let asked = client.post(format!("{}/t/oauth2/v2.0/token", self.url)).form(&form);
        let granted: Value = asked.send().await.unwrap().json().await.unwrap();
        (client, granted["access_token"].as_str().unwrap().to_owned())
    }

    /// The `target` of a configuration that writes to it as if it were an environment of Dynamics.
    pub fn target(&self) -> Value {
        json!({
            "kind": self.dialect, "url": self.url, "authority": self.url,
            "tenant_id": "11111111-2222-3333-4444-555555555555",
            "client_id": "66666666-7777-8888-9999-000000000000",
            "client_secret_env": crate::world::SECRET_VARIABLE,
        })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
