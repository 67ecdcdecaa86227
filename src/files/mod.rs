//! Files: opening regular ones and nothing else, reading one within a limit, reading it again, and noticing a change. It
//! interprets no content and decides nothing.

mod regular;
mod reloaded;
mod watch;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

pub(crate) use regular::{NotAFile, open, open_or_pipe, open_with};
pub(crate) use reloaded::{MOST_READINGS, PutInForce, ReloadedFile};
pub(crate) use watch::{FileWatch, WatchedFiles};

/// The longest accepted file, in bytes. A larger one is a mistake, and would take all memory.
const LONGEST: u64 = 16 << 20;

/// Reads a file whole. It may take for ever (a disk that hangs), so never on a thread that others wait for.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    text_of(&open(path)?)
}

/// The same for a command, whose user may have it read a pipe.
pub(crate) fn read_text_or_pipe(path: &Path) -> io::Result<String> {
    text_of(&open_or_pipe(path)?)
}

/// Reads a file whole if there is one.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match open(path) {
        Ok(file) => read(&file).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn text_of(file: &File) -> io::Result<String> {
    let bytes = read(file)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text"))
}

/// Reads an open file whole.
pub(crate) fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is longer than {} MiB", LONGEST >> 20)));
    }
    Ok(bytes)
}

/// The secret of a file: its text without white space at the ends, and without the byte order mark of some editors.
pub(crate) fn trimmed(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text).trim()
}
