//! Proof: what was created is known, what was written is read back and signed off, and what a job made can be taken back.

use ddu::io::delta::Receipt;
use serde_json::json;

use crate::service::Service;
use crate::world::{World, accounts, tally, workbook};

/// Drops accounts counted from `from` with these settings, and takes them through.
fn load(world: &World, name: &str, rows: (u32, u32), settings: serde_json::Value) {
    world.drop_bytes(name, &workbook(&[("Sheet1", &accounts(rows.0, rows.1))]));
    let mut all = json!({"target_entity": "account", "table_name": "accounts"});
    for (key, value) in settings.as_object().unwrap() {
        all[key] = value.clone();
    }
    world.drop_json(&format!("{name}.json"), all);
    world.run_once(0);
}

fn created(receipts: &[Receipt]) -> Vec<Option<bool>> {
    receipts.iter().map(|receipt| receipt.created).collect()
}

#[test]
fn receipts_tell_what_a_job_created_and_which_record_it_is() {
    let world = World::new();
    load(&world, "first.xlsx", (1, 3), json!({}));
    let upsert = json!({"mode": "upsert", "key": ["Account Number"]});
    load(&world, "second.xlsx", (2, 4), upsert);
    let receipts = world.receipts();
    assert_eq!(created(&receipts[..3]), [Some(true); 3]);
    assert_eq!(created(&receipts[3..]), [Some(false), Some(false), Some(true), Some(true)]);
    // Rows that name their records by a key have the records' own ids in the receipts.
    let ids = tally(&world.target("accounts"), "accountid");
    assert_eq!(ids.len(), 5);
    for receipt in &receipts {
        assert!(ids.contains_key(receipt.record_id.as_ref().unwrap()), "{receipt:?}");
    }
    assert_eq!(receipts[1].record_id, receipts[3].record_id);
}

#[test]
fn an_overwrite_changes_its_own_records_and_the_first_job_stays_their_creator() {
    let world = World::new();
    let keyed = json!({"key": ["Account Number"]});
    load(&world, "accounts.xlsx", (1, 4), keyed);
    let anew = json!({"key": ["Account Number"], "overwrite": true});
    load(&world, "accounts.xlsx", (3, 4), anew);
    let receipts = world.receipts();
    assert_eq!(created(&receipts[..4]), [Some(true); 4]);
    assert_eq!(created(&receipts[4..]), [Some(false), Some(false), Some(true), Some(true)]);
}

#[test]
fn what_was_created_is_told_after_a_death_as_far_as_anybody_can_know() {
    // The answer to the only batch is cut after the commit, and the daemon is killed in the pause before it asks again.
    let world = World::new();
    let cut = json!([
        {"on": {"kind": "batch", "request": 1}, "answer": {"cut": "after"}},
        {"on": {"kind": "batch"}, "answer": {"status": 503}},
    ]);
    let mut service = Service::start(&world, cut);
    world.configure(json!({"target": service.target()}));
    world.drop_bytes("accounts.xlsx", &workbook(&[("Sheet1", &accounts(1, 5))]));
    world.drop_json(
        "accounts.xlsx.json",
        json!({"target_entity": "account", "mode": "upsert", "key": ["Account Number"]}),
    );
    let mut daemon = world.daemon();
    world.wait_for("the batch in doubt", || {
        let waiting = world.status()["jobs"][0]["waiting_for"].to_string();
        waiting.contains("Dynamics until").then_some(())
    });
    daemon.signal("KILL");
    daemon.end();
    service.restart(&world, json!([]));
    world.run_once(0);
    assert_eq!(world.target("accounts").len(), 5);
    assert_eq!(created(&world.receipts()), [None; 5]);
}
