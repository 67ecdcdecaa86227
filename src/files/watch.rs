//! Notices that a file has another content, and names it. It compares contents, so it sees an edit in place, a rename and the
//! swapped symlinks of a ConfigMap or a mounted secret alike. It judges none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{open, read};
use crate::hex::sha256_hex;

/// The interval between two looks. A content counts once two looks have found it: a file that is being written does not.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files of one thing, which is read again when one of them changes.
pub(crate) struct WatchedFiles {
    /// That of the [`ReloadedFile`](super::ReloadedFile).
    pub(crate) name: &'static str,
    pub(crate) paths: Vec<PathBuf>,
}

/// All watched files, as the first look has found them.
pub(crate) struct FileWatch(Vec<WatchedFile>);

struct WatchedFile {
    name: &'static str,
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
    pub(crate) fn new(watched: impl IntoIterator<Item = WatchedFiles>) -> FileWatch {
        let first = |name, path: PathBuf| {
            let content = look(&path);
            WatchedFile { name, path, last: content.clone(), known: content }
        };
        let each = |WatchedFiles { name, paths }| paths.into_iter().map(move |path| first(name, path));
        FileWatch(watched.into_iter().flat_map(each).collect())
    }

    /// Looks on a thread of its own, for a file system may hang. The channel yields the name of the files to read again.
    pub(crate) fn start(mut self) -> std::io::Result<mpsc::UnboundedReceiver<&'static str>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let forever = move || {
            while !sender.is_closed() {
                std::thread::sleep(INTERVAL);
                // Without a receiver, the gateway is ending.
                for name in self.changed() {
                    let _ = sender.send(name);
                }
            }
        };
        std::thread::Builder::new().name("file-watch".to_owned()).spawn(forever)?;
        Ok(receiver)
    }

    /// The names whose files have changed, each once.
    fn changed(&mut self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.0.iter_mut().filter_map(|file| file.has_changed().then_some(file.name)).collect();
        names.dedup();
        names
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
    let read = path.metadata().and_then(|found| found.is_file().then(|| read(&open(path)?)).transpose());
    match read {
        Ok(Some(bytes)) => Content::Text { hash: sha256_hex(bytes) },
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
        let files = |name, path: &PathBuf| WatchedFiles { name, paths: vec![path.clone()] };
        let mut watch = FileWatch::new([files("routes", &one), files("access", &other)]);
        let mut looks = |count: usize| (0..count).map(|_| !watch.changed().is_empty()).collect::<Vec<_>>();
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
