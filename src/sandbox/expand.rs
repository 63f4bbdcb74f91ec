//! `$expand` of records: related records inside their own, each with options of its own.

use serde_json::{Map, Value as Json};

use super::ask::Ask;
use super::association::pointed_at;
use super::error::ApiError;
use super::query;
use super::schema::{Column, Schema, Table, Target};
use super::store::Session;

/// Expansions that may stand inside each other. Keeps the stack bounded.
const DEPTH_MAX: usize = 8;
/// What a nested option may be.
const OPTIONS: [&str; 6] = ["$select", "$filter", "$orderby", "$top", "$expand", "$count"];

/// One navigation property that is followed.
pub(super) struct Expansion<'s> {
    name: String,
    end: End<'s>,
    /// The options in its brackets, as a request of their own.
    ask: Ask,
}

/// What a navigation property leads to.
enum End<'s> {
    /// The record that a lookup points at.
    One(&'s Column, Vec<&'s Target>),
    /// The records whose lookup points here.
    Many(&'s Table, &'s Column, &'s Target),
}

/// The expansions that a request asks for.
///
/// # Errors
/// 400 for a property that does not lead to records, an unknown option or too deep nesting.
pub(super) fn of<'s>(
    schema: &'s Schema,
    table: &'s Table,
    ask: &Ask,
) -> Result<Vec<Expansion<'s>>, ApiError> {
    let Some(text) = ask.query.get("$expand") else { return Ok(Vec::new()) };
    if ask.depth >= DEPTH_MAX {
        return Err(ApiError::query_syntax("The request nests too many expansions in each other."));
    }
    split(text, ',').into_iter().map(|part| expansion(schema, table, ask, part.trim())).collect()
}

fn expansion<'s>(
    schema: &'s Schema,
    table: &'s Table,
    ask: &Ask,
    text: &str,
) -> Result<Expansion<'s>, ApiError> {
    let (name, options) = match text.split_once('(') {
        Some((name, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(|| {
                ApiError::query_syntax(format!("Syntax error in '$expand={text}': a bracket is not closed."))
            })?;
            (name.trim(), inner)
        }
        None => (text, ""),
    };
    let end = if let Some((column, targets)) = table.navigation(name) {
        End::One(column, targets)
    } else if let Some((from, column, target)) = schema.referencing_by(table, name) {
        End::Many(from, column, target)
    } else {
        return Err(ApiError::unknown_query_property(name, table));
    };
    let mut pairs = Vec::new();
    for option in split(options, ';').into_iter().map(str::trim).filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        if !OPTIONS.contains(&key) {
            return Err(ApiError::query_syntax(format!(
                "The query parameter {key} is not supported in $expand."
            )));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    let query = ask.query.nested(pairs);
    let ask = Ask { query, depth: ask.depth + 1, ..ask.clone() };
    // A fault in the brackets is told though no record leads there.
    let to = match &end {
        End::One(_, targets) => {
            targets.first().filter(|_| targets.len() == 1).and_then(|t| schema.logical(&t.table))
        }
        End::Many(from, ..) => Some(*from),
    };
    if let Some(to) = to {
        query::check(schema, to, &ask)?;
    }
    Ok(Expansion { name: name.to_owned(), end, ask })
}

/// Puts the related records into a record of `table` that carries its primary key.
///
/// # Errors
/// As a request for the related records themselves.
pub(super) fn fill(
    session: &mut Session<'_>,
    table: &Table,
    expansions: &[Expansion<'_>],
    record: &mut Map<String, Json>,
) -> Result<(), ApiError> {
    let Some(id) = record.get(&table.primary_id).and_then(Json::as_str).map(str::to_owned) else {
        return Ok(());
    };
    for Expansion { name, end, ask } in expansions {
        let related = match end {
            End::One(column, targets) => match pointed_at(session, table, (column, targets), &id)? {
                Some((to, id)) => query::load(session, to, &id, ask)?
                    .map_or(Json::Null, |loaded| Json::Object(loaded.record)),
                None => Json::Null,
            },
            End::Many(from, column, target) => {
                let scope = query::Scope::pointing(column, target, &id);
                let page = query::page(session, from, ask, Some(scope))?;
                Json::Array(page.records.into_iter().map(Json::Object).collect())
            }
        };
        record.insert(name.clone(), related);
    }
    Ok(())
}

/// The parts between `divider`s that stand in no brackets and no quotes.
fn split(text: &str, divider: char) -> Vec<&str> {
    let (mut parts, mut depth, mut in_quotes, mut start) = (Vec::new(), 0_usize, false, 0);
    for (index, character) in text.char_indices() {
        match character {
            '\'' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if character == divider && depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividers_inside_brackets_and_quotes_do_not_divide() {
        assert_eq!(
            split("a,b($select=x,y;$filter=z eq 'p,q('),c", ','),
            ["a", "b($select=x,y;$filter=z eq 'p,q(')", "c"]
        );
        assert_eq!(split("$select=x;$filter=y eq ';'", ';'), ["$select=x", "$filter=y eq ';'"]);
    }
}
