//! The service as its clients meet it: real HTTP, a real file, the documented example in and the documented answer out.

mod batches;
mod reads;
mod told;
mod writes;

use std::path::PathBuf;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::sandbox::{FinopsOptions, Sandbox, SandboxDialect, SandboxError, SandboxOptions};

/// A running server and a client that is signed in.
struct World {
    folder: tempfile::TempDir,
    base: String,
    client: reqwest::Client,
    token: String,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), SandboxError>>,
}

fn store_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("sandbox.db")
}

impl World {
    async fn start() -> World {
        World::with(|_| {}).await
    }

    /// As [`World::start`], in an environment that differs.
    async fn differing(change: impl FnOnce(&mut FinopsOptions)) -> World {
        let mut finops = FinopsOptions::default();
        change(&mut finops);
        World::with(|options| options.dialect = SandboxDialect::Finops(Box::new(finops))).await
    }

    async fn with(change: impl FnOnce(&mut SandboxOptions)) -> World {
        World::over(tempfile::tempdir().unwrap(), change).await
    }

    async fn over(folder: tempfile::TempDir, change: impl FnOnce(&mut SandboxOptions)) -> World {
        let mut options = SandboxOptions::at(store_in(&folder));
        options.dialect = SandboxDialect::finops();
        change(&mut options);
        World::of(folder, Sandbox::open(options).unwrap()).await
    }

    /// A server over a copy of the rows.
    async fn copy(folder: tempfile::TempDir) -> World {
        let mut options = SandboxOptions::at(store_in(&folder));
        options.dialect = SandboxDialect::finops();
        World::of(folder, Sandbox::copy(options).unwrap()).await
    }

    async fn of(folder: tempfile::TempDir, sandbox: Sandbox) -> World {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        #[allow(clippy::disallowed_methods, reason = "awaited in stopped()")]
        let served = tokio::spawn(sandbox.serve(listener, async {
            drop(stopped.await);
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut world = World { folder, base, client, token: String::new(), stop: Some(stop), served };
        world.token = world.sign_in("migration").await;
        world
    }

    async fn sign_in(&self, client_id: &str) -> String {
        let scope = format!("{}/.default", self.base);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", "s"),
            ("scope", &scope),
        ];
        let url = format!("{}/tenant/oauth2/v2.0/token", self.base);
        let answer = self.client.post(url).form(&form).send().await.unwrap();
        let body: Json = answer.json().await.unwrap();
        body["access_token"].as_str().unwrap_or_default().to_owned()
    }

    async fn stopped(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.folder
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url =
            if path.starts_with("http") { path.to_owned() } else { format!("{}/data/{path}", self.base) };
        self.client
            .request(method.parse::<Method>().unwrap(), url)
            .bearer_auth(&self.token)
            .header("OData-Version", "4.0")
    }

    async fn get(&self, path: &str) -> Json {
        let answer = self.request("GET", path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn count(&self, path: &str) -> String {
        self.request("GET", path).send().await.unwrap().text().await.unwrap()
    }

    /// The names of the rows that a query finds, by the column `name`.
    async fn found(&self, path: &str, name: &str) -> Vec<String> {
        let body = self.get(path).await;
        let rows = body["value"].as_array().unwrap();
        rows.iter().map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
    }

    async fn send(&self, method: &str, path: &str, body: &Json) -> Response {
        self.request(method, path).json(body).send().await.unwrap()
    }

    /// Status and infolog of a write.
    async fn write(&self, method: &str, path: &str, body: Json) -> (u16, String) {
        refusal(self.send(method, path, &body).await).await
    }

    /// Creates a row that must be taken.
    async fn create(&self, set: &str, body: Json) -> Json {
        let answer = self.send("POST", set, &body).await;
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 201, "{body}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Payment terms and a customer group, which customers need.
    async fn with_groups(self) -> World {
        self.create("PaymentTerms", json!({ "Name": "Net30", "NumberOfDays": 30 })).await;
        let group = json!({ "CustomerGroupId": "10", "PaymentTermId": "Net30", "TaxGroupId": "AVATAX" });
        self.create("CustomerGroups", group).await;
        self
    }
}

/// The status, and what the inner error says; where there is none, what the outer one says.
async fn refusal(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    let error = &body["error"];
    let text = error["innererror"]["message"].as_str().or(error["message"].as_str()).unwrap_or_default();
    (status, text.to_owned())
}

fn customer(account: &str) -> Json {
    json!({ "CustomerAccount": account, "OrganizationName": account, "CustomerGroupId": "10", "SalesCurrencyCode": "USD" })
}
