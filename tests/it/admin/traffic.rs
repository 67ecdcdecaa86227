//! `GET /traffic` and the event `traffic`: what ended, by class and outcome, and what is in flight, with its age.

use serde_json::{Value, json};

use crate::support::{Events, Gateway, Ucs, Upload, admin, eventually, request};

/// The sum of an outcome over all samples.
fn sum(traffic: &Value, class: &str, outcome: &str) -> u64 {
    let samples = traffic["samples"].as_array().unwrap();
    samples.iter().filter_map(|sample| sample["classes"][class][outcome].as_u64()).sum()
}

#[test]
fn requests_are_told_by_class_and_outcome_and_what_runs_with_its_age() {
    let ucs = Ucs::usual();
    let gateway = Gateway::bare(ucs.address, &[]);
    let mut events = Events::open(&gateway);
    let show = || admin::call(&gateway, "GET /traffic", None).json();
    assert_eq!(request(gateway.data, "GET /profiles/1", &[], b"").status, 404, "UCS lacks it");
    assert_eq!(request(gateway.data, "POST /metadata/profiles/extensions", &[], b"{}").refusal(), Some("mode"));
    eventually("both are counted", || {
        let traffic = show();
        (sum(&traffic, "profile", "served"), sum(&traffic, "schema", "refused")) == (1, 1)
    });
    assert_eq!((sum(&show(), "profile", "refused"), sum(&show(), "profile", "failed")), (0, 0));
    let upload = Upload::begin(&gateway, &ucs);
    let running = |document: &Value| document["running"].as_array().unwrap().first().cloned();
    eventually("the request is shown with its age", || {
        running(&show()).is_some_and(|one| one["oldest_ms"].as_u64() > Some(1000))
    });
    let one = running(&show()).unwrap();
    assert_eq!((&one["operation"], &one["count"]), (&json!("Create Customer Profile"), &json!(1)));
    let told = events.until(|event| event.name == "traffic" && running(&event.data).is_some());
    assert_eq!(told.data["running"][0]["class"], "profile");
    assert_eq!(upload.finish().status, 201);
    eventually("nothing runs", || running(&show()).is_none());
}
