//! Every row of the catalogue in dynamics.md, as the service writes it, and what it is taken for.

use super::*;

use Class::{Access, Conflict, Data, Mapping, Missing, TooLarge, Transient};
use Setback::{
    Busy, Closed, ConcurrencyLimit, Contended, DatabaseTimeout, Deadlock, PlugIn, RequestLimit, TimeLimit,
    Unexpected,
};

/// What the same fault says to a caller in German; the code alone must do.
const LOCALISED: &str =
    "Es ist ein Fehler aufgetreten. Versuchen Sie es erneut, oder wenden Sie sich an den Administrator.";

fn body(code: &str, message: &str) -> Vec<u8> {
    serde_json::json!({ "error": { "code": code, "message": message } }).to_string().into_bytes()
}

/// An F&O answer: empty code, a useless message, and the cause within. Source: dynamics.md §6.6.
fn infolog(message: &str) -> Vec<u8> {
    let inner = serde_json::json!({
        "message": message,
        "type": "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException",
        "stacktrace": "   at Microsoft.Dynamics.Platform.Integration.Services.OData.Update.UpdateProcessor.CreateEntity_Save(...)",
    });
    let error = serde_json::json!({ "code": "", "message": "An error has occurred.", "innererror": inner });
    serde_json::json!({ "error": error }).to_string().into_bytes()
}

/// Section, status, code, message, and what it is.
type Row = (&'static str, u16, u32, &'static str, Class);

const BY_CODE: &[Row] = &[
    // §4.1 and §7.1: trying again helps.
    (
        "4.1",
        429,
        0x8007_2322,
        "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
        Transient(RequestLimit),
    ),
    (
        "4.1",
        429,
        0x8007_2321,
        "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time window of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests and try again later.",
        Transient(TimeLimit),
    ),
    (
        "4.1",
        429,
        0x8007_2326,
        "Number of concurrent requests exceeded the limit of 52.",
        Transient(ConcurrencyLimit),
    ),
    ("7.1", 429, 0x8005_F103, "Too many requests.", Transient(RequestLimit)),
    ("7.1", 429, 0x8007_2324, "Too many concurrent requests detected.", Transient(ConcurrencyLimit)),
    ("7.1", 500, 0x8007_2323, "The database resource limit has been met.", Transient(Busy)),
    (
        "7.1",
        503,
        0x8004_A001,
        "The server is busy and the request was not completed. Try again later.",
        Transient(Busy),
    ),
    (
        "7.1",
        500,
        0x8004_4151,
        "Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2",
        Transient(DatabaseTimeout),
    ),
    (
        "7.1",
        500,
        0x8007_3000,
        "A networking error caused this operation to fail. Please try again.",
        Transient(Busy),
    ),
    ("7.1", 500, 0x8004_ED47, "Timeout expired before applock could be acquired.", Transient(Busy)),
    ("7.1", 500, 0x8015_4B53, "The operation failed. Try again.", Transient(Busy)),
    (
        "7.1",
        500,
        0x8004_418D,
        "The plug-in execution failed because no Sandbox Worker processes are currently available. Please try again.",
        Transient(Busy),
    ),
    (
        "7.1",
        500,
        0x8004_418E,
        "The plug-in execution failed because no Sandbox Hosts are currently available. Please check that you have a Sandbox server configured and that it is running.",
        Transient(Busy),
    ),
    (
        "7.1",
        500,
        0x8004_4171,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Client.",
        Transient(PlugIn),
    ),
    (
        "7.1",
        500,
        0x8004_4172,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Host.",
        Transient(PlugIn),
    ),
    (
        "7.1",
        500,
        0x8004_4173,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Worker.",
        Transient(PlugIn),
    ),
    ("7.1", 500, 0x8008_1111, "The execution exceeded the 2:20-minute limit.", Transient(PlugIn)),
    (
        "7.1",
        412,
        0x8006_0882,
        "The version of the existing record doesn't match the RowVersion property provided.",
        Transient(Contended),
    ),
    (
        "7.1",
        500,
        0x8004_8543,
        "The operation timed out while a solution is currently being imported.",
        Transient(Closed),
    ),
    ("7.1", 500, 0x8004_0216, "An unexpected error occurred.", Transient(Unexpected)),
    ("7.1", 401, 0x8004_A101, "The authentication ticket has expired.", Access),
    // §2.4 and §7.2: another record is in the way.
    ("7.2", 412, 0x8004_0237, "A record with matching key values already exists.", Conflict),
    ("7.2", 412, 0x8004_0237, "Cannot insert duplicate key.", Conflict),
    (
        "7.2",
        412,
        0x8006_0892,
        "Entity Key Account Number violated. A record with the same value for Account Number already exists. A duplicate record cannot be created. Select one or more unique values and try again.",
        Conflict,
    ),
    (
        "7.2",
        412,
        0x8004_0333,
        "A record was not created or updated because a duplicate of the current record already exists.",
        Conflict,
    ),
    (
        "7.2",
        500,
        0x8004_0333,
        "A record was not created or updated because a duplicate of the current record already exists.",
        Conflict,
    ),
    (
        "7.2",
        400,
        0x8007_3002,
        "The operation attempted to insert a duplicate value for an attribute with a unique constraint.",
        Conflict,
    ),
    ("7.2", 400, 0x8006_089D, "Multiple records found by the key values specified.", Conflict),
    // §7.3: the row's values.
    (
        "7.3",
        400,
        0x8004_8D19,
        "Error identified in Payload provided by the user for Entity :'accounts', For more information on this error please follow this help link https://go.microsoft.com/fwlink/?linkid=2195293  ---->  InnerException : Microsoft.OData.ODataException: Cannot convert the literal 'x' to the expected type 'Edm.Int32'.",
        Data,
    ),
    (
        "7.3",
        400,
        0x8004_4331,
        "A validation error occurred.  The length of the 'subject' attribute of the 'task' entity exceeded the maximum allowed length of '200'.",
        Data,
    ),
    (
        "7.3",
        400,
        0x8007_3001,
        "The operation attempted to insert or update a string or binary column with a value that is too long.",
        Data,
    ),
    (
        "7.3",
        400,
        0x8004_431A,
        "A validation error occurred. The value 5 of 'msdyn_paymentterms' on record of type 'msdyn_projectcontractsplitbillingrule' is outside the valid range. Accepted Values: 1,2,3,192350001",
        Data,
    ),
    (
        "7.3",
        400,
        0x8004_432F,
        "A validation error occurred. The value -1 of 'numberofemployees' on record of type 'account' is outside the valid range.",
        Data,
    ),
    (
        "7.3",
        400,
        0x8004_4330,
        "A validation error occurred. The value 1E+15 of 'revenue' on record of type 'account' is outside the valid range.",
        Data,
    ),
    (
        "7.3",
        400,
        0x8004_0239,
        "The date-time format for 1700-01-01 is invalid, or value is outside the supported range.",
        Data,
    ),
    ("7.3", 400, 0x8004_1136, "A SQL arithmetic overflow error occurred.", Data),
    ("7.3", 400, 0x8004_0203, "Invalid argument.", Data),
    ("7.3", 400, 0x8004_0200, "Required field missing.", Data),
    (
        "7.3",
        400,
        0x8004_8408,
        "7 is not a valid status code for state code AccountState.Active on account.",
        Data,
    ),
    (
        "7.3",
        404,
        0x8004_0217,
        "account With Id = 8f4c3f92-312b-ee11-bdf4-000d3a993550 Does Not Exist",
        Missing,
    ),
    (
        "7.3",
        404,
        0x8006_0891,
        "A record with the specified key values does not exist in account entity",
        Missing,
    ),
    ("7.3", 400, 0x8004_0353, "The lookup could not be resolved.", Missing),
    (
        "7.4",
        400,
        0x8006_0890,
        "The specified key attributes are not a defined key for the account entity",
        Mapping,
    ),
    ("7.4", 400, 0x8006_088F, "Invalid entity key operation performed.", Mapping),
    ("7.3", 400, 0x8004_8CFB, "The currency cannot be null.", Data),
    ("7.3", 400, 0x8004_8CFC, "The currency is invalid.", Data),
    ("7.3", 400, 0x8004_8CEA, "The currency of the record does not match.", Data),
    ("7.3", 400, 0x8004_8CEC, "The base value is out of range.", Data),
    ("7.3", 400, 0x8004_0265, "Credit limit needs an approval", Data),
    ("7.3", 500, 0x8004_0224, "An unexpected error occurred from ISV code.", Data),
    ("7.3", 400, 0x8004_0233, "The object is not in a valid state to perform this operation.", Data),
    ("7.3", 400, 0x8004_022E, "The record is read-only.", Data),
    (
        "7.3",
        405,
        0x8004_0227,
        "The object you tried to delete is associated with another object and cannot be deleted.",
        Data,
    ),
    ("2.6", 400, 0x8004_022B, "The owner is disabled.", Data),
    ("7.3", 413, 0x8004_418A, "The request is too large.", TooLarge),
    // §7.4: columns and addresses.
    ("7.4", 404, 0x8006_0888, "Resource not found for the segment 'accountz'.", Mapping),
    (
        "7.4",
        400,
        0x8006_0888,
        "URL was not parsed due to an ODataUnrecognizedPathException. Resource not found for the segment provided in the URL.",
        Mapping,
    ),
    (
        "7.4",
        400,
        0x8006_0888,
        "Could not find a property named 'c' on type 'Microsoft.Dynamics.CRM.t'.",
        Mapping,
    ),
    ("7.4", 400, 0x8006_0888, "Content-ID header not present", Mapping),
    ("7.4", 400, 0x8006_088A, "A failure occurred in Wep Api in Dynamics 365.", Mapping),
    ("7.4", 400, 0x8004_1102, "Entity not found.", Mapping),
    ("7.4", 400, 0x8004_1103, "Attribute not found.", Mapping),
    ("7.4", 404, 0x8004_0E00, "The entity does not exist.", Mapping),
    ("7.4", 400, 0x8006_088D, "Optimistic concurrency isn't enabled for entity type account.", Mapping),
    ("7.4", 501, 0x8004_0219, "The requested functionality is not yet implemented.", Mapping),
    ("7.4", 405, 0x8004_0315, "The operation is not supported.", Mapping),
    // §1.4 and §7.5: access and environment.
    (
        "7.5",
        403,
        0x8004_0220,
        "Principal user (Id=1, type=8) is missing prvCreateAccount privilege (Id=2) on OTC=1 for entity 'account'.",
        Access,
    ),
    ("7.5", 403, 0x8004_0231, "Principal team is missing prvReadAccount privilege.", Access),
    ("7.5", 403, 0x8004_0204, "Invalid user authentication.", Access),
    ("7.5", 403, 0x8004_8306, "Access is denied.", Access),
    ("7.5", 403, 0x8004_8405, "Access is denied.", Access),
    ("7.5", 401, 0x8004_0277, "Unauthorized access.", Access),
    ("7.5", 403, 0x8004_2F09, "The user has not been assigned any roles.", Access),
    ("1.4", 403, 0x8007_2560, "The user is not a member of the organization.", Access),
    (
        "7.5",
        403,
        0x8004_0225,
        "The specified user is either disabled or is not a member of any business unit.",
        Access,
    ),
    ("7.5", 403, 0x8004_A112, "The system user was disabled.", Access),
    ("7.5", 403, 0x8004_A110, "Cannot act on behalf of another user.", Access),
    (
        "7.5",
        403,
        0x8004_F502,
        "Caller user with Id 1 does not have create permissions to a Email secured field on entity Example table.",
        Access,
    ),
    (
        "7.5",
        403,
        0x8004_F507,
        "Caller user with Id 1 does not have update permissions to a Email secured field on entity Example table.",
        Access,
    ),
    ("7.5", 403, 0x8004_A104, "The organization is disabled.", Access),
    ("7.5", 403, 0x8004_A113, "The organization is in administration mode.", Access),
    ("7.5", 403, 0x8007_2325, "The storage limit for the database has been met.", Access),
];

#[test]
fn every_code_of_the_catalogue_is_known_in_each_of_its_spellings_and_in_any_language() {
    for (section, status, code, message, class) in BY_CODE {
        let spellings = [
            format!("0x{code:08x}"),
            format!("0x{code:08X}"),
            code.cast_signed().to_string(),
            code.to_string(),
        ];
        for spelling in &spellings {
            for said in [message, LOCALISED, ""] {
                let verdict = judge(*status, &body(spelling, said));
                assert_eq!(verdict.class, *class, "§{section} {status} {spelling} {said}");
                assert_eq!(verdict.code, Some(*code));
                assert!(!verdict.plain.is_empty() && !verdict.advice.is_empty(), "§{section} {spelling}");
                assert!(!verdict.cause.contains(said) || said.is_empty(), "the operator's own sentence");
            }
            // Some front-ends write it as a number.
            let number = format!(r#"{{"error":{{"code":{},"message":"x"}}}}"#, code.cast_signed());
            assert_eq!(judge(*status, number.as_bytes()).class, *class, "§{section} {number}");
        }
        // The status says little: the same code under another one is the same.
        assert_eq!(judge(400, &body(&spellings[0], LOCALISED)).class, *class, "§{section} {code:#x} as 400");
    }
}

#[test]
fn a_generic_sql_error_is_a_deadlock_where_it_says_so_and_is_given_up_otherwise() {
    let deadlock = "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205";
    for (code, message, class) in [
        ("0x80044150", deadlock, Transient(Deadlock)),
        ("-2147204784", deadlock, Transient(Deadlock)),
        ("0x80044150", "Sql error: Generic SQL error.", Transient(Unexpected)),
        ("-2146233087", "Generic SQL error", Transient(Unexpected)),
        ("0x80131501", deadlock, Transient(Deadlock)),
        ("0x80131501", "Object reference not set to an instance of an object.", Data),
    ] {
        assert_eq!(judge(400, &body(code, message)).class, class, "{code} {message}");
    }
    assert_eq!(Unexpected.tries_max(), Some(3));
    assert_eq!(Deadlock.tries_max(), None);
}

/// Texts that come with an empty code, or without one. Section, status, message, class.
const BY_TEXT: &[(&str, u16, &str, Class)] = &[
    ("2.3", 404, "account With Id = 00000000-0000-0000-0000-000000000001 Does Not Exist", Missing),
    ("2.3", 412, "A record with matching key values already exists.", Conflict),
    ("2.5", 404, "Contact With Ids = 00000000-0000-0000-0000-000000000001 Do Not Exist", Missing),
    (
        "2.5",
        400,
        "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205",
        Transient(Deadlock),
    ),
    (
        "2.5",
        400,
        "Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2",
        Transient(DatabaseTimeout),
    ),
    (
        "2.5",
        400,
        "The transaction of the SQL command has already been rolled back or committed; this is usually caused by a swallowed SQL deadlock exception.",
        Transient(Deadlock),
    ),
    (
        "2.5",
        400,
        "There is no active transaction. This error is usually caused by custom plug-ins that ignore errors from service calls and continue processing.",
        Data,
    ),
    (
        "2.5",
        403,
        "Principal user [1], is missing prvCreate privilege [2] on OTC=1 for entity 'account'",
        Access,
    ),
    (
        "2.5",
        403,
        "Principal with id 1 does not have CreateAccess right(s) for record with id 2 of entity account.",
        Access,
    ),
    (
        "2.5",
        403,
        "CrmCheckPrivilege failed. Returned hr = -2147220839 on UserId: 1 and Privilege: prvCreateAccount",
        Access,
    ),
    ("2.5", 400, "Message size exceeded when sending context to Sandbox. Message size: 120000000", TooLarge),
    ("2.5", 400, "DeleteMultiple has not yet been implemented.", Mapping),
    (
        "2.3",
        400,
        "The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.account'. Ensure that the names and number of key properties match the declared or alternate key properties for the resource 'Microsoft.Dynamics.CRM.account'.",
        Mapping,
    ),
    ("3.1", 400, "Content-ID Reference: '$1' does not exist in the batch context.", Mapping),
    (
        "6.5",
        429,
        "Number of requests exeeded the limit of 6000 over the time window of 300 seconds.",
        Transient(RequestLimit),
    ),
    (
        "6.5",
        429,
        "Combined execution time of incoming requests exceeded limit of 1200 seconds over time window of 300 seconds.",
        Transient(TimeLimit),
    ),
    ("6.5", 429, "Number of concurrent requests exceeded the limit of 52.", Transient(ConcurrencyLimit)),
    (
        "6.5",
        429,
        "This request could not be processed at this time due to system experiencing high resource utilization. Retry the request after 60 seconds",
        Transient(Busy),
    ),
];

/// Infologs of F&O, whose outer code is empty. Source: dynamics.md §6.6. The same fault has been 400 and 500.
const INFOLOGS: &[(&str, Class)] = &[
    (
        "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: The value 'Local' in field 'Customer group' is not found in the related table 'Customer groups'.; Warning: validateField failed on field 'CustCustomerV3Entity.CustomerGroupId'.",
        Missing,
    ),
    (
        "Write failed for table row of type 'CustGroupEntity'. Infolog: Error: Cannot create a record in Customer groups (CustGroup). Customer group: 10. The record already exists.",
        Conflict,
    ),
    ("No resources were found when selecting for update.", Missing),
    (
        "Write failed for table row of type 'LedgerJournalHeaderEntity'. Infolog: Error: Cannot edit a record in Ledger journal table (LedgerJournalTable). An update conflict occurred due to another user process deleting the record or changing one or more fields in the record.",
        Transient(Deadlock),
    ),
    (
        "Write failed for table row of type 'PurchPurchaseOrderLineV2Entity'. Infolog: Warning: Inventory dimension Site is mandatory and must consequently be specified.; Warning: validateWrite failed on data source 'PurchLine (PurchLine)'.",
        Data,
    ),
    (
        "Write failed for table row of type 'PurchPurchaseOrderLineV2Entity'. Infolog: Warning: Item 'L-10780-02' is blocked for 'Purchase order'.",
        Data,
    ),
    (
        "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Error: Cannot create a record in Customers (CustTable). Security policy permission denied.",
        Access,
    ),
    ("Infolog: Error: Customer groups cannot be deleted while dependent Customers exist.", Data),
    ("Only 1 of 2 keys provided for lookup, provide keys for dataAreaId, ProjectID", Mapping),
    (
        "Cannot edit a record in Customers (CustTable). Deadlock, where one or more users have simultaneously locked the whole table or part of it.",
        Transient(Deadlock),
    ),
];

#[test]
fn every_text_that_comes_without_a_code_is_known() {
    for (section, status, message, class) in BY_TEXT {
        assert_eq!(judge(*status, &body("", message)).class, *class, "§{section} {message}");
        let other_shape = serde_json::json!({ "Message": message }).to_string();
        assert_eq!(judge(*status, other_shape.as_bytes()).class, *class, "§{section} {other_shape}");
    }
    for (message, class) in INFOLOGS {
        for status in [400, 500] {
            let verdict = judge(status, &infolog(message));
            assert_eq!(verdict.class, *class, "{status} {message}");
            let first = verdict.message.split("; ").next().unwrap();
            assert!(message.contains(first), "the cause is within: {}", verdict.message);
        }
    }
}

#[test]
fn where_neither_code_nor_text_is_known_the_status_decides() {
    let html = b"<html><head><title>x</title></head><body><h1>Bad Gateway</h1></body></html>";
    for (status, class) in [
        (400, Data),
        (401, Access),
        (403, Access),
        (404, Mapping),
        (405, Mapping),
        (408, Transient(Busy)),
        (409, Conflict),
        (412, Conflict),
        (413, TooLarge),
        (422, Data),
        (429, Transient(RequestLimit)),
        (500, Transient(Unexpected)),
        (501, Mapping),
        (502, Transient(Busy)),
        (503, Transient(Busy)),
        (504, Transient(Busy)),
    ] {
        for said in [&body("", "irgendetwas")[..], &body("0x1", "irgendetwas"), html, b"", b"{}", b"null"] {
            assert_eq!(judge(status, said).class, class, "{status} {}", String::from_utf8_lossy(said));
        }
    }
}

#[test]
fn who_must_act_follows_from_the_class() {
    for (class, severity) in [
        (Data, Severity::Rows),
        (Missing, Severity::Rows),
        (Conflict, Severity::Rows),
        (Transient(Busy), Severity::Batch),
        (TooLarge, Severity::Batch),
        (Mapping, Severity::Table),
        (Access, Severity::Access),
    ] {
        let row = BY_CODE
            .iter()
            .find(|row| matches!((row.4, class), (Transient(_), Transient(_))) || row.4 == class);
        let (_, status, code, message, _) = row.unwrap();
        assert_eq!(judge(*status, &body(&format!("{code:#x}"), message)).severity(), severity, "{class:?}");
    }
}

#[test]
fn what_is_about_the_user_may_be_tried_as_another_and_what_is_about_the_environment_not() {
    let of_the_user = |status, code: &str| judge(status, &body(code, LOCALISED)).is_of_the_user();
    for code in ["0x80072560", "0x80042f09", "0x80040220", "0x80040225", "0x8004A112", "0x8004A101", ""] {
        assert!(of_the_user(403, code), "{code}");
    }
    for code in ["0x8004A104", "0x8004A113", "0x80072325", "0x8004F502", "0x80044331"] {
        assert!(!of_the_user(403, code), "{code}");
    }
}

#[test]
fn the_token_endpoints_refusals_tell_the_operator_what_to_do() {
    // Source: dynamics.md §1.3.
    let scope = br#"{"error":"invalid_scope","error_description":"AADSTS70011: The provided value for the input parameter 'scope' is not valid. The scope https://foo.microsoft.com/.default is not valid.\r\nTrace ID: 255d1aef-8c98-452f-ac51-23d051240864\r\nCorrelation ID: fb3d2015-bc17-4bb9-bb85-30c5cf1aaaa7\r\nTimestamp: 2016-01-09 02:02:12Z","error_codes":[70011],"timestamp":"2016-01-09 02:02:12Z"}"#;
    let said = complaint(scope);
    assert!(
        said.first_line().starts_with("invalid_scope: AADSTS70011: ") && !said.first_line().contains("Trace")
    );
    for (message, wanted) in [
        (said.message.as_str(), "check `url`"),
        (
            "invalid_client: AADSTS7000215: Ungültiger geheimer Clientschlüssel.",
            "the secret's value is wanted",
        ),
        ("invalid_client: AADSTS7000222: The provided client secret keys are expired.", "has expired"),
        (
            "unauthorized_client: AADSTS700016: Application was not found in the directory.",
            "check `client_id`",
        ),
        ("invalid_client: AADSTS700027: Client assertion failed signature validation.", "upload it there"),
        ("invalid_request: AADSTS90002: Tenant 'x' not found.", "check `tenant_id`"),
        ("invalid_client: something new", "check `client_id`, `tenant_id`"),
    ] {
        assert!(token_refusal(message).contains(wanted), "{message}");
    }
}
