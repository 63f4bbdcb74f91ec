//! The shape of what the rehearsal server serves: tables, columns with their bounds, keys and lookups.

use std::collections::HashMap;

/// All tables of one server.
pub(super) struct Schema {
    tables: Vec<Table>,
    by_set: HashMap<String, usize>,
    by_logical: HashMap<String, usize>,
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
    by_navigation: HashMap<String, (usize, usize)>,
}

/// The slots of the columns that every table has.
pub(super) struct SystemSlots {
    pub(super) id: usize,
    pub(super) state: usize,
    pub(super) status: usize,
    pub(super) created: usize,
    pub(super) modified: usize,
    pub(super) overridden_created: usize,
    pub(super) version: usize,
}

/// One column.
#[derive(Clone)]
pub(super) struct Column {
    /// Logical name, `emailaddress1`.
    pub(super) name: String,
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
    pub(super) computed: Option<&'static str>,
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
    /// One line of text; lengths in UTF-16 units.
    Text { length_max: u32, format: &'static str },
    /// Several lines of text.
    Memo { length_max: u32 },
    /// Int32 between the bounds.
    Integer { min: i32, max: i32 },
    /// Int64, only used by the row version.
    BigInt,
    /// Exact number, rounded to `precision`.
    Decimal { min: f64, max: f64, precision: u32 },
    /// Amount of money, rounded to `precision`.
    Money { min: f64, max: f64, precision: u32 },
    /// Truth value; a create without it takes the default.
    Boolean { yes: &'static str, no: &'static str, default: bool },
    /// One option.
    Choice { options: Vec<ChoiceItem>, default: Option<i32> },
    /// Any of the options, `"1,9"`.
    MultiChoice { options: Vec<ChoiceItem> },
    /// `statecode`; each state names the status that goes with it.
    State { options: Vec<StateItem> },
    /// `statuscode`; each status belongs to a state.
    Status { options: Vec<StatusItem> },
    /// A day (`DateOnly` behaviour).
    Date,
    /// An instant (`UserLocal` behaviour).
    DateTime,
    /// Reference to a record of one of the targets; `customer` marks the Customer type.
    Lookup { targets: Vec<Target>, customer: bool },
}

/// One option of a choice.
#[derive(Clone)]
pub(super) struct ChoiceItem {
    pub(super) value: i32,
    pub(super) label: &'static str,
}

/// One state of a record.
#[derive(Clone)]
pub(super) struct StateItem {
    pub(super) value: i32,
    pub(super) label: &'static str,
    pub(super) default_status: i32,
}

/// One status reason of a record.
#[derive(Clone)]
pub(super) struct StatusItem {
    pub(super) value: i32,
    pub(super) label: &'static str,
    pub(super) state: i32,
}

/// One table that a lookup can point at.
#[derive(Clone)]
pub(super) struct Target {
    /// Logical name of the table pointed at.
    pub(super) table: &'static str,
    /// Navigation property to bind, case-sensitive.
    pub(super) navigation: &'static str,
    /// The relationship, and the navigation property of the other direction.
    pub(super) relationship: &'static str,
}

/// A key over columns that names a record without its GUID.
#[derive(Clone)]
pub(super) struct AlternateKey {
    /// Logical name of the key.
    pub(super) name: &'static str,
    /// What people call it.
    pub(super) label: &'static str,
    /// Its columns in order.
    pub(super) columns: Vec<&'static str>,
}

impl Schema {
    /// The schema of these tables.
    pub(super) fn new(mut tables: Vec<Table>) -> Self {
        for (index, table) in tables.iter_mut().enumerate() {
            table.index = index;
        }
        let by_set = tables.iter().map(|t| (t.set_name.clone(), t.index)).collect();
        let by_logical = tables.iter().map(|t| (t.logical_name.clone(), t.index)).collect();
        Schema { tables, by_set, by_logical }
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
        self.tables.iter().flat_map(move |from| {
            from.columns.iter().flat_map(move |column| {
                column
                    .targets()
                    .iter()
                    .filter(move |target| target.table == table.logical_name)
                    .map(move |target| (from, column, target))
            })
        })
    }
}

/// What names a table, before its columns.
pub(super) struct Naming {
    pub(super) logical_name: &'static str,
    pub(super) schema_name: &'static str,
    pub(super) set_name: &'static str,
    pub(super) label: &'static str,
    pub(super) label_plural: &'static str,
    pub(super) type_code: i32,
    pub(super) primary_name: &'static str,
}

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
        let mut by_navigation = HashMap::new();
        for (index, column) in columns.iter().enumerate() {
            for (target_index, target) in column.targets().iter().enumerate() {
                by_navigation.insert(target.navigation.to_owned(), (index, target_index));
            }
        }
        let primary_id = columns
            .iter()
            .find(|column| matches!(column.kind, Kind::Id))
            .expect("a table is defined with a primary key column");
        let slot = |name: &str| {
            let column = columns.iter().find(|column| column.name == name);
            column.and_then(|column| column.slot).expect("the system columns are in every table")
        };
        let system = SystemSlots {
            id: slot(&primary_id.name),
            state: slot("statecode"),
            status: slot("statuscode"),
            created: slot("createdon"),
            modified: slot("modifiedon"),
            overridden_created: slot("overriddencreatedon"),
            version: slot("versionnumber"),
        };
        let names: Vec<String> = slots.iter().map(|slot| format!("\"{slot}\"")).collect();
        let marks = vec!["?"; slots.len()].join(", ");
        let insert_sql =
            format!("INSERT INTO \"{}\" ({}) VALUES ({marks})", naming.logical_name, names.join(", "));
        Table {
            index: 0,
            system,
            insert_sql,
            logical_name: naming.logical_name.to_owned(),
            schema_name: naming.schema_name.to_owned(),
            set_name: naming.set_name.to_owned(),
            label: naming.label.to_owned(),
            label_plural: naming.label_plural.to_owned(),
            type_code: naming.type_code,
            primary_id: primary_id.name.clone(),
            primary_name: naming.primary_name.to_owned(),
            keys,
            slots,
            by_name: columns.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect(),
            by_property: columns.iter().enumerate().map(|(i, c)| (c.property(), i)).collect(),
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

    /// The lookup and the target that this navigation property binds; case counts.
    pub(super) fn navigation(&self, navigation: &str) -> Option<(&Column, &Target)> {
        let &(column, target) = self.by_navigation.get(navigation)?;
        let column = &self.columns[column];
        Some((column, &column.targets()[target]))
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
    /// The property under which the column is read: a lookup is `_primarycontactid_value`.
    pub(super) fn property(&self) -> String {
        match self.kind {
            Kind::Lookup { .. } => format!("_{}_value", self.name),
            _ => self.name.clone(),
        }
    }

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
    pub(super) fn edm_type(&self) -> &'static str {
        match self {
            Kind::Id | Kind::Lookup { .. } => "Edm.Guid",
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
    pub(super) fn options(&self) -> Box<dyn Iterator<Item = (i32, &'static str)> + '_> {
        match self {
            Kind::Choice { options, .. } | Kind::MultiChoice { options } => {
                Box::new(options.iter().map(|option| (option.value, option.label)))
            }
            Kind::State { options } => Box::new(options.iter().map(|option| (option.value, option.label))),
            Kind::Status { options } => Box::new(options.iter().map(|option| (option.value, option.label))),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The label of this option.
    pub(super) fn option_label(&self, number: i64) -> Option<&'static str> {
        self.options().find(|(value, _)| i64::from(*value) == number).map(|(_, label)| label)
    }
}
