//! Sidecars: whose settings they are, when they count, and what a wrong one holds up.

use serde_json::{Value, json};

use crate::world::{World, accounts, block_on, tally};

/// The example of the migration guide, word for word, with the braces that it lacks.
const GUIDE: &str = r#"{
    "entity_one.xlsx": {
        "target_entity": "dynamics_entity_one", 
        "atomic": true
    },
    "entity_two.xlsx": {
        "target_entity": "dynamics_entity_two",
        "overwrite": true
    }
}"#;

/// A daemon's configuration in which a workbook without settings waits for them as long as a test may take.
fn patient() -> Value {
    json!({"sidecar_wait_ms": 60_000})
}

/// Waits until every row of a table is written and no job is left to do.
fn wait_until_written(world: &World, table: &str, rows: u64) {
    world.wait_for(table, || {
        let at_rest = world.status()["jobs"] == json!([]);
        (at_rest && world.counts(table) == [rows, rows, 0, 0]).then_some(())
    });
}

// wrong ones

#[test]
fn a_wrong_sidecar_holds_its_workbook_with_file_line_column_and_what_was_expected_until_it_is_corrected() {
    let world = World::new();
    let _daemon = world.daemon();
    let wrong = [
        (
            "a",
            "{\"overwrite\": tru}",
            "a.xlsx.json: line 1, column 15: expected a value, found `tru`; keys and texts stand in double quotes",
        ),
        (
            "b",
            "{\n    \"overwrit\": true\n}",
            "b.xlsx.json: line 2, column 5: unknown key `overwrit`; did you mean `overwrite`?",
        ),
        (
            "c",
            "{\"atomic\": \"yes\"}",
            "c.xlsx.json: line 1, column 12: `atomic`: expected `true` or `false`, found the text `yes`",
        ),
        (
            "d",
            "",
            "d.xlsx.json: line 1, column 1: expected `{` at the beginning, found an empty file; \
             the whole file stands in one pair of braces",
        ),
    ];
    for (at, (name, text, _)) in (1..).zip(wrong) {
        world.drop_bytes(&format!("{name}.xlsx.json"), text.as_bytes());
        world.drop_rows(&format!("{name}.xlsx"), &accounts(at * 10, 1));
    }
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    wait_until_written(&world, "accounts", 2);
    for (name, _, fault) in wrong {
        let workbook = world.wait_for("a held workbook", || {
            let what = world.waiting_for(&format!("{name}.xlsx"));
            what.starts_with("held: ").then_some(what)
        });
        assert_eq!(workbook, format!("held: its settings to be corrected: {fault}"));
        assert_eq!(world.waiting_for(&format!("{name}.xlsx.json")), format!("held: a correction: {fault}"));
        assert!(world.status_text(&format!("{name}.xlsx")).contains(fault));
    }
    assert_eq!(world.target("accounts").len(), 2, "defaults never take the place of settings");
    for (name, _, _) in wrong {
        world.drop_json(&format!("{name}.xlsx.json"), json!({"target_entity": "accounts"}));
    }
    for (name, _, _) in wrong {
        wait_until_written(&world, name, 1);
    }
    assert_eq!(world.target("accounts").len(), 6);
}

#[test]
fn settings_in_two_places_hold_the_workbook_and_name_both_until_one_is_taken_away() {
    let world = World::new();
    world.drop_json("accounts.xlsx.json", json!({"batch_size": 2}));
    world.drop_json("settings.json", json!({"Accounts.xlsx": {"batch_size": 3}}));
    world.drop_rows("accounts.xlsx", &accounts(1, 6));
    world.run_once(3);
    let told = world.status_text("accounts.xlsx");
    assert!(told.contains("one of `accounts.xlsx.json` and `settings.json` to be taken away"), "{told}");
    std::fs::remove_file(world.dropbox().join("accounts.xlsx.json")).unwrap();
    world.run_once(0);
    assert_eq!(world.log_of("accounts").len(), 2, "two batches of three");
}

#[test]
fn a_faulty_shared_file_holds_the_workbooks_that_it_concerns_and_no_others() {
    for shared in [
        r#"{"accounts.xlsx": {"overwrit": true}, "contacts.xlsx": {}}"#,
        r#"{"accounts.xlsx": {"overwrite": true} "contacts.xlsx": {}}"#,
    ] {
        let world = World::new();
        world.drop_bytes("settings.json", shared.as_bytes());
        world.drop_rows("accounts.xlsx", &accounts(1, 1));
        world.drop_rows("contacts.xlsx", &[row!["Last Name"], row!["Doe"]]);
        world.drop_json("contacts.xlsx.json", json!({}));
        world.drop_rows("products.xlsx", &[row!["Name"], row!["Nut"]]);
        world.run_once(3);
        let told = world.status_text("accounts.xlsx");
        assert!(told.contains("held: waiting for `settings.json` to be corrected"), "{told}");
        assert!(told.contains("settings.json: line 1, column"), "{told}");
        assert!(world.target("accounts").is_empty());
        assert_eq!(world.target("products").len(), 1, "it is not spoken of");
        assert_eq!(world.target("contacts").len(), 1, "its own sidecar settles the matter");
    }
}

#[test]
fn a_shared_file_that_has_not_arrived_whole_is_waited_for_by_all() {
    let world = World::with(json!({"settle_ms": 500}));
    let whole = r#"{"products.xlsx": {}, "accounts.xlsx": {"batch_size": 1}}"#;
    let _daemon = world.daemon();
    world.drop_bytes("settings.json", &whole.as_bytes()[..30]);
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.wait_for("the workbook to wait for the settings", || {
        world.waiting_for("accounts.xlsx").contains("`settings.json` to be complete").then_some(())
    });
    world.drop_bytes("settings.json", whole.as_bytes());
    wait_until_written(&world, "accounts", 2);
    assert_eq!(world.log_of("accounts").len(), 2, "its settings came with the rest");
}

// when they count

#[test]
fn a_workbook_that_came_first_is_loaded_by_the_sidecar_that_follows_it() {
    let world = World::with(patient());
    let _daemon = world.daemon();
    world.drop_rows("firms.xlsx", &accounts(1, 2));
    world.wait_for("the workbook to be seen", || {
        world
            .status_text("firms.xlsx")
            .contains("settings that may follow it (`firms.xlsx.json`)")
            .then_some(())
    });
    world.drop_json("firms.xlsx.json", json!({"target_entity": "accounts"}));
    wait_until_written(&world, "firms", 2);
    assert_eq!(world.target("accounts").len(), 2);
}

#[test]
fn a_sidecar_that_came_first_waits_for_its_workbook_and_goes_to_the_archive_with_it() {
    let world = World::with(patient());
    world.drop_json("firms.xlsx.json", json!({"target_entity": "accounts"}));
    world.run_once(0);
    assert!(world.status_text("firms.xlsx.json").contains("waiting for firms.xlsx"));
    world.drop_rows("firms.xlsx", &accounts(1, 2));
    world.run_once(0);
    assert_eq!(world.counts("firms"), [2, 2, 0, 0]);
    let archived = world.archived();
    let folder = archived.iter().find_map(|path| path.strip_suffix("/firms.xlsx")).unwrap();
    assert!(archived.contains(&format!("{folder}/firms.xlsx.json")), "{archived:?}");
    assert!(!world.dropbox().join("firms.xlsx.json").exists());
}

#[test]
fn without_a_sidecar_the_defaults_count_once_the_wait_is_over() {
    let world = World::with(json!({"sidecar_wait_ms": 300}));
    world.drop_rows("accounts.xlsx", &accounts(1, 2));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [2, 2, 0, 0]);
}

// both forms

#[test]
fn the_guides_example_is_followed_once_it_has_its_braces() {
    let world = World::with(patient());
    world.drop_bytes("config.json", GUIDE.as_bytes());
    world.drop_rows("entity_one.xlsx", &accounts(1, 2));
    world.drop_rows("entity_two.xlsx", &[row!["Last Name"], row!["Doe"]]);
    world.run_once(3);
    for (workbook, entity) in
        [("entity_one.xlsx", "dynamics_entity_one"), ("entity_two.xlsx", "dynamics_entity_two")]
    {
        let told = world.status_text(workbook);
        assert!(told.contains(&format!("has no entity `{entity}`")), "{told}");
    }
    let known = GUIDE.replace("dynamics_entity_one", "account").replace("dynamics_entity_two", "Contacts");
    for last_name in ["Doe", "Roe"] {
        world.drop_bytes("config.json", known.as_bytes());
        let mut rows = accounts(1, 3);
        rows[1][0] = format!("{last_name} & Sons").into();
        world.drop_rows("entity_one.xlsx", &rows);
        world.drop_rows("entity_two.xlsx", &[row!["Last Name"], row![last_name]]);
        world.run_once(if last_name == "Doe" { 0 } else { 3 });
    }
    // The second time each account number is there already: in one transaction, and appended.
    assert_eq!(world.counts("entity_one"), [6, 3, 3, 0]);
    assert_eq!(world.counts("entity_two"), [1, 1, 0, 0], "overwritten");
    assert_eq!(world.target("contacts").len(), 2);
}

#[test]
fn the_order_in_which_files_arrive_never_changes_the_result() {
    // All six orders of a shared sidecar and its two workbooks, each dropped once the one before was seen.
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let results: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = orders.iter().map(|order| scope.spawn(|| loaded_in_order(*order))).collect();
        running.into_iter().map(|result| result.join().unwrap()).collect()
    });
    for (order, result) in orders.iter().zip(&results) {
        assert_eq!(*result, results[0], "{order:?}");
    }
}

/// What the tables and the target hold after the files arrived in this order.
fn loaded_in_order(order: [usize; 3]) -> String {
    let world = World::with(patient());
    let mut daemon = world.daemon();
    for file in order {
        let name = ["settings.json", "a.xlsx", "b.xlsx"][file];
        match file {
            0 => world.drop_json(
                name,
                json!({
                    "a.xlsx": {"target_entity": "accounts", "batch_size": 2},
                    "b.xlsx": {"target_entity": "contacts", "columns": {"Surname": "lastname"}},
                }),
            ),
            1 => world.drop_rows(name, &accounts(1, 3)),
            _ => world.drop_rows(name, &[row!["Surname"], row!["Doe"], row!["Roe"]]),
        }
        if file != order[2] {
            world.wait_for(name, || (!world.status_text(name).is_empty()).then_some(()));
        }
    }
    wait_until_written(&world, "a", 3);
    wait_until_written(&world, "b", 2);
    daemon.signal("TERM");
    assert_eq!(daemon.end(), 0);
    assert!(!world.dropbox().join("settings.json").exists(), "archived with the last of its workbooks");
    let lake = world.lake();
    let mut tables = Vec::new();
    for table in ["a", "b"] {
        let name = table.to_owned().try_into().unwrap();
        let version = block_on(lake.staged_version(&name)).unwrap().unwrap();
        let mut rows =
            block_on(async { lake.rows(&name, version, None).await.unwrap().next().await.unwrap() });
        let rows: Vec<String> = rows.take().unwrap().iter().map(|row| format!("{:?}", row.values)).collect();
        tables.push((table, rows, world.log_of(table).len()));
    }
    let mut names: Vec<_> = tally(&world.target("accounts"), "name").into_iter().collect();
    names.extend(tally(&world.target("contacts"), "lastname"));
    names.sort();
    format!("{tables:?}\n{names:?}")
}

#[test]
fn a_shared_file_waits_for_the_last_of_its_workbooks_and_goes_to_the_archive_with_it() {
    let world = World::with(patient());
    world.drop_json(
        "settings.json",
        json!({
            "a.xlsx": {"target_entity": "accounts"}, "b.xlsx": {"target_entity": "contacts"},
        }),
    );
    world.drop_rows("a.xlsx", &accounts(1, 1));
    world.run_once(0);
    assert_eq!(world.counts("a"), [1, 1, 0, 0]);
    assert!(world.dropbox().join("settings.json").exists());
    world.run_once(0);
    let told = world.status_text("settings.json");
    assert!(told.contains("waiting for b.xlsx") && !told.contains("a.xlsx"), "{told}");
    world.drop_rows("b.xlsx", &[row!["Last Name"], row!["Doe"]]);
    world.run_once(0);
    assert_eq!(world.counts("b"), [1, 1, 0, 0]);
    assert!(!world.dropbox().join("settings.json").exists());
    let archived = world.archived();
    let folder = archived.iter().find_map(|path| path.strip_suffix("/b.xlsx")).unwrap();
    assert!(archived.contains(&format!("{folder}/settings.json")), "{archived:?}");
    assert_eq!(world.status_text("settings.json"), "", "there is nothing left to tell");
}
