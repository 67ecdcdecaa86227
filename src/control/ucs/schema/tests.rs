//! The verdict on a probe, and the way from probes to knowledge.

use super::*;
use crate::control::ucs::link::UpstreamStatus;
use crate::policy::mode::Mode;
use crate::transport::UpstreamUrl;

fn reply(status: u16, body: &'static str) -> Observation {
    observe(Ok(CallResponse { status, body: body.into() }))
}

#[test]
fn answers_are_read() {
    assert_eq!(reply(200, "[{\"name\":\"LastName\"}]"), Observation::Schema);
    assert_eq!(reply(200, "{\"attributes\":[{}]}"), Observation::Schema);
    assert_eq!(reply(200, "[]"), Observation::EmptyList);
    assert_eq!(reply(200, "{\"attributes\":[]}"), Observation::EmptyList);
    assert_eq!(reply(404, "[]"), Observation::NotFound);
    for (status, body) in [(200, ""), (200, "<html>"), (200, "null"), (204, ""), (503, "[]"), (401, ""), (301, "")] {
        assert!(matches!(reply(status, body), Observation::Unclear(_)), "{status} {body}");
    }
    let timeout = observe(Err(CallError::Timeout(Duration::from_secs(1))));
    assert!(matches!(timeout, Observation::Unclear(_)));
}

#[test]
fn a_ucs_is_up_that_knows_another_operation() {
    let is_up = |status| is_known(Ok(CallResponse { status, body: "".into() }));
    assert_eq!([200, 401, 404, 500, 503].map(is_up), [true, true, false, false, false]);
    assert!(!is_known(Err(CallError::Timeout(Duration::from_secs(1)))));
}

#[test]
fn missing_means_something_only_with_a_witness_and_not_found_only_with_a_fact_behind_it() {
    let none = Facts { witness: Witness::Status, ..Facts::default() };
    assert_eq!(judge(&Observation::NotFound, none), Verdict::Unknown);
    assert_eq!(judge(&Observation::EmptyList, none), Verdict::Missing);
    for facts in [
        Facts { answered_before: true, ..none },
        Facts { upstream_closed_itself: true, ..none },
        Facts { refused: true, ..none },
    ] {
        for (witness, verdict) in
            [(Witness::Status, Verdict::Missing), (Witness::Time, Verdict::Missing), (Witness::None, Verdict::Unknown)]
        {
            let facts = Facts { witness, ..facts };
            assert_eq!(judge(&Observation::NotFound, facts), verdict);
            assert_eq!(judge(&Observation::EmptyList, facts), verdict);
            assert_eq!(judge(&Observation::Unclear(String::new()), facts), Verdict::Unknown);
            assert_eq!(judge(&Observation::Schema, facts), Verdict::Defined);
        }
    }
}

const POLL: Duration = Duration::from_secs(5);
const AROUND: ProbeContext = ProbeContext { revision: 7, generation: 1 };

fn probe() -> SchemaProbe {
    let upstream = "http://127.0.0.1:9".parse::<UpstreamUrl>().expect("an address").into();
    let (connect_timeout, total_timeout) = (POLL, POLL);
    let client = UpstreamClient { upstream, credentials: None, connect_timeout, total_timeout };
    let status = StatusLink { link: None, poll_interval: POLL };
    SchemaProbe::new(client, status, Some("/p".to_owned()), POLL * 6, Some("/cv/p".to_owned()))
}

fn look(path: &str, started: &str, seconds: u64, origin: Instant) -> Look {
    let status = UpstreamStatus { mode: Mode::Production, started: Some(started.to_owned()) };
    Look {
        path: path.to_owned(),
        observation: Observation::NotFound,
        status: Some(Reading::Mode(status)),
        knows_other: false,
        began: origin + Duration::from_secs(seconds),
    }
}

#[test]
fn two_looks_a_poll_apart_have_to_agree_with_nothing_changed_between() {
    let origin = Instant::now();
    let facts = Facts { witness: Witness::Status, ..Facts::default() };
    let after = |looks: &[(&str, &str, u64, ProbeContext, Witness)]| {
        let mut probe = probe();
        for (path, started, seconds, context, witness) in looks {
            probe.accept(&look(path, started, *seconds, origin), Facts { witness: *witness, ..facts }, *context);
        }
        probe.knowledge()
    };
    let (one, other) = (AROUND, ProbeContext { revision: 8, ..AROUND });
    let reloaded = ProbeContext { generation: 2, ..AROUND };
    let (status, time) = (Witness::Status, Witness::Time);
    let (unknown, undefined) = (SchemaKnowledge::Unknown, SchemaKnowledge::Undefined);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status)]), unknown);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status), ("/cv/p", "a", 5, one, status)]), undefined);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status), ("/cv/p", "a", 4, one, status)]), unknown);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status), ("/cv/p", "b", 5, one, status)]), unknown);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status), ("/cv/p", "a", 5, other, status)]), unknown);
    assert_eq!(after(&[("/cv/p", "a", 0, one, status), ("/cv/p", "a", 5, reloaded, status)]), unknown);
    assert_eq!(after(&[("/x/p", "a", 0, one, status), ("/x/p", "a", 5, one, status)]), unknown, "never answered");
    assert_eq!(after(&[("/cv/p", "a", 0, one, time), ("/cv/p", "a", 59, one, time)]), unknown);
    assert_eq!(after(&[("/cv/p", "a", 0, one, time), ("/cv/p", "a", 60, one, time)]), undefined);
    // The knowledge stays, whichever actor signs the next record.
    let known = [("/cv/p", "a", 0, one, status), ("/cv/p", "a", 5, one, status), ("/cv/p", "a", 6, other, status)];
    assert_eq!(after(&known), undefined);
}
