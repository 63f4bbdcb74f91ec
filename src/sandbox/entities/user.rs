//! The user table: whom records belong to, and whom the server takes its callers for.

use super::super::schema::{Column, Kind, Required, Table};
use super::{boolean, column, formatted, naming, text};

pub(super) fn table() -> Table {
    let columns = vec![
        Column { required: Required::System, ..column("SystemUserId", "User", Kind::Id) }.create_only(),
        text("FullName", "Full Name", 200)
            .computed("nullif(trim(coalesce(firstname, '') || ' ' || coalesce(lastname, '')), '')"),
        text("FirstName", "First Name", 256).business_required(),
        text("LastName", "Last Name", 256).business_required(),
        text("DomainName", "User Name", 1024).business_required(),
        formatted("InternalEMailAddress", "Primary Email", 100, "Email"),
        column("AzureActiveDirectoryObjectId", "Azure AD Object ID", Kind::Guid),
        column("ApplicationId", "Application ID", Kind::Guid).create_only(),
        boolean("IsDisabled", "Status", "Disabled", "Enabled"),
        column("CreatedOn", "Created On", Kind::DateTime).read_only(),
        column("ModifiedOn", "Modified On", Kind::DateTime).read_only(),
        column("VersionNumber", "Version Number", Kind::BigInt).read_only(),
    ];
    Table::new(naming("SystemUser", ("User", "Users"), "systemusers", 8, "fullname"), columns, Vec::new())
}
