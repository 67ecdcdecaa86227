//! A reader of `GET /mode/events`: one event after another, each with a deadline.

use serde_json::Value;

use super::gateway::Gateway;
use super::http::{self, Connection, Reply};

/// An open stream.
pub struct Events {
    connection: Connection,
    text: String,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

impl Events {
    /// Opens the stream with the gateway's own token.
    #[track_caller]
    pub fn open(gateway: &Gateway) -> Events {
        Events::open_as(gateway, &gateway.token()).unwrap_or_else(|reply| panic!("no stream: {reply:?}"))
    }

    /// The same with any token, or how it was refused.
    #[track_caller]
    pub fn open_as(gateway: &Gateway, token: &str) -> Result<Events, Reply> {
        let mut connection = Connection::open(gateway.admin);
        let credential = format!("Bearer {token}");
        connection.send(http::compose(gateway.admin, "GET /mode/events", &[("Authorization", &*credential)], b""));
        let head = connection.read_head();
        if head.status != 200 {
            let length = head.header("content-length").unwrap().parse().unwrap();
            return Err(Reply { body: connection.read_exact(length), ..head });
        }
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{head:?}");
        assert_eq!(head.header("x-accel-buffering"), Some("no"), "nginx must not hold events back: {head:?}");
        Ok(Events { connection, text: String::new() })
    }

    /// The next event; `None` when the server ended the stream in order. A stream that is cut is a panic.
    #[track_caller]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = read(&block) {
                    return Some(event);
                }
                continue;
            }
            let piece = self.connection.read_chunk();
            if piece.is_empty() {
                assert_eq!(self.text, "", "the stream ends between two events");
                return None;
            }
            self.text += std::str::from_utf8(&piece).expect("events are text");
        }
    }

    /// The next event for which `holds`; those before it are dropped.
    #[track_caller]
    pub fn until(&mut self, holds: impl Fn(&Event) -> bool) -> Event {
        loop {
            let event = self.next().expect("the stream goes on");
            if holds(&event) {
                return event;
            }
        }
    }
}

/// A block without data is a comment.
fn read(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let data = field("data:")?;
    let data = serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data:?}"));
    Some(Event { name: field("event:").unwrap_or("message").to_owned(), id: field("id:").map(str::to_owned), data })
}
