//! The documents of the admin API as text for people. It makes no calls.

use serde_json::Value;

use super::times::{Reader, seconds_of};

/// The document of `GET /mode`: the mode, then one fact on each line.
pub(super) fn describe_mode(document: &Value, reader: &Reader) -> String {
    let mut text = headline(document) + "\n";
    for (label, fact) in facts(document, reader) {
        text.push_str(&format!("  {label:<13} {fact}\n"));
    }
    text
}

/// `maintenance`, or `switching from production to maintenance`.
fn headline(document: &Value) -> String {
    match document["phase"].as_str() {
        Some("switching") => format!("switching from {} to {}", word(&document["from"]), word(&document["mode"])),
        _ => word(&document["mode"]).to_owned(),
    }
}

fn facts(document: &Value, reader: &Reader) -> Vec<(&'static str, String)> {
    let text = |name: &str| document[name].as_str();
    let when = |name: &str| text(name).map(|time| reader.time_and_distance(time));
    let other = if text("mode") == Some("production") { "maintenance" } else { "production" };
    let who = format!("revision {}, by {}", document["revision"], actor(&document["actor"]));
    let upstream = &document["upstream"];
    let facts = [
        ("ALARM", text("alarm").map(str::to_owned)),
        ("CLOSED", describe_local(&document["local"], reader)),
        ("since", when("since")),
        ("record", Some(who)),
        ("reason", text("reason").map(str::to_owned)),
        ("cause", text("cause").map(describe_cause)),
        ("deadline", when("deadline")),
        ("ends", when("expires").map(|time| format!("{time}; {other} follows"))),
        ("message", text("message").map(|message| format!("\"{message}\" (for clients)"))),
        ("back at", when("back_at").map(|time| format!("{time} (for clients)"))),
        ("scheduled", describe_scheduled(&document["scheduled"], reader)),
        ("drain", describe_drain_outcome(document)),
        ("in flight", Some(describe_in_flight(&document["in_flight"]))),
        ("schema", text("schema").map(describe_schema)),
        ("UCS", upstream.is_object().then(|| describe_upstream(document, reader))),
    ];
    facts.into_iter().filter_map(|(label, fact)| Some((label, fact?))).collect()
}

/// One line for each record that `mode watch` sees.
pub(super) fn describe_record_event(document: &Value, reader: &Reader) -> String {
    let reason = document["reason"].as_str().or(document["cause"].as_str());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let alarm = document["alarm"].as_str().map(|alarm| format!("; ALARM: {alarm}")).unwrap_or_default();
    let closed =
        describe_local(&document["local"], reader).map(|local| format!("; CLOSED {local}")).unwrap_or_default();
    let who = format!("by {}, revision {}", actor(&document["actor"]), document["revision"]);
    format!("{}  {} {who}{reason}{closed}{alarm}", reader.time_of_day(), headline(document))
}

/// The reason of a change that no one requested, with its word in records and metrics.
pub(super) fn describe_cause(cause: &str) -> String {
    let meaning = match cause {
        "first_start" => "the first start with this state directory",
        "first_seen" => "the first mode that UCS reported",
        "expired" => "the mode before it had an end",
        "scheduled" => "at its scheduled time",
        "no_profile_schema" => "UCS has no profile schema",
        "upstream_in_maintenance" => "UCS went to maintenance by itself",
        "upstream_moved" => "UCS went to production past the gateway",
        "drain_timeout" => "requests were still running at the drain timeout",
        "upstream_refused" => "UCS did not change its mode",
        "cancelled" => "the change was cancelled",
        "not_durable" => "the change could not be saved",
        "shutting_down" => "the gateway was stopped during the change",
        "recovered" => "the gateway ended during the change",
        "member_missing" => "a member of the fleet did not acknowledge the change",
        _ => return cause.to_owned(),
    };
    format!("{meaning} ({cause})")
}

/// The number of requests in flight, by the modes that admit them.
fn describe_in_flight(counts: &Value) -> String {
    let sets =
        [("production", "of production only"), ("maintenance", "of maintenance only"), ("both", "of both modes")];
    let counted = sets.map(|(set, meaning)| (counts[set].as_u64().unwrap_or(0), meaning));
    let total: u64 = counted.iter().map(|(count, _)| count).sum();
    if total == 0 {
        return "no request".to_owned();
    }
    let some = counted.iter().filter(|(count, _)| *count > 0);
    let each: Vec<String> = some.map(|(count, meaning)| format!("{count} {meaning}")).collect();
    format!("{}: {}", requests(total), each.join(", "))
}

fn describe_schema(knowledge: &str) -> String {
    match knowledge {
        "defined" => "UCS has a profile schema".to_owned(),
        "undefined" => "UCS has no profile schema".to_owned(),
        _ => "not known whether UCS has a profile schema".to_owned(),
    }
}

/// UCS's own mode, how it compares with the gateway's, and why.
fn describe_upstream(document: &Value, reader: &Reader) -> String {
    let upstream = &document["upstream"];
    let is_switching = document["phase"] == "switching";
    let detail = upstream["detail"].as_str().map(|detail| format!(": {detail}")).unwrap_or_default();
    let since = reader.time_and_distance(word(&upstream["since"]));
    match (upstream["state"].as_str(), word(&upstream["mode"])) {
        (Some("in_step"), mode) if is_switching && document["from"] == mode => format!("still in {mode}"),
        (Some("in_step"), mode) if is_switching => format!("in {mode} already"),
        (Some("in_step"), mode) => format!("in {mode} as well, since {since}"),
        (Some("behind"), "unknown") => format!("in an UNKNOWN mode, since {since}{detail}"),
        (Some("behind"), mode) => format!("in ANOTHER mode, {mode}, since {since}{detail}"),
        (Some("unclear"), _) => format!("its mode is unclear, since {since}{detail}"),
        _ => format!("its own mode is not known or not used{detail}"),
    }
}

fn describe_local(local: &Value, reader: &Reader) -> Option<String> {
    let since = reader.time_and_distance(local["since"].as_str()?);
    let reason = local["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("at this gateway alone since {since} by {}{reason}", word(&local["actor"]["name"])))
}

fn describe_scheduled(scheduled: &Value, reader: &Reader) -> Option<String> {
    let (mode, at) = (scheduled["mode"].as_str()?, reader.time_and_distance(scheduled["at"].as_str()?));
    let reason = scheduled["reason"].as_str().map(|reason| format!(": {reason}")).unwrap_or_default();
    Some(format!("{mode} at {at} by {}{reason}", word(&scheduled["actor"]["name"])))
}

/// How sure it is that nothing that the mode forbids was running when it settled.
pub(super) fn describe_drain_outcome(record: &Value) -> Option<String> {
    let named = summary_of_counts(&record["abandoned"]);
    Some(match record["drain"].as_str()? {
        "complete" => "complete: every request of the other mode had ended".to_owned(),
        "assumed" if named.is_empty() => "assumed: a gateway that has ended since may have left requests".to_owned(),
        "assumed" => format!("assumed: the gateway gave up on {named}"),
        _ => format!("FORCED while requests were running: {named}"),
    })
}

/// The response to `PUT /mode`: how the flip ended, and the mode.
///
/// `amends`: whether the request names anything but the mode.
pub(super) fn describe_flip(document: &Value, amends: bool, reader: &Reader) -> String {
    let report = &document["report"];
    let mode = word(&document["mode"]);
    let drained = seconds_of(report["drain_ms"].as_u64().unwrap_or(0));
    let mut text = match (report["changed"] == false, document["phase"].as_str()) {
        (true, _) if amends => format!("no flip: {mode} is in force already; its record has what you set\n"),
        (true, _) => format!("no change: {mode} is in force already\n"),
        (false, Some("switching")) => "the change has begun; `ucs-gateway mode watch` shows how it ends\n".to_owned(),
        (false, _) => format!("settled: {mode} is in force, after a drain of {drained}\n"),
    };
    for (name, label) in [("waited_for", "waited for"), ("abandoned", "gave up on"), ("still_running", "still running")]
    {
        let counts = summary_of_counts(&report[name]);
        if !counts.is_empty() {
            text.push_str(&format!("  {label:<13} {counts}\n"));
        }
    }
    text + &describe_mode(document, reader)
}

/// A `drain` event as one line, for a reader without a terminal.
pub(super) fn describe_drain(event: &Value, reader: &Reader) -> String {
    let running = summary_of_counts(&event["running"]);
    let left = deadline_of(event).and_then(|deadline| reader.seconds_until(deadline));
    let left = left.map(|left| format!("; deadline in {left} s")).unwrap_or_default();
    let mode = word(&event["mode"]);
    match event["waiting_for"].as_u64() {
        Some(0) => format!("switching to {mode}: {}{left}", nothing_left(event)),
        Some(count) => format!("switching to {mode}: waiting for {}: {running}{left}", requests(count)),
        None => format!("switching to {mode}{left}"),
    }
}

/// The step of a flip after its drain here.
pub(super) fn nothing_left(drain: &Value) -> &'static str {
    match drain["in_fleet"] == true {
        true => "no request is left to wait for here; waiting for every member",
        false => "no request is left to wait for; setting UCS's mode",
    }
}

/// The deadline of the step that is under way: of the drain while requests are waited for, of the whole flip after it.
pub(super) fn deadline_of(drain: &Value) -> Option<&str> {
    let name = if drain["waiting_for"] == 0 { "deadline" } else { "drain_deadline" };
    drain[name].as_str().or(drain["deadline"].as_str())
}

/// The document of `GET /mode/preview`.
pub(super) fn describe_preview(document: &Value) -> String {
    let mode = word(&document["mode"]);
    let waits_for = requests(document["waits_for"].as_u64().unwrap_or(0));
    let mut text = match document["window_seconds"].as_u64() {
        Some(0) | None => format!("a change to {mode} would wait for {waits_for} now; the rate is not known yet\n"),
        Some(window) => format!(
            "a change to {mode} would wait for {waits_for} now, and refuse {} (measured over {window} s)\n",
            rate(&document["per_minute"])
        ),
    };
    for operation in document["would_refuse"].as_array().into_iter().flatten() {
        let name = word(&operation["operation"]);
        text.push_str(&format!(
            "{:>8}/min {:>5} in flight  {name}\n",
            operation["per_minute"].to_string(),
            operation["in_flight"].to_string()
        ));
    }
    text
}

pub(super) fn describe_rehearsal(document: &Value) -> String {
    let rehearsal = &document["rehearsal"];
    let mode = word(&rehearsal["mode"]);
    if rehearsal["would_change"] == false {
        return format!("rehearsed: {mode} is in force already; nothing would change\n");
    }
    let mut text = match rehearsal["waits_for"].as_u64() {
        Some(0) | None => format!("rehearsed: a change to {mode} would drain at once\n"),
        Some(count) => format!("rehearsed: a change to {mode} would have to wait for {} now\n", requests(count)),
    };
    let running = summary_of_counts(&rehearsal["running"]);
    if !running.is_empty() {
        text.push_str(&format!("  {:<13} {running}\n", "in flight"));
    }
    if rehearsal["window_seconds"] != 0 {
        text.push_str(&format!("  {:<13} {}\n", "would refuse", rate(&rehearsal["per_minute"])));
    }
    text.push_str(&describe_members(&rehearsal["fleet"]));
    let current = word(&document["mode"]);
    text + &format!("nothing was changed: {current} is in force\n")
}

/// How a rehearsal went at the members of a fleet; nothing for a gateway alone.
fn describe_members(fleet: &Value) -> String {
    let Some(members) = fleet["members"].as_array() else { return String::new() };
    let settles =
        if fleet["would_settle"] == true { "the fleet would settle it" } else { "the fleet would not settle it" };
    let mut text = format!("  {settles}; the longest drain: {} ms\n", fleet["drain_ms"]);
    for member in members {
        let drained = if member["drained"] == true { "would drain in" } else { "would not have drained in" };
        let closed = member["cause"].as_str().map(|cause| format!(", and stay closed: {cause}")).unwrap_or_default();
        let waits_for = summary_of_counts(&member["waits_for"]);
        let waits_for = if waits_for.is_empty() { waits_for } else { format!(" ({waits_for})") };
        let node = word(&member["node"]);
        text.push_str(&format!("  {node:<13} {drained} {} ms{waits_for}{closed}\n", member["drain_ms"]));
    }
    for node in fleet["missing"].as_array().into_iter().flatten() {
        text.push_str(&format!("  {:<13} did not reply\n", word(node)));
    }
    text
}

/// `3 × Query Customer Profile, 1 × Create Service`.
pub(super) fn summary_of_counts(counts: &Value) -> String {
    let counts = counts.as_array().map(Vec::as_slice).unwrap_or_default();
    let each = counts.iter().map(|one| format!("{} × {}", one["count"], word(&one["operation"])));
    each.collect::<Vec<_>>().join(", ")
}

/// `no request`, `1 request`, `2 requests`.
pub(super) fn requests(count: u64) -> String {
    match count {
        0 => "no request".to_owned(),
        1 => "1 request".to_owned(),
        _ => format!("{count} requests"),
    }
}

/// `no request`, `12.5 requests a minute`.
fn rate(per_minute: &Value) -> String {
    if per_minute.as_f64() == Some(0.0) { requests(0) } else { format!("{per_minute} requests a minute") }
}

/// `ann (operator)`.
fn actor(actor: &Value) -> String {
    format!("{} ({})", word(&actor["name"]), word(&actor["kind"]))
}

/// A text, or a dash.
pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reader() -> Reader {
        Reader::at("2026-03-01T23:10:00+01:00[Europe/Berlin]")
    }

    #[test]
    fn a_flip_is_described() {
        let waited = json!([{"operation": "Query", "class": "profile", "count": 3}]);
        let document = json!({"mode": "maintenance", "phase": "settled", "revision": 8,
            "since": "2026-03-01T22:07:00.123Z", "expires": "2026-03-01T23:10:00Z",
            "actor": {"kind": "operator", "name": "ann"}, "drain": "forced", "abandoned": waited, "schema": "defined",
            "in_flight": {"production": 0, "maintenance": 1, "both": 2},
            "upstream": {"mode": "unknown", "state": "behind", "since": "2026-03-01T22:08:00Z", "detail": "it is gone"},
            "report": {"changed": true, "drain_ms": 1230, "waited_for": waited}});
        let wanted = "\
settled: maintenance is in force, after a drain of 1.2 s
  waited for    3 × Query
maintenance
  since         2026-03-01 23:07:00 CET (2 min ago)
  record        revision 8, by ann (operator)
  ends          2026-03-02 00:10:00 CET (in 1 h); production follows
  drain         FORCED while requests were running: 3 × Query
  in flight     3 requests: 1 of maintenance only, 2 of both modes
  schema        UCS has a profile schema
  UCS           in an UNKNOWN mode, since 2026-03-01 23:08:00 CET (2 min ago): it is gone
";
        assert_eq!(describe_flip(&document, false, &reader()), wanted);
    }

    #[test]
    fn a_drain_is_one_line() {
        let event = json!({"mode": "maintenance", "deadline": "2026-03-01T22:10:43Z", "waiting_for": 1,
            "running": [{"operation": "Query", "class": "profile", "count": 1}]});
        let told = describe_drain(&event, &reader());
        assert_eq!(told, "switching to maintenance: waiting for 1 request: 1 × Query; deadline in 43 s");
        let told = describe_drain(&json!({"mode": "maintenance", "waiting_for": 0, "in_fleet": true}), &reader());
        assert_eq!(told, "switching to maintenance: no request is left to wait for here; waiting for every member");
    }
}
