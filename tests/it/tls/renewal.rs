//! Certificates that are replaced under the running gateway, in every way that files are swapped.

use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::date_time_ymd;
use rustls::{ClientConnection, StreamOwned};
use serde_json::json;

use super::start;
use crate::support::tls::{Authority, Identity, tunnel};
use crate::support::{Connection, Gateway, PATIENCE, Scripted, admin, eventually, request};

/// The serial number of the certificate that the data port shows now.
fn shown(gateway: &Gateway, authority: &Authority) -> Option<u64> {
    let socket = TcpStream::connect(gateway.data).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let session = ClientConnection::new(authority.client(None), "localhost".try_into().unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    stream.conn.complete_io(&mut stream.sock).ok()?;
    let chain = stream.conn.peer_certificates()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&chain[0]).ok()?;
    certificate.serial.to_u64_digits().first().copied()
}

fn copy(from: &Identity, to: &Identity) {
    std::fs::copy(&from.certificate, &to.certificate).unwrap();
    std::fs::copy(&from.key, &to.key).unwrap();
}

fn fault(gateway: &Gateway) -> String {
    request(gateway.admin, "GET /readyz", &[], b"").json()["file_faults"]["data_certificate"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn every_way_to_swap_the_files_is_seen() {
    let authority = Authority::new("one");
    let dir = authority.dir().path();
    let links = Identity { certificate: dir.join("mount/tls.crt"), key: dir.join("mount/tls.key"), serial: 0 };
    // As Kubernetes mounts a secret: the files are links into a folder, which is itself a link.
    let place = |version: &str, identity: &Identity| {
        let folder = dir.join("volume").join(version);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&identity.certificate, folder.join("tls.crt")).unwrap();
        std::fs::copy(&identity.key, folder.join("tls.key")).unwrap();
        symlink(&folder, dir.join("volume/next")).unwrap();
        std::fs::rename(dir.join("volume/next"), dir.join("volume/data")).unwrap();
    };
    let [first, second, third, fourth] = ["a", "b", "c", "d"].map(|name| authority.issue(name));
    place("1", &first);
    std::fs::create_dir(dir.join("volume/mount")).unwrap();
    symlink("../data/tls.crt", dir.join("volume/mount/tls.crt")).unwrap();
    symlink("../data/tls.key", dir.join("volume/mount/tls.key")).unwrap();
    symlink("volume/mount", dir.join("mount")).unwrap();
    let gateway = start(Scripted::ok().address, &links, &[]);
    assert_eq!(shown(&gateway, &authority), Some(first.serial));
    place("2", &second);
    eventually("the folder was swapped", || shown(&gateway, &authority) == Some(second.serial));
    copy(&third, &links);
    eventually("the files were written in place", || shown(&gateway, &authority) == Some(third.serial));
    // The certificate first, and the key only once the gateway has tried the pair.
    std::fs::copy(&fourth.certificate, &links.certificate).unwrap();
    eventually("the pair does not fit", || fault(&gateway).contains("does not belong to"));
    assert_eq!(shown(&gateway, &authority), Some(third.serial));
    std::fs::rename(&fourth.key, dir.join("volume/data/tls.key")).unwrap();
    eventually("the key has come", || shown(&gateway, &authority) == Some(fourth.serial));
    eventually("all is well again", || fault(&gateway).is_empty());
}

#[test]
fn a_pair_that_cannot_be_used_changes_nothing_and_is_told() {
    let authority = Authority::new("one");
    let (server, next) = (authority.issue("server"), authority.issue("next"));
    let old = authority.issue_with("old", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let gateway = start(Scripted::ok().address, &server, &[]);
    let serial = server.serial;
    let metric = || admin::metric(&gateway, r#"ucs_gateway_file_fault{file="data_certificate"}"#);
    std::fs::copy(&old.certificate, &server.certificate).unwrap();
    std::fs::copy(&old.key, &server.key).unwrap();
    eventually("it has expired", || fault(&gateway).contains("expired"));
    assert_eq!((shown(&gateway, &authority), metric()), (Some(serial), 1.0));
    std::fs::write(&server.certificate, "no certificate").unwrap();
    eventually("it is broken", || fault(&gateway).contains("contains no certificate"));
    std::fs::remove_file(&server.key).unwrap();
    eventually("the key is gone", || !fault(&gateway).is_empty());
    assert_eq!((shown(&gateway, &authority), metric()), (Some(serial), 1.0));
    let reload = admin::call(&gateway, "POST /routes/reload", Some(&json!({})));
    assert_eq!((reload.status, reload.json()["reason"].clone()), (422, json!("file_faults")), "{}", reload.text());
    copy(&next, &server);
    eventually("the next good pair", || shown(&gateway, &authority) == Some(next.serial));
    eventually("all is well", || metric() == 0.0 && fault(&gateway).is_empty());
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_an_alarm_before_it_comes() {
    let authority = Authority::new("one");
    let soon = jiff::Timestamp::now().as_second() + 2 * 24 * 60 * 60;
    let server = authority.issue_with("server", |params| {
        params.not_after = date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(soon.unsigned_abs());
    });
    let gateway = start(Scripted::ok().address, &server, &[]);
    let end =
        || admin::metric(&gateway, r#"ucs_gateway_certificate_end_timestamp_seconds{certificate="data_certificate"}"#);
    let expiring = || request(gateway.admin, "GET /readyz", &[], b"").json()["certificates_expiring"].clone();
    let stamp = jiff::Timestamp::from_second(soon).unwrap();
    assert_eq!(end(), soon as f64);
    assert_eq!(expiring(), json!({"data_certificate": stamp.to_string()}));
    eventually("the log says so", || gateway.log().contains("certificate_expiring"));
    copy(&authority.issue("server"), &server);
    eventually("it was renewed", || expiring() == json!({}));
}

#[test]
fn a_certificate_that_has_expired_is_better_than_none_at_a_start() {
    let authority = Authority::new("one");
    let old = authority.issue_with("old", |params| params.not_after = date_time_ymd(2021, 1, 1));
    let gateway = start(Scripted::ok().address, &old, &[]);
    let ready = request(gateway.admin, "GET /readyz", &[], b"").json();
    assert_eq!(ready["certificates_expiring"], json!({"data_certificate": "2021-01-01T00:00:00Z"}));
    eventually("the log says so", || gateway.log().contains("certificate_expiring"));
    // A client that verifies refuses it.
    assert_eq!(shown(&gateway, &authority), None);
    copy(&authority.issue("server"), &old);
    eventually("it was renewed", || shown(&gateway, &authority).is_some());
}

#[test]
fn swaps_under_load_fail_no_request() {
    let authority = Authority::new("one");
    let server = authority.issue("server");
    let upstream = Scripted::ok();
    let gateway = start(upstream.address, &server, &[]);
    let swaps = if std::env::var_os("UCS_GATEWAY_FULL").is_some() { 50 } else { 3 };
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let address = tunnel(gateway.data, authority.client(None));
                while !stop.load(Ordering::Relaxed) {
                    let mut client = Connection::open(address);
                    for _ in 0..5 {
                        client.send("GET /profiles HTTP/1.1\r\nHost: x\r\n\r\n");
                        assert_eq!(client.read_reply().text(), "ok");
                    }
                    served.fetch_add(5, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..swaps {
            let next = Arc::new(authority.issue("server"));
            copy(&next, &server);
            eventually("it is in force", || shown(&gateway, &authority) == Some(next.serial));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) > 0 && Path::new(&server.certificate).exists());
}
