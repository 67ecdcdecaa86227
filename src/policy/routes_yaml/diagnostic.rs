//! A fault of a file: where it is, what is wrong, what to write instead. It knows nothing of what the file is about.

use std::fmt;

/// One fault, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    /// The file's name as the caller gave it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The text that is at fault; empty when something is missing.
    pub offending: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead; may be empty.
    pub instead: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        if !self.instead.is_empty() {
            write!(f, ": {}", self.instead)?;
        }
        Ok(())
    }
}

/// A place in a text: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

/// A fault before anyone knows in which file: what reading a piece of text returns.
#[derive(Debug)]
pub(super) struct Flaw {
    pub offending: String,
    pub message: String,
    pub instead: String,
}

impl Flaw {
    pub fn new(offending: &str, message: impl Into<String>, instead: impl Into<String>) -> Flaw {
        Flaw { offending: offending.to_owned(), message: message.into(), instead: instead.into() }
    }
}

/// Everything that was found in one file so far.
pub(super) struct Faults<'f> {
    file: &'f str,
    list: Vec<Fault>,
}

impl<'f> Faults<'f> {
    pub fn of(file: &'f str) -> Faults<'f> {
        Faults { file, list: Vec::new() }
    }

    pub fn add(&mut self, at: Place, flaw: Flaw) {
        let fault = self.fault(at, flaw);
        self.list.push(fault);
    }

    /// The fault that `flaw` is in this file.
    pub fn fault(&self, at: Place, flaw: Flaw) -> Fault {
        let Flaw { offending, message, instead } = flaw;
        let Place { line, column } = at;
        Fault { file: self.file.to_owned(), line, column, offending, message, instead }
    }

    /// How many so far.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// `Ok` when nothing was found, else all of it in the order of the file.
    pub fn verdict(&mut self) -> Result<(), Vec<Fault>> {
        if self.list.is_empty() {
            return Ok(());
        }
        let mut list = std::mem::take(&mut self.list);
        list.sort_by_key(|fault| (fault.line, fault.column));
        Err(list)
    }
}
