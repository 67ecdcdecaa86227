//! The fleet as text, for `fleet list`.

use serde_json::Value;

use crate::fleet_view::{FleetView, MemberState, MemberView};
use crate::policy::mode::{ModeRecord, Phase};

/// Characters of a fingerprint.
const SHORT: usize = 12;

const TITLES: [&str; 8] = ["member", "state", "revision", "in flight", "waits for", "UCS", "version", "routes"];

/// Stands for an unknown value.
const UNKNOWN: &str = "-";

/// The record, a row for each member, and the alarms.
pub(super) fn of(view: &FleetView, record: &ModeRecord) -> String {
    let mut text = match record.phase {
        Phase::Settled => format!("{}, revision {}\n", record.mode, record.revision),
        Phase::Switching => format!("switching to {}, revision {}\n", record.mode, record.revision),
    };
    let titles = TITLES.map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(titles).chain(view.members.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..TITLES.len()).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    for forgotten in &view.forgotten {
        text += &format!("{}: forgotten at {}; the next flip names it\n", forgotten.node, forgotten.time);
    }
    for alarm in &view.alarms {
        text += &format!("ALARM: {alarm}\n");
    }
    text
}

fn row(member: &MemberView) -> [String; 8] {
    let known = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let state = match (&member.cause, member.state) {
        (Some(cause), state) => format!("{} ({cause})", state.as_str()),
        // Its process may well run: only the lease tells, and nothing is decided by it.
        (None, MemberState::Acknowledged) if !member.alive => "acknowledged (no sign of life)".to_owned(),
        (None, state) => state.as_str().to_owned(),
    };
    [
        member.node.clone(),
        state,
        known(member.revision.map(|revision| revision.to_string())),
        known(member.in_flight.as_ref().map(counts)),
        known(member.waits_for.as_ref().map(operations)),
        known(member.upstream.as_ref().map(upstream)),
        member.version.clone(),
        member.routes.chars().take(SHORT).collect(),
    ]
}

/// `profile 3, schema 1`.
fn counts(in_flight: &Value) -> String {
    let classes = in_flight.as_object().into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0));
    let classes: Vec<String> = classes.map(|(class, count)| format!("{class} {count}")).collect();
    if classes.is_empty() { "0".to_owned() } else { classes.join(", ") }
}

/// `3 × Update Customer Profile`.
fn operations(waits_for: &Value) -> String {
    let operation = |one: &Value| format!("{} × {}", one["count"], one["operation"].as_str().unwrap_or_default());
    waits_for.as_array().into_iter().flatten().map(operation).collect::<Vec<_>>().join(", ")
}

/// UCS's mode, and how it compares.
fn upstream(upstream: &Value) -> String {
    let word = |name: &str| upstream[name].as_str();
    [word("mode"), word("state")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_members_are_short() {
        assert_eq!(counts(&json!({"profile": 3, "schema": 0, "service": 1})), "profile 3, service 1");
        assert_eq!(counts(&json!({"profile": 0})), "0");
        let waits_for = json!([{"operation": "Update Customer Profile", "class": "profile", "count": 2}]);
        assert_eq!(operations(&waits_for), "2 × Update Customer Profile");
        assert_eq!(upstream(&json!({"mode": "production", "state": "behind"})), "production, behind");
        assert_eq!(upstream(&json!({"mode": null, "state": "unused"})), "unused");
    }
}
