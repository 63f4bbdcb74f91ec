//! The server as its clients meet it: real HTTP, a real file, the documented answers.

mod bulk;
mod disturbances;
mod documented;
mod imported;
mod limits;
mod sdk;
mod service;

use std::path::PathBuf;

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{Sandbox, SandboxError, SandboxOptions};

/// A running server and a client that is signed in.
pub(super) struct World {
    pub(super) folder: tempfile::TempDir,
    pub(super) base: String,
    pub(super) client: reqwest::Client,
    pub(super) token: String,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) served: JoinHandle<Result<(), SandboxError>>,
}

pub(super) fn store_in(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("deep/er/sandbox.db")
}

impl World {
    pub(super) async fn start() -> World {
        World::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut SandboxOptions)) -> World {
        World::over(tempfile::tempdir().unwrap(), change).await
    }

    pub(super) async fn over(folder: tempfile::TempDir, change: impl FnOnce(&mut SandboxOptions)) -> World {
        let mut options = SandboxOptions::at(store_in(&folder));
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let sandbox = Sandbox::open(options).unwrap();
        let served = tokio::spawn(sandbox.serve(listener, async {
            stopped.await.unwrap();
        }));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut world = World { folder, base, client, token: String::new(), stop: Some(stop), served };
        world.token = world.sign_in().await;
        world
    }

    pub(super) async fn sign_in(&self) -> String {
        self.sign_in_as("c").await
    }

    pub(super) async fn sign_in_as(&self, client_id: &str) -> String {
        let answer = self.ask_token_as(client_id, "any").await;
        let body: Json = answer.json().await.unwrap();
        body["access_token"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) async fn ask_token(&self, secret: &str) -> Response {
        self.ask_token_as("c", secret).await
    }

    pub(super) async fn ask_token_as(&self, client_id: &str, secret: &str) -> Response {
        let scope = format!("{}/.default", self.base);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("scope", &scope),
        ];
        let url = format!("{}/tenant/oauth2/v2.0/token", self.base);
        self.client.post(url).form(&form).send().await.unwrap()
    }

    pub(super) async fn stopped(mut self) -> tempfile::TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        self.served.await.unwrap().unwrap();
        self.folder
    }

    pub(super) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}/api/data/v9.2/{path}", self.base)
        };
        self.client
            .request(method.parse::<Method>().unwrap(), url)
            .bearer_auth(&self.token)
            .header("OData-Version", "4.0")
            .header("If-None-Match", "null")
    }

    pub(super) async fn get(&self, path: &str) -> Json {
        let answer = self.request("GET", path).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    pub(super) async fn count(&self, set: &str) -> String {
        self.request("GET", &format!("{set}/$count")).send().await.unwrap().text().await.unwrap()
    }

    /// Status and error code of a write.
    pub(super) async fn write(&self, method: &str, path: &str, body: Json) -> (u16, String) {
        outcome(self.request(method, path).json(&body).send().await.unwrap()).await
    }

    pub(super) async fn create(&self, set: &str, body: Json) -> Uuid {
        let answer = self.request("POST", set).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 204, "{body}");
        let entity_id = answer.headers()["odata-entityid"].to_str().unwrap().to_owned();
        let id = entity_id.strip_prefix(&format!("{}/api/data/v9.2/{set}(", self.base)).unwrap();
        id.strip_suffix(')').unwrap().parse().unwrap()
    }

    pub(super) fn batch(&self, body: &str) -> RequestBuilder {
        self.request("POST", "$batch")
            .header("Content-Type", "multipart/mixed; boundary=\"batch_1\"")
            .body(body.replace('\n', "\r\n"))
    }
}

pub(super) async fn outcome(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Json = serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// One operation of a batch.
pub(super) fn part(boundary: &str, content_id: &str, request: &str, body: &Json) -> String {
    let content_id =
        if content_id.is_empty() { String::new() } else { format!("Content-ID: {content_id}\n") };
    format!(
        "--{boundary}\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n{content_id}\n\
         {request} HTTP/1.1\nContent-Type: application/json; type=entry\n\n{body}\n"
    )
}

pub(super) fn create_part(name: &str) -> String {
    part("batch_1", "", "POST accounts", &json!({ "name": name }))
}

pub(super) fn change_set(boundary: &str, parts: &[String]) -> String {
    let parts = parts.concat();
    format!("--batch_1\nContent-Type: multipart/mixed; boundary={boundary}\n\n{parts}--{boundary}--\n\n")
}

/// The inner status lines in order.
pub(super) fn statuses(body: &str) -> Vec<u16> {
    let status = |line: &str| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok();
    body.lines().filter_map(status).collect()
}
