//! What UCS may do wrong about its own mode, at every moment: the mode in force, who is said to have set it, how UCS is said
//! to compare, whether an operator is called, and how long both modes were closed. The table in docs/operations.md is the
//! list of cases; `UCS_GATEWAY_CELL='is restarted / Idle'` plays those whose names contain this.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Connection, Gateway, PATIENCE, TempDir, admin};

mod rig;

use rig::{At, Fault, Rig};

const FLAGS: [&str; 10] = [
    "--upstream-poll",
    "100ms",
    "--orphan-grace",
    "50ms",
    // Ten intervals without a conclusion are an alarm of their own, and no case here lasts as long.
    "--schema-probe-interval",
    "5s",
    "--set-mode-timeout",
    "2s",
    "--drain-timeout",
    "1500ms",
];

/// Both modes may be closed for the drain and the time of Set Server Mode, and what a machine needs that keeps its pace.
const LONGEST_CLOSED: Duration = Duration::from_secs(8);

/// A look that takes longer shows a machine that is too busy for this limit.
const PACE: Duration = Duration::from_millis(500);

/// When the fault begins. The columns of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the gateway's first start.
    Start,
    IdleProduction,
    IdleMaintenance,
    /// A flip to maintenance drains.
    Drain,
    /// Set Server Mode arrives.
    SetProduction,
    SetMaintenance,
    /// It has been carried out, and not been verified.
    VerifyProduction,
    VerifyMaintenance,
    /// A flip to maintenance was cancelled after UCS switched.
    Revert,
}

const MOMENTS: [Moment; 9] = [
    Moment::Start,
    Moment::IdleProduction,
    Moment::IdleMaintenance,
    Moment::Drain,
    Moment::SetProduction,
    Moment::SetMaintenance,
    Moment::VerifyProduction,
    Moment::VerifyMaintenance,
    Moment::Revert,
];

/// What a row does.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    Fault(Fault),
    /// UCS is restarted, and the gateway killed and started.
    BothRestart,
    /// UCS comes up after the gateway, whose mode is a guess or was asked for.
    ComesLate {
        asked: bool,
    },
}

const STATUS: &str = "GET /server/status";
const SET: &str = "POST /server/mode";

/// The rows of the table, in its order.
const BEHAVIOURS: [(&str, Behaviour); 28] = [
    ("starts: 404 to everything", Behaviour::Fault(Fault::Starts(404, ""))),
    ("starts: 503 to everything", Behaviour::Fault(Fault::Starts(503, ""))),
    ("starts: a page to everything", Behaviour::Fault(Fault::Starts(200, "<html>starting</html>"))),
    ("starts: refuses connections", Behaviour::Fault(Fault::Refuses)),
    ("is restarted", Behaviour::Fault(Fault::Restarts)),
    ("is restarted together with the gateway", Behaviour::BothRestart),
    ("comes up after the gateway", Behaviour::ComesLate { asked: false }),
    ("comes up after a gateway with `--initial-mode production`", Behaviour::ComesLate { asked: true }),
    ("says 200 to Set Server Mode and does not switch", Behaviour::Fault(Fault::Lies)),
    ("hangs at its status", Behaviour::Fault(Fault::Hangs(STATUS))),
    ("hangs at Set Server Mode", Behaviour::Fault(Fault::Hangs(SET))),
    ("hangs at the schema probe", Behaviour::Fault(Fault::Hangs("GET /metadata/profiles"))),
    ("hangs at a client's request", Behaviour::Fault(Fault::Hangs("GET /profiles/"))),
    ("hangs at everything", Behaviour::Fault(Fault::Hangs(""))),
    ("takes long to switch, 503 meanwhile", Behaviour::Fault(Fault::Slow(5))),
    ("wants a login: 401 to everything", Behaviour::Fault(Fault::Answers("", 401, "no entry"))),
    ("wants a login: 403 to everything", Behaviour::Fault(Fault::Answers("", 403, "no entry"))),
    ("loses its status: 404", Behaviour::Fault(Fault::Answers(STATUS, 404, ""))),
    ("loses its status: 200 without a mode", Behaviour::Fault(Fault::Answers(STATUS, 200, "{}"))),
    ("answers Set Server Mode with 404", Behaviour::Fault(Fault::Answers(SET, 404, ""))),
    ("answers Set Server Mode with 405", Behaviour::Fault(Fault::Answers(SET, 405, ""))),
    ("answers Set Server Mode with 501", Behaviour::Fault(Fault::Answers(SET, 501, ""))),
    ("loses its profile schema, and closes itself", Behaviour::Fault(Fault::LosesSchema)),
    ("has an empty schema list for one probe", Behaviour::Fault(Fault::Empty(1))),
    ("has an empty schema list for longer", Behaviour::Fault(Fault::Empty(usize::MAX))),
    ("is switched past the gateway", Behaviour::Fault(Fault::Moves)),
    ("redirects everything", Behaviour::Fault(Fault::Answers("", 302, ""))),
    ("sends 5 MB in response to everything", Behaviour::Fault(Fault::Floods)),
];

const HEAD: &str = "| UCS | before the first start | idle in production | idle in maintenance | drain | Set Server Mode to \
                    production | to maintenance | verified, to production | to maintenance | revert to production |\n";

/// The cells of the table, by row.
fn table() -> Vec<Vec<String>> {
    let page = include_str!("../../docs/operations.md");
    let table = page.split_once(HEAD).expect("docs/operations.md has the table").1;
    let rows = table.lines().skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_fault_of_ucs_at_every_moment_has_its_documented_outcome() {
    let rows = table();
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, BEHAVIOURS.map(|(name, _)| name), "the rows of the table");
    let only = std::env::var("UCS_GATEWAY_CELL").unwrap_or_default();
    let cells = BEHAVIOURS.iter().zip(rows).flat_map(|((name, behaviour), row)| {
        assert_eq!(row.len(), MOMENTS.len() + 1, "{name}");
        MOMENTS.into_iter().zip(row.into_iter().skip(1)).map(move |(moment, cell)| (*name, *behaviour, moment, cell))
    });
    let named = |name: &str, moment: Moment| format!("{name} / {moment:?}");
    // A dash stands for a cell that makes no sense; the text below the table says why.
    let cells = cells.filter(|(name, _, moment, cell)| !cell.starts_with('–') && named(name, *moment).contains(&only));
    let queue: Mutex<VecDeque<_>> = Mutex::new(cells.collect());
    let (wrong, count) = (Mutex::new(Vec::new()), queue.lock().unwrap().len());
    std::thread::scope(|scope| {
        for _ in 0..24 {
            scope.spawn(|| {
                loop {
                    let Some((name, behaviour, moment, cell)) = queue.lock().unwrap().pop_front() else { return };
                    let told = std::panic::catch_unwind(|| play(behaviour, moment, &cell));
                    let told = told.unwrap_or_else(|_| Err("it panicked".to_owned()));
                    if let Err(found) = told {
                        wrong.lock().unwrap().push(format!("{}: {cell:?}, but {found}", named(name, moment)));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(count > 0 && wrong.is_empty(), "{} of {count} cells:\n{}", wrong.len(), wrong.join("\n"));
}

/// UCS may take a minute before production, and the flip waits for it; to maintenance it waits 15 s, and UCS follows.
#[test]
fn a_ucs_that_takes_35_seconds_to_switch_gets_them() {
    if std::env::var_os("UCS_GATEWAY_FULL").is_none() {
        return;
    }
    let rig = Rig::start("production", true);
    let gateway = Gateway::start(rig.address, &["--upstream-poll", "1s"]);
    // One status every 200 ms while it is verified.
    rig.begin(Fault::Slow(175));
    for (mode, at_least, state) in [("maintenance", 14, "behind"), ("production", 30, "in_step")] {
        let began = Instant::now();
        let mut asker = Connection::open(gateway.admin);
        admin::begin(&mut asker, &gateway, "PUT /mode", Some(&json!({"mode": mode})));
        wait("the flip began", || admin::mode(&gateway)["phase"] == "switching");
        let is_over = |limit| began.elapsed() > limit || admin::mode(&gateway)["phase"] == "settled";
        wait("the flip is over, or half of its time", || is_over(Duration::from_secs(25)));
        wait("the flip is over", || is_over(Duration::from_secs(90)));
        let flipped = asker.read_reply();
        assert_eq!(flipped.status, 200, "{}", flipped.text());
        assert!(began.elapsed().as_secs() >= at_least, "{mode}: {:?}", began.elapsed());
        assert_eq!(flipped.json()["upstream"]["state"], state, "{}", flipped.text());
        rig.end();
        wait("UCS is there", || rig.mode() == mode && admin::mode(&gateway)["upstream"]["state"] == "in_step");
        rig.begin(Fault::Slow(175));
    }
}

/// Plays one cell, and says what was found if it is not `cell`.
fn play(behaviour: Behaviour, moment: Moment, cell: &str) -> Result<(), String> {
    let dir = TempDir::new();
    let (rig, flags) = scene(behaviour, moment);
    let mut gateway = Gateway::start_in(dir.path(), rig.address, &flags);
    let closed = Closed::default();
    let began = Instant::now();
    if moment != Moment::Start {
        set_off(&mut gateway, &rig, behaviour, moment, dir.path());
    } else if let Behaviour::ComesLate { .. } = behaviour {
        rig.end();
    }
    let polls = rig.asked().0;
    // Enough of them to follow whatever it is; a UCS that cannot be asked gets the time.
    let settle = Instant::now();
    while rig.asked().0 < polls + 8 && settle.elapsed() < Duration::from_millis(1500) {
        closed.look(&gateway);
    }
    let found = closed.until(&gateway, |found| found == cell)?;
    if found != cell {
        return Err(format!("{found:?}: {}", admin::mode(&gateway)));
    }
    rig.end();
    // With UCS as it should be, nothing is left but what an operator has to confirm.
    let stays = cell.ends_with("in_step, alarm");
    let healed = closed.until(&gateway, |found| found.contains("in_step") && (stays || !found.ends_with("alarm")))?;
    let is_healed = healed.contains("in_step") && (stays || !healed.ends_with("alarm"));
    let (who, by) = (|text: &str| text.split(',').next().unwrap_or_default().to_owned(), who_after(moment, cell));
    if !is_healed || who(&healed) != by {
        return Err(format!("{healed:?} afterwards: {}", admin::mode(&gateway)));
    }
    let mode = healed.split(' ').next().unwrap_or_default();
    if rig.mode() != mode {
        return Err(format!("UCS is in {} afterwards, after {:?}", rig.mode(), began.elapsed()));
    }
    Ok(())
}

/// The mode and its actor once UCS is as it should be: a first start adopts the mode that it could not see.
fn who_after(moment: Moment, cell: &str) -> String {
    let who = cell.split(',').next().unwrap_or_default();
    if moment == Moment::Start
        && cell.starts_with("production")
        && !cell.contains("in_step")
        && !cell.contains("behind")
    {
        return "maintenance by upstream".to_owned();
    }
    who.to_owned()
}

/// UCS and the gateway's flags at the start.
fn scene(behaviour: Behaviour, moment: Moment) -> (Rig, Vec<&'static str>) {
    let mut flags = FLAGS.to_vec();
    if moment != Moment::Start {
        return (Rig::start("production", true), flags);
    }
    let up = !matches!(behaviour, Behaviour::ComesLate { .. });
    let rig = Rig::start("maintenance", up);
    let is_set = match behaviour {
        Behaviour::ComesLate { asked } => asked,
        Behaviour::Fault(fault) => {
            rig.begin(fault);
            matches!(fault, Fault::Lies | Fault::Slow(_) | Fault::Answers(SET, ..) | Fault::Hangs(SET))
        }
        Behaviour::BothRestart => false,
    };
    if is_set {
        flags.extend(["--initial-mode", "production"]);
    }
    (rig, flags)
}

/// Brings the gateway to the moment, lets the fault begin, and waits for the end of a flip.
fn set_off(gateway: &mut Gateway, rig: &Rig, behaviour: Behaviour, moment: Moment, dir: &Path) {
    let target = match moment {
        Moment::IdleMaintenance | Moment::SetProduction | Moment::VerifyProduction => vec!["maintenance"],
        _ => vec!["maintenance", "production"],
    };
    for mode in target {
        let flipped = admin::set_mode(gateway, &json!({"mode": mode}));
        assert_eq!(flipped.status, 200, "{}", flipped.text());
    }
    let before = rig.asked();
    wait("it is polled", || rig.asked().0 >= before.0 + 3);
    let restart = |gateway: &mut Gateway| {
        gateway.signal("KILL");
        gateway.exited(PATIENCE);
        rig.begin(Fault::Restarts);
        rig.hold(false, false);
        *gateway = Gateway::start_in(dir, rig.address, &FLAGS);
    };
    let wanted = match moment {
        Moment::SetProduction | Moment::VerifyProduction => "production",
        _ => "maintenance",
    };
    let at = match moment {
        Moment::VerifyProduction | Moment::VerifyMaintenance | Moment::Revert => At::Done,
        _ => At::Arrival,
    };
    let is_both = matches!(behaviour, Behaviour::BothRestart);
    match (moment, behaviour) {
        (Moment::Start, _) | (_, Behaviour::ComesLate { .. }) => unreachable!("a dash in the table"),
        (Moment::IdleProduction | Moment::IdleMaintenance, Behaviour::Fault(fault)) => return rig.begin(fault),
        (Moment::IdleProduction | Moment::IdleMaintenance, Behaviour::BothRestart) => return restart(gateway),
        (Moment::Drain, _) => {}
        (_, Behaviour::Fault(fault)) => rig.trap(at, fault),
        (_, Behaviour::BothRestart) => rig.hold(false, true),
    }
    let mut client = None;
    if moment == Moment::Drain {
        rig.hold(true, false);
        let mut held = Connection::open(gateway.data);
        held.send("GET /profiles/1 HTTP/1.1\r\nHost: ucs\r\n\r\n");
        wait("a request is in flight", || admin::mode(gateway)["in_flight"]["production"] == 1);
        client = Some(held);
    }
    if moment == Moment::Revert {
        rig.hold(false, true);
    }
    let mut asker = Connection::open(gateway.admin);
    admin::begin(&mut asker, gateway, "PUT /mode", Some(&json!({"mode": wanted})));
    wait("the flip began", || admin::mode(gateway)["phase"] == "switching" || rig.asked().1 > before.1);
    let mut canceller = None;
    match (moment, behaviour) {
        (Moment::Drain, Behaviour::Fault(fault)) => rig.begin(fault),
        (Moment::Drain, _) => {}
        _ => wait("UCS is asked", || rig.asked().1 > before.1),
    }
    if moment == Moment::Revert {
        let mut cancel = Connection::open(gateway.admin);
        admin::begin(&mut cancel, gateway, "PUT /mode", Some(&json!({"mode": "production"})));
        // A request for another revision is stale, until there is a cancel before it.
        let other =
            || admin::set_mode(gateway, &json!({"mode": "production", "if_revision": 0})).json()["reason"].clone();
        wait("the cancel is accepted", || other() == "switching" || admin::mode(gateway)["phase"] == "settled");
        canceller = Some(cancel);
    }
    if is_both {
        return restart(gateway);
    }
    rig.hold(false, false);
    asker.read_reply();
    canceller.map(|mut canceller| canceller.read_reply());
    drop(client);
}

/// How long both modes have been closed at most.
#[derive(Default)]
struct Closed {
    longest: AtomicU64,
    slowest_look: AtomicU64,
}

impl Closed {
    /// What an operator sees, in the words of the table.
    fn look(&self, gateway: &Gateway) -> String {
        let began = Instant::now();
        std::thread::sleep(Duration::from_millis(15));
        let record = admin::mode(gateway);
        self.slowest_look.fetch_max(u64::try_from(began.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        if record["phase"] == "switching" {
            let since: jiff::Timestamp = word(&record["since"]).parse().unwrap();
            let so_far = jiff::Timestamp::now().duration_since(since).as_millis();
            self.longest.fetch_max(u64::try_from(so_far).unwrap_or(0), Ordering::Relaxed);
            return "switching".to_owned();
        }
        let alarm = if record["alarm"].is_null() { "" } else { ", alarm" };
        let (mode, kind, state) = (&record["mode"], &record["actor"]["kind"], &record["upstream"]["state"]);
        format!("{} by {}, {}{alarm}", word(mode), word(kind), word(state))
    }

    /// What is seen once it holds and has not changed for some looks, or last of all.
    fn until(&self, gateway: &Gateway, holds: impl Fn(&str) -> bool) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        let (mut seen, mut in_a_row) = (String::new(), 0);
        while in_a_row < 20 && Instant::now() < until {
            let now = self.look(gateway);
            in_a_row = if holds(&now) && now == seen { in_a_row + 1 } else { 0 };
            seen = now;
        }
        let millis = |figure: &AtomicU64| Duration::from_millis(figure.load(Ordering::Relaxed));
        let longest = millis(&self.longest);
        if longest > LONGEST_CLOSED && millis(&self.slowest_look) < PACE {
            return Err(format!("both modes were closed for {longest:?}"));
        }
        Ok(seen)
    }
}

fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
