//! The tasks behind `GET /fleet` and rehearsals: one takes note of every read of control's, and reads the store when an
//! operator asks; the other asks the members.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use crate::admin::FleetReader;
use crate::control::fleet::sight::{FleetLink, FleetSight};
use crate::control::fleet::view::Observed;
use crate::control::fleet::{operators, rehearsal};
use crate::fleet_view::{FleetView, RehearsalView};
use crate::policy::mode::ModeChange;

/// Calls that wait for the same read.
const WAITING: usize = 64;

/// Starts it on the current thread.
pub(super) fn observe(link: FleetLink) -> FleetReader {
    let (read, asked) = mpsc::channel(WAITING);
    let (views, latest) = watch::channel(None);
    let (rehearse, rehearsed) = mpsc::channel(WAITING);
    tokio::task::spawn_local(rehearse_each(link.clone(), rehearsed));
    let observer = Observer { link, observed: Observed::default(), views, routes_differ: false };
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
    views: watch::Sender<Option<Arc<FleetView>>>,
    /// Whether that was logged.
    routes_differ: bool,
}

type Asked = mpsc::Receiver<oneshot::Sender<Option<Arc<FleetView>>>>;

impl Observer {
    async fn run(mut self, mut asked: Asked) {
        loop {
            tokio::select! {
                changed = self.link.sight.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let sight = self.link.sight.borrow_and_update().clone();
                    sight.iter().for_each(|sight| self.note(sight));
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
            }
        }
    }

    async fn read(&mut self) {
        let sight = match operators::read(&self.link.store).await {
            Ok(contents) => FleetSight { contents, read_at: Timestamp::now(), in_touch: true },
            Err(error) => {
                tracing::debug!(%error, "the fleet cannot be read");
                let last = self.link.sight.borrow().clone();
                let Some(last) = last else { return };
                FleetSight { in_touch: false, ..(*last).clone() }
            }
        };
        self.note(&sight);
    }

    fn note(&mut self, sight: &FleetSight) {
        if sight.in_touch {
            self.observed.note(&sight.contents, sight.read_at);
        }
        let view = self.observed.view(&sight.contents, sight.read_at);
        let view = FleetView { node: Some(self.link.node.clone()), store_reachable: sight.in_touch, ..view };
        if view.routes_differ && !self.routes_differ {
            tracing::warn!(alarms = ?view.alarms, "members of the fleet have different route tables");
        }
        self.routes_differ = view.routes_differ;
        self.views.send_replace(Some(Arc::new(view)));
    }
}
