//! A request that is in flight for as long as a test wants: its body lacks the last byte.

use super::gateway::Gateway;
use super::http::{Connection, Reply};
use super::{eventually, ucs::Ucs};

/// A Create Customer Profile under way at UCS.
pub struct Upload(Connection);

impl Upload {
    /// Returns when UCS has it.
    #[track_caller]
    pub fn begin(gateway: &Gateway, ucs: &Ucs) -> Upload {
        let creates = || ucs.asked("POST", "/profiles").len();
        let before = creates();
        let mut client = Connection::open(gateway.data);
        client.send("POST /profiles HTTP/1.1\r\nHost: ucs\r\nContent-Length: 22\r\n\r\n{\"FirstName\": \"Grace\"");
        eventually("UCS has the request", || creates() > before);
        Upload(client)
    }

    /// The same for a flip with a short drain timeout: the client has sent all, and UCS holds it, as it holds everything then.
    #[track_caller]
    pub fn begin_held(gateway: &Gateway, ucs: &Ucs) -> Upload {
        ucs.control().set_holding(true);
        let mut upload = Upload::begin(gateway, ucs);
        upload.0.send("}");
        upload
    }

    /// Lets UCS go on with what it holds; the answer.
    #[track_caller]
    pub fn finish_held(mut self, ucs: &Ucs) -> Reply {
        ucs.control().set_holding(false);
        self.0.read_reply()
    }

    /// Sends the last byte; the answer.
    #[track_caller]
    pub fn finish(mut self) -> Reply {
        self.0.send("}");
        self.0.read_reply()
    }
}
