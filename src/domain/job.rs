//! What names a job and its parts from the claim to the archive.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Sheets of one workbook that can be loaded by one job; keeps [`TxnVersion`] unambiguous.
pub const PARTS_MAX: u16 = 256;

/// The job id: UTC stamp of the claim and eight hex digits of the workbook's SHA-256, `20261122T140320Z-9f3a1c2e`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// The id for a workbook claimed at `at` (whole seconds count) with this SHA-256.
    pub fn new(at: Timestamp, sha256: &[u8; 32]) -> Self {
        let hex: String = sha256.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        JobId(format!("{}-{hex}", at.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The archive's folders for this job: year, month and day of the claim.
    pub fn archive_day(&self) -> [&str; 3] {
        [&self.0[0..4], &self.0[4..6], &self.0[6..8]]
    }
}

impl TryFrom<String> for JobId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let shape = |c: char| match c {
            '0'..='9' => '9',
            'a'..='f' => 'f',
            other => other,
        };
        let (stamp, hex) = text.split_once('-').unwrap_or((&text, ""));
        let stamp_ok = stamp.chars().map(shape).eq("99999999T999999Z".chars());
        if stamp_ok && hex.len() == 8 && hex.chars().all(|c| matches!(shape(c), '9' | 'f')) {
            Ok(JobId(text))
        } else {
            Err(format!("`{text}` is not a job id; one looks like 20261122T140320Z-9f3a1c2e"))
        }
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl std::fmt::Display for JobId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The order of claims: rising numbers, milliseconds of the claim at least, never given twice in the life of a dropbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobSeq(pub u64);

/// The version that a part of a job writes beside its rows in a Delta commit, so that a replay recognises itself.
///
/// It grows with the order of claims: per table and purpose the versions only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxnVersion(pub i64);

impl TxnVersion {
    /// The version of one part of one job.
    pub fn of(seq: JobSeq, part: u16) -> Self {
        let version = seq.0 * u64::from(PARTS_MAX) + u64::from(part);
        TxnVersion(i64::try_from(version).expect("a dropbox sees fewer than 2^55 jobs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_is_its_stamp_and_hash_and_nothing_else_passes_for_one() {
        let at: Timestamp = "2026-11-22T14:03:20.9Z".parse().unwrap();
        let id = JobId::new(at, &[0x9f; 32]);
        assert_eq!(id.as_str(), "20261122T140320Z-9f9f9f9f");
        assert_eq!(id.archive_day(), ["2026", "11", "22"]);
        assert_eq!(JobId::try_from(id.to_string()), Ok(id));
        for wrong in ["", "..", "20261122T140320Z", "20261122T140320Z-9f9f9f9", "../2261122T140320Z-9f9f9f9f"]
        {
            assert!(JobId::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
