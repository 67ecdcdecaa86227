//! Refusals by the mode come by the thousand, and for one operation they differ in the path alone: each page is made once for
//! an operation and a mode, and cut where the path belongs. It decides nothing.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use super::page::{Page, RequestSummary};
use crate::gate::Published;
use crate::policy::table::RouteIndex;

/// Stands where the path belongs. JSON does not escape this character, and neither paths that were classified nor anything
/// that a table says holds it.
const MARK: &str = "\u{7f}";

/// The pages of one table's operations while one record is in force.
#[derive(Debug, Default)]
pub struct RefusalCache(RefCell<Option<CachedPages>>);

/// Which page is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The record in force.
    pub published: &'a Arc<Published>,
    /// The table's generation.
    pub generation: u32,
    /// How many routes the table has.
    pub routes: usize,
    /// The route.
    pub index: RouteIndex,
}

#[derive(Debug)]
struct CachedPages {
    published: Arc<Published>,
    generation: u32,
    /// By route.
    pages: Vec<Option<Template>>,
}

/// The page of an operation for one method.
#[derive(Debug)]
struct Template {
    method: Method,
    lines: Vec<u8>,
    /// What stands before, between and behind the paths.
    pieces: Vec<Box<[u8]>>,
}

impl RefusalCache {
    /// Has `with` use the field lines and the body of the page, which `make` makes when it is not there.
    pub(crate) fn with_page<T>(
        &self,
        key: Key<'_>,
        about: RequestSummary<'_>,
        make: impl FnOnce(RequestSummary<'_>) -> Page,
        with: impl FnOnce(&[u8], Bytes) -> T,
    ) -> T {
        let mut cached = self.0.borrow_mut();
        let cached = match &mut *cached {
            Some(cached) if cached.is_of(key) => cached,
            old => old.insert(CachedPages::new(key)),
        };
        let page = match &mut cached.pages[key.index as usize] {
            Some(page) if page.method == *about.method => page,
            other => other.insert(Template::new(about.method, make(RequestSummary { path: MARK, ..about }))),
        };
        with(&page.lines, page.content(about.path))
    }
}

impl CachedPages {
    fn new(key: Key<'_>) -> CachedPages {
        let pages = (0..key.routes).map(|_| None).collect();
        CachedPages { published: Arc::clone(key.published), generation: key.generation, pages }
    }

    fn is_of(&self, key: Key<'_>) -> bool {
        Arc::ptr_eq(&self.published, key.published) && self.generation == key.generation
    }
}

impl Template {
    fn new(method: &Method, page: Page) -> Template {
        let Page { lines, content } = page;
        let pieces = content.split(|&byte| byte == MARK.as_bytes()[0]).map(Box::from).collect();
        Template { method: method.clone(), lines, pieces }
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
