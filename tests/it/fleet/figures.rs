//! Figures for docs/fleet.md, with `UCS_GATEWAY_FULL=1` and `--nocapture`: how long a flip of real gateways takes, how soon
//! every member shows it, and what members at rest ask of etcd. They are reported, and judged against generous limits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::rig::{Fleet, shown};
use crate::support::{eventually, request};

const FLIPS: usize = 200;
const REST: Duration = Duration::from_secs(60);

fn wanted() -> bool {
    std::env::var_os("UCS_GATEWAY_FULL").is_some()
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    eprintln!("{what}: p50 {:?}, p99 {:?}, max {:?} of {}", at(50), at(99), at(100), times.len());
}

#[test]
fn flips_of_five_gateways_on_three_nodes() {
    if !wanted() {
        return;
    }
    let Some(fleet) = Fleet::with((3, 5), &[]) else { return };
    let (mut flips, mut shows) = (Vec::new(), Vec::new());
    for number in 0..FLIPS {
        let mode = ["maintenance", "production"][number % 2];
        let asked = Instant::now();
        fleet.settles(number % 5, mode);
        flips.push(asked.elapsed());
        let settled = Instant::now();
        eventually("all show it", || (0..5).all(|member| shown(fleet.gateway(member), mode).is_some()));
        shows.push(settled.elapsed());
    }
    tell("a flip of 5 gateways", &mut flips);
    tell("from the response until all 5 show the settled mode, as read by 5 calls in a row", &mut shows);
    assert!(flips[FLIPS / 2] < Duration::from_secs(1), "even on a machine that is busy");
}

/// The calls that etcd has served, by method.
fn served(fleet: &Fleet) -> BTreeMap<String, f64> {
    let reply = request(fleet.cluster.nodes[0].client, "GET /metrics", &[], b"");
    let text = reply.text();
    let lines = text.lines().filter(|line| line.starts_with("grpc_server_msg_received_total{"));
    let counted = lines.filter_map(|line| {
        let method = line.split("grpc_method=\"").nth(1)?.split('"').next()?;
        Some((method.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
    });
    counted.collect()
}

#[test]
fn what_members_at_rest_ask_of_etcd() {
    if !wanted() {
        return;
    }
    let Some(fleet) = Fleet::start(5) else { return };
    let before = served(&fleet);
    std::thread::sleep(REST);
    for (method, count) in served(&fleet) {
        let calls = (count - before.get(&method).copied().unwrap_or_default()) / 5.0;
        if calls > 0.0 {
            eprintln!("a member at rest: {calls:.1} {method} in {REST:?}");
            assert!(calls < 40.0, "{method}");
        }
    }
}
