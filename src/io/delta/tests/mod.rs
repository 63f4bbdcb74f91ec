//! The lakehouse through its public door, on real tables in a directory of their own.

mod books;
mod heal;
mod quarantine;
mod stage;
mod upkeep;

use jiff::Timestamp;
use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::domain::job::{JobId, JobSeq, TxnVersion};
use crate::domain::row::{RowId, StagedColumn, StagedRow};
use crate::domain::value::{StageType, Value};

/// A lakehouse in a directory that goes away with it.
struct World {
    dir: TempDir,
    lake: Lakehouse,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = open(dir.path()).await;
        World { dir, lake }
    }

    /// Another process: it shares the directory and nothing else.
    async fn another(&self) -> Lakehouse {
        open(self.dir.path()).await
    }

    /// Stages rows as a job would and tells what came of it.
    async fn stage(
        &self,
        columns: &[StagedColumn],
        rows: &[StagedRow],
        kind: StageKind,
        txn: JobTxn,
    ) -> Committed {
        stage(&self.lake, columns, rows, kind, txn).await
    }

    async fn rows(&self, version: u64, job: Option<&JobId>) -> Vec<StagedRow> {
        let mut reader = self.lake.rows(&customers(), version, job).await.unwrap();
        let mut all = Vec::new();
        while let Some(rows) = reader.next().await.unwrap() {
            assert!(!rows.is_empty() && rows.len() <= 8_192);
            all.extend(rows);
        }
        all
    }

    async fn newest(&self) -> Vec<StagedRow> {
        let version = self.lake.staged_version(&customers()).await.unwrap().unwrap();
        self.rows(version, None).await
    }
}

async fn open(dir: &std::path::Path) -> Lakehouse {
    Lakehouse::open(dir.to_str().unwrap(), "migration", "quarantine").await.unwrap()
}

async fn stage(
    lake: &Lakehouse,
    columns: &[StagedColumn],
    rows: &[StagedRow],
    kind: StageKind,
    txn: JobTxn,
) -> Committed {
    match lake.stage(&customers(), columns.to_vec(), kind, &txn).await.unwrap() {
        Begin::AlreadyDone(done) => done,
        Begin::Open(mut writer) => {
            writer.write(&staged_batch(columns, rows).unwrap()).await.unwrap();
            writer.commit().await.unwrap()
        }
    }
}

fn customers() -> TableName {
    TableName::try_from("customers".to_owned()).unwrap()
}

fn txn(number: u64) -> JobTxn {
    part(number, 0)
}

fn part(number: u64, part: u16) -> JobTxn {
    JobTxn { job: job(u8::try_from(number).unwrap()), version: TxnVersion::of(JobSeq(number), part) }
}

fn job(number: u8) -> JobId {
    JobId::new("2026-11-22T14:03:20Z".parse().unwrap(), &[number; 32])
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

fn id(number: u32) -> RowId {
    RowId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()))
}

fn column(name: &str, kind: StageType) -> StagedColumn {
    StagedColumn { name: name.into(), header: format!("{name} (header)"), kind }
}

/// Two columns: a code and an amount.
fn columns() -> Vec<StagedColumn> {
    vec![column("Code", StageType::Text), column("Amount", StageType::Number)]
}

/// Rows of a job, with ids and codes of their numbers.
fn rows(by: u8, numbers: std::ops::Range<u32>) -> Vec<StagedRow> {
    let row = |number: u32| StagedRow {
        id: id(number),
        job: job(by).to_string(),
        sheet: "Sheet1".into(),
        number,
        values: vec![Value::Text(format!("{number:05}")), Value::Number(f64::from(number) / 2.0)],
    };
    numbers.map(row).collect()
}
