//! The kinds of resources as data: how each is named, keyed, nested and extended. Nothing is stored here.

#[derive(Debug)]
pub(super) struct Kind {
    /// Its name in error descriptions.
    pub(super) noun: &'static str,
    /// The path of its collection; for a kind with a parent, below the parent's own path. No two kinds share one.
    pub(super) path: &'static str,
    /// The member that holds the key. A placeholder of this name stands for the key in the paths of operations.
    pub(super) id: &'static str,
    pub(super) keys: KeyStyle,
    pub(super) parent: Option<&'static Kind>,
    /// Members of a start event that belong to the resource itself; other simple members belong to the event.
    pub(super) fields: &'static [&'static str],
    /// The kind of its extension schemas.
    pub(super) extension: Option<&'static Kind>,
}

/// How the keys of a kind are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum KeyStyle {
    Number,
    Text,
    /// Case-insensitive, as the names of extensions and identification keys are documented to be.
    Name,
}

/// The key of a resource. Numbers sort as numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Number(u64),
    Text(String),
}

impl Kind {
    /// The key that `id` stands for; `None` if no resource of this kind can have it.
    pub(super) fn key(&self, id: &str) -> Option<Key> {
        match self.keys {
            KeyStyle::Number => id.parse().ok().map(Key::Number),
            KeyStyle::Text => Some(Key::Text(id.to_owned())),
            KeyStyle::Name => Some(Key::Text(id.to_lowercase())),
        }
    }
}

pub(super) static CUSTOMER: Kind =
    Kind { id: "customer_id", extension: Some(&PROFILE_EXTENSION), ..kind("customer", "/profiles", KeyStyle::Text) };

pub(super) static SERVICE: Kind = Kind {
    id: "service_id",
    fields: &["customer_id", "contact_key", "service_type", "est_duration"],
    extension: Some(&SERVICE_EXTENSION),
    ..kind("service", "/services", KeyStyle::Number)
};

pub(super) static STATE: Kind = Kind {
    id: "state_id",
    parent: Some(&SERVICE),
    fields: &["state_type", "est_duration"],
    extension: Some(&STATE_EXTENSION),
    ..kind("state", "/states", KeyStyle::Number)
};

pub(super) static TASK: Kind = Kind {
    id: "task_id",
    parent: Some(&SERVICE),
    fields: &["task_type", "est_duration"],
    extension: Some(&TASK_EXTENSION),
    ..kind("task", "/tasks", KeyStyle::Number)
};

pub(super) static INTERACTION: Kind =
    Kind { id: "interaction_id", ..kind("interaction", "/interactions", KeyStyle::Text) };

pub(super) static PROFILE_EXTENSION: Kind = kind("extension schema", "/metadata/profiles/extensions", KeyStyle::Name);

pub(super) static SERVICE_EXTENSION: Kind = kind("extension schema", "/metadata/services/extensions", KeyStyle::Name);

pub(super) static STATE_EXTENSION: Kind = kind("extension schema", "/metadata/states/extensions", KeyStyle::Name);

pub(super) static TASK_EXTENSION: Kind = kind("extension schema", "/metadata/tasks/extensions", KeyStyle::Name);

pub(super) static IDENTIFICATION_KEY: Kind =
    kind("identification key", "/metadata/identification-keys", KeyStyle::Name);

pub(super) static BUSINESS_ATTRIBUTE: Kind =
    kind("business attribute", "/metadata/business-attributes", KeyStyle::Text);

/// A kind keyed by the member `name`, with no parent and no extensions.
const fn kind(noun: &'static str, path: &'static str, keys: KeyStyle) -> Kind {
    Kind { noun, path, id: "name", keys, parent: None, fields: &[], extension: None }
}
