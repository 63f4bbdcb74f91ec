//! The account table.

use super::super::schema::{Kind, Table};
use super::{
    boolean, choice, column, date, formatted, integer, items, key, lookup, memo, money, naming, owner,
    system_columns, target, text,
};

/// Real options of `industrycode`.
const INDUSTRIES: [(i32, &str); 33] = [
    (1, "Accounting"),
    (2, "Agriculture and Non-petrol Natural Resource Extraction"),
    (3, "Broadcasting Printing and Publishing"),
    (4, "Brokers"),
    (5, "Building Supply Retail"),
    (6, "Business Services"),
    (7, "Consulting"),
    (8, "Consumer Services"),
    (9, "Design, Direction and Creative Management"),
    (10, "Distributors, Dispatchers and Processors"),
    (11, "Doctor's Offices and Clinics"),
    (12, "Durable Manufacturing"),
    (13, "Eating and Drinking Places"),
    (14, "Entertainment Retail"),
    (15, "Equipment Rental and Leasing"),
    (16, "Financial"),
    (17, "Food and Tobacco Processing"),
    (18, "Inbound Capital Intensive Processing"),
    (19, "Inbound Repair and Services"),
    (20, "Insurance"),
    (21, "Legal Services"),
    (22, "Non-Durable Merchandise Retail"),
    (23, "Outbound Consumer Service"),
    (24, "Petrochemical Extraction and Distribution"),
    (25, "Service Retail"),
    (26, "SIG Affiliations"),
    (27, "Social Services"),
    (28, "Special Outbound Trade Contractors"),
    (29, "Specialty Realty"),
    (30, "Transportation"),
    (31, "Utility Creation and Distribution"),
    (32, "Vehicle Retail"),
    (33, "Wholesale"),
];

/// Real options of `customertypecode`.
const RELATIONSHIPS: [(i32, &str); 12] = [
    (1, "Competitor"),
    (2, "Consultant"),
    (3, "Customer"),
    (4, "Investor"),
    (5, "Partner"),
    (6, "Influencer"),
    (7, "Press"),
    (8, "Prospect"),
    (9, "Reseller"),
    (10, "Supplier"),
    (11, "Vendor"),
    (12, "Other"),
];

/// Options of the multi-select column, which the standard account has none of.
const CHANNELS: [(i32, &str); 5] =
    [(1, "Web Shop"), (2, "Retail"), (3, "Wholesale"), (4, "Telesales"), (9, "Marketplace")];

pub(super) fn table() -> Table {
    let mut columns = system_columns(
        "AccountId",
        "Account",
        &[(0, "Active", 1), (1, "Inactive", 2)],
        &[(1, "Active", 0), (2, "Inactive", 1)],
    );
    columns.extend([
        text("Name", "Account Name", 160).business_required(),
        text("AccountNumber", "Account Number", 20),
        formatted("Telephone1", "Main Phone", 50, "Phone"),
        formatted("EMailAddress1", "Email", 100, "Email"),
        formatted("WebSiteURL", "Website", 200, "Url"),
        text("Address1_Line1", "Address 1: Street 1", 250),
        text("Address1_City", "Address 1: City", 80),
        text("Address1_PostalCode", "Address 1: ZIP/Postal Code", 20),
        text("Address1_Country", "Address 1: Country/Region", 80),
        money("Revenue", "Annual Revenue"),
        integer("NumberOfEmployees", "Number of Employees", 0, 1_000_000_000),
        money("CreditLimit", "Credit Limit"),
        boolean("CreditOnHold", "Credit Hold", "Yes", "No"),
        choice("IndustryCode", "Industry", &INDUSTRIES),
        choice("AccountCategoryCode", "Category", &[(1, "Preferred Customer"), (2, "Standard")]),
        choice("CustomerTypeCode", "Relationship Type", &RELATIONSHIPS),
        boolean("DoNotEMail", "Do not allow Emails", "Do Not Allow", "Allow"),
        memo("Description", "Description", 2000),
        lookup(
            "PrimaryContactId",
            "Primary Contact",
            target("contact", "primarycontactid", "account_primary_contact"),
        ),
        lookup(
            "ParentAccountId",
            "Parent Account",
            target("account", "parentaccountid", "account_parent_account"),
        ),
        owner("accounts"),
        date("ddu_CustomerSince", "Customer Since"),
        column("LastOnHoldTime", "Last On Hold Time", Kind::DateTime),
        column("ddu_Channels", "Channels", Kind::MultiChoice { options: items(&CHANNELS) }),
    ]);
    Table::new(
        naming("Account", ("Account", "Accounts"), "accounts", 1, "name"),
        columns,
        vec![key("ddu_accountnumberkey", "Account Number", "accountnumber")],
    )
}
