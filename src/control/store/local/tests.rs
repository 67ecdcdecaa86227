//! The lock, the marker and the facts.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::control::tests::support::Folder;

#[test]
fn a_second_process_is_refused_and_the_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.path().join("state");
    let _dir = LocalDir::open(&path).unwrap();
    let error = LocalDir::open(&path).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn the_clean_mark_counts_once() {
    let folder = Folder::new();
    let mut dir = LocalDir::open(folder.path()).unwrap();
    assert!(!dir.load().unwrap().clean);
    dir.mark_clean_shutdown().unwrap();
    assert!(dir.load().unwrap().clean);
    assert!(!dir.load().unwrap().clean);
}

#[test]
fn facts_are_remembered() {
    let folder = Folder::new();
    let mut dir = LocalDir::open(folder.path()).unwrap();
    assert_eq!(dir.load().unwrap().schema_path_answered, None);
    dir.remember(&Fact::SchemaPathAnswered("/cv/metadata".to_owned())).unwrap();
    assert_eq!(dir.load().unwrap().schema_path_answered.as_deref(), Some("/cv/metadata"));
}
