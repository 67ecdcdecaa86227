//! Load at full speed: each connection asks again as soon as it has its answer. It costs a processor about half of what wrk with
//! a script does, so that the proxies and not the load are the limit; `--rows wrk` shows the two side by side. One line of JSON
//! tells what was measured.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::exit;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use compare_load::{Dice, Mix, head, percentile, status};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

/// How long an answer may be overdue when the time is over: beyond it the connection is stuck, and there is no result.
const PATIENCE: Duration = Duration::from_secs(2);

struct Plan {
    target: SocketAddr,
    threads: usize,
    connections: usize,
    duration: Duration,
    mix: Mix,
    seed: u64,
}

#[derive(Default)]
struct Measured {
    micros: Vec<u32>,
    statuses: BTreeMap<u16, u64>,
    bytes: u64,
}

fn main() {
    let plan = Arc::new(read_arguments());
    let ready = Arc::new(Barrier::new(plan.threads));
    let threads: Vec<_> = (0..plan.threads)
        .map(|number| {
            let (plan, ready) = (Arc::clone(&plan), Arc::clone(&ready));
            std::thread::spawn(move || run(&plan, number, &ready))
        })
        .collect();
    let mut all = Measured::default();
    for thread in threads {
        match thread.join() {
            Ok(Ok(part)) => all.add(part),
            Ok(Err(error)) => fail(&format!("a connection broke: {error}")),
            Err(_) => fail("a thread panicked"),
        }
    }
    report(all, plan.duration);
}

fn read_arguments() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, threads, connections, seconds, mix, seed, body] = arguments.as_slice() else {
        fail("usage: load ADDR:PORT THREADS CONNECTIONS SECONDS MIX-FILE SEED BODY-BYTES");
    };
    let number = |text: &String| text.parse::<u64>().unwrap_or_else(|_| fail(&format!("not a number: {text}")));
    let text = std::fs::read_to_string(mix).unwrap_or_else(|error| fail(&format!("{mix}: {error}")));
    Plan {
        target: target.parse().unwrap_or_else(|_| fail(&format!("not an address: {target}"))),
        threads: number(threads).max(1) as usize,
        connections: number(connections) as usize,
        duration: Duration::from_secs(number(seconds)),
        mix: Mix::new(&text, number(body) as usize),
        seed: number(seed),
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    /// How much of the request was written.
    written: usize,
    asked: Instant,
    /// The beginning of a head that has no end yet.
    begun: Vec<u8>,
    /// Bytes of the answer that are still to come, once its head is there.
    missing: Option<usize>,
    status: u16,
}

fn run(plan: &Plan, thread: usize, ready: &Barrier) -> std::io::Result<Measured> {
    let mut dice = Dice::new(plan.seed, thread as u64);
    let (mut poll, mut events, mut buffer) = (Poll::new()?, Events::with_capacity(1024), vec![0; 256 * 1024]);
    let mut connections = connect(plan, thread, &poll)?;
    let mut measured = Measured::default();
    // Nobody asks before all are connected: the time that takes is no latency.
    ready.wait();
    let end = Instant::now() + plan.duration;
    for connection in &mut connections {
        connection.ask(&plan.mix, &mut dice, Instant::now())?;
    }
    while Instant::now() < end {
        match poll.poll(&mut events, Some(end.saturating_duration_since(Instant::now()))) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let connection = &mut connections[event.token().0];
            connection.write_on()?;
            if connection.read(&mut buffer, &mut measured)? {
                connection.ask(&plan.mix, &mut dice, Instant::now())?;
            }
        }
    }
    // Who was never answered counts as well, or a stuck connection would look like none.
    for waited in connections.iter().map(|connection| connection.asked.elapsed()) {
        if waited > PATIENCE {
            return Err(Error::new(ErrorKind::TimedOut, format!("a request had no answer after {waited:?}")));
        }
    }
    Ok(measured)
}

/// The thread's share of the connections.
fn connect(plan: &Plan, thread: usize, poll: &Poll) -> std::io::Result<Vec<Connection>> {
    let share = plan.connections / plan.threads + usize::from(thread < plan.connections % plan.threads);
    (0..share)
        .map(|number| {
            let stream = std::net::TcpStream::connect(plan.target)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
            Ok(Connection::new(stream))
        })
        .collect()
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        let (request, begun) = (Vec::with_capacity(4096), Vec::new());
        Connection { stream, request, written: 0, asked: Instant::now(), begun, missing: None, status: 0 }
    }

    fn ask(&mut self, mix: &Mix, dice: &mut Dice, now: Instant) -> std::io::Result<()> {
        mix.write(&mut self.request, dice);
        (self.written, self.asked) = (0, now);
        self.write_on()
    }

    fn write_on(&mut self) -> std::io::Result<()> {
        while self.written < self.request.len() {
            match self.stream.write(&self.request[self.written..]) {
                Ok(length) => self.written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is; true when the answer is whole.
    fn read(&mut self, buffer: &mut [u8], measured: &mut Measured) -> std::io::Result<bool> {
        loop {
            let length = match self.stream.read(buffer) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "closed before the answer was whole")),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            measured.bytes += length as u64;
            if self.take(&buffer[..length])? {
                measured.micros.push(self.asked.elapsed().as_micros() as u32);
                *measured.statuses.entry(self.status).or_default() += 1;
                return Ok(true);
            }
            // Less than there was room for: an event will tell of more.
            if length < buffer.len() {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> std::io::Result<bool> {
        let bad = |what: &str| Error::new(ErrorKind::InvalidData, what.to_owned());
        let joined =
            if self.begun.is_empty() { Vec::new() } else { [&std::mem::take(&mut self.begun)[..], bytes].concat() };
        let mut bytes = if joined.is_empty() { bytes } else { &joined };
        let missing = match self.missing {
            Some(missing) => missing,
            None => {
                let Some((length, body)) = head(bytes) else {
                    self.begun = bytes.to_vec();
                    return Ok(false);
                };
                self.status = status(bytes).ok_or_else(|| bad("no status"))?;
                bytes = &bytes[length..];
                body.ok_or_else(|| bad("no Content-Length"))?
            }
        };
        let left = missing.checked_sub(bytes.len()).ok_or_else(|| bad("more than one answer"))?;
        self.missing = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

impl Measured {
    fn add(&mut self, part: Measured) {
        self.micros.extend(part.micros);
        self.bytes += part.bytes;
        for (status, count) in part.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
    }
}

fn report(mut all: Measured, took: Duration) {
    all.micros.sort_unstable();
    let requests = all.micros.len();
    let at = |share| if requests == 0 { 0 } else { percentile(&all.micros, share) };
    let statuses: Vec<String> = all.statuses.iter().map(|(status, count)| format!("\"{status}\":{count}")).collect();
    let refused: u64 = all.statuses.iter().filter(|(status, _)| **status >= 400).map(|(_, count)| count).sum();
    println!(
        "JSON {{\"requests\":{requests},\"micros\":{},\"bytes\":{},\"failed\":0,\"refused\":{refused},\"p50\":{},\"p90\":{},\"p99\":{},\"max\":{},\"statuses\":[{{{}}}]}}",
        took.as_micros(),
        all.bytes,
        at(0.50),
        at(0.90),
        at(0.99),
        at(1.0),
        statuses.join(",")
    );
}

fn fail(message: &str) -> ! {
    eprintln!("load: {message}");
    exit(1)
}
