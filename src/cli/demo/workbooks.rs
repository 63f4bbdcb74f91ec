//! The drops of the demo and of `examples/`: workbooks of invented companies with honest faults, and their sidecars.
//!
//! The same bytes on every run. The clean rows stand in one file for each workbook, [`FAULTS`] lays the mistakes over
//! them, and [`fixed`] mends a returned workbook the way a person would.

mod accounts;
mod contacts;
mod mend;
mod products;

use jiff::civil::{Date, date};
use rust_xlsxwriter::{
    DocProperties, ExcelDateTime, Format, FormatAlign, FormatBorder, Workbook, Worksheet, XlsxError,
};

pub use mend::{MendError, Mended, MendedCell, fixed};

/// A file to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoFile {
    /// Its name in the folder.
    pub name: &'static str,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A mistake in a workbook of the demo.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DemoFault {
    /// The workbook.
    pub workbook: &'static str,
    /// The row's number there.
    pub row: u32,
    /// The header of its column.
    pub header: &'static str,
    /// What is wrong with it, for people who read along.
    pub why: &'static str,
    wrong: Entry,
}

/// An example workbook could not be made. A defect of this program.
#[derive(Debug, thiserror::Error)]
#[error("the example workbook `{name}` could not be made: {source}")]
pub struct DemoError {
    /// The workbook.
    pub name: &'static str,
    /// What the writing library says.
    #[source]
    pub source: XlsxError,
}

/// What a cell of an example holds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Nothing,
    Text(&'static str),
    Number(f64),
    Day(Date),
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Entry::Nothing => Ok(()),
            Entry::Text(text) => f.write_str(text),
            Entry::Number(number) => number.fmt(f),
            Entry::Day(day) => day.fmt(f),
        }
    }
}

/// One workbook of the demo: a single sheet with its header in row 1.
struct Drop {
    workbook: &'static str,
    sheet: &'static str,
    headers: &'static [&'static str],
    rows: Vec<Vec<Entry>>,
}

impl Drop {
    /// The cell that a fault is about; `None` where it is about another workbook.
    fn entry_at(&mut self, fault: &DemoFault) -> Option<&mut Entry> {
        let column = self.headers.iter().position(|header| *header == fault.header)?;
        let row = fault.row.checked_sub(2)? as usize;
        if self.workbook == fault.workbook { self.rows.get_mut(row)?.get_mut(column) } else { None }
    }
}

/// The workbooks without their faults, in the order in which they are dropped.
fn clean_drops() -> [Drop; 3] {
    [accounts::drop(), contacts::drop(), products::drop()]
}

const ACCOUNTS: &str = "accounts.xlsx";
const CONTACTS: &str = "contacts.xlsx";
const PRODUCTS: &str = "products.xlsx";
/// The only date in the documents.
const MADE_ON: (u16, u8, u8) = (2026, 11, 22);
/// The day that a workbook counts as 0.
const DAY_ZERO: Date = date(1899, 12, 30);

/// The sidecar of `accounts.xlsx`: one workbook, its settings at the top.
const ACCOUNTS_SIDECAR: &str = r#"{
  "target_entity": "account",
  "order": 1,
  "columns": {
    "City": "address1_city",
    "Country": "address1_country",
    "No. of Employees": "numberofemployees"
  }
}
"#;

/// One sidecar for two workbooks: its keys are their names.
const OTHERS_SIDECAR: &str = r#"{
  "contacts.xlsx": {
    "target_entity": "contact",
    "order": 2,
    "columns": {
      "Company": "parentcustomerid"
    },
    "lookups": {
      "Company": { "entity": "account", "column": "accountnumber" }
    }
  },
  "products.xlsx": {
    "target_entity": "product",
    "mode": "upsert",
    "key": ["Product ID"],
    "atomic": true
  }
}
"#;

/// A name of 178 characters; the target takes 160.
const LONG_NAME: &str = "Quellbach Werkzeuge und Sondermaschinenbau Gesellschaft mit beschränkter Haftung und \
     Compagnie Kommanditgesellschaft, vormals Gebrüder Quellbach Nachfolger, Werk Süd und Vertrieb";

/// The mistakes, in the order of workbooks and rows.
pub const FAULTS: [DemoFault; 7] = [
    DemoFault {
        workbook: ACCOUNTS,
        row: 6,
        header: "Account Name",
        why: "a name of 178 characters, where 160 fit",
        wrong: Entry::Text(LONG_NAME),
    },
    DemoFault {
        workbook: ACCOUNTS,
        row: 12,
        header: "Industry",
        why: "an industry that Dynamics does not know",
        wrong: Entry::Text("Spaceflight"),
    },
    DemoFault {
        workbook: ACCOUNTS,
        row: 19,
        header: "Account Number",
        why: "the account number of row 8 once more",
        wrong: Entry::Text("001007"),
    },
    DemoFault {
        workbook: ACCOUNTS,
        row: 27,
        header: "Customer Since",
        why: "a date that is words",
        wrong: Entry::Text("last spring"),
    },
    DemoFault {
        workbook: ACCOUNTS,
        row: 33,
        header: "No. of Employees",
        why: "a number that is a word",
        wrong: Entry::Text("many"),
    },
    DemoFault {
        workbook: CONTACTS,
        row: 14,
        header: "Company",
        why: "a company that is not among the accounts",
        wrong: Entry::Text("009999"),
    },
    DemoFault {
        workbook: CONTACTS,
        row: 22,
        header: "Birthday",
        why: "a birthday before 1753, where the calendar of Dynamics begins",
        wrong: Entry::Text("1692-07-14"),
    },
];

/// The files of the demo, in the order in which they are dropped.
///
/// # Errors
/// None that a user could cause; see [`DemoError`].
pub fn demo_files() -> Result<Vec<DemoFile>, DemoError> {
    let mut drops = clean_drops();
    for fault in FAULTS {
        let place = drops.iter_mut().find_map(|drop| drop.entry_at(&fault));
        *place.expect("every fault names a cell of a workbook") = fault.wrong;
    }
    let [accounts, contacts, products] = drops.map(|drop| {
        let bytes = written(&drop).map_err(|source| DemoError { name: drop.workbook, source })?;
        Ok(DemoFile { name: drop.workbook, bytes })
    });
    Ok(vec![
        accounts?,
        DemoFile { name: "accounts.xlsx.json", bytes: ACCOUNTS_SIDECAR.into() },
        contacts?,
        products?,
        DemoFile { name: "contacts-and-products.json", bytes: OTHERS_SIDECAR.into() },
    ])
}

/// A workbook with the one date that every example has; the library would take the clock's.
fn new_book() -> Result<Workbook, XlsxError> {
    let (year, month, day) = MADE_ON;
    let made_on = ExcelDateTime::from_ymd(year, month, day)?;
    let mut book = Workbook::new();
    book.set_properties(&DocProperties::new().set_creation_datetime(&made_on));
    Ok(book)
}

fn written(drop: &Drop) -> Result<Vec<u8>, XlsxError> {
    let mut book = new_book()?;
    let header = Format::new()
        .set_bold()
        .set_border_bottom(FormatBorder::Medium)
        .set_align(FormatAlign::VerticalCenter);
    let looks = EntryLooks::new();
    let sheet = book.add_worksheet();
    sheet.set_name(drop.sheet)?;
    for (column, text) in (0..).zip(drop.headers) {
        sheet.write_string_with_format(0, column, *text, &header)?;
    }
    for (row, entries) in (1..).zip(&drop.rows) {
        for (column, entry) in (0..).zip(entries) {
            looks.write(sheet, row, column, *entry)?;
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    sheet.set_autofit_max_width(260).autofit();
    book.save_to_buffer()
}

/// How entries are written; text is text for good, so that leading zeros outlive an edit.
struct EntryLooks {
    text: Format,
    number: Format,
    day: Format,
    moment: Format,
}

impl EntryLooks {
    fn new() -> Self {
        EntryLooks {
            text: Format::new().set_num_format_index(49),
            number: Format::new(),
            day: Format::new().set_num_format("yyyy-mm-dd"),
            moment: Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"),
        }
    }

    fn write(&self, sheet: &mut Worksheet, row: u32, column: u16, entry: Entry) -> Result<(), XlsxError> {
        match entry {
            Entry::Nothing => sheet,
            Entry::Text(text) => sheet.write_string_with_format(row, column, text, &self.text)?,
            Entry::Number(number) => sheet.write_number_with_format(row, column, number, &self.number)?,
            Entry::Day(day) => sheet.write_number_with_format(row, column, day_number(day), &self.day)?,
        };
        Ok(())
    }
}

/// How a workbook counts days.
fn day_number(day: Date) -> f64 {
    (day.duration_since(DAY_ZERO).as_hours() / 24) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
