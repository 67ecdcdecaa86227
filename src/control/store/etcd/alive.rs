//! The leased key `alive/<node>`. It is for display alone: a lease may outlive its process, and end although that lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tonic::Streaming;
use tracing::debug;

use super::error::EtcdError;
use super::link::{CALL, Links, fraction};
use super::messages::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveResponse, LeaseRequest, LeaseRevokeResponse, PutRequest,
    PutResponse,
};

/// How long a lease lives without a renewal, in seconds, and the interval of these.
const TTL: i64 = 10;
const RENEWAL: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Alive {
    runtime: runtime::Handle,
    links: Arc<Links>,
    /// The keys begin so.
    prefix: String,
    /// The key and its value, once there is one.
    wanted: watch::Sender<Option<(String, Vec<u8>)>>,
    lease: Arc<Mutex<Option<Lease>>>,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Alive {
    pub(super) fn new(runtime: runtime::Handle, links: Arc<Links>, prefix: String) -> Alive {
        Alive {
            runtime,
            links,
            prefix,
            wanted: watch::Sender::new(None),
            lease: Arc::default(),
            task: Default::default(),
        }
    }

    pub(super) fn set(&self, node: &str, value: Vec<u8>) {
        self.wanted.send_replace(Some((format!("{}{node}", self.prefix), value)));
        let mut task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if task.is_none() {
            let keeper = Keeper {
                links: Arc::clone(&self.links),
                lease: Arc::clone(&self.lease),
                wanted: self.wanted.subscribe(),
            };
            *task = Some(self.runtime.spawn(keeper.run()));
        }
    }

    pub(super) async fn end(&self) {
        let task = self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(task) = task else { return };
        task.abort();
        let (links, lease) = (Arc::clone(&self.links), Arc::clone(&self.lease));
        let revoking = self.runtime.spawn(async move {
            if let Some(Lease { id, .. }) = lease.lock().await.take() {
                let revoked: Result<LeaseRevokeResponse, EtcdError> =
                    links.call("/etcdserverpb.Lease/LeaseRevoke", LeaseRequest { id }).await;
                debug!(?revoked, "gave up the lease");
            }
        });
        let _ = tokio::time::timeout(CALL, revoking).await;
    }
}

#[derive(Debug)]
struct Lease {
    id: i64,
    key: String,
    value: Vec<u8>,
}

/// The task that holds the lease.
struct Keeper {
    links: Arc<Links>,
    lease: Arc<Mutex<Option<Lease>>>,
    wanted: watch::Receiver<Option<(String, Vec<u8>)>>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.renew().await {
                debug!(%error, "cannot renew the lease");
            }
            tokio::select! {
                // At random, so that the members of a fleet do not come together.
                () = tokio::time::sleep(RENEWAL.mul_f64(0.9 + fraction() / 10.0)) => {}
                changed = self.wanted.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Renews the lease, or takes a new one with its key; writes a changed value.
    async fn renew(&mut self) -> Result<(), EtcdError> {
        let mut lease = self.lease.lock().await;
        let Some((key, value)) = self.wanted.borrow_and_update().clone() else { return Ok(()) };
        if let Some(held) = &mut *lease {
            if self.keep_alive(held.id).await? {
                if (&held.key, &held.value) != (&key, &value) {
                    self.put(held.id, &key, &value).await?;
                    (held.key, held.value) = (key, value);
                }
                return Ok(());
            }
            *lease = None;
        }
        let granted: LeaseGrantResponse =
            self.links.call("/etcdserverpb.Lease/LeaseGrant", LeaseGrantRequest { ttl: TTL }).await?;
        self.put(granted.id, &key, &value).await?;
        *lease = Some(Lease { id: granted.id, key, value });
        Ok(())
    }

    async fn put(&self, lease: i64, key: &str, value: &[u8]) -> Result<(), EtcdError> {
        let put = PutRequest { key: key.as_bytes().to_vec(), value: value.to_vec(), lease };
        let put: Result<PutResponse, EtcdError> = self.links.call("/etcdserverpb.KV/Put", put).await;
        put.map(|_| ())
    }

    /// Whether the lease still lives. A TTL of 0 is no error, and says that it is gone.
    async fn keep_alive(&self, id: i64) -> Result<bool, EtcdError> {
        let link = self.links.open().await?;
        let request = tokio_stream::once(LeaseRequest { id });
        let mut responses: Streaming<LeaseKeepAliveResponse> =
            self.links.stream(&link, "/etcdserverpb.Lease/LeaseKeepAlive", request).await?;
        let failed = match tokio::time::timeout(CALL, responses.message()).await {
            Ok(Ok(Some(response))) => {
                self.links.check(&link.endpoint, &response)?;
                return Ok(response.ttl > 0);
            }
            Ok(Ok(None)) => {
                EtcdError::Malformed { endpoint: link.endpoint.clone(), fault: "the stream has no response" }
            }
            Ok(Err(status)) => EtcdError::of_status(&link.endpoint, &status),
            Err(_) => EtcdError::TimedOut(link.endpoint.clone()),
        };
        self.links.forget(&link, failed.wants_login()).await;
        Err(failed)
    }
}
