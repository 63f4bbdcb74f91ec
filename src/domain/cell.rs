//! Names of places on a sheet, as Excel writes them.

/// Rows that an Excel sheet has. Source: Excel specifications and limits.
pub const SHEET_ROWS_MAX: u32 = 1_048_576;
/// Columns that an Excel sheet has (`XFD`). Source: Excel specifications and limits.
pub const SHEET_COLUMNS_MAX: u32 = 16_384;

/// The letters of a column: index 0 is `A`, 26 is `AA`.
pub fn column_letters(index: u32) -> String {
    let mut letters = Vec::new();
    let mut rest = u64::from(index) + 1;
    while rest > 0 {
        let digit = ((rest - 1) % 26) as u8;
        letters.push(char::from(b'A' + digit));
        rest = (rest - 1) / 26;
    }
    letters.iter().rev().collect()
}

/// A cell's name from its column index and row number: (1, 7) is `B7`.
pub fn cell_name(column_index: u32, row_number: u32) -> String {
    format!("{}{row_number}", column_letters(column_index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_named_as_excel_names_them() {
        for (index, letters) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")]
        {
            assert_eq!(column_letters(index), letters);
        }
        assert_eq!(cell_name(1, 7), "B7");
    }
}
