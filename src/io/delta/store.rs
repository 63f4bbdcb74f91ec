//! The local object store that fsyncs: what a Delta commit says was written is on the disk, also after a power cut.
#![allow(
    clippy::disallowed_methods,
    reason = "the store is a durable layer of its own: deltalake writes through it, and it syncs as io::durable does"
)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use deltalake::logstore::object_store::local::LocalFileSystem;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use deltalake::logstore::{ObjectStoreFactory, ObjectStoreRef, StorageConfig, object_store_factories};
use deltalake::{DeltaResult, DeltaTableError};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use url::Url;

/// Times that a name for a file in the making is tried; each taken one belongs to a writer or to a crash.
const STAGING_NAMES_MAX: u32 = 10_000;

/// Makes every `file://` table of this process go through [`FsyncLocal`]. Doing it again changes nothing.
pub(super) fn register() {
    let scheme = Url::parse("file://").expect("a constant URL");
    object_store_factories().insert(scheme, Arc::new(FsyncFactory));
}

struct FsyncFactory;

impl ObjectStoreFactory for FsyncFactory {
    fn parse_url_opts(&self, url: &Url, _config: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let path = Path::from_url_path(url.path())
            .map_err(|_| DeltaTableError::InvalidTableLocation(url.to_string()))?;
        Ok((Arc::new(FsyncLocal { inner: LocalFileSystem::new() }), path))
    }
}

/// A local file system whose writes are on the disk before they can be seen.
///
/// Object stores write to a hidden name (`x#1`) and then rename or link it. The stock one never calls fsync
/// (`crates.md` §A6), so after a power cut a commit can be empty, which loses it, or torn, which makes the whole
/// table unreadable. Here the bytes are synced before the name appears and the directory after it.
#[derive(Debug)]
struct FsyncLocal {
    inner: LocalFileSystem,
}

impl std::fmt::Display for FsyncLocal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FsyncLocal")
    }
}

// The trait is declared with `async_trait`; these are the signatures that it stands for.
impl ObjectStore for FsyncLocal {
    fn put_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> BoxFuture<'async_trait, Result<PutResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let path = self.inner.path_to_filesystem(location)?;
            blocking(move || put(&path, &payload, &opts.mode)).await
        })
    }

    fn put_multipart_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        _opts: PutMultipartOptions,
    ) -> BoxFuture<'async_trait, Result<Box<dyn MultipartUpload>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let path = self.inner.path_to_filesystem(location)?;
            blocking(move || {
                let (file, staging) = stage(&path)?;
                let upload = Upload { file: Arc::new(file), staging, path, offset: 0 };
                Ok(Box::new(upload) as Box<dyn MultipartUpload>)
            })
            .await
        })
    }

    fn get_opts<'life0, 'life1, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        options: GetOptions,
    ) -> BoxFuture<'async_trait, Result<GetResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.get_opts(location, options)
    }

    fn get_ranges<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        location: &'life1 Path,
        ranges: &'life2 [Range<u64>],
    ) -> BoxFuture<'async_trait, Result<Vec<Bytes>>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.get_ranges(location, ranges)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    fn list_with_delimiter<'life0, 'life1, 'async_trait>(
        &'life0 self,
        prefix: Option<&'life1 Path>,
    ) -> BoxFuture<'async_trait, Result<ListResult>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: CopyOptions,
    ) -> BoxFuture<'async_trait, Result<()>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            self.inner.copy_opts(from, to, options).await?;
            let path = self.inner.path_to_filesystem(to)?;
            blocking(move || sync_parent(&path)).await
        })
    }

    fn rename_opts<'life0, 'life1, 'life2, 'async_trait>(
        &'life0 self,
        from: &'life1 Path,
        to: &'life2 Path,
        options: RenameOptions,
    ) -> BoxFuture<'async_trait, Result<()>>
    where
        'life0: 'async_trait,
        'life1: 'async_trait,
        'life2: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            self.inner.rename_opts(from, to, options).await?;
            let path = self.inner.path_to_filesystem(to)?;
            blocking(move || sync_parent(&path)).await
        })
    }
}

/// A file that arrives in parts.
#[derive(Debug)]
struct Upload {
    file: Arc<File>,
    staging: PathBuf,
    path: PathBuf,
    offset: u64,
}

impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        let (file, staging) = (Arc::clone(&self.file), self.staging.clone());
        Box::pin(blocking(move || {
            let mut at = offset;
            for bytes in &data {
                file.write_all_at(bytes, at).map_err(|e| failed("write", &staging, e))?;
                at += bytes.len() as u64;
            }
            Ok(())
        }))
    }

    fn complete<'life0, 'async_trait>(&'life0 mut self) -> BoxFuture<'async_trait, Result<PutResult>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (file, staging, path) = (Arc::clone(&self.file), self.staging.clone(), self.path.clone());
        Box::pin(blocking(move || {
            file.sync_all().map_err(|e| failed("sync", &staging, e))?;
            place(&staging, &path)?;
            Ok(PutResult { e_tag: None, version: None })
        }))
    }

    fn abort<'life0, 'async_trait>(&'life0 mut self) -> BoxFuture<'async_trait, Result<()>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let staging = self.staging.clone();
        Box::pin(blocking(move || remove(&staging)))
    }
}

/// Writes a whole file under a hidden name, syncs it, and lets it appear.
fn put(path: &FsPath, payload: &PutPayload, mode: &PutMode) -> Result<PutResult> {
    let (mut file, staging) = stage(path)?;
    let written = payload.iter().try_for_each(|bytes| file.write_all(bytes)).and_then(|()| file.sync_all());
    let placed = match (written, mode) {
        (Err(e), _) => Err(failed("write", &staging, e)),
        (Ok(()), PutMode::Overwrite) => place(&staging, path),
        (Ok(()), PutMode::Create) => link(&staging, path),
        (Ok(()), PutMode::Update(_)) => Err(Error::NotImplemented {
            operation: "put with a precondition".to_owned(),
            implementer: "FsyncLocal".to_owned(),
        }),
    };
    if placed.is_err() || matches!(mode, PutMode::Create) {
        // A leftover under the hidden name is harmless; the janitor removes what this cannot.
        remove(&staging).ok();
    }
    #[cfg(test)]
    faults::lose_answer(path)?;
    placed.map(|()| PutResult { e_tag: None, version: None })
}

/// A new file beside `path`, under a name that no listing shows.
fn stage(path: &FsPath) -> Result<(File, PathBuf)> {
    for number in 1..=STAGING_NAMES_MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("#{number}"));
        let staging = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).open(&staging) {
            Ok(file) => return Ok((file, staging)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let parent = path.parent().unwrap_or(path);
                make_dir(parent).map_err(|e| failed("create", parent, e))?;
            }
            Err(e) => return Err(failed("create", &staging, e)),
        }
    }
    let taken = std::io::Error::other("every name for a file in the making is taken");
    Err(failed("create", path, taken))
}

/// Creates a directory and the ones above it, each on the disk before the next.
pub(super) fn make_dir(path: &FsPath) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    match std::fs::create_dir(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn place(staging: &FsPath, path: &FsPath) -> Result<()> {
    std::fs::rename(staging, path).map_err(|e| failed("rename", staging, e))?;
    sync_parent(path)
}

fn link(staging: &FsPath, path: &FsPath) -> Result<()> {
    std::fs::hard_link(staging, path).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::AlreadyExists { path: path.display().to_string(), source: e.into() }
        }
        _ => failed("make a hard link of", staging, e),
    })?;
    sync_parent(path)
}

fn remove(path: &FsPath) -> Result<()> {
    std::fs::remove_file(path).map_err(|e| failed("remove", path, e))
}

fn sync_parent(path: &FsPath) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(|e| failed("sync", parent, e))
}

fn failed(verb: &'static str, path: &FsPath, e: std::io::Error) -> Error {
    let text = format!("could not {verb} `{}`: {e}", path.display());
    Error::Generic { store: "local", source: Box::new(std::io::Error::new(e.kind(), text)) }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

/// The store below `url`, for what is not a table.
pub(super) fn store_at(url: &Url) -> DeltaResult<ObjectStoreRef> {
    deltalake::logstore::store_for(url, HashMap::<String, String>::new())
}

/// Answers that get lost on their way: the write happened, the writer is told that it failed.
#[cfg(test)]
pub(super) mod faults {
    use super::{Error, FsPath, PathBuf, Result, failed};
    use std::sync::{Mutex, PoisonError};

    static LOST: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    /// The answer to the next write of this file is lost.
    pub(in super::super) fn lose_answer_of(path: PathBuf) {
        LOST.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    pub(super) fn lose_answer(path: &FsPath) -> Result<()> {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = lost.iter().position(|lost| lost == path) else { return Ok(()) };
        lost.swap_remove(found);
        Err::<(), Error>(failed("hear about", path, std::io::Error::other("the answer was lost")))
    }
}
