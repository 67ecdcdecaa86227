//! One line a request, when asked: written into the worker's own buffer, and to the file by one thread for all workers.
//! A line that cannot keep up is dropped and counted, never waited for.

use std::cell::RefCell;
use std::io::Write;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use jiff::Timestamp;

use super::account::Line;
use crate::telemetry::{LogFormat, Outcome};

/// A buffer of this size is handed over at once; smaller ones wait for the next flush, in bytes.
const BUFFER: usize = 32 * 1024;

/// Buffers that may wait for the writing thread.
const WAITING: usize = 64;

/// One worker's end of the log.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    buffer: RefCell<Vec<u8>>,
    writer: SyncSender<Vec<u8>>,
}

/// Starts the writing thread. The log goes to standard output.
pub fn start(format: LogFormat) -> std::io::Result<AccessLogWriter> {
    let (sender, receiver) = sync_channel::<Vec<u8>>(WAITING);
    std::thread::Builder::new().name("access-log".to_owned()).spawn(move || {
        let mut out = std::io::stdout();
        for buffer in receiver {
            // Nobody reads the log any more: there is nowhere left to say so.
            drop(out.write_all(&buffer).and_then(|()| out.flush()));
        }
    })?;
    Ok(AccessLogWriter { format, writer: sender })
}

/// Makes the workers' ends.
#[derive(Clone, Debug)]
pub struct AccessLogWriter {
    format: LogFormat,
    writer: SyncSender<Vec<u8>>,
}

impl AccessLogWriter {
    /// The end of one worker.
    pub fn for_worker(&self) -> AccessLog {
        AccessLog { format: self.format, buffer: RefCell::default(), writer: self.writer.clone() }
    }
}

impl AccessLog {
    /// Writes one line.
    pub fn write(&self, line: &Line, outcome: Outcome, bytes: u64, elapsed: Duration) {
        let mut buffer = self.buffer.borrow_mut();
        match self.format {
            LogFormat::Json => write_json(&mut buffer, line, outcome, bytes, elapsed),
            LogFormat::Human => write_human(&mut buffer, line, outcome, bytes, elapsed),
        }
        if buffer.len() >= BUFFER {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what has been written so far.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if !buffer.is_empty() {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Vec<u8>) {
        let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER + 1024));
        if let Err(TrySendError::Full(lost)) = self.writer.try_send(full) {
            let lines = lost.iter().filter(|byte| **byte == b'\n').count();
            tracing::warn!(lines, "access log lines were lost: the log is not read fast enough");
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

fn write_json(buffer: &mut Vec<u8>, line: &Line, outcome: Outcome, bytes: u64, elapsed: Duration) {
    let written = write!(
        buffer,
        "{{\"time\":\"{:.3}\",\"peer\":\"{}\",\"method\":\"{}\",\"path\":",
        Timestamp::now(),
        line.peer,
        line.method
    );
    // Writing to memory cannot fail.
    drop(written);
    for (name, value) in [("", &line.path), (",\"operation\":", &line.operation), (",\"class\":", &line.class)] {
        buffer.extend_from_slice(name.as_bytes());
        drop(serde_json::to_writer(&mut *buffer, value));
    }
    drop(write!(
        buffer,
        ",\"status\":{},\"outcome\":\"{}\",\"bytes\":{bytes},\"duration_ms\":{:.3},\"revision\":{},\"request_id\":",
        line.status,
        outcome.as_str(),
        elapsed.as_secs_f64() * 1000.0,
        line.revision
    ));
    drop(serde_json::to_writer(&mut *buffer, &line.request_id));
    buffer.extend_from_slice(b"}\n");
}

fn write_human(buffer: &mut Vec<u8>, line: &Line, outcome: Outcome, bytes: u64, elapsed: Duration) {
    // `{:?}` of the operation keeps a name with spaces one word; paths hold no spaces and no control characters.
    drop(writeln!(
        buffer,
        "{:.3} {} {} {} {} {} {:?} {bytes}B {:.3}ms rev={}",
        Timestamp::now(),
        line.peer,
        line.method,
        line.path,
        line.status,
        outcome.as_str(),
        line.operation,
        elapsed.as_secs_f64() * 1000.0,
        line.revision
    ));
}
