//! Files change only through here: every change is on the disk, file and directory entry, before the call returns.
#![expect(clippy::disallowed_methods, reason = "this is the one place that may change files")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// Waits for the disk at once.
const WAITS_AT_ONCE: usize = 4;

/// A change to the disk that did not happen, or may not have reached it. The operator must act.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct DiskError {
    /// What was being done, as a verb: `create`, `rename to`.
    pub doing: &'static str,
    /// To what.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// Whether the thing is simply not there.
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Names what was being done to what, for the error of an operating system call.
pub fn doing<T>(result: io::Result<T>, doing: &'static str, path: &Path) -> Result<T, DiskError> {
    result.map_err(|source| DiskError { doing, path: path.to_owned(), source })
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_dir(dir: &Path) -> Result<(), DiskError> {
    let handle = doing(File::open(dir), "open", dir)?;
    doing(handle.sync_all(), "sync", dir)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Creates a directory and whatever is missing above it, each durable before the next.
///
/// # Errors
/// When a directory cannot be created, or something else stands in its place.
pub fn create_dir_all(dir: &Path) -> Result<(), DiskError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = parent(dir);
    if above != dir {
        create_dir_all(above)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        result => {
            doing(result, "create the folder", dir)?;
            sync_dir(above)
        }
    }
}

/// Creates one folder in one that is there. It is durable once the one above is synced: for many of them at once.
///
/// # Errors
/// When it cannot be created.
pub fn create_dir_unlisted(dir: &Path) -> Result<(), DiskError> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        result => doing(result, "create the folder", dir),
    }
}

/// Puts `bytes` at `path`, replacing what stands there: readers see the old file or the new one, never a part.
///
/// # Errors
/// When the disk refuses; the old file is untouched then, a temporary file may be left beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    replace_unlisted(path, bytes)?;
    sync_dir(parent(path))
}

/// As [`replace`], durable once the directory is synced: for many files at once.
///
/// # Errors
/// As [`replace`].
pub fn replace_unlisted(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_beside(path);
    let mut file = doing(File::create(&temporary), "create", &temporary)?;
    doing(file.write_all(bytes), "write", &temporary)?;
    doing(file.sync_all(), "sync", &temporary)?;
    drop(file);
    doing(fs::rename(&temporary, path), "rename to", path)
}

/// As [`replace`], for files of one directory, which is synced once, after the last.
///
/// # Errors
/// When the disk refuses; some of the files may be new then.
pub fn replace_all(dir: &Path, files: Vec<(PathBuf, Vec<u8>)>) -> Result<(), DiskError> {
    let written = together(files, |(path, bytes)| replace_unlisted(&path, &bytes));
    written.into_iter().collect::<Result<(), _>>()?;
    sync_dir(dir)
}

/// Puts `bytes` at `path` without waiting for the disk: for texts that can be made again at any time.
///
/// # Errors
/// When the disk refuses; the old file is untouched then.
pub fn replace_lazily(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_beside(path);
    doing(fs::write(&temporary, bytes), "write", &temporary)?;
    doing(fs::rename(&temporary, path), "rename to", path)
}

/// Where the next content of `path` is written before it takes its place; a left-over is overwritten by the next try.
pub fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".ddu-tmp-");
    // The whole name could be 255 bytes already; its hash is unique enough beside one file.
    let name_hash = uuid::Uuid::new_v5(
        &uuid::Uuid::NAMESPACE_OID,
        path.file_name().map(|n| n.as_encoded_bytes()).unwrap_or_default(),
    );
    name.push(name_hash.simple().to_string());
    path.with_file_name(name)
}

/// Creates or empties a file that will be filled and then put in its place by [`publish`].
///
/// # Errors
/// When the disk refuses.
pub fn create(path: &Path) -> Result<File, DiskError> {
    doing(File::create(path), "create", path)
}

/// Puts a finished, closed file in its place: synced, renamed, the directory synced.
///
/// # Errors
/// When the disk refuses; `from` still stands then.
pub fn publish(from: &Path, to: &Path) -> Result<(), DiskError> {
    let file = doing(File::open(from), "open", from)?;
    doing(file.sync_all(), "sync", from)?;
    doing(fs::rename(from, to), "rename to", to)?;
    sync_dir(parent(to))
}

/// Renames within one file system and never over something: the commit point of a move.
///
/// # Errors
/// `AlreadyExists` when something stands at `to`; `NotFound` when `from` is gone.
pub fn rename_noreplace(from: &Path, to: &Path) -> Result<(), DiskError> {
    rename_noreplace_unlisted(from, to)?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// As [`rename_noreplace`], durable once the folder of `to` and then that of `from` are synced: for many moves at once.
///
/// # Errors
/// As [`rename_noreplace`].
pub fn rename_noreplace_unlisted(from: &Path, to: &Path) -> Result<(), DiskError> {
    let renamed = rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE);
    let renamed = match renamed {
        // Not every file system knows the flag; the caller owns the destination folder, so looking first is enough.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if fs::symlink_metadata(to).is_err() => {
            fs::rename(from, to)
        }
        other => other.map_err(io::Error::from),
    };
    doing(renamed, "rename to", to)
}

/// Removes a file; its absence is success.
///
/// # Errors
/// When the disk refuses.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            doing(result, "remove", path)?;
            sync_dir(parent(path))
        }
    }
}

/// Removes an empty folder; its absence is success.
///
/// # Errors
/// When something is in it, or the disk refuses.
pub fn remove_dir(dir: &Path) -> Result<(), DiskError> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            doing(result, "remove the folder", dir)?;
            sync_dir(parent(dir))
        }
    }
}

/// Removes a folder and all in it; its absence is success.
///
/// # Errors
/// When the disk refuses; part of it may be gone then.
pub fn remove_dir_all(dir: &Path) -> Result<(), DiskError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => {
            doing(result, "remove the folder", dir)?;
            sync_dir(parent(dir))
        }
    }
}

/// Does the work for all, some at once, and gives the answers in their order: each mostly waits for the disk, which
/// answers several in the time of one.
pub fn together<T: Send, R: Send>(mut items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let share = items.len().div_ceil(WAITS_AT_ONCE).max(1);
    let mut shares = Vec::new();
    while items.len() > share {
        shares.push(items.split_off(items.len() - share));
    }
    let work = &work;
    std::thread::scope(|scope| {
        let others: Vec<_> = (shares.into_iter().rev())
            .map(|share| scope.spawn(move || share.into_iter().map(work).collect::<Vec<R>>()))
            .collect();
        let mut done: Vec<R> = items.into_iter().map(work).collect();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    })
}

/// Bytes that may still be written at a place; `None` where the system does not tell.
pub fn free_bytes(place: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(place).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Opens a file for appending lines; it is durable in its directory. One that has lines already was opened before, and
/// is so since then.
///
/// # Errors
/// When the disk refuses.
pub fn open_appending(path: &Path) -> Result<File, DiskError> {
    let file = doing(OpenOptions::new().create(true).append(true).read(true).open(path), "open", path)?;
    if doing(file.metadata(), "look at", path)?.len() == 0 {
        sync_dir(parent(path))?;
    }
    Ok(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_move_never_lands_on_something() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        replace(&a, b"a").unwrap();
        replace(&b, b"b").unwrap();
        let refused = rename_noreplace(&a, &b).unwrap_err();
        assert_eq!(refused.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&b).unwrap(), b"b");
        remove(&b).unwrap();
        remove(&b).unwrap();
        rename_noreplace(&a, &b).unwrap();
        assert!(rename_noreplace(&a, &b).unwrap_err().is_missing());
    }

    #[test]
    fn a_name_of_255_bytes_can_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x".repeat(255));
        replace(&path, b"1").unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
