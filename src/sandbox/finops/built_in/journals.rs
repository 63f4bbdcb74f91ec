//! Ledger journals: their names, their headers with a number that the application gives, and their lines.

use super::super::model::{Entity, Filled, Kind};
use super::{Col, Enum, choice, date, entity, instant, real, text};

pub(super) fn entities() -> Vec<Entity> {
    const JOURNAL: usize = 0;
    let names = entity([
        "JournalNames",
        "JournalName",
        "LedgerJournalNameEntity",
        "Journal names",
        "LedgerJournalName",
    ])
    .of_companies()
    .key(text("Name", "Name", 10).required())
    .and([
        text("Description", "Description", 60),
        choice("Type", "Journal type", Enum::JournalType),
        text("OffsetAccountDisplayValue", "Offset account", 255),
    ])
    .done();
    let headers = entity([
        "LedgerJournalHeaders",
        "LedgerJournalHeader",
        "LedgerJournalHeaderEntity",
        "Ledger journal table",
        "LedgerJournalTable",
    ])
    .of_companies()
    .key(text("JournalBatchNumber", "Journal batch number", 10).read_only().filled(Filled::Numbered("")))
    .and([
        text("JournalName", "Name", 10).required().on_create(),
        text("Description", "Description", 60)
            .filled(Filled::Related { relation: JOURNAL, column: "Description" }),
        choice("IsPosted", "Posted", Enum::NoYes).read_only(),
        instant("PostedDateTime", "Posted on").read_only(),
        instant("CreatedDateTime", "Created date and time").read_only().filled(Filled::Created),
    ])
    .related("JournalName", "JournalNames", "Name")
    .done();
    let lines = entity([
        "LedgerJournalLines",
        "LedgerJournalLine",
        "LedgerJournalLineEntity",
        "Journal lines",
        "LedgerJournalTrans",
    ])
    .of_companies()
    .key(text("JournalBatchNumber", "Journal batch number", 10).required())
    .key(Col::new("LineNumber", "Line number", Kind::Real).filled(Filled::Counted))
    .and([
        date("TransDate", "Date").required(),
        text("Voucher", "Voucher", 20),
        choice("AccountType", "Account type", Enum::AccountType),
        text("AccountDisplayValue", "Account", 255).required(),
        text("DefaultDimensionDisplayValue", "Default dimension", 255),
        text("Text", "Description", 60),
        text("CurrencyCode", "Currency", 3).required(),
        real("DebitAmount", "Debit"),
        real("CreditAmount", "Credit"),
        real("ExchRate", "Exchange rate"),
        choice("OffsetAccountType", "Offset account type", Enum::AccountType),
        text("OffsetAccountDisplayValue", "Offset account", 255),
        text("OffsetText", "Offset transaction text", 60),
        text("Invoice", "Invoice", 20),
        date("InvoiceDate", "Invoice date"),
        text("Document", "Document", 20),
        date("DocumentDate", "Document date"),
        date("DueDate", "Due date"),
        text("PaymentReference", "Payment reference", 20),
        text("SalesTaxGroup", "Sales tax group", 10),
        text("ItemSalesTaxGroup", "Item sales tax group", 10),
        choice("ReverseEntry", "Reversing entry", Enum::NoYes),
        date("ReverseDate", "Reversing date"),
    ])
    .related("JournalBatchNumber", "LedgerJournalHeaders", "JournalBatchNumber")
    .done();
    vec![names, headers, lines]
}
