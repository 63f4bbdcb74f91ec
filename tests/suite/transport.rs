//! The client's transport against the rehearsal server with its protection limits: nothing is lost, little is wasted.

use std::time::{Duration, Instant};

use ddu::domain::row::{RowId, StagedColumn, StagedRow};
use ddu::domain::settings::{LoadSettings, Mode};
use ddu::domain::table::TableName;
use ddu::domain::value::{StageType, Value};
use ddu::io::dynamics::{
    BatchShape, ConnectSettings, Credential, Dialect, Dynamics, History, Operation, Outcome,
    PrincipalSettings, WireLimits,
};
use ddu::sandbox::{Protection, Sandbox, SandboxOptions};
use jiff::Timestamp;
use serde_json::Value as Json;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use uuid::Uuid;

/// A sandbox on a port of its own, and how to end it.
struct Server {
    url: String,
    _dir: tempfile::TempDir,
    _stop: oneshot::Sender<()>,
}

impl Server {
    async fn with(protection: Option<Protection>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = SandboxOptions { protection, ..SandboxOptions::at(dir.path().join("rows.sqlite")) };
        let sandbox = Sandbox::open(options).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(sandbox.serve(listener, async move { drop(stopped.await) }));
        Server { url, _dir: dir, _stop: stop }
    }

    fn client(&self, users: &[&str]) -> Dynamics {
        let principal = |id: &&str| PrincipalSettings {
            client_id: (*id).to_owned(),
            credential: Credential::Known("any".into()),
            workers: None,
        };
        Dynamics::connect(ConnectSettings {
            kind: Dialect::Dataverse,
            url: self.url.parse().unwrap(),
            authority: self.url.parse().unwrap(),
            tenant_id: "tenant".to_owned(),
            principals: users.iter().map(principal).collect(),
            bulk_upserts: false,
            now: || Timestamp::UNIX_EPOCH,
            name: Some("transport".to_owned()),
            limits: WireLimits { backoff_min: Duration::from_millis(50), ..WireLimits::default() },
        })
        .unwrap()
    }

    async fn report(&self) -> Json {
        reqwest::get(format!("{}/sandbox/report", self.url)).await.unwrap().json().await.unwrap()
    }
}

/// Inserts of accounts; every one of `bad` has a name that is too long.
async fn inserts(client: &Dynamics, count: u32, bad: &[u32]) -> Vec<Operation> {
    let entity = client.entity("accounts").await.unwrap();
    let settings = LoadSettings {
        mode: Mode::Insert,
        ..LoadSettings::plain(TableName::from_stem("accounts").unwrap(), "accounts")
    };
    let columns =
        [StagedColumn { name: "name".to_owned(), header: "name".to_owned(), kind: StageType::Text }];
    let plan = client.prepare(&entity, &columns, &settings).await.unwrap();
    let rows: Vec<StagedRow> = (1..=count)
        .map(|number| StagedRow {
            id: RowId(Uuid::new_v4()),
            job: "20261122T140320Z-9f3a1c2e".to_owned(),
            sheet: "Sheet1".to_owned(),
            number,
            values: vec![Value::Text(format!("Company {number}"))],
        })
        .collect();
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let mut operations: Vec<Operation> = encoded.into_iter().map(|one| one.unwrap()).collect();
    for number in bad {
        // Beyond what preflight lets through: the service itself is to refuse it.
        operations[*number as usize - 1].body = Some(format!(r#"{{"name":"{}"}}"#, "x".repeat(200)));
    }
    operations
}

/// Sends batches as the pipeline does, as many at once as the pilots ask for; the rows that were refused.
async fn pour(client: &Dynamics, operations: Vec<Operation>, batch: usize) -> usize {
    let mut waiting: Vec<Vec<Operation>> = operations.chunks(batch).map(<[_]>::to_vec).collect();
    let mut flying = JoinSet::new();
    let mut refused = 0;
    loop {
        while flying.len() < usize::from(client.demand()) {
            let Some(batch) = waiting.pop() else { break };
            let client = client.clone();
            flying.spawn(
                async move { client.send(&batch, BatchShape::Independent, History::New, &|_| ()).await },
            );
        }
        let Some(sent) = flying.join_next().await else { return refused };
        let report = sent.unwrap().unwrap();
        refused += report.outcomes.iter().filter(|one| matches!(one, Outcome::Refused(_))).count();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_admitted_execution_time_is_used_and_few_requests_are_wasted() {
    // One server, one core's worth of work: 2 s of execution in windows of 1 s, 1 ms an operation. More than the window
    // holds is asked for, so that the limit is met again and again.
    let protection = Protection {
        window_s: 1.0,
        execution_s: 2.0,
        operation_ms: 1.0,
        request_ms: 4.0,
        latency_ms: 5.0,
        ..Protection::default()
    };
    let server = Server::with(Some(protection)).await;
    let client = server.client(&["one"]);
    let operations = inserts(&client, 12_000, &[]).await;
    let begun = Instant::now();
    assert_eq!(pour(&client, operations, 1_000).await, 0);
    let took = begun.elapsed();
    let entity = client.entity("accounts").await.unwrap();
    assert_eq!(client.count(&entity).await.unwrap(), 12_000);
    let report = server.report().await;
    let counts = client.principals()[0].counts;
    let wasted = counts.request_limit + counts.time_limit + counts.concurrency_limit + counts.busy;
    println!("12,000 rows in {took:?}; {counts:?}; {:?}; {report}", client.pace());
    assert!(wasted * 8 <= counts.requests, "{wasted} of {} requests were refused", counts.requests);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_users_write_more_than_one_where_the_limits_are_counted_by_user() {
    let protection = Protection { window_s: 1.0, requests: 12, request_ms: 5.0, ..Protection::default() };
    let server = Server::with(Some(protection.clone())).await;
    let both = server.client(&["one", "two"]);
    let operations = inserts(&both, 6_000, &[]).await;
    assert_eq!(pour(&both, operations, 200).await, 0);
    let users = both.principals();
    assert!(users.iter().all(|user| user.counts.requests > 5), "{users:?}");
    assert!(users.iter().all(|user| user.refused.is_none() && user.flying == 0), "{users:?}");
    let entity = both.entity("accounts").await.unwrap();
    assert_eq!(both.count(&entity).await.unwrap(), 6_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bad_rows_cost_only_themselves_whichever_way_the_others_went() {
    let server = Server::with(None).await;
    let client = server.client(&["one"]);
    let bad: Vec<u32> = (1..=12).map(|n| n * 401).collect();
    let operations = inserts(&client, 6_000, &bad).await;
    assert_eq!(pour(&client, operations, 1_000).await, bad.len());
    let entity = client.entity("accounts").await.unwrap();
    assert_eq!(client.count(&entity).await.unwrap(), 6_000 - bad.len() as u64);
    let lane = client.pace().remove(0);
    assert!(lane.rates.0 > 0.0 && lane.rates.1 > 0.0, "both ways were tried: {lane:?}");
}
