//! Collects the faults of one document while its values are checked one by one.

use super::fault::{Document, Fault, JsonPath};
use super::shape::found_text;

/// A document and what is known to be wrong with it. Every complaint answers `None`, the value that there is not.
pub(super) struct Audit<'d> {
    pub document: &'d Document,
    pub faults: Vec<Fault>,
}

impl<'d> Audit<'d> {
    pub fn of(document: &'d Document) -> Self {
        Audit { document, faults: Vec::new() }
    }

    /// A text that is not what it should be; shown, unless it may be a secret.
    pub fn wrong<T>(&mut self, path: &JsonPath, expected: &str, text: &str, advice: &str) -> Option<T> {
        self.wrong_as(path, expected, &found_text(text, path), advice)
    }

    /// The same in words of the caller's for what was found.
    pub fn wrong_as<T>(&mut self, path: &JsonPath, expected: &str, found: &str, advice: &str) -> Option<T> {
        self.faults.push(self.document.wrong(path, expected, found, advice));
        None
    }

    /// A setting that is not there.
    pub fn missing<T>(&mut self, path: &JsonPath, expected: &str) -> Option<T> {
        self.faults.push(self.document.missing(path, expected));
        None
    }

    /// Settings that do not go together.
    pub fn contradiction<T>(&mut self, path: &JsonPath, sentence: String) -> Option<T> {
        self.faults.push(self.document.contradiction(path, sentence));
        None
    }
}
