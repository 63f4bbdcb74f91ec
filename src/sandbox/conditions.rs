//! `$filter` as SQL: what a condition means for the rows of a table.

use std::collections::HashMap;

use rusqlite::types::Value;

use super::ask::Ask;
use super::error::ApiError;
use super::filter::{self, Among, Filter, Operator, Part};
use super::literal::Literal;
use super::schema::{Column, Kind, Schema, Table, Target};

/// The records whose lookup points at one record.
#[derive(Clone)]
pub(super) struct Scope {
    column: String,
    id: String,
    /// The column that tells which table a lookup of several points at, and the table.
    of_table: Option<(String, String)>,
}

impl Scope {
    /// Those that point at this record through this lookup.
    pub(super) fn pointing(column: &Column, target: &Target, id: &str) -> Self {
        let several = column.targets().len() > 1;
        let of_table = several.then(|| (column.type_slot_name(), target.table.clone()));
        Scope { column: column.name.clone(), id: id.to_owned(), of_table }
    }
}

/// A filter as SQL.
pub(super) struct Conditions<'s> {
    schema: &'s Schema,
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl<'s> Conditions<'s> {
    /// What `$filter` says about records of this table; everything where there is none.
    ///
    /// # Errors
    /// 400 for what does not parse, an unknown property, or a literal of another type than its column.
    pub(super) fn of(schema: &'s Schema, table: &Table, ask: &Ask) -> Result<Self, ApiError> {
        let mut conditions = Conditions { schema, sql: "1".to_owned(), values: Vec::new() };
        if let Some(text) = ask.query.get("$filter") {
            let aliases: HashMap<String, String> = ask.query.aliases();
            conditions.sql = conditions.translate(table, &filter::parse(text, &aliases)?)?;
        }
        Ok(conditions)
    }

    /// Only what comes after this row, in the order of arrival.
    pub(super) fn after(&mut self, row: i64) {
        let mark = self.value(Value::Integer(row));
        self.sql = format!("({}) AND _row > {mark}", self.sql);
    }

    /// Only what this scope holds.
    pub(super) fn within(&mut self, scope: Scope) {
        let mark = self.value(Value::Text(scope.id));
        self.sql = format!("({}) AND \"{}\" = {mark}", self.sql, scope.column);
        if let Some((column, table)) = scope.of_table {
            let mark = self.value(Value::Text(table));
            self.sql = format!("{} AND \"{column}\" = {mark}", self.sql);
        }
    }

    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn translate(&mut self, table: &Table, filter: &Filter) -> Result<String, ApiError> {
        match filter {
            Filter::And(terms) => self.several(table, terms, "AND"),
            Filter::Or(terms) => match same_property(terms) {
                Some((property, literals)) => {
                    let (place, column) = self.place(table, property)?;
                    let mut marks = Vec::new();
                    for literal in literals {
                        let value = literal.stored(column)?;
                        marks.push(self.value(value));
                    }
                    Ok(format!("{place} IN ({})", marks.join(", ")))
                }
                None => self.several(table, terms, "OR"),
            },
            Filter::Not(inner) => {
                let inner = self.translate(table, inner)?;
                Ok(format!("NOT coalesce(({inner}), 0)"))
            }
            Filter::Compare { property, operator, literal } => {
                let (place, column) = self.place(table, property)?;
                let value = literal.stored(column)?;
                let is_null = value == Value::Null;
                let mark = self.value(value);
                let operator = match operator {
                    Operator::Equal if is_null => "IS",
                    Operator::Equal => "=",
                    Operator::NotEqual => "IS NOT",
                    Operator::Greater => ">",
                    Operator::GreaterOrEqual => ">=",
                    Operator::Less => "<",
                    Operator::LessOrEqual => "<=",
                };
                Ok(format!("{place} {operator} {mark}"))
            }
            Filter::Among { property, values, .. } if values.is_empty() => {
                self.place(table, property).map(|_| "0".to_owned())
            }
            Filter::Among { how: Among::In, property, values } => {
                let (place, column) = self.place(table, property)?;
                let mut marks = Vec::new();
                for value in values {
                    let value = loose(value, column)?;
                    marks.push(self.value(value));
                }
                Ok(format!("{place} IN ({})", marks.join(", ")))
            }
            Filter::Among { how: Among::ContainValues, property, values } => {
                let (place, column) = self.place(table, property)?;
                if !matches!(column.kind, Kind::MultiChoice { .. } | Kind::Text { .. }) {
                    return Err(no_signature(property, "a multi-select"));
                }
                let mut terms = Vec::new();
                for value in values {
                    let mark = self.value(Value::Text(format!(",{value},")));
                    terms.push(format!("instr(',' || {place} || ',', {mark}) > 0"));
                }
                Ok(format!("({})", terms.join(" OR ")))
            }
            Filter::Match { part, property, text } => {
                let (place, column) = self.place(table, property)?;
                if !matches!(column.kind, Kind::Text { .. } | Kind::Memo { .. }) {
                    return Err(no_signature(property, "a text"));
                }
                let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                let pattern = match part {
                    Part::Anywhere => format!("%{escaped}%"),
                    Part::Start => format!("{escaped}%"),
                    Part::End => format!("%{escaped}"),
                };
                let mark = self.value(Value::Text(pattern));
                Ok(format!("{place} LIKE {mark} ESCAPE '\\'"))
            }
        }
    }

    /// The SQL of a property and its column; `primarycontactid/fullname` is that of the record that a lookup points at.
    fn place<'t>(&self, table: &'t Table, property: &str) -> Result<(String, &'t Column), ApiError>
    where
        's: 't,
    {
        let unknown = || ApiError::unknown_query_property(property, table);
        let Some((navigation, inner)) = property.split_once('/') else {
            let column = table.property(property).ok_or_else(unknown)?;
            return Ok((format!("\"{}\".\"{}\"", table.logical_name, column.name), column));
        };
        let (lookup, targets) = table.navigation(navigation).ok_or_else(unknown)?;
        let [target] = targets.as_slice() else {
            return Err(ApiError::not_played("a filter through an owner"));
        };
        let to = self.schema.logical(&target.table).ok_or_else(unknown)?;
        let column = to.property(inner).ok_or_else(|| ApiError::unknown_query_property(inner, to))?;
        let mut sql = format!(
            "(SELECT to_.\"{}\" FROM \"{}\" AS to_ WHERE to_.\"{}\" = \"{}\".\"{}\"",
            column.name, to.logical_name, to.primary_id, table.logical_name, lookup.name
        );
        if lookup.targets().len() > 1 {
            let slot = lookup.type_slot_name();
            sql.push_str(&format!(" AND \"{}\".\"{slot}\" = '{}'", table.logical_name, target.table));
        }
        sql.push(')');
        Ok((sql, column))
    }

    /// Terms joined in halves, so that a thousand of them do not nest a thousand deep in SQLite.
    fn several(&mut self, table: &Table, terms: &[Filter], word: &str) -> Result<String, ApiError> {
        match terms {
            [] => Ok("1".to_owned()),
            [only] => Ok(format!("({})", self.translate(table, only)?)),
            _ => {
                let (first, second) = terms.split_at(terms.len() / 2);
                let first = self.several(table, first, word)?;
                let second = self.several(table, second, word)?;
                Ok(format!("({first} {word} {second})"))
            }
        }
    }
}

/// `a eq 1 or a eq 2 or …`: the one property and its values. Bulk look-ups have hundreds of terms and an index to use.
pub(super) fn same_property(terms: &[Filter]) -> Option<(&str, Vec<&Literal>)> {
    let mut name = None;
    let mut literals = Vec::new();
    for term in terms {
        let Filter::Compare { property, operator: Operator::Equal, literal } = term else { return None };
        if *name.get_or_insert(property.as_str()) != property || *literal == Literal::Null {
            return None;
        }
        literals.push(literal);
    }
    name.map(|name| (name, literals))
}

/// A quoted value of `In`, which stands for whatever type its column has.
fn loose(value: &str, column: &Column) -> Result<Value, ApiError> {
    match column.kind {
        Kind::Text { .. } | Kind::Memo { .. } | Kind::MultiChoice { .. } => Ok(Value::Text(value.to_owned())),
        _ => Literal::from_word(value).stored(column),
    }
}

fn no_signature(property: &str, wanted: &str) -> ApiError {
    ApiError::query_syntax(format!(
        "No function signature for the function matches the specified arguments: '{property}' is not {wanted}."
    ))
}
