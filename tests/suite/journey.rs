//! The journey from the dropbox to the archive.

use crate::world::{Cell, World, accounts, tally};

#[test]
fn every_row_of_a_good_workbook_is_written_once() {
    // Drops 25 rows, runs once, asks the target, then drops nothing and runs again.
    let world = World::new();
    world.drop_rows("accounts.xlsx", &accounts(1, 25));
    world.run_once(0);
    assert_eq!(world.counts("accounts"), [25, 25, 0, 0]);
    let names = tally(&world.target("accounts"), "name");
    assert_eq!(names.len(), 25);
    assert!(names.values().all(|count| *count == 1));
    assert!(world.archived().iter().any(|path| path.ends_with("/accounts.xlsx")));
    assert!(
        world.status_text("accounts.xlsx").contains("25 of 25 rows written"),
        "{}",
        world.status_text("accounts.xlsx")
    );
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 25);
}

#[test]
fn one_bad_row_costs_only_itself_and_comes_back() {
    let world = World::new();
    let mut rows = accounts(1, 10);
    rows[4][0] = "x".repeat(161).as_str().into();
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [10, 9, 1, 0]);
    assert_eq!(world.target("accounts").len(), 9);
    let refused = world.quarantine("accounts");
    assert_eq!(refused[0]["_ddu_row"], 5);
    assert!(refused[0]["_ddu_cause"].as_str().unwrap().contains("160"), "{}", refused[0]);
    assert_eq!(world.returned().len(), 1);
}

#[test]
fn a_file_that_is_no_workbook_goes_back_untouched_and_stops_nobody() {
    let world = World::new();
    world.drop_bytes("broken.xlsx", b"this is no workbook");
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    let back = world.returned();
    assert_eq!(std::fs::read(&back[0]).unwrap(), b"this is no workbook");
    assert!(back[0].with_extension("xlsx.txt").exists());
}

#[test]
fn a_row_of_another_width_is_no_reason_to_shift_cells() {
    let world = World::new();
    let rows = vec![
        row!["Account Name", "Account Number", "City"],
        row!["A"],
        row!["B", "", "Bonn"],
        row!["", "7", ""],
    ];
    world.drop_json("accounts.xlsx.json", serde_json::json!({"columns": {"City": "address1_city"}}));
    world.drop_rows("accounts.xlsx", &rows);
    world.run_once(3);
    let target = world.target("accounts");
    let bonn = target.iter().find(|row| row["name"] == "B").unwrap();
    assert_eq!((bonn["address1_city"].as_str(), bonn["accountnumber"].as_str()), (Some("Bonn"), None));
    // The third has no name, which Account Name is required for.
    assert_eq!(world.quarantine("accounts")[0]["_ddu_row"], 4);
}

#[test]
fn the_daemon_takes_what_is_dropped_and_ends_when_asked() {
    // Days and truth values go along, so that they are seen to arrive as such.
    let world = World::new();
    let mut daemon = world.daemon();
    let mut rows = accounts(1, 4);
    rows[0].extend(row!["Customer Since", "Credit Hold"]);
    for row in &mut rows[1..] {
        row.extend([Cell::Day(2024, 2, 29), Cell::Truth(true)]);
    }
    world.drop_rows("accounts.xlsx", &rows);
    world.wait_for("the rows", || (world.counts("accounts") == [4, 4, 0, 0]).then_some(()));
    daemon.signal("TERM");
    assert_eq!(daemon.end(), 0, "{}", daemon.log());
    assert!(daemon.log().contains("rows migrated"), "{}", daemon.log());
    let target = world.target("accounts");
    assert!(target.iter().all(|row| row["ddu_customersince"] == "2024-02-29" && row["creditonhold"] == true));
}
