//! The product table.

use super::super::schema::{Kind, Naming, Table};
use super::{
    boolean, column, date, integer, items, key, lookup, memo, money, naming, system_columns, target, text,
};

pub(super) fn table() -> Table {
    let mut columns = system_columns(
        "ProductId",
        "Product",
        &[(0, "Active", 1), (1, "Retired", 2), (2, "Draft", 0), (3, "Under Revision", 3)],
        &[(1, "Active", 0), (2, "Retired", 1), (0, "Draft", 2), (3, "Under Revision", 3)],
    );
    let structure = [(1, "Product"), (2, "Product Family"), (3, "Product Bundle")];
    columns.extend([
        text("Name", "Name", 100).business_required(),
        text("ProductNumber", "Product ID", 100),
        money("Price", "List Price"),
        money("StandardCost", "Standard Cost"),
        money("CurrentCost", "Current Cost"),
        column(
            "QuantityOnHand",
            "Quantity On Hand",
            Kind::Decimal { min: 0.0, max: 1_000_000_000.0, precision: 5 },
        ),
        integer("QuantityDecimal", "Decimals Supported", 0, 5),
        memo("Description", "Description", 2000),
        column(
            "ProductStructure",
            "Product Structure",
            Kind::Choice { options: items(&structure), default: Some(1) },
        )
        .create_only(),
        date("ValidFromDate", "Valid From"),
        date("ValidToDate", "Valid To"),
        boolean("IsKit", "Is Kit", "Yes", "No"),
        lookup("ParentProductId", "Parent", target("product", "parentproductid", "product_parent_product")),
    ]);
    Table::new(
        // No bulk messages, as some standard tables have none (dynamics.md §2.5).
        Naming { bulk: false, ..naming("Product", ("Product", "Products"), "products", 1024, "name") },
        columns,
        vec![key("ddu_productnumberkey", "Product ID", "productnumber")],
    )
}
