//! Bulk actions: chosen by measurement, cut down to the bad rows, and never believed further than their answers go.

use super::*;

fn names(count: u32, bad: &[u32]) -> Vec<String> {
    let name = |n: u32| if bad.contains(&n) { format!("Refused {n}") } else { format!("N{n}") };
    (1..=count).map(name).collect()
}

async fn operations(client: &Dynamics, mode: Mode, names: &[String]) -> Vec<Operation> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    named(client, mode, &names).await
}

async fn bulk() -> (Fake, Dynamics) {
    let fake = Fake::start().await;
    fake.world.lock().unwrap().bulk = true;
    let client = fake.client();
    (fake, client)
}

/// Sends rows until the ways were measured and requests have grown; bulk actions are much the faster.
async fn warmed_up() -> (Fake, Dynamics) {
    let (fake, client) = bulk().await;
    fake.world.lock().unwrap().operation_takes = Duration::from_micros(300);
    let first = operations(&client, Mode::Insert, &names(4_000, &[])).await;
    let report = sent(&client, &first).await.unwrap();
    assert!(all_written(&report));
    let pace = client.pace().remove(0);
    assert_eq!((pace.doing, pace.way, pace.rows), ("CreateMultiple", Some(Way::Bulk), 1_000), "{pace:?}");
    {
        let mut world = fake.world.lock().unwrap();
        assert_eq!(world.records.len(), 4_000);
        assert!(world.batches.len() == 3 && world.actions.len() > 3, "each way was tried three times");
        world.records.clear();
        world.batches.clear();
        world.actions.clear();
    }
    (fake, client)
}

#[tokio::test]
async fn bad_rows_among_a_thousand_are_found_in_few_requests_with_the_services_own_words() {
    // Halving finds a row among n in log2(n) steps of two requests; what is left of few rows goes each for itself.
    for (bad, most) in [(vec![500], 16), (vec![1, 500, 1_000], 40), ((1..=10).map(|n| n * 97).collect(), 80)]
    {
        let (fake, client) = warmed_up().await;
        let rows = operations(&client, Mode::Insert, &names(1_000, &bad)).await;
        let report = sent(&client, &rows).await.unwrap();
        for (number, outcome) in (1..).zip(&report.outcomes) {
            assert_eq!(!is_written(outcome), bad.contains(&number), "row {number}");
        }
        let first = refusal(&report.outcomes[bad[0] as usize - 1]);
        assert_eq!(first.column.as_deref(), Some("name"));
        assert!(first.error.starts_with("400 0x80044331: The length of the 'name'"), "{first:?}");
        assert_eq!(fake.records().len(), 1_000 - bad.len());
        assert!(report.attempts <= most, "{} requests for {} bad rows", report.attempts, bad.len());
        assert!(!fake.world.lock().unwrap().actions.is_empty());
    }
}

#[tokio::test]
async fn without_a_measured_gain_a_refused_action_goes_each_for_itself_at_once() {
    let (fake, client) = bulk().await;
    let rows = operations(&client, Mode::Insert, &names(100, &[40])).await;
    let report = sent(&client, &rows).await.unwrap();
    assert!(!is_written(&report.outcomes[39]) && report.attempts == 2, "{}", report.attempts);
    let world = fake.world.lock().unwrap();
    assert_eq!((world.actions.len(), world.batches.len(), world.records.len()), (1, 1, 99));
}

#[tokio::test]
async fn an_action_whose_answer_was_cut_is_repeated_as_an_upsert_and_creates_nothing_twice() {
    let (fake, client) = bulk().await;
    let rows = operations(&client, Mode::Insert, &names(50, &[])).await;
    fake.script([Fault::CutAfterCommit]);
    let report = sent(&client, &rows).await.unwrap();
    assert!(effects(&report).iter().all(|effect| *effect == (Effect::Created, None)));
    assert_eq!(fake.records().len(), 50);
    let actions: Vec<String> =
        fake.world.lock().unwrap().actions.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(actions[0], "CreateMultiple");
    assert!(!actions[1..].contains(&"CreateMultiple".to_owned()), "{actions:?}");
    // The whole once more, as after a crash: nothing is created again.
    let report = client.send(&rows, BatchShape::Independent, History::InDoubt, &quiet).await.unwrap();
    assert!(all_written(&report) && fake.records().len() == 50);
}

#[tokio::test]
async fn a_record_that_is_there_already_refuses_all_and_all_are_written_over() {
    let (fake, client) = bulk().await;
    fake.put(&path(7), json!({"name": "old"}));
    let rows = operations(&client, Mode::Insert, &names(30, &[])).await;
    let report = sent(&client, &rows).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2, "{}", report.attempts);
    assert_eq!(fake.records()[&path(7)]["name"], "N7");
}

#[tokio::test]
async fn an_insert_by_a_key_knows_after_all_which_records_were_there() {
    let (fake, client) = bulk().await;
    let by_key = settings(Mode::Insert, &["accountnumber"]);
    let plan = plan(&client, &["accountnumber", "name"], &by_key).await.unwrap();
    let rows: Vec<StagedRow> = (1..=40).map(|number| row(number, &[&format!("A-{number}"), "Any"])).collect();
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let rows: Vec<Operation> = encoded.into_iter().map(|one| one.unwrap()).collect();
    let first = sent(&client, &rows[..20]).await.unwrap();
    assert!(effects(&first).iter().all(|effect| effect.0 == Effect::Created));
    let all = effects(&sent(&client, &rows).await.unwrap());
    assert!(all[..20].iter().all(|effect| effect.0 == Effect::Updated), "{all:?}");
    assert!(all[20..].iter().all(|effect| effect.0 == Effect::Created), "{all:?}");
    assert_eq!(fake.records().len(), 40);
}

#[tokio::test]
async fn ids_that_are_not_ours_are_not_believed() {
    let (fake, client) = bulk().await;
    fake.world.lock().unwrap().foreign_ids = true;
    let rows = operations(&client, Mode::Insert, &names(20, &[])).await;
    let report = sent(&client, &rows).await.unwrap();
    assert!(all_written(&report) && report.attempts == 2);
    assert!(report.trouble.unwrap().error.contains("ids of 20 rows are missing"));
    assert_eq!(fake.world.lock().unwrap().batches.len(), 1);
}

#[tokio::test]
async fn updates_and_upserts_go_together_and_a_missing_record_costs_only_its_row() {
    let (fake, client) = bulk().await;
    for number in (1..=40).filter(|number| *number != 13) {
        fake.put(&path(number), json!({}));
    }
    let rows = operations(&client, Mode::Update, &names(40, &[])).await;
    let report = sent(&client, &rows).await.unwrap();
    assert_eq!(refusal(&report.outcomes[12]).cause, format!("there is no record {} to update", id(13)));
    assert_eq!(report.outcomes.iter().filter(|outcome| is_written(outcome)).count(), 39);
    let rows = operations(&client, Mode::Upsert, &names(40, &[])).await;
    assert!(all_written(&sent(&client, &rows).await.unwrap()));
    let actions = fake.world.lock().unwrap().actions.clone();
    assert_eq!(actions, [("UpdateMultiple".to_owned(), 40), ("UpsertMultiple".to_owned(), 40)]);
}

#[tokio::test]
async fn upserts_go_by_batch_unless_the_operator_gives_up_to_know_what_they_created() {
    let (fake, _) = bulk().await;
    let client = Dynamics::connect(ConnectSettings { bulk_upserts: false, ..fake.settings() }).unwrap();
    let rows = operations(&client, Mode::Upsert, &names(40, &[])).await;
    let report = sent(&client, &rows).await.unwrap();
    assert!(effects(&report).iter().all(|effect| effect.0 == Effect::Created));
    assert!(fake.world.lock().unwrap().actions.is_empty());
}

#[tokio::test]
async fn an_upsert_by_key_names_it_beside_the_values() {
    let (fake, client) = bulk().await;
    let by_key = settings(Mode::Upsert, &["accountnumber"]);
    let plan = plan(&client, &["accountnumber", "name"], &by_key).await.unwrap();
    let rows: Vec<StagedRow> =
        (1..=20).map(|number| row(number, &[&format!("A '{number}"), "Any"])).collect();
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let rows: Vec<Operation> = encoded.into_iter().map(|one| one.unwrap()).collect();
    assert!(all_written(&sent(&client, &rows).await.unwrap()));
    assert_eq!(fake.records()["accounts(accountnumber='A ''1')"], json!({"name": "Any"}));
    assert_eq!(fake.world.lock().unwrap().actions, [("UpsertMultiple".to_owned(), 20)]);
}

#[tokio::test]
async fn rows_that_name_one_record_twice_go_each_for_itself() {
    let (fake, client) = bulk().await;
    let mut rows = operations(&client, Mode::Insert, &names(30, &[])).await;
    rows[29] = rows[0].clone();
    assert!(all_written(&sent(&client, &rows).await.unwrap()));
    assert!(fake.world.lock().unwrap().actions.is_empty());
}

#[tokio::test]
async fn a_table_without_bulk_actions_goes_by_batch_and_is_asked_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    for _ in 0..2 {
        let rows = operations(&client, Mode::Insert, &names(30, &[])).await;
        assert!(all_written(&sent(&client, &rows).await.unwrap()));
    }
    let world = fake.world.lock().unwrap();
    let asked = world.queries.iter().filter(|query| query.starts_with("sdkmessagefilters")).count();
    assert_eq!((world.actions.len(), world.batches.len(), asked), (0, 2, 3));
}

#[tokio::test]
async fn an_action_that_the_service_does_not_know_after_all_is_given_up() {
    let (fake, client) = bulk().await;
    let body = r#"{"error":{"code":"0x80060888","message":"Resource not found for the segment 'Microsoft.Dynamics.CRM.CreateMultiple'."}}"#;
    fake.script([Fault::Answer { status: 404, headers: JSON.to_vec(), body }]);
    for _ in 0..2 {
        let rows = operations(&client, Mode::Insert, &names(30, &[])).await;
        assert!(all_written(&sent(&client, &rows).await.unwrap()));
    }
    assert_eq!(fake.world.lock().unwrap().actions.len(), 1);
}

#[tokio::test]
async fn a_time_out_makes_requests_smaller_and_refuses_nothing() {
    let (fake, client) = bulk().await;
    let rows = operations(&client, Mode::Insert, &names(100, &[])).await;
    let body = r#"{"error":{"code":"0x80044151","message":"Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2"}}"#;
    fake.script([Fault::Answer { status: 500, headers: JSON.to_vec(), body }]);
    let report = sent(&client, &rows).await.unwrap();
    assert!(all_written(&report) && report.attempts == 3);
    assert_eq!(client.pace()[0].rows, 50);
    assert_eq!(fake.records().len(), 100);
}

#[tokio::test]
async fn one_transaction_of_more_than_a_change_set_holds_is_one_action_or_refused_beforehand() {
    let (fake, client) = bulk().await;
    let entity = client.entity("accounts").await.unwrap();
    assert_eq!(client.transaction_rows_max(&entity, Mode::Insert).await, BULK_OPERATIONS_MAX);
    assert_eq!(client.transaction_rows_max(&entity, Mode::Delete).await, CHANGE_SET_OPERATIONS_MAX);
    let send = |rows: Vec<Operation>, history| {
        let client = client.clone();
        async move { client.send(&rows, BatchShape::ChangeSet, history, &quiet).await }
    };
    let refused = operations(&client, Mode::Insert, &names(1_200, &[700])).await;
    let report = send(refused, History::New).await.unwrap();
    assert!(report.outcomes.iter().all(|outcome| !is_written(outcome)));
    assert!(refusal(&report.outcomes[0]).cause.contains("The length of the 'name'"));
    assert!(fake.records().is_empty());
    let good = operations(&client, Mode::Insert, &names(1_200, &[])).await;
    fake.script([Fault::CutAfterCommit]);
    assert!(all_written(&send(good.clone(), History::New).await.unwrap()));
    assert!(all_written(&send(good, History::InDoubt).await.unwrap()));
    assert_eq!(fake.records().len(), 1_200);
    let actions = fake.world.lock().unwrap().actions.clone();
    let wanted = ["CreateMultiple", "CreateMultiple", "UpsertMultiple", "UpsertMultiple"];
    assert_eq!(actions, wanted.map(|name| (name.to_owned(), 1_200)));
    // Where there are none, a change set is the most.
    let plain = Fake::start().await;
    let entity = plain.client().entity("accounts").await.unwrap();
    assert_eq!(plain.client().transaction_rows_max(&entity, Mode::Insert).await, CHANGE_SET_OPERATIONS_MAX);
}
