//! Interim responses of a stream (RFC 9110, 15.2): those that wait as messages of HTTP/1.1, as h2 takes them.

use std::convert::Infallible;
use std::task::{Context, Poll, ready};

use h2::server::SendResponse;
use hyper::{Response, StatusCode};
use memchr::memmem;

use super::fields::fields_of;
use super::open_stream::OpenStream;
use super::unwritten::Part;

/// The bytes before the status of a message, and those of the status.
const VERSION_BYTES: usize = "HTTP/1.1 ".len();
const STATUS_BYTES: usize = "103".len();

/// Sends those that wait, once there is room for them. The stream must be open.
pub(super) fn send(stream: &OpenStream, reply: &mut SendResponse<Part>, context: &Context<'_>) {
    let sent = stream.downstream.state.send_interim(|bytes| {
        ready!(stream.unwritten.poll_writable(context));
        stream.unwritten.head_given(bytes.len());
        messages(bytes).for_each(|message| {
            // An error is one of the stream, which its task sees when it goes on.
            let _ = reply.send_informational(message);
        });
        Poll::Ready(Ok::<_, Infallible>(bytes.len()))
    });
    let Ok(()) = sent;
}

fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Response<()>> {
    std::iter::from_fn(move || {
        let end = memmem::find(bytes, b"\r\n\r\n")? + 2;
        let (message, rest) = (&bytes[..end], &bytes[end + 2..]);
        bytes = rest;
        let status = message.get(VERSION_BYTES..VERSION_BYTES + STATUS_BYTES)?;
        let mut response = Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (StatusCode::from_bytes(status).ok()?, fields_of(message));
        Some(response)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_one_response() {
        let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nVia: 1.1 x\r\n\r\n";
        let responses: Vec<_> = messages(bytes).collect();
        let seen: Vec<_> = responses.iter().map(|one| (one.status().as_u16(), one.headers().len())).collect();
        assert_eq!(seen, [(100, 0), (103, 2)]);
        assert_eq!(responses[1].headers()["link"], "</a>");
    }
}
