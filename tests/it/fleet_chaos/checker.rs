//! The judge. Its facts are the records of every UCS, the history in the store with the time of each line, and the responses
//! that operators got. It knows nothing of how a gateway works.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use ucs_gateway::demo::Exchange;

use crate::support::timed_exchange;

/// What was told to whom, and when it was first seen.
pub struct Evidence {
    answers: Mutex<Vec<Answer>>,
    /// When a settled record was first seen by a reader of the store.
    seen: Mutex<BTreeMap<u64, Instant>>,
}

/// A response to a change of the mode.
#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Instant,
    pub target: &'static str,
    pub status: u16,
    pub body: Value,
}

/// A line of the history.
#[derive(Clone, Debug)]
pub struct Line {
    pub revision: u64,
    pub is_settled: bool,
    pub mode: String,
    pub attempt: Value,
    /// When its writer made it: before it was in the store.
    pub made: Instant,
}

/// What the comparison found.
#[derive(Debug, Default)]
pub struct Findings {
    pub faults: Vec<String>,
    /// Settled flips.
    pub settled: usize,
    pub reverted: usize,
    pub told: BTreeMap<u16, usize>,
    /// Operations that one mode alone admits.
    pub forbidden_elsewhere: usize,
}

/// A time in which a mode was settled everywhere.
struct Period<'l> {
    line: &'l Line,
    begins: Instant,
    ends: Option<Instant>,
}

impl Evidence {
    pub fn new() -> Evidence {
        Evidence { answers: Mutex::default(), seen: Mutex::default() }
    }

    pub fn told(&self, answer: Answer) {
        self.answers.lock().unwrap().push(answer);
    }

    pub fn saw(&self, revision: u64) {
        self.seen.lock().unwrap().entry(revision).or_insert_with(Instant::now);
    }
}

impl Findings {
    pub fn of(evidence: &Evidence, journal: &[Line], records: &[Vec<Exchange>]) -> Findings {
        let mut findings = Findings::default();
        let answers = evidence.answers.lock().unwrap();
        findings.faults.extend(breaks(journal));
        findings.settled =
            journal.windows(2).filter(|pair| is_flip(&pair[0], &pair[1]) && pair[0].mode == pair[1].mode).count();
        findings.reverted =
            journal.windows(2).filter(|pair| is_flip(&pair[0], &pair[1]) && pair[0].mode != pair[1].mode).count();
        for answer in answers.iter() {
            *findings.told.entry(answer.status).or_default() += 1;
            findings.faults.extend(false_word(answer, journal));
        }
        let periods = periods(&evidence.seen.lock().unwrap(), &answers, journal);
        for (number, record) in records.iter().enumerate() {
            for exchange in record {
                let Some(needs) = only_mode(exchange) else { continue };
                findings.forbidden_elsewhere += 1;
                let overlapped = periods.iter().find(|period| period.line.mode != needs && period.overlaps(exchange));
                findings.faults.extend(overlapped.map(|period| {
                    let late = exchange.ended.map(|ended| ended.saturating_duration_since(period.begins));
                    format!(
                        "UCS {number}: {} {} ran in settled {} (revision {}), {late:?} into it",
                        exchange.method, exchange.path, period.line.mode, period.line.revision
                    )
                }));
            }
        }
        findings
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { settled, reverted, told, forbidden_elsewhere, .. } = self;
        write!(
            f,
            "{settled} flips settled, {reverted} reverted, told {told:?}, {forbidden_elsewhere} operations of one mode"
        )
    }
}

impl Period<'_> {
    fn overlaps(&self, exchange: &Exchange) -> bool {
        exchange.ended.is_none_or(|ended| self.begins < ended) && self.ends.is_none_or(|ends| exchange.started < ends)
    }
}

/// The mode that alone admits an exchange; none for reads of schemas and for UCS's own state.
fn only_mode(exchange: &Exchange) -> Option<&'static str> {
    match (exchange.path.split('/').nth(1), exchange.method.as_str()) {
        (Some("server"), _) | (Some("metadata"), "GET") => None,
        (Some("metadata"), _) => Some("maintenance"),
        _ => Some("production"),
    }
}

fn is_flip(before: &Line, after: &Line) -> bool {
    !before.is_settled && after.is_settled
}

/// Gaps in the history, and records that cannot follow each other.
fn breaks(journal: &[Line]) -> Vec<String> {
    let broken = |pair: &&[Line]| {
        let (before, after) = (&pair[0], &pair[1]);
        let is_next = after.revision == before.revision + 1;
        // A flip is one attempt, from switching to its end.
        let ends = before.is_settled || (after.is_settled && after.attempt == before.attempt);
        !(is_next && ends)
    };
    journal.windows(2).filter(broken).map(|pair| format!("{:?} follows {:?}", pair[1], pair[0])).collect()
}

/// What an answer says that the history does not.
fn false_word(answer: &Answer, journal: &[Line]) -> Option<String> {
    let record = match answer.status {
        200 => &answer.body,
        // Taken back, with the record that is in force again.
        409 | 502 | 504
            if ["cancelled", "drain_timeout", "member_missing", "upstream_refused", "no_profile_schema"]
                .contains(&answer.body["reason"].as_str().unwrap_or_default()) =>
        {
            &answer.body["record"]
        }
        // A promise of nothing.
        _ => return None,
    };
    let line = journal.iter().find(|line| Some(line.revision) == record["revision"].as_u64());
    let is_true = line.is_some_and(|line| {
        let same = line.is_settled && record["mode"] == line.mode.as_str() && record["attempt"] == line.attempt;
        let as_told = (answer.status == 200) == (line.mode == answer.target);
        same && as_told && line.made <= answer.at
    });
    (!is_true)
        .then(|| format!("told {} for {}: {}; the history has {line:?}", answer.status, answer.target, answer.body))
}

/// From when a settled record is known to anybody until the next switching record is made.
fn periods<'l>(seen: &BTreeMap<u64, Instant>, answers: &[Answer], journal: &'l [Line]) -> Vec<Period<'l>> {
    let told = |line: &Line| {
        let of_line =
            |answer: &&Answer| answer.status == 200 && answer.body["revision"].as_u64() == Some(line.revision);
        answers.iter().filter(of_line).map(|answer| answer.at).min()
    };
    let period = |(index, line): (usize, &'l Line)| {
        let begins = [seen.get(&line.revision).copied(), told(line)].into_iter().flatten().min()?;
        let ends = journal[index..].iter().find(|later| !later.is_settled).map(|later| later.made);
        // One that nobody saw before it ended proves nothing.
        ends.is_none_or(|ends| begins < ends).then_some(Period { line, begins, ends })
    };
    journal.iter().enumerate().filter(|(_, line)| line.is_settled).filter_map(period).collect()
}

/// That the judge can find something: each kind of fault, in records made by hand.
#[test]
fn each_kind_of_fault_would_be_found() {
    let zero = Instant::now();
    let at = |tenth: u64| zero + Duration::from_millis(100 * tenth);
    let line = |revision, is_settled, mode: &str, attempt: &str, made| Line {
        revision,
        is_settled,
        mode: mode.to_owned(),
        attempt: attempt.into(),
        made: at(made),
    };
    let journal = [
        line(1, true, "production", "a", 0),
        line(2, false, "maintenance", "b", 10),
        line(3, true, "maintenance", "b", 20),
        line(4, false, "production", "c", 30),
        line(5, true, "maintenance", "c", 40),
    ];
    let exchange = |method: &str, path: &str, started, ended: Option<u64>| {
        timed_exchange(method, path, at(started), ended.map(at))
    };
    let evidence = Evidence::new();
    for (revision, seen) in [(1, 1), (3, 21), (5, 41)] {
        evidence.seen.lock().unwrap().insert(revision, at(seen));
    }
    let found = |exchange| Findings::of(&evidence, &journal, &[vec![], vec![exchange]]).faults.len();
    for (started, ended, faults) in
        [(2, Some(20), 0), (2, Some(22), 1), (22, Some(23), 1), (31, Some(40), 0), (31, Some(42), 1), (12, None, 1)]
    {
        assert_eq!(found(exchange("PUT", "/profiles/1", started, ended)), faults, "{started} to {ended:?}");
    }
    assert_eq!(found(exchange("DELETE", "/metadata/profiles/extensions/x", 2, Some(3))), 1);
    assert_eq!(found(exchange("DELETE", "/metadata/profiles/extensions/x", 22, Some(50))), 0);
    assert_eq!(found(exchange("GET", "/metadata/identification-keys", 0, None)), 0);
    let word = |status, target, body: &str| {
        let body = serde_json::from_str(body).unwrap();
        false_word(&Answer { at: at(45), target, status, body }, &journal).is_some()
    };
    let third = r#"{"revision":3,"mode":"maintenance","attempt":"b"}"#;
    assert!(!word(200, "maintenance", third) && word(200, "production", third), "settled, and in another mode");
    assert!(word(200, "maintenance", r#"{"revision":3,"mode":"maintenance","attempt":"x"}"#), "lost to another flip");
    assert!(word(200, "maintenance", r#"{"revision":7,"mode":"maintenance","attempt":"b"}"#), "lost");
    let reverted = r#"{"reason":"member_missing","record":{"revision":5,"mode":"maintenance","attempt":"c"}}"#;
    assert!(!word(504, "production", reverted));
    assert!(
        word(504, "maintenance", &reverted.replace("\"revision\":5", "\"revision\":3").replace("\"c\"", "\"b\"")),
        "it had settled"
    );
    assert!(!word(503, "production", "{}"), "that promises nothing");
    assert_eq!(breaks(&journal).len(), 0);
    assert_eq!(breaks(&[journal[0].clone(), journal[2].clone()]).len(), 1, "a gap");
    assert_eq!(breaks(&[journal[1].clone(), line(3, true, "production", "z", 20)]).len(), 1, "ended by another flip");
}
