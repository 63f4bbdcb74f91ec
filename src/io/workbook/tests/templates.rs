//! Workbooks that Dynamics makes: what their hidden sheet and their manifest say, and when it is believed.

use rust_xlsxwriter::Workbook;

use super::corpus::corpus;
use super::*;
use crate::io::workbook::{DataPackage, PackageEntity, TemplateSheet, WorkbookFormat};

/// The first cell of the hidden sheet as Dataverse writes it.
const ACCOUNT: &str = "account:Zm9vK2Jhcg==:accountid=%28Do%20Not%20Modify%29%20Account&checksumLogicalName=\
    %28Do%20Not%20Modify%29%20Row%20Checksum&modifiedon=%28Do%20Not%20Modify%29%20Modified%20On&name=Account%20Name&\
    telephone1=Phone&address1_telephone1=Phone&accountprimarycontactid.emailaddress1=Email%20%28Primary%20Contact%29";

/// A workbook with this header and this hidden sheet.
fn made_by_dynamics(header: &[&str], description: &str, sheet_name: &str) -> Vec<u8> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet().set_name("Active Accounts").unwrap();
    for (column, text) in (0..).zip(header) {
        sheet.write_string(0, column, *text).unwrap();
        sheet.write_string(1, column, "x").unwrap();
    }
    let hidden = book.add_worksheet().set_name(sheet_name).unwrap();
    hidden.write_string(0, 0, description).unwrap();
    hidden.write_string(1, 0, "Active").unwrap();
    hidden.set_very_hidden(true);
    book.save_to_buffer().unwrap()
}

#[test]
fn the_hidden_sheet_of_a_template_names_table_and_columns_and_the_checksum_is_not_sent() {
    let header = [
        "(Do Not Modify) Account",
        "(Do Not Modify) Row Checksum",
        "(Do Not Modify) Modified On",
        "account name ",
        "Phone",
        "Phone",
        "Email (Primary Contact)",
    ];
    let book = made_by_dynamics(&header, ACCOUNT, "hiddenSheet");
    let template = probe(&book, "a.xlsx").unwrap().template.unwrap();
    assert_eq!(template.table, "account");
    let [TemplateSheet { sheet, has_ids: true, columns }] = template.sheets.as_slice() else {
        panic!("{template:?}")
    };
    assert_eq!(sheet, "Active Accounts");
    let columns: Vec<_> = columns.iter().map(|(header, column)| (header.as_str(), column.as_str())).collect();
    assert_eq!(
        columns,
        [
            ("(Do Not Modify) Account", "accountid"),
            ("(Do Not Modify) Row Checksum", ""),
            ("(Do Not Modify) Modified On", ""),
            ("account name", "name"),
            ("Phone", "telephone1"),
            ("Phone_2", "address1_telephone1"),
            ("Email (Primary Contact)", ""),
        ]
    );
    assert_eq!(
        read(&book, &request("a.xlsx")).unwrap().notes(),
        [
            "the workbook was made by Dynamics for the table `account`",
            "not sent, as they are no columns of `account`: `(Do Not Modify) Row Checksum`, `(Do Not Modify) Modified \
             On`, `Email (Primary Contact)`",
        ]
    );
}

#[test]
fn a_hidden_sheet_that_does_not_agree_with_the_header_is_not_believed_and_a_note_says_so() {
    let other = made_by_dynamics(&["Account Name", "Amount"], ACCOUNT, "hiddenSheet");
    assert!(probe(&other, "a.xlsx").unwrap().template.unwrap().sheets.is_empty());
    assert_eq!(
        read(&other, &request("a.xlsx")).unwrap().notes(),
        [
            "the hidden sheet `hiddenSheet` describes the table `account`, which has no column `Amount`; it is not \
          believed, and the workbook is read like any other"
        ]
    );
    // An own column beside the column of ids does not make it another table.
    let own = made_by_dynamics(&["(Do Not Modify) Account", "Account Name", "Note"], ACCOUNT, "hiddenSheet");
    let sheets = probe(&own, "a.xlsx").unwrap().template.unwrap().sheets;
    assert_eq!(sheets[0].columns.len(), 2);
    // Neither a sheet of another name nor another text is a template.
    for (description, name) in [(ACCOUNT, "Hidden"), ("some notes: of ours: a=b, c", "hiddenSheet")] {
        let book = made_by_dynamics(&["Account Name"], description, name);
        assert_eq!(probe(&book, "a.xlsx").unwrap().template, None);
        assert!(read(&book, &request("a.xlsx")).unwrap().notes().is_empty());
    }
}

#[test]
fn real_templates_of_dataverse_are_believed_where_they_agree() {
    let Some(corpus) = corpus() else { return };
    let of = |file: &str| {
        let bytes = std::fs::read(corpus.join("files").join(file)).unwrap();
        let template = probe(&bytes, file).unwrap().template.unwrap();
        (template, read(&bytes, &request(file)).unwrap())
    };
    let (times, read) = of("Dynamics-365-F__TimeEntries.xlsx");
    assert_eq!((times.table.as_str(), times.sheets.len()), ("msdyn_timeentry", 1));
    assert!(!times.sheets[0].has_ids);
    let columns: Vec<_> = times.sheets[0].columns.iter().map(|(_, column)| column.as_str()).collect();
    assert_eq!(columns[..3], ["msdyn_duration", "msdyn_description", "msdyn_externaldescription"]);
    assert_eq!(columns.len(), 10);
    assert_eq!(read.notes(), ["the workbook was made by Dynamics for the table `msdyn_timeentry`"]);
    // Somebody built an expense table over the hidden sheet of time entries.
    let (estimates, read) = of("Dynamics-365-F__Estimates.xlsx");
    assert!(estimates.sheets.is_empty());
    assert!(
        read.notes()[0].contains(
            "describes the table `msdyn_timeentry`, which has no column `Category`, `Start Date`, `Quantity`, `Cost Price`, \
             `Sales Price`; it is not believed"
        ),
        "{:?}",
        read.notes()
    );
    assert_eq!(read.values("Start_Date"), ["2023-02-10"]);
}

/// A data package of these entities and files.
fn package_of(entities: &[(&str, &str)], files: &[(&str, &[u8])]) -> Vec<u8> {
    let entities: String = entities
        .iter()
        .map(|(name, file)| {
            format!(
                "<DataManagementPackageEntityData><EntityName>{name}</EntityName><InputFilePath>{file}</InputFilePath>\
                 </DataManagementPackageEntityData>"
            )
        })
        .collect();
    let manifest = format!(
        "<DataManagementPackageManifest><PackageEntityList>{entities}</PackageEntityList></DataManagementPackageManifest>"
    );
    let utf_16: Vec<u8> =
        [0xFEFF].into_iter().chain(manifest.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let own: [(&str, &[u8]); 2] = [("Manifest.xml", &utf_16), ("PackageHeader.xml", b"<x/>")];
    for (name, bytes) in files.iter().chain(&own) {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The bytes of a file of a package.
fn unpacked(package: &[u8], file: &str) -> Result<Vec<u8>, ReadFault> {
    let what = ReadWhat::Unpack { file: file.to_owned() };
    let frames = frames_of(file_of(package), &ReadRequest { what, ..request("p.zip") })?;
    assert!(frames.iter().all(|(tag, _)| *tag == frames::BYTES) && frames.last().unwrap().1.is_empty());
    Ok(frames.into_iter().flat_map(|(_, piece)| piece).collect())
}

#[test]
fn a_data_package_is_known_by_its_content_names_its_entities_and_gives_its_workbooks_out_whole() {
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n % 251).to_le_bytes()).collect();
    let package = package_of(
        &[("Customer groups", "Customer groups.xlsx"), ("Terms", "C:\\x\\Terms.xlsx")],
        &[("customer GROUPS.xlsx", &large), ("Terms.xlsx", b"abc")],
    );
    for name in ["p.zip", "p.xlsx"] {
        let probe = probe(&package, name).unwrap();
        let entity = |entity: &str, file: &str| PackageEntity { entity: entity.into(), file: file.into() };
        let entities = vec![entity("Customer groups", "Customer groups.xlsx"), entity("Terms", "Terms.xlsx")];
        assert_eq!((probe.format, probe.package), (WorkbookFormat::Package, Some(DataPackage { entities })));
        assert_eq!(probe.notes.len(), usize::from(name == "p.xlsx"));
    }
    assert_eq!(unpacked(&package, "Customer groups.xlsx").unwrap(), large);
    assert_eq!(unpacked(&package, "Terms.xlsx").unwrap(), b"abc");
    let missing = unpacked(&package, "Vendors.xlsx").unwrap_err().to_string();
    assert!(missing.contains("nothing called `Vendors.xlsx` in it; it holds `customer GROUPS.xlsx`, `Terms.xlsx`, `Manifest.xml`"), "{missing}");
    let nothing = probe(&package_of(&[], &[]), "p.zip").unwrap_err().to_string();
    assert!(nothing.contains("names no entity with a file"), "{nothing}");
    // Any other zip is none, and a package is no workbook.
    let other = zip_of(&BTreeMap::from([("a.xlsx", "x")]));
    assert!(probe(&other, "p.zip").unwrap_err().to_string().contains("drop the workbooks in it one by one"));
    assert!(
        read(&package, &request("p.zip")).is_err_and(|fault| fault
            .to_string()
            .contains("its 2 entities cannot share one `target_entity`"))
    );
    assert!(unpacked(&made_by_dynamics(&["A"], "", "B"), "A").is_err());
}
