//! The admin port: the second listener, for operators and machines. It changes nothing by itself; every change goes through
//! the control handle. No call that changes state is open, and none of it runs on a data worker.

mod calls;
mod connection;
mod connection_limits;
mod deadline_io;
mod events;
mod fleet_calls;
mod forecast;
mod gate_sample;
mod guard;
mod local_calls;
mod mode_calls;
mod page;
mod probes;
mod query;
mod rates;
mod response;
mod route_calls;
mod state;
mod traffic;
mod traffic_calls;
mod work_in_a_row;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::liveness::Questions;
use crate::transport::{Listener, SocketLimits, Stream};
use connection_limits::ConnectionLimits;
use rates::Rates;
use state::{AdminState, Arrival, Turn};
use traffic::Traffic;
use work_in_a_row::WorkInARow;

pub(crate) use mode_calls::document as mode_document;
pub(crate) use state::{AdminParts, FleetReader, JournalReader};

/// Connections that are accepted in a row before open connections get their turn. A first request takes two turns.
const ACCEPTS_IN_A_ROW: usize = 32;

/// Kernel limits of the listener's connections, so that a client that does not read costs little memory for a short time.
pub(crate) const SOCKET_LIMITS: SocketLimits =
    SocketLimits { send_buffer: Some(32 * 1024), receive_buffer: None, user_timeout: Some(deadline_io::WRITE_TIMEOUT) };

/// Serves until `shutdown`, then lets open calls complete for a short while. On any tokio runtime.
pub(crate) async fn serve(
    listener: Listener,
    parts: AdminParts,
    questions: Questions,
    shutdown: impl Future<Output = ()>,
) {
    let (close, closing) = watch::channel(false);
    let state = Arc::new(AdminState {
        parts,
        rates: Rates::default(),
        traffic: Traffic::default(),
        work: WorkInARow::new(),
        table_turn: Turn::default(),
        journal_turn: Turn::default(),
        closing,
    });
    let mut connections = JoinSet::new();
    let sampler = async {
        tokio::join!(state.rates.sample_forever(&state.parts.gate), state.traffic.sample_forever(&state.parts.metrics),)
    };
    tokio::select! {
        () = shutdown => {}
        _ = sampler => {}
        () = accept_forever(&listener, &state, questions, &mut connections) => {}
    }
    drop(listener);
    close.send_replace(true);
    let ended = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(connection::CLOSE_TIMEOUT + Duration::from_secs(1), ended).await;
}

/// Serves each connection by a task of its own, and meanwhile replies to the questions whether this thread is alive.
async fn accept_forever(
    listener: &Listener,
    state: &Arc<AdminState>,
    mut questions: Questions,
    connections: &mut JoinSet<()>,
) {
    let limits = Arc::new(ConnectionLimits::default());
    let mut in_a_row = 0;
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            Some(reply) = questions.recv() => {
                let _ = reply.send(());
                continue;
            }
            accepted = accept(listener, &limits) => accepted,
        };
        match accepted {
            Ok((stream, arrival)) => {
                state.work.note();
                let (state, serving) = (Arc::clone(state), connection::serve(stream, arrival, Arc::clone(state)));
                connections.spawn(async move { state.work.noting(serving).await });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                // Mostly "too many open files": trying at once would spin.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // The first requests of these connections are handled before so many more are accepted that they would be evicted.
        // A single accept per turn would let busy connections starve new ones in the backlog.
        in_a_row += 1;
        if in_a_row == ACCEPTS_IN_A_ROW {
            in_a_row = 0;
            tokio::task::yield_now().await;
        }
    }
}

async fn accept(listener: &Listener, limits: &Arc<ConnectionLimits>) -> std::io::Result<(Stream, Arrival)> {
    let (stream, peer) = listener.accept().await?;
    let (local, slot) = (stream.local_ip(), Arc::new(limits.take(&peer)));
    Ok((stream, Arrival { peer, local, slot, certificate: None }))
}
