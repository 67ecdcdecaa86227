//! Schemas (CV.WS.PROF.META.*, CV.WS.SRV.META.*, CV.WS.CONFIG.BA): the profile schema, extension schemas,
//! identification keys and business attributes.

use serde_json::Value;

use super::operations::Call;
use super::response::{Answer, Fault, Reply};
use super::store::{Extended, Object, Store};

/// Longest documented name of an extension or key, in characters.
const NAME_LIMIT: usize = 26;

/// Query Profile Schema. Its page is not public; path and answers are by analogy with its siblings.
pub(super) fn profile_schema(store: &mut Store, call: &Call) -> Answer {
    let switches = &call.switches;
    match (switches.schema_path_known, switches.profile_schema, switches.empty_schema_list) {
        (false, _, _) => Err(Fault::not_found("resource", &call.uri)),
        (true, true, _) => Ok(Reply::json(200, &store.profile_schema)),
        (true, false, true) => Ok(Reply::json(200, &Value::Array(Vec::new()))),
        (true, false, false) => Err(no_profile_schema()),
    }
}

/// What the operations that need the profile schema answer without one.
pub(super) fn no_profile_schema() -> Fault {
    Fault::new(404, "no profile schema is defined")
}

/// All extension schemas of one kind of resource.
pub(super) fn extensions(store: &mut Store, call: &Call) -> Answer {
    let extended = extended(call);
    let schemas = store.schemas.iter().filter(|((kind, _), _)| *kind == extended);
    Ok(Reply::json(200, &schemas.map(|(_, schema)| Value::Object(schema.clone())).collect()))
}

/// One extension schema.
pub(super) fn extension(store: &mut Store, call: &Call) -> Answer {
    Ok(Reply::json(200, &Value::Object(store.schema(extended(call), call.at(3))?.clone())))
}

/// 201 with an absolute `Location`, as documented. A name that is taken is refused with 409 (undocumented).
pub(super) fn create_extension(store: &mut Store, call: &Call) -> Answer {
    let schema = call.object()?;
    let name = checked_name(schema)?;
    if !matches!(schema.get("type").and_then(Value::as_str), Some("single-valued" | "multi-valued" | "classifier")) {
        return Err(Fault::bad_request("type must be single-valued, multi-valued or classifier"));
    }
    let place = (extended(call), name.to_lowercase());
    if store.schemas.contains_key(&place) {
        return Err(Fault::new(409, format!("extension schema \"{name}\" already exists")));
    }
    store.schemas.insert(place, schema.clone());
    let location = format!("{}/metadata/{}/extensions/{name}", call.base_uri, call.at(1));
    Ok(Reply::created(location, &Value::Object(schema.clone())))
}

/// Refused when an identification key uses the extension (documented, without a status; here 400).
pub(super) fn delete_extension(store: &mut Store, call: &Call) -> Answer {
    let name = call.at(3);
    let source = |key: &Object| key.get("source").and_then(Value::as_str).is_some_and(|s| s.eq_ignore_ascii_case(name));
    if extended(call) == Extended::Profile && store.identification_keys.values().any(source) {
        return Err(Fault::bad_request(format!("an identification key uses extension \"{name}\"")));
    }
    let removed = store.schemas.remove(&(extended(call), name.to_lowercase()));
    removed.map(|_| Reply::empty(204)).ok_or_else(|| Fault::not_found("extension schema", name))
}

/// CV.WS.PROF.META.6, all.
pub(super) fn identification_keys(store: &mut Store, _: &Call) -> Answer {
    Ok(Reply::json(200, &store.identification_keys.values().cloned().map(Value::Object).collect()))
}

/// CV.WS.PROF.META.6, one.
pub(super) fn identification_key(store: &mut Store, call: &Call) -> Answer {
    let found = store.identification_keys.get(&call.at(2).to_lowercase());
    let key = found.ok_or_else(|| Fault::not_found("identification key", call.at(2)))?;
    Ok(Reply::json(200, &Value::Object(key.clone())))
}

/// CV.WS.PROF.META.7.
pub(super) fn create_identification_key(store: &mut Store, call: &Call) -> Answer {
    let key = call.object()?;
    let name = checked_name(key)?;
    if key.get("attributes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(Fault::bad_request("attributes must list at least one attribute"));
    }
    store.identification_keys.insert(name.to_lowercase(), key.clone());
    let location = format!("{}/metadata/identification-keys/{name}", call.base_uri);
    Ok(Reply::created(location, &Value::Object(key.clone())))
}

/// CV.WS.PROF.META.8.
pub(super) fn delete_identification_key(store: &mut Store, call: &Call) -> Answer {
    let removed = store.identification_keys.remove(&call.at(2).to_lowercase());
    removed.map(|_| Reply::empty(204)).ok_or_else(|| Fault::not_found("identification key", call.at(2)))
}

/// CV.WS.CONFIG.BA, all, or those mapped to `cv-attribute`.
pub(super) fn business_attributes(store: &mut Store, call: &Call) -> Answer {
    let all = store.business_attributes.as_array().into_iter().flatten();
    let maps = |attribute: &&Value| match call.parameter("cv-attribute") {
        Some(wanted) => attribute["map"].as_array().is_some_and(|map| map.iter().any(|name| name == wanted)),
        None => true,
    };
    Ok(Reply::json(200, &all.filter(maps).cloned().collect()))
}

/// CV.WS.CONFIG.BA, one.
pub(super) fn business_attribute(store: &mut Store, call: &Call) -> Answer {
    let mut all = store.business_attributes.as_array().into_iter().flatten();
    let found = all.find(|attribute| attribute["name"] == call.at(2));
    Ok(Reply::json(200, found.ok_or_else(|| Fault::not_found("business attribute", call.at(2)))?))
}

fn extended(call: &Call) -> Extended {
    match call.at(1) {
        "services" => Extended::Service,
        "states" => Extended::State,
        "tasks" => Extended::Task,
        _ => Extended::Profile,
    }
}

/// Documented: a letter, then letters, digits and underscores, 26 characters at most.
fn checked_name(object: &Object) -> Result<&str, Fault> {
    let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
    let legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= NAME_LIMIT;
    if legal {
        Ok(name)
    } else {
        Err(Fault::bad_request(format!(
            "name \"{name}\" must be a letter, then letters, digits and underscores, at most {NAME_LIMIT} characters"
        )))
    }
}
