//! The output of log lines: a bounded queue and a writing thread for each stream. Pushing a line never blocks and never fails:
//! a line that cannot be written is dropped and counted. The content of the lines does not matter here.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::faults::{self, Part};

/// Events, and the error of a process that fails.
pub(crate) static STDERR: LineQueue = LineQueue::new("stderr", 1024 * 1024, 4096);

/// The access log, and the output of the demo.
pub(crate) static STDOUT: LineQueue = LineQueue::new("stdout", 4 * 1024 * 1024, 64 * 1024);

/// The pause before writing again to a full non-blocking stream.
const PAUSE: Duration = Duration::from_millis(10);

/// The longest wait of an ending process for the last lines of a stream.
const LAST_FLUSH: Duration = Duration::from_millis(500);

/// A larger buffer is released after a burst, in bytes.
const KEPT_BUFFER: usize = 256 * 1024;

/// The queue of one stream. There is one per stream in the process.
#[derive(Debug)]
pub(crate) struct LineQueue {
    name: &'static str,
    /// The capacity in bytes.
    limit: usize,
    /// The largest write in bytes, unless a single line is longer. A pipe keeps small writes whole even if other processes
    /// write to it.
    piece: usize,
    waiting: Mutex<Waiting>,
    /// Notified when lines are pushed and when lines are written.
    changed: Condvar,
    dropped: AtomicU64,
    /// Lines were dropped since the last report of their number.
    is_dropping: AtomicBool,
    ended: Notify,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    /// Bytes that the thread has taken and not yet written.
    being_written: usize,
    is_running: bool,
}

impl LineQueue {
    const fn new(name: &'static str, limit: usize, piece: usize) -> LineQueue {
        LineQueue {
            name,
            limit,
            piece,
            waiting: Mutex::new(Waiting { bytes: Vec::new(), being_written: 0, is_running: false }),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            is_dropping: AtomicBool::new(false),
            ended: Notify::const_new(),
        }
    }

    /// Starts the thread that writes to `stream`, unless it is already running.
    pub(crate) fn start(&'static self, stream: &impl AsFd) -> io::Result<()> {
        if self.lock().is_running {
            return Ok(());
        }
        // A descriptor of its own: a thread that blocks in a write would otherwise hold the lock of `io::stderr`.
        let out = File::from(stream.as_fd().try_clone_to_owned()?);
        self.lock().is_running = true;
        let write = move || {
            let _running = Running(self);
            Writer { queue: self, out, is_torn: false, reported: 0 }.run();
        };
        let started = std::thread::Builder::new().name(self.thread()).spawn(write);
        started.map(drop).inspect_err(|_| self.lock().is_running = false)
    }

    /// Queues whole lines, or drops them if the queue is full.
    pub(crate) fn push(&self, lines: &[u8]) {
        let mut waiting = self.lock();
        if waiting.total() + lines.len() > self.limit {
            drop(waiting);
            return self.drop_lines(lines, &"they are not read fast enough");
        }
        waiting.bytes.extend_from_slice(lines);
        drop(waiting);
        self.changed.notify_all();
    }

    /// `stderr` or `stdout`.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The number of dropped lines so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until the thread has ended, which only a fault causes.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// The name of the writing thread.
    pub(crate) fn thread(&self) -> String {
        format!("log-{}", self.name)
    }

    /// Waits a short time for all lines to be written. For the end of the process.
    pub(crate) fn flush(&self) {
        let until = Instant::now() + LAST_FLUSH;
        let mut waiting = self.lock();
        while waiting.is_running && waiting.total() > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn drop_lines(&self, lines: &[u8], why: &dyn Display) {
        let count = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.dropped.fetch_add(count, Ordering::Relaxed);
        // The event log cannot report its own overflow now.
        if !self.is_dropping.swap(true, Ordering::Relaxed) && !std::ptr::eq(self, &STDERR) {
            tracing::warn!(stream = self.name, %why, "log lines are dropped");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn total(&self) -> usize {
        self.bytes.len() + self.being_written
    }
}

/// Reports the end of the thread, also after a panic.
struct Running(&'static LineQueue);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().is_running = false;
        self.0.changed.notify_all();
        self.0.ended.notify_one();
    }
}

/// The writing thread's state.
struct Writer<W> {
    queue: &'static LineQueue,
    out: W,
    /// The last write ended within a line, which must not be joined with the next one.
    is_torn: bool,
    /// The number of dropped lines reported so far.
    reported: u64,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.take(&mut batch);
            if faults::ends(Part::Log(self.queue.name)) {
                return;
            }
            for piece in pieces(&batch, self.queue.piece) {
                let is_written = self.write(piece);
                self.queue.lock().being_written -= piece.len();
                self.queue.changed.notify_all();
                if is_written {
                    self.report_dropped();
                }
            }
            batch.clear();
            if batch.capacity() > KEPT_BUFFER {
                batch = Vec::new();
            }
        }
    }

    /// Waits for lines and takes all of them.
    fn take(&self, batch: &mut Vec<u8>) {
        let mut waiting = self.queue.lock();
        while waiting.bytes.is_empty() {
            waiting = self.queue.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(batch, &mut waiting.bytes);
        waiting.being_written = batch.len();
    }

    /// Returns whether everything was written.
    fn write(&mut self, piece: &[u8]) -> bool {
        if std::mem::take(&mut self.is_torn) && self.write_all(b"\n").is_err() {
            self.is_torn = true;
        }
        let Err((rest, error)) = self.write_all(piece) else { return true };
        let written = piece.len() - rest.len();
        self.is_torn |= written > 0 && piece[written - 1] != b'\n';
        self.queue.drop_lines(rest, &error);
        false
    }

    /// Blocks while the reader does not read; `Err` has the unwritten part.
    fn write_all<'a>(&mut self, mut rest: &'a [u8]) -> Result<(), (&'a [u8], io::Error)> {
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err((rest, ErrorKind::WriteZero.into())),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(error) => return Err((rest, error)),
            }
        }
        Ok(())
    }

    /// Reports the number of dropped lines once there is room again, not each time that one is dropped.
    fn report_dropped(&mut self) {
        let queue = self.queue;
        if !queue.is_dropping.load(Ordering::Relaxed) || queue.lock().total() > queue.limit / 2 {
            return;
        }
        queue.is_dropping.store(false, Ordering::Relaxed);
        let dropped = queue.dropped();
        let lines = dropped - std::mem::replace(&mut self.reported, dropped);
        if lines > 0 {
            tracing::warn!(stream = queue.name, lines, "log lines were dropped");
        }
    }
}

/// Splits at line ends into pieces of at most `longest` bytes, unless a line is longer.
fn pieces(mut rest: &[u8], longest: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let is_last = rest.len() <= longest;
        let line_end = || memchr::memrchr(b'\n', &rest[..longest]).or_else(|| memchr::memchr(b'\n', rest));
        let end = if is_last { None } else { line_end() }.map_or(rest.len(), |last| last + 1);
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn queue(limit: usize) -> &'static LineQueue {
        Box::leak(Box::new(LineQueue::new("test", limit, 16)))
    }

    /// Accepts a given number of bytes of each write, or fails, as scripted.
    struct Faulty {
        taken: Vec<u8>,
        /// The results of the next writes; afterwards everything is accepted.
        answers: Vec<io::Result<usize>>,
    }

    impl Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = if self.answers.is_empty() { bytes.len() } else { self.answers.remove(0)?.min(bytes.len()) };
            self.taken.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pieces_end_with_a_line_and_nothing_is_lost_between_them() {
        let cut = |text: &'static str| -> Vec<&str> {
            pieces(text.as_bytes(), 8).map(|piece| str::from_utf8(piece).unwrap()).collect()
        };
        let cuts: [(&str, Vec<&str>); 4] = [
            ("", vec![]),
            ("one\ntwo\n", vec!["one\ntwo\n"]),
            ("one\ntwo\nthree\n", vec!["one\ntwo\n", "three\n"]),
            ("one\nlonger than a piece\nx\n", vec!["one\n", "longer than a piece\n", "x\n"]),
        ];
        for (text, expected) in cuts {
            assert_eq!(cut(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_counted_and_waiting_ones_stay() {
        let queue = queue(8);
        queue.push(b"one\n");
        queue.push(b"two\nthree\n");
        queue.push(b"two\n");
        queue.push(b"\n");
        assert_eq!((&*queue.lock().bytes, queue.dropped()), (&b"one\ntwo\n"[..], 3));
    }

    #[test]
    fn a_write_that_fails_within_a_line_counts_it_and_does_not_run_into_the_next() {
        let answers = vec![
            Err(ErrorKind::Interrupted.into()),
            Err(ErrorKind::WouldBlock.into()),
            Ok(6),
            Err(ErrorKind::StorageFull.into()),
        ];
        let mut writer =
            Writer { queue: queue(100), out: Faulty { taken: Vec::new(), answers }, is_torn: false, reported: 0 };
        assert!(!writer.write(b"one\ntwo\nthree\n"));
        assert_eq!(writer.queue.dropped(), 2);
        assert!(writer.write(b"four\n"));
        assert_eq!(str::from_utf8(&writer.out.taken).unwrap(), "one\ntw\nfour\n");
    }
}
