//! Example data with known ids, so that a printed command line has something to show. Only the `demo` command and
//! tests use it.

use std::sync::PoisonError;

use serde_json::json;

use super::kinds::{
    CUSTOMER, IDENTIFICATION_KEY, INTERACTION, PROFILE_EXTENSION, SERVICE, SERVICE_EXTENSION, STATE, TASK,
};
use super::stand_in::StandIn;

impl StandIn {
    /// Adds two customers (`00000SEEDED00001`, `00000SEEDED00002`), services 1 (of the first customer, with state 2 and
    /// task 3) and 4 (anonymous, contact key `408-832-7799`), interaction `seeded-1`, the profile extension schema `Phone`,
    /// the service extension schema `feedback`, and identification key `idEmail`.
    pub fn seed(&self) {
        let started = json!({"timestamp": "2010-02-24T14:35:28.668Z"});
        let resources = [
            (
                &CUSTOMER,
                json!({
                    "customer_id": "00000SEEDED00001", "FirstName": "Bruce", "LastName": "Banner",
                    "EmailAddress": ["bruce.banner@example.com", "b.banner@example.org"],
                    "Phone": [
                        {"PhoneType": 0, "prefix": "+33", "PhoneNumber": "3145926535", "description": "family phone"},
                    ],
                }),
            ),
            (
                &CUSTOMER,
                json!({
                    "customer_id": "00000SEEDED00002", "FirstName": "Diana", "LastName": "Prince",
                    "EmailAddress": ["diana.prince@example.com"],
                }),
            ),
            (
                &SERVICE,
                json!({"service_id": 1, "customer_id": "00000SEEDED00001", "service_type": 2, "started": started}),
            ),
            (&SERVICE, json!({"service_id": 4, "contact_key": "408-832-7799", "service_type": 1, "started": started})),
            (&STATE, json!({"state_id": 2, "state_type": 1, "started": started})),
            (&TASK, json!({"task_id": 3, "task_type": 1, "started": started})),
            (
                &PROFILE_EXTENSION,
                json!({
                    "name": "Phone", "type": "multi-valued", "unique": ["PhoneType", "PhoneNumber"],
                    "attributes": [
                        {"name": "PhoneType", "type": "integer", "mandatory": true},
                        {"name": "prefix", "type": "string", "length": 5},
                        {"name": "PhoneNumber", "type": "string", "length": 32, "mandatory": true},
                        {"name": "description", "type": "string", "length": 64},
                    ],
                }),
            ),
            (
                &SERVICE_EXTENSION,
                json!({
                    "name": "feedback", "type": "single-valued", "attributes": [{"name": "score", "type": "integer"}],
                }),
            ),
            (&IDENTIFICATION_KEY, json!({"name": "idEmail", "attributes": ["EmailAddress"]})),
            (
                &INTERACTION,
                json!({
                    "interaction_id": "seeded-1", "customer_id": "00000SEEDED00001", "service_id": "1",
                    "media_type": "email", "subject": "My bill", "creation_date": "2010-02-24T14:35:27.964Z",
                }),
            ),
        ];
        let contents: [(&str, &str, &[u8]); 3] = [
            ("plain_text", "text/plain;charset=UTF-8", b"Why is my bill green?"),
            ("structured_text", "text/html;charset=UTF-8", b"<p>Why is my bill <b>green</b>?</p>"),
            ("binary_content", "application/octet-stream", b"\x89example\r\n\0"),
        ];
        let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
        for (kind, resource) in resources {
            store.insert(kind, kind.parent.and_then(|parent| parent.key("1")), resource);
        }
        store.contents.extend(contents.map(|(name, content_type, bytes)| (("seeded-1", name), (content_type, bytes))));
    }
}
