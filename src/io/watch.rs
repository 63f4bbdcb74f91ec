//! Wakes the daemon when something moves in the dropbox. Events are hints; what is there is decided by listing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// A watch on one folder. Dropping it ends the watch.
#[derive(Debug)]
pub struct FolderWatch {
    folder: PathBuf,
    identity: Option<(u64, u64)>,
    watcher: Option<RecommendedWatcher>,
    wake: Arc<Notify>,
}

/// How the folder is being watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watching {
    /// The kernel tells of changes; the periodic look stays as a safety net.
    Events,
    /// Only the periodic look; the reason is for the operator.
    PollingOnly(String),
    /// There is no such folder now.
    Gone,
}

impl FolderWatch {
    /// Starts watching; where the kernel refuses (inotify limits, a share), the caller's periodic look must do.
    pub fn start(folder: &Path, wake: Arc<Notify>) -> (Self, Watching) {
        let mut watch = FolderWatch { folder: folder.to_owned(), identity: None, watcher: None, wake };
        let watching = watch.arm();
        (watch, watching)
    }

    /// Starts over when the folder is not the one that was watched: removed and made again, or mounted over.
    ///
    /// The kernel tells nothing of that (`folder-traps.md`), so it is asked at every look.
    pub fn check(&mut self) -> Option<Watching> {
        (identity(&self.folder) != self.identity).then(|| self.arm())
    }

    fn arm(&mut self) -> Watching {
        self.watcher = None;
        self.identity = identity(&self.folder);
        if self.identity.is_none() {
            return Watching::Gone;
        }
        let wake = Arc::clone(&self.wake);
        let handler = move |event: notify::Result<notify::Event>| {
            // Our own reads cause Access events; to wake for them would be an endless loop.
            let ours =
                event.as_ref().is_ok_and(|e| matches!(e.kind, EventKind::Access(a) if !a_write_ended(a)));
            if !ours {
                wake.notify_one();
            }
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let armed = RecommendedWatcher::new(handler, config).and_then(|mut watcher| {
            watcher.watch(&self.folder, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match armed {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                Watching::Events
            }
            Err(error) => Watching::PollingOnly(match error.kind {
                notify::ErrorKind::MaxFilesWatch => {
                    "the kernel has no inotify watch left; raise fs.inotify.max_user_watches".to_owned()
                }
                _ => error.to_string(),
            }),
        }
    }
}

fn a_write_ended(access: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    access == AccessKind::Close(AccessMode::Write)
}

fn identity(folder: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).ok().map(|meta| (meta.dev(), meta.ino()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_rename_into_the_folder_wakes_and_a_folder_made_anew_is_watched_again() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, outside) = (dir.path().join("box"), dir.path().join("a.xlsx"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&outside, b"x").unwrap();
        let wake = Arc::new(Notify::new());
        let (mut watch, watching) = FolderWatch::start(&folder, Arc::clone(&wake));
        assert_eq!(watching, Watching::Events);
        std::fs::rename(&outside, folder.join("a.xlsx")).unwrap();
        tokio::time::timeout(Duration::from_secs(20), wake.notified()).await.unwrap();
        assert_eq!(watch.check(), None);
        std::fs::rename(&folder, dir.path().join("old")).unwrap();
        assert_eq!(watch.check(), Some(Watching::Gone));
        assert_eq!(watch.check(), None);
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(watch.check(), Some(Watching::Events));
        std::fs::write(folder.join("b.xlsx"), b"x").unwrap();
        tokio::time::timeout(Duration::from_secs(20), wake.notified()).await.unwrap();
    }
}
