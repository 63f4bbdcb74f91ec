//! The errors that the service is known to give: code, status and text in two languages. Source: dynamics.md §4.1, §7.

/// One error of the catalogue.
pub(super) struct Known {
    pub(super) code: &'static str,
    pub(super) status: u16,
    pub(super) text: &'static str,
    /// The text that a German environment gives; the code is the same.
    pub(super) german: &'static str,
}

/// What a German environment says where the catalogue has no text of its own.
pub(super) const GERMAN: &str = "Unerwarteter Fehler.";

/// Every row of §7.1, and those of the other tables that a rehearsal wants to see.
const CATALOGUE: [Known; 41] = [
    known("0x80072322", 429, REQUESTS, "Die Anzahl der Anforderungen hat das Limit überschritten."),
    known("0x80072321", 429, TIME, "Die kombinierte Ausführungszeit hat das Limit überschritten."),
    known(
        "0x80072326",
        429,
        CONCURRENCY,
        "Die Anzahl gleichzeitiger Anforderungen hat das Limit überschritten.",
    ),
    known("0x8005F103", 429, "Too many requests.", "Zu viele Anforderungen."),
    known(
        "0x80072324",
        429,
        "Too many concurrent requests detected.",
        "Zu viele gleichzeitige Anforderungen wurden erkannt.",
    ),
    known(
        "0x80072323",
        503,
        "The resource limit of the database has been reached. Try again later.",
        "Das Ressourcenlimit der Datenbank wurde erreicht. Versuchen Sie es später erneut.",
    ),
    known(
        "0x8004A001",
        503,
        "The server is busy and the request was not completed. Try again later.",
        "Der Server ist ausgelastet, und die Anforderung wurde nicht abgeschlossen.",
    ),
    known(
        "0x80044150",
        500,
        "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205",
        "SQL-Fehler: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 Sql Number: 1205",
    ),
    known(
        "0x80044151",
        500,
        "Sql error: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2",
        "SQL-Fehler: SQL timeout expired. CRM ErrorCode: -2147204783 Sql ErrorCode: -2146232060 Sql Number: -2",
    ),
    known(
        "0x80131501",
        500,
        "The transaction of the SQL command has already been rolled back or committed; this is usually caused by a \
         swallowed SQL deadlock exception.",
        "Die Transaktion des SQL-Befehls wurde bereits zurückgesetzt.",
    ),
    known(
        "0x80073000",
        500,
        "A networking error caused this operation to fail. Please try again.",
        "Ein Netzwerkfehler ist aufgetreten. Versuchen Sie es erneut.",
    ),
    known(
        "0x8004ED47",
        500,
        "Timeout expired before applock could be acquired.",
        "Das Zeitlimit ist abgelaufen, bevor die Sperre abgerufen werden konnte.",
    ),
    known("0x80154B53", 500, "The operation failed. Please try again.", "Der Vorgang ist fehlgeschlagen."),
    known(
        "0x8004418D",
        500,
        "The plug-in execution failed because no Sandbox Worker processes are currently available. Please try again.",
        "Die Plug-In-Ausführung ist fehlgeschlagen, da kein Sandbox-Prozess verfügbar ist.",
    ),
    known(
        "0x8004418E",
        500,
        "The plug-in execution failed because no Sandbox Hosts are currently available. Please check that you have a \
         Sandbox server configured and that it is running.",
        "Die Plug-In-Ausführung ist fehlgeschlagen, da kein Sandbox-Host verfügbar ist.",
    ),
    known(
        "0x80044171",
        500,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Client.",
        "Die Plug-In-Ausführung hat das Zeitlimit überschritten.",
    ),
    known(
        "0x80044172",
        500,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Host.",
        "Die Plug-In-Ausführung hat das Zeitlimit überschritten.",
    ),
    known(
        "0x80044173",
        500,
        "The plug-in execution failed because the operation has timed-out at the Sandbox Worker.",
        "Die Plug-In-Ausführung hat das Zeitlimit überschritten.",
    ),
    known(
        "0x80081111",
        500,
        "The plug-in execution failed because it exceeded the 2:20-minute limit.",
        "Die Plug-In-Ausführung hat das Zeitlimit überschritten.",
    ),
    known(
        "0x80060882",
        412,
        "The version of the existing record doesn't match the RowVersion property provided.",
        "Die Version des vorhandenen Datensatzes stimmt nicht mit der Eigenschaft RowVersion überein.",
    ),
    known(
        "0x80048543",
        500,
        "The operation timed out because a solution is currently being imported.",
        "Zeitüberschreitung, da derzeit eine Lösung importiert wird.",
    ),
    known("0x80040216", 500, "An unexpected error occurred.", "Unerwarteter Fehler."),
    known(
        "0x8004A101",
        401,
        "The authentication token has expired.",
        "Das Authentifizierungstoken ist abgelaufen.",
    ),
    known(
        "0x80040237",
        412,
        "A record with matching key values already exists.",
        "Ein Datensatz mit übereinstimmenden Schlüsselwerten ist bereits vorhanden.",
    ),
    known(
        "0x80060892",
        412,
        "Entity Key violated. A duplicate record cannot be created. Select one or more unique values and try again.",
        "Entitätsschlüssel verletzt. Ein doppelter Datensatz kann nicht erstellt werden.",
    ),
    known(
        "0x80040333",
        412,
        "A record was not created or updated because a duplicate of the current record already exists.",
        "Ein Datensatz wurde nicht erstellt, da bereits ein Duplikat vorhanden ist.",
    ),
    known(
        "0x80073002",
        500,
        "The operation attempted to insert a duplicate value for an attribute with a unique constraint.",
        "Ein doppelter Wert wurde für ein eindeutiges Attribut eingefügt.",
    ),
    known("0x80040265", 400, "An error occurred in the plug-in.", "Im Plug-In ist ein Fehler aufgetreten."),
    known(
        "0x80040224",
        500,
        "An unexpected error occurred from ISV code.",
        "Unerwarteter Fehler im ISV-Code.",
    ),
    known("0x80040203", 400, "Invalid Argument.", "Ungültiges Argument."),
    known("0x80040217", 404, "The record does not exist.", "Der Datensatz ist nicht vorhanden."),
    known("0x8004418A", 413, "The request is too large.", "Die Anforderung ist zu groß."),
    known("0x80044331", 400, "A validation error occurred.", "Überprüfungsfehler. Der Wert ist zu lang."),
    known("0x8004431A", 400, "A validation error occurred.", "Überprüfungsfehler. Der Wert ist ungültig."),
    known(
        "0x80040220",
        403,
        "Principal user is missing a privilege.",
        "Dem Prinzipalbenutzer fehlt eine Berechtigung.",
    ),
    known("0x80048306", 403, "Access is denied.", "Der Zugriff wurde verweigert."),
    known(
        "0x80042F09",
        403,
        "The user does not have any roles assigned.",
        "Dem Benutzer sind keine Rollen zugewiesen.",
    ),
    known(
        "0x80072560",
        403,
        "The user is not a member of the organization.",
        "Der Benutzer ist kein Mitglied der Organisation.",
    ),
    known(
        "0x80072325",
        503,
        "The storage limit for the database has been met.",
        "Das Speicherlimit der Datenbank wurde erreicht.",
    ),
    known("0x8004A104", 403, "The organization is disabled.", "Die Organisation ist deaktiviert."),
    known("0x80060888", 400, "The request is not valid.", "Die Anforderung ist ungültig."),
];

const REQUESTS: &str = "Number of requests exceeded the limit of 6000 over time window of 300 seconds.";
const TIME: &str = "Combined execution time of incoming requests exceeded limit of 1,200,000 milliseconds over time \
                    window of 300 seconds. Decrease number of concurrent requests or reduce the duration of requests \
                    and try again later.";
const CONCURRENCY: &str = "Number of concurrent requests exceeded the limit of 52.";

const fn known(code: &'static str, status: u16, text: &'static str, german: &'static str) -> Known {
    Known { code, status, text, german }
}

/// The error with this code; the case of its digits does not count.
pub(super) fn by_code(code: &str) -> Option<&'static Known> {
    CATALOGUE.iter().find(|known| known.code.eq_ignore_ascii_case(code))
}

/// The error that a status alone brings to mind.
pub(super) fn by_status(status: u16) -> &'static Known {
    let code = match status {
        401 => "0x8004A101",
        403 => "0x80072560",
        412 => "0x80040237",
        413 => "0x8004418A",
        429 => "0x80072322",
        _ => "0x80040216",
    };
    by_code(code).expect("the codes above stand in the catalogue")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_eight_hex_digits_and_stands_once() {
        for known in &CATALOGUE {
            let digits = known.code.strip_prefix("0x").unwrap();
            assert_eq!(digits.len(), 8, "{}", known.code);
            assert!(u32::from_str_radix(digits, 16).is_ok(), "{}", known.code);
            assert!((400..600).contains(&known.status), "{}", known.code);
            let same = CATALOGUE.iter().filter(|other| other.code.eq_ignore_ascii_case(known.code));
            assert_eq!(same.count(), 1, "{}", known.code);
        }
    }

    #[test]
    fn a_status_brings_its_usual_error() {
        for status in [400, 401, 403, 412, 413, 429, 500, 502, 503] {
            assert!(!by_status(status).text.is_empty());
        }
        assert_eq!(by_status(429).code, "0x80072322");
    }
}
