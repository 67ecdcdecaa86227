//! The processes of a fleet, each link of it through a relay, and what can be done to them.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use ucs_gateway::control::store::etcd::{EtcdSettings, EtcdStore};
use ucs_gateway::demo::{Exchange, StandInOptions};

use super::checker::Line;
use super::load::ask;
use super::network::Network;
use crate::support::etcd::{Cluster, Version, tokens_for};
use crate::support::relay::Relay;
use crate::support::{Gateway, PATIENCE, TempDir, Ucs, eventually, tool};

/// Gateways.
pub const MEMBERS: usize = 5;

/// Nodes of etcd.
const NODES: usize = 3;

/// How long UCS works on each request.
const WORK: Duration = Duration::from_millis(3);

/// What UCS is given for what a gateway gave up on: far more than [`WORK`].
const GRACE: &str = "500ms";

/// The user of etcd, and its password.
const USER: &str = "root:one";

/// How long a token of etcd is good for: each member needs a new one all the time.
const TOKENS: &str = "3s";

/// A disk that takes its time: etcd stands still for so long, and goes on for so long.
const SLOW: (Duration, Duration) = (Duration::from_millis(80), Duration::from_millis(20));

/// The longest a fault lasts, in milliseconds: beyond the time-outs of a call and of a link.
const LONGEST: usize = 5_000;

/// A source of choices that can be repeated.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed | 1)
    }

    /// A number below `limit` (xorshift64*).
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }
}

/// What strikes, and whom.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    KillGateway(usize),
    PauseGateway(usize),
    /// SIGTERM, and a new start: it leaves and joins.
    LeaveAndJoin(usize),
    /// Killed, forgotten, and started with an empty directory.
    Replace(usize),
    CutOff(usize),
    Stall(usize),
    /// No packet of its links to etcd arrives.
    LosePackets(usize),
    KillNode(usize),
    PauseNode(usize),
    /// Two of three nodes stand still: no quorum.
    PauseNodes(usize),
    /// All that a node does takes several times as long.
    SlowNode(usize),
    /// UCS fails every request.
    BreakUcs(usize),
    Compact,
}

impl Fault {
    pub fn any(random: &mut Random) -> Fault {
        let (member, node) = (random.below(MEMBERS), random.below(NODES));
        match random.below(13) {
            0 => Fault::KillGateway(member),
            1 => Fault::PauseGateway(member),
            2 => Fault::LeaveAndJoin(member),
            3 => Fault::Replace(member),
            4 => Fault::CutOff(member),
            5 => Fault::Stall(member),
            6 => Fault::KillNode(node),
            7 => Fault::PauseNode(node),
            8 => Fault::PauseNodes(node),
            9 => Fault::BreakUcs(member),
            10 => Fault::SlowNode(node),
            11 => Fault::LosePackets(member),
            _ => Fault::Compact,
        }
    }
}

/// See the module.
pub struct Rig {
    cluster: Cluster,
    members: Vec<Member>,
    addresses: Addresses,
    on_store_loss: &'static str,
    network: Option<Network>,
    /// The same moment by both clocks.
    epoch: (Instant, Timestamp),
    /// A file with [`USER`].
    credentials: String,
    _dir: TempDir,
}

struct Member {
    name: String,
    ucs: Ucs,
    relays: Vec<Relay>,
    state: PathBuf,
    gateway: Option<Gateway>,
}

/// Where the gateways are now, for clients and operators.
#[derive(Clone)]
pub struct Addresses(Arc<Mutex<Vec<Option<Address>>>>);

#[derive(Clone)]
struct Address {
    data: SocketAddr,
    admin: SocketAddr,
    token: String,
}

impl Addresses {
    pub fn data(&self, member: usize) -> Option<SocketAddr> {
        self.0.lock().unwrap()[member].as_ref().map(|address| address.data)
    }

    /// The admin port, and the credential.
    pub fn operator(&self, member: usize) -> Option<(SocketAddr, String)> {
        self.0.lock().unwrap()[member].as_ref().map(|address| (address.admin, format!("Bearer {}", address.token)))
    }
}

impl Rig {
    /// All of it, in production.
    pub fn start(version: Version, on_store_loss: &'static str) -> Rig {
        let dir = TempDir::new();
        let tokens = tokens_for(TOKENS, dir.path());
        let cluster = Cluster::start(version, NODES, &[&tokens, "--bcrypt-cost=4"]);
        for words in ["user add root:one", "user grant-role root root", "auth enable"] {
            cluster.nodes[0].must_ctl(&words.split(' ').collect::<Vec<_>>());
        }
        let credentials = dir.secret("credentials", USER).display().to_string();
        let member = |number| Member {
            name: format!("g{number}"),
            ucs: Ucs::start(StandInOptions { has_mode_api: false, delay: WORK, ..StandInOptions::new() }),
            relays: cluster.nodes.iter().map(|node| Relay::to(node.client)).collect(),
            state: dir.path().join(format!("g{number}")),
            gateway: None,
        };
        let members = (0..MEMBERS).map(member).collect();
        let addresses = Addresses(Arc::new(Mutex::new(vec![None; MEMBERS])));
        let epoch = (Instant::now(), Timestamp::now());
        let mut rig = Rig {
            cluster,
            members,
            addresses,
            on_store_loss,
            network: Network::of_namespace(),
            epoch,
            credentials,
            _dir: dir,
        };
        rig.command(&["init", "--mode", "production"]);
        (0..MEMBERS).for_each(|number| rig.start_gateway(number));
        rig.agree(&"the start");
        rig
    }

    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// A reader of the store that no fault of a gateway's link touches.
    pub fn observer(&self) -> EtcdStore {
        let address = self.cluster.url("fleet").parse().unwrap();
        let credentials = Some(self.credentials.clone().into());
        EtcdStore::open(EtcdSettings { credentials, ..EtcdSettings::at(address) }).unwrap()
    }

    pub fn records(&self) -> Vec<Vec<Exchange>> {
        self.members.iter().map(|member| member.ucs.record()).collect()
    }

    /// Strikes, and ends the fault.
    pub fn strike(&mut self, fault: &Fault, random: &mut Random) {
        let time = Duration::from_millis(100 + random.below(LONGEST) as u64);
        match *fault {
            Fault::KillGateway(number) => {
                self.take(number).kill();
                std::thread::sleep(time);
                self.start_gateway(number);
            }
            Fault::PauseGateway(number) => {
                self.gateway(number).signal("STOP");
                std::thread::sleep(time);
                self.gateway(number).signal("CONT");
            }
            Fault::LeaveAndJoin(number) => {
                assert!(self.take(number).terminate(PATIENCE).success());
                std::thread::sleep(time / 4);
                self.start_gateway(number);
            }
            Fault::Replace(number) => {
                self.take(number).kill();
                let name = self.members[number].name.clone();
                self.command(&["forget", &name, "--stopped", "--orphan-grace", GRACE]);
                fs::remove_dir_all(&self.members[number].state).unwrap();
                self.start_gateway(number);
            }
            Fault::CutOff(number) => {
                self.members[number].relays.iter().for_each(Relay::cut);
                std::thread::sleep(time);
                self.members[number].relays.iter().for_each(Relay::resume);
            }
            Fault::Stall(number) => {
                self.members[number].relays.iter().for_each(Relay::stall);
                std::thread::sleep(time);
                self.members[number].relays.iter().for_each(Relay::resume);
            }
            Fault::LosePackets(number) => {
                let relays = &self.members[number].relays;
                let addresses: Vec<SocketAddr> = relays.iter().map(|relay| relay.address).collect();
                match &self.network {
                    Some(network) => network.lose(&addresses),
                    None => relays.iter().for_each(Relay::cut),
                }
                std::thread::sleep(time);
                match &self.network {
                    Some(network) => network.carry(&addresses),
                    None => relays.iter().for_each(Relay::resume),
                }
            }
            Fault::KillNode(number) => {
                self.cluster.nodes[number].kill();
                std::thread::sleep(time);
                self.cluster.nodes[number].start();
            }
            Fault::PauseNode(number) => {
                self.cluster.nodes[number].signal("STOP");
                std::thread::sleep(time);
                self.cluster.nodes[number].signal("CONT");
            }
            Fault::PauseNodes(number) => {
                let nodes = [number, (number + 1) % NODES];
                nodes.iter().for_each(|node| self.cluster.nodes[*node].signal("STOP"));
                std::thread::sleep(time);
                nodes.iter().for_each(|node| self.cluster.nodes[*node].signal("CONT"));
            }
            Fault::SlowNode(number) => {
                let began = Instant::now();
                while began.elapsed() < time {
                    self.cluster.nodes[number].signal("STOP");
                    std::thread::sleep(SLOW.0);
                    self.cluster.nodes[number].signal("CONT");
                    std::thread::sleep(SLOW.1);
                }
            }
            Fault::BreakUcs(number) => {
                self.members[number].ucs.control().set_failing(Some(500));
                std::thread::sleep(time / 4);
                self.members[number].ucs.control().set_failing(None);
            }
            Fault::Compact => self.compact(),
        }
    }

    /// Waits until every gateway shows the same settled record; operators may go on meanwhile.
    #[track_caller]
    pub fn agree(&self, after: &dyn std::fmt::Debug) {
        eventually(&format!("all agree after {after:?}"), || {
            let shown = (0..MEMBERS).map(|number| self.shown(number));
            let shown: Option<BTreeSet<(u64, String)>> = shown.collect();
            shown.is_some_and(|shown| shown.len() == 1)
        });
    }

    /// Both directions settle once nothing disturbs them.
    #[track_caller]
    pub fn flips_both_ways(&self) {
        for (number, mode) in ["maintenance", "production"].into_iter().enumerate() {
            eventually(&format!("a flip to {mode} settles"), || {
                let body = format!(r#"{{"mode":"{mode}","drain_timeout":"10s"}}"#);
                self.call(number, "PUT /mode", body.as_bytes()).is_some_and(|(status, _)| status == 200)
            });
            self.agree(&mode);
        }
    }

    /// The history, oldest first.
    pub fn journal(&self) -> Vec<Line> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lines = runtime.block_on(self.observer().journal(0, 1_000_000)).unwrap();
        let line = |(_, bytes): (u64, Vec<u8>)| {
            let line: Value = serde_json::from_slice(&bytes).unwrap();
            let record = &line["record"];
            let time: Timestamp = line["time"].as_str().unwrap().parse().unwrap();
            let since = time.duration_since(self.epoch.1);
            Line {
                revision: record["revision"].as_u64().unwrap(),
                is_settled: record["phase"] == "settled",
                mode: record["mode"].as_str().unwrap().to_owned(),
                attempt: record["attempt"].clone(),
                made: self.epoch.0 + Duration::try_from(since).unwrap_or_default(),
            }
        };
        lines.into_iter().map(line).collect()
    }

    /// The settled record that a gateway shows.
    fn shown(&self, number: usize) -> Option<(u64, String)> {
        let (_, body) = self.call(number, "GET /mode", b"").filter(|(status, _)| *status == 200)?;
        (body["phase"] == "settled").then_some(())?;
        Some((body["revision"].as_u64()?, body["mode"].as_str()?.to_owned()))
    }

    fn call(&self, number: usize, line: &str, body: &[u8]) -> Option<(u16, Value)> {
        let (address, token) = self.addresses.operator(number)?;
        ask(address, line, &[("Authorization", &token), ("Content-Type", "application/json")], body)
    }

    fn command(&self, arguments: &[&str]) {
        let url = self.cluster.url("fleet");
        eventually(&format!("fleet {arguments:?} succeeds"), || {
            let store = ["fleet", "--store", &url, "--store-credentials", &self.credentials];
            let run = tool::run(&[&store, arguments].concat());
            run.code == Some(0)
        });
    }

    fn compact(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if let Ok(contents) = runtime.block_on(self.observer().read(Vec::new())) {
            // The revision may be compacted already, and the node busy.
            self.cluster.nodes[0].ctl(&["--user", USER, "compaction", &contents.revision.to_string()]);
        }
    }

    fn start_gateway(&mut self, number: usize) {
        let member = &mut self.members[number];
        let relays: Vec<String> = member.relays.iter().map(|relay| relay.address.to_string()).collect();
        let url = format!("etcd://{}/fleet", relays.join(","));
        let flags = [
            ["--store", &url],
            ["--store-credentials", &self.credentials],
            ["--node", &member.name],
            ["--on-store-loss", self.on_store_loss],
            ["--orphan-grace", GRACE],
            ["--workers", "1"],
            ["--upstream-mode", "off"],
            ["--schema-probe", "off"],
            ["--drain-client-timeout", "1s"],
        ];
        let gateway = Gateway::start_in(&member.state, member.ucs.address, &flags.concat());
        let address = Address { data: gateway.data, admin: gateway.admin, token: gateway.token() };
        self.addresses.0.lock().unwrap()[number] = Some(address);
        member.gateway = Some(gateway);
    }

    fn gateway(&self, number: usize) -> &Gateway {
        self.members[number].gateway.as_ref().unwrap()
    }

    fn take(&mut self, number: usize) -> Gateway {
        self.addresses.0.lock().unwrap()[number] = None;
        self.members[number].gateway.take().unwrap()
    }
}
