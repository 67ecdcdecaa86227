//! That no operation which a mode forbids overlaps a period in which that mode is settled, under load and under the
//! worst habits of clients. The proof is UCS's own record: UCS has no mode here and would serve anything, so every
//! refusal is the gateway's.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use ucs_gateway::demo::{Exchange, StandInOptions};
use ucs_gateway::policy::mode::Mode;

use crate::support::{Connection, Gateway, Ucs, admin, eventually, http, timed_exchange};

/// Each does one thing over and over.
const CLIENTS: usize = 8;

/// How long UCS works on each request: long enough that many run when a flip begins.
const WORK: Duration = Duration::from_millis(2);

/// What UCS is given after the gateway gave up on a request: far more than [`WORK`].
const GRACE: Duration = Duration::from_millis(500);

/// A time in which a mode was settled: from after the answer that said so until before the next change was asked for.
struct SettledPeriod {
    mode: Mode,
    begins: Instant,
    ends: Instant,
}

/// Whether a read took UCS longer than the grace: where its reader has gone, it may overlap a mode that forbids it.
fn outlasts_the_grace(exchange: &Exchange) -> bool {
    exchange.method == "GET" && exchange.ended.is_none_or(|end| end - exchange.started > GRACE)
}

/// The settled periods that an exchange which their mode forbids overlaps, each in words.
fn violations(record: &[Exchange], periods: &[SettledPeriod]) -> Vec<String> {
    let mut found = Vec::new();
    for exchange in record {
        let Some(needs) = only_mode(exchange) else { continue };
        // Periods are in order and do not overlap: the first that ends after the start is the first to look at.
        let first = periods.partition_point(|period| period.ends <= exchange.started);
        let overlapped =
            periods[first..].iter().take_while(|period| exchange.ended.is_none_or(|end| period.begins < end));
        found.extend(
            overlapped
                .filter(|period| period.mode != needs)
                .map(|period| format!("{} {} ran in settled {}", exchange.method, exchange.path, period.mode)),
        );
    }
    found
}

/// The mode that alone admits an exchange; none for reads of schemas, which both admit.
fn only_mode(exchange: &Exchange) -> Option<Mode> {
    match (exchange.path.starts_with("/metadata/"), exchange.method.as_str()) {
        (true, "GET") => None,
        (true, _) => Some(Mode::Maintenance),
        (false, _) => Some(Mode::Production),
    }
}

/// What clients got, to see that the test tried what it means to try.
#[derive(Default)]
struct Tally {
    /// By the one mode that admits the operation.
    served: [AtomicU64; 2],
    refused: AtomicU64,
}

impl Tally {
    fn served(&self, mode: Mode) -> u64 {
        self.served[usize::from(mode == Mode::Maintenance)].load(Ordering::Relaxed)
    }
}

/// Flips without a pause among clients for `time` and at least `flips` times, and holds the record against the settled
/// periods.
fn flip_among_clients(
    client: impl Fn(&Gateway, usize, &AtomicBool) + Sync,
    tally: &Tally,
    (time, flips): (Duration, usize),
    excused: fn(&Exchange) -> bool,
) {
    let ucs = Ucs::start(StandInOptions { has_mode_api: false, delay: WORK, ..StandInOptions::new() });
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "500ms", "--workers", "2"]);
    let stop = AtomicBool::new(false);
    let mut periods = Vec::new();
    std::thread::scope(|scope| {
        // A failed assertion here must not leave the clients running, or the scope would never end.
        let _stopping = StopOnDrop(&stop);
        for number in 0..CLIENTS {
            let (client, gateway, stop) = (&client, &gateway, &stop);
            scope.spawn(move || {
                let _stopping = StopOnDrop(stop);
                client(gateway, number, stop);
            });
        }
        let began = Instant::now();
        while !stop.load(Ordering::Relaxed) && (began.elapsed() < time || periods.len() < flips) {
            let mode = if periods.len() % 2 == 0 { Mode::Maintenance } else { Mode::Production };
            periods.push(flip(&gateway, mode, tally, &stop));
        }
    });
    let record: Vec<Exchange> = ucs.record().into_iter().filter(|exchange| !excused(exchange)).collect();
    let found = violations(&record, &periods);
    assert!(found.is_empty(), "{} of {} exchanges, e.g. {:?}", found.len(), record.len(), found.first());
    eprintln!("{} settled periods, {} exchanges at UCS", periods.len(), record.len());
    for mode in [Mode::Production, Mode::Maintenance] {
        let ran = record.iter().filter(|exchange| only_mode(exchange) == Some(mode)).count();
        assert!(ran > periods.len(), "only {ran} operations of {mode} reached UCS in {} flips", periods.len());
    }
}

/// Flips to `mode` and stays there until clients have got in and others have been refused.
fn flip(gateway: &Gateway, mode: Mode, tally: &Tally, stop: &AtomicBool) -> SettledPeriod {
    let reply = admin::set_mode(gateway, &json!({"mode": mode}));
    let begins = Instant::now();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let settled = reply.json();
    assert_eq!(settled["mode"], json!(mode), "{settled}");
    // Assumed where readers went away: what was given up on has had its grace.
    assert!(settled["drain"] == "complete" || settled["drain"] == "assumed", "{settled}");
    let (served, refused) = (tally.served(mode), tally.refused.load(Ordering::Relaxed));
    eventually("clients meet the mode", || {
        let met = tally.served(mode) > served + 2 && tally.refused.load(Ordering::Relaxed) > refused + 1;
        met || stop.load(Ordering::Relaxed)
    });
    SettledPeriod { mode, begins, ends: Instant::now() }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What is open in both modes.
const READ: &str = "GET /metadata/identification-keys";

/// What a client asks for, by its number and turn: mostly what one mode alone admits.
fn ask(number: usize, turn: usize) -> (&'static str, &'static [u8]) {
    match (number % 4, turn % 8) {
        (0, 7) => (READ, b""),
        (0 | 1, _) => ("DELETE /metadata/profiles/extensions/absent", b""),
        (2, _) => ("PUT /profiles/absent", b"{\"FirstName\": \"Ada\"}"),
        _ => ("GET /profiles/absent", b""),
    }
}

/// Asks on a connection that stays open, or on a new one when the gateway has closed it.
fn keep_asking(gateway: &Gateway, number: usize, stop: &AtomicBool, tally: &Tally) {
    let mut connection = Connection::open(gateway.data);
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (line, body) = ask(number, turn);
        connection.send(http::compose(gateway.data, line, &[], body));
        let reply = connection.read_reply();
        match (reply.status, reply.refusal()) {
            (200, None) if line == READ => 0,
            (200 | 404, None) => tally.served[usize::from(line.contains("/metadata/"))].fetch_add(1, Ordering::Relaxed),
            (503, Some("mode" | "switching")) => tally.refused.fetch_add(1, Ordering::Relaxed),
            _ => panic!("{line}: {reply:?}"),
        };
        assert!(line != READ || reply.status == 200, "a read is open always: {reply:?}");
        if reply.header("connection") == Some("close") {
            connection = Connection::open(gateway.data);
        }
    }
}

/// Sends a change and goes away before its answer, a little later each time.
fn keep_vanishing(gateway: &Gateway, number: usize, stop: &AtomicBool, reads: bool) {
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (line, body) = ask(if reads { 3 } else { number % 3 }, turn);
        let mut connection = Connection::open(gateway.data);
        connection.send(http::compose(gateway.data, line, &[], body));
        std::thread::sleep(Duration::from_micros(300 * (turn as u64 % 12)));
        connection.reset();
    }
}

fn time() -> Duration {
    Duration::from_secs(if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 60 } else { 8 })
}

#[test]
fn no_forbidden_operation_overlaps_a_settled_period() {
    let tally = Tally::default();
    let client = |gateway: &Gateway, number: usize, stop: &AtomicBool| match number {
        0..5 => keep_asking(gateway, number, stop, &tally),
        _ => keep_vanishing(gateway, number, stop, false),
    };
    flip_among_clients(client, &tally, (time(), 200), |_| false);
    let served = tally.served(Mode::Production) + tally.served(Mode::Maintenance);
    let refused = tally.refused.into_inner();
    assert!(served > 200 && refused > 200, "{served} served, {refused} refused");
}

/// Apart, as each such read costs the next flip the grace.
#[test]
fn nor_does_one_whose_reader_has_gone() {
    let tally = Tally::default();
    let client = |gateway: &Gateway, number: usize, stop: &AtomicBool| match number {
        0..3 => keep_asking(gateway, number, stop, &tally),
        _ => keep_vanishing(gateway, number, stop, true),
    };
    flip_among_clients(client, &tally, (time() / 2, 10), outlasts_the_grace);
}

/// That the proof can fail: the same record with one exchange moved is found.
#[test]
fn an_overlap_would_be_found() {
    let zero = Instant::now();
    let at = |second| zero + Duration::from_secs(second);
    let period = |mode, begins, ends| SettledPeriod { mode, begins: at(begins), ends: at(ends) };
    let periods =
        [period(Mode::Maintenance, 10, 20), period(Mode::Production, 30, 40), period(Mode::Maintenance, 50, 60)];
    let exchange = |method: &str, path: &str, started, ended: Option<u64>| {
        timed_exchange(method, path, at(started), ended.map(at))
    };
    let found = |exchange| violations(&[exchange], &periods).len();
    for (started, ended, overlaps) in
        [(0, 10, 0), (0, 11, 1), (12, 13, 1), (19, 45, 1), (20, 50, 0), (25, 55, 1), (0, 99, 2), (60, 70, 0)]
    {
        assert_eq!(found(exchange("PUT", "/profiles/1", started, Some(ended))), overlaps, "{started} to {ended}");
    }
    assert_eq!(found(exchange("GET", "/profiles/1", 25, None)), 1, "what never ended still runs");
    assert_eq!(found(exchange("DELETE", "/metadata/profiles/extensions/x", 31, Some(32))), 1);
    assert_eq!(found(exchange("GET", "/metadata/profiles/extensions", 0, None)), 0);
}
