//! The resources of the stand-in, in memory, with ids in the shape that the documentation gives them. It knows kinds,
//! keys and parents; the meaning of the members is the business of `actions`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::kinds::{BUSINESS_ATTRIBUTE, Key, Kind};
use super::response::UcsError;

/// A JSON object. Extensions are members of the resource that they extend, under the name of their schema.
pub(super) type Object = Map<String, Value>;

/// All resources.
#[derive(Debug)]
pub(super) struct Store {
    /// By path of the kind, key of the parent, and own key.
    resources: BTreeMap<(&'static str, Option<Key>, Key), Object>,
    /// Contents of interactions and their types, by interaction and name.
    pub(super) contents: BTreeMap<(&'static str, &'static str), (&'static str, &'static [u8])>,
    last_customer: u64,
    last_id: u64,
}

impl Store {
    /// Holds only the business attributes, which UCS takes from its configuration.
    pub(super) fn new() -> Store {
        let mut store = Store { resources: BTreeMap::new(), contents: BTreeMap::new(), last_customer: 0, last_id: 100 };
        let service_type = json!({
            "name": "ServiceType",
            "values": [{"id": 1, "name": "New Account"}, {"id": 2, "name": "Bill Payment"}],
            "map": ["Service.service_type"],
        });
        store.insert(&BUSINESS_ATTRIBUTE, None, service_type);
        store
    }

    /// The resource that the path of `call` names. Its parent is looked up first.
    pub(super) fn get(&mut self, kind: &'static Kind, call: &Call) -> Result<&mut Object, UcsError> {
        let parent = self.parent(kind, call)?;
        self.find(kind, parent, call.id(kind.id))
    }

    /// The key of the parent that the path of `call` names, for a kind that has one.
    pub(super) fn parent(&mut self, kind: &Kind, call: &Call) -> Result<Option<Key>, UcsError> {
        let Some(parent) = kind.parent else { return Ok(None) };
        self.get(parent, call)?;
        Ok(parent.key(call.id(parent.id)))
    }

    pub(super) fn find(&mut self, kind: &'static Kind, parent: Option<Key>, id: &str) -> Result<&mut Object, UcsError> {
        let found = kind.key(id).and_then(|key| self.resources.get_mut(&(kind.path, parent, key)));
        found.ok_or_else(|| UcsError::not_found(kind.noun, id))
    }

    /// The resources of a kind below `parent`, in the order of their keys.
    pub(super) fn all(&self, kind: &'static Kind, parent: Option<Key>) -> impl Iterator<Item = &Object> {
        let of_kind = move |(path, above, _): &(&'static str, Option<Key>, Key)| *path == kind.path && *above == parent;
        self.resources.iter().filter(move |(place, _)| of_kind(place)).map(|(_, resource)| resource)
    }

    /// Adds an object under the key that its member `kind.id` holds, in place of one with the same key.
    pub(super) fn insert(&mut self, kind: &'static Kind, parent: Option<Key>, resource: Value) {
        let key = match &resource[kind.id] {
            Value::String(id) => kind.key(id),
            id => kind.key(&id.to_string()),
        };
        if let (Some(key), Value::Object(resource)) = (key, resource) {
            self.resources.insert((kind.path, parent, key), resource);
        }
    }

    /// Removes a resource that has no parent.
    pub(super) fn remove(&mut self, kind: &'static Kind, id: &str) -> Result<(), UcsError> {
        let removed = kind.key(id).and_then(|key| self.resources.remove(&(kind.path, None, key)));
        removed.map(drop).ok_or_else(|| UcsError::not_found(kind.noun, id))
    }

    /// Removes the resources of a kind that meet `condition`, with all below them.
    pub(super) fn remove_where(&mut self, kind: &'static Kind, condition: impl Fn(&Object) -> bool) {
        let mut removed = Vec::new();
        self.resources.retain(|(path, _, key), resource| {
            let goes = *path == kind.path && condition(resource);
            removed.extend(goes.then(|| Some(key.clone())));
            !goes
        });
        self.resources.retain(|(_, parent, _), _| parent.is_none() || !removed.contains(parent));
    }

    /// A new key of a customer: 16 characters, the documented limit.
    pub(super) fn new_customer_id(&mut self) -> String {
        self.last_customer += 1;
        format!("{:05}STANDIN{:04}", 0, self.last_customer)
    }

    /// A new key of a service, a state or a task.
    pub(super) fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customer_ids_have_sixteen_characters() {
        assert_eq!(Store::new().new_customer_id().len(), 16);
    }
}
