//! Names of dropped files: what is a workbook, what is a sidecar and whose, and which names mean the same file.

use unicode_normalization::UnicodeNormalization;

/// Extensions of files that hold rows, lower case; a zip is taken for a data package.
pub const WORKBOOK_EXTENSIONS: [&str; 8] = ["xlsx", "xlsm", "xlsb", "xls", "ods", "csv", "tsv", "zip"];

/// Whose settings a sidecar holds, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SidecarScope {
    /// `customers.xlsx.json`: those of the workbook of this name, as spelt in the sidecar's name.
    One(String),
    /// `anything.json`: those of the workbooks that are its keys.
    Many,
}

/// The scope of a dropped file, or `None` if it is no sidecar (hidden files, owner files of Excel and LibreOffice, other
/// extensions).
pub fn sidecar_scope(file_name: &str) -> Option<SidecarScope> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    if !extension.eq_ignore_ascii_case("json") || stem.is_empty() || is_hidden(file_name) {
        return None;
    }
    Some(if is_workbook(stem) { SidecarScope::One(stem.to_owned()) } else { SidecarScope::Many })
}

/// Whether a dropped file is a workbook by its name.
pub fn is_workbook(file_name: &str) -> bool {
    split_workbook(file_name).is_some() && !is_hidden(file_name)
}

/// The name of a workbook without its extension; a name without one as it is.
pub fn workbook_stem(file_name: &str) -> &str {
    split_workbook(file_name).map_or(file_name, |(stem, _)| stem)
}

/// The form in which two spellings of one name agree: NFC, lower case. Only for comparing, never for opening files.
///
/// macOS sends `é` as two characters, Windows does not mind `ORDERS.XLSX`; both mean the file that the sidecar names.
pub fn fold_name(name: &str) -> String {
    // Letter by letter, so that no letter's form depends on its neighbours; the final sigma is a sigma.
    name.nfc()
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ς' { 'σ' } else { c })
        .collect::<String>()
        .nfc()
        .collect()
}

/// Whether a workbook of this name has sheets to choose from.
pub(super) fn has_sheets(workbook_name: &str) -> bool {
    split_workbook(workbook_name)
        .is_none_or(|(_, extension)| !["csv", "tsv"].iter().any(|text| extension.eq_ignore_ascii_case(text)))
}

fn split_workbook(file_name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = file_name.rsplit_once('.')?;
    let known = WORKBOOK_EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension));
    (known && !stem.is_empty()).then_some((stem, extension))
}

fn is_hidden(file_name: &str) -> bool {
    file_name.starts_with('.') || file_name.starts_with("~$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_sidecar_tells_whose_it_is() {
        let one = |name: &str| Some(SidecarScope::One(name.to_owned()));
        for (name, scope) in [
            ("customers.xlsx.json", one("customers.xlsx")),
            ("Customers.XLSX.JSON", one("Customers.XLSX")),
            ("a.b.csv.json", one("a.b.csv")),
            ("customers.json", Some(SidecarScope::Many)),
            ("xlsx.json", Some(SidecarScope::Many)),
            ("customers.docx.json", Some(SidecarScope::Many)),
            (".json", None),
            (".xlsx.json", None),
            ("~$customers.xlsx.json", None),
            (".~lock.customers.xlsx.json#", None),
            ("customers.xlsx", None),
            ("json", None),
        ] {
            assert_eq!(sidecar_scope(name), scope, "{name}");
        }
    }

    #[test]
    fn two_spellings_of_one_name_agree() {
        for (a, b) in [
            ("Cafe\u{301}.XLSX", "caf\u{e9}.xlsx"),
            ("ΟΔΟΣ.xlsx", "οδος.xlsx"),
            ("GRÖSSE.csv", "gro\u{308}sse.csv"),
            ("İ.xlsx", "i\u{307}.xlsx"),
        ] {
            assert_eq!(fold_name(a), fold_name(b));
        }
        assert_ne!(fold_name("größe.csv"), fold_name("grösse.csv"));
    }

    #[test]
    fn workbooks_are_known_by_their_extension() {
        assert!(is_workbook("a.Xlsb") && is_workbook("a b.ods"));
        assert!(
            !is_workbook("~$a.xlsx")
                && !is_workbook(".xlsx")
                && !is_workbook("a.txt")
                && !is_workbook("xlsx")
        );
        assert_eq!(workbook_stem("Q1.2026.xlsx"), "Q1.2026");
    }
}
