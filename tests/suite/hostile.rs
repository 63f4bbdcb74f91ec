//! Workbooks made to break a reader, through its real child: each ends in its sentence, within its bounds.

use std::io::{Cursor, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ddu::io::workbook::{ReadFault, WorkbookFormat};
use rust_xlsxwriter::Workbook;
use serde_json::json;

use crate::package::{by_hand, packed, text_row, with_part};
use crate::reader::{self, Sheet, request};
use crate::world::{World, accounts, block_on};

/// Most memory that the child may have held where it tells, in KiB: what these files claim must not be believed.
const PEAK_KIB_MAX: u64 = 150 << 10;
/// How long any of them may take, in a debug build on a busy machine.
const WALL_MAX: Duration = Duration::from_secs(60);

/// Reads a workbook within the bounds.
fn read(name: &str, bytes: &[u8]) -> Result<Sheet, ReadFault> {
    let began = Instant::now();
    let read = block_on(reader::read(bytes, &request(name)));
    assert!(began.elapsed() < WALL_MAX, "it took {:?}", began.elapsed());
    if let Ok(sheet) = &read {
        let peak = sheet.summary.peak_rss_kib;
        assert!(peak < PEAK_KIB_MAX, "the reader held {peak} KiB");
    }
    read
}

/// The sentence with which a workbook is refused.
fn refused(name: &str, bytes: &[u8]) -> String {
    match read(name, bytes) {
        Ok(sheet) => panic!("it was read: {} rows, {:?}", sheet.summary.rows, sheet.notes()),
        Err(fault) => {
            assert!(fault.is_senders(), "{fault}");
            fault.to_string()
        }
    }
}

/// A workbook with these rows below a header `A`, `B`.
fn rows(rows: &str) -> Vec<u8> {
    by_hand(&format!("<sheetData>{}{rows}</sheetData>", text_row(1, &["A", "B"])), &[])
}

/// A workbook whose sheet is written piece by piece.
fn large(head: &str, piece: &str, times: usize, tail: &str) -> Vec<u8> {
    let small = by_hand("", &[]);
    let mut zip = zip::ZipWriter::new_append(Cursor::new(small)).unwrap();
    zip.start_file("xl/worksheets/large.xml", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(head.as_bytes()).unwrap();
    let block = piece.repeat((1 << 16) / piece.len() + 1);
    let per_block = block.len() / piece.len();
    for _ in 0..times / per_block {
        zip.write_all(block.as_bytes()).unwrap();
    }
    zip.write_all(piece.repeat(times % per_block).as_bytes()).unwrap();
    zip.write_all(tail.as_bytes()).unwrap();
    let bytes = zip.finish().unwrap().into_inner();
    let relations = "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"worksheets/large.xml\"/></Relationships>";
    replaced(&bytes, "xl/_rels/workbook.xml.rels", relations.as_bytes())
}

/// The container with one part replaced, the others copied as they are packed.
fn replaced(bytes: &[u8], name: &str, content: &[u8]) -> Vec<u8> {
    let mut from = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for index in 0..from.len() {
        let part = from.by_index_raw(index).unwrap();
        if part.name().unwrap() != name {
            zip.raw_copy_file(part).unwrap();
        }
    }
    zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(content).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn a_zip_bomb_is_refused_by_what_it_says_of_itself() {
    // 512 MiB of blanks in half a megabyte: the ratio is looked at before anything is unpacked.
    let bomb = large("<worksheet><sheetData>", &" ".repeat(1024), 512 << 10, "</sheetData></worksheet>");
    assert!(bomb.len() < 4 << 20);
    let told = refused("bomb.xlsx", &bomb);
    assert!(told.contains("times its packed size") && told.contains("`limits.ratio_max`"), "{told}");
}

#[test]
fn a_zip_bomb_that_lies_about_its_size_is_found_out_where_it_grows() {
    // The declared sizes of all parts are patched down to 100 bytes, in both of a zip's lists of them.
    let mut bomb = large("<worksheet><sheetData>", &" ".repeat(1024), 80 << 10, "</sheetData></worksheet>");
    let mut patched = 0;
    for at in 0..bomb.len() - 46 {
        let place = match &bomb[at..at + 4] {
            b"PK\x01\x02" => at + 24,
            b"PK\x03\x04" => at + 22,
            _ => continue,
        };
        let size = u32::from_le_bytes(bomb[place..place + 4].try_into().unwrap());
        if size > 1 << 20 {
            bomb[place..place + 4].copy_from_slice(&100_u32.to_le_bytes());
            patched += 1;
        }
    }
    assert!(patched > 0, "no declared size was found");
    let told = refused("bomb.xlsx", &bomb);
    assert!(told.contains("the workbook is damaged") || told.contains("is cut off"), "{told}");
}

#[test]
fn counts_and_dimensions_that_a_file_claims_reserve_nothing() {
    let strings = "<sst count=\"18446744073709551615\" uniqueCount=\"4294967295\"><si><t>far</t></si></sst>";
    let data = format!(
        "<dimension ref=\"A1:XFD1048576\"/><cols><col min=\"1\" max=\"16384\" width=\"9\"/></cols><sheetData>{}\
         <row r=\"1048576\" spans=\"1:16384\"><c r=\"A1048576\" t=\"s\"><v>0</v></c></row></sheetData>",
        text_row(1, &["A"])
    );
    let sheet = read("claims.xlsx", &by_hand(&data, &[("xl/sharedStrings.xml", strings)])).unwrap();
    assert_eq!(sheet.values("A"), ["far"]);
    assert_eq!(sheet.values("_ddu_row"), ["1048576"]);
}

#[test]
fn two_cells_at_the_corners_of_the_grid_are_two_cells() {
    let data = format!(
        "<sheetData>{}<row r=\"1048576\"><c r=\"XFD1048576\"><v>7</v></c></row></sheetData>",
        text_row(1, &["A"])
    );
    let sheet = read("corners.xlsx", &by_hand(&data, &[])).unwrap();
    assert_eq!(sheet.values("column_XFD"), ["7"]);
}

#[test]
fn entities_are_neither_expanded_nor_fetched() {
    // A billion laughs in the strings, and in the sheet an entity that names a file of this machine.
    let mut laughs = String::from("<!DOCTYPE sst [<!ENTITY l0 \"laugh\">");
    for level in 1..=9 {
        let ten = format!("&l{};", level - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY l{level} \"{ten}\">"));
    }
    laughs.push_str("]><sst><si><t>&l9;</t></si></sst>");
    let data =
        format!("<sheetData>{}<row r=\"2\"><c t=\"s\"><v>0</v></c></row></sheetData>", text_row(1, &["A"]));
    let told = refused("laughs.xlsx", &by_hand(&data, &[("xl/sharedStrings.xml", &laughs)]));
    assert!(told.contains("the workbook is damaged"), "{told}");
    let file = format!(
        "<?xml version=\"1.0\"?><!DOCTYPE worksheet [<!ENTITY file SYSTEM \"file:///etc/hostname\">]><worksheet>\
         <sheetData>{}<row r=\"2\"><c t=\"inlineStr\"><is><t>&file;</t></is></c></row></sheetData></worksheet>",
        text_row(1, &["A"])
    );
    let told =
        refused("file.xlsx", &with_part(&by_hand("", &[]), "xl/worksheets/sheet1.xml", file.as_bytes()));
    assert!(told.contains("the workbook is damaged"), "{told}");
}

#[test]
fn elements_within_elements_without_end_cost_neither_stack_nor_memory() {
    // Two million opened elements, in the sheet, in a cell and in the list of sheets; nothing recurses.
    let deep = large("<worksheet><sheetData>", "<a>", 2_000_000, "");
    let told = refused("deep.xlsx", &deep);
    assert!(told.contains("is cut off") || told.contains("damaged"), "{told}");
    let within = format!("{}<c><v>1</v></c>{}", "<x>".repeat(200_000), "</x>".repeat(200_000));
    let read = read("within.xlsx", &rows(&format!("<row r=\"2\">{within}</row>")));
    if let Ok(sheet) = &read {
        assert_eq!(sheet.values("A"), ["1"]);
    }
    let list = format!("<workbook>{}", "<sheets>".repeat(200_000));
    let told = refused("list.xlsx", &by_hand("", &[("xl/workbook.xml", &list)]));
    assert!(!told.is_empty());
}

#[test]
fn thousands_of_sheets_and_parts_are_refused_with_the_number() {
    let (mut sheets, mut relations) = (String::from("<workbook><sheets>"), String::from("<Relationships>"));
    for number in 1..=5_000 {
        sheets.push_str(&format!("<sheet name=\"S{number}\" sheetId=\"{number}\" r:id=\"r{number}\"/>"));
        relations.push_str(&format!(
            "<Relationship Id=\"r{number}\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.xml\"/>"
        ));
    }
    sheets.push_str("</sheets></workbook>");
    relations.push_str("</Relationships>");
    let book = by_hand(
        &format!("<sheetData>{}</sheetData>", text_row(1, &["A"])),
        &[("xl/workbook.xml", &sheets), ("xl/_rels/workbook.xml.rels", &relations)],
    );
    let told = refused("sheets.xlsx", &book);
    assert!(told.contains("more than 1000 sheets; split it"), "{told}");
    let parts: Vec<(String, &[u8])> = (0..25_000).map(|n| (format!("xl/media/{n}.png"), &b""[..])).collect();
    let told = refused("parts.xlsx", &packed(&parts));
    assert!(told.contains("more than 20000 parts; split it"), "{told}");
}

#[test]
fn columns_beyond_the_limit_and_beyond_the_grid_are_refused() {
    // A million cells in a row that do not say where they stand; as many columns in a text.
    let wide =
        large("<worksheet><sheetData><row>", "<c><v>1</v></c>", 1_000_000, "</row></sheetData></worksheet>");
    let told = refused("wide.xlsx", &wide);
    assert!(told.contains("which is no place on a sheet") && told.contains("16385"), "{told}");
    let grid = format!("<row r=\"2\">{}</row>", "<c><v>1</v></c>".repeat(16_384));
    let told = refused("grid.xlsx", &rows(&grid));
    assert!(told.contains("columns") && told.contains("`limits.columns_max`"), "{told}");
    let text = format!("{}\n{}\n", "a,".repeat(1_000_000), "1,".repeat(1_000_000));
    let told = refused("wide.csv", text.as_bytes());
    assert!(told.contains("row 1 has more than 16384 cells"), "{told}");
}

#[test]
fn rows_beyond_the_limit_are_refused_with_the_number() {
    let book =
        large("<worksheet><sheetData>", "<row><c><v>1</v></c></row>", 1_048_577, "</sheetData></worksheet>");
    let told = refused("rows.xlsx", &book);
    assert!(told.contains("1048577"), "{told}");
}

#[test]
fn numbers_that_are_none_come_back_with_their_row_and_no_neighbour_suffers() {
    let cells = ["NaN", "INF", "-inf", "1E999", "0x10", "1_000", "１２", "1,5", "--1"];
    let data: String = (2..)
        .zip(cells)
        .map(|(row, cell)| format!("<row r=\"{row}\"><c t=\"n\"><v>{cell}</v></c><c><v>{row}</v></c></row>"))
        .collect();
    let sheet = read("numbers.xlsx", &rows(&data)).unwrap();
    assert_eq!(sheet.values("B"), (2..11).map(|row| row.to_string()).collect::<Vec<_>>());
    assert_eq!(sheet.values("A"), ["∅"; 9]);
    assert_eq!(sheet.summary.faults, 9);
    assert!(sheet.values("_ddu_rescued").iter().all(|json| json.contains("\"unreadable\"")));
}

#[test]
fn references_that_wrap_round_are_refused_and_no_cell_is_moved() {
    // 2^32 + 2 as a row, and letters that make 2^32 and more of a column.
    for place in ["B4294967298", "MWLQKWV2", "AAAAAAAAAAAAAAAA2", "XFE2", "B1048577", "B0", "B-2", "2"] {
        let told = refused("wraps.xlsx", &rows(&format!("<row r=\"2\"><c r=\"{place}\"><v>1</v></c></row>")));
        assert!(told.contains(&format!("`{place}`, which is no place on a sheet")), "{place}: {told}");
    }
    let told = refused("wraps.xlsx", &rows("<row r=\"4294967298\"><c><v>1</v></c></row>"));
    assert!(told.contains("`4294967298`, which is no place on a sheet"), "{told}");
}

#[test]
fn macros_are_ignored() {
    // A workbook with macros in everything but what they would do: the part is noise, and nobody looks at it.
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "A").unwrap();
    sheet.write_string(1, 0, "x").unwrap();
    let book = book.save_to_buffer().unwrap();
    let types = crate::package::part(&book, "[Content_Types].xml")
        .replace("spreadsheetml.sheet.main", "ms-excel.sheet.macroEnabled.main")
        .replace("application/vnd.openxmlformats-officedocument.ms-excel", "application/vnd.ms-excel");
    assert!(types.contains("vnd.ms-excel.sheet.macroEnabled.main+xml"), "{types}");
    let book = with_part(&book, "[Content_Types].xml", types.as_bytes());
    let book = with_part(&book, "xl/vbaProject.bin", &[0xCC; 70_000]);
    let told = block_on(reader::probe(&book, &request("book.xlsm"))).unwrap();
    assert_eq!((told.format, told.notes.len()), (WorkbookFormat::Xlsm, 0));
    assert_eq!(read("book.xlsm", &book).unwrap().values("A"), ["x"]);
}

#[test]
fn links_to_elsewhere_are_never_followed() {
    // A sheet, its strings and a linked workbook that stand on a server of ours, which hears nothing; the same in files.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let there = format!("http://{}/x.xml", server.local_addr().unwrap());
    let links = |target: &str| {
        format!(
            "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"worksheets/sheet1.xml\"/>\
             <Relationship Id=\"r2\" Type=\"http://x/sharedStrings\" Target=\"{target}\" TargetMode=\"External\"/>\
             <Relationship Id=\"r3\" Type=\"http://x/externalLink\" Target=\"externalLinks/l.xml\"/></Relationships>"
        )
    };
    let data = format!(
        "<sheetData>{}<row r=\"2\"><c><f>[1]Sheet1!A1</f><v>5</v></c></row></sheetData>",
        text_row(1, &["A"])
    );
    let linked = format!(
        "<Relationships><Relationship Id=\"r1\" Type=\"http://x/externalLinkPath\" Target=\"{there}\" TargetMode=\"External\"/></Relationships>"
    );
    let book = by_hand(
        &data,
        &[
            ("xl/_rels/workbook.xml.rels", &links(&there)),
            ("xl/externalLinks/l.xml", "<externalLink><externalBook r:id=\"r1\"/></externalLink>"),
            ("xl/externalLinks/_rels/l.xml.rels", &linked),
        ],
    );
    assert_eq!(read("links.xlsx", &book).unwrap().values("A"), ["5"]);
    for target in [there.as_str(), "file:///etc/hostname", "../../../../../../etc/hostname"] {
        let elsewhere = format!(
            "<Relationships><Relationship Id=\"r1\" Type=\"http://x/worksheet\" Target=\"{target}\"/></Relationships>"
        );
        let told = refused("links.xlsx", &by_hand(&data, &[("xl/_rels/workbook.xml.rels", &elsewhere)]));
        assert!(told.contains("is missing"), "{target}: {told}");
    }
    assert!(server.accept().is_err(), "somebody asked the server");
}

#[test]
fn a_cell_and_a_row_have_an_end() {
    let long = format!("<c t=\"inlineStr\"><is><t>{}</t></is></c>", "x".repeat(1_100_000));
    let told = refused("cell.xlsx", &rows(&format!("<row r=\"2\">{long}</row>")));
    assert!(told.contains("characters in one cell") && told.contains("`limits.cell_chars_max`"), "{told}");
    let half = format!("<c t=\"inlineStr\"><is><t>{}</t></is></c>", "y".repeat(1_000_000));
    let told = refused("row.xlsx", &rows(&format!("<row r=\"2\">{}</row>", half.repeat(40))));
    assert!(told.contains("row 2 holds more than"), "{told}");
    // A quotation mark that is never closed must not make a cell of the rest of the file.
    let text = format!("A,B\n\"{}", "line,\n".repeat(400_000));
    let told = refused("open.csv", text.as_bytes());
    assert!(!told.is_empty());
}

#[test]
fn an_open_document_that_repeats_itself_over_the_grid_costs_only_itself() {
    // Cells of the whole grid, rows beyond it, and a column of the grid's height, which is a table like any other.
    let repeated = |rows: u64, columns: u64| {
        let content = format!(
            "<office:document-content><office:body><office:spreadsheet><table:table table:name=\"T\">\
             <table:table-row table:number-rows-repeated=\"{rows}\"><table:table-cell \
             table:number-columns-repeated=\"{columns}\" office:value-type=\"string\"><text:p>x</text:p>\
             </table:table-cell></table:table-row></table:table></office:spreadsheet></office:body>\
             </office:document-content>"
        );
        let manifest = "<manifest:manifest><manifest:file-entry manifest:full-path=\"content.xml\"/></manifest:manifest>";
        packed(&[
            ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            ("content.xml", &content),
            ("META-INF/manifest.xml", manifest),
        ])
    };
    for (rows, columns) in [(1_048_576, 16_384), (1_048_576, 1_024)] {
        let told = refused("repeats.ods", &repeated(rows, columns));
        assert!(told.contains("cells") && told.contains("save it as xlsx"), "{rows} × {columns}: {told}");
    }
    let endless = block_on(reader::read(&repeated(4_294_967_295, 1), &request("endless.ods")));
    let column = block_on(reader::read(&repeated(1_048_576, 1), &request("column.ods")));
    for read in [endless, column] {
        match read {
            Ok(sheet) => assert!(sheet.summary.rows < 1_048_576 && sheet.summary.peak_rss_kib < 300 << 10),
            Err(fault) => assert!(fault.is_senders(), "{fault}"),
        }
    }
}

#[test]
fn a_part_that_is_packed_in_an_unknown_way_is_the_senders_to_mend() {
    // The method of the sheet's part is patched in both of the zip's lists. Told to the operator, the job would rest for ever.
    for method in [12_u16, 93, 147, 7_432] {
        let mut book = rows("<row r=\"2\"><c><v>1</v></c></row>");
        let name = b"xl/worksheets/sheet1.xml";
        let (mut patched, places) = (0, book.len() - name.len());
        for at in 0..places {
            let place = match &book[at..at + name.len()] == name {
                true if at >= 46 && &book[at - 46..at - 42] == b"PK\x01\x02" => at - 36,
                true if at >= 30 && &book[at - 30..at - 26] == b"PK\x03\x04" => at - 22,
                _ => continue,
            };
            book[place..place + 2].copy_from_slice(&method.to_le_bytes());
            patched += 1;
        }
        assert_eq!(patched, 2);
        let told = refused("method.xlsx", &book);
        assert!(told.contains("the workbook is damaged") && told.contains("ompression"), "{told}");
    }
}

#[test]
fn an_open_document_whose_table_never_ends_is_refused_at_once() {
    // calamine would look for its end until the child's processor time is used up.
    let head = "<office:document-content><office:body><office:spreadsheet><table:table table:name=\"T\"><table:table-row>\
                <table:table-cell office:value-type=\"string\"><text:p>Name</text:p></table:table-cell></table:table-row>";
    for (tail, sentence) in [("", "ends in the middle"), ("</office:document-content>", "no well-formed XML")]
    {
        let manifest = "<manifest:manifest><manifest:file-entry manifest:full-path=\"content.xml\"/></manifest:manifest>";
        let book = packed(&[
            ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
            ("content.xml", &format!("{head}{tail}")),
            ("META-INF/manifest.xml", manifest),
        ]);
        let told = refused("endless.ods", &book);
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn a_workbook_that_kills_its_reader_goes_back_with_a_sentence_and_the_next_one_has_its_turn() {
    // One cell of 700 MiB in a format that calamine reads whole, with the limits that would refuse it raised as far as
    // an operator can raise them: the child's address space ends before the text does.
    let world = World::with(json!({"limits": {"ratio_max": 1_032}}));
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_level(Some(9));
    let mut part = |name: &str, pieces: &mut dyn Iterator<Item = &[u8]>| {
        zip.start_file(name, options).unwrap();
        pieces.for_each(|piece| zip.write_all(piece).unwrap());
    };
    let mime: &[u8] = b"application/vnd.oasis.opendocument.spreadsheet";
    part("mimetype", &mut [mime].into_iter());
    let manifest: &[u8] =
        b"<manifest:manifest><manifest:file-entry manifest:full-path=\"content.xml\"/></manifest:manifest>";
    part("META-INF/manifest.xml", &mut [manifest].into_iter());
    let block = vec![b'x'; 1 << 20];
    let head: &[u8] = b"<office:document-content><office:body><office:spreadsheet><table:table table:name=\"T\"><table:table-row>\
        <table:table-cell office:value-type=\"string\"><text:p>";
    part("content.xml", &mut std::iter::once(head).chain(std::iter::repeat_n(block.as_slice(), 700)));
    let bytes = zip.finish().unwrap().into_inner();
    world.drop_json("killer.ods.json", json!({"target_entity": "account"}));
    world.drop_bytes("killer.ods", &bytes);
    world.drop_rows("accounts.xlsx", &accounts(1, 3));
    let said = world.run_once(3);
    assert_eq!(world.counts("accounts"), [3, 3, 0, 0]);
    let told = world.status_text("killer.ods");
    assert!(told.contains("reading the workbook failed: the reader stopped itself"), "{told}");
    assert!(told.contains("open it in Excel, save it as a new xlsx and drop that one"), "{told}");
    let lines: Vec<&str> = said.err.lines().filter(|line| line.contains("WARN")).collect();
    let of_job = lines.iter().any(|line| line.contains("workbook set aside") && line.contains("killer.ods"));
    let of_reader = lines
        .iter()
        .any(|line| line.contains("the reader of a workbook died") && line.contains("memory allocation"));
    assert!(of_job && of_reader, "{}", said.err);
}
