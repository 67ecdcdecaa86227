//! A page of another site sets no mode, on neither port: browsers send what they remember along with whatever a page asks.

use serde_json::json;

use crate::support::{Gateway, Reply, Ucs, admin, request};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const CHANGE: &[u8] = br#"{"mode":"maintenance"}"#;

/// A gateway in production and the login that a browser would remember for it.
struct Rig {
    ucs: Ucs,
    gateway: Gateway,
    login: String,
}

impl Rig {
    fn new() -> Rig {
        use base64::Engine;
        let ucs = Ucs::usual();
        let gateway = Gateway::start(ucs.address, &[]);
        let pair = format!("admin:{}", gateway.token());
        let login = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
        Rig { ucs, gateway, login }
    }

    /// Set Server Mode with the right login and these headers.
    fn set(&self, headers: &[(&str, &str)]) -> Reply {
        let login: &[(&str, &str)] = &[("Authorization", &self.login)];
        request(self.gateway.data, "POST /server/mode", &[login, headers].concat(), CHANGE)
    }

    #[track_caller]
    fn nothing_moved(&self) {
        assert_eq!(admin::mode(&self.gateway)["mode"], "production");
        assert_eq!(self.ucs.asked("POST", "/server/mode").len(), 0);
    }
}

#[test]
fn a_page_of_another_site_sets_no_mode_on_the_data_port() {
    let rig = Rig::new();
    let other_port = format!("http://127.0.0.1:{}", rig.gateway.data.port() ^ 1);
    let own = format!("http://{}", rig.gateway.data);
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let foreign: &[&[(&str, &str)]] = &[
        &[("Content-Type", "text/plain"), ("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")],
        &[JSON, ("Origin", "http://evil.example")],
        &[JSON, ("Origin", "null")],
        &[JSON, ("Origin", "")],
        &[JSON, ("Origin", &other_port)],
        &[JSON, ("Origin", &own), ("Origin", "http://evil.example")],
        &[JSON, ("Sec-Fetch-Site", "cross-site")],
        &[JSON, ("Sec-Fetch-Site", "same-site")],
        &[JSON, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[form],
        &[("Content-Type", "multipart/form-data; boundary=x")],
        &[("Content-Type", "Text/Plain; charset=utf-8")],
        &[JSON, ("Content-Type", "text/plain")],
        &[form, ("Origin", &own)],
    ];
    for headers in foreign {
        let reply = rig.set(headers);
        assert_eq!((reply.status, reply.refusal()), (403, Some("cross_site")), "{headers:?}: {reply:?}");
        // Nor does the answer say whether a credential is right.
        let guess = [&[("Authorization", "Bearer wrong")], *headers].concat();
        let guess = request(rig.gateway.data, "POST /server/mode", &guess, CHANGE);
        assert_eq!((guess.status, guess.body), (403, reply.body), "{headers:?}");
    }
    rig.nothing_moved();
}

#[test]
fn programs_and_the_own_page_set_the_mode_on_the_data_port() {
    let rig = Rig::new();
    let own = format!("http://{}", rig.gateway.data);
    // The gateway goes by any name on the data port: the page's own is the one that it was called by.
    let named = [JSON, ("Host", "ucs.example"), ("Origin", "http://ucs.example"), ("Sec-Fetch-Site", "same-origin")];
    let fine: &[&[(&str, &str)]] = &[
        &[JSON],
        &[("Content-Type", "application/json; charset=utf-8")],
        &[],
        &[JSON, ("Origin", &own)],
        &[JSON, ("Sec-Fetch-Site", "none")],
        &named,
    ];
    for headers in fine {
        let reply = rig.set(headers);
        assert_eq!(reply.status, 200, "{headers:?}: {reply:?}");
    }
}

#[test]
fn a_page_of_another_site_changes_nothing_on_the_admin_port() {
    let rig = Rig::new();
    let token = format!("Bearer {}", rig.gateway.token());
    for site in ["cross-site", "same-site"] {
        for line in ["PUT /mode", "POST /routes/reload"] {
            let headers = [("Authorization", &*token), JSON, ("Sec-Fetch-Site", site)];
            let reply = request(rig.gateway.admin, line, &headers, if line.starts_with("PUT") { CHANGE } else { b"" });
            assert_eq!((reply.status, &reply.json()["reason"]), (403, &json!("cross_site")), "{line} {site}");
        }
        let link = request(rig.gateway.admin, "GET /", &[("Sec-Fetch-Site", site)], b"");
        assert_eq!(link.status, 200, "a link to the page may stand anywhere");
    }
    rig.nothing_moved();
}

#[test]
fn two_credentials_are_none_on_either_port() {
    let rig = Rig::new();
    let token = format!("Bearer {}", rig.gateway.token());
    for pair in [[&*token, "Bearer wrong"], ["Bearer wrong", &*token], [&*token, &*token]] {
        let headers = [("Authorization", pair[0]), ("Authorization", pair[1]), JSON];
        let data = request(rig.gateway.data, "POST /server/mode", &headers, CHANGE);
        assert_eq!((data.status, data.refusal()), (401, Some("unauthorized")), "{data:?}");
        let admin = request(rig.gateway.admin, "PUT /mode", &headers, CHANGE);
        assert_eq!((admin.status, &admin.json()["reason"]), (401, &json!("unauthorized")), "{admin:?}");
    }
    rig.nothing_moved();
}
