//! `token new` and `token password`: what is printed works when it is pasted where it says.

use crate::support::tool::{run, run_with_input};
use crate::support::{Gateway, TempDir, Ucs, request};

#[test]
fn a_new_token_works_when_pasted_into_access_yaml() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let made = run(&["token", "new", "--name", "night: \"shift\" #1", "--permissions", "mode:read"]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{made:?}");
    let again = run(&["token", "new", "--name", "other"]);
    assert_eq!(again.code, Some(0));
    // As a person would: the head of the file, then everything that was printed.
    let text = format!("version: 1\nprincipals:\n{}{}", made.stdout, again.stdout);
    let access = dir.file("access.yaml", &text);
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let token = |printed: &str| printed.lines().nth(1).unwrap().trim_start_matches("# ").to_owned();
    assert_ne!(token(&made.stdout), token(&again.stdout));
    let ask = |token: &str, line: &str, body: &[u8]| {
        let credential = format!("Bearer {token}");
        let headers = [("Authorization", &*credential), ("Content-Type", "application/json")];
        request(gateway.admin, line, &headers, body)
    };
    let change = br#"{"mode":"maintenance"}"#;
    assert_eq!(ask(&token(&made.stdout), "GET /mode", b"").status, 200);
    assert_eq!(ask(&token(&made.stdout), "PUT /mode", change).status, 403);
    let settled = ask(&token(&again.stdout), "PUT /mode", change);
    assert_eq!(settled.status, 200, "what is granted when nothing is said: {}", settled.text());
    assert_eq!(settled.json()["actor"]["name"], "other");
    // Its own journal shows the other name as it was given, quotes and all.
    let refused = ask(&token(&made.stdout), "POST /routes/reload", b"").json();
    assert!(refused["detail"].as_str().unwrap().starts_with("night: \"shift\" #1 lacks"), "{refused}");
}

#[test]
fn the_file_never_holds_the_token_itself() {
    let made = run(&["token", "new", "--name", "x"]);
    let token = made.stdout.lines().nth(1).unwrap().trim_start_matches("# ").to_owned();
    let pasted: String = made.stdout.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!pasted.contains(&token), "{pasted}");
}

#[test]
fn what_cannot_be_granted_or_is_too_short_is_refused() {
    let unknown = run(&["token", "new", "--name", "x", "--permissions", "mode:write"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""), "{unknown:?}");
    assert!(unknown.stderr.contains("mode:read, mode:set"), "{}", unknown.stderr);
    let short = run_with_input(&["token", "password", "--name", "x", "--user", "y"], "secret\n");
    assert_eq!((short.code, short.stdout.as_str()), (Some(2), ""), "{short:?}");
    assert!(short.stderr.contains("12 characters") && !short.stderr.contains("secret"), "{}", short.stderr);
}

#[test]
fn a_program_gets_the_token_and_its_principal_as_json() {
    let made = run(&["token", "new", "--name", "robot", "--permissions", "mode:bypass", "--json"]);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""), "{made:?}");
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    // JSON is YAML.
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals: [{}]\n", made["principal"]));
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let credential = format!("Bearer {}", made["token"].as_str().unwrap());
    let lacking = request(gateway.admin, "GET /mode", &[("Authorization", &*credential)], b"");
    assert_eq!(lacking.status, 403, "it is known, and may not read: {}", lacking.text());
}
