//! Sockets: listening, connecting, and the options that the kernel takes. The only room that names tokio's sockets; it knows
//! neither HTTP nor any other room of the crate.

mod address;
mod connect;
mod inherited;
pub(crate) mod listen;
mod names;
mod queues;
mod stream;
mod tcp;
mod tls;
mod upstream;
mod upstream_url;

pub(crate) use address::{Address, HostPort, Peer, host_of, parse_host, parse_listen};
pub(crate) use connect::connect_prompt;
pub(crate) use inherited::{InheritError, InheritedSockets};
pub(crate) use listen::{Listener, SocketLimits};
pub(crate) use listen::{ListeningSocket, SocketOrigin};
pub(crate) use queues::unacknowledged;
pub(crate) use stream::Handover;
pub(crate) use stream::{ReadHalf, Stream, WriteHalf};
pub(crate) use tcp::{TcpListener, TcpStream};
pub(crate) use tls::{
    ClientAuth, ClientCertificate, ClientFiles, HandshakeError, Material, Protocols, ServerFiles, TlsClient, TlsError,
    TlsServer, client_config,
};
pub(crate) use upstream::Upstream;
pub(crate) use upstream_url::UpstreamUrl;
