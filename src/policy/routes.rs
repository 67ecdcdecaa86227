//! The route table: compiled once, read by every request, never changed. The first listed match wins. It reads no YAML.

use std::sync::Arc;

use crate::policy::mode::ModeSet;
use crate::policy::path::CanonicalPath;

/// The place of a route in its table, in the order of the file.
pub type RouteIndex = u32;

/// The name of a class, e.g. `schema`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// As written in `classes`.
    pub name: Arc<str>,
    /// The modes that admit its routes unless a route says otherwise.
    pub modes: ModeSet,
}

/// Which methods a route takes. A GET route also takes HEAD; OPTIONS takes the first listed route of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMethod {
    /// Every method.
    Any,
    /// This one, upper case.
    Only(Arc<str>),
}

/// What a route's path must look like. Relative to the table's `base_path`; the whole path must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `/profiles/{customer_id}`: a name in braces stands for one segment that is not empty.
    Template(Arc<str>),
    /// A regular expression over the whole path, anchored by construction.
    Regex(Arc<str>),
}

/// Answers that the gateway gives itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Set Server Mode.
    SetMode,
    /// Query Server Status: UCS's own document with the authoritative mode.
    Status,
}

/// One operation of UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in UCS's documentation.
    pub operation: Arc<str>,
    /// UCS document id, e.g. `CV.WS.PROF.1`.
    pub id: Option<Arc<str>>,
    /// The methods it takes.
    pub method: RouteMethod,
    /// The paths it takes.
    pub pattern: Pattern,
    /// Index into [`RouteTable::classes`].
    pub class: usize,
    /// The modes that admit it.
    pub modes: ModeSet,
    /// Set when the gateway answers by itself.
    pub answer: Option<Answer>,
    /// Whether UCS answers 404 to it when no profile schema is defined.
    pub needs_profile_schema: bool,
    /// Line in the file where the route begins, from 1.
    pub line: usize,
}

/// What happens to a request that no route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Answered with 404.
    NotFound,
    /// Forwarded, and gated as this class (index into [`RouteTable::classes`]).
    Class(usize),
}

/// A body that replaces a problem document, for clients that expect UCS's own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerTemplate {
    /// Sent as `Content-Type`.
    pub content_type: Arc<str>,
    /// Text with `{operation} {method} {path} {mode} {status} {detail} {reason} {revision} {class}`, each filled in as a JSON string's inside.
    pub body: Arc<str>,
}

/// Everything that one file says, checked and compiled.
#[derive(Debug)]
pub struct RouteTable {
    /// Prefix of every path, without a trailing slash; empty for none.
    pub base_path: Arc<str>,
    /// Classes in the order of the file.
    pub classes: Vec<Class>,
    /// Routes in the order of the file.
    pub routes: Vec<Route>,
    /// What happens to the rest.
    pub unmatched: Unmatched,
    /// Bodies by reason (`mode`, `no_profile_schema`, `unmatched`, …), in place of problem documents.
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
    matcher: Matcher,
}

#[derive(Debug)]
struct Matcher;

/// What a table is compiled from.
#[derive(Clone, Debug)]
pub struct RouteTableParts {
    /// See [`RouteTable::base_path`].
    pub base_path: Arc<str>,
    /// See [`RouteTable::classes`].
    pub classes: Vec<Class>,
    /// See [`RouteTable::routes`].
    pub routes: Vec<Route>,
    /// See [`RouteTable::unmatched`].
    pub unmatched: Unmatched,
    /// See [`RouteTable::answers`].
    pub answers: Vec<(Arc<str>, AnswerTemplate)>,
}

/// Why a table cannot be compiled.
#[derive(Clone, Debug)]
pub struct TableFault;

impl RouteTable {
    /// Stub.
    pub fn compile(parts: RouteTableParts) -> Result<RouteTable, Vec<TableFault>> {
        let RouteTableParts { base_path, classes, routes, unmatched, answers } = parts;
        Ok(RouteTable { base_path, classes, routes, unmatched, answers, matcher: Matcher })
    }

    /// The first listed route that takes `method` on `path`; `None` when no route does. One pass over the path, no
    /// backtracking, independent of the number of routes for all practical purposes.
    pub fn classify(&self, method: &str, path: &CanonicalPath<'_>) -> Option<RouteIndex> {
        let _ = (method, path, &self.matcher);
        None
    }
}
