//! Data files: written in slots whose paths sort as they were written, read back in that order, in bounded memory.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use delta_kernel::table_properties::DataSkippingNumIndexedCols;
use deltalake::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array,
};
use deltalake::arrow::compute::kernels::cmp::eq;
use deltalake::arrow::compute::{cast, filter_record_batch};
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::datafile::writer::{PartitionWriter, PartitionWriterConfig};
use deltalake::kernel::Add;
use deltalake::logstore::ObjectStoreRef;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error, ObjectStoreExt};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ArrowPredicateFn, ArrowReaderOptions, RowFilter};
use deltalake::parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use deltalake::parquet::basic::Compression;
use deltalake::parquet::data_type::ByteArray;
use deltalake::parquet::errors::{ParquetError, Result as ParquetResult};
use deltalake::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use deltalake::parquet::file::properties::WriterProperties;
use deltalake::parquet::file::statistics::Statistics;
use futures::StreamExt;
use futures::future::BoxFuture;
use indexmap::IndexMap;

use super::error::{Doing, LakeError};

/// Rows in a row group at most; a writer holds one row group in memory. Source: `crates.md` §A3.
const ROW_GROUP_ROWS_MAX: usize = 16_384;
/// Rows in a row group of a file that holds rows of many small jobs. Each of them is read several times, by itself, and
/// what shares a row group with it is decoded along.
const SHARED_ROW_GROUP_ROWS_MAX: usize = 2_048;
/// Bytes in a row group at most; wide tables reach this before the rows. Source: `crates.md` §A3.
const ROW_GROUP_BYTES_MAX: usize = 32 << 20;
/// Bytes of values in a page, of which every column has one in the making: a quarter of what is usual, for so many pages
/// are held in memory.
const PAGE_BYTES_MAX: usize = 256 << 10;
/// Bytes of distinct values in a row group beyond which a column no longer lists them: few values that come again and
/// again stay listed, those of one row each are not looked up in vain.
const DICTIONARY_BYTES_MAX: usize = 64 << 10;
/// Parts of 5 MiB that are on their way to the store at once, beside the one that is filled.
const UPLOAD_PARTS_MAX: usize = 1;
/// Arrow bytes after which the next file is begun; some 100 MiB as Parquet.
const FILE_ARROW_BYTES_MAX: usize = 512 << 20;
/// Files of one commit at most: the number in a slot's name has five digits.
const SLOT_FILES_MAX: u32 = 100_000;
/// Rows in a batch that is read, at most.
pub(super) const READ_ROWS_MAX: usize = 8_192;
/// Cells in a batch that is read, at most; keeps wide tables from taking more memory than narrow ones.
const READ_CELLS_MAX: usize = 262_144;

/// Bytes of a batch's values. Arrays of a batch that came over a pipe share one buffer; each counts its own part of it.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    let sizes = batch.columns().iter().map(|array| array.to_data().get_slice_memory_size());
    sizes.map(|size| size.expect("our columns are of types whose sizes Arrow knows")).sum()
}

/// The directory of one file of a commit. At most one active file stands in it, so that paths sort as rows were written.
pub(super) fn slot(version: i64, number: u32) -> String {
    format!("{version:019}-{number:05}")
}

/// Whether a directory's name is a slot's.
pub(super) fn is_slot(name: &str) -> bool {
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('-').is_some_and(|(version, number)| digits(version, 19) && digits(number, 5))
}

/// Writes batches to files, one after the other, in the order in which they come.
pub(super) struct FileWriter {
    table: String,
    store: ObjectStoreRef,
    schema: SchemaRef,
    stats: &'static [&'static str],
    version: i64,
    number: u32,
    open: Option<PartitionWriter>,
    open_bytes: usize,
    file_bytes_max: usize,
    row_group_rows_max: usize,
    rows: u64,
    adds: Vec<Add>,
}

impl FileWriter {
    /// A writer for a commit of this transaction version; `stats` names the columns whose bounds go into the log.
    pub(super) fn new(
        table: &str,
        store: ObjectStoreRef,
        schema: SchemaRef,
        stats: &'static [&'static str],
        version: i64,
    ) -> Self {
        FileWriter {
            table: table.to_owned(),
            store,
            schema,
            stats,
            version,
            number: 0,
            open: None,
            open_bytes: 0,
            file_bytes_max: FILE_ARROW_BYTES_MAX,
            row_group_rows_max: ROW_GROUP_ROWS_MAX,
            rows: 0,
            adds: Vec::new(),
        }
    }

    /// The files that begin from now on are to hold rows of many small jobs.
    pub(super) fn share(&mut self) {
        self.row_group_rows_max = SHARED_ROW_GROUP_ROWS_MAX;
    }

    /// Batches come with this schema from now on; another one than before begins a new file.
    pub(super) async fn go_on_with(&mut self, schema: SchemaRef) -> Result<(), LakeError> {
        if self.schema != schema {
            self.end_file().await?;
            self.schema = schema;
        }
        Ok(())
    }

    /// Rows written so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    #[cfg(test)]
    pub(super) fn set_file_bytes_max(&mut self, bytes: usize) {
        self.file_bytes_max = bytes;
    }

    /// Writes a batch behind the others. Memory is bounded by one row group, see [`ROW_GROUP_BYTES_MAX`].
    pub(super) async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut writer = match self.open.take() {
            Some(writer) => writer,
            None => self.begin_file()?,
        };
        let written = writer.write(batch).await;
        self.open = Some(writer);
        written.doing(&self.table, "write rows")?;
        self.rows += batch.num_rows() as u64;
        self.open_bytes += batch_bytes(batch);
        if self.open_bytes >= self.file_bytes_max {
            self.end_file().await?;
        }
        Ok(())
    }

    /// Ends the last file and tells what was written; nothing counts before it is committed.
    pub(super) async fn finish(mut self) -> Result<Vec<Add>, LakeError> {
        self.end_file().await?;
        Ok(self.adds)
    }

    /// Gives up. Whole files that were already written are removed by vacuum.
    pub(super) async fn abort(mut self) {
        if let Some(writer) = self.open.take()
            && let Err(error) = writer.abort().await
        {
            tracing::warn!(table = %self.table, %error, "a part of a file that was given up stays behind");
        }
    }

    fn begin_file(&mut self) -> Result<PartitionWriter, LakeError> {
        assert!(self.number < SLOT_FILES_MAX, "a workbook of 1048576 rows never fills 100000 files");
        let prefix = Path::from(slot(self.version, self.number));
        self.number += 1;
        file_writer_of(&self.table, &self.store, &self.schema, self.stats, prefix, self.row_group_rows_max)
    }

    async fn end_file(&mut self) -> Result<(), LakeError> {
        if let Some(writer) = self.open.take() {
            self.adds.extend(writer.close().await.doing(&self.table, "write rows")?);
        }
        self.open_bytes = 0;
        Ok(())
    }
}

/// A writer of exactly one file below `prefix`. It never begins a second one by itself.
pub(super) fn file_writer(
    table: &str,
    store: &ObjectStoreRef,
    schema: &SchemaRef,
    stats: &[&str],
    prefix: Path,
) -> Result<PartitionWriter, LakeError> {
    file_writer_of(table, store, schema, stats, prefix, ROW_GROUP_ROWS_MAX)
}

fn file_writer_of(
    table: &str,
    store: &ObjectStoreRef,
    schema: &SchemaRef,
    stats: &[&str],
    prefix: Path,
    row_group_rows_max: usize,
) -> Result<PartitionWriter, LakeError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("ddu ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_max_row_group_row_count(Some(row_group_rows_max))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_data_page_size_limit(PAGE_BYTES_MAX)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_column_dictionary_enabled("_ddu_row_id".into(), false)
        .build();
    let config = PartitionWriterConfig::try_new(
        Arc::clone(schema),
        IndexMap::new(),
        Some(properties),
        None,
        None,
        Some(UPLOAD_PARTS_MAX),
        Some(prefix),
    )
    .doing(table, "prepare a file")?;
    let stats: Vec<String> = stats.iter().map(|name| (*name).to_owned()).collect();
    let indexed = DataSkippingNumIndexedCols::NumColumns(0);
    PartitionWriter::try_with_config(Arc::clone(store), config, indexed, Some(stats))
        .doing(table, "prepare a file")
}

/// One data file of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DataFile {
    pub path: Path,
    pub size: u64,
}

/// Which rows are wanted: those with this text in this column.
#[derive(Debug, Clone)]
pub(super) struct Only {
    pub column: &'static str,
    pub equals: String,
}

/// Reads files one after the other, each batch in the schema asked for.
pub(super) struct Scan {
    table: String,
    store: ObjectStoreRef,
    files: VecDeque<DataFile>,
    schema: SchemaRef,
    only: Option<Only>,
    /// The version that names the files, for the error where they are gone.
    version: Option<u64>,
    open: Option<ParquetRecordBatchStream<StoreReader>>,
}

impl Scan {
    /// A scan of these files in their order. Columns a file lacks are null.
    pub(super) fn new(
        table: &str,
        store: ObjectStoreRef,
        files: impl IntoIterator<Item = DataFile>,
        schema: SchemaRef,
        only: Option<Only>,
    ) -> Self {
        let files = files.into_iter().collect();
        Scan { table: table.to_owned(), store, files, schema, only, version: None, open: None }
    }

    /// The scan, with the version that it reads.
    pub(super) fn of_version(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// The next rows, never an empty batch; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        loop {
            if self.open.is_none() {
                let Some(file) = self.files.pop_front() else { return Ok(None) };
                self.open = Some(self.open_file(file).await?);
            }
            let stream = self.open.as_mut().expect("a file was opened above");
            match stream.next().await {
                None => self.open = None,
                Some(batch) => {
                    let batch = self.conform(&batch.doing(&self.table, "read rows")?)?;
                    if batch.num_rows() > 0 {
                        return Ok(Some(batch));
                    }
                }
            }
        }
    }

    async fn open_file(
        &mut self,
        file: DataFile,
    ) -> Result<ParquetRecordBatchStream<StoreReader>, LakeError> {
        let path = file.path.clone();
        let reader = StoreReader { store: Arc::clone(&self.store), file };
        let builder = match ParquetRecordBatchStreamBuilder::new(reader).await {
            Ok(builder) => builder,
            Err(e) => return Err(self.unopened(&path, e).await),
        };
        let wanted = self.schema.fields().iter().map(|field| field.name().as_str());
        let wanted = wanted.chain(self.only.iter().map(|only| only.column));
        let mask = ProjectionMask::columns(builder.parquet_schema(), wanted);
        let rows = (READ_CELLS_MAX / self.schema.fields().len().max(1)).clamp(64, READ_ROWS_MAX);
        let builder = match &self.only {
            Some(only) => only_wanted(builder, only),
            None => builder,
        };
        builder.with_projection(mask).with_batch_size(rows).build().doing(&self.table, "open a data file")
    }

    async fn unopened(&mut self, path: &Path, e: ParquetError) -> LakeError {
        let (table, source) = (self.table.clone(), Box::new(e));
        match (self.version, self.store.head(path).await) {
            (Some(version), Err(Error::NotFound { .. })) => LakeError::VersionGone { table, version, source },
            _ => LakeError::Table { table, doing: "open a data file", source },
        }
    }

    /// The batch in our schema, with the wanted rows only.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let kept;
        let batch = match &self.only {
            None => batch,
            Some(only) => {
                let wanted = match batch.column_by_name(only.column).and_then(|c| c.as_string_opt::<i32>()) {
                    Some(texts) => {
                        texts.iter().map(|text| Some(text == Some(only.equals.as_str()))).collect()
                    }
                    None => BooleanArray::from(vec![false; batch.num_rows()]),
                };
                kept = filter_record_batch(batch, &wanted).doing(&self.table, "read rows")?;
                &kept
            }
        };
        let column = |field: &deltalake::arrow::datatypes::FieldRef| -> Result<ArrayRef, LakeError> {
            match batch.column_by_name(field.name()) {
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
                Some(array) if array.data_type() == field.data_type() => Ok(Arc::clone(array)),
                Some(array) => cast(array, field.data_type()).doing(&self.table, "read rows"),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).doing(&self.table, "read rows")
    }
}

/// Leaves out row groups that cannot hold what is wanted, and decodes of the others only the rows that are: a file may
/// hold the rows of many jobs.
fn only_wanted(
    builder: ParquetRecordBatchStreamBuilder<StoreReader>,
    only: &Only,
) -> ParquetRecordBatchStreamBuilder<StoreReader> {
    let schema = builder.parquet_schema();
    let Some(column) = schema.columns().iter().position(|column| column.path().string() == only.column)
    else {
        return builder;
    };
    let bounds = |group: &RowGroupMetaData| match group.column(column).statistics() {
        Some(Statistics::ByteArray(bounds)) => {
            let text = |bound: Option<&ByteArray>| bound.and_then(|b| b.as_utf8().ok()).map(str::to_owned);
            text(bounds.min_opt()).zip(text(bounds.max_opt()))
        }
        _ => None,
    };
    let all: Vec<_> = builder.metadata().row_groups().iter().map(bounds).collect();
    let holds = |bounds: &Option<(String, String)>| {
        bounds.as_ref().is_none_or(|(min, max)| (min..=max).contains(&&only.equals))
    };
    let wanted: Vec<usize> = (0..all.len()).filter(|at| holds(&all[*at])).collect();
    let alone =
        |at: &usize| all[*at].as_ref().is_some_and(|(min, max)| *min == only.equals && *max == only.equals);
    let whole = wanted.iter().all(alone);
    let mask = ProjectionMask::leaves(schema, [column]);
    let builder = builder.with_row_groups(wanted);
    if whole {
        return builder;
    }
    let equals = StringArray::new_scalar(only.equals.clone());
    let is_wanted = move |batch: RecordBatch| eq(batch.column(0), &equals);
    builder.with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, is_wanted))]))
}

/// Rows in a file, from its footer.
pub(super) async fn row_count(table: &str, store: ObjectStoreRef, file: DataFile) -> Result<u64, LakeError> {
    let metadata = StoreReader { store, file }.get_metadata(None).await.doing(table, "open a data file")?;
    Ok(u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0))
}

/// A data file in the store, as Parquet's reader wants it.
struct StoreReader {
    store: ObjectStoreRef,
    file: DataFile,
}

impl AsyncFileReader for StoreReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        Box::pin(async move { self.store.get_range(&self.file.path, range).await.map_err(external) })
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        Box::pin(async move { self.store.get_ranges(&self.file.path, &ranges).await.map_err(external) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let size = self.file.size;
            let metadata = ParquetMetaDataReader::new().load_and_finish(self, size).await?;
            Ok(Arc::new(metadata))
        })
    }
}

fn external(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
