//! `--watch-files`: notices that `routes.yaml` or `access.yaml` has another content, and asks for a reload as SIGHUP does. It
//! compares contents, so it sees an edit in place, a rename and the swapped symlinks of a ConfigMap alike. It judges none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::hex::sha256_hex;

/// The interval between two looks. A content counts once two looks have found it: a file that is being written does not.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files, as the first look has found them.
pub(super) struct FileWatch(Vec<WatchedFile>);

struct WatchedFile {
    path: PathBuf,
    /// Found by the last look.
    last: Content,
    /// The last content that was read by a start or a reload.
    known: Content,
}

#[derive(Clone, PartialEq, Eq)]
enum Content {
    Text {
        hash: String,
    },
    Unreadable(String),
    /// A pipe, a device or a folder: to read it may take for ever.
    NoFile,
}

impl FileWatch {
    /// Looks for the first time. Before the start reads the files: what changes after that is noticed.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> FileWatch {
        let first = |path: PathBuf| {
            let content = look(&path);
            WatchedFile { path, last: content.clone(), known: content }
        };
        FileWatch(paths.into_iter().map(first).collect())
    }

    /// Looks on a thread of its own, for a file system may hang. The channel yields once for each reload that is needed.
    pub(super) fn start(mut self) -> std::io::Result<mpsc::Receiver<()>> {
        let (sender, receiver) = mpsc::channel(1);
        let forever = move || {
            while !sender.is_closed() {
                std::thread::sleep(INTERVAL);
                // A reload that is already queued will read the newest files.
                if self.have_changed() && sender.try_send(()) == Err(TrySendError::Closed(())) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("file-watch".to_owned()).spawn(forever)?;
        Ok(receiver)
    }

    fn have_changed(&mut self) -> bool {
        // Not `any`: each file takes its look.
        self.0.iter_mut().map(WatchedFile::has_changed).fold(false, |one, other| one | other)
    }
}

impl WatchedFile {
    fn has_changed(&mut self) -> bool {
        let found = look(&self.path);
        let is_news = found == self.last && found != self.known;
        self.last = found;
        if is_news {
            self.known = self.last.clone();
            let path = self.path.display();
            match &self.last {
                Content::Text { .. } => tracing::info!(%path, "the file has changed: reloading"),
                Content::Unreadable(error) => tracing::warn!(%path, %error, "the file cannot be read: reloading"),
                Content::NoFile => tracing::warn!(%path, "this is no regular file: not reloading"),
            }
        }
        is_news && self.last != Content::NoFile
    }
}

fn look(path: &Path) -> Content {
    let read = path.metadata().and_then(|found| found.is_file().then(|| std::fs::read(path)).transpose());
    match read {
        Ok(Some(bytes)) => Content::Text { hash: sha256_hex(&String::from_utf8_lossy(&bytes)) },
        Ok(None) => Content::NoFile,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_content_counts_once_and_when_two_looks_have_found_it() {
        let dir = std::env::temp_dir().join(format!("ucs-gateway-watch-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (one, other) = (dir.join("routes.yaml"), dir.join("access.yaml"));
        std::fs::write(&one, "old").unwrap();
        let mut watch = FileWatch::new([one.clone(), other.clone()]);
        let mut looks = |count: usize| (0..count).map(|_| watch.have_changed()).collect::<Vec<_>>();
        assert_eq!(looks(2), [false, false]);
        std::fs::write(&one, "ne").unwrap();
        assert_eq!(looks(1), [false], "it is being written");
        std::fs::write(&one, "new").unwrap();
        assert_eq!(looks(4), [false, true, false, false]);
        std::fs::write(&one, "other").unwrap();
        assert_eq!(looks(1), [false]);
        std::fs::write(&one, "new").unwrap();
        assert_eq!(looks(3), [false; 3], "it is what was read last");
        std::fs::write(&other, "made").unwrap();
        assert_eq!(looks(3), [false, true, false]);
        std::fs::remove_file(&one).unwrap();
        assert_eq!(looks(3), [false, true, false], "the reload says what is missing");
        std::fs::create_dir(&one).unwrap();
        assert_eq!(looks(3), [false; 3], "this is no file to read");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
