//! Tables that change with what is dropped: other types, more columns, and never a cell or a drop lost for it.

use serde_json::{Value, json};

use crate::world::{Cell, World, block_on, tally};

fn table() -> ddu::domain::table::TableName {
    ddu::domain::table::TableName::try_from("accounts".to_owned()).unwrap()
}

/// The sender's columns of the staged table, with their Delta types.
fn columns(world: &World) -> Vec<(String, String)> {
    let all = world.delta_columns("migration", "accounts");
    all.into_iter().filter(|(name, _)| !name.starts_with("_ddu_")).collect()
}

fn named(columns: &[(&str, &str)]) -> Vec<(String, String)> {
    columns.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
}

/// Every staged row's value of a column, by the account's name: the original where the column could not hold it.
fn staged(world: &World, column: &str) -> Vec<(String, ddu::domain::value::Value)> {
    let lake = world.lake();
    block_on(async {
        let version = lake.staged_version(&table()).await.unwrap().unwrap();
        let mut reader = lake.rows(&table(), version, None).await.unwrap();
        let at = |wanted: &str| reader.columns().iter().position(|column| column.name == wanted).unwrap();
        let (name, column) = (at("Account_Name"), at(column));
        let mut found = Vec::new();
        while let Some(rows) = reader.next().await.unwrap() {
            found
                .extend(rows.into_iter().map(|row| (row.values[name].to_text(), row.values[column].clone())));
        }
        found
    })
}

/// What an attribute became in the target, by the account's name.
fn written(world: &World, attribute: &str) -> Vec<(String, Value)> {
    let mut found: Vec<_> = world
        .target("accounts")
        .iter()
        .map(|record| (record["name"].as_str().unwrap().to_owned(), record[attribute].clone()))
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn with_name(name: &str, cells: Vec<Cell>) -> Vec<Cell> {
    [vec![Cell::from(name)], cells].concat()
}

#[test]
fn a_later_drop_with_other_types_and_more_columns_evolves_the_table_and_loses_no_cell() {
    // Whole numbers first; then texts among them and a new column; then days. The target takes a text that spells a
    // number and a label for a number, but no day: only the rows with a day come back, with the day as it was.
    let world = World::new();
    let drop = |name: &str, header: Vec<Cell>, rows: Vec<Vec<Cell>>| {
        world.drop_json(
            &format!("{name}.json"),
            json!({"table_name": "accounts", "target_entity": "account"}),
        );
        world.drop_rows(name, &[vec![header], rows].concat());
    };
    drop(
        "one.xlsx",
        row!["Account Name", "Number of Employees", "Industry"],
        vec![with_name("A", row![12, 1]), with_name("B", row![7, 33])],
    );
    world.run_once(0);
    let first = [("Account_Name", "string"), ("Number_of_Employees", "long"), ("Industry", "long")];
    assert_eq!(columns(&world), named(&first));

    drop(
        "two.xlsx",
        row!["Account Name", "Number of Employees", "Industry", "Main Phone"],
        vec![
            with_name("C", row!["1 500", "Accounting", "0049"]),
            with_name("D", row!["about 50", "Wholesale", ""]),
            with_name("E", row![3, 4, "007"]),
        ],
    );
    world.run_once(3);
    let both = [first.as_slice(), &[("Main_Phone", "string")]].concat();
    assert_eq!(columns(&world), named(&both));

    drop(
        "three.xlsx",
        row!["Account Name", "Number of Employees", "Industry"],
        vec![with_name("F", vec![Cell::Day(2026, 11, 22), Cell::from(2)])],
    );
    world.run_once(3);
    assert_eq!(columns(&world), named(&both), "a type that cannot widen stays");

    use ddu::domain::value::Value as Staged;
    let text = |text: &str| Staged::Text(text.to_owned());
    let day = Staged::Date(jiff::civil::date(2026, 11, 22));
    let of = |values: [Staged; 6]| {
        ["A", "B", "C", "D", "E", "F"].map(str::to_owned).into_iter().zip(values).collect::<Vec<_>>()
    };
    let whole = Staged::Integer;
    assert_eq!(
        staged(&world, "Number_of_Employees"),
        of([whole(12), whole(7), text("1 500"), text("about 50"), whole(3), day])
    );
    assert_eq!(
        staged(&world, "Industry"),
        of([whole(1), whole(33), text("Accounting"), text("Wholesale"), whole(4), whole(2)])
    );
    let blank = || Staged::Blank;
    assert_eq!(
        staged(&world, "Main_Phone"),
        of([blank(), blank(), text("0049"), blank(), text("007"), blank()])
    );

    // What was sent is what was in the cell, and what could not be sent is told as it was in the cell.
    assert_eq!(world.counts("accounts"), [6, 4, 2, 0]);
    let names = |values: [Value; 4]| {
        ["A", "B", "C", "E"].map(str::to_owned).into_iter().zip(values).collect::<Vec<_>>()
    };
    assert_eq!(written(&world, "numberofemployees"), names([json!(12), json!(7), json!(1500), json!(3)]));
    assert_eq!(written(&world, "industrycode"), names([json!(1), json!(33), json!(1), json!(4)]));
    assert_eq!(written(&world, "telephone1"), names([json!(null), json!(null), json!("0049"), json!("007")]));
    let mut causes: Vec<String> = world
        .quarantine("accounts")
        .iter()
        .map(|row| row["_ddu_cause"].as_str().unwrap().to_owned())
        .collect();
    causes.sort();
    assert_eq!(causes.len(), 2);
    assert!(causes.iter().any(|cause| cause.contains("`about 50`")), "{causes:?}");
    assert!(causes.iter().any(|cause| cause.contains("2026-11-22")), "{causes:?}");
}

#[test]
fn a_column_that_a_later_drop_leaves_out_stays_and_is_blank_there() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &[row!["Account Name", "Address 1: City"], row!["A", "Ulm"]]);
    world.run_once(0);
    world.drop_rows("accounts.xlsx", &[row!["Account Name"], row!["B"]]);
    world.run_once(0);
    let cities = tally(&world.target("accounts"), "address1_city");
    assert_eq!(cities, [("Ulm".to_owned(), 1), ("null".to_owned(), 1)].into());
    assert_eq!(columns(&world).len(), 2);
}

#[test]
fn columns_in_another_order_and_another_case_are_the_same_columns() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &[row!["Account Name", "Address 1: City"], row!["A", "Ulm"]]);
    world.run_once(0);
    world.drop_rows("accounts.xlsx", &[row!["ADDRESS 1: CITY", "account name"], row!["Bonn", "B"]]);
    world.run_once(0);
    assert_eq!(columns(&world), named(&[("Account_Name", "string"), ("Address_1_City", "string")]));
    let cities = tally(&world.target("accounts"), "address1_city");
    assert_eq!(cities, [("Ulm".to_owned(), 1), ("Bonn".to_owned(), 1)].into());
}

#[test]
fn the_same_workbook_always_gives_the_same_schema() {
    // Thrice the same bytes: into a fresh table, over it, and into a table of another name.
    let rows = vec![
        row![
            "Account Name",
            "Number of Employees",
            "Annual Revenue",
            "Credit Hold",
            "Customer Since",
            "Industry"
        ],
        vec!["A".into(), 1.into(), 1.5.into(), true.into(), Cell::Day(2020, 2, 29), "Wholesale".into()],
        vec!["B".into(), Cell::Blank, 2.into(), "no".into(), Cell::Blank, 1.into()],
    ];
    let world = World::new();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(0);
    let first = columns(&world);
    let kinds: Vec<&str> = first.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["string", "long", "double", "string", "date", "string"]);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(0);
    assert_eq!(columns(&world), first);
    world.drop_json("again.xlsx.json", json!({"target_entity": "account"}));
    world.drop_rows("again.xlsx", &rows);
    world.run_once(0);
    let again = world.delta_columns("migration", "again");
    assert_eq!(again.into_iter().filter(|(name, _)| !name.starts_with("_ddu_")).collect::<Vec<_>>(), first);
}

#[test]
fn an_overwrite_with_other_types_has_the_types_of_the_new_rows() {
    let world = World::new();
    world.drop_rows("accounts.xlsx", &[row!["Account Name", "Industry"], row!["A", 1]]);
    world.run_once(0);
    world.drop_json("accounts.xlsx.json", json!({"overwrite": true, "key": "Account Name"}));
    world.drop_rows(
        "accounts.xlsx",
        &[row!["Account Name", "Industry", "Main Phone"], row!["A", "Wholesale", "1"]],
    );
    world.run_once(0);
    let wanted = [("Account_Name", "string"), ("Industry", "string"), ("Main_Phone", "string")];
    assert_eq!(columns(&world), named(&wanted));
    assert_eq!(written(&world, "industrycode"), [("A".to_owned(), json!(33))]);
}
