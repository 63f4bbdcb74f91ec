//! `$batch`: the forms that clients send, what a failure costs, and how it is told.

use reqwest::RequestBuilder;
use serde_json::{Value as Json, json};

use super::{World, customer, refusal};

impl World {
    fn batch(&self, body: &str) -> RequestBuilder {
        self.request("POST", "$batch")
            .header("Content-Type", "multipart/mixed;boundary=batch_1")
            .body(body.replace('\n', "\r\n"))
    }

    /// Status and body of a batch.
    async fn sent(&self, body: &str) -> (u16, String) {
        let answer = self.batch(body).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

/// One operation, with its Content-ID among the inner headers.
fn operation(boundary: &str, content_id: &str, request: &str, body: &Json) -> String {
    format!(
        "--{boundary}\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n{request} HTTP/1.1\n\
         Content-ID: {content_id}\nAccept: application/json;q=0.9, */*;q=0.1\nOData-Version: 4.0\n\
         Content-Type: application/json\nOData-MaxVersion: 4.0\n\n{body}\n"
    )
}

fn change_set(boundary: &str, operations: &[String]) -> String {
    format!(
        "--batch_1\nContent-Type: multipart/mixed; boundary={boundary}\n\n{}--{boundary}--\n\n",
        operations.concat()
    )
}

fn group(id: &str) -> Json {
    json!({ "CustomerGroupId": id, "Description": id, "dataAreaId": "usmf" })
}

/// Each operation in a change set of its own.
fn apart(requests: &[(&str, Json)]) -> String {
    let sets = requests.iter().enumerate().map(|(index, (request, body))| {
        let boundary = format!("changeset_{index}");
        change_set(&boundary, &[operation(&boundary, &(index + 1).to_string(), request, body)])
    });
    sets.collect::<String>() + "--batch_1--"
}

fn statuses(body: &str) -> Vec<u16> {
    let status = |line: &str| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok();
    body.lines().filter_map(status).collect()
}

fn content_ids(body: &str) -> Vec<&str> {
    body.lines().filter_map(|line| line.strip_prefix("Content-ID: ")).collect()
}

#[tokio::test]
async fn every_operation_in_a_change_set_of_its_own_has_an_answer_of_its_own() {
    let world = World::start().await;
    let absolute = format!("POST {}/data/CustomerGroups", world.base);
    let (status, body) = world
        .sent(&apart(&[
            ("POST CustomerGroups?cross-company=true", group("10")),
            ("POST /data/CustomerGroups", group("20")),
            (&absolute, group("30")),
            ("POST CustomerGroups", group("10")),
            ("PATCH CustomerGroups(dataAreaId='usmf',CustomerGroupId='20')", json!({ "Description": "new" })),
            ("DELETE CustomerGroups(dataAreaId='usmf',CustomerGroupId='30')", json!({})),
        ]))
        .await;
    assert_eq!(status, 200);
    assert_eq!(statuses(&body), [201, 201, 201, 400, 204, 204]);
    assert_eq!(content_ids(&body), ["1", "2", "3", "4", "5", "6"]);
    assert!(body.starts_with("--batchresponse_"));
    assert!(body.contains("boundary=changesetresponse_"));
    assert!(body.contains("\"CustomerGroupId\":\"10\",\"ClearingPeriodPaymentTermName\":\"\""));
    assert!(body.contains("Customer group: 10.\\nThe record already exists.."));
    assert_eq!(world.found("CustomerGroups", "Description").await, ["10", "new"]);
}

#[tokio::test]
async fn a_change_set_is_carried_out_whole_or_not_at_all() {
    let world = World::start().await.with_groups().await;
    let set = |ids: [&str; 3]| {
        let operations: Vec<String> = ids
            .iter()
            .enumerate()
            .map(|(index, id)| operation("set", &(index + 1).to_string(), "POST CustomerGroups", &group(id)))
            .collect();
        change_set("set", &operations) + "--batch_1--"
    };
    let (status, body) = world.sent(&set(["A", "B", "10"])).await;
    // One answer for the whole set, in a batch that itself went well, under the first operation's id: as observed.
    assert_eq!((status, statuses(&body), content_ids(&body)), (200, vec![400], vec!["1"]));
    assert!(body.contains("Customer group: 10.\\nThe record already exists.."));
    assert_eq!(world.count("CustomerGroups/$count").await, "1");
    let (status, body) = world.sent(&set(["A", "B", "C"])).await;
    assert_eq!(
        (status, statuses(&body), content_ids(&body)),
        (200, vec![201, 201, 201], vec!["1", "2", "3"])
    );
    assert_eq!(world.count("CustomerGroups/$count").await, "4");

    let other = World::differing(|options| {
        options.failed_batches.first_is_blamed = false;
        options.failed_batches.failure_shows = true;
        options.failure_status = 500;
    })
    .await
    .with_groups()
    .await;
    let (status, body) = other.sent(&set(["A", "B", "10"])).await;
    assert_eq!((status, statuses(&body), content_ids(&body)), (500, vec![500], vec!["3"]));
}

#[tokio::test]
async fn whether_a_batch_goes_on_after_a_failure_is_a_switch() {
    let world = World::differing(|options| options.failed_batches.go_on = false).await;
    let requests =
        [("POST Currencies", json!({ "Nothing": 1 })), ("POST Currencies", json!({ "CurrencyCode": "EUR" }))];
    let (status, body) = world.sent(&apart(&requests)).await;
    assert_eq!((status, statuses(&body)), (400, vec![400]));
    assert_eq!(world.count("Currencies/$count").await, "0");
    let answer =
        world.batch(&apart(&requests)).header("Prefer", "odata.continue-on-error").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(statuses(&answer.text().await.unwrap()), [400, 201]);
}

#[tokio::test]
async fn a_batch_that_is_none_is_refused_before_anything_runs() {
    let world = World::start().await;
    let body = json!({ "requests": [{ "id": "1", "method": "POST", "url": "Currencies", "body": { "CurrencyCode": "EUR" } }] });
    let answer = world.send("POST", "$batch", &body).await;
    assert_eq!(answer.status(), 415, "a batch in JSON");
    assert_eq!(world.request("GET", "$batch").send().await.unwrap().status(), 405);
    let answer = world
        .batch("--batch_1\nContent-Type: application/http\n\nGET Currencies HTTP/1.1\n")
        .send()
        .await
        .unwrap();
    let (status, text) = refusal(answer).await;
    assert_eq!(status, 400);
    assert!(text.contains("ends before its last boundary"), "{text}");
    let read = "--batch_1\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\nGET Currencies/$count HTTP/1.1\n\n\n";
    let (status, answer) = world.sent(&format!("{}--batch_1--", read.repeat(5_000))).await;
    assert_eq!((status, statuses(&answer).len()), (200, 5_000));
    let (status, answer) = world.sent(&format!("{}--batch_1--", read.repeat(5_001))).await;
    assert_eq!(status, 400);
    assert!(answer.contains("5000"), "{answer}");
}

#[tokio::test]
async fn the_same_content_id_may_stand_in_two_change_sets_and_may_be_missing() {
    let world = World::start().await;
    let set = |boundary: &str, code: &str, id: &str| {
        let body = json!({ "CurrencyCode": code });
        let text = operation(boundary, id, "POST Currencies", &body);
        change_set(boundary, &[if id.is_empty() { text.replace("Content-ID: \n", "") } else { text }])
    };
    let sets = [set("a", "EUR", "1"), set("b", "USD", "1"), set("c", "CHF", "")].concat() + "--batch_1--";
    let (status, body) = world.sent(&sets).await;
    assert_eq!((status, statuses(&body), content_ids(&body)), (200, vec![201, 201, 201], vec!["1", "1"]));
    // A customer of a group that the same change set makes is found.
    let body = change_set(
        "d",
        &[
            operation("d", "1", "POST CustomerGroups", &group("10")),
            operation("d", "2", "POST CustomersV3", &customer("US-1")),
        ],
    ) + "--batch_1--";
    assert_eq!(statuses(&world.sent(&body).await.1), [201, 201]);
}
