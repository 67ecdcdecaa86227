//! The document of `GET /mode/history` as text for people. It makes no calls.

use serde_json::Value;

use super::mode_text::{describe_cause, describe_drain_outcome, summary_of_counts, word};
use super::times::{Reader, seconds_of};

/// One line for each entry, newest first; remarks about a flip's drain follow, indented.
pub(super) fn describe_history(document: &Value, reader: &Reader) -> String {
    let entries = document["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for entry in entries {
        let first = match entry["kind"].as_str() {
            _ if entry["local"].is_object() => local_line(entry, reader),
            Some("bypassed") => bypass_line(entry, reader),
            _ => line_of(entry, reader),
        };
        text.push_str(first.trim_end());
        text.push('\n');
        for line in remarks(entry, reader) {
            text.push_str(&format!("        {line}\n"));
        }
    }
    if text.is_empty() { "no changes yet\n".to_owned() } else { text }
}

fn line_of(entry: &Value, reader: &Reader) -> String {
    let record = &entry["record"];
    let step = match (entry["kind"].as_str(), word(&record["mode"])) {
        (Some("switching"), mode) => format!("switching to {mode}"),
        (Some("settled"), mode) => format!("{mode} settled"),
        (Some("reverted"), mode) => format!("reverted to {mode}"),
        (Some("cancelled"), mode) => format!("cancelled, {mode} again"),
        (Some("amended"), mode) => format!("{mode} amended"),
        (kind, mode) => format!("{mode} {}", kind.unwrap_or("-")),
    };
    let cause = || record["cause"].as_str().map(describe_cause);
    let why = record["reason"].as_str().map(str::to_owned).or_else(cause).unwrap_or_default();
    let (time, actor) = (reader.time(word(&entry["time"])), word(&record["actor"]["name"]));
    format!("{:>6}  {time}  {step:<24}  {actor}  {why}", record["revision"].to_string())
}

fn local_line(entry: &Value, reader: &Reader) -> String {
    let (local, time) = (&entry["local"], reader.time(word(&entry["time"])));
    let step = format!("this gateway {}", word(&entry["kind"]));
    format!(
        "{:>6}  {time}  {step:<24}  {}  {}",
        "local",
        word(&local["actor"]["name"]),
        local["reason"].as_str().unwrap_or("")
    )
}

fn bypass_line(entry: &Value, reader: &Reader) -> String {
    let (bypass, time) = (&entry["bypass"], reader.time(word(&entry["time"])));
    let step = format!("{} bypassed", word(&bypass["mode"]));
    format!("{:>6}  {time}  {step:<24}  {}  {}", "bypass", word(&bypass["principal"]), word(&bypass["operation"]))
}

/// The rest of the entry: the report of the flip that it ends, its drain, and the flip that it schedules.
fn remarks(entry: &Value, reader: &Reader) -> Vec<String> {
    let record = &entry["record"];
    let (mut remarks, report) = (Vec::new(), &record["report"]);
    let ends_a_flip = matches!(entry["kind"].as_str(), Some("settled" | "reverted" | "cancelled"));
    if ends_a_flip && let Some(drain_ms) = report["drain_ms"].as_u64() {
        let mut line = format!("drained for {}", seconds_of(drain_ms));
        for (name, label) in [("waited_for", "waited for"), ("still_running", "still running at the drain timeout")] {
            let counts = summary_of_counts(&report[name]);
            if !counts.is_empty() {
                line.push_str(&format!("; {label}: {counts}"));
            }
        }
        remarks.push(line);
    }
    if entry["kind"] == "settled" {
        remarks.extend(describe_drain_outcome(record).map(|outcome| format!("drain {outcome}")));
    }
    if let (Some(time), Some("settled" | "amended")) = (record["expires"].as_str(), entry["kind"].as_str()) {
        remarks.push(format!("ends {}", reader.time(time)));
    }
    let scheduled = &record["scheduled"];
    match entry["kind"].as_str() {
        Some("scheduled") => {
            let time = reader.time(word(&scheduled["at"]));
            let reason = scheduled["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
            remarks.push(format!("scheduled: {} at {time}{reason}", word(&scheduled["mode"])));
        }
        Some("unscheduled") => remarks.push("the scheduled change was cancelled".to_owned()),
        _ => {}
    }
    remarks
}
