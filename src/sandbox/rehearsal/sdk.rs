//! What the SDKs of Microsoft rely on when they read: expansions, single properties, references, ETags, formatted values.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{World, outcome};

/// An account with a primary contact and two contacts of its own.
async fn family(world: &World) -> (Uuid, Uuid) {
    let contact = world
        .create("contacts", json!({ "firstname": "Ann", "lastname": "Lee", "creditlimit": 1234.5 }))
        .await;
    let account = world
        .create(
            "accounts",
            json!({
                "name": "Lee & Co", "accountnumber": "L1", "revenue": 1_234_567.891, "numberofemployees": 12_345,
                "industrycode": 7, "ddu_channels": "1,9", "ddu_customersince": "2020-02-29", "creditonhold": true,
                "primarycontactid@odata.bind": format!("/contacts({contact})"),
                "contact_customer_accounts": [{ "lastname": "B" }, { "lastname": "A" }],
            }),
        )
        .await;
    (account, contact)
}

async fn names(world: &World, path: &str, of: &str) -> Vec<String> {
    let answer = world.get(path).await;
    let value = answer["value"].as_array().unwrap();
    value.iter().map(|row| row[of].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn related_records_come_inside_their_own() {
    let world = World::start().await;
    let (account, contact) = family(&world).await;
    world.create("accounts", json!({ "name": "Alone" })).await;
    let path = "accounts?$select=name&$orderby=name&$expand=primarycontactid($select=fullname),\
                contact_customer_accounts($select=lastname;$filter=lastname ne 'C';$orderby=lastname;$top=5)";
    let answer = world.get(path).await;
    let rows = answer["value"].as_array().unwrap();
    assert_eq!(rows[0]["primarycontactid"], Json::Null);
    assert_eq!(rows[0]["contact_customer_accounts"], json!([]));
    assert_eq!(rows[1]["primarycontactid"]["fullname"], "Ann Lee");
    assert_eq!(rows[1]["primarycontactid"]["contactid"], json!(contact));
    assert!(rows[1]["primarycontactid"].get("lastname").is_none());
    let children: Vec<&Json> =
        rows[1]["contact_customer_accounts"].as_array().unwrap().iter().map(|row| &row["lastname"]).collect();
    assert_eq!(children, ["A", "B"]);
    // Nested once more, on a single record, and the owner whose lookup has two tables.
    let path = format!(
        "accounts({account})?$select=name&$expand=ownerid($select=fullname),\
         contact_customer_accounts($top=1;$expand=parentcustomerid_account($select=name))"
    );
    let row = world.get(&path).await;
    assert_eq!(row["contact_customer_accounts"][0]["parentcustomerid_account"]["name"], "Lee & Co");
    assert_eq!(row["ownerid"]["fullname"], "ddu");
}

#[tokio::test]
async fn what_stands_behind_a_record_is_read_by_its_path() {
    let world = World::start().await;
    let (account, contact) = family(&world).await;
    let path = format!("accounts({account})");
    assert_eq!(
        world.get(&format!("{path}/primarycontactid?$select=lastname")).await["contactid"],
        json!(contact)
    );
    assert_eq!(world.get(&format!("{path}/primarycontactid/lastname")).await["value"], "Lee");
    let children = format!("{path}/contact_customer_accounts");
    assert_eq!(names(&world, &format!("{children}?$orderby=lastname desc"), "lastname").await, ["B", "A"]);
    assert_eq!(world.count(&children).await, "2");
    let first = world.request("GET", &children).header("Prefer", "odata.maxpagesize=1").send().await.unwrap();
    let first: Json = first.json().await.unwrap();
    let next = first["@odata.nextLink"].as_str().unwrap();
    assert!(next.contains("/contact_customer_accounts?"), "{next}");
    assert_eq!(names(&world, next, "lastname").await, ["A"]);
}

#[tokio::test]
async fn single_properties_are_read_written_and_cleared() {
    let world = World::start().await;
    let (account, _) = family(&world).await;
    let path = format!("accounts({account})/name");
    assert_eq!(world.get(&path).await["value"], "Lee & Co");
    let raw = world.request("GET", &format!("{path}/$value")).send().await.unwrap();
    assert_eq!(raw.text().await.unwrap(), "Lee & Co");
    assert_eq!(world.write("PUT", &path, json!({ "value": "New" })).await, (204, String::new()));
    assert_eq!(world.get(&path).await["value"], "New");
    assert_eq!(
        world.write("PUT", &path, json!({ "value": "x".repeat(161) })).await,
        (400, "0x80044331".into())
    );
    assert_eq!(world.write("PUT", &path, json!({ "name": "x" })).await, (400, "0x80048d19".into()));
    assert_eq!(world.request("DELETE", &path).send().await.unwrap().status(), 204);
    assert_eq!(world.request("GET", &path).send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn references_are_made_and_cleared_from_either_end() {
    let world = World::start().await;
    let account = world.create("accounts", json!({ "name": "A" })).await;
    let contact = world.create("contacts", json!({ "lastname": "L" })).await;
    let target = json!({ "@odata.id": format!("{}/api/data/v9.2/contacts({contact})", world.base) });
    let single = format!("accounts({account})/primarycontactid/$ref");
    assert_eq!(world.write("PUT", &single, target.clone()).await, (204, String::new()));
    assert_eq!(world.get(&single).await["@odata.id"], target["@odata.id"]);
    assert_eq!(world.request("DELETE", &single).send().await.unwrap().status(), 204);
    assert_eq!(world.request("GET", &single).send().await.unwrap().status(), 204);

    let many = format!("accounts({account})/contact_customer_accounts/$ref");
    let stranger = json!({ "@odata.id": format!("/contacts({})", Uuid::from_u128(1)) });
    assert_eq!(world.write("POST", &many, stranger).await, (404, "0x80040217".into()));
    let wrong = json!({ "@odata.id": format!("/accounts({account})") });
    assert_eq!(world.write("POST", &many, wrong).await, (400, "0x80048d19".into()));
    assert_eq!(world.write("POST", &many, target.clone()).await, (204, String::new()));
    assert_eq!(world.get(&many).await["value"][0]["@odata.id"], target["@odata.id"]);
    let one = format!("accounts({account})/contact_customer_accounts({contact})/$ref");
    assert_eq!(world.request("DELETE", &one).send().await.unwrap().status(), 204);
    let again = world.request("DELETE", &one).send().await.unwrap();
    assert_eq!(outcome(again).await, (404, "0x80040217".into()));
    assert_eq!(world.write("POST", &many, target).await, (204, String::new()));
    let by_query = format!("{many}?$id=contacts({contact})");
    assert_eq!(world.request("DELETE", &by_query).send().await.unwrap().status(), 204);
    assert_eq!(world.get(&many).await["value"], json!([]));
}

#[tokio::test]
async fn filters_reach_through_lookups_and_take_lists_and_parameters() {
    let world = World::start().await;
    let (_, contact) = family(&world).await;
    world.create("accounts", json!({ "name": "Other", "numberofemployees": 5, "ddu_channels": "2" })).await;
    for (filter, found) in [
        ("primarycontactid/lastname eq 'Lee'", &["Lee & Co"][..]),
        ("primarycontactid/creditlimit gt 2000", &[]),
        ("primarycontactid/contactid eq null", &["Other"]),
        (&format!("_primarycontactid_value eq {contact}"), &["Lee & Co"]),
        ("Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=['Other','x'])", &["Other"]),
        ("Microsoft.Dynamics.CRM.In(PropertyName='numberofemployees',PropertyValues=['5'])", &["Other"]),
        ("Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[])", &[]),
        (
            "Microsoft.Dynamics.CRM.ContainValues(PropertyName='ddu_channels',PropertyValues=['9'])",
            &["Lee & Co"],
        ),
        ("ddu_customersince ge 2020-02-29 and createdon gt 2020-01-01T00:00:00Z", &["Lee & Co"]),
        ("not (endswith(name,'Co') or creditonhold eq null)", &["Other"]),
    ] {
        assert_eq!(names(&world, &format!("accounts?$filter={filter}"), "name").await, found, "{filter}");
    }
    let path =
        "accounts?$filter=name eq @name and numberofemployees lt @most&@name='Other'&@most=6&$count=true";
    let answer = world.get(path).await;
    assert_eq!((&answer["@odata.count"], answer["value"].as_array().unwrap().len()), (&json!(1), 1));
}

#[tokio::test]
async fn numbers_dates_choices_and_lookups_come_as_people_read_them() {
    let world = World::start().await;
    let (account, _) = family(&world).await;
    let answer = world
        .request("GET", &format!("accounts({account})"))
        .header("Prefer", "odata.include-annotations=\"*\"")
        .send()
        .await
        .unwrap();
    let row: Json = answer.json().await.unwrap();
    for (property, wanted) in [
        ("revenue", "$1,234,567.89"),
        ("numberofemployees", "12,345"),
        ("industrycode", "Consulting"),
        ("ddu_channels", "Web Shop; Marketplace"),
        ("ddu_customersince", "2/29/2020"),
        ("creditonhold", "Yes"),
        ("_primarycontactid_value", "Ann Lee"),
        ("_ownerid_value", "ddu"),
    ] {
        let name = format!("{property}@OData.Community.Display.V1.FormattedValue");
        assert_eq!(row[&name], wanted, "{property}");
    }
    assert_eq!(row["_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname"], "systemuser");
}

#[tokio::test]
async fn every_condition_meets_every_state_of_a_record() {
    // Source: dynamics.md §2.1, §2.3.
    let world = World::start().await;
    let id = world.create("accounts", json!({ "name": "A" })).await;
    let path = format!("accounts({id})");
    let absent = format!("accounts({})", Uuid::from_u128(9));
    let stale = world.get(&path).await["@odata.etag"].as_str().unwrap().to_owned();
    assert_eq!(world.write("PATCH", &path, json!({ "name": "B" })).await.0, 204);
    let fresh = world.get(&path).await["@odata.etag"].as_str().unwrap().to_owned();
    for (method, path, header, value, status, code) in [
        ("PATCH", &absent, "If-Match", "*", 404, "0x80040217"),
        ("PATCH", &absent, "If-Match", fresh.as_str(), 404, "0x80040217"),
        ("PATCH", &path, "If-None-Match", "*", 412, "0x80040237"),
        ("PATCH", &path, "If-Match", stale.as_str(), 412, "0x80060882"),
        ("PATCH", &path, "If-Match", "nonsense", 412, "0x80060882"),
        ("PATCH", &path, "If-Match", "*", 204, ""),
        ("GET", &path, "If-None-Match", fresh.as_str(), 200, ""),
        ("DELETE", &path, "If-Match", stale.as_str(), 412, "0x80060882"),
        ("DELETE", &absent, "If-Match", "*", 404, "0x80040217"),
    ] {
        let url = format!("{}/api/data/v9.2/{path}", world.base);
        let request = world.client.request(method.parse().unwrap(), url).bearer_auth(&world.token);
        let answer = request.header(header, value).json(&json!({ "name": "C" })).send().await.unwrap();
        assert_eq!(outcome(answer).await, (status, code.to_owned()), "{method} {path} {header}: {value}");
    }
    let etag = world.get(&path).await["@odata.etag"].as_str().unwrap().to_owned();
    let url = format!("{}/api/data/v9.2/{path}", world.base);
    let unchanged =
        world.client.get(&url).bearer_auth(&world.token).header("If-None-Match", &etag).send().await;
    assert_eq!(unchanged.unwrap().status(), 304);
    let gone = world.client.delete(&url).bearer_auth(&world.token).header("If-Match", &etag).send().await;
    assert_eq!(gone.unwrap().status(), 204);
}

#[tokio::test]
async fn records_belong_to_a_user_or_a_team() {
    let world = World::start().await;
    let me = world.get("WhoAmI").await["UserId"].clone();
    let account = world.create("accounts", json!({ "name": "A" })).await;
    let path = format!("accounts({account})");
    assert_eq!(world.get(&path).await["_ownerid_value"], me);
    let team = world.create("teams", json!({ "name": "Sales" })).await;
    let user = world.create("systemusers", json!({ "firstname": "U", "lastname": "V" })).await;
    for (owner, id) in [(format!("/teams({team})"), team), (format!("systemusers({user})"), user)] {
        assert_eq!(world.write("PATCH", &path, json!({ "ownerid@odata.bind": owner })).await.0, 204);
        assert_eq!(world.get(&path).await["_ownerid_value"], json!(id));
    }
    let contact = world.create("contacts", json!({ "lastname": "L" })).await;
    let wrong = json!({ "ownerid@odata.bind": format!("/contacts({contact})") });
    assert_eq!(world.write("PATCH", &path, wrong).await, (400, "0x80048d19".into()));
    assert!(world.get("RetrieveVersion()").await["Version"].as_str().unwrap().starts_with("9.2."));
}
