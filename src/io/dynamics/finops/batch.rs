//! F&O's `$batch`: each operation in a change set of its own, or all in one. Source: dynamics.md §6.4.

use uuid::Uuid;

use crate::io::dynamics::multipart::Batch;
use crate::io::dynamics::operation::BatchShape;

/// One request of a batch.
pub(super) struct Piece<'a> {
    pub(super) verb: &'static str,
    /// Relative to the API's root, encoded.
    pub(super) path: &'a str,
    /// The version that the record must have.
    pub(super) if_match: Option<&'a str>,
    pub(super) body: Option<&'a str>,
}

/// What a batch adds around one operation, in bytes, at most.
pub(super) const ENVELOPE_BYTES: usize = 1_024;

/// Writes the requests as one batch; number `n` (from 0) has the Content-ID `n + 1`, in the whole batch.
///
/// The Content-ID stands in both places where services look for it: among the part's headers, as OData has it, and among
/// the request's, as Microsoft's own client writes it.
pub(super) fn batch(pieces: &[Piece<'_>], shape: BatchShape, root_path: &str) -> Batch {
    let outer = format!("batch_{}", Uuid::new_v4());
    let mut body = String::new();
    let mut set = None;
    for (number, piece) in (1..).zip(pieces) {
        if shape == BatchShape::Independent {
            close(&mut body, set.take());
        }
        let inner = set.get_or_insert_with(|| {
            let inner = format!("changeset_{}", Uuid::new_v4());
            body.push_str(&format!("--{outer}\r\nContent-Type: multipart/mixed; boundary={inner}\r\n\r\n"));
            inner
        });
        body.push_str(&format!(
            "--{inner}\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\
             Content-ID: {number}\r\n\r\n{} {root_path}{} HTTP/1.1\r\nContent-ID: {number}\r\n\
             Accept: application/json\r\nOData-Version: 4.0\r\nOData-MaxVersion: 4.0\r\n",
            piece.verb, piece.path
        ));
        if let Some(etag) = piece.if_match {
            body.push_str(&format!("If-Match: {etag}\r\n"));
        }
        match piece.body {
            Some(json) => body.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}\r\n",
                json.len()
            )),
            None => body.push_str("\r\n\r\n"),
        }
    }
    close(&mut body, set);
    body.push_str(&format!("--{outer}--\r\n"));
    Batch { content_type: format!("multipart/mixed; boundary={outer}"), body }
}

fn close(body: &mut String, set: Option<String>) {
    if let Some(inner) = set {
        body.push_str(&format!("--{inner}--\r\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIECES: [Piece<'static>; 2] = [
        Piece {
            verb: "POST",
            path: "CustomerGroups?cross-company=true",
            if_match: None,
            body: Some("{\"a\":\"é\"}"),
        },
        Piece {
            verb: "DELETE",
            path: "CustomerGroups(dataAreaId='usmf',CustomerGroupId='1')",
            if_match: Some("W/\"JzEn\""),
            body: None,
        },
    ];

    #[test]
    fn independent_operations_have_a_change_set_each_and_numbers_of_their_own() {
        let batch = batch(&PIECES, BatchShape::Independent, "/data/");
        let sets: Vec<&str> = batch.body.split("boundary=").skip(1).collect();
        assert_eq!(sets.len(), 2);
        assert_ne!(sets[0][..30], sets[1][..30]);
        let first = "Content-ID: 1\r\n\r\nPOST /data/CustomerGroups?cross-company=true HTTP/1.1\r\nContent-ID: 1\r\n\
                     Accept: application/json\r\nOData-Version: 4.0\r\nOData-MaxVersion: 4.0\r\n\
                     Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"a\":\"é\"}\r\n--changeset_";
        assert!(batch.body.contains(first), "{}", batch.body);
        assert!(batch.body.contains("Content-ID: 2\r\n\r\nDELETE /data/CustomerGroups("));
        assert_eq!(batch.body.matches("OData-MaxVersion: 4.0\r\nIf-Match: W/\"JzEn\"\r\n\r\n").count(), 1);
        assert!(!batch.body.replace("\r\n", "").contains('\n'), "CRLF everywhere");
    }

    #[test]
    fn one_change_set_holds_all() {
        let batch = batch(&PIECES, BatchShape::ChangeSet, "/data/");
        assert_eq!(batch.body.matches("multipart/mixed; boundary=").count(), 1);
        assert_eq!(batch.body.matches("--changeset_").count(), 3);
        assert_eq!(batch.body.matches("--batch_").count(), 2);
    }
}
