//! Open-loop load at a fixed rate: requests are due at random (Poisson) moments that do not depend on the answers, and an
//! answer that came late is charged to every request that had to wait behind it. One thread a connection; no dependency,
//! so that `rustc` alone builds it. It does not measure throughput: wrk does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Plan {
    target: SocketAddr,
    connections: u64,
    /// Requests per second, over all connections.
    rate: f64,
    duration: Duration,
    /// `METHOD path` with {} for identifiers.
    mix: Vec<String>,
    seed: u64,
}

#[derive(Default)]
struct Measured {
    nanos: Vec<u64>,
    other_status: u64,
    late: u64,
}

fn main() {
    let plan = Arc::new(read_arguments());
    let start = Instant::now() + Duration::from_millis(200);
    let threads: Vec<_> = (0..plan.connections)
        .map(|number| {
            let plan = Arc::clone(&plan);
            std::thread::spawn(move || run(&plan, number, start))
        })
        .collect();
    let mut all = Measured::default();
    for thread in threads {
        match thread.join() {
            Ok(Ok(part)) => {
                all.nanos.extend(part.nanos);
                all.other_status += part.other_status;
                all.late += part.late;
            }
            Ok(Err(error)) => fail(&format!("a connection broke: {error}")),
            Err(_) => fail("a thread panicked"),
        }
    }
    report(all, plan.duration);
}

fn read_arguments() -> Plan {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, connections, rate, seconds, mix, seed] = arguments.as_slice() else {
        fail("usage: openloop ADDR:PORT CONNECTIONS RATE SECONDS MIX-FILE SEED");
    };
    let number = |text: &String| text.parse::<f64>().unwrap_or_else(|_| fail(&format!("not a number: {text}")));
    let mix = std::fs::read_to_string(mix).unwrap_or_else(|error| fail(&format!("{mix}: {error}")));
    Plan {
        target: target.parse().unwrap_or_else(|_| fail(&format!("not an address: {target}"))),
        connections: number(connections) as u64,
        rate: number(rate),
        duration: Duration::from_secs_f64(number(seconds)),
        mix: mix.lines().map(str::to_owned).collect(),
        seed: number(seed) as u64,
    }
}

fn run(plan: &Plan, number: u64, start: Instant) -> std::io::Result<Measured> {
    let mut stream = TcpStream::connect(plan.target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut dice = Dice(plan.seed.wrapping_mul(1_000_003).wrapping_add(number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut measured = Measured::default();
    let mut buffer = vec![0; 128 * 1024];
    let mean = plan.connections as f64 / plan.rate;
    let mut due = start;
    loop {
        due += Duration::from_secs_f64(-mean * (1.0 - dice.fraction()).ln());
        if due >= start + plan.duration {
            return Ok(measured);
        }
        let request = write_request(&plan.mix[(dice.next() % plan.mix.len() as u64) as usize], &mut dice);
        let now = Instant::now();
        // A thread that wakes late from its sleep is this program's fault, so the clock starts when it is awake. A request
        // that waited for the answer before it is the server's, so there the clock started when it was due.
        let charged_from = if now < due {
            std::thread::sleep(due - now);
            Instant::now()
        } else {
            measured.late += 1;
            due
        };
        stream.write_all(request.as_bytes())?;
        let status = read_answer(&mut stream, &mut buffer)?;
        measured.nanos.push(charged_from.elapsed().as_nanos() as u64);
        measured.other_status += u64::from(status != 200);
    }
}

fn write_request(line: &str, dice: &mut Dice) -> String {
    let mut request = String::with_capacity(256);
    for (index, part) in line.split("{}").enumerate() {
        if index > 0 {
            request.push_str(&(100_000_000_000 + dice.next() % 900_000_000_000).to_string());
        }
        request.push_str(part);
    }
    request.push_str(" HTTP/1.1\r\nHost: ucs.test:8080\r\nUser-Agent: load\r\nAccept: application/json\r\n\r\n");
    request
}

/// Reads one answer with a Content-Length to its end, and returns its status.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<u16> {
    let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut filled = 0;
    let head_end = loop {
        let got = stream.read(&mut buffer[filled..])?;
        if got == 0 {
            return Err(broken("closed before the answer was over"));
        }
        filled += got;
        if let Some(end) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_end]).map_err(|_| broken("a head that is not text"))?;
    let status = head.get(9..12).and_then(|text| text.parse().ok()).ok_or_else(|| broken("no status"))?;
    let length = head.lines().filter_map(|line| line.split_once(':'));
    let length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value.trim());
    let length: usize = length.last().and_then(|text| text.parse().ok()).ok_or_else(|| broken("no Content-Length"))?;
    let mut missing = (head_end + length).checked_sub(filled).ok_or_else(|| broken("more than one answer"))?;
    while missing > 0 {
        let room = missing.min(buffer.len());
        match stream.read(&mut buffer[..room])? {
            0 => return Err(broken("closed within a body")),
            got => missing -= got,
        }
    }
    Ok(status)
}

fn report(mut all: Measured, duration: Duration) {
    all.nanos.sort_unstable();
    let count = all.nanos.len();
    if count == 0 {
        fail("no request was sent: the rate is too low for the time");
    }
    let at = |share: f64| all.nanos[((count as f64 * share) as usize).min(count - 1)] as f64 / 1000.0;
    println!(
        "JSON {{\"requests\":{count},\"rate\":{:.1},\"failed\":0,\"refused\":{},\"late\":{},\"p50\":{:.1},\"p90\":{:.1},\"p99\":{:.1},\"max\":{:.1}}}",
        count as f64 / duration.as_secs_f64(),
        all.other_status,
        all.late,
        at(0.50),
        at(0.90),
        at(0.99),
        at(1.0),
    );
}

/// xorshift64*: good enough to spread identifiers and moments, and the same for every contender.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// In [0, 1).
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn fail(message: &str) -> ! {
    eprintln!("openloop: {message}");
    exit(1)
}
