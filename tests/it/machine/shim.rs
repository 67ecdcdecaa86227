//! A machine that fails on command: `shim.c`, compiled once a run and put between the gateway and its C library. It
//! needs no root and no kernel module, and touches nothing but the state directory and the wall clock.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use crate::support::{Gateway, TempDir};

/// "Input/output error": the disk is broken.
pub const EIO: i64 = 5;
/// "No space left on device".
pub const ENOSPC: i64 = 28;
/// "Bad file descriptor": nothing can be waited for any more.
const EBADF: i64 = 9;
/// "Read-only file system".
pub const EROFS: i64 = 30;

/// What can be broken: the place of each in the file that the shim reads.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Sync = 0,
    SyncDir = 1,
    SyncDelay = 2,
    Write = 3,
    Read = 4,
    Clock = 5,
    // 6 and 7 are the name of a thread, and what follows is for that thread alone.
    Poll = 8,
    ThreadClock = 9,
    WriteLie = 10,
    AfterSyncDir = 11,
    Lookup = 12,
}

/// The place of the path that hangs, and its length in bytes.
const HANGING: u64 = 13;
const LONGEST_PATH: usize = 64;

/// The length of the file, in faults and the longest path.
const FAULTS: usize = 13 + LONGEST_PATH / 8;

/// The machine under one gateway after another. Everything works until it is told otherwise.
pub struct Machine {
    control: File,
    folder: TempDir,
    state: PathBuf,
}

impl Machine {
    pub fn new() -> Machine {
        let folder = TempDir::new();
        let control = folder.file("control", &"\0".repeat(FAULTS * 8));
        let control = File::options().write(true).open(control).unwrap();
        let state = folder.path().join("state");
        Machine { control, folder, state }
    }

    /// A gateway on this machine, always with the same state directory.
    pub fn start(&self, upstream: SocketAddr, extra: &[&str]) -> Gateway {
        self.try_start(upstream, extra)
            .unwrap_or_else(|(status, log)| panic!("the gateway did not start: {status}\n{}", log.join("\n")))
    }

    /// The same, or how it ended and what it said.
    pub fn try_start(&self, upstream: SocketAddr, extra: &[&str]) -> Result<Gateway, (ExitStatus, Vec<String>)> {
        let variables = self.variables().map(|(name, path)| format!(" {name}='{}'", path.display()));
        Gateway::start_after(&format!("export{}", variables.concat()), &self.state, upstream, extra)
    }

    /// The variables that put a process on this machine.
    pub fn variables(&self) -> [(&'static str, PathBuf); 3] {
        let control = self.folder.path().join("control");
        [("LD_PRELOAD", library().to_owned()), ("SHIM_CONTROL", control), ("SHIM_DIR", self.state.clone())]
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Each sync of a file fails with this error; 0 mends it.
    pub fn syncs_fail(&self, error: i64) {
        self.set(Fault::Sync, error);
    }

    /// Each sync of the directory, the last step of a save, fails with this error; 0 mends it.
    pub fn syncs_of_the_directory_fail(&self, error: i64) {
        self.set(Fault::SyncDir, error);
    }

    /// The next sync of the directory fails, and the disk is read-only from then on.
    pub fn turns_read_only_at_a_sync_of_the_directory(&self) {
        self.set(Fault::AfterSyncDir, EROFS);
        self.set(Fault::SyncDir, EIO);
    }

    /// Each sync takes so long; a shorter time ends those that wait.
    pub fn syncs_take(&self, time: Duration) {
        self.set(Fault::SyncDelay, i64::try_from(time.as_millis()).unwrap());
    }

    /// Each write, new name and removal fails with this error; 0 mends it.
    pub fn writes_fail(&self, error: i64) {
        self.set(Fault::Write, error);
    }

    /// Each file that is opened to be read fails with this error; 0 mends it.
    pub fn reads_fail(&self, error: i64) {
        self.set(Fault::Read, error);
    }

    /// What begins with this path cannot be opened to be read until `nothing_hangs`.
    pub fn opening_hangs(&self, path: &Path) {
        let path = path.to_str().unwrap().as_bytes();
        assert!(path.len() < LONGEST_PATH);
        let mut padded = [0; LONGEST_PATH];
        padded[..path.len()].copy_from_slice(path);
        self.control.write_all_at(&padded, HANGING * 8).unwrap();
    }

    /// What has hung goes on.
    pub fn nothing_hangs(&self) {
        self.control.write_all_at(&[0; LONGEST_PATH], HANGING * 8).unwrap();
    }

    /// The system's resolver does not respond, or does again.
    pub fn lookups_hang(&self, hang: bool) {
        self.set(Fault::Lookup, i64::from(hang));
    }

    /// The wall clock is so many seconds ahead of the true one, or behind.
    pub fn clock_is_ahead(&self, seconds: i64) {
        self.set(Fault::Clock, seconds * 1000);
    }

    /// The thread of this name panics when it next waits for something to happen.
    pub fn kill_thread(&self, name: &str) {
        self.choose_thread(name);
        self.set(Fault::Poll, EBADF);
    }

    /// The thread of this name hangs when it next waits for something to happen, until all is mended.
    pub fn hang_thread(&self, name: &str) {
        self.choose_thread(name);
        self.set(Fault::Poll, -1);
    }

    /// For the thread of this name it is a year that no timestamp can hold: whoever takes one there panics.
    pub fn end_time_of_thread(&self, name: &str) {
        self.choose_thread(name);
        self.set(Fault::ThreadClock, 10_000 * 365 * 24 * 3600 * 1000);
    }

    /// The thread of this name panics when it next writes.
    pub fn kill_writing_thread(&self, name: &str) {
        self.choose_thread(name);
        self.set(Fault::WriteLie, 1 << 40);
    }

    /// No thread has a fault of its own any more.
    pub fn mend_threads(&self) {
        for fault in [Fault::Poll, Fault::ThreadClock, Fault::WriteLie] {
            self.set(fault, 0);
        }
    }

    fn choose_thread(&self, name: &str) {
        let mut padded = [0; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        self.control.write_all_at(&padded, 8 * 6).unwrap();
    }

    fn set(&self, fault: Fault, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), 8 * fault as u64).unwrap();
    }
}

/// The compiled shim. A C compiler is there: Rust links with it.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim.so");
        // Another run may be using the one that is there.
        let fresh = library.with_extension(std::process::id().to_string());
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/machine/shim.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", source, "-ldl", "-o"]).arg(&fresh);
        let compiled = compiler.output().expect("cc, which Rust links with, is there");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::rename(&fresh, &library).unwrap();
        library
    })
}
