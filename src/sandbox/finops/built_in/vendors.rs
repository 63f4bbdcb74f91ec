//! Vendor groups and vendors.

use super::super::model::{Entity, Filled};
use super::{Enum, choice, entity, instant, real, text};

pub(super) fn entities() -> Vec<Entity> {
    const GROUP: usize = 0;
    let groups =
        entity(["VendorGroups", "VendorGroup", "VendVendorGroupEntity", "Vendor groups", "VendGroup"])
            .of_companies()
            .key(text("VendorGroupId", "Vendor group", 10).required())
            .and([
                text("Description", "Description", 60),
                text("DefaultPaymentTermName", "Terms of payment", 10),
                text("ClearingPeriodPaymentTermName", "Settle period", 10),
                text("DefaultDimensionDisplayValue", "Default dimension", 255),
                text("TaxGroupId", "Sales tax group", 10),
                text("VendorAccountNumberSequence", "Vendor account number sequence", 10),
            ])
            .related("DefaultPaymentTermName", "PaymentTerms", "Name")
            .related("ClearingPeriodPaymentTermName", "PaymentTerms", "Name")
            .done();
    let vendors = entity(["VendorsV2", "VendorV2", "VendVendorV2Entity", "Vendors", "VendTable"])
        .of_companies()
        .key(text("VendorAccountNumber", "Vendor account", 20).required().filled(Filled::Numbered("V-")))
        .and([
            choice("VendorPartyType", "Type", Enum::PartyType)
                .on_create()
                .filled(Filled::With("Organization")),
            text("VendorPartyNumber", "Party ID", 40).read_only().filled(Filled::Numbered("PV-")),
            text("VendorOrganizationName", "Name", 100),
            text("VendorSearchName", "Search name", 20),
            text("VendorKnownAsName", "Known as", 100),
            text("PersonFirstName", "First name", 25),
            text("PersonLastName", "Last name", 25),
            text("LanguageId", "Language", 7).filled(Filled::With("en-us")),
            text("VendorGroupId", "Vendor group", 10).required(),
            text("CurrencyCode", "Currency", 3).required(),
            text("DefaultPaymentTermsName", "Terms of payment", 10)
                .filled(Filled::Related { relation: GROUP, column: "DefaultPaymentTermName" }),
            text("DefaultVendorPaymentMethodName", "Method of payment", 10),
            text("DefaultDeliveryModeId", "Mode of delivery", 10),
            text("DefaultDeliveryTermsCode", "Delivery terms", 10),
            text("SalesTaxGroupCode", "Sales tax group", 10)
                .filled(Filled::Related { relation: GROUP, column: "TaxGroupId" }),
            text("TaxExemptNumber", "Tax exempt number", 20),
            text("OurAccountNumber", "Our account number", 60),
            choice("OnHoldStatus", "Vendor hold", Enum::Blocked),
            choice("IsOneTimeVendor", "One-time vendor", Enum::NoYes),
            choice("ArePricesIncludingSalesTax", "Prices include sales tax", Enum::NoYes),
            real("CreditLimit", "Credit limit"),
            text("BuyerGroupId", "Buyer group", 10),
            text("DefaultOffsetAccountDisplayValue", "Offset account", 255),
            text("DefaultLedgerDimensionDisplayValue", "Default dimension", 255),
            text("AddressStreet", "Street", 250).on_create(),
            text("AddressZipCode", "ZIP/postal code", 10).on_create(),
            text("AddressCity", "City", 60).on_create(),
            text("AddressStateId", "State", 10).on_create(),
            text("AddressCountryRegionId", "Country/region", 10).on_create(),
            text("PrimaryEmailAddress", "Primary email", 255),
            text("PrimaryPhoneNumber", "Primary phone", 255),
            instant("CreatedDateTime", "Created date and time").read_only().filled(Filled::Created),
        ])
        .related("VendorGroupId", "VendorGroups", "VendorGroupId")
        .related("DefaultPaymentTermsName", "PaymentTerms", "Name")
        .done();
    vec![groups, vendors]
}
