//! The child process: limits itself, parses the workbook on its standard input, answers in frames, and catches what
//! a parser throws.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::OnceLock;

use jiff::tz::TimeZone;
use rustix::process::{Resource, Rlimit, setrlimit};

use super::fault::ReadFault;
use super::frames;
use super::mark::MARK_SHEET;
use super::package;
use super::request::{ReadRequest, ReadWhat, WorkbookFormat, WorkbookProbe};
use super::sheet::{marked, read_sheet, send_json};
use super::sniff::{Sniffed, sniff};
use super::source::Source;
use super::template::template;
use super::walls::{self, Walls};
use crate::domain::settings::TIMEZONE_DEFAULT;

/// Address space that the child may use beyond what it has when it starts.
pub const ADDRESS_BYTES_BASE: u64 = 512 << 20;
/// Address space added for every byte of the file: shared strings unpack to several times the file, and the formats
/// that are read as whole tables to more.
pub const ADDRESS_BYTES_PER_FILE_BYTE: u64 = 16;
/// Processor time that the child may use for any file.
pub const CPU_SECONDS_BASE: u64 = 120;
/// Processor time added for every MiB of the file. A release build reads a packed MiB in a tenth of a second.
pub const CPU_SECONDS_PER_FILE_MIB: u64 = 2;
/// Processor time that the child may use at most, whatever the file.
pub const CPU_SECONDS_MAX: u64 = 3_600;
/// Bytes that the child may write to a file: it has the one that collects its standard error, and the one without a
/// name for the texts that memory is not to hold, which count up to this.
const WRITTEN_BYTES_MAX: u64 = 4 << 30;
/// Most bytes of what the system tells of this process.
const STATUS_BYTES_MAX: usize = 8 << 10;
/// Longest message of a panic that is passed on, in characters.
const PANIC_CHARS_MAX: usize = 200;

/// The body of the hidden subcommand `read-workbook`: reads the workbook on standard input as `request_json` says and
/// writes frames to standard output. The exit code is 0 where a summary, a probe or a fault was written.
pub fn serve_child(request_json: &str) -> ExitCode {
    serve(request_json, std::io::stdout())
}

/// As [`serve_child`], to any output.
pub(super) fn serve(request_json: &str, out: impl Write + Send) -> ExitCode {
    let mut out = BufWriter::new(out);
    let answer = prepare(request_json).and_then(|asked| answer_caught(asked, &mut out));
    let told = match answer {
        Ok(()) => Ok(()),
        Err(fault) => send_json(&mut out, frames::FAULT, &fault),
    };
    match told.is_ok() && out.flush().is_ok() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A request with its files.
struct Asked {
    request: ReadRequest,
    workbook: File,
    scratch: Option<File>,
    walls: Walls,
}

fn prepare(request_json: &str) -> Result<Asked, ReadFault> {
    let request: ReadRequest = serde_json::from_str(request_json)
        .map_err(|error| ReadFault::Protocol { detail: format!("the request is none: {error}") })?;
    let workbook = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    limit_self(workbook.metadata()?.len(), request.limits.memory_bytes_max)?;
    // Whoever only checks a file may not be allowed to write where the daemon does.
    let scratch = tempfile::tempfile_in(&request.scratch).or_else(|_| tempfile::tempfile()).ok();
    // Zones are in files of the system. One that is not known is told when it is asked for again.
    if request.timezone != TIMEZONE_DEFAULT {
        TimeZone::get(&request.timezone).ok();
    }
    let walls = walls::raise();
    Ok(Asked { request, workbook, scratch, walls })
}

/// Sets the limits that no parser can pass.
fn limit_self(file_bytes: u64, address_bytes_max: u64) -> Result<(), ReadFault> {
    let more = ADDRESS_BYTES_BASE.saturating_add(file_bytes.saturating_mul(ADDRESS_BYTES_PER_FILE_BYTE));
    let address = address_space_now().saturating_add(more.min(address_bytes_max));
    let cpu = CPU_SECONDS_BASE + (file_bytes >> 20).saturating_mul(CPU_SECONDS_PER_FILE_MIB);
    for (resource, limit) in [
        (Resource::As, address),
        (Resource::Cpu, cpu.min(CPU_SECONDS_MAX)),
        (Resource::Fsize, WRITTEN_BYTES_MAX),
        (Resource::Core, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) }).map_err(|error| {
            ReadFault::Disk { detail: format!("{resource:?} cannot be limited: {error}") }
        })?;
    }
    Ok(())
}

/// Bytes of address space in use: the program itself, its libraries and stacks.
fn address_space_now() -> u64 {
    status_kib("VmSize:") << 10
}

/// Most memory that this process ever held, in KiB.
fn peak_rss_kib() -> u64 {
    status_kib("VmHWM:")
}

/// A size that the system tells of this process; 0 where it does not.
fn status_kib(key: &str) -> u64 {
    // Opened while it still can be.
    static STATUS: OnceLock<Option<File>> = OnceLock::new();
    let file = STATUS.get_or_init(|| File::open("/proc/self/status").ok());
    let mut bytes = vec![0; STATUS_BYTES_MAX];
    let read = file.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok()).unwrap_or(0);
    let status = String::from_utf8_lossy(&bytes[..read]);
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Answers, and turns a panic of a parser into a fault.
fn answer_caught(asked: Asked, out: &mut (impl Write + Send)) -> Result<(), ReadFault> {
    let Asked { request, workbook, scratch, walls } = asked;
    if request.what == ReadWhat::Walls {
        let gaps = walls::try_gaps(&request.scratch);
        return send_json(out, frames::WALLS, &Walls { gaps, ..walls });
    }
    // What a panic leaves half done is dropped with the child; only the output goes on, and a fault voids what it has.
    catch_unwind(AssertUnwindSafe(|| answer(workbook, scratch, &request, out))).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        let message: String = message.chars().take(PANIC_CHARS_MAX).collect();
        Err(ReadFault::Crashed { detail: format!("a parser gave up ({message})"), said: String::new() })
    })
}

/// Answers a request about an open file; what the child does, without its process.
///
/// # Errors
/// When the workbook cannot be read; what was written before is then void.
pub(super) fn answer(
    mut file: File,
    scratch: Option<File>,
    request: &ReadRequest,
    out: &mut (impl Write + Send),
) -> Result<(), ReadFault> {
    let sniffed = sniff(&mut file, &request.file_name, &request.limits)?;
    if sniffed.format == WorkbookFormat::Package {
        return answer_of_package(&file, sniffed, &request.what, out);
    }
    let mut source = Source::open(file, scratch, &request.file_name, &sniffed, &request.limits)?;
    let notes = sniffed.notes;
    if let ReadWhat::Probe | ReadWhat::ProbeAndSheet { .. } = &request.what {
        let probe = probe(&mut source, sniffed.format, &notes)?;
        send_json(out, frames::PROBE, &probe)?;
        if probe.brings_settings() {
            return Ok(());
        }
    }
    match &request.what {
        ReadWhat::Probe | ReadWhat::Walls => Ok(()),
        ReadWhat::Unpack { .. } => {
            Err(ReadFault::Package { detail: "it is none, but a single workbook".to_owned() })
        }
        ReadWhat::Sheet { sheet, header_row } | ReadWhat::ProbeAndSheet { sheet, header_row } => {
            let read = read_sheet(&mut source, request, sheet.as_deref(), *header_row, notes, out);
            let mut summary = read?;
            summary.peak_rss_kib = peak_rss_kib();
            send_json(out, frames::SUMMARY, &summary)
        }
    }
}

/// What the workbook says of itself.
fn probe(source: &mut Source, format: WorkbookFormat, notes: &[String]) -> Result<WorkbookProbe, ReadFault> {
    let mut notes = notes.to_vec();
    let mut sheets = source.sheets();
    let returned = match marked(source)? {
        Some(Ok(book)) => {
            sheets.retain(|sheet| sheet.name != MARK_SHEET);
            Some(book)
        }
        Some(Err(error)) => {
            notes.push(format!("{error}; the workbook is read like any other"));
            None
        }
        None => None,
    };
    let template = match returned {
        Some(_) => None,
        None => template(source)?,
    };
    Ok(WorkbookProbe { format, sheets, returned, template, package: None, notes })
}

/// As [`answer`], of a data package: its workbooks are unpacked one by one and then read by themselves.
fn answer_of_package(
    file: &File,
    sniffed: Sniffed,
    what: &ReadWhat,
    out: &mut impl Write,
) -> Result<(), ReadFault> {
    match what {
        ReadWhat::Unpack { file: wanted } => package::unpack(file, wanted, out),
        ReadWhat::Sheet { .. } | ReadWhat::Walls => Err(package::not_as_a_whole(file)),
        ReadWhat::Probe | ReadWhat::ProbeAndSheet { .. } => {
            let probe = WorkbookProbe {
                format: sniffed.format,
                sheets: Vec::new(),
                returned: None,
                template: None,
                package: Some(package::read_manifest(file)?),
                notes: sniffed.notes,
            };
            send_json(out, frames::PROBE, &probe)
        }
    }
}
