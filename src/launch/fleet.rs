//! The tasks behind `GET /fleet` and rehearsals: one reads the fleet when an operator asks, and now and then for the metrics and
//! the alarms; the other asks the members.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::admin::FleetReader;
use crate::control::fleet::keys::FleetContents;
use crate::control::fleet::sight::FleetLink;
use crate::control::fleet::view::Observed;
use crate::control::fleet::{operators, rehearsal};
use crate::fleet_view::{FleetView, RehearsalView};
use crate::policy::mode::ModeChange;

/// Calls that wait for the same read.
const WAITING: usize = 64;

/// The interval at which the fleet is read, at least, and the share of each member in it: all of many together read it ten
/// times a second.
const EVERY: Duration = Duration::from_secs(10);
const SHARE: Duration = Duration::from_millis(100);

/// Starts it on the current thread.
pub(super) fn observe(link: FleetLink) -> FleetReader {
    let (read, asked) = mpsc::channel(WAITING);
    let (views, latest) = watch::channel(None);
    let (rehearse, rehearsed) = mpsc::channel(WAITING);
    tokio::task::spawn_local(rehearse_each(link.clone(), rehearsed));
    let observer = Observer { link, observed: Observed::default(), last: None, views, routes_differ: false };
    tokio::task::spawn_local(observer.run(asked));
    FleetReader { latest, read, rehearse }
}

/// One rehearsal after the other; one whose client has left ends.
async fn rehearse_each(
    link: FleetLink,
    mut asked: mpsc::Receiver<(ModeChange, oneshot::Sender<Option<RehearsalView>>)>,
) {
    while let Some((change, mut reply)) = asked.recv().await {
        let view = rehearsal::ask(&link, &change, reply.closed()).await;
        let _ = reply.send(view);
    }
}

struct Observer {
    link: FleetLink,
    observed: Observed,
    /// The last read that showed the fleet, and its time.
    last: Option<(FleetContents, Timestamp)>,
    views: watch::Sender<Option<Arc<FleetView>>>,
    /// Whether that was logged.
    routes_differ: bool,
}

type Asked = mpsc::Receiver<oneshot::Sender<Option<Arc<FleetView>>>>;

impl Observer {
    async fn run(mut self, mut asked: Asked) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                changed = self.link.sight.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let in_touch = self.link.sight.borrow_and_update().in_touch;
                    self.show(in_touch);
                }
                Some(first) = asked.recv() => {
                    // All that have come by now are told by a read that begins now.
                    let mut waiting = vec![first];
                    while let Ok(further) = asked.try_recv() {
                        waiting.push(further);
                    }
                    self.read().await;
                    let view = self.views.borrow().clone();
                    waiting.into_iter().for_each(|reply| drop(reply.send(view.clone())));
                }
                () = sleep_until(due) => {
                    self.read().await;
                    let members = self.last.as_ref().map_or(0, |(contents, _)| contents.members.len());
                    due = Instant::now() + EVERY.max(SHARE * u32::try_from(members).unwrap_or(u32::MAX));
                }
            }
        }
    }

    async fn read(&mut self) {
        let read = operators::read(&self.link.store).await;
        let in_touch = read.is_ok();
        match read {
            Ok(contents) => {
                let now = Timestamp::now();
                self.observed.note(&contents, now);
                self.last = Some((contents, now));
            }
            Err(error) => debug!(%error, "the fleet cannot be read"),
        }
        self.show(in_touch);
    }

    fn show(&mut self, in_touch: bool) {
        let Some((contents, read_at)) = &self.last else { return };
        let view = self.observed.view(contents, *read_at);
        let view = FleetView { node: Some(self.link.node.clone()), store_reachable: in_touch, ..view };
        if view.routes_differ && !self.routes_differ {
            warn!(alarms = ?view.alarms, "members of the fleet have different route tables");
        }
        self.routes_differ = view.routes_differ;
        self.views.send_replace(Some(Arc::new(view)));
    }
}
