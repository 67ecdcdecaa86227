//! Open-loop load at a fixed rate: requests are due at random (Poisson) moments that do not depend on the answers, and an
//! answer that came late is charged to every request that had to wait behind it. One thread a connection. It does not measure
//! throughput: `load` does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use compare_load::{Dice, Mix, head, percentile, status};

struct Plan {
    target: SocketAddr,
    connections: u64,
    /// Requests per second, over all connections.
    rate: f64,
    duration: Duration,
    mix: Mix,
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
        mix: Mix::new(&mix, 0),
        seed: number(seed) as u64,
    }
}

fn run(plan: &Plan, number: u64, start: Instant) -> std::io::Result<Measured> {
    let mut stream = TcpStream::connect(plan.target)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut dice, mut request) = (Dice::new(plan.seed, number), Vec::new());
    let mut measured = Measured::default();
    let mut buffer = vec![0; 128 * 1024];
    let mean = plan.connections as f64 / plan.rate;
    let mut due = start;
    loop {
        due += Duration::from_secs_f64(-mean * (1.0 - dice.fraction()).ln());
        if due >= start + plan.duration {
            return Ok(measured);
        }
        plan.mix.write(&mut request, &mut dice);
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
        stream.write_all(&request)?;
        let status = read_answer(&mut stream, &mut buffer)?;
        measured.nanos.push(charged_from.elapsed().as_nanos() as u64);
        measured.other_status += u64::from(status != 200);
    }
}

/// Reads one answer with a Content-Length to its end, and returns its status.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<u16> {
    let broken = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let mut filled = 0;
    let (head_end, length) = loop {
        let got = stream.read(&mut buffer[filled..])?;
        if got == 0 {
            return Err(broken("closed before the answer was over"));
        }
        filled += got;
        if let Some(read) = head(&buffer[..filled]) {
            break read;
        }
    };
    let status = status(buffer).ok_or_else(|| broken("no status"))?;
    let length = length.ok_or_else(|| broken("no Content-Length"))?;
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
    let at = |share| percentile(&all.nanos, share) as f64 / 1000.0;
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

fn fail(message: &str) -> ! {
    eprintln!("openloop: {message}");
    exit(1)
}
