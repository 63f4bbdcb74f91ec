//! Staging: order, replays, other schemas, races.

use super::*;

#[tokio::test]
async fn a_replayed_job_finds_its_rows_and_adds_nothing() {
    // The second call is what a restart after a crash between commit and journal does; it also asks another process.
    let world = World::new().await;
    let first = world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    assert_eq!(first.rows, 3);
    let again = world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    assert_eq!(again, first);
    world.stage(&columns(), &rows(2, 4..6), StageKind::Append, txn(2)).await;
    let elsewhere =
        stage(&world.another().await, &columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    assert_eq!(elsewhere, first);
    assert_eq!(world.lake.staged_count(&customers()).await.unwrap(), 5);
    assert_eq!(world.rows(first.version, None).await, rows(1, 1..4));
}

#[tokio::test]
async fn a_job_that_was_overtaken_is_told_so_instead_of_being_taken_for_done() {
    let world = World::new().await;
    world.stage(&columns(), &rows(2, 1..2), StageKind::Append, txn(2)).await;
    let late = world.lake.stage(&customers(), columns(), StageKind::Append, &txn(1)).await;
    assert!(matches!(late, Err(LakeError::Overtaken { wanted: 256, found: 512, .. })));
}

#[tokio::test]
async fn what_was_not_committed_cannot_be_seen() {
    let world = World::new().await;
    let begun = world.lake.stage(&customers(), columns(), StageKind::Append, &txn(1)).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("nothing was staged yet") };
    writer.write(&staged_batch(&columns(), &rows(1, 1..4)).unwrap()).await.unwrap();
    assert_eq!(world.lake.staged_columns(&customers()).await.unwrap(), None);
    writer.abort().await;
    assert_eq!(world.lake.staged_count(&customers()).await.unwrap(), 0);
    assert_eq!(world.lake.tables().await.unwrap(), []);
}

#[tokio::test]
async fn rows_come_back_in_the_order_in_which_they_were_staged_whatever_the_number_of_batches_and_files() {
    // Ten commits of ten batches, cut into small files; read as a whole, and job by job.
    let world = World::new().await;
    let mut version = 0;
    for by in 0..10_u8 {
        let begun = world.lake.stage(&customers(), columns(), StageKind::Append, &txn(u64::from(by))).await;
        let Begin::Open(mut writer) = begun.unwrap() else { panic!("each job is new") };
        writer.set_file_bytes_max(20_000);
        for part in 0..10 {
            let start = u32::from(by) * 1_000 + part * 100;
            writer.write(&staged_batch(&columns(), &rows(by, start..start + 100)).unwrap()).await.unwrap();
        }
        version = writer.commit().await.unwrap().version;
    }
    let all = world.rows(version, None).await;
    assert_eq!(all.iter().map(|row| row.number).collect::<Vec<_>>(), (0..10_000).collect::<Vec<_>>());
    for by in 0..10 {
        let start = u32::from(by) * 1_000;
        assert_eq!(world.rows(version, Some(&job(by))).await, rows(by, start..start + 1_000));
    }
    assert_eq!(world.rows(version, Some(&job(77))).await, []);
}

#[tokio::test]
async fn a_later_drop_adds_columns_and_the_old_rows_have_blanks_there() {
    let world = World::new().await;
    let first = world.stage(&columns(), &rows(1, 1..3), StageKind::Append, txn(1)).await;
    let wider = [column("code", StageType::Text), column("Since", StageType::Date)];
    let mut new = rows(2, 3..4);
    new[0].values = vec![Value::Text("00003".into()), Value::Date("2026-02-03".parse().unwrap())];
    world.stage(&wider, &new, StageKind::Append, txn(2)).await;
    let names = world.lake.staged_columns(&customers()).await.unwrap().unwrap();
    let mut expected = columns();
    expected.push(column("Since", StageType::Date));
    assert_eq!(names, expected, "the table's spelling and header of a column stay");
    let all = world.newest().await;
    assert_eq!(all[0].values[2], Value::Blank);
    assert_eq!(all[2].values, [Value::Text("00003".into()), Value::Blank, new[0].values[1].clone()]);
    assert_eq!(world.rows(first.version, None).await, rows(1, 1..3), "the old version is as it was");
}

#[tokio::test]
async fn a_column_never_changes_its_type_and_no_name_is_there_twice() {
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 1..3), StageKind::Append, txn(1)).await;
    let other = vec![column("CODE", StageType::Integer)];
    let refused = world.lake.stage(&customers(), other, StageKind::Append, &txn(2)).await;
    assert!(matches!(refused, Err(LakeError::ColumnType { column, .. }) if column == "Code"));
    for twice in ["New", "_DDU_JOB", "_ddu_refusals"] {
        let names = vec![column("new", StageType::Text), column(twice, StageType::Text)];
        let refused = world.lake.stage(&customers(), names, StageKind::Append, &txn(2)).await;
        assert!(matches!(refused, Err(LakeError::ColumnTwice { .. })), "{twice}");
    }
}

#[tokio::test]
async fn overwrite_replaces_rows_and_columns_in_one_commit_and_an_older_version_stays_readable() {
    let world = World::new().await;
    let old = world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    let narrow = [column("Amount", StageType::Text)];
    let mut new = rows(2, 9..10);
    new[0].values = vec![Value::Text("nine".into())];
    let done = world.stage(&narrow, &new, StageKind::Overwrite, txn(2)).await;
    assert_eq!(done.version, old.version + 1);
    assert_eq!(world.stage(&narrow, &new, StageKind::Overwrite, txn(2)).await, done, "a replay");
    assert_eq!(world.newest().await, new);
    assert_eq!(world.lake.staged_columns(&customers()).await.unwrap().unwrap(), narrow);
    assert_eq!(world.rows(old.version, None).await, rows(1, 1..4));
}

#[tokio::test]
async fn a_load_without_rows_is_a_commit_too() {
    let world = World::new().await;
    let empty = world.stage(&columns(), &[], StageKind::Append, txn(1)).await;
    assert_eq!(empty.rows, 0);
    assert_eq!(world.stage(&columns(), &[], StageKind::Append, txn(1)).await, empty);
    world.stage(&columns(), &rows(2, 1..4), StageKind::Append, txn(2)).await;
    world.stage(&columns(), &[], StageKind::Overwrite, txn(3)).await;
    assert_eq!(world.newest().await, []);
}

#[tokio::test]
async fn what_a_column_cannot_hold_comes_back_as_it_was_written() {
    let world = World::new().await;
    let kinds = [
        column("Text", StageType::Text),
        column("Integer", StageType::Integer),
        column("Number", StageType::Number),
        column("Boolean", StageType::Boolean),
        column("Date", StageType::Date),
        column("Timestamp", StageType::Timestamp),
    ];
    let values = [
        Value::Blank,
        Value::Text("=1+1".into()),
        Value::Integer(i64::MAX),
        Value::Number(-0.1),
        Value::Boolean(true),
        Value::Date("1899-12-30".parse().unwrap()),
        Value::Timestamp("9999-12-30T22:00:00.999999Z".parse().unwrap()),
        Value::Timestamp("2026-01-01T00:00:00.123456789Z".parse().unwrap()),
        Value::Unreadable { found: "#N/A".into(), why: "it is an error".into() },
    ];
    let mut all = rows(1, 0..9);
    for (row, value) in all.iter_mut().zip(&values) {
        row.values = vec![value.clone(); kinds.len()];
    }
    world.stage(&kinds, &all, StageKind::Append, txn(1)).await;
    assert_eq!(world.newest().await, all);
}

#[tokio::test]
async fn two_daemons_that_stage_at_once_both_keep_their_rows() {
    // Each has its own handles, as two processes would; every commit of one is a conflict for the other.
    let world = World::new().await;
    let (a, b) = (world.another().await, world.another().await);
    let work = |lake: Lakehouse, name: &'static str| async move {
        for n in 1..8_u64 {
            let table = TableName::try_from(name.to_owned()).unwrap();
            let row = books::log_row(name, n);
            lake.append_log(&table, &txn(n), &[row]).await.unwrap();
        }
    };
    futures::join!(work(a, "a"), work(b, "b"));
    assert_eq!(books::log_of(&world.lake, None).await.len(), 14);
}

#[tokio::test]
async fn two_processes_that_do_the_same_job_leave_its_rows_once() {
    // Both begin before either commits, as a daemon does that was taken for dead.
    let world = World::new().await;
    let mut writers = Vec::new();
    for lake in [world.another().await, world.another().await] {
        let begun = lake.stage(&customers(), columns(), StageKind::Append, &txn(1)).await.unwrap();
        let Begin::Open(mut writer) = begun else { panic!("nothing was staged yet") };
        writer.write(&staged_batch(&columns(), &rows(1, 1..4)).unwrap()).await.unwrap();
        writers.push(writer.commit());
    }
    let done = futures::future::join_all(writers).await;
    assert_eq!(done[0].as_ref().unwrap(), done[1].as_ref().unwrap());
    assert_eq!(world.newest().await, rows(1, 1..4));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_found_in_the_log_and_not_repeated() {
    // First the answer to the table's creation, then the one to the rows.
    let world = World::new().await;
    let log = world.dir.path().canonicalize().unwrap().join("migration/customers/_delta_log");
    for version in [0, 1] {
        store::faults::lose_answer_of(log.join(format!("{version:020}.json")));
    }
    let done = world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    assert_eq!(done, Committed { version: 1, rows: 3 });
    assert_eq!(world.newest().await, rows(1, 1..4));
}

#[tokio::test]
async fn a_job_of_another_dropbox_is_never_taken_for_this_one() {
    // Both dropboxes count their jobs from 1.
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    let stranger = JobTxn { job: job(200), version: txn(1).version };
    let refused = world.lake.stage(&customers(), columns(), StageKind::Append, &stranger).await;
    assert!(matches!(refused, Err(LakeError::Taken { wanted: 256, .. })));
}

#[tokio::test]
async fn a_table_that_another_program_upgraded_is_left_alone() {
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 1..4), StageKind::Append, txn(1)).await;
    let log = world.dir.path().join("migration/customers/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace("\"minWriterVersion\":2", "\"minWriterVersion\":4")).unwrap();
    let refused = world.another().await.stage(&customers(), columns(), StageKind::Append, &txn(2)).await;
    assert!(matches!(refused, Err(LakeError::Foreign { .. })));
}

#[tokio::test]
async fn a_place_that_cannot_be_used_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let root = file.to_str().unwrap();
    assert!(matches!(Lakehouse::open(root, "a", "b").await, Err(LakeError::Root { .. })));
    let root = dir.path().to_str().unwrap();
    assert!(matches!(Lakehouse::open(root, "a", "a").await, Err(LakeError::Root { .. })));
    assert!(matches!(Lakehouse::open(root, "../a", "b").await, Err(LakeError::Root { .. })));
}

// Several jobs in one commit.

/// Begins a commit with the rows of a job.
async fn begun(world: &World, columns: &[StagedColumn], rows: &[StagedRow], txn: JobTxn) -> StageWriter {
    let begun = world.lake.stage(&customers(), columns.to_vec(), StageKind::Append, &txn).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("nothing of it was staged yet") };
    writer.write(&staged_batch(columns, rows).unwrap()).await.unwrap();
    writer
}

/// Lets a further job into a commit.
async fn joined(writer: &mut StageWriter, columns: &[StagedColumn], rows: &[StagedRow], txn: JobTxn) {
    writer.join(columns.to_vec(), &txn).await.unwrap();
    if !rows.is_empty() {
        writer.write(&staged_batch(columns, rows).unwrap()).await.unwrap();
    }
}

#[tokio::test]
async fn each_of_the_jobs_that_share_a_commit_recognises_itself_on_a_replay() {
    // Number 4 is missing: its workbook was put aside while the others were read.
    let world = World::new().await;
    let mut writer = begun(&world, &columns(), &rows(2, 1..4), txn(2)).await;
    joined(&mut writer, &columns(), &rows(3, 4..9), txn(3)).await;
    joined(&mut writer, &columns(), &[], txn(5)).await;
    joined(&mut writer, &columns(), &rows(6, 9..11), txn(6)).await;
    let done = writer.commit().await.unwrap();
    assert_eq!(done, Committed { version: 1, rows: 10 });
    world.stage(&columns(), &rows(7, 11..12), StageKind::Append, txn(7)).await;
    for lake in [&world.lake, &world.another().await] {
        for (number, count) in [(2, 3), (3, 5), (5, 0), (6, 2)] {
            let again =
                stage(lake, &columns(), &rows(number, 90..99), StageKind::Append, txn(number.into())).await;
            assert_eq!(again, Committed { version: 1, rows: count }, "job {number}");
            assert!(lake.is_staged(&customers(), &txn(number.into())).await.unwrap());
        }
        let missing = lake.is_staged(&customers(), &txn(4)).await;
        assert!(matches!(missing, Err(LakeError::Overtaken { wanted: 1024, found: 1792, .. })));
        let stranger = JobTxn { job: job(200), version: txn(3).version };
        assert!(matches!(lake.is_staged(&customers(), &stranger).await, Err(LakeError::Taken { .. })));
    }
    assert_eq!(world.lake.staged_count(&customers()).await.unwrap(), 11);
    assert_eq!(world.rows(1, Some(&job(3))).await, rows(3, 4..9));
    assert_eq!(world.rows(1, Some(&job(5))).await, []);
    let numbers: Vec<u32> = world.newest().await.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..12).collect::<Vec<_>>(), "in the order of their claims");
}

#[tokio::test]
async fn a_shared_commit_whose_answer_was_lost_is_found_by_all_its_jobs_and_not_repeated() {
    let world = World::new().await;
    let log = world.dir.path().canonicalize().unwrap().join("migration/customers/_delta_log");
    store::faults::lose_answer_of(log.join(format!("{:020}.json", 1)));
    let mut writer = begun(&world, &columns(), &rows(1, 1..4), txn(1)).await;
    joined(&mut writer, &columns(), &rows(2, 4..6), txn(2)).await;
    assert_eq!(writer.commit().await.unwrap().version, 1);
    for (number, count) in [(1, 3), (2, 2)] {
        let again = world.stage(&columns(), &rows(number, 1..4), StageKind::Append, txn(number.into())).await;
        assert_eq!(again, Committed { version: 1, rows: count });
    }
    assert_eq!(world.lake.staged_count(&customers()).await.unwrap(), 5);
}

#[tokio::test]
async fn a_job_that_joins_may_bring_other_columns_and_one_that_cannot_stand_there_leaves_the_commit_as_it_was()
 {
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 1..2), StageKind::Append, txn(1)).await;
    let narrow = [column("Amount", StageType::Number)];
    let mut first = rows(2, 2..4);
    first.iter_mut().for_each(|row| drop(row.values.remove(0)));
    let wider = [column("CODE", StageType::Text), column("Since", StageType::Date)];
    let mut second = rows(3, 4..5);
    second[0].values = vec![Value::Text("00004".into()), Value::Date("2026-02-03".parse().unwrap())];
    let mut writer = begun(&world, &narrow, &first, txn(2)).await;
    let other = vec![column("amount", StageType::Text)];
    assert!(matches!(writer.join(other, &txn(3)).await, Err(LakeError::ColumnType { .. })));
    joined(&mut writer, &wider, &second, txn(3)).await;
    let mut expected = columns();
    expected.push(column("Since", StageType::Date));
    assert_eq!(writer.table_columns(), expected);
    joined(&mut writer, &columns(), &rows(4, 5..7), txn(4)).await;
    let done = writer.commit().await.unwrap();
    assert_eq!(world.lake.staged_columns(&customers()).await.unwrap().unwrap(), expected);
    let all = world.newest().await;
    assert_eq!(all.iter().map(|row| row.number).collect::<Vec<_>>(), (1..7).collect::<Vec<_>>());
    assert_eq!(all[1].values, [Value::Blank, first[0].values[0].clone(), Value::Blank]);
    assert_eq!(all[3].values, [Value::Text("00004".into()), Value::Blank, second[0].values[1].clone()]);
    assert_eq!(world.rows(done.version, Some(&job(4))).await.len(), 2);
}

#[tokio::test]
async fn one_jobs_rows_are_found_among_those_of_many_in_one_file_also_across_row_groups() {
    // 40 jobs of 1000 rows are more than one row group holds; their ids do not rise with their numbers.
    let world = World::new().await;
    let of = |by: u8| rows(by, u32::from(by) * 1_000..u32::from(by + 1) * 1_000);
    let stranger = |by: u8| JobTxn { job: job(by ^ 0x55), ..txn(u64::from(by)) };
    let named = |by: u8| {
        let mut rows = of(by);
        rows.iter_mut().for_each(|row| row.job = job(by ^ 0x55).to_string());
        rows
    };
    let mut writer = begun(&world, &columns(), &named(1), stranger(1)).await;
    for by in 2..=40 {
        joined(&mut writer, &columns(), &named(by), stranger(by)).await;
    }
    let version = writer.commit().await.unwrap().version;
    for by in [1, 7, 16, 17, 33, 40] {
        assert_eq!(world.rows(version, Some(&job(by ^ 0x55))).await, named(by));
    }
    let files = std::fs::read_dir(world.dir.path().join("migration/customers")).unwrap();
    assert_eq!(
        files.filter(|entry| entry.as_ref().unwrap().file_name() != "_delta_log").count(),
        1,
        "one slot"
    );
}
