//! Who else has to make something of a fault: a flip that waits for it, a client of HTTP/1.0, and the gateway where it reads
//! UCS's answer itself.

use std::io::Write;
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;

use super::rig::{Asked, Counts, Expected, Got, Play, Rig, begin, connect, finish, play_all, read_to_end};
use super::{BEFORE_THE_ANSWER, ENDS, End, IN_THE_ANSWER, Reads, Stage, stage, with_ends};
use crate::support::{Conn, Connection, PATIENCE, admin, eventually};

/// An old client knows the end of a body by the end of its connection: a FIN would make half a body whole.
#[test]
fn an_old_client_can_tell_a_cut_answer_from_a_whole_one() {
    const UNKNOWN_LENGTH: &[Stage] = &[
        stage("in a chunk", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
        stage(
            "whole chunks",
            Reads::All,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n\r\n",
        ),
        stage("until closed", Reads::All, "HTTP/1.1 200 OK\r\n\r\nhalf"),
    ];
    play_all(
        &with_ends(UNKNOWN_LENGTH),
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |&(stage, end)| {
            let rig = Rig::start(move |conn| stage.play(conn, |conn| end.play(conn)), false, end.flags());
            rig.set(Play::Fault);
            let mut client = connect(rig.gateway.data);
            client.write_all(b"GET /profiles/1 HTTP/1.0\r\nHost: ucs\r\n\r\n").unwrap();
            let (bytes, reset) = read_to_end(&mut client);
            let is_whole = stage.name == "whole chunks" || (stage.name == "until closed" && end == End::Fin);
            assert_eq!(reset, !is_whole, "{}, {end:?}", stage.name);
            if is_whole {
                assert!(bytes.ends_with(b"\r\n\r\nhalf"), "{}, {end:?}: {bytes:?}", stage.name);
            }
        },
    );
}

/// The gateway reads this answer of UCS itself: so the client has seen nothing of it, and is told.
#[test]
fn a_status_document_that_does_not_come_whole_is_a_refusal() {
    play_all(
        &with_ends(IN_THE_ANSWER),
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |&(stage, end)| {
            if stage.reads == Reads::HalfTheBody {
                return;
            }
            let rig = Rig::start(move |conn| stage.play(conn, |conn| end.play(conn)), false, end.flags());
            let before = Counts::of(&rig.gateway);
            rig.set(Play::Fault);
            let mut client = connect(rig.gateway.data);
            client.write_all(b"GET /server/status HTTP/1.1\r\nHost: ucs\r\nConnection: close\r\n\r\n").unwrap();
            let (got, kind) = match end {
                End::Stall => (Got::refused(504, "upstream_body_timeout"), "idle_body_timeout"),
                End::Fin | End::Reset => (Got::refused(502, "upstream_broken"), "closed"),
            };
            assert_eq!(finish(&mut client), got, "{}, {end:?}", stage.name);
            let expected = Expected { got, kind: Some(kind), seen: 1, abandoned: true };
            rig.settles_at(&format!("{}, {end:?}", stage.name), &before, &expected);
        },
    );
}

/// A change runs to its end without its client; that end may be a fault like any other.
#[test]
fn a_fault_that_no_client_waits_for_leaves_nothing_in_flight_and_is_counted() {
    const LEFT: [&str; 6] =
        ["after the request", "in a header", "after 100", "behind the head, length", "in a chunk", "in the trailers"];
    let stages = [BEFORE_THE_ANSWER, IN_THE_ANSWER].map(with_ends).concat();
    let rows: Vec<_> = stages.into_iter().filter(|(stage, _)| LEFT.contains(&stage.name)).collect();
    assert_eq!(rows.len(), LEFT.len() * ENDS.len());
    play_all(
        &rows,
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |&(stage, end)| {
            let (reached, is_there) = mpsc::channel();
            let (go_on, told) = mpsc::channel::<()>();
            let told = Mutex::new(told);
            let fault = move |conn: &mut Conn| {
                stage.play(conn, |conn| {
                    reached.send(()).unwrap();
                    told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                    end.play(conn);
                });
            };
            let rig = Rig::start(fault, false, end.flags());
            let has_begun = IN_THE_ANSWER.iter().any(|other| other.name == stage.name);
            for asked in Asked::POSTS {
                let what = format!("{}, {end:?}, {asked:?}", stage.name);
                let before = Counts::of(&rig.gateway);
                rig.set(Play::Fault);
                let (client, mark) = begin(rig.gateway.data, asked, false);
                is_there.recv_timeout(PATIENCE).unwrap();
                socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                drop(client);
                let open = "ucs_gateway_client_connections_open";
                eventually("the client is gone", || admin::metric(&rig.gateway, open) == 0.0);
                go_on.send(()).unwrap();
                let kind = match end {
                    End::Stall if has_begun => "idle_body_timeout",
                    End::Stall => "first_byte_timeout",
                    End::Fin | End::Reset => "closed",
                };
                let expected = Expected { got: Got::Nothing, kind: Some(kind), seen: 1, abandoned: true };
                rig.settles_at(&what, &before, &expected);
                let sent = rig.upstream.received_text().matches(&format!("X-Case: {mark}\r\n")).count();
                assert_eq!(sent, 1, "{what}");
                rig.serves(&what);
            }
        },
    );
}

/// Where UCS can stop so that a flip meets it.
const STALLS: [&str; 8] = [
    "in the request's body",
    "after the request",
    "in a header",
    "after 100",
    "in a body with a length",
    "in a chunk",
    "in the trailers",
    "in an early answer",
];

#[test]
fn a_flip_settles_only_after_what_stalls_was_given_up_and_had_its_grace() {
    // Nothing that stalls is given up earlier.
    const STALLED: Duration = Duration::from_secs(3);
    const LIMITS: [&str; 4] = ["--first-byte-timeout", "3s", "--idle-body-timeout", "3s"];
    const GRACE_MILLIS: u64 = 500;
    let stages = BEFORE_THE_ANSWER.iter().chain(IN_THE_ANSWER).filter(|stage| STALLS.contains(&stage.name));
    let rows: Vec<&'static Stage> = stages.collect();
    assert_eq!(rows.len(), STALLS.len());
    play_all(
        &rows,
        |stage| stage.name.to_owned(),
        |&stage| {
            for asked in stage.asks() {
                let (sender, stalls) = mpsc::channel();
                let fault = move |conn: &mut Conn| {
                    stage.play(conn, |conn| {
                        sender.send(()).unwrap();
                        conn.wait_for_the_end();
                    });
                };
                // One for each: what was abandoned shortly before a flip is in its report as well.
                let rig = Rig::start(fault, false, &[&LIMITS[..], &["--orphan-grace", "500ms"]].concat());
                let what = format!("{}, {asked:?}", stage.name);
                rig.set(Play::Fault);
                let half = stage.reads == Reads::HalfTheBody;
                let begun = Instant::now();
                let (mut client, _) = begin(rig.gateway.data, *asked, half);
                stalls.recv_timeout(PATIENCE).unwrap();
                let mut asker = Connection::open(rig.gateway.admin);
                admin::begin(&mut asker, &rig.gateway, "PUT /mode", Some(&json!({"mode": "maintenance"})));
                eventually("the flip began", || admin::mode(&rig.gateway)["mode"] == "maintenance");
                let in_time = begun.elapsed() < STALLED;
                let settled = asker.read_reply();
                assert_eq!(settled.status, 200, "{what}: {}", settled.text());
                let report = &settled.json()["report"];
                // It began before the exchange was given up, unless the machine was slow, and ended a grace after that.
                assert!(!in_time || report["drain_ms"].as_u64().unwrap() >= GRACE_MILLIS, "{what}: {report}");
                assert!(!in_time || report["abandoned"][0]["count"] == 1, "{what}: {report}");
                assert_ne!(finish(&mut client), Got::Nothing, "{what}");
                assert_eq!(admin::set_mode(&rig.gateway, &json!({"mode": "production"})).status, 200, "{what}");
                rig.serves(&what);
            }
        },
    );
}
