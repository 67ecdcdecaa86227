//! The JSON Schema of routes.yaml, for editors. It describes shapes only: duplicates, unreachable routes and other rules
//! across values need the gateway itself.

/// JSON Schema (draft 2020-12) of routes.yaml.
pub(crate) const JSON_SCHEMA: &str = include_str!("schema.json");

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::document::{ANSWER_KEYS, FILE_KEYS, REASONS, ROUTE_KEYS};
    use super::*;

    fn schema() -> Value {
        serde_json::from_str(JSON_SCHEMA).unwrap()
    }

    #[test]
    fn the_schema_has_exactly_the_keys_of_the_parser() {
        let schema = schema();
        let keys = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let known = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<BTreeSet<_>>();
        assert_eq!(keys(&schema["properties"]), known(&FILE_KEYS));
        assert_eq!(keys(&schema["properties"]["routes"]["items"]["properties"]), known(&ROUTE_KEYS));
        let answers = &schema["properties"]["answers"]["additionalProperties"];
        assert_eq!(keys(&answers["properties"]), known(&ANSWER_KEYS));
        assert_eq!(schema["properties"]["answers"]["propertyNames"]["enum"], json!(REASONS));
    }

    #[test]
    fn the_shipped_table_uses_only_keys_of_the_schema() {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/routes.yaml"));
        let table: Value = serde_yaml::from_str(text).unwrap();
        let schema = schema();
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
