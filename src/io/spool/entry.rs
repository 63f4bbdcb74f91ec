//! One name in the dropbox: what it is to us, decided from the listing and the file itself, never from events.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use super::names::shown;
use crate::config::{SidecarScope, WORKBOOK_EXTENSIONS, fold_name, sidecar_scope};
use crate::io::durable::{DiskError, doing};

/// Endings of files that are on their way or belong to somebody's program; they are never looked at.
const PASSING_ENDINGS: [&str; 9] =
    ["~", ".tmp", ".temp", ".swp", ".crdownload", ".part", ".partial", ".filepart", ".download"];
/// Files that operating systems leave in every folder.
const PASSING_NAMES: [&str; 2] = ["thumbs.db", "desktop.ini"];
/// Bytes of the owner file of Excel.
const OWNER_FILE_BYTES: u64 = 165;
/// Bytes at the end of a zip in which its end record stands. Source: APPNOTE.TXT 4.3.16 (22 bytes and a comment).
const ZIP_END_BYTES_MAX: u64 = 22 + 65_535;

/// A name in the dropbox.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name's bytes.
    pub name: OsString,
    /// What it is to us.
    pub kind: EntryKind,
    /// What would change if the file changed.
    pub stat: Stat,
}

/// What a name in the dropbox is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A workbook by its ending.
    Workbook,
    /// Settings for one workbook or for several.
    Sidecar(SidecarScope),
    /// A sign that somebody has a workbook open: the workbook's folded name, and who.
    Owner {
        /// The folded name of the workbook.
        of: String,
        /// The user's name as their program wrote it.
        user: String,
    },
    /// On its way, or a program's own; silence.
    Passing,
    /// Something that is not for us; the words say why.
    Foreign(&'static str),
}

/// What stands still when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Bytes.
    pub size: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
    inode: (u64, u64),
}

impl Stat {
    fn of(meta: &std::fs::Metadata) -> Self {
        Stat {
            size: meta.size(),
            modified_ns: (meta.mtime(), meta.mtime_nsec()),
            changed_ns: (meta.ctime(), meta.ctime_nsec()),
            inode: (meta.dev(), meta.ino()),
        }
    }

    /// Whether it is the same file with the same bytes; a rename changes `ctime`, which does not count here.
    pub fn same_content(&self, other: &Stat) -> bool {
        (self.size, self.modified_ns, self.inode) == (other.size, other.modified_ns, other.inode)
    }
}

/// Looks at one name; `None` when it is gone already.
pub(super) fn read_entry(folder: &Path, name: OsString) -> Option<Entry> {
    let path = folder.join(&name);
    let meta = std::fs::symlink_metadata(&path).ok()?;
    let stat = Stat::of(&meta);
    let kind =
        if meta.is_file() { file_kind(&path, &shown(&name)) } else { other_kind(&meta, &shown(&name)) };
    Some(Entry { name, kind, stat })
}

fn other_kind(meta: &std::fs::Metadata, name: &str) -> EntryKind {
    let kind = meta.file_type();
    if name.starts_with('.') {
        EntryKind::Passing
    } else if kind.is_dir() {
        EntryKind::Foreign("a folder; only files are taken, drop the workbooks themselves")
    } else if kind.is_symlink() {
        EntryKind::Foreign("a link; only files are taken, drop the workbook itself")
    } else if kind.is_fifo() || kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        EntryKind::Foreign("not a regular file; only files are taken")
    } else {
        EntryKind::Passing
    }
}

fn file_kind(path: &Path, name: &str) -> EntryKind {
    let folded = fold_name(name);
    if let Some(of) = folded.strip_prefix("~$") {
        return EntryKind::Owner { of: of.to_owned(), user: excel_user(path) };
    }
    if let Some(of) = folded.strip_prefix(".~lock.").and_then(|rest| rest.strip_suffix('#')) {
        return EntryKind::Owner { of: of.to_owned(), user: libreoffice_user(path) };
    }
    let passing = folded.starts_with('.')
        || folded.starts_with('~')
        || PASSING_NAMES.contains(&folded.as_str())
        || PASSING_ENDINGS.iter().any(|ending| folded.ends_with(ending))
        // Excel saves under eight hex digits without an ending first.
        || folded.len() == 8 && folded.bytes().all(|b| b.is_ascii_hexdigit());
    if passing {
        return EntryKind::Passing;
    }
    if let Some(scope) = sidecar_scope(name) {
        return EntryKind::Sidecar(scope);
    }
    let extension = folded.rsplit_once('.').map_or("", |(_, extension)| extension);
    if WORKBOOK_EXTENSIONS.contains(&extension) {
        EntryKind::Workbook
    } else {
        EntryKind::Foreign(
            "not a workbook by its ending; .xlsx .xlsm .xlsb .xls .ods .csv .tsv are taken, and .zip for data packages",
        )
    }
}

/// The user in Excel's owner file: a length byte and the name in the sender's code page, padded to 55 bytes, then in files
/// of 165 bytes a length of two bytes and the name in UTF-16, which is taken where it is there.
fn excel_user(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok((file, _)) = open_dropped(path) {
        // One that does not read still says that somebody is there.
        if file.take(OWNER_FILE_BYTES).read_to_end(&mut bytes).is_err() {
            bytes.clear();
        }
    }
    let wide = bytes.get(55..57).map(|length| usize::from(u16::from_le_bytes([length[0], length[1]])));
    let name = match wide.filter(|length| (1..=54).contains(length)) {
        Some(length) if bytes.len() as u64 == OWNER_FILE_BYTES => {
            let units = bytes[57..57 + 2 * length].chunks_exact(2);
            let units: Vec<u16> = units.map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        }
        _ => {
            let length = usize::from(bytes.first().copied().unwrap_or(0)).min(54);
            let end = (1 + length).min(bytes.len());
            String::from_utf8_lossy(bytes.get(1..end).unwrap_or_default()).into_owned()
        }
    };
    name.trim().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The user in LibreOffice's lock file: the first or second field of a comma-separated line.
fn libreoffice_user(path: &Path) -> String {
    let mut text = String::new();
    if let Ok((file, _)) = open_dropped(path) {
        // A lock file that does not read still says that somebody is there.
        if file.take(1_000).read_to_string(&mut text).is_err() {
            text.clear();
        }
    }
    let mut fields = text.split(',').map(|field| field.trim().trim_end_matches(';'));
    fields.by_ref().take(2).find(|field| !field.is_empty()).unwrap_or("somebody").to_owned()
}

/// Opens a file of the dropbox for reading: never through a link, never waiting for the other end of a pipe.
///
/// # Errors
/// When it is gone, a link, or not readable.
pub fn open_dropped(path: &Path) -> Result<(File, Stat), DiskError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let flags = i32::try_from(flags.bits()).expect("open flags fit an int");
    let file = doing(File::options().read(true).custom_flags(flags).open(path), "open", path)?;
    let meta = doing(file.metadata(), "look at", path)?;
    if !meta.is_file() {
        let source = std::io::Error::other("it is not a regular file");
        return Err(DiskError { doing: "open", path: path.to_owned(), source });
    }
    Ok((file, Stat::of(&meta)))
}

/// Whether a container has arrived whole: a zip has its end record, and the directory that it names lies inside the file.
///
/// Files that are no zip count as whole as soon as they have a byte.
///
/// # Errors
/// When the file cannot be read.
pub fn is_whole(path: &Path) -> Result<bool, DiskError> {
    let (mut file, stat) = open_dropped(path)?;
    let mut magic = [0u8; 4];
    let read = doing(file.read(&mut magic), "read", path)?;
    if read == 0 {
        return Ok(false);
    }
    if &magic[..read.min(2)] != b"PK" {
        return Ok(true);
    }
    let from = stat.size.saturating_sub(ZIP_END_BYTES_MAX);
    doing(file.seek(SeekFrom::Start(from)), "seek in", path)?;
    let mut tail = Vec::new();
    doing(file.take(ZIP_END_BYTES_MAX).read_to_end(&mut tail), "read", path)?;
    let end = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
    let Some(record) = end.and_then(|at| tail.get(at..at + 22)) else { return Ok(false) };
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]))
    };
    let (directory_bytes, directory_at) = (number(12), number(16));
    // Zip64 archives write all ones here and keep the numbers elsewhere; the reader checks those.
    Ok(directory_at == u64::from(u32::MAX) || directory_at + directory_bytes <= stat.size)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn kind_of(folder: &Path, name: &str) -> EntryKind {
        read_entry(folder, name.into()).unwrap().kind
    }

    #[test]
    fn what_programs_leave_behind_is_not_taken_for_a_workbook() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "A1B2C3D4",
            "x.tmp",
            ".x.xlsx",
            "x.xlsx~",
            "Thumbs.db",
            "x.crdownload",
            "._x.xlsx",
            "~WRL0001.tmp",
        ] {
            File::create(dir.path().join(name)).unwrap();
            assert_eq!(kind_of(dir.path(), name), EntryKind::Passing, "{name}");
        }
    }

    #[test]
    fn links_folders_and_pipes_are_named_for_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d.xlsx")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("l.xlsx")).unwrap();
        let fifo = dir.path().join("f.xlsx");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for name in ["d.xlsx", "l.xlsx", "f.xlsx"] {
            assert!(matches!(kind_of(dir.path(), name), EntryKind::Foreign(_)), "{name}");
        }
        assert!(open_dropped(&dir.path().join("l.xlsx")).is_err());
        assert!(open_dropped(&fifo).is_err());
    }

    #[test]
    fn an_open_workbook_tells_who_has_it_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut owner = vec![4u8];
        owner.extend_from_slice(b"Anna                     ");
        File::create(dir.path().join("~$Orders.xlsx")).unwrap().write_all(&owner).unwrap();
        let lock = dir.path().join(".~lock.orders.ods#");
        File::create(&lock).unwrap().write_all(b",berta,host,22.11.2026 14:03,file:///x;").unwrap();
        // As Excel writes it for a name that its code page spells otherwise.
        let mut wide = vec![b' '; 165];
        wide[0] = 10;
        wide[1..11].copy_from_slice(b"J\xfcrgen \x8ari");
        wide[55..57].copy_from_slice(&[10, 0]);
        for (at, unit) in "Jürgen Šri".encode_utf16().enumerate() {
            wide[57 + 2 * at..59 + 2 * at].copy_from_slice(&unit.to_le_bytes());
        }
        File::create(dir.path().join("~$wide.xlsx")).unwrap().write_all(&wide).unwrap();
        let owner = |of: &str, user: &str| EntryKind::Owner { of: of.into(), user: user.into() };
        assert_eq!(kind_of(dir.path(), "~$Orders.xlsx"), owner("orders.xlsx", "Anna"));
        assert_eq!(kind_of(dir.path(), "~$wide.xlsx"), owner("wide.xlsx", "Jürgen Šri"));
        assert_eq!(kind_of(dir.path(), ".~lock.orders.ods#"), owner("orders.ods", "berta"));
    }

    #[test]
    fn a_zip_without_its_end_has_not_arrived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.xlsx");
        let mut book = rust_xlsxwriter::Workbook::new();
        book.add_worksheet().write_string(0, 0, "a").unwrap();
        let bytes = book.save_to_buffer().unwrap();
        for (cut, whole) in [(0, false), (10, false), (bytes.len() - 1, false), (bytes.len(), true)] {
            File::create(&path).unwrap().write_all(&bytes[..cut]).unwrap();
            assert_eq!(is_whole(&path).unwrap(), whole, "{cut} of {} bytes", bytes.len());
        }
    }
}
