//! The room as its callers see it, against a small Dataverse over real HTTP: bad paths first.

use std::sync::{Arc, Mutex};

use serde_json::json;
use uuid::Uuid;

use super::fake::{Fake, Fault, limits};
use super::*;
use crate::domain::effect::Effect;
use crate::domain::entity::AttributeKind;
use crate::domain::refusal::Severity;
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::settings::{BlankRule, LoadSettings, LookupRule, Mode};
use crate::domain::table::{TableName, column_identifier};
use crate::domain::value::{StageType, Value};

mod bulk;
mod planning;
mod users;

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

fn settings(mode: Mode, key: &[&str]) -> LoadSettings {
    LoadSettings {
        mode,
        key: key.iter().map(|key| (*key).to_owned()).collect(),
        ..LoadSettings::plain(TableName::from_stem("accounts").unwrap(), "accounts")
    }
}

fn columns(headers: &[&str]) -> Vec<StagedColumn> {
    headers
        .iter()
        .map(|header| StagedColumn {
            name: column_identifier(header),
            header: (*header).to_owned(),
            kind: StageType::Text,
        })
        .collect()
}

fn id(number: u32) -> Uuid {
    Uuid::from_u128(0xA000_0000_0000_0000_0000_0000_0000_0000 | u128::from(number))
}

fn row(number: u32, cells: &[&str]) -> StagedRow {
    StagedRow {
        id: RowId(id(number)),
        job: "20261122T140320Z-9f3a1c2e".to_owned(),
        sheet: "Sheet1".to_owned(),
        number,
        values: cells.iter().map(|cell| Value::Text((*cell).to_owned())).collect(),
    }
}

async fn plan(client: &Dynamics, headers: &[&str], settings: &LoadSettings) -> Result<RowPlan, PlanFault> {
    let entity = client.entity("accounts").await.unwrap();
    client.prepare(&entity, &columns(headers), settings).await
}

async fn problems(client: &Dynamics, headers: &[&str], settings: &LoadSettings) -> Vec<PlanProblem> {
    match plan(client, headers, settings).await {
        Err(PlanFault::Problems { problems }) => problems,
        other => panic!("{other:?}"),
    }
}

/// Operations for rows that have a name only.
async fn named(client: &Dynamics, mode: Mode, names: &[&str]) -> Vec<Operation> {
    let key: &[&str] = if mode == Mode::Insert { &[] } else { &["accountid"] };
    let headers: &[&str] = if mode == Mode::Insert { &["name"] } else { &["accountid", "name"] };
    let plan = plan(client, headers, &settings(mode, key)).await.unwrap();
    let rows: Vec<StagedRow> = (1..)
        .zip(names)
        .map(|(number, name)| match mode {
            Mode::Insert => row(number, &[name]),
            _ => row(number, &[&id(number).to_string(), name]),
        })
        .collect();
    let encoded = client.encode(&plan, &rows).await.unwrap();
    encoded.into_iter().map(|operation| operation.unwrap()).collect()
}

fn path(number: u32) -> String {
    format!("accounts({})", id(number))
}

fn quiet(_: Waiting) {}

async fn sent(client: &Dynamics, operations: &[Operation]) -> Result<SendReport, SendFault> {
    client.send(operations, BatchShape::Independent, History::New, &quiet).await
}

fn is_written(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Written(_))
}

/// What each write did to its record, and the record's id where the row named it by a key.
fn effects(report: &SendReport) -> Vec<(Effect, Option<Uuid>)> {
    let effect = |outcome: &Outcome| match outcome {
        Outcome::Written(written) => (written.effect, written.record),
        Outcome::Refused(refusal) => panic!("{refusal:?}"),
    };
    report.outcomes.iter().map(effect).collect()
}

fn all_written(report: &SendReport) -> bool {
    report.outcomes.iter().all(is_written)
}

fn refusal(outcome: &Outcome) -> crate::domain::refusal::Refusal {
    match outcome {
        Outcome::Refused(refusal) => refusal.clone(),
        Outcome::Written(_) => panic!("written"),
    }
}

// ---- throttled, cut off, half answered -----------------------------------------------------------------------------

#[tokio::test]
async fn a_429_is_waited_out_as_long_as_the_server_asks_and_said_so() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    let body = r#"{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit of 6000 over time window of 300 seconds."}}"#;
    fake.script([Fault::Answer { status: 429, headers: vec![("Retry-After", "0.2"), JSON[0]], body }]);
    let told = Mutex::new(Vec::new());
    let hear = |waiting: Waiting| told.lock().unwrap().push(waiting);
    let report = client.send(&operations, BatchShape::Independent, History::New, &hear).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2);
    assert!(report.took >= Duration::from_millis(200), "{:?}", report.took);
    let told = told.lock().unwrap();
    assert_eq!((told.len(), told[0].reason.as_str(), told[0].asked_for), (1, "request limit", true));
    assert!((150..=200).contains(&told[0].pause.as_millis()), "{told:?}");
    assert_eq!(report.trouble.unwrap().severity, Severity::Retried);
}

#[tokio::test]
async fn one_429_holds_every_worker_back() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    fake.script([Fault::Answer { status: 429, headers: vec![("Retry-After", "0.3")], body: "" }]);
    let (tell, told) = tokio::sync::oneshot::channel();
    let first = tokio::spawn({
        let (client, operations) = (client.clone(), operations.clone());
        let tell = Mutex::new(Some(tell));
        let hear = move |_: Waiting| {
            if let Some(tell) = tell.lock().unwrap().take() {
                tell.send(()).unwrap();
            }
        };
        async move { client.send(&operations[..1], BatchShape::Independent, History::New, &hear).await }
    });
    told.await.unwrap();
    // The first worker heard its 429 and waits; the second has sent nothing yet, and now does not.
    let heard = Mutex::new(Vec::new());
    let hear = |waiting: Waiting| heard.lock().unwrap().push(waiting.reason);
    let second = client.send(&operations[1..], BatchShape::Independent, History::New, &hear).await.unwrap();
    assert!(all_written(&first.await.unwrap().unwrap()) && all_written(&second));
    assert_eq!(heard.lock().unwrap()[0], "request limit");
    assert!(second.took >= Duration::from_millis(200) && second.attempts == 1, "{second:?}");
    assert_eq!(fake.world.lock().unwrap().batches.len(), 3);
}

#[tokio::test]
async fn a_pause_beyond_our_patience_is_handed_to_the_caller() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A"]).await;
    fake.script([Fault::Answer { status: 429, headers: vec![("Retry-After", "3600")], body: "" }]);
    let fault = sent(&client, &operations).await.unwrap_err();
    assert!(
        matches!(fault, SendFault::Unavailable { retry_in, attempts: 1, .. } if retry_in.as_secs() == 3599),
        "{fault:?}"
    );
    // The gate stays closed for everybody: no second request is even tried.
    assert!(matches!(sent(&client, &operations).await, Err(SendFault::Unavailable { .. })));
    assert_eq!(fake.world.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn a_batch_whose_answer_was_cut_after_the_commit_is_sent_again_and_lands_on_the_same_records() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B", "C"]).await;
    fake.script([Fault::CutAfterCommit]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2);
    assert_eq!(fake.records().len(), 3);
    assert!(report.trouble.unwrap().error.starts_with("Dynamics broke off"));
}

#[tokio::test]
async fn gateways_that_answer_html_are_tried_again_until_patience_ends() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A"]).await;
    let gateway = Fault::Answer {
        status: 502,
        headers: vec![("content-type", "text/html")],
        body: "<html><body><h1>502 Bad Gateway</h1></body></html>",
    };
    fake.script(vec![gateway.clone(); 2]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report) && report.attempts == 3);
    fake.script(vec![gateway; 4]);
    let fault = sent(&client, &operations).await.unwrap_err();
    assert_eq!(fault.to_string(), "the target is not available after 4 attempts: 502: 502 Bad Gateway");
}

#[tokio::test]
async fn fewer_answers_than_operations_means_the_rest_is_sent_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B", "C", "D", "E"]).await;
    fake.script([Fault::Only(2), Fault::Tell(1)]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report));
    let sizes: Vec<usize> = fake.world.lock().unwrap().batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [5, 3, 2]);
    assert_eq!(fake.records().len(), 5);
}

#[tokio::test]
async fn a_server_that_stops_at_the_first_failure_never_has_it_pinned_on_another_row() {
    for telling_before in [true, false] {
        let fake = Fake::start().await;
        let client = fake.client();
        let names = ["A", "B", "C", "Refused one", "E", "Refused two", "G"];
        let operations = named(&client, Mode::Insert, &names).await;
        fake.script(vec![Fault::Stop { telling_before }; 40]);
        let report = sent(&client, &operations).await.unwrap();
        let refused: Vec<bool> =
            report.outcomes.iter().map(|outcome| matches!(outcome, Outcome::Refused(_))).collect();
        assert_eq!(refused, [false, false, false, true, false, true, false], "{telling_before}");
        assert_eq!(fake.records().len(), 5);
    }
}

#[tokio::test]
async fn a_limit_that_is_met_within_a_batch_loses_nothing_that_went_before() {
    let fake = Fake::start().await;
    let client = fake.client();
    for number in 1..=3 {
        fake.put(&path(number), json!({}));
    }
    let operations = named(&client, Mode::Delete, &["A", "B", "C"]).await;
    // The second operation is answered 429, and the service mirrors it as the status of the whole.
    let parts = "--batchresponse_1\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 429 Too Many Requests\r\n\r\n{}\r\n--batchresponse_1--\r\n";
    fake.world.lock().unwrap().records.remove(&path(1));
    fake.script([Fault::Answer {
        status: 429,
        headers: vec![("content-type", "multipart/mixed; boundary=batchresponse_1")],
        body: parts,
    }]);
    assert!(all_written(&sent(&client, &operations).await.unwrap()));
    assert!(fake.records().is_empty());
}

#[tokio::test]
async fn answers_in_another_order_are_not_believed() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B", "C"]).await;
    fake.script([Fault::Swap]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2);
    assert!(report.trouble.unwrap().error.contains("do not belong to their operations"));
}

#[tokio::test]
async fn a_poisoned_row_that_fells_its_whole_batch_is_found_by_halves() {
    let fake = Fake::start().await;
    let client = fake.client();
    let names: Vec<String> = (1..=16).map(|n| format!("N{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let operations = named(&client, Mode::Insert, &names).await;
    let malformed = Fault::Answer {
        status: 400,
        headers: JSON.to_vec(),
        body: r#"{"error":{"code":"0x80048d19","message":"stream not readable"}}"#,
    };
    // The halves that hold row 1 fail: 16, 8, 4, 2, 1.
    fake.script(vec![malformed; 5]);
    let report = sent(&client, &operations).await.unwrap();
    assert_eq!(report.outcomes.iter().filter(|outcome| is_written(outcome)).count(), 15);
    assert_eq!(refusal(&report.outcomes[0]).error, "400 0x80048D19: stream not readable");
    assert_eq!(report.attempts, 9);
}

// ---- refusals, deadlocks, access -----------------------------------------------------------------------------------

#[tokio::test]
async fn a_refused_row_costs_only_itself_and_names_its_column() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "Refused", "C"]).await;
    let report = sent(&client, &operations).await.unwrap();
    let refusal = refusal(&report.outcomes[1]);
    assert_eq!(refusal.column.as_deref(), Some("name"));
    assert!(refusal.cause.starts_with("a text is longer than its column: The length of the 'name'"));
    assert_eq!(report.attempts, 1);
    let trouble = report.trouble.unwrap();
    assert_eq!(trouble.severity, Severity::Rows);
    assert_eq!(trouble.cause, "a text is longer than its column (StringLengthTooLong)");
    assert_eq!(fake.records().len(), 2);
}

#[tokio::test]
async fn a_key_that_another_record_has_is_told_in_plain_words_at_its_cell() {
    let fake = Fake::start().await;
    let client = fake.client();
    let plan = plan(&client, &["name", "Account Number"], &settings(Mode::Insert, &[])).await.unwrap();
    let encoded = client.encode(&plan, &[row(1, &["A", "A-1"]), row(2, &["B", "A-2"])]).await.unwrap();
    let operations: Vec<Operation> = encoded.into_iter().map(|operation| operation.unwrap()).collect();
    let body = r#"{"error":{"code":"0x80060892","message":"Entity Key Number violated. A record with the same value for Account Number already exists. A duplicate record cannot be created. Select one or more unique values and try again."}}"#;
    fake.script([Fault::Row { holding: "A-1", status: 412, body }]);
    let report = sent(&client, &operations).await.unwrap();
    let refusal = refusal(&report.outcomes[0]);
    assert_eq!(refusal.column.as_deref(), Some("Account_Number"));
    assert_eq!(refusal.cause, "another record has the same Account Number already");
}

#[tokio::test]
async fn a_deadlocked_row_is_sent_again_alone() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B", "C"]).await;
    let body = r#"{"error":{"code":"0x80044150","message":"Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205"}}"#;
    fake.script([Fault::Row { holding: "\"B\"", status: 500, body }]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report));
    let sizes: Vec<usize> = fake.world.lock().unwrap().batches.iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 1]);
    assert_eq!(report.trouble.unwrap().severity, Severity::Retried);
}

#[tokio::test]
async fn a_row_that_crashes_dynamics_every_time_is_refused_in_the_end() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    let body = r#"{"error":{"code":"0x80040216","message":"An unexpected error occurred."}}"#;
    fake.script(vec![Fault::Row { holding: "\"B\"", status: 500, body }; 3]);
    let report = sent(&client, &operations).await.unwrap();
    assert_eq!(report.attempts, 3);
    assert!(refusal(&report.outcomes[1]).error.contains("0x80040216"));
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_a_refused_one_stops_everything() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A"]).await;
    fake.world.lock().unwrap().stale = 1;
    let report = sent(&client, &operations).await.unwrap();
    assert!(all_written(&report) && report.attempts == 1);
    assert_eq!(fake.world.lock().unwrap().tokens, 2);
    fake.world.lock().unwrap().stale = 100;
    assert!(matches!(sent(&client, &operations).await, Err(SendFault::Access { .. })));
    assert_eq!(fake.world.lock().unwrap().tokens, 3);
}

#[tokio::test]
async fn many_workers_fetch_one_token() {
    let fake = Fake::start().await;
    let client = fake.client();
    let asked = (0..20).map(|_| client.who_am_i());
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.unwrap(), "we are user u1 there");
    }
    assert_eq!(fake.world.lock().unwrap().tokens, 1);
    assert_eq!(client.demand(), 8, "the hint, and one more to try");
}

#[tokio::test]
async fn wrong_credentials_are_the_operators_and_never_shown() {
    let fake = Fake::start().await;
    let client = fake.client();
    let body = r#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 1"}"#;
    fake.world.lock().unwrap().token_faults.push_back((401, body));
    let fault = client.who_am_i().await.unwrap_err();
    assert!(matches!(fault, TargetFault::Access { .. }), "{fault:?}");
    assert!(fault.to_string().contains("AADSTS7000215: Invalid client secret provided.:"), "{fault}");
    let shown = format!("{fault:?} {client:?} {:?}", fake.settings());
    assert!(!shown.contains("s3cret"), "{shown}");
    // A token service that is merely busy is asked again.
    fake.world.lock().unwrap().token_faults.push_back((503, "<html>"));
    assert_eq!(client.who_am_i().await.unwrap(), "we are user u1 there");
}

#[tokio::test]
async fn a_missing_privilege_stops_the_table_and_refuses_no_row() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    let body = r#"{"error":{"code":"0x80040220","message":"missing prvCreateAccount privilege"}}"#;
    fake.script([Fault::Row { holding: "accounts", status: 403, body }]);
    assert!(matches!(sent(&client, &operations).await, Err(SendFault::Access { .. })));
    let body = r#"{"error":{"code":"0x80060888","message":"Could not find a property named 'nme'"}}"#;
    fake.script([Fault::Row { holding: "accounts", status: 400, body }]);
    assert!(matches!(sent(&client, &operations).await, Err(SendFault::Mapping { .. })));
    // One such row among others is that row's.
    fake.script([Fault::Row { holding: "\"A\"", status: 400, body }]);
    let report = sent(&client, &operations).await.unwrap();
    assert!(refusal(&report.outcomes[0]).error.contains("nme"));
    assert!(is_written(&report.outcomes[1]));
}

// ---- all or none ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_change_set_is_written_whole_or_refused_whole_with_its_culprit() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B", "Refused", "D"]).await;
    let send = |operations: Vec<Operation>| {
        let client = client.clone();
        async move { client.send(&operations, BatchShape::ChangeSet, History::New, &quiet).await.unwrap() }
    };
    let report = send(operations.clone()).await;
    assert_eq!(refusal(&report.outcomes[2]).column.as_deref(), Some("name"));
    assert!(refusal(&report.outcomes[0]).cause.contains("another row was refused"));
    assert!(fake.records().is_empty());
    let good: Vec<Operation> =
        operations.into_iter().enumerate().filter(|(index, _)| *index != 2).map(|(_, one)| one).collect();
    assert!(all_written(&send(good.clone()).await));
    assert_eq!(fake.records().len(), 3);
    // Cut after the commit: sent again whole, harmlessly.
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&send(good).await));
    assert_eq!(fake.records().len(), 3);
    let headers = fake.world.lock().unwrap().headers.pop().unwrap();
    assert!(!headers.contains_key("prefer"));
}

#[tokio::test]
async fn more_rows_than_one_change_set_holds_are_refused_before_anything_is_sent() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &vec!["A"; 1_001]).await;
    let fault = client.send(&operations, BatchShape::ChangeSet, History::New, &quiet).await.unwrap_err();
    assert!(matches!(fault, SendFault::TooLarge { found: 1_001, max: 1_000, .. }));
    assert!(fake.world.lock().unwrap().batches.is_empty());
}

// ---- what was created ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_row_under_an_id_of_its_own_created_its_record_however_often_it_was_sent() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Insert, &["A", "B"]).await;
    fake.script([Fault::CutAfterCommit]);
    let created = vec![(Effect::Created, None); 2];
    assert_eq!(effects(&sent(&client, &operations).await.unwrap()), created);
    let again = client.send(&operations, BatchShape::Independent, History::InDoubt, &quiet).await.unwrap();
    assert_eq!(effects(&again), created);
}

#[tokio::test]
async fn an_upsert_by_key_tells_whether_the_record_was_there_and_which_one_it_is() {
    let fake = Fake::start().await;
    let client = fake.client();
    let by_key = settings(Mode::Upsert, &["accountnumber"]);
    let plan = plan(&client, &["accountnumber", "name"], &by_key).await.unwrap();
    let number = |number: &str| format!("accounts(accountnumber='{number}')");
    let record = |of: &str| Some(super::fake::id_of(&number(of)));
    fake.put(&number("2"), json!({}));
    let rows = [row(1, &["1", "A"]), row(2, &["2", "B"])];
    let operations: Vec<Operation> =
        client.encode(&plan, &rows).await.unwrap().into_iter().map(|one| one.unwrap()).collect();
    let first = sent(&client, &operations).await.unwrap();
    assert_eq!(effects(&first), [(Effect::Created, record("1")), (Effect::Updated, record("2"))]);
    let set = client.send(&operations, BatchShape::ChangeSet, History::New, &quiet).await.unwrap();
    assert_eq!(effects(&set), [(Effect::Updated, record("1")), (Effect::Updated, record("2"))]);
}

#[tokio::test]
async fn what_a_repetition_finds_may_be_its_own_and_nobody_can_tell() {
    // The first try creates the first record, and its answer is cut; only what the second one creates is certain.
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Upsert, &["A", "B"]).await;
    fake.script([Fault::CutAfterCommit]);
    let report = sent(&client, &operations).await.unwrap();
    assert_eq!(effects(&report), [(Effect::Unknown, None), (Effect::Unknown, None)]);
    fake.world.lock().unwrap().records.remove(&path(2));
    let report = client.send(&operations, BatchShape::Independent, History::InDoubt, &quiet).await.unwrap();
    assert_eq!(effects(&report), [(Effect::Unknown, None), (Effect::Created, None)]);
}

#[tokio::test]
async fn an_insert_by_a_key_or_of_rows_that_were_sent_before_asks_what_was_there() {
    let fake = Fake::start().await;
    let client = fake.client();
    // The id that is made of the key is the same in every job.
    let by_key = settings(Mode::Insert, &["accountnumber"]);
    let by_key = plan(&client, &["accountnumber", "name"], &by_key).await.unwrap();
    let mut known = plan(&client, &["accountnumber", "name"], &settings(Mode::Insert, &[])).await.unwrap();
    known.expect_known_rows();
    for plan in [by_key, known] {
        let rows = [row(1, &["1", "A"])];
        let operations: Vec<Operation> =
            client.encode(&plan, &rows).await.unwrap().into_iter().map(|one| one.unwrap()).collect();
        assert_eq!(effects(&sent(&client, &operations).await.unwrap()), [(Effect::Created, None)]);
        assert_eq!(effects(&sent(&client, &operations).await.unwrap()), [(Effect::Updated, None)]);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_heed_the_question_leaves_it_open() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = named(&client, Mode::Upsert, &["A"]).await;
    fake.script([Fault::Row { holding: "A", status: 204, body: "" }]);
    assert_eq!(effects(&sent(&client, &operations).await.unwrap()), [(Effect::Unknown, None)]);
}

#[tokio::test]
async fn a_deletion_of_a_version_that_is_no_more_is_refused_at_once_and_not_tried_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let plan = plan(&client, &["name"], &settings(Mode::Insert, &[])).await.unwrap();
    fake.put(&path(1), json!({}));
    fake.put(&path(2), json!({}));
    let deletion =
        |number| plan.deletion(RowId(id(number)), &Record::Id(id(number)), Some("W/\"7\"")).unwrap();
    let body = r#"{"error":{"code":"0x80060882","message":"The version does not match."}}"#;
    fake.script([Fault::Row { holding: "0001)", status: 412, body }]);
    let report = client
        .send(&[deletion(1), deletion(2)], BatchShape::Independent, History::InDoubt, &quiet)
        .await
        .unwrap();
    assert_eq!(report.attempts, 1);
    assert!(matches!(report.outcomes[0], Outcome::Refused(_)) && is_written(&report.outcomes[1]));
    assert_eq!(fake.records().keys().collect::<Vec<_>>(), [&path(1)]);
}

// ---- modes ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_a_delete_does_not_find_is_a_fault_unless_it_may_have_deleted_it_itself() {
    let fake = Fake::start().await;
    let client = fake.client();
    fake.put(&path(1), json!({}));
    let operations = named(&client, Mode::Delete, &["A", "B"]).await;
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&sent(&client, &operations).await.unwrap()));
    assert!(fake.records().is_empty());

    let report = sent(&client, &operations[1..]).await.unwrap();
    assert_eq!(refusal(&report.outcomes[0]).cause, format!("there is no record {} to delete", id(2)));
    let report = client.send(&operations, BatchShape::Independent, History::InDoubt, &quiet).await.unwrap();
    assert!(all_written(&report));
    // The same in one transaction: what is gone is let go, the rest is deleted.
    fake.put(&path(2), json!({}));
    let report = client.send(&operations, BatchShape::ChangeSet, History::InDoubt, &quiet).await.unwrap();
    assert!(all_written(&report) && fake.records().is_empty());
}

#[tokio::test]
async fn an_update_of_a_record_that_is_not_there_is_refused_and_creates_nothing() {
    let fake = Fake::start().await;
    let client = fake.client();
    fake.put(&path(1), json!({"name": "old"}));
    let operations = named(&client, Mode::Update, &["new", "B"]).await;
    let report = sent(&client, &operations).await.unwrap();
    assert!(is_written(&report.outcomes[0]));
    assert_eq!(refusal(&report.outcomes[1]).advice, "correct its key, or load it with mode `upsert`");
    assert_eq!(fake.records()[&path(1)]["name"], "new");
    assert_eq!(fake.records().len(), 1);
}

#[tokio::test]
async fn an_upsert_names_the_record_by_its_key_and_never_repeats_the_key() {
    let fake = Fake::start().await;
    let client = fake.client();
    let plan =
        plan(&client, &["Account Number", "Account Name"], &settings(Mode::Upsert, &["account number"]))
            .await
            .unwrap();
    let rows = [row(1, &["A'1 é", "One"]), row(2, &["A/2", "Two"]), row(3, &["", "Three"])];
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let first = encoded[0].as_ref().unwrap();
    assert_eq!(first.path, "accounts(accountnumber='A''1%20%C3%A9')");
    assert_eq!(first.target_key, "accountnumber='A''1 é'");
    assert_eq!(first.body.as_deref(), Some(r#"{"name":"One"}"#));
    assert_eq!(
        encoded[1].as_ref().unwrap_err()[0].cause,
        "`A/2` has `/`, which Dynamics cannot take in a key"
    );
    assert!(encoded[2].as_ref().unwrap_err()[0].cause.contains("names the record, but the cell is empty"));
    let report = sent(&client, std::slice::from_ref(first)).await.unwrap();
    assert!(all_written(&report));
    assert_eq!(fake.records()["accounts(accountnumber='A''1 é')"], json!({"name": "One"}));
}

#[tokio::test]
async fn every_fault_of_a_row_is_told_at_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    let headers = ["Account Name", "Annual Revenue", "Category", "Credit Hold", "Since", "No. of Employees"];
    let plan = plan(&client, &headers, &settings(Mode::Insert, &[])).await.unwrap();
    let rows = [
        row(1, &["", "1,500", "Gold", "perhaps", "last spring", "-1"]),
        row(2, &["Two", "1,500.00", "standard", "free", "2023-02-10", "12.0"]),
    ];
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let causes: Vec<String> =
        encoded[0].as_ref().unwrap_err().iter().map(|refusal| refusal.cause.clone()).collect();
    assert_eq!(causes.len(), 6, "{causes:#?}");
    assert_eq!(causes[0], "Account Name must have a value, but the cell is empty");
    assert_eq!(
        encoded[1].as_ref().unwrap().body.as_deref(),
        Some(
            r#"{"name":"Two","revenue":1500,"accountcategorycode":2,"creditonhold":false,"new_since":"2023-02-10","numberofemployees":12}"#
        )
    );
}

#[tokio::test]
async fn a_blank_leaves_or_clears_as_the_load_says() {
    let fake = Fake::start().await;
    let client = fake.client();
    let headers = ["accountid", "Account Number", "Primary Contact"];
    let mut settings = settings(Mode::Update, &["accountid"]);
    let key = id(1).to_string();
    let rows = [row(1, &[&key, "", ""])];
    for (blank, body) in [
        (BlankRule::Leave, "{}"),
        (BlankRule::Clear, r#"{"accountnumber":null,"primarycontactid@odata.bind":null}"#),
    ] {
        settings.blank = blank;
        let plan = plan(&client, &headers, &settings).await.unwrap();
        let encoded = client.encode(&plan, &rows).await.unwrap();
        assert_eq!(encoded[0].as_ref().unwrap().body.as_deref(), Some(body));
    }
}

#[tokio::test]
async fn an_insert_with_a_key_lands_on_the_same_record_in_every_load_and_writes_the_key() {
    let fake = Fake::start().await;
    let client = fake.client();
    let plan =
        plan(&client, &["accountnumber", "name"], &settings(Mode::Insert, &["accountnumber"])).await.unwrap();
    let rows = [row(1, &["A-1", "One"]), row(9, &["A-1", "Nine"])];
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let (first, second) = (encoded[0].as_ref().unwrap(), encoded[1].as_ref().unwrap());
    assert_eq!(first.path, second.path);
    assert_eq!(
        first.target_key,
        crate::domain::identity::record_id("fake", "accounts", &[&Value::Text("A-1".into())]).to_string()
    );
    assert_eq!(first.body.as_deref(), Some(r#"{"accountnumber":"A-1","name":"One"}"#));
    assert_eq!(plan.target_key(client.target_id(), &rows[1]), first.target_key);
}
