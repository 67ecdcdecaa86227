//! The operations as data: one table of methods, paths, kinds of resources and work, and the search in it. It reads no
//! bodies and changes nothing.

use super::actions::{
    associate, complete, content, create_customer, delete_customer, delete_record, identify, insert_extensions, list,
    query, query_customer, replace_extension, start, transition, update_customer, update_record,
};
use super::call::{Call, Ids};
use super::extensions::{define_extension, define_key, delete, delete_extension, profile_schema};
use super::kinds::{
    BUSINESS_ATTRIBUTE, CUSTOMER, IDENTIFICATION_KEY, INTERACTION, Kind, PROFILE_EXTENSION, SERVICE, SERVICE_EXTENSION,
    STATE, STATE_EXTENSION, TASK, TASK_EXTENSION,
};
use super::mode_switch::Scope;
use super::response::{OperationResult, UcsError};
use super::store::Store;
use crate::policy::mode::ModeSet;

/// A method on a path.
pub(super) struct Operation {
    method: &'static str,
    /// A segment in braces is a placeholder: it stands for any segment.
    pub(super) path: &'static str,
    /// The kind of resource that it is about.
    pub(super) kind: &'static Kind,
    pub(super) work: Work,
}

pub(super) enum Work {
    /// Set Server Mode, which waits.
    SetMode,
    /// Query Server Status.
    Status,
    /// Bulk Profile Import, whose body is counted and not kept.
    Import,
    /// All others act on the store at once.
    Store(Act),
}

type Act = fn(&mut Store, &Call) -> OperationResult;

impl Operation {
    pub(super) fn scope(&self) -> Scope {
        match self.path {
            path if path.starts_with("/server/") => Scope::Server,
            path if path.starts_with("/metadata/") => Scope::Schema,
            _ => Scope::Data,
        }
    }

    /// Whether a profile schema must be defined.
    pub(super) fn needs_profile_schema(&self) -> bool {
        let paths = [("POST", "/profiles"), ("POST", "/profiles/import"), ("GET", "/profiles/{customer_id}")];
        paths.contains(&(self.method, self.path))
    }

    /// The modes that admit it. Every schema read is open in both: the documentation says so of most, and nothing of
    /// the others. Every schema write is for maintenance only: the general rule, although four pages tolerate
    /// production.
    pub(super) fn modes(&self) -> ModeSet {
        match (self.scope(), self.method) {
            (Scope::Server, _) | (Scope::Schema, "GET") => ModeSet::Both,
            (Scope::Schema, _) => ModeSet::Maintenance,
            (Scope::Data, _) => ModeSet::Production,
        }
    }
}

/// The operation of `method` on `path`, with the segments of the placeholders. HEAD is the operation of GET.
pub(super) fn find(method: &str, path: &[String]) -> Result<(&'static Operation, Ids), UcsError> {
    let found = OPERATIONS.iter().find_map(|operation| Some((operation.path, placeholders(operation.path, path)?)));
    let (template, ids) = found.ok_or_else(|| UcsError::not_found("resource", &format!("/{}", path.join("/"))))?;
    let here = || OPERATIONS.iter().filter(|operation| operation.path == template);
    let method = if method == "HEAD" { "GET" } else { method };
    match here().find(|operation| operation.method == method) {
        Some(operation) => Ok((operation, ids)),
        None => Err(UcsError::wrong_method(&here().map(|operation| operation.method).collect::<Vec<_>>().join(", "))),
    }
}

/// The segments of `path` that stand for the placeholders of `template`; `None` if it does not match.
fn placeholders(template: &'static str, path: &[String]) -> Option<Ids> {
    let mut ids = Ids::new();
    let mut segments = path.iter();
    for part in template.split('/').skip(1) {
        let segment = segments.next()?;
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => ids.push((name, segment.clone())),
            None if part == segment => {}
            None => return None,
        }
    }
    segments.next().is_none().then_some(ids)
}

/// All operations of UCS 8.0 and 8.1. The first path that matches decides, so words stand before the placeholders that
/// could take their place.
#[rustfmt::skip]
static OPERATIONS: &[Operation] = &[
    // CV.WS.MODE, CV.WS.STAT
    Operation { method: "POST", path: "/server/mode", kind: &CUSTOMER, work: Work::SetMode },
    Operation { method: "GET", path: "/server/status", kind: &CUSTOMER, work: Work::Status },
    // CV.WS.PROF.META.*. The path of Query Profile Schema is by analogy.
    on("GET", "/metadata/profiles", &PROFILE_EXTENSION, profile_schema),
    on("GET", "/metadata/profiles/extensions", &PROFILE_EXTENSION, list),
    on("POST", "/metadata/profiles/extensions", &PROFILE_EXTENSION, define_extension),
    on("GET", "/metadata/profiles/extensions/{name}", &PROFILE_EXTENSION, query),
    on("DELETE", "/metadata/profiles/extensions/{name}", &PROFILE_EXTENSION, delete_extension),
    on("GET", "/metadata/identification-keys", &IDENTIFICATION_KEY, list),
    on("POST", "/metadata/identification-keys", &IDENTIFICATION_KEY, define_key),
    on("GET", "/metadata/identification-keys/{name}", &IDENTIFICATION_KEY, query),
    on("DELETE", "/metadata/identification-keys/{name}", &IDENTIFICATION_KEY, delete),
    // CV.WS.SRV.META.*. The page of Query Service Extension Schema uses the first path in its example.
    on("GET", "/metadata/services", &SERVICE_EXTENSION, list),
    on("GET", "/metadata/services/extensions", &SERVICE_EXTENSION, list),
    on("POST", "/metadata/services/extensions", &SERVICE_EXTENSION, define_extension),
    on("GET", "/metadata/services/extensions/{name}", &SERVICE_EXTENSION, query),
    on("DELETE", "/metadata/services/extensions/{name}", &SERVICE_EXTENSION, delete_extension),
    on("GET", "/metadata/states/extensions", &STATE_EXTENSION, list),
    on("POST", "/metadata/states/extensions", &STATE_EXTENSION, define_extension),
    on("GET", "/metadata/states/extensions/{name}", &STATE_EXTENSION, query),
    on("DELETE", "/metadata/states/extensions/{name}", &STATE_EXTENSION, delete_extension),
    on("GET", "/metadata/tasks/extensions", &TASK_EXTENSION, list),
    on("POST", "/metadata/tasks/extensions", &TASK_EXTENSION, define_extension),
    on("GET", "/metadata/tasks/extensions/{name}", &TASK_EXTENSION, query),
    on("DELETE", "/metadata/tasks/extensions/{name}", &TASK_EXTENSION, delete_extension),
    // CV.WS.CONFIG.BA
    on("GET", "/metadata/business-attributes", &BUSINESS_ATTRIBUTE, list),
    on("GET", "/metadata/business-attributes/{name}", &BUSINESS_ATTRIBUTE, query),
    // CV.WS.CUSTID.1, CV.WS.PROF.*
    on("GET", "/profiles", &CUSTOMER, identify),
    on("POST", "/profiles", &CUSTOMER, create_customer),
    Operation { method: "POST", path: "/profiles/import", kind: &CUSTOMER, work: Work::Import },
    on("GET", "/profiles/{customer_id}", &CUSTOMER, query_customer),
    on("PUT", "/profiles/{customer_id}", &CUSTOMER, update_customer),
    on("DELETE", "/profiles/{customer_id}", &CUSTOMER, delete_customer),
    on("POST", "/profiles/{customer_id}/extensions", &CUSTOMER, insert_extensions),
    on("PUT", "/profiles/{customer_id}/extensions/{name}/by/unique", &CUSTOMER, update_record),
    on("PUT", "/profiles/{customer_id}/extensions/{name}/delete/by/unique", &CUSTOMER, delete_record),
    // CV.WS.SRV.*: services
    on("GET", "/customers/{customer_id}/services", &SERVICE, list),
    on("GET", "/customers/{customer_id}/services/active", &SERVICE, list),
    on("GET", "/customers/{customer_id}/services/completed", &SERVICE, list),
    on("POST", "/customers/{customer_id}/services/{service_id}", &SERVICE, associate),
    on("POST", "/services/start", &SERVICE, start),
    on("GET", "/services/anonymous/{contact_key}", &SERVICE, list),
    on("GET", "/services/anonymous/{contact_key}/active", &SERVICE, list),
    on("GET", "/services/anonymous/{contact_key}/completed", &SERVICE, list),
    on("GET", "/services/{service_id}", &SERVICE, query),
    on("POST", "/services/{service_id}/end", &SERVICE, complete),
    on("PUT", "/services/{service_id}/extensions/{name}", &SERVICE, replace_extension),
    on("PUT", "/services/{service_id}/extensions/{name}/by/unique", &SERVICE, update_record),
    on("PUT", "/services/{service_id}/extensions/{name}/delete/by/unique", &SERVICE, delete_record),
    // CV.WS.SRV.*: states
    on("GET", "/services/{service_id}/states", &STATE, list),
    on("GET", "/services/{service_id}/states/active", &STATE, list),
    on("GET", "/services/{service_id}/states/completed", &STATE, list),
    on("POST", "/services/{service_id}/states/start", &STATE, start),
    on("POST", "/services/{service_id}/states/transition", &STATE, transition),
    on("GET", "/services/{service_id}/states/{state_id}", &STATE, query),
    on("POST", "/services/{service_id}/states/{state_id}/end", &STATE, complete),
    on("PUT", "/services/{service_id}/states/{state_id}/extensions/{name}", &STATE, replace_extension),
    on("PUT", "/services/{service_id}/states/{state_id}/extensions/{name}/by/unique", &STATE, update_record),
    on("PUT", "/services/{service_id}/states/{state_id}/extensions/{name}/delete/by/unique", &STATE, delete_record),
    // CV.WS.SRV.*: tasks. CV.WS.SRV.24 is printed with the singular.
    on("GET", "/services/{service_id}/tasks", &TASK, list),
    on("GET", "/services/{service_id}/tasks/active", &TASK, list),
    on("GET", "/services/{service_id}/tasks/completed", &TASK, list),
    on("POST", "/services/{service_id}/tasks/start", &TASK, start),
    on("GET", "/services/{service_id}/tasks/{task_id}", &TASK, query),
    on("POST", "/services/{service_id}/tasks/{task_id}/end", &TASK, complete),
    on("PUT", "/services/{service_id}/tasks/{task_id}/extensions/{name}", &TASK, replace_extension),
    on("PUT", "/services/{service_id}/tasks/{task_id}/extensions/{name}/by/unique", &TASK, update_record),
    on("PUT", "/services/{service_id}/tasks/{task_id}/extensions/{name}/delete/by/unique", &TASK, delete_record),
    on("PUT", "/services/{service_id}/task/{task_id}/extensions/{name}/delete/by/unique", &TASK, delete_record),
    // CV.WS.IXN.2
    on("GET", "/customers/{customer_id}/interactions", &INTERACTION, list),
    on("GET", "/services/{service_id}/interactions", &INTERACTION, list),
    on("GET", "/interactions/{interaction_id}", &INTERACTION, query),
    on("GET", "/interactions/{interaction_id}/plain_text", &INTERACTION, content),
    on("GET", "/interactions/{interaction_id}/structured_text", &INTERACTION, content),
    on("GET", "/interactions/{interaction_id}/binary_content", &INTERACTION, content),
];

/// An operation that acts on the store.
const fn on(method: &'static str, path: &'static str, kind: &'static Kind, act: Act) -> Operation {
    Operation { method, path, kind, work: Work::Store(act) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(method: &str, path: &str) -> Result<(Scope, ModeSet), u16> {
        let segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
        let found = find(method, &segments);
        found.map(|(operation, _)| (operation.scope(), operation.modes())).map_err(|error| error.status)
    }

    #[test]
    fn paths_become_operations() {
        assert_eq!(check("POST", "/server/mode"), Ok((Scope::Server, ModeSet::Both)));
        assert_eq!(check("HEAD", "/profiles/1"), Ok((Scope::Data, ModeSet::Production)));
        assert_eq!(check("GET", "/metadata/tasks/extensions"), Ok((Scope::Schema, ModeSet::Both)));
        assert_eq!(check("POST", "/metadata/tasks/extensions"), Ok((Scope::Schema, ModeSet::Maintenance)));
        assert_eq!(check("PUT", "/services/1/task/2/extensions/x/delete/by/unique").unwrap().0, Scope::Data);
        assert_eq!(check("PATCH", "/profiles/1"), Err(405));
        assert_eq!(check("GET", "/services/start"), Err(405));
        assert_eq!(check("GET", "/profiles/1/nothing"), Err(404));
    }

    /// Every operation that the references of 8.0 and 8.1 print, slips included.
    #[test]
    fn every_documented_operation_is_there() {
        let documented = include_str!("../../tests/cases/operations.tsv").lines();
        let mut count = 0;
        for columns in documented.map(|line| line.split('\t').collect::<Vec<_>>()) {
            let ["8.0/8.1 UCS", _, _, method, path, class, ..] = columns[..] else { continue };
            let scope = match class {
                "server" => Scope::Server,
                "schema" => Scope::Schema,
                _ => Scope::Data,
            };
            assert_eq!(check(method, path).map(|(scope, _)| scope), Ok(scope), "{method} {path}");
            count += 1;
        }
        assert_eq!(count, 74);
    }
}
