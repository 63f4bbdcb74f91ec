//! What all companies share: currencies and exchange rates, without `dataAreaId`.

use super::super::model::{Entity, Filled};
use super::{Enum, choice, date, entity, real, text};

pub(super) fn entities() -> Vec<Entity> {
    let currencies = entity(["Currencies", "Currency", "CurrencyEntity", "Currencies", "Currency"])
        .key(text("CurrencyCode", "Currency", 3).required())
        .and([
            text("Name", "Name", 60),
            text("Symbol", "Symbol", 5),
            choice("ReferenceCurrencyForTriangulation", "Reference currency for triangulation", Enum::NoYes),
            real("GeneralRoundingRule", "General rounding rule").filled(Filled::With("0.01")),
            real("RoundingRulePrices", "Rounding rule for prices"),
            real("RoundingRulePurchaseOrders", "Rounding rule for purchase orders"),
            real("RoundingRuleSalesOrders", "Rounding rule for sales orders"),
            real("RoundingRuleFixedAssets", "Rounding rule for fixed assets"),
        ])
        .done();
    // The key has four columns, and one of them is a date.
    let rates =
        entity(["ExchangeRates", "ExchangeRate", "ExchangeRateEntity", "Exchange rates", "ExchangeRate"])
            .key(text("RateTypeName", "Exchange rate type", 20).required())
            .key(text("FromCurrency", "From currency", 3).required())
            .key(text("ToCurrency", "To currency", 3).required())
            .key(date("StartDate", "Start date").required())
            .and([
                date("EndDate", "End date"),
                real("Rate", "Exchange rate").required(),
                choice("ConversionFactor", "Quotation unit", Enum::RateFactor),
                text("RateTypeDescription", "Description", 60).read_only(),
            ])
            .related("FromCurrency", "Currencies", "CurrencyCode")
            .related("ToCurrency", "Currencies", "CurrencyCode")
            .done();
    vec![currencies, rates]
}
