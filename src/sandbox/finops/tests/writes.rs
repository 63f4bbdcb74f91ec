//! Writes: creates, updates and deletes, and every documented refusal.

use serde_json::{Value as Json, json};

use super::{World, customer, refusal};
use crate::sandbox::{Overlong, Unwritable};

#[tokio::test]
async fn the_documented_create_is_answered_as_documented() {
    let world = World::start().await;
    world.create("PaymentTerms", json!({ "Name": "Net30" })).await;
    let body = json!({
        "CustomerGroupId": "1060", "Description": "Wholesales customers", "PaymentTermId": "Net30",
        "IsSalesTaxIncludedInPrice": "No", "dataAreaId": "usmf",
    });
    let answer = world.send("POST", "CustomerGroups?cross-company=true", &body).await;
    assert_eq!(answer.status(), 201);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    let address = format!("{}/data/CustomerGroups(dataAreaId='usmf',CustomerGroupId='1060')", world.base);
    assert_eq!(header("location"), address);
    assert_eq!(header("odata-version"), "4.0");
    assert_eq!(header("content-type"), "application/json; odata.metadata=minimal");
    for name in ["x-ms-dop-hint", "req_id"] {
        assert!(!answer.headers().contains_key(name), "{name} is Dataverse's");
    }
    let etag = header("etag");
    // `'1,68719476737'`, as the service spells version and record.
    assert_eq!(etag, "W/\"JzEsNjg3MTk0NzY3Mzcn\"");
    let row: Json = answer.json().await.unwrap();
    let context = format!("{}/data/$metadata#CustomerGroups/$entity", world.base);
    assert_eq!((&row["@odata.context"], &row["@odata.etag"]), (&json!(context), &json!(etag)));
    let columns: Vec<(&String, &Json)> = row.as_object().unwrap().iter().skip(2).collect();
    let wanted = [
        ("dataAreaId", "usmf"),
        ("CustomerGroupId", "1060"),
        ("ClearingPeriodPaymentTermName", ""),
        ("CustomerAccountNumberSequence", ""),
        ("DefaultDimensionDisplayValue", ""),
        ("Description", "Wholesales customers"),
        ("IsSalesTaxIncludedInPrice", "No"),
        ("WriteOffReason", ""),
        ("PaymentTermId", "Net30"),
        ("TaxGroupId", ""),
    ];
    assert_eq!(columns.len(), wanted.len());
    for ((name, value), wanted) in columns.into_iter().zip(wanted) {
        assert_eq!((name.as_str(), value.as_str().unwrap()), wanted);
    }
    let path = "CustomerGroups(dataAreaId='usmf',CustomerGroupId='1060')";
    assert_eq!(world.get(path).await, row);
}

#[tokio::test]
async fn what_the_form_of_a_body_gets_wrong_is_refused() {
    let world = World::start().await.with_groups().await;
    for (body, text) in [
        (
            json!({ "CustomerGroupId": "11", "Descripton": "x" }),
            "The property 'Descripton' does not exist on type",
        ),
        (json!({ "customergroupid": "11" }), "The property 'customergroupid' does not exist"),
        (
            json!({ "CustomerGroupId": 11 }),
            "Cannot convert the literal '11' to the expected type 'Edm.String'",
        ),
        (
            json!({ "CustomerGroupId": "11", "IsSalesTaxIncludedInPrice": "Perhaps" }),
            "Cannot convert the literal 'Perhaps'",
        ),
        (
            json!({ "CustomerGroupId": "11", "IsSalesTaxIncludedInPrice": true }),
            "Cannot convert the literal 'true'",
        ),
        (json!([]), "Invalid JSON"),
    ] {
        let (status, found) = world.write("POST", "CustomerGroups", body.clone()).await;
        assert_eq!(status, 400, "{body}");
        assert!(found.contains(text), "{body}: {found}");
    }
    let garbage = world.request("POST", "CustomerGroups").body("{\"CustomerGroupId\":").send().await.unwrap();
    let (status, found) = refusal(garbage).await;
    assert_eq!(status, 400);
    assert!(found.contains("Invalid JSON"), "{found}");
    // A shared entity has no company.
    let (status, found) =
        world.write("POST", "Currencies", json!({ "CurrencyCode": "USD", "dataAreaId": "usmf" })).await;
    assert_eq!(status, 400);
    assert!(found.contains("The property 'dataAreaId' does not exist on type"), "{found}");
    assert_eq!(world.count("CustomerGroups/$count").await, "1");
}

#[tokio::test]
async fn what_the_application_refuses_is_in_the_infolog() {
    let world = World::start().await.with_groups().await;
    world.create("CustomersV3", customer("US-001")).await;
    let with = |change: Json| {
        let mut body = customer("US-002");
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for (body, text) in [
        (
            with(json!({ "CustomerGroupId": "Local" })),
            "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: The value 'Local' in field \
             'Customer group' is not found in the related table 'Customer groups'.; Warning: validateField failed on field \
             'CustCustomerV3Entity.CustomerGroupId'.",
        ),
        (
            with(json!({ "PaymentTerms": "Net99" })),
            "The value 'Net99' in field 'Terms of payment' is not found in the related table 'Terms of payment'.",
        ),
        (
            with(json!({ "CustomerAccount": "us-001" })),
            "Infolog: Info: Cannot create a record in Customers (CustTable). Customer account: us-001.\nThe record already \
             exists..",
        ),
        (
            json!({ "CustomerAccount": "US-003" }),
            "Infolog: Warning: Field 'Customer group' must be filled in.; Warning: Field 'Currency' must be filled in.; \
             Warning: validateWrite failed on data source 'CustTable (CustTable)'.",
        ),
        (with(json!({ "dataAreaId": "zzzz" })), "The company 'zzzz' does not exist."),
        (
            with(json!({ "SalesCurrencyCode": "USDX" })),
            "in field 'Currency' exceeds the maximum of 3 characters.",
        ),
        // The group is another company's.
        (with(json!({ "dataAreaId": "ussi" })), "The value '10' in field 'Customer group' is not found"),
    ] {
        let answer = world.send("POST", "CustomersV3?cross-company=true", &body).await;
        let body: Json = answer.json().await.unwrap();
        assert_eq!(
            (&body["error"]["code"], &body["error"]["message"]),
            (&json!(""), &json!("An error has occurred."))
        );
        let inner = &body["error"]["innererror"];
        assert!(inner["message"].as_str().unwrap().contains(text), "{inner}");
        assert_eq!(
            inner["type"],
            "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"
        );
        assert!(inner["stacktrace"].is_string());
    }
    assert_eq!(world.count("CustomersV3/$count?cross-company=true").await, "1");
}

#[tokio::test]
async fn a_refused_write_is_400_or_500_as_the_environment_has_it() {
    for status in [400, 500] {
        let world = World::differing(|options| options.failure_status = status).await;
        assert_eq!(world.write("POST", "CustomersV3", customer("A")).await.0, status);
        // The form of a request is checked elsewhere.
        assert_eq!(world.write("POST", "CustomersV3", json!({ "No": 1 })).await.0, 400);
    }
}

#[tokio::test]
async fn what_a_create_leaves_empty_is_filled_by_the_application() {
    let world = World::start().await.with_groups().await;
    let row =
        world.create("CustomersV3", json!({ "CustomerGroupId": "10", "SalesCurrencyCode": "USD" })).await;
    for (name, wanted) in [
        ("dataAreaId", json!("usmf")),
        ("CustomerAccount", json!("C-000001")),
        ("PartyNumber", json!("P-000001")),
        ("PartyType", json!("Organization")),
        // The group's.
        ("PaymentTerms", json!("Net30")),
        ("SalesTaxGroup", json!("AVATAX")),
        ("CreditLimit", json!(0)),
        ("DDULegacyRecordId", json!(0)),
        ("OnHoldStatus", json!("No")),
        ("CreditLimitIsMandatoryFrom", json!("1900-01-01T12:00:00Z")),
        ("PrimaryContactEmail", json!("")),
    ] {
        assert_eq!(row[name], wanted, "{name}");
    }
    assert_ne!(row["CreatedDateTime"], json!("1900-01-01T12:00:00Z"));
    // What is given stays, and a company has a number sequence of its own.
    for company in ["usmf", "ussi"] {
        world.create("PaymentTerms", json!({ "Name": "Cash", "dataAreaId": company })).await;
    }
    world.create("CustomerGroups", json!({ "CustomerGroupId": "10", "dataAreaId": "ussi" })).await;
    let body = json!({
        "dataAreaId": "USSI", "CustomerGroupId": "10", "SalesCurrencyCode": "USD", "PaymentTerms": "Cash",
        "DDULegacyRecordId": 5_637_144_576_i64,
    });
    let row = world.create("CustomersV3", body).await;
    assert_eq!((&row["CustomerAccount"], &row["dataAreaId"]), (&json!("C-000001"), &json!("ussi")));
    assert_eq!(
        (&row["PaymentTerms"], &row["DDULegacyRecordId"]),
        (&json!("Cash"), &json!(5_637_144_576_i64))
    );
}

#[tokio::test]
async fn journals_number_themselves_and_their_lines() {
    let world = World::start().await;
    let refused = world.write("POST", "LedgerJournalHeaders", json!({ "JournalName": "GenJrn" })).await;
    assert!(
        refused.1.contains(
            "The value 'GenJrn' in field 'Name' is not found in the related table 'Journal names'."
        )
    );
    world.create("JournalNames", json!({ "Name": "GenJrn", "Description": "General journal" })).await;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let body = json!({ "JournalName": "GenJrn", "JournalBatchNumber": "MINE", "IsPosted": "Yes" });
        let header = world.create("LedgerJournalHeaders", body).await;
        assert_eq!((&header["Description"], &header["IsPosted"]), (&json!("General journal"), &json!("No")));
        numbers.push(header["JournalBatchNumber"].as_str().unwrap().to_owned());
    }
    assert_eq!(numbers, ["000001", "000002"]);
    let line = |journal: &str| {
        json!({
            "JournalBatchNumber": journal, "TransDate": "2026-11-24T12:00:00Z", "AccountDisplayValue": "110110",
            "CurrencyCode": "USD", "DebitAmount": 12.345, "AccountType": "Cust", "OffsetAccountType": "Bank",
        })
    };
    for (journal, number) in [("000001", 1), ("000001", 2), ("000002", 1)] {
        assert_eq!(world.create("LedgerJournalLines", line(journal)).await["LineNumber"], json!(number));
    }
    let refused = world.write("POST", "LedgerJournalLines", line("000009")).await;
    assert!(refused.1.contains("The value '000009' in field 'Journal batch number' is not found"));
    let path = "LedgerJournalHeaders(dataAreaId='usmf',JournalBatchNumber='000001')";
    assert_eq!(
        world.write("DELETE", path, json!({})).await,
        (
            400,
            "Write failed for table row of type 'LedgerJournalHeaderEntity'. Infolog: Error: Ledger journal table cannot be \
             deleted while dependent Journal lines exist.."
                .to_owned()
        )
    );
    for number in [1, 2] {
        let line =
            format!("LedgerJournalLines(dataAreaId='usmf',JournalBatchNumber='000001',LineNumber={number})");
        assert_eq!(world.write("DELETE", &line, json!({})).await.0, 204);
    }
    assert_eq!(world.write("DELETE", path, json!({})).await.0, 204);
}

#[tokio::test]
async fn an_update_changes_what_it_mentions_and_creates_nothing() {
    let world = World::start().await.with_groups().await;
    let before = world.create("CustomersV3", customer("US-001")).await;
    let path = "CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')";
    let change = json!({ "CreditLimit": 2500.5, "OnHoldStatus": "All", "KnownAs": null });
    let answer = world.send("PATCH", path, &change).await;
    assert_eq!(answer.status(), 204);
    assert_eq!(answer.text().await.unwrap(), "");
    let after = world.get(path).await;
    assert_ne!(after["@odata.etag"], before["@odata.etag"]);
    assert_eq!((&after["CreditLimit"], &after["OnHoldStatus"]), (&json!(2500.5), &json!("All")));
    assert_eq!(after["OrganizationName"], "US-001");
    // PUT was seen to keep what it does not mention.
    assert_eq!(world.write("PUT", path, json!({ "CreditLimit": 1 })).await.0, 204);
    assert_eq!(world.get(path).await["OnHoldStatus"], "All");
    let absent = (400, "No resources were found when selecting for update.".to_owned());
    let missing = "CustomersV3(dataAreaId='usmf',CustomerAccount='US-009')";
    assert_eq!(world.write("PATCH", missing, json!({ "CreditLimit": 1 })).await, absent);
    assert_eq!(world.write("DELETE", missing, json!({})).await, absent);
    assert_eq!(world.count("CustomersV3/$count").await, "1");
    // A row may name itself, and can go all the same; one that another names cannot.
    assert_eq!(world.write("PATCH", path, json!({ "InvoiceAccount": "US-001" })).await.0, 204);
    let mut second = customer("US-002");
    second["InvoiceAccount"] = json!("US-001");
    world.create("CustomersV3", second).await;
    let (_, text) = world.write("DELETE", path, json!({})).await;
    assert!(text.contains("Customers cannot be deleted while dependent Customers exist."), "{text}");
    let other = "CustomersV3(dataAreaId='usmf',CustomerAccount='US-002')";
    assert_eq!(world.write("DELETE", other, json!({})).await.0, 204);
    // A related value is looked up on update as well, and what is required stays.
    let (_, text) = world.write("PATCH", path, json!({ "CustomerGroupId": "Local" })).await;
    assert!(text.contains("is not found in the related table"), "{text}");
    let (_, text) = world.write("PATCH", path, json!({ "SalesCurrencyCode": "" })).await;
    assert!(text.contains("Field 'Currency' must be filled in."), "{text}");
    assert_eq!(world.write("DELETE", path, json!({})).await.0, 204);
    assert_eq!(world.count("CustomersV3/$count").await, "0");
}

#[tokio::test]
async fn a_row_of_another_company_is_out_of_reach_without_asking_across() {
    let world = World::start().await;
    world.create("PaymentTerms", json!({ "Name": "Net10", "dataAreaId": "frrt" })).await;
    let path = "PaymentTerms(dataAreaId='frrt',Name='Net10')";
    let absent = (400, "No resources were found when selecting for update.".to_owned());
    assert_eq!(world.write("PATCH", path, json!({ "NumberOfDays": 10 })).await, absent);
    assert_eq!(world.write("DELETE", path, json!({})).await, absent);
    assert_eq!(world.request("GET", path).send().await.unwrap().status(), 404);
    let across = format!("{path}?cross-company=true");
    assert_eq!(world.write("PATCH", &across, json!({ "NumberOfDays": 10 })).await.0, 204);
    assert_eq!(world.get(&across).await["NumberOfDays"], 10);
    assert_eq!(world.write("DELETE", &across, json!({})).await.0, 204);
    assert_eq!(world.request("GET", &across).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn a_client_has_a_default_company_of_its_own() {
    let world = World::differing(|options| {
        options.client_companies.insert("french".to_owned(), "frrt".to_owned());
    })
    .await;
    let french = world.sign_in("french").await;
    let terms = format!("{}/data/PaymentTerms", world.base);
    let request = world.client.post(&terms).bearer_auth(&french).json(&json!({ "Name": "Net30" }));
    let row: Json = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(row["dataAreaId"], "frrt");
    assert_eq!(world.count("PaymentTerms/$count").await, "0");
    let count = world.client.get(format!("{terms}/$count")).bearer_auth(&french).send().await.unwrap();
    assert_eq!(count.text().await.unwrap(), "1");
}

#[tokio::test]
async fn a_stale_etag_is_412_for_updates_and_deletes() {
    let world = World::start().await;
    let created = world.create("Currencies", json!({ "CurrencyCode": "EUR" })).await;
    let stale = created["@odata.etag"].as_str().unwrap().to_owned();
    let path = "Currencies(CurrencyCode='EUR')";
    let with = async |method: &str, etag: &str| {
        let request = world.request(method, path).header("If-Match", etag).json(&json!({ "Name": "Euro" }));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(with("PATCH", &stale).await, 204);
    assert_eq!(with("PATCH", &stale).await, 412);
    assert_eq!(with("DELETE", &stale).await, 412);
    assert_eq!(with("PATCH", "*").await, 204);
    let fresh = world.get(path).await["@odata.etag"].as_str().unwrap().to_owned();
    assert_eq!(with("DELETE", &fresh).await, 204);
}

#[tokio::test]
async fn a_value_for_a_column_that_cannot_be_written_is_dropped_or_refused() {
    let world = World::start().await.with_groups().await;
    let row = world.create("CustomersV3", customer("US-001")).await;
    let path = "CustomersV3(dataAreaId='usmf',CustomerAccount='US-001')";
    // A column that a create alone sets, a key column and one that nobody sets.
    let change = json!({ "AddressCity": "Bern", "CustomerAccount": "US-002", "PartyNumber": "X" });
    assert_eq!(world.write("PATCH", path, change).await.0, 204);
    let after = world.get(path).await;
    assert_eq!((&after["AddressCity"], &after["PartyNumber"]), (&json!(""), &row["PartyNumber"]));

    let strict =
        World::differing(|options| options.unwritable = Unwritable::Refused).await.with_groups().await;
    strict.create("CustomersV3", customer("US-001")).await;
    for (change, label) in [
        (json!({ "AddressCity": "Bern" }), "City"),
        (json!({ "PartyNumber": "X" }), "Party ID"),
        (json!({ "CustomerAccount": "US-002" }), "Customer account"),
    ] {
        let (status, text) = strict.write("PATCH", path, change).await;
        assert_eq!(status, 400);
        assert!(text.contains(&format!("Field '{label}' does not allow editing.")), "{text}");
    }
    // The key that the address has may stand in the body as well.
    let same = json!({ "CustomerAccount": "us-001", "dataAreaId": "usmf", "KnownAs": "x" });
    assert_eq!(strict.write("PATCH", path, same).await.0, 204);
}

#[tokio::test]
async fn a_text_that_is_too_long_can_also_be_cut() {
    let world = World::differing(|options| options.overlong = Overlong::Cut).await;
    let row = world.create("Currencies", json!({ "CurrencyCode": "EUR", "Symbol": "EUROS €" })).await;
    assert_eq!(row["Symbol"], "EUROS");
}

#[tokio::test]
async fn rows_are_there_again_after_a_restart_and_numbers_go_on() {
    let world = World::start().await;
    world.create("JournalNames", json!({ "Name": "GenJrn" })).await;
    world.create("LedgerJournalHeaders", json!({ "JournalName": "GenJrn" })).await;
    let folder = world.stopped().await;
    let world = World::over(folder, |_| {}).await;
    let header = world.create("LedgerJournalHeaders", json!({ "JournalName": "GenJrn" })).await;
    assert_eq!(header["JournalBatchNumber"], "000002");
    assert_eq!(world.count("LedgerJournalHeaders/$count").await, "2");
    // A copy has them all, and gives the file nothing back.
    let folder = world.stopped().await;
    let world = World::copy(folder).await;
    world.create("LedgerJournalHeaders", json!({ "JournalName": "GenJrn" })).await;
    assert_eq!(world.count("LedgerJournalHeaders/$count").await, "3");
    let world = World::over(world.stopped().await, |_| {}).await;
    assert_eq!(world.count("LedgerJournalHeaders/$count").await, "2");
}
