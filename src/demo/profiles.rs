//! Customer profiles: create, identify, query, update, delete, and the records of their extensions (CV.WS.CUSTID.1,
//! CV.WS.PROF.*). Attributes are not checked against the profile schema, because the documentation does not say how.

use serde_json::{Value, json};

use super::operations::Call;
use super::response::{Answer, Fault, Reply};
use super::store::{Extended, Object, Store, by_unique};

/// CV.WS.PROF.3. UCS makes the id; one that the body brings is ignored.
pub(super) fn create(store: &mut Store, call: &Call) -> Answer {
    let mut profile = call.object()?.clone();
    let id = store.new_customer_id();
    profile.insert("customer_id".to_owned(), json!(id));
    store.profiles.insert(id.clone(), profile);
    Ok(Reply::created(format!("/profiles/{id}"), &json!({"customer_id": id})))
}

/// CV.WS.CUSTID.1: the customers whose attributes equal those of the query. The shape of the list is a guess.
pub(super) fn identify(store: &mut Store, call: &Call) -> Answer {
    const OPTIONS: [&str; 4] = ["id_key", "include_profile", "include_extensions", "extensions"];
    let wanted: Vec<_> = call.query.iter().filter(|(name, _)| !OPTIONS.contains(&name.as_str())).collect();
    if wanted.is_empty() {
        return Err(Fault::bad_request("give at least one attribute of an identification key"));
    }
    let found: Vec<&Object> = store
        .profiles
        .values()
        .filter(|profile| wanted.iter().all(|(name, value)| holds(profile, name, value)))
        .collect();
    let extensions_shown = call.parameter("include_extensions") != Some("unique") || found.len() == 1;
    let whole = call.parameter("include_profile") == Some("yes");
    let shown = |profile: &Object| {
        let extensions = if extensions_shown { call.parameter("extensions") } else { None };
        select(store, profile, whole, extensions.unwrap_or_default())
    };
    Ok(Reply::json(200, &found.into_iter().map(shown).collect()))
}

/// CV.WS.PROF.1. `extensions=a,b` adds these extensions to the attributes.
pub(super) fn query(store: &mut Store, call: &Call) -> Answer {
    let profile = store.profiles.get(call.at(1)).ok_or_else(|| Fault::not_found("customer", call.at(1)))?;
    Ok(Reply::json(200, &select(store, profile, true, call.parameter("extensions").unwrap_or_default())))
}

/// CV.WS.PROF.2: the attributes are replaced as a whole; extensions only where the body has them.
pub(super) fn update(store: &mut Store, call: &Call) -> Answer {
    let mut fresh = call.object()?.clone();
    let names: Vec<String> = extension_names(store).collect();
    let profile = store.profile(call.at(1))?;
    for (name, value) in std::mem::take(profile) {
        if names.contains(&name) || name == "customer_id" {
            fresh.entry(name).or_insert(value);
        }
    }
    fresh.insert("customer_id".to_owned(), json!(call.at(1)));
    *profile = fresh;
    Ok(Reply::empty(200))
}

/// CV.WS.PROF.8: with the customer go the services, and here the interactions too.
pub(super) fn delete(store: &mut Store, call: &Call) -> Answer {
    let id = call.at(1);
    store.profiles.remove(id).ok_or_else(|| Fault::not_found("customer", id))?;
    store.services.retain(|_, service| service.fields.get("customer_id") != Some(&json!(id)));
    store.interactions.retain(|_, interaction| interaction.customer_id != id);
    Ok(Reply::empty(200))
}

/// CV.WS.PROF.4: inserts extensions, in place of those that are there.
pub(super) fn insert_extensions(store: &mut Store, call: &Call) -> Answer {
    let mut named = Object::new();
    for (name, records) in call.object()? {
        let schema = store.schema(Extended::Profile, name)?;
        named.insert(schema["name"].as_str().unwrap_or(name).to_owned(), records.clone());
    }
    store.profile(call.at(1))?.extend(named);
    Ok(Reply::empty(200))
}

/// CV.WS.PROF.6.
pub(super) fn update_record(store: &mut Store, call: &Call) -> Answer {
    record(store, call, true)
}

/// CV.WS.PROF.7.
pub(super) fn delete_record(store: &mut Store, call: &Call) -> Answer {
    record(store, call, false)
}

fn record(store: &mut Store, call: &Call, change: bool) -> Answer {
    let schema = store.schema(Extended::Profile, call.at(3))?.clone();
    by_unique(store.profile(call.at(1))?, &schema, call.object()?, change)?;
    Ok(Reply::empty(200))
}

fn extension_names(store: &Store) -> impl Iterator<Item = String> + '_ {
    let profiles = store.schemas.iter().filter(|((extended, _), _)| *extended == Extended::Profile);
    profiles.filter_map(|(_, schema)| schema["name"].as_str().map(str::to_owned))
}

/// The id, the attributes when `whole`, and the extensions named in the comma-separated `extensions`.
fn select(store: &Store, profile: &Object, whole: bool, extensions: &str) -> Value {
    let is_extension = |name: &str| extension_names(store).any(|known| known == name);
    let asked = |name: &str| extensions.split(',').any(|wanted| wanted.trim().eq_ignore_ascii_case(name));
    let shown = profile.iter().filter(|(name, _)| match name.as_str() {
        "customer_id" => true,
        name if is_extension(name) => asked(name),
        _ => whole,
    });
    Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
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
