//! More clients of the admin port than it takes, of every kind that would like to stay: none keeps an operator or a probe
//! out, for however long. See `crowd` for what they do.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::access::{over_unix, viewer_and_operator};
use super::bearer;
use crate::machine::shim::Machine;
use crate::support::crowd::{Crowd, Kind};
use crate::support::{Connection, Events, Gateway, PATIENCE, Reply, TempDir, Ucs, eventually, http, kernel, tool};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// Sizes around the limit of connections without a credential, and far beyond it.
const SIZES: [usize; 3] = [256, 257, 2000];

/// A gateway with a viewer ("viewer-token"), an operator ("operator-token"), and a principal with a password.
struct Rig {
    ucs: Ucs,
    _dir: TempDir,
    gateway: Gateway,
}

impl Rig {
    fn new() -> Rig {
        Rig::started(Gateway::bare)
    }

    fn started(start: impl FnOnce(SocketAddr, &[&str]) -> Gateway) -> Rig {
        let (ucs, dir) = (Ucs::usual(), TempDir::new());
        let access = viewer_and_operator(&dir);
        let stanza =
            tool::run_with_input(&["token", "password", "--name", "console", "--user", "console"], "correct horse\n");
        std::fs::OpenOptions::new().append(true).open(&access).unwrap().write_all(stanza.stdout.as_bytes()).unwrap();
        let gateway = start(ucs.address, &["--access", access.to_str().unwrap()]);
        Rig { ucs, _dir: dir, gateway }
    }

    fn call(&self, token: &str, line: &str, body: &[u8]) -> Reply {
        self.ask(line, &[("Authorization", &bearer(token)), JSON], body)
    }

    /// A call on a connection of its own. The crowd and the gateway may have to share a slow processor.
    fn ask(&self, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut connection = Connection::open(self.gateway.admin).with_patience(6 * PATIENCE);
        connection.send(http::compose(self.gateway.admin, line, headers, body));
        connection.read_reply()
    }

    /// A new operator flips and a new probe asks, each on a connection of its own; how long each of them took at most.
    #[track_caller]
    fn operator_and_probe_get_in(&self, what: &str) -> [Duration; 2] {
        let mut longest = [Duration::ZERO; 2];
        for mode in ["maintenance", "production"] {
            let began = Instant::now();
            let reply = self.call("operator-token", "PUT /mode", json!({ "mode": mode }).to_string().as_bytes());
            assert_eq!((reply.status, &reply.json()["phase"]), (200, &json!("settled")), "{what}: {}", reply.text());
            longest[0] = longest[0].max(began.elapsed());
            for probe in ["GET /livez", "GET /readyz"] {
                let began = Instant::now();
                assert_eq!(self.ask(probe, &[], b"").status, 200, "{what}: {probe}");
                longest[1] = longest[1].max(began.elapsed());
            }
        }
        longest
    }

    /// An ordinary client of the data port: the slowest but one of a hundred responses.
    #[track_caller]
    fn p99_of_the_data_port(&self) -> Duration {
        let mut client = Connection::open(self.gateway.data).with_patience(6 * PATIENCE);
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let began = Instant::now();
                client.send(http::compose(self.gateway.data, "GET /profiles/absent", &[], b""));
                let reply = client.read_reply();
                assert_eq!(reply.status, 404, "{}", reply.text());
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[98]
    }

    /// The same under crowds of one kind at the admin port.
    #[track_caller]
    fn stands(&self, kind: Kind) {
        self.stands_at(self.gateway.admin, kind);
    }

    #[track_caller]
    fn stands_at(&self, address: SocketAddr, kind: Kind) {
        let alone = self.p99_of_the_data_port();
        for size in SIZES {
            let crowd = Crowd::gather(address, size, kind);
            for _ in 0..2 {
                crowd.all_have_pushed();
                let [change, probe] = self.operator_and_probe_get_in(&format!("{size} × {kind:?}"));
                let beside = self.p99_of_the_data_port();
                eprintln!(
                    "{size} × {kind:?}: a change {change:?}, a probe {probe:?}; data port: p99 {alone:?} alone, {beside:?} beside"
                );
            }
        }
    }
}

/// One test, as a crowd needs the machine for itself: others run beside it.
#[test]
fn no_crowd_keeps_an_operator_or_a_probe_out() {
    let reads_much = [Kind::ReadsNothing, Kind::Probes, Kind::Streams("viewer-token"), Kind::Reads("viewer-token")];
    let unknown = [Kind::Silent, Kind::HalfHead, Kind::HalfBody, Kind::Reads("wrong-token"), Kind::GuessesPasswords];
    for kind in reads_much.into_iter().chain(unknown) {
        Rig::new().stands(kind);
    }
}

/// UCS and the data port may need the processor that the admin port works on.
#[test]
fn a_crowd_at_the_admin_port_takes_no_whole_processor() {
    let rig = Rig::new();
    let (began, before) = (Instant::now(), processor_time(&rig.gateway));
    for _ in 0..10 {
        let mut clients: Vec<Connection> = (0..200).map(|_| Connection::open(rig.gateway.admin)).collect();
        for client in &mut clients {
            client.send(http::compose(rig.gateway.admin, "GET /livez", &[], b""));
        }
        for client in &mut clients {
            assert_eq!(client.read_reply().status, 200);
        }
    }
    let (taken, time) = (processor_time(&rig.gateway) - before, began.elapsed());
    assert!(taken < time.mul_f64(0.45), "{taken:?} in {time:?}");
}

/// What the admin port's thread, the gateway's first, has used.
fn processor_time(gateway: &Gateway) -> Duration {
    let id = gateway.pid();
    let statistics = std::fs::read_to_string(format!("/proc/{id}/task/{id}/schedstat")).unwrap();
    Duration::from_nanos(statistics.split(' ').next().unwrap().parse().unwrap())
}

/// The right token is accepted at once on either port, however many wrong ones come.
#[test]
fn a_guesser_at_the_data_port_keeps_no_operator_out_of_either() {
    let rig = Rig::new();
    rig.stands_at(rig.gateway.data, Kind::Sets("wrong-token"));
    let _crowd = Crowd::gather(rig.gateway.data, 2000, Kind::Sets("wrong-token"));
    let mut operator = Connection::open(rig.gateway.data).with_patience(6 * PATIENCE);
    let headers = [("Authorization", &*bearer("operator-token")), JSON];
    for mode in ["maintenance", "production"] {
        let body = json!({ "mode": mode }).to_string();
        operator.send(http::compose(rig.gateway.data, "POST /server/mode", &headers, body.as_bytes()));
        let reply = operator.read_reply();
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(rig.call("viewer-token", "GET /mode", b"").json()["mode"], mode);
    }
}

/// Each reading of the journal takes for ever here, and they are more than tokio has threads.
#[test]
fn readers_of_the_history_that_left_hold_up_no_flip() {
    let machine = Machine::new();
    let rig = Rig::started(|ucs, flags| machine.start(ucs, flags));
    machine.opening_hangs(&machine.state().join("journal.jsonl"));
    for reader in 1..=600 {
        let mut leaves = Connection::open(rig.gateway.admin);
        let headers = [("Authorization", &*bearer("viewer-token"))];
        leaves.send(http::compose(rig.gateway.admin, "GET /mode/history", &headers, b""));
        if reader % 50 == 0 {
            assert_eq!(rig.ask("GET /livez", &[], b"").status, 200, "those before it have been heard");
        }
    }
    rig.operator_and_probe_get_in("600 readers of the history");
}

/// However many come while it waits, with or without a credential.
#[test]
fn a_change_that_waits_for_its_drain_is_never_dropped() {
    let rig = Rig::new();
    rig.ucs.control().set_holding(true);
    let mut running = Connection::open(rig.gateway.data);
    running.send(http::compose(rig.gateway.data, "GET /profiles/1", &[], b""));
    rig.ucs.in_flight_reaches(1);
    let mut asker = Connection::open(rig.gateway.admin).with_patience(6 * PATIENCE);
    let headers = [("Authorization", &*bearer("operator-token")), JSON];
    asker.send(http::compose(
        rig.gateway.admin,
        "PUT /mode",
        &headers,
        br#"{"mode":"maintenance","drain_timeout":"10m"}"#,
    ));
    let phase = || rig.call("viewer-token", "GET /mode", b"").json()["phase"].clone();
    eventually("the flip began", || phase() == "switching");
    for kind in [Kind::Silent, Kind::Reads("viewer-token"), Kind::Reads("operator-token")] {
        let crowd = Crowd::gather(rig.gateway.admin, 1000, kind);
        crowd.all_have_pushed();
        crowd.all_have_pushed();
    }
    assert_eq!(phase(), "switching");
    rig.ucs.control().set_holding(false);
    let reply = asker.read_reply();
    assert_eq!((reply.status, &reply.json()["phase"]), (200, &json!("settled")), "{}", reply.text());
}

#[test]
fn a_client_that_reads_nothing_is_reset() {
    let rig = Rig::new();
    let mut client = Crowd::client(rig.gateway.admin, Kind::ReadsNothing);
    client.push();
    eventually_in(Duration::from_secs(90), "it is reset", || client.was_reset());
}

/// A byte now and then is no reading.
#[test]
fn a_client_that_hardly_reads_is_reset() {
    let rig = Rig::new();
    let mut client = Crowd::client(rig.gateway.admin, Kind::Trickles("viewer-token"));
    eventually_in(Duration::from_secs(90), "it is reset", || {
        client.push();
        client.was_reset()
    });
}

#[test]
fn who_shows_no_credential_goes_in_the_end_and_others_stay() {
    let rig = Rig::new();
    let mut nobody = Connection::open(rig.gateway.admin);
    let mut viewer = Connection::open(rig.gateway.admin);
    let began = Instant::now();
    let headers = [("Authorization", &*bearer("viewer-token"))];
    // As long as the gateway keeps the one that only asks for liveness, and once more for the other one.
    loop {
        viewer.send(http::compose(rig.gateway.admin, "GET /mode", &headers, b""));
        assert_eq!(viewer.read_reply().status, 200);
        let sent = nobody.try_send(http::compose(rig.gateway.admin, "GET /livez", &[], b""));
        if sent.is_err() || nobody.read_some().is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "it may stay for ever");
        std::thread::sleep(Duration::from_millis(200));
    }
    viewer.send(http::compose(rig.gateway.admin, "GET /mode", &headers, b""));
    assert_eq!(viewer.read_reply().status, 200, "whoever is known stays");
}

#[test]
fn a_stream_that_nobody_reads_is_closed_once_something_waits_to_be_read() {
    let rig = Rig::new();
    let mut followers: Vec<_> =
        (0..32).map(|_| Crowd::client(rig.gateway.admin, Kind::Streams("viewer-token"))).collect();
    followers.iter_mut().for_each(|follower| follower.push());
    let has_room = || Events::open_as(&rig.gateway, "viewer-token").is_ok();
    eventually("all places are taken", || !has_room());
    // More records than there is room for between the gateway and a client that reads nothing.
    eventually_in(Duration::from_secs(90), "one has lost its place", || {
        rig.operator_and_probe_get_in("unread streams");
        has_room()
    });
}

#[test]
fn each_principal_has_so_many_streams_and_no_more() {
    let rig = Rig::new();
    let open = |token: &str| Events::open_as(&rig.gateway, token);
    let mut viewers: Vec<Events> = (0..32).map(|_| open("viewer-token").expect("within the limit")).collect();
    let refused = open("viewer-token").err().expect("one too many");
    assert_eq!((refused.status, &refused.json()["reason"]), (429, &json!("too_many_streams")), "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    open("operator-token").expect("others have their own");
    viewers.pop();
    eventually("a place is free again", || open("viewer-token").is_ok());
    assert_eq!(rig.call("viewer-token", "GET /mode", b"").status, 200, "streams are counted apart");
}

#[test]
fn all_principals_together_have_so_many_streams_and_no_more() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let hash = |number: usize| ucs_gateway::access::token_hash_hex(&format!("token-{number}"));
    let member =
        |number| format!("  - {{name: p{number}, token_sha256: {}, permissions: ['mode:read']}}\n", hash(number));
    let members: String = (0..5).map(member).collect();
    let access = dir.file("access.yaml", &format!("version: 1\nprincipals:\n{members}"));
    let gateway = Gateway::bare(ucs.address, &["--access", access.to_str().unwrap()]);
    let streams = (0..128).map(|number| Events::open_as(&gateway, &format!("token-{}", number / 32)));
    let streams: Vec<_> = streams.map(|stream| stream.expect("within the limit")).collect();
    let refused = Events::open_as(&gateway, "token-4").err().expect("one too many");
    assert_eq!((refused.status, &refused.json()["reason"]), (503, &json!("overload")), "{}", refused.text());
    drop(streams);
    eventually("there is room again", || Events::open_as(&gateway, "token-4").is_ok());
}

/// The limit of whole ones: `tests/it/machine/disk.rs`.
#[test]
fn half_sent_changes_keep_no_whole_one_of_their_principal_out() {
    let rig = Rig::new();
    let headers = [("Authorization", &*bearer("operator-token")), JSON];
    let half = [&headers[..], &[("Content-Length", "22"), ("Expect", "100-continue")]].concat();
    let half: Vec<_> = (0..40)
        .map(|number| {
            let mut client = Connection::open(rig.gateway.admin);
            let change = ["PUT /mode", "PUT /local"][number % 2];
            client.send(http::compose(rig.gateway.admin, change, &half, b""));
            assert_eq!(client.read_head().status, 100, "{number}: it is asked for its body");
            client
        })
        .collect();
    let whole = rig.call("operator-token", "PUT /mode", br#"{"mode":"maintenance"}"#);
    assert_eq!((whole.status, &whole.json()["phase"]), (200, &json!("settled")), "{}", whole.text());
    drop(half);
}

/// A flood takes the place of its own connections, however fast it is: others have their time for a head.
#[test]
fn a_flood_from_one_address_takes_no_place_of_another() {
    let rig = Rig::new();
    let elsewhere = |_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
        socket.connect(&rig.gateway.admin.into()).unwrap();
        TcpStream::from(socket)
    };
    loop {
        let began = Instant::now();
        let mut operator = Connection::open(rig.gateway.admin);
        let flood: Vec<TcpStream> = (0..600).map(elsewhere).collect();
        // All have been accepted, as the last one is served.
        let mut last = flood.last().unwrap();
        last.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        assert!(last.read(&mut [0; 64]).unwrap() > 0);
        let headers = [("Authorization", &*bearer("operator-token")), JSON];
        let change = http::compose(rig.gateway.admin, "PUT /mode", &headers, br#"{"mode":"maintenance"}"#);
        let sent = operator.try_send(change);
        // A head must arrive within five seconds, which a slow machine may take for the flood.
        if began.elapsed() > Duration::from_secs(5) {
            continue;
        }
        sent.unwrap();
        assert_eq!(operator.read_reply().status, 200);
        return;
    }
}

#[test]
fn a_crowd_at_a_unix_socket_keeps_nobody_out() {
    let (ucs, dir) = (Ucs::usual(), TempDir::new());
    let socket = dir.path().join("admin.sock");
    let _gateway = Gateway::bare(ucs.address, &["--admin-listen", &format!("unix:{}", socket.display())]);
    let crowd: Vec<UnixStream> = (0..600)
        .map(|number| {
            let mut stream = UnixStream::connect(&socket).unwrap();
            stream.set_nonblocking(true).unwrap();
            if number % 2 == 0 {
                let _ = stream.write(&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(400));
            }
            stream
        })
        .collect();
    let (status, live): (u16, Value) = over_unix(&socket, "GET /livez");
    assert_eq!((status, &live["live"]), (200, &json!(true)));
    assert_eq!(over_unix(&socket, "GET /mode").0, 401);
    drop(crowd);
}

/// Longer than other waits, as these are for the gateway's own deadlines.
#[track_caller]
fn eventually_in(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit.max(PATIENCE);
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_connection_that_makes_room_for_another_is_reset() {
    let rig = Rig::new();
    let mut oldest = TcpStream::connect(rig.gateway.admin).unwrap();
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    let _crowd: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(rig.gateway.admin).unwrap()).collect();
    assert_eq!(oldest.read(&mut [0]).map_err(|error| error.kind()), Err(ErrorKind::ConnectionReset));
}

#[test]
fn of_clients_that_read_nothing_a_stop_leaves_nothing_with_the_system() {
    let rig = Rig::new();
    let admin = rig.gateway.admin;
    let one = http::compose(admin, "GET /openapi.json", &[("Authorization", &bearer("operator-token"))], b"");
    let _clients: Vec<Connection> = (0..3)
        .map(|_| {
            let mut client = Connection::open(admin).with_small_receive_buffer();
            let _ = client.try_send(one.repeat(40));
            client
        })
        .collect();
    eventually("responses wait for their readers", || {
        kernel::accepted_by(admin).iter().filter(|socket| socket.unsent > 0).count() == 3
    });
    assert!(rig.gateway.terminate(PATIENCE).success());
    assert!(kernel::accepted_by(admin).is_empty(), "{:?}", kernel::accepted_by(admin));
}
