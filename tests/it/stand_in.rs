//! Tests of the stand-in over real sockets: a test for each family of operations.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use ucs_gateway::demo::{StandIn, StandInOptions};
use ucs_gateway::policy::mode::Mode;

const PATIENCE: Duration = Duration::from_secs(40);

/// Requests to the seeded data in production: method, path, body and the expected status.
const EXAMPLES: &[(&str, &str, &str, u16)] = &[
    ("GET", "/profiles/00000SEEDED00001?extensions=Phone", "", 200),
    ("GET", "/profiles?EmailAddress=bruce.banner@example.com", "", 200),
    ("POST", "/profiles", r#"{"FirstName":"Ada","LastName":"Lovelace"}"#, 201),
    ("GET", "/customers/00000SEEDED00001/services/active", "", 200),
    ("GET", "/services/anonymous/408-832-7799", "", 200),
    ("GET", "/services/1/states/2", "", 200),
    ("GET", "/services/1/tasks/3", "", 200),
    ("GET", "/interactions/seeded-1", "", 200),
    ("GET", "/interactions/seeded-1/plain_text", "", 200),
    ("GET", "/metadata/profiles/extensions/Phone", "", 200),
    ("GET", "/metadata/services/extensions/feedback", "", 200),
    ("GET", "/metadata/identification-keys/idEmail", "", 200),
    (
        "POST",
        "/metadata/profiles/extensions",
        r#"{"name":"Loyalty","type":"single-valued","attributes":[{"name":"tier","type":"string"}]}"#,
        503,
    ),
];

struct Got {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn location(&self) -> &str {
        self.headers[LOCATION].to_str().unwrap()
    }
}

async fn start(options: StandInOptions) -> StandIn {
    let stand_in = StandIn::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), options).await.unwrap();
    stand_in.seed();
    stand_in
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Got {
    let exchange = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Got { status, headers, body: response.into_body().collect().await.unwrap().to_bytes() }
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap()
}

async fn ask(address: SocketAddr, method: &str, path: &str, body: impl Into<Bytes>) -> Got {
    let request = Request::builder().method(method).uri(path).header(HOST, "ucs");
    send(address, request.body(Full::new(body.into())).unwrap()).await
}

async fn tell(address: SocketAddr, method: &str, path: &str, body: Value) -> Got {
    ask(address, method, path, body.to_string()).await
}

#[tokio::test]
async fn every_example_answers_as_it_says() {
    let ucs = start(StandInOptions::new()).await;
    for &(method, path, body, status) in EXAMPLES {
        assert_eq!(ask(ucs.address, method, path, body).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn profiles_are_created_identified_changed_and_deleted() {
    let ucs = start(StandInOptions::new()).await;
    let at = ucs.address;
    let made = tell(at, "POST", "/profiles", json!({"FirstName": "Ada", "DOB": "1815-12-10"})).await;
    let id = made.json()["customer_id"].as_str().unwrap().to_owned();
    assert_eq!((made.status, made.location()), (201, format!("/profiles/{id}").as_str()));

    let phone = json!({"Phone": [{"PhoneType": 1, "PhoneNumber": "5", "description": "old"}]});
    let path = format!("/profiles/{id}");
    assert_eq!(tell(at, "POST", &format!("{path}/extensions"), phone).await.status, 200);
    let record = json!({"PhoneType": 1, "PhoneNumber": "5", "description": "new"});
    assert_eq!(tell(at, "PUT", &format!("{path}/extensions/phone/by/unique"), record.clone()).await.status, 200);
    assert_eq!(tell(at, "PUT", &path, json!({"FirstName": "Augusta Ada"})).await.status, 200);
    let got = ask(at, "GET", &format!("{path}?extensions=Phone"), "").await.json();
    assert_eq!(got, json!({"customer_id": id, "FirstName": "Augusta Ada", "Phone": [record]}));

    let found = ask(at, "GET", "/profiles?FirstName=Augusta%20Ada", "").await.json();
    assert_eq!(found, json!([{"customer_id": id}]));
    let key = json!({"PhoneType": 1, "PhoneNumber": "5"});
    let gone = format!("{path}/extensions/Phone/delete/by/unique");
    assert_eq!(tell(at, "PUT", &gone, key.clone()).await.status, 200);
    assert_eq!(tell(at, "PUT", &gone, key).await.status, 404);
    assert_eq!(ask(at, "DELETE", &path, "").await.status, 200);
    assert_eq!(ask(at, "DELETE", &path, "").await.status, 404);
    assert_eq!(tell(at, "POST", "/profiles", json!([])).await.status, 400);
}

#[tokio::test]
async fn services_run_from_start_to_end() {
    let ucs = start(StandInOptions::new()).await;
    let at = ucs.address;
    let begun = tell(at, "POST", "/services/start", json!({"contact_key": "pin 7", "service_type": 1})).await;
    let id = begun.json()["service_id"].as_u64().unwrap();
    let path = format!("/services/{id}");
    assert_eq!((begun.status, begun.location()), (201, path.as_str()));
    assert_eq!(ask(at, "GET", "/services/anonymous/pin%207/active", "").await.json()[0]["service_id"], id);
    let owner = "/customers/00000SEEDED00002/services";
    assert_eq!(ask(at, "POST", &format!("{owner}/{id}"), "").await.status, 200);
    assert_eq!(ask(at, "GET", "/services/anonymous/pin%207", "").await.json(), json!([]));

    let state = tell(at, "POST", &format!("{path}/states/start"), json!({"state_type": 1})).await.json();
    let change = json!({"complete": {"state_id": state["state_id"]}, "start": {"state_type": 2}});
    let next = tell(at, "POST", &format!("{path}/states/transition"), change).await.json();
    let active = ask(at, "GET", &format!("{path}/states/active"), "").await.json();
    assert_eq!((active.as_array().unwrap().len(), &active[0]["state_id"]), (1, &next["state_id"]));
    assert_eq!(ask(at, "GET", &format!("{path}/states/completed"), "").await.json()[0]["state_id"], state["state_id"]);

    let task = tell(at, "POST", &format!("{path}/tasks/start"), json!({"task_type": 1})).await;
    assert_eq!(ask(at, "GET", task.location(), "").await.json()["task_type"], 1);
    assert_eq!(ask(at, "POST", &format!("{}/end", task.location()), "").await.status, 200);
    assert_eq!(ask(at, "GET", &format!("{path}/tasks/active"), "").await.json(), json!([]));

    let score = json!({"score": 5});
    assert_eq!(tell(at, "PUT", &format!("{path}/extensions/feedback"), score.clone()).await.status, 200);
    assert_eq!(tell(at, "PUT", &format!("{path}/extensions/unknown"), score.clone()).await.status, 404);
    assert_eq!(ask(at, "GET", &path, "").await.json()["feedback"], score);
    assert_eq!(ask(at, "POST", &format!("{path}/end"), "").await.status, 200);
    assert_eq!(ask(at, "GET", &format!("{owner}/completed"), "").await.json()[0]["service_id"], id);
    assert_eq!(ask(at, "GET", "/services/999", "").await.status, 404);
}

#[tokio::test]
async fn schemas_are_written_in_maintenance_and_read_in_both_modes() {
    let ucs = start(StandInOptions { initial_mode: Mode::Maintenance, ..StandInOptions::new() }).await;
    let at = ucs.address;
    for kind in ["profiles", "services", "states", "tasks"] {
        let path = format!("/metadata/{kind}/extensions");
        let schema = json!({"name": "Loyalty", "type": "single-valued", "attributes": []});
        let made = tell(at, "POST", &path, schema.clone()).await;
        assert_eq!((made.status, made.location()), (201, format!("http://{at}{path}/Loyalty").as_str()));
        ucs.control().set_mode(Mode::Production);
        assert_eq!(ask(at, "GET", &format!("{path}/loyalty"), "").await.json(), schema);
        assert!(ask(at, "GET", &path, "").await.json().as_array().unwrap().contains(&schema));
        assert_eq!(ask(at, "DELETE", &format!("{path}/Loyalty"), "").await.status, 503);
        ucs.control().set_mode(Mode::Maintenance);
        assert_eq!(ask(at, "DELETE", &format!("{path}/Loyalty"), "").await.status, 204);
        assert_eq!(ask(at, "DELETE", &format!("{path}/Loyalty"), "").await.status, 404);
    }
    let key = json!({"name": "idPhone", "source": "Phone", "attributes": ["PhoneNumber"]});
    assert_eq!(tell(at, "POST", "/metadata/identification-keys", key).await.status, 201);
    assert_eq!(ask(at, "DELETE", "/metadata/profiles/extensions/Phone", "").await.status, 400);
    assert_eq!(ask(at, "DELETE", "/metadata/identification-keys/IDPHONE", "").await.status, 204);
    assert_eq!(ask(at, "GET", "/metadata/business-attributes/ServiceType", "").await.status, 200);
    let mapped = "/metadata/business-attributes?cv-attribute=Service.service_type";
    assert_eq!(ask(at, "GET", mapped, "").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn interactions_name_their_contents_by_absolute_address() {
    let ucs = start(StandInOptions { base_path: "/genesys/1/cs".to_owned(), ..StandInOptions::new() }).await;
    let at = ucs.address;
    let path = "/genesys/1/cs/interactions/seeded-1";
    let shown = ask(at, "GET", path, "").await.json();
    assert_eq!(shown["text"], format!("http://{at}{path}/plain_text"));
    assert_eq!(ask(at, "GET", "/genesys/1/cs/services/1/interactions", "").await.json(), json!([shown]));
    assert_eq!(ask(at, "GET", &format!("{path}/binary_content"), "").await.body, &b"\x89example\r\n\0"[..]);
    assert_eq!(ask(at, "GET", "/interactions/seeded-1", "").await.status, 404);
}

#[tokio::test]
async fn big_bodies_stream_both_ways() {
    let ucs = start(StandInOptions { record: true, ..StandInOptions::new() }).await;
    let at = ucs.address;
    let got = ask(at, "GET", "/interactions/seeded-1/binary_content?size=3000001", "").await;
    assert_eq!(got.body.len(), 3_000_001);
    assert!(got.body.iter().enumerate().all(|(i, byte)| *byte == b'a' + (i % 26) as u8));
    let head = ask(at, "HEAD", "/interactions/seeded-1/binary_content?size=3000001", "").await;
    assert_eq!((head.status, &head.headers[CONTENT_LENGTH], head.body.len()), (200, &"3000001".parse().unwrap(), 0));

    let got = ask(at, "POST", "/profiles/import", vec![0; 5 << 20]).await;
    assert_eq!((got.status, got.json()), (200, json!({"received_bytes": 5 << 20})));
    assert_eq!(ask(at, "POST", "/profiles", vec![b' '; 2 << 20]).await.status, 413);
    assert_eq!(ucs.record().last().unwrap().body_bytes, 2 << 20);
}

#[tokio::test]
async fn set_mode_waits_for_a_running_request_and_refuses_everything_meanwhile() {
    let ucs = start(StandInOptions { record: true, ..StandInOptions::new() }).await;
    let at = ucs.address;
    ucs.control().set_holding(true);
    let slow = tokio::spawn(tell(at, "POST", "/profiles", json!({"FirstName": "Slow"})));
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(1)).await.unwrap();
    let switch = tokio::spawn(tell(at, "POST", "/server/mode", json!({"mode": "Maintenance"})));
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(2)).await.unwrap();
    let refused = async {
        while ask(at, "GET", "/server/status", "").await.status != 503 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused).await.unwrap();
    assert!(!switch.is_finished());
    ucs.control().set_holding(false);
    assert_eq!(slow.await.unwrap().status, 201);
    let switched = switch.await.unwrap();
    assert_eq!((switched.status, switched.location()), (200, "/server/status"));
    assert_eq!(switched.json(), json!({"server changed": "maintenance"}));

    let refused = ask(at, "GET", "/profiles/00000SEEDED00001", "").await;
    assert_eq!(refused.status, 503);
    let description = refused.json()["error"]["description"].as_str().unwrap().to_owned();
    assert!(description.contains("is unavailable while the system is in \"maintenance\" mode"), "{description}");
    let ends: Vec<_> = ucs.record().iter().filter(|e| e.status != Some(503) && e.method == "POST").cloned().collect();
    assert_eq!(ends.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), ["/profiles", "/server/mode"]);
    assert!(ends[0].end_sequence < ends[1].end_sequence);
    assert_eq!(tell(at, "POST", "/server/mode", json!({"mode": "open"})).await.status, 400);
}

#[tokio::test]
async fn the_work_goes_on_when_the_client_has_gone() {
    let ucs = start(StandInOptions::new()).await;
    ucs.control().set_holding(true);
    let mut client = TcpStream::connect(ucs.address).await.unwrap();
    client.write_all(b"DELETE /profiles/00000SEEDED00002 HTTP/1.1\r\nHost: ucs\r\n\r\n").await.unwrap();
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(1)).await.unwrap();
    drop(client);
    // By the time that this one is answered, the stand-in has seen the other connection close.
    assert_eq!(ask(ucs.address, "GET", "/server/status", "").await.status, 200);
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(1)).await.unwrap();
    ucs.control().set_holding(false);
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(0)).await.unwrap();
    assert_eq!(ask(ucs.address, "GET", "/profiles/00000SEEDED00002", "").await.status, 404);
}

#[tokio::test]
async fn a_missing_profile_schema_is_404_and_leads_to_maintenance() {
    let ucs = start(StandInOptions { profile_schema: false, ..StandInOptions::new() }).await;
    let at = ucs.address;
    ucs.control().change(|options| options.auto_maintenance = false);
    assert_eq!(ask(at, "GET", "/metadata/profiles", "").await.status, 404);
    ucs.control().change(|options| options.empty_schema_list = true);
    assert_eq!(ask(at, "GET", "/metadata/profiles", "").await.json(), json!([]));
    for (method, path) in [("POST", "/profiles"), ("GET", "/profiles/00000SEEDED00001"), ("POST", "/profiles/import")] {
        assert_eq!(tell(at, method, path, json!({})).await.status, 404, "{method} {path}");
    }
    assert_eq!(ucs.control().mode(), Mode::Production);
    ucs.control().change(|options| options.auto_maintenance = true);
    assert_eq!(tell(at, "POST", "/profiles", json!({})).await.status, 404);
    assert_eq!(ask(at, "GET", "/server/status", "").await.json()["mode"], "maintenance");
    assert_eq!(tell(at, "POST", "/profiles", json!({})).await.status, 503);
    ucs.control().set_profile_schema(true);
    assert!(!ask(at, "GET", "/metadata/profiles", "").await.json().as_array().unwrap().is_empty());
    ucs.control().change(|options| options.schema_path_known = false);
    assert_eq!(ask(at, "GET", "/metadata/profiles", "").await.status, 404);
}

#[tokio::test]
async fn logins_failures_and_missing_mode_api() {
    let ucs = start(StandInOptions::new()).await;
    let at = ucs.address;
    ucs.control().change(|options| options.login = Some(("ada".to_owned(), "secret".to_owned())));
    let refused = ask(at, "GET", "/server/status", "").await;
    assert!(refused.status == 401 && refused.headers[WWW_AUTHENTICATE].to_str().unwrap().starts_with("Basic "));
    let request = Request::get("/server/status").header(HOST, "ucs").header(AUTHORIZATION, "Basic YWRhOnNlY3JldA==");
    assert_eq!(send(at, request.body(Full::default()).unwrap()).await.status, 200);
    ucs.control().change(|options| options.login = None);

    ucs.control().set_failing(Some(502));
    assert_eq!(ask(at, "GET", "/server/status", "").await.status, 502);
    ucs.control().set_failing(None);

    ucs.control().set_mode(Mode::Maintenance);
    ucs.control().change(|options| options.has_mode_api = false);
    assert_eq!(ask(at, "GET", "/server/status", "").await.status, 404);
    assert_eq!(ask(at, "GET", "/profiles/00000SEEDED00001", "").await.status, 200);
    assert_eq!(ask(at, "GET", "/nothing", "").await.json()["error"]["code"], 404);
    assert_eq!(ask(at, "PATCH", "/profiles/1", "").await.status, 405);
}

#[tokio::test]
async fn the_switches_work_over_http_and_are_not_recorded() {
    let ucs = start(StandInOptions { record: true, base_path: "/cv".to_owned(), ..StandInOptions::new() }).await;
    let at = ucs.address;
    assert_eq!(tell(at, "POST", "/_stand-in/mode", json!({"mode": "maintenance"})).await.status, 200);
    assert_eq!(ucs.control().mode(), Mode::Maintenance);
    assert_eq!(tell(at, "POST", "/_stand-in/schema", json!({"defined": false})).await.status, 200);
    assert_eq!(tell(at, "POST", "/_stand-in/delay", json!({"milliseconds": 1})).await.status, 200);
    assert_eq!(tell(at, "POST", "/_stand-in/fail", json!({"status": 200})).await.status, 400);
    assert_eq!(tell(at, "POST", "/_stand-in/fail", json!({"status": 500})).await.status, 200);
    let now = ask(at, "GET", "/_stand-in", "").await.json()["now"].clone();
    let expected = json!({
        "schema": {"defined": false}, "mode": {"mode": "maintenance"}, "delay": {"milliseconds": 1},
        "fail": {"status": 500},
    });
    assert_eq!(now, expected);
    assert!(ucs.record().is_empty());
    assert_eq!(ask(at, "GET", "/cv/server/status", "").await.status, 500);
    assert_eq!(tell(at, "POST", "/_stand-in/fail", json!({"status": null})).await.status, 200);
    let before = ask(at, "GET", "/cv/server/status", "").await.json();
    assert_eq!((&before["request_today"], &before["server_errors_today"]), (&json!(1), &json!(1)));
    assert_eq!(tell(at, "POST", "/_stand-in/restart", json!({})).await.status, 200);
    let after = ask(at, "GET", "/cv/server/status", "").await.json();
    assert!(after["started"].as_str() > before["started"].as_str(), "{before} {after}");
    assert_eq!((&after["request_today"], &after["mode"]), (&json!(0), &json!("production")));
    assert_eq!(ask(at, "GET", "/_stand-in/other", "").await.status, 404);
}

#[tokio::test]
async fn stopping_cuts_connections_and_frees_the_port() {
    let ucs = start(StandInOptions::new()).await;
    let address = ucs.address;
    ucs.control().set_holding(true);
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/services/1").header(HOST, "ucs").body(Full::<Bytes>::default()).unwrap();
    let waiting = tokio::spawn(async move { sender.send_request(request).await.is_err() });
    tokio::time::timeout(PATIENCE, ucs.in_flight_reaches(1)).await.unwrap();
    ucs.stop().await;
    let cut = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(cut, "a killed server answers nothing");
    TcpListener::bind(address).await.unwrap();
}
