//! The parent's side: starts the child, takes its frames, and turns its death into a sentence.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use arrow_ipc::reader::StreamDecoder;
use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::buffer::Buffer;
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::fault::ReadFault;
use super::frames;
use super::request::{ReadLimits, ReadRequest, ReadSummary, ReadWhat, SheetHeader, WorkbookProbe};
use super::walls::Walls;

/// The hidden subcommand that the child is started with.
pub const CHILD_COMMAND: &str = "read-workbook";
/// Longest request in bytes: some thousand columns whose types are known. Linux takes 2 MiB of arguments in all.
const REQUEST_BYTES_MAX: usize = 3 << 19;
/// Longest argument in bytes. Linux takes none beyond 128 KiB.
const ARGUMENT_BYTES_MAX: usize = 120 << 10;
/// How long a child may take to be gone after it closed its output.
const EXIT_MS_MAX: u64 = 5_000;
/// Bytes of the child's standard error that a fault carries for the operator.
const SAID_BYTES_MAX: i64 = 2_000;

/// Says what a workbook is. `exe` is this program; whatever else the request names is not read.
///
/// # Errors
/// When it is no workbook that can be read, with the sentence for the one who must act.
pub async fn probe(exe: &Path, workbook: File, request: &ReadRequest) -> Result<WorkbookProbe, ReadFault> {
    let request = ReadRequest { what: ReadWhat::Probe, ..request.clone() };
    Reader::spawn(exe, workbook, &request)?.probe().await
}

/// As [`probe`], and reads the sheet that the request names right after it, in the same process, unless the workbook
/// brings along how it is to be read; `request.what` is [`ReadWhat::Sheet`].
///
/// # Errors
/// When it is no workbook that can be read. That its sheet cannot be read is told by whoever reads it next: there is no
/// reading then.
pub async fn probe_and_read(
    exe: &Path,
    workbook: File,
    request: &ReadRequest,
) -> Result<(WorkbookProbe, Option<(Reading, SheetHeader)>), ReadFault> {
    let what = match &request.what {
        ReadWhat::Sheet { sheet, header_row } => {
            ReadWhat::ProbeAndSheet { sheet: sheet.clone(), header_row: *header_row }
        }
        other => other.clone(),
    };
    let mut reader = Reader::spawn(exe, workbook, &ReadRequest { what, ..request.clone() })?;
    let probe = reader.probe().await?;
    if probe.brings_settings() {
        return Ok((probe, None));
    }
    Ok((probe, Reading::of(reader).await.ok()))
}

/// Has a child try what it must not be able to do; `scratch` is a folder in which the caller may write.
///
/// # Errors
/// When no child can be started, or it does not answer.
pub async fn try_walls(exe: &Path, scratch: &Path) -> Result<Walls, ReadFault> {
    let limits = ReadLimits::default();
    let request = ReadRequest::plain("", ReadWhat::Walls, scratch.to_owned(), limits);
    let nothing = File::open("/dev/null").map_err(disk)?;
    match Reader::spawn(exe, nothing, &request)?.frame().await? {
        (frames::WALLS, payload) => parse(&payload),
        (tag, _) => Err(unexpected(tag)),
    }
}

/// Unpacks a file of a data package to where `into` writes; `request.what` is [`ReadWhat::Unpack`].
///
/// # Errors
/// When the package cannot be read, with the sentence for the one who must act; what was written is then void.
pub async fn unpack(
    exe: &Path,
    package: File,
    request: &ReadRequest,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ReadFault> {
    let mut reader = Reader::spawn(exe, package, request)?;
    loop {
        match reader.frame().await? {
            (frames::BYTES, piece) if piece.is_empty() => return into.flush().await.map_err(disk),
            (frames::BYTES, piece) => into.write_all(&piece).await.map_err(disk)?,
            (tag, _) => return Err(unexpected(tag)),
        }
    }
}

/// The disk that the unpacked file goes to is the operator's.
fn disk(error: std::io::Error) -> ReadFault {
    ReadFault::Disk { detail: error.to_string() }
}

/// A sheet that is being read. Dropping it kills the child.
pub struct Reading {
    rows: Rows,
    summary: Option<ReadSummary>,
}

/// Where the rows come from.
enum Rows {
    /// From a child that reads.
    Child(Box<Stream>),
    /// From memory, with what reading them came to.
    Kept(std::vec::IntoIter<RecordBatch>, ReadSummary),
}

/// The rows that a child sends.
struct Stream {
    reader: Reader,
    decoder: StreamDecoder,
    /// Bytes of the stream that are not decoded yet.
    pending: Buffer,
    rows: u64,
}

impl Reading {
    /// Starts to read the sheet that the request names and waits for its columns.
    ///
    /// # Errors
    /// When it cannot be read, with the sentence for the one who must act.
    pub async fn start(
        exe: &Path,
        workbook: File,
        request: &ReadRequest,
    ) -> Result<(Reading, SheetHeader), ReadFault> {
        Reading::of(Reader::spawn(exe, workbook, request)?).await
    }

    /// What a child sends that reads a sheet, from its columns on.
    async fn of(mut reader: Reader) -> Result<(Reading, SheetHeader), ReadFault> {
        let header = match reader.frame().await? {
            (frames::HEADER, payload) => parse(&payload)?,
            (tag, _) => return Err(unexpected(tag)),
        };
        let (decoder, pending) = (StreamDecoder::new(), Buffer::default());
        let stream = Stream { reader, decoder, pending, rows: 0 };
        Ok((Reading { rows: Rows::Child(Box::new(stream)), summary: None }, header))
    }

    /// A sheet that was read before, with what reading it came to.
    pub fn kept(batches: Vec<RecordBatch>, summary: ReadSummary) -> Self {
        Reading { rows: Rows::Kept(batches.into_iter(), summary), summary: None }
    }

    /// The next rows; `None` after the last, when [`Reading::summary`] has the rest.
    ///
    /// A call that is given up half way may have taken bytes with it: drop the reading then.
    ///
    /// # Errors
    /// When the rest cannot be read; the rows that were read before must then not be used either.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ReadFault> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let (batch, summary) = match &mut self.rows {
            Rows::Child(stream) => match stream.next().await? {
                Sent::Batch(batch) => (Some(batch), None),
                Sent::Summary(summary) => (None, Some(summary)),
            },
            Rows::Kept(batches, summary) => match batches.next() {
                Some(batch) => (Some(batch), None),
                None => (None, Some(summary.clone())),
            },
        };
        self.summary = summary;
        Ok(batch)
    }

    /// What reading came to, once [`Reading::next`] has said `None`.
    pub fn summary(&self) -> Option<&ReadSummary> {
        self.summary.as_ref()
    }
}

/// What comes next from a child.
enum Sent {
    Batch(RecordBatch),
    Summary(ReadSummary),
}

impl Stream {
    async fn next(&mut self) -> Result<Sent, ReadFault> {
        loop {
            if !self.pending.is_empty() {
                let decoded = self.decoder.decode(&mut self.pending).map_err(|error| protocol(&error))?;
                if let Some(batch) = decoded {
                    self.rows += batch.num_rows() as u64;
                    return Ok(Sent::Batch(batch));
                }
                continue;
            }
            match self.reader.frame().await? {
                (frames::ROWS, payload) => self.pending = Buffer::from_vec(payload),
                (frames::SUMMARY, payload) => {
                    let summary: ReadSummary = parse(&payload)?;
                    if summary.rows != self.rows {
                        let (told, came) = (summary.rows, self.rows);
                        return Err(ReadFault::Protocol {
                            detail: format!("{told} rows were told, {came} came"),
                        });
                    }
                    return Ok(Sent::Summary(summary));
                }
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }
}

/// A running child.
struct Reader {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it writes to its standard error, in memory.
    said: File,
    /// How much longer it may be waited for.
    left: Duration,
    limit_ms: u64,
}

impl Reader {
    fn spawn(exe: &Path, workbook: File, request: &ReadRequest) -> Result<Self, ReadFault> {
        let cannot = |detail: String| ReadFault::CannotSpawn { exe: exe.display().to_string(), detail };
        let json = serde_json::to_string(request).expect("a request holds only texts, numbers and maps");
        if json.len() > REQUEST_BYTES_MAX {
            return Err(cannot(format!(
                "its request has {} bytes, more than {REQUEST_BYTES_MAX}",
                json.len()
            )));
        }
        let said =
            memfd_create("ddu-reader-stderr", MemfdFlags::CLOEXEC).map_err(|e| cannot(e.to_string()))?;
        let said = File::from(said);
        let stderr = said.try_clone().map_err(|e| cannot(e.to_string()))?;
        let mut child = Command::new(exe)
            .arg(CHILD_COMMAND)
            .args(pieces(&json))
            .env_clear()
            .stdin(Stdio::from(workbook))
            .stdout(Stdio::piped())
            .stderr(Stdio::from(stderr))
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| cannot(e.to_string()))?;
        let out = BufReader::new(child.stdout.take().expect("its standard output was asked for as a pipe"));
        let limit_ms = request.limits.wall_ms_max;
        Ok(Reader { child, out, said, left: Duration::from_millis(limit_ms), limit_ms })
    }

    /// What the workbook is, as the child says first.
    async fn probe(&mut self) -> Result<WorkbookProbe, ReadFault> {
        match self.frame().await? {
            (frames::PROBE, payload) => parse(&payload),
            (tag, _) => Err(unexpected(tag)),
        }
    }

    /// The next frame; a fault that the child tells, and its death, are errors.
    async fn frame(&mut self) -> Result<(u8, Vec<u8>), ReadFault> {
        let began = Instant::now();
        let frame = timeout(self.left, read_frame(&mut self.out)).await;
        self.left = self.left.saturating_sub(began.elapsed());
        match frame {
            Ok(Ok(Some((frames::FAULT, payload)))) => Err(parse::<ReadFault>(&payload)?),
            Ok(Ok(Some(frame))) => Ok(frame),
            Ok(Ok(None)) => Err(self.death().await),
            Ok(Err(error)) => Err(ReadFault::Protocol { detail: error.to_string() }),
            Err(_) => {
                // A child that is already gone cannot be killed; either way it does not go on.
                self.child.kill().await.ok();
                Err(ReadFault::TookTooLong { limit_ms: self.limit_ms })
            }
        }
    }

    /// Why the output ended early.
    async fn death(&mut self) -> ReadFault {
        let status = timeout(Duration::from_millis(EXIT_MS_MAX), self.child.wait()).await;
        let said = self.said().unwrap_or_default();
        match status {
            Ok(Ok(status)) => of_status(status, said),
            Ok(Err(error)) => ReadFault::Protocol { detail: format!("its end cannot be seen: {error}") },
            Err(_) => ReadFault::Protocol { detail: "it closed its output and stayed".to_owned() },
        }
    }

    /// The end of what the child wrote to its standard error.
    fn said(&mut self) -> std::io::Result<String> {
        let length = self.said.metadata()?.len();
        self.said.seek(SeekFrom::End(-SAID_BYTES_MAX.min(i64::try_from(length).unwrap_or(0))))?;
        let mut bytes = Vec::new();
        (&self.said).take(SAID_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

/// The fault of a child that ended without a word.
fn of_status(status: ExitStatus, said: String) -> ReadFault {
    let Some(signal) = status.signal() else {
        return ReadFault::Protocol {
            detail: format!("it ended with {status} and said nothing; stderr: {said}"),
        };
    };
    let detail = match signal {
        6 => {
            "the reader stopped itself, as it does when it needs more memory than a workbook of this size may take"
        }
        9 => "the reader was killed, perhaps because the machine has no memory left",
        24 => "the reader needed more processor time than a workbook of this size may take",
        _ => "the reader crashed",
    };
    ReadFault::Crashed { detail: format!("{detail} (signal {signal})"), said }
}

/// A whole frame, or `None` where the output ends, be it within a frame.
async fn read_frame(out: &mut BufReader<ChildStdout>) -> std::io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 5];
    if !filled(out.read_exact(&mut head).await)? {
        return Ok(None);
    }
    let [tag, length @ ..] = head;
    let length = u32::from_le_bytes(length) as usize;
    if length > frames::FRAME_BYTES_MAX {
        return Err(std::io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length];
    Ok(filled(out.read_exact(&mut payload).await)?.then_some((tag, payload)))
}

fn filled(read: std::io::Result<usize>) -> std::io::Result<bool> {
    match read {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A request as arguments, none longer than [`ARGUMENT_BYTES_MAX`].
fn pieces(json: &str) -> impl Iterator<Item = &str> {
    let mut rest = json;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(ARGUMENT_BYTES_MAX));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, ReadFault> {
    serde_json::from_slice(payload).map_err(|error| protocol(&error))
}

fn protocol(error: &dyn std::fmt::Display) -> ReadFault {
    ReadFault::Protocol { detail: error.to_string() }
}

fn unexpected(tag: u8) -> ReadFault {
    ReadFault::Protocol { detail: format!("a frame `{}` where none was due", char::from(tag)) }
}
