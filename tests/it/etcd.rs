//! The store of a fleet against real etcd: one contract for it and for the file store, two versions, every way to reach and
//! to authenticate, and what etcd, the network and its operators do to a client.

/// What both stores promise, in each configuration.
mod contract;

/// The commands of a fleet.
mod commands;

/// Members, links and tokens that fail.
mod faults;

/// Writes whose outcome nobody knows.
mod late_writes;

use std::collections::BTreeMap;

use ucs_gateway::control::store::etcd::{Commit, Contents, EtcdStore, SharedError};

/// Replaces the value of a key, whatever it was.
pub async fn overwrite(store: &EtcdStore, key: &str, value: &str) -> i64 {
    loop {
        let token = token_of(&read(store).await, key);
        match store.commit(put(key, token, value)).await {
            Ok(token) => return token,
            Err(SharedError::Conflict) => {}
            Err(error) => panic!("cannot write {key}: {error}"),
        }
    }
}

pub async fn read(store: &EtcdStore) -> Contents {
    store.read(Vec::new()).await.unwrap()
}

pub fn token_of(contents: &Contents, key: &str) -> i64 {
    contents.values.get(key).map_or(0, |value| value.token)
}

/// Key and value as text.
pub fn texts(contents: &Contents) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    contents.values.iter().map(|(key, value)| (key.clone(), text(&value.bytes))).collect()
}

/// A write of one key that compares its token.
pub fn put(key: &str, token: i64, value: &str) -> Commit {
    let put = vec![(key.to_owned(), value.as_bytes().to_vec())];
    Commit { compare: vec![(key.to_owned(), token)], put, delete: Vec::new() }
}
