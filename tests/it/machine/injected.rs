//! Parts that panic, end unasked or stand still, in a build that does so on command (`--cfg ucs_gateway_faults`): its parts are
//! those of the shipped binary, which has none of these faults.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use ucs_gateway::demo::StandInOptions;

use super::{ALONE, ready};
use crate::support::{Gateway, PATIENCE, TempDir, Ucs, admin, eventually, request};

const SHIPPED: &str = env!("CARGO_BIN_EXE_ucs-gateway");

/// The build with faults.
fn faulty() -> &'static Path {
    static FAULTY: OnceLock<PathBuf> = OnceLock::new();
    FAULTY.get_or_init(|| {
        let build = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/machine/build_with_faults");
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let built = Command::new(build).env("CARGO_TARGET_DIR", shared).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        String::from_utf8(built.stdout).unwrap().trim().into()
    })
}

/// A gateway with one fault, which comes when `strike` is called.
struct Rig {
    ucs: Ucs,
    dir: TempDir,
    gateway: Gateway,
}

impl Rig {
    /// `first` is what its shell does before.
    fn new(fault: &str, first: &str) -> Rig {
        let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
        let dir = TempDir::new();
        let file = dir.path().join("strike");
        let faulty = faulty().display();
        let prelude = format!("{first} UCS_GATEWAY_FAULT='{fault} {}' exec '{faulty}' \"$@\"", file.display());
        let started = Gateway::start_after(&prelude, &dir.path().join("state"), ucs.address, &flags());
        let gateway = started.unwrap_or_else(|(status, log)| panic!("{status}\n{}", log.join("\n")));
        assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
        Rig { ucs, dir, gateway }
    }

    fn strike(&self) {
        self.dir.file("strike", "");
    }

    fn live(&self) -> crate::support::Reply {
        request(self.gateway.admin, "GET /livez", &[], b"")
    }
}

fn flags() -> Vec<&'static str> {
    [&ALONE[..], &["--workers", "2", "--access-log"]].concat()
}

/// The parts that can panic or end, with what the log says of each. A log writer says nothing of its own end.
const PARTS: [(&str, &str); 6] = [
    ("control", "control ended unexpectedly"),
    ("admin", "the admin port ended unexpectedly"),
    ("worker-1", "worker-1 ended unexpectedly"),
    ("sweep-0", "worker-0 ended unexpectedly: its sweep failed"),
    ("log-stdout", "log-stdout ended unexpectedly"),
    ("log-stderr", ""),
];

#[test]
fn a_part_that_panics_or_ends_unasked_ends_the_process_with_its_record_whole() {
    for (part, told) in PARTS {
        for kind in ["panics", "ends"] {
            let Rig { ucs, dir, mut gateway } = Rig::new(&format!("{part} {kind}"), "");
            dir.file("strike", "");
            // A log writer notices at its next line.
            match part {
                "log-stderr" => gateway.signal("HUP"),
                "log-stdout" => drop(request(gateway.data, "GET /absent", &[], b"")),
                _ => {}
            }
            let pace = Pace::begin();
            let since = Instant::now();
            assert_eq!(gateway.exited(PATIENCE).code(), Some(1), "{part} {kind}: {}", gateway.log());
            let (took, lost) = (since.elapsed(), pace.lost());
            eprintln!("{part} {kind}: ended after {took:?}, of which the machine lost {lost:?}");
            assert!(took < Duration::from_secs(2) + 10 * lost, "{part} {kind}: {took:?}, {lost:?}");
            eventually("the log names it", || gateway.log().contains(told));
            let gateway = Gateway::start_in(&dir.path().join("state"), ucs.address, &flags());
            eventually("it has settled", || ready(&gateway)["phase"] == "settled");
            let seen = ready(&gateway);
            let found = (&seen["mode"], &seen["alarm"]);
            assert_eq!(found, (&json!("maintenance"), &json!(null)), "{part} {kind}: {seen}");
        }
    }
}

/// How much longer than it asked for a thread had to sleep, in all: what a loaded machine adds to any duration.
struct Pace {
    is_over: Arc<AtomicBool>,
    sleeper: JoinHandle<Duration>,
}

impl Pace {
    fn begin() -> Pace {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let step = Duration::from_millis(5);
        let sleeper = std::thread::spawn(move || {
            let mut lost = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let since = Instant::now();
                std::thread::sleep(step);
                lost += since.elapsed() - step;
            }
            lost
        });
        Pace { is_over, sleeper }
    }

    fn lost(self) -> Duration {
        self.is_over.store(true, Ordering::Relaxed);
        self.sleeper.join().unwrap()
    }
}

#[test]
fn a_part_that_stands_still_is_named_by_livez() {
    for (fault, silent) in
        [("control stalls", "control"), ("sweep-0 stalls", "worker-0"), ("worker-1 blocks", "worker-1")]
    {
        let rig = Rig::new(fault, "");
        assert_eq!((rig.live().status, rig.live().json()), (200, json!({"live": true})));
        rig.strike();
        eventually("it is noticed", || rig.live().status == 503);
        assert_eq!(rig.live().json(), json!({"live": false, "silent": [silent]}));
    }
}

/// What systemd's socket has received.
struct Watchdog(UnixDatagram);

impl Watchdog {
    /// Receives; whether a message came within `patience`.
    fn hears(&self, message: &str, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut buffer = [0; 256];
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.0.set_read_timeout(Some(left)).unwrap();
            let Ok(length) = self.0.recv(&mut buffer) else { continue };
            if String::from_utf8_lossy(&buffer[..length]).contains(message) {
                return true;
            }
        }
        false
    }
}

#[test]
fn the_watchdog_is_fed_until_a_part_stands_still() {
    for fault in ["control stalls", "admin stalls", "sweep-1 stalls", "worker-0 blocks", "control blocks"] {
        let dir = TempDir::new();
        let path = dir.path().join("notify");
        let watchdog = Watchdog(UnixDatagram::bind(&path).unwrap());
        let first = format!("NOTIFY_SOCKET='{}' WATCHDOG_USEC=400000", path.display());
        let rig = Rig::new(fault, &first);
        assert!(watchdog.hears("READY=1", PATIENCE), "{fault}");
        for _ in 0..3 {
            assert!(watchdog.hears("WATCHDOG=1", PATIENCE), "{fault}: it is fed");
        }
        rig.strike();
        // A sign of life counts for two seconds, and the last message may be on its way.
        eventually("it is no longer fed", || !watchdog.hears("WATCHDOG=1", Duration::from_secs(1)));
        assert!(!watchdog.hears("WATCHDOG=1", Duration::from_secs(2)), "{fault}: it stays so");
    }
}

#[test]
fn the_shipped_binary_has_no_fault_to_inject() {
    let ucs = Ucs::start(StandInOptions { has_mode_api: false, ..StandInOptions::new() });
    let dir = TempDir::new();
    let strike = dir.file("strike", "");
    let prelude = format!("export UCS_GATEWAY_FAULT='control panics {}'", strike.display());
    let state = dir.path().join("state");
    let gateway = Gateway::start_after(&prelude, &state, ucs.address, &flags()).unwrap_or_else(|_| panic!("no start"));
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    assert!(gateway.terminate(PATIENCE).success());
    let holds = |binary: &Path, word: &str| {
        let bytes = std::fs::read(binary).unwrap();
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    };
    for word in ["UCS_GATEWAY_FAULT", "an injected fault"] {
        assert!(!holds(Path::new(SHIPPED), word), "{word} is in the shipped binary");
    }
    assert!(holds(faulty(), "an injected fault"), "the other build has it");
}
