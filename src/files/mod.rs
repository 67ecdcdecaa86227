//! Files that people edit under the running gateway: reading one within a limit, reading it again, and noticing a change. It
//! interprets no content and decides nothing.

mod reloaded;
mod watch;

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

pub(crate) use reloaded::{MOST_READINGS, PutInForce, ReloadedFile};
pub(crate) use watch::{FileWatch, WatchedFiles};

/// The longest accepted file, in bytes. A larger one is a mistake, and would take all memory.
const LONGEST: u64 = 16 << 20;

/// Reads a file whole. It may take for ever (a pipe, a disk that hangs), so never on a thread that others wait for.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read(&File::open(path)?)?;
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
