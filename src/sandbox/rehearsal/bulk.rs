//! `CreateMultiple`, `UpdateMultiple` and `UpsertMultiple` over HTTP: all or none.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::Fault;
use super::{World, change_set, outcome, part, statuses};

const CREATE: &str = "accounts/Microsoft.Dynamics.CRM.CreateMultiple";
const UPDATE: &str = "accounts/Microsoft.Dynamics.CRM.UpdateMultiple";
const UPSERT: &str = "accounts/Microsoft.Dynamics.CRM.UpsertMultiple";

/// A target of this table with these properties.
fn target(mut properties: Json) -> Json {
    properties["@odata.type"] = json!("Microsoft.Dynamics.CRM.account");
    properties
}

fn targets(list: impl IntoIterator<Item = Json>) -> Json {
    let list: Vec<Json> = list.into_iter().map(target).collect();
    json!({ "Targets": list })
}

#[tokio::test]
async fn targets_that_are_malformed_are_refused_and_nothing_is_stored() {
    let world = World::start().await;
    for (body, code) in [
        (json!({}), "0x80048d19"),
        (json!({ "Targets": {} }), "0x80048d19"),
        (json!({ "Targets": [] }), "0x80040203"),
        (json!({ "Targets": [{ "name": "no type" }] }), "0x80048d19"),
        (json!({ "Targets": ["text"] }), "0x80048d19"),
        (json!({ "Targets": [{ "@odata.type": "Microsoft.Dynamics.CRM.contact" }] }), "0x80048d19"),
        (json!({ "Targets": [target(json!({ "name": "x" }))], "Other": 1 }), "0x80048d19"),
    ] {
        assert_eq!(world.write("POST", CREATE, body.clone()).await, (400, code.into()), "{body}");
    }
    assert_eq!(world.request("GET", CREATE).send().await.unwrap().status(), 405);
    let unknown = world.write("POST", "accounts/Microsoft.Dynamics.CRM.Frobnicate", json!({})).await;
    assert_eq!(unknown, (404, "0x80060888".into()));
    assert_eq!(world.count("accounts").await, "0");
}

#[tokio::test]
async fn create_multiple_answers_with_the_ids_in_the_order_of_the_targets() {
    let world = World::start().await;
    let own = Uuid::from_u128(7);
    let body =
        targets([json!({ "name": "a" }), json!({ "name": "b", "accountid": own }), json!({ "name": "c" })]);
    let answer = world.request("POST", CREATE).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Json = answer.json().await.unwrap();
    let context =
        format!("{}/api/data/v9.2/$metadata#Microsoft.Dynamics.CRM.CreateMultipleResponse", world.base);
    assert_eq!(answer["@odata.context"], json!(context));
    let ids: Vec<&str> = answer["Ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    assert_eq!(ids[1], own.to_string());
    for (id, name) in ids.iter().zip(["a", "b", "c"]) {
        assert_eq!(world.get(&format!("accounts({id})?$select=name")).await["name"], json!(name));
    }
}

#[tokio::test]
async fn one_bad_target_takes_all_back_and_the_error_does_not_tell_which() {
    let world = World::start().await;
    let taken = world.create("accounts", json!({ "name": "t", "accountnumber": "T" })).await;
    for (bad, status, code) in [
        (json!({ "name": "x".repeat(161) }), 400, "0x80044331"),
        (json!({ "nam": "x" }), 400, "0x80048d19"),
        (json!({ "accountnumber": "T" }), 412, "0x80060892"),
        (json!({ "accountid": taken }), 412, "0x80040237"),
        (
            json!({ "primarycontactid@odata.bind": format!("/contacts({})", Uuid::from_u128(9)) }),
            404,
            "0x80040217",
        ),
    ] {
        let rows = (0..20).map(|n| if n == 13 { bad.clone() } else { json!({ "name": format!("row {n}") }) });
        let answer = world.request("POST", CREATE).json(&targets(rows)).send().await.unwrap();
        let found = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        let error: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((found, error["error"]["code"].as_str()), (status, Some(code)), "{bad}");
        assert!(!text.contains("13"), "{text}");
    }
    assert_eq!(world.count("accounts").await, "1");
}

#[tokio::test]
async fn update_multiple_changes_what_is_there_and_refuses_what_is_not() {
    let world = World::start().await;
    let first = world.create("accounts", json!({ "name": "a", "accountnumber": "A" })).await;
    let second = world.create("accounts", json!({ "name": "b" })).await;
    let body = targets([
        json!({ "accountid": first, "revenue": 1 }),
        json!({ "accountid": second, "revenue": 2 }),
        json!({ "@odata.id": "accounts(accountnumber='A')", "telephone1": "5" }),
    ]);
    assert_eq!(world.write("POST", UPDATE, body).await, (204, String::new()));
    let row = world.get(&format!("accounts({first})")).await;
    assert_eq!((&row["revenue"], &row["telephone1"]), (&json!(1.0), &json!("5")));

    let stranger = Uuid::from_u128(1);
    let body = targets([
        json!({ "accountid": second, "name": "gone" }),
        json!({ "accountid": stranger, "name": "x" }),
    ]);
    let answer = world.request("POST", UPDATE).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    let text = answer.text().await.unwrap();
    assert!(text.contains(&format!("Account With Ids = {stranger} Do Not Exist")), "{text}");
    assert_eq!(world.get(&format!("accounts({second})")).await["name"], json!("b"));
    let nameless = world.write("POST", UPDATE, targets([json!({ "name": "x" })])).await;
    assert_eq!(nameless, (400, "0x80040203".into()));
}

#[tokio::test]
async fn upsert_multiple_takes_ids_and_alternate_keys_but_no_key_column_twice() {
    let world = World::start().await;
    let own = Uuid::from_u128(3);
    let body = targets([
        json!({ "accountid": own, "name": "by id" }),
        json!({ "@odata.id": "accounts(accountnumber='K''1')", "name": "by key" }),
    ]);
    for _ in 0..2 {
        let answer = world.request("POST", UPSERT).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 204);
        assert_eq!(answer.text().await.unwrap(), "");
    }
    assert_eq!(world.count("accounts").await, "2");
    assert_eq!(world.get("accounts(accountnumber='K''1')").await["name"], json!("by key"));
    // A single PATCH ignores the column that repeats its key; the bulk action does not (dynamics.md §2.5).
    let repeated = json!({ "@odata.id": "accounts(accountnumber='K2')", "accountnumber": "K2", "name": "x" });
    assert_eq!(world.write("POST", UPSERT, targets([repeated])).await, (400, "0x80048d19".into()));
    let other = json!({ "@odata.id": format!("contacts({own})"), "name": "x" });
    assert_eq!(world.write("POST", UPSERT, targets([other])).await, (400, "0x80048d19".into()));
    assert_eq!(world.count("accounts").await, "2");
}

#[tokio::test]
async fn some_tables_have_no_bulk_messages_and_say_so_beforehand() {
    let world = World::start().await;
    let probe = |message: &str, table: &str| {
        format!(
            "sdkmessagefilters?$select=sdkmessagefilterid&$filter=sdkmessageid/name eq @message and \
             primaryobjecttypecode eq @table&@message='{message}'&@table='{table}'"
        )
    };
    for (message, table, found) in [
        ("CreateMultiple", "account", 1),
        ("UpsertMultiple", "contact", 1),
        ("CreateMultiple", "product", 0),
        ("Create", "product", 1),
        ("DeleteMultiple", "account", 0),
        ("CreateMultiple", "nothing", 0),
    ] {
        let answer = world.get(&probe(message, table)).await;
        let value = answer["value"].as_array().unwrap();
        assert_eq!(value.len(), found, "{message} of {table}");
        assert!(value.iter().all(|filter| filter["sdkmessagefilterid"].is_string()));
    }
    let body = json!({ "Targets": [{ "@odata.type": "Microsoft.Dynamics.CRM.product", "name": "x" }] });
    let refused = world.write("POST", "products/Microsoft.Dynamics.CRM.CreateMultiple", body).await;
    assert_eq!(refused, (400, "0x80040800".into()));
    let answer =
        world.request("POST", "accounts/Microsoft.Dynamics.CRM.DeleteMultiple").send().await.unwrap();
    assert_eq!(answer.status(), 501);
    assert!(answer.text().await.unwrap().contains("DeleteMultiple has not yet been implemented."));
}

#[tokio::test]
async fn a_bulk_action_inside_a_change_set_falls_with_it() {
    let world = World::start().await;
    let bulk = |id: &str, name: &str| {
        part("set", id, &format!("POST {CREATE}"), &targets([json!({ "name": name })]))
    };
    let good = change_set("set", &[bulk("1", "a"), bulk("2", "b")]);
    let answer = world.batch(&format!("{good}--batch_1--")).send().await.unwrap();
    assert_eq!(statuses(&answer.text().await.unwrap()), [200, 200]);
    let bad = change_set("set", &[bulk("1", "c"), bulk("2", &"x".repeat(161))]);
    let answer = world.batch(&format!("{bad}--batch_1--")).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert_eq!(statuses(&answer.text().await.unwrap()), [400]);
    assert_eq!(world.count("accounts").await, "2");
}

#[tokio::test]
async fn a_plug_in_that_refuses_one_target_refuses_the_action() {
    let rule = r#"{"on":{"kind":"operation","entity":"accounts","column":"name","value":"bad"},
                   "answer":{"code":"0x80040265","message":"Credit check failed."}}"#;
    let rule: Fault = serde_json::from_str(rule).unwrap();
    let world = World::with(|options| options.faults = vec![rule]).await;
    let rows = ["good", "bad"].map(|name| json!({ "name": name }));
    let answer = world.request("POST", CREATE).json(&targets(rows)).send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert_eq!(status, 400);
    assert!(text.contains("0x80040265") && text.contains("Credit check failed."), "{text}");
    assert_eq!(world.count("accounts").await, "0");
    let single = world.request("POST", "accounts").json(&json!({ "name": "bad" })).send().await.unwrap();
    assert_eq!(outcome(single).await, (400, "0x80040265".into()));
}
