//! Reads: filters, pages, counts, companies.

use serde_json::{Value as Json, json};

use super::{World, customer, refusal};

async fn five_customers() -> World {
    let world = World::differing(|options| options.page_rows_max = 2).await.with_groups().await;
    for (account, limit, hold) in [
        ("A-1", 10.0, "No"),
        ("A-2", 20.5, "All"),
        ("B-1", 30.0, "No"),
        ("B'2", 40.0, "Invoice"),
        ("C_1", 50.0, "All"),
    ] {
        let mut body = customer(account);
        body["CreditLimit"] = json!(limit);
        body["OnHoldStatus"] = json!(hold);
        world.create("CustomersV3", body).await;
    }
    world
}

#[tokio::test]
async fn filters_find_what_they_say() {
    let world = five_customers().await;
    for (filter, wanted) in [
        ("CustomerAccount eq 'a-1'", vec!["A-1"]),
        ("CustomerAccount eq 'B''2'", vec!["B'2"]),
        ("CustomerAccount eq '*1'", vec!["A-1", "B-1", "C_1"]),
        ("CustomerAccount eq 'A*' and CreditLimit gt 10", vec!["A-2"]),
        ("CustomerAccount ne '*-*'", vec!["B'2", "C_1"]),
        ("CreditLimit ge 20.5 and CreditLimit lt 50", vec!["A-2", "B-1", "B'2"]),
        ("not (CreditLimit le 40)", vec!["C_1"]),
        ("CustomerAccount eq 'A-1' or CustomerAccount eq 'c_1'", vec!["A-1", "C_1"]),
        ("CustomerAccount eq 'A-1' or CustomerAccount eq 'B*'", vec!["A-1", "B-1", "B'2"]),
        ("CustomerAccount eq 'A-1' or CreditLimit eq 30", vec!["A-1", "B-1"]),
        ("OnHoldStatus eq Microsoft.Dynamics.DataEntities.CustVendorBlocked'All'", vec!["A-2", "C_1"]),
        (
            "OnHoldStatus ne Microsoft.Dynamics.DataEntities.CustVendorBlocked'No' and CreditLimit lt 45",
            vec!["A-2", "B'2"],
        ),
        ("dataAreaId eq 'usmf' and CreditLimit eq 30", vec!["B-1"]),
        ("CreditLimitIsMandatoryFrom eq 1900-01-01T12:00:00Z and CreditLimit eq 30", vec!["B-1"]),
        ("PrimaryContactEmail eq '' and CreditLimit eq 30", vec!["B-1"]),
    ] {
        let path = format!("CustomersV3?$filter={filter}&$select=CustomerAccount&$orderby=CreditLimit");
        let mut found = Vec::new();
        let mut next = Some(path);
        while let Some(path) = next {
            let body = world.get(&path).await;
            assert!(body["value"].as_array().unwrap().len() <= 2);
            let rows = body["value"].as_array().unwrap().iter();
            found.extend(rows.map(|row| row["CustomerAccount"].as_str().unwrap().to_owned()));
            next = body["@odata.nextLink"].as_str().map(str::to_owned);
        }
        assert_eq!(found, wanted, "{filter}");
    }
}

#[tokio::test]
async fn a_query_that_the_service_does_not_understand_is_refused() {
    let world = five_customers().await;
    for (query, text) in [
        (
            "$filter=OnHoldStatus eq 'All'",
            "Found operand types 'Microsoft.Dynamics.DataEntities.CustVendorBlocked' and 'Edm.String'",
        ),
        (
            "$filter=OnHoldStatus gt Microsoft.Dynamics.DataEntities.CustVendorBlocked'No'",
            "incompatible types",
        ),
        ("$filter=OnHoldStatus eq Microsoft.Dynamics.DataEntities.NoYes'No'", "incompatible types"),
        ("$filter=CreditLimit eq 'x'", "incompatible types"),
        (
            "$filter=Nothing eq 'x'",
            "Could not find a property named 'Nothing' on type 'Microsoft.Dynamics.DataEntities.CustomerV3'.",
        ),
        ("$filter=CustomerAccount eq", "Syntax error"),
        ("$filter=contains(CustomerAccount,'A')", "not supported"),
        ("$filter=CustomerAccount in ('A')", "Syntax error"),
        ("$select=Nothing", "Could not find a property named 'Nothing'"),
        ("$orderby=Nothing", "Could not find a property named 'Nothing'"),
        ("$top=many", "Invalid value 'many' for $top"),
        ("$skiptoken=x", "not"),
    ] {
        let answer = world.request("GET", &format!("CustomersV3?{query}")).send().await.unwrap();
        let (status, found) = refusal(answer).await;
        assert!(status == 400 || status == 501, "{query}: {status}");
        assert!(found.contains(text), "{query}: {found}");
    }
    for path in [
        "CustomersV4",
        "customersv3",
        "CustomersV3(dataAreaId='usmf',CustomerAccount='no')",
        "Nothing/$count",
    ] {
        assert_eq!(world.request("GET", path).send().await.unwrap().status(), 404, "{path}");
    }
    let answer = world.request("GET", "CustomersV3(CustomerAccount='A-1')").send().await.unwrap();
    let wanted = "Only 1 of 2 keys provided for lookup, provide keys for dataAreaId, CustomerAccount";
    assert_eq!(refusal(answer).await, (400, wanted.to_owned()));
    assert_eq!(
        world
            .request("POST", "CustomersV3(dataAreaId='usmf',CustomerAccount='A-1')")
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
}

#[tokio::test]
async fn pages_counts_and_limits_go_together() {
    let world = five_customers().await;
    let first = world.get("CustomersV3?$count=true&$select=CustomerAccount").await;
    assert_eq!(first["@odata.count"], 5);
    let context = format!("{}/data/$metadata#CustomersV3(CustomerAccount)", world.base);
    assert_eq!(first["@odata.context"], json!(context));
    assert_eq!(first["value"].as_array().unwrap().len(), 2);
    assert_eq!(
        first["value"][0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["@odata.etag", "CustomerAccount"]
    );
    let second = world.get(first["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!(second["@odata.count"], 5);
    let third = world.get(second["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!((third["value"].as_array().unwrap().len(), &third["@odata.nextLink"]), (1, &Json::Null));

    // `$top` may span pages, and ends where it says.
    let path = "CustomersV3?$top=3&$orderby=CreditLimit%20desc";
    let first = world.get(path).await;
    assert_eq!(first["value"][0]["CustomerAccount"], "C_1");
    let second = world.get(first["@odata.nextLink"].as_str().unwrap()).await;
    assert_eq!((second["value"].as_array().unwrap().len(), &second["@odata.nextLink"]), (1, &Json::Null));
    assert_eq!(world.found("CustomersV3?$top=1&$skip=3", "CustomerAccount").await, ["B'2"]);
    assert_eq!(world.get("CustomersV3?$top=0").await["value"], json!([]));
    assert_eq!(
        world.get("Vendors%562").await["value"],
        json!([]),
        "a set that nobody wrote to, spelled in codes"
    );
    assert_eq!(world.count("CustomersV3/$count?$filter=CreditLimit%20gt%2020").await, "4");
}

#[tokio::test]
async fn reads_see_the_clients_company_unless_they_ask_across() {
    let world = World::start().await;
    for company in ["usmf", "ussi", "frrt"] {
        world.create("PaymentTerms", json!({ "Name": "Net30", "dataAreaId": company })).await;
    }
    let companies = async |query: &str| world.found(&format!("PaymentTerms{query}"), "dataAreaId").await;
    assert_eq!(companies("").await, ["usmf"]);
    assert_eq!(companies("?$filter=dataAreaId eq 'ussi'").await, Vec::<String>::new());
    assert_eq!(companies("?$filter=dataAreaId eq 'USSI'&cross-company=true").await, ["ussi"]);
    assert_eq!(companies("?cross-company=true").await, ["usmf", "ussi", "frrt"]);
    assert_eq!(world.count("PaymentTerms/$count").await, "1");
    assert_eq!(world.count("PaymentTerms/$count?cross-company=true").await, "3");
}

#[tokio::test]
async fn a_day_is_served_at_noon_and_names_a_row_in_a_key() {
    let world = World::start().await;
    for code in ["EUR", "USD"] {
        world.create("Currencies", json!({ "CurrencyCode": code })).await;
    }
    let body = json!({
        "RateTypeName": "Default", "FromCurrency": "EUR", "ToCurrency": "USD", "StartDate": "2019-10-04T00:00:00Z",
        "Rate": 118.5, "ConversionFactor": "Hundred",
    });
    let row = world.create("ExchangeRates", body.clone()).await;
    assert_eq!(
        (&row["StartDate"], &row["EndDate"]),
        (&json!("2019-10-04T12:00:00Z"), &json!("1900-01-01T12:00:00Z"))
    );
    let path = "ExchangeRates(RateTypeName='Default',FromCurrency='EUR',ToCurrency='USD',StartDate=2019-10-04T12:00:00Z)";
    assert_eq!(world.get(path).await["Rate"], 118.5);
    let (_, text) = world.write("POST", "ExchangeRates", body).await;
    assert!(
        text.contains(
            "Exchange rate type: Default, EUR, USD, 2019-10-04T12:00:00Z.\nThe record already exists"
        ),
        "{text}"
    );
    let found = "ExchangeRates?$filter=StartDate eq 2019-10-04T12:00:00Z and Rate gt 118";
    assert_eq!(world.found(found, "RateTypeName").await, ["Default"]);
    let bare = json!({
        "RateTypeName": "Default", "FromCurrency": "EUR", "ToCurrency": "USD", "StartDate": "2019-10-05", "Rate": 1,
    });
    let (status, text) = world.write("POST", "ExchangeRates", bare).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("The time zone information is missing on the DateTimeOffset value '2019-10-05'."),
        "{text}"
    );
}
