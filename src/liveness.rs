//! Signs of life: control and the admin listener answer a question in their loops, each worker's sweep leaves a heartbeat. It
//! decides nothing; `/livez` and systemd's watchdog look at the age of the latest signs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::control_handle::ControlHandle;
use crate::telemetry::{Heartbeat, Metrics};

/// The longest time without a sign of life.
const SILENCE: Duration = Duration::from_secs(2);

/// The interval between two questions to a loop. Workers leave ten heartbeats per second.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(200);

/// The wait for late signs: after a pause of the whole process, every part is silent for a moment. It ends within the second
/// that an orchestrator's probe waits.
const SECOND_CHANCE: Duration = Duration::from_millis(500);

/// The questions to a loop. Replying is the sign of life.
pub(crate) type Questions = mpsc::Receiver<oneshot::Sender<()>>;

/// The signs of life of all parts.
#[derive(Clone, Debug)]
pub(crate) struct Liveness {
    control: ControlHandle,
    admin: mpsc::Sender<oneshot::Sender<()>>,
    control_signs: Arc<Heartbeat>,
    admin_signs: Arc<Heartbeat>,
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
        let (control_signs, admin_signs) = (Arc::default(), Arc::default());
        (Liveness { control, admin, control_signs, admin_signs, metrics, stopping }, questions)
    }

    /// Asks control and the admin listener for ever.
    pub(crate) async fn keep_asking(self) {
        tokio::join!(
            keep(&self.control_signs, || self.control.is_alive()),
            keep(&self.admin_signs, || asked(&self.admin))
        );
    }

    /// The parts without a sign of life. It waits for nothing if there is none: a probe among a crowd must be answered in its
    /// turn.
    pub(crate) async fn silent(&self) -> Vec<String> {
        let until = Instant::now() + SECOND_CHANCE;
        loop {
            let silent = self.silent_now();
            if silent.is_empty() || Instant::now() >= until {
                return silent;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn silent_now(&self) -> Vec<String> {
        if *self.stopping.borrow() {
            return Vec::new();
        }
        let workers = self.metrics.silent_workers(SILENCE).into_iter().map(|index| format!("worker-{index}"));
        let loops = [("control", &self.control_signs), ("admin", &self.admin_signs)];
        let loops = loops.into_iter().filter(|(_, signs)| signs.silent_for() > SILENCE);
        let loops = loops.map(|(name, _)| name.to_owned());
        workers.chain(loops).collect()
    }
}

/// Notes a sign for each question that is answered. A question that is not answered is waited for.
async fn keep<F: Future<Output = bool>>(signs: &Heartbeat, question: impl Fn() -> F) {
    loop {
        if question().await {
            signs.beat();
        }
        sleep(BETWEEN_QUESTIONS).await;
    }
}

async fn asked(questions: &mpsc::Sender<oneshot::Sender<()>>) -> bool {
    let (reply, replied) = oneshot::channel();
    questions.send(reply).await.is_ok() && replied.await.is_ok()
}
