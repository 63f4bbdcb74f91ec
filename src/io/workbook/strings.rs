//! The texts that many cells share, in one block of memory.

use super::fault::ReadFault;

/// A list of texts, end to end; an index is four bytes, not a `String`'s twenty-four and an allocation.
#[derive(Debug, Default)]
pub(super) struct Strings {
    text: String,
    ends: Vec<u32>,
}

impl Strings {
    /// Adds a text.
    ///
    /// # Errors
    /// When all texts together pass 4 GiB, which the limit on unpacked bytes keeps from happening by default.
    pub fn push(&mut self, text: &str) -> Result<(), ReadFault> {
        self.text.push_str(text);
        let end = u32::try_from(self.text.len()).map_err(|_| ReadFault::BeyondBounds {
            detail: "its distinct texts are more than 4 GiB; split it".into(),
        })?;
        self.ends.push(end);
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text at an index below [`Strings::len`].
    pub fn get(&self, index: u32) -> &str {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start as usize..self.ends[index] as usize]
    }
}
