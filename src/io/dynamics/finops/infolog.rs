//! What F&O says when it refuses a row: the infolog, without its noise, in causes that are classed one by one. Source:
//! dynamics.md §6.6.
//!
//! ```text
//! Write failed for table row of type '<entity>'. Infolog: <severity>: <text>; <severity>: <text>.
//! ```

use super::metadata::squeezed;
use crate::io::dynamics::operation::Operation;
use crate::io::dynamics::verdict::{
    CHANGE_KEY, Class, Rule, Setback, TAKEN, again, by_text, data, mapping, rule,
};

/// How severe a line of the infolog is; what follows none of these words still belongs to the line before.
const SEVERITIES: [&str; 3] = ["Info: ", "Warning: ", "Error: "];
/// Lines that only tell where in the program a line before them arose.
const NOISE: [&str; 6] = [
    "validateField failed on field",
    "validateWrite failed on data source",
    "validateDelete failed on data source",
    "Update has been canceled",
    "Update has been cancelled",
    "Write failed for table row",
];
/// What a PATCH or DELETE of a record that is not there is answered with, as a 400. Source: dynamics.md §6.2.
const ABSENT: &str = "No resources were found when selecting for update";

/// An infolog as its reader needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::io::dynamics) struct Infolog {
    /// What was wrong, each once, in order; never empty.
    causes: Vec<String>,
    /// Whether it is one: then a row was refused, whatever the status.
    of_row: bool,
    /// Fields that are named, technical names before labels.
    pub(in crate::io::dynamics) fields: Vec<String>,
}

impl Infolog {
    /// The infolog in a message of the inner error; a message of another form is one cause.
    pub(in crate::io::dynamics) fn read(message: &str) -> Self {
        let told = message.split_once("Infolog:").map_or(message, |(_, tail)| tail).trim();
        let mut lines: Vec<String> = Vec::new();
        for piece in told.split("; ").map(str::trim).filter(|piece| !piece.is_empty()) {
            let bare = SEVERITIES.iter().find_map(|severity| piece.strip_prefix(severity));
            match (bare, lines.last_mut()) {
                (Some(text), _) => lines.push(text.trim().to_owned()),
                (None, None) => lines.push(piece.to_owned()),
                (None, Some(line)) => *line = format!("{line}; {piece}"),
            }
        }
        let mut fields = Vec::new();
        let mut causes: Vec<String> = Vec::new();
        for line in &lines {
            if line.starts_with("validateField failed") {
                let named = quoted_after(line, "on field ");
                fields.extend(named.and_then(|name| name.rsplit('.').next()).map(str::to_owned));
            }
            let cause = line.trim_end_matches(['.', ';', ' ']);
            let noise = NOISE.iter().any(|noise| cause.starts_with(noise));
            if !noise && !causes.iter().any(|known| known == cause) {
                causes.push(cause.to_owned());
            }
        }
        if causes.is_empty() {
            causes.push(lines.first().map_or(told, |line| line).trim_end_matches(['.', ' ']).to_owned());
        }
        let labels = causes.iter().filter_map(|cause| label_in(cause)).map(str::to_owned);
        fields.extend(labels);
        Infolog { causes, of_row: message.contains("Infolog:"), fields }
    }

    /// The causes in one sentence.
    pub(in crate::io::dynamics) fn sentence(&self) -> String {
        self.causes.join("; ")
    }

    /// What to do about it: what passes by itself decides, else the first cause that is no missing record. A row waits for
    /// a record that it refers to only where nothing else is wrong with it.
    pub(in crate::io::dynamics) fn rule(&self) -> Option<Rule> {
        let mut rules: Vec<Option<Rule>> = self.causes.iter().map(|cause| by_text(cause)).collect();
        let is = |rule: &Option<Rule>, wanted: fn(Class) -> bool| rule.is_some_and(|rule| wanted(rule.class));
        let first = rules
            .iter()
            .position(|rule| is(rule, |class| matches!(class, Class::Transient(_))))
            .or_else(|| rules.iter().position(|rule| !is(rule, |class| class == Class::Missing)))
            .unwrap_or(0);
        // Some causes are known and the decisive one is not: it is the row's.
        let of_row = rules.len() > 1 || self.of_row;
        rules.swap_remove(first).or_else(|| of_row.then_some(REFUSED))
    }
}

const REFUSED: Rule = data("", "Dynamics refused the row", "correct the row as the message says");

/// The texts that F&O is known for. They change with the language of the user that DDU is there, so what none of them
/// matches is the row's.
pub(in crate::io::dynamics) fn rule_of(message: &str) -> Option<Rule> {
    let has = |part: &str| message.contains(part);
    Some(if has("An update conflict occurred due to another user process") {
        again(Setback::Deadlock, "UpdateConflict", "another process changed the record at the same moment")
    } else if has("simultaneously locked") {
        again(Setback::Deadlock, "deadlock", "two writers locked each other out")
    } else if has("high resource utilization") {
        again(Setback::Busy, "resource limit", "the environment is under high load")
    } else if has(ABSENT) {
        rule(
            Class::Missing,
            "record not found",
            "the record is not there",
            "check its key and its company, or load the row with mode `upsert`",
        )
    } else if has("is not found in the related table") {
        rule(
            Class::Missing,
            "related record not found",
            "a record that the row refers to is not there",
            "load the record it refers to first, then drop this row again",
        )
    } else if has("The record already exists") {
        rule(Class::Conflict, "record exists", TAKEN, CHANGE_KEY)
    } else if has("cannot be deleted while dependent") {
        data("dependent records", "other records still refer to it", "delete those first")
    } else if has("keys provided for lookup") {
        mapping("incomplete key", "the record's key is not complete")
    } else if has("is mandatory and must") || has("must be filled in") {
        data("mandatory value", "a value that Dynamics requires is missing", "fill it in")
    } else if has("is blocked for") {
        data("blocked", "a rule in Dynamics refused the row", "do as the message says")
    } else {
        return None;
    })
}

/// Whether the record that was to be changed or deleted is what is missing.
pub(super) fn tells_of_absence(message: &str) -> bool {
    message.contains(ABSENT)
}

/// The staged column that a refusal is about: the one of the technical name, else of the label, which people write
/// otherwise than the programs: `Customer group` is `CustomerGroupId` where nothing else begins so.
pub(super) fn column_of(operation: &Operation, fields: &[String]) -> Option<String> {
    let known: Vec<(String, &String)> =
        operation.columns.iter().map(|(name, column)| (squeezed(name), column)).collect();
    let exact = |field: &String| known.iter().find(|(name, _)| *name == squeezed(field)).map(|(_, c)| *c);
    let begun = |field: &String| {
        let field = squeezed(field);
        let mut found = known.iter().filter(|(name, _)| name.starts_with(&field)).map(|(_, column)| *column);
        let first = found.next().filter(|_| !field.is_empty())?;
        found.all(|other| other == first).then_some(first)
    };
    fields.iter().find_map(exact).or_else(|| fields.iter().find_map(begun)).cloned()
}

/// What stands between single quotes behind these words.
fn quoted_after<'a>(text: &'a str, words: &str) -> Option<&'a str> {
    let (_, tail) = text.split_once(words)?;
    tail.strip_prefix('\'')?.split('\'').next()
}

/// The label of the field that a cause names: `in field 'Customer group'`, `Field 'Site' must …`, `(CustGroup). Customer
/// group: 10. The record already exists`.
fn label_in(cause: &str) -> Option<&str> {
    if let Some(label) = quoted_after(cause, "in field ").or_else(|| quoted_after(cause, "Field ")) {
        return Some(label);
    }
    let (head, _) = cause.split_once(". The record already exists")?;
    let (_, named) = head.split_once("). ")?;
    Some(named.split_once(": ")?.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::io::dynamics::verdict::judge;

    fn inner(message: &str) -> Vec<u8> {
        let error = serde_json::json!({"error": {"code": "", "message": "An error has occurred.", "innererror": {
            "message": message, "type": "Microsoft.Dynamics.Platform.Integration.Services.OData.AxODataWriteException"}}});
        error.to_string().into_bytes()
    }

    #[test]
    fn every_recorded_text_is_judged_as_the_table_says_whatever_its_status() {
        for (message, class) in [
            ("The value 'X' in field 'Y' is not found in the related table 'Z'.", Class::Missing),
            (
                "Cannot create a record in Customer groups (CustGroup). Customer group: 10. The record already exists.",
                Class::Conflict,
            ),
            ("No resources were found when selecting for update.", Class::Missing),
            (
                "Cannot edit a record in Ledger journal table (LedgerJournalTable). An update conflict occurred due to another user process deleting the record or changing one or more fields in the record.",
                Class::Transient(Setback::Deadlock),
            ),
            ("validateWrite failed on data source 'PurchLine (PurchLine)'.", Class::Data),
            ("Inventory dimension Site is mandatory and must consequently be specified.", Class::Data),
            ("Item 'L-10780-02' is blocked for 'Purchase order'.", Class::Data),
            (
                "Cannot create a record in Customers (CustTable). Security policy permission denied.",
                Class::Access,
            ),
            ("Customer groups cannot be deleted while dependent Customers exist.", Class::Data),
            ("Only 1 of 2 keys provided for lookup, provide keys for dataAreaId, ProjectID", Class::Mapping),
            (
                "Cannot edit a record in X (X). Deadlock, where one or more users have simultaneously locked the whole table or part of it.",
                Class::Transient(Setback::Deadlock),
            ),
            ("Wert nicht zulässig", Class::Data),
        ] {
            for message in [
                message.to_owned(),
                format!("Write failed for table row of type 'E'. Infolog: Error: {message}."),
            ] {
                assert_eq!(judge(400, &inner(&message)).class, class, "{message}");
            }
            let refused_as_500 = judge(500, &inner(&format!("Infolog: Error: {message}"))).class;
            let unknown = Class::Transient(Setback::Unexpected);
            assert!(
                refused_as_500 == class || (class == Class::Data && refused_as_500 == unknown),
                "{message}"
            );
        }
        let busy = "This request could not be processed at this time due to system experiencing high resource utilization. Retry the request after 60 seconds";
        assert_eq!(judge(429, busy.as_bytes()).class, Class::Transient(Setback::Busy));
        let gateway = judge(502, b"<html><body>502 Bad Gateway</body></html>");
        assert_eq!(gateway.class, Class::Transient(Setback::Busy));
    }

    #[test]
    fn the_cause_is_what_is_left_without_noise_and_repetitions() {
        // Captured, HTTP 400; dynamics.md §6.6.
        let recorded = "Write failed for table row of type 'CustCustomerV3Entity'. Infolog: Warning: The value 'Local' in field 'Customer group' is not found in the related table 'Customer groups'.; Warning: validateField failed on field 'CustCustomerV3Entity.CustomerGroupId'.";
        let told = Infolog::read(recorded);
        let cause =
            "The value 'Local' in field 'Customer group' is not found in the related table 'Customer groups'";
        assert_eq!(told.causes, [cause]);
        assert_eq!(told.fields, ["CustomerGroupId", "Customer group"]);
        let twice = format!("{recorded}; Info: x; Warning: {cause}.; Error: Update has been canceled.");
        assert_eq!(Infolog::read(&twice).causes.len(), 2, "{twice}");
        let parts = Infolog::read("Infolog: Error: Site; or warehouse; is wrong.; Warning: Second.");
        assert_eq!(parts.causes, ["Site; or warehouse; is wrong", "Second"]);
        let noise =
            Infolog::read("Infolog: Warning: validateWrite failed on data source 'PurchLine (PurchLine)'.");
        assert_eq!(noise.sentence(), "validateWrite failed on data source 'PurchLine (PurchLine)'");
        let verdict = judge(400, &inner(recorded));
        assert_eq!(verdict.plain, format!("a record that the row refers to is not there: {cause}"));
    }

    #[test]
    fn a_row_waits_for_a_record_only_where_nothing_else_is_wrong() {
        let missing = "The value 'X' in field 'Y' is not found in the related table 'Z'.";
        let class = |message: &str| judge(400, &inner(message)).class;
        assert_eq!(class(&format!("Infolog: Warning: {missing}; Warning: {missing}")), Class::Missing);
        assert_eq!(class(&format!("Infolog: Warning: {missing}; Error: Name is wrong.")), Class::Data);
        let conflict = "An update conflict occurred due to another user process";
        let passing = Class::Transient(Setback::Deadlock);
        assert_eq!(class(&format!("Infolog: Warning: Name is wrong.; Error: {conflict}")), passing);
    }

    #[test]
    fn the_column_is_found_by_its_technical_name_or_by_its_label() {
        let mut operation = Operation::patch("CustomersV3(1)");
        let columns = [("CustomerGroupId", "group"), ("CustomerAccount", "account"), ("Name", "name")];
        operation.columns = std::sync::Arc::new(
            columns.iter().map(|(name, column)| ((*name).to_owned(), (*column).to_owned())).collect(),
        );
        let of = |fields: &[&str]| {
            column_of(&operation, &fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["Elsewhere", "CUSTOMERGROUPID"]).as_deref(), Some("group"));
        assert_eq!(of(&["Customer group"]).as_deref(), Some("group"));
        assert_eq!(of(&["Customer"]), None, "two begin so");
        assert_eq!(of(&[""]), None);
        let exists = Infolog::read(
            "Cannot create a record in Customers (CustTable). Customer account: 7. The record already exists.",
        );
        assert_eq!(column_of(&operation, &exists.fields).as_deref(), Some("account"));
    }
}
