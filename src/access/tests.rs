//! Credentials: the text of access.yaml in, principals or errors out.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;

use super::*;

const PEER: Peer = Peer::Tcp(std::net::SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn from_yaml(text: &str) -> Access {
    Access::new(access_yaml::parse(text).unwrap())
}

fn faults(text: &str) -> String {
    access_yaml::parse(text).unwrap_err().join("\n")
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
    let password = access.authenticate(Some(&basic("bob", "pass:word")), PEER).await;
    assert!(matches!(password, Err(AccessError::Throttled { .. })), "no password is verified now");
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
        "version: 2 is not supported",
        "\"mode:write\" is not a permission",
        "principal 1 (\"a\"): token_sha256: must be 64 hex digits",
        "principal 2 (\"b\"): roles: role \"q\" is not defined",
        "principal 2 (\"b\"): user and password_argon2 must be set together",
        "principal 3 (\"c\"): client_certificate: is not supported yet",
        "principal 4 (\"d\"): grants no roles or permissions",
    ] {
        assert!(told.contains(wanted), "{wanted}\nin\n{told}");
    }
}

#[test]
fn unknown_keys_and_bad_yaml_are_refused_with_their_place() {
    let told = faults("version: 1\nprincipals:\n  - name: a\n    tokn_sha256: x\n");
    assert!(told.contains("tokn_sha256") && told.contains("line 4"), "{told}");
    assert!(faults("version: 1\nprincipals: []\n").contains("no one could change the mode"));
    let cheap = "version: 1\nprincipals:\n  - {name: a, user: u, permissions: ['mode:set'], password_argon2: '$argon2id$v=19$m=9999999,t=1,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaA'}\n";
    assert!(faults(cheap).contains("exceeds the maximum cost"), "{}", faults(cheap));
    let hash = token_hash_hex("t");
    let twice = format!(
        "version: 1\nprincipals:\n  - {{name: a, token_sha256: {hash}, permissions: ['mode:set']}}\n  - {{name: b, token_sha256: {hash}, permissions: ['mode:set']}}\n"
    );
    assert!(faults(&twice).contains("same credential"), "{}", faults(&twice));
}
