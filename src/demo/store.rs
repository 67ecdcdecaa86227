//! What the stand-in remembers: customers, services, interactions and schemas, in memory, with ids in the shape that
//! the documentation gives them. It knows no HTTP.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::response::Fault;

/// A JSON object. Extensions are members of the resource that they extend, under the name of their schema.
pub(super) type Object = Map<String, Value>;

/// What a schema extends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Extended {
    Profile,
    Service,
    State,
    Task,
}

/// A service with its states and tasks.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) fields: Object,
    pub(super) states: BTreeMap<u64, Object>,
    pub(super) tasks: BTreeMap<u64, Object>,
}

/// An interaction and its contents.
#[derive(Debug, Default)]
pub(super) struct Interaction {
    pub(super) customer_id: String,
    pub(super) service_id: u64,
    pub(super) fields: Object,
    pub(super) plain_text: String,
    pub(super) structured_text: String,
    pub(super) binary_content: Bytes,
}

/// Everything.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) profiles: BTreeMap<String, Object>,
    pub(super) services: BTreeMap<u64, Service>,
    pub(super) interactions: BTreeMap<String, Interaction>,
    /// By what they extend and lower-case name: names are case-insensitive.
    pub(super) schemas: BTreeMap<(Extended, String), Object>,
    /// By lower-case name.
    pub(super) identification_keys: BTreeMap<String, Object>,
    pub(super) profile_schema: Value,
    pub(super) business_attributes: Value,
    last_customer: u64,
    last_id: u64,
}

impl Store {
    pub(super) fn new() -> Store {
        Store {
            profiles: BTreeMap::new(),
            services: BTreeMap::new(),
            interactions: BTreeMap::new(),
            schemas: BTreeMap::new(),
            identification_keys: BTreeMap::new(),
            profile_schema: json!([
                {"name": "FirstName", "type": "string", "length": 64, "mandatory": false},
                {"name": "LastName", "type": "string", "length": 64, "mandatory": false},
                {"name": "EmailAddress", "type": "string", "length": 256, "mandatory": false},
                {"name": "PhoneNumber", "type": "string", "length": 64, "mandatory": false},
            ]),
            business_attributes: json!([{
                "name": "ServiceType",
                "values": [{"id": 1, "name": "New Account"}, {"id": 2, "name": "Bill Payment"}],
                "map": ["Service.service_type"],
            }]),
            last_customer: 0,
            last_id: 100,
        }
    }

    /// 16 characters, the documented limit.
    pub(super) fn new_customer_id(&mut self) -> String {
        self.last_customer += 1;
        format!("{:05}STANDIN{:04}", 0, self.last_customer)
    }

    /// For services, states and tasks alike.
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn profile(&mut self, id: &str) -> Result<&mut Object, Fault> {
        self.profiles.get_mut(id).ok_or_else(|| Fault::not_found("customer", id))
    }

    pub(super) fn service(&mut self, id: &str) -> Result<&mut Service, Fault> {
        let found = id.parse().ok().and_then(|number: u64| self.services.get_mut(&number));
        found.ok_or_else(|| Fault::not_found("service", id))
    }

    pub(super) fn schema(&self, extended: Extended, name: &str) -> Result<&Object, Fault> {
        let found = self.schemas.get(&(extended, name.to_lowercase()));
        found.ok_or_else(|| Fault::not_found("extension schema", name))
    }
}

impl Service {
    /// The whole service as Query Service by ID shows it.
    pub(super) fn shown(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    pub(super) fn part(&mut self, extended: Extended, id: &str) -> Result<&mut Object, Fault> {
        let (parts, what) = match extended {
            Extended::Task => (&mut self.tasks, "task"),
            _ => (&mut self.states, "state"),
        };
        let found = id.parse().ok().and_then(|number: u64| parts.get_mut(&number));
        found.ok_or_else(|| Fault::not_found(what, id))
    }
}

/// Changes (`Some`) or removes (`None`) the one record of a multi-valued extension that agrees with `key` in every
/// attribute that the schema lists as unique.
pub(super) fn by_unique(owner: &mut Object, schema: &Object, key: &Object, change: bool) -> Result<(), Fault> {
    let name = schema["name"].as_str().unwrap_or_default();
    let unique: Vec<&str> = schema["unique"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(records) = owner.get_mut(name).and_then(Value::as_array_mut) else {
        return Err(Fault::not_found("record of extension", name));
    };
    let agrees = |record: &Value| unique.iter().all(|attribute| record.get(*attribute) == key.get(*attribute));
    let Some(place) = records.iter().position(agrees).filter(|_| !unique.is_empty()) else {
        return Err(Fault::not_found("record of extension", name));
    };
    if !change {
        records.remove(place);
    } else if let Some(record) = records[place].as_object_mut() {
        record.extend(key.clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn object(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn customer_ids_have_sixteen_characters() {
        assert_eq!(Store::new().new_customer_id().len(), 16);
    }

    #[test]
    fn a_record_is_found_by_its_unique_attributes() {
        let schema = object(json!({"name": "Phone", "unique": ["type"]}));
        let mut owner = object(json!({"Phone": [{"type": 1, "number": "1"}, {"type": 2, "number": "2"}]}));
        by_unique(&mut owner, &schema, &object(json!({"type": 2, "number": "9"})), true).unwrap();
        by_unique(&mut owner, &schema, &object(json!({"type": 1})), false).unwrap();
        assert_eq!(Value::Object(owner.clone()), json!({"Phone": [{"type": 2, "number": "9"}]}));
        assert_eq!(by_unique(&mut owner, &schema, &object(json!({"type": 3})), false).unwrap_err().status, 404);
    }
}
