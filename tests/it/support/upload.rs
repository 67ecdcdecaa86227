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

    /// Sends the last byte; the answer.
    #[track_caller]
    pub fn finish(mut self) -> Reply {
        self.0.send("}");
        self.0.read_reply()
    }
}
