//! Throttles failed attempts on one port by source and name, so that the guesses of one client lock out no other. It knows
//! no secret, and its memory is bounded.
//!
//! A source is an IPv4 address, an IPv6 network of 64 bits, or the user of a unix socket. Tokens have one bucket for each
//! source; a password has one for each source and user name, and one for all passwords of its source, as names are free to
//! vary.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::transport::Peer;

/// Failures in a row before the limit applies, of a token or of one user name.
const BURST: f64 = 10.0;

/// The same for all passwords from one source.
const PASSWORD_BURST: f64 = 30.0;

/// The time in which an empty bucket fills.
const WINDOW: Duration = Duration::from_secs(10);

/// The most buckets that are kept, each of less than 100 bytes. Beyond, those that were unused for longest are dropped.
const MOST_BUCKETS: usize = 4096;

/// The buckets of one port.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    buckets: HashMap<(Source, Kind), Bucket>,
    hasher: RandomState,
}

/// The kind of a failed attempt.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attempt<'a> {
    /// A token, or a header that is not well formed.
    Token,
    Password(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6Network([u8; 8]),
    User(Option<u32>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Token,
    AllPasswords,
    /// The hash of a user name.
    Password(u64),
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: f64,
    filled: Instant,
}

impl Limiter {
    /// Counts an attempt, or returns the wait for the next one, in whole seconds.
    pub(super) fn take(&mut self, peer: Peer, attempt: Attempt, now: Instant) -> Result<(), Duration> {
        let keys = self.keys(peer, attempt);
        let wait = keys.iter().filter_map(|key| self.bucket(*key, now).wait(key.1)).max();
        if let Some(wait) = wait {
            return Err(wait);
        }
        keys.iter().for_each(|key| self.bucket(*key, now).level -= 1.0);
        Ok(())
    }

    /// The attempt did not fail.
    pub(super) fn give_back(&mut self, peer: Peer, attempt: Attempt, now: Instant) {
        for key in self.keys(peer, attempt) {
            let bucket = self.bucket(key, now);
            bucket.level = burst(key.1).min(bucket.level + 1.0);
        }
    }

    fn keys(&self, peer: Peer, attempt: Attempt) -> Vec<(Source, Kind)> {
        let source = Source::of(peer);
        match attempt {
            Attempt::Token => vec![(source, Kind::Token)],
            Attempt::Password(user) => {
                vec![(source, Kind::Password(self.hasher.hash_one(user))), (source, Kind::AllPasswords)]
            }
        }
    }

    /// The bucket, filled up to now.
    fn bucket(&mut self, key: (Source, Kind), now: Instant) -> &mut Bucket {
        if self.buckets.len() >= MOST_BUCKETS && !self.buckets.contains_key(&key) {
            self.forget(now);
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { level: burst(key.1), filled: now });
        let gained = now.saturating_duration_since(bucket.filled).as_secs_f64() * rate(key.1);
        *bucket = Bucket { level: burst(key.1).min(bucket.level + gained), filled: now };
        bucket
    }

    /// Full buckets are as good as none. When too many others remain, the older half goes.
    fn forget(&mut self, now: Instant) {
        self.buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled) < WINDOW);
        if self.buckets.len() >= MOST_BUCKETS {
            let mut ages: Vec<Instant> = self.buckets.values().map(|bucket| bucket.filled).collect();
            ages.sort_unstable();
            let median = ages[ages.len() / 2];
            self.buckets.retain(|_, bucket| bucket.filled > median);
        }
    }
}

impl Bucket {
    fn wait(&self, kind: Kind) -> Option<Duration> {
        let missing = 1.0 - self.level;
        (missing > 0.0).then(|| Duration::from_secs((missing / rate(kind)).ceil().max(1.0) as u64))
    }
}

impl Source {
    fn of(peer: Peer) -> Source {
        match peer {
            Peer::Unix(uid) => Source::User(uid),
            Peer::Tcp(address) => match address.ip().to_canonical() {
                IpAddr::V4(address) => Source::V4(address.octets()),
                IpAddr::V6(address) => {
                    let [a, b, c, d, e, f, g, h, ..] = address.octets();
                    Source::V6Network([a, b, c, d, e, f, g, h])
                }
            },
        }
    }
}

fn burst(kind: Kind) -> f64 {
    if kind == Kind::AllPasswords { PASSWORD_BURST } else { BURST }
}

/// Attempts per second.
fn rate(kind: Kind) -> f64 {
    burst(kind) / WINDOW.as_secs_f64()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn ten_pass_then_one_a_second() {
        let (start, peer) = (Instant::now(), peer("192.0.2.1:1"));
        let mut limiter = Limiter::default();
        let mut take = |now| limiter.take(peer, Attempt::Token, now);
        for _ in 0..10 {
            assert_eq!(take(start), Ok(()));
        }
        assert_eq!(take(start), Err(Duration::from_secs(1)));
        let later = start + Duration::from_millis(1100);
        assert_eq!(take(later), Ok(()));
        assert!(take(later).is_err());
        assert_eq!((0..20).filter(|_| take(later + Duration::from_secs(60)).is_ok()).count(), 10);
    }

    #[test]
    fn returned_attempts_do_not_count() {
        let (start, peer) = (Instant::now(), peer("[2001:db8::1]:1"));
        let mut limiter = Limiter::default();
        for _ in 0..100 {
            assert_eq!(limiter.take(peer, Attempt::Password(b"bob"), start), Ok(()));
            limiter.give_back(peer, Attempt::Password(b"bob"), start);
        }
    }

    #[test]
    fn no_source_and_no_name_locks_out_another() {
        let (start, from) = (Instant::now(), peer("192.0.2.1:1"));
        let mut limiter = Limiter::default();
        let mut passes = |address: &str, attempt| limiter.take(peer(address), attempt, start).is_ok();
        for _ in 0..20 {
            passes("192.0.2.1:1", Attempt::Token);
            passes("192.0.2.1:1", Attempt::Password(b"eve"));
            passes("[2001:db8::1]:1", Attempt::Token);
        }
        assert!(!passes("192.0.2.1:2", Attempt::Token), "the port of the client does not matter");
        assert!(!passes("[2001:db8::2]:1", Attempt::Token), "nor does the host in an IPv6 network");
        assert!(passes("192.0.2.1:1", Attempt::Password(b"bob")), "another name from the same source");
        assert!(passes("192.0.2.2:1", Attempt::Password(b"eve")), "the same name from another source");
        assert!(passes("[2001:db8:0:1::1]:1", Attempt::Token), "another network");
        let names: Vec<u8> = (0..100).collect();
        let sprayed = names.chunks(1).filter(|name| limiter.take(from, Attempt::Password(name), start).is_ok()).count();
        assert!(sprayed < 30, "{sprayed} passwords with a name of their own");
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        for number in 0..20_000_u32 {
            let address = std::net::Ipv4Addr::from(number);
            let _ = limiter.take(
                Peer::Tcp((address, 1).into()),
                Attempt::Token,
                start + Duration::from_micros(number.into()),
            );
        }
        assert!(limiter.buckets.len() <= MOST_BUCKETS, "{}", limiter.buckets.len());
    }
}
