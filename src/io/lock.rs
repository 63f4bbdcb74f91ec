//! Locks that say who holds them: the operating system gives each to one process and takes it back when that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;

use super::durable::{self, DiskError, doing};

/// Longest text about a holder, in bytes.
const HOLDER_BYTES_MAX: u64 = 400;

/// What only one process at a time may have; dropping it gives it back.
#[derive(Debug)]
pub struct HeldLock {
    _file: File,
}

/// Why a lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum LockFault {
    /// Another process has it; this is what it wrote about itself.
    #[error("{0}")]
    Held(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Takes the lock in the file at `path`, and writes into it who has it since when.
///
/// Also on network file systems (NFS, SMB) the kernels of all machines see it; that is why the text names the machine.
///
/// # Errors
/// `Held` when another process has it.
pub fn take(path: &Path, now: Timestamp) -> Result<HeldLock, LockFault> {
    let mut file = durable::open_appending(path)?;
    match file.try_lock() {
        Ok(()) => {
            let whose = us(now);
            let noted = file.set_len(0).and_then(|()| file.write_all(whose.as_bytes()));
            doing(noted, "write", path)?;
            Ok(HeldLock { _file: file })
        }
        Err(TryLockError::WouldBlock) => {
            let silent = || "it has not said which process it is".to_owned();
            Err(LockFault::Held(holder(path).filter(|text| !text.is_empty()).unwrap_or_else(silent)))
        }
        Err(TryLockError::Error(source)) => {
            Err(DiskError { doing: "lock", path: path.to_owned(), source }.into())
        }
    }
}

/// What the process that holds the lock wrote about itself, if one does.
pub fn holder(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            file.seek(SeekFrom::Start(0)).ok()?;
            (&mut file).take(HOLDER_BYTES_MAX).read_to_string(&mut text).ok()?;
            Some(text)
        }
        _ => None,
    }
}

/// This process, as another one is told of it: `process 4711 on etl-1 since 2026-11-22 14:03:20 UTC`.
fn us(now: Timestamp) -> String {
    let system = rustix::system::uname();
    let machine = system.nodename().to_string_lossy();
    format!("process {} on {machine} since {} UTC", std::process::id(), now.strftime("%F %T"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_second_hears_process_machine_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(holder(&path), None);
        let now = "2026-11-22T14:03:20Z".parse().unwrap();
        let lock = take(&path, now).unwrap();
        let told = take(&path, now).unwrap_err().to_string();
        assert!(told.starts_with(&format!("process {} on ", std::process::id())), "{told}");
        assert!(told.ends_with(" since 2026-11-22 14:03:20 UTC"), "{told}");
        drop(lock);
        assert_eq!(holder(&path), None);
        take(&path, now).unwrap();
    }
}
