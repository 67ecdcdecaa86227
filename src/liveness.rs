//! Signs of life: control and the admin listener answer a question in their loops, each worker's sweep leaves a heartbeat. It
//! decides nothing; `/livez` and systemd's watchdog ask it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::control_handle::ControlHandle;
use crate::telemetry::Metrics;

/// The longest time without a heartbeat of a worker, which sends ten per second.
const SILENCE: Duration = Duration::from_secs(2);

/// The wait for late signs: after a pause of the whole process, every worker is silent for a moment. It ends within the second
/// that an orchestrator's probe waits.
const SECOND_CHANCE: Duration = Duration::from_millis(500);

/// The questions to a loop. Replying is the sign of life.
pub(crate) type Questions = mpsc::Receiver<oneshot::Sender<()>>;

/// What can be asked for signs of life.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    control: ControlHandle,
    admin: mpsc::Sender<oneshot::Sender<()>>,
    metrics: Arc<Metrics>,
    /// True once the gateway is shutting down: the parts end one after another.
    stopping: watch::Receiver<bool>,
}

impl Liveness {
    /// It comes with the questions for the admin listener.
    pub(crate) fn new(
        control: ControlHandle,
        metrics: Arc<Metrics>,
        stopping: watch::Receiver<bool>,
    ) -> (Liveness, Questions) {
        let (admin, questions) = mpsc::channel(1);
        (Liveness { control, admin, metrics, stopping }, questions)
    }

    /// The parts without a sign of life.
    pub(crate) async fn silent(&self) -> Vec<String> {
        let (control, admin, mut silent) = tokio::join!(
            timeout(SECOND_CHANCE, self.control.is_alive()),
            timeout(SECOND_CHANCE, asked(&self.admin)),
            self.silent_workers(),
        );
        if *self.stopping.borrow() {
            return Vec::new();
        }
        silent.extend((control != Ok(true)).then(|| "control".to_owned()));
        silent.extend((admin != Ok(true)).then(|| "admin".to_owned()));
        silent
    }

    async fn silent_workers(&self) -> Vec<String> {
        let until = Instant::now() + SECOND_CHANCE;
        loop {
            let silent = self.metrics.silent_workers(SILENCE);
            if silent.is_empty() || Instant::now() >= until {
                return silent.into_iter().map(|index| format!("worker-{index}")).collect();
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn asked(questions: &mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let (reply, replied) = oneshot::channel();
    questions.send(reply).await.is_ok() && replied.await.is_ok()
}
