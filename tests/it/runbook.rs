//! The recipes of docs/operations.md, as they stand there: each test makes the situation, runs the commands of the page in a shell,
//! and looks at the gateway and at UCS afterwards. Paths, ports and names of hosts are those of the test.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use regex::Regex;
use serde_json::Value;
use ucs_gateway::access::token_hash_hex;
use ucs_gateway::policy::mode::Mode;

use crate::support::{Connection, Gateway, TempDir, Ucs, eventually, request};

const PAGE: &str = include_str!("../../docs/operations.md");
const SERVICE: &str = include_str!("runbook/systemctl.sh");

/// The section with the recipes.
fn runbook() -> &'static str {
    PAGE.split("\n## Runbook\n").nth(1).unwrap().split("\n## ").next().unwrap()
}

/// The commands of a recipe, by block.
fn recipe(name: &str) -> Vec<&'static str> {
    let text = runbook().split(&format!("\n### {name}\n")).nth(1).unwrap_or_else(|| panic!("no recipe {name:?}"));
    let text = text.split("\n### ").next().unwrap();
    text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect()
}

/// A machine with the package: its folders, and the service, which is stopped in the end.
struct Site {
    dir: TempDir,
    ucs: SocketAddr,
    flags: String,
}

impl Site {
    fn start(ucs: &Ucs, flags: &str) -> Site {
        let site = Site::prepare(ucs, flags);
        site.paste("systemctl start ucs-gateway");
        site
    }

    fn prepare(ucs: &Ucs, flags: &str) -> Site {
        let dir = TempDir::new();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        dir.file("etc/routes.yaml", include_str!("../../routes.yaml"));
        dir.file("etc/environment", &format!("UCS_GATEWAY_UPSTREAM=http://{}\n", ucs.address));
        Site { dir, ucs: ucs.address, flags: flags.to_owned() }
    }

    /// Runs commands of the page, each of which must succeed; returns what they printed.
    #[track_caller]
    fn paste(&self, commands: &str) -> String {
        let (code, printed) = self.run(commands, "");
        assert_eq!(code, Some(0), "{commands}\n{printed}");
        printed
    }

    fn run(&self, commands: &str, token: &str) -> (Option<i32>, String) {
        let folder = self.dir.path().display();
        let here = commands
            .replace("/var/lib/ucs-gateway", &format!("{folder}/state"))
            .replace("/var/backups/ucs-gateway", &format!("{folder}/backup"))
            .replace("/etc/ucs-gateway", &format!("{folder}/etc"))
            .replace("ucs.example:8080", &self.ucs.to_string());
        let mut shell = Command::new("bash");
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("UCS_GATEWAY_")) {
            shell.env_remove(name);
        }
        shell.env("SITE", self.dir.path()).env("PROGRAM", env!("CARGO_BIN_EXE_ucs-gateway")).env("FLAGS", &self.flags);
        shell.env("UCS_GATEWAY_ADMIN", format!("unix:{folder}/admin.sock"));
        shell.env("UCS_GATEWAY_STATE_DIR", self.dir.path().join("state")).env("UCS_GATEWAY_TOKEN", token);
        let output = shell.args(["-c", &format!("{SERVICE}\n{here}")]).stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout) + &text(output.stderr))
    }

    /// The document of `mode get`.
    fn mode(&self) -> Value {
        serde_json::from_str(&self.paste("ucs-gateway mode get --json")).unwrap()
    }

    /// Where clients connect.
    fn data(&self) -> SocketAddr {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        let ready = log.lines().rev().find(|line| line.contains("\"message\":\"ready\"")).unwrap();
        serde_json::from_str::<Value>(ready).unwrap()["listen"].as_str().unwrap().parse().unwrap()
    }

    /// The process of the service.
    fn process(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("pid")).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Ok(process) = std::fs::read_to_string(self.dir.path().join("pid")) {
            let _ = Command::new("kill").args(["-KILL", process.trim()]).stderr(Stdio::null()).status();
        }
    }
}

#[test]
fn every_recipe_is_executed() {
    let own = include_str!("runbook.rs");
    let names: BTreeSet<&str> = runbook().lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    for name in names {
        assert!(own.contains(&format!("recipe(\"{name}\")")), "no test runs the recipe {name:?}");
    }
    let preparation = runbook().split("\n### ").next().unwrap();
    assert!(preparation.contains("export UCS_GATEWAY_STATE_DIR=/var/lib/ucs-gateway\n"), "{preparation}");
}

#[test]
fn flip_to_maintenance() {
    let ucs = Ucs::usual();
    let site = Site::start(&ucs, "");
    let [there, back] = recipe("Flip to maintenance")[..] else { panic!("two blocks") };
    site.paste(there);
    let mode = site.mode();
    assert_eq!(
        (&mode["mode"], &mode["message"], &mode["drain"]),
        (&"maintenance".into(), &"back at four".into(), &"complete".into())
    );
    assert!(mode["expires"].is_string(), "{mode}");
    assert_eq!(request(site.data(), "GET /profiles/1", &[], b"").status, 503);
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    assert!(site.paste(back).contains("production\n"));
    assert_eq!(ucs.control().mode(), Mode::Production);
}

#[test]
fn it_reverted() {
    let ucs = Ucs::usual();
    let site = Site::start(&ucs, "");
    let [history, longer, cut] = recipe("It reverted")[..] else { panic!("three blocks") };
    let hold = || {
        ucs.control().set_holding(true);
        let mut client = Connection::open(site.data());
        client.send(b"GET /profiles/00000SEEDED00001 HTTP/1.1\r\nHost: ucs\r\n\r\n");
        // Of UCS's count the gateway's own probe may be a part.
        eventually("it is in flight", || site.mode()["in_flight"]["production"] == 1);
        client
    };
    let client = hold();
    let (code, printed) = site.run("ucs-gateway mode set maintenance --drain-timeout 300ms", "");
    assert_eq!(code, Some(3), "{printed}");
    let told = site.paste(history);
    assert!(told.contains("drain_timeout") || told.contains("drain timeout"), "{told}");
    assert!(told.contains("Query Customer Profile"), "{told}");
    // The longer drain sees the operation end.
    std::thread::scope(|scope| {
        let flip = scope.spawn(|| site.paste(longer));
        eventually("the flip drains", || site.mode()["phase"] == "switching");
        ucs.control().set_holding(false);
        flip.join().unwrap();
    });
    assert_eq!((&site.mode()["mode"], &site.mode()["drain"]), (&"maintenance".into(), &"complete".into()));
    drop(client);
    site.paste("ucs-gateway mode set production");
    let _client = hold();
    site.paste(cut);
    let mode = site.mode();
    assert_eq!((&mode["mode"], &mode["drain"]), (&"maintenance".into(), &"assumed".into()), "{mode}");
    assert!(mode["abandoned"].to_string().contains("Query Customer Profile"), "{mode}");
    ucs.control().set_holding(false);
}

#[test]
fn locked_out() {
    let ucs = Ucs::usual();
    let [lost, access] = recipe("Locked out")[..] else { panic!("two blocks") };
    let site = Site::start(&ucs, "");
    let token = || std::fs::read_to_string(site.dir.path().join("state/admin.token")).unwrap();
    let before = token();
    site.paste(lost);
    assert_ne!(before, token(), "the token that leaked is still in force");
    assert_ne!(site.run("ucs-gateway mode get", before.trim()).0, Some(0));
    drop(site);

    let mut site = Site::prepare(&ucs, "");
    let known = token_hash_hex("another");
    let principal = format!("  - name: other\n    token_sha256: {known}\n    permissions: [mode:read]\n");
    let file = site.dir.file("etc/access.yaml", &format!("version: 1\nprincipals:\n{principal}"));
    site.flags = format!("--access {}", file.display());
    site.paste("systemctl start ucs-gateway");
    let printed = site.paste(access);
    let token = Regex::new("(?m)^# ([A-Za-z0-9_-]{43})$").unwrap().captures(&printed).expect("a token")[1].to_owned();
    eventually("the new principal is known", || site.run("ucs-gateway mode get", &token).0 == Some(0));
    let written = std::fs::read_to_string(&file).unwrap();
    assert!(!written.contains(&token) && written.contains("on-call"), "{written}");
}

#[test]
fn forgotten_maintenance() {
    let ucs = Ucs::usual();
    let site = Site::start(&ucs, "");
    site.paste("ucs-gateway mode set maintenance --reason 'for a minute'");
    let before = site.mode();
    assert!(before["expires"].is_null(), "{before}");
    let [see, end] = recipe("Forgotten maintenance")[..] else { panic!("two blocks") };
    assert!(site.paste(see).contains("for a minute"));
    site.paste(end);
    let after = site.mode();
    assert!(after["expires"].is_string() && after["mode"] == "maintenance", "{after}");
}

#[test]
fn ucs_switched_by_itself() {
    let ucs = Ucs::usual();
    let site = Site::start(&ucs, "");
    let [followed, confirmed] = recipe("UCS switched by itself")[..] else { panic!("two blocks") };
    eventually("they agree", || site.mode()["upstream"]["state"] == "in_step");
    ucs.control().set_mode(Mode::Maintenance);
    eventually("the gateway follows", || site.mode()["mode"] == "maintenance");
    let told = site.paste(followed);
    assert!(told.contains("UCS"), "{told}");
    assert_eq!((site.mode()["mode"].as_str(), ucs.control().mode()), (Some("production"), Mode::Production));

    site.paste("ucs-gateway mode set maintenance");
    eventually("they agree", || site.mode()["upstream"]["state"] == "in_step");
    ucs.control().set_mode(Mode::Production);
    eventually("it is set back, with an alarm", || {
        ucs.control().mode() == Mode::Maintenance && site.mode()["alarm"].to_string().contains("upstream_moved")
    });
    site.paste(confirmed);
    eventually("the alarm ends", || site.mode()["alarm"].is_null());
}

#[test]
fn restore_from_backup() {
    let ucs = Ucs::usual();
    let site = Site::start(&ucs, "");
    site.paste("ucs-gateway mode set maintenance --reason 'before the backup'");
    let [backup, restore] = recipe("Restore from backup")[..] else { panic!("two blocks") };
    site.paste(backup);
    site.paste("ucs-gateway mode set production --reason 'after the backup'");
    site.paste(restore);
    let (mode, history) = (site.mode(), site.paste("ucs-gateway mode history"));
    assert_eq!((&mode["mode"], &mode["reason"]), (&"maintenance".into(), &"restored from backup".into()), "{mode}");
    assert!(history.contains("before the backup") && !history.contains("after the backup"), "{history}");
    assert!(mode["alarm"].is_null(), "{mode}");
}

#[test]
fn ucs_on_windows() {
    let (ucs, before) = (Ucs::usual(), Ucs::usual());
    let mut site = Site::start(&before, "");
    site.ucs = ucs.address;
    let [commands] = recipe("UCS on Windows")[..] else { panic!("one block") };
    let process = site.process();
    site.paste(commands);
    assert_ne!(process, site.process(), "it was restarted");
    request(site.data(), "GET /profiles/1", &[], b"");
    assert_eq!(ucs.asked("GET", "/profiles/1").len(), 1, "the new UCS is asked");
}

#[test]
fn the_caches_of_other_ucs_are_refreshed() {
    let ucs = [Ucs::usual(), Ucs::usual()];
    let dir = TempDir::new();
    let principal = format!(
        "  - name: one\n    token_sha256: {}\n    permissions: [mode:read, mode:set]\n",
        token_hash_hex("token")
    );
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{principal}"));
    let flags = ["--access", access.to_str().unwrap(), "--upstream-poll", "100ms"];
    let gateways = [&ucs[0], &ucs[1]].map(|ucs| Gateway::start(ucs.address, &flags));
    let site = Site::prepare(&ucs[0], "");
    let names = ["first.example", "second.example"];
    let cases = |pick: fn(&Gateway) -> SocketAddr| {
        let case = |(name, gateway): (&str, &Gateway)| format!("{name}) echo {} ;; ", pick(gateway));
        names.into_iter().zip(&gateways).map(case).collect::<String>()
    };
    let addresses = format!(
        "admin() {{ case $1 in {} esac; }}\ndata() {{ case $1 in {} esac; }}\n",
        cases(|gateway| gateway.admin),
        cases(|gateway| gateway.data)
    );
    let blocks = recipe("Refresh the caches of other UCS after a schema change");
    let named = blocks[0].lines().next().unwrap();
    let paste = |block: &str| {
        let block = block
            .replace("$gateway:8081", "$(admin $gateway)")
            .replace("$gateway:8080", "$(data $gateway)")
            .replace("first.example:8080", &gateways[0].data.to_string());
        let (code, printed) = site.run(&format!("{addresses}{named}\n{block}"), "token");
        assert_eq!(code, Some(0), "{block}\n{printed}");
        printed
    };
    let [there, change, back] = blocks[..] else { panic!("three blocks") };
    paste(there);
    assert_eq!([&ucs[0], &ucs[1]].map(|ucs| ucs.control().mode()), [Mode::Maintenance; 2]);
    paste(change);
    ucs[1].control().restart();
    assert_eq!(ucs[1].control().mode(), Mode::Production, "a UCS starts in production");
    eventually("it is set to the mode of its gateway", || ucs[1].control().mode() == Mode::Maintenance);
    assert!(paste(back).contains("Loyalty"));
    assert_eq!([&ucs[0], &ucs[1]].map(|ucs| ucs.control().mode()), [Mode::Production; 2]);
}
