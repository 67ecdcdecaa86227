//! Which request is which operation: one table over the segments of the path. It reads no bodies and changes nothing.

use serde_json::Value;

use super::control::Switches;
use super::mode_switch::Class;
use super::response::{Answer, Fault};
use super::store::{Object, Store};
use super::{interactions, metadata, profiles, services};
use crate::policy::mode::ModeSet;

/// One request, as the operations see it.
pub(super) struct Call {
    /// Path and query as received.
    pub(super) uri: String,
    /// Segments below the base path, decoded.
    pub(super) path: Vec<String>,
    /// Decoded.
    pub(super) query: Vec<(String, String)>,
    /// `None` when the request had no body.
    pub(super) body: Option<Value>,
    /// `http://address/base` of the stand-in.
    pub(super) base_uri: String,
    pub(super) switches: Switches,
}

impl Call {
    /// The segment at `place`, from 0. The table only calls operations on paths that are long enough.
    pub(super) fn at(&self, place: usize) -> &str {
        self.path.get(place).map_or("", String::as_str)
    }

    /// The first query parameter of this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn value(&self) -> Result<&Value, Fault> {
        self.body.as_ref().ok_or_else(|| Fault::bad_request("a JSON body is mandatory"))
    }

    pub(super) fn object(&self) -> Result<&Object, Fault> {
        self.value()?.as_object().ok_or_else(|| Fault::bad_request("the body must be a JSON object"))
    }

    /// An event that may be left out.
    pub(super) fn optional_object(&self) -> Result<Object, Fault> {
        if self.body.is_some() { self.object().cloned() } else { Ok(Object::new()) }
    }
}

/// What an operation does.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Set Server Mode, which waits.
    SetMode,
    /// Query Server Status.
    Status,
    /// Bulk Profile Import, whose body is counted and not kept.
    Import,
    /// Everything else acts on the store at once.
    Store(fn(&mut Store, &Call) -> Answer),
}

/// A method on a path.
#[derive(Clone, Copy)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) class: Class,
    pub(super) modes: ModeSet,
    /// Whether a profile schema must be defined.
    pub(super) needs_profile_schema: bool,
    pub(super) work: Work,
}

/// The operation of `method` on `path`; HEAD is that of GET.
pub(super) fn find(method: &str, path: &[&str]) -> Result<Operation, Fault> {
    let operations = at(path);
    let wanted = if method == "HEAD" { "GET" } else { method };
    if let Some(operation) = operations.iter().find(|operation| operation.method == wanted) {
        return Ok(*operation);
    }
    if operations.is_empty() {
        return Err(Fault::not_found("resource", &format!("/{}", path.join("/"))));
    }
    Err(Fault::wrong_method(&operations.iter().map(|operation| operation.method).collect::<Vec<_>>().join(", ")))
}

/// Everything that a path takes. Words come before the ids that could stand in their place.
fn at(path: &[&str]) -> Vec<Operation> {
    match path {
        ["server", "mode"] => vec![server("POST", Work::SetMode)],
        ["server", "status"] => vec![server("GET", Work::Status)],
        ["metadata", rest @ ..] => at_metadata(rest),
        ["profiles", rest @ ..] => at_profiles(rest),
        ["customers", rest @ ..] => at_customers(rest),
        ["services", rest @ ..] => at_services(rest),
        ["interactions", _] => vec![data("GET", interactions::query)],
        ["interactions", _, "plain_text"] => vec![data("GET", interactions::plain_text)],
        ["interactions", _, "structured_text"] => vec![data("GET", interactions::structured_text)],
        ["interactions", _, "binary_content"] => vec![data("GET", interactions::binary_content)],
        _ => vec![],
    }
}

fn at_metadata(rest: &[&str]) -> Vec<Operation> {
    match rest {
        ["profiles"] => vec![schema_read(metadata::profile_schema)],
        ["profiles" | "services" | "states" | "tasks", "extensions"] => {
            vec![schema_read(metadata::extensions), schema_write("POST", metadata::create_extension)]
        }
        // The page of Query Service Extension Schema calls it by this path in its example.
        ["services"] => vec![schema_read(metadata::extensions)],
        ["profiles" | "services" | "states" | "tasks", "extensions", _] => {
            vec![schema_read(metadata::extension), schema_write("DELETE", metadata::delete_extension)]
        }
        ["identification-keys"] => {
            vec![schema_read(metadata::identification_keys), schema_write("POST", metadata::create_identification_key)]
        }
        ["identification-keys", _] => {
            vec![schema_read(metadata::identification_key), schema_write("DELETE", metadata::delete_identification_key)]
        }
        ["business-attributes"] => vec![schema_read(metadata::business_attributes)],
        ["business-attributes", _] => vec![schema_read(metadata::business_attribute)],
        _ => vec![],
    }
}

fn at_profiles(rest: &[&str]) -> Vec<Operation> {
    match rest {
        [] => vec![data("GET", profiles::identify), on_schema(data("POST", profiles::create))],
        ["import"] => vec![on_schema(Operation { work: Work::Import, ..data("POST", profiles::create) })],
        [_] => vec![
            on_schema(data("GET", profiles::query)),
            data("PUT", profiles::update),
            data("DELETE", profiles::delete),
        ],
        [_, "extensions"] => vec![data("POST", profiles::insert_extensions)],
        [_, "extensions", _, "by", "unique"] => vec![data("PUT", profiles::update_record)],
        [_, "extensions", _, "delete", "by", "unique"] => vec![data("PUT", profiles::delete_record)],
        _ => vec![],
    }
}

fn at_customers(rest: &[&str]) -> Vec<Operation> {
    match rest {
        [_, "interactions"] => vec![data("GET", interactions::of_customer)],
        [_, "services"] | [_, "services", "active" | "completed"] => vec![data("GET", services::query_of_customer)],
        [_, "services", _] => vec![data("POST", services::associate)],
        _ => vec![],
    }
}

fn at_services(rest: &[&str]) -> Vec<Operation> {
    match rest {
        ["start"] => vec![data("POST", services::start)],
        ["anonymous", _] | ["anonymous", _, "active" | "completed"] => vec![data("GET", services::query_anonymous)],
        [_] => vec![data("GET", services::query)],
        [_, "end"] => vec![data("POST", services::complete)],
        [_, "interactions"] => vec![data("GET", interactions::of_service)],
        [_, "extensions", _] => vec![data("PUT", services::update_extension)],
        [_, "extensions", _, "by", "unique"] => vec![data("PUT", services::update_record)],
        [_, "extensions", _, "delete", "by", "unique"] => vec![data("PUT", services::delete_record)],
        [_, "states", "transition"] => vec![data("POST", services::transition)],
        [_, "states" | "tasks"] | [_, "states" | "tasks", "active" | "completed"] => {
            vec![data("GET", services::query_parts)]
        }
        [_, "states" | "tasks", "start"] => vec![data("POST", services::start_part)],
        [_, "states" | "tasks", _] => vec![data("GET", services::query_part)],
        [_, "states" | "tasks", _, "end"] => vec![data("POST", services::complete_part)],
        [_, "states" | "tasks", _, "extensions", _] => vec![data("PUT", services::update_part_extension)],
        [_, "states" | "tasks", _, "extensions", _, "by", "unique"] => {
            vec![data("PUT", services::update_part_record)]
        }
        // CV.WS.SRV.24 is printed with the singular.
        [_, "states" | "tasks" | "task", _, "extensions", _, "delete", "by", "unique"] => {
            vec![data("PUT", services::delete_part_record)]
        }
        _ => vec![],
    }
}

fn server(method: &'static str, work: Work) -> Operation {
    Operation { method, class: Class::Server, modes: ModeSet::Both, needs_profile_schema: false, work }
}

/// Every schema read is open in both modes: the documentation says so of most, and nothing of the others.
fn schema_read(run: fn(&mut Store, &Call) -> Answer) -> Operation {
    let work = Work::Store(run);
    Operation { method: "GET", class: Class::Schema, modes: ModeSet::Both, needs_profile_schema: false, work }
}

/// Every schema write is for maintenance only: the general rule, although four pages tolerate production.
fn schema_write(method: &'static str, run: fn(&mut Store, &Call) -> Answer) -> Operation {
    let work = Work::Store(run);
    Operation { method, class: Class::Schema, modes: ModeSet::Maintenance, needs_profile_schema: false, work }
}

fn data(method: &'static str, run: fn(&mut Store, &Call) -> Answer) -> Operation {
    let work = Work::Store(run);
    Operation { method, class: Class::Data, modes: ModeSet::Production, needs_profile_schema: false, work }
}

fn on_schema(operation: Operation) -> Operation {
    Operation { needs_profile_schema: true, ..operation }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(method: &str, path: &str) -> Result<(Class, ModeSet), u16> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        find(method, &segments).map(|found| (found.class, found.modes)).map_err(|fault| fault.status)
    }

    #[test]
    fn paths_become_operations() {
        assert_eq!(check("POST", "/server/mode"), Ok((Class::Server, ModeSet::Both)));
        assert_eq!(check("HEAD", "/profiles/1"), Ok((Class::Data, ModeSet::Production)));
        assert_eq!(check("GET", "/metadata/tasks/extensions"), Ok((Class::Schema, ModeSet::Both)));
        assert_eq!(check("POST", "/metadata/tasks/extensions"), Ok((Class::Schema, ModeSet::Maintenance)));
        assert_eq!(check("PUT", "/services/1/task/2/extensions/x/delete/by/unique").unwrap().0, Class::Data);
        assert_eq!(check("PATCH", "/profiles/1"), Err(405));
        assert_eq!(check("GET", "/profiles/1/nothing"), Err(404));
    }

    /// Every operation that the references of 8.0 and 8.1 print, slips included.
    #[test]
    fn every_documented_operation_is_there() {
        let check_all = |method: &str, class: Class, paths: &str| {
            for path in paths.split_whitespace() {
                let found = check(method, path).map(|(class, _)| class);
                assert_eq!(found, Ok(class), "{method} {path}");
            }
        };
        check_all(
            "DELETE",
            Class::Data,
            "
            /profiles/{customer_id}
        ",
        );
        check_all(
            "GET",
            Class::Data,
            "
            /customers/{customer_id}/interactions
            /customers/{customer_id}/services
            /customers/{customer_id}/services/active
            /customers/{customer_id}/services/completed
            /interactions/{interaction_id}
            /interactions/{interaction_id}/binary_content
            /interactions/{interaction_id}/plain_text
            /interactions/{interaction_id}/structured_text
            /profiles
            /profiles/{customer_id}
            /services/anonymous/{contact_key}
            /services/anonymous/{contact_key}/active
            /services/anonymous/{contact_key}/completed
            /services/{service_id}
            /services/{service_id}/interactions
            /services/{service_id}/states
            /services/{service_id}/states/active
            /services/{service_id}/states/completed
            /services/{service_id}/states/{state_id}
            /services/{service_id}/tasks
            /services/{service_id}/tasks/active
            /services/{service_id}/tasks/completed
            /services/{service_id}/tasks/{task_id}
        ",
        );
        check_all(
            "POST",
            Class::Data,
            "
            /customers/{customer_id}/services/{service_id}
            /profiles
            /profiles/import
            /profiles/{customer_id}/extensions
            /services/start
            /services/{service_id}/end
            /services/{service_id}/states/start
            /services/{service_id}/states/transition
            /services/{service_id}/states/{state_id}/end
            /services/{service_id}/tasks/start
            /services/{service_id}/tasks/{task_id}/end
        ",
        );
        check_all(
            "PUT",
            Class::Data,
            "
            /profiles/{customer_id}
            /profiles/{customer_id}/extensions/{ext_name}/by/unique
            /profiles/{customer_id}/extensions/{ext_name}/delete/by/unique
            /services/{service_id}/extensions/{ext_name}
            /services/{service_id}/extensions/{ext_name}/by/unique
            /services/{service_id}/extensions/{ext_name}/delete/by/unique
            /services/{service_id}/states/{state_id}/extensions/{ext_name}
            /services/{service_id}/states/{state_id}/extensions/{ext_name}/by/unique
            /services/{service_id}/states/{state_id}/extensions/{ext_name}/delete/by/unique
            /services/{service_id}/task/{task_id}/extensions/{ext_name}/delete/by/unique
            /services/{service_id}/tasks/{task_id}/extensions/{ext_name}/by/unique
            /services/{service_id}/tasks/{task_id}/extensions/{ext_name}/delete/by/unique
            /services/{service_id}/tasks/{task_id}/extensions/{extension_name}
        ",
        );
        check_all(
            "DELETE",
            Class::Schema,
            "
            /metadata/identification-keys/{id_key_name}
            /metadata/profiles/extensions/{extension_name}
            /metadata/services/extensions/{extension_name}
            /metadata/states/extensions/{extension_name}
            /metadata/tasks/extensions/{extension_name}
        ",
        );
        check_all(
            "GET",
            Class::Schema,
            "
            /metadata/business-attributes
            /metadata/business-attributes/{business_attribute_name}
            /metadata/identification-keys
            /metadata/identification-keys/{key_name}
            /metadata/profiles
            /metadata/profiles/extensions
            /metadata/profiles/extensions/{extension_name}
            /metadata/services
            /metadata/services/extensions
            /metadata/services/extensions/{extension_name}
            /metadata/states/extensions
            /metadata/states/extensions/{extension_name}
            /metadata/tasks/extensions
            /metadata/tasks/extensions/{extension_name}
        ",
        );
        check_all(
            "POST",
            Class::Schema,
            "
            /metadata/identification-keys
            /metadata/profiles/extensions
            /metadata/services/extensions
            /metadata/states/extensions
            /metadata/tasks/extensions
        ",
        );
        check_all(
            "GET",
            Class::Server,
            "
            /server/status
        ",
        );
        check_all(
            "POST",
            Class::Server,
            "
            /server/mode
        ",
        );
    }
}
