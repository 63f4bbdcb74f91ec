//! Columns, entities and lookups: what a load becomes before anything is sent.

use super::*;

// ---- lookups -------------------------------------------------------------------------------------------------------

fn contact(fake: &Fake, number: u32, name: &str, employee: &str) {
    let body = json!({"contactid": id(number), "fullname": name, "employeeid": employee});
    fake.put(&format!("contacts({})", id(number)), body);
}

#[tokio::test]
async fn lookups_are_found_in_bulk_by_name_and_remembered() {
    let fake = Fake::start().await;
    let client = fake.client();
    contact(&fake, 1, "Ann O'Hara", "1");
    contact(&fake, 2, "Bob", "2");
    contact(&fake, 3, "bob", "3");
    contact(&fake, 4, "BOB", "4");
    let plan = plan(&client, &["name", "Primary Contact"], &settings(Mode::Insert, &[])).await.unwrap();
    let direct = id(77).to_string();
    let rows = [
        row(1, &["a", "ann o'hara"]),
        row(2, &["b", "Bob"]),
        row(3, &["c", "bOb"]),
        row(4, &["d", "Nobody"]),
        row(5, &["e", &direct]),
        row(6, &["f", "Ann O'Hara "]),
    ];
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let bound = |index: usize| encoded[index].as_ref().unwrap().body.clone().unwrap();
    let to = |number: u32, name: &str| {
        format!(r#"{{"name":"{name}","primarycontactid@odata.bind":"/contacts({})"}}"#, id(number))
    };
    assert_eq!((bound(0), bound(1)), (to(1, "a"), to(2, "b")));
    assert_eq!((bound(4), bound(5)), (to(77, "e"), to(1, "f")));
    let cause = |index: usize| encoded[index].as_ref().unwrap_err()[0].cause.clone();
    assert_eq!(cause(2), "3 records (contact) have the full name `bOb`");
    assert_eq!(cause(3), "no contact has the full name `Nobody`");
    let asked = |fake: &Fake| {
        let world = fake.world.lock().unwrap();
        world.queries.iter().filter(|query| query.starts_with("contacts?")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(asked(&fake).len(), 1, "{:?}", asked(&fake));
    client.encode(&plan, &rows[..2]).await.unwrap();
    assert_eq!(asked(&fake).len(), 1);
    // What was missing is asked again: it may have come meanwhile.
    contact(&fake, 5, "Nobody", "5");
    let encoded = client.encode(&plan, &rows[3..4]).await.unwrap();
    assert_eq!(encoded[0].as_ref().unwrap().body, Some(to(5, "d")));
}

#[tokio::test]
async fn many_values_are_asked_for_in_several_questions() {
    let fake = Fake::start().await;
    let client = fake.client();
    for number in 1..=120 {
        contact(&fake, number, &format!("Contact {number}"), "");
    }
    // In a task of its own, as the pipeline does it.
    let encoded = tokio::spawn(async move {
        let plan = plan(&client, &["name", "Primary Contact"], &settings(Mode::Insert, &[])).await.unwrap();
        let rows: Vec<StagedRow> =
            (1..=120).map(|number| row(number, &["a", &format!("Contact {number}")])).collect();
        client.encode(&plan, &rows).await.unwrap()
    });
    let encoded = encoded.await.unwrap();
    assert!(encoded.iter().all(Result::is_ok));
    let world = fake.world.lock().unwrap();
    assert_eq!(world.queries.iter().filter(|query| query.starts_with("contacts?")).count(), 3);
}

#[tokio::test]
async fn a_list_in_pages_is_followed_on_our_own_host_only() {
    let fake = Fake::start().await;
    let client = fake.client();
    for number in 1..=5 {
        contact(&fake, number, "Same Name", "");
    }
    fake.world.lock().unwrap().page = Some(2);
    let plan = plan(&client, &["name", "Primary Contact"], &settings(Mode::Insert, &[])).await.unwrap();
    // The next page is said to be on a host that does not exist; asked there, this would fail.
    let encoded = client.encode(&plan, &[row(1, &["a", "Same Name"])]).await.unwrap();
    let refusals = encoded[0].as_ref().unwrap_err();
    assert_eq!(refusals[0].cause, "5 records (contact) have the full name `Same Name`");
}

#[tokio::test]
async fn more_records_than_the_service_counts_are_counted_by_pages() {
    let fake = Fake::start().await;
    let client = fake.client();
    for number in 1..=5_003 {
        fake.put(&path(number), json!({}));
    }
    fake.world.lock().unwrap().page = Some(2_000);
    let entity = client.entity("accounts").await.unwrap();
    assert_eq!(client.count(&entity).await.unwrap(), 5_003);
}

#[tokio::test]
async fn a_lookup_with_a_rule_goes_by_its_column_and_its_entity() {
    let fake = Fake::start().await;
    let client = fake.client();
    contact(&fake, 1, "Ann", "E-1");
    let mut settings = settings(Mode::Insert, &[]);
    let rule = LookupRule { entity: Some("contacts".to_owned()), column: "Employee".to_owned() };
    settings.lookups.insert("Customer".to_owned(), rule);
    let plan = plan(&client, &["name", "Customer"], &settings).await.unwrap();
    let encoded = client.encode(&plan, &[row(1, &["a", "e-1"]), row(2, &["b", "Ann"])]).await.unwrap();
    assert_eq!(
        encoded[0].as_ref().unwrap().body,
        Some(format!(r#"{{"name":"a","new_CustomerId_contact@odata.bind":"/contacts({})"}}"#, id(1)))
    );
    assert_eq!(encoded[1].as_ref().unwrap_err()[0].cause, "no contact has the employee `Ann`");
}

#[tokio::test]
async fn a_lookup_that_can_point_at_several_entities_is_looked_for_in_each() {
    let fake = Fake::start().await;
    let client = fake.client();
    contact(&fake, 1, "Ann", "E-1");
    contact(&fake, 2, "Both", "E-2");
    for (number, name) in [(3, "Contoso"), (4, "Both")] {
        fake.put(&path(number), json!({"accountid": id(number), "name": name}));
    }
    let plan = plan(&client, &["name", "Customer"], &settings(Mode::Insert, &[])).await.unwrap();
    let by_id = id(1).to_string();
    let rows = [
        row(1, &["a", "Ann"]),
        row(2, &["b", "contoso"]),
        row(3, &["c", "Both"]),
        row(4, &["d", "Nobody"]),
        row(5, &["e", &by_id]),
    ];
    for _ in 0..2 {
        // The second time what was found is remembered.
        let encoded = client.encode(&plan, &rows).await.unwrap();
        let body = |index: usize| encoded[index].as_ref().unwrap().body.clone().unwrap();
        let to = |name: &str, at: &str| format!(r#"{{"name":"{name}","new_CustomerId_{at})"}}"#);
        assert_eq!(body(0), to("a", &format!(r#"contact@odata.bind":"/contacts({}"#, id(1))));
        assert_eq!(body(1), to("b", &format!(r#"account@odata.bind":"/accounts({}"#, id(3))));
        assert_eq!(body(4), to("e", &format!(r#"contact@odata.bind":"/contacts({}"#, id(1))));
        let refusal = |index: usize| encoded[index].as_ref().unwrap_err()[0].clone();
        assert_eq!(
            refusal(2).cause,
            "several records are called `Both` (account by account name, contact by full name)"
        );
        assert_eq!(
            refusal(3).cause,
            "nothing is called `Nobody` (account by account name, contact by full name)"
        );
        let missing = refusal(3).missing.unwrap();
        let entities: Vec<&str> = missing.alternatives().map(|missing| missing.entity.as_str()).collect();
        assert_eq!(entities, ["accounts", "contacts"]);
    }
}

#[tokio::test]
async fn an_owner_is_a_user_by_name_mail_or_sign_in_or_a_team() {
    let fake = Fake::start().await;
    let client = fake.client();
    let user = |number: u32, name: &str, mail: &str, domain: &str| {
        let body = json!({"systemuserid": id(number), "fullname": name, "internalemailaddress": mail, "domainname": domain});
        fake.put(&format!("systemusers({})", id(number)), body);
    };
    user(1, "Ann Bell", "ann@contoso.example", "ann@contoso.example");
    user(2, "Cy Dean", "cy@contoso.example", "CONTOSO\\cy");
    user(3, "Two Alike", "one@contoso.example", "CONTOSO\\one");
    user(4, "Two Alike", "two@contoso.example", "CONTOSO\\two");
    fake.put(&format!("teams({})", id(5)), json!({"teamid": id(5), "name": "Sales"}));
    let plan = plan(&client, &["name", "Owner"], &settings(Mode::Insert, &[])).await.unwrap();
    let named = ["Ann Bell", "ann@contoso.example", "CONTOSO\\cy", "sales", "Two Alike", "Nobody"];
    let rows: Vec<StagedRow> = (1..).zip(named).map(|(number, name)| row(number, &["a", name])).collect();
    let encoded = client.encode(&plan, &rows).await.unwrap();
    let owner = |index: usize| {
        let body = encoded[index].as_ref().unwrap().body.clone().unwrap();
        let (_, owner) = body.split_once(r#""ownerid@odata.bind":""#).unwrap();
        owner.trim_end_matches(r#""}"#).to_owned()
    };
    let users = |number: u32| format!("/systemusers({})", id(number));
    assert_eq!([owner(0), owner(1), owner(2)], [users(1), users(1), users(2)]);
    assert_eq!(owner(3), format!("/teams({})", id(5)));
    let cause = |index: usize| encoded[index].as_ref().unwrap_err()[0].cause.clone();
    assert!(
        cause(4).starts_with("several records are called `Two Alike` (user by full name"),
        "{}",
        cause(4)
    );
    assert!(cause(5).starts_with("nothing is called `Nobody`"), "{}", cause(5));
}

// ---- plans and entities --------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_fault_of_the_columns_and_settings_is_told_at_once() {
    let fake = Fake::start().await;
    let client = fake.client();
    let mut settings = settings(Mode::Insert, &["Nummer"]);
    settings.legal_entity = Some("usmf".to_owned());
    settings.timezone = "Mars/Olympus".to_owned();
    settings.columns.insert("Nmae".to_owned(), "name".to_owned());
    settings.lookups.insert("Name".to_owned(), LookupRule { entity: None, column: "x".to_owned() });
    settings.columns.insert("Name".to_owned(), "name".to_owned());
    let headers = ["Name", "acountnumber", "Account Name", "Created On", "Picture", "Customer"];
    let causes: Vec<String> =
        problems(&client, &headers, &settings).await.into_iter().map(|problem| problem.to_string()).collect();
    for expected in [
        "`legal_entity` is `usmf`, but `accounts` is a table of Dataverse",
        "`columns` names the column `Nmae`, which the sheet does not have; did you mean `Name`?",
        "`accounts` has no column `acountnumber`; did you mean `accountnumber`?",
        "`Name` and `Account Name` both fill Account Name",
        "`key` names the column `Nummer`",
        "`lookups` names `Name`, but Account Name is no lookup",
        "Created On cannot be set when a record is created",
        "Picture is of a kind (VirtualType) that a workbook cannot fill",
        "`timezone` is `Mars/Olympus`, which is no time zone",
    ] {
        assert!(causes.iter().any(|cause| cause.contains(expected)), "{expected}: {causes:#?}");
    }
    assert_eq!(causes.len(), 9, "{causes:#?}");
}

#[tokio::test]
async fn changing_records_needs_a_key_that_dynamics_has() {
    let fake = Fake::start().await;
    let client = fake.client();
    let cause = |mode: Mode, key: &'static [&'static str]| {
        let client = client.clone();
        async move {
            let found = problems(&client, &["name", "accountnumber", "revenue"], &settings(mode, key)).await;
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].to_string()
        }
    };
    let none = cause(Mode::Update, &[]).await;
    assert!(none.contains("`accounts` has the keys accountid, accountnumber"), "{none}");
    assert!(cause(Mode::Upsert, &["revenue"]).await.contains("is no key of `accounts`"));
    assert!(cause(Mode::Delete, &["name"]).await.contains("still being built"));
    let delete =
        plan(&client, &["accountnumber", "anything"], &settings(Mode::Delete, &["accountnumber"])).await;
    assert_eq!(delete.unwrap().columns().len(), 1);
}

#[tokio::test]
async fn a_column_can_be_left_out_and_a_missing_required_one_is_noted() {
    let fake = Fake::start().await;
    let client = fake.client();
    let mut settings = settings(Mode::Insert, &[]);
    settings.columns.insert("My notes".to_owned(), String::new());
    let plan = plan(&client, &["accountnumber", "My notes"], &settings).await.unwrap();
    assert_eq!(plan.columns().len(), 1);
    assert_eq!(
        plan.notes(),
        [
            "`My notes` is left out, as `columns` says",
            "no column fills what `accounts` requires: Account Name"
        ]
    );
}

#[tokio::test]
async fn an_entity_is_known_by_each_of_its_names_with_all_its_bounds() {
    let fake = Fake::start().await;
    let client = fake.client();
    let entity = client.entity("accounts").await.unwrap();
    for name in ["Account", " ACCOUNTS ", "account"] {
        assert!(Arc::ptr_eq(&client.entity(name).await.unwrap(), &entity), "{name}");
    }
    let fault = client.entity("acounts").await.unwrap_err();
    assert_eq!(fault.to_string(), "`fake` has no entity `acounts`; did you mean `accounts`?");
    let kind = |name: &str| entity.attribute(name).unwrap().kind.clone();
    assert_eq!(kind("name"), AttributeKind::Text { length_max: Some(160) });
    assert_eq!(kind("new_since"), AttributeKind::Date);
    assert_eq!(kind("accountid"), AttributeKind::Guid);
    assert!(matches!(kind("new_customerid"), AttributeKind::Lookup { targets } if targets.len() == 2));
    assert!(entity.attribute("name").unwrap().required && !entity.attribute("accountid").unwrap().required);
    fake.put(&path(1), json!({}));
    assert_eq!(client.count(&entity).await.unwrap(), 1);
}

// ---- connecting ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_secret_never_leaves_in_clear() {
    let fake = Fake::start().await;
    let mut settings = fake.settings();
    settings.url = "http://org.crm.dynamics.com".parse().unwrap();
    let fault = Dynamics::connect(settings.clone()).unwrap_err();
    assert!(fault.to_string().contains("would send the secret in clear"), "{fault}");
    settings.url = "https://Org.CRM.dynamics.com/".parse().unwrap();
    settings.authority = "http://example.org".parse().unwrap();
    assert!(Dynamics::connect(settings.clone()).is_err());
    settings.authority = "https://login.microsoftonline.com".parse().unwrap();
    settings.name = None;
    assert_eq!(Dynamics::connect(settings).unwrap().target_id(), "org.crm.dynamics.com");
}

#[tokio::test]
async fn a_target_that_is_not_there_is_unavailable_and_says_why() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let fake = Fake { world: Arc::default(), address };
    let mut settings = fake.settings();
    settings.limits = WireLimits { attempts_max: 2, ..limits() };
    let fault = Dynamics::connect(settings).unwrap().who_am_i().await.unwrap_err();
    assert!(matches!(fault, TargetFault::Unavailable { attempts: 2, .. }), "{fault:?}");
    assert!(fault.to_string().contains("the token service cannot be reached"), "{fault}");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_swallowed() {
    let fake = Fake::start().await;
    let mut settings = fake.settings();
    settings.limits.response_bytes_max = 500;
    let client = Dynamics::connect(settings).unwrap();
    let fault = client.entity("accounts").await.unwrap_err();
    assert!(fault.to_string().contains("more than 500 bytes"), "{fault}");
}
