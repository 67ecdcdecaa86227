//! The handling of one request, explained: its canonical path, the route that takes it, the later routes that also
//! match, and the result in each mode. It asks the compiled table, and reads neither counts nor the current mode.

use serde::Serialize;

use crate::policy::mode::{Mode, ModeSet};
use crate::policy::path::CanonicalPath;
use crate::policy::table::{NoRoute, Route, RouteAnswer, RouteTable, Unmatched};

/// The explanation of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub(crate) method: String,
    pub(crate) path: String,
    /// The canonical path, which is also the one that is forwarded; absent when the path is refused.
    pub(crate) canonical_path: Option<String>,
    /// The route that takes the request.
    pub(crate) route: Option<RouteView>,
    /// Later routes that also match, but lose because the first listed match wins.
    pub(crate) shadowed: Vec<RouteView>,
    pub(crate) production: Handling,
    pub(crate) maintenance: Handling,
    /// The handling while a flip is under way.
    pub(crate) switching: Handling,
}

/// A route as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RouteView {
    /// Its name in the UCS documentation.
    pub(crate) operation: String,
    /// UCS document ID.
    pub(crate) id: Option<String>,
    /// The method it takes; `ANY` for all.
    pub(crate) method: String,
    /// Its template or regular expression, with the base path in front.
    pub(crate) pattern: String,
    pub(crate) class: String,
    pub(crate) modes: Vec<Mode>,
    /// `set_mode` or `status` when the gateway responds in place of UCS.
    pub(crate) answer: Option<&'static str>,
    /// Whether it is refused with 404 when UCS has no profile schema.
    pub(crate) needs_profile_schema: bool,
    /// Line in the file, from 1.
    pub(crate) line: usize,
}

/// The handling of the request in one mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Handling {
    /// `forwarded`, `answered` (by the gateway) or `refused`.
    pub(crate) verdict: &'static str,
    /// The status of the gateway's own response; absent when UCS decides.
    pub(crate) status: Option<u16>,
    /// The reason in the gateway's response, e.g. `mode`.
    pub(crate) reason: Option<String>,
    /// The same in a sentence.
    pub(crate) detail: String,
}

/// Explains the handling of `method` on `raw_path` (without its query) by `table`.
pub fn explain(table: &RouteTable, method: &str, raw_path: &str) -> Explanation {
    let unrouted = |canonical_path: Option<String>, handling: &dyn Fn(Option<Mode>) -> Handling| Explanation {
        method: method.to_owned(),
        path: raw_path.to_owned(),
        canonical_path,
        route: None,
        shadowed: Vec::new(),
        production: handling(Some(Mode::Production)),
        maintenance: handling(Some(Mode::Maintenance)),
        switching: handling(None),
    };
    let path = match CanonicalPath::parse(raw_path.as_bytes()) {
        Ok(path) => path,
        Err(refusal) => return unrouted(None, &|_| refused(400, refusal.reason(), refusal.to_string())),
    };
    let canonical = Some(path.as_str().to_owned());
    let Some(index) = table.classify(method, &path) else {
        let no_route = table.no_route(method, &path);
        return unrouted(canonical, &|mode| unmatched_handling(table, &no_route, mode));
    };
    let route = &table.routes[index as usize];
    let later = table.matches(method, &path).into_iter().filter(|later| *later > index);
    Explanation {
        route: Some(view(table, route)),
        shadowed: later.map(|later| view(table, &table.routes[later as usize])).collect(),
        ..unrouted(canonical, &|mode| route_handling(route, method, mode))
    }
}

/// `route` as operators see it.
pub(crate) fn view(table: &RouteTable, route: &Route) -> RouteView {
    RouteView {
        operation: route.operation.to_string(),
        id: route.id.as_deref().map(str::to_owned),
        method: route.method.as_str().to_owned(),
        pattern: format!("{}{}", table.base_path, route.pattern.as_str()),
        class: table.classes[route.class].name.to_string(),
        modes: modes(route.modes),
        answer: route.answer.map(RouteAnswer::as_str),
        needs_profile_schema: route.needs_profile_schema,
        line: route.line,
    }
}

/// The modes of a set, production first.
pub(crate) fn modes(set: ModeSet) -> Vec<Mode> {
    [Mode::Production, Mode::Maintenance].into_iter().filter(|mode| set.admits(*mode)).collect()
}

/// The same in words: `production and maintenance`.
pub(crate) fn modes_in_words(set: ModeSet) -> String {
    modes(set).into_iter().map(Mode::as_str).collect::<Vec<_>>().join(" and ")
}

/// `mode` is `None` while switching, here and below.
fn unmatched_handling(table: &RouteTable, no_route: &NoRoute, mode: Option<Mode>) -> Handling {
    match table.unmatched {
        Unmatched::NotFound => {
            let status = match no_route {
                NoRoute::Path => 404,
                NoRoute::Method { .. } => 405,
                NoRoute::UnknownMethod => 501,
            };
            refused(status, no_route.reason(), format!("{no_route}, and `unmatched` is not_found"))
        }
        Unmatched::Class(class) => {
            let class = &table.classes[class];
            by_mode(
                class.modes,
                mode,
                &format!("no route matches; class {}, which covers unmatched requests,", class.name),
            )
        }
    }
}

fn route_handling(route: &Route, method: &str, mode: Option<Mode>) -> Handling {
    let mut handling = by_mode(route.modes, mode, &route.operation);
    if handling.verdict != "forwarded" {
        return handling;
    }
    let detail = match route.answer_to(method) {
        Some(RouteAnswer::SetMode) => {
            "the gateway authorises the caller and flips the mode; 503 while another flip is under way"
        }
        Some(RouteAnswer::Status) => "the gateway responds with UCS's own document and the authoritative mode",
        None => {
            if route.needs_profile_schema && mode == Some(Mode::Production) {
                handling.detail.push_str("; refused with 404 (no_profile_schema) while UCS has no profile schema");
            }
            return handling;
        }
    };
    Handling { verdict: "answered", status: None, reason: None, detail: detail.to_owned() }
}

fn by_mode(set: ModeSet, mode: Option<Mode>, subject: &str) -> Handling {
    let admitted = match mode {
        Some(mode) => set.admits(mode),
        None => set == ModeSet::Both,
    };
    let open = modes_in_words(set);
    match (admitted, mode) {
        (true, _) => {
            let detail = format!("{subject} is open in {open}");
            Handling { verdict: "forwarded", status: None, reason: None, detail }
        }
        (false, Some(_)) => refused(503, "mode", format!("{subject} is open in {open} only")),
        (false, None) => {
            let detail = format!("{subject} is open in {open} only, and is refused until the flip settles");
            refused(503, "switching", detail)
        }
    }
}

fn refused(status: u16, reason: &str, detail: String) -> Handling {
    Handling { verdict: "refused", status: Some(status), reason: Some(reason.to_owned()), detail }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::table::{Class, Pattern, RouteMethod, RouteTableParts};

    fn route(operation: &str, method: &str, pattern: Pattern, class: usize, modes: ModeSet, line: usize) -> Route {
        Route {
            operation: operation.into(),
            id: None,
            method: RouteMethod::Only(method.into()),
            pattern,
            class,
            modes,
            answer: None,
            needs_profile_schema: operation == "Get profile",
            line,
        }
    }

    fn table(unmatched: Unmatched) -> RouteTable {
        let class = |name: &str, modes| Class { name: Arc::from(name), modes };
        let template = |text: &str| Pattern::Template(text.into());
        RouteTable::compile(RouteTableParts {
            base_path: "/cs".into(),
            classes: vec![class("profile", ModeSet::Production), class("schema", ModeSet::Maintenance)],
            routes: vec![
                route("Get profile", "GET", template("/profiles/{id}"), 0, ModeSet::Production, 10),
                route("Any read", "GET", Pattern::Regex("/profiles/[^/]+".into()), 0, ModeSet::Both, 20),
                route("Create schema", "POST", template("/metadata/profiles"), 1, ModeSet::Maintenance, 30),
                Route {
                    answer: Some(RouteAnswer::SetMode),
                    ..route("Set Server Mode", "POST", template("/server/mode"), 1, ModeSet::Both, 40)
                },
                route("Any object", "GET", template("/{kind}/{id}"), 0, ModeSet::Both, 50),
                route("Verbose", "GET", Pattern::Regex("(?x) /profiles /.+ # why".into()), 0, ModeSet::Both, 60),
            ],
            unmatched,
            answers: Vec::new(),
        })
        .unwrap()
    }

    #[test]
    fn names_the_winner_and_those_that_lose() {
        let explanation = explain(&table(Unmatched::NotFound), "GET", "/cs/profiles/7");
        assert_eq!(explanation.route.unwrap().operation, "Get profile");
        assert_eq!(explanation.shadowed.iter().map(|route| route.line).collect::<Vec<_>>(), [20, 50, 60]);
        assert_eq!(explanation.production.verdict, "forwarded");
        assert!(explanation.production.detail.contains("no_profile_schema"), "{}", explanation.production.detail);
        assert_eq!((explanation.maintenance.status, explanation.switching.status), (Some(503), Some(503)));
        assert_eq!(explanation.maintenance.reason.as_deref(), Some("mode"));
        assert_eq!(explanation.switching.reason.as_deref(), Some("switching"));
    }

    #[test]
    fn shadowed_routes_are_those_that_the_compiled_table_matches() {
        let table = table(Unmatched::NotFound);
        for path in ["/cs/profiles/7", "/cs/profiles/7/"] {
            let shadowed = explain(&table, "GET", path).shadowed;
            assert_eq!(shadowed.iter().map(|route| route.line).collect::<Vec<_>>(), [20, 50, 60], "{path}");
        }
    }

    #[test]
    fn a_route_that_the_gateway_answers_is_answered_in_every_phase() {
        let explanation = explain(&table(Unmatched::NotFound), "POST", "/cs/server/mode");
        for handling in [explanation.production, explanation.maintenance, explanation.switching] {
            assert_eq!(handling.verdict, "answered");
        }
        let asked = explain(&table(Unmatched::NotFound), "OPTIONS", "/cs/server/mode");
        assert_eq!((asked.production.verdict, asked.switching.verdict), ("forwarded", "forwarded"));
    }

    #[test]
    fn unmatched_requests_follow_the_table() {
        let missing = explain(&table(Unmatched::NotFound), "GET", "/cs/nothing");
        assert_eq!((missing.production.status, missing.maintenance.status), (Some(404), Some(404)));
        let other = explain(&table(Unmatched::NotFound), "DELETE", "/cs/server/mode");
        assert_eq!((other.production.status, other.switching.status), (Some(405), Some(405)));
        assert!(other.production.detail.contains("POST"), "{}", other.production.detail);
        let unknown = explain(&table(Unmatched::NotFound), "BREW", "/cs/nothing");
        assert_eq!((unknown.production.status, unknown.switching.status), (Some(501), Some(501)));
        let gated = explain(&table(Unmatched::Class(1)), "GET", "/cs/nothing");
        assert_eq!((gated.production.verdict, gated.maintenance.verdict), ("refused", "forwarded"));
        assert_eq!(gated.switching.verdict, "refused");
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused_in_both_modes() {
        let explanation = explain(&table(Unmatched::NotFound), "GET", "/cs/metadata/..%2fprofiles");
        assert_eq!(explanation.canonical_path, None);
        assert_eq!(explanation.production.status, Some(400));
        assert_eq!(explanation.maintenance, explanation.production);
    }
}
