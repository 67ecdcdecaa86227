//! Credentials: the text of access.yaml in, principals or errors out.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;

const PEER: Peer = Peer::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn from_yaml(text: &str) -> Access {
    Access::new(Members::new(access_yaml::parse(text, "access.yaml").unwrap(), text), None)
}

fn faults(text: &str) -> String {
    let faults = access_yaml::parse(text, "access.yaml").unwrap_err();
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn two_principals() -> Access {
    let text = format!(
        "version: 1\nroles: {{viewer: ['mode:read']}}\nprincipals:\n  - {{name: night, token_sha256: {}, roles: [viewer]}}\n  \
         - {{name: console, user: bob, password_argon2: '{}', permissions: ['mode:set']}}\n  \
         - {{name: root, unix_uid: 0, roles: [viewer], permissions: ['routes:reload']}}\n",
        token_hash_hex("a-token"),
        hash_password(b"pass:word").unwrap()
    );
    from_yaml(&text)
}

#[tokio::test]
async fn each_kind_of_credential_finds_its_principal() {
    let access = two_principals();
    let night = access.authenticate(Some("Bearer a-token"), PEER).await.unwrap();
    assert_eq!(&*night.name, "night");
    assert!(night.permissions.allow(Permission::ModeRead) && !night.permissions.allow(Permission::ModeSet));
    for _ in 0..2 {
        let console = access.authenticate(Some(&basic("bob", "pass:word")), PEER).await.unwrap();
        assert_eq!((&*console.name, console.permissions.allow(Permission::ModeSet)), ("console", true));
    }
    let root = access.authenticate(None, Peer::Unix(Some(0))).await.unwrap();
    assert!(root.permissions.allow(Permission::ModeRead) && root.permissions.allow(Permission::RoutesReload));
    assert_eq!(access.authenticate(None, Peer::Unix(Some(1))).await, Err(AccessError::Missing));
    assert_eq!(access.authenticate(None, PEER).await, Err(AccessError::Missing));
}

#[tokio::test]
async fn a_token_is_no_password_and_a_password_no_token() {
    let access = two_principals();
    for header in
        [basic("admin", "a-token"), basic("night", "a-token"), "Bearer pass:word".to_owned(), basic("bob", "x")]
    {
        assert_eq!(access.authenticate(Some(&header), PEER).await, Err(AccessError::Unknown), "{header}");
    }
    let access = two_principals();
    for header in ["", "Bearer", "Bearer ", "Bearer a b", "Basic !!!", "Digest x", "Basic Ym9i"] {
        assert_eq!(access.authenticate(Some(header), PEER).await, Err(AccessError::Malformed), "{header:?}");
    }
}

#[tokio::test]
async fn failures_are_slowed_down_and_a_right_token_is_not() {
    let access = two_principals();
    for _ in 0..10 {
        assert_eq!(access.authenticate(Some("Bearer wrong"), PEER).await, Err(AccessError::Unknown));
    }
    let throttled = access.authenticate(Some("Bearer wrong"), PEER).await;
    assert!(matches!(throttled, Err(AccessError::Throttled { retry_after }) if retry_after.as_secs() == 1));
    // At once, as each takes its time and the limit recovers meanwhile.
    let access = Arc::new(access);
    let mut attempts = tokio::task::JoinSet::new();
    for password in ["wrong"; 10].into_iter().chain(["pass:word"]) {
        let access = Arc::clone(&access);
        attempts.spawn(async move { access.authenticate(Some(&basic("bob", password)), PEER).await });
    }
    let results = attempts.join_all().await;
    assert!(results.iter().all(|result| result.is_err()), "no password is verified now: {results:?}");
    assert!(results.iter().any(|result| matches!(result, Err(AccessError::Throttled { .. }))), "{results:?}");
    let elsewhere = access.for_another_port().authenticate(Some(&basic("bob", "pass:word")), PEER).await;
    assert_eq!(elsewhere.unwrap().name.as_ref(), "console");
    assert!(access.authenticate(Some("Bearer a-token"), PEER).await.is_ok());
}

#[test]
fn faults_are_told_all_at_once_and_in_words() {
    let told = faults(
        "version: 2\nroles: {r: [mode:write]}\nprincipals:\n  - {name: a, token_sha256: xyz, roles: [r]}\n  \
         - {name: b, user: u, roles: [q]}\n  - {name: c, client_certificate: CN=x, roles: [r]}\n  \
         - {name: d, unix_uid: 1}\n",
    );
    for wanted in [
        "access.yaml:1: version 2 is not supported: write 1",
        "access.yaml:2: \"mode:write\" is not a permission: the permissions are mode:read, ",
        "access.yaml:4: token_sha256 must be 64 hex digits: ",
        "access.yaml:5: role \"q\" is not defined: ",
        "access.yaml:5: user and password_argon2 must be set together: ",
        "access.yaml:6: client_certificate names no part of a certificate",
        "access.yaml:7: a principal has no roles and no permissions: ",
    ] {
        assert!(told.contains(wanted), "{wanted}\nin\n{told}");
    }
}

#[test]
fn unknown_keys_and_bad_yaml_are_refused_with_their_place() {
    let told = faults("version: 1\nprincipals:\n  - name: a\n    tokn_sha256: x\n");
    assert!(told.contains("access.yaml:4: unknown key \"tokn_sha256\" in a principal: write token_sha256"), "{told}");
    assert!(faults("version: 1\nprincipals: []\n").contains("no one could change the mode"));
    let cheap = "version: 1\nprincipals:\n  - {name: a, user: u, permissions: ['mode:set'], password_argon2: '$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaA'}\n";
    assert!(faults(cheap).contains("exceeds the maximum cost"), "{}", faults(cheap));
    let hash = token_hash_hex("t");
    let twice = format!(
        "version: 1\nprincipals:\n  - {{name: a, token_sha256: {hash}, permissions: ['mode:set']}}\n  - {{name: b, token_sha256: {hash}, permissions: ['mode:set']}}\n"
    );
    assert!(faults(&twice).contains("same credential"), "{}", faults(&twice));
    let text = "version: 1\nroles:\n  boss: [mode:read]\n  boss: [mode:set]\nprincipals:\n  - {name: a, unix_uid: 1, unix_uid: 2, roles: [boss]}\n";
    for wanted in
        ["access.yaml:4: duplicate key \"boss\" in roles, first in line 3", "access.yaml:6: duplicate key \"unix_uid\""]
    {
        assert!(faults(text).contains(wanted), "{}", faults(text));
    }
}
