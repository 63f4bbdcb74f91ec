//! Reads of records: one by key, many by `$filter`, page after page.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension, Row, params_from_iter};
use serde_json::{Map, Value as Json};

use super::ask::{Answer, Ask, Condition};
use super::conditions::Conditions;
pub(super) use super::conditions::Scope;
use super::error::ApiError;
use super::expand;
use super::schema::{Column, Kind, Schema, Table};
use super::store::Session;

/// Records on one page at most. Source: dynamics.md §4.4.
pub(super) const PAGE_ROWS_MAX: u32 = 5_000;

/// One record by its GUID, with its ETag.
///
/// # Errors
/// 404 without the record, 400 for an unknown property in `$select` or `$expand`.
pub(super) fn one(session: &mut Session<'_>, table: &Table, id: &str, ask: &Ask) -> Result<Answer, ApiError> {
    ask.query.only(&["$select", "$expand"])?;
    let Loaded { version, record } =
        load(session, table, id, ask)?.ok_or_else(|| ApiError::does_not_exist(table, id))?;
    if ask.if_none_match == Some(Condition::Version(version)) {
        return Ok(Answer::empty(304));
    }
    let mut body = Map::new();
    let context = format!("{}$metadata#{}{}/$entity", ask.root(), table.set_name, context(ask));
    body.insert("@odata.context".to_owned(), Json::from(context));
    body.extend(record);
    Ok(Answer::json(200, Json::Object(body).to_string().into_bytes())
        .with("ETag", format!("W/\"{version}\"")))
}

/// A record as a request wants it.
pub(super) struct Loaded {
    version: i64,
    pub(super) record: Map<String, Json>,
}

/// A record's version and what the request selects and expands of it.
///
/// # Errors
/// 400 for an unknown property.
pub(super) fn load(
    session: &mut Session<'_>,
    table: &Table,
    id: &str,
    ask: &Ask,
) -> Result<Option<Loaded>, ApiError> {
    let selection = Selection::parse(session.schema(), table, ask)?;
    let expansions = expand::of(session.schema(), table, ask)?;
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
    let Some((version, mut record)) = found else { return Ok(None) };
    expand::fill(session, table, &expansions, &mut record)?;
    Ok(Some(Loaded { version, record }))
}

/// Whether the request's options make sense for this table.
///
/// # Errors
/// 400 for anything in the query that does not parse or names an unknown property.
pub(super) fn check(schema: &Schema, table: &Table, ask: &Ask) -> Result<(), ApiError> {
    Selection::parse(schema, table, ask)?;
    Conditions::of(schema, table, ask)?;
    order(table, ask)?;
    number_option(ask, "$top")?;
    expand::of(schema, table, ask).map(drop)
}

/// The records of one page, and where the next begins.
pub(super) struct Page {
    pub(super) records: Vec<Map<String, Json>>,
    next: Option<Place>,
}

/// The records that match, a page at a time; `scope` holds those behind a record's address.
///
/// # Errors
/// 400 for anything in the query that does not parse or names an unknown property.
pub(super) fn many(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    scope: Option<Scope>,
) -> Result<Answer, ApiError> {
    ask.query.only(&["$select", "$filter", "$expand", "$orderby", "$top", "$count", "$skiptoken"])?;
    let mut body = Map::new();
    let context = format!("{}$metadata#{}{}", ask.root(), table.set_name, context(ask));
    body.insert("@odata.context".to_owned(), Json::from(context));
    if ask.query.get("$count") == Some("true") {
        body.insert("@odata.count".to_owned(), Json::from(count_of(session, table, ask, scope.clone())?));
    }
    let page = page(session, table, ask, scope)?;
    body.insert("value".to_owned(), Json::Array(page.records.into_iter().map(Json::Object).collect()));
    if let Some(next) = page.next {
        body.insert("@odata.nextLink".to_owned(), Json::from(next.link(ask)));
    }
    Ok(Answer::json(200, Json::Object(body).to_string().into_bytes()))
}

/// One page of the records that match.
///
/// # Errors
/// As [`many`].
pub(super) fn page(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    scope: Option<Scope>,
) -> Result<Page, ApiError> {
    let selection = Selection::parse(session.schema(), table, ask)?;
    let expansions = expand::of(session.schema(), table, ask)?;
    let mut conditions = Conditions::of(session.schema(), table, ask)?;
    if let Some(scope) = scope {
        conditions.within(scope);
    }
    let order = order(table, ask)?;
    let top = number_option(ask, "$top")?;
    let wanted = ask.prefer.page_rows_max.unwrap_or(PAGE_ROWS_MAX).min(PAGE_ROWS_MAX);
    let length = top.map_or(wanted, |top| top.min(PAGE_ROWS_MAX));
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
        u64::from(length) + 1
    );
    let mut records = Vec::new();
    let mut last_row = 0;
    let mut more = false;
    let statement = session.statement(&sql)?;
    let mut rows = statement.query(params_from_iter(conditions.values))?;
    while let Some(row) = rows.next()? {
        if records.len() as u64 == u64::from(length) {
            more = true;
            break;
        }
        last_row = row.get::<_, i64>(0)?;
        records.push(selection.record(table, row, ask)?);
    }
    drop(rows);
    for record in &mut records {
        expand::fill(session, table, &expansions, record)?;
    }
    // `$top` asks for so many records and no more, so it has no next page.
    let next = (more && top.is_none()).then(|| {
        if ask.query.get("$orderby").is_some() {
            Place::Offset(offset + i64::from(length))
        } else {
            Place::AfterRow(last_row)
        }
    });
    Ok(Page { records, next })
}

/// `accounts/$count`: how many records match, as plain text.
///
/// # Errors
/// As [`many`].
pub(super) fn count(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    scope: Option<Scope>,
) -> Result<Answer, ApiError> {
    ask.query.only(&["$filter"])?;
    let count = count_of(session, table, ask, scope)?;
    Ok(Answer {
        content_type: Some("text/plain"),
        body: count.to_string().into_bytes(),
        ..Answer::empty(200)
    })
}

fn count_of(
    session: &mut Session<'_>,
    table: &Table,
    ask: &Ask,
    scope: Option<Scope>,
) -> Result<i64, ApiError> {
    let mut conditions = Conditions::of(session.schema(), table, ask)?;
    if let Some(scope) = scope {
        conditions.within(scope);
    }
    let sql = format!("SELECT count(*) FROM \"{}\" WHERE {}", table.logical_name, conditions.sql);
    Ok(session.statement(&sql)?.query_row(params_from_iter(conditions.values), |row| row.get(0))?)
}

/// `(name,revenue)` behind the set's name in `@odata.context`.
fn context(ask: &Ask) -> String {
    ask.query.get("$select").map_or_else(String::new, |select| format!("({select})"))
}

/// Which columns an answer carries.
struct Selection<'t> {
    table: &'t Table,
    columns: Vec<&'t Column>,
    /// Where annotations are asked for: the schema, to find the names of what lookups point at.
    named: Option<&'t Schema>,
}

impl<'t> Selection<'t> {
    fn parse(schema: &'t Schema, table: &'t Table, ask: &Ask) -> Result<Self, ApiError> {
        let named = ask.prefer.annotations.then_some(schema);
        let Some(select) = ask.query.get("$select") else {
            return Ok(Selection { table, columns: table.columns.iter().collect(), named });
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
        Ok(Selection { table, columns, named })
    }

    fn sql(&self) -> String {
        let mut sql = String::new();
        for column in &self.columns {
            sql.push_str(&format!(", \"{}\"", column.name));
            if column.targets().len() > 1 {
                sql.push_str(&format!(", \"{}\"", column.type_slot_name()));
            }
            if let Some(schema) = self.named.filter(|_| !column.targets().is_empty()) {
                sql.push_str(&format!(", {}", self.name_sql(schema, column)));
            }
        }
        sql
    }

    /// The name of the record that a lookup points at.
    fn name_sql(&self, schema: &Schema, column: &Column) -> String {
        let mut cases = String::new();
        for target in column.targets() {
            let Some(to) = schema.logical(&target.table) else { continue };
            let (table, name, lookup) = (&self.table.logical_name, &to.primary_name, &column.name);
            cases.push_str(&format!(
                "(SELECT to_.\"{name}\" FROM \"{}\" AS to_ WHERE to_.\"{}\" = \"{table}\".\"{lookup}\"), ",
                to.logical_name, to.primary_id
            ));
        }
        format!("coalesce({cases}NULL, NULL)")
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
            let mut name: Option<String> = None;
            if self.named.is_some() && !column.targets().is_empty() {
                name = row.get(index)?;
                index += 1;
            }
            if ask.prefer.annotations && !value.is_null() {
                if let Some(label) = name.or_else(|| formatted(column, &value)) {
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
        Kind::Integer { .. } => Some(grouped(&value.as_i64()?.to_string())),
        Kind::Decimal { precision, .. } | Kind::Double { precision, .. } => {
            Some(grouped(&format!("{:.*}", *precision as usize, value.as_f64()?)))
        }
        Kind::Money { .. } => {
            let amount = value.as_f64()?;
            let sign = if amount < 0.0 { "-" } else { "" };
            Some(format!("{sign}${}", grouped(&format!("{:.2}", amount.abs()))))
        }
        Kind::Date => {
            let date: jiff::civil::Date = value.as_str()?.parse().ok()?;
            Some(date.strftime("%-m/%-d/%Y").to_string())
        }
        Kind::DateTime => {
            let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
            Some(at.strftime("%-m/%-d/%Y %-I:%M %p").to_string())
        }
        _ => None,
    }
}

/// `1,234,567.89`
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + fraction
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

    fn link(&self, ask: &Ask) -> String {
        let mut link = format!("{}{}?", ask.root(), ask.path);
        for name in ["$select", "$filter", "$expand", "$orderby", "$count"] {
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
        order.push(format!("\"{}\".\"{}\" {direction}", table.logical_name, column.name));
    }
    order.push("_row".to_owned());
    Ok(order.join(", "))
}
