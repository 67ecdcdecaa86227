//! The kernel's send queues: the bytes of each connection that its peer has not acknowledged. A writer sees progress only when
//! there is room for more; here it shows as soon as the peer's system makes it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ESTABLISHED: &str = "01";

/// The bytes that are not acknowledged, by peer, of the connections to this port. It reads the kernel's list of all connections,
/// which takes milliseconds if there are many.
pub(crate) fn unacknowledged(port: u16) -> io::Result<HashMap<SocketAddr, u64>> {
    let mut queues = HashMap::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        match std::fs::read_to_string(table) {
            Ok(table) => queues.extend(table.lines().skip(1).filter_map(|line| queue(line, port))),
            // A system without IPv6 lacks one of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(queues)
}

/// The queue in a line of the list (proc(5)), if it is a connection to this port.
fn queue(line: &str, port: u16) -> Option<(SocketAddr, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote, state, queues) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if state != ESTABLISHED || address(local)?.port() != port {
        return None;
    }
    let (unacknowledged, _) = queues.split_once(':')?;
    Some((address(remote)?, u64::from_str_radix(unacknowledged, 16).ok()?))
}

/// An address as the kernel prints it: words of 32 bits in its own byte order. One of IPv4 within IPv6 is taken as such.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
#[cfg(target_endian = "little")]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_to_the_port_tells_its_queue() {
        let line = "   3: 0100007F:1F90 0200007F:C001 01 000249F0:00000007 01:00000014 00000000     0        0 4711 2";
        assert_eq!(queue(line, 8080), Some(("127.0.0.2:49153".parse().unwrap(), 150_000)));
        assert_eq!(queue(line, 8081), None, "another port");
        assert_eq!(queue(&line.replace(" 01 ", " 0A "), 8080), None, "it listens");
        assert_eq!(queue("", 8080), None);
    }

    #[test]
    fn addresses_are_read_in_both_families() {
        let parsed = |text: &str| address(text).map(|address| address.to_string());
        assert_eq!(parsed("B80D01200000000000000000010000AB:0050").as_deref(), Some("[2001:db8::ab00:1]:80"));
        assert_eq!(parsed("0000000000000000FFFF00000200007F:0050").as_deref(), Some("127.0.0.2:80"));
        assert_eq!(parsed("0100007F"), None);
        assert_eq!(parsed("01:02"), None);
    }
}
