//! The built-in entities: what people migrate first, with the names and lengths that the application gives them.

mod currencies;
mod customers;
mod journals;
mod products;
mod vendors;

use super::model::{COMPANY, Column, Entity, EnumType, Filled, Kind, Model, Names, Relation};

/// Names and members of the enumerations, in the order in which [`Enum`] counts them.
const ENUMS: [(&str, &[(&str, i64)]); 9] = [
    ("NoYes", &[("No", 0), ("Yes", 1)]),
    ("DirPartyType", &[("None", 0), ("Person", 1), ("Organization", 2)]),
    (
        "CustVendorBlocked",
        &[("No", 0), ("Invoice", 1), ("All", 2), ("Payment", 3), ("Requisition", 4), ("Never", 5)],
    ),
    (
        "CustAccountStatement",
        &[("Always", 0), ("Quarter", 1), ("Biannually", 2), ("Yearly", 3), ("Never", 4)],
    ),
    ("EcoResProductType", &[("Item", 1), ("Service", 2)]),
    ("EcoResProductSubtype", &[("Product", 1), ("ProductMaster", 2)]),
    (
        "LedgerJournalACType",
        &[("Ledger", 0), ("Cust", 1), ("Vend", 2), ("Project", 3), ("FixedAssets", 5), ("Bank", 6)],
    ),
    ("LedgerJournalType", &[("Daily", 0), ("CustPayment", 7), ("VendPaym", 14), ("VendInvoiceRegister", 9)]),
    ("ExchangeRateDisplayFactor", &[("One", 1), ("Ten", 10), ("Hundred", 100), ("Thousand", 1000)]),
];

/// The enumerations, by their place in [`ENUMS`].
#[derive(Clone, Copy)]
enum Enum {
    NoYes,
    PartyType,
    Blocked,
    AccountStatement,
    ProductType,
    ProductSubtype,
    AccountType,
    JournalType,
    RateFactor,
}

/// The model of the built-in entities.
pub(super) fn model() -> Model {
    let enums = ENUMS.iter().map(|(name, members)| EnumType {
        name: (*name).to_owned(),
        members: members.iter().map(|(member, number)| ((*member).to_owned(), *number)).collect(),
    });
    let entities = [
        currencies::entities(),
        customers::entities(),
        vendors::entities(),
        products::entities(),
        journals::entities(),
    ];
    Model::new(entities.into_iter().flatten().collect(), enums.collect())
}

/// One entity while it is put together.
struct Draft {
    names: Names,
    columns: Vec<Column>,
    key: Vec<String>,
    relations: Vec<(String, &'static str, &'static str)>,
}

/// Set, type, class, label and table of an entity.
fn entity([set, name, class, label, table]: [&str; 5]) -> Draft {
    let names = Names {
        set: set.to_owned(),
        name: name.to_owned(),
        class: class.to_owned(),
        label: label.to_owned(),
        table: table.to_owned(),
    };
    Draft { names, columns: Vec::new(), key: Vec::new(), relations: Vec::new() }
}

impl Draft {
    /// The entity has rows of single companies; its key begins with the company.
    fn of_companies(self) -> Self {
        self.key(text(COMPANY, "Company", 4).optional())
    }

    /// One more column of the key.
    fn key(mut self, column: Col) -> Self {
        let column = Col(Column { editable: false, ..column.0 });
        self.key.push(column.0.name.clone());
        self.with(column)
    }

    /// One more column.
    fn with(mut self, column: Col) -> Self {
        self.columns.push(column.0);
        self
    }

    /// Several more columns.
    fn and(self, columns: impl IntoIterator<Item = Col>) -> Self {
        columns.into_iter().fold(self, Draft::with)
    }

    /// The column's values stand in a key column of another entity.
    fn related(mut self, column: &str, set: &'static str, other: &'static str) -> Self {
        self.relations.push((column.to_owned(), set, other));
        self
    }

    fn done(self) -> Entity {
        let mut entity = Entity::new(self.names, self.columns, &self.key)
            .expect("key() adds every key column to the columns");
        for (column, set, other) in self.relations {
            let (column, _) = entity.column(&column).expect("related() names a column that with() added");
            entity.relations.push(Relation { column, set, other });
        }
        entity
    }
}

/// One column while it is put together.
struct Col(Column);

impl Col {
    fn new(name: &str, label: &str, kind: Kind) -> Self {
        let (name, label) = (name.to_owned(), label.to_owned());
        Col(Column {
            name,
            label,
            kind,
            required: false,
            editable: true,
            creatable: true,
            filled: Filled::Empty,
        })
    }

    /// A row without it is refused.
    fn required(self) -> Self {
        Col(Column { required: true, ..self.0 })
    }

    /// A row may be without it.
    fn optional(self) -> Self {
        Col(Column { required: false, ..self.0 })
    }

    /// It is set by a create alone.
    fn on_create(self) -> Self {
        Col(Column { editable: false, ..self.0 })
    }

    /// Nobody sets it.
    fn read_only(self) -> Self {
        Col(Column { editable: false, creatable: false, ..self.0 })
    }

    /// What fills it where a create leaves it empty.
    fn filled(self, filled: Filled) -> Self {
        Col(Column { filled, ..self.0 })
    }
}

fn text(name: &str, label: &str, length_max: u32) -> Col {
    Col::new(name, label, Kind::Text(Some(length_max)))
}

fn choice(name: &str, label: &str, of: Enum) -> Col {
    Col::new(name, label, Kind::Enum(of as usize))
}

fn real(name: &str, label: &str) -> Col {
    Col::new(name, label, Kind::Real)
}

fn integer(name: &str, label: &str) -> Col {
    Col::new(name, label, Kind::Int32)
}

fn date(name: &str, label: &str) -> Col {
    Col::new(name, label, Kind::Date)
}

fn instant(name: &str, label: &str) -> Col {
    Col::new(name, label, Kind::DateTime)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_relation_leads_to_a_key_column_and_every_default_to_a_column_there() {
        let model = model();
        for entity in &model.entities {
            for relation in &entity.relations {
                let other = model.set(relation.set).unwrap_or_else(|| panic!("{}", relation.set));
                let (index, _) = other.column(relation.other).unwrap();
                assert!(other.key.contains(&index), "{}.{}", relation.set, relation.other);
            }
            for column in &entity.columns {
                if let Filled::Related { relation, column } = &column.filled {
                    let other = model.set(entity.relations[*relation].set).unwrap();
                    assert!(other.column(column).is_some(), "{}.{column}", other.set);
                }
            }
        }
    }

    #[test]
    fn the_enumerations_are_counted_as_they_are_listed() {
        for (of, name) in [
            (Enum::NoYes, "NoYes"),
            (Enum::PartyType, "DirPartyType"),
            (Enum::Blocked, "CustVendorBlocked"),
            (Enum::AccountStatement, "CustAccountStatement"),
            (Enum::ProductType, "EcoResProductType"),
            (Enum::ProductSubtype, "EcoResProductSubtype"),
            (Enum::AccountType, "LedgerJournalACType"),
            (Enum::JournalType, "LedgerJournalType"),
            (Enum::RateFactor, "ExchangeRateDisplayFactor"),
        ] {
            assert_eq!(ENUMS[of as usize].0, name);
        }
    }
}
