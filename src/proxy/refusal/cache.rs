//! Caches the pages of refusals by the mode. They are frequent, and for one operation they differ only in the path: each page is
//! made once for an operation and a mode, and split at the path. It decides nothing.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;

use super::page::Page;
use crate::gate::Published;
use crate::http1::RequestHead;
use crate::policy::table::RouteIndex;

/// The placeholder of the path. JSON does not escape this character, and neither classified paths nor route tables contain it.
const MARK: &str = "\u{7f}";

/// The cached pages of one table's operations, for one mode record.
#[derive(Debug, Default)]
pub(crate) struct RefusalCache(RefCell<Option<CachedPages>>);

/// The key of a cached page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    /// The mode record in force.
    pub(crate) published: &'a Arc<Published>,
    /// The table's generation.
    pub(crate) generation: u32,
    /// How many routes the table has.
    pub(crate) routes: usize,
    pub(crate) index: RouteIndex,
}

#[derive(Debug)]
struct CachedPages {
    published: Arc<Published>,
    generation: u32,
    /// By route.
    pages: Vec<Option<Template>>,
}

/// The page of an operation for one method, without the path.
#[derive(Debug)]
struct Template {
    method: Method,
    lines: Vec<u8>,
    /// The pieces before, between and after the paths.
    pieces: Vec<Box<[u8]>>,
}

impl RefusalCache {
    /// Calls `with` with the field lines and the body of the page for this request; `make` makes a page for a path, if none is
    /// cached.
    pub(crate) fn with_page<T>(
        &self,
        key: Key<'_>,
        head: &RequestHead,
        make: impl FnOnce(&str) -> Page,
        with: impl FnOnce(&[u8], Bytes) -> T,
    ) -> T {
        let mut cached = self.0.borrow_mut();
        let cached = match &mut *cached {
            Some(cached) if cached.is_of(key) => cached,
            old => old.insert(CachedPages::new(key)),
        };
        let page = match &mut cached.pages[key.index as usize] {
            Some(page) if page.method == head.method => page,
            other => other.insert(Template::new(&head.method, make(MARK))),
        };
        with(&page.lines, page.content(head.path()))
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

    fn content(&self, path: &[u8]) -> Bytes {
        let paths = path.len() * (self.pieces.len() - 1);
        let mut content = Vec::with_capacity(self.pieces.iter().map(|piece| piece.len()).sum::<usize>() + paths);
        for (number, piece) in self.pieces.iter().enumerate() {
            if number > 0 {
                content.extend_from_slice(path);
            }
            content.extend_from_slice(piece);
        }
        Bytes::from(content)
    }
}
