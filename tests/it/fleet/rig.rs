//! A fleet: etcd, gateways with a stand-in UCS each, and a relay on each link between a gateway and a node of etcd.

use std::path::PathBuf;

use serde_json::{Value, json};
use ucs_gateway::demo::StandInOptions;

use crate::support::etcd::{Cluster, Version};
use crate::support::relay::Relay;
use crate::support::{Gateway, PATIENCE, Reply, TempDir, Ucs, admin, eventually, tool};

/// The orphan grace of every member: what UCS is given for what a gateway gave up.
pub const GRACE: &str = "300ms";

/// What a fleet is made of.
pub struct Fleet {
    pub cluster: Cluster,
    pub members: Vec<Member>,
    pub dir: TempDir,
}

/// A gateway with its UCS; `g0` is the first.
pub struct Member {
    pub name: String,
    pub ucs: Ucs,
    /// One for each node of etcd.
    pub relays: Vec<Relay>,
    pub state: PathBuf,
    /// Flags beside those of every member.
    pub flags: Vec<String>,
    gateway: Option<Gateway>,
}

impl Fleet {
    /// So many members on one node of etcd, in production. None if there is no etcd, which fails in CI.
    pub fn start(members: usize) -> Option<Fleet> {
        Fleet::with((1, members), &[])
    }

    /// The same on so many nodes, with further flags for each gateway.
    pub fn with((nodes, members): (usize, usize), flags: &[&str]) -> Option<Fleet> {
        let mut fleet = Fleet::prepare((nodes, members), flags)?;
        fleet.must(&["init", "--mode", "production"]);
        (0..members).for_each(|number| fleet.run(number));
        fleet.agree("production");
        Some(fleet)
    }

    /// Everything but `fleet init` and the gateways.
    pub fn prepare((nodes, members): (usize, usize), flags: &[&str]) -> Option<Fleet> {
        let version = Version::available().into_iter().next_back()?;
        let cluster = Cluster::start(version, nodes, &[]);
        let mut fleet = Fleet { cluster, members: Vec::new(), dir: TempDir::new() };
        for _ in 0..members {
            fleet.add(flags);
        }
        Some(fleet)
    }

    /// A further member, which does not run yet, before a UCS without a mode of its own. Its number.
    pub fn add(&mut self, flags: &[&str]) -> usize {
        let alone = ["--upstream-mode", "off", "--schema-probe", "off"];
        self.add_before(StandInOptions { has_mode_api: false, ..StandInOptions::new() }, &[&alone, flags].concat())
    }

    /// The same before this UCS.
    pub fn add_before(&mut self, options: StandInOptions, flags: &[&str]) -> usize {
        let name = format!("g{}", self.members.len());
        self.members.push(Member {
            ucs: Ucs::start(options),
            relays: self.cluster.nodes.iter().map(|node| Relay::to(node.client)).collect(),
            state: self.dir.path().join(&name),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            gateway: None,
            name,
        });
        self.members.len() - 1
    }

    /// Starts the gateway of a member.
    pub fn run(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.gateway = Some(member.start());
    }

    /// Takes the gateway of a member away, to kill it or to stop it.
    pub fn take(&mut self, number: usize) -> Gateway {
        self.members[number].gateway.take().unwrap()
    }

    pub fn gateway(&self, number: usize) -> &Gateway {
        self.members[number].gateway.as_ref().unwrap()
    }

    pub fn url(&self) -> String {
        self.cluster.url("fleet")
    }

    /// Runs `ucs-gateway fleet …`.
    pub fn command(&self, arguments: &[&str]) -> tool::Run {
        tool::run(&[&["fleet", "--store", &self.url()], arguments].concat())
    }

    /// The same; it must succeed. Its output.
    #[track_caller]
    pub fn must(&self, arguments: &[&str]) -> String {
        let run = self.command(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run.stdout
    }

    /// Asks a member for a mode.
    pub fn flip(&self, number: usize, mode: &str) -> Reply {
        self.change(number, json!({"mode": mode}))
    }

    /// Asks a member for a change.
    pub fn change(&self, number: usize, change: Value) -> Reply {
        admin::set_mode(self.gateway(number), &change)
    }

    /// The same; it must settle. The record.
    #[track_caller]
    pub fn settles(&self, number: usize, mode: &str) -> Value {
        let reply = self.flip(number, mode);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    }

    /// What a member shows of the fleet.
    pub fn view(&self, number: usize) -> Value {
        admin::call(self.gateway(number), "GET /fleet", None).json()
    }

    /// The state of a member by the view of another.
    pub fn state(&self, number: usize, of: usize) -> String {
        let view = self.view(number);
        let members = view["members"].as_array().into_iter().flatten();
        let member = members.into_iter().find(|member| member["node"] == self.members[of].name.as_str());
        member.and_then(|member| member["state"].as_str()).unwrap_or_default().to_owned()
    }

    /// Waits until every running gateway shows one settled record of this mode.
    #[track_caller]
    pub fn agree(&self, mode: &str) {
        eventually(&format!("all agree on {mode}"), || {
            let running = self.members.iter().filter_map(|member| member.gateway.as_ref());
            let shown: Vec<Option<u64>> = running.map(|gateway| shown(gateway, mode)).collect();
            shown.iter().all(|revision| revision.is_some() && *revision == shown[0])
        });
    }

    /// Stops every gateway cleanly.
    pub fn stop(&mut self) {
        for number in 0..self.members.len() {
            if let Some(gateway) = self.members[number].gateway.take() {
                assert!(gateway.terminate(PATIENCE).success());
            }
        }
    }
}

impl Member {
    /// Where the member finds the store.
    pub fn store(&self) -> String {
        let relays: Vec<String> = self.relays.iter().map(|relay| relay.address.to_string()).collect();
        format!("etcd://{}/fleet", relays.join(","))
    }

    fn start(&self) -> Gateway {
        let store = self.store();
        let own = ["--store", &store, "--node", &self.name, "--orphan-grace", GRACE, "--workers", "1"];
        let flags: Vec<&str> = own.into_iter().chain(self.flags.iter().map(String::as_str)).collect();
        Gateway::start_in(&self.state, self.ucs.address, &flags)
    }
}

/// The revision that a gateway shows as settled in this mode.
pub fn shown(gateway: &Gateway, mode: &str) -> Option<u64> {
    let reply = admin::call(gateway, "GET /mode", None);
    let record = (reply.status == 200).then(|| reply.json())?;
    (record["phase"] == "settled" && record["mode"] == mode).then(|| record["revision"].as_u64())?
}
