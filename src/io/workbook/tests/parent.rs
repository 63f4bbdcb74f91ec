//! The parent's side against children that answer, lie, hang and die.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::super::child::serve;
use super::super::{Reading, probe as probe_in_child, probe_and_read};
use super::*;

/// The child of the tests below: this test, run alone in another process, with the request in the environment and its
/// output on descriptor 3, because the test harness writes to standard output. Run among the others it does nothing.
#[test]
fn child() {
    let Ok(mut request) = std::env::var("DDU_TEST_REQUEST") else { return };
    if let Some(path) = request.strip_prefix('@') {
        request = std::fs::read_to_string(path).unwrap();
    }
    let out = File::options().write(true).open("/proc/self/fd/3").unwrap();
    serve(&request, out);
}

/// A program that does what the shell makes of `script`; `$2` is the request.
///
/// It is written by another process: where this one had it open for writing, a child that another test spawns just
/// then would hold it open too, and the system does not run a file that is.
fn program(folder: &TempDir, script: &str) -> std::path::PathBuf {
    let path = folder.path().join("reader");
    let mut writer = Command::new("/bin/sh")
        .args(["-c", "cat > \"$0\" && chmod +x \"$0\""])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{script}\n").as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    path
}

/// A program that is the real child.
fn real(folder: &TempDir) -> std::path::PathBuf {
    let this = std::env::current_exe().unwrap();
    let test = "io::workbook::tests::parent::child";
    let run = format!("exec '{}' --exact {test} --nocapture 3>&1 1>/dev/null", this.display());
    program(folder, &format!("DDU_TEST_REQUEST=\"$2\" {run}"))
}

/// A program that says these bytes and then does what the shell makes of `script`.
fn saying(folder: &TempDir, bytes: &[u8], script: &str) -> std::path::PathBuf {
    let said = folder.path().join("said");
    File::create(&said).unwrap().write_all(bytes).unwrap();
    program(folder, &format!("/bin/cat '{}'; {script}", said.display()))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn workbook(rows: u32) -> File {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet();
    sheet.write_string(0, 0, "Name").unwrap();
    for row in 1..=rows {
        sheet.write_string(row, 0, format!("name {row}")).unwrap();
    }
    let mut file = file_of(&book.save_to_buffer().unwrap());
    // The child must not depend on where the parent's descriptor stands.
    file.read_to_end(&mut Vec::new()).unwrap();
    file
}

async fn read_all(
    exe: &Path,
    file: File,
    request: &ReadRequest,
) -> Result<(Vec<RecordBatch>, ReadSummary), ReadFault> {
    let (mut reading, _) = Reading::start(exe, file, request).await?;
    let mut batches = Vec::new();
    while let Some(batch) = reading.next().await? {
        batches.push(batch);
    }
    Ok((batches, reading.summary().unwrap().clone()))
}

#[tokio::test]
async fn a_request_may_know_thousands_of_columns() {
    let folder = folder();
    // An environment variable is as long as an argument, so the whole request goes through a file here.
    let this = std::env::current_exe().unwrap();
    let test = "io::workbook::tests::parent::child";
    let kept = folder.path().join("request");
    let exe = program(
        &folder,
        &format!(
            "shift; printf %s \"$@\" > '{0}'; DDU_TEST_REQUEST='@{0}' exec '{1}' --exact {test} --nocapture 3>&1 1>/dev/null",
            kept.display(),
            this.display()
        ),
    );
    let mut asked = request("a.xlsx");
    asked.hints = (0..8_000).map(|i| (format!("spalte_für_größen_{i}"), StageType::Number)).collect();
    asked.hints.insert("name".to_owned(), StageType::Text);
    let (batches, summary) = read_all(&exe, workbook(3), &asked).await.unwrap();
    assert_eq!((batches.len(), summary.rows), (1, 3));
    assert!(std::fs::metadata(kept).unwrap().len() > 240_000);
    asked.hints = (0..80_000).map(|i| (format!("spalte_für_größen_{i}"), StageType::Number)).collect();
    let fault = read_all(&exe, workbook(3), &asked).await.err().unwrap();
    assert!(matches!(fault, ReadFault::CannotSpawn { .. }), "{fault}");
}

async fn fault_of(exe: &Path) -> ReadFault {
    read_all(exe, workbook(1), &request("a.xlsx")).await.err().unwrap()
}

/// The frames of a good reading of ten rows, and where the summary begins.
fn good_frames() -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut before_summary = 0;
    for (tag, payload) in frames_of(workbook(10), &request("a.xlsx")).unwrap() {
        if tag == frames::SUMMARY {
            before_summary = out.len();
        }
        frames::write(&mut out, tag, &payload).unwrap();
    }
    (out, before_summary)
}

/// A workbook is looked into and read by one process; one that brings its own settings along is only looked into, and of
/// one whose sheet does not read the probe is believed all the same.
#[tokio::test]
async fn one_process_looks_into_a_workbook_and_reads_it() {
    let folder = folder();
    let starts = folder.path().join("starts");
    let exe = real(&folder);
    let run = std::fs::read_to_string(&exe).unwrap();
    let exe = program(&folder, &format!("echo >> '{}'\n{run}", starts.display()));
    let count = || std::fs::read_to_string(&starts).unwrap().lines().count();

    let (probe, reading) = probe_and_read(&exe, workbook(300), &request("a.xlsx")).await.unwrap();
    assert_eq!((probe.sheets.len(), probe.brings_settings()), (1, false));
    let (mut reading, header) = reading.unwrap();
    assert_eq!(header.columns[0].header, "Name");
    let mut rows = 0;
    while let Some(batch) = reading.next().await.unwrap() {
        rows += batch.num_rows();
    }
    assert_eq!((rows, reading.summary().unwrap().rows, count()), (300, 300, 1));

    let book = super::returned::returned_book();
    let (probe, reading) = probe_and_read(&exe, file_of(&book), &request("a.xlsx")).await.unwrap();
    assert!(probe.returned.is_some() && reading.is_none());
    let what = ReadWhat::Sheet { sheet: Some("nowhere".to_owned()), header_row: None };
    let asked = ReadRequest { what, ..request("a.xlsx") };
    let (probe, reading) = probe_and_read(&exe, workbook(1), &asked).await.unwrap();
    assert!(probe.sheets.len() == 1 && reading.is_none());
    assert!(probe_and_read(&exe, file_of(&[0; 600]), &request("a.xlsx")).await.is_err());
    assert_eq!(count(), 4);
}

#[tokio::test]
async fn a_sheet_crosses_from_the_limited_child_whole_and_in_order() {
    let folder = folder();
    let exe = real(&folder);
    let (batches, summary) = read_all(&exe, workbook(20_000), &request("a.xlsx")).await.unwrap();
    assert_eq!(summary.rows, 20_000);
    assert!(summary.peak_rss_kib > 0);
    let read = Read {
        header: SheetHeader { sheet: String::new(), returned: false, columns: Vec::new(), notes: Vec::new() },
        batches,
        summary,
    };
    let names: Vec<String> = (1..=20_000).map(|row| format!("name {row}")).collect();
    assert_eq!(read.values("Name"), names);
    let probe = probe_in_child(&exe, workbook(1), &request("a.xlsx")).await.unwrap();
    assert_eq!(probe.sheets[0].name, "Sheet1");
    let fault = probe_in_child(&exe, file_of(b""), &request("a.xlsx")).await.unwrap_err();
    assert!(matches!(fault, ReadFault::Empty));
}

#[tokio::test]
async fn a_workbook_that_wants_more_memory_than_it_may_have_costs_only_itself() {
    // 400 MiB of one text, packed to a few, with the limits that would refuse it taken away.
    let folder = folder();
    let mut zip = zip::ZipWriter::new(tempfile::tempfile().unwrap());
    let small = xlsx_of("<sheetData/>");
    let mut parts = zip::ZipArchive::new(Cursor::new(small)).unwrap();
    for index in 0..parts.len() {
        let part = parts.by_index_raw(index).unwrap();
        if !part.name().unwrap().ends_with("sheet1.xml") {
            zip.raw_copy_file(part).unwrap();
        }
    }
    let options = zip::write::SimpleFileOptions::default().compression_level(Some(1));
    zip.start_file("xl/worksheets/sheet1.xml", options).unwrap();
    zip.write_all(b"<worksheet><sheetData><row><c t='str'><v>").unwrap();
    for _ in 0..400 {
        zip.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    zip.write_all(b"</v></c></row></sheetData></worksheet>").unwrap();
    let file = zip.finish().unwrap();
    let mut request = request("a.xlsx");
    request.limits.ratio_max = u64::MAX;
    request.limits.cell_chars_max = u64::MAX;
    let fault = read_all(&real(&folder), file, &request).await.err().unwrap();
    let ReadFault::Crashed { detail, said } = fault else { panic!("{fault}") };
    assert!(detail.contains("more memory") && detail.contains("signal 6"), "{detail}");
    assert!(said.contains("memory allocation"), "{said}");
}

#[tokio::test]
async fn a_child_that_dies_becomes_a_sentence_for_the_sender() {
    let (good, before_summary) = good_frames();
    for (bytes, script, told) in [
        (
            &good[..0],
            "echo 'memory allocation failed' >&2; kill -ABRT $$",
            "more memory than a workbook of this size",
        ),
        (&good[..before_summary], "kill -KILL $$", "was killed"),
        (&good[..before_summary + 3], "kill -XCPU $$", "more processor time"),
        (&good[..before_summary - 1], "kill -SEGV $$", "crashed"),
    ] {
        let folder = folder();
        let fault = fault_of(&saying(&folder, bytes, script)).await;
        assert!(matches!(&fault, ReadFault::Crashed { .. }) && fault.is_senders(), "{fault}");
        assert!(fault.to_string().contains(told), "{fault}");
    }
}

#[tokio::test]
async fn a_child_that_hangs_is_ended_and_its_time_named() {
    let folder = folder();
    let exe = program(&folder, "exec /bin/sleep 600");
    let mut request = request("a.xlsx");
    request.limits.wall_ms_max = 50;
    let fault = read_all(&exe, workbook(1), &request).await.err().unwrap();
    assert!(matches!(fault, ReadFault::TookTooLong { limit_ms: 50 }), "{fault}");
}

#[tokio::test]
async fn a_child_that_is_none_is_the_operators_to_mend() {
    let (good, before_summary) = good_frames();
    let mut lying = good[..before_summary].to_vec();
    let summary = ReadSummary { rows: 11, notes: vec![], faults: 0, peak_rss_kib: 0 };
    frames::write(&mut lying, frames::SUMMARY, &serde_json::to_vec(&summary).unwrap()).unwrap();
    for (bytes, script) in [
        (&b""[..], "exit 0"),
        (b"", "echo what >&2; exit 2"),
        (b"error: unrecognized subcommand", "exit 2"),
        (b"B\x00\x00\x00\x00", "exit 0"),
        (&lying, "exit 0"),
    ] {
        let folder = folder();
        let fault = fault_of(&saying(&folder, bytes, script)).await;
        assert!(matches!(&fault, ReadFault::Protocol { .. }) && !fault.is_senders(), "{fault}");
    }
    let nowhere = fault_of(Path::new("/nonexistent/ddu")).await;
    assert!(matches!(&nowhere, ReadFault::CannotSpawn { .. }) && !nowhere.is_senders(), "{nowhere}");
}
