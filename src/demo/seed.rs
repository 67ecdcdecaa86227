//! Example data with known ids, so that a printed command line has something to show. Only the `demo` command and
//! tests use it.

use std::sync::PoisonError;

use bytes::Bytes;
use serde_json::{Value, json};

use super::StandIn;
use super::store::{Extended, Interaction, Object, Service};

/// A request that works on the seeded data in production.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// Upper case.
    pub method: &'static str,
    /// Below the base path.
    pub path: &'static str,
    /// JSON, or empty for none.
    pub body: &'static str,
    /// What it does, in a few words.
    pub what: &'static str,
    /// The status that follows.
    pub status: u16,
}

/// Requests to the seeded data: two customers (`00000SEEDED00001`, `00000SEEDED00002`), services 1 (of the first
/// customer, with state 2 and task 3) and 4 (anonymous, contact key `408-832-7799`), interaction `seeded-1`, the
/// profile extension schema `Phone`, the service extension schema `feedback`, and identification key `idEmail`.
pub const EXAMPLES: &[Example] = &[
    example("GET", "/profiles/00000SEEDED00001?extensions=Phone", "", "query a customer", 200),
    example("GET", "/profiles?EmailAddress=bruce.banner@example.com", "", "identify a customer", 200),
    example("POST", "/profiles", r#"{"FirstName":"Ada","LastName":"Lovelace"}"#, "create a customer", 201),
    example("GET", "/customers/00000SEEDED00001/services/active", "", "query a customer's services", 200),
    example("GET", "/services/anonymous/408-832-7799", "", "query anonymous services", 200),
    example("GET", "/services/1/states/2", "", "query a state", 200),
    example("GET", "/services/1/tasks/3", "", "query a task", 200),
    example("GET", "/interactions/seeded-1", "", "query an interaction", 200),
    example("GET", "/interactions/seeded-1/plain_text", "", "get an interaction's text", 200),
    example("GET", "/metadata/profiles/extensions/Phone", "", "query an extension schema", 200),
    example("GET", "/metadata/services/extensions/feedback", "", "query a service extension schema", 200),
    example("GET", "/metadata/identification-keys/idEmail", "", "get an identification key", 200),
    example(
        "POST",
        "/metadata/profiles/extensions",
        r#"{"name":"Loyalty","type":"single-valued","attributes":[{"name":"tier","type":"string"}]}"#,
        "create an extension schema: refused in production",
        503,
    ),
];

const fn example(
    method: &'static str,
    path: &'static str,
    body: &'static str,
    what: &'static str,
    status: u16,
) -> Example {
    Example { method, path, body, what, status }
}

/// Puts the data of [`EXAMPLES`] into the store.
pub fn seed(stand_in: &StandIn) {
    let mut store = stand_in.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
    let bruce = object(json!({
        "customer_id": "00000SEEDED00001", "FirstName": "Bruce", "LastName": "Banner",
        "EmailAddress": ["bruce.banner@example.com", "b.banner@example.org"],
        "Phone": [{"PhoneType": 0, "prefix": "+33", "PhoneNumber": "3145926535", "description": "family phone"}],
    }));
    let diana = object(json!({
        "customer_id": "00000SEEDED00002", "FirstName": "Diana", "LastName": "Prince",
        "EmailAddress": ["diana.prince@example.com"],
    }));
    store.profiles.insert("00000SEEDED00001".to_owned(), bruce);
    store.profiles.insert("00000SEEDED00002".to_owned(), diana);

    let started = json!({"timestamp": "2010-02-24T14:35:28.668Z"});
    let state = json!({"state_id": 2, "state_type": 1, "started": started});
    let task = json!({"task_id": 3, "task_type": 1, "started": started});
    let service = Service {
        fields: object(json!({
            "service_id": 1, "customer_id": "00000SEEDED00001", "service_type": 2, "started": started,
        })),
        states: [(2, object(state))].into(),
        tasks: [(3, object(task))].into(),
    };
    let anonymous = object(json!({
        "service_id": 4, "contact_key": "408-832-7799", "service_type": 1, "started": started,
    }));
    store.services.insert(1, service);
    store.services.insert(4, Service { fields: anonymous, ..Service::default() });

    let phone = json!({
        "name": "Phone", "type": "multi-valued", "unique": ["PhoneType", "PhoneNumber"],
        "attributes": [
            {"name": "PhoneType", "type": "integer", "mandatory": true},
            {"name": "prefix", "type": "string", "length": 5},
            {"name": "PhoneNumber", "type": "string", "length": 32, "mandatory": true},
            {"name": "description", "type": "string", "length": 64},
        ],
    });
    let feedback = json!({
        "name": "feedback", "type": "single-valued", "attributes": [{"name": "score", "type": "integer"}],
    });
    let key = json!({"name": "idEmail", "attributes": ["EmailAddress"]});
    store.schemas.insert((Extended::Profile, "phone".to_owned()), object(phone));
    store.schemas.insert((Extended::Service, "feedback".to_owned()), object(feedback));
    store.identification_keys.insert("idemail".to_owned(), object(key));

    let interaction = Interaction {
        customer_id: "00000SEEDED00001".to_owned(),
        service_id: 1,
        fields: object(
            json!({"media_type": "email", "subject": "My bill", "creation_date": "2010-02-24T14:35:27.964Z"}),
        ),
        plain_text: "Why is my bill green?".to_owned(),
        structured_text: "<p>Why is my bill <b>green</b>?</p>".to_owned(),
        binary_content: Bytes::from_static(b"\x89example\r\n\0"),
    };
    store.interactions.insert("seeded-1".to_owned(), interaction);
}

/// The object of a literal that is one.
fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}
