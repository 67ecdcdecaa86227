//! Opens regular files and nothing else. To open a pipe waits for its other end, and to open a device may do something to it,
//! so both are refused before they are opened. It reads nothing.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FsWord, OFlags};
use rustix::io::Errno;

/// The file system of pipes without a name, as in `statfs(2)`.
const PIPEFS: FsWord = 0x5049_5045;

/// What stands in the place of a regular file. Another attempt finds the same, until somebody removes it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAFile {
    #[error("it is {0} where a regular file must be; remove it, or put the file in its place")]
    Other(&'static str),
    #[error("it is a symbolic link to {}, which does not exist; remove it, or put the file there", .0.display())]
    Dangling(PathBuf),
    #[error("it is a symbolic link that leads back to itself; remove it, or put the file in its place")]
    Loop,
}

impl NotAFile {
    /// Whether an error is of this kind, and no failure of a file system.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
    }
}

impl From<NotAFile> for io::Error {
    fn from(fault: NotAFile) -> io::Error {
        io::Error::new(ErrorKind::InvalidInput, fault)
    }
}

/// Opens a file that is there, to read it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    open_with(path, OpenOptions::new().read(true))
}

/// Opens a file with these options, which may create it.
pub(crate) fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    match path.metadata() {
        Ok(there) => regular(&there)?,
        Err(error) if error.kind() == ErrorKind::NotFound => not_dangling(path)?,
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => return Err(NotAFile::Loop.into()),
        Err(error) => return Err(error),
    }
    // Something else may have taken its place just now.
    let file = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

/// Opens a file, or a pipe without a name, as shells make them for `<(…)`: its writer is there already. For commands.
pub(crate) fn open_or_pipe(path: &Path) -> io::Result<File> {
    let is_pipe = path.metadata().is_ok_and(|there| there.file_type().is_fifo());
    if is_pipe && rustix::fs::statfs(path).is_ok_and(|system| system.f_type == PIPEFS) {
        return File::open(path);
    }
    open(path)
}

fn regular(found: &Metadata) -> Result<(), NotAFile> {
    if found.is_file() { Ok(()) } else { Err(NotAFile::Other(in_words(found.file_type()))) }
}

/// What opens a file to create it would create the target of a link.
fn not_dangling(path: &Path) -> Result<(), NotAFile> {
    std::fs::read_link(path).map_or(Ok(()), |target| Err(NotAFile::Dangling(target)))
}

fn in_words(kind: FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO (named pipe)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
