//! The web page: a static document with inline style and script, which its policy allows by their hashes alone. The script
//! fetches its data from the admin API with the token that the operator enters.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use sha2::{Digest, Sha256};

use super::response::{self, AdminResponse};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");

/// One script in several files, in this order, within one function.
const SCRIPT: &str = concat!(
    "\"use strict\";\n(() => {\n",
    include_str!("page/api.js"),
    include_str!("page/state.js"),
    include_str!("page/traffic.js"),
    include_str!("page/flip.js"),
    include_str!("page/routes.js"),
    include_str!("page/main.js"),
    "})();\n"
);

struct Page {
    document: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE),
    );
    let document = HTML.replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    Page { document, policy }
});

pub(super) fn page() -> AdminResponse {
    let mut response = response::whole(StatusCode::OK, "text/html; charset=utf-8", PAGE.document.as_str());
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&PAGE.policy) {
        headers.insert("content-security-policy", policy);
    }
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    response
}
