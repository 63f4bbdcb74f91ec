//! Corrected rows take the place of the staged ones.

use std::collections::HashSet;

use super::*;

async fn heal(
    world: &World,
    columns: &[StagedColumn],
    batches: &[Vec<StagedRow>],
    txn: JobTxn,
) -> Result<Healed, Committed> {
    let begun = world.lake.heal(&customers(), columns.to_vec(), world.dir.path(), &txn).await.unwrap();
    let mut writer = match begun {
        Begin::AlreadyDone(done) => return Err(done),
        Begin::Open(writer) => writer,
    };
    for rows in batches {
        writer.write(&staged_batch(columns, rows).unwrap()).await.unwrap();
    }
    Ok(writer.commit().await.unwrap())
}

/// A row that came back: another job, another place, and one corrected value.
fn returned(number: u32, value: Value) -> StagedRow {
    StagedRow {
        id: id(number),
        job: job(9).to_string(),
        sheet: "Returned".into(),
        number: 5_000 + number,
        values: vec![value],
    }
}

/// What [`returned`] is to become in the table.
fn healed(number: u32, value: Value, kept: Value) -> StagedRow {
    let mut row = returned(number, value);
    if number < 100 {
        (row.sheet, row.number) = ("Sheet1".into(), number);
    }
    row.values.push(kept);
    row
}

#[tokio::test]
async fn corrected_rows_take_the_place_of_the_old_ones_and_the_rest_keeps_its_order() {
    // Rows come back sorted by someone, from two jobs, with a column missing; one is new and one belongs nowhere.
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 0..10), StageKind::Append, txn(1)).await;
    world.stage(&columns(), &rows(2, 10..15), StageKind::Append, txn(2)).await;
    let untouched = world.stage(&columns(), &rows(3, 20..22), StageKind::Append, txn(3)).await;
    let text = |text: &str| Value::Text(text.into());
    let codes = [column("code", StageType::Text)];
    let batches = [
        vec![returned(12, text("twelve")), returned(3, text("three")), returned(900, text("new"))],
        vec![returned(4, Value::Integer(4)), returned(901, Value::Blank)],
    ];
    let done = heal(&world, &codes, &batches, txn(4)).await.unwrap();
    assert_eq!(done.replaced, HashSet::from([3, 4, 12].map(id)));
    assert_eq!(done.committed, Committed { version: untouched.version + 1, rows: 5 });
    assert_eq!(heal(&world, &codes, &batches, txn(4)).await, Err(done.committed), "a replay");
    let replaced = world.lake.healed_by(&customers(), &job(9), done.committed).await.unwrap();
    assert_eq!(replaced, done.replaced);

    let expected = [
        healed(12, text("twelve"), Value::Number(6.0)),
        healed(3, text("three"), Value::Number(1.5)),
        healed(900, text("new"), Value::Blank),
        healed(4, Value::Integer(4), Value::Number(2.0)),
        healed(901, Value::Blank, Value::Blank),
    ];
    assert_eq!(world.rows(done.committed.version, Some(&job(9))).await, expected);
    let numbers: Vec<u32> = world.newest().await.iter().map(|row| row.number).collect();
    let expected = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 13, 14, 20, 21, 12, 3, 5_900, 4, 5_901];
    assert_eq!(numbers, expected);
    assert_eq!(world.lake.staged_count(&customers()).await.unwrap(), 19);
    assert_eq!(world.rows(untouched.version, None).await.len(), 17, "the version before is as it was");
}

#[tokio::test]
async fn a_rescued_value_in_a_column_that_did_not_come_back_stays_rescued() {
    let world = World::new().await;
    let mut staged = rows(1, 1..2);
    let odd = Value::Unreadable { found: "#N/A".into(), why: "it is an error".into() };
    staged[0].values = vec![odd.clone(), odd.clone()];
    world.stage(&columns(), &staged, StageKind::Append, txn(1)).await;
    let codes = [column("Code", StageType::Text)];
    heal(&world, &codes, &[vec![returned(1, Value::Text("ok".into()))]], txn(2)).await.unwrap();
    assert_eq!(world.newest().await, [healed(1, Value::Text("ok".into()), odd)]);
}

#[tokio::test]
async fn rows_that_came_back_in_any_order_find_their_old_values_across_many_batches() {
    // 2000 rows in many files, returned backwards in batches of 300 without one column.
    let world = World::new().await;
    for by in 0..4_u8 {
        let start = u32::from(by) * 500;
        let kind = StageKind::Append;
        world.stage(&columns(), &rows(by, start..start + 500), kind, txn(u64::from(by))).await;
    }
    let codes = [column("Code", StageType::Text)];
    let numbers: Vec<u32> = (0..2_000).rev().collect();
    let back = |number: &u32| returned(*number, Value::Text("x".into()));
    let batches: Vec<Vec<StagedRow>> =
        numbers.chunks(300).map(|chunk| chunk.iter().map(back).collect()).collect();
    let done = heal(&world, &codes, &batches, txn(9)).await.unwrap();
    assert_eq!(done.replaced.len(), 2_000);
    let all = world.newest().await;
    assert_eq!(all.len(), 2_000);
    for (row, number) in all.iter().zip(numbers) {
        assert_eq!((row.id, row.number), (id(number), number));
        assert_eq!(row.values[1], Value::Number(f64::from(number) / 2.0));
    }
}

#[tokio::test]
async fn a_row_that_comes_twice_in_one_load_is_refused() {
    let world = World::new().await;
    let begun = world.lake.heal(&customers(), columns(), world.dir.path(), &txn(1)).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("nothing was staged yet") };
    writer.write(&staged_batch(&columns(), &rows(1, 1..3)).unwrap()).await.unwrap();
    let twice = writer.write(&staged_batch(&columns(), &rows(1, 2..4)).unwrap()).await;
    assert!(matches!(twice, Err(LakeError::RowTwice { id: found, .. }) if found == id(2)));
}
