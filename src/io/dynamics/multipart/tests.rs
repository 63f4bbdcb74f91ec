//! Batches as the documents show them, and as they break.

use std::sync::Arc;

use super::*;
use crate::domain::row::RowId;

fn operation(path: &str, body: Option<&str>, condition: Condition) -> Operation {
    Operation {
        row: RowId(Uuid::nil()),
        method: if body.is_some() { Method::Patch } else { Method::Delete },
        path: path.to_owned(),
        condition,
        knowing: Knowing::Untold,
        body: body.map(str::to_owned),
        bulk: None,
        target_key: path.to_owned(),
        if_absent: "",
        columns: Arc::new(Vec::new()),
        course: None,
    }
}

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

#[test]
fn independent_operations_stand_side_by_side() {
    let update = operation("accounts(1)", Some(r#"{"name":"é"}"#), Condition::Exists);
    let delete = operation("accounts(2)", None, Condition::Any);
    let batch = batch(&[&update, &delete], BatchShape::Independent, "/api/data/v9.2/");
    let boundary = boundary_of(&batch.content_type).unwrap();
    let expected = format!(
        "--{boundary}\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n\
         PATCH /api/data/v9.2/accounts(1) HTTP/1.1\nIf-Match: *\nContent-Type: application/json; type=entry\n\
         Content-Length: 13\n\n{{\"name\":\"é\"}}\n\
         --{boundary}\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n\
         DELETE /api/data/v9.2/accounts(2) HTTP/1.1\n\n\n--{boundary}--\n"
    );
    assert_eq!(batch.body, crlf(&expected));
}

#[test]
fn an_upsert_asks_for_the_records_id_and_no_more() {
    let mut upsert = operation("accounts(accountnumber='A-1')", Some("{}"), Condition::Any);
    upsert.knowing = Knowing::Asked(Arc::from("accountid"));
    let batch = batch(&[&upsert], BatchShape::Independent, "/api/data/v9.2/");
    let wanted = "\r\nPATCH /api/data/v9.2/accounts(accountnumber='A-1')?$select=accountid HTTP/1.1\r\n\
                  Prefer: return=representation\r\nContent-Type: application/json";
    assert!(batch.body.contains(wanted), "{}", batch.body);
}

#[test]
fn a_deletion_names_the_version_that_was_read_and_reads_stand_side_by_side() {
    let version = Condition::Version(Arc::from("W/\"470867\""));
    let deletion = operation("accounts(1)", None, version);
    let batch = batch(&[&deletion], BatchShape::Independent, "/api/data/v9.2/");
    assert!(
        batch.body.contains("DELETE /api/data/v9.2/accounts(1) HTTP/1.1\r\nIf-Match: W/\"470867\"\r\n\r\n")
    );
    let paths = ["accounts(1)?$select=name", "accounts(2)?$select=name"];
    let batch = reads(paths.into_iter(), "/api/data/v9.2/");
    for path in paths {
        assert!(batch.body.contains(&format!("\r\n\r\nGET /api/data/v9.2/{path} HTTP/1.1\r\nAccept: ")));
    }
    assert_eq!(batch.body.matches("--batch_").count(), 3);
}

#[test]
fn a_change_set_is_nested_and_numbers_its_operations_from_one() {
    let first = operation("accounts(1)", Some("{}"), Condition::Any);
    let second = operation("accounts(2)", Some("{}"), Condition::Any);
    let batch = batch(&[&first, &second], BatchShape::ChangeSet, "/api/data/v9.2/");
    assert!(batch.body.contains("Content-ID: 1\r\n\r\nPATCH /api/data/v9.2/accounts(1) HTTP/1.1"));
    assert!(batch.body.contains("Content-ID: 2\r\n\r\nPATCH /api/data/v9.2/accounts(2) HTTP/1.1"));
    assert_eq!(batch.body.matches("--changeset_").count(), 3);
    assert_eq!(batch.body.matches("--batch_").count(), 2);
}

/// dynamics.md §3.2, as documented.
const DOCUMENTED: &str = "--batchresponse_f27ef42d\nContent-Type: multipart/mixed; boundary=changesetresponse_64cc3fff\n\n\
--changesetresponse_64cc3fff\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nContent-ID: 1\n\n\
HTTP/1.1 204 No Content\nOData-Version: 4.0\nLocation: https://org/api/data/v9.2/tasks(e73ffc82)\n\
OData-EntityId: https://org/api/data/v9.2/tasks(e73ffc82)\n\n\n\
--changesetresponse_64cc3fff--\n\
--batchresponse_f27ef42d\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n\
HTTP/1.1 400 Bad Request\nContent-Type: application/json\n\n{\"error\":{\"code\":\"0x80044331\",\"message\":\"x\"}}\n\
--batchresponse_f27ef42d--\n";

#[test]
fn the_documented_answer_is_read_with_either_line_end_and_with_or_without_a_boundary_parameter() {
    for text in [DOCUMENTED.to_owned(), crlf(DOCUMENTED)] {
        for content_type in [
            "multipart/mixed; boundary=batchresponse_f27ef42d",
            "multipart/mixed; Boundary=\"batchresponse_f27ef42d\"",
            "",
        ] {
            let parts = answers(content_type, text.as_bytes()).unwrap();
            assert_eq!(parts.len(), 2, "{content_type}");
            assert_eq!((parts[0].status, parts[0].content_id.as_deref()), (204, Some("1")));
            assert_eq!(parts[0].entity_id.as_deref(), Some("https://org/api/data/v9.2/tasks(e73ffc82)"));
            assert_eq!((parts[1].status, parts[1].content_id.as_deref()), (400, None));
            assert_eq!(parts[1].body, r#"{"error":{"code":"0x80044331","message":"x"}}"#);
        }
    }
}

#[test]
fn an_answer_that_is_cut_off_keeps_only_its_whole_parts() {
    let cut = &DOCUMENTED[..DOCUMENTED.find("0x80044331").unwrap()];
    let parts = answers("multipart/mixed; boundary=batchresponse_f27ef42d", cut.as_bytes()).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].status, 204);
}

#[test]
fn what_is_no_multipart_is_not_read_as_one() {
    assert_eq!(answers("application/json", b"{\"error\":{}}"), None);
    assert_eq!(answers("text/html", b"<html>"), None);
    assert_eq!(answers("multipart/mixed; boundary=x", b"nothing of the sort").unwrap(), []);
}

#[test]
fn a_boundary_inside_a_body_is_text() {
    let text =
        "--b\nContent-Type: application/http\n\nHTTP/1.1 400 Bad\n\n{\"message\":\"--b is --b--\"}\n--b--\n";
    let parts = answers("multipart/mixed; boundary=b", text.as_bytes()).unwrap();
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].body, "{\"message\":\"--b is --b--\"}");
}
