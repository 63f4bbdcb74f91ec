//! Row identity is ours: every id is a pure function of what it names, so that sending twice lands on the same record.

use std::sync::LazyLock;

use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use super::job::JobId;
use super::row::RowId;
use super::value::Value;

/// The namespace of all ids that DDU makes: a UUIDv5 of the DNS namespace and `ddu.migration`.
static NAMESPACE: LazyLock<Uuid> = LazyLock::new(|| Uuid::new_v5(&Uuid::NAMESPACE_DNS, b"ddu.migration"));

/// The id of a row where it stands: the target, the entity, the job that brought it, its sheet and its row number.
pub fn row_id(target: &str, entity: &str, job: &JobId, sheet: &str, number: u32) -> RowId {
    let number = number.to_string();
    RowId(derive(&["row", target, entity, job.as_str(), sheet, &number]))
}

/// The id of a row that somebody added to a workbook that `job` gave back: the `nth` with this content, from 0.
///
/// It does not depend on where the row stands or on when it comes, so that the same row dropped again is no further one.
pub fn added_row_id(target: &str, entity: &str, job: &str, content: &[u8; 16], nth: u32) -> RowId {
    let content = Uuid::from_bytes(*content).simple().to_string();
    RowId(derive(&["added", target, entity, job, &content, &nth.to_string()]))
}

/// The primary key of the record with these key values, the same in every job; text and number forms of a key agree.
pub fn record_id(target: &str, entity: &str, key: &[&Value]) -> Uuid {
    let texts: Vec<String> = key.iter().map(|value| value.to_text()).collect();
    let mut parts = vec!["key", target, entity];
    parts.extend(texts.iter().map(String::as_str));
    derive(&parts)
}

/// A UUIDv5 of several texts; lengths stand between them, so that no two lists read alike.
fn derive(parts: &[&str]) -> Uuid {
    // As `Uuid::new_v5` does, by an implementation that uses the processor's own instructions: every row has one.
    let mut hash = Sha1::new_with_prefix(NAMESPACE.as_bytes());
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let hash = hash.finalize();
    let (bytes, _) = hash.split_first_chunk().expect("a SHA-1 has 20 bytes");
    Builder::from_sha1_bytes(*bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_version_5() {
        let name = [&2_u64.to_be_bytes()[..], b"ab", &0_u64.to_be_bytes()].concat();
        assert_eq!(derive(&["ab", ""]), Uuid::new_v5(&NAMESPACE, &name));
    }

    #[test]
    fn neighbouring_texts_never_make_the_same_id() {
        assert_ne!(derive(&["ab", "c"]), derive(&["a", "bc"]));
        assert_ne!(derive(&["ab"]), derive(&["ab", ""]));
    }

    #[test]
    fn a_key_is_the_same_record_in_every_job() {
        let text = Value::Text("7".into());
        let number = Value::Integer(7);
        assert_eq!(record_id("t", "accounts", &[&text]), record_id("t", "accounts", &[&number]));
        assert_ne!(record_id("t", "accounts", &[&text]), record_id("t", "contacts", &[&text]));
    }
}
