//! Broken workbooks by the thousand against the reader's child: each is read or refused, in time, and costs nobody else.
//!
//! `DDU_FUZZ_CASES` says how many (the slow suite tries thousands), `DDU_SEED` which ones, `DDU_FUZZ_FIRST` from which
//! case on: a failure names the seed, the case and the file that it left, so `DDU_SEED=… DDU_FUZZ_FIRST=… DDU_FUZZ_CASES=1`
//! has it again. Half of the cases change the XML inside a container and pack it anew, past the checksums.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ddu::io::workbook::ReadFault;
use rust_xlsxwriter::{Format, Formula, Workbook};
use tokio::sync::Semaphore;

use crate::chance::{Chance, asked, seed, tell};
use crate::package::{self, Parts};
use crate::reader::{self, request};
use crate::world::block_on;

/// Cases in `cargo test`.
const CASES_USUAL: u64 = 240;
/// Largest workbook that is changed, in bytes: a larger one shows nothing more and costs many small ones.
const SEED_BYTES_MAX: u64 = 120 << 10;
/// How long the reader may take for one case, in milliseconds, in a debug build on a busy machine.
const WALL_MS_MAX: u64 = 60_000;
/// Most memory that reading such a small file may have resident, in KiB. What a small file declares is not believed,
/// but its packed parts may unpack to a few MiB, in whole-table formats several times.
const PEAK_KIB_MAX: u64 = 300 << 10;
/// Failures that are told.
const TOLD_MAX: usize = 20;

/// What XML and workbooks stumble over.
const WORDS: [&str; 44] = [
    "<",
    ">",
    "&",
    "\"",
    "'",
    "]]>",
    "<![CDATA[",
    "<!--",
    "-->",
    "<?x",
    "<!DOCTYPE x [<!ENTITY a \"b\">]>",
    "&a;",
    "&#0;",
    "&#xD800;",
    "&#x110000;",
    "&#99999999999;",
    "_xD83D_",
    "_x0000_",
    "\0",
    "\u{feff}",
    "<row>",
    "</row>",
    "<row r=\"0\">",
    "<row r=\"1048577\">",
    "<row r=\"4294967297\">",
    "<c r=\"XFE1\"><v>1</v></c>",
    "<c r=\"A0\"><v>1</v></c>",
    "<c r=\"AAAAAAAAAAAA1\" t=\"s\"><v>1</v></c>",
    "<c t=\"s\"><v>4294967295</v></c>",
    "<c t=\"s\"><v>-1</v></c>",
    "<c><v>1E999</v></c>",
    "<c><v>NaN</v></c>",
    "<c s=\"99999999999\"><v>1</v></c>",
    "<c t=\"inlineStr\"><is><t>",
    "</sheetData>",
    "</worksheet>",
    "<mergeCell ref=\"A1:XFD1048576\"/>",
    "uniqueCount=\"4294967295\"",
    "numFmtId=\"4294967296\"",
    "xmlns=\"\"",
    "encoding=\"UTF-16\"",
    "TargetMode=\"External\"",
    "../../../../etc/passwd",
    "table:number-rows-repeated=\"1048576\"",
];

/// A workbook that is changed.
struct Seed {
    name: String,
    bytes: Vec<u8>,
    parts: Option<Parts>,
}

impl Seed {
    fn new(name: &str, bytes: Vec<u8>) -> Self {
        Seed { name: name.to_owned(), parts: package::opened(&bytes), bytes }
    }

    fn extension(&self) -> &str {
        self.name.rsplit('.').next().unwrap()
    }
}

/// Workbooks made here, so that something is tried also where the corpus is missing.
fn built_in() -> Vec<Seed> {
    let mut book = Workbook::new();
    let sheet = book.add_worksheet();
    let day = Format::new().set_num_format("yyyy-mm-dd");
    for (column, header) in (0..).zip(["Name", "Count", "Day", "Sum", "Flag"]) {
        sheet.write_string(0, column, header).unwrap();
    }
    for row in 1..40 {
        sheet.write_string(row, 0, format!(" line {row}\nwith <&> \u{1}_x000D_")).unwrap();
        sheet.write_number(row, 1, f64::from(row) * 1.5).unwrap();
        sheet.write_number_with_format(row, 2, 45_000.0 + f64::from(row), &day).unwrap();
        sheet.write_formula(row, 3, Formula::new("=1/0").set_result("#DIV/0!")).unwrap();
        sheet.write_boolean(row, 4, row % 2 == 0).unwrap();
    }
    sheet.merge_range(41, 0, 42, 1, "merged", &day).unwrap();
    let rich = (&Format::new().set_bold(), "bo");
    sheet.write_rich_string(43, 0, &[rich, (&Format::new(), "th")]).unwrap();
    sheet.add_table(0, 0, 39, 4, &rust_xlsxwriter::Table::new()).unwrap();
    book.add_worksheet().set_hidden(true);
    let inline = package::by_hand(
        &format!(
            "<sheetData>{}{}</sheetData>",
            package::text_row(1, &["A", "B"]),
            package::text_row(2, &["x", "y"])
        ),
        &[("xl/sharedStrings.xml", "<sst count=\"1\" uniqueCount=\"1\"><si><t>s</t></si></sst>")],
    );
    let ods = package::packed(&[
        ("mimetype", "application/vnd.oasis.opendocument.spreadsheet"),
        (
            "content.xml",
            "<office:document-content><office:body><office:spreadsheet><table:table table:name=\"T\">\
            <table:table-row table:number-rows-repeated=\"3\"><table:table-cell office:value-type=\"string\">\
            <text:p>Name</text:p></table:table-cell><table:table-cell table:number-columns-repeated=\"2\" \
            office:value-type=\"float\" office:value=\"1.5\"/></table:table-row></table:table>\
            </office:spreadsheet></office:body></office:document-content>",
        ),
        (
            "META-INF/manifest.xml",
            "<manifest:manifest><manifest:file-entry manifest:full-path=\"content.xml\"/></manifest:manifest>",
        ),
    ]);
    let csv = "Name;Größe;Note\r\n\"a;\"\"b\"\"\";1,5;\"two\nlines\"\r\n007;;x\r\n";
    let utf_16 = csv.encode_utf16().flat_map(u16::to_le_bytes);
    vec![
        Seed::new("made.xlsx", book.save_to_buffer().unwrap()),
        Seed::new("inline.xlsx", inline),
        Seed::new("made.ods", ods),
        Seed::new("utf8.csv", csv.as_bytes().to_vec()),
        Seed::new("utf16.csv", [0xFF, 0xFE].into_iter().chain(utf_16).collect()),
    ]
}

/// The corpus beside the project, if it is there.
pub fn corpus() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    if folder.is_dir() {
        return Some(folder);
    }
    tell(&format!("SKIPPED: {} is missing", folder.display()));
    None
}

fn seeds() -> Vec<Seed> {
    let mut seeds = built_in();
    let Some(corpus) = corpus() else { return seeds };
    let mut paths: Vec<_> =
        std::fs::read_dir(corpus.join("files")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.retain(|path| path.metadata().unwrap().len() <= SEED_BYTES_MAX);
    assert!(paths.len() > 100, "the corpus has {} small files", paths.len());
    seeds.extend(
        paths
            .iter()
            .map(|path| Seed::new(path.file_name().unwrap().to_str().unwrap(), std::fs::read(path).unwrap())),
    );
    seeds
}

/// Changes bytes in a few places.
fn changed(bytes: &mut [u8], chance: &mut Chance) {
    if bytes.is_empty() {
        return;
    }
    for _ in 0..=chance.below(8) {
        let at = chance.below(bytes.len());
        bytes[at] = match chance.below(3) {
            0 => bytes[at] ^ (1 << chance.below(8)),
            1 => chance.pick(&[0, 0xFF, 0x7F, 0x80, b'<', b'"', b'0', b'9']),
            _ => chance.draw() as u8,
        };
    }
}

/// A range of bytes, most often a short one.
fn range(length: usize, chance: &mut Chance) -> std::ops::Range<usize> {
    let start = chance.below(length + 1);
    let longest = if chance.one_in(4) { length } else { 64 };
    start..(start + chance.below(longest + 1)).min(length)
}

/// Changes the content of a part: words put in, ranges taken out, doubled or moved in from elsewhere, numbers made huge.
fn rewritten(content: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut content = content.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(content.len() + 1);
        match chance.below(7) {
            0 => drop(content.splice(at..at, chance.pick(&WORDS).bytes())),
            1 => drop(content.splice(range(content.len(), chance), [])),
            2 => {
                let doubled = content[range(content.len(), chance)].to_vec();
                let times = 1 + if chance.one_in(8) { chance.below(2_000) } else { chance.below(3) };
                drop(content.splice(at..at, doubled.repeat(times.min(1 + (1 << 20) / (doubled.len() + 1)))));
            }
            3 => drop(content.splice(at..at, other[range(other.len(), chance)].iter().copied())),
            4 => changed(&mut content, chance),
            5 => content.truncate(at),
            _ => {
                // The number that stands next becomes another one.
                let Some(first) = content[at..].iter().position(u8::is_ascii_digit) else { continue };
                let start = at + first;
                let digits = content[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                let numbers = ["0", "-1", "4294967296", "18446744073709551616", "1e308", "", "65536", "00"];
                drop(content.splice(start..start + digits, chance.pick(&numbers).bytes()));
            }
        }
    }
    content
}

/// The changed workbook, and in a word how it was changed.
fn broken(seed: &Seed, other: &Seed, chance: &mut Chance) -> (Vec<u8>, &'static str) {
    if let Some(parts) = seed.parts.as_ref().filter(|parts| !parts.is_empty() && !chance.one_in(3)) {
        let mut parts = parts.clone();
        if chance.one_in(12) {
            parts.remove(chance.below(parts.len()));
            return (package::packed(&parts), "part taken out");
        }
        let empty = Vec::new();
        let others = other.parts.as_ref().filter(|others| !others.is_empty());
        for _ in 0..=chance.below(2) {
            let at = chance.below(parts.len());
            let other = others.map_or(&empty, |others| &chance.one_of(others).1);
            parts[at].1 = rewritten(&parts[at].1, other, chance);
        }
        return (package::packed(&parts), "part changed");
    }
    let mut bytes = seed.bytes.clone();
    match chance.below(3) {
        0 => {
            bytes.truncate(chance.below(bytes.len() + 1));
            (bytes, "cut off")
        }
        1 => (rewritten(&bytes, &other.bytes, chance), "file changed"),
        _ => {
            changed(&mut bytes, chance);
            (bytes, "bytes changed")
        }
    }
}

/// Reads one workbook as the daemon does; how it ended in a word, or what must not be.
async fn outcome(name: &str, bytes: &[u8]) -> Result<String, String> {
    let mut request = request(name);
    request.limits.wall_ms_max = WALL_MS_MAX;
    let (began, patience) = (Instant::now(), Duration::from_millis(2 * WALL_MS_MAX + 10_000));
    let both = async {
        reader::probe(bytes, &request).await?;
        reader::read(bytes, &request).await
    };
    let read = tokio::time::timeout(patience, both).await.map_err(|_| "the parent hangs".to_owned())?;
    if began.elapsed() > Duration::from_millis(2 * WALL_MS_MAX) {
        return Err(format!("it took {:?}", began.elapsed()));
    }
    let fault = match read {
        Ok(sheet) if sheet.summary.peak_rss_kib > PEAK_KIB_MAX => {
            return Err(format!("it was read with {} KiB", sheet.summary.peak_rss_kib));
        }
        Ok(_) => return Ok("read".to_owned()),
        Err(fault) => fault,
    };
    let is_ours = ["xlsx", "xlsm", "xltx", "csv"].iter().any(|ours| name.ends_with(ours));
    match &fault {
        fault if !fault.is_senders() => Err(format!("the operator is told: {fault}")),
        ReadFault::TookTooLong { .. } => Err(fault.to_string()),
        // The parsers of the other formats are not ours; that they give up is what the child is for.
        ReadFault::Crashed { said, .. } if is_ours => Err(format!("{fault}; stderr: {said}")),
        fault => Ok(serde_json::to_value(fault).unwrap()["fault"].as_str().unwrap().to_owned()),
    }
}

#[test]
fn whatever_is_broken_in_a_workbook_it_is_read_or_refused_and_the_next_one_has_its_turn() {
    let (seed, first) = (seed(), asked("DDU_FUZZ_FIRST", 0));
    let cases = asked("DDU_FUZZ_CASES", CASES_USUAL);
    let seeds = Arc::new(seeds());
    tell(&format!("fuzz: seed {seed}, cases {first} to {}, {} workbooks", first + cases - 1, seeds.len()));
    let (mut outcomes, mut failures) = (BTreeMap::<String, u64>::new(), Vec::new());
    block_on(async {
        let at_once = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));
        let mut running = tokio::task::JoinSet::new();
        for case in first..first + cases {
            let permit = Arc::clone(&at_once).acquire_owned().await.unwrap();
            let seeds = Arc::clone(&seeds);
            running.spawn(async move {
                let _permit = permit;
                let mut chance = Chance::of_case(seed, case);
                let (changed, other) = (chance.one_of(&seeds), chance.one_of(&seeds));
                let (bytes, how) = broken(changed, other, &mut chance);
                let ended = outcome(&changed.name, &bytes).await;
                (case, changed.name.clone(), changed.extension().to_owned(), how, bytes, ended)
            });
        }
        while let Some(ended) = running.join_next().await {
            let (case, name, extension, how, bytes, ended) = ended.unwrap();
            let word = ended.unwrap_or_else(|told| {
                let left =
                    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{seed}-{case}.{extension}"));
                std::fs::write(&left, &bytes).unwrap();
                failures.push(format!("case {case}, {name}, {how}: {told}; left as {}", left.display()));
                "FAILED".to_owned()
            });
            *outcomes.entry(word).or_default() += 1;
        }
    });
    let told: Vec<String> = outcomes.iter().map(|(word, count)| format!("{word} {count}")).collect();
    tell(&format!("fuzz: {}", told.join(", ")));
    assert!(failures.is_empty(), "seed {seed}: {:#?}", &failures[..failures.len().min(TOLD_MAX)]);
    assert!(outcomes.len() > 2 || cases < 100, "hardly anything was broken: {outcomes:?}");
    // The parent has lived through them all, and has nothing left over.
    let good = block_on(reader::read(&built_in()[0].bytes, &request("made.xlsx"))).unwrap();
    assert!(good.summary.rows > 30);
}
