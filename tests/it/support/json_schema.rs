//! Holds a document against a JSON Schema: the keywords that our own schemas use, and a panic at any other, so that
//! nothing passes because it was not understood.

use serde_json::{Map, Value};

/// Keywords that say nothing about a document.
const ANNOTATIONS: [&str; 8] =
    ["$schema", "title", "description", "default", "examples", "format", "$defs", "components"];

/// All that is wrong with `value`, each with its place. `root` is where `$ref` looks.
pub fn faults(root: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(root, schema, value, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        assert!(schema.is_boolean(), "no schema: {schema}");
        if schema == &Value::Bool(false) {
            faults.push(format!("{at}: is not allowed"));
        }
        return;
    };
    let mut fault = |what: String| faults.push(format!("{at}: {what}, is {value}"));
    for (keyword, wanted) in schema {
        match keyword.as_str() {
            "type" if !has_type(wanted, value) => fault(format!("type {wanted}")),
            "const" if wanted != value => fault(format!("const {wanted}")),
            "enum" if !list(wanted).contains(value) => fault(format!("one of {wanted}")),
            "minimum" if value.is_number() && value.as_f64() < wanted.as_f64() => fault(format!("at least {wanted}")),
            "maximum" if value.is_number() && value.as_f64() > wanted.as_f64() => fault(format!("at most {wanted}")),
            "minLength" if length(value).is_some_and(|length| Some(length) < wanted.as_u64()) => {
                fault("too short".to_owned())
            }
            "maxLength" if length(value).is_some_and(|length| Some(length) > wanted.as_u64()) => {
                fault("too long".to_owned())
            }
            "minItems" if value.as_array().is_some_and(|items| (items.len() as u64) < wanted.as_u64().unwrap()) => {
                fault("too few".to_owned());
            }
            "pattern" if value.is_string() && !matches(wanted, value) => fault(format!("pattern {wanted}")),
            "not" if self::faults(root, wanted, value).is_empty() => fault(format!("not {wanted}")),
            "type" | "const" | "enum" | "minimum" | "maximum" | "minLength" | "maxLength" | "minItems" | "pattern" => {}
            "required" | "properties" | "additionalProperties" | "propertyNames" | "items" => {}
            "anyOf" | "oneOf" | "not" | "$ref" => {}
            other => assert!(ANNOTATIONS.contains(&other), "the test does not know the keyword {other}"),
        }
    }
    if let Some(name) = schema.get("$ref") {
        let pointer = name.as_str().and_then(|name| name.strip_prefix('#')).expect("a local reference");
        let target = root.pointer(pointer).unwrap_or_else(|| panic!("{name} leads nowhere"));
        check(root, target, value, at, faults);
    }
    check_choice(root, schema, value, at, faults);
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for (place, value) in values.iter().enumerate() {
            check(root, items, value, &format!("{at}/{place}"), faults);
        }
    }
    if let Some(members) = value.as_object() {
        check_members(root, schema, members, at, faults);
    }
}

fn check_choice(root: &Value, schema: &Map<String, Value>, value: &Value, at: &str, faults: &mut Vec<String>) {
    for (keyword, exactly) in [("anyOf", false), ("oneOf", true)] {
        let Some(choices) = schema.get(keyword) else { continue };
        let tried: Vec<_> = list(choices).iter().map(|choice| self::faults(root, choice, value)).collect();
        let fitting = tried.iter().filter(|faults| faults.is_empty()).count();
        if fitting == 0 || (exactly && fitting > 1) {
            faults.push(format!("{at}: {fitting} of {keyword} fit {value}: {tried:?}"));
        }
    }
}

fn check_members(
    root: &Value,
    schema: &Map<String, Value>,
    members: &Map<String, Value>,
    at: &str,
    faults: &mut Vec<String>,
) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for name in schema.get("required").map(list).unwrap_or_default() {
        if !members.contains_key(name.as_str().unwrap()) {
            faults.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, value) in members {
        let at = format!("{at}/{name}");
        if let Some(names) = schema.get("propertyNames") {
            check(root, names, &Value::String(name.clone()), &at, faults);
        }
        match (properties.and_then(|properties| properties.get(name)), schema.get("additionalProperties")) {
            (Some(schema), _) | (None, Some(schema)) => check(root, schema, value, &at, faults),
            (None, None) => {}
        }
    }
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    let one = |name: &Value| match name.as_str().expect("a type has a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type {other}"),
    };
    wanted.as_array().map_or_else(|| one(wanted), |names| names.iter().any(one))
}

fn matches(pattern: &Value, value: &Value) -> bool {
    regex::Regex::new(pattern.as_str().unwrap()).unwrap().is_match(value.as_str().unwrap_or_default())
}

/// In characters.
fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}
