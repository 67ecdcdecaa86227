//! `certificate new`, and `demo --tls`, which uses one.

use std::os::unix::fs::PermissionsExt;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::tls::{trusting, tunnel};
use crate::support::tool::{Running, run};
use crate::support::{Gateway, Scripted, TempDir, request};

#[test]
fn a_certificate_to_try_out_serves_and_is_never_overwritten() {
    let dir = TempDir::new();
    let place = dir.path().join("new");
    let arguments = ["certificate", "new", "--dir", place.to_str().unwrap()];
    let made = run(&arguments);
    assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
    let [ca, certificate, key] = ["ca.pem", "gateway.pem", "gateway.key"].map(|name| place.join(name));
    assert_eq!(key.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let flags = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let upstream = Scripted::ok();
    let gateway = Gateway::bare(upstream.address, &flags);
    let address = tunnel(gateway.data, trusting(&[CertificateDer::from_pem_file(&ca).unwrap()]));
    assert_eq!(request(address, "GET /profiles", &[], b"").text(), "ok");
    let before = std::fs::read(&key).unwrap();
    let again = run(&arguments);
    assert!(
        again.code == Some(1) && again.stderr.contains("ca.pem") && again.stderr.contains("another --dir"),
        "{again:?}"
    );
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let wrong = run(&["certificate", "new", "--dir", dir.path().join("x").to_str().unwrap(), "--name", "ümlaut"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("host name"), "{wrong:?}");
}

#[test]
fn the_demo_encrypts_both_ports_on_request() {
    let flags = ["demo", "--tls", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let mut demo = Running::start(&flags);
    let data = demo.line_with("clients of UCS");
    let admin = demo.line_with("operators");
    let ca = demo.line_with("CURL_CA_BUNDLE=");
    let ca = CertificateDer::from_pem_file(ca.split('=').nth(1).unwrap().trim()).unwrap();
    for (line, target) in [(data, "GET /profiles?LastName=Lovelace"), (admin, "GET /livez")] {
        let address = line.split("https://").nth(1).unwrap().split(['/', ' ']).next().unwrap().trim().parse().unwrap();
        assert_eq!(
            request(tunnel(address, trusting(std::slice::from_ref(&ca))), target, &[], b"").status,
            200,
            "{line}"
        );
    }
    demo.signal("TERM");
    assert_eq!(demo.ended().code, Some(0));
}
