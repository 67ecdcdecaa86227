//! TLS on the admin port: calls, the commands, and client certificates that stand for principals.

use std::path::Path;

use serde_json::Value;

use super::start;
use crate::support::tls::{Authority, Identity, tunnel, words};
use crate::support::{Connection, Gateway, Scripted, TempDir, eventually, http, request, tool};

/// A gateway whose admin port speaks TLS and knows these principals.
fn with_principals(server: &Identity, ca: &Path, access: &Path) -> Gateway {
    let flags = server.flags("--admin-tls");
    let files = ["--access", access.to_str().unwrap(), "--admin-tls-client-ca", ca.to_str().unwrap()];
    Gateway::bare(Scripted::ok().address, &[&words(&flags)[..], &files].concat())
}

/// The name of the principal that a client certificate stands for, as `GET /mode` needs one; else the status.
fn status(gateway: &Gateway, authority: &Authority, identity: Option<&Identity>, headers: &[(&str, &str)]) -> u16 {
    let address = tunnel(gateway.admin, authority.client(identity));
    request(address, "GET /mode", headers, b"").status
}

#[test]
fn the_admin_port_speaks_tls_to_programs_and_to_the_commands() {
    let (authority, upstream) = (Authority::new("one"), Scripted::ok());
    let server = authority.issue("server");
    let flags = server.flags("--admin-tls");
    let gateway = Gateway::bare(upstream.address, &words(&flags));
    let address = tunnel(gateway.admin, authority.client(None));
    assert_eq!(request(address, "GET /livez", &[], b"").status, 200);
    assert_eq!(request(address, "GET /mode", &[], b"").status, 401);
    let credential = format!("Bearer {}", gateway.token());
    let mut client = Connection::open(address);
    for _ in 0..3 {
        client.send(http::compose(address, "GET /mode", &[("Authorization", &*credential)], b""));
        assert_eq!(client.read_reply().json()["mode"], "production");
    }
    // Without TLS nothing is told.
    let reply = request(gateway.admin, "GET /livez", &[], b"");
    assert_eq!((reply.status, reply.text().contains("https://")), (400, true));
    let (admin, ca) = (format!("localhost:{}", gateway.admin.port()), authority.certificate());
    let command = |more: &[&str]| {
        let state = gateway.state_dir().to_str().unwrap();
        tool::run(&[&["mode", "get", "--json", "--admin", &admin, "--state-dir", state], more].concat())
    };
    let told = command(&["--admin-ca", ca.to_str().unwrap()]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<Value>(&told.stdout).unwrap()["mode"], "production");
    let (url, state) = (format!("https://{admin}/"), gateway.state_dir().to_str().unwrap());
    let by_url = ["mode", "get", "--admin", &url, "--admin-ca", ca.to_str().unwrap(), "--state-dir", state];
    assert_eq!(tool::run(&by_url).code, Some(0), "as the browser shows it");
    let stranger = Authority::new("other");
    let refused = command(&["--admin-ca", stranger.certificate().to_str().unwrap()]);
    assert!(refused.code != Some(0) && refused.stderr.contains("the CA that signed"), "{}", refused.stderr);
    let in_clear_text = command(&[]);
    assert!(in_clear_text.code != Some(0) && in_clear_text.stderr.contains("--admin-ca"), "{}", in_clear_text.stderr);
}

#[test]
fn a_client_certificate_stands_for_the_principal_that_names_it() {
    let (authority, dir) = (Authority::new("one"), TempDir::new());
    let server = authority.issue("server");
    let [by_hash, by_name, by_alternative, unknown, twice] = ["hash", "night-shift", "alternative", "unknown", "twice"]
        .map(|name| match name {
            "alternative" => authority.issue_with(name, |params| {
                params.subject_alt_names.push(rcgen::SanType::DnsName("Pipeline.example".try_into().unwrap()));
            }),
            name => authority.issue(name),
        });
    let hash = tool::sha256_of_certificate(&by_hash.certificate);
    let principals = [
        ("one", format!("sha256:{hash}"), "mode:read"),
        ("two", "cn:night-shift".to_owned(), "mode:read"),
        ("three", "dns:pipeline.example".to_owned(), "mode:read"),
        ("four", "cn:twice".to_owned(), "mode:read"),
        ("five", format!("sha256:{}", tool::sha256_of_certificate(&twice.certificate)), "mode:read"),
        ("six", "cn:server".to_owned(), "routes:reload"),
    ];
    let lines = principals.map(|(name, certificate, permission)| {
        format!("  - {{name: {name}, client_certificate: '{certificate}', permissions: ['{permission}']}}\n")
    });
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{}", lines.concat()));
    let gateway = with_principals(&server, &authority.certificate(), &access);
    for known in [&by_hash, &by_name, &by_alternative] {
        assert_eq!(status(&gateway, &authority, Some(known), &[]), 200, "{known:?}");
    }
    assert_eq!(status(&gateway, &authority, None, &[]), 401);
    assert_eq!(status(&gateway, &authority, Some(&unknown), &[]), 401);
    assert_eq!(status(&gateway, &authority, Some(&twice), &[]), 401, "it stands for two principals");
    assert_eq!(status(&gateway, &authority, Some(&server), &[]), 403, "a principal without the permission");
    // What the request says counts, not the certificate that a browser sends by itself.
    assert_eq!(status(&gateway, &authority, Some(&by_hash), &[("Authorization", "Bearer wrong")]), 401);
    // A certificate of another CA does not get past the handshake.
    let strangers = Authority::new("other");
    let stranger = strangers.issue("night-shift");
    let mut client = Connection::open(tunnel(gateway.admin, authority.client(Some(&stranger))));
    let _ = client.try_send("GET /mode HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.read_to_end(), b"");
    // The same for the commands, which need no token then.
    let (admin, ca) = (format!("localhost:{}", gateway.admin.port()), authority.certificate());
    let identity = [&by_name.certificate, &by_name.key].map(|path| path.to_str().unwrap());
    let [certificate, key] = identity;
    let arguments = ["mode", "get", "--admin", &admin, "--admin-ca", ca.to_str().unwrap()];
    let told = tool::run(&[&arguments[..], &["--admin-cert", certificate, "--admin-key", key]].concat());
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{}", told.stdout);
    // A principal that is removed is refused at once, also on a connection that is open.
    let mut open = Connection::open(tunnel(gateway.admin, authority.client(Some(&by_name))));
    let asks = http::compose(gateway.admin, "GET /mode", &[], b"");
    open.send(&asks);
    assert_eq!(open.read_reply().status, 200);
    dir.file("access.yaml", &format!("version: 1\nprincipals:\n{}", lines[..1].concat()));
    gateway.signal("HUP");
    eventually("it is gone", || {
        open.send(&asks);
        open.read_reply().status == 401
    });
}

#[test]
fn flags_that_contradict_each_other_are_told() {
    let (authority, dir) = (Authority::new("one"), TempDir::new());
    let server = authority.issue("server");
    let strange = authority.issue("strange");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let cases: [(&[&str], &str); 6] = [
        (&["--tls-cert", &text(&server.certificate)], "--tls-key"),
        (&["--tls-cert", &text(&server.certificate), "--tls-key", &text(&strange.key)], "does not belong to"),
        (&["--tls-cert", &text(&server.key), "--tls-key", &text(&server.key)], "contains no certificate"),
        (&["--tls-cert", "/nowhere.pem", "--tls-key", &text(&server.key)], "cannot read /nowhere.pem"),
        (&["--upstream", "https://localhost:1"], "--upstream-ca"),
        (&["--upstream-ca", &text(&authority.certificate())], "https://"),
    ];
    for (flags, told) in cases {
        let ended = Gateway::try_start_in(dir.path(), ([127, 0, 0, 1], 1).into(), flags);
        let (status, log) = ended.err().expect("it does not start");
        assert!(status.code() == Some(2) && log.join("\n").contains(told), "{flags:?}: {status} {log:?}");
    }
    // A socket that only this machine reaches needs no certificate.
    let socket = format!("unix:{}", dir.path().join("admin.sock").display());
    let flags = server.flags("--admin-tls");
    let ended = Gateway::try_start_in(
        dir.path(),
        ([127, 0, 0, 1], 1).into(),
        &[&words(&flags)[..], &["--admin-listen", &socket]].concat(),
    );
    assert_eq!(ended.err().expect("it does not start").0.code(), Some(2));
    drop(start(Scripted::ok().address, &server, &[]));
}
