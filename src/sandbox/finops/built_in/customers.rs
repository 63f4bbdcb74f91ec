//! Payment terms, customer groups and customers.

use super::super::model::{Entity, Filled, Kind};
use super::{Col, Enum, choice, entity, instant, integer, real, text};

pub(super) fn entities() -> Vec<Entity> {
    let terms = entity(["PaymentTerms", "PaymentTerm", "PaymentTermEntity", "Terms of payment", "PaymTerm"])
        .of_companies()
        .key(text("Name", "Terms of payment", 10).required())
        .and([
            text("Description", "Description", 60),
            integer("NumberOfDays", "Days"),
            integer("NumberOfMonths", "Months"),
            integer("CutOffDayOfMonth", "Cutoff day"),
            choice("IsCashPayment", "Cash payment", Enum::NoYes),
            choice("IsDefaultPaymentTerm", "Default", Enum::NoYes),
            text("PaymentScheduleName", "Payment schedule", 10),
        ])
        .done();
    let groups = entity([
        "CustomerGroups",
        "CustomerGroup",
        "CustCustomerGroupEntity",
        "Customer groups",
        "CustGroup",
    ])
    .of_companies()
    .key(text("CustomerGroupId", "Customer group", 10).required())
    .and([
        text("ClearingPeriodPaymentTermName", "Settle period", 10),
        text("CustomerAccountNumberSequence", "Customer account number sequence", 10),
        text("DefaultDimensionDisplayValue", "Default dimension", 255),
        text("Description", "Description", 60),
        choice("IsSalesTaxIncludedInPrice", "Prices include sales tax", Enum::NoYes),
        text("WriteOffReason", "Write-off reason", 10),
        text("PaymentTermId", "Terms of payment", 10),
        text("TaxGroupId", "Sales tax group", 10),
    ])
    .related("PaymentTermId", "PaymentTerms", "Name")
    .related("ClearingPeriodPaymentTermName", "PaymentTerms", "Name")
    .done();
    vec![terms, groups, customers()]
}

fn customers() -> Entity {
    const GROUP: usize = 0;
    entity(["CustomersV3", "CustomerV3", "CustCustomerV3Entity", "Customers", "CustTable"])
        .of_companies()
        .key(text("CustomerAccount", "Customer account", 20).required().filled(Filled::Numbered("C-")))
        .and([
            choice("PartyType", "Type", Enum::PartyType).on_create().filled(Filled::With("Organization")),
            text("PartyNumber", "Party ID", 40).read_only().filled(Filled::Numbered("P-")),
            text("OrganizationName", "Name", 100),
            text("NameAlias", "Search name", 20),
            text("KnownAs", "Known as", 100),
            text("PersonFirstName", "First name", 25),
            text("PersonMiddleName", "Middle name", 25),
            text("PersonLastName", "Last name", 25),
            text("LanguageId", "Language", 7).filled(Filled::With("en-us")),
            text("CustomerGroupId", "Customer group", 10).required(),
            text("SalesCurrencyCode", "Currency", 3).required(),
            text("PaymentTerms", "Terms of payment", 10)
                .filled(Filled::Related { relation: GROUP, column: "PaymentTermId" }),
            text("PaymentMethod", "Method of payment", 10),
            text("PaymentScheduleName", "Payment schedule", 10),
            text("DeliveryMode", "Mode of delivery", 10),
            text("DeliveryTerms", "Delivery terms", 10),
            text("SalesTaxGroup", "Sales tax group", 10)
                .filled(Filled::Related { relation: GROUP, column: "TaxGroupId" }),
            text("TaxExemptNumber", "Tax exempt number", 20),
            choice("IsSalesTaxIncludedInPrices", "Prices include sales tax", Enum::NoYes)
                .filled(Filled::Related { relation: GROUP, column: "IsSalesTaxIncludedInPrice" }),
            text("InvoiceAccount", "Invoice account", 20),
            real("CreditLimit", "Credit limit"),
            choice("CreditLimitIsMandatory", "Mandatory credit limit", Enum::NoYes),
            text("CreditRating", "Credit rating", 10),
            choice("OnHoldStatus", "Invoicing and delivery on hold", Enum::Blocked),
            choice("AccountStatement", "Account statement", Enum::AccountStatement),
            choice("IsOneTimeCustomer", "One-time customer", Enum::NoYes),
            text("SalesDistrict", "Sales district", 20),
            text("SalesSegmentId", "Segment", 20),
            text("EmployeeResponsibleNumber", "Employee responsible", 25),
            text("SiteId", "Site", 10),
            text("WarehouseId", "Warehouse", 10),
            text("DefaultDimensionDisplayValue", "Default dimension", 255),
            text("AddressDescription", "Address name", 60).on_create(),
            text("AddressStreet", "Street", 250).on_create(),
            text("AddressZipCode", "ZIP/postal code", 10).on_create(),
            text("AddressCity", "City", 60).on_create(),
            text("AddressState", "State", 10).on_create(),
            text("AddressCountryRegionId", "Country/region", 10).on_create(),
            instant("AddressValidFrom", "Effective").on_create().filled(Filled::Created),
            text("FullPrimaryAddress", "Address", 250).read_only(),
            text("PrimaryContactEmail", "Primary email", 255),
            text("PrimaryContactPhone", "Primary phone", 255),
            text("PrimaryContactURL", "Primary URL", 255),
            instant("CreditLimitIsMandatoryFrom", "Mandatory credit limit from"),
            // A column of an extension, as partners add them; it carries the number of the system before.
            Col::new("DDULegacyRecordId", "Legacy record", Kind::Int64),
            instant("CreatedDateTime", "Created date and time").read_only().filled(Filled::Created),
            instant("ModifiedDateTime", "Modified date and time").read_only().filled(Filled::Modified),
        ])
        .related("CustomerGroupId", "CustomerGroups", "CustomerGroupId")
        .related("PaymentTerms", "PaymentTerms", "Name")
        .related("InvoiceAccount", "CustomersV3", "CustomerAccount")
        .done()
}
