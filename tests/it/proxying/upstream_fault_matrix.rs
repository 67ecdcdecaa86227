//! Every fault of UCS at every stage of an exchange, each by GET, POST with a length and POST in chunks, on a fresh connection
//! and on one that was used before. Each row ends with the same questions: the documented answer, a request that was not sent
//! again, nothing left in flight, the error counted once, and a gateway that serves. The rules are those of
//! docs/operations.md, "What UCS does wrong".

/// Connections that cannot be made, go bad while idle, or close as they are used again.
mod connections;
/// What a flip, an old client, and the gateway itself as a reader make of a fault.
mod readers;
/// The gateway, the UCS and the counts that all rows share.
mod rig;
/// Whole messages that are wrong.
mod said;

use self::rig::{Asked, Expected, Got, Rig, play_all};
use crate::support::Conn;

/// Short deadlines, for rows that end by them alone; all others keep the defaults, so that a slow machine fails no test.
const SHORT: [&str; 4] = ["--first-byte-timeout", "1s", "--idle-body-timeout", "1s"];

/// How the connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Fin,
    Reset,
    Stall,
}

const ENDS: [End; 3] = [End::Fin, End::Reset, End::Stall];

impl End {
    fn play(self, conn: &mut Conn) {
        match self {
            End::Fin => {}
            End::Reset => conn.reset(),
            End::Stall => conn.wait_for_the_end(),
        }
    }

    fn flags(self) -> &'static [&'static str] {
        if self == End::Stall { &SHORT } else { &[] }
    }
}

/// How much of the request UCS reads before its connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reads {
    Nothing,
    PartOfHead,
    HalfTheBody,
    All,
}

/// Where the connection ends: what UCS has read and said until then.
struct Stage {
    name: &'static str,
    reads: Reads,
    says: &'static str,
}

const fn stage(name: &'static str, reads: Reads, says: &'static str) -> Stage {
    Stage { name, reads, says }
}

/// Before the client can have been told anything.
const BEFORE_THE_ANSWER: &[Stage] = &[
    stage("accepted, nothing read", Reads::Nothing, ""),
    stage("in the request's head", Reads::PartOfHead, ""),
    stage("in the request's body", Reads::HalfTheBody, ""),
    stage("after the request", Reads::All, ""),
    stage("in the status line", Reads::All, "HTTP/1.1 20"),
    stage("behind the status line", Reads::All, "HTTP/1.1 200 OK\r\n"),
    stage("in a header", Reads::All, "HTTP/1.1 200 OK\r\nContent-Le"),
    stage("before the head's empty line", Reads::All, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
    stage("after 100", Reads::All, "HTTP/1.1 100 Continue\r\n\r\n"),
    stage("after 100, in the body", Reads::HalfTheBody, "HTTP/1.1 100 Continue\r\n\r\n"),
    stage(
        "after 102 and 103",
        Reads::All,
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
    ),
    stage("in the head after 100", Reads::All, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent"),
];

/// After the head of the answer.
const IN_THE_ANSWER: &[Stage] = &[
    stage("behind the head, length", Reads::All, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    stage("in a body with a length", Reads::All, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
    stage("before the last byte", Reads::All, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf of i"),
    stage("behind the head, chunks", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    stage("in a chunk's size", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n1"),
    stage("in a chunk's extension", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b"),
    stage("in a chunk", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
    stage("behind a chunk's data", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf"),
    stage("between chunks", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
    stage("in the last chunk", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r"),
    stage(
        "behind the last chunk",
        Reads::All,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ),
    stage("in the trailers", Reads::All, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Digest: 1\r\n"),
    stage(
        "after 100 and the head",
        Reads::All,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    ),
    stage("in an early answer", Reads::HalfTheBody, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
];

impl Stage {
    /// A GET has no body to stop in.
    fn asks(&self) -> &'static [Asked] {
        if self.reads == Reads::HalfTheBody { &Asked::POSTS } else { &Asked::ALL }
    }

    /// Plays up to the end, and then that.
    fn play(&self, conn: &mut Conn, end: impl FnOnce(&mut Conn)) {
        let came = match self.reads {
            Reads::Nothing => conn.leaves_unread().then_some(()),
            Reads::PartOfHead => Some(()),
            Reads::HalfTheBody => conn.read_head().and_then(|_| conn.read_through(b"half")).map(drop),
            Reads::All => conn.read_request().map(drop),
        };
        if came.is_some() {
            conn.write(self.says);
            end(conn);
        }
    }

    /// Whether all that UCS said, if anything, was interim: then a connection that had been used before may have been stale.
    fn may_be_stale(&self) -> bool {
        self.says.is_empty() || (self.says.starts_with("HTTP/1.1 1") && self.says.ends_with("\r\n\r\n"))
    }

    fn run(&self, end: End, expected: impl Fn(Asked, bool) -> Expected) {
        let Stage { name, reads, says } = *self;
        let fault = move |conn: &mut Conn| stage(name, reads, says).play(conn, |conn| end.play(conn));
        let rig = Rig::start(fault, reads == Reads::Nothing, end.flags());
        for asked in self.asks() {
            for reused in [false, true] {
                // On a connection that is in use, bytes that were not read are the stage after.
                if reused && reads == Reads::Nothing {
                    continue;
                }
                let half = reads == Reads::HalfTheBody;
                rig.case(&format!("{name}, {end:?}"), *asked, reused, half, &expected(*asked, reused));
            }
        }
    }
}

fn with_ends(stages: &'static [Stage]) -> Vec<(&'static Stage, End)> {
    stages.iter().flat_map(|stage| ENDS.map(|end| (stage, end))).collect()
}

#[test]
fn a_ucs_that_ends_before_its_answer_is_told_so() {
    play_all(
        &with_ends(BEFORE_THE_ANSWER),
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |(stage, end)| {
            stage.run(*end, |asked, reused| {
                let (got, kind) = match end {
                    // The client keeps its half back as well, and is the one who is waited for.
                    End::Stall if stage.reads == Reads::HalfTheBody => (Got::refused(408, "body_timeout"), None),
                    End::Stall => (Got::refused(504, "upstream_timeout"), Some("first_byte_timeout")),
                    End::Fin | End::Reset => (Got::refused(502, "upstream_broken"), Some("closed")),
                };
                let again = reused && asked == Asked::Get && *end != End::Stall && stage.may_be_stale();
                let is_unread = stage.reads == Reads::Nothing && *end != End::Stall;
                let seen = if is_unread { 0 } else { 1 + usize::from(again) };
                Expected { got, kind, seen, abandoned: true }
            });
        },
    );
}

#[test]
fn a_ucs_that_ends_within_its_answer_cuts_the_client_s() {
    play_all(
        &with_ends(IN_THE_ANSWER),
        |(stage, end)| format!("{}, {end:?}", stage.name),
        |(stage, end)| {
            let kind = match end {
                // As above: the client is waited for too, and before UCS.
                End::Stall if stage.reads == Reads::HalfTheBody => None,
                End::Stall => Some("idle_body_timeout"),
                End::Fin | End::Reset => Some("closed"),
            };
            stage.run(*end, |_, _| Expected { got: Got::Cut(200), kind, seen: 1, abandoned: true });
        },
    );
}

#[test]
fn a_body_that_ends_with_its_connection_ends_well_only_by_a_fin() {
    const UNTIL_CLOSED: &[Stage] = &[stage("until closed", Reads::All, "HTTP/1.1 200 OK\r\n\r\nuntil the end")];
    play_all(
        &with_ends(UNTIL_CLOSED),
        |(_, end)| format!("{end:?}"),
        |(stage, end)| {
            let (got, kind) = match end {
                End::Fin => (Got::whole(200, "until the end"), None),
                End::Reset => (Got::Cut(200), Some("closed")),
                End::Stall => (Got::Cut(200), Some("idle_body_timeout")),
            };
            stage.run(*end, |_, _| Expected { got: got.clone(), kind, seen: 1, abandoned: kind.is_some() });
        },
    );
}
