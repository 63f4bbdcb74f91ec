//! Addresses of resources: `accounts`, `accounts(<guid>)`, `contacts(emailaddress1='a@b.c')`.

use percent_encoding::percent_decode_str;
use rusqlite::types::Value;
use uuid::Uuid;

use super::error::ApiError;
use super::literal::{Literal, quoted};
use super::schema::{Schema, Table};

/// One step of a path: `accounts` or `accounts(…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) name: String,
    /// What stands between the brackets.
    pub(super) key: Option<String>,
}

/// What names one record of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key {
    /// Its primary key.
    Id(Uuid),
    /// One of the table's alternate keys, with the values in its columns' order as the store compares them.
    Alternate { key: usize, values: Vec<Value> },
}

/// The steps of a path, decoded. A `/` inside quotes does not divide.
pub(super) fn segments(path: &str) -> Result<Vec<Segment>, ApiError> {
    let mut segments = Vec::new();
    let mut start = 0;
    let mut in_quotes = false;
    let bytes = path.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'\'' => in_quotes = !in_quotes,
            b'/' if !in_quotes => {
                segments.push(segment(&path[start..index])?);
                start = index + 1;
            }
            _ => {}
        }
    }
    segments.push(segment(&path[start..])?);
    // `accounts/` and the service root itself end in an empty step.
    if segments.last().is_some_and(|last| last.name.is_empty()) {
        segments.pop();
    }
    Ok(segments)
}

fn segment(raw: &str) -> Result<Segment, ApiError> {
    let text = percent_decode_str(raw).decode_utf8().map_err(|_| ApiError::unknown_segment(raw))?;
    match text.split_once('(') {
        None => Ok(Segment { name: text.into_owned(), key: None }),
        Some((name, rest)) => {
            let key = rest.strip_suffix(')').ok_or_else(|| {
                ApiError::query_syntax(format!("Bad Request - Error in query syntax: '{text}'."))
            })?;
            Ok(Segment { name: name.to_owned(), key: Some(key.to_owned()) })
        }
    }
}

/// The key that stands between the brackets behind `table`'s name.
///
/// # Errors
/// 400 when it does not parse or is not one of the table's keys.
pub(super) fn key(table: &Table, text: &str) -> Result<Key, ApiError> {
    let text = text.trim();
    if !text.contains('=') {
        let id = text.trim_matches('\'').parse().map_err(|_| ApiError::undefined_key(table))?;
        return Ok(Key::Id(id));
    }
    let pairs = pairs(table, text)?;
    if let [(name, literal)] = pairs.as_slice()
        && *name == table.primary_id
    {
        let (Literal::Text(id) | Literal::Bare(id)) = literal else {
            return Err(ApiError::undefined_key(table));
        };
        return id.parse().map(Key::Id).map_err(|_| ApiError::undefined_key(table));
    }
    let names_are = |columns: &[String]| {
        columns.len() == pairs.len()
            && columns.iter().all(|column| pairs.iter().any(|(name, _)| is_named(table, column, name)))
    };
    let Some(index) = table.keys.iter().position(|key| names_are(&key.columns)) else {
        return Err(ApiError::undefined_key(table));
    };
    let mut values = Vec::new();
    for name in &table.keys[index].columns {
        let column = table.column(name).expect("a key is defined over columns of its table");
        let pair = pairs.iter().find(|(pair, _)| is_named(table, name, pair));
        let (_, literal) = pair.expect("names_are compared them");
        match literal.stored(column)? {
            Value::Null => {
                return Err(ApiError::new(
                    400,
                    "0x8006088F",
                    format!("Key value of '{name}' in {} entity must not be null.", table.logical_name),
                ));
            }
            value => values.push(value),
        }
    }
    Ok(Key::Alternate { key: index, values })
}

/// Whether a key names this column: a lookup is `_primarycontactid_value` there.
fn is_named(table: &Table, column: &str, name: &str) -> bool {
    table.column(column).is_some_and(|column| column.property == name)
}

/// `name=literal,name=literal`
fn pairs(table: &Table, text: &str) -> Result<Vec<(String, Literal)>, ApiError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=').ok_or_else(|| ApiError::undefined_key(table))?;
        let after = after.trim_start();
        let (literal, length) = if after.starts_with('\'') {
            let (content, length) = quoted(after).ok_or_else(|| ApiError::undefined_key(table))?;
            (Literal::Text(content), length)
        } else {
            let length = after.find(',').unwrap_or(after.len());
            (Literal::from_word(after[..length].trim()), length)
        };
        pairs.push((name.trim().to_owned(), literal));
        rest = after[length..].trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(pairs),
            None => return Err(ApiError::undefined_key(table)),
        }
    }
}

/// The record that a text such as `/accounts(…)` or a whole URL names: for `@odata.bind` and `@odata.id`.
///
/// # Errors
/// 400 when it names no record; `set_name` is the table whose payload it stands in.
pub(super) fn reference<'s>(
    schema: &'s Schema,
    set_name: &str,
    text: &str,
) -> Result<(&'s Table, Key), ApiError> {
    let path = match text.split_once("/api/data/v9.") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => text.trim_start_matches('/'),
    };
    let malformed = || {
        ApiError::payload(
            set_name,
            &format!("Microsoft.OData.ODataException: The URI '{text}' is not valid as an entity reference."),
        )
    };
    let segments = segments(path)?;
    let [Segment { name, key: Some(key_text) }] = segments.as_slice() else { return Err(malformed()) };
    let table = schema.set(name).ok_or_else(|| ApiError::unknown_segment(name))?;
    Ok((table, key(table, key_text)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::entities;
    use super::*;

    #[test]
    fn slashes_and_quotes_may_stand_inside_a_key() {
        let read = segments("accounts(accountnumber='A%2FB''s/1')/name").unwrap();
        assert_eq!(read[0].key.as_deref(), Some("accountnumber='A/B''s/1'"));
        assert_eq!(read[1].name, "name");
        assert_eq!(segments("").unwrap(), vec![]);
    }

    #[test]
    fn a_record_is_named_by_guid_by_its_named_guid_or_by_an_alternate_key() {
        let schema = entities::built_in();
        let accounts = schema.set("accounts").unwrap();
        let id = Uuid::from_u128(7);
        assert_eq!(key(accounts, &id.to_string()).unwrap(), Key::Id(id));
        assert_eq!(key(accounts, &format!("accountid={id}")).unwrap(), Key::Id(id));
        assert_eq!(
            key(accounts, "accountnumber='O''B'").unwrap(),
            Key::Alternate { key: 0, values: vec![Value::Text("O'B".into())] }
        );
        let (table, found) =
            reference(&schema, "contacts", &format!("http://h/api/data/v9.2/accounts({id})")).unwrap();
        assert_eq!((table.set_name.as_str(), found), ("accounts", Key::Id(id)));
    }

    #[test]
    fn a_key_that_is_not_defined_is_refused() {
        let schema = entities::built_in();
        let accounts = schema.set("accounts").unwrap();
        for text in
            ["name='x'", "accountnumber='x',name='y'", "nonsense", "accountnumber='x", "accountnumber=1"]
        {
            assert_eq!(key(accounts, text).unwrap_err().status, 400, "{text}");
        }
        assert_eq!(key(accounts, "accountnumber=null").unwrap_err().code, "0x8006088F");
    }
}
