//! `GET /mode/events`: server-sent events. `record` on every publication, `drain` during a switch, `traffic` every second, and
//! `refused` with them when more requests were refused. A slow consumer receives the newest state, not every event; a stalled one
//! is closed by the write deadline of its connection. It keeps no past events.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::connection_limits::StreamSlot;
use super::response::{self, AdminResponse};
use super::state::{AdminState, becomes_true};
use super::traffic::Sample;
use super::{forecast, mode_calls, traffic_calls};
use crate::gate::{Gate, Published};
use crate::policy::mode::{Mode, ModeRecord, Phase};

/// The interval of the comments that keep the connection alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The interval at which counts are polled during a switch; otherwise they come with the traffic.
const LOOK: Duration = Duration::from_millis(250);

/// The largest number of operations in one event.
const NAMED: usize = 50;

/// Opens a stream. It ends when `superseded` does: the client's credential may not be accepted any more, and is checked when the
/// client comes back.
pub(super) fn follow(
    state: &AdminState,
    slot: StreamSlot,
    superseded: impl Future<Output = ()> + Send + 'static,
) -> AdminResponse {
    // Two events beyond those that the connection buffers; more would only be stale.
    let (sender, receiver) = mpsc::channel(2);
    let follower = Follower {
        gate: Arc::clone(&state.parts.gate),
        published: state.parts.gate.watch(),
        traffic: state.traffic.watch(),
        refused: 0,
        drain: None,
        in_fleet: state.parts.fleet.is_some(),
        sender,
    };
    let closed = becomes_true(state.closing.clone());
    tokio::spawn(follower.run(async move {
        tokio::select! {
            () = closed => {}
            () = superseded => {}
        }
    }));
    response::events(receiver, slot)
}

/// The task behind one stream.
struct Follower {
    gate: Arc<Gate>,
    published: watch::Receiver<Arc<Published>>,
    traffic: watch::Receiver<Arc<Sample>>,
    refused: u64,
    /// The last drain event, so that an unchanged one is not repeated.
    drain: Option<Value>,
    in_fleet: bool,
    sender: mpsc::Sender<Bytes>,
}

/// The client has disconnected.
struct Gone;

impl Follower {
    async fn run(mut self, closed: impl Future<Output = ()>) {
        tokio::pin!(closed);
        let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.refused = self.count_refused();
        self.published.mark_changed();
        loop {
            let sent = tokio::select! {
                // A record is sent before the counts that follow from it.
                biased;
                () = &mut closed => return,
                () = self.sender.closed() => return,
                changed = self.published.changed() => match changed {
                    Ok(()) => self.record().await,
                    Err(_) => return,
                },
                changed = self.traffic.changed() => match changed {
                    Ok(()) => self.traffic().await,
                    Err(_) => return,
                },
                _ = look.tick(), if self.drain.is_some() => self.counts().await,
                _ = heartbeat.tick() => self.send(Bytes::from_static(b": still here\n\n")).await,
            };
            if let Err(Gone) = sent {
                return;
            }
        }
    }

    async fn record(&mut self) -> Result<(), Gone> {
        let published = Arc::clone(&self.published.borrow_and_update());
        let Some(record) = published.record.as_deref() else { return Ok(()) };
        let document = mode_calls::document(&self.gate, &published, record);
        self.event("record", Some(record.revision), &document).await?;
        self.counts().await
    }

    /// All followers send the same bytes.
    async fn traffic(&mut self) -> Result<(), Gone> {
        let sample = Arc::clone(&self.traffic.borrow_and_update());
        let event = sample.event.get_or_init(|| framed("traffic", None, &traffic_calls::event(&sample, &self.gate)));
        self.send(event.clone()).await?;
        self.counts().await
    }

    async fn counts(&mut self) -> Result<(), Gone> {
        let published = self.gate.published();
        let drain = published.record.as_deref().and_then(|record| self.drain_of(record));
        if drain != self.drain {
            self.drain = drain.clone();
            if let Some(drain) = drain {
                self.event("drain", None, &drain).await?;
            }
        }
        let refused = self.count_refused();
        if refused == self.refused {
            return Ok(());
        }
        // A reload resets the counts.
        let more = if refused > self.refused { refused - self.refused } else { refused };
        self.refused = refused;
        self.event("refused", None, &json!({"more": more, "total": refused})).await
    }

    fn drain_of(&self, record: &ModeRecord) -> Option<Value> {
        if record.phase != Phase::Switching {
            return None;
        }
        let leaving: Mode = record.from.unwrap_or(record.mode.other());
        let mut running = self.gate.running(Some(leaving));
        running.sort_by_key(|counts| std::cmp::Reverse(counts.in_flight));
        running.truncate(NAMED);
        let operations: Vec<_> = running.iter().map(forecast::counted).collect();
        let mut drain = json!({
            "revision": record.revision,
            "mode": record.mode,
            "from": leaving,
            "deadline": record.deadline,
            "drain_deadline": record.drain_deadline(),
            "waiting_for": self.gate.forbidden_in_flight(leaving),
            "running": operations,
        });
        if self.in_fleet {
            drain["in_fleet"] = true.into();
        }
        Some(drain)
    }

    fn count_refused(&self) -> u64 {
        self.gate.table().operation_counts().iter().map(|counts| counts.refused).sum()
    }

    async fn event(&self, name: &str, id: Option<u64>, data: &Value) -> Result<(), Gone> {
        self.send(framed(name, id, data)).await
    }

    async fn send(&self, bytes: Bytes) -> Result<(), Gone> {
        self.sender.send(bytes).await.map_err(|_| Gone)
    }
}

/// JSON contains no line break, so one data line is enough.
fn framed(name: &str, id: Option<u64>, data: &Value) -> Bytes {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))
}
