//! The parts that describe Excel tables: where each stands and what its columns are called.

use std::io::BufRead;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::cells::cell_place;
use super::text::decode_from;
use super::xml;
use crate::domain::cell::SHEET_COLUMNS_MAX;
use crate::io::workbook::fault::ReadFault;
use crate::io::workbook::tables::{Area, ExcelTable};

/// Bytes of all column names of one table; Excel allows 255 characters each, and a table has a few dozen.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// Reads the description of one table; `Err` holds the sentence why it cannot be used.
///
/// # Errors
/// When the part is damaged.
pub(super) fn read_table<R: BufRead>(
    part: &str,
    reader: &mut Reader<R>,
) -> Result<Result<ExcelTable, String>, ReadFault> {
    let mut buffer = Vec::new();
    let mut table: Option<ExcelTable> = None;
    let mut names_bytes = 0;
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|e| xml::broken(part, e))? {
            Event::Start(element) => match (element.local_name().as_ref(), &mut table) {
                ("table", None) => match described(&element) {
                    Ok(found) => table = Some(found),
                    Err(why) => return Ok(Err(why)),
                },
                ("tableColumn", Some(table)) if table.columns.len() < SHEET_COLUMNS_MAX as usize => {
                    let mut name = xml::attribute(&element, "name").unwrap_or_default().into_owned();
                    decode_from(0, &mut name);
                    names_bytes += name.len();
                    if names_bytes > NAMES_BYTES_MAX {
                        let name = &table.name;
                        return Ok(Err(format!(
                            "the Excel table `{name}` was not used: its columns have more than {NAMES_BYTES_MAX} bytes \
                             of names"
                        )));
                    }
                    table.columns.push(name);
                }
                _ => {}
            },
            Event::Eof => {
                return Ok(
                    table.ok_or_else(|| format!("an Excel table was not used: `{part}` describes none"))
                );
            }
            _ => {}
        }
    }
}

/// What the attributes of `<table>` say.
fn described(element: &BytesStart<'_>) -> Result<ExcelTable, String> {
    let text = |name| xml::attribute(element, name).unwrap_or_default().into_owned();
    let mut name = text("displayName");
    if name.is_empty() {
        name = text("name");
    }
    let unused = |why: String| format!("the Excel table `{name}` was not used: {why}");
    let reference = text("ref");
    let area = area(&reference).ok_or_else(|| {
        unused(format!("`{}` is no area of a sheet", reference.chars().take(40).collect::<String>()))
    })?;
    let count = |attribute, usual: u32| {
        let count = text(attribute);
        if count.is_empty() { Ok(usual) } else { count.parse::<u32>() }
    };
    let rows = count("headerRowCount", 1).and_then(|header| Ok((header, count("totalsRowCount", 0)?)));
    match rows {
        Ok((header_rows, totals_rows))
            if header_rows
                .checked_add(totals_rows)
                .is_some_and(|rows| rows <= area.bottom - area.top + 1) =>
        {
            Ok(ExcelTable { name, area, header_rows, totals_rows, columns: Vec::new() })
        }
        _ => Err(unused(format!("its header and totals do not fit into {reference}"))),
    }
}

/// The area of a reference such as `A5:I36`; one cell is an area too.
fn area(reference: &str) -> Option<Area> {
    let plain = reference.replace('$', "");
    let (from, to) = plain.split_once(':').unwrap_or((&plain, &plain));
    let ((top, left), (bottom, right)) =
        (cell_place(from.trim().as_bytes())?, cell_place(to.trim().as_bytes())?);
    (top <= bottom && left <= right).then_some(Area { top, left, bottom, right })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(xml: &str) -> Result<ExcelTable, String> {
        read_table("t", &mut xml::reader(xml.as_bytes())).unwrap()
    }

    #[test]
    fn a_table_says_where_it_stands_and_what_its_columns_are_called() {
        let table = read(
            "<x:table xmlns:x='m' name='n' displayName='Data' ref='$B$3:D9' totalsRowCount='1' headerRowCount='0'>\
             <x:tableColumns count='99'><x:tableColumn id='1' name='A &amp; B'/><x:tableColumn id='2' \
             name='two_x000a_lines'/></x:tableColumns></x:table>",
        )
        .unwrap();
        assert_eq!(table.area, Area { top: 3, left: 1, bottom: 9, right: 3 });
        assert_eq!((table.header_row(), table.last_row()), (2, 8));
        assert_eq!(table.columns, ["A & B", "two\nlines"]);
        assert_eq!(
            (table.column_name(1), table.column_name(3), table.column_name(0)),
            (Some("A & B"), None, None)
        );
    }

    #[test]
    fn a_table_that_cannot_stand_there_is_not_used_and_says_why() {
        for (attributes, wanted) in [
            ("ref='A5'  totalsRowCount='1'", "do not fit"),
            ("ref='A5:A6' headerRowCount='4294967295' totalsRowCount='4294967295'", "do not fit"),
            ("ref='A5:A6' headerRowCount='-1'", "do not fit"),
            ("ref='A9:A5'", "`A9:A5` is no area"),
            ("ref='XFE1:XFF2'", "is no area"),
            ("ref='A0:A5'", "is no area"),
            ("ref=''", "is no area"),
            ("", "is no area"),
        ] {
            let why = read(&format!("<table displayName='T' {attributes}/>")).unwrap_err();
            assert!(why.starts_with("the Excel table `T` was not used: ") && why.contains(wanted), "{why}");
        }
        assert!(read("<other/>").unwrap_err().contains("describes none"));
    }
}
