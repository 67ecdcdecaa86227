//! The work of the operations on resources: each function acts on the kind of resource that the call names. The paths
//! that lead here are in `operations`.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::call::Call;
use super::extensions::{by_unique, extension_names, schema, selected};
use super::kinds::{CUSTOMER, INTERACTION, Key, Kind, SERVICE, STATE};
use super::mode_switch::now;
use super::response::{self, OperationResult, UcsError};
use super::store::{Object, Store};

/// Largest content that `size=N` makes, in bytes.
const SIZE_LIMIT: usize = 1 << 28;

pub(super) fn query(store: &mut Store, call: &Call) -> OperationResult {
    Ok(response::json(200, &shown(call, store.get(call.kind, call)?)))
}

/// Query of the resources below the owners in the path: a parent, or a resource whose key is a member. A service found
/// by its contact key has no customer.
pub(super) fn list(store: &mut Store, call: &Call) -> OperationResult {
    for owner in [&CUSTOMER, &SERVICE].into_iter().filter(|owner| call.has_id(owner.id)) {
        store.get(owner, call)?;
    }
    let parent = store.parent(call.kind, call)?;
    let is_child = parent.is_some();
    let is_anonymous = call.has_id("contact_key");
    let is_owned = |resource: &Object| {
        let agrees = call.ids.iter().all(|(name, id)| resource.get(*name) == Some(&json!(id)));
        is_child || (agrees && !(is_anonymous && resource.contains_key("customer_id")))
    };
    let found = store.all(call.kind, parent).filter(|resource| is_owned(resource) && is_selected(call, resource));
    Ok(response::json(200, &found.map(|resource| shown(call, resource)).collect()))
}

/// Start Service, Start State, Start Task. Members that are objects or lists are extensions.
pub(super) fn start(store: &mut Store, call: &Call) -> OperationResult {
    let body = call.object()?;
    if call.kind.parent.is_none() && !body.contains_key("customer_id") && !body.contains_key("contact_key") {
        return Err(UcsError::bad_request("customer_id or contact_key is mandatory"));
    }
    let parent = store.parent(call.kind, call)?;
    Ok(started(store, call, call.kind, parent, body))
}

/// Complete Service, Complete State, Complete Task. The event may be left out.
pub(super) fn complete(store: &mut Store, call: &Call) -> OperationResult {
    let event = if call.body.is_some() { call.object()?.clone() } else { Object::new() };
    end(store.get(call.kind, call)?, event);
    Ok(response::empty(200))
}

/// Perform State Transition: ends one state and starts the next. The members `complete` and `start` are a guess;
/// `complete` names its state by `state_id`.
pub(super) fn transition(store: &mut Store, call: &Call) -> OperationResult {
    let body = call.object()?;
    let (Some(old), Some(new)) = (body.get("complete"), body.get("start").and_then(Value::as_object)) else {
        return Err(UcsError::bad_request("a transition has the members complete and start"));
    };
    let service = store.parent(&STATE, call)?;
    let event = old.as_object().cloned().unwrap_or_default();
    end(store.find(&STATE, service.clone(), &old["state_id"].to_string())?, event);
    Ok(started(store, call, &STATE, service, new))
}

/// Associate Service: gives an anonymous service to a customer.
pub(super) fn associate(store: &mut Store, call: &Call) -> OperationResult {
    store.get(&CUSTOMER, call)?;
    store.get(&SERVICE, call)?.insert("customer_id".to_owned(), json!(call.id("customer_id")));
    Ok(response::empty(200))
}

/// Create Customer Profile. UCS makes the id; one that the body brings is ignored. Attributes are not checked against
/// the profile schema, because the documentation does not say how.
pub(super) fn create_customer(store: &mut Store, call: &Call) -> OperationResult {
    let mut profile = call.object()?.clone();
    let id = store.new_customer_id();
    profile.insert("customer_id".to_owned(), json!(id));
    store.insert(&CUSTOMER, None, Value::Object(profile));
    Ok(response::created(&format!("/profiles/{id}"), &json!({"customer_id": id})))
}

/// Identify Customer: the customers whose attributes equal those of the query. The shape of the list is a guess.
pub(super) fn identify(store: &mut Store, call: &Call) -> OperationResult {
    const OPTIONS: [&str; 4] = ["id_key", "include_profile", "include_extensions", "extensions"];
    let wanted: Vec<_> = call.query.iter().filter(|(name, _)| !OPTIONS.contains(&name.as_str())).collect();
    if wanted.is_empty() {
        return Err(UcsError::bad_request("give at least one attribute of an identification key"));
    }
    let agrees = |profile: &&Object| wanted.iter().all(|(name, value)| holds(profile, name, value));
    let found: Vec<&Object> = store.all(&CUSTOMER, None).filter(agrees).collect();
    let is_whole = call.parameter("include_profile") == Some("yes");
    let has_extensions = call.parameter("include_extensions") != Some("unique") || found.len() == 1;
    let extensions = call.parameter("extensions").filter(|_| has_extensions).unwrap_or_default();
    let names = extension_names(store);
    let selected = found.into_iter().map(|profile| selected(profile, &names, is_whole, extensions));
    Ok(response::json(200, &selected.collect()))
}

/// Query Customer Profile. `extensions=a,b` adds these extensions to the attributes.
pub(super) fn query_customer(store: &mut Store, call: &Call) -> OperationResult {
    let names = extension_names(store);
    let extensions = call.parameter("extensions").unwrap_or_default();
    Ok(response::json(200, &selected(store.get(&CUSTOMER, call)?, &names, true, extensions)))
}

/// Update Customer Profile: the attributes are replaced as a whole, extensions only where the body has them.
pub(super) fn update_customer(store: &mut Store, call: &Call) -> OperationResult {
    let mut fresh = call.object()?.clone();
    let names = extension_names(store);
    let profile = store.get(&CUSTOMER, call)?;
    for (name, value) in std::mem::take(profile) {
        if names.contains(&name) {
            fresh.entry(name).or_insert(value);
        }
    }
    fresh.insert("customer_id".to_owned(), json!(call.id("customer_id")));
    *profile = fresh;
    Ok(response::empty(200))
}

/// Delete Customer Profile: the customer's services go too, and in the stand-in the interactions as well.
pub(super) fn delete_customer(store: &mut Store, call: &Call) -> OperationResult {
    let id = call.id("customer_id");
    store.remove(&CUSTOMER, id)?;
    for kind in [&SERVICE, &INTERACTION] {
        store.remove_where(kind, |resource| resource.get("customer_id") == Some(&json!(id)));
    }
    Ok(response::empty(200))
}

/// Insert Extension Records: in place of extensions that are there.
pub(super) fn insert_extensions(store: &mut Store, call: &Call) -> OperationResult {
    let mut named = Object::new();
    for (name, records) in call.object()? {
        named.insert(schema(store, &CUSTOMER, name)?.name, records.clone());
    }
    store.get(&CUSTOMER, call)?.extend(named);
    Ok(response::empty(200))
}

/// Update Extension: replaces the extension as a whole.
pub(super) fn replace_extension(store: &mut Store, call: &Call) -> OperationResult {
    let schema = schema(store, call.kind, call.id("name"))?;
    store.get(call.kind, call)?.insert(schema.name, call.value()?.clone());
    Ok(response::empty(200))
}

/// Update Record In Extension.
pub(super) fn update_record(store: &mut Store, call: &Call) -> OperationResult {
    let schema = schema(store, call.kind, call.id("name"))?;
    let (records, place) = by_unique(store.get(call.kind, call)?, &schema, call.object()?)?;
    if let Some(record) = records[place].as_object_mut() {
        record.extend(call.object()?.clone());
    }
    Ok(response::empty(200))
}

/// Delete Record From Extension.
pub(super) fn delete_record(store: &mut Store, call: &Call) -> OperationResult {
    let schema = schema(store, call.kind, call.id("name"))?;
    let (records, place) = by_unique(store.get(call.kind, call)?, &schema, call.object()?)?;
    records.remove(place);
    Ok(response::empty(200))
}

/// A content of an interaction, or with `size=N` (which UCS does not have) the first N letters of an endless alphabet.
pub(super) fn content(store: &mut Store, call: &Call) -> OperationResult {
    store.get(&INTERACTION, call)?;
    let place = (call.id("interaction_id"), call.last_word());
    let (content_type, stored) = store.contents.get(&place).copied().unwrap_or_default();
    let size = call.parameter("size").filter(|_| call.last_word() == "binary_content");
    let bytes = match size.map(|size| size.parse().ok().filter(|size| *size <= SIZE_LIMIT)) {
        None => Bytes::from_static(stored),
        Some(Some(size)) => (b'a'..=b'z').cycle().take(size).collect(),
        Some(None) => return Err(UcsError::bad_request("size must be a number of bytes")),
    };
    Ok(response::bytes(200, content_type, bytes))
}

/// Whether a query of several resources asks for this one: by its state, or by the mapping of a business attribute.
fn is_selected(call: &Call, resource: &Object) -> bool {
    let names = || resource.get("map").and_then(Value::as_array).into_iter().flatten();
    match (call.last_word(), call.parameter("cv-attribute")) {
        ("active", _) => !resource.contains_key("completed"),
        ("completed", _) => resource.contains_key("completed"),
        ("business-attributes", Some(attribute)) => names().any(|name| name == attribute),
        _ => true,
    }
}

/// A resource as queries show it. The contents of an interaction are fetched separately: as documented, their
/// addresses are absolute and name UCS's own host and port.
fn shown(call: &Call, resource: &Object) -> Value {
    let mut shown = resource.clone();
    if call.kind.path == INTERACTION.path {
        shown.retain(|name, _| name != "customer_id" && name != "service_id");
        let id = resource["interaction_id"].as_str().unwrap_or_default();
        let contents =
            [("text", "plain_text"), ("structured_text", "structured_text"), ("binary_content", "binary_content")];
        for (name, content) in contents {
            shown.insert(name.to_owned(), json!(format!("{}/interactions/{id}/{content}", call.base_uri)));
        }
    }
    Value::Object(shown)
}

/// Adds the resource that a start event makes. Some members and the extensions are its own, the rest is the event.
fn started(store: &mut Store, call: &Call, kind: &'static Kind, parent: Option<Key>, body: &Object) -> Response<Bytes> {
    let id = store.new_id();
    let (mut fields, mut event) = (Object::new(), Object::new());
    event.insert("timestamp".to_owned(), json!(now()));
    for (name, value) in body {
        let is_own = kind.fields.contains(&name.as_str()) || value.is_object() || value.is_array();
        if is_own { &mut fields } else { &mut event }.insert(name.clone(), value.clone());
    }
    fields.insert("started".to_owned(), Value::Object(event));
    fields.insert(kind.id.to_owned(), json!(id));
    let above = kind.parent.map_or_else(String::new, |parent| format!("{}/{}", parent.path, call.id(parent.id)));
    store.insert(kind, parent, Value::Object(fields));
    response::created(&format!("{above}{}/{id}", kind.path), &json!({kind.id: id}))
}

fn end(resource: &mut Object, event: Object) {
    let mut completed = Object::new();
    completed.insert("timestamp".to_owned(), json!(now()));
    completed.extend(event);
    resource.insert("completed".to_owned(), Value::Object(completed));
}

/// Whether the attribute (or `extension.attribute`) has this value, or has it among several.
fn holds(profile: &Object, name: &str, wanted: &str) -> bool {
    let equal = |value: &Value| match value {
        Value::String(text) => text == wanted,
        other => other.to_string().as_str() == wanted,
    };
    let within = |value: &Value| match value {
        Value::Array(values) => values.iter().any(equal),
        value => equal(value),
    };
    match name.split_once('.') {
        None => profile.get(name).is_some_and(within),
        Some((extension, attribute)) => match profile.get(extension) {
            Some(Value::Array(records)) => records.iter().filter_map(|record| record.get(attribute)).any(within),
            Some(record) => record.get(attribute).is_some_and(within),
            None => false,
        },
    }
}
