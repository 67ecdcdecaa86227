//! The switches of a running stand-in, for tests by method and for people by HTTP under a path that UCS never uses.
//! It is no part of what UCS does.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::StandInOptions;
use super::mode_switch::Door;
use super::response::{Answer, Fault, Reply};
use crate::policy::mode::Mode;

/// Where the switches are found over HTTP, on the stand-in's own port and outside its base path: `GET` lists them,
/// `POST` to a name below it sets one.
pub const CONTROL_PATH: &str = "/_stand-in";

/// Name and password.
type Login = (String, String);

/// Everything that can be changed while the stand-in runs, beside the mode.
#[derive(Clone, Debug)]
pub(super) struct Switches {
    pub(super) mode_api: bool,
    pub(super) profile_schema: bool,
    pub(super) schema_path_known: bool,
    pub(super) empty_schema_list: bool,
    pub(super) auto_maintenance: bool,
    pub(super) login: Option<Login>,
    pub(super) delay: Duration,
    pub(super) set_mode_delay: Duration,
    pub(super) failing: Option<u16>,
}

/// The counters of Query Server Status. They are lost at a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) client_errors: u64,
    pub(super) server_errors: u64,
    pub(super) last_request: Option<jiff::Timestamp>,
}

/// The switches. Each acts at once, also on requests that wait.
pub struct Control {
    pub(super) door: Door,
    initial_mode: Mode,
    switches: Mutex<Switches>,
    counters: Mutex<Counters>,
    holding: watch::Sender<bool>,
}

impl Control {
    pub(super) fn new(options: StandInOptions) -> Control {
        Control {
            door: Door::new(options.initial_mode),
            initial_mode: options.initial_mode,
            switches: Mutex::new(Switches {
                mode_api: options.has_mode_api,
                profile_schema: options.profile_schema,
                schema_path_known: options.schema_path_known,
                empty_schema_list: options.empty_schema_list,
                auto_maintenance: true,
                login: options.login,
                delay: options.delay,
                set_mode_delay: Duration::ZERO,
                failing: None,
            }),
            counters: Mutex::default(),
            holding: watch::Sender::new(false),
        }
    }

    /// Its mode now; while it switches, the one that it leaves.
    pub fn mode(&self) -> Mode {
        self.door.mode()
    }

    /// UCS changes its mode by itself, at once. A switch that is under way ends with its own target nevertheless.
    pub fn set_mode(&self, mode: Mode) {
        self.door.set(mode);
    }

    /// UCS restarts: `started` moves, the mode is the initial one, the counters are zero. The data stay, as in a
    /// database, and so do the connections and what is in flight.
    pub fn restart(&self) {
        self.door.restart(self.initial_mode);
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = Counters::default();
    }

    /// Defines the profile schema, or takes it away.
    pub fn set_profile_schema(&self, defined: bool) {
        self.change(|switches| switches.profile_schema = defined);
    }

    /// Whether `GET /metadata/profiles` exists.
    pub fn set_schema_path_known(&self, known: bool) {
        self.change(|switches| switches.schema_path_known = known);
    }

    /// Whether a missing profile schema is told as 200 and `[]` instead of 404.
    pub fn set_empty_schema_list(&self, list: bool) {
        self.change(|switches| switches.empty_schema_list = list);
    }

    /// Whether an operation that finds no profile schema puts UCS into maintenance, as documented. On at the start.
    pub fn set_auto_maintenance(&self, on: bool) {
        self.change(|switches| switches.auto_maintenance = on);
    }

    /// Whether Set Server Mode and Query Server Status exist, and with them any mode.
    pub fn set_mode_api(&self, exists: bool) {
        self.change(|switches| switches.mode_api = exists);
    }

    /// Name and password to ask for; `None` asks for nothing.
    pub fn set_login(&self, login: Option<(String, String)>) {
        self.change(|switches| switches.login = login);
    }

    /// How long every request takes at least, from the next one on.
    pub fn set_delay(&self, delay: Duration) {
        self.change(|switches| switches.delay = delay);
    }

    /// How much longer Set Server Mode takes, after it waited for running requests.
    pub fn set_set_mode_delay(&self, delay: Duration) {
        self.change(|switches| switches.set_mode_delay = delay);
    }

    /// Answers this status (400 to 599) to everything; `None` ends it.
    pub fn set_failing(&self, status: Option<u16>) {
        self.change(|switches| switches.failing = status);
    }

    /// While held, operations on schemas and data get in, are read, and wait before they act, until released. So a
    /// test has a request in flight for as long as it wants, without a clock.
    pub fn set_holding(&self, holding: bool) {
        self.holding.send_replace(holding);
    }

    pub(super) async fn released(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.holding.subscribe().wait_for(|holding| !holding).await;
    }

    pub(super) fn switches(&self) -> Switches {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self, status: u16) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters.requests += 1;
        counters.client_errors += u64::from((400..500).contains(&status));
        counters.server_errors += u64::from(status >= 500);
        counters.last_request = Some(jiff::Timestamp::now());
    }

    fn change(&self, act: impl FnOnce(&mut Switches)) {
        act(&mut self.switches.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// A request below [`CONTROL_PATH`]; `name` is what follows it.
    pub(super) fn over_http(&self, method: &str, name: &str, body: &[u8]) -> Answer {
        match (method, name) {
            ("GET" | "HEAD", "") => {}
            (_, "") => return Err(Fault::wrong_method("GET, HEAD")),
            ("POST", "schema") => self.set_profile_schema(parse::<SchemaBody>(body)?.defined),
            ("POST", "mode") => self.set_mode(parse::<ModeBody>(body)?.mode),
            ("POST", "delay") => self.set_delay(Duration::from_millis(parse::<DelayBody>(body)?.milliseconds)),
            ("POST", "fail") => self.set_failing(parse::<FailBody>(body)?.checked()?),
            ("POST", "restart") => self.restart(),
            (_, "schema" | "mode" | "delay" | "fail" | "restart") => return Err(Fault::wrong_method("POST")),
            _ => return Err(Fault::not_found("switch", name)),
        }
        Ok(Reply::json(200, &self.listed()))
    }

    fn listed(&self) -> Value {
        let switches = self.switches();
        json!({
            "what": "a stand-in UCS; these switches are no part of UCS",
            "now": {
                "schema": {"defined": switches.profile_schema},
                "mode": {"mode": self.mode()},
                "delay": {"milliseconds": switches.delay.as_millis() as u64},
                "fail": {"status": switches.failing},
            },
            "switches": {
                "POST /_stand-in/schema": {"defined": "true or false: whether a profile schema is defined"},
                "POST /_stand-in/mode": {"mode": "production or maintenance: UCS changes its mode by itself"},
                "POST /_stand-in/delay": {"milliseconds": "how long every request takes at least"},
                "POST /_stand-in/fail": {"status": "400 to 599, answered to everything; null ends it"},
                "POST /_stand-in/restart": {},
            },
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaBody {
    defined: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeBody {
    mode: Mode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelayBody {
    milliseconds: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FailBody {
    status: Option<u16>,
}

impl FailBody {
    fn checked(self) -> Result<Option<u16>, Fault> {
        match self.status {
            Some(status) if !(400..600).contains(&status) => {
                Err(Fault::bad_request(format!("status {status} is no failure: give one from 400 to 599, or null")))
            }
            status => Ok(status),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::bad_request(format!("the body does not fit: {error}")))
}
