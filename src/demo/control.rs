//! The settings of a running stand-in: for tests by method, for people by HTTP under a path that UCS never uses. They
//! are not part of UCS.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::mode_switch::ModeSwitch;
use super::options::StandInOptions;
use super::response::{self, OperationResult, UcsError};
use crate::policy::mode::Mode;

/// The path of the settings, on the stand-in's own port and outside its base path: `GET` lists them, `POST` to a name
/// below it changes one.
pub(super) const CONTROL_PATH: &str = "/_stand-in";

/// The counters of Query Server Status. They are lost at a restart.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: u64,
    pub(super) client_errors: u64,
    pub(super) server_errors: u64,
    pub(super) last_request: Option<jiff::Timestamp>,
}

/// The settings. A change acts at once, also on requests that wait.
pub struct Control {
    pub(super) mode_switch: ModeSwitch,
    options: Mutex<StandInOptions>,
    counters: Mutex<Counters>,
    holding: watch::Sender<bool>,
    holding_switches: watch::Sender<bool>,
}

impl Control {
    pub(super) fn new(options: StandInOptions) -> Control {
        Control {
            mode_switch: ModeSwitch::new(options.initial_mode),
            options: Mutex::new(options),
            counters: Mutex::default(),
            holding: watch::Sender::new(false),
            holding_switches: watch::Sender::new(false),
        }
    }

    /// The current mode; during a switch, the old one.
    pub fn mode(&self) -> Mode {
        self.mode_switch.mode()
    }

    /// UCS changes its mode by itself, at once. A switch that is under way still ends with its own target.
    pub fn set_mode(&self, mode: Mode) {
        self.mode_switch.set(mode);
    }

    /// UCS restarts: `started` moves, the mode is the initial one, the counters are zero. The data stay, as in a
    /// database, and so do the connections and the requests in flight.
    pub fn restart(&self) {
        self.mode_switch.restart(self.options().initial_mode);
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = Counters::default();
    }

    /// Changes options; `base_path`, `initial_mode` and `record` only count at the start.
    pub fn change(&self, act: impl FnOnce(&mut StandInOptions)) {
        act(&mut self.options.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Defines the profile schema, or takes it away.
    pub fn set_profile_schema(&self, defined: bool) {
        self.change(|options| options.profile_schema = defined);
    }

    /// See [`StandInOptions::delay`]; from the next request on.
    pub fn set_delay(&self, delay: Duration) {
        self.change(|options| options.delay = delay);
    }

    /// See [`StandInOptions::failing`].
    pub fn set_failing(&self, status: Option<u16>) {
        self.change(|options| options.failing = status);
    }

    /// While held, operations on schemas and data are admitted and read, and then wait until released. So a test has a
    /// request in flight for as long as it wants, without a clock.
    pub fn set_holding(&self, holding: bool) {
        self.holding.send_replace(holding);
    }

    /// While held, Set Server Mode waits for the running requests and then does not end: UCS keeps switching until
    /// released.
    pub fn set_holding_switches(&self, holding: bool) {
        self.holding_switches.send_replace(holding);
    }

    /// Whether a switch of the mode is under way.
    pub fn is_switching(&self) -> bool {
        self.mode_switch.is_switching()
    }

    pub(super) async fn released(&self) {
        until_false(&self.holding).await;
    }

    pub(super) async fn switches_released(&self) {
        until_false(&self.holding_switches).await;
    }

    pub(super) fn options(&self) -> StandInOptions {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Handles a request below [`CONTROL_PATH`]; `name` is the rest of its path.
    pub(super) fn over_http(&self, method: &str, name: &str, body: &[u8]) -> OperationResult {
        match (method, name) {
            ("GET" | "HEAD", "") => {}
            (_, "") => return Err(UcsError::wrong_method("GET, HEAD")),
            ("POST", "restart") => self.restart(),
            ("POST", "schema" | "mode" | "delay" | "fail") => self.apply(Change::parse(name, body)?)?,
            (_, "schema" | "mode" | "delay" | "fail" | "restart") => return Err(UcsError::wrong_method("POST")),
            _ => return Err(UcsError::not_found("switch", name)),
        }
        Ok(response::json(200, &self.listed()))
    }

    fn apply(&self, change: Change) -> Result<(), UcsError> {
        match change {
            Change::Schema { defined } => self.set_profile_schema(defined),
            Change::Mode { mode } => self.set_mode(mode),
            Change::Delay { milliseconds } => self.set_delay(Duration::from_millis(milliseconds)),
            Change::Fail { status: Some(status) } if !(400..600).contains(&status) => {
                let description = format!("status {status} is not an error: use 400 to 599, or null");
                return Err(UcsError::bad_request(description));
            }
            Change::Fail { status } => self.set_failing(status),
        }
        Ok(())
    }

    fn listed(&self) -> Value {
        let options = self.options();
        json!({
            "what": "a stand-in UCS; these switches are not part of UCS",
            "now": {
                "schema": {"defined": options.profile_schema},
                "mode": {"mode": self.mode()},
                "delay": {"milliseconds": options.delay.as_millis() as u64},
                "fail": {"status": options.failing},
            },
            "switches": {
                "POST /_stand-in/schema": {"defined": "true or false: whether a profile schema is defined"},
                "POST /_stand-in/mode": {"mode": "production or maintenance: UCS changes its mode by itself"},
                "POST /_stand-in/delay": {"milliseconds": "the least time that a request takes"},
                "POST /_stand-in/fail": {"status": "400 to 599: the status of every response; null to end it"},
                "POST /_stand-in/restart": {},
            },
        })
    }
}

async fn until_false(flag: &watch::Sender<bool>) {
    // The sender lives as long as the settings, so the wait cannot fail.
    let _ = flag.subscribe().wait_for(|set| !set).await;
}

/// A change over HTTP: its name stands in the path, its members in the body.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
enum Change {
    Schema { defined: bool },
    Mode { mode: Mode },
    Delay { milliseconds: u64 },
    Fail { status: Option<u16> },
}

impl Change {
    fn parse(name: &str, body: &[u8]) -> Result<Change, UcsError> {
        let members = serde_json::from_slice::<Value>(body);
        let change = members.and_then(|members| serde_json::from_value(json!({name: members})));
        change.map_err(|error| UcsError::bad_request(format!("invalid body: {error}")))
    }
}
