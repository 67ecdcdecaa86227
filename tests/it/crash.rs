//! What a crash, a damaged state directory and a disk that takes no more leave behind: an acknowledged flip is never
//! lost, an unacknowledged one is completed or taken back, and whatever cannot be believed is set aside and told.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;
use ucs_gateway::policy::mode::Mode;

use crate::support::{Connection, Gateway, PATIENCE, TempDir, Ucs, admin, eventually, http, request};

/// The flags of a gateway that sends nothing of its own to UCS.
const ALONE: [&str; 8] =
    ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production", "--orphan-grace", "50ms"];

/// What survived the kills so far, as far as an operator was told.
#[derive(Debug)]
struct Told {
    /// The mode of the newest acknowledged record.
    mode: Mode,
    revision: u64,
    /// A change that was asked for and never answered.
    unanswered: Option<Mode>,
}

/// What the kills hit, to see that they hit what is meant.
#[derive(Debug, Default)]
struct Hits {
    recovered: u32,
    completed: u32,
    not_begun: u32,
    /// The longest time from readiness to UCS in step.
    slowest: Duration,
    /// How often that time could be judged.
    judged: u32,
}

/// A look at the gateway that comes later than this after the one before shows a machine that is too busy for any limit.
const PACE: Duration = Duration::from_millis(100);

fn is_full() -> bool {
    std::env::var_os("UCS_GATEWAY_FULL").is_some()
}

#[test]
fn kills_at_any_moment_lose_no_acknowledged_flip() {
    let rounds = if is_full() { 1000 } else { 150 };
    let hits = kill_again_and_again(rounds, 0, &["--orphan-grace", "20ms"], PATIENCE);
    assert!(hits.completed + hits.not_begun > 0, "{hits:?}");
}

/// Several gateways at a time, each with a UCS of its own, as each kill costs the orphan grace.
#[test]
fn kills_at_any_moment_leave_ucs_in_step_within_5_seconds_of_readiness() {
    let (lines, rounds) = if is_full() { (10, 100) } else { (6, 8) };
    let flags = ["--orphan-grace", "1s", "--upstream-poll", "500ms"];
    let all: Vec<Hits> = std::thread::scope(|scope| {
        let kill = |line| move || kill_again_and_again(rounds, line * rounds, &flags, Duration::from_secs(5));
        let lines: Vec<_> = (0..lines).map(|line| scope.spawn(kill(line))).collect();
        lines.into_iter().map(|line| line.join().expect("no flip is lost")).collect()
    });
    assert!(all.iter().map(|hits| hits.recovered).sum::<u32>() > 0, "{all:?}");
}

/// Kills one gateway after the other in the same directory. After each kill the next must keep what was acknowledged, and
/// have UCS in step `within` this time of being ready, as far as the machine keeps the pace of the test.
fn kill_again_and_again(rounds: u32, offset: u32, flags: &[&str], within: Duration) -> Hits {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let mut told = Told { mode: Mode::Production, revision: 0, unanswered: None };
    let mut hits = Hits::default();
    // On a slow machine most kills come before the flip: then more of them are needed.
    let enough = |hits: &Hits| hits.recovered >= rounds / 50;
    for round in offset..offset + 10 * rounds {
        if round >= offset + rounds && enough(&hits) {
            break;
        }
        // Spread evenly over the time, in another order than that of the rounds.
        let part = (f64::from(round) * 0.618_034).fract();
        ucs.control().set_delay(Duration::from_millis(u64::from(round % 4) * 5));
        let gateway = Gateway::start_in(dir.path(), ucs.address, flags);
        // Now and then it is killed while it still takes back what the one before left behind.
        if round % 6 != 5 {
            hold_against_what_was_told(&gateway, &ucs, &mut told, &mut hits, within);
            flip_until_killed(&gateway, Duration::from_secs_f64(part * 0.060), &mut told);
        } else {
            std::thread::sleep(Duration::from_secs_f64(part * 0.040));
        }
        gateway.kill();
    }
    let gateway = Gateway::start_in(dir.path(), ucs.address, flags);
    hold_against_what_was_told(&gateway, &ucs, &mut told, &mut hits, within);
    eprintln!("{rounds} kills, {} revisions: {hits:?}", told.revision);
    assert!(enough(&hits), "{hits:?}");
    hits
}

/// Waits until a restarted gateway has settled and compares.
fn hold_against_what_was_told(gateway: &Gateway, ucs: &Ucs, told: &mut Told, hits: &mut Hits, within: Duration) {
    let ready = Instant::now();
    let (mut last, mut longest) = (ready, Duration::ZERO);
    eventually("it has settled, with UCS in step", || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        let record = admin::mode(gateway);
        let is_settled = record["phase"] == "settled" && record["upstream"]["state"] == "in_step";
        is_settled && record["mode"] == json!(ucs.control().mode())
    });
    let took = ready.elapsed();
    if longest.max(last.elapsed()) < PACE {
        assert!(took < within, "{took:?}: {}", admin::mode(gateway));
        hits.slowest = hits.slowest.max(took);
        hits.judged += 1;
    }
    // UCS is set back after the old mode is in force, and the alarm lasts until it is there.
    eventually("UCS is set back, and the state directory is whole", || admin::mode(gateway)["alarm"].is_null());
    let record = admin::mode(gateway);
    let mode: Mode = serde_json::from_value(record["mode"].clone()).unwrap();
    assert!(mode == told.mode || Some(mode) == told.unanswered, "{told:?} became {record}");
    let revision = record["revision"].as_u64().unwrap();
    assert!(revision >= told.revision, "{told:?} became {record}");
    eventually("UCS is where the gateway is", || ucs.control().mode() == mode);
    if told.revision > 0 {
        assert!(journal_has(gateway, told), "the journal lacks {told:?}");
    }
    match told.unanswered.take() {
        Some(_) if record["cause"] == "recovered" => hits.recovered += 1,
        Some(wish) if wish == mode => hits.completed += 1,
        Some(_) => hits.not_begun += 1,
        None => {}
    }
    (told.mode, told.revision) = (mode, revision);
}

/// Whether the newest acknowledged record is in the history, at rest and in its mode.
fn journal_has(gateway: &Gateway, told: &Told) -> bool {
    let history = admin::call(gateway, "GET /mode/history?limit=50", None).json();
    let entries = history["entries"].as_array().unwrap();
    let revisions: Vec<u64> = entries.iter().map(|entry| entry["record"]["revision"].as_u64().unwrap()).collect();
    assert!(revisions.is_sorted_by(|newer, older| newer > older), "{revisions:?}");
    entries.iter().map(|entry| &entry["record"]).any(|record| {
        record["revision"] == told.revision && record["mode"] == json!(told.mode) && record["phase"] == "settled"
    })
}

/// Flips to and fro, and kills the gateway after `moment`.
fn flip_until_killed(gateway: &Gateway, moment: Duration, told: &mut Told) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(moment);
            gateway.signal("KILL");
        });
        loop {
            let wish = told.mode.other();
            told.unanswered = Some(wish);
            let Some((status, answer)) = set_mode_unless_killed(gateway, wish) else { return };
            assert_eq!(status, 200, "{answer}");
            *told = Told { mode: wish, revision: answer["revision"].as_u64().unwrap(), unanswered: None };
        }
    });
}

/// `PUT /mode`; none when the gateway was killed before its whole answer came.
fn set_mode_unless_killed(gateway: &Gateway, mode: Mode) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(gateway.admin).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let credential = format!("Bearer {}", gateway.token());
    let headers = [("Authorization", &*credential), ("Content-Type", "application/json"), ("Connection", "close")];
    let body = json!({"mode": mode}).to_string();
    stream.write_all(&http::compose(gateway.admin, "PUT /mode", &headers, body.as_bytes())).ok()?;
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, serde_json::from_str(body).ok()?))
}

/// A request that only production admits; finished by one more byte.
fn begin_upload(gateway: &Gateway, ucs: &Ucs) -> Connection {
    let mut client = Connection::open(gateway.data);
    client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 2\r\n\r\n{");
    ucs.in_flight_reaches(1);
    client
}

#[test]
fn a_crash_in_a_drain_is_taken_back_after_the_grace() {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let flags = [&ALONE[..7], &["5s"]].concat();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    let _client = begin_upload(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    gateway.kill();

    let restarted = Instant::now();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    admits_neither_mode_in_the_grace(&gateway, restarted);
    assert_eq!(request(gateway.data, "GET /metadata/identification-keys", &[], b"").status, 200);
    eventually("it is taken back", || admin::mode(&gateway)["phase"] == "settled");
    assert!(restarted.elapsed() >= Duration::from_secs(5), "{:?}", restarted.elapsed());
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["cause"]), (&json!("production"), &json!("recovered")));
    assert_eq!((&record["drain"], &record["alarm"]), (&json!("complete"), &json!(null)));
}

/// Within the grace of 5 s; a slow machine may ask after it.
fn admits_neither_mode_in_the_grace(gateway: &Gateway, restarted: Instant) {
    for line in ["GET /profiles/1", "POST /metadata/identification-keys"] {
        let reply = request(gateway.data, line, &[], b"");
        let is_over = restarted.elapsed() >= Duration::from_secs(5);
        assert!(is_over || reply.refusal() == Some("switching"), "{line}: {} {}", reply.status, reply.text());
    }
}

#[test]
fn an_orderly_stop_in_a_drain_ends_well() {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let mut gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let mut client = begin_upload(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    gateway.signal("TERM");
    eventually("it stops", || request(gateway.admin, "GET /readyz", &[], b"").status == 503);
    client.send("}");
    assert_eq!(client.read_reply().status, 201, "what was admitted is served to its end");
    let answer = String::from_utf8(asker.read_to_end()).unwrap();
    assert!(gateway.exited(PATIENCE).success());

    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    eventually("it has settled", || ready(&gateway)["phase"] == "settled");
    let seen = ready(&gateway);
    // The stop may come between the last request's end and the settlement: then the flip is taken back.
    let mode = if answer.starts_with("HTTP/1.1 200") { "maintenance" } else { "production" };
    assert_eq!((&seen["mode"], &seen["alarm"]), (&json!(mode), &json!(null)), "{seen} after {answer:?}");
}

#[test]
fn only_an_orderly_stop_spares_the_next_flip_the_grace() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let flip = |mode: &str, grace: &'static str| {
        let gateway = Gateway::start_in(dir.path(), ucs.address, &[&ALONE[..7], &[grace]].concat());
        let settled = admin::set_mode(&gateway, &json!({"mode": mode}));
        assert_eq!(settled.status, 200, "{}", settled.text());
        gateway
    };
    // Neither a first start nor one after an orderly stop has anything to wait for: else it would be for an hour.
    assert!(flip("maintenance", "1h").terminate(PATIENCE).success());
    flip("production", "1h").kill();
    let restarted = Instant::now();
    let _gateway = flip("maintenance", "3s");
    let took = restarted.elapsed();
    assert!(took >= Duration::from_secs(3), "what a killed one left at UCS is given its time: {took:?}");
}

#[test]
fn a_directory_has_one_gateway() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let _first = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let second = Gateway::try_start_in(dir.path(), ucs.address, &ALONE).err();
    let (status, log) = second.expect("the second must not start");
    assert!(!status.success() && log.join("\n").contains("in use by another process"), "{status}: {log:?}");
}

/// A directory with a few revisions, in production, left in order. Returns its revision.
fn used_directory(dir: &TempDir, ucs: &Ucs) -> u64 {
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    for mode in ["maintenance", "production"] {
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": mode})).status, 200);
    }
    let revision = admin::mode(&gateway)["revision"].as_u64().unwrap();
    assert!(gateway.terminate(PATIENCE).success());
    revision
}

fn files_like(dir: &Path, start: &str) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(start)).collect()
}

/// `/readyz`, which anyone may ask.
fn ready(gateway: &Gateway) -> Value {
    let reply = request(gateway.admin, "GET /readyz", &[], b"");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Damages a used directory, starts, and sees maintenance, an alarm that names `word`, and a higher revision; then that
/// an operator's word heals it for good.
fn starts_closed_after(word: &str, damage: impl Fn(&Path)) -> TempDir {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let revision = used_directory(&dir, &ucs);
    damage(dir.path());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["phase"]), (&json!("maintenance"), &json!("settled")), "{seen}");
    assert!(seen["alarm"].as_str().is_some_and(|alarm| alarm.contains(word)), "{seen}");
    assert!(seen["revision"].as_u64().unwrap() > revision, "{seen} after {revision}");
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"));

    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "production"})).status, 200);
    assert_eq!(ready(&gateway)["alarm"], json!(null));
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["alarm"]), (&json!("production"), &json!(null)), "{seen}");
    dir
}

#[test]
fn a_torn_record_is_set_aside_and_closes() {
    let dir = starts_closed_after("mode.json", |dir| {
        let text = std::fs::read(dir.join("mode.json")).unwrap();
        std::fs::write(dir.join("mode.json"), &text[..text.len() / 2]).unwrap();
    });
    assert_eq!(files_like(dir.path(), "mode.json.aside").len(), 1);
}

/// Nobody knows which mode the killed gateway was in: what it left at UCS may be production's.
#[test]
fn a_torn_record_after_a_kill_closes_and_opens_maintenance_after_the_grace() {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let flags = [&ALONE[..7], &["5s"]].concat();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    let revision = admin::mode(&gateway)["revision"].as_u64().unwrap();
    let _client = begin_upload(&gateway, &ucs);
    gateway.kill();
    std::fs::write(dir.path().join("mode.json"), "{").unwrap();

    // The second start is interrupted in the grace, and the third finds what it wrote.
    Gateway::start_in(dir.path(), ucs.address, &flags).kill();
    let restarted = Instant::now();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &flags);
    admits_neither_mode_in_the_grace(&gateway, restarted);
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance", "it never says production");
    eventually("it has settled", || admin::mode(&gateway)["phase"] == "settled");
    assert!(restarted.elapsed() >= Duration::from_secs(5), "{:?}", restarted.elapsed());
    let record = admin::mode(&gateway);
    assert_eq!((&record["mode"], &record["cause"]), (&json!("maintenance"), &json!("state_set_aside")));
    assert_eq!((&record["drain"], &record["actor"]["name"]), (&json!("assumed"), &json!("gateway")));
    // The killed one may have reported revisions that it could not save.
    assert!(record["revision"].as_u64().unwrap() > revision + 8, "{record}");
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").refusal(), Some("mode"));
}

#[test]
fn a_foreign_record_is_set_aside_and_closes() {
    let foreign = "{\"mode\": \"production\", \"of\": \"another program\"}";
    let dir = starts_closed_after("mode.json", |dir| std::fs::write(dir.join("mode.json"), foreign).unwrap());
    let aside = files_like(dir.path(), "mode.json.aside");
    assert_eq!(std::fs::read_to_string(dir.path().join(&aside[0])).unwrap(), foreign);
}

#[test]
fn a_missing_record_closes_when_there_is_a_journal() {
    starts_closed_after("mode.json is missing", |dir| std::fs::remove_file(dir.join("mode.json")).unwrap());
}

/// No revision is used again, even if neither file is whole.
#[test]
fn a_torn_record_beside_a_changed_journal_closes() {
    let dir = starts_closed_after("its hash is wrong", |dir| {
        std::fs::write(dir.join("mode.json"), "{").unwrap();
        let journal = std::fs::read_to_string(dir.join("journal.jsonl")).unwrap();
        std::fs::write(dir.join("journal.jsonl"), journal.replacen("\"production\"", "\"maintenance\"", 1)).unwrap();
    });
    assert_eq!(files_like(dir.path(), "journal.jsonl.aside").len(), 1);
}

#[test]
fn a_directory_that_is_gone_is_a_first_start() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    used_directory(&dir, &ucs);
    std::fs::remove_dir_all(dir.path()).unwrap();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["revision"], &seen["alarm"]), (&json!("production"), &json!(1), &json!(null)));
}

/// The record is whole, so its mode stays in force; that its history is not shows until somebody has looked.
#[test]
fn a_journal_that_was_cut_or_changed_is_an_alarm() {
    let cut = |text: &str| text[..text.trim_end().rfind('\n').unwrap() + 1].to_owned();
    let changed = |text: &str| text.replacen("maintenance", "production", 1);
    type Damage<'a> = (&'a str, &'a dyn Fn(&str) -> String);
    let damages: [Damage<'_>; 2] = [("truncated", &cut), ("was changed", &changed)];
    for (word, damage) in damages {
        let (ucs, dir) = (Ucs::usual(), TempDir::new());
        let revision = used_directory(&dir, &ucs);
        let path = dir.path().join("journal.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, damage(&text)).unwrap();
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        let seen = ready(&gateway);
        assert!(seen["alarm"].as_str().is_some_and(|alarm| alarm.contains(word)), "{seen}");
        assert!(seen["revision"].as_u64().unwrap() > revision, "{seen} after {revision}");
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
        assert_eq!(ready(&gateway)["alarm"], json!(null));
    }
}

#[test]
fn an_append_that_was_interrupted_is_no_alarm() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let revision = used_directory(&dir, &ucs);
    let mut journal = std::fs::File::options().append(true).open(dir.path().join("journal.jsonl")).unwrap();
    journal.write_all(b"{\"hash\":\"0123").unwrap();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert_eq!(
        (&seen["mode"], &seen["revision"], &seen["alarm"]),
        (&json!("production"), &json!(revision), &json!(null))
    );
    assert_eq!(files_like(dir.path(), "journal.jsonl.torn").len(), 1);
}

#[test]
fn a_flip_that_cannot_begin_for_lack_of_space_changes_nothing() {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let journal = std::fs::read(dir.path().join("journal.jsonl")).unwrap();
    // Room for half a line: what was written of it must not stay.
    gateway.limit_files(Some(journal.len() as u64 + 100));
    let refused = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!((refused.status, &refused.json()["reason"]), (507, &json!("not_durable")), "{}", refused.text());
    assert_eq!(refused.json()["record"]["mode"], "production");
    assert_eq!(std::fs::read(dir.path().join("journal.jsonl")).unwrap(), journal);
    assert_eq!(request(gateway.data, "POST /profiles", &[], b"{}").refusal(), None);
    gateway.limit_files(None);
    let settled = admin::set_mode(&gateway, &json!({"mode": "maintenance"}));
    assert_eq!(settled.status, 200, "{}", settled.text());
    gateway.kill();
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let seen = ready(&gateway);
    assert_eq!((&seen["mode"], &seen["alarm"]), (&json!("maintenance"), &json!(null)), "{seen}");
}

/// Runs out of space between the two saves of a flip: `full` fills the disk and says how to make space again.
fn a_flip_that_cannot_settle(fill: impl Fn(&Gateway, &Path), heal: impl Fn(&Gateway, &Path), restart: bool) {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let mut client = begin_upload(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    fill(&gateway, dir.path());
    client.send("}");
    let failed = asker.read_reply();
    assert_eq!((failed.status, &failed.json()["reason"]), (507, &json!("not_durable")), "{}", failed.text());
    assert_eq!(
        (&failed.json()["record"]["mode"], &failed.json()["record"]["phase"]),
        (&json!("production"), &json!("settled"))
    );
    assert_eq!(request(gateway.data, "POST /profiles", &[], b"{}").refusal(), None, "the old mode is in force");
    assert!(ready(&gateway)["alarm"].as_str().is_some_and(|alarm| alarm.contains("not saved")), "{}", ready(&gateway));
    assert_eq!(admin::metric(&gateway, "ucs_gateway_flips_total{outcome=\"not_durable\"}"), 1.0);

    heal(&gateway, dir.path());
    if restart {
        gateway.kill();
        let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
        eventually("it is taken back", || ready(&gateway)["phase"] == "settled");
        let seen = ready(&gateway);
        assert_eq!((&seen["mode"], &seen["alarm"]), (&json!("production"), &json!(null)), "{seen}");
        return;
    }
    eventually("the record is saved at last", || ready(&gateway)["alarm"].is_null());
    let saved: Value = serde_json::from_slice(&std::fs::read(dir.path().join("mode.json")).unwrap()).unwrap();
    assert_eq!((&saved["mode"], &saved["phase"]), (&json!("production"), &json!("settled")));
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
}

fn no_space_for_the_journal(gateway: &Gateway, dir: &Path) {
    gateway.limit_files(Some(std::fs::metadata(dir.join("journal.jsonl")).unwrap().len() + 100));
}

fn space_again(gateway: &Gateway, _: &Path) {
    gateway.limit_files(None);
}

#[test]
fn a_flip_that_cannot_settle_is_taken_back_and_saved_later() {
    a_flip_that_cannot_settle(no_space_for_the_journal, space_again, false);
}

#[test]
fn a_kill_before_that_loses_nothing() {
    a_flip_that_cannot_settle(no_space_for_the_journal, space_again, true);
}

/// Whoever takes a flip back is told that nothing of it is on the disk, and what was told under a revision stays all that was
/// ever told under it.
#[test]
fn a_cancel_that_cannot_be_saved_is_acknowledged_to_nobody() {
    let (ucs, dir) = (Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() }), TempDir::new());
    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    let _client = begin_upload(&gateway, &ucs);
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
    eventually("the flip began", || admin::mode(&gateway)["phase"] == "switching");
    no_space_for_the_journal(&gateway, dir.path());
    let canceller = admin::set_mode(&gateway, &json!({"mode": "production", "reason": "not now"}));
    for told in [canceller, asker.read_reply()] {
        assert_eq!((told.status, &told.json()["reason"]), (507, &json!("not_durable")), "{}", told.text());
        assert_eq!(told.json()["record"]["mode"], "production");
    }
    let again = admin::set_mode(&gateway, &json!({"mode": "production"}));
    assert_eq!(again.status, 507, "nor to whoever asks for what is there already: {}", again.text());
    let told = admin::mode(&gateway);
    assert_eq!((&told["mode"], &told["reason"]), (&json!("production"), &json!("not now")), "in force all the same");
    assert!(told["alarm"].as_str().is_some_and(|alarm| alarm.contains("not saved")), "{told}");
    gateway.kill();

    let gateway = Gateway::start_in(dir.path(), ucs.address, &ALONE);
    eventually("it has settled", || admin::mode(&gateway)["phase"] == "settled");
    let found = admin::mode(&gateway);
    assert_eq!((&found["mode"], &found["cause"]), (&json!("production"), &json!("recovered")), "{found}");
    assert!(found["revision"].as_u64() > told["revision"].as_u64(), "{found} after {told}");
}

/// The journal takes its line, the record is refused: a folder stands where its new text is written.
#[test]
fn a_record_that_cannot_be_written_leaves_no_line_in_the_journal() {
    let fill = |_: &Gateway, dir: &Path| std::fs::create_dir(dir.join("mode.json.new")).unwrap();
    let heal = |_: &Gateway, dir: &Path| std::fs::remove_dir(dir.join("mode.json.new")).unwrap();
    a_flip_that_cannot_settle(fill, heal, false);
    a_flip_that_cannot_settle(fill, heal, true);
}
