//! How conformed values are spelled: in a URL, in a key predicate, in a JSON body.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::conform::Conformed;

/// What stands in a path as itself; everything else is percent-encoded.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'(')
    .remove(b')')
    .remove(b'\'')
    .remove(b'=')
    .remove(b',')
    .remove(b'$');

/// Characters that Dataverse does not take in an alternate key's value in a URL, encoded or not.
/// Source: Microsoft Learn, "Define alternate keys using Power Apps".
pub(super) const KEY_CHARS_REFUSED: [char; 11] = ['/', '#', '<', '>', '*', '%', '&', ':', '\\', '?', '+'];

/// Text as part of a path or of a query's value.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

/// A value as a literal of a URL, not yet encoded; `None` for blanks and lists, which have none.
pub(super) fn literal(value: &Conformed) -> Option<String> {
    Some(match value {
        Conformed::Text(text) | Conformed::Member(text) => format!("'{}'", text.replace('\'', "''")),
        Conformed::Integer(number) | Conformed::Option(number) => number.to_string(),
        Conformed::Decimal(digits) => digits.clone(),
        Conformed::Boolean(truth) => truth.to_string(),
        Conformed::Date(date) => date.to_string(),
        Conformed::Instant(at) => at.to_string(),
        Conformed::Guid(id) => id.hyphenated().to_string(),
        Conformed::Blank | Conformed::Options(_) | Conformed::Reference(_) => return None,
    })
}

/// A value as JSON, as dynamics.md §2.6 lists them.
pub(super) fn json(value: &Conformed) -> String {
    match value {
        Conformed::Blank => "null".to_owned(),
        Conformed::Text(text) | Conformed::Member(text) | Conformed::Reference(text) => json_text(text),
        Conformed::Integer(number) | Conformed::Option(number) => number.to_string(),
        Conformed::Decimal(digits) => digits.clone(),
        Conformed::Boolean(truth) => truth.to_string(),
        Conformed::Options(numbers) => {
            json_text(&numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
        }
        Conformed::Date(date) => json_text(&date.to_string()),
        Conformed::Instant(at) => json_text(&at.to_string()),
        Conformed::Guid(id) => json_text(&id.hyphenated().to_string()),
    }
}

/// A JSON string.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON object of members whose values are JSON already, which keeps the sender's digits.
pub(super) fn json_object(members: &[(String, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", json_text(name))).collect();
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_value_survives_quotes_blanks_and_other_scripts() {
        let text = Conformed::Text("O'Brien & Söhne".to_owned());
        let literal = literal(&text).unwrap();
        assert_eq!(literal, "'O''Brien & Söhne'");
        assert_eq!(encoded(&literal), "'O''Brien%20%26%20S%C3%B6hne'");
    }

    #[test]
    fn a_body_carries_the_senders_digits_and_valid_json() {
        let body = json_object(&[
            ("name".to_owned(), json(&Conformed::Text("a \"b\"\n\u{1}".to_owned()))),
            ("revenue".to_owned(), json(&Conformed::Decimal("12345678901234567.25".to_owned()))),
            ("colours".to_owned(), json(&Conformed::Options(vec![1, 9]))),
            ("since".to_owned(), json(&Conformed::Instant("2021-04-04T20:00:00Z".parse().unwrap()))),
            ("born".to_owned(), json(&Conformed::Date("1753-01-01".parse().unwrap()))),
            ("gone".to_owned(), json(&Conformed::Blank)),
        ]);
        assert_eq!(
            body,
            r#"{"name":"a \"b\"\n\u0001","revenue":12345678901234567.25,"colours":"1,9","since":"2021-04-04T20:00:00Z","born":"1753-01-01","gone":null}"#
        );
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
    }
}
