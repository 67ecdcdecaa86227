//! The parts of a table: routes, classes, and the handling of unmatched requests. Plain data; matching is in `matcher`.

use std::sync::Arc;

use crate::policy::mode::ModeSet;

/// The position of a route in its table, in the order of the file.
pub(crate) type RouteIndex = u32;

/// A class of operations, e.g. `schema`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// As written in `classes`.
    pub name: Arc<str>,
    /// The modes that admit its routes unless a route says otherwise.
    pub modes: ModeSet,
}

/// The methods that a route takes. A GET route also takes HEAD; OPTIONS takes the first listed route of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMethod {
    /// Every method.
    Any,
    /// This one, upper case.
    Only(Arc<str>),
}

impl RouteMethod {
    /// As written in the file: `ANY` or the method.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            RouteMethod::Any => "ANY",
            RouteMethod::Only(method) => method,
        }
    }
}

/// The paths that a route takes, relative to the table's `base_path`. A pattern must match the whole path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `/profiles/{customer_id}`: a name in braces stands for one non-empty segment.
    Template(Arc<str>),
    /// A regular expression over the whole path.
    Regex(Arc<str>),
}

impl Pattern {
    /// As written in the file.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Pattern::Template(text) | Pattern::Regex(text) => text,
        }
    }
}

/// A response that the gateway itself gives to a route, in place of UCS: the key `answer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteAnswer {
    /// Set Server Mode.
    SetMode,
    /// Query Server Status: UCS's own document with the authoritative mode.
    Status,
}

impl RouteAnswer {
    /// As written in the file.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            RouteAnswer::SetMode => "set_mode",
            RouteAnswer::Status => "status",
        }
    }
}

/// One operation of UCS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name in the UCS documentation.
    pub operation: Arc<str>,
    /// UCS document ID, e.g. `CV.WS.PROF.1`.
    pub id: Option<Arc<str>>,
    /// The methods it takes.
    pub method: RouteMethod,
    /// The paths it takes.
    pub pattern: Pattern,
    /// Index into the table's classes.
    pub class: usize,
    /// The modes that admit it.
    pub modes: ModeSet,
    /// Set when the gateway responds in place of UCS.
    pub answer: Option<RouteAnswer>,
    /// Whether UCS responds with 404 to it when no profile schema is defined.
    pub needs_profile_schema: bool,
    /// Line in the file where the route begins, from 1.
    pub line: usize,
}

impl Route {
    /// Whether it creates an object in a collection that needs the profile schema, as Create Customer Profile does: a
    /// 404 to it cannot be about a missing customer.
    pub(crate) fn is_create_with_schema(&self) -> bool {
        let creates = self.method.as_str() == "POST";
        let fixed = matches!(&self.pattern, Pattern::Template(template) if !template.contains('{'));
        self.needs_profile_schema && creates && fixed
    }

    /// The gateway's own response to `method`, if any. OPTIONS only inquires about a path, so it goes to UCS: it must
    /// neither change the mode nor receive a document.
    pub(crate) fn answer_to(&self, method: &str) -> Option<RouteAnswer> {
        self.answer.filter(|_| method != "OPTIONS")
    }
}

/// The handling of requests that match no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Refused with 404.
    NotFound,
    /// Forwarded, and gated as this class (index into the table's classes).
    Class(usize),
}

/// A body that replaces a problem document, for clients that expect UCS's own format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerTemplate {
    /// Sent as `Content-Type`.
    pub(crate) content_type: Arc<str>,
    /// Text with the placeholders of docs/routes.md, each filled in as the inside of a JSON string.
    pub(crate) body: Arc<str>,
    /// More header lines of the response.
    pub(crate) headers: Vec<(Arc<str>, Arc<str>)>,
}
