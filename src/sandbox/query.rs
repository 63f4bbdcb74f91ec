//! Reads of records: one by key, many by `$filter`, page after page.

use std::collections::HashMap;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::types::{Value, ValueRef};
use rusqlite::{OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value as Json};

use super::ask::{Answer, Ask, Condition};
use super::error::ApiError;
use super::filter::{self, Filter, Operator, Part};
use super::literal::Literal;
use super::schema::{Column, Kind, Table};
use super::store::Session;

/// Records on one page at most. Source: dynamics.md §4.4.
pub(super) const PAGE_ROWS_MAX: u32 = 5_000;

/// One record by its GUID, with its ETag.
///
/// # Errors
/// 404 without the record, 400 for an unknown property in `$select`.
pub(super) fn one(session: &mut Session<'_>, table: &Table, id: &str, ask: &Ask) -> Result<Answer, ApiError> {
    ask.query.only(&["$select"])?;
    let selection = Selection::parse(table, ask)?;
    let sql = format!(
        "SELECT _row, versionnumber{} FROM \"{}\" WHERE \"{}\" = ?1",
        selection.sql(),
        table.logical_name,
        table.primary_id
    );
    let found = session
        .statement(&sql)?
        .query_row([id], |row| Ok((row.get::<_, i64>(1)?, selection.record(table, row, ask)?)))
        .optional()?;
    let (version, record) = found.ok_or_else(|| ApiError::does_not_exist(table, id))?;
    if ask.if_none_match == Some(Condition::Version(version)) {
        return Ok(Answer::empty(304));
    }
    let mut body = Map::new();
    let context = format!("{}$metadata#{}{}/$entity", ask.root(), table.set_name, selection.context());
    body.insert("@odata.context".to_owned(), Json::from(context));
    body.extend(record);
    Ok(Answer::json(200, Json::Object(body).to_string().into_bytes())
        .with("ETag", format!("W/\"{version}\"")))
}

/// The records that match, a page at a time.
///
/// # Errors
/// 400 for anything in the query that does not parse or names an unknown property.
pub(super) fn many(session: &mut Session<'_>, table: &Table, ask: &Ask) -> Result<Answer, ApiError> {
    ask.query.only(&["$select", "$filter", "$orderby", "$top", "$count", "$skiptoken"])?;
    let selection = Selection::parse(table, ask)?;
    let mut conditions = Conditions::of(table, ask)?;
    let filter = (conditions.sql.clone(), conditions.values.clone());
    let order = order(table, ask)?;
    let top = number_option(ask, "$top")?;
    let wanted = ask.prefer.page_rows_max.unwrap_or(PAGE_ROWS_MAX).min(PAGE_ROWS_MAX);
    let page = top.map_or(wanted, |top| top.min(PAGE_ROWS_MAX));
    let place = Place::parse(ask)?;
    let mut offset = 0;
    match place {
        Some(Place::AfterRow(row)) => conditions.after(row),
        Some(Place::Offset(rows)) => offset = rows,
        None => {}
    }
    let sql = format!(
        "SELECT _row, versionnumber{} FROM \"{}\" WHERE {} ORDER BY {order} LIMIT {} OFFSET {offset}",
        selection.sql(),
        table.logical_name,
        conditions.sql,
        u64::from(page) + 1
    );
    let mut records = Vec::new();
    let mut last_row = 0;
    let mut more = false;
    let statement = session.statement(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    while let Some(row) = rows.next()? {
        if records.len() as u64 == u64::from(page) {
            more = true;
            break;
        }
        last_row = row.get::<_, i64>(0)?;
        records.push(Json::Object(selection.record(table, row, ask)?));
    }
    drop(rows);
    let mut body = Map::new();
    let context = format!("{}$metadata#{}{}", ask.root(), table.set_name, selection.context());
    body.insert("@odata.context".to_owned(), Json::from(context));
    if ask.query.get("$count") == Some("true") {
        body.insert("@odata.count".to_owned(), Json::from(count_of(session, table, filter)?));
    }
    body.insert("value".to_owned(), Json::Array(records));
    // `$top` asks for so many records and no more, so it has no next page.
    if more && top.is_none() {
        let next = if ask.query.get("$orderby").is_some() {
            Place::Offset(offset + i64::from(page))
        } else {
            Place::AfterRow(last_row)
        };
        body.insert("@odata.nextLink".to_owned(), Json::from(next.link(table, ask)));
    }
    Ok(Answer::json(200, Json::Object(body).to_string().into_bytes()))
}

/// `accounts/$count`: how many records match, as plain text.
///
/// # Errors
/// As [`many`].
pub(super) fn count(session: &mut Session<'_>, table: &Table, ask: &Ask) -> Result<Answer, ApiError> {
    ask.query.only(&["$filter"])?;
    let conditions = Conditions::of(table, ask)?;
    let count = count_of(session, table, (conditions.sql, conditions.values))?;
    Ok(Answer {
        content_type: Some("text/plain"),
        body: count.to_string().into_bytes(),
        ..Answer::empty(200)
    })
}

fn count_of(
    session: &mut Session<'_>,
    table: &Table,
    (condition, values): (String, Vec<Value>),
) -> Result<i64, ApiError> {
    let sql = format!("SELECT count(*) FROM \"{}\" WHERE {condition}", table.logical_name);
    Ok(session.statement(&sql)?.query_row(params_from_iter(values), |row| row.get(0))?)
}

/// Which columns an answer carries.
struct Selection<'t> {
    columns: Vec<&'t Column>,
    selected: Option<String>,
}

impl<'t> Selection<'t> {
    fn parse(table: &'t Table, ask: &Ask) -> Result<Self, ApiError> {
        let Some(select) = ask.query.get("$select") else {
            return Ok(Selection { columns: table.columns.iter().collect(), selected: None });
        };
        let mut columns = Vec::new();
        let mut add = |column: &'t Column| {
            if !columns.iter().any(|known: &&Column| known.name == column.name) {
                columns.push(column);
            }
        };
        for name in select.split(',').map(str::trim) {
            add(table.property(name).ok_or_else(|| ApiError::unknown_query_property(name, table))?);
        }
        // The primary key always comes along.
        add(table.column(&table.primary_id).expect("every table has its primary key column"));
        Ok(Selection { columns, selected: Some(select.to_owned()) })
    }

    fn sql(&self) -> String {
        let mut sql = String::new();
        for column in &self.columns {
            sql.push_str(&format!(", \"{}\"", column.name));
            if column.targets().len() > 1 {
                sql.push_str(&format!(", \"{}\"", column.type_slot_name()));
            }
        }
        sql
    }

    fn context(&self) -> String {
        self.selected.as_ref().map_or_else(String::new, |selected| format!("({selected})"))
    }

    /// The record in a row that starts with the row's number and version.
    fn record(&self, table: &Table, row: &Row<'_>, ask: &Ask) -> rusqlite::Result<Map<String, Json>> {
        let mut record = Map::new();
        let version: i64 = row.get(1)?;
        record.insert("@odata.etag".to_owned(), Json::from(format!("W/\"{version}\"")));
        let mut index = 2;
        for column in &self.columns {
            let property = &column.property;
            let value = served(column, row.get_ref(index)?);
            index += 1;
            let mut target = column.targets().first();
            if column.targets().len() > 1 {
                let name: Option<String> = row.get(index)?;
                target =
                    column.targets().iter().find(|target| Some(target.table.as_str()) == name.as_deref());
                index += 1;
            }
            if ask.prefer.annotations && !value.is_null() {
                if let Some(label) = formatted(column, &value) {
                    record.insert(
                        format!("{property}@OData.Community.Display.V1.FormattedValue"),
                        Json::from(label),
                    );
                }
                if let Some(target) = target {
                    record.insert(
                        format!("{property}@Microsoft.Dynamics.CRM.associatednavigationproperty"),
                        Json::from(target.navigation.as_str()),
                    );
                    record.insert(
                        format!("{property}@Microsoft.Dynamics.CRM.lookuplogicalname"),
                        Json::from(target.table.as_str()),
                    );
                }
            }
            record.insert(property.clone(), value);
        }
        debug_assert!(record.contains_key(&table.primary_id));
        Ok(record)
    }
}

fn served(column: &Column, value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) if matches!(column.kind, Kind::Boolean { .. }) => Json::from(number != 0),
        ValueRef::Integer(number) => Json::from(number),
        ValueRef::Real(number) => Json::from(number),
        ValueRef::Text(text) => Json::from(String::from_utf8_lossy(text)),
    }
}

/// What a person sees in place of a number.
fn formatted(column: &Column, value: &Json) -> Option<String> {
    match &column.kind {
        Kind::Boolean { yes, no, .. } => Some(if value.as_bool()? { yes } else { no }.clone()),
        Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => {
            column.kind.option_label(value.as_i64()?).map(str::to_owned)
        }
        Kind::MultiChoice { .. } => {
            let numbers = value.as_str()?.split(',').filter_map(|number| number.parse().ok());
            let labels: Vec<&str> = numbers.filter_map(|number| column.kind.option_label(number)).collect();
            Some(labels.join("; "))
        }
        _ => None,
    }
}

/// Where the next page begins.
enum Place {
    /// After this row, in the order of arrival.
    AfterRow(i64),
    /// After so many records of another order.
    Offset(i64),
}

impl Place {
    fn parse(ask: &Ask) -> Result<Option<Self>, ApiError> {
        let Some(token) = ask.query.get("$skiptoken") else { return Ok(None) };
        let number = |rest: &str| rest.parse::<i64>().ok().filter(|number| *number >= 0);
        let place = match token.split_at_checked(1) {
            Some(("r", rest)) => number(rest).map(Place::AfterRow),
            Some(("o", rest)) => number(rest).map(Place::Offset),
            _ => None,
        };
        place.map(Some).ok_or_else(|| ApiError::query_syntax("Malformed XML in the Paging Cookie."))
    }

    fn link(&self, table: &Table, ask: &Ask) -> String {
        let mut link = format!("{}{}?", ask.root(), table.set_name);
        for name in ["$select", "$filter", "$orderby", "$count"] {
            if let Some(value) = ask.query.get(name) {
                link.push_str(&format!("{name}={}&", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            }
        }
        for (name, value) in ask.query.aliases() {
            link.push_str(&format!("@{name}={}&", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
        }
        match self {
            Place::AfterRow(row) => link.push_str(&format!("$skiptoken=r{row}")),
            Place::Offset(rows) => link.push_str(&format!("$skiptoken=o{rows}")),
        }
        link
    }
}

fn number_option(ask: &Ask, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(text) = ask.query.get(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| {
        ApiError::query_syntax(format!(
            "Invalid value '{text}' for {name} query option found. The {name} query option requires a non-negative \
             integer value."
        ))
    })
}

fn order(table: &Table, ask: &Ask) -> Result<String, ApiError> {
    let mut order = Vec::new();
    for part in ask.query.get("$orderby").into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        let (name, direction) = part.split_once(' ').unwrap_or((part, "asc"));
        let column = table.property(name).ok_or_else(|| ApiError::unknown_query_property(name, table))?;
        let direction = match direction.trim() {
            "asc" => "ASC",
            "desc" => "DESC",
            _ => return Err(ApiError::query_syntax(format!("Syntax error in '$orderby={part}'."))),
        };
        order.push(format!("\"{}\" {direction}", column.name));
    }
    order.push("_row".to_owned());
    Ok(order.join(", "))
}

/// A filter as SQL.
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn of(table: &Table, ask: &Ask) -> Result<Self, ApiError> {
        let mut conditions = Conditions { sql: "1".to_owned(), values: Vec::new() };
        if let Some(text) = ask.query.get("$filter") {
            let aliases: HashMap<String, String> = ask.query.aliases();
            conditions.sql = conditions.translate(table, &filter::parse(text, &aliases)?)?;
        }
        Ok(conditions)
    }

    fn after(&mut self, row: i64) {
        let mark = self.value(Value::Integer(row));
        self.sql = format!("({}) AND _row > {mark}", self.sql);
    }

    fn value(&mut self, value: Value) -> String {
        self.values.push(value);
        format!("?{}", self.values.len())
    }

    fn translate(&mut self, table: &Table, filter: &Filter) -> Result<String, ApiError> {
        let column = |property: &str| {
            table.property(property).ok_or_else(|| ApiError::unknown_query_property(property, table))
        };
        match filter {
            Filter::And(terms) => self.several(table, terms, "AND"),
            Filter::Or(terms) => match same_property(terms) {
                Some((property, literals)) => {
                    let column = column(property)?;
                    let mut marks = Vec::new();
                    for literal in literals {
                        let value = literal.stored(column)?;
                        marks.push(self.value(value));
                    }
                    Ok(format!("\"{}\" IN ({})", column.name, marks.join(", ")))
                }
                None => self.several(table, terms, "OR"),
            },
            Filter::Not(inner) => {
                let inner = self.translate(table, inner)?;
                Ok(format!("NOT coalesce(({inner}), 0)"))
            }
            Filter::Compare { property, operator, literal } => {
                let column = column(property)?;
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
                Ok(format!("\"{}\" {operator} {mark}", column.name))
            }
            Filter::Match { part, property, text } => {
                let column = column(property)?;
                if !matches!(column.kind, Kind::Text { .. } | Kind::Memo { .. }) {
                    return Err(ApiError::query_syntax(format!(
                        "No function signature for the function matches the specified arguments: '{property}' is not \
                         a text."
                    )));
                }
                let escaped = text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
                let pattern = match part {
                    Part::Anywhere => format!("%{escaped}%"),
                    Part::Start => format!("{escaped}%"),
                    Part::End => format!("%{escaped}"),
                };
                let mark = self.value(Value::Text(pattern));
                Ok(format!("\"{}\" LIKE {mark} ESCAPE '\\'", column.name))
            }
        }
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
