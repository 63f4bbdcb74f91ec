//! Checkpoints, compaction, vacuum and the leftovers of crashes.

use std::path::{Path, PathBuf};

use jiff::SignedDuration;

use super::books::{log_of, log_row};
use super::*;

fn later(hours: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_hours(hours)
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn the_log_of_many_jobs_becomes_few_files_and_reads_as_before() {
    // Forty jobs of two tables, one row each; then upkeep, a week later once more, and a fresh process.
    let world = World::new().await;
    let lake = &world.lake;
    for n in 1..=20 {
        for (index, name) in ["customers", "orders"].into_iter().enumerate() {
            let table = TableName::try_from(name.to_owned()).unwrap();
            let txn = part(n, u16::try_from(index).unwrap());
            lake.append_log(&table, &txn, &[log_row(name, n)]).await.unwrap();
        }
    }
    let before = log_of(lake, None).await;
    let done = lake.maintain(later(0)).await.unwrap();
    // The commits have folded the log themselves, every tenth of them.
    assert_eq!((done.compacted_files, done.checkpoints), (40, 0));
    assert_eq!(log_of(lake, None).await, before);
    let log = world.dir.path().join("migration/migration_log");
    assert_eq!(files(&log, "checkpoint.parquet").len(), 3);
    assert_eq!(lake.maintain(later(0)).await.unwrap(), Maintained::default(), "nothing is due");

    let done = lake.maintain(later(8 * 24)).await.unwrap();
    assert_eq!((done.removed_files, done.leftovers), (40, 39), "files, and the slots that they leave empty");
    let data =
        files(&log, ".parquet").into_iter().filter(|path| !path.to_str().unwrap().contains("checkpoint"));
    assert_eq!(data.count(), 1);
    let fresh = world.another().await;
    assert_eq!(log_of(&fresh, None).await, before);
    let again = fresh.append_log(&customers(), &txn(20), &[log_row("customers", 20)]).await.unwrap();
    assert_eq!(log_of(&fresh, None).await, before, "a replay is still known: {again:?}");
}

#[tokio::test]
async fn what_a_crash_left_is_removed_when_it_is_old_and_not_before() {
    // A file in the making, a file that was never committed, and an empty slot.
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 0..3), StageKind::Append, txn(1)).await;
    let begun = world.lake.stage(&customers(), columns(), StageKind::Append, &txn(2)).await.unwrap();
    let Begin::Open(mut writer) = begun else { panic!("the job is new") };
    writer.set_file_bytes_max(1);
    writer.write(&staged_batch(&columns(), &rows(2, 0..3)).unwrap()).await.unwrap();
    drop(writer);
    let table = world.dir.path().join("migration/customers");
    let making = table.join("_delta_log/00000000000000000009.json#1");
    std::fs::write(&making, "{}").unwrap();
    assert_eq!(files(&table, ".parquet").len(), 2);

    assert_eq!(world.lake.maintain(later(1)).await.unwrap(), Maintained::default());
    assert!(making.exists());
    let done = world.lake.maintain(later(8 * 24)).await.unwrap();
    assert_eq!((done.removed_files, done.leftovers), (1, 2));
    assert!(!making.exists());
    assert_eq!(world.newest().await, rows(1, 0..3));
}

#[tokio::test]
async fn a_replaced_version_stays_readable_for_a_week_and_says_so_when_it_is_gone() {
    let world = World::new().await;
    let old = world.stage(&columns(), &rows(1, 0..3), StageKind::Append, txn(1)).await;
    world.stage(&columns(), &rows(2, 0..3), StageKind::Overwrite, txn(2)).await;
    world.lake.maintain(later(6 * 24)).await.unwrap();
    assert_eq!(world.rows(old.version, None).await, rows(1, 0..3));
    world.lake.maintain(later(8 * 24)).await.unwrap();
    let mut reader = world.lake.rows(&customers(), old.version, None).await.unwrap();
    assert!(matches!(reader.next().await, Err(LakeError::VersionGone { version: 1, .. })));
    assert_eq!(world.newest().await, rows(2, 0..3));
}

#[tokio::test]
async fn a_clean_slate_takes_both_databases_and_nothing_else() {
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 0..3), StageKind::Append, txn(1)).await;
    world.lake.append_log(&customers(), &txn(1), &[log_row("customers", 1)]).await.unwrap();
    let beside = world.dir.path().join("beside.txt");
    std::fs::write(&beside, "mine").unwrap();
    let tables = ["migration.customers", "migration.migration_log"];
    assert_eq!(world.lake.would_drop().await.unwrap(), tables);
    assert_eq!(world.lake.drop_databases().await.unwrap(), tables);
    assert!(beside.exists() && !world.dir.path().join("migration").exists());
    assert_eq!(world.lake.tables().await.unwrap(), []);
    world.stage(&columns(), &rows(1, 0..3), StageKind::Append, txn(1)).await;
    assert_eq!(world.newest().await, rows(1, 0..3));
}

#[tokio::test]
async fn a_database_with_anything_foreign_in_it_is_not_dropped() {
    let world = World::new().await;
    world.stage(&columns(), &rows(1, 0..3), StageKind::Append, txn(1)).await;
    let foreign = world.dir.path().join("migration/customers/notes.txt");
    std::fs::write(&foreign, "keep me").unwrap();
    assert!(matches!(world.lake.drop_databases().await, Err(LakeError::NotOurs { .. })));
    std::fs::remove_file(&foreign).unwrap();

    let log = world.dir.path().join("migration/customers/_delta_log/00000000000000000000.json");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace("ddu.table", "some.other")).unwrap();
    assert!(matches!(world.another().await.drop_databases().await, Err(LakeError::Foreign { .. })));
    assert!(log.exists());
}
