//! What the child says on its standard output: a tag, a length, a payload.

use std::io::{self, Write};

/// A [`super::WorkbookProbe`] as JSON.
pub(super) const PROBE: u8 = b'P';
/// A [`super::SheetHeader`] as JSON.
pub(super) const HEADER: u8 = b'H';
/// Bytes of an Arrow IPC stream.
pub(super) const ROWS: u8 = b'B';
/// Bytes of a file of a data package; an empty frame ends it.
pub(super) const BYTES: u8 = b'U';
/// A [`super::ReadSummary`] as JSON.
pub(super) const SUMMARY: u8 = b'E';
/// The [`super::Walls`] as JSON.
pub(super) const WALLS: u8 = b'W';
/// A [`super::ReadFault`] as JSON.
pub(super) const FAULT: u8 = b'F';

/// Longest payload in bytes. A batch holds at most eight megabytes and one row; a row at most 32 MiB of text, six
/// times that if all of it must be escaped into `_ddu_rescued`.
pub(super) const FRAME_BYTES_MAX: usize = 256 << 20;

/// Writes a frame.
pub(super) fn write(out: &mut impl Write, tag: u8, payload: &[u8]) -> io::Result<()> {
    if payload.len() > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a frame longer than the parent takes"));
    }
    out.write_all(&[tag])?;
    out.write_all(&(payload.len() as u32).to_le_bytes())?;
    out.write_all(payload)
}
