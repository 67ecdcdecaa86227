//! The name of a host, looked up by the system's resolver. Connections that begin at the same time share a lookup, as each one
//! occupies a thread for as long as the resolver takes. No result is kept, so that a name that moves is followed.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A lookup that takes longer is not joined, as the resolver may have lost its question.
const JOINED_FOR: Duration = Duration::from_secs(1);

/// Lookups at the same time; more connections than these join the youngest. A resolver gives up after 10 to 30 s.
const LOOKUPS: usize = 32;

/// Its error is described by its kind and its text, for several connections.
type Outcome = Result<Vec<SocketAddr>, (io::ErrorKind, String)>;

/// The lookups of one host that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookups(Arc<Mutex<Vec<Lookup>>>);

#[derive(Debug)]
struct Lookup {
    began: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Lookup {
    fn is_under_way(&self) -> bool {
        // The sender is gone when its runtime has ended.
        self.outcome.borrow().is_none() && self.outcome.has_changed().is_ok()
    }
}

impl Lookups {
    /// The addresses of the host, always the same one; the caller limits the time.
    pub(super) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        let host = host.to_owned();
        self.join_or_begin(move || (host, port).to_socket_addrs().map(Iterator::collect)).await
    }

    async fn join_or_begin(
        &self,
        resolve: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> io::Result<Vec<SocketAddr>> {
        let mut outcome = self.youngest_or(Instant::now(), resolve);
        let ended = outcome.wait_for(Option::is_some).await.map_err(io::Error::other)?;
        match &*ended {
            Some(Ok(addresses)) => Ok(addresses.clone()),
            Some(Err((kind, words))) => Err(io::Error::new(*kind, words.clone())),
            None => Err(io::Error::other("the lookup did not end")),
        }
    }

    fn youngest_or(
        &self,
        now: Instant,
        resolve: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(Lookup::is_under_way);
        if let Some(youngest) = under_way.last()
            && (now < youngest.began + JOINED_FOR || under_way.len() >= LOOKUPS)
        {
            return youngest.outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        under_way.push(Lookup { began: now, outcome: outcome.clone() });
        tokio::task::spawn_blocking(move || {
            let found = resolve().map_err(|error| (error.kind(), error.to_string()));
            sender.send_replace(Some(found));
        });
        outcome
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn address() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 80).into()
    }

    #[tokio::test]
    async fn a_lookup_is_shared_while_it_is_under_way_and_no_longer() {
        let (lookups, begun) = (Lookups::default(), Arc::new(AtomicUsize::new(0)));
        let look = |hold: Option<mpsc::Receiver<()>>| {
            let begun = Arc::clone(&begun);
            lookups.join_or_begin(move || {
                begun.fetch_add(1, Ordering::SeqCst);
                hold.map(|hold| hold.recv());
                Ok(vec![address()])
            })
        };
        let (release, hold) = mpsc::channel();
        let released = async { release.send(()).unwrap() };
        let (first, second, ()) = tokio::join!(look(Some(hold)), look(None), released);
        assert_eq!((first.unwrap(), second.unwrap()), (vec![address()], vec![address()]));
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        look(None).await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_is_followed_by_another_and_by_a_bounded_number() {
        let (lookups, mut held, start) = (Lookups::default(), Vec::new(), Instant::now());
        let mut begin_at = |time: Duration| {
            let (release, hold) = mpsc::channel::<()>();
            held.push(release);
            drop(lookups.youngest_or(start + time, move || {
                let _ = hold.recv();
                Ok(vec![address()])
            }));
            lookups.0.lock().unwrap().len()
        };
        assert_eq!((begin_at(Duration::ZERO), begin_at(JOINED_FOR / 2)), (1, 1), "the second joins the first");
        for begun in 1..2 * LOOKUPS {
            let under_way = begin_at(JOINED_FOR * u32::try_from(begun).unwrap());
            assert_eq!(under_way, (begun + 1).min(LOOKUPS));
        }
    }

    #[tokio::test]
    async fn an_address_needs_no_lookup_and_a_failed_lookup_says_why() {
        let lookups = Lookups::default();
        assert_eq!(lookups.addresses("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
        assert!(lookups.0.lock().unwrap().is_empty());
        let failed = lookups.join_or_begin(|| Err(io::Error::new(io::ErrorKind::NotFound, "no such name"))).await;
        assert_eq!(failed.unwrap_err().to_string(), "no such name");
    }
}
