//! UCS as the gateway connects to it: its URL, and TLS if the URL demands it. It sends nothing.

use std::io;
use std::sync::Arc;

use tokio::net::UnixStream;

use super::connect::connect;
use super::names::Lookups;
use super::stream::Stream;
use super::tcp::limit_unsent;
use super::tls::TlsClient;
use super::upstream_url::UpstreamUrl;

/// Bytes that the kernel buffers for UCS, beyond those in flight. Without a limit it would buffer megabytes for a UCS that reads
/// slowly, and show no progress until a third of them is gone.
const UNSENT_BYTES: u32 = 128 * 1024;

/// UCS, as connections are opened to it.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    pub(crate) url: UpstreamUrl,
    /// Set for https.
    pub(crate) tls: Option<Arc<TlsClient>>,
    /// Those of its host, for all threads.
    lookups: Lookups,
}

impl Upstream {
    pub(crate) fn new(url: UpstreamUrl, tls: Option<Arc<TlsClient>>) -> Upstream {
        Upstream { url, tls, lookups: Lookups::default() }
    }

    /// Connects, and performs the handshake of TLS; the caller limits the time.
    pub(crate) async fn connect(&self) -> io::Result<Stream> {
        if let Some(path) = &self.url.socket {
            return UnixStream::connect(path).await.map(Stream::Unix);
        }
        let stream = connect(&self.url.host, self.url.port, &self.lookups).await?;
        // Small requests must not wait for the acknowledgement of earlier packets.
        stream.set_nodelay(true)?;
        limit_unsent(&stream, UNSENT_BYTES);
        match &self.tls {
            None => Ok(stream.into()),
            Some(tls) => tls.secure(stream).await,
        }
    }
}

impl From<UpstreamUrl> for Upstream {
    fn from(url: UpstreamUrl) -> Upstream {
        Upstream::new(url, None)
    }
}
