//! A sidecar, the configuration and the workbook's name → the settings of each load, complete and free of contradictions.

use indexmap::IndexMap;

use super::audit::Audit;
use super::fault::{Fault, JsonPath};
use super::json::shortened;
use super::names::{fold_name, has_sheets, workbook_stem};
use super::raw_sidecar::RawSidecar;
use super::settings::Settings;
use super::sidecar::{Concerned, Sidecar, SidecarFaults};
use super::values;
use crate::domain::job::PARTS_MAX;
use crate::domain::settings::{LeftOpen, LoadSettings, Mode};
use crate::domain::table::TableName;

/// The loads of a workbook that came without a sidecar: its first visible sheet, by the defaults.
///
/// # Errors
/// When its name leaves nothing that a table could be called.
pub fn default_loads(workbook_name: &str, settings: &Settings) -> Result<Vec<LoadSettings>, SidecarFaults> {
    match TableName::from_stem(workbook_stem(workbook_name)) {
        Ok(table_name) => {
            Ok(vec![LoadSettings { left_open: LeftOpen::ALL, ..defaults(table_name, settings) }])
        }
        Err(error) => Err(SidecarFaults {
            faults: vec![Fault::of_file(workbook_name, error.to_string())],
            concerned: Concerned::Names(vec![fold_name(workbook_name)]),
        }),
    }
}

fn defaults(table_name: TableName, settings: &Settings) -> LoadSettings {
    let target_entity = table_name.to_string();
    LoadSettings {
        batch_size: settings.batch_size,
        workers: settings.workers,
        ..LoadSettings::plain(table_name, target_entity)
    }
}

impl Sidecar {
    /// The loads that this sidecar asks for: one, or one per entry of `sheets`, in their order.
    ///
    /// # Errors
    /// Every setting that contradicts another, the workbook or the target, at once.
    pub fn loads(
        &self,
        workbook_name: &str,
        settings: &Settings,
    ) -> Result<Vec<LoadSettings>, SidecarFaults> {
        let mut audit = Audit::of(&self.document);
        let loads = match &self.raw.sheets {
            None => {
                let place = Place { own: &self.path, above: &self.path };
                let stem = workbook_stem(workbook_name);
                vec![load(&mut audit, self.raw.clone(), place, stem, settings)]
            }
            Some(sheets) => self.per_sheet(&mut audit, sheets, settings),
        };
        if !has_sheets(workbook_name) {
            for (key, given) in [("sheet", self.raw.sheet.is_some()), ("sheets", self.raw.sheets.is_some())] {
                if given {
                    let sentence =
                        format!("`{workbook_name}` is a CSV file and has no sheets; take `{key}` out");
                    audit.contradiction::<()>(&self.path.key(key), sentence);
                }
            }
        }
        let loads: Option<Vec<LoadSettings>> = loads.into_iter().collect();
        let mut faults = audit.faults;
        faults.sort_by_key(|fault| fault.at);
        // A setting above `sheets` that is wrong is wrong for each of them; once is enough.
        faults.dedup();
        match loads {
            Some(loads) if faults.is_empty() => Ok(loads),
            _ => {
                let concerned = Concerned::Names(vec![fold_name(workbook_name)]);
                Err(SidecarFaults { faults, concerned })
            }
        }
    }

    fn per_sheet(
        &self,
        audit: &mut Audit<'_>,
        sheets: &IndexMap<String, RawSidecar>,
        settings: &Settings,
    ) -> Vec<Option<LoadSettings>> {
        let path = self.path.key("sheets");
        if self.raw.sheet.is_some() {
            let sentence = "`sheet` and `sheets` do not go together; name the sheet in `sheets`".to_owned();
            audit.contradiction::<()>(&self.path.key("sheet"), sentence);
        }
        if sheets.is_empty() || sheets.len() > usize::from(PARTS_MAX) {
            let found = format!("{} sheets", sheets.len());
            audit.wrong_as::<()>(&path, &format!("1 to {PARTS_MAX} sheets"), &found, "");
            return Vec::new();
        }
        let mut loads = Vec::new();
        let mut names: IndexMap<String, &String> = IndexMap::new();
        let mut tables: IndexMap<TableName, &String> = IndexMap::new();
        for (sheet, own) in sheets {
            let path = path.key(sheet);
            if sheet.trim().is_empty() {
                audit.wrong::<()>(&path, "the name of a sheet", sheet, "");
            }
            if let Some(first) = names.insert(fold_name(sheet), sheet) {
                let sentence =
                    format!("`{}` and `{}` are one sheet to Excel", shortened(first), shortened(sheet));
                audit.contradiction::<()>(&path, sentence);
            }
            for (key, given) in [("sheet", own.sheet.is_some()), ("sheets", own.sheets.is_some())] {
                if given {
                    let sentence =
                        format!("`{key}` cannot stand inside `sheets`; the sheet is named already");
                    audit.contradiction::<()>(&path.key(key), sentence);
                }
            }
            let merged = RawSidecar { sheet: Some(sheet.clone()), ..own.clone().over(self.raw.clone()) };
            let place = Place { own: &path, above: &self.path };
            let load = load(audit, merged, place, sheet, settings);
            if let Some(load) = &load
                && let Some(first) = tables.insert(load.table_name.clone(), sheet)
            {
                let sentence = format!(
                    "`{}` and `{}` would both be staged in the table `{}`; give each a `table_name` of its own",
                    shortened(first),
                    shortened(sheet),
                    load.table_name
                );
                audit.contradiction::<()>(&path, sentence);
            }
            loads.push(load);
        }
        loads
    }
}

impl RawSidecar {
    /// These settings, and where they say nothing, those.
    fn over(self, base: RawSidecar) -> RawSidecar {
        RawSidecar {
            target_entity: self.target_entity.or(base.target_entity),
            overwrite: self.overwrite.or(base.overwrite),
            atomic: self.atomic.or(base.atomic),
            legal_entity: self.legal_entity.or(base.legal_entity),
            table_name: self.table_name.or(base.table_name),
            mode: self.mode.or(base.mode),
            key: self.key.or(base.key),
            sheet: self.sheet.or(base.sheet),
            sheets: self.sheets.or(base.sheets),
            columns: self.columns.or(base.columns),
            lookups: self.lookups.or(base.lookups),
            blank: self.blank.or(base.blank),
            timezone: self.timezone.or(base.timezone),
            header_row: self.header_row.or(base.header_row),
            batch_size: self.batch_size.or(base.batch_size),
            workers: self.workers.or(base.workers),
            order: self.order.or(base.order),
            dry_run: self.dry_run.or(base.dry_run),
        }
    }
}

/// Where the settings of one load stand: in its own object, or in the one above that it takes the rest from.
#[derive(Clone, Copy)]
struct Place<'p> {
    own: &'p JsonPath,
    above: &'p JsonPath,
}

impl Place<'_> {
    fn of(self, audit: &Audit<'_>, key: &str) -> JsonPath {
        let own = self.own.key(key);
        if audit.document.holds(&own) { own } else { self.above.key(key) }
    }
}

fn load(
    audit: &mut Audit<'_>,
    raw: RawSidecar,
    place: Place<'_>,
    stem: &str,
    settings: &Settings,
) -> Option<LoadSettings> {
    let mode = raw.mode.unwrap_or_default();
    let key = values::key(audit, raw.key, &place.of(audit, "key"));
    let at_mode = place.of(audit, "mode");
    if mode == Mode::Edit && key.as_ref().is_some_and(|key| !key.is_empty()) {
        let sentence =
            "`mode` is `edit`, which knows a record by the id in its row; take `key` out, or use `upsert`";
        audit.contradiction::<()>(&place.of(audit, "key"), sentence.to_owned());
    }
    // An entity of Finance & Operations has one key, which everybody knows.
    let knows_key = settings.target.is_finops();
    if mode.needs_key() && !knows_key && key.as_ref().is_some_and(Vec::is_empty) {
        let sentence = format!(
            "`mode` is `{}`, which needs to know the records; name the column or columns that do with `key`",
            mode.as_str()
        );
        audit.contradiction::<()>(&at_mode, sentence);
    }
    if mode == Mode::Delete && raw.overwrite == Some(true) {
        let sentence = "`overwrite` sends every row again, and `delete` would not find what it has deleted; take \
                        `overwrite` out and drop only the rows still to be deleted";
        audit.contradiction::<()>(&place.of(audit, "overwrite"), sentence.to_owned());
    }
    let legal_entity = raw.legal_entity.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if legal_entity.is_some() && !settings.target.is_finops() {
        let sentence = format!(
            "`legal_entity` is a setting of Finance & Operations; this configuration writes to {}, which has no legal \
             entities; take it out, or leave it empty",
            settings.target.product()
        );
        audit.contradiction::<()>(&place.of(audit, "legal_entity"), sentence);
    }
    let own_table = raw.table_name.is_some();
    let table_name = values::table_name(audit, raw.table_name, stem, &place.of(audit, "table_name"));
    let columns = values::columns(audit, raw.columns.unwrap_or_default(), &place.of(audit, "columns"));
    let lookups = values::lookups(audit, raw.lookups.unwrap_or_default(), &place.of(audit, "lookups"));
    let timezone = values::timezone(audit, raw.timezone, &place.of(audit, "timezone"));
    let table_name = table_name?;
    let key = key?;
    let left_open = LeftOpen {
        target_entity: raw.target_entity.is_none(),
        table_name: !own_table,
        mode: raw.mode.is_none() && key.is_empty(),
    };
    Some(LoadSettings {
        target_entity: raw
            .target_entity
            .map(|text| text.trim().to_owned())
            .unwrap_or_else(|| table_name.to_string()),
        sheet: raw.sheet,
        header_row: raw.header_row,
        overwrite: raw.overwrite.unwrap_or_default(),
        atomic: raw.atomic.unwrap_or_default(),
        legal_entity,
        mode,
        key,
        columns: columns?,
        lookups: lookups?,
        blank: raw.blank.unwrap_or_default(),
        timezone: timezone?,
        batch_size: raw.batch_size.unwrap_or(settings.batch_size),
        workers: raw.workers.or(settings.workers),
        order: raw.order,
        dry_run: raw.dry_run.unwrap_or_default(),
        left_open,
        ..defaults(table_name, settings)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::super::sidecar::parse_sidecar;
    use super::*;
    use crate::domain::settings::{BlankRule, LookupRule};

    fn settings(target: &str) -> Settings {
        let text = format!(
            r#"{{"dropbox": "d", "lakehouse": "l", "batch_size": 500, "workers": 3, "target": {{{target}}}}}"#
        );
        Settings::parse(Path::new("/srv/config.json"), text.as_bytes()).unwrap()
    }

    fn sandbox() -> Settings {
        settings(r#""kind": "sandbox""#)
    }

    fn finops() -> Settings {
        settings(
            r#""kind": "finops", "url": "https://x.operations.dynamics.com", "tenant_id": "x.com",
               "client_id": "11111111-2222-3333-4444-555555555555", "client_secret_env": "S""#,
        )
    }

    fn loads_in(text: &str, workbook: &str, settings: &Settings) -> Result<Vec<LoadSettings>, String> {
        let file = parse_sidecar(&format!("{workbook}.json"), text.as_bytes())
            .map_err(|faults| faults.to_string())?;
        file.of(workbook).unwrap().loads(workbook, settings).map_err(|faults| faults.to_string())
    }

    fn loads(text: &str) -> Result<Vec<LoadSettings>, String> {
        loads_in(text, "accounts.xlsx", &sandbox())
    }

    #[test]
    fn contradictions_are_refused_before_anything_is_read() {
        for (text, wanted) in [
            (r#"{"sheet": "A", "sheets": {"B": {}}}"#, "column 11: `sheet` and `sheets` do not go together"),
            (r#"{"mode": "upsert"}"#, "column 10: `mode` is `upsert`, which needs to know the records; name"),
            (r#"{"mode": "update"}"#, "`mode` is `update`"),
            (
                r#"{"mode": "edit", "key": "a"}"#,
                "column 25: `mode` is `edit`, which knows a record by the id",
            ),
            (
                r#"{"mode": "delete", "key": "a", "overwrite": true}"#,
                "column 45: `overwrite` sends every row again",
            ),
            (
                r#"{"legal_entity": "usmf"}"#,
                "column 18: `legal_entity` is a setting of Finance & Operations; this configuration writes to the sandbox",
            ),
            (
                r#"{"table_name": "My Table"}"#,
                "column 16: `My Table` is not a table name: use lower case letters, digits and `_`, at most 60; `my_table` would do",
            ),
            (r#"{"table_name": "migration_log"}"#, "DDU keeps for itself"),
            (r#"{"key": ["a", " a "]}"#, "`key` names the column `a` twice"),
            (r#"{"key": ["a", ""]}"#, "`key`, item 2: expected the header of a column, found an empty text"),
            (
                r#"{"timezone": "Berlin"}"#,
                "expected the IANA name of a zone, such as `Europe/Berlin`, found the text `Berlin`; did you mean `Europe/Berlin`?",
            ),
            (r#"{"timezone": "Europe/Berlim"}"#, "did you mean `Europe/Berlin`?"),
            (r#"{"timezone": "W. Europe Standard Time"}"#, "expected the IANA name"),
            (r#"{"columns": {"A": "name", "B": "Name"}}"#, "the columns `A` and `B` would both go to `Name`"),
            (
                r#"{"columns": {" ": "name"}}"#,
                "` ` in `columns`: expected the header of a column as its key, found an empty text",
            ),
            (
                r#"{"lookups": {"A": "accounts"}}"#,
                "expected `entity.column`, such as `accounts.accountnumber`, found the text `accounts`",
            ),
            (r#"{"lookups": {"A": ".x"}}"#, "the names of an entity and of its column"),
            (r#"{"sheets": {}}"#, "`sheets`: expected 1 to 256 sheets, found 0 sheets"),
            (r#"{"sheets": {"A": {"sheets": {}}}}"#, "`sheets` cannot stand inside `sheets`"),
            (r#"{"sheets": {"A": {}, "a": {"table_name": "x"}}}"#, "`A` and `a` are one sheet to Excel"),
            (
                r#"{"table_name": "t", "sheets": {"A": {}, "B": {}}}"#,
                "`A` and `B` would both be staged in the table `t`",
            ),
            (r#"{"sheets": {"A": {"mode": "update"}}}"#, "column 27: `mode` is `update`"),
            (r#"{"sheets": {"--": {}}}"#, "`--` has no letter or digit"),
        ] {
            let faults = loads(text).unwrap_err();
            assert!(faults.contains(wanted), "{text}\n  {faults}");
        }
        let faults = loads_in(r#"{"sheet": "A"}"#, "a.csv", &sandbox()).unwrap_err();
        assert!(faults.contains("`a.csv` is a CSV file and has no sheets"), "{faults}");
        let faults = loads(r#"{"legal_entity": "x", "sheets": {"A": {}, "B": {}}}"#).unwrap_err();
        assert_eq!(faults.lines().count(), 1, "one wrong setting above two sheets is one fault: {faults}");
    }

    #[test]
    fn what_a_sidecar_does_not_say_comes_from_the_name_and_the_configuration() {
        let settings = sandbox();
        let without = default_loads("Accounts 2026.xlsx", &settings).unwrap();
        assert_eq!(loads_in("{}", "Accounts 2026.xlsx", &settings).unwrap(), without);
        let [load] = without.as_slice() else { panic!("one load") };
        assert_eq!(
            (load.table_name.as_str(), load.target_entity.as_str()),
            ("accounts_2026", "accounts_2026")
        );
        assert_eq!((load.batch_size, load.workers, load.timezone.as_str()), (500, Some(3), "UTC"));
        assert_eq!((load.mode, load.blank, load.overwrite), (Mode::Insert, BlankRule::Leave, false));
        assert!(default_loads("--.xlsx", &settings).unwrap_err().to_string().contains("set `table_name`"));
    }

    #[test]
    fn each_setting_arrives_where_it_is_used() {
        let text = r#"{"target_entity": "CustomersV3", "overwrite": true, "atomic": true, "legal_entity": " usmf ", "table_name": "t",
            "mode": "upsert", "key": ["No", "Company "], "sheet": "Data", "columns": {"Name": "OrganizationName"},
            "lookups": {"Group": "CustomerGroups.CustomerGroupId", "X": {"column": "c"}}, "blank": "clear",
            "timezone": "europe/berlin", "header_row": 3, "batch_size": 10, "workers": 1, "order": -2, "dry_run": true}"#;
        let loads = loads_in(text, "c.xlsx", &finops()).unwrap();
        let rule = |entity: Option<&str>, column: &str| LookupRule {
            entity: entity.map(str::to_owned),
            column: column.to_owned(),
        };
        let wanted = LoadSettings {
            table_name: TableName::from_stem("t").unwrap(),
            target_entity: "CustomersV3".into(),
            sheet: Some("Data".into()),
            header_row: Some(3),
            overwrite: true,
            atomic: true,
            legal_entity: Some("usmf".into()),
            mode: Mode::Upsert,
            key: vec!["No".into(), "Company".into()],
            columns: [("Name".to_owned(), "OrganizationName".to_owned())].into_iter().collect(),
            lookups: [
                ("Group".to_owned(), rule(Some("CustomerGroups"), "CustomerGroupId")),
                ("X".to_owned(), rule(None, "c")),
            ]
            .into_iter()
            .collect(),
            blank: BlankRule::Clear,
            timezone: "Europe/Berlin".into(),
            batch_size: 10,
            workers: Some(1),
            order: Some(-2),
            dry_run: true,
            package_file: None,
            left_open: LeftOpen::default(),
        };
        assert_eq!(loads, [wanted]);
    }

    #[test]
    fn sheets_take_from_above_what_they_do_not_say_themselves() {
        let text = r#"{"overwrite": true, "mode": "upsert", "key": "No", "legal_entity": "usmf",
            "sheets": {"Customers": {"target_entity": "CustomersV3"}, "Groups": {"mode": "insert", "legal_entity": ""}}}"#;
        let loads = loads_in(text, "c.xlsx", &finops()).unwrap();
        let [customers, groups] = loads.as_slice() else { panic!("two loads") };
        assert_eq!(
            (customers.table_name.as_str(), customers.sheet.as_deref()),
            ("customers", Some("Customers"))
        );
        assert_eq!(
            (customers.target_entity.as_str(), groups.target_entity.as_str()),
            ("CustomersV3", "groups")
        );
        assert_eq!((customers.mode, groups.mode), (Mode::Upsert, Mode::Insert));
        assert!(customers.overwrite && groups.overwrite);
        assert_eq!((customers.legal_entity.as_deref(), groups.legal_entity.as_deref()), (Some("usmf"), None));
        assert!(
            loads_in(r#"{"legal_entity": ""}"#, "c.xlsx", &sandbox()).is_ok(),
            "empty is none, also outside F&O"
        );
    }

    #[test]
    fn every_sidecar_among_the_examples_can_be_followed() {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut folders = vec![examples];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if name.ends_with(".json") {
                    let file = parse_sidecar(&name, &std::fs::read(&path).unwrap()).unwrap();
                    for (workbook, sidecar) in &file.entries {
                        sidecar.loads(workbook, &sandbox()).unwrap();
                    }
                }
            }
        }
    }
}
