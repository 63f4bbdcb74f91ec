//! Released products.

use super::super::model::{Entity, Filled};
use super::{Enum, choice, entity, integer, real, text};

pub(super) fn entities() -> Vec<Entity> {
    let products = entity([
        "ReleasedProductsV2",
        "ReleasedProductV2",
        "EcoResReleasedProductV2Entity",
        "Released products",
        "InventTable",
    ])
    .of_companies()
    .key(text("ItemNumber", "Item number", 20).required())
    .and([
        text("ProductNumber", "Product number", 70).required().on_create(),
        choice("ProductType", "Product type", Enum::ProductType).on_create(),
        choice("ProductSubType", "Product subtype", Enum::ProductSubtype).on_create(),
        text("ProductName", "Product name", 60).on_create(),
        text("ProductSearchName", "Search name", 20),
        text("ProductDescription", "Description", 1000),
        text("ProductGroupId", "Item group", 10),
        text("ItemModelGroupId", "Item model group", 10).required(),
        text("StorageDimensionGroupName", "Storage dimension group", 10).on_create(),
        text("TrackingDimensionGroupName", "Tracking dimension group", 10).on_create(),
        text("InventoryUnitSymbol", "Inventory unit", 10).required(),
        text("PurchaseUnitSymbol", "Purchase unit", 10),
        text("SalesUnitSymbol", "Sales unit", 10),
        text("BOMUnitSymbol", "BOM unit", 10),
        real("SalesPrice", "Sales price"),
        real("SalesPriceQuantity", "Sales price quantity").filled(Filled::With("1")),
        real("PurchasePrice", "Purchase price"),
        real("PurchasePriceQuantity", "Purchase price quantity").filled(Filled::With("1")),
        real("UnitCost", "Cost price"),
        real("NetProductWeight", "Net weight"),
        real("TareProductWeight", "Tare weight"),
        real("GrossProductHeight", "Gross height"),
        integer("ShelfLifePeriodDays", "Shelf life period in days"),
        integer("BestBeforePeriodDays", "Best before period in days"),
        choice("IsPhantom", "Phantom", Enum::NoYes),
        choice("IsPurchasePriceIncludingCharges", "Purchase price includes charges", Enum::NoYes),
        text("PurchaseSalesTaxItemGroupCode", "Item sales tax group for purchases", 10),
        text("SalesSalesTaxItemGroupCode", "Item sales tax group for sales", 10),
        text("PrimaryVendorAccountNumber", "Vendor", 20),
        text("CountryOfOrigin", "Country/region of origin", 10),
        text("IntrastatCommodityCode", "Commodity", 20),
        text("DefaultLedgerDimensionDisplayValue", "Default dimension", 255),
    ])
    .related("PrimaryVendorAccountNumber", "VendorsV2", "VendorAccountNumber")
    .done();
    vec![products]
}
