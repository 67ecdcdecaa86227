//! access.yaml: text to principals. It reports all faults at once, each with its remedy; errors of the YAML parser have line
//! and column. It verifies no credential.
//!
//! ```yaml
//! version: 1
//! roles:
//!   operator: [mode:read, mode:set]
//! principals:
//!   - name: night-shift
//!     token_sha256: 64 hex digits
//!     roles: [operator]
//!   - name: ucs-console
//!     user: console
//!     password_argon2: $argon2id$…
//!     permissions: [mode:set]
//!   - name: root
//!     unix_uid: 0
//!     roles: [operator]
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;

use super::principal::{Credential, Member, Permission, Permissions, Principal};
use super::secrets::{PasswordHash, TokenHash};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessFile {
    version: u32,
    #[serde(default)]
    roles: BTreeMap<String, Vec<String>>,
    principals: Vec<PrincipalEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalEntry {
    name: String,
    token_sha256: Option<String>,
    user: Option<String>,
    password_argon2: Option<String>,
    unix_uid: Option<u32>,
    client_certificate: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    permissions: Vec<String>,
}

/// Reads the text of access.yaml.
pub(super) fn parse(text: &str) -> Result<Vec<Member>, Vec<String>> {
    let file: AccessFile = serde_yaml::from_str(text).map_err(|error| vec![error.to_string()])?;
    let mut faults = Vec::new();
    if file.version != 1 {
        faults.push(format!("version: {} is not supported; write version: 1", file.version));
    }
    let roles = read_roles(&file.roles, &mut faults);
    let mut members: Vec<Member> = Vec::new();
    for (place, entry) in file.principals.into_iter().enumerate() {
        let at = format!("principal {} ({:?})", place + 1, entry.name);
        match read_principal(entry, &roles) {
            Ok(member) => match members.iter().find_map(|earlier| clash(earlier, &member)) {
                Some(fault) => faults.push(format!("{at}: {fault}")),
                None => members.push(member),
            },
            Err(wrong) => faults.extend(wrong.into_iter().map(|fault| format!("{at}: {fault}"))),
        }
    }
    if members.is_empty() && faults.is_empty() {
        faults.push("principals: must not be empty, as no one could change the mode; add at least one".to_owned());
    }
    if faults.is_empty() { Ok(members) } else { Err(faults) }
}

fn read_roles(roles: &BTreeMap<String, Vec<String>>, faults: &mut Vec<String>) -> BTreeMap<String, Permissions> {
    let mut read = BTreeMap::new();
    for (role, names) in roles {
        match read_permissions(names) {
            Ok(permissions) => {
                read.insert(role.clone(), permissions);
            }
            Err(fault) => {
                faults.push(format!("role {role:?}: {fault}"));
                // Defined nevertheless, so that its principals do not report it again.
                read.insert(role.clone(), Permissions::default());
            }
        }
    }
    read
}

fn read_permissions(names: &[String]) -> Result<Permissions, String> {
    let known = || Permission::ALL.map(Permission::as_str).join(", ");
    let read = |name: &String| {
        Permission::from_name(name)
            .ok_or_else(|| format!("{name:?} is not a permission; the permissions are {}", known()))
    };
    names.iter().map(read).collect()
}

fn read_principal(entry: PrincipalEntry, roles: &BTreeMap<String, Permissions>) -> Result<Member, Vec<String>> {
    let mut faults = Vec::new();
    if entry.name.is_empty() || entry.name.len() > 100 || entry.name.chars().any(char::is_control) {
        faults.push("name: must have 1 to 100 printable characters".to_owned());
    }
    let mut permissions = Permissions::default();
    for role in &entry.roles {
        match roles.get(role) {
            Some(granted) => permissions = permissions.and(*granted),
            None => faults.push(format!("roles: role {role:?} is not defined; define it under \"roles\"")),
        }
    }
    match read_permissions(&entry.permissions) {
        Ok(granted) => permissions = permissions.and(granted),
        Err(fault) => faults.push(format!("permissions: {fault}")),
    }
    if entry.roles.is_empty() && entry.permissions.is_empty() {
        faults.push("grants no roles or permissions; add at least one".to_owned());
    }
    let credential = read_credential(&entry).map_err(|fault| faults.push(fault)).ok();
    match credential {
        Some(credential) if faults.is_empty() => {
            Ok(Member { principal: Principal { name: entry.name.into(), permissions }, credential })
        }
        _ => Err(faults),
    }
}

fn read_credential(entry: &PrincipalEntry) -> Result<Credential, String> {
    if entry.client_certificate.is_some() {
        return Err(
            "client_certificate: is not supported yet; use token_sha256, user and password_argon2, or unix_uid"
                .to_owned(),
        );
    }
    match (&entry.token_sha256, &entry.user, &entry.password_argon2, entry.unix_uid) {
        (Some(hex), None, None, None) => TokenHash::from_hex(hex)
            .map(|hash| Credential::Token { hash, basic: false })
            .ok_or_else(|| "token_sha256: must be 64 hex digits; `ucs-gateway token new` prints one".to_owned()),
        (None, Some(user), Some(phc), None) => {
            if user.is_empty() || user.contains(':') {
                return Err("user: must not be empty or contain a colon".to_owned());
            }
            let hash = PasswordHash::parse(phc).map_err(|fault| format!("password_argon2: {fault}"))?;
            Ok(Credential::Password { user: user.clone(), hash: Box::new(hash) })
        }
        (None, None, None, Some(uid)) => Ok(Credential::UnixUid(uid)),
        (None, Some(_), None, None) | (None, None, Some(_), None) => {
            Err("user and password_argon2 must be set together".to_owned())
        }
        (None, None, None, None) => {
            Err("has no credential; write token_sha256, or user and password_argon2, or unix_uid".to_owned())
        }
        _ => Err("has more than one kind of credential; add a principal for each".to_owned()),
    }
}

/// Two principals must not share a name or a credential: the journal could not distinguish them.
fn clash(earlier: &Member, later: &Member) -> Option<String> {
    if earlier.principal.name == later.principal.name {
        return Some("the name is already used by an earlier principal".to_owned());
    }
    let same = match (&earlier.credential, &later.credential) {
        (Credential::Token { hash: one, .. }, Credential::Token { hash: other, .. }) => one == other,
        (Credential::Password { user: one, .. }, Credential::Password { user: other, .. }) => one == other,
        (Credential::UnixUid(one), Credential::UnixUid(other)) => one == other,
        _ => false,
    };
    same.then(|| format!("has the same credential or user as {:?}", earlier.principal.name))
}
