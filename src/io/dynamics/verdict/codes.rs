//! The catalogue of what the service says, in its own words and in ours. Source: dynamics.md §7.

use super::{Class, Setback, code_in};
use crate::io::dynamics::finops::infolog;

/// One row of the catalogue.
#[derive(Clone, Copy)]
pub(in crate::io::dynamics) struct Rule {
    pub(in crate::io::dynamics) class: Class,
    /// The service's own name of the fault.
    pub(super) name: &'static str,
    pub(super) plain: &'static str,
    pub(super) advice: &'static str,
}

const WAIT: &str = "nothing to do: drop the workbook again later";
const ASK: &str = "ask the operator of DDU";

pub(in crate::io::dynamics) const fn rule(
    class: Class,
    name: &'static str,
    plain: &'static str,
    advice: &'static str,
) -> Rule {
    Rule { class, name, plain, advice }
}

pub(in crate::io::dynamics) const fn again(
    setback: Setback,
    name: &'static str,
    plain: &'static str,
) -> Rule {
    rule(Class::Transient(setback), name, plain, WAIT)
}

pub(in crate::io::dynamics) const fn data(
    name: &'static str,
    plain: &'static str,
    advice: &'static str,
) -> Rule {
    rule(Class::Data, name, plain, advice)
}

const fn access(name: &'static str, plain: &'static str) -> Rule {
    rule(Class::Access, name, plain, ASK)
}

pub(in crate::io::dynamics) const fn mapping(name: &'static str, plain: &'static str) -> Rule {
    rule(Class::Mapping, name, plain, "check `target_entity` and `columns` in the sidecar")
}

const DEADLOCK: Rule = again(Setback::Deadlock, "deadlock", "two writers locked each other out");
const DATABASE_TIMEOUT: Rule = again(Setback::DatabaseTimeout, "SqlTimeout", "the database took too long");
pub(in crate::io::dynamics) const TAKEN: &str = "another record has this key already";
pub(in crate::io::dynamics) const CHANGE_KEY: &str =
    "change the key, or load with mode `upsert` to update that record";

/// The catalogue of dynamics.md §7 by code; `message` tells apart what shares one.
pub(super) fn by_code(code: u32, message: &str) -> Option<Rule> {
    use Setback::{Busy, ConcurrencyLimit, PlugIn, RequestLimit, TimeLimit, Unexpected};
    let no_lookup = "a record that the row refers to is not there";
    let load_first = "load the record it refers to first, then drop this row again";
    Some(match code {
        // §7.1: trying again helps.
        0x8007_2322 => again(RequestLimit, "request limit", "too many requests in five minutes"),
        0x8007_2321 => again(TimeLimit, "execution time limit", "too much execution time in five minutes"),
        0x8007_2326 => again(ConcurrencyLimit, "concurrency limit", "too many requests at once"),
        0x8007_2324 => again(ConcurrencyLimit, "database workers limit", "too many requests at once"),
        0x8005_F103 => again(RequestLimit, "Throttling", "too many requests"),
        0x8007_2323 => again(Busy, "database resource limit", "the database is busy"),
        0x8004_A001 => again(Busy, "database request denied", "the server is busy"),
        0x8007_3000 => again(Busy, "CrmSQLNetworkingError", "the server lost its database for a moment"),
        0x8004_ED47 => again(Busy, "AppLockTimeout", "the server waited too long for a lock"),
        0x8015_4B53 => again(Busy, "OperationFailedTryAgain", "the server asked to try again"),
        0x8004_8543 => again(Setback::Closed, "SolutionImportCauseTimeout", "a solution is being imported"),
        0x8004_4150 if is_deadlock(message) => DEADLOCK,
        0x8004_4150 => again(Unexpected, "GenericSqlError", "the database refused the row"),
        0x8004_4151 => DATABASE_TIMEOUT,
        0x8013_1501 if message.to_ascii_lowercase().contains("sql") => {
            if is_deadlock(message) {
                DEADLOCK
            } else {
                again(Unexpected, "SQL error", "the database refused the row")
            }
        }
        0x8004_418D | 0x8004_418E => {
            again(Busy, "SandboxWorkerNotAvailable", "the plug-in host was not available")
        }
        0x8004_4171..=0x8004_4173 | 0x8008_1111 => {
            again(PlugIn, "plug-in timeout", "a plug-in in Dynamics took too long")
        }
        0x8004_0216 => again(Unexpected, "UnExpected", "an unexpected error in Dynamics"),
        // Our writes name no version, so the next try is applied to what the record has become.
        0x8006_0882 => again(
            Setback::Contended,
            "ConcurrencyVersionMismatch",
            "the record was changed by somebody else meanwhile",
        ),
        // §7.2: another record is in the way.
        0x8004_0237 => rule(Class::Conflict, "DuplicateRecord", TAKEN, CHANGE_KEY),
        0x8006_0892 => rule(Class::Conflict, "DuplicateRecordEntityKey", TAKEN, CHANGE_KEY),
        0x8007_3002 => rule(Class::Conflict, "UniqueIndexViolation", TAKEN, CHANGE_KEY),
        0x8004_0333 => rule(
            Class::Conflict,
            "DuplicateRecordsFound",
            "a duplicate detection rule found a similar record",
            "check whether the record exists already",
        ),
        0x8006_089D => rule(
            Class::Conflict,
            "MultipleRecordsFoundByEntityKey",
            "several records have this key",
            "make the key unique in Dynamics first",
        ),
        // §7.3: the row's values.
        0x8004_8D19 => {
            data("ODataClientPayloadError", "a value is not of its column's type", "correct the value")
        }
        0x8004_4331 | 0x8007_3001 => {
            data("StringLengthTooLong", "a text is longer than its column", "shorten it")
        }
        0x8004_431A => {
            data("PicklistValueOutOfRange", "a value is not one of the choices", "choose one of the list")
        }
        0x8004_432F => {
            data("IntegerValueOutOfRange", "a whole number is out of range", "use a number within the range")
        }
        0x8004_4330 => {
            data("DecimalValueOutOfRange", "a number is out of range", "use a number within the range")
        }
        0x8004_0239 => {
            data("InvalidDateTime", "a date is not valid", "correct the date; the first day is 1753-01-01")
        }
        0x8004_1136 => data("SqlArithmeticOverflowError", "a number is too large", "use a smaller number"),
        0x8004_0203 => data("InvalidArgument", "Dynamics refused a value", "correct the value"),
        0x8004_0200 => {
            data("RequiredFieldMissing", "a value that Dynamics requires is missing", "fill it in")
        }
        0x8004_8408 => data(
            "InvalidStateCodeStatusCode",
            "the status reason does not belong to the status",
            "choose a status reason of that status",
        ),
        0x8004_8CFA..=0x8004_8CFC | 0x8004_8CEA | 0x8004_8CEC => data(
            "currency",
            "the currency of an amount is missing or wrong",
            "check the currency and the amount",
        ),
        0x8004_022B => data("OwnerDisabled", "the owner is disabled", "name another owner"),
        0x8004_0265 => data("IsvAborted", "a rule in Dynamics refused the row", "do as the message says"),
        0x8004_0224 => data("IsvUnExpected", "a plug-in in Dynamics failed on this row", ASK),
        0x8004_0233 => {
            data("InvalidState", "the record's state does not allow it", "check the record in Dynamics")
        }
        0x8004_022E => data("ReadOnly", "the record is read-only", "check the record in Dynamics"),
        0x8004_0227 => {
            data("CannotDeleteDueToAssociation", "other records still refer to it", "delete those first")
        }
        0x8004_0217 => rule(Class::Missing, "ObjectDoesNotExist", no_lookup, load_first),
        0x8006_0891 => rule(Class::Missing, "RecordNotFoundByEntityKey", no_lookup, load_first),
        0x8004_0353 => rule(Class::Missing, "LookupNotFound", no_lookup, load_first),
        0x8004_418A => {
            rule(Class::TooLarge, "RequestLengthTooLarge", "the request is too large", "send fewer rows")
        }
        // §7.4: columns and addresses.
        0x8006_0888 => mapping("0x80060888", "Dynamics does not know an address or column"),
        0x8006_088A => mapping("CrmHttpError", "Dynamics does not know an address or column"),
        0x8006_0890 => mapping("EntityKeyNotDefined", "the key is not a defined key of the table"),
        0x8006_088F => {
            mapping("InvalidEntityKeyOperation", "the key cannot be used: null, or not yet active")
        }
        0x8004_1102 | 0x8004_0E00 => mapping("EntityNotFound", "the table does not exist"),
        0x8004_1103 => mapping("AttributeNotFound", "a column does not exist"),
        0x8006_088D => mapping("OptimisticConcurrencyNotEnabled", "the table has no optimistic concurrency"),
        0x8004_0219 => mapping("NotImplemented", "the table does not support this operation"),
        0x8004_0315 => mapping("NotSupported", "the table does not support this operation"),
        // §7.5: access and environment.
        0x8004_0220 => access("PrivilegeDenied", "the application user lacks a privilege"),
        0x8004_0231 => access("PrincipalPrivilegeDenied", "the application user lacks a privilege"),
        0x8004_0204 => access("InvalidUserAuth", "the application user is not accepted"),
        0x8004_8306 | 0x8004_8405 => access("AccessDenied", "access is denied"),
        0x8004_0277 => access("UnauthorizedAccess", "access is denied"),
        0x8004_2F09 => access("UserNotAssignedRoles", "the application user has no security role"),
        0x8007_2560 => access(
            "UserNotMemberOfOrg",
            "the app registration is not an application user of this environment: create it there",
        ),
        0x8004_0225 | 0x8004_A112 => access("UserDisabled", "the application user is disabled"),
        0x8004_A110 => access("CannotActOnBehalfOfAnotherUser", "impersonation is not allowed"),
        0x8004_F502 | 0x8004_F507 => {
            access("AttributePrivilegeMissing", "a column is secured against the application user")
        }
        0x8004_A104 => access("OrganizationDisabled", "the environment is disabled"),
        0x8004_A113 => access("AdminMode", "the environment is in administration mode"),
        0x8007_2325 => access("StorageQuotaExceeded", "the environment is out of storage"),
        0x8004_A101 => access("ExpiredAuthTicket", "the access token is not accepted"),
        _ => return None,
    })
}

/// Whether an access code is about who asks rather than about the environment. Source: dynamics.md §1.4, §7.5.
pub(super) fn is_of_the_user(code: u32) -> bool {
    matches!(
        code,
        0x8007_2560
            | 0x8004_2F09
            | 0x8004_0225
            | 0x8004_A112
            | 0x8004_0204
            | 0x8004_A101
            | 0x8004_0277
            | 0x8004_0220
            | 0x8004_0231
    )
}

fn is_deadlock(message: &str) -> bool {
    message.contains("Sql Number: 1205") || message.contains("deadlock")
}

/// Texts that were seen without a code. They change with the caller's language, so this is second best.
pub(in crate::io::dynamics) fn by_text(message: &str) -> Option<Rule> {
    let has = |part: &str| message.contains(part);
    // A bulk message carries the code of its cause in words.
    if let Some((_, tail)) = message.split_once("CRM ErrorCode: ") {
        let number: String = tail.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
        if let Some(rule) = code_in(&number).and_then(|code| by_code(code, message)) {
            return Some(rule);
        }
    }
    if let Some(rule) = infolog::rule_of(message) {
        return Some(rule);
    }
    Some(if has("There is no active transaction") {
        // A plug-in swallowed a fault and went on; the deadlock that it speaks of elsewhere is over.
        by_code(0x8004_0224, message)?
    } else if is_deadlock(message) {
        DEADLOCK
    } else if has("SQL timeout expired") {
        DATABASE_TIMEOUT
    } else if has("Number of requests ex") {
        by_code(0x8007_2322, message)?
    } else if has("Combined execution time") {
        by_code(0x8007_2321, message)?
    } else if has("Number of concurrent requests") {
        by_code(0x8007_2326, message)?
    } else if has("Does Not Exist") || has("Do Not Exist") {
        by_code(0x8004_0217, message)?
    } else if has("matching key values already exists") || has("duplicate key") {
        rule(Class::Conflict, "DuplicateRecord", TAKEN, CHANGE_KEY)
    } else if has("exceeded the maximum allowed length") {
        by_code(0x8004_4331, message)?
    } else if has("Security policy permission denied")
        || (has("is missing") && has("privilege"))
        || (has("does not have") && has("Access right"))
        || has("CrmCheckPrivilege")
    {
        by_code(0x8004_0220, message)?
    } else if has("Message size exceeded when sending context to Sandbox") {
        by_code(0x8004_418A, message)?
    } else if has("has not yet been implemented") {
        by_code(0x8004_0219, message)?
    } else if has("cannot be deleted while dependent") {
        by_code(0x8004_0227, message)?
    } else if has("No resources were found when selecting for update") {
        rule(
            Class::Missing,
            "NoResources",
            "the record is not there, or belongs to another company",
            "correct its key or its company, or load it with mode `upsert`",
        )
    } else if has("keys provided for lookup") {
        mapping("IncompleteKey", "not all columns of the key are given")
    } else if has("Content-ID")
        || has("Resource not found for the segment")
        || has("Could not find a property named")
        || has("The key in the request URI is not valid")
    {
        by_code(0x8006_0888, message)?
    } else if has("Infolog: ") {
        // What is left of those is a rule of the business; its status has been 400 and 500 (dynamics.md §6.6).
        data("Infolog", "a rule in Dynamics refused the row", "do as the message says")
    } else {
        return None;
    })
}

pub(super) fn by_status(status: u16) -> Rule {
    match status {
        401 => access("", "the access token is not accepted"),
        403 => access("", "access is denied"),
        404 | 405 | 501 => mapping("", "Dynamics does not know an address, or what is done there"),
        408 | 502 | 503 | 504 => again(Setback::Busy, "", "Dynamics did not answer in time"),
        409 | 412 => rule(Class::Conflict, "", TAKEN, CHANGE_KEY),
        413 => rule(Class::TooLarge, "", "the request is too large", "send fewer rows"),
        429 => again(Setback::RequestLimit, "request limit", "too many requests"),
        500..=599 => again(Setback::Unexpected, "", "an unexpected error in Dynamics"),
        _ => data("", "Dynamics refused the row", "correct the row as the message says"),
    }
}
