//! What the machine does to the gateway, row by row of docs/operations.md: no test here needs root. Damaged state files
//! and a disk that takes no more bytes are in `crash`.

use serde_json::Value;

use crate::support::{Gateway, request};

/// Clocks that jump.
mod clock;
/// Disks that are full, read-only, slow or broken.
mod disk;
/// Parts that fail on command, in a build for that.
mod injected;
/// Logs that cannot be written.
mod logs;
/// Pauses, and descriptors that run out.
mod process;
/// A machine that fails on command.
pub(crate) mod shim;
/// Parts of the gateway that die or hang.
mod supervision;

/// The flags of a gateway that sends nothing of its own to UCS.
const ALONE: [&str; 8] =
    ["--upstream-mode", "off", "--schema-probe", "off", "--initial-mode", "production", "--orphan-grace", "50ms"];

/// `/readyz`, which anyone may ask.
#[track_caller]
fn ready(gateway: &Gateway) -> Value {
    let reply = request(gateway.admin, "GET /readyz", &[], b"");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}
