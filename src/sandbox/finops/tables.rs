//! The tables of SQLite in which the rows of Finance & Operations stand; each is made when it is first needed.
//!
//! An environment has some five thousand entities, and SQLite looks through all tables for each that is made.

use rusqlite::Connection;

use super::model::{COMPANY, Column, Entity, Kind};

/// Makes what is not an entity's: the number sequences.
///
/// # Errors
/// What SQLite says.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS fo_sequences (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;",
    )
}

/// Makes the entity's table, columns and indexes where they are missing, in a transaction of its own.
///
/// # Errors
/// What SQLite says; nothing was made then.
pub(super) fn make(connection: &Connection, entity: &Entity) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let made = table(connection, entity);
    connection.execute_batch(if made.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    made
}

fn table(connection: &Connection, entity: &Entity) -> rusqlite::Result<()> {
    let rows = entity.rows();
    let columns: Vec<String> = entity.columns.iter().map(definition).collect();
    // AUTOINCREMENT: the number of a deleted row is not given again, as RecIds are not.
    connection.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS {rows} (_row INTEGER PRIMARY KEY AUTOINCREMENT, _version INTEGER NOT NULL, {});",
        columns.join(", ")
    ))?;
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let found = statement.query_map([rows.trim_matches('"')], |row| row.get::<_, String>(0))?;
    let found = found.collect::<rusqlite::Result<Vec<String>>>()?;
    for column in entity.columns.iter().filter(|column| !found.contains(&column.name)) {
        connection.execute_batch(&format!("ALTER TABLE {rows} ADD COLUMN {};", definition(column)))?;
    }
    let key: Vec<String> = entity.key_columns().map(|(_, column)| format!("\"{}\"", column.name)).collect();
    let mut indexes = format!(
        "CREATE UNIQUE INDEX IF NOT EXISTS \"fo_{}_key\" ON {rows} ({});",
        entity.set,
        key.join(", ")
    );
    // Who depends on a row is asked before it is deleted.
    for relation in &entity.relations {
        let name = &entity.columns[relation.column].name;
        let company = entity.company().map_or_else(String::new, |_| format!("\"{COMPANY}\", "));
        indexes.push_str(&format!(
            "CREATE INDEX IF NOT EXISTS \"fo_{}_{name}\" ON {rows} ({company}\"{name}\");",
            entity.set
        ));
    }
    connection.execute_batch(&indexes)
}

/// The column's name and type. Texts compare without case, as the application's database does (here for ASCII alone).
fn definition(column: &Column) -> String {
    let sql_type = match column.kind {
        Kind::Text(_) => "TEXT COLLATE NOCASE",
        Kind::Int32 | Kind::Int64 | Kind::Enum(_) => "INTEGER",
        Kind::Real => "REAL",
        Kind::Date | Kind::DateTime | Kind::Guid | Kind::Binary => "TEXT",
    };
    format!("\"{}\" {sql_type}", column.name)
}
