//! The text that `demo --fleet` prints: all addresses, and commands to try.

use crate::cli::demo_setup::program;

/// A member as the text names it.
pub(super) struct Member {
    pub(super) node: String,
    pub(super) data: String,
    pub(super) admin: String,
    pub(super) ucs: String,
    pub(super) process: u32,
}

pub(super) fn instructions(members: &[Member], token: &str, (store, etcd): (&str, u32)) -> String {
    let program = program();
    let row = |member: &Member| {
        let Member { node, data, admin, ucs, process } = member;
        format!("  {node:<8}http://{data:<23}http://{:<24}http://{ucs:<22}{process}\n", format!("{admin}/"))
    };
    let rows: String = members.iter().map(row).collect();
    let [first, .., last] = members else { return rows };
    let (data, admin) = (&last.data, &first.admin);
    let flip = |wanted: &str| {
        format!(
            "curl -i -X PUT http://{admin}/mode -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{{{wanted}}}'"
        )
    };
    let (there, back) = (flip(r#""mode":"maintenance","reason":"new schema""#), flip(r#""mode":"production""#));
    let short = flip(r#""mode":"maintenance","drain_timeout":"5s""#);
    let profile =
        format!("curl -i http://{data}/profiles -H 'Content-Type: application/json' -d '{{\"FirstName\":\"Ada\"}}'");
    let (node, process) = (&last.node, last.process);
    format!(
        r#"ucs-gateway demo: a fleet of gateways, each in front of a stand-in UCS, with one record in etcd

  member  clients of UCS                operators                      stand-in UCS                 process
{rows}
  token   {token}
  store   {store}   (etcd is process {etcd})

Copy and paste, in another terminal:

  TOKEN={token}

  # 1. Every member, and what it has confirmed.
  {program} fleet --store {store} list

  # 2. One command flips all of them. It is settled when nothing that maintenance forbids runs anywhere.
  {there}
  {profile}

  # 3. And back.
  {back}
  {profile}

  # 4. Kill a gateway. What it left at UCS is unknown: no flip settles without its word. This one is reverted
  #    after 20.5 s: 5 s for the drain, 0.5 s for what was left, 15 s for UCS.
  kill -9 {process}
  {short}

  # 5. Say that it is stopped; then it is no longer waited for.
  {program} fleet --store {store} forget {node} --stopped
  {there}

Stop with ctrl-c.
"#
    )
}
