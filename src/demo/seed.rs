//! Example data with known ids, so that a printed command line has something to show. Only the `demo` command and
//! tests use it.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde_json::Value;

use super::kinds::{
    CUSTOMER, IDENTIFICATION_KEY, INTERACTION, Kind, PROFILE_EXTENSION, SERVICE, SERVICE_EXTENSION, STATE, TASK,
};
use super::stand_in::StandIn;

/// The resources, by the path of their kind.
const RESOURCES: &str = include_str!("seed.json");

/// The contents of interaction `seeded-1`, with their types.
const CONTENTS: [(&str, &str, &[u8]); 3] = [
    ("plain_text", "text/plain;charset=UTF-8", b"Why is my bill green?"),
    ("structured_text", "text/html;charset=UTF-8", b"<p>Why is my bill <b>green</b>?</p>"),
    ("binary_content", "application/octet-stream", b"\x89example\r\n\0"),
];

impl StandIn {
    /// Adds two customers (`00000SEEDED00001`, `00000SEEDED00002`), services 1 (of the first customer, with state 2 and
    /// task 3) and 4 (anonymous, contact key `408-832-7799`), interaction `seeded-1`, the profile extension schema `Phone`,
    /// the service extension schema `feedback`, and identification key `idEmail`.
    pub fn seed(&self) {
        let kinds: [&'static Kind; 8] = [
            &CUSTOMER,
            &SERVICE,
            &STATE,
            &TASK,
            &PROFILE_EXTENSION,
            &SERVICE_EXTENSION,
            &IDENTIFICATION_KEY,
            &INTERACTION,
        ];
        let mut resources: BTreeMap<&str, Vec<Value>> = serde_json::from_str(RESOURCES).expect("lists by path");
        let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds {
            for resource in resources.remove(kind.path).unwrap_or_default() {
                store.insert(kind, kind.parent.and_then(|parent| parent.key("1")), resource);
            }
        }
        store.contents.extend(CONTENTS.map(|(name, content_type, bytes)| (("seeded-1", name), (content_type, bytes))));
    }
}
