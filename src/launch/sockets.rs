//! The listening sockets of both ports: inherited from the service manager, else the gateway's own.

use std::net::{SocketAddr, TcpListener};

use super::error::LaunchError;
use crate::admin;
use crate::config::Settings;
use crate::transport::{Address, InheritedSocket, InheritedSockets, Listener, SocketLimits, SocketOrigin, listen};

/// The bound addresses, reported once the gateway is ready.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The data port.
    pub(crate) listen: SocketAddr,
    /// The admin port, as text, since it may be a unix socket.
    pub(crate) admin: String,
}

/// The sockets of both ports.
pub(super) struct Sockets {
    pub(super) data: (TcpListener, SocketOrigin),
    pub(super) admin: Listener,
}

impl Sockets {
    /// Opens both, and says where. To be called inside a runtime.
    pub(super) fn open(settings: &Settings, inherited: InheritedSockets) -> Result<(Sockets, Ready), LaunchError> {
        let data = data(settings.listen, inherited.data)?;
        let failed = |source| LaunchError::AdminListen { address: settings.admin.listen.clone(), source };
        let admin = match inherited.admin {
            Some(socket) => Listener::inherit(socket, admin::SOCKET_LIMITS),
            None => Listener::bind(&settings.admin.listen, admin::SOCKET_LIMITS),
        };
        let admin = admin.map_err(failed)?;
        let admin_address = admin.local_addr().map(Address::Tcp).unwrap_or_else(|| settings.admin.listen.clone());
        let ready = Ready { listen: data.0.local_addr()?, admin: admin_address.to_string() };
        Ok((Sockets { data, admin }, ready))
    }
}

fn data(address: SocketAddr, inherited: Option<InheritedSocket>) -> Result<(TcpListener, SocketOrigin), LaunchError> {
    let failed = |source| LaunchError::Listen { address, source };
    match inherited {
        Some(InheritedSocket::Tcp(listener)) => Ok((listener, SocketOrigin::Inherited)),
        Some(InheritedSocket::Unix(_)) => Err(failed(std::io::Error::other("the inherited socket is a unix socket"))),
        None => Ok((listen(address, SocketLimits::default()).map_err(failed)?, SocketOrigin::Own)),
    }
}
