//! Keys in addresses: `CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')`, whole or not at all.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::types::Value;

use super::super::literal::{Literal, quoted};
use super::model::{Entity, Kind, Model};
use super::refusal::Refusal;
use super::values;

/// Characters of a key's text that an address shows as they are.
const IN_KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The values of the key that stands between the brackets, in the order of the entity's key, as they are stored.
///
/// # Errors
/// 400 when it does not parse, lacks a column of the key, or names another.
pub(super) fn key(model: &Model, entity: &Entity, text: &str) -> Result<Vec<Value>, Refusal> {
    let names: Vec<&str> = entity.key_columns().map(|(_, column)| column.name.as_str()).collect();
    let mut values: Vec<Option<Value>> = vec![None; names.len()];
    for (name, literal) in pairs(text)? {
        // A key of one column may stand without its name.
        let place = match (&name, names.len()) {
            (None, 1) => Some(0),
            (None, _) => return Err(Refusal::incomplete_key(1, &names)),
            (Some(name), _) => names.iter().position(|known| known == name),
        };
        let Some(place) = place else {
            return Err(Refusal::malformed(format!(
                "The key property '{}' does not exist on type '{}.{}'.",
                name.unwrap_or_default(),
                super::model::NAMESPACE,
                entity.name
            )));
        };
        let column = &entity.columns[entity.key[place]];
        values[place] = Some(values::of_literal(model, column, &literal)?);
    }
    let given = values.iter().flatten().count();
    if given < names.len() {
        return Err(Refusal::incomplete_key(given, &names));
    }
    Ok(values.into_iter().flatten().collect())
}

/// `name=literal,name=literal`, or one literal alone.
fn pairs(text: &str) -> Result<Vec<(Option<String>, Literal)>, Refusal> {
    let fault = || Refusal::malformed(format!("Bad Request - Error in query syntax: '{text}'."));
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    loop {
        let name_end = rest.find('=').filter(|&end| !rest[..end].contains(['\'', ',']));
        let (name, after) = match name_end {
            Some(end) => (Some(rest[..end].trim().to_owned()), rest[end + 1..].trim_start()),
            None => (None, rest),
        };
        let word_end = after.find([',', '\'']).unwrap_or(after.len());
        let word = after[..word_end].trim();
        let (literal, length) = if after[word_end..].starts_with('\'') {
            let (content, length) = quoted(&after[word_end..]).ok_or_else(fault)?;
            let literal = if word.is_empty() {
                Literal::Text(content)
            } else {
                Literal::Member { of: word.to_owned(), name: content }
            };
            (literal, word_end + length)
        } else if word.is_empty() {
            return Err(fault());
        } else {
            (Literal::from_word(word), word_end)
        };
        pairs.push((name, literal));
        rest = after[length..].trim_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => return Ok(pairs),
            None => return Err(fault()),
        }
    }
}

/// The address of the row with these values, `CustomerGroups(dataAreaId='usmf',CustomerGroupId='10')`.
pub(super) fn of_row(model: &Model, entity: &Entity, row: &[Value]) -> String {
    let pairs: Vec<String> = entity
        .key_columns()
        .map(|(index, column)| {
            let served = values::served(model, &column.kind, &row[index]);
            let text = served.as_str().map_or_else(|| served.to_string(), str::to_owned);
            let text = text.replace('\'', "''");
            let encoded = utf8_percent_encode(&text, IN_KEY);
            let literal = match &column.kind {
                Kind::Text(_) => format!("'{encoded}'"),
                Kind::Enum(_) => format!("{}'{encoded}'", model.type_name(&column.kind)),
                Kind::Date | Kind::DateTime => text,
                Kind::Int32 | Kind::Int64 | Kind::Real | Kind::Guid | Kind::Binary => encoded.to_string(),
            };
            format!("{}={literal}", column.name)
        })
        .collect();
    format!("{}({})", entity.set, pairs.join(","))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::built_in;
    use super::*;

    #[test]
    fn a_key_is_whole_or_refused_with_the_columns_that_it_needs() {
        let model = built_in::model();
        let groups = model.set("CustomerGroups").unwrap();
        let wanted = vec![Value::Text("usmf".into()), Value::Text("O'Neil, 1=2".into())];
        for text in [
            "dataAreaId='usmf',CustomerGroupId='O''Neil, 1=2'",
            "CustomerGroupId='O''Neil, 1=2', dataAreaId='usmf'",
        ] {
            assert_eq!(key(&model, groups, text).unwrap(), wanted, "{text}");
        }
        let answer = key(&model, groups, "CustomerGroupId='10'").unwrap_err().answer(400);
        let body = String::from_utf8(answer.body).unwrap();
        assert!(
            body.contains(
                "Only 1 of 2 keys provided for lookup, provide keys for dataAreaId, CustomerGroupId"
            )
        );
        for text in
            ["", "dataAreaId='usmf',CustomerGroupId=", "dataAreaId='usmf',Name='x'", "dataAreaId='usmf"]
        {
            assert!(key(&model, groups, text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_address_of_a_row_names_it_again() {
        let model = built_in::model();
        let rates = model.set("ExchangeRates").unwrap();
        let text = "RateTypeName='A/b',FromCurrency='EUR',ToCurrency='USD',StartDate=2019-10-04T12:00:00Z";
        let values = key(&model, rates, text).unwrap();
        let mut row: Vec<Value> =
            rates.columns.iter().map(|column| values::empty(&model, &column.kind)).collect();
        for ((index, _), value) in rates.key_columns().zip(&values) {
            row[index] = value.clone();
        }
        let address = of_row(&model, rates, &row);
        assert_eq!(address, format!("ExchangeRates({})", text.replace('/', "%2F")));
    }
}
