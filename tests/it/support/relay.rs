//! A relay between a client and a server that can stand still, cut its connections, and change its server.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// See the module. It ends with its process.
#[derive(Clone)]
pub struct Relay {
    pub address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    server: SocketAddr,
    /// Nothing moves and nothing is closed.
    stands_still: bool,
    /// New connections are closed at once.
    refuses: bool,
    open: Vec<TcpStream>,
    accepted: usize,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { server, stands_still: false, refuses: false, open: Vec::new(), accepted: 0 };
        let relay = Relay { address, shared: Arc::new((Mutex::new(state), Condvar::new())) };
        let own = relay.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|client| own.accept(client)));
        relay
    }

    /// Connections stay open, and no byte moves any more.
    pub fn stall(&self) {
        self.shared.0.lock().unwrap().stands_still = true;
    }

    /// Goes on, with all bytes that came meanwhile.
    pub fn resume(&self) {
        let mut state = self.shared.0.lock().unwrap();
        (state.stands_still, state.refuses) = (false, false);
        self.shared.1.notify_all();
    }

    /// Closes every connection, and refuses further ones until [`Self::resume`].
    pub fn cut(&self) {
        let mut state = self.shared.0.lock().unwrap();
        state.refuses = true;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.shared.0.lock().unwrap().accepted
    }

    /// Connections from now on go to another server.
    pub fn lead_to(&self, server: SocketAddr) {
        self.shared.0.lock().unwrap().server = server;
    }

    fn accept(&self, client: TcpStream) {
        let mut state = self.shared.0.lock().unwrap();
        if state.refuses {
            return;
        }
        state.accepted += 1;
        let Ok(server) = TcpStream::connect(state.server) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (from, to, own) = (from.try_clone().unwrap(), to.try_clone().unwrap(), self.clone());
            state.open.push(from.try_clone().unwrap());
            std::thread::spawn(move || own.carry(from, to));
        }
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        // Else a small message waits for the acknowledgement of the one before: 40 ms each.
        let _ = to.set_nodelay(true);
        let mut buffer = [0; 16 * 1024];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            let mut state = self.shared.0.lock().unwrap();
            while state.stands_still {
                state = self.shared.1.wait_timeout(state, Duration::from_secs(1)).unwrap().0;
            }
            drop(state);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
