//! Application users: how they prove who they are, what becomes of one that is refused, and how each keeps its limits.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::SecretSource;

fn known() -> Credential {
    Credential::Known("s3cret".into())
}

fn two(fake: &Fake) -> Dynamics {
    Dynamics::connect(fake.settings_for(&[("one", known()), ("two", known())])).unwrap()
}

/// Each row in a call of its own, all at once.
async fn all_at_once(client: &Dynamics, count: usize) -> Vec<Result<SendReport, SendFault>> {
    let operations = named(client, Mode::Insert, &vec!["A"; count]).await;
    let calls = operations.iter().map(|one| sent(client, std::slice::from_ref(one)));
    futures::future::join_all(calls).await
}

fn throttled(code: &str, wait: &'static str) -> Fault {
    let body = match code {
        "requests" => {
            r#"{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit of 6000 over time window of 300 seconds."}}"#
        }
        "time" => {
            r#"{"error":{"code":"0x80072321","message":"Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of 300 seconds."}}"#
        }
        _ => {
            r#"{"error":{"code":"0x80072326","message":"Number of concurrent requests exceeded the limit of 52."}}"#
        }
    };
    Fault::Answer { status: 429, headers: vec![("Retry-After", wait), JSON[0]], body }
}

#[tokio::test]
async fn users_are_used_side_by_side_and_one_that_is_throttled_leaves_no_gap() {
    let fake = Fake::start().await;
    let client = two(&fake);
    fake.world.lock().unwrap().write_takes = Duration::from_millis(5);
    fake.world.lock().unwrap().faults_of.insert("one", [throttled("requests", "60")].into());
    let begun = tokio::time::Instant::now();
    let reports = all_at_once(&client, 40).await;
    assert!(reports.iter().all(|report| all_written(report.as_ref().unwrap())));
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waited for the first user's gate");
    let users = client.principals();
    let one = users[0].waiting.as_ref().unwrap();
    assert_eq!((users[0].client_id.as_str(), one.reason.as_str()), ("one", "request limit"));
    assert!(users[0].counts.request_limit >= 1 && users[1].counts.request_limit == 0);
    assert!(users[1].waiting.is_none() && users.iter().all(|user| user.flying == 0));
    let writers = fake.world.lock().unwrap().writers.clone();
    assert!(writers.contains(&"one".to_owned()) && writers.contains(&"two".to_owned()));
}

#[tokio::test]
async fn a_user_that_is_refused_is_set_aside_while_the_others_go_on_and_is_let_in_again() {
    let fake = Fake::start().await;
    let client = two(&fake);
    fake.world.lock().unwrap().strangers = vec!["one"];
    let reports = all_at_once(&client, 10).await;
    assert!(reports.iter().all(|report| all_written(report.as_ref().unwrap())));
    assert!(!fake.world.lock().unwrap().writers.contains(&"one".to_owned()));
    let users = client.principals();
    let why = users[0].refused.as_deref().unwrap();
    assert!(why.contains("0x80072560") && why.contains("create it there"), "{why}");
    assert!(users[1].refused.is_none());
    // The second one, too: then it is the operator's, and both were tried.
    fake.world.lock().unwrap().strangers = vec!["one", "two"];
    let operations = named_before(&client).await;
    assert!(matches!(sent(&client, &operations).await, Err(SendFault::Access { .. })));
    // Mended: whoever is let in goes on, although both are set aside.
    fake.world.lock().unwrap().strangers = vec!["two"];
    assert!(all_written(&sent(&client, &operations).await.unwrap()));
    let users = client.principals();
    assert!(users[0].refused.is_none() && users[1].refused.is_some());
}

/// One operation, its metadata read before anybody is refused.
async fn named_before(client: &Dynamics) -> Vec<Operation> {
    named(client, Mode::Insert, &["A"]).await
}

#[tokio::test]
async fn a_privilege_that_one_user_lacks_is_tried_as_another() {
    let fake = Fake::start().await;
    let client = two(&fake);
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    let body =
        r#"{"error":{"code":"0x80040220","message":"Principal user is missing prvCreateAccount privilege"}}"#;
    fake.script([Fault::Row { holding: "accounts", status: 403, body }]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2);
    let writers = fake.world.lock().unwrap().writers.clone();
    assert_ne!(writers[0], writers[1]);
    // One row of several that one user may not write is that row's.
    fake.script([Fault::Row { holding: "\"A\"", status: 403, body }]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(refusal(&report.outcomes[0]).error.contains("0x80040220") && is_written(&report.outcomes[1]));
}

#[tokio::test]
async fn each_user_is_asked_who_it_is() {
    let fake = Fake::start().await;
    let client = two(&fake);
    fake.world.lock().unwrap().strangers = vec!["two"];
    let answers = client.who_are_we().await;
    assert_eq!(answers[0], ("one".to_owned(), Ok("we are user u1 there".to_owned())));
    assert!(answers[1].1.as_ref().unwrap_err().contains("not an application user of this environment"));
}

#[tokio::test]
async fn a_secret_that_was_replaced_is_read_again_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let put = |text: &str| {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    put("s3cret");
    let fake = Fake::start().await;
    let credential = Credential::Secret(SecretSource::File(path.clone()));
    let client = Dynamics::connect(fake.settings_for(&[("one", credential)])).unwrap();
    client.who_am_i().await.unwrap();
    {
        let mut world = fake.world.lock().unwrap();
        world.secret = Some("n3w");
        world.stale = 1;
    }
    let fault = client.who_am_i().await.unwrap_err();
    assert!(fault.to_string().contains("the client secret is wrong"), "{fault}");
    put("n3w");
    client.who_am_i().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    fake.world.lock().unwrap().stale = 100;
    let fault = client.who_am_i().await.unwrap_err().to_string();
    assert!(fault.contains("cannot be read") && fault.contains("application user one"), "{fault}");
}

#[tokio::test]
async fn a_certificate_takes_the_place_of_a_secret_and_nothing_of_either_is_shown() {
    // What is planted is looked for in debug output, errors and log lines, also where things fail.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("client.pem");
    super::super::credential::tests::certificate(&path);
    let planted = std::fs::read_to_string(&path).unwrap();
    let planted: Vec<&str> = planted.lines().filter(|line| !line.starts_with("-----")).collect();
    let fake = Fake::start().await;
    let users = [("one", Credential::Certificate(SecretSource::File(path))), ("two", known())];
    let settings = fake.settings_for(&users);
    let lines = Lines::default();
    let collector =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(lines.clone());
    let guard = tracing::subscriber::set_default(collector.finish());
    let mut shown = format!("{settings:?} {users:?}");
    let client = Dynamics::connect(settings).unwrap();
    let reports = all_at_once(&client, 8).await;
    assert!(reports.iter().all(|report| all_written(report.as_ref().unwrap())));
    fake.world.lock().unwrap().strangers = vec!["one", "two"];
    shown += &format!("{:?} {:?}", client.who_am_i().await.unwrap_err(), client.who_are_we().await);
    let refused = r#"{"error":"invalid_client","error_description":"AADSTS700027: The certificate is not registered."}"#;
    {
        let mut world = fake.world.lock().unwrap();
        world.stale = 1_000;
        world.token_faults.extend([(401, refused), (401, refused), (401, refused)]);
    }
    shown += &format!("{:?} {client:?} {:?}", client.who_am_i().await.unwrap_err(), client.principals());
    drop(guard);
    shown += &String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(shown.contains("set aside"), "the log was caught");
    for secret in planted.into_iter().chain(["s3cret", "-one", "-two", "eyJ"]) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

/// Log lines of one test.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Lines {
    type Writer = Lines;

    fn make_writer(&self) -> Lines {
        self.clone()
    }
}

#[tokio::test]
async fn many_workers_whose_token_is_refused_renew_it_once_and_share_one_failure() {
    let fake = Fake::start().await;
    let client = fake.client();
    assert!(all_at_once(&client, 30).await.iter().all(Result::is_ok));
    assert_eq!(fake.world.lock().unwrap().tokens, 1);
    fake.world.lock().unwrap().stale = 1;
    assert!(all_at_once(&client, 30).await.iter().all(Result::is_ok));
    assert_eq!(fake.world.lock().unwrap().tokens, 2);
}

// ---- throttling ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_closed_gate_lets_nobody_through_and_opens_one_by_one_at_its_time() {
    // Twenty calls; the first four meet the limit. Until its time nobody writes, then one at first.
    let fake = Fake::start().await;
    let client = fake.client();
    fake.world.lock().unwrap().write_takes = Duration::from_millis(20);
    fake.script(vec![throttled("requests", "0.5"); 4]);
    let reports = all_at_once(&client, 20).await;
    assert!(reports.iter().all(|report| all_written(report.as_ref().unwrap())));
    let arrivals = fake.world.lock().unwrap().arrivals.clone();
    let gap = arrivals.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).max().unwrap();
    assert!((450..=2_000).contains(&gap), "neither a storm before its time nor a gap after it: {gap} ms");
    let at_gap = arrivals.windows(2).position(|pair| (pair[1] - pair[0]).as_millis() == gap).unwrap();
    assert!(arrivals[at_gap + 2] - arrivals[at_gap + 1] >= Duration::from_millis(19), "one at first");
    assert!(at_gap < 7, "no more than what had left already met the limit: {at_gap}");
}

#[tokio::test]
async fn the_limit_on_concurrency_lowers_how_many_fly() {
    let fake = Fake::start().await;
    let client = fake.client();
    client.who_am_i().await.unwrap();
    assert_eq!(client.principals()[0].parallelism, 7, "the hint");
    fake.world.lock().unwrap().write_takes = Duration::from_millis(20);
    fake.script([throttled("concurrency", "0.05")]);
    assert!(all_at_once(&client, 7).await.iter().all(Result::is_ok));
    let user = client.principals().remove(0);
    assert!((1..=5).contains(&user.parallelism), "{user:?}");
    assert_eq!(user.counts.concurrency_limit, 1);
    fake.world.lock().unwrap().flying.1 = 0;
    assert!(all_at_once(&client, 12).await.iter().all(Result::is_ok));
    assert!(fake.world.lock().unwrap().flying.1 <= 5);
}

#[tokio::test]
async fn the_limit_on_execution_time_makes_requests_smaller() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &vec!["A"; 60]).await;
    fake.script([throttled("time", "0.01")]);
    assert!(all_written(&sent(&client, &operations).await.unwrap()));
    let sizes: Vec<usize> = fake.world.lock().unwrap().batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [60, 50, 10]);
    let user = client.principals().remove(0);
    assert_eq!((user.parallelism, user.counts.time_limit), (7, 1), "no fewer than the hint");
}

#[tokio::test]
async fn no_cookie_comes_back_and_answers_may_be_compressed() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A"]).await;
    for _ in 0..3 {
        sent(&client, &operations).await.unwrap();
    }
    for headers in &fake.world.lock().unwrap().headers {
        assert!(!headers.contains_key("cookie"), "it would pin us to one web server");
        assert!(headers["accept-encoding"].to_str().unwrap().contains("gzip"));
    }
}
