//! Schemas: the profile schema, extension schemas and identification keys, and the extensions that follow them.

use bytes::Bytes;
use hyper::Response;
use serde_json::{Value, json};

use super::call::Call;
use super::kinds::{CUSTOMER, IDENTIFICATION_KEY, Kind, PROFILE_EXTENSION};
use super::response::{self, OperationResult, UcsError};
use super::store::{Object, Store};

/// Longest documented name of an extension or key, in characters.
const NAME_LIMIT: usize = 26;

/// Query Profile Schema. Its page is not public; path and responses are by analogy with its siblings.
pub(super) fn profile_schema(_: &mut Store, call: &Call) -> OperationResult {
    let options = &call.options;
    if !options.schema_path_known {
        return Err(UcsError::not_found("resource", &call.uri));
    }
    if !options.profile_schema {
        return if options.empty_schema_list {
            Ok(response::json(200, &json!([])))
        } else {
            Err(UcsError::no_profile_schema())
        };
    }
    let attribute = |name, length| json!({"name": name, "type": "string", "length": length, "mandatory": false});
    let attributes = [("FirstName", 64), ("LastName", 64), ("EmailAddress", 256), ("PhoneNumber", 64)];
    Ok(response::json(200, &attributes.map(|(name, length)| attribute(name, length)).into_iter().collect()))
}

/// Create Extension Schema. A name that is taken is refused with 409 (undocumented).
pub(super) fn define_extension(store: &mut Store, call: &Call) -> OperationResult {
    let schema = call.object()?;
    let name = checked_name(schema)?;
    if !matches!(schema.get("type").and_then(Value::as_str), Some("single-valued" | "multi-valued" | "classifier")) {
        return Err(UcsError::bad_request("type must be single-valued, multi-valued or classifier"));
    }
    if store.find(call.kind, None, name).is_ok() {
        return Err(UcsError::new(409, format!("extension schema \"{name}\" already exists")));
    }
    Ok(defined(store, call, name, schema))
}

/// Create Identification Key.
pub(super) fn define_key(store: &mut Store, call: &Call) -> OperationResult {
    let key = call.object()?;
    let name = checked_name(key)?;
    if key.get("attributes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        return Err(UcsError::bad_request("attributes must list at least one attribute"));
    }
    Ok(defined(store, call, name, key))
}

/// Delete Extension Schema. Refused if an identification key uses the extension (documented, without a status; here
/// 400).
pub(super) fn delete_extension(store: &mut Store, call: &Call) -> OperationResult {
    let name = call.id("name");
    let uses = |key: &Object| key.get("source").and_then(Value::as_str).is_some_and(|s| s.eq_ignore_ascii_case(name));
    if call.kind.path == PROFILE_EXTENSION.path && store.all(&IDENTIFICATION_KEY, None).any(uses) {
        return Err(UcsError::bad_request(format!("an identification key uses extension \"{name}\"")));
    }
    delete(store, call)
}

/// Delete Identification Key, and the end of Delete Extension Schema.
pub(super) fn delete(store: &mut Store, call: &Call) -> OperationResult {
    store.remove(call.kind, call.id("name"))?;
    Ok(response::empty(204))
}

/// An extension schema, as records follow it.
pub(super) struct Schema {
    /// As it was defined; paths may spell it in another case.
    pub(super) name: String,
    /// The attributes that identify a record.
    unique: Vec<String>,
}

/// The schema of the extension `name` of resources of this kind.
pub(super) fn schema(store: &mut Store, kind: &Kind, name: &str) -> Result<Schema, UcsError> {
    let Some(extension) = kind.extension else { return Err(UcsError::not_found("extension schema", name)) };
    let schema = store.find(extension, None, name)?;
    let unique = schema.get("unique").and_then(Value::as_array).into_iter().flatten();
    Ok(Schema {
        unique: unique.filter_map(Value::as_str).map(str::to_owned).collect(),
        name: schema.get("name").and_then(Value::as_str).unwrap_or(name).to_owned(),
    })
}

/// The names of the extensions of customers.
pub(super) fn extension_names(store: &Store) -> Vec<String> {
    let names = store.all(&PROFILE_EXTENSION, None).filter_map(|schema| schema.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// The records of a multi-valued extension, and the place of the one that agrees with `key` in every unique attribute.
pub(super) fn by_unique<'a>(
    owner: &'a mut Object,
    schema: &Schema,
    key: &Object,
) -> Result<(&'a mut Vec<Value>, usize), UcsError> {
    let missing = || UcsError::not_found("record of extension", &schema.name);
    let records = owner.get_mut(&schema.name).and_then(Value::as_array_mut).ok_or_else(missing)?;
    let agrees = |record: &Value| schema.unique.iter().all(|attribute| record.get(attribute) == key.get(attribute));
    let place = records.iter().position(agrees).filter(|_| !schema.unique.is_empty()).ok_or_else(missing)?;
    Ok((records, place))
}

/// The id of a customer, the attributes if `is_whole`, and the extensions that the comma-separated `wanted` names.
pub(super) fn selected(profile: &Object, extensions: &[String], is_whole: bool, wanted: &str) -> Value {
    let is_wanted = |name: &str| wanted.split(',').any(|wanted| wanted.trim().eq_ignore_ascii_case(name));
    let shown = profile.iter().filter(|(name, _)| match *name {
        name if name == CUSTOMER.id => true,
        name if extensions.contains(name) => is_wanted(name),
        _ => is_whole,
    });
    Value::Object(shown.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// Adds a schema or key; 201 with an absolute `Location`, as documented.
fn defined(store: &mut Store, call: &Call, name: &str, definition: &Object) -> Response<Bytes> {
    let definition = Value::Object(definition.clone());
    store.insert(call.kind, None, definition.clone());
    response::created(&format!("{}{}/{name}", call.base_uri, call.kind.path), &definition)
}

/// Documented: a letter, then letters, digits and underscores, 26 characters at most.
fn checked_name(definition: &Object) -> Result<&str, UcsError> {
    let name = definition.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_legal = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= NAME_LIMIT;
    is_legal.then_some(name).ok_or_else(|| {
        UcsError::bad_request(format!(
            "name \"{name}\" must be a letter, then letters, digits and underscores, at most {NAME_LIMIT} characters"
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_record_is_found_by_its_unique_attributes() {
        let object = |value: Value| value.as_object().unwrap().clone();
        let schema = Schema { name: "Phone".to_owned(), unique: vec!["type".to_owned()] };
        let mut owner = object(json!({"Phone": [{"type": 1, "number": "1"}, {"type": 2, "number": "2"}]}));
        let (_, place) = by_unique(&mut owner, &schema, &object(json!({"type": 2, "number": "9"}))).unwrap();
        assert_eq!(place, 1);
        assert_eq!(by_unique(&mut owner, &schema, &object(json!({"type": 3}))).unwrap_err().status, 404);
        let no_key = Schema { unique: Vec::new(), ..schema };
        assert_eq!(by_unique(&mut owner, &no_key, &object(json!({}))).unwrap_err().status, 404);
    }
}
