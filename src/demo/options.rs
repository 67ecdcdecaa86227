//! The settings of a stand-in.

use std::time::Duration;

use crate::policy::mode::Mode;

/// The settings of a stand-in at its start. All but `base_path`, `initial_mode` and `record` can be changed later
/// through [`Control`](super::Control).
#[derive(Clone, Debug)]
pub struct StandInOptions {
    /// UCS's option `cview/base_url`: the prefix of every path, without a trailing slash; empty for none.
    pub base_path: String,
    /// Whether Set Server Mode and Query Server Status exist. Without them there is no mode and nothing is refused.
    pub has_mode_api: bool,
    /// Whether a profile schema is defined.
    pub profile_schema: bool,
    /// Whether `GET /metadata/profiles` exists. Its path is documented only by analogy; without it the response is 404.
    pub schema_path_known: bool,
    /// Whether a missing profile schema is reported as 200 and `[]` instead of 404.
    pub empty_schema_list: bool,
    /// Whether an operation that finds no profile schema puts UCS into maintenance, as documented.
    pub auto_maintenance: bool,
    /// Name and password that Basic authentication must bring; `None` to require no login.
    pub login: Option<(String, String)>,
    /// The mode at the start and after [`Control::restart`](super::Control::restart).
    pub initial_mode: Mode,
    /// The least time that a request takes.
    pub delay: Duration,
    /// The status (400 to 599) of every response; `None` for normal service.
    pub failing: Option<u16>,
    /// Whether every exchange is kept for [`StandIn::record`](super::StandIn::record).
    pub record: bool,
}

impl StandInOptions {
    /// The everyday values: no base path, a mode API, production, a profile schema on the known path, no login, no
    /// delay, no record.
    pub fn new() -> StandInOptions {
        StandInOptions {
            base_path: String::new(),
            has_mode_api: true,
            profile_schema: true,
            schema_path_known: true,
            empty_schema_list: false,
            auto_maintenance: true,
            login: None,
            initial_mode: Mode::Production,
            delay: Duration::ZERO,
            failing: None,
            record: false,
        }
    }
}

impl Default for StandInOptions {
    fn default() -> Self {
        StandInOptions::new()
    }
}
