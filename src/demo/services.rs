//! Services, their states and tasks (CV.WS.SRV.*): start, end, transition, associate, query, and extensions. Business
//! attributes such as `service_type` are taken as they come.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::mode_switch::now;
use super::operations::Call;
use super::response::{Answer, Fault, Reply};
use super::store::{Extended, Object, Service, Store, by_unique};

/// Members of a start event that belong to the service itself.
const OF_THE_SERVICE: [&str; 4] = ["customer_id", "contact_key", "service_type", "est_duration"];

/// CV.WS.SRV.1. Members that are objects or lists are extensions.
pub(super) fn start(store: &mut Store, call: &Call) -> Answer {
    let body = call.object()?;
    if !body.contains_key("customer_id") && !body.contains_key("contact_key") {
        return Err(Fault::bad_request("customer_id or contact_key is mandatory"));
    }
    let id = store.new_id();
    let mut fields = begun(body, &OF_THE_SERVICE);
    fields.insert("service_id".to_owned(), json!(id));
    store.services.insert(id, Service { fields, ..Service::default() });
    Ok(Reply::created(format!("/services/{id}"), &json!({"service_id": id})))
}

/// CV.WS.SRV.3.
pub(super) fn complete(store: &mut Store, call: &Call) -> Answer {
    let event = call.optional_object()?;
    end(&mut store.service(call.at(1))?.fields, event);
    Ok(Reply::empty(200))
}

/// CV.WS.SRV.2.
pub(super) fn associate(store: &mut Store, call: &Call) -> Answer {
    store.profile(call.at(1))?;
    store.service(call.at(3))?.fields.insert("customer_id".to_owned(), json!(call.at(1)));
    Ok(Reply::empty(200))
}

/// CV.WS.SRV.14.
pub(super) fn query(store: &mut Store, call: &Call) -> Answer {
    Ok(Reply::json(200, &store.service(call.at(1))?.shown()))
}

/// CV.WS.SRV.10: services without a customer.
pub(super) fn query_anonymous(store: &mut Store, call: &Call) -> Answer {
    let of_key =
        |fields: &Object| fields.get("contact_key") == Some(&json!(call.at(2))) && !fields.contains_key("customer_id");
    Ok(listed(store, of_key, call.path.get(3)))
}

/// CV.WS.SRV.11.
pub(super) fn query_of_customer(store: &mut Store, call: &Call) -> Answer {
    store.profile(call.at(1))?;
    Ok(listed(store, |fields| fields.get("customer_id") == Some(&json!(call.at(1))), call.path.get(3)))
}

/// CV.WS.SRV.4: replaces the extension.
pub(super) fn update_extension(store: &mut Store, call: &Call) -> Answer {
    let name = known_name(store, Extended::Service, call.at(3))?;
    store.service(call.at(1))?.fields.insert(name, call.value()?.clone());
    Ok(Reply::empty(200))
}

/// CV.WS.SRV.19.
pub(super) fn update_record(store: &mut Store, call: &Call) -> Answer {
    record(store, call, true)
}

/// CV.WS.SRV.22.
pub(super) fn delete_record(store: &mut Store, call: &Call) -> Answer {
    record(store, call, false)
}

/// CV.WS.SRV.5 and CV.WS.SRV.8.
pub(super) fn start_part(store: &mut Store, call: &Call) -> Answer {
    let part = Part::of(call);
    let body = call.object()?;
    store.service(call.at(1))?;
    let id = store.new_id();
    insert_part(store.service(call.at(1))?, part, id, body);
    Ok(Reply::created(format!("/services/{}/{}/{id}", call.at(1), part.plural), &json!({part.id_name: id})))
}

/// CV.WS.SRV.6 and CV.WS.SRV.9.
pub(super) fn complete_part(store: &mut Store, call: &Call) -> Answer {
    let event = call.optional_object()?;
    end(store.service(call.at(1))?.part(Part::of(call).extended, call.at(3))?, event);
    Ok(Reply::empty(200))
}

/// CV.WS.SRV.7: ends one state and starts the next. The members `complete` and `start` are a guess; `complete` names
/// its state by `state_id`.
pub(super) fn transition(store: &mut Store, call: &Call) -> Answer {
    let body = call.object()?;
    let (Some(old), Some(new)) = (body.get("complete"), body.get("start").and_then(Value::as_object)) else {
        return Err(Fault::bad_request("a transition has the members complete and start"));
    };
    let old_id = old["state_id"].to_string();
    let event = old.as_object().cloned().unwrap_or_default();
    end(store.service(call.at(1))?.part(Extended::State, &old_id)?, event);
    let id = store.new_id();
    insert_part(store.service(call.at(1))?, STATES, id, new);
    Ok(Reply::created(format!("/services/{}/states/{id}", call.at(1)), &json!({"state_id": id})))
}

/// CV.WS.SRV.12 and CV.WS.SRV.13.
pub(super) fn query_parts(store: &mut Store, call: &Call) -> Answer {
    let service = store.service(call.at(1))?;
    let parts: &BTreeMap<u64, Object> =
        if Part::of(call).extended == Extended::Task { &service.tasks } else { &service.states };
    let shown = parts.values().filter(|part| wanted(part, call.path.get(3))).cloned().map(Value::Object);
    Ok(Reply::json(200, &shown.collect()))
}

/// CV.WS.SRV.15 and CV.WS.SRV.16.
pub(super) fn query_part(store: &mut Store, call: &Call) -> Answer {
    let part = store.service(call.at(1))?.part(Part::of(call).extended, call.at(3))?;
    Ok(Reply::json(200, &Value::Object(part.clone())))
}

/// CV.WS.SRV.17 and CV.WS.SRV.18: replaces the extension.
pub(super) fn update_part_extension(store: &mut Store, call: &Call) -> Answer {
    let extended = Part::of(call).extended;
    let name = known_name(store, extended, call.at(5))?;
    store.service(call.at(1))?.part(extended, call.at(3))?.insert(name, call.value()?.clone());
    Ok(Reply::empty(200))
}

/// CV.WS.SRV.20 and CV.WS.SRV.21.
pub(super) fn update_part_record(store: &mut Store, call: &Call) -> Answer {
    part_record(store, call, true)
}

/// CV.WS.SRV.23 and CV.WS.SRV.24.
pub(super) fn delete_part_record(store: &mut Store, call: &Call) -> Answer {
    part_record(store, call, false)
}

/// States or tasks: what differs between them.
#[derive(Clone, Copy)]
struct Part {
    extended: Extended,
    plural: &'static str,
    id_name: &'static str,
    type_name: &'static str,
}

const STATES: Part = Part { extended: Extended::State, plural: "states", id_name: "state_id", type_name: "state_type" };
const TASKS: Part = Part { extended: Extended::Task, plural: "tasks", id_name: "task_id", type_name: "task_type" };

impl Part {
    /// Read from the third segment, which the documentation once prints as `task`.
    fn of(call: &Call) -> Part {
        if call.at(2).starts_with("task") { TASKS } else { STATES }
    }
}

fn insert_part(service: &mut Service, part: Part, id: u64, body: &Object) {
    let mut fields = begun(body, &[part.type_name, "est_duration"]);
    fields.insert(part.id_name.to_owned(), json!(id));
    if part.extended == Extended::Task { &mut service.tasks } else { &mut service.states }.insert(id, fields);
}

/// The resource that a start event makes: some members and the extensions are its own, the rest is the event.
fn begun(body: &Object, own: &[&str]) -> Object {
    let mut fields = Object::new();
    let mut event = Object::new();
    event.insert("timestamp".to_owned(), json!(now()));
    for (name, value) in body {
        let of_resource = own.contains(&name.as_str()) || value.is_object() || value.is_array();
        if of_resource { &mut fields } else { &mut event }.insert(name.clone(), value.clone());
    }
    fields.insert("started".to_owned(), Value::Object(event));
    fields
}

fn end(fields: &mut Object, event: Object) {
    let mut completed = Object::new();
    completed.insert("timestamp".to_owned(), json!(now()));
    completed.extend(event);
    fields.insert("completed".to_owned(), Value::Object(completed));
}

/// Whether a resource belongs under `active`, under `completed`, or under no such word.
fn wanted(fields: &Object, which: Option<&String>) -> bool {
    let completed = fields.contains_key("completed");
    match which.map(String::as_str) {
        Some("active") => !completed,
        Some("completed") => completed,
        _ => true,
    }
}

fn listed(store: &Store, belongs: impl Fn(&Object) -> bool, which: Option<&String>) -> Reply {
    let services = store.services.values().filter(|service| belongs(&service.fields) && wanted(&service.fields, which));
    Reply::json(200, &services.map(Service::shown).collect())
}

fn known_name(store: &Store, extended: Extended, name: &str) -> Result<String, Fault> {
    Ok(store.schema(extended, name)?["name"].as_str().unwrap_or(name).to_owned())
}

fn record(store: &mut Store, call: &Call, change: bool) -> Answer {
    let schema = store.schema(Extended::Service, call.at(3))?.clone();
    by_unique(&mut store.service(call.at(1))?.fields, &schema, call.object()?, change)?;
    Ok(Reply::empty(200))
}

fn part_record(store: &mut Store, call: &Call, change: bool) -> Answer {
    let extended = Part::of(call).extended;
    let schema = store.schema(extended, call.at(5))?.clone();
    by_unique(store.service(call.at(1))?.part(extended, call.at(3))?, &schema, call.object()?, change)?;
    Ok(Reply::empty(200))
}
