//! The JSON Schema of routes.yaml, against the shipped tables and the reader of the gateway.

use serde_json::{Value, json};
use ucs_gateway::policy::routes_yaml::parse;

use crate::support::json_schema;
use crate::support::tool::run;

const SHIPPED: [&str; 3] = ["routes.yaml", "deploy/routes/8.5-split.yaml", "deploy/routes/9.1.yaml"];

const SCHEMA: &str = "deploy/routes/routes.schema.json";

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&read(SCHEMA)).unwrap()
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_printed() {
    let printed = run(&["schema"]);
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""), "{printed:?}");
    assert_eq!(printed.stdout, read(SCHEMA), "ucs-gateway schema > {SCHEMA}");
}

/// An editor finds it by the first line, whose path begins at the file.
#[test]
fn every_shipped_table_names_the_schema_and_fits_it() {
    for file in SHIPPED {
        let text = read(file);
        let folder = file.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
        let named = text.lines().next().unwrap().strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert_eq!(format!("{folder}{named}"), SCHEMA, "{file}");
        let table: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(json_schema::faults(&schema(), &schema(), &table), [""; 0], "{file}");
    }
}

/// A table with every key.
fn every_key() -> Value {
    json!({
        "version": 1,
        "base_path": "/cs",
        "unmatched": {"class": "service"},
        "classes": {"batch": ["maintenance"], "profile": ["production"]},
        "answers": {"mode": {"content_type": "application/json", "body": "{}", "headers": {"X-Reason": "mode"}}},
        "routes": [
            {"operation": "Set Server Mode", "method": "POST", "path": "/server/mode", "class": "server", "answer": "set_mode"},
            {"operation": "Status", "method": "GET", "path": "/server/status", "class": "server", "answer": "status"},
            {
                "operation": "Read", "id": "CV.1", "method": "GET", "path": "/profiles/{id}", "class": "profile",
                "modes": ["production"], "needs_profile_schema": true
            },
            {"operation": "Import", "method": "PUT", "regex": "/import/[a-z]+", "class": "batch"}
        ]
    })
}

/// The pointer of every value below `value`, and its own.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            (0..).zip(items).for_each(|(n, value): (usize, _)| places(value, &format!("{at}/{n}"), found))
        }
        _ => {}
    }
}

/// Every table that differs from `table` at one place: another value, a value less, a key more.
fn changed(table: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    places(table, "", &mut found);
    let mut changed = Vec::new();
    for place in found {
        let others = [
            json!(null),
            json!(true),
            json!(7),
            json!("text"),
            json!(""),
            json!(["text"]),
            json!([]),
            json!({}),
            json!({"a": 1}),
        ];
        for other in others {
            let mut table = table.clone();
            let name = format!("{place} = {other}");
            *table.pointer_mut(&place).unwrap() = other;
            changed.push((name, table));
        }
        let mut more = table.clone();
        if let Some(map) = more.pointer_mut(&place).and_then(Value::as_object_mut) {
            map.insert("another".to_owned(), json!("key"));
            changed.push((format!("{place} with another key"), more));
        }
        let (mut less, (parent, key)) = (table.clone(), place.rsplit_once('/').unwrap_or_default());
        let removed = match less.pointer_mut(parent) {
            Some(Value::Object(map)) => map.remove(key).is_some(),
            Some(Value::Array(items)) => {
                items.remove(key.parse().unwrap());
                true
            }
            _ => false,
        };
        if removed {
            changed.push((format!("without {place}"), less));
        }
    }
    changed
}

/// What only the gateway itself can know: rules between values, and the syntax of a value.
const ONLY_THE_READER: &[&str] = &[
    "unknown class",
    "no route has answer: set_mode",
    "can never match",
    "duplicate route",
    "a route with answer:",
    "the set_mode route is not open",
    "invalid content type",
    "is not valid JSON once filled in",
    "does not begin with /",
];

#[test]
fn the_schema_and_the_reader_agree_on_every_change_of_a_table() {
    let (schema, table) = (schema(), every_key());
    let read = |table: &Value| parse(&table.to_string(), "t");
    assert!(read(&table).is_ok() && json_schema::faults(&schema, &schema, &table).is_empty());
    let (mut wrong, mut counts) = (Vec::new(), [0; 2]);
    for (name, table) in changed(&table) {
        let (faults, read) = (json_schema::faults(&schema, &schema, &table), read(&table));
        counts[usize::from(read.is_ok())] += 1;
        match read {
            Ok(_) if faults.is_empty() => {}
            Ok(_) => wrong.push(format!("{name}: an editor marks what the gateway takes: {faults:?}")),
            Err(_) if !faults.is_empty() => {}
            Err(told) => {
                let told: Vec<String> = told.iter().map(ToString::to_string).collect();
                if !told.iter().all(|fault| ONLY_THE_READER.iter().any(|known| fault.contains(known))) {
                    wrong.push(format!("{name}: an editor shows nothing, the gateway says {told:?}"));
                }
            }
        }
    }
    assert!(counts[0] > 300 && counts[1] > 20, "rejected, taken: {counts:?}");
    assert!(wrong.is_empty(), "{} of {counts:?}:\n{}", wrong.len(), wrong.join("\n"));
}
