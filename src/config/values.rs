//! The values of a sidecar one by one: names of tables, columns, lookups and zones as their sender wrote them → as they are used.

use indexmap::IndexMap;
use jiff::tz::TimeZone;

use super::audit::Audit;
use super::fault::JsonPath;
use super::json::shortened;
use super::raw_sidecar::{RawKey, RawLookup};
use crate::domain::near::did_you_mean;
use crate::domain::settings::{LookupRule, TIMEZONE_DEFAULT};
use crate::domain::table::{TableName, TableNameError};

/// The table's name as given, else made of the name of the file or sheet.
pub(super) fn table_name(
    audit: &mut Audit<'_>,
    given: Option<String>,
    stem: &str,
    at: &JsonPath,
) -> Option<TableName> {
    let Some(given) = given else {
        return match TableName::from_stem(stem) {
            Ok(name) => Some(name),
            Err(error) => audit.contradiction(at, error.to_string()),
        };
    };
    match TableName::try_from(given) {
        Ok(name) => Some(name),
        Err(error) => {
            let proposed = match &error {
                TableNameError::Malformed { given } => TableName::from_stem(given).ok(),
                TableNameError::Empty { .. } | TableNameError::Reserved { .. } => None,
            };
            let proposed = proposed.map(|name| format!("; `{name}` would do")).unwrap_or_default();
            audit.contradiction(at, format!("{error}{proposed}"))
        }
    }
}

/// The headers of the key without blanks around them.
pub(super) fn key(audit: &mut Audit<'_>, given: Option<RawKey>, at: &JsonPath) -> Option<Vec<String>> {
    let headers = match given {
        None => return Some(Vec::new()),
        Some(RawKey::One(header)) => vec![header],
        Some(RawKey::Many(headers)) => headers,
    };
    let before = audit.faults.len();
    let mut key: Vec<String> = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let header = header.trim();
        if header.is_empty() {
            audit.wrong::<()>(&at.index(index), "the header of a column", header, "");
        } else if key.iter().any(|earlier| earlier == header) {
            audit.contradiction::<()>(at, format!("`key` names the column `{}` twice", shortened(header)));
        }
        key.push(header.to_owned());
    }
    (audit.faults.len() == before).then_some(key)
}

/// Header → attribute, each attribute at most once; an empty one leaves the column out.
pub(super) fn columns(
    audit: &mut Audit<'_>,
    given: IndexMap<String, String>,
    at: &JsonPath,
) -> Option<IndexMap<String, String>> {
    let before = audit.faults.len();
    let mut attributes: IndexMap<String, String> = IndexMap::new();
    for (header, attribute) in &given {
        let at = at.key(header);
        if header.trim().is_empty() {
            audit.wrong::<()>(&at, "the header of a column as its key", header, "");
        }
        if !attribute.trim().is_empty()
            && let Some(first) = attributes.insert(attribute.trim().to_lowercase(), header.clone())
        {
            let sentence = format!(
                "the columns `{}` and `{}` would both go to `{}`; map only one of them",
                shortened(&first),
                shortened(header),
                shortened(attribute.trim())
            );
            audit.contradiction::<()>(&at, sentence);
        }
    }
    let trimmed =
        |(header, attribute): (String, String)| (header.trim().to_owned(), attribute.trim().to_owned());
    (audit.faults.len() == before).then(|| given.into_iter().map(trimmed).collect())
}

/// Header → rule, from either form.
pub(super) fn lookups(
    audit: &mut Audit<'_>,
    given: IndexMap<String, RawLookup>,
    at: &JsonPath,
) -> Option<IndexMap<String, LookupRule>> {
    let before = audit.faults.len();
    let mut rules = IndexMap::new();
    for (header, rule) in given {
        let at = at.key(&header);
        if header.trim().is_empty() {
            audit.wrong::<()>(&at, "the header of a column as its key", &header, "");
        }
        let rule = match rule {
            RawLookup::Short(text) => match text.split_once('.') {
                Some((entity, column)) => Some(LookupRule {
                    entity: Some(entity.trim().to_owned()),
                    column: column.trim().to_owned(),
                }),
                None => audit.wrong(&at, "`entity.column`, such as `accounts.accountnumber`", &text, ""),
            },
            RawLookup::Long(rule) => Some(rule),
        };
        let Some(rule) = rule else { continue };
        if rule.column.trim().is_empty()
            || rule.entity.as_deref().is_some_and(|entity| entity.trim().is_empty())
        {
            audit.wrong_as::<()>(&at, "the names of an entity and of its column", "an empty name", "");
        }
        rules.insert(header.trim().to_owned(), rule);
    }
    (audit.faults.len() == before).then_some(rules)
}

/// The zone in the spelling of the IANA database.
pub(super) fn timezone(audit: &mut Audit<'_>, given: Option<String>, at: &JsonPath) -> Option<String> {
    let Some(given) = given else { return Some(TIMEZONE_DEFAULT.to_owned()) };
    let name = given.trim();
    if let Ok(zone) = TimeZone::get(name)
        && let Some(name) = zone.iana_name()
    {
        return Some(name.to_owned());
    }
    let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let city = |known: &&String| known.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let advice = match known.iter().find(city) {
        Some(zone) => format!("did you mean `{zone}`?"),
        None => did_you_mean(name, known.iter().map(String::as_str)).trim_start_matches("; ").to_owned(),
    };
    audit.wrong(at, "the IANA name of a zone, such as `Europe/Berlin`", &given, &advice)
}
