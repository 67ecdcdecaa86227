//! The JSON Schema of routes.yaml, for editors. It describes shapes only: duplicates, unreachable routes and other rules
//! across values need the gateway itself.

use serde_json::{Value, json};

use super::document::REASONS;

/// JSON Schema (draft 2020-12) of routes.yaml.
pub(crate) fn json_schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routes.yaml of ucs-gateway",
        "type": "object",
        "additionalProperties": false,
        "required": ["version", "routes"],
        "properties": {
            "version": { "const": 1, "description": "The version of this format." },
            "base_path": {
                "type": "string",
                "pattern": "^(/[^/{}]+)*$",
                "default": "",
                "description": "Prefix of every path: the option cview/base_url of UCS, e.g. /genesys/1/cs."
            },
            "unmatched": {
                "description": "The handling of a request that matches no route: 404, or forwarded and gated as a class.",
                "default": "not_found",
                "oneOf": [
                    { "const": "not_found" },
                    {
                        "type": "object",
                        "additionalProperties": false,
                        "required": ["class"],
                        "properties": { "class": class() }
                    }
                ]
            },
            "classes": {
                "type": "object",
                "description": "The modes that admit each class. schema, profile, service and server exist without being listed.",
                "propertyNames": { "pattern": "^[a-z][a-z0-9_]*$" },
                "additionalProperties": modes("The modes that admit this class.")
            },
            "answers": {
                "type": "object",
                "description": "Bodies that replace the problem documents of the gateway, by reason.",
                "propertyNames": { "enum": REASONS },
                "additionalProperties": answer()
            },
            "routes": { "type": "array", "description": "The first listed match wins.", "items": route() }
        }
    })
}

fn answer() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["content_type", "body"],
        "properties": {
            "content_type": { "type": "string", "description": "Sent as Content-Type." },
            "headers": {
                "type": "object",
                "additionalProperties": { "type": "string" },
                "description": "More header lines."
            },
            "body": {
                "type": "string",
                "description": "Text with {operation} {method} {path} {mode} {status} {detail} {reason} {revision} {class}."
            }
        }
    })
}

fn route() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["operation", "method", "class"],
        "oneOf": [{ "required": ["path"] }, { "required": ["regex"] }],
        "properties": {
            "operation": { "type": "string", "minLength": 1, "description": "Its name in the UCS documentation." },
            "id": { "type": "string", "minLength": 1, "description": "Its document ID, e.g. CV.WS.PROF.1." },
            "method": {
                "type": "string",
                "pattern": "^[A-Z-]+$",
                "description": "An upper-case method, or ANY. GET also takes HEAD."
            },
            "path": {
                "type": "string",
                "pattern": "^/",
                "description": "A template relative to base_path: {name} stands for one segment."
            },
            "regex": { "type": "string", "description": "A regex over the whole path, relative to base_path, without ^ and $." },
            "class": class(),
            "modes": modes("The modes that admit this route, when its class says otherwise."),
            "answer": {
                "enum": ["set_mode", "status"],
                "description": "The gateway responds instead of forwarding."
            },
            "needs_profile_schema": {
                "type": "boolean",
                "default": false,
                "description": "UCS responds with 404 to it when no profile schema is defined."
            }
        }
    })
}

fn class() -> Value {
    json!({ "type": "string", "description": "A class: schema, profile, service, server, or one of classes." })
}

fn modes(description: &str) -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "description": description,
        "items": { "enum": ["production", "maintenance"] }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::document::{ANSWER_KEYS, FILE_KEYS, ROUTE_KEYS};
    use super::*;

    #[test]
    fn the_schema_has_exactly_the_keys_of_the_parser() {
        let schema = json_schema();
        let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let known = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(keys(&schema["properties"]), known(&FILE_KEYS));
        assert_eq!(keys(&schema["properties"]["routes"]["items"]["properties"]), known(&ROUTE_KEYS));
        let answers = &schema["properties"]["answers"]["additionalProperties"];
        assert_eq!(keys(&answers["properties"]), known(&ANSWER_KEYS));
    }

    #[test]
    fn the_shipped_table_uses_only_keys_of_the_schema() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml"));
        let table: Value = serde_yaml::from_str(text).unwrap();
        let schema = json_schema();
        for key in table.as_object().unwrap().keys() {
            assert!(schema["properties"][key].is_object(), "{key}");
        }
        for route in table["routes"].as_array().unwrap() {
            for key in route.as_object().unwrap().keys() {
                assert!(schema["properties"]["routes"]["items"]["properties"][key].is_object(), "{key}");
            }
        }
    }
}
