//! The local state of one gateway, which stays on this machine whatever keeps the record: the directory with its lock, the
//! clean-shutdown marker, and a few facts. Blocking; `store` calls it from blocking threads.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::control::store::contract::{Fact, LoadedLocal, StoreError};
use crate::control::store::journal::free_name;
use crate::files::{NotAFile, open_with, read_if_there, read_text};
use crate::policy::mode::{BypassLog, LocalLog};

const LOCK: &str = "lock";
const CLEAN: &str = "clean-shutdown";
const SCHEMA_PATH_ANSWERED: &str = "schema-path-answered";
const UPSTREAM_SEEN: &str = "upstream-seen";
const LOCAL: &str = "local.json";
const BYPASSES: &str = "bypasses.json";
const FLEET: &str = "fleet.json";

/// An open state directory. The locks are held until it is dropped or the process ends.
#[derive(Debug)]
pub struct LocalDir {
    dir: PathBuf,
    /// The directory itself: the file `lock` can be removed under a running gateway.
    _dir_lock: File,
    /// Earlier versions lock this file only, and so do network file systems that lock no directory.
    _lock: File,
}

impl LocalDir {
    /// Opens the directory, creating it for this user only (0700), and takes its lock.
    pub fn open(dir: &Path) -> Result<LocalDir, StoreError> {
        if dir.metadata().is_ok_and(|there| !there.is_dir()) {
            return Err(failed("use as the state directory", dir)(io::ErrorKind::NotADirectory.into()));
        }
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.map_err(failed("create the state directory", dir))?;
        let dir_lock = File::open(dir).map_err(failed("open the state directory", dir))?;
        if matches!(dir_lock.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(StoreError::InUse(dir.to_owned()));
        }
        let lock_path = dir.join(LOCK);
        let mut options = File::options();
        let lock = open_with(&lock_path, options.write(true).create(true).truncate(false).mode(0o600));
        let lock = lock.map_err(failed("open the lock file", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(LocalDir { dir: dir.to_owned(), _dir_lock: dir_lock, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse(dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed("lock", &lock_path)(source)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// The local closes of a directory, which may be read without the lock; no closes if the file cannot be read.
    pub(crate) fn read_local(dir: &Path) -> LocalLog {
        let text = read_text(&dir.join(LOCAL)).unwrap_or_default();
        LocalLog::read(&text).unwrap_or_default()
    }

    /// The uses of a bypass, which may be read without the lock.
    pub(crate) fn read_bypasses(dir: &Path) -> BypassLog {
        BypassLog::read(&read_text(&dir.join(BYPASSES)).unwrap_or_default())
    }

    /// Reads the facts, and removes the clean-shutdown marker.
    pub(crate) fn load(&mut self) -> Result<LoadedLocal, StoreError> {
        let mut alarms = Vec::new();
        Ok(LoadedLocal {
            local: self.load_local(&mut alarms)?,
            alarms,
            clean: self.take_clean_marker()?,
            schema_path_answered: self.load_fact(SCHEMA_PATH_ANSWERED)?,
            bypasses: self.load_fact(BYPASSES)?,
            fleet: self.load_fleet()?,
            is_used: [FLEET, "mode.json", "journal.jsonl"].iter().any(|name| self.dir.join(name).exists()),
            upstream_seen: self.load_fact(UPSTREAM_SEEN)?,
        })
    }

    /// Saves a fact for the next start.
    pub(crate) fn remember(&mut self, fact: &Fact) -> Result<(), StoreError> {
        match fact {
            Fact::SchemaPathAnswered(path) => self.write_marker(SCHEMA_PATH_ANSWERED, path),
            Fact::Local(json) => self.write_local(json),
            Fact::Bypasses(json) => self.write_marker(BYPASSES, json),
            Fact::Fleet(json) => self.write_marker(FLEET, json),
            Fact::UpstreamSeen(json) => self.write_marker(UPSTREAM_SEEN, json),
        }
    }

    /// Writes the clean-shutdown marker.
    pub(crate) fn mark_clean_shutdown(&mut self) -> Result<(), StoreError> {
        self.write_marker(CLEAN, "")
    }

    fn write_marker(&self, name: &str, content: &str) -> Result<(), StoreError> {
        let (new, path) = (self.dir.join(format!("{name}.new")), self.dir.join(name));
        let options = &mut File::options();
        let created = open_with(&new, options.write(true).create(true).truncate(true));
        let written = created.and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed("write", &new))?;
        std::fs::rename(&new, &path).map_err(failed("replace", &path))?;
        sync_dir(&self.dir)
    }

    /// An end of a close that is reported as not saved must not be what the next start finds, as with the record. A close may.
    fn write_local(&self, json: &str) -> Result<(), StoreError> {
        let before = read_text(&self.dir.join(LOCAL)).unwrap_or_default();
        let written = self.write_marker(LOCAL, json);
        if written.is_err() && LocalLog::read(&before).is_ok_and(|log| log.in_force().is_some()) {
            // As far as the disk permits.
            let _ = self.write_marker(LOCAL, &before);
        }
        written
    }

    /// Reads the local closes. A file that cannot be read may have closed the gateway: it is set aside, and closes it.
    fn load_local(&self, alarms: &mut Vec<String>) -> Result<LocalLog, StoreError> {
        let path = self.dir.join(LOCAL);
        let Some(bytes) = read_if_there(&path).map_err(failed("read", &path))? else { return Ok(LocalLog::default()) };
        let fault = match LocalLog::read(&String::from_utf8_lossy(&bytes)) {
            Ok(local) => return Ok(local),
            Err(fault) => fault,
        };
        // A second name for the old file first: a crash must not leave none at all, which would open the gateway.
        let aside = free_name(&path, "aside");
        std::fs::hard_link(&path, &aside).map_err(failed("set aside", &path))?;
        let reason = format!("{} could not be read ({fault}); it is kept in {}", path.display(), aside.display());
        alarms.push(format!("{reason}; this gateway stays closed until `mode open`"));
        let closed = LocalLog::closed_for(reason, Timestamp::now());
        let json = serde_json::to_string(&closed).map_err(io::Error::from).map_err(failed("encode", &path))?;
        self.write_marker(LOCAL, &json)?;
        Ok(closed)
    }

    /// A fact that only saves work: without it the start goes on.
    fn load_fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(name);
        match read_text(&path) {
            Err(error) if NotAFile::is(&error) => Err(failed("read", &path)(error)),
            read => Ok(read.ok()),
        }
    }

    /// A member's memory is its name in the fleet: it is missing only where it never was.
    fn load_fleet(&self) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(FLEET);
        let text =
            read_if_there(&path).and_then(|bytes| bytes.map(String::from_utf8).transpose().map_err(io::Error::other));
        text.map_err(failed("read", &path))
    }

    fn take_clean_marker(&self) -> Result<bool, StoreError> {
        let path = self.dir.join(CLEAN);
        match std::fs::remove_file(&path) {
            Ok(()) => sync_dir(&self.dir).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

pub(super) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

#[cfg(test)]
mod tests;
