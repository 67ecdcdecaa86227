//! File descriptors: raises the soft limit as far as the settings need, and lowers the number of client connections to what the
//! limit allows, so that clients never take the descriptors of UCS, of the admin port and of the state directory.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Descriptors of the admin port (docs/admin-api.md, *Connections*), of files, and of the runtimes.
const OTHERS: usize = 640 + 64;

/// Raises the limit, and returns how many client connections it has room for.
pub(super) fn reserve(settings: &Settings) -> usize {
    let wanted = settings.proxy.max_connections;
    let reserved = settings.workers * settings.proxy.pool.connections + OTHERS;
    let limit = raise(wanted.saturating_add(reserved) as u64);
    let connections = room_for_clients(limit, wanted, reserved);
    if connections < wanted {
        tracing::warn!(
            limit,
            needed = wanted + reserved,
            connections,
            "too few file descriptors (RLIMIT_NOFILE) for --max-connections; lowered to what there is room for"
        );
    }
    connections
}

/// The client connections that the limit has room for; at least half of it, as the reserve is rarely used whole.
fn room_for_clients(limit: u64, wanted: usize, reserved: usize) -> usize {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    wanted.min(limit.saturating_sub(reserved).max(limit / 2))
}

/// Raises the soft limit to `wanted`, or as far as the hard limit permits; the limit in force.
fn raise(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current.unwrap_or(u64::MAX);
    if soft >= wanted {
        return soft;
    }
    let raised = maximum.map_or(wanted, |hard| hard.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_the_reserve_and_have_at_least_half_of_a_low_limit() {
        assert_eq!(room_for_clients(u64::MAX, 20_000, 1216), 20_000);
        assert_eq!(room_for_clients(21_216, 20_000, 1216), 20_000);
        assert_eq!(room_for_clients(21_215, 20_000, 1216), 19_999);
        assert_eq!(room_for_clients(1024, 20_000, 1216), 512);
        assert_eq!(room_for_clients(1024, 100, 1216), 100);
    }
}
