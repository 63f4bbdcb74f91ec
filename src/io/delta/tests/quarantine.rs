//! Refused rows come, change and leave.

use std::collections::HashSet;

use super::*;
use crate::domain::refusal::Refusal;

fn refused(by: u8, numbers: std::ops::Range<u32>) -> Vec<QuarantineRow> {
    let refusal = |cause: &str| Refusal {
        column: Some("Code".into()),
        error: "0x80044331".into(),
        cause: cause.into(),
        advice: "shorten it".into(),
        missing: None,
    };
    let row = |row| QuarantineRow {
        row,
        refusals: vec![refusal("it is too long"), refusal("it is odd")],
        attempt: 1,
        time: at(3),
    };
    rows(by, numbers).into_iter().map(row).collect()
}

async fn change(
    world: &World,
    add: &[QuarantineRow],
    leaving: Leaving,
    step: &str,
    txn: JobTxn,
) -> Committed {
    let begun = world.lake.change_quarantine(&customers(), columns(), leaving, step, &txn).await;
    match begun.unwrap() {
        Begin::AlreadyDone(done) => done,
        Begin::Open(mut writer) => {
            writer.add(add).await.unwrap();
            writer.commit().await.unwrap()
        }
    }
}

async fn held(world: &World, job: Option<&JobId>) -> Vec<QuarantineRow> {
    let mut reader = world.lake.quarantine_rows(&customers(), job).await.unwrap();
    let mut all = Vec::new();
    while let Some(rows) = reader.next().await.unwrap() {
        all.extend(rows);
    }
    all
}

fn none() -> Leaving {
    Leaving::Rows(HashSet::new())
}

#[tokio::test]
async fn rows_come_and_go_in_one_commit_and_the_others_keep_their_order() {
    let world = World::new().await;
    assert_eq!(held(&world, None).await, []);
    change(&world, &refused(1, 1..6), none(), "record", txn(1)).await;
    change(&world, &refused(2, 6..9), none(), "record", txn(2)).await;
    let leaving = Leaving::Rows(HashSet::from([id(2), id(4), id(999)]));
    let done = change(&world, &refused(3, 7..8), leaving.clone(), "record", txn(3)).await;
    assert_eq!(change(&world, &refused(3, 7..8), leaving, "record", txn(3)).await, done, "a replay");
    let numbers: Vec<u32> = held(&world, None).await.iter().map(|row| row.row.number).collect();
    assert_eq!(numbers, [1, 3, 5, 6, 8, 7], "a row that comes again takes its own place");
    assert_eq!(world.lake.quarantine_count(&customers()).await.unwrap(), 6);
    let ids = world.lake.quarantine_ids(&customers()).await.unwrap();
    assert_eq!(ids, [1, 3, 5, 6, 8, 7].map(id).into());
    assert_eq!(held(&world, Some(&job(3))).await, refused(3, 7..8));
    assert_eq!(world.lake.quarantine_tables().await.unwrap(), [customers()]);
}

#[tokio::test]
async fn the_quarantine_of_a_replaced_table_starts_anew() {
    let world = World::new().await;
    change(&world, &refused(1, 1..6), none(), "record", txn(1)).await;
    change(&world, &[], Leaving::Everything, "reset", txn(2)).await;
    assert_eq!(held(&world, None).await, []);
    change(&world, &refused(2, 1..2), none(), "record", txn(2)).await;
    assert_eq!(held(&world, None).await, refused(2, 1..2));
}

#[tokio::test]
async fn an_empty_quarantine_takes_the_columns_of_the_table_that_was_replaced() {
    // Rows come and all of them leave; the staged table is then replaced by one with other types under the same names.
    let world = World::new().await;
    change(&world, &refused(1, 0..3), Leaving::Rows(HashSet::new()), "done", txn(1)).await;
    let all = Leaving::Rows((0..3).map(id).collect());
    change(&world, &[], all, "done", txn(2)).await;
    assert_eq!(world.lake.quarantine_count(&customers()).await.unwrap(), 0);

    let others = vec![column("Code", StageType::Integer), column("Day", StageType::Date)];
    let leaving = Leaving::Rows(HashSet::new());
    let begun = world.lake.change_quarantine(&customers(), others.clone(), leaving, "done", &txn(3)).await;
    let Begin::Open(mut writer) = begun.unwrap() else { panic!("a job that is new") };
    let mut row = refused(3, 7..8).remove(0);
    row.row.values = vec![Value::Integer(7), Value::Text("soon".into())];
    writer.add(std::slice::from_ref(&row)).await.unwrap();
    writer.commit().await.unwrap();

    let another = world.another().await;
    let mut reader = another.quarantine_rows(&customers(), None).await.unwrap();
    assert_eq!(reader.columns(), others);
    assert_eq!(reader.next().await.unwrap().unwrap(), [row]);
    // With a row in it the types stand again.
    let leaving = Leaving::Rows(HashSet::new());
    let begun = world.lake.change_quarantine(&customers(), columns(), leaving, "done", &txn(4)).await;
    assert!(matches!(begun.err().unwrap(), LakeError::ColumnType { .. }));
}
