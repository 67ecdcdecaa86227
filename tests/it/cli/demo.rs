//! `demo`: the printed commands work in a shell, and it leaves nothing behind.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::eventually;
use crate::support::tool::{Running, run};

/// A demo on free ports, with its output.
struct Demo {
    process: Running,
    text: String,
}

impl Demo {
    fn start(extra: &[&str]) -> Demo {
        let ports = ["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut process = Running::start(&[&ports, extra].concat());
        let mut text = String::new();
        while !text.contains("Stop with ctrl-c") {
            text += &process.next_line().expect("it prints commands to try");
            text.push('\n');
        }
        Demo { process, text }
    }

    /// Whether the printed commands of the program set the mode and show it. A new user has no `ucs-gateway` in the path.
    fn has_a_command_line_that_works(&self) -> bool {
        let is_ours = |line: &&str| {
            ["TOKEN=", "export "].iter().any(|word| line.starts_with(word)) || line.contains("ucs-gateway mode ")
        };
        let lines: Vec<_> = self.text.lines().map(str::trim).filter(is_ours).collect();
        let told = paste(&format!("set -e\n{}", lines.join("\n")));
        told.contains("production is in force") && told.lines().any(|line| line.contains("production settled"))
    }

    /// The value of this name in the table at the top.
    fn value(&self, name: &str) -> &str {
        let line = self.text.lines().find(|line| line.trim_start().starts_with(name)).expect("a line of this name");
        line.trim_start()[name.len()..].trim_start().split("   ").next().unwrap().trim_end()
    }
}

/// Pastes this into a shell; returns the output.
fn paste(lines: &str) -> String {
    let shell = Command::new("bash").args(["-c", lines]).stdin(Stdio::null()).output().unwrap();
    assert!(shell.status.success(), "{lines}: {shell:?}");
    String::from_utf8(shell.stdout).unwrap()
}

/// The status of the last response that `curl -i` printed.
fn status(printed: &str) -> &str {
    printed.rsplit("HTTP/1.1 ").next().unwrap().get(..3).unwrap_or_default()
}

#[test]
fn every_printed_line_works_as_it_says() {
    let demo = Demo::start(&[]);
    let lines: Vec<_> = demo.text.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    let token = demo.text.lines().map(str::trim).find(|line| line.starts_with("TOKEN=")).unwrap();
    // As printed, but for a shorter wait.
    let pasted: Vec<_> =
        lines.iter().map(|line| paste(&format!("{token}\n{}", line.replace("3000", "2000")))).collect();
    let statuses: Vec<_> = pasted[..6].iter().map(|printed| status(printed)).collect();
    // Profile, schema; flip; profile, schema; and back.
    assert_eq!(statuses, ["201", "503", "200", "503", "201", "200"], "{pasted:#?}");
    assert!(pasted[1].contains("UCS-Gateway: refused; reason=mode"), "{}", pasted[1]);
    assert!(pasted[2].contains("\"drain\":\"complete\""), "{}", pasted[2]);
    assert!(pasted[5].contains("{\"server changed\":\"production\"}"), "{}", pasted[5]);
    assert_eq!(pasted.len(), 8, "the last two show a drain");
    assert!(
        pasted[7].starts_with("[{\"customer_id\""),
        "the request that was waited for had its answer: {}",
        pasted[7]
    );
    assert!(pasted[7].contains("\"waited_for\":[{\"class\":\"profile\",\"count\":1"), "{}", pasted[7]);
    assert!(demo.has_a_command_line_that_works(), "{}", demo.text);
}

#[test]
fn it_says_where_things_are() {
    let demo = Demo::start(&["--no-schema"]);
    for (name, path) in [("clients of UCS", "/server/status"), ("operators", "livez"), ("stand-in UCS", "/_stand-in")] {
        let printed = paste(&format!("curl -si '{}{path}'", demo.value(name)));
        assert_eq!(status(&printed), "200", "{name}: {printed}");
    }
    let page = paste(&format!("curl -s '{}'", demo.value("operators")));
    assert!(page.starts_with("<!doctype html>"), "{page}");
    let settings = demo.text.split("(settings: ").nth(1).unwrap().split(')').next().unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&paste(&format!("{settings} -s"))).is_ok());
    assert!(Path::new(demo.value("state")).join("admin.token").exists());
    // With --no-schema the gateway detects the missing schema.
    let clients = demo.value("clients of UCS");
    let created = paste(&format!("curl -si {clients}/profiles -H 'Content-Type: application/json' -d '{{}}'"));
    assert_eq!(status(&created), "404", "{created}");
    let admin = demo.value("operators").trim_start_matches("http://").trim_end_matches('/');
    eventually("it is in maintenance by itself", || {
        let told = run(&["mode", "--admin", admin, "--token", demo.value("token"), "get"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        told.stdout.starts_with("maintenance\n") && told.stdout.contains("UCS has no profile schema")
    });
}

#[test]
fn what_the_first_steps_say_to_try_is_true() {
    let demo = Demo::start(&[]);
    let page = include_str!("../../../docs/first-steps.md");
    let section = page.split("## Try it by hand").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<_> = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    let address = |name: &str| demo.value(name).trim_start_matches("http://").trim_end_matches('/').to_owned();
    let (clients, operators, ucs) = (address("clients of UCS"), address("operators"), address("stand-in UCS"));
    let settings = format!(
        "export UCS_GATEWAY_TOKEN={} UCS_GATEWAY_ADMIN={operators}
UCS=http://{ucs}
ucs-gateway() {{ {} \"$@\"; }}
JSON='Content-Type: application/json'\n",
        demo.value("token"),
        env!("CARGO_BIN_EXE_ucs-gateway")
    );
    for set in ["export UCS_GATEWAY_TOKEN=", "UCS=", "ucs-gateway=", "JSON='Content-Type: application/json'"] {
        assert!(blocks[0].contains(set), "the first block sets {set}");
    }
    let try_out = |block: &str| {
        // The same commands on this demo's ports.
        let block = block.replace("127.0.0.1:8080", &clients).replace("127.0.0.1:8081", &operators);
        let printed = paste(&format!("{settings}{block}"));
        let statuses: Vec<_> = printed.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect();
        (statuses, printed)
    };
    assert_eq!(try_out(blocks[1]).0, ["201"], "a profile in production");
    let (refused, printed) = try_out(blocks[2]);
    assert_eq!(refused, ["503"], "{printed}");
    for member in ["reason=mode", "\"class\":\"schema\"", "\"title\":\"Not available\""] {
        assert!(printed.contains(member), "{member} is not in {printed}");
    }
    let (_, flipped) = try_out(blocks[3]);
    assert!(flipped.contains("waited for    1 × ") && flipped.contains("in maintenance as well, since "), "{flipped}");
    let (_, set) = try_out(blocks[4]);
    assert!(set.contains("\"mode\":\"maintenance\""), "{set}");
    assert_eq!(try_out(blocks[5]).0, ["503", "201"], "the other way round");
    let (back, printed) = try_out(blocks[6]);
    assert_eq!(back, ["200"], "{printed}");
    assert!(printed.ends_with("{\"server changed\":\"production\"}"), "{printed}");
    let (_, told) = try_out(blocks[7]);
    assert!(told.contains("new extension") && told.contains("refused with 503"), "{told}");
    assert_eq!(blocks.len(), 8, "every block was tried");
    let list = section.split('`').find(|word| word.starts_with("curl $UCS")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&try_out(&format!("{list} -s")).1).is_ok());
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for signal in ["INT", "TERM", "HUP"] {
        let demo = Demo::start(&[]);
        let state = demo.value("state").to_owned();
        assert!(Path::new(&state).join("mode.json").exists());
        let address = demo.value("clients of UCS").trim_start_matches("http://").to_owned();
        demo.process.signal(signal);
        let ended = demo.process.ended();
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.ends_with("stopped"), "{ended:?}");
        assert!(!Path::new(&state).parent().unwrap().exists(), "{state} is still there");
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[test]
fn what_it_cannot_use_is_told() {
    let no_table =
        run(&["demo", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--routes", "nowhere.yaml"]);
    assert_eq!(no_table.code, Some(2), "{no_table:?}");
    assert!(no_table.stderr.contains("nowhere.yaml"), "{}", no_table.stderr);
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let no_port = run(&["demo", "--listen", &taken, "--admin-listen", "127.0.0.1:0"]);
    assert_eq!(no_port.code, Some(1), "{no_port:?}");
    assert!(no_port.stderr.contains(&taken), "{}", no_port.stderr);
}
