//! The team table: who else records may belong to.

use super::super::schema::{Column, Kind, Required, Table};
use super::{boolean, column, formatted, memo, naming, text};

pub(super) fn table() -> Table {
    let columns = vec![
        Column { required: Required::System, ..column("TeamId", "Team", Kind::Id) }.create_only(),
        text("Name", "Team Name", 160).business_required(),
        memo("Description", "Description", 2000),
        formatted("EMailAddress", "Email", 100, "Email"),
        boolean("IsDefault", "Is Default", "Yes", "No").read_only(),
        column("CreatedOn", "Created On", Kind::DateTime).read_only(),
        column("ModifiedOn", "Modified On", Kind::DateTime).read_only(),
        column("VersionNumber", "Version Number", Kind::BigInt).read_only(),
    ];
    Table::new(naming("Team", ("Team", "Teams"), "teams", 9, "name"), columns, Vec::new())
}
