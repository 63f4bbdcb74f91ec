//! Log, state and receipts: guide's columns first, each job once.

use super::*;
use crate::io::delta::log::Appender;
use crate::io::delta::rows::{batch, ints, texts, times};
use crate::io::delta::schema::arrow_schema;
use crate::io::delta::txn::Txn;

pub(super) fn log_row(table: &str, number: u64) -> LogRow {
    LogRow {
        table_name: table.into(),
        partition_id: 0,
        batch_id: i32::try_from(number).unwrap(),
        batch_size: 100,
        write_time: 1.25,
        time: at(7),
        error: (number.is_multiple_of(2)).then(|| "0x80040333: too long".into()),
        severity: 1,
        cause: None,
        quarantine_table: Some(format!("quarantine.{table}")),
        job: job(1).to_string(),
        target_entity: "accounts".into(),
        legal_entity: None,
        rows_written: 90,
        rows_quarantined: 10,
        attempt: 2,
    }
}

pub(super) async fn log_of(lake: &Lakehouse, table: Option<&TableName>) -> Vec<LogRow> {
    let mut reader = lake.log(table).await.unwrap();
    let mut all = Vec::new();
    while let Some(rows) = reader.next().await.unwrap() {
        all.extend(rows);
    }
    all
}

fn state_row(table: &str, written: i64) -> StateRow {
    StateRow {
        id: 0,
        table_name: table.into(),
        records: 10,
        validated: false,
        workers: 4,
        target_entity: "accounts".into(),
        written,
        quarantined: 1,
        pending: 9 - written,
        status: "migrating".into(),
        updated: at(written),
        validation: None,
    }
}

#[tokio::test]
async fn the_log_is_read_in_order_and_a_replay_adds_nothing() {
    let world = World::new().await;
    assert_eq!(log_of(&world.lake, None).await, []);
    let mut expected = Vec::new();
    for n in 1..5 {
        let rows = [log_row("customers", n * 2), log_row("customers", n * 2 + 1)];
        let first = world.lake.append_log(&customers(), &txn(n), &rows).await.unwrap();
        let again = world.lake.append_log(&customers(), &txn(n), &rows).await.unwrap();
        assert_eq!(again, first);
        expected.extend(rows);
    }
    let other = TableName::try_from("other".to_owned()).unwrap();
    world.lake.append_log(&other, &txn(9), &[log_row("other", 1)]).await.unwrap();
    assert_eq!(log_of(&world.lake, Some(&customers())).await, expected);
    assert_eq!(log_of(&world.lake, None).await.len(), 9);
}

#[tokio::test]
async fn a_table_has_one_row_of_state_and_keeps_its_place() {
    let world = World::new().await;
    let lake = &world.lake;
    assert_eq!(lake.states().await.unwrap(), []);
    lake.put_state(&state_row("b", 0), "staged", &txn(1)).await.unwrap();
    lake.put_state(&state_row("a", 0), "staged", &txn(2)).await.unwrap();
    let done = lake.put_state(&state_row("b", 5), "recorded", &txn(1)).await.unwrap();
    let again = lake.put_state(&state_row("b", 3), "recorded", &txn(1)).await.unwrap();
    assert_eq!(again, done);
    let b = StateRow { id: 1, ..state_row("b", 5) };
    let a = StateRow { id: 2, ..state_row("a", 0) };
    assert_eq!(lake.states().await.unwrap(), [b, a]);
}

#[tokio::test]
async fn receipts_are_found_by_table_and_by_job() {
    let world = World::new().await;
    let receipt = |number: u32, by: u8| Receipt {
        table_name: "customers".into(),
        row_id: id(number),
        target_key: format!("key {number}"),
        job: job(by).to_string(),
        batch_id: 0,
        time: at(1),
        created: [None, Some(false), Some(true)][number as usize % 3],
        record_id: (number > 1).then(|| id(number).to_string()),
    };
    for by in 1..4_u8 {
        let begun = world.lake.append_receipts(&customers(), &txn(u64::from(by))).await.unwrap();
        let Begin::Open(mut writer) = begun else { panic!("each job is new") };
        writer.add(&[receipt(1, by), receipt(2, by)]).await.unwrap();
        writer.add(&[receipt(3, by)]).await.unwrap();
        assert_eq!(writer.commit().await.unwrap().rows, 3);
    }
    let replay = world.lake.append_receipts(&customers(), &txn(2)).await.unwrap();
    assert!(matches!(replay, Begin::AlreadyDone(Committed { rows: 3, .. })));
    let mut reader = world.lake.receipts(ReceiptsOf::Job(&job(2))).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), [receipt(1, 2), receipt(2, 2), receipt(3, 2)]);
    assert_eq!(reader.next().await.unwrap(), None);
    let mut reader = world.lake.receipts(ReceiptsOf::Table(&customers())).await.unwrap();
    let mut count = 0;
    while let Some(receipts) = reader.next().await.unwrap() {
        count += receipts.len();
    }
    assert_eq!(count, 9);
}

#[tokio::test]
async fn rows_that_are_taken_back_leave_table_and_receipts_once_and_those_of_other_jobs_stay() {
    let world = World::new().await;
    let (lake, customers) = (&world.lake, customers());
    for by in [1_u8, 2] {
        let first = u32::from(by) * 10;
        world.stage(&columns(), &rows(by, first..first + 4), StageKind::Append, txn(u64::from(by))).await;
        let begun = lake.append_receipts(&customers, &txn(u64::from(by))).await.unwrap();
        let Begin::Open(mut writer) = begun else { panic!("each job is new") };
        // The second job wrote the first one's rows once more.
        let written: Vec<Receipt> = (10..14)
            .map(|number| Receipt {
                table_name: "customers".into(),
                row_id: id(number),
                target_key: format!("key {number}"),
                job: job(by).to_string(),
                batch_id: 0,
                time: at(1),
                created: Some(by == 1),
                record_id: None,
            })
            .collect();
        writer.add(&written).await.unwrap();
        writer.commit().await.unwrap();
    }
    let leaving = [id(10), id(12), id(20)].into();
    for _ in 0..2 {
        lake.unstage(&customers, &job(1), &leaving, &txn(3)).await.unwrap();
        lake.withdraw_receipts(&customers, &job(1), &leaving, &txn(3)).await.unwrap();
        let left: Vec<RowId> = world.newest().await.iter().map(|row| row.id).collect();
        assert_eq!(left, [11, 13, 20, 21, 22, 23].map(id), "row 20 is the other job's");
        let mut reader = lake.receipts(ReceiptsOf::All).await.unwrap();
        let mut receipts = Vec::new();
        while let Some(more) = reader.next().await.unwrap() {
            receipts.extend(more.into_iter().map(|receipt| (receipt.row_id, receipt.created)));
        }
        let first = [11, 13].map(|number| (id(number), Some(true)));
        let second = [10, 11, 12, 13].map(|number| (id(number), Some(false)));
        assert_eq!(receipts, [&first[..], &second[..]].concat());
    }
    // A commit whose answer was lost is found in the log, also where there is more to take by now.
    lake.unstage(&customers, &job(1), &[id(11)].into(), &txn(3)).await.unwrap();
    assert_eq!(lake.staged_count(&customers).await.unwrap(), 6);
}

#[tokio::test]
async fn a_state_is_only_marked_as_validated_while_it_is_the_one_that_was_checked() {
    let world = World::new().await;
    let lake = &world.lake;
    lake.put_state(&state_row("a", 3), "done", &txn(1)).await.unwrap();
    let seen = lake.states().await.unwrap().remove(0);
    lake.put_state(&state_row("b", 3), "done", &txn(2)).await.unwrap();
    assert!(world.another().await.mark_validated(&seen, true, "all of it").await.unwrap());
    let marked = lake.states().await.unwrap().remove(0);
    assert_eq!((marked.validated, marked.validation.as_deref()), (true, Some("all of it")));
    lake.put_state(&state_row("a", 4), "done", &txn(3)).await.unwrap();
    assert!(!lake.mark_validated(&marked, true, "too late").await.unwrap());
    assert!(!lake.states().await.unwrap()[0].validated);
    assert!(lake.has_state(&TableName::try_from("a".to_owned()).unwrap(), "done", &txn(3)).await.unwrap());
}

#[tokio::test]
async fn receipts_of_an_earlier_version_stay_and_take_the_new_columns() {
    // The table is as the first version made it, with a row of that time in it.
    let world = World::new().await;
    let old = &crate::io::delta::receipts::columns()[..6];
    let table = world.lake.receipts_table().unwrap();
    let early = Txn::new("ddu/receipts/customers".into(), &txn(1));
    let begun = Appender::begin(table.clone(), old.to_vec(), early).await.unwrap();
    let Begin::Open(mut appender) = begun else { panic!("the table is new") };
    let text = |text: &str| texts([Some(text)].into_iter());
    let arrays = vec![
        text("customers"),
        text(&id(1).to_string()),
        text("key 1"),
        text(job(1).as_str()),
        ints([0].into_iter()),
        times([at(1)].into_iter()),
    ];
    appender.write(&batch("t", arrow_schema(old), arrays).unwrap()).await.unwrap();
    appender.commit().await.unwrap();

    let begun = world.lake.append_receipts(&customers(), &txn(2)).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("each job is new") };
    let receipt = |number: u32, by: u8, created: Option<bool>| Receipt {
        table_name: "customers".into(),
        row_id: id(number),
        target_key: format!("key {number}"),
        job: job(by).to_string(),
        batch_id: 0,
        time: at(1),
        created,
        record_id: created.map(|_| id(9).to_string()),
    };
    writer.add(&[receipt(2, 2, Some(true))]).await.unwrap();
    writer.commit().await.unwrap();
    for lake in [&world.lake, &world.another().await] {
        let mut reader = lake.receipts(ReceiptsOf::Table(&customers())).await.unwrap();
        let mut all = Vec::new();
        while let Some(receipts) = reader.next().await.unwrap() {
            all.extend(receipts);
        }
        assert_eq!(all, [receipt(1, 1, None), receipt(2, 2, Some(true))]);
    }
}

#[tokio::test]
async fn jobs_report_a_state_together_and_none_of_them_reports_it_again() {
    let world = World::new().await;
    let together = [txn(1), txn(2), txn(4)];
    let done = world.lake.put_state_of(&state_row("a", 3), "staged", &together).await.unwrap();
    for lake in [&world.lake, &world.another().await] {
        for txn in &together {
            let again = lake.put_state(&state_row("a", 9), "staged", txn).await.unwrap();
            assert_eq!(again.version, done.version);
        }
        assert!(matches!(
            lake.put_state(&state_row("a", 9), "staged", &txn(3)).await,
            Err(LakeError::Overtaken { .. })
        ));
    }
    world.lake.put_state(&state_row("a", 5), "staged", &txn(5)).await.unwrap();
    assert_eq!(world.lake.states().await.unwrap()[0].written, 5);
}
