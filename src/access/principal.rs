//! Principals, their permissions and the credentials that prove them. It verifies nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use super::secrets::{PasswordHash, TokenHash};

/// The origin of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Tcp(SocketAddr),
    /// A unix socket, with the user id of the peer if the kernel reports one.
    Unix(Option<u32>),
}

/// A permission of a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// `mode:read`: read the mode, its history, the routes and the metrics.
    ModeRead,
    /// `mode:set`: change the mode.
    ModeSet,
    /// `mode:bypass`: send single requests past the mode.
    ModeBypass,
    /// `routes:reload`: reload the route table.
    RoutesReload,
    /// `fleet:write`: change the members of the fleet.
    FleetWrite,
}

impl Permission {
    /// All, in the order of the documentation.
    pub(crate) const ALL: [Permission; 5] = [
        Permission::ModeRead,
        Permission::ModeSet,
        Permission::ModeBypass,
        Permission::RoutesReload,
        Permission::FleetWrite,
    ];

    /// As written in access.yaml.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Permission::ModeRead => "mode:read",
            Permission::ModeSet => "mode:set",
            Permission::ModeBypass => "mode:bypass",
            Permission::RoutesReload => "routes:reload",
            Permission::FleetWrite => "fleet:write",
        }
    }

    /// The permission of this name.
    pub(crate) fn from_name(name: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.as_str() == name)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions(u8);

impl Permissions {
    pub(crate) fn all() -> Permissions {
        Permission::ALL.into_iter().collect()
    }

    /// Whether it contains `permission`.
    pub(crate) fn allow(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// The union with another set.
    pub(crate) fn and(self, other: Permissions) -> Permissions {
        Permissions(self.0 | other.0)
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |bits, permission| bits | 1 << permission as u8))
    }
}

/// The owner of an accepted credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    /// The name in records, journal and logs.
    pub(crate) name: Arc<str>,
    pub(crate) permissions: Permissions,
}

/// A principal and its credential.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) principal: Principal,
    pub(super) credential: Credential,
}

#[derive(Debug)]
pub(super) enum Credential {
    /// A token; with `basic`, it is also the password of the user `admin`.
    Token {
        hash: TokenHash,
        basic: bool,
    },
    Password {
        user: String,
        hash: Box<PasswordHash>,
    },
    UnixUid(u32),
}
