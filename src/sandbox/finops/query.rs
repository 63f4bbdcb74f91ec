//! Reads: one row by its whole key, many by `$filter`, page after page, within the client's company or across companies.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::params_from_iter;
use rusqlite::types::Value;
use serde_json::{Map, Value as Json};

use super::super::ask::{Answer, Ask};
use super::super::conditions::same_property;
use super::super::filter::{self, Filter, Operator};
use super::super::literal::Literal;
use super::super::store::Session;
use super::model::{COMPANY, Column, Entity, Kind, Model};
use super::refusal::Refusal;
use super::rows::Row;
use super::{Finops, values};

/// The columns of a row in SQL, in the order of the entity's.
pub(super) fn column_list(entity: &Entity) -> String {
    let names: Vec<String> = entity.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    names.join(", ")
}

/// The row in a result of `_row`, `_version` and [`column_list`].
pub(super) fn stored(entity: &Entity, row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let values =
        (0..entity.columns.len()).map(|index| row.get(index + 2)).collect::<rusqlite::Result<_>>()?;
    Ok(Row { number: row.get(0)?, version: row.get(1)?, values })
}

/// Asks for all columns of one row that stands alone.
pub(super) struct Whole<'a>(pub(super) &'a Ask);

/// The row as JSON, all columns, with its context.
pub(super) fn record(model: &Model, entity: &Entity, row: &Row, Whole(ask): Whole<'_>) -> Map<String, Json> {
    let mut record = Map::new();
    let context = format!("{}$metadata#{}/$entity", Finops::root(ask), entity.set);
    record.insert("@odata.context".to_owned(), Json::from(context));
    record.extend(selected(model, entity, row, &(0..entity.columns.len()).collect::<Vec<_>>()));
    record
}

fn selected(model: &Model, entity: &Entity, row: &Row, columns: &[usize]) -> Map<String, Json> {
    let mut record = Map::new();
    record.insert("@odata.etag".to_owned(), Json::from(row.etag()));
    for &index in columns {
        let column = &entity.columns[index];
        record.insert(column.name.clone(), values::served(model, &column.kind, &row.values[index]));
    }
    record
}

impl Finops {
    /// One row by its key.
    ///
    /// # Errors
    /// 404 without the row or when it is another company's, 400 for an unknown column in `$select`.
    pub(super) fn one(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        key: &[Value],
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        ask.query.only(&["$select"])?;
        let selection = Selection::parse(entity, ask)?;
        let row = self.find(session, entity, key, ask)?;
        let row = row.ok_or_else(|| Refusal::not_found(&format!("{}{}", Finops::root(ask), ask.path)))?;
        let mut body = Map::new();
        let context = format!("{}$metadata#{}{}/$entity", Finops::root(ask), entity.set, selection.context());
        body.insert("@odata.context".to_owned(), Json::from(context));
        body.extend(selected(&self.model, entity, &row, &selection.columns));
        Ok(Answer::json(200, Json::Object(body).to_string().into_bytes()).with("ETag", row.etag()))
    }

    /// The rows that match, a page at a time.
    ///
    /// # Errors
    /// 400 for anything in the query that does not parse or names an unknown column.
    pub(super) fn many(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        ask.query.only(&["$select", "$filter", "$orderby", "$top", "$skip", "$count"])?;
        let selection = Selection::parse(entity, ask)?;
        let conditions = self.conditions(entity, ask)?;
        let order = order(entity, ask)?;
        let (top, skip) = (number(ask, "$top")?, number(ask, "$skip")?.unwrap_or(0));
        let page = ask.prefer.page_rows_max.unwrap_or(u32::MAX).min(self.options.page_rows_max);
        let wanted = top.map_or(u64::from(page), |top| top.min(u64::from(page)));
        let sql = format!(
            "SELECT _row, _version, {} FROM {} WHERE {} ORDER BY {order} LIMIT {} OFFSET {skip}",
            column_list(entity),
            entity.rows(),
            conditions.sql,
            wanted + 1
        );
        let mut records = Vec::new();
        let mut more = false;
        let statement = session.statement(&sql)?;
        let mut rows = statement.query(params_from_iter(&conditions.values))?;
        while let Some(row) = rows.next()? {
            if records.len() as u64 == wanted {
                more = true;
                break;
            }
            let row = stored(entity, row)?;
            records.push(Json::Object(selected(&self.model, entity, &row, &selection.columns)));
        }
        drop(rows);
        let mut body = Map::new();
        let context = format!("{}$metadata#{}{}", Finops::root(ask), entity.set, selection.context());
        body.insert("@odata.context".to_owned(), Json::from(context));
        if ask.query.get("$count") == Some("true") {
            body.insert("@odata.count".to_owned(), Json::from(count_of(session, entity, &conditions)?));
        }
        body.insert("value".to_owned(), Json::Array(records));
        let left = top.map(|top| top - wanted);
        if more && left != Some(0) {
            body.insert(
                "@odata.nextLink".to_owned(),
                Json::from(next_link(entity, ask, skip + wanted, left)),
            );
        }
        Ok(Answer::json(200, Json::Object(body).to_string().into_bytes()))
    }

    /// `CustomerGroups/$count`: how many rows match, as plain text.
    ///
    /// # Errors
    /// As [`Finops::many`].
    pub(super) fn count(
        &self,
        session: &mut Session<'_>,
        entity: &Entity,
        ask: &Ask,
    ) -> Result<Answer, Refusal> {
        ask.query.only(&["$filter"])?;
        let conditions = self.conditions(entity, ask)?;
        let body = count_of(session, entity, &conditions)?.to_string().into_bytes();
        Ok(Answer { content_type: Some("text/plain"), body, ..Answer::empty(200) })
    }

    /// The filter, within the client's company unless it asks across companies.
    fn conditions(&self, entity: &Entity, ask: &Ask) -> Result<Conditions<'_>, Refusal> {
        let mut conditions = Conditions { model: &self.model, sql: "1".to_owned(), values: Vec::new() };
        if let Some(text) = ask.query.get("$filter") {
            conditions.sql = conditions.translate(entity, &filter::parse(text, &ask.query.aliases())?)?;
        }
        if entity.company().is_some() && !self.across(ask) {
            let mark = conditions.value(Value::Text(self.options.company_of(&ask.caller).to_owned()));
            conditions.sql = format!("({}) AND \"{COMPANY}\" = {mark}", conditions.sql);
        }
        Ok(conditions)
    }
}

fn count_of(session: &mut Session<'_>, entity: &Entity, conditions: &Conditions<'_>) -> Result<i64, Refusal> {
    let sql = format!("SELECT count(*) FROM {} WHERE {}", entity.rows(), conditions.sql);
    let bound = params_from_iter(&conditions.values);
    Ok(session.statement(&sql)?.query_row(bound, |row| row.get(0))?)
}

/// The same question for what comes after so many rows.
fn next_link(entity: &Entity, ask: &Ask, skip: u64, left: Option<u64>) -> String {
    let mut link = format!("{}{}?", Finops::root(ask), entity.set);
    for name in ["cross-company", "$select", "$filter", "$orderby", "$count"] {
        if let Some(value) = ask.query.get(name) {
            link.push_str(&format!("{name}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
    }
    for (name, value) in ask.query.aliases() {
        link.push_str(&format!("@{name}={}&", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
    }
    if let Some(left) = left {
        link.push_str(&format!("$top={left}&"));
    }
    link.push_str(&format!("$skip={skip}"));
    link
}

fn number(ask: &Ask, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = ask.query.get(name) else { return Ok(None) };
    text.parse::<u32>().map(|number| Some(u64::from(number))).map_err(|_| {
        Refusal::malformed(format!(
            "Invalid value '{text}' for {name} query option found. The {name} query option requires a non-negative \
             integer value."
        ))
    })
}

fn order(entity: &Entity, ask: &Ask) -> Result<String, Refusal> {
    let mut order = Vec::new();
    for part in ask.query.get("$orderby").into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        let (name, direction) = part.split_once(' ').unwrap_or((part, "asc"));
        let column = queried(entity, name)?;
        let direction = match direction.trim() {
            "asc" => "ASC",
            "desc" => "DESC",
            _ => return Err(Refusal::malformed(format!("Syntax error in '$orderby={part}'."))),
        };
        order.push(format!("\"{}\" {direction}", column.name));
    }
    order.push("_row".to_owned());
    Ok(order.join(", "))
}

/// Whether the text stands for others: `'*retail*'`.
fn is_wildcard(literal: &Literal) -> bool {
    matches!(literal, Literal::Text(text) if text.contains('*'))
}

fn queried<'e>(entity: &'e Entity, name: &str) -> Result<&'e Column, Refusal> {
    let found = entity.column(name).map(|(_, column)| column);
    found.ok_or_else(|| Refusal::unknown_query_property(entity, name))
}

/// Which columns an answer carries.
struct Selection {
    columns: Vec<usize>,
    selected: Option<String>,
}

impl Selection {
    fn parse(entity: &Entity, ask: &Ask) -> Result<Self, Refusal> {
        let Some(select) = ask.query.get("$select") else {
            return Ok(Selection { columns: (0..entity.columns.len()).collect(), selected: None });
        };
        let mut columns = Vec::new();
        for name in select.split(',').map(str::trim) {
            let found = entity.column(name).map(|(index, _)| index);
            let index = found.ok_or_else(|| Refusal::unknown_query_property(entity, name))?;
            if !columns.contains(&index) {
                columns.push(index);
            }
        }
        Ok(Selection { columns, selected: Some(select.to_owned()) })
    }

    fn context(&self) -> String {
        self.selected.as_ref().map_or_else(String::new, |selected| format!("({selected})"))
    }
}

/// A filter as SQL.
struct Conditions<'m> {
    model: &'m Model,
    sql: String,
    values: Vec<Value>,
}

impl Conditions<'_> {
    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn translate(&mut self, entity: &Entity, filter: &Filter) -> Result<String, Refusal> {
        match filter {
            Filter::And(terms) => self.several(entity, terms, "AND"),
            Filter::Or(terms) => match same_property(terms) {
                Some((property, literals)) if !literals.iter().copied().any(is_wildcard) => {
                    let column = queried(entity, property)?;
                    let mut marks = Vec::new();
                    for literal in literals {
                        let value = values::of_literal(self.model, column, literal)?;
                        marks.push(self.value(value));
                    }
                    Ok(format!("\"{}\" IN ({})", column.name, marks.join(", ")))
                }
                _ => self.several(entity, terms, "OR"),
            },
            Filter::Not(inner) => Ok(format!("NOT ({})", self.translate(entity, inner)?)),
            Filter::Compare { property, operator, literal } => {
                self.compare(queried(entity, property)?, *operator, literal)
            }
            // What other services call `contains` is `eq '*…*'` here. Source: dynamics.md §6.1.
            Filter::Match { .. } | Filter::Among { .. } => {
                Err(Refusal::malformed("The function in the $filter is not supported."))
            }
        }
    }

    fn compare(&mut self, column: &Column, operator: Operator, literal: &Literal) -> Result<String, Refusal> {
        let equality = matches!(operator, Operator::Equal | Operator::NotEqual);
        if matches!(column.kind, Kind::Enum(_)) && !equality {
            return Err(Refusal::malformed(format!(
                "A binary operator with incompatible types was detected: '{}' is compared with eq and ne alone.",
                self.model.type_name(&column.kind)
            )));
        }
        if let (Kind::Text(_), Literal::Text(text)) = (&column.kind, literal)
            && equality
            && is_wildcard(literal)
        {
            let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
            let mark = self.value(Value::Text(escaped.replace('*', "%")));
            let not = if operator == Operator::NotEqual { "NOT " } else { "" };
            return Ok(format!("\"{}\" {not}LIKE {mark} ESCAPE '\\'", column.name));
        }
        let mark = {
            let value = values::of_literal(self.model, column, literal)?;
            self.value(value)
        };
        let operator = match operator {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
        };
        Ok(format!("\"{}\" {operator} {mark}", column.name))
    }

    /// Terms joined in halves, so that a thousand of them do not nest a thousand deep in SQLite.
    fn several(&mut self, entity: &Entity, terms: &[Filter], word: &str) -> Result<String, Refusal> {
        match terms {
            [] => Ok("1".to_owned()),
            [only] => Ok(format!("({})", self.translate(entity, only)?)),
            _ => {
                let (first, second) = terms.split_at(terms.len() / 2);
                let first = self.several(entity, first, word)?;
                let second = self.several(entity, second, word)?;
                Ok(format!("({first} {word} {second})"))
            }
        }
    }
}
