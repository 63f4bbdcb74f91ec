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
    /// The folder is on a share of this kind: changes that other machines make come without events, so the periodic look
    /// finds them. Those of this machine still wake us.
    Share(&'static str),
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
            if wakes(&event) {
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
                match share_kind(&self.folder) {
                    Some(kind) => Watching::Share(kind),
                    None => Watching::Events,
                }
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

/// Whether an event may mean something new. Our own reads cause Access events: to wake for them would be an endless loop.
/// A queue that ran over (an event without a path) and an error mean a look like anything else.
fn wakes(event: &notify::Result<notify::Event>) -> bool {
    use notify::event::{AccessKind, AccessMode};
    !event.as_ref().is_ok_and(|event| {
        matches!(event.kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
    })
}

/// What kind of share a folder is on, if it is on one. Source: statfs(2), `f_type`; linux/magic.h.
fn share_kind(folder: &Path) -> Option<&'static str> {
    share_of(i128::from(rustix::fs::statfs(folder).ok()?.f_type) & 0xFFFF_FFFF)
}

fn share_of(file_system: i128) -> Option<&'static str> {
    Some(match file_system {
        0x6969 => "NFS",
        0xFF53_4D42 => "SMB (cifs)",
        0xFE53_4D42 => "SMB",
        0x517B => "SMB (smbfs)",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x786F_4256 => "VirtualBox",
        0x00C3_6400 => "Ceph",
        0x5346_414F => "AFS",
        0x0161_1970 => "GFS",
        _ => return None,
    })
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

    #[test]
    fn our_own_reads_wake_nobody_and_a_queue_that_ran_over_does() {
        use notify::event::{AccessKind, AccessMode, CreateKind, Flag, ModifyKind, RemoveKind, RenameMode};
        let event = |kind| Ok(notify::Event::new(kind));
        for kind in [
            AccessKind::Open(AccessMode::Any),
            AccessKind::Read,
            AccessKind::Close(AccessMode::Read),
            AccessKind::Any,
        ] {
            assert!(!wakes(&event(EventKind::Access(kind))), "{kind:?}");
        }
        for kind in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Create(CreateKind::File),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)),
            EventKind::Remove(RemoveKind::File),
            EventKind::Other,
        ] {
            assert!(wakes(&event(kind)), "{kind:?}");
        }
        assert!(wakes(&Ok(notify::Event::new(EventKind::Other).set_flag(Flag::Rescan))));
        assert!(wakes(&Err(notify::Error::generic("gone"))));
    }

    #[test]
    fn shares_are_known_by_their_file_system() {
        assert_eq!(share_of(0x6969), Some("NFS"));
        assert_eq!(share_of(0xFF53_4D42), Some("SMB (cifs)"));
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994] {
            assert_eq!(share_of(local), None, "{local:x}");
        }
        assert_eq!(share_kind(Path::new("/dev/shm")), None);
    }

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
