//! Recorded answers and what they mean.

use super::*;

fn body(code: &str, message: &str) -> String {
    format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#)
}

#[test]
fn recorded_bodies_are_judged_as_their_sources_explain_them() {
    // Each body is quoted in dynamics.md: §2.1, §2.3, §2.4, §2.5, §2.6, §2.8, §4.1, §6.6.
    let too_long = "A validation error occurred.  The length of the 'subject' attribute of the 'task' entity exceeded the maximum allowed length of '200'.";
    let out_of_range = "A validation error occurred. The value 5 of 'msdyn_paymentterms' on record of type 'x' is outside the valid range. Accepted Values: 1,2,3,192350001";
    let requests = "Number of requests exceeded the limit of 6000 over time window of 300 seconds.";
    let deadlock = "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205";
    let timeout = "Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2";
    let unknown_segment = "URL was not parsed due to an ODataUnrecognizedPathException. Resource not found for the segment provided in the URL.";
    for (status, code, message, class) in [
        (400, "0x80044331", too_long, Class::Data),
        (400, "0x8004431A", out_of_range, Class::Data),
        (400, "0x8004431a", "Wert nicht in der Liste", Class::Data),
        (400, "0x80048D19", "Error identified in Payload provided by the user", Class::Data),
        (429, "0x80072322", requests, Class::Transient(Setback::RequestLimit)),
        (429, "-2147015902", requests, Class::Transient(Setback::RequestLimit)),
        (429, "0x80072321", "Combined execution time", Class::Transient(Setback::TimeLimit)),
        (429, "0x80072326", "of 52.", Class::Transient(Setback::ConcurrencyLimit)),
        (400, "0x80044150", deadlock, Class::Transient(Setback::Deadlock)),
        (500, "", deadlock, Class::Transient(Setback::Deadlock)),
        (400, "0x80044150", "Sql error: Generic SQL error.", Class::Transient(Setback::Unexpected)),
        (400, "", timeout, Class::Transient(Setback::DatabaseTimeout)),
        (500, "0x80040216", "An unexpected error occurred.", Class::Transient(Setback::Unexpected)),
        (412, "0x80040237", "A record with matching key values already exists.", Class::Conflict),
        (412, "", "A record with matching key values already exists.", Class::Conflict),
        (412, "0x80060892", "Entity Key Account Number violated.", Class::Conflict),
        (404, "", "account With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist", Class::Missing),
        (404, "0x80040217", "account With Id = 1 Does Not Exist", Class::Missing),
        (
            400,
            "0x80060891",
            "A record with the specified key values does not exist in account entity",
            Class::Missing,
        ),
        (400, "0x80060888", unknown_segment, Class::Mapping),
        (404, "0x8006088a", "Resource not found for the segment 'X'.", Class::Mapping),
        (403, "0x80072560", "The user is not a member of the organization.", Class::Access),
        (403, "0x80040220", "Principal user is missing prvCreate privilege", Class::Access),
        (413, "", "", Class::TooLarge),
        (400, "-2147204726", "too large", Class::TooLarge),
        (400, "0x80040265", "Credit limit needs an approval", Class::Data),
    ] {
        assert_eq!(judge(status, body(code, message).as_bytes()).class, class, "{status} {code} {message}");
    }
}

#[test]
fn a_code_is_heard_before_the_text_and_the_text_before_the_status() {
    let verdict = judge(400, body("0x80060892", "SQL timeout expired").as_bytes());
    assert_eq!(verdict.class, Class::Conflict);
    let verdict = judge(400, body("", "SQL timeout expired").as_bytes());
    assert_eq!(verdict.class, Class::Transient(Setback::DatabaseTimeout));
    let verdict = judge(409, body("0x1", "?").as_bytes());
    assert_eq!((verdict.class, verdict.code), (Class::Conflict, Some(1)));
}

#[test]
fn html_and_other_shapes_are_read_for_their_words() {
    let verdict = judge(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>");
    assert_eq!(verdict.class, Class::Transient(Setback::Busy));
    assert_eq!(verdict.error, "502: 502 Bad Gateway");
    assert_eq!(judge(400, br#"{"Message":"no way"}"#).message, "no way");
    assert_eq!(judge(503, b"").error, "503");
    assert_eq!(judge(418, "\u{feff}odd".as_bytes()).message, "odd");
}

#[test]
fn the_inner_error_of_finance_and_operations_is_the_message() {
    let recorded = br#"{"error":{"code":"","message":"An error has occurred.","innererror":{"message":"Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: The value 'Local' in field 'Customer group' is not found in the related table 'Customer groups'."}}}"#;
    let verdict = judge(400, recorded);
    assert_eq!(verdict.class, Class::Missing);
    assert!(verdict.message.contains("'Customer group'"));
    let conflict = br#"{"error":{"code":"","message":"An error has occurred.","innererror":{"message":"Cannot edit a record in Ledger journal table (LedgerJournalTable). An update conflict occurred due to another user process deleting the record or changing one or more fields in the record."}}}"#;
    assert_eq!(judge(400, conflict).class, Class::Transient(Setback::Deadlock));
}

#[test]
fn the_operator_reads_code_and_name_and_the_sender_plain_words() {
    let verdict = judge(412, body("0x80060892", "Entity Key Number violated.").as_bytes());
    assert_eq!(verdict.error, "412 0x80060892: Entity Key Number violated.");
    assert_eq!(verdict.cause, "another record has this key already (DuplicateRecordEntityKey)");
    let refusal = verdict.refusal(Some("Number".to_owned()));
    assert_eq!(refusal.cause, "another record has this key already: Entity Key Number violated.");
    assert_eq!(refusal.advice, "change the key, or load with mode `upsert` to update that record");
    assert_eq!(verdict.severity(), Severity::Rows);
}

#[test]
fn a_token_errors_description_is_kept_to_its_first_line() {
    let said = complaint(
        br#"{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: 255d1aef","error_codes":[7000215]}"#,
    );
    assert_eq!(said.first_line(), "invalid_client: AADSTS7000215: Invalid client secret provided.");
}
