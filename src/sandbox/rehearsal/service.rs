//! Records, batches, change sets, pages and metadata as their clients meet them.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::{Cut, Fault, Sandbox, SandboxError, SandboxOptions};
use super::{World, change_set, create_part, outcome, part, statuses, store_in};

#[tokio::test]
async fn nobody_gets_in_without_a_token_that_is_ours_and_alive() {
    let world = World::with(|options| options.client_secret = Some("any".into())).await;
    let anonymous = world.client.get(format!("{}/api/data/v9.2/accounts", world.base)).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers().contains_key("www-authenticate"));
    let wrong = world.ask_token("other").await;
    assert_eq!(wrong.status(), 401);
    assert!(wrong.text().await.unwrap().contains("AADSTS7000215"));

    let expiring = World::with(|options| options.token_life_s = 0).await;
    assert_eq!(
        outcome(expiring.request("GET", "accounts").send().await.unwrap()).await,
        (401, "0x8004A101".into())
    );
}

#[tokio::test]
async fn a_record_is_created_read_and_deleted() {
    let world = World::start().await;
    let contact = world.create("contacts", json!({ "firstname": "Ann", "lastname": "Lee" })).await;
    let own = Uuid::from_u128(42);
    let body = json!({
        "accountid": own, "name": "Müller & Söhne", "revenue": 12.345, "creditonhold": true, "industrycode": 7,
        "ddu_channels": "9, 1", "ddu_customersince": "2020-02-29", "lastonholdtime": "2021-04-04T22:00:00+02:00",
        "primarycontactid@odata.bind": format!("/contacts({contact})"), "createdon": "1999-01-01T00:00:00Z",
    });
    assert_eq!(world.create("accounts", body).await, own);
    let answer = world.request("GET", &format!("accounts({own})")).send().await.unwrap();
    let etag = answer.headers()["etag"].to_str().unwrap().to_owned();
    let row: Json = answer.json().await.unwrap();
    assert_eq!(row["@odata.etag"], json!(etag));
    for (property, wanted) in [
        ("name", json!("Müller & Söhne")),
        ("revenue", json!(12.35)),
        ("creditonhold", json!(true)),
        ("donotemail", json!(false)),
        ("industrycode", json!(7)),
        ("ddu_channels", json!("1,9")),
        ("ddu_customersince", json!("2020-02-29")),
        ("lastonholdtime", json!("2021-04-04T20:00:00Z")),
        ("_primarycontactid_value", json!(contact)),
        ("statecode", json!(0)),
        ("statuscode", json!(1)),
        ("telephone1", Json::Null),
    ] {
        assert_eq!(row[property], wanted, "{property}");
    }
    // A value for a column that cannot be written is ignored, not refused.
    assert_ne!(row["createdon"], json!("1999-01-01T00:00:00Z"));
    assert_eq!(world.get(&format!("contacts({contact})?$select=fullname")).await["fullname"], "Ann Lee");

    // The contact goes, and with it the reference.
    assert_eq!(world.write("DELETE", &format!("contacts({contact})"), json!({})).await.0, 204);
    assert_eq!(world.get(&format!("accounts({own})")).await["_primarycontactid_value"], Json::Null);
    assert_eq!(
        world.write("DELETE", &format!("contacts({contact})"), json!({})).await,
        (404, "0x80040217".into())
    );
}

#[tokio::test]
async fn every_documented_refusal_has_its_status_and_code() {
    let world = World::start().await;
    let taken = Uuid::from_u128(1);
    world.create("accounts", json!({ "accountid": taken, "name": "A", "accountnumber": "K1" })).await;
    let missing = Uuid::from_u128(99);
    for (body, status, code) in [
        (json!({ "name": "x".repeat(161) }), 400, "0x80044331"),
        (json!({ "industrycode": 99 }), 400, "0x8004431A"),
        (json!({ "numberofemployees": 1_000_000_001 }), 400, "0x8004432F"),
        (json!({ "numberofemployees": 5_000_000_000_i64 }), 400, "0x80048d19"),
        (json!({ "revenue": 1e12 }), 400, "0x80044330"),
        (json!({ "lastonholdtime": "1700-01-01T00:00:00Z" }), 400, "0x80040239"),
        (json!({ "acountnumber": "K2" }), 400, "0x80048d19"),
        (json!({ "Name": "x" }), 400, "0x80048d19"),
        (json!({ "PrimaryContactId@odata.bind": "/contacts(x)" }), 400, "0x80048d19"),
        (json!({ "_primarycontactid_value": missing }), 400, "0x80048d19"),
        (json!({ "primarycontactid@odata.bind": format!("/accounts({taken})") }), 400, "0x80048d19"),
        (json!({ "primarycontactid@odata.bind": format!("/contacts({missing})") }), 404, "0x80040217"),
        (json!({ "primarycontactid@odata.bind": "/contacts(emailaddress1='no@b.c')" }), 404, "0x80060891"),
        (json!({ "primarycontactid": { "lastnam": "Deep" } }), 400, "0x80048d19"),
        (json!({ "primarycontactid": 5 }), 400, "0x80048d19"),
        (json!({ "contact_customer_accounts": {} }), 400, "0x80048d19"),
        (json!({ "contact_customer_accounts": [{ "lastname": "x".repeat(51) }] }), 400, "0x80044331"),
        (json!({ "accountid": taken }), 412, "0x80040237"),
        (json!({ "accountnumber": "k1" }), 412, "0x80060892"),
        (json!({ "statuscode": 2 }), 400, "0x80048408"),
        // A fault of form wins over a fault of value, whatever their order.
        (json!({ "name": "x".repeat(161), "unknown": 1 }), 400, "0x80048d19"),
    ] {
        assert_eq!(world.write("POST", "accounts", body.clone()).await, (status, code.to_owned()), "{body}");
    }
    for (method, path, status, code) in [
        ("GET", "acounts", 404, "0x80060888"),
        ("GET", "Accounts", 404, "0x80060888"),
        ("GET", &format!("accounts({missing})"), 404, "0x80040217"),
        ("GET", "accounts(accountnumber='no')", 404, "0x80060891"),
        ("GET", "accounts(name='A')", 400, "0x80060888"),
        ("GET", "accounts?$select=nam", 400, "0x80060888"),
        ("GET", "accounts?$filter=name+eq", 400, "0x80060888"),
        ("GET", "accounts?$filter=name+eq+5", 400, "0x80060888"),
        ("GET", "accounts?$expand=primarycontact", 400, "0x80060888"),
        ("GET", "accounts?$expand=primarycontactid($select=nam)", 400, "0x80060888"),
        ("GET", "accounts?$expand=primarycontactid($skip=1)", 400, "0x80060888"),
        ("GET", "accounts?$expand=primarycontactid($select=fullname", 400, "0x80060888"),
        ("GET", "accounts?$apply=aggregate(revenue with sum as total)", 501, "0x80040219"),
        ("GET", "accounts?$filter=contact_customer_accounts/any(c:c/lastname eq 'x')", 501, "0x80040219"),
        ("GET", "accounts?$filter=primarycontactid/nam eq 'x'", 400, "0x80060888"),
        ("GET", &format!("accounts({taken})/nam"), 404, "0x80060888"),
        ("GET", &format!("accounts({taken})/primarycontactid/fullname/x"), 204, ""),
        ("DELETE", &format!("accounts({taken})/primarycontactid"), 405, "0x80060888"),
        ("POST", &format!("accounts({taken})/name"), 405, "0x80060888"),
        ("POST", &format!("accounts({taken})/primarycontactid/$ref"), 405, "0x80060888"),
        ("PUT", &format!("accounts({taken})/contact_customer_accounts/$ref"), 405, "0x80060888"),
        ("PUT", &format!("accounts({taken})"), 405, "0x80060888"),
        ("POST", "accounts/Microsoft.Dynamics.CRM.CreateMultiple", 400, "0x80048d19"),
    ] {
        let found = outcome(world.request(method, path).send().await.unwrap()).await;
        assert_eq!(found, (status, code.to_owned()), "{method} {path}");
    }
    let garbage = world.request("POST", "accounts").body("{\"name\":").send().await.unwrap();
    assert_eq!(outcome(garbage).await, (400, "0x80048d19".into()));
    // Business required is not enforced: an account without a name is taken.
    world.create("accounts", json!({})).await;
    assert_eq!(world.count("accounts").await, "2");
}

#[tokio::test]
async fn patch_creates_or_updates_as_its_conditions_allow() {
    let world = World::start().await;
    let id = Uuid::from_u128(5);
    let path = format!("accounts({id})");
    let patch = async |header: Option<(&'static str, String)>, name: &str| {
        let mut request = world.request("PATCH", &path).json(&json!({ "name": name }));
        if let Some((header, value)) = header {
            request = request.header(header, value);
        }
        outcome(request.send().await.unwrap()).await
    };
    assert_eq!(patch(Some(("If-Match", "*".into())), "a").await, (404, "0x80040217".into()));
    assert_eq!(patch(None, "created").await.0, 204);
    let etag = world.get(&path).await["@odata.etag"].as_str().unwrap().to_owned();
    let unless_there = world
        .client
        .patch(format!("{}/api/data/v9.2/{path}", world.base))
        .bearer_auth(&world.token)
        .header("If-None-Match", "*")
        .json(&json!({ "name": "b" }));
    assert_eq!(outcome(unless_there.send().await.unwrap()).await, (412, "0x80040237".into()));
    assert_eq!(patch(Some(("If-Match", etag.clone())), "updated").await.0, 204);
    assert_eq!(patch(Some(("If-Match", etag)), "stale").await, (412, "0x80060882".into()));
    assert_eq!(world.get(&path).await["name"], "updated");
    assert_eq!(world.count("accounts").await, "1");
}

#[tokio::test]
async fn an_upsert_by_alternate_key_answers_with_that_key_and_keeps_it() {
    let world = World::start().await;
    let path = "accounts(accountnumber='A%2F1')";
    for (name, status) in [("first", 201), ("second", 200)] {
        let request = world.request("PATCH", path).header("Prefer", "return=representation");
        let answer = request.json(&json!({ "name": name })).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(answer.headers().get("odata-entityid").is_none());
        let row: Json = answer.json().await.unwrap();
        assert_eq!((&row["name"], &row["accountnumber"]), (&json!(name), &json!("A/1")));
    }
    let answer = world.request("PATCH", path).json(&json!({ "accountnumber": "B" })).send().await.unwrap();
    let entity_id = answer.headers()["odata-entityid"].to_str().unwrap();
    assert_eq!(entity_id, format!("{}/api/data/v9.2/{path}", world.base));
    assert_eq!(world.get(path).await["accountnumber"], "A/1");
    assert_eq!(world.count("accounts").await, "1");
}

#[tokio::test]
async fn a_polymorphic_lookup_remembers_what_it_points_at_and_can_be_cleared() {
    let world = World::start().await;
    let account = world.create("accounts", json!({ "name": "Firm" })).await;
    let bind =
        json!({ "lastname": "B", "parentcustomerid_account@odata.bind": format!("accounts({account})") });
    let contact = world.create("contacts", bind).await;
    let path = format!("contacts({contact})");
    let request = world.request("GET", &path).header("Prefer", "odata.include-annotations=\"*\"");
    let row: Json = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(row["_parentcustomerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"], "account");
    assert_eq!(row["statecode@OData.Community.Display.V1.FormattedValue"], "Active");
    let other =
        json!({ "parentcustomerid_contact@odata.bind": format!("{}/api/data/v9.2/{path}", world.base) });
    assert_eq!(world.write("PATCH", &path, other).await.0, 204);
    assert_eq!(world.get(&path).await["_parentcustomerid_value"], json!(contact));
    let clear = format!("{path}/parentcustomerid_contact/$ref");
    assert_eq!(world.write("DELETE", &clear, json!({})).await.0, 204);
    assert_eq!(world.get(&path).await["_parentcustomerid_value"], Json::Null);
}

#[tokio::test]
async fn one_bad_row_costs_only_itself_when_the_batch_goes_on() {
    let world = World::start().await;
    let body = [create_part("good 1"), create_part(&"x".repeat(161)), create_part("good 2")].concat()
        + "--batch_1--";
    let answer = world.batch(&body).header("Prefer", "odata.continue-on-error").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("multipart/mixed; boundary=batchresponse_"), "{kind}");
    let text = answer.text().await.unwrap();
    assert_eq!(statuses(&text), [204, 400, 204]);
    assert!(text.contains("0x80044331"));
    assert_eq!(world.count("accounts").await, "2");
}

#[tokio::test]
async fn a_batch_that_stops_keeps_what_came_before_and_runs_nothing_after() {
    let world = World::start().await;
    let body =
        [create_part("good 1"), create_part(&"x".repeat(161)), create_part("never")].concat() + "--batch_1--";
    let answer = world.batch(&body).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("multipart/mixed"));
    assert_eq!(statuses(&answer.text().await.unwrap()), [204, 400]);
    assert_eq!(world.get("accounts?$select=name").await["value"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_set_is_all_or_nothing_and_names_the_operation_that_failed() {
    let world = World::start().await;
    let good = |id: &str| part("set", id, "POST accounts", &json!({ "name": id }));
    let bad = part("set", "2", "POST /api/data/v9.2/accounts", &json!({ "industrycode": 99 }));
    let body = change_set("set", &[good("1"), bad, good("3")]) + &create_part("after") + "--batch_1--";
    let answer = world.batch(&body).header("Prefer", "odata.continue-on-error").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.text().await.unwrap();
    assert_eq!(statuses(&text), [400, 204]);
    assert!(text.contains("Content-ID: 2") && !text.contains("Content-ID: 1"), "{text}");
    assert_eq!(world.get("accounts").await["value"][0]["name"], "after");
    assert_eq!(world.count("accounts").await, "1");
}

#[tokio::test]
async fn a_change_set_may_refer_to_what_it_made_before() {
    let world = World::start().await;
    let account = part("set", "1", "POST accounts", &json!({ "name": "parent" }));
    let child = json!({ "name": "child", "parentaccountid@odata.bind": "$1" });
    let child = part("set", "2", "POST accounts", &child);
    let rename = part("set", "3", "PATCH $1", &json!({ "name": "renamed" }));
    let body = change_set("set", &[account, child, rename]) + "--batch_1--";
    let text = world.batch(&body).send().await.unwrap().text().await.unwrap();
    assert_eq!(statuses(&text), [204, 204, 204], "{text}");
    let rows = world.get("accounts?$filter=name eq 'child'").await;
    let parent = rows["value"][0]["_parentaccountid_value"].as_str().unwrap().to_owned();
    assert_eq!(world.get(&format!("accounts({parent})")).await["name"], "renamed");
    let early = change_set("set", &[part("set", "1", "PATCH $2", &json!({ "name": "x" }))]) + "--batch_1--";
    let answer = world.batch(&early).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("'$2' does not exist"));
}

#[tokio::test]
async fn a_batch_that_cannot_be_taken_is_refused_as_a_whole() {
    let world = World::start().await;
    let json_batch = world.request("POST", "$batch").json(&json!({ "requests": [] }));
    assert_eq!(outcome(json_batch.send().await.unwrap()).await.0, 415);
    let large = create_part("x").repeat(1001) + "--batch_1--";
    assert_eq!(outcome(world.batch(&large).send().await.unwrap()).await, (400, "0x80060888".into()));
    let nameless = change_set("set", &[part("set", "", "POST accounts", &json!({}))]) + "--batch_1--";
    assert_eq!(outcome(world.batch(&nameless).send().await.unwrap()).await, (400, "0x80060888".into()));
    assert_eq!(world.count("accounts").await, "0");
    let small = World::with(|options| options.body_bytes_max = 1_000).await;
    assert_eq!(outcome(small.batch(&large).send().await.unwrap()).await, (413, "0x8004418A".into()));
}

#[tokio::test]
async fn rows_tokens_and_versions_survive_a_restart() {
    let world = World::start().await;
    let id = world.create("products", json!({ "name": "Nail", "price": 0.05 })).await;
    let before = world.get(&format!("products({id})")).await;
    let token = world.token.clone();
    let folder = world.stopped().await;
    let mut world = World::over(folder, |_| {}).await;
    world.token = token;
    let after = world.get(&format!("products({id})")).await;
    assert_eq!((&after["@odata.etag"], &after["price"]), (&before["@odata.etag"], &json!(0.05)));
    let next = world.create("products", json!({ "name": "Screw" })).await;
    assert_ne!(world.get(&format!("products({next})")).await["@odata.etag"], after["@odata.etag"]);
}

#[tokio::test]
async fn two_servers_over_one_file_see_the_same_rows_and_never_give_a_version_twice() {
    let first = World::start().await;
    let mut second = World::over(tempfile::tempdir().unwrap(), |options| {
        options.store = store_in(&first.folder);
    })
    .await;
    second.token = first.token.clone();
    let mut versions = Vec::new();
    for world in [&first, &second, &first] {
        let id = world.create("products", json!({ "name": "Nail" })).await;
        versions.push(second.get(&format!("products({id})")).await["@odata.etag"].to_string());
    }
    versions.dedup();
    assert_eq!(versions.len(), 3);
    assert_eq!(first.count("products").await, "3");
}

#[tokio::test]
async fn the_server_stops_though_a_client_keeps_its_line_open() {
    let world = World::start().await;
    let address = world.base.strip_prefix("http://").unwrap().to_owned();
    let idle = tokio::net::TcpStream::connect(address).await.unwrap();
    world.count("accounts").await;
    drop(world.stopped().await);
    drop(idle);
}

#[tokio::test]
async fn a_file_of_another_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert!(matches!(Sandbox::open(SandboxOptions::at(&path)), Err(SandboxError::ForeignStore { .. })));
    assert!(matches!(Sandbox::open(SandboxOptions::at(folder.path())), Err(SandboxError::Store { .. })));
}

#[tokio::test]
async fn a_cut_line_gives_no_answer_and_the_rows_are_there_only_if_it_was_cut_after() {
    let faults = vec![Fault::cut_batch(1, Cut::Before), Fault::cut_batch(2, Cut::After)];
    let world = World::with(|options| options.faults = faults).await;
    let body = create_part("row") + "--batch_1--";
    assert!(world.batch(&body).send().await.is_err());
    assert_eq!(world.count("accounts").await, "0");
    assert!(world.batch(&body).send().await.is_err());
    assert_eq!(world.count("accounts").await, "1");
    assert_eq!(world.batch(&body).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn disturbances_look_like_the_services_own() {
    let gateway = r#"{"on":{"kind":"read","request":2},"answer":{"status":502,"html":true}}"#;
    let slow = r#"{"on":{"kind":"read","request":3},"answer":{"delay_ms":60}}"#;
    let token = r#"{"on":{"kind":"token","request":2},"answer":{"status":503}}"#;
    let deadlock = r#"{"on":{"kind":"write"},"answer":{"status":500,"code":"0x80044150"}}"#;
    let mut faults: Vec<Fault> =
        [gateway, slow, token, deadlock].map(|rule| serde_json::from_str(rule).unwrap()).into();
    faults.push(Fault::refuse_batch(1, 429, Some("2")));
    let world = World::with(|options| options.faults = faults).await;
    let throttled = world.batch(&(create_part("x") + "--batch_1--")).send().await.unwrap();
    assert_eq!(
        (throttled.status(), &throttled.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"2".parse().unwrap())
    );
    assert_eq!(outcome(throttled).await.1, "0x80072322");
    assert_eq!(world.count("accounts").await, "0");
    let html = world.request("GET", "accounts").send().await.unwrap();
    assert_eq!(
        (html.status().as_u16(), &html.headers()["content-type"]),
        (502, &"text/html".parse().unwrap())
    );
    let began = std::time::Instant::now();
    world.get("accounts").await;
    assert!(began.elapsed() >= Duration::from_millis(60));
    assert_eq!(world.ask_token("any").await.status(), 503);
    let answer = world.request("POST", "accounts").json(&json!({})).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("Sql Number: 1205"));
}

#[tokio::test]
async fn every_answer_carries_the_headers_of_the_service() {
    let world = World::with(|options| options.dop_hint = 7).await;
    let answer = world.request("GET", "WhoAmI").send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-ms-dop-hint"), "7");
    assert_eq!(header("odata-version"), "4.0");
    assert!(header("x-ms-service-request-id").ends_with(&header("req_id")));
    assert!(header("set-cookie").starts_with("ARRAffinity="));
    assert!(header("x-ms-ratelimit-time-remaining-xrm-requests").starts_with("1,"));
    assert_eq!(header("x-ms-ratelimit-burst-remaining-xrm-requests"), "5999");
}

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let world = World::start().await;
    for number in 0..7 {
        let body = json!({ "name": format!("row {number}"), "numberofemployees": number });
        world.create("accounts", body).await;
    }
    for query in [
        "accounts?$select=name&$count=true",
        "accounts?$select=name&$orderby=numberofemployees desc&$filter=numberofemployees ge 0&$count=true",
    ] {
        let mut names = Vec::new();
        let mut next = Some(query.to_owned());
        while let Some(link) = next {
            let request = world.request("GET", &link).header("Prefer", "odata.maxpagesize=3");
            let page: Json = request.send().await.unwrap().json().await.unwrap();
            assert_eq!(page["@odata.count"], 7);
            for row in page["value"].as_array().unwrap() {
                names.push(row["name"].as_str().unwrap().to_owned());
            }
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
        }
        assert_eq!(names.len(), 7);
        assert_eq!(names.first().unwrap() == "row 6", query.contains("desc"));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7);
    }
    let top = world.get("accounts?$top=2").await;
    assert_eq!((top["value"].as_array().unwrap().len(), top.get("@odata.nextLink")), (2, None));
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let world = World::start().await;
    for (name, number, hold) in [("Alpha", "1", true), ("beta", "2", false), ("50%_off", "3", false)] {
        let body = json!({ "name": name, "accountnumber": number, "creditonhold": hold });
        world.create("accounts", body).await;
    }
    let id = world.create("accounts", json!({ "ddu_customersince": "2020-01-01", "revenue": 10 })).await;
    for (filter, wanted) in [
        ("name eq 'ALPHA' or name eq 'beta'", 2),
        ("contains(name,'%_')", 1),
        ("startswith(name,'al') and creditonhold eq true", 1),
        ("not startswith(name,'al')", 3),
        ("name eq null", 1),
        ("name ne null", 3),
        ("name ne 'alpha'", 3),
        ("revenue gt 9.5 and revenue le 10", 1),
        ("ddu_customersince lt 2020-01-02", 1),
        ("createdon gt 2020-01-01T00:00:00Z", 4),
        ("_parentaccountid_value eq null", 4),
        (&format!("accountid eq {id}"), 1),
        ("statecode eq 0 and (accountnumber eq '1' or accountnumber eq '3')", 2),
    ] {
        let request = world.request("GET", "accounts/$count").query(&[("$filter", filter)]);
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), wanted.to_string(), "{filter}");
    }
    // A bulk look-up with hundreds of terms, also of several properties, is no deeper than SQLite allows.
    let many: Vec<String> = (0..500).map(|n| format!("name eq '{n}' or accountnumber eq '{n}'")).collect();
    let body = part(
        "batch_1",
        "",
        &format!("GET accounts?$filter={}", many.join(" or ").replace(' ', "%20")),
        &json!(""),
    );
    let text = world.batch(&(body + "--batch_1--")).send().await.unwrap().text().await.unwrap();
    assert_eq!(statuses(&text), [200], "{text}");
}

#[tokio::test]
async fn the_service_describes_itself() {
    let world = World::start().await;
    let sets = world.get("").await;
    assert_eq!(sets["value"].as_array().unwrap().len(), 5);
    let xml = world.request("GET", "$metadata").send().await.unwrap().text().await.unwrap();
    let mut reader = quick_xml::Reader::from_str(&xml);
    while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    for wanted in [
        "<Property Name=\"_primarycontactid_value\" Type=\"Edm.Guid\" />",
        "<NavigationProperty Name=\"parentcustomerid_contact\" Type=\"mscrm.contact\"",
        "PropertyPath=\"accountnumber\"",
        "<EntitySet Name=\"products\"",
    ] {
        assert!(xml.contains(wanted), "{wanted}");
    }
    let by_set = world.get("EntityDefinitions?$select=LogicalName&$filter=EntitySetName eq 'contacts'").await;
    assert_eq!(by_set["value"][0]["LogicalName"], "contact");
    assert!(by_set["value"][0].get("SchemaName").is_none());
    let account =
        world.get("EntityDefinitions(LogicalName='account')?$expand=Keys($select=KeyAttributes)").await;
    assert_eq!(account["EntitySetName"], "accounts");
    assert_eq!(account["Keys"][0]["KeyAttributes"], json!(["accountnumber"]));
    let attributes = "EntityDefinitions(LogicalName='account')/Attributes";
    let name = world.get(&format!("{attributes}?$filter=LogicalName eq 'name'")).await;
    assert_eq!(name["value"][0]["RequiredLevel"]["Value"], "ApplicationRequired");
    assert_eq!(name["value"][0]["DisplayName"]["UserLocalizedLabel"]["Label"], "Account Name");
    let cast = "Microsoft.Dynamics.CRM.PicklistAttributeMetadata?$select=LogicalName&$expand=OptionSet,GlobalOptionSet";
    let choices = world.get(&format!("{attributes}/{cast}")).await;
    let industry = choices["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|found| found["LogicalName"] == "industrycode")
        .unwrap();
    assert_eq!(industry["OptionSet"]["Options"].as_array().unwrap().len(), 33);
    let lengths = world
        .get(&format!(
            "{attributes}/Microsoft.Dynamics.CRM.StringAttributeMetadata?$select=MaxLength,LogicalName"
        ))
        .await;
    assert!(lengths["value"].as_array().unwrap().iter().any(|found| found["MaxLength"] == 160));
    let parents = world.get("EntityDefinitions(LogicalName='contact')/ManyToOneRelationships").await;
    assert_eq!(parents["value"][0]["ReferencingEntityNavigationPropertyName"], "parentcustomerid_account");
    for (path, status) in [
        ("EntityDefinitions(LogicalName='nothing')", 404),
        (&format!("{attributes}?$select=MaxLength"), 400),
        (&format!("{attributes}/Microsoft.Dynamics.CRM.EnumAttributeMetadata"), 404),
    ] {
        assert_eq!(world.request("GET", path).send().await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test]
async fn batches_at_the_same_time_wait_for_each_other_and_all_arrive() {
    let world = World::start().await;
    let body = create_part("row").repeat(200) + "--batch_1--";
    let answers = futures::future::join_all((0..8).map(|_| world.batch(&body).send())).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status(), 200);
    }
    assert_eq!(world.count("accounts").await, "1600");
}
