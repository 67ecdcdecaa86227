//! Refusals by the mode come by the thousand, and for one operation they differ in the path alone: what they say is made once
//! for each operation and mode, by the function that makes all refusals, and cut where the path belongs. It decides nothing.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use super::account::Account;
use super::error::Refusal;
use super::reply::{self, About, Reply};
use super::respond::Found;
use crate::gate::Published;
use crate::policy::table::RouteTable;

/// Stands where the path belongs. JSON does not escape this character, and neither paths that were classified nor anything
/// that a table says holds it.
const MARK: &str = "\u{7f}";

/// What the operations of one table say while one record is in force.
#[derive(Debug, Default)]
pub struct Pages(RefCell<Option<Set>>);

#[derive(Debug)]
struct Set {
    published: Arc<Published>,
    generation: u32,
    /// By route.
    pages: Vec<Option<Cut>>,
}

/// What an operation says to one method.
#[derive(Debug)]
struct Cut {
    method: Method,
    lines: Vec<u8>,
    /// What stands before, between and behind the paths.
    pieces: Vec<Box<[u8]>>,
}

impl Pages {
    /// The answer to a request that the mode refuses, which `found` takes.
    pub fn refuse(&self, refusal: &Refusal, found: &Found, about: About<'_>, account: Account) -> Box<Reply> {
        let table = found.table.table();
        let (Refusal::Mode(published), Some(index)) = (refusal, found.index) else {
            return reply::refuse(refusal, about, table, account);
        };
        let mut set = self.0.borrow_mut();
        let set = match &mut *set {
            Some(set) if set.is_of(published, found) => set,
            old => old.insert(Set::new(published, found)),
        };
        let page = &mut set.pages[index as usize];
        let page = match page {
            Some(page) if page.method == *about.method => page,
            other => other.insert(Cut::new(refusal, about, table)),
        };
        reply::refuse_with(refusal, &page.lines, page.content(about.path), account)
    }
}

impl Set {
    fn new(published: &Arc<Published>, found: &Found) -> Set {
        let pages = found.table.table().routes.iter().map(|_| None).collect();
        Set { published: Arc::clone(published), generation: found.table.generation(), pages }
    }

    fn is_of(&self, published: &Arc<Published>, found: &Found) -> bool {
        Arc::ptr_eq(&self.published, published) && self.generation == found.table.generation()
    }
}

impl Cut {
    fn new(refusal: &Refusal, about: About<'_>, table: &RouteTable) -> Cut {
        let reply::Page { lines, content } = reply::page(refusal, About { path: MARK, ..about }, table);
        let pieces = content.split(|&byte| byte == MARK.as_bytes()[0]).map(Box::from).collect();
        Cut { method: about.method.clone(), lines, pieces }
    }

    fn content(&self, path: &str) -> Bytes {
        let paths = path.len() * (self.pieces.len() - 1);
        let mut content = Vec::with_capacity(self.pieces.iter().map(|piece| piece.len()).sum::<usize>() + paths);
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 {
                content.extend_from_slice(path.as_bytes());
            }
            content.extend_from_slice(piece);
        }
        Bytes::from(content)
    }
}
