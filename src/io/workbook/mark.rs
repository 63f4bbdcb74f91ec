//! The hidden mark of a workbook that DDU gave back: which rows it holds, and the settings it came with.

use serde::{Deserialize, Serialize};

use crate::domain::settings::LoadSettings;

/// The very hidden sheet that holds the mark: text chunks in column A from row 1 down, together one JSON document.
pub const MARK_SHEET: &str = "_ddu";
/// The version of the mark that is written and understood.
pub const MARK_VERSION: u32 = 1;
/// Longest chunk in UTF-16 code units. Excel holds 32,767 in a cell; the rest is for what re-saving may escape.
pub const MARK_CHUNK_MAX: usize = 30_000;
/// Chunks that are read at most; longer marks are not ours.
pub const MARK_CHUNKS_MAX: usize = 1_000;

/// What a returned workbook says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReturnedBook {
    /// The mark's version, [`MARK_VERSION`].
    pub ddu: u32,
    /// The job whose rows were refused.
    pub job: String,
    /// The workbook that the sender dropped then.
    pub workbook: String,
    /// The sheets with rows to fix.
    pub parts: Vec<ReturnedPart>,
}

/// One sheet of a returned workbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReturnedPart {
    /// The sheet's name.
    pub sheet: String,
    /// Row number of the header as it was written; people may have inserted rows above it since.
    pub header_row: u32,
    /// Header of the hidden column with the ids of the quarantined rows.
    pub id_header: String,
    /// Headers of the columns that DDU added; everything else is the sender's.
    pub own_headers: Vec<String>,
    /// The settings that the rows were loaded with.
    pub settings: LoadSettings,
}

/// Why a mark cannot be used; the workbook is then read as an ordinary one.
#[derive(Debug, thiserror::Error)]
pub enum MarkError {
    /// The chunks are no JSON document of this shape: somebody edited the hidden sheet.
    #[error("the hidden sheet `{MARK_SHEET}` was changed: {source}")]
    Malformed {
        /// What the JSON parser says.
        #[source]
        source: serde_json::Error,
    },
    /// Another version of DDU wrote it.
    #[error("the hidden sheet `{MARK_SHEET}` has version {version}, this program understands {MARK_VERSION}")]
    Version {
        /// The version found.
        version: u32,
    },
}

impl ReturnedBook {
    /// The mark as texts for column A, row by row; each at most [`MARK_CHUNK_MAX`] UTF-16 code units.
    ///
    /// No chunk starts or ends with a blank, because some programs trim cells when they save.
    pub fn to_chunks(&self) -> Vec<String> {
        let json = serde_json::to_string(self).expect("a mark holds only texts, numbers and lists");
        let mut chunks = Vec::new();
        let mut rest = json.as_str();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(cut(rest));
            chunks.push(chunk.to_owned());
            rest = after;
        }
        chunks
    }

    /// Reads the mark back from the cells of column A.
    ///
    /// # Errors
    /// When the cells are not a mark, or one of another version.
    pub fn from_chunks<S: AsRef<str>>(chunks: &[S]) -> Result<Self, MarkError> {
        let json: String = chunks.iter().take(MARK_CHUNKS_MAX).map(AsRef::as_ref).collect();
        let book: ReturnedBook =
            serde_json::from_str(&json).map_err(|source| MarkError::Malformed { source })?;
        if book.ddu == MARK_VERSION { Ok(book) } else { Err(MarkError::Version { version: book.ddu }) }
    }
}

/// Bytes of the next chunk: as long as allowed, but not beside a blank.
fn cut(text: &str) -> usize {
    let mut units = 0;
    let mut limit = text.len();
    for (at, c) in text.char_indices() {
        units += c.len_utf16();
        if units > MARK_CHUNK_MAX {
            limit = at;
            break;
        }
    }
    if limit == text.len() {
        return limit;
    }
    let solid = |at: &usize| {
        let before = text[..*at].chars().next_back();
        let after = text[*at..].chars().next();
        [before, after].into_iter().flatten().all(|c| !c.is_whitespace())
    };
    let candidates = (1..=limit).rev().filter(|at| text.is_char_boundary(*at));
    candidates.take(MARK_CHUNK_MAX / 2).find(solid).unwrap_or(limit)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {

    use super::*;

    use crate::domain::table::TableName;

    fn book(workbook: String) -> ReturnedBook {
        let settings = LoadSettings::plain(TableName::from_stem("customers").unwrap(), "account");
        let part = ReturnedPart {
            sheet: "customers".into(),
            header_row: 1,
            id_header: "_ddu_row_id".into(),
            own_headers: vec!["Row".into(), "_ddu_row_id".into()],
            settings,
        };
        ReturnedBook { ddu: 1, job: "j".into(), workbook, parts: vec![part] }
    }

    #[test]
    fn a_mark_of_any_length_comes_back_from_its_chunks() {
        // Names long enough for several chunks, with characters outside the BMP, and with blanks where the cut would be.
        for name in ["k.xlsx".to_owned(), "😀".repeat(20_000), "ab ".repeat(30_000), " ".repeat(70_000)] {
            let book = book(name);
            let chunks = book.to_chunks();
            assert!(chunks.iter().all(|chunk| chunk.encode_utf16().count() <= MARK_CHUNK_MAX));
            assert_eq!(ReturnedBook::from_chunks(&chunks).unwrap(), book);
        }
        let chunks = book("ab ".repeat(30_000)).to_chunks();
        assert!(chunks.len() > 2 && chunks.iter().all(|chunk| chunk.trim() == chunk));
    }

    #[test]
    fn a_changed_mark_is_refused_and_not_guessed_at() {
        let mut chunks = book("k.xlsx".into()).to_chunks();
        assert!(matches!(ReturnedBook::from_chunks::<&str>(&[]), Err(MarkError::Malformed { .. })));
        let later = chunks[0].replace("\"ddu\":1", "\"ddu\":2");
        assert!(matches!(ReturnedBook::from_chunks(&[later]), Err(MarkError::Version { version: 2 })));
        chunks[0].truncate(40);
        assert!(matches!(ReturnedBook::from_chunks(&chunks), Err(MarkError::Malformed { .. })));
    }
}
