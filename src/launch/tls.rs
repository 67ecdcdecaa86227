//! The TLS of the gateway's connections: read at the start, given to the parts, and read again when its files change. What the
//! files say is judged in `transport`.

use std::sync::Arc;
use std::time::Duration;

use super::error::LaunchError;
use crate::config::Settings;
use crate::files::{ReloadedFile, WatchedFiles};
use crate::telemetry::Metrics;
use crate::transport::{ClientAuth, Material, Protocols, TlsClient, TlsServer};

/// The names of the files, in `/readyz`, metrics and logs.
const DATA: &str = "data_certificate";
const ADMIN: &str = "admin_certificate";
const UPSTREAM: &str = "upstream_certificate";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files as read at the start.
pub(super) struct Tls {
    data: Option<Arc<TlsServer>>,
    pub(super) admin: Option<Arc<TlsServer>>,
    upstream: Option<Arc<TlsClient>>,
}

impl Tls {
    /// Reads all files; blocking.
    pub(super) fn load(settings: &Settings) -> Result<Tls, LaunchError> {
        let data = settings.data_tls.as_ref();
        let data =
            data.map(|files| TlsServer::load(files, ClientAuth::Required, settings.data_protocols)).transpose()?;
        let admin = settings.admin.tls.as_ref();
        let admin = admin.map(|files| TlsServer::load(files, ClientAuth::Optional, Protocols::Http1)).transpose()?;
        let upstream = settings.upstream.tls.as_ref();
        let upstream = upstream.map(|tls| TlsClient::load(&tls.files, &tls.server_name)).transpose()?;
        Ok(Tls { data, admin, upstream })
    }

    /// Gives the parts that connect their own.
    pub(super) fn give_to(&self, settings: &mut Settings) {
        settings.proxy.tls.clone_from(&self.data);
        settings.proxy.upstream.tls.clone_from(&self.upstream);
    }

    /// The files that a reload reads again.
    pub(super) fn reloaded(&self) -> Vec<Arc<ReloadedFile>> {
        let data = self.data.iter().map(|tls| reloaded(DATA, tls.material()));
        let admin = self.admin.iter().map(|tls| reloaded(ADMIN, tls.material()));
        data.chain(admin).chain(self.upstream.iter().map(|tls| reloaded(UPSTREAM, tls.material()))).collect()
    }

    /// Shows when the certificates end, and warns of one that ends soon.
    pub(super) fn report_to(&self, metrics: &Metrics) {
        for (name, tls) in [(DATA, &self.data), (ADMIN, &self.admin)] {
            let Some(tls) = tls else { continue };
            let material = Arc::clone(tls.material());
            metrics.add_certificate(name, move || material.end());
        }
        if let Some(tls) = &self.upstream {
            let material = Arc::clone(tls.material());
            metrics.add_certificate(UPSTREAM, move || material.end());
        }
    }
}

/// Warns once a day of certificates that end soon.
pub(super) async fn warn_of_ends(metrics: &Metrics) {
    loop {
        for (certificate, end) in metrics.expiring_certificates() {
            tracing::warn!(certificate, %end, "certificate_expiring: the certificate has expired or will soon; renew it");
        }
        tokio::time::sleep(DAY).await;
    }
}

pub(super) fn watched(settings: &Settings) -> Vec<WatchedFiles> {
    let data = settings.data_tls.iter().map(|files| WatchedFiles { name: DATA, paths: files.paths() });
    let admin = settings.admin.tls.iter().map(|files| WatchedFiles { name: ADMIN, paths: files.paths() });
    let upstream = settings.upstream.tls.iter();
    data.chain(admin).chain(upstream.map(|tls| WatchedFiles { name: UPSTREAM, paths: tls.files.paths() })).collect()
}

fn reloaded<C: Send + Sync + 'static>(name: &'static str, material: &Arc<Material<C>>) -> Arc<ReloadedFile> {
    let material = Arc::clone(material);
    ReloadedFile::new(name, move || {
        let put = material.read_again().map_err(|error| error.to_string())?;
        Ok(Box::new(put))
    })
}
