//! `routes reload` against a running gateway.

use serde_json::{Value, json};

use crate::support::tool::run;
use crate::support::{Gateway, TempDir, Ucs, nobody_listens, request};

#[test]
fn a_reload_puts_the_file_in_force_or_says_why_not() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let text = include_str!("../../../routes.yaml");
    let file = dir.file("routes.yaml", text);
    let gateway = Gateway::bare(ucs.address, &["--routes", file.to_str().unwrap()]);
    let (admin, state) = (gateway.admin.to_string(), gateway.state_dir().to_str().unwrap());
    let reload = |more: &[&str]| run(&[&["routes", "reload", "--admin", &admin, "--state-dir", state], more].concat());
    let same = reload(&[]);
    assert_eq!(
        (same.code, same.stdout.as_str()),
        (Some(0), "no change: the same 75 routes are in force\n"),
        "{same:?}"
    );
    let more = "\n  - {operation: More, method: GET, path: /more, class: server}\n";
    std::fs::write(&file, format!("{text}{more}")).unwrap();
    let reloaded = reload(&[]);
    assert_eq!(
        (reloaded.code, reloaded.stdout.as_str()),
        (Some(0), "reloaded: 76 routes are in force\n"),
        "{reloaded:?}"
    );
    assert_eq!(request(gateway.data, "GET /more", &[], b"").refusal(), None);
    let as_json: Value = serde_json::from_str(&reload(&["--json"]).stdout).unwrap();
    assert_eq!((&as_json["routes"], &as_json["changed"]), (&json!(76), &json!(false)));
    std::fs::write(&file, format!("{text}{more}").replace("class: server}", "class: servr}")).unwrap();
    let refused = reload(&[]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
    assert!(
        refused.stderr.contains("unknown class \"servr\"") && refused.stderr.contains("was not replaced"),
        "{refused:?}"
    );
    let nobody = nobody_listens().to_string();
    let unreachable = run(&["routes", "reload", "--admin", &nobody, "--state-dir", state]);
    assert_eq!((unreachable.code, unreachable.stderr.contains("is it running")), (Some(1), true), "{unreachable:?}");
}
