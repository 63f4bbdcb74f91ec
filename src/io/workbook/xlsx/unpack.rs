//! Parts of a container as bytes of UTF-8; large ones are inflated on a thread of their own.

use std::fs::File;
use std::io::{BufReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use zip::ZipArchive;

use super::package::broken_zip;
use crate::io::workbook::delimited::Pieces;
use crate::io::workbook::fault::ReadFault;

/// Unpacked bytes from which a thread pays: it inflates a MiB in 2 ms, and takes 50 µs to start.
const THREAD_BYTES_MIN: u64 = 1 << 20;
/// Bytes that are inflated at once.
const BLOCK_BYTES: usize = 256 << 10;
/// Inflated blocks that wait for their reader.
const BLOCKS_AHEAD: usize = 4;

/// Has a part of the container read, by its index.
///
/// # Errors
/// When it cannot be opened, or whatever its reader returns.
pub(super) fn unpacked<T>(
    zip: &mut ZipArchive<BufReader<File>>,
    index: usize,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ReadFault>,
) -> Result<T, ReadFault> {
    let mut part = zip.by_index(index).map_err(broken_zip)?;
    if part.size() < THREAD_BYTES_MIN {
        return in_utf8(&mut part, read);
    }
    drop(part);
    std::thread::scope(|scope| {
        let (filled, blocks) = sync_channel(BLOCKS_AHEAD);
        let (emptied, spare) = channel();
        scope.spawn(move || {
            let inflated = zip.by_index(index).map_err(std::io::Error::from);
            let mut part = match inflated {
                Ok(part) => part,
                Err(error) => return filled.send(Err(error)).unwrap_or_default(),
            };
            loop {
                let block = next_block(&mut part, spare.try_recv().unwrap_or_default());
                let is_last = !block.as_ref().is_ok_and(|block| block.len() == BLOCK_BYTES);
                // A reader that has enough hangs up.
                if filled.send(block).is_err() || is_last {
                    return;
                }
            }
        });
        in_utf8(&mut Blocks { blocks, emptied, block: Vec::new(), at: 0 }, read)
    })
}

/// The next bytes of a part: [`BLOCK_BYTES`], fewer only at its end.
fn next_block(part: &mut impl Read, mut block: Vec<u8>) -> std::io::Result<Vec<u8>> {
    block.resize(BLOCK_BYTES, 0);
    let mut filled = 0;
    while filled < BLOCK_BYTES {
        match part.read(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    block.truncate(filled);
    Ok(block)
}

/// Inflated blocks, one after the other.
struct Blocks {
    blocks: Receiver<std::io::Result<Vec<u8>>>,
    emptied: Sender<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
}

impl Read for Blocks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.at == self.block.len() {
            let Ok(block) = self.blocks.recv() else { return Ok(0) };
            let empty = std::mem::replace(&mut self.block, block?);
            // After the last block nobody takes empty ones any more.
            self.emptied.send(empty).unwrap_or_default();
            self.at = 0;
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Has a part read as UTF-8. The standard allows UTF-16 as well, which shows in the first bytes.
fn in_utf8<T>(
    part: &mut dyn Read,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ReadFault>,
) -> Result<T, ReadFault> {
    let mut head = Vec::new();
    (&mut *part).take(2).read_to_end(&mut head)?;
    let encoding = match head[..] {
        [0xFF, 0xFE] | [b'<', 0] => Some(UTF_16LE),
        [0xFE, 0xFF] | [0, b'<'] => Some(UTF_16BE),
        _ => None,
    };
    let mut whole = head.as_slice().chain(part);
    match encoding {
        None => read(&mut whole),
        Some(encoding) => read(&mut Transcoded::new(whole, encoding)),
    }
}

/// A part in another encoding, as UTF-8.
struct Transcoded<R> {
    pieces: Pieces<R>,
    piece: String,
    at: usize,
}

impl<R: Read> Transcoded<R> {
    fn new(part: R, encoding: &'static Encoding) -> Self {
        Transcoded { pieces: Pieces::new(part, encoding), piece: String::new(), at: 0 }
    }
}

impl<R: Read> Read for Transcoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.piece.len() {
            self.at = 0;
            if !self.pieces.next_into(&mut self.piece)? {
                return Ok(0);
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece.as_bytes()[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn zip_of(bytes: &[u8]) -> ZipArchive<BufReader<File>> {
        let mut zip = zip::ZipWriter::new(tempfile::tempfile().unwrap());
        zip.start_file("part", zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
        let mut file = zip.finish().unwrap();
        file.rewind().unwrap();
        ZipArchive::new(BufReader::new(file)).unwrap()
    }

    fn read(bytes: &[u8]) -> Vec<u8> {
        let mut read = Vec::new();
        unpacked(&mut zip_of(bytes), 0, |part| Ok(part.read_to_end(&mut read)?)).unwrap();
        read
    }

    #[test]
    fn parts_of_every_size_come_whole_and_in_order() {
        for length in [0, 1, BLOCK_BYTES, 4 * BLOCK_BYTES, 9 * BLOCK_BYTES + 1] {
            let bytes: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            assert!(read(&bytes) == bytes, "{length}");
        }
    }

    #[test]
    fn a_reader_that_has_enough_leaves_nobody_waiting() {
        let mut zip = zip_of(&vec![b'x'; 64 * BLOCK_BYTES]);
        let mut first = [0; 3];
        unpacked(&mut zip, 0, |part| Ok(part.read_exact(&mut first)?)).unwrap();
        assert_eq!(&first, b"xxx");
    }

    #[test]
    fn parts_in_utf_16_are_read_like_any_other() {
        let text = "<a>ä€😀</a>".repeat(100_000);
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = ['\u{feff}']
            .into_iter()
            .chain(text.chars())
            .collect::<String>()
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        assert!(read(&little) == text.as_bytes());
        assert!(read(&big) == text.as_bytes());
        assert!(
            unpacked(&mut zip_of(&little[..little.len() - 1]), 0, |part| Ok(
                part.read_to_end(&mut Vec::new())?
            ))
            .is_err()
        );
    }
}
