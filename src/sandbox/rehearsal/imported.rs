//! An exported `$metadata` document as the schema: what it says is served, what it leaves open refuses nothing.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::super::{Sandbox, SandboxOptions};
use super::{World, outcome};

/// A small document with what a real one has: abstract bases, users, customers, activities, keys and annotations.
const DOCUMENT: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">
<edmx:DataServices>
<Schema Namespace="Microsoft.Dynamics.CRM" Alias="mscrm" xmlns="http://docs.oasis-open.org/odata/ns/edm">
<EntityType Name="crmbaseentity" Abstract="true" />
<EntityType Name="principal" BaseType="mscrm.crmbaseentity" Abstract="true">
  <Key><PropertyRef Name="ownerid" /></Key>
  <Property Name="ownerid" Type="Edm.Guid" />
</EntityType>
<EntityType Name="systemuser" BaseType="mscrm.principal">
  <Key><PropertyRef Name="ownerid" /></Key>
  <Property Name="systemuserid" Type="Edm.Guid" />
  <Property Name="fullname" Type="Edm.String" Unicode="false" />
</EntityType>
<EntityType Name="team" BaseType="mscrm.principal">
  <Key><PropertyRef Name="ownerid" /></Key>
  <Property Name="teamid" Type="Edm.Guid" />
  <Property Name="name" Type="Edm.String" Unicode="false" />
</EntityType>
<EntityType Name="activitypointer" BaseType="mscrm.crmbaseentity" Abstract="true">
  <Key><PropertyRef Name="activityid" /></Key>
  <Property Name="activityid" Type="Edm.Guid" />
  <Property Name="subject" Type="Edm.String" />
  <Property Name="_regardingobjectid_value" Type="Edm.Guid" />
  <NavigationProperty Name="regardingobjectid_new_mine" Type="mscrm.new_mine" Partner="new_mine_Activities">
    <ReferentialConstraint Property="_regardingobjectid_value" ReferencedProperty="new_mineid" />
  </NavigationProperty>
</EntityType>
<EntityType Name="task" BaseType="mscrm.activitypointer">
  <Property Name="percentcomplete" Type="Edm.Int32" />
</EntityType>
<EntityType Name="new_mine" BaseType="mscrm.crmbaseentity">
  <Key><PropertyRef Name="new_mineid" /></Key>
  <Property Name="new_mineid" Type="Edm.Guid" />
  <Property Name="new_name" Type="Edm.String" Unicode="false" />
  <Property Name="new_code" Type="Edm.String" Unicode="false" />
  <Property Name="new_depth" Type="Edm.Double" />
  <Property Name="new_value" Type="Edm.Decimal" Scale="Variable" />
  <Property Name="new_value_base" Type="Edm.Decimal" Scale="Variable" />
  <Property Name="new_score" Type="Edm.Decimal" Scale="Variable">
    <Annotation Term="Org.OData.Core.V1.Computed" Bool="true" />
    <Annotation Term="Org.OData.Core.V1.Permissions"><EnumMember>Org.OData.Core.V1.PermissionType/Read</EnumMember></Annotation>
  </Property>
  <Property Name="new_open" Type="Edm.Boolean" />
  <Property Name="new_opened" Type="Edm.Date" />
  <Property Name="entityimage" Type="Edm.Binary" />
  <Property Name="iscustomizable" Type="mscrm.BooleanManagedProperty" />
  <Property Name="stageid" Type="Edm.Guid" />
  <Property Name="statecode" Type="Edm.Int32" />
  <Property Name="statuscode" Type="Edm.Int32" />
  <Property Name="_ownerid_value" Type="Edm.Guid" />
  <Property Name="_new_parent_value" Type="Edm.Guid" />
  <NavigationProperty Name="ownerid" Type="mscrm.principal" Nullable="false" Partner="owner_new_mines">
    <ReferentialConstraint Property="_ownerid_value" ReferencedProperty="ownerid" />
  </NavigationProperty>
  <NavigationProperty Name="new_Parent" Type="mscrm.new_mine" Nullable="false" Partner="new_mine_parent">
    <ReferentialConstraint Property="_new_parent_value" ReferencedProperty="new_mineid" />
  </NavigationProperty>
  <NavigationProperty Name="new_mine_parent" Type="Collection(mscrm.new_mine)" Partner="new_Parent" />
  <Annotation Term="OData.Community.Keys.V1.AlternateKeys"><Collection>
    <Record Type="OData.Community.Keys.V1.AlternateKey"><PropertyValue Property="Key"><Collection>
      <Record Type="OData.Community.Keys.V1.PropertyRef"><PropertyValue Property="Alias" String="new_code" /><PropertyValue Property="Name" PropertyPath="new_code" /></Record>
      <Record Type="OData.Community.Keys.V1.PropertyRef"><PropertyValue Property="Alias" String="new_parent" /><PropertyValue Property="Name" PropertyPath="_new_parent_value" /></Record>
    </Collection></PropertyValue></Record></Collection></Annotation>
</EntityType>
<EntityContainer Name="System">
  <EntitySet Name="systemusers" EntityType="Microsoft.Dynamics.CRM.systemuser" />
  <EntitySet Name="teams" EntityType="Microsoft.Dynamics.CRM.team" />
  <EntitySet Name="tasks" EntityType="Microsoft.Dynamics.CRM.task" />
  <EntitySet Name="new_minen" EntityType="Microsoft.Dynamics.CRM.new_mine" />
</EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>
"#;

fn written(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("metadata.xml");
    std::fs::write(&path, text).unwrap();
    path
}

async fn world(text: &str) -> World {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder, text);
    World::over(folder, |options| options.metadata = Some(path)).await
}

#[test]
fn a_document_that_cannot_be_used_is_told_with_its_line() {
    for (text, wanted) in [
        (String::new(), "line 1, column 1: it has no schema"),
        ("<html><body>Sign in</body></html>".to_owned(), "it has no schema `Microsoft.Dynamics.CRM`"),
        (DOCUMENT.replace("</EntityContainer>", ""), "line 72, column 1: it is not well-formed XML"),
        (DOCUMENT[..3_000].to_owned(), "column"),
        (
            DOCUMENT.replace("<EntityType Name=\"task\"", "<EntityType"),
            "line 29, column 1: `EntityType` has no `Name`",
        ),
        (
            DOCUMENT.replace("CRM.task\"", "CRM.tusk\""),
            "line 69, column 3: the entity set `tasks` is of the type `tusk`",
        ),
        (DOCUMENT.replace("BaseType=\"mscrm.principal\"", "BaseType=\"mscrm.nobody\""), "based on `nobody`"),
        (
            DOCUMENT.replace("Microsoft.Dynamics.CRM\" Alias", "Microsoft.Dynamics.DataEntities\" Alias"),
            "line 4, column 1: it is a document of Finance & Operations",
        ),
        (
            DOCUMENT.replace("PropertyRef Name=\"new_mineid\"", "PropertyRef Name=new_mineid"),
            "line 33, column",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SandboxOptions::at(folder.path().join("s.db"));
        options.metadata = Some(written(&folder, &text));
        let error = Sandbox::open(options).map(drop).unwrap_err().to_string();
        assert!(error.contains("metadata.xml") && error.contains(wanted), "{error}\nwanted: {wanted}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = SandboxOptions::at(folder.path().join("s.db"));
    options.metadata = Some(folder.path().join("nowhere.xml"));
    assert!(Sandbox::open(options).map(drop).unwrap_err().to_string().contains("nowhere.xml"));
}

#[tokio::test]
async fn the_document_is_served_back_and_described_as_definitions() {
    let world = world(DOCUMENT).await;
    let served = world.request("GET", "$metadata").send().await.unwrap().text().await.unwrap();
    assert_eq!(served, DOCUMENT);
    let sets = world.get("").await;
    let names: Vec<&str> =
        sets["value"].as_array().unwrap().iter().filter_map(|set| set["name"].as_str()).collect();
    assert_eq!(names, ["systemusers", "teams", "tasks", "new_minen"]);

    let definition = world.get("EntityDefinitions(LogicalName='new_mine')?$expand=Keys").await;
    assert_eq!(definition["EntitySetName"], "new_minen");
    assert_eq!(definition["PrimaryIdAttribute"], "new_mineid");
    assert_eq!(definition["PrimaryNameAttribute"], "new_name");
    assert_eq!(definition["Keys"][0]["KeyAttributes"], json!(["new_code", "new_parent"]));
    let user = world.get("EntityDefinitions(LogicalName='systemuser')").await;
    assert_eq!(user["PrimaryIdAttribute"], "systemuserid");
    let task = world.get("EntityDefinitions(LogicalName='task')/Attributes?$select=LogicalName").await;
    let names = |found: &Json| -> Vec<String> {
        let mut names: Vec<String> = found["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["LogicalName"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&task), ["activityid", "percentcomplete", "regardingobjectid", "subject"]);

    let attributes = "EntityDefinitions(LogicalName='new_mine')/Attributes";
    for (cast, wanted) in [
        ("MoneyAttributeMetadata", &["new_value", "new_value_base"][..]),
        ("DecimalAttributeMetadata", &["new_score"]),
        ("DoubleAttributeMetadata", &["new_depth"]),
        ("StateAttributeMetadata", &["statecode"]),
        ("LookupAttributeMetadata", &["new_parent", "ownerid"]),
        ("ManagedPropertyAttributeMetadata", &["iscustomizable"]),
    ] {
        let found =
            world.get(&format!("{attributes}/Microsoft.Dynamics.CRM.{cast}?$select=LogicalName")).await;
        assert_eq!(names(&found), wanted, "{cast}");
    }
    let score = world.get(&format!("{attributes}(LogicalName='new_score')")).await;
    assert_eq!((&score["IsValidForCreate"], &score["IsValidForUpdate"]), (&json!(false), &json!(false)));
    let owner = world
        .get(&format!("{attributes}(LogicalName='ownerid')/Microsoft.Dynamics.CRM.LookupAttributeMetadata"))
        .await;
    assert_eq!(
        (&owner["AttributeType"], &owner["Targets"]),
        (&json!("Owner"), &json!(["systemuser", "team"]))
    );
    let parents = world.get("EntityDefinitions(LogicalName='new_mine')/ManyToOneRelationships").await;
    let parent =
        parents["value"].as_array().unwrap().iter().find(|one| one["ReferencingAttribute"] == "new_parent");
    let parent = parent.unwrap();
    assert_eq!(parent["ReferencingEntityNavigationPropertyName"], "new_Parent");
    assert_eq!(parent["SchemaName"], "new_mine_parent");
}

#[tokio::test]
async fn rows_of_an_imported_schema_are_written_and_read() {
    let world = world(DOCUMENT).await;
    let id = Uuid::from_u128(5);
    let user = world.get("WhoAmI").await["UserId"].as_str().unwrap().to_owned();
    let first = world.create("new_minen", json!({ "new_name": "First" })).await;
    let body = json!({
        "new_mineid": id, "new_name": "x".repeat(5_000), "new_code": "C", "new_depth": 1.25, "new_value": 12.345_67,
        "new_score": 5, "new_open": true, "new_opened": "2024-02-29", "entityimage": "aGVsbG8=", "statuscode": 17,
        "stageid": first, "iscustomizable": { "Value": true }, "new_Parent@odata.bind": format!("/new_minen({first})"),
    });
    assert_eq!(world.create("new_minen", body).await, id);
    let row = world.get(&format!("new_minen({id})")).await;
    for (property, wanted) in [
        ("new_depth", json!(1.25)),
        ("new_value", json!(12.3457)),
        ("new_score", Json::Null),
        ("new_open", json!(true)),
        ("new_opened", json!("2024-02-29")),
        ("entityimage", json!("aGVsbG8=")),
        ("statuscode", json!(17)),
        ("stageid", json!(first)),
        ("_new_parent_value", json!(first)),
        ("_ownerid_value", json!(user)),
    ] {
        assert_eq!(row[property], wanted, "{property}");
    }
    // By its key, of which one column is a lookup.
    let by_key =
        world.get(&format!("new_minen(new_code='C',_new_parent_value={first})?$select=new_mineid")).await;
    assert_eq!(by_key["new_mineid"], json!(id));
    let team = world.create("teams", json!({ "name": "T" })).await;
    let path = format!("new_minen({id})");
    let bound = json!({ "ownerid@odata.bind": format!("/teams({team})") });
    assert_eq!(world.write("PATCH", &path, bound).await, (204, String::new()));
    assert_eq!(world.get(&path).await["_ownerid_value"], json!(team));
    let misspelt = json!({ "new_parent@odata.bind": format!("/new_minen({first})") });
    assert_eq!(world.write("PATCH", &path, misspelt).await, (400, "0x80048d19".into()));

    let task =
        json!({ "subject": "Dig", "regardingobjectid_new_mine@odata.bind": format!("/new_minen({id})") });
    let task = world.create("tasks", task).await;
    let user_row = world.get(&format!("systemusers({user})?$select=ownerid")).await;
    assert_eq!(user_row["ownerid"], json!(user));
    // What goes takes the references to it along.
    assert_eq!(world.request("DELETE", &path).send().await.unwrap().status(), 204);
    assert_eq!(world.get(&format!("tasks({task})")).await["_regardingobjectid_value"], Json::Null);
    assert_eq!(outcome(world.request("GET", &path).send().await.unwrap()).await, (404, "0x80040217".into()));
}

#[tokio::test]
async fn what_a_sandbox_exports_another_imports() {
    let exported =
        World::start().await.request("GET", "$metadata").send().await.unwrap().text().await.unwrap();
    let world = world(&exported).await;
    let contact = world.create("contacts", json!({ "lastname": "Lee", "emailaddress1": "a@b.c" })).await;
    let body = json!({ "name": "A", "primarycontactid@odata.bind": "/contacts(emailaddress1='a@b.c')" });
    let account = world.create("accounts", body).await;
    assert_eq!(world.get(&format!("accounts({account})")).await["_primarycontactid_value"], json!(contact));
    let parent = json!({ "parentcustomerid_account@odata.bind": format!("/accounts({account})") });
    assert_eq!(world.write("PATCH", &format!("contacts({contact})"), parent).await, (204, String::new()));
    let definition = world
        .get("EntityDefinitions(LogicalName='contact')/Attributes(LogicalName='parentcustomerid')")
        .await;
    assert_eq!(definition["AttributeType"], "Customer");
}
