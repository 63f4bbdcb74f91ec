//! The documented requests of dynamics.md §2 and §3, sent as they stand, and the answers that they are documented with.

use reqwest::Response;
use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{World, statuses};

/// Sends a request as the documentation writes it: a line, headers, a blank line, a body. `[Org]` is the environment.
async fn send(world: &World, text: &str) -> Response {
    let text = text.replace("[Org]", &world.base);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ');
    let (method, url) = (words.next().unwrap(), words.next().unwrap());
    let mut request = world.client.request(method.parse().unwrap(), url).bearer_auth(&world.token);
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let body = if text.contains("multipart/mixed") { body.replace('\n', "\r\n") } else { body.to_owned() };
    request.body(body).send().await.unwrap()
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers()[name].to_str().unwrap().to_owned()
}

const HEADERS: &str = "Content-Type: application/json; charset=utf-8\nOData-MaxVersion: 4.0\nOData-Version: 4.0\nAccept: application/json\nIf-None-Match: null";

#[tokio::test]
async fn create_answers_204_with_the_address_and_201_with_the_record() {
    // §2.2
    let world = World::start().await;
    let contact = Uuid::from_u128(1);
    world.create("contacts", json!({ "contactid": contact, "lastname": "L" })).await;
    let body = format!(
        r#"{{ "name": "Sample Account", "creditonhold": false, "revenue": 5000000, "accountcategorycode": 1, "primarycontactid@odata.bind": "/contacts({contact})" }}"#
    );
    let answer =
        send(&world, &format!("POST [Org]/api/data/v9.2/accounts HTTP/1.1\n{HEADERS}\n\n{body}")).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(header(&answer, "odata-version"), "4.0");
    let id = header(&answer, "odata-entityid");
    assert!(id.starts_with(&format!("{}/api/data/v9.2/accounts(", world.base)), "{id}");

    let represented = format!("{HEADERS}\nPrefer: return=representation");
    let answer = send(
        &world,
        &format!("POST [Org]/api/data/v9.2/accounts?$select=name,revenue HTTP/1.1\n{represented}\n\n{body}"),
    )
    .await;
    assert_eq!(answer.status(), 201);
    assert_eq!(header(&answer, "preference-applied"), "return=representation");
    // With the representation the address is not told (S-CRE).
    assert!(!answer.headers().contains_key("odata-entityid"));
    let record: Json = answer.json().await.unwrap();
    assert!(record["@odata.etag"].as_str().unwrap().starts_with("W/\""));
    assert_eq!(record["revenue"], json!(5_000_000.0));
    assert!(record["accountid"].is_string());
}

#[tokio::test]
async fn upsert_answers_with_the_key_it_was_asked_by() {
    // §2.3
    let world = World::start().await;
    let request = |headers: &str| {
        format!(
            "PATCH [Org]/api/data/v9.2/accounts(accountnumber='2')?$select=accountid HTTP/1.1\n{headers}\n\n{{ \"name\": \"2:2\" }}"
        )
    };
    let plain = request(HEADERS).replace("?$select=accountid", "");
    for _ in 0..2 {
        let answer = send(&world, &plain).await;
        assert_eq!(answer.status(), 204);
        let wanted = format!("{}/api/data/v9.2/accounts(accountnumber='2')", world.base);
        assert_eq!(header(&answer, "odata-entityid"), wanted);
    }
    let represented = format!("{HEADERS}\nPrefer: return=representation");
    assert_eq!(send(&world, &request(&represented)).await.status(), 200);
    let fresh = request(&represented).replace("'2'", "'3'");
    let answer = send(&world, &fresh).await;
    assert_eq!(answer.status(), 201);
    assert!(header(&answer, "etag").starts_with("W/\""));
}

#[tokio::test]
async fn refusals_have_the_documented_words() {
    // §2.3, §2.4, §2.8
    let world = World::start().await;
    let taken = world.create("accounts", json!({ "name": "A", "accountnumber": "N" })).await;
    let missing = Uuid::from_u128(3);
    for (request, status, code, message) in [
        (
            format!("PATCH [Org]/api/data/v9.2/accounts({missing}) HTTP/1.1\nIf-Match: *\n\n{{}}"),
            404,
            "0x80040217",
            format!("account With Id = {missing} Does Not Exist"),
        ),
        (
            format!("PATCH [Org]/api/data/v9.2/accounts({taken}) HTTP/1.1\nIf-None-Match: *\n\n{{}}"),
            412,
            "0x80040237",
            "A record with matching key values already exists.".to_owned(),
        ),
        (
            format!("PATCH [Org]/api/data/v9.2/accounts({taken}) HTTP/1.1\nIf-Match: W/\"470867\"\n\n{{}}"),
            412,
            "0x80060882",
            "The version of the existing record doesn't match the RowVersion property provided.".to_owned(),
        ),
        (
            format!("POST [Org]/api/data/v9.2/accounts HTTP/1.1\n{HEADERS}\n\n{{\"accountnumber\":\"N\"}}"),
            412,
            "0x80060892",
            "Entity Key Account Number violated. A record with the same value for Account Number already exists. A \
             duplicate record cannot be created. Select one or more unique values and try again."
                .to_owned(),
        ),
        (
            format!("GET [Org]/api/data/v9.2/accounts(name='x') HTTP/1.1\n{HEADERS}"),
            400,
            "0x80060888",
            "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.account'. Ensure that the \
             names and number of key properties match the declared or alternate key properties for the resource \
             'Microsoft.Dynamics.CRM.account'."
                .to_owned(),
        ),
        (
            format!("POST [Org]/api/data/v9.2/accounts HTTP/1.1\n{HEADERS}\n\n{{\"accountnumber\":\"123456789012345678901\"}}"),
            400,
            "0x80044331",
            "A validation error occurred.  The length of the 'accountnumber' attribute of the 'account' entity exceeded \
             the maximum allowed length of '20'."
                .to_owned(),
        ),
        (
            format!("GET [Org]/api/data/v9.2/acounts HTTP/1.1\n{HEADERS}"),
            404,
            "0x80060888",
            "Resource not found for the segment 'acounts'.".to_owned(),
        ),
    ] {
        let answer = send(&world, &request).await;
        assert_eq!(answer.status(), status, "{request}");
        let body: Json = answer.json().await.unwrap();
        assert_eq!(body, json!({ "error": { "code": code, "message": message } }), "{request}");
    }
    let annotated = format!(
        "GET [Org]/api/data/v9.2/accounts({missing}) HTTP/1.1\n{HEADERS}\nPrefer: odata.include-annotations=\"*\""
    );
    let body: Json = send(&world, &annotated).await.json().await.unwrap();
    let link = "http://go.microsoft.com/fwlink/?LinkID=398563&error=Microsoft.Crm.CrmException%3a80040217&client=platform";
    assert_eq!(body["error"]["@Microsoft.PowerApps.CDS.HelpLink"], link);
}

/// The batch of §3.1, with accounts in the place of tasks.
const BATCH: &str = "POST [Org]/api/data/v9.2/$batch HTTP/1.1
OData-MaxVersion: 4.0
OData-Version: 4.0
If-None-Match: null
Accept: application/json
Content-Type: multipart/mixed; boundary=\"batch_80dd1615-2a10-428a-bb6f-0e559792721f\"

--batch_80dd1615-2a10-428a-bb6f-0e559792721f
Content-Type: application/http
Content-Transfer-Encoding: binary

POST /api/data/v9.2/accounts HTTP/1.1
Content-Type: application/json; type=entry

{ \"name\": \"Account 1 in batch\" }
--batch_80dd1615-2a10-428a-bb6f-0e559792721f
Content-Type: multipart/mixed; boundary=\"changeset_246e6bfe-89a4-4c77-b293-7a433f082e8a\"

--changeset_246e6bfe-89a4-4c77-b293-7a433f082e8a
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 1

POST /api/data/v9.2/contacts HTTP/1.1
Content-Type: application/json; type=entry

{ \"lastname\": \"NAME\" }
--changeset_246e6bfe-89a4-4c77-b293-7a433f082e8a
Content-Type: application/http
Content-Transfer-Encoding: binary
Content-ID: 2

PUT /api/data/v9.2/accounts(accountnumber='P')/primarycontactid/$ref HTTP/1.1
Content-Type: application/json; type=entry

{ \"@odata.id\": \"$1\" }
--changeset_246e6bfe-89a4-4c77-b293-7a433f082e8a--

--batch_80dd1615-2a10-428a-bb6f-0e559792721f
Content-Type: application/http
Content-Transfer-Encoding: binary

GET /api/data/v9.2/contacts?$select=lastname HTTP/1.1


--batch_80dd1615-2a10-428a-bb6f-0e559792721f--";

#[tokio::test]
async fn a_batch_is_answered_part_by_part() {
    // §3.2
    let world = World::start().await;
    let parent = world.create("accounts", json!({ "name": "P", "accountnumber": "P" })).await;
    let answer = send(&world, BATCH).await;
    assert_eq!(answer.status(), 200);
    let content_type = header(&answer, "content-type");
    let boundary = content_type.strip_prefix("multipart/mixed; boundary=batchresponse_").unwrap().to_owned();
    let text = answer.text().await.unwrap();
    assert_eq!(statuses(&text), [204, 204, 204, 200]);
    assert_eq!(text.matches(&format!("--batchresponse_{boundary}\r\n")).count(), 3);
    assert!(text.trim_end().ends_with(&format!("--batchresponse_{boundary}--")));
    assert_eq!(text.matches("boundary=changesetresponse_").count(), 1);
    assert!(text.find("Content-ID: 1").unwrap() < text.find("Content-ID: 2").unwrap());
    let contact = world.get("contacts?$filter=lastname eq 'NAME'").await["value"][0]["contactid"].clone();
    assert_eq!(world.get(&format!("accounts({parent})")).await["_primarycontactid_value"], contact);
}

#[tokio::test]
async fn a_failed_batch_has_the_status_of_what_failed_and_keeps_what_came_before() {
    // §3.3 (a), (c): one part for the change set, with the Content-ID of what failed.
    let world = World::start().await;
    let long = BATCH.replace("NAME", &"x".repeat(51));
    let answer = send(&world, &long).await;
    assert_eq!(answer.status(), 400);
    assert!(header(&answer, "content-type").starts_with("multipart/mixed; boundary=batchresponse_"));
    let text = answer.text().await.unwrap();
    assert_eq!(statuses(&text), [204, 400]);
    assert!(text.contains("Content-ID: 1") && !text.contains("Content-ID: 2"), "{text}");
    assert!(text.contains("REQ_ID: ") && text.contains("\"code\":\"0x80044331\""), "{text}");
    assert_eq!((world.count("accounts").await, world.count("contacts").await), ("1".into(), "0".into()));

    // (b): with the preference the rest runs and the batch is 200; the change set is still whole.
    let going_on = long.replace("If-None-Match: null", "Prefer: odata.continue-on-error");
    let answer = send(&world, &going_on).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(statuses(&answer.text().await.unwrap()), [204, 400, 200]);

    // (d), §3.4: what cannot be read is refused as one OData error.
    for (from, to, status) in [("multipart/mixed;", "application/json;", 415), ("Content-ID: 2\n", "", 400)] {
        let answer = send(&world, &BATCH.replacen(from, to, 1)).await;
        assert_eq!(answer.status(), status);
        let body: Json = answer.json().await.unwrap();
        assert!(body["error"]["code"].is_string());
    }
}
