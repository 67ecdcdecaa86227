//! `demo --fleet`: what it prints works in a shell, and it leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::eventually;
use crate::support::tool::{self, Running};

struct Demo {
    process: Running,
    text: String,
}

impl Demo {
    /// None if there is no etcd in the path, which fails in CI.
    fn start() -> Option<Demo> {
        let is_there = Command::new("etcd").arg("--version").stdout(Stdio::null()).status().is_ok();
        assert!(is_there || std::env::var_os("CI").is_none_or(|value| value != "true"), "etcd is missing");
        if !is_there {
            eprintln!("skipped: etcd is missing");
            return None;
        }
        let ports = ["demo", "--fleet", "3", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut process = Running::start(&ports);
        let mut text = String::new();
        while !text.contains("Stop with ctrl-c") {
            text += &process.next_line().expect("it prints commands to try");
            text.push('\n');
        }
        Some(Demo { process, text })
    }

    /// The last words of the rows of members, and that of etcd.
    fn processes(&self) -> Vec<String> {
        let rows = self.text.lines().filter(|line| line.starts_with("  g"));
        let members = rows.map(|row| row.split_whitespace().next_back().unwrap().to_owned());
        let etcd = self.text.split("etcd is process ").nth(1).unwrap().split(')').next().unwrap();
        members.chain([etcd.to_owned()]).collect()
    }
}

/// The output of these lines in a shell; curl's are those of a failure too.
fn paste(lines: &str) -> String {
    let shell = Command::new("bash").args(["-c", lines]).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(shell.stdout).unwrap() + &String::from_utf8(shell.stderr).unwrap()
}

fn is_running(process: &str) -> bool {
    Path::new("/proc").join(process).join("exe").exists()
}

#[test]
fn every_line_that_the_demo_of_a_fleet_prints_works_as_it_says() {
    let Some(demo) = Demo::start() else { return };
    let program = env!("CARGO_BIN_EXE_ucs-gateway");
    let is_command = |line: &&str| ["curl ", "kill ", program].iter().any(|word| line.starts_with(word));
    let lines: Vec<&str> = demo.text.lines().map(str::trim).filter(is_command).collect();
    let token = demo.text.lines().map(str::trim).find(|line| line.starts_with("TOKEN=")).unwrap();
    let pasted: Vec<String> = lines.iter().map(|line| paste(&format!("{token}\n{line}"))).collect();
    let status = |number: usize| pasted[number].rsplit("HTTP/1.1 ").next().unwrap().get(..3).unwrap_or_default();
    assert_eq!(pasted.len(), 9, "{lines:#?}");
    assert_eq!(pasted[0].lines().filter(|line| line.starts_with('g')).count(), 3, "{}", pasted[0]);
    let statuses = [1, 2, 3, 4].map(status);
    assert_eq!(statuses, ["200", "503", "200", "201"], "{pasted:#?}");
    assert!(status(6) == "504" && pasted[6].contains("member_missing"), "{}", pasted[6]);
    assert!(pasted[7].contains("g3 is forgotten"), "{}", pasted[7]);
    assert_eq!(status(8), "200", "{}", pasted[8]);
}

#[test]
fn the_demo_of_a_fleet_leaves_no_process_behind() {
    for signal in ["INT", "TERM"] {
        let Some(demo) = Demo::start() else { return };
        let processes = demo.processes();
        assert_eq!(processes.len(), 4);
        assert!(processes.iter().all(|process| is_running(process)), "{processes:?}");
        demo.process.signal(signal);
        let ended = demo.process.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.ends_with("stopped"), "{ended:?}");
        assert!(processes.iter().all(|process| !is_running(process)), "{processes:?}");
    }
    // Nor when it is killed.
    let Some(demo) = Demo::start() else { return };
    let processes = demo.processes();
    demo.process.signal("KILL");
    eventually("they have ended", || processes.iter().all(|process| !is_running(process)));
}

#[test]
fn a_machine_without_etcd_is_told_how_to_get_one() {
    let mut command = tool::command(&["demo", "--fleet", "3"]);
    let output = command.env("PATH", "/nowhere").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("apt-get install etcd-server"), "{told}");
}
