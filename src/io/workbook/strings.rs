//! The texts that many cells share: the first ones in one block of memory, the rest in an unnamed file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::fault::ReadFault;

/// Bytes of text that stay in memory. Later texts are mostly of one cell each, and met in the order of the file.
const RESIDENT_BYTES_MAX: usize = 4 << 20;
/// Texts at most: four bytes of memory each. Excel's largest sheet has half as many when every row has 16 of its own.
pub(super) const STRINGS_MAX: usize = 32 << 20;
/// Bytes that are written to the file at once.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes that are read from the file at once.
const WINDOW_BYTES: usize = 16 << 10;
/// Windows that are kept; 2 MiB of them.
const WINDOWS: usize = 128;

/// A list of texts, end to end; an index is four bytes, not a `String`'s twenty-four and an allocation.
#[derive(Debug, Default)]
pub(super) struct Strings {
    /// Where each ends, counted over all of them.
    ends: Vec<u32>,
    resident: String,
    /// How many are resident: the first ones.
    resident_count: usize,
    scratch: Option<File>,
    spilled: Option<Spilled>,
}

impl Strings {
    /// No texts yet. What memory is not to hold goes into `scratch`; without one, memory holds all.
    pub fn new(scratch: Option<File>) -> Self {
        Strings { scratch, ..Strings::default() }
    }

    /// Adds a text.
    ///
    /// # Errors
    /// When there are too many, all together pass 4 GiB, or the disk does not take them.
    pub fn push(&mut self, text: &str) -> Result<(), ReadFault> {
        if self.ends.len() == STRINGS_MAX {
            return Err(ReadFault::BeyondBounds {
                detail: format!("it has more than {STRINGS_MAX} distinct texts; split it"),
            });
        }
        let start = self.ends.last().copied().unwrap_or(0);
        let end = u32::try_from(text.len()).ok().and_then(|length| start.checked_add(length));
        let end = end.ok_or_else(|| ReadFault::BeyondBounds {
            detail: "its distinct texts are more than 4 GiB; split it".into(),
        })?;
        if self.spilled.is_none() && self.resident.len() + text.len() > RESIDENT_BYTES_MAX {
            self.spilled = self.scratch.take().map(|file| Spilled::new(file, start));
        }
        match &mut self.spilled {
            Some(spilled) => spilled.push(text)?,
            None => {
                self.resident.push_str(text);
                self.resident_count += 1;
            }
        }
        self.ends.push(end);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether [`Strings::get`] has the text at an index.
    pub fn is_resident(&self, index: u32) -> bool {
        (index as usize) < self.resident_count
    }

    /// A text that is in memory, at an index for which [`Strings::is_resident`] holds.
    pub fn get(&self, index: u32) -> &str {
        let (start, end) = self.place(index);
        &self.resident[start as usize..end as usize]
    }

    /// Appends the text at an index below [`Strings::len`] that is not in memory.
    ///
    /// # Errors
    /// When the disk does not give it back.
    pub fn append_spilled(&mut self, index: u32, text: &mut String) -> Result<(), ReadFault> {
        let (start, end) = self.place(index);
        let spilled = self.spilled.as_mut().expect("what is not resident was spilled");
        spilled.append(start, end, text)
    }

    fn place(&self, index: u32) -> (u32, u32) {
        let index = index as usize;
        (if index == 0 { 0 } else { self.ends[index - 1] }, self.ends[index])
    }
}

/// Texts in a file.
#[derive(Debug)]
struct Spilled {
    file: File,
    /// Where the first of them starts, counted over all texts.
    base: u32,
    /// Bytes that are in the file.
    written: u64,
    /// Bytes that are not written yet.
    pending: Vec<u8>,
    /// Windows that were read, each in the slot of its number modulo their count.
    windows: Vec<u8>,
    /// The number of the window in each slot.
    held: Vec<Option<u32>>,
    /// A text that does not lie in one window.
    joined: Vec<u8>,
}

impl Spilled {
    fn new(file: File, base: u32) -> Self {
        let (pending, joined) = (Vec::with_capacity(WRITE_BYTES), Vec::new());
        Spilled { file, base, written: 0, pending, windows: Vec::new(), held: Vec::new(), joined }
    }

    fn push(&mut self, text: &str) -> Result<(), ReadFault> {
        if self.pending.len() + text.len() > WRITE_BYTES {
            self.write_pending()?;
        }
        self.pending.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn write_pending(&mut self) -> Result<(), ReadFault> {
        self.file.write_all_at(&self.pending, self.written).map_err(|error| disk(&error))?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn append(&mut self, start: u32, end: u32, text: &mut String) -> Result<(), ReadFault> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        if self.held.is_empty() {
            (self.windows, self.held) = (vec![0; WINDOW_BYTES * WINDOWS], vec![None; WINDOWS]);
        }
        let (mut at, end) = ((start - self.base) as usize, (end - self.base) as usize);
        self.joined.clear();
        while at < end {
            let (window, offset) = (at / WINDOW_BYTES, at % WINDOW_BYTES);
            let length = (WINDOW_BYTES - offset).min(end - at);
            let place = self.window(window)? + offset;
            let piece = &self.windows[place..place + length];
            if self.joined.is_empty() && at + length == end {
                text.push_str(std::str::from_utf8(piece).map_err(|_| changed())?);
                return Ok(());
            }
            self.joined.extend_from_slice(piece);
            at += length;
        }
        text.push_str(std::str::from_utf8(&self.joined).map_err(|_| changed())?);
        Ok(())
    }

    /// Where the window of this number starts among [`Self::windows`], read from the file if need be.
    fn window(&mut self, number: usize) -> Result<usize, ReadFault> {
        let slot = number % WINDOWS;
        let place = slot * WINDOW_BYTES;
        if self.held[slot] != Some(number as u32) {
            let at = (number * WINDOW_BYTES) as u64;
            let length = (self.written - at).min(WINDOW_BYTES as u64) as usize;
            self.held[slot] = None;
            let bytes = &mut self.windows[place..place + length];
            self.file.read_exact_at(bytes, at).map_err(|error| disk(&error))?;
            self.held[slot] = Some(number as u32);
        }
        Ok(place)
    }
}

fn disk(error: &std::io::Error) -> ReadFault {
    ReadFault::Disk { detail: format!("its texts need room in a temporary file: {error}") }
}

fn changed() -> ReadFault {
    ReadFault::Disk { detail: "the temporary file of its texts came back changed".to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_memory_and_from_the_file_in_any_order() {
        // Lengths that fill memory, windows and writes unevenly; one is longer than a window, one is empty.
        let lengths = |i: u32| [7, 0, 1_000, 40_003, 63][i as usize % 5] + i as usize % 3;
        let text = |i: u32| format!("{i}€").repeat(lengths(i) / 4 + usize::from(i % 5 != 1));
        let mut strings = Strings::new(Some(tempfile::tempfile().unwrap()));
        let count = 5_000;
        for i in 0..count {
            strings.push(&text(i)).unwrap();
        }
        assert_eq!(strings.len(), count as usize);
        assert!(strings.is_resident(0) && !strings.is_resident(count - 1));
        assert!(strings.resident.capacity() < 2 * RESIDENT_BYTES_MAX + 1);
        for i in (0..count).map(|i| i * 1_003 % count) {
            let mut found = String::from("x");
            match strings.is_resident(i) {
                true => found.push_str(strings.get(i)),
                false => strings.append_spilled(i, &mut found).unwrap(),
            }
            assert_eq!(found[1..], text(i), "{i}");
        }
    }

    #[test]
    fn a_disk_without_room_is_the_operators() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut strings = Strings::new(Some(full));
        let long = "x".repeat(1 << 20);
        let pushed = (0..64).try_for_each(|_| strings.push(&long));
        assert!(matches!(pushed, Err(ReadFault::Disk { .. })), "{pushed:?}");
        assert!(!pushed.unwrap_err().is_senders());
    }
}
