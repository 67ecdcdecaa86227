//! Principals, their permissions and the credentials that prove them. It verifies nothing.

use std::sync::Arc;

use super::secrets::{PasswordHash, TokenHash};
use crate::hex;
use crate::transport::ClientCertificate;

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

    pub(crate) fn from_name(name: &str) -> Option<Permission> {
        Permission::ALL.into_iter().find(|permission| permission.as_str() == name)
    }
}

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
    Certificate(CertificateName),
}

/// The name in a client certificate that stands for a principal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CertificateName {
    /// SHA-256 of the whole certificate.
    Sha256([u8; 32]),
    /// The only common name of its subject.
    CommonName(String),
    /// One of its alternative names, as `dns:…`, `email:…` or `uri:…`.
    AlternativeName(String),
}

impl CertificateName {
    /// Reads `sha256:…`, `cn:…`, `dns:…`, `email:…` or `uri:…`.
    pub(super) fn parse(text: &str) -> Option<CertificateName> {
        let (kind, name) = text.split_once(':').filter(|(_, name)| !name.is_empty())?;
        match kind {
            "sha256" => {
                let digits = name.replace(':', "");
                hex::from_hex(&digits).map(CertificateName::Sha256)
            }
            "cn" => Some(CertificateName::CommonName(name.to_owned())),
            "dns" => Some(CertificateName::AlternativeName(text.to_ascii_lowercase())),
            "email" | "uri" => Some(CertificateName::AlternativeName(text.to_owned())),
            _ => None,
        }
    }

    /// Whether a verified certificate has this name.
    pub(super) fn is_in(&self, certificate: &ClientCertificate) -> bool {
        match self {
            CertificateName::Sha256(hash) => *hash == certificate.sha256,
            CertificateName::CommonName(name) => certificate.common_name.as_ref() == Some(name),
            CertificateName::AlternativeName(name) => certificate.alternative_names.contains(name),
        }
    }
}
