//! The fastest UCS there could be: 1 KB of JSON to any request, so that what is measured is what stands before it. It reads
//! bodies by their length alone.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::process::exit;
use std::sync::mpsc::{Receiver, channel};

use compare_load::head;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};

const NEW_CONNECTIONS: Token = Token(usize::MAX);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, threads] = arguments.as_slice() else { fail("usage: upstream ADDR:PORT THREADS") };
    let threads: usize = threads.parse().unwrap_or_else(|_| fail("not a number of threads"));
    if let Err(error) = run(address, threads.max(1)) {
        fail(&format!("{address}: {error}"));
    }
}

/// Accepts, and hands the connections to the threads in turn: who were served by luck would be compared by luck.
fn run(address: &str, threads: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind(address)?;
    let mut servers = Vec::new();
    for _ in 0..threads {
        let (poll, (sender, receiver)) = (Poll::new()?, channel());
        servers.push((sender, Waker::new(poll.registry(), NEW_CONNECTIONS)?));
        std::thread::spawn(move || {
            if let Err(error) = serve(poll, &receiver) {
                fail(&error.to_string());
            }
        });
    }
    for (sender, waker) in servers.iter().cycle() {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        // A thread ends only with the process.
        drop(sender.send(TcpStream::from_std(stream)));
        waker.wake()?;
    }
    Ok(())
}

fn serve(mut poll: Poll, new: &Receiver<TcpStream>) -> std::io::Result<()> {
    let (mut events, mut buffer, answer) = (Events::with_capacity(1024), vec![0; 64 * 1024], answer());
    let mut connections: Vec<Option<Connection>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == NEW_CONNECTIONS {
                for stream in new.try_iter() {
                    take_in(stream, &poll, &mut connections)?;
                }
                continue;
            }
            let place = &mut connections[event.token().0];
            let Some(connection) = place else { continue };
            if !answer_requests(connection, &mut buffer, &answer) || event.is_read_closed() {
                *place = None;
            }
        }
    }
}

fn take_in(mut stream: TcpStream, poll: &Poll, connections: &mut Vec<Option<Connection>>) -> std::io::Result<()> {
    let free = connections.iter().position(Option::is_none).unwrap_or(connections.len());
    poll.registry().register(&mut stream, Token(free), Interest::READABLE)?;
    if free == connections.len() {
        connections.push(None);
    }
    connections[free] = Some(Connection { stream, begun: Vec::new(), body: 0 });
    Ok(())
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a head.
    begun: Vec<u8>,
    /// Bytes of a body that are still to come.
    body: usize,
}

/// Reads once and answers what is complete; more only when the buffer was full, as an event tells of more. False at the end.
fn answer_requests(connection: &mut Connection, buffer: &mut [u8], answer: &[u8]) -> bool {
    loop {
        let length = match connection.stream.read(buffer) {
            Ok(0) => return false,
            Ok(length) => length,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        };
        if !take(connection, &buffer[..length], answer) {
            return false;
        }
        if length < buffer.len() {
            return true;
        }
    }
}

fn take(connection: &mut Connection, came: &[u8], answer: &[u8]) -> bool {
    let joined;
    let mut bytes = came;
    if !connection.begun.is_empty() {
        joined = [&std::mem::take(&mut connection.begun)[..], came].concat();
        bytes = &joined;
    }
    while !bytes.is_empty() {
        if connection.body == 0 {
            let Some((length, body)) = head(bytes) else {
                connection.begun = bytes.to_vec();
                return true;
            };
            bytes = &bytes[length..];
            connection.body = body.unwrap_or(0);
        }
        let taken = connection.body.min(bytes.len());
        connection.body -= taken;
        bytes = &bytes[taken..];
        // An answer of 1 KB always finds room: its reader waits for it.
        if connection.body == 0 && !connection.stream.write(answer).is_ok_and(|length| length == answer.len()) {
            return false;
        }
    }
    true
}

fn answer() -> Vec<u8> {
    let body = format!("{{\"customer_id\":\"0\",\"text\":\"{}\"}}", "z".repeat(1024 - 29));
    let lines = "Server: upstream\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json";
    format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: {}\r\nConnection: keep-alive\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn fail(message: &str) -> ! {
    eprintln!("upstream: {message}");
    exit(1)
}
