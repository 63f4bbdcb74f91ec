//! Scratch space: batches that wait in an unnamed file, so that memory does not grow with their number.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek};
use std::path::{Path, PathBuf};

use arrow_ipc::reader::FileReader;
use arrow_ipc::writer::FileWriter;
use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::arrow::error::ArrowError;

use super::error::LakeError;

/// Batches on their way into scratch space. The file has no name, so a crash leaves nothing behind.
pub(super) struct Spool {
    dir: PathBuf,
    writer: Option<FileWriter<BufWriter<File>>>,
}

impl Spool {
    /// A spool in a directory that must exist.
    pub(super) async fn begin(dir: &Path, schema: SchemaRef) -> Result<Self, LakeError> {
        let made = {
            let dir = dir.to_owned();
            blocking(move || {
                let file = tempfile::tempfile_in(dir)?;
                FileWriter::try_new(BufWriter::new(file), &schema)
            })
        };
        let writer = made.await.map_err(failed(dir, "make a file"))?;
        Ok(Spool { dir: dir.to_owned(), writer: Some(writer) })
    }

    /// Adds a batch.
    pub(super) async fn write(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        let mut writer = self.writer.take().expect("a spool whose write failed or was cancelled is dropped");
        let written = blocking(move || writer.write(&batch).map(|()| writer)).await;
        self.writer = Some(written.map_err(failed(&self.dir, "write rows"))?);
        Ok(())
    }

    /// Ends writing; from here the batches can be read, by number and more than once.
    pub(super) async fn finish(mut self) -> Result<Spooled, LakeError> {
        let mut writer = self.writer.take().expect("a spool whose write failed or was cancelled is dropped");
        let file = blocking(move || {
            writer.finish()?;
            writer.into_inner()?.into_inner().map_err(|e| e.into_error().into())
        });
        let file = file.await.map_err(failed(&self.dir, "write rows"))?;
        Ok(Spooled { dir: self.dir, file })
    }
}

/// Batches in scratch space.
pub(super) struct Spooled {
    dir: PathBuf,
    file: File,
}

impl Spooled {
    /// A reader from the first batch on. One at a time: they share the file's place.
    pub(super) async fn read(&self) -> Result<SpoolReader, LakeError> {
        let file = self.file.try_clone();
        let opened = blocking(move || {
            let mut file = file?;
            file.rewind()?;
            FileReader::try_new(BufReader::new(file), None)
        });
        let reader = opened.await.map_err(failed(&self.dir, "read rows"))?;
        Ok(SpoolReader { dir: self.dir.clone(), reader: Some(reader) })
    }
}

/// Reads batches from scratch space.
pub(super) struct SpoolReader {
    dir: PathBuf,
    reader: Option<FileReader<BufReader<File>>>,
}

impl SpoolReader {
    /// The schema of every batch.
    pub(super) fn schema(&self) -> SchemaRef {
        self.reader.as_ref().expect("a spool whose read failed or was cancelled is dropped").schema()
    }

    /// The next batch; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        self.step(|reader| reader.next().transpose()).await
    }

    /// One batch by its index.
    pub(super) async fn batch(&mut self, index: usize) -> Result<RecordBatch, LakeError> {
        let read = self.step(move |reader| {
            reader.set_index(index)?;
            reader.next().transpose()
        });
        Ok(read.await?.expect("indices come from what was spooled"))
    }

    async fn step(
        &mut self,
        work: impl FnOnce(&mut FileReader<BufReader<File>>) -> Result<Option<RecordBatch>, ArrowError>
        + Send
        + 'static,
    ) -> Result<Option<RecordBatch>, LakeError> {
        let mut reader = self.reader.take().expect("a spool whose read failed or was cancelled is dropped");
        let read = blocking(move || work(&mut reader).map(|batch| (batch, reader))).await;
        let (batch, reader) = read.map_err(failed(&self.dir, "read rows"))?;
        self.reader = Some(reader);
        Ok(batch)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArrowError> + Send + 'static,
) -> Result<T, ArrowError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(ArrowError::ExternalError(Box::new(e))))
}

fn failed(dir: &Path, doing: &'static str) -> impl FnOnce(ArrowError) -> LakeError {
    let path = dir.display().to_string();
    move |e| LakeError::Spool { doing, path, source: Box::new(e) }
}
