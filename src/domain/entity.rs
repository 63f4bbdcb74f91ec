//! What the target says about an entity: its columns, their types and bounds, and its keys.

use serde::{Deserialize, Serialize};

/// An entity (a Dataverse table, an F&O data entity) as its metadata describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entity {
    /// The name in the URL: `accounts`, `CustomersV3`.
    pub set_name: String,
    /// The type's name: `account`, `CustomerV3`.
    pub logical_name: String,
    /// The name a person sees, where the target tells one.
    pub display_name: Option<String>,
    /// The primary key column of a Dataverse table, `accountid`.
    pub primary_id: Option<String>,
    /// The column that names a record to people, `name`.
    pub primary_name: Option<String>,
    /// The columns, in the order the target lists them.
    pub attributes: Vec<Attribute>,
    /// Alternate keys (Dataverse) or the entity key (F&O).
    pub keys: Vec<EntityKey>,
}

/// One column of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// The name in the payload: `name`, `CustomerGroupId`; for a lookup the attribute (`primarycontactid`), not its navigation property.
    pub logical_name: String,
    /// The name a person sees.
    pub display_name: Option<String>,
    /// Type and bounds.
    pub kind: AttributeKind,
    /// Whether a row should have a value; Dataverse itself does not enforce it.
    pub required: bool,
    /// Whether a create may set it. A value for one that may not is ignored by Dataverse without an error.
    pub creatable: bool,
    /// Whether an update may set it.
    pub updatable: bool,
}

/// The type of a column, with the bounds the target enforces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AttributeKind {
    /// Text of at most `length_max` characters, where the target tells a limit.
    Text {
        /// Longest text in characters.
        length_max: Option<u32>,
    },
    /// A whole number between the bounds, ends included.
    Integer {
        /// Least value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// An exact decimal number (`Decimal`, `Money`).
    Decimal {
        /// Least value, as decimal text.
        min: Option<f64>,
        /// Greatest value.
        max: Option<f64>,
        /// Digits after the point; the target rounds to it.
        precision: Option<u32>,
    },
    /// A floating-point number.
    Double {
        /// Least value.
        min: Option<f64>,
        /// Greatest value.
        max: Option<f64>,
        /// Digits after the point; the target rounds to it.
        precision: Option<u32>,
    },
    /// A truth value with its two labels.
    Boolean {
        /// The label of true, `Yes`.
        yes: String,
        /// The label of false, `No`.
        no: String,
    },
    /// One of a list of numbered options (`Picklist`, `State`, `Status`).
    Choice {
        /// The options.
        options: Vec<ChoiceOption>,
    },
    /// Any of a list of numbered options.
    MultiChoice {
        /// The options.
        options: Vec<ChoiceOption>,
    },
    /// One of a list of named members, sent by name (F&O enums).
    Enumeration {
        /// The enum's name, as a literal in a URL needs it: `NoYes`.
        name: String,
        /// The members: number and name.
        members: Vec<ChoiceOption>,
    },
    /// A day (`DateOnly` behaviour).
    Date,
    /// An instant.
    DateTime,
    /// A day or an instant: F&O describes both alike, so each value shows which of the two it is.
    DayOrInstant,
    /// A reference to a record of another entity.
    Lookup {
        /// What it can point at; never empty.
        targets: Vec<LookupTarget>,
    },
    /// A GUID that is no reference.
    Guid,
    /// A type that a workbook cannot fill (image, file, party list …): its name.
    Unsupported {
        /// The target's name of the type.
        name: String,
    },
}

/// One option of a choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceOption {
    /// The number that is stored.
    pub value: i64,
    /// The label that people see.
    pub label: String,
}

/// One entity that a lookup can point at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupTarget {
    /// Its logical name, `contact`.
    pub logical_name: String,
    /// Its name in the URL, `contacts`.
    pub set_name: String,
    /// The navigation property to bind, case-sensitive: `primarycontactid`, `customerid_account`.
    pub navigation: String,
}

/// A key that names a record without its GUID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityKey {
    /// The key's name.
    pub name: String,
    /// Its columns, in order.
    pub attributes: Vec<String>,
    /// Whether its index is built; before that the target refuses to use it.
    pub active: bool,
}

impl Attribute {
    /// What people call the column: its display name, else its logical name.
    pub fn label(&self) -> &str {
        self.display_name.as_deref().unwrap_or(&self.logical_name)
    }
}

impl Entity {
    /// The attribute whose logical or display name is `name`; case and surrounding blanks do not count.
    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        let wanted = name.trim().to_lowercase();
        let logical = |a: &&Attribute| a.logical_name.to_lowercase() == wanted;
        let display = |a: &&Attribute| a.display_name.as_ref().is_some_and(|d| d.to_lowercase() == wanted);
        self.attributes.iter().find(logical).or_else(|| self.attributes.iter().find(display))
    }

    /// The active key over exactly these attributes, in any order.
    pub fn key_over(&self, attributes: &[String]) -> Option<&EntityKey> {
        self.keys.iter().find(|key| {
            key.active
                && key.attributes.len() == attributes.len()
                && key.attributes.iter().all(|a| attributes.contains(a))
        })
    }
}
