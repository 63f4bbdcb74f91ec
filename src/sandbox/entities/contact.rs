//! The contact table.

use super::super::schema::{Flavour, Kind, Table};
use super::{
    boolean, choice, column, date, formatted, key, memo, money, naming, owner, system_columns, target, text,
};

pub(super) fn table() -> Table {
    let mut columns = system_columns(
        "ContactId",
        "Contact",
        &[(0, "Active", 1), (1, "Inactive", 2)],
        &[(1, "Active", 0), (2, "Inactive", 1)],
    );
    let company = Kind::Lookup {
        flavour: Flavour::Customer,
        targets: vec![
            target("account", "parentcustomerid_account", "contact_customer_accounts"),
            target("contact", "parentcustomerid_contact", "contact_customer_contacts"),
        ],
    };
    columns.extend([
        text("FirstName", "First Name", 50),
        text("LastName", "Last Name", 50).business_required(),
        text("FullName", "Full Name", 160)
            .computed("nullif(trim(coalesce(firstname, '') || ' ' || coalesce(lastname, '')), '')"),
        formatted("EMailAddress1", "Email", 100, "Email"),
        formatted("Telephone1", "Business Phone", 50, "Phone"),
        formatted("MobilePhone", "Mobile Phone", 50, "Phone"),
        text("JobTitle", "Job Title", 100),
        date("BirthDate", "Birthday"),
        choice("GenderCode", "Gender", &[(1, "Male"), (2, "Female")]),
        column("ParentCustomerId", "Company Name", company),
        text("Address1_Line1", "Address 1: Street 1", 250),
        text("Address1_City", "Address 1: City", 80),
        text("Address1_PostalCode", "Address 1: ZIP/Postal Code", 20),
        text("Address1_Country", "Address 1: Country/Region", 80),
        money("CreditLimit", "Credit Limit"),
        boolean("CreditOnHold", "Credit Hold", "Yes", "No"),
        boolean("DoNotEMail", "Do not allow Emails", "Do Not Allow", "Allow"),
        memo("Description", "Description", 2000),
        owner("contacts"),
    ]);
    Table::new(
        naming("Contact", ("Contact", "Contacts"), "contacts", 2, "fullname"),
        columns,
        vec![key("ddu_emailaddress1key", "Email", "emailaddress1")],
    )
}
