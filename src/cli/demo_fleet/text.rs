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
        include_str!("demo.txt"),
        rows = rows,
        token = token,
        store = store,
        etcd = etcd,
        program = program,
        there = there,
        back = back,
        profile = profile,
        process = process,
        short = short,
        node = node,
    )
}
