//! Packets that vanish: a long run has a network namespace of its own, in which packets to and from some ports go to a device
//! that leads nowhere. Connections stay open and silent, and attempts to connect get no reply, as with a cable that is cut; a
//! relay can only close or hold connections. Where no such namespace can be made, the relays cut the links instead.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// Set in the namespace.
const INSIDE: &str = "UCS_GATEWAY_CHAOS_NAMESPACE";

/// Local addresses stay reachable; table 77 leads nowhere.
const SETUP: &str = "ip link set lo up && ip link add nowhere type veth peer name void && ip link set void up && \
    ip link set nowhere up arp off && echo 1 > /proc/sys/net/ipv4/conf/nowhere/route_localnet && \
    ip route add default dev nowhere table 77 && ip rule add pref 100 lookup local && ip rule del pref 0";

/// Runs `test` again in a namespace of its own. False: it is in one already, or there is none to be had.
pub fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return false;
    }
    let trial = Command::new("unshare").args(["-rn", "sh", "-c", SETUP]).stderr(Stdio::null()).status();
    if !trial.is_ok_and(|status| status.success()) {
        eprintln!("no network namespace: links are cut by relays alone");
        return false;
    }
    let again = format!("{SETUP} && exec \"$0\" \"$@\"");
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", &again]).arg(program).args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    assert!(command.status().unwrap().success(), "{test} in a network namespace of its own");
    true
}

/// The network of the namespace.
pub struct Network(());

impl Network {
    pub fn of_namespace() -> Option<Network> {
        std::env::var_os(INSIDE).map(|_| Network(()))
    }

    /// From now on packets to and from these addresses vanish.
    pub fn lose(&self, addresses: &[SocketAddr]) {
        rules("add", addresses);
    }

    pub fn carry(&self, addresses: &[SocketAddr]) {
        rules("del", addresses);
    }
}

fn rules(verb: &str, addresses: &[SocketAddr]) {
    for address in addresses {
        for side in ["sport", "dport"] {
            let port = address.port().to_string();
            let rule = ["rule", verb, "pref", "10", "ipproto", "tcp", side, &port, "lookup", "77"];
            assert!(Command::new("ip").args(rule).status().unwrap().success(), "{rule:?}");
        }
    }
}
