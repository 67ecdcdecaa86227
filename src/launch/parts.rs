//! The parts of the running gateway, and the watch over them: a part that ends unexpectedly stops the gateway, which would
//! otherwise silently run without it. The record is durable, and a supervisor restarts the process.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::error::LaunchError;
use super::workers::Workers;
use crate::telemetry::{STDERR, STDOUT};

/// The time that workers have for their end beyond `--stop-timeout`.
const STOP_SLACK: Duration = Duration::from_secs(5);

/// Control, the admin port and the workers; the threads that write logs are in `telemetry`.
pub(super) struct Parts {
    pub(super) control: JoinHandle<()>,
    pub(super) admin: JoinHandle<()>,
    pub(super) workers: Workers,
}

impl Parts {
    /// Waits until a part has ended unexpectedly.
    pub(super) async fn one_ended(&mut self) -> LaunchError {
        tokio::select! {
            end = self.workers.next_end() => match end {
                Some(end) => ended(&end.name, end.result.err()),
                None => ended("the workers", None),
            },
            other = other_ended(&mut self.control, &mut self.admin) => other,
        }
    }

    /// Waits until all workers have ended after a shutdown request. The end of any other part is an error.
    pub(super) async fn workers_stopped(&mut self, stop_timeout: Duration) -> Result<(), LaunchError> {
        let workers = &mut self.workers;
        let stopped = async {
            while let Some(end) = workers.next_end().await {
                end.result.map_err(|how| ended(&end.name, Some(how)))?;
            }
            Ok(())
        };
        tokio::select! {
            stopped = tokio::time::timeout(stop_timeout + STOP_SLACK, stopped) => {
                stopped.unwrap_or_else(|_| Err(LaunchError::Ended { part: "a worker".into(), how: "does not end".into() }))
            }
            other = other_ended(&mut self.control, &mut self.admin) => Err(other),
        }
    }
}

/// Waits for the end of a task after its shutdown request.
pub(super) async fn stopped(part: &str, task: JoinHandle<()>) -> Result<(), LaunchError> {
    task.await.map_err(|error| ended(part, Some(panic_of(error))))
}

async fn other_ended(control: &mut JoinHandle<()>, admin: &mut JoinHandle<()>) -> LaunchError {
    tokio::select! {
        end = control => ended("control", end.err().map(panic_of)),
        end = admin => ended("the admin port", end.err().map(panic_of)),
        () = STDERR.ended() => ended(&STDERR.thread(), None),
        () = STDOUT.ended() => ended(&STDOUT.thread(), None),
    }
}

fn panic_of(error: JoinError) -> String {
    // The panic itself is in the log.
    if error.is_panic() { "it panicked".to_owned() } else { error.to_string() }
}

fn ended(part: &str, why: Option<String>) -> LaunchError {
    let how = why.map_or("ended unexpectedly".to_owned(), |why| format!("ended unexpectedly: {why}"));
    tracing::error!(part, how, "stopping the gateway, which cannot run without this part");
    LaunchError::Ended { part: part.to_owned(), how }
}

#[cfg(test)]
mod tests {
    use tokio::task::spawn_local;

    use super::*;
    use crate::launch::workers::WorkerEnd;

    async fn forever() {
        std::future::pending().await
    }

    fn panics() -> JoinHandle<()> {
        spawn_local(async { panic!("for the test") })
    }

    /// The error when one part of three has ended.
    async fn said(control: JoinHandle<()>, admin: JoinHandle<()>, worker: Option<Result<(), String>>) -> String {
        let (workers, told) = Workers::of_one();
        if let Some(result) = worker {
            let _ = told.send(WorkerEnd { name: "worker-0".to_owned(), result });
        }
        Parts { control, admin, workers }.one_ended().await.to_string()
    }

    #[tokio::test(flavor = "local")]
    async fn whichever_part_ends_is_named() {
        let ends = || spawn_local(async {});
        let runs = || spawn_local(forever());
        assert_eq!(said(panics(), runs(), None).await, "control ended unexpectedly: it panicked");
        assert_eq!(said(ends(), runs(), None).await, "control ended unexpectedly");
        assert_eq!(said(runs(), panics(), None).await, "the admin port ended unexpectedly: it panicked");
        assert_eq!(said(runs(), runs(), Some(Ok(()))).await, "worker-0 ended unexpectedly");
        let failed = Some(Err("it panicked".to_owned()));
        assert_eq!(said(runs(), runs(), failed).await, "worker-0 ended unexpectedly: it panicked");
    }

    #[tokio::test(flavor = "local")]
    async fn a_part_that_panics_ends_a_stop_that_waits_for_workers() {
        let (workers, _told) = Workers::of_one();
        let mut parts = Parts { control: spawn_local(forever()), admin: panics(), workers };
        let error = parts.workers_stopped(Duration::from_secs(3600)).await.map_err(|error| error.to_string());
        assert_eq!(error, Err("the admin port ended unexpectedly: it panicked".to_owned()));
    }
}
