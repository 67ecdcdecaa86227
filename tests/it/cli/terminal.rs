//! `mode set` in a real terminal: the drain is drawn in place, and Ctrl-C asks what to do.

use std::time::Duration;

use serde_json::json;

use super::mode_arguments;
use crate::support::{Gateway, Terminal, Ucs, Upload, admin, eventually};

/// A gateway with a request in flight, and `mode set maintenance` in a terminal, drawn; `None` without a terminal.
fn draining(ucs: &Ucs) -> Option<(Gateway, Upload, Terminal)> {
    let gateway = Gateway::bare(ucs.address, &["--orphan-grace", "1ms"]);
    let upload = Upload::begin_held(&gateway, ucs);
    let arguments = mode_arguments(&gateway);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["set", "maintenance"]).collect();
    let terminal = Terminal::start(&arguments)?;
    let screen = terminal.shows("1 × Create Customer Profile");
    assert!(
        screen.contains("production → maintenance  [------------------------] waiting for 1 request, "),
        "{screen}"
    );
    assert!(screen.contains(" left"), "{screen}");
    Some((gateway, upload, terminal))
}

#[test]
fn a_drain_is_drawn_until_it_is_over() {
    let ucs = Ucs::usual();
    let Some((_gateway, upload, terminal)) = draining(&ucs) else { return };
    assert_eq!(upload.finish_held(&ucs).status, 201);
    let screen = terminal.shows("ended with 0");
    assert!(screen.starts_with("settled: maintenance is in force"), "the bar is gone: {screen}");
    assert!(screen.contains("waited for    1 × Create Customer Profile"), "{screen}");
}

#[test]
fn ctrl_c_asks_and_keeps_the_change() {
    let ucs = Ucs::usual();
    let Some((gateway, upload, terminal)) = draining(&ucs) else { return };
    terminal.press(&["C-c"]);
    terminal.shows("Keep the change going, or revert to production?");
    terminal.press(&["x", "Enter"]);
    terminal.shows("k for keep, r for revert");
    terminal.press(&["k", "Enter"]);
    let screen = terminal.shows("the change continues");
    assert!(!screen.contains("k for keep"), "the question is gone: {screen}");
    terminal.shows("waiting for 1 request, ");
    assert_eq!(upload.finish_held(&ucs).status, 201);
    terminal.shows("ended with 0");
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
}

#[test]
fn ctrl_c_asks_and_reverts_the_change() {
    let ucs = Ucs::usual();
    let Some((gateway, upload, terminal)) = draining(&ucs) else { return };
    terminal.press(&["C-c"]);
    terminal.shows("[r]evert");
    terminal.press(&["r", "Enter"]);
    let screen = terminal.shows("ended with 4");
    assert!(screen.contains("the flip was cancelled; production is in force"), "{screen}");
    let record = admin::mode(&gateway);
    assert_eq!(
        (record["mode"].as_str(), record["reason"].as_str()),
        (Some("production"), Some("reverted with Ctrl-C"))
    );
    assert_eq!(upload.finish_held(&ucs).status, 201);
}

#[test]
fn ctrl_c_reverts_a_change_that_still_waits_for_the_schema() {
    let ucs = Ucs::usual();
    let gateway = Gateway::start(ucs.address, &[]);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
    // The gateway asks UCS for its schema before it goes to production, and has no response.
    ucs.control().set_delay(Duration::from_secs(600));
    let arguments = mode_arguments(&gateway);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["set", "production"]).collect();
    let Some(terminal) = Terminal::start(&arguments) else { return };
    eventually("the change is requested", || gateway.log().matches("mode change requested").count() == 2);
    terminal.press(&["C-c"]);
    terminal.shows("revert to maintenance?");
    terminal.press(&["r", "Enter"]);
    let screen = terminal.shows("ended with 4");
    assert!(screen.contains("the flip was cancelled; maintenance is in force"), "{screen}");
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
}

#[test]
fn a_second_ctrl_c_leaves_and_the_flip_continues() {
    let ucs = Ucs::usual();
    let Some((gateway, upload, terminal)) = draining(&ucs) else { return };
    terminal.press(&["C-c"]);
    terminal.shows("[r]evert");
    terminal.press(&["C-c"]);
    let screen = terminal.shows("ended with 130");
    assert!(screen.contains("the change continues without this command"), "{screen}");
    assert_eq!(admin::mode(&gateway)["phase"], "switching");
    assert_eq!(upload.finish_held(&ucs).status, 201);
    eventually("the flip settled", || admin::mode(&gateway)["phase"] == "settled");
    assert_eq!(admin::mode(&gateway)["mode"], "maintenance");
}
