//! Makes the document of `GET /fleet` from the contents of the store. Pure: [`Observed`] holds the memory of earlier reads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::keys::{AckWord, FleetContents, MemberEntry};
use crate::fleet_view::{AcknowledgedView, FleetView, ForgottenView, MemberState, MemberView};
use crate::policy::mode::{ModeRecord, Phase};

/// How long members may have different route tables before that is an alarm: a rollout takes its time.
const ROUTES_MAY_DIFFER: Duration = Duration::from_secs(60);

/// Characters of a fingerprint in a sentence.
const SHORT: usize = 12;

/// The memory of earlier reads.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    last_seen: BTreeMap<String, Timestamp>,
    routes_differ_since: Option<Timestamp>,
}

impl Observed {
    /// Takes note of a read.
    pub(crate) fn note(&mut self, contents: &FleetContents, read_at: Timestamp) {
        self.last_seen.retain(|node, _| contents.members.contains_key(node));
        let alive = contents.alive.keys().filter(|node| contents.members.contains_key(*node));
        self.last_seen.extend(alive.map(|node| (node.clone(), read_at)));
        match tables(contents).len() > 1 {
            true => _ = self.routes_differ_since.get_or_insert(read_at),
            false => self.routes_differ_since = None,
        }
    }

    /// The fleet, as a read of this time shows it.
    pub(crate) fn view(&self, contents: &FleetContents, read_at: Timestamp) -> FleetView {
        let record = contents.mode.as_ref().map(|mode| &mode.value);
        let member = |(node, member): (&String, &_)| self.member(contents, record, node, member);
        let differing = self.routes_differ_since.filter(|since| is_longer(*since, read_at));
        let mut view = FleetView {
            node: None,
            read_at,
            store_reachable: true,
            record: record.cloned(),
            cluster_id: contents.cluster_id.to_string(),
            is_home: contents.is_home(),
            members: contents.members.iter().map(|(node, marked)| member((node, &marked.value))).collect(),
            forgotten: contents
                .forgotten
                .iter()
                .map(|(node, word)| ForgottenView { node: node.clone(), time: word.value.time })
                .collect(),
            alarms: Vec::new(),
            routes_differ: differing.is_some(),
        };
        view.alarms = alarms(&view, differing.map(|since| (since, tables(contents))));
        view
    }

    fn member(
        &self,
        contents: &FleetContents,
        record: Option<&ModeRecord>,
        node: &str,
        member: &MemberEntry,
    ) -> MemberView {
        let alive = contents.alive.get(node);
        let told = |name: &str| alive.and_then(|alive| alive.get(name)).filter(|value| !value.is_null()).cloned();
        let text = |name: &str| told(name).and_then(|value| value.as_str().map(str::to_owned));
        let (state, cause) = state_of(record, member, alive.is_some(), text("closed"));
        MemberView {
            node: node.to_owned(),
            state,
            cause,
            acknowledged: member.ack.as_ref().map(|ack| AcknowledgedView {
                revision: ack.revision,
                drain: ack.drain,
                abandoned: ack.abandoned.clone(),
            }),
            alive: alive.is_some(),
            last_seen: self.last_seen.get(node).copied(),
            version: member.version.clone(),
            routes: table_of(contents, node, member),
            incarnation: member.incarnation.clone(),
            revision: told("revision").and_then(|value| value.as_u64()),
            in_flight: told("in_flight"),
            waits_for: told("waits_for").filter(|value| value.as_array().is_none_or(|list| !list.is_empty())),
            upstream: told("upstream"),
        }
    }
}

/// Where a member stands, and why it is narrowed.
fn state_of(
    record: Option<&ModeRecord>,
    member: &MemberEntry,
    is_alive: bool,
    closed: Option<String>,
) -> (MemberState, Option<String>) {
    let ack = member.ack.as_ref();
    let switching = record.filter(|record| record.phase == Phase::Switching);
    match (switching, ack) {
        (Some(record), ack) if ack.is_none_or(|ack| ack.revision != record.revision) => (MemberState::Missing, None),
        (Some(_), Some(ack)) if ack.word == AckWord::Narrowed => (MemberState::Narrowed, ack.cause.clone()),
        (Some(_), _) => (MemberState::Acknowledged, None),
        (None, _) if !is_alive => (MemberState::Missing, None),
        (None, _) if closed.is_some() => (MemberState::Narrowed, closed),
        (None, _) => (MemberState::Acknowledged, None),
    }
}

/// The fingerprint of the route table that a member has in force: its entry may be of an earlier one.
fn table_of(contents: &FleetContents, node: &str, member: &MemberEntry) -> String {
    let told = contents.alive.get(node).and_then(|alive| alive.get("routes")).and_then(Value::as_str);
    told.unwrap_or(&member.table).to_owned()
}

/// The route tables in force, each with its members.
fn tables(contents: &FleetContents) -> BTreeMap<String, BTreeSet<&str>> {
    let mut tables: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (node, member) in &contents.members {
        tables.entry(table_of(contents, node, &member.value)).or_default().insert(node);
    }
    tables
}

fn is_longer(since: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(now.duration_since(since)).is_ok_and(|length| length > ROUTES_MAY_DIFFER)
}

type Differing<'a> = (Timestamp, BTreeMap<String, BTreeSet<&'a str>>);

fn alarms(view: &FleetView, differing: Option<Differing<'_>>) -> Vec<String> {
    let mut alarms = Vec::new();
    if !view.is_home {
        alarms.push(
            "the store holds a copy that was made for another etcd: every member is closed until `ucs-gateway fleet init`"
                .to_owned(),
        );
    }
    let is_switching = view.record.as_ref().is_some_and(|record| record.phase == Phase::Switching);
    let missing = view.members.iter().filter(|member| member.state == MemberState::Missing && !is_switching);
    let missing: Vec<&str> = missing.map(|member| member.node.as_str()).collect();
    if !missing.is_empty() {
        alarms.push(format!("no sign of life from {}: no flip settles without it", missing.join(", ")));
    }
    if let Some((since, tables)) = differing {
        let table = |(table, nodes): (&String, &BTreeSet<&str>)| {
            let short: String = table.chars().take(SHORT).collect();
            format!("{short} at {}", nodes.iter().copied().collect::<Vec<_>>().join(", "))
        };
        let tables: Vec<String> = tables.iter().map(table).collect();
        alarms.push(format!("members have had different route tables since {since}: {}", tables.join("; ")));
    }
    alarms
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::control::fleet::keys::{FleetKey, Marked};
    use crate::policy::mode::{Mode, ModeRecord};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn entry(table: &str, ack: Option<(u64, &str)>) -> Marked<MemberEntry> {
        let ack = ack.map(|(revision, word)| {
            let cause = (word == "narrowed").then_some("upstream_behind");
            json!({"revision": revision, "word": word, "cause": cause, "drain": "complete"})
        });
        let entry =
            json!({"format": 1, "directory": "d", "incarnation": "i", "version": "1", "table": table, "ack": ack});
        Marked { value: serde_json::from_value(entry).unwrap(), token: 1 }
    }

    /// Members a and b; `alive` are their own words.
    fn contents(phase: Phase, members: [Marked<MemberEntry>; 2], alive: &[(&str, serde_json::Value)]) -> FleetContents {
        let record = ModeRecord { phase, ..ModeRecord::first(Mode::Production, 7, "test", at(0)) };
        FleetContents {
            cluster_id: 1,
            fleet: Some(Marked { value: FleetKey::of(1), token: 1 }),
            mode: Some(Marked { value: record, token: 1 }),
            members: ["a", "b"].map(str::to_owned).into_iter().zip(members).collect(),
            alive: alive.iter().map(|(node, value)| ((*node).to_owned(), value.clone())).collect(),
            ..FleetContents::default()
        }
    }

    fn states(contents: &FleetContents) -> Vec<(MemberState, Option<String>)> {
        let view = Observed::default().view(contents, at(0));
        view.members.into_iter().map(|member| (member.state, member.cause)).collect()
    }

    #[test]
    fn a_member_is_acknowledged_narrowed_or_missing() {
        let both = |ack: [Option<(u64, &str)>; 2]| ack.map(|ack| entry("t", ack));
        let switching = contents(Phase::Switching, both([Some((7, "in_mode")), Some((7, "narrowed"))]), &[]);
        let behind = (MemberState::Narrowed, Some("upstream_behind".to_owned()));
        assert_eq!(states(&switching), [(MemberState::Acknowledged, None), behind]);
        let earlier = contents(Phase::Switching, both([Some((5, "in_mode")), None]), &[("a", json!({}))]);
        assert_eq!(states(&earlier), [(MemberState::Missing, None), (MemberState::Missing, None)]);
        let settled = contents(Phase::Settled, both([None, None]), &[("a", json!({"closed": "local_close"}))]);
        assert_eq!(
            states(&settled),
            [(MemberState::Narrowed, Some("local_close".to_owned())), (MemberState::Missing, None)]
        );
        let view = Observed::default().view(&settled, at(0));
        assert_eq!(view.alarms, ["no sign of life from b: no flip settles without it"]);
    }

    #[test]
    fn different_route_tables_are_an_alarm_after_a_minute() {
        let told = |table: &str| json!({"routes": table, "revision": 7, "waits_for": []});
        let alive = [("a", told("x")), ("b", told("x"))];
        let same = contents(Phase::Settled, [entry("x", None), entry("old", None)], &alive);
        let differing =
            contents(Phase::Settled, [entry("x", None), entry("x", None)], &[("a", told("y")), ("b", told("x"))]);
        let mut observed = Observed::default();
        let mut shown = |contents: &FleetContents, second| {
            observed.note(contents, at(second));
            observed.view(contents, at(second)).routes_differ
        };
        assert!(!shown(&same, 0) && !shown(&same, 100), "the member's own word counts, not its entry");
        assert!(!shown(&differing, 100) && !shown(&differing, 160));
        assert!(shown(&differing, 161));
        assert!(!shown(&same, 162) && !shown(&differing, 163), "it begins anew");
        let view = observed.view(&differing, at(300));
        assert!(view.alarms[0].ends_with("x at b; y at a"), "{:?}", view.alarms);
    }

    #[test]
    fn a_member_was_last_seen_when_its_lease_was_there() {
        let both = [entry("t", None), entry("t", None)];
        let mut observed = Observed::default();
        observed.note(&contents(Phase::Settled, both.clone(), &[("a", json!({})), ("b", json!({}))]), at(1));
        let later = contents(Phase::Settled, both, &[("b", json!({}))]);
        observed.note(&later, at(9));
        let seen: Vec<_> = observed.view(&later, at(9)).members.iter().map(|member| member.last_seen).collect();
        assert_eq!(seen, [Some(at(1)), Some(at(9))]);
    }
}
