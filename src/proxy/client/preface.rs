//! Which protocol a client without TLS speaks, by the first bytes of its connection (RFC 9113, 3.3). It interprets no more of
//! them than that.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use super::state::ConnectionState;
use crate::transport::Stream;

/// The first bytes of an HTTP/2 connection.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection with its first bytes.
#[derive(Debug)]
pub(super) enum Begun {
    /// Not those of HTTP/2.
    Http1(Stream, BytesMut),
    /// The whole preface, or none of it where TLS has named the protocol.
    Http2(Stream, Bytes),
}

/// Reads up to the first byte that differs from the preface. The deadline of a head ends it, and so does that of an idle
/// connection: the caller sees them in `state`.
pub(super) async fn read(mut stream: Stream, state: &ConnectionState) -> Begun {
    let mut bytes = BytesMut::new();
    poll_fn(|context| {
        loop {
            state.remember(context);
            let mut room = [0; PREFACE.len()];
            let mut buffer = ReadBuf::new(&mut room[..PREFACE.len() - bytes.len()]);
            match Pin::new(&mut stream).poll_read(context, &mut buffer) {
                Poll::Pending if state.take_expired().is_some() || state.is_idle_over() => return Poll::Ready(()),
                Poll::Pending => {
                    if bytes.is_empty() {
                        state.note_waiting()
                    } else {
                        state.note_head(true)
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    state.note_bytes();
                    bytes.extend_from_slice(buffer.filled());
                    if bytes == PREFACE || !PREFACE.starts_with(&bytes) {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
            }
        }
    })
    .await;
    if bytes == PREFACE { Begun::Http2(stream, bytes.freeze()) } else { Begun::Http1(stream, bytes) }
}
