//! What the service tells of itself, who may come in, and how it is busy.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::{World, refusal};
use crate::sandbox::{Fault, Load, Sandbox, SandboxDialect, SandboxError, SandboxOptions};

async fn metadata(world: &World) -> String {
    let answer = world.request("GET", "$metadata").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/xml");
    answer.text().await.unwrap()
}

#[tokio::test]
async fn the_documents_list_sets_types_keys_and_who_may_edit_what() {
    let world = World::start().await;
    let root: Json = world.request("GET", "").send().await.unwrap().json().await.unwrap();
    let sets = root["value"].as_array().unwrap();
    assert!(sets.contains(&json!({ "name": "CustomersV3", "kind": "EntitySet", "url": "CustomersV3" })));
    assert_eq!(root["@odata.context"], json!(format!("{}/data/$metadata", world.base)));
    let xml = metadata(&world).await;
    for part in [
        "<Schema Namespace=\"Microsoft.Dynamics.DataEntities\"",
        "<EnumType Name=\"NoYes\"><Member Name=\"No\" Value=\"0\" /><Member Name=\"Yes\" Value=\"1\" /></EnumType>",
        "<EntityType Name=\"LedgerJournalHeader\"><Key><PropertyRef Name=\"dataAreaId\" /><PropertyRef \
         Name=\"JournalBatchNumber\" /></Key>",
        "<Property Name=\"JournalBatchNumber\" Type=\"Edm.String\" Nullable=\"false\"><Annotation \
         Term=\"Microsoft.Dynamics.OData.Core.V1.AllowEdit\" Bool=\"false\" /><Annotation \
         Term=\"Microsoft.Dynamics.OData.Core.V1.AllowEditOnCreate\" Bool=\"false\" /><Annotation \
         Term=\"Microsoft.Dynamics.OData.Core.V1.LabelId\" String=\"@DDU:LedgerJournalHeaders.JournalBatchNumber\" \
         /></Property>",
        "<Property Name=\"IsSalesTaxIncludedInPrice\" Type=\"Microsoft.Dynamics.DataEntities.NoYes\">",
        "<EntitySet Name=\"Currencies\" EntityType=\"Microsoft.Dynamics.DataEntities.Currency\" />",
    ] {
        assert!(xml.contains(part), "{part}");
    }
    assert!(!xml.contains("MaxLength"), "facets are told by some builds only");
    let with_facets = metadata(&World::differing(|options| options.facets = true).await).await;
    assert!(with_facets.contains("MaxLength=\"60\""));
    assert!(with_facets.contains("Precision=\"32\" Scale=\"6\""));
    assert_eq!(world.request("POST", "$metadata").send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn an_exported_document_is_served_as_the_servers_own_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("exported.xml");
    let document = "<edmx:Edmx><edmx:DataServices><Schema Namespace=\"Microsoft.Dynamics.DataEntities\">\
        <EnumType Name=\"NoYes\"><Member Name=\"No\" Value=\"0\"/><Member Name=\"Yes\" Value=\"1\"/></EnumType>\
        <EntityType Name=\"Truck\"><Key><PropertyRef Name=\"dataAreaId\"/><PropertyRef Name=\"TruckId\"/></Key>\
        <Property Name=\"TruckId\" Type=\"Edm.String\" Nullable=\"false\" MaxLength=\"5\"><Annotation \
        Term=\"Microsoft.Dynamics.OData.Core.V1.IsRequired\" Bool=\"true\"/></Property>\
        <Property Name=\"dataAreaId\" Type=\"Edm.String\" Nullable=\"false\"/>\
        <Property Name=\"IsOld\" Type=\"Microsoft.Dynamics.DataEntities.NoYes\"/>\
        <Property Name=\"BoughtDate\" Type=\"Edm.DateTimeOffset\"/></EntityType>\
        <EntityType Name=\"Log\"><Key><PropertyRef Name=\"Id\"/></Key><Property Name=\"Id\" Type=\"Edm.Int64\"/>\
        <Annotation Term=\"Microsoft.Dynamics.OData.Core.V1.IsReadOnly\" Bool=\"true\"/></EntityType>\
        <EntityContainer Name=\"Resources\"><EntitySet Name=\"Trucks\" \
        EntityType=\"Microsoft.Dynamics.DataEntities.Truck\"/><EntitySet Name=\"Logs\" \
        EntityType=\"Microsoft.Dynamics.DataEntities.Log\"/></EntityContainer></Schema></edmx:DataServices></edmx:Edmx>";
    std::fs::File::create(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, document.as_bytes()))
        .unwrap();
    let world = World::with(|options| options.metadata = Some(path.clone())).await;
    assert!(metadata(&world).await.contains("<EntityType Name=\"Truck\">"));
    let body = json!({ "TruckId": "T1", "BoughtDate": "2020-02-29T23:00:00Z", "IsOld": "Yes" });
    let row = world.create("Trucks", body).await;
    assert_eq!((&row["dataAreaId"], &row["BoughtDate"]), (&json!("usmf"), &json!("2020-02-29T12:00:00Z")));
    assert!(
        world
            .write("POST", "Trucks", json!({ "TruckId": "T1" }))
            .await
            .1
            .contains("The record already exists")
    );
    assert!(
        world
            .write("POST", "Trucks", json!({ "TruckId": "TOO LONG" }))
            .await
            .1
            .contains("exceeds the maximum of 5")
    );
    assert!(world.write("POST", "Trucks", json!({ "IsOld": "No" })).await.1.contains("must be filled in"));
    assert!(world.write("POST", "Logs", json!({ "Id": 1 })).await.1.contains("read-only"));
    assert_eq!(world.request("GET", "CustomersV3").send().await.unwrap().status(), 404);

    std::fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, b"<edmx")).unwrap();
    let mut options = SandboxOptions::at(folder.path().join("s.db"));
    options.dialect = SandboxDialect::finops();
    options.metadata = Some(path);
    assert!(matches!(Sandbox::open(options), Err(SandboxError::Metadata { .. })));
}

#[tokio::test]
async fn a_client_that_no_user_stands_for_is_turned_away() {
    let world = World::differing(|options| {
        options.mapped_clients = Some(BTreeSet::from(["migration".to_owned()]));
    })
    .await;
    assert_eq!(world.request("GET", "CustomersV3").send().await.unwrap().status(), 200);
    let stranger = world.sign_in("stranger").await;
    assert!(!stranger.is_empty(), "the token is given out all the same");
    let url = format!("{}/data/CustomersV3", world.base);
    let answer = world.client.get(&url).bearer_auth(stranger).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(world.client.get(&url).send().await.unwrap().status(), 401);
    // The older form of the token endpoint names the resource itself.
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "migration"),
        ("client_secret", "s"),
        ("resource", &world.base),
    ];
    let answer =
        world.client.post(format!("{}/tenant/oauth2/token", world.base)).form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Dataverse's addresses are not here.
    let answer =
        world.request("GET", &format!("{}/api/data/v9.2/accounts", world.base)).send().await.unwrap();
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn a_busy_environment_turns_requests_away_by_chance_and_says_for_how_long() {
    let busy = |share, retry_after_s| Load { share, seed: 1, retry_after_s };
    let world = World::differing(|options| options.load = Some(busy(1.0, Some(60)))).await;
    let answer = world.send("POST", "Currencies", &json!({ "CurrencyCode": "EUR" })).await;
    assert_eq!(answer.headers()["retry-after"], "60");
    let text = "This request could not be processed at this time due to system experiencing high resource utilization. \
                Retry the request after 60 seconds";
    assert_eq!(refusal(answer).await, (429, text.to_owned()));

    let world = World::differing(|options| options.load = Some(busy(0.5, None))).await;
    let mut statuses = Vec::new();
    for _ in 0..40 {
        let answer = world.request("GET", "Currencies").send().await.unwrap();
        assert!(!answer.headers().contains_key("retry-after"));
        statuses.push(answer.status().as_u16());
    }
    let turned_away = statuses.iter().filter(|&&status| status == 429).count();
    assert!((10..=30).contains(&turned_away), "{statuses:?}");
}

fn rules(text: Json) -> Vec<Fault> {
    serde_json::from_value(text).unwrap()
}

#[tokio::test]
async fn faults_strike_requests_in_the_words_of_this_product() {
    let world = World::with(|options| {
        options.faults = rules(json!([
            { "on": { "kind": "write", "request": 1 }, "answer": { "status": 502, "html": true } },
            { "on": { "kind": "write", "request": 2 }, "answer": { "status": 429, "retry_after": "7" } },
            { "on": { "kind": "write", "request": 3 }, "answer": { "status": 400, "code": "update_conflict" } },
            { "on": { "kind": "write", "request": 4 }, "answer": { "status": 500, "message": "Write failed. Infolog: Error: x." } },
            { "on": { "kind": "write", "request": 5 }, "answer": { "status": 503 } },
            { "on": { "kind": "write", "request": 6 }, "answer": { "cut": "before" } },
            { "on": { "kind": "write", "request": 7 }, "answer": { "cut": "after" } },
        ]));
    })
    .await;
    let body = json!({ "CurrencyCode": "EUR" });
    let answer = world.send("POST", "Currencies", &body).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (502, "text/html")
    );
    let answer = world.send("POST", "Currencies", &body).await;
    assert_eq!(answer.headers()["retry-after"], "7");
    let (status, text) = refusal(answer).await;
    assert!(status == 429 && text.contains("high resource utilization"), "{status} {text}");
    for (status, text) in [
        (
            400,
            "Write failed for table row of type 'CurrencyEntity'. Cannot edit a record in Currencies \
               (Currency). An update conflict occurred due to another user process deleting the record or changing one or \
               more fields in the record.",
        ),
        (500, "Write failed. Infolog: Error: x."),
        (503, "An error has occurred."),
    ] {
        assert_eq!(world.write("POST", "Currencies", body.clone()).await, (status, text.to_owned()));
    }
    assert!(world.request("POST", "Currencies").json(&body).send().await.is_err());
    assert_eq!(world.count("Currencies/$count").await, "0");
    assert!(world.request("POST", "Currencies").json(&body).send().await.is_err());
    assert_eq!(world.count("Currencies/$count").await, "1");
}

#[tokio::test]
async fn faults_strike_single_rows_alone_and_in_batches() {
    let world = World::with(|options| {
        options.faults = rules(json!([
            { "on": { "kind": "operation", "entity": "Currencies", "request": 2 },
              "answer": { "status": 400, "code": "deadlock" } },
            { "on": { "kind": "operation", "column": "CurrencyCode", "value": "CHF" },
              "answer": { "status": 400, "code": "policy_denied" } },
            { "on": { "kind": "operation", "column": "CurrencyCode", "value": "GBP" },
              "answer": { "status": 400, "code": "blocked" } },
            { "on": { "kind": "operation", "column": "CurrencyCode", "value": "JPY" },
              "answer": { "status": 500, "message": "Write failed for table row of type 'CurrencyEntity'. Infolog: Error: own." } },
        ]));
    })
    .await;
    let create = async |code: &str| world.write("POST", "Currencies", json!({ "CurrencyCode": code })).await;
    assert_eq!(create("EUR").await.0, 201);
    for (code, status, text) in [
        (
            "USD",
            400,
            "Deadlock, where one or more users have simultaneously locked the whole table or part of it..",
        ),
        ("CHF", 400, "Cannot create a record in Currencies (Currency). Security policy permission denied.."),
        (
            "GBP",
            400,
            "Warning: Item 'L-10780-02' is blocked for 'Purchase order'.; Warning: validateWrite failed",
        ),
        ("JPY", 500, "Infolog: Error: own."),
    ] {
        let found = create(code).await;
        assert!(found.0 == status && found.1.contains(text), "{code}: {found:?}");
    }
    assert_eq!(create("USD").await.0, 201, "a deadlock passes");
    let part = |code: &str| {
        format!(
            "--b\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\nPOST Currencies HTTP/1.1\r\n\
             Content-Type: application/json\r\n\r\n{{\"CurrencyCode\":\"{code}\"}}\r\n"
        )
    };
    let body = format!("{}{}{}--b--\r\n", part("SEK"), part("CHF"), part("NOK"));
    let request =
        world.request("POST", "$batch").header("Content-Type", "multipart/mixed;boundary=b").body(body);
    let text = request.send().await.unwrap().text().await.unwrap();
    let statuses: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)).collect();
    assert_eq!(statuses, ["201", "400", "201"]);
    assert!(text.contains("Security policy permission denied"));
}

#[tokio::test]
async fn the_metadata_service_tells_entities_columns_and_the_texts_of_labels() {
    let world = World::start().await;
    let get = async |path: &str| world.request("GET", &format!("{}{path}", world.base)).send().await.unwrap();
    let entities: Json = get("/Metadata/DataEntities").await.json().await.unwrap();
    let customers = entities["value"]
        .as_array()
        .unwrap()
        .iter()
        .find(|of| of["PublicEntityName"] == "CustomerV3")
        .unwrap();
    assert_eq!(customers["Name"], "CustCustomerV3Entity");
    assert_eq!(customers["PublicCollectionName"], "CustomersV3");
    let entity: Json = get("/metadata/PublicEntities('CustomerV3')").await.json().await.unwrap();
    let group =
        entity["Properties"].as_array().unwrap().iter().find(|of| of["Name"] == "CustomerGroupId").unwrap();
    assert_eq!(
        (&group["IsMandatory"], &group["IsKey"], &group["DataType"]),
        (&json!(true), &json!(false), &json!("String"))
    );
    for (id, text) in [(&customers["LabelId"], "Customers"), (&group["LabelId"], "Customer group")] {
        let path = format!("/metadata/Labels(Id='{}',Language='en-us')", id.as_str().unwrap());
        let label: Json = get(&path).await.json().await.unwrap();
        assert_eq!((&label["Value"], &label["Language"]), (&json!(text), &json!("en-us")));
    }
    for path in [
        "/metadata/Labels(Id='@SYS1',Language='en-us')",
        "/metadata/Nothing",
        "/metadata/PublicEntities('x')",
        "/metadata/",
    ] {
        assert_eq!(get(path).await.status(), 404, "{path}");
    }
    let answer =
        world.request("POST", &format!("{}/metadata/DataEntities", world.base)).send().await.unwrap();
    assert_eq!(answer.status(), 405);
}

#[tokio::test]
async fn an_environment_may_show_all_companies_to_whoever_reads() {
    let world = World::differing(|options| options.reads_across = true).await;
    world.create("PaymentTerms", json!({ "Name": "Net30", "dataAreaId": "ussi" })).await;
    assert_eq!(world.count("PaymentTerms/$count").await, "1");
    let path = "PaymentTerms(dataAreaId='ussi',Name='Net30')";
    assert_eq!(world.get(path).await["Name"], "Net30");
    assert_eq!(
        world.write("PATCH", path, json!({ "NumberOfDays": 1 })).await.0,
        400,
        "writes still name what they mean"
    );
}
