//! File names that we make out of the sender's: never longer than a file system takes, never outside their folder.

use std::ffi::OsStr;
use std::path::Path;

use crate::domain::job::JobId;

/// Longest file name in bytes on the file systems that we meet. Source: `NAME_MAX` of Linux.
pub const NAME_BYTES_MAX: usize = 255;

/// The name as people see it: bytes that are not UTF-8 and control characters become `�`.
pub fn shown(name: &OsStr) -> String {
    let seen = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.to_string_lossy().chars().map(seen).collect()
}

/// `customers.xlsx` and a job → `customers.<job>.xlsx`, for what goes back to the sender.
pub fn returned_name(workbook: &str, job: &JobId, extension: &str) -> String {
    let stem = Path::new(workbook).file_stem().map(shown).unwrap_or_default();
    fitted(&stem, &format!(".{job}.{extension}"))
}

/// `customers.xlsx` → `customers.xlsx.txt`, for the status folder.
pub fn status_name(file: &str) -> String {
    fitted(file, ".txt")
}

/// The stem, cut at a character so that the whole name fits, and the suffix.
fn fitted(stem: &str, suffix: &str) -> String {
    let room = NAME_BYTES_MAX - suffix.len();
    let clean: String = stem.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect();
    if clean.len() <= room {
        return clean + suffix;
    }
    // Two long names may differ only past the cut; a few digits of their hash keep them apart.
    let mark = &uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, clean.as_bytes()).simple().to_string()[..8];
    let mut cut = room - mark.len() - 1;
    while !clean.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}~{mark}{suffix}", &clean[..cut])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("ü".repeat(125) + "a.xlsx", "ü".repeat(125) + "b.xlsx");
        for name in [&a, &b] {
            assert!(status_name(name).len() <= NAME_BYTES_MAX);
        }
        assert_ne!(status_name(&a), status_name(&b));
        let job = JobId::try_from("20261122T140320Z-9f3a1c2e".to_owned()).unwrap();
        assert_eq!(returned_name("customers.xlsx", &job, "xlsx"), "customers.20261122T140320Z-9f3a1c2e.xlsx");
    }
}
