//! Faults over HTTP: each kind, from single operations to torn answers.

use serde_json::{Value as Json, json};

use super::super::{Codes, Fault, Language, Voice};
use super::{World, change_set, create_part, outcome, part, statuses};

async fn with(rules: Json) -> World {
    let rules: Vec<Fault> = serde_json::from_value(rules).unwrap();
    World::with(|options| options.faults = rules).await
}

#[tokio::test]
async fn an_operation_that_fails_in_a_batch_costs_only_itself() {
    let world = with(json!([
        { "on": { "kind": "operation", "entity": "accounts", "request": 2, "sticky": true },
          "answer": { "code": "0x80040265", "message": "Not today." } },
    ]))
    .await;
    let body = ["a", "b", "c"].map(create_part).concat();
    for _ in 0..2 {
        let answer = world
            .batch(&format!("{body}--batch_1--"))
            .header("Prefer", "odata.continue-on-error")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        let text = answer.text().await.unwrap();
        assert_eq!(statuses(&text), [204, 400, 204]);
        assert!(text.contains("Not today."), "{text}");
    }
    assert_eq!(world.count("accounts").await, "4");
}

#[tokio::test]
async fn an_operation_that_fails_in_a_change_set_takes_it_back() {
    let world = with(json!([
        { "on": { "kind": "operation", "column": "name", "value": "b" }, "answer": { "code": "0x80044150" } },
    ]))
    .await;
    let parts = ["a", "b"].map(|name| part("set", name, "POST accounts", &json!({ "name": name })));
    let answer = world.batch(&format!("{}--batch_1--", change_set("set", &parts))).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    let text = answer.text().await.unwrap();
    assert!(text.contains("Content-ID: b") && text.contains("Sql Number: 1205"), "{text}");
    assert_eq!(world.count("accounts").await, "0");
}

#[tokio::test]
async fn updates_and_deletes_can_fail_too() {
    let world = with(json!([
        { "on": { "kind": "operation", "entity": "accounts", "request": 2 }, "answer": { "code": "0x80044151" } },
        { "on": { "kind": "operation", "entity": "accounts", "request": 3 }, "answer": { "code": "0x80040265" } },
    ]))
    .await;
    let id = world.create("accounts", json!({ "name": "a" })).await;
    let path = format!("accounts({id})");
    assert_eq!(world.write("PATCH", &path, json!({ "name": "b" })).await, (500, "0x80044151".into()));
    let deleted = world.request("DELETE", &path).send().await.unwrap();
    assert_eq!(outcome(deleted).await, (400, "0x80040265".into()));
    assert_eq!(world.get(&path).await["name"], json!("a"));
}

#[tokio::test]
async fn an_answer_torn_in_the_middle_was_carried_out() {
    let world = with(json!([{ "on": { "request": 1 }, "answer": { "cut": "during" } }])).await;
    let body = format!("{}--batch_1--", create_part("x").repeat(50));
    let answer = world.batch(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.is_err());
    assert_eq!(world.count("accounts").await, "50");
}

#[tokio::test]
async fn every_transient_error_of_the_catalogue_comes_with_its_status_and_text() {
    // Source: dynamics.md §7.1.
    for (code, status) in [
        ("0x80072322", 429),
        ("0x80072321", 429),
        ("0x80072326", 429),
        ("0x8005F103", 429),
        ("0x80072324", 429),
        ("0x80072323", 503),
        ("0x8004A001", 503),
        ("0x80044150", 500),
        ("0x80044151", 500),
        ("0x80131501", 500),
        ("0x80073000", 500),
        ("0x8004ED47", 500),
        ("0x80154B53", 500),
        ("0x8004418D", 500),
        ("0x8004418E", 500),
        ("0x80044171", 500),
        ("0x80044172", 500),
        ("0x80044173", 500),
        ("0x80081111", 500),
        ("0x80060882", 412),
        ("0x80048543", 500),
        ("0x80040216", 500),
        ("0x8004A101", 401),
    ] {
        let world = with(json!([{ "on": { "kind": "write" }, "answer": { "code": code } }])).await;
        let answer = world.request("POST", "accounts").json(&json!({ "name": "x" })).send().await.unwrap();
        assert_eq!(answer.status(), status, "{code}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401, "{code}");
        let body: Json = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], json!(code));
        assert!(!body["error"]["message"].as_str().unwrap().is_empty(), "{code}");
        assert_eq!(world.count("accounts").await, "0");
    }
}

#[tokio::test]
async fn gateways_answer_with_html_and_waits_come_in_every_form() {
    for status in [408, 502, 503, 504] {
        let world =
            with(json!([{ "on": { "kind": "read" }, "answer": { "status": status, "html": true } }])).await;
        let answer = world.request("GET", "accounts").send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "text/html");
    }
    for (told, wanted) in [(json!("2.5"), 3), (json!("86400"), 5), (json!("date+5"), 29), (Json::Null, 0)] {
        let mut answer = json!({ "status": 429 });
        if told.is_string() {
            answer["retry_after"] = told.clone();
        }
        let world = with(json!([{ "on": { "kind": "read" }, "answer": answer }])).await;
        let answer = world.request("GET", "accounts").send().await.unwrap();
        let length = answer.headers().get("retry-after").map_or(0, |value| value.len());
        assert_eq!(length, wanted, "{told}");
    }
}

#[tokio::test]
async fn a_server_may_speak_german_in_mixed_case_or_leave_its_codes_out() {
    let voice = Voice { codes: Codes::Mixed, empty_codes: true, language: Language::German };
    let world = World::with(|options| options.voice = voice).await;
    let too_long = json!({ "name": "x".repeat(161) });
    let answer = world.request("POST", "accounts").json(&too_long).send().await.unwrap();
    let body: Json = answer.json().await.unwrap();
    assert_eq!(body["error"]["code"], json!("0x80044331"));
    assert!(body["error"]["message"].as_str().unwrap().starts_with("Überprüfungsfehler"), "{body}");
    let absent = world.request("GET", "accounts(accountnumber='x')").send().await.unwrap();
    assert_eq!(outcome(absent).await, (404, String::new()));
    // The parts of a batch speak as the rest does.
    let batch = format!("{}--batch_1--", part("batch_1", "", "POST accounts", &too_long));
    let text = world.batch(&batch).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("Überprüfungsfehler"), "{text}");
}
