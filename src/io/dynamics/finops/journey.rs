//! The F&O dialect as its callers see it, against a small F&O over real HTTP: bad paths first.

use serde_json::json;
use uuid::Uuid;

use super::fake::{Fake, Fault};
use crate::domain::refusal::{Refusal, Severity};
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::settings::{BlankRule, LoadSettings, LookupRule, Mode};
use crate::domain::table::{TableName, column_identifier};
use crate::domain::value::{StageType, Value};
use crate::io::dynamics::{
    BatchShape, Dynamics, History, Operation, Outcome, PlanFault, Record, RowPlan, SendFault, SendReport,
    Sought,
};

const IN_USMF: &str = "CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')";
const IN_USSI: &str = "CustomerGroups(dataAreaId='ussi',CustomerGroupId='10')";

fn settings(mode: Mode, company: &str) -> LoadSettings {
    LoadSettings {
        mode,
        legal_entity: Some(company.to_owned()).filter(|company| !company.is_empty()),
        ..LoadSettings::plain(TableName::from_stem("groups").unwrap(), "CustomerGroups")
    }
}

fn columns(headers: &[&str]) -> Vec<StagedColumn> {
    let column = |header: &&str| StagedColumn {
        name: column_identifier(header),
        header: (*header).to_owned(),
        kind: StageType::Text,
    };
    headers.iter().map(column).collect()
}

fn rows(cells: &[&[&str]]) -> Vec<StagedRow> {
    let row = |(number, cells): (u32, &&[&str])| StagedRow {
        id: RowId(Uuid::from_u128(u128::from(number))),
        job: "20261122T140320Z-9f3a1c2e".to_owned(),
        sheet: "Sheet1".to_owned(),
        number,
        values: cells.iter().map(|cell| Value::Text((*cell).to_owned())).collect(),
    };
    (1..).zip(cells).map(row).collect()
}

async fn plan(client: &Dynamics, headers: &[&str], settings: &LoadSettings) -> Result<RowPlan, PlanFault> {
    let entity = client.entity(&settings.target_entity).await.unwrap();
    client.prepare(&entity, &columns(headers), settings).await
}

async fn problem(client: &Dynamics, headers: &[&str], settings: &LoadSettings) -> String {
    plan(client, headers, settings).await.unwrap_err().to_string()
}

async fn encoded(
    client: &Dynamics,
    headers: &[&str],
    cells: &[&[&str]],
    settings: &LoadSettings,
) -> Vec<Result<Operation, Vec<Refusal>>> {
    let plan = plan(client, headers, settings).await.unwrap();
    client.encode(&plan, &rows(cells)).await.unwrap()
}

async fn operations(
    client: &Dynamics,
    headers: &[&str],
    cells: &[&[&str]],
    settings: &LoadSettings,
) -> Vec<Operation> {
    encoded(client, headers, cells, settings).await.into_iter().map(Result::unwrap).collect()
}

async fn sent(
    client: &Dynamics,
    operations: &[Operation],
    shape: BatchShape,
    history: History,
) -> Result<SendReport, SendFault> {
    client.send(operations, shape, history, &|_| ()).await
}

const HEADERS: [&str; 2] = ["CustomerGroupId", "Description"];

/// Customer groups 10, 20, 30 … with these descriptions.
async fn groups(client: &Dynamics, mode: Mode, descriptions: &[&str]) -> Vec<Operation> {
    let numbers: Vec<String> = (1..=descriptions.len()).map(|number| (number * 10).to_string()).collect();
    let cells: Vec<[&str; 2]> =
        numbers.iter().zip(descriptions).map(|(number, text)| [number.as_str(), *text]).collect();
    let cells: Vec<&[&str]> = cells.iter().map(|cells| &cells[..]).collect();
    operations(client, &HEADERS, &cells, &settings(mode, "usmf")).await
}

fn refusals(report: &SendReport) -> Vec<Option<&Refusal>> {
    let refusal = |outcome| match outcome {
        &Outcome::Written(_) => None,
        Outcome::Refused(refusal) => Some(refusal),
    };
    report.outcomes.iter().map(refusal).collect()
}

fn written(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Written(_))
}

fn all_written(report: &SendReport) -> bool {
    report.outcomes.iter().all(written)
}

// ---- doubt ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_insert_whose_answer_was_cut_is_asked_for_and_not_sent_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    fake.queries();
    fake.script([Fault::CutAfterCommit]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report), "{report:?}");
    assert_eq!(fake.count(), 2);
    assert_eq!(fake.requests().len(), 1, "asked, not sent");
    let asked = "(dataAreaId eq 'usmf' and CustomerGroupId eq '10') or (dataAreaId eq 'usmf' and CustomerGroupId eq '20')";
    assert!(fake.queries()[0].contains(asked));
    assert_eq!(report.trouble.unwrap().severity, Severity::Retried);
}

#[tokio::test]
async fn an_insert_that_did_not_arrive_is_sent_again_also_after_a_restart() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    fake.script([Fault::CutBefore]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report));
    assert_eq!((fake.count(), fake.requests().len()), (2, 2));
    // Half of them arrived, and the program was killed before it heard.
    fake.world.lock().unwrap().records.remove(IN_USMF);
    let report = sent(&client, &operations, BatchShape::Independent, History::InDoubt).await.unwrap();
    assert!(all_written(&report));
    let again = fake.requests();
    assert_eq!((fake.count(), again.len(), again[0].len()), (2, 1, 1), "{again:?}");
}

#[tokio::test]
async fn a_record_with_other_values_leaves_the_outcome_unknown_and_is_not_touched() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    let changed = json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "By hand"});
    fake.script([Fault::ChangedAfter { address: IN_USMF, body: changed }]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    let refusal = refusals(&report)[0].unwrap();
    assert!(refusal.error.starts_with("outcome unknown"), "{refusal:?}");
    assert!(refusal.cause.contains("Description is `By hand` instead of `Retail`"), "{refusal:?}");
    assert!(written(&report.outcomes[1]));
    assert_eq!(fake.value(IN_USMF, "Description"), "By hand");
}

#[tokio::test]
async fn a_key_that_the_service_makes_cannot_be_asked_for_and_its_row_is_never_sent_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let orders = LoadSettings { target_entity: "PurchaseOrders".into(), ..settings(Mode::Insert, "ussi") };
    let plan = plan(&client, &["Vendor"], &orders).await.unwrap();
    assert!(plan.notes().iter().any(|note| note.contains("`outcome unknown`")), "{:?}", plan.notes());
    let cells = rows(&[&["V1"], &["V2"]]);
    let operations: Vec<Operation> =
        client.encode(&plan, &cells).await.unwrap().into_iter().map(Result::unwrap).collect();
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report));
    let key = |number: u32| format!("dataAreaId='ussi',Number='PO-{number}'");
    assert_eq!(report.made, [(0, key(1)), (1, key(2))], "the answers tell the keys");
    fake.script([Fault::CutAfterCommit]);
    fake.requests();
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(refusals(&report).iter().all(|refusal| refusal.unwrap().error.contains("outcome unknown")));
    assert!(refusals(&report)[0].unwrap().cause.contains("Dynamics makes the key"));
    assert_eq!((fake.count(), fake.requests().len()), (4, 1));
    let report = sent(&client, &operations, BatchShape::Independent, History::InDoubt).await.unwrap();
    assert!(refusals(&report).iter().all(Option::is_some));
    assert_eq!(fake.requests().len(), 0, "not even once after a restart");
}

#[tokio::test]
async fn updates_and_deletes_in_doubt_are_sent_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let inserts = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    sent(&client, &inserts, BatchShape::Independent, History::New).await.unwrap();
    let updates = groups(&client, Mode::Update, &["R", "W"]).await;
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&sent(&client, &updates, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.value(IN_USMF, "Description"), "R");
    let deletes = groups(&client, Mode::Delete, &["", ""]).await;
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&sent(&client, &deletes, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.count(), 0);
    let report = sent(&client, &deletes, BatchShape::Independent, History::New).await.unwrap();
    let refusal = refusals(&report)[0].unwrap();
    assert_eq!(refusal.cause, "there is no record dataAreaId='usmf',CustomerGroupId='10' to delete");
}

// ---- answers -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn answers_find_their_operations_by_name_never_by_place() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Upsert, &["Retail", "refused", "Whole"]).await;
    fake.script([
        Fault::Reversed,
        Fault::Row { holding: "refused", status: 400, message: "Infolog: Error: Not this one." },
    ]);
    // The first batch finds nothing to update, in reverse; the second one inserts.
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(written(&report.outcomes[0]) && written(&report.outcomes[2]));
    assert!(refusals(&report)[1].unwrap().cause.ends_with("Not this one"));
    // Answers without names are believed only where they name the record.
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    fake.script([Fault::Nameless]);
    assert!(all_written(&sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.requests().len(), 1);
    let updates = groups(&client, Mode::Update, &["R", "W"]).await;
    fake.script([Fault::Nameless]);
    assert!(all_written(&sent(&client, &updates, BatchShape::Independent, History::New).await.unwrap()));
    let requests = fake.requests();
    assert_eq!(requests.len(), 3, "one batch, then each for itself: {requests:?}");
}

#[tokio::test]
async fn a_server_that_stops_at_the_first_failure_is_sent_the_rest() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B", "C", "D"]).await;
    fake.script([Fault::Only(1), Fault::Only(2)]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report), "{report:?}");
    let sizes: Vec<usize> = fake.requests().iter().map(Vec::len).collect();
    assert_eq!((fake.count(), sizes), (4, vec![4, 3, 1]));
}

#[tokio::test]
async fn a_batch_that_is_refused_as_such_is_sent_row_by_row_from_then_on() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B"]).await;
    let body = r#"{"error":{"code":"","message":"No HTTP resource was found that matches the request URI"}}"#;
    fake.script([Fault::Answer { status: 404, body }]);
    assert!(all_written(&sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.requests().len(), 3);
    let updates = groups(&client, Mode::Update, &["R", "W"]).await;
    assert!(all_written(&sent(&client, &updates, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.requests().len(), 2, "no further batch is tried");
}

#[tokio::test]
async fn a_batch_answered_as_one_is_cut_into_its_rows_and_only_the_bad_one_is_refused() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B"]).await;
    let body =
        r#"{"error":{"code":"","message":"An error has occurred.","innererror":{"message":"Write failed"}}}"#;
    let bad = Fault::Row {
        holding: "\"B\"",
        status: 500,
        message: "Infolog: Error: Field 'Description' must be filled in.",
    };
    fake.script([Fault::Answer { status: 400, body }, Fault::Only(9), bad]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(written(&report.outcomes[0]));
    let refusal = refusals(&report)[1].unwrap();
    assert_eq!(refusal.column.as_deref(), Some("Description"));
    assert!(refusal.cause.contains("Field 'Description' must be filled in"), "{refusal:?}");
}

#[tokio::test]
async fn an_update_conflict_is_tried_again_although_it_is_a_400() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B"]).await;
    let message = "Cannot edit a record in X (X). An update conflict occurred due to another user process deleting the record or changing one or more fields in the record.";
    fake.script([Fault::Row { holding: "\"B\"", status: 400, message }]);
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report));
    let sizes: Vec<usize> = fake.requests().iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 1]);
}

// ---- modes ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_existing_record_is_a_conflict_for_an_insert_and_nothing_is_asked_beforehand() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["Retail", "Whole"]).await;
    let there = json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "Retail"});
    fake.put(IN_USMF, there);
    fake.queries();
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    let refusal = refusals(&report)[0].unwrap();
    assert!(refusal.cause.starts_with("another record has this key already"), "{refusal:?}");
    assert_eq!(refusal.column.as_deref(), Some("CustomerGroupId"));
    assert_eq!(fake.queries(), Vec::<String>::new());
    assert!(written(&report.outcomes[1]));
}

#[tokio::test]
async fn an_upsert_updates_what_is_there_and_inserts_the_rest_and_survives_a_race() {
    let fake = Fake::start().await;
    let client = fake.client();
    let cells: [&[&str]; 2] = [&["10", "Retail", "import"], &["20", "Whole", "import"]];
    let headers = ["CustomerGroupId", "Description", "Origin"];
    let operations = operations(&client, &headers, &cells, &settings(Mode::Upsert, "usmf")).await;
    fake.put(IN_USMF, json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Origin": "by hand"}));
    // Between our update and our insert somebody creates the record.
    let raced = "CustomerGroups(dataAreaId='usmf',CustomerGroupId='20')";
    let body = json!({"dataAreaId": "usmf", "CustomerGroupId": "20", "Description": "theirs"});
    fake.script([Fault::Only(9), Fault::Meanwhile { address: raced, body }]);
    assert!(all_written(&sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.value(IN_USMF, "Description"), "Retail");
    assert_eq!(
        fake.value(IN_USMF, "Origin"),
        "by hand",
        "an update does not send what only a create may set"
    );
    assert_eq!(fake.value(raced, "Description"), "Whole");
    let requests = fake.requests();
    assert!(
        requests[0][0]
            .starts_with("PATCH CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')?cross-company=true")
    );
    assert!(requests[1][0].starts_with("POST CustomerGroups?cross-company=true"), "{requests:?}");
    assert!(requests[2][0].starts_with("PATCH"), "{requests:?}");
}

#[tokio::test]
async fn an_update_of_nothing_is_refused_with_the_whole_key() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Update, &["Retail"]).await;
    let report = sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap();
    let refusal = refusals(&report)[0].unwrap();
    assert_eq!(refusal.cause, "there is no record dataAreaId='usmf',CustomerGroupId='10' to update");
    assert!(refusal.advice.contains("its company"));
}

#[tokio::test]
async fn rows_that_were_written_before_go_to_their_records_when_they_are_sent_again() {
    let fake = Fake::start().await;
    let client = fake.client();
    let mut plan = plan(&client, &HEADERS, &settings(Mode::Insert, "usmf")).await.unwrap();
    fake.put(IN_USMF, json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "old"}));
    plan.keep_records([(RowId(Uuid::nil()), "dataAreaId='usmf',CustomerGroupId='10'")]);
    let cells = rows(&[&["10", "new"]]);
    let operations: Vec<Operation> =
        client.encode(&plan, &cells).await.unwrap().into_iter().map(Result::unwrap).collect();
    assert!(all_written(&sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.value(IN_USMF, "Description"), "new");
    // Where the record is gone, it comes anew.
    fake.world.lock().unwrap().records.clear();
    assert!(all_written(&sent(&client, &operations, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.count(), 1);
}

// ---- all or none ---------------------------------------------------------------------------------------------------

#[tokio::test]
async fn all_rows_are_written_in_one_change_set_or_refused_with_the_culprit() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B", "C"]).await;
    fake.script([Fault::Row { holding: "\"B\"", status: 400, message: "Infolog: Error: Not B." }]);
    let report = sent(&client, &operations, BatchShape::ChangeSet, History::New).await.unwrap();
    assert_eq!((report.culprit, fake.count()), (Some(1), 0));
    assert!(refusals(&report)[1].unwrap().cause.ends_with("Not B"));
    assert!(refusals(&report)[0].unwrap().cause.contains("another row was refused"));
    assert!(all_written(&sent(&client, &operations, BatchShape::ChangeSet, History::New).await.unwrap()));
    assert_eq!(fake.count(), 3);
    let bodies = fake.world.lock().unwrap().bodies.clone();
    assert_eq!(bodies.last().unwrap().matches("multipart/mixed; boundary=").count(), 1);
}

#[tokio::test]
async fn a_change_set_whose_answer_was_cut_is_asked_for_as_a_whole() {
    let fake = Fake::start().await;
    let client = fake.client();
    let operations = groups(&client, Mode::Insert, &["A", "B"]).await;
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&sent(&client, &operations, BatchShape::ChangeSet, History::New).await.unwrap()));
    assert_eq!(fake.requests().len(), 1);
    // Only another record with one of the keys is there: none of ours was written.
    fake.world.lock().unwrap().records.clear();
    fake.put(IN_USMF, json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "theirs"}));
    let report = sent(&client, &operations, BatchShape::ChangeSet, History::InDoubt).await.unwrap();
    assert_eq!((fake.count(), report.culprit), (1, Some(0)), "{report:?}");
    assert_eq!(fake.value(IN_USMF, "Description"), "theirs");
}

#[tokio::test]
async fn an_atomic_upsert_asks_first_which_records_are_there() {
    let fake = Fake::start().await;
    let client = fake.client();
    fake.put(IN_USMF, json!({"dataAreaId": "usmf", "CustomerGroupId": "10", "Description": "old"}));
    let operations = groups(&client, Mode::Upsert, &["A", "B"]).await;
    assert!(all_written(&sent(&client, &operations, BatchShape::ChangeSet, History::New).await.unwrap()));
    let requests = fake.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0][0].starts_with("PATCH") && requests[0][1].starts_with("POST"));
    assert_eq!(fake.count(), 2);
}

#[tokio::test]
async fn more_rows_than_one_change_set_holds_are_refused_before_anything_is_sent() {
    let fake = Fake::start().await;
    let client = fake.client();
    let one = groups(&client, Mode::Insert, &["A"]).await;
    let operations = vec![one[0].clone(); super::OPERATIONS_MAX + 1];
    let fault = sent(&client, &operations, BatchShape::ChangeSet, History::New).await.unwrap_err();
    assert!(matches!(fault, SendFault::TooLarge { found: 5_001, max: 5_000, unit: "rows" }), "{fault:?}");
    assert_eq!(fake.requests().len(), 0);
}

// ---- companies -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_legal_entity_is_the_company_of_every_row_in_body_address_and_query() {
    let fake = Fake::start().await;
    let client = fake.client();
    let cells: [&[&str]; 1] = [&["10", "Retail"]];
    let inserts = operations(&client, &HEADERS, &cells, &settings(Mode::Insert, "ussi")).await;
    assert_eq!(
        inserts[0].body.as_deref(),
        Some(r#"{"dataAreaId":"ussi","CustomerGroupId":"10","Description":"Retail"}"#)
    );
    assert_eq!(inserts[0].target_key, "dataAreaId='ussi',CustomerGroupId='10'");
    assert!(all_written(&sent(&client, &inserts, BatchShape::Independent, History::New).await.unwrap()));
    let updates = operations(&client, &HEADERS, &cells, &settings(Mode::Update, "ussi")).await;
    assert_eq!(updates[0].body.as_deref(), Some(r#"{"Description":"Retail"}"#));
    assert!(all_written(&sent(&client, &updates, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.value(IN_USSI, "Description"), "Retail");
}

#[tokio::test]
async fn rows_may_name_their_companies_themselves_and_a_contradiction_is_told() {
    let fake = Fake::start().await;
    let client = fake.client();
    let headers = ["Data area ID", "CUSTOMERGROUPID", "Description"];
    let cells: [&[&str]; 3] = [&["USSI", "10", "A"], &["usmf", "20", "B"], &["", "30", "C"]];
    let found = encoded(&client, &headers, &cells, &settings(Mode::Upsert, "ussi")).await;
    let refusal = &found[1].as_ref().unwrap_err()[0];
    assert_eq!(refusal.column.as_deref(), Some("Data_area_ID"));
    assert_eq!(refusal.cause, "the row is of company `usmf`, but the sidecar's `legal_entity` says `ussi`");
    assert!(found[2].as_ref().unwrap().path.contains("dataAreaId='ussi'"));
    assert!(found[0].is_ok(), "USSI is ussi");
}

#[tokio::test]
async fn without_a_company_rows_go_to_the_default_one_once_it_can_be_told() {
    let fake = Fake::start().await;
    let client = fake.client();
    let cells: [&[&str]; 1] = [&["10", "Retail"]];
    // Nothing is there that could tell its name: an insert lets the service choose, an update needs to know.
    let told = problem(&client, &HEADERS, &settings(Mode::Upsert, "")).await;
    assert!(told.contains("name the company with `legal_entity`"), "{told}");
    let inserts = operations(&client, &HEADERS, &cells, &settings(Mode::Insert, "")).await;
    assert_eq!(inserts[0].path, "CustomerGroups");
    fake.script([Fault::CutAfterCommit]);
    let report = sent(&client, &inserts, BatchShape::Independent, History::New).await.unwrap();
    assert!(all_written(&report), "asked for, now that the company shows itself: {report:?}");
    assert_eq!(fake.count(), 1);
    let fresh = fake.client();
    let upserts = operations(&fresh, &HEADERS, &cells, &settings(Mode::Upsert, "")).await;
    assert_eq!(upserts[0].target_key, "dataAreaId='usmf',CustomerGroupId='10'");
    // Where reads show all companies, none of them is taken for the default one.
    fake.put(IN_USSI, json!({"dataAreaId": "ussi", "CustomerGroupId": "10"}));
    fake.world.lock().unwrap().unfiltered = true;
    let told = problem(&fake.client(), &HEADERS, &settings(Mode::Update, "")).await;
    assert!(told.contains("records of several companies are shown"), "{told}");
}

#[tokio::test]
async fn a_key_that_the_default_company_completes_is_taken_from_the_answer() {
    let fake = Fake::start().await;
    let client = fake.client();
    let cells: [&[&str]; 1] = [&["10", "Retail"]];
    let inserts = operations(&client, &HEADERS, &cells, &settings(Mode::Insert, "")).await;
    let report = sent(&client, &inserts, BatchShape::Independent, History::New).await.unwrap();
    assert_eq!(report.made, [(0, "dataAreaId='usmf',CustomerGroupId='10'".to_owned())]);
}

#[tokio::test]
async fn a_shared_entity_has_no_company_and_says_so() {
    let fake = Fake::start().await;
    let client = fake.client();
    let units = |company: &str| LoadSettings {
        target_entity: "Units of measure".into(),
        ..settings(Mode::Upsert, company)
    };
    let told = problem(&client, &["UnitSymbol", "Name"], &units("usmf")).await;
    assert!(told.contains("`UnitsOfMeasure` is shared by all companies"), "{told}");
    let cells: [&[&str]; 1] = [&["pcs", "Pieces"]];
    let upserts = operations(&client, &["UnitSymbol", "Name"], &cells, &units("")).await;
    assert_eq!(upserts[0].path, "UnitsOfMeasure(UnitSymbol='pcs')");
    assert!(all_written(&sent(&client, &upserts, BatchShape::Independent, History::New).await.unwrap()));
    assert_eq!(fake.value("UnitsOfMeasure(UnitSymbol='pcs')", "Name"), "Pieces");
}

// ---- plans and values ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn everything_that_cannot_be_is_told_at_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    let mut with = settings(Mode::Upsert, "usmf");
    let rule = LookupRule { entity: None, column: "Name".into() };
    with.lookups.insert("PaymentTermId".into(), rule);
    let told = problem(&client, &["CustomerGroupId", "Descripton", "PaymentTermId"], &with).await;
    assert!(told.contains("did you mean `Description`"), "{told}");
    assert!(told.contains("`lookups` is a setting of Dataverse"), "{told}");
    let told = problem(&client, &["Description"], &settings(Mode::Update, "usmf")).await;
    assert!(told.contains("the whole key of `CustomerGroups`, dataAreaId + CustomerGroupId"), "{told}");
    let mut with = settings(Mode::Upsert, "usmf");
    with.key = vec!["Description".into()];
    let told = problem(&client, &HEADERS, &with).await;
    assert!(told.contains("has one key and no other: dataAreaId + CustomerGroupId"), "{told}");
    with.key = vec!["CustomerGroupId".into()];
    assert!(plan(&client, &HEADERS, &with).await.is_ok());
    let told = problem(&client, &HEADERS, &settings(Mode::Edit, "usmf")).await;
    assert!(told.contains("mode `edit` goes by the ids of Dataverse"), "{told}");
    let told = problem(&client, &["CustomerGroupId", "Origin"], &settings(Mode::Update, "usmf")).await;
    assert!(told.contains("Origin cannot be set when a record is updated"), "{told}");
    let fault = client.entity("CustomerGruops").await.unwrap_err().to_string();
    assert!(fault.contains("did you mean `CustomerGroups`"), "{fault}");
    assert_eq!(fake.world.lock().unwrap().metadata_reads, 1, "read once for all");
}

#[tokio::test]
async fn values_are_spelled_as_the_service_takes_them_and_blanks_are_left_or_cleared() {
    let fake = Fake::start().await;
    let client = fake.client();
    let headers =
        ["CustomerGroupId", "Description", "Since", "CreditLimit", "Is sales tax included in price"];
    let cells: [&[&str]; 2] = [&["10", "R", "2026-11-24", "1500.5", "true"], &["20", "W", "", "", ""]];
    let mut with = settings(Mode::Upsert, "usmf");
    let leave = operations(&client, &headers, &cells, &with).await;
    assert_eq!(
        leave[0].body.as_deref(),
        Some(
            r#"{"Description":"R","Since":"2026-11-24T12:00:00Z","CreditLimit":1500.5,"IsSalesTaxIncludedInPrice":"Yes"}"#
        )
    );
    assert_eq!(leave[1].body.as_deref(), Some(r#"{"Description":"W"}"#));
    with.blank = BlankRule::Clear;
    let clear = operations(&client, &headers, &cells, &with).await;
    assert_eq!(
        clear[1].body.as_deref(),
        Some(
            r#"{"Description":"W","Since":"1900-01-01T12:00:00Z","CreditLimit":0,"IsSalesTaxIncludedInPrice":"No"}"#
        )
    );
    let bad: [&[&str]; 1] = [&["12345678901", "", "1899-12-31", "1.234", "maybe"]];
    let found = encoded(&client, &headers, &bad, &settings(Mode::Insert, "usmf")).await;
    let told: Vec<&str> =
        found[0].as_ref().unwrap_err().iter().map(|refusal| refusal.cause.as_str()).collect();
    for (told, wanted) in told.iter().zip([
        "takes at most 10",
        "Description must have a value",
        "1900-01-01 to 2154-12-31",
        "1.234",
        "`maybe` is not one of the choices",
    ]) {
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(told.len(), 5);
}

#[tokio::test]
async fn we_are_let_in_without_a_who_am_i() {
    let fake = Fake::start().await;
    assert_eq!(fake.client().who_am_i().await.unwrap(), "we are let in, and it has 3 entities");
}

// ---- read back and deleted -----------------------------------------------------------------------------------------

#[tokio::test]
async fn records_are_read_back_by_their_keys_and_deleted_only_as_the_version_that_was_read() {
    let fake = Fake::start().await;
    let client = fake.client();
    let plan = plan(&client, &HEADERS, &settings(Mode::Insert, "usmf")).await.unwrap();
    let record = |company: &str, id: &str, text: &str, etag: &str| json!({"dataAreaId": company, "CustomerGroupId": id, "Description": text, "@odata.etag": etag});
    fake.put(IN_USMF, record("usmf", "10", "Retail", "W/\"one\""));
    fake.put(IN_USSI, record("ussi", "10", "Whole", "W/\"two\""));
    let key = |company: &str, id: &str| Record::Key(format!("dataAreaId='{company}',CustomerGroupId='{id}'"));
    let keys = [key("USMF", "10"), key("ussi", "10"), key("usmf", "20")];
    let sought: Vec<Sought> = keys.iter().map(|key| Sought::record(&plan, key).unwrap()).collect();
    fake.queries();
    let found = client.read_back(&plan, &sought).await.unwrap().found;
    let etags: Vec<Option<&str>> =
        found.iter().map(|found| found.as_ref().and_then(|found| found.etag.as_deref())).collect();
    assert_eq!(etags, [Some("W/\"one\""), Some("W/\"two\""), None]);
    let queries = fake.queries();
    assert_eq!(queries.len(), 1, "many in one question: {queries:?}");
    assert!(queries[0].ends_with("&cross-company=true"), "{queries:?}");
    let partial = Record::Key("dataAreaId='usmf'".to_owned());
    assert!(
        Sought::record(&plan, &partial).is_none()
            && plan.deletion(RowId(Uuid::nil()), &partial, None).is_none()
    );

    // Another value than was sent, in another company's record of the same number.
    let operations = groups(&client, Mode::Insert, &["Retail"]).await;
    let sought =
        [keys[0].clone(), keys[1].clone()].map(|key| Sought::of(&plan, &operations[0], Some(&key)).unwrap());
    let found = client.read_back(&plan, &sought).await.unwrap().found;
    let differences: Vec<usize> = found.iter().flatten().map(|found| found.differences.len()).collect();
    assert_eq!(differences, [0, 1]);

    let etags = ["W/\"one\"", "W/\"old\""];
    let deletions: Vec<Operation> = keys
        .iter()
        .zip(etags)
        .map(|(key, etag)| plan.deletion(RowId(Uuid::nil()), key, Some(etag)).unwrap())
        .collect();
    fake.script([Fault::Row { holding: "ussi", status: 412, message: "An update conflict occurred" }]);
    fake.world.lock().unwrap().records.remove(IN_USMF);
    let report = sent(&client, &deletions, BatchShape::Independent, History::InDoubt).await.unwrap();
    assert!(written(&report.outcomes[0]), "it is gone, which is all that is wanted: {report:?}");
    assert!(refusals(&report)[1].is_some_and(|refusal| refusal.error.starts_with("412")), "{report:?}");
    assert_eq!(report.attempts, 1, "what was asked of one version is not asked of another one");
    let body = fake.world.lock().unwrap().bodies.pop().unwrap();
    assert!(etags.iter().all(|etag| body.contains(&format!("\r\nIf-Match: {etag}\r\n"))), "{body}");
}
