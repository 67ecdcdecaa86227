//! The listening sockets of both ports: inherited from the service manager, else the gateway's own.

use super::error::LaunchError;
use crate::admin;
use crate::config::Settings;
use crate::proxy::worker;
use crate::transport::{Address, InheritedSockets, Listener, ListeningSocket, SocketOrigin};

/// The bound addresses, reported once the gateway is ready.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// The data port.
    pub(crate) listen: Address,
    pub(crate) admin: Address,
}

/// The sockets of both ports.
pub(super) struct Sockets {
    pub(super) data: (ListeningSocket, SocketOrigin),
    pub(super) admin: Listener,
}

impl Sockets {
    /// Opens both, and says where. To be called inside a runtime.
    pub(super) fn open(settings: &Settings, inherited: InheritedSockets) -> Result<(Sockets, Ready), LaunchError> {
        let data = match inherited.data {
            Some(socket) => (socket, SocketOrigin::Inherited),
            None => {
                let failed = |source| LaunchError::Listen { address: settings.listen.clone(), source };
                let socket = ListeningSocket::bind(&settings.listen, worker::SOCKET_LIMITS).map_err(failed)?;
                (socket, SocketOrigin::Own)
            }
        };
        let failed = |source| LaunchError::AdminListen { address: settings.admin.listen.clone(), source };
        let bind = || ListeningSocket::bind(&settings.admin.listen, admin::SOCKET_LIMITS);
        let admin = inherited.admin.map_or_else(bind, Ok).map_err(failed)?;
        let ready = Ready { listen: data.0.address()?, admin: admin.address()? };
        let admin = Listener::new(admin, admin::SOCKET_LIMITS).map_err(failed)?;
        Ok((Sockets { data, admin }, ready))
    }
}
