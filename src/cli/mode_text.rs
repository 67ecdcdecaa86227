//! The documents of the admin API as text for people. It makes no calls.

use serde_json::Value;

pub(super) fn describe_mode(document: &Value) -> String {
    let text = |name: &str| document[name].as_str().unwrap_or("-");
    let actor = &document["actor"];
    let mut lines = vec![match document["phase"].as_str() {
        Some("switching") => format!("switching from {} to {}", text("from"), text("mode")),
        _ => text("mode").to_owned(),
    }];
    lines.extend(describe_local(&document["local"]));
    let who = format!("{} ({})", actor["name"].as_str().unwrap_or("-"), actor["kind"].as_str().unwrap_or("-"));
    lines.push(format!("since {} by {who}, revision {}", text("since"), document["revision"]));
    for (name, label) in [
        ("reason", "reason"),
        ("message", "message to clients"),
        ("cause", "cause"),
        ("expires", "expires"),
        ("back_at", "clients may expect the other mode at"),
        ("alarm", "ALARM"),
    ] {
        if let Some(value) = document[name].as_str() {
            lines.push(format!("{label}: {value}"));
        }
    }
    lines.extend(describe_drain_outcome(document));
    lines.extend(describe_scheduled(&document["scheduled"]));
    let counts = &document["in_flight"];
    let each = ["production", "maintenance", "both"].map(|set| format!("{set} {}", counts[set]));
    lines.push(format!("in flight: {}; profile schema: {}", each.join(", "), text("schema")));
    lines.push(describe_upstream(&document["upstream"]));
    lines.join("\n") + "\n"
}

/// UCS's own mode, how it compares with the gateway's, and why.
fn describe_upstream(upstream: &Value) -> String {
    let text = |name: &str| upstream[name].as_str().unwrap_or("-");
    let detail = upstream["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("UCS: {}, {} since {}{detail}", text("mode"), text("state"), text("since"))
}

fn describe_local(local: &Value) -> Option<String> {
    let since = local["since"].as_str()?;
    let reason = local["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!(
        "CLOSED at this gateway alone since {since} by {}{reason}",
        local["actor"]["name"].as_str().unwrap_or("-")
    ))
}

fn describe_scheduled(scheduled: &Value) -> Option<String> {
    let (mode, at) = (scheduled["mode"].as_str()?, scheduled["at"].as_str()?);
    let reason = scheduled["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("scheduled: {mode} at {at} by {}{reason}", scheduled["actor"]["name"].as_str().unwrap_or("-")))
}

/// What is not sure about the drain of a mode.
fn describe_drain_outcome(record: &Value) -> Option<String> {
    let named = summary_of_counts(&record["abandoned"]);
    match record["drain"].as_str()? {
        "assumed" if named.is_empty() => {
            Some("drain: assumed; a gateway that has ended since may have left requests".to_owned())
        }
        "assumed" => Some(format!("drain: assumed; given up on: {named}")),
        "forced" => Some(format!("drain: forced while requests were running: {named}")),
        _ => None,
    }
}

pub(super) fn describe_flip(document: &Value) -> String {
    let report = &document["report"];
    let mut text = match (report["changed"] == false, document["phase"].as_str()) {
        (true, _) => "no change: the mode is already in force\n".to_owned(),
        (false, Some("switching")) => "begun; `mode watch` shows how it ends\n".to_owned(),
        (false, _) => format!("settled after a drain of {} ms\n", report["drain_ms"]),
    };
    for (name, label) in [("waited_for", "waited for"), ("abandoned", "abandoned"), ("still_running", "still running")]
    {
        let counts = summary_of_counts(&report[name]);
        if !counts.is_empty() {
            text.push_str(&format!("{label}: {counts}\n"));
        }
    }
    text + &describe_mode(document)
}

pub(super) fn describe_drain(event: &Value) -> String {
    let running = summary_of_counts(&event["running"]);
    let running = if running.is_empty() { running } else { format!(": {running}") };
    format!("switching to {}: waiting for {}{running}", event["mode"].as_str().unwrap_or("-"), event["waiting_for"])
}

pub(super) fn describe_history(document: &Value) -> String {
    let entries = document["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for entry in entries {
        if entry["local"].is_object() {
            let local = &entry["local"];
            let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
            let (time, kind, actor) = (word(&entry["time"]), word(&entry["kind"]), word(&local["actor"]["name"]));
            let reason = local["reason"].as_str().unwrap_or("");
            text.push_str(
                format!("{:>6}  {time}  {kind:<11}  this gateway alone  {actor}  {reason}", "local").trim_end(),
            );
            text.push('\n');
            continue;
        }
        let record = &entry["record"];
        let word = |name: &str| record[name].as_str().unwrap_or("-");
        let actor = record["actor"]["name"].as_str().unwrap_or("-");
        let why = record["reason"].as_str().or(record["cause"].as_str()).unwrap_or("");
        let time = entry["time"].as_str().unwrap_or("-");
        let (mode, phase) = (word("mode"), word("phase"));
        text.push_str(format!("{:>6}  {time}  {mode:<11}  {phase:<9}  {actor}  {why}", record["revision"]).trim_end());
        text.push('\n');
        // Further lines of an entry are indented.
        let scheduled = match entry["kind"].as_str() {
            Some("scheduled") => describe_scheduled(&record["scheduled"]),
            Some("unscheduled") => Some("the scheduled change was cancelled".to_owned()),
            _ => None,
        };
        for line in [describe_drain_outcome(record), scheduled].into_iter().flatten() {
            text.push_str(&format!("        {line}\n"));
        }
    }
    if text.is_empty() { "no changes yet\n".to_owned() } else { text }
}

pub(super) fn describe_preview(document: &Value) -> String {
    let mode = document["mode"].as_str().unwrap_or("-");
    let mut text = format!(
        "a change to {mode} would wait for {} requests in flight and refuse {} per minute (over the last {} s)\n",
        document["waits_for"], document["per_minute"], document["window_seconds"]
    );
    for operation in document["would_refuse"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = operation["operation"].as_str().unwrap_or("-");
        text.push_str(&format!("{:>6} in flight {:>9}/min  {name}\n", operation["in_flight"], operation["per_minute"]));
    }
    text
}

pub(super) fn summary_of_counts(counts: &Value) -> String {
    let counts = counts.as_array().map(Vec::as_slice).unwrap_or_default();
    let each = counts.iter().map(|one| format!("{} {}", one["count"], one["operation"].as_str().unwrap_or("-")));
    each.collect::<Vec<_>>().join(", ")
}
