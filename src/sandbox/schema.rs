//! The shape of what the rehearsal server serves: tables, columns with their bounds, keys and lookups.

use std::collections::HashMap;

use bytes::Bytes;

/// All tables of one server.
pub(super) struct Schema {
    tables: Vec<Table>,
    by_set: HashMap<String, usize>,
    by_logical: HashMap<String, usize>,
    /// The lookups that point at a table, by its logical name: table, column and which of its targets.
    pointing: HashMap<String, Vec<(usize, usize, usize)>>,
    /// The `$metadata` document that the schema was read from; `None` where it is written from the tables.
    pub(super) document: Option<Bytes>,
}

/// One table with everything that is derived from its columns once.
pub(super) struct Table {
    /// Its place in the schema.
    pub(super) index: usize,
    /// Singular name, `account`.
    pub(super) logical_name: String,
    /// Singular name in its written form, `Account`.
    pub(super) schema_name: String,
    /// The name in the URL, `accounts`.
    pub(super) set_name: String,
    /// What people call one record.
    pub(super) label: String,
    /// What people call several records.
    pub(super) label_plural: String,
    /// The number that Dataverse gives the table.
    pub(super) type_code: i32,
    /// The primary key column, `accountid`.
    pub(super) primary_id: String,
    /// The column that names a record to people, `name`.
    pub(super) primary_name: String,
    /// Whether it takes `CreateMultiple`, `UpdateMultiple` and `UpsertMultiple`. Source: dynamics.md §2.5.
    pub(super) bulk: bool,
    /// The columns in the order in which they are listed.
    pub(super) columns: Vec<Column>,
    /// Alternate keys; all are active.
    pub(super) keys: Vec<AlternateKey>,
    /// SQL columns, in the order in which a row's values are bound.
    pub(super) slots: Vec<String>,
    /// Where the columns that every table has stand among them.
    pub(super) system: SystemSlots,
    /// The statement that stores a whole record.
    pub(super) insert_sql: String,
    by_name: HashMap<String, usize>,
    by_property: HashMap<String, usize>,
    by_navigation: HashMap<String, (usize, Vec<usize>)>,
}

/// The slots of the columns that the server itself fills; every table has a key and a version.
pub(super) struct SystemSlots {
    pub(super) id: usize,
    pub(super) state: Option<usize>,
    pub(super) status: Option<usize>,
    pub(super) created: Option<usize>,
    pub(super) modified: Option<usize>,
    pub(super) overridden_created: Option<usize>,
    pub(super) version: usize,
}

/// One column.
#[derive(Clone)]
pub(super) struct Column {
    /// Logical name, `emailaddress1`.
    pub(super) name: String,
    /// The property under which it is read: a lookup is `_primarycontactid_value`.
    pub(super) property: String,
    /// Written form, `EMailAddress1`.
    pub(super) schema_name: String,
    /// What people call it.
    pub(super) label: String,
    /// Type and bounds.
    pub(super) kind: Kind,
    /// Whether people should fill it; not enforced, as Dataverse does not (dynamics.md §2.7).
    pub(super) required: Required,
    /// Whether a create takes a value; otherwise the value is ignored.
    pub(super) creatable: bool,
    /// Whether an update takes a value; otherwise the value is ignored.
    pub(super) updatable: bool,
    /// SQL expression of a column that is computed from others.
    pub(super) computed: Option<String>,
    /// Where its value stands among the bound values; a lookup with several targets also uses the next one.
    pub(super) slot: Option<usize>,
}

/// The `RequiredLevel` of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Required {
    /// Optional.
    No,
    /// Set by the system.
    System,
    /// "Business required".
    Application,
}

/// Type and bounds of a column.
#[derive(Clone)]
pub(super) enum Kind {
    /// The primary key.
    Id,
    /// A GUID that is neither the key nor a lookup.
    Guid,
    /// One line of text; lengths in UTF-16 units.
    Text { length_max: u32, format: String },
    /// Several lines of text.
    Memo { length_max: u32 },
    /// Int32 between the bounds.
    Integer { min: i32, max: i32 },
    /// Int64, only used by the row version.
    BigInt,
    /// A type that no record here has a value of, as `$metadata` names it.
    Other { edm_type: String },
    /// Bytes, in base64.
    Binary,
    /// Binary floating point number, rounded to `precision`.
    Double { min: f64, max: f64, precision: u32 },
    /// Exact number, rounded to `precision`.
    Decimal { min: f64, max: f64, precision: u32 },
    /// Amount of money, rounded to `precision`.
    Money { min: f64, max: f64, precision: u32 },
    /// Truth value; a create without it takes the default.
    Boolean { yes: String, no: String, default: bool },
    /// One option.
    Choice { options: Vec<ChoiceItem>, default: Option<i32> },
    /// Any of the options, `"1,9"`.
    MultiChoice { options: Vec<ChoiceItem> },
    /// `statecode`; each state names the status that goes with it. No options: any number is one.
    State { options: Vec<StateItem> },
    /// `statuscode`; each status belongs to a state. No options: any number is one.
    Status { options: Vec<StatusItem> },
    /// A day (`DateOnly` behaviour).
    Date,
    /// An instant (`UserLocal` behaviour).
    DateTime,
    /// Reference to a record of one of the targets.
    Lookup { targets: Vec<Target>, flavour: Flavour },
}

/// What a lookup calls itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// `Lookup`
    Plain,
    /// `Customer`: an account or a contact.
    Customer,
    /// `Owner`: a user or a team.
    Owner,
}

/// One option of a choice.
#[derive(Clone)]
pub(super) struct ChoiceItem {
    pub(super) value: i32,
    pub(super) label: String,
}

/// One state of a record.
#[derive(Clone)]
pub(super) struct StateItem {
    pub(super) value: i32,
    pub(super) label: String,
    pub(super) default_status: i32,
}

/// One status reason of a record.
#[derive(Clone)]
pub(super) struct StatusItem {
    pub(super) value: i32,
    pub(super) label: String,
    pub(super) state: i32,
}

/// One table that a lookup can point at.
#[derive(Clone)]
pub(super) struct Target {
    /// Logical name of the table pointed at.
    pub(super) table: String,
    /// Navigation property to bind, case-sensitive.
    pub(super) navigation: String,
    /// The relationship, and the navigation property of the other direction.
    pub(super) relationship: String,
}

/// A key over columns that names a record without its GUID.
#[derive(Clone)]
pub(super) struct AlternateKey {
    /// Logical name of the key.
    pub(super) name: String,
    /// What people call it.
    pub(super) label: String,
    /// Its columns in order.
    pub(super) columns: Vec<String>,
}

impl Schema {
    /// The schema of these tables.
    pub(super) fn new(mut tables: Vec<Table>) -> Self {
        for (index, table) in tables.iter_mut().enumerate() {
            table.index = index;
        }
        let by_set = tables.iter().map(|t| (t.set_name.clone(), t.index)).collect();
        let by_logical = tables.iter().map(|t| (t.logical_name.clone(), t.index)).collect();
        let mut pointing: HashMap<String, Vec<(usize, usize, usize)>> = HashMap::new();
        for table in &tables {
            for (column_index, column) in table.columns.iter().enumerate() {
                for (target_index, target) in column.targets().iter().enumerate() {
                    let place = (table.index, column_index, target_index);
                    pointing.entry(target.table.clone()).or_default().push(place);
                }
            }
        }
        Schema { tables, by_set, by_logical, pointing, document: None }
    }

    /// All tables.
    pub(super) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The table with this name in the URL; case counts.
    pub(super) fn set(&self, set_name: &str) -> Option<&Table> {
        self.by_set.get(set_name).map(|&index| &self.tables[index])
    }

    /// The table with this logical name.
    pub(super) fn logical(&self, logical_name: &str) -> Option<&Table> {
        self.by_logical.get(logical_name).map(|&index| &self.tables[index])
    }

    /// Every lookup that points at `table`: its own table, column and which of its targets.
    pub(super) fn referencing<'s>(
        &'s self,
        table: &'s Table,
    ) -> impl Iterator<Item = (&'s Table, &'s Column, &'s Target)> {
        let places = self.pointing.get(&table.logical_name).map_or(&[][..], Vec::as_slice);
        places.iter().map(|&(from, column, target)| {
            let from = &self.tables[from];
            let column = &from.columns[column];
            (from, column, &column.targets()[target])
        })
    }

    /// The lookup behind the other end of a relationship: `contact_customer_accounts` of an account.
    pub(super) fn referencing_by<'s>(
        &'s self,
        table: &'s Table,
        relationship: &str,
    ) -> Option<(&'s Table, &'s Column, &'s Target)> {
        self.referencing(table).find(|(_, _, target)| target.relationship == relationship)
    }
}

/// What names a table, before its columns.
pub(super) struct Naming {
    pub(super) logical_name: String,
    pub(super) schema_name: String,
    pub(super) set_name: String,
    pub(super) label: String,
    pub(super) label_plural: String,
    pub(super) type_code: i32,
    pub(super) primary_name: String,
    pub(super) bulk: bool,
}

/// The column that holds the row version.
const VERSION: &str = "versionnumber";

impl Table {
    /// A table of these columns and keys.
    pub(super) fn new(naming: Naming, mut columns: Vec<Column>, keys: Vec<AlternateKey>) -> Self {
        let mut slots = Vec::new();
        for column in columns.iter_mut().filter(|column| column.computed.is_none()) {
            column.slot = Some(slots.len());
            slots.push(column.name.clone());
            if column.targets().len() > 1 {
                slots.push(column.type_slot_name());
            }
        }
        // The row version is counted even where the table does not show it.
        if !columns.iter().any(|column| column.name == VERSION) {
            slots.push(VERSION.to_owned());
        }
        let mut by_navigation: HashMap<String, (usize, Vec<usize>)> = HashMap::new();
        for (index, column) in columns.iter().enumerate() {
            for (target_index, target) in column.targets().iter().enumerate() {
                let entry = by_navigation.entry(target.navigation.clone());
                entry.or_insert_with(|| (index, Vec::new())).1.push(target_index);
            }
        }
        let primary_id = columns
            .iter()
            .find(|column| matches!(column.kind, Kind::Id))
            .expect("a table is defined with a primary key column");
        let slot = |name: &str| slots.iter().position(|slot| slot == name);
        let system = SystemSlots {
            id: slot(&primary_id.name).expect("a primary key column is stored"),
            state: slot("statecode"),
            status: slot("statuscode"),
            created: slot("createdon"),
            modified: slot("modifiedon"),
            overridden_created: slot("overriddencreatedon"),
            version: slot(VERSION).expect("it was added where it was missing"),
        };
        let names: Vec<String> = slots.iter().map(|slot| format!("\"{slot}\"")).collect();
        let marks = vec!["?"; slots.len()].join(", ");
        let insert_sql =
            format!("INSERT INTO \"{}\" ({}) VALUES ({marks})", naming.logical_name, names.join(", "));
        Table {
            index: 0,
            system,
            insert_sql,
            primary_id: primary_id.name.clone(),
            logical_name: naming.logical_name,
            schema_name: naming.schema_name,
            set_name: naming.set_name,
            label: naming.label,
            label_plural: naming.label_plural,
            type_code: naming.type_code,
            primary_name: naming.primary_name,
            bulk: naming.bulk,
            keys,
            slots,
            by_name: columns.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect(),
            by_property: columns.iter().enumerate().map(|(i, c)| (c.property.clone(), i)).collect(),
            by_navigation,
            columns,
        }
    }

    /// The column with this logical name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.by_name.get(name).map(|&index| &self.columns[index])
    }

    /// The column that is read under this property, `name` or `_primarycontactid_value`.
    pub(super) fn property(&self, property: &str) -> Option<&Column> {
        self.by_property.get(property).map(|&index| &self.columns[index])
    }

    /// The lookup and the targets that this navigation property binds; case counts. Only an owner has several.
    pub(super) fn navigation(&self, navigation: &str) -> Option<(&Column, Vec<&Target>)> {
        let (column, targets) = self.by_navigation.get(navigation)?;
        let column = &self.columns[*column];
        Some((column, targets.iter().map(|&target| &column.targets()[target]).collect()))
    }

    /// The slots of an alternate key's columns, in the key's order.
    pub(super) fn key_slots(&self, key: usize) -> impl Iterator<Item = usize> {
        self.keys[key].columns.iter().map(|name| {
            let column = self.column(name).expect("a key is defined over columns of its table");
            column.slot.expect("a key's columns are stored")
        })
    }
}

impl Column {
    /// What a lookup can point at; empty for every other column.
    pub(super) fn targets(&self) -> &[Target] {
        match &self.kind {
            Kind::Lookup { targets, .. } => targets,
            _ => &[],
        }
    }

    /// The SQL column that holds which table a lookup with several targets points at.
    pub(super) fn type_slot_name(&self) -> String {
        format!("{}__table", self.name)
    }
}

impl Kind {
    /// The type in `$metadata`.
    pub(super) fn edm_type(&self) -> &str {
        match self {
            Kind::Id | Kind::Guid | Kind::Lookup { .. } => "Edm.Guid",
            Kind::Other { edm_type } => edm_type,
            Kind::Binary => "Edm.Binary",
            Kind::Double { .. } => "Edm.Double",
            Kind::Text { .. } | Kind::Memo { .. } | Kind::MultiChoice { .. } => "Edm.String",
            Kind::Integer { .. } | Kind::Choice { .. } | Kind::State { .. } | Kind::Status { .. } => {
                "Edm.Int32"
            }
            Kind::BigInt => "Edm.Int64",
            Kind::Decimal { .. } | Kind::Money { .. } => "Edm.Decimal",
            Kind::Boolean { .. } => "Edm.Boolean",
            Kind::Date => "Edm.Date",
            Kind::DateTime => "Edm.DateTimeOffset",
        }
    }

    /// The numbered options with their labels; none for a kind without options.
    pub(super) fn options(&self) -> Box<dyn Iterator<Item = (i32, &str)> + '_> {
        match self {
            Kind::Choice { options, .. } | Kind::MultiChoice { options } => {
                Box::new(options.iter().map(|option| (option.value, option.label.as_str())))
            }
            Kind::State { options } => {
                Box::new(options.iter().map(|option| (option.value, option.label.as_str())))
            }
            Kind::Status { options } => {
                Box::new(options.iter().map(|option| (option.value, option.label.as_str())))
            }
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The label of this option.
    pub(super) fn option_label(&self, number: i64) -> Option<&str> {
        self.options().find(|(value, _)| i64::from(*value) == number).map(|(_, label)| label)
    }
}
